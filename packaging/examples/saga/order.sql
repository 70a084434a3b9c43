-- The table of order.py, and its saga. Apply it as order_service, who has the role boxhaul_writer and owns the database.
CREATE TABLE IF NOT EXISTS sale (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    customer text NOT NULL,
    item     text NOT NULL,
    quantity integer NOT NULL,
    amount   integer NOT NULL,
    state    text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'sold', 'cancelled'))
);

-- The steps in our own database. state tells everybody who reads the table that a sale is under way, and not yet to be counted on.
CREATE OR REPLACE FUNCTION sale_step(saga uuid, step text, dir text, data jsonb) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE sale SET state = CASE WHEN dir = 'undo' THEN 'cancelled' WHEN step = 'close' THEN 'sold' ELSE 'pending' END
     WHERE id = (data ->> 'order')::bigint;
    RETURN NULL;
END
$$;

SELECT boxhaul.saga_define('order', '[
    {"name": "open",    "kind": "undoable",  "call": "public.sale_step",        "undo": "public.sale_step"},
    {"name": "reserve", "kind": "undoable",  "command": "saga.stock.reserve",   "undo": "saga.stock.release", "deadline": "30s"},
    {"name": "charge",  "kind": "pivot",     "command": "saga.payment.charge",  "deadline": "30s"},
    {"name": "ship",    "kind": "retriable", "command": "saga.stock.ship",      "deadline": "30s"},
    {"name": "close",   "kind": "retriable", "call": "public.sale_step"}]');
