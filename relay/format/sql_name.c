#include "format/sql_name.h"

#include <stddef.h>
#include <string.h>

static bool is_plain(unsigned char c, bool first)
{
	return c == '_' || (c >= 'a' && c <= 'z') || c >= 0x80 || (!first && (c == '$' || (c >= '0' && c <= '9')));
}

/* Behind a part of a name, which is put into `to`; NULL: there is none. */
static const char *read_part(const char *s, char to[static SQL_NAME_BYTES])
{
	bool quoted = *s == '"';
	size_t n = 0;

	s += quoted;
	while (quoted ? *s != '\0' && (*s != '"' || s[1] == '"') : is_plain((unsigned char)*s, n == 0)) {
		if (n + 1 == SQL_NAME_BYTES)
			return NULL;
		s += quoted && *s == '"';
		to[n++] = *s++;
	}
	to[n] = '\0';
	if (n == 0 || (quoted && *s != '"'))
		return NULL;
	return s + quoted;
}

bool sql_name_read(const char *text, struct sql_name *name)
{
	const char *s = read_part(text, name->schema);

	if (s == NULL || *s != '.')
		return false;
	s = read_part(s + 1, name->table);
	return s != NULL && *s == '\0';
}

bool sql_name_same(const struct sql_name *a, const struct sql_name *b)
{
	return strcmp(a->schema, b->schema) == 0 && strcmp(a->table, b->table) == 0;
}
