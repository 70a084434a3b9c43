/* The settings of sagas, and the subscription that they stand for. For the readers and checkers of config/ only. */
#ifndef BOXHAUL_CONFIG_CONFIG_SAGAS_H
#define BOXHAUL_CONFIG_CONFIG_SAGAS_H

#include <stdbool.h>

#include "config/complaint.h"

/* Single values, and what is set for nothing. */
void config_sagas_check(struct loader *l);

/* Counts the subscriptions of the file and, where sagas are started here, puts the one behind them that takes the answers: its array has
 * room for one more, or is NULL. False: out of memory. */
bool config_sagas_derive(struct config *c);

#endif
