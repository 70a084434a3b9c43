/* What the reader session has read, and who is told (flow/capture_chunk.h). */
#ifndef BOXHAUL_FLOW_CAPTURE_CHUNK_TYPES_H
#define BOXHAUL_FLOW_CAPTURE_CHUNK_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/capture/capture_types.h"
#include "edge/pg_result.h"
#include "format/capture_shape.h"

struct capture_chunk;

/* A value of a row: PostgreSQL's text; text NULL: SQL NULL. Terminated behind the end. */
struct capture_chunk_value {
	const char *text;
	size_t bytes;
};

/* What was read, during answer() alone. */
struct capture_chunk_rows {
	const struct capture_shape *shape; /* its columns, all that the publication sends; with the places of the key */
	const struct pg_result *result;    /* capture_chunk_value() */
	size_t count;
	bool of_pass; /* capture_chunk_said() */
};

struct capture_chunk_handlers {
	/* The answer to the question under way: CAPTURE_EVENT_DRAWN, _HORIZON, _CHUNK, _CHUNK_FAILED or _CHUNK_END, without time and randomness. Of a chunk `rows`
	 * is what was read, and event->chunk has everything but the rows, which the callee makes of it; else NULL. */
	void (*answer)(void *arg, struct capture_event *event, const struct capture_chunk_rows *rows);
	/* The columns of the key of a table, as they were found: before its first chunk, and when they are others. */
	void (*key)(void *arg, uint32_t table, const char *const *names, size_t count);
	/* The answer to capture_chunk_look(); NULL: it could not be had. */
	void (*looked)(void *arg, uint32_t table, const struct capture_shape *shape);
	void *arg;
};

#endif
