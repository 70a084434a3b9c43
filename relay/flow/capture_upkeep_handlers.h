/* What who looks after a slot (flow/capture_upkeep.h) tells who leads the capture. */
#ifndef BOXHAUL_FLOW_CAPTURE_UPKEEP_HANDLERS_H
#define BOXHAUL_FLOW_CAPTURE_UPKEEP_HANDLERS_H

#include <stdbool.h>
#include <stdint.h>

#include "books/capture_ledger.h"

enum { CAPTURE_UPKEEP_WORDS = 640 };

struct capture_upkeep_handlers {
	/* These four as in flow/capture_leader.h. */
	void (*live)(void *arg, struct capture_ledger_books *books, int64_t asked_ms);
	void (*not_live)(void *arg, const char *why);
	void (*paused)(void *arg, uint64_t pause);
	bool (*verify)(void *arg, struct capture_ledger_books *books);
	/* Our epoch is over, and the session lives: somebody has changed the books. It has ended. */
	void (*over)(void *arg);
	void *arg;
};

#endif
