-- boxhaul 013: a group of tables moves from one database to another: fences, tokens, the decision, sequences.
--
-- A capture of the source and a sink at the target keep the target's tables equal. What stands here makes the switch: nobody writes at the source
-- any more (the fence), all that was written has arrived (the token), and the target opens. A move has a token, and a row in each database:
--
--     source  boxhaul.move_source   fencing --> fenced --> moved
--                                      `-----------`-----> given_up
--     target  boxhaul.move_target   waiting --> open
--                                      `-----> given_up
--
-- Why there are never two who take writes. (1) The target's tables are fenced until move_open(), which is one transaction, under the lock of
-- the row. (2) That row leaves `waiting` once: whoever gives the move up and whoever opens meet at its lock, and the second one is told what the
-- first one has decided. (3) The source's fence goes only after `given_up` was read there (unfence_relation() asks move_source, and that is
-- set by who has read it). So when a connection dies at a COMMIT, whoever comes next reads the row, and knows. (4) The fence is on disk before the
-- token is written, and at every standby that could be promoted before the target opens (move_standbys()): a promotion cannot take it away.
--
-- The functions that change tables run with the rights of the caller, who owns them: `boxhaul cutover` logs in as postgres.migrate_conninfo.

SET standard_conforming_strings = on;  -- what stands below is written for it

-- --- tables ---

-- Relations that are fenced, or were: a table; of a partitioned one the root and every partition.
CREATE TABLE IF NOT EXISTS boxhaul.fence (
    relation  oid         NOT NULL PRIMARY KEY,
    tab       text        NOT NULL,              -- as the move names it: a partition's root
    elsewhere text        NOT NULL,              -- where it is to be written; said to who tries
    token     uuid,                              -- of the move; NULL: a target's, which waits to be opened
    active    boolean     NOT NULL DEFAULT true,
    since     timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE IF NOT EXISTS boxhaul.move_source (
    token      uuid        NOT NULL PRIMARY KEY DEFAULT gen_random_uuid(),
    capture    text        NOT NULL,
    elsewhere  text        NOT NULL,
    tables     text[]      NOT NULL,
    state      text        NOT NULL DEFAULT 'fencing' CHECK (state IN ('fencing', 'fenced', 'moved', 'given_up')),
    since      timestamptz NOT NULL DEFAULT clock_timestamp(),  -- of the state
    begun_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    fenced_lsn pg_lsn                                           -- the log has all fences below it
);
-- One move of a capture at a time: whoever begins another one goes on with this.
CREATE UNIQUE INDEX IF NOT EXISTS move_source_open ON boxhaul.move_source (capture) WHERE state IN ('fencing', 'fenced');

CREATE TABLE IF NOT EXISTS boxhaul.move_target (
    token        uuid        NOT NULL PRIMARY KEY,
    subscription text        NOT NULL,
    tables       text[]      NOT NULL,
    state        text        NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'open', 'given_up')),
    since        timestamptz NOT NULL DEFAULT clock_timestamp(),  -- of the state
    arrived_at   timestamptz,                                     -- when the sink had applied all that stands before the token
    CHECK (state <> 'open' OR arrived_at IS NOT NULL)
);
CREATE UNIQUE INDEX IF NOT EXISTS move_target_waiting ON boxhaul.move_target (subscription) WHERE state = 'waiting';

-- --- the fence ---

-- Is this login a member of boxhaul_sink? pg_has_role() would say so of every superuser.
CREATE OR REPLACE FUNCTION boxhaul.is_sink(login name) RETURNS boolean
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    WITH RECURSIVE up AS (
        SELECT m.roleid FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.member WHERE r.rolname = login
        UNION
        SELECT m.roleid FROM up JOIN pg_auth_members m ON m.member = up.roleid)
    SELECT EXISTS (SELECT FROM up JOIN pg_roles r ON r.oid = up.roleid WHERE r.rolname = 'boxhaul_sink')
$$;

-- The trigger. By session_user, not current_user: inside a foreign key's cascade, and in a function that is SECURITY DEFINER, that is the owner.
CREATE OR REPLACE FUNCTION boxhaul.fenced() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    IF NOT boxhaul.is_sink(session_user) THEN
        RAISE EXCEPTION 'boxhaul: table %.% is not written here: %', TG_TABLE_SCHEMA, TG_TABLE_NAME,
                coalesce((SELECT f.elsewhere FROM boxhaul.fence f WHERE f.relation = TG_RELID), 'another database has it')
            USING ERRCODE = 'object_not_in_prerequisite_state', SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME,
                  HINT = 'Here is a copy, which boxhaul keeps. Connect to where it is written.';
    END IF;
    IF TG_OP = 'DELETE' THEN
        RETURN OLD;
    END IF;
    RETURN NEW;
END
$$;

-- So long a fence waits for its lock. Whoever wants to write queues behind it meanwhile; and if these stand in a circle with it, it has to give up before
-- anybody looks for deadlocks, for a transaction of the service would be the one to die.
CREATE OR REPLACE FUNCTION boxhaul.fence_patience() RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT greatest(s.setting::integer * 2 / 5, 1) || 'ms' FROM pg_settings s WHERE s.name = 'deadlock_timeout'
$$;

-- Fence one relation, in a transaction of its own: who has one relation and waits for the next one deadlocks with writers. True: it was not fenced.
-- 55P03: writers were there (fence_holders()); again, a little later.
--
-- When it returns, and has committed, nobody is under way who has written here before: the lock that a trigger takes conflicts with
-- that of every write, which is held until the end of its transaction has become visible, of a prepared one, too. And whoever gets a lock
-- later finds the trigger. So the wait for writers is the wait for this lock.
--
-- Rows are looked at one by one, where they are stored: a statement that changes none passes, such as a cascade from a parent without
-- children. (PostgreSQL's own replication fires no triggers of statements, either.) A root has no rows; there a statement is stopped before it
-- reaches a partition that was not there when the fence was made. The names in WHEN spare the sink a call for each row; the function decides.
CREATE OR REPLACE FUNCTION boxhaul.fence_relation(relation oid, tab text, elsewhere text, token uuid DEFAULT NULL) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    kind   "char" := (SELECT c.relkind FROM pg_class c WHERE c.oid = fence_relation.relation);
    passes text;
    was    boolean := boxhaul.fence_stands(fence_relation.relation);
    how    record;
BEGIN
    IF kind IS NULL OR kind NOT IN ('r', 'p') THEN
        RAISE EXCEPTION 'boxhaul: % is no table that can be fenced', fence_relation.relation::regclass USING ERRCODE = 'wrong_object_type';
    END IF;
    PERFORM set_config('lock_timeout', boxhaul.fence_patience(), true);
    PERFORM set_config('synchronous_commit', 'on', true);
    EXECUTE format('LOCK TABLE ONLY %s IN SHARE ROW EXCLUSIVE MODE', fence_relation.relation::regclass);
    SELECT coalesce(format(' WHEN (session_user <> ALL (%L::name[]))', array_agg(r.rolname ORDER BY r.rolname)), '') INTO passes
      FROM pg_roles r WHERE r.rolcanlogin AND boxhaul.is_sink(r.rolname) HAVING count(*) > 0;
    FOR how IN SELECT * FROM (VALUES ('boxhaul_fence', 'INSERT OR UPDATE OR DELETE', CASE kind WHEN 'p' THEN 'STATEMENT' ELSE 'ROW' END),
                                     ('boxhaul_fence_truncate', 'TRUNCATE', 'STATEMENT')) h (name, event, each)
    LOOP
        -- OR REPLACE came with 14. Before, one that is there stays as it is: DROP TRIGGER would wait for every reader.
        IF current_setting('server_version_num')::integer >= 140000
           OR NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = fence_relation.relation AND t.tgname = how.name) THEN
            EXECUTE format('CREATE %s TRIGGER %I BEFORE %s ON %s FOR EACH %s%s EXECUTE FUNCTION boxhaul.fenced()',
                           CASE WHEN current_setting('server_version_num')::integer >= 140000 THEN 'OR REPLACE' ELSE '' END,
                           how.name, how.event, fence_relation.relation::regclass, how.each, coalesce(passes, ''));
        END IF;
        -- Always: with session_replication_role = replica, too.
        EXECUTE format('ALTER TABLE ONLY %s ENABLE ALWAYS TRIGGER %I', fence_relation.relation::regclass, how.name);
    END LOOP;
    INSERT INTO boxhaul.fence AS f (relation, tab, elsewhere, token)
    VALUES (fence_relation.relation, fence_relation.tab, fence_relation.elsewhere, fence_relation.token)
    ON CONFLICT ON CONSTRAINT fence_pkey DO UPDATE
       SET tab = excluded.tab, elsewhere = excluded.elsewhere, token = excluded.token, active = true, since = excluded.since;
    RETURN NOT was;
END
$$;

-- Do both triggers stand, and fire always?
CREATE OR REPLACE FUNCTION boxhaul.fence_stands(relation oid) RETURNS boolean
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT count(*) = 2 FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_namespace n ON n.oid = p.pronamespace
     WHERE t.tgrelid = fence_stands.relation AND t.tgname IN ('boxhaul_fence', 'boxhaul_fence_truncate') AND t.tgenabled = 'A'
       AND n.nspname = 'boxhaul' AND p.proname = 'fenced'
$$;

-- The relations of a table that are not fenced; NULL: there is no such table. A partition that came meanwhile is among them.
CREATE OR REPLACE FUNCTION boxhaul.fence_lacks(tab text) RETURNS oid[]
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT CASE WHEN t.relation IS NOT NULL
                THEN ARRAY(SELECT r.r FROM boxhaul.capture_relations(t.relation) r (r) WHERE NOT boxhaul.fence_stands(r.r) ORDER BY r.r) END
      FROM (SELECT boxhaul.capture_relation(fence_lacks.tab) AS relation) t
$$;

CREATE OR REPLACE FUNCTION boxhaul.is_fenced(tab text) RETURNS boolean
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT coalesce(boxhaul.fence_lacks(is_fenced.tab) = '{}', false)
$$;

-- Whom a fence of this relation waits for, in words: who has a lock on it that a writer takes, or a stronger one. NULL: nobody.
CREATE OR REPLACE FUNCTION boxhaul.fence_holders(relation oid) RETURNS text
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    WITH locks AS MATERIALIZED (SELECT l.locktype, l.database, l.relation, l.transactionid, l.virtualtransaction, l.pid, l.mode, l.granted FROM pg_locks l),
    holder AS (
        SELECT DISTINCT l.pid, l.virtualtransaction FROM locks l
         WHERE l.locktype = 'relation' AND l.relation = fence_holders.relation AND l.granted
           AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
           AND l.mode IN ('RowExclusiveLock', 'ShareUpdateExclusiveLock', 'ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
           AND l.pid IS DISTINCT FROM pg_backend_pid())
    SELECT boxhaul.capture_who(
        (SELECT array_agg(DISTINCT h.pid) FROM holder h WHERE h.pid IS NOT NULL),
        -- A prepared transaction has no session; its xid stands beside its locks.
        (SELECT array_agg(p.gid ORDER BY p.gid) FROM holder h
           JOIN locks t ON t.virtualtransaction = h.virtualtransaction AND t.locktype = 'transactionid' AND t.pid IS NULL
           JOIN pg_prepared_xacts p ON p.transaction = t.transactionid WHERE h.pid IS NULL))
$$;

-- Take one fence of a move that was given up. The triggers stay, switched off: to drop them would wait for every reader. True: it stood.
CREATE OR REPLACE FUNCTION boxhaul.unfence_relation(relation oid) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    f boxhaul.fence;
BEGIN
    SELECT * INTO f FROM boxhaul.fence x WHERE x.relation = unfence_relation.relation;
    IF f.token IS NULL OR NOT EXISTS (SELECT FROM boxhaul.move_source m WHERE m.token = f.token AND m.state = 'given_up') THEN
        RAISE EXCEPTION 'boxhaul: table % stays fenced: the move % was not given up', unfence_relation.relation::regclass,
                coalesce(f.token::text, 'of it')
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'Whether the target took over, the target knows: `boxhaul cutover` asks it, and goes on or takes the fence back.';
    END IF;
    RETURN boxhaul.fence_off(unfence_relation.relation);
END
$$;

CREATE OR REPLACE FUNCTION boxhaul.fence_off(relation oid) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    stood boolean := false;
    name  name;
BEGIN
    PERFORM set_config('lock_timeout', boxhaul.fence_patience(), true);
    FOR name IN SELECT t.tgname FROM pg_trigger t
                 WHERE t.tgrelid = fence_off.relation AND t.tgname IN ('boxhaul_fence', 'boxhaul_fence_truncate') AND t.tgenabled <> 'D'
    LOOP
        EXECUTE format('ALTER TABLE ONLY %s DISABLE TRIGGER %I', fence_off.relation::regclass, name);
        stood := true;
    END LOOP;
    UPDATE boxhaul.fence f SET active = false, since = clock_timestamp() WHERE f.relation = fence_off.relation AND f.active;
    RETURN stood;
END
$$;

-- --- the source ---

-- Begin to move the tables of a capture, or go on with what was begun. The token.
CREATE OR REPLACE FUNCTION boxhaul.move_begin(capture text, elsewhere text, tables text[]) RETURNS uuid
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    m boxhaul.move_source;
BEGIN
    PERFORM set_config('synchronous_commit', 'on', true);
    INSERT INTO boxhaul.move_source (capture, elsewhere, tables) VALUES (move_begin.capture, move_begin.elsewhere, move_begin.tables)
    ON CONFLICT DO NOTHING;
    SELECT * INTO STRICT m FROM boxhaul.move_source x WHERE x.capture = move_begin.capture AND x.state IN ('fencing', 'fenced');
    IF NOT (m.tables @> move_begin.tables AND m.tables <@ move_begin.tables) THEN
        RAISE EXCEPTION 'boxhaul: a move of capture % is under way, of other tables: %', m.capture, array_to_string(m.tables, ', ')
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Let it end first, with the configuration that it began with.';
    END IF;
    RETURN m.token;
END
$$;

-- All its tables are fenced, and that is on disk: the token goes into the log, behind everything that was written to them. Returns what stands against it;
-- NULL: it is fenced. May be said again: the sink takes the first token that it meets.
--
-- Contents that changed without a change in the log (a rewrite, a partition that came or went) never reached the target, so the files
-- are compared behind the fence, too.
CREATE OR REPLACE FUNCTION boxhaul.move_fenced(token uuid) RETURNS text
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    m    boxhaul.move_source;
    lack text;
BEGIN
    PERFORM set_config('synchronous_commit', 'on', true);
    SELECT * INTO m FROM boxhaul.move_source x WHERE x.token = move_fenced.token FOR UPDATE;
    IF NOT FOUND OR m.state NOT IN ('fencing', 'fenced') THEN
        RETURN format('move %s is %s', move_fenced.token, coalesce(m.state, 'not known here'));
    END IF;
    SELECT string_agg(t.tab, ', ') INTO lack FROM unnest(m.tables) t (tab) WHERE NOT boxhaul.is_fenced(t.tab);
    IF lack IS NOT NULL THEN
        RETURN format('not fenced as a whole: %s', lack);
    END IF;
    SELECT string_agg(format('%s (%s)', n.tab, coalesce(t.reason, t.state, 'it is not captured any more')), ', ' ORDER BY n.tab) INTO lack
      FROM unnest(m.tables) n (tab) LEFT JOIN boxhaul.capture_table t ON t.capture = m.capture AND t.tab = n.tab
     WHERE t.state IS DISTINCT FROM 'complete' OR t.filenode <> 0 AND t.filenode <> boxhaul.capture_filenode(boxhaul.capture_relation(t.tab));
    IF lack IS NOT NULL THEN
        RETURN format('contents that the stream does not have: %s', lack);
    END IF;
    lack := boxhaul.capture_diverged(m.capture);
    IF lack IS NOT NULL THEN
        RETURN format('copies may differ: %s', lack);
    END IF;
    UPDATE boxhaul.move_source x
       SET state = 'fenced', since = clock_timestamp(), fenced_lsn = coalesce(x.fenced_lsn, pg_current_wal_insert_lsn())
     WHERE x.token = m.token;
    PERFORM boxhaul.capture_emit('boxhaul.token', m.token::text);
    RETURN NULL;
END
$$;

-- How the target has decided: `moved` if it is open, `given_up` if it has given the move up, and nothing else ends it. True: now.
CREATE OR REPLACE FUNCTION boxhaul.move_end(token uuid, state text) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'on', true);
    UPDATE boxhaul.move_source m SET state = move_end.state, since = clock_timestamp()
     WHERE m.token = move_end.token AND m.state IN ('fencing', 'fenced') AND move_end.state IN ('moved', 'given_up');
    RETURN FOUND;
END
$$;

-- Standbys that could be promoted, and what each has on disk. behind: not the log up to `through`; NULL: that is not known. A standby that is not
-- connected shows only by the slot that it left.
CREATE OR REPLACE FUNCTION boxhaul.move_standbys(through pg_lsn) RETURNS TABLE (standby text, flushed pg_lsn, behind boolean)
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT coalesce(nullif(r.application_name, ''), 'a standby') || coalesce(' at ' || host(r.client_addr), ''), r.flush_lsn, r.flush_lsn < through
      FROM pg_stat_replication r
     WHERE r.state IS DISTINCT FROM 'backup'
       AND NOT EXISTS (SELECT FROM pg_replication_slots s WHERE s.active_pid = r.pid AND s.slot_type = 'logical')
    UNION ALL
    SELECT 'slot ' || s.slot_name || ' (not connected)', s.restart_lsn, s.restart_lsn < through FROM pg_replication_slots s
     WHERE s.slot_type = 'physical' AND NOT s.active AND s.restart_lsn IS NOT NULL
$$;

-- --- the target ---

-- Expect a token, before anything is fenced at the source. Returns the state. Another one that is waited for is given up: its source has lost it, in a
-- failover, or else will hear of it.
CREATE OR REPLACE FUNCTION boxhaul.move_expect(token uuid, subscription text, tables text[]) RETURNS text
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'on', true);
    UPDATE boxhaul.move_target m SET state = 'given_up', since = clock_timestamp()
     WHERE m.subscription = move_expect.subscription AND m.token <> move_expect.token AND m.state = 'waiting';
    INSERT INTO boxhaul.move_target AS m (token, subscription, tables)
    VALUES (move_expect.token, move_expect.subscription, move_expect.tables) ON CONFLICT ON CONSTRAINT move_target_pkey DO NOTHING;
    RETURN (SELECT m.state FROM boxhaul.move_target m WHERE m.token = move_expect.token);
END
$$;

-- The sink has applied all that stands before this token, and says so in the transaction in which it passes it. Of a token that nobody waits for it
-- does nothing. Where a table is read anew since the move began (a resync) rows are missing, or stale: there it does not arrive, and
-- the move is taken back. Called by the sink.
--
-- The token of a move whose source this database was comes back out of the target's log: move_open() has written it there. From it on the changes are
-- the target's own, and the sink of the way back applies them; before it there was nothing but what went from here.
CREATE OR REPLACE FUNCTION boxhaul.sink_token(subscription text, token text) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    UPDATE boxhaul.move_target m SET arrived_at = clock_timestamp()
     WHERE m.token::text = lower(sink_token.token) AND m.subscription = sink_token.subscription AND m.state = 'waiting' AND m.arrived_at IS NULL
       AND NOT EXISTS (SELECT FROM boxhaul.sink_table t WHERE t.subscription = m.subscription AND t.target = ANY (m.tables) AND t.state <> 'complete');
    IF EXISTS (SELECT FROM boxhaul.move_source m WHERE m.token::text = lower(sink_token.token) AND m.state <> 'given_up') THEN
        -- Not sink_complete(): that is for copies that begin with what the operator has brought. This one was complete until move_follow().
        UPDATE boxhaul.sink_table t SET state = 'complete', complete_at = clock_timestamp()
         WHERE t.subscription = sink_token.subscription AND t.state = 'incomplete';
    END IF;
END
$$;

-- The table of this sink that is written here since a cut-over; NULL: none is. It is until a move from here has ended `moved`: a fence of one that is still
-- undecided may be taken back. A fence without a token was made by hand, by who says that this database has but a copy again.
CREATE OR REPLACE FUNCTION boxhaul.move_holds(subscription text) RETURNS text
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT min(t.target) FROM boxhaul.sink_table t
     WHERE t.subscription = move_holds.subscription
       -- The configuration may write its name in another way since, with quotes or without.
       AND parse_ident(t.target)::text = ANY (ARRAY(SELECT parse_ident(n.tab)::text FROM boxhaul.move_target m, unnest(m.tables) n (tab) WHERE m.state = 'open'))
       AND NOT EXISTS (SELECT FROM boxhaul.fence f
                        WHERE f.relation = boxhaul.capture_relation(t.target) AND f.active
                          AND (f.token IS NULL OR EXISTS (SELECT FROM boxhaul.move_source m WHERE m.token = f.token AND m.state = 'moved')))
$$;

-- Raises where a sink would put rows of the database that wrote its tables before over those that the service has written since: its stream still has them,
-- from the first one on, and the changes of the way back besides. The pause that move_open() makes is not enough, for somebody may end it, or drop the
-- subscription, which then begins anew.
CREATE OR REPLACE FUNCTION boxhaul.move_guard(subscription text) RETURNS void
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    held text := boxhaul.move_holds(subscription);
BEGIN
    IF held IS NOT NULL THEN
        RAISE EXCEPTION 'boxhaul: table % is written here since the cut-over: % would put older rows over it', held, subscription
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = format('Leave it paused (boxhaul inbox pause): `boxhaul cutover --back` lets it follow again, when the tables are written elsewhere.');
    END IF;
END
$$;

-- At the source of a move whose target is open: its sinks of these streams, which are the target's, follow from now on; they have been paused. The names; NULL:
-- there is none. What stands in the stream before the token came from here, and would be applied to rows that have gone on since: so
-- their tables are incomplete, and pass over all of it, until sink_token().
CREATE OR REPLACE FUNCTION boxhaul.move_follow(streams text[]) RETURNS text
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    name  text;
    names text;
BEGIN
    FOR name IN SELECT k.subscription FROM boxhaul.sink k JOIN boxhaul.subscription d ON d.name = k.subscription
                  JOIN boxhaul.inbox_position p ON p.subscription = k.subscription
                 WHERE d.stream = ANY (streams) AND p.paused_at IS NOT NULL ORDER BY 1
    LOOP
        UPDATE boxhaul.sink_table t SET state = 'incomplete' WHERE t.subscription = name;
        PERFORM boxhaul.inbox_resume(name);
        names := concat_ws(', ', names, name);
    END LOOP;
    RETURN names;
END
$$;

-- Give a move up, unless it is decided. Returns what is decided: `given_up`, or `open`. It is on disk when that is read. A target that has lost the
-- row in a failover has not opened, and will not.
CREATE OR REPLACE FUNCTION boxhaul.move_give_up(token uuid, subscription text) RETURNS text
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    decided text;
BEGIN
    PERFORM set_config('synchronous_commit', 'on', true);
    INSERT INTO boxhaul.move_target AS m (token, subscription, tables, state)
    VALUES (move_give_up.token, move_give_up.subscription, '{}', 'given_up')
    ON CONFLICT ON CONSTRAINT move_target_pkey DO UPDATE
       SET state = CASE m.state WHEN 'waiting' THEN 'given_up' ELSE m.state END,
           since = CASE m.state WHEN 'waiting' THEN clock_timestamp() ELSE m.since END
    RETURNING m.state INTO decided;
    RETURN decided;
END
$$;

-- Open: the decision, the end of the fence and the end of the sink, in one transaction. Returns what is decided; a move that was given up stays so. The
-- message that it writes is where the changes of this database begin that the source is to apply.
--
-- The sink is stopped here, and not a moment later: no row that was read before may come over one that the service writes from now on. Stopped, it says whether a table was read
-- anew since the token came (a resync, another mapping), or is none of its own any more: what was compared is not what is there then, and what is not read yet never would be.
CREATE OR REPLACE FUNCTION boxhaul.move_open(token uuid) RETURNS text
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    m    boxhaul.move_target;
    r    oid;
    anew text;
BEGIN
    PERFORM set_config('synchronous_commit', 'on', true);
    SELECT * INTO m FROM boxhaul.move_target x WHERE x.token = move_open.token FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'boxhaul: no move % is expected here', move_open.token USING ERRCODE = 'no_data_found';
    ELSIF m.state <> 'waiting' THEN
        RETURN m.state;
    ELSIF m.arrived_at IS NULL THEN
        RAISE EXCEPTION 'boxhaul: the token of move % has not arrived', m.token USING ERRCODE = 'object_not_in_prerequisite_state';
    ELSIF EXISTS (SELECT FROM boxhaul.verify_difference d WHERE d.pass = m.token AND d.proved_at IS NULL) THEN
        RAISE EXCEPTION 'boxhaul: move % has found differences', m.token USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    IF EXISTS (SELECT FROM boxhaul.subscription s WHERE s.name = m.subscription) THEN
        PERFORM boxhaul.inbox_pause(m.subscription, session_user::text, 'the tables are written here since the cut-over');
        SELECT string_agg(n.tab, ', ' ORDER BY n.tab) INTO anew
          FROM unnest(m.tables) n (tab) LEFT JOIN boxhaul.sink_table t ON t.subscription = m.subscription AND t.target = n.tab
         WHERE t.state IS DISTINCT FROM 'complete' OR t.begun_at > m.arrived_at;
        IF anew IS NOT NULL THEN
            RAISE EXCEPTION 'boxhaul: tables of move % are read anew since its token arrived, or not applied any more: %', m.token, anew
                USING ERRCODE = 'object_not_in_prerequisite_state';
        END IF;
    END IF;
    FOR r IN SELECT x.r FROM unnest(m.tables) t (tab), boxhaul.capture_relations(boxhaul.capture_relation(t.tab)) x (r) ORDER BY 1 LOOP
        PERFORM boxhaul.fence_off(r);
    END LOOP;
    PERFORM boxhaul.capture_emit('boxhaul.token', m.token::text);
    UPDATE boxhaul.move_target x SET state = 'open', since = clock_timestamp() WHERE x.token = m.token;
    RETURN 'open';
END
$$;

-- --- the last verify ---
--
-- Behind the fence and the token both databases stand still, so they are compared as they are, from outside, and not in the stream. A pass over all rows has
-- proved each of them before, while both were in use (012). What is left to be proved here is
--   (1) rows of the source that a change has made since the pass was asked for, and rows of the target that were written since it began there: by their xmin, for
--       each has the xid of who wrote it last (capture_verify.horizon, verify_result.horizon);
--   (2) that both have the same keys: a row that went leaves no xmin.
-- A row that is in neither of (1), and whose key is on both sides, is the version that the pass has met there and compared with the version that is here.
-- So the seconds behind the fence go by what was written since the pass, and a sum over the keys; no row is sent that nobody has touched. A hash of all rows on both
-- sides would ask for no pass, and read and hash every column of every row while nobody may write.
-- Where the sums differ (a function makes no row of some, a key has another type there, or there is a difference), or there is no such pass, all rows
-- are compared.

-- Tables whose rows are not all shown to this login, and what shows them. Without it the comparing behind the fence would be refused.
CREATE OR REPLACE FUNCTION boxhaul.move_hidden(tables text[]) RETURNS TABLE (tab text, hint text)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT t.tab, format('ALTER ROLE %I BYPASSRLS;', current_user) FROM unnest(tables) t (tab)
     WHERE row_security_active(boxhaul.capture_relation(t.tab)) ORDER BY 1
$$;

-- How texts are written, on both sides, in this transaction: as the daemon has it written (relay/edge/pg_login.c). A policy that would hide rows is an error.
CREATE OR REPLACE FUNCTION boxhaul.move_pin() RETURNS void
    LANGUAGE sql VOLATILE AS $$
    SELECT pg_catalog.set_config(s.name, s.value, true)
      FROM (VALUES ('datestyle', 'ISO, YMD'), ('intervalstyle', 'iso_8601'), ('timezone', 'UTC'), ('extra_float_digits', '3'), ('bytea_output', 'hex'),
                   ('lc_monetary', 'C'), ('standard_conforming_strings', 'on'), ('search_path', ''), ('row_security', 'off')) s (name, value)
$$;

-- The texts of these columns of `t`, as an expression: an array.
CREATE OR REPLACE FUNCTION boxhaul.move_texts(columns text[]) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT format('ARRAY[%s]::pg_catalog.text[]', string_agg(boxhaul.verify_text(format('t.%I', c.name)), ', ' ORDER BY c.n)) FROM unnest(columns) WITH ORDINALITY c (name, n)
$$;

-- Of `t`, that it was written by this xid or a later one; NULL: any. age() of a row that was frozen under another xid counter is the highest: it is old.
CREATE OR REPLACE FUNCTION boxhaul.move_since(horizon bigint) RETURNS text
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT CASE WHEN pg_snapshot_xmax(pg_current_snapshot())::text::bigint - horizon BETWEEN 0 AND 2000000000
                THEN format('pg_catalog.age(t.xmin) <= pg_catalog.age(%L::pg_catalog.xid)', horizon % 4294967296) ELSE 'true' END
$$;

-- A table with its partitions, and without tables that inherit from it: those are not captured with it.
CREATE OR REPLACE FUNCTION boxhaul.move_from(relation oid) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT CASE WHEN c.relkind <> 'p' THEN 'ONLY ' ELSE '' END || c.oid::regclass FROM pg_class c WHERE c.oid = relation
$$;

-- A row of the source, as a pass says it (012: verify_compare()), as an expression of `t`.
CREATE OR REPLACE FUNCTION boxhaul.move_row(columns text[], hashes boolean) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT CASE WHEN hashes THEN format('pg_catalog.to_jsonb(boxhaul.row_hash(%s))', boxhaul.move_texts(columns))
                ELSE format('pg_catalog.to_jsonb(pg_catalog.jsonb_object(%L::pg_catalog.text[], %s))', columns, boxhaul.move_texts(columns)) END
$$;

-- The source: a query of rows, one text each: [key, row]. columns: NULL: all that are sent.
CREATE OR REPLACE FUNCTION boxhaul.move_rows(capture text, tab text, columns text[], hashes boolean, horizon bigint) RETURNS text
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT format('SELECT pg_catalog.jsonb_build_array(pg_catalog.to_jsonb(%s), %s)::pg_catalog.text FROM %s t WHERE (%s) AND %s', boxhaul.move_texts(s.key),
                  boxhaul.move_row(coalesce(move_rows.columns, s.columns), hashes), boxhaul.move_from(s.relation), coalesce(s.filter, 'true'),
                  boxhaul.move_since(horizon))
      FROM boxhaul.capture_shape(move_rows.capture, move_rows.tab) s
$$;

-- The source: what there is of these keys: a query of rows, one text each: [key, row or null]. It is to be run with them as $1.
CREATE OR REPLACE FUNCTION boxhaul.move_rows_of(capture text, tab text, columns text[], hashes boolean) RETURNS text
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT format('SELECT pg_catalog.jsonb_build_array(k.k, CASE WHEN t.%I IS NOT NULL THEN %s END)::pg_catalog.text FROM pg_catalog.jsonb_array_elements($1) k (k)'
                  ' LEFT JOIN (SELECT * FROM %s t WHERE %s) t ON %s',
                  s.key[1], boxhaul.move_row(coalesce(move_rows_of.columns, s.columns), hashes), boxhaul.move_from(s.relation), coalesce(s.filter, 'true'),
                  (SELECT string_agg(boxhaul.capture_equals(s.relation, c.name, boxhaul.verify_value(s.relation::regclass, c.name, format('k.k ->> %s', c.n - 1))), ' AND ' ORDER BY c.n)
                     FROM unnest(s.key) WITH ORDINALITY c (name, n)))
      FROM boxhaul.capture_shape(move_rows_of.capture, move_rows_of.tab) s
$$;

-- The target: a query of keys, one text each.
CREATE OR REPLACE FUNCTION boxhaul.move_keys(subscription text, tab text, horizon bigint) RETURNS text
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT format('SELECT pg_catalog.to_jsonb(%s)::pg_catalog.text FROM %s t WHERE %s', boxhaul.move_texts(t.target_key), boxhaul.capture_relation(t.target)::regclass,
                  boxhaul.move_since(horizon))
      FROM boxhaul.sink_table t WHERE t.subscription = move_keys.subscription AND t.source = move_keys.tab
$$;

-- The next rows of the cursor boxhaul_rows, in pieces: a row may have megabytes, and whoever takes some hundred of them takes them into memory, and makes one value of
-- JSON of them, which has a limit.
CREATE OR REPLACE FUNCTION boxhaul.move_page(rows_most integer DEFAULT 200, bytes_most integer DEFAULT 8388608) RETURNS SETOF text
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    rows_ refcursor := 'boxhaul_rows';
    line  text;
    bytes bigint := 0;
BEGIN
    FOR i IN 1 .. rows_most LOOP
        FETCH rows_ INTO line;
        EXIT WHEN NOT FOUND;
        RETURN NEXT line;
        bytes := bytes + octet_length(line);
        EXIT WHEN bytes >= bytes_most;
    END LOOP;
END
$$;

-- How many keys there are, and their sum: a query. 64 bits of each, of its texts, so both databases say the same of the same keys, and hardly of others.
CREATE OR REPLACE FUNCTION boxhaul.move_sum(key text[], relation oid, filter text) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT format('SELECT pg_catalog.count(*), coalesce(pg_catalog.sum(pg_catalog.hashtextextended((%s)::pg_catalog.text COLLATE pg_catalog."C", 0)), 0)'
                  ' FROM %s t WHERE %s',
                  boxhaul.move_texts(key), boxhaul.move_from(relation), coalesce(filter, 'true'))
$$;

CREATE OR REPLACE FUNCTION boxhaul.move_sum_of_source(capture text, tab text) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT boxhaul.move_sum(s.key, s.relation, s.filter) FROM boxhaul.capture_shape(move_sum_of_source.capture, move_sum_of_source.tab) s
$$;

CREATE OR REPLACE FUNCTION boxhaul.move_sum_of_target(subscription text, tab text) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT boxhaul.move_sum(t.target_key, boxhaul.capture_relation(t.target), NULL) FROM boxhaul.sink_table t
     WHERE t.subscription = move_sum_of_target.subscription AND t.source = move_sum_of_target.tab
$$;

-- Has a column of the table or of a partition been made or changed since this xid, or a label of an enum? Then rows may read otherwise that nobody has written: a
-- column with a default that is not stored in them, a label with another name.
CREATE OR REPLACE FUNCTION boxhaul.move_reshaped(relation oid, horizon bigint) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    yes boolean;
BEGIN
    EXECUTE format('SELECT EXISTS (SELECT FROM pg_attribute t WHERE t.attrelid IN (SELECT r.r FROM boxhaul.capture_relations($1) r (r)) AND t.attnum > 0 AND %1$s)'
                   ' OR EXISTS (SELECT FROM pg_enum t WHERE %1$s)', boxhaul.move_since(horizon)) INTO yes USING relation;
    RETURN yes;
END
$$;

-- The source, of a pass: changes since have this xid or a higher one. NULL: the pass is not known here, or did not look at all these columns (NULL: at all that are sent),
-- or the table has other files since, other partitions, another key, or columns that were changed.
CREATE OR REPLACE FUNCTION boxhaul.move_horizon(capture text, tab text, pass uuid, columns text[] DEFAULT '{}') RETURNS bigint
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT v.horizon FROM boxhaul.capture_verify v
     WHERE v.id = move_horizon.pass AND v.capture = move_horizon.capture AND v.tab = move_horizon.tab AND NOT v.keys
       AND (v.columns IS NULL OR v.columns @> coalesce(move_horizon.columns, (SELECT s.columns FROM boxhaul.capture_shape(v.capture, v.tab) s)))
       AND v.filenode = boxhaul.capture_filenode(boxhaul.capture_relation(v.tab)) AND NOT boxhaul.move_reshaped(boxhaul.capture_relation(v.tab), v.horizon)
$$;

-- The target compares rows that the source has said, and puts down what differs, as what the move with this token has found: once, however often it is compared.
-- Returns what differs, whether it is new or not: who says the same again is told the same. It is open until a pass has proved it.
CREATE OR REPLACE FUNCTION boxhaul.move_compare(token uuid, subscription text, tab text, columns text[], said jsonb) RETURNS TABLE (kind text, key text[])
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    WITH found AS MATERIALIZED (
        SELECT t.subscription, t.source, c.kind, c.key
          FROM boxhaul.sink_table t, boxhaul.verify_compare(t.subscription, t.source, t.source_key, move_compare.columns, move_compare.said) c
         WHERE t.subscription = move_compare.subscription AND t.source = move_compare.tab AND c.kind IS NOT NULL
    ), noted AS (
        INSERT INTO boxhaul.verify_difference (subscription, tab, pass, kind, key)
        SELECT f.subscription, f.source, move_compare.token, f.kind, f.key FROM found f
         WHERE NOT EXISTS (SELECT FROM boxhaul.verify_difference e WHERE e.subscription = f.subscription AND e.tab = f.source AND e.key = f.key
                                                                     AND e.pass = move_compare.token AND e.proved_at IS NULL)
    )
    SELECT f.kind, f.key FROM found f
$$;

-- --- sequences ---

-- The sequences that the defaults of a table's columns draw from (of its partitions, too), and those that belong to a column. A default that hides its
-- sequence in a function or a text has none that PostgreSQL knows of.
CREATE OR REPLACE FUNCTION boxhaul.move_sequences_of(tab text) RETURNS TABLE (col text, seq oid)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT DISTINCT a.attname::text, s.oid
      FROM boxhaul.capture_relations(boxhaul.capture_relation(move_sequences_of.tab)) r (r)
      JOIN pg_attribute a ON a.attrelid = r.r AND a.attnum > 0 AND NOT a.attisdropped
      JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.classid = 'pg_class'::regclass AND d.refobjid = r.r AND d.refobjsubid = a.attnum
                          AND d.deptype IN ('a', 'i')
      JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
    UNION
    SELECT a.attname::text, s.oid
      FROM boxhaul.capture_relations(boxhaul.capture_relation(move_sequences_of.tab)) r (r)
      JOIN pg_attrdef f ON f.adrelid = r.r
      JOIN pg_attribute a ON a.attrelid = r.r AND a.attnum = f.adnum
      JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid AND d.refclassid = 'pg_class'::regclass
      JOIN pg_class s ON s.oid = d.refobjid AND s.relkind = 'S'
$$;

CREATE OR REPLACE FUNCTION boxhaul.sequence_name(seq oid) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = seq
$$;

-- At the source, behind the fence: how far each sequence is. `others` has sequences that no default names, as SQL writes them with their schema: "theirs", or
-- "theirs=ours" where it has another name at the target.
-- [{"table", "column", "sequence", "last", "increment", "to"}]; last is null where none was drawn yet; table and column are, of the others; "to" is that other name.
CREATE OR REPLACE FUNCTION boxhaul.move_sequences(tables text[], others text[] DEFAULT '{}') RETURNS jsonb
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT coalesce(jsonb_agg(jsonb_build_object('table', q.tab, 'column', q.col, 'sequence', boxhaul.sequence_name(q.seq),
                                                 'last', pg_sequence_last_value(q.seq), 'increment', s.seqincrement, 'to', q.target)
                              ORDER BY q.tab, q.col, q.seq), '[]')
      FROM (SELECT t.tab, o.col, o.seq, NULL::text AS target FROM unnest(tables) t (tab), boxhaul.move_sequences_of(t.tab) o
            UNION ALL
            SELECT NULL, NULL, boxhaul.capture_relation(split_part(o.name, '=', 1)), nullif(split_part(o.name, '=', 2), '') FROM unnest(others) o (name)) q
      JOIN pg_sequence s ON s.seqrelid = q.seq
$$;

-- At the target, before it opens: each sequence is set behind what the source has drawn (`sources`, of move_sequences()), and behind the highest key; a policy that would
-- hide that one is an error. tables:
-- [{"from", "to", "columns": {of the source: of the target}}]; a column that is not named has one name. Returns what was set. A target's column
-- whose source draws from no sequence is set behind its highest key alone.
CREATE OR REPLACE FUNCTION boxhaul.move_sequences_set(tables jsonb, sources jsonb)
    RETURNS TABLE (sequence text, stood bigint, stands bigint)
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on SET row_security = off AS $$
DECLARE
    q      record;
    top    bigint;
    behind bigint;
BEGIN
    FOR q IN
        SELECT o.seq, o.tab, o.col, s.seqincrement AS step, s.seqmin, s.seqmax, a.atttypid AS type, o.source
          FROM (SELECT b.seq, t.e ->> 'to' AS tab, b.col,
                       (SELECT CASE WHEN s.seqincrement > 0 THEN max((x -> 'last')::bigint + (x -> 'increment')::bigint)
                                    ELSE min((x -> 'last')::bigint + (x -> 'increment')::bigint) END
                          FROM jsonb_array_elements(sources) x
                         WHERE jsonb_typeof(x -> 'last') = 'number' AND x ->> 'table' = t.e ->> 'from'
                           AND coalesce(t.e -> 'columns' ->> (x ->> 'column'), x ->> 'column') = b.col) AS source
                  FROM jsonb_array_elements(tables) t (e), boxhaul.move_sequences_of(t.e ->> 'to') b JOIN pg_sequence s ON s.seqrelid = b.seq
                UNION ALL
                SELECT boxhaul.capture_relation(coalesce(x ->> 'to', x ->> 'sequence')), NULL, NULL, (x -> 'last')::bigint + (x -> 'increment')::bigint
                  FROM jsonb_array_elements(sources) x WHERE jsonb_typeof(x -> 'table') = 'null' AND jsonb_typeof(x -> 'last') = 'number') o
          JOIN pg_sequence s ON s.seqrelid = o.seq
          LEFT JOIN pg_attribute a ON a.attrelid = boxhaul.capture_relation(o.tab) AND a.attname = o.col
         ORDER BY o.seq
    LOOP
        top := NULL;
        IF q.type IN ('smallint'::regtype, 'integer'::regtype, 'bigint'::regtype) THEN
            EXECUTE format('SELECT %s(x.%I) FROM %s x', CASE WHEN q.step > 0 THEN 'max' ELSE 'min' END, q.col, boxhaul.capture_relation(q.tab)::regclass)
               INTO top;
        END IF;
        stood := pg_sequence_last_value(q.seq);
        behind := CASE WHEN q.step > 0 THEN greatest(stood, q.source, top) ELSE least(stood, q.source, top) END;
        CONTINUE WHEN behind IS NULL;
        IF behind NOT BETWEEN q.seqmin AND q.seqmax THEN
            RAISE EXCEPTION 'boxhaul: sequence % would have to stand at %, and goes from % to %', boxhaul.sequence_name(q.seq), behind, q.seqmin, q.seqmax
                USING ERRCODE = 'numeric_value_out_of_range', HINT = 'ALTER SEQUENCE ... MINVALUE, MAXVALUE or AS bigint makes room.';
        END IF;
        PERFORM setval(q.seq, behind);
        sequence := boxhaul.sequence_name(q.seq);
        stands := behind;
        RETURN NEXT;
    END LOOP;
END
$$;

-- --- grants ---

REVOKE ALL ON ALL TABLES IN SCHEMA boxhaul FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA boxhaul FROM PUBLIC;

-- A trigger's function needs no right of who writes.
GRANT USAGE ON SCHEMA boxhaul TO boxhaul_sink;
GRANT EXECUTE ON FUNCTION boxhaul.sink_token(text, text), boxhaul.move_guard(text), boxhaul.move_holds(text) TO boxhaul_sink, boxhaul_relay;
GRANT SELECT ON boxhaul.fence, boxhaul.move_source, boxhaul.move_target TO boxhaul_relay, boxhaul_monitor;
GRANT EXECUTE ON FUNCTION boxhaul.is_sink(name), boxhaul.fence_stands(oid), boxhaul.fence_lacks(text), boxhaul.is_fenced(text),
    boxhaul.fence_holders(oid), boxhaul.move_standbys(pg_lsn) TO boxhaul_relay, boxhaul_monitor, boxhaul_sink;

INSERT INTO boxhaul.schema_version (version, name) VALUES (13, 'move') ON CONFLICT DO NOTHING;
