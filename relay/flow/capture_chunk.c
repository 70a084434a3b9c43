/* Until rows are read: every question is answered with CHUNK_FAILED, so that the core asks again later, and the tables say why they wait. */
#include "flow/capture_chunk.h"

#include <stdlib.h>

struct capture_chunk {
	struct capture_chunk_handlers handlers;
};

struct capture_chunk *capture_chunk_create(struct pg *pg, const struct config *config, size_t index, struct log *log,
					   struct served *served, const struct capture_chunk_handlers *handlers)
{
	struct capture_chunk *c = calloc(1, sizeof *c);

	(void)pg, (void)config, (void)index, (void)log, (void)served;
	if (c != NULL)
		c->handlers = *handlers;
	return c;
}

void capture_chunk_free(struct capture_chunk *c)
{
	free(c);
}

struct capture_chunk_value capture_chunk_value(const struct capture_chunk_rows *rows, size_t row, size_t column)
{
	(void)rows, (void)row, (void)column;
	return (struct capture_chunk_value){ .text = NULL };
}

void capture_chunk_session_up(struct capture_chunk *c)
{
	(void)c;
}

void capture_chunk_session_down(struct capture_chunk *c)
{
	(void)c;
}

void capture_chunk_ask(struct capture_chunk *c, const struct capture_effect *effect, const void *cursor,
		       size_t cursor_bytes)
{
	struct capture_event ev = { .kind = CAPTURE_EVENT_CHUNK_FAILED };

	(void)effect, (void)cursor, (void)cursor_bytes;
	c->handlers.answer(c->handlers.arg, &ev, NULL);
}

void capture_chunk_forget(struct capture_chunk *c)
{
	(void)c;
}

bool capture_chunk_is_wanted(const struct capture_chunk *c)
{
	(void)c;
	return false;
}

const char *capture_chunk_trouble(const struct capture_chunk *c, uint32_t table)
{
	(void)c, (void)table;
	return "rows that were there before are not read yet";
}

int64_t capture_chunk_estimate(const struct capture_chunk *c, uint32_t table)
{
	(void)c, (void)table;
	return 0;
}

const char *capture_chunk_waits_for(const struct capture_chunk *c)
{
	(void)c;
	return "";
}
