/* What has a chunk seen? Two things: the snapshot S of the statement that read it, and the set U of transactions that the log has
 * brought and no snapshot of ours is known to show.
 *
 * A walsender sends a transaction when its commit record is flushed. Other sessions see it later: when the backend has taken it off
 * the list of those under way, which it does after a synchronous standby has answered. Between the two it is in limbo: streamed,
 * and invisible. So a chunk that is read after a transaction was streamed need not have seen it; and then its rows would be
 * older than what went out before them. Hence U: a chunk is used only if its S has seen all of U (capture.md 2.3).
 *
 * Which transactions a snapshot shows is written in PostgreSQL's procarray.c (GetSnapshotData) and heapam_visibility.c: an xid
 * is seen if it is below xmax and not under way. xmax is one past the last xid that has *ended*, so one that is in limbo may lie
 * at or above it and stand in no list. */
#ifndef BOXHAUL_CORE_CAPTURE_SNAPSHOT_XIDS_H
#define BOXHAUL_CORE_CAPTURE_SNAPSHOT_XIDS_H

#include "core/capture/capture_types.h"

struct snapshot_xids {
	uint64_t xmax; /* S */
	uint64_t *xip; /* ascending */
	size_t xip_count;
	uint32_t *unseen; /* U, in the order of their commits */
	size_t unseen_count, most_unseen;
	bool unseen_lost; /* there were more than could be kept: only a barrier tells now */
};

/* Memory for so many in U. False: there is none. */
bool snapshot_xids_create(struct snapshot_xids *s, size_t most_unseen);
void snapshot_xids_destroy(struct snapshot_xids *s);

/* 64 bits of an xid of 32, as the log has it: the one that is less than 2^31 away from `near`. (A slot holds catalog_xmin, and
 * PostgreSQL gives no xid that is farther than that from the oldest one that counts: what the log brings is near every snapshot.) */
uint64_t snapshot_xids_widen(uint64_t near, uint32_t xid);

/* A barrier begins: whatever was streamed up to now will be visible when it is passed, so U is empty. */
void snapshot_xids_barrier(struct snapshot_xids *s);

/* A transaction was streamed to its end. */
void snapshot_xids_committed(struct snapshot_xids *s, uint32_t xid);

/* A chunk was read in this snapshot, which is copied. Drops from U what it has seen. False: it has not seen all of U, or it is
 * too large: the chunk is void. */
bool snapshot_xids_take(struct snapshot_xids *s, const struct capture_snapshot *snapshot);

/* Has the chunk seen this transaction? */
bool snapshot_xids_seen(const struct snapshot_xids *s, uint32_t xid);

#endif
