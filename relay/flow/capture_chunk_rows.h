/* The rows of a captured table, asked of the reader session. For capture_chunk.c alone. Each of these sends what the question under
 * way wants next; of all but a lock and a piece what the table looks like must be known. */
#ifndef BOXHAUL_FLOW_CAPTURE_CHUNK_ROWS_H
#define BOXHAUL_FLOW_CAPTURE_CHUNK_ROWS_H

#include "flow/capture_chunk_state.h"

/* The next rows in the order of the key; those of the pass, where the table is verified. */
void capture_chunk_send_rows(struct capture_chunk *c);

/* The row with the largest key. */
void capture_chunk_send_top(struct capture_chunk *c);

/* The rows that are to be read again. */
void capture_chunk_send_repair(struct capture_chunk *c);

/* A table that is read whole: first its lock; then its cursor; then the next of its rows, and the question fails where there is no
 * cursor any more. */
void capture_chunk_send_lock(struct capture_chunk *c);
void capture_chunk_send_open(struct capture_chunk *c);
void capture_chunk_send_piece(struct capture_chunk *c);

/* The answer to what was asked of the cursor: `arg` is a struct capture_chunk. */
void capture_chunk_on_cursor(void *arg, const struct pg_result *r);

/* --- what it tells --- */

/* The question is not answered yet: what it wants next is to be sent. */
void capture_chunk_go_on(struct capture_chunk *c);

#endif
