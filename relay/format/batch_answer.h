/* What JetStream answers to the messages of a batch (fast ingest, ADR-50): acknowledgements of a part, and the end of it.
 *
 * Which batch an answer is of says the subject that it came to, and in a cluster that is another message's. So of a subject only the batch
 * counts; the number in it says something only where it is refused before the batch was looked at. */
#ifndef BOXHAUL_FORMAT_BATCH_ANSWER_H
#define BOXHAUL_FORMAT_BATCH_ANSWER_H

#include <stdbool.h>
#include <stddef.h>

#include "core/delivery.h"
#include "format/answer.h"

/* Reads any bytes as an answer to a message of this batch (by its token) that was sent to this stream: fills kind and batch of an event, but for
 * the batch itself, its stream, and the number of what is refused. `error` is what the server says went wrong; it is empty where that is nothing. False: nothing that is
 * known, or of another batch; it is to be dropped. An end in another stream is BATCH_REFUSED with REASON_WRONG_STREAM. */
bool batch_answer_read(const char *data, size_t bytes, const char *expected_stream, const char *batch,
		       struct event *event, struct answer_error *error);

#endif
