-- boxhaul 006: what one looks at: who does what now, the state of the whole, the story of one message, and what is not granted.
--
-- All of it is answered with the caller's rights: who may not see a thing is not told it here. It changes nothing, waits a second
-- at most for a lock, and reads no backlog because a statistic is stale. (A scan that is switched off seems so dear to the
-- planner that compiling the plan seems cheap: so that is switched off, too.)

SET standard_conforming_strings = on;  -- what stands below is written for it

-- Who leads, who waits for whom, who has locked or written to our tables, and the oldest transaction of the server.
--
-- "who" is a session or a prepared transaction, as a person would look for it. A login without pg_read_all_stats sees of
-- others the process and the application's name, and nothing else. pg_blocking_pids() says 0 for a prepared transaction, whose
-- locks have no process: the one on its own xid says which it is. Nothing here may lock our tables, as pg_partition_tree()
-- does: somebody else's lock on them is what is asked about. Whoever reads beside the oldest transaction holds back as much as it
-- does, as the relay may at any time: of these it is the transaction itself.
CREATE OR REPLACE FUNCTION boxhaul.activity() RETURNS jsonb
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on SET jit = off AS $$
    WITH locks AS MATERIALIZED (SELECT * FROM pg_locks),
    here AS (SELECT oid FROM pg_database WHERE datname = current_database()),
    leader AS MATERIALIZED (SELECT boxhaul.leader_pid() AS pid),
    sessions AS MATERIALIZED (
        SELECT pid, datname, application_name, backend_xid, backend_xmin,
               jsonb_strip_nulls(jsonb_build_object(
                   'pid', pid, 'application', nullif(application_name, ''), 'user', usename, 'database', datname,
                   'state', state, 'since', coalesce(xact_start, state_change),
                   'seconds', extract(epoch FROM clock_timestamp() - coalesce(xact_start, state_change))::float8)) AS who
          FROM pg_stat_activity WHERE pid <> pg_backend_pid()),
    prepared AS MATERIALIZED (
        SELECT transaction,
               jsonb_build_object('gid', gid, 'user', owner, 'database', database, 'state', 'prepared', 'since', prepared,
                                  'seconds', extract(epoch FROM clock_timestamp() - prepared)::float8) AS who
          FROM pg_prepared_xacts),
    touching AS MATERIALIZED (
        SELECT l.relation, l.mode, l.granted, l.pid,
               coalesce((SELECT s.who FROM sessions s WHERE s.pid = l.pid),
                        (SELECT p.who FROM prepared p
                           JOIN locks x ON x.locktype = 'transactionid' AND x.transactionid = p.transaction AND x.pid IS NULL
                          WHERE l.pid IS NULL AND x.virtualtransaction = l.virtualtransaction)) AS who
          FROM locks l
         WHERE l.locktype = 'relation' AND l.database = (SELECT oid FROM here)
           AND l.relation IN (SELECT c.oid FROM pg_class c WHERE c.relnamespace = to_regnamespace('boxhaul'))
           AND l.pid IS DISTINCT FROM pg_backend_pid()),
    blocked AS (
        SELECT DISTINCT ON (l.pid) l.pid, l.mode, l.relation, l.locktype FROM locks l
         WHERE NOT l.granted AND l.pid IN (SELECT pid FROM touching) ORDER BY l.pid)
    SELECT jsonb_build_object(
        'server_version', current_setting('server_version'),
        'recovering', pg_is_in_recovery(),
        'now', clock_timestamp(),
        'sees_all', pg_has_role('pg_read_all_stats', 'USAGE'),
        'leading', (SELECT pid IS NOT NULL FROM leader),
        'leader_session', (SELECT s.who FROM sessions s WHERE s.pid = (SELECT pid FROM leader)),
        'relay_sessions', (SELECT count(*) FROM sessions WHERE application_name = 'boxhaul' AND datname = current_database()),
        'blocked', (
            SELECT coalesce(jsonb_agg(jsonb_build_object(
                       'who', (SELECT s.who FROM sessions s WHERE s.pid = b.pid),
                       'leader', b.pid IS NOT DISTINCT FROM (SELECT pid FROM leader),
                       'wants', b.mode,
                       'on', CASE WHEN b.locktype IN ('transactionid', 'tuple') THEN 'a row'
                                  ELSE coalesce(b.relation::regclass::text, b.locktype) END,
                       'by', (SELECT coalesce(jsonb_agg(coalesce(
                                         (SELECT s.who FROM sessions s WHERE s.pid = u.pid),
                                         (SELECT t.who FROM touching t WHERE u.pid = 0 AND t.granted AND t.who ->> 'gid' IS NOT NULL
                                           ORDER BY t.relation IS NOT DISTINCT FROM b.relation DESC LIMIT 1))), '[]')
                                FROM unnest(pg_blocking_pids(b.pid)) AS u (pid)))), '[]')
              FROM blocked b),
        'locks', (
            SELECT coalesce(jsonb_agg(jsonb_build_object('on', k.tables, 'mode', k.mode, 'who', k.who)), '[]')
              FROM (SELECT t.mode, t.who, jsonb_agg(DISTINCT t.relation::regclass::text) AS tables
                      FROM touching t
                     WHERE t.granted
                       AND t.mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
                     GROUP BY t.mode, t.who) k),
        'writers', (
            SELECT coalesce(jsonb_agg(w.who), '[]')
              FROM (SELECT DISTINCT t.who FROM touching t
                     WHERE t.granted AND t.mode = 'RowExclusiveLock' AND t.who IS NOT NULL
                       AND t.relation IN (SELECT to_regclass('boxhaul.outbox')::oid
                                          UNION ALL
                                          SELECT inhrelid FROM pg_inherits WHERE inhparent = to_regclass('boxhaul.outbox'))
                     LIMIT 20) w),
        'horizon', (
            SELECT x.who
              FROM (SELECT who, age(backend_xid) AS own, greatest(age(backend_xid), age(backend_xmin)) AS age FROM sessions
                    UNION ALL
                    SELECT who, age(transaction), age(transaction) FROM prepared
                    UNION ALL
                    SELECT jsonb_build_object('slot', slot_name, 'state', 'replication slot'), NULL, age(xmin)
                      FROM pg_replication_slots) x
             WHERE x.age IS NOT NULL ORDER BY x.age DESC, x.own DESC NULLS LAST LIMIT 1))
$$;

-- How long ago that was; NULL of a time that is not on any calendar: whoever owns the table may insert infinity.
CREATE OR REPLACE FUNCTION boxhaul.seconds_since(t timestamptz, until timestamptz DEFAULT NULL) RETURNS float8
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT CASE WHEN isfinite(t) AND isfinite(coalesce(until, now()))
                THEN extract(epoch FROM coalesce(until, clock_timestamp()) - t)::float8 END
$$;

-- About how many messages have come into view among the missing ids, and since when the oldest waits: of transactions that were open
-- when the relay passed them, and have committed since. What is looked at is bounded; the rest is estimated by it.
CREATE OR REPLACE FUNCTION boxhaul.appeared(OUT messages bigint, OUT oldest timestamptz)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on
    SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
    WITH missing AS MATERIALIZED (SELECT e.lo, e.hi FROM boxhaul.exceptions e WHERE e.kind = 'missing' ORDER BY e.lo),
    first AS MATERIALIZED (SELECT m.lo, m.hi FROM missing m ORDER BY m.lo LIMIT 2000),
    seen AS (
        SELECT count(*) AS n, max(x.id) AS last, min(x.created_at) AS oldest
          FROM (SELECT y.id, y.created_at
                  FROM first f CROSS JOIN LATERAL (SELECT o.id, o.created_at FROM boxhaul.outbox o
                                                    WHERE o.id BETWEEN f.lo AND f.hi ORDER BY o.id LIMIT 10000) y
                 LIMIT 10000) x),
    looked_at AS (
        SELECT sum(least(f.hi, CASE WHEN s.n = 10000 THEN s.last ELSE f.hi END) - f.lo + 1) AS ids
          FROM first f, seen s WHERE s.n < 10000 OR f.lo <= s.last)
    SELECT coalesce(round(s.n * (SELECT sum(m.hi - m.lo + 1) FROM missing m) / l.ids), 0)::bigint, s.oldest FROM seen s, looked_at l
$$;

-- The key of most of the first thousand messages above the position, as it can be told; no key where there is none of so many. (Key
-- NULL is no key: those wait for nobody.)
CREATE OR REPLACE FUNCTION boxhaul.hot(OUT key text, OUT messages bigint, OUT total bigint)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on
    SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
    SELECT boxhaul.shown(k.key), k.n, k.total
      FROM (SELECT f.key, count(*) AS n, (sum(count(*)) OVER ())::bigint AS total
              FROM (SELECT o.key FROM boxhaul.outbox o, boxhaul.position p WHERE o.id > p.position ORDER BY o.id LIMIT 1000) f
             GROUP BY f.key) k
     WHERE k.key IS NOT NULL AND k.total >= 100 AND k.n * 2 > k.total
$$;

-- The state of the whole, one object: boxhaul.activity(), the books, the pause, what waits. `streams` names the streams to tell of, a
-- JSON array; NULL: those in which something was stored lately.
--
-- What a lock keeps from being read is left out and named in "unread"; hence several statements, each in a block of its own.
CREATE OR REPLACE FUNCTION boxhaul.status(streams jsonb DEFAULT NULL) RETURNS jsonb
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on SET lock_timeout = '1s'
    SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
DECLARE
    known  jsonb := boxhaul.activity();
    unread text[] := '{}';
BEGIN
    BEGIN
        known := known || (SELECT jsonb_build_object('schema_version', coalesce(max(v.version), 0)) FROM boxhaul.schema_version v);
    EXCEPTION WHEN lock_not_available THEN
        unread := unread || 'the schema''s version'::text;
    END;
    BEGIN
        -- A row of boxhaul.sent says which ids one mark covered in one stream; those of several streams overlap, and what several
        -- cover is counted once. Ids that never became messages are counted too: "about". Where the ids have jumped, rows are counted.
        known := known || coalesce((
            WITH recent AS MATERIALIZED (
                SELECT s.stream, s.marked_at, s.last_id, greatest(0, s.last_id - greatest(s.first_id - 1,
                           coalesce(lag(s.last_id) OVER (ORDER BY s.last_id, s.first_id DESC), 0))) AS ids
                  FROM (SELECT * FROM boxhaul.sent x ORDER BY x.last_id DESC, x.first_id LIMIT 20000) s),
            rate AS (
                SELECT coalesce(sum(m.ids) FILTER (WHERE m.marked_at > clock_timestamp() - interval '10 s'), 0)::float8 / 10 AS ten,
                       coalesce(sum(m.ids), 0)::float8 / 60 AS sixty
                  FROM (SELECT r.marked_at, CASE WHEN r.ids <= 65536 THEN r.ids ELSE (
                                   SELECT count(*) FROM (SELECT FROM boxhaul.outbox o
                                                          WHERE o.id > r.last_id - r.ids AND o.id <= r.last_id LIMIT 65536) x) END AS ids
                          FROM recent r WHERE r.marked_at > clock_timestamp() - interval '60 s') m),
            reasons AS (
                SELECT e.kind, e.last_error, max(e.stream) AS stream, sum(e.hi - e.lo + 1) AS ids, count(*) AS ranges,
                       min(e.since) AS since
                  FROM boxhaul.exceptions e GROUP BY e.kind, e.last_error ORDER BY sum(e.hi - e.lo + 1) DESC LIMIT 20),
            named AS (
                SELECT n.name, n.i
                  FROM jsonb_array_elements_text(coalesce(status.streams,
                           (SELECT jsonb_agg(DISTINCT r.stream) FROM recent r))) WITH ORDINALITY AS n (name, i))
            SELECT jsonb_build_object(
                'leader', p.leader, 'epoch', p.epoch, 'led_since', p.led_since,
                'led_seconds', extract(epoch FROM clock_timestamp() - p.led_since)::float8,
                -- The session that holds the lead has not begun to (where that is seen).
                'not_begun', coalesce((SELECT a.backend_start > p.led_since FROM pg_stat_activity a WHERE a.pid = boxhaul.leader_pid()), false),
                'position', p.position, 'marked_at', p.marked_at,
                'marked_seconds', extract(epoch FROM clock_timestamp() - p.marked_at)::float8,
                'asleep', boxhaul.is_asleep(),
                'rate_10s', rate.ten, 'rate_60s', rate.sixty,
                'exceptions', coalesce((
                    SELECT jsonb_object_agg(k.kind, k.n)
                      FROM (SELECT e.kind, sum(e.hi - e.lo + 1) AS n FROM boxhaul.exceptions e GROUP BY e.kind) k), '{}'),
                'reasons', coalesce((
                    SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
                               'kind', r.kind, 'reason', r.last_error, 'stream', r.stream, 'ids', r.ids, 'ranges', r.ranges,
                               'since', r.since, 'seconds', extract(epoch FROM clock_timestamp() - r.since)::float8)))
                      FROM reasons r), '[]'),
                'lanes_held', (SELECT count(DISTINCT e.lane) FROM boxhaul.exceptions e),
                'dead_letters', (SELECT count(*) FROM boxhaul.dead_letter),
                'held', (SELECT count(*) FROM boxhaul.dead_letter d WHERE d.held),
                'streams', (
                    SELECT coalesce(jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
                               'name', n.name, 'last_id', s.last_id, 'marked_at', s.marked_at,
                               'seconds', extract(epoch FROM clock_timestamp() - s.marked_at)::float8)) ORDER BY n.i), '[]')
                      FROM named n
                      LEFT JOIN LATERAL (SELECT x.last_id, x.marked_at FROM boxhaul.sent x WHERE x.stream = n.name
                                          ORDER BY x.last_id DESC LIMIT 1) s ON true))
              FROM boxhaul.position p, rate), '{}');
    EXCEPTION WHEN lock_not_available THEN
        unread := unread || 'the books'::text;
    END;
    BEGIN
        -- Quiet: the leader of now has said so, not an earlier one of itself.
        known := known || jsonb_build_object('paused', (
            SELECT jsonb_strip_nulls(jsonb_build_object(
                       'by', x.paused_by, 'since', x.since, 'reason', x.reason,
                       'told', (SELECT s.told FROM boxhaul.pause_state() s),
                       'quiet', coalesce(x.quiet_epoch = p.epoch, false), 'quiet_at', x.quiet_at,
                       'seconds', extract(epoch FROM clock_timestamp() - x.since)::float8))
              FROM boxhaul.paused x, boxhaul.position p));
    EXCEPTION WHEN lock_not_available THEN
        unread := unread || 'the pause'::text;
    END;
    BEGIN
        -- The oldest message that waits: the first above the position, or in an exception. A dead letter waits for a person,
        -- not for us. Counting a large backlog row by row would cost what the relay saves: from 100,000 on ids are counted. "late": at or below the
        -- position, of a transaction that was open when the relay passed it and has committed since. "hot": the key of most of the
        -- first thousand that wait.
        known := known || (
            WITH above AS (
                SELECT o.id, o.subject, o.key, o.created_at FROM boxhaul.outbox o, boxhaul.position p
                 WHERE o.id > p.position ORDER BY o.id LIMIT 1),
            excepted AS (
                SELECT o.*
                  FROM (SELECT e.lo, e.hi FROM boxhaul.exceptions e WHERE e.kind <> 'held' ORDER BY e.lo LIMIT 10000) e
                 CROSS JOIN LATERAL (SELECT x.id, x.subject, x.key, x.created_at FROM boxhaul.outbox x
                                      WHERE x.id BETWEEN e.lo AND e.hi ORDER BY x.id LIMIT 1) o
                 ORDER BY e.lo LIMIT 1),
            late AS MATERIALIZED (SELECT * FROM boxhaul.appeared()),
            newest AS (SELECT o.id FROM boxhaul.outbox o ORDER BY o.id DESC LIMIT 1),
            counted AS (
                SELECT (SELECT l.messages FROM late l) AS late,
                       CASE WHEN w.n < 100000 THEN w.n ELSE (SELECT n.id - p.position FROM newest n, boxhaul.position p) END AS above
                  FROM (SELECT count(*) AS n FROM (SELECT FROM boxhaul.outbox o, boxhaul.position p
                                                    WHERE o.id > p.position LIMIT 100000) r) w),
            hot AS (SELECT * FROM boxhaul.hot()),
            oldest AS (SELECT x.* FROM (SELECT * FROM above UNION ALL SELECT * FROM excepted) x ORDER BY x.id LIMIT 1),
            lanes AS (
                SELECT e.lane, min(e.lo) AS lo, sum(e.hi - e.lo + 1) AS ids, max(e.last_error) AS last_error,
                       bool_or(e.kind = 'held') AS held
                  FROM boxhaul.exceptions e WHERE e.lane IS NOT NULL GROUP BY e.lane ORDER BY min(e.lo) LIMIT 5)
            SELECT jsonb_build_object(
                'newest_id', (SELECT n.id FROM newest n),
                'waiting', (SELECT c.above + c.late FROM counted c),
                'late', (SELECT c.late FROM counted c),
                'waiting_seconds', coalesce(boxhaul.seconds_since(least(
                    (SELECT a.created_at FROM above a), (SELECT l.oldest FROM late l))), 0),
                'hot', (SELECT jsonb_build_object('key', h.key, 'messages', h.messages, 'of', h.total) FROM hot h WHERE h.key IS NOT NULL),
                'lag_seconds', coalesce((SELECT boxhaul.seconds_since(x.created_at) FROM oldest x), 0),
                'oldest', (SELECT jsonb_build_object('id', x.id, 'subject', boxhaul.shown(x.subject), 'key', boxhaul.shown(x.key), 'created_at', x.created_at)
                             FROM oldest x),
                'lanes', (SELECT coalesce(jsonb_agg(jsonb_build_object(
                                     'key', (SELECT boxhaul.shown(o.key) FROM boxhaul.outbox o WHERE o.id = l.lo), 'id', l.lo, 'ids', l.ids,
                                     'reason', l.last_error, 'held', l.held) ORDER BY l.lo), '[]') FROM lanes l)));
    EXCEPTION WHEN lock_not_available THEN
        unread := unread || 'the outbox'::text;
    END;
    RETURN known || jsonb_build_object('unread', (
        SELECT coalesce(jsonb_agg(jsonb_build_object('what', u, 'locked', true)), '[]') FROM unnest(unread) u));
END
$$;

-- All that the database knows of one id, one object. Of an id without a row, too: it has an exception, a dead letter, a mark that
-- covered it, neighbours. drawn: the newest id there is, for who may read the sequence. xid: for who may see it. ahead: the first
-- message before it in its lane that is not settled. low_water: by stream of `streams`, a JSON array: what a mark did not
-- settle is stored above it, and no mark settled what was not inserted yet.
CREATE OR REPLACE FUNCTION boxhaul.explain(id bigint, streams jsonb DEFAULT NULL) RETURNS jsonb
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on SET lock_timeout = '1s'
    SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
DECLARE
    known jsonb;
    lane_key text;
    born timestamptz;
BEGIN
    SELECT jsonb_build_object(
        'position', p.position,
        'row', (SELECT to_jsonb(m) FROM (
            SELECT x.message_id, boxhaul.shown(x.subject) AS subject, boxhaul.shown(x.key) AS key, x.created_at, x.state, x.sent_at, x.attempts, x.last_error, x.payload_bytes,
                   boxhaul.seconds_since(x.created_at) AS seconds,
                   boxhaul.seconds_since(x.created_at, x.sent_at) AS took_seconds
              FROM boxhaul.messages x WHERE x.id = explain.id) m),
        'exception', (SELECT to_jsonb(e) FROM (
            SELECT x.lo, x.hi, x.kind, x.attempts, x.last_error, x.stream, x.low_water,
                   extract(epoch FROM clock_timestamp() - x.since)::float8 AS seconds
              FROM boxhaul.exceptions x WHERE x.lo <= explain.id ORDER BY x.lo DESC LIMIT 1) e WHERE e.hi >= explain.id),
        'letter', (SELECT to_jsonb(d) FROM (
            SELECT x.message_id, boxhaul.shown(x.subject) AS subject, boxhaul.shown(x.key) AS key, x.created_at, x.reason, x.attempts, x.held, x.decision, x.died_at,
                   extract(epoch FROM clock_timestamp() - x.died_at)::float8 AS seconds
              FROM boxhaul.dead_letter x WHERE x.id = explain.id) d),
        'given_up', (SELECT to_jsonb(g) FROM (
            SELECT x.reason, x.discarded_by, x.discarded_at FROM boxhaul.discarded x WHERE x.id = explain.id) g),
        'mark', (SELECT to_jsonb(s) FROM (
            SELECT x.stream, x.first_id, x.last_id, x.marked_at FROM boxhaul.sent x
             WHERE x.last_id >= explain.id AND x.first_id <= explain.id ORDER BY x.last_id, x.first_id DESC LIMIT 1) s),
        'below', (SELECT to_jsonb(o) FROM (
            SELECT x.id, boxhaul.seconds_since(x.created_at) AS seconds
              FROM boxhaul.outbox x WHERE x.id < explain.id ORDER BY x.id DESC LIMIT 1) o),
        'newest_id', (SELECT coalesce(max(o.id), 0) FROM boxhaul.outbox o),
        'drawn', CASE WHEN has_sequence_privilege(pg_get_serial_sequence('boxhaul.outbox', 'id'), 'SELECT')
                      THEN coalesce(pg_sequence_last_value(pg_get_serial_sequence('boxhaul.outbox', 'id')::regclass), 0) END)
      INTO known FROM boxhaul.position p;
    IF coalesce(known -> 'row', 'null') = 'null' THEN
        RETURN coalesce(known, '{}');
    END IF;
    IF has_column_privilege('boxhaul.outbox', 'xid', 'SELECT') THEN
        known := known || coalesce((SELECT jsonb_build_object('xid', o.xid::text) FROM boxhaul.outbox o WHERE o.id = explain.id), '{}');
    END IF;
    lane_key := known -> 'row' ->> 'key';
    IF lane_key IS NOT NULL AND known -> 'row' ->> 'state' <> 'sent' THEN
        known := known || jsonb_build_object('ahead', (SELECT to_jsonb(m) FROM (
            SELECT x.id, x.state, x.last_error FROM boxhaul.messages x WHERE x.id = (
                SELECT min(u.id) FROM (
                    (SELECT o.id FROM boxhaul.outbox o, boxhaul.position p
                      WHERE o.id > p.position AND o.id < explain.id AND o.key = lane_key ORDER BY o.id LIMIT 1)
                    UNION ALL
                    (SELECT o.id FROM (SELECT e.lo, e.hi FROM boxhaul.exceptions e
                                        WHERE e.lo < explain.id AND (e.lane IS NULL OR e.lane = hashtextextended(lane_key, 0))
                                        ORDER BY e.lo LIMIT 10000) e
                      CROSS JOIN LATERAL (SELECT y.id FROM boxhaul.outbox y
                                           WHERE y.id BETWEEN e.lo AND least(e.hi, explain.id - 1) AND y.key = lane_key
                                           ORDER BY y.id LIMIT 1) o
                      ORDER BY o.id LIMIT 1)) u)) m));
    END IF;
    born := (known -> 'row' ->> 'created_at')::timestamptz;
    RETURN known || jsonb_build_object('low_water', coalesce((
        SELECT jsonb_object_agg(w.name, coalesce((SELECT s.low_water FROM boxhaul.sent s
                                              WHERE s.stream = w.name AND s.last_id < explain.id AND s.marked_at < born
                                              ORDER BY s.last_id DESC LIMIT 1), 0))
          FROM jsonb_array_elements_text(explain.streams) w (name)), '{}'));
END
$$;

-- The id of a message. By its message id: of several rows the newest, which is the message now. By its key: the first that is not
-- settled, or else the newest. NULL: no row that is kept has it. No index knows either: it reads the whole outbox.
CREATE OR REPLACE FUNCTION boxhaul.find_message(by_message_id uuid, by_key text) RETURNS bigint
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT CASE WHEN find_message.by_message_id IS NOT NULL
                THEN greatest((SELECT max(o.id) FROM boxhaul.outbox o WHERE o.message_id = find_message.by_message_id),
                              (SELECT max(d.id) FROM boxhaul.dead_letter d WHERE d.message_id = find_message.by_message_id))
                ELSE coalesce((SELECT min(m.id) FROM boxhaul.messages m
                                WHERE m.key = find_message.by_key AND m.state NOT IN ('sent', 'dead')),
                              (SELECT max(o.id) FROM boxhaul.outbox o WHERE o.key = find_message.by_key)) END
$$;

-- What the caller may not do and a relay must be able to, in words. No row: nothing is missing.
CREATE OR REPLACE FUNCTION boxhaul.not_granted() RETURNS SETOF text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT v.what || ' on ' || v.thing
      FROM (VALUES
            (1, 'SELECT', 'boxhaul.outbox', has_table_privilege('boxhaul.outbox', 'SELECT')),
            (2, 'SELECT', 'boxhaul.exceptions', has_table_privilege('boxhaul.exceptions', 'SELECT')),
            (3, 'SELECT', 'boxhaul.dead_letter', has_table_privilege('boxhaul.dead_letter', 'SELECT')),
            (4, 'SELECT', 'boxhaul.sent', has_table_privilege('boxhaul.sent', 'SELECT')),
            (5, 'EXECUTE', 'boxhaul.try_leader_lock', has_function_privilege('boxhaul.try_leader_lock()', 'EXECUTE')),
            (6, 'EXECUTE', 'boxhaul.lead', has_function_privilege('boxhaul.lead(text, integer)', 'EXECUTE')),
            (7, 'EXECUTE', 'boxhaul.resign', has_function_privilege('boxhaul.resign(bigint, integer)', 'EXECUTE')),
            (8, 'EXECUTE', 'boxhaul.announce', has_function_privilege('boxhaul.announce(integer)', 'EXECUTE')),
            (9, 'EXECUTE', 'boxhaul.outbox_xmin', has_function_privilege('boxhaul.outbox_xmin()', 'EXECUTE')),
            (10, 'EXECUTE', 'boxhaul.mark', has_function_privilege('boxhaul.mark(bigint, jsonb)', 'EXECUTE')),
            (11, 'EXECUTE', 'boxhaul.truncate_slot', has_function_privilege('boxhaul.truncate_slot(bigint, integer, interval)', 'EXECUTE')),
            (12, 'SELECT', pg_get_serial_sequence('boxhaul.outbox', 'id'),
             has_sequence_privilege(pg_get_serial_sequence('boxhaul.outbox', 'id'), 'SELECT'))
           ) AS v (i, what, thing, may)
     WHERE NOT v.may ORDER BY v.i
$$;

-- Who owns the relay's functions, what that role may not do and they do with its rights, and what mends it. No row: nothing is
-- missing. (A tool that gives tables away leaves functions, or slots, with another owner.)
CREATE OR REPLACE FUNCTION boxhaul.owner_lacks() RETURNS TABLE (owner name, what text, mend text)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    WITH owner AS (SELECT r.oid, r.rolname FROM pg_proc p JOIN pg_roles r ON r.oid = p.proowner
                    WHERE p.oid = 'boxhaul.lead(text, integer)'::regprocedure),
    needed AS (
        SELECT 'TABLE' AS kind, x.thing, unnest(x.rights) AS may
          FROM (VALUES ('position', '{SELECT,UPDATE}'::text[]), ('exceptions', '{SELECT,INSERT,UPDATE,DELETE}'),
                       ('sent', '{SELECT,INSERT,DELETE}'), ('dead_letter', '{SELECT,INSERT,UPDATE,DELETE}'),
                       ('wake', '{SELECT,INSERT,DELETE}'), ('paused', '{SELECT,INSERT,UPDATE,DELETE}'),
                       ('discarded', '{SELECT,INSERT,DELETE}'), ('outbox', '{SELECT,INSERT}')) AS x (thing, rights)
        UNION ALL
        SELECT 'TABLE', c.relname, unnest('{SELECT,TRUNCATE}'::text[]) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
         WHERE i.inhparent = 'boxhaul.outbox'::regclass
        UNION ALL
        SELECT 'SEQUENCE', (SELECT c.relname FROM pg_class c WHERE c.oid = pg_get_serial_sequence('boxhaul.outbox', 'id')::regclass), 'SELECT'
        UNION ALL
        SELECT 'SEQUENCE', 'relay_asleep', unnest('{SELECT,UPDATE}'::text[]))
    SELECT o.rolname, string_agg(format('%s on boxhaul.%s', n.may, n.thing), ', ' ORDER BY n.kind, n.thing, n.may),
           format('GRANT ALL ON ALL TABLES IN SCHEMA boxhaul TO %1$I; GRANT ALL ON ALL SEQUENCES IN SCHEMA boxhaul TO %1$I', o.rolname)
      FROM owner o, needed n
     WHERE NOT CASE n.kind WHEN 'TABLE' THEN has_table_privilege(o.oid, format('boxhaul.%I', n.thing), n.may)
                           ELSE has_sequence_privilege(o.oid, format('boxhaul.%I', n.thing), n.may) END
     GROUP BY o.rolname
$$;

INSERT INTO boxhaul.schema_version (version, name) VALUES (6, 'look') ON CONFLICT DO NOTHING;
