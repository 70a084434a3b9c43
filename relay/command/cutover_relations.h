/* What a cut-over fences: the relations of its tables. */
#ifndef BOXHAUL_COMMAND_CUTOVER_RELATIONS_H
#define BOXHAUL_COMMAND_CUTOVER_RELATIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "command/cutover_step.h"

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
