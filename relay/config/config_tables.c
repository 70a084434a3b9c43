#include "config/config_tables.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/sql_name.h"

enum { TABLES_MAX = 1000 };

static const char *const members[] = { "from", "to", "columns", "function" };
enum { FROM, TO, COLUMNS, FUNCTION, MEMBERS };

/* The member of a group; NULL: it has none. */
static config_setting_t *member(config_setting_t *group, size_t which)
{
	return config_setting_get_member(group, members[which]);
}

static bool is_known(const char *name)
{
	for (size_t i = 0; i < MEMBERS; i++)
		if (strcmp(members[i], name) == 0)
			return true;
	return false;
}

/* The text of a member that is one, or NULL. */
static const char *text_of(struct loader *l, const char *path, config_setting_t *group, size_t which)
{
	config_setting_t *node = member(group, which);
	const char *text = node != NULL ? config_setting_get_string(node) : NULL;

	if (node != NULL && text == NULL)
		complaint_at(l, node, "%s.%s is no text: write it in double quotes", path, members[which]);
	return text;
}

/* The name of a table or a function, with its schema; as the catalogue has it in `name`. */
static const char *name_of(struct loader *l, const char *path, config_setting_t *group, size_t which,
			   struct sql_name *name)
{
	const char *text = text_of(l, path, group, which);

	if (text == NULL && which != FUNCTION && member(group, which) == NULL)
		complaint_at(l, group, "this group of %s has no %s: add %s = \"schema.table\";", path, members[which],
			     members[which]);
	if (text != NULL && !sql_name_read(text, name)) {
		complaint_at(l, member(group, which), "%s.%s = \"%s\" is no name with its schema: write \"schema.%s\"",
			     path, members[which], text, which == FUNCTION ? "function" : "table");
		return NULL;
	}
	return text;
}

/* "*", "column" or "theirs=ours". */
static bool is_column(const char *word)
{
	const char *equals = strchr(word, '=');

	if (equals == NULL)
		return word[0] != '\0';
	return equals > word && equals[1] != '\0' && strchr(equals + 1, '=') == NULL && word[0] != '*';
}

static void add_column(struct loader *l, const char *path, config_setting_t *node, json_t *columns)
{
	const char *word = config_setting_get_string(node);

	if (word == NULL || !is_column(word))
		complaint_at(l, node, "%s.columns holds %s%s%s: write \"*\", \"column\" or \"theirs=ours\"", path,
			     word != NULL ? "\"" : "", word != NULL ? word : "what is no text",
			     word != NULL ? "\"" : "");
	else
		json_array_append_new(columns, json_string(word));
}

/* Without any: all of them, under their names; with a function it says which, and the key is what is left. */
static json_t *columns_of(struct loader *l, const char *path, config_setting_t *group, bool function)
{
	config_setting_t *node = member(group, COLUMNS);
	json_t *columns = json_array();

	if (node == NULL && !function)
		json_array_append_new(columns, json_string("*"));
	if (node != NULL && !config_setting_is_aggregate(node))
		complaint_at(l, node, "%s.columns is no list: write [ \"*\", \"theirs=ours\" ]", path);
	for (int i = 0; node != NULL && i < config_setting_length(node); i++)
		add_column(l, path, config_setting_get_elem(node, (unsigned)i), columns);
	return columns;
}

static void complain_unknown(struct loader *l, const char *path, config_setting_t *group)
{
	for (int i = 0; i < config_setting_length(group); i++) {
		config_setting_t *node = config_setting_get_elem(group, (unsigned)i);

		if (!is_known(config_setting_name(node)))
			complaint_at(l, node, "unknown key %s.%s: there are from, to, columns and function", path,
				     config_setting_name(node));
	}
}

/* NULL after a complaint. */
static json_t *read_table(struct loader *l, const char *path, config_setting_t *group)
{
	char source[2 * SQL_NAME_BYTES];
	struct sql_name name = { .schema = "" };
	const char *from, *to, *function;

	if (!config_setting_is_group(group)) {
		complaint_at(l, group,
			     "%s holds what is no group: write { from = \"schema.table\"; to = \"schema.table\"; }",
			     path);
		return NULL;
	}
	complain_unknown(l, path, group);
	from = name_of(l, path, group, FROM, &name);
	snprintf(source, sizeof source, "%s.%s", name.schema, name.table); /* as a capture names it */
	to = name_of(l, path, group, TO, &name);
	function = name_of(l, path, group, FUNCTION, &name);
	if (from == NULL || to == NULL)
		return NULL;
	return json_pack("{s:s, s:s, s:o, s:s}", "from", source, "to", to, "columns",
			 columns_of(l, path, group, function != NULL), "function", function != NULL ? function : "");
}

static bool stands_in(const json_t *list, const json_t *table)
{
	json_t *other;
	size_t i;

	json_array_foreach (list, i, other)
		if (json_equal(json_object_get(other, "from"), json_object_get(table, "from")))
			return true;
	return false;
}

static bool read_target(const json_t *table, struct sql_name *name)
{
	return sql_name_read(json_string_value(json_object_get(table, "to")), name);
}

/* With quotes or without: one table has several names. */
static bool is_target_in(const json_t *list, const json_t *table)
{
	struct sql_name name = { .schema = "" }, others = { .schema = "" };
	json_t *other;
	size_t i;

	json_array_foreach (list, i, other)
		if (read_target(table, &name) && read_target(other, &others) && sql_name_same(&name, &others))
			return true;
	return false;
}

char *config_tables_read(struct loader *l, const char *path, config_setting_t *node)
{
	json_t *list = json_array();
	int n = config_setting_length(node);
	char *text;

	if (n == 0 || n > TABLES_MAX)
		complaint_at(
			l, node,
			n == 0 ? "%s is empty: add { from = \"schema.table\"; to = \"schema.table\"; }, or leave it out"
			       : "%s holds more than 1000 tables: leave some out",
			path);
	for (int i = 0; i < n && n <= TABLES_MAX; i++) {
		config_setting_t *group = config_setting_get_elem(node, (unsigned)i);
		json_t *table = read_table(l, path, group);

		if (table != NULL && stands_in(list, table))
			complaint_at(l, group, "%s: the table %s stands twice: it goes to one table", path,
				     json_string_value(json_object_get(table, "from")));
		/* Whoever reads one of them anew would sweep the rows of the other one. */
		if (table != NULL && is_target_in(list, table))
			complaint_at(l, group, "%s: two tables go to %s: give each a table of its own", path,
				     json_string_value(json_object_get(table, "to")));
		if (table != NULL)
			json_array_append_new(list, table);
	}
	text = json_dumps(list, JSON_COMPACT);
	l->no_memory |= list == NULL || text == NULL;
	json_decref(list);
	return text;
}

/* Each message is applied in the transaction that moves the position, so nothing is known by its id, and nothing waits in a lane. */
void config_tables_derive(struct config *c)
{
	for (size_t i = 0; i < c->inbox_count; i++) {
		struct config_subscription *s = &c->subscriptions[i];

		if (s->tables == NULL)
			continue;
		s->lanes = 1;
		s->key = CONFIG_KEY_NONE;
		s->key_token = 0;
		s->dedupe = INBOX_DEDUPE_POSITION;
	}
}
