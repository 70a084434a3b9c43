/* What a cut-over is about: both databases, the capture of the one and the sink of the other, and what stands against it. */
#ifndef BOXHAUL_COMMAND_CUTOVER_PLAN_H
#define BOXHAUL_COMMAND_CUTOVER_PLAN_H

#include <stdbool.h>
#include <stddef.h>

#include "command/cutover_step.h"

/* Finds capture and sink, and prints what stands against a cut-over, and with --dry-run what would be done. EXIT_OK: nothing does. */
enum exit_code cutover_plan(struct cutover *m);
void cutover_plan_free(struct cutover *m);

/* Tables and their partitions. */
struct cutover_relation {
	char *tab, *oid;
	bool fenced;
};

struct cutover_relations {
	struct cutover_relation *each;
	size_t count;
};

/* Of tables (a text[]). False after saying why. */
bool cutover_relations(const struct cutover_side *side, const char *tables, struct cutover_relations *all);
void cutover_relations_free(struct cutover_relations *all);

#endif
