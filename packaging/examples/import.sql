-- Messages from the outbox table of another library, sent by boxhaul: what cap.sql, debezium.sql, go-outbox.sql and
-- masstransit.sql have in common. Apply it after `boxhaul migrate`, as the same user, before the one for your table:
--
--     psql -1 -v ON_ERROR_STOP=1 -d shop -f import.sql -f debezium.sql
--
-- A trigger copies each new row into boxhaul.outbox, in the transaction that wrote it: both are committed, or neither. The
-- application's user needs no right in the schema boxhaul, and its code stays as it is. Switch the library's own sender off.
--
-- The application's statement never fails because of what a message holds: one that boxhaul.outbox refuses becomes a dead
-- letter with the reason (`boxhaul dead-letters list`). Mend it with an UPDATE of boxhaul.dead_letter and redrive it, or
-- discard it.

CREATE SCHEMA IF NOT EXISTS boxhaul_import;

-- held = false: the messages of the same key behind it go on.
--
-- The id is drawn from the outbox's own sequence, so no message has the same. The relay finds no row under it, and settles it
-- as it does any id of a transaction that rolled back.
--
-- An error in here does fail the application's statement, and has to: the message would be neither sent nor kept.
CREATE OR REPLACE FUNCTION boxhaul_import.dead_letter(reason text, message_id uuid, subject text, key text, payload bytea,
                                                      headers jsonb)
    RETURNS void LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO boxhaul.dead_letter (id, message_id, subject, key, payload, headers, created_at, reason, attempts, held)
    VALUES (nextval(pg_get_serial_sequence('boxhaul.outbox', 'id')), dead_letter.message_id, dead_letter.subject, dead_letter.key,
            dead_letter.payload, dead_letter.headers, clock_timestamp(), dead_letter.reason, 0, false)
$$;

-- message_id becomes the Nats-Msg-Id, on which consumers recognise a repeat; NULL draws a new one.
--
-- Caught is only what the message itself can cause. Everything else (a lost table, a full disk, a serialization failure) has to
-- reach the application, or the message would be lost in silence.
CREATE OR REPLACE FUNCTION boxhaul_import.message(message_id uuid, subject text, key text, payload bytea, headers jsonb)
    RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO boxhaul.outbox (message_id, subject, key, payload, headers)
    VALUES (coalesce(message.message_id, gen_random_uuid()), message.subject, message.key, message.payload, message.headers);
EXCEPTION WHEN integrity_constraint_violation OR data_exception OR program_limit_exceeded THEN
    PERFORM boxhaul_import.dead_letter(sqlerrm, message.message_id, message.subject, message.key, message.payload, message.headers);
END
$$;

-- The triggers run with the rights of whoever applied these files. Nobody else may call them, or put them on a table.
REVOKE ALL ON SCHEMA boxhaul_import FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA boxhaul_import FROM PUBLIC;
