-- The tables of payment.py.
CREATE TABLE account (
    customer text PRIMARY KEY,
    balance  integer NOT NULL CHECK (balance >= 0)
);
CREATE TABLE charge (
    order_id bigint PRIMARY KEY,
    customer text NOT NULL REFERENCES account,
    amount   integer NOT NULL
);
