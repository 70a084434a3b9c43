-- boxhaul 005: every message with its state, computed from the books: no write per row.

CREATE OR REPLACE VIEW boxhaul.messages AS
SELECT o.id, o.message_id, o.subject, o.key, o.created_at,
       CASE WHEN d.held THEN 'held'
            WHEN d.id IS NOT NULL THEN 'dead'
            WHEN e.kind = 'missing' THEN 'pending'      -- committed since the relay last looked
            WHEN e.kind IS NOT NULL THEN e.kind
            WHEN o.id <= p.position THEN 'sent'
            ELSE 'pending' END                            AS state,
       CASE WHEN d.id IS NULL AND e.lo IS NULL AND o.id <= p.position THEN s.marked_at END AS sent_at,
       coalesce(d.attempts, e.attempts, 0)                AS attempts,
       coalesce(d.reason, e.last_error)                   AS last_error,
       octet_length(o.payload)                            AS payload_bytes,
       o.headers
  FROM boxhaul.outbox o
 CROSS JOIN boxhaul.position p
  LEFT JOIN boxhaul.dead_letter d ON d.id = o.id
  LEFT JOIN LATERAL (SELECT x.lo, x.hi, x.kind, x.attempts, x.last_error FROM boxhaul.exceptions x
                      WHERE x.lo <= o.id ORDER BY x.lo DESC LIMIT 1) e ON e.hi >= o.id
  LEFT JOIN LATERAL (SELECT x.marked_at, x.first_id FROM boxhaul.sent x
                      WHERE x.last_id >= o.id ORDER BY x.last_id, x.first_id DESC LIMIT 1) s ON s.first_id <= o.id;

COMMENT ON VIEW boxhaul.messages IS
    'state: pending, sent, parked (its stream or lane cannot take messages), active (being published), '
    'held (waits for redrive or discard), dead (see boxhaul.dead_letter)';

INSERT INTO boxhaul.schema_version (version, name) VALUES (5, 'views') ON CONFLICT DO NOTHING;
