/* Does it move, and if not, why? One line in words from one look. */
#ifndef BOXHAUL_COMMAND_VERDICT_H
#define BOXHAUL_COMMAND_VERDICT_H

#include <jansson.h>
#include <stddef.h>

#include "config.h"

enum movement {
	MOVES,  /* messages go out, or there are none */
	LIMPS,  /* some go out, and some are held back; or nobody leads and nothing waits */
	STANDS, /* messages wait and nothing goes out */
};

enum movement verdict(const json_t *look, const struct config *config, char *line, size_t size);

/* "pid 812 (psql, idle in transaction for 3 min)". Returns `to`. */
const char *verdict_who(const json_t *who, char *to, size_t size);

#endif
