#include "flow/capture_relations.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "core/capture/capture_types.h"
#include "format/signal_row.h"
#include "format/sql_name.h"

/* What the books know of a table. */
struct known {
	struct sql_name name;
	char **key; /* in its own order; NULL: not known */
	unsigned key_count;
	char *told; /* of its columns, as JSON; NULL: nothing */
	char history[UUID_CHARACTERS + 1];
};

struct capture_relations {
	const struct config *config;
	size_t index;
	struct known *tables;
	size_t table_count;
	struct capture_relation **list; /* ascending by oid */
	size_t count;
	uint32_t versions;
	struct capture_type *types; /* that are not built in, as they were described */
	size_t type_count;
};

static const struct config_capture *capture_of(const struct capture_relations *r)
{
	return &r->config->captures[r->index];
}

size_t capture_relations_tables(const struct capture_relations *r)
{
	return r->table_count;
}

const char *capture_relations_name(const struct capture_relations *r, uint32_t table)
{
	const struct config_capture *c = capture_of(r);

	return table < c->table_count ? c->tables[table] : c->inserts_only[table - c->table_count];
}

static void free_key(struct known *k)
{
	for (unsigned i = 0; i < k->key_count; i++)
		free(k->key[i]);
	free(k->key);
	k->key = NULL;
	k->key_count = 0;
}

struct capture_relations *capture_relations_create(const struct config *config, size_t index)
{
	struct capture_relations *r = calloc(1, sizeof *r);
	const struct config_capture *c = &config->captures[index];

	if (r == NULL)
		return NULL;
	r->config = config;
	r->index = index;
	r->table_count = c->table_count + c->inserts_only_count;
	r->tables = calloc(r->table_count + 1, sizeof *r->tables);
	if (r->tables == NULL) {
		free(r);
		return NULL;
	}
	for (uint32_t i = 0; i < r->table_count; i++)
		sql_name_read(capture_relations_name(r, i), &r->tables[i].name);
	return r;
}

static void free_relation(struct capture_relation *x)
{
	if (x == NULL)
		return;
	free(x->members);
	free(x->columns);
	free(x->texts);
	free(x);
}

void capture_relations_forget(struct capture_relations *r)
{
	for (size_t i = 0; i < r->count; i++)
		free_relation(r->list[i]);
	free(r->list);
	free(r->types);
	r->list = NULL;
	r->types = NULL;
	r->count = r->type_count = 0;
}

void capture_relations_free(struct capture_relations *r)
{
	if (r == NULL)
		return;
	capture_relations_forget(r);
	for (size_t i = 0; i < r->table_count; i++) {
		free_key(&r->tables[i]);
		free(r->tables[i].told);
	}
	free(r->tables);
	free(r);
}

/* --- the key --- */

static void forget_key(struct capture_relation *x)
{
	for (size_t i = 0; i < x->shape.count; i++)
		x->columns[i].key = 0;
	x->shape.key_count = 0;
}

static bool put_in_key(struct capture_relation *x, const char *name)
{
	for (size_t i = 0; i < x->shape.count; i++)
		if (strcmp(x->columns[i].name, name) == 0) {
			x->columns[i].key = ++x->shape.key_count;
			return true;
		}
	return false;
}

static bool is_flagged(const struct capture_relation *x, const char *name)
{
	for (size_t i = 0; i < x->shape.count; i++)
		if (strcmp(x->columns[i].name, name) == 0)
			return x->columns[i].key > 0;
	return false;
}

static bool are_flagged(const struct capture_relation *x, const struct known *k)
{
	bool all = k->key_count == x->shape.key_count;

	for (unsigned i = 0; i < k->key_count && all; i++)
		all = is_flagged(x, k->key[i]);
	return all;
}

/* As it was found when rows were read: also with REPLICA IDENTITY FULL, where the stream flags every column. A column of it that is not in the
 * stream: there is no key. Where nobody has looked it is what the stream flags (set in copy_of()). And where the stream flags others, for the key has other columns or
 * names by now, it is what the stream flags: what a change looks like is for the log to say, and must not depend on who reads it when. */
static void find_key(const struct capture_relations *r, struct capture_relation *x)
{
	const struct known *k = x->table != CAPTURE_NO_TABLE ? &r->tables[x->table] : NULL;

	x->other_key = false;
	if (k == NULL || k->key == NULL)
		return;
	x->other_key = x->says_key && !are_flagged(x, k);
	if (x->other_key)
		return;
	forget_key(x);
	for (unsigned i = 0; i < k->key_count; i++)
		if (!put_in_key(x, k->key[i])) {
			forget_key(x);
			return;
		}
}

bool capture_relations_set_key(struct capture_relations *r, uint32_t table, const char *const *names, unsigned count)
{
	struct known *k = &r->tables[table];
	bool ok = true;

	free_key(k);
	k->key = calloc(count + 1, sizeof *k->key);
	if (k->key == NULL)
		return false;
	for (; k->key_count < count && ok; k->key_count += ok)
		ok = (k->key[k->key_count] = strdup(names[k->key_count])) != NULL;
	for (size_t i = 0; i < r->count; i++)
		if (r->list[i]->table == table)
			find_key(r, r->list[i]);
	return ok;
}

bool capture_relations_set_told(struct capture_relations *r, uint32_t table, const char *columns)
{
	struct known *k = &r->tables[table];

	free(k->told);
	k->told = columns != NULL ? strdup(columns) : NULL;
	return k->told != NULL || columns == NULL;
}

static const char *history_of(const struct known *k)
{
	return k->history[0] != '\0' ? k->history : NULL;
}

void capture_relations_set_history(struct capture_relations *r, uint32_t table, const char *history)
{
	struct known *k = &r->tables[table];

	snprintf(k->history, sizeof k->history, "%s", history);
	for (size_t i = 0; i < r->count; i++)
		if (r->list[i]->table == table)
			r->list[i]->history = history_of(k);
}

/* --- which of ours it is --- */

static bool is_named(const struct capture_relation *x, const char *text)
{
	struct sql_name name;

	return sql_name_read(text, &name) && strcmp(name.schema, x->shape.schema) == 0 &&
	       strcmp(name.table, x->shape.table) == 0;
}

static void identify(const struct capture_relations *r, struct capture_relation *x)
{
	const struct config *c = r->config;

	x->table = CAPTURE_NO_TABLE;
	x->outbox = NULL;
	x->history = NULL;
	x->tab = "";
	x->signals = signal_row_is_of(&x->shape);
	if (x->signals)
		return;
	for (uint32_t i = 0; i < r->table_count; i++)
		if (strcmp(r->tables[i].name.schema, x->shape.schema) == 0 &&
		    strcmp(r->tables[i].name.table, x->shape.table) == 0) {
			x->table = i;
			x->tab = capture_relations_name(r, i);
			x->history = history_of(&r->tables[i]);
			return;
		}
	for (size_t i = 0; i < c->outbox_table_count; i++) {
		const struct config_outbox_table *o = &c->outbox_tables[i];

		if (o->source == OUTBOX_SOURCE_WAL && strcmp(o->capture, capture_of(r)->name) == 0 &&
		    is_named(x, o->table)) {
			x->outbox = o;
			x->tab = o->table;
			return;
		}
	}
}

void capture_relations_configure(struct capture_relations *r)
{
	for (size_t i = 0; i < r->count; i++)
		identify(r, r->list[i]);
}

/* --- what is said --- */

/* Where it stands, or would stand. */
static size_t place_of(const struct capture_relations *r, uint32_t oid)
{
	size_t low = 0, high = r->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (r->list[middle]->oid < oid)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct capture_relation *capture_relations_find(struct capture_relations *r, uint32_t oid)
{
	size_t at = place_of(r, oid);

	return at < r->count && r->list[at]->oid == oid ? r->list[at] : NULL;
}

/* A type that is built in says all by its oid. */
static struct capture_type type_of(const struct capture_relations *r, uint32_t oid)
{
	for (size_t i = 0; i < r->type_count; i++)
		if (r->types[i].oid == oid)
			return r->types[i];
	return (struct capture_type){ .oid = oid };
}

static bool take_type(struct capture_relations *r, const struct pgoutput_message *m)
{
	struct capture_type *types = realloc(r->types, (r->type_count + 1) * sizeof *types);

	if (types == NULL)
		return false;
	r->types = types;
	for (size_t i = 0; i < r->type_count; i++)
		if (types[i].oid == m->type.oid) {
			types[i] = capture_value_type(m->type.oid, m->type.schema, m->type.name);
			return true;
		}
	types[r->type_count++] = capture_value_type(m->type.oid, m->type.schema, m->type.name);
	return true;
}

static const char *keep(char **room, const char *text)
{
	char *at = *room;

	*room = (char *)mempcpy(at, text, strlen(text) + 1);
	return at;
}

static size_t bytes_of_names(const struct pgoutput_message *m)
{
	struct pgoutput_list columns = m->relation.columns;
	size_t bytes = strlen(m->relation.schema) + strlen(m->relation.name) + 2;
	struct pgoutput_column c;

	while (pgoutput_next_column(&columns, &c))
		bytes += strlen(c.name) + 1;
	return bytes;
}

static void copy_columns(const struct capture_relations *r, const struct pgoutput_message *m,
			 struct capture_relation *x, char *room)
{
	struct pgoutput_list columns = m->relation.columns;
	struct pgoutput_column c;

	while (pgoutput_next_column(&columns, &c))
		x->columns[x->shape.count++] = (struct capture_column){
			.name = keep(&room, c.name),
			.type = type_of(r, c.type),
			.typmod = c.typmod,
			.type_name = capture_value_type_name(c.type),
			.key = c.is_key && m->relation.identity != 'f' ? ++x->shape.key_count : 0,
		};
}

static struct capture_relation *copy_of(const struct capture_relations *r, const struct pgoutput_message *m)
{
	struct capture_relation *x = calloc(1, sizeof *x);
	char *room;

	if (x == NULL)
		return NULL;
	x->oid = m->relation.oid;
	x->identity = m->relation.identity;
	x->columns = calloc(m->relation.columns.count + 1U, sizeof *x->columns);
	x->texts = room = malloc(bytes_of_names(m));
	if (x->columns == NULL || room == NULL) {
		free_relation(x);
		return NULL;
	}
	x->shape.schema = keep(&room, m->relation.schema);
	x->shape.table = keep(&room, m->relation.name);
	x->shape.columns = x->columns;
	copy_columns(r, m, x, room);
	x->shape.members = x->members = capture_shape_members(&x->shape);
	if (x->members != NULL)
		return x;
	free_relation(x);
	return NULL;
}

static bool is_told(const struct capture_relations *r, const struct capture_relation *x)
{
	const char *told = x->table != CAPTURE_NO_TABLE ? r->tables[x->table].told : NULL;

	return told != NULL && capture_shape_same(&x->shape, told, strlen(told));
}

static bool insert(struct capture_relations *r, size_t at, struct capture_relation *x)
{
	struct capture_relation **list = realloc(r->list, (r->count + 1) * sizeof(struct capture_relation *));

	if (list == NULL)
		return false;
	r->list = list;
	memmove(list + at + 1, list + at, (r->count - at) * sizeof(struct capture_relation *));
	list[at] = x;
	r->count++;
	return true;
}

static bool is_same_column(const struct capture_column *a, const struct capture_column *b)
{
	return strcmp(a->name, b->name) == 0 && a->type.oid == b->type.oid && a->typmod == b->typmod &&
	       a->key == b->key;
}

/* A server says it again whenever it has forgotten that it did. */
static bool is_same(const struct capture_relation *a, const struct capture_relation *b)
{
	if (strcmp(a->shape.schema, b->shape.schema) != 0 || strcmp(a->shape.table, b->shape.table) != 0 ||
	    a->identity != b->identity || a->shape.count != b->shape.count)
		return false;
	for (size_t i = 0; i < a->shape.count; i++)
		if (!is_same_column(&a->columns[i], &b->columns[i]))
			return false;
	return true;
}

static bool take_relation(struct capture_relations *r, const struct pgoutput_message *m)
{
	struct capture_relation *x = copy_of(r, m);
	size_t at = place_of(r, m->relation.oid);

	if (x == NULL)
		return false;
	identify(r, x);
	x->says_key = x->table < capture_of(r)->table_count && x->shape.key_count > 0;
	find_key(r, x);
	x->told = is_told(r, x);
	x->version = ++r->versions;
	if (at < r->count && r->list[at]->oid == x->oid) {
		if (is_same(r->list[at], x))
			x->version = r->list[at]->version;
		free_relation(r->list[at]);
		r->list[at] = x;
		return true;
	}
	if (insert(r, at, x))
		return true;
	free_relation(x);
	return false;
}

bool capture_relations_take(struct capture_relations *r, const struct pgoutput_message *m)
{
	return m->kind == PGOUTPUT_TYPE ? take_type(r, m) : take_relation(r, m);
}
