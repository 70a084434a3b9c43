/* Stories about the capture's core on a virtual clock. Each tells what the log and the server say, and what the core does then.
 *
 * What the core asks for is written down as text: "stream 100, publish 1, chunk, end, mark 120/2, confirm 120". */
#include <string.h>

#include "capture_mutant.h"
#include "core/capture/capture.h"
#include "core/refusal.h"
#include "tap.h"

static struct capture *core;
static struct capture_settings set;
static int64_t now;
static char heard[4000];
static uint64_t token, tokens[100]; /* of the last publish; of all that are not answered */
static size_t waiting;
static uint32_t most_repairs;
static bool complete, by_key, whole;
static uint32_t share = 100;  /* of the time, for chunks */
static size_t cursors_marked; /* by the last mark */
static uint32_t most_commits;
static uint64_t low_water; /* of the last mark */
static int64_t ordinal;    /* of the books */
static int64_t lease;      /* what is left of an earlier leader's */
static uint64_t sequence;
static uint64_t filenode = 7;     /* of the books */
static struct capture_row *given; /* the rows of the chunk that is being answered */
static uint64_t looked_above, looked_for;
static struct stream_end end_of_books, end_marked; /* marked: by the last mark */
static uint64_t end_asked;                         /* and not answered */
static uint64_t read_marked;                 /* how far the first mark goes that has a table as read; 0: none has */
static bool end_is_slow;                     /* its answer is told by end_told() */
static struct capture_inherited left_behind; /* carried by an earlier leader; ordinal 0: none is */

/* --- the stage --- */

__attribute__((format(printf, 1, 2))) static void say(const char *format, ...)
{
	size_t n = strlen(heard);
	va_list args;

	n += (size_t)snprintf(heard + n, sizeof heard - n, "%s", n > 0 ? ", " : "");
	va_start(args, format);
	vsnprintf(heard + n, sizeof heard - n, format, args);
	va_end(args);
}

static void say_common(const struct effect *f)
{
	if (f->kind == EFFECT_PUBLISH) {
		token = f->publish.token;
		tokens[waiting++] = token;
		say("publish %lld", (long long)f->publish.id);
	} else if (f->kind == EFFECT_LOOKBACK) {
		looked_above = f->lookback.above;
		looked_for = f->lookback.marked;
		say("look");
	}
}

static void say_effect(const struct capture_effect *f)
{
	switch (f->kind) {
	case CAPTURE_EFFECT_STREAM: say("stream %llu", (unsigned long long)f->stream.lsn); break;
	case CAPTURE_EFFECT_CONFIRM: say("confirm %llu", (unsigned long long)f->confirm.lsn); break;
	case CAPTURE_EFFECT_DRAW: say("draw"); break;
	case CAPTURE_EFFECT_HORIZON: say("horizon"); break;
	case CAPTURE_EFFECT_CHUNK:
		say(f->chunk.kind == CAPTURE_CHUNK_TOP     ? "top %u"
		    : f->chunk.kind == CAPTURE_CHUNK_OPEN  ? "open %u"
		    : f->chunk.kind == CAPTURE_CHUNK_PIECE ? "piece %u"
							   : "chunk %u",
		    f->chunk.reading);
		break;
	case CAPTURE_EFFECT_LET_GO: say("let go"); break;
	case CAPTURE_EFFECT_CHUNK_END: say("end"); break;
	case CAPTURE_EFFECT_CONTROL: say(f->control.end ? "control end" : "control begin"); break;
	case CAPTURE_EFFECT_MARK:
		low_water = f->mark->low_water;
		end_marked = f->mark->end;
		cursors_marked = f->mark->cursor_count;
		say("mark %llu/%lld", (unsigned long long)f->mark->end_lsn, (long long)f->mark->ordinal);
		for (size_t i = 0; i < f->mark->cursor_count; i++)
			if (f->mark->cursors[i].now.state == CAPTURE_TABLE_READ && read_marked == 0)
				read_marked = f->mark->end_lsn;
		for (size_t i = 0; i < f->mark->cursor_count; i++)
			if (f->mark->cursors[i].top != CAPTURE_NO_SLOT)
				say("up to %s",
				    f->mark->cursors[i].top == given[0].slot ? (const char *)given[0].key : "another");
		for (size_t i = 0; i < f->mark->repair_count; i++)
			say("repair %u:%s", f->mark->repairs[i].reading, (const char *)f->mark->repairs[i].key);
		for (size_t i = 0; i < f->mark->carry_count; i++)
			say("carry %lld", (long long)f->mark->carries[i].ordinal);
		for (size_t i = 0; i < f->mark->gone_count; i++)
			say("gone %lld", (long long)f->mark->gone[i]);
		break;
	case CAPTURE_EFFECT_FETCH:
		for (size_t i = 0; i < f->fetch.count; i++)
			say("fetch %lld", (long long)f->fetch.ordinals[i]);
		break;
	case CAPTURE_EFFECT_LOST_END:
		say("lost end %u: %llu of %llu", f->lost.why, (unsigned long long)f->lost.last,
		    (unsigned long long)f->lost.marked);
		break;
	case CAPTURE_EFFECT_END:
		end_asked = f->end.sequence;
		if (end_is_slow)
			say("when %llu", (unsigned long long)f->end.sequence);
		break;
	case CAPTURE_EFFECT_COMMON: say_common(&f->common); break;
	default: break;
	}
}

static void hear(struct capture_event ev)
{
	struct capture_effect f;

	ev.now_ms = now;
	capture_step(core, &ev);
	capture_audit(core);
	while (capture_next(core, &f))
		say_effect(&f);
}

/* A message has the time of its sequence. */
static void tell_end(void)
{
	struct capture_event ev = { .kind = CAPTURE_EVENT_END };

	ev.end.sequence = end_asked;
	ev.end.time_ns = (int64_t)end_asked * 1000;
	end_asked = 0;
	hear(ev);
}

static void step(struct capture_event ev)
{
	heard[0] = '\0';
	hear(ev);
	if (end_asked != 0 && !end_is_slow)
		tell_end();
}

static void end_told(void)
{
	heard[0] = '\0';
	tell_end();
}

static void common(struct event ev)
{
	step((struct capture_event){ .kind = CAPTURE_EVENT_COMMON, .common = &ev });
}

/* Of a stream that was made at this time, and has stored at this one what it was asked for. */
static void looked_at(uint64_t last, bool another, int64_t created_ns, int64_t marked_ns)
{
	struct event ev = { .kind = EVENT_LOOKBACK };

	sequence = last;
	ev.lookback.created_ns = created_ns;
	ev.lookback.marked_ns = marked_ns;
	ev.lookback.ok = true;
	ev.lookback.asked_ms = now;
	ev.lookback.duplicate_window_ms = 120000;
	ev.lookback.last = last;
	ev.lookback.another = another;
	common(ev);
}

static void looked(uint64_t last, bool another)
{
	looked_at(last, another, 0, 0);
}

static void acked(void)
{
	struct event ev = { .kind = EVENT_ACKED };

	ev.acked.token = token;
	ev.acked.sequence = ++sequence;
	common(ev);
}

/* The oldest n. */
static void acked_oldest(size_t n)
{
	struct event ev = { .kind = EVENT_ACKED };

	for (size_t i = 0; i < n; i++) {
		ev.acked.token = tokens[i];
		ev.acked.sequence = ++sequence;
		common(ev);
	}
	waiting -= n;
	memmove(tokens, tokens + n, waiting * sizeof *tokens);
}

static void acked_all(void)
{
	acked_oldest(waiting);
}

static void begin(uint32_t xid, uint64_t lsn)
{
	struct capture_event ev = { .kind = CAPTURE_EVENT_BEGIN };

	ev.begin.xid = xid;
	ev.begin.final_lsn = lsn;
	step(ev);
}

static void change(uint32_t index, const char *key)
{
	struct capture_event ev = { .kind = CAPTURE_EVENT_CHANGE };

	ev.change.index = index;
	ev.change.row.key = key;
	ev.change.row.key_bytes = (uint32_t)strlen(key);
	ev.change.row.lane = (uint64_t)key[0];
	step(ev);
}

/* It gives its row this key, and does not send all of it. */
static void move_to(uint32_t index, const char *key)
{
	struct capture_event ev = { .kind = CAPTURE_EVENT_CHANGE };

	ev.change.index = index;
	ev.change.row.key = "old";
	ev.change.row.key_bytes = 3;
	ev.change.repair_key = key;
	ev.change.repair_key_bytes = (uint32_t)strlen(key);
	step(ev);
}

static void commit(uint64_t lsn)
{
	struct capture_event ev = { .kind = CAPTURE_EVENT_COMMIT };

	ev.commit.end_lsn = lsn;
	step(ev);
}

static void position(uint64_t lsn)
{
	struct capture_event ev = { .kind = CAPTURE_EVENT_POSITION };

	ev.position.lsn = lsn;
	ev.position.idle = true;
	step(ev);
}

static void marked(void)
{
	now += 10;
	step((struct capture_event){ .kind = CAPTURE_EVENT_MARKED, .marked = { .asked_ms = now } });
}

/* Rows a and b, so large, in a snapshot. */
static void chunk_of(uint32_t bytes, uint64_t xmin, uint64_t xmax)
{
	struct capture_row rows[2] = { { .key = "a", .key_bytes = 1, .bytes = bytes },
				       { .key = "b", .key_bytes = 1, .bytes = bytes } };
	struct capture_event ev = { .kind = CAPTURE_EVENT_CHUNK };

	ev.chunk.snapshot = (struct capture_snapshot){ .xmin = xmin, .xmax = xmax };
	ev.chunk.rows = rows;
	ev.chunk.count = 2;
	ev.chunk.filenode = 7;
	ev.chunk.complete = complete;
	step(ev);
}

static void chunk(uint64_t xmin, uint64_t xmax)
{
	chunk_of(0, xmin, xmax);
}

/* The row with the largest key; NULL: there is none. */
static void top(const char *key, uint64_t xmin, uint64_t xmax, uint64_t files)
{
	struct capture_row row = { .key = key, .key_bytes = 1 };
	struct capture_event ev = { .kind = CAPTURE_EVENT_CHUNK };

	ev.chunk.snapshot = (struct capture_snapshot){ .xmin = xmin, .xmax = xmax };
	ev.chunk.rows = given = &row;
	ev.chunk.count = key != NULL;
	ev.chunk.filenode = files;
	step(ev);
	given = NULL;
}

static void end(uint64_t lsn)
{
	struct capture_event ev = { .kind = CAPTURE_EVENT_CHUNK_END };

	ev.chunk_end.lsn = lsn;
	step(ev);
}

static void leads(enum capture_table_state state)
{
	static struct capture_table table;
	struct capture_event ev = { .kind = CAPTURE_EVENT_LEADING };

	capture_free(core);
	memset(&set, 0, sizeof set);
	set.send = (struct delivery_settings){ .streams = 1,
					       .window_messages = 100,
					       .window_bytes = 10000,
					       .queue_messages = 100,
					       .queue_bytes = 10000,
					       .ack_timeout_ms = 5000,
					       .retry_min_ms = 10,
					       .retry_max_ms = 100,
					       .mark_interval_ms = 1,
					       .lease_ms = 100000 };
	set.in_commit_order = !by_key;
	set.tables = 1;
	set.chunk_rows = 2;
	set.chunk_share = share;
	set.chunk_wait_ms = 50;
	set.whole_ms = 60000;
	set.most_commits = most_commits;
	set.most_repairs = most_repairs;
	set.carry_after_ms = 50;
	waiting = 0;
	core = capture_create(&set);
	now += 1000;
	table = (struct capture_table){
		.state = state, .reading = 1, .readings = 1, .filenode = filenode, .whole = whole
	};
	ev.leading.end_lsn = 100;
	ev.leading.wal_end = 100;
	ev.leading.ordinal = ordinal;
	ev.leading.predecessor_until_ms = now + lease;
	ev.leading.low_water = LOW_WATER_NONE;
	ev.leading.end = end_of_books;
	ev.leading.asked_ms = now;
	ev.leading.tables = &table;
	ev.leading.carried = &left_behind;
	ev.leading.carried_count = left_behind.ordinal != 0;
	step(ev);
	common((struct event){ .kind = EVENT_BUS_UP });
	step((struct capture_event){ .kind = CAPTURE_EVENT_STREAM_UP });
}

static void ticks(int64_t ms)
{
	now += ms;
	common((struct event){ .kind = EVENT_TICK });
}

/* As far as the first chunk. */
static void reads(void)
{
	struct capture_event drawn = { .kind = CAPTURE_EVENT_DRAWN }, horizon = { .kind = CAPTURE_EVENT_HORIZON };

	leads(CAPTURE_TABLE_READING);
	drawn.drawn.xid = 700;
	step(drawn);
	horizon.horizon.horizon = 700;
	step(horizon);
}

/* --- stories --- */

static void barrier_waits_for_the_stream(void)
{
	struct capture_event ev = { .kind = CAPTURE_EVENT_HORIZON };

	leads(CAPTURE_TABLE_READING);
	is_text(heard, "draw", "when the stream is ours an xid is drawn");
	ev.kind = CAPTURE_EVENT_DRAWN;
	ev.drawn.xid = 700;
	step(ev);
	is_text(heard, "horizon", "then it is asked who is below it");
	ev = (struct capture_event){ .kind = CAPTURE_EVENT_HORIZON };
	ev.horizon.horizon = 699;
	ev.horizon.xmax = 701;
	step(ev);
	is_text(heard, "", "one below it has not ended: an xmax is no fence");
	now += 5;
	common((struct event){ .kind = EVENT_TICK });
	is_text(heard, "horizon", "it is asked again");
	ev.horizon.horizon = 700;
	step(ev);
	is_text(heard, "chunk 1", "and then the first chunk is read");
}

/* Whoever led before may have been streamed what is in its limbo still. */
static void barrier_at_each_lead(void)
{
	ordinal = 5;
	leads(CAPTURE_TABLE_READING);
	ordinal = 0;
	is_text(heard, "draw", "a new lead draws an xid, too");
}

/* "It is in no publication of the capture", say. Once that is mended its rows are read again, and who wrote to it before its publication had it is not
 * decoded. */
static void barrier_after_what_could_not_be_read(void)
{
	struct capture_event failed = { .kind = CAPTURE_EVENT_CHUNK_FAILED };

	reads();
	failed.chunk_failed.reason = 1;
	step(failed);
	is_text(heard, "", "a table that cannot be read waits");
	ticks(60000);
	is_text(heard, "draw", "then an xid is drawn once more");
	step((struct capture_event){ .kind = CAPTURE_EVENT_DRAWN, .drawn = { .xid = 900 } });
	step((struct capture_event){ .kind = CAPTURE_EVENT_HORIZON, .horizon = { .horizon = 800, .xmax = 901 } });
	is_text(heard, "", "one that was open meanwhile is waited for");
	ticks(5);
	step((struct capture_event){ .kind = CAPTURE_EVENT_HORIZON, .horizon = { .horizon = 900, .xmax = 901 } });
	is_text(heard, "chunk 1", "before its rows are read");
}

/* Seen on PostgreSQL 15: the slot brings T's update, a chunk that is read afterwards shows the old row, under 727:727:, and T is 727. */
static void commit_in_limbo(void)
{
	reads();
	chunk(720, 727);
	is_text(heard, "end", "nothing was streamed: the chunk counts");
	end(110);
	begin(727, 120);
	change(0, "c");
	commit(128);
	now++;
	common((struct event){ .kind = EVENT_TICK });
	chunk(727, 727);
	is_text(heard, "", "a streamed transaction is in its limbo: the chunk is void");
	ok(!capture_takes(core), "and the stream stands still");
	now++;
	common((struct event){ .kind = EVENT_TICK });
	is_text(heard, "chunk 1", "a moment later it is read again");
	chunk(728, 728);
	is_text(heard, "end", "and has seen it");
}

static void row_before_the_change(void)
{
	reads();
	chunk(720, 727);
	end(200);
	begin(727, 120);
	change(0, "b");
	commit(128);
	is_number(capture_look(core)->ordinal, 2, "the row goes out, and then the change that it has not seen");
	begin(719, 130);
	change(0, "a");
	commit(138);
	is_number(capture_look(core)->ordinal, 3, "a change that was seen passes alone");
	position(199);
	is_number(capture_look(core)->open_rows, 1, "the window is open until all that was seen has come");
	position(200);
	is_number(capture_look(core)->ordinal, 4, "then what is left goes out");
}

/* Between the changes of one message nothing stands, so the rows of all its keys stand before it. */
static void rows_before_the_changes(void)
{
	static const struct capture_key_of others[] = { { "c", 1 }, { "b", 1 } };
	struct capture_event ev = { .kind = CAPTURE_EVENT_CHANGE };

	reads();
	chunk(720, 727);
	end(200);
	begin(727, 120);
	ev.change.row = (struct capture_row){ .key = "a", .key_bytes = 1, .bytes = 10 };
	ev.change.others = others;
	ev.change.other_count = 2;
	ev.change.index = 8;
	step(ev);
	commit(128);
	is_number(capture_look(core)->ordinal, 3,
		  "both rows that it has not seen go out, and then the message of several changes");
	is_number(capture_look(core)->open_rows, 0, "none of them waits any longer");
}

/* The columns of its key have other names by now, or it has other columns: any row may be the one. */
static void rows_before_a_change_without_a_key(void)
{
	struct capture_event ev = { .kind = CAPTURE_EVENT_CHANGE };

	reads();
	chunk(720, 727);
	end(200);
	begin(720, 110);
	step(ev);
	commit(115);
	is_number(capture_look(core)->open_rows, 2, "a change that it has seen passes alone");
	begin(727, 120);
	step(ev);
	commit(128);
	is_number(capture_look(core)->open_rows, 0, "before one that it has not seen all rows go out");
}

static void confirms_what_is_marked(void)
{
	leads(CAPTURE_TABLE_COMPLETE);
	looked(0, false);
	begin(727, 120);
	change(0, "a");
	is_text(heard, "publish 1", "a change is sent as it comes");
	commit(128);
	position(150);
	is_text(heard, "", "a keepalive is not confirmed over what is in flight");
	acked();
	is_text(heard, "mark 128/1", "the whole commit is settled: it is marked");
	marked();
	is_text(heard, "confirm 150", "and only then confirmed; and the keepalive, for nothing is left");
	position(170);
	is_text(heard, "confirm 170", "an idle capture follows the log without a mark");
}

static void marked_below(uint64_t behind)
{
	now += 10;
	step((struct capture_event){ .kind = CAPTURE_EVENT_MARKED, .marked = { .asked_ms = now, .behind = behind } });
}

/* The slot is on standbys: there it must not stand behind what a mark has that is not there. */
static void confirms_what_standbys_have(void)
{
	leads(CAPTURE_TABLE_COMPLETE);
	looked(0, false);
	begin(727, 120);
	change(0, "a");
	commit(128);
	acked();
	position(150);
	marked_below(160);
	is_text(heard, "", "the log has not come to the mark, which is behind what it marks");
	begin(728, 152);
	change(0, "b");
	commit(155);
	acked();
	marked_below(190);
	is_text(heard, "", "nor has it with the next one");
	position(170);
	is_text(heard, "confirm 128", "it has come past the first mark");
	position(180);
	is_text(heard, "", "but not past the second, so nothing is idle");
	begin(729, 182);
	change(0, "c");
	commit(185);
	acked();
	marked_below(200);
	position(199);
	is_text(heard, "confirm 155", "past the second");
	position(200);
	is_text(heard, "confirm 200", "past all of them: it is idle");
}

static void transaction_breaks_off(void)
{
	leads(CAPTURE_TABLE_COMPLETE);
	looked(0, false);
	begin(727, 120);
	change(0, "a");
	change(3, "b");
	step((struct capture_event){ .kind = CAPTURE_EVENT_STREAM_DOWN });
	is_text(heard, "stream 100", "the log is asked for from the last whole commit on");
	step((struct capture_event){ .kind = CAPTURE_EVENT_STREAM_UP });
	begin(727, 120);
	change(0, "a");
	change(3, "b");
	change(6, "c");
	commit(128);
	is_number(capture_look(core)->ordinal, 3, "what was taken of a transaction is not taken again");
}

static void loses_the_end(void)
{
	leads(CAPTURE_TABLE_COMPLETE);
	looked(10, false);
	begin(727, 120);
	change(0, "a");
	acked();
	common((struct event){ .kind = EVENT_BUS_DOWN });
	change(3, "b");
	common((struct event){ .kind = EVENT_BUS_UP });
	is_text(heard, "look", "after an outage the stream is looked at");
	looked(3, true);
	ok(strstr(heard, "lost end 0") != NULL && strstr(heard, "publish") == NULL,
	   "it is another one: said, and nothing more is sent");
	ok(!capture_takes(core), "nor read");
	ok(capture_look(core)->lost_end, "until somebody decides");
}

/* What is marked is never sent again: so it has to be where the books say. */
static void the_mark_names_the_end(void)
{
	end_is_slow = true;
	leads(CAPTURE_TABLE_COMPLETE);
	looked_at(10, false, 7, 0);
	begin(727, 120);
	change(0, "a");
	commit(128);
	acked();
	is_text(heard, "when 11", "before a mark it is asked when the last message was stored");
	begin(728, 130);
	change(0, "b");
	commit(138);
	acked();
	is_text(heard, "", "and the mark waits for that");
	end_told();
	is_text(heard, "mark 128/1", "it goes as far as was settled when it was asked");
	is_number((int64_t)end_marked.sequence, 11, "names the end,");
	is_number(end_marked.time_ns, 11000, "its time,");
	is_number(end_marked.created_ns, 7, "and that of the stream");
	marked();
	is_text(heard, "when 12, confirm 128", "the next one asks anew");
	now += 5000;
	common((struct event){ .kind = EVENT_TICK });
	is_text(heard, "mark 138/2", "without an answer it goes by and by");
	is_number(end_marked.time_ns, 0, "and says what is known");
	marked();
	begin(729, 140);
	change(0, "c");
	commit(148);
	acked();
	common((struct event){ .kind = EVENT_BUS_DOWN });
	is_text(heard, "mark 148/3", "nor does it wait for an answer that cannot come");
	end_is_slow = false;
	end_asked = 0;
}

static void look_under(struct stream_end books, uint64_t last, int64_t created_ns, int64_t marked_ns)
{
	end_of_books = books;
	leads(CAPTURE_TABLE_COMPLETE);
	end_of_books = (struct stream_end){ .sequence = 0 };
	begin(727, 120);
	change(0, "a");
	is_number((int64_t)looked_for, 40, "what is on record is looked for");
	looked_at(last, false, created_ns, marked_ns);
}

static void next_leader_knows_the_end(void)
{
	struct stream_end books = { .sequence = 40, .time_ns = 40000, .created_ns = 7 };

	look_under(books, 45, 7, 40000);
	is_text(heard, "publish 1", "it is the same, and has grown");
	look_under(books, 45, 7, 0);
	is_text(heard, "publish 1", "what was stored has expired: the sequence goes on");
	look_under(books, 45, 0, 0);
	is_text(heard, "publish 1", "what is not known says nothing");
	look_under(books, 39, 7, 0);
	is_text(heard, "lost end 2: 39 of 40", "it ends below: nothing is sent");
	look_under(books, 45, 8, 0);
	is_text(heard, "lost end 1: 45 of 40", "it was made anew, and has grown beyond");
	look_under(books, 45, 7, 40001);
	is_text(heard, "lost end 3: 45 of 40", "another message stands there");
	ok(!capture_takes(core), "nothing is read");
}

static void repairs_have_readings(void)
{
	complete = true;
	reads();
	chunk(720, 727);
	complete = false;
	end(200);
	begin(800, 120);
	move_to(0, "x");
	is_text(heard, "mark 100/0, repair 2:x",
		"a row that may have moved to where reading has passed is put on record");
	commit(128);
	position(200);
	is_text(heard, "", "its keys are not read before that, nor is the end of the table said");
	marked();
	ok(strstr(heard, "chunk 2") != NULL, "then it is read, under a number of its own");
	chunk(801, 801);
	begin(801, 210);
	move_to(0, "y");
	ok(strstr(heard, "repair 3:y") != NULL, "one that comes meanwhile has the next number");
}

static void too_many_repairs(void)
{
	most_repairs = 2;
	reads();
	most_repairs = 0;
	looked(0, false);
	chunk(720, 727);
	begin(800, 120);
	move_to(0, "x");
	move_to(3, "y");
	move_to(6, "z");
	commit(128);
	for (int i = 0; i < 4; i++) {
		acked_all();
		marked();
		ok(strstr(heard, "mark 128") == NULL, "no mark passes a key for which there was no room");
	}
	end(130);
	position(130);
	for (int i = 0; i < 6 && strstr(heard, "mark 128") == NULL; i++) {
		acked_all();
		marked();
	}
	ok(strstr(heard, "mark 128") != NULL, "before it is on record that the table is read again from the start");
}

/* Where its walk ends is in a mark that is under way, and there are too many keys to be read once more. */
static void begins_anew_before_it_began(void)
{
	most_repairs = 2;
	filenode = 0;
	reads();
	filenode = 7;
	most_repairs = 0;
	looked(0, false);
	top("z", 720, 720, 7);
	is_text(heard, "mark 100/0, up to z", "a walk begins");
	begin(800, 120);
	move_to(0, "x");
	move_to(3, "y");
	move_to(6, "z");
	commit(128);
	marked();
	ok(strstr(heard, "mark 100/0") != NULL && strstr(heard, "top") == NULL,
	   "that is on record, and that it begins anew is not");
	marked();
	is_text(heard, "top 3", "before it is read");
}

/* Two keys side by side: the second is stored first, and its answer is on the way. */
static void low_water_of_what_is_not_marked(void)
{
	struct event ev = { .kind = EVENT_ACKED };

	by_key = true;
	leads(CAPTURE_TABLE_COMPLETE);
	by_key = false;
	looked(10, false);
	begin(727, 120);
	change(0, "a");
	commit(128);
	begin(728, 130);
	change(0, "b");
	commit(138);
	ev.acked.token = tokens[0];
	ev.acked.sequence = 12;
	common(ev);
	is_text(heard, "mark 128/1", "the first commit is marked");
	ok(low_water < 11, "and the next leader looks for the second one from below where it may be stored");
}

/* A deposed leader may hold rows of a chunk, and a shared stream takes them. */
static void waits_for_rows_of_another(void)
{
	by_key = true;
	lease = 500;
	leads(CAPTURE_TABLE_READING);
	by_key = false;
	lease = 0;
	looked(0, false);
	begin(727, 120);
	change(0, "a");
	commit(128);
	now += 500;
	common((struct event){ .kind = EVENT_TICK });
	is_number(waiting, 0, "nothing is sent while its lease lasts, and what it sent may arrive");
	now += set.send.ack_timeout_ms;
	common((struct event){ .kind = EVENT_TICK });
	looked(0, false);
	is_number(waiting, 1, "then the change is");
}

/* A change that was streamed before, of a row above the top that S shows: it went out before the message that says that rows begin, and
 * who keeps a copy would take the row out at the end. */
static void top_has_seen_what_was_streamed(void)
{
	struct capture_event ev = { .kind = CAPTURE_EVENT_DRAWN };

	filenode = 0;
	leads(CAPTURE_TABLE_READING);
	filenode = 7;
	looked(0, false);
	ev.drawn.xid = 700;
	step(ev);
	begin(727, 120);
	change(0, "z");
	commit(128);
	ev = (struct capture_event){ .kind = CAPTURE_EVENT_HORIZON };
	ev.horizon.horizon = 700;
	step(ev);
	is_text(heard, "top 1", "before its rows it is asked where the walk ends");
	top("m", 727, 727, 5);
	is_text(heard, "", "a streamed transaction is in its limbo: what is its top is not known");
	now++;
	common((struct event){ .kind = EVENT_TICK });
	is_text(heard, "top 1", "a moment later it is asked again");
	top("z", 728, 728, 5);
	is_text(heard, "mark 100/0, up to z", "and that is on record");
	marked();
	is_text(heard, "chunk 1", "before a row is read");
	chunk(728, 728);
	is_text(heard, "mark 100/0", "in other files it begins anew");
	marked();
	is_text(heard, "top 2", "and ends where the table ends by now");
	top("n", 728, 728, 7);
	is_text(heard, "mark 100/0, up to n", "which is on record, too");
	marked();
	is_text(heard, "chunk 2", "before a row is read");
}

static void empty_table_is_read(void)
{
	filenode = 0;
	reads();
	filenode = 7;
	top(NULL, 720, 727, 5);
	is_text(heard, "mark 100/0, end",
		"a table without a row is a chunk without one: whatever is put into it the log brings");
	marked();
	end(110);
	is_text(heard, "", "what has emptied it may be on its way: its end is not said before that");
	position(110);
	is_text(heard, "mark 100/0, control end", "now all that was seen has come");
}

static void refused(uint64_t of)
{
	struct event ev = { .kind = EVENT_REFUSED };

	ev.refused.token = of;
	ev.refused.reason = REASON_SUBJECT_FULL;
	common(ev);
}

static void fetched(int64_t at)
{
	struct capture_row row = { .bytes = 10 };
	struct capture_event ev = { .kind = CAPTURE_EVENT_CARRIED };

	ev.carried.ordinals = &at;
	ev.carried.rows = &row;
	ev.carried.count = 1;
	step(ev);
}

/* What a key keeps waiting goes into the books with the mark that passes it, and comes back before what is newer of its key. */
static void a_key_that_waits_is_carried(void)
{
	by_key = true;
	leads(CAPTURE_TABLE_COMPLETE);
	by_key = false;
	looked(0, false);
	begin(740, 120);
	change(0, "a");
	change(1, "a");
	commit(128);
	is_number(waiting, 1, "of a key one is sent at a time");
	refused(tokens[0]);
	waiting = 0;
	ticks(40);
	refused(token); /* it probed */
	waiting = 0;
	ticks(15);
	while (strstr(heard, "carry") == NULL && now < 100000) {
		if (waiting > 0)
			refused(token);
		waiting = 0;
		if (strstr(heard, "carry") == NULL)
			ticks(10);
	}
	is_text(strstr(heard, "mark"), "mark 128/2, carry 1, carry 2",
		"after a while both are carried, and the position passes them");
	marked();
	ok(strstr(heard, "confirm 128") != NULL, "the server need not keep its log for them");
	begin(741, 140);
	change(0, "a");
	change(1, "b");
	commit(148);
	is_number(waiting, 1, "another key goes out; what is newer of this one does not");
	acked_all();
	while (strstr(heard, "fetch") == NULL && now < 100000)
		ticks(10);
	is_text(strstr(heard, "fetch"), "fetch 1", "its oldest is tried again");
	fetched(1);
	is_text(strstr(heard, "publish"), "publish 1", "and sent");
	acked_all();
	ok(strstr(heard, "fetch 2") != NULL, "it was stored: the next one comes");
}

/* An older one of the key is on its way: the younger stays in memory, or it would come back before it. */
static void the_oldest_is_carried_first(void)
{
	by_key = true;
	leads(CAPTURE_TABLE_COMPLETE);
	by_key = false;
	looked(0, false);
	begin(750, 120);
	change(0, "b");
	change(1, "a");
	change(2, "a");
	commit(128);
	refused(tokens[0]); /* b */
	refused(tokens[1]); /* the first of a */
	waiting = 0;
	while (waiting < 2 && now < 100000) /* both probe */
		ticks(1);
	refused(tokens[0]);
	while (strstr(heard, "carry") == NULL && now < 100000)
		ticks(1);
	is_text(strstr(heard, "carry"), "carry 1", "b alone is carried: of a the oldest is on its way");
}

/* What an earlier leader has left may be stored since it was put there: the look-back begins there. */
static void what_was_carried_is_looked_for(void)
{
	left_behind = (struct capture_inherited){ .ordinal = 4, .lane = 'a', .low_water = 3, .bytes = 10 };
	ordinal = 9;
	by_key = true;
	leads(CAPTURE_TABLE_COMPLETE);
	is_number(looked_above, 3, "the look-back begins where a copy of it may stand");
	by_key = false;
	ordinal = 0;
	left_behind.ordinal = 0;
}

/* As far as the question for its end message. */
static void reads_all(void)
{
	complete = true;
	reads();
	looked(0, false);
	chunk(720, 727);
	complete = false;
	end(130);
	position(130);
	while (waiting > 0)
		acked_all();
	marked();
}

static void says_its_end(bool none)
{
	struct capture_event ev = { .kind = CAPTURE_EVENT_CONTROL };

	ev.control.end = true;
	ev.control.none = none;
	step(ev);
}

/* A change of row a that is not sent, for it is not whole. */
static void change_that_is_not_whole(void)
{
	struct capture_event ev = { .kind = CAPTURE_EVENT_CHANGE };

	begin(800, 140);
	ev.change.row.key = ev.change.repair_key = "a";
	ev.change.row.key_bytes = ev.change.repair_key_bytes = 1;
	ev.change.read_instead = true;
	step(ev);
}

/* A table is complete, and a change of it is not whole. What was streamed while nothing was read is in no U. */
static void row_is_read_instead(void)
{
	size_t before;

	reads_all();
	says_its_end(true);
	marked();
	is_number(capture_look(core)->tables_open, 0, "the table is complete");
	before = waiting;
	change_that_is_not_whole();
	is_text(heard, "mark 100/0, repair 2:a", "a change that is not whole is not sent; its row is put on record");
	is_number(waiting, before, "nothing of it is sent");
	commit(150);
	marked();
	ok(strstr(heard, "draw") != NULL && strstr(heard, "chunk") == NULL, "it is read behind a barrier");
}

static void its_end_is_said_again(void)
{
	reads_all();
	says_its_end(false);
	is_text(heard, "publish 3", "the end of a table is on its way");
	change_that_is_not_whole();
	commit(150);
	marked();
	step((struct capture_event){ .kind = CAPTURE_EVENT_DRAWN, .drawn = { .xid = 900 } });
	step((struct capture_event){ .kind = CAPTURE_EVENT_HORIZON, .horizon = { .horizon = 900, .xmax = 901 } });
	is_text(heard, "chunk 2", "the table is opened once more");
	chunk_of(0, 901, 901);
	end(160);
	position(160);
	is_number(capture_look(core)->ordinal, 5, "its rows go out behind it");
	ok(strstr(heard, "control end") == NULL, "and it does not end again");
	acked_oldest(1);
	ok(strstr(heard, "control end") != NULL, "before the first one is stored");
	acked_all();
}

/* --- a table that is read whole --- */

/* As far as its snapshot, which shows what is below 727. */
static void opens(void)
{
	struct capture_event drawn = { .kind = CAPTURE_EVENT_DRAWN }, horizon = { .kind = CAPTURE_EVENT_HORIZON };

	whole = true;
	leads(CAPTURE_TABLE_READING);
	whole = false;
	is_text(heard, "", "nothing is read of it before another number is on record");
	looked(0, false);
	marked();
	drawn.drawn.xid = 700;
	step(drawn);
	horizon.horizon.horizon = 700;
	step(horizon);
	is_text(heard, "open 2", "then its transaction begins");
	top(NULL, 720, 727, 7);
	is_text(heard, "control begin", "and where its snapshot stands it is said that rows begin");
	ok(!capture_takes(core), "until then the log stands still");
}

static void begins(void)
{
	struct capture_event ev = { .kind = CAPTURE_EVENT_CONTROL };

	opens();
	ev.control.row.bytes = 10;
	step(ev);
	ok(strstr(heard, "piece 2") != NULL && capture_takes(core), "its rows are asked for, while the log goes on");
}

static void insert(uint32_t index)
{
	struct capture_event ev = { .kind = CAPTURE_EVENT_CHANGE };

	ev.change.index = index;
	step(ev);
}

/* The next rows of it; none: that was all. */
static void piece(size_t count)
{
	struct capture_row rows[2] = { { .key = NULL } };
	struct capture_event ev = { .kind = CAPTURE_EVENT_CHUNK };

	ev.chunk.rows = rows;
	ev.chunk.count = count;
	ev.chunk.complete = count == 0;
	step(ev);
}

static void what_its_rows_hold_is_let_go(void)
{
	int64_t before;

	begins();
	before = capture_look(core)->ordinal;
	begin(719, 120);
	ok(capture_lets_go(core, 0), "an insert that the snapshot has seen is let go");
	insert(0);
	is_number(capture_look(core)->ordinal, before, "for its row is one of those");
	commit(128);
	begin(727, 130);
	ok(!capture_lets_go(core, 0), "one that it has not seen is not");
	insert(0);
	is_number(capture_look(core)->ordinal, before + 1, "it goes out");
	commit(138);
	piece(2);
	is_number(capture_look(core)->ordinal, before + 3, "and the rows, behind or before it");
}

/* It is not on record as read before each mark goes behind what was let go: that would come again after a crash, and be sent beside its row. Here there
 * is no room for two commits, and what was let go is one with the commit behind it, which has a message: a mark may lie before both. */
static void let_go_and_behind(void)
{
	struct capture_event ev = { .kind = CAPTURE_EVENT_CONTROL };

	most_commits = 1;
	begins();
	most_commits = 0;
	read_marked = 0;
	begin(719, 120);
	insert(0);
	commit(128);
	piece(0);
	ok(strstr(heard, "end") != NULL, "all rows are there: where does the log stand?");
	end(128);
	begin(730, 130);
	insert(0);
	commit(138);
	acked_oldest(1);
	marked();
	ok(strstr(heard, "control end") == NULL && read_marked == 0, "the position lies before what was let go");
	acked_all();
	for (int i = 0; i < 6 && strstr(heard, "control end") == NULL; i++) {
		marked();
		acked_all();
	}
	ok(strstr(heard, "control end") != NULL, "and then behind it");
	ok(read_marked >= 128, "no mark before that one has it as read: %llu", (unsigned long long)read_marked);
	ev.control.end = ev.control.none = true;
	step(ev);
	is_number(capture_look(core)->tables_open, 0, "it is complete");
}

/* No transaction stays open as long as it pleases somebody. */
static void paused_it_begins_anew(void)
{
	begins();
	step((struct capture_event){ .kind = CAPTURE_EVENT_READING, .reading = { .paused = true } });
	is_text(heard, "let go", "a pause ends its transaction");
	piece(2);
	is_number(capture_look(core)->rows_read, 0, "what comes of it then is nothing");
	begins();
	now += 60000;
	common((struct event){ .kind = EVENT_TICK });
	ok(strstr(heard, "let go") != NULL, "so does the time that it may last");
}

static void a_chunk_that_is_larger_than_the_queue(void)
{
	reads();
	looked(0, false);
	complete = true;
	chunk_of(set.send.queue_bytes, 720, 720);
	complete = false;
	end(200);
	ok(capture_takes(core), "it waits for the log, so the log does not wait for it");
	position(200);
	is_number(capture_look(core)->ordinal, 2, "its rows go out");
}

static void the_last_row_is_larger_than_the_queue(void)
{
	reads();
	looked(0, false);
	chunk_of(set.send.queue_bytes, 720, 720);
	end(200);
	begin(727, 120);
	change(0, "b");
	ok(!capture_takes(core), "it went out before its change, and fills the queue");
	acked_all();
	acked_all();
	ok(capture_takes(core), "it is stored, and kept for its key: the log comes to the chunk's end");
	commit(128);
}

/* Each of two rows, stored at once; the mark that is under way stays so. */
static size_t chunks_until_it_waits(uint32_t bytes)
{
	uint64_t lsn = 200;
	size_t n = 0;

	reads();
	looked(0, false);
	for (; capture_look(core)->reader == CAPTURE_READER_READING; n++, lsn += 10) {
		chunk_of(bytes, 720, 720);
		end(lsn);
		position(lsn);
		while (waiting > 0)
			acked_all();
	}
	return n;
}

static void chunks_do_not_wait_for_the_clock_of_marks(void)
{
	is_number(chunks_until_it_waits(0), LIMIT_CAPTURE_STEPS - 1,
		  "so many chunks are read and stored while a mark is under way");
	marked();
	is_text(heard, "chunk 1, mark 100/0", "it is on record, and there is room for more");
	is_number((long long)cursors_marked, 1, "the next mark says once how far they were read");
	is_number(chunks_until_it_waits(set.send.queue_bytes), 3,
		  "of rows that fill the queue few are kept until a mark");
}

static void a_pause_is_for_the_stream(void)
{
	share = 25;
	reads();
	ticks(20);
	chunk(720, 720);
	is_text(heard, "", "chunks have a quarter of the time");
	ticks(19);
	is_text(heard, "", "which is half of it while nothing comes:");
	ticks(1);
	is_text(heard, "end", "as long a pause as the stream stood still");
	begin(727, 120);
	change(0, "c");
	commit(128);
	end(200);
	position(200);
	is_text(heard, "chunk 1", "a change comes before the next chunk");
	ticks(20);
	chunk(728, 728);
	ticks(59);
	is_text(heard, "", "then the pause is as long as it can be");
	ticks(1);
	is_text(heard, "end", "three times what the chunk has taken");
	share = 100;
}

int main(int argc, char **argv)
{
	if (argc > 2 && (strcmp(argv[1], "--mutant") != 0 || !capture_mutant_choose(argv[2])))
		return 64;
	barrier_waits_for_the_stream();
	barrier_at_each_lead();
	barrier_after_what_could_not_be_read();
	commit_in_limbo();
	row_before_the_change();
	confirms_what_is_marked();
	confirms_what_standbys_have();
	transaction_breaks_off();
	loses_the_end();
	the_mark_names_the_end();
	next_leader_knows_the_end();
	repairs_have_readings();
	too_many_repairs();
	low_water_of_what_is_not_marked();
	waits_for_rows_of_another();
	top_has_seen_what_was_streamed();
	empty_table_is_read();
	a_key_that_waits_is_carried();
	the_oldest_is_carried_first();
	what_was_carried_is_looked_for();
	row_is_read_instead();
	its_end_is_said_again();
	what_its_rows_hold_is_let_go();
	let_go_and_behind();
	paused_it_begins_anew();
	a_chunk_that_is_larger_than_the_queue();
	the_last_row_is_larger_than_the_queue();
	rows_before_the_changes();
	rows_before_a_change_without_a_key();
	begins_anew_before_it_began();
	chunks_do_not_wait_for_the_clock_of_marks();
	a_pause_is_for_the_stream();
	capture_free(core);
	return done_testing();
}
