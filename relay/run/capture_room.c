#include "run/capture_room.h"

#include <stdio.h>
#include <stdlib.h>

#include "books/capture_tables.h"
#include "config/servers.h"
#include "edge/pg_database.h"
#include "run/capture_room_state.h"

enum {
	KEEP_BYTES = 64, /* of a message in memory, beside what it takes */
	QUEUE_SHARE = 8, /* of delivery.queue_bytes a capture has one */
	CHUNK_WAIT_MS = 1000,
	CARRY_AFTER_MS = 2000,
	READER_REST_MS = 1000,
};

/* --- small things --- */

void capture_room_step(struct capture_one *c, struct capture_event *ev)
{
	ev->now_ms = loop_now_ms();
	ev->random = (uint32_t)random();
	capture_step(c->core, ev);
}

void capture_room_step_common(struct capture_one *c, const struct event *ev)
{
	capture_room_step(c, &(struct capture_event){ .kind = CAPTURE_EVENT_COMMON, .common = ev });
}

void capture_room_refuse(struct capture_one *c, uint64_t token, uint32_t reason)
{
	struct event ev = { .kind = EVENT_REFUSED };

	ev.refused.token = token;
	ev.refused.reason = reason;
	capture_room_step_common(c, &ev);
}

void capture_room_keep(struct capture_one *c, uint32_t slot, struct capture_parcel *p)
{
	if (slot == CAPTURE_NO_SLOT) {
		free(p);
		return;
	}
	p->parcel.born_us = loop_now_us();
	p->parcel.read_ms = p->parcel.born_us / 1000;
	free(c->parcels[slot]);
	c->parcels[slot] = p;
}

void capture_room_end_stream(struct capture_one *c)
{
	c->wants_stream = c->streams = false;
	pg_walsender_stop(c->walsender);
	capture_stream_end(c->stream);
}

static uint32_t queue_bytes(const struct delivery_settings *s)
{
	return s->queue_bytes / QUEUE_SHARE > 0 ? s->queue_bytes / QUEUE_SHARE : 1;
}

struct capture_settings capture_room_settings(const struct capture_one *c)
{
	const struct config_capture *conf = capture_room_config(c);
	struct delivery_settings send = c->room->config->delivery;

	send.streams = 1;
	send.poison = conf->poison;
	send.ordering = ORDERING_STRICT;
	/* A row is in memory here, and until it is written to the socket once more in nats.c; the largest one stands beside that in libpq, twice, and where its
	 * message is made. So that large rows do not take more than small ones, a capture keeps less. */
	send.queue_bytes = queue_bytes(&send);
	send.window_bytes = send.window_bytes < send.queue_bytes ? send.window_bytes : send.queue_bytes;
	if (c->cuts.alone)
		send.window_messages = 1;
	return (struct capture_settings){
		.send = send,
		.in_commit_order = conf->order == CONFIG_ORDER_COMMIT,
		.rows_together = capture_maker_puts_together(conf),
		.tables = (uint32_t)capture_tables_count(conf),
		.chunk_rows = conf->chunk_rows,
		.chunk_share = conf->chunk_share,
		.chunk_wait_ms = CHUNK_WAIT_MS,
		.whole_ms = (uint32_t)conf->whole_limit_ms,
		.carry_after_ms = CARRY_AFTER_MS,
	};
}

/* The configuration as flow/publisher.h, stream_scan.h and stream_setup.h want it: one stream, the capture's, and a queue of as many slots as a token
 * can name. */
static void set_view(struct capture_one *c)
{
	c->view = *c->room->config;
	pg_database_of(c->room->config->postgres.capture_conninfo, c->database, sizeof c->database);
	c->view.streams = &c->room->config->captures[c->index].stream;
	c->view.stream_count = 1;
	c->view.delivery.owned = capture_room_config(c)->order == CONFIG_ORDER_COMMIT;
	c->view.delivery.queue_messages = CAPTURE_SENT_SLOTS;
}

/* --- turns --- */

static void tell_drained(struct capture_room *r)
{
	bool all = true;

	for (size_t i = 0; i < r->count; i++)
		all &= r->capture[i].draining && (r->capture[i].drained || !r->capture[i].led);
	if (!all || r->told_drained)
		return;
	r->told_drained = true;
	r->drained(r->arg);
}

void capture_room_turn(struct capture_room *r)
{
	for (size_t i = 0; i < r->count; i++)
		capture_turn(&r->capture[i]);
	if (r->draining)
		tell_drained(r);
}

void capture_room_drain(struct capture_room *r)
{
	r->draining = true;
	for (size_t i = 0; i < r->count; i++) {
		r->capture[i].draining = true;
		capture_room_step_common(&r->capture[i], &(struct event){ .kind = EVENT_DRAIN });
	}
}

uint32_t capture_room_in_flight(struct capture_room *r)
{
	uint32_t n = 0;

	for (size_t i = 0; r != NULL && i < r->count; i++)
		n += capture_look(r->capture[i].core)->send->in_flight;
	return n;
}

/* A session that reads rows is there while there are rows to be read. */
static void rest_reader(struct capture_one *c, int64_t now)
{
	if (capture_chunk_is_wanted(c->chunk))
		c->reader_wanted_ms = now;
	else if (now - c->reader_wanted_ms >= READER_REST_MS)
		pg_rest(c->reader, true);
}

void capture_room_tick(struct capture_room *r)
{
	int64_t now = loop_now_ms();

	for (size_t i = 0; i < r->count; i++) {
		struct capture_one *c = &r->capture[i];

		capture_leader_tick(c->leader);
		rest_reader(c, now);
		capture_collect_tick(c, now);
	}
}

/* --- what is known --- */

void capture_room_facts(struct capture_room *r, struct capture_facts *f)
{
	*f = (struct capture_facts){ .postgres_why = "", .nats_why = "" };
	if (r == NULL)
		return;
	f->postgres_up = f->nats_up = true;
	f->count = r->count;
	f->capture = r->facts;
	for (size_t i = 0; i < r->count; i++) {
		struct capture_one *c = &r->capture[i];

		capture_collect(c, &r->facts[i]);
		f->postgres_up &= c->postgres_up;
		f->nats_up &= c->nats_up;
		if (!c->postgres_up)
			f->postgres_why = c->postgres_why;
		if (!c->nats_up)
			f->nats_why = c->nats_why;
		f->reconnects_postgres += c->postgres_connects;
		f->reconnects_nats += c->nats_connects;
		f->schema = capture_leader_look(c->leader).schema;
	}
}

/* --- from start to end --- */

static void due(void *arg)
{
	(void)arg; /* the turn does the work */
}

static bool open_edges(struct capture_one *c)
{
	struct capture_room *r = c->room;
	struct pg_options pg = servers_postgres_capture(r->config, c->client);
	struct natsio_options nats = servers_nats(r->config, c->client);
	struct pg_handlers of_control = capture_events_of_control(c), of_reader = capture_reader_events_of_session(c);
	struct natsio_handlers of_nats = capture_nats_handlers(c);
	struct pg_walsender_handlers of_walsender = capture_events_of_walsender(c);

	c->pg = pg_open(r->loop, &pg, &of_control);
	pg.pinned_text = true;
	c->reader = pg_open(r->loop, &pg, &of_reader);
	c->nats = natsio_open(r->loop, &nats, &of_nats);
	c->walsender = pg_walsender_open(r->loop, &of_walsender);
	c->timer = loop_timer(r->loop, due, c);
	if (c->reader != NULL)
		pg_rest(c->reader, true);
	return c->pg != NULL && c->reader != NULL && c->nats != NULL && c->walsender != NULL && c->timer != NULL;
}

static bool open_core(struct capture_one *c)
{
	struct capture_settings settings = capture_room_settings(c);

	c->slots = capture_slots(&settings);
	c->core = capture_create(&settings);
	c->parcels = calloc(c->slots, sizeof(struct capture_parcel *));
	c->sent = calloc(CAPTURE_SENT_SLOTS, sizeof(struct parcel *));
	c->table_count = settings.tables;
	c->tables = calloc(c->table_count + 1, sizeof *c->tables);
	c->table_facts = calloc(c->table_count + 1, sizeof *c->table_facts);
	c->reasons = reasons_create();
	return c->core != NULL && c->parcels != NULL && c->sent != NULL && c->tables != NULL &&
	       c->table_facts != NULL && c->reasons != NULL;
}

static bool open_flow(struct capture_one *c)
{
	struct capture_room *r = c->room;
	struct stream_scan_handlers of_scan = capture_nats_of_scan(c);
	struct stored_time_handlers of_time = capture_nats_of_time(c);
	struct capture_leader_handlers of_leader = capture_events_of_leader(c);
	struct capture_chunk_handlers of_chunk = capture_reader_events_of_chunk(c);
	struct capture_stream_handlers of_stream = capture_events_of_stream(c);
	struct pg_options login = servers_postgres_capture(r->config, c->client);

	c->publisher = publisher_create(&c->view, c->nats, c->reasons, c->sent);
	c->setup = stream_setup_create(&c->view, c->nats, c->reasons, r->log);
	c->scan = stream_scan_create(r->loop, c->nats, &c->view, c->reasons, r->log, &of_scan);
	c->stored_time = stored_time_create(c->nats, &c->view, &of_time);
	c->leader = capture_leader_create(r->loop, c->pg, &login, r->config, c->index, r->log, r->served, &of_leader);
	c->chunk = capture_chunk_create(c->reader, r->config, c->index, r->log, r->served, &of_chunk);
	c->relations = capture_relations_create(r->config, c->index);
	c->maker = capture_maker_create(r->config, c->index);
	if (c->relations == NULL || c->maker == NULL)
		return false;
	c->stream = capture_stream_create(c->relations, c->maker, &of_stream);
	return c->publisher != NULL && c->setup != NULL && c->scan != NULL && c->stored_time != NULL &&
	       c->leader != NULL && c->chunk != NULL && c->stream != NULL;
}

static bool open_capture(struct capture_room *r, size_t index)
{
	struct capture_one *c = &r->capture[index];

	c->room = r;
	c->index = index;
	if (c->client == NULL && asprintf(&c->client, "boxhaul-%s", r->config->captures[index].name) < 0)
		return c->client = NULL, false;
	set_view(c);
	return open_core(c) && open_edges(c) && open_flow(c);
}

struct capture_room *capture_room_open(struct loop *l, const struct config *config, struct log *log,
				       struct served *served, const struct capture_room_handlers *handlers)
{
	struct capture_room *r = calloc(1, sizeof *r + config->capture_count * sizeof r->capture[0]);
	bool ok;

	if (r == NULL)
		return NULL;
	r->loop = l;
	r->config = config;
	r->log = log;
	r->served = served;
	r->drained = handlers->drained;
	r->arg = handlers->arg;
	r->count = config->capture_count;
	r->facts = calloc(r->count, sizeof *r->facts);
	ok = r->facts != NULL;
	for (size_t i = 0; ok && i < r->count; i++)
		ok = open_capture(r, i);
	if (ok)
		return r;
	capture_room_close(r);
	capture_room_free(r);
	return NULL;
}

/* Nothing is stepped, nor told, from here on: what the configuration says of its tables may be true no more. */
static void close_capture(struct capture_one *c)
{
	if (c->timer != NULL)
		loop_timer_at(c->timer, INT64_MAX);
	if (c->leader != NULL)
		capture_leader_session_down(c->leader);
	if (c->scan != NULL)
		stream_scan_stop(c->scan);
	pg_walsender_close(c->walsender);
	natsio_close(c->nats);
	pg_close(c->reader);
	pg_close(c->pg);
}

void capture_room_close(struct capture_room *r)
{
	for (size_t i = 0; r != NULL && i < r->count; i++)
		close_capture(&r->capture[i]);
}

static void free_capture(struct capture_one *c)
{
	for (uint32_t i = 0; c->parcels != NULL && i < c->slots; i++)
		free(c->parcels[i]);
	for (size_t i = 0; c->tables != NULL && i < c->table_count; i++) {
		free(c->tables[i].cursor);
		free(c->tables[i].top);
		free(c->tables[i].columns);
		free(c->tables[i].pass.columns);
	}
	capture_stream_free(c->stream);
	capture_maker_free(c->maker);
	capture_relations_free(c->relations);
	capture_chunk_free(c->chunk);
	capture_leader_free(c->leader);
	publisher_free(c->publisher);
	stream_setup_free(c->setup);
	stream_scan_free(c->scan);
	stored_time_free(c->stored_time);
	reasons_free(c->reasons);
	capture_free(c->core);
	free(c->table_facts);
	free(c->tables);
	free(c->parcels);
	free(c->sent);
}

void capture_room_free(struct capture_room *r)
{
	if (r == NULL)
		return;
	for (size_t i = 0; i < r->count; i++) {
		free_capture(&r->capture[i]);
		free(r->capture[i].client);
	}
	free(r->facts);
	free(r);
}

/* --- settings --- */

static void reload(struct capture_one *c, const struct reload_changes *changes)
{
	struct pg_options pg = servers_postgres_capture(c->room->config, c->client);
	struct natsio_options nats = servers_nats(c->room->config, c->client);
	struct capture_settings settings;
	const char *why = "its settings were reloaded, connecting anew";

	set_view(c);
	settings = capture_room_settings(c);
	capture_room_step_common(c, &(struct event){ .kind = EVENT_SETTINGS, .settings = &settings.send });
	capture_relations_configure(c->relations);
	capture_maker_configure(c->maker, c->system, c->database);
	capture_leader_define(c->leader);
	natsio_use(c->nats, &nats, changes->nats ? why : NULL);
	pg_use(c->pg, &pg, changes->postgres ? why : NULL);
	pg.pinned_text = true;
	pg_use(c->reader, &pg, changes->postgres ? why : NULL);
}

/* Core, books and stream count its tables, so none of them can be told of another list: the capture ends as with kill -9, and begins as in a new process. That
 * is safe for what makes that safe: what was sent and is not marked is known by the look-back; who led before (we did) is waited for, for nothing says
 * that he resigned; his marks have another epoch; and no row is read before a barrier that is drawn when the log is ours, so whoever wrote to a new table
 * before its publication had it has ended by then. (What is on its way to JetStream goes with the connection, and a thread that
 * still connects holds nothing of ours but texts that stay. The few timers stay until the loop ends.) */
static void begin_anew(struct capture_one *c)
{
	struct capture_room *r = c->room;
	size_t index = c->index;
	char *client = c->client;

	log_info(r->log, "the tables of the capture are others: it begins anew, from its mark",
		 KS("capture", capture_room_config(c)->name),
		 KU("tables", capture_tables_count(capture_room_config(c))));
	close_capture(c);
	free_capture(c);
	*c = (struct capture_one){ .client = client, .draining = r->draining };
	if (open_capture(r, index))
		return;
	log_error(r->log, "cannot begin the capture anew: out of memory or descriptors");
	abort(); /* half of it is of no use; whoever starts us again finds all that is on record */
}

void capture_room_reloaded(struct capture_room *r, const struct reload_changes *changes)
{
	for (size_t i = 0; changes->ok && i < r->count; i++)
		if (changes->captures[i])
			begin_anew(&r->capture[i]);
		else
			reload(&r->capture[i], changes);
}
