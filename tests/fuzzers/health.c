/* Any strings and numbers as the facts behind the pages: what servers say in their errors ends up there. /metrics is
 * Prometheus' text format, /status is JSON and holds what it was given, /readyz is one line. */
#include "health.h"

#include "core/pace.h"
#include "ledger.h"
#include "loopback.h"

enum { STREAMS = 2 };

static struct delivery_stats stats;
static struct backlog_figures backlog;
static struct publisher_figures publisher;
static uint64_t statements[STATEMENTS];
static struct health_facts facts = {
	.stats = &stats,
	.backlog = &backlog,
	.publisher = &publisher,
	.statements = statements,
	.nats_url = "",
	.stream_count = STREAMS,
};

static void collect(void *arg, struct health_facts *f)
{
	(void)arg;
	*f = facts;
}

static struct loop *open_port(void)
{
	struct loop *loop = loop_create();
	char error[256] = "";

	if (health_open(loop, "127.0.0.1", 0, collect, NULL, error, sizeof error) == NULL) {
		fprintf(stderr, "%s\n", error);
		abort();
	}
	return loop;
}

/* Bits, numbers, and texts that end in a zero byte. */
static void read_facts(struct input *in, char *texts[11])
{
	unsigned bits = take_byte(in);
	int64_t number = 0;

	for (int i = 0; i < 8; i++)
		number = (int64_t)((uint64_t)number << 8 | take_byte(in));
	for (int i = 0; i < 11; i++)
		texts[i] = take_text(in, '\0', NULL);
	stats.pace = (enum pace_mode)(bits % (PACE_ASLEEP + 1));
	facts.postgres_up = (bits & 4) != 0;
	facts.nats_up = (bits & 8) != 0;
	facts.leads = (bits & 16) != 0;
	facts.stands_by = (bits & 32) != 0;
	facts.epoch = stats.position = stats.read = number;
	stats.acked = stats.stream[0].acked = stats.stream[1].sequence = (uint64_t)number;
	stats.stream[0].blocked = (bits & 64) != 0;
	stats.stream[1].blocked = (bits & 128) != 0;
	backlog.known = (bits & 1) != 0;
	backlog.messages = publisher.payload_bytes = stats.refusals[0].count = (uint64_t)number;
	backlog.oldest_us = backlog.oldest_any_us = number;
	backlog.dead_letters = stats.parked_ranges = (uint32_t)number;
	stats.refusals[0].reason = (uint32_t)number;
	histogram_add(&publisher.ack, number);
	facts.reload_failed = (bits & 2) != 0;
	facts.instance = texts[0];
	facts.role = texts[1];
	facts.trouble = texts[2];
	facts.postgres_why = texts[3];
	facts.nats_why = texts[4];
	facts.paused = (bits & 1) != 0 ? texts[2] : "";
	for (int i = 0; i < STREAMS; i++) {
		facts.stream[i].name = texts[5 + i];
		facts.stream[i].reason = texts[7 + i];
		facts.stream[i].detail = texts[9 + i];
	}
	snprintf(facts.stall, sizeof facts.stall, "%s", texts[2]);
}

static char *get(struct loop *loop, const char *path)
{
	char request[80];

	snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", path);
	return ask(loop, request, strlen(request), NULL);
}

/* name{label="value"} number, or name number. Returns what comes behind it. */
static const char *skip_sample(const char *p)
{
	p += strspn(p, "abcdefghijklmnopqrstuvwxyz_");
	if (*p == '{') {
		p += 1 + strspn(p + 1, "abcdefghijklmnopqrstuvwxyz_");
		promise(strncmp(p, "=\"", 2) == 0, "a label: %.20s", p);
		for (p += 2; *p != '"' && *p != '\0' && *p != '\n'; p++)
			if (*p == '\\' && *++p != 'n' && *p != '"' && *p != '\\')
				promise(false, "an escape: %.20s", p);
		promise(strncmp(p, "\"}", 2) == 0, "the end of a label: %.20s", p);
		p += 2;
	}
	promise(*p == ' ' && p[1] != '\n', "no value: %.20s", p);
	return p + 1 + strspn(p + 1, "-.0123456789");
}

static void check_metrics(const char *reply)
{
	const char *body = body_of(reply), *type;

	promise(status_of(reply) == 200 && is_utf8(body, strlen(body)), "the page: %s", reply);
	for (const char *line = body, *end; *line != '\0'; line = end + 1) {
		end = *line == '#' ? strchr(line, '\n') : skip_sample(line);
		promise(end != NULL && *end == '\n', "a line: %.60s", line);
		type = strstr(line, "# TYPE ") == line ? end : NULL;
		promise(type == NULL || strncmp(type - 6, " gauge", 6) == 0 || strncmp(type - 8, " counter", 8) == 0 ||
				strncmp(type - 10, " histogram", 10) == 0,
			"a type: %.60s", line);
	}
}

/* A text is there as it was given, if it is one line of UTF-8 and not too long. */
static void check_text(const json_t *o, const char *key, const char *given)
{
	const char *text = json_string_value(json_object_get(o, key));
	bool as_given = is_utf8(given, strlen(given)) && strlen(given) < 512;

	promise(text != NULL, "no %s", key);
	for (const char *p = given; *p != '\0'; p++)
		as_given = as_given && !is_control(p);
	promise(!as_given || strcmp(text, given) == 0, "%s is %s", key, text);
	for (const char *p = text; *p != '\0'; p++)
		promise(!is_control(p), "byte %d in %s", *p, key);
}

static void check_status(const char *reply)
{
	json_t *o = json_loads(body_of(reply), JSON_REJECT_DUPLICATES, NULL);
	const json_t *streams = json_object_get(o, "streams");

	promise(status_of(reply) == 200 && json_is_object(o), "no JSON: %s", reply);
	check_text(o, "instance", facts.instance);
	check_text(o, "role", facts.role);
	if (!facts.postgres_up)
		check_text(json_object_get(o, "postgres"), "why", facts.postgres_why);
	promise(json_integer_value(json_object_get(o, "position")) == stats.position, "position");
	promise(json_array_size(streams) == STREAMS, "streams");
	for (size_t i = 0; i < STREAMS; i++) {
		check_text(json_array_get(streams, i), "name", facts.stream[i].name);
		if (stats.stream[i].blocked)
			check_text(json_array_get(streams, i), "detail", facts.stream[i].detail);
	}
	json_decref(o);
}

static void check_ready(const char *reply)
{
	const char *body = body_of(reply);
	size_t n = strlen(body);

	promise(status_of(reply) == 200 || status_of(reply) == 503, "status %d", status_of(reply));
	promise((status_of(reply) == 200) == (strncmp(body, "ready: ", 7) == 0), "%s", reply);
	promise(n > 0 && body[n - 1] == '\n' && is_utf8(body, n), "the page: %s", body);
	for (const char *p = body; p < body + n - 1; p++)
		promise(!is_control(p), "byte %d", *p);
}

/* Every < opens or closes an element that the page is made of: none of what was given does. */
static void check_page(const char *reply)
{
	static const char *const elements[] = { "!DOCTYPE",   "html",    "head",  "meta",   "title", "link", "noscript",
						"script",     "body",    "main",  "header", "h1",    "h2",   "span",
						"p",          "section", "dl",    "dt",     "dd",    "div",  "figure",
						"figcaption", "svg",     "line",  "path",   "ul",    "li",   "code",
						"table",      "thead",   "tbody", "tr",     "th",    "td",   "footer",
						"nav",        "a" };
	const char *body = body_of(reply);

	promise(status_of(reply) == 200 && is_utf8(body, strlen(body)), "the page: %.60s", reply);
	for (const char *p = strchr(body, '<'); p != NULL; p = strchr(p, '<')) {
		size_t n = strspn(p += 1 + (p[1] == '/'), "!ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz12");
		bool ours = false;

		for (size_t i = 0; i < sizeof elements / sizeof elements[0]; i++)
			ours = ours || (strlen(elements[i]) == n && strncmp(elements[i], p, n) == 0);
		promise(ours, "an element: %.40s", p);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct loop *loop;
	struct input in = { data, size };
	char *texts[11], *reply;

	if (loop == NULL)
		loop = open_port();
	read_facts(&in, texts);
	check_metrics(reply = get(loop, "/metrics"));
	free(reply);
	check_status(reply = get(loop, "/status"));
	free(reply);
	check_page(reply = get(loop, "/"));
	free(reply);
	check_ready(reply = get(loop, "/readyz"));
	free(reply);
	for (int i = 0; i < 11; i++)
		free(texts[i]);
	return 0;
}
