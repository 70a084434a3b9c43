#include "flow/stored_time.h"

#include <stdlib.h>

#include "edge/jetstream.h"
#include "format/stored.h"

struct stored_time {
	struct natsio *nats;
	const struct config *config;
	struct stored_time_handlers handlers;
	uint32_t number; /* of the question */
	uint64_t sequence;
};

struct stored_time *stored_time_create(struct natsio *nats, const struct config *config,
				       const struct stored_time_handlers *handlers)
{
	struct stored_time *t = calloc(1, sizeof *t);

	if (t != NULL)
		*t = (struct stored_time){ .nats = nats, .config = config, .handlers = *handlers };
	return t;
}

void stored_time_free(struct stored_time *t)
{
	free(t);
}

void stored_time_ask(struct stored_time *t, uint64_t sequence)
{
	struct jetstream js = { .io = t->nats, .prefix = t->config->nats.jetstream_prefix };

	t->number = (t->number + 1) % JETSTREAM_NUMBERS;
	t->sequence = sequence;
	/* What cannot be sent gets no answer, and who waits for it does so for a while. */
	jetstream_message(&js, t->config->streams[0].name, sequence,
			  jetstream_token(JETSTREAM_STORED_TIME, 0, t->number));
}

bool stored_time_reply(struct stored_time *t, const struct natsio_reply *reply)
{
	struct stored_message m = { .sequence = 0 };

	if (jetstream_kind(reply->token) != JETSTREAM_STORED_TIME)
		return false;
	if (jetstream_number(reply->token) != t->number)
		return true;
	if (reply->no_responders || stored_message_read(reply->data, reply->bytes, &m) != ANSWER_OK ||
	    m.sequence != t->sequence)
		m.time_ns = 0;
	t->handlers.told(t->handlers.arg, t->sequence, m.time_ns);
	return true;
}
