/* Any key, subject and headers as an event. What is let through are headers that say one thing each, in as many bytes as
 * were reckoned; an attribute's value is printable and reads back as it was. */
#include <strings.h>

#include "format/envelope.h"
#include "format/message.h"
#include "fuzz.h"

struct seen {
	size_t wire, ids;
};

static void check_encoded(const char *value)
{
	size_t n = envelope_encode(value, NULL), at = 0;
	char *encoded = malloc(n + 1), *end;

	promise(encoded != NULL, "memory");
	promise(envelope_encode(value, encoded) == n && strlen(encoded) == n, "%zu bytes of %s", n, encoded);
	for (const char *p = encoded; *p != '\0'; p++, at++) {
		char hex[3] = { p[0] == '%' ? p[1] : '\0', p[0] == '%' ? p[2] : '\0', '\0' };

		promise(*p > ' ' && *p <= '~' && *p != '"', "byte %d in a value", *p);
		promise((hex[0] != '\0' ? (char)strtoul(hex, &end, 16) : *p) == value[at], "another value: %s",
			encoded);
		p += hex[0] != '\0' ? 2 : 0;
	}
	promise(value[at] == '\0', "less than the value");
	free(encoded);
}

static void check(void *arg, const char *name, const char *value, bool attribute)
{
	struct seen *seen = arg;

	promise((strncasecmp(name, "ce-", 3) == 0) == attribute, "%s is an attribute or not", name);
	promise(strncasecmp(name, "Nats-", 5) != 0, "the name %s", name);
	if (attribute)
		check_encoded(value);
	seen->ids += strcasecmp(name, "ce-id") == 0;
	seen->wire += strlen(name) + (attribute ? envelope_encode(value, NULL) : strlen(value)) + 4;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	size_t key_bytes, subject_bytes, headers_bytes, measured = 0;
	char *key = take_text(&in, '\0', &key_bytes), *subject = take_text(&in, '\0', &subject_bytes),
	     *headers = take_text(&in, '\0', &headers_bytes);
	struct envelope e = { .source = "/boxhaul/fuzz",
			      .message_id = "0b0e9d39-1f6c-4a8b-9a4e-9f4f3c1b2a10",
			      .subject = subject,
			      .key = key,
			      .created_us = (int64_t)(size * UINT64_C(0x9e3779b97f4a7c15)),
			      .headers = headers,
			      .headers_bytes = headers_bytes };
	struct seen seen = { .wire = 0 };
	enum reason defect = envelope_measure(&e, &measured);

	promise(defect != REASON_NONE || message_each_header(headers, headers_bytes, NULL, NULL) == REASON_NONE,
		"headers that are none: %s", headers);
	if (defect == REASON_NONE) {
		promise(envelope_each(&e, check, &seen) == REASON_NONE, "a defect at the second look");
		promise(seen.ids == 1 && seen.wire == measured, "%zu ids, %zu bytes for %zu", seen.ids, measured,
			seen.wire);
	}
	free(key);
	free(subject);
	free(headers);
	return 0;
}
