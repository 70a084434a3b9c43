/* One line a metric: name, type, the label its samples differ in, where the value stands, help. The manual page's list is
 * checked against the table, and so are the alerts and the dashboard. */
#include "metrics.h"

#include <inttypes.h>
#include <math.h>

#include "core/refusal.h"
#include "histogram.h"
#include "ledger.h"
#include "process.h"
#include "utf8.h"

enum { TEXT_MAX_BYTES = 640 };

/* What the values are taken from, beside the facts. */
struct known {
	const struct health_facts *facts;
	struct process_figures process;
	int64_t ready;
};

enum kind {
	FLAG,         /* bool */
	WHOLE,        /* int64_t; negative where a count should be = not known */
	COUNT,        /* uint64_t */
	SMALL,        /* uint32_t */
	REAL,         /* double; negative = not known */
	MICROSECONDS, /* int64_t */
	TIMES,        /* struct histogram */
	WRITTEN,      /* by a function of its own */
};

enum place { KNOWN, FACTS, STATS, BACKLOG, PUBLISHER, STREAM };

struct metric {
	const char *name;
	const char *type;
	const char *help;
	enum kind kind;
	enum place place;
	size_t offset;
	void (*write)(FILE *out, const char *name, const struct known *k);
};

#define KIND_OF(x)                        \
	_Generic((x), bool                \
		 : FLAG, int64_t          \
		 : WHOLE, uint64_t        \
		 : COUNT, uint32_t        \
		 : SMALL, double          \
		 : REAL, struct histogram \
		 : TIMES)
#define MEMBER(type, member) KIND_OF(((type *)NULL)->member)
#define OF_KNOWN(member) MEMBER(struct known, member), KNOWN, offsetof(struct known, member), NULL
#define OF_FACTS(member) MEMBER(struct health_facts, member), FACTS, offsetof(struct health_facts, member), NULL
#define OF_STATS(member) MEMBER(struct delivery_stats, member), STATS, offsetof(struct delivery_stats, member), NULL
#define OF_STREAM(member) MEMBER(struct stream_state, member), STREAM, offsetof(struct stream_state, member), NULL
#define OF_PUBLISHER(member) \
	MEMBER(struct publisher_figures, member), PUBLISHER, offsetof(struct publisher_figures, member), NULL
#define OF_BACKLOG(member) \
	MEMBER(struct backlog_figures, member), BACKLOG, offsetof(struct backlog_figures, member), NULL
#define AGE_OF_BACKLOG(member) MICROSECONDS, BACKLOG, offsetof(struct backlog_figures, member), NULL
#define BY(write) WRITTEN, KNOWN, 0, write

static void write_build(FILE *out, const char *name, const struct known *k);
static void write_wakeups(FILE *out, const char *name, const struct known *k);
static void write_refusals(FILE *out, const char *name, const struct known *k);
static void write_statements(FILE *out, const char *name, const struct known *k);
static void write_waiting(FILE *out, const char *name, const struct known *k);
static void write_reload(FILE *out, const char *name, const struct known *k);
static void write_asleep(FILE *out, const char *name, const struct known *k);
static void write_paused(FILE *out, const char *name, const struct known *k);

/* clang-format off */
static const struct metric metrics[] = {
	{ "boxhaul_build_info", "gauge", "Always 1; the version is in the label.", BY(write_build) },
	{ "boxhaul_ready", "gauge", "1 if /readyz answers 200.", OF_KNOWN(ready) },
	{ "boxhaul_leader", "gauge", "1 if this relay leads.", OF_FACTS(leads) },
	{ "boxhaul_standby", "gauge", "1 if this relay stands by for another one that leads.", OF_FACTS(stands_by) },
	{ "boxhaul_postgres_up", "gauge", "1 while PostgreSQL is connected.", OF_FACTS(postgres_up) },
	{ "boxhaul_nats_up", "gauge", "1 while NATS is connected.", OF_FACTS(nats_up) },
	{ "boxhaul_postgres_connects_total", "counter", "Sessions opened.", OF_FACTS(reconnects_postgres) },
	{ "boxhaul_nats_connects_total", "counter", "Connections opened.", OF_FACTS(reconnects_nats) },
	{ "boxhaul_config_last_reload_successful", "gauge", "0 if the last reload was refused and the old configuration kept.", BY(write_reload) },

	{ "boxhaul_lag_seconds", "gauge", "Age of the oldest message that waits to be sent, those held back left out; 0 if none waits. Leader only.", AGE_OF_BACKLOG(oldest_us) },
	{ "boxhaul_oldest_unsent_seconds", "gauge", "Age of the oldest message that is not sent, those held back included; 0 if there is none. Leader only.", AGE_OF_BACKLOG(oldest_any_us) },
	{ "boxhaul_backlog_messages", "gauge", "Messages that wait to be sent: in memory, and ids above the highest read. Leader only.", OF_BACKLOG(messages) },
	{ "boxhaul_dead_letters", "gauge", "Dead letters in the table now, at most 10000. Leader only.", OF_BACKLOG(dead_letters) },
	{ "boxhaul_dead_letters_held", "gauge", "Those of them that hold their lane until somebody decides, at most 10000. Leader only.", OF_BACKLOG(held_letters) },

	{ "boxhaul_rows_total", "counter", "Rows read from the outbox.", OF_STATS(rows) },
	{ "boxhaul_publishes_total", "counter", "Messages sent to JetStream, repeats included.", OF_STATS(published) },
	{ "boxhaul_publish_payload_bytes_total", "counter", "Payload of the messages sent, repeats included.", OF_PUBLISHER(payload_bytes) },
	{ "boxhaul_acks_total", "counter", "Acknowledgements: messages known to be stored.", OF_STATS(acked) },
	{ "boxhaul_duplicates_total", "counter", "Acknowledgements that said the message was stored before.", OF_STATS(duplicates) },
	{ "boxhaul_ack_seconds", "histogram", "From the sending of a message to its acknowledgement.", OF_PUBLISHER(ack) },
	{ "boxhaul_delivery_seconds", "histogram", "From the insertion of a row (created_at) to the acknowledgement of its message.", OF_PUBLISHER(delivery) },
	{ "boxhaul_refusals_total", "counter", "Publishes the broker refused, by its reason.", BY(write_refusals) },
	{ "boxhaul_ack_timeouts_total", "counter", "Publishes without an answer in time.", OF_STATS(timeouts) },
	{ "boxhaul_retries_total", "counter", "Messages to be sent again after a refusal or a timeout.", OF_STATS(retries) },
	{ "boxhaul_dead_letters_total", "counter", "Messages moved to boxhaul.dead_letter.", OF_STATS(dead) },
	{ "boxhaul_parked_total", "counter", "Messages held back with their stream or lane.", OF_STATS(parked) },
	{ "boxhaul_voided_ids_total", "counter", "Ids whose transaction ended without a row.", OF_STATS(voided) },
	{ "boxhaul_vanished_ids_total", "counter", "Rows that disappeared from the outbox before they were sent.", OF_STATS(vanished) },
	{ "boxhaul_stale_replies_total", "counter", "Replies to publishes that were settled or forgotten before.", OF_STATS(stale_replies) },
	{ "boxhaul_tails_total", "counter", "Looks at what a stream holds already.", OF_STATS(tails) },

	{ "boxhaul_wakeups_total", "counter", "Queries for rows, by what caused them.", BY(write_wakeups) },
	{ "boxhaul_notifications_total", "counter", "Notifications heard from PostgreSQL.", OF_STATS(notifications) },
	{ "boxhaul_postgres_statements_total", "counter", "Statements sent to PostgreSQL, each a transaction of its own.", BY(write_statements) },
	{ "boxhaul_marks_total", "counter", "Transactions that moved the position.", OF_STATS(marks) },
	{ "boxhaul_slot_truncations_total", "counter", "Slots of the ring emptied.", OF_FACTS(truncations) },
	{ "boxhaul_position", "gauge", "All ids at or below it are settled, but for the exceptions.", OF_STATS(position) },
	{ "boxhaul_read_id", "gauge", "Highest id read.", OF_STATS(read) },
	{ "boxhaul_asleep", "gauge", "1 while the relay waits for a notification.", BY(write_asleep) },
	{ "boxhaul_paused", "gauge", "1 while an operator's pause stands.", BY(write_paused) },

	{ "boxhaul_queue_messages", "gauge", "Messages in memory.", OF_STATS(resident) },
	{ "boxhaul_queue_bytes", "gauge", "Memory they take.", OF_STATS(resident_bytes) },
	{ "boxhaul_in_flight_messages", "gauge", "Messages sent and not answered.", OF_STATS(in_flight) },
	{ "boxhaul_backing_off_messages", "gauge", "Messages that wait to be sent again.", OF_STATS(backing_off) },
	{ "boxhaul_asking_messages", "gauge", "Messages that wait until it is known what their stream holds.", OF_STATS(asking) },
	{ "boxhaul_found_messages", "gauge", "Messages found in the streams and kept in mind, others' included; 131072 at most.", OF_FACTS(found) },
	{ "boxhaul_window_messages", "gauge", "Messages that may be in flight now.", OF_STATS(window) },
	{ "boxhaul_exceptions", "gauge", "Ranges of ids that are not settled although later ones are; 65536 at most.", OF_STATS(exceptions) },
	{ "boxhaul_missing_ranges", "gauge", "Ranges of ids that were drawn and are not visible.", OF_STATS(missing) },
	{ "boxhaul_parked_ranges", "gauge", "Ranges of ids that are held back.", OF_STATS(parked_ranges) },
	{ "boxhaul_blocked_lanes", "gauge", "Keys held back.", OF_STATS(blocked_lanes) },
	{ "boxhaul_full", "gauge", "1 while nothing new is read for want of room for exceptions.", OF_STATS(full) },

	{ "boxhaul_stream_blocked", "gauge", "1 while the stream takes no messages.", OF_STREAM(blocked) },
	{ "boxhaul_stream_acks_total", "counter", "Acknowledgements by stream.", OF_STREAM(acked) },
	{ "boxhaul_stream_sequence", "gauge", "Highest acknowledged stream sequence.", OF_STREAM(sequence) },
	{ "boxhaul_stream_queue_messages", "gauge", "Messages in memory by stream. Leader only.", BY(write_waiting) },

	{ "process_cpu_seconds_total", "counter", "User and system time.", OF_KNOWN(process.cpu_seconds) },
	{ "process_start_time_seconds", "gauge", "Start, in seconds since 1970.", OF_KNOWN(process.start_seconds) },
	{ "process_resident_memory_bytes", "gauge", "Resident memory.", OF_KNOWN(process.resident_bytes) },
	{ "process_virtual_memory_bytes", "gauge", "Virtual memory.", OF_KNOWN(process.virtual_bytes) },
	{ "process_open_fds", "gauge", "Open descriptors.", OF_KNOWN(process.open_fds) },
	{ "process_max_fds", "gauge", "Descriptors that may be open.", OF_KNOWN(process.max_fds) },
};
/* clang-format on */

/* --- samples --- */

static void labelled(FILE *out, const char *name, const char *label, const char *text)
{
	char line[TEXT_MAX_BYTES];

	fprintf(out, "%s{%s=\"", name, label);
	for (const char *p = utf8_line(text, line, sizeof line); *p != '\0'; p++) {
		if (*p == '\\' || *p == '"')
			fputc('\\', out);
		fputc(*p, out);
	}
	fputs("\"}", out);
}

static void labelled_count(FILE *out, const char *name, const char *label, const char *text, uint64_t value)
{
	labelled(out, name, label, text);
	fprintf(out, " %" PRIu64 "\n", value);
}

static void write_build(FILE *out, const char *name, const struct known *k)
{
	(void)k;
	labelled_count(out, name, "version", PACKAGE_VERSION, 1);
}

static void write_reload(FILE *out, const char *name, const struct known *k)
{
	fprintf(out, "%s %d\n", name, !k->facts->reload_failed);
}

static void write_asleep(FILE *out, const char *name, const struct known *k)
{
	fprintf(out, "%s %d\n", name, k->facts->stats->pace == PACE_ASLEEP);
}

static void write_paused(FILE *out, const char *name, const struct known *k)
{
	fprintf(out, "%s %d\n", name, k->facts->paused[0] != '\0');
}

static void write_wakeups(FILE *out, const char *name, const struct known *k)
{
	static const char *const sources[WAKEUPS] = {
		[WAKEUP_OF_POLL] = "poll", [WAKEUP_OF_SAFETY] = "safety_poll", [WAKEUP_OF_NOTIFY] = "notify",
		[WAKEUP_OF_MORE] = "more", [WAKEUP_OF_PROBE] = "probe",
	};

	for (size_t i = 0; i < WAKEUPS; i++)
		labelled_count(out, name, "source", sources[i], k->facts->stats->wakeups[i]);
}

static void write_refusals(FILE *out, const char *name, const struct known *k)
{
	for (size_t i = 0; i < sizeof k->facts->stats->refusals / sizeof k->facts->stats->refusals[0]; i++) {
		uint32_t reason = k->facts->stats->refusals[i].reason;
		char text[160];

		if (k->facts->stats->refusals[i].count == 0)
			continue;
		/* Texts may be those of several codes. */
		if (reason >= 10000)
			snprintf(text, sizeof text, "%s (%" PRIu32 ")", refusal_text(reason), reason);
		else
			snprintf(text, sizeof text, "%s", reason == REASON_NONE ? "other" : refusal_text(reason));
		labelled_count(out, name, "reason", text, k->facts->stats->refusals[i].count);
	}
}

static void write_statements(FILE *out, const char *name, const struct known *k)
{
	for (unsigned i = 0; i < STATEMENTS; i++)
		labelled_count(out, name, "statement", ledger_statement_name(i), k->facts->statements[i]);
}

static void write_waiting(FILE *out, const char *name, const struct known *k)
{
	for (size_t i = 0; k->facts->backlog->known && i < k->facts->stream_count; i++)
		labelled_count(out, name, "stream", k->facts->stream[i].name, k->facts->backlog->stream[i].messages);
}

static void write_times(FILE *out, const char *name, const struct histogram *h)
{
	uint64_t sum = 0;

	for (int i = 0; i < HISTOGRAM_BOUNDS; i++) {
		sum += h->count[i];
		fprintf(out, "%s_bucket{le=\"%g\"} %" PRIu64 "\n", name, (double)histogram_bound_us[i] / 1e6, sum);
	}
	sum += h->count[HISTOGRAM_BOUNDS];
	fprintf(out, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n%s_sum %.6f\n%s_count %" PRIu64 "\n", name, sum, name,
		(double)h->sum_us / 1e6, name, sum);
}

/* Behind the name and its labels. */
static void write_value(FILE *out, enum kind kind, const void *at)
{
	switch (kind) {
	case FLAG: fprintf(out, " %d\n", *(const bool *)at); break;
	case WHOLE: fprintf(out, " %" PRId64 "\n", *(const int64_t *)at); break;
	case COUNT: fprintf(out, " %" PRIu64 "\n", *(const uint64_t *)at); break;
	case SMALL: fprintf(out, " %" PRIu32 "\n", *(const uint32_t *)at); break;
	case REAL: fprintf(out, " %.3f\n", *(const double *)at); break;
	case MICROSECONDS: fprintf(out, " %.6f\n", (double)*(const int64_t *)at / 1e6); break;
	case TIMES:
	case WRITTEN: break;
	}
}

static bool is_known(const struct metric *m, const void *at, const struct known *k)
{
	if (m->place == BACKLOG)
		return k->facts->backlog->known;
	return m->place != KNOWN || (m->kind == REAL ? *(const double *)at >= 0 : *(const int64_t *)at >= 0);
}

static const void *base_of(enum place place, const struct known *k)
{
	switch (place) {
	case FACTS: return k->facts;
	case STATS: return k->facts->stats;
	case BACKLOG: return k->facts->backlog;
	case PUBLISHER: return k->facts->publisher;
	default: return k;
	}
}

static void write_samples(FILE *out, const struct metric *m, const struct known *k)
{
	const void *at = (const char *)base_of(m->place, k) + m->offset;

	if (m->kind == WRITTEN) {
		m->write(out, m->name, k);
	} else if (m->kind == TIMES) {
		write_times(out, m->name, at);
	} else if (m->place == STREAM) {
		for (size_t i = 0; i < k->facts->stream_count; i++) {
			labelled(out, m->name, "stream", k->facts->stream[i].name);
			write_value(out, m->kind, (const char *)&k->facts->stats->stream[i] + m->offset);
		}
	} else if (is_known(m, at, k)) {
		fputs(m->name, out);
		write_value(out, m->kind, at);
	}
}

void metrics_write(FILE *out, const struct health_facts *facts, bool ready)
{
	struct known k = { .facts = facts, .ready = ready };

	process_look(&k.process);
	for (size_t i = 0; i < sizeof metrics / sizeof metrics[0]; i++) {
		fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", metrics[i].name, metrics[i].help, metrics[i].name,
			metrics[i].type);
		write_samples(out, &metrics[i], &k);
	}
}
