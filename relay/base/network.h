/* Numbers as they go over the wire: the highest byte first. */
#ifndef BOXHAUL_BASE_NETWORK_H
#define BOXHAUL_BASE_NETWORK_H

#include <stddef.h>
#include <stdint.h>

/* The number in so many bytes, 8 at most. */
static inline uint64_t network_read(const char *at, size_t bytes)
{
	uint64_t number = 0;

	for (size_t i = 0; i < bytes; i++)
		number = number << 8 | (unsigned char)at[i];
	return number;
}

/* Writes a number in 4 bytes, in 8. */
static inline void network_write32(char *at, uint32_t number)
{
	for (int i = 3; i >= 0; i--, number >>= 8)
		at[i] = (char)(number & 0xff);
}

static inline void network_write64(char *at, uint64_t number)
{
	for (int i = 7; i >= 0; i--, number >>= 8)
		at[i] = (char)(number & 0xff);
}

#endif
