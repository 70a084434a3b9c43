/* The invariants. They look at the whole truth (struct fact), which nobody else may. */
#ifndef SIM_CHECK_H
#define SIM_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/delivery.h"

struct sim;
struct host;
struct id_range;

/* --- the stream (check_stream.c): G2, G3, G4 --- */

void check_open(struct sim *s);
/* (What is called id here is a message's number.) A message is committed: it takes its place in the order of its key. */
void check_committed(struct sim *s, int64_t id);
void check_failed_over(struct sim *s);
/* Strict order: the first of id's key and stream, up to id, that is not yet stored, dead or given up; else id. */
/* All before it that it has to wait for are in flight in the same batch. */
bool check_batched(struct sim *s, const struct host *h, int64_t id, uint64_t batch);
int64_t check_first_in_line(struct sim *s, int64_t id);
void check_arrived(struct sim *s, int64_t id);
void check_storing(struct sim *s, int64_t id);
void check_stored(struct sim *s, int64_t id);
/* No copy of it stands in its stream any more. */
void check_gone(struct sim *s, int64_t id);
/* Pipelined order: what stands before id in its key and stream is stored, or was sent by h and may still arrive. */
void check_pipeline(struct sim *s, const struct host *h, int64_t id);

/* --- the books (check_books.c): G1 --- */

void check_dead(struct sim *s, const struct dead_letter *d);
void check_undead(struct sim *s, int64_t id);
void check_reopened(struct sim *s, const struct exception_row *e);
void check_marked(struct sim *s, const struct mark *m, const struct id_range *touched, size_t n);
/* Its slot is about to be emptied. */
void check_truncated(struct sim *s, int64_t id);
void check_mark_unchanged(struct sim *s, const struct mark *then, const struct mark *now);
/* Everything is settled, but for what `but_held` lets wait: held dead letters and what stands behind them. */
bool check_settled(struct sim *s, bool but_held);
/* Why not, for the report. */
void check_explain(struct sim *s, char *text, size_t size);

/* --- what the core asks for (check_host.c): windows, lease, sleep --- */

void check_asks(struct sim *s, const struct host *h, bool already, const char *what);
void check_publish(struct sim *s, struct host *h, const struct effect *e);
void check_batch(struct sim *s, const struct host *h, const struct effect *e);
/* A look at what a stream holds is asked for; and was answered, to the host and not yet to its core. */
void check_lookback(struct sim *s, const struct host *h, const struct effect *e);
void check_looked_back(struct sim *s, struct host *h, uint16_t stream);
void check_denied(struct sim *s, const struct host *h, uint16_t stream);
/* It is taken for stored, though it was not found: the witness was. */
void check_proved(struct sim *s, const struct host *h, int64_t message, int64_t witness);
/* The bytes leave the process. */
void check_written(struct sim *s, const struct host *h, int64_t message);
void check_fetch(struct sim *s, const struct host *h, const struct effect *e);
void check_mark(struct sim *s, const struct host *h, const struct mark *m);
void check_slot(struct sim *s, const struct host *h, const struct row *r, int64_t message);
void check_release(struct sim *s, const struct host *h, uint32_t slot);
void check_note(struct sim *s, struct host *h, const struct note *n);
/* The core says that it is paused and nothing is on its way. */
void check_quiet(struct sim *s, const struct host *h, uint64_t pause);
void check_drained(struct sim *s, const struct host *h);
void check_step(struct sim *s, const struct host *h);
/* A safety poll that nothing else asked for found this message. */
void check_safety_poll(struct sim *s, int64_t message);

#endif
