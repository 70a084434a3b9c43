#include "flow/inbox_calls.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/duration.h"

enum { LANE_BYTES = 16, ID_BYTES = 24 };

enum { LANES, NEXT, HANDLE, FAILED, LISTEN, TIMEOUT, EXCUSE };

const struct pg_statement inbox_calls_listen = { LISTEN, "LISTEN boxhaul_inbox" };

static const struct pg_statement lanes_ = { LANES, "SELECT lane, due_ms FROM boxhaul.inbox_lanes($1)" };
static const struct pg_statement next_ = { NEXT, "SELECT boxhaul.inbox_next($1, $2)" };
static const struct pg_statement handle_ = { HANDLE,
					     "SELECT lane, handled, failed FROM boxhaul.handle($1, $2, $3, $4, $5)" };
static const struct pg_statement failed_ = { FAILED, "SELECT boxhaul.failed($1, $2, $3, $4)" };
static const struct pg_statement timeout_ = { TIMEOUT, "SELECT pg_catalog.set_config('statement_timeout', $1, false)" };
static const struct pg_statement excuse_ = { EXCUSE, "SELECT boxhaul.inbox_excuse($1, $2, $3)" };

bool inbox_calls_lanes(struct pg *pg, const struct config_subscription *s, pg_answer *answer, void *arg)
{
	return pg_send(pg, &lanes_, (const char *[]){ s->name }, 1, answer, arg);
}

bool inbox_calls_next(struct pg *pg, const struct config_subscription *s, int lane, pg_answer *answer, void *arg)
{
	char text[LANE_BYTES];

	snprintf(text, sizeof text, "%d", lane);
	return pg_send(pg, &next_, (const char *[]){ s->name, text }, 2, answer, arg);
}

bool inbox_calls_handle(struct pg *pg, const struct config_subscription *s, int lane, uint32_t rows, int64_t id,
			pg_answer *answer, void *arg)
{
	char lane_text[LANE_BYTES], rows_text[LANE_BYTES], id_text[ID_BYTES];
	const char *p[] = { s->name, s->handler, lane_text, rows_text, id != 0 ? id_text : NULL };

	snprintf(lane_text, sizeof lane_text, "%d", lane);
	snprintf(rows_text, sizeof rows_text, "%" PRIu32, rows);
	snprintf(id_text, sizeof id_text, "%" PRId64, id);
	return pg_send(pg, &handle_, p, 5, answer, arg);
}

bool inbox_calls_timed_out(struct pg *pg, const struct config_subscription *s, int lane, int64_t id, uint32_t ms,
			   pg_answer *answer, void *arg)
{
	char lane_text[LANE_BYTES], id_text[ID_BYTES], error[96], took[32];
	const char *p[] = { s->name, lane_text, id_text, error };

	snprintf(lane_text, sizeof lane_text, "%d", lane);
	snprintf(id_text, sizeof id_text, "%" PRId64, id);
	snprintf(error, sizeof error, "the handler took longer than handler_timeout (%s)",
		 duration_text(ms / 1000.0, took, sizeof took));
	return pg_send(pg, &failed_, p, 4, answer, arg);
}

bool inbox_calls_limit(struct pg *pg, uint32_t ms, pg_answer *answer, void *arg)
{
	char text[LANE_BYTES];

	snprintf(text, sizeof text, "%" PRIu32, ms);
	return pg_send(pg, &timeout_, (const char *[]){ text }, 1, answer, arg);
}

/* Refused in the same outage: the next one that is reported begins the lane's count anew. */
static void on_excused(void *arg, const struct pg_result *r)
{
	(void)arg;
	(void)r;
}

void inbox_calls_excuse(struct pg *pg, const struct config_subscription *s, int lane, const char *sqlstate)
{
	char text[LANE_BYTES];

	snprintf(text, sizeof text, "%d", lane);
	/* What cannot be sent is missed by nobody: the session is about to end. */
	(void)pg_send(pg, &excuse_, (const char *[]){ s->name, text, sqlstate }, 3, on_excused, NULL);
}
