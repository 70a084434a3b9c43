-- boxhaul 004: the relay's books: position, exceptions, sent ledger, dead letters.
--
-- A message is settled when its id is at or below the position and inside no exception. The functions that lead, mark
-- and clean up stand in 007.

CREATE TABLE IF NOT EXISTS boxhaul.position (
    one        boolean     NOT NULL DEFAULT true PRIMARY KEY CHECK (one),
    position   bigint      NOT NULL DEFAULT 0,   -- all ids at or below it are settled, but for the exceptions
    epoch      bigint      NOT NULL DEFAULT 0,   -- raised by every new leader; guards every mark
    leader     text,                             -- name, host and process of the last leader
    led_since  timestamptz,
    marked_at  timestamptz
) WITH (fillfactor = 50);                        -- one HOT update per mark
INSERT INTO boxhaul.position DEFAULT VALUES ON CONFLICT DO NOTHING;

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
    since      timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- One row per mark and stream: what it settled, and where the stream stood.
CREATE TABLE IF NOT EXISTS boxhaul.sent (
    first_id   bigint      NOT NULL,
    last_id    bigint      NOT NULL,
    stream     text        NOT NULL,
    last_seq   bigint      NOT NULL,             -- a floor: see 007
    marked_at  timestamptz NOT NULL DEFAULT clock_timestamp()
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
    died_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Say that the relay sleeps (true) or polls (false). Draw an xid AFTERWARDS, in a transaction of its own: setval owns an xid
-- before it sets the value. Whoever owns that xid or a later one has seen the flag; earlier ones may not have.
CREATE OR REPLACE FUNCTION boxhaul.announce(asleep boolean) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM setval('boxhaul.relay_asleep', CASE WHEN asleep THEN 2 ELSE 1 END);
    DELETE FROM boxhaul.wake;
END
$$;

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
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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

-- Empty one slot of the ring if every row in it is settled and older than the retention. Returns true if
-- it did. Never waits for a lock, so nobody ever waits behind it; the slots that producers write to now or
-- next are left alone.
CREATE OR REPLACE FUNCTION boxhaul.truncate_slot(epoch bigint, slot integer, retention interval) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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

-- The length of a slot, read from the default of outbox.slot: there is no second place to disagree with it.
CREATE OR REPLACE FUNCTION boxhaul.slot_seconds() RETURNS bigint
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT substring(pg_get_expr(d.adbin, d.adrelid) FROM '/ ?''?(\d+)')::bigint
      FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
     WHERE d.adrelid = 'boxhaul.outbox'::regclass AND a.attname = 'slot'
$$;

-- Fit the ring and the size CHECK to the configuration (`boxhaul migrate` calls it). The ring of eight
-- holds four slots of retained rows and four for the turn: a slot is a quarter of the retention.
-- Changes nothing, and takes no lock, where everything already fits. Returns what it changed.
CREATE OR REPLACE FUNCTION boxhaul.configure(retention interval, max_message_bytes bigint) RETURNS text[]
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    want bigint := greatest(1, ceil(extract(epoch FROM retention) / 4))::bigint;
    have text;
    did  text[] := '{}';
BEGIN
    IF want <> boxhaul.slot_seconds() THEN
        EXECUTE format('ALTER TABLE boxhaul.outbox ALTER COLUMN slot SET DEFAULT '
                       '((extract(epoch FROM clock_timestamp())::bigint / %s) %% 8)', want);
        did := did || format('a slot of the ring now lasts %s s', want);
    END IF;
    SELECT pg_get_constraintdef(oid) INTO have FROM pg_constraint
     WHERE conrelid = 'boxhaul.outbox'::regclass AND conname = 'outbox_size';
    IF have IS NULL OR have !~ format('<= %s\)', max_message_bytes - 256) THEN
        ALTER TABLE boxhaul.outbox DROP CONSTRAINT IF EXISTS outbox_size;
        EXECUTE format('ALTER TABLE boxhaul.outbox ADD CONSTRAINT outbox_size CHECK ('
                       'octet_length(payload) + coalesce(octet_length(headers::text), 0) <= %s) NOT VALID',
                       max_message_bytes - 256);
        did := did || format('payload and headers of a message may now have %s bytes', max_message_bytes - 256);
    END IF;
    RETURN did;
END
$$;

-- Dead letters. discard() gives the message up. redrive() sends it again: a letter that holds its lane is
-- sent in its old place, before those that wait behind it; any other is inserted anew at the end, with
-- a new message id (008: its own one again, see there).
CREATE OR REPLACE FUNCTION boxhaul.decide(dead bigint, what text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    d boxhaul.dead_letter;
BEGIN
    SELECT * INTO d FROM boxhaul.dead_letter x WHERE x.id = dead FOR UPDATE;
    IF d.id IS NULL THEN
        RAISE EXCEPTION 'boxhaul: there is no dead letter %', dead
            USING HINT = 'SELECT id, reason FROM boxhaul.dead_letter lists them.', ERRCODE = 'no_data_found';
    END IF;
    IF d.held THEN
        UPDATE boxhaul.dead_letter x SET decision = what WHERE x.id = dead;
        PERFORM pg_notify('boxhaul', 'decided');
        RETURN;
    END IF;
    IF what = 'redrive' THEN
        INSERT INTO boxhaul.outbox (subject, key, payload, headers)
        VALUES (d.subject, d.key, d.payload, d.headers);
    END IF;
    DELETE FROM boxhaul.dead_letter x WHERE x.id = dead;
END
$$;

CREATE OR REPLACE FUNCTION boxhaul.discard(id bigint) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
$$ SELECT boxhaul.decide(discard.id, 'discard') $$;

CREATE OR REPLACE FUNCTION boxhaul.redrive(id bigint) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
$$ SELECT boxhaul.decide(redrive.id, 'redrive') $$;

INSERT INTO boxhaul.schema_version (version, name) VALUES (4, 'ledger') ON CONFLICT DO NOTHING;
