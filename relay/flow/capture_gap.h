/* What a look at a capture's replication slot means, where the database cannot say it: it was moved by somebody else, or it is to be let go of. */
#ifndef BOXHAUL_FLOW_CAPTURE_GAP_H
#define BOXHAUL_FLOW_CAPTURE_GAP_H

#include <stdbool.h>
#include <stdint.h>

#include "books/capture_ledger.h"

/* A gap to be put on record; reason "": none. */
struct capture_gap {
	char reason[CAPTURE_LEDGER_REASON_BYTES], detail[CAPTURE_LEDGER_DETAIL_BYTES];
};

/* The slot stands higher than all that was confirmed by now: nobody but us confirms. (While we stream it moves between question and answer, so it is held
 * against what was told when the answer is there, and not when it was asked for.) */
bool capture_gap_moved(struct capture_gap *g, const struct capture_ledger_look *look, uint64_t confirmed);

/* It holds back more of the log than `budget` bytes; 0: there is none. */
bool capture_gap_is_over(const struct capture_ledger_look *look, uint64_t budget);

/* It is let go of for that, before it fills the disk. */
void capture_gap_let_go(struct capture_gap *g, const struct capture_ledger_look *look, uint64_t budget);

#endif
