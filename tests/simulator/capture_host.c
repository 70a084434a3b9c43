/* A relay: it leads or stands by, carries out what the core wants, freezes, and dies. */
#include <stdlib.h>
#include <string.h>

#include "capture_world.h"
#include "check_capture.h"
#include "draw.h"

static struct host *alive(struct capture_sim *s, const struct capture_happening *h)
{
	struct host *host = &s->host[h->a];

	return host->life == h->b ? host : NULL;
}

bool capture_host_defers(struct capture_sim *s, struct host *host, const struct capture_happening *h)
{
	struct capture_happening *again;

	if (s->now >= host->frozen_until)
		return false;
	again = capture_later(s, host->frozen_until + 1, h->run);
	again->a = h->a;
	again->b = h->b;
	again->c = h->c;
	again->d = h->d;
	again->e = h->e;
	return true;
}

static struct capture_happening *plan(struct capture_sim *s, const struct host *h, int64_t at,
				      void (*run)(struct capture_sim *, const struct capture_happening *))
{
	struct capture_happening *a = capture_later(s, at, run);

	a->a = h->index;
	a->b = h->life;
	return a;
}

struct host *capture_leader(struct capture_sim *s)
{
	for (uint32_t i = 0; i < s->plan.hosts; i++)
		if (s->host[i].session != 0 && s->host[i].session == s->lock_owner && s->host[i].epoch != 0)
			return &s->host[i];
	return NULL;
}

/* --- effects --- */

static void publish(struct capture_sim *s, struct host *h, const struct effect *f)
{
	struct payload *p = &h->payload[f->publish.slot];
	uint32_t sequence = capture_broker_find(s, p->m.id);
	int64_t by_ms = capture_send_deadline(h->core);

	if (f->publish.by_ms < by_ms)
		by_ms = f->publish.by_ms;
	demand(s, p->used, "a message is published whose payload was let go");
	if (sequence != 0 && h->found[sequence]) {
		struct event ev = { .kind = EVENT_ACKED };

		ev.acked.token = f->publish.token;
		ev.acked.sequence = sequence;
		ev.acked.duplicate = true;
		capture_host_common(s, h, &ev);
		return;
	}
	/* A process may stand still between any two instructions. */
	if (s->now < h->frozen_until && h->frozen_until / MS > by_ms)
		return;
	trace(s, "host %u  publishes %lld", h->index, (long long)f->publish.id);
	capture_broker_publish(s, h, f);
}

static void on_quiet(struct capture_sim *s, const struct host *h)
{
	trace(s, "host %u  is quiet", h->index);
}

static void on_renewed(struct capture_sim *s, const struct capture_happening *h)
{
	struct host *host = alive(s, h);
	struct event ev = { .kind = EVENT_RENEWED };

	if (host == NULL || host->session != h->c || capture_host_defers(s, host, h))
		return;
	ev.renewed.asked_ms = (int64_t)h->d;
	capture_host_common(s, host, &ev);
}

static void renew(struct capture_sim *s, struct host *h)
{
	struct capture_happening *a;

	if (h->session == 0 || h->session_dead)
		return;
	a = plan(s, h, capture_soon(s, 2 * s->plan.pg_us), on_renewed);
	a->c = h->session;
	a->d = (uint64_t)(s->now / MS);
}

static void common(struct capture_sim *s, struct host *h, const struct effect *f)
{
	switch (f->kind) {
	case EFFECT_PUBLISH: publish(s, h, f); break;
	case EFFECT_RENEW: renew(s, h); break;
	case EFFECT_LOOKBACK: capture_broker_look(s, h, f); break;
	case EFFECT_QUIET:
	case EFFECT_DRAINED: on_quiet(s, h); break;
	default: break;
	}
}

static void tell_window(struct capture_sim *s, struct host *h)
{
	struct capture_event ev = { .kind = CAPTURE_EVENT_WINDOW };
	struct capture_row messages[CAPTURE_KEYS] = { { .key = NULL } };
	struct payload p[CAPTURE_KEYS];
	struct windowed w = h->windowed;

	for (uint32_t i = 0; i < w.count; i++) {
		p[i] = w.payload[i];
		messages[i].bytes = 20;
		messages[i].lane = 1 + capture_mix(p[i].m.table, 98);
		messages[i].slot = CAPTURE_NO_SLOT;
	}
	ev.window.none = w.none;
	ev.window.messages = messages;
	ev.window.rows = w.rows;
	ev.window.count = w.count;
	capture_host_step(s, h, &ev);
	for (uint32_t i = 0; i < w.count; i++)
		if (messages[i].slot != CAPTURE_NO_SLOT)
			capture_host_keep(s, h, messages[i].slot, &p[i]);
}

static void on_window(struct capture_sim *s, const struct capture_happening *h)
{
	struct host *host = alive(s, h);

	if (host == NULL || host->epoch != h->c || host->windowed_at != h->d || capture_host_defers(s, host, h))
		return;
	tell_window(s, host);
	capture_host_turn(s, host);
}

/* One message for the rows in these slots. */
static struct payload put_together(struct capture_sim *s, struct host *h, const struct capture_effect *f,
				   const uint32_t *slots, uint32_t count)
{
	struct payload p = { .used = true };
	struct window *w = &s->window[s->windows];

	demand(s, s->windows + 1 < MAX_WINDOWS, "the simulator is too small");
	for (uint32_t i = 0; i < count; i++) {
		const struct payload *row = &h->payload[slots[i]];

		demand(s, row->used && (row->m.kind == MESSAGE_VERIFY || row->m.kind == MESSAGE_ROW),
		       "a window has a row that was let go");
		w->key[w->count] = row->m.key;
		w->content[w->count++] = row->m.content;
	}
	p.m = (struct message){ .kind = MESSAGE_WINDOW, .table = (uint8_t)f->window.table, .window = s->windows++ };
	p.m.reading = f->window.reading;
	p.m.pass = capture_table_at(h->core, f->window.table)->pass;
	/* Of all attempts of this reading no two messages end with the same row that are not the same, or need not both be there (core/capture/README.md). */
	p.m.id = capture_mix(capture_mix(f->window.table, h->payload[slots[count - 1]].m.key),
			     capture_mix(capture_mix(p.m.reading, p.m.pass), 5));
	return p;
}

/* Messages of as many rows as the dice want. */
static void window(struct capture_sim *s, struct host *h, const struct capture_effect *f)
{
	struct windowed *w = &h->windowed;
	struct capture_happening *a;
	uint32_t most = CAPTURE_KEYS;

	if (s->plan.settings.rows_together)
		most = ONE_OF(&s->dice, 1, 2, CAPTURE_KEYS, CAPTURE_KEYS);
	*w = (struct windowed){ .none = prng_below(&s->dice, 5) == 0 };
	for (size_t at = 0; at < f->window.count; w->count++) {
		uint32_t rows = f->window.count - at < most ? (uint32_t)(f->window.count - at) : most;

		w->rows[w->count] = rows;
		if (rows > 1)
			w->payload[w->count] = put_together(s, h, f, f->window.slots + at, rows);
		at += rows;
	}
	h->windowed_at = ++s->numbers;
	if (prng_below(&s->dice, 2) == 0) {
		tell_window(s, h);
		return;
	}
	/* The log waits for it, so it may take any time. */
	a = plan(s, h, capture_soon(s, 2 * s->plan.pg_us), on_window);
	a->c = h->epoch;
	a->d = h->windowed_at;
}

static void control(struct capture_sim *s, struct host *h, const struct capture_effect *f)
{
	struct capture_event ev = { .kind = CAPTURE_EVENT_CONTROL };
	struct payload p = { .used = true };

	p.m = (struct message){ .kind = MESSAGE_CONTROL, .table = (uint8_t)f->control.table, .end = f->control.end };
	p.m.reading = f->control.reading;
	p.m.pass = capture_table_at(h->core, f->control.table)->pass;
	p.m.key = p.m.pass != 0 && h->asked_keys[f->control.table] != 0;
	p.m.id = capture_mix(capture_mix(f->control.table, f->control.end), capture_mix(p.m.pass, 2));
	if (f->control.table == s->plan.whole_table)
		p.m.id = capture_mix(p.m.id, capture_mix(p.m.reading, h->piece.open ? h->piece.number : 0));
	ev.control.table = f->control.table;
	ev.control.end = f->control.end;
	ev.control.row.bytes = 20;
	ev.control.row.lane = 1 + capture_mix(f->control.table, 99);
	capture_host_step(s, h, &ev);
	capture_host_keep(s, h, ev.control.row.slot, &p);
}

static void turn(struct capture_sim *s, struct host *h);

static void on_stream(struct capture_sim *s, const struct capture_happening *h)
{
	struct host *host = alive(s, h);
	struct capture_event ev = { .kind = CAPTURE_EVENT_STREAM_UP };
	bool leads;

	if (host == NULL || host->epoch == 0 || host->session != h->d || capture_host_defers(s, host, h))
		return;
	leads = s->lock_owner == host->session && !host->session_dead;
	if (leads)
		capture_walsender_start(s, host, h->c);
	else
		ev.kind = CAPTURE_EVENT_STREAM_DOWN;
	capture_host_step(s, host, &ev);
	if (leads)
		capture_host_pull(s, host);
	turn(s, host);
}

static void release(struct capture_sim *s, struct host *h, uint32_t slot)
{
	demand(s, h->payload[slot].used, "slot %u is let go twice", slot);
	if (h->payload[slot].keys != NULL)
		memset(h->payload[slot].keys, '?', 2 * KEY_BYTES - 1);
	free(h->payload[slot].keys);
	h->payload[slot] = (struct payload){ .used = false };
}

static void note(struct capture_sim *s, const struct capture_note *n)
{
	s->again += n->kind == CAPTURE_NOTE_AGAIN;
}

static void carry_out(struct capture_sim *s, struct host *h, const struct capture_effect *f)
{
	struct capture_happening *a;

	switch (f->kind) {
	case CAPTURE_EFFECT_STREAM:
		/* The slot may be in use for a while. */
		a = plan(s, h, capture_soon(s, 2 * s->plan.pg_us + (mishap(s, query_slow) ? 300 : 5) * MS), on_stream);
		a->c = f->stream.lsn;
		a->d = h->session;
		break;
	case CAPTURE_EFFECT_CONFIRM:
		trace(s, "host %u  confirms %llu", h->index, (unsigned long long)f->confirm.lsn);
		check_capture_confirmed(s, h, f->confirm.lsn);
		h->confirmed = f->confirm.lsn;
		capture_walsender_confirm(s, h);
		break;
	case CAPTURE_EFFECT_DRAW:
	case CAPTURE_EFFECT_HORIZON:
	case CAPTURE_EFFECT_CHUNK:
	case CAPTURE_EFFECT_CHUNK_END: capture_reader_ask(s, h, f); break;
	case CAPTURE_EFFECT_LET_GO: capture_reader_let_go(s, h); break;
	case CAPTURE_EFFECT_WINDOW: window(s, h, f); break;
	case CAPTURE_EFFECT_CONTROL: control(s, h, f); break;
	case CAPTURE_EFFECT_MARK: capture_books_mark(s, h, f->mark); break;
	case CAPTURE_EFFECT_FETCH: capture_books_fetch(s, h, f); break;
	case CAPTURE_EFFECT_RELEASE: release(s, h, f->release.slot); break;
	case CAPTURE_EFFECT_NOTE: note(s, &f->note); break;
	case CAPTURE_EFFECT_END: capture_broker_when(s, h, f->end.sequence); break;
	case CAPTURE_EFFECT_LOST_END:
		demand(s, s->end_lost, "the stream is said to have lost its end");
		s->gap = true;
		break;
	case CAPTURE_EFFECT_COMMON: common(s, h, &f->common); break;
	}
}

static void die(struct capture_sim *s, struct host *h);
static void wake_later(struct capture_sim *s, struct host *h);

static void freeze(struct capture_sim *s, struct host *h)
{
	h->frozen_until = s->now + prng_spread(&s->dice, MS, 3 * SECOND);
	trace(s, "host %u  freezes", h->index);
}

/* The core is in the middle of a step when an effect's answer comes at once: then its effects are carried out further out. */
static uint32_t depth;

static void turn(struct capture_sim *s, struct host *h)
{
	struct capture_effect f;
	uint64_t life = h->life;

	if (depth > 0)
		return;
	depth++;
	while (h->core != NULL && h->life == life && capture_next(h->core, &f)) {
		if (mishap(s, freeze))
			freeze(s, h);
		carry_out(s, h, &f);
		if (h->life == life && mishap(s, crash))
			die(s, h);
	}
	depth--;
	if (h->life == life && h->core != NULL)
		wake_later(s, h);
}

void capture_host_turn(struct capture_sim *s, struct host *h)
{
	turn(s, h);
}

static void on_wake(struct capture_sim *s, const struct capture_happening *h)
{
	struct host *host = alive(s, h);
	struct event ev = { .kind = EVENT_TICK };

	if (host == NULL || host->wake != h->c || capture_host_defers(s, host, h))
		return;
	capture_host_common(s, host, &ev);
}

static void wake_later(struct capture_sim *s, struct host *h)
{
	int64_t at = capture_deadline(h->core);

	h->wake = ++s->numbers;
	if (at == INT64_MAX)
		return;
	at *= MS;
	plan(s, h, at > s->now ? at : s->now + 1, on_wake)->c = h->wake;
}

void capture_host_step(struct capture_sim *s, struct host *h, struct capture_event *ev)
{
	ev->now_ms = s->now / MS;
	ev->random = (uint32_t)prng_next(&s->dice);
	s->steps++;
	capture_step(h->core, ev);
	if (s->steps % 7 == 0)
		capture_audit(h->core);
	if (h->has_found && !capture_look(h->core)->send->found_is_sought) {
		memset(h->found, 0, sizeof h->found);
		h->has_found = false;
	}
}

void capture_host_common(struct capture_sim *s, struct host *h, struct event *common)
{
	struct capture_event ev = { .kind = CAPTURE_EVENT_COMMON };

	ev.common = common;
	capture_host_step(s, h, &ev);
	turn(s, h);
}

/* --- the stream --- */

void capture_host_keep(struct capture_sim *s, struct host *h, uint32_t slot, struct payload *p)
{
	if (slot == CAPTURE_NO_SLOT) {
		free(p->keys);
		return;
	}
	demand(s, slot < capture_slots(&s->plan.settings) && !h->payload[slot].used, "slot %u is given twice", slot);
	h->payload[slot] = *p;
	h->payload[slot].used = true;
}

static bool take_one(struct capture_sim *s, struct host *h)
{
	struct capture_event ev = { 0 };
	struct payload p;

	if (!capture_takes(h->core) || !capture_walsender_next(s, h, &ev, &p))
		return false;
	capture_host_step(s, h, &ev);
	if (ev.kind == CAPTURE_EVENT_CHANGE)
		capture_host_keep(s, h, ev.change.row.slot, &p);
	turn(s, h);
	return true;
}

static void on_pull(struct capture_sim *s, const struct capture_happening *h);

static void pull_later(struct capture_sim *s, struct host *h, int64_t most)
{
	plan(s, h, capture_soon(s, most), on_pull)->c = h->stream;
}

static void on_pull(struct capture_sim *s, const struct capture_happening *h)
{
	bool idle = false;
	struct host *host = alive(s, h);
	int64_t n = prng_spread(&s->dice, 1, 20);

	if (host == NULL || host->stream != h->c || host->stream == 0 || capture_host_defers(s, host, h))
		return;
	while (n-- > 0 && host->life == h->b && host->stream == h->c && s->now >= host->frozen_until && !idle)
		idle = !take_one(s, host);
	if (host->life == h->b && host->stream == h->c)
		pull_later(s, host, (idle ? 4 : 2) * s->plan.pg_us + (idle && capture_healed(s) ? 20 * MS : 0));
}

void capture_host_pull(struct capture_sim *s, struct host *h)
{
	pull_later(s, h, 2 * s->plan.pg_us);
}

static void on_stream_gone(struct capture_sim *s, const struct capture_happening *h)
{
	struct host *host = alive(s, h);
	struct capture_event ev = { .kind = CAPTURE_EVENT_STREAM_DOWN };

	if (host == NULL || host->stream == h->c || host->epoch != h->d || capture_host_defers(s, host, h))
		return;
	capture_host_step(s, host, &ev);
	turn(s, host);
}

static void lose_stream(struct capture_sim *s, struct host *h)
{
	uint64_t stream = h->stream;
	struct capture_happening *a;

	if (stream == 0)
		return;
	h->stream = 0;
	a = plan(s, h, capture_soon(s, 5 * MS), on_stream_gone);
	a->c = stream;
	a->d = h->epoch;
}

/* --- the lead --- */

static void on_lead(struct capture_sim *s, const struct capture_happening *h)
{
	struct host *host = alive(s, h);

	if (host == NULL || capture_host_defers(s, host, h))
		return;
	plan(s, host, capture_soon(s, 40 * MS), on_lead);
	if (host->session == 0) {
		host->session = ++s->numbers;
		host->session_dead = false;
	} else if (!host->session_dead && host->epoch == 0 && s->lock_owner == 0 && s->pg.slot.ready) {
		s->lock_owner = host->session;
		host->stream = host->confirmed = 0;
		memset(host->found, 0, sizeof host->found);
		capture_books_lead(s, host);
		turn(s, host);
	}
}

static void on_session_gone(struct capture_sim *s, const struct capture_happening *h)
{
	struct host *host = alive(s, h);
	struct event ev = { .kind = EVENT_DEPOSED };

	if (host == NULL || host->session != h->c || capture_host_defers(s, host, h))
		return;
	trace(s, "host %u  is deposed", host->index);
	if (host->epoch != 0 && s->now / MS > host->until_ms)
		host->until_ms = s->now / MS;
	host->session = 0;
	host->epoch = 0;
	host->question++;
	capture_host_common(s, host, &ev);
}

void capture_host_lose_session(struct capture_sim *s, struct host *h)
{
	if (h->session == 0 || h->session_dead)
		return;
	h->session_dead = true;
	if (s->lock_owner == h->session)
		s->lock_owner = 0;
	plan(s, h, capture_soon(s, prng_spread(&s->dice, MS, 400 * MS)), on_session_gone)->c = h->session;
}

void capture_hosts_lose_sessions(struct capture_sim *s)
{
	for (uint32_t i = 0; i < s->plan.hosts; i++) {
		capture_host_lose_session(s, &s->host[i]);
		lose_stream(s, &s->host[i]);
		if (s->host[i].core != NULL)
			capture_reader_lost(s, &s->host[i]);
	}
}

void capture_hosts_lose_lead(struct capture_sim *s)
{
	for (uint32_t i = 0; i < s->plan.hosts; i++)
		if (s->host[i].session != 0 && s->host[i].session == s->lock_owner) {
			capture_host_lose_session(s, &s->host[i]);
			lose_stream(s, &s->host[i]);
		}
}

/* --- the bus --- */

static void on_bus(struct capture_sim *s, const struct capture_happening *h)
{
	struct host *host = alive(s, h);
	struct event ev = { .kind = EVENT_BUS_UP };

	if (host == NULL || host->core == NULL || host->connection != 0 || capture_host_defers(s, host, h))
		return;
	host->connection = ++s->numbers;
	capture_host_common(s, host, &ev);
}

void capture_host_lose_bus(struct capture_sim *s, struct host *h)
{
	struct event ev = { .kind = EVENT_BUS_DOWN };

	if (h->connection == 0 || h->core == NULL)
		return;
	h->connection = 0;
	capture_host_common(s, h, &ev);
	plan(s, h, capture_soon(s, 100 * MS), on_bus);
}

/* --- life and death --- */

static void live(struct capture_sim *s, struct host *h)
{
	h->core = capture_create(&s->plan.settings);
	demand(s, h->core != NULL, "out of memory");
	plan(s, h, capture_soon(s, 30 * MS), on_lead);
	plan(s, h, capture_soon(s, 20 * MS), on_bus);
}

static void on_rise(struct capture_sim *s, const struct capture_happening *h)
{
	if (alive(s, h) != NULL)
		live(s, &s->host[h->a]);
}

static void let_go_of_all(struct host *h)
{
	for (uint32_t i = 0; i < MAX_SLOTS; i++) {
		free(h->payload[i].keys);
		h->payload[i] = (struct payload){ .used = false };
	}
}

static void die(struct capture_sim *s, struct host *h)
{
	trace(s, "host %u  dies", h->index);
	if (h->session != 0 && s->lock_owner == h->session)
		s->lock_owner = 0;
	capture_free(h->core);
	h->core = NULL;
	h->life++;
	h->session = h->epoch = h->led = h->connection = h->stream = 0;
	h->until_ms = 0;
	h->session_dead = false;
	h->frozen_until = 0;
	h->question++;
	h->piece.open = false;
	let_go_of_all(h);
	memset(h->found, 0, sizeof h->found);
	plan(s, h, capture_soon(s, prng_spread(&s->dice, MS, 500 * MS)), on_rise);
}

void capture_host_strike(struct capture_sim *s, enum capture_fault f)
{
	struct host *h = &s->host[prng_below(&s->dice, s->plan.hosts)];

	if (h->core == NULL)
		return;
	switch (f) {
	case CAPTURE_FAULT_kill: die(s, h); break;
	case CAPTURE_FAULT_session_lost: capture_host_lose_session(s, h); break;
	case CAPTURE_FAULT_stream_lost: lose_stream(s, h); break;
	case CAPTURE_FAULT_bus_lost: capture_host_lose_bus(s, h); break;
	default: break;
	}
}

void capture_hosts_begin(struct capture_sim *s)
{
	depth = 0;
	demand(s, capture_slots(&s->plan.settings) <= MAX_SLOTS, "the simulator is too small");
	for (uint32_t i = 0; i < CAPTURE_HOSTS; i++)
		s->host[i].index = i;
	for (uint32_t i = 0; i < s->plan.hosts; i++)
		live(s, &s->host[i]);
}

void capture_hosts_end(struct capture_sim *s)
{
	for (uint32_t i = 0; i < CAPTURE_HOSTS; i++) {
		capture_free(s->host[i].core);
		let_go_of_all(&s->host[i]);
	}
}

void capture_hosts_rest(struct capture_sim *s)
{
	for (uint32_t i = 0; i < s->plan.hosts; i++)
		s->host[i].frozen_until = 0;
}
