/* Reading a stream by a command, which waits for every answer. STREAM.MSG.GET, as the relay uses it: it needs no permission that
 * the relay does not have, disturbs no consumer and works on a work queue. */
#ifndef BOXHAUL_COMMAND_STREAM_WALK_H
#define BOXHAUL_COMMAND_STREAM_WALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "command/command.h"
#include "edge/natsio_session.h"
#include "format/account_info.h"
#include "format/stored.h"
#include "format/stream_info.h"

/* Everything is borrowed. */
struct stream_walk {
	struct natsio_session *session;
	const char *prefix; /* of JetStream's subjects: nats.jetstream_prefix */
	const char *stream;
	int64_t patience_ms; /* for one answer */
};

enum stream_walk_answer {
	STREAM_WALK_OK,
	STREAM_WALK_ERROR,  /* the server answers with an error: it is in the result */
	STREAM_WALK_NOBODY, /* no JetStream listens */
	STREAM_WALK_SILENCE,
};

/* What the server says of the stream. Free `info` with stream_info_free(), whatever the answer. */
enum stream_walk_answer stream_walk_info(const struct stream_walk *w, struct stream_info *info);

/* How much of JetStream's room the account of this login has used. False: nobody says so. */
bool stream_walk_account(const struct stream_walk *w, struct account_info *info);

/* May this login ask the stream for messages? */
bool stream_walk_is_allowed(const struct stream_walk *w);

/* The first sequence whose message was stored at that time or later, from .. to; to + 1 if there is none. False: not all of it
 * could be asked. */
bool stream_walk_to_time(const struct stream_walk *w, uint64_t from, uint64_t to, int64_t time_s, uint64_t *at);

/* Calls stored() for each message of from .. to, about in this order, until it returns false. False: not all of them could be
 * asked for. */
bool stream_walk_range(const struct stream_walk *w, uint64_t from, uint64_t to,
		       bool (*stored)(void *arg, const struct stored_message *m), void *arg);

/* --- where in its stream is a message? By its subject, one message after the other. --- */

enum stream_walk_end {
	STREAM_WALK_FOUND,
	STREAM_WALK_NOT_THERE, /* everything of the subject above `above` was read */
	STREAM_WALK_NOT_ASKED, /* `why` says why the server could not be asked, or not to the end */
};

struct stream_walk_search {
	const char *stream, *subject, *message_id;
	uint64_t above;
	uint64_t sequence; /* where it was found */
	char why[512];
};

/* Connects as this call's command. Takes a few seconds at most. */
enum stream_walk_end stream_walk_search(const struct call *call, struct stream_walk_search *s);

#endif
