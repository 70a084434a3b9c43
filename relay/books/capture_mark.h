/* The value of boxhaul.capture_mark() (sql/010_capture.sql): what a mark of the core changes in the books of a capture, as JSON. */
#ifndef BOXHAUL_BOOKS_CAPTURE_MARK_H
#define BOXHAUL_BOOKS_CAPTURE_MARK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "books/arrays.h"
#include "books/reasons.h"
#include "config/config.h"
#include "core/capture/capture_types.h"

/* What a slot of the core holds, for a cursor (its key) or a dead letter (all of it). Borrowed for the call. */
struct capture_mark_message {
	const char *message_id; /* a uuid; NULL: it has none */
	const char *subject;    /* NULL: none could be made */
	const void *payload;
	size_t payload_bytes;
	const char *pairs; /* headers: name and value of each, terminated, one behind the other */
	size_t pair_count;
	const char *position; /* as in its header; "": of no transaction */
	const char *tab;      /* "": of no table */
	const void *key;      /* in one piece (format/capture_key.h); NULL: none */
	size_t key_bytes;
	const char *why; /* why it can never be sent, where that is more than the reason says; or "" */
	uint16_t defect; /* enum reason; 0: it can be sent */
	size_t pairs_bytes, bytes, wire_bytes; /* of the headers; in memory; on the wire */
};

/* What consumers are told of the shape of a table by what is marked: JSON. */
struct capture_mark_told {
	uint32_t table;
	const char *columns;
};

/* A mark, and whose. Everything is borrowed. */
struct capture_mark_books {
	const struct config_capture *capture;
	int64_t epoch;
	uint32_t incarnation;
	const struct capture_mark *mark;
	/* Fills *m with what the slot holds. */
	void (*message)(void *arg, uint32_t slot, struct capture_mark_message *m);
	void *arg;
	const struct capture_mark_told *told;
	size_t told_count;
	const struct reasons *reasons; /* in words */
};

/* To be freed. All of it, or NULL (out of memory): a mark that leaves a dead letter out loses a message. Payloads of dead letters are added to
 * `payloads`, of type ARRAY_BYTEA, in their order; then payload, headers and key of each that is carried. */
char *capture_mark_text(const struct capture_mark_books *m, struct array *payloads);

#endif
