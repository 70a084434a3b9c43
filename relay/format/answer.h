/* What all answers of JetStream have in common: JSON, with an error or without, and sequences up to 2^64 - 1. */
#ifndef BOXHAUL_FORMAT_ANSWER_H
#define BOXHAUL_FORMAT_ANSWER_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ANSWER_WORDS_BYTES = 192 };

enum answer_verdict {
	ANSWER_OK,
	ANSWER_NOTHING, /* no message at that sequence (any more) */
	ANSWER_ERROR,   /* any other error of the server; or, with err_code 0, not what JetStream answers at all */
};

/* What the server says went wrong; all zero and "" where it says nothing. */
struct answer_error {
	uint32_t code;     /* like HTTP's */
	uint32_t err_code; /* JetStream's own */
	/* Its description, or another thing it said: one line of printable ASCII (a database may have any encoding, and the books must take it), secrets
	 * masked, cut off where it is longer. */
	char words[ANSWER_WORDS_BYTES];
};

/* The answer as a tree, for json_decref(); NULL where it is no JSON. `data` may be NULL and is not terminated. Integers that
 * jansson does not take stand in it for answer_number() alone. */
json_t *answer_read(const char *data, size_t bytes);

/* Whether the answer has an error; fills `error` in either case. `answer` may be NULL. */
bool answer_error(const json_t *answer, struct answer_error *error);

/* Puts what a server said into the words of `error`, as they are kept; a NULL leaves them as they are. */
void answer_say(struct answer_error *error, const char *words);

/* ANSWER_OK where it has no error and holds `what`, an object. Fills `error`. */
enum answer_verdict answer_verdict(const json_t *answer, const char *what, struct answer_error *error);

/* An integer from 0 to 2^64 - 1 under `key`; false (and *value = 0) where there is none. `o` may be NULL. */
bool answer_number(const json_t *o, const char *key, uint64_t *value);

/* The same, 0 where there is none. */
uint64_t answer_count(const json_t *o, const char *key);

/* An err_code of JetStream, 10000 to 99999; else 0: below stand the core's own reasons, which no server may name. */
uint32_t answer_err_code(const struct answer_error *error);

#endif
