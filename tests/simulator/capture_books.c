/* The books in the source's database: marks, cursors, repairs, letters; and who leads. */
#include <string.h>

#include "capture_world.h"
#include "check_capture.h"

enum { MARKS = 64 };

/* A statement on its way. */
struct statement {
	uint64_t epoch;
	struct capture_mark mark;
	struct capture_cursor cursor[LIMIT_CAPTURE_STEPS];
	int key[LIMIT_CAPTURE_STEPS], top[LIMIT_CAPTURE_STEPS]; /* -1: stays */
	struct capture_repair repair[MAX_SLOTS];
	uint8_t repair_key[MAX_SLOTS];
	struct message letter[LIMIT_CAPTURE_LETTERS];
	struct carried_message carry[LIMIT_CAPTURE_CARRIES];
	int64_t gone[MAX_CARRIED];
	struct capture_held held[MAX_CARRIED];
	int64_t asked_ms;
};

static struct statement statement[MARKS];
static uint32_t next_statement;

static struct host *still(struct capture_sim *s, const struct capture_happening *h)
{
	struct host *host = &s->host[h->a];

	return host->life == h->b && host->session == h->c && host->session != 0 ? host : NULL;
}

static struct capture_happening *plan(struct capture_sim *s, struct host *h, int64_t wait,
				      void (*run)(struct capture_sim *, const struct capture_happening *))
{
	struct capture_happening *a;

	if (s->now + wait <= h->answer_at) /* one session: in order */
		wait = h->answer_at - s->now + 1;
	h->answer_at = s->now + wait;
	a = capture_later(s, s->now + wait, run);
	a->a = h->index;
	a->b = h->life;
	a->c = h->session;
	return a;
}

/* --- marks --- */

static void add_repair(struct capture_sim *s, const struct capture_repair *r, uint8_t key)
{
	struct books *b = &s->pg.books;

	for (uint32_t i = 0; i < b->repairs; i++)
		if (b->repair[i].table == r->table && b->repair[i].key == key && b->repair[i].reading == r->reading)
			return;
	demand(s, b->repairs < MAX_REPAIRS, "the simulator is too small");
	b->repair[b->repairs].table = (uint8_t)r->table;
	b->repair[b->repairs].key = key;
	b->repair[b->repairs++].reading = r->reading;
	s->repairs++;
}

static void move_cursor(struct capture_sim *s, const struct capture_cursor *c, int key, int top)
{
	struct books *b = &s->pg.books;
	uint32_t kept = 0;

	b->table[c->table] = c->now;
	if (c->restart)
		b->cursor[c->table] = b->top[c->table] = -1;
	if (key >= 0)
		b->cursor[c->table] = key;
	if (top >= 0)
		b->top[c->table] = top;
	for (uint32_t i = 0; i < b->repairs; i++)
		if (b->repair[i].table != c->table || b->repair[i].reading >= c->now.repair_first)
			b->repair[kept++] = b->repair[i];
	b->repairs = kept;
}

static bool is_gone(const struct statement *st, int64_t ordinal)
{
	for (size_t i = 0; i < st->mark.gone_count; i++)
		if (st->gone[i] == ordinal)
			return true;
	return false;
}

static void add_carried(struct capture_sim *s, const struct carried_message *m)
{
	struct books *b = &s->pg.books;
	uint32_t i = b->carries;

	demand(s, b->carries < MAX_CARRIED, "the simulator is too small");
	for (; i > 0 && b->carried[i - 1].ordinal > m->ordinal; i--)
		b->carried[i] = b->carried[i - 1];
	demand(s, i == 0 || b->carried[i - 1].ordinal < m->ordinal, "ordinal %lld is carried twice",
	       (long long)m->ordinal);
	b->carried[i] = *m;
	b->carries++;
	s->carried++;
}

static void carry(struct capture_sim *s, const struct statement *st)
{
	struct books *b = &s->pg.books;
	uint32_t kept = 0;

	for (uint32_t i = 0; i < b->carries; i++) {
		if (is_gone(st, b->carried[i].ordinal))
			continue;
		b->carried[kept] = b->carried[i];
		if (st->mark.carried_void)
			b->carried[kept].low_water = LOW_WATER_UNKNOWN;
		kept++;
	}
	b->carries = kept;
	for (size_t i = 0; i < st->mark.carry_count; i++)
		add_carried(s, &st->carry[i]);
}

static uint32_t place_of(const struct books *b, int64_t ordinal)
{
	uint32_t i = 0;

	while (i < b->carries && b->carried[i].ordinal != ordinal)
		i++;
	return i;
}

static void hold(struct capture_sim *s, const struct statement *st)
{
	struct books *b = &s->pg.books;

	for (size_t i = 0; i < st->mark.held_count; i++) {
		uint32_t at = place_of(b, st->held[i].ordinal);

		demand(s, at < b->carries, "what holds its key is not on record");
		check_capture_held(s, &b->carried[at].m);
		b->carried[at].held = true;
		s->held++;
	}
}

static void apply(struct capture_sim *s, const struct statement *st)
{
	struct books *b = &s->pg.books;

	carry(s, st);
	hold(s, st);
	for (size_t i = 0; i < st->mark.repair_count; i++)
		add_repair(s, &st->repair[i], st->repair_key[i]);
	for (size_t i = 0; i < st->mark.cursor_count; i++)
		move_cursor(s, &st->cursor[i], st->key[i], st->top[i]);
	for (size_t i = 0; i < st->mark.letter_count; i++)
		check_capture_lettered(s, &st->letter[i]);
	b->letters += (uint32_t)st->mark.letter_count;
	b->end_lsn = st->mark.end_lsn;
	b->time = st->mark.commit_time;
	b->ordinal = st->mark.ordinal;
	b->low_water = st->mark.low_water;
	b->end = st->mark.end;
	s->marks++;
	check_capture_marked(s, &st->mark);
}

static void on_marked(struct capture_sim *s, const struct capture_happening *h)
{
	struct host *host = still(s, h);
	struct capture_event ev = { .kind = CAPTURE_EVENT_MARKED };

	if (host == NULL || capture_host_defers(s, host, h))
		return;
	ev.marked.asked_ms = statement[h->d].asked_ms;
	capture_host_step(s, host, &ev);
	capture_host_turn(s, host);
}

static void on_mark(struct capture_sim *s, const struct capture_happening *h)
{
	struct host *host = still(s, h);
	const struct statement *st = &statement[h->d];

	if (host == NULL || host->session_dead)
		return;
	if (st->epoch != s->pg.books.epoch || st->mark.from_ordinal != s->pg.books.ordinal) {
		capture_host_lose_session(s, host);
		return;
	}
	trace(s, "host %u  mark: %llu, ordinal %lld, %zu cursors, %zu repairs, %zu letters", host->index,
	      (unsigned long long)st->mark.end_lsn, (long long)st->mark.ordinal, st->mark.cursor_count,
	      st->mark.repair_count, st->mark.letter_count);
	apply(s, st);
	plan(s, host, prng_between(&s->dice, 1, s->plan.pg_us), on_marked)->d = h->d;
}

static int key_in(struct capture_sim *s, const struct host *h, uint32_t slot)
{
	demand(s, slot == CAPTURE_NO_SLOT || h->payload[slot].used, "a cursor points to what was let go");
	return slot == CAPTURE_NO_SLOT ? -1 : (int)h->payload[slot].m.key;
}

static void copy_mark(struct capture_sim *s, const struct host *h, struct statement *st, const struct capture_mark *m)
{
	st->epoch = h->epoch;
	st->mark = *m;
	st->asked_ms = s->now / MS;
	demand(s,
	       m->cursor_count > 0 || m->repair_count > 0 || m->letter_count > 0 || m->ordinal > m->from_ordinal ||
		       m->carry_count > 0 || m->gone_count > 0 || m->held_count > 0 || m->carried_void,
	       "an idle capture marks");
	demand(s, m->repair_count <= MAX_SLOTS, "the simulator is too small");
	for (size_t i = 0; i < m->cursor_count; i++) {
		st->cursor[i] = m->cursors[i];
		st->key[i] = key_in(s, h, m->cursors[i].slot);
		st->top[i] = key_in(s, h, m->cursors[i].top);
	}
	for (size_t i = 0; i < m->repair_count; i++) {
		char text[KEY_BYTES] = "";

		memcpy(text, m->repairs[i].key, m->repairs[i].key_bytes);
		st->repair[i] = m->repairs[i];
		st->repair_key[i] = (uint8_t)capture_key_of(text);
	}
	for (size_t i = 0; i < m->letter_count; i++) {
		demand(s, h->payload[m->letters[i].slot].used, "a letter points to what was let go");
		st->letter[i] = h->payload[m->letters[i].slot].m;
	}
	for (size_t i = 0; i < m->carry_count; i++) {
		const struct capture_carry *x = &m->carries[i];

		demand(s, h->payload[x->slot].used, "what is carried was let go");
		st->carry[i] = (struct carried_message){
			.ordinal = x->ordinal, .lane = x->lane, .low_water = x->low_water, .m = h->payload[x->slot].m
		};
	}
	demand(s, m->gone_count <= MAX_CARRIED, "the simulator is too small");
	for (size_t i = 0; i < m->gone_count; i++)
		st->gone[i] = m->gone[i];
	demand(s, m->held_count <= MAX_CARRIED, "the simulator is too small");
	for (size_t i = 0; i < m->held_count; i++)
		st->held[i] = m->held[i];
}

void capture_books_mark(struct capture_sim *s, struct host *h, const struct capture_mark *mark)
{
	uint32_t place = next_statement++ % MARKS;
	int64_t wait = prng_between(&s->dice, 1, s->plan.pg_us);

	copy_mark(s, h, &statement[place], mark);
	if (mishap(s, query_slow))
		wait += prng_spread(&s->dice, MS, 300 * MS);
	plan(s, h, wait, on_mark)->d = place;
}

/* --- what is carried comes back --- */

enum { FETCHES = 16 };

static struct fetch {
	uint64_t epoch;
	int64_t ordinal[LIMIT_CAPTURE_FETCH];
	size_t count;
	struct carried_message found[LIMIT_CAPTURE_FETCH];
	size_t found_count;
} fetch[FETCHES];
static uint32_t next_fetch;

static void on_fetched(struct capture_sim *s, const struct capture_happening *h)
{
	struct host *host = still(s, h);
	struct capture_event ev = { .kind = CAPTURE_EVENT_CARRIED };
	struct capture_row rows[LIMIT_CAPTURE_FETCH] = { 0 };
	int64_t ordinals[LIMIT_CAPTURE_FETCH];
	const struct fetch *f = &fetch[h->d];

	if (host == NULL || host->epoch != f->epoch || capture_host_defers(s, host, h))
		return;
	for (size_t i = 0; i < f->found_count; i++) {
		ordinals[i] = f->found[i].ordinal;
		rows[i].bytes = 10;
	}
	ev.carried.ordinals = ordinals;
	ev.carried.rows = rows;
	ev.carried.count = f->found_count;
	s->fetched += f->found_count;
	capture_host_step(s, host, &ev);
	for (size_t i = 0; i < f->found_count; i++) {
		struct payload p = { .used = true, .m = f->found[i].m };

		capture_host_keep(s, host, rows[i].slot, &p);
	}
	capture_host_turn(s, host);
}

static void on_fetch(struct capture_sim *s, const struct capture_happening *h)
{
	struct host *host = still(s, h);
	struct fetch *f = &fetch[h->d];
	const struct books *b = &s->pg.books;

	if (host == NULL || host->session_dead)
		return;
	if (f->epoch != b->epoch) {
		capture_host_lose_session(s, host);
		return;
	}
	f->found_count = 0;
	for (size_t i = 0; i < f->count; i++)
		for (uint32_t k = 0; k < b->carries; k++)
			if (b->carried[k].ordinal == f->ordinal[i])
				f->found[f->found_count++] = b->carried[k];
	demand(s, f->found_count == f->count, "what is carried is not on record");
	plan(s, host, prng_between(&s->dice, 1, s->plan.pg_us), on_fetched)->d = h->d;
}

void capture_books_fetch(struct capture_sim *s, struct host *h, const struct capture_effect *f)
{
	uint32_t place = next_fetch++ % FETCHES;

	fetch[place].epoch = h->epoch;
	fetch[place].count = f->fetch.count;
	memcpy(fetch[place].ordinal, f->fetch.ordinals, f->fetch.count * sizeof fetch[place].ordinal[0]);
	plan(s, h, prng_between(&s->dice, 1, s->plan.pg_us), on_fetch)->d = place;
}

/* --- what is held --- */

bool capture_books_hold(const struct capture_sim *s, const struct message *m)
{
	const struct books *b = &s->pg.books;

	for (uint32_t i = 0; i < b->carries; i++)
		if (b->carried[i].held && b->carried[i].m.id == m->id)
			return true;
	return false;
}

static uint64_t sent_from_now_on(const struct books *b)
{
	return b->low_water != LOW_WATER_NONE ? b->low_water : LOW_WATER_UNKNOWN;
}

/* Of what is carried of the lane (0: of any) and was never sent: from here on it may be. */
static void may_be_sent(struct books *b, uint64_t lane)
{
	for (uint32_t i = 0; i < b->carries; i++)
		if ((lane == 0 || b->carried[i].lane == lane) && b->carried[i].low_water == LOW_WATER_NONE)
			b->carried[i].low_water = sent_from_now_on(b);
}

void capture_books_promoted(struct capture_sim *s)
{
	may_be_sent(&s->pg.books, 0);
}

static uint32_t val_of(const struct capture_sim *s, const struct message *m)
{
	return m->kind == MESSAGE_CHANGE ? s->op[m->op].content.val : m->content.val;
}

/* As boxhaul.capture_decide(). Whoever leads has other books. */
bool capture_books_decide(struct capture_sim *s, uint32_t carried, bool discard, bool mend)
{
	struct books *b = &s->pg.books;
	struct carried_message *x = &b->carried[carried];

	if (!x->held || (x->ordinal > b->ordinal && s->flaw != CAPTURE_FLAW_decided_torn))
		return false;
	trace(s, "operator %s ordinal %lld%s", discard ? "discards" : "redrives", (long long)x->ordinal,
	      mend ? ", and it can be stored now" : "");
	may_be_sent(b, x->lane);
	x->held = false;
	if (mend)
		s->poison[val_of(s, &x->m)] = false;
	if (discard) {
		check_capture_lettered(s, &x->m);
		for (uint32_t i = carried + 1; i < b->carries; i++)
			b->carried[i - 1] = b->carried[i];
		b->carries--;
	}
	b->epoch++;
	s->decided++;
	return true;
}

/* --- verify passes --- */

/* Whoever leads is told of passes that have not begun; what cannot begin yet it is told again. */
static void on_passes(struct capture_sim *s, const struct capture_happening *h)
{
	struct host *host = still(s, h);
	struct books *b = &s->pg.books;
	bool all = true;

	if (host == NULL || host->session_dead || capture_host_defers(s, host, h) || host->epoch != b->epoch)
		return;
	for (uint32_t t = 0; t < s->plan.tables; t++) {
		struct capture_event ev = { .kind = CAPTURE_EVENT_VERIFY,
					    .verify = { .table = t, .now = b->table[t] } };

		if (b->table[t].state != CAPTURE_TABLE_WAITING ||
		    b->table[t].pass <= capture_table_at(host->core, t)->pass)
			continue;
		if (!capture_may_verify(host->core, t, b->table[t].pass)) {
			all = false;
			continue;
		}
		host->cursor[t] = host->top[t] = -1;
		host->asked_keys[t] = b->asked_keys[t];
		trace(s, "host %u  verifies table %u", host->index, t);
		capture_host_step(s, host, &ev);
	}
	if (!all)
		plan(s, host, prng_between(&s->dice, s->plan.pg_us, 50 * s->plan.pg_us), on_passes);
	capture_host_turn(s, host);
}

/* Whoever leads takes it up; whoever leads next finds it in the books. */
void capture_books_verify(struct capture_sim *s, uint32_t table, uint32_t keys)
{
	struct books *b = &s->pg.books;

	if (table == s->plan.whole_table || b->table[table].state != CAPTURE_TABLE_COMPLETE ||
	    !s->pg.table[table].published || !s->plan.settings.in_commit_order)
		return;
	b->table[table] = (struct capture_table){ .state = CAPTURE_TABLE_WAITING, .pass = ++s->numbers };
	b->asked_keys[table] = keys;
	b->cursor[table] = b->top[table] = -1;
	s->passes++;
	trace(s, "verify  table %u, keys %x", table, keys);
	if (capture_leader(s) != NULL)
		plan(s, capture_leader(s), prng_between(&s->dice, 1, 2 * s->plan.pg_us), on_passes);
}

/* --- the lead --- */

static void count_repairs(const struct books *b, uint32_t table, struct capture_table *t)
{
	uint32_t last = 0;

	t->repair_count = 0;
	for (uint32_t i = 0; i < b->repairs; i++) {
		uint32_t reading = b->repair[i].reading;

		if (b->repair[i].table != table)
			continue;
		if (last == 0 || reading < t->repair_first)
			t->repair_first = reading;
		if (reading > last)
			last = reading;
	}
	if (last > 0)
		t->repair_count = last - t->repair_first + 1;
}

/* Who waits for nobody's lease is right: no other host has one. */
static void nobody_else_leads(struct capture_sim *s, const struct host *host)
{
	for (uint32_t i = 0; i < s->plan.hosts; i++) {
		const struct host *other = &s->host[i];

		if (other == host || other->core == NULL || other->epoch == 0 || other->connection == 0)
			continue;
		demand(s, capture_send_deadline(other->core) <= s->now / MS,
		       "host %u waits for nobody, and host %u of epoch %llu has its lease", host->index, i,
		       (unsigned long long)other->epoch);
	}
}

static void on_books(struct capture_sim *s, const struct capture_happening *h)
{
	struct host *host = still(s, h);
	struct capture_event ev = { .kind = CAPTURE_EVENT_LEADING };
	struct capture_table tables[CAPTURE_TABLES];
	static struct capture_inherited inherited[MAX_CARRIED];
	struct books *b = &s->pg.books;

	if (host == NULL || host->session_dead || capture_host_defers(s, host, h))
		return;
	for (uint32_t t = 0; t < s->plan.tables; t++) {
		tables[t] = b->table[t];
		tables[t].whole = t == s->plan.whole_table;
		count_repairs(b, t, &tables[t]);
		host->cursor[t] = b->cursor[t];
		host->top[t] = b->top[t];
		host->asked_keys[t] = b->asked_keys[t];
	}
	for (uint32_t i = 0; i < b->carries; i++)
		inherited[i] = (struct capture_inherited){ .ordinal = b->carried[i].ordinal,
							   .lane = b->carried[i].lane,
							   .low_water = b->carried[i].low_water,
							   .held = b->carried[i].held,
							   .bytes = 10 };
	ev.leading.carried = inherited;
	ev.leading.carried_count = b->carries;
	host->epoch = b->epoch;
	host->piece.open = false;
	ev.leading.end_lsn = b->end_lsn;
	ev.leading.commit_time = b->time;
	ev.leading.ordinal = b->ordinal;
	ev.leading.wal_end = s->pg.lsn;
	ev.leading.low_water = b->low_water;
	ev.leading.end = b->end;
	ev.leading.asked_ms = (int64_t)h->d;
	if (h->e != 0 && s->now / MS + (int64_t)s->plan.settings.send.lease_ms > host->until_ms)
		host->until_ms = s->now / MS + (int64_t)s->plan.settings.send.lease_ms;
	ev.leading.predecessor_until_ms = host->until_ms;
	host->led = b->epoch;
	if (h->e == 0 && host->until_ms <= s->now / MS)
		nobody_else_leads(s, host);
	ev.leading.operator_pause = b->operator_pause;
	ev.leading.reading_paused = b->reading_paused;
	ev.leading.tables = tables;
	trace(s, "host %u  leads: epoch %llu, from %llu, ordinal %lld", host->index, (unsigned long long)b->epoch,
	      (unsigned long long)b->end_lsn, (long long)b->ordinal);
	capture_host_step(s, host, &ev);
	capture_host_turn(s, host);
}

void capture_books_lead(struct capture_sim *s, struct host *h)
{
	struct books *b = &s->pg.books;
	struct capture_happening *a;
	bool led = b->led;

	b->epoch++;
	b->led = true;
	/* An earlier leader that has marked nothing may have sent something. */
	if (led && b->low_water == LOW_WATER_NONE)
		b->low_water = LOW_WATER_UNKNOWN;
	/* What is not marked comes again. */
	while (b->carries > 0 && b->carried[b->carries - 1].ordinal > b->ordinal &&
	       s->flaw != CAPTURE_FLAW_carried_torn)
		b->carries--;
	a = plan(s, h, prng_between(&s->dice, 1, 2 * s->plan.pg_us), on_books);
	a->d = (uint64_t)(s->now / MS);
	a->e = led && b->epoch != h->led + 1; /* we may be the one who led before */
	if (a->e == 0)
		h->led = b->epoch; /* else when it is known until when it waits */
}
