/* UTF-8, one character at a time, and what others say as one line of it. */
#ifndef BOXHAUL_UTF8_H
#define BOXHAUL_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* The bytes of the character at the start of s (n > 0 bytes), or 0 when it is no valid UTF-8: overlong
 * forms, surrogates, values above U+10FFFF and characters that are cut off count as invalid. */
static inline size_t utf8_length(const char *s, size_t n)
{
	const unsigned char *u = (const unsigned char *)s;
	size_t length = u[0] < 0x80 ? 1 : u[0] < 0xc2 ? 0 : u[0] < 0xe0 ? 2 : u[0] < 0xf0 ? 3 : u[0] < 0xf5 ? 4 : 0;

	if (length == 0 || length > n)
		return 0;
	for (size_t i = 1; i < length; i++)
		if ((u[i] & 0xc0) != 0x80)
			return 0;
	if ((u[0] == 0xe0 && u[1] < 0xa0) || (u[0] == 0xed && u[1] > 0x9f) || (u[0] == 0xf0 && u[1] < 0x90) ||
	    (u[0] == 0xf4 && u[1] > 0x8f))
		return 0;
	return length;
}

/* What a server says may be in any encoding, and may have been cut off in the middle of a character: in `out` it is one
 * line of UTF-8. Returns out. */
static inline const char *utf8_line(const char *text, char *out, size_t size)
{
	size_t length;

	snprintf(out, size, "%s", text);
	for (char *p = out; *p != '\0'; p += length) {
		bool c1 = p[0] == '\xc2' && (unsigned char)p[1] < 0xa0;

		length = utf8_length(p, strlen(p));
		if (length == 0)
			*p = '?', length = 1;
		else if ((*p >= '\0' && *p < ' ') || *p == 0x7f || c1)
			memset(p, ' ', length);
	}
	return out;
}

#endif
