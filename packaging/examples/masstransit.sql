-- The table "OutboxMessage" of MassTransit with Entity Framework Core; import.sql tells more.
--
-- The subject is the first of the message's types: urn:message:Shop.Contracts:OrderPaid goes to Shop.Contracts.OrderPaid. The
-- payload is MassTransit's envelope, with its headers in it. The key is the correlation id; without one the message has no
-- order. Messages with an "EnqueueTime" are sent at once.
--
-- Switch the delivery service off (UseBusOutbox(o => o.DisableDeliveryService())). Nobody deletes the rows then: do it
-- yourself, or in a job.

CREATE OR REPLACE FUNCTION boxhaul_import.masstransit() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM boxhaul_import.message(
        message_id => new."MessageId",
        subject    => replace(split_part(split_part(new."MessageType", ';', 1), 'urn:message:', 2), ':', '.'),
        key        => new."CorrelationId"::text,
        payload    => convert_to(new."Body", 'UTF8'),
        headers    => jsonb_build_object('Content-Type', new."ContentType"));
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION boxhaul_import.masstransit() FROM PUBLIC;

DROP TRIGGER IF EXISTS boxhaul_import ON "OutboxMessage";
CREATE TRIGGER boxhaul_import AFTER INSERT ON "OutboxMessage" FOR EACH ROW EXECUTE FUNCTION boxhaul_import.masstransit();
