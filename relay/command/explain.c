/* `boxhaul explain ID`: where is this message, and what happens next? The books know ranges only; where it stands in its
 * stream, the broker is asked. An id without a row has a story, too. */
#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command/commands.h"
#include "command/look.h"
#include "command/out.h"
#include "command/seek.h"
#include "command/session.h"
#include "command/verdict.h"
#include "message.h"
#include "utf8.h"

enum { LINE_BYTES = 512 };

/* $1: the id. Who may read the sequence knows which ids are drawn. */
static const char question[] =
	"SELECT jsonb_build_object('position', p.position,"
	" 'row', (SELECT to_jsonb(m) FROM (SELECT message_id, subject, key, created_at, state, sent_at, attempts, last_error,"
	"   payload_bytes, extract(epoch FROM clock_timestamp() - created_at)::float8 AS seconds,"
	"   extract(epoch FROM sent_at - created_at)::float8 AS took_seconds FROM boxhaul.messages WHERE id = $1) m),"
	" 'exception', (SELECT to_jsonb(e) FROM (SELECT lo, hi, kind, attempts, last_error, stream, seq,"
	"   extract(epoch FROM clock_timestamp() - since)::float8 AS seconds"
	"   FROM boxhaul.exceptions WHERE lo <= $1 ORDER BY lo DESC LIMIT 1) e WHERE e.hi >= $1),"
	" 'letter', (SELECT to_jsonb(d) FROM (SELECT message_id, subject, key, created_at, reason, attempts, held, decision, died_at,"
	"   extract(epoch FROM clock_timestamp() - died_at)::float8 AS seconds FROM boxhaul.dead_letter WHERE id = $1) d),"
	" 'mark', (SELECT to_jsonb(s) FROM (SELECT stream, first_id, last_id, marked_at FROM boxhaul.sent"
	"   WHERE last_id >= $1 AND first_id <= $1 ORDER BY last_id, first_id DESC LIMIT 1) s),"
	" 'below', (SELECT to_jsonb(x) FROM (SELECT id, extract(epoch FROM clock_timestamp() - created_at)::float8 AS seconds"
	"   FROM boxhaul.outbox WHERE id < $1 ORDER BY id DESC LIMIT 1) x),"
	" 'newest_id', (SELECT coalesce(max(id), 0) FROM boxhaul.outbox),"
	" 'drawn', CASE WHEN has_sequence_privilege(pg_get_serial_sequence('boxhaul.outbox', 'id'), 'SELECT')"
	"   THEN coalesce(pg_sequence_last_value(pg_get_serial_sequence('boxhaul.outbox', 'id')::regclass), 0) END"
	") FROM boxhaul.position p";

/* $1: the id. The monitor may not see it. */
static const char question_xid[] = "SELECT jsonb_build_object('xid', xid::text) FROM boxhaul.outbox WHERE id = $1";

/* $1: the id, $2: its key. The first message before it in its lane that is not settled. */
static const char question_ahead[] =
	"SELECT jsonb_build_object('ahead', (SELECT to_jsonb(m) FROM (SELECT m.id, m.state, m.last_error FROM boxhaul.messages m WHERE m.id = ("
	"  SELECT min(u.id) FROM ("
	"   (SELECT o.id FROM boxhaul.outbox o, boxhaul.position p WHERE o.id > p.position AND o.id < $1 AND o.key = $2"
	"     ORDER BY o.id LIMIT 1)"
	"   UNION ALL (SELECT o.id FROM (SELECT lo, hi FROM boxhaul.exceptions WHERE lo < $1"
	"       AND (lane IS NULL OR lane = hashtextextended($2, 0)) ORDER BY lo LIMIT 10000) e"
	"     CROSS JOIN LATERAL (SELECT x.id FROM boxhaul.outbox x WHERE x.id BETWEEN e.lo AND least(e.hi, $1 - 1)"
	"       AND x.key = $2 ORDER BY x.id LIMIT 1) o ORDER BY o.id LIMIT 1)) u)) m))";

/* $1: a stream, $2: the id, $3: when the message was inserted. What a mark did not settle is stored above its floor: and no mark
 * settled what was not inserted yet. */
static const char question_floor[] =
	"SELECT coalesce((SELECT last_seq FROM boxhaul.sent WHERE stream = $1 AND last_id < $2::bigint"
	" AND marked_at < $3::timestamptz ORDER BY last_id DESC LIMIT 1), 0)";

struct story {
	const struct call *call;
	const char *id;
	json_t *facts; /* a look, and what the questions above brought */
	const json_t *row, *letter, *exception;
	const char *stream; /* where its subject goes; NULL: nowhere, or not known */
	enum seek_end end;
	struct seek seek;
	char where[LINE_BYTES], next[LINE_BYTES];
};

__attribute__((format(printf, 3, 4))) static void tell(struct story *s, const char *next, const char *where, ...)
{
	va_list args;

	va_start(args, where);
	vsnprintf(s->where, sizeof s->where, where, args);
	va_end(args);
	snprintf(s->next, sizeof s->next, "%s", next);
}

static double number(const struct story *s, const char *path)
{
	return look_number(s->facts, path);
}

/* --- gathering --- */

static enum exit_code add(struct pg_session *session, json_t *facts, const char *sql, int count,
			  const char *const *parameters)
{
	const struct pg_result *r = pg_session_run(session, sql, count, parameters);
	json_t *o;

	if (pg_error(r) != NULL)
		return session_failed("cannot find it out", r);
	if (pg_rows(r) == 0)
		return EXIT_OK;
	o = json_loads(pg_text(r, 0, 0), 0, NULL);
	json_object_update(facts, o);
	json_decref(o);
	return EXIT_OK;
}

static const char *stream_of(const struct config *config, const char *subject)
{
	for (size_t i = 0; i < config->stream_count; i++)
		for (size_t k = 0; k < config->streams[i].subject_count; k++)
			if (message_subject_matches(config->streams[i].subjects[k], subject))
				return config->streams[i].name;
	return NULL;
}

static void ask_broker(struct story *s, struct pg_session *session)
{
	const char *p[] = { s->stream, s->id, look_text(s->row, "created_at") };
	const struct pg_result *r = pg_session_run(session, question_floor, 3, p);

	s->seek.stream = s->stream;
	s->seek.subject = look_text(s->row, "subject");
	s->seek.message_id = look_text(s->row, "message_id");
	s->seek.above = pg_error(r) == NULL ? strtoull(pg_text(r, 0, 0), NULL, 10) : 0;
	s->end = seek(s->call, &s->seek);
}

static enum exit_code gather(struct story *s, struct pg_session *session)
{
	const char *p[] = { s->id, NULL };
	const struct pg_result *r;
	enum exit_code code = add(session, s->facts, question, 1, p);

	if (code != EXIT_OK)
		return code;
	s->row = look_at(s->facts, "row");
	s->letter = look_at(s->facts, "letter");
	s->exception = look_at(s->facts, "exception");
	if (s->row == NULL)
		return EXIT_OK;
	r = pg_session_run(session, question_xid, 1, p);
	if (pg_error(r) == NULL)
		code = add(session, s->facts, question_xid, 1, p);
	p[1] = look_text(s->row, "key");
	if (code == EXIT_OK && look_at(s->row, "key") != NULL && strcmp(look_text(s->row, "state"), "sent") != 0)
		code = add(session, s->facts, question_ahead, 2, p);
	s->stream = stream_of(s->call->config, look_text(s->row, "subject"));
	if (code == EXIT_OK && s->stream != NULL)
		ask_broker(s, session);
	return code;
}

/* --- judging --- */

static void judge_letter(struct story *s)
{
	const char *decision = look_text(s->letter, "decision");
	bool held = look_is(s->letter, "held");
	char reason[LINE_BYTES / 2];

	tell(s,
	     decision[0] != '\0' ? "it is decided: the relay carries it out with its next look"
	     : held ? "nothing, until you say `boxhaul dead-letters redrive` or `discard`: its key waits behind it"
		    : "nothing, until you say `boxhaul dead-letters redrive` or `discard`; its key has gone on",
	     "is a dead letter%s: %s", held ? " that holds its key" : "",
	     utf8_line(look_text(s->letter, "reason"), reason, sizeof reason));
}

/* What a message that waits, waits for. */
static void judge_waiting(struct story *s)
{
	const json_t *ahead = look_at(s->facts, "ahead");
	const char *why = look_text(s->row, "last_error");
	char reason[LINE_BYTES / 2];

	if (s->end == SEEK_FOUND)
		tell(s,
		     look_is(s->facts, "leading") ? "the relay marks it"
						  : "a relay that takes the lead finds it there, and marks it",
		     "is stored in %s as sequence %" PRIu64 ", and not marked yet", s->stream, s->seek.sequence);
	else if (s->stream == NULL)
		tell(s, "it becomes a dead letter when it is read",
		     "waits, and its subject belongs to no configured stream");
	else if (ahead != NULL)
		tell(s, "it is published when that one is settled",
		     "waits behind message %.0f of its key, which is %s%s%s", look_number(ahead, "id"),
		     look_text(ahead, "state"), look_at(ahead, "last_error") != NULL ? ": " : "",
		     utf8_line(look_text(ahead, "last_error"), reason, sizeof reason));
	else if (strcmp(look_text(s->row, "state"), "pending") != 0)
		tell(s, "it is tried again by itself, first of its key, with pauses up to delivery.retry_max",
		     "is %s: %s", look_text(s->row, "state"),
		     why[0] != '\0' ? utf8_line(why, reason, sizeof reason)
				    : "its stream or its key cannot take messages now");
	else
		tell(s,
		     look_is(s->facts, "leading") ? "the relay reads and publishes it" : "nothing, until a relay leads",
		     "is committed, and not sent yet");
}

static void judge_sent(struct story *s)
{
	static const char next[] =
		"nothing: it is kept until its slot is emptied, outbox.retention after it was inserted";

	if (s->end == SEEK_FOUND)
		tell(s, next, "is sent: stored in %s as sequence %" PRIu64, s->stream, s->seek.sequence);
	else if (s->end == SEEK_NOT_THERE && s->stream != NULL)
		tell(s, next, "is sent, and no longer in %s (consumed, expired or purged there)", s->stream);
	else
		tell(s, next, "is sent");
}

/* An id above the position, or missing: its transaction is open, or will never be seen. */
static void judge_unseen(struct story *s)
{
	const json_t *writers = look_at(s->facts, "writers"), *drawn = look_at(s->facts, "drawn");
	size_t open = json_array_size(writers);
	double id = strtod(s->id, NULL);
	char who[LINE_BYTES / 2];

	if (drawn != NULL && id > json_number_value(drawn))
		tell(s, "nothing", "was never drawn: the newest id is %.0f", json_number_value(drawn));
	else if (open > 0)
		tell(s, "when its transaction commits it is sent; if it rolls back, the id is void",
		     "has no row that can be seen: its transaction is open (%zu %s written to the outbox: %s%s), or was rolled back",
		     open, open == 1 ? "has" : "have", verdict_who(json_array_get(writers, 0), who, sizeof who),
		     open > 1 ? ", ..." : "");
	else if (drawn == NULL && id > number(s, "newest_id"))
		tell(s, "nothing",
		     "was rolled back or never drawn: the newest id to be seen is %.0f, and no transaction is open",
		     number(s, "newest_id"));
	else
		tell(s, "the relay finds out that the id is void; nothing waits for it",
		     "was rolled back: no transaction is open that could still bring it");
}

/* Settled, and without a row: rolled back, or emptied with its slot. A neighbour younger than the retention cannot have been
 * emptied, nor what came after it. */
static void judge_gone(struct story *s)
{
	const json_t *below = look_at(s->facts, "below"), *mark = look_at(s->facts, "mark");
	char marked[96] = "";

	if (mark != NULL)
		snprintf(marked, sizeof marked, " (ids %.0f to %.0f were settled at %.19s)",
			 look_number(mark, "first_id"), look_number(mark, "last_id"), look_text(mark, "marked_at"));
	if (s->exception != NULL && strcmp(look_text(s->exception, "kind"), "missing") != 0)
		tell(s, "the relay gives it up", "is on record as %s, but its row is gone: somebody removed it",
		     look_text(s->exception, "kind"));
	else if (below != NULL && look_number(below, "seconds") * 1000 < (double)s->call->config->retention_ms)
		tell(s, "nothing", "was rolled back: the id is void");
	else
		tell(s, "nothing",
		     "has no row any more: it was sent and emptied with its slot, or it was rolled back, long ago%s",
		     marked);
}

static void judge(struct story *s)
{
	const char *state = look_text(s->row, "state"), *kind = look_text(s->exception, "kind");

	if (s->letter != NULL)
		judge_letter(s);
	else if (s->row != NULL && strcmp(state, "sent") == 0)
		judge_sent(s);
	else if (s->row != NULL)
		judge_waiting(s);
	else if (strcmp(kind, "missing") == 0 || (s->exception == NULL && strtod(s->id, NULL) > number(s, "position")))
		judge_unseen(s);
	else
		judge_gone(s);
}

/* --- telling --- */

__attribute__((format(printf, 3, 4))) static void line(const struct out *o, const char *name, const char *format, ...)
{
	char text[2 * LINE_BYTES];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	out_print(o, INK_DIM, "%-14s ", name);
	out_print(o, INK_PLAIN, "%s\n", text);
}

static void print_message(const struct story *s, const struct out *o)
{
	const json_t *m = s->row != NULL ? s->row : s->letter;
	const char *xid = look_text(s->facts, "xid");
	char subject[LINE_BYTES / 2], key[LINE_BYTES / 2], age[32], took[32];

	line(o, "message", "subject %s, %s%s, Nats-Msg-Id %s",
	     utf8_line(look_text(m, "subject"), subject, sizeof subject), look_at(m, "key") != NULL ? "key " : "no key",
	     utf8_line(look_text(m, "key"), key, sizeof key), look_text(m, "message_id"));
	if (s->row == NULL)
		return;
	line(o, "inserted", "%.19s, %s ago%s%s", look_text(s->row, "created_at"),
	     out_duration(look_number(s->row, "seconds"), age, sizeof age), xid[0] != '\0' ? ", by transaction " : "",
	     xid);
	if (look_at(s->row, "sent_at") != NULL)
		line(o, "marked", "%.19s, %s after it was inserted", look_text(s->row, "sent_at"),
		     out_duration(look_number(s->row, "took_seconds"), took, sizeof took));
	if (look_number(s->row, "attempts") > 0)
		line(o, "attempts", "%.0f", look_number(s->row, "attempts"));
}

static void print_stored(const struct story *s, const struct out *o)
{
	if (s->row == NULL || s->stream == NULL)
		return;
	switch (s->end) {
	case SEEK_FOUND: line(o, "stored", "%s, sequence %" PRIu64, s->stream, s->seek.sequence); break;
	case SEEK_NOT_THERE: line(o, "stored", "not in %s above sequence %" PRIu64, s->stream, s->seek.above); break;
	case SEEK_NOT_ASKED: line(o, "stored", "%s could not be asked: %s", s->stream, s->seek.why); break;
	}
}

static void print_story(const struct story *s, const struct out *o)
{
	char relay[LINE_BYTES];

	out_print(o, INK_BOLD, "message %s %s\n", s->id, s->where);
	if (s->row != NULL || s->letter != NULL)
		print_message(s, o);
	print_stored(s, o);
	line(o, "next", "%s", s->next);
	verdict(s->facts, s->call->config, relay, sizeof relay);
	line(o, "relay", "%s", relay);
}

static void print_json(const struct story *s, const struct out *o)
{
	static const char *const members[] = { "position", "row", "exception", "letter",  "mark",   "newest_id",
					       "drawn",    "xid", "ahead",     "writers", "leading" };
	json_t *all = json_pack("{s:I, s:s, s:s}", "id", (json_int_t)strtoll(s->id, NULL, 10), "where", s->where,
				"next", s->next);

	for (size_t i = 0; i < sizeof members / sizeof members[0]; i++)
		json_object_set(all, members[i], json_object_get(s->facts, members[i]));
	if (s->row != NULL && s->stream != NULL)
		json_object_set_new(all, "stream", json_string(s->stream));
	if (s->row != NULL && s->stream != NULL && s->end == SEEK_FOUND)
		json_object_set_new(all, "sequence", json_integer((json_int_t)s->seek.sequence));
	if (s->row != NULL && s->stream != NULL && s->end == SEEK_NOT_ASKED)
		json_object_set_new(all, "not_asked", json_string(s->seek.why));
	json_dumpf(all, o->file, JSON_COMPACT);
	fputc('\n', o->file);
	json_decref(all);
}

enum exit_code command_explain(const struct call *call)
{
	struct story s = { .call = call, .id = call->arguments[0], .end = SEEK_NOT_ASKED };
	struct pg_session *session = session_open(call, LOGIN_RELAY);
	struct out out = out_open(stdout);
	enum exit_code code = EXIT_UNREACHABLE;

	if (session == NULL)
		return code;
	code = look_begin(session);
	if (code == EXIT_OK)
		code = look_take(session, call->config, &s.facts);
	if (code == EXIT_OK)
		code = gather(&s, session);
	if (code == EXIT_OK) {
		judge(&s);
		call->given[OPTION_JSON] ? print_json(&s, &out) : print_story(&s, &out);
	}
	json_decref(s.facts);
	pg_session_close(session);
	return code == EXIT_OK && !out_flush(&out) ? EXIT_FAILED : code;
}
