/* Is each configured stream there, and does it take our messages? Asks the server, and creates a stream that is missing where the
 * configuration says so. It changes nothing else: what is found is logged, and shown beside the reason for which a stream takes
 * nothing. */
#ifndef BOXHAUL_FLOW_STREAM_SETUP_H
#define BOXHAUL_FLOW_STREAM_SETUP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/log.h"
#include "books/reasons.h"
#include "config/config.h"
#include "core/vocabulary.h"
#include "edge/natsio.h"

struct stream_setup;

/* Everything is borrowed. What the server says when it refuses is kept in `reasons`. NULL when out of memory. */
struct stream_setup *stream_setup_create(const struct config *config, struct natsio *nats, struct reasons *reasons,
					 struct log *log);
/* NULL is allowed. */
void stream_setup_free(struct stream_setup *s);

/* Asks the server about a stream; the answer comes by stream_setup_reply(). */
void stream_setup_ask(struct stream_setup *s, uint16_t stream);

/* Takes a reply; false when it is none to stream_setup_ask(). */
bool stream_setup_reply(struct stream_setup *s, const struct natsio_reply *reply);

/* A publish that was meant for this stream is stored in another one. */
void stream_setup_stored_elsewhere(struct stream_setup *s, uint16_t stream);
/* The stream itself has stored one. */
void stream_setup_stored(struct stream_setup *s, uint16_t stream);
/* Whether what is published now is sure to be stored in another stream: then it is not to be sent. */
bool stream_setup_is_elsewhere(const struct stream_setup *s, uint16_t stream);

/* The connection is gone: nothing is known of the wires any more. */
void stream_setup_down(struct stream_setup *s);
/* By which wire a stream can be sent to on this connection, by the last answer. Batches only when their answers are heard. */
enum wire_reason stream_setup_wire(struct stream_setup *s, uint16_t stream);

/* Of a message, headers and payload, by the last answer; 0: any, or not known. */
uint64_t stream_setup_most_bytes(const struct stream_setup *s, uint16_t stream);
/* Whether the server has answered since stream_setup_create(), with that or with an error. */
bool stream_setup_is_told(const struct stream_setup *s, uint16_t stream);

/* What is wrong with a stream, by the server's last answer, and what to do; "" = nothing known. */
const char *stream_setup_detail(const struct stream_setup *s, uint16_t stream);

/* The same, to stand behind the text of a reason: without the server's words where they are those of the reason. */
const char *stream_setup_advice(const struct stream_setup *s, uint16_t stream, uint32_t reason);

#endif
