/* A text that grows: what the body of a change is written into. Its memory is kept from one to the next.
 *
 * jansson is not used here: it would read every number of a jsonb into a double, which is not what the row holds; and it makes a tree of objects of
 * what only has to be written once. */
#ifndef BOXHAUL_FORMAT_CAPTURE_TEXT_H
#define BOXHAUL_FORMAT_CAPTURE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct capture_text {
	char *bytes; /* owned; not terminated */
	size_t count, room;
	bool failed; /* out of memory: something is missing */
};

/* Empties it. The memory stays, but for what a single large row needed. */
void capture_text_reset(struct capture_text *t);
void capture_text_free(struct capture_text *t);

/* Room for so many bytes at the end, which do not count yet; NULL: out of memory. */
char *capture_text_room(struct capture_text *t, size_t count);

void capture_text_put(struct capture_text *t, const void *bytes, size_t count);
void capture_text_char(struct capture_text *t, char c);

/* A literal, or any terminated text. */
void capture_text_say(struct capture_text *t, const char *text);
void capture_text_number(struct capture_text *t, uint64_t n);

/* A JSON string with its quotes. False: it is not valid UTF-8, and nothing was written. */
bool capture_text_json(struct capture_text *t, const char *text, size_t count);

/* The same of bytes that may be anything: what is no UTF-8 is U+FFFD in it. */
void capture_text_json_lossy(struct capture_text *t, const char *text, size_t count);

void capture_text_base64(struct capture_text *t, const unsigned char *bytes, size_t count);

#endif
