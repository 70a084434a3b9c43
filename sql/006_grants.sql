-- boxhaul 006: who may do what.

REVOKE ALL ON SCHEMA boxhaul FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA boxhaul FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA boxhaul FROM PUBLIC;

-- The wake-up trigger's WHEN reads this with the rights of whoever inserts: a missing grant would fail the
-- producer's transaction. The value tells nothing but whether the relay sleeps.
GRANT SELECT ON SEQUENCE boxhaul.relay_asleep TO PUBLIC;

GRANT USAGE ON SCHEMA boxhaul TO boxhaul_writer, boxhaul_relay, boxhaul_monitor;
GRANT SELECT ON boxhaul.schema_version TO boxhaul_writer, boxhaul_relay, boxhaul_monitor;

-- SELECT on what INSERT ... RETURNING is used for.
GRANT INSERT (subject, key, payload, headers), SELECT (id, message_id, created_at) ON boxhaul.outbox TO boxhaul_writer;
GRANT EXECUTE ON FUNCTION boxhaul.publish(text, bytea, text, jsonb), boxhaul.publish(text, text, text, jsonb),
                          boxhaul.publish(text, jsonb, text, jsonb) TO boxhaul_writer;

-- The relay reads the outbox and writes nothing but through these functions.
GRANT SELECT ON boxhaul.outbox, boxhaul.position, boxhaul.exceptions, boxhaul.sent, boxhaul.dead_letter,
                boxhaul.messages TO boxhaul_relay;
GRANT EXECUTE ON FUNCTION boxhaul.announce(boolean), boxhaul.outbox_xmin(), boxhaul.slot_seconds(),
    boxhaul.discard(bigint), boxhaul.redrive(bigint) TO boxhaul_relay;

-- The monitor sees everything but payloads and headers.
GRANT SELECT ON boxhaul.position, boxhaul.exceptions, boxhaul.sent TO boxhaul_monitor;
GRANT SELECT (id, message_id, subject, key, created_at) ON boxhaul.outbox TO boxhaul_monitor;
GRANT SELECT (id, message_id, subject, key, created_at, state, sent_at, attempts, last_error, payload_bytes)
   ON boxhaul.messages TO boxhaul_monitor;
GRANT SELECT (id, message_id, subject, key, created_at, reason, attempts, held, decision, died_at)
   ON boxhaul.dead_letter TO boxhaul_monitor;
GRANT EXECUTE ON FUNCTION boxhaul.slot_seconds() TO boxhaul_monitor;

INSERT INTO boxhaul.schema_version (version, name) VALUES (6, 'grants') ON CONFLICT DO NOTHING;
