/* Things to come, the soonest first. */
#ifndef SIM_AGENDA_H
#define SIM_AGENDA_H

#include <stddef.h>
#include <stdint.h>

/* What each of them begins with. */
struct due {
	int64_t at;
	uint64_t order; /* of two at the same time, the one that was planned first */
};

/* `bytes` is the size of each; all else is zero at the beginning. */
struct agenda {
	size_t bytes, count, room;
	char *of;
};

/* Copies it in. */
void agenda_put(struct agenda *q, const void *what);

/* Copies the soonest out; there is one. */
void agenda_take(struct agenda *q, void *what);

void agenda_free(struct agenda *q);

#endif
