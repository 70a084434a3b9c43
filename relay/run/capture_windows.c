/* The rows of a window, of which many go in one message. */
#include <stdlib.h>

#include "run/capture_room_state.h"

enum {
	/* Of a pass. Every server takes so much (max_payload is 1 MB by default), and what is not taken is compared by the next pass. */
	PASS_BYTES = 256 * 1024,
};

/* The messages, as they are made. */
struct windows {
	struct capture_one *c;
	const struct capture_effect *f;
	const struct capture_shape *shape;
	const struct capture_parcel **rows; /* of the window, in its order */
	struct capture_parcel **parcels;    /* of the event's messages; NULL where a row goes alone */
	struct capture_row *messages;
	uint32_t *counts;
	size_t count;
};

static bool is_of_pass(const struct windows *w)
{
	return w->c->tables[w->f->window.table].pass.number != 0;
}

static size_t most_bytes(const struct windows *w)
{
	size_t most =
		is_of_pass(w) ? PASS_BYTES : CAPTURE_MAKER_TOGETHER_BYTES; /* where the stream takes less it is less */
	uint64_t of_stream = stream_setup_most_bytes(w->c->setup, 0);

	if (of_stream == 0 || of_stream >= most + CAPTURE_MAKER_REST_BYTES)
		return most;
	return of_stream > CAPTURE_MAKER_REST_BYTES ? (size_t)of_stream - CAPTURE_MAKER_REST_BYTES : 0;
}

/* How many from there on: one at least. What can never be sent is a dead letter by itself. */
static uint32_t together(const struct windows *w, size_t at)
{
	size_t most = most_bytes(w), bytes = 0, n = 0;

	for (; at + n < w->f->window.count; n++) {
		const struct capture_parcel *row = w->rows[at + n];

		bytes += row->part_bytes + 1;
		if (row->part == NULL || row->defect != REASON_NONE || bytes > most)
			break;
	}
	return n > 0 ? (uint32_t)n : 1;
}

static struct capture_parcel *make(const struct windows *w, size_t at, uint32_t count)
{
	struct capture_one *c = w->c;
	uint32_t table = w->f->window.table;
	const char *name = capture_relations_name(c->relations, table);
	struct capture_read_row of = { .shape = w->shape,
				       .snapshot = c->tables[table].snapshot_id,
				       .reading = w->f->window.reading,
				       .table = table,
				       .tab = name };
	struct capture_verify v;

	if (!is_of_pass(w))
		return capture_maker_rows(c->maker, &of, w->rows + at, count);
	v = capture_verify_of(c, table, w->f->window.reading, w->shape);
	return capture_maker_window(c->maker, &v, table, name, w->rows + at, count);
}

/* False: out of memory. *none: there can be none, as where each row has a subject of its own. */
static bool make_all(struct windows *w, bool *none)
{
	for (size_t at = 0; at < w->f->window.count && !*none; w->count++) {
		uint32_t count = together(w, at);
		struct capture_parcel *p = count > 1 ? make(w, at, count) : NULL;

		if (p == NULL && count > 1)
			return false;
		w->parcels[w->count] = p;
		w->counts[w->count] = count;
		if (p != NULL)
			w->messages[w->count] = capture_maker_row_of(p);
		*none = p != NULL && p->defect != REASON_NONE;
		at += count;
	}
	return true;
}

static bool allocate(struct windows *w)
{
	size_t n = w->f->window.count;

	w->rows = calloc(n, sizeof *w->rows);
	w->parcels = calloc(n, sizeof *w->parcels);
	w->messages = calloc(n, sizeof *w->messages);
	w->counts = calloc(n, sizeof *w->counts);
	if (w->rows == NULL || w->parcels == NULL || w->messages == NULL || w->counts == NULL)
		return false;
	for (size_t i = 0; i < n; i++)
		w->rows[i] = w->c->parcels[w->f->window.slots[i]];
	return true;
}

static void answer(struct windows *w, bool none)
{
	struct capture_event ev = { .kind = CAPTURE_EVENT_WINDOW };

	ev.window.none = none;
	ev.window.messages = w->messages;
	ev.window.rows = w->counts;
	ev.window.count = w->count;
	capture_room_step(w->c, &ev);
	for (size_t i = 0; i < w->count && !none; i++) {
		if (w->parcels[i] != NULL)
			capture_room_keep(w->c, w->messages[i].slot, w->parcels[i]);
		w->parcels[i] = NULL;
	}
}

void capture_windows_make(struct capture_one *c, const struct capture_effect *f)
{
	struct windows w = { .c = c, .f = f, .shape = capture_chunk_shape(c->chunk, f->window.table) };
	bool none = w.shape == NULL, ok = allocate(&w) && (none || make_all(&w, &none));

	if (ok)
		answer(&w, none);
	else
		pg_break(c->pg, "out of memory");
	for (size_t i = 0; w.parcels != NULL && i < f->window.count; i++)
		free(w.parcels[i]);
	free(w.rows);
	free(w.parcels);
	free(w.messages);
	free(w.counts);
}
