/* The relays of a machine: a file each in one directory. */
#ifndef BOXHAUL_COMMAND_INSTANCES_H
#define BOXHAUL_COMMAND_INSTANCES_H

#include <stddef.h>

#include "command/command.h"

struct instances {
	struct {
		char *path;
		struct config *config; /* NULL: it is wrong, which has been said on stderr */
	} * each;
	size_t count;
};

/* Reads all files of the directory (NULL: /etc/boxhaul), by their names, without what they share. EXIT_OK, or it has said why not. Free it
 * in both cases. All are read before any is used: root may become another user for the first one. */
enum exit_code instances_read(struct instances *i, const char *directory);

void instances_free(struct instances *i);

#endif
