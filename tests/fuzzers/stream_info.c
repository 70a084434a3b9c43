/* Any bytes as JetStream's answer to what the relay asks about its streams, under any token. What is kept of it is one short
 * text; it never becomes an event of a message; and only an answer to a publish does. */
#include <sys/mman.h>
#include <unistd.h>

#include "config/config_load.h"
#include "edge/jetstream.h"
#include "flow/publisher.h"
#include "flow/stream_setup.h"
#include "fuzz.h"

static const char text[] = "postgres = { conninfo = \"\"; }; nats = { urls = [ \"nats://127.0.0.1\" ]; };"
			   "streams = ( { name = \"ORDERS\"; subjects = [ \"orders.>\", \"paid\" ]; create = true; },"
			   "            { name = \"REST\"; subjects = [ \"rest.*\" ]; } );";

static struct config *load(void)
{
	int fd = memfd_create("config", MFD_CLOEXEC);
	char path[32];
	struct config *c;

	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	if (write(fd, text, sizeof text - 1) != (ssize_t)sizeof text - 1 || (c = config_load(path, stderr)) == NULL)
		abort();
	return c;
}

static uint64_t take_token(struct input *in)
{
	unsigned bits = take_byte(in);
	uint64_t token = (uint64_t)(bits & 1) + 1, number = 0;

	if ((bits & 4) == 0)
		return token << 32 | (bits >> 1 & 1); /* info or create, of one of the streams */
	for (int i = 0; i < 8; i++)
		number = number << 8 | take_byte(in);
	return number;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct config *config;
	static struct parcel **parcels, first = { .stream = 1, .subject = "rest.a" };
	static struct publisher *p;
	static struct stream_setup *setup;
	static struct reasons *reasons;
	static struct natsio *io; /* never connected: what would be sent is made and refused */
	static struct log *log;
	struct input in = { data, size };
	struct natsio_reply reply = { .token = take_token(&in), .no_responders = take_byte(&in) == '!' };
	struct event ev = { .kind = EVENT_TICK };
	size_t slot = reply.token & 0xffff;

	if (p == NULL) {
		config = load();
		parcels = calloc(config->delivery.queue_messages, sizeof(struct parcel *));
		log = log_create(memfd_create("log", MFD_CLOEXEC), LOG_LEVEL_ERROR, LOG_LOGFMT);
		reasons = reasons_create();
		io = natsio_open(loop_create(), &(struct natsio_options){ .name = "fuzz" },
				 &(struct natsio_handlers){ .arg = NULL });
		p = publisher_create(config, io, reasons, parcels);
		setup = stream_setup_create(config, io, reasons, log);
		parcels[0] = &first;
	}
	reply.data = (const char *)in.at;
	reply.bytes = in.left;
	if (stream_setup_reply(setup, &reply)) {
		promise(jetstream_owns(reply.token), "a publish's reply is taken for a request's");
	} else if (publisher_reply(p, &reply, &ev)) {
		promise((reply.token >> 16 & 0xffff) != 0, "an event of a request of ours");
		promise(slot == 0, "slot %zu is empty", slot);
		promise(ev.kind == EVENT_ACKED || ev.kind == EVENT_REFUSED, "event %d", (int)ev.kind);
		promise((ev.kind == EVENT_ACKED ? ev.acked.token : ev.refused.token) == reply.token, "another token");
		promise(!reply.no_responders || ev.kind == EVENT_REFUSED, "nobody took it, and it is acknowledged");
	}
	for (uint16_t i = 0; i < LIMIT_STREAMS; i++)
		promise(strlen(stream_setup_detail(setup, i)) < (i < config->stream_count ? REASONS_TEXT_BYTES : 1),
			"%s: of stream %d", stream_setup_detail(setup, i), i);
	return 0;
}
