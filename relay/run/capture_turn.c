/* What the core of a capture wants, as calls; decides nothing.
 *
 * Effects are carried out before each event that is given from the stream, too: whether it takes the next one is known only then. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "books/ledger.h"
#include "config/servers.h"
#include "core/refusal.h"
#include "run/capture_room_state.h"
#include "watch/capture_note.h"
#include "watch/note.h"

enum { OWN_BYTES = 128 /* the headers with the message id and the expected sequence */ };

/* --- publishing --- */

/* The server may have been told to take less than when we connected. */
static void refuse_oversize(struct capture_one *c, const struct capture_parcel *p, uint64_t token)
{
	int64_t most = natsio_max_payload(c->nats);

	if (most > 0 && (int64_t)p->parcel.wire_bytes + OWN_BYTES > most)
		capture_room_refuse(c, token, DEFECT_MESSAGE_LONG);
}

/* An earlier leader stored it, or we did and were not told: acknowledged by what the stream holds. */
static void found(struct capture_one *c, uint64_t token, uint64_t sequence)
{
	struct event ev = { .kind = EVENT_ACKED };

	ev.acked.token = token;
	ev.acked.sequence = sequence;
	ev.acked.duplicate = true;
	capture_room_step_common(c, &ev);
}

static bool send_parcel(struct capture_one *c, struct capture_parcel *p, const struct effect *f)
{
	p->parcel.token = f->publish.token;
	c->sent[f->publish.token & (CAPTURE_SENT_SLOTS - 1)] = &p->parcel;
	if (!publisher_send(c->publisher, &p->parcel, f, NULL))
		return false;
	cuts_sent(&c->cuts, p->parcel.id, f->publish.token);
	return true;
}

/* The message in this slot: made now where it is that of a row that was to go with others, and goes alone. Such a row has no defect: so it is offered before anything else is asked about
 * it, and nobody has seen it without an id; and what was no defect then is none now, for format and subject stay as long as the rows do. (Its headers are more than the core has
 * counted, until it is stored.) NULL: out of memory. */
static struct capture_parcel *message_in(struct capture_one *c, uint32_t slot)
{
	struct capture_parcel *row = c->parcels[slot], *p;

	if (row->snapshot == NULL)
		return row;
	p = capture_maker_alone(c->maker, row);
	if (p == NULL)
		return NULL;
	p->parcel.born_us = row->parcel.born_us;
	p->parcel.read_ms = row->parcel.read_ms;
	free(row);
	c->parcels[slot] = p;
	return p;
}

static void publish(struct capture_one *c, const struct effect *f)
{
	struct capture_parcel *p = message_in(c, f->publish.slot);
	uint64_t sequence;

	if (p == NULL) {
		pg_break(c->pg, "out of memory");
		return;
	}
	assert(p->parcel.message_id[0] != '\0');
	p->parcel.id = f->publish.id;
	capture_marks_told(c, p, f->publish.id);
	sequence = stream_scan_take(c->scan, 0, p->parcel.message_id);
	if (sequence > 0) {
		found(c, f->publish.token, sequence);
		return;
	}
	if (stream_setup_is_elsewhere(c->setup, 0)) {
		capture_room_refuse(c, f->publish.token, REASON_WRONG_STREAM);
		return;
	}
	/* What cannot be sent counts as sent and lost: its ack timeout brings it back. */
	if (!send_parcel(c, p, f)) {
		log_debug(c->room->log, "could not send", KI("id", f->publish.id));
		refuse_oversize(c, p, f->publish.token);
	}
}

static void release(struct capture_one *c, uint32_t slot)
{
	struct capture_parcel *p = c->parcels[slot];

	if (p != NULL && c->sent[p->parcel.token & (CAPTURE_SENT_SLOTS - 1)] == &p->parcel)
		c->sent[p->parcel.token & (CAPTURE_SENT_SLOTS - 1)] = NULL;
	free(p);
	c->parcels[slot] = NULL;
}

/* --- the books --- */

static void on_renewed(void *arg, const struct pg_result *result)
{
	struct capture_one *c = arg;
	struct event ev = { .kind = EVENT_RENEWED };

	if (pg_error(result) != NULL) {
		pg_break(c->pg, "renewing the lease failed");
		return;
	}
	ev.renewed.asked_ms = c->renew_asked_ms;
	capture_room_step_common(c, &ev);
}

/* --- the snapshot --- */

/* Of the row in this slot; or, where it is CAPTURE_NO_SLOT, as the books had it. */
static struct capture_range_key key_in(const struct capture_one *c, uint32_t slot, const void *books, size_t count)
{
	if (slot == CAPTURE_NO_SLOT)
		return (struct capture_range_key){ books, count };
	return (struct capture_range_key){ c->parcels[slot]->key, c->parcels[slot]->key_bytes };
}

/* What tells the rows of a piece from those of any other: a reading's number is given once, but a server that lost the end of its log gives it again. */
static uint64_t drawn(void)
{
	uint64_t n = (uint64_t)random() << 42 ^ (uint64_t)random() << 21 ^ (uint64_t)random();

	return n != 0 ? n : 1;
}

static void ask(struct capture_one *c, const struct capture_effect *f)
{
	struct capture_range range = { .after = { .bytes = NULL } };

	if (f->kind == CAPTURE_EFFECT_CHUNK && f->chunk.kind == CAPTURE_CHUNK_ROWS) {
		const struct capture_room_table *t = &c->tables[f->chunk.table];

		if (!f->chunk.from_start)
			range.after = key_in(c, f->chunk.after, t->cursor, t->cursor_bytes);
		range.upto = key_in(c, f->chunk.upto, t->top, t->top_bytes);
	}
	if (f->kind == CAPTURE_EFFECT_CHUNK)
		c->reading = (struct capture_room_reading){ .table = f->chunk.table, .number = f->chunk.reading };
	if (f->kind == CAPTURE_EFFECT_CHUNK && f->chunk.kind == CAPTURE_CHUNK_OPEN)
		c->tables[f->chunk.table].piece = drawn();
	if (f->kind == CAPTURE_EFFECT_CHUNK && f->chunk.kind == CAPTURE_CHUNK_PIECE)
		c->reading.nth = c->tables[f->chunk.table].piece + f->chunk.nth;
	pg_rest(c->reader, false);
	capture_chunk_ask(c->chunk, f, &range);
}

static struct capture_parcel *make_control(struct capture_one *c, const struct capture_shape *shape)
{
	uint32_t table = c->control.table;
	const char *name = capture_relations_name(c->relations, table);
	bool whole = capture_table_at(c->core, table)->whole;
	const char *history = c->tables[table].history;
	struct capture_read_control control = { .shape = shape,
						.snapshot = c->tables[table].snapshot_id,
						.history = history[0] != '\0' ? history : NULL,
						.reading = whole ? c->control.reading : 0,
						.nth = whole ? c->tables[table].piece : 0,
						.table = table,
						.tab = name,
						.end = c->control.end };
	struct capture_verify v;

	if (c->tables[table].pass.number == 0)
		return capture_maker_control(c->maker, &control);
	v = capture_verify_of(c, table, c->control.reading, shape);
	return capture_maker_pass(c->maker, &v, table, name, c->control.end);
}

void capture_turn_control(struct capture_one *c, const struct capture_shape *shape)
{
	struct capture_event ev = { .kind = CAPTURE_EVENT_CONTROL };
	uint32_t table = c->control.table;
	struct capture_parcel *p = NULL;

	ev.control.table = table;
	ev.control.end = c->control.end;
	ev.control.none =
		!capture_maker_tells(c->maker, c->control.end ? CAPTURE_OP_SNAPSHOT_END : CAPTURE_OP_SNAPSHOT_BEGIN);
	if (!ev.control.none) {
		p = make_control(c, shape);
		if (p == NULL) {
			pg_break(c->pg, "out of memory");
			return;
		}
		ev.control.row = capture_maker_row_of(p);
	}
	capture_room_step(c, &ev);
	if (p != NULL)
		capture_room_keep(c, ev.control.row.slot, p);
}

/* Consumers know the columns before the first row that has them: the message that says that rows begin tells them. */
static void control(struct capture_one *c, const struct capture_effect *f)
{
	c->control.table = f->control.table;
	c->control.end = f->control.end;
	c->control.reading = f->control.reading;
	if (f->control.end) {
		capture_turn_control(c, NULL);
		return;
	}
	pg_rest(c->reader, false);
	capture_chunk_look(c->chunk, f->control.table);
}

/* --- notes --- */

static void tell(struct capture_one *c, const struct note *n)
{
	char target[CONFIG_TARGET_BYTES];

	if (n->kind == NOTE_HELD) {
		capture_note_held(c->room->log, n, c->reasons, capture_room_config(c)->name,
				  config_target(c->room->config, target));
		return;
	}
	note_tell(c->room->log, n, c->reasons, c->view.streams[0].name, stream_setup_detail(c->setup, 0),
		  config_target(c->room->config, target));
	if (n->kind == NOTE_STREAM_BLOCKED) {
		c->asked_ms = loop_now_ms();
		stream_setup_ask(c->setup, 0);
	}
}

static void tell_of_table(struct capture_one *c, const struct capture_note *n)
{
	bool known = n->table < c->table_count;

	capture_note_tell(c->room->log, n, capture_room_config(c)->name,
			  known ? capture_relations_name(c->relations, n->table) : "",
			  known ? capture_chunk_trouble(c->chunk, n->table) : "");
}

/* --- all of them --- */

/* Answers come in the order of the questions: what was said before is on record, too. */
static void on_last_answer(void *arg, const struct pg_result *result)
{
	struct capture_one *c = arg;

	(void)result;
	c->drained = true;
}

static bool drained(struct capture_one *c)
{
	log_info(c->room->log, "drained: everything in flight is answered and marked",
		 KS("capture", capture_room_config(c)->name));
	capture_room_end_stream(c);
	/* Whoever is told that we have resigned waits for nobody: not while one who led before us may live. */
	if (loop_now_ms() >= c->predecessor_until_ms)
		capture_leader_resign(c->leader);
	return ledger_renew(c->pg, on_last_answer, c);
}

static bool common(struct capture_one *c, const struct effect *f)
{
	switch (f->kind) {
	case EFFECT_PUBLISH: publish(c, f); break;
	case EFFECT_RENEW: c->renew_asked_ms = loop_now_ms(); return ledger_renew(c->pg, on_renewed, c);
	case EFFECT_LOOKBACK: stream_scan_ask(c->scan, f); break;
	case EFFECT_NOTE: tell(c, &f->note); break;
	case EFFECT_QUIET:
		log_info(c->room->log, "the capture is paused: everything that was in flight is answered and marked",
			 KS("capture", capture_room_config(c)->name));
		break;
	case EFFECT_DRAINED: return drained(c);
	default: break; /* the outbox's */
	}
	return true;
}

static void lost_end(struct capture_one *c, const struct capture_lost *lost)
{
	const char *stream = c->view.streams[0].name;
	char detail[256];

	switch (lost->why) {
	case CAPTURE_LOST_ANEW:
		snprintf(detail, sizeof detail,
			 "stream %s was made anew: what was stored in it, up to sequence %" PRIu64 ", is gone", stream,
			 lost->marked);
		break;
	case CAPTURE_LOST_END:
		snprintf(detail, sizeof detail,
			 "stream %s has lost its end: it ends at sequence %" PRIu64
			 ", and messages were stored up to %" PRIu64,
			 stream, lost->last, lost->marked);
		break;
	case CAPTURE_LOST_REGROWN:
		snprintf(detail, sizeof detail,
			 "stream %s has lost its end, and has grown again: at sequence %" PRIu64
			 " stands another message than the one that was stored there",
			 stream, lost->marked);
		break;
	case CAPTURE_LOST_UNTOLD:
		snprintf(detail, sizeof detail,
			 "stream %s was made anew, or has lost its end: what was stored in it is gone", stream);
		break;
	}
	capture_leader_gap(c->leader, "truncated", detail);
}

static void carry_out(struct capture_one *c, const struct capture_effect *f)
{
	bool ok = true;

	switch (f->kind) {
	case CAPTURE_EFFECT_STREAM:
		c->wants_stream = true;
		c->from_lsn = f->stream.lsn;
		break;
	case CAPTURE_EFFECT_CONFIRM:
		/* First who watches the slot: one that stands higher than we ever said is not ours. */
		capture_leader_confirmed(c->leader, f->confirm.lsn);
		c->confirmed_lsn = f->confirm.lsn;
		pg_walsender_confirm(c->walsender, f->confirm.lsn);
		break;
	case CAPTURE_EFFECT_DRAW:
	case CAPTURE_EFFECT_HORIZON:
	case CAPTURE_EFFECT_CHUNK:
	case CAPTURE_EFFECT_CHUNK_END: ask(c, f); break;
	case CAPTURE_EFFECT_LET_GO: capture_chunk_forget(c->chunk); break;
	case CAPTURE_EFFECT_WINDOW: capture_windows_make(c, f); break;
	case CAPTURE_EFFECT_CONTROL: control(c, f); break;
	case CAPTURE_EFFECT_MARK: ok = capture_marks_make(c, f->mark); break;
	case CAPTURE_EFFECT_FETCH: ok = capture_room_fetch(c, f); break;
	case CAPTURE_EFFECT_RELEASE: release(c, f->release.slot); break;
	case CAPTURE_EFFECT_NOTE: tell_of_table(c, &f->note); break;
	case CAPTURE_EFFECT_END: stored_time_ask(c->stored_time, f->end.sequence); break;
	case CAPTURE_EFFECT_LOST_END: lost_end(c, &f->lost); break;
	case CAPTURE_EFFECT_COMMON: ok = common(c, &f->common); break;
	}
	/* The core waits for an answer that will not come: begin again from what the database holds. */
	if (!ok)
		pg_break(c->pg, "a statement could not be sent");
}

void capture_turn_effects(struct capture_one *c)
{
	struct capture_effect f;

	/* What is handed over is written meanwhile, or later: not after the lease. */
	natsio_deadline(c->nats, capture_send_deadline(c->core));
	while (capture_next(c->core, &f))
		carry_out(c, &f);
}

/* --- the stream --- */

static void start_stream(struct capture_one *c)
{
	char publications[256] = "", all[80], inserts[80];
	const struct config_capture *conf = capture_room_config(c);
	struct pg_walsender_start start = { .options = servers_postgres_capture(c->room->config, c->client),
					    .slot = c->slot,
					    .publications = publications,
					    .from_lsn = c->from_lsn,
					    .former_timeline = c->former_timeline,
					    .messages = true };

	snprintf(all, sizeof all, "boxhaul_%s", conf->name);
	snprintf(inserts, sizeof inserts, "boxhaul_%s_inserts", conf->name);
	if (!pg_walsender_add_publication(publications, sizeof publications, all) ||
	    !pg_walsender_add_publication(publications, sizeof publications, inserts))
		return;
	if (pg_walsender_start(c->walsender, &start))
		c->wants_stream = false;
	else
		c->start_at_ms = loop_now_ms() + 1000;
}

void capture_turn_go_on(struct capture_one *c)
{
	pg_walsender_read(c->walsender, capture_stream_go_on(c->stream));
}

static int64_t earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

void capture_turn(struct capture_one *c)
{
	struct event tick = { .kind = EVENT_TICK };
	int64_t now = loop_now_ms(), at;

	capture_room_step_common(c, &tick);
	capture_turn_effects(c);
	if (c->streams)
		capture_turn_go_on(c);
	if (c->wants_stream && now >= c->start_at_ms && pg_walsender_is_idle(c->walsender))
		start_stream(c);
	natsio_deadline(c->nats, capture_send_deadline(c->core));
	at = capture_deadline(c->core);
	if (c->wants_stream)
		at = earlier(at, c->start_at_ms > now ? c->start_at_ms : INT64_MAX);
	loop_timer_at(c->timer, at);
}
