/* Exceptions: what became of ids that are not settled in their turn. Turns outcomes of the sender, decisions of operators, and
 * the silence of the outbox into the book and the next mark. */
#ifndef BOXHAUL_CORE_OUTBOX_EXCEPTIONS_H
#define BOXHAUL_CORE_OUTBOX_EXCEPTIONS_H

#include "core/outbox/reader_state.h"

/* We lead: nothing has happened to any id. Then the exceptions that the database holds, in ascending order, and once all are
 * there, exceptions_inherited(). fence: an xid that was drawn when the lead was taken. */
void exceptions_begin(struct reader *r);
void exceptions_load(struct reader *r, const struct exception_row *row, uint64_t fence);
void exceptions_inherited(struct reader *r);

/* --- outcomes of the sender: SETTLED, DEAD, HELD, PARKED --- */

void exceptions_settled(struct reader *r, const struct outcome *o);
void exceptions_dead(struct reader *r, const struct outcome *o);
void exceptions_held(struct reader *r, const struct outcome *o);
void exceptions_parked(struct reader *r, const struct outcome *o);

/* --- streams --- */

/* It has lost its end: a copy may stand anywhere. */
void exceptions_truncated(struct reader *r, uint16_t stream);

/* What earlier leaders left in doubt there is not in doubt any more: it was found, or it is not there. */
void exceptions_looked_for(struct reader *r, uint16_t stream);

/* --- reading --- */

/* These ids were skipped in what was read. */
void exceptions_missing(struct reader *r, int64_t lo, int64_t hi);

/* Is e to be read? Missing ids are; parked ones where they probe, or where nothing is held back any more. */
bool exceptions_is_wanted(const struct reader *r, const struct exception *e);

/* What is known of a row that was just read: e is its exception, or NULL. (Once we have caught up, a row without one was
 * never sent, and is not asked about.) */
struct doubt exceptions_doubt(const struct reader *r, const struct row *row, const struct exception *e);

/* e was read, and came to memory. */
void exceptions_activate(struct reader *r, struct exception *e);

/* The fetch under way was answered up to this id. What it asked for, and is still there, was not in the snapshot. horizon: every xid
 * below it had ended before that. */
void exceptions_absent(struct reader *r, uint64_t horizon, int64_t up_to);

/* Names the probes of what is due. Returns whether there is one, so that the next fetch waits for no pause. */
bool exceptions_choose_probes(struct reader *r);

/* --- operators --- */

/* A decision about a dead letter that holds its lane. Returns whether it is to be read at once. */
bool exceptions_decided(struct reader *r, int64_t id, bool redrive);

#endif
