/* What PostgreSQL says on the session that reads rows: it steps the capture's core. */
#include <stdlib.h>
#include <string.h>

#include "base/scrub.h"
#include "run/capture_room_state.h"

static void on_reader_up(void *arg)
{
	struct capture_one *c = arg;

	capture_chunk_session_up(c->chunk);
}

static void on_reader_down(void *arg, const char *why)
{
	struct capture_one *c = arg;
	char clean[512];

	scrub(why, clean, sizeof clean);
	log_debug(c->room->log, "the session that reads rows has ended", KS("capture", capture_room_config(c)->name),
		  KS("why", clean));
	capture_chunk_session_down(c->chunk);
}

static void not_listened(void *arg, const char *payload)
{
	(void)arg, (void)payload;
}

struct pg_handlers capture_reader_events_of_session(struct capture_one *c)
{
	return (struct pg_handlers){ .up = on_reader_up, .down = on_reader_down, .notified = not_listened, .arg = c };
}

/* --- rows --- */

static struct capture_parcel *verify_row(struct capture_one *c, const struct capture_chunk_rows *rows, size_t i,
					 const struct capture_read_row *row)
{
	struct capture_verify v = capture_verify_of(c, row->table, row->reading, rows->shape);
	const char *said = capture_chunk_said(rows, i);
	bool absent = said != NULL && strcmp(said, "absent") == 0;

	return capture_maker_verify(c->maker, &v, row, said, absent);
}

/* False: out of memory. */
static bool make_rows(struct capture_one *c, const struct capture_chunk_rows *rows, struct capture_row *list,
		      struct capture_parcel **parcels)
{
	struct pgoutput_value *values = calloc(rows->shape->count + 1, sizeof *values);
	struct capture_read_row row = { .shape = rows->shape,
					.values = values,
					.snapshot = c->tables[c->reading.table].snapshot_id,
					.reading = c->reading.number,
					.nth = c->reading.nth,
					.table = c->reading.table,
					.tab = capture_relations_name(c->relations, c->reading.table) };
	bool ok = values != NULL;

	for (size_t i = 0; ok && i < rows->count; i++) {
		for (size_t k = 0; k < rows->shape->count; k++) {
			struct capture_chunk_value v = capture_chunk_value(rows, i, k);

			values[k] = (struct pgoutput_value){ .kind = v.text != NULL ? PGOUTPUT_TEXT : PGOUTPUT_NULL,
							     .text = v.text,
							     .bytes = v.bytes };
		}
		parcels[i] = rows->of_pass ? verify_row(c, rows, i, &row) : capture_maker_row(c->maker, &row);
		row.nth += row.nth != 0;
		ok = parcels[i] != NULL;
		if (ok)
			list[i] = capture_maker_row_of(parcels[i]);
	}
	free(values);
	return ok;
}

static void on_chunk(struct capture_one *c, struct capture_event *ev, const struct capture_chunk_rows *rows)
{
	struct capture_row *list = calloc(rows->count + 1, sizeof *list);
	struct capture_parcel **parcels = calloc(rows->count + 1, sizeof(struct capture_parcel *));
	struct capture_event failed = { .kind = CAPTURE_EVENT_CHUNK_FAILED };
	bool ok = list != NULL && parcels != NULL && make_rows(c, rows, list, parcels);

	ev->chunk.rows = list;
	ev->chunk.count = rows->count;
	capture_room_step(c, ok ? ev : &failed);
	for (size_t i = 0; parcels != NULL && i < rows->count; i++)
		if (ok)
			capture_room_keep(c, list[i].slot, parcels[i]);
		else
			free(parcels[i]);
	free(parcels);
	free(list);
}

static void on_answer(void *arg, struct capture_event *ev, const struct capture_chunk_rows *rows)
{
	struct capture_one *c = arg;

	if (rows != NULL) {
		on_chunk(c, ev, rows);
		return;
	}
	capture_room_step(c, ev);
	/* The window is closed by what the stream says: it says so when it is asked, also where nothing else happens. */
	if (ev->kind == CAPTURE_EVENT_CHUNK_END)
		pg_walsender_ask(c->walsender);
}

static void on_key(void *arg, uint32_t table, const char *const *names, size_t count)
{
	struct capture_one *c = arg;

	if (!capture_relations_set_key(c->relations, table, names, (unsigned)count))
		pg_break(c->pg, "out of memory");
}

static void on_looked(void *arg, uint32_t table, const struct capture_shape *shape)
{
	struct capture_one *c = arg;

	(void)table; /* the one that was asked about: one question at a time */
	capture_turn_control(c, shape);
}

struct capture_chunk_handlers capture_reader_events_of_chunk(struct capture_one *c)
{
	return (struct capture_chunk_handlers){ .answer = on_answer, .key = on_key, .looked = on_looked, .arg = c };
}
