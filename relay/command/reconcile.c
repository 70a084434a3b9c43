/* `boxhaul reconcile`: is everything that was committed stored? What the scan finds, told: line by line, or as one object. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

#include "base/hex.h"
#include "command/commands.h"
#include "command/lost_scan.h"
#include "command/session.h"

struct reconcile {
	struct lost_scan scan;
	const struct config *config;
	json_t *missing, *notes; /* NULL: it is told in lines */
};

static void on_missing(void *arg, const struct id_set_member *m)
{
	struct reconcile *r = arg;
	const char *stream = r->config->streams[m->stream].name;
	char uuid[UUID_CHARACTERS + 1];

	uuid_write(uuid, m->uuid.byte);
	if (r->missing != NULL)
		json_array_append_new(r->missing, json_pack("{s:I, s:s, s:s}", "id", (json_int_t)m->id, "stream",
							    stream, "message_id", uuid));
	else
		printf("missing: id=%" PRId64 " stream=%s message_id=%s\n", m->id, stream, uuid);
}

static void note(const struct reconcile *r, const char *text)
{
	if (r->notes != NULL)
		json_array_append_new(r->notes, json_string(text));
	else
		puts(text);
}

static void on_unrouted(void *arg, int64_t id)
{
	char text[128];

	snprintf(text, sizeof text, "not checked: id=%" PRId64 ": no stream of the configuration takes its subject",
		 id);
	note(arg, text);
}

static void note_stream(const struct reconcile *r, const struct lost_stream *v, const char *name)
{
	char text[512];

	if (v->other_retention)
		snprintf(text, sizeof text,
			 "stream %s: consumers take messages out of it: what is not there may have been", name);
	else
		snprintf(
			text, sizeof text,
			"stream %s: its first messages are gone (purged, too old, or too many): what is older than the "
			"rest cannot be checked",
			name);
	if (v->other_retention || v->starts_s > 0)
		note(r, text);
	snprintf(text, sizeof text, "stream %s: %" PRIu64 " messages have been deleted from the middle of it", name,
		 v->deleted);
	if (v->deleted > 0)
		note(r, text);
}

static void note_all(const struct reconcile *r)
{
	char text[128];

	snprintf(text, sizeof text, "rows before id %" PRId64 " are not kept any more: they cannot be checked",
		 r->scan.oldest_id);
	if (r->scan.oldest_id > 1)
		note(r, text);
	for (size_t i = 0; i < r->config->stream_count; i++)
		if (r->scan.stream[i].asked)
			note_stream(r, &r->scan.stream[i], r->config->streams[i].name);
}

static void print_figures(const struct reconcile *r)
{
	const struct lost_scan *s = &r->scan;
	char target[CONFIG_TARGET_BYTES];

	if (s->lost > 0)
		printf("%lld %s not in %s stream: `boxhaul replay %s --missing` sends %s again\n", s->lost,
		       s->lost == 1 ? "message is" : "messages are", s->lost == 1 ? "its" : "their",
		       config_target(r->config, target), s->lost == 1 ? "it" : "them");
	printf("committed=%lld stored=%lld missing=%lld pending=%lld dead=%lld discarded=%lld unchecked=%lld\n",
	       s->committed, s->stored, s->lost, s->pending, s->dead, s->discarded, s->unchecked);
}

static void print_json(struct reconcile *r)
{
	struct out out = out_open(stdout);
	const struct lost_scan *s = &r->scan;
	json_t *o =
		json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:O, s:O}", "instance", r->config->name, "committed",
			  (json_int_t)s->committed, "stored", (json_int_t)s->stored, "pending", (json_int_t)s->pending,
			  "dead", (json_int_t)s->dead, "discarded", (json_int_t)s->discarded, "unchecked",
			  (json_int_t)s->unchecked, "missing", r->missing, "notes", r->notes);

	out_json(&out, o);
	json_decref(o);
}

static enum exit_code reconcile(struct reconcile *r)
{
	enum exit_code code = lost_scan(&r->scan);

	if (code != EXIT_OK)
		return code;
	note_all(r);
	if (r->missing != NULL)
		print_json(r);
	else
		print_figures(r);
	if (fflush(stdout) != 0 || r->scan.lost > 0)
		return EXIT_FAILED;
	return r->scan.reachable ? EXIT_OK : EXIT_UNREACHABLE;
}

enum exit_code command_reconcile(const struct call *call)
{
	struct reconcile r = { .config = call->config, .scan = { .call = call } };
	enum exit_code code;

	r.scan.missing = on_missing;
	r.scan.unrouted = on_unrouted;
	r.scan.arg = &r;
	r.scan.pg = session_open(call, LOGIN_RELAY);
	if (r.scan.pg == NULL)
		return EXIT_UNREACHABLE;
	if (call->given[OPTION_JSON]) {
		r.missing = json_array();
		r.notes = json_array();
	}
	code = session_schema(r.scan.pg, call->config);
	if (code == EXIT_OK)
		code = reconcile(&r);
	json_decref(r.missing);
	json_decref(r.notes);
	pg_session_close(r.scan.pg);
	natsio_shutdown();
	return code;
}
