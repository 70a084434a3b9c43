-- The tables of stock.py. What a step does is a row of its own, so that its undo finds it.
CREATE TABLE stock (
    item text PRIMARY KEY,
    free integer NOT NULL CHECK (free >= 0),
    held integer NOT NULL DEFAULT 0 CHECK (held >= 0)
);
CREATE TABLE reservation (
    order_id bigint PRIMARY KEY,
    item     text NOT NULL REFERENCES stock,
    quantity integer NOT NULL,
    state    text NOT NULL DEFAULT 'held' CHECK (state IN ('held', 'released', 'shipped'))
);
