/* The subject of what a capture sends, from a template: literal text with names in braces.
 *
 *     cdc.{capture}.{schema}.{table}
 *     orders.{aggregatetype}.{type}      columns of an outbox table
 *     {topic>}                           as many tokens as the value has: the last token of a template only
 *
 * The first token begins with text, so that a template says whose its subjects are. A value stands in one token: what a token may not hold is percent-encoded, as is the percent sign itself. So two values never give one
 * subject, and no value can widen a subject or reach one of the server's own. */
#ifndef BOXHAUL_FORMAT_CAPTURE_SUBJECT_H
#define BOXHAUL_FORMAT_CAPTURE_SUBJECT_H

#include <stdbool.h>
#include <stddef.h>

#include "core/refusal.h"
#include "format/message.h"

/* What is wrong with a template, in words that say what to do, in `why`; true: nothing. `known` (NULL: anybody) says whether a name of n
 * bytes has a value. */
bool capture_subject_check(const char *template, bool (*known)(const char *name, size_t n), char *why, size_t size);

/* Is {name}, or {name>}, in this template, which is valid? */
bool capture_subject_names(const char *template, const char *name);

/* The narrowest pattern that all its subjects match: "cdc.shop.*.*", ">" for {name>}. The template is valid. capture: what {capture} stands
 * for, in letters that a subject may hold; NULL: it is a name as the others. */
void capture_subject_pattern(const char *template, const char *capture,
			     char pattern[static MESSAGE_SUBJECT_MAX_BYTES + 1]);

/* A value for a name of a template; bytes NULL: it has none. */
struct capture_subject_value {
	const char *bytes;
	size_t count;
};

/* Writes the subject, with a terminator. The template is valid. REASON_NONE, or why there is none: DEFECT_SUBJECT_NULL where a name has no
 * value, DEFECT_SUBJECT_... of message_check_subject(). Empty values make no token: DEFECT_SUBJECT_TOKEN. */
enum reason capture_subject_write(const char *template,
				  struct capture_subject_value (*value)(void *arg, const char *name, size_t n),
				  void *arg, char subject[static MESSAGE_SUBJECT_MAX_BYTES + 1]);

#endif
