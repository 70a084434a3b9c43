#include "command/cutover_relations.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command/session.h"

static const char relations[] = "SELECT t.tab, r.r::text, boxhaul.fence_stands(r.r) FROM unnest($1::text[]) t (tab),"
				" boxhaul.capture_relations(boxhaul.capture_relation(t.tab)) r (r) ORDER BY 1, r.r";

bool cutover_relations(const struct cutover_side *side, const char *tables, struct cutover_relations *all)
{
	const struct pg_result *r = pg_session_run(side->session, relations, 1, &tables);

	*all = (struct cutover_relations){ .count = 0 };
	if (pg_error(r) != NULL) {
		session_failed(side->call.config, "cannot look at the tables", r);
		return false;
	}
	all->each = calloc((size_t)pg_rows(r) + 1, sizeof *all->each);
	if (all->each == NULL) {
		fprintf(stderr, "boxhaul: out of memory\n");
		return false;
	}
	for (int i = 0; i < pg_rows(r); i++) {
		struct cutover_relation *x = &all->each[all->count++];

		*x = (struct cutover_relation){ .tab = strdup(pg_text(r, i, 0)),
						.oid = strdup(pg_text(r, i, 1)),
						.fenced = pg_text(r, i, 2)[0] == 't' };
		if (x->tab == NULL || x->oid == NULL) {
			fprintf(stderr, "boxhaul: out of memory\n");
			cutover_relations_free(all);
			return false;
		}
	}
	return true;
}

void cutover_relations_free(struct cutover_relations *all)
{
	for (size_t i = 0; all->each != NULL && i < all->count; i++) {
		free(all->each[i].tab);
		free(all->each[i].oid);
	}
	free(all->each);
	*all = (struct cutover_relations){ .count = 0 };
}
