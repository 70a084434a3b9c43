"""Advice about the database, followed to the letter while messages wait: all of them arrive, once and in order. tests/remedies.md lists
every advice."""

import glob
import os
import re
import signal
import subprocess
import unittest

import psycopg2

from harness import RELAY, SERVICE, STREAM
from pooler import PgBouncer
from remedies import RemedyTest
from servers import Postgres

SQL = sorted(glob.glob(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "sql", "*.sql")))
ORDERS = [{"name": STREAM, "subjects": ["orders.>"], "create": True}]


class DatabaseTest(RemedyTest):
    def start_quick(self, **groups):
        return self.add_quick(True, **groups).start().wait_until_ready()

    def end_sessions(self):
        for pid in self.pg.backends(f"usename = '{RELAY}' AND datname = '{self.database}'"):
            self.pg.execute("SELECT pg_terminate_backend(%s)", (pid,))

    def harm(self, relay, *statements):
        """Under a relay that works; then messages wait. (Some it survives until it begins anew.)"""
        self.insert(3)
        self.wait_settled()
        for statement in statements:
            self.sql(statement)
        self.insert(3)
        self.end_sessions()
        return relay

    def paste(self):
        for path in SQL:
            with open(path, encoding="utf-8") as f:
                self.sql(f.read())

    def refused(self, call, *values, user=None):
        """What an error says to do."""
        with self.connect(user).cursor() as cursor, self.assertRaises(psycopg2.Error) as caught:
            cursor.execute(call, values)
        return caught.exception.diag.message_hint


class Rights(DatabaseTest):
    def test_a_login_that_is_no_relay(self):
        relay = self.harm(self.start_quick(), f"REVOKE boxhaul_relay FROM {RELAY}")
        line = self.said(relay, "GRANT boxhaul_relay TO this login")
        self.sql(re.search("GRANT boxhaul_relay TO this login", line)[0].replace("this login", RELAY))
        self.judge(relay)

    def test_a_login_that_may_look(self):
        relay = self.harm(self.start_quick(), f"REVOKE boxhaul_relay FROM {RELAY}; GRANT boxhaul_monitor TO {RELAY}")
        self.addCleanup(self.sql, f"REVOKE boxhaul_monitor FROM {RELAY}; GRANT boxhaul_relay TO {RELAY}")
        line = self.said(relay, "FAIL  grants: the relay's user lacks .*: GRANT boxhaul_relay TO the relay's user")
        self.sql(line.split(": ")[-1].replace("the relay's user", RELAY))
        self.judge(relay)

    def test_a_role_that_lacks_a_right(self):
        """The login has the role: to grant that once more would not help."""
        relay = self.harm(self.start_quick(), "REVOKE EXECUTE ON FUNCTION boxhaul.mark FROM boxhaul_relay")
        self.said(relay, "FAIL  grants: boxhaul_relay lacks EXECUTE on boxhaul.mark: the schema is not whole: apply all of sql/..sql again")
        self.paste()
        self.judge(relay)

    def test_migrate_by_who_may_not(self):
        relay = self.add_quick(True, postgres={"migrate_conninfo": self.pg.conninfo(self.database, RELAY)})
        self.sql("DELETE FROM boxhaul.schema_version WHERE version > 3")
        self.insert(3)
        done = relay.command("migrate")
        self.assertIn("migrate needs a user that may create schemas and roles: set postgres.migrate_conninfo", done.stdout)
        relay.configure({**relay.settings, "postgres": {"conninfo": self.pg.conninfo(self.database, RELAY),
                                                        "migrate_conninfo": self.pg.conninfo(self.database)}})
        self.assertEqual(relay.command("migrate").returncode, 0)
        self.judge(relay.start())


class Schema(DatabaseTest):
    def test_an_older_one(self):
        relay = self.harm(self.start_quick(), "DELETE FROM boxhaul.schema_version WHERE version > 4")
        self.run_boxhaul(self.said(relay, "FAIL  schema: .*run `boxhaul migrate"))
        self.judge(relay)

    def test_a_function_that_is_gone(self):
        relay = self.harm(self.start_quick(), "DROP FUNCTION boxhaul.mark")
        self.said(relay, "FAIL  grants: .*: the schema is not whole: apply all of sql/..sql again")
        self.paste()
        self.judge(relay)

    def test_one_that_was_dropped(self):
        """Nothing can bring back what was dropped; what is said lets everything go on that comes behind."""
        relay = self.start_quick()
        self.insert(3)
        self.wait_settled()
        self.sql("DROP SCHEMA boxhaul CASCADE")
        self.end_sessions()
        line = self.said(relay, "run `boxhaul migrate .*`, then `boxhaul check .*`")
        self.run_boxhaul(line)
        relay.wait_until_ready()
        self.run_boxhaul(line, number=1)
        before = self.bodies()
        del self.inserted[:]
        self.insert(3)
        self.wait_settled()
        self.assertEqual(self.bodies(), before + self.inserted)

    def test_a_foreign_key(self):
        relay = self.harm(self.start_quick(), "CREATE TABLE mine (id bigint, slot smallint, FOREIGN KEY (id, slot) REFERENCES boxhaul.outbox)")
        relay.stop()
        self.insert(2)
        self.said(relay, "FAIL  run: cannot clean up: .*Drop the foreign key: rows of the outbox go away")
        for (name,) in self.sql("SELECT conname FROM pg_constraint WHERE conrelid = 'mine'::regclass AND contype = 'f' AND conparentid = 0"):
            self.sql(f"ALTER TABLE mine DROP CONSTRAINT {name}")
        self.assertNotIn("FAIL", relay.command("check").stdout)
        self.judge(relay.start())

    def test_what_was_added(self):
        relay = self.harm(self.start_quick(), "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''not on my watch''; END'",
                          "CREATE TRIGGER mine BEFORE UPDATE ON boxhaul.position EXECUTE FUNCTION refuse()")
        self.said(relay, "FAIL  run: cannot take the lead: not on my watch: take away what was added to boxhaul's tables")
        self.assertEqual(self.position(), 3, "a rehearsal beside a relay that cannot begin leaves nothing")
        self.sql("DROP TRIGGER mine ON boxhaul.position")
        self.judge(relay)

    def test_a_publication(self):
        """Both halves."""
        harm = "ALTER TABLE boxhaul.exceptions DROP CONSTRAINT exceptions_pkey; CREATE PUBLICATION everything FOR ALL TABLES"
        relay = self.harm(self.start_quick(), harm)
        relay.stop()
        self.said(relay, "FAIL  run: cannot .*: give the table a replica identity, or leave boxhaul's tables out of the publication")
        self.sql("ALTER TABLE boxhaul.exceptions REPLICA IDENTITY FULL")
        self.judge(relay.start())
        relay.stop()
        self.sql("ALTER TABLE boxhaul.exceptions REPLICA IDENTITY DEFAULT")
        self.insert(3)
        self.said(relay, "or leave boxhaul's tables out of the publication")
        self.sql("DROP PUBLICATION everything")
        self.judge(relay.start())

    def test_locked_while_it_is_migrated(self):
        relay = self.start_quick()
        longer = self.add_quick(True, outbox={"retention": "10h"})
        with self.connect().cursor() as cursor:
            cursor.execute("BEGIN; LOCK boxhaul.outbox IN ROW EXCLUSIVE MODE")
            self.insert(3)
            done = longer.command("migrate")
            self.assertIn("nothing was changed, try again when they have ended", done.stdout)
            cursor.execute("COMMIT")
        self.assertEqual(longer.command("migrate").returncode, 0)
        self.insert(3)
        self.judge(relay)

    def test_a_ring_that_is_too_short(self):
        self.start_quick().stop()
        relay = self.add_quick(True, outbox={"retention": "10h"})
        self.insert(3)
        self.run_boxhaul(self.said(relay, "warn  ring: .*run `boxhaul migrate"))
        self.assertNotIn("ring: holds", relay.command("check").stdout)
        self.judge(relay.start())


class Books(DatabaseTest):
    def test_mend_ids_while_a_relay_leads(self):
        relay = self.start_quick()
        self.insert(3)
        self.assertEqual(self.refused("SELECT boxhaul.mend_ids()"), "Stop it first.")
        relay.stop()
        self.insert(3)
        self.sql("SELECT boxhaul.mend_ids()")
        self.judge(relay.start())

    def test_another_sequence(self):
        """The column was made to draw from one that is not its own."""
        relay = self.harm(self.start_quick(), "ALTER TABLE boxhaul.outbox ALTER id DROP IDENTITY; CREATE SEQUENCE boxhaul.mine START 100; "
                          "GRANT ALL ON SEQUENCE boxhaul.mine TO PUBLIC; ALTER TABLE boxhaul.outbox ALTER id SET DEFAULT nextval('boxhaul.mine')")
        advice = self.said(relay, r"OWNED BY boxhaul.outbox.id: the sequence that its ids are drawn from")
        self.sql(re.search(r"ALTER SEQUENCE \.\.\. OWNED BY boxhaul\.outbox\.id", advice)[0].replace("...", "boxhaul.mine"))
        self.insert(2)
        self.judge(relay)

    def test_a_letter_that_is_not_there(self):
        relay = self.start_quick()
        self.insert_illegal("k", 2)
        self.insert(2)
        self.wait_settled()
        hint = self.refused("SELECT boxhaul.redrive(999)")
        rows = self.sql(re.match("(SELECT .*) lists them", hint)[1])
        self.assertEqual(len(rows), 2)
        for ident, _ in rows:
            self.sql("SELECT boxhaul.discard(%s)", (ident,))
        self.judge_but(relay)

    def judge_but(self, relay):
        self.wait_settled()
        relay.wait_until_ready()
        self.assertEqual(self.bodies(), self.inserted)

    def test_a_letter_with_nothing_to_send(self):
        relay = self.start_quick()
        self.sql("INSERT INTO boxhaul.dead_letter (id, reason, attempts, held) VALUES (900, 'test', 0, false)")
        self.insert(2)
        self.assertEqual(self.refused("SELECT boxhaul.redrive(900)"), "Discard it.")
        self.sql("SELECT boxhaul.discard(900)")
        self.judge(relay)

    def test_the_runbook_mends_a_transaction_that_is_forgotten(self):
        """exceptions: end it. Its own row is rolled back, the others were sent, and what it held up is settled."""
        relay = self.start_quick()
        with self.connect(SERVICE).cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            (pid,) = cursor.fetchone()
            cursor.execute("BEGIN; INSERT INTO boxhaul.outbox (subject, key, payload) VALUES ('orders.x', 'k', 'never')")
            self.insert(3)
            self.wait(lambda: self.count() == 3, "those behind it")
            told = relay.command("status").stdout
            self.assertIn(f"pid {pid} ", told)
            self.sql("SELECT pg_terminate_backend(%s)", (pid,))
        self.judge(relay)


class Producers(DatabaseTest):
    """What publish() and the view say is followed: the message is taken then, and arrives."""

    BROKEN = [  # subject, key, payload, headers; what is said; what fits it
        (("a b", None, b"x", None), "A subject is up to 1024 bytes, words with dots between them", ("orders.a.b", None, b"x", None)),
        (("orders.x", None, None, None), "A payload is bytes, of any length down to 0, and not NULL", ("orders.x", None, b"", None)),
        (("orders.x", None, b"x", '{"a": 1}'), "Headers are a JSON object of strings", ("orders.x", None, b"x", '{"a": "1"}')),
        (("orders.x", "k" * 40_000, b"x", '{"a": "%s"}' % ("h" * 40_000)), "Headers and key together have up to 65000 bytes",
         ("orders.x", "k" * 20_000, b"x", '{"a": "%s"}' % ("h" * 40_000))),
        (("orders.x", None, b"x" * 1_048_400, None), r"Payload, headers and key together have up to (\d+) bytes", None)]

    def test_each_rule(self):
        relay = self.start_quick()
        call = "SELECT boxhaul.publish(%s, %s::bytea, %s, %s::jsonb)"
        for n, (broken, words, fits) in enumerate(self.BROKEN, 1):
            with self.subTest(words):
                subject, key, payload, headers = broken
                hint = self.refused(call, subject, payload, key, headers, user=SERVICE)
                found = re.match(words, hint)
                self.assertTrue(found, hint)
                subject, key, payload, headers = fits or ("orders.x", None, b"x" * int(found[1]), None)
                self.sql(call, (subject, payload, key, headers), user=SERVICE)
                self.wait(lambda n=n: self.count() == n, "it to arrive")
        self.wait_settled()
        self.assertEqual(self.sql("SELECT count(*) FROM boxhaul.dead_letter"), [(0,)])
        self.assertEqual(relay.get("/readyz")[0], 200)

    def test_a_session_without_triggers(self):
        """Both ways that are named, in the same session."""
        relay = self.start_quick()
        with self.connect().cursor() as cursor:
            cursor.execute("SET session_replication_role = replica")
            with self.assertRaises(psycopg2.Error) as caught:
                cursor.execute("INSERT INTO boxhaul.outgoing (subject, key, payload) VALUES ('orders.x', 'k', 'm1')")
            self.assertEqual(caught.exception.diag.message_hint, "Call boxhaul.publish(), or insert into boxhaul.outbox.")
            cursor.execute("SELECT boxhaul.publish('orders.x', 'm1'::text, 'k')")
            cursor.execute("INSERT INTO boxhaul.outbox (subject, key, payload) VALUES ('orders.x', 'k', 'm2')")
        self.inserted = ["m1", "m2"]
        self.judge(relay)

    def test_json_as_text(self):
        """README.md, *Produce*: what it says instead of a string bound to payload."""
        relay = self.start_quick()
        body = r'{"path":"C:\\temp\\new"}'
        for call in ("SELECT boxhaul.publish('orders.x', %s::text, 'k')",
                     "INSERT INTO boxhaul.outbox (subject, key, payload) VALUES ('orders.x', 'k', convert_to(%s, 'UTF8'))"):
            self.sql(call, (body,), user=SERVICE)
        self.sql("INSERT INTO boxhaul.outbox (subject, key, payload) VALUES ('orders.x', 'k', %s)", (body.encode(),), user=SERVICE)
        self.inserted = [body] * 3
        self.judge(relay)


class Servers(DatabaseTest):
    def test_a_standby(self):
        """`check` and /readyz say what the connection string has to have."""
        twin = self.workspace.add(Postgres(self.workspace.path(f"twin-{self.database}"), fsync="off"))
        twin.clone(self.pg, self.pg.port).start()
        relay = self.add_quick(True, postgres={"conninfo": twin.conninfo(self.database, RELAY)}).start()
        self.insert(3)
        said = self.said(relay, "FAIL  server: it is in recovery .*: connect to the primary, e.g. target_session_attrs=read-write")
        attribute = re.search(r"target_session_attrs=\S+", said)[0]
        self.said(relay, "not ready: .*connect to the primary|do=.*connect to the primary")
        relay.stop()
        relay.configure({**relay.settings, "postgres": {
            "conninfo": f"host={twin.directory},{self.pg.directory} port={twin.port},{self.pg.port} dbname={self.database} user={RELAY} "
                        f"{attribute}"}})
        self.judge(relay.start())
        relay.stop()
        twin.close()

    def test_an_old_primary_that_is_meant(self):
        """It is served after a restart: what waits there is sent. What the other one had sent stays in the stream."""
        relay = self.start_quick()
        self.insert(3)
        self.wait_settled()
        relay.stop()
        twin = self.workspace.add(Postgres(self.workspace.path(f"twin-{self.database}"), fsync="off"))
        twin.clone(self.pg, self.pg.port).start()
        self.pg.stop()
        twin.promote()
        hosts = f"host={self.pg.directory},{twin.directory} port={self.pg.port},{twin.port} dbname={self.database} user={RELAY}"
        relay.configure({**relay.settings, "postgres": {"conninfo": hosts}})
        relay.start().wait_until_ready()
        twin.execute("SELECT boxhaul.publish('orders.x', 'there'::text, 'k')", dbname=self.database)
        self.wait(lambda: self.count() == 4, "the message of the new one")
        self.wait(lambda: twin.execute("SELECT position FROM boxhaul.position", dbname=self.database)[0][0] > 3, "its mark")
        twin.close()
        self.pg.start()
        self.insert(3)
        line = self.said(relay, "an older history of this database")
        self.assertIn("stop the old primary; if it is meant to be served, restart the relay", line)
        relay.kill9()
        relay.start()
        self.inserted.insert(3, "there")
        self.wait_settled()
        relay.wait_until_ready()
        self.assertEqual(self.bodies(), self.inserted)

    def test_a_pooler_in_transaction_mode(self):
        """Both ways: a pool in session mode, and the server itself."""
        for name, mode in (("self", None), ("pool", "session")):
            with self.subTest(name):
                pooler = self.workspace.add(PgBouncer(self.workspace.path(f"{self.database}-{name}"), self.pg, "transaction", [RELAY])).start()
                relay = self.add_quick(True, postgres={"conninfo": pooler.conninfo(self.database, RELAY)}).start()
                self.insert(3)
                self.said(relay, "not ready: .*Connect to PostgreSQL itself, or to a pool in session mode")
                pooler.close()
                if mode:
                    pooler.mode = mode
                    pooler.start()
                relay.stop()
                relay.configure({**relay.settings, "postgres": {"conninfo": (pooler if mode else self.pg).conninfo(self.database, RELAY)}})
                self.judge(relay.start())
                relay.stop()
                pooler.close()


class Subscriptions(DatabaseTest):
    postgres_settings = {"wal_level": "logical"}

    def test_the_outbox_is_taken_out_of_it(self):
        """A copy of all tables, and a relay on it. What was copied has been sent where it came from: it is not stored twice."""
        relay = self.start_quick()
        copy = f"{self.database}_copy"
        self.pg.copy_database("migrated", copy)
        self.addCleanup(self.pg.execute, f"DROP DATABASE {copy} WITH (FORCE)")
        self.sql("CREATE TABLE business (id int PRIMARY KEY)")
        self.pg.execute("CREATE TABLE business (id int PRIMARY KEY)", dbname=copy)
        self.sql("CREATE PUBLICATION p FOR TABLE business, boxhaul.outbox")
        self.sql("SELECT pg_create_logical_replication_slot('s', 'pgoutput')")
        self.addCleanup(self.sql, "SELECT pg_drop_replication_slot('s')")
        self.pg.execute(f"CREATE SUBSCRIPTION s CONNECTION '{self.pg.conninfo(self.database)}' PUBLICATION p "
                        "WITH (create_slot = false, copy_data = false)", dbname=copy)
        self.addCleanup(self.pg.execute, "ALTER SUBSCRIPTION s DISABLE; ALTER SUBSCRIPTION s SET (slot_name = NONE); DROP SUBSCRIPTION s",
                        dbname=copy)
        self.insert(3)
        self.sql("INSERT INTO business VALUES (1)")
        self.wait(lambda: self.pg.execute("SELECT count(*) FROM boxhaul.outbox", dbname=copy) == [(3,)], "the copy")
        there = self.add_quick(True, postgres={"conninfo": self.pg.conninfo(copy, RELAY),
                                               "migrate_conninfo": self.pg.conninfo(copy)}).start()
        line = self.said(there, "FAIL  ids: boxhaul.outbox is filled by a subscription")
        self.assertIn("ALTER PUBLICATION there without boxhaul's tables, and ALTER SUBSCRIPTION here ... REFRESH PUBLICATION", line)
        self.sql("ALTER PUBLICATION p SET TABLE business")
        self.pg.execute("ALTER SUBSCRIPTION s REFRESH PUBLICATION WITH (copy_data = false)", dbname=copy)
        self.said(there, "FAIL  ids: ids up to 0 are drawn, but there are rows up to 3: .*stop the relays, then SELECT boxhaul.mend_ids()")
        there.stop()
        self.pg.execute("SELECT boxhaul.mend_ids()", dbname=copy)
        there.start().wait_until_ready()
        self.pg.execute("SELECT boxhaul.publish('orders.x', 'there'::text, 'k')", dbname=copy)
        self.wait(lambda: "there" in self.bodies(), "a message of its own")
        self.insert(3)
        self.wait_settled()
        relay.wait_until_ready()
        self.assertEqual([body for body in self.bodies() if body != "there"], self.inserted)


class Reloads(DatabaseTest):
    def test_a_bad_file(self):
        relay = self.start_quick()
        good = relay.settings
        relay.configure({**good, "delivery": {"window": 0}, "surprise": 1})
        relay.send(signal.SIGHUP)
        line = self.said(relay, "configuration not reloaded")
        self.insert(3)
        self.said(relay, "mend the file as the log says, then reload again")
        self.assertIn("mend the file, then reload again", line)
        relay.configure({**good, "delivery": {**good["delivery"], "window": 7}})
        relay.send(signal.SIGHUP)
        self.wait(lambda: "configuration reloaded" in relay.log_tail(20), "the reload")
        self.wait(lambda: "reload" not in relay.get("/readyz")[1], "the end of the alert")
        self.insert(3)
        self.judge(relay)

    def test_values_that_need_a_restart(self):
        relay = self.start_quick()
        relay.configure({**relay.settings, "outbox": {**relay.settings["outbox"], "lease": "60s"},
                         "delivery": {**relay.settings["delivery"], "mark_interval": "10s"}})
        relay.send(signal.SIGHUP)
        self.said(relay, "this needs a restart, not a reload")
        self.insert(3)
        relay.stop()
        self.insert(3)
        self.judge(relay.start())

    def test_nobody_leads(self):
        relay = self.start_quick()
        relay.stop()
        self.insert(3)
        told = relay.command("status").stdout
        words = re.search("start a relay: `boxhaul (run [^`]*)`", told)[1].split()
        relay.spawn([self.program, *words])
        self.judge(relay)


class Held(DatabaseTest):
    def test_more_than_there_is_room_for(self):
        """A transaction is left open, and behind it every other id never appears: nothing new is read. Whoever is in the way is named, and
        ended, as the log and the runbook say."""
        relay = self.start_quick()
        self.sql("CREATE FUNCTION two() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS "
                 "'BEGIN PERFORM nextval(''boxhaul.outbox_id_seq''); RETURN NEW; END'; "
                 "CREATE TRIGGER two BEFORE INSERT ON boxhaul.outbox FOR EACH ROW EXECUTE FUNCTION two()")
        rows = 70_000
        with self.connect(SERVICE).cursor() as cursor:
            cursor.execute("BEGIN; INSERT INTO boxhaul.outbox (subject, key, payload) VALUES ('orders.x', 'k', 'never')")
            self.sql("INSERT INTO boxhaul.outbox (subject, payload) SELECT 'orders.x', 'x' FROM generate_series(1, %s)", (rows,))
            line = self.said(relay, "too many messages are held back: reading nothing new|nothing new is read: .*transactions that stay open")
            self.assertLess(self.count(), rows)
            explain = re.search(r"boxhaul (explain .*?), which is one of most of them", relay.log_tail(2000).replace('\\"', '"'))
            if explain:
                self.assertIn("no row that can be seen", self.run_words(explain[1].split()), line)
            pids = re.findall(r"pid (\d+) ", relay.command("status").stdout)
            self.assertIn(str(cursor.connection.info.backend_pid), pids)
            self.sql("SELECT pg_terminate_backend(%s)", (cursor.connection.info.backend_pid,))
        self.wait_for_messages(rows)
        self.wait_settled()
        relay.wait_until_ready()
        self.assertEqual(self.count(), rows)

    def run_words(self, words):
        return subprocess.run([self.program, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=True).stdout


if __name__ == "__main__":
    unittest.main()
