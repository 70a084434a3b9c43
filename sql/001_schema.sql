-- boxhaul 001: the schema, its version table and the roles.
--
-- One file is one subject. Until the first release is tagged, a change edits the file of its subject. From the tag on a
-- released file stays as it is, and files only add: the next number changes what the ones before it made.
-- Each file can be run again, in any tool: plain SQL, no commands of psql.
--
-- A release and the one before it get along, whichever of program and schema comes first. A file of a later release says so in its
-- last statement, by the oldest version whose program works on the schema as this file leaves it, and on whose schema the program that
-- comes with this file works:
--     INSERT INTO boxhaul.schema_version (version, name, serves) VALUES (10, 'next', 9) ON CONFLICT DO NOTHING;
-- A file that says nothing serves its own version alone. To serve the release before,
--   * a file may add a table, a function, an index, a column that may be NULL or has a default; and replace what a function does
--     with the same arguments, giving back the same columns, in which each value means what it meant;
--   * it may not drop, rename or retype what the older program names, nor refuse what that one writes, nor write what it reads and
--     does not know, nor add a function that differs from an older one by arguments with defaults (calls would be ambiguous);
--   * the program asks which version there is before it uses what the file adds (books/schema.h).
-- What is to go goes a release later: one release brings the new way and serves the old one, the next one drops the old.
-- A file that cannot keep to this leaves "serves" out, and ends the lead of every relay at work, which then asks again, and stands
-- aside:
--     UPDATE boxhaul.position SET epoch = epoch + 1;
--     UPDATE boxhaul.inbox_position SET epoch = epoch + 1;

SET standard_conforming_strings = on;  -- what stands below is written for it

-- Before the first release there were other files with the numbers 1 to 8. What they made is not upgraded.
DO $$
DECLARE
    version integer;
BEGIN
    IF to_regclass('boxhaul.schema_version') IS NOT NULL THEN
        EXECUTE 'SELECT max(v.version) FROM boxhaul.schema_version v HAVING bool_or(v.version = 1 AND v.name = ''roles'')'
           INTO version;
        IF version IS NOT NULL THEN
            RAISE EXCEPTION 'boxhaul: the schema has the unreleased version %: when all its messages are sent, DROP SCHEMA boxhaul CASCADE, then run `boxhaul migrate`', version
                USING ERRCODE = 'object_not_in_prerequisite_state';
        END IF;
    END IF;
END
$$;

CREATE SCHEMA IF NOT EXISTS boxhaul;

CREATE TABLE IF NOT EXISTS boxhaul.schema_version (
    version    integer     NOT NULL PRIMARY KEY,
    name       text        NOT NULL,
    serves     integer,    -- the oldest version that gets along with this one; NULL: none but itself
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- The roles are NOLOGIN groups: grant them to the users that log in.
--   boxhaul_writer   a service that inserts messages
--   boxhaul_relay    the relay, and who operates it
--   boxhaul_monitor  whoever looks (status, dashboards)
--   boxhaul_handler  a service that handles messages
--   boxhaul_capture  the daemon's session for captures. Its login has the attribute REPLICATION, too, and SELECT on the tables
--   boxhaul_sink     the relay where it applies changes to tables (a sink), besides boxhaul_relay
-- Roles belong to the whole cluster, so a second database that migrates at the same moment may have
-- created them first: both ways PostgreSQL reports that are fine.
DO $$
DECLARE
    r text;
BEGIN
    FOREACH r IN ARRAY ARRAY['boxhaul_writer', 'boxhaul_relay', 'boxhaul_monitor', 'boxhaul_handler',
                             'boxhaul_capture', 'boxhaul_sink'] LOOP
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

INSERT INTO boxhaul.schema_version (version, name) VALUES (1, 'schema') ON CONFLICT DO NOTHING;
