#include "flow/served_session.h"

#include <stddef.h>
#include <stdio.h>

#include "books/ledger.h"

static void ask(struct served_session *s, bool asked)
{
	if (!asked)
		pg_break(s->pg, "a statement could not be sent");
}

static void on_listen(void *arg, const struct pg_result *r)
{
	struct served_session *s = arg;

	if (pg_error(r) != NULL)
		pg_break(s->pg, pg_error(r));
	else
		s->up(s->arg);
}

static void on_ready(void *arg, const struct pg_result *r)
{
	struct served_session *s = arg;
	char what[SCHEMA_TEXT_BYTES], mend[SCHEMA_TEXT_BYTES], why[768];
	enum served_verdict verdict = served_judge(s->served, r, what, mend, &s->place);

	if (verdict == SERVED_READY) {
		ask(s, pg_send(s->pg, s->listen, NULL, 0, on_listen, s));
		return;
	}
	snprintf(why, sizeof why, "%.500s: %.250s", what, mend);
	if (verdict == SERVED_ELSEWHERE)
		pg_turn(s->pg);
	pg_break(s->pg, why);
}

void served_session_up(struct served_session *s)
{
	s->place = (struct served_place){ .system = 0 };
	ask(s, ledger_ready(s->pg, on_ready, s));
}

bool served_session_may_go_on(struct served_session *s)
{
	const char *why = served_is_past(s->served, &s->place);

	if (why != NULL)
		pg_break(s->pg, why);
	return why == NULL;
}
