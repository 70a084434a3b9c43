-- boxhaul 010: capture: tables, outbox tables of others and logical messages out of the log.
--
-- A capture has one replication slot and reads what two publications of its owner name. Here stand its books: how far it is, which
-- tables are read, what could not be sent. The daemon writes them through the functions below and has no other way. Positions are the
-- log's; how they are kept is said at capture_mark().
--
-- Life of a slot:
--
--     none --capture_start()--> creating --capture_live()--> live --capture_gap()--> gap
--                                  ^                           |                      |
--                                  `-------capture_resync()----+----------------------'   (the next incarnation)
--
-- The name of a slot ends with its incarnation and is never used again: a slot that somebody made anew under the old name would look
-- healthy, and what lies between would be missing.

SET standard_conforming_strings = on;  -- what stands below is written for it

-- --- tables ---

-- One row a capture. A mark that moves nothing but the position is one HOT update of it: no index has what a mark writes.
CREATE TABLE IF NOT EXISTS boxhaul.capture (
    name           text        NOT NULL PRIMARY KEY CHECK (name ~ '^[a-z0-9_]{1,40}$'),
    stream         text        NOT NULL,
    state          text        NOT NULL DEFAULT 'none' CHECK (state IN ('none', 'creating', 'live', 'gap')),
    reason         text        CHECK (reason IN ('gone', 'lost', 'foreign', 'timeline', 'system', 'truncated', 'let_go')),
    detail         text,                              -- the same in words
    incarnation    integer     NOT NULL DEFAULT 0,    -- of the slot
    slot           text,                              -- boxhaul_<name>_<incarnation>
    system_id      bigint,                            -- the server's, when the slot was made
    timeline       bigint,                            -- the server's, when the lead was taken
    former_timeline bigint,                           -- a server was promoted since, and nobody has looked yet what that one lost (capture_forked())
    diverged       text,                              -- what was found the last time that one had lost something
    begin_lsn      pg_lsn,                            -- what committed above it is sent
    end_lsn        pg_lsn,                            -- the end of the last commit of which all is settled, and all before it
    commit_time    bigint,                            -- when that was, as the log has it: microseconds since 2000
    ordinal        bigint      NOT NULL DEFAULT 0,    -- of its last message, counted from the first one of the capture
    resigned_lsn   pg_lsn,                            -- what a leader that resigned has confirmed; NULL: it just ended
    low_water      bigint,                            -- what comes behind ordinal is stored above this sequence, if at all; NULL: not known
    stream_sequence bigint,                           -- commit order: the stream ended here when it was marked, or further on; NULL: not known.
    stream_time    bigint,                            -- when that message was stored,
    stream_created bigint,                            -- and when the stream was made: ns since 1970 by the broker's clock; NULL: not known
    epoch          bigint      NOT NULL DEFAULT 0,    -- raised by every new leader; guards every mark
    leader         text,
    led_since      timestamptz,
    marked_at      timestamptz,
    pauses         bigint      NOT NULL DEFAULT 0,    -- how many there were: the number of this one
    paused_at      timestamptz,
    paused_by      text,
    pause_reason   text,
    since          timestamptz NOT NULL DEFAULT clock_timestamp(),  -- of the state
    CHECK ((state = 'none') = (slot IS NULL)),
    CHECK ((state = 'gap') = (reason IS NOT NULL)),
    CHECK (state <> 'live' OR (end_lsn IS NOT NULL AND system_id IS NOT NULL))
) WITH (fillfactor = 50);

-- The tables of a capture, named as in the configuration.
--   waiting    its rows are to be read
--   reading    they are being read; up to the cursor they are stored
--   read       all are, and what is to be repaired is read
--   complete   the end of the snapshot is stored, too; or there is none (snapshot = 'none')
--   unproved   it was complete; then something changed contents without a change in the log (a rewrite, a partition that came or went), or a promotion took
--              changes back that had been sent (reason 'diverged: ...')
--   refused    it is new to a slot that is there, and this server would lose changes of it (capture_may_add()): its rows are not read
CREATE TABLE IF NOT EXISTS boxhaul.capture_table (
    capture       text        NOT NULL REFERENCES boxhaul.capture ON DELETE CASCADE,
    tab           text        NOT NULL,
    snapshot      text        NOT NULL CHECK (snapshot IN ('keys', 'whole', 'none')),  -- whole: in one piece, under one snapshot
    inserts_only  boolean     NOT NULL,
    state         text        NOT NULL CHECK (state IN ('waiting', 'reading', 'read', 'complete', 'unproved', 'refused')),
    reason        text,                               -- why it is refused or unproved
    snapshot_id   uuid        NOT NULL DEFAULT gen_random_uuid(),
    history       uuid,                               -- of its changes none is missing between two that have the same; NULL: nobody reads its rows
    reading       bigint      NOT NULL DEFAULT 0,     -- the number of this walk over it: a part of the id of each row that is read
    readings      bigint      NOT NULL DEFAULT 0,     -- the highest number of a reading that was ever given: none is given twice
    cursor        text[],                             -- the key of the last row up to which all are stored; NULL: none is, or it is read whole
    top           text[],                             -- the largest key when this walk began: it ends there; NULL: not known, or it was empty
    rows          bigint      NOT NULL DEFAULT 0,     -- stored in this walk
    rows_estimate bigint,
    columns       jsonb,                              -- as consumers were told last: name, type and typmod of each
    filenode      bigint      NOT NULL DEFAULT 0,     -- capture_filenode(), as of this walk; 0: not known
    since         timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (capture, tab)
) WITH (fillfactor = 50);

-- Keys whose row is to be read once more, by which reading (repairs are readings of their own): a change gave the row this key, and left out a value that it did not change.
CREATE TABLE IF NOT EXISTS boxhaul.capture_repair (
    n       bigint  NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    capture text    NOT NULL REFERENCES boxhaul.capture ON DELETE CASCADE,
    tab     text    NOT NULL,
    reading bigint  NOT NULL,
    key     text[]  NOT NULL
);
CREATE INDEX IF NOT EXISTS capture_repair_of ON boxhaul.capture_repair (capture, tab, reading);

-- Dead letters of captures: the change with all that is known of it. They outlive the capture. held: it stands in capture_carried, too, and what follows
-- with the same key waits behind it until somebody decides (poison = "hold").
CREATE TABLE IF NOT EXISTS boxhaul.capture_letter (
    id         bigint      NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    capture    text        NOT NULL,
    ordinal    bigint      NOT NULL,
    message_id uuid,
    subject    text,
    payload    bytea,
    headers    jsonb,
    reason     text        NOT NULL,
    attempts   integer     NOT NULL DEFAULT 0,
    position   text,
    tab        text,
    key        text,
    held       boolean     NOT NULL DEFAULT false,
    died_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX IF NOT EXISTS capture_letter_of ON boxhaul.capture_letter (capture, id);

-- Changes that their key keeps waiting (order = "key"), whole: so no key keeps the log. They are sent before anything newer of their key, and
-- go from here with the mark that says so. lane: what has an order between it, as the daemon hashes it. low_water: if one is stored, then above
-- this sequence of the stream; NULL: anywhere; -1: nowhere, for it was never sent, and a dead letter of its key is held, which it is itself or stands
-- behind. defect: why it can never be sent, though its turn has not come. held: a dead letter, which has a row in capture_letter, too; no leader sends it, nor
-- what stands behind it, before somebody decides (capture_redrive(), capture_discard(), capture_give_up()).
CREATE TABLE IF NOT EXISTS boxhaul.capture_carried (
    capture    text        NOT NULL REFERENCES boxhaul.capture ON DELETE CASCADE,
    ordinal    bigint      NOT NULL,
    lane       bigint      NOT NULL,
    low_water  bigint,
    message_id uuid,
    subject    text,
    payload    bytea       NOT NULL,
    headers    bytea       NOT NULL,                   -- name and value of each, each ended by a zero byte
    bytes      bigint      NOT NULL,                   -- that it takes in memory, and on the wire
    wire_bytes bigint      NOT NULL,
    position   text,
    tab        text,
    key        bytea,                                  -- in one piece, as the daemon has it
    key_shown  text,
    defect     integer     NOT NULL DEFAULT 0,
    why        text,
    attempts   integer     NOT NULL DEFAULT 0,
    reason     text,
    held       boolean     NOT NULL DEFAULT false,
    carried_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (capture, ordinal)
);

-- On PostgreSQL 13 what boxhaul itself says in the log (capture_emit()); before and after the statement that says it, empty. It has a key for those who copy
-- tables: a publication of all tables refuses a DELETE without one. Nobody scans it, and so its end need not be given back under a lock.
CREATE TABLE IF NOT EXISTS boxhaul.capture_signal (
    id      bigint NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    prefix  text   NOT NULL,
    content text   NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, vacuum_truncate = false);

-- Outbox tables of others whose rows a trigger copies (outbox_attach()).
CREATE TABLE IF NOT EXISTS boxhaul.outbox_table (
    tab         oid         NOT NULL PRIMARY KEY,
    mapping     jsonb       NOT NULL,
    attached_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- --- signals ---

-- What boxhaul itself has to say in the log, in its transaction and at its place there: `boxhaul.token`, of a move (013), and `boxhaul.applied`, that a sink
-- writes what follows (011). From 14 on it is a logical message. pgoutput of 13 sends none: there it is a row of boxhaul.capture_signal, which every capture has
-- in its publication of inserts (capture_plan_publications()). A row has its place and its transaction as a message has, so who reads the log makes
-- the same of both (relay/format/signal_row.h). The row is gone at once: the log keeps that it was inserted, and the publication says no more of it.
CREATE OR REPLACE FUNCTION boxhaul.capture_emit(prefix text, content text) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    made bigint;
BEGIN
    IF current_setting('server_version_num')::integer >= 140000 THEN
        PERFORM pg_logical_emit_message(true, prefix, content);
        RETURN;
    END IF;
    INSERT INTO boxhaul.capture_signal (prefix, content) VALUES (capture_emit.prefix, capture_emit.content) RETURNING id INTO made;
    DELETE FROM boxhaul.capture_signal s WHERE s.id = made;
END
$$;

-- What a capture has in its publication of inserts for that.
CREATE OR REPLACE FUNCTION boxhaul.capture_signal_tables() RETURNS text[]
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT CASE WHEN current_setting('server_version_num')::integer < 140000 THEN ARRAY['boxhaul.capture_signal'] ELSE '{}' END
$$;

-- --- small things ---

CREATE OR REPLACE FUNCTION boxhaul.capture_unknown(name text) RETURNS void
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    RAISE EXCEPTION 'boxhaul: there is no capture %', name
        USING ERRCODE = 'no_data_found',
              HINT = coalesce('There is: ' || (SELECT string_agg(c.name, ', ' ORDER BY c.name) FROM boxhaul.capture c),
                              'None is on record: a daemon with one in its configuration puts it there.');
END
$$;

-- Somebody else leads, or an operator has changed what the caller's books say.
CREATE OR REPLACE FUNCTION boxhaul.capture_over(name text, epoch bigint) RETURNS void
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    RAISE EXCEPTION 'boxhaul: epoch % of capture % is over: another daemon leads it, or its books were changed', epoch, name
        USING ERRCODE = 'object_not_in_prerequisite_state';
END
$$;

-- The table of that name, as SQL writes it with its schema; NULL: there is none. As to_regclass(), but for everybody: that one fails for who may not
-- look into the schema.
CREATE OR REPLACE FUNCTION boxhaul.capture_relation(tab text) RETURNS oid
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = (parse_ident(tab))[1] AND c.relname = (parse_ident(tab))[2]
$$;

-- The table of a capture, as its configuration writes it, of which messages say `said`: schema and table as the catalogue has them, with a point between, and
-- without the quotes that SQL wants of some. So who has read a name in the stream finds the table again. NULL: the capture has none of that name.
CREATE OR REPLACE FUNCTION boxhaul.capture_tab(capture text, said text) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT t.tab FROM boxhaul.capture_table t
     WHERE t.capture = capture_tab.capture AND array_to_string(parse_ident(t.tab), '.') = capture_tab.said
     ORDER BY t.tab LIMIT 1
$$;

-- Minor releases before these decode a table that was added to a publication wrongly: changes are lost in silence, for good.
CREATE OR REPLACE FUNCTION boxhaul.capture_may_add() RETURNS boolean
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT v.n % 10000 >= CASE v.n / 10000 WHEN 13 THEN 21 WHEN 14 THEN 18 WHEN 15 THEN 13 WHEN 16 THEN 9 WHEN 17 THEN 5 ELSE 0 END
      FROM (SELECT current_setting('server_version_num')::integer AS n) v
$$;

-- So a table is not added to a slot that is there. Why; NULL: it may be.
CREATE OR REPLACE FUNCTION boxhaul.capture_may_not_add(name text) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT format('PostgreSQL %s decodes a table that is added to a publication wrongly: changes would be lost in silence', current_setting('server_version'))
     WHERE EXISTS (SELECT FROM boxhaul.capture c WHERE c.name = capture_may_not_add.name AND c.state = 'live') AND NOT boxhaul.capture_may_add()
$$;

CREATE OR REPLACE FUNCTION boxhaul.capture_refuse_to_add(name text) RETURNS void
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    why text := boxhaul.capture_may_not_add(name);
BEGIN
    IF why IS NOT NULL THEN
        RAISE EXCEPTION 'boxhaul: %', why
            USING ERRCODE = 'feature_not_supported',
                  HINT = format('Update the server to 13.21, 14.18, 15.13, 16.9, 17.5 or newer. Or put the table into the configuration and the '
                                'publication, then SELECT boxhaul.capture_resync(%L): a new slot is safe.', name);
    END IF;
END
$$;

-- --- the lead ---

-- The session whose advisory lock makes it the leader; NULL: there is none.
CREATE OR REPLACE FUNCTION boxhaul.capture_leading_pid(name text) RETURNS integer
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT boxhaul.lock_pid('capture ' || name)
$$;

-- What one that was frozen still publishes, should it wake up, its lease and the chain of the stream fence.
CREATE OR REPLACE FUNCTION boxhaul.capture_try_lock(name text) RETURNS boolean
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT boxhaul.lock_try('capture ' || name, interval '20 s')
$$;

CREATE OR REPLACE FUNCTION boxhaul.capture_unlock(name text) RETURNS boolean
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT boxhaul.lock_return('capture ' || name)
$$;

-- Create the capture, or fit it to the configuration. tables: [{"table", "snapshot", "inserts_only"}], all that its publications are to
-- have. Returns what changed. A table that is new waits until its rows are read; one that is gone from the configuration is forgotten, with the passes over it. A table that is new
-- to a slot that is there is refused where the server decodes such a table wrongly (capture_may_add()), until all of them are read again behind a new one.
CREATE OR REPLACE FUNCTION boxhaul.capture_define(name text, stream text, tables jsonb) RETURNS text[]
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    c   boxhaul.capture;
    t   record;
    no  text := boxhaul.capture_may_not_add(capture_define.name);
    did text[] := '{}';
BEGIN
    INSERT INTO boxhaul.capture AS x (name, stream) VALUES (capture_define.name, capture_define.stream) ON CONFLICT DO NOTHING;
    IF FOUND THEN
        did := did || format('capture %s is new', capture_define.name);
    END IF;
    SELECT * INTO STRICT c FROM boxhaul.capture x WHERE x.name = capture_define.name FOR UPDATE;
    IF c.stream <> capture_define.stream THEN
        IF c.state NOT IN ('none', 'gap') THEN
            RAISE EXCEPTION 'boxhaul: capture % sends to stream %, and where it stands is where that one ends', c.name, c.stream
                USING ERRCODE = 'object_not_in_prerequisite_state',
                      HINT = format('Give the capture that sends to %s another name. Or drop this one, and start it anew: all tables are '
                                    'read again.', capture_define.stream);
        END IF;
        UPDATE boxhaul.capture x
           SET stream = capture_define.stream, low_water = NULL, stream_sequence = NULL, stream_time = NULL, stream_created = NULL
         WHERE x.name = c.name;
        UPDATE boxhaul.capture_carried x SET low_water = NULL WHERE x.capture = c.name;
        did := did || format('sends to stream %s', capture_define.stream);
    END IF;
    FOR t IN
        DELETE FROM boxhaul.capture_table x
         WHERE x.capture = c.name
           AND NOT EXISTS (SELECT FROM jsonb_array_elements(tables) e WHERE e ->> 'table' = x.tab)
        RETURNING x.tab
    LOOP
        DELETE FROM boxhaul.capture_repair r WHERE r.capture = c.name AND r.tab = t.tab;
        DELETE FROM boxhaul.capture_verify v WHERE v.capture = c.name AND v.tab = t.tab;
        did := did || format('without table %s', t.tab);
    END LOOP;
    FOR t IN
        SELECT w.tab, w.snapshot, w.inserts_only, x.snapshot AS snapshot_was, x.inserts_only AS inserts_were
          FROM (SELECT e ->> 'table' AS tab, e ->> 'snapshot' AS snapshot, coalesce((e -> 'inserts_only')::boolean, false) AS inserts_only
                  FROM jsonb_array_elements(tables) e) w
          LEFT JOIN boxhaul.capture_table x ON x.capture = c.name AND x.tab = w.tab
         WHERE (w.snapshot, w.inserts_only) IS DISTINCT FROM (x.snapshot, x.inserts_only) ORDER BY w.tab
    LOOP
        -- Without a snapshot there is nothing to wait for. With another one than before, what is stored stays, and a pass over the rows
        -- that has begun begins again.
        INSERT INTO boxhaul.capture_table AS x (capture, tab, snapshot, inserts_only, state, reason, history)
        VALUES (c.name, t.tab, t.snapshot, t.inserts_only, CASE WHEN no IS NOT NULL THEN 'refused' WHEN t.snapshot = 'none' THEN 'complete' ELSE 'waiting' END, no,
                CASE t.snapshot WHEN 'none' THEN NULL ELSE gen_random_uuid() END)
        ON CONFLICT (capture, tab) DO UPDATE
           SET snapshot = excluded.snapshot, inserts_only = excluded.inserts_only,
               state = CASE WHEN excluded.snapshot = x.snapshot OR x.state IN ('complete', 'unproved', 'refused') THEN x.state
                            WHEN excluded.snapshot = 'none' THEN 'complete' ELSE 'waiting' END,
               cursor = CASE WHEN excluded.snapshot = x.snapshot THEN x.cursor END,
               top = CASE WHEN excluded.snapshot = x.snapshot THEN x.top END,
               filenode = CASE WHEN excluded.snapshot = x.snapshot OR x.state IN ('complete', 'unproved') THEN x.filenode ELSE 0 END,
               rows = CASE WHEN excluded.snapshot = x.snapshot OR x.state IN ('complete', 'unproved') THEN x.rows ELSE 0 END,
               snapshot_id = CASE WHEN excluded.snapshot = x.snapshot THEN x.snapshot_id ELSE excluded.snapshot_id END,
               since = clock_timestamp();
        did := did || format('table %s: snapshot %s%s%s', t.tab, t.snapshot, CASE WHEN t.inserts_only THEN ', inserts only' ELSE '' END,
                             CASE WHEN t.snapshot_was IS NULL THEN ', refused: ' || no END);
    END LOOP;
    RETURN did;
END
$$;

-- Where we are. NULL where the server is in recovery.
CREATE OR REPLACE FUNCTION boxhaul.capture_place(OUT system_id bigint, OUT timeline bigint)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT c.system_identifier,
           CASE WHEN NOT pg_is_in_recovery() THEN ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint END
      FROM pg_control_system() c
$$;

-- Take the lead: from now on whoever led before marks nothing more, for its epoch is over. The caller has the lock. Returns the capture as
-- it is now; promoted: the server began a new timeline since the last lead. What the former leader confirmed without a mark is known only
-- where it resigned.
CREATE OR REPLACE FUNCTION boxhaul.capture_lead(name text, leader text, OUT books boxhaul.capture, OUT promoted boolean)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    here record;
    was  boxhaul.capture;
BEGIN
    -- An epoch that a crash took back would be given twice, and its second leader would take the first one's lead for its own.
    PERFORM set_config('synchronous_commit', 'local', true);
    SELECT * INTO was FROM boxhaul.capture x WHERE x.name = capture_lead.name FOR UPDATE;
    IF NOT FOUND THEN
        PERFORM boxhaul.capture_unknown(capture_lead.name);
    END IF;
    SELECT * INTO here FROM boxhaul.capture_place();
    -- A position is one of a server and its history (11). An older history is one that the books were not written in.
    IF was.state = 'live' AND was.system_id <> here.system_id THEN
        PERFORM boxhaul.capture_gap(was.name, was.epoch, 'system',
            format('this is server %s, and the position is one of server %s', to_hex(here.system_id), to_hex(was.system_id)));
    ELSIF was.state = 'live' AND was.timeline > here.timeline THEN
        PERFORM boxhaul.capture_gap(was.name, was.epoch, 'timeline',
            format('this is timeline %s, and the position is one of timeline %s', here.timeline, was.timeline));
    END IF;
    promoted := was.state = 'live' AND was.system_id = here.system_id AND was.timeline < here.timeline;
    UPDATE boxhaul.capture x
       SET epoch = x.epoch + 1, leader = capture_lead.leader, led_since = clock_timestamp(), resigned_lsn = NULL,
           timeline = CASE WHEN x.state = 'live' THEN here.timeline ELSE x.timeline END,
           -- The oldest of them, until somebody has looked: a leader that ends before it has leaves that to the next one.
           former_timeline = CASE WHEN promoted THEN coalesce(x.former_timeline, was.timeline) ELSE x.former_timeline END
     WHERE x.name = was.name RETURNING * INTO books;
    -- The log brings again what is not marked, with all of it that was carried.
    DELETE FROM boxhaul.capture_carried x WHERE x.capture = was.name AND x.ordinal > was.ordinal;
    DELETE FROM boxhaul.capture_letter l WHERE l.capture = was.name AND l.held AND l.ordinal > was.ordinal;
    -- A decision that the lost tail had may have let go what stands here as never sent. It was sent after all that we have, so above our low water.
    IF promoted THEN
        PERFORM boxhaul.capture_may_send(was, NULL);
    END IF;
    -- Numbers of readings that the lost tail had given are not given again: a row's message is known by its number and key, and would be taken for one that
    -- is there, with what was in it then.
    IF promoted THEN
        UPDATE boxhaul.capture_table t SET reading = CASE WHEN t.reading > 0 THEN t.reading + 65536 ELSE 0 END, readings = t.readings + 65536
         WHERE t.capture = was.name;
        UPDATE boxhaul.capture_repair r SET reading = r.reading + 65536 WHERE r.capture = was.name;
    END IF;
    books.resigned_lsn := was.resigned_lsn;
END
$$;

-- What was sent, and is lost. After a promotion the log goes on from a fork, and what had committed beyond it is nowhere any more. All of that
-- stands in the stream above the low water that these books have, for they are older than it. So who looks at the stream from there on, before he sends
-- anything, sees by the positions of messages whether there is any. phantom: the first one in words; NULL: there is none.
--
-- Copies differ then for good: a row that was deleted is not sent again. So the tables are `unproved` until a verify pass has compared and mended them, or their
-- rows are read again; of those that were not read to the end it is begun anew. Returns these tables; none where nobody can make them equal (no key, no snapshot):
-- then it is only said. False: the books have gone on meanwhile.
CREATE OR REPLACE FUNCTION boxhaul.capture_forked(name text, epoch bigint, fork pg_lsn, phantom text, OUT taken boolean, OUT tables text[])
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    words text := format('a promotion took changes back that were sent: the log goes on from %s, and the stream has %s', fork, phantom);
BEGIN
    PERFORM set_config('synchronous_commit', 'on', true);
    UPDATE boxhaul.capture x
       SET former_timeline = NULL, diverged = CASE WHEN phantom IS NOT NULL THEN words ELSE x.diverged END
     WHERE x.name = capture_forked.name AND x.epoch = capture_forked.epoch AND x.state = 'live' AND x.former_timeline IS NOT NULL;
    taken := FOUND;
    tables := '{}';
    IF NOT taken OR phantom IS NULL THEN
        RETURN;
    END IF;
    WITH changed AS (
        UPDATE boxhaul.capture_table t
           SET since = clock_timestamp(), reason = CASE WHEN t.state IN ('complete', 'unproved') THEN 'diverged: ' || words END,
               state = CASE WHEN t.state IN ('complete', 'unproved') THEN 'unproved' ELSE 'waiting' END,
               snapshot_id = CASE WHEN t.state IN ('complete', 'unproved') THEN t.snapshot_id ELSE gen_random_uuid() END,
               reading = CASE WHEN t.state IN ('complete', 'unproved') THEN t.reading ELSE 0 END,
               cursor = CASE WHEN t.state IN ('complete', 'unproved') THEN t.cursor END,
               top = CASE WHEN t.state IN ('complete', 'unproved') THEN t.top END,
               rows = CASE WHEN t.state IN ('complete', 'unproved') THEN t.rows ELSE 0 END,
               filenode = CASE WHEN t.state IN ('complete', 'unproved') THEN t.filenode ELSE 0 END
         WHERE t.capture = capture_forked.name AND t.snapshot <> 'none' AND NOT t.inserts_only AND t.state <> 'refused'
        RETURNING t.tab, t.state)
    SELECT coalesce(array_agg(c.tab ORDER BY c.tab), '{}') INTO tables FROM changed c;
    DELETE FROM boxhaul.capture_repair r USING boxhaul.capture_table t
     WHERE r.capture = capture_forked.name AND t.capture = r.capture AND t.tab = r.tab AND t.state = 'waiting';
    PERFORM boxhaul.capture_verify_void(capture_forked.name, NULL);
    -- A transaction that is cut off in the stream ends where another one begins. This one begins behind it.
    PERFORM boxhaul.capture_emit('boxhaul.token', gen_random_uuid()::text);
    UPDATE boxhaul.capture x SET epoch = x.epoch + 1 WHERE x.name = capture_forked.name;  -- whoever leads has other books
END
$$;

-- Why copies may differ from what the capture reads, though it sends every change: a promotion. NULL: they do not, by that. Nobody cuts over meanwhile, and
-- the capture is not ready.
CREATE OR REPLACE FUNCTION boxhaul.capture_diverged(name text) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT CASE WHEN c.state <> 'live' THEN NULL
                WHEN c.former_timeline IS NOT NULL THEN 'a server was promoted, and nobody has looked yet whether the stream has changes that it lacks'
                ELSE (SELECT format('%s; not proved since: %s', c.diverged, string_agg(t.tab, ', ' ORDER BY t.tab))
                        FROM boxhaul.capture_table t WHERE t.capture = c.name AND t.state = 'unproved' AND t.reason LIKE 'diverged: %' HAVING count(*) > 0) END
      FROM boxhaul.capture c WHERE c.name = capture_diverged.name
$$;

-- The leader ends: so far it has told the server that all is settled. Whoever leads next knows then what no mark says.
CREATE OR REPLACE FUNCTION boxhaul.capture_resign(name text, epoch bigint, confirmed pg_lsn) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    UPDATE boxhaul.capture x SET resigned_lsn = confirmed WHERE x.name = capture_resign.name AND x.epoch = capture_resign.epoch;
END
$$;

-- --- the slot ---

-- Dead letters that stand in the table; counted up to 10,000.
CREATE OR REPLACE FUNCTION boxhaul.capture_letters_standing(name text) RETURNS bigint
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT count(*) FROM (SELECT FROM boxhaul.capture_letter l WHERE l.capture = name LIMIT 10000) l
$$;

-- The slot is made, and what commits above `begins` will come. False: the books have gone on meanwhile.
CREATE OR REPLACE FUNCTION boxhaul.capture_live(name text, epoch bigint, incarnation integer, begins pg_lsn) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    here record;
BEGIN
    PERFORM set_config('synchronous_commit', 'on', true);
    SELECT * INTO here FROM boxhaul.capture_place();
    UPDATE boxhaul.capture x
       SET state = 'live', since = clock_timestamp(), system_id = here.system_id, timeline = here.timeline, begin_lsn = begins,
           end_lsn = begins, commit_time = NULL, resigned_lsn = NULL
     WHERE x.name = capture_live.name AND x.epoch = capture_live.epoch AND x.incarnation = capture_live.incarnation
       AND x.state = 'creating'
       AND EXISTS (SELECT FROM pg_replication_slots s WHERE s.slot_name = x.slot AND s.confirmed_flush_lsn = begins);  -- it is here
    RETURN FOUND;
END
$$;

-- The slot, or what it stands for, is lost: nothing is sent any more until capture_resync().
CREATE OR REPLACE FUNCTION boxhaul.capture_gap(name text, epoch bigint, reason text, detail text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'on', true);
    UPDATE boxhaul.capture x
       SET state = 'gap', since = clock_timestamp(), reason = capture_gap.reason, detail = capture_gap.detail
     WHERE x.name = capture_gap.name AND x.epoch = capture_gap.epoch AND x.state = 'live';
    RETURN FOUND;
END
$$;

-- Looks at the slot, and puts a gap on record. confirmed: the highest position that the server was told by us, or that a leader that
-- resigned has left (NULL: not known). Only then can one be told that was made anew under the same name, for it stands higher: nobody
-- but us ever moves it. Also: whether there is one, who uses it, what of the log it holds back, and what the log has beyond it, in bytes;
-- spare: how much more the server keeps for it (NULL: no limit). pass: the last verify pass that has not begun (012).
CREATE OR REPLACE FUNCTION boxhaul.capture_examine(name text, epoch bigint, confirmed pg_lsn,
                                                   OUT state text, OUT reason text, OUT detail text, OUT exist boolean, OUT active_pid integer,
                                                   OUT confirmed_lsn pg_lsn, OUT retained bigint, OUT lag bigint, OUT spare bigint,
                                                   OUT pause bigint, OUT superseded boolean, OUT slot text,
                                                   OUT incarnation integer, OUT paused text, OUT letters bigint, OUT pass bigint, OUT diverged text, OUT copied boolean)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    c    boxhaul.capture;
    s    pg_replication_slots;
    -- Of later versions, so they are looked for by name.
    j    jsonb;
    here pg_lsn := CASE WHEN NOT pg_is_in_recovery() THEN pg_current_wal_lsn() END;
BEGIN
    SELECT * INTO c FROM boxhaul.capture x WHERE x.name = capture_examine.name AND x.epoch = capture_examine.epoch;
    IF NOT FOUND THEN
        PERFORM boxhaul.capture_over(capture_examine.name, capture_examine.epoch);
    END IF;
    SELECT * INTO s FROM pg_replication_slots x WHERE x.slot_name = c.slot;
    exist := FOUND;
    j := to_jsonb(s);
    active_pid := s.active_pid;
    confirmed_lsn := s.confirmed_flush_lsn;
    retained := pg_wal_lsn_diff(here, s.restart_lsn);
    lag := greatest(pg_wal_lsn_diff(here, s.confirmed_flush_lsn), 0);
    spare := s.safe_wal_size;
    copied := coalesce((j ->> 'failover')::boolean, false);
    IF c.state = 'live' THEN
        IF NOT exist THEN
            reason := 'gone';
            detail := format('there is no replication slot %s any more', c.slot);
        ELSIF s.wal_status = 'lost' OR j ->> 'invalidation_reason' IS NOT NULL OR (j ->> 'conflicting')::boolean THEN
            reason := 'lost';
            detail := format('the replication slot %s was invalidated: %s', c.slot,
                             coalesce(j ->> 'invalidation_reason', 'the server removed WAL that it needs'));
        ELSIF s.plugin IS DISTINCT FROM 'pgoutput' OR s.database IS DISTINCT FROM current_database() OR s.temporary THEN
            reason := 'foreign';
            detail := format('somebody made another replication slot %s: plugin %s, database %s', c.slot, s.plugin, s.database);
        ELSIF s.confirmed_flush_lsn > greatest(capture_examine.confirmed, c.end_lsn) AND capture_examine.confirmed IS NOT NULL THEN
            reason := 'foreign';
            detail := format('the replication slot %s stands at %s, and we never confirmed more than %s: somebody moved it, or made it anew',
                             c.slot, s.confirmed_flush_lsn, greatest(capture_examine.confirmed, c.end_lsn));
        END IF;
        IF reason IS NOT NULL THEN
            PERFORM boxhaul.capture_gap(c.name, c.epoch, reason, detail);
            c.state := 'gap';
        END IF;
    ELSE
        reason := c.reason;
        detail := c.detail;
    END IF;
    state := c.state;
    pause := CASE WHEN c.paused_at IS NOT NULL THEN c.pauses ELSE 0 END;
    paused := boxhaul.pause_text(c.paused_at, c.paused_by, c.pause_reason);
    letters := boxhaul.capture_letters_standing(c.name);
    pass := (SELECT max(v.pass) FROM boxhaul.capture_verify v WHERE v.capture = c.name AND v.state = 'waiting');
    diverged := boxhaul.capture_diverged(c.name);
    superseded := EXISTS (SELECT FROM boxhaul.capture_superseded(c.name));
    slot := c.slot;
    incarnation := c.incarnation;
END
$$;

-- Replication slots of a capture that nothing is read from any more: of earlier incarnations; the one that was let go; and while one is being
-- made, what an attempt before has left, for nobody knows whether the publications were there when that was made.
CREATE OR REPLACE FUNCTION boxhaul.capture_superseded(name text) RETURNS TABLE (slot text, pid integer)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT x.slot_name::text, x.active_pid
      FROM boxhaul.capture c JOIN pg_replication_slots x ON x.slot_name ~ ('^boxhaul_' || c.name || '_[0-9]+$') AND x.database = current_database()
     WHERE c.name = capture_superseded.name
       AND (regexp_replace(x.slot_name, '^.*_', '')::bigint < c.incarnation
            OR x.slot_name = c.slot AND (c.state = 'creating' OR c.state = 'gap' AND c.reason = 'let_go'))
$$;

-- A session as the daemon's for this capture: its login, and the name that it gives all of them; or the one that the connection string gives them instead, and
-- so to who asks, too. Whoever else uses a slot of ours was put there by somebody, and is not ended by us: only named.
CREATE OR REPLACE FUNCTION boxhaul.capture_is_ours(name text, pid integer, login text DEFAULT session_user) RETURNS boolean
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT coalesce((SELECT a.usename = login AND a.application_name IN ('boxhaul-' || capture_is_ours.name, nullif(current_setting('application_name'), ''))
                       FROM pg_stat_activity a WHERE a.pid = capture_is_ours.pid), false)
$$;

-- Who uses a slot, in words. When it came only those are told who may see it.
CREATE OR REPLACE FUNCTION boxhaul.capture_user_of(slot text, pid integer) RETURNS text
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT format('replication slot %s is used by pid %s (%s%s%s), which is no session of this capture: SELECT pg_terminate_backend(%s) ends it',
                  slot, p.pid, coalesce(nullif(a.application_name, ''), a.backend_type, 'unknown'), ' of ' || a.usename,
                  ', since ' || to_char(a.backend_start, 'YYYY-MM-DD HH24:MI:SS TZ'), p.pid)
      FROM (VALUES (capture_user_of.pid)) p (pid) LEFT JOIN pg_stat_activity a ON a.pid = p.pid
$$;

-- Ends whoever of ours uses the slot: under the lock of the capture it is what a former leader has left. With `clean` those that are superseded, too;
-- where nobody uses one any more it is dropped. With the rights of the caller, who has to be a role that may end these sessions and drop
-- slots. Returns in words what was done; NULL: nothing. 55006: somebody else uses one.
CREATE OR REPLACE FUNCTION boxhaul.capture_free(name text, epoch bigint, clean boolean) RETURNS text
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    s        record;
    did      text[] := '{}';
    stranger text;
BEGIN
    IF NOT EXISTS (SELECT FROM boxhaul.capture x WHERE x.name = capture_free.name AND x.epoch = capture_free.epoch) THEN
        PERFORM boxhaul.capture_over(capture_free.name, capture_free.epoch);
    END IF;
    FOR s IN SELECT x.slot, r.active_pid AS pid, false AS drop
               FROM boxhaul.capture x JOIN pg_replication_slots r ON r.slot_name = x.slot AND r.database = current_database()
              WHERE x.name = capture_free.name AND x.state = 'live'
             UNION ALL
             SELECT p.slot, p.pid, true FROM boxhaul.capture_superseded(capture_free.name) p WHERE clean
    LOOP
        IF boxhaul.capture_is_ours(capture_free.name, s.pid) THEN
            PERFORM pg_terminate_backend(s.pid);
            did := did || format('ended session %s, which used slot %s', s.pid, s.slot);
        ELSIF s.pid IS NOT NULL THEN
            stranger := coalesce(stranger, boxhaul.capture_user_of(s.slot, s.pid));
        ELSIF s.drop THEN
            PERFORM pg_drop_replication_slot(s.slot);
            did := did || format('dropped slot %s', s.slot);
        END IF;
    END LOOP;
    IF stranger IS NOT NULL THEN
        RAISE EXCEPTION 'boxhaul: %', stranger USING ERRCODE = 'object_in_use';
    END IF;
    RETURN nullif(array_to_string(did, '; '), '');
END
$$;

-- Sessions and prepared transactions in words. NULL: there are none.
CREATE OR REPLACE FUNCTION boxhaul.capture_who(pids integer[], prepared text[]) RETURNS text
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT string_agg(x.who, ', ')
      FROM (SELECT format('pid %s (%s in a transaction for %s s)', p.pid,
                          coalesce(nullif(a.application_name, ''), a.backend_type, 'unknown') || coalesce(' of ' || a.usename, '') || ',',
                          coalesce(extract(epoch FROM clock_timestamp() - a.xact_start)::bigint, 0)) AS who
              FROM unnest(pids) p (pid) LEFT JOIN pg_stat_activity a ON a.pid = p.pid
            UNION ALL
            SELECT format('the prepared transaction %s', g.gid) FROM unnest(prepared) g (gid)) x
$$;

-- Whom a session waits for, in words; NULL: for nobody. (A replication slot that is being made waits for each transaction that has an xid.)
CREATE OR REPLACE FUNCTION boxhaul.capture_waits(pid integer) RETURNS text
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT boxhaul.capture_who(
        array_remove(pg_blocking_pids(capture_waits.pid), 0),
        (SELECT array_agg(p.gid) FROM pg_locks l JOIN pg_prepared_xacts p ON p.transaction = l.transactionid
          WHERE l.pid = capture_waits.pid AND l.locktype = 'transactionid' AND NOT l.granted))
$$;

-- A table and its partitions, of all levels. (Of one that has none and is none pg_partition_tree() has no row at all.)
CREATE OR REPLACE FUNCTION boxhaul.capture_relations(relation oid) RETURNS SETOF oid
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT relation WHERE relation IS NOT NULL
    UNION
    SELECT p.relid FROM pg_partition_tree(relation) p
$$;

-- --- the barrier ---

-- Every transaction below `horizon` that may have written to a table of the capture has ended. fence: an xid that was drawn in a transaction of
-- its own, after the slot was made, the publication changed, or the lead taken: at a horizon that is not below it the first chunk may be read. pids: who
-- is below it yet. A prepared transaction has none; it is named in `prepared`. xmax: of the snapshot; it is no fence (002).
--
-- Why the locks are enough: as for boxhaul.outbox_xmin() (004). Whoever has written to a table keeps lock and xid until its end is visible,
-- so one that was streamed and is still in its limbo is among them. On 13 a transaction that began before a publication changed is decoded
-- by the old one also for what it writes later, so there the snapshot's xmin alone counts, and everybody is waited for.
CREATE OR REPLACE FUNCTION boxhaul.capture_horizon(name text, fence xid8, OUT horizon xid8, OUT xmax xid8, OUT pids integer[],
                                                   OUT prepared text[])
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    all_count boolean := current_setting('server_version_num')::integer < 140000;
    next      bigint  := pg_snapshot_xmax(pg_current_snapshot())::text::bigint;
    seen      bigint  := pg_snapshot_xmin(pg_current_snapshot())::text::bigint;
    below     bigint  := fence::text::bigint;
    held      bigint;
    kept      bigint;
BEGIN
    -- pg_locks shows 32 bits of an xid: the nearest 64-bit value to "next" is meant.
    WITH locks AS MATERIALIZED (SELECT locktype, database, relation, transactionid, virtualtransaction, pid, granted FROM pg_locks),
    holder AS (
        SELECT DISTINCT l.virtualtransaction FROM locks l
         WHERE all_count OR l.locktype = 'relation' AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
               AND l.relation IN (SELECT r.relation FROM boxhaul.capture_table t, boxhaul.capture_relations(boxhaul.capture_relation(t.tab)) r (relation)
                                   WHERE t.capture = capture_horizon.name)),
    writer AS (
        SELECT t.pid, next + ((t.transactionid::text::bigint - next + 2147483648) & 4294967295) - 2147483648 AS xid
          FROM locks t JOIN holder USING (virtualtransaction) WHERE t.locktype = 'transactionid' AND t.granted)
    SELECT min(w.xid), array_agg(DISTINCT w.pid) FILTER (WHERE w.xid < below AND w.pid IS NOT NULL) INTO held, pids FROM writer w;
    -- PREPARE TRANSACTION hands locks on one by one: what slipped through above stands here (004).
    SELECT min(x.xid), array_agg(x.gid ORDER BY x.gid) FILTER (WHERE x.xid < below)
      INTO kept, prepared
      FROM (SELECT p.gid, next + ((p.transaction::text::bigint - next + 2147483648) & 4294967295) - 2147483648 AS xid
              FROM pg_prepared_xacts p WHERE p.database = current_database()) x;
    xmax := next::text::xid8;
    horizon := greatest(seen, CASE WHEN NOT all_count THEN least(next, held, kept) END)::text::xid8;
END
$$;

-- --- the mark ---

-- Mark: one call, one transaction. Fails, and changes nothing, unless the caller's epoch, the slot's incarnation and the ordinal that it
-- marked last are current. What it says is confirmed to the server after its answer, and never before (1). So it is on disk by then. A
-- position that is lost in a failover comes again; but of a dead letter, and of what is carried, there is nothing else, so those wait for the
-- standbys that are to be waited for, too. (Where the slot is copied to standbys what it says is confirmed only when they have the mark:
-- core/capture/capture_marking.h.)
--
-- One value, an object. What has not changed is left out:
--   incarnation  of the slot
--   from         the ordinal that is in the books
--   end_lsn      the end of the last commit that is settled with all before it; commit_time (microseconds since 2000), ordinal, low_water
--   stream_sequence  commit order: a message that the stream has stored, at or behind the last one that is marked; stream_time, stream_created
--   tables       [{"table", "state", "reading", "repair_first", "filenode", "rows"}], and "cursor" where it moves (null: back
--                to the start), "top" (the same of where it ends), "reason". With "pass" it is said of a verify pass over it (012).
--                Repairs of readings below repair_first are done: they go
--   told         [{"table", "columns"}]: what consumers were told of a table
--   repairs      [{"table", "reading", "key"}]: rows to be read again. One may be there already. A key, as a cursor, is an array of columns in hex
--   letters      dead letters: columns of boxhaul.capture_letter, but for the payloads, which may be too long for JSON: `payloads` has one for each.
--                "stops": what stands there makes the copy wrong as a whole, so the capture is paused with it
--   carried      changes that wait for their key: columns of boxhaul.capture_carried, but for payload, headers and key: `payloads` has these three
--                for each, behind those of the letters
--   gone         ordinals: what was carried, and is stored, or a letter of this mark
--   held         [{"ordinal", "reason", "attempts"}]: of what is carried with this mark or was before: dead letters that hold their key from now on. "stops" as
--                of letters
--   void         the stream has lost its end: what is carried may stand anywhere in it
--
-- A table that is not there any more was dropped from the configuration: what is said of it is void.
CREATE OR REPLACE FUNCTION boxhaul.capture_mark(name text, epoch bigint, mark jsonb, payloads bytea[] DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    PERFORM set_config('synchronous_commit', CASE WHEN mark ?| ARRAY['letters', 'carried', 'held'] THEN 'on' ELSE 'local' END, true);
    UPDATE boxhaul.capture x
       SET end_lsn = (mark ->> 'end_lsn')::pg_lsn, commit_time = coalesce((mark -> 'commit_time')::bigint, x.commit_time),
           ordinal = (mark -> 'ordinal')::bigint, low_water = (mark -> 'low_water')::bigint,
           stream_sequence = (mark -> 'stream_sequence')::bigint, stream_time = (mark -> 'stream_time')::bigint,
           stream_created = (mark -> 'stream_created')::bigint, marked_at = clock_timestamp()
     WHERE x.name = capture_mark.name AND x.epoch = capture_mark.epoch AND x.state = 'live'
       AND x.incarnation = (mark -> 'incarnation')::integer AND x.ordinal = (mark -> 'from')::bigint
       AND x.end_lsn <= (mark ->> 'end_lsn')::pg_lsn AND x.ordinal <= (mark -> 'ordinal')::bigint;
    IF NOT FOUND THEN
        PERFORM boxhaul.capture_over(capture_mark.name, capture_mark.epoch);
    END IF;
    IF mark ? 'repairs' THEN
        INSERT INTO boxhaul.capture_repair (capture, tab, reading, key)
        SELECT DISTINCT capture_mark.name, e ->> 'table', (e -> 'reading')::bigint, boxhaul.capture_texts(e -> 'key')
          FROM jsonb_array_elements(mark -> 'repairs') e
         WHERE NOT EXISTS (SELECT FROM boxhaul.capture_repair r
                            WHERE r.capture = capture_mark.name AND r.tab = e ->> 'table' AND r.reading = (e -> 'reading')::bigint
                              AND r.key = boxhaul.capture_texts(e -> 'key'));
        -- Whoever leads next gives another number: keys of two lives in one reading are more than a chunk, and ids that were used.
        UPDATE boxhaul.capture_table t
           SET readings = greatest(t.readings, m.reading)
          FROM (SELECT e ->> 'table' AS tab, max((e -> 'reading')::bigint) AS reading FROM jsonb_array_elements(mark -> 'repairs') e
                 GROUP BY 1) m
         WHERE t.capture = capture_mark.name AND t.tab = m.tab;
    END IF;
    IF mark ? 'tables' THEN
        PERFORM boxhaul.capture_mark_tables(capture_mark.name, mark -> 'tables');
    END IF;
    IF mark ? 'told' THEN
        PERFORM boxhaul.capture_mark_tables(capture_mark.name, mark -> 'told');
    END IF;
    IF mark ? 'letters' THEN
        INSERT INTO boxhaul.capture_letter (capture, ordinal, message_id, subject, payload, headers, reason, attempts, position, tab, key)
        SELECT capture_mark.name, l.ordinal, l.message_id, l.subject, payloads[e.n], l.headers, l.reason, coalesce(l.attempts, 0),
               l.position, l.tab, l.key
          FROM jsonb_array_elements(mark -> 'letters') WITH ORDINALITY e (letter, n),
               jsonb_to_record(e.letter) AS l (ordinal bigint, message_id uuid, subject text, headers jsonb, reason text, attempts integer,
                                               position text, tab text, key text)
         ORDER BY e.n;
        PERFORM boxhaul.capture_stop(capture_mark.name, e ->> 'tab')
           FROM jsonb_array_elements(mark -> 'letters') e WHERE (e -> 'stops')::boolean;
    END IF;
    IF mark ?| ARRAY['carried', 'gone', 'void'] THEN
        PERFORM boxhaul.capture_mark_carried(capture_mark.name, mark, payloads);
    END IF;
    IF mark ? 'held' THEN
        PERFORM boxhaul.capture_mark_held(capture_mark.name, mark -> 'held');
    END IF;
END
$$;

-- What is carried from now on, and what is not any more.
CREATE OR REPLACE FUNCTION boxhaul.capture_mark_carried(name text, mark jsonb, payloads bytea[]) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    letters integer := coalesce(jsonb_array_length(mark -> 'letters'), 0);
BEGIN
    DELETE FROM boxhaul.capture_carried x
     WHERE x.capture = capture_mark_carried.name AND x.ordinal IN (SELECT e::bigint FROM jsonb_array_elements(mark -> 'gone') e);
    IF mark ? 'void' THEN
        UPDATE boxhaul.capture_carried x SET low_water = NULL WHERE x.capture = capture_mark_carried.name;
    END IF;
    INSERT INTO boxhaul.capture_carried (capture, ordinal, lane, low_water, message_id, subject, payload, headers, key, bytes, wire_bytes, position,
                                         tab, key_shown, defect, why, attempts, reason)
    SELECT capture_mark_carried.name, x.ordinal, x.lane, x.low_water, x.message_id, x.subject, payloads[letters + 3 * e.n - 2],
           payloads[letters + 3 * e.n - 1], payloads[letters + 3 * e.n], x.bytes, x.wire_bytes, x.position, x.tab, x.key, coalesce(x.defect, 0),
           x.why, coalesce(x.attempts, 0), x.reason
      FROM jsonb_array_elements(mark -> 'carried') WITH ORDINALITY e (carried, n),
           jsonb_to_record(e.carried) AS x (ordinal bigint, lane bigint, low_water bigint, message_id uuid, subject text, bytes bigint,
                                            wire_bytes bigint, position text, tab text, key text, defect integer, why text, attempts integer,
                                            reason text);
END
$$;

-- Of what is carried: dead letters that hold their key. In the transaction that carries them, or a later one: so there is no letter without its change.
CREATE OR REPLACE FUNCTION boxhaul.capture_mark_held(name text, held jsonb) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    WITH h AS (
        UPDATE boxhaul.capture_carried x
           SET held = true, attempts = (e -> 'attempts')::integer, reason = (e ->> 'reason') || coalesce(': ' || x.why, '')
          FROM jsonb_array_elements(capture_mark_held.held) e
         WHERE x.capture = capture_mark_held.name AND x.ordinal = (e -> 'ordinal')::bigint AND NOT x.held
        RETURNING x.*
    )
    INSERT INTO boxhaul.capture_letter (capture, ordinal, message_id, subject, payload, reason, attempts, position, tab, key, held)
    SELECT h.capture, h.ordinal, h.message_id, h.subject, h.payload, h.reason, h.attempts, h.position, h.tab, h.key_shown, true FROM h ORDER BY h.ordinal;
    PERFORM boxhaul.capture_stop(capture_mark_held.name, x.tab)
       FROM jsonb_array_elements(capture_mark_held.held) e
       JOIN boxhaul.capture_carried x ON x.capture = capture_mark_held.name AND x.ordinal = (e -> 'ordinal')::bigint
      WHERE (e -> 'stops')::boolean;
END
$$;

-- What cannot be told makes the copy wrong as a whole.
CREATE OR REPLACE FUNCTION boxhaul.capture_stop(name text, tab text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    PERFORM boxhaul.capture_pause(name, 'boxhaul',
                format('TRUNCATE %s: a bucket cannot be told. Purge what it has of the table, then boxhaul capture resync, and resume', tab));
END
$$;

-- What is carried and was never sent, because a dead letter holds its key (NULL: any), may be sent from now on: above what holds for all that is not settled.
CREATE OR REPLACE FUNCTION boxhaul.capture_may_send(c boxhaul.capture, lane bigint) RETURNS void
    LANGUAGE sql SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    UPDATE boxhaul.capture_carried x SET low_water = nullif(c.low_water, -1)
     WHERE x.capture = c.name AND x.low_water = -1 AND (capture_may_send.lane IS NULL OR x.lane = capture_may_send.lane)
$$;

-- What is carried, by its ordinals: it is sent now. What an operator has given up meanwhile is not among it. Fails where the epoch is over.
CREATE OR REPLACE FUNCTION boxhaul.capture_fetch(name text, epoch bigint, ordinals bigint[]) RETURNS SETOF boxhaul.capture_carried
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM boxhaul.capture x WHERE x.name = capture_fetch.name AND x.epoch = capture_fetch.epoch) THEN
        PERFORM boxhaul.capture_over(capture_fetch.name, capture_fetch.epoch);
    END IF;
    RETURN QUERY SELECT x.* FROM boxhaul.capture_carried x WHERE x.capture = capture_fetch.name AND x.ordinal = ANY (ordinals) ORDER BY x.ordinal;
END
$$;

-- A key of the mark: a database without an encoding holds any bytes for text, and JSON does not.
CREATE OR REPLACE FUNCTION boxhaul.capture_texts(list jsonb) RETURNS text[]
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT CASE WHEN jsonb_typeof(list) = 'array'
                THEN ARRAY(SELECT convert_from(decode(e.x, 'hex'), pg_client_encoding()) FROM jsonb_array_elements_text(list) WITH ORDINALITY e (x, n) ORDER BY e.n) END
$$;

-- How many rows the statistics say that it has.
CREATE OR REPLACE FUNCTION boxhaul.capture_rows_estimate(relation oid) RETURNS bigint
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT sum(greatest(c.reltuples, 0)) FROM boxhaul.capture_relations(relation) r (r) JOIN pg_class c ON c.oid = r.r WHERE c.relkind <> 'p'
$$;

-- One after the other: a table may stand there several times, and what is said of it last holds. (One UPDATE takes one of them, and not the last.)
CREATE OR REPLACE FUNCTION boxhaul.capture_mark_tables(name text, tables jsonb) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    e jsonb;
BEGIN
    FOR e IN SELECT x FROM jsonb_array_elements(tables) WITH ORDINALITY AS t (x, n) ORDER BY n LOOP
        IF e ? 'pass' THEN
            PERFORM boxhaul.capture_verify_mark(e);
            CONTINUE;
        END IF;
        UPDATE boxhaul.capture_table t
           -- One that is unproved stays so when some of its rows were read once more (a bucket's, capture.7): nobody has proved the others.
           SET state = CASE WHEN t.state = 'unproved' AND e ->> 'state' IN ('read', 'complete') THEN t.state ELSE coalesce(e ->> 'state', t.state) END,
               since = CASE WHEN coalesce(e ->> 'state', t.state) <> t.state THEN clock_timestamp() ELSE t.since END,
               reason = CASE WHEN e ? 'reason' THEN e ->> 'reason'
                             WHEN t.state = 'unproved' AND e ->> 'state' IN ('read', 'complete') THEN t.reason
                             WHEN e ->> 'state' <> t.state THEN NULL ELSE t.reason END,
               reading = coalesce((e -> 'reading')::bigint, t.reading),
               readings = greatest(t.readings, (e -> 'reading')::bigint),
               cursor = CASE WHEN e ? 'cursor' THEN boxhaul.capture_texts(e -> 'cursor') ELSE t.cursor END,
               top = CASE WHEN e ? 'top' THEN boxhaul.capture_texts(e -> 'top') ELSE t.top END,
               rows = coalesce((e -> 'rows')::bigint, t.rows),
               -- As its walk begins: what comes meanwhile is not among them.
               rows_estimate = CASE WHEN e -> 'top' <> 'null' OR t.snapshot = 'whole' AND t.state = 'waiting' AND e ->> 'state' = 'reading' THEN boxhaul.capture_rows_estimate(boxhaul.capture_relation(t.tab))
                                    ELSE t.rows_estimate END,
               columns = coalesce(nullif(e -> 'columns', 'null'), t.columns),
               filenode = coalesce((e -> 'filenode')::bigint, t.filenode)
         WHERE t.capture = capture_mark_tables.name AND t.tab = e ->> 'table';
        DELETE FROM boxhaul.capture_repair r
         WHERE r.capture = capture_mark_tables.name AND r.tab = e ->> 'table' AND r.reading < (e -> 'repair_first')::bigint;
    END LOOP;
END
$$;

-- --- what a table looks like ---

-- The key by which rows are read: the primary key, or the index that is the identity. NULL: there is none.
CREATE OR REPLACE FUNCTION boxhaul.capture_key_of(relation oid, OUT key smallint[], OUT key_index oid)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT (i.indkey::smallint[])[0:i.indnkeyatts - 1], i.indexrelid  -- behind them are columns that it only includes
      FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
     WHERE i.indrelid = relation AND i.indisunique AND i.indimmediate AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
       AND CASE WHEN c.relreplident = 'i' THEN i.indisreplident ELSE i.indisprimary END
       AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = relation AND a.attnum = ANY ((i.indkey::smallint[])[0:i.indnkeyatts - 1]) AND NOT a.attnotnull)
$$;

-- The files of a table and its partitions, and the columns by which its rows are read, with their types and collations, hashed; never 0. Another
-- value: contents may have changed without a change in the log, or the order in which they are read has.
CREATE OR REPLACE FUNCTION boxhaul.capture_filenode(relation oid) RETURNS bigint
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT coalesce(nullif(hashtextextended(concat_ws(' ',
               (SELECT string_agg(r.r || ':' || coalesce(pg_relation_filenode(r.r), 0), ' ' ORDER BY r.r) FROM boxhaul.capture_relations(relation) r (r)),
               (SELECT string_agg(k.number || ':' || a.atttypid || ':' || a.attcollation, ' ' ORDER BY k.n)
                  FROM unnest((boxhaul.capture_key_of(relation)).key) WITH ORDINALITY k (number, n)
                  JOIN pg_attribute a ON a.attrelid = relation AND a.attnum = k.number)), 0), 0), 1)
$$;

-- What a type is made of. base: of a domain, the type at its bottom. element: of an array (or a domain of one) that is not built in, its elements' type, or
-- that one's base. 0: it is no such type.
CREATE OR REPLACE FUNCTION boxhaul.capture_type(type oid, OUT base bigint, OUT element bigint)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    WITH RECURSIVE down AS (
        SELECT t.oid, t.typtype, t.typbasetype, t.typelem, t.typcategory, 0 AS depth FROM pg_type t WHERE t.oid = capture_type.type
        UNION ALL
        SELECT t.oid, t.typtype, t.typbasetype, t.typelem, t.typcategory, d.depth + 1
          FROM down d JOIN pg_type t ON d.typtype = 'd' AND t.oid = d.typbasetype),
    bottom AS (SELECT * FROM down ORDER BY depth DESC LIMIT 1)
    SELECT CASE WHEN b.depth > 0 THEN b.oid::bigint ELSE 0 END,
           CASE WHEN b.typcategory = 'A' AND b.typelem <> 0 AND b.oid >= 16384
                THEN coalesce(nullif((boxhaul.capture_type(b.typelem)).base, 0), b.typelem::bigint) ELSE 0 END
      FROM bottom b
$$;

-- The schema of the operators by which values of a type are ordered, where that is not pg_catalog: those of an extension (citext). Our sessions have no other schema in their
-- path, so the plain sign would be another type's operator there, if it is any: with citext = text's, which takes capitals for other letters, and orders them otherwise.
CREATE OR REPLACE FUNCTION boxhaul.capture_operators(type oid) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT n.nspname::text
      FROM pg_opclass k
      JOIN pg_am m ON m.oid = k.opcmethod AND m.amname = 'btree'
      JOIN pg_amop o ON o.amopfamily = k.opcfamily AND o.amoplefttype = k.opcintype AND o.amoprighttype = k.opcintype AND o.amopstrategy = 3
      JOIN pg_operator p ON p.oid = o.amopopr
      JOIN pg_namespace n ON n.oid = p.oprnamespace
     WHERE k.opcdefault AND n.nspname <> 'pg_catalog'
       AND k.opcintype = coalesce(nullif((boxhaul.capture_type(capture_operators.type)).base, 0), capture_operators.type::bigint)::oid
$$;

-- The condition that a column `t` of a table has a value.
CREATE OR REPLACE FUNCTION boxhaul.capture_equals(relation oid, name text, value text) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT format('t.%I %s %s', a.attname, coalesce('OPERATOR(' || quote_ident(boxhaul.capture_operators(a.atttypid)) || '.=)', '='), capture_equals.value)
      FROM pg_attribute a WHERE a.attrelid = relation AND a.attname = capture_equals.name AND NOT a.attisdropped
$$;

-- Does a publication send the changes of this table as the table's own? Not asked of pg_publication_tables: from 16 on that opens every table of the publication, and waits where
-- somebody has one locked (ALTER TABLE, VACUUM FULL), whichever table it is asked of. What a root has published in its name is none of its partitions' own.
CREATE OR REPLACE FUNCTION boxhaul.capture_publishes(publication name, relation oid) RETURNS boolean
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    sends boolean := pg_relation_is_publishable(relation)
                     AND EXISTS (SELECT FROM pg_publication p WHERE p.pubname = publication
                                    AND (p.puballtables OR EXISTS (SELECT FROM pg_publication_rel r WHERE r.prpubid = p.oid AND r.prrelid = relation)));
BEGIN
    IF NOT sends AND current_setting('server_version_num')::integer >= 150000 THEN
        EXECUTE 'SELECT EXISTS (SELECT FROM pg_publication p JOIN pg_publication_namespace n ON n.pnpubid = p.oid JOIN pg_class c ON c.relnamespace = n.pnnspid
                                 WHERE p.pubname = $1 AND c.oid = $2)' INTO sends USING publication, relation;
    END IF;
    RETURN sends AND NOT EXISTS (SELECT FROM pg_partition_ancestors(relation) a WHERE a.relid <> relation AND boxhaul.capture_publishes(publication, a.relid));
END
$$;

-- A table as its rows are read, with the rights of the caller. kind: pg_class.relkind. published: by one of the capture's publications.
-- columns: those that the log has, and no other (8), their types, and whether each may be long. key: of its identity index, or the primary
-- key; NULL: none. filter: the publication's row filter. why: its rows cannot be read.
CREATE OR REPLACE FUNCTION boxhaul.capture_shape(capture text, tab text, OUT relation oid, OUT kind text, OUT published boolean,
                                                 OUT columns text[], OUT types text[], OUT long boolean[], OUT key text[], OUT key_types text[],
                                                 OUT filter text, OUT rows_estimate bigint, OUT why text)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    version integer := current_setting('server_version_num')::integer;
    names   name[];
    numbers smallint[];
    stored  boolean;  -- generated columns that are, are sent
    ours    name[] := ARRAY['boxhaul_' || capture, 'boxhaul_' || capture || '_inserts'];
BEGIN
    relation := boxhaul.capture_relation(tab);
    IF relation IS NULL THEN
        published := false;
        why := 'there is no such table';
        RETURN;
    END IF;
    SELECT c.relkind INTO kind FROM pg_class c WHERE c.oid = relation;
    published := EXISTS (SELECT FROM unnest(ours) o (name) WHERE boxhaul.capture_publishes(o.name, relation));
    -- A list of columns, and a filter, has a table that the publication names.
    IF version >= 150000 THEN
        EXECUTE 'SELECT (SELECT array_agg(a.attname) FROM pg_attribute a WHERE a.attrelid = r.prrelid AND a.attnum = ANY (r.prattrs)), pg_get_expr(r.prqual, r.prrelid)
                   FROM pg_publication p JOIN pg_publication_rel r ON r.prpubid = p.oid WHERE r.prrelid = $1 AND p.pubname = ANY ($2) LIMIT 1'
           INTO names, filter USING relation, ours;
    END IF;
    stored := version >= 180000 AND (names IS NOT NULL OR EXISTS (SELECT FROM pg_publication p WHERE p.pubname = ANY (ours) AND to_jsonb(p) ->> 'pubgencols' = 's'
                                                                                                   AND boxhaul.capture_publishes(p.pubname, relation)));
    SELECT array_agg(a.attname::text ORDER BY a.attnum), array_agg(format_type(a.atttypid, a.atttypmod) ORDER BY a.attnum),
           array_agg(a.attlen < 0 ORDER BY a.attnum)
      INTO columns, types, long
      FROM pg_attribute a
     WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped AND (names IS NULL OR a.attname = ANY (names))
       AND (a.attgenerated = '' OR a.attgenerated = 's' AND stored);
    SELECT k.key INTO numbers FROM boxhaul.capture_key_of(relation) k;
    SELECT array_agg(a.attname::text ORDER BY n.n), array_agg(format_type(a.atttypid, a.atttypmod) ORDER BY n.n)
      INTO key, key_types
      FROM unnest(numbers) WITH ORDINALITY AS n (number, n) JOIN pg_attribute a ON a.attrelid = relation AND a.attnum = n.number;
    IF NOT key <@ columns THEN
        key := NULL;
    END IF;
    rows_estimate := boxhaul.capture_rows_estimate(relation);
    why := CASE WHEN kind NOT IN ('r', 'p') THEN 'it is no table'
                WHEN NOT published THEN 'it is in no publication of the capture'
                WHEN NOT boxhaul.capture_may_select(relation, columns) THEN format('GRANT SELECT ON %s TO boxhaul_capture is missing', tab)
                WHEN row_security_active(relation) THEN format('a policy hides rows of it from %I, which needs BYPASSRLS', current_user) END;
END
$$;

CREATE OR REPLACE FUNCTION boxhaul.capture_may_select(relation oid, columns text[]) RETURNS boolean
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT has_table_privilege(relation, 'SELECT')
           OR NOT EXISTS (SELECT FROM unnest(columns) c WHERE NOT has_column_privilege(relation, c, 'SELECT'))
$$;

-- Tables of the capture that are not as the configuration has them: not there, published by none or by the other publication. (Its signals, where they are rows,
-- are one of its tables.) And a publication that is missing, or does not send what it is to send. The words say what is to be done, but for the command.
CREATE OR REPLACE FUNCTION boxhaul.capture_differs(name text) RETURNS TABLE (tab text, why text)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    WITH wanted AS (
        SELECT t.tab, boxhaul.capture_relation(t.tab) AS relation,
               'boxhaul_' || t.capture || CASE WHEN t.inserts_only THEN '_inserts' ELSE '' END AS publication, t.inserts_only
          FROM boxhaul.capture_table t WHERE t.capture = capture_differs.name
        UNION ALL
        SELECT s.tab, boxhaul.capture_relation(s.tab), 'boxhaul_' || capture_differs.name || '_inserts', true
          FROM unnest(boxhaul.capture_signal_tables()) s (tab)),
    publication AS (SELECT p.pubname::text AS pubname, p.puballtables, p.pubinsert, p.pubupdate, p.pubdelete, p.pubtruncate, p.pubviaroot
                      FROM pg_publication p WHERE p.pubname IN ('boxhaul_' || capture_differs.name, 'boxhaul_' || capture_differs.name || '_inserts'))
    SELECT NULL, format('there is no publication %s', n.publication)
      FROM (VALUES ('boxhaul_' || capture_differs.name), ('boxhaul_' || capture_differs.name || '_inserts')) n (publication)
     WHERE NOT EXISTS (SELECT FROM publication p WHERE p.pubname = n.publication)
    UNION ALL
    SELECT NULL, format('publication %s does not send what it is to send (publish, publish_via_partition_root)', p.pubname)
      FROM publication p
     WHERE NOT p.pubviaroot OR NOT p.pubinsert
           OR (p.pubupdate, p.pubdelete, p.pubtruncate) IS DISTINCT FROM (NOT p.pubname LIKE '%\_inserts', NOT p.pubname LIKE '%\_inserts', NOT p.pubname LIKE '%\_inserts')
    UNION ALL
    SELECT w.tab, CASE WHEN w.relation IS NULL THEN 'there is no such table'
                       ELSE format('it is not in publication %s', w.publication) END
      FROM wanted w
     WHERE w.relation IS NULL
        OR EXISTS (SELECT FROM publication p WHERE p.pubname = w.publication)
           AND NOT boxhaul.capture_publishes(w.publication, w.relation)
$$;

-- Tables whose rows are all stored are looked at now and then: contents may have changed without a change in the log. Returns those of which
-- that was not known.
CREATE OR REPLACE FUNCTION boxhaul.capture_watch(name text, epoch bigint) RETURNS text[]
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    t     record;
    found text[] := '{}';
BEGIN
    IF NOT EXISTS (SELECT FROM boxhaul.capture x WHERE x.name = capture_watch.name AND x.epoch = capture_watch.epoch AND x.state = 'live') THEN
        RETURN found;
    END IF;
    FOR t IN SELECT x.tab, boxhaul.capture_relation(x.tab) AS relation, x.filenode FROM boxhaul.capture_table x
              WHERE x.capture = capture_watch.name AND x.state = 'complete' AND x.filenode <> 0
    LOOP
        IF t.relation IS NOT NULL AND boxhaul.capture_filenode(t.relation) <> t.filenode THEN
            UPDATE boxhaul.capture_table x
               SET state = 'unproved', since = clock_timestamp(),
                   reason = 'its file is another one, or it has other partitions, or another key: what that changed is not in the log'
             WHERE x.capture = capture_watch.name AND x.tab = t.tab AND x.state = 'complete';
            found := found || t.tab;
        END IF;
    END LOOP;
    RETURN found;
END
$$;

-- --- who operates ---

-- The daemon makes the slot now. The publications are there already: a slot fails for ever at what was written before them.
CREATE OR REPLACE FUNCTION boxhaul.capture_start(name text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    c   boxhaul.capture;
    why text;
BEGIN
    SELECT * INTO c FROM boxhaul.capture x WHERE x.name = capture_start.name FOR UPDATE;
    IF NOT FOUND THEN
        PERFORM boxhaul.capture_unknown(capture_start.name);
    ELSIF c.state <> 'none' THEN
        RETURN false;
    END IF;
    SELECT string_agg(coalesce(d.tab || ': ', '') || d.why, '; ' ORDER BY d.tab NULLS FIRST) INTO why FROM boxhaul.capture_differs(c.name) d;
    IF why IS NOT NULL THEN
        RAISE EXCEPTION 'boxhaul: capture % cannot start: %', c.name, why
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'boxhaul capture plan --sql prints what makes them.';
    END IF;
    UPDATE boxhaul.capture x
       SET state = 'creating', incarnation = 1, slot = format('boxhaul_%s_1', x.name), epoch = x.epoch + 1, since = clock_timestamp()
     WHERE x.name = c.name;
    PERFORM pg_notify('boxhaul', 'capture');
    RETURN true;
END
$$;

-- Nothing is sent, the stream of changes stands still, and the slot holds the log back. Returns false where it was paused already.
CREATE OR REPLACE FUNCTION boxhaul.capture_pause(name text, paused_by text DEFAULT NULL, reason text DEFAULT NULL) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    was timestamptz;
BEGIN
    SELECT x.paused_at INTO was FROM boxhaul.capture x WHERE x.name = capture_pause.name FOR UPDATE;
    IF NOT FOUND THEN
        PERFORM boxhaul.capture_unknown(capture_pause.name);
    ELSIF was IS NOT NULL THEN
        RETURN false;
    END IF;
    UPDATE boxhaul.capture x
       SET paused_at = clock_timestamp(), pauses = x.pauses + 1, paused_by = coalesce(capture_pause.paused_by, session_user),
           pause_reason = nullif(capture_pause.reason, '')
     WHERE x.name = capture_pause.name;
    PERFORM pg_notify('boxhaul', 'capture');
    RETURN true;
END
$$;

-- Returns false where it was not paused.
CREATE OR REPLACE FUNCTION boxhaul.capture_resume(name text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    was timestamptz;
BEGIN
    SELECT x.paused_at INTO was FROM boxhaul.capture x WHERE x.name = capture_resume.name FOR UPDATE;
    IF NOT FOUND THEN
        PERFORM boxhaul.capture_unknown(capture_resume.name);
    END IF;
    UPDATE boxhaul.capture x SET paused_at = NULL, paused_by = NULL, pause_reason = NULL
     WHERE x.name = capture_resume.name AND x.paused_at IS NOT NULL;
    PERFORM pg_notify('boxhaul', 'capture');
    RETURN was IS NOT NULL;
END
$$;

-- Read again: one table, under a new snapshot id; or, without one, all of them behind a new slot, which ends a gap. Nobody else ends one:
-- what was committed between the old slot and the new one is in no log, and only who reads all rows again has a copy of it. (Of rows that
-- were deleted meanwhile a consumer knows by what the new snapshot did not bring.) The daemon drops the old slot when it is not used.
-- Returns in words what will be done.
--
-- Behind a new slot each table that is read again has a new history, and consumers were told nothing of it. So a message with its columns stands before its first
-- change there, whoever leads and however often one dies: it is told again until a mark has it, under the id of that change. It says the history, and so does the one that its rows begin.
-- Which of the two stands first in the stream does not matter: a consumer that meets a history that is not his lacks changes until the rows begin
-- (boxhaul.sink_one()). One table alone is read again behind the same slot, of whose changes none is missing: it keeps its history.
-- An earlier leader that sends on for a while sends what its own slot has, without a hole, and the chain lets nothing of it in behind the first message of its
-- successor. If it has stored a message with the id of that one, then all changes before it, too; so there is no hole to be told of.
CREATE OR REPLACE FUNCTION boxhaul.capture_resync(name text, tab text DEFAULT NULL) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    c     boxhaul.capture;
    again bigint;
BEGIN
    SELECT * INTO c FROM boxhaul.capture x WHERE x.name = capture_resync.name FOR UPDATE;
    IF NOT FOUND THEN
        PERFORM boxhaul.capture_unknown(capture_resync.name);
    ELSIF c.state = 'none' THEN
        RAISE EXCEPTION 'boxhaul: capture % was never started', c.name
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = format('SELECT boxhaul.capture_start(%L)', c.name);
    ELSIF tab IS NOT NULL AND c.state = 'gap' THEN
        RAISE EXCEPTION 'boxhaul: capture % has a gap (%): one table is not enough', c.name, c.reason
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = format('SELECT boxhaul.capture_resync(%L)', c.name);
    END IF;
    -- A shell, or who reads the stream, has a name without the quotes that SQL writes it in.
    IF NOT EXISTS (SELECT FROM boxhaul.capture_table t WHERE t.capture = c.name AND t.tab = capture_resync.tab) THEN
        tab := coalesce(boxhaul.capture_tab(c.name, tab), tab);
    END IF;
    IF tab IS NOT NULL AND NOT EXISTS (SELECT FROM boxhaul.capture_table t WHERE t.capture = c.name AND t.tab = capture_resync.tab) THEN
        RAISE EXCEPTION 'boxhaul: capture % has no table %', c.name, tab
            USING ERRCODE = 'no_data_found',
                  HINT = 'It has: ' || (SELECT string_agg(t.tab, ', ' ORDER BY t.tab) FROM boxhaul.capture_table t WHERE t.capture = c.name);
    ELSIF EXISTS (SELECT FROM boxhaul.capture_table t WHERE t.capture = c.name AND t.tab = capture_resync.tab AND t.state = 'refused') THEN
        PERFORM boxhaul.capture_refuse_to_add(c.name);
    END IF;
    UPDATE boxhaul.capture_table t
       SET state = 'waiting', snapshot_id = gen_random_uuid(), reading = 0, cursor = NULL, top = NULL, rows = 0, filenode = 0, reason = NULL,
           since = clock_timestamp(), history = CASE WHEN capture_resync.tab IS NULL THEN gen_random_uuid() ELSE t.history END,
           columns = CASE WHEN capture_resync.tab IS NOT NULL THEN t.columns END
     WHERE t.capture = c.name AND (capture_resync.tab IS NULL AND t.snapshot <> 'none' OR t.tab = capture_resync.tab);
    GET DIAGNOSTICS again = ROW_COUNT;
    -- A new slot has all changes of what was new to the old one: where nobody reads the rows there is nothing to wait for.
    UPDATE boxhaul.capture_table t SET state = 'complete', reason = NULL, since = clock_timestamp()
     WHERE t.capture = c.name AND capture_resync.tab IS NULL AND t.snapshot = 'none' AND t.state = 'refused';
    DELETE FROM boxhaul.capture_repair r WHERE r.capture = c.name AND (capture_resync.tab IS NULL OR r.tab = capture_resync.tab);
    PERFORM boxhaul.capture_verify_void(c.name, capture_resync.tab);
    UPDATE boxhaul.capture x SET epoch = x.epoch + 1 WHERE x.name = c.name;
    IF tab IS NULL THEN
        UPDATE boxhaul.capture x
           SET state = 'creating', reason = NULL, detail = NULL, since = clock_timestamp(), incarnation = x.incarnation + 1,
               slot = format('boxhaul_%s_%s', x.name, x.incarnation + 1), end_lsn = NULL, begin_lsn = NULL, commit_time = NULL,
               resigned_lsn = NULL, low_water = NULL, stream_sequence = NULL, stream_time = NULL, stream_created = NULL, former_timeline = NULL
         WHERE x.name = c.name;
        UPDATE boxhaul.capture_carried x SET low_water = NULL WHERE x.capture = c.name;
    END IF;
    PERFORM pg_notify('boxhaul', 'capture');
    RETURN CASE WHEN tab IS NULL THEN format('a new replication slot boxhaul_%s_%s; %s tables are read again', c.name, c.incarnation + 1, again)
                ELSE format('%s is read again', tab) END;
END
$$;

-- A table more, which the publication has by now. Its rows are read, as those of the others were, but for snapshot = 'none'.
CREATE OR REPLACE FUNCTION boxhaul.capture_add(name text, tab text, snapshot text DEFAULT 'keys', inserts_only boolean DEFAULT false)
    RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    c boxhaul.capture;
BEGIN
    SELECT * INTO c FROM boxhaul.capture x WHERE x.name = capture_add.name FOR UPDATE;
    IF NOT FOUND THEN
        PERFORM boxhaul.capture_unknown(capture_add.name);
    END IF;
    PERFORM boxhaul.capture_refuse_to_add(c.name);
    INSERT INTO boxhaul.capture_table (capture, tab, snapshot, inserts_only, state, history)
    VALUES (c.name, capture_add.tab, capture_add.snapshot, capture_add.inserts_only,
            CASE capture_add.snapshot WHEN 'none' THEN 'complete' ELSE 'waiting' END,
            CASE capture_add.snapshot WHEN 'none' THEN NULL ELSE gen_random_uuid() END)
    ON CONFLICT DO NOTHING;
    IF FOUND THEN
        UPDATE boxhaul.capture x SET epoch = x.epoch + 1 WHERE x.name = c.name;  -- whoever leads has other books, and no barrier
        PERFORM pg_notify('boxhaul', 'capture');
        RETURN true;
    END IF;
    -- It stood in the configuration before its publication had it. Whoever leads must not read its rows behind a barrier that is older than that.
    IF EXISTS (SELECT FROM boxhaul.capture_table t WHERE t.capture = c.name AND t.tab = capture_add.tab AND t.state = 'waiting') THEN
        UPDATE boxhaul.capture x SET epoch = x.epoch + 1 WHERE x.name = c.name;
        PERFORM pg_notify('boxhaul', 'capture');
    END IF;
    RETURN false;
END
$$;

-- The capture is forgotten; dead letters stay, and what was decided of moves. Returns the replication slots that are there, for whoever may drop them. While a move of it is under
-- way nobody else carries what was written before the fence: refused.
CREATE OR REPLACE FUNCTION boxhaul.capture_drop(name text) RETURNS text[]
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    move uuid := (SELECT m.token FROM boxhaul.move_source m WHERE m.capture = capture_drop.name AND m.state IN ('fencing', 'fenced'));
BEGIN
    IF move IS NOT NULL THEN
        RAISE EXCEPTION 'boxhaul: move % of capture % is under way', move, capture_drop.name
            USING ERRCODE = 'object_in_use', HINT = 'Say `boxhaul cutover` again, which goes on with it, or `boxhaul cutover --give-up`, which takes it back.';
    END IF;
    DELETE FROM boxhaul.capture x WHERE x.name = capture_drop.name;
    IF NOT FOUND THEN
        PERFORM boxhaul.capture_unknown(capture_drop.name);
    END IF;
    UPDATE boxhaul.capture_letter l SET held = false WHERE l.capture = capture_drop.name AND l.held;  -- what waited behind them is gone
    PERFORM pg_notify('boxhaul', 'capture');
    RETURN ARRAY(SELECT s.slot_name::text FROM pg_replication_slots s
                  WHERE s.slot_name ~ ('^boxhaul_' || capture_drop.name || '_\d+$') AND s.database = current_database() ORDER BY 1);
END
$$;

-- An operator decides about what is carried. One of a transaction that no mark has passed yet is refused: whoever leads next reads that transaction
-- again, and what was given up would be sent. NULL: it is not carried (any more). Whoever leads has other books from here on: it marks nothing more, and
-- begins anew (so nobody sends what was decided about in another way, and nobody keeps a key that was let go).
CREATE OR REPLACE FUNCTION boxhaul.capture_decide(name text, ordinal bigint) RETURNS boxhaul.capture_carried
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    c boxhaul.capture;
    x boxhaul.capture_carried;
BEGIN
    PERFORM set_config('synchronous_commit', 'on', true);
    -- Under the lock that a mark takes: what is being marked as stored is gone first.
    SELECT * INTO c FROM boxhaul.capture y WHERE y.name = capture_decide.name FOR UPDATE;
    IF NOT FOUND THEN
        PERFORM boxhaul.capture_unknown(capture_decide.name);
    END IF;
    SELECT * INTO x FROM boxhaul.capture_carried d WHERE d.capture = c.name AND d.ordinal = capture_decide.ordinal FOR UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    IF x.ordinal > c.ordinal THEN
        RAISE EXCEPTION 'change % is of a transaction that is not settled as a whole yet', ordinal
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'Say it again when the rest of that transaction is stored, or waits here, too.';
    END IF;
    DELETE FROM boxhaul.capture_letter l WHERE l.capture = c.name AND l.ordinal = x.ordinal AND l.held;
    IF x.held THEN
        PERFORM boxhaul.capture_may_send(c, x.lane);
    END IF;
    UPDATE boxhaul.capture y SET epoch = y.epoch + 1 WHERE y.name = c.name;
    PERFORM pg_notify('boxhaul', 'capture');
    RETURN x;
END
$$;

-- A dead letter is given up. One that holds its key: what follows with the same key goes on.
CREATE OR REPLACE FUNCTION boxhaul.capture_discard(id bigint) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    l boxhaul.capture_letter;
    x boxhaul.capture_carried;
BEGIN
    SELECT * INTO l FROM boxhaul.capture_letter y WHERE y.id = capture_discard.id;
    IF l.held THEN
        x := boxhaul.capture_decide(l.capture, l.ordinal);
        DELETE FROM boxhaul.capture_carried d WHERE d.capture = x.capture AND d.ordinal = x.ordinal;
        RETURN x.ordinal IS NOT NULL;
    END IF;
    DELETE FROM boxhaul.capture_letter y WHERE y.id = capture_discard.id;
    RETURN FOUND;
END
$$;

-- A dead letter that holds its key is sent again, in its old place, before all that waits behind it. False: there is no such letter. Any other cannot be: the
-- order of its stream has gone on.
CREATE OR REPLACE FUNCTION boxhaul.capture_redrive(id bigint) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    l boxhaul.capture_letter;
    x boxhaul.capture_carried;
BEGIN
    SELECT * INTO l FROM boxhaul.capture_letter y WHERE y.id = capture_redrive.id;
    IF NOT FOUND THEN
        RETURN false;
    ELSIF NOT l.held THEN
        RAISE EXCEPTION 'dead letter % does not hold its key: the order of its stream has gone on', id
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = format('Read its table again, as its rows are now: boxhaul capture resync NAME %s %s', l.capture, coalesce(l.tab, 'TABLE'));
    END IF;
    x := boxhaul.capture_decide(l.capture, l.ordinal);
    UPDATE boxhaul.capture_carried d SET held = false WHERE d.capture = x.capture AND d.ordinal = x.ordinal;
    RETURN x.ordinal IS NOT NULL;
END
$$;

-- A change that waits for its key, and is never to be sent: it becomes a dead letter, and what stands behind it in its key goes on. False: it is
-- not carried (any more).
CREATE OR REPLACE FUNCTION boxhaul.capture_give_up(name text, ordinal bigint, given_up_by text DEFAULT NULL) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    x boxhaul.capture_carried := boxhaul.capture_decide(name, ordinal);
BEGIN
    IF x.ordinal IS NULL THEN
        RETURN false;
    END IF;
    DELETE FROM boxhaul.capture_carried d WHERE d.capture = x.capture AND d.ordinal = x.ordinal;
    INSERT INTO boxhaul.capture_letter (capture, ordinal, message_id, subject, payload, reason, attempts, position, tab, key)
    VALUES (x.capture, x.ordinal, x.message_id, x.subject, x.payload,
            format('given up by %s: %s', coalesce(given_up_by, session_user), coalesce(x.reason, 'its key took nothing')), x.attempts, x.position,
            x.tab, x.key_shown);
    RETURN true;
END
$$;

-- --- looking ---

-- One row a capture. What a server in recovery does not know is NULL.
CREATE OR REPLACE VIEW boxhaul.capture_status AS
SELECT c.name, c.state, c.reason, c.detail, c.stream, c.incarnation, c.slot, c.end_lsn,
       '2000-01-01 00:00:00+00'::timestamptz + c.commit_time * interval '1 microsecond' AS committed_at,
       c.ordinal, c.marked_at, c.leader, boxhaul.capture_leading_pid(c.name) AS leader_pid, c.led_since, c.epoch,
       c.paused_at, c.paused_by, c.pause_reason, boxhaul.pause_text(c.paused_at, c.paused_by, c.pause_reason) AS paused, c.since,
       s.active_pid, s.wal_status, s.confirmed_flush_lsn AS confirmed_lsn,
       pg_wal_lsn_diff(h.lsn, s.restart_lsn)::bigint AS retained_bytes,
       greatest(pg_wal_lsn_diff(h.lsn, s.confirmed_flush_lsn), 0)::bigint AS lag_bytes, s.safe_wal_size AS spare_bytes,
       (SELECT count(*) FROM boxhaul.capture_table t WHERE t.capture = c.name) AS tables,
       (SELECT count(*) FROM boxhaul.capture_table t WHERE t.capture = c.name AND t.state <> 'complete') AS unfinished,
       boxhaul.capture_letters_standing(c.name) AS letters,
       (SELECT count(*) FROM boxhaul.capture_carried k WHERE k.capture = c.name) AS carried,
       (SELECT count(*) FROM boxhaul.capture_carried k WHERE k.capture = c.name AND k.held) AS held,
       boxhaul.capture_diverged(c.name) AS diverged
  FROM boxhaul.capture c
  LEFT JOIN pg_catalog.pg_replication_slots s ON s.slot_name = c.slot
 CROSS JOIN (SELECT CASE WHEN NOT pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_current_wal_lsn() END AS lsn) h;

-- One row a table: how far its snapshot is.
CREATE OR REPLACE VIEW boxhaul.capture_progress AS
SELECT t.capture, t.tab, t.state, t.reason, t.snapshot, t.inserts_only, t.rows, t.rows_estimate,
       CASE WHEN t.state = 'complete' THEN 100::float8
            WHEN t.rows_estimate > 0 THEN least(100 * t.rows::float8 / t.rows_estimate, 99.9) END AS percent,
       (SELECT count(*) FROM boxhaul.capture_repair r WHERE r.capture = t.capture AND r.tab = t.tab) AS repairs,
       t.snapshot_id, t.reading, t.since
  FROM boxhaul.capture_table t;

-- Dead letters, by ascending id. NULL: any.
CREATE OR REPLACE FUNCTION boxhaul.capture_letters(by_capture text DEFAULT NULL, by_reason text DEFAULT NULL, above bigint DEFAULT -1,
                                                   most integer DEFAULT NULL)
    RETURNS TABLE (id bigint, capture text, ordinal bigint, message_id uuid, subject text, tab text, key text, "position" text, reason text,
                   attempts integer, held boolean, died_at timestamptz)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT l.id, l.capture, l.ordinal, l.message_id, l.subject, l.tab, l.key, l.position, l.reason, l.attempts, l.held, l.died_at
      FROM boxhaul.capture_letter l
     WHERE l.id > above AND (by_capture IS NULL OR l.capture = by_capture)
       AND (by_reason IS NULL OR strpos(lower(l.reason), lower(by_reason)) > 0)
     ORDER BY l.id LIMIT most
$$;

-- --- logical messages ---

-- The outbox without a table: the message goes into the log, and nowhere else, when its transaction commits. A capture takes it from there
-- (`messages` in the configuration). What the outbox would refuse is refused here. While a capture has a gap its messages are lost, for they
-- are nowhere but in the log: who cannot bear that inserts into boxhaul.outbox.
--
-- Content of a message: one byte 1, the version; then the bytes of subject, key and headers as int4, -1 for NULL; then the three, and the
-- payload to the end. Texts are UTF-8. relay/format/emitted.h reads it.
CREATE OR REPLACE FUNCTION boxhaul.emit_message(subject text, key text, payload bytea, headers jsonb) RETURNS pg_lsn
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    wrong   record;
    written jsonb := nullif(headers, 'null');
    s       bytea;
    k       bytea;
    h       bytea;
BEGIN
    IF current_setting('server_version_num')::integer < 140000 THEN
        RAISE EXCEPTION 'boxhaul: emit() needs PostgreSQL 14: before it no logical message comes out of the log'
            USING ERRCODE = 'feature_not_supported', HINT = 'Call boxhaul.publish(), or insert into boxhaul.outbox.';
    ELSIF current_setting('wal_level') <> 'logical' OR NOT EXISTS (SELECT FROM boxhaul.capture c WHERE c.state <> 'none') THEN
        RAISE EXCEPTION 'boxhaul: nobody would ever take this message: %',
                        CASE WHEN current_setting('wal_level') <> 'logical' THEN 'wal_level is not logical'
                             ELSE 'no capture was started' END
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'Start a capture with messages in its configuration; or call boxhaul.publish(), or insert into boxhaul.outbox.';
    END IF;
    SELECT * INTO wrong FROM boxhaul.refusal(subject, key, payload, written);
    IF wrong.why IS NOT NULL THEN
        RAISE EXCEPTION 'boxhaul: this % cannot be sent', replace(wrong.why, 'size', 'message')
            USING ERRCODE = 'check_violation', CONSTRAINT = 'outbox_' || wrong.why, HINT = wrong.allowed;
    END IF;
    s := convert_to(subject, 'UTF8');
    k := convert_to(key, 'UTF8');
    h := convert_to(written::text, 'UTF8');
    RETURN pg_logical_emit_message(true, 'boxhaul',
        '\x01'::bytea || int4send(octet_length(s)) || int4send(coalesce(octet_length(k), -1)) || int4send(coalesce(octet_length(h), -1))
        || s || coalesce(k, '') || coalesce(h, '') || payload);
END
$$;

-- They return where the message stands in the log. (Its transaction ends behind that: it is no position to wait for.)
CREATE OR REPLACE FUNCTION boxhaul.emit(subject text, payload bytea, key text DEFAULT NULL, headers jsonb DEFAULT NULL)
    RETURNS pg_lsn LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT boxhaul.emit_message(emit.subject, emit.key, emit.payload, emit.headers)
$$;

CREATE OR REPLACE FUNCTION boxhaul.emit(subject text, payload text, key text DEFAULT NULL, headers jsonb DEFAULT NULL)
    RETURNS pg_lsn LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT boxhaul.emit(emit.subject, convert_to(emit.payload, 'UTF8'), emit.key, emit.headers)
$$;

CREATE OR REPLACE FUNCTION boxhaul.emit(subject text, payload jsonb, key text DEFAULT NULL, headers jsonb DEFAULT NULL)
    RETURNS pg_lsn LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT boxhaul.emit(emit.subject, convert_to(emit.payload::text, 'UTF8'), emit.key, emit.headers)
$$;

-- What drivers write for their own JSON type: the text as it is.
CREATE OR REPLACE FUNCTION boxhaul.emit(subject text, payload json, key text DEFAULT NULL, headers json DEFAULT NULL)
    RETURNS pg_lsn LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT boxhaul.emit(emit.subject, convert_to(emit.payload::text, 'UTF8'), emit.key, emit.headers::jsonb)
$$;

-- --- outbox tables of others, by a trigger ---
--
-- Where the log cannot be read (wal_level, a hoster) a trigger copies each row into boxhaul.outbox, in the transaction that wrote it. (Nobody
-- may poll such a table by its id: it has no xid before its id, and what commits late would be lost.) A row that could not be sent becomes a
-- dead letter with the reason: whatever stands in it, the statement of whoever wrote it does not fail. What does fail it is a database that
-- can write neither: else the message would be lost without a word.
--
-- A mapping has the words of the group `outbox_tables` in the configuration: preset, subject, id, key, payload, headers, header_columns. What
-- is not named is the preset's; "" is none. relay/format/outbox_mapping.h has the same table.

CREATE OR REPLACE FUNCTION boxhaul.outbox_preset(preset text) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    found jsonb := CASE preset
        WHEN 'none' THEN '{}'
        WHEN 'debezium' THEN '{"subject": "outbox.event.{aggregatetype>}", "id": "id", "key": "aggregateid", "payload": "payload",
                               "header_columns": ["type"]}'
        WHEN 'pg-transactional-outbox' THEN '{"subject": "outbox.{aggregate_type}.{message_type}", "id": "id", "payload": "payload",
                               "header_columns": ["message_type", "aggregate_type", "aggregate_id", "metadata"]}'
        WHEN 'go-outbox' THEN '{"subject": "outbox.{topic>}", "id": "id", "payload": "payload", "headers": "headers"}'
        WHEN 'watermill' THEN '{"subject": "outbox.{table}", "id": "uuid", "payload": "payload", "headers": "metadata"}'
        WHEN 'masstransit' THEN '{"subject": "outbox.{type>}", "id": "MessageId", "key": "CorrelationId", "payload": "Body"}' END;
BEGIN
    IF found IS NULL THEN
        RAISE EXCEPTION 'boxhaul: there is no preset %', preset
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'There are debezium, pg-transactional-outbox, go-outbox, watermill, masstransit, and none.';
    END IF;
    RETURN found;
END
$$;

-- A value in one token of a subject: what a token may not hold is percent-encoded, and the percent sign. As format/capture_subject.c has it.
CREATE OR REPLACE FUNCTION boxhaul.subject_token(value text) RETURNS text
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT CASE WHEN value ~ '^[!-~]*$' AND value !~ '[.*>%]' THEN value
                ELSE (SELECT string_agg(CASE WHEN b BETWEEN 33 AND 126 AND b NOT IN (37, 42, 46, 62) THEN chr(b)
                                             ELSE '%' || upper(lpad(to_hex(b), 2, '0')) END, '' ORDER BY i)
                        FROM (SELECT i, get_byte(convert_to(value, 'UTF8'), i) AS b
                                FROM generate_series(0, octet_length(convert_to(value, 'UTF8')) - 1) i) x) END
$$;

-- Headers of an outbox: an object of anything as one of strings; NULLs are none.
CREATE OR REPLACE FUNCTION boxhaul.outbox_headers(given jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT CASE WHEN jsonb_typeof(given) = 'object'
                THEN (SELECT jsonb_object_agg(e.key, e.value) FROM jsonb_each_text(given) e WHERE e.value IS NOT NULL)
                ELSE nullif(given, 'null') END
$$;

-- A row that was copied out of an outbox of somebody else; why: it cannot be sent.
CREATE OR REPLACE FUNCTION boxhaul.outbox_copy(message_id uuid, subject text, key text, payload bytea, headers jsonb, why text) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    IF why IS NULL THEN
        INSERT INTO boxhaul.outbox (message_id, subject, key, payload, headers)
        VALUES (coalesce(outbox_copy.message_id, gen_random_uuid()), outbox_copy.subject, outbox_copy.key, outbox_copy.payload,
                outbox_copy.headers);
    ELSE
        -- The id is drawn from the outbox's own sequence, so no message has the same. The relay finds no row under it, and settles it as any
        -- id of a transaction that rolled back. held = false: what comes behind it in its key goes on.
        INSERT INTO boxhaul.dead_letter (id, message_id, subject, key, payload, headers, created_at, reason, attempts, held)
        VALUES (nextval(pg_get_serial_sequence('boxhaul.outbox', 'id')), outbox_copy.message_id, outbox_copy.subject, outbox_copy.key,
                outbox_copy.payload, outbox_copy.headers, clock_timestamp(), outbox_copy.why, 0, false);
    END IF;
END
$$;

-- A column of the row that a trigger on the table sees, as an expression; an error where there is none of this name.
CREATE OR REPLACE FUNCTION boxhaul.outbox_column(relation oid, name text, OUT expression text, OUT type oid)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    -- MassTransit's names are those of the class, or in snake case, as its configuration has it.
    SELECT a.atttypid, format('new.%I', a.attname) INTO type, expression
      FROM pg_attribute a
     WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped
       AND a.attname IN (name, ltrim(lower(regexp_replace(name, '([A-Z])', '_\1', 'g')), '_'))
     ORDER BY a.attname <> name LIMIT 1;
    IF type IS NULL THEN
        RAISE EXCEPTION 'boxhaul: table % has no column %', relation::regclass, name
            USING ERRCODE = 'undefined_column', HINT = 'Name the columns in the mapping; "" means none.';
    END IF;
END
$$;

-- The subject's template as an expression.
CREATE OR REPLACE FUNCTION boxhaul.outbox_subject(relation oid, template text, preset text) RETURNS text
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    part  record;
    value text;
    parts text[] := '{}';
BEGIN
    IF template = '' OR regexp_replace(template, '[^{}]+|\{[^{}>]+>?\}', '', 'g') <> '' THEN
        RAISE EXCEPTION 'boxhaul: % is no template of a subject', quote_literal(template)
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Write text, and columns as {name}; {name>} for one that has several tokens.';
    END IF;
    FOR part IN SELECT m[1] AS plain, m[2] AS name, m[3] <> '' AS tokens
                  FROM regexp_matches(template, '([^{}]+)|\{([^{}>]+)(>?)\}', 'g') m
    LOOP
        IF part.plain IS NOT NULL THEN
            parts := parts || quote_literal(part.plain);
            CONTINUE;
        ELSIF part.name = 'table' THEN
            value := (SELECT quote_literal(c.relname) FROM pg_class c WHERE c.oid = relation);
        ELSIF part.name = 'type' AND preset = 'masstransit' THEN
            -- urn:message:Shop.Contracts:OrderPaid;urn:... -> Shop.Contracts.OrderPaid
            value := (SELECT format('replace(split_part(split_part(%s::text, '';'', 1), ''urn:message:'', 2), '':'', ''.'')', x.expression)
                        FROM boxhaul.outbox_column(relation, 'MessageType') x);
        ELSE
            value := (SELECT x.expression || '::text' FROM boxhaul.outbox_column(relation, part.name) x);
        END IF;
        parts := parts || CASE WHEN part.tokens THEN value ELSE format('boxhaul.subject_token(%s)', value) END;
    END LOOP;
    RETURN array_to_string(parts, ' || ');
END
$$;

-- The key of a preset that is more than a column, as an expression; NULL: it has none.
CREATE OR REPLACE FUNCTION boxhaul.outbox_key(relation oid, preset text) RETURNS text
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    RETURN CASE preset
        WHEN 'go-outbox' THEN
            (SELECT format('%s::jsonb ->> ''key''', x.expression) FROM boxhaul.outbox_column(relation, 'target') x)
        WHEN 'pg-transactional-outbox' THEN
            (SELECT format('CASE WHEN %s::text IS DISTINCT FROM ''parallel'' THEN coalesce(%s::text, %s::text) END',
                           x.expression, y.expression, z.expression)
               FROM boxhaul.outbox_column(relation, 'concurrency') x, boxhaul.outbox_column(relation, 'segment') y,
                    boxhaul.outbox_column(relation, 'aggregate_id') z) END;
END
$$;

-- The headers, as an expression: those of a column, and columns that are headers of their name.
CREATE OR REPLACE FUNCTION boxhaul.outbox_header_list(relation oid, preset text, of_column text, columns jsonb) RETURNS text
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    whole text := 'NULL::jsonb';
    extra text;
BEGIN
    IF of_column <> '' THEN
        whole := (SELECT format('boxhaul.outbox_headers(%s::jsonb)', x.expression) FROM boxhaul.outbox_column(relation, of_column) x);
    END IF;
    SELECT string_agg(format('%L, %s::text', h.name, (SELECT x.expression FROM boxhaul.outbox_column(relation, h.name) x)), ', ' ORDER BY h.name)
      INTO extra
      FROM (SELECT DISTINCT jsonb_array_elements_text(columns) AS name) h;
    IF preset = 'masstransit' THEN
        extra := concat_ws(', ', extra, (SELECT format('''Content-Type'', %s::text', x.expression)
                                           FROM boxhaul.outbox_column(relation, 'ContentType') x));
    END IF;
    RETURN CASE WHEN extra IS NULL THEN whole
                ELSE format('coalesce(%s, ''{}'') || coalesce(boxhaul.outbox_headers(jsonb_build_object(%s)), ''{}'')', whole, extra) END;
END
$$;

-- Puts the trigger on the table; on one that has it, it puts the new mapping. For the owner of table and schema (`capture start`, a DBA), and
-- with its rights: whoever writes to the table needs none in the schema boxhaul. Returns what it did.
CREATE OR REPLACE FUNCTION boxhaul.outbox_attach(tab text, mapping jsonb) RETURNS text
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $do$
DECLARE
    relation oid   := to_regclass(tab);
    preset   text  := coalesce(mapping ->> 'preset', 'none');
    known    jsonb := boxhaul.outbox_preset(preset);
    m        jsonb := known || jsonb_strip_nulls(mapping);
    id       record;
    body     record;
    key      text;
BEGIN
    IF relation IS NULL THEN
        RAISE EXCEPTION 'boxhaul: there is no table %', tab USING ERRCODE = 'undefined_table';
    ELSIF coalesce(m ->> 'subject', '') = '' OR coalesce(m ->> 'payload', '') = '' THEN
        RAISE EXCEPTION 'boxhaul: the mapping of % has no %', tab, CASE WHEN coalesce(m ->> 'subject', '') = '' THEN 'subject' ELSE 'payload' END
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Name the column for the payload, and a template for the subject.';
    END IF;
    SELECT 'NULL' AS expression, 'uuid'::regtype::oid AS type INTO id;
    IF m ->> 'id' <> '' THEN
        SELECT * INTO id FROM boxhaul.outbox_column(relation, m ->> 'id');
    END IF;
    IF id.type <> 'uuid'::regtype THEN  -- what does not look like one is none
        id.expression := format('CASE WHEN %1$s::text ~ ''^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$'' THEN %1$s::text::uuid END',
                                id.expression);
    END IF;
    SELECT * INTO body FROM boxhaul.outbox_column(relation, m ->> 'payload');
    key := CASE WHEN m ->> 'key' <> '' THEN (SELECT x.expression || '::text' FROM boxhaul.outbox_column(relation, m ->> 'key') x)
                WHEN NOT m ? 'key' THEN boxhaul.outbox_key(relation, preset) END;
    -- What is caught is what a row can do. The block only reads, so it costs no xid of its own.
    EXECUTE format($f$
        CREATE OR REPLACE FUNCTION boxhaul.outbox_copy_%1$s() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
            SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $b$
        DECLARE
            of_id      uuid;
            of_subject text;
            of_key     text;
            of_payload bytea;
            of_headers jsonb;
            wrong      record;
            why        text;
        BEGIN
            BEGIN
                of_id := %2$s;
                of_key := %3$s;
                of_payload := %4$s;
                of_headers := %5$s;
                of_subject := %6$s;
                SELECT * INTO wrong FROM boxhaul.refusal(of_subject, of_key, of_payload, of_headers);
                why := wrong.why || ': ' || wrong.allowed;
            EXCEPTION WHEN OTHERS THEN
                why := sqlerrm;
            END;
            PERFORM boxhaul.outbox_copy(of_id, of_subject, of_key, of_payload, of_headers, why);
            RETURN NULL;
        END
        $b$$f$, relation, id.expression, coalesce(key, 'NULL'),
        CASE WHEN body.type = 'bytea'::regtype THEN body.expression ELSE format('convert_to(%s::text, ''UTF8'')', body.expression) END,
        boxhaul.outbox_header_list(relation, preset, m ->> 'headers', coalesce(known -> 'header_columns', '[]')
                                                                      || coalesce(mapping -> 'header_columns', '[]')),
        boxhaul.outbox_subject(relation, m ->> 'subject', preset));
    EXECUTE format('REVOKE ALL ON FUNCTION boxhaul.outbox_copy_%s() FROM PUBLIC', relation);
    EXECUTE format('DROP TRIGGER IF EXISTS boxhaul_copy ON %s', relation::regclass);
    EXECUTE format('CREATE TRIGGER boxhaul_copy AFTER INSERT ON %s FOR EACH ROW EXECUTE FUNCTION boxhaul.outbox_copy_%s()',
                   relation::regclass, relation);
    -- In a session with session_replication_role = replica, too: there, as well, what is in the table is to be sent.
    EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER boxhaul_copy', relation::regclass);
    INSERT INTO boxhaul.outbox_table AS t (tab, mapping) VALUES (relation, outbox_attach.mapping)
    ON CONFLICT ON CONSTRAINT outbox_table_pkey DO UPDATE SET mapping = excluded.mapping, attached_at = clock_timestamp();
    RETURN format('each new row of %s is copied into boxhaul.outbox', relation::regclass);
END
$do$;

-- Takes it off again. Returns false where there was none.
CREATE OR REPLACE FUNCTION boxhaul.outbox_detach(tab text) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    relation oid := to_regclass(tab);
BEGIN
    DELETE FROM boxhaul.outbox_table t WHERE t.tab = relation;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    EXECUTE format('DROP TRIGGER IF EXISTS boxhaul_copy ON %s', relation::regclass);
    EXECUTE format('DROP FUNCTION IF EXISTS boxhaul.outbox_copy_%s()', relation);
    RETURN true;
END
$$;

-- --- for who looks: what a capture needs, how it stands, where a change is ---

-- What this server has not mended yet of what a capture suffers from, and in which release of its branch it is mended. By the releases of
-- 15: those of other branches came out on the same days, so their numbers go along. version: as server_version_num; NULL: this server's.
CREATE OR REPLACE FUNCTION boxhaul.capture_unfixed(version integer DEFAULT NULL)
    RETURNS TABLE (fixed_in text, what text)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT CASE WHEN b.major = 13 AND f.minor > 15 THEN 'a newer branch' ELSE concat(b.major, '.', f.minor + b.ahead) END, f.what
      FROM (SELECT v.n / 10000 AS major, v.n % 10000 AS minor, (ARRAY[8, 5, 0, -4, -8, -14])[v.n / 10000 - 12] AS ahead
              FROM (SELECT coalesce(version, current_setting('server_version_num')::integer) AS n) v) b,
           (VALUES (6, 'a column that is added with a default comes as null'),
                   (8, 'a new replication slot may begin inside a transaction'),
                   (10, 'the log that a replication slot needs may be removed'),
                   (13, 'changes are left out, of transactions that were open when a table was added, and later ones'),
                   (14, 'the confirmed position may go back'),
                   (16, 'a new replication slot may be taken away by a checkpoint'),
                   (18, 'a shutdown of the server may wait for ever'),
                   (20, 'rolled-back savepoints that changed tables may be read wrongly')) f (minor, what)
     WHERE f.minor + b.ahead > b.minor
$$;

-- What is known of tables that are to be captured. said: as they were written; the rest is NULL where there is none. key: as
-- capture_key_of() has it. rows: as of the last ANALYZE; NULL: nobody knows.
CREATE OR REPLACE FUNCTION boxhaul.capture_table_facts(tables text[])
    RETURNS TABLE (n bigint, said text, relation oid, name text, kind "char", persistence "char", is_leaf boolean, identity "char",
                   key text[], owner text, bytes bigint, rows bigint, toasted text[], generated text[], guarded boolean, leaves bigint)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT t.n, t.said, c.oid, quote_ident(s.nspname) || '.' || quote_ident(c.relname), c.relkind, c.relpersistence, c.relispartition, c.relreplident,
           (SELECT array_agg(quote_ident(a.attname) ORDER BY k.n)
              FROM unnest((boxhaul.capture_key_of(c.oid)).key) WITH ORDINALITY AS k (attnum, n)
              JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum),
           pg_get_userbyid(c.relowner), d.bytes, d.rows,
           (SELECT array_agg(quote_ident(a.attname) ORDER BY a.attnum) FROM pg_attribute a
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attlen = -1 AND a.attstorage IN ('x', 'e')
               AND (c.reltoastrelid <> 0 OR c.relkind = 'p')),
           (SELECT array_agg(quote_ident(a.attname) ORDER BY a.attnum) FROM pg_attribute a
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated <> ''),
           c.relrowsecurity, d.leaves
      FROM unnest(tables) WITH ORDINALITY AS t (said, n)
      LEFT JOIN pg_class c ON c.oid = boxhaul.capture_relation(t.said)
      LEFT JOIN pg_namespace s ON s.oid = c.relnamespace
      LEFT JOIN LATERAL (
           SELECT sum(pg_total_relation_size(x.oid))::bigint AS bytes, nullif(sum(greatest(x.reltuples, 0)), 0)::bigint AS rows,
                  count(*) FILTER (WHERE x.oid <> c.oid) AS leaves
             FROM pg_class x
            WHERE x.oid = c.oid OR (c.relkind = 'p' AND x.oid IN (SELECT p.relid FROM pg_partition_tree(c.oid) p WHERE p.isleaf))) d
        ON c.relkind IN ('r', 'p')
$$;

-- What `boxhaul capture plan` says, line by line. verdict: ok; note: good to know; todo: what `boxhaul capture start` will do, by `statement`
-- as who owns the tables; warn; FAIL: it has to be mended first, by `statement` as a superuser if there is one. login: who reads the log.
CREATE OR REPLACE FUNCTION boxhaul.capture_plan_server(capture text, messages boolean DEFAULT false, login text DEFAULT session_user)
    RETURNS TABLE (about text, verdict text, what text, mend text, statement text)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    WITH s AS (
        SELECT current_setting('server_version_num')::integer AS version, current_setting('wal_level') AS wal_level,
               (SELECT string_agg(format('%s (mended in %s)', u.what, u.fixed_in), '; ') FROM boxhaul.capture_unfixed() u) AS unfixed,
               current_setting('max_replication_slots')::integer AS slots, (SELECT count(*) FROM pg_replication_slots) AS slots_used,
               current_setting('max_wal_senders')::integer AS senders, (SELECT count(*) FROM pg_stat_replication) AS senders_used,
               EXISTS (SELECT FROM pg_replication_slots r WHERE r.database = current_database()
                         AND r.slot_name ~ format('^boxhaul_%s_[0-9]+$', capture)) AS has_slot,
               (SELECT setting::bigint * 1024 * 1024 FROM pg_settings WHERE pg_settings.name = 'max_slot_wal_keep_size') AS keep_bytes,
               coalesce(current_setting('idle_replication_slot_timeout', true), '0') AS idle,
               current_setting('synchronous_standby_names') AS standbys,
               coalesce(current_setting('synchronized_standby_slots', true), '') AS synchronized,
               EXISTS (SELECT FROM pg_replication_slots r WHERE r.slot_type = 'physical') AS has_standby,
               (SELECT r.rolreplication OR r.rolsuper
                       OR EXISTS (SELECT FROM pg_roles x WHERE x.rolname = 'rds_replication' AND pg_has_role(r.oid, x.oid, 'MEMBER'))
                  FROM pg_roles r WHERE r.rolname = login) AS may_read)
    SELECT 'server', 'FAIL', 'it is in recovery: a capture needs the primary', 'connect to the primary, e.g. target_session_attrs=read-write',
           NULL FROM s WHERE pg_is_in_recovery()
    UNION ALL
    SELECT 'server', 'warn', concat('PostgreSQL ', current_setting('server_version'), ' has faults that a capture suffers from: ', s.unfixed),
           'update it to the newest release of its branch before it is captured', NULL FROM s WHERE s.unfixed IS NOT NULL
    UNION ALL
    SELECT 'server', 'ok', concat('PostgreSQL ', current_setting('server_version')), NULL, NULL FROM s WHERE s.unfixed IS NULL
    UNION ALL
    SELECT 'server', 'FAIL', 'PostgreSQL 13 sends no logical messages', 'take them out of `messages`, or update the server to 14 or newer', NULL
      FROM s WHERE messages AND s.version < 140000
    UNION ALL
    SELECT 'wal_level', 'ok', 'logical', NULL, NULL FROM s WHERE s.wal_level = 'logical'
    UNION ALL
    SELECT 'wal_level', 'FAIL', concat(s.wal_level, ': the log does not say which rows changed'),
           'set wal_level = logical and restart the server', 'ALTER SYSTEM SET wal_level = logical' FROM s WHERE s.wal_level <> 'logical'
    UNION ALL
    SELECT 'max_replication_slots', 'FAIL', format('%s of %s are in use', s.slots_used, s.slots),
           'raise max_replication_slots and restart the server', format('ALTER SYSTEM SET max_replication_slots = %s', s.slots + 4)
      FROM s WHERE NOT s.has_slot AND s.slots_used >= s.slots
    UNION ALL
    SELECT 'max_replication_slots', 'ok', format('%s of %s are in use', s.slots_used, s.slots), NULL, NULL
      FROM s WHERE s.has_slot OR s.slots_used < s.slots
    UNION ALL
    SELECT 'replication slot', 'FAIL', format('database %s has a capture of this name, and slots of a server have different names', r.database),
           'choose another name', NULL
      FROM pg_replication_slots r WHERE r.database <> current_database() AND r.slot_name ~ format('^boxhaul_%s_[0-9]+$', capture)
    UNION ALL
    SELECT 'max_wal_senders', 'FAIL', format('%s of %s are in use', s.senders_used, s.senders),
           'raise max_wal_senders and restart the server', format('ALTER SYSTEM SET max_wal_senders = %s', s.senders + 4)
      FROM s WHERE NOT s.has_slot AND s.senders_used >= s.senders
    UNION ALL
    SELECT 'max_wal_senders', 'ok', format('%s of %s are in use', s.senders_used, s.senders), NULL, NULL
      FROM s WHERE s.has_slot OR s.senders_used < s.senders
    UNION ALL
    SELECT 'synchronous_standby_names', 'FAIL', format('%s would take the capture for a standby: commits would wait for NATS', s.standbys),
           'name the standbys one by one in synchronous_standby_names, and not the capture', NULL
      FROM s WHERE EXISTS (
          SELECT FROM regexp_split_to_table(regexp_replace(s.standbys, '^\s*((first|any)\s+)?\d+\s*\((.*)\)\s*$', '\3', 'i'), ',') AS x (name)
           WHERE lower(btrim(btrim(x.name), '"')) IN ('*', lower('boxhaul-' || capture)))
    UNION ALL
    SELECT 'max_slot_wal_keep_size', 'note', format('a capture that is %s of the log behind loses its slot', pg_size_pretty(s.keep_bytes)),
           NULL, NULL FROM s WHERE s.keep_bytes >= 0
    UNION ALL
    SELECT 'max_slot_wal_keep_size', 'note', 'without a bound: as long as the capture stands still the server keeps its log, until the disk is full; wal_budget warns',
           NULL, NULL FROM s WHERE s.keep_bytes < 0
    UNION ALL
    SELECT 'idle_replication_slot_timeout', 'warn', format('%s: a daemon that is stopped for longer loses its slot', s.idle),
           'set idle_replication_slot_timeout = 0', 'ALTER SYSTEM SET idle_replication_slot_timeout = 0' FROM s WHERE s.idle NOT IN ('0', '0s')
    UNION ALL
    -- From 17 on a slot can be on the standbys, too. Before, and without a standby, there is nothing to be said.
    SELECT 'failover', CASE WHEN s.synchronized = '' THEN 'note' ELSE 'warn' END, format('slot %s is not copied to standbys: a promotion is a gap', r.slot_name),
           format('stop the daemon, and set it: psql "dbname=%s replication=database" -c "ALTER_REPLICATION_SLOT %s (FAILOVER)"', current_database(), r.slot_name), NULL
      FROM s, pg_replication_slots r
     WHERE s.version >= 170000 AND s.has_standby AND r.database = current_database() AND r.slot_name ~ format('^boxhaul_%s_[0-9]+$', capture)
       AND NOT (to_jsonb(r) ->> 'failover')::boolean
    UNION ALL
    SELECT 'failover', 'note', 'synchronized_standby_slots is empty: what is sent may be lost by a promotion, and with failover = "auto" a slot is not copied to standbys',
           'set synchronized_standby_slots to the slots of the standbys that may be promoted', NULL
      FROM s WHERE s.version >= 170000 AND s.has_standby AND s.synchronized = ''
    UNION ALL
    SELECT 'login', 'ok', format('%s may read the log', login), NULL, NULL FROM s WHERE s.may_read
    UNION ALL
    SELECT 'login', 'FAIL', format('%s may not read the log', login),
           'give the login of postgres.capture_conninfo the attribute REPLICATION; it then reads every published row',
           CASE WHEN EXISTS (SELECT FROM pg_roles x WHERE x.rolname = 'rds_replication') THEN format('GRANT rds_replication TO %I', login)
                ELSE format('ALTER ROLE %I REPLICATION', login) END
      FROM s WHERE login IS NOT NULL AND s.may_read IS NOT TRUE
    UNION ALL
    SELECT 'login', 'FAIL', format('%s lacks the role boxhaul_capture', login), 'GRANT boxhaul_capture TO the login of postgres.capture_conninfo',
           format('GRANT boxhaul_capture TO %I', login)
     WHERE NOT pg_has_role(login, 'boxhaul_capture', 'USAGE')
$$;

-- outboxes: outbox tables of others, of which inserts alone are wanted, and no rows that are there already. snapshot: as in the configuration.
CREATE OR REPLACE FUNCTION boxhaul.capture_plan_tables(tables text[], inserts_only text[] DEFAULT '{}', outboxes text[] DEFAULT '{}',
                                                       snapshot text DEFAULT 'keys', login text DEFAULT session_user)
    RETURNS TABLE (about text, verdict text, what text, mend text, statement text)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    WITH t AS (
        SELECT coalesce(f.name, f.said) AS about, f.*, f.said = ANY (inserts_only || outboxes) AS inserts,
               snapshot <> 'none' AND f.said <> ALL (inserts_only || outboxes) OR snapshot = 'whole' AND f.said = ANY (inserts_only) AS is_read,
               snapshot = 'whole' AND f.said = ANY (inserts_only) AS is_whole,
               f.kind IN ('r', 'p') AND f.persistence = 'p' AS is_table, f.kind IN ('r', 'p') AS is_any_table,
               f.key IS NOT NULL AND f.identity IN ('d', 'i', 'f') AS is_known,
               has_table_privilege(r.oid, f.relation, 'SELECT') AND has_schema_privilege(r.oid, c.relnamespace, 'USAGE') AS may_select,
               c.relnamespace AS schema,
               f.guarded AND NOT r.rolsuper AND NOT r.rolbypassrls AS is_hidden,
               (SELECT string_agg(p.relid::regclass::text, ', ' ORDER BY p.relid::regclass::text)
                  FROM pg_partition_tree(CASE WHEN f.kind = 'p' THEN f.relation END) p JOIN pg_class c ON c.oid = p.relid
                 WHERE p.isleaf AND c.relreplident = 'n') AS bare,
               (SELECT string_agg(i.inhrelid::regclass::text, ', ' ORDER BY i.inhrelid::regclass::text)
                  FROM pg_inherits i WHERE i.inhparent = f.relation AND f.kind = 'r') AS children,
               (SELECT a.relid::regclass::text FROM pg_partition_ancestors(f.relation) a
                 WHERE f.is_leaf AND a.relid <> f.relation
                   AND a.relid IN (SELECT boxhaul.capture_relation(x) FROM unnest(tables || inserts_only || outboxes) x) LIMIT 1) AS root
          FROM boxhaul.capture_table_facts(tables || inserts_only || outboxes) f
          LEFT JOIN pg_class c ON c.oid = f.relation
          LEFT JOIN pg_roles r ON r.rolname = login)
    SELECT r.about, r.verdict, r.what, r.mend, r.statement FROM (
        SELECT 1 AS o, t.n, t.about, 'FAIL' AS verdict, 'there is no such table, or the login may not look into its schema' AS what,
               'write it as schema.table, as SQL does' AS mend, NULL AS statement FROM t WHERE t.relation IS NULL
        UNION ALL
        SELECT 1, t.n, t.about, 'FAIL', 'it is no table: its changes do not stand in the log', 'take it out, and name the tables that it shows', NULL
          FROM t WHERE NOT t.is_any_table
        UNION ALL
        SELECT 1, t.n, t.about, 'FAIL', 'it is unlogged or temporary: its changes do not stand in the log', 'take it out, or ALTER TABLE ... SET LOGGED',
               CASE t.persistence WHEN 'u' THEN format('ALTER TABLE %s SET LOGGED', t.name) END FROM t WHERE t.is_any_table AND t.persistence <> 'p'
        UNION ALL
        SELECT 2, t.n, t.about, 'ok',
               concat(CASE WHEN t.inserts THEN 'inserts only; ' END, CASE WHEN t.key IS NULL THEN 'no key' ELSE 'key ' || array_to_string(t.key, ', ') END,
                      coalesce('; about ' || t.rows || ' rows, ', '; nobody has counted its rows (ANALYZE does), '), pg_size_pretty(t.bytes),
                      CASE WHEN t.leaves > 0 THEN format(', in %s partitions', t.leaves) END), NULL, NULL
          FROM t WHERE t.is_table AND (t.inserts OR t.is_known)
        UNION ALL
        SELECT 3, t.n, t.about, 'FAIL',
               CASE WHEN t.identity = 'n' THEN 'its replica identity is NOTHING: published, its UPDATEs and DELETEs would fail'
                    WHEN t.identity = 'f' THEN 'it has no primary key: its rows could not be told apart'
                    ELSE 'it has no primary key: published, its UPDATEs and DELETEs would fail' END,
               CASE WHEN t.kind = 'p' THEN 'give it a primary key, of the root; or put it under inserts_only'
                    ELSE 'give it a primary key, or a unique index over columns that are NOT NULL as its replica identity; or put it under inserts_only' END,
               CASE WHEN t.identity = 'n' AND t.key IS NOT NULL THEN format('ALTER TABLE %s REPLICA IDENTITY DEFAULT', t.name) END
          FROM t WHERE t.is_table AND NOT t.inserts AND NOT t.is_known
        UNION ALL
        SELECT 3, t.n, t.about, 'FAIL', format('the replica identity of %s is NOTHING: published, their UPDATEs and DELETEs would fail', t.bare),
               'give each of these partitions REPLICA IDENTITY DEFAULT', NULL FROM t WHERE t.is_table AND NOT t.inserts AND t.bare IS NOT NULL
        UNION ALL
        SELECT 4, t.n, t.about, 'todo', format('%s is allowed to read it', login), NULL,
               CASE WHEN has_schema_privilege('boxhaul_capture', t.schema, 'USAGE') THEN ''
                    ELSE format('GRANT USAGE ON SCHEMA %s TO boxhaul_capture; ', t.schema::regnamespace) END
               || format('GRANT SELECT ON %s TO boxhaul_capture', t.name)
          FROM t WHERE t.is_table AND t.is_read AND t.may_select IS FALSE
        UNION ALL
        SELECT 6, t.n, t.about, 'note',
               format('its rows, about %s, %s, are read whole, in one transaction: until they are stored vacuum keeps what is deleted anywhere in this database, '
                      'and an ALTER TABLE of it waits, with all who come behind it; capture.whole_limit bounds the time',
                      coalesce(t.rows::text, 'as many as nobody has counted'), pg_size_pretty(t.bytes)), NULL, NULL
          FROM t WHERE t.is_table AND t.is_whole
        UNION ALL
        SELECT 4, t.n, t.about, 'warn', format('it has row-level security: %s would read fewer rows than there are', login),
               'give that login the attribute BYPASSRLS, or set snapshot = "none"', format('ALTER ROLE %I BYPASSRLS', login)
          FROM t WHERE t.is_table AND t.is_read AND t.is_hidden
        UNION ALL
        SELECT 5, t.n, t.about, 'FAIL', format('it is a partition of %s, which is captured, too', t.root), 'name the root alone', NULL
          FROM t WHERE t.is_table AND t.root IS NOT NULL
        UNION ALL
        SELECT 5, t.n, t.about, 'note', format('%s inherit from it, and are tables of their own: they are not captured with it', t.children), NULL, NULL
          FROM t WHERE t.is_table AND t.children IS NOT NULL
        UNION ALL
        SELECT 6, t.n, t.about, 'note', format('an UPDATE that leaves %s as it was does not send it, where it is stored out of line', array_to_string(t.toasted, ', ')),
               NULL, NULL FROM t WHERE t.is_table AND NOT t.inserts AND t.identity <> 'f' AND t.toasted IS NOT NULL
        UNION ALL
        SELECT 6, t.n, t.about, 'note', 'REPLICA IDENTITY FULL: each UPDATE and DELETE writes the whole old row into the log', NULL, NULL
          FROM t WHERE t.is_table AND NOT t.inserts AND t.identity = 'f' AND t.is_known
        UNION ALL
        SELECT 6, t.n, t.about, 'note', format('generated, and not sent: %s', array_to_string(t.generated, ', ')), NULL, NULL
          FROM t WHERE t.is_table AND t.generated IS NOT NULL) r
     ORDER BY r.n, r.o
$$;

-- The publications. Both are there, always: one whose tables need an identity, and one of inserts alone, which can fail nobody's statement. A
-- filter or a list of columns on the first would make UPDATEs of the producers fail.
-- ONLY: tables that inherit from one of these are none of them. Published, one without a key of its own would let no producer UPDATE or DELETE its rows.
CREATE OR REPLACE FUNCTION boxhaul.capture_plan_publications(capture text, tables text[], inserts_only text[] DEFAULT '{}')
    RETURNS TABLE (about text, verdict text, what text, mend text, statement text)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    WITH w AS (
        SELECT x.name, x.publish, x.every, x.tables, p.oid AS publication, pg_get_userbyid(p.pubowner) AS owner,
               p.pubinsert AND p.pubviaroot AND p.pubupdate = x.every AND p.pubdelete = x.every AND p.pubtruncate = x.every AND NOT p.puballtables AS fits
          FROM (VALUES ('boxhaul_' || capture, 'insert, update, delete, truncate', true, tables),
                       ('boxhaul_' || capture || '_inserts', 'insert', false, inserts_only || boxhaul.capture_signal_tables())) x (name, publish, every, tables)
          LEFT JOIN pg_publication p ON p.pubname = x.name),
    wanted AS (SELECT w.name, f.relation, f.name AS "table" FROM w, boxhaul.capture_table_facts(w.tables) f
                WHERE f.kind IN ('r', 'p') AND f.persistence = 'p' AND (NOT w.every OR f.key IS NOT NULL AND f.identity <> 'n')),
    has AS (SELECT w.name, r.prrelid AS relation, to_jsonb(r) ->> 'prqual' IS NOT NULL OR to_jsonb(r) ->> 'prattrs' IS NOT NULL AS cut
              FROM w JOIN pg_publication_rel r ON r.prpubid = w.publication)
    SELECT r.about, r.verdict, r.what, r.mend, r.statement FROM (
        SELECT w.name AS about, 1 AS o, 'todo' AS verdict, 'the publication is made' AS what, NULL AS mend,
               format('CREATE PUBLICATION %I%s WITH (publish = %L, publish_via_partition_root = true)', w.name,
                      (SELECT ' FOR TABLE ' || string_agg('ONLY ' || x."table", ', ' ORDER BY x."table") FROM wanted x WHERE x.name = w.name), w.publish) AS statement
          FROM w WHERE w.publication IS NULL
        UNION ALL
        SELECT w.name, 1, 'todo', 'the publication sends other operations than it should', NULL,
               format('ALTER PUBLICATION %I SET (publish = %L, publish_via_partition_root = true)', w.name, w.publish)
          FROM w WHERE NOT w.fits
        UNION ALL
        SELECT w.name, 2, CASE WHEN n.why IS NULL THEN 'todo' ELSE 'FAIL' END, concat(x."table", ' is added to the publication', ': ' || n.why),
               CASE WHEN n.why IS NOT NULL THEN 'update the server; or do it, and then `boxhaul capture resync` the whole capture: a new slot is safe' END,
               format('ALTER PUBLICATION %I ADD TABLE ONLY %s', w.name, x."table")
          FROM w JOIN wanted x ON x.name = w.name, boxhaul.capture_may_not_add(capture) n (why)
         WHERE w.publication IS NOT NULL AND NOT EXISTS (SELECT FROM has h WHERE h.name = x.name AND h.relation = x.relation)
        UNION ALL
        SELECT h.name, 3, 'todo', format('%s is taken out of the publication', h.relation::regclass), NULL,
               format('ALTER PUBLICATION %I DROP TABLE ONLY %s', h.name, h.relation::regclass)
          FROM has h WHERE NOT EXISTS (SELECT FROM wanted x WHERE x.name = h.name AND x.relation = h.relation)
        UNION ALL
        SELECT h.name, 4, 'FAIL', format('it has a row filter, or a list of columns, for %s: producers'' UPDATEs may fail, and what is sent is not the table', h.relation::regclass),
               'take the table out of the publication; `boxhaul capture start` adds it whole', format('ALTER PUBLICATION %I DROP TABLE ONLY %s', h.name, h.relation::regclass)
          FROM has h WHERE h.cut
        UNION ALL
        SELECT w.name, 5, 'ok', format('the publication is there, of %s', w.owner), NULL, NULL FROM w WHERE w.fits) r
     ORDER BY r.about, r.o
$$;

CREATE OR REPLACE FUNCTION boxhaul.capture_plan(capture text, tables text[], inserts_only text[] DEFAULT '{}', outboxes text[] DEFAULT '{}',
                                                snapshot text DEFAULT 'keys', messages boolean DEFAULT false, login text DEFAULT session_user)
    RETURNS TABLE (about text, verdict text, what text, mend text, statement text)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT * FROM boxhaul.capture_plan_server(capture, messages, login)
    UNION ALL
    SELECT * FROM boxhaul.capture_plan_tables(tables, inserts_only, outboxes, snapshot, login)
    UNION ALL
    SELECT * FROM boxhaul.capture_plan_publications(capture, tables, inserts_only || outboxes)
$$;

-- How the captures stand, for the commands; NULL: all. waits: for whom a session of the capture waits now. oldest: the dead letters, the
-- oldest five; waiting: the same of what is carried.
CREATE OR REPLACE FUNCTION boxhaul.capture_look(capture text DEFAULT NULL) RETURNS jsonb
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on SET lock_timeout = '1s'
    SET jit = off AS $$
BEGIN
    RETURN (SELECT coalesce(jsonb_agg(to_jsonb(s) || jsonb_build_object(
            'led', s.leader_pid IS NOT NULL,
            'led_seconds', extract(epoch FROM clock_timestamp() - s.led_since)::float8,
            'since_seconds', extract(epoch FROM clock_timestamp() - s.since)::float8,
            'marked_seconds', extract(epoch FROM clock_timestamp() - s.marked_at)::float8,
            'waits', (SELECT string_agg(w.who, ', ')
                        FROM pg_stat_activity a, LATERAL (SELECT boxhaul.capture_waits(a.pid) AS who) w
                       WHERE a.datname = current_database() AND a.application_name = 'boxhaul-' || s.name AND w.who IS NOT NULL),
            'differs', (SELECT string_agg(coalesce(d.tab || ': ', '') || d.why, '; ' ORDER BY d.tab NULLS FIRST)
                          FROM boxhaul.capture_differs(s.name) d WHERE s.state <> 'none'),
            'progress', (SELECT coalesce(jsonb_agg(to_jsonb(p) - 'capture' || jsonb_build_object(
                                    'seconds', extract(epoch FROM clock_timestamp() - p.since)::float8) ORDER BY p.tab), '[]')
                           FROM boxhaul.capture_progress p WHERE p.capture = s.name),
            'waiting', (SELECT coalesce(jsonb_agg(to_jsonb(k) ORDER BY k.ordinal), '[]')
                          FROM (SELECT k.ordinal, k.subject, k.tab, k.key_shown, coalesce(k.reason, 'behind another one of its key') AS reason,
                                       k.carried_at
                                  FROM boxhaul.capture_carried k WHERE k.capture = s.name ORDER BY k.ordinal LIMIT 5) k),
            'oldest', (SELECT coalesce(jsonb_agg(to_jsonb(l) - 'capture' ORDER BY l.id), '[]')
                         FROM boxhaul.capture_letters(s.name, most => 5) l)) ORDER BY s.name), '[]')
      FROM boxhaul.capture_status s
     WHERE capture_look.capture IS NULL OR s.name = capture_look.capture);
END
$$;

-- Where a change stands that was committed at a position of the log. state: stored, under way (the server was not told yet that it is), ahead (the
-- log has not come so far), before (the capture began behind it), lost (it lies before the slot that was made when the capture was read
-- again: the rows were read instead).
CREATE OR REPLACE FUNCTION boxhaul.capture_explain(capture text, lsn pg_lsn)
    RETURNS TABLE (state text, begin_lsn pg_lsn, end_lsn pg_lsn, confirmed_lsn pg_lsn, written_lsn pg_lsn, behind bigint)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    written pg_lsn := CASE WHEN NOT pg_is_in_recovery() THEN pg_current_wal_lsn() END;
BEGIN
    IF NOT EXISTS (SELECT FROM boxhaul.capture c WHERE c.name = capture_explain.capture) THEN
        PERFORM boxhaul.capture_unknown(capture_explain.capture);
    END IF;
    RETURN QUERY
    SELECT CASE WHEN c.state IN ('none', 'creating') THEN 'none'
                WHEN capture_explain.lsn < c.begin_lsn THEN CASE WHEN c.incarnation > 1 THEN 'lost' ELSE 'before' END
                WHEN capture_explain.lsn < greatest(c.end_lsn, s.confirmed_flush_lsn) THEN 'stored'
                WHEN capture_explain.lsn > written THEN 'ahead'
                WHEN c.state = 'gap' THEN 'lost'
                ELSE 'under way' END,
           c.begin_lsn, c.end_lsn, s.confirmed_flush_lsn, written,
           greatest(pg_wal_lsn_diff(capture_explain.lsn, greatest(c.end_lsn, s.confirmed_flush_lsn)), 0)::bigint
      FROM boxhaul.capture c LEFT JOIN pg_replication_slots s ON s.slot_name = c.slot
     WHERE c.name = capture_explain.capture;
END
$$;

-- What is known of a row by its key, a value for each column of it. passed: the snapshot has come to it, or ends before it. repair: it is to be read once more. letter:
-- the newest dead letter with this key.
CREATE OR REPLACE FUNCTION boxhaul.capture_explain_key(capture text, tab text, key text[])
    RETURNS TABLE (state text, reason text, passed boolean, cursor text[], repair boolean, letter bigint, letter_reason text)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    t boxhaul.capture_table;
    types text[];
BEGIN
    SELECT * INTO t FROM boxhaul.capture_table x WHERE x.capture = capture_explain_key.capture AND x.tab = capture_explain_key.tab;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'boxhaul: capture % has no table %', capture, tab
            USING ERRCODE = 'no_data_found',
                  HINT = coalesce('It has: ' || (SELECT string_agg(x.tab, ', ' ORDER BY x.tab) FROM boxhaul.capture_table x
                                                  WHERE x.capture = capture_explain_key.capture), 'It has none.');
    END IF;
    SELECT array_agg(format_type(a.atttypid, a.atttypmod) ORDER BY k.n) INTO types
      FROM unnest((boxhaul.capture_key_of(boxhaul.capture_relation(t.tab))).key) WITH ORDINALITY AS k (attnum, n)
      JOIN pg_attribute a ON a.attrelid = boxhaul.capture_relation(t.tab) AND a.attnum = k.attnum;
    IF cardinality(types) IS DISTINCT FROM cardinality(key) THEN
        RAISE EXCEPTION 'boxhaul: the key of % has % columns, not %', t.tab, coalesce(cardinality(types), 0), cardinality(key)
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF t.cursor IS NOT NULL THEN
        EXECUTE (SELECT format('SELECT (%1$s) <= (%2$s) OR (%1$s) > (%3$s)', string_agg(format('$1[%s]::%s', n, x), ', ' ORDER BY n),
                               string_agg(format('$2[%s]::%s', n, x), ', ' ORDER BY n), string_agg(format('$3[%s]::%s', n, x), ', ' ORDER BY n))
                   FROM unnest(types) WITH ORDINALITY AS y (x, n))
           INTO passed USING key, t.cursor, t.top;
    END IF;
    RETURN QUERY
    SELECT t.state, t.reason, t.state IN ('read', 'complete', 'unproved') OR coalesce(w.passed, false), t.cursor,
           EXISTS (SELECT FROM boxhaul.capture_repair r WHERE r.capture = t.capture AND r.tab = t.tab AND r.key = capture_explain_key.key),
           l.id, l.reason
      FROM (SELECT capture_explain_key.passed) w (passed)
      LEFT JOIN LATERAL (SELECT d.id, d.reason FROM boxhaul.capture_letter d
                          WHERE d.capture = t.capture AND d.tab = t.tab AND d.key = array_to_string(capture_explain_key.key, ', ')
                          ORDER BY d.id DESC LIMIT 1) l ON true;
END
$$;

-- --- grants ---

REVOKE ALL ON ALL TABLES IN SCHEMA boxhaul FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA boxhaul FROM PUBLIC;

-- Who emits is who publishes.
GRANT EXECUTE ON FUNCTION boxhaul.emit(text, bytea, text, jsonb), boxhaul.emit(text, text, text, jsonb), boxhaul.emit(text, jsonb, text, jsonb),
    boxhaul.emit(text, json, text, json), boxhaul.emit_message(text, text, bytea, jsonb) TO boxhaul_writer;

-- The daemon's session for captures: it keeps these books, and touches nothing of the outbox or the inbox.
GRANT USAGE ON SCHEMA boxhaul TO boxhaul_capture;
GRANT SELECT ON boxhaul.schema_version, boxhaul.capture, boxhaul.capture_table, boxhaul.capture_repair, boxhaul.capture_letter,
    boxhaul.capture_carried, boxhaul.capture_status, boxhaul.capture_progress TO boxhaul_capture;
GRANT EXECUTE ON FUNCTION boxhaul.lock_pid(text), boxhaul.lock_try(text, interval), boxhaul.lock_return(text),
    boxhaul.capture_define(text, text, jsonb), boxhaul.capture_try_lock(text), boxhaul.capture_unlock(text),
    boxhaul.pause_text(timestamptz, text, text), boxhaul.capture_letters_standing(text),
    boxhaul.capture_leading_pid(text), boxhaul.capture_place(), boxhaul.capture_lead(text, text), boxhaul.capture_resign(text, bigint, pg_lsn),
    boxhaul.capture_live(text, bigint, integer, pg_lsn), boxhaul.capture_gap(text, bigint, text, text), boxhaul.capture_forked(text, bigint, pg_lsn, text),
    boxhaul.capture_examine(text, bigint, pg_lsn), boxhaul.capture_horizon(text, xid8), boxhaul.capture_mark(text, bigint, jsonb, bytea[]),
    boxhaul.capture_fetch(text, bigint, bigint[]),
    boxhaul.capture_relations(oid), boxhaul.capture_filenode(oid), boxhaul.capture_relation(text), boxhaul.capture_key_of(oid),
    boxhaul.capture_type(oid), boxhaul.capture_operators(oid), boxhaul.capture_rows_estimate(oid),
    boxhaul.capture_shape(text, text), boxhaul.capture_publishes(name, oid), boxhaul.capture_may_select(oid, text[]),
    boxhaul.capture_may_add(), boxhaul.capture_differs(text), boxhaul.capture_signal_tables(), boxhaul.capture_watch(text, bigint), boxhaul.capture_resync(text, text),
    boxhaul.capture_superseded(text), boxhaul.capture_free(text, bigint, boolean), boxhaul.capture_is_ours(text, integer, text),
    boxhaul.capture_user_of(text, integer), boxhaul.capture_over(text, bigint),
    boxhaul.capture_who(integer[], text[]), boxhaul.capture_waits(integer) TO boxhaul_capture;

-- Who operates has the relay's role.
GRANT SELECT ON boxhaul.capture, boxhaul.capture_table, boxhaul.capture_repair, boxhaul.capture_letter, boxhaul.capture_carried,
    boxhaul.capture_status, boxhaul.capture_progress, boxhaul.outbox_table TO boxhaul_relay;
GRANT EXECUTE ON FUNCTION boxhaul.capture_define(text, text, jsonb), boxhaul.capture_start(text), boxhaul.capture_pause(text, text, text),
    boxhaul.capture_resume(text), boxhaul.capture_resync(text, text), boxhaul.capture_add(text, text, text, boolean),
    boxhaul.capture_drop(text), boxhaul.capture_discard(bigint), boxhaul.capture_redrive(bigint), boxhaul.capture_give_up(text, bigint, text) TO boxhaul_relay;

-- The monitor sees everything but bodies.
GRANT SELECT ON boxhaul.capture, boxhaul.capture_table, boxhaul.capture_repair, boxhaul.capture_status, boxhaul.capture_progress, boxhaul.capture_signal,
    boxhaul.outbox_table TO boxhaul_monitor;
GRANT SELECT (id, capture, ordinal, message_id, subject, reason, attempts, position, tab, key, held, died_at)
   ON boxhaul.capture_letter TO boxhaul_monitor;
GRANT SELECT (capture, ordinal, lane, low_water, message_id, subject, bytes, position, tab, key_shown, attempts, reason, held, carried_at)
   ON boxhaul.capture_carried TO boxhaul_monitor;
GRANT EXECUTE ON FUNCTION boxhaul.capture_diverged(text), boxhaul.capture_letters_standing(text), boxhaul.capture_leading_pid(text), boxhaul.capture_place(),
    boxhaul.capture_relations(oid), boxhaul.capture_key_of(oid), boxhaul.capture_rows_estimate(oid),
    boxhaul.capture_shape(text, text), boxhaul.capture_publishes(name, oid), boxhaul.capture_may_select(oid, text[]), boxhaul.capture_may_add(), boxhaul.capture_may_not_add(text),
    boxhaul.capture_differs(text), boxhaul.capture_signal_tables(), boxhaul.capture_letters(text, text, bigint, integer), boxhaul.capture_who(integer[], text[]), boxhaul.capture_waits(integer)
    TO boxhaul_relay, boxhaul_monitor;

GRANT EXECUTE ON FUNCTION boxhaul.capture_relation(text), boxhaul.capture_tab(text, text), boxhaul.capture_unfixed(integer), boxhaul.capture_table_facts(text[]), boxhaul.capture_plan_server(text, boolean, text),
    boxhaul.capture_plan_tables(text[], text[], text[], text, text), boxhaul.capture_plan_publications(text, text[], text[]),
    boxhaul.capture_plan(text, text[], text[], text[], text, boolean, text), boxhaul.capture_look(text),
    boxhaul.capture_explain(text, pg_lsn), boxhaul.capture_explain_key(text, text, text[]) TO boxhaul_relay, boxhaul_monitor;

INSERT INTO boxhaul.schema_version (version, name) VALUES (10, 'capture') ON CONFLICT DO NOTHING;
