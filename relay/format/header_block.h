/* The header block of a NATS message, from its bytes: "NATS/1.0", a line "name: value" for each header, an empty line.
 *
 * nats-server stores whatever a publisher calls headers. libnats before 3.11.0 takes the next line for the value of a header
 * that has none, and finds nothing in a block whose last one has none: two messages with an empty Nats-Msg-Id would be one. */
#ifndef BOXHAUL_FORMAT_HEADER_BLOCK_H
#define BOXHAUL_FORMAT_HEADER_BLOCK_H

#include <stdbool.h>
#include <stddef.h>

struct header {
	const char *name;
	char *value;  /* both without the blanks around them */
	size_t order; /* in the block */
};

/* Sorted by name; those of one name are in the order in which they stood. */
struct header_block {
	struct header *header; /* owned; its texts are the block's */
	size_t count, room;
	const char *
		trouble; /* why they are no headers, in words behind "its headers: "; NULL: they are. Those before it are there */
};

/* Reads a block and changes it: texts end where they stand. It may have been changed in the same way before. Lines that begin with
 * a blank go on with the value before. block[bytes] must be writable. False: out of memory. */
bool header_block_read(struct header_block *h, char *block, size_t bytes);
void header_block_free(struct header_block *h);

/* The first value of a name, as it is for the server: upper and lower case are different. NULL: it is not there. */
const char *header_block_value(const struct header_block *h, const char *name);

/* How many have the name of the one at `first`, which is the first of them. */
size_t header_block_same(const struct header_block *h, size_t first);

#endif
