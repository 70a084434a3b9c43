#include "edge/pg_answer.h"

#include <stdio.h>
#include <string.h>

void pg_answer_one_line(const char *text, char *out, size_t size)
{
	size_t n = 0;

	for (; *text != '\0' && n + 1 < size; text++)
		out[n++] = *text == '\n' || *text == '\t' ? ' ' : *text;
	while (n > 0 && out[n - 1] == ' ')
		n--;
	out[n] = '\0';
}

char *pg_answer_line_of(const char *text)
{
	char line[512];

	pg_answer_one_line(text, line, sizeof line);
	return strdup(line);
}

/* Whatever the server calls it, it is an error: blanks alone must not make it none. */
void pg_answer_set_error(struct pg_result *result, const char *text)
{
	pg_answer_one_line(text, result->error, sizeof result->error);
	if (result->error[0] == '\0')
		snprintf(result->error, sizeof result->error, "an error without a text");
}

void pg_answer_describe(struct pg_result *result)
{
	ExecStatusType status = PQresultStatus(result->r);
	const char *primary, *hint;

	result->error[0] = '\0';
	if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK)
		return;
	primary = PQresultErrorField(result->r, PG_DIAG_MESSAGE_PRIMARY);
	hint = PQresultErrorField(result->r, PG_DIAG_MESSAGE_HINT);
	if (primary == NULL)
		primary = PQresultErrorMessage(result->r);
	pg_answer_set_error(result, primary);
	if (hint != NULL && strlen(result->error) + strlen(hint) + 4 < sizeof result->error) {
		size_t n = strlen(result->error);

		snprintf(result->error + n, sizeof result->error - n, " (%s)", hint);
	}
}
