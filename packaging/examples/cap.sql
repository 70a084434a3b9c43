-- The table cap.published of CAP (DotNetCore.CAP.PostgreSql); import.sql tells more.
--
-- The subject is the message's name. CAP keeps {"Headers": {...}, "Value": ...} in one column: the value becomes the payload, and
-- the headers (cap-msg-id and the others) become headers. The key is the header cap-kafka-key; without it the message has no order.
-- Delayed messages are sent at once.
--
-- CAP cannot be told not to send: give it the in-memory queue (UseInMemoryMessageQueue()), which nobody else hears.

CREATE OR REPLACE FUNCTION boxhaul_import.cap() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    content jsonb;
BEGIN
    BEGIN
        content := new."Content"::jsonb;
    EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
        PERFORM boxhaul_import.dead_letter(sqlerrm, NULL, new."Name", NULL, convert_to(new."Content", 'UTF8'), NULL);
        RETURN NULL;
    END;
    PERFORM boxhaul_import.message(
        message_id => NULL,
        subject    => new."Name",
        key        => content->'Headers'->>'cap-kafka-key',
        payload    => convert_to((content->'Value')::text, 'UTF8'),
        headers    => jsonb_strip_nulls(content->'Headers'));
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION boxhaul_import.cap() FROM PUBLIC;

DROP TRIGGER IF EXISTS boxhaul_import ON cap.published;
CREATE TRIGGER boxhaul_import AFTER INSERT ON cap.published FOR EACH ROW EXECUTE FUNCTION boxhaul_import.cap();
