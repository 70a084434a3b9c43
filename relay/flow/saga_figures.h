/* What boxhaul.saga_look() says, as numbers and texts to show. */
#ifndef BOXHAUL_FLOW_SAGA_FIGURES_H
#define BOXHAUL_FLOW_SAGA_FIGURES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "edge/pg_result.h"

enum { LIMIT_SAGA_KINDS = 128 }; /* names times states that are told apart; what is behind them counts in the sums */

struct saga_kind {
	char name[64], state[16];
	uint64_t open;
};

/* Each text is one line of UTF-8. */
struct saga_figures {
	bool known; /* the database has answered; else the rest is 0 */
	uint64_t open, stuck;
	int64_t oldest_us; /* how long ago the oldest that is open was started; 0: none is */
	int64_t late_us;   /* how late the last deadline was that was taken */
	uint64_t timeouts; /* deadlines that have passed without an answer */
	char worst_id[40]; /* the one that is stuck since the longest time; "" = none is */
	char worst_name[64], worst_step[64], worst_why[48];
	int64_t worst_us; /* since so long */
	size_t kinds;
	struct saga_kind kind[LIMIT_SAGA_KINDS];
};

/* The question: one row for each name and state, at least one. No parameters. */
extern const char saga_figures_query[];

/* Its binary answer. Of an error: not known. */
void saga_figures_read(const struct pg_result *r, struct saga_figures *f);

#endif
