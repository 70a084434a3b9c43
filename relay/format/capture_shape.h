/* What a table looks like: as the Relation that precedes a row in the stream says, or as the catalogue says for a chunk. */
#ifndef BOXHAUL_FORMAT_CAPTURE_SHAPE_H
#define BOXHAUL_FORMAT_CAPTURE_SHAPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "format/capture_text.h"
#include "format/capture_value.h"
#include "format/pgoutput.h"

struct capture_column {
	const char *name; /* UTF-8, terminated */
	struct capture_type type;
	int32_t typmod;
	const char *type_name; /* as format_type() says it; NULL: nobody knows. Only to be shown */
	uint16_t key;          /* its place in the key, from 1 on; 0: it is no part of it */
};

struct capture_shape {
	const char *schema, *table;
	const struct capture_column *columns;
	size_t count;
	uint16_t key_count;      /* columns of the key; 0: there is none */
	const uint16_t *members; /* capture_shape_members(); NULL: nobody has asked */
};

/* The columns in the order in which jsonb keeps the members of an object: shorter names first, and those of one length by their bytes. PostgreSQL sorts the members of
 * each object that it reads; one that is written so is sorted already. To be freed; NULL: out of memory. */
uint16_t *capture_shape_members(const struct capture_shape *s);

/* The columns as the books keep them, a JSON array: [{"name":"id","type":20,"typmod":-1,"key":1,"is":"bigint"}, ...]. ("key" of those of the key, "is" where
 * the name of the type is known.) */
void capture_shape_write(struct capture_text *out, const struct capture_shape *s);

/* Does that array (or NULL: there is none yet) say the same columns, by name, type and typmod? In whatever order: a column is found by its name. */
bool capture_shape_same(const struct capture_shape *s, const char *columns, size_t bytes);

/* The index of the column that is this part of the key, from 1 on; s->count: there is none. */
size_t capture_shape_key(const struct capture_shape *s, uint16_t part);

#endif
