-- boxhaul 001: the schema, its version table and the three roles.
--
-- The roles are NOLOGIN groups: grant them to the users that log in.
--   boxhaul_writer   a service that inserts messages
--   boxhaul_relay    the relay
--   boxhaul_monitor  whoever looks (status, dashboards)
-- Roles belong to the whole cluster, so a second database that migrates at the same moment may have
-- created them first: both ways PostgreSQL reports that are fine.

CREATE SCHEMA IF NOT EXISTS boxhaul;

CREATE TABLE IF NOT EXISTS boxhaul.schema_version (
    version    integer     NOT NULL PRIMARY KEY,
    name       text        NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

DO $$
DECLARE
    r text;
BEGIN
    FOREACH r IN ARRAY ARRAY['boxhaul_writer', 'boxhaul_relay', 'boxhaul_monitor'] LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = r) THEN
            BEGIN
                EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN', r);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL;
            END;
        END IF;
    END LOOP;
END
$$;

INSERT INTO boxhaul.schema_version (version, name) VALUES (1, 'roles') ON CONFLICT DO NOTHING;
