/* Any strings and numbers as the facts behind the pages: what servers say in their errors ends up there. /metrics is
 * Prometheus' text format, /status and /history are JSON, the one holds what it was given, /readyz is a line or two. All say the
 * same verdict. */
#include "watch/health.h"

#include "base/utf8.h"
#include "books/ledger.h"
#include "edge/pg.h"
#include "flow/publisher.h"
#include "loopback.h"
#include "watch/verdict.h"

enum { STREAMS = 2 };

static struct delivery_stats stats;
static struct backlog_figures backlog = { .hot = "" };
static struct publisher_figures publisher;
static uint64_t statements[STATEMENTS];
static struct inbox_stats taken;
static struct inbox_backlog rows;
static uint64_t inbox_statements[PG_STATEMENTS];
static struct saga_figures sagas = { .kinds = 2 };
static struct inbox_facts inbox = {
	.postgres_why = "",
	.nats_why = "",
	.statements = inbox_statements,
	.cleaning = "",
	.sagas = { .trouble = "", .figures = &sagas },
	.count = 1,
	.subscription = { { .name = "billing",
			    .stream = "ORDERS",
			    .role = "leader",
			    .trouble = "",
			    .state = "",
			    .stats = &taken,
			    .refused = "",
			    .failed = "",
			    .handler = { .trouble = "" },
			    .backlog = &rows } },
};
static struct facts facts = {
	.inbox = &inbox,
	.stats = &stats,
	.backlog = &backlog,
	.publisher = &publisher,
	.statements = statements,
	.nats_url = "",
	.led_by = "",
	.target = "",
	.paused_by = "",
	.instance = "",
	.database = "",
	.role = "",
	.trouble = "",
	.postgres_why = "",
	.nats_why = "",
	.stream_count = STREAMS,
};

static void collect(void *arg, struct facts *f)
{
	(void)arg;
	*f = facts;
}

static struct loop *open_port(void)
{
	struct loop *loop = loop_create();
	char error[256] = "";

	if (health_open(loop, "127.0.0.1", 0, &(struct health_handlers){ .collect = collect }, error, sizeof error) ==
	    NULL) {
		fprintf(stderr, "%s\n", error);
		abort();
	}
	return loop;
}

static void read_inbox(unsigned bits, int64_t number, char *texts[11])
{
	struct inbox_subscription_facts *s = &inbox.subscription[0];

	taken.stop = (enum inbox_stop)(bits % (INBOX_STOP_REFUSED + 1));
	taken.position = taken.stop_from = taken.stop_to = s->taken = (uint64_t)number;
	s->name = texts[5];
	s->stream = texts[6];
	s->trouble = s->handler.trouble = texts[2];
	s->refused = s->failed = inbox.cleaning = texts[3];
	inbox.postgres_why = inbox.nats_why = texts[4];
	s->leads = (bits & 16) != 0;
	s->lag_known = rows.known = rows.blocked_has_key = (bits & 1) != 0;
	s->lag_us = rows.oldest_us = rows.blocked_id = number;
	s->witness_ms = (bits & 8) != 0 ? 0 : INBOX_NEVER;
	snprintf(rows.blocked_key, sizeof rows.blocked_key, "%s", texts[7]);
	snprintf(rows.blocked_error, sizeof rows.blocked_error, "%s", texts[8]);
}

static void read_sagas(unsigned bits, int64_t number, char *texts[11])
{
	inbox.sagas.here = (bits & 2) != 0;
	inbox.sagas.leads = sagas.known = (bits & 1) != 0;
	inbox.sagas.trouble = texts[3];
	sagas.open = sagas.stuck = sagas.kind[0].open = (uint64_t)number;
	sagas.worst_us = sagas.late_us = sagas.oldest_us = number;
	snprintf(sagas.worst_id, sizeof sagas.worst_id, "%s", texts[5]);
	snprintf(sagas.worst_why, sizeof sagas.worst_why, "%s", texts[8]);
	snprintf(sagas.kind[0].name, sizeof sagas.kind[0].name, "%s", texts[6]);
	snprintf(sagas.kind[1].state, sizeof sagas.kind[1].state, "%s", texts[7]);
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
	backlog.hot = texts[10];
	backlog.messages = publisher.payload_bytes = stats.refusals[0].count = (uint64_t)number;
	backlog.oldest_us = backlog.oldest_any_us = number;
	backlog.dead_letters = stats.parked_ranges = (uint32_t)number;
	stats.refusals[0].reason = (uint32_t)number;
	histogram_add(&publisher.ack, number);
	facts.reload_ok = (bits & 2) == 0;
	facts.instance = texts[0];
	facts.database = texts[9];
	facts.server = (uint64_t)number;
	facts.role = texts[1];
	facts.trouble = texts[2];
	facts.postgres_why = texts[3];
	facts.nats_why = texts[4];
	facts.paused = stats.paused = (bits & 1) != 0;
	facts.paused_by = facts.led_by = facts.cleaning = texts[2];
	facts.target = facts.instance;
	for (int i = 0; i < STREAMS; i++) {
		facts.stream[i].name = texts[5 + i];
		snprintf(facts.stream[i].reason, sizeof facts.stream[i].reason, "%s", texts[7 + i]);
		facts.stream[i].detail = texts[9 + i];
	}
	snprintf(facts.stall, sizeof facts.stall, "%s", texts[2]);
	snprintf(facts.refused, sizeof facts.refused, "%s", texts[3]);
	read_inbox(bits, number, texts);
	read_sagas(bits, number, texts);
}

static char *get(struct loop *loop, const char *path)
{
	char request[80];

	snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", path);
	return ask(loop, request, strlen(request), NULL);
}

/* label="value". Returns what comes behind it. */
static const char *skip_label(const char *p)
{
	p += strspn(p, "abcdefghijklmnopqrstuvwxyz_");
	promise(strncmp(p, "=\"", 2) == 0, "a label: %.20s", p);
	for (p += 2; *p != '"' && *p != '\0' && *p != '\n'; p++)
		if (*p == '\\' && *++p != 'n' && *p != '"' && *p != '\\')
			promise(false, "an escape: %.20s", p);
	promise(*p == '"' && (p[1] == ',' || p[1] == '}'), "the end of a label: %.20s", p);
	return p + 1;
}

/* name{label="value",...} number, or name number. Returns what comes behind it. */
static const char *skip_sample(const char *p)
{
	p += strspn(p, "abcdefghijklmnopqrstuvwxyz_");
	if (*p == '{') {
		do
			p = skip_label(p + 1);
		while (*p == ',');
		p++;
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
		check_text(json_object_get(o, "postgres"), "why",
			   facts.postgres_why[0] != '\0' ? facts.postgres_why : "connecting");
	promise(json_integer_value(json_object_get(o, "position")) == stats.position, "position");
	promise(json_array_size(streams) == STREAMS, "streams");
	for (size_t i = 0; i < STREAMS; i++) {
		check_text(json_array_get(streams, i), "name", facts.stream[i].name);
		if (stats.stream[i].blocked)
			check_text(json_array_get(streams, i), "detail", facts.stream[i].detail);
	}
	json_decref(o);
}

static void check_history(const char *reply)
{
	json_t *o = json_loads(body_of(reply), JSON_REJECT_DUPLICATES, NULL);

	promise(status_of(reply) == 200 && json_array_size(json_object_get(o, "samples")) > 0, "no JSON: %s", reply);
	json_decref(o);
}

static void check_ready(const char *reply)
{
	struct verdict v;
	char line[VERDICT_SUMMARY_BYTES];
	const char *body = body_of(reply);
	size_t n = strlen(body);

	verdict_of(&facts, &v);
	promise(v.ready == (status_of(reply) == 200), "another verdict: %s", v.summary);
	promise(strstr(body, utf8_line(v.summary, line, sizeof line)) != NULL, "another verdict: %s", v.summary);

	promise(status_of(reply) == 200 || status_of(reply) == 503, "status %d", status_of(reply));
	promise((status_of(reply) == 200) == (strncmp(body, "ready: ", 7) == 0), "%s", reply);
	promise(n > 0 && body[n - 1] == '\n' && is_utf8(body, n), "the page: %s", body);
	for (const char *p = body; p < body + n - 1; p++)
		promise(*p == '\n' || !is_control(p), "byte %d", *p);
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
	check_history(reply = get(loop, "/history"));
	free(reply);
	check_ready(reply = get(loop, "/readyz"));
	free(reply);
	for (int i = 0; i < 11; i++)
		free(texts[i]);
	return 0;
}
