/* Hexadecimal digits, and the uuids that are written with them. Every message has several; printf() would cost more than
 * everything else that is done for it. */
#ifndef BOXHAUL_BASE_HEX_H
#define BOXHAUL_BASE_HEX_H

#include <stddef.h>
#include <stdint.h>

enum { UUID_BYTES = 16, UUID_CHARACTERS = 36 };

/* Two small digits for each of n bytes, at `out`; no terminator. Returns what comes behind them. */
static inline char *hex_write(char *out, const unsigned char *bytes, size_t n)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < n; i++) {
		*out++ = digits[bytes[i] >> 4];
		*out++ = digits[bytes[i] & 15];
	}
	return out;
}

/* All 16 digits of a number, with a terminator: 17 characters. */
static inline void hex_write_number(char *out, uint64_t number)
{
	for (int shift = 60; shift >= 0; shift -= 4)
		*out++ = "0123456789abcdef"[number >> shift & 15];
	*out = '\0';
}

/* What the digit stands for, in either case; -1 = it is none. */
static inline int hex_digit(char c)
{
	return c >= '0' && c <= '9'   ? c - '0'
	       : c >= 'a' && c <= 'f' ? c - 'a' + 10
	       : c >= 'A' && c <= 'F' ? c - 'A' + 10
				      : -1;
}

static inline void uuid_write(char out[UUID_CHARACTERS + 1], const unsigned char uuid[UUID_BYTES])
{
	static const unsigned char groups[] = { 4, 2, 2, 2, 6 };

	for (size_t i = 0; i < sizeof groups; uuid += groups[i++]) {
		out = hex_write(out, uuid, groups[i]);
		*out++ = '-';
	}
	out[-1] = '\0';
}

#endif
