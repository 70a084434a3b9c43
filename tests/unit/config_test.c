#include "config/config_load.h"

#include <sys/stat.h>
#include <unistd.h>

#include "config/config_check.h"
#include "config/settings.h"
#include "tap.h"

#define STREAMS "streams = ( { name = \"ORDERS\"; subjects = [ \"orders.>\" ]; } );\n"

#define TAKES "name = \"i\"; stream = \"ORDERS\"; subjects = [ \"orders.>\" ];"
#define INBOX "inbox = ( { " TAKES " } );\n"

#define CAPTURES "name = \"shop\"; stream = \"CDC\"; tables = [ \"public.orders\" ];"
#define BUCKET "target = \"kv\"; stream = \"KV_b\";"
#define CAPTURE "capture = ( { " CAPTURES " } );\n"
#define TABLE "outbox_tables = ( { table = \"public.outbox\"; preset = \"debezium\"; } );\n"
#define MESSAGES "messages = ( { prefix = \"p\"; subject = \"p.{name}\"; } );\n"

/* Nothing in it is what it is by default. */
#define OTHER                                                                                                                     \
	"name = \"other\"; envelope = \"cloudevents\"; event_source = \"/other\";\n"                                              \
	"postgres = { conninfo = \"host=/x\"; password_file = \"/p\"; migrate_conninfo = \"host=/y\";\n"                          \
	"  capture_conninfo = \"host=/z\"; };\n"                                                                                  \
	"nats = { urls = [ \"nats://a\", \"tls://b\" ]; user = \"u\"; password_file = \"/w\"; discover = true;\n"                 \
	"  jetstream_domain = \"hub\"; inbox_prefix = \"_INBOX_x\";\n"                                                            \
	"  tls = { required = true; ca_file = \"/ca\"; cert_file = \"/c\"; key_file = \"/k\"; }; };\n"                            \
	"streams = ( { name = \"S\"; subjects = [ \"s.>\" ]; create = true; replicas = 3; duplicate_window = \"1h\";\n"           \
	"  foreign = \"pass\"; send = \"batch\"; batch_messages = 77; } );\n"                                                     \
	"delivery = { ordering = \"none\"; poison = \"hold\"; window = 7; window_bytes = \"2MiB\"; queue = 99;\n"                 \
	"  queue_bytes = \"3MiB\"; ack_timeout = \"3m\"; retry_min = \"1ms\"; retry_max = \"2ms\";\n"                             \
	"  mark_interval = \"6s\"; drain_timeout = \"1s\"; };\n"                                                                  \
	"outbox = { retention = \"2h\"; max_message_size = \"2KiB\"; wakeup = \"poll\"; safety_poll = \"40s\";\n"                 \
	"  sleep_after = \"1s\"; gap_grace = \"2s\"; lease = \"9s\"; };\n"                                                        \
	"inbox = ( { name = \"o\"; stream = \"S\"; subjects = [ \"a.b\" ]; start = 5; key = \"subject:2\"; lanes = 8;\n"          \
	"  dedupe = \"position\"; handler = \"s.f\"; workers = 2; max_attempts = 3; stuck_after = \"2m\";\n"                      \
	"  crash_attempts = 0; handler_timeout = \"1s\"; poison = \"skip\"; retention = \"1d\"; on_gap = \"continue\";\n"         \
	"  queue = 16; queue_bytes = 1024; snapshot = \"none\"; transaction = 7; } );\n"                                          \
	"capture = ( { name = \"c\"; tables = [ \"a.b\" ]; inserts_only = [ \"a.c\" ]; stream = \"C\"; create = true;\n"          \
	"  skip_applied = [ \"o\" ]; sequences = [ \"a.s\" ]; whole_limit = \"2h\";\n"                                            \
	"  replicas = 3; duplicate_window = \"1h\"; subject = \"c.{table}\"; order = \"key\"; format = \"text\";\n"               \
	"  poison = \"hold\"; int8 = \"string\"; snapshot = \"none\"; chunk_rows = 7; chunk_bytes = \"1MiB\"; chunk_share = 9;\n" \
	"  wal_budget = \"1GB\"; on_budget = \"let_go\"; gap = \"resync\"; failover = \"off\"; } );\n"                            \
	"outbox_tables = ( { table = \"a.o\"; subject = \"s.{c}\"; source = \"trigger\"; id = \"i\"; key = \"k\";\n"              \
	"  payload = \"p\"; headers = \"h\"; header_columns = [ \"x\" ]; } );\n"                                                  \
	"messages = ( { prefix = \"m\"; subject = \"m.{key}\"; capture = \"c\"; } );\n"                                           \
	"sagas = { stream = \"ANSWERS\"; replies = \"s.saga\"; tick = \"2s\"; retention = \"9d\"; };\n"                           \
	"health = { listen = \"[::1]:9\"; stall_after = \"9m\"; };\n"                                                             \
	"log = { level = \"warn\"; format = \"json\"; stats_interval = \"2m\"; };\n"

#define OWNED \
	"streams = ( { name = \"S\"; subjects = [ \"s\" ]; },\n{ name = \"A\"; subjects = [ \"a\" ]; owned = true; } );\n"

static char directory[] = "/tmp/boxhaul-config-XXXXXX";

static const char *file(void)
{
	static char path[64];

	snprintf(path, sizeof path, "%s/shop.conf", directory);
	return path;
}

static void write_file(const char *text, size_t n, mode_t mode)
{
	FILE *f = fopen(file(), "w");

	if (f == NULL || fwrite(text, 1, n, f) != n || fclose(f) != 0 || chmod(file(), mode) != 0)
		abort();
}

/* Loads; what was said about the file is in `said` without the directory's name. */
static struct config *load_path(const char *path, char said[16384])
{
	FILE *errors = tmpfile();
	struct config *c = config_load(path, errors);
	size_t n = 0;
	char line[2048];

	rewind(errors);
	said[0] = '\0';
	while (fgets(line, sizeof line, errors) != NULL)
		n += (size_t)snprintf(said + n, 16384 - n, "%s",
				      strncmp(line, directory, strlen(directory)) == 0 ? line + strlen(directory) + 1
										       : line);
	fclose(errors);
	return c;
}

static struct config *load(const char *text, char said[16384])
{
	write_file(text, strlen(text), 0600);
	return load_path(file(), said);
}

static size_t lines(const char *text)
{
	size_t n = 0;

	for (; *text != '\0'; text++)
		n += *text == '\n';
	return n;
}

/* The text is refused with exactly one line, which holds `part`. */
static void refused(const char *text, const char *part)
{
	char said[16384];
	struct config *c = load(text, said);

	if (ok(c == NULL, "refused: %s", part)) {
		holds(said, part, part);
		if (!ok(lines(said) == 1, "with one line"))
			diag("%s", said);
	}
	config_free(c);
}

static void accepted(const char *text)
{
	char said[16384];
	struct config *c = load(text, said);

	if (!ok(c != NULL && said[0] == '\0', "accepted"))
		diag("%s%s", text, said);
	config_free(c);
}

static void check_defaults(const struct config *c)
{
	is_text(c->name, "shop", "name: the file's");
	is_text(c->postgres.conninfo, "", "conninfo");
	is_text(c->postgres.migrate_conninfo, "", "migrate_conninfo: conninfo");
	is_text(c->postgres.password_file, NULL, "password_file");
	is_number(c->nats.url_count, 1, "one URL");
	is_text(c->nats.urls[0], "nats://127.0.0.1:4222", "urls");
	is_text(c->nats.user, NULL, "user");
	is_number(c->nats.discover, false, "discover");
	is_number(c->nats.tls.required, false, "tls.required");
	is_number(c->stream_count, 1, "one stream");
	is_number(c->delivery.streams, 1, "the core knows of it");
	is_text(c->streams[0].name, "ORDERS", "its name");
	is_number(c->streams[0].subject_count, 1, "one subject");
	is_text(c->streams[0].subjects[0], "orders.>", "its subject");
	is_number(c->streams[0].create, false, "create");
	is_number(c->streams[0].replicas, 1, "replicas");
	is_number(c->streams[0].duplicate_window_ms, 120000, "duplicate_window");
	is_number(c->delivery.ordering, ORDERING_STRICT, "ordering");
	is_number(c->delivery.poison, POISON_SKIP, "poison");
	is_number(c->delivery.window_messages, 1024, "window");
	is_number(c->delivery.window_bytes, 8 << 20, "window_bytes");
	is_number(c->delivery.queue_messages, 4096, "queue");
	is_number(c->delivery.queue_bytes, 16 << 20, "queue_bytes");
	is_number(c->delivery.ack_timeout_ms, 5000, "ack_timeout");
	is_number(c->delivery.retry_min_ms, 100, "retry_min");
	is_number(c->delivery.retry_max_ms, 10000, "retry_max");
	is_number(c->delivery.mark_interval_ms, 100, "mark_interval");
	is_number(c->drain_timeout_ms, 10000, "drain_timeout");
	is_number(c->retention_ms, 3600000, "retention");
	is_number(c->max_message_bytes, 1 << 20, "max_message_size");
	is_number(c->wakeup, WAKEUP_NOTIFY, "wakeup");
	is_number(c->delivery.safety_poll_ms, 30000, "safety_poll");
	is_number(c->delivery.sleep_after_ms, 200, "sleep_after");
	is_number(c->delivery.grace_ms, 1000, "gap_grace");
	is_number(c->delivery.lease_ms, 5000, "lease");
	is_text(c->health.address, "127.0.0.1", "health address");
	is_number(c->health.port, 9431, "health port");
	is_number(c->health.stall_after_ms, 30000, "stall_after");
	is_number(c->log.level, LOG_LEVEL_INFO, "log level");
	is_number(c->log.format, LOG_LOGFMT, "log format");
	is_number(c->log.stats_interval_ms, 60000, "stats_interval");
}

static void defaults(void)
{
	char said[16384];
	struct config *c = load(STREAMS, said);

	is_text(said, "", "the least of a file is enough");
	if (c != NULL)
		check_defaults(c);
	config_free(c);
}

static const char full[] =
	"name = \"shop-eu.1\";\n"
	"postgres = { conninfo = \"host=db dbname=shop\"; password_file = \"/p\"; migrate_conninfo = \"host=db "
	"user=o\"; };\n"
	"nats = { urls = [ \"nats://a:4222\", \"tls://[::1]:4223\", \"nats://c\" ]; user = \"u\"; password_file = "
	"\"/n\";\n"
	"  discover = true; tls = { ca_file = \"/ca\"; cert_file = \"/c\"; key_file = \"/k\"; }; };\n"
	"streams = ( { name = \"A\"; subjects = ( \"a.>\", \"aa\" ); create = true; replicas = 3; duplicate_window = "
	"\"1h\"; },\n"
	"  { name = \"B\"; subjects = [ \"b.*.x\", \"b.*.y\" ]; } );\n"
	"delivery = { ordering = \"pipelined\"; poison = \"hold\"; window = 16; window_bytes = \"2MB\"; queue = 16;\n"
	"  queue_bytes = 4000000; ack_timeout = \"250ms\"; retry_min = \"1s\"; retry_max = \"1m\"; mark_interval = "
	"\"1s\";\n"
	"  drain_timeout = \"0s\"; };\n"
	"outbox = { retention = \"30d\"; max_message_size = \"64KB\"; wakeup = \"poll\"; safety_poll = \"100ms\";\n"
	"  sleep_after = \"10ms\"; gap_grace = \"0ms\"; lease = \"10 s\"; };\n"
	"health = { listen = \"[::1]:80\"; stall_after = \"2m\"; };\n"
	"log = { level = \"debug\"; format = \"json\"; stats_interval = \"1d\"; };\n";

static void everything(void)
{
	char said[16384];
	struct config *c = load(full, said);

	is_text(said, "", "a file with everything in it");
	if (c == NULL)
		return;
	is_text(c->name, "shop-eu.1", "name");
	is_text(c->postgres.conninfo, "host=db dbname=shop", "conninfo");
	is_text(c->postgres.password_file, "/p", "password_file");
	is_text(c->postgres.migrate_conninfo, "host=db user=o", "migrate_conninfo");
	is_number(c->nats.url_count, 3, "three URLs");
	is_text(c->nats.urls[2], "nats://c", "the last one");
	is_text(c->nats.user, "u", "user");
	is_text(c->nats.password_file, "/n", "its password");
	is_number(c->nats.discover, true, "discover");
	is_number(c->nats.tls.required, true, "tls:// demands TLS");
	is_text(c->nats.tls.key_file, "/k", "key_file");
	is_number(c->stream_count, 2, "two streams");
	is_number(c->streams[0].subject_count, 2, "two subjects, in a list");
	is_text(c->streams[0].subjects[1], "aa", "the second one");
	is_number(c->streams[0].create, true, "create");
	is_number(c->streams[0].replicas, 3, "replicas");
	is_number(c->streams[0].duplicate_window_ms, 3600000, "duplicate_window");
	is_number(c->streams[1].duplicate_window_ms, 120000, "and the other stream's default");
	is_text(c->streams[1].subjects[1], "b.*.y", "the other stream's subject");
	is_number(c->delivery.ordering, ORDERING_PIPELINED, "ordering");
	is_number(c->delivery.poison, POISON_HOLD, "poison");
	is_number(c->delivery.window_bytes, 2000000, "MB are thousands");
	is_number(c->delivery.queue_bytes, 4000000, "a bare number is bytes");
	is_number(c->delivery.ack_timeout_ms, 250, "milliseconds");
	is_number(c->delivery.retry_max_ms, 60000, "minutes");
	is_number(c->drain_timeout_ms, 0, "nothing");
	is_number(c->retention_ms, 30ll * 86400000, "days");
	is_number(c->max_message_bytes, 64000, "KB are thousands");
	is_number(c->wakeup, WAKEUP_POLL, "wakeup");
	is_number(c->delivery.lease_ms, 10000, "a space before the unit");
	is_text(c->health.address, "::1", "IPv6 without its brackets");
	is_number(c->health.port, 80, "port");
	is_number(c->log.level, LOG_LEVEL_DEBUG, "level");
	is_number(c->log.format, LOG_JSON, "format");
	config_free(c);
}

/* Twelve mistakes, twelve lines, in the file's order. */
static void many_mistakes(void)
{
	static const char text[] = "name = \"a shop\";\n"                     /* 1: a space */
				   "postgres = { coninfo = \"host=db\"; };\n" /* 2: unknown */
				   "nats = {\n"
				   "  urls = [ \"nats://ok\", \"http://x\" ];\n" /* 4: no URL */
				   "  tls = { cert_file = \"/c\"; };\n"          /* 5: no key */
				   "};\n"
				   "streams = (\n"
				   "  { name = \"A\"; subjects = [ \"a.>\",\n"
				   "      \"a..b\" ]; },\n"                         /* 9: no pattern */
				   "  { name = \"A\"; subjects = [ \"a.b\" ]; },\n" /* 10: twice; overlap */
				   "  { name = \"C\"; }\n"                          /* 11: no subjects */
				   ");\n"
				   "delivery = {\n"
				   "  ack_timeout = 5;\n"        /* 14: no unit */
				   "  window = 0;\n"             /* 15: range */
				   "  ordering = \"strickt\";\n" /* 16: word */
				   "  queue = \"many\";\n"       /* 17: type */
				   "};\n";
	static const char *const want[] = {
		"shop.conf:1: name = \"a shop\" is not usable",
		"shop.conf:2: unknown key postgres.coninfo: did you mean postgres.conninfo?",
		"shop.conf:4: nats.urls: \"http://x\" is no URL",
		"shop.conf:5: nats.tls.cert_file needs its private key: add key_file",
		"shop.conf:9: streams.subjects: \"a..b\" is no subject pattern",
		"shop.conf:10: streams.name = \"A\" stands twice (line 8)",
		"shop.conf:10: streams.subjects: \"a.b\" and \"a.>\" (stream A, line 8) overlap",
		"shop.conf:11: this group of streams has no subjects: add subjects = [",
		"shop.conf:14: delivery.ack_timeout has no unit: write a duration",
		"shop.conf:15: delivery.window = 0 is out of range: from 1 to 65536",
		"shop.conf:16: delivery.ordering = \"strickt\" is not known: write \"strict\", \"pipelined\"",
		"shop.conf:17: delivery.queue is a text: write a whole number",
	};
	char said[16384], *at = said;
	struct config *c = load(text, said);

	ok(c == NULL, "a file with twelve mistakes is refused");
	is_number(lines(said), sizeof want / sizeof want[0], "with twelve lines");
	for (size_t i = 0; i < sizeof want / sizeof want[0] && at != NULL; i++) {
		char *line = strtok_r(at, "\n", &at);

		tap_holds(line != NULL ? line : "", want[i], true, __FILE__, __LINE__, want[i]);
	}
	config_free(c);
}

static void unknown_keys(void)
{
	refused(STREAMS "naem = \"x\";", ":2: unknown key naem: did you mean name?");
	refused(STREAMS "window = 5;", ":2: unknown key window: did you mean delivery.window?");
	refused(STREAMS "outbox = { ack_timout = \"5s\"; };",
		"unknown key outbox.ack_timout: did you mean delivery.ack_timeout?");
	refused(STREAMS "delivry = { window = 0; };", ":2: unknown key delivry: did you mean delivery?");
	refused(STREAMS "nats = { tsl = { }; };", "unknown key nats.tsl: did you mean nats.tls?");
	refused(STREAMS "nats = { tls = { ca = \"/x\"; }; };", "unknown key nats.tls.ca");
	refused(STREAMS "colour = \"blue\";", ":2: unknown key colour: `boxhaul config-sample` lists them all");
	refused("streams = ( { name = \"A\"; subjects = [ \"a\" ]; subject = 1; } );",
		"unknown key streams.subject: did you mean "
		"streams.subjects?");
	refused(STREAMS "x_"
			"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
			"aaaaaaaaaaaaaaaaaaaaaa"
			"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
			"aaaaaaaaaa = 1;",
		"unknown key");
}

static void wrong_types(void)
{
	refused(STREAMS "name = 5;", "name is a number: write a text in double quotes");
	refused(STREAMS "delivery = 5;", "delivery is a number: write a group, delivery = { ... };");
	refused(STREAMS "nats = { tls = true; };", "nats.tls is true or false: write a group");
	refused(STREAMS "delivery = { window = { }; };", "delivery.window is a group { }: write a whole number");
	refused(STREAMS "delivery = { window = 1.5; };", "delivery.window is a fraction: write a whole number");
	refused(STREAMS "delivery = { window = -1; };", "delivery.window = -1 is negative");
	refused(STREAMS "delivery = { ack_timeout = 1.5; };", "delivery.ack_timeout has no unit");
	refused(STREAMS "delivery = { ack_timeout = true; };",
		"delivery.ack_timeout is true or false: write a duration");
	refused(STREAMS "nats = { discover = \"yes\"; };", "nats.discover is a text: write true or false");
	refused(STREAMS "nats = { discover = 1; };", "nats.discover is a number: write true or false");
	refused(STREAMS "nats = { urls = \"nats://a\"; };", "nats.urls is a text: write a list of texts: [");
	refused(STREAMS "nats = { urls = [ 1 ]; };", "nats.urls is a number");
	refused("streams = { name = \"A\"; };", "streams is a group { }: write a list of groups: (");
	refused("streams = ( \"A\" );", "streams holds a text: write {");
	refused(STREAMS "delivery = { ordering = [ \"strict\" ]; };", "delivery.ordering is a list: write a word");
}

static void values(void)
{
	refused(STREAMS "delivery = { ack_timeout = \"5\"; };", "\"5\" has no unit: write \"5ms\" or \"5s\"");
	refused(STREAMS "delivery = { ack_timeout = \"5 parsecs\"; };",
		"\"5 parsecs\" is not understood: write a duration");
	refused(STREAMS "delivery = { ack_timeout = \"s\"; };", "\"s\" is not understood");
	refused(STREAMS "delivery = { ack_timeout = \"-5s\"; };", "\"-5s\" is not understood");
	refused(STREAMS "delivery = { ack_timeout = \"1.5s\"; };", "\"1.5s\" is not understood");
	refused(STREAMS "delivery = { ack_timeout = \"\"; };", "\"\" is not understood");
	refused(STREAMS "delivery = { ack_timeout = \"99ms\"; };", "99ms is out of range: from 100ms to 5m");
	refused(STREAMS "delivery = { ack_timeout = \"301s\"; };", "301s is out of range: from 100ms to 5m");
	refused(STREAMS "delivery = { ack_timeout = \"99999999999999999999d\"; };",
		"is out of range: from 100ms to 5m");
	refused(STREAMS "delivery = { ack_timeout = \"18446744073709551615ms\"; };", "is out of range");
	refused(STREAMS "delivery = { ack_timeout = \"4294967396ms\"; };", "is out of range");
	refused(STREAMS "outbox = { retention = \"31d\"; };", "31d is out of range: from 1s to 30d");
	refused(STREAMS "outbox = { max_message_size = \"65MiB\"; };", "65MiB is out of range: from 1KiB to 64MiB");
	refused(STREAMS "outbox = { max_message_size = \"1 furlong\"; };", "not understood: write a number of bytes");
	refused(STREAMS "delivery = { window = 65537; };", "65537 is out of range: from 1 to 65536");
	refused(STREAMS "delivery = { queue = 15; };\n", "15 is out of range: from 16 to 65536");
	refused(STREAMS "postgres = { password_file = \"./secret\"; };",
		"\"./secret\" is no absolute path: begin it with /, or name a file in $CREDENTIALS_DIRECTORY");
	refused(STREAMS "name = \"a\\nb\\x1b[2J\";", "name = \"a?b?[2J\" is not usable");
	accepted(STREAMS "postgres = { password_file = \"\"; }; nats = { user = \"\"; };");
}

/* libconfig 1.5 would make small numbers of these. */
static void large_numbers(void)
{
	refused(STREAMS "delivery = { window = 4294968320; };", ":2: the number 4294968320 is too large");
	refused(STREAMS "delivery = {\n window_bytes = 4303355904; };",
		":3: the number 4303355904 is too large: write it as a text with a unit");
	accepted(STREAMS
		 "# 99999999999\n// 99999999999\n/* 99999999999\n 99999999999 */ delivery = { window = 0x10; };");
	accepted(STREAMS "name = \"99999999999\"; /* \" */ postgres = { conninfo = \"a='\\\"' 99999999999\"; };");
}

static void listening(void)
{
	static const char *const bad[] = {
		"localhost:9431",  "127.0.0.1", "127.0.0.1:",       "127.0.0.1:0",
		"127.0.0.1:65536", ":9431",     "*:9431",           "::1:9431",
		"[::1]",           "[::1:9431", "[127.0.0.1]:9431", "9431",
		"127.0.0.1:94x",   "]:9431",    "[]:9431",          "127.0.0.1:99999999999999999999"
	};
	static const struct {
		const char *text, *address;
		unsigned port;
	} good[] = {
		{ "0.0.0.0:1", "0.0.0.0", 1 },
		{ "[::]:65535", "::", 65535 },
		{ "off", "127.0.0.1", 0 },
		{ "", "127.0.0.1", 0 },
	};
	char text[512], said[16384];

	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		snprintf(text, sizeof text, STREAMS "health = { listen = \"%s\"; };", bad[i]);
		refused(text, "is no numeric address with a port: write");
	}
	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
		struct config *c;

		snprintf(text, sizeof text, STREAMS "health = { listen = \"%s\"; };", good[i].text);
		c = load(text, said);
		if (ok(c != NULL, "listen = \"%s\"", good[i].text)) {
			is_text(c->health.address, good[i].address, "address");
			is_number(c->health.port, good[i].port, "port");
		}
		config_free(c);
	}
}

static void nats(void)
{
	static const char *const bad[] = { "",           "a",           "a:4222",         "nats://",    "nats://:4222",
					   "nats://h:",  "nats://h:0",  "nats://h:65536", "nats://h:x", "nats://h 1",
					   "nats://h/x", "nats://u:p@", "nats://[::1",    "http://h",   "nats:/h" };
	char text[512];

	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		snprintf(text, sizeof text, STREAMS "nats = { urls = [ \"%s\" ]; };", bad[i]);
		refused(text, "is no URL: write nats://host:4222");
	}
	refused(STREAMS "nats = { urls = [ ]; };", ":2: nats.urls is empty");
	refused(STREAMS "nats = { urls = [ \"nats://u:hunter2@h:x\" ]; };", "\"nats://u:***@h:x\" is no URL");
	refused(STREAMS "nats = { user = \"u\"; };", "nats.user needs a password: add password_file");
	refused(STREAMS "nats = { password_file = \"/p\"; };", "nats.password_file needs a user");
	refused(STREAMS "nats = { token_file = \"/t\";\n credentials_file = \"/n\"; };",
		":3: nats.token_file and nats.credentials_file are two ways");
	refused(STREAMS "nats = { user = \"u\"; password_file = \"/p\";\n nkey_seed_file = \"/n\"; };",
		":3: nats.user and nats.nkey_seed_file are two ways");
	refused(STREAMS "nats = { token_file = \"/t\"; urls = [ \"nats://h\",\n \"nats://u:hunter2@h\" ]; };",
		":3: nats.urls: the login in the URL would be used instead of nats.token_file");
	refused(STREAMS "nats = { tls = { key_file = \"/k\"; }; };",
		"nats.tls.key_file needs its certificate: add cert_file");
	refused(STREAMS "nats = { jetstream_domain = \"hub\"; jetstream_prefix = \"JS.hub\"; };",
		"nats.jetstream_domain and nats.jetstream_prefix say the same in two ways");
	refused(STREAMS "nats = { jetstream_domain = \"a.b\"; };", "nats.jetstream_domain = \"a.b\" is no domain");
	refused(STREAMS "nats = { inbox_prefix = \"a.>\"; };", "nats.inbox_prefix = \"a.>\" is no prefix");
	refused(STREAMS "nats = { inbox_prefix = \"$SYS.a\"; };", "is no prefix");
	refused(STREAMS
		"nats = { inbox_prefix = \"i1234567890123456789012345678901234567890123456789012345678901234\"; };",
		"is no prefix");
	refused(STREAMS "nats = { inbox_prefix = \"orders\"; };", "\"orders.>\" takes the answers to this relay");
	refused(STREAMS "nats = { jetstream_prefix = \"JS.API.\"; };",
		"nats.jetstream_prefix = \"JS.API.\" is no subject");
	refused(STREAMS "nats = { jetstream_prefix = \"JS.*\"; };", "is no subject");
}

static void streams(void)
{
	static const char *const bad_names[] = { "", "a b", "a.b", "a*", ">", "a/b", "a\\\\b", "größe" };
	static const char *const reserved[] = { ">", "*.>", "*.*.>", "$JS.API.>", "$x", "_INBOX.>", "_INBOX" };
	static const char *const bad[] = { "", "a b", "a..b", ".a", "a.", "a.>.b", "a*" };
	static const struct {
		const char *a, *b;
		bool overlap;
	} pairs[] = {
		{ "a", "a", true },     { "a.>", "a.b", true },     { "a.b", "a.>", true },
		{ "a.*", "a.b", true }, { "a.*.c", "a.b.*", true }, { "a.>", "a.b.c.>", true },
		{ "*.b", "a.*", true }, { "a.*", "a.>", true },     { "*", "a", true },
		{ "a", "b", false },    { "a", "a.b", false },      { "a.>", "a", false },
		{ "a.*", "a", false },  { "a.*", "a.b.c", false },  { "a.*.c", "a.b.d", false },
		{ "ab", "a", false },   { "*", "a.b", false },      { "*.b", "a.c", false },
	};
	char text[4096];

	refused("", ":1: streams, inbox and capture are missing: add streams = (");
	refused("\n\nstreams = ( );", ":3: streams is empty");
	refused("streams = ( { subjects = [ \"a\" ]; } );", ":1: this group of streams has no name: add name");
	refused("streams = ( { name = \"A\"; subjects = [ ]; } );", "streams.subjects is empty");
	refused(OWNED "delivery = { poison = \"hold\"; };",
		":2: streams.owned: stream A is to be in one order, and delivery.poison");
	refused(OWNED "delivery = { ordering = \"none\"; };", "that needs delivery.ordering = \"strict\"");
	refused(OWNED "delivery = { ordering = \"pipelined\"; };", "that needs delivery.ordering = \"strict\"");
	accepted(OWNED "delivery = { poison = \"skip\"; };");
	refused("streams = ( { name = \"A\"; subjects = [ \"a\" ]; replicas = 6; } );",
		"streams.replicas = 6 is out of range: from 1 to 5");
	for (size_t i = 0; i < sizeof bad_names / sizeof bad_names[0]; i++) {
		snprintf(text, sizeof text, "streams = ( { name = \"%s\"; subjects = [ \"a\" ]; } );", bad_names[i]);
		refused(text, "is no stream name");
	}
	for (size_t i = 0; i < sizeof reserved / sizeof reserved[0]; i++) {
		snprintf(text, sizeof text, "streams = ( { name = \"A\"; subjects = [ \"%s\" ]; } );", reserved[i]);
		refused(text, "takes subjects reserved by NATS");
	}
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		snprintf(text, sizeof text, "streams = ( { name = \"A\"; subjects = [ \"%s\" ]; } );", bad[i]);
		refused(text, "is no subject pattern");
	}
	for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
		snprintf(text, sizeof text,
			 "streams = ( { name = \"A\"; subjects = [ \"%s\" ]; },\n{ name = \"B\"; subjects = [ \"%s\" "
			 "]; } );",
			 pairs[i].a, pairs[i].b);
		if (pairs[i].overlap)
			refused(text, "(stream A, line 1) overlap");
		else
			accepted(text);
		snprintf(text, sizeof text, "streams = ( { name = \"A\"; subjects = [ \"%s\",\n \"%s\" ]; } );",
			 pairs[i].b, pairs[i].a);
		if (pairs[i].overlap)
			refused(text, "(stream A, line 1) overlap");
		else
			accepted(text);
	}
}

static void count_streams(unsigned count, bool good)
{
	char text[8192] = "streams = (";
	size_t n = strlen(text);

	for (unsigned i = 0; i < count; i++)
		n += (size_t)snprintf(text + n, sizeof text - n, "%s{ name = \"S%u\"; subjects = [ \"s%u.>\" ]; }",
				      i ? "," : "", i, i);
	snprintf(text + n, sizeof text - n, " );");
	if (good)
		accepted(text);
	else
		refused(text, "streams holds 33 groups, and one relay serves 32 at most");
}

static void check_subscription(const struct config_subscription *s)
{
	char rule[SETTING_KEY_BYTES];

	is_number(s->start, INBOX_START_ALL, "start");
	is_number(s->start_sequence, 0, "no sequence");
	is_number(s->key, CONFIG_KEY_HEADER, "key");
	is_text(setting_key_rule(s, rule), "header", "in words");
	is_number(s->lanes, 64, "lanes");
	is_number(s->dedupe, INBOX_DEDUPE_IDS, "dedupe");
	is_text(s->handler, "", "handler");
	is_number(s->workers, 1, "workers");
	is_number(s->max_attempts, 10, "max_attempts");
	is_number(s->stuck_after_ms, 60000, "stuck_after");
	is_number(s->crash_attempts, 3, "crash_attempts");
	is_number(s->handler_timeout_ms, 30000, "handler_timeout");
	is_number(s->poison, POISON_HOLD, "poison");
	is_number(s->retention_ms, 7ll * 86400000, "retention");
	is_number(s->on_gap, INBOX_ON_STOP, "on_gap");
	is_number(s->on_recreated, INBOX_ON_STOP, "on_recreated");
	is_number(s->queue_messages, 4096, "queue");
	is_number(s->queue_bytes, 8 << 20, "queue_bytes");
}

static void check_other_subscription(const struct config *c)
{
	const struct config_subscription *s = &c->subscriptions[0];
	char rule[SETTING_KEY_BYTES];

	is_number(s->start, INBOX_START_SEQUENCE, "start at a sequence");
	is_number(s->start_sequence, 5, "which is a number");
	is_text(setting_key_rule(s, rule), "subject:2", "the key is a token");
	is_number(s->key, CONFIG_KEY_SUBJECT, "of the subject");
	is_number(s->key_token, 2, "the second one");
	is_text(s->handler, "s.f", "handler");
	is_number(s->queue_bytes, 1024, "queue_bytes");
}

static void subscriptions(void)
{
	char said[16384];
	struct config *c = load(INBOX, said);

	is_text(said, "", "subscriptions alone, with the least of a file");
	if (c != NULL) {
		is_number(c->stream_count, 0, "no outbox");
		is_number(c->subscription_count, 1, "one subscription");
		check_subscription(&c->subscriptions[0]);
	}
	config_free(c);
	c = load(OTHER, said);
	is_text(said, "", "one with everything");
	if (c != NULL)
		check_other_subscription(c);
	config_free(c);
	accepted("inbox = ( { " TAKES " }, { name = \"k\"; stream = \"ORDERS\"; subjects = [ \"orders.>\" ]; } );");
	accepted("inbox = ( { " TAKES " start = \"9223372036854775807\"; key = \"none\"; dedupe = \"position\"; } );");
	accepted("inbox = ( { " TAKES " start = \"new\"; key = \"subject:2\"; on_recreated = \"restart\"; } );");
}

static void wrong_subscriptions(void)
{
	static const char *const wrong[][2] = {
		{ "start = \"old\";", "inbox.start = \"old\" is not known: write \"all\", \"new\" or \"2\"" },
		{ "start = 0;", "inbox.start = \"0\" is out of range: from 1 to 9223372036854775807" },
		{ "start = -1;", "inbox.start = \"-1\" is not known" },
		{ "start = \"99999999999999999999\";", "is out of range" },
		{ "start = true;", "inbox.start is true or false: write a word in double quotes, or a number" },
		{ "key = \"subject\";", "is not known: write \"header\", \"none\" or \"subject:2\"" },
		{ "key = \"subject:0\";", "inbox.key = \"subject:0\" is out of range: from subject:1 to subject:64" },
		{ "key = \"subject:3\";",
		  "\"orders.>\" takes subjects of 2 tokens, and inbox.key = \"subject:3\" wants number 3" },
		{ "lanes = 257;", "inbox.lanes = 257 is out of range: from 1 to 256" },
		{ "dedupe = \"position\"; on_recreated = \"restart\";",
		  "inbox.on_recreated = \"restart\" needs inbox.dedupe" },
		{ "handler = \"f\";", "inbox.handler = \"f\" is no function with its schema: write" },
		{ "handler = \"s.f(boxhaul.inbox)\";", "is no function with its schema" },
		{ "handler = \"s.f.g\";", "is no function with its schema" },
		{ "handler = \"S.f\";", "is no function with its schema" },
		{ "handler = \"s.f; drop\";", "is no function with its schema" },
		{ "handler = \"s.1f\";", "is no function with its schema" },
		{ "retention = \"366d\";", "inbox.retention = 366d is out of range: from 1s to 365d" },
		{ "replicas = 1;", "unknown key inbox.replicas: did you mean streams.replicas?" },
		{ "max_atempts = 1;", "unknown key inbox.max_atempts: did you mean inbox.max_attempts?" },
	};
	static const char *const names[] = {
		"", "a b", "a.b", "a/b", "\303\244", "12345678901234567890123456789012345678901234567890123456789012345"
	};
	char text[1024];

	refused("inbox = ( );", "inbox is empty: add {");
	refused("inbox = { };", "inbox is a group { }: write a list of groups: (");
	refused("inbox = ( { stream = \"A\"; subjects = [ \"a\" ]; } );",
		":1: this group of inbox has no name: add name");
	refused("inbox = ( { name = \"A\"; subjects = [ \"a\" ]; } );",
		":1: this group of inbox has no stream: add stream");
	refused("inbox = ( { name = \"A\"; stream = \"A\"; } );",
		":1: this group of inbox has no subjects: add subjects");
	refused("inbox = ( { name = \"A\"; stream = \"a.b\"; subjects = [ \"a\" ]; } );",
		"inbox.stream = \"a.b\" is no stream name");
	refused("inbox = ( { " TAKES " },\n{ " TAKES " } );", ":2: inbox.name = \"i\" stands twice (line 1)");
	refused("inbox = ( { name = \"A\"; stream = \"A\"; subjects = [ \"a..b\" ]; } );",
		"inbox.subjects: \"a..b\" is no subject pattern");
	refused("inbox = ( { name = \"A\"; stream = \"A\"; subjects = [ \"a.*\",\n\"a.b\" ]; } );",
		":2: inbox.subjects: \"a.b\" and \"a.*\" (line 1) overlap");
	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
		snprintf(text, sizeof text, "inbox = ( { " TAKES " %s } );", wrong[i][0]);
		refused(text, wrong[i][1]);
	}
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		snprintf(text, sizeof text, "inbox = ( { name = \"%s\"; stream = \"A\"; subjects = [ \"a\" ]; } );",
			 names[i]);
		refused(text, "is not usable: write up to 64 letters, digits, '_' and '-'");
	}
}

/* What a subscription with these tables has of them, and of what follows. */
static void is_tables(const char *tables, const char *wanted)
{
	char text[1024], said[16384];
	struct config *c;

	snprintf(text, sizeof text, "inbox = ( { " TAKES " tables = %s; } );", tables);
	c = load(text, said);
	is_text(said, "", tables);
	if (c == NULL)
		return;
	is_text(c->subscriptions[0].tables, wanted, "as the database takes them");
	ok(c->subscriptions[0].lanes == 1 && c->subscriptions[0].dedupe == INBOX_DEDUPE_POSITION &&
		   c->subscriptions[0].key == CONFIG_KEY_NONE,
	   "one lane, by position");
	config_free(c);
}

static void sinks(void)
{
	static const char *const wrong[][2] = {
		{ "tables = ( );", "inbox.tables is empty: add {" },
		{ "tables = \"public.a\";", "inbox.tables is a text: write a list of groups" },
		{ "tables = ( \"public.a\" );", "inbox.tables holds what is no group: write {" },
		{ "tables = ( { from = \"public.a\"; } );", "this group of inbox.tables has no to: add to = " },
		{ "tables = ( { from = \"a\"; to = \"s.a\"; } );",
		  "inbox.tables.from = \"a\" is no name with its schema" },
		{ "tables = ( { from = \"p.a\"; to = \"s.a; drop\"; } );",
		  "is no name with its schema: write \"schema.table\"" },
		{ "tables = ( { from = \"p.a\"; to = \"s.a\"; function = \"f(x)\"; } );", "write \"schema.function\"" },
		{ "tables = ( { from = 1; to = \"s.a\"; } );",
		  "inbox.tables.from is no text: write it in double quotes" },
		{ "tables = ( { from = \"p.a\"; to = \"s.a\"; columns = \"*\"; } );",
		  "inbox.tables.columns is no list" },
		{ "tables = ( { from = \"p.a\"; to = \"s.a\"; columns = [ \"a=b=c\" ]; } );",
		  "inbox.tables.columns holds \"a=b=c\": write" },
		{ "tables = ( { from = \"p.a\"; to = \"s.a\"; columns = [ 1 ]; } );",
		  "inbox.tables.columns holds what is no text" },
		{ "tables = ( { from = \"p.a\"; to = \"s.a\"; colums = [ \"*\" ]; } );",
		  "unknown key inbox.tables.colums" },
		{ "tables = ( { from = \"p.a\"; to = \"s.a\"; }, { from = \"p.a\"; to = \"s.b\"; } );",
		  "the table p.a stands twice" },
		{ "tables = ( { from = \"p.a\"; to = \"s.a\"; }, { from = \"p.b\"; to = \"s.\\\"a\\\"\"; } );",
		  "inbox.tables: two tables go to s.\"a\": give each" },
		{ "tables = ( { from = \"p.a\"; to = \"s.a\"; } ); handler = \"s.f\";",
		  "inbox.handler and inbox.tables exclude each other" },
		{ "tables = ( { from = \"p.a\"; to = \"s.a\"; } ); on_recreated = \"restart\";",
		  "needs inbox.dedupe = \"ids\"" },
		{ "transaction = 0;", "inbox.transaction = 0 is out of range" },
		{ "snapshot = \"keys\";", "inbox.snapshot = \"keys\" is not known" },
	};
	char text[1024];

	is_tables("( { from = \"public.a\"; to = \"s.b\"; } )",
		  "[{\"from\":\"public.a\",\"to\":\"s.b\",\"columns\":[\"*\"],\"function\":\"\"}]");
	is_tables("( { from = \"public.\\\"A b\\\"\"; to = \"s.\\\"A b\\\"\"; columns = [ \"x=y\", \"*\" ]; } )",
		  "[{\"from\":\"public.A b\",\"to\":\"s.\\\"A b\\\"\",\"columns\":[\"x=y\",\"*\"],\"function\":\"\"}]");
	is_tables("( { from = \"p.a\"; to = \"s.b\"; function = \"s.f\"; } )",
		  "[{\"from\":\"p.a\",\"to\":\"s.b\",\"columns\":[],\"function\":\"s.f\"}]");
	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
		snprintf(text, sizeof text, "inbox = ( { " TAKES " %s } );", wrong[i][0]);
		refused(text, wrong[i][1]);
	}
}

static void check_capture(const struct config *c)
{
	const struct config_capture *x = &c->captures[0];

	is_number(x->order, CONFIG_ORDER_COMMIT, "in commit order");
	is_number(x->format, CAPTURE_FORMAT_ROW, "rows");
	is_number(x->snapshot, CONFIG_SNAPSHOT_KEYS, "with what is there");
	ok(x->chunk_rows == 1000 && x->chunk_bytes == 4 * MIB && x->chunk_share == 50, "in chunks");
	ok(x->wal_budget == 8000000000 && x->on_budget == CONFIG_BUDGET_WARN, "with a budget");
	ok(x->gap == CONFIG_GAP_WAIT && x->failover == CONFIG_FAILOVER_AUTO, "gap, failover");
	is_number((long long)x->stream.subject_count, 3, "the stream takes three subjects");
	is_text(x->stream.subjects[0], "cdc.shop.*.*", "of tables");
	is_text(x->stream.subjects[1], "outbox.event.>", "of the outbox table");
	is_text(x->stream.subjects[2], "p.*", "of messages");
	is_text(c->outbox_tables[0].capture, "shop", "the only one");
	is_text(c->outbox_tables[0].subject, "outbox.event.{aggregatetype>}", "as its preset says");
	is_text(c->messages[0].capture, "shop", "the only one");
	is_text(c->postgres.capture_conninfo, c->postgres.conninfo, "where the rest is");
	ok(config_capture_of(c, "shop") == x && config_capture_of(c, "x") == NULL, "by its name");
}

/* What covers another subject takes its place in the stream, for JetStream refuses two that overlap. */
static void capture_subjects(void)
{
	char said[16384];
	struct config *c =
		load("capture = ( { " CAPTURES " subject = \"a.b.{table}\"; } );\n"
		     "messages = ( { prefix = \"p\"; subject = \"a.{name>}\"; },\n"
		     "  { prefix = \"q\"; subject = \"a.q.x\"; }, { prefix = \"boxhaul\"; subject = \"b.>\"; } );",
		     said);

	is_text(said, "", "overlapping subjects of one stream");
	if (c != NULL) {
		is_number((long long)c->captures[0].stream.subject_count, 2, "are one");
		is_text(c->captures[0].stream.subjects[0], "a.>", "the wider");
		is_text(c->captures[0].stream.subjects[1], "b.>", "those of emit() as they are");
	}
	config_free(c);
	c = load("capture = ( { name = \"x\"; stream = \"KV_b\"; target = \"kv\"; tables = [ \"s.\\\"T\\\"\" ]; } );",
		 said);
	is_text(said, "", "a bucket");
	if (c != NULL) {
		is_text(c->captures[0].stream.subjects[0], "$KV.b.>", "has its subjects");
		ok(c->captures[0].subject == NULL, "and no template");
	}
	config_free(c);
}

static void captures(void)
{
	char said[16384];
	struct config *c = load(CAPTURE TABLE MESSAGES, said);

	is_text(said, "", "captures alone, with the least of a file");
	if (c != NULL)
		check_capture(c);
	config_free(c);
	capture_subjects();
	accepted(STREAMS INBOX CAPTURE);
	accepted("capture = ( { name = \"m\"; stream = \"M\"; } );" MESSAGES);
	accepted("capture = ( { name = \"m\"; stream = \"M\"; inserts_only = [ \"a.b\" ]; } );");
	accepted(STREAMS "outbox_tables = ( { table = \"a.b\"; preset = \"go-outbox\"; source = \"trigger\";\n"
			 "subject = \"orders.{topic>}\"; } );");
	accepted(
		STREAMS
		"capture = ( { name = \"a\"; stream = \"ORDERS\"; tables = [ \"a.b\" ]; order = \"key\"; subject = \"orders.{key}\"; },\n"
		"{ name = \"b\"; stream = \"ORDERS\"; tables = [ \"a.b\" ]; order = \"key\"; } );");
}

static void wrong_captures(void)
{
	static const char *const wrong[][2] = {
		{ "tables = [ \"orders\" ];", "capture.tables: \"orders\" is no table with its schema" },
		{ "tables = [ \"public.Orders\" ];", "is no table with its schema" },
		{ "tables = [ \"a.b\", \"a.\\\"b\\\"\" ];", "capture.tables: \"a.\"b\"\" stands twice" },
		{ "tables = [ \"a.b\" ]; inserts_only = [ \"a.b\" ];", "capture.inserts_only: \"a.b\" stands twice" },
		{ "", "this group of capture has nothing to capture: add tables" },
		{ "tables = [ \"a.b\" ]; subject = \"{table}\";", "begins with a name, so it could be anybody's" },
		{ "tables = [ \"a.b\" ]; subject = \"cdc.{table\";", "has a { without its name and }" },
		{ "tables = [ \"a.b\" ]; subject = \"cdc..{table}\";", "is no subject that can be published to" },
		{ "tables = [ \"a.b\" ]; subject = \"$SYS.{table}\";", "is no subject that can be published to" },
		{ "tables = [ \"a.b\" ]; subject = \"orders.{table}\";",
		  "\"orders.*\" overlaps \"orders.>\" of the stream ORDERS" },
		{ "tables = [ \"a.b\" ]; chunk_share = 101;",
		  "capture.chunk_share = 101 is out of range: from 1 to 100" },
		{ "tables = [ \"a.b\" ]; wal_budget = \"1MB\";", "capture.wal_budget = 1MB is out of range" },
		{ "tables = [ \"a.b\" ]; format = \"json\";",
		  "capture.format = \"json\" is not known: write \"row\", \"text\", \"debezium\" or \"cloudevents\"" },
		{ "tables = [ \"a.b\" ]; target = \"kv\";", "capture.stream = \"C\" is no bucket's" },
		{ "tables = [ \"a.b\" ]; " BUCKET " subject = \"a\";", "capture.subject is not for target = \"kv\"" },
		{ "tables = [ \"a.b\" ]; " BUCKET " create = true;", "capture.create is not for target = \"kv\"" },
		{ "tables = [ \"a.b\", \"c.b\" ]; " BUCKET, "a.b and c.b have the same keys in one bucket" },
		{ "tables = [ \"a.b\" ]; skip_applied = [ \"s\" ];", "capture.skip_applied leaves changes out" },
		{ "tables = [ \"a.b\" ]; poison = \"hold\";",
		  "capture.poison: stream C is to be in one order, and poison = \"hold\" would stop all of it behind one dead letter: use \"skip\"" },
		{ "inserts_only = [ \"a.b\" ]; " BUCKET, "capture.inserts_only is not for target = \"kv\"" },
		{ "tables = [ \"a.b\" ]; table = [ \"a.b\" ];",
		  "unknown key capture.table: did you mean capture.tables?" },
	};
	static const char *const names[] = { "", "Shop", "a-b", "a.b", "12345678901234567890123456789012345678901" };
	char text[1024];

	refused("capture = ( { stream = \"A\"; tables = [ \"a.b\" ]; } );", ":1: this group of capture has no name");
	refused("capture = ( { name = \"a\"; tables = [ \"a.b\" ]; } );", ":1: this group of capture has no stream");
	refused("capture = ( { " CAPTURES " },\n{ name = \"shop\"; stream = \"B\"; tables = [ \"a.b\" ]; } );",
		":2: capture.name = \"shop\" stands twice (line 1)");
	refused("capture = ( { " CAPTURES " },\n{ name = \"b\"; stream = \"CDC\"; tables = [ \"a.b\" ]; } );",
		":2: capture.stream = \"CDC\" is another capture's, too (line 1)");
	accepted("capture = ( { " CAPTURES " },\n{ name = \"b\"; stream = \"B\"; tables = [ \"a.b\" ]; } );");
	refused("capture = ( { " CAPTURES " },\n{ name = \"b\"; stream = \"B\"; tables = [ \"a.b\" ]; subject = "
		"\"cdc.{schema}.{table}.x\"; } );",
		":2: capture.subject: \"cdc.*.*.x\" overlaps \"cdc.shop.*.*\" of the stream CDC");
	refused("streams = ( { name = \"CDC\"; subjects = [ \"x\" ]; } );\n" CAPTURE,
		":2: capture.stream = \"CDC\" is the outbox's, too (line 1)");
	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
		snprintf(text, sizeof text, STREAMS "capture = ( { name = \"a\"; %s %s } );",
			 strstr(wrong[i][0], "stream =") != NULL ? "" : "stream = \"C\";", wrong[i][0]);
		refused(text, wrong[i][1]);
	}
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		snprintf(text, sizeof text, "capture = ( { name = \"%s\"; stream = \"A\"; tables = [ \"a.b\" ]; } );",
			 names[i]);
		refused(text, "is not usable: write up to 40 small letters, digits and '_'");
	}
}

static void wrong_outbox_tables(void)
{
	static const char *const wrong[][2] = {
		{ CAPTURE "outbox_tables = ( { table = \"a.b\"; subject = \"a\"; } );", "has no payload: add payload" },
		{ CAPTURE "outbox_tables = ( { table = \"a.b\"; payload = \"p\"; } );", "has no subject" },
		{ CAPTURE "outbox_tables = ( { table = \"b\"; preset = \"debezium\"; } );",
		  "is no table with its schema" },
		{ CAPTURE "outbox_tables = ( { table = \"a.b\"; preset = \"x\"; payload = \"p\"; subject = \"s\"; } );",
		  "outbox_tables.preset = \"x\" is not known" },
		{ CAPTURE "outbox_tables = ( { table = \"a.b\"; preset = \"debezium\"; capture = \"x\"; } );",
		  "outbox_tables.capture = \"x\" is no capture" },
		{ CAPTURE "outbox_tables = ( { table = \"public.orders\"; preset = \"debezium\"; } );",
		  "\"public.orders\" is one of capture.tables, too" },
		{ CAPTURE
		  "outbox_tables = ( { table = \"a.b\"; preset = \"debezium\"; },\n{ table = \"a.b\"; preset = \"debezium\"; } );",
		  ":3: outbox_tables.table = \"a.b\" stands twice (line 2)" },
		{ STREAMS TABLE, "outbox_tables needs a capture that sends them: add capture" },
		{ STREAMS "outbox_tables = ( { table = \"a.b\"; preset = \"debezium\"; source = \"trigger\"; } );",
		  "no stream takes the subjects \"outbox.event.>\" of this table" },
		{ STREAMS
		  "outbox_tables = ( { table = \"a.b\"; preset = \"go-outbox\"; source = \"trigger\"; subject = \"orders.x\"; capture = \"a\"; } );",
		  "outbox_tables.capture is not for source = \"trigger\"" },
		{ "capture = ( { " CAPTURES
		  " }, { name = \"b\"; stream = \"B\"; tables = [ \"a.b\" ]; subject = \"b\"; } );\n" MESSAGES,
		  "this group of messages does not say which capture sends them" },
		{ "capture = ( { name = \"x\"; stream = \"KV_b\"; target = \"kv\"; tables = [ \"a.b\" ]; } );\n" MESSAGES,
		  "messages: the capture \"x\" has target = \"kv\"" },
		{ CAPTURE "messages = ( { prefix = \"a/b\"; subject = \"a\"; } );",
		  "messages.prefix = \"a/b\" is not usable" },
		{ CAPTURE "messages = ( { prefix = \"boxhaul.chunk\"; subject = \"a\"; } );", "is not usable" },
		{ CAPTURE "messages = ( { prefix = \"a\"; subject = \"a.{table}\"; } );",
		  "has {table}, which nothing stands for here" },
		{ CAPTURE "messages = ( { prefix = \"a\"; subject = \"a.{name>}.b\"; } );",
		  "has {name>} beside something else" },
		{ CAPTURE "messages = ( { prefix = \"a\"; subject = \"a\"; },\n{ prefix = \"a\"; subject = \"b\"; } );",
		  ":3: messages.prefix = \"a\" stands twice (line 2)" },
		{ CAPTURE "messages = ( { prefix = \"boxhaul\"; subject = \"a.{name}\"; } );",
		  "is no pattern of subjects" },
	};

	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
		refused(wrong[i][0], wrong[i][1]);
}

static const struct setting *setting(const char *path)
{
	return setting_find(path);
}

static void check_sagas(const struct config *c)
{
	const struct config_subscription *s = &c->subscriptions[c->subscription_count - 1];

	ok(c->subscription_count == c->inbox_count + 1, "they add a subscription to those of the file");
	is_text(s->name, "sagas.replies", "by a name that no file can say");
	is_text(s->stream, "ANSWERS", "of their stream");
	ok(s->subject_count == 1, "and of one subject");
	is_text(s->subjects[0], "s.saga", "the one of the answers");
	is_text(s->handler, "boxhaul.saga_reply", "which a function handles");
	ok(s->on_gap == INBOX_ON_GO_ON && s->on_recreated == INBOX_ON_GO_ON && s->dedupe == INBOX_DEDUPE_IDS &&
		   s->poison == POISON_SKIP,
	   "an answer that is lost is asked for again, so nothing of the stream stops it");
	ok(config_source(c, setting("inbox.name"), s) == NULL, "no file says so");
}

static void sagas(void)
{
	char said[16384];
	struct config *c = load(OTHER, said);

	is_text(said, "", "with subscriptions of the file's own");
	if (c != NULL)
		check_sagas(c);
	config_free(c);
	c = load("sagas = { stream = \"ANSWERS\"; replies = \"s.saga\"; };", said);
	is_text(said, "", "and without");
	if (c != NULL) {
		check_sagas(c);
		ok(c->sagas.tick_ms == 1000 && c->sagas.retention_ms == 30ull * DAY, "defaults");
	}
	config_free(c);
	c = load(STREAMS "sagas = { retention = \"1d\"; };", said);
	ok(c != NULL && c->subscription_count == 0 && c->sagas.replies == NULL,
	   "who only takes part says how long it remembers");
	config_free(c);
	refused(STREAMS "sagas = {\nstream = \"A\"; };",
		":3: sagas.stream is set, and sagas.replies is not: add replies = \"...\"; or leave both out");
	refused(STREAMS "sagas = { tick = \"1s\"; };", "sagas.tick is set, and sagas.replies is not");
	refused(STREAMS "sagas = { replies = \"shop.>\"; };",
		"sagas.replies = \"shop.>\" is no subject that a service can publish to");
	refused(STREAMS "sagas = { replies = \"$JS.x\"; };", "is no subject that a service can publish to");
	refused(STREAMS "sagas = { replies = \"a\"; stream = \"a.b\"; };", "sagas.stream = \"a.b\" is no stream name");
	refused(STREAMS "sagas = { replies = \"a\"; tick = \"9ms\"; };", "sagas.tick = 9ms is out of range");
	refused(STREAMS "sagas = { replies = \"a\"; retentoin = \"1d\"; };",
		"unknown key sagas.retentoin: did you mean sagas.retention?");
}

static void between_settings(void)
{
	refused(STREAMS "delivery = { retry_min = \"20s\"; };",
		":2: delivery.retry_min (20s) must be at most delivery.retry_max (by "
		"default 10s)");
	refused(STREAMS "delivery = {\nretry_max = \"50ms\"; };",
		":3: delivery.retry_min (by default 100ms) must be at most "
		"delivery.retry_max (50ms)");
	accepted(STREAMS "delivery = { retry_min = \"1s\"; retry_max = \"1s\"; };");
	refused(STREAMS "delivery = { window = 100; queue = 99; };",
		"delivery.window (100) must be at most delivery.queue (99)");
	accepted(STREAMS "delivery = { window = 100; queue = 100; };");
	refused(STREAMS "delivery = { queue_bytes = \"4MiB\"; };",
		"delivery.window_bytes (by default 8MiB) must be at most "
		"delivery.queue_bytes (4MiB)");
	refused(STREAMS "outbox = { max_message_size = \"9MiB\"; };", "outbox.max_message_size (9MiB) must be at most "
								      "delivery.window_bytes (by default 8MiB)");
	refused(STREAMS "delivery = { mark_interval = \"5s\"; };",
		"delivery.mark_interval (5s) must be less than outbox.lease (by default 5s)");
	refused(STREAMS "delivery = { ack_timeout = \"30s\"; };",
		"delivery.ack_timeout (30s) must be less than health.stall_after");
	refused("streams = ( { name = \"A\"; subjects = [ \"a\" ];\n duplicate_window = \"5001ms\"; } );\noutbox = { "
		"lease = \"6s\"; };",
		":2: streams.duplicate_window (5001ms) must be longer than outbox.lease (6s)");
	refused("streams = ( { name = \"A\"; subjects = [ \"a\" ]; } );\ndelivery = { ack_timeout = \"2m\"; };\n"
		"health = { stall_after = \"5m\"; };",
		":1: streams.duplicate_window (2m) must be longer than delivery.ack_timeout (2m)");
	/* A value that is wrong in itself is not compared. */
	refused(STREAMS "delivery = { retry_min = \"soon\"; retry_max = \"1ms\"; };", "\"soon\" is not understood");
}

static void syntax(void)
{
	refused(STREAMS "delivery = { window = 5;\n\n", "syntax error: look for a missing quote");
	refused(STREAMS "name = shop;", ":2: syntax error");
	refused(STREAMS "name = \"shop;\n\n", ":2: this quote is never closed");
	refused(STREAMS "\n\"", ":3: this quote is never closed");
	refused(STREAMS "name = \"shop\\", ":2: this quote is never closed");
	refused(STREAMS "/* never closed 99999999999", ":2: this comment is never closed");
	refused(STREAMS "@include \"/dev/null\"\n", ":2: @include is not supported");
	refused(STREAMS "/*", ":2: this comment is never closed");
	refused(STREAMS "name = \"a\";\nname = \"b\";\n",
		":3: duplicate setting name: it stands further above, too: leave one out");
	refused("\xff\xfe", "syntax error");
}

static void files(void)
{
	static char large[(1 << 20) + 2];
	char said[16384];

	ok(load_path("/nonexistent/shop.conf", said) == NULL, "a file that is missing");
	holds(said, "/nonexistent/shop.conf:1: does not exist", "says so");
	ok(load_path(directory, said) == NULL, "a directory");
	holds(said, "1: cannot be read: Is a directory", "says so");
	write_file("a\0b", 3, 0600);
	ok(load_path(file(), said) == NULL, "a NUL byte");
	holds(said, "shop.conf:1: holds a NUL byte", "says so");
	memset(large, '\n', sizeof large - 1);
	write_file(large, sizeof large - 1, 0600);
	ok(load_path(file(), said) == NULL, "a huge file");
	holds(said, "shop.conf:1: is larger than 1 MiB", "says so");
	if (geteuid() != 0) {
		write_file(STREAMS, strlen(STREAMS), 0);
		ok(load_path(file(), said) == NULL, "a file that may not be read");
		holds(said, "shop.conf:1: may not be read by this user", "says so");
	}
}

static void secrets(void)
{
	static const char text[] = STREAMS
		"postgres = { conninfo = \"host=db password=x\";\nmigrate_conninfo = \"postgresql://u:p@h/d\"; };\n"
		"nats = { urls = [ \"nats://h\",\n\"nats://u:p@h\", \"nats://t@h\" ]; };";
	static const char harmless[] = STREAMS "postgres = { conninfo = \"host=db user=x\"; password_file = \"/x\"; };";
	char said[16384];
	struct config *c;

	write_file(text, strlen(text), 0644);
	c = load_path(file(), said);
	ok(c != NULL, "a password that everybody may read is no failure");
	is_number(lines(said), 4, "but four warnings");
	holds(said, "shop.conf:2: warning: postgres.conninfo holds a password", "conninfo");
	holds(said, "shop.conf:3: warning: postgres.migrate_conninfo holds a password", "migrate_conninfo");
	holds(said, "shop.conf:5: warning: nats.urls holds a password", "a URL");
	config_free(c);
	chmod(file(), 0640);
	c = load_path(file(), said);
	is_text(said, "", "others may not read it: no warning");
	config_free(c);
	write_file(harmless, strlen(harmless), 0644);
	c = load_path(file(), said);
	is_text(said, "", "no password: no warning");
	config_free(c);
}

static void names(void)
{
	char other[64], said[16384], *path;
	struct config *c;

	accepted(STREAMS "name = \"\";");
	snprintf(other, sizeof other, "%s/my shop.conf", directory);
	write_file(STREAMS, strlen(STREAMS), 0600);
	if (rename(file(), other) != 0)
		abort();
	c = load_path(other, said);
	ok(c == NULL, "a file name that cannot be the instance's");
	holds(said, "my shop.conf:1: name = \"my shop\" is not usable", "says so");
	unlink(other);
	path = config_path("shop");
	is_text(path, "/etc/boxhaul/shop.conf", "an instance");
	free(path);
	path = config_path("./shop");
	is_text(path, "./shop", "a path");
	free(path);
	path = config_path("shop.conf");
	is_text(path, "shop.conf", "a file here");
	free(path);
}

static char *sample(void)
{
	char *text;
	size_t n;
	FILE *out = open_memstream(&text, &n);

	settings_sample(out);
	fclose(out);
	return text;
}

/* The sample loads as it is, and again with every line that is commented out in force. */
static void samples(void)
{
	char *text = sample(), said[16384];
	struct config *c = load(text, said);

	is_text(said, "", "the sample is a good file");
	if (c != NULL)
		check_defaults(c);
	config_free(c);
	for (const struct setting *s = settings; s < settings + settings_count; s++) {
		const char *leaf = strrchr(s->path, '.') != NULL ? strrchr(s->path, '.') + 1 : s->path;
		char line[128];

		snprintf(line, sizeof line, "%s = ", leaf);
		holds(text, line, s->path);
	}
	for (char *p = text; *p != '\0'; p++)
		if (*p == '#' && p[1] != ' ')
			*p = ' ';
	c = load(text, said);
	ok(c == NULL, "the sample with everything in force has one thing wrong:");
	is_number(lines(said), 5,
		  "four ways to log in, two to say where JetStream is, and rows read beside changes left out");
	holds(said, "two ways to log in", "the first");
	holds(said, "nats.jetstream_domain and nats.jetstream_prefix", "the second, and nothing else");
	config_free(c);
	free(text);
}

/* A bare name means a file among systemd's credentials; where there are none it stays as it is. */
static void credentials(void)
{
	static const char *const directories[][2] = {
		{ "/run/c", "/run/c/t" }, { "c", "t" }, { "", "t" }, { NULL, "t" }
	};
	char said[16384];

	for (size_t i = 0; i < sizeof directories / sizeof directories[0]; i++) {
		struct config *c;

		if (directories[i][0] != NULL)
			setenv("CREDENTIALS_DIRECTORY", directories[i][0], 1);
		else
			unsetenv("CREDENTIALS_DIRECTORY");
		c = load(STREAMS "nats = { token_file = \"t\"; tls = { ca_file = \"/etc/ca\"; }; };", said);
		if (ok(c != NULL, "loaded")) {
			is_text(c->nats.token_file, directories[i][1], "a bare name");
			is_text(c->nats.tls.ca_file, "/etc/ca", "an absolute path");
			ok(c->nats.tls.required, "an authority switches TLS on");
		}
		config_free(c);
	}
}

/* Every setting has two values that are told apart, and one that can be shared is the same then. */
static void changes(void)
{
	char said[16384];
	struct config *a = load(STREAMS INBOX CAPTURE TABLE MESSAGES, said), *b = load(OTHER, said), c;
	struct config_subscription s1;

	is_text(said, "", "two good files");
	for (const struct setting *s = settings; s < settings + settings_count; s++) {
		const struct setting *list = setting_list_of(s);
		const void *x = list != NULL ? setting_element(list, a, 0) : a,
			   *y = list != NULL ? setting_element(list, b, 0) : b;

		if (strcmp(s->path, "nats.token_file") == 0 || strcmp(s->path, "nats.credentials_file") == 0 ||
		    strcmp(s->path, "nats.nkey_seed_file") == 0)
			continue; /* there is one way to log in */
		if (strcmp(s->path, "inbox.tables") == 0)
			continue; /* one with a handler has none */
		if (strcmp(s->path, "inbox.on_recreated") == 0)
			continue; /* the file has "position", which has one value for it */
		if (strcmp(s->path, "streams.owned") == 0)
			continue; /* the file has an ordering, and a poison, with which there is one value for it */
		if (strcmp(s->path, "capture.target") == 0)
			continue; /* a bucket has other rules for half of the rest: captures() */
		ok(setting_same(s, x, x) && setting_same(s, y, y), "%s is the same as itself", s->path);
		ok(!setting_same(s, x, y) && !setting_same(s, y, x),
		   "%s has two values that are told apart (a new setting wants one in OTHER)", s->path);
		if (list != NULL && s->apply == APPLY_LIVE)
			ok(s->type != SETTING_STRING && s->type != SETTING_FILE && s->type != SETTING_STRINGS,
			   "%s may change while the relay runs: it is no text, of which nobody would be the owner",
			   s->path);
		if (list != NULL || s->type == SETTING_GROUPS)
			continue;
		c = *a;
		setting_share(s, &c, b);
		ok(setting_same(s, &c, b) && !setting_same(s, &c, a), "%s can be shared", s->path);
	}
	c = *a;
	ok(config_check_fits(&c, said, sizeof said) && config_check_fits(b, said, sizeof said),
	   "what stands in one file fits");
	setting_share(setting("delivery.mark_interval"), &c, b);
	ok(!config_check_fits(&c, said, sizeof said), "of two files, it may not");
	is_text(said,
		"delivery.mark_interval (6s) must be less than outbox.lease (5s): a mark is the sign of life that renews it",
		"and why");
	c = *a;
	setting_share(setting("delivery.ack_timeout"), &c, b);
	setting_share(setting("health.stall_after"), &c, b);
	ok(!config_check_fits(&c, said, sizeof said), "a window of the stream that is too short");
	holds(said, "streams.duplicate_window (2m) must be longer than delivery.ack_timeout (3m)", "and why");
	s1 = b->subscriptions[0];
	s1.on_recreated = INBOX_ON_GO_ON;
	c = *b;
	c.subscriptions = &s1;
	c.subscription_count = 1;
	ok(!config_check_fits(&c, said, sizeof said), "a stream made anew, and nothing but the position");
	holds(said, "inbox.on_recreated = \"restart\" needs inbox.dedupe = \"ids\"", "and why");
	config_free(a);
	config_free(b);
}

int main(void)
{
	if (mkdtemp(directory) == NULL)
		return 99;
	defaults();
	everything();
	many_mistakes();
	unknown_keys();
	wrong_types();
	values();
	large_numbers();
	listening();
	nats();
	streams();
	count_streams(LIMIT_STREAMS, true);
	count_streams(LIMIT_STREAMS + 1, false);
	subscriptions();
	wrong_subscriptions();
	sinks();
	captures();
	wrong_captures();
	wrong_outbox_tables();
	sagas();
	between_settings();
	syntax();
	files();
	secrets();
	credentials();
	names();
	samples();
	changes();
	unlink(file());
	rmdir(directory);
	return done_testing();
}
