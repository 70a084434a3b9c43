/* The table, and the way between its values and their text. */
#include "settings.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "config.h"

/* clang-format off */
#define IN(member) .offset = offsetof(struct config, member), .width = sizeof(((struct config *)0)->member)
#define OF(member) \
	.offset = offsetof(struct config_stream, member), .width = sizeof(((struct config_stream *)0)->member)
#define RANGE(from, to) .min = (from), .max = (to)
#define WORDS(...) .words = (const char *const[]){ __VA_ARGS__, NULL }
/* clang-format on */

enum { SECOND = 1000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE, DAY = 24 * HOUR };
enum { KIB = 1024, MIB = 1024 * KIB };

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
	{ "delivery.queue", SETTING_INTEGER, IN(delivery.queue_messages), RANGE(16, 65536), .standard = "8192",
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
	  .standard = "200ms", .help = "Idle means: no row for so long." },
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

struct unit {
	const char *name;
	uint64_t factor;
};

/* Largest first: setting_print takes the first that divides. */
static const struct unit durations[] = {
	{ "d", DAY }, { "h", HOUR }, { "m", MINUTE }, { "s", SECOND }, { "ms", 1 }, { NULL, 0 },
};
static const struct unit sizes[] = {
	{ "GiB", 1ull << 30 }, { "MiB", MIB }, { "KiB", KIB }, { "GB", 1000000000 }, { "MB", 1000000 },
	{ "KB", 1000 },        { "B", 1 },     { "", 1 },      { NULL, 0 },
};

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

/* Numbers. */

uint64_t setting_number(const struct setting *s, const void *base)
{
	const char *at = (const char *)base + s->offset;
	uint64_t wide;
	uint32_t narrow;

	if (s->width == sizeof wide)
		return memcpy(&wide, at, sizeof wide), wide;
	return memcpy(&narrow, at, sizeof narrow), narrow;
}

static void store_number(const struct setting *s, void *base, uint64_t value)
{
	char *at = (char *)base + s->offset;
	uint32_t narrow = (uint32_t)value;

	if (s->width == sizeof value)
		memcpy(at, &value, sizeof value);
	else
		memcpy(at, &narrow, sizeof narrow);
}

const char *setting_print(const struct setting *s, uint64_t value, char *out, size_t size)
{
	const struct unit *u = s->type == SETTING_DURATION ? durations : sizes;

	if (s->type == SETTING_DURATION || (s->type == SETTING_SIZE && value >= KIB)) {
		while (value == 0 ? u->factor != 1 : value % u->factor != 0)
			u++;
		snprintf(out, size, "%llu%s", (unsigned long long)(value / u->factor), u->name);
	} else {
		snprintf(out, size, "%llu", (unsigned long long)value);
	}
	return out;
}

enum setting_result setting_set_number(const struct setting *s, void *base, uint64_t value, char *why, size_t size)
{
	char given[32], from[32], to[32];

	if (value < s->min || value > s->max) {
		snprintf(why, size, "%s is out of range: from %s to %s", setting_print(s, value, given, sizeof given),
			 setting_print(s, s->min, from, sizeof from), setting_print(s, s->max, to, sizeof to));
		return SETTING_WRONG;
	}
	store_number(s, base, value);
	return SETTING_OK;
}

/* "5s" by its units. A value too large for 64 bits stays at the top: it is out of every range. */
static bool scale(const char *text, const struct unit *units, uint64_t *value)
{
	char *end;
	unsigned long long n;

	if (text[0] < '0' || text[0] > '9')
		return false;
	n = strtoull(text, &end, 10);
	while (*end == ' ')
		end++;
	for (const struct unit *u = units; u->name != NULL; u++) {
		if (strcasecmp(end, u->name) == 0) {
			*value = n > UINT64_MAX / u->factor ? UINT64_MAX : n * u->factor;
			return true;
		}
	}
	return false;
}

static enum setting_result set_scaled(const struct setting *s, void *base, const char *text, char *why, size_t size)
{
	uint64_t value;

	if (scale(text, s->type == SETTING_DURATION ? durations : sizes, &value))
		return setting_set_number(s, base, value, why, size);
	if (s->type == SETTING_DURATION && text[0] != '\0' && text[strspn(text, "0123456789")] == '\0')
		snprintf(why, size, "\"%s\" has no unit: write \"%sms\" or \"%ss\"", text, text, text);
	else
		snprintf(why, size, "\"%s\" is not understood: write %s", text, setting_wants(s));
	return SETTING_WRONG;
}

/* Texts. */

static enum setting_result set_string(char **at, const char *text)
{
	char *copy = strdup(text);

	if (copy == NULL)
		return SETTING_NO_MEMORY;
	free(*at);
	*at = copy;
	return SETTING_OK;
}

static enum setting_result set_word(const struct setting *s, void *base, const char *text, char *why, size_t size)
{
	size_t n;

	for (size_t i = 0; s->words[i] != NULL; i++) {
		if (strcmp(s->words[i], text) == 0) {
			store_number(s, base, i);
			return SETTING_OK;
		}
	}
	n = (size_t)snprintf(why, size, "\"%s\" is not known: write", text);
	for (size_t i = 0; s->words[i] != NULL && n < size; i++)
		n += (size_t)snprintf(why + n, size - n, "%s \"%s\"",
				      i == 0                    ? ""
				      : s->words[i + 1] == NULL ? " or"
								: ",",
				      s->words[i]);
	return SETTING_WRONG;
}

/* Cuts "address:port" or "[address]:port" up, in place. */
static bool split_listen(char *text, char **address, unsigned long *port)
{
	char *colon = strrchr(text, ':'), *end;
	struct in6_addr parsed;

	if (colon == NULL || strspn(colon + 1, "0123456789") != strlen(colon + 1))
		return false;
	*colon = '\0';
	*port = strtoul(colon + 1, &end, 10);
	*address = text;
	if (text[0] != '[')
		return *port >= 1 && *port <= 65535 && inet_pton(AF_INET, text, &parsed) == 1;
	if (colon[-1] != ']')
		return false;
	colon[-1] = '\0';
	*address = text + 1;
	return *port >= 1 && *port <= 65535 && inet_pton(AF_INET6, text + 1, &parsed) == 1;
}

static enum setting_result set_listen(const struct setting *s, void *base, const char *text, char *why, size_t size)
{
	char copy[128], *address = copy;
	unsigned long port = 0;
	uint16_t narrow;

	if (strcmp(text, "off") == 0 || text[0] == '\0') {
		snprintf(copy, sizeof copy, "127.0.0.1");
	} else {
		snprintf(copy, sizeof copy, "%s", text);
		if (strlen(text) >= sizeof copy || !split_listen(copy, &address, &port)) {
			snprintf(why, size,
				 "\"%s\" is no numeric address with a port: write %s (0.0.0.0 means every address)",
				 text, setting_wants(s));
			return SETTING_WRONG;
		}
	}
	narrow = (uint16_t)port;
	memcpy((char *)base + s->second, &narrow, sizeof narrow);
	return set_string((char **)((char *)base + s->offset), address);
}

/* A bare name is one of systemd's credentials (LoadCredential=). Outside of its unit it stays a bare name: who has no
 * use for the file, as `status` for NATS' token, does not miss it, and who reads it says what is wrong. */
static enum setting_result set_file(const struct setting *s, void *base, const char *text, char *why, size_t size)
{
	const char *directory = getenv("CREDENTIALS_DIRECTORY");
	char **at = (char **)((char *)base + s->offset), *path;
	enum setting_result result;

	if (text[0] != '/' && strchr(text, '/') != NULL) {
		snprintf(why, size,
			 "\"%s\" is no absolute path: begin it with /, or name a file in $CREDENTIALS_DIRECTORY", text);
		return SETTING_WRONG;
	}
	if (text[0] == '/' || directory == NULL || directory[0] != '/')
		return set_string(at, text);
	if (asprintf(&path, "%s/%s", directory, text) < 0)
		return SETTING_NO_MEMORY;
	result = set_string(at, path);
	free(path);
	return result;
}

/* A list of one. */
static enum setting_result set_list(const struct setting *s, void *base, const char *text)
{
	char **list = calloc(1, sizeof *list);
	size_t one = 1;

	if (list == NULL || set_string(list, text) != SETTING_OK) {
		free(list);
		return SETTING_NO_MEMORY;
	}
	memcpy((char *)base + s->offset, &list, sizeof list);
	memcpy((char *)base + s->second, &one, sizeof one);
	return SETTING_OK;
}

enum setting_result setting_set_text(const struct setting *s, void *base, const char *text, char *why, size_t size)
{
	char *at = (char *)base + s->offset;

	switch (s->type) {
	case SETTING_STRING: return set_string((char **)at, text);
	case SETTING_FILE: return set_file(s, base, text, why, size);
	case SETTING_DURATION:
	case SETTING_SIZE:
	case SETTING_INTEGER: return set_scaled(s, base, text, why, size);
	case SETTING_BOOL: *(bool *)at = strcmp(text, "true") == 0; return SETTING_OK;
	case SETTING_WORD: return set_word(s, base, text, why, size);
	case SETTING_LISTEN: return set_listen(s, base, text, why, size);
	case SETTING_STRINGS: return set_list(s, base, text);
	case SETTING_STREAMS: break;
	}
	return SETTING_WRONG;
}

enum setting_result setting_set_defaults(const char *group, void *base)
{
	bool streams = strcmp(group, "streams") == 0;
	char why[256];

	for (const struct setting *s = settings; s < settings + settings_count; s++) {
		enum setting_result result = SETTING_OK;

		if (s->standard != NULL && setting_is_top(s) != streams)
			result = setting_set_text(s, base, s->standard, why, sizeof why);
		if (result != SETTING_OK)
			return result;
	}
	return SETTING_OK;
}

static void write_text(const char *text, FILE *out)
{
	size_t room = text != NULL ? 3 * strlen(text) + 64 : 0; /* a mask may be longer than what it hides */
	char *clean = text != NULL ? malloc(room) : NULL;

	if (clean == NULL) {
		fputs("none", out);
		return;
	}
	log_scrub(text, clean, room);
	fputc('"', out);
	for (const char *p = clean; *p != '\0'; p++) {
		if (*p == '"' || *p == '\\')
			fputc('\\', out);
		fputc(*p, out);
	}
	fputc('"', out);
	free(clean);
}

static void write_number(const struct setting *s, const void *base, FILE *out)
{
	char number[32];
	const char *quote = "";

	setting_print(s, setting_number(s, base), number, sizeof number);
	if (strspn(number, "0123456789") != strlen(number))
		quote = "\"";
	fprintf(out, "%s%s%s", quote, number, quote);
}

static void write_listen(const char *address, uint16_t port, FILE *out)
{
	bool six = address != NULL && strchr(address, ':') != NULL;

	if (port == 0)
		fputs("\"off\"", out);
	else
		fprintf(out, "\"%s%s%s:%u\"", six ? "[" : "", address, six ? "]" : "", (unsigned)port);
}

static void write_list(char *const *list, size_t count, FILE *out)
{
	fputs("[ ", out);
	for (size_t i = 0; i < count; i++) {
		fputs(i > 0 ? ", " : "", out);
		write_text(list[i], out);
	}
	fputs(" ]", out);
}

void setting_write(const struct setting *s, const void *base, FILE *out)
{
	const char *at = (const char *)base + s->offset, *second = (const char *)base + s->second;
	uint16_t port;
	char *text;
	size_t count;
	char **list;

	switch (s->type) {
	case SETTING_STRING:
	case SETTING_FILE: memcpy(&text, at, sizeof text), write_text(text, out); break;
	case SETTING_DURATION:
	case SETTING_SIZE:
	case SETTING_INTEGER: write_number(s, base, out); break;
	case SETTING_BOOL: fputs(*(const bool *)at ? "true" : "false", out); break;
	case SETTING_WORD: write_text(s->words[setting_number(s, base)], out); break;
	case SETTING_LISTEN:
		memcpy(&text, at, sizeof text);
		memcpy(&port, second, sizeof port);
		write_listen(text, port, out);
		break;
	case SETTING_STRINGS:
		memcpy(&list, at, sizeof list);
		memcpy(&count, second, sizeof count);
		write_list(list, count, out);
		break;
	case SETTING_STREAMS: break;
	}
}

/* Two values of a setting. */

static bool same_text(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static bool same_texts(char *const *a, char *const *b, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!same_text(a[i], b[i]))
			return false;
	return true;
}

static bool same_streams(const struct config *a, const struct config *b)
{
	for (const struct setting *s = settings; s < settings + settings_count; s++)
		for (size_t i = 0; !setting_is_top(s) && i < a->stream_count && i < b->stream_count; i++)
			if (!setting_same(s, &a->streams[i], &b->streams[i]))
				return false;
	return a->stream_count == b->stream_count;
}

/* How many bytes the number beside it has, if there is one. */
static size_t second_width(const struct setting *s)
{
	return s->type == SETTING_STRINGS  ? sizeof((struct config *)0)->nats.url_count
	       : s->type == SETTING_LISTEN ? sizeof((struct config *)0)->health.port
					   : 0;
}

const char *setting_text(const struct setting *s, const void *base)
{
	const char *text;

	memcpy(&text, (const char *)base + s->offset, sizeof text);
	return text;
}

static bool same_second(const struct setting *s, const void *a, const void *b)
{
	return memcmp((const char *)a + s->second, (const char *)b + s->second, second_width(s)) == 0;
}

static bool same_list(const struct setting *s, const void *a, const void *b)
{
	char *const *x, *const *y;
	size_t n;

	memcpy(&x, (const char *)a + s->offset, sizeof x);
	memcpy(&y, (const char *)b + s->offset, sizeof y);
	memcpy(&n, (const char *)a + s->second, sizeof n);
	return same_texts(x, y, n);
}

bool setting_same(const struct setting *s, const void *a, const void *b)
{
	switch (s->type) {
	case SETTING_DURATION:
	case SETTING_SIZE:
	case SETTING_INTEGER:
	case SETTING_BOOL:
	case SETTING_WORD: return memcmp((const char *)a + s->offset, (const char *)b + s->offset, s->width) == 0;
	case SETTING_STRING:
	case SETTING_FILE: return same_text(setting_text(s, a), setting_text(s, b));
	case SETTING_LISTEN: return same_text(setting_text(s, a), setting_text(s, b)) && same_second(s, a, b);
	case SETTING_STRINGS: return same_second(s, a, b) && same_list(s, a, b);
	case SETTING_STREAMS: return same_streams(a, b);
	}
	return true;
}

void setting_share(const struct setting *s, void *to, const void *from)
{
	memcpy((char *)to + s->offset, (const char *)from + s->offset, s->width);
	if (second_width(s) > 0)
		memcpy((char *)to + s->second, (const char *)from + s->second, second_width(s));
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

static const char *leaf(const char *path)
{
	const char *dot = strrchr(path, '.');

	return dot != NULL ? dot + 1 : path;
}

bool setting_nearest(const char *path, char *out, size_t size)
{
	unsigned best = 2 + (unsigned)strlen(leaf(path)) / 4; /* exclusive */

	for (size_t i = 0; i < settings_count; i++) {
		char candidate[NAME_MAX_BYTES + 1];
		char *dot = candidate;

		/* The groups a setting stands in are candidates, too; a right name in a wrong group is one error. */
		snprintf(candidate, sizeof candidate, "%s", settings[i].path);
		while (dot != NULL) {
			unsigned d = least(distance(path, candidate), distance(leaf(path), leaf(candidate)) + 1);

			if (d < best) {
				best = d;
				snprintf(out, size, "%s", candidate);
			}
			dot = strrchr(candidate, '.');
			if (dot != NULL)
				*dot = '\0';
		}
	}
	return best < 2 + (unsigned)strlen(leaf(path)) / 4;
}

/* The sample file. */

static void print_wrapped(FILE *out, const char *indent, const char *text)
{
	enum { WIDTH = 96 };
	size_t n = strlen(text);

	while (n > 0) {
		size_t cut = n;

		if (n > WIDTH) {
			cut = WIDTH;
			while (cut > 0 && text[cut] != ' ')
				cut--;
		}
		fprintf(out, "%s# %.*s\n", indent, (int)cut, text);
		text += cut + (text[cut] == ' ');
		n = strlen(text);
	}
}

static void print_range(FILE *out, const char *indent, const struct setting *s)
{
	char from[32], to[32];

	if (s->words != NULL) {
		fprintf(out, "%s# One of:", indent);
		for (size_t i = 0; s->words[i] != NULL; i++)
			fprintf(out, " %s%s", s->words[i], s->words[i + 1] == NULL ? ".\n" : ",");
	} else if (s->max != 0) {
		fprintf(out, "%s# From %s to %s.\n", indent, setting_print(s, s->min, from, sizeof from),
			setting_print(s, s->max, to, sizeof to));
	}
}

static void print_setting(FILE *out, const char *indent, const struct setting *s)
{
	const char *value = s->standard != NULL ? s->standard : s->example;
	bool bare = s->type == SETTING_INTEGER || s->type == SETTING_BOOL;
	bool list = s->type == SETTING_STRINGS;
	const char *quote = bare ? "" : "\"";

	print_wrapped(out, indent, s->help);
	print_range(out, indent, s);
	if (s->apply == APPLY_RESTART)
		fprintf(out, "%s# A change needs a restart.\n", indent);
	if (s->standard == NULL && !s->required)
		fprintf(out, "%s# Default: none. Example:\n", indent);
	fprintf(out, "%s%s%s = %s%s%s%s%s;\n", indent, s->required ? "" : "#", leaf(s->path), list ? "[ " : "", quote,
		value, quote, list ? " ]" : "");
}

static size_t group_length(const char *path)
{
	return (size_t)(leaf(path) - path);
}

/* Groups nest two deep at most ("nats.tls."), and an inner one stands at the end of its outer one. */
void config_sample(FILE *out)
{
	static const char *const tabs[] = { "", "\t", "\t\t" };
	size_t depth = 0;

	fputs("# boxhaul. A line that is commented out shows the default.\n"
	      "# A relay that runs takes changes over when it is told to reload (SIGHUP), but for those that need a restart.\n",
	      out);
	for (const struct setting *s = settings; s < settings + settings_count; s++) {
		const char *before = s == settings ? "" : (s - 1)->path;
		size_t length = group_length(s->path);

		if (s->type == SETTING_STREAMS)
			continue;
		if (s > settings && (s - 1)->type == SETTING_STREAMS)
			before = (s - 2)->path;
		if (group_length(before) != length || strncmp(before, s->path, length) != 0) {
			bool inner = group_length(before) > 0 && strncmp(before, s->path, group_length(before)) == 0;
			const char *name = s->path + (inner ? group_length(before) : 0);

			while (!inner && depth > 0) {
				depth--;
				fprintf(out, "%s}%s;\n", tabs[depth],
					depth == 0 && below(before, "streams") ? " )" : "");
			}
			fputc('\n', out);
			if (below(s->path, "streams"))
				print_wrapped(out, "", setting_find("streams")->help);
			fprintf(out, "%s%.*s = %s{\n", tabs[depth], (int)(s->path + length - 1 - name), name,
				below(s->path, "streams") ? "( " : "");
			depth++;
		} else {
			fputc('\n', out);
		}
		print_setting(out, tabs[depth], s);
	}
	while (depth-- > 0)
		fprintf(out, "%s};\n", tabs[depth]);
}
