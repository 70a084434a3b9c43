/* The health port: its pages, rendered from facts that the shell collects. */
#ifndef BOXHAUL_WATCH_HEALTH_H
#define BOXHAUL_WATCH_HEALTH_H

#include <stddef.h>
#include <stdint.h>

#include "edge/loop.h"
#include "watch/facts.h"

struct health;

struct health_handlers {
	/* Fills all of the facts. Called on the loop's thread, for pages that need them and every few seconds for the history. */
	void (*collect)(void *arg, struct facts *facts);
	void *arg;
};

/* Listens on a numeric address, or a socket's path. NULL with a text in `error`, which stays as it is when memory is out. */
struct health *health_open(struct loop *l, const char *address, uint16_t port, const struct health_handlers *handlers,
			   char *error, size_t error_size);

/* The same pages on a socket's path besides. False with a text in `error`. */
bool health_also(struct health *h, struct loop *l, const char *path, char *error, size_t error_size);

/* Takes NULL. */
void health_close(struct health *h);

#endif
