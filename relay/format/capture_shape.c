#include "format/capture_shape.h"

#include <stdlib.h>
#include <string.h>

#include <jansson.h>

static int compare_names(const void *a, const void *b, void *arg)
{
	const struct capture_shape *s = arg;
	const char *one = s->columns[*(const uint16_t *)a].name, *other = s->columns[*(const uint16_t *)b].name;
	size_t n = strlen(one), m = strlen(other);

	return n != m ? (n > m) - (n < m) : memcmp(one, other, n);
}

uint16_t *capture_shape_members(const struct capture_shape *s)
{
	struct capture_shape copy = *s; /* qsort_r() takes no const */
	uint16_t *members = calloc(s->count + 1, sizeof *members);

	if (members == NULL)
		return NULL;
	for (size_t i = 0; i < s->count; i++)
		members[i] = (uint16_t)i;
	qsort_r(members, s->count, sizeof *members, compare_names, &copy);
	return members;
}

static void put_number(struct capture_text *out, const char *name, int64_t n)
{
	capture_text_say(out, name);
	if (n < 0)
		capture_text_char(out, '-');
	capture_text_number(out, n < 0 ? (uint64_t)-n : (uint64_t)n);
}

void capture_shape_write(struct capture_text *out, const struct capture_shape *s)
{
	capture_text_char(out, '[');
	for (size_t i = 0; i < s->count; i++) {
		const struct capture_column *c = &s->columns[i];

		capture_text_say(out, i > 0 ? ",{\"name\":" : "{\"name\":");
		capture_text_json_lossy(out, c->name, strlen(c->name));
		put_number(out, ",\"type\":", c->type.oid);
		put_number(out, ",\"typmod\":", c->typmod);
		if (c->key > 0)
			put_number(out, ",\"key\":", c->key);
		if (c->type_name != NULL) {
			capture_text_say(out, ",\"is\":");
			capture_text_json_lossy(out, c->type_name, strlen(c->type_name));
		}
		capture_text_char(out, '}');
	}
	capture_text_char(out, ']');
}

/* The member of this name in the array of columns; NULL: there is none. */
static json_t *find_column(json_t *columns, const char *name)
{
	json_t *column;
	size_t i;

	json_array_foreach (columns, i, column) {
		const char *other = json_string_value(json_object_get(column, "name"));

		if (other != NULL && strcmp(other, name) == 0)
			return column;
	}
	return NULL;
}

static bool same_column(json_t *columns, const struct capture_column *c)
{
	json_t *said = find_column(columns, c->name);

	return said != NULL && json_integer_value(json_object_get(said, "type")) == (json_int_t)c->type.oid &&
	       json_integer_value(json_object_get(said, "typmod")) == c->typmod;
}

bool capture_shape_same(const struct capture_shape *s, const char *columns, size_t bytes)
{
	json_t *said = columns != NULL ? json_loadb(columns, bytes, 0, NULL) : NULL;
	bool same = json_is_array(said) && json_array_size(said) == s->count;

	for (size_t i = 0; same && i < s->count; i++)
		same = same_column(said, &s->columns[i]);
	json_decref(said);
	return same;
}

size_t capture_shape_key(const struct capture_shape *s, uint16_t part)
{
	for (size_t i = 0; i < s->count; i++)
		if (s->columns[i].key == part)
			return i;
	return s->count;
}
