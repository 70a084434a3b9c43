/* Reads the messages of a stream from one sequence to another, many questions at a time: one after the other would take a round
 * trip each. It only keeps count, so that the daemon reads so on its loop, and a command while it waits:
 *
 *     stream_reader_begin(); stream_reader_ask();
 *     for each answer with the reader's token: stream_reader_take(); stream_reader_ask();
 *     until stream_reader_is_done()
 *
 * Sequences that hold no message (deleted, expired) are answered, too. Answers may come in any order. A reading that is given up
 * is begun anew with another token: by its token, what is still answered of the old one is known for that. */
#ifndef BOXHAUL_FLOW_STREAM_READER_H
#define BOXHAUL_FLOW_STREAM_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/sequences.h"
#include "edge/jetstream.h"
#include "format/stored.h"

/* Everything is borrowed. `left` may be lowered after stream_reader_begin(): no more are asked for. */
struct stream_reader {
	struct jetstream js;
	const char *stream;
	uint64_t token;                 /* of every question */
	const struct sequences *except; /* not to be asked for; NULL = nothing */
	uint64_t next, last, left;      /* to be asked for: next .. last, and no more than that many */
	uint32_t outstanding, window;
	uint64_t read; /* so many were answered */
};

/* first .. last, which is nothing where first is above last. The fields above next are set already. `max_payload`: what the server takes
 * at the most. */
void stream_reader_begin(struct stream_reader *r, uint64_t first, uint64_t last, int64_t max_payload);

/* Asks for as many as the window takes. False: one could not be sent; the reading is over. */
bool stream_reader_ask(struct stream_reader *r);

/* Everything was asked for and answered. */
bool stream_reader_is_done(const struct stream_reader *r);

/* Reads an answer. ANSWER_ERROR: the reading is over; nobody listens (no_responders) where the error is empty, too. */
enum answer_verdict stream_reader_take(struct stream_reader *r, const char *data, size_t bytes, bool no_responders,
				       struct stored_message *message);

#endif
