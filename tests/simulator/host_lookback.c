/* Looking back: what the look-back of the daemon does, for a fake stream.
 *
 *     core --EFFECT_LOOKBACK--> asked ... begins: where it ends, is it the same? ... reads: what stands where ... told --EVENT_LOOKBACK--> core
 *
 * What was found is kept until it is published (then it is acknowledged instead), or the stream turns out to be another. */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "core/refusal.h"
#include "host.h"
#include "world.h"

static void forget_found(struct sim *s, struct host *h, uint16_t stream)
{
	for (int64_t m = 1; m <= s->pg.messages && h->found_count > 0; m++)
		if (h->found[m] != 0 && s->pg.fact[m].stream == stream) {
			h->found[m] = 0;
			h->found_count--;
		}
}

void host_forgets_found(struct host *h)
{
	if (h->found_count > 0)
		memset(h->found, 0, sizeof h->found);
	h->found_count = 0;
}

/* Of what was asked: no answer is awaited any more. */
static void give_up(struct lookback *l)
{
	struct found *found = l->found;
	size_t size = l->found_size;

	*l = (struct lookback){ .found = found, .found_size = size };
}

void host_lookbacks_end(struct host *h)
{
	for (int i = 0; i < MAX_STREAMS; i++)
		give_up(&h->lookback[i]);
}

void host_lookback_begins(struct sim *s, uint32_t host, uint16_t stream, uint64_t serial)
{
	struct host *h = s->host[host];
	struct lookback *l = &h->lookback[stream];
	const struct known *k = &h->known[stream];
	const struct stream *st = &s->js.stream[stream];

	if (l->serial != serial)
		return;
	l->heard = true;
	l->last = st->sequence;
	l->created = st->created + 1;
	l->losses = st->losses;
	l->another = (k->created != 0 && k->created != l->created) || l->last < k->last || l->last < l->top;
	if (l->another) {
		forget_found(s, h, stream);
		l->acked.count = 0;
	}
	l->from = l->above == LOW_WATER_NONE ? l->last + 1 : l->another || l->above > l->last ? 1 : l->above + 1;
}

static void find(struct lookback *l, const struct entry *e, uint64_t sequence)
{
	if (l->found_count == l->found_size) {
		l->found_size = l->found_size > 0 ? 2 * l->found_size : 64;
		l->found = realloc(l->found, l->found_size * sizeof *l->found);
		if (l->found == NULL)
			abort();
	}
	l->found[l->found_count++] = (struct found){ e->message, e->said, sequence };
}

void host_lookback_reads(struct sim *s, uint32_t host, uint16_t stream, uint64_t serial)
{
	struct lookback *l = &s->host[host]->lookback[stream];
	const struct stream *st = &s->js.stream[stream];
	uint64_t q = l->from > st->first ? l->from : st->first;

	if (l->serial != serial)
		return;
	l->read = true;
	for (q = sequences_skip(&l->acked, q); q <= l->last; q = sequences_skip(&l->acked, q + 1)) {
		const struct entry *e = log_at(st, q);

		if (e != NULL && e->message > 0)
			find(l, e, q);
		l->present += e != NULL && e->message != NOTHING;
		/* (It may have an id like ours, or none.) */
		if (e != NULL && e->message == STRANGER && q % 2 == 0 && l->foreign == 0)
			l->foreign = q;
	}
}

/* The first copy counts. */
static void keep_found(struct host *h, const struct lookback *l)
{
	for (size_t i = 0; i < l->found_count; i++) {
		int32_t message = l->found[i].message;

		if (h->found[message] != 0)
			continue;
		h->found_count++;
		h->found[message] = l->found[i].sequence;
		h->said[message] = l->found[i].said;
	}
}

/* What was on its way to an owned stream is not waited for any more: it is there, or it is sent again. */
static void call_back(const struct sim *s, struct host *h, uint16_t stream)
{
	for (size_t i = 0; i < h->attempts && settings_owns(&s->plan.settings, stream); i++)
		if (s->pg.fact[h->attempt[i].message].stream == stream)
			h->attempt[i].answered = true;
}

static void take(struct sim *s, struct host *h, uint16_t stream, uint32_t reason)
{
	struct lookback *l = &h->lookback[stream];
	struct event e = { .kind = EVENT_LOOKBACK };

	e.lookback.stream = stream;
	e.lookback.ok = reason == REASON_NONE;
	e.lookback.reason = reason;
	if (e.lookback.ok) {
		keep_found(h, l);
		check_looked_back(s, h, stream);
		h->known[stream].created = l->created;
		h->known[stream].last = l->last;
		e.lookback.asked_ms = l->asked_ms;
		e.lookback.duplicate_window_ms = s->plan.window_us / MS;
		e.lookback.last = l->last;
		e.lookback.another = l->another;
		e.lookback.present = l->present;
		e.lookback.foreign = l->foreign;
	}
	give_up(l);
	host_step(s, h, &e);
}

/* Told in the middle of its effects, or in answer to the server's complaint: it holds nothing that we could see. */
static struct event denied(struct sim *s, struct host *h, uint16_t stream)
{
	struct event e = { .kind = EVENT_LOOKBACK, .now_ms = now_ms(s) };

	e.lookback.stream = stream;
	e.lookback.asked_ms = h->lookback[stream].asked_ms;
	if (settings_owns(&s->plan.settings, stream)) {
		e.lookback.reason = REASON_NOT_PERMITTED;
		give_up(&h->lookback[stream]);
		return e;
	}
	e.lookback.ok = true;
	h->known[stream].created = h->known[stream].last = 0;
	h->known[stream].denied_ms = now_ms(s);
	host_told_end(s, h, stream, 0);
	check_denied(s, h, stream);
	give_up(&h->lookback[stream]);
	return e;
}

static void on_told_late(struct sim *s, const struct happening *happening)
{
	host_lookback_told(s, (uint32_t)(happening->b >> 32), happening->a, (uint16_t)happening->b & 0xff, happening->c,
			   (uint32_t)happening->d);
}

void host_lookback_told(struct sim *s, uint32_t host, uint64_t conn, uint16_t stream, uint64_t serial, uint32_t reason)
{
	struct host *h = s->host[host];
	struct event e;

	if (h->conn != conn || h->lookback[stream].serial != serial)
		return;
	if (host_is_away(s, h)) {
		later(s, h->paused_until - s->now, on_told_late, conn, (uint64_t)host << 32 | stream, serial, reason);
		return;
	}
	if (!h->up || !h->leading)
		return;
	if (reason != LOOKBACK_NOT_PERMITTED) {
		take(s, h, stream, reason);
		return;
	}
	/* An owned stream is asked again and again: without an answer it takes nothing. */
	h->known[stream].denied = !settings_owns(&s->plan.settings, stream);
	e = denied(s, h, stream);
	host_step(s, h, &e);
}

/* Nobody has answered at all. */
static void on_timeout(struct sim *s, const struct happening *happening)
{
	struct host *h = s->host[happening->a];
	uint16_t stream = (uint16_t)happening->d;

	if (h->life != happening->b || h->lookback[stream].serial != happening->c || h->lookback[stream].heard)
		return;
	if (host_is_away(s, h))
		later(s, h->paused_until - s->now, on_timeout, happening->a, happening->b, happening->c, happening->d);
	else if (h->up && h->leading)
		take(s, h, stream, REASON_NO_REPLY);
}

void host_looks_back(struct sim *s, struct host *h, const struct effect *e)
{
	uint16_t stream = e->lookback.stream;
	struct lookback *l = &h->lookback[stream];

	check_lookback(s, h, e);
	call_back(s, h, stream);
	if (e->lookback.truncated) {
		forget_found(s, h, stream);
		h->told[stream].must_say = false;
		host_told_end(s, h, stream, e->lookback.known_end);
	}
	give_up(l);
	l->serial = ++h->lookback_serials;
	l->asked_ms = now_ms(s);
	l->acked = *e->lookback.acked;
	l->above = e->lookback.above;
	l->top = e->lookback.known_end;
	if (h->known[stream].denied && h->known[stream].denied_ms == now_ms(s)) {
		/* Again in the same millisecond: in the real world time goes on meanwhile. */
		later(s, MS, on_told_late, h->conn, (uint64_t)h->index << 32 | stream, l->serial,
		      LOOKBACK_NOT_PERMITTED);
		return;
	}
	if (h->known[stream].denied) {
		struct event told = denied(s, h, stream);

		host_tells_event(s, h, &told);
		s->core->step(h->core, &told);
		return;
	}
	wire_hand_over(s, h, &(struct hand){ .stream = stream, .serial = l->serial });
	later(s, (int64_t)s->plan.settings.ack_timeout_ms * MS, on_timeout, h->index, h->life, l->serial, stream);
}
