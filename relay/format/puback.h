/* What JetStream answers to a publish. Hand-built JSON on the server's fast path: any spacing, any order of keys. */
#ifndef BOXHAUL_FORMAT_PUBACK_H
#define BOXHAUL_FORMAT_PUBACK_H

#include <stddef.h>

#include "core/delivery.h"
#include "format/answer.h"

/* Fills kind, acked or refused (but not the token) of an event from an answer. An ack counts only when it carries no
 * error, names the expected stream and has a sequence above 0: a clustered server up to 2.10 answers
 * "duplicate" with seq 0 while the first copy is only proposed, and may still lose it. `error` is what the server says went
 * wrong; it is filled where the event is EVENT_REFUSED, and left alone where it is EVENT_ACKED. */
void puback_read(const char *data, size_t bytes, const char *expected_stream, struct event *event,
		 struct answer_error *error);

/* What an error of the server means: its err_code, or the reason that its words say. */
uint32_t puback_reason(const struct answer_error *error);

/* Puts the name of a stream that has stored what was meant for another one into the words of `error`, with what to do. */
void puback_name_other(const char *stream, struct answer_error *error);

#endif
