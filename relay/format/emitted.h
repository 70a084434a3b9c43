/* The content of boxhaul.emit(), which writes it as a logical message (sql/010_capture.sql). Integers are big-endian.
 *
 *     1 byte   version: 1
 *     int4     bytes of the subject
 *     int4     bytes of the key; -1: none
 *     int4     bytes of the headers; -1: none
 *              subject, key, headers (the text of a jsonb object of strings), and the payload to the end */
#ifndef BOXHAUL_FORMAT_EMITTED_H
#define BOXHAUL_FORMAT_EMITTED_H

#include <stddef.h>

#include "core/refusal.h"

/* pg_logical_emit_message's prefix. Whatever begins with it and a dot is boxhaul's own, and no message: a signal, or a mark that only says where the stream is. */
#define EMITTED_PREFIX "boxhaul"
#define OWN_PREFIX EMITTED_PREFIX "."

/* None of the texts is terminated; they point into the content. */
struct emitted {
	const char *subject;
	size_t subject_bytes;
	const char *key; /* NULL: none */
	size_t key_bytes;
	const char *headers; /* NULL: none */
	size_t headers_bytes;
	const void *payload;
	size_t payload_bytes;
};

/* REASON_NONE; DEFECT_EMITTED: it is no such content; or what is wrong with subject, key or headers, which boxhaul.emit() does not write
 * but anybody may who can call pg_logical_emit_message(). REASON_NO_MEMORY: nobody can say now. */
enum reason emitted_read(const void *content, size_t bytes, struct emitted *e);

#endif
