-- The outbox table of Debezium's outbox event router; import.sql tells more. Columns: id uuid, aggregatetype, aggregateid, type,
-- payload (jsonb, json or text; where it is bytea write new.payload for the whole convert_to(...)).
--
-- Subjects are the router's own topics, so the stream takes  subjects = [ "outbox.event.>" ];  The key is the aggregate's id.
-- A row that is deleted in the transaction that wrote it is sent all the same, as with Debezium.

CREATE OR REPLACE FUNCTION boxhaul_import.debezium() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM boxhaul_import.message(
        message_id => new.id,
        subject    => 'outbox.event.' || new.aggregatetype,
        key        => new.aggregateid::text,
        payload    => coalesce(convert_to(new.payload::text, 'UTF8'), ''),
        headers    => jsonb_build_object('type', new.type));
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION boxhaul_import.debezium() FROM PUBLIC;

DROP TRIGGER IF EXISTS boxhaul_import ON outbox;
CREATE TRIGGER boxhaul_import AFTER INSERT ON outbox FOR EACH ROW EXECUTE FUNCTION boxhaul_import.debezium();
