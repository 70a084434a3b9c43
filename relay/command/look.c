/* Several questions, because a lock, or an older schema, may make one of them fail: the catalog (which no lock of ours stops),
 * the schema's version, the books, the pause, the outbox. Each answers with one JSON object; they are joined. */
#include "command/look.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command/port.h"
#include "command/session.h"
#include "ledger.h"

enum { SCHEMA_WITH_PAUSE = 8 };

/* A look must not wait for what it is to explain, nor sort a backlog because a statistic is stale. (A scan that is switched off
 * seems so dear to the planner that compiling the plan seems cheap.) */
static const char settings_[] =
	"SET search_path = pg_catalog, pg_temp; SET lock_timeout = '1s'; SET statement_timeout = '8s';"
	" SET enable_seqscan = off; SET enable_bitmapscan = off; SET jit = off;"
	" SET default_transaction_read_only = on";

/* "who" is a session or a prepared transaction, as a person would look for it. A login without pg_read_all_stats sees of
 * others the process and the application's name, and nothing else. The leader's lock: see ledger.c. pg_blocking_pids() says 0
 * for a prepared transaction, whose locks have no process: the one on its own xid says which it is. Nothing here may lock our
 * tables, as pg_partition_tree() does: somebody else's lock on them is what is asked about. Whoever reads beside the oldest
 * transaction holds back as much as it does, as the relay may at any time: of these it is the transaction itself. */
static const char catalog[] =
	"WITH locks AS MATERIALIZED (SELECT * FROM pg_locks),"
	" here AS (SELECT oid FROM pg_database WHERE datname = current_database()),"
	" sessions AS MATERIALIZED (SELECT pid, datname, application_name, backend_xid, backend_xmin,"
	"   jsonb_strip_nulls(jsonb_build_object('pid', pid, 'application', nullif(application_name, ''), 'user', usename,"
	"    'database', datname, 'state', state, 'since', coalesce(xact_start, state_change),"
	"    'seconds', extract(epoch FROM clock_timestamp() - coalesce(xact_start, state_change))::float8)) AS who"
	"   FROM pg_stat_activity WHERE pid <> pg_backend_pid()),"
	" prepared AS MATERIALIZED (SELECT transaction,"
	"   jsonb_build_object('gid', gid, 'user', owner, 'database', database, 'state', 'prepared', 'since', prepared,"
	"    'seconds', extract(epoch FROM clock_timestamp() - prepared)::float8) AS who FROM pg_prepared_xacts),"
	" touching AS MATERIALIZED (SELECT l.relation, l.mode, l.granted, l.pid,"
	"   coalesce((SELECT s.who FROM sessions s WHERE s.pid = l.pid), (SELECT p.who FROM prepared p"
	"     JOIN locks x ON x.locktype = 'transactionid' AND x.transactionid = p.transaction AND x.pid IS NULL"
	"     WHERE l.pid IS NULL AND x.virtualtransaction = l.virtualtransaction)) AS who"
	"   FROM locks l WHERE l.locktype = 'relation' AND l.database = (SELECT oid FROM here)"
	"    AND l.relation IN (SELECT c.oid FROM pg_class c WHERE c.relnamespace = to_regnamespace('boxhaul'))"
	"    AND l.pid IS DISTINCT FROM pg_backend_pid()),"
	" leader AS (SELECT pid FROM locks WHERE locktype = 'advisory' AND classid = 1651472488 AND objid = 1 AND objsubid = 2"
	"   AND granted AND database = (SELECT oid FROM here)),"
	" blocked AS (SELECT DISTINCT ON (l.pid) l.pid, l.mode, l.relation, l.locktype FROM locks l"
	"   WHERE NOT l.granted AND l.pid IN (SELECT pid FROM touching) ORDER BY l.pid)"
	" SELECT jsonb_build_object("
	" 'server_version', current_setting('server_version'), 'recovering', pg_is_in_recovery(), 'now', clock_timestamp(),"
	" 'sees_all', pg_has_role('pg_read_all_stats', 'USAGE'), 'leading', EXISTS (SELECT FROM leader),"
	" 'leader_session', (SELECT s.who FROM sessions s WHERE s.pid = (SELECT pid FROM leader)),"
	" 'relay_sessions', (SELECT count(*) FROM sessions WHERE application_name = 'boxhaul' AND datname = current_database()),"
	" 'blocked', (SELECT coalesce(jsonb_agg(jsonb_build_object('who', (SELECT s.who FROM sessions s WHERE s.pid = b.pid),"
	"    'leader', b.pid IN (SELECT pid FROM leader), 'wants', b.mode, 'on', CASE WHEN b.locktype IN ('transactionid', 'tuple') THEN 'a row' ELSE coalesce(b.relation::regclass::text, b.locktype) END,"
	"    'by', (SELECT coalesce(jsonb_agg(coalesce((SELECT s.who FROM sessions s WHERE s.pid = u.pid),"
	"       (SELECT t.who FROM touching t WHERE u.pid = 0 AND t.granted AND t.who ? 'gid'"
	"         ORDER BY t.relation IS NOT DISTINCT FROM b.relation DESC LIMIT 1))), '[]')"
	"      FROM unnest(pg_blocking_pids(b.pid)) AS u (pid)))), '[]') FROM blocked b),"
	" 'locks', (SELECT coalesce(jsonb_agg(jsonb_build_object('on', k.tables, 'mode', k.mode, 'who', k.who)), '[]') FROM ("
	"    SELECT t.mode, t.who, jsonb_agg(DISTINCT t.relation::regclass::text) AS tables FROM touching t WHERE t.granted"
	"     AND t.mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')"
	"    GROUP BY t.mode, t.who) k),"
	" 'writers', (SELECT coalesce(jsonb_agg(w.who), '[]') FROM (SELECT DISTINCT t.who FROM touching t"
	"    WHERE t.granted AND t.mode = 'RowExclusiveLock' AND t.who IS NOT NULL"
	"      AND t.relation IN (SELECT to_regclass('boxhaul.outbox')::oid"
	"        UNION ALL SELECT inhrelid FROM pg_inherits WHERE inhparent = to_regclass('boxhaul.outbox')) LIMIT 20) w),"
	" 'horizon', (SELECT x.who FROM ("
	"   SELECT who, age(backend_xid) AS own, greatest(age(backend_xid), age(backend_xmin)) AS age FROM sessions"
	"   UNION ALL SELECT who, age(transaction), age(transaction) FROM prepared"
	"   UNION ALL SELECT jsonb_build_object('slot', slot_name, 'state', 'replication slot'), NULL, age(xmin)"
	"     FROM pg_replication_slots) x WHERE x.age IS NOT NULL ORDER BY x.age DESC, x.own DESC NULLS LAST LIMIT 1))";

static const char schema[] =
	"SELECT jsonb_build_object('schema_version', coalesce(max(version), 0)) FROM boxhaul.schema_version";

/* $1: the streams' names, as JSON. A row of the ledger says which ids one mark covered in one stream; those of several
 * streams overlap, and what several cover is counted once. Ids that never became messages are counted too: "about". */
static const char books[] =
	"WITH recent AS MATERIALIZED (SELECT marked_at, greatest(0, last_id - greatest(first_id - 1,"
	"   coalesce(lag(last_id) OVER (ORDER BY last_id, first_id DESC), 0))) AS ids"
	"   FROM (SELECT * FROM boxhaul.sent ORDER BY last_id DESC, first_id LIMIT 20000) s),"
	" rate AS (SELECT coalesce(sum(ids) FILTER (WHERE marked_at > clock_timestamp() - interval '10 s'), 0)::float8 / 10 AS ten,"
	"   coalesce(sum(ids) FILTER (WHERE marked_at > clock_timestamp() - interval '60 s'), 0)::float8 / 60 AS sixty FROM recent),"
	" reasons AS (SELECT kind, last_error, max(stream) AS stream, sum(hi - lo + 1) AS ids, count(*) AS ranges,"
	"   min(since) AS since FROM boxhaul.exceptions GROUP BY kind, last_error ORDER BY sum(hi - lo + 1) DESC LIMIT 20)"
	" SELECT jsonb_build_object("
	" 'leader', p.leader, 'epoch', p.epoch, 'led_since', p.led_since,"
	" 'led_seconds', extract(epoch FROM clock_timestamp() - p.led_since)::float8,"
	" 'position', p.position, 'marked_at', p.marked_at,"
	" 'marked_seconds', extract(epoch FROM clock_timestamp() - p.marked_at)::float8,"
	" 'asleep', (SELECT last_value = 2 FROM boxhaul.relay_asleep),"
	" 'rate_10s', rate.ten, 'rate_60s', rate.sixty,"
	" 'exceptions', coalesce((SELECT jsonb_object_agg(kind, n) FROM (SELECT kind, sum(hi - lo + 1) AS n"
	"   FROM boxhaul.exceptions GROUP BY kind) k), '{}'),"
	" 'reasons', coalesce((SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object('kind', kind, 'reason', last_error,"
	"   'stream', stream, 'ids', ids, 'ranges', ranges, 'since', since,"
	"   'seconds', extract(epoch FROM clock_timestamp() - since)::float8))) FROM reasons), '[]'),"
	" 'lanes_held', (SELECT count(DISTINCT lane) FROM boxhaul.exceptions),"
	" 'dead_letters', (SELECT count(*) FROM boxhaul.dead_letter),"
	" 'held', (SELECT count(*) FROM boxhaul.dead_letter WHERE held),"
	" 'streams', (SELECT coalesce(jsonb_agg(jsonb_strip_nulls(jsonb_build_object('name', n.name, 'last_id', s.last_id,"
	"   'marked_at', s.marked_at, 'seconds', extract(epoch FROM clock_timestamp() - s.marked_at)::float8))"
	"   ORDER BY n.i), '[]')"
	"   FROM jsonb_array_elements_text($1::jsonb) WITH ORDINALITY AS n (name, i)"
	"   LEFT JOIN LATERAL (SELECT x.last_id, x.marked_at FROM boxhaul.sent x WHERE x.stream = n.name"
	"     ORDER BY x.last_id DESC LIMIT 1) s ON true)"
	") FROM boxhaul.position p, rate";

/* Quiet: the leader of now has said so, not an earlier one of itself. Deaf: it led before the schema had pauses, so it is a relay
 * of an earlier release, and sends on. */
static const char pause_[] =
	"SELECT jsonb_build_object('paused', (SELECT jsonb_strip_nulls(jsonb_build_object('by', x.paused_by, 'since', x.since,"
	"  'reason', x.reason, 'quiet', coalesce(x.quiet_epoch = p.epoch, false), 'quiet_at', x.quiet_at,"
	"  'deaf', p.led_since < (SELECT v.applied_at FROM boxhaul.schema_version v WHERE v.name = 'operate'),"
	"  'seconds', extract(epoch FROM clock_timestamp() - x.since)::float8))"
	"  FROM boxhaul.paused x, boxhaul.position p))";

/* The oldest message that waits: the first above the position, or in an exception. A dead letter waits for a person, not
 * for us. Counting a large backlog row by row would cost what the relay saves: it stops at 100,000. */
static const char outbox[] =
	"WITH above AS (SELECT o.id, o.subject, o.key, o.created_at FROM boxhaul.outbox o, boxhaul.position p"
	"   WHERE o.id > p.position ORDER BY o.id LIMIT 1),"
	" excepted AS (SELECT o.* FROM (SELECT lo, hi FROM boxhaul.exceptions WHERE kind <> 'held' ORDER BY lo LIMIT 10000) e"
	"   CROSS JOIN LATERAL (SELECT x.id, x.subject, x.key, x.created_at FROM boxhaul.outbox x"
	"     WHERE x.id BETWEEN e.lo AND e.hi ORDER BY x.id LIMIT 1) o ORDER BY e.lo LIMIT 1),"
	" oldest AS (SELECT * FROM (SELECT * FROM above UNION ALL SELECT * FROM excepted) x ORDER BY id LIMIT 1),"
	" lanes AS (SELECT lane, min(lo) AS lo, sum(hi - lo + 1) AS ids, max(last_error) AS last_error, bool_or(kind = 'held') AS held"
	"   FROM boxhaul.exceptions WHERE lane IS NOT NULL GROUP BY lane ORDER BY min(lo) LIMIT 5)"
	" SELECT jsonb_build_object("
	" 'newest_id', (SELECT id FROM boxhaul.outbox ORDER BY id DESC LIMIT 1),"
	" 'waiting', (SELECT count(*) FROM (SELECT FROM boxhaul.outbox o, boxhaul.position p WHERE o.id > p.position"
	"   LIMIT 100000) w),"
	" 'lag_seconds', coalesce((SELECT extract(epoch FROM clock_timestamp() - created_at)::float8 FROM oldest), 0),"
	" 'oldest', (SELECT jsonb_build_object('id', id, 'subject', subject, 'key', key, 'created_at', created_at) FROM oldest),"
	" 'lanes', (SELECT coalesce(jsonb_agg(jsonb_build_object('key', (SELECT o.key FROM boxhaul.outbox o WHERE o.id = l.lo),"
	"   'id', l.lo, 'ids', l.ids, 'reason', l.last_error, 'held', l.held) ORDER BY l.lo), '[]') FROM lanes l))";

const json_t *look_at(const json_t *o, const char *path)
{
	while (o != NULL && path != NULL) {
		const char *dot = strchr(path, '.');
		char name[64];

		snprintf(name, sizeof name, "%.*s", dot != NULL ? (int)(dot - path) : (int)strlen(path), path);
		o = json_object_get(o, name);
		path = dot != NULL ? dot + 1 : NULL;
	}
	return json_is_null(o) ? NULL : o;
}

const char *look_text(const json_t *o, const char *path)
{
	const char *text = json_string_value(look_at(o, path));

	return text != NULL ? text : "";
}

double look_number(const json_t *o, const char *path)
{
	return json_number_value(look_at(o, path));
}

bool look_is(const json_t *o, const char *path)
{
	return json_is_true(look_at(o, path));
}

enum exit_code look_begin(struct pg_session *s)
{
	const struct pg_result *r = pg_session_run(s, settings_, 0, NULL);

	if (pg_error(r) != NULL)
		return session_failed("cannot prepare the session", r);
	session_schema(s); /* if it is another one this has been said; what can be seen is shown all the same */
	return EXIT_OK;
}

/* False for what is no JSON: a database without an encoding lets any bytes through. */
static bool join(json_t *all, const struct pg_result *r)
{
	json_t *part = json_loads(pg_text(r, 0, 0), 0, NULL);
	bool joined = part != NULL && json_object_update(all, part) == 0;

	json_decref(part);
	return joined;
}

static bool is_locked(const char *state)
{
	return strcmp(state, "55P03") == 0;
}

static bool is_late(const char *state)
{
	return strcmp(state, "57014") == 0;
}

/* Of a table, column or function that is not there, in a schema of a release before ours. */
static bool is_older(const json_t *all, const char *state)
{
	return look_number(all, "schema_version") < SCHEMA_VERSION && look_at(all, "schema_version") != NULL &&
	       (strcmp(state, "42P01") == 0 || strcmp(state, "42703") == 0 || strcmp(state, "42883") == 0);
}

/* A question that a lock, a slow server or an older schema kept from being answered is left out, and noted; any other failure
 * ends the look. */
static enum exit_code ask_one(struct pg_session *s, json_t *all, const char *what, const char *sql, int count,
			      const char *const *parameters)
{
	const struct pg_result *r = pg_session_run(s, sql, count, parameters);
	const char *state = pg_sqlstate(r);

	if (pg_error(r) == NULL && join(all, r))
		return EXIT_OK;
	if (pg_error(r) == NULL) {
		fprintf(stderr, "boxhaul: what the database says of %s is not UTF-8\n", what);
		return EXIT_FAILED;
	}
	if (!is_locked(state) && !is_late(state) && !is_older(all, state))
		return session_failed(what, r);
	json_array_append_new(
		json_object_get(all, "unread"),
		json_pack("{s:s, s:b, s:b}", "what", what, "locked", is_locked(state), "older", is_older(all, state)));
	return EXIT_OK;
}

static json_t *names_of(const struct config *config)
{
	json_t *names = json_array();

	for (size_t i = 0; i < config->stream_count; i++)
		json_array_append_new(names, json_string(config->streams[i].name));
	return names;
}

static json_t *relay_here(const struct config *config)
{
	char why[256];
	json_t *o = port_ask(config, why, sizeof why);

	if (o == NULL)
		return json_pack("{s:b, s:s}", "reachable", 0, "why_not", why);
	json_object_set_new(o, "reachable", json_true());
	return o;
}

static enum exit_code ask_all(struct pg_session *s, const struct config *config, json_t *all)
{
	json_t *names = names_of(config);
	char *streams = json_dumps(names, JSON_COMPACT);
	const char *parameters[] = { streams };
	enum exit_code code = ask_one(s, all, "the catalog", catalog, 0, NULL);

	if (code == EXIT_OK)
		code = ask_one(s, all, "the schema's version", schema, 0, NULL);
	if (code == EXIT_OK)
		code = ask_one(s, all, "the books", books, 1, parameters);
	if (code == EXIT_OK && look_number(all, "schema_version") >= SCHEMA_WITH_PAUSE)
		code = ask_one(s, all, "the pause", pause_, 0, NULL);
	if (code == EXIT_OK)
		code = ask_one(s, all, "the outbox", outbox, 0, NULL);
	free(streams);
	json_decref(names);
	return code;
}

enum exit_code look_take(struct pg_session *s, const struct config *config, json_t **out)
{
	json_t *all = json_pack("{s:s, s:[]}", "instance", config->name, "unread");
	enum exit_code code = ask_all(s, config, all);

	if (code == EXIT_OK)
		json_object_set_new(all, "relay", relay_here(config));
	if (code != EXIT_OK) {
		json_decref(all);
		all = NULL;
	}
	*out = all;
	return code;
}
