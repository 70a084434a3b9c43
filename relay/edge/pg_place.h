/* Where a session is: on which server, and on which history of it. A promotion begins a new timeline. */
#ifndef BOXHAUL_EDGE_PG_PLACE_H
#define BOXHAUL_EDGE_PG_PLACE_H

/* What to ask, in three columns: in recovery; the server's system identifier, which its standbys share; its timeline (NULL in
 * recovery). The control file has the timeline of the last checkpoint, which a promotion does not wait for. */
#define PG_PLACE_COLUMNS                                                                                         \
	"pg_catalog.pg_is_in_recovery(), (SELECT system_identifier FROM pg_catalog.pg_control_system()),"        \
	" CASE WHEN NOT pg_catalog.pg_is_in_recovery() THEN ('x' || pg_catalog.left(pg_catalog.pg_walfile_name(" \
	"  pg_catalog.pg_current_wal_lsn()), 8))::pg_catalog.bit(32)::pg_catalog.int8 END"

#endif
