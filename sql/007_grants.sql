-- boxhaul 007: who may do what.

SET standard_conforming_strings = on;  -- what stands below is written for it

REVOKE ALL ON SCHEMA boxhaul FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA boxhaul FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA boxhaul FROM PUBLIC;

-- The wake-up trigger's WHEN reads this with the rights of whoever inserts: a missing grant would fail the
-- producer's transaction. The value tells nothing but whether the relay sleeps.
GRANT SELECT ON SEQUENCE boxhaul.relay_asleep TO PUBLIC;

GRANT USAGE ON SCHEMA boxhaul TO boxhaul_writer, boxhaul_relay, boxhaul_monitor;
GRANT SELECT ON boxhaul.schema_version TO boxhaul_writer, boxhaul_relay, boxhaul_monitor;

-- SELECT on what INSERT ... RETURNING is used for; not on message ids (003).
GRANT INSERT (subject, key, payload, headers), SELECT (id, created_at) ON boxhaul.outbox TO boxhaul_writer;
GRANT INSERT, SELECT ON boxhaul.outgoing TO boxhaul_writer;
GRANT EXECUTE ON FUNCTION boxhaul.publish(text, bytea, text, jsonb), boxhaul.publish(text, text, text, jsonb),
                          boxhaul.publish(text, jsonb, text, jsonb), boxhaul.publish(text, json, text, json),
                          boxhaul.insert_message(text, text, bytea, jsonb), boxhaul.outgoing_id() TO boxhaul_writer;

-- The relay reads the outbox and writes nothing but through these functions.
GRANT SELECT ON boxhaul.outbox, boxhaul.dead_letter, boxhaul.messages TO boxhaul_relay;
DO $$
BEGIN
    EXECUTE pg_catalog.format('GRANT SELECT ON SEQUENCE %s TO boxhaul_relay', pg_catalog.pg_get_serial_sequence('boxhaul.outbox', 'id'));
END
$$;
GRANT EXECUTE ON FUNCTION boxhaul.try_leader_lock(), boxhaul.lead(text, integer), boxhaul.resign(bigint, integer),
    boxhaul.mark(bigint, jsonb), boxhaul.announce(integer), boxhaul.lock_try(text, interval), boxhaul.lock_return(text),
    boxhaul.truncate_slot(bigint, integer, interval), boxhaul.clean_sent(bigint, interval, integer), boxhaul.clean_wake(integer),
    boxhaul.rehearse(text), boxhaul.outbox_xmin(), boxhaul.unreadable(bigint, bigint, boolean),
    boxhaul.quiet(bigint, bigint) TO boxhaul_relay;

-- Who operates it has the relay's role.
GRANT EXECUTE ON FUNCTION boxhaul.mend_ids(), boxhaul.pause(text, text), boxhaul.resume(), boxhaul.discard(bigint), boxhaul.redrive(bigint),
    boxhaul.decide_many(text, bigint, bigint, text, text, interval, integer),
    boxhaul.replay(bigint, bigint, timestamptz, text, text, integer, bigint, bigint, boolean),
    boxhaul.replay_lost(bigint[], bigint, bigint) TO boxhaul_relay;

-- The monitor sees everything but payloads and headers.
GRANT SELECT (id, message_id, subject, key, created_at) ON boxhaul.outbox TO boxhaul_monitor;
GRANT SELECT (id, message_id, subject, key, created_at, state, sent_at, attempts, last_error, payload_bytes)
   ON boxhaul.messages TO boxhaul_monitor;
GRANT SELECT (id, message_id, subject, key, created_at, reason, attempts, held, decision, died_at)
   ON boxhaul.dead_letter TO boxhaul_monitor;

-- What both may.
GRANT SELECT ON boxhaul.position, boxhaul.exceptions, boxhaul.sent, boxhaul.paused, boxhaul.discarded
   TO boxhaul_relay, boxhaul_monitor;
GRANT EXECUTE ON FUNCTION boxhaul.slot_seconds(), boxhaul.is_asleep(), boxhaul.ids(), boxhaul.ids_differ(), boxhaul.ids_remedy(text), boxhaul.late_rows(bigint),
    boxhaul.shown(text), boxhaul.leader_lock(), boxhaul.leader_pid(), boxhaul.lock_pid(text), boxhaul.pause_text(timestamptz, text, text), boxhaul.activity(), boxhaul.appeared(), boxhaul.hot(), boxhaul.status(jsonb),
    boxhaul.explain(bigint, jsonb), boxhaul.pause_state(bigint), boxhaul.first_waiting(bigint),
    boxhaul.dead_letters(bigint, bigint, text, text, interval, integer), boxhaul.dead_letter_show(bigint),
    boxhaul.kept(), boxhaul.fates(bigint, bigint, integer), boxhaul.redriven(bigint[]),
    boxhaul.not_granted(), boxhaul.owner_lacks(), boxhaul.seconds_since(timestamptz, timestamptz),
    boxhaul.find_message(uuid, text) TO boxhaul_relay, boxhaul_monitor;

INSERT INTO boxhaul.schema_version (version, name) VALUES (7, 'grants') ON CONFLICT DO NOTHING;
