-- What consume.py, consume.go and consume.js write to: in the consumer's own database.

-- The messages that have taken effect. Keep a row for as long as its message can come again: what `boxhaul replay` and a redriven
-- dead letter may send is in the outbox, which keeps it for outbox.retention; a stream gives out what it holds to a new consumer.
CREATE TABLE consumed (
    message_id  text        NOT NULL PRIMARY KEY,
    consumed_at timestamptz NOT NULL DEFAULT now()
);

-- The effect, as an example: a sum, which would be wrong if a message counted twice.
CREATE TABLE totals (
    subject     text        NOT NULL PRIMARY KEY,
    messages    bigint      NOT NULL
);
