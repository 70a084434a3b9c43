/* The reader of the outbox: which ids are settled, which are not, and what the database is to know of that.
 *
 *                     fetch                       offer
 *     outbox  ----------------->  reading  ----------------> sender
 *        ^                          |                          |
 *        |                     missing, void               outcomes
 *        |                          v                          |
 *        +----- mark ------  book of exceptions <--------------+
 *
 * What it promises (G1): an id is settled only by an ack, a dead letter in the same mark, or proof that no transaction can own
 * it; and the position moves past an id only if it is settled, or the same mark stores it as an exception. And (G3) that a
 * fetch is one snapshot, ascending, with everything new and everything still missing or due.
 *
 * Its tickets for the sender are ids. It asks for no effect that the lead does not allow: it knows no lease, no pause, no drain.
 *
 * This header is all that is known of it outside; each function bears the name of the file that it stands in. */
#ifndef BOXHAUL_CORE_OUTBOX_OUTBOX_H
#define BOXHAUL_CORE_OUTBOX_OUTBOX_H

#include "core/notes.h"
#include "core/send/send.h"

struct reader;

/* NULL when out of memory. Settings, notes, figures and sender are borrowed. */
struct reader *reader_create(const struct delivery_settings *set, struct notes *notes, struct delivery_stats *stats,
			     struct sender *send);
void reader_free(struct reader *r);

/* --- what happens --- */

/* Before anything else in a step: the time, which never goes back. */
void reader_clock(struct reader *r, int64_t now_ms);

/* The lead is lost: all that is known is void. Then EVENT_LEADING: we lead, the books are as it says. The sender has been told
 * already that we do; what it is to hold back is told to it. */
void reader_forget(struct reader *r);
void reader_begin(struct reader *r, const struct event *ev);

/* The answers to fetch, mark and announcement; ignored where none is awaited. Returns whether it was. A fetch may also fail. */
bool reader_rows(struct reader *r, const struct event *ev);
void reading_failed(struct reader *r);
bool reader_marked(struct reader *r, const struct event *ev);
void reader_announced(struct reader *r, const struct event *ev);
void reader_notified(struct reader *r);

/* An operator has decided about a dead letter that holds its lane. */
void reader_decided(struct reader *r, const struct event *ev);

/* The settings are others. */
void reader_adjust(struct reader *r);

/* A pause has ended: what waits is read at once. */
void reader_resume(struct reader *r);

/* Takes all outcomes of the sender into the books. To be called after whatever may have brought some. */
void reader_take_outcomes(struct reader *r);

/* The sender has blocks that are due: names their probes. Outcomes follow. */
void reader_choose_probes(struct reader *r);

/* Draining, and nothing is in flight: what was not sent is left to the next leader. */
void marking_leave_behind(struct reader *r);

/* --- effects --- */

/* The next mark, if it is time for one. Its arrays stay as they are until it is answered. */
bool marking_next(struct reader *r, bool draining, struct effect *f);
bool reader_next_announce(struct reader *r, struct effect *f);

/* The next fetch, if it is time for one; only while the lead allows to read. What it lists stays until it is answered. */
bool reading_next(struct reader *r, struct effect *f);

/* --- questions --- */

/* A fetch or a mark is under way, whose answer will be a sign of life of the database. */
bool reader_awaits_answer(const struct reader *r);

/* That, or something is still to be marked. */
bool reader_is_under_way(const struct reader *r);

/* Is this id missing: drawn, as later ones were, with no row to be seen, and perhaps still of a transaction? */
bool exceptions_has_missing(const struct reader *r, int64_t id);

/* Where the copies of what is parked in doubt begin in this stream; LOW_WATER_NONE: there are none. */
uint64_t exceptions_lowest(const struct reader *r, uint16_t stream);

/* When something is to be marked; and when to read, if that is allowed. INT64_MAX: never. */
int64_t marking_deadline(const struct reader *r);
int64_t reader_read_deadline(const struct reader *r);

/* Fills in those of the figures that say how it is now. */
void reader_stats(const struct reader *r);

/* Asserts every invariant. Slow: for tests. */
void reader_audit(const struct reader *r);

#endif
