/* The attributes of an event, from the row and around it. */
#include "format/envelope.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "format/message.h"

enum { EPOCH_2000 = 946684800, MICROSECONDS = 1000000 };

/* What the row may bring itself. Whatever of it is missing comes from around it. */
enum { SOURCE = 1, TYPE = 2, TIME = 4, PARTITIONKEY = 8, DATACONTENTTYPE = 16 };

struct walk {
	void (*each)(void *arg, const char *name, const char *value, bool attribute);
	void *arg;
	unsigned present;
	enum reason defect;
};

static void attribute(struct walk *w, const char *name, const char *value)
{
	w->each(w->arg, name, value, true);
}

/* The relay's own have no bit: they are not for a row to set. */
static bool is_own(const char *name)
{
	return strcmp(name, "id") == 0 || strcmp(name, "specversion") == 0 || strcmp(name, "datacontenttype") == 0;
}

static unsigned bit_of(const char *name)
{
	return strcmp(name, "source") == 0         ? SOURCE
	       : strcmp(name, "type") == 0         ? TYPE
	       : strcmp(name, "time") == 0         ? TIME
	       : strcmp(name, "partitionkey") == 0 ? PARTITIONKEY
						   : 0;
}

/* An attribute's name is small letters and digits; so no two of them differ in case only, and none is empty. */
static bool is_legal(const char *header, const char *value)
{
	static const char legal[] = "abcdefghijklmnopqrstuvwxyz0123456789";
	const char *name = header + 3;

	return strncmp(header, "ce-", 3) == 0 && name[0] != '\0' && name[strspn(name, legal)] == '\0' &&
	       value[0] != '\0' && !is_own(name);
}

/* The receiver of a content type of this family looks for the event in the payload, not in the headers. */
static bool holds_event(const char *content_type)
{
	return strncasecmp(content_type, "application/cloudevents", 23) == 0;
}

static bool take_header(void *arg, const char *name, const char *value)
{
	struct walk *w = arg;
	bool is_attribute = strncasecmp(name, "ce-", 3) == 0;

	if (is_attribute && !is_legal(name, value)) {
		w->defect = DEFECT_HEADER_ENVELOPE;
	} else if (is_attribute) {
		w->present |= bit_of(name + 3);
		attribute(w, name, value);
	} else if (strcasecmp(name, "content-type") == 0) {
		if (holds_event(value))
			w->defect = DEFECT_CONTENT_TYPE;
		if (value[0] != '\0' && (w->present & DATACONTENTTYPE) == 0)
			attribute(w, "ce-datacontenttype", value);
		w->present |= DATACONTENTTYPE;
		w->each(w->arg, name, value, false);
	} else {
		w->each(w->arg, name, value, false);
	}
	return w->defect == REASON_NONE;
}

bool envelope_time(int64_t us, char out[static ENVELOPE_TIME_BYTES])
{
	int64_t seconds = us / MICROSECONDS - (us % MICROSECONDS < 0);
	time_t since_1970 = (time_t)(seconds + EPOCH_2000);
	struct tm utc;

	if (us == INT64_MIN || us == INT64_MAX || gmtime_r(&since_1970, &utc) == NULL || utc.tm_year < -1900 ||
	    utc.tm_year > 9999 - 1900)
		return false;
	snprintf(out, ENVELOPE_TIME_BYTES, "%04d-%02d-%02dT%02d:%02d:%02d.%06dZ", utc.tm_year + 1900, utc.tm_mon + 1,
		 utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec, (int)(us - seconds * MICROSECONDS));
	return true;
}

enum reason envelope_each(const struct envelope *e,
			  void (*each)(void *arg, const char *name, const char *value, bool attribute), void *arg)
{
	struct walk w = { .each = each, .arg = arg };
	enum reason defect = message_each_header(e->headers, e->headers_bytes, take_header, &w);
	char created[ENVELOPE_TIME_BYTES];

	if (defect != REASON_NONE || w.defect != REASON_NONE)
		return defect != REASON_NONE ? defect : w.defect;
	attribute(&w, "ce-specversion", "1.0");
	attribute(&w, "ce-id", e->message_id);
	if ((w.present & SOURCE) == 0)
		attribute(&w, "ce-source", e->source);
	if ((w.present & TYPE) == 0)
		attribute(&w, "ce-type", e->subject);
	if ((w.present & TIME) == 0 && envelope_time(e->created_us, created))
		attribute(&w, "ce-time", created);
	if ((w.present & PARTITIONKEY) == 0 && e->key != NULL && e->key[0] != '\0')
		attribute(&w, "ce-partitionkey", e->key);
	return REASON_NONE;
}

static void add_up(void *arg, const char *name, const char *value, bool is_attribute)
{
	*(size_t *)arg +=
		strlen(name) + (is_attribute ? envelope_encode(value, NULL) : strlen(value)) + ENVELOPE_LINE_BYTES;
}

enum reason envelope_measure(const struct envelope *e, size_t *bytes)
{
	*bytes = 0;
	return envelope_each(e, add_up, bytes);
}

/* Byte by byte: what UTF-8 needs more than one for has none below 0x80. */
static bool is_plain(char c)
{
	return c > ' ' && c <= '~' && c != '"' && c != '%';
}

static size_t encoded_bytes(const char *value)
{
	size_t n = 0;

	for (; *value != '\0'; value++)
		n += is_plain(*value) ? 1 : 3;
	return n;
}

size_t envelope_encode(const char *value, char *out)
{
	static const char hex[] = "0123456789ABCDEF";
	char *at = out;

	if (out == NULL)
		return encoded_bytes(value);
	for (; *value != '\0'; value++) {
		unsigned char c = (unsigned char)*value;

		if (is_plain(*value)) {
			*at++ = *value;
		} else {
			*at++ = '%';
			*at++ = hex[c >> 4];
			*at++ = hex[c & 15];
		}
	}
	*at = '\0';
	return (size_t)(at - out);
}
