/* A session beside those that lead: of a worker, of the clock of sagas. What it does is done on its server for good, so it is used
 * only where the process may serve (served.h).
 *
 *     pg's up --> served_session_up(): is it the database that was served? --no--> it ends, and the next one tries another host
 *                                          | yes
 *                                        LISTEN --> up() */
#ifndef BOXHAUL_FLOW_SERVED_SESSION_H
#define BOXHAUL_FLOW_SERVED_SESSION_H

#include <stdbool.h>

#include "edge/pg.h"
#include "flow/served.h"

/* Filled in by its owner, but for `place`. */
struct served_session {
	struct served *served;
	struct pg *pg;
	const struct pg_statement *listen; /* its number is not STATEMENT_READY's (ledger.h) */
	void (*up)(void *arg);             /* it may be used */
	void *arg;
	struct served_place place;
};

/* The session is fresh. Calls up() in the end, or the session ends with the reason, which has the words of those that lead. */
void served_session_up(struct served_session *s);

/* To be asked before each thing that is done over it. False: its server was replaced meanwhile, and the session ends. */
bool served_session_may_go_on(struct served_session *s);

#endif
