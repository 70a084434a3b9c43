#include "format/emitted.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/utf8.h"
#include "format/message.h"

enum { EMITTED_VERSION = 1, HEAD_BYTES = 1 + 3 * 4 };

static int32_t read_int4(const unsigned char *at)
{
	return (int32_t)((uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3]);
}

/* Takes a text of so many bytes off (NULL for -1). False: there are not so many. */
static bool take(const char **at, size_t *left, int32_t bytes, const char **text, size_t *count)
{
	*text = NULL;
	*count = 0;
	if (bytes == -1)
		return true;
	if (bytes < 0 || (size_t)bytes > *left)
		return false;
	*text = *at;
	*count = (size_t)bytes;
	*at += bytes;
	*left -= (size_t)bytes;
	return true;
}

static bool is_text(const char *s, size_t n)
{
	return n == 0 || (memchr(s, '\0', n) == NULL && utf8_valid(s, n));
}

enum reason emitted_read(const void *content, size_t bytes, struct emitted *e)
{
	const unsigned char *head = content;
	const char *at = content;
	size_t left = bytes;
	enum reason defect;

	if (bytes < HEAD_BYTES || head[0] != EMITTED_VERSION)
		return DEFECT_EMITTED;
	at += HEAD_BYTES;
	left -= HEAD_BYTES;
	if (!take(&at, &left, read_int4(head + 1), &e->subject, &e->subject_bytes) ||
	    !take(&at, &left, read_int4(head + 5), &e->key, &e->key_bytes) ||
	    !take(&at, &left, read_int4(head + 9), &e->headers, &e->headers_bytes))
		return DEFECT_EMITTED;
	e->payload = at;
	e->payload_bytes = left;
	defect = message_check_subject(e->subject, e->subject_bytes);
	if (defect == REASON_NONE && !is_text(e->key, e->key_bytes))
		defect = DEFECT_EMITTED;
	return defect != REASON_NONE ? defect : message_each_header(e->headers, e->headers_bytes, NULL, NULL);
}
