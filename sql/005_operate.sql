-- boxhaul 005: what operators do: pause and resume, decide about dead letters, send again what was sent.

SET standard_conforming_strings = on;  -- what stands below is written for it

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
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
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
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
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
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    UPDATE boxhaul.paused x SET quiet_at = clock_timestamp(), quiet_epoch = quiet.epoch
     WHERE x.number = quiet.number AND EXISTS (SELECT FROM boxhaul.position p WHERE p.epoch = quiet.epoch)
$$;

-- The lowest id of a row that is there, up to this one, and waits to be sent; NULL = none. What stands behind a dead letter that
-- holds its lane waits for an operator, and does not count.
CREATE OR REPLACE FUNCTION boxhaul.first_waiting(up_to bigint) RETURNS bigint
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT least(
        (SELECT o.id FROM boxhaul.outbox o
          WHERE o.id > (SELECT p.position FROM boxhaul.position p) AND o.id <= first_waiting.up_to ORDER BY o.id LIMIT 1),
        (SELECT min(o.id) FROM boxhaul.exceptions e, LATERAL
                (SELECT x.id FROM boxhaul.outbox x WHERE x.id BETWEEN e.lo AND least(e.hi, first_waiting.up_to)
                  ORDER BY x.id LIMIT 1) o
          WHERE e.lo <= first_waiting.up_to AND e.kind <> 'held'
            AND NOT EXISTS (SELECT FROM boxhaul.exceptions h WHERE h.kind = 'held' AND h.lane = e.lane)))
$$;

-- One row: whether it is paused, which pause that is, and in words by whom, since when and why; whether the leader of now, and
-- not an earlier one of itself, has said that all is quiet; led: whether anybody leads. waiting: the first message up to `up_to`
-- that waits. lease_ms: so long may the last leader publish after its last sign of life.
CREATE OR REPLACE FUNCTION boxhaul.pause_state(up_to bigint DEFAULT NULL)
    RETURNS TABLE (paused boolean, number bigint, told text, quiet boolean, led boolean, waiting bigint, lease_ms integer)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT x.number IS NOT NULL, x.number,
           'by ' || x.paused_by || ' since ' || to_char(x.since, 'YYYY-MM-DD HH24:MI:SS TZ') || coalesce(': ' || x.reason, ''),
           coalesce(x.quiet_epoch = p.epoch, false), boxhaul.leader_pid() IS NOT NULL,
           CASE WHEN pause_state.up_to > 0 THEN boxhaul.first_waiting(pause_state.up_to) END, p.lease_ms
      FROM boxhaul.position p LEFT JOIN boxhaul.paused x ON true
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

-- The letters above `above` and up to `up_to` that match, `most` of them, by ascending id. by_reason is any part of a reason.
-- Without payloads and headers, which not everybody may see.
CREATE OR REPLACE FUNCTION boxhaul.dead_letters(above bigint DEFAULT -1, up_to bigint DEFAULT 9223372036854775807,
                                                by_key text DEFAULT NULL, by_reason text DEFAULT NULL,
                                                older interval DEFAULT NULL, most integer DEFAULT NULL)
    RETURNS TABLE (id bigint, message_id uuid, subject text, key text, created_at timestamptz, died_at timestamptz, reason text,
                   attempts integer, held boolean, decision text, state text)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT d.id, d.message_id, boxhaul.shown(d.subject), boxhaul.shown(d.key), d.created_at, d.died_at, d.reason, d.attempts, d.held, d.decision,
           CASE WHEN d.decision IS NOT NULL THEN 'held, ' || d.decision || ' decided' WHEN d.held THEN 'held' ELSE 'dead' END
      FROM boxhaul.dead_letter d
     WHERE d.id > above AND d.id <= up_to AND (by_key IS NULL OR d.key = by_key)
       AND (by_reason IS NULL OR strpos(lower(d.reason), lower(by_reason)) > 0)
       AND (older IS NULL OR d.died_at <= clock_timestamp() - older)
     ORDER BY d.id LIMIT most
$$;

-- All that is told of one, but headers and payload. row_kept: its row is still in the outbox. NULL: there is no such dead letter.
CREATE OR REPLACE FUNCTION boxhaul.dead_letter_show(dead bigint) RETURNS jsonb
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT to_jsonb(d) || jsonb_build_object('row_kept', EXISTS (SELECT FROM boxhaul.outbox o WHERE o.id = d.id))
      FROM boxhaul.dead_letters(dead - 1, dead) d
$$;

-- Returns the id under which it is sent now; NULL: it is not.
CREATE OR REPLACE FUNCTION boxhaul.decide(dead bigint, what text) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    d boxhaul.dead_letter;
    sent_as bigint;
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
        RETURN CASE WHEN what = 'redrive' THEN dead END;
    END IF;
    IF what = 'redrive' THEN
        IF d.subject IS NULL OR d.payload IS NULL THEN
            RAISE EXCEPTION 'boxhaul: the row of dead letter % was gone when it died, or could not be read: there is nothing to send', dead
                USING HINT = 'Discard it.', ERRCODE = 'object_not_in_prerequisite_state';
        END IF;
        INSERT INTO boxhaul.outbox (message_id, subject, key, payload, headers, boxhaul_headers)
        SELECT coalesce(d.message_id, gen_random_uuid()), d.subject, d.key, d.payload, h.headers, h.boxhaul_headers
          FROM boxhaul.part_headers(d.headers, d.boxhaul_headers) h RETURNING id INTO sent_as;
        -- The old row is kept for a while and is nobody's message any more: not to be replayed, nor looked for.
        INSERT INTO boxhaul.discarded (id, message_id, reason) VALUES (d.id, d.message_id, 'redriven') ON CONFLICT DO NOTHING;
    END IF;
    DELETE FROM boxhaul.dead_letter x WHERE x.id = dead;
    RETURN sent_as;
END
$$;

CREATE OR REPLACE FUNCTION boxhaul.discard(id bigint) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS
$$ SELECT boxhaul.decide(discard.id, 'discard') $$;

CREATE OR REPLACE FUNCTION boxhaul.redrive(id bigint) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS
$$ SELECT boxhaul.decide(redrive.id, 'redrive') $$;

-- Decides about those that dead_letters() lists; each by itself: one that cannot be redriven stays. last: where to go on;
-- NULL = there were none. sent_as: the ids under which they are sent now.
CREATE OR REPLACE FUNCTION boxhaul.decide_many(what text, above bigint, up_to bigint, by_key text, by_reason text,
                                               older interval, most integer,
                                               OUT last bigint, OUT decided bigint, OUT failed bigint, OUT why text,
                                               OUT sent_as bigint[])
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    letter bigint;
BEGIN
    decided := 0;
    failed := 0;
    FOR letter IN
        SELECT d.id FROM boxhaul.dead_letters(above, up_to, by_key, by_reason, older, most) d ORDER BY d.id
    LOOP
        last := letter;
        BEGIN
            sent_as := array_append(sent_as, boxhaul.decide(letter, what));
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

-- What became of messages that were redriven, by ascending id: 'sent' or 'dead', with the reason. One of whom nothing is said still waits.
-- A letter that is decided waits for the relay; one that is not has died again. Without a row it was sent, and emptied since.
CREATE OR REPLACE FUNCTION boxhaul.redriven(ids bigint[]) RETURNS TABLE (id bigint, fate text, reason text)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on SET enable_seqscan = off SET enable_bitmapscan = off AS $$
    SELECT f.id, f.fate, f.reason
      FROM (SELECT i.id, coalesce(g.reason, d.reason) AS reason,
                   CASE WHEN d.decision IS NOT NULL THEN NULL
                        WHEN d.id IS NOT NULL OR g.id IS NOT NULL THEN 'dead'
                        WHEN m.state = 'sent' OR m.id IS NULL THEN 'sent' END AS fate
              FROM unnest(redriven.ids) i (id)
              LEFT JOIN boxhaul.dead_letter d ON d.id = i.id
              LEFT JOIN boxhaul.discarded g ON g.id = i.id
              LEFT JOIN LATERAL (SELECT x.id, x.state FROM boxhaul.messages x WHERE x.id = i.id) m ON true) f
     WHERE f.fate IS NOT NULL ORDER BY f.id
$$;

-- --- replay and reconcile ---

-- The ids of the oldest and the newest row that are kept; 1 and 0 without any.
CREATE OR REPLACE FUNCTION boxhaul.kept(OUT oldest bigint, OUT newest bigint)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on SET enable_seqscan = off SET enable_bitmapscan = off AS $$
    SELECT coalesce((SELECT o.id FROM boxhaul.outbox o ORDER BY o.id LIMIT 1), 1),
           coalesce((SELECT o.id FROM boxhaul.outbox o ORDER BY o.id DESC LIMIT 1), 0)
$$;

-- What became of the rows above `above` and up to `up_to`, `most` of them, by ascending id. fate: their state in
-- boxhaul.messages, or 'discarded'. No plan may read the outbox from end to end to find the next rows.
CREATE OR REPLACE FUNCTION boxhaul.fates(above bigint, up_to bigint, most integer)
    RETURNS TABLE (id bigint, message_id uuid, subject text, created_at timestamptz, created_s bigint, fate text)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on SET enable_seqscan = off SET enable_bitmapscan = off AS $$
    SELECT m.id, m.message_id, CASE WHEN getdatabaseencoding() = 'UTF8' THEN m.subject ELSE boxhaul.shown(m.subject) END, m.created_at,
           CASE WHEN isfinite(m.created_at) THEN floor(extract(epoch FROM m.created_at))::bigint ELSE 0 END,
           CASE WHEN m.state = 'sent' AND EXISTS (SELECT FROM boxhaul.discarded d WHERE d.id = m.id) THEN 'discarded'
                ELSE m.state END
      FROM boxhaul.messages m WHERE m.id > above AND m.id <= up_to ORDER BY m.id LIMIT most
$$;

-- Copies these rows to the end of the outbox, in their old order. A copy of a copy names the first message.
CREATE OR REPLACE FUNCTION boxhaul.copy_rows(ids bigint[], max_message_bytes bigint) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    INSERT INTO boxhaul.outbox (subject, key, payload, headers, boxhaul_headers)
    SELECT o.subject, o.key, o.payload, h.headers,
           CASE WHEN coalesce(octet_length(h.headers::text), 0) + octet_length(m.marked::text) <= 49152
                 AND octet_length(o.payload) + coalesce(octet_length(h.headers::text), 0) + octet_length(m.marked::text)
                     + 3 * coalesce(octet_length(o.key), 0) <= copy_rows.max_message_bytes - 256
                THEN m.marked ELSE h.boxhaul_headers END
      FROM boxhaul.outbox o,
           LATERAL boxhaul.part_headers(o.headers, o.boxhaul_headers) h,
           LATERAL (SELECT jsonb_build_object('Boxhaul-Replay-Of', o.message_id) || coalesce(h.boxhaul_headers, '{}') AS marked) m
     WHERE o.id = ANY (copy_rows.ids) ORDER BY o.id
$$;

-- Sends rows that are kept and were sent once more: as new rows at the end of the outbox, with new ids and message ids. Their
-- headers say Boxhaul-Replay-Of, with the first message's id; where that would make a message too large it is left out.
-- Looks at `most` rows above `above`, so that a transaction stays short, whatever matches; those behind `most_bytes`
-- are left for the next call. last: where to go on; NULL = there was nothing any more.
--
-- Left out: what was not sent yet (it will be), dead letters (redrive them) and discarded ones, and what is a copy itself.
CREATE OR REPLACE FUNCTION boxhaul.replay(above bigint, up_to bigint, since timestamptz, subject_pattern text, by_key text,
                                          most integer, most_bytes bigint, max_message_bytes bigint, dry boolean,
                                          OUT last bigint, OUT copied bigint, OUT looked bigint)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    chosen bigint[];
    want   text := '^' || replace(replace(regexp_replace(subject_pattern, '[][\\^$.|?+(){}]', '\\\&', 'g'),
                                          '*', '[^.]+'), '>', '.+') || '$';
BEGIN
    SELECT max(s.id), count(*),
           array_agg(s.id ORDER BY s.id) FILTER (
               WHERE NOT EXISTS (SELECT FROM boxhaul.dead_letter x WHERE x.id = s.id)  -- first: it may be one that cannot be read
                 AND s.created_at >= coalesce(replay.since, '-infinity') AND (by_key IS NULL OR s.key = by_key)
                 AND (want IS NULL OR s.subject ~ want)
                 AND NOT coalesce(s.boxhaul_headers ? 'Boxhaul-Replay-Of', false)
                 AND EXISTS (SELECT FROM boxhaul.messages m WHERE m.id = s.id AND m.state = 'sent')
                 AND NOT EXISTS (SELECT FROM boxhaul.discarded d WHERE d.id = s.id))
      INTO last, looked, chosen
      FROM (SELECT r.*, sum(r.bytes) OVER (ORDER BY r.id) - r.bytes AS before
              FROM (SELECT o.id, o.subject, o.key, o.boxhaul_headers, o.created_at, octet_length(o.payload)::bigint AS bytes
                      FROM boxhaul.outbox o WHERE o.id > above AND o.id <= up_to ORDER BY o.id LIMIT most) r) s
     WHERE s.before < most_bytes;
    copied := coalesce(cardinality(chosen), 0);
    IF dry OR copied = 0 THEN
        RETURN;
    END IF;
    PERFORM boxhaul.copy_rows(chosen, max_message_bytes);
END
$$;

-- Sends rows once more whose messages are lost: the stream was made anew, or messages were deleted. By ascending id, so the order
-- of a key is kept among them. Such a row is nobody's message any more then, as after redrive(): not to be looked for,
-- nor to be sent again. So two callers cannot send one twice, and a call that was interrupted is simply made once more. A copy that was
-- lost is sent again, too. last: the highest id that was dealt with; NULL = none of the rows is there.
CREATE OR REPLACE FUNCTION boxhaul.replay_lost(ids bigint[], most_bytes bigint, max_message_bytes bigint,
                                               OUT last bigint, OUT copied bigint)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    piece  bigint[];
    chosen bigint[];
BEGIN
    SELECT max(s.id), array_agg(s.id) INTO last, piece
      FROM (SELECT o.id, sum(octet_length(o.payload)::bigint) OVER (ORDER BY o.id) - octet_length(o.payload) AS before
              FROM boxhaul.outbox o WHERE o.id = ANY (ids)) s
     WHERE s.before < most_bytes;
    DELETE FROM boxhaul.discarded x WHERE x.id < (SELECT o.id FROM boxhaul.outbox o ORDER BY o.id LIMIT 1);
    WITH taken AS (
        INSERT INTO boxhaul.discarded (id, message_id, reason)
        SELECT m.id, m.message_id, 'replayed' FROM boxhaul.messages m
         WHERE m.id = ANY (piece) AND m.state = 'sent' ORDER BY m.id
        ON CONFLICT DO NOTHING RETURNING discarded.id)
    SELECT array_agg(t.id) INTO chosen FROM taken t;
    copied := coalesce(cardinality(chosen), 0);
    PERFORM boxhaul.copy_rows(chosen, max_message_bytes);
END
$$;

INSERT INTO boxhaul.schema_version (version, name) VALUES (5, 'operate') ON CONFLICT DO NOTHING;
