/* How the question of the reader session that is under way ends: answered, failed, or refused. For capture_chunk*.c alone. */
#ifndef BOXHAUL_FLOW_CAPTURE_CHUNK_ANSWER_H
#define BOXHAUL_FLOW_CAPTURE_CHUNK_ANSWER_H

#include "flow/capture_chunk_state.h"

/* Its statement was sent; not `asked`: it could not be, so the session is given up, and the question fails with it. */
void capture_chunk_sent(struct capture_chunk *c, bool asked);

/* Is the answer that has come that of the question under way? To be asked once for each; false: nobody wants it any more. */
bool capture_chunk_takes(struct capture_chunk *c);

/* It is answered with this event. `rows`: what was read, or NULL. */
void capture_chunk_answer(struct capture_chunk *c, struct capture_event *event, const struct capture_chunk_rows *rows);

/* What the table looks like is told, or that it could not be had. */
void capture_chunk_tell_look(struct capture_chunk *c);

/* It has failed. reason 0: another time; else only an operator can mend it. */
void capture_chunk_fail(struct capture_chunk *c, uint32_t reason);

/* The rows of its table cannot be read until somebody mends it: why, in words. */
void capture_chunk_refuse(struct capture_chunk *c, const char *why);

/* The server's answer is an error: tried again, refused, or the end of the session. */
void capture_chunk_on_error(struct capture_chunk *c, const struct pg_result *r);

#endif
