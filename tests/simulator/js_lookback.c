/* What a stream tells of what it holds: where it ends (STREAM.INFO), at once, and then message by message (STREAM.MSG.GET), which
 * may take longer than its window lasts, while the stream goes on.
 *
 *     asked --> refused, silent, not permitted
 *           --> told where it ends --(a while)--> read --(a while)--> told */
#include "check.h"
#include "core/refusal.h"
#include "host.h"
#include "world.h"

static const uint32_t not_now[] = { REASON_NO_STREAM, 10008, 10009, 10039, 10999 };

void js_refuses_lookback(struct sim *s, struct stream *st, int64_t until)
{
	static const int of_six[] = { LOOKBACK_REFUSED, LOOKBACK_REFUSED, LOOKBACK_SILENT,
				      LOOKBACK_DENIED,  LOOKBACK_SLOW,    LOOKBACK_SLOW };

	st->lookback = of_six[prng_below(&s->dice, 6)];
	st->lookback_reason = not_now[prng_below(&s->dice, sizeof not_now / sizeof not_now[0])];
	/* Slow for so long that the core takes one of them all the same. */
	st->lookback_until = st->lookback != LOOKBACK_SLOW || s->plan.long_window
				     ? until
				     : s->now + prng_between(&s->dice, 4, 12) * s->plan.window_us;
}

/* A question of one host about one stream, in one word. */
static uint64_t question(uint64_t serial, uint64_t stream)
{
	return serial << 8 | stream;
}

static void on_told(struct sim *s, const struct happening *h)
{
	const struct conn *c = js_conn(s, h->a);

	if (c != NULL && c->wire)
		host_lookback_told(s, c->host, h->a, (uint16_t)(h->b & 0xff), h->b >> 8, (uint32_t)h->c);
}

static void tell(struct sim *s, const struct happening *h, uint32_t reason, int64_t delay)
{
	later(s, delay, on_told, h->a, h->b, reason, 0);
}

/* It is the leader that is asked for each message: when there is none any more, nobody answers. */
static void on_read(struct sim *s, const struct happening *h)
{
	const struct conn *c = js_conn(s, h->a);
	const struct stream *st = &s->js.stream[h->b & 0xff];

	if (c == NULL || !c->wire)
		return;
	if (js_is_silent(s, st)) {
		tell(s, h, REASON_NO_REPLY, (int64_t)s->plan.settings.ack_timeout_ms * MS);
	} else if (s->now < st->down_until) {
		tell(s, h, st->down_reason, js_travel(s));
	} else {
		host_lookback_reads(s, c->host, (uint16_t)(h->b & 0xff), h->b >> 8);
		tell(s, h, 0, (int64_t)h->c);
	}
}

/* How long reading takes. */
static int64_t duration(struct sim *s, bool slow)
{
	int64_t window = s->plan.window_us < 2 * SECOND ? s->plan.window_us : 2 * SECOND;

	if (slow)
		return prng_between(&s->dice, window / 2, 2 * window);
	return mishap(s, s->plan.chance.lookback_slow) ? prng_spread(&s->dice, window / 8, 2 * window) : js_travel(s);
}

static void on_asked(struct sim *s, const struct happening *h)
{
	const struct conn *c = js_conn(s, h->a);
	uint16_t stream = (uint16_t)(h->b & 0xff);
	const struct stream *st = &s->js.stream[stream];
	bool unwilling = s->now < st->lookback_until;
	int64_t all, until_read;

	if (c == NULL || !c->wire || js_is_silent(s, st) || mishap(s, s->plan.chance.ack_lost))
		return;
	if (unwilling && st->lookback == LOOKBACK_SILENT)
		return;
	if (unwilling && st->lookback == LOOKBACK_DENIED) {
		tell(s, h, LOOKBACK_NOT_PERMITTED, js_travel(s));
		return;
	}
	if ((unwilling && st->lookback == LOOKBACK_REFUSED) || s->now < st->down_until) {
		tell(s, h, unwilling && st->lookback == LOOKBACK_REFUSED ? st->lookback_reason : st->down_reason,
		     js_travel(s));
		return;
	}
	host_lookback_begins(s, c->host, stream, h->b >> 8);
	all = duration(s, unwilling);
	until_read = prng_between(&s->dice, 0, all);
	later(s, until_read, on_read, h->a, h->b, (uint64_t)(all - until_read + js_travel(s)), 0);
}

void js_lookback(struct sim *s, uint64_t conn, uint16_t stream, uint64_t serial)
{
	struct conn *c = js_conn(s, conn);
	int64_t at = s->now + js_travel(s);

	if (c == NULL || !c->wire)
		return;
	c->last_arrival = at > c->last_arrival ? at : c->last_arrival;
	later(s, c->last_arrival - s->now, on_asked, conn, question(serial, stream), 0, 0);
}
