#include "format/capture_message.h"

#include <string.h>
#include <strings.h>

#include "format/envelope.h"

void capture_message_free(struct capture_writer *w)
{
	capture_identity_free(&w->identity);
	capture_text_free(&w->payload);
	capture_text_free(&w->headers);
	capture_text_free(&w->key);
	capture_text_free(&w->encoded);
	capture_text_free(&w->piece);
}

void capture_message_begin(struct capture_writer *w)
{
	capture_text_reset(&w->payload);
	capture_text_reset(&w->headers);
	capture_text_reset(&w->key);
	capture_text_reset(&w->encoded);
	capture_text_reset(&w->piece);
	w->header_count = 0;
	w->wire_bytes = 0;
	w->part_at = w->part_bytes = 0;
	w->subject[0] = w->why[0] = '\0';
}

void capture_message_header(struct capture_writer *w, const char *name, const char *value)
{
	size_t n = strlen(name), v = strlen(value);

	capture_text_put(&w->headers, name, n + 1);
	capture_text_put(&w->headers, value, v + 1);
	w->header_count++;
	w->wire_bytes += n + v + ENVELOPE_LINE_BYTES;
}

void capture_message_place(struct capture_writer *w, const struct capture_place *place)
{
	char text[CAPTURE_PLACE_BYTES];
	const char *index = strrchr(capture_identity_position(place, text), '.') + 1;

	capture_message_header(w, CAPTURE_HEADER_POSITION, text);
	capture_message_header(w, CAPTURE_HEADER_INDEX, index);
	capture_message_header(w, CAPTURE_HEADER_TX, capture_identity_transaction(place, text));
}

void capture_message_encoded(struct capture_writer *w, const char *name, const char *value)
{
	char *room;

	w->encoded.count = 0;
	room = capture_text_room(&w->encoded, envelope_encode(value, NULL) + 1);
	if (room == NULL)
		return;
	envelope_encode(value, room);
	capture_message_header(w, name, room);
}

static bool is_ours(const char *name)
{
	return strncasecmp(name, "boxhaul-", strlen("boxhaul-")) == 0;
}

static void add_given(void *arg, const char *name, const char *value, bool attribute)
{
	if (attribute)
		capture_message_encoded(arg, name, value);
	else if (!is_ours(name))
		capture_message_header(arg, name, value);
}

static bool take_given(void *arg, const char *name, const char *value)
{
	add_given(arg, name, value, false);
	return true;
}

enum reason capture_message_given(struct capture_writer *w, const char *source, const char *id,
				  const struct capture_place *place, bool keyed, const char *headers, size_t bytes)
{
	struct envelope e = { .source = source,
			      .message_id = id,
			      .subject = w->subject,
			      .key = keyed ? w->key.bytes : NULL,
			      .created_us = place->commit_us,
			      .headers = headers,
			      .headers_bytes = bytes };

	capture_message_place(w, place);
	if (keyed)
		capture_message_encoded(w, ENVELOPE_KEY, w->key.bytes);
	return source != NULL ? envelope_each(&e, add_given, w) : message_each_header(headers, bytes, take_given, w);
}

enum reason capture_message_end(struct capture_writer *w, bool keyed, struct capture_message *m)
{
	static const size_t last = sizeof CAPTURE_HEADER_LAST - 1 + 1 + ENVELOPE_LINE_BYTES;

	m->subject = w->subject;
	m->key = keyed && w->key.count > 0 ? w->key.bytes : NULL;
	m->headers = w->headers.count > 0 ? w->headers.bytes : "";
	m->headers_bytes = w->headers.count;
	m->header_count = w->header_count;
	m->payload = w->payload.count > 0 ? w->payload.bytes : "";
	m->payload_bytes = w->payload.count;
	m->wire_bytes = w->wire_bytes + last + w->payload.count;
	m->why = w->why[0] != '\0' ? w->why : NULL;
	return w->payload.failed || w->headers.failed || w->key.failed || w->encoded.failed || w->piece.failed
		       ? REASON_NO_MEMORY
		       : REASON_NONE;
}

void capture_message_headers_json(const struct capture_message *m, struct capture_text *out)
{
	const char *at = m->headers;

	capture_text_char(out, '{');
	for (size_t i = 0; i < m->header_count; i++)
		for (int value = 0; value <= 1; value++) {
			capture_text_say(out, value ? ":" : i > 0 ? "," : "");
			capture_text_json_lossy(out, at, strlen(at));
			at += strlen(at) + 1;
		}
	capture_text_char(out, '}');
}
