/* The story of a host: what its core is told, and what it wants, a line each. */
#include <stdio.h>

#include "core/refusal.h"
#include "host.h"
#include "world.h"

static const char *const event_name[] = {
	[EVENT_TICK] = "tick",
	[EVENT_LEADING] = "LEADING",
	[EVENT_DEPOSED] = "DEPOSED",
	[EVENT_BUS_UP] = "BUS UP",
	[EVENT_BUS_DOWN] = "BUS DOWN",
	[EVENT_ROWS] = "rows",
	[EVENT_FETCH_FAILED] = "fetch failed",
	[EVENT_ACKED] = "acked",
	[EVENT_REFUSED] = "refused",
	[EVENT_MARKED] = "marked",
	[EVENT_ANNOUNCED] = "announced",
	[EVENT_RENEWED] = "renewed",
	[EVENT_NOTIFIED] = "notified",
	[EVENT_DECIDED] = "decided",
	[EVENT_DRAIN] = "DRAIN",
	[EVENT_SETTINGS] = "other settings",
	[EVENT_LOOKBACK] = "tail",
	[EVENT_PAUSED] = "paused",
	[EVENT_WIRE] = "wire",
	[EVENT_BATCH] = "batch",
};

static const char *const note_name[] = {
	[NOTE_STREAM_BLOCKED] = "stream blocked",
	[NOTE_STREAM_OPEN] = "stream open",
	[NOTE_LANE_BLOCKED] = "lane blocked",
	[NOTE_LANE_OPEN] = "lane open",
	[NOTE_DEAD] = "dead",
	[NOTE_HELD] = "held",
	[NOTE_VANISHED] = "vanished",
	[NOTE_FULL] = "full",
	[NOTE_UNROUTED] = "unrouted",
	[NOTE_RETRY] = "retry",
	[NOTE_PREDECESSOR] = "waits for others",
	[NOTE_BLIND] = "cannot be looked at",
	[NOTE_FOREIGN] = "foreign",
	[NOTE_WIRE] = "wire",
};

void host_tells_event(struct sim *s, const struct host *h, const struct event *e)
{
	const char *name = event_name[e->kind];

	if (e->kind == EVENT_ROWS)
		trace(s, "host %u  < %zu rows %lld..%lld%s%s, horizon %llu", h->index, e->rows.count,
		      e->rows.count ? (long long)e->rows.rows[0].id : 0LL,
		      e->rows.count ? (long long)e->rows.rows[e->rows.count - 1].id : 0LL,
		      e->rows.complete ? "" : ", more", e->rows.beyond ? " beyond" : "",
		      (unsigned long long)e->rows.horizon);
	else if (e->kind == EVENT_ACKED)
		trace(s, "host %u  < acked token %llx seq %llu%s", h->index, (unsigned long long)e->acked.token,
		      (unsigned long long)e->acked.sequence, e->acked.duplicate ? " (duplicate)" : "");
	else if (e->kind == EVENT_REFUSED)
		trace(s, "host %u  < refused token %llx: %u %s", h->index, (unsigned long long)e->refused.token,
		      e->refused.reason, refusal_text(e->refused.reason));
	else if (e->kind == EVENT_LEADING)
		trace(s, "host %u  < LEADING position %lld, fence %llu", h->index, (long long)e->leading.position,
		      (unsigned long long)e->leading.fence);
	else if (e->kind == EVENT_MARKED)
		trace(s, "host %u  < marked, fence %llu", h->index, (unsigned long long)e->marked.fence);
	else if (e->kind == EVENT_ANNOUNCED)
		trace(s, "host %u  < announced %s, fence %llu", h->index, e->announced.asleep ? "asleep" : "awake",
		      (unsigned long long)e->announced.fence);
	else if (e->kind == EVENT_DECIDED)
		trace(s, "host %u  < decided %lld: %s", h->index, (long long)e->decided.id,
		      e->decided.redrive ? "redrive" : "discard");
	else if (e->kind == EVENT_LOOKBACK)
		trace(s, "host %u  < tail of stream %u: %s, it ends at %llu%s", h->index, e->lookback.stream,
		      e->lookback.ok ? "read" : refusal_text(e->lookback.reason), (unsigned long long)e->lookback.last,
		      e->lookback.another ? ", another one" : "");
	else if (e->kind == EVENT_PAUSED)
		trace(s, "host %u  < %s", h->index, e->paused.operator_pause != 0 ? "PAUSED" : "not paused");
	else
		trace(s, "host %u  < %s", h->index, name);
}

static void tell_fetch(struct sim *s, const struct host *h, const struct effect *e)
{
	trace(s, "host %u  > fetch%s%s %lld, %zu ranges %lld..%lld, %u rows%s%s%s", h->index,
	      h->now.pace ? " (asleep)" : "", e->fetch.forward ? " after" : " not after", (long long)e->fetch.after,
	      e->fetch.wanted_count, e->fetch.wanted_count ? (long long)e->fetch.wanted[0].lo : 0LL,
	      e->fetch.wanted_count ? (long long)e->fetch.wanted[e->fetch.wanted_count - 1].hi : 0LL, e->fetch.rows,
	      e->fetch.horizon ? ", horizon" : "", e->fetch.evidence ? ", evidence" : "",
	      e->fetch.kept ? ", as kept" : "");
}

static const char *floor_text(uint64_t floor)
{
	static char text[24];

	if (floor == LOW_WATER_NONE)
		return "none";
	snprintf(text, sizeof text, "%llu", (unsigned long long)floor);
	return text;
}

static void tell_mark(struct sim *s, const struct host *h, const struct mark *m)
{
	trace(s, "host %u  > mark position %lld, %zu gone, %zu new, %zu dead", h->index, (long long)m->position,
	      m->gone_count, m->added_count, m->dead_count);
}

static void tell_note(struct sim *s, const struct host *h, const struct note *n)
{
	trace(s, "host %u  > note: %s %lld..%lld, stream %u, reason %u, attempts %u", h->index, note_name[n->kind],
	      (long long)n->id, (long long)n->last, n->stream, n->reason, n->attempts);
}

void host_tells_effect(struct sim *s, const struct host *h, const struct effect *e)
{
	switch (e->kind) {
	case EFFECT_PUBLISH:
		trace(s, "host %u  > publish %lld token %llx%s", h->index, (long long)e->publish.id,
		      (unsigned long long)e->publish.token, e->publish.blind ? ", blindly" : "");
		if (e->publish.batch != 0)
			trace(s, "host %u    number %u of batch %llx, op %u", h->index, e->publish.number,
			      (unsigned long long)e->publish.batch, e->publish.op);
		break;
	case EFFECT_FETCH: tell_fetch(s, h, e); break;
	case EFFECT_MARK: tell_mark(s, h, e->mark); break;
	case EFFECT_ANNOUNCE:
		trace(s, "host %u  > announce %s", h->index, e->announce.asleep ? "asleep" : "awake");
		break;
	case EFFECT_RENEW: trace(s, "host %u  > renew", h->index); break;
	case EFFECT_LOOKBACK:
		trace(s, "host %u  > tail of stream %u above %s, it ends at %llu at least%s", h->index,
		      e->lookback.stream, floor_text(e->lookback.above), (unsigned long long)e->lookback.known_end,
		      e->lookback.truncated ? ", anew" : "");
		break;
	case EFFECT_RELEASE: break;
	case EFFECT_NOTE: tell_note(s, h, &e->note); break;
	case EFFECT_QUIET: trace(s, "host %u  > quiet", h->index); break;
	case EFFECT_DRAINED: trace(s, "host %u  > drained", h->index); break;
	case EFFECT_BATCH:
		trace(s, "host %u  > %s of batch %llx at %u", h->index, e->batch.op == BATCH_PING ? "ping" : "end",
		      (unsigned long long)e->batch.batch, e->batch.number);
		break;
	}
}
