/* Any values as the answers on the way to the lead, and any text as an error. A lead is taken with what stands in the books,
 * number by number; and an error is told in one line. */
#include "edge/pg.c"
#include "flow/leader.c"

#include <fcntl.h>

#include "answer.h"

enum { LEADS = 3, COLUMNS = 5, COLUMNS_OF_LEAD = 11 };

static const PGresult *books;
static unsigned leads;

/* Big-endian, with a sign, of any width: what int2, int4 and int8 look like. */
static int64_t number(int row, int column)
{
	const unsigned char *v = (const unsigned char *)PQgetvalue(books, row, column);
	int64_t x = 0;

	for (int i = 0, n = PQgetlength(books, row, column); i < n; i++)
		x = i == 0 ? (signed char)v[0] : x * 256 + v[i];
	return x;
}

static void on_leading(void *arg, const struct event *ev)
{
	(void)arg;
	leads++;
	promise((int)ev->leading.exception_count == PQntuples(books), "exceptions");
	for (int i = 0; i < PQntuples(books); i++) {
		const struct exception_row *e = &ev->leading.exceptions[i];
		char kind = PQgetlength(books, i, 2) > 0 ? PQgetvalue(books, i, 2)[0] : 'm';

		promise(e->lo == number(i, 0) && e->hi == number(i, 1), "a range");
		promise(e->lane == (uint64_t)(PQgetisnull(books, i, 3) ? 0 : number(i, 3)), "a lane");
		promise(e->attempts == (uint32_t)number(i, 4), "attempts");
		promise(kind == 'p' || kind == 'h' || kind == 'a' ? e->kind != EXCEPTION_MISSING
								  : e->kind == EXCEPTION_MISSING,
			"%c became %d", kind, (int)e->kind);
	}
}

/* Values of 0, 1, 2, 4 or 8 bytes, or NULL. */
static PGresult *take_result(struct input *in, int columns)
{
	static const int widths[] = { -1, 0, 1, 2, 4, 8, 8, 8 };
	PGresult *r = new_result(columns);

	for (int row = 0; in->left > (size_t)columns && row < 16; row++)
		for (int column = 0; column < columns; column++) {
			int width = widths[take_byte(in) & 7];
			unsigned char value[8];

			for (int i = 0; i < width; i++)
				value[i] = (unsigned char)take_byte(in);
			set(r, row, column, width >= 0 ? value : NULL, width >= 0 ? (size_t)width : 0);
		}
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const answers[])(void *, const struct pg_result *) = { on_ready, on_listen, on_lock, on_lead,
									     on_exceptions };
	static struct log *log;
	static struct pg down;
	struct loop *loop = loop_create(); /* keeps a leader's timers for its own life */
	struct config config = { .name = (char[]){ "fuzz" }, .path = (char[]){ "fuzz.conf" } };
	struct input in = { data, size };
	unsigned step = take_byte(&in) % 8;
	struct pg_result result = { .r = NULL };
	struct served served = { .config = &config };
	struct leader *r;
	char *error;

	if (log == NULL)
		log = log_create(open("/dev/null", O_WRONLY | O_CLOEXEC), LOG_LEVEL_INFO, LOG_LOGFMT);
	served.log = log;
	r = leader_create(loop, &down, &config, log, &served, &(struct leader_handlers){ .leading = on_leading });
	leads = 0;
	if (step < 5) {
		books = result.r = take_result(&in, step == LEADS ? COLUMNS_OF_LEAD : COLUMNS);
		if (PQntuples(books) > 0 || step == 4)
			answers[step](r, &result);
	} else {
		error = take_rest(&in);
		pg_answer_set_error(&result, error);
		on_exceptions(r, &result);
		free(error);
		promise(leader_trouble(r)[0] != '\0' && leader_role(r) == ROLE_STARTING, "an error, and no trouble");
		promise(strchr(leader_trouble(r), '\n') == NULL, "more than one line");
	}
	promise(leads == (step == 4), "%u leads", leads);
	promise((leader_role(r) == ROLE_LEADER) == (leads > 0), "it is %s", role_text(leader_role(r)));
	PQclear(result.r);
	leader_free(r);
	loop_free(loop);
	return 0;
}
