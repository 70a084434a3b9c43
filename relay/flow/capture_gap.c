#include "flow/capture_gap.h"

#include <inttypes.h>
#include <stdio.h>

bool capture_gap_moved(struct capture_gap *g, const struct capture_ledger_look *look, uint64_t confirmed)
{
	if (look->confirmed <= confirmed)
		return false;
	snprintf(g->reason, sizeof g->reason, "foreign");
	snprintf(g->detail, sizeof g->detail,
		 "somebody moved the replication slot %s, or made it anew: it stands %" PRIu64
		 " bytes beyond all that we ever confirmed",
		 look->slot, look->confirmed - confirmed);
	return true;
}

bool capture_gap_is_over(const struct capture_ledger_look *look, uint64_t budget)
{
	return budget > 0 && look->exists && look->retained > 0 && (uint64_t)look->retained > budget;
}

void capture_gap_let_go(struct capture_gap *g, const struct capture_ledger_look *look, uint64_t budget)
{
	snprintf(g->reason, sizeof g->reason, "let_go");
	snprintf(g->detail, sizeof g->detail,
		 "the slot held back %" PRId64 " bytes of the log, more than wal_budget (%" PRIu64 "), and was dropped",
		 look->retained, budget);
}
