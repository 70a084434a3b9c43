/* `boxhaul run`: wires the floors together. Decides nothing: callbacks become events, effects become calls. */
#ifndef BOXHAUL_RUN_RELAY_H
#define BOXHAUL_RUN_RELAY_H

#include "base/exits.h"
#include "base/log.h"
#include "config/config.h"

/* Relays until a signal ends it. */
enum exit_code relay_run(const struct config *config, struct log *log);

#endif
