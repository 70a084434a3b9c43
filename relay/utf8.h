/* UTF-8, one character at a time, and what others say as one line of it. */
#ifndef BOXHAUL_UTF8_H
#define BOXHAUL_UTF8_H

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

/* What others say may be in any encoding and of any length: in `out` it is one line of UTF-8, cut off behind a whole
 * character. What is no UTF-8 becomes a ?, what no line may hold a space. Returns out. */
static inline const char *utf8_line(const char *text, char *out, size_t size)
{
	size_t n = 0;

	for (size_t length = 0; *text != '\0'; text += length > 0 ? length : 1) {
		bool c1 = text[0] == '\xc2' && (unsigned char)text[1] < 0xa0;
		bool control = (unsigned char)*text < ' ' || *text == 0x7f || c1;

		size_t room;

		length = utf8_length(text, strnlen(text, 4));
		room = control || length == 0 ? 1 : length;
		if (n + room >= size)
			break;
		if (length == 0)
			out[n] = '?';
		else if (control)
			out[n] = ' ';
		else
			memcpy(out + n, text, length);
		n += room;
	}
	out[n] = '\0';
	return out;
}

#endif
