/* What PostgreSQL says to a capture, on its sessions for control and for the stream: it steps its core. What is to be done is done at the end of the turn, but for what is given from the stream. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/scrub.h"
#include "run/capture_room_state.h"

enum {
	START_PAUSE_MIN_MS = 200, /* between two tries to have the stream */
	START_PAUSE_MAX_MS = 10000,
	TOLD_BY_MS = 5000,      /* NATS says what the stream takes, or does not say it at all */
	STREAM_WELL_MS = 10000, /* one that ran for so long was a success */
};

static const char *name_of(const struct capture_one *c)
{
	return capture_room_config(c)->name;
}

/* --- the stream --- */

static void start_later(struct capture_one *c)
{
	int64_t now = loop_now_ms();

	if (c->stream_since_ms != 0 && now - c->stream_since_ms > STREAM_WELL_MS)
		c->start_pause_ms = 0;
	c->stream_since_ms = 0;
	c->start_pause_ms = c->start_pause_ms == 0                       ? START_PAUSE_MIN_MS
			    : c->start_pause_ms * 2 < START_PAUSE_MAX_MS ? c->start_pause_ms * 2
									 : START_PAUSE_MAX_MS;
	c->start_at_ms = now + c->start_pause_ms;
}

/* What was given is the core's, what waited comes again. */
static void stream_gone(struct capture_one *c)
{
	c->streams = false;
	capture_stream_end(c->stream);
	start_later(c);
	capture_room_step(c, &(struct capture_event){ .kind = CAPTURE_EVENT_STREAM_DOWN });
}

/* What the connection to NATS still holds must not be sent any more: it goes with the connection. */
static void depose(struct capture_one *c, const char *why)
{
	bool led = c->led;

	c->led = false;
	capture_room_end_stream(c);
	capture_chunk_forget(c->chunk);
	stream_scan_stop(c->scan);
	capture_room_step_common(c, &(struct event){ .kind = EVENT_DEPOSED });
	if (!led)
		return;
	natsio_cut(c->nats, why);
	if (loop_now_ms() > c->predecessor_until_ms)
		c->predecessor_until_ms = loop_now_ms();
}

static void on_stream_up(void *arg, const struct pg_walsender_place *place)
{
	struct capture_one *c = arg;

	if (place->system != c->system) {
		snprintf(c->stream_why, sizeof c->stream_why,
			 "the stream is of another server than the control session");
		log_error(c->room->log, "the log is not read", KS("capture", name_of(c)), KS("why", c->stream_why));
		pg_walsender_stop(c->walsender);
		stream_gone(c);
		return;
	}
	c->streams = true;
	c->stream_why[0] = '\0';
	c->stream_since_ms = loop_now_ms();
	log_info(c->room->log, "the log is read", KS("capture", name_of(c)));
	capture_stream_begin(c->stream, place->system);
	/* A server that crashed forgets what it was told, and the core says it once. */
	pg_walsender_confirm(c->walsender, c->confirmed_lsn);
	c->forked = place->forked;
	c->fork_lsn = place->fork_lsn;
	capture_room_step(c, &(struct capture_event){ .kind = CAPTURE_EVENT_STREAM_UP });
	capture_fork_look(c);
}

static void on_stream_down(void *arg, const struct pg_walsender_end *end)
{
	struct capture_one *c = arg;
	bool in_use = strcmp(end->sqlstate, "55006") == 0;

	scrub(end->words, c->stream_why, sizeof c->stream_why);
	log_warn(c->room->log, "the log is not read", KS("capture", name_of(c)), KS("why", c->stream_why),
		 KS("sqlstate", end->sqlstate));
	/* By a former life of ours, or a former leader: the lock is ours, so it is ended, and we begin again. */
	if (in_use) {
		depose(c, "somebody else uses the replication slot");
		capture_leader_free_slot(c->leader);
		return;
	}
	stream_gone(c);
	if (!end->was_up && (strcmp(end->sqlstate, "42704") == 0 || strcmp(end->sqlstate, "55000") == 0))
		capture_leader_examine(c->leader);
}

static void on_message(void *arg, uint64_t lsn, const char *data, size_t bytes)
{
	struct capture_one *c = arg;

	(void)lsn;
	capture_stream_message(c->stream, data, bytes);
	if (c->streams)
		capture_turn_go_on(c);
}

static void on_keepalive(void *arg, uint64_t end_lsn)
{
	struct capture_one *c = arg;

	capture_stream_keepalive(c->stream, end_lsn);
	if (c->streams)
		capture_turn_go_on(c);
}

struct pg_walsender_handlers capture_events_of_walsender(struct capture_one *c)
{
	return (struct pg_walsender_handlers){
		.up = on_stream_up, .down = on_stream_down, .message = on_message, .keepalive = on_keepalive, .arg = c
	};
}

static bool takes(void *arg)
{
	struct capture_one *c = arg;

	capture_turn_effects(c);
	return capture_takes(c->core);
}

/* Consumers are told of these columns: the books are to have them with the mark that has this message. */
static void remember_told(struct capture_one *c, const struct capture_parcel *p)
{
	struct capture_room_table *t = &c->tables[p->table];

	free(t->columns);
	t->columns = strdup(p->columns);
	t->told_ordinal = 0;
	capture_relations_set_told(c->relations, p->table, p->columns);
}

static void on_give(void *arg, struct capture_event *event, struct capture_parcel *parcel)
{
	struct capture_one *c = arg;

	capture_room_step(c, event);
	if (event->kind != CAPTURE_EVENT_CHANGE)
		return;
	if (event->change.row.slot != CAPTURE_NO_SLOT && parcel->columns != NULL)
		remember_told(c, parcel);
	capture_room_keep(c, event->change.row.slot, parcel);
}

static void on_broken(void *arg, const char *why)
{
	struct capture_one *c = arg;

	snprintf(c->stream_why, sizeof c->stream_why, "%s", why);
	log_error(c->room->log, "the log cannot be read on: it is read again from what is settled",
		  KS("capture", name_of(c)), KS("why", why));
	pg_walsender_stop(c->walsender);
	stream_gone(c);
}

static bool lets_go(void *arg, uint32_t table)
{
	struct capture_one *c = arg;

	return capture_lets_go(c->core, table);
}

/* A message that is too large for the stream were a dead letter for the company of its changes. So nobody begins before NATS has been there. But where it says
 * nothing of the stream, as to a login that may not ask, nobody waits for ever. */
static bool knows(void *arg)
{
	struct capture_one *c = arg;

	return !capture_maker_puts_together(capture_room_config(c)) || stream_setup_is_told(c->setup, 0) ||
	       (c->nats_up && loop_now_ms() - c->nats_up_ms >= TOLD_BY_MS);
}

/* (Where somebody has the stream take less than that, while a transaction is half stored and its leader dies, what of it went together is stored twice.) */
static bool together(void *arg)
{
	struct capture_one *c = arg;
	uint64_t most = stream_setup_most_bytes(c->setup, 0);

	return most == 0 || most >= CAPTURE_MAKER_NEVER_REFUSED_BYTES;
}

struct capture_stream_handlers capture_events_of_stream(struct capture_one *c)
{
	return (struct capture_stream_handlers){
		.takes = takes,
		.give = on_give,
		.lets_go = lets_go,
		.knows = knows,
		.together = together,
		.broken = on_broken,
		.arg = c,
	};
}

/* --- the lead --- */

/* Names of columns, in one piece. None: it is what the stream flags. */
static void take_key(struct capture_one *c, uint32_t table, const char *key, size_t bytes)
{
	char *names[CAPTURE_KEY_COLUMNS] = { NULL };
	const char *text;
	unsigned count = 0;
	size_t n;

	while (count < CAPTURE_KEY_COLUMNS && capture_key_next(&key, &bytes, &text, &n))
		names[count++] = strndup(text, n);
	if (count > 0)
		capture_relations_set_key(c->relations, table, (const char *const *)names, count);
	for (unsigned i = 0; i < count; i++)
		free(names[i]);
}

static void take_table(struct capture_one *c, uint32_t i, struct capture_ledger_table *from)
{
	struct capture_room_table *t = &c->tables[i];

	free(t->cursor);
	free(t->top);
	free(t->columns);
	free(t->pass.columns);
	*t = (struct capture_room_table){ .cursor = from->cursor,
					  .cursor_bytes = from->cursor_bytes,
					  .top = from->top,
					  .top_bytes = from->top_bytes,
					  .estimate = from->estimate,
					  .unproved = from->unproved,
					  .rows_before = from->now.rows,
					  .rate = -1,
					  .pass = from->pass };
	from->cursor = from->top = NULL;
	from->pass.columns = NULL;
	capture_chunk_set_pass(c->chunk, i, t->pass.number != 0 ? &t->pass : NULL);
	memcpy(t->snapshot_id, from->snapshot_id, sizeof t->snapshot_id);
	memcpy(t->history, from->history, sizeof t->history);
	capture_relations_set_history(c->relations, i, from->history);
	capture_relations_set_told(c->relations, i, from->columns);
	take_key(c, i, from->key, from->key_bytes);
}

/* So long may an earlier leader still publish that did not resign, and is not us: its lease began before we took the lead. Whoever led before a lead of
 * ours may live then, too; and what we sent ourselves ended with our connection (depose()). */
static int64_t predecessor_until(struct capture_one *c, const struct capture_ledger_books *b, int64_t asked_ms)
{
	int64_t until_ms = asked_ms + (int64_t)c->room->config->delivery.lease_ms;

	if (!b->alone && until_ms > c->predecessor_until_ms)
		c->predecessor_until_ms = until_ms;
	return c->predecessor_until_ms;
}

static void on_live(void *arg, struct capture_ledger_books *b, int64_t asked_ms)
{
	struct capture_one *c = arg;
	struct capture_table *tables = calloc(c->table_count + 1, sizeof *tables);
	struct capture_event ev = { .kind = CAPTURE_EVENT_LEADING };

	if (tables == NULL || b->table_count != c->table_count) {
		free(tables);
		pg_break(c->pg, "out of memory");
		return;
	}
	capture_room_end_stream(c);
	capture_chunk_forget(c->chunk);
	c->led = true;
	c->confirmed_lsn = 0;
	c->system = b->system;
	c->incarnation = b->incarnation;
	c->former_timeline = b->former_timeline;
	c->looked = c->forked = false;
	c->slot_lsn = capture_leader_look(c->leader).of_slot.look->confirmed; /* nobody has used it since */
	snprintf(c->slot, sizeof c->slot, "%s", b->slot);
	c->tables_ms = loop_now_ms();
	c->forgot |= stream_scan_forget(c->scan);
	capture_maker_configure(c->maker, b->system, c->database);
	for (uint32_t i = 0; i < c->table_count; i++) {
		take_table(c, i, &b->tables[i]);
		tables[i] = b->tables[i].now;
	}
	ev.leading.end_lsn = b->end_lsn;
	ev.leading.commit_time = b->commit_time;
	ev.leading.ordinal = b->ordinal;
	ev.leading.wal_end = b->wal_end;
	ev.leading.behind = capture_leader_look(c->leader).of_slot.look->copied ? b->wal_end : 0;
	ev.leading.low_water = b->low_water;
	ev.leading.end = c->end = b->end;
	ev.leading.asked_ms = asked_ms;
	ev.leading.predecessor_until_ms = predecessor_until(c, b, asked_ms);
	ev.leading.operator_pause = b->pause;
	ev.leading.tables = tables;
	ev.leading.carried = b->carried;
	ev.leading.carried_count = b->carried_count;
	capture_room_step(c, &ev);
	free(tables);
	if (c->draining)
		capture_room_step_common(c, &(struct event){ .kind = EVENT_DRAIN });
}

static void on_not_live(void *arg, const char *why)
{
	struct capture_one *c = arg;

	log_warn(c->room->log, "the capture stands still", KS("capture", name_of(c)), KS("why", why));
	depose(c, "the capture is not live");
}

static void on_paused(void *arg, uint64_t pause)
{
	struct capture_one *c = arg;

	log_info(c->room->log,
		 pause != 0 ? "the capture is paused: the log waits until somebody resumes" : "the capture is resumed",
		 KS("capture", name_of(c)));
	capture_room_step_common(c, &(struct event){ .kind = EVENT_PAUSED, .paused = { .operator_pause = pause } });
}

/* The table as the pass finds it; what was read before is read, and has its place. */
static void take_pass(struct capture_one *c, uint32_t i, struct capture_ledger_table *from)
{
	struct capture_room_table *t = &c->tables[i];

	free(t->cursor);
	free(t->top);
	free(t->pass.columns);
	t->cursor = t->top = NULL;
	t->cursor_bytes = t->top_bytes = 0;
	t->estimate = from->estimate;
	t->rows_before = 0;
	t->rate = -1;
	t->pass = from->pass;
	from->pass.columns = NULL;
	capture_chunk_set_pass(c->chunk, i, &t->pass);
}

static bool on_verify(void *arg, struct capture_ledger_books *b)
{
	struct capture_one *c = arg;
	bool all = true;

	for (uint32_t i = 0; c->led && i < c->table_count && i < b->table_count; i++) {
		struct capture_event ev = { .kind = CAPTURE_EVENT_VERIFY,
					    .verify = { .table = i, .now = b->tables[i].now } };

		if (b->tables[i].now.state != CAPTURE_TABLE_WAITING || b->tables[i].now.pass == 0 ||
		    b->tables[i].now.pass <= capture_table_at(c->core, i)->pass)
			continue;
		if (!capture_may_verify(c->core, i, b->tables[i].now.pass)) {
			all = false;
			continue;
		}
		take_pass(c, i, &b->tables[i]);
		capture_room_step(c, &ev);
	}
	return all && c->led;
}

struct capture_leader_handlers capture_events_of_leader(struct capture_one *c)
{
	return (struct capture_leader_handlers){
		.live = on_live, .not_live = on_not_live, .paused = on_paused, .verify = on_verify, .arg = c
	};
}

/* --- PostgreSQL --- */

static void on_postgres_up(void *arg)
{
	struct capture_one *c = arg;

	c->postgres_up = true;
	c->postgres_connects++;
	log_info(c->room->log, "PostgreSQL is connected for the capture", KS("capture", name_of(c)),
		 KU("connects", c->postgres_connects));
	capture_leader_session_up(c->leader);
}

/* The session carries the lead, and who does not lead does not read: the stream is closed. So a server that shuts down, and ends this session first,
 * is not kept waiting for what we have not confirmed (capture.md 1.6). What is settled is confirmed with the last status. */
static void on_postgres_down(void *arg, const char *why)
{
	struct capture_one *c = arg;

	scrub(why, c->postgres_why, sizeof c->postgres_why);
	log_error(c->room->log, "PostgreSQL is not connected for the capture", KS("capture", name_of(c)),
		  KS("why", c->postgres_why));
	c->postgres_up = false;
	capture_leader_session_down(c->leader);
	depose(c, "the lead is gone");
}

static void on_notified(void *arg, const char *payload)
{
	struct capture_one *c = arg;

	capture_leader_notified(c->leader, payload);
}

struct pg_handlers capture_events_of_control(struct capture_one *c)
{
	return (struct pg_handlers){
		.up = on_postgres_up, .down = on_postgres_down, .notified = on_notified, .arg = c
	};
}
