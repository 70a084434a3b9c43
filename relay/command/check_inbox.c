/* The subscriptions: their books, their handlers, their streams, and each right that taking needs, by its name. */
#include "command/check_inbox.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/duration.h"
#include "books/inbox_ledger.h"
#include "books/reasons.h"
#include "command/inbox_show.h"
#include "command/look.h"
#include "command/stream_walk.h"
#include "edge/jetstream.h"
#include "edge/loop.h"
#include "format/consumer.h"
#include "format/inbox_stream.h"
#include "format/message.h"

enum {
	ANSWER_PATIENCE_MS = 2000,
	STREAM_NOT_FOUND = 10059,
	LOOK_BACK_MESSAGES = 20, /* for keys */
};

/* --- the database --- */

/* `run` does the same. Nothing of it stays. */
static void check_definition(struct check *c, struct pg_session *s, const struct config_subscription *w)
{
	struct inbox_definition d;
	const struct pg_result *r;

	if (!inbox_ledger_definition(&d, w)) {
		fail(c, "subscription %s: out of memory", w->name);
		return;
	}
	pg_session_run(s, "BEGIN", 0, NULL);
	r = pg_session_run(s, d.sql, d.count, d.parameters);
	if (pg_error(r) != NULL)
		fail(c, "subscription %s: cannot be fitted to the configuration: %s", w->name, pg_error(r));
	else if (pg_text(r, 0, 0)[0] != '\0')
		ok(c, "subscription %s: fits the database; `run` will write: %s", w->name, pg_text(r, 0, 0));
	else
		ok(c, "subscription %s: is in the database as it is configured", w->name);
	pg_session_run(s, "ROLLBACK", 0, NULL);
	inbox_ledger_definition_free(&d);
}

static void check_handler(struct check *c, struct pg_session *s, const struct config_subscription *w)
{
	/* Of functions with that name the one with the right argument comes first. Where the schema is closed nothing else can be told. */
	const struct pg_result *r = pg_session_run(
		s,
		"SELECT p.prokind = 'f' AND p.pronargs = 1 AND p.proargtypes[0] = 'boxhaul.inbox'::pg_catalog.regtype,"
		" pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_function_privilege(p.oid, 'EXECUTE'),"
		" CURRENT_USER, n.nspname"
		" FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace"
		" WHERE n.nspname = pg_catalog.split_part($1, '.', 1) AND p.proname = pg_catalog.split_part($1, '.', 2)"
		" ORDER BY 1 DESC LIMIT 1",
		1, (const char *[]){ w->handler });

	if (w->handler[0] == '\0')
		return;
	if (pg_error(r) != NULL)
		fail(c, "subscription %s: handler: %s", w->name, pg_error(r));
	else if (pg_rows(r) == 0 || pg_text(r, 0, 0)[0] != 't')
		fail(c,
		     "subscription %s: there is no function %s(boxhaul.inbox): CREATE FUNCTION %s(message boxhaul.inbox) ...",
		     w->name, w->handler, w->handler);
	else if (pg_text(r, 0, 1)[0] != 't')
		fail(c,
		     "subscription %s: %s may not call its handler: GRANT USAGE ON SCHEMA %s TO %s; GRANT EXECUTE ON FUNCTION %s(boxhaul.inbox) TO %s",
		     w->name, pg_text(r, 0, 2), pg_text(r, 0, 3), pg_text(r, 0, 2), w->handler, pg_text(r, 0, 2));
	else
		ok(c, "subscription %s: handler %s is there, and may be called", w->name, w->handler);
}

/* What the database alone can say of the tables of a sink: the columns of the source are told by its stream. */
static void check_tables(struct check *c, struct pg_session *s, const struct config_subscription *w)
{
	const struct pg_result *r;

	if (w->tables == NULL)
		return;
	r = pg_session_run(s, "SELECT source, target, trouble, hint FROM boxhaul.sink_check($1)", 1,
			   (const char *[]){ w->tables });
	if (pg_error(r) != NULL)
		fail(c, "subscription %s: tables: %s", w->name, pg_error(r));
	else if (pg_rows(r) == 0)
		ok(c, "subscription %s: its tables are there, and may be written", w->name);
	for (int i = 0; pg_error(r) == NULL && i < pg_rows(r); i++)
		fail(c, "subscription %s: %s: %s", w->name, pg_text(r, i, 2), pg_text(r, i, 3));
}

/* Renamed, or given up: nobody handles its rows, and they stay for ever. */
static void check_left(struct check *c, struct pg_session *s)
{
	char what[INBOX_SAID_BYTES], mend[INBOX_SAID_BYTES];
	const struct pg_result *r = pg_session_run(s, "SELECT boxhaul.inbox_look()", 0, NULL);
	json_t *all, *o;
	size_t i;

	if (look_answer(c->config, "cannot see the subscriptions", r, &all) != EXIT_OK)
		return; /* what is amiss is said where it is judged */
	json_array_foreach (all, i, o)
		if (inbox_is_left(o, c->config, what, mend))
			warn(c, "%s: %s", what, mend);
	json_decref(all);
}

void check_inbox_books(struct check *c, struct pg_session *s)
{
	check_left(c, s);
	for (size_t i = 0; i < c->config->subscription_count; i++) {
		check_definition(c, s, &c->config->subscriptions[i]);
		check_handler(c, s, &c->config->subscriptions[i]);
		check_tables(c, s, &c->config->subscriptions[i]);
	}
}

/* --- the stream --- */

/* Where a person sets what the subscription has. */
static const char *setting_of(const struct config_subscription *w, const char *of_inbox, const char *of_sagas)
{
	return strcmp(w->name, CONFIG_SAGAS) == 0 ? of_sagas : of_inbox;
}

struct look {
	struct check *c;
	const struct config_subscription *w;
	struct stream_walk walk;
	char consumer[CONSUMER_NAME_BYTES];
};

static struct jetstream jetstream_of(const struct look *k)
{
	return (struct jetstream){ .session = k->walk.session, .prefix = k->walk.prefix };
}

/* Any answer to the last question; false: none, which is all that a server says to a login that lacks the right. */
static bool wait_answer(const struct look *k, uint64_t token, struct natsio_answer *answer)
{
	while (natsio_session_answer(k->walk.session, k->walk.patience_ms, answer))
		if (answer->token == token || answer->no_responders)
			return !answer->no_responders;
	return false;
}

static void lacks(const struct look *k, const char *verb, const char *behind)
{
	fail(k->c, "subscription %s: no answer to %s.%s.%s%s: let this login publish to it", k->w->name, k->walk.prefix,
	     verb, k->w->stream, behind);
}

static void check_subjects(const struct look *k, const struct stream_info *info)
{
	for (size_t i = 0; i < k->w->subject_count; i++)
		if (!inbox_stream_may_hold(info, k->w->subjects[i]))
			warn(k->c,
			     "subscription %s: stream %s holds nothing of %s: look at %s, or at the subjects of the stream",
			     k->w->name, k->w->stream, k->w->subjects[i],
			     setting_of(k->w, "inbox.subjects", "sagas.replies"));
}

/* A message that comes again is told by its id only while that is kept. Nothing brings an older one again but a person who rewinds (a stream
 * that has lost its end stops the subscription then), and the rewind says so, too: so it is no warning. */
static void check_retention(const struct look *k, const struct stream_info *info)
{
	char kept[32], age[32] = "ever";

	if (k->w->dedupe != INBOX_DEDUPE_IDS || strcmp(k->w->name, CONFIG_SAGAS) == 0 ||
	    (info->max_age_ms != 0 && info->max_age_ms <= k->w->retention_ms))
		return;
	if (info->max_age_ms != 0)
		duration_text((double)info->max_age_ms / 1000, age, sizeof age);
	ok(k->c,
	   "subscription %s: ids are kept for %s (inbox.retention), and stream %s keeps its messages for %s: after a rewind to before that, "
	   "what is older takes effect again",
	   k->w->name, duration_text((double)k->w->retention_ms / 1000, kept, sizeof kept), k->w->stream, age);
}

static bool is_wanted(const struct config_subscription *w, const char *subject)
{
	for (size_t i = 0; i < w->subject_count; i++)
		if (message_subject_matches(w->subjects[i], subject))
			return true;
	return false;
}

/* Among the last messages that it would take. */
static void check_keys(const struct look *k, const struct stream_info *info)
{
	struct jetstream js = jetstream_of(k);
	unsigned seen = 0, keyed = 0;
	uint64_t seq = info->messages > 0 ? info->last : 0;

	for (unsigned n = 0; n < LOOK_BACK_MESSAGES && seq >= info->first && seq > 0; n++, seq--) {
		uint64_t token = natsio_session_token(k->walk.session);
		struct natsio_answer answer;
		struct stored_key key;

		if (!jetstream_message(&js, k->w->stream, seq, token) || !wait_answer(k, token, &answer))
			return;
		if (!stored_key_read(answer.data, answer.bytes, &key) || !is_wanted(k->w, key.subject))
			continue;
		seen++;
		keyed += key.has_key;
	}
	if (keyed > 0)
		ok(k->c, "subscription %s: %u of its last %u messages have a Boxhaul-Key", k->w->name, keyed, seen);
	else if (seen > 0)
		warn(k->c,
		     "subscription %s: none of its last %u messages has a Boxhaul-Key: there is no order among them; set key = \"subject:N\", or \"none\" if that is meant, or let a boxhaul of today publish them",
		     k->w->name, seen);
}

/* What it waits for may come: that is an answer as well, under the subject of the stream. */
static void check_pull(const struct look *k)
{
	char subject[512];
	struct natsio_answer answer;

	snprintf(subject, sizeof subject, "%s.CONSUMER.MSG.NEXT.%s.%s", k->walk.prefix, k->w->stream, k->consumer);
	if (!natsio_session_ask(k->walk.session, subject, "{\"batch\":1,\"no_wait\":true}",
				natsio_session_token(k->walk.session)) ||
	    !natsio_session_answer(k->walk.session, k->walk.patience_ms, &answer) || answer.no_responders)
		lacks(k, "CONSUMER.MSG.NEXT", ".>");
}

static void check_delete(const struct look *k)
{
	struct jetstream js = jetstream_of(k);
	uint64_t token = natsio_session_token(k->walk.session);
	struct natsio_answer answer;

	if (!jetstream_consumer_delete(&js, k->w->stream, k->consumer, token) || !wait_answer(k, token, &answer))
		lacks(k, "CONSUMER.DELETE", ".>");
}

static void tell_verdict(const struct look *k, enum consumer_verdict verdict, const struct answer_error *error)
{
	char text[REASONS_TEXT_BYTES], common[CONSUMER_FILTER_BYTES];

	switch (verdict) {
	case CONSUMER_MADE:
		ok(k->c, "subscription %s: a consumer of stream %s can be made", k->w->name, k->w->stream);
		break;
	case CONSUMER_UNFILTERED:
		if (!consumer_common_filter(k->w->subjects, k->w->subject_count, common) || common[0] == '\0')
			snprintf(common, sizeof common, ">");
		warn(k->c,
		     "subscription %s: this server has room for one subject in a consumer (nats-server 2.10 has it for more): all of %s comes, and what is not wanted is left out here",
		     k->w->name, common);
		break;
	case CONSUMER_OTHER:
		fail(k->c,
		     "subscription %s: the server made another consumer than was asked for: nats-server 2.9 or newer is needed",
		     k->w->name);
		break;
	default:
		fail(k->c, "subscription %s: the server refuses a consumer of stream %s: %s", k->w->name, k->w->stream,
		     reasons_sentence(answer_err_code(error), error->words, text, sizeof text));
		break;
	}
}

/* A consumer as `run` makes it, behind the end; it is deleted, or dies by itself. */
static void check_consumer(struct look *k, const struct stream_info *info)
{
	struct jetstream js = jetstream_of(k);
	struct consumer_wish wish = { .stream = k->w->stream,
				      .name = k->consumer,
				      .start = info->last + 1,
				      .filters = k->w->subjects,
				      .filter_count = k->w->subject_count };
	uint64_t token = natsio_session_token(k->walk.session);
	char *body;
	struct answer_error error = { .code = 0 };
	enum consumer_verdict verdict;
	struct natsio_answer answer;
	char number[48];

	snprintf(number, sizeof number, "check-%" PRIx64 "-%x", (uint64_t)loop_now_us(), (unsigned)getpid());
	consumer_name(k->consumer, k->w->name, number);
	body = consumer_wish_write(&wish);
	if (body == NULL || !jetstream_consumer_create(&js, k->w->stream, k->consumer, body, token) ||
	    !wait_answer(k, token, &answer)) {
		lacks(k, "CONSUMER.CREATE", ".>");
	} else {
		verdict = consumer_answer_read(answer.data, answer.bytes, &wish, &error);
		tell_verdict(k, verdict, &error);
		if (verdict == CONSUMER_MADE || verdict == CONSUMER_UNFILTERED || verdict == CONSUMER_OTHER) {
			check_pull(k);
			check_delete(k);
		}
	}
	free(body);
}

static void check_found(struct look *k, const struct stream_info *info)
{
	const char *unfit = inbox_stream_unfit(info);

	if (unfit != NULL) {
		fail(k->c, "subscription %s: stream %s %s", k->w->name, k->w->stream, unfit);
		return;
	}
	ok(k->c, "subscription %s: stream %s exists, %" PRIu64 " messages", k->w->name, k->w->stream, info->messages);
	check_subjects(k, info);
	check_retention(k, info);
	if (!stream_walk_is_allowed(&k->walk))
		lacks(k, "STREAM.MSG.GET", "");
	else if (k->w->key == CONFIG_KEY_HEADER)
		check_keys(k, info);
	check_consumer(k, info);
}

static void check_one(struct check *c, struct natsio_session *s, const struct config_subscription *w)
{
	struct look k = { .c = c,
			  .w = w,
			  .walk = { .session = s,
				    .prefix = c->config->nats.jetstream_prefix,
				    .stream = w->stream,
				    .patience_ms = ANSWER_PATIENCE_MS } };
	char text[REASONS_TEXT_BYTES];
	struct stream_info info;

	switch (stream_walk_info(&k.walk, &info)) {
	case STREAM_WALK_OK: check_found(&k, &info); break;
	case STREAM_WALK_ERROR:
		if (info.error.err_code == STREAM_NOT_FOUND)
			fail(c, "subscription %s: stream %s does not exist: look at %s, or create it", w->name,
			     w->stream, setting_of(w, "inbox.stream", "sagas.stream"));
		else
			fail(c, "subscription %s: stream %s: the server says: %s", w->name, w->stream,
			     reasons_sentence(answer_err_code(&info.error), info.error.words, text, sizeof text));
		break;
	case STREAM_WALK_NOBODY:
		fail(c,
		     "subscription %s: nobody answers for JetStream at %s: switch it on at the server, or look at nats.jetstream_domain and nats.jetstream_prefix",
		     w->name, k.walk.prefix);
		c->nobody = true;
		break;
	case STREAM_WALK_SILENCE:
		fail(c,
		     "subscription %s: no answer to %s.STREAM.INFO.%s: let this login publish to it, and subscribe to %s.>",
		     w->name, k.walk.prefix, w->stream, c->config->nats.inbox_prefix);
		break;
	}
	stream_info_free(&info);
}

void check_inbox_streams(struct check *c, struct natsio_session *s)
{
	for (size_t i = 0; i < c->config->subscription_count && !c->nobody; i++)
		check_one(c, s, &c->config->subscriptions[i]);
}
