-- For compose.yaml: a shop that takes an order a second, and says so in the same transaction.
WITH o AS (INSERT INTO orders (state) VALUES ('new') RETURNING id)
SELECT boxhaul.publish('orders.created', jsonb_build_object('order', id), key => 'order-' || id) AS message FROM o \watch 1
