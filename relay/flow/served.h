/* Which database, and which history of it, this process has served.
 *
 * A promotion begins a new timeline. Whoever is on an older one than was served already, or is another server altogether, may take
 * writes, but is not the database any more: an old primary that came back. What is read, taken or handled there happens beside what
 * goes on at the new one. So whoever has a session asks here before it uses it, and all ask the same one: what one of them has seen,
 * all have. It knows only for the life of the process. */
#ifndef BOXHAUL_FLOW_SERVED_H
#define BOXHAUL_FLOW_SERVED_H

#include <stdbool.h>
#include <stdint.h>

#include "base/log.h"
#include "books/schema.h"
#include "config/config.h"
#include "edge/pg_result.h"

struct served {
	const struct config *config; /* borrowed, as the log is */
	struct log *log;
	int64_t system, timeline; /* 0: none was yet */
};

/* Where a session is; all 0: it was not accepted yet. */
struct served_place {
	int64_t system, timeline;
};

/* Ready; not; not, and another host of the connection string may be: ask that one. */
enum served_verdict { SERVED_READY, SERVED_NOT_READY, SERVED_ELSEWHERE };

/* Of the answer to ledger_ready(). Ready: it is remembered as served, `place` is where the session is, and `what` and `mend` are as
 * schema_readiness() has them. Else they say in one line each what is wrong and what to do, and `place` is left alone. */
enum served_verdict served_judge(struct served *s, const struct pg_result *ready, char what[static SCHEMA_TEXT_BYTES],
				 char mend[static SCHEMA_TEXT_BYTES], struct served_place *place);

/* Has a newer timeline been served since the session at this place was accepted? Then it must be used no more: its server does not know that
 * it was replaced. A place that was not accepted yet is not past. Returns why, or NULL. */
const char *served_is_past(const struct served *s, const struct served_place *place);

#endif
