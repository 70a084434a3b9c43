/* Reading the rows that were there before: table by table, chunk by chunk, each question in its turn.
 *
 *     barrier --> begin message --> chunk --> its window --> the next chunk ... --> repairs --> end message
 *                                    |  ^
 *                          void: a streamed transaction is in its limbo
 *
 * This part asks the questions, and says when the stream has to stand still for one; the rows stand in chunk.h. What has gone
 * out becomes a *step*: the table as it is when everything up to an ordinal is stored. Marks take the steps (capture_marking.h),
 * one after the other: so a cursor never moves before its rows are stored.
 *
 * A repair is a row whose key a change gave it while columns of it were not sent; the row may have moved from where it was not yet
 * read to where reading has passed. The new keys are collected in readings: each is put on record, and then read as one chunk. */
#ifndef BOXHAUL_CORE_CAPTURE_CAPTURE_READING_H
#define BOXHAUL_CORE_CAPTURE_CAPTURE_READING_H

#include "core/capture/capture_reading_state.h"

bool capture_reading_create(struct capture_reading *r, const struct capture_settings *set, struct capture_rows *rows,
			    struct capture_stats *stats);
void capture_reading_destroy(struct capture_reading *r);

/* Nothing is known any more. Slots are released by capture_rows_begin(). */
void capture_reading_forget(struct capture_reading *r);

/* We lead: the books. A barrier is wanted. */
void capture_reading_begin(struct capture_reading *r, const struct capture_event *ev);

void capture_reading_clock(struct capture_reading *r, int64_t now_ms);
void capture_reading_pause(struct capture_reading *r, bool paused);

/* A verify pass over a table of which nothing is to be read. */
void capture_reading_verify(struct capture_reading *r, const struct capture_event *ev);

/* --- what the log brings --- */

/* Everything committed below this has come. */
void capture_reading_position(struct capture_reading *r, uint64_t lsn);

/* A change of this transaction is about to be appended: what has to go out before it goes out. */
void capture_reading_change(struct capture_reading *r, uint32_t xid, const struct capture_event *ev);

/* It was appended, in this slot: does it ask for a repair? */
void capture_reading_changed(struct capture_reading *r, const struct capture_event *ev, uint32_t slot);

/* A transaction came to its end. */
void capture_reading_committed(struct capture_reading *r, uint32_t xid);

/* --- answers --- */

void capture_reading_drawn(struct capture_reading *r, uint64_t xid);
void capture_reading_horizon(struct capture_reading *r, const struct capture_event *ev);
void capture_reading_chunk(struct capture_reading *r, struct capture_event *ev);
void capture_reading_end(struct capture_reading *r, uint64_t lsn);
void capture_reading_window(struct capture_reading *r, struct capture_event *ev);
void capture_reading_failed(struct capture_reading *r, uint32_t reason);
void capture_reading_control(struct capture_reading *r, struct capture_event *ev);

#endif
