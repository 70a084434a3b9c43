-- boxhaul 008: what operators do: pause and resume, decide about dead letters, send again what was sent.

-- --- pause ---
--
-- A row stands here as long as the relay is paused: it survives restarts and take-overs. A paused relay reads nothing and sends
-- nothing; what was in flight is answered and marked. Then it says so here (quiet): from that moment on no relay
-- publishes anything until resume(). Producers notice nothing.
CREATE TABLE IF NOT EXISTS boxhaul.paused (
    one         boolean     NOT NULL DEFAULT true PRIMARY KEY CHECK (one),
    number      bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,   -- what is said of one pause is not said of the next
    paused_by   text        NOT NULL,
    since       timestamptz NOT NULL DEFAULT clock_timestamp(),
    reason      text,
    quiet_at    timestamptz,
    quiet_epoch bigint                           -- of the leader that said so
);

-- Returns false where it is paused already, and changes nothing then.
CREATE OR REPLACE FUNCTION boxhaul.pause(paused_by text DEFAULT NULL, reason text DEFAULT NULL) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO boxhaul.paused (paused_by, reason)
    VALUES (coalesce(pause.paused_by, session_user), nullif(pause.reason, '')) ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM pg_notify('boxhaul', 'paused');
    RETURN true;
END
$$;

-- Returns false where it was not paused.
CREATE OR REPLACE FUNCTION boxhaul.resume() RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM boxhaul.paused;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM pg_notify('boxhaul', 'paused');
    RETURN true;
END
$$;

-- The leader: all is quiet in this pause.
CREATE OR REPLACE FUNCTION boxhaul.quiet(epoch bigint, number bigint) RETURNS void
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    UPDATE boxhaul.paused x SET quiet_at = clock_timestamp(), quiet_epoch = quiet.epoch
     WHERE x.number = quiet.number AND EXISTS (SELECT FROM boxhaul.position p WHERE p.epoch = quiet.epoch)
$$;

-- The lowest id of a row that is there, up to this one, and waits to be sent; NULL = none. What stands behind a dead letter that
-- holds its lane waits for an operator, and does not count.
CREATE OR REPLACE FUNCTION boxhaul.first_waiting(up_to bigint) RETURNS bigint
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT least(
        (SELECT o.id FROM boxhaul.outbox o
          WHERE o.id > (SELECT p.position FROM boxhaul.position p) AND o.id <= first_waiting.up_to ORDER BY o.id LIMIT 1),
        (SELECT min(o.id) FROM boxhaul.exceptions e, LATERAL
                (SELECT x.id FROM boxhaul.outbox x WHERE x.id BETWEEN e.lo AND least(e.hi, first_waiting.up_to)
                  ORDER BY x.id LIMIT 1) o
          WHERE e.lo <= first_waiting.up_to AND e.kind <> 'held'
            AND NOT EXISTS (SELECT FROM boxhaul.exceptions h WHERE h.kind = 'held' AND h.lane = e.lane)))
$$;

-- --- dead letters ---
--
-- redrive() keeps the message id, wherever the letter is sent from. A letter whose message was never stored is new to
-- the stream under any id. But a letter may have been stored: its first answer was lost, and a later attempt was refused
-- for a reason that was not there at first. Then the same id lets the stream drop the repeat, within its duplicate window. Beyond
-- it the relay looks for a letter that holds its lane, for what is in doubt about it is on record. Any other letter is a new row,
-- of which nothing is in doubt: it is stored twice, unless an earlier look has seen its copy. Consumers can still tell by the id; under a new one they could not.
--
-- A letter that is not held goes to the end of the outbox: what stood behind it has gone on. Letters that are redriven one after
-- the other, by ascending id, keep their order.
-- What was given up stays on record as long as its row is kept: `boxhaul reconcile` must not call it lost.
CREATE TABLE IF NOT EXISTS boxhaul.discarded (
    id           bigint      NOT NULL PRIMARY KEY,
    message_id   uuid,
    reason       text,
    discarded_by text        NOT NULL DEFAULT session_user,
    discarded_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE OR REPLACE FUNCTION boxhaul.decide(dead bigint, what text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    d boxhaul.dead_letter;
BEGIN
    SELECT * INTO d FROM boxhaul.dead_letter x WHERE x.id = dead FOR UPDATE;
    IF d.id IS NULL THEN
        RAISE EXCEPTION 'boxhaul: there is no dead letter %', dead
            USING HINT = 'SELECT id, reason FROM boxhaul.dead_letter lists them.', ERRCODE = 'no_data_found';
    END IF;
    IF what = 'discard' THEN
        DELETE FROM boxhaul.discarded x WHERE x.id < (SELECT o.id FROM boxhaul.outbox o ORDER BY o.id LIMIT 1);
        INSERT INTO boxhaul.discarded (id, message_id, reason) VALUES (d.id, d.message_id, d.reason) ON CONFLICT DO NOTHING;
    ELSE
        DELETE FROM boxhaul.discarded x WHERE x.id = dead;
    END IF;
    IF d.held THEN
        UPDATE boxhaul.dead_letter x SET decision = what WHERE x.id = dead;
        PERFORM pg_notify('boxhaul', 'decided');
        RETURN;
    END IF;
    IF what = 'redrive' THEN
        IF d.subject IS NULL OR d.payload IS NULL THEN
            RAISE EXCEPTION 'boxhaul: the row of dead letter % was gone when it died: there is nothing to send', dead
                USING HINT = 'Discard it.', ERRCODE = 'object_not_in_prerequisite_state';
        END IF;
        INSERT INTO boxhaul.outbox (message_id, subject, key, payload, headers)
        VALUES (coalesce(d.message_id, gen_random_uuid()), d.subject, d.key, d.payload, d.headers);
        -- The old row is kept for a while and is nobody's message any more: not to be replayed, nor looked for.
        INSERT INTO boxhaul.discarded (id, message_id, reason) VALUES (d.id, d.message_id, 'redriven') ON CONFLICT DO NOTHING;
    END IF;
    DELETE FROM boxhaul.dead_letter x WHERE x.id = dead;
END
$$;

-- Decides about the letters above `above` and up to `up_to` that match, `most` of them, by ascending id; each by itself: one that
-- cannot be redriven stays. by_reason is any part of a reason. last: where to go on; NULL = there were none.
CREATE OR REPLACE FUNCTION boxhaul.decide_many(what text, above bigint, up_to bigint, by_key text, by_reason text,
                                               older interval, most integer,
                                               OUT last bigint, OUT decided bigint, OUT failed bigint, OUT why text)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    letter bigint;
BEGIN
    decided := 0;
    failed := 0;
    FOR letter IN
        SELECT d.id FROM boxhaul.dead_letter d
         WHERE d.id > above AND d.id <= up_to AND (by_key IS NULL OR d.key = by_key)
           AND (by_reason IS NULL OR strpos(lower(d.reason), lower(by_reason)) > 0)
           AND (older IS NULL OR d.died_at <= clock_timestamp() - older)
         ORDER BY d.id LIMIT most
    LOOP
        last := letter;
        BEGIN
            PERFORM boxhaul.decide(letter, what);
            decided := decided + 1;
        EXCEPTION
            WHEN no_data_found THEN  -- somebody else was quicker
                NULL;
            WHEN check_violation OR object_not_in_prerequisite_state THEN
                failed := failed + 1;
                why := sqlerrm;
        END;
    END LOOP;
END
$$;

-- --- replay ---
--
-- Sends rows that are kept and were sent once more: as new rows at the end of the outbox, with new ids and message ids. Their
-- headers say Boxhaul-Replay-Of, with the first message's id; where that would make a message too large it is left out.
-- Looks at `most` rows above `above`, so that a transaction stays short, whatever matches; those behind `most_bytes`
-- are left for the next call. last: where to go on; NULL = there was nothing any more.
--
-- Left out: what was not sent yet (it will be), dead letters (redrive them) and discarded ones, and what is a copy itself.
CREATE OR REPLACE FUNCTION boxhaul.replay(above bigint, up_to bigint, since timestamptz, subject_pattern text, by_key text,
                                          most integer, most_bytes bigint, max_message_bytes bigint, dry boolean,
                                          OUT last bigint, OUT copied bigint, OUT looked bigint)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    chosen bigint[];
    want   text := '^' || replace(replace(regexp_replace(subject_pattern, '[][\\^$.|?+(){}]', '\\\&', 'g'),
                                          '*', '[^.]+'), '>', '.+') || '$';
BEGIN
    SELECT max(s.id), count(*),
           array_agg(s.id ORDER BY s.id) FILTER (
               WHERE s.created_at >= coalesce(replay.since, '-infinity') AND (by_key IS NULL OR s.key = by_key)
                 AND (want IS NULL OR s.subject ~ want)
                 AND NOT coalesce(s.headers ? 'Boxhaul-Replay-Of', false)
                 AND EXISTS (SELECT FROM boxhaul.messages m WHERE m.id = s.id AND m.state = 'sent')
                 AND NOT EXISTS (SELECT FROM boxhaul.discarded d WHERE d.id = s.id))
      INTO last, looked, chosen
      FROM (SELECT r.*, sum(r.bytes) OVER (ORDER BY r.id) - r.bytes AS before
              FROM (SELECT o.id, o.subject, o.key, o.headers, o.created_at, octet_length(o.payload)::bigint AS bytes
                      FROM boxhaul.outbox o WHERE o.id > above AND o.id <= up_to ORDER BY o.id LIMIT most) r) s
     WHERE s.before < most_bytes;
    copied := coalesce(cardinality(chosen), 0);
    IF dry OR copied = 0 THEN
        RETURN;
    END IF;
    INSERT INTO boxhaul.outbox (subject, key, payload, headers)
    SELECT o.subject, o.key, o.payload,
           CASE WHEN octet_length(h.marked::text) <= 49152
                 AND octet_length(o.payload) + octet_length(h.marked::text) <= max_message_bytes - 256
                THEN h.marked ELSE o.headers END
      FROM boxhaul.outbox o,
           LATERAL (SELECT coalesce(o.headers, '{}') || jsonb_build_object('Boxhaul-Replay-Of', o.message_id) AS marked) h
     WHERE o.id = ANY (chosen) ORDER BY o.id;
END
$$;

REVOKE ALL ON boxhaul.paused, boxhaul.discarded FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA boxhaul FROM PUBLIC;
GRANT SELECT ON boxhaul.paused, boxhaul.discarded TO boxhaul_relay, boxhaul_monitor;
GRANT EXECUTE ON FUNCTION boxhaul.pause(text, text), boxhaul.resume(), boxhaul.quiet(bigint, bigint),
    boxhaul.first_waiting(bigint), boxhaul.decide_many(text, bigint, bigint, text, text, interval, integer),
    boxhaul.replay(bigint, bigint, timestamptz, text, text, integer, bigint, bigint, boolean) TO boxhaul_relay;

INSERT INTO boxhaul.schema_version (version, name) VALUES (8, 'operate') ON CONFLICT DO NOTHING;
