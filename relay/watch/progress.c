#include "watch/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct progress {
	const struct config *config;
	const struct reasons *reasons;
	const struct stream_setup *setup;
	struct backlog *backlog;
	uint64_t acked[LIMIT_STREAMS];
	int64_t acked_ms[LIMIT_STREAMS]; /* that many since */
	int64_t fetch_failing_ms;        /* fetches have failed since; 0 = no */
	char fetch_why[256];
};

struct progress *progress_create(const struct config *config, const struct reasons *reasons,
				 const struct stream_setup *setup, struct backlog *backlog)
{
	struct progress *p = calloc(1, sizeof *p);

	if (p != NULL)
		*p = (struct progress){ .config = config, .reasons = reasons, .setup = setup, .backlog = backlog };
	return p;
}

void progress_free(struct progress *p)
{
	free(p);
}

void progress_fetched(struct progress *p)
{
	p->fetch_failing_ms = 0;
}

void progress_fetch_failed(struct progress *p, const char *why, int64_t now)
{
	if (p->fetch_failing_ms == 0)
		p->fetch_failing_ms = now;
	snprintf(p->fetch_why, sizeof p->fetch_why, "%s", why);
}

/* Since when messages of a stream wait and none was acknowledged; INT64_MAX = not so. Nothing is looked at where
 * something was acknowledged lately. */
static int64_t waits_since(const struct progress *p, const struct delivery_stats *s, size_t i, int64_t now)
{
	int64_t since = INT64_MAX;

	if (now - p->acked_ms[i] <= p->config->health.stall_after_ms)
		return INT64_MAX;
	/* What is parked is not in memory; but a stream is only blocked while something of it waits. */
	if (s->stream[i].blocked)
		since = s->stream[i].since_ms;
	else if (s->resident > 0 && backlog_look(p->backlog, s)->stream[i].messages > 0)
		since = backlog_look(p->backlog, s)->stream[i].since_ms;
	return since < p->acked_ms[i] ? p->acked_ms[i] : since;
}

/* The stream that has stood still for longest, if it has for too long; else how many there are. */
static size_t stalled_stream(const struct progress *p, const struct delivery_stats *s, int64_t now, int64_t *since,
			     size_t *others)
{
	size_t worst = p->config->stream_count, count = 0;

	*since = INT64_MAX;
	for (size_t i = 0; i < p->config->stream_count; i++) {
		int64_t t = waits_since(p, s, i, now);

		if (t == INT64_MAX || now - t <= p->config->health.stall_after_ms)
			continue;
		count++;
		if (t < *since) {
			*since = t;
			worst = i;
		}
	}
	*others = count > 0 ? count - 1 : 0;
	return worst;
}

static void tell_stream(const struct progress *p, const struct delivery_stats *s, size_t i, int64_t seconds,
			size_t others, char *out, size_t size)
{
	uint32_t reason = s->stream[i].reason;
	const char *advice = stream_setup_advice(p->setup, (uint16_t)i, reason);
	char more[64] = "", why[REASONS_TEXT_BYTES];

	reasons_text(p->reasons, REASONS_NO_MESSAGE, (uint16_t)i, reason, why, sizeof why);
	if (others > 0)
		snprintf(more, sizeof more, "; and %zu more streams stand still", others);
	if (s->stream[i].blocked)
		snprintf(out, size, "nothing was acknowledged for %" PRId64 " s: stream %s: %s%s%s%s", seconds,
			 p->config->streams[i].name, why, advice[0] != '\0' ? ": " : "", advice, more);
	else
		snprintf(
			out, size,
			"nothing was acknowledged for %" PRId64
			" s: stream %s: %u messages wait; of all streams, %u are in flight, %u back off, %u wait until it is "
			"known what their stream holds%s",
			seconds, p->config->streams[i].name, backlog_look(p->backlog, s)->stream[i].messages,
			s->in_flight, s->backing_off, s->asking, more);
}

void progress_stall(const struct progress *p, const struct delivery_stats *s, int64_t now, char *out, size_t size)
{
	int64_t since;
	size_t others, i;

	out[0] = '\0';
	if (s->leading && s->paused) /* as it is meant to be */
		return;
	if (s->full && now - s->last_row_ms > p->config->health.stall_after_ms) {
		snprintf(
			out, size,
			"nothing new is read: %u ranges of ids and %u keys are held back or missing, which is all there is room for; "
			"look for transactions that stay open, and at boxhaul.dead_letter",
			s->exceptions, s->blocked_lanes);
		return;
	}
	if (p->fetch_failing_ms > 0 && now - p->fetch_failing_ms > p->config->health.stall_after_ms) {
		snprintf(out, size, "the outbox could not be read for %" PRId64 " s: %s",
			 (now - p->fetch_failing_ms) / 1000, p->fetch_why);
		return;
	}
	if (!s->leading) {
		backlog_idle_leader(p->backlog, out, size);
		return;
	}
	i = stalled_stream(p, s, now, &since, &others);
	if (i < p->config->stream_count)
		tell_stream(p, s, i, (now - since) / 1000, others, out, size);
}

void progress_tick(struct progress *p, const struct delivery_stats *s, int64_t now)
{
	for (size_t i = 0; i < p->config->stream_count; i++)
		if (!s->leading || s->paused || s->stream[i].acked != p->acked[i]) {
			p->acked[i] = s->stream[i].acked;
			p->acked_ms[i] = now;
		}
}
