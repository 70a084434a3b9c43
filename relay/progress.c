#include "progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/refusal.h"

struct progress {
	const struct config *config;
	struct log *log;
	const struct publisher *publisher;
	int64_t busy_since_ms;    /* there has been something to deliver since; 0 = nothing */
	int64_t fetch_failing_ms; /* fetches have failed since; 0 = no */
	char fetch_why[256];
	bool stalled;
	int64_t stats_ms;
	struct delivery_stats last; /* at the last stats line */
};

struct progress *progress_create(const struct config *config, struct log *log, const struct publisher *publisher)
{
	struct progress *p = calloc(1, sizeof *p);

	if (p == NULL)
		return NULL;
	p->config = config;
	p->log = log;
	p->publisher = publisher;
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

static void watch(struct progress *p, const struct delivery_stats *s, int64_t now)
{
	bool busy = s->leading && s->resident + s->parked_ranges > 0;

	if (!busy)
		p->busy_since_ms = 0;
	else if (p->busy_since_ms == 0)
		p->busy_since_ms = now;
}

/* The first that takes nothing, or how many there are. */
static uint16_t blocked_stream(const struct progress *p, const struct delivery_stats *s)
{
	uint16_t i = 0;

	while (i < p->config->stream_count && !s->stream[i].blocked)
		i++;
	return i;
}

void progress_stall(const struct progress *p, const struct delivery_stats *s, int64_t now, char *out, size_t size)
{
	int64_t since = p->busy_since_ms > s->last_ack_ms ? p->busy_since_ms : s->last_ack_ms;
	uint16_t i = blocked_stream(p, s);

	out[0] = '\0';
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
	if (p->busy_since_ms == 0 || now - since <= p->config->health.stall_after_ms)
		return;
	if (i < p->config->stream_count)
		snprintf(out, size, "nothing was acknowledged for %" PRId64 " s: stream %s: %s%s%s",
			 (now - since) / 1000, p->config->streams[i].name, refusal_text(s->stream[i].reason),
			 publisher_detail(p->publisher, i)[0] != '\0' ? ": " : "", publisher_detail(p->publisher, i));
	else if (s->resident == 0)
		out[0] = '\0'; /* only lanes that wait for an operator or a probe: the others move */
	else
		snprintf(
			out, size,
			"nothing was acknowledged for %" PRId64
			" s: %u messages wait, %u in flight, %u backing off, %u until it is known what their stream holds",
			(now - since) / 1000, s->resident, s->in_flight, s->backing_off, s->asking);
}

static void tell_stall(struct progress *p, const struct delivery_stats *s, int64_t now)
{
	char why[512];

	progress_stall(p, s, now, why, sizeof why);
	if (why[0] != '\0')
		log_error(p->log, "stalled", KS("why", why));
	else if (p->stalled)
		log_info(p->log, "moving again");
	p->stalled = why[0] != '\0';
}

static void stats_line(struct progress *p, const struct delivery_stats *s, const char *role, int64_t now)
{
	int64_t seconds = (now - p->stats_ms) / 1000;

	if (now - p->stats_ms < p->config->log.stats_interval_ms || seconds == 0)
		return;
	log_figures(p->log, "stats", KS("role", role), KU("acked", s->acked - p->last.acked),
		    KU("per_second", (s->acked - p->last.acked) / (uint64_t)seconds),
		    KU("duplicates", s->duplicates - p->last.duplicates), KU("refused", s->refused - p->last.refused),
		    KU("dead", s->dead - p->last.dead), KU("queue", s->resident), KU("in_flight", s->in_flight),
		    KI("position", s->position), KI("read", s->read), KU("exceptions", s->exceptions),
		    KU("fetches", s->fetches - p->last.fetches), KU("marks", s->marks - p->last.marks));
	p->last = *s;
	p->stats_ms = now;
}

void progress_tick(struct progress *p, const struct delivery_stats *s, const char *role, int64_t now)
{
	if (p->stats_ms == 0)
		p->stats_ms = now;
	watch(p, s, now);
	tell_stall(p, s, now);
	stats_line(p, s, role, now);
}
