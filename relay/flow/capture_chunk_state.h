/* The state of the reader session, for capture_chunk*.c alone; its face is capture_chunk.h. `asked`, `sent` and `stale` are written by
 * capture_chunk.c, when a question comes or is given up, and by capture_chunk_answer.c, when it is sent or ends. */
#ifndef BOXHAUL_FLOW_CAPTURE_CHUNK_STATE_H
#define BOXHAUL_FLOW_CAPTURE_CHUNK_STATE_H

#include <string.h>

#include "base/log.h"
#include "books/capture_ledger.h"
#include "books/capture_tables.h"
#include "config/config.h"
#include "edge/pg.h"
#include "flow/capture_chunk_types.h"
#include "flow/capture_query.h"
#include "flow/capture_range.h"
#include "flow/capture_whole.h"
#include "flow/served_session.h"

enum { CAPTURE_CHUNK_WAITS_BYTES = 512, CAPTURE_CHUNK_WHY_BYTES = 512 };

struct capture_chunk_table {
	struct capture_query *query;            /* NULL: what it looks like is to be asked */
	bool fresh;                             /* it was, for the question under way */
	const struct capture_ledger_pass *pass; /* borrowed; NULL: its rows are read */
	char why[CAPTURE_CHUNK_WHY_BYTES];
	int64_t estimate;
};

struct capture_chunk {
	struct pg *pg;
	const struct config *config;
	size_t index;
	struct log *log;
	struct capture_chunk_handlers handlers;
	struct served_session session;
	bool up;
	bool asked, sent; /* a question is to be answered; it is under way */
	unsigned stale;   /* so many answers are still to come that nobody wants any more: they come first */
	struct capture_effect question;
	struct capture_range range; /* of a chunk of rows; owned */
	uint64_t drawn;             /* the xid that was drawn last: the barrier's fence */
	int64_t asked_ms;
	char waits_for[CAPTURE_CHUNK_WAITS_BYTES];
	struct capture_query_xids xip;
	struct capture_whole *whole;
	size_t table_count;
	struct capture_chunk_table tables[];
};

/* The capture's configuration. */
static inline const struct config_capture *capture_chunk_config(const struct capture_chunk *c)
{
	return &c->config->captures[c->index];
}

/* Is it a question that is not the core's own (capture_chunk_look())? It has this kind. */
static inline bool capture_chunk_is_look(const struct capture_chunk *c)
{
	return c->question.kind == CAPTURE_EFFECT_CONTROL;
}

/* Is the question about the cursor of a table that is read whole? */
static inline bool capture_chunk_is_of_cursor(const struct capture_chunk *c)
{
	return c->question.kind == CAPTURE_EFFECT_CHUNK &&
	       (c->question.chunk.kind == CAPTURE_CHUNK_OPEN || c->question.chunk.kind == CAPTURE_CHUNK_PIECE);
}

/* The table that the question is about. */
static inline struct capture_chunk_table *capture_chunk_table(struct capture_chunk *c)
{
	return &c->tables[c->question.chunk.table];
}

/* Is this table read whole, and not by a key? */
static inline bool capture_chunk_is_whole(const struct capture_chunk *c, uint32_t table)
{
	return strcmp(capture_tables_snapshot(capture_chunk_config(c), table), "whole") == 0;
}

#endif
