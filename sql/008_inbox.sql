-- boxhaul 008: the inbox: what others publish takes effect in this database, exactly once and in order per key.
--
-- A subscription follows one stream. The relay's leader takes messages and inserts them; workers of the service handle them
-- in their own transactions. Everything is told from three places:
--
--   inbox_position  how far the stream was taken: moved only by a compare-and-set in the transaction that inserts the rows
--   inbox_lane      how far each lane was handled: all rows up to its cursor are handled, parked or dead
--   inbox_parked    rows that wait behind the cursor: one failed, and those of its key that follow it
--
-- Nothing is written per message but the message: a batch costs one row of inbox_position, a worker's transaction two versions of
-- one row of inbox_lane. Old rows go away by TRUNCATE.
--
-- Order per key rests on this: ids rise in the order of the stream (one writer, see inbox_take); rows of a key are in one lane;
-- a lane is handled by whoever holds the lock of its row, in order of the ids; and the lock goes with the transaction.

SET standard_conforming_strings = on;  -- what stands below is written for it

-- --- tables ---

-- What the configuration says of a subscription. Changed by inbox_define() only.
CREATE TABLE IF NOT EXISTS boxhaul.subscription (
    name           text        NOT NULL PRIMARY KEY CHECK (name ~ '^[A-Za-z0-9_-]{1,64}$' OR name = 'sagas.replies'),
    number         integer     NOT NULL GENERATED ALWAYS AS IDENTITY UNIQUE,   -- names its sequences
    stream         text        NOT NULL,
    subjects       text[]      NOT NULL,
    key_rule       text        NOT NULL,
    lanes          integer     NOT NULL CHECK (lanes BETWEEN 1 AND 256),
    dedupe         text        NOT NULL CHECK (dedupe IN ('ids', 'position')),
    handler        text        NOT NULL,         -- a function that boxhaul calls; '' = workers of the service
    poison         text        NOT NULL CHECK (poison IN ('hold', 'skip')),
    max_attempts   integer     NOT NULL CHECK (max_attempts >= 1),
    stuck_after    interval    NOT NULL CHECK (stuck_after > '0'),
    crash_attempts integer     NOT NULL CHECK (crash_attempts >= 0),           -- 0 = never parked for it
    retention      interval    NOT NULL CHECK (retention > '0'),
    defined_at     timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- One row a subscription, one HOT update a batch.
CREATE TABLE IF NOT EXISTS boxhaul.inbox_position (
    subscription text        NOT NULL PRIMARY KEY,
    epoch        bigint      NOT NULL DEFAULT 0,       -- raised by every new leader
    leader       text,
    led_since    timestamptz,
    created      text,                                 -- when the stream was created, in the server's words; NULL = not opened yet
    incarnation  integer     NOT NULL DEFAULT 0,       -- which history of the stream: raised when it was truncated or made anew
    position     bigint      NOT NULL DEFAULT 0,       -- every message of it up to here that matched is in the inbox, dead or known
    began        bigint      NOT NULL DEFAULT 0,       -- where it began, or went back to since: nothing below was ever asked for
    witness      bigint,                               -- ns: the time of the message at the position; NULL = not known
    last_id      bigint      NOT NULL DEFAULT 0,
    lane_last    bigint[]    NOT NULL,                 -- the highest id of each lane, so that nobody has to probe idle lanes
    taken        bigint      NOT NULL DEFAULT 0,       -- rows inserted
    left_out     bigint      NOT NULL DEFAULT 0,       -- known by their id
    dead         bigint      NOT NULL DEFAULT 0,       -- could not be taken: inbox_dead
    lost         bigint      NOT NULL DEFAULT 0,       -- sequences that were gone before they were read, and accepted as lost
    moved_at     timestamptz,
    notified_at  timestamptz,
    stop         jsonb,                                -- why nothing is taken: {"kind": ..., ...}, see inbox_stop()
    paused_at    timestamptz,
    paused_by    text,
    pause_reason text,
    CHECK (stop IS NULL OR stop ->> 'kind' IN ('gap', 'truncated', 'recreated', 'kind', 'no_stream', 'start_ahead', 'refused'))
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
-- In the row, never beside it: an update of a value that was moved out would write it again.
ALTER TABLE boxhaul.inbox_position ALTER COLUMN lane_last SET STORAGE PLAIN;

-- Where to go back to when a stream lost its end: sequence and time of the message at each position that was reached.
CREATE TABLE IF NOT EXISTS boxhaul.trail (
    subscription text        NOT NULL,
    seq          bigint      NOT NULL,
    incarnation  integer     NOT NULL,
    witness      bigint      NOT NULL,             -- ns: the time of the message at seq
    at           timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (subscription, seq)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- The messages. Never updated, never deleted row by row. slot stands in the key because the table is partitioned by it.
CREATE TABLE IF NOT EXISTS boxhaul.inbox (
    subscription text        NOT NULL,
    lane         integer     NOT NULL,
    id           bigint      NOT NULL,
    slot         smallint    NOT NULL,
    seq          bigint      NOT NULL,             -- in the stream; 0 = a dead letter that was put back
    incarnation  integer     NOT NULL,
    message_id   uuid,                             -- Nats-Msg-Id, hashed unless it is a uuid; NULL = the message had none
    subject      text        NOT NULL,
    key          text,
    payload      bytea       NOT NULL,
    headers      jsonb,
    stored_at    timestamptz NOT NULL,             -- in the stream
    received_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (subscription, lane, id, slot)
) PARTITION BY LIST (slot);

-- The ids of the last `retention`, where dedupe is "ids". A ring of its own, of three: each id that is looked up costs a probe in
-- each slot.
CREATE TABLE IF NOT EXISTS boxhaul.seen (
    subscription text     NOT NULL,
    id           uuid     NOT NULL,
    slot         smallint NOT NULL,
    inbox_id     bigint   NOT NULL,
    PRIMARY KEY (subscription, id, slot)
) PARTITION BY LIST (slot);

DO $$
BEGIN
    FOR s IN 0 .. 7 LOOP
        EXECUTE pg_catalog.format('CREATE TABLE IF NOT EXISTS boxhaul.inbox_%s PARTITION OF boxhaul.inbox FOR VALUES IN (%s) '
                                  'WITH (autovacuum_vacuum_insert_threshold = -1)', s, s);
    END LOOP;
    FOR s IN 0 .. 2 LOOP
        EXECUTE pg_catalog.format('CREATE TABLE IF NOT EXISTS boxhaul.seen_%s PARTITION OF boxhaul.seen FOR VALUES IN (%s) '
                                  'WITH (autovacuum_vacuum_insert_threshold = -1)', s, s);
    END LOOP;
END
$$;

-- The slots of both rings. Rows go into the current one. A slot of the inbox that was left is open until none of its rows is above
-- its lane's cursor; then workers never look at it again, so that nothing of theirs is in the way of its TRUNCATE. A slot is
-- entered only when it is empty: ids rise along the turns.
CREATE TABLE IF NOT EXISTS boxhaul.inbox_slot (
    ring  text        NOT NULL CHECK (ring IN ('inbox', 'seen')),
    slot  smallint    NOT NULL,
    state text        NOT NULL CHECK (state IN ('empty', 'current', 'open', 'drained')),
    turn  bigint      NOT NULL,                    -- rises with each slot that is entered
    since timestamptz NOT NULL DEFAULT clock_timestamp(),   -- when it was entered, when it is current; else when it was left
    PRIMARY KEY (ring, slot)
);
INSERT INTO boxhaul.inbox_slot (ring, slot, state, turn)
SELECT 'inbox', s, CASE s WHEN 0 THEN 'current' ELSE 'empty' END, CASE s WHEN 0 THEN 1 ELSE 0 END FROM generate_series(0, 7) s
UNION ALL
SELECT 'seen', s, CASE s WHEN 0 THEN 'current' ELSE 'empty' END, CASE s WHEN 0 THEN 1 ELSE 0 END FROM generate_series(0, 2) s
ON CONFLICT DO NOTHING;

-- The lock of this row is the claim: there is no lease, and nothing to clean up behind a worker that died. Whoever changes anything
-- of a lane holds the lock AND updates the row, so that a worker in REPEATABLE READ, whose snapshot is older, is refused with 40001.
CREATE TABLE IF NOT EXISTS boxhaul.inbox_lane (
    subscription  text        NOT NULL,
    lane          integer     NOT NULL,
    cursor        bigint      NOT NULL DEFAULT 0,  -- all rows of the lane up to it are handled, parked or dead
    taker         xid8,                            -- the last transaction that received rows of this lane
    parked        integer     NOT NULL DEFAULT 0,  -- rows of inbox_parked
    next_due      timestamptz,                     -- the first time when one of them may be handed out
    handled       bigint      NOT NULL DEFAULT 0,
    died          bigint      NOT NULL DEFAULT 0,
    moves         bigint      NOT NULL DEFAULT 0,  -- rises whenever something was handled or parked
    moved_at      timestamptz,
    singles       integer     NOT NULL DEFAULT 0,  -- so many rows are handed out one by one
    stuck_since   timestamptz,                     -- handed out again and again, and nothing comes of it
    stuck_draws   bigint,                          -- what the sequence of such receives said then
    watched_moves bigint,                          -- what inbox_watch saw when it saw it first
    watched_draws bigint,
    watched_at    timestamptz,
    PRIMARY KEY (subscription, lane)
) WITH (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- Rows that wait behind the cursor, or above it until it has passed them. Within a key the lowest id is the head: only it is handed
-- out. A row without a key is always a head.
CREATE TABLE IF NOT EXISTS boxhaul.inbox_parked (
    subscription text        NOT NULL,
    lane         integer     NOT NULL,
    id           bigint      NOT NULL,
    slot         smallint    NOT NULL,             -- the row stays there: see inbox_clean
    key          text,
    head         boolean     NOT NULL,
    state        text        NOT NULL CHECK (state IN ('waiting', 'held', 'dead')),   -- dead: only until the cursor has passed it
    attempts     integer     NOT NULL,             -- 0: it only follows one that failed
    next_at      timestamptz,                      -- not before
    error        text,
    received_at  timestamptz NOT NULL,
    since        timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (subscription, lane, id),
    CHECK (NOT head OR state <> 'waiting' OR next_at IS NOT NULL)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);
CREATE INDEX IF NOT EXISTS inbox_parked_key ON boxhaul.inbox_parked (subscription, lane, key, id);
CREATE INDEX IF NOT EXISTS inbox_parked_failed ON boxhaul.inbox_parked (subscription, state, since, id) WHERE attempts > 0;
CREATE INDEX IF NOT EXISTS inbox_parked_due ON boxhaul.inbox_parked (subscription, lane, next_at) WHERE head AND state = 'waiting';

-- Copies, for the rows go.
CREATE TABLE IF NOT EXISTS boxhaul.inbox_dead (
    id           bigint      NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subscription text        NOT NULL,
    lane         integer,
    inbox_id     bigint,                           -- NULL: it never was in the inbox
    seq          bigint      NOT NULL,
    incarnation  integer     NOT NULL,
    message_id   uuid,
    subject      text,
    key          text,
    payload      bytea,
    headers      jsonb,
    stored_at    timestamptz,
    reason       text        NOT NULL,
    attempts     integer     NOT NULL,
    died_at      timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE INDEX IF NOT EXISTS inbox_dead_subscription ON boxhaul.inbox_dead (subscription, id);

-- --- small things ---
--
-- Most of what follows is plpgsql even where SQL would do: it keeps its plans. These two stand in the inner loop of inbox_take, and are
-- SQL to be inlined, as nothing that is SET can: so every name in them is qualified.

-- The id under which a message is known: a uuid in the usual form as it is, anything else hashed; no id, and none that is empty,
-- is no id: two messages without one are two messages. (LIKE gives the lengths: a pattern that counts takes 10 us.)
CREATE OR REPLACE FUNCTION boxhaul.inbox_uuid(id text) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN pg_catalog.texteq(id, '') THEN NULL::pg_catalog.uuid
                WHEN pg_catalog.textlike(id, '________-____-____-____-____________')
                 AND pg_catalog.textregexeq(id, '^[0-9a-f]*-[0-9a-f]*-[0-9a-f]*-[0-9a-f]*-[0-9a-f]*$') THEN id::pg_catalog.uuid
                ELSE pg_catalog.md5(id)::pg_catalog.uuid END
$$;

-- Rows without a key are dealt out, for nothing ties them.
CREATE OR REPLACE FUNCTION boxhaul.inbox_lane_of(key text, id bigint, lanes integer) RETURNS integer LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN key IS NULL THEN pg_catalog.int8mod(id, lanes::pg_catalog.int8)::pg_catalog.int4
                ELSE pg_catalog.int8mod(pg_catalog.int8and(pg_catalog.hashtextextended(key COLLATE "C", 0), 9223372036854775807),
                                        lanes::pg_catalog.int8)::pg_catalog.int4 END
$$;

-- The sequences of a subscription. They count outside of transactions, so that what a worker did that was killed still counts.
--   draws   one for each receive that hands rows out
--   stuck   one for each receive that hands out a row of a lane that stands
--   idle    2: the workers found nothing and want a NOTIFY; else they poll
CREATE OR REPLACE FUNCTION boxhaul.inbox_sequence(what text, number integer) RETURNS regclass
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    RETURN format('boxhaul.inbox_%s_%s', what, number)::regclass;
END
$$;

CREATE OR REPLACE FUNCTION boxhaul.inbox_drawn(what text, number integer) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    RETURN coalesce(pg_sequence_last_value(format('boxhaul.inbox_%s_%s', what, number)::regclass), 0);
END
$$;

-- One slot is read by a plan of its own, which locks that slot and no other. Written out eight times, because a plan is only kept
-- for a statement that stands there.
DO $do$
DECLARE
    cursors text := '';
    rows    text := '';
    head    text := 'LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp '
                    'SET standard_conforming_strings = on SET plan_cache_mode = force_generic_plan '
                    'SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off';
BEGIN
    FOR s IN 0 .. 7 LOOP
        cursors := cursors || pg_catalog.format(
            'WHEN %s THEN OPEN c FOR SELECT * FROM boxhaul.inbox_%s i WHERE i.subscription = inbox_rows.subscription '
            'AND i.lane = inbox_rows.lane AND i.id > inbox_rows.above ORDER BY i.id; ', s, s);
        rows := rows || pg_catalog.format(
            'WHEN %s THEN SELECT * INTO r FROM boxhaul.inbox_%s i WHERE i.subscription = inbox_row.subscription '
            'AND i.lane = inbox_row.lane AND i.id = inbox_row.id; ', s, s);
    END LOOP;
    EXECUTE 'CREATE OR REPLACE FUNCTION boxhaul.inbox_rows(slot integer, subscription text, lane integer, above bigint) '
            'RETURNS refcursor ' || head || ' AS $f$ DECLARE c refcursor; BEGIN CASE slot ' || cursors ||
            'END CASE; RETURN c; END $f$';
    EXECUTE 'CREATE OR REPLACE FUNCTION boxhaul.inbox_row(slot integer, subscription text, lane integer, id bigint) '
            'RETURNS boxhaul.inbox ' || head || ' AS $f$ DECLARE r boxhaul.inbox; BEGIN CASE slot ' || rows ||
            'END CASE; RETURN r; END $f$';
END
$do$;

-- The slots in which a row above a cursor can be, oldest first.
CREATE OR REPLACE FUNCTION boxhaul.inbox_open_slots() RETURNS integer[]
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    RETURN ARRAY(SELECT r.slot::integer FROM boxhaul.inbox_slot r
                  WHERE r.ring = 'inbox' AND r.state IN ('current', 'open') ORDER BY r.turn);
END
$$;

-- --- subscriptions ---

-- Create the subscription, or fit it to the configuration. Returns what changed. What would break order or lose messages is
-- refused, with what to do instead.
CREATE OR REPLACE FUNCTION boxhaul.inbox_define(
    name text, stream text, subjects text[], key_rule text DEFAULT 'header', lanes integer DEFAULT 64,
    dedupe text DEFAULT 'ids', handler text DEFAULT '', poison text DEFAULT 'hold', max_attempts integer DEFAULT 10,
    stuck_after interval DEFAULT '1 minute', crash_attempts integer DEFAULT 3, retention interval DEFAULT '7 days') RETURNS text[]
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    s   boxhaul.subscription;
    did text[] := '{}';
BEGIN
    INSERT INTO boxhaul.subscription AS x (name, stream, subjects, key_rule, lanes, dedupe, handler, poison, max_attempts,
                                           stuck_after, crash_attempts, retention)
    VALUES (inbox_define.name, inbox_define.stream, inbox_define.subjects, inbox_define.key_rule, inbox_define.lanes,
            inbox_define.dedupe, inbox_define.handler, inbox_define.poison, inbox_define.max_attempts,
            inbox_define.stuck_after, inbox_define.crash_attempts, inbox_define.retention)
    ON CONFLICT DO NOTHING RETURNING * INTO s;
    IF FOUND THEN
        EXECUTE format('CREATE SEQUENCE IF NOT EXISTS boxhaul.inbox_draws_%s', s.number);
        EXECUTE format('CREATE SEQUENCE IF NOT EXISTS boxhaul.inbox_stuck_%s', s.number);
        EXECUTE format('CREATE SEQUENCE IF NOT EXISTS boxhaul.inbox_idle_%s MINVALUE 1 MAXVALUE 2', s.number);
        INSERT INTO boxhaul.inbox_position (subscription, lane_last) VALUES (s.name, array_fill(0::bigint, ARRAY[s.lanes]));
        INSERT INTO boxhaul.inbox_lane (subscription, lane) SELECT s.name, g FROM generate_series(0, s.lanes - 1) g;
        RETURN ARRAY[format('subscription %s is new', s.name)];
    END IF;
    SELECT * INTO STRICT s FROM boxhaul.subscription x WHERE x.name = inbox_define.name FOR UPDATE;
    IF (s.stream, s.subjects) IS DISTINCT FROM (inbox_define.stream, inbox_define.subjects)
       AND boxhaul.inbox_may_look_elsewhere(s.name, s.stream <> inbox_define.stream) THEN
        UPDATE boxhaul.subscription x
           SET stream = inbox_define.stream, subjects = inbox_define.subjects, defined_at = clock_timestamp()
         WHERE x.name = s.name RETURNING * INTO s;
        did := did || format('takes %s of stream %s', array_to_string(s.subjects, ', '), s.stream);
    END IF;
    IF s.name = 'sagas.replies' AND (s.stream, s.subjects) IS DISTINCT FROM (inbox_define.stream, inbox_define.subjects) THEN
        PERFORM boxhaul.saga_replies_move(s, inbox_define.stream, inbox_define.subjects);
        s.subjects := inbox_define.subjects;
        did := did || format('takes %s of stream %s', array_to_string(s.subjects, ', '), s.stream);
    END IF;
    IF s.stream <> inbox_define.stream THEN
        RAISE EXCEPTION 'boxhaul: subscription % follows stream %, and its position is one of that stream', s.name, s.stream
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = format('Give the subscription of stream %s another name.', inbox_define.stream);
    END IF;
    IF s.subjects <> inbox_define.subjects THEN
        PERFORM boxhaul.inbox_other_subjects(s, inbox_define.subjects);
    END IF;
    IF (s.lanes, s.key_rule) IS DISTINCT FROM (inbox_define.lanes, inbox_define.key_rule) THEN
        PERFORM boxhaul.inbox_relane(s.name, inbox_define.lanes, inbox_define.key_rule);
        did := did || format('%s lanes, key: %s', inbox_define.lanes, inbox_define.key_rule);
    END IF;
    IF (s.dedupe, s.handler, s.poison, s.max_attempts, s.stuck_after, s.crash_attempts, s.retention) IS DISTINCT FROM
       (inbox_define.dedupe, inbox_define.handler, inbox_define.poison, inbox_define.max_attempts, inbox_define.stuck_after,
        inbox_define.crash_attempts, inbox_define.retention) THEN
        IF s.dedupe = 'position' AND inbox_define.dedupe = 'ids' THEN
            PERFORM boxhaul.inbox_learn(s.name);
        END IF;
        UPDATE boxhaul.subscription x
           SET dedupe = inbox_define.dedupe, handler = inbox_define.handler, poison = inbox_define.poison,
               max_attempts = inbox_define.max_attempts, stuck_after = inbox_define.stuck_after,
               crash_attempts = inbox_define.crash_attempts, retention = inbox_define.retention, defined_at = clock_timestamp()
         WHERE x.name = s.name;
        did := did || format('dedupe: %s, handler: %s, poison: %s, at most %s attempts', inbox_define.dedupe,
                             coalesce(nullif(inbox_define.handler, ''), 'workers'), inbox_define.poison, inbox_define.max_attempts);
    END IF;
    RETURN did;
END
$$;

-- True: nothing stands at or below its position, so with other subjects nothing is passed over (I2). It may have another stream, too, if it
-- has never found the one it has (a name that was misspelt): its position is none of that one's. Whoever leads it as it was is deposed:
-- it would follow with the old filter, or open the old stream as the new one.
CREATE OR REPLACE FUNCTION boxhaul.inbox_may_look_elsewhere(subscription text, in_another_stream boolean) RETURNS boolean
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    UPDATE boxhaul.inbox_position p SET epoch = p.epoch + 1, stop = NULL
     WHERE p.subscription = inbox_may_look_elsewhere.subscription AND p.position = 0
       AND (p.incarnation = 0 OR NOT in_another_stream AND p.stop ->> 'kind' IN ('refused', 'start_ahead'));
    RETURN FOUND;
END
$$;

CREATE OR REPLACE FUNCTION boxhaul.inbox_other_subjects(s boxhaul.subscription, configured text[]) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    RAISE EXCEPTION 'boxhaul: subscription % takes %, not %', s.name, array_to_string(s.subjects, ', '),
                    array_to_string(configured, ', ')
        USING ERRCODE = 'object_not_in_prerequisite_state',
              HINT = format('Where this configuration is the older one, give it the subjects on record, and restart the daemon. Else: what '
                            'only the new subjects match and stands below position %s would never be taken. Give the new '
                            'subscription another name, or accept that: SELECT boxhaul.inbox_subjects(%L, %L); then '
                            'boxhaul.inbox_rewind, if that is wanted.', (SELECT p.position FROM boxhaul.inbox_position p
                             WHERE p.subscription = s.name), s.name, configured::text);
END
$$;

-- Ids are kept from now on. Those of what was taken without them are not on record yet, and a stream that loses its end brings it again:
-- from then on that is told by its id (I3), so the ids have to be there first. The rows of the last retention are, and so are their ids.
-- Under the position's lock, to the commit: a take that is under way is over, and the next one reads what is changed here.
CREATE OR REPLACE FUNCTION boxhaul.inbox_learn(subscription text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    ring smallint;
BEGIN
    PERFORM FROM boxhaul.inbox_position p WHERE p.subscription = inbox_learn.subscription FOR UPDATE;
    SELECT r.slot INTO STRICT ring FROM boxhaul.inbox_slot r WHERE r.ring = 'seen' AND r.state = 'current';
    INSERT INTO boxhaul.seen (subscription, id, slot, inbox_id)
    SELECT inbox_learn.subscription, i.message_id, ring, max(i.id)
      FROM (SELECT x.message_id, x.id FROM boxhaul.inbox x WHERE x.subscription = inbox_learn.subscription
            UNION ALL
            SELECT d.message_id, coalesce(d.inbox_id, 0) FROM boxhaul.inbox_dead d WHERE d.subscription = inbox_learn.subscription) i
     WHERE i.message_id IS NOT NULL
       AND NOT EXISTS (SELECT FROM boxhaul.seen k WHERE k.subscription = inbox_learn.subscription AND k.id = i.message_id)
     GROUP BY i.message_id;
END
$$;

-- Other lanes, or another key, send the later rows of a key into another lane than its earlier ones: nobody would keep their order.
-- So only while none waits: the position's lock keeps new ones away, the lanes' locks the workers.
CREATE OR REPLACE FUNCTION boxhaul.inbox_relane(subscription text, lanes integer, key_rule text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    p boxhaul.inbox_position;
BEGIN
    SELECT * INTO STRICT p FROM boxhaul.inbox_position x WHERE x.subscription = inbox_relane.subscription FOR UPDATE;
    PERFORM FROM boxhaul.inbox_lane l WHERE l.subscription = p.subscription ORDER BY l.lane FOR UPDATE;
    IF EXISTS (SELECT FROM boxhaul.inbox_lane l WHERE l.subscription = p.subscription
                 AND (l.cursor < p.lane_last[l.lane + 1] OR l.parked > 0)) THEN
        RAISE EXCEPTION 'boxhaul: subscription % has messages that wait: with other lanes or keys their order would be lost',
                        p.subscription
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'Go on with the old lanes and key. Stop taking, let the workers handle what waits, retry or skip what is '
                         'parked (SELECT * FROM boxhaul.inbox_status shows both); then change them.';
    END IF;
    UPDATE boxhaul.subscription s SET lanes = inbox_relane.lanes, key_rule = inbox_relane.key_rule, defined_at = clock_timestamp()
     WHERE s.name = p.subscription;
    DELETE FROM boxhaul.inbox_lane l WHERE l.subscription = p.subscription AND l.lane >= inbox_relane.lanes;
    -- What was handled is counted in lane 0 from now on.
    UPDATE boxhaul.inbox_lane l
       SET cursor = p.last_id, moves = l.moves + 1, died = 0,
           handled = CASE l.lane WHEN 0 THEN p.taken ELSE 0 END
     WHERE l.subscription = p.subscription;
    INSERT INTO boxhaul.inbox_lane (subscription, lane, cursor)
    SELECT p.subscription, g, p.last_id FROM generate_series(0, inbox_relane.lanes - 1) g ON CONFLICT DO NOTHING;
    UPDATE boxhaul.inbox_position x SET lane_last = array_fill(p.last_id, ARRAY[inbox_relane.lanes])
     WHERE x.subscription = p.subscription;
END
$$;

-- Take other subjects of the same stream from now on. What only they match and stands at or below the position is not taken.
-- Whoever leads follows with the old filter, and would pass over what only the new one matches (I2): its epoch is over with this
-- transaction, so it moves nothing any more, and inbox_lead refuses its subjects.
-- Of sagas: what is sent from now on asks for answers to the new subject.
CREATE OR REPLACE FUNCTION boxhaul.inbox_subjects(subscription text, subjects text[]) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    UPDATE boxhaul.subscription s SET subjects = inbox_subjects.subjects, defined_at = clock_timestamp()
     WHERE s.name = inbox_subjects.subscription;
    IF NOT FOUND THEN
        PERFORM boxhaul.inbox_unknown(inbox_subjects.subscription);
    END IF;
    UPDATE boxhaul.inbox_position p SET epoch = p.epoch + 1 WHERE p.subscription = inbox_subjects.subscription;
    IF subscription = 'sagas.replies' THEN
        UPDATE boxhaul.saga_settings c SET replies = subjects[1], configured_at = clock_timestamp();
    END IF;
    PERFORM pg_notify('boxhaul', 'inbox');
END
$$;

CREATE OR REPLACE FUNCTION boxhaul.inbox_unknown(subscription text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    RAISE EXCEPTION 'boxhaul: there is no subscription %', subscription
        USING HINT = 'SELECT name FROM boxhaul.subscription lists them.', ERRCODE = 'undefined_object';
END
$$;

-- Forget a subscription and all it holds. Its rows in the ring go too: under the same name, ids would begin anew. While a daemon takes it,
-- it would be there again at once, and take all of the stream once more: refused. So it is while a move waits for its token (013): without the sink nobody could say
-- how that ended, and the source stays fenced. What was decided of moves stays: the source may not have heard of it yet.
CREATE OR REPLACE FUNCTION boxhaul.inbox_drop(subscription text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    s    boxhaul.subscription;
    move uuid;
BEGIN
    SELECT * INTO s FROM boxhaul.subscription x WHERE x.name = inbox_drop.subscription FOR UPDATE;
    IF s.name IS NULL THEN
        PERFORM boxhaul.inbox_unknown(inbox_drop.subscription);
    ELSIF NOT pg_try_advisory_xact_lock(hashtextextended('boxhaul inbox ' || s.name, 0)) THEN
        RAISE EXCEPTION 'boxhaul: a daemon takes the messages of subscription %', s.name
            USING ERRCODE = 'object_in_use', HINT = 'Take it out of the configuration first, and restart the daemon.';
    END IF;
    SELECT m.token INTO move FROM boxhaul.move_target m WHERE m.subscription = s.name AND m.state = 'waiting';
    IF FOUND THEN
        RAISE EXCEPTION 'boxhaul: move % waits for subscription %', move, s.name
            USING ERRCODE = 'object_in_use', HINT = format('`boxhaul cutover --give-up` takes it back. Where its source is gone: SELECT boxhaul.move_give_up(%L, %L)', move, s.name);
    END IF;
    DELETE FROM boxhaul.inbox_position p WHERE p.subscription = s.name;
    DELETE FROM boxhaul.inbox_lane l WHERE l.subscription = s.name;
    DELETE FROM boxhaul.inbox_parked k WHERE k.subscription = s.name;
    DELETE FROM boxhaul.inbox i WHERE i.subscription = s.name;
    DELETE FROM boxhaul.seen k WHERE k.subscription = s.name;
    DELETE FROM boxhaul.trail t WHERE t.subscription = s.name;
    DELETE FROM boxhaul.inbox_dead d WHERE d.subscription = s.name;
    DELETE FROM boxhaul.subscription x WHERE x.name = s.name;
    EXECUTE format('DROP SEQUENCE boxhaul.inbox_draws_%1$s, boxhaul.inbox_stuck_%1$s, boxhaul.inbox_idle_%1$s', s.number);
END
$$;

-- --- the leader ---

-- The lock of whoever takes a subscription's messages: the session's, so it goes with it. Of two daemons the other one stands by. It
-- saves work and no more than that: what keeps two from taking the same twice is the compare-and-set of epoch and position.
--
-- Whoever stands by calls inbox_watch four times in stuck_after, and every 15 seconds at least.
CREATE OR REPLACE FUNCTION boxhaul.inbox_leading_pid(subscription text) RETURNS integer
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT boxhaul.lock_pid('inbox ' || subscription)
$$;

CREATE OR REPLACE FUNCTION boxhaul.inbox_try_lock(subscription text) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    asks interval := least((SELECT s.stuck_after / 4 FROM boxhaul.subscription s WHERE s.name = inbox_try_lock.subscription), '15 s');
BEGIN
    -- A sink leaves the session so that no trigger fires (011). Whose subscription is led in it from now on may need ours.
    IF current_setting('session_replication_role') = 'replica' THEN
        PERFORM set_config('session_replication_role', 'origin', false);
    END IF;
    RETURN boxhaul.lock_try('inbox ' || subscription, 3 * greatest(asks, '1 s') + interval '5 s');
END
$$;

CREATE OR REPLACE FUNCTION boxhaul.inbox_unlock(subscription text) RETURNS boolean
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT boxhaul.lock_return('inbox ' || subscription)
$$;

-- Take the lead of a subscription: from now on whoever led it before takes nothing more, for its epoch is over. Returns how it stands.
-- subjects: what the leader will ask the stream for; others than those on record are refused. They are compared under the position's
-- lock: inbox_subjects was committed before, and is seen, or ends this epoch. NULL: not compared.
CREATE OR REPLACE FUNCTION boxhaul.inbox_lead(subscription text, leader text, subjects text[] DEFAULT NULL) RETURNS boxhaul.inbox_position
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    p boxhaul.inbox_position;
    s boxhaul.subscription;
BEGIN
    UPDATE boxhaul.inbox_position x
       SET epoch = x.epoch + 1, leader = inbox_lead.leader, led_since = clock_timestamp()
     WHERE x.subscription = inbox_lead.subscription RETURNING * INTO p;
    IF NOT FOUND THEN
        PERFORM boxhaul.inbox_unknown(inbox_lead.subscription);
    END IF;
    SELECT * INTO STRICT s FROM boxhaul.subscription x WHERE x.name = p.subscription;
    IF s.subjects <> inbox_lead.subjects THEN
        PERFORM boxhaul.inbox_other_subjects(s, inbox_lead.subjects);
    END IF;
    RETURN p;
END
$$;

-- Open a stream for the first time, from the position that the setting `start` means; witness: the time of the message there, NULL if
-- there is none. Returns 'opened', 'same' when it is open, 'recreated' when it is open and the stream is another one, and NULL when
-- the epoch is over. Only the first changes anything.
--
-- It waits for the disk, and for standbys that are to be waited for, which nothing else of the leader does: what is lost of all else is
-- taken again, but with start = "new" nobody could tell where that was.
CREATE OR REPLACE FUNCTION boxhaul.inbox_open(subscription text, epoch bigint, created text, at_position bigint, witness bigint)
    RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    known text;
BEGIN
    SELECT p.created INTO known FROM boxhaul.inbox_position p
     WHERE p.subscription = inbox_open.subscription AND p.epoch = inbox_open.epoch FOR UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    ELSIF known IS NOT NULL THEN
        RETURN CASE WHEN known = inbox_open.created THEN 'same' ELSE 'recreated' END;
    END IF;
    UPDATE boxhaul.inbox_position p
       SET created = inbox_open.created, incarnation = p.incarnation + 1, position = at_position, began = at_position,
           witness = inbox_open.witness, moved_at = clock_timestamp()
     WHERE p.subscription = inbox_open.subscription;
    PERFORM set_config('synchronous_commit', 'on', true);
    PERFORM boxhaul.inbox_trace(p.subscription, p.incarnation, p.position, p.witness)
       FROM boxhaul.inbox_position p WHERE p.subscription = inbox_open.subscription;
    RETURN 'opened';
END
$$;

CREATE OR REPLACE FUNCTION boxhaul.inbox_trace(subscription text, incarnation integer, seq bigint, witness bigint) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    IF witness IS NOT NULL THEN
        INSERT INTO boxhaul.trail AS t (subscription, seq, incarnation, witness)
        VALUES (inbox_trace.subscription, inbox_trace.seq, inbox_trace.incarnation, inbox_trace.witness)
        ON CONFLICT ON CONSTRAINT trail_pkey DO UPDATE
           SET incarnation = excluded.incarnation, witness = excluded.witness, at = excluded.at;
    END IF;
END
$$;

-- Take the messages of (from_position, to_position] that matched, in the order of the stream. witness: the time of the message at
-- to_position. reasons: NULL, or why a message is of no use (too large, not UTF-8): it is a dead letter at once, and what cannot be
-- stored of it is NULL. taken is NULL, and nothing happened, unless (epoch, incarnation, from_position) is where the subscription stands
-- and it is neither stopped nor paused: at_position says where it stands. lost: so many numbers between the two positions left the
-- stream before they were read, and it is accepted that they are lost. asleep: workers sleep and were notified less than 10 ms ago:
-- call inbox_wake.
--
-- Two leaders (I1, I8): the position is compared and moved under its row's lock, in the transaction that stores the rows. Of two that take
-- from the same position one finds it moved. A COMMIT whose outcome is not known did both or neither: read the position.
--
-- Order (I4): ids are given under the same lock, and the lock is held until the commit: they become visible in their order.
--
-- Once (I3): an id is looked for in all that were seen, after the lock is there: no other taker's row is on its way. And in the
-- batch itself: the first one counts.
CREATE OR REPLACE FUNCTION boxhaul.inbox_take(
    subscription text, epoch bigint, incarnation integer, from_position bigint, to_position bigint, witness bigint,
    seqs bigint[], ids text[], subjects text[], keys text[], payloads bytea[], headers jsonb[], stored bigint[], reasons text[],
    lost bigint DEFAULT 0,
    OUT at_position bigint, OUT taken integer, OUT left_out integer, OUT dead integer, OUT asleep boolean)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on
    SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
    SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    p       boxhaul.inbox_position;
    s       boxhaul.subscription;
    n       integer := coalesce(cardinality(seqs), 0);
    uids    uuid[];
    known   uuid[];
    doubles bigint[] := '{}';
    last    bigint[];
    ring    smallint;
    now_    timestamptz := clock_timestamp();
BEGIN
    SELECT * INTO p FROM boxhaul.inbox_position x WHERE x.subscription = inbox_take.subscription FOR UPDATE;
    at_position := p.position;
    IF p.subscription IS NULL OR p.epoch <> inbox_take.epoch OR p.incarnation <> inbox_take.incarnation
       OR p.position <> from_position OR p.stop IS NOT NULL OR p.paused_at IS NOT NULL THEN
        RETURN;
    END IF;
    IF to_position < from_position OR n > 0 AND (seqs[1] <= from_position OR seqs[n] > to_position) THEN
        RAISE EXCEPTION 'boxhaul: sequences % to % are not within (%, %]', seqs[1], seqs[n], from_position, to_position
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT * INTO STRICT s FROM boxhaul.subscription x WHERE x.name = p.subscription;
    uids := ARRAY(SELECT boxhaul.inbox_uuid(i.id) FROM unnest(ids) AS i (id));
    IF s.dedupe = 'ids' THEN
        -- A probe for each id, written so that there is no other plan: for "= ANY" of an empty slot's statistics the planner reads
        -- all ids of the subscription, and goes on to do so when there are millions.
        known := ARRAY(SELECT u.id FROM unnest(uids) AS u (id), LATERAL (
            SELECT FROM boxhaul.seen k WHERE k.subscription = p.subscription AND k.id = u.id LIMIT 1) k);
        IF cardinality(known) > 0 OR (SELECT count(u) <> count(DISTINCT u) FROM unnest(uids) u) THEN
            doubles := ARRAY(SELECT m.n FROM (SELECT u.id, u.n, row_number() OVER (PARTITION BY u.id ORDER BY u.n) AS copy
                                                FROM unnest(uids) WITH ORDINALITY AS u (id, n)) m
                              WHERE m.id IS NOT NULL AND (m.copy > 1 OR m.id = ANY (known)));
        END IF;
        SELECT r.slot INTO STRICT ring FROM boxhaul.inbox_slot r WHERE r.ring = 'seen' AND r.state = 'current';
        INSERT INTO boxhaul.seen (subscription, id, slot, inbox_id)
        SELECT p.subscription, u.id, ring, p.last_id + u.n FROM unnest(uids) WITH ORDINALITY AS u (id, n)
         WHERE u.id IS NOT NULL AND u.n <> ALL (doubles);
    END IF;
    SELECT r.slot INTO STRICT ring FROM boxhaul.inbox_slot r WHERE r.ring = 'inbox' AND r.state = 'current';
    WITH added AS (
        INSERT INTO boxhaul.inbox (subscription, lane, id, slot, seq, incarnation, message_id, subject, key, payload, headers,
                                   stored_at, received_at)
        SELECT p.subscription, boxhaul.inbox_lane_of(m.key, p.last_id + m.n, s.lanes), p.last_id + m.n, ring, m.seq, p.incarnation,
               m.id, m.subject, m.key, m.payload, m.headers, 'epoch'::timestamptz + m.stored / 1000 * '1 microsecond'::interval, now_
          FROM unnest(seqs, uids, subjects, keys, payloads, headers, stored, reasons) WITH ORDINALITY
            AS m (seq, id, subject, key, payload, headers, stored, reason, n)
         WHERE m.reason IS NULL AND m.n <> ALL (doubles)
        RETURNING lane, id),
    top AS (SELECT a.lane, max(a.id) AS id, count(*) AS rows FROM added a GROUP BY a.lane)
    SELECT array_agg(coalesce(t.id, p.lane_last[g.lane + 1]) ORDER BY g.lane), coalesce(sum(t.rows), 0)
      INTO last, taken
      FROM generate_series(0, s.lanes - 1) AS g (lane) LEFT JOIN top t ON t.lane = g.lane;
    left_out := cardinality(doubles);
    dead := n - taken - left_out;
    IF dead > 0 THEN
        INSERT INTO boxhaul.inbox_dead (subscription, seq, incarnation, message_id, subject, key, payload, headers, stored_at,
                                        reason, attempts)
        SELECT p.subscription, m.seq, p.incarnation, m.id, m.subject, m.key, m.payload, m.headers,
               'epoch'::timestamptz + m.stored / 1000 * '1 microsecond'::interval, m.reason, 0
          FROM unnest(seqs, uids, subjects, keys, payloads, headers, stored, reasons) WITH ORDINALITY
            AS m (seq, id, subject, key, payload, headers, stored, reason, n)
         WHERE m.reason IS NOT NULL AND m.n <> ALL (doubles);
    END IF;
    -- The flag is read without a lock, and set outside any transaction: a NOTIFY holds a lock that every commit of the cluster with
    -- a NOTIFY wants, so there is one only for workers that found nothing, and one in 10 ms.
    asleep := taken > 0 AND boxhaul.inbox_drawn('idle', s.number) = 2;
    IF asleep AND now_ >= coalesce(p.notified_at, '-infinity') + '10 milliseconds'::interval THEN
        PERFORM boxhaul.inbox_wake(p.subscription);
        p.notified_at := now_;
        asleep := false;
    END IF;
    UPDATE boxhaul.inbox_position x
       SET position = to_position, witness = inbox_take.witness, last_id = p.last_id + n, lane_last = last,
           taken = p.taken + inbox_take.taken, left_out = p.left_out + inbox_take.left_out, dead = p.dead + inbox_take.dead,
           lost = p.lost + inbox_take.lost,
           moved_at = now_, notified_at = p.notified_at
     WHERE x.subscription = p.subscription;
    PERFORM boxhaul.inbox_trace(p.subscription, p.incarnation, to_position, inbox_take.witness);
    at_position := to_position;
END
$$;

-- Wake workers that found nothing. For the leader: whenever it has taken something and has nothing more to take, and not more often
-- than every 10 ms. A worker whose look was over before the rows were committed has set the flag by then, or looks again within
-- its second.
CREATE OR REPLACE FUNCTION boxhaul.inbox_wake(subscription text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    number integer := (SELECT s.number FROM boxhaul.subscription s WHERE s.name = inbox_wake.subscription);
BEGIN
    IF number IS NULL OR boxhaul.inbox_drawn('idle', number) <> 2 OR pg_notification_queue_usage() >= 0.5 THEN
        RETURN false;
    END IF;
    PERFORM setval(boxhaul.inbox_sequence('idle', number), 1);
    PERFORM pg_notify('boxhaul_inbox', subscription);
    RETURN true;
END
$$;

-- Nothing matched up to to_position. The message there was asked for: witness is its time, and NULL is refused (I9): a position without
-- a witness could stand in a history that the stream has lost, and what comes under the same numbers would never be taken.
CREATE OR REPLACE FUNCTION boxhaul.inbox_follow(subscription text, epoch bigint, incarnation integer, from_position bigint,
                                                to_position bigint, witness bigint, lost bigint DEFAULT 0) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    IF witness IS NULL OR to_position < from_position THEN
        RAISE EXCEPTION 'boxhaul: the position follows only forward, and with the time of the message there'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    UPDATE boxhaul.inbox_position p
       SET position = to_position, witness = inbox_follow.witness, lost = p.lost + inbox_follow.lost,
           moved_at = clock_timestamp()
     WHERE p.subscription = inbox_follow.subscription AND p.epoch = inbox_follow.epoch
       AND p.incarnation = inbox_follow.incarnation AND p.position = from_position AND p.stop IS NULL AND p.paused_at IS NULL;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM boxhaul.inbox_trace(subscription, incarnation, to_position, witness);
    RETURN true;
END
$$;

-- What lies up to to_position has left the stream before it was read, and that is accepted: go on behind it. No message stands there, so
-- there is no witness; the trail below speaks for the stream until the next take.
CREATE OR REPLACE FUNCTION boxhaul.inbox_pass(subscription text, epoch bigint, incarnation integer, from_position bigint,
                                              to_position bigint, lost bigint) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    UPDATE boxhaul.inbox_position p
       SET position = to_position, witness = NULL, lost = p.lost + inbox_pass.lost, stop = NULL, moved_at = clock_timestamp()
     WHERE p.subscription = inbox_pass.subscription AND p.epoch = inbox_pass.epoch AND p.incarnation = inbox_pass.incarnation
       AND p.position = from_position AND to_position >= from_position AND p.paused_at IS NULL
       AND (p.stop IS NULL OR p.stop ->> 'kind' NOT IN ('truncated', 'recreated'));
    RETURN FOUND;
END
$$;

-- The stream was made anew, and is to be taken from its beginning. As inbox_rewind_to_trail, refused without ids. Every mark of the
-- trail is of a stream that is gone.
CREATE OR REPLACE FUNCTION boxhaul.inbox_restart(subscription text, epoch bigint, incarnation integer, from_position bigint,
                                                 created text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    IF (SELECT s.dedupe <> 'ids' FROM boxhaul.subscription s WHERE s.name = inbox_restart.subscription) THEN
        RAISE EXCEPTION 'boxhaul: subscription % tells no message by its id: a stream that was made anew stops it', subscription
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    UPDATE boxhaul.inbox_position p
       SET position = 0, began = 0, witness = NULL, created = inbox_restart.created, incarnation = p.incarnation + 1, moved_at = clock_timestamp()
     WHERE p.subscription = inbox_restart.subscription AND p.epoch = inbox_restart.epoch
       AND p.incarnation = inbox_restart.incarnation AND p.position = from_position AND p.stop IS NULL;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    DELETE FROM boxhaul.trail t WHERE t.subscription = inbox_restart.subscription;
    RETURN true;
END
$$;

-- The stream has lost its end: go back to seq, the newest row of the trail whose message still has that time; 0: none has, go back to
-- the beginning. What comes again is told by its id, so this is refused without ids; and where ids have been forgotten by now, what
-- stands at the beginning would take effect twice (I3): it stops instead, and a person decides. The incarnation rises: what an earlier
-- taker still has in hand is of the lost history.
CREATE OR REPLACE FUNCTION boxhaul.inbox_rewind_to_trail(subscription text, epoch bigint, incarnation integer, from_position bigint,
                                                         seq bigint) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    mark boxhaul.trail;
BEGIN
    IF (SELECT s.dedupe <> 'ids' FROM boxhaul.subscription s WHERE s.name = inbox_rewind_to_trail.subscription) THEN
        RAISE EXCEPTION 'boxhaul: subscription % tells no message by its id: a truncated stream stops it', subscription
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    SELECT * INTO mark FROM boxhaul.trail t
     WHERE t.subscription = inbox_rewind_to_trail.subscription AND t.seq = inbox_rewind_to_trail.seq;
    IF NOT FOUND AND inbox_rewind_to_trail.seq > 0 THEN
        RAISE EXCEPTION 'boxhaul: sequence % is not in the trail of subscription %', seq, subscription
            USING ERRCODE = 'no_data_found';
    ELSIF inbox_rewind_to_trail.seq = 0 AND EXISTS (SELECT FROM boxhaul.inbox_slot r WHERE r.ring = 'seen' AND (
              r.turn > 3 OR r.turn > 0 AND r.state = 'empty')) THEN
        PERFORM boxhaul.inbox_stop(subscription, epoch, jsonb_build_object('kind', 'truncated', 'from', from_position, 'to', 0),
                                   from_position);
        RETURN false;
    END IF;
    UPDATE boxhaul.inbox_position p
       SET position = inbox_rewind_to_trail.seq, began = least(p.began, inbox_rewind_to_trail.seq), witness = mark.witness,
           incarnation = p.incarnation + 1,
           moved_at = clock_timestamp()
     WHERE p.subscription = inbox_rewind_to_trail.subscription AND p.epoch = inbox_rewind_to_trail.epoch
       AND p.incarnation = inbox_rewind_to_trail.incarnation AND p.position = from_position
       AND p.position >= inbox_rewind_to_trail.seq AND p.stop IS NULL;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    DELETE FROM boxhaul.trail t
     WHERE t.subscription = inbox_rewind_to_trail.subscription AND t.seq > inbox_rewind_to_trail.seq;
    RETURN true;
END
$$;

-- Stop taking, at this position. reason has kind and what the leader saw. Until an operator has decided:
--   gap        first_seq of the stream; nothing behind a gap is taken before that (I12): the take compares
--   truncated  last_seq
--   recreated  created, of the stream that is there now
-- And until the leader, who looks again and again, finds it mended: kind, no_stream, start_ahead, refused. NULL: it is. A stop that waits
-- for an operator is ended by nobody else, but that of a gap, which on_gap = "continue" accepts. false: nothing was changed; somebody
-- has moved the position since the leader looked.
CREATE OR REPLACE FUNCTION boxhaul.inbox_stop(subscription text, epoch bigint, reason jsonb, at_position bigint DEFAULT NULL)
    RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    IF reason ->> 'kind' = 'gap' AND (reason ->> 'first_seq') IS NULL
       OR reason ->> 'kind' = 'recreated' AND (reason ->> 'created') IS NULL THEN
        RAISE EXCEPTION 'boxhaul: a gap needs first_seq, and a stream that was made anew its created'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    UPDATE boxhaul.inbox_position p
       SET stop = reason || jsonb_build_object('at', clock_timestamp(), 'position', p.position)
     WHERE p.subscription = inbox_stop.subscription AND p.epoch = inbox_stop.epoch
       AND (at_position IS NULL OR p.position = at_position)
       AND coalesce(p.stop ->> 'kind', '') NOT IN ('truncated', 'recreated');
    RETURN FOUND;
END
$$;

-- --- lanes: what receive() and handle() share ---
--
-- All of these are called with the lock of the lane's row.

-- Lock a free lane that has something to hand out, and say what. chain: the rows are parked ones, of one key; else they stand above the
-- cursor, and when all are handled it may go to to_cursor. lane is NULL where there is nothing. At most 8 MiB of payloads, but one row.
--
-- Order (I6). A row above the cursor is left out while an earlier row of its key is parked, and parked behind it, so that the cursor can pass.
-- A parked row is only handed out when the cursor has passed it: what stood before it in its key is handled or parked by then; and
-- only as the head of its key, or right behind its head in one batch, which is handled in order or not at all.
-- A row that failed before comes alone: others shall not be rolled back for it.
--
-- Nobody waits here (I10): lanes that are locked are skipped, and the position is only read. A lane that was locked and had nothing to
-- hand out stays locked until the transaction ends; elsewhere only one lane is locked at a time, so there is no deadlock.
--
-- The rows of a lane are read slot by slot, in the order of the turns. A slot is left (inbox_clean) under the locks of all positions: when
-- another is current, every row of the one before is committed. So whoever knows of the later slot sees all rows of the earlier.
CREATE OR REPLACE FUNCTION boxhaul.inbox_pick(subscription text, only_lane integer, most integer,
                                              OUT lane integer, OUT rows boxhaul.inbox[], OUT chain boolean, OUT to_cursor bigint)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on
    SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
    l      record;
    k      boxhaul.inbox_parked;
    r      boxhaul.inbox;
    c      refcursor;
    s      integer;
    tried  integer[] := '{}';
    want   integer;
    bytes  bigint;
    parked integer;
    passed integer;
    full_  boolean;
BEGIN
    FOR round IN 1 .. 8 LOOP
        SELECT x.lane, x.cursor, x.parked, x.next_due, x.singles, x.stuck_since, p.lane_last[x.lane + 1] AS last, d.number INTO l
          FROM boxhaul.subscription d
          JOIN boxhaul.inbox_position p ON p.subscription = d.name
          JOIN boxhaul.inbox_lane x ON x.subscription = d.name
         WHERE d.name = inbox_pick.subscription AND p.paused_at IS NULL
           AND (only_lane IS NULL OR x.lane = only_lane) AND x.lane <> ALL (tried)
           AND (x.cursor < p.lane_last[x.lane + 1] OR x.next_due <= clock_timestamp())
         ORDER BY random() LIMIT 1 FOR UPDATE OF x SKIP LOCKED;
        EXIT WHEN NOT FOUND;
        rows := '{}';
        chain := false;
        to_cursor := l.cursor;
        want := most;
        bytes := 0;
        IF most > 0 THEN
            PERFORM nextval(boxhaul.inbox_sequence('draws', l.number));
            IF l.stuck_since IS NOT NULL THEN
                PERFORM nextval(boxhaul.inbox_sequence('stuck', l.number));
            END IF;
            IF l.singles > 0 THEN
                want := 1;
            END IF;
        END IF;
        IF most > 0 AND l.next_due <= clock_timestamp()
           AND (l.stuck_since IS NOT NULL OR l.cursor >= l.last OR random() < 0.5) THEN
            SELECT * INTO k FROM boxhaul.inbox_parked x
             WHERE x.subscription = inbox_pick.subscription AND x.lane = l.lane AND x.head AND x.state = 'waiting'
               AND x.next_at <= clock_timestamp() AND x.id <= l.cursor ORDER BY x.next_at LIMIT 1;
            IF FOUND THEN
                chain := true;
                rows := ARRAY[boxhaul.inbox_row(k.slot, k.subscription, k.lane, k.id)];
                bytes := octet_length((rows[1]).payload);
                IF k.attempts = 0 THEN
                    FOR k IN SELECT * FROM boxhaul.inbox_parked x
                              WHERE x.subscription = inbox_pick.subscription AND x.lane = l.lane AND x.key = k.key AND x.id > k.id
                                AND x.id <= l.cursor ORDER BY x.id LIMIT want - 1
                    LOOP
                        EXIT WHEN k.state <> 'waiting' OR k.attempts > 0;
                        r := boxhaul.inbox_row(k.slot, k.subscription, k.lane, k.id);
                        bytes := bytes + octet_length(r.payload);
                        EXIT WHEN bytes > 8388608;
                        rows := rows || r;
                    END LOOP;
                END IF;
                lane := l.lane;
                RETURN;
            END IF;
        END IF;
        parked := 0;
        passed := 0;
        full_ := false;
        FOREACH s IN ARRAY boxhaul.inbox_open_slots() LOOP
            c := boxhaul.inbox_rows(s, subscription, l.lane, l.cursor);
            LOOP
                FETCH c INTO r;
                EXIT WHEN NOT FOUND;
                IF l.parked + parked > 0 THEN
                    IF EXISTS (SELECT FROM boxhaul.inbox_parked x WHERE x.subscription = r.subscription AND x.lane = r.lane
                                  AND x.id = r.id) THEN
                        to_cursor := r.id;
                        CONTINUE;
                    ELSIF EXISTS (SELECT FROM boxhaul.inbox_parked x WHERE x.subscription = r.subscription AND x.lane = r.lane
                                     AND x.key = r.key AND x.id < r.id AND x.state <> 'dead') THEN
                        full_ := passed >= 1000;
                        EXIT WHEN full_;
                        PERFORM boxhaul.inbox_park_behind(r);
                        parked := parked + 1;
                        passed := passed + 1;
                        to_cursor := r.id;
                        CONTINUE;
                    END IF;
                END IF;
                bytes := bytes + octet_length(r.payload);
                full_ := cardinality(rows) >= want OR cardinality(rows) > 0 AND bytes > 8388608;
                EXIT WHEN full_;
                rows := rows || r;
                to_cursor := r.id;
            END LOOP;
            CLOSE c;
            EXIT WHEN full_;
        END LOOP;
        IF cardinality(rows) > 0 THEN
            lane := l.lane;
            RETURN;
        END IF;
        -- Nothing to hand out here: all that was looked at is parked now. Where that was all that stands above the cursor, the lane
        -- has had its turn; where it was a thousand rows, it may have another.
        PERFORM boxhaul.inbox_settle(subscription, l.lane, '{}', CASE WHEN full_ THEN to_cursor ELSE l.last END);
        IF NOT full_ OR most = 0 THEN
            tried := tried || l.lane;
        END IF;
    END LOOP;
END
$$;

-- A row whose key waits for an earlier one.
CREATE OR REPLACE FUNCTION boxhaul.inbox_park_behind(r boxhaul.inbox) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    INSERT INTO boxhaul.inbox_parked (subscription, lane, id, slot, key, head, state, attempts, received_at)
    VALUES (r.subscription, r.lane, r.id, r.slot, r.key, false, 'waiting', 0, r.received_at);
    UPDATE boxhaul.inbox_lane l SET parked = l.parked + 1 WHERE l.subscription = r.subscription AND l.lane = r.lane;
END
$$;

-- The rows `done` of the lane are handled, and all up to to_cursor are handled, parked or dead; NULL = the cursor stays. In the
-- transaction of their effects, and in no other (I5).
CREATE OR REPLACE FUNCTION boxhaul.inbox_settle(subscription text, lane integer, done bigint[], to_cursor bigint) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on
    SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
    SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    l     boxhaul.inbox_lane;
    freed text[];
    gone  integer := 0;
    n     integer;
BEGIN
    SELECT * INTO STRICT l FROM boxhaul.inbox_lane x
     WHERE x.subscription = inbox_settle.subscription AND x.lane = inbox_settle.lane;
    IF l.parked > 0 THEN
        WITH d AS (DELETE FROM boxhaul.inbox_parked k USING unnest(done) AS u (id)
                    WHERE k.subscription = l.subscription AND k.lane = l.lane AND k.id = u.id RETURNING k.key)
        SELECT count(*), array_agg(DISTINCT d.key) INTO gone, freed FROM d;
        DELETE FROM boxhaul.inbox_parked k WHERE k.subscription = l.subscription AND k.lane = l.lane
           AND k.id > l.cursor AND k.id <= to_cursor AND k.state = 'dead';
        GET DIAGNOSTICS n = ROW_COUNT;
        gone := gone + n;
        PERFORM boxhaul.inbox_promote(l.subscription, l.lane, f) FROM unnest(freed) f WHERE f IS NOT NULL;
        l.next_due := boxhaul.inbox_next_due(l.subscription, l.lane);
    END IF;
    UPDATE boxhaul.inbox_lane x
       SET cursor = greatest(x.cursor, to_cursor), handled = x.handled + cardinality(done), parked = x.parked - gone,
           next_due = l.next_due, moves = x.moves + 1, moved_at = clock_timestamp(),
           singles = greatest(0, x.singles - cardinality(done)), stuck_since = NULL
     WHERE x.subscription = l.subscription AND x.lane = l.lane;
END
$$;

-- The lowest id of the key is its head.
CREATE OR REPLACE FUNCTION boxhaul.inbox_promote(subscription text, lane integer, key text) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    UPDATE boxhaul.inbox_parked k SET head = true, next_at = coalesce(k.next_at, clock_timestamp())
     WHERE k.subscription = inbox_promote.subscription AND k.lane = inbox_promote.lane AND NOT k.head
       AND k.id = (SELECT x.id FROM boxhaul.inbox_parked x
                    WHERE x.subscription = inbox_promote.subscription AND x.lane = inbox_promote.lane AND x.key = inbox_promote.key
                      AND x.state <> 'dead' ORDER BY x.id LIMIT 1);
END
$$;

CREATE OR REPLACE FUNCTION boxhaul.inbox_next_due(subscription text, lane integer) RETURNS timestamptz
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    RETURN (SELECT min(k.next_at) FROM boxhaul.inbox_parked k
             WHERE k.subscription = inbox_next_due.subscription AND k.lane = inbox_next_due.lane AND k.head AND k.state = 'waiting');
END
$$;

-- A row failed: any row of the lane that is not handled, wherever it stands. Returns parked, held or dead, and ignored where it is
-- handled, or where the failure was counted already (it backs off). Only it is parked here: the later rows of its key follow when
-- the cursor comes to them, so that a failure costs the same however many they are.
CREATE OR REPLACE FUNCTION boxhaul.inbox_park(r boxhaul.inbox, error text) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    l     boxhaul.inbox_lane;
    k     boxhaul.inbox_parked;
    d     boxhaul.subscription;
    tries integer;
    fate  text := 'waiting';
    due   timestamptz;
    first boolean;
BEGIN
    SELECT * INTO STRICT d FROM boxhaul.subscription x WHERE x.name = r.subscription;
    SELECT * INTO STRICT l FROM boxhaul.inbox_lane x WHERE x.subscription = r.subscription AND x.lane = r.lane;
    SELECT * INTO k FROM boxhaul.inbox_parked x WHERE x.subscription = r.subscription AND x.lane = r.lane AND x.id = r.id;
    IF k.id IS NULL AND r.id <= l.cursor OR k.state <> 'waiting' OR k.attempts > 0 AND k.next_at > clock_timestamp() THEN
        RETURN 'ignored';
    END IF;
    tries := coalesce(k.attempts, 0) + 1;
    due := clock_timestamp() + least('1 minute', '0.1 second'::interval * power(2, least(tries - 1, 10)));
    IF tries >= d.max_attempts THEN
        fate := CASE d.poison WHEN 'hold' THEN 'held' ELSE 'dead' END;
    END IF;
    IF fate = 'dead' THEN
        PERFORM boxhaul.inbox_bury(r, tries, error);
        RETURN fate;
    END IF;
    first := r.key IS NULL OR NOT EXISTS (
        SELECT FROM boxhaul.inbox_parked x WHERE x.subscription = r.subscription AND x.lane = r.lane AND x.key = r.key
           AND x.id < r.id AND x.state <> 'dead');
    INSERT INTO boxhaul.inbox_parked AS x (subscription, lane, id, slot, key, head, state, attempts, next_at, error, received_at)
    VALUES (r.subscription, r.lane, r.id, r.slot, r.key, first, fate, tries, due, inbox_park.error, r.received_at)
    ON CONFLICT ON CONSTRAINT inbox_parked_pkey DO UPDATE
       SET state = excluded.state, attempts = excluded.attempts, next_at = excluded.next_at, error = excluded.error;
    IF first AND r.key IS NOT NULL THEN
        UPDATE boxhaul.inbox_parked x SET head = false
         WHERE x.subscription = r.subscription AND x.lane = r.lane AND x.key = r.key AND x.id > r.id AND x.head;
    END IF;
    UPDATE boxhaul.inbox_lane x
       SET parked = x.parked + CASE WHEN k.id IS NULL THEN 1 ELSE 0 END, next_due = boxhaul.inbox_next_due(r.subscription, r.lane),
           moves = x.moves + 1, moved_at = clock_timestamp(), stuck_since = NULL
     WHERE x.subscription = r.subscription AND x.lane = r.lane;
    RETURN CASE fate WHEN 'held' THEN fate ELSE 'parked' END;
END
$$;

-- Give a row up: a dead letter. The later rows of its key go on. Above the cursor it leaves a mark, or it would be handed out.
CREATE OR REPLACE FUNCTION boxhaul.inbox_bury(r boxhaul.inbox, attempts integer, reason text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    l boxhaul.inbox_lane;
    n integer;
BEGIN
    SELECT * INTO STRICT l FROM boxhaul.inbox_lane x WHERE x.subscription = r.subscription AND x.lane = r.lane;
    INSERT INTO boxhaul.inbox_dead (subscription, lane, inbox_id, seq, incarnation, message_id, subject, key, payload, headers,
                                    stored_at, reason, attempts)
    VALUES (r.subscription, r.lane, r.id, r.seq, r.incarnation, r.message_id, r.subject, r.key, r.payload, r.headers,
            r.stored_at, inbox_bury.reason, inbox_bury.attempts);
    DELETE FROM boxhaul.inbox_parked k WHERE k.subscription = r.subscription AND k.lane = r.lane AND k.id = r.id;
    GET DIAGNOSTICS n = ROW_COUNT;
    IF r.id > l.cursor THEN
        INSERT INTO boxhaul.inbox_parked (subscription, lane, id, slot, key, head, state, attempts, received_at)
        VALUES (r.subscription, r.lane, r.id, r.slot, r.key, false, 'dead', inbox_bury.attempts, r.received_at);
        n := n - 1;
    END IF;
    IF r.key IS NOT NULL THEN
        PERFORM boxhaul.inbox_promote(r.subscription, r.lane, r.key);
    END IF;
    UPDATE boxhaul.inbox_lane x
       SET parked = x.parked - n, died = x.died + 1, next_due = boxhaul.inbox_next_due(r.subscription, r.lane),
           moves = x.moves + 1, moved_at = clock_timestamp(), stuck_since = NULL
     WHERE x.subscription = r.subscription AND x.lane = r.lane;
END
$$;

-- --- workers ---
--
--   BEGIN;
--   SELECT * FROM boxhaul.receive('billing', 10);       -- nothing: ROLLBACK, wait for NOTIFY boxhaul_inbox, a second at most
--   -- for each row: your changes, boxhaul.publish(...), then
--   SELECT boxhaul.done('billing', 12, 4711);           -- subscription, lane and id of the row
--   COMMIT;                                             -- on an error: ROLLBACK; SELECT boxhaul.failed('billing', 12, 4711, 'why')
--
-- What was received stands in transaction-local settings; done() counts there, and the lane's row is written once, by a deferred
-- constraint trigger, before the commit. A ROLLBACK TO SAVEPOINT takes the count back with the effects.
--
-- The same trigger refuses autocommit, and is the only thing that can: whether a statement is a transaction of its own cannot be seen from
-- inside it. now() = statement_timestamp() holds for BEGIN and the query in one message too, and does not hold in autocommit where the
-- driver sends parse, bind and execute. But when receive() is all of the transaction, then its own statement ends it: the trigger
-- finds that nothing was done, and the worker gets an error for receive() itself, before it has changed anything.

-- Rows of one lane, in the order in which they have to be handled. The lane is locked until the transaction ends.
CREATE OR REPLACE FUNCTION boxhaul.receive(subscription text, max integer DEFAULT 10) RETURNS SETOF boxhaul.inbox
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    p      record;
    number integer := (SELECT s.number FROM boxhaul.subscription s WHERE s.name = receive.subscription);
BEGIN
    IF number IS NULL THEN
        PERFORM boxhaul.inbox_unknown(receive.subscription);
    ELSIF max NOT BETWEEN 1 AND 1000 OR max IS NULL THEN
        RAISE EXCEPTION 'boxhaul: receive takes 1 to 1000 rows, not %', max USING ERRCODE = 'invalid_parameter_value';
    ELSIF split_part(current_setting('boxhaul.received', true), ' ', 1) = pg_current_xact_id_if_assigned()::text THEN
        RAISE EXCEPTION 'boxhaul: this transaction has received rows already'
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'COMMIT, and receive again in the next transaction.';
    END IF;
    IF current_setting('transaction_isolation') IN ('repeatable read', 'serializable') THEN
        BEGIN
            p := boxhaul.inbox_pick(receive.subscription, NULL, max);
        EXCEPTION WHEN serialization_failure THEN
            RAISE EXCEPTION 'boxhaul: the lane has moved since the snapshot of this transaction was taken'
                USING ERRCODE = 'serialization_failure',
                      HINT = 'ROLLBACK and receive again; with READ COMMITTED, which is enough, this does not happen.';
        END;
    ELSE
        p := boxhaul.inbox_pick(receive.subscription, NULL, max);
    END IF;
    IF p.lane IS NULL THEN
        IF boxhaul.inbox_drawn('idle', number) <> 2 THEN
            PERFORM setval(boxhaul.inbox_sequence('idle', number), 2);
        END IF;
        RETURN;
    END IF;
    PERFORM set_config('boxhaul.received', concat_ws(' ', pg_current_xact_id(), p.lane, receive.subscription), true),
            set_config('boxhaul.received_ids', ARRAY(SELECT r.id FROM unnest(p.rows) r)::text, true),
            set_config('boxhaul.received_to', CASE WHEN p.chain THEN '' ELSE p.to_cursor::text END, true),
            set_config('boxhaul.done', '0', true), set_config('boxhaul.settled', '0', true),
            set_config('boxhaul.settle', 'receiving', true);
    UPDATE boxhaul.inbox_lane l SET taker = pg_current_xact_id()
     WHERE l.subscription = receive.subscription AND l.lane = p.lane;
    -- Unless the trigger has fired just now, because constraints are immediate here, it fires at the commit.
    IF current_setting('boxhaul.settle') = 'receiving' THEN
        PERFORM set_config('boxhaul.settle', 'commit', true);
    END IF;
    RETURN QUERY SELECT * FROM unnest(p.rows);
END
$$;

-- What done() counted goes into the books. Returns false where nothing was counted.
CREATE OR REPLACE FUNCTION boxhaul.inbox_settle_received() RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    mine    text[] := regexp_match(current_setting('boxhaul.received', true), '^(\d+) (\d+) (.+)$');
    ids     bigint[];
    done    integer;
    settled integer;
BEGIN
    IF mine[1] IS DISTINCT FROM pg_current_xact_id()::text THEN
        RETURN false;
    END IF;
    ids := current_setting('boxhaul.received_ids')::bigint[];
    done := current_setting('boxhaul.done')::integer;
    settled := current_setting('boxhaul.settled')::integer;
    IF done > settled THEN
        -- The settings are the worker's to change. The lane has to be the one that it was given.
        PERFORM FROM boxhaul.inbox_lane l
          WHERE l.subscription = mine[3] AND l.lane = mine[2]::integer AND l.taker = pg_current_xact_id();
        IF NOT FOUND THEN
            RETURN false;
        END IF;
        PERFORM boxhaul.inbox_settle(mine[3], mine[2]::integer, ids[settled + 1 : done],
                                     CASE WHEN done = cardinality(ids) THEN nullif(current_setting('boxhaul.received_to'), '')::bigint
                                          WHEN current_setting('boxhaul.received_to') <> '' THEN ids[done] END);
        PERFORM set_config('boxhaul.settled', done::text, true);
    END IF;
    RETURN done > 0;
END
$$;

-- At the commit of a transaction that has received rows, or when SET CONSTRAINTS makes constraints immediate: from then on done() writes.
-- (current_query() is NULL where the extended protocol's Sync commits, which is just how most drivers do autocommit.)
CREATE OR REPLACE FUNCTION boxhaul.inbox_received() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    IF current_setting('boxhaul.settle', true) IS DISTINCT FROM 'receiving'
       AND NOT boxhaul.inbox_settle_received() AND coalesce(current_query(), '') !~* '\yset\y.*\yconstraints\y' THEN
        RAISE EXCEPTION 'boxhaul: rows of subscription % were received, and the transaction ends with none of them done',
                        NEW.subscription
            USING ERRCODE = 'no_active_sql_transaction',
                  HINT = 'receive(), your changes and done() belong into one transaction: is this connection in autocommit? '
                         'BEGIN first. To give rows back, ROLLBACK.';
    END IF;
    PERFORM set_config('boxhaul.settle', 'now', true);
    RETURN NULL;
END
$$;

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_trigger
                   WHERE tgrelid = 'boxhaul.inbox_lane'::regclass AND tgname = 'inbox_received') THEN
        CREATE CONSTRAINT TRIGGER inbox_received AFTER UPDATE OF taker ON boxhaul.inbox_lane
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION boxhaul.inbox_received();
    END IF;
END
$$;

-- The row is handled: with the effects of this transaction, or not at all. In the order in which the rows were received, for the
-- cursor says "all up to here".
CREATE OR REPLACE FUNCTION boxhaul.done(subscription text, lane integer, id bigint) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    ids bigint[];
    n   integer;
BEGIN
    IF current_setting('boxhaul.received', true)
       IS DISTINCT FROM concat_ws(' ', pg_current_xact_id_if_assigned(), lane, subscription) THEN
        RAISE EXCEPTION 'boxhaul: lane % of subscription % was not received in this transaction', lane, subscription
            USING ERRCODE = 'no_active_sql_transaction',
                  HINT = 'done() belongs into the transaction of receive(): is this connection in autocommit?';
    END IF;
    ids := current_setting('boxhaul.received_ids')::bigint[];
    n := current_setting('boxhaul.done')::integer + 1;
    IF ids[n] IS DISTINCT FROM id THEN
        RAISE EXCEPTION 'boxhaul: row % cannot be done now: %', id,
            CASE WHEN n > cardinality(ids) THEN 'all that were received are' ELSE format('row %s is next', ids[n]) END
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'Rows are done once, in the order in which they were received.';
    END IF;
    PERFORM set_config('boxhaul.done', n::text, true);
    IF current_setting('boxhaul.settle') = 'now' THEN
        PERFORM boxhaul.inbox_settle_received();
    END IF;
END
$$;

CREATE OR REPLACE FUNCTION boxhaul.done("row" boxhaul.inbox) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    PERFORM boxhaul.done("row".subscription, "row".lane, "row".id);
END
$$;

-- All rows that this transaction received are handled. Returns how many were not done before.
CREATE OR REPLACE FUNCTION boxhaul.done(subscription text) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    mine text[] := regexp_match(current_setting('boxhaul.received', true), '^(\d+) \d+ (.+)$');
    n    integer;
BEGIN
    IF (mine[1], mine[2]) IS DISTINCT FROM (pg_current_xact_id_if_assigned()::text, subscription) THEN
        RAISE EXCEPTION 'boxhaul: nothing of subscription % was received in this transaction', subscription
            USING ERRCODE = 'no_active_sql_transaction',
                  HINT = 'done() belongs into the transaction of receive(): is this connection in autocommit?';
    END IF;
    n := cardinality(current_setting('boxhaul.received_ids')::bigint[]) - current_setting('boxhaul.done')::integer;
    PERFORM set_config('boxhaul.done', (n + current_setting('boxhaul.done')::integer)::text, true);
    IF current_setting('boxhaul.settle') = 'now' THEN
        PERFORM boxhaul.inbox_settle_received();
    END IF;
    RETURN n;
END
$$;

-- The row could not be handled. In a transaction of its own, after the ROLLBACK. It is parked with back-off (0.1 s, doubled up to a
-- minute), and what follows in its key waits behind it; other keys go on. After max_attempts it is held, or dead, as `poison` says.
-- Returns parked, held, dead, or ignored: handled meanwhile, or counted already. Only for errors of the message: what would fail
-- any message (the database is read-only, a deadlock) is no attempt.
CREATE OR REPLACE FUNCTION boxhaul.failed(subscription text, lane integer, id bigint, error text) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on
    SET lock_timeout = '5s' AS $$
DECLARE
    r boxhaul.inbox;
BEGIN
    PERFORM boxhaul.inbox_lock_lane(subscription, lane);
    r := boxhaul.inbox_unhandled(subscription, lane, id);
    RETURN CASE WHEN r.id IS NULL THEN 'ignored' ELSE boxhaul.inbox_park(r, left(failed.error, 4000)) END;
END
$$;

CREATE OR REPLACE FUNCTION boxhaul.failed("row" boxhaul.inbox, error text) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    RETURN boxhaul.failed("row".subscription, "row".lane, "row".id, error);
END
$$;

-- Lock a lane from outside of receive(). Whoever has received it and not rolled back would wait for itself.
CREATE OR REPLACE FUNCTION boxhaul.inbox_lock_lane(subscription text, lane integer) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    holder xid8;
BEGIN
    SELECT l.taker INTO holder FROM boxhaul.inbox_lane l
     WHERE l.subscription = inbox_lock_lane.subscription AND l.lane = inbox_lock_lane.lane FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'boxhaul: subscription % has no lane %', subscription, lane USING ERRCODE = 'undefined_object';
    ELSIF holder = pg_current_xact_id_if_assigned() THEN
        RAISE EXCEPTION 'boxhaul: this transaction has received lane %: its effects would be committed with the failure', lane
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'ROLLBACK first.';
    END IF;
EXCEPTION WHEN lock_not_available THEN
    RAISE EXCEPTION 'boxhaul: lane % of subscription % is in the hands of a worker', lane, subscription
        USING ERRCODE = 'lock_not_available',
              HINT = 'If it is the one that received the row: ROLLBACK first. Else try again when it has ended.';
END
$$;

-- A row that is not handled: above the cursor, or parked, and not dead. All NULL if it is none.
CREATE OR REPLACE FUNCTION boxhaul.inbox_unhandled(subscription text, lane integer, id bigint) RETURNS boxhaul.inbox
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    k boxhaul.inbox_parked;
    r boxhaul.inbox;
    s integer;
BEGIN
    SELECT * INTO k FROM boxhaul.inbox_parked x
     WHERE x.subscription = inbox_unhandled.subscription AND x.lane = inbox_unhandled.lane AND x.id = inbox_unhandled.id;
    IF FOUND THEN
        IF k.state <> 'dead' THEN
            r := boxhaul.inbox_row(k.slot, k.subscription, k.lane, k.id);
        END IF;
        RETURN r;
    END IF;
    IF (SELECT l.cursor >= inbox_unhandled.id FROM boxhaul.inbox_lane l
         WHERE l.subscription = inbox_unhandled.subscription AND l.lane = inbox_unhandled.lane) THEN
        RETURN r;
    END IF;
    FOREACH s IN ARRAY boxhaul.inbox_open_slots() LOOP
        r := boxhaul.inbox_row(s, subscription, lane, id);
        EXIT WHEN r.id IS NOT NULL;
    END LOOP;
    RETURN r;
END
$$;

-- --- the daemon as worker ---

-- What would fail any message, and says nothing about this one, is no attempt (I11): connections, resources, roll-backs for
-- others' sake, locks, shutdown, a read-only database.
CREATE OR REPLACE FUNCTION boxhaul.inbox_is_outage(state text) RETURNS boolean
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS
$$ SELECT left(state, 2) IN ('08', '40', '53', '57', '58') OR state IN ('25006', '55P03') $$;

-- The lanes that have something to hand out (due_ms = 0), in no order, and those that will have when so many milliseconds have passed. If none has
-- anything now, whoever inserts rows is told that the workers sleep, and it is looked once more: what was committed before they knew is
-- seen then, and what is committed later wakes them, but for a transaction that has looked and not committed: who takes in the
-- same process tells the workers besides.
CREATE OR REPLACE FUNCTION boxhaul.inbox_lanes(subscription text) RETURNS TABLE (lane integer, due_ms bigint)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
#variable_conflict use_column
DECLARE
    number integer := (SELECT s.number FROM boxhaul.subscription s WHERE s.name = inbox_lanes.subscription);
BEGIN
    FOR look IN 1 .. 2 LOOP
        RETURN QUERY
        SELECT x.lane, CASE WHEN x.cursor < p.lane_last[x.lane + 1] OR x.next_due <= clock_timestamp() THEN 0
                            ELSE ceil(extract(epoch FROM x.next_due - clock_timestamp()) * 1000) END::bigint
          FROM boxhaul.inbox_lane x JOIN boxhaul.inbox_position p ON p.subscription = x.subscription
         WHERE x.subscription = inbox_lanes.subscription AND p.paused_at IS NULL
           AND (x.cursor < p.lane_last[x.lane + 1]
                OR x.next_due <= clock_timestamp() + CASE look WHEN 1 THEN '0'::interval ELSE '1 day' END)
         ORDER BY random();
        EXIT WHEN FOUND OR look = 2 OR number IS NULL;
        IF boxhaul.inbox_drawn('idle', number) <> 2 THEN
            PERFORM setval(boxhaul.inbox_sequence('idle', number), 2);
        END IF;
    END LOOP;
END
$$;

-- The row that handle(.., lane, 1) would call its function for now; NULL: there is none, or the lane is in other hands.
CREATE OR REPLACE FUNCTION boxhaul.inbox_next(subscription text, lane integer) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    p record := boxhaul.inbox_pick(subscription, lane, 1);
BEGIN
    RETURN (p.rows[1]).id;
END
$$;

-- Call handler (a function of one argument, boxhaul.inbox) for up to `max` rows of a lane (NULL = any that is free), with the caller's
-- rights. One statement without savepoints; only if it fails, row by row, each in a savepoint of its own: one that fails is
-- parked, and the others keep what they did. lane is NULL where there was nothing. error and failed_id are those of the last that failed.
--
-- The time-out of a message is statement_timeout of the calling session: it ends the whole call, which then did nothing. Nobody inside can
-- tell which row it was. So ask inbox_next(), and call again for that row, with max = 1 and only_id: what times out then, alone, is the
-- message; tell failed(). (Without only_id it might be another one: a parked row may have become due meanwhile.) lane is NULL, and
-- nothing was done, where that row is not the next one any more. An outage ends the call likewise, and counts no attempt.
--
-- Constraints that the handler's tables check at the end of the transaction are checked behind each row or batch. At the commit it
-- would be too late: the whole call would fail, whichever row it was, for ever.
--
-- search_path is pg_catalog while the handler runs, unless it has one of its own (ALTER FUNCTION ... SET search_path).
CREATE OR REPLACE FUNCTION boxhaul.handle(subscription text, handler text, only_lane integer DEFAULT NULL, max integer DEFAULT 100,
                                          only_id bigint DEFAULT NULL,
                                          OUT lane integer, OUT handled integer, OUT failed integer, OUT failed_id bigint,
                                          OUT error text)
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    p     record;
    r     boxhaul.inbox;
    call  text := to_regprocedure(format('%s(boxhaul.inbox)', handler))::regproc::text;
    ended bigint[] := '{}';
    keys  text[] := '{}';
BEGIN
    handled := 0;
    failed := 0;
    IF call IS NULL THEN
        RAISE EXCEPTION 'boxhaul: there is no function %(boxhaul.inbox)', handler USING ERRCODE = 'undefined_function';
    END IF;
    p := boxhaul.inbox_pick(subscription, only_lane, max);
    IF p.lane IS NULL OR (p.rows[1]).id <> only_id THEN
        RETURN;
    END IF;
    lane := p.lane;
    BEGIN
        EXECUTE format('SELECT %s(r) FROM unnest($1) r', call) USING p.rows;
        SET CONSTRAINTS ALL IMMEDIATE;
        ended := ARRAY(SELECT x.id FROM unnest(p.rows) x);
    EXCEPTION WHEN OTHERS THEN
        IF boxhaul.inbox_is_outage(sqlstate) THEN
            RAISE;
        END IF;
        FOREACH r IN ARRAY p.rows LOOP
            IF r.key = ANY (keys) THEN
                EXIT WHEN p.chain;
                PERFORM boxhaul.inbox_park_behind(r);
                CONTINUE;
            END IF;
            BEGIN
                IF cardinality(ended) > 0 THEN
                    SET CONSTRAINTS ALL DEFERRED;
                END IF;
                EXECUTE format('SELECT %s($1)', call) USING r;
                SET CONSTRAINTS ALL IMMEDIATE;
                ended := ended || r.id;
            EXCEPTION WHEN OTHERS THEN
                IF boxhaul.inbox_is_outage(sqlstate) THEN
                    RAISE;
                END IF;
                failed := failed + 1;
                failed_id := r.id;
                error := format('%s (%s)', sqlerrm, sqlstate);
                IF boxhaul.inbox_park(r, left(error, 4000)) <> 'dead' THEN
                    keys := keys || r.key;
                END IF;
            END;
        END LOOP;
    END;
    PERFORM boxhaul.inbox_settle(subscription, lane, ended, CASE WHEN NOT p.chain THEN p.to_cursor END);
    handled := cardinality(ended);
END
$$;

-- --- what the leader does by the clock ---

-- Once in a while, in a transaction of its own: look for lanes that stand. Returns how many do.
--
-- A worker that is killed leaves nothing, so nothing is counted when it takes a row; but the sequences count. A lane stands when its lock
-- is free and it has work, nothing of it has moved for `stuck_after`, and rows were handed out meanwhile, four times as often as lanes
-- have work, so that it had its turn. (Work does not go away without a move: the same count of moves means that it stood all the time.)
-- From then on it is shown, and its rows are handed out one by one. When that has been done crash_attempts times and still
-- nothing has moved, the first is parked as if it had failed. An outage that the daemon's handler reports is taken out of the count, and
-- the lane is watched anew: inbox_excuse.
--
-- Also moves cursors over rows that wait behind a parked one. Lanes that move are left alone: what is locked here is hidden from
-- workers until the end.
CREATE OR REPLACE FUNCTION boxhaul.inbox_watch(subscription text) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    d       boxhaul.subscription;
    l       record;
    p       record;
    draws   bigint;
    stuck   bigint;
    busy    integer;
    stand   integer := 0;
BEGIN
    SELECT * INTO d FROM boxhaul.subscription x WHERE x.name = inbox_watch.subscription;
    IF NOT FOUND THEN
        PERFORM boxhaul.inbox_unknown(inbox_watch.subscription);
    END IF;
    draws := boxhaul.inbox_drawn('draws', d.number);
    stuck := boxhaul.inbox_drawn('stuck', d.number);
    busy := (SELECT count(*) FROM boxhaul.inbox_lane x, boxhaul.inbox_position q
              WHERE x.subscription = d.name AND q.subscription = d.name
                AND (x.cursor < q.lane_last[x.lane + 1] OR x.next_due <= clock_timestamp()));
    FOR l IN SELECT x.*, q.lane_last[x.lane + 1] AS last, count(x.stuck_since) OVER () AS stuck_lanes
               FROM boxhaul.inbox_lane x, boxhaul.inbox_position q
              WHERE x.subscription = d.name AND q.subscription = d.name AND q.paused_at IS NULL
                AND coalesce(x.moved_at, '-infinity') <= clock_timestamp() - least(d.stuck_after, '1 second')
                AND (x.cursor < q.lane_last[x.lane + 1] OR x.next_due <= clock_timestamp()) ORDER BY x.lane
    LOOP
        PERFORM FROM boxhaul.inbox_lane x
          WHERE x.subscription = d.name AND x.lane = l.lane AND x.moves = l.moves FOR UPDATE SKIP LOCKED;
        CONTINUE WHEN NOT FOUND;
        IF l.parked > 0 AND l.cursor < l.last AND l.stuck_since IS NULL THEN
            PERFORM boxhaul.inbox_pick(d.name, l.lane, 0);
        END IF;
        IF l.watched_moves IS DISTINCT FROM l.moves THEN
            UPDATE boxhaul.inbox_lane x
               SET watched_moves = x.moves, watched_draws = draws, watched_at = clock_timestamp(), stuck_since = NULL
             WHERE x.subscription = d.name AND x.lane = l.lane;
        ELSIF l.stuck_since IS NULL THEN
            IF l.watched_at <= clock_timestamp() - d.stuck_after AND draws - l.watched_draws >= 4 * busy THEN
                UPDATE boxhaul.inbox_lane x SET stuck_since = l.watched_at, stuck_draws = stuck, singles = 1000
                 WHERE x.subscription = d.name AND x.lane = l.lane;
                stand := stand + 1;
            END IF;
        ELSIF d.crash_attempts > 0 AND stuck - l.stuck_draws >= d.crash_attempts * l.stuck_lanes THEN
            p := boxhaul.inbox_pick(d.name, l.lane, 1);
            IF p.lane IS NOT NULL THEN
                PERFORM boxhaul.inbox_park(p.rows[1], format('handed out again and again since %s, and neither done nor failed: '
                                           'whoever received it ended or rolled back without a word', l.stuck_since));
            END IF;
        ELSE
            stand := stand + 1;
        END IF;
    END LOOP;
    RETURN stand;
END
$$;

-- A row of the lane was handed out, and what came of it was an error with this state. Where that is an outage, it speaks of no row (I11):
-- the lane is not on its way to a crash attempt. Two that count at the same time may take one away too many: that costs a killer
-- one more crash. Nobody waits for a lane that is in other hands. Returns whether it was excused.
CREATE OR REPLACE FUNCTION boxhaul.inbox_excuse(subscription text, lane integer, state text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    l     record;
    stuck bigint;
BEGIN
    IF NOT boxhaul.inbox_is_outage(state) THEN
        RETURN false;
    END IF;
    SELECT x.stuck_since, d.number INTO l FROM boxhaul.inbox_lane x JOIN boxhaul.subscription d ON d.name = x.subscription
     WHERE x.subscription = inbox_excuse.subscription AND x.lane = inbox_excuse.lane AND x.watched_moves IS NOT NULL
       FOR UPDATE OF x SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    stuck := boxhaul.inbox_drawn('stuck', l.number);
    IF l.stuck_since IS NOT NULL AND stuck > 0 THEN
        PERFORM setval(boxhaul.inbox_sequence('stuck', l.number), greatest(stuck - 1, 1), stuck > 1);
    END IF;
    UPDATE boxhaul.inbox_lane x SET watched_moves = NULL, stuck_since = NULL
     WHERE x.subscription = inbox_excuse.subscription AND x.lane = inbox_excuse.lane;
    RETURN true;
END
$$;

-- Once in a while, in a transaction of its own: one step of each ring, and the trail. Returns what it did. retention: NULL = the longest of
-- the subscriptions.
--
-- TRUNCATE takes what it finds. So a slot goes only when nothing of it is needed (I7), and that is looked at with the lock in hand that
-- TRUNCATE needs: whoever has an uncommitted row in the slot holds a lock that conflicts. Needed is a row above its lane's cursor,
-- and a parked one, however old. The lock is waited for 10 ms at most.
CREATE OR REPLACE FUNCTION boxhaul.inbox_clean(retention interval DEFAULT NULL) RETURNS text[]
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on
    SET lock_timeout = '10ms' SET enable_seqscan = off AS $$
DECLARE
    keep interval := coalesce(retention, (SELECT max(s.retention) FROM boxhaul.subscription s), '7 days');
    s    boxhaul.inbox_slot;
    did  text[] := '{}';
BEGIN
    FOR s IN SELECT * FROM boxhaul.inbox_slot x WHERE x.ring = 'inbox' AND x.state = 'open' ORDER BY x.turn LOOP
        EXIT WHEN boxhaul.inbox_slot_needed(s.slot);
        UPDATE boxhaul.inbox_slot x SET state = 'drained' WHERE x.ring = 'inbox' AND x.slot = s.slot;
        did := did || format('inbox_%s is drained', s.slot);
    END LOOP;
    FOR s IN SELECT DISTINCT ON (x.ring) x.* FROM boxhaul.inbox_slot x
              WHERE x.state = CASE x.ring WHEN 'inbox' THEN 'drained' ELSE 'open' END
                AND x.since <= clock_timestamp() - keep
                AND NOT (x.ring = 'inbox' AND EXISTS (SELECT FROM boxhaul.inbox_parked k WHERE k.slot = x.slot))
              ORDER BY x.ring, x.turn
    LOOP
        IF boxhaul.inbox_truncate(s.ring, s.slot) THEN
            did := did || format('%s_%s is empty', s.ring, s.slot);
        END IF;
    END LOOP;
    did := did || boxhaul.inbox_turn('inbox', keep / 4) || boxhaul.inbox_turn('seen', keep / 2);
    -- Of the last thousand rows all, of older ones one a minute: a stream can lose minutes.
    DELETE FROM boxhaul.trail t USING (
        SELECT x.subscription, x.seq, row_number() OVER (PARTITION BY x.subscription ORDER BY x.seq DESC) AS age,
               row_number() OVER (PARTITION BY x.subscription, date_trunc('minute', x.at) ORDER BY x.seq) AS nth
          FROM boxhaul.trail x) old
     WHERE t.subscription = old.subscription AND t.seq = old.seq AND old.age > 1000 AND (old.nth > 1 OR old.age > 11000);
    RETURN did;
END
$$;

-- Is a row of this slot above its lane's cursor?
CREATE OR REPLACE FUNCTION boxhaul.inbox_slot_needed(slot integer) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    needed boolean;
BEGIN
    EXECUTE format('SELECT EXISTS (SELECT FROM boxhaul.inbox_lane l, LATERAL (SELECT FROM boxhaul.inbox_%s i '
                   'WHERE i.subscription = l.subscription AND i.lane = l.lane AND i.id > l.cursor LIMIT 1) i)', slot) INTO needed;
    RETURN needed;
END
$$;

CREATE OR REPLACE FUNCTION boxhaul.inbox_truncate(ring text, slot integer) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    BEGIN
        EXECUTE format('LOCK TABLE boxhaul.%s_%s IN ACCESS EXCLUSIVE MODE', ring, slot);
    EXCEPTION WHEN lock_not_available THEN
        RETURN false;
    END;
    IF ring = 'inbox' AND (boxhaul.inbox_slot_needed(slot) OR EXISTS (
        SELECT FROM boxhaul.inbox_parked k WHERE k.slot = inbox_truncate.slot)) THEN
        RETURN false;
    END IF;
    EXECUTE format('TRUNCATE boxhaul.%s_%s', ring, slot);
    UPDATE boxhaul.inbox_slot x SET state = 'empty', since = clock_timestamp()
     WHERE x.ring = inbox_truncate.ring AND x.slot = inbox_truncate.slot;
    RETURN true;
END
$$;

-- Go on to an empty slot when the current one is old enough; where none is empty, stay. Under the locks of all positions, so that
-- nobody inserts meanwhile: whoever takes afterwards reads the new slot, and all rows of the old one are committed.
CREATE OR REPLACE FUNCTION boxhaul.inbox_turn(ring text, period interval) RETURNS text[]
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    old  boxhaul.inbox_slot;
    next smallint;
BEGIN
    SELECT * INTO STRICT old FROM boxhaul.inbox_slot x WHERE x.ring = inbox_turn.ring AND x.state = 'current';
    SELECT x.slot INTO next FROM boxhaul.inbox_slot x WHERE x.ring = inbox_turn.ring AND x.state = 'empty' ORDER BY x.turn, x.slot LIMIT 1;
    IF old.since > clock_timestamp() - period OR next IS NULL THEN
        RETURN '{}';
    END IF;
    BEGIN
        PERFORM FROM boxhaul.inbox_position p ORDER BY p.subscription FOR UPDATE;
    EXCEPTION WHEN lock_not_available THEN
        RETURN '{}';
    END;
    UPDATE boxhaul.inbox_slot x
       SET state = CASE x.slot WHEN next THEN 'current' ELSE 'open' END, since = clock_timestamp(),
           turn = CASE x.slot WHEN next THEN old.turn + 1 ELSE x.turn END
     WHERE x.ring = inbox_turn.ring AND x.slot IN (old.slot, next);
    RETURN ARRAY[format('%s_%s is current', ring, next)];
END
$$;

-- --- operators ---

-- Nothing is taken, and nothing handed out. Returns false where it is paused already.
CREATE OR REPLACE FUNCTION boxhaul.inbox_pause(subscription text, paused_by text DEFAULT NULL, reason text DEFAULT NULL) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    was timestamptz;
BEGIN
    SELECT p.paused_at INTO was FROM boxhaul.inbox_position p WHERE p.subscription = inbox_pause.subscription FOR UPDATE;
    IF NOT FOUND THEN
        PERFORM boxhaul.inbox_unknown(inbox_pause.subscription);
    ELSIF was IS NOT NULL THEN
        RETURN false;
    END IF;
    UPDATE boxhaul.inbox_position p
       SET paused_at = clock_timestamp(), paused_by = coalesce(inbox_pause.paused_by, session_user),
           pause_reason = nullif(inbox_pause.reason, '')
     WHERE p.subscription = inbox_pause.subscription;
    PERFORM pg_notify('boxhaul', 'inbox');
    RETURN true;
END
$$;

-- Returns false where it was not paused.
CREATE OR REPLACE FUNCTION boxhaul.inbox_resume(subscription text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    was timestamptz;
BEGIN
    SELECT p.paused_at INTO was FROM boxhaul.inbox_position p WHERE p.subscription = inbox_resume.subscription FOR UPDATE;
    IF NOT FOUND THEN
        PERFORM boxhaul.inbox_unknown(inbox_resume.subscription);
    END IF;
    PERFORM boxhaul.move_guard(inbox_resume.subscription);
    UPDATE boxhaul.inbox_position p SET paused_at = NULL, paused_by = NULL, pause_reason = NULL
     WHERE p.subscription = inbox_resume.subscription AND p.paused_at IS NOT NULL;
    PERFORM pg_notify('boxhaul', 'inbox');
    PERFORM boxhaul.inbox_wake(inbox_resume.subscription);
    RETURN was IS NOT NULL;
END
$$;

-- Take again from behind `target`: "start" of the stream, a sequence, or a time (the newest mark of the trail that is not younger). What
-- is known by its id is left out; without ids all of it takes effect again. Ends a stop; after one for a stream that was truncated or
-- made anew, the incarnation rises. Returns the position.
CREATE OR REPLACE FUNCTION boxhaul.inbox_rewind(subscription text, target text) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    p    boxhaul.inbox_position;
    mark boxhaul.trail;
    goal bigint;
BEGIN
    SELECT * INTO p FROM boxhaul.inbox_position x WHERE x.subscription = inbox_rewind.subscription FOR UPDATE;
    IF p.subscription IS NULL THEN
        PERFORM boxhaul.inbox_unknown(inbox_rewind.subscription);
    END IF;
    IF target = 'start' THEN
        goal := 0;
    ELSIF target ~ '^\d{1,18}$' THEN
        goal := target::bigint;
        SELECT * INTO mark FROM boxhaul.trail t WHERE t.subscription = p.subscription AND t.seq = goal;
    ELSE
        SELECT * INTO mark FROM boxhaul.trail t
         WHERE t.subscription = p.subscription AND t.witness <= extract(epoch FROM target::timestamptz) * 1000000000
         ORDER BY t.seq DESC LIMIT 1;
        goal := mark.seq;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'boxhaul: the trail of subscription % does not go back to %', p.subscription, target
                USING ERRCODE = 'no_data_found', HINT = 'Name a sequence, or start.';
        END IF;
    END IF;
    IF goal > p.position THEN
        RAISE EXCEPTION 'boxhaul: subscription % stands at %: % is ahead of it, and what lies between would be lost', p.subscription,
                        p.position, goal USING ERRCODE = 'invalid_parameter_value';
    END IF;
    DELETE FROM boxhaul.trail t WHERE t.subscription = p.subscription
       AND (t.seq > goal OR p.stop ->> 'kind' = 'recreated');
    UPDATE boxhaul.inbox_position x
       SET position = goal, began = least(p.began, goal),
           witness = CASE WHEN p.stop ->> 'kind' = 'recreated' THEN NULL ELSE mark.witness END,
           created = coalesce(p.stop ->> 'created', x.created), stop = NULL,
           incarnation = x.incarnation + CASE WHEN p.stop ->> 'kind' IN ('truncated', 'recreated') THEN 1 ELSE 0 END
     WHERE x.subscription = p.subscription;
    PERFORM pg_notify('boxhaul', 'inbox');
    RETURN goal;
END
$$;

-- What the stream dropped before it was read is lost: go on behind it. Returns how many sequences that are; not all of them need have
-- been messages of this subscription.
CREATE OR REPLACE FUNCTION boxhaul.inbox_accept_gap(subscription text) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    p      boxhaul.inbox_position;
    behind bigint;
BEGIN
    SELECT * INTO p FROM boxhaul.inbox_position x WHERE x.subscription = inbox_accept_gap.subscription FOR UPDATE;
    IF p.subscription IS NULL THEN
        PERFORM boxhaul.inbox_unknown(inbox_accept_gap.subscription);
    ELSIF coalesce(p.stop ->> 'kind', '') <> 'gap' THEN
        RAISE EXCEPTION 'boxhaul: subscription % has not stopped at a gap', p.subscription
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    behind := greatest((p.stop ->> 'first_seq')::bigint - 1, p.position);
    UPDATE boxhaul.inbox_position x
       SET position = behind, witness = CASE WHEN behind = p.position THEN p.witness END, lost = x.lost + behind - p.position, stop = NULL
     WHERE x.subscription = p.subscription;
    PERFORM pg_notify('boxhaul', 'inbox');
    RETURN behind - p.position;
END
$$;

-- Lane and row of an id that is not handled; raises where there is none. Locks the lane.
CREATE OR REPLACE FUNCTION boxhaul.inbox_find_unhandled(subscription text, id bigint) RETURNS boxhaul.inbox
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on
    SET lock_timeout = '5s' SET enable_seqscan = off AS $$
DECLARE
    at integer;
    r  boxhaul.inbox;
BEGIN
    SELECT l.lane INTO at FROM boxhaul.inbox_lane l, LATERAL (
        SELECT FROM boxhaul.inbox i WHERE i.subscription = l.subscription AND i.lane = l.lane AND i.id = inbox_find_unhandled.id) i
     WHERE l.subscription = inbox_find_unhandled.subscription;
    IF FOUND THEN
        PERFORM boxhaul.inbox_lock_lane(subscription, at);
        r := boxhaul.inbox_unhandled(subscription, at, id);
    END IF;
    IF r.id IS NULL THEN
        RAISE EXCEPTION 'boxhaul: row % of subscription % does not wait', id, subscription
            USING ERRCODE = 'no_data_found', HINT = 'SELECT * FROM boxhaul.inbox_blocked lists those that fail.';
    END IF;
    RETURN r;
END
$$;

-- Hand a parked or held row out again, now, with all its attempts before it.
CREATE OR REPLACE FUNCTION boxhaul.inbox_retry(subscription text, id bigint) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    r boxhaul.inbox := boxhaul.inbox_find_unhandled(subscription, id);
BEGIN
    -- Not quite none: it still comes alone.
    UPDATE boxhaul.inbox_parked k SET state = 'waiting', attempts = least(k.attempts, 1), next_at = clock_timestamp()
     WHERE k.subscription = r.subscription AND k.lane = r.lane AND k.id = r.id;
    UPDATE boxhaul.inbox_lane l SET next_due = boxhaul.inbox_next_due(r.subscription, r.lane), moves = l.moves + 1
     WHERE l.subscription = r.subscription AND l.lane = r.lane;
    PERFORM boxhaul.inbox_wake(r.subscription);
END
$$;

-- Give up a row that waits, whatever it waits for: a dead letter. The later rows of its key go on.
CREATE OR REPLACE FUNCTION boxhaul.inbox_skip(subscription text, id bigint, reason text DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    r boxhaul.inbox := boxhaul.inbox_find_unhandled(subscription, id);
    k boxhaul.inbox_parked;
BEGIN
    SELECT * INTO k FROM boxhaul.inbox_parked x WHERE x.subscription = r.subscription AND x.lane = r.lane AND x.id = r.id;
    PERFORM boxhaul.inbox_bury(r, coalesce(k.attempts, 0),
                               concat_ws(': ', format('skipped by %s', session_user), nullif(inbox_skip.reason, ''), k.error));
    PERFORM boxhaul.inbox_wake(r.subscription);
END
$$;

-- Put a dead letter back, behind all that is in the inbox: what stood behind it has gone on. It is inserted as the leader inserts: under
-- the position's lock, with the next id (I4).
CREATE OR REPLACE FUNCTION boxhaul.inbox_dead_retry(id bigint) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    d  boxhaul.inbox_dead;
    p  boxhaul.inbox_position;
    to_lane integer;
BEGIN
    DELETE FROM boxhaul.inbox_dead x WHERE x.id = inbox_dead_retry.id RETURNING * INTO d;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'boxhaul: there is no dead letter % in the inbox', id
            USING HINT = 'SELECT id, reason FROM boxhaul.inbox_dead lists them.', ERRCODE = 'no_data_found';
    ELSIF d.payload IS NULL OR d.subject IS NULL THEN
        RAISE EXCEPTION 'boxhaul: dead letter % was never stored here: there is nothing to hand out', id
            USING HINT = 'Its sequence says where the stream holds it. Read it there, and discard the letter: a rewind leaves it out, for '
                         'its id is known.', ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    SELECT * INTO STRICT p FROM boxhaul.inbox_position x WHERE x.subscription = d.subscription FOR UPDATE;
    to_lane := boxhaul.inbox_lane_of(d.key, p.last_id + 1, cardinality(p.lane_last));
    INSERT INTO boxhaul.inbox (subscription, lane, id, slot, seq, incarnation, message_id, subject, key, payload, headers, stored_at)
    SELECT d.subscription, to_lane, p.last_id + 1, r.slot, d.seq, d.incarnation, d.message_id, d.subject, d.key, d.payload, d.headers,
           coalesce(d.stored_at, d.died_at)
      FROM boxhaul.inbox_slot r WHERE r.ring = 'inbox' AND r.state = 'current';
    UPDATE boxhaul.seen k SET inbox_id = p.last_id + 1 WHERE k.subscription = d.subscription AND k.id = d.message_id;
    UPDATE boxhaul.inbox_position x SET last_id = x.last_id + 1, lane_last[to_lane + 1] = p.last_id + 1, taken = x.taken + 1
     WHERE x.subscription = p.subscription;
    PERFORM boxhaul.inbox_wake(p.subscription);
END
$$;

CREATE OR REPLACE FUNCTION boxhaul.inbox_dead_discard(id bigint) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    DELETE FROM boxhaul.inbox_dead x WHERE x.id = inbox_dead_discard.id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'boxhaul: there is no dead letter % in the inbox', id
            USING HINT = 'SELECT id, reason FROM boxhaul.inbox_dead lists them.', ERRCODE = 'no_data_found';
    END IF;
END
$$;

-- --- looking ---

-- When the oldest row that is not handled came. Of those that are parked the head of a key is its oldest.
CREATE OR REPLACE FUNCTION boxhaul.inbox_oldest(subscription text) RETURNS timestamptz
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
    SELECT least((SELECT min(i.received_at) FROM boxhaul.inbox_lane l, LATERAL (
                         SELECT x.received_at FROM boxhaul.inbox x
                          WHERE x.subscription = l.subscription AND x.lane = l.lane AND x.id > l.cursor ORDER BY x.id LIMIT 1) i
                   WHERE l.subscription = inbox_oldest.subscription
                     AND l.cursor < (SELECT p.lane_last[l.lane + 1] FROM boxhaul.inbox_position p
                                      WHERE p.subscription = l.subscription)),
                 (SELECT min(k.received_at) FROM boxhaul.inbox_parked k
                   WHERE k.subscription = inbox_oldest.subscription AND k.head AND k.state = 'waiting'),
                 (SELECT min(k.received_at) FROM boxhaul.inbox_parked k
                   WHERE k.subscription = inbox_oldest.subscription AND k.attempts > 0 AND k.state = 'held'))
$$;

-- May a message of this key that came before `before` be unhandled still? It stands in the lane above the cursor, or is parked. Rows of a
-- lane come in the order of their ids, so its first row above the cursor says it for all of them: one look at an index, however many wait.
-- A row of another key may be that first one; then the answer is yes too, until the lane has passed it. It is the time of this database
-- that is compared, received_at, for the broker has another clock. What is held waits for a person, and nobody waits for that here.
CREATE OR REPLACE FUNCTION boxhaul.inbox_may_wait(subscription text, key text, before timestamptz) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on
    SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET jit = off AS $$
DECLARE
    l record;
    r boxhaul.inbox;
    c refcursor;
    s integer;
BEGIN
    SELECT x.lane, x.cursor, x.parked, p.lane_last[x.lane + 1] AS last INTO l
      FROM boxhaul.subscription d
      JOIN boxhaul.inbox_position p ON p.subscription = d.name
      JOIN boxhaul.inbox_lane x ON x.subscription = d.name AND x.lane = boxhaul.inbox_lane_of(inbox_may_wait.key, 0, d.lanes)
     WHERE d.name = inbox_may_wait.subscription;
    IF l.parked > 0 AND EXISTS (SELECT FROM boxhaul.inbox_parked k
                                 WHERE k.subscription = inbox_may_wait.subscription AND k.lane = l.lane AND k.key = inbox_may_wait.key
                                   AND k.state = 'waiting' AND k.received_at < before) THEN
        RETURN true;
    ELSIF l.cursor < l.last THEN
        FOREACH s IN ARRAY boxhaul.inbox_open_slots() LOOP
            c := boxhaul.inbox_rows(s, subscription, l.lane, l.cursor);
            FETCH c INTO r;
            CLOSE c;
            IF r.id IS NOT NULL THEN
                RETURN r.received_at < before;
            END IF;
        END LOOP;
    END IF;
    RETURN false;
END
$$;

-- Each subscription: how far it is, what waits, and, where it has stopped, the command that goes on; NAME stands for the relay's
-- instance, which the database does not know.
CREATE OR REPLACE VIEW boxhaul.inbox_status AS
SELECT p.subscription, s.stream, s.subjects, p.position,
       'epoch'::timestamptz + p.witness / 1000 * '1 microsecond'::interval AS position_stored_at,
       p.incarnation, p.moved_at, p.epoch, p.leader, p.led_since,
       p.taken, p.left_out, p.lost, l.handled, p.taken - l.handled - l.died AS waiting,
       boxhaul.inbox_oldest(p.subscription) AS oldest_waiting,
       k.parked, k.held, l.standing AS lanes_standing, d.dead, p.paused_at, p.paused_by, p.pause_reason,
       p.stop ->> 'kind' AS stopped, p.stop,
       CASE p.stop ->> 'kind'
            WHEN 'gap' THEN format('boxhaul inbox accept-gap NAME %s', p.subscription)
            WHEN 'truncated' THEN format('boxhaul inbox rewind NAME %s --to SEQUENCE', p.subscription)
            WHEN 'recreated' THEN format('boxhaul inbox rewind NAME %s --to start', p.subscription) END AS goes_on_with
  FROM boxhaul.inbox_position p
  JOIN boxhaul.subscription s ON s.name = p.subscription
 CROSS JOIN LATERAL (SELECT sum(x.handled)::bigint AS handled, sum(x.died)::bigint AS died, count(x.stuck_since) AS standing
                       FROM boxhaul.inbox_lane x WHERE x.subscription = p.subscription) l
 CROSS JOIN LATERAL (SELECT count(*) FILTER (WHERE x.state <> 'dead') AS parked, count(*) FILTER (WHERE x.state = 'held') AS held
                       FROM boxhaul.inbox_parked x WHERE x.subscription = p.subscription) k
 CROSS JOIN LATERAL (SELECT count(*) AS dead FROM boxhaul.inbox_dead x WHERE x.subscription = p.subscription) d;

-- The rows that others wait for: those that failed, with what waits behind them, and those at which a lane stands.
CREATE OR REPLACE VIEW boxhaul.inbox_blocked AS
SELECT k.subscription, k.lane, k.id, k.key, CASE k.state WHEN 'held' THEN 'held' ELSE 'retrying' END AS state, k.attempts, k.since,
       k.next_at, k.error,
       (SELECT count(*) FROM boxhaul.inbox_parked b
         WHERE b.subscription = k.subscription AND b.lane = k.lane AND b.key = k.key AND b.id > k.id AND b.state <> 'dead') AS behind
  FROM boxhaul.inbox_parked k WHERE k.state <> 'dead' AND (k.head OR k.attempts > 0)
UNION ALL
SELECT l.subscription, l.lane, i.id, i.key, 'standing', 0, l.stuck_since, NULL,
       'handed out again and again, and neither done nor failed', NULL
  FROM boxhaul.inbox_lane l
  LEFT JOIN LATERAL (SELECT x.id, x.key FROM boxhaul.inbox x
                      WHERE x.subscription = l.subscription AND x.lane = l.lane AND x.id > l.cursor ORDER BY x.id LIMIT 1) i ON true
 WHERE l.stuck_since IS NOT NULL;

-- All that is known of the subscriptions, or of one: a JSON array, with the caller's rights. blocked: of what fails or stands, the first
-- fifty.
CREATE OR REPLACE FUNCTION boxhaul.inbox_look(subscription text DEFAULT NULL) RETURNS jsonb
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on SET lock_timeout = '1s'
    SET jit = off AS $$
BEGIN
    RETURN (SELECT coalesce(jsonb_agg(to_jsonb(s) || jsonb_build_object(
            'key', d.key_rule, 'lanes', d.lanes, 'dedupe', d.dedupe, 'handler', d.handler, 'poison', d.poison,
            'max_attempts', d.max_attempts, 'stuck_after', d.stuck_after, 'crash_attempts', d.crash_attempts, 'retention', d.retention,
            'oldest_seconds', extract(epoch FROM clock_timestamp() - s.oldest_waiting)::float8,
            'moved_seconds', extract(epoch FROM clock_timestamp() - s.moved_at)::float8,
            'led', boxhaul.inbox_leading_pid(s.subscription) IS NOT NULL,
            'verify', (SELECT to_jsonb(v) FROM boxhaul.verify_figures(s.subscription) v
                        WHERE EXISTS (SELECT FROM boxhaul.sink_table t WHERE t.subscription = s.subscription)),
            'sink', (SELECT to_jsonb(k) - 'subscription' - 'stream' - 'position'
                               || jsonb_build_object('committed_seconds', extract(epoch FROM clock_timestamp() - k.committed_at)::float8)
                       FROM boxhaul.sink_status k WHERE k.subscription = s.subscription),
            'paused', boxhaul.pause_text(s.paused_at, s.paused_by, s.pause_reason),
            'blocked', (SELECT coalesce(jsonb_agg(to_jsonb(b) - 'subscription' || jsonb_build_object(
                                   'seconds', extract(epoch FROM clock_timestamp() - b.since)::float8,
                                   'next_seconds', extract(epoch FROM b.next_at - clock_timestamp())::float8)
                                   ORDER BY b.since, b.id), '[]')
                          FROM (SELECT * FROM boxhaul.inbox_blocked x WHERE x.subscription = s.subscription
                                 ORDER BY x.since, x.id LIMIT 50) b)) ORDER BY s.subscription), '[]')
      FROM boxhaul.inbox_status s JOIN boxhaul.subscription d ON d.name = s.subscription
     WHERE inbox_look.subscription IS NULL OR s.subscription = inbox_look.subscription);
END
$$;

-- What waits in a subscription: for whoever watches, every few seconds, on the session that takes messages. So nothing here grows with
-- what is parked or dead: lanes are summed up, all else is found by an index, and dead letters are counted up to 10000. oldest_us: how
-- long the oldest row waits. The last four are about the row that somebody should look at first: one that is held, else one that
-- fails, since the longest time, else one at which a lane stands.
CREATE OR REPLACE FUNCTION boxhaul.inbox_figures(
    subscription text, OUT waiting bigint, OUT handled bigint, OUT oldest_us bigint, OUT parked bigint, OUT held bigint, OUT dead bigint,
    OUT standing bigint, OUT id bigint, OUT key text, OUT state text, OUT error text)
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on
    SET lock_timeout = '1s' SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off AS $$
BEGIN
    SELECT p.taken - sum(l.handled)::bigint - sum(l.died)::bigint, sum(l.handled)::bigint, sum(l.parked)::bigint, count(l.stuck_since)
      INTO waiting, handled, parked, standing
      FROM boxhaul.inbox_position p JOIN boxhaul.inbox_lane l ON l.subscription = p.subscription
     WHERE p.subscription = inbox_figures.subscription GROUP BY p.taken;
    oldest_us := (extract(epoch FROM clock_timestamp() - boxhaul.inbox_oldest(subscription)) * 1000000)::bigint;
    held := (SELECT count(*) FROM boxhaul.inbox_parked k
              WHERE k.subscription = inbox_figures.subscription AND k.attempts > 0 AND k.state = 'held');
    dead := (SELECT count(*) FROM (SELECT FROM boxhaul.inbox_dead d WHERE d.subscription = inbox_figures.subscription LIMIT 10000) d);
    FOREACH state IN ARRAY ARRAY['held', 'waiting'] LOOP
        SELECT k.id, k.key, k.error INTO id, key, error FROM boxhaul.inbox_parked k
         WHERE k.subscription = inbox_figures.subscription AND k.attempts > 0 AND k.state = inbox_figures.state
         ORDER BY k.since, k.id LIMIT 1;
        EXIT WHEN id IS NOT NULL;
    END LOOP;
    IF id IS NULL AND standing > 0 THEN
        SELECT b.id, b.key, b.state, b.error INTO id, key, state, error FROM boxhaul.inbox_blocked b
         WHERE b.subscription = inbox_figures.subscription AND b.state = 'standing' ORDER BY b.since, b.id LIMIT 1;
    END IF;
    state := CASE WHEN id IS NOT NULL THEN CASE state WHEN 'waiting' THEN 'retrying' ELSE state END END;
END
$$;

-- Dead letters of the inbox, by ascending id: as boxhaul.dead_letters(). NULL: any.
CREATE OR REPLACE FUNCTION boxhaul.inbox_dead_letters(above bigint DEFAULT -1, up_to bigint DEFAULT 9223372036854775807,
                                                      by_subscription text DEFAULT NULL, by_key text DEFAULT NULL,
                                                      by_reason text DEFAULT NULL, older interval DEFAULT NULL,
                                                      most integer DEFAULT NULL)
    RETURNS TABLE (id bigint, subscription text, seq bigint, message_id uuid, subject text, key text, stored_at timestamptz,
                   reason text, attempts integer, died_at timestamptz)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT d.id, d.subscription, d.seq, d.message_id, d.subject, d.key, d.stored_at, d.reason, d.attempts, d.died_at
      FROM boxhaul.inbox_dead d
     WHERE d.id > above AND d.id <= up_to AND (by_subscription IS NULL OR d.subscription = by_subscription)
       AND (by_key IS NULL OR d.key = by_key) AND (by_reason IS NULL OR strpos(lower(d.reason), lower(by_reason)) > 0)
       AND (older IS NULL OR d.died_at <= clock_timestamp() - older)
     ORDER BY d.id LIMIT most
$$;

-- Find a message by its Nats-Msg-Id. state: handled, waiting, parked (it waits behind, or for its next attempt), held, dead; known: its id
-- was seen, and the row is gone. Without ids, all rows are read.
CREATE OR REPLACE FUNCTION boxhaul.inbox_find(message_id text)
    RETURNS TABLE (subscription text, lane integer, id bigint, seq bigint, subject text, key text, state text, attempts integer,
                   error text, stored_at timestamptz, received_at timestamptz, dead_id bigint)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    WITH hit AS (
        SELECT i.* FROM boxhaul.seen k
          JOIN boxhaul.inbox_lane l ON l.subscription = k.subscription
          JOIN boxhaul.inbox i ON i.subscription = l.subscription AND i.lane = l.lane AND i.id = k.inbox_id
         WHERE k.id = boxhaul.inbox_uuid(inbox_find.message_id)
        UNION
        SELECT i.* FROM boxhaul.inbox i JOIN boxhaul.subscription s ON s.name = i.subscription AND s.dedupe = 'position'
         WHERE i.message_id = boxhaul.inbox_uuid(inbox_find.message_id))
    SELECT i.subscription, i.lane, i.id, i.seq, i.subject, i.key,
           CASE WHEN d.id IS NOT NULL THEN 'dead' WHEN k.state = 'held' THEN 'held' WHEN k.id IS NOT NULL THEN 'parked'
                WHEN i.id <= l.cursor THEN 'handled' ELSE 'waiting' END,
           coalesce(k.attempts, d.attempts, 0), coalesce(k.error, d.reason), i.stored_at, i.received_at, d.id
      FROM hit i
      JOIN boxhaul.inbox_lane l ON l.subscription = i.subscription AND l.lane = i.lane
      LEFT JOIN boxhaul.inbox_parked k ON k.subscription = i.subscription AND k.lane = i.lane AND k.id = i.id
      LEFT JOIN boxhaul.inbox_dead d ON d.subscription = i.subscription AND d.inbox_id = i.id
    UNION ALL
    SELECT d.subscription, d.lane, d.inbox_id, d.seq, d.subject, d.key, 'dead', d.attempts, d.reason, d.stored_at, d.died_at, d.id
      FROM boxhaul.inbox_dead d
     WHERE d.message_id = boxhaul.inbox_uuid(inbox_find.message_id)
       AND NOT EXISTS (SELECT FROM hit i WHERE i.subscription = d.subscription AND i.id = d.inbox_id)
    UNION ALL
    SELECT k.subscription, NULL, k.inbox_id, NULL, NULL, NULL, 'known', 0, NULL, NULL, NULL, NULL
      FROM boxhaul.seen k
     WHERE k.id = boxhaul.inbox_uuid(inbox_find.message_id)
       AND NOT EXISTS (SELECT FROM hit i WHERE i.subscription = k.subscription AND i.id = k.inbox_id)
       AND NOT EXISTS (SELECT FROM boxhaul.inbox_dead d WHERE d.subscription = k.subscription AND d.message_id = k.id)
$$;

-- The same as a JSON array, for `explain`, with the caller's rights. next_seconds: until one that has failed is handed out again; ahead: the
-- first row of its key that is not settled.
CREATE OR REPLACE FUNCTION boxhaul.inbox_explain(message_id text) RETURNS jsonb
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT coalesce(jsonb_agg(to_jsonb(f) || jsonb_build_object(
               'next_seconds', (SELECT extract(epoch FROM k.next_at - clock_timestamp())::float8 FROM boxhaul.inbox_parked k
                                 WHERE k.subscription = f.subscription AND k.lane = f.lane AND k.id = f.id AND k.attempts > 0),
               'ahead', (SELECT min(k.id) FROM boxhaul.inbox_parked k
                          WHERE k.subscription = f.subscription AND k.lane = f.lane AND k.key = f.key AND k.id < f.id
                            AND k.state <> 'dead'))
               ORDER BY f.subscription, f.id), '[]')
      FROM boxhaul.inbox_find(inbox_explain.message_id) f
$$;

-- --- grants ---

REVOKE ALL ON ALL TABLES IN SCHEMA boxhaul FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA boxhaul FROM PUBLIC;

-- A service's workers: they may execute receive(), done() and failed(), and nothing else.
GRANT USAGE ON SCHEMA boxhaul TO boxhaul_handler;
GRANT EXECUTE ON FUNCTION boxhaul.receive(text, integer), boxhaul.done(text, integer, bigint), boxhaul.done(boxhaul.inbox),
    boxhaul.done(text), boxhaul.failed(text, integer, bigint, text), boxhaul.failed(boxhaul.inbox, text) TO boxhaul_handler;

-- The relay writes nothing but through functions, and inserts only by inbox_take and inbox_dead_retry: ids rise only so.
GRANT SELECT ON boxhaul.subscription, boxhaul.inbox_position, boxhaul.trail, boxhaul.inbox, boxhaul.inbox_slot, boxhaul.inbox_lane,
    boxhaul.inbox_parked, boxhaul.inbox_dead, boxhaul.inbox_status, boxhaul.inbox_blocked TO boxhaul_relay;
GRANT EXECUTE ON FUNCTION
    boxhaul.inbox_define(text, text, text[], text, integer, text, text, text, integer, interval, integer, interval),
    boxhaul.inbox_subjects(text, text[]), boxhaul.inbox_drop(text), boxhaul.inbox_lead(text, text, text[]),
    boxhaul.inbox_open(text, bigint, text, bigint, bigint),
    boxhaul.inbox_take(text, bigint, integer, bigint, bigint, bigint, bigint[], text[], text[], text[], bytea[], jsonb[], bigint[], text[], bigint),
    boxhaul.inbox_wake(text), boxhaul.inbox_follow(text, bigint, integer, bigint, bigint, bigint, bigint),
    boxhaul.inbox_pass(text, bigint, integer, bigint, bigint, bigint),
    boxhaul.inbox_restart(text, bigint, integer, bigint, text), boxhaul.inbox_try_lock(text), boxhaul.inbox_unlock(text),
    boxhaul.inbox_leading_pid(text),
    boxhaul.inbox_rewind_to_trail(text, bigint, integer, bigint, bigint), boxhaul.inbox_stop(text, bigint, jsonb, bigint),
    boxhaul.inbox_lanes(text), boxhaul.inbox_next(text, integer), boxhaul.handle(text, text, integer, integer, bigint),
    boxhaul.failed(text, integer, bigint, text),
    boxhaul.inbox_pick(text, integer, integer), boxhaul.inbox_park(boxhaul.inbox, text), boxhaul.inbox_park_behind(boxhaul.inbox),
    boxhaul.inbox_settle(text, integer, bigint[], bigint), boxhaul.inbox_is_outage(text),
    boxhaul.inbox_watch(text), boxhaul.inbox_excuse(text, integer, text), boxhaul.inbox_clean(interval),
    boxhaul.inbox_pause(text, text, text), boxhaul.inbox_resume(text), boxhaul.inbox_rewind(text, text),
    boxhaul.inbox_accept_gap(text), boxhaul.inbox_retry(text, bigint), boxhaul.inbox_skip(text, bigint, text),
    boxhaul.inbox_dead_retry(bigint), boxhaul.inbox_dead_discard(bigint), boxhaul.inbox_oldest(text), boxhaul.inbox_find(text), boxhaul.inbox_explain(text),
    boxhaul.inbox_look(text), boxhaul.inbox_figures(text),
    boxhaul.inbox_dead_letters(bigint, bigint, text, text, text, interval, integer)
    TO boxhaul_relay;

-- The monitor sees everything but payloads and headers.
GRANT SELECT ON boxhaul.subscription, boxhaul.inbox_position, boxhaul.trail, boxhaul.inbox_slot, boxhaul.inbox_lane,
    boxhaul.inbox_parked, boxhaul.inbox_status, boxhaul.inbox_blocked TO boxhaul_monitor;
GRANT SELECT (subscription, lane, id, slot, seq, incarnation, message_id, subject, key, stored_at, received_at)
   ON boxhaul.inbox TO boxhaul_monitor;
GRANT SELECT (id, subscription, lane, inbox_id, seq, incarnation, message_id, subject, key, stored_at, reason, attempts, died_at)
   ON boxhaul.inbox_dead TO boxhaul_monitor;
GRANT EXECUTE ON FUNCTION boxhaul.inbox_oldest(text), boxhaul.inbox_find(text), boxhaul.inbox_explain(text), boxhaul.inbox_look(text), boxhaul.inbox_leading_pid(text),
    boxhaul.inbox_dead_letters(bigint, bigint, text, text, text, interval, integer) TO boxhaul_monitor;

INSERT INTO boxhaul.schema_version (version, name) VALUES (8, 'inbox') ON CONFLICT DO NOTHING;
