/* What goes over a connection that streams a replication slot: the content of each CopyData, in both directions. (PostgreSQL's documentation,
 * "Streaming Replication Protocol", START_REPLICATION ... LOGICAL.) */
#ifndef BOXHAUL_EDGE_PG_WAL_DATA_H
#define BOXHAUL_EDGE_PG_WAL_DATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum pg_wal_data_kind {
	PG_WAL_DATA_PLUGIN,    /* a message of the output plugin */
	PG_WAL_DATA_KEEPALIVE, /* everything below end_lsn was sent */
};

struct pg_wal_data {
	enum pg_wal_data_kind kind;
	uint64_t lsn;        /* of a plugin's message; 0/0 for some */
	uint64_t end_lsn;    /* of a keepalive */
	int64_t time_us;     /* when it was sent, by the server's clock, since 2000-01-01 */
	bool reply_wanted;   /* of a keepalive: a status at once, or the server ends the connection before long */
	const char *content; /* of a plugin's message: into what was read */
	size_t bytes;
};

/* NULL where it was read; else why not: a few words, static. */
const char *pg_wal_data_read(const char *data, size_t bytes, struct pg_wal_data *out);

enum { PG_WAL_DATA_STATUS_BYTES = 34 };

/* What we tell. Each position is the first byte that was not received (or not confirmed); the server drops what was confirmed. */
struct pg_wal_data_status {
	uint64_t received_lsn, confirmed_lsn;
	int64_t time_us;   /* since 2000-01-01: the server only shows it */
	bool reply_wanted; /* a keepalive at once */
};

void pg_wal_data_write_status(char out[PG_WAL_DATA_STATUS_BYTES], const struct pg_wal_data_status *status);

/* Where the history of a server's log left the one of timeline `former`: what was written there beyond this position is not in its log. content: of its
 * answer to TIMELINE_HISTORY, a line for each timeline that it comes from, with the position at which that one was left. 0: it says of none, so all may
 * be missing. */
uint64_t pg_wal_data_fork(const char *content, size_t bytes, uint32_t former);

#endif
