/* What the streams already hold (G4): the message ids in the tail of each, read when the core asks for it. */
#ifndef BOXHAUL_TAIL_H
#define BOXHAUL_TAIL_H

#include <stdbool.h>
#include <stdint.h>

#include "config.h"
#include "core/delivery.h"
#include "edge/loop.h"
#include "edge/natsio.h"
#include "log.h"

struct tails;

struct tails_handlers {
	void (*told)(void *arg, const struct event *event); /* an EVENT_TAIL without its time */
	void *arg;
};

/* Everything is borrowed. NULL when out of memory. */
struct tails *tails_create(struct loop *l, struct natsio *const *nats, const struct config *config, struct log *log,
			   const struct tails_handlers *handlers);
void tails_free(struct tails *t);

/* Carries out EFFECT_TAIL; told() follows, unless tails_stop() or the next question to this stream comes before. */
void tails_ask(struct tails *t, const struct effect *f);

/* Takes a reply; false when it is not for us. */
bool tails_reply(struct tails *t, const struct natsio_reply *reply);

/* The server complains. Where it forbids us to look, messages are sent without: at least once is promised, and a
 * login that may only publish is no reason to stop. Asked again after the next connect. */
void tails_complaint(struct tails *t, const char *text);

/* The connection is gone, or the lead: nothing is awaited any more. What was found stays. */
void tails_stop(struct tails *t);

/* What was found is forgotten: for a new lead, or where nothing is left that it may be of. Returns whether there was any. */
bool tails_forget(struct tails *t);

/* How many messages that were found are kept in mind. */
size_t tails_found(const struct tails *t);

/* The sequence at which this message was found in the stream, or 0. It is found once: a second question is told 0. */
uint64_t tails_take(struct tails *t, uint16_t stream, const char *message_id);

#endif
