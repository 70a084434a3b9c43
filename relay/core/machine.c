/* Small things that every room of the machine uses. */
#include "core/machine.h"

uint64_t draw(struct delivery *d)
{
	uint64_t x = d->random += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

/* Exponential, capped, and never twice the same: between half of the pause and all of it. */
int64_t backoff(struct delivery *d, uint32_t failures)
{
	uint64_t pause = d->s.retry_max_ms;

	if (failures < 32 && ((uint64_t)d->s.retry_min_ms << failures) < pause)
		pause = (uint64_t)d->s.retry_min_ms << failures;
	return d->now + (int64_t)(pause / 2 + draw(d) % (pause / 2 + 1));
}

void take_note(struct delivery *d, struct note note)
{
	if (d->note_count == LIMIT_NOTES) {
		d->stats.notes_dropped++;
		return;
	}
	d->note[(d->note_first + d->note_count++) % LIMIT_NOTES] = note;
}

struct block *stream_block(struct delivery *d, const struct message *m)
{
	return blocks_find(&d->blocks, scope_of_stream(m->stream));
}

struct block *lane_block(struct delivery *d, const struct message *m)
{
	return m->lane != NULL ? blocks_find(&d->blocks, m->lane->hash) : NULL;
}

/* Something a mark would change. */
void touch(struct delivery *d)
{
	d->dirty = true;
	d->mark_at = earlier(d->mark_at, d->considered_ms + d->s.mark_interval_ms);
}

void renew_lease(struct delivery *d, int64_t asked_ms)
{
	if (asked_ms + d->s.lease_ms > d->lease_until)
		d->lease_until = asked_ms + d->s.lease_ms;
}
