#include "core/capture/snapshot_xids.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/capture/capture_mutant.h"

bool snapshot_xids_create(struct snapshot_xids *s, size_t most_unseen)
{
	*s = (struct snapshot_xids){ .most_unseen = most_unseen };
	s->xip = calloc(LIMIT_CAPTURE_XIP, sizeof *s->xip);
	s->unseen = calloc(most_unseen, sizeof *s->unseen);
	return s->xip != NULL && s->unseen != NULL;
}

void snapshot_xids_destroy(struct snapshot_xids *s)
{
	free(s->xip);
	free(s->unseen);
}

uint64_t snapshot_xids_widen(uint64_t near, uint32_t xid)
{
	const uint64_t half = UINT64_C(1) << 31, epoch = UINT64_C(1) << 32;
	uint64_t wide = (near & ~(epoch - 1)) | xid;

	if (MUTANT(xid_of_this_epoch))
		return wide;
	if (wide > near && wide - near > half && wide >= epoch)
		return wide - epoch;
	if (wide < near && near - wide > half)
		return wide + epoch;
	return wide;
}

void snapshot_xids_barrier(struct snapshot_xids *s)
{
	s->unseen_count = 0;
	s->unseen_lost = false;
}

void snapshot_xids_committed(struct snapshot_xids *s, uint32_t xid)
{
	if (s->unseen_count == s->most_unseen)
		s->unseen_lost = !MUTANT(unseen_overflow);
	else
		s->unseen[s->unseen_count++] = xid;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

bool snapshot_xids_seen(const struct snapshot_xids *s, uint32_t xid32)
{
	uint64_t xid = snapshot_xids_widen(s->xmax, xid32);

	/* At or above xmax nobody had ended when S was taken, listed or not. */
	if (xid >= s->xmax)
		return MUTANT(xmax_ignored);
	return s->xip_count == 0 || bsearch(&xid, s->xip, s->xip_count, sizeof xid, compare) == NULL ||
	       MUTANT(xip_ignored);
}

bool snapshot_xids_take(struct snapshot_xids *s, const struct capture_snapshot *snapshot)
{
	size_t kept = 0;

	assert(snapshot->xmin <= snapshot->xmax);
	s->xmax = snapshot->xmax;
	s->xip_count = snapshot->xip_count < LIMIT_CAPTURE_XIP ? snapshot->xip_count : LIMIT_CAPTURE_XIP;
	if (s->xip_count > 0)
		memcpy(s->xip, snapshot->xip, s->xip_count * sizeof *s->xip);
	if (snapshot->xip_count > LIMIT_CAPTURE_XIP)
		return false;
	for (size_t i = 0; i < s->unseen_count; i++)
		if (!snapshot_xids_seen(s, s->unseen[i]))
			s->unseen[kept++] = s->unseen[i];
	s->unseen_count = kept;
	/* Nothing that was streamed before is unseen: so nothing that went out is newer than what the chunk holds. */
	return (kept == 0 && !s->unseen_lost) || MUTANT(limbo_ignored);
}
