/* Verify passes: what is known of one, as those see it who write its messages; and the message of a window. */
#include <stdlib.h>

#include "format/sql_name.h"
#include "run/capture_room_state.h"

/* A message of this size is taken by every server (max_payload is 1 MB by default); larger windows go out row by row. */
enum { WINDOW_BYTES = 256 * 1024 };

struct capture_verify capture_verify_of(struct capture_one *c, uint32_t table, uint64_t reading,
					const struct capture_shape *shape)
{
	const struct capture_ledger_pass *p = &c->tables[table].pass;
	struct capture_verify v = { .pass = p->id,
				    .reading = reading,
				    .columns = p->columns,
				    .columns_bytes = p->columns_bytes,
				    .repair = p->repair,
				    .keys = p->keys,
				    .shape = shape };

	if (shape != NULL)
		return v;
	/* Its columns are not known any more, and nobody needs them: it is the end. */
	if (!sql_name_read(capture_relations_name(c->relations, table), &c->verified))
		c->verified = (struct sql_name){ .schema = "" };
	c->nameless = (struct capture_shape){ .schema = c->verified.schema, .table = c->verified.table };
	v.shape = &c->nameless;
	return v;
}

static size_t bytes_of(const struct capture_one *c, const struct capture_effect *f)
{
	size_t bytes = 0;

	for (size_t i = 0; i < f->window.count; i++)
		bytes += c->parcels[f->window.slots[i]]->part_bytes + 1;
	return bytes;
}

void capture_verify_window(struct capture_one *c, const struct capture_effect *f)
{
	struct capture_event ev = { .kind = CAPTURE_EVENT_WINDOW };
	uint32_t table = f->window.table;
	const struct capture_shape *shape = capture_chunk_shape(c->chunk, table);
	const struct capture_parcel **rows = calloc(f->window.count, sizeof(struct capture_parcel *));
	struct capture_verify v;
	struct capture_parcel *p = NULL;

	/* One row is a message already. Without its columns nobody could read the others. */
	ev.window.none = f->window.count == 1 || shape == NULL || bytes_of(c, f) > WINDOW_BYTES;
	if (!ev.window.none && rows != NULL) {
		for (size_t i = 0; i < f->window.count; i++)
			rows[i] = c->parcels[f->window.slots[i]];
		v = capture_verify_of(c, table, f->window.reading, shape);
		p = capture_maker_window(c->maker, &v, table, capture_relations_name(c->relations, table), rows,
					 f->window.count, c->parcels[f->window.last]);
	}
	free(rows);
	if (p == NULL && !ev.window.none) {
		pg_break(c->pg, "out of memory");
		return;
	}
	if (p != NULL)
		ev.window.row = capture_maker_row_of(p);
	capture_room_step(c, &ev);
	if (p != NULL)
		capture_room_keep(c, ev.window.row.slot, p);
}
