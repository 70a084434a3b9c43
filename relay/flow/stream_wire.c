/* The version is that of the server which leads the stream: it numbers the messages of a batch. A stream of which an older server may take the
 * lead later cannot have allow_batched, for it would not know the stream's configuration; and if one answers all the same, each message
 * gets an answer of its own, and the core goes back to ordinary publishes (WIRE_NO_BATCH). */
#include "flow/stream_wire.h"

#include <stdio.h>
#include <string.h>

static bool takes_all(const struct config_stream *c, const struct stream_info *info)
{
	for (size_t i = 0; i < c->subject_count; i++)
		if (!stream_info_takes(info, c->subjects[i]))
			return false;
	return !info->no_ack && !info->sealed;
}

/* All that a batch holds must go to one stream, so it must be this one for every subject that is configured for it. */
enum wire_reason stream_wire_of(const struct config *config, uint16_t stream, const struct stream_info *info)
{
	const struct config_stream *c = &config->streams[stream];

	if (c->send == SEND_SINGLE)
		return WIRE_SET;
	if (config->delivery.ordering != ORDERING_STRICT)
		return WIRE_ORDERING;
	if (info->mirror || !takes_all(c, info))
		return WIRE_UNKNOWN;
	if (info->server < stream_info_server(2, 14))
		return WIRE_SERVER;
	if (info->allow_counters)
		return WIRE_COUNTER;
	return info->allow_batched ? WIRE_BATCHES : WIRE_STREAM;
}

static const struct {
	const char *text, *advice;
} words[WIRE_REASONS] = {
	[WIRE_BATCHES] = { "the stream takes batches", "" },
	[WIRE_UNTOLD] = { "the stream was not looked at yet", "" },
	[WIRE_SET] = { "its send is \"single\"", "" },
	[WIRE_ORDERING] = { "delivery.ordering is not \"strict\", and batches keep a strict order",
			    "set delivery.ordering = \"strict\"" },
	[WIRE_SERVER] = { "the nats-server that leads the stream is older than 2.14",
			  "upgrade all servers of the cluster" },
	[WIRE_STREAM] = { "the stream's allow_batched is off",
			  "switch it on: nats stream edit %s --allow-fast (in JSON: \"allow_batched\": true)" },
	[WIRE_COUNTER] = { "the stream takes only counters", "" },
	[WIRE_UNKNOWN] = { "the stream is not there, or does not take all that is configured", "" },
	[WIRE_REFUSED] = { "the stream refused a batch", "" },
	[WIRE_TOO_MANY] = { "too many batches are open at the server", "" },
	[WIRE_NO_BATCH] = { "each message of a batch was answered by itself: a nats-server older than 2.14 leads the stream",
			    "upgrade all servers of the cluster" },
	[WIRE_DENIED] = { "this login may not subscribe to what is answered to batches",
			  "let it subscribe to everything under nats.inbox_prefix" },
};

static enum wire_reason known(enum wire_reason reason)
{
	return reason < WIRE_REASONS ? reason : WIRE_UNTOLD;
}

const char *stream_wire_word(enum wire_reason reason)
{
	return reason == WIRE_BATCHES ? "batch" : "single";
}

const char *stream_wire_text(enum wire_reason reason)
{
	return words[known(reason)].text;
}

const char *stream_wire_advice(enum wire_reason reason, const char *stream, char *out, size_t size)
{
	const char *advice = words[known(reason)].advice, *at = strstr(advice, "%s");

	if (at == NULL)
		snprintf(out, size, "%s", advice);
	else
		snprintf(out, size, "%.*s%s%s", (int)(at - advice), advice, stream, at + 2);
	return out;
}
