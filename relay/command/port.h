/* The health port of the relay on this machine, asked by a command: what the database cannot know (NATS, what is in flight). */
#ifndef BOXHAUL_COMMAND_PORT_H
#define BOXHAUL_COMMAND_PORT_H

#include <jansson.h>
#include <stddef.h>

#include "config/config.h"

/* What /status says, if the relay that answers is of this configuration; else NULL, and why not. Takes two seconds at most. */
json_t *port_ask(const struct config *config, char *why, size_t size);

#endif
