-- boxhaul 012: verify: are the rows that a capture has sent what somebody has made of them?
--
-- A pass reads a table as its snapshot did, and puts what it reads into the same stream, at the place where each row belongs (relay/core/capture/README.md).
-- Whoever applies the stream in its order holds at that place exactly the version of each key that the pass has read: a difference is one, under
-- any load, and never a matter of time. So it is compared in the transaction that applies what stands around it.
--
-- Above stand the books of passes, in the source's database, which the daemon of the capture moves with its marks; below what a sink has found
-- (011), in the target's. Nobody writes from one into the other: `boxhaul verify` asks both.

SET standard_conforming_strings = on;  -- what stands below is written for it

-- 128 bits of the texts of a row, which each side makes of its own row. The text of an array says where each value begins and ends, and NULL is none of
-- them. (Not md5(): a server that keeps to FIPS has none.)
CREATE OR REPLACE FUNCTION boxhaul.row_hash(texts text[]) RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT pg_catalog.left(pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(texts::pg_catalog.text, 'UTF8')), 'hex'), 32)
$$;

-- --- the source: passes ---

CREATE SEQUENCE IF NOT EXISTS boxhaul.capture_verify_pass;

-- A pass over a table.
--   waiting    it has not begun
--   reading    up to the cursor what it says is stored
--   read       all is
--   complete   its end is stored, too
--   given_up   by an operator, or because the rows of the table are read anew
CREATE TABLE IF NOT EXISTS boxhaul.capture_verify (
    pass          bigint      NOT NULL PRIMARY KEY DEFAULT nextval('boxhaul.capture_verify_pass'),
    id            uuid        NOT NULL DEFAULT gen_random_uuid(),  -- a part of the ids of what it sends, and its name for whoever compares
    capture       text        NOT NULL REFERENCES boxhaul.capture ON DELETE CASCADE,
    tab           text        NOT NULL,
    state         text        NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'reading', 'read', 'complete', 'given_up')),
    columns       text[],                             -- that are compared; NULL: all
    whole         boolean     NOT NULL,               -- rows are sent as they are; else a hash of each
    keys          boolean     NOT NULL,               -- it is about the keys in capture_verify_key alone
    repair        boolean     NOT NULL,               -- who compares sets its row to what the pass says
    reading       bigint      NOT NULL DEFAULT 0,     -- these are for the pass what they are for a snapshot (010)
    readings      bigint      NOT NULL DEFAULT 0,
    cursor        text[],
    top           text[],
    rows          bigint      NOT NULL DEFAULT 0,
    filenode      bigint      NOT NULL DEFAULT 0,
    -- Each change that a reading of the pass does not see has this xid or a higher one: nothing older was under way when it was asked for.
    horizon       bigint      NOT NULL DEFAULT pg_snapshot_xmin(pg_current_snapshot())::text::bigint,
    asked_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    asked_by      text        NOT NULL DEFAULT session_user,
    begun_at      timestamptz,
    ended_at      timestamptz,
    CHECK (whole OR NOT repair)
) WITH (fillfactor = 50);
CREATE UNIQUE INDEX IF NOT EXISTS capture_verify_one ON boxhaul.capture_verify (capture, tab) WHERE state IN ('waiting', 'reading', 'read');
CREATE INDEX IF NOT EXISTS capture_verify_of ON boxhaul.capture_verify (capture, tab, pass);

CREATE TABLE IF NOT EXISTS boxhaul.capture_verify_key (
    pass bigint NOT NULL REFERENCES boxhaul.capture_verify ON DELETE CASCADE,
    key  text[] NOT NULL,
    PRIMARY KEY (pass, key)
);

-- What a mark says of a pass (010: capture_mark_tables()).
CREATE OR REPLACE FUNCTION boxhaul.capture_verify_mark(e jsonb) RETURNS void
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    UPDATE boxhaul.capture_verify v
       SET state = e ->> 'state', reading = (e -> 'reading')::bigint, readings = greatest(v.readings, (e -> 'reading')::bigint),
           filenode = (e -> 'filenode')::bigint, rows = (e -> 'rows')::bigint,
           cursor = CASE WHEN e ? 'cursor' THEN boxhaul.capture_texts(e -> 'cursor') ELSE v.cursor END,
           top = CASE WHEN e ? 'top' THEN boxhaul.capture_texts(e -> 'top') ELSE v.top END,
           begun_at = coalesce(v.begun_at, clock_timestamp()),
           ended_at = CASE WHEN e ->> 'state' = 'complete' THEN coalesce(v.ended_at, clock_timestamp()) END
     WHERE v.pass = (e -> 'pass')::bigint AND v.state <> 'given_up'
$$;

-- Passes that nobody goes on with. NULL: over all tables.
CREATE OR REPLACE FUNCTION boxhaul.capture_verify_void(capture text, tab text) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    n bigint;
BEGIN
    UPDATE boxhaul.capture_verify v SET state = 'given_up', ended_at = clock_timestamp()
     WHERE v.capture = capture_verify_void.capture AND (capture_verify_void.tab IS NULL OR v.tab = capture_verify_void.tab)
       AND v.state IN ('waiting', 'reading', 'read');
    GET DIAGNOSTICS n = ROW_COUNT;
    RETURN n;
END
$$;

-- Begins a pass over a table, and returns its id. columns: those that are compared, in any order; NULL: all. whole: rows are sent as they are, for where the target
-- has other types, or a function makes its rows. keys: an array of keys, each an array of texts: the pass is about these alone, and says also which of them are no
-- rows. repair: who compares sets its rows to what the pass says. The daemon goes on with it whatever is killed, and takes the share of the time that chunks
-- have (chunk_share). One pass a table at a time.
CREATE OR REPLACE FUNCTION boxhaul.capture_verify(capture text, tab text, columns text[] DEFAULT NULL, whole boolean DEFAULT true, keys jsonb DEFAULT NULL,
                                                  repair boolean DEFAULT false) RETURNS uuid
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    c     boxhaul.capture;
    t     boxhaul.capture_table;
    types text[];
    n     bigint;
    bad   bigint;
    made  boxhaul.capture_verify;
BEGIN
    SELECT * INTO c FROM boxhaul.capture x WHERE x.name = capture_verify.capture FOR UPDATE;
    IF NOT FOUND THEN
        PERFORM boxhaul.capture_unknown(capture_verify.capture);
    END IF;
    SELECT * INTO t FROM boxhaul.capture_table x WHERE x.capture = c.name AND x.tab = capture_verify.tab;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'boxhaul: capture % has no table %', c.name, tab
            USING ERRCODE = 'no_data_found',
                  HINT = format('Its tables are %s.', ARRAY(SELECT x.tab FROM boxhaul.capture_table x WHERE x.capture = c.name ORDER BY x.tab));
    ELSIF c.state <> 'live' OR t.state NOT IN ('complete', 'unproved') OR t.inserts_only THEN
        RAISE EXCEPTION 'boxhaul: table % of capture % cannot be verified: %', t.tab, c.name,
                        CASE WHEN c.state <> 'live' THEN 'the capture is ' || CASE c.state WHEN 'none' THEN 'not started' WHEN 'gap' THEN 'in a gap' ELSE c.state END
                             WHEN t.inserts_only THEN 'its updates and deletes are not sent'
                             ELSE 'its rows are not all stored yet (' || t.state || ')' END
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = format('boxhaul capture status %s shows how far it is.', c.name);
    ELSIF EXISTS (SELECT FROM boxhaul.capture_verify v WHERE v.capture = c.name AND v.tab = t.tab AND v.state IN ('waiting', 'reading', 'read')) THEN
        RAISE EXCEPTION 'boxhaul: table % of capture % is being verified', t.tab, c.name
            USING ERRCODE = 'object_in_use', HINT = format('Wait for its end, or give it up: SELECT boxhaul.capture_verify_stop(%L, %L)', c.name, t.tab);
    ELSIF repair AND NOT whole THEN
        RAISE EXCEPTION 'boxhaul: a hash mends nothing' USING ERRCODE = 'invalid_parameter_value', HINT = 'A pass that repairs sends whole rows.';
    END IF;
    SELECT array_agg(format_type(a.atttypid, a.atttypmod) ORDER BY k.n) INTO types
      FROM unnest((boxhaul.capture_key_of(boxhaul.capture_relation(t.tab))).key) WITH ORDINALITY AS k (attnum, n)
      JOIN pg_attribute a ON a.attrelid = boxhaul.capture_relation(t.tab) AND a.attnum = k.attnum;
    IF types IS NULL THEN
        RAISE EXCEPTION 'boxhaul: table % has no key by which its rows could be told apart', t.tab
            USING ERRCODE = 'invalid_table_definition', HINT = 'Give it its primary key again.';
    END IF;
    INSERT INTO boxhaul.capture_verify (capture, tab, columns, whole, keys, repair)
    VALUES (c.name, t.tab, capture_verify.columns, capture_verify.whole, capture_verify.keys IS NOT NULL, capture_verify.repair) RETURNING * INTO made;
    IF made.keys THEN
        INSERT INTO boxhaul.capture_verify_key (pass, key)
        SELECT DISTINCT made.pass, ARRAY(SELECT x FROM jsonb_array_elements_text(k) WITH ORDINALITY AS u (x, at) ORDER BY u.at) FROM jsonb_array_elements(keys) k;
        GET DIAGNOSTICS n = ROW_COUNT;
        SELECT count(*) INTO bad FROM boxhaul.capture_verify_key k WHERE k.pass = made.pass AND cardinality(k.key) <> cardinality(types);
        IF n = 0 OR bad > 0 THEN
            RAISE EXCEPTION 'boxhaul: % of % keys have not the % columns of the key of %', bad, n, cardinality(types), t.tab
                USING ERRCODE = 'invalid_parameter_value', HINT = 'Give at least one key, with a value for each column.';
        END IF;
        -- What is no value of the key's types is found now, and not by the daemon, which would try again and again.
        EXECUTE (SELECT format('SELECT count((%s)) FROM boxhaul.capture_verify_key k WHERE k.pass = $1', string_agg(format('k.key[%s]::%s', i, x), ', ' ORDER BY i))
                   FROM unnest(types) WITH ORDINALITY AS y (x, i)) USING made.pass;
    END IF;
    -- Whoever leads takes it up with its next look, which is now, and leads on: its books are the same, but for this pass.
    PERFORM pg_notify('boxhaul', 'capture');
    RETURN made.id;
END
$$;

-- Gives up the passes that are under way; NULL: over all tables. What they have said stands in the stream. Returns how many.
CREATE OR REPLACE FUNCTION boxhaul.capture_verify_stop(capture text, tab text DEFAULT NULL) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    n bigint;
BEGIN
    PERFORM FROM boxhaul.capture x WHERE x.name = capture_verify_stop.capture FOR UPDATE;
    IF NOT FOUND THEN
        PERFORM boxhaul.capture_unknown(capture_verify_stop.capture);
    END IF;
    n := boxhaul.capture_verify_void(capture, tab);
    IF n > 0 THEN
        UPDATE boxhaul.capture x SET epoch = x.epoch + 1 WHERE x.name = capture_verify_stop.capture;
        PERFORM pg_notify('boxhaul', 'capture');
    END IF;
    RETURN n;
END
$$;

-- A sink has met the end of this pass, and the table is there what it is here. A table whose contents had changed outside the log (`unproved`, or other
-- files that nobody has seen yet) is complete then, if its files are still those that the pass has read. True: it was one. Called by `boxhaul verify`, which knows both databases.
CREATE OR REPLACE FUNCTION boxhaul.capture_verify_proved(id uuid) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    UPDATE boxhaul.capture_table t SET state = 'complete', filenode = v.filenode, reason = NULL, since = clock_timestamp()
      FROM boxhaul.capture_verify v
     WHERE v.id = capture_verify_proved.id AND NOT v.keys AND v.state = 'complete' AND t.capture = v.capture AND t.tab = v.tab
       AND (t.state = 'unproved' OR t.state = 'complete' AND t.filenode <> v.filenode) AND v.filenode = boxhaul.capture_filenode(boxhaul.capture_relation(t.tab));
    RETURN FOUND;
END
$$;

-- How far the passes are: of each table the last ones, newest first.
CREATE OR REPLACE VIEW boxhaul.capture_verify_progress AS
SELECT v.capture, v.tab, v.id, v.state, v.whole, v.keys, v.repair, v.rows,
       CASE WHEN v.keys THEN (SELECT count(*) FROM boxhaul.capture_verify_key k WHERE k.pass = v.pass) ELSE t.rows_estimate END AS rows_estimate,
       v.asked_at, v.asked_by, v.begun_at, v.ended_at, v.pass
  FROM boxhaul.capture_verify v LEFT JOIN boxhaul.capture_table t ON t.capture = v.capture AND t.tab = v.tab;

-- --- the target: what was found ---

-- One row a pass over a table of a sink.
CREATE TABLE IF NOT EXISTS boxhaul.verify_result (
    pass         uuid        NOT NULL,
    subscription text        NOT NULL,
    tab          text        NOT NULL,                -- of the source
    keys         boolean     NOT NULL,                -- about some keys alone
    repair       boolean     NOT NULL,
    reading      bigint      NOT NULL,
    rows         bigint      NOT NULL DEFAULT 0,      -- that were compared
    ranges       bigint      NOT NULL DEFAULT 0,      -- messages that they came with
    different    bigint      NOT NULL DEFAULT 0,      -- of them that were not as the source has them, or not there; and surplus
    repaired     bigint      NOT NULL DEFAULT 0,
    why          text,                                -- what could not be compared; then the pass proves nothing
    making       text,                                -- how rows were made here when it began: verify_making()
    began_xid    bigint      NOT NULL,                -- what has this xid or a higher one was written since
    -- What has a lower one is as the pass has met it, unless it is gone: whoever had it had ended. (A session that was open when the pass began may have a lower xid
    -- than began_xid, and write behind the pass.)
    horizon      bigint      NOT NULL DEFAULT pg_snapshot_xmin(pg_current_snapshot())::text::bigint,
    began_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at     timestamptz,                         -- what it says holds for each row at some time between
    PRIMARY KEY (subscription, tab, pass)
) WITH (fillfactor = 50);

-- What differs, by the key that the source has. proved_at: a later pass has found it as it should be.
CREATE TABLE IF NOT EXISTS boxhaul.verify_difference (
    id           bigint      NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subscription text        NOT NULL,
    tab          text        NOT NULL,
    pass         uuid        NOT NULL,
    kind         text        NOT NULL CHECK (kind IN ('changed', 'missing', 'surplus')),
    key          text[]      NOT NULL,
    found_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    repaired_at  timestamptz,
    proved_at    timestamptz
);
CREATE INDEX IF NOT EXISTS verify_difference_open ON boxhaul.verify_difference (subscription, tab, key) WHERE proved_at IS NULL;
CREATE INDEX IF NOT EXISTS verify_difference_of ON boxhaul.verify_difference (pass, id);

-- The rows that the pass under way has met, by the key as it is written here. It goes with the next pass.
CREATE TABLE IF NOT EXISTS boxhaul.verify_mark (
    n            bigint NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,  -- tools that copy tables ask for a key
    subscription text   NOT NULL,
    tab          text   NOT NULL,
    reading      bigint NOT NULL,
    key          text[] NOT NULL
);
CREATE INDEX IF NOT EXISTS verify_mark_of ON boxhaul.verify_mark (subscription, tab);

-- What was found in a table goes with the table of the sink: of one that is not applied any more no pass could say that it is as it should be, and one that is defined
-- again begins anew. (No foreign key, which would be asked for each row that is marked, and deletes nothing in the session of a sink, where triggers do not fire.)
CREATE OR REPLACE FUNCTION boxhaul.verify_forget() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    DELETE FROM boxhaul.verify_mark m WHERE m.subscription = OLD.subscription AND m.tab = OLD.source;
    DELETE FROM boxhaul.verify_difference d WHERE d.subscription = OLD.subscription AND d.tab = OLD.source;
    DELETE FROM boxhaul.verify_result r WHERE r.subscription = OLD.subscription AND r.tab = OLD.source;
    RETURN NULL;
END
$$;

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = 'boxhaul.sink_table'::regclass AND tgname = 'verify_forget') THEN
        CREATE TRIGGER verify_forget AFTER DELETE ON boxhaul.sink_table FOR EACH ROW EXECUTE FUNCTION boxhaul.verify_forget();
        ALTER TABLE boxhaul.sink_table ENABLE ALWAYS TRIGGER verify_forget;
    END IF;
END
$$;

-- How rows of the source become rows here: mapping, function and columns, as one hash. What a pass has proved was made in this way; made in another one, the same rows may
-- be others. (What the function asks for itself, tables or other functions, nobody knows.)
CREATE OR REPLACE FUNCTION boxhaul.verify_making(subscription text, tab text) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT boxhaul.row_hash(ARRAY[t.target, t.mapping::text, t.source_columns::text, t.target_columns::text,
               (SELECT pg_get_functiondef(p.oid) FROM pg_proc p JOIN pg_namespace s ON s.oid = p.pronamespace
                 WHERE t.function <> '' AND ARRAY[s.nspname::text, p.proname::text] = parse_ident(t.function) AND p.pronargs = 1
                   AND p.proargtypes[0] = 'jsonb'::regtype AND p.prokind = 'f'),
               (SELECT string_agg(concat_ws(' ', a.attname, format_type(a.atttypid, a.atttypmod), a.attcollation, a.attgenerated), ', ' ORDER BY a.attnum)
                  FROM pg_attribute a WHERE a.attrelid = boxhaul.capture_relation(t.target) AND a.attnum > 0 AND NOT a.attisdropped)])
      FROM boxhaul.sink_table t WHERE t.subscription = verify_making.subscription AND t.source = verify_making.tab
$$;

-- The text that the type of a value writes, as an expression; NULL for NULL. Without the collation of the value: it may take two texts for the same.
CREATE OR REPLACE FUNCTION boxhaul.verify_text(expression text) RETURNS text
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT pg_catalog.format('CASE WHEN pg_catalog.num_nulls(%1$s) = 0 THEN pg_catalog.format(''%%s'', %1$s) COLLATE pg_catalog."default" END', expression)
$$;

-- A text of the source as a value of a column here, as an assignment makes it: with its length and scale.
CREATE OR REPLACE FUNCTION boxhaul.verify_value(target regclass, name text, expression text) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT format('(%s)::%s', expression, format_type(a.atttypid, a.atttypmod))
      FROM pg_attribute a WHERE a.attrelid = target AND a.attname = name AND NOT a.attisdropped
$$;

-- Compares rows that a pass has said with those here, as hashes or whole. Returns of each: its key at the source, its key here (NULL: there is no such row), what
-- is the matter (NULL: nothing), and the whole row of the source, if it has one.
CREATE OR REPLACE FUNCTION boxhaul.verify_compare(subscription text, tab text, key_names text[], columns text[], said jsonb)
    RETURNS TABLE (key text[], ours text[], kind text, line jsonb)
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    t       record;
    at      regclass;
    same    text;     -- the row here is the one of the source's key
    own     text;     -- its key, as texts
    hashed  text;
    first   text;
    g       record;
    wrong   text;
BEGIN
    SELECT * INTO STRICT t FROM boxhaul.sink_table x WHERE x.subscription = verify_compare.subscription AND x.source = verify_compare.tab;
    at := t.target::regclass;
    SELECT string_agg(boxhaul.capture_equals(at, k.ours, boxhaul.verify_value(at, k.ours, format('m.k ->> %s', k.n - 1))), ' AND ' ORDER BY k.n),
           format('ARRAY[%s]', string_agg(boxhaul.verify_text(format('t.%I', k.ours)), ', ' ORDER BY k.n)), min(format('t.%I', k.ours)) FILTER (WHERE k.n = 1)
      INTO same, own, first
      FROM (SELECT n, t.target_columns[array_position(t.source_columns, name)] AS ours FROM unnest(key_names) WITH ORDINALITY AS x (name, n)) k;
    IF EXISTS (SELECT FROM jsonb_array_elements(said) s WHERE jsonb_typeof(s -> 1) = 'string') THEN
        SELECT string_agg(c.name, ', ') INTO wrong FROM unnest(columns) c (name) WHERE c.name <> ALL (t.source_columns);
        IF t.function <> '' OR wrong IS NOT NULL THEN
            RAISE EXCEPTION 'boxhaul: a hash of the source says nothing here: %',
                            CASE WHEN t.function <> '' THEN 'rows are made by ' || t.function ELSE 'there is nothing for ' || wrong END
                USING ERRCODE = 'object_not_in_prerequisite_state';
        END IF;
        SELECT format('boxhaul.row_hash(ARRAY[%s])', string_agg(boxhaul.verify_text(format('t.%I', t.target_columns[array_position(t.source_columns, c.name)])), ', ' ORDER BY c.n))
          INTO hashed FROM unnest(columns) WITH ORDINALITY AS c (name, n);
        RETURN QUERY EXECUTE format(
            'SELECT ARRAY(SELECT x FROM jsonb_array_elements_text(m.k) WITH ORDINALITY u (x, n) ORDER BY n), CASE WHEN %1$s IS NOT NULL THEN %2$s END,
                    CASE WHEN %1$s IS NULL THEN ''missing'' WHEN %3$s IS DISTINCT FROM m.h THEN ''changed'' END, NULL::jsonb
               FROM (SELECT s -> 0 AS k, s ->> 1 AS h FROM jsonb_array_elements($1) s WHERE jsonb_typeof(s -> 1) = ''string'') m LEFT JOIN %4$s t ON %5$s',
            first, own, hashed, t.target, same) USING said;
    END IF;
    -- Whole rows, as the sink would write them: by the mapping, and by the function. A row that the function does not want is to be none here. They are taken
    -- apart by the columns that they have.
    FOR g IN
        SELECT w.names, jsonb_agg(jsonb_build_array(w.k, w.made, w.line) ORDER BY w.n) AS rows
          FROM (SELECT s.x -> 0 AS k, l.line, r.made, s.n, (SELECT array_agg(o ORDER BY o) FROM jsonb_object_keys(coalesce(r.made, '{}')) o) AS names
                  FROM jsonb_array_elements(said) WITH ORDINALITY AS s (x, n),
                       LATERAL (SELECT nullif(s.x -> 1, 'null') AS line) l,
                       LATERAL (SELECT CASE WHEN l.line IS NOT NULL
                                            THEN boxhaul.sink_row_as_target(verify_compare.subscription, verify_compare.tab, l.line) END AS made) r
                 WHERE jsonb_typeof(s.x -> 1) <> 'string') w
         GROUP BY w.names
    LOOP
        SELECT string_agg(format('%s IS NOT DISTINCT FROM %s', boxhaul.verify_text(format('t.%I', c.name)),
                                 boxhaul.verify_text(boxhaul.verify_value(at, c.name, format('m.made ->> %L', c.name)))), ' AND ')
          INTO hashed FROM unnest(g.names) c (name);
        RETURN QUERY EXECUTE format(
            'SELECT ARRAY(SELECT x FROM jsonb_array_elements_text(m.k) WITH ORDINALITY u (x, n) ORDER BY n), CASE WHEN %1$s IS NOT NULL THEN %2$s END,
                    CASE WHEN m.made IS NULL THEN CASE WHEN %1$s IS NOT NULL THEN ''surplus'' END WHEN %1$s IS NULL THEN ''missing'' WHEN NOT (%3$s) THEN ''changed'' END, m.line
               FROM (SELECT s -> 0 AS k, nullif(s -> 1, ''null'') AS made, nullif(s -> 2, ''null'') AS line FROM jsonb_array_elements($1) s) m LEFT JOIN %4$s t ON %5$s',
            first, own, coalesce(hashed, 'true'), t.target, same) USING g.rows;
    END LOOP;
END
$$;

-- The rows of a table that a pass has not met, though they were here when it began and nobody has written them since: the source has no such rows. What was
-- written since tells itself by its xmin: it came with the stream, and the stream is what the source did. (Somebody who adds a row by hand while a pass is under way is found
-- by the next one.) No range is compared: order and equality of keys may be others here than there.
--
-- sink_apply() allows nested loops alone. Here one would read every mark for every row, and never end: nobody has counted the marks yet, so the planner
-- takes them for few. It is to join them as a whole.
CREATE OR REPLACE FUNCTION boxhaul.verify_surplus(subscription text, tab text, pass uuid, reading bigint) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on
    SET enable_nestloop = off SET enable_seqscan = on SET enable_hashjoin = on SET enable_mergejoin = on SET enable_bitmapscan = on AS $$
DECLARE
    t     record;
    began bigint := (SELECT r.began_xid FROM boxhaul.verify_result r
                      WHERE r.subscription = verify_surplus.subscription AND r.tab = verify_surplus.tab AND r.pass = verify_surplus.pass);
    -- Own subtransactions have higher xids than the transaction: they are few.
    xid_limit bigint := pg_current_xact_id()::text::bigint + 1048576;
    own   text;
    n     bigint;
BEGIN
    SELECT * INTO STRICT t FROM boxhaul.sink_table x WHERE x.subscription = verify_surplus.subscription AND x.source = verify_surplus.tab;
    SELECT format('ARRAY[%s]', string_agg(boxhaul.verify_text(format('t.%I', k.name)), ', ' ORDER BY k.n)) INTO own
      FROM unnest(t.target_key) WITH ORDINALITY AS k (name, n);
    EXECUTE format(
        'INSERT INTO boxhaul.verify_difference (subscription, tab, pass, kind, key)
         SELECT $1, $2, $3, ''surplus'', x.key
           FROM (SELECT %s AS key FROM %s t WHERE (t.xmin::text::bigint - $5 %% 4294967296 + 4294967296) %% 4294967296 >= $6 - $5) x
          WHERE NOT EXISTS (SELECT FROM boxhaul.verify_mark m WHERE m.subscription = $1 AND m.tab = $2 AND m.reading = $4 AND m.key = x.key)',
        own, t.target) USING subscription, tab, pass, reading, began, xid_limit;
    GET DIAGNOSTICS n = ROW_COUNT;
    RETURN n;
END
$$;

-- What a pass says of rows, at the place in the stream where that holds.
CREATE OR REPLACE FUNCTION boxhaul.verify_rows(subscription text, said jsonb) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    table_  text    := said ->> 'table';
    name    uuid    := (said ->> 'pass')::uuid;
    repairs boolean := (said -> 'repair')::boolean;
    names   text[]  := ARRAY(SELECT jsonb_array_elements_text(said -> 'key'));
    number  bigint  := (said -> 'reading')::bigint;
    r       record;
    n       bigint  := 0;
    bad     bigint  := 0;
    mended  bigint  := 0;
    found   jsonb[] := '{}';    -- what differs
    t       boxhaul.sink_table;
    ours    jsonb;
    kept    text;               -- the first one that could not be set right, and why
    err     text;
    detail_ text;
BEGIN
    FOR r IN SELECT * FROM boxhaul.verify_compare(subscription, table_, names, ARRAY(SELECT jsonb_array_elements_text(said -> 'columns')), said -> 'rows') LOOP
        n := n + 1;
        IF r.ours IS NOT NULL AND NOT (said -> 'keys')::boolean THEN
            INSERT INTO boxhaul.verify_mark (subscription, tab, reading, key) VALUES (verify_rows.subscription, table_, number, r.ours);
        END IF;
        CONTINUE WHEN r.kind IS NULL;
        bad := bad + 1;
        IF NOT EXISTS (SELECT FROM boxhaul.verify_difference d
                        WHERE d.subscription = verify_rows.subscription AND d.tab = table_ AND d.key = r.key AND d.proved_at IS NULL AND d.kind = r.kind AND d.pass = name) THEN
            INSERT INTO boxhaul.verify_difference (subscription, tab, pass, kind, key) VALUES (verify_rows.subscription, table_, name, r.kind, r.key);
        END IF;
        CONTINUE WHEN NOT repairs;
        found := found || to_jsonb(r);
    END LOOP;
    -- What differed once, and is as it should be now. Before anything is set right: what makes room takes rows that are known to differ, and would take this one.
    IF EXISTS (SELECT FROM boxhaul.verify_difference d WHERE d.subscription = verify_rows.subscription AND d.tab = table_ AND d.proved_at IS NULL AND d.pass <> name) THEN
        UPDATE boxhaul.verify_difference d SET proved_at = clock_timestamp()
         WHERE d.subscription = verify_rows.subscription AND d.tab = table_ AND d.proved_at IS NULL AND d.pass <> name
           AND d.key IN (SELECT ARRAY(SELECT jsonb_array_elements_text(s -> 0)) FROM jsonb_array_elements(said -> 'rows') s)
           AND NOT EXISTS (SELECT FROM boxhaul.verify_difference e
                            WHERE e.subscription = d.subscription AND e.tab = d.tab AND e.key = d.key AND e.pass = name AND e.proved_at IS NULL);
    END IF;
    SELECT * INTO STRICT t FROM boxhaul.sink_table x WHERE x.subscription = verify_rows.subscription AND x.source = table_;
    FOR r IN SELECT x.* FROM unnest(found) f, jsonb_to_record(f) AS x (key text[], kind text, line jsonb) LOOP
        -- As the sink applies a row that was read, or deleted. One that cannot be set right hinders no other.
        BEGIN
            IF r.kind = 'surplus' THEN
                PERFORM boxhaul.sink_rows(t, 'take', ARRAY[(SELECT jsonb_object_agg(k.name, k.value) FROM unnest(names, r.key) AS k (name, value))]);
            ELSE
                ours := CASE t.function WHEN '' THEN r.line ELSE boxhaul.sink_translate(t, r.line) END;
                PERFORM boxhaul.sink_make_room(t, ours, ARRAY[ours], true);
                PERFORM boxhaul.sink_rows(t, 'put', ARRAY[r.line]);
            END IF;
            UPDATE boxhaul.verify_difference d SET repaired_at = clock_timestamp()
             WHERE d.subscription = verify_rows.subscription AND d.tab = table_ AND d.key = r.key AND d.repaired_at IS NULL;
            mended := mended + 1;
        EXCEPTION WHEN OTHERS THEN
            GET STACKED DIAGNOSTICS err = MESSAGE_TEXT, detail_ = PG_EXCEPTION_DETAIL;
            kept := coalesce(kept, format('row %s: %s%s', to_jsonb(r.key), err, ' (' || nullif(detail_, '') || ')')
                                   || CASE WHEN SQLSTATE LIKE '23%' THEN ': change the constraint, or the rows here that are in its way' ELSE '' END);
        END;
    END LOOP;
    UPDATE boxhaul.verify_result v
       SET rows = v.rows + n, ranges = v.ranges + 1, different = v.different + bad, repaired = v.repaired + mended, reading = number, why = coalesce(v.why, kept)
     WHERE v.subscription = verify_rows.subscription AND v.tab = table_ AND v.pass = name;
END
$$;

-- A pass over the whole table has ended, and could compare: what earlier ones have found, and it has not, is as it should be. That is also a row that is on neither
-- side any more, of which no pass says anything.
CREATE OR REPLACE FUNCTION boxhaul.verify_close(subscription text, tab text, pass uuid) RETURNS void
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    UPDATE boxhaul.verify_difference d SET proved_at = clock_timestamp()
      FROM boxhaul.verify_result v
     WHERE v.subscription = verify_close.subscription AND v.tab = verify_close.tab AND v.pass = verify_close.pass AND NOT v.keys AND v.why IS NULL
       AND d.subscription = v.subscription AND d.tab = v.tab AND d.proved_at IS NULL AND d.pass <> v.pass AND d.found_at < v.began_at
       AND NOT EXISTS (SELECT FROM boxhaul.verify_difference e
                        WHERE e.subscription = d.subscription AND e.tab = d.tab AND e.key = d.key AND e.pass = v.pass AND e.proved_at IS NULL)
$$;

-- How well each table of a sink is proved: by the last pass over all of it that has ended. open: differences that nobody has proved to be gone; why: it is not; NULL: it
-- is equal, as far as that pass goes.
CREATE OR REPLACE FUNCTION boxhaul.verify_standing(subscription text)
    RETURNS TABLE (tab text, pass uuid, horizon bigint, began_at timestamptz, ended_at timestamptz, open bigint, why text)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT t.source, r.pass, r.horizon, r.began_at, r.ended_at, d.open,
           CASE WHEN d.open > 0 THEN format(CASE WHEN d.open = 1 THEN '%s difference is open' ELSE '%s differences are open' END, d.open)
                WHEN r.pass IS NULL THEN 'no verify pass over it has ended'
                WHEN r.why IS NOT NULL THEN 'its last verify pass proves nothing: ' || r.why
                WHEN r.making IS DISTINCT FROM boxhaul.verify_making(t.subscription, t.source)
                THEN 'since its last verify pass its columns, its mapping or its function were changed in the target' END
      FROM boxhaul.sink_table t
      LEFT JOIN LATERAL (SELECT * FROM boxhaul.verify_result v
                          WHERE v.subscription = t.subscription AND v.tab = t.source AND NOT v.keys AND v.ended_at IS NOT NULL
                          ORDER BY v.ended_at DESC LIMIT 1) r ON true,
           LATERAL (SELECT count(*) AS open FROM boxhaul.verify_difference v
                     WHERE v.subscription = t.subscription AND v.tab = t.source AND v.proved_at IS NULL) d
     WHERE t.subscription = verify_standing.subscription
$$;

-- The same of all of them, for the daemon that looks every few seconds. different: rows that differ, counted up to 10,000 (then there are so many at least), and the first table
-- that has some (not of one that is not applied any more: no pass could prove it); unproved: tables that no pass proves, or that are not complete; proved_us: how long ago the
-- passes began that prove them, the oldest of them; NULL: not all are proved. Whether a table has differences is asked of each one: what was not counted is not proved either.
CREATE OR REPLACE FUNCTION boxhaul.verify_figures(subscription text)
    RETURNS TABLE (different bigint, different_tab text, unproved bigint, proved_us bigint)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    WITH open AS MATERIALIZED (
        SELECT DISTINCT ON (d.tab, d.key) d.tab FROM boxhaul.verify_difference d
         WHERE d.subscription = verify_figures.subscription AND d.proved_at IS NULL ORDER BY d.tab, d.key LIMIT 10000),
    proof AS (
        SELECT CASE WHEN t.state = 'complete' AND r.why IS NULL AND r.making IS NOT DISTINCT FROM boxhaul.verify_making(t.subscription, t.source)
                         AND NOT EXISTS (SELECT FROM boxhaul.verify_difference d WHERE d.subscription = t.subscription AND d.tab = t.source AND d.proved_at IS NULL)
                    THEN r.began_at END AS began
          FROM boxhaul.sink_table t
          LEFT JOIN LATERAL (SELECT v.began_at, v.why, v.making FROM boxhaul.verify_result v
                              WHERE v.subscription = t.subscription AND v.tab = t.source AND NOT v.keys AND v.ended_at IS NOT NULL
                              ORDER BY v.ended_at DESC LIMIT 1) r ON true
         WHERE t.subscription = verify_figures.subscription)
    SELECT (SELECT count(*) FROM open), (SELECT min(o.tab) FROM open o), (SELECT count(*) FROM proof p WHERE p.began IS NULL),
           (SELECT (extract(epoch FROM clock_timestamp() - min(p.began)) * 1000000)::bigint FROM proof p HAVING count(*) = count(p.began))
$$;

-- What a pass says, for the sink that comes to it (011): in the sink's transaction, with all applied that stands before it in the stream, and nothing behind. It
-- never stops the sink: what cannot be compared is put down as such. The settings are those under which the source has made its texts.
CREATE OR REPLACE FUNCTION boxhaul.sink_verify(subscription text, payload jsonb) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on SET datestyle = 'ISO'
    SET intervalstyle = 'iso_8601' SET extra_float_digits = 3 SET timezone = 'UTC' SET bytea_output = 'hex' SET lc_monetary = 'C' SET jit = off AS $$
DECLARE
    t      record;
    what   text := payload ->> 'what';
    name   uuid := (payload ->> 'pass')::uuid;
    failed text;
BEGIN
    SELECT x.state, x.source, x.take INTO t FROM boxhaul.sink_table x WHERE x.subscription = sink_verify.subscription AND x.source = payload ->> 'table';
    IF NOT FOUND THEN
        RETURN;
    END IF;
    -- Where the source reads no rows (snapshot = "none") a table that nobody has changed was never told of.
    IF what = 'begin' AND t.take IS NULL AND payload ? 'shape' THEN
        BEGIN
            PERFORM boxhaul.sink_prepare(sink_verify.subscription, t.source, payload -> 'shape');
        EXCEPTION WHEN OTHERS THEN
            failed := SQLERRM;
        END;
    END IF;
    IF what = 'begin' OR NOT EXISTS (SELECT FROM boxhaul.verify_result v WHERE v.subscription = sink_verify.subscription AND v.tab = t.source AND v.pass = name) THEN
        DELETE FROM boxhaul.verify_mark m WHERE m.subscription = sink_verify.subscription AND m.tab = t.source;
        INSERT INTO boxhaul.verify_result (pass, subscription, tab, keys, repair, reading, began_xid, making, why)
        VALUES (name, sink_verify.subscription, t.source, (payload -> 'keys')::boolean, (payload -> 'repair')::boolean, (payload -> 'reading')::bigint,
                pg_current_xact_id()::text::bigint, boxhaul.verify_making(sink_verify.subscription, t.source),
                CASE WHEN what <> 'begin' THEN 'its beginning was not applied here' WHEN failed IS NOT NULL THEN failed
                     WHEN t.state <> 'complete' THEN 'the table is not complete here yet' END)
        ON CONFLICT DO NOTHING;
    END IF;
    IF what = 'begin' THEN
        RETURN;
    ELSIF t.state <> 'complete' THEN
        -- What it says here is compared with nothing: it proves nothing, however it ends.
        UPDATE boxhaul.verify_result v SET why = 'the table was not complete here while the pass was under way'
         WHERE v.subscription = sink_verify.subscription AND v.tab = t.source AND v.pass = name AND v.why IS NULL;
        RETURN;
    END IF;
    BEGIN
        IF what = 'rows' THEN
            PERFORM boxhaul.verify_rows(subscription, payload);
        ELSE
            UPDATE boxhaul.verify_result v SET why = 'its columns, its mapping or its function were changed while the pass was under way'
             WHERE v.subscription = sink_verify.subscription AND v.tab = t.source AND v.pass = name AND v.why IS NULL
               AND v.making IS DISTINCT FROM boxhaul.verify_making(v.subscription, v.tab);
            UPDATE boxhaul.verify_result v
               SET ended_at = clock_timestamp(), reading = (payload -> 'reading')::bigint,
                   different = v.different + CASE WHEN v.keys OR v.why IS NOT NULL THEN 0
                                                  ELSE boxhaul.verify_surplus(sink_verify.subscription, t.source, name, (payload -> 'reading')::bigint) END
             WHERE v.subscription = sink_verify.subscription AND v.tab = t.source AND v.pass = name;
            DELETE FROM boxhaul.verify_mark m WHERE m.subscription = sink_verify.subscription AND m.tab = t.source;
            PERFORM boxhaul.verify_close(sink_verify.subscription, t.source, name);
        END IF;
    EXCEPTION WHEN OTHERS THEN
        failed := SQLERRM;
    END;
    IF failed IS NOT NULL THEN
        UPDATE boxhaul.verify_result v SET why = coalesce(v.why, failed), ended_at = CASE WHEN what = 'end' THEN clock_timestamp() ELSE v.ended_at END
         WHERE v.subscription = sink_verify.subscription AND v.tab = t.source AND v.pass = name;
    END IF;
END
$$;

-- How the columns of a table of a sink are to be compared: those of the source that go into it; hashes: each is one here as there (`shape`: the columns of
-- the source, [{"name", "type", "typmod", "collation"}]). unknown: columns that would go into it, of which nothing has told the sink: one that was added, with a
-- default perhaps, says so with the next change alone. unsent: columns that are generated at the source, so that nothing ever tells of them, and plain ones here, which would
-- stay empty. Of a table of which nothing was told at all the pass tells, and whole rows are compared. No row: the sink has no such table.
DROP FUNCTION IF EXISTS boxhaul.verify_way(text, text, jsonb);
CREATE FUNCTION boxhaul.verify_way(subscription text, tab text, shape jsonb, OUT columns text[], OUT hashes boolean, OUT state text, OUT unknown text, OUT unsent text)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    SELECT CASE WHEN t.function = '' AND t.take IS NOT NULL
                THEN ARRAY(SELECT c.name FROM unnest(t.source_columns) WITH ORDINALITY AS c (name, n)
                            WHERE c.name IN (SELECT s ->> 'name' FROM jsonb_array_elements(verify_way.shape) s) ORDER BY c.n) END,
           t.function = '' AND t.take IS NOT NULL AND NOT EXISTS (
               SELECT FROM unnest(t.source_columns, t.target_columns) AS c (theirs, ours)
                 LEFT JOIN jsonb_array_elements(verify_way.shape) s ON s ->> 'name' = c.theirs
                 LEFT JOIN pg_attribute a ON a.attrelid = boxhaul.capture_relation(t.target) AND a.attname = c.ours AND NOT a.attisdropped
                WHERE (format_type(a.atttypid, a.atttypmod), coalesce((SELECT o.collname::text FROM pg_collation o WHERE o.oid = a.attcollation), ''))
                      IS DISTINCT FROM (s ->> 'type', s ->> 'collation')),
           t.state,
           u.unknown, u.unsent
      INTO columns, hashes, state, unknown, unsent
      FROM boxhaul.sink_table t
      LEFT JOIN LATERAL (
               SELECT string_agg(s ->> 'name', ', ') FILTER (WHERE NOT coalesce((s -> 'unsent')::boolean, false)) AS unknown,
                      -- What is generated there may be generated here; or be none here, or filled from another column.
                      string_agg(s ->> 'name', ', ') FILTER (WHERE (s -> 'unsent')::boolean AND EXISTS (
                          SELECT FROM pg_attribute a WHERE a.attrelid = boxhaul.capture_relation(t.target) AND a.attname = s ->> 'name' AND NOT a.attisdropped
                             AND a.attgenerated = '' AND a.attname::text <> ALL (t.target_columns))) AS unsent
                 FROM jsonb_array_elements(verify_way.shape) s WHERE s ->> 'name' <> ALL (t.source_columns)) u
             ON t.function = '' AND t.take IS NOT NULL AND '*' = ANY (t.mapping)
     WHERE t.subscription = verify_way.subscription AND t.source = verify_way.tab;
END
$$;

-- The columns of a table that a capture sends, for verify_way(); and those that are generated and not sent ("unsent"). Types of the own making (oid above 16383) are none that another database has by the same name.
CREATE OR REPLACE FUNCTION boxhaul.capture_verify_shape(capture text, tab text) RETURNS jsonb
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT jsonb_agg(jsonb_build_object('name', a.attname, 'type', CASE WHEN a.atttypid < 16384 THEN format_type(a.atttypid, a.atttypmod) END,
                                        'collation', coalesce((SELECT o.collname::text FROM pg_collation o WHERE o.oid = a.attcollation), ''),
                                        'unsent', a.attname <> ALL (s.columns)) ORDER BY a.attnum)
      FROM boxhaul.capture_shape(capture_verify_shape.capture, capture_verify_shape.tab) s
      JOIN pg_attribute a ON a.attrelid = s.relation AND (a.attname = ANY (s.columns) OR a.attgenerated <> '') AND NOT a.attisdropped
$$;

-- Keys of another database, as its types write them, and of them those that the types of the key of this table can read, and hold: a cast cuts off what is too long,
-- and it would be the key of another row. No row here can have one of the others: unreadable, as a pass says such (verify_compare()): [[key, null], ...].
CREATE OR REPLACE FUNCTION boxhaul.verify_readable(tab text, keys jsonb, OUT readable jsonb, OUT unreadable jsonb)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    read text := (SELECT format('SELECT bool_and((%s) AND num_nulls(%s) >= 0) FROM jsonb_array_elements($1) k (k)',
                                string_agg(CASE WHEN a.atttypmod < 0 OR a.atttypid >= 16384 THEN 'true'
                                                ELSE format('%1$s::%2$s = %1$s::%3$s', v.v, format_type(a.atttypid, a.atttypmod), format_type(a.atttypid, -1)) END,
                                           ' AND ' ORDER BY k.n),
                                string_agg(format('%s::%s', v.v, format_type(a.atttypid, a.atttypmod)), ', ' ORDER BY k.n))
                    FROM unnest((boxhaul.capture_key_of(boxhaul.capture_relation(verify_readable.tab))).key) WITH ORDINALITY AS k (attnum, n)
                    JOIN pg_attribute a ON a.attrelid = boxhaul.capture_relation(verify_readable.tab) AND a.attnum = k.attnum,
                         LATERAL (SELECT format('(k.k ->> %s)', k.n - 1) AS v) v);
    fits boolean;
    one  jsonb;
BEGIN
    unreadable := '[]';
    BEGIN
        EXECUTE read INTO fits USING keys;
        IF fits IS NOT FALSE THEN
            readable := keys;
            RETURN;
        END IF;
    EXCEPTION WHEN data_exception OR integrity_constraint_violation THEN
        NULL;
    END;
    readable := '[]';
    FOR one IN SELECT jsonb_array_elements(keys) LOOP
        BEGIN
            EXECUTE read INTO fits USING jsonb_build_array(one);
        EXCEPTION WHEN data_exception OR integrity_constraint_violation THEN
            fits := false;
        END;
        IF fits THEN
            readable := readable || jsonb_build_array(one);
        ELSE
            unreadable := unreadable || jsonb_build_array(jsonb_build_array(one, NULL));
        END IF;
    END LOOP;
END
$$;

-- --- grants ---

REVOKE ALL ON ALL TABLES IN SCHEMA boxhaul FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA boxhaul FROM PUBLIC;

GRANT SELECT ON boxhaul.capture_verify, boxhaul.capture_verify_key, boxhaul.capture_verify_progress TO boxhaul_capture, boxhaul_relay, boxhaul_monitor;
GRANT EXECUTE ON FUNCTION boxhaul.row_hash(text[]) TO boxhaul_capture;
GRANT EXECUTE ON FUNCTION boxhaul.capture_verify(text, text, text[], boolean, jsonb, boolean), boxhaul.capture_verify_stop(text, text) TO boxhaul_relay;
GRANT EXECUTE ON FUNCTION boxhaul.capture_verify_proved(uuid) TO boxhaul_relay;
GRANT EXECUTE ON FUNCTION boxhaul.capture_verify_shape(text, text) TO boxhaul_relay, boxhaul_monitor;
GRANT EXECUTE ON FUNCTION boxhaul.verify_readable(text, jsonb) TO boxhaul_relay;

GRANT SELECT, INSERT, UPDATE, DELETE ON boxhaul.verify_result, boxhaul.verify_difference, boxhaul.verify_mark TO boxhaul_sink;
GRANT EXECUTE ON FUNCTION boxhaul.row_hash(text[]), boxhaul.sink_verify(text, jsonb), boxhaul.verify_rows(text, jsonb),
    boxhaul.verify_surplus(text, text, uuid, bigint), boxhaul.verify_compare(text, text, text[], text[], jsonb), boxhaul.verify_value(regclass, text, text),
    boxhaul.verify_text(text) TO boxhaul_sink;
GRANT SELECT ON boxhaul.verify_result, boxhaul.verify_difference TO boxhaul_relay, boxhaul_monitor;
GRANT EXECUTE ON FUNCTION boxhaul.verify_close(text, text, uuid) TO boxhaul_sink;
GRANT EXECUTE ON FUNCTION boxhaul.verify_making(text, text) TO boxhaul_sink, boxhaul_relay, boxhaul_monitor;
GRANT EXECUTE ON FUNCTION boxhaul.row_hash(text[]) TO boxhaul_relay, boxhaul_monitor;
GRANT EXECUTE ON FUNCTION boxhaul.verify_standing(text), boxhaul.verify_figures(text) TO boxhaul_relay, boxhaul_monitor;
GRANT EXECUTE ON FUNCTION boxhaul.verify_way(text, text, jsonb) TO boxhaul_relay, boxhaul_monitor;

INSERT INTO boxhaul.schema_version (version, name) VALUES (12, 'verify') ON CONFLICT DO NOTHING;
