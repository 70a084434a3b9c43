/* What one relay may ask for, and when: lead, lease, windows, slots, sleep. */
#include "check.h"

#include "host.h"
#include "world.h"

void check_asks(struct sim *s, const struct host *h, bool already, const char *what)
{
	demand(s, h->leading, "host %u asks for %s and does not lead", h->index, what);
	demand(s, !already, "host %u asks for %s while one is under way", h->index, what);
}

/* Publishes that may still be answered, those of the same message apart. */
static void check_window(struct sim *s, const struct host *h, int64_t message)
{
	const struct delivery_settings *set = &s->plan.settings;
	const struct fact *mine = &s->pg.fact[message];
	uint32_t messages = 1;
	uint64_t bytes = mine->bytes;

	for (size_t i = 0; i < h->attempts; i++) {
		const struct attempt *a = &h->attempt[i];
		const struct fact *f = &s->pg.fact[a->message];

		if (a->message == message || a->answered || now_ms(s) - a->sent_ms >= set->ack_timeout_ms)
			continue;
		messages++;
		bytes += a->bytes;
		demand(s, set->ordering != ORDERING_STRICT || mine->key == NO_KEY || f->key != mine->key,
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

void check_publish(struct sim *s, const struct host *h, const struct effect *e)
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
	for (size_t i = 0; i < h->attempts; i++)
		demand(s, h->attempt[i].token != e->publish.token, "two attempts have the token %llx",
		       (unsigned long long)e->publish.token);
	/* In strict order a message is not even sent before all before it are stored. */
	first = check_first_in_line(s, message);
	demand(s, first == message, "G3: %s of key %d is sent before %s", told(s, message), s->pg.fact[message].key,
	       told(s, first));
	check_window(s, h, message);
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
	demand(s, e->fetch.wanted_count <= LIMIT_EXCEPTIONS + 8 * s->plan.settings.queue_messages,
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
	demand(s, m->added_count <= LIMIT_EXCEPTIONS + 8 * s->plan.settings.queue_messages,
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

void check_note(struct sim *s, const struct host *h, const struct note *n)
{
	demand(s, n->kind != NOTE_VANISHED, "host %u says that %lld..%lld vanished", h->index, (long long)n->id,
	       (long long)n->last);
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
	demand(s, st->exceptions <= LIMIT_EXCEPTIONS + 8 * set->queue_messages, "%u exceptions", st->exceptions);
	demand(s, st->notes_dropped == 0 || LIMIT_NOTES < 64, "notes are dropped");
	demand(s, h->leading || st->resident == 0, "host %u does not lead and keeps %u messages", h->index,
	       st->resident);
	check_notified(s, h);
}

/* A transaction that saw us asleep notifies; any other ended before we slept, and its rows were found then. */
void check_safety_poll(struct sim *s, int64_t message)
{
	const struct fact *f = &s->pg.fact[message];
	const struct tx *t = &s->pg.tx[f->tx];

	demand(s, t->notifies || t->was_prepared,
	       "%s was left to the safety poll: its transaction never saw the relay asleep", told(s, message));
}
