/* MSG.GET is answered by the stream's leader, so what was acknowledged before is seen (DIRECT.GET may be answered by a replica
 * that lags). A consumer would be quicker and would not carry payloads about, but may lag likewise, and a work queue allows
 * none beside its own. */
#include "edge/jetstream.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUBJECT_BYTES = 768, BODY_BYTES = 48 };

static bool ask(const struct jetstream *js, const char *subject, const char *body, uint64_t token)
{
	if (js->io == NULL)
		return natsio_session_ask(js->session, subject, body, token);
	return natsio_send(
		js->io,
		&(struct natsio_message){
			.subject = subject, .payload = body, .bytes = strlen(body), .token = token, .request = true });
}

static bool request(const struct jetstream *js, const char *verb, const char *stream, const char *body, uint64_t token)
{
	char subject[SUBJECT_BYTES];

	snprintf(subject, sizeof subject, "%s.STREAM.%s.%s", js->prefix, verb, stream);
	return ask(js, subject, body, token);
}

bool jetstream_account(const struct jetstream *js, uint64_t token)
{
	char subject[SUBJECT_BYTES];

	snprintf(subject, sizeof subject, "%s.INFO", js->prefix);
	return ask(js, subject, "", token);
}

bool jetstream_info(const struct jetstream *js, const char *stream, uint64_t token)
{
	return request(js, "INFO", stream, "", token);
}

bool jetstream_create(const struct jetstream *js, const char *stream, const char *config, uint64_t token)
{
	return request(js, "CREATE", stream, config, token);
}

bool jetstream_message(const struct jetstream *js, const char *stream, uint64_t sequence, uint64_t token)
{
	char body[BODY_BYTES];

	snprintf(body, sizeof body, "{\"seq\":%" PRIu64 "}", sequence);
	return request(js, "MSG.GET", stream, body, token);
}

bool jetstream_next_message(const struct jetstream *js, const char *stream, uint64_t from, const char *subject,
			    uint64_t token)
{
	json_t *text = json_string(subject);
	char *quoted = json_dumps(text, JSON_ENCODE_ANY | JSON_COMPACT), *body = NULL;
	bool ok = quoted != NULL && asprintf(&body, "{\"seq\":%" PRIu64 ",\"next_by_subj\":%s}", from, quoted) > 0 &&
		  request(js, "MSG.GET", stream, body, token);

	free(body);
	free(quoted);
	json_decref(text);
	return ok;
}

static const char *of_consumer(const struct jetstream *js, const char *verb, const char *stream, const char *consumer,
			       char subject[static SUBJECT_BYTES])
{
	snprintf(subject, SUBJECT_BYTES, "%s.CONSUMER.%s.%s.%s", js->prefix, verb, stream, consumer);
	return subject;
}

bool jetstream_consumer_create(const struct jetstream *js, const char *stream, const char *consumer, const char *body,
			       uint64_t token)
{
	char subject[SUBJECT_BYTES];

	return ask(js, of_consumer(js, "CREATE", stream, consumer, subject), body, token);
}

bool jetstream_consumer_delete(const struct jetstream *js, const char *stream, const char *consumer, uint64_t token)
{
	char subject[SUBJECT_BYTES];

	return ask(js, of_consumer(js, "DELETE", stream, consumer, subject), "", token);
}

bool jetstream_consumer_next(const struct jetstream *js, const char *stream, const char *consumer, const char *body,
			     unsigned lane, uint64_t token)
{
	char subject[SUBJECT_BYTES];

	return natsio_send(js->io,
			   &(struct natsio_message){ .subject = of_consumer(js, "MSG.NEXT", stream, consumer, subject),
						     .payload = body,
						     .bytes = strlen(body),
						     .token = token,
						     .lane = lane,
						     .request = true });
}
