/* Which database, and as whom. */
#ifndef BOXHAUL_EDGE_PG_OPTIONS_H
#define BOXHAUL_EDGE_PG_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

struct pg_options {
	const char *conninfo;      /* libpq's; borrowed for the life of the pg */
	const char *password_file; /* in the format of libpq's passfile, read again at every connect; or NULL */
	const char *application_name;
	uint32_t statement_timeout_ms; /* 0: 30 s. A session that is silent for 10 s longer is dead */
	uint32_t
		turn; /* of several hosts the one that is tried first: 0 the first one, 1 the second, ..., and around */
	bool turn_alone; /* that host and no other; and it has 2 s to answer, not 5, if the string does not say */
	bool foreign_code; /* statements call functions that are not ours: plans, locks and commits as the database has them */
	bool pinned_text; /* values in text are written in one way, whatever the database has set (edge/pg_login.c) */
	bool replication; /* a walsender of this database: it takes replication commands, and SQL only in the simple protocol */
};

#endif
