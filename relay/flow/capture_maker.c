#include "flow/capture_maker.h"

#include <stdlib.h>
#include <string.h>

#include "base/network.h"
#include "core/capture/capture_types.h"
#include "format/emitted.h"
#include "format/logical_message.h"
#include "format/outbox_row.h"
#include "format/sql_name.h"

struct capture_maker {
	const struct config *config;
	size_t index;
	struct capture_style style;
	struct capture_writer writer;
	struct capture_text key, repair_key, columns, body, id;
	bool moves_whole;
	struct pgoutput_value row[PGOUTPUT_COLUMNS_MAX], old[PGOUTPUT_COLUMNS_MAX];
};

static const struct config_capture *capture_of(const struct capture_maker *m)
{
	return &m->config->captures[m->index];
}

void capture_maker_configure(struct capture_maker *m, uint64_t system, const char *database)
{
	const struct config_capture *c = capture_of(m);

	m->style = (struct capture_style){
		.capture = c->name,
		.database = database,
		.event_source = m->config->event_source,
		.subject = c->subject,
		.bucket = c->target == CAPTURE_TARGET_KV ? c->stream.name + strlen("KV_") : NULL,
		.format = c->format,
		.int8 = c->int8,
		.target = c->target,
		.in_commit_order = c->order == CONFIG_ORDER_COMMIT,
		.system = system,
	};
}

struct capture_maker *capture_maker_create(const struct config *config, size_t index)
{
	struct capture_maker *m = calloc(1, sizeof *m);

	if (m == NULL)
		return NULL;
	m->config = config;
	m->index = index;
	capture_maker_configure(m, 0, "");
	return m;
}

void capture_maker_free(struct capture_maker *m)
{
	if (m == NULL)
		return;
	capture_message_free(&m->writer);
	capture_text_free(&m->key);
	capture_text_free(&m->repair_key);
	capture_text_free(&m->columns);
	capture_text_free(&m->body);
	capture_text_free(&m->id);
	free(m);
}

/* --- keys --- */

/* The key of a row in one piece; empty where it has none, or not all of it was sent. */
static void write_key(struct capture_text *out, const struct capture_shape *s, const struct pgoutput_value *values)
{
	char bytes[4];

	capture_text_reset(out);
	for (uint16_t part = 1; part <= s->key_count; part++) {
		size_t at = capture_shape_key(s, part);

		if (at == s->count || values[at].kind != PGOUTPUT_TEXT) {
			capture_text_reset(out);
			return;
		}
		network_write32(bytes, (uint32_t)values[at].bytes); /* as format/capture_key.h has it */
		capture_text_put(out, bytes, sizeof bytes);
		capture_text_put(out, values[at].text, values[at].bytes);
	}
}

/* --- one allocation --- */

struct parts {
	const char *tab;
	uint32_t table;
	const struct capture_place *place;                     /* NULL: of no transaction */
	const struct capture_text *key, *repair_key, *columns; /* NULL, or empty: none */
	enum reason defect;
	bool read_instead;
	bool written; /* by somebody, as a message */
	bool moves_whole;
	size_t part_at, part_bytes; /* in the body */
};

static const char *keep(char **room, const void *bytes, size_t count)
{
	char *at = *room;

	memcpy(at, bytes, count);
	*room += count;
	return at;
}

static const char *keep_text(char **room, const char *text)
{
	return keep(room, text, strlen(text) + 1);
}

static size_t length(const struct capture_text *t)
{
	return t != NULL ? t->count : 0;
}

/* NULL where there is nothing to be kept. */
static const char *keep_all(char **room, const struct capture_text *t)
{
	return t != NULL && t->count > 0 ? keep(room, t->bytes, t->count) : NULL;
}

/* FNV-1a. Zero is a lane like any other. What is carried has its lane on record (boxhaul.capture_carried): another hash would let newer changes of a key pass
 * older ones that wait there. */
static uint64_t mix(uint64_t hash, const char *bytes, size_t count)
{
	for (size_t i = 0; i < count; i++)
		hash = (hash ^ (unsigned char)bytes[i]) * UINT64_C(1099511628211);
	return hash;
}

/* Of a table and its key; of a message that somebody has written, of its key, if it has one. */
static uint64_t lane_of(const struct capture_message *m, const struct parts *p)
{
	uint64_t hash = mix(UINT64_C(14695981039346656037), p->tab, strlen(p->tab) + 1);

	if (p->written)
		return m->key != NULL ? mix(hash, m->key, strlen(m->key)) | 1 : 0;
	return (p->key != NULL ? mix(hash, p->key->bytes, p->key->count) : hash) | 1;
}

static void fill(struct capture_parcel *c, const struct capture_message *m, const struct parts *p, const char *position,
		 char *room)
{
	const char *why = m->why != NULL ? m->why : "";

	c->parcel.subject = keep_text(&room, m->subject);
	c->parcel.pairs = keep(&room, m->headers, m->headers_bytes);
	c->parcel.pair_count = m->header_count;
	c->parcel.payload = keep(&room, m->payload, m->payload_bytes);
	c->parcel.payload_bytes = m->payload_bytes;
	c->parcel.wire_bytes = m->wire_bytes;
	memcpy(c->parcel.message_id, m->id, sizeof c->parcel.message_id);
	c->tab = keep_text(&room, p->tab);
	c->position = keep_text(&room, position);
	c->why = keep_text(&room, why);
	c->key = keep_all(&room, p->key);
	c->key_bytes = (uint32_t)length(p->key);
	c->repair_key = keep_all(&room, p->repair_key);
	c->repair_key_bytes = (uint32_t)length(p->repair_key);
	c->moves_whole = p->moves_whole;
	if (p->part_bytes > 0) {
		c->part = (const char *)c->parcel.payload + p->part_at;
		c->part_bytes = p->part_bytes;
	}
	c->columns = keep_all(&room, p->columns);
	if (c->columns != NULL)
		*room = '\0';
}

static struct capture_parcel *pack(const struct capture_message *m, const struct parts *p)
{
	char position[CAPTURE_PLACE_BYTES] = "";
	struct capture_parcel *c;
	size_t bytes = sizeof *c + strlen(m->subject) + 1 + m->headers_bytes + m->payload_bytes + strlen(p->tab) + 1 +
		       (m->why != NULL ? strlen(m->why) : 0) + 1 + length(p->key) + length(p->repair_key) +
		       length(p->columns) + 1;

	if (p->place != NULL)
		capture_identity_position(p->place, position);
	bytes += strlen(position) + 1;
	if (p->defect == REASON_NO_MEMORY || bytes > UINT32_MAX || (c = calloc(1, bytes)) == NULL)
		return NULL;
	c->table = p->table;
	c->defect = (uint16_t)p->defect;
	c->read_instead = p->read_instead;
	c->bytes = (uint32_t)bytes;
	c->lane = lane_of(m, p);
	fill(c, m, p, position, (char *)(c + 1));
	return c;
}

/* --- changes --- */

static void take_values(struct pgoutput_list tuple, struct pgoutput_value *values)
{
	for (size_t i = 0; pgoutput_next_value(&tuple, &values[i]); i++) {
	}
}

static bool lacks_values(const struct capture_shape *s, const struct pgoutput_value *row)
{
	for (size_t i = 0; i < s->count; i++)
		if (row[i].kind == PGOUTPUT_UNCHANGED)
			return true;
	return false;
}

/* What format/capture_event.h wants to know of a change of the stream. */
static struct capture_change change_of(struct capture_maker *m, const struct capture_place *place,
				       const struct capture_relation *x, const struct pgoutput_message *message)
{
	struct capture_change c = { .shape = &x->shape, .place = *place };

	c.op = message->kind == PGOUTPUT_INSERT   ? CAPTURE_OP_INSERT
	       : message->kind == PGOUTPUT_UPDATE ? CAPTURE_OP_UPDATE
						  : CAPTURE_OP_DELETE;
	if (message->kind != PGOUTPUT_DELETE) {
		take_values(message->change.row, m->row);
		c.row = m->row;
	}
	if (message->change.has_old != PGOUTPUT_OLD_NONE) {
		take_values(message->change.old, m->old);
		c.old = m->old;
		c.old_is_whole = message->change.has_old == PGOUTPUT_OLD_ROW;
	}
	return c;
}

/* The key that the core compares is the one under which a chunk may hold the row: that before the change. Where the change gives the row another key
 * and leaves values out, a chunk may never meet the row again: the new key is to be read once more. With the whole old row
 * nothing is left out. */
static void find_keys(struct capture_maker *m, const struct capture_change *c)
{
	capture_text_reset(&m->key);
	capture_text_reset(&m->repair_key);
	if (c->old != NULL)
		write_key(&m->key, c->shape, c->old);
	if (c->row == NULL)
		return;
	write_key(&m->repair_key, c->shape, c->row);
	if (m->key.count == 0)
		capture_text_put(&m->key, m->repair_key.bytes, m->repair_key.count);
	m->moves_whole = c->old_is_whole || !lacks_values(c->shape, c->row);
	/* A bucket takes whole rows and nothing else: one that is not is read in any case. */
	if ((m->moves_whole || m->style.target != CAPTURE_TARGET_KV) && m->key.count == m->repair_key.count &&
	    (m->key.count == 0 || memcmp(m->key.bytes, m->repair_key.bytes, m->key.count) == 0))
		capture_text_reset(&m->repair_key);
}

static struct capture_parcel *make(struct capture_maker *m, const struct capture_change *c, struct parts *p)
{
	struct capture_message message;

	p->defect = capture_event_write(&m->writer, &m->style, c, &message);
	return m->key.failed || m->repair_key.failed || m->columns.failed ? NULL : pack(&message, p);
}

struct capture_parcel *capture_maker_change(struct capture_maker *m, const struct capture_place *place,
					    const struct capture_relation *x, const struct pgoutput_message *message)
{
	struct capture_change c = change_of(m, place, x, message);
	struct parts p = {
		.tab = x->tab, .table = x->table, .place = place, .key = &m->key, .repair_key = &m->repair_key
	};

	find_keys(m, &c);
	p.moves_whole = m->moves_whole;
	p.read_instead = m->style.target == CAPTURE_TARGET_KV && !m->moves_whole && m->repair_key.count > 0;
	return make(m, &c, &p);
}

bool capture_maker_tells(const struct capture_maker *m, enum capture_op op)
{
	return capture_event_is_sent(&m->style, op);
}

bool capture_maker_moves(struct capture_maker *m, const struct capture_relation *x,
			 const struct pgoutput_message *message)
{
	struct capture_place nowhere = { .system = 0 };
	struct capture_change c;

	if (m->style.target != CAPTURE_TARGET_KV || message->kind != PGOUTPUT_UPDATE)
		return false;
	c = change_of(m, &nowhere, x, message);
	return capture_event_moves(&c);
}

struct capture_parcel *capture_maker_half(struct capture_maker *m, const struct capture_place *place,
					  const struct capture_relation *x, const struct pgoutput_message *message)
{
	struct capture_change c = change_of(m, place, x, message);
	struct parts p = { .tab = x->tab, .table = x->table, .place = place, .key = &m->key };

	c.op = CAPTURE_OP_DELETE;
	c.row = NULL;
	find_keys(m, &c);
	return make(m, &c, &p);
}

struct capture_parcel *capture_maker_truncate(struct capture_maker *m, const struct capture_place *place,
					      const struct capture_relation *x)
{
	struct capture_change c = { .op = CAPTURE_OP_TRUNCATE, .shape = &x->shape, .place = *place };
	struct parts p = { .tab = x->tab, .table = x->table, .place = place };

	return make(m, &c, &p);
}

struct capture_parcel *capture_maker_columns(struct capture_maker *m, const struct capture_place *place,
					     const struct capture_relation *x)
{
	struct capture_change c = { .op = CAPTURE_OP_SHAPE, .shape = &x->shape, .place = *place };
	struct parts p = { .tab = x->tab, .table = x->table, .place = place, .columns = &m->columns };

	capture_text_reset(&m->columns);
	capture_shape_write(&m->columns, &x->shape);
	return make(m, &c, &p);
}

/* What a server or a stream refuses, beside what can never be sent, it refuses for its size (core/refusal.c). Each takes more than this, or is none
 * for rows. */
enum { NEVER_REFUSED_BYTES = 4096 };

bool capture_maker_may_be_refused(const struct capture_parcel *p)
{
	return p->defect != REASON_NONE || p->parcel.wire_bytes > NEVER_REFUSED_BYTES;
}

struct capture_parcel *capture_maker_end(struct capture_maker *m, const struct capture_place *place)
{
	struct capture_shape nameless = { .schema = "boxhaul", .table = "transaction" };
	struct capture_change c = { .op = CAPTURE_OP_END, .shape = &nameless, .place = *place };
	struct parts p = { .tab = "", .table = CAPTURE_NO_TABLE, .place = place };

	return make(m, &c, &p);
}

/* --- messages of others --- */

static struct capture_parcel *make_written(const char *tab, const struct capture_place *place, enum reason defect,
					   const struct capture_message *message)
{
	struct parts p = { .tab = tab, .table = CAPTURE_NO_TABLE, .place = place, .defect = defect, .written = true };

	return pack(message, &p);
}

struct capture_parcel *capture_maker_outbox(struct capture_maker *m, const struct capture_place *place,
					    const struct capture_relation *x, const struct pgoutput_message *message)
{
	const struct config_outbox_table *o = x->outbox;
	struct capture_message out;
	enum reason defect;

	take_values(message->change.row, m->row);
	defect = outbox_row_write(&m->writer, &m->style, &o->mapping, o->subject, &x->shape, m->row, place, &out);
	return make_written(x->tab, place, defect, &out);
}

/* The configuration of a logical message's prefix, or NULL. */
static const struct config_messages *messages_of(const struct capture_maker *m, const char *prefix)
{
	for (size_t i = 0; i < m->config->messages_count; i++) {
		const struct config_messages *x = &m->config->messages[i];

		if (strcmp(x->capture, capture_of(m)->name) == 0 && logical_message_is_of(prefix, x->prefix))
			return x;
	}
	return NULL;
}

bool capture_maker_wants(const struct capture_maker *m, const struct pgoutput_message *message)
{
	return messages_of(m, message->message.prefix) != NULL;
}

struct capture_parcel *capture_maker_message(struct capture_maker *m, const struct capture_place *place,
					     const struct pgoutput_message *message)
{
	const struct config_messages *x = messages_of(m, message->message.prefix);
	struct capture_message out;
	enum reason defect;

	if (x == NULL)
		return NULL;
	defect = logical_message_write(&m->writer, &m->style, x->subject, place, message->message.prefix,
				       message->message.content, message->message.bytes, &out);
	return make_written("", place, defect, &out);
}

/* --- our own --- */

#define PREFIX_TOKEN OWN_PREFIX "token"
#define PREFIX_APPLIED OWN_PREFIX "applied"

enum { TOKEN_CHARACTERS = 36 }; /* a uuid's */

/* Any role may write a message of this prefix, so what is no uuid is nobody's. */
bool capture_maker_is_token(const struct capture_maker *m, const struct pgoutput_message *message)
{
	const char *text = message->message.content;
	size_t n = message->message.bytes;

	if (m->style.format != CAPTURE_FORMAT_TEXT || strcmp(message->message.prefix, PREFIX_TOKEN) != 0 ||
	    n != TOKEN_CHARACTERS)
		return false;
	for (size_t i = 0; i < n; i++)
		if (strchr("0123456789abcdef-", text[i]) == NULL || text[i] == '\0')
			return false;
	return capture_event_is_sent(&m->style, CAPTURE_OP_TOKEN);
}

struct capture_parcel *capture_maker_token(struct capture_maker *m, const struct capture_place *place,
					   const struct pgoutput_message *message)
{
	char token[TOKEN_CHARACTERS + 1] = "";
	struct capture_shape nameless = { .schema = "boxhaul", .table = "token" };
	struct capture_change c = { .op = CAPTURE_OP_TOKEN, .shape = &nameless, .place = *place, .token = token };
	struct parts p = { .tab = "", .table = CAPTURE_NO_TABLE, .place = place };

	memcpy(token, message->message.content, TOKEN_CHARACTERS);
	return make(m, &c, &p);
}

bool capture_maker_skips(const struct capture_maker *m, const struct pgoutput_message *message)
{
	const struct config_capture *c = capture_of(m);

	for (size_t i = 0; i < c->skip_applied_count && strcmp(message->message.prefix, PREFIX_APPLIED) == 0; i++)
		if (strlen(c->skip_applied[i]) == message->message.bytes &&
		    memcmp(c->skip_applied[i], message->message.content, message->message.bytes) == 0)
			return true;
	return false;
}

/* --- the snapshot --- */

struct capture_parcel *capture_maker_row(struct capture_maker *m, const struct capture_read_row *row)
{
	struct capture_change c = { .op = CAPTURE_OP_READ,
				    .shape = row->shape,
				    .row = row->values,
				    .place = { .system = m->style.system },
				    .snapshot = row->snapshot,
				    .reading = row->reading,
				    .nth = row->nth };
	struct parts p = { .tab = row->tab, .table = row->table, .key = &m->key };

	write_key(&m->key, row->shape, row->values);
	return make(m, &c, &p);
}

struct capture_parcel *capture_maker_control(struct capture_maker *m, const struct capture_read_control *control)
{
	struct sql_name name = { .schema = "" };
	struct capture_shape nameless = { .schema = name.schema, .table = name.table };
	struct capture_change c = { .op = control->end ? CAPTURE_OP_SNAPSHOT_END : CAPTURE_OP_SNAPSHOT_BEGIN,
				    .shape = control->shape != NULL ? control->shape : &nameless,
				    .place = { .system = m->style.system },
				    .snapshot = control->snapshot,
				    .reading = control->reading,
				    .nth = control->nth };
	struct parts p = { .tab = control->tab, .table = control->table };

	sql_name_read(control->tab, &name);
	return make(m, &c, &p);
}

/* --- verify passes --- */

/* What a message of a pass is told apart by, within the pass and the reading: a letter, and a key. */
static void write_verify_id(struct capture_maker *m, char what, const void *key, size_t bytes)
{
	capture_text_reset(&m->id);
	capture_text_char(&m->id, what);
	capture_text_put(&m->id, key, bytes);
}

static struct capture_parcel *make_verify(struct capture_maker *m, const struct capture_verify *v, struct parts *p)
{
	struct capture_change c = { .op = CAPTURE_OP_VERIFY,
				    .shape = v->shape,
				    .place = { .system = m->style.system },
				    .snapshot = v->pass,
				    .reading = v->reading,
				    .body = &m->body };

	c.id = m->id.bytes;
	c.id_bytes = m->id.count;
	return m->body.failed || m->id.failed ? NULL : make(m, &c, p);
}

struct capture_parcel *capture_maker_verify(struct capture_maker *m, const struct capture_verify *v,
					    const struct capture_read_row *row, const char *hash, bool absent)
{
	struct parts p = { .tab = row->tab, .table = row->table, .key = &m->key };
	struct capture_parcel *c;
	bool ok;

	write_key(&m->key, row->shape, row->values);
	capture_text_reset(&m->body);
	capture_verify_open(&m->body, v, "rows");
	p.part_at = m->body.count;
	ok = capture_verify_row(&m->body, v, row->values, hash, absent);
	p.part_bytes = m->body.count - p.part_at;
	capture_verify_close(&m->body, "rows");
	write_verify_id(m, 'k', m->key.bytes, m->key.count);
	c = make_verify(m, v, &p);
	if (c != NULL && !ok && c->defect == REASON_NONE)
		c->defect = DEFECT_COLUMN;
	return c;
}

struct capture_parcel *capture_maker_window(struct capture_maker *m, const struct capture_verify *v, uint32_t table,
					    const char *tab, const struct capture_parcel *const *rows, size_t count,
					    const struct capture_parcel *last)
{
	struct parts p = { .tab = tab, .table = table };

	capture_text_reset(&m->body);
	capture_verify_open(&m->body, v, "rows");
	for (size_t i = 0; i < count; i++) {
		capture_text_say(&m->body, i > 0 ? "," : "");
		capture_text_put(&m->body, rows[i]->part, rows[i]->part_bytes);
	}
	capture_verify_close(&m->body, "rows");
	write_verify_id(m, 'w', last->key, last->key_bytes);
	return make_verify(m, v, &p);
}

struct capture_parcel *capture_maker_pass(struct capture_maker *m, const struct capture_verify *v, uint32_t table,
					  const char *tab, bool end)
{
	struct parts p = { .tab = tab, .table = table };
	const char *what = end ? "end" : "begin";

	capture_text_reset(&m->body);
	capture_verify_open(&m->body, v, what);
	capture_verify_close(&m->body, what);
	write_verify_id(m, end ? 'e' : 'b', "", 0);
	return make_verify(m, v, &p);
}

struct capture_row capture_maker_row_of(const struct capture_parcel *p)
{
	return (struct capture_row){ .key = p->key,
				     .key_bytes = p->key_bytes,
				     .bytes = p->bytes,
				     .lane = p->lane,
				     .defect = p->defect,
				     .slot = CAPTURE_NO_SLOT };
}
