-- boxhaul 004: the relay's books: position, exceptions, what was sent, dead letters; who leads; and how they are kept.
--
-- A message is settled when its id is at or below the position and inside no exception.

SET standard_conforming_strings = on;  -- what stands below is written for it

CREATE TABLE IF NOT EXISTS boxhaul.position (
    one        boolean     NOT NULL DEFAULT true PRIMARY KEY CHECK (one),
    position   bigint      NOT NULL DEFAULT 0,   -- all ids at or below it are settled, but for the exceptions
    marked     bigint      NOT NULL DEFAULT 0,   -- the same, by marks alone: where they differ somebody else has changed one of them
    epoch      bigint      NOT NULL DEFAULT 0,   -- raised by every new leader; guards every mark
    leader     text,                             -- name, host and process of the last leader
    led_since  timestamptz,
    marked_at  timestamptz,
    mark_xid   xid8        NOT NULL DEFAULT pg_current_xact_id(),  -- of the last mark or lead: whoever drew an id up to the position has a lower one
    system     bigint,                           -- the cluster's identifier, when the lead was taken: xids are its own
    lease_ms   integer     NOT NULL DEFAULT 0,   -- the leader may publish so long after its last sign of life; 0 = it resigned
    timeline   text                              -- the server's, when the lead was taken
) WITH (fillfactor = 50);                        -- one HOT update per mark
INSERT INTO boxhaul.position DEFAULT VALUES ON CONFLICT DO NOTHING;

-- The low water of a stream: a sequence above which a copy of a message is stored, if it is stored at all; 0 = it may be
-- anywhere. The newest row of boxhaul.sent has that of everything above the position, and of every exception without one of
-- its own.

-- Ranges of ids at or below the position that are not settled.
--   missing  drawn, but no row visible yet (its transaction still runs, or has rolled back)
--   parked   held back, because its stream or its lane cannot take messages now
--   held     a poison message whose lane waits for an operator (dead_letter.decision)
--   active   being published
CREATE TABLE IF NOT EXISTS boxhaul.exceptions (
    lo         bigint      NOT NULL PRIMARY KEY,
    hi         bigint      NOT NULL CHECK (hi >= lo),
    kind       text        NOT NULL CHECK (kind IN ('missing', 'parked', 'held', 'active')),
    lane       bigint,                           -- hash of the key whose lane is held back, if it is one lane
    attempts   integer     NOT NULL DEFAULT 0,
    last_error text,
    since      timestamptz NOT NULL DEFAULT clock_timestamp(),
    stream     text,                             -- it was sent there, and nobody knows whether it is stored:
    low_water  bigint                            -- if so, above this sequence; 0 without a stream: it may have been sent anywhere
);

-- One row per mark and stream: what it settled, and where the stream stood. Each index costs every mark some 70 bytes of WAL. The key is
-- also that of who replicates the table; an id that is redriven is marked again, in another transaction.
CREATE TABLE IF NOT EXISTS boxhaul.sent (
    xid        xid8        NOT NULL DEFAULT pg_current_xact_id(),  -- of the mark: whoever drew an id up to last_id has a lower one
    first_id   bigint      NOT NULL,
    last_id    bigint      NOT NULL,
    stream     text        NOT NULL,
    low_water  bigint      NOT NULL,             -- of whatever was not settled by this mark; 0 = not known
    marked_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (stream, last_id, first_id, xid)
);
CREATE INDEX IF NOT EXISTS sent_last_id ON boxhaul.sent (last_id, first_id DESC);

CREATE TABLE IF NOT EXISTS boxhaul.dead_letter (
    id         bigint      NOT NULL PRIMARY KEY,
    message_id uuid,
    subject    text,
    key        text,
    payload    bytea,
    headers    jsonb,
    created_at timestamptz,
    reason     text        NOT NULL,
    attempts   integer     NOT NULL,
    held       boolean     NOT NULL,             -- its lane waits for a decision
    decision   text        CHECK (decision IN ('redrive', 'discard')),
    died_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    boxhaul_headers jsonb                        -- as in the outbox
);

-- Every message with its state, computed from the books: no write per row.
CREATE OR REPLACE VIEW boxhaul.messages AS
SELECT o.id, o.message_id, o.subject, o.key, o.created_at,
       CASE WHEN d.held THEN 'held'
            WHEN d.id IS NOT NULL THEN 'dead'
            WHEN e.kind = 'missing' THEN 'pending'      -- committed since the relay last looked
            WHEN e.kind IS NOT NULL THEN e.kind
            WHEN o.id <= p.position THEN 'sent'
            ELSE 'pending' END                            AS state,
       CASE WHEN d.id IS NULL AND e.lo IS NULL AND o.id <= p.position THEN s.marked_at END AS sent_at,
       coalesce(d.attempts, e.attempts, 0)                AS attempts,
       coalesce(d.reason, e.last_error)                   AS last_error,
       octet_length(o.payload)                            AS payload_bytes,
       CASE WHEN o.boxhaul_headers IS NULL THEN o.headers ELSE coalesce(o.headers, '{}') || o.boxhaul_headers END AS headers
  FROM boxhaul.outbox o
 CROSS JOIN boxhaul.position p
  LEFT JOIN boxhaul.dead_letter d ON d.id = o.id
  LEFT JOIN LATERAL (SELECT x.lo, x.hi, x.kind, x.attempts, x.last_error FROM boxhaul.exceptions x
                      WHERE x.lo <= o.id ORDER BY x.lo DESC LIMIT 1) e ON e.hi >= o.id
  LEFT JOIN LATERAL (SELECT x.marked_at, x.first_id FROM boxhaul.sent x
                      WHERE x.last_id >= o.id ORDER BY x.last_id, x.first_id DESC LIMIT 1) s ON s.first_id <= o.id;

COMMENT ON VIEW boxhaul.messages IS
    'state: pending, sent, parked (its stream or lane cannot take messages), active (being published), '
    'held (waits for redrive or discard), dead (see boxhaul.dead_letter)';

-- --- the lead ---

-- Whoever holds this advisory lock leads. It belongs to the database and to the session: lose the connection, lose the lead.
CREATE OR REPLACE FUNCTION boxhaul.leader_lock() RETURNS integer
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$ SELECT 1651472488 $$;

-- Did we get it? It lives as long as the session.
CREATE OR REPLACE FUNCTION boxhaul.try_leader_lock() RETURNS boolean
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT pg_try_advisory_lock(boxhaul.leader_lock(), 1)
$$;

-- The session that holds it; NULL = nobody leads.
CREATE OR REPLACE FUNCTION boxhaul.leader_pid() RETURNS integer
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT l.pid FROM pg_locks l
     WHERE l.locktype = 'advisory' AND l.classid::bigint = boxhaul.leader_lock() AND l.objid = 1 AND l.objsubid = 2
       AND l.granted AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
$$;

-- A pause as it is told; NULL: there is none.
CREATE OR REPLACE FUNCTION boxhaul.pause_text(paused_at timestamptz, paused_by text, reason text) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT CASE WHEN paused_at IS NOT NULL
                THEN concat('by ', paused_by, ' at ', to_char(paused_at, 'YYYY-MM-DD HH24:MI:SS TZ'), ': ' || reason) END
$$;

-- Leads of other kinds (a subscription's, a capture's) are advisory locks by name. Such a lock, too, belongs to the database and to the session.
-- The session that holds it; NULL = nobody.
CREATE OR REPLACE FUNCTION boxhaul.lock_pid(lock text) RETURNS integer
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    key bigint := hashtextextended('boxhaul ' || lock, 0);
BEGIN
    RETURN (SELECT l.pid FROM pg_locks l JOIN pg_database d ON d.oid = l.database AND d.datname = current_database()
             WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
               AND l.classid::bigint = (key >> 32) & 4294967295 AND l.objid::bigint = key & 4294967295 LIMIT 1);
END
$$;

-- Did we get it? It lives as long as the session, or until it is given back. A leader says something every few seconds: one that has said
-- nothing for longer than `silent` is frozen, with its machine or alone, or cut off without a word to the server, and its session lives. It is
-- ended here, and whoever asks next gets the lock. A session of another login is left alone, for what it does cannot be seen.
CREATE OR REPLACE FUNCTION boxhaul.lock_try(lock text, silent interval) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    holder record;
BEGIN
    IF pg_try_advisory_lock(hashtextextended('boxhaul ' || lock, 0)) THEN
        RETURN true;
    END IF;
    SELECT a.pid, clock_timestamp() - a.state_change AS silent INTO holder
      FROM pg_stat_activity a
     WHERE a.pid = (SELECT boxhaul.lock_pid(lock)) AND a.state = 'idle' AND a.usename = session_user
       AND a.state_change < clock_timestamp() - lock_try.silent;
    IF FOUND THEN
        RAISE LOG 'boxhaul: the session % of whoever leads % has said nothing for %: it is ended', holder.pid, lock, holder.silent;
        PERFORM pg_terminate_backend(holder.pid);
    END IF;
    RETURN false;
END
$$;

CREATE OR REPLACE FUNCTION boxhaul.lock_return(lock text) RETURNS boolean
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT pg_advisory_unlock(hashtextextended('boxhaul ' || lock, 0))
$$;

-- --- are these the books of these rows? ---
--
-- Nobody reads below the position. So an id that is drawn there is never sent: where the sequence went back, was made anew, or
-- hands out ids in another order than that of time.

-- The sequence of ids: its name, its file (another one where it was made anew or altered), the highest id drawn, and whether it
-- counts one by one, for everybody. With a CACHE two sessions draw from two ranges, and a lower id comes after a higher one: what is
-- concluded of a missing id would be wrong.
CREATE OR REPLACE FUNCTION boxhaul.ids(OUT name text, OUT sequence oid, OUT node bigint, OUT drawn bigint, OUT counts boolean)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT s.name, s.name::regclass::oid, pg_relation_filenode(s.name::regclass)::bigint, coalesce(pg_sequence_last_value(s.name::regclass), 0),
           q.seqcache = 1 AND q.seqincrement = 1 AND NOT q.seqcycle
      FROM (SELECT pg_get_serial_sequence('boxhaul.outbox', 'id') AS name) s JOIN pg_sequence q ON q.seqrelid = s.name::regclass
$$;

-- Rows at or below the position that were inserted after the mark that passed their ids: among the `most` highest, and among as many of the
-- lowest of each slot. (A slot is filled as time goes on: what comes now with an id of long ago stands at its beginning.) Whoever
-- drew an id had an xid before, so a lower one than any mark that settled that id or a higher one (002). In another cluster than the
-- last leader's, where the books were restored, xids say nothing: there the times are compared. Nor do those of rows that were
-- restored, once the new cluster's have come so far: so a row must also have been inserted after that mark by its time, but for a
-- minute, by which a clock may be put back.
CREATE OR REPLACE FUNCTION boxhaul.late_rows(most bigint DEFAULT NULL)
    RETURNS TABLE (id bigint, created_at timestamptz)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on
    SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $$
    SELECT o.id, o.created_at
      FROM boxhaul.position p,
           LATERAL ((SELECT x.id, x.xid, x.created_at FROM boxhaul.outbox x WHERE x.id <= p.position ORDER BY x.id DESC LIMIT most)
                    UNION
                    SELECT y.* FROM generate_series(0, 7) AS g (slot),
                           LATERAL (SELECT x.id, x.xid, x.created_at FROM boxhaul.outbox x
                                     WHERE most IS NOT NULL AND x.slot = g.slot AND x.id <= p.position ORDER BY x.id LIMIT most) y) o,
           LATERAL (SELECT least(p.mark_xid, s.xid) AS xid, coalesce(s.marked_at, p.marked_at, '-infinity') AS at
                      FROM (VALUES (1)) AS one (row)
                      LEFT JOIN LATERAL (SELECT x.xid, x.marked_at FROM boxhaul.sent x WHERE x.last_id >= o.id
                                          ORDER BY x.last_id, x.first_id DESC LIMIT 1) s ON true) m
     WHERE CASE WHEN p.system IS NULL OR p.system = (SELECT c.system_identifier FROM pg_control_system() c)
                THEN o.xid >= m.xid AND o.xid < pg_snapshot_xmax(pg_current_snapshot()) AND o.created_at > m.at - interval '1 minute'
                ELSE o.created_at > p.marked_at END
$$;

-- Why nobody may lead over these books; NULL = they are right.
CREATE OR REPLACE FUNCTION boxhaul.ids_differ() RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    s record;
    at_position bigint;
    at_mark bigint;
    newest bigint := (SELECT o.id FROM boxhaul.outbox o ORDER BY o.id DESC LIMIT 1);
    twice bigint;
BEGIN
    SELECT p.position, p.marked INTO at_position, at_mark FROM boxhaul.position p;
    SELECT * INTO s FROM boxhaul.ids();
    IF at_position IS NULL THEN
        RETURN 'boxhaul.position is empty: nobody knows what was sent';
    ELSIF s.name IS NULL THEN
        RETURN 'boxhaul.outbox has no sequence of its own for its ids';
    -- First of what may be wrong with the ids: they come from there, and go on coming.
    ELSIF EXISTS (SELECT FROM pg_subscription_rel r JOIN pg_partition_tree('boxhaul.outbox') t ON t.relid = r.srrelid) THEN
        RETURN 'boxhaul.outbox is filled by a subscription: ids come in the order of commits there, and rows would be lost';
    ELSIF NOT s.counts THEN
        RETURN format('%s does not count one by one (CACHE, INCREMENT or CYCLE): rows would be lost', s.name);
    ELSIF at_position <> at_mark THEN
        RETURN format('the position was changed from %s to %s, and not by a mark: rows would be lost, or sent again', at_mark, at_position);
    ELSIF s.drawn < at_position THEN
        RETURN format('ids up to %s are drawn, but the position is %s: new rows would never be sent', s.drawn, at_position);
    ELSIF s.drawn < newest THEN
        RETURN format('ids up to %s are drawn, but there are rows up to %s: ids would come twice', s.drawn, newest);
    ELSIF EXISTS (SELECT FROM boxhaul.late_rows(1000)) THEN
        RETURN format('rows were inserted at or below the position %s: they would never be sent', at_position);
    END IF;
    SELECT o.id INTO twice
      FROM (SELECT x.id, lag(x.id) OVER (ORDER BY x.id) AS before
              FROM (SELECT y.id FROM boxhaul.outbox y WHERE y.id > at_position ORDER BY y.id LIMIT 10000) x) o
     WHERE o.id = o.before ORDER BY o.id LIMIT 1;
    IF twice IS NOT NULL THEN
        RETURN format('two rows have the id %s: one of them would never be sent', twice);
    END IF;
    RETURN NULL;
END
$$;

-- What to do about it.
CREATE OR REPLACE FUNCTION boxhaul.ids_remedy(why text) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT CASE WHEN why LIKE '%one by one%' THEN (SELECT format('ALTER SEQUENCE %s CACHE 1 INCREMENT 1 NO CYCLE', name) FROM boxhaul.ids())
                WHEN why LIKE '%subscription%' THEN
                    'Run the relay at the publisher; or ALTER PUBLICATION there without boxhaul''s tables, and ALTER SUBSCRIPTION here '
                    '... REFRESH PUBLICATION'
                WHEN why LIKE '%by a mark%' THEN 'UPDATE boxhaul.position SET position = marked'
                WHEN why LIKE '%is empty%' THEN
                    'INSERT INTO boxhaul.position (position, marked, epoch) SELECT coalesce(max(last_id), 0), coalesce(max(last_id), 0), '
                    'count(*) + 1 FROM boxhaul.sent'
                WHEN why LIKE '%of its own%' THEN
                    'ALTER SEQUENCE ... OWNED BY boxhaul.outbox.id: the sequence that its ids are drawn from'
                ELSE 'stop the relays, then SELECT boxhaul.mend_ids(): nothing is lost, and what waits keeps its order' END
$$;

-- Puts the sequence above everything that was ever drawn; then gives new ids, in the order of time, to every row that was
-- inserted since the sequence went back. Their message ids stay: what was stored of them already is not stored again. Waits until
-- nobody writes to the outbox, and lets nobody in until it has ended. Returns what it did, in words.
--
-- Since it went back: since the first row that should not be where it is, at or below the position and inserted since the last mark,
-- or behind another row with its id. What was inserted before that stands in its place.
CREATE OR REPLACE FUNCTION boxhaul.mend_ids() RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    top   bigint;
    since timestamptz;
    moved bigint := 0;
    at_position bigint;
    r     record;
BEGIN
    LOCK TABLE boxhaul.outbox IN EXCLUSIVE MODE;
    SELECT p.position INTO STRICT at_position FROM boxhaul.position p FOR UPDATE;
    IF boxhaul.leader_pid() IS NOT NULL THEN
        RAISE EXCEPTION 'boxhaul: a relay leads' USING HINT = 'Stop it first.', ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    top := greatest(at_position, (SELECT max(o.id) FROM boxhaul.outbox o), (SELECT max(e.hi) FROM boxhaul.exceptions e),
                    (SELECT s.drawn FROM boxhaul.ids() s), 1);
    PERFORM setval((SELECT s.name FROM boxhaul.ids() s)::regclass, top);
    SELECT min(x.created_at) INTO since
      FROM (SELECT l.created_at FROM boxhaul.late_rows() l
            UNION ALL
            SELECT max(o.created_at) FROM boxhaul.outbox o GROUP BY o.id HAVING count(*) > 1) x;
    FOR r IN SELECT o.* FROM boxhaul.outbox o
              WHERE o.created_at >= since
                AND (o.id > at_position OR o.id IN (SELECT l.id FROM boxhaul.late_rows() l)
                     OR EXISTS (SELECT FROM boxhaul.outbox x WHERE x.id = o.id AND x.created_at < o.created_at))
              ORDER BY o.created_at, o.id
    LOOP
        DELETE FROM boxhaul.outbox o WHERE o.id = r.id AND o.slot = r.slot;
        INSERT INTO boxhaul.outbox (message_id, subject, key, payload, headers, boxhaul_headers, created_at)
        SELECT r.message_id, r.subject, r.key, r.payload, h.headers, h.boxhaul_headers, r.created_at
          FROM boxhaul.part_headers(r.headers, r.boxhaul_headers) h;
        moved := moved + 1;
    END LOOP;
    RETURN format('ids go on above %s; %s rows have new ones', top, moved);
END
$$;

-- Take the lead. The caller holds the leader's advisory lock, and publishes nothing later than lease_ms after the
-- database last answered. fence is an xid drawn now: every id drawn before this call belongs to a transaction with a
-- lower xid. others_ms: so long from now may an earlier leader, if it lives, still publish; 0 if it resigned. first: nobody has
-- ever led. outbox, sequence, node, drawn: the table, and of its ids; since: a snapshot. What every fetch is held against. If the server was promoted since the last lead that the books know
-- of, they may be older than what was done: somebody may have led, and may live; and whatever they hold may have been sent.
--
-- Nobody leads over books that are not those of the rows (ids_differ()): rows would be lost.
--
-- In two parts, for who rehearses it: take_lead() is all of it that can be taken back.
CREATE OR REPLACE FUNCTION boxhaul.take_lead(leader text, lease_ms integer,
                                             OUT epoch bigint, OUT at_position bigint, OUT fence xid8, OUT others_ms integer,
                                             OUT first boolean, OUT outbox oid, OUT sequence oid, OUT node bigint, OUT drawn bigint,
                                             OUT since pg_snapshot)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    why      text;
    line     text := left(pg_walfile_name(pg_current_wal_lsn()), 8);
    promoted boolean;
BEGIN
    SELECT coalesce(p.timeline, '00000001') <> line, p.epoch = 0 AND line = '00000001', p.lease_ms
      INTO promoted, take_lead.first, take_lead.others_ms FROM boxhaul.position p FOR UPDATE;
    since := pg_current_snapshot();  -- before the look below: what comes later is news to every fetch
    why := boxhaul.ids_differ();
    IF why IS NOT NULL THEN
        RAISE EXCEPTION 'boxhaul: %', why
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = boxhaul.ids_remedy(why);
    END IF;
    IF promoted THEN
        others_ms := take_lead.lease_ms;
        UPDATE boxhaul.exceptions e SET low_water = 0 WHERE e.stream IS NULL;
    END IF;
    UPDATE boxhaul.position p
       SET epoch = p.epoch + 1, leader = take_lead.leader, led_since = clock_timestamp(), lease_ms = take_lead.lease_ms, timeline = line,
           mark_xid = pg_current_xact_id(), system = (SELECT c.system_identifier FROM pg_control_system() c)
    RETURNING p.epoch, p.position INTO STRICT take_lead.epoch, take_lead.at_position;
    SELECT n.sequence, n.node, n.drawn INTO take_lead.sequence, take_lead.node, take_lead.drawn FROM boxhaul.ids() n;
    take_lead.outbox := 'boxhaul.outbox'::regclass;
    take_lead.fence := pg_current_xact_id();
END
$$;

CREATE OR REPLACE FUNCTION boxhaul.lead(leader text, lease_ms integer,
                                        OUT epoch bigint, OUT at_position bigint, OUT fence xid8, OUT others_ms integer,
                                        OUT first boolean, OUT outbox oid, OUT sequence oid, OUT node bigint, OUT drawn bigint,
                                        OUT since pg_snapshot)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    SELECT t.epoch, t.at_position, t.fence, t.others_ms, t.first, t.outbox, t.sequence, t.node, t.drawn, t.since
      INTO STRICT epoch, at_position, fence, others_ms, first, outbox, sequence, node, drawn, since
      FROM boxhaul.take_lead(lead.leader, lead.lease_ms) t;
    PERFORM setval('boxhaul.relay_asleep', 1);
END
$$;

-- The leader publishes nothing any more: whoever leads next need not wait for its lease, only, for others_ms, for those who
-- led before it. Nobody listens until then, so nobody has to notify.
CREATE OR REPLACE FUNCTION boxhaul.resign(epoch bigint, others_ms integer) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    UPDATE boxhaul.position p SET lease_ms = others_ms WHERE p.epoch = resign.epoch;
    IF FOUND THEN
        PERFORM setval('boxhaul.relay_asleep', 1);
    END IF;
END
$$;

-- --- rows that cannot be read ---
--
-- A character without an equivalent in UTF-8, a chunk of a payload that is broken: the database says so of a whole statement. These say
-- it of one row. Each column is touched in a block of its own; nothing here may fail for what stands in a row.

-- Why this row cannot be sent to the caller, its SQLSTATE first; NULL = it can. keyed: its key can be hashed; key_is_text: and told to the
-- caller. `most`: a longer payload is not wanted. with_key: it cannot be sent without its key. Only where everything is touched as it would be on its way (not sliced, not
-- copied as it stands) is its answer worth something. The words are ASCII: they may not be what cannot be converted.
CREATE OR REPLACE FUNCTION boxhaul.unreadable(id bigint, most bigint, with_key boolean, OUT why text, OUT keyed boolean, OUT key_is_text boolean)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on
    SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
BEGIN
    BEGIN
        SELECT hashtextextended(o.key, 0) IS NOT NULL INTO keyed FROM boxhaul.outbox o WHERE o.id = unreadable.id;
    EXCEPTION WHEN OTHERS THEN
        keyed := false;
        why := sqlstate || ' ' || encode(convert_to(sqlerrm, getdatabaseencoding()), 'escape');
        RETURN;
    END;
    BEGIN
        SELECT convert_to(o.key, pg_client_encoding()) IS NOT NULL INTO key_is_text FROM boxhaul.outbox o WHERE o.id = unreadable.id;
    EXCEPTION WHEN OTHERS THEN
        key_is_text := false;
    END;
    PERFORM convert_to(o.subject, pg_client_encoding()), convert_to(o.headers::text, pg_client_encoding()),
            convert_to(o.boxhaul_headers::text, pg_client_encoding()),
            CASE WHEN with_key THEN convert_to(o.key, pg_client_encoding()) END,
            CASE WHEN octet_length(o.payload) BETWEEN 1 AND most THEN get_byte(o.payload, octet_length(o.payload) - 1) END
       FROM boxhaul.outbox o WHERE o.id = unreadable.id;
EXCEPTION WHEN OTHERS THEN
    why := sqlstate || ' ' || encode(convert_to(sqlerrm, getdatabaseencoding()), 'escape');
END
$$;

-- What can be read of a row: NULL where a column cannot. For its dead letter.
CREATE OR REPLACE FUNCTION boxhaul.salvage(id bigint, OUT message_id uuid, OUT subject text, OUT key text, OUT payload bytea,
                                           OUT headers jsonb, OUT created_at timestamptz, OUT boxhaul_headers jsonb)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on
    SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
BEGIN
    SELECT o.message_id, o.created_at INTO message_id, created_at FROM boxhaul.outbox o WHERE o.id = salvage.id;
    BEGIN
        SELECT o.boxhaul_headers::text::jsonb INTO boxhaul_headers FROM boxhaul.outbox o WHERE o.id = salvage.id;
    EXCEPTION WHEN OTHERS THEN NULL;
    END;
    BEGIN
        SELECT o.subject || '' INTO subject FROM boxhaul.outbox o WHERE o.id = salvage.id;
    EXCEPTION WHEN OTHERS THEN NULL;
    END;
    BEGIN
        SELECT o.key || '' INTO key FROM boxhaul.outbox o WHERE o.id = salvage.id;
    EXCEPTION WHEN OTHERS THEN NULL;
    END;
    BEGIN
        SELECT o.payload || ''::bytea INTO payload FROM boxhaul.outbox o WHERE o.id = salvage.id;
    EXCEPTION WHEN OTHERS THEN NULL;
    END;
    BEGIN
        SELECT o.headers::text::jsonb INTO headers FROM boxhaul.outbox o WHERE o.id = salvage.id;
    EXCEPTION WHEN OTHERS THEN NULL;
    END;
END
$$;

-- A text for people, as it stands if it can be told as UTF-8; else its bytes, in ASCII.
CREATE OR REPLACE FUNCTION boxhaul.shown(words text) RETURNS text
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    PERFORM convert_to(words, 'UTF8');
    RETURN words;
EXCEPTION WHEN OTHERS THEN
    RETURN encode(convert_to(words, getdatabaseencoding()), 'escape');
END
$$;

-- --- marking ---

-- Mark a batch: one call, one transaction. Fails, and changes nothing, unless the caller's epoch is current.
-- Returns the transaction's xid: the fence for every id that was found missing before this call.
--
-- The batch is one value, an object. What is empty is left out:
--   from        the position that the caller marked last, or took the lead with: another one is in the books only where
--               somebody has put other books there
--   position    all ids at or below it are settled now, but for the exceptions
--   settled     "lo" of exceptions that are none any more
--   exceptions  new ones: rows of boxhaul.exceptions
--   dead        new dead letters: id, reason, attempts, held
--   forgotten   ids of dead letters that are settled
--   sent        rows of boxhaul.sent
CREATE OR REPLACE FUNCTION boxhaul.mark(epoch bigint, batch jsonb) RETURNS xid8
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    to_position bigint := (batch -> 'position')::bigint;
BEGIN
    UPDATE boxhaul.position p
       SET position = to_position, marked = to_position, marked_at = clock_timestamp(), mark_xid = pg_current_xact_id()
     WHERE p.epoch = mark.epoch AND p.position = (batch -> 'from')::bigint AND p.position <= to_position;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'boxhaul: another relay leads (epoch % is over), or the position is not % any more', mark.epoch, batch -> 'from'
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    IF batch -> 'settled' IS NOT NULL THEN
        DELETE FROM boxhaul.exceptions e
         WHERE e.lo = ANY (ARRAY(SELECT x::bigint FROM jsonb_array_elements(batch -> 'settled') x));
    END IF;
    IF batch -> 'exceptions' IS NOT NULL THEN
        INSERT INTO boxhaul.exceptions (lo, hi, kind, lane, attempts, last_error, stream, low_water)
        SELECT x.lo, x.hi, x.kind, x.lane, x.attempts, x.last_error, x.stream, x.low_water
          FROM jsonb_to_recordset(batch -> 'exceptions')
               AS x (lo bigint, hi bigint, kind text, lane bigint, attempts integer, last_error text, stream text, low_water bigint);
    END IF;
    IF batch -> 'dead' IS NOT NULL THEN
        -- What stands behind a dead letter is sent when this is answered: then it must stand here after any crash. (A standby is not
        -- waited for: it has another timeline when it takes over.)
        PERFORM set_config('synchronous_commit', 'local', true);
        -- From the list, not from the outbox: a letter whose row is gone is still on record.
        INSERT INTO boxhaul.dead_letter AS d
               (id, message_id, subject, key, payload, headers, boxhaul_headers, created_at, reason, attempts, held)
        SELECT n.id, o.message_id, o.subject, o.key, o.payload, o.headers, o.boxhaul_headers, o.created_at, n.reason,
               n.attempts, n.held
          FROM jsonb_to_recordset(batch -> 'dead') AS n (id bigint, reason text, attempts integer, held boolean)
          LEFT JOIN LATERAL boxhaul.salvage(n.id) o ON true
        ON CONFLICT (id) DO UPDATE
           SET reason = excluded.reason, attempts = excluded.attempts, held = excluded.held,
               decision = NULL, died_at = clock_timestamp();
    END IF;
    IF batch -> 'forgotten' IS NOT NULL THEN
        DELETE FROM boxhaul.dead_letter d
         WHERE d.id = ANY (ARRAY(SELECT x::bigint FROM jsonb_array_elements(batch -> 'forgotten') x));
    END IF;
    IF batch -> 'sent' IS NOT NULL THEN
        INSERT INTO boxhaul.sent (first_id, last_id, stream, low_water)
        SELECT x.first_id, x.last_id, x.stream, x.low_water
          FROM jsonb_to_recordset(batch -> 'sent') AS x (first_id bigint, last_id bigint, stream text, low_water bigint);
    END IF;
    RETURN pg_current_xact_id();
END
$$;

-- --- void ids ---

-- Evidence about the owners of missing ids, from the lock table: no transaction with an xid below the
-- result can still own an id that was drawn before this call.
--
-- Why: whoever draws an id has locked the outbox first and owned an xid first (column order), and keeps
-- both until it has ended. So the lowest xid among the holders bounds them all from below, and where nobody
-- holds, the first xid not yet completed does. Unlike the snapshot's xmin it does not wait for writers that
-- never touched the outbox.
--
-- PREPARE TRANSACTION hands the locks to another holder one by one, so a look in between can see a holder without its
-- xid. But before it does, the transaction stands in pg_prepared_xacts, and stays there until it has ended:
-- whoever slipped through the first look is seen by the second. (A prepared transaction that never touched the outbox
-- delays voiding, and nothing else.)
CREATE OR REPLACE FUNCTION boxhaul.outbox_xmin() RETURNS xid8
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    next   bigint := pg_snapshot_xmax(pg_current_snapshot())::text::bigint;
    bound  bigint;
    prepared bigint;
BEGIN
    -- pg_locks shows 32 bits of an xid: the nearest 64-bit value to "next" is meant.
    WITH locks AS MATERIALIZED (SELECT locktype, database, relation, transactionid, virtualtransaction FROM pg_locks),
    holder AS (
        SELECT DISTINCT virtualtransaction FROM locks
        WHERE locktype = 'relation'
          AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND relation IN (SELECT relid FROM pg_partition_tree('boxhaul.outbox')))
    SELECT min(next + ((t.transactionid::text::bigint - next + 2147483648) & 4294967295) - 2147483648)
      INTO bound
      FROM locks t JOIN holder USING (virtualtransaction)
     WHERE t.locktype = 'transactionid';
    SELECT min(next + ((p.transaction::text::bigint - next + 2147483648) & 4294967295) - 2147483648)
      INTO prepared
      FROM pg_prepared_xacts p WHERE p.database = current_database();
    RETURN least(next, bound, prepared)::text::xid8;
END
$$;

-- --- cleaning up ---

-- Empty one slot of the ring if every row in it is settled and older than the retention. Returns true if
-- it did. Never waits for a lock, so nobody ever waits behind it; the slots that producers write to now or
-- next are left alone.
CREATE OR REPLACE FUNCTION boxhaul.truncate_slot(epoch bigint, slot integer, retention interval) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    part   text := format('boxhaul.outbox_%s', slot);
    period bigint := boxhaul.slot_seconds();
    now_   bigint := extract(epoch FROM clock_timestamp())::bigint / period;
    p      bigint;
    top    bigint;
    newest timestamptz;
    unsettled boolean;
BEGIN
    IF slot NOT BETWEEN 0 AND 7 OR slot IN (now_ % 8, (now_ + 1) % 8) THEN
        RETURN false;
    END IF;
    -- A look without a lock first: an empty or young slot is the usual case.
    EXECUTE format('SELECT id, created_at FROM %s ORDER BY id DESC LIMIT 1', part) INTO top, newest;
    IF top IS NULL OR newest > clock_timestamp() - retention THEN
        RETURN false;
    END IF;
    -- Whoever has an uncommitted row in the slot holds a lock that conflicts with this one, prepared
    -- transactions included: with the lock in hand, what is not visible below does not exist.
    BEGIN
        EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE NOWAIT', part);
    EXCEPTION WHEN lock_not_available THEN
        RETURN false;
    END;
    SELECT x.position INTO p FROM boxhaul.position x WHERE x.epoch = truncate_slot.epoch FOR SHARE;
    IF p IS NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('SELECT id, created_at FROM %s ORDER BY id DESC LIMIT 1', part) INTO top, newest;
    IF top IS NULL OR top > p OR newest > clock_timestamp() - retention THEN
        RETURN false;
    END IF;
    EXECUTE format('SELECT EXISTS (SELECT FROM boxhaul.exceptions e, LATERAL '
                   '(SELECT FROM %s o WHERE o.id BETWEEN e.lo AND e.hi LIMIT 1) o)', part) INTO unsettled;
    IF unsettled THEN
        RETURN false;
    END IF;
    EXECUTE format('TRUNCATE %s', part);
    RETURN true;
END
$$;

-- Each of these is a transaction of its own, short and bounded, and waits for no lock: what fails, fails alone, and nothing that
-- leads, reads or sends stands behind it.

-- What was sent of rows that are not kept any more, `most` of it, oldest first. The newest row of each stream stays: it says from
-- where a later leader has to look. Returns how many rows went.
CREATE OR REPLACE FUNCTION boxhaul.clean_sent(epoch bigint, retention interval, most integer) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on
    SET lock_timeout = '10ms' SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    gone  bigint;
    below bigint := coalesce((SELECT o.id FROM boxhaul.outbox o ORDER BY o.id LIMIT 1),
                             (SELECT p.position FROM boxhaul.position p));
BEGIN
    DELETE FROM boxhaul.sent s
     WHERE s.ctid = ANY (ARRAY(SELECT x.ctid FROM boxhaul.sent x
                    WHERE x.last_id < below AND x.marked_at < clock_timestamp() - retention
                      AND EXISTS (SELECT FROM boxhaul.sent y WHERE y.stream = x.stream AND y.last_id > x.last_id)
                    ORDER BY x.last_id LIMIT most))
       AND EXISTS (SELECT FROM boxhaul.position p WHERE p.epoch = clean_sent.epoch);
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN gone;
END
$$;

-- What producers left behind to be woken by, `most` of it. Returns how many rows went.
CREATE OR REPLACE FUNCTION boxhaul.clean_wake(most integer) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on
    SET lock_timeout = '10ms' AS $$
DECLARE
    gone bigint;
BEGIN
    DELETE FROM boxhaul.wake w WHERE w.id IN (SELECT x.id FROM boxhaul.wake x ORDER BY x.id LIMIT most);
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN gone;
END
$$;

-- --- a rehearsal ---

-- What a relay does to the books, done and taken back: fails as the relay would, in the server's words. step: lead, mark or clean.
-- No sequence is set or drawn from, no file is made, and no row is touched but the position's and its own, whose ids (-1) nobody
-- draws. So nothing stays but dead rows, and whoever waits behind it waits for its length: no lock is waited for longer than
-- half a second. For a time when nobody leads: then nobody marks.
CREATE OR REPLACE FUNCTION boxhaul.rehearse(step text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on
    SET lock_timeout = '500ms' AS $$
DECLARE
    at_epoch    bigint;
    at_position bigint;
    which       text;
BEGIN
    BEGIN
        SELECT p.epoch, p.position INTO STRICT at_epoch, at_position FROM boxhaul.position p;
        IF step = 'lead' THEN
            PERFORM boxhaul.take_lead('boxhaul check', 0);
        ELSIF step = 'mark' THEN
            PERFORM boxhaul.mark(at_epoch, jsonb_build_object('from', at_position, 'position', at_position,
                'exceptions', '[{"lo": -1, "hi": -1, "kind": "parked", "attempts": 0}]'::jsonb,
                'dead', '[{"id": -1, "reason": "a rehearsal", "attempts": 0, "held": false}]'::jsonb,
                'sent', '[{"first_id": -1, "last_id": -1, "stream": "", "low_water": 0}]'::jsonb));
            PERFORM boxhaul.mark(at_epoch, jsonb_build_object('from', at_position, 'position', at_position,
                'settled', '[-1]'::jsonb, 'forgotten', '[-1]'::jsonb));
        ELSIF step = 'clean' THEN
            INSERT INTO boxhaul.sent (first_id, last_id, stream, low_water) VALUES (-1, -1, '', 0);
            DELETE FROM boxhaul.sent s WHERE s.last_id = -1;
            PERFORM boxhaul.clean_sent(at_epoch, '0', 0), boxhaul.clean_wake(0);
            SELECT format('%s refers to %s', c.conrelid::regclass, c.confrelid::regclass) INTO which
              FROM pg_constraint c JOIN pg_inherits i ON i.inhrelid = c.confrelid
             WHERE c.contype = 'f' AND i.inhparent = 'boxhaul.outbox'::regclass ORDER BY c.oid LIMIT 1;
            IF which IS NOT NULL THEN
                RAISE EXCEPTION 'cannot truncate a table referenced in a foreign key constraint (%)', which
                    USING ERRCODE = 'feature_not_supported', HINT = 'Drop the foreign key: rows of the outbox go away.';
            END IF;
        END IF;
        SET CONSTRAINTS ALL IMMEDIATE;  -- what would fail at the commit
        RAISE EXCEPTION 'boxhaul: taken back' USING ERRCODE = 'BX000';
    EXCEPTION WHEN SQLSTATE 'BX000' THEN
        NULL;
    END;
END
$$;

INSERT INTO boxhaul.schema_version (version, name) VALUES (4, 'books') ON CONFLICT DO NOTHING;
