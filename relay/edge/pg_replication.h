/* The beginning of a replication stream: a session of the walsender kind, where the server stands, and START_REPLICATION. All of it blocks, so
 * it is for a thread of its own. What streams is edge/pg_walsender's. */
#ifndef BOXHAUL_EDGE_PG_REPLICATION_H
#define BOXHAUL_EDGE_PG_REPLICATION_H

#include <stdbool.h>
#include <stdint.h>

#include "edge/pg_options.h"

struct pg_conn;

/* Where the stream comes from, as IDENTIFY_SYSTEM and SHOW say it. */
struct pg_walsender_place {
	uint64_t system;
	uint32_t timeline;
	uint64_t flushed_lsn; /* the end of the server's log */
	int version;          /* as 150004 */
	uint32_t timeout_ms;  /* its wal_sender_timeout; 0: none */
	bool forked;          /* it was asked where it left former_timeline, */
	uint64_t fork_lsn;    /* and that is here */
};

struct pg_replication_start {
	struct pg_options options; /* with replication and pinned_text; their texts are borrowed */
	char slot[64];
	char publications[1024];  /* pg_walsender.h */
	uint64_t from_lsn;        /* 0: where the slot stands */
	uint32_t former_timeline; /* 0: nobody wants to know */
	bool messages;
};

struct pg_replication_made {
	struct pg_conn *conn; /* libpq's PGconn, in COPY both, not blocking; the caller's. NULL: why says why not */
	struct pg_walsender_place place;
	char sqlstate[6]; /* "": nobody said */
	uint32_t pid;     /* 55006: the walsender that has the slot; else 0 */
	char *why;        /* one line; malloc'd, the caller's. NULL: out of memory */
};

/* `made` is all 0. */
void pg_replication_begin(const struct pg_replication_start *start, struct pg_replication_made *made);

#endif
