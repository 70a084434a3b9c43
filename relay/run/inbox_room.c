#include "run/inbox_room.h"

#include <stdlib.h>

#include "books/inbox_ledger.h"
#include "config/servers.h"
#include "run/inbox_room_state.h"
#include "watch/inbox_note.h"

enum { WAKE_MS = 10 }; /* workers are woken so often at most */

static const struct config_subscription *config_of(const struct inbox_subscription *s)
{
	return &s->room->config->subscriptions[s->index];
}

/* --- settings --- */

/* A session that is made anew leads anew, so that nothing else is to be done where the subscription is one of others now. */
void inbox_room_reloaded(struct inbox_room *r, const struct reload_changes *changes)
{
	struct pg_options pg = servers_postgres(r->config, "boxhaul inbox");
	struct natsio_options nats = servers_nats(r->config, "boxhaul inbox");
	const char *why = "its settings were reloaded, connecting anew";

	if (!changes->ok)
		return;
	nats.lanes = (unsigned)(r->count * LIMIT_INBOX_PULLS);
	for (size_t i = 0; i < r->count; i++) {
		struct inbox_settings settings = inbox_room_settings(r, i);

		inbox_room_step(&r->subscription[i],
				&(struct inbox_event){ .kind = INBOX_EVENT_SETTINGS, .settings = &settings });
		inbox_leader_define(r->leader, i);
	}
	natsio_use(r->nats, &nats, changes->nats ? why : NULL);
	pg_use(r->pg, &pg, changes->postgres ? why : NULL);
	inbox_handlers_reloaded(r->handlers, changes->postgres ? why : NULL);
	if (r->sagas != NULL)
		inbox_sagas_reloaded(r->sagas, changes->postgres ? why : NULL);
}

/* --- effects --- */

static void release(struct inbox_subscription *s, uint32_t slot, uint32_t count)
{
	for (uint32_t i = slot; i < slot + count; i++) {
		free(s->parcels[i]);
		s->parcels[i] = NULL;
	}
}

static void on_stopped(void *arg, const struct pg_result *result)
{
	struct inbox_subscription *s = arg;

	/* Nothing is taken, on record or not. Whoever looks at the database would not know why. */
	if (pg_error(result) != NULL)
		pg_break(s->room->pg, pg_error(result));
}

static bool stop(struct inbox_subscription *s, const struct inbox_effect *f)
{
	const struct inbox_stats *stats = inbox_look(s->core);

	return inbox_ledger_stop(s->room->pg, config_of(s)->name, inbox_leader_epoch(s->room->leader, s->index),
				 &(struct inbox_ledger_stop){ .stop = f->stop.stop,
							      .at_position = stats->position,
							      .from = f->stop.from,
							      .to = f->stop.to,
							      .last = stats->last,
							      .reason = f->stop.reason,
							      .created_ns = inbox_consumer_created(s->consumer),
							      .words = inbox_consumer_words(s->consumer) },
				 on_stopped, s);
}

static void tell(struct inbox_subscription *s, const struct inbox_note *note)
{
	const struct config_subscription *c = config_of(s);
	char target[CONFIG_TARGET_BYTES];

	if (note->kind == INBOX_NOTE_DOUBT)
		s->doubt = note->doubt;
	inbox_note_tell(s->room->log, note,
			&(struct inbox_note_about){ .subscription = c->name,
						    .stream = c->stream,
						    .ids = c->dedupe == INBOX_DEDUPE_IDS,
						    .target = config_target(s->room->config, target),
						    .refused = inbox_consumer_words(s->consumer),
						    .failed = inbox_books_trouble(s->books) });
}

static void carry_out(struct inbox_subscription *s, const struct inbox_effect *f)
{
	struct inbox_room *r = s->room;
	bool ok = true;

	switch (f->kind) {
	case INBOX_EFFECT_BOOKS: inbox_leader_ask_books(r->leader, s->index); break;
	case INBOX_EFFECT_MAKE: inbox_consumer_make(s->consumer, f->make.consumer, f->make.start); break;
	case INBOX_EFFECT_DELETE: inbox_consumer_delete(s->consumer, f->delete.consumer); break;
	case INBOX_EFFECT_INFO: inbox_consumer_info(s->consumer, f->ask.ask); break;
	case INBOX_EFFECT_TIME: inbox_consumer_time(s->consumer, f->ask.ask, f->ask.sequence); break;
	case INBOX_EFFECT_PULL: inbox_consumer_pull(s->consumer, f); break;
	case INBOX_EFFECT_MOVE:
		ok = inbox_books_move(s->books, config_of(s)->name, inbox_leader_epoch(r->leader, s->index), &f->move);
		break;
	case INBOX_EFFECT_RELEASE: release(s, f->release.slot, f->release.count); break;
	case INBOX_EFFECT_STOP: ok = stop(s, f); break;
	case INBOX_EFFECT_NOTE: tell(s, &f->note); break;
	}
	/* The core waits for an answer that will not come: begin again from what the database holds. */
	if (!ok)
		pg_break(r->pg, "a statement could not be sent");
}

/* Returns when it is due, where it is not yet. */
static int64_t wake(struct inbox_subscription *s, int64_t now)
{
	if (!inbox_books_wants_wake(s->books))
		return INT64_MAX;
	if (now < s->woken_ms + WAKE_MS)
		return s->woken_ms + WAKE_MS;
	s->woken_ms = now;
	if (!inbox_books_wake(s->books, config_of(s)->name))
		pg_break(s->room->pg, "a statement could not be sent");
	return INT64_MAX;
}

void inbox_room_turn(struct inbox_room *r)
{
	int64_t now = loop_now_ms(), at = INT64_MAX;

	for (size_t i = 0; i < r->count; i++) {
		struct inbox_subscription *s = &r->subscription[i];
		struct inbox_effect f;
		int64_t due;

		inbox_room_step(s, &(struct inbox_event){ .kind = INBOX_EVENT_TICK });
		while (inbox_next(s->core, &f))
			carry_out(s, &f);
		due = wake(s, now);
		at = due < at ? due : at;
		due = inbox_deadline(s->core);
		at = due < at ? due : at;
	}
	loop_timer_at(r->timer, at);
}

void inbox_room_tick(struct inbox_room *r)
{
	inbox_clock_tick(r);
}

/* --- what is known --- */

static void collect_one(struct inbox_subscription *s, struct inbox_subscription_facts *f)
{
	const struct inbox_books_figures *figures = inbox_books_figures(s->books);
	const struct inbox_stats *stats = inbox_look(s->core);
	enum role role = inbox_leader_role(s->room->leader, s->index);
	uint64_t pending;
	bool spoken = inbox_consumer_pending(s->consumer, &pending);

	*f = (struct inbox_subscription_facts){
		.name = config_of(s)->name,
		.stream = config_of(s)->stream,
		.role = role_text(role),
		.leads = role == ROLE_LEADER,
		.stands_by = role == ROLE_STANDBY,
		.epoch = inbox_leader_epoch(s->room->leader, s->index),
		.trouble = inbox_leader_trouble(s->room->leader, s->index),
		.state = inbox_state_name(stats->state),
		.stats = stats,
		.refused = inbox_consumer_words(s->consumer),
		.failed = inbox_books_trouble(s->books),
		.in_vain = inbox_clock_in_vain(s),
		.doubt = s->doubt,
		.witness_ms = stats->checked_ms,
		.lag_known = stats->state == INBOX_PULLING && spoken,
		.lag_messages = pending + stats->queued,
		.lag_us = inbox_clock_lag_us(s),
		.taken = figures->taken,
		.left_out = figures->left_out,
		.dead = figures->dead,
		.lost = figures->lost,
		.bytes = figures->bytes,
		.moves = figures->moves,
		.rate = s->rate,
		.standing = s->standing,
		.ids = config_of(s)->dedupe == INBOX_DEDUPE_IDS,
		.paused = stats->state == INBOX_PAUSED,
		.backlog = &s->backlog,
		.handler = { .trouble = "" },
	};
	f->has_handler = inbox_handlers_look(s->room->handlers, s->index, &f->handler);
}

void inbox_room_facts(struct inbox_room *r, struct inbox_facts *f)
{
	static const uint64_t none[PG_STATEMENTS];

	*f = (struct inbox_facts){ .postgres_why = "", .nats_why = "", .cleaning = "", .statements = none };
	inbox_sagas_facts(r != NULL ? r->sagas : NULL, &f->sagas);
	if (r == NULL)
		return;
	f->postgres_up = r->postgres_up;
	f->nats_up = r->nats_up;
	f->postgres_why = r->postgres_why;
	f->nats_why = r->nats_why;
	f->reconnects_postgres = r->postgres_connects;
	f->reconnects_nats = r->nats_connects;
	f->statements = pg_sent(r->pg);
	f->schema = inbox_leader_schema(r->leader);
	f->cleaning = r->clean_why;
	f->count = r->count;
	for (size_t i = 0; i < r->count; i++) {
		collect_one(&r->subscription[i], &f->subscription[i]);
		if (r->subscription[i].backlog.unclocked > 0)
			f->sagas.unclocked = r->subscription[i].backlog.unclocked;
	}
}

/* --- from start to end --- */

static void due(void *arg)
{
	(void)arg; /* the turn does the work */
}

static bool open_subscription(struct inbox_room *r, size_t index)
{
	struct inbox_subscription *s = &r->subscription[index];
	struct inbox_settings settings = inbox_room_settings(r, index);
	struct inbox_books_handlers of_books = inbox_events_of_books(s);
	struct inbox_consumer_handlers of_consumer = inbox_events_of_consumer(s);

	s->room = r;
	s->index = index;
	s->slots = settings.queue_messages;
	s->core = inbox_create(&settings);
	s->parcels = calloc(s->slots, sizeof(struct inbox_parcel *));
	s->consumer = inbox_consumer_create(r->config, index, r->nats, r->log, &of_consumer);
	if (s->parcels != NULL)
		s->books = inbox_books_create(r->pg, r->log, config_of(s)->tables != NULL, s->parcels, s->slots,
					      &of_books);
	return s->core != NULL && s->consumer != NULL && s->books != NULL;
}

static bool open_all(struct inbox_room *r)
{
	struct pg_options pg = servers_postgres(r->config, "boxhaul inbox");
	struct natsio_options nats = servers_nats(r->config, "boxhaul inbox");
	struct pg_handlers of_pg = inbox_events_of_postgres(r);
	struct natsio_handlers of_nats = inbox_events_of_nats(r);
	struct inbox_leader_handlers of_leader = inbox_events_of_leader(r);
	bool ok = true;

	nats.lanes = (unsigned)(r->count * LIMIT_INBOX_PULLS);
	r->pg = pg_open(r->loop, &pg, &of_pg);
	r->nats = natsio_open(r->loop, &nats, &of_nats);
	r->timer = loop_timer(r->loop, due, r);
	if (r->pg == NULL || r->nats == NULL || r->timer == NULL)
		return false;
	r->leader = inbox_leader_create(r->loop, r->pg, r->config, r->log, r->served, &of_leader);
	r->handlers = inbox_handlers_open(r->loop, r->config, r->log, r->served);
	for (size_t i = 0; i < r->count; i++)
		ok &= open_subscription(r, i);
	if (r->config->sagas.replies != NULL &&
	    (r->sagas = inbox_sagas_open(r->loop, r->config, r->log, r->served)) == NULL)
		return false;
	return ok && r->leader != NULL && r->handlers != NULL;
}

struct inbox_room *inbox_room_open(struct loop *l, const struct config *config, struct log *log, struct served *served)
{
	struct inbox_room *r = calloc(1, sizeof *r + config->subscription_count * sizeof r->subscription[0]);

	if (r == NULL)
		return NULL;
	r->loop = l;
	r->config = config;
	r->log = log;
	r->served = served;
	r->count = config->subscription_count;
	if (open_all(r))
		return r;
	inbox_room_close(r);
	inbox_room_free(r);
	return NULL;
}

void inbox_room_close(struct inbox_room *r)
{
	if (r == NULL)
		return;
	if (r->timer != NULL)
		loop_timer_at(r->timer, INT64_MAX);
	if (r->leader != NULL)
		inbox_leader_session_down(r->leader);
	inbox_handlers_close(r->handlers);
	inbox_sagas_close(r->sagas);
	natsio_close(r->nats);
	pg_close(r->pg);
}

void inbox_room_free(struct inbox_room *r)
{
	for (size_t i = 0; r != NULL && i < r->count; i++) {
		struct inbox_subscription *s = &r->subscription[i];

		if (s->parcels != NULL)
			release(s, 0, s->slots);
		free(s->parcels);
		inbox_books_free(s->books);
		inbox_consumer_free(s->consumer);
		inbox_free(s->core);
	}
	if (r != NULL) {
		inbox_leader_free(r->leader);
		inbox_handlers_free(r->handlers);
		inbox_sagas_free(r->sagas);
	}
	free(r);
}
