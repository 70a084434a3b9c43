/* `boxhaul explain ID`: where is this message, and what happens next? The books know ranges only; where it stands in its
 * stream, the broker is asked. An id without a row has a story, too. */
#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/duration.h"
#include "base/utf8.h"
#include "command/commands.h"
#include "command/explain_inbox.h"
#include "command/line.h"
#include "command/look.h"
#include "command/out.h"
#include "command/session.h"
#include "command/stream_walk.h"
#include "command/look_verdict.h"

enum { LINE_BYTES = 512 };

struct story {
	const struct call *call;
	char id[24];
	json_t *facts; /* a look, and what boxhaul.explain() says */
	const json_t *row, *letter, *exception;
	const char *stream; /* where its subject goes; NULL: nowhere, or not known */
	enum stream_walk_end end;
	struct stream_walk_search search;
	char where[LINE_BYTES], next[2 * CONFIG_TARGET_BYTES + LINE_BYTES];
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

static void ask_broker(struct story *s)
{
	s->search.stream = s->stream;
	s->search.subject = look_text(s->row, "subject");
	s->search.message_id = look_text(s->row, "message_id");
	s->search.above = (uint64_t)json_integer_value(json_object_get(look_at(s->facts, "low_water"), s->stream));
	s->end = stream_walk_search(s->call, &s->search);
}

static enum exit_code ask_database(struct story *s, struct pg_session *session)
{
	char *streams = look_streams(s->call->config);
	const char *p[] = { s->id, streams };
	json_t *answer;
	enum exit_code code = look_answer(s->call->config, "cannot find it out",
					  pg_session_run(session, "SELECT boxhaul.explain($1, $2)", 2, p), &answer);

	free(streams);
	if (code == EXIT_OK)
		json_object_update(s->facts, answer);
	json_decref(answer);
	return code;
}

/* By its number; or by its uuid or its key, which are looked up. */
static enum exit_code find(struct story *s, struct pg_session *session)
{
	const char *said = s->call->count > 0 ? s->call->arguments[0] : NULL, *key = s->call->text[OPTION_KEY];
	const char *p[] = { said, key };
	const struct pg_result *r;

	if (said != NULL && line_is_id(said)) {
		snprintf(s->id, sizeof s->id, "%s", said + strspn(said, "0") - (said[strspn(said, "0")] == '\0'));
		return EXIT_OK;
	}
	r = pg_session_run(session, "SELECT boxhaul.find_message($1, $2)", 2, p);
	if (pg_error(r) != NULL)
		return session_failed(s->call->config, "cannot look for it", r);
	snprintf(s->id, sizeof s->id, "%s", pg_text(r, 0, 0));
	if (s->id[0] != '\0')
		return EXIT_OK;
	fprintf(stderr, "boxhaul: no message that is kept in the outbox has the %s %s\n", said != NULL ? "id" : "key",
		said != NULL ? said : key);
	return EXIT_FAILED;
}

static enum exit_code gather(struct story *s, struct pg_session *session)
{
	const struct config *config = s->call->config;
	enum exit_code code = ask_database(s, session);
	size_t to;

	if (code != EXIT_OK)
		return code;
	s->row = look_at(s->facts, "row");
	s->letter = look_at(s->facts, "letter");
	s->exception = look_at(s->facts, "exception");
	if (s->row == NULL)
		return EXIT_OK;
	to = config_stream_of(config, look_text(s->row, "subject"));
	if (to == config->stream_count)
		return EXIT_OK;
	s->stream = config->streams[to].name;
	ask_broker(s);
	return EXIT_OK;
}

/* --- judging --- */

static void judge_letter(struct story *s)
{
	const char *decision = look_text(s->letter, "decision");
	bool held = look_is(s->letter, "held");
	char reason[LINE_BYTES / 2], next[2 * CONFIG_TARGET_BYTES + 128], target[CONFIG_TARGET_BYTES];

	config_target(s->call->config, target);
	snprintf(next, sizeof next, "nothing, until you say `boxhaul dead-letters redrive %s %s` or `discard`%s",
		 target, s->id, held ? ": its key waits behind it" : "; its key has gone on");
	tell(s, decision[0] != '\0' ? "it is decided: the relay carries it out with its next look" : next,
	     "is a dead letter%s: %s", held ? " that holds its key" : "",
	     utf8_line(look_text(s->letter, "reason"), reason, sizeof reason));
}

/* What a message that waits, waits for. */
static void judge_waiting(struct story *s)
{
	const json_t *ahead = look_at(s->facts, "ahead");
	const char *why = look_text(s->row, "last_error");
	char reason[LINE_BYTES / 2];

	if (s->end == STREAM_WALK_FOUND)
		tell(s,
		     look_is(s->facts, "leading") ? "the relay marks it"
						  : "a relay that takes the lead finds it there, and marks it",
		     "is stored in %s as sequence %" PRIu64 ", and not marked yet", s->stream, s->search.sequence);
	else if (s->stream == NULL)
		tell(s, "add its subject to a stream of the configuration, then restart: it follows, in order",
		     "is held: no stream of the configuration takes its subject");
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

/* Settled by somebody: the row is kept, and is nobody's message any more. */
static void judge_given_up(struct story *s)
{
	const char *why = look_text(s->facts, "given_up.reason");
	bool again = strcmp(why, "replayed") == 0 || strcmp(why, "redriven") == 0;
	char reason[LINE_BYTES / 2], by[128];

	utf8_line(look_text(s->facts, "given_up.discarded_by"), by, sizeof by);
	if (again)
		tell(s, "nothing: that row is the message now",
		     "was %s by %s at %.19s: it is sent again as another row", why, by,
		     look_text(s->facts, "given_up.discarded_at"));
	else
		tell(s, "nothing", "was discarded by %s at %.19s: %s", by, look_text(s->facts, "given_up.discarded_at"),
		     utf8_line(why, reason, sizeof reason));
}

static void judge_sent(struct story *s)
{
	static const char next[] =
		"nothing: it is kept until its slot is emptied, outbox.retention after it was inserted";
	char target[CONFIG_TARGET_BYTES], lost[2 * CONFIG_TARGET_BYTES + 256];

	config_target(s->call->config, target);
	snprintf(
		lost, sizeof lost,
		"nothing, if it was consumed, expired or purged there: `boxhaul reconcile %s` compares all that is kept with "
		"the streams, `boxhaul replay %s --missing` sends again what is not there",
		target, target);
	if (s->end == STREAM_WALK_FOUND)
		tell(s, next, "is sent: stored in %s as sequence %" PRIu64, s->stream, s->search.sequence);
	else if (s->end == STREAM_WALK_NOT_THERE && s->stream != NULL)
		tell(s, lost, "is marked sent, but not found in %s", s->stream);
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
		     open, open == 1 ? "has" : "have", look_verdict_who(json_array_get(writers, 0), who, sizeof who),
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
	else if (look_at(s->facts, "given_up") != NULL)
		judge_given_up(s);
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
	char text[2 * CONFIG_TARGET_BYTES + 2 * LINE_BYTES];
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
	if (look_at(s->row, "seconds") == NULL)
		snprintf(age, sizeof age, "nobody knows how long");
	else
		duration_text(look_number(s->row, "seconds"), age, sizeof age);
	line(o, "inserted", "%.19s, %s ago%s%s", look_text(s->row, "created_at"), age,
	     xid[0] != '\0' ? ", by transaction " : "", xid);
	if (look_at(s->row, "sent_at") != NULL)
		line(o, "marked", "%.19s, %s after it was inserted", look_text(s->row, "sent_at"),
		     duration_text(look_number(s->row, "took_seconds"), took, sizeof took));
	if (look_number(s->row, "attempts") > 0)
		line(o, "attempts", "%.0f", look_number(s->row, "attempts"));
}

static void print_stored(const struct story *s, const struct out *o)
{
	if (s->row == NULL || s->stream == NULL)
		return;
	switch (s->end) {
	case STREAM_WALK_FOUND: line(o, "stored", "%s, sequence %" PRIu64, s->stream, s->search.sequence); break;
	case STREAM_WALK_NOT_THERE:
		line(o, "stored", "not in %s above sequence %" PRIu64, s->stream, s->search.above);
		break;
	case STREAM_WALK_NOT_ASKED: line(o, "stored", "%s could not be asked: %s", s->stream, s->search.why); break;
	}
}

static void print_story(const struct story *s, const struct out *o)
{
	struct verdict v;

	out_print(o, INK_BOLD, "message %s %s\n", s->id, s->where);
	if (s->row != NULL || s->letter != NULL)
		print_message(s, o);
	print_stored(s, o);
	line(o, "next", "%s", s->next);
	look_verdict(s->facts, s->call->config, &v);
	line(o, "relay", "%s", v.summary);
}

/* No integer of jansson's goes above 2^63 - 1: then a string, for a rounded one would be another message's. */
static json_t *sequence_of(uint64_t sequence)
{
	char text[24];

	snprintf(text, sizeof text, "%" PRIu64, sequence);
	return sequence <= INT64_MAX ? json_integer((json_int_t)sequence) : json_string(text);
}

static void print_json(const struct story *s, const struct out *o)
{
	static const char *const members[] = { "position",  "row",   "exception", "letter", "given_up", "mark",
					       "newest_id", "drawn", "xid",       "ahead",  "writers",  "leading" };
	json_t *all = json_pack("{s:I, s:s, s:s}", "id", (json_int_t)strtoll(s->id, NULL, 10), "where", s->where,
				"next", s->next);

	for (size_t i = 0; i < sizeof members / sizeof members[0]; i++)
		json_object_set(all, members[i], json_object_get(s->facts, members[i]));
	if (s->row != NULL && s->stream != NULL)
		json_object_set_new(all, "stream", json_string(s->stream));
	if (s->row != NULL && s->stream != NULL && s->end == STREAM_WALK_FOUND)
		json_object_set_new(all, "sequence", sequence_of(s->search.sequence));
	if (s->row != NULL && s->stream != NULL && s->end == STREAM_WALK_NOT_ASKED)
		json_object_set_new(all, "not_asked", json_string(s->search.why));
	out_json(o, all);
	json_decref(all);
}

enum exit_code command_explain(const struct call *call)
{
	struct story s = { .call = call, .end = STREAM_WALK_NOT_ASKED };
	struct out out = out_open(stdout);
	enum exit_code code = EXIT_UNREACHABLE;
	struct pg_session *session;

	if (call->count == 1 && call->given[OPTION_KEY])
		return line_wrong("explain: say one of them: ID, or --key KEY");
	if (call->given[OPTION_INBOX])
		return explain_inbox(call);
	session = session_open(call, LOGIN_RELAY);
	if (session == NULL)
		return code;
	code = look_begin(session, call->config);
	if (code == EXIT_OK)
		code = find(&s, session);
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
