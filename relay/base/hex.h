/* Hexadecimal digits, and the uuids that are written with them. Every message has several; printf() would cost more than
 * everything else that is done for it. */
#ifndef BOXHAUL_BASE_HEX_H
#define BOXHAUL_BASE_HEX_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { UUID_BYTES = 16, UUID_CHARACTERS = 36 };

/* The two digits of each byte, one after the other: half as many steps as digit by digit. */
#define HEX_OF(d) d "0" d "1" d "2" d "3" d "4" d "5" d "6" d "7" d "8" d "9" d "a" d "b" d "c" d "d" d "e" d "f"
static const char hex_pairs[] = HEX_OF("0") HEX_OF("1") HEX_OF("2") HEX_OF("3") HEX_OF("4") HEX_OF("5") HEX_OF("6")
	HEX_OF("7") HEX_OF("8") HEX_OF("9") HEX_OF("a") HEX_OF("b") HEX_OF("c") HEX_OF("d") HEX_OF("e") HEX_OF("f");

/* Two small digits for each of n bytes, at `out`; no terminator. Returns what comes behind them. */
static inline char *hex_write(char *out, const unsigned char *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		out = (char *)memcpy(out, hex_pairs + 2 * (size_t)bytes[i], 2) + 2;
	return out;
}

/* All 16 digits of a number, with a terminator: 17 characters. */
static inline void hex_write_number(char *out, uint64_t number)
{
	for (int shift = 56; shift >= 0; shift -= 8)
		out = (char *)memcpy(out, hex_pairs + 2 * (size_t)(number >> shift & 255), 2) + 2;
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
