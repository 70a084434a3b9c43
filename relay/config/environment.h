/* The last layer of a configuration: BOXHAUL_NATS_URLS is nats.urls, with commas between its texts. For config_load.c only. */
#ifndef BOXHAUL_CONFIG_ENVIRONMENT_H
#define BOXHAUL_CONFIG_ENVIRONMENT_H

#include "config/complaint.h"

/* Makes its tree, of the variables that are set. */
void environment_read(struct loader *l);

#endif
