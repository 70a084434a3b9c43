-- boxhaul 007: once, in practice. What a new leader must know to find out what the streams already hold: from which sequence
-- to look (floors), and until when somebody else may still be publishing (the lease).
--
-- A floor is a sequence of a stream above which a message is stored if it is stored at all. The newest row of boxhaul.sent
-- has the floor of everything above the position, and of every exception without one of its own.

ALTER TABLE boxhaul.position ADD COLUMN IF NOT EXISTS
    lease_ms   integer     NOT NULL DEFAULT 0;   -- the leader may publish so long after its last sign of life; 0 = it resigned
ALTER TABLE boxhaul.position ADD COLUMN IF NOT EXISTS
    timeline   text;                             -- the server's, when the lead was taken
ALTER TABLE boxhaul.exceptions ADD COLUMN IF NOT EXISTS
    stream     text;                             -- it was sent there, and nobody knows whether it is stored:
ALTER TABLE boxhaul.exceptions ADD COLUMN IF NOT EXISTS
    seq        bigint;                           -- if so, above this sequence; 0 without a stream: it may have been sent anywhere
COMMENT ON COLUMN boxhaul.sent.last_seq IS
    'whatever was not settled by this mark is stored above this sequence of the stream, if at all; 0 = not known';

-- Before this, last_seq was the highest sequence acknowledged, which is no floor; and nobody left a lease, the longest of which
-- is a minute.
UPDATE boxhaul.sent SET last_seq = 0 WHERE NOT EXISTS (SELECT FROM boxhaul.schema_version WHERE version >= 7);
UPDATE boxhaul.position SET lease_ms = 60000
 WHERE epoch > 0 AND NOT EXISTS (SELECT FROM boxhaul.schema_version WHERE version >= 7);

DROP FUNCTION IF EXISTS boxhaul.lead(text);
DROP FUNCTION IF EXISTS boxhaul.lead(text, integer);
DROP FUNCTION IF EXISTS boxhaul.mark(bigint, bigint, bigint[], bigint[], bigint[], text[], bigint[], integer[], text[],
    bigint[], text[], integer[], boolean[], bigint[], bigint[], bigint[], text[], bigint[]);

-- Take the lead. The caller holds the leader's advisory lock, and publishes nothing later than lease_ms after the
-- database last answered. fence is an xid drawn now: every id drawn before this call belongs to a transaction with a
-- lower xid. others_ms: so long from now may an earlier leader, if it lives, still publish; 0 if it resigned. first: nobody has
-- ever led. If the server was promoted since the last lead that the books know of, they may be older than what was done:
-- somebody may have led, and may live; and whatever they hold may have been sent.
--
-- Nobody leads while ids are drawn from below the position, where nobody looks: the rows were restored or replicated
-- from elsewhere, and the sequence was not.
CREATE OR REPLACE FUNCTION boxhaul.lead(leader text, lease_ms integer,
                                        OUT epoch bigint, OUT at_position bigint, OUT fence xid8, OUT others_ms integer,
                                        OUT first boolean)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    ids      text := pg_get_serial_sequence('boxhaul.outbox', 'id');
    drawn    bigint;
    line     text := left(pg_walfile_name(pg_current_wal_lsn()), 8);
    promoted boolean;
BEGIN
    SELECT coalesce(p.timeline, '00000001') <> line, p.epoch = 0 AND line = '00000001', p.lease_ms
      INTO promoted, lead.first, lead.others_ms FROM boxhaul.position p FOR UPDATE;
    IF promoted THEN
        others_ms := lead.lease_ms;
        UPDATE boxhaul.exceptions e SET seq = 0 WHERE e.stream IS NULL;
    END IF;
    UPDATE boxhaul.position p
       SET epoch = p.epoch + 1, leader = lead.leader, led_since = clock_timestamp(), lease_ms = lead.lease_ms, timeline = line
    RETURNING p.epoch, p.position INTO STRICT lead.epoch, lead.at_position;
    EXECUTE format('SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM %s', ids) INTO STRICT drawn;
    IF drawn < at_position THEN
        RAISE EXCEPTION 'boxhaul: ids up to % are drawn, but the position is %: new rows would never be sent', drawn, at_position
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = format('SELECT setval(%L, %s), and insert again what was inserted since.', ids, at_position);
    END IF;
    PERFORM setval('boxhaul.relay_asleep', 1);
    DELETE FROM boxhaul.wake;
    lead.fence := pg_current_xact_id();
END
$$;

-- The leader publishes nothing any more: whoever leads next need not wait for its lease, only, for others_ms, for those who
-- led before it. Nobody listens until then, so nobody has to notify.
CREATE OR REPLACE FUNCTION boxhaul.resign(epoch bigint, others_ms integer) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE boxhaul.position p SET lease_ms = others_ms WHERE p.epoch = resign.epoch;
    IF FOUND THEN
        PERFORM setval('boxhaul.relay_asleep', 1);
    END IF;
END
$$;

-- Mark a batch: one call, one transaction. Fails, and changes nothing, unless the caller's epoch is current.
-- Returns the transaction's xid: the fence for every id that was found missing before this call.
CREATE OR REPLACE FUNCTION boxhaul.mark(
    epoch bigint, to_position bigint,
    gone_lo bigint[],
    new_lo bigint[], new_hi bigint[], new_kind text[], new_lane bigint[], new_attempts integer[], new_error text[],
    new_stream text[], new_seq bigint[],
    dead_id bigint[], dead_reason text[], dead_attempts integer[], dead_held boolean[],
    undead_id bigint[],
    sent_first bigint[], sent_last bigint[], sent_stream text[], sent_seq bigint[]) RETURNS xid8
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE boxhaul.position p
       SET position = mark.to_position, marked_at = clock_timestamp()
     WHERE p.epoch = mark.epoch AND p.position <= mark.to_position;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'boxhaul: another relay leads (epoch % is over), or position % would go back', mark.epoch, mark.to_position
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    IF cardinality(gone_lo) > 0 THEN
        DELETE FROM boxhaul.exceptions e WHERE e.lo = ANY (gone_lo);
    END IF;
    IF cardinality(new_lo) > 0 THEN
        INSERT INTO boxhaul.exceptions (lo, hi, kind, lane, attempts, last_error, stream, seq)
        SELECT * FROM unnest(new_lo, new_hi, new_kind, new_lane, new_attempts, new_error, new_stream, new_seq);
    END IF;
    IF cardinality(dead_id) > 0 THEN
        -- From the list, not from the outbox: a letter whose row is gone is still on record.
        INSERT INTO boxhaul.dead_letter AS d
               (id, message_id, subject, key, payload, headers, created_at, reason, attempts, held)
        SELECT n.id, o.message_id, o.subject, o.key, o.payload, o.headers, o.created_at, n.reason, n.attempts, n.held
          FROM unnest(dead_id, dead_reason, dead_attempts, dead_held) AS n (id, reason, attempts, held)
          LEFT JOIN boxhaul.outbox o ON o.id = n.id
        ON CONFLICT (id) DO UPDATE
           SET reason = excluded.reason, attempts = excluded.attempts, held = excluded.held,
               decision = NULL, died_at = clock_timestamp();
    END IF;
    IF cardinality(undead_id) > 0 THEN
        DELETE FROM boxhaul.dead_letter d WHERE d.id = ANY (undead_id);
    END IF;
    IF cardinality(sent_first) > 0 THEN
        INSERT INTO boxhaul.sent (first_id, last_id, stream, last_seq)
        SELECT * FROM unnest(sent_first, sent_last, sent_stream, sent_seq);
    END IF;
    RETURN pg_current_xact_id();
END
$$;

-- Clean up: the ring, the ledger, the wake-ups. Returns how many slots were emptied. The books may be locked by an
-- operator: whoever reads the outbox must not wait for them behind a slot that is locked already.
CREATE OR REPLACE FUNCTION boxhaul.clean(epoch bigint, retention interval) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '10ms' AS $$
DECLARE
    emptied integer := 0;
BEGIN
    FOR slot IN 0 .. 7 LOOP
        emptied := emptied + boxhaul.truncate_slot(epoch, slot, retention)::int;
    END LOOP;
    -- The newest row of each stream stays: it says from where a later leader has to look.
    IF emptied > 0 THEN
        DELETE FROM boxhaul.sent s USING (SELECT x.stream, max(x.last_id) AS last_id FROM boxhaul.sent x GROUP BY x.stream) n
         WHERE s.stream = n.stream AND s.last_id < n.last_id AND s.marked_at < clock_timestamp() - retention
           AND s.last_id < coalesce((SELECT min(o.id) FROM boxhaul.outbox o),
                                    (SELECT p.position FROM boxhaul.position p));
    END IF;
    DELETE FROM boxhaul.wake;
    RETURN emptied;
END
$$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA boxhaul FROM PUBLIC;
GRANT EXECUTE ON FUNCTION boxhaul.lead(text, integer), boxhaul.resign(bigint, integer), boxhaul.clean(bigint, interval),
    boxhaul.mark(bigint, bigint, bigint[], bigint[], bigint[], text[], bigint[], integer[], text[], text[], bigint[],
                 bigint[], text[], integer[], boolean[], bigint[], bigint[], bigint[], text[], bigint[]) TO boxhaul_relay;

INSERT INTO boxhaul.schema_version (version, name) VALUES (7, 'tail') ON CONFLICT DO NOTHING;
