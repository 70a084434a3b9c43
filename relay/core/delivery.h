/* The core: decides what to read and publish when, and what may be marked.
 *
 * A pure state machine. Events go in (with the time and the randomness inside them), effects come out as
 * data. It does no I/O, reads no clock, draws no random number and allocates nothing after
 * delivery_create(). The same object code runs in the daemon and under the simulator.
 *
 *     delivery_step(d, &event);
 *     while (delivery_next(d, &effect))
 *             carry out the effect;
 *     sleep until delivery_deadline(d) or the next event
 *
 * Inside are three parts, each with a contract of its own: the lead (lead.h: may we act now?), the sender (send/send.h:
 * order, window, refusals, repeats) and the reader of the outbox (outbox/outbox.h: what is settled, and what is not).
 */
#ifndef BOXHAUL_CORE_DELIVERY_H
#define BOXHAUL_CORE_DELIVERY_H

#include <stdbool.h>
#include <stdint.h>

#include "core/vocabulary.h"

struct delivery;

/* NULL when out of memory. Settings are copied; they must be in range (see config.c). */
struct delivery *delivery_create(const struct delivery_settings *settings);
void delivery_free(struct delivery *d);

void delivery_step(struct delivery *d, const struct event *event);

/* The next thing to do, or false. Asking for a publish is sending it: its ack timeout runs from then. */
bool delivery_next(struct delivery *d, struct effect *effect);

/* Whatever was taken for sending, and is still not sent, must not leave the process later than this. INT64_MAX while we
 * do not lead: what is left from before went with the lead. */
int64_t delivery_send_deadline(const struct delivery *d);

/* A message is to be published, from this slot, and was not found in its stream. It may have gone from there; a later one of its
 * lane that was found may prove that it was stored (README.md, What is gone). The slots of those that might, one after the
 * other: `after` is -1 to begin, then the one before; -1: there is none any more. */
int32_t delivery_witness(const struct delivery *d, uint32_t slot, int32_t after);

/* Does the witness prove it, where it was sent as evident from a snapshot before which every xid below `horizon` had ended? Then the
 * message is acknowledged, as one that was found. */
bool delivery_is_proved(const struct delivery *d, uint32_t slot, uint32_t witness, uint64_t horizon);

/* When a tick is needed at the latest; INT64_MAX for never. */
int64_t delivery_deadline(const struct delivery *d);

const struct delivery_stats *delivery_stats(struct delivery *d);

/* Is this id, at or below what was read, known to be missing? Of any other one a row that comes has drawn it again. */
bool delivery_is_missing(const struct delivery *d, int64_t id);

/* Asserts every invariant of the data structures. Slow: for tests. */
void delivery_audit(const struct delivery *d);

#endif
