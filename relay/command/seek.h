/* Where in its stream is a message? Asked of the broker, by its subject, one message after the other. */
#ifndef BOXHAUL_COMMAND_SEEK_H
#define BOXHAUL_COMMAND_SEEK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "command/command.h"

enum seek_end {
	SEEK_FOUND,
	SEEK_NOT_THERE, /* looked at everything of the subject above `above` */
	SEEK_NOT_ASKED, /* `why` says why the broker could not be asked, or not to the end */
};

struct seek {
	const char *stream, *subject, *message_id;
	uint64_t above;
	uint64_t sequence; /* where it was found */
	char why[512];
};

/* Takes a few seconds at most. */
enum seek_end seek(const struct call *call, struct seek *s);

#endif
