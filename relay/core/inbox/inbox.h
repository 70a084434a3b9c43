/* The inbox's core: takes the messages of one subscription out of a stream into the database, each once and in order.
 *
 * A pure state machine, one for each subscription. Events go in (with the time and the randomness inside them),
 * effects come out as data. It does no I/O, reads no clock, draws no random number and allocates nothing after
 * inbox_create().
 *
 *     inbox_step(in, &event);
 *     while (inbox_next(in, &effect))
 *             carry out the effect;
 *     sleep until inbox_deadline(in) or the next event
 *
 * Several events that were read together may be given before the effects are asked for: that makes larger batches.
 *
 * What it does, why that is enough, and which function holds which promise: README.md beside this file. */
#ifndef BOXHAUL_CORE_INBOX_INBOX_H
#define BOXHAUL_CORE_INBOX_INBOX_H

#include "core/inbox/inbox_types.h"

struct inbox;

/* NULL when out of memory. Settings are copied; they must be in range:
 * queue_messages 1 .. 65536, all other numbers > 0, retry_min_ms <= retry_max_ms, 2 heartbeat_ms <= expires_ms, and
 * on_recreated INBOX_ON_STOP where dedupe is INBOX_DEDUPE_POSITION. */
struct inbox *inbox_create(const struct inbox_settings *settings);
void inbox_free(struct inbox *in);

/* Writes the slot of an INBOX_EVENT_MESSAGE into the event; nothing else of it is touched. */
void inbox_step(struct inbox *in, struct inbox_event *event);

/* The next thing to do, or false. */
bool inbox_next(struct inbox *in, struct inbox_effect *effect);

/* When a tick is needed at the latest; INBOX_NEVER for never. */
int64_t inbox_deadline(const struct inbox *in);

const struct inbox_stats *inbox_look(struct inbox *in);

/* The name of a state, in lower case, for log and status. */
const char *inbox_state_name(enum inbox_state state);

/* Asserts every invariant of the data structures. For tests. */
void inbox_audit(const struct inbox *in);

#endif
