/* Stories about the core on a virtual clock. Each tells what happens to the relay, and what it does then.
 *
 * What the core asks for is written down as text: "publish 1, fetch >2 5..5, mark 3 +2..2 missing". Releases are
 * left out; notes are kept apart. */
#include <string.h>

#include "core/delivery.h"
#include "core/refusal.h"
#include "../simulator/mutant.h"
#include "tap.h"

enum { IDS = 150000, WINDOW_MS = 120000 };

static struct delivery *d;
static int64_t now;
static char heard[4096], noted[4096];
static uint64_t token[IDS];    /* of the last publish of an id */
static uint64_t expected[IDS]; /* the sequence behind which it must stand */
static int64_t published;      /* the id published last, */
static bool evident;           /* and whether it bears witness */
static bool fetching, marking;
static bool tells;  /* what streams hold is told at once, and it is nothing */
static bool audits; /* every step; not where there are a great many */

/* --- the stage --- */

/* Writes behind the end of a text; what has no room is left out. */
__attribute__((format(printf, 3, 4))) static void append(char *text, size_t size, const char *format, ...)
{
	size_t n = strlen(text);
	va_list args;

	va_start(args, format);
	vsnprintf(text + n, size - n, format, args);
	va_end(args);
}

__attribute__((format(printf, 2, 3))) static void say(char *to, const char *format, ...)
{
	char text[600];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	append(to, sizeof heard, "%s%s", to[0] != '\0' ? ", " : "", text);
}

static void say_fetch(const struct effect *e)
{
	char text[512] = "fetch";

	if (e->fetch.forward)
		append(text, sizeof text, " >%lld", (long long)e->fetch.after);
	for (size_t i = 0; i < e->fetch.wanted_count; i++)
		append(text, sizeof text, " %lld..%lld", (long long)e->fetch.wanted[i].lo,
		       (long long)e->fetch.wanted[i].hi);
	if (e->fetch.kept)
		append(text, sizeof text, " as kept");
	say(heard, "%s", text);
	fetching = true;
}

static uint64_t low_water_marked; /* the first stream's, of the last mark */
static size_t sent_marked;        /* how many rows of the ledger it has */

static void say_mark(const struct mark *m)
{
	static const char *const kind[] = { "missing", "parked", "held", "active" };
	char text[512] = "mark";

	append(text, sizeof text, " %lld", (long long)m->position);
	for (size_t i = 0; i < m->gone_count; i++)
		append(text, sizeof text, " -%lld", (long long)m->gone[i]);
	for (size_t i = 0; i < m->added_count; i++)
		append(text, sizeof text, " +%lld..%lld %s%s", (long long)m->added[i].lo, (long long)m->added[i].hi,
		       kind[m->added[i].kind],
		       m->added[i].low_water != LOW_WATER_NONE ? " sent"
		       : m->added[i].doubted                   ? " doubted"
							       : "");
	for (size_t i = 0; i < m->dead_count; i++)
		append(text, sizeof text, " dead %lld%s", (long long)m->dead[i].id, m->dead[i].held ? " held" : "");
	for (size_t i = 0; i < m->resolved_count; i++)
		append(text, sizeof text, " resolved %lld", (long long)m->resolved[i]);
	say(heard, "%s", text);
	sent_marked = m->sent_count;
	if (m->sent_count > 0)
		low_water_marked = m->sent[0].sequence;
	marking = true;
}

static uint32_t attempts; /* of the last note */

static void say_note(const struct note *n)
{
	static const char *const kind[] = { "stream blocked", "stream open", "lane blocked", "lane open", "dead",
					    "held",           "vanished",    "full",         "retry",     "blind",
					    "others",         "unrouted",    "foreign",      "wire" };

	say(noted, "%s %lld", kind[n->kind], (long long)n->id);
	attempts = n->attempts;
}

static uint64_t known_end; /* of the last look */

static void say_lookback(const struct effect *e)
{
	const char *above = e->lookback.above == LOW_WATER_NONE      ? "none"
			    : e->lookback.above == LOW_WATER_UNKNOWN ? "unknown"
								     : NULL;

	known_end = e->lookback.known_end;
	if (tells)
		delivery_step(d, &(struct event){ .kind = EVENT_LOOKBACK,
						  .now_ms = now,
						  .lookback = { .stream = e->lookback.stream,
								.ok = true,
								.asked_ms = now,
								.duplicate_window_ms = WINDOW_MS } });
	else if (above != NULL)
		say(heard, "lookback %u above %s", e->lookback.stream, above);
	else
		say(heard, "lookback %u above %llu", e->lookback.stream, (unsigned long long)e->lookback.above);
	if (!tells && e->lookback.truncated)
		say(heard, "truncated");
	for (size_t i = 0; !tells && i < e->lookback.acked->count; i++)
		say(heard, "but %llu..%llu", (unsigned long long)e->lookback.acked->range[i].lo,
		    (unsigned long long)e->lookback.acked->range[i].hi);
}

static uint64_t batch; /* of the last publish that was in one */
static int64_t finds;  /* this one is found in its stream, when it is to be sent */

static void say_publish(const struct effect *e)
{
	if (e->publish.batch == 0) {
		say(heard, "publish %lld", (long long)e->publish.id);
	} else {
		batch = e->publish.batch;
		say(heard, "publish %lld as %u%s", (long long)e->publish.id, e->publish.number,
		    e->publish.op == BATCH_ENDS ? " and last" : "");
	}
	if (e->publish.id == finds)
		delivery_step(
			d, &(struct event){ .kind = EVENT_ACKED,
					    .now_ms = now,
					    .acked = { .token = e->publish.token, .sequence = 1, .duplicate = true } });
}

static void listen(void)
{
	struct effect e;

	while (delivery_next(d, &e))
		switch (e.kind) {
		case EFFECT_PUBLISH:
			published = e.publish.id;
			evident = e.publish.evident;
			token[published % IDS] = e.publish.token;
			expected[published % IDS] = e.publish.expected;
			say_publish(&e);
			break;
		case EFFECT_FETCH: say_fetch(&e); break;
		case EFFECT_MARK: say_mark(e.mark); break;
		case EFFECT_ANNOUNCE: say(heard, "announce %s", e.announce.asleep ? "asleep" : "awake"); break;
		case EFFECT_RENEW: say(heard, "renew"); break;
		case EFFECT_LOOKBACK: say_lookback(&e); break;
		case EFFECT_NOTE: say_note(&e.note); break;
		case EFFECT_QUIET: say(heard, "quiet %llu", (unsigned long long)e.quiet.operator_pause); break;
		case EFFECT_DRAINED: say(heard, "drained"); break;
		case EFFECT_RELEASE: break;
		case EFFECT_BATCH:
			say(heard, "%s %u", e.batch.op == BATCH_PING ? "ping" : "end", e.batch.number);
			break;
		}
	if (audits)
		delivery_audit(d);
}

static void step(struct event e)
{
	e.now_ms = now;
	delivery_step(d, &e);
	listen();
}

static void forget(void)
{
	heard[0] = noted[0] = '\0';
}

/* --- what happens --- */

static void tick(void)
{
	step((struct event){ .kind = EVENT_TICK });
}

/* Time passes; the core is woken whenever it wants to be. */
static void pass(int64_t ms)
{
	int64_t until = now + ms;

	while (delivery_deadline(d) < until) {
		now = delivery_deadline(d) > now ? delivery_deadline(d) : now;
		tick();
		if (delivery_deadline(d) <= now)
			now++;
	}
	now = until;
	tick();
}

static struct row row(int64_t id, char key)
{
	return (struct row){ .id = id, .keyed = key != ' ', .lane = (uint64_t)key * 7919, .bytes = 100 };
}

/* The answer to the fetch under way (waiting for it first). */
static void answer_fetch(struct event e)
{
	while (!fetching) {
		int64_t at = delivery_deadline(d);

		if (at == INT64_MAX)
			return;
		now = at > now ? at : now + 1;
		tick();
	}
	fetching = false;
	e.rows.asked_ms = now;
	step(e);
}

static void rows_arrive(struct row *rows, size_t n, bool complete, uint64_t horizon)
{
	answer_fetch((struct event){ .kind = EVENT_ROWS,
				     .rows = { .rows = rows, .count = n, .complete = complete, .horizon = horizon } });
}

/* Polls that find nothing, until a fetch asks for this. */
static void await_fetch(const char *part)
{
	for (int i = 0; i < 100; i++) {
		int64_t at = delivery_deadline(d);

		if (fetching && strstr(heard, part) != NULL)
			return;
		if (fetching)
			rows_arrive(NULL, 0, true, 0);
		if (fetching)
			continue;
		now = at > now && at != INT64_MAX ? at : now + 1;
		tick();
	}
}

#define ROWS(...) \
	rows_arrive((struct row[]){ __VA_ARGS__ }, sizeof(struct row[]){ __VA_ARGS__ } / sizeof(struct row), true, 0)

static void no_rows(uint64_t horizon)
{
	rows_arrive(NULL, 0, true, horizon);
}

static void ack_token(uint64_t t)
{
	static uint64_t sequence;

	step((struct event){ .kind = EVENT_ACKED, .acked = { .token = t, .sequence = ++sequence } });
}

static void ack(int64_t id)
{
	ack_token(token[id % IDS]);
}

static void refuse_token(uint64_t t, uint32_t reason, uint32_t status)
{
	step((struct event){ .kind = EVENT_REFUSED, .refused = { .token = t, .reason = reason, .status = status } });
}

static void refuse(int64_t id, uint32_t reason)
{
	refuse_token(token[id], reason, 400);
}

static void marked(uint64_t fence)
{
	marking = false;
	step((struct event){ .kind = EVENT_MARKED, .marked = { .fence = fence, .asked_ms = now } });
}

/* Whatever is to be marked is, with this fence. */
static void settle_books(uint64_t fence)
{
	for (int i = 0; i < 10; i++) {
		pass(20);
		if (!marking)
			return;
		marked(fence);
	}
}

static uint64_t low_waters[LIMIT_STREAMS];
static int64_t predecessor_until;

static void lead_with(int64_t position, const struct exception_row *exceptions, size_t n)
{
	marking = false;
	fetching = false;
	step((struct event){ .kind = EVENT_LEADING,
			     .leading = { .position = position,
					  .fence = 100,
					  .asked_ms = now,
					  .exceptions = exceptions,
					  .exception_count = n,
					  .low_water = low_waters,
					  .predecessor_until_ms = predecessor_until } });
}

static void told(uint16_t stream, bool yes, int64_t window_ms, uint64_t last)
{
	step((struct event){ .kind = EVENT_LOOKBACK,
			     .lookback = { .stream = stream,
					   .ok = yes,
					   .reason = REASON_NO_REPLY,
					   .asked_ms = now,
					   .duplicate_window_ms = window_ms,
					   .last = last } });
}

static void happens(enum event_kind kind)
{
	step((struct event){ .kind = kind });
}

static void announced(bool asleep, uint64_t fence)
{
	step((struct event){ .kind = EVENT_ANNOUNCED,
			     .announced = { .asleep = asleep, .fence = fence, .asked_ms = now } });
}

static void renewed(void)
{
	step((struct event){ .kind = EVENT_RENEWED, .renewed = { .asked_ms = now } });
}

static void decided(int64_t id, bool redrive)
{
	step((struct event){ .kind = EVENT_DECIDED, .decided = { .id = id, .redrive = redrive } });
}

/* --- what is expected --- */

#define hears(part) holds(heard, part, part)
#define hears_not(part) lacks(heard, part, "not: " part)
#define notes(part) holds(noted, part, "note: " part)

static const struct delivery_stats *look(void)
{
	return delivery_stats(d);
}

static struct delivery_settings settings;

static void begin(const char *title)
{
	diag("%s", title);
	delivery_free(d);
	d = delivery_create(&settings);
	if (d == NULL)
		exit(1);
	now = 1000000;
	predecessor_until = 0;
	memset(token, 0, sizeof token);
	forget();
	happens(EVENT_BUS_UP);
	lead_with(0, NULL, 0);
	forget();
}

static void defaults(void)
{
	audits = tells = true;
	for (int i = 0; i < LIMIT_STREAMS; i++)
		low_waters[i] = LOW_WATER_NONE;
	settings = (struct delivery_settings){
		.ordering = ORDERING_STRICT,
		.poison = POISON_SKIP,
		.streams = 2,
		.window_messages = 8,
		.window_bytes = 1 << 20,
		.queue_messages = 16,
		.queue_bytes = 1 << 20,
		.ack_timeout_ms = 1000,
		.retry_min_ms = 100,
		.retry_max_ms = 1000,
		.mark_interval_ms = 10,
		.grace_ms = 0,
		.lease_ms = 1000000,
		.sleep_after_ms = 100000,
		.safety_poll_ms = 5000,
	};
}

/* --- the stories --- */

static void one_message(void)
{
	begin("one message from end to end");
	ROWS(row(1, 'a'));
	hears("publish 1");
	is_number(look()->in_flight, 1, "it is in flight");
	pass(100);
	hears_not("mark");
	ack(1);
	pass(20);
	hears("mark 1");
	is_number(look()->position, 0, "the position waits for the database");
	marked(200);
	is_number(look()->position, 1, "now it is marked");
	is_number(look()->resident, 0, "and nothing is left in memory");
}

static void lane_order(void)
{
	begin("one key at a time, the others meanwhile");
	ROWS(row(1, 'a'), row(2, 'a'), row(3, 'b'), row(4, 'a'), row(5, ' '), row(6, ' '));
	hears("publish 1, publish 3, publish 5, publish 6");
	hears_not("publish 2");
	ack(3);
	hears_not("publish 2");
	ack(1);
	hears("publish 2");
	hears_not("publish 4");
	ack(2);
	hears("publish 4");
}

static void window(void)
{
	settings.window_messages = 2;
	begin("the window: so many in flight and no more");
	ROWS(row(1, ' '), row(2, ' '), row(3, ' '), row(4, ' '));
	hears("publish 1, publish 2");
	hears_not("publish 3");
	ack(2);
	hears("publish 3");
	hears_not("publish 4");
	is_number(look()->in_flight, 2, "two in flight");
}

static void window_of_bytes(void)
{
	struct row big = row(1, ' '), next = row(2, ' ');

	settings.window_bytes = 1000;
	begin("a message larger than the window goes alone");
	big.bytes = 5000;
	ROWS(big, next);
	hears("publish 1");
	hears_not("publish 2");
	ack(1);
	hears("publish 2");
}

static void ack_timeout(void)
{
	uint64_t first;

	begin("no answer: the same message again, and what is behind it waits");
	ROWS(row(1, 'a'), row(2, 'a'));
	first = token[1];
	forget();
	pass(999);
	hears_not("publish");
	pass(301);
	hears("publish 1");
	hears_not("publish 2");
	notes("retry 1");
	ok(token[1] != first, "the attempt has a token of its own");
	ack(1);
	hears("publish 2");
}

static void late_ack(void)
{
	uint64_t first;

	begin("a late ack of an earlier attempt counts: the message is stored");
	ROWS(row(1, 'a'), row(2, 'a'));
	first = token[1];
	pass(1300);
	forget();
	ack_token(first);
	hears("publish 2");
	ack(1);
	is_number(look()->stale_replies, 1, "the ack of the second attempt has nothing left to say");
	ok(look()->in_flight == 1, "message 2 is still in flight");
}

static void late_refusal(void)
{
	uint64_t first;

	begin("a late refusal of an earlier attempt says nothing about the one under way");
	ROWS(row(1, 'a'));
	first = token[1];
	pass(1300);
	refuse_token(first, 10054, 400);
	is_number(look()->dead, 0, "no dead letter");
	is_number(look()->in_flight, 1, "the second attempt is still in flight");
}

static void stale_token(void)
{
	uint64_t first;

	begin("an answer to a message long settled does not settle its successor in the same slot");
	ROWS(row(1, 'a'));
	first = token[1];
	ack(1);
	settle_books(200);
	for (int64_t id = 2; id <= 40; id++) {
		ROWS(row(id, 'a'));
		if ((token[id] & 0xffff) == (first & 0xffff))
			break;
		ack(id);
		settle_books(200);
	}
	ok((token[published] & 0xffff) == (first & 0xffff), "the slot is taken again");
	ack_token(first);
	is_number(look()->in_flight, 1, "and its message is still in flight");
}

static void bus_down(void)
{
	begin("an outage burns no attempts");
	ROWS(row(1, 'a'), row(2, 'a'), row(3, 'b'));
	for (int i = 0; i < 30; i++) {
		forget();
		happens(EVENT_BUS_DOWN);
		pass(5000);
		hears_not("publish");
		happens(EVENT_BUS_UP);
		if (strstr(heard, "publish 1, publish 3") == NULL)
			break;
	}
	hears("publish 1, publish 3");
	hears_not("publish 2");
	lacks(noted, "lane blocked", "no lane is blocked");
	is_number(look()->refused, 0, "nothing was refused");
}

static void gap(void)
{
	begin("a gap is missing, then its row appears and is sent");
	ROWS(row(1, 'a'), row(3, 'b'));
	hears("publish 1, publish 3");
	ack(1);
	ack(3);
	settle_books(200);
	hears("mark 3 +2..2 missing");
	forget();
	await_fetch("2..2");
	hears("fetch >3 2..2");
	ROWS(row(2, 'c'));
	hears("publish 2");
	ack(2);
	settle_books(201);
	hears("mark 3 -2");
}

static void gap_void(void)
{
	begin("a missing id is void when all who could own it have ended, and not before");
	ROWS(row(1, 'a'), row(3, 'b'));
	ack(1);
	ack(3);
	settle_books(500);
	no_rows(499);
	settle_books(600);
	is_number(look()->missing, 1, "the horizon is below the fence: somebody may still own it");
	forget();
	no_rows(500);
	is_number(look()->missing, 0, "the horizon has reached the fence");
	is_number(look()->voided, 1, "it is void");
	pass(20);
	hears("mark 3 -2");
}

static void xmax_trap(void)
{
	begin("the trap: a snapshot's xmax is no fence");
	/* Transaction 300 owns id 2 and a slow trigger. The last one to end was 299: every snapshot says
	 * xmin = xmax = 300, and 300 stands in none of them. */
	rows_arrive((struct row[]){ row(1, 'a'), row(3, 'b') }, 2, true, 300);
	ack(1);
	ack(3);
	no_rows(300);
	is_number(look()->missing, 1, "seen before any fence was drawn");
	settle_books(301); /* the mark draws 301 */
	no_rows(300);
	is_number(look()->missing, 1, "300 is below the fence: it may still run");
	ROWS(row(2, 'a'));
	hears("publish 2");
}

static void grace(void)
{
	settings.grace_ms = 200;
	begin("a young gap holds the position: most gaps close by themselves");
	ROWS(row(1, 'a'), row(3, 'b'));
	ack(1);
	ack(3);
	settle_books(200);
	hears("mark 1");
	hears_not("missing");
	ROWS(row(2, 'c'));
	ack(2);
	forget();
	settle_books(201);
	hears("mark 3");
	hears_not("missing");
	begin("an old gap does not");
	ROWS(row(1, 'a'), row(3, 'b'));
	ack(1);
	ack(3);
	settle_books(200);
	pass(200);
	hears("mark 3 +2..2 missing");
}

static void late_where_the_position_passes(void)
{
	settings.grace_ms = 200;
	begin("what came late is all that the position passes: the mark says once that it was sent");
	ROWS(row(1, 'a'), row(3, 'b'), row(4, 'c'));
	ack(1);
	settle_books(200);
	hears("mark 1");
	ROWS(row(2, 'd'));
	ack(4); /* 3 is under way */
	ack(2);
	forget();
	settle_books(201);
	hears("mark 2");
	is_number((int64_t)sent_marked, 1, "of one id there is one row: a second one would be refused");
}

static void truncated(void)
{
	begin("what a truncated fetch did not reach is not judged");
	ROWS(row(1, 'a'), row(3, 'b'), row(5, 'c'));
	ack(1);
	ack(3);
	ack(5);
	settle_books(500);
	rows_arrive((struct row[]){ row(2, 'd') }, 1, false, 1000);
	hears("publish 2");
	is_number(look()->missing, 1, "4 lies above the last row that came");
	no_rows(1000);
	is_number(look()->missing, 0, "now it was asked for");
}

/* One row, and more above it: as of a kept snapshot, or not (beyond). */
static void row_and_more(int64_t id, bool beyond)
{
	struct row r = row(id, ' ');

	forget();
	answer_fetch((struct event){ .kind = EVENT_ROWS,
				     .rows = { .rows = &r, .count = 1, .beyond = beyond, .horizon = 1 } });
	ack(id);
}

/* 2 is missing, and asked for: where that is answered, it need not be asked for behind. */
static void begin_with_a_backlog(const char *title)
{
	settings.missing_pause_us = 1000000;
	begin(title);
	row_and_more(1, false);
	hears("fetch >1");
	row_and_more(3, false);
	hears("fetch >3 2..2");
}

static void kept_snapshot(void)
{
	begin_with_a_backlog(
		"a long backlog: what is missing is asked for now and then, and the rest is read as of then");
	row_and_more(4, false);
	hears("fetch >4 as kept");
	hears_not("2..2");
	row_and_more(5, false);
	hears("fetch >5 as kept");
	row_and_more(6, true);
	hears("fetch >6 2..2"); /* what comes next is younger than that */
	row_and_more(7, false);
	hears("fetch >7 as kept");
	pass(1000);
	row_and_more(8, false);
	hears("fetch >8 2..2"); /* it is time */
	row_and_more(9, false);
	hears("fetch >9 as kept");
	forget();
	ROWS(row(10, ' '));
	pass(20);
	hears("fetch >10 2..2"); /* that was all of it */

	settings.missing_pause_us = 100000;
	begin("what is found missing meanwhile does not put that question off");
	row_and_more(1, false);
	row_and_more(3, false);
	for (int64_t id = 5; id < 25; id += 2) {
		row_and_more(id, false); /* one more is missing, 20 ms later */
		hears("as kept");
		pass(20);
	}
	row_and_more(25, false);
	hears("2..2 4..4");

	settings.missing_pause_us = 2000000;
	begin("however many are missing: the question is not put off for longer than a second");
	row_and_more(1, false);
	row_and_more(3, false);
	row_and_more(4, false);
	hears("as kept");
	pass(999);
	row_and_more(5, false);
	hears("as kept");
	pass(1);
	row_and_more(6, false);
	hears("2..2");

	begin("the question for what is missing is cut off: it is asked again");
	rows_arrive((struct row[]){ row(1, ' '), row(3, ' '), row(5, ' ') }, 3, false, 1);
	hears("fetch >5 2..2 4..4");
	row_and_more(2, false);
	hears("fetch >5 4..4");
	hears_not("kept");

	begin_with_a_backlog("the question for what is missing fails: it is asked again");
	row_and_more(4, false);
	hears("fetch >4 as kept");
	pass(1000);
	row_and_more(5, false);
	hears("fetch >5 2..2");
	fetching = false;
	forget();
	happens(EVENT_FETCH_FAILED);
	await_fetch(">5 2..2");
	hears("fetch >5 2..2");
	hears_not("kept");

	begin_with_a_backlog("another lead, another session: nothing is kept from the last");
	row_and_more(4, false);
	hears("fetch >4 as kept");
	happens(EVENT_DEPOSED);
	forget();
	lead_with(4,
		  &(struct exception_row){ .lo = 2, .hi = 2, .kind = EXCEPTION_MISSING, .low_water = LOW_WATER_NONE },
		  1);
	hears("fetch >4 2..2");
	hears_not("kept");
}

static void poison_skip(void)
{
	begin("poison, skip: a dead letter, and the lane goes on when it is on record; others do not wait");
	ROWS(row(1, 'a'), row(2, 'a'), row(3, 'b'));
	refuse(1, 10054);
	notes("dead 1");
	pass(20);
	hears("mark 1 dead 1");
	ack(3);
	ROWS(row(4, 'a'), row(5, 'b'));
	hears("publish 5");
	hears_not("publish 2");
	marked(200);
	hears("publish 2");
	hears_not("publish 4");
	ack(2);
	hears("publish 4");
}

static void other_verdict(void)
{
	struct row bad = row(1, 'a'), worse = row(2, 'a');

	begin("a verdict that was not on record may be another one for the next leader: nothing has passed the row");
	bad.defect = worse.defect = DEFECT_HEADERS_SHAPE;
	ROWS(bad, worse, row(3, 'a'));
	pass(20);
	hears("mark 2 dead 1 dead 2");
	happens(EVENT_DEPOSED);
	lead_with(0, NULL, 0);
	ROWS(row(1, 'a'), row(2, 'a'), row(3, 'a'));
	hears("publish 1");
	hears_not("publish 3");
	ack(1);
	ack(2);
	hears("publish 3");
}

static void defect(void)
{
	struct row bad = row(1, 'a');

	begin("a defective row is never sent");
	bad.defect = DEFECT_HEADERS_SHAPE;
	ROWS(bad, row(2, 'a'));
	pass(20);
	hears("dead 1");
	marked(200);
	hears_not("publish 1");
	hears("publish 2");
}

/* 1 and 2 of a lane are parked: the oldest probes, and 2 follows. */
static void probed_by_1(uint64_t fence)
{
	settle_books(fence);
	forget();
	await_fetch("1..1");
	ROWS(row(1, 'a'));
	hears("publish 1");
	hears_not("publish 2");
	ack(1);
	notes("lane open 1");
	await_fetch("2..2");
	ROWS(row(2, 'a'));
	hears("publish 2");
}

static void hold(void)
{
	begin("poison, hold: the lane waits for an operator, the others do not");
	ROWS(row(1, 'a'), row(2, 'a'), row(3, 'b'));
	refuse(1, 10054);
	notes("held 1");
	hears_not("publish 2");
	ack(3);
	pass(20);
	hears("mark 3 +1..1 held +2..2 parked dead 1 held");
	marked(200);
	forget();
	ROWS(row(4, 'a'), row(5, 'b'));
	hears("publish 5");
	ack(5);
	pass(600000);
	hears_not("publish 2");
	hears_not("publish 4");
}

static void discard(void)
{
	hold();
	diag("discarded: what waited behind it goes on, in order");
	settle_books(300);
	forget();
	decided(1, false);
	await_fetch("2..2 4..4");
	ROWS(row(2, 'a'), row(4, 'a'));
	hears("publish 2");
	hears_not("publish 4");
	ack(2);
	hears("publish 4");
	ack(4);
	pass(20);
	hears("resolved 1");
}

static void redriven_in_haste(void)
{
	hold();
	diag("redriven twice before the books hear of it, and refused each time: one record");
	settle_books(300);
	for (int i = 0; i < 2; i++) {
		forget();
		decided(1, true);
		await_fetch("1..1");
		ROWS(row(1, 'a'));
		hears("publish 1");
		refuse(1, 10054);
		notes("held 1");
	}
	forget();
	pass(20);
	hears("dead 1 held");
	hears_not("dead 1 held dead 1 held");
}

static void redrive(void)
{
	hold();
	diag("redriven: it is sent in its old place");
	settle_books(300);
	forget();
	decided(1, true);
	await_fetch("1..1");
	ROWS(row(1, 'a'));
	hears("publish 1");
	hears_not("publish 2");
	ack(1);
	notes("lane open 1");
	await_fetch("2..2 4..4");
	ROWS(row(2, 'a'), row(4, 'a'));
	hears("publish 2");
	ack(2);
	ack(4);
	pass(20);
	hears("resolved 1");
}

/* 2 cannot be sent as it is read, so it holds its lane while 1 fills the window. */
static void redriven_behind_silence(void)
{
	struct row bad = row(2, 'a');

	settings.ordering = ORDERING_PIPELINED;
	settings.window_messages = 1;
	begin("pipelined: a letter is redriven while one of its lane is under way: without an answer that one goes first again");
	ROWS(row(1, 'a'));
	hears("publish 1");
	bad.defect = DEFECT_HEADERS_SHAPE;
	ROWS(bad);
	notes("held 2");
	settle_books(200);
	decided(2, true);
	await_fetch("2..2");
	ROWS(row(2, 'a'));
	forget();
	pass(settings.ack_timeout_ms);
	hears_not("publish 2");
	probed_by_1(300);
}

static void redriven_in_doubt(void)
{
	tells = false;
	begin("a letter that holds its lane had no answer once: redriven beyond the window, it is looked for first");
	told(0, true, 10000, 7);
	ROWS(row(1, 'a'));
	forget();
	pass(1200);
	hears("publish 1");
	refuse(1, 10054);
	settle_books(200);
	pass(600000);
	forget();
	decided(1, true);
	await_fetch("1..1");
	ROWS(row(1, 'a'));
	hears("lookback 0 above 7");
	hears_not("publish 1");
	told(0, true, 10000, 8);
	hears("publish 1");
}

static void stream_blocked(void)
{
	struct row other = row(4, 'c');

	begin("a stream that takes nothing: parked, probed, opened, in order");
	other.stream = 1;
	ROWS(row(1, 'a'), row(2, 'a'), row(3, 'b'), other);
	refuse(1, REASON_STREAM_FULL);
	notes("stream blocked 1");
	refuse(3, REASON_STREAM_FULL);
	ack(4);
	pass(20);
	hears("mark 4 +1..3 parked");
	marked(200);
	forget();
	await_fetch("1..1");
	ROWS(row(1, 'a'));
	hears("publish 1");
	hears_not("publish 2");
	hears_not("publish 3");
	ack(1);
	notes("stream open 1");
	await_fetch("2..3");
	ROWS(row(2, 'a'), row(3, 'b'));
	hears("publish 2, publish 3");
}

static void lane_blocked(void)
{
	begin("a lane that cannot go on holds nobody else");
	ROWS(row(1, 'a'), row(2, 'a'), row(3, 'b'), row(4, 'b'));
	refuse(1, REASON_SUBJECT_FULL);
	notes("lane blocked 1");
	ack(3);
	hears("publish 4");
	ack(4);
	probed_by_1(200);
}

static void wrong_probes(void)
{
	int64_t began;

	begin("a stream's probe turns out to wait for its lane: it says nothing, and the next one is asked at once");
	ROWS(row(1, 'a'), row(2, 'a'), row(3, 'a'), row(4, 'b'));
	refuse(1, REASON_STREAM_FULL);
	refuse(4, REASON_STREAM_FULL);
	settle_books(200);
	await_fetch("1..1");
	ROWS(row(1, 'a'));
	refuse(1, REASON_SUBJECT_FULL);
	notes("lane blocked 1");
	forget();
	await_fetch("1..1"); /* the lane's own, which waits for the stream from now on */
	ROWS(row(1, 'a'));
	hears_not("publish 1");
	await_fetch("2..2");
	began = now;
	ROWS(row(2, 'a'));
	await_fetch("3..3");
	ROWS(row(3, 'a'));
	await_fetch("4..4");
	ROWS(row(4, 'b'));
	hears_not("publish 2");
	hears("publish 4");
	ok(now - began < settings.retry_min_ms, "without a pause");
}

static void years(void)
{
	struct exception_row tried = { .lo = 1, .hi = 1, .kind = EXCEPTION_PARKED, .attempts = UINT32_MAX };
	int64_t begun;

	begin("years of refusals: the pauses stay what they are, the count of attempts stops");
	happens(EVENT_DEPOSED);
	now += INT64_C(300) * 365 * 86400 * 1000;
	begun = now;
	lead_with(1, &tried, 1);
	for (int i = 0; i < 40; i++) {
		forget();
		await_fetch("1..1");
		ROWS(row(1, 'a'));
		hears("publish 1");
		refuse(1, REASON_SUBJECT_FULL);
		settle_books(200);
	}
	is_number(attempts, UINT16_MAX, "attempts");
	ok(now - begun < INT64_C(40) * 2 * settings.retry_max_ms, "%lld ms for 40 of them", (long long)(now - begun));
}

static void silence(void)
{
	begin("a stream that does not answer is probed with single messages");
	ROWS(row(1, 'a'), row(2, 'b'), row(3, 'c'), row(4, 'd'));
	pass(1001);
	notes("stream blocked");
	forget();
	await_fetch("1..1");
	hears_not("publish");
	ROWS(row(1, 'a'));
	is_number(look()->in_flight, 1, "one probe and no more");
}

static void busy(void)
{
	struct row rows[64];

	settings.window_messages = settings.queue_messages = 64;
	begin("too many requests: the window is halved, and grows again with the acks");
	for (int i = 0; i < 64; i++)
		rows[i] = row(i + 1, ' ');
	rows_arrive(rows, 64, true, 0);
	is_number(look()->in_flight, 64, "all in flight");
	refuse_token(token[1], 10167, 429);
	is_number(look()->window, 32, "the window is half as wide");
	for (int64_t id = 2; id <= 64; id++)
		ack(id);
	ok(look()->window > 32, "it grows again");
	forget();
	pass(200);
	hears("publish 1");
}

static void fall_asleep(void)
{
	settings.sleep_after_ms = 100;
	begin("nothing to do: announce, wait for those who could not know, sleep");
	for (int i = 0; i < 50 && strstr(heard, "announce") == NULL; i++)
		no_rows(0);
	hears("announce asleep");
	announced(true, 700);
	is_number(look()->pace, PACE_DROWSY, "drowsy: who began before 700 may not have seen the flag");
	forget();
	no_rows(0); /* the one sent before the announcement came through */
	no_rows(699);
	is_number(look()->pace, PACE_DROWSY, "699 still runs");
	no_rows(700);
	is_number(look()->pace, PACE_ASLEEP, "asleep");
	forget();
	pass(4999);
	is_text(heard, "", "no query at all");
}

/* One row, and what an awake relay says in the 40 ms after it. */
static void row_and_rest(int64_t id)
{
	int64_t until = now + 40;

	ROWS(row(id, 'a'));
	ack(id);
	forget();
	while (now < until && strstr(heard, "announce") == NULL)
		no_rows(0);
}

static void lone_rows(void)
{
	settings.sleep_after_ms = 100;
	begin("rows that come one by one: asleep between them, for a notification is quicker than a poll");
	for (int64_t id = 1; id < 7 && strstr(heard, "announce") == NULL; id++)
		row_and_rest(id);
	hears("announce asleep");
	begin("many producers at once: they may come back, and must not all notify");
	for (int64_t id = 1; id < 10; id++) {
		ROWS(row(id, (char)('a' + id)));
		ack(id);
	}
	row_and_rest(10);
	hears_not("announce asleep");
}

static void sleepless(void)
{
	settings.sleep_after_ms = SLEEP_NEVER;
	begin("never is never: not after a row that came alone, and not after a year of silence");
	row_and_rest(1);
	hears_not("announce");
	now += INT64_C(365) * 86400 * 1000;
	no_rows(0);
	no_rows(0);
	hears_not("announce");
	is_number(look()->pace, PACE_AWAKE, "awake");
}

static void sleep_and_wake(void)
{
	fall_asleep();
	diag("woken");
	happens(EVENT_NOTIFIED);
	is_text(heard, "fetch >0", "a notification: look at once");
	ROWS(row(1, 'a'));
	hears("publish 1");
	ack(1);
	settle_books(800);
	no_rows(0);
	forget();
	pass(5001);
	hears("fetch >1");
}

static void lease(void)
{
	settings.lease_ms = 3000;
	begin("no sign of life of the database: somebody else may lead");
	ROWS(row(1, 'a'), row(2, 'b'));
	ack(1);
	happens(EVENT_BUS_DOWN);
	forget();
	pass(3001);
	happens(EVENT_BUS_UP);
	hears_not("publish");
	no_rows(0);
	hears("publish 2");
}

static void nearly_no_room(void)
{
	enum { CAPACITY = LIMIT_EXCEPTIONS + 8 * 16, RANGES = CAPACITY - 5 };
	static struct exception_row ranges[RANGES];

	audits = false;
	begin("the book is as good as full: one row at a time, or nothing would ever be settled");
	for (int i = 0; i < RANGES; i++)
		ranges[i] = (struct exception_row){ .lo = 4 * i + 1, .hi = 4 * i + 3, .kind = EXCEPTION_PARKED };
	happens(EVENT_DEPOSED);
	forget();
	lead_with(4 * RANGES, ranges, RANGES);
	hears("fetch 1..3");
	forget();
	ROWS(row(2, 'a'));
	hears("publish 2");
	forget();
	ack(2);
	pass(20);
	hears("fetch 1..1 3..3");
}

static void another_history(void)
{
	uint64_t first, second;

	begin("a failover that missed the last commits: the position goes back, and ids are other messages");
	ROWS(row(1, 'a'), row(2, 'b'), row(3, 'a'));
	ack(1);
	ack(2);
	pass(20);
	hears("mark 2");
	first = token[2];
	second = token[3];
	happens(EVENT_DEPOSED);
	forget();
	lead_with(0, NULL, 0);
	hears("fetch >0");
	ROWS(row(1, 'a'), row(2, 'c'));
	hears("publish 1, publish 2");
	forget();
	ack_token(first);
	ack_token(second);
	is_number(look()->in_flight, 2, "answers about the lost messages are for nobody");
	ack(2);
	ack(1);
	pass(20);
	hears("mark 2");
}

static void stuck_in_the_socket(void)
{
	settings.lease_ms = 3000;
	begin("what is not in flight any more may still stand before the socket: the lease holds for it too");
	ROWS(row(1, 'a'), row(2, 'b'));
	pass(1001);
	notes("stream blocked");
	is_number(look()->in_flight, 0, "nothing is in flight");
	ok(delivery_send_deadline(d) <= now + 3000, "and yet nothing may leave after the lease");
	happens(EVENT_DEPOSED);
	ok(delivery_send_deadline(d) == INT64_MAX, "without the lead nothing is left to be sent");
}

static void renewal(void)
{
	settings.lease_ms = 3000;
	settings.queue_messages = settings.window_messages = 2;
	settings.ack_timeout_ms = 60000;
	begin("nothing to ask the database, and work to do: a sign of life is asked for in time");
	ROWS(row(1, 'a'), row(2, 'b'));
	forget();
	pass(1400);
	hears_not("renew");
	pass(200);
	hears("renew");
	happens(EVENT_BUS_DOWN);
	pass(1500);
	happens(EVENT_BUS_UP);
	hears_not("publish");
	renewed();
	hears("publish 1, publish 2");
}

static void adjust(void)
{
	step((struct event){ .kind = EVENT_SETTINGS, .settings = &settings });
}

static void other_settings(void)
{
	settings.window_messages = 4;
	begin("a smaller window: what is in flight is answered, and then it holds");
	ROWS(row(1, ' '), row(2, ' '), row(3, ' '), row(4, ' '), row(5, ' '), row(6, ' '));
	settings.window_messages = 2;
	adjust();
	is_number(look()->in_flight, 4, "four are in flight, and are not taken back");
	forget();
	ack(1);
	ack(2);
	hears_not("publish");
	ack(3);
	hears("publish 5");
	hears_not("publish 6");
	settings.window_messages = 4;
	adjust();
	for (int64_t id = 4; id <= 6; id++)
		ack(id);
	is_number(look()->in_flight, 0, "and all of them are sent");

	settings.ack_timeout_ms = 60000;
	begin("less patience: it counts for what is in flight already");
	ROWS(row(1, 'a'));
	pass(1000);
	forget();
	settings.ack_timeout_ms = 500;
	adjust();
	pass(2000);
	hears("publish 1");

	fall_asleep();
	diag("asleep, and told to look more often");
	settings.safety_poll_ms = 1000;
	adjust();
	pass(1001);
	hears("fetch >0");
}

static void drain(void)
{
	begin("drain: settle what is in flight, mark it, and be done");
	ROWS(row(1, 'a'), row(2, 'a'), row(3, 'b'));
	forget();
	happens(EVENT_DRAIN);
	ack(1);
	hears_not("publish 2");
	hears_not("drained");
	ack(3);
	hears("mark 1");
	hears_not("drained");
	if (fetching)
		no_rows(0);
	marked(200);
	pass(20);
	if (marking)
		marked(201);
	pass(20);
	hears("drained");
	hears_not("publish");
}

static void pause_is(uint64_t pause)
{
	step((struct event){ .kind = EVENT_PAUSED, .paused = { .operator_pause = pause } });
}

static void paused(void)
{
	begin("paused: what is in flight is settled, nothing else is read or sent, until it goes on");
	ROWS(row(1, 'a'), row(2, 'a'), row(3, 'b'));
	if (fetching)
		no_rows(0);
	forget();
	pause_is(7);
	ack(1);
	hears_not("quiet");
	ack(3);
	pass(20);
	hears("mark 1");
	hears_not("quiet");
	marked(200);
	hears("quiet 7");
	ok(delivery_send_deadline(d) <= now, "and nothing that still stands before the socket may leave");
	forget();
	pause_is(7);
	pass(20000);
	hears_not("publish");
	hears_not("fetch");
	hears_not("quiet");
	is_number(look()->resident, 1, "what was read waits in memory");
	happens(EVENT_NOTIFIED);
	hears_not("fetch");
	pause_is(8);
	hears("quiet 8");
	renewed();
	forget();
	pause_is(0);
	hears("fetch >3, publish 2");
}

static void paused_lead(void)
{
	begin("paused before we lead: nothing is read, and all is quiet when an earlier leader's lease has ended");
	happens(EVENT_DEPOSED);
	forget();
	step((struct event){ .kind = EVENT_LEADING,
			     .leading = { .asked_ms = now,
					  .low_water = low_waters,
					  .operator_pause = 3,
					  .predecessor_until_ms = now + 500 } });
	pass(400);
	is_text(heard, "", "it asks for nothing");
	pass(200);
	hears("quiet 3");
	forget();
	pause_is(0);
	hears("fetch >0");
}

static void deposed(void)
{
	uint64_t first;

	begin("deposed: nothing in memory counts any more");
	ROWS(row(1, 'a'), row(2, 'b'));
	first = token[1];
	happens(EVENT_DEPOSED);
	is_number(look()->resident, 0, "memory is empty");
	forget();
	ack_token(first);
	pass(10000);
	is_text(heard, "", "it asks for nothing");
	lead_with(0, NULL, 0);
	hears("fetch >0");
	ack_token(first);
	ROWS(row(1, 'a'), row(2, 'b'));
	hears("publish 1, publish 2");
	ack_token(first);
	is_number(look()->in_flight, 2, "an answer from before settles nothing now");
}

static void restart(void)
{
	const struct exception_row left[] = {
		{ .lo = 2, .hi = 2, .kind = EXCEPTION_MISSING, .low_water = LOW_WATER_NONE },
		{ .lo = 5, .hi = 6, .kind = EXCEPTION_ACTIVE }
	};

	begin("a restart reads what is left behind together with what is new");
	lead_with(9, left, 2);
	hears("fetch >9 2..2 5..6");
	ROWS(row(5, 'a'), row(6, 'a'), row(10, 'a'));
	hears("publish 5");
	hears_not("publish 6");
	ack(5);
	hears("publish 6");
	ack(6);
	hears("publish 10");
	ack(10);
	settle_books(200);
	hears("mark 10");
	is_number(look()->exceptions, 1, "2 is still missing");
}

static void full(void)
{
	enum { HALF = LIMIT_EXCEPTIONS / 2 + 1 };
	static struct row rows[HALF];

	settings.window_messages = settings.queue_messages = HALF;
	settings.queue_bytes = settings.window_bytes = UINT32_MAX;
	audits = false;
	begin("no room for more exceptions: read nothing new, keep looking for the old");
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < HALF; i++)
			rows[i] = row(2 * ((int64_t)round * HALF + i + 1), ' ');
		fetching = true;
		rows_arrive(rows, HALF, true, 0);
		for (int i = 0; i < HALF; i++)
			ack(rows[i].id);
	}
	ok(look()->missing >= LIMIT_EXCEPTIONS, "every second id is missing");
	no_rows(0);
	notes("full");
	forget();
	no_rows(0);
	pass(50);
	ok(look()->full, "it says so");
	hears_not("fetch >");
}

static void lookback_first(void)
{
	tells = false;
	low_waters[0] = 41;
	begin("a new leader looks at what the stream holds before it sends anything there");
	lead_with(10, NULL, 0);
	hears("lookback 0 above 41");
	hears("lookback 1 above none");
	ROWS(row(11, 'a'), row(12, 'b'));
	hears_not("publish");
	is_number(look()->asking, 2, "they wait for the answer");
	told(0, true, WINDOW_MS, 50);
	hears("publish 11, publish 12");
}

static void lookback_of_nobody(void)
{
	tells = false;
	begin("what cannot be looked at takes no messages: its rows are parked, and its probe asks again");
	ROWS(row(1, 'a'), row(2, 'b'));
	told(0, false, 0, 0);
	notes("stream blocked 1");
	is_number(look()->resident, 0, "nothing is left in memory");
	forget();
	await_fetch("1..1");
	ROWS(row(1, 'a'));
	hears("lookback 0 above");
	hears_not("publish");
	told(0, true, WINDOW_MS, 0);
	hears("publish 1");
}

static void blind(void)
{
	tells = false;
	begin("looks that are refused again and again: a probe is sent all the same, and if it is taken, so is the rest");
	ROWS(row(1, 'a'), row(2, 'b'));
	for (int i = 1; i < LIMIT_LOOKBACKS_UNANSWERED; i++) {
		hears_not("publish");
		told(0, false, 0, 0);
		forget();
		await_fetch("1..1");
		ROWS(row(1, 'a'));
	}
	told(0, false, 0, 0);
	hears("publish 1");
	forget();
	ack(1);
	hears("lookback 0 above none");
	told(0, false, 0, 0);
	notes("blind 0");
	ROWS(row(2, 'b'));
	hears("publish 2");
	forget();
	pass(WINDOW_MS);
	hears("publish 2"); /* in doubt, and nobody to ask */
}

static void lease_is_over(void)
{
	tells = false;
	begin("when the lease of others is over, what they stored meanwhile is looked for, if anything is left to be sent");
	predecessor_until = now + 5000;
	lead_with(0, NULL, 0);
	told(0, true, WINDOW_MS, 7);
	happens(EVENT_BUS_DOWN);
	ROWS(row(1, 'a'));
	pass(400000);
	forget();
	happens(EVENT_BUS_UP);
	hears("lookback 0 above 7");
	hears_not("publish");
	told(0, true, WINDOW_MS, 8);
	hears("publish 1");

	low_waters[0] = 5;
	begin("it stood still before it could look for that: what others may have sent waits for the answer");
	told(0, true, WINDOW_MS, 7);
	now += WINDOW_MS;
	ROWS(row(1, 'a'));
	hears("lookback 0 above 7");
	hears_not("publish");
	told(0, true, WINDOW_MS, 8);
	hears("publish 1");
}

/* 1 was a dead letter already when it is read again, and 2 waits behind it. */
static void behind_a_letter(bool doubted)
{
	const struct exception_row left[] = {
		{ 1, 1, EXCEPTION_PARKED, .lane = 'a' * 7919, .low_water = LOW_WATER_NONE, .doubted = doubted },
		{ 2, 2, EXCEPTION_PARKED, .lane = 'a' * 7919, .low_water = LOW_WATER_NONE, .doubted = doubted },
	};
	struct row bad = row(1, 'a');

	bad.defect = DEFECT_HEADERS_SHAPE;
	low_waters[0] = 5;
	lead_with(2, left, 2);
	told(0, true, WINDOW_MS, 7);
	ROWS(bad, row(3, 'b'));
	notes("held 1");
	step((struct event){ .kind = EVENT_ACKED, .acked = { .token = token[3], .sequence = 8 } });
	settle_books(200);
	ROWS(row(4, 'b'));
	step((struct event){ .kind = EVENT_ACKED, .acked = { .token = token[4], .sequence = 9 } });
	settle_books(200);
}

static void inheritance(void)
{
	tells = false;
	settings.streams = 1;
	begin("behind a letter nothing was sent, so nothing older than us need be looked for");
	behind_a_letter(false);
	is_number((int64_t)low_water_marked, 9, "the low water is ours");
	begin("a promotion may have taken a decision back: then it may have been sent");
	behind_a_letter(true);
	is_number((int64_t)low_water_marked, 5, "the low water is what earlier leaders left");

	settings.streams = 2;
	begin("of another stream it may have been sent before the letter was one: the books say so, for who leads next");
	behind_a_letter(false);
	hears("+2..2 parked doubted");
}

static void slow_look(void)
{
	tells = false;
	begin("a look that took longer than half a window says nothing about its end: once more");
	lead_with(0, NULL, 0);
	ROWS(row(1, 'a'));
	pass(600);
	forget();
	step((struct event){
		.kind = EVENT_LOOKBACK,
		.lookback = { .ok = true, .asked_ms = now - 600, .duplicate_window_ms = 1000, .last = 9 } });
	hears("lookback 0 above 9");
	hears_not("publish");
	told(0, true, 1000, 9);
	hears("publish 1");
}

static void lease_of_predecessor(void)
{
	tells = false;
	begin("an earlier leader may live: a short window is no bridge over its lease");
	predecessor_until = now + 5000;
	lead_with(0, NULL, 0);
	forget();
	ROWS(row(1, 'a'));
	told(0, true, 1000, 0);
	notes("others 0");
	hears_not("publish");
	forget();
	pass(4400);
	hears_not("lookback 0");
	pass(200);
	hears("lookback 0 above");
	told(0, true, 1000, 0);
	hears("publish 1");

	begin("a long one is");
	predecessor_until = now + 5000;
	lead_with(0, NULL, 0);
	ROWS(row(1, 'a'));
	told(0, true, 10000, 0);
	hears("publish 1");
}

static void sent_before_the_lead(void)
{
	tells = false;
	begin("what was sent before we led has a quarter of the window to arrive; then one more look, for what is not ours");
	low_waters[0] = 5;
	lead_with(0, NULL, 0);
	told(0, true, 4000, 7);
	ROWS(row(1, 'a'), row(2, 'a'));
	hears("publish 1");
	step((struct event){ .kind = EVENT_ACKED, .acked = { .token = token[1], .sequence = 8 } });
	hears("publish 2");
	forget();
	pass(900);
	hears_not("lookback");
	pass(200);
	hears("lookback 0 above 8");
}

static void acked_at(int64_t id, uint64_t sequence)
{
	step((struct event){ .kind = EVENT_ACKED, .acked = { .token = token[id], .sequence = sequence } });
}

/* It took over, and sent 1 to 6. */
static void take_over(void)
{
	low_waters[0] = 5;
	lead_with(0, NULL, 0);
	told(0, true, 4000, 7);
	ROWS(row(1, 'a'), row(2, 'b'), row(3, 'c'), row(4, 'd'), row(5, 'e'), row(6, 'f'));
}

/* And was told where 1 to 5 stand; then the last look is due. */
static void last_look(const uint64_t sequence[5])
{
	take_over();
	for (int i = 0; i < 5; i++)
		acked_at(i + 1, sequence[i]);
	forget();
	pass(1100);
}

static void among_others(void)
{
	tells = false;
	begin("what we stored ourselves is not looked at, in whatever order it was told");
	last_look((uint64_t[]){ 10, 9, 8, 12, 11 });
	hears("lookback 0 above 12");
	hears_not("but");

	begin("nor what stands behind something of others");
	last_look((uint64_t[]){ 8, 10, 11, 14, 13 });
	hears("lookback 0 above 8, but 10..11, but 13..14");
	forget();
	acked_at(6, 15); /* before the answer */
	told(0, true, 4000, 14);
	happens(EVENT_BUS_DOWN);
	ROWS(row(7, 'g'));
	happens(EVENT_BUS_UP);
	hears("lookback 0 above");
	hears_not("but");

	begin("a sequence that is given again: the stream has lost its end, and all of it is looked at");
	take_over();
	acked_at(1, 8);
	acked_at(2, 10);
	acked_at(3, 11);
	forget();
	acked_at(4, 11);
	hears("lookback 0 above unknown, truncated, but 11..11");
	forget();
	told(0, true, 4000, 20);
	happens(EVENT_BUS_DOWN);
	happens(EVENT_BUS_UP);
	hears("lookback 0 above");
	hears_not("truncated"); /* what that look found counts */

	begin("it ends below what was acknowledged: nothing is known of what will stand there");
	last_look((uint64_t[]){ 8, 10, 11, 12, 13 });
	hears("lookback 0 above 8, but 10..13");
	forget();
	told(0, true, 4000, 9);
	acked_at(6, 11); /* it may have stood there before */
	ROWS(row(7, 'g'));
	acked_at(7, 12);
	happens(EVENT_BUS_DOWN);
	ROWS(row(8, 'h'));
	forget();
	happens(EVENT_BUS_UP);
	hears("lookback 0 above none, but 12..12");

	begin("so it is where what was acknowledged overtook the answer");
	last_look((uint64_t[]){ 8, 9, 10, 11, 12 });
	hears("lookback 0 above 12");
	acked_at(6, 14);
	told(0, true, 4000, 12);
	happens(EVENT_BUS_DOWN);
	happens(EVENT_BUS_UP);
	told(0, true, 4000, 13); /* less than 14: it was cut off at 12, and others went on */
	told(0, true, 4000, 13);
	ROWS(row(7, 'g'));
	forget();
	acked_at(7, 15);
	happens(EVENT_BUS_DOWN);
	happens(EVENT_BUS_UP);
	hears("but 15..15");

	begin("and where what was sent later stands below what was there before");
	last_look((uint64_t[]){ 8, 10, 11, 12, 13 });
	hears("lookback 0 above 8, but 10..13");
	told(0, true, 4000, 13);
	ROWS(row(7, 'g'));
	acked_at(7, 15);
	ROWS(row(8, 'h'));
	forget();
	acked_at(8, 13);
	hears("lookback 0 above unknown, truncated, but 13..13");

	begin("a duplicate is told a sequence that is known, and that is all");
	take_over();
	acked_at(1, 8);
	acked_at(2, 10);
	step((struct event){ .kind = EVENT_ACKED, .acked = { .token = token[3], .sequence = 10, .duplicate = true } });
	forget();
	pass(1100);
	hears("lookback 0 above 8, but 10..10");
}

static void another_stream(void)
{
	tells = false;
	settings.streams = 1;
	begin("the stream is made anew, and nothing else tells of it than what it acknowledges");
	low_waters[0] = 5;
	lead_with(0, NULL, 0);
	told(0, true, WINDOW_MS, 300);
	ROWS(row(1, 'a'), row(2, 'b'), row(3, 'c'), row(4, 'd'), row(5, 'e'), row(6, 'f'));
	forget();
	for (int64_t id = 1; id <= 5; id++)
		acked_at(id, (uint64_t)id);
	hears("lookback 0 above 1");
	ROWS(row(7, 'g'));
	hears_not("publish");
	low_water_marked = 300;
	settle_books(200);
	is_number((int64_t)low_water_marked, LOW_WATER_UNKNOWN, "6 may stand below all that was acknowledged");
	told(0, true, WINDOW_MS, 6);
	hears("publish 7");
	acked_at(6, 6);
	acked_at(7, 7);
	settle_books(200);
	is_number((int64_t)low_water_marked, 7, "and then the low_waters are those of the new one");

	begin("an answer that was on its way may be of the old one: it is not taken");
	low_waters[0] = 5;
	lead_with(0, NULL, 0);
	told(0, true, 400, 300);
	ROWS(row(1, 'a'), row(2, 'b'), row(3, 'c'));
	acked_at(3, 301);
	pass(150);
	hears("lookback 0 above 301");
	forget();
	acked_at(1, 1);
	hears("lookback 0 above 1");
	is_number((int64_t)known_end, 1, "of this one no more is known");

	begin("an ack that was on its way is of the old one: it does not say where the new one ends");
	low_waters[0] = 5;
	lead_with(0, NULL, 0);
	told(0, true, WINDOW_MS, 300);
	ROWS(row(1, 'a'), row(2, 'b'));
	acked_at(1, 1);
	told(0, true, WINDOW_MS, 1);
	acked_at(2, 302);
	settle_books(200);
	is_number((int64_t)low_water_marked, 1, "what comes may stand right behind");

	low_waters[0] = LOW_WATER_NONE;
	begin("a copy of what was sent before may stand anywhere");
	told(0, true, WINDOW_MS, 300);
	no_rows(0);
	ROWS(row(1, 'a'), row(2, 'b'));
	forget();
	acked_at(1, 2);
	hears("lookback 0 above unknown, truncated, but 2..2");
	told(0, true, WINDOW_MS, 2);
	happens(EVENT_BUS_DOWN);
	forget();
	happens(EVENT_BUS_UP);
	hears("lookback 0 above 2");

	begin("so may one of what is held back");
	told(0, true, WINDOW_MS, 300);
	no_rows(0);
	ROWS(row(1, 'a'), row(2, 'b'));
	pass(1000);
	hears("+2..2 parked sent");
	forget();
	await_fetch("1..1");
	ROWS(row(1, 'a'));
	hears("lookback 0 above 300");
	told(0, true, WINDOW_MS, 300);
	hears("publish 1");
	forget();
	acked_at(1, 2);
	hears("lookback 0 above unknown, truncated, but 2..2");
	told(0, true, WINDOW_MS, 2);
	happens(EVENT_BUS_DOWN);
	forget();
	happens(EVENT_BUS_UP);
	hears("lookback 0 above 2");

	begin("where the stream must end at least is said with the question");
	last_look((uint64_t[]){ 8, 10, 11, 12, 13 });
	is_number((int64_t)known_end, 13, "at what was acknowledged");
	begin("or at what earlier leaders left");
	low_waters[0] = 300;
	lead_with(0, NULL, 0);
	is_number((int64_t)known_end, 300, "at their low water");
	told(0, true, WINDOW_MS, 200);
	ROWS(row(1, 'a'), row(2, 'b'));
	acked_at(1, 201);
	settle_books(200);
	is_number((int64_t)low_water_marked, LOW_WATER_UNKNOWN, "it ended below: the low water is void");

	begin("it was created anew and has grown beyond: what the reader saw is told");
	low_waters[0] = 5;
	lead_with(0, NULL, 0);
	told(0, true, WINDOW_MS, 300);
	ROWS(row(1, 'a'), row(2, 'b'), row(3, 'c'));
	happens(EVENT_BUS_DOWN);
	happens(EVENT_BUS_UP);
	step((struct event){ .kind = EVENT_LOOKBACK,
			     .lookback = { .ok = true,
					   .another = true,
					   .asked_ms = now,
					   .duplicate_window_ms = WINDOW_MS,
					   .last = 400 } });
	acked_at(1, 401);
	settle_books(200);
	is_number((int64_t)low_water_marked, LOW_WATER_UNKNOWN, "its low_waters are not those of the old one");

	begin("others may have sent what is left, and what was found of theirs is void: it is looked for again");
	low_waters[0] = 5;
	lead_with(0, NULL, 0);
	told(0, true, 4000, 300);
	pass(1100);
	told(0, true, 4000, 300);
	happens(EVENT_BUS_DOWN);
	happens(EVENT_BUS_UP);
	ROWS(row(1, 'a'));
	hears("lookback 0 above none");
	forget();
	told(0, true, 4000, 290);
	hears("lookback 0 above unknown");
	hears_not("publish");
	told(0, true, 4000, 290);
	hears("publish 1");
}

static void doubt(void)
{
	tells = false;
	begin("no answer: sent again within half a window; beyond it the stream is asked first");
	told(0, true, 10000, 7);
	ROWS(row(1, 'a'));
	forget();
	pass(1200);
	hears("publish 1");
	hears_not("lookback");
	happens(EVENT_BUS_DOWN);
	pass(4000);
	forget();
	happens(EVENT_BUS_UP);
	hears("lookback 0 above 7");
	hears_not("publish");
	told(0, true, 10000, 9);
	hears("publish 1");
}

static void doubt_is_kept(void)
{
	tells = false;
	begin("parked after it was sent: the books say from where its copy may stand");
	told(0, true, WINDOW_MS, 7);
	ROWS(row(1, 'a'), row(2, 'b'));
	forget();
	pass(1000);
	hears("+1..1 parked sent");
	hears("+2..2 parked sent");

	begin("refused, it cannot be there");
	told(0, true, WINDOW_MS, 7);
	ROWS(row(1, 'a'), row(2, 'b'));
	forget();
	refuse(1, REASON_STREAM_FULL);
	refuse(2, REASON_STREAM_FULL);
	pass(100);
	hears("+1..2 parked");
	hears_not("sent");
}

static void falls_asleep(void)
{
	forget();
	for (int i = 0; i < 50 && strstr(heard, "announce asleep") == NULL; i++)
		no_rows(0);
	announced(true, 700);
	no_rows(0);
	no_rows(700);
	is_number(look()->pace, PACE_ASLEEP, "asleep");
}

static void found(void)
{
	settings.sleep_after_ms = 100;
	begin("what was found in a stream is sought while anything is left that it may be of");
	ok(look()->found_is_sought, "awake");
	falls_asleep();
	ok(!look()->found_is_sought, "asleep, and nothing is left");
	happens(EVENT_NOTIFIED);
	ROWS(row(1, 'a'));
	ok(look()->found_is_sought, "a message in memory");
	refuse(1, REASON_STREAM_FULL);
	ok(look()->resident == 0 && look()->found_is_sought, "a message held back");
	is_number(look()->pace, PACE_ASLEEP, "asleep all the while");

	begin("a letter that was refused at its first attempt can have no copy");
	ROWS(row(1, 'a'));
	refuse(1, REASON_STORE_TOO_LARGE);
	settle_books(200);
	is_number((int64_t)look()->dead, 1, "a dead letter");
	falls_asleep();
	ok(!look()->found_is_sought, "nothing is left");

	begin("one that got no answer before may have one, and be redriven");
	ROWS(row(1, 'a'));
	pass(1200);
	refuse(1, REASON_STORE_TOO_LARGE);
	settle_books(200);
	is_number((int64_t)look()->dead, 1, "a dead letter");
	falls_asleep();
	ok(look()->found_is_sought, "while we lead");
	lead_with(1, NULL, 0);
	falls_asleep();
	ok(!look()->found_is_sought, "and no longer");
}

/* --- what is gone from a stream --- */

static struct row of_transaction(uint64_t xid, int64_t id, char key)
{
	struct row r = row(id, key);

	r.xid = xid;
	return r;
}

/* So many later ones might prove the one in flight, and do, when they were sent from a snapshot with this horizon. */
static int64_t witnesses(int64_t id, uint64_t horizon)
{
	uint32_t slot = (uint32_t)(token[id] & 0xffff);
	int64_t n = 0;

	for (int32_t w = -1; (w = delivery_witness(d, slot, w)) >= 0;)
		n += delivery_is_proved(d, slot, (uint32_t)w, horizon);
	return n;
}

static void gone(void)
{
	begin("a later one of its lane proves what stood in the snapshot that it was sent from");
	ROWS(of_transaction(10, 1, 'a'), of_transaction(10, 2, 'b'), of_transaction(20, 3, 'a'),
	     of_transaction(30, 4, 'a'));
	hears("publish 1");
	ok(evident, "1 bears witness");
	is_number(witnesses(1, 11), 2, "3 and 4, if its transaction had ended");
	is_number(witnesses(1, 10), 0, "none, if that may have run");
	is_number(witnesses(2, 99), 0, "none of another lane");

	begin("what one transaction wrote is seen together");
	ROWS(of_transaction(10, 1, 'a'), of_transaction(10, 2, 'a'), row(3, 'b'), row(4, 'b'));
	is_number(witnesses(1, 0), 1, "2, whatever else had ended");
	is_number(witnesses(3, 99), 0, "none, of a transaction that is not known");

	begin("one that came late stands behind what was sent before it, and proves nothing of that");
	ROWS(of_transaction(20, 2, 'a'));
	await_fetch("1..1");
	ROWS(of_transaction(10, 1, 'a'));
	is_number(witnesses(2, 99), 0, "1 is earlier");

	begin("a letter is sent when an operator redrives it, whatever was found");
	lead_with(1, (struct exception_row[]){ { 1, 1, EXCEPTION_ACTIVE, .low_water = LOW_WATER_NONE } }, 1);
	ROWS(of_transaction(10, 1, 'a'), of_transaction(20, 2, 'a'));
	is_number(witnesses(1, 99), 1, "2, as long as nobody redrives it");
	decided(1, true);
	is_number(witnesses(1, 99), 0, "and no more");

	begin("once all is settled that an earlier leader may have sent, nobody asks");
	no_rows(0);
	ROWS(of_transaction(10, 1, 'a'), of_transaction(20, 2, 'a'));
	is_number(witnesses(1, 99), 0, "nobody can have sent it");

	settings.ordering = ORDERING_PIPELINED;
	begin("pipelined, what stands before it need not be stored");
	ROWS(of_transaction(10, 1, 'a'));
	ok(!evident, "1 bears no witness");
}

static void pipelined(void)
{
	settings.ordering = ORDERING_PIPELINED;
	begin("pipelined: a key fills the window, and begins again at the oldest when one fails");
	ROWS(row(1, 'a'), row(2, 'a'), row(3, 'a'));
	hears("publish 1, publish 2, publish 3");
	ack(2);
	refuse(1, 10158);
	forget();
	pass(200);
	hears_not("publish");
	ack(3);
	pass(200);
	hears("publish 1");
}

static void missing_while_marking(void)
{
	begin("what is found missing while a mark is under way waits for the fence of the next one");
	ROWS(row(1, 'a'));
	ack(1);
	pass(20);
	hears("mark 1");
	ROWS(row(3, 'b'));
	marked(500);
	no_rows(500);
	is_number(look()->missing, 1, "the fence of that mark may have been drawn before the id");
	settle_books(600);
	no_rows(600);
	is_number(look()->missing, 0, "the next one was drawn behind it");
}

static void hardly_any_room(void)
{
	enum { CAPACITY = LIMIT_EXCEPTIONS + 8 * 16, RANGES = CAPACITY - 2 };
	static struct exception_row ranges[RANGES];

	audits = false;
	begin("the book is full but for two: nothing is asked for that stands behind what is left out");
	for (int i = 0; i < RANGES; i++)
		ranges[i] = (struct exception_row){ .lo = 4 * i + 1,
						    .hi = 4 * i + 1 + 2 * (i % 2 == 0),
						    .kind = EXCEPTION_PARKED };
	happens(EVENT_DEPOSED);
	forget();
	lead_with(4 * RANGES, ranges, RANGES);
	is_text(heard, "fetch 1..3", "but the first range");
}

static void outage_in_order(void)
{
	settings.ordering = ORDERING_PIPELINED;
	settings.window_messages = 2;
	begin("pipelined: after an outage what was in flight goes first");
	ROWS(row(1, 'a'), row(2, 'a'), row(3, 'a'));
	hears("publish 1, publish 2");
	happens(EVENT_BUS_DOWN);
	forget();
	happens(EVENT_BUS_UP);
	hears("publish 1, publish 2");
	hears_not("publish 3");
}

static void look_in_order(void)
{
	settings.ordering = ORDERING_PIPELINED;
	tells = false;
	begin("pipelined: what waited for a look-back goes before what came later");
	ROWS(row(1, 'a'));
	pass(10);
	hears_not("publish");
	pause_is(7);
	ROWS(row(2, 'a'));
	told(0, true, WINDOW_MS, 0);
	forget();
	pause_is(0);
	hears("publish 1, publish 2");
}

static void recalled(void)
{
	settings.ordering = ORDERING_PIPELINED;
	settings.ack_timeout_ms = 400;
	settings.retry_min_ms = settings.retry_max_ms = 200;
	tells = false;
	begin("pipelined: one that waits for a look-back is called back when one before it fails");
	told(0, true, 1000, 0);
	ROWS(row(1, 'b'));
	pass(350);
	ROWS(row(2, 'a'));
	pass(300);
	hears("lookback 0");
	ROWS(row(3, 'a'));
	hears_not("publish 3");
	refuse(2, 10158);
	forget();
	told(0, true, 1000, 0);
	hears("publish 1");
	hears_not("publish 3");
	pass(200);
	hears("publish 2");
	hears_not("publish 3");
}

/* Three lanes whose blocks want the last place of their table. */
static void lanes_at_the_end(uint64_t lane[3])
{
	uint64_t hash = UINT64_C(1) << 63;

	for (int n = 0; n < 3; hash++)
		if ((hash * UINT64_C(0x9e3779b97f4a7c15) >> 40) % (2 * LIMIT_BLOCKED_LANES) ==
		    2 * LIMIT_BLOCKED_LANES - 1)
			lane[n++] = hash;
}

static void blocks_at_the_end(void)
{
	uint64_t lane[3];
	struct exception_row parked[4] = { [3] = { 7, 7, EXCEPTION_PARKED, .lane = 1, .low_water = LOW_WATER_NONE } };

	lanes_at_the_end(lane);
	for (int i = 0; i < 3; i++)
		parked[i] = (struct exception_row){ .lo = 2 * i + 1,
						    .hi = 2 * i + 1,
						    .kind = EXCEPTION_PARKED,
						    .lane = lane[i],
						    .low_water = LOW_WATER_NONE };
	begin("the table of blocked lanes: where it wraps, an entry that goes leaves no hole");
	happens(EVENT_DEPOSED);
	forget();
	lead_with(7, parked, 4);
	hears("fetch >7 1..1 3..3 5..5 7..7");
	rows_arrive((struct row[]){ { .id = 1, .keyed = true, .lane = lane[0] },
				    { .id = 3, .keyed = true, .lane = lane[1] },
				    { .id = 5, .keyed = true, .lane = lane[2] },
				    { .id = 7, .keyed = true, .lane = 1 } },
		    4, true, 0);
	for (int i = 0; i < 3; i++) {
		ack(2 * i + 1);
		is_number(look()->blocked_lanes, 3 - i, "it is open");
	}
}

static void parked_in_doubt_again(void)
{
	static const struct exception_row sent[] = { { .lo = 1, .hi = 1, .kind = EXCEPTION_PARKED, .low_water = 50 },
						     { .lo = 2, .hi = 2, .kind = EXCEPTION_PARKED, .low_water = 60 } };

	tells = false;
	begin("what is read and parked again is in doubt as before");
	happens(EVENT_DEPOSED);
	lead_with(5, sent, 2);
	rows_arrive((struct row[]){ row(1, 'a') }, 1, false, 0);
	told(0, false, 0, 0);
	notes("stream blocked");
	forget();
	ROWS(row(2, 'b'));
	pass(20);
	hears("+1..1 parked sent +2..2 parked sent");
}

static void left_in_doubt(void)
{
	begin("drain: what is left behind and may be stored is in doubt for the next leader");
	ROWS(row(1, 'a'), row(2, 'b'));
	ack(2);
	pass(1001);
	is_number(look()->backing_off, 1, "no answer to 1");
	forget();
	happens(EVENT_DRAIN);
	hears("mark 2 +1..1 active sent");
}

static void look_before_the_repeat(void)
{
	int64_t asked;

	settings.ack_timeout_ms = 490;
	settings.retry_min_ms = settings.retry_max_ms = 2;
	tells = false;
	begin("a look-back that was asked for before a publish says nothing about it");
	happens(EVENT_DEPOSED);
	predecessor_until = now + 480;
	lead_with(0, NULL, 0);
	told(0, true, 1000, 0);
	ROWS(row(1, 'a'));
	forget();
	pass(485);
	hears("lookback 0");
	asked = now - 5;
	pass(20);
	hears("publish 1");
	pass(400);
	step((struct event){
		.kind = EVENT_LOOKBACK,
		.lookback = { .stream = 0, .ok = true, .asked_ms = asked, .duplicate_window_ms = 1000, .last = 0 } });
	ROWS(row(2, 'b'));
	ack_token(token[2]);
	forget();
	pass(90);
	hears("lookback 0");
	hears_not("publish 1");
}

static void in_process(void)
{
	settings.retry_min_ms = settings.retry_max_ms = 1200;
	tells = false;
	begin("\"the same message is in process\": a copy of it may be stored, so half a window later it is looked for");
	told(0, true, 1000, 0);
	ROWS(row(1, 'a'));
	refuse(1, 10158);
	forget();
	pass(1300);
	hears("lookback 0");
	hears_not("publish");
	told(0, true, 1000, 0);
	hears("publish 1");
}

static void probe_is_gone(void)
{
	begin("a probe whose row was deleted: the next one probes");
	ROWS(row(1, 'a'), row(2, 'b'));
	refuse(1, 10008);
	refuse(2, 10008);
	await_fetch("1..1");
	forget();
	no_rows(0);
	notes("vanished 1");
	await_fetch("2..2");
	ROWS(row(2, 'b'));
	hears("publish 2");
	ack(2);
	notes("stream open");
}

static void awake_as_announced(void)
{
	begin("it is awake when it has announced to be awake");
	fall_asleep();
	happens(EVENT_NOTIFIED);
	now += 1;
	happens(EVENT_NOTIFIED);
	announced(false, 0);
	is_number(look()->pace, PACE_AWAKE, "awake");
	ROWS(row(1, 'a'));
	is_number(look()->pace, PACE_AWAKE, "and still awake");
}

static void recovery(void)
{
	uint64_t third;

	settings.ordering = ORDERING_PIPELINED;
	begin("pipelined: only an ack of its oldest ends the recovery of a lane");
	ROWS(row(1, 'a'), row(2, 'a'), row(3, 'a'), row(4, 'a'));
	third = token[3];
	refuse(2, 10158);
	refuse(3, 10158);
	refuse(4, 10158);
	refuse(1, 10158);
	ROWS(row(5, 'a'));
	pass(50);
	forget();
	ack_token(third);
	hears_not("publish 2");
	hears_not("publish 4");
	hears_not("publish 5");
}

static void truncated_in_the_books(void)
{
	static const struct exception_row sent[] = { { .lo = 2, .hi = 2, .kind = EXCEPTION_PARKED, .low_water = 50 } };

	tells = false;
	begin("a stream that has lost its end: what the books say of the parked is told anew");
	happens(EVENT_DEPOSED);
	low_waters[0] = 60;
	lead_with(5, sent, 1);
	forget();
	step((struct event){
		.kind = EVENT_LOOKBACK,
		.lookback = {
			.ok = true, .asked_ms = now, .duplicate_window_ms = WINDOW_MS, .last = 3, .another = true } });
	pass(20);
	hears("-2 +2..2 missing sent");
}

static void the_last_ids(void)
{
	const int64_t last = INT64_MAX;
	const struct exception_row left = { last - 4, last - 3, EXCEPTION_MISSING, .low_water = LOW_WATER_NONE };

	begin("the last id of all is one like any other");
	lead_with(last - 3, &left, 1);
	ROWS(row(last - 2, 'a'), row(last, 'b'));
	settle_books(200);
	hears_not("mark 9223372036854775807");
	ack(last - 2);
	pass(20);
	hears("mark 9223372036854775806 +9223372036854775806..9223372036854775806 missing");
	hears_not("mark 9223372036854775807");
	ack(last);
	settle_books(200);
	hears("mark 9223372036854775807");
	no_rows(300);
	settle_books(300);
	no_rows(400);
	settle_books(400);
	is_number(look()->position, last, "the end");
	is_number(look()->exceptions, 0, "nothing is left");
}

/* 1 comes late, when the stream's probe 2 of the same lane is still to be read. */
static void probe_to_be_read(void)
{
	begin("a probe that is still to be read is chosen again when one of its lane is held back before it");
	ROWS(row(2, 'a'));
	refuse(2, REASON_STREAM_FULL);
	await_fetch("1..2"); /* 1 is missing, 2 probes */
	forget();
	ROWS(row(1, 'a'), row(2, 'a'));
	hears_not("publish 2");
	await_fetch("1..1");
	ROWS(row(1, 'a'));
	hears("publish 1");
	hears_not("publish 2");
}

static void others_pass(void)
{
	begin("what backs off does not fill memory: others pass");
	for (int64_t id = 1; id <= 16; id++) {
		ROWS(row(id, (char)('A' + id)));
		if (strstr(heard, "publish") != NULL)
			refuse(published, 19999);
		forget();
	}
	ok(look()->backing_off <= 5, "%u back off", look()->backing_off);
	ok(look()->blocked_lanes >= 8, "%u lanes are held back", look()->blocked_lanes);
	ROWS(row(17, 'x'));
	hears("publish 17");
}

/* Each with a key of its own, as many as are ever read. */
static void one_subject_takes_nothing(void)
{
	enum { MANY = 6000, AT_ONCE = 100 };
	static struct row rows[AT_ONCE];

	settings.window_messages = settings.queue_messages = AT_ONCE;
	audits = false;
	begin("one subject takes nothing, whatever the key: others pass");
	for (int64_t id = 1; id <= MANY; id += AT_ONCE) {
		for (int i = 0; i < AT_ONCE; i++)
			rows[i] = (struct row){ .id = id + i, .keyed = true, .lane = (uint64_t)(id + i), .bytes = 100 };
		rows_arrive(rows, AT_ONCE, true, 0);
		for (int i = 0; i < AT_ONCE; i++)
			if (token[id + i] != 0)
				refuse(id + i, REASON_NOT_PERMITTED);
		if (marking)
			marked(200);
		heard[0] = noted[0] = '\0';
	}
	is_number(look()->blocked_lanes, MANY, "all are held back");
	ROWS(row(MANY + 1, 'x'));
	pass(10);
	ok(token[MANY + 1] != 0, "and one of another subject is published");
}

/* 1 and 3 have subjects that no stream of this configuration takes; the next leader's has one. */
static void unrouted(void)
{
	static const struct exception_row left[] = {
		{ 1, 1, EXCEPTION_PARKED, .low_water = LOW_WATER_NONE, .doubted = true },
		{ 3, 4, EXCEPTION_PARKED, .low_water = LOW_WATER_NONE, .doubted = true }
	};
	struct row a = row(1, 'a'), b = row(3, 'a'), c = row(4, 'b');

	begin("what no stream of the configuration takes is held, not given up, and nothing else waits for it");
	a.stream = b.stream = c.stream = STREAM_UNROUTED;
	ROWS(a, row(2, 'a'), b, c);
	notes("unrouted 1");
	hears("publish 2");
	ack(2);
	settle_books(200);
	hears("mark 1 +1..1 parked doubted");
	hears("mark 4 +3..4 parked doubted");
	hears_not("dead");
	is_number((int64_t)look()->unrouted, 3, "it says how many");
	forget();
	ROWS(row(5, 'a'));
	ack(5);
	settle_books(200);
	pass(60000);
	hears_not("1..1");

	diag("another configuration takes them, in order");
	happens(EVENT_DEPOSED);
	lead_with(5, left, 2);
	hears("fetch >5 1..1 3..4");
	ROWS(row(1, 'a'), row(3, 'a'), row(4, 'b'), row(6, 'a'));
	hears("publish 1");
	hears_not("publish 3");
	ack(1);
	hears("publish 3");
	hears_not("publish 6");
	ack(3);
	hears("publish 6");
}

/* --- owned streams --- */

static void stored_at(uint64_t t, uint64_t sequence, bool duplicate)
{
	step((struct event){ .kind = EVENT_ACKED,
			     .acked = { .token = t, .sequence = sequence, .duplicate = duplicate } });
}

/* One stream, which is owned; 1 is stored at 1, and 2, 3, 4 are in flight behind it. */
static void begin_owned(const char *title, bool stays)
{
	settings.streams = settings.owned = 1;
	settings.owned_stays = stays;
	begin(title);
	ROWS(row(1, 'a'), row(2, 'a'), row(3, 'b'), row(4, 'a'));
	tells = false;
	hears("publish 1");
	hears_not("publish 2");
	is_number(expected[1], 0, "nothing stands before it");
	stored_at(token[1], 1, false);
	hears("publish 2, publish 3, publish 4");
	ok(expected[2] == 1 && expected[3] == 2 && expected[4] == 3, "each stands behind the one before");
	forget();
}

static void owned_chain(void)
{
	begin_owned("owned: what stands behind a refused message is looked for and sent again, in its order", false);
	refuse(2, 10071);
	hears_not("lookback");
	refuse(3, 10071);
	hears_not("lookback");
	refuse(4, 10071);
	hears("lookback 0 above 1");
	hears_not("publish");
	forget();
	told(0, true, WINDOW_MS, 2);
	hears("publish 2");
	hears_not("publish 3");
	is_number(expected[2], 2, "behind the end");
	stored_at(token[2], 2, true);
	hears("publish 3");
	is_number(expected[3], 2, "it was there already: its number is free again");
	stored_at(token[3], 3, false);
	hears("publish 4");
	is_number(expected[4], 3, "and on");
}

/* 2, 3, 4 are refused and called for again, and the look says that the stream ends behind 1; now 2 is sent, and is found where a copy of it has come
 * since. */
static void owned_late_copy_at(const char *title, uint64_t sequence)
{
	begin_owned(title, false);
	for (int64_t id = 2; id <= 4; id++)
		refuse(id, 10071);
	told(0, true, WINDOW_MS, 1);
	hears("publish 2");
	is_number(expected[2], 1, "behind the end");
	forget();
	stored_at(token[2], sequence, true);
	hears_not("publish");
	hears("lookback 0 above");
	told(0, true, WINDOW_MS, 4);
	hears("publish 3");
	is_number(expected[3], 4, "behind all copies");
	hears_not("publish 4");
}

static void owned_late_copy(void)
{
	owned_late_copy_at(
		"owned: a copy that has come since the look has the number of its message: the look is worth nothing",
		2);
}

static void owned_late_copies(void)
{
	owned_late_copy_at("owned: a copy that has come since the look stands behind those of others", 3);
}

/* It ends there now, and one message was found that was not known. */
static void foreign_at(uint64_t last)
{
	step((struct event){
		.kind = EVENT_LOOKBACK,
		.lookback = {
			.ok = true, .asked_ms = now, .duplicate_window_ms = WINDOW_MS, .last = last, .present = 1 } });
}

static void owned_foreign(void)
{
	begin_owned("owned: a message of somebody else stops the stream until an operator lets it go on", true);
	for (int64_t id = 2; id <= 4; id++)
		stored_at(token[id], (uint64_t)id, false);
	ROWS(row(5, 'a'));
	forget();
	refuse(5, 10071);
	hears("lookback 0 above 4");
	forget();
	foreign_at(5);
	hears_not("publish");
	notes("foreign 5");
	notes("stream blocked 5");
	ok(look()->stream[0].blocked && look()->stream[0].reason == REASON_FOREIGN, "and that is shown");
	pass(100000);
	hears_not("publish");
	step((struct event){ .kind = EVENT_PAUSED, .paused = { .operator_pause = 1 } });
	forget();
	step((struct event){ .kind = EVENT_PAUSED });
	hears("lookback 0 above 5");
	told(0, true, WINDOW_MS, 5);
	hears("publish 5");
	is_number(expected[5], 5, "behind the foreign one");
}

static struct row row_of_stream(uint16_t stream, int64_t id, char key)
{
	struct row r = row(id, key);

	r.stream = stream;
	return r;
}

static void owned_foreign_beside(void)
{
	settings.streams = 2;
	settings.owned = 1;
	begin("owned, and stopped for an operator: it is not asked for when another stream opens again");
	ROWS(row(1, 'a'));
	stored_at(token[1], 1, false);
	tells = false;
	ROWS(row(2, 'a'));
	refuse(2, 10071);
	foreign_at(2);
	notes("stream blocked 2");
	ROWS(row_of_stream(1, 3, 'c'));
	refuse(3, REASON_SUBJECT_FULL);
	notes("lane blocked 3");
	ROWS(row_of_stream(1, 4, 'd'));
	refuse(4, REASON_STREAM_FULL);
	notes("stream blocked 4");
	settle_books(200);
	forget();
	await_fetch("4..4");
	ROWS(row_of_stream(1, 4, 'd'));
	ack(4);
	notes("stream open 4");
	forget();
	for (int i = 0; i < 10; i++)
		no_rows(300);
	hears("3..3");
	hears_not("2..");
	ok(look()->stream[0].blocked, "it waits, and that is shown");
}

static void owned_lost_end(void)
{
	begin_owned("owned, and nothing can be read again: a stream that is another one stops", true);
	for (int64_t id = 2; id <= 4; id++)
		refuse(id, 10071);
	forget();
	step((struct event){
		.kind = EVENT_LOOKBACK,
		.lookback = { .ok = true, .asked_ms = now, .duplicate_window_ms = WINDOW_MS, .another = true } });
	hears_not("publish");
	ok(look()->stream[0].blocked && look()->stream[0].reason == REASON_LOST_END, "and says why");
}

static void owned_predecessor(void)
{
	settings.streams = settings.owned = 1;
	begin("owned: nothing is sent while an earlier leader may still publish, or what it sent is on its way");
	tells = false;
	low_waters[0] = 5;
	predecessor_until = now + 500;
	lead_with(0, NULL, 0);
	hears("lookback 0 above 5");
	told(0, true, WINDOW_MS, 5);
	ROWS(row(1, 'a'));
	hears_not("publish");
	pass(1400);
	hears_not("publish");
	forget();
	pass(200);
	hears("lookback 0");
	told(0, true, WINDOW_MS, 7);
	hears("publish 1");
	is_number(expected[1], 7, "behind what it stored meanwhile");
}

static void owned_late_answers(void)
{
	uint64_t old[5];

	begin_owned("owned: what was on its way is stored after all", false);
	memcpy(old, token, sizeof old);
	happens(EVENT_BUS_DOWN);
	happens(EVENT_BUS_UP);
	hears("lookback 0 above 1");
	stored_at(old[2], 2, false);
	told(0, true, WINDOW_MS, 1);
	hears("publish 3");
	is_number(expected[3], 2, "its answer came before that of the look, which knows nothing of it");
	forget();
	stored_at(old[4], 4, false);
	stored_at(token[3], 3, false);
	ROWS(row(5, 'a'));
	hears_not("publish 5");
	pass(200);
	hears("lookback 0 above 4");
}

static void owned_silence(void)
{
	begin_owned("owned: what met silence goes before the probe that was chosen meanwhile", false);
	refuse(3, REASON_STREAM_FULL);
	refuse(4, 10071);
	notes("stream blocked 3");
	await_fetch("3..3");
	ROWS(row(3, 'b'));
	pass(200);
	hears("lookback 0 above 1");
	forget();
	told(0, true, WINDOW_MS, 1);
	hears("publish 2");
	stored_at(token[2], 2, false);
	hears("publish 3");
	is_number(expected[3], 2, "behind it");
}

static void owned_dead_letter(void)
{
	struct row bad = row(6, 'b');

	begin_owned("owned: nothing passes a dead letter that is not on record", false);
	bad.defect = DEFECT_SUBJECT_EMPTY;
	ROWS(row(5, 'a'), bad, row(7, 'c'));
	notes("dead 6");
	hears("publish 5");
	hears_not("publish 7");
	for (int64_t id = 2; id <= 5; id++)
		stored_at(token[id], (uint64_t)id, false);
	settle_books(200);
	hears("publish 7");
}

struct story {
	const char *name;
	void (*tell)(void);
	enum poison_policy poison;
};

/* --- batches --- */

static void wire_is(uint16_t stream, bool batches)
{
	step((struct event){ .kind = EVENT_WIRE,
			     .wire = { .stream = stream, .batches = batches, .reason = WIRE_STREAM } });
}

static void begin_with_batches(const char *title)
{
	begin(title);
	wire_is(0, true);
	notes("wire 0");
}

static void of_batch(enum batch_answer what, uint32_t number, uint32_t reason, uint64_t sequence)
{
	step((struct event){ .kind = EVENT_BATCH,
			     .batch = { .batch = batch,
					.what = what,
					.number = number,
					.reason = reason,
					.status = 400,
					.sequence = sequence } });
}

static void batch_from_end_to_end(void)
{
	begin_with_batches("a batch: many of a key in flight; an ack is of all before it, too");
	ROWS(row(1, 'a'), row(2, 'a'), row(3, 'b'), row(4, 'a'));
	hears("publish 1 as 1, publish 2 as 2, publish 3 as 3, publish 4 as 4 and last");
	of_batch(BATCH_ACK, 0, 0, 0);
	is_number(look()->in_flight, 4, "the first answer says nothing of them");
	of_batch(BATCH_ACK, 3, 0, 0);
	is_number(look()->in_flight, 1, "three are stored");
	of_batch(BATCH_ACK, 2, 0, 0);
	is_number(look()->in_flight, 1, "one that comes late takes nothing back");
	pass(20);
	hears("mark 3");
	marked(200);
	forget();
	ROWS(row(5, 'a'), row(6, 'a'));
	hears_not("publish 5");
	of_batch(BATCH_END, 4, 0, 14);
	hears("publish 5 as 1, publish 6 as 2 and last");
	is_number((int64_t)look()->stream[0].sequence, 14, "the end says where the stream ends");
	of_batch(BATCH_END, 2, 0, 16);
	forget();
	ROWS(row(7, 'a'));
	hears("publish 7");
	hears_not("as 1");
	is_number((int64_t)look()->stream[0].batches, 2, "one message is no batch");
}

static void batch_beside_it(void)
{
	begin_with_batches(
		"while a batch ends, what is alone in its lane goes by itself; many wait for the next batch");
	ROWS(row(1, 'a'), row(2, 'a'));
	forget();
	ROWS(row(3, 'b'), row(4, 'a'));
	hears("publish 3");
	hears_not("as 1");
	hears_not("publish 4");
	ack(3);
	forget();
	ROWS(row(5, 'c'), row(6, 'd'), row(7, 'e'), row(8, 'f'), row(9, 'g'), row(10, 'h'), row(11, 'i'), row(12, 'j'));
	hears_not("publish");
	of_batch(BATCH_END, 2, 0, 2);
	hears("publish 4 as 1, publish 5 as 2, publish 6 as 3");
}

static void batch_of_others(void)
{
	begin_with_batches("what is said of another batch says nothing of this one; nor does what cannot be");
	ROWS(row(1, 'a'), row(2, 'a'));
	batch++;
	of_batch(BATCH_END, 2, 0, 2);
	of_batch(BATCH_REFUSED, 1, 10208, 0);
	batch--;
	is_number(look()->in_flight, 2, "both are in flight");
	of_batch(BATCH_ACK, 3, 0, 0);
	is_number((int64_t)look()->stream[0].unclean, 1, "more than was sent");
	hears("publish 1");
	is_number((int64_t)look()->stream[0].uncertain, 2, "and nothing is known of any");
}

static void batch_ends_unclean(void)
{
	begin_with_batches(
		"behind an unclean end each goes by itself, and no batch begins before all of them are settled");
	ROWS(row(1, 'a'), row(2, 'a'), row(3, 'a'), row(4, 'a'));
	of_batch(BATCH_GAP, 3, 0, 0);
	is_number(look()->in_flight, 4, "the word of the server is awaited");
	forget();
	of_batch(BATCH_END, 2, 0, 2);
	hears("publish 3");
	hears_not("publish 4");
	ROWS(row(5, 'b'), row(6, 'b'), row(7, 'c'));
	hears("publish 5, publish 7");
	hears_not("as 1");
	ack(3);
	hears("publish 4");
	refuse(4, 10158);
	is_number((int64_t)look()->stream[0].uncertain, 1, "a copy in process is no end of it");
	pass(200);
	hears("mark 3, publish 4");
	ack(5);
	hears("publish 6");
	ack(4);
	is_number((int64_t)look()->stream[0].settled, 2, "two were settled");
	forget();
	ROWS(row(8, 'a'), row(9, 'a'));
	hears("publish 8 as 1, publish 9 as 2 and last");
}

static void batch_kept_short(void)
{
	begin_with_batches("a batch that nothing comes for is ended: what is in flight in it is not told of before");
	ROWS(row(1, 'a'), row(2, 'a'), row(3, 'a'), row(4, 'a'), row(5, 'a'), row(6, 'a'), row(7, 'a'), row(8, 'a'),
	     row(9, 'a'), row(10, 'a'));
	hears("publish 8 as 8");
	hears_not("last");
	happens(EVENT_TICK);
	step((struct event){ .kind = EVENT_PAUSED, .paused = { .operator_pause = 1 } });
	pass(100);
	hears("end 9");
	of_batch(BATCH_END, 8, 0, 8);
	is_number(look()->in_flight, 0, "so a pause has not to wait for silence");
	pass(20);
	hears("mark 8");
	hears_not("publish 9");
	step((struct event){ .kind = EVENT_PAUSED });
	hears("publish 9 as 1, publish 10 as 2 and last");
}

static void batch_asked(void)
{
	begin_with_batches("nothing is told for a while: the server is asked, and silence ends the batch");
	ROWS(row(1, 'a'), row(2, 'b'));
	pass(260);
	hears("ping 2");
	forget();
	of_batch(BATCH_ACK, 0, 0, 0);
	pass(260);
	hears("ping 2");
	pass(600);
	hears("publish 1, publish 2");
	is_number((int64_t)look()->stream[0].uncertain, 2, "an answer that tells of no more is no progress");
}

static void batch_found_one(void)
{
	begin_with_batches("one that was found leaves its number to the next");
	finds = 2;
	ROWS(row(1, 'a'), row(2, 'a'), row(3, 'a'));
	finds = 0;
	hears("publish 1 as 1, publish 2 as 2, publish 3 as 2 and last");
	of_batch(BATCH_END, 2, 0, 2);
	is_number(look()->in_flight, 0, "all are stored");
	is_number((int64_t)look()->stream[0].unclean, 0, "and the end was clean");
}

static void batch_refused_one(void)
{
	begin_with_batches(
		"one is refused: it is given up, its lane waits for that, the others go on in the next batch");
	ROWS(row(1, 'a'), row(2, 'a'), row(3, 'a'), row(4, 'b'), row(5, 'b'));
	forget();
	of_batch(BATCH_ERROR, 2, REASON_STORE_TOO_LARGE, 0);
	of_batch(BATCH_REFUSED, 2, 10208, 0);
	is_number((int64_t)look()->stream[0].unclean, 1, "something else was said: that is no clean end");
	begin_with_batches("the same, with a clean end");
	ROWS(row(1, 'a'), row(2, 'a'), row(3, 'a'), row(4, 'b'), row(5, 'b'));
	forget();
	of_batch(BATCH_ERROR, 2, REASON_STORE_TOO_LARGE, 0);
	of_batch(BATCH_END, 1, 0, 1);
	notes("dead 2");
	hears("publish 4 as 1, publish 5 as 2 and last");
	hears_not("publish 3");
	is_number((int64_t)look()->stream[0].uncertain, 0, "nothing is uncertain");
	of_batch(BATCH_END, 2, 0, 3);
	settle_books(200);
	hears("publish 3");
}

static void batch_refused_for_now(void)
{
	begin_with_batches("one is refused, and not for good: nothing of its lane passes it");
	ROWS(row(1, 'a'), row(2, 'a'), row(3, 'b'), row(4, 'b'));
	forget();
	of_batch(BATCH_ERROR, 1, 10999, 0);
	of_batch(BATCH_END, 0, 0, 0);
	hears("publish 3 as 1, publish 4 as 2 and last");
	hears_not("publish 2");
	of_batch(BATCH_END, 2, 0, 2);
	pass(150);
	hears("publish 1");
	hears_not("publish 2");
	ack(1);
	hears("publish 2");
}

static void batch_wires(void)
{
	begin_with_batches("too many batches: by itself for ten seconds; none at all: until the next connection");
	ROWS(row(1, 'a'), row(2, 'b'));
	forget();
	of_batch(BATCH_REFUSED, 1, 10211, 0);
	notes("wire 0");
	is_number(look()->stream[0].wire, WIRE_TOO_MANY, "there are too many");
	hears("publish 1, publish 2");
	ack(1);
	ack(2);
	forget();
	ROWS(row(3, 'a'), row(4, 'a'));
	hears("publish 3");
	hears_not("as 1");
	ack(3);
	ack(4);
	pass(10000);
	is_number(look()->stream[0].wire, WIRE_BATCHES, "and then no more");
	forget();
	ROWS(row(5, 'a'), row(6, 'a'));
	hears("publish 5 as 1, publish 6 as 2 and last");
	of_batch(BATCH_REFUSED, 1, 10205, 0);
	is_number(look()->stream[0].wire, WIRE_REFUSED, "it takes none");
	hears("publish 5");
	ack(5);
	ack(6);
	forget();
	ROWS(row(7, 'a'), row(8, 'a'));
	hears_not("as 1");
	wire_is(0, false);
	is_number(look()->stream[0].wire, WIRE_STREAM, "and says so");
}

static void batch_interrupted_by_an_outage(void)
{
	begin_with_batches("an outage: what was in the batch is uncertain, and goes in the order of its lanes");
	ROWS(row(1, 'a'), row(2, 'a'), row(3, 'b'), row(4, 'a'));
	forget();
	happens(EVENT_BUS_DOWN);
	is_number(look()->in_flight, 0, "nothing is in flight");
	is_number(look()->stream[0].wire, WIRE_UNTOLD, "nobody knows what comes next");
	happens(EVENT_BUS_UP);
	wire_is(0, true);
	hears("publish 1, publish 3");
	hears_not("as 1");
	hears_not("publish 2");
	of_batch(BATCH_END, 4, 0, 4);
	is_number(look()->in_flight, 2, "the word of before comes too late");
	ack(1);
	ack(2);
	ack(3);
	ack(4);
	is_number((int64_t)look()->stream[0].uncertain, 0, "all are settled");
}

static void batch_of_an_heir(void)
{
	low_waters[0] = 5;
	begin("what an earlier leader may have sent goes by itself, what came since does not");
	wire_is(0, true);
	ROWS(row(1, 'a'), row(2, 'a'));
	hears("publish 1");
	hears_not("as 1");
	ack(1);
	hears("publish 2");
	ack(2);
	settle_books(200);
	for (int i = 0; i < 3; i++)
		no_rows(300);
	forget();
	ROWS(row(3, 'a'), row(4, 'a'));
	hears("publish 3 as 1, publish 4 as 2 and last");
}

static void batch_owned_stream(void)
{
	settings.streams = settings.owned = 1;
	begin("an owned stream: each in the batch names the sequence that it must stand behind");
	wire_is(0, true);
	ROWS(row(1, 'a'), row(2, 'a'), row(3, 'b'), row(4, 'a'));
	hears("publish 1");
	hears_not("publish 2");
	stored_at(token[1], 1, false);
	hears("publish 2 as 1, publish 3 as 2, publish 4 as 3 and last");
	ok(expected[2] == 1 && expected[3] == 2 && expected[4] == 3, "each stands behind the one before");
	tells = false;
	forget();
	of_batch(BATCH_GAP, 2, 0, 0);
	of_batch(BATCH_END, 1, 0, 2);
	hears("lookback 0 above 2");
	hears_not("publish");
	told(0, true, WINDOW_MS, 2);
	hears("publish 3");
	hears_not("as 1");
	ok(expected[3] == 2, "behind the stream's end");
	stored_at(token[3], 3, false);
	hears("publish 4");
	hears_not("as 1");
}

static void batch_owned_behind_one(void)
{
	settings.streams = settings.owned = 1;
	begin("an owned stream: what went by itself before a batch is awaited when that ends unclean, and then it is looked at");
	ROWS(row(1, 'a'), row(2, 'a'), row(3, 'a'));
	tells = false;
	stored_at(token[1], 1, false);
	for (int64_t id = 2; id <= 3; id++)
		refuse(id, 10071);
	told(0, true, WINDOW_MS, 1);
	wire_is(0, true);
	ROWS(row(4, 'a'), row(5, 'b'));
	forget();
	stored_at(token[2], 2, false);
	hears("publish 3, publish 4 as 1, publish 5 as 2 and last");
	forget();
	of_batch(BATCH_GAP, 1, 0, 0);
	of_batch(BATCH_END, 0, 0, 0);
	is_number(look()->in_flight, 1, "that of the batch is not awaited any more");
	hears_not("lookback");
	stored_at(token[3], 3, false);
	hears("lookback 0 above");
	told(0, true, WINDOW_MS, 3);
	hears("publish 4");
	ok(expected[4] == 3, "behind the stream's end");
}

#define SKIP(name)                       \
	{                                \
#name, name, POISON_SKIP \
	}
#define HOLD(name)                       \
	{                                \
#name, name, POISON_HOLD \
	}

static const struct story stories[] = {
	SKIP(one_message),
	SKIP(lane_order),
	SKIP(window),
	SKIP(window_of_bytes),
	SKIP(ack_timeout),
	SKIP(late_ack),
	SKIP(late_refusal),
	SKIP(stale_token),
	SKIP(bus_down),
	SKIP(gap),
	SKIP(gap_void),
	SKIP(xmax_trap),
	SKIP(grace),
	SKIP(late_where_the_position_passes),
	SKIP(truncated),
	SKIP(kept_snapshot),
	SKIP(poison_skip),
	SKIP(defect),
	SKIP(other_verdict),
	SKIP(stream_blocked),
	SKIP(lane_blocked),
	SKIP(wrong_probes),
	SKIP(silence),
	SKIP(busy),
	SKIP(sleep_and_wake),
	SKIP(sleepless),
	SKIP(lone_rows),
	SKIP(lease),
	SKIP(renewal),
	SKIP(other_settings),
	SKIP(drain),
	SKIP(paused),
	SKIP(paused_lead),
	SKIP(deposed),
	SKIP(restart),
	SKIP(full),
	SKIP(pipelined),
	SKIP(lookback_first),
	SKIP(lookback_of_nobody),
	SKIP(lease_of_predecessor),
	SKIP(sent_before_the_lead),
	SKIP(among_others),
	SKIP(another_stream),
	SKIP(lease_is_over),
	SKIP(slow_look),
	SKIP(blind),
	SKIP(doubt),
	SKIP(doubt_is_kept),
	SKIP(found),
	SKIP(gone),
	SKIP(years),
	SKIP(stuck_in_the_socket),
	SKIP(another_history),
	SKIP(nearly_no_room),
	SKIP(missing_while_marking),
	SKIP(hardly_any_room),
	SKIP(outage_in_order),
	SKIP(look_in_order),
	SKIP(recalled),
	SKIP(blocks_at_the_end),
	SKIP(parked_in_doubt_again),
	SKIP(left_in_doubt),
	SKIP(look_before_the_repeat),
	SKIP(in_process),
	SKIP(probe_is_gone),
	SKIP(awake_as_announced),
	SKIP(recovery),
	SKIP(truncated_in_the_books),
	SKIP(the_last_ids),
	SKIP(probe_to_be_read),
	SKIP(unrouted),
	SKIP(others_pass),
	SKIP(one_subject_takes_nothing),
	SKIP(owned_chain),
	SKIP(owned_late_copy),
	SKIP(owned_late_copies),
	SKIP(owned_foreign),
	SKIP(owned_foreign_beside),
	SKIP(owned_lost_end),
	SKIP(owned_predecessor),
	SKIP(owned_late_answers),
	SKIP(owned_silence),
	SKIP(owned_dead_letter),
	SKIP(batch_from_end_to_end),
	SKIP(batch_beside_it),
	SKIP(batch_of_others),
	SKIP(batch_ends_unclean),
	SKIP(batch_kept_short),
	SKIP(batch_asked),
	SKIP(batch_found_one),
	SKIP(batch_refused_one),
	SKIP(batch_refused_for_now),
	SKIP(batch_wires),
	SKIP(batch_interrupted_by_an_outage),
	SKIP(batch_of_an_heir),
	SKIP(batch_owned_stream),
	SKIP(batch_owned_behind_one),
	HOLD(discard),
	HOLD(redrive),
	HOLD(redriven_in_haste),
	HOLD(redriven_in_doubt),
	HOLD(redriven_behind_silence),
	HOLD(inheritance),
};

/* core_stories_test [--mutant NAME] [STORY ...]: those named, or all. */
int main(int argc, char **argv)
{
	int named = 1;

	if (argc > 2 && strcmp(argv[1], "--mutant") == 0) {
		if (!mutant_play(argv[2]))
			return 64;
		named = 3;
	}
	for (size_t i = 0; i < sizeof stories / sizeof stories[0]; i++) {
		bool wanted = argc <= named;

		for (int a = named; a < argc; a++)
			wanted |= strcmp(argv[a], stories[i].name) == 0;
		if (!wanted)
			continue;
		defaults();
		settings.poison = stories[i].poison;
		stories[i].tell();
	}
	delivery_free(d);
	return done_testing();
}
