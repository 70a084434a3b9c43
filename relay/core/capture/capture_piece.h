/* A table that is read whole: in one piece, under one snapshot S of one transaction, for its rows have no key by which one of them could be found again.
 *
 *     a new reading on record --> barrier --> S --> begin message --> rows, while the log goes on --> H --> end message
 *                                              |  the log stands still |
 *
 * Nothing but inserts comes of such a table. So behind the begin message each row stands once that S shows, and each insert that S has not seen; an insert that S has seen
 * is let go, for its row is one of those. Why that holds, and what a break means, is said in README.md, Whole. */
#ifndef BOXHAUL_CORE_CAPTURE_CAPTURE_PIECE_H
#define BOXHAUL_CORE_CAPTURE_CAPTURE_PIECE_H

#include "core/capture/capture_reading_state.h"

/* A new lead: what an earlier one has begun of the table is begun anew. */
void capture_piece_inherit(struct capture_reading *r, uint32_t table);

/* The snapshot is there, and has seen all that was streamed: of the table asked for. */
void capture_piece_open(struct capture_reading *r, uint64_t filenode);

/* The next rows came. */
void capture_piece_take(struct capture_reading *r, struct capture_event *ev);

/* If one is open: it begins anew, for this reason, from the start and in a new reading. */
void capture_piece_break(struct capture_reading *r, enum capture_again why);

/* Asks for its next rows. False: there is no room for them. */
bool capture_piece_ask(struct capture_reading *r, struct capture_effect *f);

/* What its owner has to know before anything is asked; and what is overdue. */
bool capture_piece_next(struct capture_reading *r, struct capture_effect *f);
int64_t capture_piece_deadline(const struct capture_reading *r);

/* Is this change, of this transaction, one that S holds? */
bool capture_piece_lets_go(const struct capture_reading *r, uint32_t xid, const struct capture_event *ev);

/* The log has come to the end of this commit, and a mark would go to that one. */
void capture_piece_settled(struct capture_reading *r, uint64_t taken, uint64_t settled);

#endif
