-- boxhaul 002: the outbox, the ring of slots and the wake-up.

-- The flag the wake-up trigger reads: 1 = the relay is awake and polls, 2 = it sleeps and wants a NOTIFY.
-- A sequence, because its value is read without a row lock and without a snapshot, and set outside any
-- transaction: everybody sees a change at once.
CREATE SEQUENCE IF NOT EXISTS boxhaul.relay_asleep AS bigint MINVALUE 1 MAXVALUE 2 START 1;

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
    PRIMARY KEY (id, slot)
) PARTITION BY LIST (slot);

-- What could never be sent is refused here, in the producer's own transaction. Only built-in functions:
-- a CHECK runs with the producer's rights, and must never fail for want of a grant.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_constraint
                   WHERE conrelid = 'boxhaul.outbox'::regclass AND conname = 'outbox_subject') THEN
        ALTER TABLE boxhaul.outbox ADD CONSTRAINT outbox_subject CHECK (
            octet_length(subject) <= 1024
            AND subject ~ '^[^\u0001-\u0020\u007f.*>$][^\u0001-\u0020\u007f.*>]*(\.[^\u0001-\u0020\u007f.*>]+)*$'
            AND subject !~ '^_INBOX(\.|$)');
    END IF;
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_constraint
                   WHERE conrelid = 'boxhaul.outbox'::regclass AND conname = 'outbox_headers') THEN
        ALTER TABLE boxhaul.outbox ADD CONSTRAINT outbox_headers CHECK (
            headers IS NULL OR (
                jsonb_typeof(headers) = 'object'
                AND octet_length(headers::text) <= 49152
                AND NOT jsonb_path_exists(headers, '$.keyvalue() ? (
                        !(@.key like_regex "^[!-9;-~]+$")
                        || @.key like_regex "^nats-" flag "i"
                        || @.value.type() != "string"
                        || @.value like_regex "[\\u0001-\\u0008\\u000a-\\u001f\\u007f]")')));
    END IF;
    -- Payload and headers together; 256 bytes are left for what the relay adds. `boxhaul migrate` sets this
    -- from max_message_size.
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_constraint
                   WHERE conrelid = 'boxhaul.outbox'::regclass AND conname = 'outbox_size') THEN
        ALTER TABLE boxhaul.outbox ADD CONSTRAINT outbox_size CHECK (
            octet_length(payload) + coalesce(octet_length(headers::text), 0) <= 1048320);
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

-- The wake-up. While the relay is awake the trigger's WHEN is all that runs.
--
-- A transaction that has executed NOTIFY cannot be prepared. So where the server allows PREPARE TRANSACTION
-- the NOTIFY waits for the end of the transaction, in a deferred trigger, and is left out when that end is
-- a PREPARE (or when the constraints are called forward: a PREPARE may follow). The notification is only a hint,
-- and no producer's transaction may fail for its sake. For the same reason it is left out while the
-- notification queue is half full, and the row below is only inserted, without an index, and never read by
-- a producer: serializable producers cannot come into conflict over it. The relay clears them away.
CREATE TABLE IF NOT EXISTS boxhaul.wake (one boolean NOT NULL DEFAULT true);

CREATE OR REPLACE FUNCTION boxhaul.wake_statement() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF current_query() !~* '\yprepare\y.*\ytransaction\y|\yset\y.*\yconstraints\y'
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
            WHEN (pg_sequence_last_value('boxhaul.relay_asleep'::regclass) = 2)
            EXECUTE FUNCTION boxhaul.wake_statement();
    END IF;
END
$$;

INSERT INTO boxhaul.schema_version (version, name) VALUES (2, 'outbox') ON CONFLICT DO NOTHING;
