/* What one relay may ask for, and when: lead, lease, windows, slots, sleep. */
#include "check.h"

#include "core/refusal.h"
#include "host.h"
#include "load.h"
#include "world.h"

void check_asks(struct sim *s, const struct host *h, bool already, const char *what)
{
	demand(s, h->leading, "host %u asks for %s and does not lead", h->index, what);
	demand(s, !already, "host %u asks for %s while one is under way", h->index, what);
}

/* It was in a batch, and nobody waits for that any more. */
static bool is_over(const struct host *h, uint16_t stream, const struct attempt *a)
{
	return a->batch != 0 && a->batch != h->now.stream[stream].batch;
}

/* Publishes that may still be answered, those of the same message apart. */
static void check_window(struct sim *s, const struct host *h, int64_t message, uint64_t batch)
{
	const struct delivery_settings *set = &s->plan.settings;
	const struct fact *mine = &s->pg.fact[message];
	uint32_t messages = 1;
	uint64_t bytes = mine->bytes;

	for (size_t i = 0; i < h->attempts; i++) {
		const struct attempt *a = &h->attempt[i];
		const struct fact *f = &s->pg.fact[a->message];

		if (a->message == message || a->answered || is_over(h, f->stream, a) ||
		    now_ms(s) - a->sent_ms >= set->ack_timeout_ms)
			continue;
		messages++;
		bytes += a->bytes;
		demand(s,
		       set->ordering != ORDERING_STRICT || mine->key == NO_KEY || f->key != mine->key ||
			       settings_owns(set, mine->stream) || settings_owns(set, f->stream) ||
			       (batch != 0 && a->batch == batch),
		       "G3: %s and %s of key %d are in flight together", told(s, a->message), told(s, message), f->key);
	}
	demand(s, messages <= set->window_messages, "%u messages in flight, the window is %u", messages,
	       set->window_messages);
	demand(s, messages == 1 || bytes <= set->window_bytes, "%llu bytes in flight, the window is %u",
	       (unsigned long long)bytes, set->window_bytes);
}

/* Without a sign of life of the database for so long, another one may lead. */
static int64_t lease_end(const struct sim *s, const struct host *h)
{
	return h->sign_ms + s->plan.settings.lease_ms;
}

void check_written(struct sim *s, const struct host *h, int64_t message)
{
	demand(s, now_ms(s) < lease_end(s, h), "host %u writes %s to its socket and its lease ended %lld ms ago",
	       h->index, told(s, message), (long long)(now_ms(s) - lease_end(s, h)));
	demand(s, !s->pg.quiet, "host %u writes %s to its socket and the books say that all is quiet", h->index,
	       told(s, message));
}

/* What a failover took back may only be sent by who has not heard of it yet. */
static void check_sendable(struct sim *s, const struct host *h, int64_t message)
{
	const struct fact *f = &s->pg.fact[message];

	demand(s, f->fate == FATE_COMMITTED || (f->undone && h->session < s->pg.first_session),
	       "G2: host %u sends %s, which is not committed", h->index, told(s, message));
}

/* Numbers without a hole, each once; and a name that nobody has used before. */
static void check_number(struct sim *s, struct host *h, const struct effect *e)
{
	uint16_t stream = s->pg.fact[h->slot[e->publish.slot]].stream;
	bool begins = e->publish.number == 1;

	if (begins)
		h->batch[stream].sent = 0;
	for (size_t i = 1; begins && i < s->js.batches; i++)
		demand(s, s->js.batch[i].id != e->publish.batch, "host %u begins a batch %llx, which there was before",
		       h->index, (unsigned long long)e->publish.batch);
	if (begins)
		h->batch[stream].batch = e->publish.batch;
	demand(s, h->batch[stream].batch == e->publish.batch && e->publish.number == h->batch[stream].sent + 1,
	       "host %u sends number %u in a batch of %u", h->index, e->publish.number, h->batch[stream].sent);
	demand(s,
	       (e->publish.op == BATCH_BEGINS && begins) || (e->publish.op == BATCH_GOES_ON && !begins) ||
		       e->publish.op == BATCH_ENDS,
	       "host %u sends number %u as %u", h->index, e->publish.number, e->publish.op);
	demand(s, e->publish.flow >= 1, "host %u wants no answers", h->index);
	h->batch[stream].sent++;
}

void check_batch(struct sim *s, const struct host *h, const struct effect *e)
{
	uint32_t sent = h->batch[e->batch.stream].sent;
	int64_t message = h->slot[e->batch.slot];

	demand(s, h->leading && h->bus_up, "host %u says something about a batch, and has none", h->index);
	demand(s, h->step_ms < lease_end(s, h), "host %u speaks and its lease is over", h->index);
	demand(s, e->batch.batch == h->batch[e->batch.stream].batch, "host %u speaks of another batch", h->index);
	demand(s, e->batch.number == sent + (e->batch.op == BATCH_END_ONLY),
	       "host %u speaks of number %u in a batch of %u", h->index, e->batch.number, sent);
	demand(s, message != 0 && s->pg.fact[message].stream == e->batch.stream, "slot %u", e->batch.slot);
}

void check_publish(struct sim *s, struct host *h, const struct effect *e)
{
	int64_t id = e->publish.id, message, first;

	demand(s, h->leading, "host %u publishes %lld and does not lead", h->index, (long long)id);
	demand(s, h->bus_up, "host %u publishes %lld and its bus is down", h->index, (long long)id);
	demand(s, !h->draining, "host %u publishes %lld and drains", h->index, (long long)id);
	demand(s, h->pause == 0, "host %u publishes %lld and is paused", h->index, (long long)id);
	demand(s, h->step_ms < lease_end(s, h), "host %u publishes %lld and its lease ended %lld ms ago", h->index,
	       (long long)id, (long long)(h->step_ms - lease_end(s, h)));
	demand(s, e->publish.slot < s->plan.settings.queue_messages, "slot %u", e->publish.slot);
	message = h->slot[e->publish.slot];
	demand(s, message != 0 && s->pg.fact[message].id == id,
	       "host %u publishes %lld from slot %u, which holds another", h->index, (long long)id, e->publish.slot);
	check_sendable(s, h, message);
	demand(s, s->pg.fact[message].told_by[h->index] != h->session,
	       "G4: host %u sends %s and was told that it is stored", h->index, told(s, message));
	demand(s, !h->told[s->pg.fact[message].stream].must_say || e->publish.blind,
	       "host %u sends %s and was told that stream %u has lost its end", h->index, told(s, message),
	       s->pg.fact[message].stream);
	for (size_t i = 0; i < h->attempts; i++)
		demand(s, h->attempt[i].token != e->publish.token, "two attempts have the token %llx",
		       (unsigned long long)e->publish.token);
	demand(s, e->publish.batch == 0 || (s->plan.batches >> s->pg.fact[message].stream & 1) != 0,
	       "host %u sends %s in a batch, and its stream takes none", h->index, told(s, message));
	if (e->publish.batch != 0)
		check_number(s, h, e);
	/* In strict order a message is not even sent before all before it are stored. */
	check_pipeline(s, h, message);
	if (settings_owns(&s->plan.settings, s->pg.fact[message].stream)) {
		demand(s, e->publish.expected != EXPECTED_ANY, "host %u sends %s without a chain", h->index,
		       told(s, message));
		check_window(s, h, message, e->publish.batch);
		return;
	}
	demand(s, e->publish.expected == EXPECTED_ANY, "host %u chains %s, whose stream is not owned", h->index,
	       told(s, message));
	first = check_first_in_line(s, message);
	demand(s, first == message || check_batched(s, h, message, e->publish.batch),
	       "G3: %s of key %d is sent before %s", told(s, message), s->pg.fact[message].key, told(s, first));
	check_window(s, h, message, e->publish.batch);
}

/* (Its end may be on record, and the position not have reached it.) */
void check_proved(struct sim *s, const struct host *h, int64_t message, int64_t witness)
{
	const struct fact *f = &s->pg.fact[message];

	trace(s, "host %u  takes %s for stored: %s was found", h->index, told(s, message), told(s, witness));
	demand(s, f->copies > 0 || f->dead || f->given_up, "G1: host %u takes %s for stored, by %s, and it never was",
	       h->index, told(s, message), told(s, witness));
	s->proved++;
}

void check_lookback(struct sim *s, const struct host *h, const struct effect *e)
{
	const struct stream *st = &s->js.stream[e->lookback.stream];
	const struct told *told = &h->told[e->lookback.stream];

	/* (Once more, where what is under way may have been asked too early.) */
	check_asks(s, h,
		   h->lookback[e->lookback.stream].serial != 0 && !e->lookback.truncated &&
			   !settings_owns(&s->plan.settings, e->lookback.stream),
		   "a look");
	demand(s, !e->lookback.truncated || st->losses > 0, "host %u says that stream %u has lost its end", h->index,
	       e->lookback.stream);
	demand(s, !told->must_say || e->lookback.truncated,
	       "host %u was told that stream %u has lost its end, and does not say so", h->index, e->lookback.stream);
	demand(s, e->lookback.known_end <= st->high,
	       "host %u takes %llu for the end of stream %u, which was never above %llu", h->index,
	       (unsigned long long)e->lookback.known_end, e->lookback.stream, (unsigned long long)st->high);
}

/* A look that takes the stream for the one it was, though it has lost its end and has grown past that since: what stands where
 * something known stood is not read, and may be stored twice. */
static void forgive_hidden(struct sim *s, const struct lookback *l, uint16_t stream, uint32_t noticed)
{
	for (int64_t m = 1; m <= s->pg.messages; m++) {
		struct fact *f = &s->pg.fact[m];
		const struct entry *e = f->stream == stream ? log_at(&s->js.stream[stream], f->lowest) : NULL;

		if (f->standing == 0 || e == NULL || !e->again || e->losses <= noticed)
			continue;
		f->repeatable |= f->lowest < l->from || sequences_skip(&l->acked, f->lowest) != f->lowest;
	}
}

/* Looks that take so long, one after the other, that what is stored meanwhile may be forgotten before the answer: the stream
 * grows faster than it is read. The last one counts all the same, also for what was sent before it and is stored above its end. */
static void forgive_slow(struct sim *s, const struct host *h, uint16_t stream)
{
	const struct lookback *l = &h->lookback[stream];

	for (int64_t m = 1; m <= s->pg.messages; m++) {
		struct fact *f = &s->pg.fact[m];

		f->repeatable |=
			f->stream == stream && f->standing > 0 && f->sequence > l->last && f->sent_ms < l->asked_ms;
	}
}

static void judge_duration(struct sim *s, struct host *h, uint16_t stream)
{
	struct told *told = &h->told[stream];

	if (now_ms(s) - h->lookback[stream].asked_ms < s->plan.window_us / MS / 2) {
		told->slow = 0;
	} else if (++told->slow > LIMIT_LOOKBACK_ROUNDS) {
		told->slow = 0;
		forgive_slow(s, h, stream);
	}
}

/* It may not look: what is in doubt by then may be stored twice, and the log says so. */
void check_denied(struct sim *s, const struct host *h, uint16_t stream)
{
	for (int64_t m = 1; m <= s->pg.messages; m++) {
		struct fact *f = &s->pg.fact[m];

		f->repeatable |= f->stream == stream && f->standing > 0 && f->told_by[h->index] != h->session;
	}
}

void check_looked_back(struct sim *s, struct host *h, uint16_t stream)
{
	const struct lookback *l = &h->lookback[stream];
	struct told *told = &h->told[stream];

	demand(s, l->read, "the simulator answers before it has read");
	judge_duration(s, h, stream);
	demand(s, !l->another || s->js.stream[stream].losses > 0,
	       "host %u takes stream %u for one that has lost its end: %llu, not %llu", h->index, stream,
	       (unsigned long long)l->last, (unsigned long long)l->top);
	if (!l->another && l->losses > told->losses)
		forgive_hidden(s, l, stream, told->losses);
	if (l->another)
		host_told_end(s, h, stream, l->last);
	/* (A look that comes too early to see all that an earlier leader may send is not remembered.) */
	if (l->last > told->end && l->asked_ms >= h->predecessor_until_ms)
		told->end = l->last;
	if (l->another)
		told->losses = l->losses;
}

/* Asleep, and nothing that would need another look at the outbox. */
static bool at_rest(const struct host *h)
{
	return h->event == EVENT_TICK && h->now.pace == PACE_ASLEEP && h->now.exceptions == 0 && h->now.resident == 0;
}

void check_fetch(struct sim *s, const struct host *h, const struct effect *e)
{
	check_asks(s, h, h->fetching, "a fetch");
	demand(s, h->pause == 0, "host %u reads and is paused", h->index);
	demand(s, e->fetch.rows > 0 && e->fetch.bytes > 0, "host %u asks for nothing", h->index);
	demand(s, e->fetch.rows <= s->plan.settings.queue_messages, "host %u asks for more rows than it can hold",
	       h->index);
	demand(s, e->fetch.wanted_count <= s->core->limits->exceptions + 8 * s->plan.settings.queue_messages,
	       "host %u asks for %zu ranges", h->index, e->fetch.wanted_count);
	for (size_t i = 0; i < e->fetch.wanted_count; i++) {
		const struct id_range *r = &e->fetch.wanted[i];

		demand(s, r->lo <= r->hi && (i == 0 || r->lo > r[-1].hi),
		       "host %u asks for ranges that are not ascending", h->index);
		demand(s, r->hi <= e->fetch.after, "host %u asks twice for what is above %lld", h->index,
		       (long long)e->fetch.after);
	}
	if (at_rest(h) && !h->notified && !h->fetch_failed && !h->shut)
		demand(s, now_ms(s) - h->fetch_ms >= s->plan.settings.safety_poll_ms,
		       "host %u sleeps and polls after %lld ms", h->index, (long long)(now_ms(s) - h->fetch_ms));
}

void check_mark(struct sim *s, const struct host *h, const struct mark *m)
{
	check_asks(s, h, h->marking, "a mark");
	demand(s, m->added_count <= s->core->limits->exceptions + 8 * s->plan.settings.queue_messages,
	       "%zu new exceptions in one mark", m->added_count);
}

void check_slot(struct sim *s, const struct host *h, const struct row *r, int64_t message)
{
	demand(s, (uint32_t)r->slot < s->plan.settings.queue_messages, "%lld takes slot %d", (long long)r->id, r->slot);
	demand(s, h->slot[r->slot] == 0, "%lld takes slot %d, which still holds %lld", (long long)r->id, r->slot,
	       (long long)h->slot[r->slot]);
	for (uint32_t i = 0; i < s->plan.settings.queue_messages; i++)
		demand(s, h->slot[i] != message, "%lld is in memory twice", (long long)r->id);
}

void check_release(struct sim *s, const struct host *h, uint32_t slot)
{
	demand(s, slot < s->plan.settings.queue_messages && h->slot[slot] != 0, "slot %u is released and is free",
	       slot);
}

/* Said of a stream that holds a message of somebody else, or has lost its end; and an operator hears of it. */
static void check_stopped(struct sim *s, const struct host *h, const struct note *n)
{
	const struct stream *st = &s->js.stream[n->stream];

	if (n->kind == NOTE_FOREIGN)
		demand(s, st->foreign > 0 || st->losses > 0 || plan_has(&s->plan, FAULT_rows_deleted),
		       "host %u says that somebody else has published to stream %u", h->index, n->stream);
	else
		faults_operator_is_called(s);
}

void check_note(struct sim *s, struct host *h, const struct note *n)
{
	if (n->kind == NOTE_FOREIGN ||
	    (n->kind == NOTE_STREAM_BLOCKED && (n->reason == REASON_FOREIGN || n->reason == REASON_LOST_END))) {
		check_stopped(s, h, n);
		return;
	}
	if (n->kind == NOTE_RETRY || n->kind == NOTE_LANE_BLOCKED || n->kind == NOTE_STREAM_BLOCKED)
		FACT_OF(s, n->id)->alone_by = h->session;
	if (n->kind != NOTE_VANISHED)
		return;
	for (int64_t id = n->id; id <= n->last; id++) {
		demand(s, FACT_OF(s, id)->deleted, "host %u says that %lld vanished", h->index, (long long)id);
		FACT_OF(s, id)->vanished_by = h->session;
	}
}

void check_quiet(struct sim *s, const struct host *h, uint64_t pause)
{
	demand(s, h->leading && h->pause != 0 && h->pause == pause, "host %u is quiet and was not told to be",
	       h->index);
	demand(s, !h->marking && !h->fetching && h->now.in_flight == 0, "host %u is not as quiet as it says", h->index);
}

void check_drained(struct sim *s, const struct host *h)
{
	demand(s, h->draining && !h->drained, "host %u is drained without being asked, or twice", h->index);
	demand(s, !h->marking, "host %u is drained while a mark is under way", h->index);
}

static bool all_blocked(const struct sim *s, const struct host *h)
{
	for (uint32_t i = 0; i < s->plan.settings.streams; i++)
		if (!h->now.stream[i].blocked)
			return false;
	return true;
}

/* Asleep or not: whoever is told that there are rows looks for them. */
static void check_notified(struct sim *s, const struct host *h)
{
	if (h->event == EVENT_NOTIFIED && h->pause == 0 && h->now.resident == 0 && !h->now.full && !h->draining &&
	    !all_blocked(s, h))
		demand(s, h->fetching, "host %u is notified and does not look", h->index);
}

/* Who sleeps has said so, and not taken it back. */
static void check_asleep(struct sim *s, const struct host *h)
{
	demand(s,
	       h->now.pace == PACE_AWAKE || h->announcing || s->pg.asleep || !h->leading ||
		       !session_leads(s, h->session),
	       "host %u sleeps, and its last word is that it is awake", h->index);
}

void check_step(struct sim *s, const struct host *h)
{
	const struct delivery_settings *set = &s->plan.settings;
	const struct delivery_stats *st = &h->now;
	uint32_t slots = 0;

	for (uint32_t i = 0; i < set->queue_messages; i++)
		slots += h->slot[i] != 0;
	demand(s, st->resident <= set->queue_messages, "%u messages in memory", st->resident);
	demand(s, st->resident == slots, "%u messages in memory, %u payloads", st->resident, slots);
	demand(s, st->resident == 0 || st->resident_bytes <= set->queue_bytes + MAX_ROW_BYTES, "%u bytes in memory",
	       st->resident_bytes);
	demand(s, st->in_flight <= set->window_messages && st->window <= set->window_messages,
	       "%u in flight, window %u", st->in_flight, st->window);
	demand(s, st->exceptions <= s->core->limits->exceptions + 8 * set->queue_messages, "%u exceptions",
	       st->exceptions);
	demand(s, st->notes_dropped == 0 || s->core->limits->notes < 64, "notes are dropped");
	demand(s, h->leading || st->resident == 0, "host %u does not lead and keeps %u messages", h->index,
	       st->resident);
	check_notified(s, h);
	check_asleep(s, h);
}

/* A transaction that saw us asleep notifies; any other ended before we slept, and its rows were found then. */
void check_safety_poll(struct sim *s, int64_t message)
{
	const struct fact *f = &s->pg.fact[message];
	const struct tx *t = &s->pg.tx[f->tx];

	demand(s, t->notifies || t->was_prepared,
	       "%s was left to the safety poll: its transaction never saw the relay asleep", told(s, message));
}
