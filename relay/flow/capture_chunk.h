/* The rows that are there already: questions of a capture's core to the reader session, and their answers.
 *
 *     CAPTURE_EFFECT_DRAW, _HORIZON, _CHUNK, _CHUNK_END -> capture_chunk_ask() -> one statement, one transaction -> answer()
 *
 * A chunk is one statement: rows and snapshot are of one moment. It reads what the stream sends and nothing else: the columns of the publication, its
 * filter, values as the stream writes them (the session has pg_options.pinned_text). Rows that a policy hides are an error (row_security = off), for
 * what is not there was deleted. FROM ONLY, for inheritance children are tables of their own; but not of a partitioned table, which has no rows itself.
 *
 * The plan is pinned: rows come by the index of the key, `WHERE (k1, k2) > ($1, $2) AND (k1, k2) <= ($3, $4) ORDER BY k1, k2 LIMIT n`. What it may bring is bounded by rows and by
 * bytes, as they are stored: values that are compressed or out of line are not touched until it is known which rows come.
 *
 * What a table looks like is asked before its first chunk, and again after every error and when another file is read. */
#ifndef BOXHAUL_FLOW_CAPTURE_CHUNK_H
#define BOXHAUL_FLOW_CAPTURE_CHUNK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/log.h"
#include "books/capture_ledger.h"
#include "config/config.h"
#include "core/capture/capture_types.h"
#include "edge/pg.h"
#include "flow/capture_chunk_types.h"
#include "flow/capture_range.h"
#include "flow/served_session.h"
#include "format/capture_shape.h"

/* The session is the caller's, with pinned_text. Everything but the handlers is borrowed. NULL when out of memory. */
struct capture_chunk *capture_chunk_create(struct pg *pg, const struct config *config, size_t index, struct log *log,
					   struct served *served, const struct capture_chunk_handlers *handlers);
void capture_chunk_free(struct capture_chunk *c);

/* Of a row of a verify pass: its hash; "absent": there is none with this key; NULL: it is whole. */
const char *capture_chunk_said(const struct capture_chunk_rows *rows, size_t row);

/* The table is verified by this pass, which is borrowed until it is told again; NULL: by none. Its chunks are those of the pass. */
void capture_chunk_set_pass(struct capture_chunk *c, uint32_t table, const struct capture_ledger_pass *pass);

/* What was asked of the table last looked like this; NULL: nobody knows. */
const struct capture_shape *capture_chunk_shape(const struct capture_chunk *c, uint32_t table);

/* Value `column` of row `row`. */
struct capture_chunk_value capture_chunk_value(const struct capture_chunk_rows *rows, size_t row, size_t column);

/* Of the reader session. What was asked when it went is answered with CHUNK_FAILED; what is asked while it is down, when it is up. */
void capture_chunk_session_up(struct capture_chunk *c);
void capture_chunk_session_down(struct capture_chunk *c);

/* Carries out a question. `range`: of a chunk of rows; else NULL. It is copied. One question at a time. */
void capture_chunk_ask(struct capture_chunk *c, const struct capture_effect *effect, const struct capture_range *range);

/* Asks what a table looks like now. A question like the others: one at a time, and looked() is its answer. */
void capture_chunk_look(struct capture_chunk *c, uint32_t table);

/* The transaction under which a table is read whole is not wanted any more, or the lead is gone, or new: no answer comes to what was asked before. */
void capture_chunk_forget(struct capture_chunk *c);

/* Is a session needed? While something is asked, and for a while after. (A capture whose rows are all there needs none.) */
bool capture_chunk_is_wanted(const struct capture_chunk *c);

/* Why the rows of a table cannot be read, in words; "" = they can, or nobody has tried. */
const char *capture_chunk_trouble(const struct capture_chunk *c, uint32_t table);

/* How many rows the statistics said that it has when its rows began to be read; 0: not known. */
int64_t capture_chunk_estimate(const struct capture_chunk *c, uint32_t table);

/* Whom the barrier waits for: "pid 4711 (psql, in a transaction for 3 min)"; "" = nobody. Until the next answer. */
const char *capture_chunk_waits_for(const struct capture_chunk *c);

#endif
