/* The table, and the paths in it. */
#include "settings.h"

#include <stdio.h>
#include <string.h>

#include "config.h"

/* clang-format off */
#define IN(member) .offset = offsetof(struct config, member), .width = sizeof(((struct config *)0)->member)
#define OF(member) \
	.offset = offsetof(struct config_stream, member), .width = sizeof(((struct config_stream *)0)->member)
#define RANGE(from, to) .min = (from), .max = (to)
#define WORDS(...) .words = (const char *const[]){ __VA_ARGS__, NULL }
/* clang-format on */

_Static_assert(ENVELOPE_RAW == 0 && ENVELOPE_CLOUDEVENTS == 1, "order of the words");
_Static_assert(ORDERING_STRICT == 0 && ORDERING_PIPELINED == 1 && ORDERING_NONE == 2, "order of the words");
_Static_assert(POISON_SKIP == 0 && POISON_HOLD == 1, "order of the words");
_Static_assert(WAKEUP_NOTIFY == 0 && WAKEUP_POLL == 1, "order of the words");
_Static_assert(LOG_LEVEL_ERROR == 0 && LOG_LEVEL_DEBUG == 3 && LOG_LOGFMT == 0 && LOG_JSON == 1, "order of the words");

const struct setting settings[] = {
	{ "name", SETTING_STRING, IN(name), .example = "shop",
	  .help = "The relay's name in its log, its metrics and pg_stat_activity. Without it: the name of this file "
		  "without .conf." },
	{ "envelope", SETTING_WORD, IN(envelope), .standard = "raw", WORDS("raw", "cloudevents"),
	  .help = "raw: a message has the headers of its row. cloudevents: it is a CloudEvents 1.0 event besides, in "
		  "binary mode: ce-id, ce-source, ce-type (the subject), ce-time, ce-partitionkey (the key) and "
		  "ce-datacontenttype (the row's content-type) are added, and a row's own ce-... headers are attributes." },
	{ "event_source", SETTING_STRING, IN(event_source), .example = "/boxhaul/shop",
	  .help = "The ce-source of events: a URI or a path. Without it: /boxhaul/ and the relay's name." },

	{ "postgres.conninfo", SETTING_STRING, .apply = APPLY_POSTGRES, IN(postgres.conninfo), .standard = "",
	  .help = "The service's database: a libpq connection string or URI. What it leaves out comes from the PG... "
		  "environment variables." },
	{ "postgres.password_file", SETTING_FILE, .apply = APPLY_POSTGRES, IN(postgres.password_file),
	  .example = "/etc/boxhaul/shop.pgpass",
	  .help = "A password file in libpq's format (host:port:database:user:password). As every file named here: an "
		  "absolute path, or the name of a systemd credential ($CREDENTIALS_DIRECTORY); read again at every "
		  "connection; refused when others than its owner may read it (root's: others than its group)." },
	{ "postgres.migrate_conninfo", SETTING_STRING, .apply = APPLY_LIVE, IN(postgres.migrate_conninfo),
	  .example = "host=/run/postgresql dbname=shop user=shop_owner",
	  .help = "For `boxhaul migrate`, which needs more rights than the relay. Without it: conninfo." },

	{ "nats.urls", SETTING_STRINGS, .apply = APPLY_NATS, IN(nats.urls),
	  .second = offsetof(struct config, nats.url_count), .standard = "nats://127.0.0.1:4222",
	  .help = "Servers of one cluster; tls:// demands TLS." },
	{ "nats.user", SETTING_STRING, .apply = APPLY_NATS, IN(nats.user), .example = "shop_relay",
	  .help = "Log in with user and password." },
	{ "nats.password_file", SETTING_FILE, .apply = APPLY_NATS, IN(nats.password_file),
	  .example = "/etc/boxhaul/shop.nats-password", .help = "Its first line is the password of `user`." },
	{ "nats.token_file", SETTING_FILE, .apply = APPLY_NATS, IN(nats.token_file),
	  .example = "/etc/boxhaul/shop.nats-token", .help = "Log in with a token: the first line of the file." },
	{ "nats.credentials_file", SETTING_FILE, .apply = APPLY_NATS, IN(nats.credentials_file),
	  .example = "/etc/boxhaul/shop.creds", .help = "Log in with a JWT and its key: a .creds file." },
	{ "nats.nkey_seed_file", SETTING_FILE, .apply = APPLY_NATS, IN(nats.nkey_seed_file),
	  .example = "/etc/boxhaul/shop.nk",
	  .help = "Log in with an nkey: its seed, which begins with SU. The server knows its public key." },
	{ "nats.discover", SETTING_BOOL, .apply = APPLY_NATS, IN(nats.discover), .standard = "false",
	  .help = "When the connection is lost, try the servers that the cluster announced, too." },
	{ "nats.tls.required", SETTING_BOOL, .apply = APPLY_NATS, IN(nats.tls.required), .standard = "false",
	  .help = "Refuse a connection without TLS. Also on when a URL says tls://." },
	{ "nats.tls.ca_file", SETTING_FILE, .apply = APPLY_NATS, IN(nats.tls.ca_file), .example = "/etc/boxhaul/ca.pem",
	  .help = "Trust these authorities instead of the system's." },
	{ "nats.tls.cert_file", SETTING_FILE, .apply = APPLY_NATS, IN(nats.tls.cert_file),
	  .example = "/etc/boxhaul/relay.pem", .help = "Client certificate; needs key_file." },
	{ "nats.tls.key_file", SETTING_FILE, .apply = APPLY_NATS, IN(nats.tls.key_file),
	  .example = "/etc/boxhaul/relay.key", .help = "Its private key." },

	{ "streams", SETTING_STREAMS, .required = true,
	  .help = "The JetStream streams that take the messages, and the subjects that go to each. A row with any "
		  "other subject becomes a dead letter." },
	{ "streams.name", SETTING_STRING, .required = true, OF(name), .example = "ORDERS",
	  .help = "The stream's name in JetStream." },
	{ "streams.subjects", SETTING_STRINGS, .required = true, OF(subjects),
	  .second = offsetof(struct config_stream, subject_count), .example = "orders.>",
	  .help = "Patterns: * is one token, > is one or more at the end. No two may overlap." },
	{ "streams.create", SETTING_BOOL, OF(create), .standard = "false",
	  .help = "Create the stream where it is missing." },
	{ "streams.replicas", SETTING_INTEGER, OF(replicas), RANGE(1, 5), .standard = "1", .help = "For create." },
	{ "streams.duplicate_window", SETTING_DURATION, OF(duplicate_window_ms), RANGE(SECOND, 7 * DAY),
	  .standard = "2m", .help = "For create, and the least that `boxhaul check` accepts without a warning." },

	{ "delivery.ordering", SETTING_WORD, IN(delivery.ordering), .standard = "strict",
	  WORDS("strict", "pipelined", "none"),
	  .help = "strict: one message of a key in flight. pipelined: many, faster for a hot key, but its order may be "
		  "lost when one of them fails alone. none: keys are ignored." },
	{ "delivery.poison", SETTING_WORD, .apply = APPLY_LIVE, IN(delivery.poison), .standard = "skip",
	  WORDS("skip", "hold"),
	  .help = "Behind a dead letter its key goes on (skip), or waits for `redrive` or `discard` (hold)." },
	{ "delivery.window", SETTING_INTEGER, .apply = APPLY_LIVE, IN(delivery.window_messages), RANGE(1, 65536),
	  .standard = "1024", .help = "Messages in flight at most." },
	{ "delivery.window_bytes", SETTING_SIZE, .apply = APPLY_LIVE, IN(delivery.window_bytes), RANGE(KIB, 1024 * MIB),
	  .standard = "8MiB", .help = "Bytes in flight at most." },
	{ "delivery.queue", SETTING_INTEGER, IN(delivery.queue_messages), RANGE(16, 65536), .standard = "4096",
	  .help = "Messages in memory at most, those in flight included." },
	{ "delivery.queue_bytes", SETTING_SIZE, .apply = APPLY_LIVE, IN(delivery.queue_bytes), RANGE(KIB, 1024 * MIB),
	  .standard = "16MiB", .help = "Bytes in memory at most." },
	{ "delivery.ack_timeout", SETTING_DURATION, .apply = APPLY_LIVE, IN(delivery.ack_timeout_ms),
	  RANGE(100, 5 * MINUTE), .standard = "5s",
	  .help = "Send again what the stream has not acknowledged by then." },
	{ "delivery.retry_min", SETTING_DURATION, .apply = APPLY_LIVE, IN(delivery.retry_min_ms), RANGE(1, HOUR),
	  .standard = "100ms",
	  .help = "The first pause before a message is tried again; it doubles, with jitter, up to retry_max." },
	{ "delivery.retry_max", SETTING_DURATION, .apply = APPLY_LIVE, IN(delivery.retry_max_ms), RANGE(1, HOUR),
	  .standard = "10s", .help = "The longest pause." },
	{ "delivery.mark_interval", SETTING_DURATION, .apply = APPLY_LIVE, IN(delivery.mark_interval_ms),
	  RANGE(1, 10 * SECOND), .standard = "100ms",
	  .help = "Write to the database what is sent once in this time at most." },
	{ "delivery.drain_timeout", SETTING_DURATION, .apply = APPLY_LIVE, IN(drain_timeout_ms), RANGE(0, 10 * MINUTE),
	  .standard = "10s", .help = "After SIGTERM: wait so long for acknowledgements before the end." },

	{ "outbox.retention", SETTING_DURATION, .apply = APPLY_LIVE, IN(retention_ms), RANGE(SECOND, 30ull * DAY),
	  .standard = "1h",
	  .help = "Keep rows that are sent for so long at least. Run `boxhaul migrate` after a change." },
	{ "outbox.max_message_size", SETTING_SIZE, .apply = APPLY_LIVE, IN(max_message_bytes), RANGE(KIB, 64 * MIB),
	  .standard = "1MiB",
	  .help = "Payload and headers; not above the server's max_payload. Run `boxhaul migrate` after a change." },
	{ "outbox.wakeup", SETTING_WORD, IN(wakeup), .standard = "notify", WORDS("notify", "poll"),
	  .help = "How an idle relay learns of a row: a notification, or polling every 100 ms (for poolers that "
		  "cannot LISTEN)." },
	{ "outbox.safety_poll", SETTING_DURATION, .apply = APPLY_LIVE, IN(delivery.safety_poll_ms), RANGE(100, HOUR),
	  .standard = "30s", .help = "An idle relay looks this often without being told." },
	{ "outbox.sleep_after", SETTING_DURATION, .apply = APPLY_LIVE, IN(delivery.sleep_after_ms), RANGE(10, MINUTE),
	  .standard = "200ms", .help = "Idle means: no row for so long, or for 12 ms where rows come one by one." },
	{ "outbox.gap_grace", SETTING_DURATION, .apply = APPLY_LIVE, IN(delivery.grace_ms), RANGE(0, MINUTE),
	  .standard = "1s",
	  .help = "An id missing for less than this is waited for in memory; one missing for longer is written down. "
		  "Either way only its own message is late." },
	{ "outbox.lease", SETTING_DURATION, IN(delivery.lease_ms), RANGE(SECOND, MINUTE), .standard = "5s",
	  .help = "Publish nothing when the database has given no sign of life for so long: another relay may lead." },

	{ "health.listen", SETTING_LISTEN, IN(health.address), .second = offsetof(struct config, health.port),
	  .standard = "127.0.0.1:9431",
	  .help = "Address and port for the page /, and for /livez, /readyz, /healthz, /metrics and /status; \"off\" for none. IPv6: "
		  "\"[::1]:9431\"." },
	{ "health.stall_after", SETTING_DURATION, .apply = APPLY_LIVE, IN(health.stall_after_ms), RANGE(SECOND, HOUR),
	  .standard = "30s", .help = "A backlog and no acknowledgement for so long is not ready." },

	{ "log.level", SETTING_WORD, .apply = APPLY_LIVE, IN(log.level), .standard = "info",
	  WORDS("error", "warn", "info", "debug"), .help = "What is less important is not written." },
	{ "log.format", SETTING_WORD, .apply = APPLY_LIVE, IN(log.format), .standard = "logfmt",
	  WORDS("logfmt", "json"), .help = "One line per event." },
	{ "log.stats_interval", SETTING_DURATION, .apply = APPLY_LIVE, IN(log.stats_interval_ms), RANGE(SECOND, DAY),
	  .standard = "1m", .help = "One line of figures in this time." },
};

const size_t settings_count = sizeof settings / sizeof settings[0];

const struct setting *setting_find(const char *path)
{
	for (size_t i = 0; i < settings_count; i++)
		if (strcmp(settings[i].path, path) == 0)
			return &settings[i];
	return NULL;
}

static bool below(const char *path, const char *group)
{
	size_t n = strlen(group);

	return strncmp(path, group, n) == 0 && path[n] == '.';
}

bool setting_is_top(const struct setting *s)
{
	return !below(s->path, "streams");
}

bool setting_is_group(const char *path)
{
	for (size_t i = 0; i < settings_count; i++)
		if (below(settings[i].path, path))
			return true;
	return false;
}

const char *setting_wants(const struct setting *s)
{
	switch (s->type) {
	case SETTING_STRING: return "a text in double quotes";
	case SETTING_FILE: return "an absolute path in double quotes, or the name of a file in $CREDENTIALS_DIRECTORY";
	case SETTING_DURATION:
		return "a duration with its unit in double quotes, such as \"250ms\", \"5s\", \"2m\", \"1h\", \"1d\"";
	case SETTING_SIZE: return "a number of bytes, or a text such as \"64KB\", \"1MiB\"";
	case SETTING_INTEGER: return "a whole number";
	case SETTING_BOOL: return "true or false";
	case SETTING_WORD: return "a word in double quotes";
	case SETTING_LISTEN: return "a text such as \"127.0.0.1:9431\", \"[::1]:9431\" or \"off\"";
	case SETTING_STRINGS: return "a list of texts: [ \"...\", \"...\" ]";
	case SETTING_STREAMS: return "a list of groups: ( { name = \"...\"; subjects = [ \"...\" ]; } )";
	}
	return "";
}

/* Suggestions. */

enum { NAME_MAX_BYTES = 64 };

static unsigned least(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

/* Edit distance: insert, delete, replace, swap two neighbours. */
static unsigned distance(const char *a, const char *b)
{
	unsigned row[3][NAME_MAX_BYTES + 1] = { { 0 } };
	unsigned *above2 = row[0], *above = row[1], *here = row[2];
	size_t n = strlen(a), m = strlen(b);

	if (n > NAME_MAX_BYTES || m > NAME_MAX_BYTES)
		return NAME_MAX_BYTES;
	for (unsigned j = 0; j <= m; j++)
		here[j] = j;
	for (unsigned i = 1; i <= n; i++) {
		unsigned *spare = above2;

		above2 = above, above = here, here = spare;
		here[0] = i;
		for (unsigned j = 1; j <= m; j++) {
			here[j] = least(least(above[j], here[j - 1]) + 1, above[j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				here[j] = least(here[j], above2[j - 2] + 1);
		}
	}
	return here[m];
}

const char *setting_leaf(const char *path)
{
	const char *dot = strrchr(path, '.');

	return dot != NULL ? dot + 1 : path;
}

bool setting_nearest(const char *path, char *out, size_t size)
{
	unsigned best = 2 + (unsigned)strlen(setting_leaf(path)) / 4; /* exclusive */

	for (size_t i = 0; i < settings_count; i++) {
		char candidate[NAME_MAX_BYTES + 1];
		char *dot = candidate;

		/* The groups a setting stands in are candidates, too; a right name in a wrong group is one error. */
		snprintf(candidate, sizeof candidate, "%s", settings[i].path);
		while (dot != NULL) {
			unsigned d = least(distance(path, candidate),
					   distance(setting_leaf(path), setting_leaf(candidate)) + 1);

			if (d < best) {
				best = d;
				snprintf(out, size, "%s", candidate);
			}
			dot = strrchr(candidate, '.');
			if (dot != NULL)
				*dot = '\0';
		}
	}
	return best < 2 + (unsigned)strlen(setting_leaf(path)) / 4;
}
