#include "flow/capture_maker.h"

#include <stdlib.h>
#include <string.h>

#include "core/capture/capture_types.h"
#include "flow/capture_maker_state.h"
#include "format/capture_subject.h"
#include "format/emitted.h"
#include "format/logical_message.h"
#include "format/outbox_row.h"

static const struct config_capture *capture_of(const struct capture_maker *m)
{
	return &m->config->captures[m->index];
}

static bool is_of_table(const char *name, size_t n)
{
	static const char *const names[] = { "capture", "schema", "table" };

	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		if (strlen(names[i]) == n && memcmp(names[i], name, n) == 0)
			return true;
	return false;
}

void capture_maker_configure(struct capture_maker *m, uint64_t system, const char *database)
{
	const struct config_capture *c = capture_of(m);
	char why[256];

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
	m->puts_together = capture_maker_puts_together(c);
	m->by_table = m->puts_together && capture_subject_check(c->subject, is_of_table, why, sizeof why);
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

/* Keys of other columns than those by which rows are read are in no chunk: nothing is said of them. */
static void forget_keys(struct capture_maker *m)
{
	capture_text_reset(&m->key);
	capture_text_reset(&m->repair_key);
}

/* The key that the core compares is the one under which a chunk may hold the row: that before the change. Where the change gives the row another key
 * and leaves values out, a chunk may never meet the row again: the new key is to be read once more. With the whole old row
 * nothing is left out. */
static void find_keys(struct capture_maker *m, const struct capture_change *c)
{
	forget_keys(m);
	if (c->old != NULL)
		capture_pack_key(&m->key, c->shape, c->old);
	if (c->row == NULL)
		return;
	capture_pack_key(&m->repair_key, c->shape, c->row);
	if (m->key.count == 0)
		capture_text_put(&m->key, m->repair_key.bytes, m->repair_key.count);
	m->moves_whole = c->old_is_whole || !lacks_values(c->shape, c->row);
	/* A bucket takes whole rows and nothing else: one that is not is read in any case. */
	if ((m->moves_whole || m->style.target != CAPTURE_TARGET_KV) && m->key.count == m->repair_key.count &&
	    (m->key.count == 0 || memcmp(m->key.bytes, m->repair_key.bytes, m->key.count) == 0))
		capture_text_reset(&m->repair_key);
}

struct capture_parcel *capture_maker_pack(struct capture_maker *m, const struct capture_message *message,
					  struct capture_parts *p)
{
	if (p->has_part) {
		p->part_at = m->writer.part_at;
		p->part_bytes = m->writer.part_bytes;
	}
	return m->key.failed || m->repair_key.failed || m->columns.failed ? NULL : capture_pack(message, p);
}

struct capture_parcel *capture_maker_make(struct capture_maker *m, const struct capture_change *c,
					  struct capture_parts *p)
{
	struct capture_message message;

	p->defect = capture_event_write(&m->writer, &m->style, c, &message);
	return capture_maker_pack(m, &message, p);
}

static void find_keys_in(struct capture_maker *m, const struct capture_relation *x, const struct capture_change *c)
{
	find_keys(m, c);
	if (x->other_key)
		forget_keys(m);
}

struct capture_parcel *capture_maker_change(struct capture_maker *m, const struct capture_place *place,
					    const struct capture_relation *x, const struct pgoutput_message *message)
{
	struct capture_change c = change_of(m, place, x, message);
	struct capture_parts p = {
		.tab = x->tab,
		.table = x->table,
		.place = place,
		.key = &m->key,
		.repair_key = &m->repair_key,
		.has_part = m->puts_together,
	};

	find_keys_in(m, x, &c);
	p.moves_whole = m->moves_whole;
	p.read_instead = m->style.target == CAPTURE_TARGET_KV && !m->moves_whole && m->repair_key.count > 0;
	return capture_maker_make(m, &c, &p);
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
	struct capture_parts p = { .tab = x->tab, .table = x->table, .place = place, .key = &m->key };

	c.op = CAPTURE_OP_DELETE;
	c.row = NULL;
	find_keys_in(m, x, &c);
	return capture_maker_make(m, &c, &p);
}

struct capture_parcel *capture_maker_truncate(struct capture_maker *m, const struct capture_place *place,
					      const struct capture_relation *x)
{
	struct capture_change c = { .op = CAPTURE_OP_TRUNCATE, .shape = &x->shape, .place = *place };
	struct capture_parts p = { .tab = x->tab, .table = x->table, .place = place };

	return capture_maker_make(m, &c, &p);
}

struct capture_parcel *capture_maker_columns(struct capture_maker *m, const struct capture_place *place,
					     const struct capture_relation *x)
{
	struct capture_change c = {
		.op = CAPTURE_OP_SHAPE, .shape = &x->shape, .place = *place, .history = x->history
	};
	struct capture_parts p = { .tab = x->tab, .table = x->table, .place = place, .columns = &m->columns };

	capture_text_reset(&m->columns);
	capture_shape_write(&m->columns, &x->shape);
	return capture_maker_make(m, &c, &p);
}

/* --- several changes --- */

bool capture_maker_goes_together(const struct capture_maker *m, const struct capture_relation *x,
				 const struct pgoutput_message *message, const struct capture_parcel *p)
{
	bool moves = message->kind == PGOUTPUT_UPDATE && message->change.has_old != PGOUTPUT_OLD_NONE;

	return m->by_table && x->says_key && !moves && p->defect == REASON_NONE && p->part != NULL &&
	       capture_maker_bytes_of_change(p) <= CAPTURE_MAKER_TOGETHER_BYTES;
}

struct capture_parcel *capture_maker_part(struct capture_maker *m, const struct capture_relation *x,
					  const struct pgoutput_message *message)
{
	static const struct capture_place nowhere = { .system = 0 };
	struct capture_change c = change_of(m, &nowhere, x, message);
	struct capture_parts p = { .tab = x->tab, .table = x->table, .key = &m->key, .has_part = true };
	struct capture_message part;

	find_keys_in(m, x, &c);
	p.defect = capture_event_part(&m->writer, &m->style, &c, &part);
	return capture_maker_pack(m, &part, &p);
}

size_t capture_maker_bytes_of_change(const struct capture_parcel *p)
{
	return CAPTURE_EVENT_HEAD_BYTES + p->part_bytes + 2;
}

/* Where one has none, it may be of any row: so are all of them. */
static bool have_keys(const struct capture_parcel *const *changes, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (changes[i]->key == NULL)
			return false;
	return true;
}

struct capture_parcel *capture_maker_changes(struct capture_maker *m, const struct capture_place *place,
					     const struct capture_shape *of,
					     const struct capture_parcel *const *changes, size_t count)
{
	struct capture_key_of others[CAPTURE_MAKER_TOGETHER_MOST];
	struct capture_change c = { .op = CAPTURE_OP_SEVERAL, .shape = of, .place = *place, .body = &m->body };
	struct capture_parts p = {
		.tab = changes[0]->tab, .table = changes[0]->table, .place = place, .key = &m->key, .others = others
	};

	capture_text_reset(&m->key);
	if (have_keys(changes, count)) {
		capture_text_put(&m->key, changes[0]->key, changes[0]->key_bytes);
		p.other_count = (uint32_t)count - 1;
	}
	capture_text_reset(&m->body);
	for (size_t i = 0; i < count; i++) {
		capture_text_say(&m->body, i > 0 ? "," : "");
		capture_text_put(&m->body, changes[i]->parcel.payload, CAPTURE_EVENT_HEAD_BYTES);
		capture_text_put(&m->body, changes[i]->part, changes[i]->part_bytes);
		capture_text_char(&m->body, '}');
		if (i > 0)
			others[i - 1] = (struct capture_key_of){ changes[i]->key, changes[i]->key_bytes };
	}
	return m->body.failed ? NULL : capture_maker_make(m, &c, &p);
}

bool capture_maker_may_be_refused(const struct capture_parcel *p)
{
	return p->defect != REASON_NONE || p->parcel.wire_bytes > CAPTURE_MAKER_NEVER_REFUSED_BYTES;
}

struct capture_parcel *capture_maker_end(struct capture_maker *m, const struct capture_place *place)
{
	struct capture_shape nameless = { .schema = "boxhaul", .table = "transaction" };
	struct capture_change c = { .op = CAPTURE_OP_END, .shape = &nameless, .place = *place };
	struct capture_parts p = { .tab = "", .table = CAPTURE_NO_TABLE, .place = place };

	return capture_maker_make(m, &c, &p);
}

/* --- messages of others --- */

static struct capture_parcel *make_written(const char *tab, const struct capture_place *place, enum reason defect,
					   const struct capture_message *message)
{
	struct capture_parts p = {
		.tab = tab, .table = CAPTURE_NO_TABLE, .place = place, .defect = defect, .written = true
	};

	return capture_pack(message, &p);
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
	struct capture_parts p = { .tab = "", .table = CAPTURE_NO_TABLE, .place = place };

	memcpy(token, message->message.content, TOKEN_CHARACTERS);
	return capture_maker_make(m, &c, &p);
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

/* --- what the core wants to know --- */

bool capture_maker_puts_together(const struct config_capture *c)
{
	return c->format == CAPTURE_FORMAT_TEXT && c->order == CONFIG_ORDER_COMMIT && c->target != CAPTURE_TARGET_KV;
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

struct capture_event capture_maker_event_of(const struct capture_parcel *p, enum capture_change_kind kind,
					    uint32_t index)
{
	struct capture_event event = { .kind = CAPTURE_EVENT_CHANGE };

	event.change.kind = kind;
	event.change.index = index;
	event.change.table = kind == CAPTURE_CHANGE_OTHER ? CAPTURE_NO_TABLE : p->table;
	event.change.row = capture_maker_row_of(p);
	event.change.others = p->others;
	event.change.other_count = p->other_count;
	event.change.repair_key = p->repair_key;
	event.change.repair_key_bytes = p->repair_key_bytes;
	event.change.moves_whole = p->moves_whole;
	event.change.read_instead = p->read_instead;
	return event;
}
