/* What a cut-over is about: both databases, the capture of the one and the sink of the other, and what stands against it. */
#ifndef BOXHAUL_COMMAND_CUTOVER_PLAN_H
#define BOXHAUL_COMMAND_CUTOVER_PLAN_H

#include "command/cutover_step.h"

/* Finds capture and sink, and prints what stands against a cut-over, and with --dry-run what would be done. EXIT_OK: nothing does. */
enum exit_code cutover_plan(struct cutover *m);
void cutover_plan_free(struct cutover *m);

#endif
