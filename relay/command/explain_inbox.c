#include "command/explain_inbox.h"

#include <stdio.h>
#include <string.h>

#include "base/duration.h"
#include "base/plural.h"
#include "base/utf8.h"
#include "command/inbox_show.h"
#include "command/letter.h"
#include "command/look.h"
#include "command/session.h"

enum { LINE_BYTES = 512, NEXT_BYTES = 2560 };

struct told {
	char where[LINE_BYTES], next[NEXT_BYTES];
};

static void tell_parked(const json_t *o, const char *target, struct told *t)
{
	const char *name = look_text(o, "subscription");
	char error[LINE_BYTES / 2], age[32];

	if (look_at(o, "ahead") != NULL) {
		snprintf(t->where, sizeof t->where, "waits behind row %lld of its key, which failed",
			 inbox_number(o, "ahead"));
		snprintf(t->next, sizeof t->next,
			 "it is handed out when that one is settled: `boxhaul inbox show %s %s`", target, name);
		return;
	}
	snprintf(t->where, sizeof t->where, "failed %lld time%s: %s", inbox_number(o, "attempts"),
		 plural(inbox_number(o, "attempts")), utf8_line(look_text(o, "error"), error, sizeof error));
	if (look_number(o, "next_seconds") > 0)
		snprintf(t->next, sizeof t->next, "it is handed out again in %s; its key waits behind it",
			 duration_text(look_number(o, "next_seconds"), age, sizeof age));
	else
		snprintf(t->next, sizeof t->next, "it is handed out with the next call; its key waits behind it");
}

static void tell(const json_t *o, const char *target, struct told *t)
{
	const char *state = look_text(o, "state"), *name = look_text(o, "subscription");
	long long id = inbox_number(o, "id"), dead = inbox_number(o, "dead_id");
	char error[LINE_BYTES / 2];

	utf8_line(look_text(o, "error"), error, sizeof error);
	snprintf(t->next, sizeof t->next,
		 "nothing: it is kept until its slot is emptied, the retention after it was taken");
	if (strcmp(state, "handled") == 0) {
		snprintf(t->where, sizeof t->where, "is handled");
	} else if (strcmp(state, "waiting") == 0) {
		snprintf(t->where, sizeof t->where, "waits to be handled");
		snprintf(t->next, sizeof t->next,
			 "a worker receives it when what stands before it in its lane is handled");
	} else if (strcmp(state, "parked") == 0) {
		tell_parked(o, target, t);
	} else if (strcmp(state, "held") == 0) {
		snprintf(t->where, sizeof t->where, "is held after %lld attempts: %s", inbox_number(o, "attempts"),
			 error);
		snprintf(t->next, sizeof t->next,
			 "nothing, until you say `boxhaul inbox retry %s %s %lld` or `skip`: its key waits behind it",
			 target, name, id);
	} else if (strcmp(state, "dead") == 0) {
		snprintf(t->where, sizeof t->where, "is a dead letter: %s", error);
		snprintf(t->next, sizeof t->next,
			 "nothing, until you say `boxhaul inbox redrive %s %s %lld` or `discard`; its key has gone on",
			 target, name, dead);
	} else {
		snprintf(t->where, sizeof t->where,
			 "was taken, and its row is gone: it was handled or discarded, and its slot was emptied");
		snprintf(t->next, sizeof t->next, "nothing: a copy that comes again is left out");
	}
}

static void print_story(const struct out *out, const json_t *o, const struct told *t)
{
	char number[160];

	out_print(out, INK_BOLD, "in subscription %s it %s\n", look_text(o, "subscription"), t->where);
	if (look_at(o, "subject") != NULL)
		letter_field(out, "subject", look_text(o, "subject"));
	if (look_at(o, "key") != NULL)
		letter_field(out, "key", look_text(o, "key"));
	if (look_at(o, "id") != NULL && look_at(o, "lane") != NULL) {
		snprintf(number, sizeof number, "%lld in lane %lld; sequence %lld of the stream", inbox_number(o, "id"),
			 inbox_number(o, "lane"), inbox_number(o, "seq"));
		letter_field(out, "row", number);
	}
	if (look_at(o, "stored_at") != NULL) {
		snprintf(number, sizeof number, "%.19s, taken at %.19s", look_text(o, "stored_at"),
			 look_text(o, "received_at"));
		letter_field(out, "stored", number);
	}
	letter_field(out, "next", t->next);
}

static enum exit_code explain(struct pg_session *s, const struct call *call)
{
	const char *p[] = { call->arguments[0] };
	struct out out = out_open(stdout);
	char target[CONFIG_TARGET_BYTES];
	struct told t = { .where = "" };
	json_t *all, *o;
	size_t i;
	enum exit_code code = look_answer(call->config, "cannot find it out",
					  pg_session_run(s, "SELECT boxhaul.inbox_explain($1)", 1, p), &all);

	if (code != EXIT_OK)
		return code;
	config_target(call->config, target);
	json_array_foreach (all, i, o) {
		tell(o, target, &t);
		json_object_set_new(o, "where", json_string(t.where));
		json_object_set_new(o, "next", json_string(t.next));
		if (!call->given[OPTION_JSON])
			print_story(&out, o, &t);
	}
	if (call->given[OPTION_JSON]) {
		out_json(&out, all);
	} else if (json_array_size(all) == 0) {
		fprintf(stderr,
			"boxhaul: no subscription knows the message id %s: it was not taken yet, or longer ago than ids are kept\n",
			p[0]);
	}
	code = json_array_size(all) > 0 ? EXIT_OK : EXIT_FAILED;
	json_decref(all);
	return code;
}

enum exit_code explain_inbox(const struct call *call)
{
	return inbox_with_session(call, explain);
}
