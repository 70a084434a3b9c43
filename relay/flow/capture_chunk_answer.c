/* An answer is counted once: what was asked before the lead was new, or the cursor was given up, is stale. A question whose session
 * goes is answered when that is told, with what capture_chunk_fail() says. */
#include "flow/capture_chunk_answer.h"

#include <stdio.h>
#include <string.h>

#include "core/refusal.h"

void capture_chunk_answer(struct capture_chunk *c, struct capture_event *event, const struct capture_chunk_rows *rows)
{
	c->asked = c->sent = false;
	capture_range_free(&c->range);
	c->handlers.answer(c->handlers.arg, event, rows);
}

void capture_chunk_tell_look(struct capture_chunk *c)
{
	const struct capture_chunk_table *t = &c->tables[c->question.chunk.table];

	c->asked = c->sent = false;
	c->handlers.looked(c->handlers.arg, c->question.chunk.table,
			   t->query != NULL ? capture_query_shape(t->query) : NULL);
}

void capture_chunk_fail(struct capture_chunk *c, uint32_t reason)
{
	if (capture_chunk_is_of_cursor(c))
		capture_whole_end(c->whole);
	if (capture_chunk_is_look(c)) {
		capture_chunk_tell_look(c);
		return;
	}
	capture_chunk_answer(
		c, &(struct capture_event){ .kind = CAPTURE_EVENT_CHUNK_FAILED, .chunk_failed = { .reason = reason } },
		NULL);
}

void capture_chunk_refuse(struct capture_chunk *c, const char *why)
{
	struct capture_chunk_table *t = capture_chunk_table(c);

	if (strcmp(t->why, why) != 0)
		log_error(c->log, "the rows of a captured table cannot be read",
			  KS("capture", capture_chunk_config(c)->name),
			  KS("table", capture_tables_name(capture_chunk_config(c), c->question.chunk.table)),
			  KS("why", why));
	snprintf(t->why, sizeof t->why, "%s", why);
	capture_chunk_fail(c, DEFECT_UNREADABLE);
}

/* A lock that was not to be had, a time-out, a deadlock, a server that is short of something or goes down: nothing is wrong with the table. */
static bool is_passing(const char *sqlstate)
{
	static const char *const classes[] = { "08", "40", "53", "55", "57", "58" };

	for (size_t i = 0; i < sizeof classes / sizeof classes[0]; i++)
		if (strncmp(sqlstate, classes[i], 2) == 0)
			return true;
	return false;
}

void capture_chunk_on_error(struct capture_chunk *c, const struct pg_result *r)
{
	struct capture_chunk_table *t = capture_chunk_table(c);

	/* Whatever it is, the table may look different by now. */
	capture_query_free(t->query);
	t->query = NULL;
	if (pg_wants_session(r)) {
		pg_break(c->pg, pg_error(r)); /* and the question fails with it */
	} else if (is_passing(pg_sqlstate(r))) {
		log_warn(c->log, "a chunk of a captured table could not be read, and is tried again",
			 KS("capture", capture_chunk_config(c)->name),
			 KS("table", capture_tables_name(capture_chunk_config(c), c->question.chunk.table)),
			 KS("why", pg_error(r)));
		capture_chunk_fail(c, REASON_NONE);
	} else {
		capture_chunk_refuse(c, pg_error(r));
	}
}

bool capture_chunk_takes(struct capture_chunk *c)
{
	if (c->stale == 0)
		return true;
	c->stale--;
	return false;
}

void capture_chunk_sent(struct capture_chunk *c, bool asked)
{
	c->sent = true;
	if (!asked)
		pg_break(c->pg, "a statement could not be sent");
}
