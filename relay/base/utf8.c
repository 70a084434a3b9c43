#include "base/utf8.h"

#include <stdio.h>

bool utf8_valid(const char *s, size_t n)
{
	for (size_t i = 0; i < n;) {
		size_t length = utf8_length(s + i, n - i);

		if (length == 0)
			return false;
		i += length;
	}
	return true;
}

/* Of a character of one to three bytes. */
static unsigned value_of(const char *s, size_t length)
{
	const unsigned char *u = (const unsigned char *)s;

	if (length == 1)
		return u[0];
	return length == 2 ? (u[0] & 0x1fu) << 6 | (u[1] & 0x3fu)
			   : (u[0] & 0x0fu) << 12 | (u[1] & 0x3fu) << 6 | (u[2] & 0x3fu);
}

size_t utf8_show(const char *s, size_t n, char to[static UTF8_SHOWN_BYTES])
{
	size_t length = utf8_length(s, n);
	unsigned char c = (unsigned char)s[0];

	if (length == 0)
		snprintf(to, UTF8_SHOWN_BYTES, "\xef\xbf\xbd"); /* U+FFFD */
	else if (c == '\n' || c == '\r' || c == '\t')
		snprintf(to, UTF8_SHOWN_BYTES, "\\%c", c == '\n' ? 'n' : c == '\r' ? 'r' : 't');
	else if (c < ' ' || c == 0x7f || (c == 0xc2 && (unsigned char)s[1] < 0xa0) || utf8_misleads(s, length))
		snprintf(to, UTF8_SHOWN_BYTES, "\\u%04x", value_of(s, length) & 0xffffu);
	else
		snprintf(to, UTF8_SHOWN_BYTES, "%.*s", (int)length, s);
	return length > 0 ? length : 1;
}

const char *utf8_line(const char *text, char *out, size_t size)
{
	size_t n = 0;

	for (size_t left = strlen(text); left > 0;) {
		char shown[UTF8_SHOWN_BYTES];
		size_t length = utf8_show(text, left, shown), room = strlen(shown);

		if (n + room >= size)
			break;
		memcpy(out + n, shown, room);
		n += room;
		text += length;
		left -= length;
	}
	out[n] = '\0';
	return out;
}
