/* NATS, blocking, for commands that are not the daemon. */
#ifndef BOXHAUL_EDGE_NATSIO_SESSION_H
#define BOXHAUL_EDGE_NATSIO_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "edge/natsio_options.h"

struct natsio_session;

/* NULL after writing why to `error`. Blocks, as everything here does. */
struct natsio_session *natsio_session_open(const struct natsio_options *options, char *error, size_t error_size);
/* NULL is allowed. */
void natsio_session_close(struct natsio_session *s);

/* What the server takes at the most, headers included. */
int64_t natsio_session_max_payload(const struct natsio_session *s);
/* How many addresses of servers are known: those of the options and those that the server names of its cluster. A server may keep
 * some to itself, and may have several. */
int natsio_session_servers(const struct natsio_session *s);

/* --- requests whose answers come later, in any order; the token tells which is which --- */

struct natsio_answer {
	uint64_t token;     /* the request's; 0 with no_responders: the library does not say which one it was */
	bool no_responders; /* nobody listens on the subject */
	const char *data;   /* not terminated; the session's, until the next call */
	size_t bytes;
};

/* A token that no request of this session had before. */
uint64_t natsio_session_token(struct natsio_session *s);
/* Sends a request. How many may wait for their answers is the caller's business. False: the connection is gone. */
bool natsio_session_ask(struct natsio_session *s, const char *subject, const char *body, uint64_t token);
/* The next answer; false: none came in time, or the connection is gone. */
bool natsio_session_answer(struct natsio_session *s, int64_t timeout_ms, struct natsio_answer *answer);

#endif
