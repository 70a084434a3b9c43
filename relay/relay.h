/* `boxhaul run`: wires the floors together. Decides nothing: callbacks become events, effects become calls. */
#ifndef BOXHAUL_RELAY_H
#define BOXHAUL_RELAY_H

#include "config.h"
#include "exits.h"
#include "log.h"

/* Relays until a signal ends it. */
enum exit_code relay_run(const struct config *config, struct log *log);

#endif
