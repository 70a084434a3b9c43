/* UTF-8, one character at a time, and what others say as one line of it. */
#ifndef BOXHAUL_BASE_UTF8_H
#define BOXHAUL_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
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

bool utf8_valid(const char *s, size_t n);

/* Turns the direction of what follows, or ends the line, without being seen: shown as it is, a text would read as another one.
 * (U+061C, U+200E, U+200F, U+2028 to U+202E, U+2066 to U+2069.) */
static inline bool utf8_misleads(const char *s, size_t length)
{
	const unsigned char *u = (const unsigned char *)s;

	if (length == 2)
		return u[0] == 0xd8 && u[1] == 0x9c;
	return length == 3 && u[0] == 0xe2 &&
	       ((u[1] == 0x80 && (u[2] == 0x8e || u[2] == 0x8f || (u[2] >= 0xa8 && u[2] <= 0xae))) ||
		(u[1] == 0x81 && u[2] >= 0xa6 && u[2] <= 0xa9));
}

enum { UTF8_SHOWN_BYTES = 8 };

/* The character at the start of s (n > 0 bytes), as one line of text may show it, in `to`, terminated: itself, or an escape for what
 * would end the line, move a terminal's cursor or mislead a reader (\n, \u001b, \u202e), or U+FFFD for what is no UTF-8. The
 * log, the health port and every command say the same. Returns how many bytes of s it is. */
size_t utf8_show(const char *s, size_t n, char to[static UTF8_SHOWN_BYTES]);

/* What others say may be in any encoding and of any length: in `out` it is one line of UTF-8, as utf8_show() has it, cut off
 * behind a whole character. Returns out. */
const char *utf8_line(const char *text, char *out, size_t size);

#endif
