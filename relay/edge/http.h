/* The health port: a few GET pages, bounded, never in the way. Knows libmicrohttpd and nothing of messages. */
#ifndef BOXHAUL_EDGE_HTTP_H
#define BOXHAUL_EDGE_HTTP_H

#include <stdint.h>
#include <stdio.h>

#include "edge/loop.h"

struct http;

/* One page: writes the body, returns the HTTP status. Called on the loop's thread. */
struct http_page {
	const char *path;
	const char *content_type;
	int (*render)(void *arg, FILE *body);
};

/* Listens on a numeric address; or on a socket of that path, whoever may write to it. `pages` (ended by a NULL path) is borrowed. NULL with a text in `error`, which stays as it
 * is when memory is out. */
struct http *http_open(struct loop *l, const char *address, uint16_t port, const struct http_page *pages, void *arg,
		       char *error, size_t error_size);

/* Cuts what is open. Takes NULL. */
void http_close(struct http *h);

#endif
