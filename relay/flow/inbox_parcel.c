#include "flow/inbox_parcel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/envelope.h"
#include "format/header_block.h"
#include "format/inbox_message.h"
#include "format/message.h"

/* --- headers --- */

struct headers {
	char *block; /* owned; NULL: there are none */
	size_t bytes;
	struct header_block read;
	char *json;          /* owned; NULL: there are none, or `trouble` says why not */
	const char *trouble; /* why they cannot be stored; NULL: they can */
};

static void free_headers(struct headers *h)
{
	header_block_free(&h->read);
	free(h->json);
	free(h->block);
}

static const char *trouble_of(const struct header_block *read)
{
	const char *trouble = read->trouble;

	for (size_t i = 0; trouble == NULL && i < read->count; i++)
		if (inbox_text_trouble(read->header[i].name) != NULL ||
		    inbox_text_trouble(read->header[i].value) != NULL)
			trouble = "one is not UTF-8";
	return trouble;
}

/* False: out of memory. */
static bool write_json(struct headers *h)
{
	struct inbox_json json;

	if (h->trouble != NULL || h->read.count == 0)
		return true;
	inbox_json_begin(&json);
	for (size_t i = 0, n; i < h->read.count; i += n) {
		n = header_block_same(&h->read, i);
		inbox_json_name(&json, h->read.header[i].name, n != 1);
		for (size_t k = i; k < i + n; k++)
			inbox_json_value(&json, h->read.header[k].value);
	}
	h->json = inbox_json_end(&json);
	return h->json != NULL;
}

/* False: out of memory. free_headers() in any case. */
static bool read_headers(const struct natsio_reply *m, struct headers *h)
{
	*h = (struct headers){ .bytes = 0 };
	if (!natsio_reply_block(m, &h->block, &h->bytes))
		return false;
	if (h->block != NULL && !header_block_read(&h->read, h->block, h->bytes))
		return false;
	h->trouble = trouble_of(&h->read);
	return write_json(h);
}

/* --- the key --- */

/* Points into `room`, or to nothing; the reason where it is no key. */
static const char *read_key(const struct config_subscription *s, const struct natsio_reply *m, const struct headers *h,
			    char *room, const char **key)
{
	const char *value, *trouble = NULL;
	size_t n;

	*key = NULL;
	switch (s->key) {
	case CONFIG_KEY_NONE: break;
	case CONFIG_KEY_HEADER:
		value = header_block_value(&h->read, ENVELOPE_KEY);
		if (value == NULL || value[0] == '\0')
			break;
		trouble = inbox_key_decode(value, room);
		*key = trouble == NULL ? room : NULL;
		break;
	case CONFIG_KEY_SUBJECT:
		n = inbox_key_token(m->subject, s->key_token, &value);
		if (n == 0 || n > INBOX_KEY_MAX_BYTES)
			return n == 0 ? NULL : "is longer than 1,024 bytes";
		*(char *)mempcpy(room, value, n) = '\0';
		*key = room;
		break;
	}
	return trouble;
}

static size_t key_room(const struct config_subscription *s, const struct natsio_reply *m, const struct headers *h)
{
	const char *value = s->key == CONFIG_KEY_HEADER ? header_block_value(&h->read, ENVELOPE_KEY) : NULL;

	return (value != NULL ? strlen(value) : strlen(m->subject)) + 1;
}

/* --- the parcel --- */

static bool matches(const struct config_subscription *s, const char *subject)
{
	for (size_t i = 0; i < s->subject_count; i++)
		if (message_subject_matches(s->subjects[i], subject))
			return true;
	return false;
}

static void bury(struct inbox_parcel *p, const char *what, const char *trouble)
{
	if (trouble != NULL && p->reason[0] == '\0')
		snprintf(p->reason, sizeof p->reason, "its %s %s", what, trouble);
}

/* Copies a text to the room, and moves it on. */
static const char *keep(char **room, const char *text)
{
	const char *at = *room;

	if (text == NULL)
		return NULL;
	*room = mempcpy(*room, text, strlen(text) + 1);
	return at;
}

static size_t length(const char *text)
{
	return text != NULL ? strlen(text) + 1 : 0;
}

/* As the broker counts them. */
static uint32_t wire_bytes_of(const struct natsio_reply *m, const struct headers *h)
{
	size_t bytes = h->bytes + m->bytes + strlen(m->subject) + (m->reply != NULL ? strlen(m->reply) : 0);

	return bytes < UINT32_MAX ? (uint32_t)bytes : UINT32_MAX;
}

static void fill(struct inbox_parcel *p, const struct config_subscription *s, const struct natsio_reply *m,
		 const struct headers *h, const char *id)
{
	const char *bad_subject = inbox_text_trouble(m->subject);
	char *room = p->data + key_room(s, m, h);

	p->foreign = !matches(s, m->subject);
	bury(p, "subject", bad_subject);
	bury(p, "headers:", h->trouble);
	bury(p, "key", bad_subject == NULL ? read_key(s, m, h, p->data, &p->key) : NULL);
	p->subject = bad_subject == NULL ? keep(&room, m->subject) : NULL;
	p->id = id != NULL && inbox_text_trouble(id) == NULL ? keep(&room, id) : NULL;
	p->headers = keep(&room, h->json);
	p->payload = memcpy(room, m->bytes > 0 ? m->data : "", m->bytes);
}

struct inbox_parcel *inbox_parcel_create(const struct config_subscription *s, const struct natsio_reply *m,
					 uint64_t sequence, int64_t time_ns, uint32_t *wire_bytes)
{
	struct inbox_parcel *p = NULL;
	struct headers h;

	if (read_headers(m, &h)) {
		const char *id = header_block_value(&h.read, "Nats-Msg-Id");

		p = malloc(sizeof *p + key_room(s, m, &h) + length(m->subject) + length(id) + length(h.json) +
			   m->bytes);
		if (p != NULL) {
			*p = (struct inbox_parcel){ .sequence = sequence,
						    .time_ns = time_ns,
						    .payload_bytes = m->bytes };
			fill(p, s, m, &h, id);
			*wire_bytes = wire_bytes_of(m, &h);
		}
	}
	free_headers(&h);
	return p;
}
