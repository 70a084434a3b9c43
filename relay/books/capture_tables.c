#include "books/capture_tables.h"

#include <string.h>

size_t capture_tables_count(const struct config_capture *c)
{
	return c->table_count + c->inserts_only_count;
}

const char *capture_tables_name(const struct config_capture *c, size_t table)
{
	return table < c->table_count ? c->tables[table] : c->inserts_only[table - c->table_count];
}

const char *capture_tables_snapshot(const struct config_capture *c, size_t table)
{
	if (table < c->table_count)
		return c->snapshot != CONFIG_SNAPSHOT_NONE ? "keys" : "none";
	return c->snapshot == CONFIG_SNAPSHOT_WHOLE ? "whole" : "none";
}

const char *capture_tables_plan(const struct config_capture *c)
{
	static const char *const snapshots[] = {
		[CONFIG_SNAPSHOT_KEYS] = "keys",
		[CONFIG_SNAPSHOT_WHOLE] = "whole",
		[CONFIG_SNAPSHOT_NONE] = "none",
	};

	return snapshots[c->snapshot];
}

static const char *const words[] = {
	[CAPTURE_TABLE_WAITING] = "waiting",   [CAPTURE_TABLE_READING] = "reading", [CAPTURE_TABLE_READ] = "read",
	[CAPTURE_TABLE_COMPLETE] = "complete", [CAPTURE_TABLE_REFUSED] = "refused",
};

const char *capture_tables_word(enum capture_table_state state)
{
	return words[state];
}

bool capture_tables_state_of(const char *word, enum capture_table_state *state)
{
	if (strcmp(word, "unproved") == 0)
		word = words[CAPTURE_TABLE_COMPLETE];
	for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
		if (strcmp(word, words[i]) == 0) {
			*state = (enum capture_table_state)i;
			return true;
		}
	return false;
}
