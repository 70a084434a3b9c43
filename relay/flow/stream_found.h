/* Messages that scans have found in the streams, by their ids, and bounded. All zero: none. */
#ifndef BOXHAUL_FLOW_STREAM_FOUND_H
#define BOXHAUL_FLOW_STREAM_FOUND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/limits.h"
#include "format/stored.h"
#include "format/witness.h"

struct stream_found {
	void *tree[LIMIT_STREAMS];
	size_t count_in[LIMIT_STREAMS], count;
	bool overflowed; /* there was no room for one since a stream was forgotten last */
};

/* Keeps m, which has an id. The first copy counts. Without room for it, it may be sent twice: never the other way round. False:
 * there was none. */
bool stream_found_keep(struct stream_found *t, uint16_t stream, const struct stored_message *m);

/* Forgets those of a stream. Of each, before the end: they hold memory. */
void stream_found_forget(struct stream_found *t, size_t stream);

/* The sequence at which this message was found, or 0. It is found once: a second call returns 0. */
uint64_t stream_found_take(struct stream_found *t, uint16_t stream, const char *message_id);

/* The same, and it stays there; where it says from which snapshot it was sent, that is *witness. 0: it says nothing, or was not found. */
uint64_t stream_found_witness(const struct stream_found *t, uint16_t stream, const char *message_id,
			      struct witness *witness);

/* The lowest sequence of one whose transaction committed at from_lsn or beyond it, and where. False: there is none. */
bool stream_found_beyond(const struct stream_found *t, uint16_t stream, uint64_t from_lsn, uint64_t *sequence,
			 uint64_t *lsn);

#endif
