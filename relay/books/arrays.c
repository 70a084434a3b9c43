/*     dimensions, has NULLs, type of the elements, elements, lower bound;      each 4 bytes, the highest first
 *     then for each element its size (-1: NULL) and its bytes
 *
 * One without elements has no dimension. */
#include "books/arrays.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NUMBER = 4, HEAD = 5 * NUMBER, HEAD_EMPTY = 3 * NUMBER, JSONB_VERSION = 1, FIRST_BYTES = 4096 };

static void write_number(char *at, uint32_t value)
{
	for (int i = 0; i < NUMBER; i++)
		at[i] = (char)(value >> (24 - 8 * i));
}

static uint32_t read_number(const char *at)
{
	uint32_t value = 0;

	for (int i = 0; i < NUMBER; i++)
		value = value << 8 | (unsigned char)at[i];
	return value;
}

/* Where so many bytes more go; NULL: there is no room. */
static char *room(struct array *a, size_t more)
{
	size_t capacity = a->capacity > 0 ? a->capacity : FIRST_BYTES;
	char *bytes;

	while (capacity < a->size + more)
		capacity *= 2;
	if (!a->failed && capacity != a->capacity) {
		bytes = realloc(a->bytes, capacity);
		a->failed = bytes == NULL;
		if (bytes != NULL) {
			a->bytes = bytes;
			a->capacity = capacity;
		}
	}
	if (a->failed)
		return NULL;
	a->size += more;
	return a->bytes + a->size - more;
}

void array_begin(struct array *a, enum array_type type)
{
	char *head;

	a->size = 0;
	a->count = a->nulls = 0;
	a->failed = false;
	head = room(a, HEAD);
	if (head == NULL)
		return;
	memset(head, 0, HEAD);
	write_number(head + (size_t)2 * NUMBER, type);
	write_number(head + (size_t)4 * NUMBER, 1);
}

/* An element of so many bytes; NULL: no room. */
static char *element(struct array *a, size_t size)
{
	char *at = size < INT32_MAX ? room(a, NUMBER + size) : NULL;

	if (at == NULL) {
		a->failed = true;
		return NULL;
	}
	a->count++;
	write_number(at, (uint32_t)size);
	return at + NUMBER;
}

void array_add_int8(struct array *a, int64_t value)
{
	char *at = element(a, 2 * NUMBER);

	if (at == NULL)
		return;
	write_number(at, (uint32_t)((uint64_t)value >> 32));
	write_number(at + NUMBER, (uint32_t)value);
}

void array_add_bytes(struct array *a, const void *bytes, size_t size)
{
	char *at = element(a, size);

	if (at != NULL && size > 0)
		memcpy(at, bytes, size);
}

static void add_null(struct array *a)
{
	char *at = room(a, NUMBER);

	if (at == NULL)
		return;
	write_number(at, UINT32_MAX);
	a->count++;
	a->nulls++;
}

void array_add_text(struct array *a, const char *text)
{
	if (text != NULL)
		array_add_bytes(a, text, strlen(text));
	else
		add_null(a);
}

void array_add_jsonb(struct array *a, const char *text)
{
	size_t size = text != NULL ? strlen(text) : 0;
	char *at;

	if (text == NULL) {
		add_null(a);
		return;
	}
	at = element(a, size + 1);
	if (at == NULL)
		return;
	*at = JSONB_VERSION;
	memcpy(at + 1, text, size); /* NOLINT(bugprone-not-null-terminated-result): its length stands before it */
}

bool array_end(struct array *a, bool or_null, const char **parameter, int *bytes)
{
	if (a->failed)
		return false;
	*parameter = NULL;
	*bytes = 0;
	if (or_null && a->nulls == a->count)
		return true;
	if (a->count == 0)
		a->size = HEAD_EMPTY;
	if (a->size > INT32_MAX)
		return false;
	write_number(a->bytes, a->count > 0);
	write_number(a->bytes + NUMBER, a->nulls > 0);
	if (a->count > 0)
		write_number(a->bytes + (size_t)3 * NUMBER, a->count);
	*parameter = a->bytes;
	*bytes = (int)a->size;
	return true;
}

void array_free(struct array *a)
{
	free(a->bytes);
	*a = (struct array){ .bytes = NULL };
}

size_t array_read_int8(const char *bytes, size_t size, int64_t *values, size_t most)
{
	enum { ELEMENT = 3 * NUMBER };
	size_t count;

	if (size >= HEAD_EMPTY && read_number(bytes) == 0)
		return 0;
	if (size < HEAD || read_number(bytes) != 1 || read_number(bytes + NUMBER) != 0 ||
	    read_number(bytes + (size_t)2 * NUMBER) != ARRAY_INT8)
		return SIZE_MAX;
	count = read_number(bytes + (size_t)3 * NUMBER);
	if (count > most || size != HEAD + count * ELEMENT)
		return SIZE_MAX;
	for (size_t i = 0; i < count; i++) {
		const char *at = bytes + HEAD + i * ELEMENT;

		if (read_number(at) != 2 * NUMBER)
			return SIZE_MAX;
		values[i] = (int64_t)((uint64_t)read_number(at + NUMBER) << 32 | read_number(at + (size_t)2 * NUMBER));
	}
	return count;
}

char *array_of_int8(const int64_t *first, size_t count, size_t step)
{
	char *text = NULL;
	size_t bytes = 0;
	FILE *out = open_memstream(&text, &bytes);

	if (out == NULL)
		return NULL;
	fputc('{', out);
	for (size_t i = 0; i < count; i++)
		fprintf(out, "%s%" PRId64, i > 0 ? "," : "", first[i * step]);
	fputc('}', out);
	if (fclose(out) == 0)
		return text;
	free(text);
	return NULL;
}
