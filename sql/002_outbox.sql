-- boxhaul 002: the outbox, its ring of slots, and the wake-up.

SET standard_conforming_strings = on;  -- what stands below is written for it

-- xid stands before id ON PURPOSE. Defaults are evaluated in column order, so a transaction owns an xid
-- before it draws an id. Everything the relay concludes about a missing id rests on that: an id drawn
-- by a transaction without an xid could belong to somebody no snapshot and no lock table shows yet.
--
-- slot is the place in the ring. It follows the clock, so that old rows end up together and go away by
-- TRUNCATE. Every slot always exists: no insert can fail for want of a partition, and correctness never
-- depends on which slot a row sits in.
CREATE TABLE IF NOT EXISTS boxhaul.outbox (
    xid        xid8        NOT NULL DEFAULT pg_current_xact_id(),
    id         bigint      NOT NULL GENERATED ALWAYS AS IDENTITY (CACHE 1),
    slot       smallint    NOT NULL DEFAULT ((extract(epoch FROM clock_timestamp())::bigint / 900) % 8),
    message_id uuid        NOT NULL DEFAULT gen_random_uuid(),
    subject    text        NOT NULL,
    key        text,
    payload    bytea       NOT NULL DEFAULT '',
    headers    jsonb,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Headers that boxhaul adds (Boxhaul-...), filled by its own functions: no producer may insert into it (007), or name such a
    -- header. They go with those of the row.
    boxhaul_headers jsonb,
    PRIMARY KEY (id, slot)
) PARTITION BY LIST (slot);

-- What could never be sent is refused here, in the producer's own transaction. Only built-in functions:
-- a CHECK runs with the producer's rights, and must never fail for want of a grant.
--
-- They are as short as can be, for each INSERT reads them anew: PostgreSQL keeps an expression as the text of its tree, and makes the
-- tree again for every statement. That is most of what a row costs (tests/benchmark/README.md). Therefore no test for NULL where NULL
-- lets the row pass anyway, no short cut in front of what is cheap, and concat(), for which a NULL is empty.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_constraint
                   WHERE conrelid = 'boxhaul.outbox'::regclass AND conname = 'outbox_subject') THEN
        ALTER TABLE boxhaul.outbox ADD CONSTRAINT outbox_subject CHECK (
            octet_length(subject) <= 1024
            AND subject ~ '^(?!_INBOX(\.|$))[^\u0001-\u0020\u007f.*>$][^\u0001-\u0020\u007f.*>]*(\.[^\u0001-\u0020\u007f.*>]+)*$');
    END IF;
    -- NOT VALID, as the next two: rows that are there already are not read for it, and none of them can fail it. They are sent as
    -- they are.
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_constraint
                   WHERE conrelid = 'boxhaul.outbox'::regclass AND conname = 'outbox_headers'
                     AND pg_catalog.pg_get_constraintdef(oid) LIKE '%boxhaul%') THEN
        ALTER TABLE boxhaul.outbox DROP CONSTRAINT IF EXISTS outbox_headers, ADD CONSTRAINT outbox_headers CHECK (
            jsonb_typeof(headers) = 'object'
            AND octet_length(headers::text) <= 49152
            AND NOT headers @? '$.keyvalue() ? (
                    !(@.key like_regex "^[!-9;-~]+$")
                    || @.key like_regex "^(nats|boxhaul)-" flag "i"
                    || @.value.type() != "string"
                    || @.value like_regex "[\\u0001-\\u0008\\u000a-\\u001f\\u007f]")') NOT VALID;
    END IF;
    -- A header has room for the key. There it is percent-encoded: three bytes for each that is not plain (relay/format/envelope.c).
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_constraint
                   WHERE conrelid = 'boxhaul.outbox'::regclass AND conname = 'outbox_key') THEN
        ALTER TABLE boxhaul.outbox ADD CONSTRAINT outbox_key CHECK (
            octet_length(concat(headers, key, repeat(regexp_replace(key COLLATE "C", '[!#$&-~]+', '', 'g'), 2))) <= 65000) NOT VALID;
    END IF;
    FOR s IN 0 .. 7 LOOP
        EXECUTE pg_catalog.format(
            'CREATE TABLE IF NOT EXISTS boxhaul.outbox_%s PARTITION OF boxhaul.outbox FOR VALUES IN (%s)', s, s);
    END LOOP;
END
$$;

COMMENT ON TABLE boxhaul.outbox IS
    'Messages to publish. INSERT (subject, key, payload, headers) in the transaction that changes your rows. '
    'Never name xid, id or slot in an INSERT.';

-- A row's headers for a row that is inserted anew. Those of a row that is older than the rule may hold a Boxhaul-... of its producer: it
-- goes with ours, or the CHECK would refuse the row.
CREATE OR REPLACE FUNCTION boxhaul.part_headers(INOUT headers jsonb, INOUT boxhaul_headers jsonb)
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    stray text[];
BEGIN
    IF jsonb_typeof(headers) = 'object' THEN
        SELECT array_agg(k) INTO stray FROM jsonb_object_keys(headers) k WHERE k ~* '^boxhaul-';
    END IF;
    IF stray IS NOT NULL THEN
        SELECT jsonb_object_agg(e.key, e.value) || coalesce(boxhaul_headers, '{}') INTO boxhaul_headers
          FROM jsonb_each(headers) e WHERE e.key = ANY (stray);
        headers := headers - stray;
    END IF;
END
$$;

-- --- the ring ---

-- The length of a slot, read from the default of outbox.slot: there is no second place to disagree with it.
CREATE OR REPLACE FUNCTION boxhaul.slot_seconds() RETURNS bigint
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT substring(pg_get_expr(d.adbin, d.adrelid) FROM '/ ?''?(\d+)')::bigint
      FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
     WHERE d.adrelid = 'boxhaul.outbox'::regclass AND a.attname = 'slot'
$$;

-- Payload, headers and key together; 256 bytes are left for what the relay adds. Returns whether it changed anything.
CREATE OR REPLACE FUNCTION boxhaul.configure_size(most bigint) RETURNS boolean
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    have text;
BEGIN
    SELECT pg_get_constraintdef(oid) INTO have FROM pg_constraint
     WHERE conrelid = 'boxhaul.outbox'::regclass AND conname = 'outbox_size';
    IF have ~ format('<= %s\)', most) AND have ~ 'key' THEN
        RETURN false;
    END IF;
    -- The key as it is in a header: see outbox_key.
    EXECUTE format($f$ALTER TABLE boxhaul.outbox DROP CONSTRAINT IF EXISTS outbox_size, ADD CONSTRAINT outbox_size CHECK (
        octet_length(payload) + octet_length(concat(headers, boxhaul_headers, key,
                                                    repeat(regexp_replace(key COLLATE "C", '[!#$&-~]+', '', 'g'), 2))) <= %s)
        NOT VALID$f$, most);
    RETURN true;
END
$$;

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_constraint
                   WHERE conrelid = 'boxhaul.outbox'::regclass AND conname = 'outbox_size'
                     AND pg_catalog.pg_get_constraintdef(oid) LIKE '%key%') THEN
        PERFORM boxhaul.configure_size(1048320);  -- `boxhaul migrate` sets it from max_message_size
    END IF;
END
$$;

-- Fit the ring and the size CHECK to the configuration (`boxhaul migrate` calls it). The ring of eight
-- holds four slots of retained rows and four for the turn: a slot is a quarter of the retention.
-- Changes nothing, and takes no lock, where everything already fits. Returns what it changed.
CREATE OR REPLACE FUNCTION boxhaul.configure(retention interval, max_message_bytes bigint) RETURNS text[]
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    want bigint := greatest(1, ceil(extract(epoch FROM retention) / 4))::bigint;
    did  text[] := '{}';
BEGIN
    IF want <> boxhaul.slot_seconds() THEN
        EXECUTE format('ALTER TABLE boxhaul.outbox ALTER COLUMN slot SET DEFAULT '
                       '((extract(epoch FROM clock_timestamp())::bigint / %s) %% 8)', want);
        did := did || format('a slot of the ring now lasts %s s', want);
    END IF;
    IF boxhaul.configure_size(max_message_bytes - 256) THEN
        did := did || format('payload, headers and key of a message may now have %s bytes', max_message_bytes - 256);
    END IF;
    RETURN did;
END
$$;

-- --- the wake-up ---

-- The flag the wake-up trigger reads: 1 = the relay is awake and polls; above = it sleeps, and wants a NOTIFY until that second
-- since 1970. A relay that sleeps sets it again with each safety poll. One that died asleep does not: a NOTIFY is dear, for all
-- who commit with one do so one after the other, and nobody listens any more.
-- A sequence, because its value is read without a row lock and without a snapshot, and set outside any
-- transaction: everybody sees a change at once.
CREATE SEQUENCE IF NOT EXISTS boxhaul.relay_asleep AS bigint MINVALUE 1 START 1;

-- The wake-up. While the relay is awake the trigger's WHEN is all that runs; it is read anew for each statement, as the CHECKs are, so it
-- asks for no more than it must: 1 is long ago.
--
-- A transaction that has executed NOTIFY cannot be prepared. So where the server allows PREPARE TRANSACTION
-- the NOTIFY waits for the end of the transaction, in a deferred trigger, and is left out when that end is
-- a PREPARE (or when the constraints are called forward: a PREPARE may follow). The notification is only a hint,
-- and no producer's transaction may fail for its sake. For the same reason it is left out while the
-- notification queue is half full, and the row below is only inserted and never read by
-- a producer: serializable producers cannot come into conflict over it. The relay clears them away (wake_clean()). The key is
-- for those who copy tables: a publication of all tables refuses a DELETE without one.
CREATE TABLE IF NOT EXISTS boxhaul.wake (id bigint NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY);

CREATE OR REPLACE FUNCTION boxhaul.wake_statement() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    IF current_setting('max_prepared_transactions')::int > 0 THEN
        INSERT INTO boxhaul.wake DEFAULT VALUES;
    ELSIF pg_notification_queue_usage() < 0.5 THEN
        PERFORM pg_notify('boxhaul', '');
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION boxhaul.wake_commit() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    -- Where the extended protocol ends an implicit transaction there is no query: that is no PREPARE.
    IF coalesce(current_query(), '') !~* '\yprepare\y.*\ytransaction\y|\yset\y.*\yconstraints\y'
       AND pg_notification_queue_usage() < 0.5 THEN
        PERFORM pg_notify('boxhaul', '');
    END IF;
    RETURN NULL;
END
$$;

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_trigger
                   WHERE tgrelid = 'boxhaul.wake'::regclass AND tgname = 'wake_commit') THEN
        CREATE CONSTRAINT TRIGGER wake_commit AFTER INSERT ON boxhaul.wake
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION boxhaul.wake_commit();
    END IF;
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_trigger
                   WHERE tgrelid = 'boxhaul.outbox'::regclass AND tgname = 'wake_statement') THEN
        CREATE TRIGGER wake_statement AFTER INSERT ON boxhaul.outbox FOR EACH STATEMENT
            WHEN (pg_sequence_last_value('boxhaul.relay_asleep'::regclass) > extract(epoch FROM clock_timestamp()))
            EXECUTE FUNCTION boxhaul.wake_statement();
    END IF;
    -- Producers that run as a replica (session_replication_role) wake the relay, too: a hint does nothing to rows or numbers, and is
    -- safe wherever it is given. Whoever switched a trigger off meant it.
    IF EXISTS (SELECT FROM pg_catalog.pg_trigger
               WHERE tgrelid = 'boxhaul.wake'::regclass AND tgname = 'wake_commit' AND tgenabled = 'O') THEN
        ALTER TABLE boxhaul.wake ENABLE ALWAYS TRIGGER wake_commit;
    END IF;
    IF EXISTS (SELECT FROM pg_catalog.pg_trigger
               WHERE tgrelid = 'boxhaul.outbox'::regclass AND tgname = 'wake_statement' AND tgenabled = 'O') THEN
        ALTER TABLE boxhaul.outbox ENABLE ALWAYS TRIGGER wake_statement;
    END IF;
END
$$;

-- Say that the relay sleeps and wants to be notified for so many seconds, or polls (0). Draw an xid AFTERWARDS, in a transaction
-- of its own: setval owns an xid before it sets the value. Whoever owns that xid or a later one has seen the flag; earlier ones
-- may not have.
CREATE OR REPLACE FUNCTION boxhaul.announce(asleep_seconds integer) RETURNS void
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT setval('boxhaul.relay_asleep', CASE WHEN asleep_seconds > 0
                                               THEN extract(epoch FROM clock_timestamp())::bigint + asleep_seconds ELSE 1 END)
$$;

-- Does the relay sleep, and live?
CREATE OR REPLACE FUNCTION boxhaul.is_asleep() RETURNS boolean
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT last_value > extract(epoch FROM clock_timestamp()) FROM boxhaul.relay_asleep
$$;

INSERT INTO boxhaul.schema_version (version, name) VALUES (2, 'outbox') ON CONFLICT DO NOTHING;
