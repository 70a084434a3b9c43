/* Stories about the inbox's core on a virtual clock. Each tells what happens to a subscription, and what it does then.
 *
 * What the core asks for is written down as text: "make >10, info, time 10, pull 4, take 10-12, release 2". Notes are
 * kept apart. Requests for the names of consumers and the numbers of questions are answered by the stage. */
#include <string.h>

#include "core/inbox/inbox.h"
#include "core/inbox/inbox_trail.h"
#include "inbox_mutant.h"
#include "tap.h"

static struct inbox *in;
static struct inbox_settings set;
static int64_t now;
static char heard[2000], noted[2000];
static uint64_t consumer, consumer_sequence; /* the last one; what it has sent */
static uint32_t info_ask, time_ask, pull;    /* the last ones */
static struct inbox_move moved;              /* the last one */
static int32_t slot;                         /* of the last message */

/* --- the stage --- */

__attribute__((format(printf, 2, 3))) static void say(char *to, const char *format, ...)
{
	size_t n = strlen(to);
	va_list args;

	n += (size_t)snprintf(to + n, sizeof heard - n, "%s", n > 0 ? ", " : "");
	va_start(args, format);
	vsnprintf(to + n, sizeof heard - n, format, args);
	va_end(args);
}

static void say_move(const struct inbox_move *m)
{
	static const char *const kind[] = { "take", "follow", "begin", "skip", "rewind", "restart" };

	moved = *m;
	say(heard, "%s %llu-%llu", kind[m->kind], (unsigned long long)m->from, (unsigned long long)m->to);
	if (m->gap_from != 0)
		say(heard, "lost %llu-%llu", (unsigned long long)m->gap_from, (unsigned long long)m->gap_to);
	if (m->dead)
		say(heard, "dead");
}

static void say_effect(const struct inbox_effect *e)
{
	static const char *const stop[] = { "go",   "gap",       "truncated", "recreated",
					    "kind", "no stream", "ahead",     "refused" };

	switch (e->kind) {
	case INBOX_EFFECT_BOOKS: say(heard, "books"); break;
	case INBOX_EFFECT_MAKE:
		consumer = e->make.consumer;
		consumer_sequence = 0;
		say(heard, "make %llu", (unsigned long long)e->make.start);
		break;
	case INBOX_EFFECT_DELETE: say(heard, "delete"); break;
	case INBOX_EFFECT_INFO:
		info_ask = e->ask.ask;
		say(heard, "info");
		break;
	case INBOX_EFFECT_TIME:
		time_ask = e->ask.ask;
		say(heard, "time %llu", (unsigned long long)e->ask.sequence);
		break;
	case INBOX_EFFECT_PULL:
		pull = e->pull.pull;
		say(heard, "pull %u", e->pull.messages);
		break;
	case INBOX_EFFECT_MOVE: say_move(&e->move); break;
	case INBOX_EFFECT_RELEASE: say(heard, "release %u", e->release.count); break;
	case INBOX_EFFECT_STOP: say(heard, "stop %s", stop[e->stop.stop]); break;
	case INBOX_EFFECT_NOTE: say(noted, "note %d", e->note.kind); break;
	}
}

static void listen(void)
{
	struct inbox_effect e;

	while (inbox_next(in, &e))
		say_effect(&e);
	inbox_audit(in);
}

static void give(struct inbox_event e)
{
	e.now_ms = now;
	e.random = 1;
	inbox_step(in, &e);
	slot = e.message.slot;
}

static void step(struct inbox_event e)
{
	give(e);
	listen();
}

static void forget(void)
{
	heard[0] = noted[0] = '\0';
}

#define hears(text, what) (is_text(heard, text, what), forget())

/* --- what happens --- */

static int64_t time_of(uint64_t sequence)
{
	return (int64_t)sequence * 1000;
}

static void pass(int64_t ms)
{
	int64_t until = now + ms;

	while (inbox_deadline(in) <= until) {
		now = inbox_deadline(in) > now ? inbox_deadline(in) : now + 1;
		step((struct inbox_event){ .kind = INBOX_EVENT_TICK });
	}
	now = until > now ? until : now;
	step((struct inbox_event){ .kind = INBOX_EVENT_TICK });
}

static void lead(struct inbox_books books)
{
	step((struct inbox_event){ .kind = INBOX_EVENT_LEADING, .books = books });
}

static void happens(enum inbox_event_kind kind)
{
	step((struct inbox_event){ .kind = kind });
}

static void made(void)
{
	step((struct inbox_event){ .kind = INBOX_EVENT_MADE, .made = { consumer } });
}

static void info_of(int64_t created, uint64_t first, uint64_t last)
{
	step((struct inbox_event){ .kind = INBOX_EVENT_INFO,
				   .info = { .ask = info_ask,
					     .answer = INBOX_ANSWER_FOUND,
					     .created = created,
					     .first = first,
					     .last = last,
					     .usable = true } });
}

static void info(uint64_t first, uint64_t last)
{
	info_of(7, first, last);
}

static void time_is(int64_t time)
{
	step((struct inbox_event){ .kind = INBOX_EVENT_TIME,
				   .time = { .ask = time_ask,
					     .answer = time != 0 ? INBOX_ANSWER_FOUND : INBOX_ANSWER_MISSING,
					     .time = time } });
}

static struct inbox_event message(uint64_t sequence)
{
	return (struct inbox_event){ .kind = INBOX_EVENT_MESSAGE,
				     .message = { .consumer = consumer,
						  .consumer_sequence = ++consumer_sequence,
						  .sequence = sequence,
						  .time = time_of(sequence),
						  .pull = pull,
						  .bytes = 100 } };
}

static void comes(uint64_t sequence)
{
	step(message(sequence));
}

static void beats(uint64_t sequence)
{
	step((struct inbox_event){ .kind = INBOX_EVENT_HEARTBEAT,
				   .heartbeat = { .consumer = consumer,
						  .consumer_sequence = consumer_sequence,
						  .sequence = sequence,
						  .pull = pull } });
}

static void status(enum inbox_status what)
{
	step((struct inbox_event){ .kind = INBOX_EVENT_STATUS,
				   .status = { .consumer = consumer, .pull = pull, .status = what } });
}

static void answer(enum inbox_moved result)
{
	step((struct inbox_event){ .kind = INBOX_EVENT_MOVED, .moved = { result } });
}

static void begin(void)
{
	inbox_free(in);
	now = 1000000;
	in = inbox_create(&set);
	happens(INBOX_EVENT_BUS_UP);
	forget();
}

/* At a position, with marks at each ten below it; led, looked, verified. */
static struct inbox_mark trail[10];

static struct inbox_books books_at(uint64_t position)
{
	size_t n = 0;

	for (uint64_t s = 10; s < position && n < 9; s += 10)
		trail[n++] = (struct inbox_mark){ s, time_of(s) };
	trail[n++] = (struct inbox_mark){ position, time_of(position) };
	return (struct inbox_books){ .position = position,
				     .incarnation = 3,
				     .created = 7,
				     .witness_time = time_of(position),
				     .trail = trail,
				     .trail_count = n };
}

static void pulls_from(uint64_t position)
{
	begin();
	lead(books_at(position));
	made();
	info(1, position);
	time_is(time_of(position));
	forget();
}

static void usual(void)
{
	set = (struct inbox_settings){ .start = INBOX_START_ALL,
				       .start_sequence = 1,
				       .queue_messages = 16,
				       .queue_bytes = 10000,
				       .take_messages = 4,
				       .take_bytes = 5000,
				       .large_bytes = 100000,
				       .heartbeat_ms = 1000,
				       .expires_ms = 4000,
				       .answer_timeout_ms = 500,
				       .retry_min_ms = 10,
				       .retry_max_ms = 1000,
				       .check_interval_ms = 60000,
				       .follow_interval_ms = 30000 };
}

/* --- a new subscription --- */

static void begins(void)
{
	usual();
	begin();
	lead((struct inbox_books){ 0 });
	hears("info", "no books: where does the stream stand?");
	info(5, 9);
	hears("begin 0-4", "all of it: behind what has left it");
	is_number(moved.created, 7, "with the stream it is of");
	answer(INBOX_MOVED_OK);
	hears("make 5", "and then a consumer");

	set.start = INBOX_START_NEW;
	begin();
	lead((struct inbox_books){ 0 });
	info(5, 9);
	hears("info, time 9", "what is new: the end needs a witness, too");
	time_is(time_of(9));
	hears("begin 0-9", "and has it");
	is_number(moved.time, time_of(9), "in the same move");

	begin();
	lead((struct inbox_books){ 0 });
	info(5, 9);
	forget();
	time_is(0);
	hears("info", "no message there: deleted, or did the stream just lose its end?");
	info(5, 9);
	hears("begin 0-9", "it still ends there");

	set.start = INBOX_START_SEQUENCE;
	set.start_sequence = 11;
	begin();
	lead((struct inbox_books){ 0 });
	info(5, 9);
	hears("info, stop ahead", "a start behind the end is refused");
}

/* The daemon of a sink is started before the one that makes its stream. */
static void waits_for_its_stream(void)
{
	usual();
	begin();
	lead((struct inbox_books){ 0 });
	step((struct inbox_event){ .kind = INBOX_EVENT_INFO,
				   .info = { .ask = info_ask, .answer = INBOX_ANSWER_MISSING } });
	hears("info, stop no stream", "there is none");
	pass(set.retry_min_ms);
	hears("info", "it is asked again at once");
	for (int i = 0; i < 20; i++) {
		step((struct inbox_event){ .kind = INBOX_EVENT_INFO,
					   .info = { .ask = info_ask, .answer = INBOX_ANSWER_MISSING } });
		forget();
		pass(set.retry_max_ms);
		ok(strncmp(heard, "info", 4) == 0, "and again, at most a pause later");
		forget();
	}
	info(0, 0);
	hears("begin 0-0", "as soon as it is there it begins");
}

/* --- from the books to the first request --- */

static void opens(void)
{
	usual();
	begin();
	lead(books_at(30));
	hears("make 31", "a consumer behind the position");
	made();
	hears("info", "then a look, not before");
	info(1, 40);
	hears("time 30", "then the witness");
	time_is(time_of(30));
	hears("pull 4, pull 4", "it agrees: two requests");
}

static void finds_gap(void)
{
	usual();
	begin();
	lead(books_at(30));
	made();
	forget();
	info(36, 40);
	hears("delete, stop gap", "what left the stream above the position stops it");

	set.on_gap = INBOX_ON_GO_ON;
	begin();
	lead(books_at(30));
	made();
	forget();
	info(36, 40);
	hears("skip 30-35, lost 31-35", "or is put on record");
	answer(INBOX_MOVED_OK);
	hears("pull 4, pull 4", "before anything is pulled, by the consumer that is there");
}

static void finds_lost_end(void)
{
	usual();
	begin();
	lead(books_at(30));
	made();
	forget();
	info(1, 25);
	hears("time 20", "the stream ends below the position: the newest mark that can be there");
	time_is(1);
	hears("time 10", "another message: the next one");
	time_is(time_of(10));
	hears("rewind 30-10", "that one agrees");
	answer(INBOX_MOVED_OK);
	hears("delete, make 11", "and all from there comes again");

	begin();
	lead(books_at(30));
	made();
	info(1, 40);
	forget();
	time_is(1);
	hears("time 20", "grown again beyond the position: the witness tells");

	set.dedupe = INBOX_DEDUPE_POSITION;
	begin();
	lead(books_at(30));
	made();
	info(1, 40);
	forget();
	time_is(1);
	hears("delete, stop truncated", "without ids only a person can decide");
	pass(200000);
	hears("", "and it is not looked at again: grown, the stream may look well");
	happens(INBOX_EVENT_CHANGED);
	hears("books", "until somebody did");
}

static void finds_no_witness(void)
{
	usual();
	begin();
	lead(books_at(30));
	made();
	info(1, 40);
	forget();
	time_is(0);
	hears("time 20", "a witness that left the stream says nothing: an older one");
	time_is(time_of(20));
	hears("pull 4, pull 4", "which agrees");

	set.start = INBOX_START_NEW;
	begin();
	lead(books_at(30));
	made();
	info(1, 5);
	hears("make 31, info, delete, stop truncated", "one that began in the middle cannot go back beyond its marks");
}

/* A failover took the books back to before the subscription began: with "new" it would begin at the end of today. */
static void begins_again(void)
{
	usual();
	set.start = INBOX_START_NEW;
	begin();
	lead((struct inbox_books){ 0 });
	info(5, 9);
	time_is(time_of(9));
	answer(INBOX_MOVED_OK);
	step((struct inbox_event){ .kind = INBOX_EVENT_DEPOSED });
	forget();
	lead((struct inbox_books){ 0 });
	info(5, 30);
	hears("info, time 9", "where it began, not at the end");
	time_is(time_of(9));
	is_number((long long)moved.to, 9, "it begins there again");
	answer(INBOX_MOVED_OK);
	is_number(noted[strlen(noted) - 1], '0' + INBOX_NOTE_BEGUN_AGAIN, "and says so");

	begin();
	lead((struct inbox_books){
		.position = 20, .incarnation = 3, .created = 7, .began = 12, .witness_time = time_of(20) });
	step((struct inbox_event){ .kind = INBOX_EVENT_DEPOSED });
	forget();
	lead((struct inbox_books){ 0 });
	info(15, 30);
	hears("info, begin 0-12",
	      "whoever has read the books knows, too; what has left the stream since is a gap behind it");

	begin();
	lead((struct inbox_books){
		.position = 20, .incarnation = 3, .created = 7, .began = 12, .witness_time = time_of(20) });
	step((struct inbox_event){ .kind = INBOX_EVENT_DEPOSED });
	forget();
	lead((struct inbox_books){ 0 });
	info_of(8, 3, 30);
	hears("info, begin 0-2", "all of another stream is new");
}

static void finds_another_stream(void)
{
	usual();
	begin();
	lead(books_at(30));
	made();
	forget();
	info_of(8, 1, 40);
	hears("delete, stop recreated", "another stream of that name");

	set.on_recreated = INBOX_ON_GO_ON;
	begin();
	lead(books_at(30));
	made();
	forget();
	info_of(8, 1, 40);
	hears("restart 30-0", "is read from its beginning, if that is allowed");
	is_number(moved.created, 8, "as what it is");
}

/* --- messages --- */

static void takes(void)
{
	usual();
	pulls_from(30);
	comes(31);
	hears("take 30-31", "the first one at once");
	is_number(moved.time, time_of(31), "with its time as witness");
	comes(32);
	hears("", "one more waits: a statement is in flight");
	comes(33);
	hears("take 31-33", "two are worth a second one");
	comes(34);
	comes(35);
	hears("pull 4", "and there is no third one; the first request is full");
	answer(INBOX_MOVED_OK);
	hears("release 1, take 33-35", "until one is answered");
}

static void loses_one_on_the_way(void)
{
	usual();
	pulls_from(30);
	comes(31);
	forget();
	comes(32);
	consumer_sequence++;
	comes(33);
	hears("delete, take 31-32", "a number is left out: the consumer is given up, and what came before is taken");
	is_number(slot, -1, "but nothing behind the hole");
	answer(INBOX_MOVED_OK);
	forget();
	answer(INBOX_MOVED_OK);
	pass(10);
	hears("release 1, make 33", "and a new one begins behind the position");
}

static void sees_order(void)
{
	usual();
	pulls_from(30);
	comes(31);
	forget();
	comes(31);
	hears("delete", "a sequence that does not rise");
	is_number(slot, -1, "is not taken");
}

static void crosses_hole(void)
{
	usual();
	pulls_from(30);
	comes(34);
	hears("info", "a hole in the stream's sequence: foreign subjects, or did something leave it?");
	info(1, 34);
	hears("take 30-34", "it begins below the hole: nothing did");

	pulls_from(30);
	comes(34);
	comes(38);
	forget();
	info(31, 38);
	hears("info, take 30-34", "an answer speaks for what came before it was asked for");
	info(37, 38);
	hears("delete, release 1", "and not for what came since");

	set.on_gap = INBOX_ON_GO_ON;
	pulls_from(30);
	comes(34);
	forget();
	info(33, 38);
	hears("take 30-34, lost 31-32", "a gap is on record with the first message behind it");
}

static void gives_question_up(void)
{
	usual();
	pulls_from(30);
	comes(31);
	comes(34);
	forget();
	happens(INBOX_EVENT_BUS_DOWN);
	hears("release 1", "what is in question is forgotten with its consumer");
}

/* --- a quiet filter --- */

static void follows(void)
{
	usual();
	set.follow_interval_ms = 1500;
	set.expires_ms = 60000;
	pulls_from(30);
	beats(90);
	hears("info", "the consumer has passed what does not match");
	info(1, 90);
	pass(1500);
	hears("time 90", "after a while the position would follow, and needs a witness");
	time_is(time_of(90));
	beats(90);
	hears("", "the consumer may have been dead since before the witness was asked for");
	status(INBOX_STATUS_ENDED);
	hears("pull 4", "a request that is made now");
	beats(90);
	hears("follow 30-90", "is answered: it lives");
	is_number(moved.time, time_of(90), "position and witness move together");
}

static void follows_not(void)
{
	usual();
	set.follow_interval_ms = 100;
	set.expires_ms = 60000;
	pulls_from(30);
	beats(90);
	info(1, 90);
	pass(100);
	hears("info, time 90", "the witness is asked for");
	pass(600);
	status(INBOX_STATUS_ENDED);
	beats(90);
	lacks(heard, "follow", "no answer, no move");
}

/* --- consumers that fail --- */

static void hears_nothing(void)
{
	usual();
	pulls_from(30);
	pass(2000);
	hears("", "two heartbeats are waited for");
	pass(300);
	hears("delete, make 31", "then it is lost, and made anew");
}

static void hears_that_it_is_gone(void)
{
	usual();
	pulls_from(30);
	status(INBOX_STATUS_GONE);
	hears("delete", "gone: given up at once");
	pass(10);
	hears("make 31", "and made anew after a pause");
}

static void is_stuck(void)
{
	usual();
	set.check_interval_ms = 5000;
	set.expires_ms = 600000;
	set.answer_timeout_ms = 2000;
	pulls_from(30);
	for (int i = 0; i < 15 && strstr(heard, "delete") == NULL; i++) {
		pass(900);
		beats(30);
		if (strstr(heard, "info") != NULL && strstr(heard, "delete") == NULL)
			info(1, 35);
	}
	is_number(inbox_look(in)->doubts[INBOX_DOUBT_STUCK], 1, "heartbeats, and nothing of what the stream holds");
}

static void asks_for_a_large_one(void)
{
	usual();
	pulls_from(30);
	status(INBOX_STATUS_SIZE);
	hears("", "too large: no request of the same kind");
	pull--;
	status(INBOX_STATUS_ENDED);
	hears("pull 1", "but one with room for the largest, alone");
	comes(31);
	hears("take 30-31, pull 4, pull 4", "and then as before");
}

/* --- what comes too late --- */

static void hears_an_old_consumer(void)
{
	uint64_t old;

	usual();
	pulls_from(30);
	old = consumer;
	pass(2300);
	made();
	info(1, 40);
	time_is(time_of(30));
	forget();
	consumer = old;
	comes(35);
	hears("", "what an old consumer still sends");
	is_number(slot, -1, "is nothing to the new one");
}

static void hears_an_old_answer(void)
{
	uint32_t old;

	usual();
	begin();
	lead(books_at(30));
	made();
	old = info_ask;
	pass(520);
	made();
	forget();
	info_ask = old;
	info_of(8, 1, 40);
	hears("", "an answer to a question that is given up is none");
}

static void hears_of_more(void)
{
	usual();
	pulls_from(30);
	consumer_sequence++;
	beats(40);
	hears("delete", "a heartbeat that counts more than came: something was lost");

	pulls_from(30);
	comes(31);
	forget();
	consumer_sequence--;
	beats(40);
	hears("", "one that counts less is old");
}

/* --- the database --- */

static void loses_compare(void)
{
	usual();
	pulls_from(30);
	comes(31);
	comes(32);
	comes(33);
	forget();
	answer(INBOX_MOVED_NOT);
	hears("release 1, delete", "somebody else moved it");
	answer(INBOX_MOVED_NOT);
	hears("release 2", "so the second hits nothing either");
	pass(10);
	hears("books", "the books are read before anything is begun");
	step((struct inbox_event){ .kind = INBOX_EVENT_BOOKS, .books = books_at(40) });
	hears("make 41", "and hold");
}

static void stores_dead_letter(void)
{
	usual();
	pulls_from(30);
	give(message(31));
	give(message(32));
	listen();
	hears("take 30-32", "a batch");
	answer(INBOX_MOVED_DATA);
	pass(10);
	step((struct inbox_event){ .kind = INBOX_EVENT_BOOKS, .books = books_at(30) });
	made();
	info(1, 40);
	time_is(time_of(30));
	forget();
	comes(31);
	hears("take 30-31", "that the database cannot store is taken one by one");
	answer(INBOX_MOVED_DATA);
	pass(20);
	step((struct inbox_event){ .kind = INBOX_EVENT_BOOKS, .books = books_at(30) });
	made();
	info(1, 40);
	time_is(time_of(30));
	forget();
	comes(31);
	hears("take 30-31, dead", "until it is known which one it is");
}

static void has_no_credit(void)
{
	usual();
	pulls_from(30);
	step((struct inbox_event){ .kind = INBOX_EVENT_CREDIT, .credit = { false } });
	comes(31);
	status(INBOX_STATUS_ENDED);
	hears("", "a database that takes nothing is given nothing, and nothing is asked for");
	step((struct inbox_event){ .kind = INBOX_EVENT_CREDIT, .credit = { true } });
	hears("take 30-31, pull 4", "until it does");
}

static void is_paused(void)
{
	usual();
	pulls_from(30);
	step((struct inbox_event){ .kind = INBOX_EVENT_PAUSED, .paused = { true } });
	hears("delete", "an operator's pause");
	step((struct inbox_event){ .kind = INBOX_EVENT_PAUSED, .paused = { false } });
	hears("make 31", "and its end");
}

static void is_deposed(void)
{
	usual();
	pulls_from(30);
	comes(31);
	comes(32);
	forget();
	happens(INBOX_EVENT_DEPOSED);
	hears("delete, release 2", "all that was in memory is void");
	lead(books_at(31));
	hears("make 32", "the next lead begins with its own books");
}

static void keeps_message_from_follow(void)
{
	usual();
	set.on_gap = INBOX_ON_GO_ON;
	set.follow_interval_ms = 100;
	pulls_from(30);
	beats(50);
	info(46, 50);
	pass(100);
	time_is(time_of(50));
	status(INBOX_STATUS_ENDED);
	forget();
	give((struct inbox_event){ .kind = INBOX_EVENT_HEARTBEAT,
				   .heartbeat = { .consumer = consumer, .sequence = 50, .pull = pull } });
	step(message(51));
	hears("take 30-51, lost 31-45", "the move that puts a gap on record is the one that passes it");
}

static void keeps_gap_for_its_move(void)
{
	usual();
	set.on_gap = INBOX_ON_GO_ON;
	set.follow_interval_ms = 100;
	pulls_from(30);
	beats(50);
	info(1, 50);
	pass(100);
	time_is(time_of(50));
	beats(70);
	info(61, 70);
	status(INBOX_STATUS_ENDED);
	forget();
	beats(70);
	hears("", "a gap ahead of where the position would follow to: it does not");
	comes(71);
	hears("take 30-71, lost 51-60", "and the gap goes with the move that passes it");
}

/* Fifty places in a second, for an hour; then a stream that lost ten minutes, and one that lost half a second. */
static void remembers_minutes(void)
{
	enum { PLACES = 50 * 3600, MINUTE = 50 * 60 };
	const int64_t step_ns = 20000000;
	struct inbox_trail t = { .kept = 0 };
	struct inbox_mark old, young;

	for (uint64_t i = 1; i <= PLACES; i++)
		inbox_trail_add(&t, (struct inbox_mark){ .sequence = i, .time = (int64_t)i * step_ns });
	inbox_trail_audit(&t, PLACES);
	old = inbox_trail_below(&t, PLACES - 10 * MINUTE);
	young = inbox_trail_below(&t, PLACES - 25);
	ok(old.sequence + MINUTE >= PLACES - 10 * MINUTE, "a mark of the minute before");
	ok(young.sequence == PLACES - 26, "of the newest places all are marked");
	for (uint64_t i = PLACES + 1; i <= 2 * PLACES; i++)
		inbox_trail_add(&t, (struct inbox_mark){ .sequence = i, .time = (int64_t)i * step_ns * MINUTE });
	inbox_trail_audit(&t, 2 * PLACES);
	ok(t.kept <= LIMIT_INBOX_TRAIL && inbox_trail_below(&t, 2 * PLACES - 700).sequence == 2 * PLACES - 701,
	   "one a minute is all that are there");
}

int main(int argc, char **argv)
{
	if (argc > 2 && (strcmp(argv[1], "--mutant") != 0 || !inbox_mutant_choose(argv[2])))
		return 64;
	begins();
	begins_again();
	waits_for_its_stream();
	opens();
	finds_gap();
	finds_lost_end();
	finds_no_witness();
	finds_another_stream();
	takes();
	loses_one_on_the_way();
	sees_order();
	crosses_hole();
	gives_question_up();
	follows();
	follows_not();
	hears_nothing();
	hears_that_it_is_gone();
	is_stuck();
	asks_for_a_large_one();
	hears_an_old_consumer();
	hears_an_old_answer();
	hears_of_more();
	loses_compare();
	stores_dead_letter();
	has_no_credit();
	is_paused();
	is_deposed();
	keeps_message_from_follow();
	keeps_gap_for_its_move();
	remembers_minutes();
	inbox_free(in);
	return done_testing();
}
