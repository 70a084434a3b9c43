/* NATS, blocking, for commands that are not the daemon. */
#ifndef BOXHAUL_EDGE_NATSIO_SESSION_H
#define BOXHAUL_EDGE_NATSIO_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "edge/natsio_options.h"

struct natsio_session;

struct natsio_stream_info {
	bool exists, no_ack, sealed, mirror, discard_new, file_storage;
	int retention; /* 0 limits, 1 interest, 2 work queue */
	int64_t max_msg_size, max_bytes, max_messages, duplicate_window_ms, messages, replicas;
	char **subjects;
	size_t subject_count;
};

struct natsio_session *natsio_session_open(const struct natsio_options *options, char *error, size_t error_size);
void natsio_session_close(struct natsio_session *s);
int64_t natsio_session_max_payload(const struct natsio_session *s);
/* False with a text when the question could not be asked; a missing stream is exists = false. Free with the other. */
bool natsio_session_stream(struct natsio_session *s, const char *name, struct natsio_stream_info *info, char *error,
			   size_t size);
/* May this login ask the stream for a message it stores ($JS.API.STREAM.MSG.GET)? */
bool natsio_session_may_read(struct natsio_session *s, const char *name);
void natsio_stream_info_free(struct natsio_stream_info *info);

/* --- questions whose answers come later, in any order; the token tells which is which --- */

struct natsio_answer {
	uint64_t token;
	bool no_responders; /* nobody listens on the subject */
	const char *data;   /* not terminated; the session's, until the next call */
	size_t bytes;
};

/* How many may wait for their answers is the caller's business. False: the connection is gone. */
bool natsio_session_ask(struct natsio_session *s, const char *subject, const char *body, uint64_t token);
/* The next answer; false: none came in time, or the connection is gone. */
bool natsio_session_answer(struct natsio_session *s, int64_t timeout_ms, struct natsio_answer *answer);

#endif
