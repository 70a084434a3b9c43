/* The look-back: what the streams already hold (G4). With lookback_step.c and lookback_end.c alone in writing struct lookback.
 *
 * A stream is sent to only while its state is KNOWN or BLIND; see the picture in lookback.c and the table in lookback_step.c.
 * (Question and answer are declared in send.h.) */
#ifndef BOXHAUL_CORE_SEND_LOOKBACK_H
#define BOXHAUL_CORE_SEND_LOOKBACK_H

#include "core/send/sender_state.h"

/* --- what happens --- */

/* We lead: nothing is known but the low waters that earlier leaders left. */
void lookback_begin(struct sender *s, const uint64_t *inherited);

/* The connection is gone: no answer will come, and what waited for one waits for a new question. */
void lookback_interrupted(struct sender *s);

/* m, which is READY, is being sent. Fills in whether nobody can say that its stream does not hold it already (blind), and
 * the latest time to write it to the socket (by_ms). */
void lookback_sent(struct sender *s, struct message *m, struct effect *f);

/* --- what it tells of an owned stream --- */

/* The question goes out; it was answered (and tells of so much); that answer counts; the stream could not be read. */
void chain_look_asked(struct sender *s, uint16_t stream);
void chain_read(struct sender *s, uint16_t stream, const struct event *ev);
void chain_looked(struct sender *s, uint16_t stream, uint64_t last);
void chain_unreadable(struct sender *s, uint16_t stream, uint32_t reason);

/* --- what is asked --- */

/* Must m's stream be asked before m may be sent? Then the caller calls lookback_ask(), and m waits at ASKING. */
bool lookback_needed(const struct sender *s, const struct message *m);
void lookback_ask(struct sender *s, struct message *m);

/* An owned stream is to be looked at as it is from now on: an answer that is under way does not count. */
void lookback_want(struct sender *s, uint16_t stream);

/* When the next question may be asked that waits for a time; INT64_MAX: none. */
int64_t lookback_deadline(const struct sender *s);

#endif
