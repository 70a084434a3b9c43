/* The key of a row in one piece: what the core of a capture compares byte by byte, and the books keep as an array of texts. Of each column of the
 * key, in the key's own order, its length in four bytes, the highest first, and PostgreSQL's text of it. No column of a key is null. */
#ifndef BOXHAUL_FORMAT_CAPTURE_KEY_H
#define BOXHAUL_FORMAT_CAPTURE_KEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CAPTURE_KEY_COLUMNS = 32 }; /* INDEX_MAX_KEYS */

/* So many bytes has a column of a key. */
static inline size_t capture_key_bytes(size_t text_bytes)
{
	return text_bytes + 4;
}

/* Writes one column; returns what comes behind it. */
char *capture_key_write(char *out, const char *text, size_t bytes);

/* Takes the next column off a key. The text is not terminated. False: there is none. */
bool capture_key_next(const char **key, size_t *key_bytes, const char **text, size_t *bytes);

#endif
