/* Walking through what a stream stores, sequence by sequence. STREAM.MSG.GET, as the relay uses it: it needs no permission that
 * the relay does not have, disturbs no consumer and works on a work queue. */
#ifndef BOXHAUL_COMMAND_WALK_H
#define BOXHAUL_COMMAND_WALK_H

#include <stdbool.h>
#include <stdint.h>

#include "edge/natsio_session.h"
#include "stored.h"

struct walk {
	struct natsio_session *session;
	const char *stream;
	int64_t patience_ms; /* for one answer */
	/* For walk_range(). A message; false: enough. */
	bool (*stored)(void *arg, const struct stored_message *m);
	void *arg;
};

/* False: nobody answers, or with an error, which is in `s` then. */
bool walk_info(const struct walk *w, struct stored_stream *s);

/* The first message of a subject from a sequence on. STORED_ERROR without an error in `m`: nobody answers. */
enum stored_verdict walk_next(const struct walk *w, uint64_t from, const char *subject, struct stored_message *m);

/* The first sequence whose message was stored at that time or later, from .. to; to + 1 if there is none. False: as above. */
bool walk_to_time(const struct walk *w, uint64_t from, uint64_t to, int64_t time_s, uint64_t *at);

/* Calls stored() for each of from .. to, about in this order. False: not all of them could be asked for. */
bool walk_range(const struct walk *w, uint64_t from, uint64_t to);

#endif
