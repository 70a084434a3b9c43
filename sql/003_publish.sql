-- boxhaul 003: ways to insert a message: publish(), and a view for whoever names more columns than an INSERT may.
--
--   SELECT boxhaul.publish('orders.created', '{"id": 42}'::jsonb, key => 'order-42', headers => '{"a": "b"}');
--
-- They insert into the outbox, with its defaults: an xid is drawn before an id (002), whoever inserts.

SET standard_conforming_strings = on;  -- what stands below is written for it

-- The bytes of a key in a header: as the CHECKs count them.
CREATE OR REPLACE FUNCTION boxhaul.coded_bytes(key text) RETURNS bigint
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT (coalesce(octet_length(key) + 2 * octet_length(regexp_replace(key COLLATE "C", '[!#$&-~]', '', 'g')), 0))::bigint
$$;

-- Why the outbox would refuse this message, and what it takes; NULL = it would not. The CHECKs of 002 in words: they are what
-- counts, and a test holds the two together.
CREATE OR REPLACE FUNCTION boxhaul.refusal(subject text, key text, payload bytea, headers jsonb, OUT why text, OUT allowed text)
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    most  bigint;
    plain bigint := octet_length(payload) + coalesce(octet_length(headers::text), 0);
    coded bigint := 3 * coalesce(octet_length(key), 0);  -- as it is in a header: at most
BEGIN
    IF subject IS NULL OR octet_length(subject) > 1024
       OR subject !~ '^[^\u0001-\u0020\u007f.*>$][^\u0001-\u0020\u007f.*>]*(\.[^\u0001-\u0020\u007f.*>]+)*$'
       OR subject ~ '^_INBOX(\.|$)' THEN
        why := 'subject';
        allowed := 'A subject is up to 1024 bytes, words with dots between them, without blanks, *, > or control characters; '
                   'it begins neither with $ nor with _INBOX.';
    ELSIF payload IS NULL THEN
        why := 'payload';
        allowed := 'A payload is bytes, of any length down to 0, and not NULL.';
    ELSIF jsonb_typeof(headers) <> 'object' OR octet_length(headers::text) > 49152
       OR jsonb_path_exists(headers, '$.keyvalue() ? (
              !(@.key like_regex "^[!-9;-~]+$")
              || @.key like_regex "^(nats|boxhaul)-" flag "i"
              || @.value.type() != "string"
              || @.value like_regex "[\\u0001-\\u0008\\u000a-\\u001f\\u007f]")') THEN
        why := 'headers';
        allowed := 'Headers are a JSON object of strings, up to 49152 bytes. A name has printable ASCII without colon and '
                   'blank and begins neither with Nats- nor with Boxhaul-; a value has no control character but tab.';
    ELSIF octet_length(key) > 5000 AND boxhaul.coded_bytes(key) + coalesce(octet_length(headers::text), 0) > 65000 THEN
        why := 'key';
        allowed := 'Headers and key together have up to 65000 bytes, of the key three for each that is not plain ASCII.';
    ELSIF plain + coded > 700 THEN  -- no limit is below that
        SELECT substring(pg_get_constraintdef(c.oid) FROM '<= ''?(\d+)')::bigint INTO most
          FROM pg_constraint c WHERE c.conrelid = 'boxhaul.outbox'::regclass AND c.conname = 'outbox_size';
        IF plain + coded > most AND plain + boxhaul.coded_bytes(key) > most THEN
            why := 'size';
            allowed := format('Payload, headers and key together have up to %s bytes (outbox.max_message_size), of the key three for '
                              'each that is not plain ASCII.', most);
        END IF;
    END IF;
END
$$;

CREATE OR REPLACE FUNCTION boxhaul.insert_message(subject text, key text, payload bytea, headers jsonb,
                                                  OUT id bigint, OUT message_id uuid, OUT created_at timestamptz)
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    wrong   record;
    written jsonb := nullif(headers, 'null');  -- JSON's null is what an object-relational mapper makes of none
BEGIN
    SELECT * INTO wrong FROM boxhaul.refusal(subject, key, payload, written);
    IF wrong.why IS NOT NULL THEN
        RAISE EXCEPTION 'boxhaul: this % cannot be sent', replace(wrong.why, 'size', 'message')
            USING ERRCODE = 'check_violation', CONSTRAINT = 'outbox_' || wrong.why, HINT = wrong.allowed;
    END IF;
    INSERT INTO boxhaul.outbox AS o (subject, key, payload, headers)
    VALUES (insert_message.subject, insert_message.key, insert_message.payload, written)
    RETURNING o.id, o.message_id, o.created_at INTO id, message_id, created_at;
END
$$;

CREATE OR REPLACE FUNCTION boxhaul.publish(subject text, payload bytea, key text DEFAULT NULL, headers jsonb DEFAULT NULL)
    RETURNS bigint LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT id FROM boxhaul.insert_message(publish.subject, publish.key, publish.payload, publish.headers)
$$;

CREATE OR REPLACE FUNCTION boxhaul.publish(subject text, payload text, key text DEFAULT NULL, headers jsonb DEFAULT NULL)
    RETURNS bigint LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT boxhaul.publish(publish.subject, convert_to(publish.payload, 'UTF8'), publish.key, publish.headers)
$$;

CREATE OR REPLACE FUNCTION boxhaul.publish(subject text, payload jsonb, key text DEFAULT NULL, headers jsonb DEFAULT NULL)
    RETURNS bigint LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT boxhaul.publish(publish.subject, convert_to(publish.payload::text, 'UTF8'), publish.key, publish.headers)
$$;

-- What drivers write for their own JSON type: the text as it is.
CREATE OR REPLACE FUNCTION boxhaul.publish(subject text, payload json, key text DEFAULT NULL, headers json DEFAULT NULL)
    RETURNS bigint LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT boxhaul.publish(publish.subject, convert_to(publish.payload::text, 'UTF8'), publish.key, publish.headers::jsonb)
$$;

-- The outbox for object-relational mappers: they name the id in an INSERT, if only as DEFAULT, and want columns back. What is
-- given for id, message_id and created_at is dropped, for they are not a producer's to choose: an id below the position
-- would never be read. It shows what one's own transaction has inserted, and nothing of others: whoever knows the message id of
-- a row that waits could have it taken for sent, by publishing under it first.
CREATE OR REPLACE VIEW boxhaul.outgoing WITH (security_barrier) AS
SELECT o.id, o.message_id, o.subject, o.key, o.payload, o.headers, o.created_at
  FROM boxhaul.outbox o WHERE o.xid = pg_current_xact_id_if_assigned();

CREATE OR REPLACE FUNCTION boxhaul.outgoing_insert() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    NEW.payload := coalesce(NEW.payload, '');
    SELECT i.id, i.message_id, i.created_at INTO NEW.id, NEW.message_id, NEW.created_at
      FROM boxhaul.insert_message(NEW.subject, NEW.key, NEW.payload, NEW.headers) i;
    NEW.headers := nullif(NEW.headers, 'null');
    RETURN NEW;
END
$$;

-- A session with session_replication_role = replica fires no trigger of a view, and there is no ENABLE ALWAYS for one: its row would
-- vanish without a word. The default of id is worked out all the same.
CREATE OR REPLACE FUNCTION boxhaul.outgoing_id() RETURNS bigint
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    IF current_setting('session_replication_role') = 'replica' THEN
        RAISE EXCEPTION 'boxhaul: a session with session_replication_role = replica cannot insert into boxhaul.outgoing'
            USING HINT = 'Call boxhaul.publish(), or insert into boxhaul.outbox.', ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    RETURN NULL;
END
$$;

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_trigger
                   WHERE tgrelid = 'boxhaul.outgoing'::regclass AND tgname = 'outgoing_insert') THEN
        CREATE TRIGGER outgoing_insert INSTEAD OF INSERT ON boxhaul.outgoing
            FOR EACH ROW EXECUTE FUNCTION boxhaul.outgoing_insert();
    END IF;
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_attrdef WHERE adrelid = 'boxhaul.outgoing'::regclass) THEN
        ALTER VIEW boxhaul.outgoing ALTER COLUMN id SET DEFAULT boxhaul.outgoing_id();
    END IF;
END
$$;

COMMENT ON VIEW boxhaul.outgoing IS
    'boxhaul.outbox to insert into with an object-relational mapper: subject, key, payload, headers count; the other columns are given';

INSERT INTO boxhaul.schema_version (version, name) VALUES (3, 'publish') ON CONFLICT DO NOTHING;
