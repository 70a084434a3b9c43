/* What the streams already hold (G4): reads the ids of the messages above a sequence when the core asks for it. */
#ifndef BOXHAUL_FLOW_STREAM_SCAN_H
#define BOXHAUL_FLOW_STREAM_SCAN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/log.h"
#include "books/reasons.h"
#include "config/config.h"
#include "core/delivery.h"
#include "edge/loop.h"
#include "edge/natsio.h"
#include "format/witness.h"

struct stream_scan;

struct stream_scan_handlers {
	void (*answered)(void *arg, const struct event *event); /* an EVENT_LOOKBACK without its time */
	void *arg;
};

/* Everything is borrowed. What a server says when it refuses to be asked is kept in `reasons`. NULL when out of memory. */
struct stream_scan *stream_scan_create(struct loop *l, struct natsio *nats, const struct config *config,
				       struct reasons *reasons, struct log *log,
				       const struct stream_scan_handlers *handlers);
/* NULL is allowed. */
void stream_scan_free(struct stream_scan *t);

/* Carries out EFFECT_LOOKBACK; answered() follows, unless stream_scan_stop() or the next request for this stream comes before. */
void stream_scan_ask(struct stream_scan *t, const struct effect *f);

/* Takes a reply; false when it does not belong to a scan. */
bool stream_scan_reply(struct stream_scan *t, const struct natsio_reply *reply);

/* The server complains (-ERR). Where it forbids a scan, messages are sent without one: at least once is promised, and a
 * login that may only publish is no reason to stop. Tried again after the next connect. */
void stream_scan_complaint(struct stream_scan *t, const char *text);

/* The connection is gone, or the lead: nothing is awaited any more. What was found stays. */
void stream_scan_stop(struct stream_scan *t);

/* Forgets every message that was found: for a new lead, or when none is left to be sent that could be one of them. Returns whether
 * there were any. */
bool stream_scan_forget(struct stream_scan *t);

/* Since when, of loop_now_ms(), it is known that the stream is not the one that took what was sent before, or has lost its end; 0 = it is.
 * What it held then may be gone. */
int64_t stream_scan_lost_ms(const struct stream_scan *t, uint16_t stream);

/* How many messages that were found are kept. */
size_t stream_scan_found(const struct stream_scan *t);

/* The sequence at which this message was found in the stream, or 0. It is found once: a second call returns 0. */
uint64_t stream_scan_take(struct stream_scan *t, uint16_t stream, const char *message_id);

/* The same, and it stays there; where it says from which snapshot it was sent, that is *witness. 0: it says nothing, or was not found. */
uint64_t stream_scan_witness(const struct stream_scan *t, uint16_t stream, const char *message_id,
			     struct witness *witness);

struct stream_scan_beyond {
	uint64_t sequence, lsn; /* sequence 0: not known */
};
/* Is there, among the messages that were found, one of a transaction that committed at from_lsn or beyond it? The first of them. Also true where not all that
 * was to be looked at could be. (Of another capture in the same stream is one as good as ours.) */
bool stream_scan_beyond(const struct stream_scan *t, uint16_t stream, uint64_t from_lsn,
			struct stream_scan_beyond *first);

/* Whether the stream loses messages one by one, consumed or replaced, while later ones stay: as it was when it was last scanned. */
bool stream_scan_loses(const struct stream_scan *t, uint16_t stream);

#endif
