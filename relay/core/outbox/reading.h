/* Reading: what to ask the outbox for, and what becomes of the rows. Alone in writing struct reading. (The fetch
 * itself is declared in outbox.h.) */
#ifndef BOXHAUL_CORE_OUTBOX_READING_H
#define BOXHAUL_CORE_OUTBOX_READING_H

#include "core/outbox/reader_state.h"

/* False: no memory. Room to list the exceptions of a book of this capacity. */
bool reading_create(struct reader *r, size_t capacity);
void reading_destroy(struct reader *r);

/* We lead, from this position on; and not any more. */
void reading_begin(struct reader *r, int64_t position);
void reading_forget(struct reader *r);

/* Something is to be read that should not wait for the next poll. */
void reading_hurry(struct reader *r, enum haste haste);

/* Is there room for a bite of rows that is worth a fetch? Not while one is under way. */
bool reading_has_appetite(const struct reader *r);

/* The answer to the fetch under way. Rows are offered to the sender, and told their slots; the others keep -1. */
void reading_rows(struct reader *r, const struct event *ev);

#endif
