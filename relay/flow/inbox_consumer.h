/* One subscription's dealings with JetStream: its consumer, its questions, its requests for messages. Knows how things are asked for and
 * what an answer says; that is an event of the inbox's core, which decides what it means.
 *
 * A consumer is never updated and its name never used twice, so whatever names another one is over. */
#ifndef BOXHAUL_FLOW_INBOX_CONSUMER_H
#define BOXHAUL_FLOW_INBOX_CONSUMER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/log.h"
#include "config/config.h"
#include "core/inbox/inbox_types.h"
#include "edge/natsio.h"

struct inbox_consumer;

struct inbox_consumer_handlers {
	void (*event)(void *arg, struct inbox_event *ev);
	/* A message: the event, and it. */
	void (*message)(void *arg, struct inbox_event *ev, const struct natsio_reply *message);
	void *arg;
};

/* `subscription` is an element of the configuration's list, number `index`; it and `config` are borrowed. NULL when out of memory. */
struct inbox_consumer *inbox_consumer_create(const struct config *config, size_t index, struct natsio *nats,
					     struct log *log, const struct inbox_consumer_handlers *handlers);
void inbox_consumer_free(struct inbox_consumer *c);

/* Carry out an effect. What cannot be sent gets no answer: the core has its timers. */
void inbox_consumer_make(struct inbox_consumer *c, uint64_t consumer, uint64_t start);
void inbox_consumer_delete(struct inbox_consumer *c, uint64_t consumer);
void inbox_consumer_info(struct inbox_consumer *c, uint32_t ask);
void inbox_consumer_time(struct inbox_consumer *c, uint32_t ask, uint64_t sequence);
void inbox_consumer_pull(struct inbox_consumer *c, const struct inbox_effect *f);

/* The connection is gone: nothing that was asked is answered any more. */
void inbox_consumer_forget(struct inbox_consumer *c);

/* A reply that may be for this subscription: calls a handler if it is. `index` of whom it is, by inbox_consumer_owner(). */
void inbox_consumer_reply(struct inbox_consumer *c, const struct natsio_reply *reply);

/* Whose reply it is: the index of a subscription, or SIZE_MAX: of none. */
size_t inbox_consumer_owner(const struct natsio_reply *reply);

/* natsio_handlers.order, among the two lanes of this subscription. */
uint64_t inbox_consumer_order(const struct inbox_consumer *c, const struct natsio_reply *reply);

/* The server complains: if it is about what we have asked, that is answered now. */
void inbox_consumer_complaint(struct inbox_consumer *c, const char *text);

/* What the server said last when it refused something, in words; "" = nothing since the last consumer was made. */
const char *inbox_consumer_words(const struct inbox_consumer *c);

/* When the stream that was looked at last was created; 0 = it was not. */
int64_t inbox_consumer_created(const struct inbox_consumer *c);

/* How many messages behind the last one that came still wait in the stream, as the consumer said; false: it has not said anything yet. */
bool inbox_consumer_pending(const struct inbox_consumer *c, uint64_t *messages);

#endif
