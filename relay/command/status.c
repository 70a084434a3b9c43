/* `boxhaul status`: what the database knows. Works while no relay runs, and needs no more than boxhaul_monitor. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "command/commands.h"
#include "command/session.h"
#include "edge/pg.h"

enum { COUNT_MAX = 100000 };

/* Counting a large backlog row by row would cost what the relay saves: it stops at 100,000. */
static const char query[] =
	"SELECT pg_catalog.jsonb_build_object("
	" 'leading', EXISTS (SELECT FROM pg_catalog.pg_locks WHERE locktype = 'advisory' AND classid = 1651472488 AND objid = 1"
	"   AND granted AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())),"
	" 'leader', p.leader, 'epoch', p.epoch, 'led_since', p.led_since, 'position', p.position, 'marked_at', p.marked_at,"
	" 'asleep', (SELECT last_value = 2 FROM boxhaul.relay_asleep),"
	" 'newest_id', (SELECT id FROM boxhaul.outbox ORDER BY id DESC LIMIT 1),"
	" 'waiting', (SELECT count(*) FROM (SELECT FROM boxhaul.outbox o WHERE o.id > p.position LIMIT 100000) w),"
	" 'lag_seconds', coalesce((SELECT extract(epoch FROM pg_catalog.clock_timestamp() - o.created_at)"
	"   FROM boxhaul.outbox o WHERE o.id > p.position ORDER BY o.id LIMIT 1), 0)::pg_catalog.float8,"
	" 'oldest_waiting_id', (SELECT o.id FROM boxhaul.outbox o WHERE o.id > p.position ORDER BY o.id LIMIT 1),"
	" 'exceptions', coalesce((SELECT pg_catalog.jsonb_object_agg(kind, n) FROM (SELECT kind, pg_catalog.sum(hi - lo + 1) AS n"
	"   FROM boxhaul.exceptions GROUP BY kind) k), '{}'),"
	" 'why_parked', coalesce((SELECT pg_catalog.jsonb_agg(DISTINCT last_error) FROM boxhaul.exceptions"
	"   WHERE last_error IS NOT NULL), '[]'),"
	" 'dead_letters', (SELECT count(*) FROM boxhaul.dead_letter),"
	" 'held', (SELECT count(*) FROM boxhaul.dead_letter WHERE held)"
	") FROM boxhaul.position p";

static const char *text_of(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s != NULL ? s : "-";
}

static long long number_of(const json_t *o, const char *key)
{
	return (long long)json_number_value(json_object_get(o, key));
}

static void print_exceptions(const json_t *o)
{
	const char *kind;
	json_t *n, *why;
	size_t i;

	printf("exceptions     ");
	if (json_object_size(json_object_get(o, "exceptions")) == 0)
		printf("none");
	json_object_foreach (json_object_get(o, "exceptions"), kind, n)
		printf("%s %lld  ", kind, (long long)json_number_value(n));
	printf("\n");
	json_array_foreach(json_object_get(o, "why_parked"), i, why)
		printf("               because: %s\n", json_string_value(why));
}

static void print_text(const json_t *o)
{
	bool leading = json_is_true(json_object_get(o, "leading"));
	long long waiting = number_of(o, "waiting");

	printf("relay          %s%s\n", leading ? "leading" : "nobody leads",
	       json_is_true(json_object_get(o, "asleep")) && leading ? ", asleep" : "");
	printf("leader         %s (epoch %lld, since %s)\n", text_of(o, "leader"), number_of(o, "epoch"),
	       text_of(o, "led_since"));
	printf("position       %lld (newest id %lld, marked %s)\n", number_of(o, "position"), number_of(o, "newest_id"),
	       text_of(o, "marked_at"));
	printf("waiting        %lld%s rows above the position\n", waiting, waiting == COUNT_MAX ? " or more" : "");
	printf("lag            %.1f s%s\n", json_number_value(json_object_get(o, "lag_seconds")),
	       waiting > 0 ? "" : " (nothing waits)");
	print_exceptions(o);
	printf("dead letters   %lld (%lld hold their lane)\n", number_of(o, "dead_letters"), number_of(o, "held"));
}

static enum exit_code show(struct pg_session *s, bool json)
{
	const struct pg_result *r = pg_session_run(s, query, 0, NULL);
	json_t *o;

	if (pg_error(r) != NULL) {
		fprintf(stderr, "boxhaul: %s: run `boxhaul check`\n", pg_error(r));
		return EXIT_FAILED;
	}
	if (json) {
		printf("%s\n", pg_text(r, 0, 0));
	} else {
		o = json_loads(pg_text(r, 0, 0), 0, NULL);
		print_text(o);
		json_decref(o);
	}
	return fflush(stdout) == 0 ? EXIT_OK : EXIT_FAILED;
}

enum exit_code command_status(const struct call *call)
{
	bool json = call->given[OPTION_JSON], watch = call->given[OPTION_WATCH];
	struct pg_session *s = session_open(call, LOGIN_RELAY);
	enum exit_code code;

	if (s == NULL)
		return EXIT_UNREACHABLE;
	do {
		if (watch && !json && isatty(STDOUT_FILENO))
			printf("\033[H\033[2J");
		code = show(s, json);
	} while (watch && code == EXIT_OK && sleep(1) == 0);
	pg_session_close(s);
	return code;
}
