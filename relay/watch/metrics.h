/* The table of figures in Prometheus' text format 0.0.4. */
#ifndef BOXHAUL_WATCH_METRICS_H
#define BOXHAUL_WATCH_METRICS_H

#include <stdio.h>

#include "watch/facts.h"
#include "watch/verdict.h"

/* Writes all of them, and asks the kernel for those of the process. */
void metrics_write(FILE *out, const struct facts *f, const struct verdict *v);

#endif
