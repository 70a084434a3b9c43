-- boxhaul 003: publish(), the convenient way to insert a message.
--
--   SELECT boxhaul.publish('orders.created', '{"id":42}'::jsonb, key => 'order-42', headers => '{"a":"b"}');
--
-- Runs with the caller's rights and returns the message's id. A plain INSERT does the same.

CREATE OR REPLACE FUNCTION boxhaul.publish(subject text, payload bytea, key text DEFAULT NULL, headers jsonb DEFAULT NULL)
    RETURNS bigint LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO boxhaul.outbox (subject, key, payload, headers)
    VALUES (publish.subject, publish.key, publish.payload, publish.headers)
    RETURNING id
$$;

CREATE OR REPLACE FUNCTION boxhaul.publish(subject text, payload text, key text DEFAULT NULL, headers jsonb DEFAULT NULL)
    RETURNS bigint LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT boxhaul.publish(publish.subject, convert_to(publish.payload, 'UTF8'), publish.key, publish.headers)
$$;

CREATE OR REPLACE FUNCTION boxhaul.publish(subject text, payload jsonb, key text DEFAULT NULL, headers jsonb DEFAULT NULL)
    RETURNS bigint LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT boxhaul.publish(publish.subject, convert_to(publish.payload::text, 'UTF8'), publish.key, publish.headers)
$$;

INSERT INTO boxhaul.schema_version (version, name) VALUES (3, 'publish') ON CONFLICT DO NOTHING;
