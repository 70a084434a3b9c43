#include "format/logical_message.h"

#include <stdio.h>
#include <string.h>

#include "base/utf8.h"
#include "format/capture_subject.h"
#include "format/emitted.h"

bool logical_message_is_of(const char *prefix, const char *configured)
{
	size_t n = strlen(configured);

	return strncmp(prefix, configured, n) == 0 &&
	       (prefix[n] == '\0' || (prefix[n] == '/' && strcmp(configured, EMITTED_PREFIX) != 0));
}

/* prefix/name/key; NULL: it is not there. */
struct parts {
	struct capture_subject_value prefix, name, key;
};

static struct parts parts_of(const char *prefix)
{
	const char *slash = strchr(prefix, '/'), *second = slash != NULL ? strchr(slash + 1, '/') : NULL;
	struct parts p = { .prefix = { prefix, slash != NULL ? (size_t)(slash - prefix) : strlen(prefix) } };

	if (slash != NULL)
		p.name = (struct capture_subject_value){ slash + 1, second != NULL ? (size_t)(second - slash - 1)
										   : strlen(slash + 1) };
	if (second != NULL)
		p.key = (struct capture_subject_value){ second + 1, strlen(second + 1) };
	return p;
}

static struct capture_subject_value part(void *arg, const char *name, size_t n)
{
	const struct parts *p = arg;

	if (n == 6 && memcmp(name, "prefix", n) == 0)
		return p->prefix;
	if (n == 4 && memcmp(name, "name", n) == 0)
		return p->name;
	return p->key;
}

/* Terminated, in w->key. False: there is none, or it is no text. */
static bool keep_key(struct capture_writer *w, const char *key, size_t bytes)
{
	if (key == NULL || !utf8_valid(key, bytes))
		return false;
	capture_text_put(&w->key, key, bytes);
	capture_text_char(&w->key, '\0');
	return !w->key.failed;
}

static enum reason write_plain(struct capture_writer *w, const char *subject, const char *prefix, const void *content,
			       size_t bytes)
{
	struct parts p = parts_of(prefix);
	enum reason defect = capture_subject_write(subject, part, &p, w->subject);

	keep_key(w, p.key.bytes, p.key.count);
	capture_text_put(&w->payload, content, bytes);
	if (defect != REASON_NONE)
		w->subject[0] = '\0';
	return defect;
}

/* `headers` is left to the caller: they point into the content. */
static enum reason write_emitted(struct capture_writer *w, const char *pattern, const void *content, size_t bytes,
				 struct emitted *e)
{
	enum reason defect = emitted_read(content, bytes, e);

	if (defect == DEFECT_EMITTED || defect == REASON_NO_MEMORY) {
		*e = (struct emitted){ .payload = content, .payload_bytes = bytes };
	} else if (e->subject_bytes > 0 && e->subject_bytes <= MESSAGE_SUBJECT_MAX_BYTES && defect == REASON_NONE) {
		memcpy(w->subject, e->subject, e->subject_bytes);
		w->subject[e->subject_bytes] = '\0';
	}
	keep_key(w, e->key, e->key_bytes);
	capture_text_put(&w->payload, e->payload, e->payload_bytes);
	if (defect != REASON_NONE || message_subject_matches(pattern, w->subject))
		return defect;
	snprintf(w->why, sizeof w->why, "messages.subject = \"%.100s\" does not take its subject", pattern);
	return DEFECT_EMITTED;
}

enum reason logical_message_write(struct capture_writer *w, const struct capture_style *style, const char *subject,
				  const struct capture_place *place, const char *prefix, const void *content,
				  size_t bytes, struct capture_message *m)
{
	struct emitted e = { .subject = NULL };
	enum reason defect, headers, made;
	bool keyed;

	capture_message_begin(w);
	if (!capture_identity_change(&w->identity, place, m->id))
		return REASON_NO_MEMORY;
	if (strcmp(prefix, EMITTED_PREFIX) == 0)
		defect = write_emitted(w, subject, content, bytes, &e);
	else
		defect = write_plain(w, subject, prefix, content, bytes);
	keyed = w->key.count > 0;
	headers = capture_message_given(w, style->format == CAPTURE_FORMAT_CLOUDEVENTS ? style->event_source : NULL,
					m->id, place, keyed, e.headers, e.headers_bytes);
	made = capture_message_end(w, keyed, m);
	return made != REASON_NONE ? made : defect != REASON_NONE ? defect : headers;
}
