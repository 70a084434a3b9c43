/* The id of a change, and its place. A commit's LSN alone is none: behind a promotion that lost the end of the log the same LSNs come again, with other
 * changes; the time of the commit tells them apart. All that an id is made of is known when the transaction begins, and the same whenever it is sent again.
 *
 * An id is a uuid of version 8: the first 122 bits of a SHA-256 (RFC 9562, 5.8). */
#ifndef BOXHAUL_FORMAT_CAPTURE_IDENTITY_H
#define BOXHAUL_FORMAT_CAPTURE_IDENTITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/hex.h"

/* Where a change stands in the log of a server. */
struct capture_place {
	uint64_t system;     /* the system identifier */
	uint64_t commit_lsn; /* Begin's final LSN */
	int64_t commit_us;   /* the time of the commit, since 2000-01-01 */
	uint32_t xid;        /* of the top level transaction */
	uint64_t index;      /* in the transaction: of all that the server sends, and of what is put between them */
};

/* What takes digests: { NULL } at first, made when it is needed, and one for one thread. */
struct capture_identity {
	void *context;
};
void capture_identity_free(struct capture_identity *i);

/* False, of both: out of memory. */
bool capture_identity_change(struct capture_identity *i, const struct capture_place *place,
			     char id[static UUID_CHARACTERS + 1]);

/* Of a row that a snapshot brings: of the capture's snapshot of this table (its id), in this reading, with the key in one piece (format/capture_key.h). */
bool capture_identity_row(struct capture_identity *i, uint64_t system, const char *snapshot, const char *schema,
			  const char *table, uint64_t reading, const void *key, size_t key_bytes,
			  char id[static UUID_CHARACTERS + 1]);

/* "0/3B001260.849253375684112.3": LSN, time of the commit, index; and the same without the index. Returns `to`. */
enum { CAPTURE_PLACE_BYTES = 80 };
const char *capture_identity_position(const struct capture_place *place, char to[static CAPTURE_PLACE_BYTES]);
const char *capture_identity_transaction(const struct capture_place *place, char to[static CAPTURE_PLACE_BYTES]);

#endif
