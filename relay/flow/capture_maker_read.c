/* What is read: rows of a snapshot, and verify passes. */
#include "flow/capture_maker.h"
#include "flow/capture_maker_state.h"
#include "format/capture_key.h"
#include "format/sql_name.h"

/* --- the snapshot --- */

/* No JSON is shorter than what it holds: a row that is large is seen before it is written. */
static bool is_small(const struct capture_change *c)
{
	size_t bytes = 0;

	for (size_t i = 0; i < c->shape->count; i++)
		bytes += c->row[i].bytes;
	return bytes <= CAPTURE_MAKER_TOGETHER_BYTES;
}

/* Most rows go with others. Those have no use for a message of their own, and it is much of the work to make one; so it is made only of those that go alone after all. What can
 * never be sent is made at once: whoever looks at it sees its defect. So is what is too large for company. */
static bool is_part(struct capture_maker *m, const struct capture_change *c, struct capture_message *message)
{
	return m->by_table && c->nth == 0 && m->key.count > 0 && is_small(c) &&
	       capture_event_part(&m->writer, &m->style, c, message) == REASON_NONE &&
	       m->writer.part_bytes <= CAPTURE_MAKER_TOGETHER_BYTES;
}

struct capture_parcel *capture_maker_row(struct capture_maker *m, const struct capture_read_row *row)
{
	struct capture_change c = { .op = CAPTURE_OP_READ,
				    .shape = row->shape,
				    .row = row->values,
				    .place = { .system = m->style.system },
				    .snapshot = row->snapshot,
				    .reading = row->reading,
				    .nth = row->nth };
	struct capture_parts p = { .tab = row->tab, .table = row->table, .key = &m->key, .has_part = m->puts_together };
	struct capture_message message;

	capture_pack_key(&m->key, row->shape, row->values);
	if (!is_part(m, &c, &message))
		return capture_maker_make(m, &c, &p);
	p.snapshot = row->snapshot;
	p.reading = row->reading;
	return capture_maker_pack(m, &message, &p);
}

/* The key in one piece has what the message says of it: only the names of its columns are missing, and those stand in the part. */
struct capture_parcel *capture_maker_alone(struct capture_maker *m, const struct capture_parcel *row)
{
	struct capture_column columns[CAPTURE_KEY_COLUMNS];
	struct pgoutput_value values[CAPTURE_KEY_COLUMNS];
	struct sql_name name = { .schema = "" };
	struct capture_shape shape = { .schema = name.schema, .table = name.table, .columns = columns };
	struct capture_change c = { .op = CAPTURE_OP_READ,
				    .shape = &shape,
				    .row = values,
				    .place = { .system = m->style.system },
				    .snapshot = row->snapshot,
				    .reading = row->reading,
				    .part = (const char *)row->parcel.payload + CAPTURE_EVENT_HEAD_BYTES,
				    .part_bytes = row->parcel.payload_bytes - CAPTURE_EVENT_HEAD_BYTES };
	struct capture_parts p = { .tab = row->tab, .table = row->table, .key = &m->key };
	const char *key = row->key;
	size_t left = row->key_bytes;

	sql_name_read(row->tab, &name);
	for (struct pgoutput_value *v = values; shape.count < CAPTURE_KEY_COLUMNS; v++) {
		*v = (struct pgoutput_value){ .kind = PGOUTPUT_TEXT };
		if (!capture_key_next(&key, &left, &v->text, &v->bytes))
			break;
		columns[shape.count++] = (struct capture_column){ .name = "", .key = ++shape.key_count };
	}
	capture_text_reset(&m->key);
	capture_text_put(&m->key, row->key, row->key_bytes);
	return capture_maker_make(m, &c, &p);
}

/* What a message is told apart by within the reading (and the pass): a letter, and a key. No key of a row begins with a letter. */
static void write_id(struct capture_maker *m, char what, const void *key, size_t bytes)
{
	capture_text_reset(&m->id);
	capture_text_char(&m->id, what);
	capture_text_put(&m->id, key, bytes);
}

/* One behind the other. */
static void write_rows(struct capture_maker *m, const struct capture_parcel *const *rows, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		capture_text_say(&m->body, i > 0 ? "," : "");
		capture_text_put(&m->body, rows[i]->part, rows[i]->part_bytes);
	}
}

struct capture_parcel *capture_maker_rows(struct capture_maker *m, const struct capture_read_row *of,
					  const struct capture_parcel *const *rows, size_t count)
{
	struct capture_change c = { .op = CAPTURE_OP_READ,
				    .shape = of->shape,
				    .place = { .system = m->style.system },
				    .snapshot = of->snapshot,
				    .reading = of->reading,
				    .body = &m->body };
	struct capture_parts p = { .tab = of->tab, .table = of->table };

	capture_text_reset(&m->body);
	write_rows(m, rows, count);
	write_id(m, 'w', rows[count - 1]->key, rows[count - 1]->key_bytes);
	c.id = m->id.bytes;
	c.id_bytes = m->id.count;
	return m->body.failed || m->id.failed ? NULL : capture_maker_make(m, &c, &p);
}

struct capture_parcel *capture_maker_control(struct capture_maker *m, const struct capture_read_control *control)
{
	struct sql_name name = { .schema = "" };
	struct capture_shape nameless = { .schema = name.schema, .table = name.table };
	struct capture_change c = { .op = control->end ? CAPTURE_OP_SNAPSHOT_END : CAPTURE_OP_SNAPSHOT_BEGIN,
				    .shape = control->shape != NULL ? control->shape : &nameless,
				    .place = { .system = m->style.system },
				    .snapshot = control->snapshot,
				    .history = control->end ? NULL : control->history,
				    .reading = control->reading,
				    .nth = control->nth };
	struct capture_parts p = { .tab = control->tab, .table = control->table };

	sql_name_read(control->tab, &name);
	return capture_maker_make(m, &c, &p);
}

/* --- verify passes --- */

static struct capture_parcel *make_verify(struct capture_maker *m, const struct capture_verify *v,
					  struct capture_parts *p)
{
	struct capture_change c = { .op = CAPTURE_OP_VERIFY,
				    .shape = v->shape,
				    .place = { .system = m->style.system },
				    .snapshot = v->pass,
				    .reading = v->reading,
				    .body = &m->body };

	c.id = m->id.bytes;
	c.id_bytes = m->id.count;
	return m->body.failed || m->id.failed ? NULL : capture_maker_make(m, &c, p);
}

struct capture_parcel *capture_maker_verify(struct capture_maker *m, const struct capture_verify *v,
					    const struct capture_read_row *row, const char *hash, bool absent)
{
	struct capture_parts p = { .tab = row->tab, .table = row->table, .key = &m->key };
	struct capture_parcel *c;
	bool ok;

	capture_pack_key(&m->key, row->shape, row->values);
	capture_text_reset(&m->body);
	capture_verify_open(&m->body, v, "rows");
	p.part_at = m->body.count;
	ok = capture_verify_row(&m->body, v, row->values, hash, absent);
	p.part_bytes = m->body.count - p.part_at;
	capture_verify_close(&m->body, "rows");
	write_id(m, 'k', m->key.bytes, m->key.count);
	c = make_verify(m, v, &p);
	if (c != NULL && !ok && c->defect == REASON_NONE)
		c->defect = DEFECT_COLUMN;
	return c;
}

struct capture_parcel *capture_maker_window(struct capture_maker *m, const struct capture_verify *v, uint32_t table,
					    const char *tab, const struct capture_parcel *const *rows, size_t count)
{
	struct capture_parts p = { .tab = tab, .table = table };

	capture_text_reset(&m->body);
	capture_verify_open(&m->body, v, "rows");
	write_rows(m, rows, count);
	capture_verify_close(&m->body, "rows");
	write_id(m, 'w', rows[count - 1]->key, rows[count - 1]->key_bytes);
	return make_verify(m, v, &p);
}

struct capture_parcel *capture_maker_pass(struct capture_maker *m, const struct capture_verify *v, uint32_t table,
					  const char *tab, bool end)
{
	struct capture_parts p = { .tab = tab, .table = table };
	const char *what = end ? "end" : "begin";

	capture_text_reset(&m->body);
	capture_verify_open(&m->body, v, what);
	capture_verify_close(&m->body, what);
	write_id(m, end ? 'e' : 'b', "", 0);
	return make_verify(m, v, &p);
}
