/* The reader session: what its questions are answered by the server, and when. */
#include <stdlib.h>
#include <string.h>

#include "capture_world.h"

static struct host *still(struct capture_sim *s, const struct capture_happening *h)
{
	struct host *host = &s->host[h->a];

	return host->life == h->b && host->question == h->c ? host : NULL;
}

static struct capture_happening *plan(struct capture_sim *s, const struct host *h, int64_t at,
				      void (*run)(struct capture_sim *, const struct capture_happening *))
{
	struct capture_happening *a = capture_later(s, at, run);

	a->a = h->index;
	a->b = h->life;
	a->c = h->question;
	return a;
}

/* --- what the host hears --- */

static void tell_chunk(struct capture_sim *s, struct host *h, struct capture_event *ev)
{
	const struct answer *a = &h->answer;
	struct capture_row rows[CAPTURE_KEYS] = { { .key = NULL } };
	struct payload p[CAPTURE_KEYS];
	uint32_t table = h->asked.chunk.table, reading = h->asked.chunk.reading;

	for (uint32_t i = 0; i < a->count; i++) {
		p[i] = (struct payload){ .used = true, .keys = calloc(2, KEY_BYTES) };
		demand(s, p[i].keys != NULL, "out of memory");
		capture_key_text(p[i].keys, a->key[i]);
		p[i].m = (struct message){
			.kind = MESSAGE_ROW,
			.table = (uint8_t)table,
			.key = a->key[i],
			.content = a->row[i],
			.reading = reading,
		};
		if (s->flaw == CAPTURE_FLAW_id_without_reading)
			reading = 0;
		p[i].m.id = capture_mix(capture_mix(table, a->key[i]), capture_mix(reading, 3));
		p[i].m.pass = capture_table_at(h->core, table)->pass;
		if (p[i].m.pass != 0) {
			p[i].m.kind = MESSAGE_VERIFY;
			p[i].m.id = capture_mix(p[i].m.id, p[i].m.pass);
		}
		if (h->asked.chunk.kind == CAPTURE_CHUNK_PIECE)
			p[i].m.id = capture_mix(capture_mix(h->piece.number, h->asked.chunk.nth + i), 7);
		else
			rows[i].key = p[i].keys;
		rows[i].key_bytes = rows[i].key != NULL ? (uint32_t)strlen(p[i].keys) : 0;
		rows[i].bytes = 10;
		rows[i].lane = 1 + capture_mix(table, a->key[i]);
	}
	ev->kind = CAPTURE_EVENT_CHUNK;
	ev->chunk.snapshot = a->snapshot;
	ev->chunk.snapshot.xip = a->xip;
	ev->chunk.rows = rows;
	ev->chunk.count = a->count;
	ev->chunk.complete = a->complete;
	ev->chunk.filenode = a->filenode;
	capture_host_step(s, h, ev);
	for (uint32_t i = 0; i < a->count; i++)
		capture_host_keep(s, h, rows[i].slot, &p[i]);
}

static void on_answer(struct capture_sim *s, const struct capture_happening *h)
{
	struct host *host = still(s, h);
	struct capture_event ev = { .kind = CAPTURE_EVENT_CHUNK_FAILED };

	if (host == NULL || capture_host_defers(s, host, h))
		return;
	host->question++;
	if (host->answer.failed) {
		ev.chunk_failed.reason = host->answer.reason;
		capture_host_step(s, host, &ev);
	} else if (host->asked.kind == CAPTURE_EFFECT_CHUNK) {
		tell_chunk(s, host, &ev);
	} else if (host->asked.kind == CAPTURE_EFFECT_DRAW) {
		ev.kind = CAPTURE_EVENT_DRAWN;
		ev.drawn.xid = host->answer.xid;
		capture_host_step(s, host, &ev);
	} else if (host->asked.kind == CAPTURE_EFFECT_HORIZON) {
		ev.kind = CAPTURE_EVENT_HORIZON;
		ev.horizon.horizon = host->answer.horizon;
		ev.horizon.xmax = host->answer.xmax;
		capture_host_step(s, host, &ev);
	} else {
		ev.kind = CAPTURE_EVENT_CHUNK_END;
		ev.chunk_end.lsn = host->answer.lsn;
		capture_host_step(s, host, &ev);
	}
	capture_host_turn(s, host);
}

/* --- what the server does --- */

/* Of a verify pass about some keys alone: a bit for each; else 0. */
static uint32_t asked_keys(const struct host *h)
{
	uint32_t table = h->asked.chunk.table;

	return capture_table_at(h->core, table)->pass != 0 ? h->asked_keys[table] : 0;
}

static bool is_asked_for(const struct capture_sim *s, const struct host *h, uint32_t key)
{
	const struct books *b = &s->pg.books;
	uint32_t table = h->asked.chunk.table;
	uint32_t after = h->asked.chunk.after, upto = h->asked.chunk.upto;
	int cursor = h->cursor[table], top = h->top[table];

	if (h->asked.chunk.kind == CAPTURE_CHUNK_ROWS) {
		if (h->asked.chunk.from_start)
			cursor = -1;
		else if (after != CAPTURE_NO_SLOT)
			cursor = (int)h->payload[after].m.key;
		if (upto != CAPTURE_NO_SLOT)
			top = (int)h->payload[upto].m.key;
		return (int)key > cursor && (int)key <= top && (asked_keys(h) == 0 || (asked_keys(h) >> key & 1) != 0);
	}
	for (uint32_t i = 0; i < b->repairs; i++)
		if (b->repair[i].table == table && b->repair[i].reading == h->asked.chunk.repairs &&
		    b->repair[i].key == key)
			return true;
	return false;
}

/* What shows where a walk ends. */
static void read_top(struct capture_sim *s, struct host *h, const struct pg_table *t, struct answer *a)
{
	uint32_t keys = asked_keys(h);

	for (uint32_t k = s->plan.keys; k-- > 0 && a->count == 0;)
		if (keys != 0 ? (keys >> k & 1) != 0 : t->row[k].exists) {
			a->key[a->count] = (uint8_t)k;
			a->row[a->count++] = t->row[k];
		}
}

/* Rows as a snapshot shows them, and not their keys: nobody may know a row by one. */
static void open_piece(struct capture_sim *s, struct host *h, const struct pg_table *t)
{
	h->piece = (struct piece){ .open = true, .number = ++s->numbers };
	for (uint32_t k = 0; k < s->plan.keys; k++)
		if (t->row[k].exists)
			h->piece.row[h->piece.count++] = t->row[k];
}

static void read_piece(struct capture_sim *s, struct host *h)
{
	struct answer *a = &h->answer;

	a->failed = !h->piece.open;
	while (!a->failed && a->count < h->asked.chunk.rows && h->piece.next < h->piece.count) {
		a->key[a->count] = 0;
		a->row[a->count++] = h->piece.row[h->piece.next++];
	}
	/* It cannot always know without asking. */
	a->complete = h->piece.next == h->piece.count && (a->count == 0 || prng_below(&s->dice, 2) == 0);
	trace(s, "host %u  piece of table %u: %u rows", h->index, h->asked.chunk.table, a->count);
}

static void read_chunk(struct capture_sim *s, struct host *h)
{
	struct answer *a = &h->answer;
	const struct pg_table *t = &s->pg.table[h->asked.chunk.table];

	demand(s,
	       h->asked.chunk.from_start || h->asked.chunk.after == CAPTURE_NO_SLOT ||
		       h->payload[h->asked.chunk.after].used,
	       "a chunk is asked for behind a row that was let go");
	capture_pg_snapshot(s, &a->snapshot, a->xip);
	a->complete = true;
	a->filenode = t->filenode;
	if (h->asked.chunk.kind == CAPTURE_CHUNK_TOP) {
		read_top(s, h, t, a);
		return;
	}
	if (h->asked.chunk.kind == CAPTURE_CHUNK_OPEN) {
		open_piece(s, h, t);
		return;
	}
	demand(s, h->asked.chunk.upto == CAPTURE_NO_SLOT || h->payload[h->asked.chunk.upto].used,
	       "a chunk is asked for up to a row that was let go");
	for (uint32_t k = 0; k < s->plan.keys; k++) {
		/* A verify pass says of each key that it was asked for, if there is such a row or not. */
		bool asked_by_key = h->asked.chunk.kind == CAPTURE_CHUNK_ROWS && asked_keys(h) != 0;

		if ((!t->row[k].exists && !asked_by_key) || !is_asked_for(s, h, k))
			continue;
		if (a->count == h->asked.chunk.rows) {
			a->complete = false;
			break;
		}
		a->key[a->count] = (uint8_t)k;
		a->row[a->count++] = t->row[k];
	}
	if (a->count == h->asked.chunk.rows && prng_below(&s->dice, 2) == 0)
		a->complete = false; /* it cannot know without asking */
	trace(s, "host %u  chunk of table %u: %u rows, snapshot %llu:%llu:%zu", h->index, h->asked.chunk.table,
	      a->count, (unsigned long long)a->snapshot.xmin, (unsigned long long)a->snapshot.xmax,
	      a->snapshot.xip_count);
}

/* A position behind everything that was seen; and something that brings the stream there. */
static void end_chunk(struct capture_sim *s, struct host *h)
{
	h->answer.lsn = s->flaw == CAPTURE_FLAW_end_asked_of_flush ? s->pg.flushed : s->pg.lsn;
	if (s->plan.version_13)
		return;
	if (s->plan.whole_messages) {
		demand(s, s->pg.markers < MAX_MARKERS, "the simulator is too small");
		s->pg.marker[s->pg.markers++] = s->pg.lsn;
		s->pg.lsn += 8;
		return;
	}
	capture_pg_commit(s, capture_pg_draw(s), NULL, 0, true);
}

static bool is_piece(const struct host *h)
{
	return h->asked.kind == CAPTURE_EFFECT_CHUNK && h->asked.chunk.kind == CAPTURE_CHUNK_PIECE;
}

static void on_question(struct capture_sim *s, const struct capture_happening *h)
{
	struct host *host = still(s, h);

	if (host == NULL)
		return;
	host->answer = (struct answer){ .failed = false };
	if (host->asked.kind == CAPTURE_EFFECT_CHUNK && !is_piece(host) &&
	    s->table_locked[host->asked.chunk.table] != 0) {
		plan(s, host, s->now + MS, on_question); /* it waits for the lock */
		return;
	}
	if (mishap(s, chunk_failed)) {
		host->answer.failed = true;
	} else if (host->asked.kind == CAPTURE_EFFECT_CHUNK && mishap(s, chunk_refused)) {
		host->answer.failed = true;
		host->answer.reason = 1;
	} else if (is_piece(host)) {
		read_piece(s, host);
	} else if (host->asked.kind == CAPTURE_EFFECT_CHUNK) {
		read_chunk(s, host);
	} else if (host->asked.kind == CAPTURE_EFFECT_DRAW) {
		host->answer.xid = capture_pg_draw(s);
	} else if (host->asked.kind == CAPTURE_EFFECT_HORIZON) {
		/* 13 does not decode what a transaction writes after its table was added, if it was open by then: no lock tells. */
		host->answer.horizon = capture_pg_horizon(s, !s->plan.version_13 && mishap(s, horizon_of_locks));
		host->answer.xmax = s->pg.last_ended + 1;
	} else {
		end_chunk(s, host);
	}
	plan(s, host, capture_soon(s, s->plan.pg_us), on_answer);
}

void capture_reader_ask(struct capture_sim *s, struct host *h, const struct capture_effect *f)
{
	int64_t at = capture_soon(s, s->plan.pg_us);

	h->question++;
	h->asked = *f;
	if (mishap(s, query_slow))
		at += prng_spread(&s->dice, MS, 300 * MS);
	plan(s, h, at, on_question);
}

void capture_reader_let_go(struct capture_sim *s, struct host *h)
{
	(void)s;
	h->question++;
	h->piece.open = false;
}

void capture_reader_lost(struct capture_sim *s, struct host *h)
{
	h->question++;
	h->piece.open = false;
	h->answer = (struct answer){ .failed = true };
	plan(s, h, capture_soon(s, 20 * MS), on_answer);
}
