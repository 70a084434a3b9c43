/* What a message must look like before it may touch the socket. nats.c checks none of this: a subject with a
 * space becomes subject and reply, one with CR LF injects a second command, a row subject like
 * $JS.API.STREAM.DELETE.X would be executed with the relay's rights. */
#ifndef BOXHAUL_FORMAT_MESSAGE_H
#define BOXHAUL_FORMAT_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/refusal.h"

enum { MESSAGE_SUBJECT_MAX_BYTES = 1024, MESSAGE_HEADERS_MAX_BYTES = 49152, MESSAGE_WIRE_HEADERS_MAX_BYTES = 65535 };

/* REASON_NONE, or the DEFECT_SUBJECT_... of a subject of n bytes (NULL allowed: DEFECT_SUBJECT_NULL). */
enum reason message_check_subject(const char *subject, size_t n);

/* REASON_NONE, or the DEFECT_HEADER... of one header. The value may not hold control characters but tab. */
enum reason message_check_header(const char *name, size_t name_bytes, const char *value, size_t value_bytes);

/* Does a subject (valid, no wildcards) match a pattern with * and >? */
bool message_subject_matches(const char *pattern, const char *subject);

/* Is there a subject that both patterns match? */
bool message_patterns_overlap(const char *a, const char *b);

/* Is it a legal pattern for a stream's subjects? */
bool message_pattern_valid(const char *pattern);

/* Headers: the text of a jsonb object of strings. Calls `each` (may be NULL: only check) for every header in turn until it returns
 * false.
 * Returns the defect found, REASON_NONE if none (or text is NULL: no headers), REASON_NO_MEMORY if nobody can say now. Names and values are valid
 * and terminated during the call only. Checks everything before the first call. */
enum reason message_each_header(const char *json, size_t n,
				bool (*each)(void *arg, const char *name, const char *value), void *arg);

#endif
