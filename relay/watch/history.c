#include "watch/history.h"

void history_add(struct history *h, const struct facts *f)
{
	h->sample[h->next] = (struct history_sample){
		.at_ms = f->now_ms,
		.acks = f->stats->acked,
		.lag_us = f->backlog->known ? f->backlog->oldest_us : -1,
	};
	h->next = (h->next + 1) % HISTORY_SAMPLES;
	if (h->count < HISTORY_SAMPLES)
		h->count++;
}

const struct history_sample *history_at(const struct history *h, size_t n)
{
	return &h->sample[(h->next + HISTORY_SAMPLES - h->count + n) % HISTORY_SAMPLES];
}

double history_rate(const struct history *h, int64_t now_ms, uint64_t acks, int64_t seconds)
{
	const struct history_sample *from = NULL;

	for (size_t n = 0; n < h->count && (n == 0 || history_at(h, n)->at_ms <= now_ms - seconds * 1000); n++)
		from = history_at(h, n);
	return from != NULL && now_ms > from->at_ms
		       ? (double)(acks - from->acks) * 1000 / (double)(now_ms - from->at_ms)
		       : -1;
}
