#include "format/witness.h"

#include "base/hex.h"

/* FNV-1a. Nobody is kept out by it, who may write to the stream; what is another row is to be told apart. */
uint64_t witness_mix(uint64_t value, const void *bytes, size_t count)
{
	const unsigned char *at = bytes;

	value ^= UINT64_C(0xcbf29ce484222325);
	for (size_t i = 0; i < count; i++)
		value = (value ^ at[i]) * UINT64_C(0x100000001b3);
	return value;
}

uint64_t witness_check(uint64_t history, int64_t id, uint64_t xid)
{
	return witness_mix(witness_mix(history, &id, sizeof id), &xid, sizeof xid);
}

void witness_write(char out[WITNESS_CHARACTERS + 1], struct witness w)
{
	hex_write_number(out, w.check);
	out[16] = '-';
	hex_write_number(out + 17, w.xmin);
}

static bool read_number(const char *text, uint64_t *number)
{
	*number = 0;
	for (int i = 0; i < 16; i++) {
		int digit = hex_digit(text[i]);

		if (digit < 0)
			return false;
		*number = *number << 4 | (uint64_t)digit;
	}
	return true;
}

bool witness_read(const char *text, size_t length, struct witness *w)
{
	return length == WITNESS_CHARACTERS && text[16] == '-' && read_number(text, &w->check) &&
	       read_number(text + 17, &w->xmin);
}
