/* The metrics: one table, from which /metrics is written. */
#ifndef BOXHAUL_METRICS_H
#define BOXHAUL_METRICS_H

#include <stdbool.h>
#include <stdio.h>

#include "health.h"

/* Prometheus' text format 0.0.4. What is not known, or not a standby's to know, has no sample. */
void metrics_write(FILE *out, const struct health_facts *facts, bool ready);

#endif
