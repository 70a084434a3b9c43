-- boxhaul 011: the sink: changes of a captured database, applied to the tables of this one.
--
-- A subscription with `tables` has no inbox rows and no workers: what a capture sends (format = "text", order = "commit") takes effect
-- in the service's own tables, in the order of the commits, in the transaction that moves the position. So each change is applied
-- exactly once, whatever dies: either the rows and the position are there, or neither is.
--
--   sink        one row a subscription: where it stands in the log of the source, what it did, and why it does not go on
--   sink_table  one row a table: what of it goes where, and whether its rows are all there
--   sink_held   messages of a source transaction whose end has not come: the position is past them, and they take effect with the rest
--   sink_seen   while a table is read anew into rows that were there before: the keys that came, so that the others can go
--
-- One transaction of ours holds whole transactions of the source, several if they came together. Only of one that has more messages
-- than `part` there are parts. Inside of it changes are put together by table and key, and applied by one statement for many rows. Whatever fails so is
-- done again one by one, in the order of the log: what fails then is what is told, and nothing behind it is applied.

SET standard_conforming_strings = on;  -- what stands below is written for it

-- --- tables ---

CREATE TABLE IF NOT EXISTS boxhaul.sink (
    subscription text        NOT NULL PRIMARY KEY REFERENCES boxhaul.subscription ON DELETE CASCADE,
    snapshot     text        NOT NULL CHECK (snapshot IN ('required', 'none')),
    part         integer     NOT NULL CHECK (part >= 1),
    incarnation  integer,                           -- the history of the stream that the tables' states are of
    position     bigint      NOT NULL DEFAULT 0,    -- of the stream: up to there all is applied, or held
    lost         bigint      NOT NULL DEFAULT 0,    -- what inbox_position said of losses then
    place        text,                              -- Boxhaul-Position of the last change that was applied
    split        text,                              -- Boxhaul-Tx of a transaction that is applied in parts, while its end has not come
    applied      bigint      NOT NULL DEFAULT 0,    -- changes and rows that took effect
    transactions bigint      NOT NULL DEFAULT 0,    -- of the source
    skipped      bigint      NOT NULL DEFAULT 0,    -- of tables that are not configured, or before their snapshot-begin
    missing      bigint      NOT NULL DEFAULT 0,    -- updates of a complete table that found no row: a difference
    error        text,                              -- why it does not go on; NULL: it does
    error_state  text,                              -- the SQLSTATE
    error_hint   text,
    error_seq    bigint,                            -- of the message
    error_tx     text,                              -- its transaction
    error_since  timestamptz,
    error_count  integer     NOT NULL DEFAULT 0,    -- tried so often
    moved_at     timestamptz
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

CREATE TABLE IF NOT EXISTS boxhaul.sink_table (
    subscription   text        NOT NULL REFERENCES boxhaul.sink ON DELETE CASCADE,
    source         text        NOT NULL,             -- schema.table, as the capture names it
    target         text        NOT NULL,             -- schema.table here, quoted where it must be
    mapping        text[]      NOT NULL,             -- "*", "column", "theirs=ours"
    function       text        NOT NULL,             -- '' = none
    state          text        NOT NULL DEFAULT 'incomplete' CHECK (state IN ('incomplete', 'reading', 'complete')),
    snapshot       text,                             -- the id of the one that is, or was, read
    history        text,                             -- of its changes at the source, as it was said last: under another one some are missing
    sweep          boolean     NOT NULL DEFAULT false,   -- rows were here before: what the snapshot does not bring goes at its end
    shape          jsonb,                            -- the columns of the source, as it said last
    source_columns text[],                           -- what is set from what: the same length and order
    target_columns text[],
    source_key     text[],                           -- the same
    target_key     text[],
    slow           boolean     NOT NULL DEFAULT false,   -- two texts may be one key here: nothing is put together
    put            text,                             -- statements, made of the above: sink_statement()
    fill           text,
    clash          text,                             -- what put and fill end with, where a row may be there
    set_           text,
    move           text,
    take           text,
    mark           text,
    rows           bigint      NOT NULL DEFAULT 0,   -- changes and rows that took effect
    missing        bigint      NOT NULL DEFAULT 0,
    swept          bigint      NOT NULL DEFAULT 0,
    begun_at       timestamptz,
    complete_at    timestamptz,
    PRIMARY KEY (subscription, source)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

CREATE TABLE IF NOT EXISTS boxhaul.sink_held (
    subscription text   NOT NULL REFERENCES boxhaul.sink ON DELETE CASCADE,
    seq          bigint NOT NULL,
    payload      bytea,
    headers      jsonb,
    stored       bigint NOT NULL,                     -- ns
    PRIMARY KEY (subscription, seq)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

CREATE TABLE IF NOT EXISTS boxhaul.sink_seen (
    subscription text   NOT NULL,
    source       text   NOT NULL,
    key          text[] NOT NULL,                     -- as the target writes it; a digest of what is too long for an index: sink_key_mark()
    PRIMARY KEY (subscription, source, key),
    FOREIGN KEY (subscription, source) REFERENCES boxhaul.sink_table ON DELETE CASCADE
);

-- --- what the session may ---

-- Triggers and foreign keys of the tables have done their work at the source. From 15 on this right can be granted; before, it takes a superuser.
CREATE OR REPLACE FUNCTION boxhaul.sink_may_replicate() RETURNS boolean
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    may boolean := (SELECT r.rolsuper FROM pg_roles r WHERE r.rolname = current_user);
BEGIN
    IF NOT may AND current_setting('server_version_num')::integer >= 150000 THEN
        EXECUTE 'SELECT pg_catalog.has_parameter_privilege(''session_replication_role'', ''SET'')' INTO may;
    END IF;
    RETURN may;
END
$$;

-- --- tables of the service ---

-- What keeps a table from being written by a sink, and what to do; no row: nothing. key: the columns that tell its rows apart; NULL: not
-- known yet, then any that is unique does.
CREATE OR REPLACE FUNCTION boxhaul.sink_troubles(target text, columns text[], key text[]) RETURNS TABLE (trouble text, hint text)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    -- Not to_regclass(), which raises where the schema is closed.
    t pg_class := (SELECT c FROM pg_class c JOIN pg_namespace s ON s.oid = c.relnamespace WHERE ARRAY[s.nspname::text, c.relname::text] = parse_ident(target));
    n text;
BEGIN
    IF t.oid IS NULL OR t.relkind NOT IN ('r', 'p') THEN
        RETURN QUERY SELECT format('there is no table %s', target), 'Create it, or look at "to" in the configuration.';
        RETURN;
    END IF;
    FOREACH n IN ARRAY columns LOOP
        IF NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = t.oid AND a.attname = n AND a.attnum > 0 AND NOT a.attisdropped) THEN
            RETURN QUERY SELECT format('table %s has no column %I', target, n), format(
                'ALTER TABLE %s ADD COLUMN %I ...; or name the columns that are wanted, with "theirs=ours" where they have other names.', target, n);
        END IF;
    END LOOP;
    RETURN QUERY SELECT format('column %I of table %s is GENERATED ALWAYS, and cannot be set', a.attname, target),
                        CASE WHEN a.attidentity = 'a' THEN format('ALTER TABLE %s ALTER COLUMN %I SET GENERATED BY DEFAULT;', target, a.attname)
                             ELSE 'Name the columns that are wanted, and leave it out.' END
                   FROM pg_attribute a
                  WHERE a.attrelid = t.oid AND a.attname = ANY (columns || key)
                        -- As a part of the key it is set by INSERT alone, which may (sink_move_row()).
                    AND (a.attidentity = 'a' AND a.attname <> ALL (coalesce(key, ARRAY(
                             SELECT k.attname FROM pg_index i JOIN pg_attribute k ON k.attrelid = t.oid AND k.attnum = ANY (i.indkey)
                              WHERE i.indrelid = t.oid AND i.indisprimary)))
                         OR a.attgenerated <> '');
    IF NOT EXISTS (SELECT FROM pg_index i
                    WHERE i.indrelid = t.oid AND i.indisunique AND NOT i.indisexclusion AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL
                      AND (key IS NULL OR (SELECT array_agg(a.attname::text ORDER BY a.attname::text COLLATE "C") FROM pg_attribute a
                            WHERE a.attrelid = t.oid AND a.attnum = ANY ((i.indkey::smallint[])[0:i.indnkeyatts - 1]))
                          = ARRAY(SELECT k FROM unnest(key) k ORDER BY k COLLATE "C"))) THEN
        -- A key WITHOUT OVERLAPS (18) tells rows apart, and INSERT ... ON CONFLICT cannot use it.
        RETURN QUERY SELECT format('table %s has no primary key or unique index on %s', target, coalesce(array_to_string(key, ', '), 'anything'))
                            || CASE WHEN x.lasting THEN ' but one WITHOUT OVERLAPS, by which no row can be found' ELSE '' END,
                            format(CASE WHEN x.has_key THEN 'ALTER TABLE %s ADD UNIQUE (%s);' ELSE 'ALTER TABLE %s ADD PRIMARY KEY (%s);' END,
                                   target, coalesce(array_to_string(key, ', '), CASE WHEN x.lasting THEN 'the same columns' ELSE '...' END))
                       FROM (SELECT coalesce(bool_or(i.indisunique AND i.indisexclusion), false) AS lasting, coalesce(bool_or(i.indisprimary), false) AS has_key
                               FROM pg_index i WHERE i.indrelid = t.oid) x;
    END IF;
    SELECT string_agg(p, ', ') INTO n FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) p WHERE NOT has_table_privilege(t.oid, p);
    IF n IS NOT NULL OR NOT has_schema_privilege(t.relnamespace, 'USAGE') THEN
        RETURN QUERY SELECT format('%s may not write table %s', current_user, target), format(
            'GRANT USAGE ON SCHEMA %s TO boxhaul_sink; GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON %s TO boxhaul_sink;', t.relnamespace::regnamespace, target);
    END IF;
    IF t.relrowsecurity AND (t.relforcerowsecurity OR NOT pg_has_role(t.relowner, 'USAGE'))
       AND NOT (SELECT r.rolsuper OR r.rolbypassrls FROM pg_roles r WHERE r.rolname = current_user) THEN
        RETURN QUERY SELECT format('table %s has row-level security, which would hide rows from %s', target, current_user),
                            format('ALTER ROLE %I BYPASSRLS;', current_user);
    END IF;
    IF t.relpersistence <> 'p' THEN
        RETURN QUERY SELECT format('table %s is unlogged: after a crash of the server it would be empty, and nothing would come again', target),
                            format('ALTER TABLE %s SET LOGGED;', target);
    END IF;
    RETURN QUERY SELECT format('table %s has tables that inherit from it, whose rows would be taken for its own: %s', target, string_agg(i.inhrelid::regclass::text, ', ')),
                        format('ALTER TABLE %s NO INHERIT %s;', min(i.inhrelid::regclass::text), target)
                   FROM pg_inherits i WHERE i.inhparent = t.oid AND t.relkind = 'r' HAVING count(*) > 0;
    -- Those of a partition fire for its rows, whatever the table was that the statement names.
    RETURN QUERY SELECT format('trigger %I of table %s fires always, also for what was done at the source already', g.tgname, g.tgrelid::regclass),
                        format('ALTER TABLE %s ENABLE TRIGGER %I;', g.tgrelid::regclass, g.tgname)
                   FROM boxhaul.capture_relations(t.oid) r (r) JOIN pg_trigger g ON g.tgrelid = r.r
                  WHERE NOT g.tgisinternal AND g.tgenabled IN ('A', 'R') AND g.tgname NOT IN ('boxhaul_fence', 'boxhaul_fence_truncate') AND boxhaul.sink_may_replicate();
    RETURN QUERY SELECT format('rule %I of table %s acts always, also on what was done at the source already', w.rulename, target),
                        format('ALTER TABLE %s ENABLE RULE %I;', target, w.rulename)
                   FROM pg_rewrite w WHERE w.ev_class = t.oid AND w.ev_enabled IN ('A', 'R') AND boxhaul.sink_may_replicate();
    IF NOT boxhaul.sink_may_replicate() THEN
        RETURN QUERY SELECT format('rule %I of table %s would act on what was done at the source already', w.rulename, target), format(
            CASE WHEN current_setting('server_version_num')::integer >= 150000 THEN 'GRANT SET ON PARAMETER session_replication_role TO %s; or disable the rule.'
                 ELSE 'Before PostgreSQL 15 it takes a superuser to keep rules from acting (%s is none): disable the rule while the sink runs.' END, quote_ident(current_user))
                       FROM pg_rewrite w WHERE w.ev_class = t.oid AND w.ev_enabled IN ('O', 'A');
        -- A partition has those of its root, and may have others.
        RETURN QUERY SELECT format('trigger %I of table %s would fire for what was done at the source already', g.tgname, g.tgrelid::regclass), format(
            CASE WHEN current_setting('server_version_num')::integer >= 150000 THEN 'GRANT SET ON PARAMETER session_replication_role TO %s; or disable the trigger.'
                 ELSE 'Before PostgreSQL 15 it takes a superuser to keep triggers from firing (%s is none): disable the trigger while the sink runs.' END, quote_ident(current_user))
                       FROM boxhaul.capture_relations(t.oid) r (r) JOIN pg_trigger g ON g.tgrelid = r.r
                      WHERE NOT g.tgisinternal AND g.tgenabled IN ('O', 'A') AND (r.r = t.oid OR g.tgtype & 1 = 1)
                        AND NOT EXISTS (SELECT FROM pg_trigger p WHERE p.oid = g.tgparentid AND p.tgenabled IN ('O', 'A'))
                        AND g.tgname NOT IN ('boxhaul_fence', 'boxhaul_fence_truncate');  -- which it passes (013)
    END IF;
END
$$;

-- Has each value of this column one text alone? Not a number (1.0, 1.00), nor what a collation takes for the same (citext, letters and capitals).
CREATE OR REPLACE FUNCTION boxhaul.sink_has_one_text(target regclass, name text) RETURNS boolean
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT a.atttypid IN (16, 17, 20, 21, 23, 25, 26, 1043, 1082, 1083, 1114, 1184, 2950) AND coalesce(c.collisdeterministic, true)
      FROM pg_attribute a LEFT JOIN pg_collation c ON c.oid = a.attcollation
     WHERE a.attrelid = target AND a.attname = sink_has_one_text.name AND NOT a.attisdropped
$$;

-- May one value of a key be written in two ways, here or at the source, whose types these are, or two ways mean one value? Then changes of the table are not put together
-- by their keys' texts.
CREATE OR REPLACE FUNCTION boxhaul.sink_is_slow(target regclass, key text[], types oid[]) RETURNS boolean
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT coalesce(bool_or(NOT (boxhaul.sink_has_one_text(target, k.name)
                                 AND (a.atttypid = k.type OR a.atttypid IN (20, 21, 23) AND k.type IN (20, 21, 23) OR a.atttypid IN (25, 1043) AND k.type IN (25, 1043)))), true)
      FROM unnest(key, types) AS k (name, type)
      LEFT JOIN pg_attribute a ON a.attrelid = target AND a.attname = k.name AND NOT a.attisdropped
$$;

-- Does a column of the key round off what the source's type, with this modifier, may hold? Then two rows of the source may have one key here, and a DELETE may find none. Of a number
-- without a scale nobody knows.
CREATE OR REPLACE FUNCTION boxhaul.sink_rounds(target regclass, name text, type oid, modifier integer) RETURNS boolean
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT CASE WHEN a.atttypid = 1082 THEN type IN (1114, 1184)  -- date
                WHEN a.atttypid <> type OR a.atttypmod < 0 THEN false
                WHEN type IN (1083, 1114, 1184, 1266) THEN a.atttypmod < CASE WHEN modifier < 0 THEN 6 ELSE modifier END
                WHEN type = 1700 THEN modifier >= 0 AND (((a.atttypmod - 4) & 2047) # 1024) < (((modifier - 4) & 2047) # 1024)
                ELSE false END
      FROM pg_attribute a WHERE a.attrelid = target AND a.attname = sink_rounds.name AND NOT a.attisdropped
$$;

-- A member of the object `line` as a value of a column. Without a length: a cast would cut off silently what an assignment refuses.
CREATE OR REPLACE FUNCTION boxhaul.sink_value(target regclass, column_ text, line text, member text) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT format('(%s ->> %L)::%s', line, member, format_type(a.atttypid, -1))
      FROM pg_attribute a WHERE a.attrelid = target AND a.attname = column_ AND NOT a.attisdropped
$$;

-- The text of a column of a key of `t`, as an expression. Without the column's own collation: there may be several in a key, and one may take two texts for the same.
CREATE OR REPLACE FUNCTION boxhaul.sink_key_text(name text) RETURNS text
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT format('t.%I::text COLLATE pg_catalog."default"', name)
$$;

-- The key of a row of `t` as sink_seen has it, as an expression: its texts; where they are long, a digest of them, which has one element more than any key of the table, so it is none. An
-- index holds 2,704 bytes, and the table's own may hold a key whose text is longer than that: bytea and numeric have about two bytes of text for one.
CREATE OR REPLACE FUNCTION boxhaul.sink_key_mark(target regclass, key text[]) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT format(CASE WHEN k.long IS NULL THEN 'ARRAY[%1$s]' ELSE 'CASE WHEN %2$s > 1000 THEN array_fill(boxhaul.row_hash(ARRAY[%1$s]), ARRAY[%3$s]) ELSE ARRAY[%1$s] END' END,
                  k.texts, k.long, cardinality(sink_key_mark.key) + 1)
      FROM (SELECT string_agg(boxhaul.sink_key_text(u.name), ', ' ORDER BY u.n) AS texts,
                   string_agg(format('octet_length(%s)', boxhaul.sink_key_text(u.name)), ' + ' ORDER BY u.n) FILTER (WHERE a.attlen < 0) AS long
              FROM unnest(sink_key_mark.key) WITH ORDINALITY AS u (name, n)
              JOIN pg_attribute a ON a.attrelid = target AND a.attname = u.name AND NOT a.attisdropped) k
$$;

-- The statement that does something with many rows. $1 is an array of objects whose members are the values of columns, as texts.
--   put   insert them
--   fill  the same, and $1 is an array of messages that have such objects as `rows`
--   clash the end of both of these: where the key is there, set what they say, and the key where it may have been another text
--   set   set what they say, and return the numbers of those that are not there
--   move  $1 is one row, $2 the object with its old key
--   take  delete them
--   mark  note their keys; $2, $3: subscription and source
CREATE OR REPLACE FUNCTION boxhaul.sink_statement(kind text, target regclass, members text[], columns text[], key_members text[], key text[])
    RETURNS text
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    -- What of the key has the same text on both sides, if it is the same value.
    stay  text[] := ARRAY(SELECT k.c FROM unnest(key) AS k (c) WHERE boxhaul.sink_has_one_text(target, k.c));
    same  text := (SELECT string_agg(boxhaul.capture_equals(target, k.c, boxhaul.sink_value(target, k.c, CASE kind WHEN 'move' THEN '$2' ELSE 'm.m' END, k.m)), ' AND ')
                     FROM unnest(key, key_members) AS k (c, m));
    sets  text := (SELECT string_agg(format('%I = CASE WHEN m.m ? %L THEN %s ELSE t.%I END', k.c, k.m, boxhaul.sink_value(target, k.c, 'm.m', k.m), k.c), ', ')
                     FROM unnest(columns, members) AS k (c, m)
                    WHERE k.c <> ALL (stay)
                       OR kind = 'move' AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = target AND a.attname = k.c AND a.attidentity = 'a'));
    moves text := (SELECT string_agg(format('%1$I = excluded.%1$I', k.c), ', ') FROM unnest(columns) AS k (c) WHERE k.c <> ALL (stay));
BEGIN
    CASE kind
    WHEN 'put', 'fill' THEN
        RETURN format('INSERT INTO %s AS t (%s) OVERRIDING SYSTEM VALUE SELECT %s FROM %s', target,
                      (SELECT string_agg(quote_ident(c), ', ' ORDER BY n) FROM unnest(columns) WITH ORDINALITY AS k (c, n)),
                      (SELECT string_agg(boxhaul.sink_value(target, k.c, 'm.m', k.m), ', ' ORDER BY k.n)
                         FROM unnest(columns, members) WITH ORDINALITY AS k (c, m, n)),
                      CASE kind WHEN 'put' THEN '(SELECT unnest($1) AS m OFFSET 0) m' ELSE '(SELECT jsonb_array_elements(b.b -> ''rows'') AS m FROM (SELECT unnest($1) AS b OFFSET 0) b OFFSET 0) m' END);
    WHEN 'clash' THEN
        RETURN format(' ON CONFLICT (%s) DO %s', (SELECT string_agg(quote_ident(c), ', ') FROM unnest(key) AS k (c)), coalesce('UPDATE SET ' || moves, 'NOTHING'));
    WHEN 'set' THEN
        RETURN format('WITH m AS MATERIALIZED (SELECT u.m, u.n FROM unnest($1) WITH ORDINALITY AS u (m, n)), '
                      'done AS (%s) SELECT array_agg(m.n ORDER BY m.n) FROM m WHERE m.n NOT IN (SELECT d.n FROM done d)',
                      CASE WHEN sets IS NULL THEN format('SELECT m.n FROM m, %s t WHERE %s', target, same)
                           ELSE format('UPDATE %s AS t SET %s FROM m WHERE %s RETURNING m.n', target, sets, same) END);
    WHEN 'move' THEN
        RETURN format('UPDATE %s AS t SET %s FROM unnest($1) AS m (m) WHERE %s', target, sets, same);
    WHEN 'take' THEN
        RETURN format('DELETE FROM %s AS t USING unnest($1) AS m (m) WHERE %s', target, same);
    ELSE
        RETURN format('INSERT INTO boxhaul.sink_seen (subscription, source, key) SELECT $2, $3, %s FROM %s AS t, unnest($1) AS m (m) '
                      'WHERE %s ON CONFLICT DO NOTHING', boxhaul.sink_key_mark(target, key), target, same);
    END CASE;
END
$$;

-- Works out what of a table goes where, from what the source says of its columns ([{"name", "type", "key"}, ...]), and makes the
-- statements. Raises where the target cannot be written.
CREATE OR REPLACE FUNCTION boxhaul.sink_prepare(subscription text, source text, shape jsonb) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    t       boxhaul.sink_table;
    pairs   text[];          -- "theirs=ours", of all
    froms   text[];
    tos     text[];
    keys    text[];
    ours    text[];
    types   oid[];
    absent  text;
    wrong   record;
    at      regclass;
BEGIN
    SELECT * INTO STRICT t FROM boxhaul.sink_table x WHERE x.subscription = sink_prepare.subscription AND x.source = sink_prepare.source;
    SELECT array_agg(c ->> 'name' ORDER BY (c ->> 'key')::integer), array_agg((c ->> 'type')::oid ORDER BY (c ->> 'key')::integer) INTO keys, types
      FROM jsonb_array_elements(shape) c WHERE c ? 'key';
    IF keys IS NULL THEN
        RAISE EXCEPTION 'boxhaul: table % has no key at the source, so its rows cannot be told apart here', t.source
            USING ERRCODE = 'invalid_table_definition', HINT = 'Give it a primary key there, and take it out of inserts_only.';
    END IF;
    -- A name by itself is the same on both sides. Those that are named go before "*".
    SELECT array_agg(m.from_ ORDER BY m.n), array_agg(m.to_ ORDER BY m.n) INTO froms, tos
      FROM (SELECT split_part(w, '=', 1) AS from_, CASE WHEN w LIKE '%=%' THEN split_part(w, '=', 2) ELSE w END AS to_, n
              FROM unnest(t.mapping) WITH ORDINALITY AS w (w, n) WHERE w <> '*') m;
    SELECT string_agg(f, ', ') INTO absent FROM unnest(froms) f WHERE NOT EXISTS (SELECT FROM jsonb_array_elements(shape) c WHERE c ->> 'name' = f);
    IF absent IS NOT NULL THEN
        RAISE EXCEPTION 'boxhaul: table % has no column % at the source', t.source, absent
            USING ERRCODE = 'undefined_column', HINT = 'Look at "columns" in the configuration of this table.';
    END IF;
    SELECT coalesce(froms, '{}') || coalesce(array_agg(c ->> 'name' ORDER BY n), '{}'), coalesce(tos, '{}') || coalesce(array_agg(c ->> 'name' ORDER BY n), '{}')
      INTO froms, tos
      FROM jsonb_array_elements(shape) WITH ORDINALITY AS x (c, n)
     WHERE ('*' = ANY (t.mapping) OR c ? 'key') AND c ->> 'name' <> ALL (coalesce(froms, '{}'));
    ours := ARRAY(SELECT tos[array_position(froms, k)] FROM unnest(keys) WITH ORDINALITY AS x (k, n) ORDER BY n);
    FOR wrong IN SELECT * FROM boxhaul.sink_troubles(t.target, tos, ours) LOOP
        RAISE EXCEPTION 'boxhaul: %', wrong.trouble USING ERRCODE = 'object_not_in_prerequisite_state', HINT = wrong.hint;
    END LOOP;
    at := t.target::regclass;
    SELECT o.name INTO absent FROM jsonb_array_elements(shape) c, LATERAL (SELECT tos[array_position(froms, c ->> 'name')] AS name) o
     WHERE c ? 'key' AND boxhaul.sink_rounds(at, o.name, (c ->> 'type')::oid, coalesce((c ->> 'typmod')::integer, -1)) ORDER BY (c ->> 'key')::integer LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'boxhaul: column % of table % is a part of the key, and rounds off what the source has', quote_ident(absent), t.target
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = format('ALTER TABLE %s ALTER COLUMN %I TYPE ..., as it is there.', t.target, absent);
    END IF;
    -- With a function rows are objects of our columns already, and which these are it says each time.
    IF t.function <> '' THEN
        UPDATE boxhaul.sink_table x
           SET shape = sink_prepare.shape, source_columns = froms, target_columns = tos, source_key = keys, target_key = ours, slow = boxhaul.sink_is_slow(at, ours, types),
               put = NULL, fill = NULL, clash = NULL, set_ = NULL, move = NULL,
               take = boxhaul.sink_statement('take', at, ours, ours, ours, ours), mark = boxhaul.sink_statement('mark', at, ours, ours, ours, ours)
         WHERE x.subscription = t.subscription AND x.source = t.source;
        RETURN;
    END IF;
    UPDATE boxhaul.sink_table x
       SET shape = sink_prepare.shape, source_columns = froms, target_columns = tos, source_key = keys, target_key = ours, slow = boxhaul.sink_is_slow(at, ours, types),
           put = boxhaul.sink_statement('put', at, froms, tos, keys, ours), fill = boxhaul.sink_statement('fill', at, froms, tos, keys, ours),
           clash = boxhaul.sink_statement('clash', at, froms, tos, keys, ours),
           set_ = boxhaul.sink_statement('set', at, froms, tos, keys, ours),
           -- Made for each row where the key is GENERATED ALWAYS: who lets it be changed tells nobody.
           move = CASE WHEN NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = at AND a.attname = ANY (ours) AND a.attidentity = 'a')
                       THEN boxhaul.sink_statement('move', at, froms, tos, keys, ours) END,
           take = boxhaul.sink_statement('take', at, froms, tos, keys, ours),
           mark = boxhaul.sink_statement('mark', at, froms, tos, keys, ours)
     WHERE x.subscription = t.subscription AND x.source = t.source;
END
$$;

-- A row of the source as an object of our columns, of those that it has: by the mapping, and then by the function, if there is one. NULL:
-- the function does not want it. The key is the mapping's alone, for a row that goes is known by nothing else.
CREATE OR REPLACE FUNCTION boxhaul.sink_translate(t boxhaul.sink_table, line jsonb) RETURNS jsonb
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    mapped jsonb := (SELECT coalesce(jsonb_object_agg(c.ours, line -> c.theirs), '{}') FROM unnest(t.source_columns, t.target_columns) AS c (theirs, ours)
                      WHERE line ? c.theirs);
    answer jsonb;
    name   text[];
BEGIN
    IF t.function = '' THEN
        RETURN mapped;
    END IF;
    -- A name, and nothing else: boxhaul_sink writes it, and whoever cuts over calls it, who may do more.
    name := parse_ident(t.function);
    EXECUTE format('SELECT %I.%I($1)', name[1], name[2]) INTO answer USING line;
    RETURN mapped || (answer - t.target_key);
END
$$;

CREATE OR REPLACE FUNCTION boxhaul.sink_row_as_target(subscription text, source text, line jsonb) RETURNS jsonb
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    RETURN (SELECT boxhaul.sink_translate(t, line) FROM boxhaul.sink_table t
             WHERE t.subscription = sink_row_as_target.subscription AND t.source = sink_row_as_target.source);
END
$$;

-- --- many rows of one table ---

-- What is put into a table that holds nothing of before is mostly new. It is inserted as if it were: to look for each row before costs a third more. Where one is
-- there nothing of it has happened, and it is done in the other way.
CREATE OR REPLACE FUNCTION boxhaul.sink_insert(t boxhaul.sink_table, statement text, given jsonb[]) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    IF NOT t.sweep AND cardinality(given) > 5 THEN
        BEGIN
            EXECUTE statement USING given;
            RETURN;
        EXCEPTION WHEN unique_violation THEN
            NULL;
        END;
    END IF;
    EXECUTE statement || t.clash USING given;
END
$$;

-- Rows that are there or come to be there. What is set is what they have; so rows of a function's are taken apart by what they have.
CREATE OR REPLACE FUNCTION boxhaul.sink_put(t boxhaul.sink_table, lines jsonb[]) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    g record;
BEGIN
    IF t.function = '' THEN
        PERFORM boxhaul.sink_insert(t, t.put, lines);
        RETURN;
    END IF;
    FOR g IN SELECT k.names, array_agg(l.line ORDER BY l.n) AS lines
               FROM unnest(lines) WITH ORDINALITY AS l (line, n),
                    LATERAL (SELECT array_agg(o ORDER BY o) AS names FROM jsonb_object_keys(l.line) o) k
              GROUP BY k.names ORDER BY min(l.n) LOOP
        EXECUTE boxhaul.sink_statement('put', t.target::regclass, g.names, g.names, t.target_key, t.target_key)
             || boxhaul.sink_statement('clash', t.target::regclass, g.names, g.names, t.target_key, t.target_key) USING g.lines;
    END LOOP;
END
$$;

-- Rows that should be there. Returns the numbers of those that are not.
CREATE OR REPLACE FUNCTION boxhaul.sink_set(t boxhaul.sink_table, lines jsonb[]) RETURNS bigint[]
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    names  text[];
    absent bigint[];
BEGIN
    IF t.function = '' THEN
        EXECUTE t.set_ INTO absent USING lines;
    ELSE
        names := ARRAY(SELECT DISTINCT o FROM unnest(lines) l, jsonb_object_keys(l) o ORDER BY 1);
        EXECUTE boxhaul.sink_statement('set', t.target::regclass, names, names, t.target_key, t.target_key) INTO absent USING lines;
    END IF;
    RETURN absent;
END
$$;

-- The conditions under which a row of `at` is in the way of another one: of each unique index and exclusion constraint the columns that it looks at; what it compares, as
-- expressions of these, and whether a row counts (its predicate); and the condition, as of a row `t` and of the other one's values `w1`, `w2` ... of `c`.
-- Of a GENERATED column those that it is made of stand among the columns, and `generated` makes it of them. nulls_too: NULL is a value as any other.
-- A unique index on columns of the key alone is none: there the row is the same one. (But one WITHOUT OVERLAPS is: another row may have the time.)
CREATE OR REPLACE FUNCTION boxhaul.sink_rivals(at regclass, key text[]) 
    RETURNS TABLE (columns text[], generated text, expressions text[], predicate text, condition text, nulls_too boolean)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT ARRAY(SELECT a.attname::text FROM pg_attribute a
                  WHERE a.attrelid = at AND (a.attnum = ANY (x.looks) AND a.attgenerated = '' OR EXISTS (
                        SELECT FROM pg_attrdef f JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = at AND d.refobjsubid = a.attnum
                          AND (d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid OR d.classid = 'pg_class'::regclass AND d.objid = at AND d.objsubid = f.adnum)
                         WHERE f.adrelid = at AND f.adnum = ANY (x.looks) AND f.adnum <> a.attnum))
                  ORDER BY a.attnum),
           (SELECT string_agg(format(', (%s)::%s AS %I', pg_get_expr(f.adbin, f.adrelid), format_type(a.atttypid, a.atttypmod), a.attname), '' ORDER BY a.attnum)
              FROM pg_attribute a JOIN pg_attrdef f ON f.adrelid = at AND f.adnum = a.attnum WHERE a.attrelid = at AND a.attnum = ANY (x.looks) AND a.attgenerated <> ''),
           x.expressions, x.predicate,
           (SELECT string_agg(format(CASE WHEN x.nulls_too THEN '(%1$s %2$s (SELECT c.w%3$s FROM c) OR %1$s IS NULL AND (SELECT c.w%3$s FROM c) IS NULL)'
                                          ELSE '%1$s %2$s (SELECT c.w%3$s FROM c)' END, e.e, format('OPERATOR(%I.%s)', s.nspname, o.oprname), e.n), ' AND ' ORDER BY e.n)
              FROM unnest(x.expressions, x.operators) WITH ORDINALITY AS e (e, o, n)
              JOIN pg_operator o ON o.oid = e.o JOIN pg_namespace s ON s.oid = o.oprnamespace),
           x.nulls_too
      FROM (SELECT ARRAY(SELECT a.attnum FROM pg_attribute a
                          WHERE a.attrelid = i.indrelid AND (a.attnum = ANY ((i.indkey::smallint[])[0:i.indnkeyatts - 1]) AND a.attnum > 0
                                OR EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid AND (i.indexprs IS NOT NULL OR i.indpred IS NOT NULL)
                                                                    AND d.refclassid = 'pg_class'::regclass AND d.refobjid = i.indrelid AND d.refobjsubid = a.attnum))
                        ) AS looks,
                   ARRAY(SELECT format('(%s)', pg_get_indexdef(i.indexrelid, n, true)) FROM generate_series(1, i.indnkeyatts) n ORDER BY n) AS expressions,
                   coalesce(pg_get_expr(i.indpred, i.indrelid), 'true') AS predicate,
                   -- Before 15 there is no such column.
                   coalesce((to_jsonb(i) -> 'indnullsnotdistinct')::boolean, false) AS nulls_too,
                   coalesce((SELECT f.conexclop FROM pg_constraint f WHERE f.conindid = i.indexrelid AND f.conexclop IS NOT NULL),
                            ARRAY(SELECT m.amopopr FROM unnest(i.indclass::oid[]) WITH ORDINALITY AS k (class, n) JOIN pg_opclass p ON p.oid = k.class
                                    JOIN pg_amop m ON m.amopfamily = p.opcfamily AND m.amoplefttype = p.opcintype AND m.amoprighttype = p.opcintype AND m.amopstrategy = 3
                                   ORDER BY k.n)) AS operators,
                   i.indexrelid
              FROM pg_index i WHERE i.indrelid = at AND (i.indisunique OR i.indisexclusion) AND i.indisvalid) x
      JOIN pg_index i ON i.indexrelid = x.indexrelid
     WHERE NOT (i.indisunique AND NOT i.indisexclusion AND i.indexprs IS NULL AND (SELECT array_agg(a.attname::text) FROM pg_attribute a
                 WHERE a.attrelid = at AND a.attnum = ANY ((i.indkey::smallint[])[0:i.indnkeyatts - 1])) <@ sink_rivals.key)
$$;

-- What stands in these columns of a row when `line` has been written, as a list of $1 (the line) and h.h (the row, as it is here; NULL: it is not). What the line does not say stays as it is,
-- or where the row is not here yet, begins as the column's default. here: one of these has to be worked out (a number that is drawn), so it is known of a row that is here alone.
CREATE OR REPLACE FUNCTION boxhaul.sink_said(t boxhaul.sink_table, at regclass, columns text[], line jsonb, OUT says text, OUT here boolean)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT string_agg(CASE WHEN c.said THEN format('(%s)::%s AS %I', boxhaul.sink_value(at, c.name, '$1', c.member), c.type, c.name)
                           ELSE format('CASE WHEN h.h IS DISTINCT FROM NULL THEN (h.h).%1$I ELSE %2$s END AS %1$I', c.name, CASE WHEN c.constant THEN coalesce(c.value, 'NULL') ELSE 'NULL' END) END, ', '),
           bool_or(NOT c.said AND NOT c.constant)
      FROM (SELECT m.name, m.member, coalesce(line ? m.member, false) AS said, format_type(a.atttypid, a.atttypmod) AS type, d.value,
                   a.attidentity = '' AND coalesce(d.value ~ '^(''([^'']|'''')*''|-?[0-9.]+|true|false|NULL)(::[a-z_ ]+(\([0-9, ]+\))?)?$', true) AS constant
              FROM (SELECT u.name, CASE WHEN t.function <> '' THEN u.name ELSE t.source_columns[array_position(t.target_columns, u.name)] END AS member
                      FROM unnest(columns) AS u (name)) m
              JOIN pg_attribute a ON a.attrelid = at AND a.attname = m.name
              LEFT JOIN LATERAL (SELECT pg_get_expr(f.adbin, f.adrelid) AS value FROM pg_attrdef f WHERE f.adrelid = at AND f.adnum = a.attnum) d ON true) c
$$;

-- Before a row is written: takes away stale ones that are in its way under another key, by a unique index (of columns or expressions, partial or not) or an exclusion
-- constraint. Which are stale?
--   read      a table that is read into rows from before: those that have not come in this reading. At this place the source has the value under this key,
--             so under no other one. A row here that has come is what the source has, for each of its changes since was applied; one that has not is from before,
--             and comes yet, if it is still there.
--   repaired  (012) those that a pass has found to differ, and that are not set right yet: their turn comes in the same pass.
-- (So one that goes too much is no loss.) `line` is of our columns where a function makes it; own: rows or keys that are this row.
--
-- Where foreign keys act here, on the table or on a partition, rows of other tables refer to it, and would go with it, and nobody brings them back; or they come, and lack it. There a
-- stale row loses the source's values that are in the way (NULL), where it may. Else it goes if nobody refers to it. What is left stops the sink, and says why.
CREATE OR REPLACE FUNCTION boxhaul.sink_make_room(t boxhaul.sink_table, line jsonb, own jsonb[], repaired boolean DEFAULT false) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    keys       text[] := CASE t.function WHEN '' THEN t.source_key ELSE t.target_key END;
    at         regclass := t.target::regclass;
    same       text;     -- a row here is the row
    referring  text;     -- rows refer to it, where that counts
    referred   text[];   -- by these columns
    known      text;     -- it is known to be stale
    stale      text;
    rival      record;
BEGIN
    SELECT string_agg(boxhaul.capture_equals(at, k.c, boxhaul.sink_value(at, k.c, 'o', k.m)), ' AND '),
           CASE WHEN repaired THEN format('EXISTS (SELECT FROM boxhaul.verify_difference d WHERE d.subscription = $3 AND d.tab = $4 AND d.key = ARRAY[%s] '
                                          'AND d.proved_at IS NULL AND d.repaired_at IS NULL)', string_agg(boxhaul.verify_text(format('t.%I', k.c)), ', ' ORDER BY k.n))
                ELSE format('NOT EXISTS (SELECT FROM boxhaul.sink_seen s WHERE s.subscription = $3 AND s.source = $4 AND s.key = %s)', boxhaul.sink_key_mark(at, t.target_key)) END
      INTO same, known FROM unnest(t.target_key, keys) WITH ORDINALITY AS k (c, m, n);
    IF current_setting('session_replication_role') <> 'replica' THEN
        SELECT f.condition, f.columns INTO referring, referred FROM boxhaul.sink_referring(at) f;
    END IF;
    FOR rival IN
        SELECT r.*, c.says, c.here FROM boxhaul.sink_rivals(at, t.target_key) r, boxhaul.sink_said(t, at, r.columns, line) c
    LOOP
        CONTINUE WHEN rival.says IS NULL;
        stale := format('EXISTS (SELECT FROM c) AND %s AND (%s) AND NOT EXISTS (SELECT FROM unnest($2) o WHERE %s) AND %s', rival.condition, rival.predicate, same, known);
        PERFORM boxhaul.sink_give_way(at, format('WITH c AS MATERIALIZED (SELECT %s FROM (SELECT b.*%s FROM (SELECT %s FROM (SELECT) one LEFT JOIN (SELECT t AS h FROM unnest($2) o JOIN %s t ON %s '
                                                 'LIMIT 1) h ON true%s) b) x WHERE %s)',
                                                 (SELECT string_agg(format('%s AS w%s', e, n), ', ' ORDER BY n) FROM unnest(rival.expressions) WITH ORDINALITY AS u (e, n)),
                                                 rival.generated, rival.says, at, same, CASE WHEN rival.here THEN ' WHERE h.h IS DISTINCT FROM NULL' ELSE '' END, rival.predicate),
                                      stale, referring, ARRAY(SELECT x FROM unnest(rival.columns) x WHERE NOT rival.nulls_too AND x <> ALL (t.target_key || referred)
                                                                                 AND (t.function <> '' AND line ? x OR t.function = '' AND x = ANY (t.target_columns))), t, line, own);
    END LOOP;
END
$$;

-- Rows of `at` for which `stale` holds, by what `named` (a WITH clause) names, give way to `line`: they go. Where others refer to them (`referring`) they lose what they have in `columns`, as far as
-- these may be NULL, or go where nobody does.
CREATE OR REPLACE FUNCTION boxhaul.sink_give_way(at regclass, named text, stale text, referring text, columns text[], t boxhaul.sink_table, line jsonb, own jsonb[]) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    lose text := (SELECT string_agg(format('%I = NULL', a.attname), ', ') FROM pg_attribute a WHERE a.attrelid = at AND a.attname = ANY (columns) AND NOT a.attnotnull);
BEGIN
    IF referring IS NOT NULL AND lose IS NOT NULL THEN
        BEGIN
            EXECUTE format('%s UPDATE %s AS t SET %s WHERE %s', named, at, lose, stale) USING line, own, t.subscription, t.source;
        EXCEPTION WHEN integrity_constraint_violation THEN
            NULL;  -- it may not
        END;
    END IF;
    EXECUTE format('%s DELETE FROM %s AS t WHERE %s AND NOT (%s)', named, at, stale, coalesce(referring, 'false')) USING line, own, t.subscription, t.source;
END
$$;

-- Where foreign keys refer to a table, or to a partition of it: the condition under which one does refer to its row `t`, and the columns by which they do. No condition: none.
CREATE OR REPLACE FUNCTION boxhaul.sink_referring(at regclass, OUT condition text, OUT columns text[])
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    WITH f AS (
        SELECT DISTINCT f.conrelid, k.pairs, k.theirs
          FROM pg_constraint f,
               -- As the key itself compares them.
               LATERAL (SELECT string_agg(format('t.%I OPERATOR(%I.%s) o.%I', a.attname, s.nspname, e.oprname, m.attname), ' AND ' ORDER BY u.n) AS pairs, array_agg(a.attname::text ORDER BY u.n) AS theirs
                          FROM unnest(f.conkey, f.confkey, f.conpfeqop) WITH ORDINALITY AS u (mine, its, equal, n)
                          JOIN pg_operator e ON e.oid = u.equal JOIN pg_namespace s ON s.oid = e.oprnamespace
                          JOIN pg_attribute m ON m.attrelid = f.conrelid AND m.attnum = u.mine JOIN pg_attribute a ON a.attrelid = f.confrelid AND a.attnum = u.its) k
         WHERE f.contype = 'f' AND f.confrelid IN (SELECT at UNION ALL SELECT p.relid FROM pg_partition_tree(at) p))
    SELECT string_agg(CASE WHEN has_table_privilege(f.conrelid, 'SELECT') THEN format('EXISTS (SELECT FROM %s o WHERE %s)', f.conrelid::regclass, f.pairs) ELSE 'true' END, ' OR '), (SELECT array_agg(DISTINCT x) FROM f g, unnest(g.theirs) x) FROM f
$$;

-- Rows of the source, of which no two have one key: `whole` says that nothing is left out of them. gone: keys, as the source has them.
--
-- A row that is to be set and is not there: a whole one comes to be. Of another one something would be missing, so while the table is read
-- its turn will bring it (capture.7: it is read once more), and afterwards it is a difference, which is counted and told.
CREATE OR REPLACE FUNCTION boxhaul.sink_rows(t boxhaul.sink_table, kind text, lines jsonb[]) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    absent   bigint[];
    unwanted jsonb[];
    n        bigint := cardinality(lines);
BEGIN
    IF t.function <> '' AND kind <> 'take' THEN
        SELECT array_agg(x.ours ORDER BY x.n) FILTER (WHERE x.ours IS NOT NULL),
               array_agg(x.line ORDER BY x.n) FILTER (WHERE x.ours IS NULL) INTO lines, unwanted
          FROM (SELECT l.line, l.n, boxhaul.sink_translate(t, l.line) AS ours FROM unnest(lines) WITH ORDINALITY AS l (line, n)) x;
        IF unwanted IS NOT NULL THEN
            PERFORM boxhaul.sink_rows(t, 'take', unwanted);
        END IF;
        IF lines IS NULL THEN
            RETURN;
        END IF;
        n := cardinality(lines);
    END IF;
    IF kind = 'take' THEN
        IF t.function <> '' THEN
            lines := ARRAY(SELECT (SELECT jsonb_object_agg(k.ours, l.line -> k.theirs) FROM unnest(t.source_key, t.target_key) AS k (theirs, ours))
                             FROM unnest(lines) AS l (line));
        END IF;
        EXECUTE t.take USING lines;
    ELSIF kind = 'put' THEN
        PERFORM boxhaul.sink_make_room(t, lines[1], lines) WHERE n = 1 AND t.sweep AND t.state = 'reading';  -- of many it fails, and they come again, each alone
        PERFORM boxhaul.sink_put(t, lines);
    ELSE
        PERFORM boxhaul.sink_make_room(t, lines[1], lines) WHERE n = 1 AND t.sweep AND t.state = 'reading';
        absent := boxhaul.sink_set(t, lines);
        IF absent IS NOT NULL AND kind = 'set whole' THEN
            PERFORM boxhaul.sink_put(t, ARRAY(SELECT l.line FROM unnest(lines) WITH ORDINALITY AS l (line, n) WHERE l.n = ANY (absent) ORDER BY l.n));
        ELSIF absent IS NOT NULL THEN
            n := n - cardinality(absent);
        END IF;
    END IF;
    IF t.sweep AND t.state = 'reading' AND kind <> 'take' THEN
        EXECUTE t.mark USING lines, t.subscription, t.source;
    END IF;
    UPDATE boxhaul.sink_table x
       SET rows = x.rows + n, missing = x.missing + CASE WHEN x.state = 'complete' THEN coalesce(cardinality(absent), 0) ELSE 0 END
     WHERE x.subscription = t.subscription AND x.source = t.source;
END
$$;

-- --- one message ---

-- What is left of a table from before its snapshot, and did not come again, was deleted at the source.
CREATE OR REPLACE FUNCTION boxhaul.sink_sweep(t boxhaul.sink_table) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on
    SET enable_seqscan = on SET enable_hashjoin = on SET enable_mergejoin = on SET enable_bitmapscan = on AS $$
DECLARE
    n bigint := 0;
BEGIN
    IF t.sweep THEN
        EXECUTE format('DELETE FROM %s AS t WHERE NOT EXISTS (SELECT FROM boxhaul.sink_seen s WHERE s.subscription = $1 AND s.source = $2 '
                       'AND s.key = %s)', t.target::regclass, boxhaul.sink_key_mark(t.target::regclass, t.target_key))
          USING t.subscription, t.source;
        GET DIAGNOSTICS n = ROW_COUNT;
        DELETE FROM boxhaul.sink_seen s WHERE s.subscription = t.subscription AND s.source = t.source;
    END IF;
    UPDATE boxhaul.sink_table x SET state = 'complete', sweep = false, swept = x.swept + n, complete_at = clock_timestamp()
     WHERE x.subscription = t.subscription AND x.source = t.source;
END
$$;

-- A TRUNCATE, or where a foreign key from elsewhere or a missing right forbids it, the same by DELETE. So does a deferred foreign key of the table itself
-- that has yet to look at rows of this transaction (where foreign keys act here): what is looked at then is what is there at its end.
CREATE OR REPLACE FUNCTION boxhaul.sink_truncate(t boxhaul.sink_table) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    BEGIN
        EXECUTE format('TRUNCATE %s', t.target::regclass);
    EXCEPTION WHEN feature_not_supported OR insufficient_privilege OR object_in_use THEN
        EXECUTE format('DELETE FROM %s', t.target::regclass);
    END;
END
$$;

-- A table that is read from now on. Rows that are there already are swept at the end.
CREATE OR REPLACE FUNCTION boxhaul.sink_begin_table(t boxhaul.sink_table, id text) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    filled boolean;
BEGIN
    IF t.state <> 'incomplete' AND t.snapshot = id THEN
        RETURN;
    END IF;
    EXECUTE format('SELECT EXISTS (SELECT FROM %s)', t.target::regclass) INTO filled;
    DELETE FROM boxhaul.sink_seen s WHERE s.subscription = t.subscription AND s.source = t.source;
    UPDATE boxhaul.sink_table x SET state = 'reading', snapshot = id, sweep = filled, missing = 0, begun_at = clock_timestamp(), complete_at = NULL
     WHERE x.subscription = t.subscription AND x.source = t.source;
END
$$;

-- In which history of the table the stream is from here on. Where it was another one changes are missing in between (a slot was lost, the table was out of the
-- capture): what is here may have values of rows that are gone, and a change that is applied to it may find them in its way. So nothing is, until the rows are
-- read again; `broken`: they do not begin with this message itself. Then they do later, for a table whose rows nobody reads has no history.
-- The first history that is said of a table breaks none: it was complete by somebody's word.
CREATE OR REPLACE FUNCTION boxhaul.sink_history(t boxhaul.sink_table, history text, broken boolean) RETURNS void
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    UPDATE boxhaul.sink_table x
       SET history = sink_history.history, state = CASE WHEN broken AND x.history IS NOT NULL THEN 'incomplete' ELSE x.state END
     WHERE x.subscription = t.subscription AND x.source = t.source AND sink_history.history <> coalesce(x.history, '')
$$;

-- The stream must be one of which a table can be made again.
CREATE OR REPLACE FUNCTION boxhaul.sink_judge_stream(body jsonb) RETURNS void
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    IF body ->> 'format' IS DISTINCT FROM 'text' THEN
        RAISE EXCEPTION 'boxhaul: the events of the stream have the format %, of which no table can be made again', coalesce(body ->> 'format', 'of an older boxhaul')
            USING ERRCODE = 'feature_not_supported', HINT = 'Set format = "text" for the capture, and begin anew with another stream.';
    ELSIF body ->> 'order' IS DISTINCT FROM 'commit' THEN
        RAISE EXCEPTION 'boxhaul: the stream has not the order of commits, in which alone tables can be kept'
            USING ERRCODE = 'feature_not_supported', HINT = 'Set order = "commit" for the capture, and begin anew with another stream.';
    END IF;
END
$$;

-- Applies one message as the log has it. Returns how many changes and rows took effect; 0: it is nothing for the tables here, or before their beginning.
CREATE OR REPLACE FUNCTION boxhaul.sink_one(subscription text, op text, source text, body jsonb, token text) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    t     boxhaul.sink_table;
    whole boolean := NOT coalesce(body, '{}') ? 'unchanged';
    line  jsonb;
BEGIN
    IF token IS NOT NULL THEN
        IF to_regprocedure('boxhaul.sink_token(text, text)') IS NOT NULL THEN
            EXECUTE 'SELECT boxhaul.sink_token($1, $2)' USING subscription, token;
        END IF;
        RETURN 0;
    END IF;
    CASE
    WHEN op = 'v' THEN
        IF to_regprocedure('boxhaul.sink_verify(text, jsonb)') IS NOT NULL THEN
            EXECUTE 'SELECT boxhaul.sink_verify($1, $2)' USING subscription, body;
        END IF;
        RETURN 0;
    WHEN op = 'end' THEN  -- its header says all
        RETURN 0;
    WHEN coalesce(op, '') NOT IN ('c', 'r', 'u', 'd', 't', 's', 'snapshot-begin', 'snapshot-end') OR source IS NULL THEN
        RAISE EXCEPTION 'boxhaul: a message of the stream is no change of a captured table'
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Let the subscription take the subjects of the capture alone (by default cdc.NAME.*.*).';
    ELSE
        NULL;
    END CASE;
    IF op IN ('s', 'snapshot-begin') THEN
        PERFORM boxhaul.sink_judge_stream(body);
    END IF;
    SELECT * INTO t FROM boxhaul.sink_table x WHERE x.subscription = sink_one.subscription AND x.source = sink_one.source;
    IF t.source IS NULL THEN
        RETURN 0;
    END IF;
    IF op IN ('s', 'snapshot-begin') AND body ? 'columns' THEN
        PERFORM boxhaul.sink_prepare(t.subscription, t.source, body -> 'columns');
        SELECT * INTO t FROM boxhaul.sink_table x WHERE x.subscription = sink_one.subscription AND x.source = sink_one.source;
    END IF;
    IF op = 'snapshot-begin' THEN
        PERFORM boxhaul.sink_begin_table(t, body ->> 'snapshot');
    END IF;
    IF op IN ('s', 'snapshot-begin') THEN
        PERFORM boxhaul.sink_history(t, body ->> 'history', op = 's');
        RETURN 1;
    ELSIF t.state = 'incomplete' THEN
        RETURN 0;
    ELSIF op = 'snapshot-end' THEN
        IF t.state = 'reading' AND t.snapshot = body ->> 'snapshot' THEN
            PERFORM boxhaul.sink_sweep(t);
        END IF;
        RETURN 1;
    ELSIF op = 't' THEN
        PERFORM boxhaul.sink_truncate(t);
        RETURN 1;
    ELSIF t.take IS NULL OR NOT body ?| ARRAY['key', 'rows'] THEN
        RAISE EXCEPTION 'boxhaul: nothing has said what table % looks like', t.source
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = format('Have its rows sent anew: boxhaul capture resync NAME CAPTURE %L', t.source);
    END IF;
    CASE
    WHEN op = 'd' THEN
        PERFORM boxhaul.sink_rows(t, 'take', ARRAY[body -> 'key']);
    WHEN body ? 'rows' THEN
        FOR line IN SELECT jsonb_array_elements(body -> 'rows') LOOP
            PERFORM boxhaul.sink_rows(t, 'put', ARRAY[line]);
        END LOOP;
        RETURN jsonb_array_length(body -> 'rows');
    WHEN op <> 'u' THEN
        PERFORM boxhaul.sink_rows(t, 'put', ARRAY[body -> 'row']);
    WHEN body ? 'old' AND NOT body -> 'old' @> (body -> 'key') THEN
        PERFORM boxhaul.sink_move_row(t, body -> 'row', body -> 'old');
        -- The row is as it was under its new key, but where it was not there: then a whole one comes to be.
        PERFORM boxhaul.sink_rows(t, CASE WHEN whole THEN 'set whole' ELSE 'set' END, ARRAY[body -> 'row']);
    ELSE
        PERFORM boxhaul.sink_rows(t, CASE WHEN whole THEN 'set whole' ELSE 'set' END, ARRAY[body -> 'row']);
    END CASE;
    RETURN 1;
END
$$;

-- Gives a row another key. While the table is read what stands under that one is from before, for at the source it was free.
CREATE OR REPLACE FUNCTION boxhaul.sink_move_row(t boxhaul.sink_table, line jsonb, old jsonb) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    ours   jsonb := line;
    names  text[];
    always text;
BEGIN
    -- A source whose column is GENERATED ALWAYS, too, never says another value; no UPDATE of the target could set it.
    SELECT k.ours INTO always
      FROM unnest(t.source_key, t.target_key) AS k (theirs, ours)
      JOIN pg_attribute a ON a.attrelid = t.target::regclass AND a.attname = k.ours AND a.attidentity = 'a'
     WHERE line ->> k.theirs IS DISTINCT FROM old ->> k.theirs;
    IF FOUND THEN
        RAISE EXCEPTION 'boxhaul: a key of the source has changed, and column % of table % is GENERATED ALWAYS, and cannot be changed', quote_ident(always), t.target
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = format('ALTER TABLE %s ALTER COLUMN %I SET GENERATED BY DEFAULT;', t.target, always);
    END IF;
    IF t.state = 'reading' THEN
        EXECUTE boxhaul.sink_statement('take', t.target::regclass, t.source_key, t.target_key, t.source_key, t.target_key) USING ARRAY[line];
    END IF;
    IF t.function <> '' THEN
        ours := boxhaul.sink_translate(t, line);
        IF ours IS NULL THEN  -- not wanted any more
            PERFORM boxhaul.sink_rows(t, 'take', ARRAY[old]);
            RETURN;
        END IF;
        SELECT jsonb_object_agg(k.ours, old -> k.theirs) INTO old FROM unnest(t.source_key, t.target_key) AS k (theirs, ours);
        PERFORM boxhaul.sink_make_room(t, ours, ARRAY[ours, old]) WHERE t.sweep AND t.state = 'reading';
        names := ARRAY(SELECT o FROM jsonb_object_keys(ours) o ORDER BY 1);
        EXECUTE boxhaul.sink_statement('move', t.target::regclass, names, names, t.target_key, t.target_key) USING ARRAY[ours], old;
    ELSE
        PERFORM boxhaul.sink_make_room(t, ours, ARRAY[ours, old]) WHERE t.sweep AND t.state = 'reading';
        EXECUTE coalesce(t.move, boxhaul.sink_statement('move', t.target::regclass, t.source_columns, t.target_columns, t.source_key, t.target_key))
          USING ARRAY[ours], old;
    END IF;
END
$$;

-- --- many messages ---

-- Changes of a piece of the stream without anything between them that must keep its place, put together by table and key: what is the
-- outcome of all changes of a row is done once.
--   deleted last                 it goes
--   deleted and then inserted    it goes, and comes: columns that are ours alone begin anew, as they would
--   inserted, then updated       it comes as it is in the end
--   updated                      what the updates brought, each value as it came last
-- Where each key stands there once, its one change is the outcome, and nothing is sorted: most runs are so. Where all are inserts that is not asked: a key that came
-- twice without going between is refused by the table, and then they come one by one. changes: how many are in the outcome.
CREATE OR REPLACE FUNCTION boxhaul.sink_outcomes(ops text[], sources text[], bodies jsonb[]) RETURNS TABLE (source text, kind text, lines jsonb[], changes bigint)
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
#variable_conflict use_column
BEGIN
    IF 'c' = ALL (ops) OR (SELECT count(*) FROM (SELECT DISTINCT x.source, x.body -> 'key' FROM (SELECT unnest(sources) AS source, unnest(bodies) AS body OFFSET 0) x) k)
                          = cardinality(ops) THEN
        RETURN QUERY
        SELECT e.source, e.kind, array_agg(e.line), count(*)
          FROM (SELECT x.source, x.n, CASE WHEN x.op = 'd' THEN 'take' WHEN x.op <> 'u' THEN 'put' WHEN x.body ? 'unchanged' THEN 'set' ELSE 'set whole' END AS kind,
                       x.body -> CASE WHEN x.op = 'd' THEN 'key' ELSE 'row' END AS line
                  FROM (SELECT unnest(ops) AS op, unnest(sources) AS source, unnest(bodies) AS body, generate_subscripts(ops, 1) AS n OFFSET 0) x) e
         GROUP BY e.source, e.kind ORDER BY e.kind <> 'take', min(e.n);
        RETURN;
    END IF;
    RETURN QUERY
        WITH k AS MATERIALIZED (  -- a key, and the numbers of its changes
            SELECT x.source, x.body -> 'key' AS key, max(x.n) AS last, array_agg(x.n) AS its,
                   coalesce(max(x.n) FILTER (WHERE x.op = 'd'), 0) AS gone, coalesce(max(x.n) FILTER (WHERE x.op IN ('c', 'r')), 0) AS come
              FROM (SELECT unnest(ops) AS op, unnest(sources) AS source, unnest(bodies) AS body, generate_subscripts(ops, 1) AS n OFFSET 0) x
             GROUP BY x.source, x.body -> 'key'),
        e AS (
            SELECT k.source, k.last, cardinality(k.its) AS copies,
                   CASE WHEN k.last = k.gone THEN 'take' WHEN k.come > k.gone THEN 'put'
                        WHEN EXISTS (SELECT FROM unnest(k.its) n WHERE n > k.gone AND NOT bodies[n] ? 'unchanged') THEN 'set whole' ELSE 'set' END AS kind,
                   CASE WHEN k.last = k.gone THEN k.key
                        WHEN cardinality(k.its) = 1 OR NOT bodies[k.last] ? 'unchanged' THEN bodies[k.last] -> 'row'
                        ELSE (SELECT jsonb_object_agg(v.key, v.value ORDER BY n) FROM unnest(k.its) n, jsonb_each(bodies[n] -> 'row') v WHERE n > k.gone) END AS line
              FROM k
            UNION ALL
            SELECT k.source, k.last, 0, 'take', k.key FROM k WHERE k.last > k.gone AND k.gone > 0)
        SELECT e.source, e.kind, array_agg(e.line), sum(e.copies)::bigint FROM (SELECT * FROM e ORDER BY e.last) e
         GROUP BY e.source, e.kind ORDER BY e.kind <> 'take', min(e.last);
END
$$;

-- A run of changes. took, skipped: as of sink_run().
CREATE OR REPLACE FUNCTION boxhaul.sink_many(subscription text, ops text[], sources text[], bodies jsonb[], OUT took bigint, OUT skipped bigint)
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    g record;
    t boxhaul.sink_table;
BEGIN
    took := 0;
    skipped := 0;
    FOR g IN SELECT * FROM boxhaul.sink_outcomes(ops, sources, bodies) LOOP
        SELECT * INTO t FROM boxhaul.sink_table x WHERE x.subscription = sink_many.subscription AND x.source = g.source;
        IF t.source IS NULL OR t.state = 'incomplete' THEN
            skipped := skipped + g.changes;
            CONTINUE;
        ELSIF t.take IS NULL THEN
            RAISE EXCEPTION 'boxhaul: nothing has said what table % looks like', t.source USING ERRCODE = 'object_not_in_prerequisite_state';
        END IF;
        PERFORM boxhaul.sink_rows(t, g.kind, g.lines);
        took := took + g.changes;
    END LOOP;
END
$$;

-- Messages of several rows of one table, one behind the other. Returns how many rows took effect.
CREATE OR REPLACE FUNCTION boxhaul.sink_fill(subscription text, source text, bodies jsonb[]) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    t boxhaul.sink_table;
    n bigint;
BEGIN
    SELECT * INTO t FROM boxhaul.sink_table x WHERE x.subscription = sink_fill.subscription AND x.source = sink_fill.source;
    IF t.source IS NULL OR t.state = 'incomplete' THEN
        RETURN 0;
    ELSIF t.take IS NULL THEN
        RAISE EXCEPTION 'boxhaul: nothing has said what table % looks like', t.source USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    n := (SELECT sum(jsonb_array_length(b -> 'rows')) FROM unnest(bodies) b);
    IF t.fill IS NULL OR t.sweep THEN
        PERFORM boxhaul.sink_rows(t, 'put', ARRAY(SELECT l.line FROM unnest(bodies) WITH ORDINALITY AS b (body, n),
                                                         jsonb_array_elements(b.body -> 'rows') WITH ORDINALITY AS l (line, n) ORDER BY b.n, l.n));
    ELSE
        PERFORM boxhaul.sink_insert(t, t.fill, bodies);
        UPDATE boxhaul.sink_table x SET rows = x.rows + n WHERE x.subscription = t.subscription AND x.source = t.source;
    END IF;
    RETURN n;
END
$$;

-- May a change be put together with others? Not what is none, and not one that gives its row another key.
CREATE OR REPLACE FUNCTION boxhaul.sink_keeps_place(op text, source text, body jsonb) RETURNS boolean
    LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN source IS NULL OR NOT body ? 'key' THEN true WHEN op = 'u' THEN body ? 'old' AND NOT body -> 'old' @> (body -> 'key')
                ELSE coalesce(op, '') NOT IN ('c', 'r', 'd') END
$$;

-- What messages say, in their order. Of one that holds several changes of a table (op "m") each change stands by itself, as a message of its own would: whatever is
-- true of single changes is so of these, in the run that they come in and after a failure, and a change is what is counted. tokens: of what stands there now.
-- alone: it keeps its place. Of what such a message may not hold (no change, or none at all) the op is NULL, and sink_one() refuses it.
CREATE OR REPLACE FUNCTION boxhaul.sink_changes(raw bytea[], INOUT tokens text[], why text[], OUT ops text[], OUT sources text[], OUT bodies jsonb[], OUT alone boolean[])
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    -- unnest() in the list of what is selected keeps the order of the arrays, and no row is copied before it stands in one again.
    SELECT array_agg(x.op), array_agg(x.source), array_agg(x.body), array_agg(boxhaul.sink_keeps_place(x.op, x.source, x.body)) INTO ops, sources, bodies, alone
      FROM (SELECT m.body ->> 'op' AS op, m.body ->> 'table' AS source, m.body
              FROM (SELECT CASE WHEN r.token IS NULL AND r.why IS NULL THEN convert_from(r.payload, 'UTF8')::jsonb END AS body
                      FROM (SELECT unnest(raw) AS payload, unnest(tokens) AS token, unnest(why) AS why OFFSET 0) r OFFSET 0) m OFFSET 0) x;
    IF 'm' = ANY (ops) THEN
        SELECT array_agg(x.op), array_agg(x.source), array_agg(x.body), array_agg(x.token), array_agg(boxhaul.sink_keeps_place(x.op, x.source, x.body))
          INTO ops, sources, bodies, tokens, alone
          FROM (SELECT CASE WHEN c.op IS DISTINCT FROM 'm' THEN c.op WHEN c.body ->> 'op' IN ('c', 'u', 'd') THEN c.body ->> 'op' END AS op, c.source, c.body, c.token
                  FROM (SELECT m.op, m.source, m.token, jsonb_array_elements(CASE WHEN m.op = 'm' AND jsonb_array_length(m.body -> 'changes') > 0 THEN m.body -> 'changes'
                                                                                  ELSE jsonb_build_array(m.body) END) AS body
                          FROM (SELECT unnest(ops) AS op, unnest(sources) AS source, unnest(bodies) AS body, unnest(tokens) AS token OFFSET 0) m OFFSET 0) c OFFSET 0) x;
    END IF;
END
$$;

-- Applies changes and what else messages say in order: what can be put together so, all else where it stands. took: changes and rows that took effect; skipped: what had
-- no effect, a message of several rows once, and each change by itself.
CREATE OR REPLACE FUNCTION boxhaul.sink_run(subscription text, ops text[], sources text[], bodies jsonb[], tokens text[], alone boolean[],
                                            OUT took bigint, OUT skipped bigint)
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    n     integer := cardinality(ops);
    a     integer := 1;          -- of a run of changes
    acts  text[] := '{}';
    slow  text[];
    more  bigint;
    i     integer;
    j     integer;
    m     record;
BEGIN
    PERFORM boxhaul.move_guard(subscription);
    took := 0;
    skipped := 0;
    -- Where foreign keys act here, a row that goes may take others with it, or a value of theirs: those that refer to it then. One that has come to refer to another row before stays, so no
    -- row of such a table goes before its turn.
    IF current_setting('session_replication_role') <> 'replica' THEN
        acts := ARRAY(SELECT t.source FROM boxhaul.sink_table t
                       WHERE t.subscription = sink_run.subscription
                         AND EXISTS (SELECT FROM boxhaul.capture_relation(t.target) r (r), LATERAL (SELECT r.r UNION ALL SELECT p.relid FROM pg_partition_tree(r.r) p) x (x)
                                       JOIN pg_constraint f ON f.confrelid = x.x AND f.contype = 'f' AND f.confdeltype IN ('c', 'n', 'd')));
    END IF;
    WHILE a <= n LOOP
        -- What a message that keeps its place has changed counts for what is behind it.
        SELECT array_agg(t.source) INTO slow FROM boxhaul.sink_table t WHERE t.subscription = sink_run.subscription AND (t.slow OR t.source = ANY (acts));
        i := array_position(alone, true, a);
        IF slow IS NOT NULL THEN
            i := least(i, (SELECT min(x.n) FROM unnest(sources) WITH ORDINALITY AS x (source, n) WHERE x.n >= a AND x.source = ANY (slow)));
        END IF;
        i := coalesce(i, n + 1);
        IF i > a THEN
            SELECT * INTO m FROM boxhaul.sink_many(subscription, ops[a:i - 1], sources[a:i - 1], CASE WHEN i - a = n THEN bodies ELSE bodies[a:i - 1] END);
            took := took + m.took;
            skipped := skipped + m.skipped;
        END IF;
        EXIT WHEN i > n;
        j := i;
        IF ops[i] = 'r' AND bodies[i] ? 'rows' THEN
            WHILE j < n AND ops[j + 1] = 'r' AND sources[j + 1] = sources[i] AND bodies[j + 1] ? 'rows' LOOP
                j := j + 1;
            END LOOP;
            more := boxhaul.sink_fill(subscription, sources[i], bodies[i:j]);
        ELSE
            more := boxhaul.sink_one(subscription, ops[i], sources[i], bodies[i], tokens[i]);
        END IF;
        took := took + more;
        skipped := skipped + CASE WHEN more = 0 THEN j - i + 1 ELSE 0 END;
        a := j + 1;
    END LOOP;
END
$$;

-- --- the position ---

-- Locks the position, and says whether it is where the caller believes it to be: taken is NULL where it is not. Where something was lost,
-- or the position was set back, nobody knows what the tables lack: they are incomplete until they are read anew.
CREATE OR REPLACE FUNCTION boxhaul.sink_open(subscription text, epoch bigint, incarnation integer, from_position bigint, lost bigint,
                                             OUT at_position bigint, OUT open boolean)
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    p boxhaul.inbox_position;
    s boxhaul.sink;
BEGIN
    SELECT * INTO p FROM boxhaul.inbox_position x WHERE x.subscription = sink_open.subscription FOR UPDATE;
    at_position := p.position;
    open := coalesce(p.epoch = sink_open.epoch AND p.incarnation = sink_open.incarnation AND p.position = from_position
                     AND p.stop IS NULL AND p.paused_at IS NULL, false);
    IF NOT open THEN
        RETURN;
    END IF;
    SELECT * INTO STRICT s FROM boxhaul.sink x WHERE x.subscription = p.subscription;
    IF s.incarnation = p.incarnation AND from_position >= s.position AND s.lost = p.lost AND sink_open.lost = 0 THEN
        RETURN;
    END IF;
    IF s.incarnation IS NOT NULL THEN
        UPDATE boxhaul.sink_table t SET state = 'incomplete', snapshot = NULL WHERE t.subscription = p.subscription;
        DELETE FROM boxhaul.sink_held h WHERE h.subscription = p.subscription;
    END IF;
    UPDATE boxhaul.sink x SET incarnation = p.incarnation, position = from_position, lost = p.lost + sink_open.lost, split = NULL
     WHERE x.subscription = p.subscription;
END
$$;

-- Moves the position, in the transaction of what it passes. Nobody else can have moved it since sink_open(): that holds its lock.
CREATE OR REPLACE FUNCTION boxhaul.sink_moved(subscription text, to_position bigint, witness bigint, messages bigint, lost bigint) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    p boxhaul.inbox_position;
BEGIN
    UPDATE boxhaul.inbox_position x
       SET position = to_position, witness = sink_moved.witness, taken = x.taken + messages, lost = x.lost + sink_moved.lost, moved_at = clock_timestamp()
     WHERE x.subscription = sink_moved.subscription RETURNING * INTO p;
    PERFORM boxhaul.inbox_trace(p.subscription, p.incarnation, to_position, witness);
END
$$;

-- What to do about an error, where it can be said in general.
CREATE OR REPLACE FUNCTION boxhaul.sink_advice(state text, hint text) RETURNS text
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT coalesce(nullif(hint, ''), CASE
        WHEN state = '23505' THEN 'Another row here has the value. If that is one from before a resync (boxhaul capture resync) that has not come to its table yet, '
                                  'drop the constraint or the unique index, and make it again when the tables are complete.'
        WHEN state LIKE '23%' THEN 'A constraint of the target refuses what the source has: change the constraint, or the rows here that are in its way.'
        WHEN state LIKE '22%' THEN 'A column of the target cannot hold the value: change its type, or give the table a function that translates.'
        WHEN state = '42501' THEN 'The sink lacks a right: GRANT it to boxhaul_sink.'
        WHEN state IN ('40P01', '55P03', '40001') THEN 'Somebody else holds a lock on these rows.'
        ELSE 'Mend the cause.' END) || ' It is tried again by itself.'
$$;

-- --- the batch ---

-- The numbers of the messages at which transactions end. A message of no transaction (a row of a snapshot, a shape) that stands inside of one
-- goes with it. split: the transaction that is open before the first one.
CREATE OR REPLACE FUNCTION boxhaul.sink_cuts(split text, txs text[], lasts boolean[]) RETURNS integer[]
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    cuts integer[] := '{}';
    tx   text := split;  -- that is open behind message i
BEGIN
    FOR i IN 1 .. coalesce(cardinality(txs), 0) LOOP
        IF txs[i] IS NOT NULL THEN
            -- One whose last message never came (it was a dead letter of the capture) ends where the next one begins.
            IF tx <> txs[i] AND i > 1 THEN
                cuts := cuts || (i - 1);
            END IF;
            tx := CASE WHEN lasts[i] THEN NULL ELSE txs[i] END;
        END IF;
        IF tx IS NULL THEN
            cuts := cuts || i;
        END IF;
    END LOOP;
    RETURN cuts;
END
$$;

-- Applies the messages of (from_position, to_position], and those that were held back before them, and moves the position: the
-- sink's inbox_take(), with the same arguments and the same answer. trouble: why it could not be applied; then `taken` is NULL, the
-- position stands before the transaction that failed, and the books (boxhaul.sink) say the same.
--
-- Exactly once: position and rows are one transaction, under the position's lock and the leader's epoch (I1, I8 of core/inbox/README.md).
-- Order: messages are applied in the stream's order, which is that of the commits; what is put together has the same outcome.
-- Whole: what is applied ends where a transaction of the source ends. A batch that ends inside of one leaves the beginning of it
-- in sink_held, in the same transaction that moves the position past it. Only where more than `part` messages of one are there they are
-- applied without their end, and what follows of it as it comes.
--
-- With the rights of the caller: it writes the service's tables.
CREATE OR REPLACE FUNCTION boxhaul.sink_apply(
    subscription text, epoch bigint, incarnation integer, from_position bigint, to_position bigint, witness bigint,
    seqs bigint[], ids text[], subjects text[], keys text[], payloads bytea[], headers jsonb[], stored bigint[], reasons text[],
    lost bigint DEFAULT 0,
    OUT at_position bigint, OUT taken integer, OUT left_out integer, OUT dead integer, OUT asleep boolean, OUT trouble text)
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on
    SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
    SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
    SET datestyle = 'ISO, YMD' SET intervalstyle = 'iso_8601' SET timezone = 'UTC' SET bytea_output = 'hex'
    SET extra_float_digits = 3 SET lc_monetary = 'C' AS $$
DECLARE
    s        boxhaul.sink;
    is_open  boolean;
    held     integer;          -- so many of what is here was held back
    n        integer;
    until_n  integer;          -- what is applied now
    tx       text;             -- that is open behind message i
    i        integer;
    a        integer;
    b        integer;
    all_seqs bigint[];
    times    bigint[];
    txs      text[];
    lasts    boolean[];
    places   text[];
    raw      bytea[];
    heads    jsonb[];
    why      text[];
    tokens   text[];
    cuts     integer[];        -- a transaction, or what is none, ends at these
    took     bigint := 0;
    ignored  bigint := 0;
    step     bigint;
    nothing  bigint;
    passed   bigint := coalesce(cardinality(seqs), 0);
    goal     bigint := to_position;
    err      text;
    state_   text;
    hint_    text;
    detail_  text;
BEGIN
    SELECT o.at_position, o.open INTO at_position, is_open FROM boxhaul.sink_open(subscription, epoch, incarnation, from_position, lost) o;
    IF NOT is_open THEN
        RETURN;
    END IF;
    IF to_position < from_position OR cardinality(seqs) > 0 AND (seqs[1] <= from_position OR seqs[cardinality(seqs)] > to_position) THEN
        RAISE EXCEPTION 'boxhaul: sequences % to % are not within (%, %]', seqs[1], seqs[cardinality(seqs)], from_position, to_position
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT * INTO STRICT s FROM boxhaul.sink x WHERE x.subscription = sink_apply.subscription;
    left_out := 0;
    dead := 0;
    asleep := false;
    -- For the session, where sinks are all that is served (inbox_try_lock() ends it): whenever this changes, the server drops every plan of
    -- the session, and to make those of this function again takes as long as to apply two hundred rows.
    IF current_setting('session_replication_role') <> 'replica' AND boxhaul.sink_may_replicate() THEN
        PERFORM set_config('session_replication_role', 'replica', EXISTS (
            SELECT FROM boxhaul.subscription d WHERE NOT EXISTS (SELECT FROM boxhaul.sink x WHERE x.subscription = d.name)));
    END IF;
    -- What was held back stands before all that comes now.
    SELECT count(*), array_agg(h.seq), array_agg(h.stored), array_agg(h.payload), array_agg(h.headers), array_agg(NULL::text) INTO held, all_seqs, times, raw, heads, why
      FROM (SELECT x.seq, x.stored, x.payload, x.headers FROM boxhaul.sink_held x WHERE x.subscription = sink_apply.subscription ORDER BY x.seq OFFSET 0) h;
    all_seqs := all_seqs || seqs;
    times := times || stored;
    raw := raw || payloads;
    why := why || reasons;
    SELECT array_agg(h.h ->> 'Boxhaul-Tx'), array_agg(coalesce(h.h ? 'Boxhaul-Last', false)), array_agg(h.h ->> 'Boxhaul-Position'), array_agg(h.h ->> 'Boxhaul-Token')
      INTO txs, lasts, places, tokens
      FROM (SELECT unnest(heads || sink_apply.headers) AS h OFFSET 0) h;
    n := coalesce(cardinality(all_seqs), 0);

    SELECT c.cut, c.tx INTO until_n, tx FROM boxhaul.sink_last_cut(s.split, txs, lasts) c;
    IF until_n < n AND (n - until_n > s.part OR tx = s.split) THEN
        until_n := n;
    ELSIF until_n < n THEN
        tx := NULL;  -- what stays behind is whole again
    END IF;

    IF until_n > 0 THEN
        IF current_setting('wal_level') = 'logical' THEN
            -- Whoever captures this database knows by it what was not done here (boxhaul-capture(7)).
            PERFORM boxhaul.capture_emit('boxhaul.applied', subscription);
        END IF;
        SET CONSTRAINTS ALL DEFERRED;
        BEGIN
            SELECT r.took, r.skipped INTO took, ignored
              FROM boxhaul.sink_changes(CASE WHEN until_n = n THEN raw ELSE raw[1:until_n] END, tokens[1:until_n], why[1:until_n]) c, boxhaul.sink_run(subscription, c.ops, c.sources, c.bodies, c.tokens, c.alone) r;
            SET CONSTRAINTS ALL IMMEDIATE;
        EXCEPTION WHEN OTHERS THEN
            took := -1;
        END;
        IF took < 0 THEN
            -- One by one, transaction by transaction, in the order of the log; the statements are made anew, for the target may have changed.
            took := 0;
            ignored := 0;
            a := 1;
            cuts := boxhaul.sink_cuts(s.split, txs, lasts);
            IF until_n > coalesce(cuts[cardinality(cuts)], 0) THEN
                cuts := cuts || until_n;  -- a part
            END IF;
            FOREACH b IN ARRAY cuts LOOP
                step := 0;
                nothing := 0;
                i := a;
                BEGIN
                    IF a = 1 THEN
                        PERFORM boxhaul.sink_prepare(t.subscription, t.source, t.shape) FROM boxhaul.sink_table t
                          WHERE t.subscription = sink_apply.subscription AND t.shape IS NOT NULL;
                    END IF;
                    SET CONSTRAINTS ALL DEFERRED;
                    FOR k IN a .. b LOOP
                        i := k;
                        SELECT step + m.took, nothing + m.skipped INTO step, nothing FROM boxhaul.sink_alone(subscription, raw[i], tokens[i], why[i]) m;
                    END LOOP;
                    SET CONSTRAINTS ALL IMMEDIATE;
                    took := took + step;
                    ignored := ignored + nothing;
                EXCEPTION WHEN OTHERS THEN
                    GET STACKED DIAGNOSTICS err = MESSAGE_TEXT, state_ = RETURNED_SQLSTATE, hint_ = PG_EXCEPTION_HINT, detail_ = PG_EXCEPTION_DETAIL;
                    trouble := format('%s%s (message %s of the stream%s)', err, ': ' || nullif(detail_, ''), all_seqs[i], ', transaction ' || txs[i]);
                END;
                EXIT WHEN trouble IS NOT NULL;
                a := b + 1;
            END LOOP;
            IF trouble IS NOT NULL THEN
                -- What stands before it is applied, and is not done again.
                until_n := a - 1;
                tx := NULL;
                IF until_n = 0 THEN
                    UPDATE boxhaul.sink x
                       SET error = sink_apply.trouble, error_state = state_, error_hint = boxhaul.sink_advice(state_, hint_), error_seq = all_seqs[i], error_tx = txs[i],
                           error_since = CASE WHEN x.error_seq = all_seqs[i] THEN x.error_since ELSE clock_timestamp() END,
                           error_count = CASE WHEN x.error_seq = all_seqs[i] THEN x.error_count ELSE 0 END + 1
                     WHERE x.subscription = sink_apply.subscription;
                    RETURN;
                END IF;
                goal := greatest(all_seqs[until_n], from_position);
                witness := times[until_n];
                passed := (SELECT count(*) FROM unnest(seqs) q WHERE q <= goal);
            END IF;
        END IF;
    END IF;

    IF held > 0 AND until_n > 0 THEN
        DELETE FROM boxhaul.sink_held h WHERE h.subscription = sink_apply.subscription;
        held := 0;
    END IF;
    IF trouble IS NULL AND until_n < n THEN
        INSERT INTO boxhaul.sink_held (subscription, seq, payload, headers, stored)
        SELECT sink_apply.subscription, x.seq, x.payload, x.headers, x.stored
          FROM unnest(seqs, payloads, sink_apply.headers, stored, reasons) AS x (seq, payload, headers, stored, reason)
         WHERE x.seq > coalesce(all_seqs[until_n], 0);
    END IF;
    places := array_remove(places[1:until_n], NULL);
    UPDATE boxhaul.sink x
       SET position = goal, place = coalesce(places[cardinality(places)], x.place),
           split = CASE WHEN trouble IS NULL THEN tx END,
           applied = x.applied + took, skipped = x.skipped + ignored,
           transactions = x.transactions + (SELECT count(DISTINCT u.t COLLATE "C") FROM unnest(txs[1:until_n]) AS u (t)) - (txs[1] IS NOT DISTINCT FROM x.split AND until_n > 0 AND x.split IS NOT NULL)::integer,
           missing = (SELECT coalesce(sum(t.missing), 0) FROM boxhaul.sink_table t WHERE t.subscription = sink_apply.subscription),
           error = sink_apply.trouble, error_state = state_, error_hint = CASE WHEN trouble IS NOT NULL THEN boxhaul.sink_advice(state_, hint_) END,
           error_seq = CASE WHEN trouble IS NOT NULL THEN all_seqs[i] END, error_tx = CASE WHEN trouble IS NOT NULL THEN txs[i] END,
           error_since = CASE WHEN trouble IS NOT NULL THEN clock_timestamp() END, error_count = CASE WHEN trouble IS NOT NULL THEN 1 ELSE 0 END,
           moved_at = clock_timestamp()
     WHERE x.subscription = sink_apply.subscription;
    PERFORM boxhaul.sink_moved(subscription, goal, witness, passed, lost);
    at_position := goal;
    IF trouble IS NULL THEN
        taken := passed;
    END IF;
END
$$;

-- Of sink_cuts() the last one alone, and the transaction that is open behind all messages: the others are asked for only where something fails.
CREATE OR REPLACE FUNCTION boxhaul.sink_last_cut(split text, txs text[], lasts boolean[], OUT cut integer, OUT tx text)
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    n     integer := coalesce(cardinality(txs), 0);
    at    integer;  -- the last message that is of a transaction
    ended boolean;  -- with it
    other integer;  -- the last one before it of another transaction, or of one that ended
BEGIN
    IF lasts[n] AND txs[n] IS NOT NULL THEN  -- mostly
        cut := n;
        RETURN;
    END IF;
    SELECT u.n, u.its, u.last INTO at, tx, ended FROM unnest(txs, lasts) WITH ORDINALITY AS u (its, last, n) WHERE u.its IS NOT NULL ORDER BY u.n DESC LIMIT 1;
    IF ended OR at IS NULL AND split IS NULL THEN
        cut := n;
        tx := NULL;
    ELSIF at IS NULL THEN
        cut := 0;
        tx := split;
    ELSE
        SELECT max(u.n) INTO other FROM unnest(txs, lasts) WITH ORDINALITY AS u (its, last, n) WHERE u.n < at AND (u.last OR u.its <> tx);
        IF other IS NULL AND split = tx THEN
            cut := 0;
        ELSE
            SELECT min(u.n) - 1 INTO cut FROM unnest(txs) WITH ORDINALITY AS u (its, n) WHERE u.its IS NOT NULL AND u.n > coalesce(other, 0);
        END IF;
    END IF;
END
$$;

-- One message in the order of the log, from its bytes: its changes one by one. took, skipped: as of sink_run().
CREATE OR REPLACE FUNCTION boxhaul.sink_alone(subscription text, payload bytea, token text, why text, OUT took bigint, OUT skipped bigint)
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    c    record;
    more bigint;
BEGIN
    PERFORM boxhaul.move_guard(subscription);
    IF why IS NOT NULL THEN
        RAISE EXCEPTION 'boxhaul: a message cannot be read: %', why USING ERRCODE = 'invalid_parameter_value';
    END IF;
    took := 0;
    skipped := 0;
    FOR c IN SELECT u.op, u.source, u.body, u.token FROM boxhaul.sink_changes(ARRAY[payload], ARRAY[token], ARRAY[why]) m,
                                                         unnest(m.ops, m.sources, m.bodies, m.tokens) WITH ORDINALITY AS u (op, source, body, token, n) ORDER BY u.n LOOP
        more := boxhaul.sink_one(subscription, c.op, c.source, c.body, c.token);
        took := took + more;
        skipped := skipped + (more = 0)::integer;
    END LOOP;
END
$$;

-- --- the configuration ---

-- Fits the tables of a sink to the configuration. Returns what changed. A table that is new, or goes elsewhere, is incomplete until it is read
-- anew; one with other columns too, for what is there already lacks them.
CREATE OR REPLACE FUNCTION boxhaul.sink_define(subscription text, tables jsonb, snapshot text DEFAULT 'required', part integer DEFAULT 10000) RETURNS text[]
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    s   boxhaul.sink;
    c   record;
    t   boxhaul.sink_table;
    did text[] := '{}';
BEGIN
    -- Whoever reads one of them anew would sweep the rows of the other one, and which of two changes came last would be nobody's question.
    FOR c IN SELECT min(o ->> 'to') AS target, string_agg(o ->> 'from', ', ') AS sources FROM jsonb_array_elements(tables) o GROUP BY parse_ident(o ->> 'to') HAVING count(*) > 1 LOOP
        RAISE EXCEPTION 'boxhaul: more than one table goes to %: %', c.target, c.sources
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Give each a table of its own.';
    END LOOP;
    SELECT * INTO s FROM boxhaul.sink x WHERE x.subscription = sink_define.subscription FOR UPDATE;
    IF s.subscription IS NULL THEN
        IF EXISTS (SELECT FROM boxhaul.inbox_position p WHERE p.subscription = sink_define.subscription AND p.position > p.began) THEN
            RAISE EXCEPTION 'boxhaul: subscription % has taken messages for workers, so it cannot apply them to tables', subscription
                USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Give the subscription with tables another name.';
        END IF;
        INSERT INTO boxhaul.sink (subscription, snapshot, part) VALUES (sink_define.subscription, sink_define.snapshot, sink_define.part);
        did := did || format('applies to %s table%s', jsonb_array_length(tables), CASE WHEN jsonb_array_length(tables) = 1 THEN '' ELSE 's' END);
    ELSIF (s.snapshot, s.part) IS DISTINCT FROM (sink_define.snapshot, sink_define.part) THEN
        UPDATE boxhaul.sink x SET snapshot = sink_define.snapshot, part = sink_define.part WHERE x.subscription = s.subscription;
        did := did || format('snapshot: %s, whole transactions up to %s messages', sink_define.snapshot, sink_define.part);
    END IF;
    FOR c IN SELECT o ->> 'from' AS source, o ->> 'to' AS target, ARRAY(SELECT jsonb_array_elements_text(o -> 'columns')) AS mapping, o ->> 'function' AS function
               FROM jsonb_array_elements(tables) o LOOP
        SELECT * INTO t FROM boxhaul.sink_table x WHERE x.subscription = sink_define.subscription AND x.source = c.source;
        IF t.source IS NULL THEN
            INSERT INTO boxhaul.sink_table (subscription, source, target, mapping, function) VALUES (sink_define.subscription, c.source, c.target, c.mapping, c.function);
        ELSIF (t.target, t.mapping, t.function) IS DISTINCT FROM (c.target, c.mapping, c.function) THEN
            UPDATE boxhaul.sink_table x
               SET target = c.target, mapping = c.mapping, function = c.function, state = 'incomplete', snapshot = NULL,
                   put = NULL, fill = NULL, clash = NULL, set_ = NULL, move = NULL, take = NULL, mark = NULL
             WHERE x.subscription = t.subscription AND x.source = t.source;
            did := did || format('table %s goes to %s in another way, and has to be read anew', c.source, c.target);
        END IF;
    END LOOP;
    FOR t IN DELETE FROM boxhaul.sink_table x WHERE x.subscription = sink_define.subscription
                AND x.source NOT IN (SELECT o ->> 'from' FROM jsonb_array_elements(tables) o) RETURNING * LOOP
        did := did || format('table %s is not applied any more', t.source);
    END LOOP;
    RETURN did;
END
$$;

-- The tables of a sink with snapshot "none" hold what the source held at this place of its stream: from here on its changes are applied.
CREATE OR REPLACE FUNCTION boxhaul.sink_complete(subscription text) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    UPDATE boxhaul.sink_table t SET state = 'complete', complete_at = clock_timestamp()
      FROM boxhaul.sink s
     WHERE s.subscription = sink_complete.subscription AND t.subscription = s.subscription AND s.snapshot = 'none' AND t.state = 'incomplete';
END
$$;

-- --- looking ---

CREATE OR REPLACE VIEW boxhaul.sink_status AS
SELECT s.subscription, d.stream, p.position, s.place, split_part(s.place, '.', 1)::pg_lsn AS lsn,
       timestamptz '2000-01-01 00:00:00+00' + split_part(s.place, '.', 2)::bigint * interval '1 microsecond' AS committed_at,
       NOT EXISTS (SELECT FROM boxhaul.sink_table t WHERE t.subscription = s.subscription AND t.state <> 'complete') AS complete,
       s.applied, s.transactions, s.skipped, s.missing,
       (SELECT count(*) FROM boxhaul.sink_held h WHERE h.subscription = s.subscription) AS held,
       s.split IS NOT NULL AS split, s.error, s.error_state, s.error_hint, s.error_seq, s.error_tx, s.error_since, s.error_count, s.moved_at,
       (SELECT coalesce(jsonb_agg(jsonb_build_object('source', t.source, 'target', t.target, 'function', t.function, 'state', t.state, 'sweep', t.sweep,
                  'rows', t.rows, 'missing', t.missing, 'swept', t.swept, 'begun_at', t.begun_at, 'complete_at', t.complete_at) ORDER BY t.source), '[]')
          FROM boxhaul.sink_table t WHERE t.subscription = s.subscription) AS tables
  FROM boxhaul.sink s
  JOIN boxhaul.subscription d ON d.name = s.subscription
  JOIN boxhaul.inbox_position p ON p.subscription = s.subscription;

-- What the daemon tells of a sink: changes that took effect, tables that are not complete, updates that found no row. No row: it is none.
CREATE OR REPLACE FUNCTION boxhaul.sink_figures(subscription text) RETURNS TABLE (applied bigint, incomplete bigint, missing bigint)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT s.applied, (SELECT count(*) FROM boxhaul.sink_table t WHERE t.subscription = s.subscription AND t.state <> 'complete'), s.missing
      FROM boxhaul.sink s WHERE s.subscription = sink_figures.subscription
$$;

-- What keeps the tables of a sink from being written, by the configuration alone; nothing has been said of the source's columns yet.
CREATE OR REPLACE FUNCTION boxhaul.sink_check(tables jsonb) RETURNS TABLE (source text, target text, trouble text, hint text)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    o jsonb;
    f text;
    p oid;
BEGIN
    IF NOT pg_has_role('boxhaul_sink', 'USAGE') THEN
        RETURN QUERY SELECT NULL::text, NULL::text, format('%s has not the role boxhaul_sink', current_user), format('GRANT boxhaul_sink TO %I;', current_user);
        RETURN;
    END IF;
    FOR o IN SELECT jsonb_array_elements(tables) LOOP
        RETURN QUERY SELECT o ->> 'from', o ->> 'to', x.trouble, x.hint
                       FROM boxhaul.sink_troubles(o ->> 'to', ARRAY(SELECT CASE WHEN w LIKE '%=%' THEN split_part(w, '=', 2) ELSE w END
                                                                       FROM jsonb_array_elements_text(o -> 'columns') w WHERE w <> '*'), NULL) x;
        IF NOT boxhaul.sink_may_replicate() THEN
            RETURN QUERY SELECT o ->> 'from', o ->> 'to', format('foreign key %I of table %s would be asked while rows come, which is table by table', f.conname, f.conrelid::regclass),
                                format(CASE WHEN current_setting('server_version_num')::integer >= 150000
                                            THEN 'GRANT SET ON PARAMETER session_replication_role TO %s; or drop it while tables are read.'
                                            ELSE 'Before PostgreSQL 15 it takes a superuser to leave foreign keys alone (%s is none): it has to go while tables are read.' END, quote_ident(current_user))
                           FROM pg_constraint f, (SELECT c.oid FROM pg_class c JOIN pg_namespace s ON s.oid = c.relnamespace
                                                   WHERE ARRAY[s.nspname::text, c.relname::text] = parse_ident(o ->> 'to')) c
                          WHERE f.contype = 'f' AND f.conparentid = 0 AND c.oid IN (f.conrelid, f.confrelid) ORDER BY f.conname;
        END IF;
        f := o ->> 'function';
        p := (SELECT x.oid FROM pg_proc x JOIN pg_namespace s ON s.oid = x.pronamespace
               WHERE f <> '' AND ARRAY[s.nspname::text, x.proname::text] = parse_ident(f) AND x.pronargs = 1 AND x.proargtypes[0] = 'jsonb'::regtype);
        IF f <> '' AND p IS NULL THEN
            RETURN QUERY SELECT o ->> 'from', o ->> 'to', format('there is no function %s(jsonb)', f),
                                format('CREATE FUNCTION %s(line jsonb) RETURNS jsonb ...', f);
        ELSIF NOT has_function_privilege(p, 'EXECUTE')
              OR NOT has_schema_privilege((SELECT x.pronamespace FROM pg_proc x WHERE x.oid = p), 'USAGE') THEN
            RETURN QUERY SELECT o ->> 'from', o ->> 'to', format('%s may not call the function %s(jsonb)', current_user, f),
                                format('GRANT USAGE ON SCHEMA %I TO boxhaul_sink; GRANT EXECUTE ON FUNCTION %s(jsonb) TO boxhaul_sink;', (parse_ident(f))[1], f);
        END IF;
    END LOOP;
END
$$;

-- --- grants ---

REVOKE ALL ON ALL TABLES IN SCHEMA boxhaul FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA boxhaul FROM PUBLIC;

-- The login of a daemon that has a sink: it has the relay's role besides, and is granted the service's tables.
GRANT USAGE ON SCHEMA boxhaul TO boxhaul_sink;
GRANT SELECT ON boxhaul.schema_version TO boxhaul_sink;
GRANT SELECT, UPDATE ON boxhaul.sink, boxhaul.sink_table TO boxhaul_sink;
GRANT SELECT, INSERT, DELETE ON boxhaul.sink_held, boxhaul.sink_seen TO boxhaul_sink;
GRANT EXECUTE ON FUNCTION
    boxhaul.sink_apply(text, bigint, integer, bigint, bigint, bigint, bigint[], text[], text[], text[], bytea[], jsonb[], bigint[], text[], bigint),
    boxhaul.capture_emit(text, text), boxhaul.sink_open(text, bigint, integer, bigint, bigint), boxhaul.sink_moved(text, bigint, bigint, bigint, bigint),
    boxhaul.sink_define(text, jsonb, text, integer), boxhaul.sink_may_replicate(), boxhaul.sink_troubles(text, text[], text[]),
    boxhaul.sink_is_slow(regclass, text[], oid[]), boxhaul.sink_has_one_text(regclass, text), boxhaul.sink_key_text(text), boxhaul.sink_key_mark(regclass, text[]), boxhaul.sink_rounds(regclass, text, oid, integer),
    boxhaul.capture_operators(oid), boxhaul.capture_equals(oid, text, text), boxhaul.capture_type(oid), boxhaul.capture_relations(oid), boxhaul.sink_value(regclass, text, text, text),
    boxhaul.sink_statement(text, regclass, text[], text[], text[], text[]), boxhaul.sink_prepare(text, text, jsonb),
    boxhaul.sink_translate(boxhaul.sink_table, jsonb), boxhaul.sink_row_as_target(text, text, jsonb), boxhaul.sink_put(boxhaul.sink_table, jsonb[]),
    boxhaul.sink_insert(boxhaul.sink_table, text, jsonb[]),
    boxhaul.sink_rivals(regclass, text[]), boxhaul.sink_said(boxhaul.sink_table, regclass, text[], jsonb), boxhaul.sink_make_room(boxhaul.sink_table, jsonb, jsonb[], boolean), boxhaul.sink_referring(regclass),
    boxhaul.sink_give_way(regclass, text, text, text, text[], boxhaul.sink_table, jsonb, jsonb[]),
    boxhaul.sink_set(boxhaul.sink_table, jsonb[]), boxhaul.sink_rows(boxhaul.sink_table, text, jsonb[]), boxhaul.sink_sweep(boxhaul.sink_table),
    boxhaul.sink_truncate(boxhaul.sink_table), boxhaul.sink_begin_table(boxhaul.sink_table, text), boxhaul.sink_history(boxhaul.sink_table, text, boolean),
    boxhaul.sink_judge_stream(jsonb),
    boxhaul.sink_one(text, text, text, jsonb, text), boxhaul.sink_move_row(boxhaul.sink_table, jsonb, jsonb),
    boxhaul.sink_many(text, text[], text[], jsonb[]), boxhaul.sink_fill(text, text, jsonb[]), boxhaul.sink_run(text, text[], text[], jsonb[], text[], boolean[]),
    boxhaul.sink_changes(bytea[], text[], text[]), boxhaul.sink_keeps_place(text, text, jsonb),
    boxhaul.sink_outcomes(text[], text[], jsonb[]), boxhaul.sink_cuts(text, text[], boolean[]),
    boxhaul.sink_last_cut(text, text[], boolean[]), boxhaul.sink_alone(text, bytea, text, text), boxhaul.sink_advice(text, text), boxhaul.sink_complete(text) TO boxhaul_sink;
GRANT EXECUTE ON FUNCTION boxhaul.sink_figures(text), boxhaul.sink_check(jsonb), boxhaul.sink_troubles(text, text[], text[]), boxhaul.sink_may_replicate() TO boxhaul_relay;

GRANT SELECT ON boxhaul.sink, boxhaul.sink_table, boxhaul.sink_status, boxhaul.sink_held TO boxhaul_relay;
GRANT SELECT ON boxhaul.sink, boxhaul.sink_table, boxhaul.sink_status TO boxhaul_monitor;
GRANT SELECT (subscription, seq, headers, stored) ON boxhaul.sink_held TO boxhaul_monitor;

INSERT INTO boxhaul.schema_version (version, name) VALUES (11, 'sink') ON CONFLICT DO NOTHING;
