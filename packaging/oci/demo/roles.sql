-- For compose.yaml, after `boxhaul migrate`: who logs in, and the shop's own table. May be run again.
SELECT format('CREATE ROLE %I LOGIN IN ROLE %I', login, role)
  FROM (VALUES ('demo_relay', 'boxhaul_relay'), ('demo_service', 'boxhaul_writer')) AS wanted (login, role)
 WHERE to_regrole(login) IS NULL \gexec
CREATE TABLE IF NOT EXISTS orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, state text NOT NULL);
GRANT SELECT, INSERT ON orders TO demo_service;
