#include "command/cutover_step.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "command/interrupt.h"
#include "command/session.h"
#include "edge/loop.h"

void cutover_tell(struct cutover *m, const char *format, ...)
{
	va_list args;

	printf("%8.3f s  ", (double)(loop_now_ms() - m->begun_ms) / 1000);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
	fflush(stdout);
}

bool cutover_judge(bool good, const char *what, const char *mend)
{
	printf("%s  %s%s%s\n", good ? "ok  " : "FAIL", what, good ? "" : ": ", good ? "" : mend);
	return good;
}

bool cutover_is_over(const struct cutover *m)
{
	return loop_now_ms() - m->begun_ms > m->limit_ms;
}

bool cutover_is_interrupted(void)
{
	bool yes = interrupt_came();

	if (yes)
		fprintf(stderr, "boxhaul: interrupted\n");
	return yes;
}

enum step cutover_failed(const struct cutover_side *side, const char *what, const struct pg_result *r)
{
	return session_failed(side->call.config, what, r) == EXIT_UNREACHABLE ? STEP_UNKNOWN : STEP_TAKE_BACK;
}

enum step cutover_run(const struct cutover *m, const struct cutover_words *words, const struct cutover_side *side,
		      const char *sql, int count, const char *const *p, const struct pg_result **r)
{
	int64_t left = m->limit_ms - (loop_now_ms() - m->begun_ms);
	char limit[64];
	bool over = left < 1;

	if (cutover_is_interrupted())
		return STEP_TAKE_BACK;
	snprintf(limit, sizeof limit, "SET LOCAL statement_timeout = %" PRId64, left < INT32_MAX ? left : INT32_MAX);
	if (!over) {
		*r = pg_session_run(side->session, limit, 0, NULL);
		if (pg_error(*r) == NULL)
			*r = pg_session_run(side->session, sql, count, p);
		if (pg_error(*r) == NULL)
			return STEP_DONE;
		over = strcmp(pg_sqlstate(*r), "57014") == 0;
	}
	if (!over)
		return cutover_failed(side, words->failed, *r);
	fprintf(stderr, "boxhaul: %s\n", words->late);
	return STEP_TAKE_BACK;
}

enum step cutover_say(const struct cutover_words *words, const struct cutover_side *side, const char *sql)
{
	const struct pg_result *r = pg_session_run(side->session, sql, 0, NULL);

	return pg_error(r) == NULL ? STEP_DONE : cutover_failed(side, words->failed, r);
}

char *cutover_ask(const struct cutover_side *side, const char *sql, int count, const char *const *p)
{
	enum exit_code code;
	const char *text = session_value(side->session, &side->call, sql, count, p, &code);

	return text != NULL ? strdup(text) : NULL;
}
