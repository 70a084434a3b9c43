/* The stream: it stores, drops what it remembers, refuses, and loses answers. */
#include <string.h>

#include "capture_world.h"
#include "check_capture.h"
#include "core/refusal.h"

static struct host *still(struct capture_sim *s, const struct capture_happening *h)
{
	struct host *host = &s->host[h->a];

	return host->life == h->b && host->connection == h->c && host->connection != 0 ? host : NULL;
}

uint32_t capture_broker_find(const struct capture_sim *s, uint64_t id)
{
	for (uint32_t i = s->sequence; i > 0; i--)
		if (s->stored[i - 1].m.id == id)
			return i;
	return 0;
}

/* --- answers --- */

static void answer(struct capture_sim *s, const struct host *h, uint64_t token, uint32_t sequence, uint32_t reason);

static void on_answer(struct capture_sim *s, const struct capture_happening *h)
{
	struct host *host = still(s, h);
	struct event ev = { .kind = EVENT_ACKED };

	if (host == NULL || capture_host_defers(s, host, h))
		return;
	if (h->e >> 63) {
		ev.kind = EVENT_REFUSED;
		ev.refused.token = h->d;
		ev.refused.reason = (uint32_t)h->e;
		ev.refused.status = ev.refused.reason == REASON_NO_STREAM ? 503 : 400;
	} else {
		ev.acked.token = h->d;
		ev.acked.sequence = h->e & 0xffffffff;
		ev.acked.duplicate = (h->e >> 62 & 1) != 0;
	}
	capture_host_common(s, host, &ev);
}

static void answer_with(struct capture_sim *s, const struct host *h, uint64_t token, uint64_t what)
{
	struct capture_happening *a;
	int64_t at = capture_soon(s, s->plan.bus_us);

	if (mishap(s, ack_lost))
		return;
	if (mishap(s, ack_late))
		at += prng_spread(&s->dice, MS, 400 * MS);
	a = capture_later(s, at, on_answer);
	a->a = h->index;
	a->b = h->life;
	a->c = h->connection;
	a->d = token;
	a->e = what;
}

static void answer(struct capture_sim *s, const struct host *h, uint64_t token, uint32_t sequence, uint32_t reason)
{
	answer_with(s, h, token, reason != 0 ? UINT64_C(1) << 63 | reason : sequence);
}

/* --- publishes --- */

struct underway {
	struct message m;
	uint32_t host;
	uint64_t life, connection, token, expected;
};

static struct underway underway[4096];
static uint32_t next_underway;

static bool is_poison(const struct capture_sim *s, const struct message *m)
{
	const struct op *op = &s->op[m->op];

	if (m->kind == MESSAGE_ROW)
		return s->poison[m->content.val];
	return m->kind == MESSAGE_CHANGE && op->kind != OP_DELETE && s->poison[op->content.val];
}

static bool key_is_full(const struct capture_sim *s, const struct message *m)
{
	const struct op *op = &s->op[m->op];

	for (int i = 0; i < 4; i++) {
		bool row = m->kind == MESSAGE_ROW && m->table == s->key_full[i].table && m->key == s->key_full[i].key;
		bool change = m->kind == MESSAGE_CHANGE && op->kind != OP_MESSAGE &&
			      op->table == s->key_full[i].table && op->key == s->key_full[i].key;

		if (s->now < s->key_full[i].until && (row || change))
			return true;
	}
	return false;
}

static void on_arrival(struct capture_sim *s, const struct capture_happening *h)
{
	const struct underway *u = &underway[h->a];
	struct host *host = &s->host[u->host];
	uint32_t known;
	bool answers = host->life == u->life && host->connection == u->connection;

	if (s->now < s->full_until || mishap(s, refused)) {
		if (answers)
			answer(s, host, u->token, 0, s->now < s->full_until ? REASON_STREAM_FULL : REASON_NO_STREAM);
		return;
	}
	if (key_is_full(s, &u->m)) {
		if (answers)
			answer(s, host, u->token, 0, REASON_SUBJECT_FULL);
		return;
	}
	if (is_poison(s, &u->m)) {
		if (answers)
			answer(s, host, u->token, 0, 10054);
		return;
	}
	known = capture_broker_find(s, u->m.id);
	/* Which of the two is looked at first differs from server to server. */
	if (u->expected != EXPECTED_ANY && u->expected != s->sequence && (known == 0 || s->plan.sequence_first)) {
		if (answers)
			answer(s, host, u->token, 0, 10071);
		return;
	}
	if (known != 0 && s->now - s->stored[known - 1].at < s->plan.window_us) {
		if (answers)
			answer_with(s, host, u->token, UINT64_C(1) << 62 | known);
		return;
	}
	demand(s, s->sequence < MAX_STORED, "the simulator is too small");
	demand(s, !s->end_lost || !host->looked || host->life != u->life,
	       "a stream that has lost what is on record is filled on");
	if (!s->end_lost) /* what was on its way may fit */
		check_capture_stored(s, &u->m);
	s->stored[s->sequence++] = (struct stored){ u->m, s->now, s->end_lost };
	if (answers)
		answer(s, host, u->token, s->sequence, 0);
}

void capture_broker_publish(struct capture_sim *s, struct host *h, const struct effect *f)
{
	struct payload *p = &h->payload[f->publish.slot];
	uint32_t place = next_underway++ % 4096;
	int64_t at = capture_soon(s, s->plan.bus_us);

	demand(s, p->used, "a message is published whose payload was let go");
	demand(s, h->epoch != s->pg.books.epoch || !capture_books_hold(s, &p->m),
	       "what holds its key is sent without an operator's word");
	if (h->connection == 0 || mishap(s, publish_lost))
		return;
	if (at <= h->arrival_at) /* one connection: in order */
		at = h->arrival_at + 1;
	h->arrival_at = at;
	underway[place] =
		(struct underway){ p->m, h->index, h->life, h->connection, f->publish.token, f->publish.expected };
	capture_later(s, at, on_arrival)->a = place;
}

/* --- looking back --- */

static int64_t time_of(const struct capture_sim *s, uint32_t sequence)
{
	bool there = sequence > 0 && sequence <= s->sequence && !s->stored[sequence - 1].gone;

	return there ? s->stored[sequence - 1].at * 1000 : 0;
}

static void on_look(struct capture_sim *s, const struct capture_happening *h)
{
	struct host *host = still(s, h);
	struct event ev = { .kind = EVENT_LOOKBACK };

	if (host == NULL || capture_host_defers(s, host, h))
		return;
	host->has_found = true;
	host->looked = s->end_lost;
	for (uint64_t i = h->d + 1; i <= s->sequence; i++) {
		const struct stored *at = &s->stored[i - 1];

		host->found[i] = !at->gone && at->m.kind != MESSAGE_STRANGER;
		ev.lookback.present += !at->gone && sequences_skip(&host->acked, i) == i;
		if (at->m.kind == MESSAGE_STRANGER && ev.lookback.foreign == 0)
			ev.lookback.foreign = i;
	}
	ev.lookback.ok = true;
	ev.lookback.asked_ms = (int64_t)h->e;
	ev.lookback.duplicate_window_ms = s->plan.window_us / MS;
	ev.lookback.last = s->sequence;
	ev.lookback.created_ns = s->created;
	ev.lookback.marked_ns = time_of(s, (uint32_t)host->marked);
	capture_host_common(s, host, &ev);
}

void capture_broker_look(struct capture_sim *s, struct host *h, const struct effect *f)
{
	struct capture_happening *a = capture_later(s, capture_soon(s, 2 * s->plan.bus_us), on_look);

	h->acked = *f->lookback.acked;
	h->marked = f->lookback.marked;
	a->a = h->index;
	a->b = h->life;
	a->c = h->connection;
	a->d = f->lookback.above == LOW_WATER_NONE ? s->sequence : f->lookback.above;
	a->e = (uint64_t)(s->now / MS);
}

static void on_when(struct capture_sim *s, const struct capture_happening *h)
{
	struct host *host = still(s, h);
	struct capture_event ev = { .kind = CAPTURE_EVENT_END };

	if (host == NULL || capture_host_defers(s, host, h))
		return;
	ev.end.sequence = h->d;
	ev.end.time_ns = time_of(s, (uint32_t)h->d);
	capture_host_step(s, host, &ev);
	capture_host_turn(s, host);
}

void capture_broker_when(struct capture_sim *s, struct host *h, uint64_t sequence)
{
	struct capture_happening *a;

	if (h->connection == 0 || mishap(s, ack_lost))
		return;
	a = capture_later(s, capture_soon(s, 2 * s->plan.bus_us), on_when);
	a->a = h->index;
	a->b = h->life;
	a->c = h->connection;
	a->d = sequence;
}

/* --- what a broker does to a stream --- */

static void grow(struct capture_sim *s, uint64_t by)
{
	for (uint64_t i = 0; i < by && s->sequence < MAX_STORED; i++)
		s->stored[s->sequence++] =
			(struct stored){ .m = { .kind = MESSAGE_STRANGER, .id = ++s->numbers }, .at = s->now };
}

/* It is restored from what it was once, which cuts all connections; or cut off; or made anew. Others may fill it. */
void capture_broker_loses_end(struct capture_sim *s)
{
	uint64_t end = s->pg.books.end.sequence, most = prng_below(&s->dice, 2) == 0 ? 0 : 2 * end;
	bool timed = s->pg.books.end.time_ns != 0 && !s->stored[end > 0 ? end - 1 : 0].gone;
	bool restored = prng_below(&s->dice, 2) == 0, anew = false;

	if (s->end_lost || end == 0)
		return;
	s->end_lost = true;
	s->sequence = (uint32_t)prng_below(&s->dice, end);
	if (!restored && prng_below(&s->dice, 2) == 0) {
		s->sequence = 0;
		anew = true;
		s->created += SECOND;
	}
	s->now += restored;
	/* What grew beyond it, where no time is on record, nobody could tell. */
	if (most > 0 && (restored || anew))
		grow(s, timed || !restored ? prng_below(&s->dice, most) : end - 1 - s->sequence);
	trace(s, "stream  loses its end: %llu are on record, and it ends at %u", (unsigned long long)end, s->sequence);
	for (uint32_t i = 0; i < s->plan.hosts; i++) {
		s->host[i].looked = false;
		if (restored)
			capture_host_lose_bus(s, &s->host[i]);
	}
}

/* (What the log brings again, and the stream has forgotten, is stored twice: that is no promise.) */
static bool is_on_record(const struct capture_sim *s, const struct message *m)
{
	return m->kind != MESSAGE_CHANGE || s->transaction[m->transaction].end_lsn <= s->pg.books.end_lsn;
}

/* What is on record is kept no longer. */
void capture_broker_expires(struct capture_sim *s)
{
	uint64_t end = s->pg.books.end.sequence, until = end > 0 && !s->end_lost ? 1 + prng_below(&s->dice, end) : 0;

	uint64_t i = 0;

	for (; i < until && is_on_record(s, &s->stored[i].m); i++)
		s->stored[i].gone = true;
	trace(s, "stream  begins behind %llu", (unsigned long long)i);
}
