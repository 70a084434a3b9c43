/* What a message says of the snapshot from which it was sent, in a header of its own; why, see core/README.md, What is gone.
 *
 *     Boxhaul-Snapshot: 5d41402abc4b2a76-00000000000e6cb1      check value, xmin */
#ifndef BOXHAUL_FORMAT_WITNESS_H
#define BOXHAUL_FORMAT_WITNESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WITNESS_HEADER "Boxhaul-Snapshot"

enum { WITNESS_CHARACTERS = 16 + 1 + 16 };

struct witness {
	uint64_t check; /* of who sent which row: witness_check() */
	uint64_t xmin;  /* every xid below it had ended before the snapshot in which the row was read */
};

/* A value that is another one for other bytes, and another value to go on from (0 to begin). */
uint64_t witness_mix(uint64_t value, const void *bytes, size_t count);

/* Of a row that is sent, or read, in this history: that says which server, and where its rows go. */
uint64_t witness_check(uint64_t history, int64_t id, uint64_t xid);

void witness_write(char out[WITNESS_CHARACTERS + 1], struct witness w);

/* False: that is none. */
bool witness_read(const char *text, size_t length, struct witness *w);

#endif
