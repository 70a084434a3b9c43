-- The table outbox.messages of go-outbox (github.com/efureev/go-outbox); import.sql tells more. Columns: id uuid, topic,
-- payload bytea, headers jsonb, target jsonb; stream and available_at are not looked at: a delayed message is sent at once.
--
-- The subject is the topic, with .vN behind it where target names a version; the key is target's key. Do not run the
-- dispatcher any more. Nobody deletes the rows then: do it yourself, or in a job.

CREATE OR REPLACE FUNCTION boxhaul_import.go_outbox() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM boxhaul_import.message(
        message_id => new.id,
        subject    => new.topic || coalesce('.v' || nullif(new.target->>'version', '0'), ''),
        key        => new.target->>'key',
        payload    => new.payload,
        headers    => new.headers);
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION boxhaul_import.go_outbox() FROM PUBLIC;

DROP TRIGGER IF EXISTS boxhaul_import ON outbox.messages;
CREATE TRIGGER boxhaul_import AFTER INSERT ON outbox.messages FOR EACH ROW EXECUTE FUNCTION boxhaul_import.go_outbox();
