/* Any text as a row's headers. What is let through cannot end a line, name a header of the server's, or stand twice. */
#include <strings.h>

#include "format/message.h"
#include "fuzz.h"

struct seen {
	size_t calls, stop_at;
};

static bool check(void *arg, const char *name, const char *value)
{
	struct seen *seen = arg;

	promise(name[0] != '\0' && strncasecmp(name, "Nats-", 5) != 0, "the name %s", name);
	for (const char *p = name; *p != '\0'; p++)
		promise(*p > ' ' && *p <= '~' && *p != ':', "byte %d in a name", *p);
	for (const char *p = value; *p != '\0'; p++)
		promise((unsigned char)*p >= ' ' ? *p != 0x7f : *p == '\t', "byte %d in a value", *p);
	promise(is_utf8(value, strlen(value)), "a value that is no UTF-8");
	return ++seen->calls != seen->stop_at;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;
	struct seen all = { .stop_at = SIZE_MAX }, one = { .stop_at = 1 };
	enum reason only_checked = message_each_header(text, size, NULL, NULL);
	enum reason defect = message_each_header(text, size, check, &all);
	json_t *headers = json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL);

	promise(defect == only_checked, "%d, and %d when asked again", only_checked, defect);
	promise(size <= MESSAGE_HEADERS_MAX_BYTES || defect == DEFECT_HEADERS_LONG, "%zu bytes: %d", size, defect);
	promise(defect == REASON_NONE || all.calls == 0, "%zu headers before the defect", all.calls);
	if (defect == REASON_NONE) {
		promise(all.calls == json_object_size(headers), "%zu of %zu headers", all.calls,
			json_object_size(headers));
		message_each_header(text, size, check, &one);
		promise(one.calls == (all.calls > 0), "it goes on after it was told to stop");
	}
	json_decref(headers);
	return 0;
}
