/*
 *     outbox --rows that are marked sent, half a million at a time--> wanted <--every message of their time-- stream
 *
 * A stream is read from shortly before the oldest row that is wanted; where some are not found, from its beginning. */
#include "command/lost_scan.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command/session.h"
#include "command/stream_walk.h"
#include "format/message.h"

enum { PAGE = 5000, CLOCKS_DIFFER_S = 600, ANSWER_PATIENCE_MS = 4000 };

/* --- the outbox --- */

static const char page_query[] = "SELECT id, message_id, subject, created_s, fate FROM boxhaul.fates($1, $2, $3)";

static void want(struct lost_scan *s, const struct id_set_member *m)
{
	id_set_add(&s->wanted, m);
	s->stream[m->stream].left++;
	if (m->created_s < s->oldest_s)
		s->oldest_s = m->created_s;
}

static void take_row(struct lost_scan *s, const struct pg_result *page, int row)
{
	const struct config *config = s->call->config;
	struct id_set_member m = { .id = strtoll(pg_text(page, row, 0), NULL, 10),
				   .created_s = strtoll(pg_text(page, row, 3), NULL, 10),
				   .stream = (uint16_t)config_stream_of(config, pg_text(page, row, 2)) };
	const char *fate = pg_text(page, row, 4), *uuid = pg_text(page, row, 1);

	s->after = m.id;
	s->committed++;
	if (strcmp(fate, "discarded") == 0) {
		s->discarded++;
	} else if (strcmp(fate, "dead") == 0 || strcmp(fate, "held") == 0) {
		s->dead++;
	} else if (strcmp(fate, "sent") != 0) {
		s->pending++;
	} else if (m.stream == config->stream_count || !stored_id_read(uuid, strlen(uuid), &m.uuid)) {
		s->unchecked++;
		if (s->unrouted != NULL)
			s->unrouted(s->arg, m.id);
	} else {
		want(s, &m);
	}
}

/* As many as there is room for. *end: there are no more. */
static enum exit_code fill(struct lost_scan *s, bool *end)
{
	char after[24], up_to[24], most[24];
	const char *p[] = { after, up_to, most };

	id_set_clear(&s->wanted);
	s->oldest_s = INT64_MAX;
	for (int n = PAGE; n == PAGE && s->wanted.count + PAGE <= ID_SET_MAX;) {
		const struct pg_result *page;

		snprintf(after, sizeof after, "%" PRId64, s->after);
		snprintf(up_to, sizeof up_to, "%" PRId64, s->up_to);
		snprintf(most, sizeof most, "%d", PAGE);
		page = pg_session_run(s->pg, page_query, 3, p);
		if (pg_error(page) != NULL)
			return session_failed(s->call->config, "cannot read the outbox", page);
		n = pg_rows(page);
		*end = n < PAGE;
		for (int i = 0; i < n; i++)
			take_row(s, page, i);
	}
	return EXIT_OK;
}

/* --- the streams --- */

static bool on_stored(void *arg, const struct stored_message *m)
{
	struct lost_scan *s = arg;
	struct id_set_member *w = m->has_id ? id_set_find(&s->wanted, &m->id) : NULL;

	if (w != NULL && !w->found && w->stream == s->current) {
		w->found = true;
		s->stored++;
		s->stream[s->current].left--;
	}
	percent_at(&s->progress, ++s->walked);
	return s->stream[s->current].left > 0;
}

static bool on_first(void *arg, const struct stored_message *m)
{
	struct lost_stream *v = arg;

	v->starts_s = m->time_ns / 1000000000;
	return false;
}

/* What may have gone from it since. */
static void find_gaps(const struct stream_walk *w, const struct stream_info *s, struct lost_stream *v)
{
	v->deleted = s->deleted;
	v->other_retention = s->retention != RETENTION_LIMITS;
	v->starts_s = 0;
	if (s->first <= 1)
		return;
	v->starts_s = INT64_MAX; /* nothing is left of it */
	if (s->first <= s->last)
		stream_walk_range(w, s->first, s->first, on_first, v);
}

static bool walk_range(struct lost_scan *s, const struct stream_walk *w, const struct stream_info *info)
{
	struct lost_stream *v = &s->stream[s->current];
	char what[128];
	uint64_t from;
	bool ok;

	if (info->last == 0 || info->first > info->last)
		return true;
	if (!stream_walk_to_time(w, info->first, info->last, s->oldest_s - CLOCKS_DIFFER_S, &from))
		return false;
	snprintf(what, sizeof what, "messages of stream %s", w->stream);
	s->walked = 0;
	s->progress = percent_begin(what, info->last - from + 1);
	ok = stream_walk_range(w, from, info->last, on_stored, s);
	s->progress.total += from - info->first;
	ok = ok && (v->left == 0 || from == info->first || stream_walk_range(w, info->first, from - 1, on_stored, s));
	percent_end(&s->progress);
	return ok;
}

static bool walk_stream(struct lost_scan *s, const struct stream_walk *w)
{
	struct stream_info info;
	bool ok = stream_walk_info(w, &info) == STREAM_WALK_OK;

	if (ok) {
		find_gaps(w, &info, &s->stream[s->current]);
		ok = walk_range(s, w, &info);
	}
	stream_info_free(&info);
	return ok;
}

static void walk_streams(struct lost_scan *s)
{
	const struct config *config = s->call->config;

	for (s->current = 0; s->current < config->stream_count; s->current++) {
		struct lost_stream *v = &s->stream[s->current];
		struct stream_walk w = { .session = s->nats,
					 .prefix = config->nats.jetstream_prefix,
					 .stream = config->streams[s->current].name,
					 .patience_ms = ANSWER_PATIENCE_MS };

		if (v->left == 0)
			continue;
		v->asked = true;
		v->reachable = walk_stream(s, &w);
		s->reachable &= v->reachable;
		if (!v->reachable)
			fprintf(stderr,
				"boxhaul: stream %s: not all of it could be read: let this login publish to "
				"%s.STREAM.INFO.%s and %s.STREAM.MSG.GET.%s\n",
				w.stream, w.prefix, w.stream, w.prefix, w.stream);
	}
}

/* --- the verdict --- */

static int by_id(const void *a, const void *b)
{
	const struct id_set_member *x = *(struct id_set_member *const *)a, *y = *(struct id_set_member *const *)b;

	return x->id < y->id ? -1 : x->id > y->id;
}

/* Something took messages out of the stream, or it begins later, or could not be read: then nothing is called lost. */
static bool is_lost(const struct lost_scan *s, const struct id_set_member *m)
{
	const struct lost_stream *v = &s->stream[m->stream];

	return v->reachable && !v->other_retention && m->created_s > v->starts_s;
}

/* Tells those that are missing, by ascending id. False: there is no memory to sort them. */
static bool settle(struct lost_scan *s)
{
	const struct id_set_member **lost = calloc(s->wanted.count + 1, sizeof(struct id_set_member *));
	struct id_set_member *m = NULL;
	size_t n = 0;

	if (lost == NULL)
		return false;
	while ((m = id_set_next(&s->wanted, m)) != NULL)
		if (!m->found && is_lost(s, m))
			lost[n++] = m;
		else
			s->unchecked += !m->found;
	qsort(lost, n, sizeof(struct id_set_member *), by_id);
	for (size_t i = 0; i < n && s->missing != NULL; i++)
		s->missing(s->arg, lost[i]);
	s->lost += (long long)n;
	free(lost);
	for (size_t i = 0; i < s->call->config->stream_count; i++)
		s->stream[i].left = 0;
	return true;
}

/* What is inserted while it looks is not looked at. */
static enum exit_code scan(struct lost_scan *s)
{
	const struct pg_result *range = pg_session_run(s->pg, "SELECT oldest, newest FROM boxhaul.kept()", 0, NULL);
	enum exit_code code = EXIT_OK;
	bool end = false;

	if (pg_error(range) != NULL)
		return session_failed(s->call->config, "cannot read the outbox", range);
	s->oldest_id = strtoll(pg_text(range, 0, 0), NULL, 10);
	s->up_to = strtoll(pg_text(range, 0, 1), NULL, 10);
	s->after = -1;
	s->reachable = true;
	while (code == EXIT_OK && !end) {
		code = fill(s, &end);
		if (code != EXIT_OK)
			return code;
		walk_streams(s);
		if (!settle(s)) {
			fputs("boxhaul: out of memory\n", stderr);
			code = EXIT_FAILED;
		}
	}
	return code;
}

enum exit_code lost_scan(struct lost_scan *s)
{
	char error[512] = "";
	enum exit_code code = EXIT_FAILED;

	s->nats = session_try_nats(s->call, error, sizeof error);
	if (s->nats == NULL) {
		fprintf(stderr, "boxhaul: cannot connect to NATS: %s\n", error);
		return EXIT_UNREACHABLE;
	}
	if (id_set_create(&s->wanted))
		code = scan(s);
	else
		fputs("boxhaul: out of memory\n", stderr);
	id_set_free(&s->wanted);
	natsio_session_close(s->nats);
	return code;
}
