#include "command/cutover_step.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

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

enum step cutover_failed(const struct cutover_side *side, const char *what, const struct pg_result *r)
{
	return session_failed(side->call.config, what, r) == EXIT_UNREACHABLE ? STEP_UNKNOWN : STEP_TAKE_BACK;
}

char *cutover_ask(const struct cutover_side *side, const char *sql, int count, const char *const *p)
{
	enum exit_code code;
	const char *text = session_value(side->session, &side->call, sql, count, p, &code);

	return text != NULL ? strdup(text) : NULL;
}
