/* Arrays for PostgreSQL, in its binary format: one parameter for a whole batch. */
#ifndef BOXHAUL_BOOKS_ARRAYS_H
#define BOXHAUL_BOOKS_ARRAYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All zero: empty. Its memory is kept from one array to the next, until array_free(). */
struct array {
	char *bytes;
	size_t size, capacity;
	uint32_t count, nulls;
	bool failed; /* out of memory */
};

/* What the elements are; PostgreSQL's numbers for its own types. */
enum array_type { ARRAY_BYTEA = 17, ARRAY_INT8 = 20, ARRAY_TEXT = 25, ARRAY_JSONB = 3802 };

void array_begin(struct array *a, enum array_type type);
void array_add_int8(struct array *a, int64_t value);
/* bytea, text (without a terminator) */
void array_add_bytes(struct array *a, const void *bytes, size_t size);
/* NULL: SQL NULL */
void array_add_text(struct array *a, const char *text);
void array_add_jsonb(struct array *a, const char *text);

/* The parameter, which borrows from it, for pg_send_binary(); SQL NULL where there is nothing but NULLs and `or_null`. False: it is not
 * whole. */
bool array_end(struct array *a, bool or_null, const char **parameter, int *bytes);

void array_free(struct array *a);

/* Reads an int8[] without NULLs that the server sent, of at most `most` elements. Returns how many; SIZE_MAX: it is none. */
size_t array_read_int8(const char *bytes, size_t size, int64_t *values, size_t most);

/* "{1,2,3}": an int8[] as the text of a parameter. The numbers stand `step` apart. To be freed; NULL: out of memory. */
char *array_of_int8(const int64_t *first, size_t count, size_t step);

#endif
