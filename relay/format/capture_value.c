/* Values as JSON. Type oids: PostgreSQL's src/include/catalog/pg_type.dat; they never change. */
#include "format/capture_value.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "base/utf8.h"

enum kind { TEXT, BOOLEAN, INTEGER, INT8, REAL, TIMESTAMP, TIMESTAMPTZ, BYTEA, JSON };

/* In the order of their oids. */
static const struct known {
	uint32_t oid, array; /* 0: its arrays are texts */
	enum kind kind;
	const char *typname; /* in the catalogue; of the array with a _ before it */
	const char *name;
} known[] = {
	{ 16, 1000, BOOLEAN, "bool", "boolean" },
	{ 17, 1001, BYTEA, "bytea", "bytea" },
	{ 18, 1002, TEXT, "char", "\"char\"" },
	{ 19, 1003, TEXT, "name", "name" },
	{ 20, 1016, INT8, "int8", "bigint" },
	{ 21, 1005, INTEGER, "int2", "smallint" },
	{ 23, 1007, INTEGER, "int4", "integer" },
	{ 25, 1009, TEXT, "text", "text" },
	{ 26, 1028, TEXT, "oid", "oid" },
	{ 114, 199, JSON, "json", "json" },
	{ 142, 143, TEXT, "xml", "xml" },
	{ 600, 1017, TEXT, "point", "point" },
	{ 603, 0, TEXT, "box", "box" }, /* the only type whose arrays have another delimiter */
	{ 650, 651, TEXT, "cidr", "cidr" },
	{ 700, 1021, REAL, "float4", "real" },
	{ 701, 1022, REAL, "float8", "double precision" },
	{ 774, 775, TEXT, "macaddr8", "macaddr8" },
	{ 790, 791, TEXT, "money", "money" },
	{ 829, 1040, TEXT, "macaddr", "macaddr" },
	{ 869, 1041, TEXT, "inet", "inet" },
	{ 1042, 1014, TEXT, "bpchar", "character" },
	{ 1043, 1015, TEXT, "varchar", "character varying" },
	{ 1082, 1182, TEXT, "date", "date" },
	{ 1083, 1183, TEXT, "time", "time without time zone" },
	{ 1114, 1115, TIMESTAMP, "timestamp", "timestamp without time zone" },
	{ 1184, 1185, TIMESTAMPTZ, "timestamptz", "timestamp with time zone" },
	{ 1186, 1187, TEXT, "interval", "interval" },
	{ 1266, 1270, TEXT, "timetz", "time with time zone" },
	{ 1560, 1561, TEXT, "bit", "bit" },
	{ 1562, 1563, TEXT, "varbit", "bit varying" },
	{ 1700, 1231, TEXT, "numeric", "numeric" },
	{ 2950, 2951, TEXT, "uuid", "uuid" },
	{ 3220, 3221, TEXT, "pg_lsn", "pg_lsn" },
	{ 3614, 3643, TEXT, "tsvector", "tsvector" },
	{ 3615, 3645, TEXT, "tsquery", "tsquery" },
	{ 3802, 3807, JSON, "jsonb", "jsonb" },
	{ 3904, 3905, TEXT, "int4range", "int4range" },
	{ 3906, 3907, TEXT, "numrange", "numrange" },
	{ 3908, 3909, TEXT, "tsrange", "tsrange" },
	{ 3910, 3911, TEXT, "tstzrange", "tstzrange" },
	{ 3912, 3913, TEXT, "daterange", "daterange" },
	{ 3926, 3927, TEXT, "int8range", "int8range" },
	{ 4072, 4073, TEXT, "jsonpath", "jsonpath" },
};

enum { KNOWN = sizeof known / sizeof known[0], SOME_TEXT = 25 };

static int compare(const void *oid, const void *k)
{
	uint32_t a = *(const uint32_t *)oid, b = ((const struct known *)k)->oid;

	return a < b ? -1 : a > b;
}

static const struct known *find(uint32_t oid)
{
	return bsearch(&oid, known, KNOWN, sizeof known[0], compare);
}

static const struct known *find_array(uint32_t oid)
{
	for (size_t i = 0; oid != 0 && i < KNOWN; i++)
		if (known[i].array == oid)
			return &known[i];
	return NULL;
}

const char *capture_value_type_name(uint32_t oid)
{
	const struct known *k = find(oid);

	return k != NULL ? k->name : NULL;
}

static const struct known *find_name(const char *typname)
{
	for (size_t i = 0; i < KNOWN; i++)
		if (strcmp(known[i].typname, typname) == 0)
			return &known[i];
	return NULL;
}

struct capture_type capture_value_type(uint32_t oid, const char *schema, const char *name)
{
	bool built_in = schema[0] == '\0' || strcmp(schema, "pg_catalog") == 0;
	const struct known *scalar = built_in ? find_name(name) : NULL,
			   *element = built_in && name[0] == '_' ? find_name(name + 1) : NULL;

	if (scalar != NULL)
		return (struct capture_type){ .oid = oid, .base = scalar->oid };
	if (element != NULL && element->array != 0)
		return (struct capture_type){ .oid = oid, .base = element->array };
	return (struct capture_type){ .oid = oid, .element = !built_in && name[0] == '_' ? SOME_TEXT : 0 };
}

static enum kind kind_of(uint32_t oid)
{
	const struct known *k = find(oid);

	return k != NULL ? k->kind : TEXT;
}

/* --- numbers --- */

static const char *skip_digits(const char *s, const char *end)
{
	while (s < end && *s >= '0' && *s <= '9')
		s++;
	return s;
}

/* As JSON has numbers. PostgreSQL writes them so, but for those that are none. */
static bool is_number(const char *s, size_t n)
{
	const char *end = s + n, *from = s < end && *s == '-' ? s + 1 : s, *at = skip_digits(from, end);

	if (at == from || (*from == '0' && at - from > 1))
		return false;
	if (at < end && *at == '.') {
		from = at + 1;
		at = skip_digits(from, end);
		if (at == from)
			return false;
	}
	if (at < end && (*at == 'e' || *at == 'E')) {
		from = at + 1;
		from += from < end && (*from == '+' || *from == '-');
		at = skip_digits(from, end);
		if (at == from)
			return false;
	}
	return at == end;
}

static bool is_integer(const char *s, size_t n)
{
	return is_number(s, n) && memchr(s, '.', n) == NULL && memchr(s, 'e', n) == NULL && memchr(s, 'E', n) == NULL;
}

static bool says(const char *text, size_t bytes, const char *word)
{
	return strlen(word) == bytes && memcmp(text, word, bytes) == 0;
}

static bool put_real(struct capture_text *out, const char *text, size_t bytes)
{
	if (is_number(text, bytes)) {
		capture_text_put(out, text, bytes);
		return true;
	}
	return (says(text, bytes, "NaN") || says(text, bytes, "Infinity") || says(text, bytes, "-Infinity")) &&
	       capture_text_json(out, text, bytes);
}

static bool put_integer(struct capture_text *out, const char *text, size_t bytes, bool quoted)
{
	if (!is_integer(text, bytes))
		return false;
	if (quoted)
		return capture_text_json(out, text, bytes);
	capture_text_put(out, text, bytes);
	return true;
}

static bool put_boolean(struct capture_text *out, const char *text, size_t bytes)
{
	if (bytes != 1 || (text[0] != 't' && text[0] != 'f'))
		return false;
	capture_text_say(out, text[0] == 't' ? "true" : "false");
	return true;
}

/* --- others --- */

/* A day, a blank and a time of day: nothing else, so nothing to be escaped. */
static bool is_time(const char *text, size_t bytes, size_t *day)
{
	const char *blank = memchr(text, ' ', bytes);

	*day = blank != NULL ? (size_t)(blank - text) : 0;
	for (size_t i = 0; blank != NULL && i < bytes; i++)
		if (i != *day && (text[i] < '0' || text[i] > '9') && text[i] != '-' && text[i] != ':' && text[i] != '.')
			return false;
	return blank != NULL;
}

/* "2026-01-02 03:04:05.678+00": the blank becomes a T, and the offset of UTC a Z. What is no such time ("infinity"), or has more to say (" BC"), stays as it
 * is. */
static bool put_time(struct capture_text *out, const char *text, size_t bytes, bool zone)
{
	size_t n = zone && bytes > 3 && memcmp(text + bytes - 3, "+00", 3) == 0 ? bytes - 3 : bytes, day;

	if ((zone && n == bytes) || !is_time(text, n, &day))
		return capture_text_json(out, text, bytes);
	capture_text_char(out, '"');
	capture_text_put(out, text, day);
	capture_text_char(out, 'T');
	capture_text_put(out, text + day + 1, n - day - 1);
	capture_text_say(out, zone ? "Z\"" : "\"");
	return true;
}

bool capture_value_unhex(struct capture_text *out, const char *text, size_t bytes)
{
	if (bytes < 2 || bytes % 2 != 0 || text[0] != '\\' || text[1] != 'x')
		return false;
	for (size_t i = 2; i < bytes; i += 2) {
		int high = hex_digit(text[i]), low = hex_digit(text[i + 1]);

		if (high < 0 || low < 0)
			return false;
		capture_text_char(out, (char)(high << 4 | low));
	}
	return true;
}

/* Three bytes, four digits at a time: a large value is not held twice. */
static bool put_bytea(struct capture_text *out, const char *text, size_t bytes)
{
	unsigned char three[3];
	size_t n = 0;

	if (bytes < 2 || bytes % 2 != 0 || text[0] != '\\' || text[1] != 'x')
		return false;
	capture_text_char(out, '"');
	for (size_t i = 2; i < bytes; i += 2) {
		int high = hex_digit(text[i]), low = hex_digit(text[i + 1]);

		if (high < 0 || low < 0)
			return false;
		three[n++] = (unsigned char)(high << 4 | low);
		if (n < sizeof three && i + 2 < bytes)
			continue;
		capture_text_base64(out, three, n);
		n = 0;
	}
	capture_text_char(out, '"');
	return true;
}

/* What stands in a json or jsonb was checked when it was stored. */
static bool put_embedded(struct capture_text *out, const char *text, size_t bytes)
{
	if (bytes == 0 || !utf8_valid(text, bytes))
		return false;
	capture_text_put(out, text, bytes);
	return true;
}

static bool put_one(struct capture_text *out, enum kind kind, enum capture_int8 int8, const char *text, size_t bytes)
{
	switch (kind) {
	case BOOLEAN: return put_boolean(out, text, bytes);
	case INTEGER: return put_integer(out, text, bytes, false);
	case INT8: return put_integer(out, text, bytes, int8 == CAPTURE_INT8_STRING);
	case REAL: return put_real(out, text, bytes);
	case TIMESTAMP: return put_time(out, text, bytes, false);
	case TIMESTAMPTZ: return put_time(out, text, bytes, true);
	case BYTEA: return put_bytea(out, text, bytes);
	case JSON: return put_embedded(out, text, bytes);
	case TEXT: break;
	}
	return capture_text_json(out, text, bytes);
}

/* --- arrays --- */

/* array_out's text: [lower:upper]...={element,{...},"quo\"ted",NULL}. Braces nest at most MAXDIM deep. */
enum { MAXDIM = 6 };

struct array {
	const char *at, *end;
	enum kind kind;
	enum capture_int8 int8;
	struct capture_text piece; /* an element without its quotes */
};

/* An element, in quotes or not, with its escapes taken off. False: it never ends. */
static bool take_element(struct array *a, bool *quoted)
{
	*quoted = a->at < a->end && *a->at == '"';
	a->piece.count = 0;
	a->at += *quoted;
	while (a->at < a->end &&
	       (*quoted ? *a->at != '"' : *a->at != ',' && *a->at != '}' && *a->at != '{' && *a->at != '"')) {
		if (*a->at == '\\' && ++a->at == a->end)
			return false;
		capture_text_char(&a->piece, *a->at++);
	}
	if (a->at == a->end)
		return false;
	a->at += *quoted;
	return true;
}

static bool put_element(struct capture_text *out, struct array *a)
{
	const char *piece;
	bool quoted;

	if (!take_element(a, &quoted))
		return false;
	piece = a->piece.count > 0 ? a->piece.bytes : "";
	if (!quoted && says(piece, a->piece.count, "NULL")) {
		capture_text_say(out, "null");
		return true;
	}
	return (quoted || a->piece.count > 0) && put_one(out, a->kind, a->int8, piece, a->piece.count);
}

/* One dimension and what is in it: what stands between two braces. */
static bool put_elements(struct capture_text *out, struct array *a)
{
	unsigned depth = 0;
	bool first = true; /* nothing stands before it between these braces */

	do {
		if (a->at == a->end)
			return false;
		if (*a->at == '}' && depth > 0) {
			capture_text_char(out, ']');
			a->at++;
			depth--;
			first = false;
			continue;
		}
		if (!first) {
			if (*a->at++ != ',' || a->at == a->end || *a->at == '}')
				return false;
			capture_text_char(out, ',');
		}
		first = *a->at == '{';
		if (first) {
			if (depth++ == MAXDIM)
				return false;
			capture_text_char(out, '[');
			a->at++;
		} else if (depth == 0 || !put_element(out, a)) {
			return false;
		}
	} while (depth > 0);
	return a->at == a->end;
}

static bool put_array(struct capture_text *out, enum kind kind, enum capture_int8 int8, const char *text, size_t bytes)
{
	struct array a = { .at = text, .end = text + bytes, .kind = kind, .int8 = int8 };
	const char *bounds = bytes > 0 && text[0] == '[' ? memchr(text, '=', bytes) : NULL;
	bool ok;

	if (bounds != NULL)
		a.at = bounds + 1;
	ok = put_elements(out, &a);
	out->failed |= a.piece.failed;
	capture_text_free(&a.piece);
	return ok;
}

/* --- any --- */

static void put_hex(struct capture_text *out, const char *text, size_t bytes)
{
	capture_text_say(out, "\"\\\\x");
	for (size_t i = 0; i < bytes; i++) {
		char two[2];

		hex_write(two, (const unsigned char *)text + i, 1);
		capture_text_put(out, two, sizeof two);
	}
	capture_text_char(out, '"');
}

enum reason capture_value_write(struct capture_text *out, const struct capture_type *type, enum capture_int8 int8,
				const char *text, size_t bytes)
{
	uint32_t oid = type->base != 0 ? type->base : type->oid;
	const struct known *scalar = find(oid), *array = scalar == NULL ? find_array(oid) : NULL;
	size_t before = out->count;
	bool ok;

	if (array != NULL)
		ok = put_array(out, array->kind, int8, text, bytes);
	else if (type->element != 0 && put_array(out, kind_of(type->element), int8, text, bytes))
		ok = true;
	else {
		out->count = before; /* of what was taken for an array of somebody's, and is none */
		ok = put_one(out, scalar != NULL ? scalar->kind : TEXT, int8, text, bytes);
	}
	if (ok)
		return REASON_NONE;
	out->count = before;
	put_hex(out, text, bytes);
	return DEFECT_COLUMN;
}
