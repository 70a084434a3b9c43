/* `boxhaul reconcile`: is everything that was committed stored?
 *
 *     outbox --rows that are marked sent, half a million at a time--> wanted <--every message of their time-- stream
 *
 * The books only say what is not expected in a stream yet (or any more: dead letters); that a message is there, nothing says but
 * the stream. First it is read from shortly before the oldest row that is wanted; where some are not found, from its beginning. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command/commands.h"
#include "command/out.h"
#include "command/session.h"
#include "command/walk.h"
#include "command/wanted.h"
#include "hex.h"
#include "message.h"

enum { PAGE = 5000, CLOCKS_DIFFER_S = 600, TELL_EVERY = 10000, ANSWER_PATIENCE_MS = 4000 };

struct stream_view {
	bool looked, other_retention; /* something takes messages out by design */
	bool reachable;
	uint64_t deleted;
	int64_t starts_s; /* the time of its first message, if there were others before it; else 0 */
	size_t left;      /* wanted and not found */
};

struct reconcile {
	const struct config *config;
	struct pg_session *pg;
	struct natsio_session *nats;
	struct out err;
	struct wanted wanted;
	struct stream_view stream[LIMIT_STREAMS];
	uint16_t current; /* the stream that is walked through */
	uint64_t walked, to_walk;
	int64_t after, up_to, oldest_s;
	long long committed, stored, missing, pending, dead, discarded, unchecked;
};

/* --- the outbox --- */

static const char page_query[] =
	"SELECT m.id, m.message_id, m.subject, pg_catalog.floor(extract(epoch FROM m.created_at))::pg_catalog.int8,"
	" CASE WHEN m.state = 'sent' AND EXISTS (SELECT FROM boxhaul.discarded d WHERE d.id = m.id) THEN 'discarded'"
	"  ELSE m.state END"
	" FROM boxhaul.messages m WHERE m.id > $1 AND m.id <= $2 ORDER BY m.id LIMIT $3::pg_catalog.int4";

static uint16_t stream_of(const struct config *c, const char *subject)
{
	uint16_t i;

	for (i = 0; i < c->stream_count; i++)
		for (size_t j = 0; j < c->streams[i].subject_count; j++)
			if (message_subject_matches(c->streams[i].subjects[j], subject))
				return i;
	return i;
}

static void take_row(struct reconcile *r, const struct pg_result *page, int row)
{
	struct wanted_message m = { .id = strtoll(pg_text(page, row, 0), NULL, 10),
				    .created_s = strtoll(pg_text(page, row, 3), NULL, 10),
				    .stream = stream_of(r->config, pg_text(page, row, 2)) };
	const char *state = pg_text(page, row, 4);

	r->after = m.id;
	r->committed++;
	if (strcmp(state, "discarded") == 0) {
		r->discarded++;
	} else if (strcmp(state, "dead") == 0 || strcmp(state, "held") == 0) {
		r->dead++;
	} else if (strcmp(state, "sent") != 0) {
		r->pending++;
	} else if (m.stream == r->config->stream_count ||
		   !stored_id_read(pg_text(page, row, 1), strlen(pg_text(page, row, 1)), &m.uuid)) {
		r->unchecked++;
		printf("not checked: id=%" PRId64 ": no stream of the configuration takes its subject\n", m.id);
	} else {
		wanted_add(&r->wanted, &m);
		r->stream[m.stream].left++;
		if (m.created_s < r->oldest_s)
			r->oldest_s = m.created_s;
	}
}

/* As many as there is room for. *end: there are no more. */
static enum exit_code fill(struct reconcile *r, bool *end)
{
	char after[24], up_to[24], most[24];
	const char *p[] = { after, up_to, most };

	wanted_clear(&r->wanted);
	r->oldest_s = INT64_MAX;
	for (int n = PAGE; n == PAGE && r->wanted.count + PAGE <= WANTED_MAX;) {
		const struct pg_result *page;

		snprintf(after, sizeof after, "%" PRId64, r->after);
		snprintf(up_to, sizeof up_to, "%" PRId64, r->up_to);
		snprintf(most, sizeof most, "%d", PAGE);
		page = pg_session_run(r->pg, page_query, 3, p);
		if (pg_error(page) != NULL)
			return session_failed("cannot read the outbox", page);
		n = pg_rows(page);
		*end = n < PAGE;
		for (int i = 0; i < n; i++)
			take_row(r, page, i);
	}
	return EXIT_OK;
}

/* --- the streams --- */

static bool on_stored(void *arg, const struct stored_message *m)
{
	struct reconcile *r = arg;
	struct wanted_message *w = m->has_id ? wanted_find(&r->wanted, &m->id) : NULL;

	if (w != NULL && !w->found && w->stream == r->current) {
		w->found = true;
		r->stored++;
		r->stream[r->current].left--;
	}
	if (r->err.terminal && ++r->walked % TELL_EVERY == 0)
		fprintf(stderr, "\rstream %s: %" PRIu64 " of %" PRIu64 " messages\033[K",
			r->config->streams[r->current].name, r->walked, r->to_walk);
	return r->stream[r->current].left > 0;
}

static bool on_first(void *arg, const struct stored_message *m)
{
	struct stream_view *v = arg;

	v->starts_s = m->time_s;
	return false;
}

/* What may have gone from it since. */
static void judge(struct reconcile *r, const struct walk *w, const struct stored_stream *s, struct stream_view *v)
{
	struct walk first = *w;
	struct natsio_stream_info info;
	char error[256];

	v->deleted = s->deleted;
	v->starts_s = 0;
	if (natsio_session_stream(r->nats, w->stream, &info, error, sizeof error)) {
		v->other_retention = info.exists && info.retention != 0;
		natsio_stream_info_free(&info);
	}
	if (s->first <= 1)
		return;
	v->starts_s = INT64_MAX; /* nothing is left of it */
	first.stored = on_first;
	first.arg = v;
	if (s->first <= s->last)
		walk_range(&first, s->first, s->first);
}

static bool walk_stream(struct reconcile *r, const struct walk *w, struct stream_view *v)
{
	struct stored_stream s;
	uint64_t from;

	if (!walk_info(w, &s))
		return false;
	judge(r, w, &s, v);
	if (s.last == 0 || s.first > s.last)
		return true;
	if (!walk_to_time(w, s.first, s.last, r->oldest_s - CLOCKS_DIFFER_S, &from))
		return false;
	r->walked = 0;
	r->to_walk = s.last - from + 1;
	if (!walk_range(w, from, s.last))
		return false;
	r->to_walk += from - s.first;
	return v->left == 0 || from == s.first || walk_range(w, s.first, from - 1);
}

static void walk_streams(struct reconcile *r)
{
	for (r->current = 0; r->current < r->config->stream_count; r->current++) {
		struct stream_view *v = &r->stream[r->current];
		struct walk w = {
			.session = r->nats,
			.stream = r->config->streams[r->current].name,
			.patience_ms = ANSWER_PATIENCE_MS,
			.stored = on_stored,
			.arg = r,
		};

		if (v->left == 0)
			continue;
		v->looked = true;
		v->reachable = walk_stream(r, &w, v);
		if (r->err.terminal)
			fputs("\r\033[K", stderr);
		if (!v->reachable)
			fprintf(stderr,
				"boxhaul: stream %s: not all of it could be read: let this login publish to "
				"$JS.API.STREAM.INFO.%s and $JS.API.STREAM.MSG.GET.%s\n",
				w.stream, w.stream, w.stream);
	}
}

/* --- the verdict --- */

static void print_missing(const struct reconcile *r, const struct wanted_message *m)
{
	char uuid[UUID_CHARACTERS + 1];

	uuid_write(uuid, m->uuid.byte);
	printf("missing: id=%" PRId64 " stream=%s message_id=%s\n", m->id, r->config->streams[m->stream].name, uuid);
}

static void settle(struct reconcile *r)
{
	struct wanted_message *m = NULL;

	while ((m = wanted_next(&r->wanted, m)) != NULL) {
		const struct stream_view *v = &r->stream[m->stream];

		if (m->found)
			continue;
		if (!v->reachable || v->other_retention || m->created_s <= v->starts_s) {
			r->unchecked++;
			continue;
		}
		r->missing++;
		print_missing(r, m);
	}
	for (size_t i = 0; i < r->config->stream_count; i++)
		r->stream[i].left = 0;
}

static void print_notes(const struct reconcile *r, int64_t oldest_id)
{
	if (oldest_id > 1)
		printf("rows before id %" PRId64 " are not kept any more: they cannot be checked\n", oldest_id);
	for (size_t i = 0; i < r->config->stream_count; i++) {
		const struct stream_view *v = &r->stream[i];
		const char *name = r->config->streams[i].name;

		if (!v->looked)
			continue;
		if (v->other_retention)
			printf("stream %s: consumers take messages out of it: what is not there may have been\n", name);
		else if (v->starts_s > 0)
			printf("stream %s: its first messages are gone (purged, too old, or too many): what is older than "
			       "the rest cannot be checked\n",
			       name);
		if (v->deleted > 0)
			printf("stream %s: %" PRIu64 " messages have been deleted from the middle of it\n", name,
			       v->deleted);
	}
}

static enum exit_code verdict(const struct reconcile *r, int64_t oldest_id)
{
	bool reachable = true;

	print_notes(r, oldest_id);
	for (size_t i = 0; i < r->config->stream_count; i++)
		reachable &= !r->stream[i].looked || r->stream[i].reachable;
	printf("committed=%lld stored=%lld missing=%lld pending=%lld dead=%lld discarded=%lld unchecked=%lld\n",
	       r->committed, r->stored, r->missing, r->pending, r->dead, r->discarded, r->unchecked);
	if (fflush(stdout) != 0 || r->missing > 0)
		return EXIT_FAILED;
	return reachable ? EXIT_OK : EXIT_UNREACHABLE;
}

static enum exit_code reconcile(struct reconcile *r)
{
	/* No plan may read the outbox from end to end to find the next page. */
	const struct pg_result *range =
		pg_session_run(r->pg,
			       "SET enable_seqscan = off; SET enable_bitmapscan = off;"
			       " SELECT coalesce((SELECT id FROM boxhaul.outbox ORDER BY id LIMIT 1), 1),"
			       " coalesce((SELECT id FROM boxhaul.outbox ORDER BY id DESC LIMIT 1), 0)",
			       0, NULL);
	enum exit_code code = EXIT_OK;
	int64_t oldest_id;
	bool end = false;

	if (pg_error(range) != NULL)
		return session_failed("cannot read the outbox", range);
	oldest_id = strtoll(pg_text(range, 0, 0), NULL, 10);
	r->up_to = strtoll(pg_text(range, 0, 1), NULL, 10);
	while (code == EXIT_OK && !end) {
		code = fill(r, &end);
		if (code != EXIT_OK)
			return code;
		walk_streams(r);
		settle(r);
	}
	return verdict(r, oldest_id);
}

static enum exit_code with_nats(struct reconcile *r, const struct call *call)
{
	char error[512] = "";
	enum exit_code code = EXIT_FAILED;

	r->nats = session_try_nats(call, error, sizeof error);
	if (r->nats == NULL) {
		fprintf(stderr, "boxhaul: cannot connect to NATS: %s\n", error);
		return EXIT_UNREACHABLE;
	}
	if (wanted_create(&r->wanted))
		code = reconcile(r);
	else
		fputs("boxhaul: out of memory\n", stderr);
	wanted_free(&r->wanted);
	natsio_session_close(r->nats);
	return code;
}

enum exit_code command_reconcile(const struct call *call)
{
	struct reconcile r = { .config = call->config, .err = out_open(stderr), .after = -1 };
	enum exit_code code;

	r.pg = session_open(call, LOGIN_RELAY);
	if (r.pg == NULL)
		return EXIT_UNREACHABLE;
	code = session_schema(r.pg);
	if (code == EXIT_OK)
		code = with_nats(&r, call);
	pg_session_close(r.pg);
	natsio_shutdown();
	return code;
}
