/* The shell: `boxhaul run` from start to end.
 *
 *     pg, nats, signals, timers --callbacks--> events (events.c) -> core
 *                                                                    |
 *     pg, nats, log <------ calls, once per turn (turn.c) -------- effects
 */
#include "run/relay.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/process.h"
#include "config/servers.h"
#include "edge/pg_database.h"
#include "run/collect.h"
#include "run/events.h"
#include "run/relay_state.h"
#include "run/tick.h"
#include "run/turn.h"

enum { CAPTURE_DESCRIPTORS = 6 };
enum { DESCRIPTORS = 32 }; /* servers, files, the port with a few connections: with fewer it would never work */

/* --- settings --- */

/* A new session is a new lead, and a new connection makes everything in flight unknown: only where it has to be, and not
 * while we wait for what is in flight. */
static void on_reloaded(void *arg, const struct reload_changes *changes)
{
	struct relay *r = arg;
	struct pg_options pg = servers_postgres(r->config, "boxhaul");
	struct natsio_options nats = servers_nats(r->config, "boxhaul");
	const char *why = r->stopping ? NULL : "its settings were reloaded, connecting anew";

	if (changes->ok) {
		pg_database_of(pg.conninfo, r->database, sizeof r->database);
		log_set(r->log, r->config->log.level, r->config->log.format);
		if (r->has_outbox) {
			relay_adjust_core(r);
			natsio_use(r->nats, &nats, changes->nats ? why : NULL);
			pg_use(r->pg, &pg, changes->postgres ? why : NULL);
			for (uint16_t i = 0; r->nats_up && i < r->config->stream_count; i++)
				relay_ask_stream(r, i);
		}
		if (r->inbox != NULL)
			inbox_room_reloaded(r->inbox, changes);
		if (r->captures != NULL)
			capture_room_reloaded(r->captures, changes);
	}
	service_ready(r->service);
}

/* --- timers and signals --- */

static void wake(void *arg)
{
	(void)arg; /* the turn does the work */
}

static uint64_t in_flight(struct relay *r)
{
	return delivery_stats(r->core)->in_flight + capture_room_in_flight(r->captures);
}

static void drain_timed_out(void *arg)
{
	struct relay *r = arg;

	log_warn(r->log, "not everything in flight was answered in time; it will be sent again under the same ids",
		 KU("in_flight", in_flight(r)));
	relay_finish(r, EXIT_UNDRAINED);
}

static void on_stop_signal(void *arg)
{
	struct relay *r = arg;

	if (r->stopping) {
		log_warn(r->log, "stopping at once; what is in flight will be sent again under the same ids");
		_exit(EXIT_UNDRAINED);
	}
	r->stopping = true;
	service_stopping(r->service, r->config->drain_timeout_ms);
	/* What the inbox has in flight is committed with its position, or not at all: there is nothing to wait for. */
	relay_drained(r, !r->has_outbox, r->captures == NULL);
	if (r->outbox_drained && r->captures_drained)
		return;
	log_info(r->log, "stopping: waiting for what is in flight", KU("in_flight", in_flight(r)));
	loop_timer_at(r->drain_timer, loop_now_ms() + r->config->drain_timeout_ms);
	if (r->captures != NULL)
		capture_room_drain(r->captures);
	if (r->has_outbox)
		relay_step(r, (struct event){ .kind = EVENT_DRAIN });
}

static void on_hangup(void *arg)
{
	struct relay *r = arg;

	if (r->stopping) {
		log_warn(r->log, "not reloading: stopping");
		return;
	}
	service_reloading(r->service);
	reload_begin(r->reload);
}

/* --- from start to end --- */

/* What everything else stands on. */
static bool open_base(struct relay *r, const struct config *config)
{
	r->loop = loop_create();
	if (r->loop == NULL)
		return false;
	r->service = service_create(r->loop, r->log);
	r->reload =
		reload_create(r->loop, config, r->log, &(struct reload_handlers){ .reloaded = on_reloaded, .arg = r });
	if (r->service == NULL || r->reload == NULL)
		return false;
	r->config = reload_config(r->reload);
	r->served = (struct served){ .config = r->config, .log = r->log };
	return true;
}

static bool open_edges(struct relay *r)
{
	struct pg_options pg = servers_postgres(r->config, "boxhaul");
	struct natsio_options nats = servers_nats(r->config, "boxhaul");
	struct pg_handlers of_pg = events_of_postgres(r);
	struct natsio_handlers of_nats = events_of_nats(r);

	pg_database_of(pg.conninfo, r->database, sizeof r->database);
	if (!r->has_outbox)
		return true;
	r->pg = pg_open(r->loop, &pg, &of_pg);
	r->nats = natsio_open(r->loop, &nats, &of_nats);
	return r->pg != NULL && r->nats != NULL;
}

static bool open_flow(struct relay *r)
{
	const struct config *c = r->config;
	struct delivery_settings settings = relay_core_settings(r);
	struct outbox_reader_handlers of_reader = events_of_reader(r);
	struct stream_scan_handlers of_scan = events_of_scan(r);
	struct leader_handlers of_leader = events_of_leader(r);

	r->core = delivery_create(&settings);
	r->parcels = calloc(c->delivery.queue_messages, sizeof *r->parcels);
	r->reasons = reasons_create();
	if (r->core == NULL || r->parcels == NULL || r->reasons == NULL)
		return false;
	r->reader = outbox_reader_create(r->pg, c, &of_reader);
	r->publisher = publisher_create(c, r->nats, r->reasons, r->parcels);
	r->setup = stream_setup_create(c, r->nats, r->reasons, r->log);
	r->scan = stream_scan_create(r->loop, r->nats, c, r->reasons, r->log, &of_scan);
	r->leader = leader_create(r->loop, r->pg, c, r->log, &r->served, &of_leader);
	return r->reader != NULL && r->publisher != NULL && r->setup != NULL && r->scan != NULL && r->leader != NULL;
}

static bool open_watch(struct relay *r)
{
	r->backlog = backlog_create(r->pg, r->config, r->parcels);
	if (r->backlog != NULL)
		r->progress = progress_create(r->config, r->reasons, r->setup, r->backlog);
	r->report = report_create(r->config, r->log);
	return r->progress != NULL && r->report != NULL;
}

static bool open_inbox(struct relay *r)
{
	if (r->config->subscription_count == 0)
		return true;
	r->inbox = inbox_room_open(r->loop, r->config, r->log, &r->served);
	return r->inbox != NULL;
}

static void on_captures_drained(void *arg)
{
	relay_drained(arg, false, true);
}

static bool open_captures(struct relay *r)
{
	struct capture_room_handlers handlers = { .drained = on_captures_drained, .arg = r };

	if (r->config->capture_count == 0)
		return true;
	r->captures = capture_room_open(r->loop, r->config, r->log, &r->served, &handlers);
	return r->captures != NULL;
}

static bool open_timers(struct relay *r)
{
	r->core_timer = loop_timer(r->loop, wake, r);
	r->tick = loop_timer(r->loop, tick, r);
	r->drain_timer = loop_timer(r->loop, drain_timed_out, r);
	return r->core_timer != NULL && r->tick != NULL && r->drain_timer != NULL;
}

/* After a start that failed, too: then some of it was never there. */
static void close_all(struct relay *r)
{
	struct loop_timer *timers[] = { r->tick, r->core_timer, r->drain_timer };

	/* From here on no timer may find what is about to go. */
	for (size_t i = 0; i < sizeof timers / sizeof timers[0]; i++)
		if (timers[i] != NULL)
			loop_timer_at(timers[i], INT64_MAX);
	if (r->loop != NULL)
		loop_before_sleep(r->loop, NULL, NULL);
	reload_close(r->reload);
	if (r->leader != NULL)
		leader_session_down(r->leader);
	health_close(r->health);
	inbox_room_close(r->inbox);
	capture_room_close(r->captures);
	natsio_close(r->nats);
	pg_close(r->pg);
	loop_free(r->loop); /* waits for what is still done on other threads */
	inbox_room_free(r->inbox);
	capture_room_free(r->captures);
	leader_free(r->leader);
	report_free(r->report);
	progress_free(r->progress);
	backlog_free(r->backlog);
	publisher_free(r->publisher);
	stream_setup_free(r->setup);
	stream_scan_free(r->scan);
	reasons_free(r->reasons);
	outbox_reader_free(r->reader);
	delivery_free(r->core);
	for (size_t i = 0; r->parcels != NULL && i < r->config->delivery.queue_messages; i++)
		free(r->parcels[i]);
	free(r->parcels);
	service_free(r->service);
	reload_free(r->reload);
	natsio_shutdown();
}

static void seed_randomness(void)
{
	unsigned seed = 0;

	if (getrandom(&seed, sizeof seed, 0) == sizeof seed)
		srandom(seed);
}

/* EXIT_CONFIG: the configuration names an address that cannot be had. The default one is for the first relay of a machine: the
 * others go on without. */
static enum exit_code open_port(struct relay *r)
{
	const struct config *c = r->config;
	bool named = servers_port_is_named(c);
	char error[256] = "out of memory";

	if (c->health.port == 0)
		return EXIT_OK;
	r->health = health_open(r->loop, c->health.address, c->health.port,
				&(struct health_handlers){ .collect = collect, .arg = r }, error, sizeof error);
	if (r->health != NULL)
		return EXIT_OK;
	if (named)
		log_error(r->log, "no health port", KS("why", error),
			  KS("do", "change health.listen, or stop what listens there"));
	else
		log_warn(r->log, "no health port: the default one is taken", KS("why", error),
			 KS("do", "set health.listen where each relay of this machine is to have a port"));
	return named ? EXIT_CONFIG : EXIT_OK;
}

/* For commands on this machine: they find it by the relay's name, whatever port it has. */
static void open_socket(struct relay *r)
{
	const char *directory = getenv("RUNTIME_DIRECTORY"); /* of the unit */
	char path[PATH_MAX], error[256] = "out of memory";
	bool ok;

	if (directory == NULL || directory[0] != '/')
		return;
	snprintf(path, sizeof path, "%s/health.sock", directory);
	if (r->health != NULL)
		ok = health_also(r->health, r->loop, path, error, sizeof error);
	else
		ok = (r->health =
			      health_open(r->loop, path, 0, &(struct health_handlers){ .collect = collect, .arg = r },
					  error, sizeof error)) != NULL;
	if (!ok)
		log_warn(r->log, "no health socket", KS("why", error));
}

static unsigned descriptors(const struct config *c)
{
	unsigned n = DESCRIPTORS;

	for (size_t i = 0; i < c->subscription_count; i++)
		n += c->subscriptions[i].handler[0] != '\0' ? c->subscriptions[i].workers : 0;
	/* Of each capture: three sessions, one to NATS. */
	return n + (c->sagas.replies != NULL) + CAPTURE_DESCRIPTORS * (unsigned)c->capture_count;
}

static enum exit_code open_all(struct relay *r, const struct config *config)
{
	unsigned needed = descriptors(config);

	if (!process_can_open(needed)) {
		log_error(r->log, "cannot start: too few file descriptors are left", KU("needed", needed),
			  KS("do", "allow more: LimitNOFILE= in the unit, `ulimit -n` in a shell"));
		return EXIT_FAILED;
	}
	if (open_base(r, config) && open_edges(r) && open_flow(r) && open_watch(r) && open_inbox(r) &&
	    open_captures(r) && open_timers(r)) {
		enum exit_code code = open_port(r);

		if (code == EXIT_OK)
			open_socket(r);
		return code;
	}
	log_error(r->log, "cannot start: out of memory or descriptors");
	return EXIT_FAILED;
}

static void run(struct relay *r)
{
	loop_on_signal(r->loop, SIGTERM, on_stop_signal, r);
	loop_on_signal(r->loop, SIGINT, on_stop_signal, r);
	loop_on_signal(r->loop, SIGHUP, on_hangup, r);
	process_take_hangup();
	loop_before_sleep(r->loop, turn, r);
	loop_timer_at(r->tick, r->started_ms);
	service_ready(r->service);
	loop_run(r->loop);
}

enum exit_code relay_run(const struct config *config, struct log *log)
{
	struct relay r = {
		.log = log, .exit = EXIT_FAILED, .started_ms = loop_now_ms(), .has_outbox = config->stream_count > 0
	};
	enum exit_code code;
	bool opened;

	if (!process_protect())
		log_warn(log, "core files and debuggers are allowed: they show passwords, keys and messages",
			 KS("why", PROCESS_DUMPS " is set"), KS("do", "unset it when you are done"));
	/* A log pipe without a reader, a socket without a peer: errors, not the end. */
	signal(SIGPIPE, SIG_IGN);
	seed_randomness();
	config_target(config, r.target);
	for (size_t i = 0; i < config->stream_count; i++)
		r.streams[i] = config->streams[i].name;
	code = open_all(&r, config);
	opened = code == EXIT_OK;
	if (opened) {
		log_info(log, "starting", KS("version", PACKAGE_VERSION), KS("instance", config->name),
			 KU("streams", config->stream_count), KU("subscriptions", config->subscription_count),
			 KU("captures", config->capture_count));
		run(&r);
		code = r.exit;
	}
	close_all(&r);
	if (opened)
		log_info(log, "stopped");
	return code;
}
