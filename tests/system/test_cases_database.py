"""What a database can do to a relay beyond stopping: commits nobody hears of, another history of itself, no room, no
rights, another schema, and more rows than memory."""

import contextlib
import os
import subprocess
import time
import unittest
from unittest import mock

import psycopg2

from harness import RELAY, SERVICE, STREAM
from servers import Postgres
from test_operation import QUICK, OperationTest, health
from wire import Wire


class DatabaseTest(OperationTest):
    def add_wire(self, server_port, edit=None):
        wire = Wire(server_port, edit)
        self.addCleanup(wire.close)
        return wire

    def through(self, wire):
        """The relay's connection string, by way of the wire."""
        return self.pg.conninfo(self.database, RELAY, tcp=True).replace(f"port={self.pg.port}", f"port={wire.port}")

    def wait_unready(self, relay, *words):
        return self.wait_for_page(relay, "/readyz", 503, *words)

    def start_quick(self, **groups):
        """A relay that takes a second without an acknowledgement for a stall."""
        return self.start_relay(health=health(stall_after="1s"), **{**QUICK, **groups})


class UnknownOutcome(DatabaseTest):
    """The link dies while a mark is on its way. Nobody assumes anything: the next lead reads what the books say."""

    def lose_one_mark(self, lose):
        """A relay behind a wire that does lose(connection) to the session whose first mark passes."""
        self.marking = None

        def edit(connection, from_client, data):
            if from_client and b"boxhaul.mark(" in data and self.marking is None:
                self.marking = connection
                return lose(connection, data)
            return data if from_client or connection is not self.marking else self.lost
        self.lost = None
        return self.start_relay(postgres={"conninfo": self.through(self.add_wire(self.pg.port, edit))})

    def settle_after(self, relay):
        self.marking.cut()
        self.wait(lambda: self.status(relay)["epoch"] == 2, "the relay to lead again")
        self.writer("after").write("k", 5, seq=100).commit()
        self.audit()
        return self.status(relay)["duplicates_total"]

    def test_it_was_committed_and_nobody_heard_of_it(self):
        relay = self.lose_one_mark(lambda connection, data: data)
        self.writer("w").write("k", seq=1).commit()  # no more: the first mark is the last, and might be of some only
        self.wait(lambda: self.marking and self.position() == 1, "the mark to be committed")
        self.assertEqual(self.settle_after(relay), 0, "what was marked is not sent again")

    def test_it_was_never_committed(self):
        relay = self.lose_one_mark(lambda connection, data: None)
        self.writer("w").write("k", 5, seq=1).commit()
        self.wait(lambda: self.marking, "the first mark")
        self.wait_for_messages(5)
        self.assertEqual(self.position(), 0)
        self.assertGreater(self.settle_after(relay), 0, "what was not marked is sent again, and recognised")


class Histories(DatabaseTest):
    """The same database twice: a standby that missed the last commits, a backup, the old primary after a failover."""

    def copy(self):
        """The server as it is now, as a standby that hears nothing any more; not started."""
        self.pg.stop()
        twin = self.workspace.add(Postgres(self.workspace.path(f"{self.database}-twin"), fsync="off"))
        subprocess.run(["install", "-d", "-m", "700", f"--owner={twin.user or os.geteuid()}", twin.directory], check=True)
        subprocess.run(["cp", "-a", self.pg.data, twin.data], check=True)
        subprocess.run(["install", "-m", "600", f"--owner={twin.user or os.geteuid()}", os.devnull,
                        os.path.join(twin.data, "standby.signal")], check=True)
        self.pg.start()
        return twin

    def fail_over_to(self, twin):
        """The test's database is the twin's from here on."""
        twin.execute("SELECT pg_promote()")
        self.wait(lambda: not twin.execute("SELECT pg_is_in_recovery()")[0][0], "the promotion")
        old, self.pg = self.pg, twin

        def go_back():
            self.pg = old
        self.addCleanup(go_back)
        return old

    def both(self, twin):
        """A connection string with two hosts, the old primary's first."""
        return (f"host={self.pg.directory},{twin.directory} port={self.pg.port},{twin.port} "
                f"dbname={self.database} user={RELAY} target_session_attrs=read-write")

    def ids_of(self, name):
        return {i for (i,) in self.sql("SELECT id FROM boxhaul.outbox WHERE convert_from(payload, 'UTF8')::json ->> "
                                       "'message' LIKE %s", (f"{name}/%",))}

    def test_a_standby_that_missed_commits_and_the_old_primary_back(self):
        """Messages of transactions that the standby never saw stay in the stream. New rows get their ids once more, and
        arrive all the same. And when the old primary is back, writable, and the first host of the connection string, the relay
        does not serve it: it goes to the next host."""
        self.writer("early").write("k", 10).commit()
        relay = self.start_relay()
        self.wait_settled()
        relay.stop()
        twin = self.copy()
        twin.start()
        relay = self.start_relay(postgres={"conninfo": self.both(twin)})
        self.writer("missed").write("k", 50).commit()
        self.wait_settled()
        missed = self.ids_of("missed")
        self.pg.kill9()
        old = self.fail_over_to(twin)
        relay.wait_until_ready()
        self.wait_for_log(relay, level="warn", msg="another server was promoted", timeline="2", before="1")
        self.writer("late").write("k", 60).commit()
        self.wait_settled()
        self.assertTrue(missed <= self.ids_of("late"), "the ids are used again")
        self.assertEqual(self.count(), 10 + 50 + 60)

        old.start()
        for pid in twin.backends(f"usename = '{RELAY}'"):
            twin.execute("SELECT pg_terminate_backend(%s)", (pid,))
        self.wait_unready(relay, "an older history of this database")
        with contextlib.closing(psycopg2.connect(old.conninfo(self.database, SERVICE))) as connection:
            with connection, connection.cursor() as cursor:
                cursor.execute("SELECT boxhaul.publish('orders.stray', 'x')")
        self.assertEqual(relay.get("/livez")[0], 200)
        relay.wait_until_ready()  # the old one still stands, and is the first host
        self.assertEqual(self.count(), 10 + 50 + 60, "nothing of the old primary is published")
        self.writer("last").write("k", 5).commit()
        self.audit()
        self.assertEqual({m.subject for m in self.stored()}, {"orders.paid"})
        relay.stop()
        old.stop()

    def test_a_standby_first(self):
        """Without target_session_attrs libpq takes the first host that answers: the relay tries the next one."""
        twin = self.copy()
        twin.start()
        self.addCleanup(twin.stop)
        relay = self.start_relay(postgres={"conninfo": f"postgresql:///{self.database}?host={twin.directory},{self.pg.directory}"
                                                       f"&port={twin.port},{self.pg.port}&user={RELAY}"})
        self.writer("first").write("k", 10).commit()
        self.wait_settled()
        for pid in self.pg.backends(f"usename = '{RELAY}'"):
            self.pg.execute("SELECT pg_terminate_backend(%s)", (pid,))
        self.writer("second").write("k", 10).commit()
        self.wait_settled()
        self.audit()
        relay.stop()

    def test_a_dump_restored_elsewhere(self):
        """Another server, another system identifier, transaction ids that begin again; what was sent is not sent again."""
        relay = self.start_relay(outbox={"gap_grace": "0s"})
        gone = self.writer("gone").write("k", 3)  # ids that the dump will miss
        self.writer("sent").write("k", 20).commit()
        self.wait_for_messages(20)
        self.wait(lambda: self.position() == self.newest(), "the position to pass the missing ids")
        self.assertNotEqual(self.exceptions(), [])
        relay.stop()
        self.writer("waiting").write("k", 5).commit()
        elsewhere = self.workspace.add(Postgres(self.workspace.path("elsewhere"), fsync="off")).start()
        self.restore(elsewhere)
        gone.rollback()
        here, self.pg = self.pg, elsewhere
        try:
            relay = self.start_relay(outbox={"gap_grace": "0s"}, postgres={"conninfo": self.pg.conninfo(self.database, RELAY)})
            self.writer("new").write("k", 20).commit()
            self.audit()
            self.assertEqual(self.status(relay)["acks_total"], 25)
            relay.stop()
        finally:
            self.pg = here

    def restore(self, server):
        for role, in self.pg.execute("SELECT rolname FROM pg_roles WHERE rolname LIKE 'boxhaul\\_%' AND NOT rolcanlogin"):
            server.execute(f"CREATE ROLE {role} NOLOGIN")
        server.create_login(RELAY, "boxhaul_relay")
        server.create_login(SERVICE, "boxhaul_writer")
        server.execute(f"CREATE DATABASE {self.database}")
        program = lambda name, pg: [pg.program(name), "-d", pg.conninfo(self.database)]  # noqa: E731
        dump = subprocess.run(program("pg_dump", self.pg), stdout=subprocess.PIPE, check=True)
        subprocess.run([*program("psql", server), "-q", "-v", "ON_ERROR_STOP=1", "-o", os.devnull], input=dump.stdout, check=True)

    def test_ids_that_begin_again_below_the_position(self):
        """Rows were brought over without the sequence: what is inserted now would lie below the position, where nobody
        looks. That is not waited out but told."""
        relay = self.start_relay()
        self.writer("w").write("k", 50).commit()
        self.wait_settled()
        relay.stop()
        self.sql("SELECT setval('boxhaul.outbox_id_seq', 10)")
        relay.start()
        self.wait_unready(relay, "ids up to 10 are drawn, but the position is 50", "boxhaul.mend_ids()")
        relay.stop()
        self.sql("SELECT boxhaul.mend_ids()")
        relay.start().wait_until_ready()
        self.writer("v").write("k", 5).commit()
        self.audit()


class NoRoom(DatabaseTest):
    """The database is there and does not do what is asked. The relay neither gives up nor runs hot, and says why."""

    def check_it_is_quiet(self, relay, connects=12, seconds=5):
        """In so many seconds it may try so often: the pauses grow."""
        before = self.metric(relay, "postgres_connects_total")
        tried = self.attempts()
        time.sleep(seconds)
        made = max(self.metric(relay, "postgres_connects_total") - before, self.attempts() - tried)
        self.assertLessEqual(made, connects, f"connections in {seconds} s")

    def attempts(self):
        """Logins that the server refused."""
        with open(self.pg.log, encoding="utf-8", errors="replace") as f:
            return sum("FATAL" in line for line in f)

    def test_the_disk_is_full_for_the_books(self):
        """A table whose file takes nothing: marks fail (53100), inserts do not. What is acknowledged is sent again each
        time, so there must not be many times."""
        (path,), = self.sql("SELECT pg_relation_filepath('boxhaul.sent')")
        path = os.path.join(self.pg.data, path)
        os.rename(path, path + ".aside")
        os.symlink("/dev/full", path)
        relay = self.start_relay()
        self.writer("w").write("k", 5).write(None, 5).commit()
        self.wait_for_log(relay, level="error", msg="marking failed", sqlstate="53100")
        self.check_it_is_quiet(relay)
        self.assertEqual(self.position(), 0)
        os.unlink(path)
        os.rename(path + ".aside", path)
        self.audit()

    def test_too_many_connections(self):
        relay = self.start_relay()
        self.pg.execute(f"ALTER ROLE {RELAY} CONNECTION LIMIT 0")
        self.addCleanup(self.pg.execute, f"ALTER ROLE {RELAY} CONNECTION LIMIT -1")
        for pid in self.pg.backends(f"usename = '{RELAY}'"):
            self.pg.execute("SELECT pg_terminate_backend(%s)", (pid,))
        self.wait_unready(relay, "too many connections")
        self.writer("w").write("k", 5).commit()
        self.check_it_is_quiet(relay)
        self.pg.execute(f"ALTER ROLE {RELAY} CONNECTION LIMIT -1")
        self.audit()

    def test_a_server_in_recovery(self):
        """It lets nobody in yet (57P03), then readers (25006), then all."""
        relay = self.start_relay()
        signal = os.path.join(self.pg.data, "standby.signal")
        self.pg.stop()
        subprocess.run(["install", "-m", "600", f"--owner={self.pg.user or os.geteuid()}", os.devnull, signal], check=True)
        self.addCleanup(lambda: os.path.exists(signal) and os.unlink(signal))
        with mock.patch.dict(self.pg.settings, hot_standby="off"), mock.patch.object(self.pg, "_answers", lambda: True):
            self.pg.start()
            self.wait_unready(relay, "the database system is ")  # starting up, until 13; not accepting connections, since 14
            self.check_it_is_quiet(relay)
            self.pg.stop("immediate")
        self.pg.start()
        self.wait_unready(relay, "in recovery (a standby)")
        self.pg.execute("SELECT pg_promote()")
        relay.wait_until_ready()
        self.writer("w").write("k", 5).commit()
        self.audit()


class Schema(DatabaseTest):
    """Somebody changes our tables while the relay runs. It says what it misses, loses nothing, and goes on when it is
    mended; it needs no restart."""

    def check(self, harm, mend, *words, **log):
        with self.subTest(harm):
            relay = self.start_quick(outbox={"safety_poll": "200ms", "gap_grace": "0s"})
            self.writer(f"before {harm}").write("k").commit()
            self.wait_settled()
            self.wait_for_pace(relay, "asleep")  # what fails is the next poll, and not that it goes to sleep
            self.sql(harm)
            self.wait_for_log(relay, **log)
            self.wait_unready(relay, *words)
            self.assertEqual(relay.get("/livez")[0], 200)
            self.sql(mend)
            self.writer(f"after {harm}").write("k").commit()
            self.wait_settled()
            self.wait_for_page(relay, "/readyz", 200)
            relay.stop()

    def test_changes_and_back(self):
        failed = {"level": "warn", "msg": "reading the outbox failed"}
        self.check("ALTER TABLE boxhaul.outbox RENAME payload TO body", "ALTER TABLE boxhaul.outbox RENAME body TO payload",
                   "payload", **failed, sqlstate="42703")
        self.check("ALTER TABLE boxhaul.outbox RENAME TO elsewhere", "ALTER TABLE boxhaul.elsewhere RENAME TO outbox",
                   "boxhaul.outbox", **failed, sqlstate="42P01")
        self.check("REVOKE SELECT ON boxhaul.outbox FROM boxhaul_relay", "GRANT SELECT ON boxhaul.outbox TO boxhaul_relay",
                   "permission denied", **failed, sqlstate="42501")
        self.check("ALTER SCHEMA boxhaul RENAME TO elsewhere", "ALTER SCHEMA elsewhere RENAME TO boxhaul",
                   "boxhaul", **failed)
        self.audit()

    def test_rows_hidden_from_the_relay(self):
        """Row level security would hide rows without a word, and an id without a row is taken for rolled back."""
        relay = self.start_quick(outbox={"gap_grace": "0s"})
        self.sql("ALTER TABLE boxhaul.outbox ENABLE ROW LEVEL SECURITY; "
                 "CREATE POLICY writers ON boxhaul.outbox FOR INSERT TO boxhaul_writer WITH CHECK (true);"
                 "CREATE POLICY tenants ON boxhaul.outbox FOR SELECT USING (key <> 'hidden')")
        self.writer("w").write("hidden", 3).write("shown", 3).commit()
        self.wait_for_log(relay, msg="reading the outbox failed", why="row-level security")
        self.wait_unready(relay, "row-level security")
        self.assertEqual(self.count(), 0)
        self.sql("ALTER TABLE boxhaul.outbox DISABLE ROW LEVEL SECURITY")
        self.audit()

    def test_the_position_is_gone(self):
        self.sql("CREATE TABLE aside AS SELECT * FROM boxhaul.position; DELETE FROM boxhaul.position")
        relay = self.add_relay().start()
        self.wait_unready(relay, "boxhaul.position is empty: nobody knows what was sent")
        self.writer("w").write("k").commit()
        self.sql("INSERT INTO boxhaul.position SELECT * FROM aside")
        self.audit()

    def test_rows_that_somebody_deletes(self):
        """They cannot be sent; that they were there and are gone is told, and the others go on."""
        relay = self.start_quick(streams=[{"name": STREAM, "subjects": ["orders.>"]}])
        self.publish("orders.x", "k", 3)
        self.wait(lambda: self.states() and "parked" in self.states(), "the rows to be parked")
        self.writer("w").write("other", 3).commit()
        self.sql("DELETE FROM boxhaul.outbox WHERE key = 'k'")
        with self.jetstream() as jetstream:
            jetstream.create(STREAM, ["orders.>"])
        self.audit()
        self.wait_for_log(relay, level="error", msg="rows vanished from the outbox before they were sent")
        self.assertGreater(self.metric(relay, "vanished_ids_total"), 0)

    def test_notifications_of_strangers(self):
        """Everybody may NOTIFY on every channel."""
        relay = self.start_relay()
        with self.connect(SERVICE).cursor() as cursor:
            for payload in ("x" * 7999, "decided\n", "'; DROP SCHEMA boxhaul", "%s%n", "\x7f" * 100, "\U0001f600"):
                for _ in range(50):
                    cursor.execute("SELECT pg_notify('boxhaul', %s)", (payload,))
            for _ in range(200):
                cursor.execute("SELECT pg_notify('boxhaul', 'decided')")
        self.writer("w").write("k", 5).commit()
        self.audit()
        self.assertEqual(self.metric(relay, "dead_letters_total"), 0)


class Memory(DatabaseTest):
    """However much waits, and however large one row is, the relay's memory stays what it was."""

    MEBI = 1 << 20

    def start_slim(self):
        """Without the memory that the sanitizer keeps aside, and with a queue that is full in no time."""
        relay = self.add_relay(delivery={"window": 500, "queue": 1000})
        return relay.start(env={"ASAN_OPTIONS": "quarantine_size_mb=1:detect_leaks=0"}).wait_until_ready()

    def peak(self, relay):
        """The most memory it ever had, in bytes."""
        with open(f"/proc/{relay.pid}/status", encoding="ascii") as f:
            return next(int(line.split()[1]) * 1024 for line in f if line.startswith("VmHWM"))

    def test_a_transaction_of_very_many_rows(self):
        relay = self.start_slim()
        self.writer("one").write("k").commit()
        self.wait_settled()
        self.nats.pause()  # as full as it ever gets, however quick the broker is
        self.writer("few").copy(20_000).commit()
        self.wait(lambda: self.status(relay)["queue_messages"] == 1000, "the queue to be full")
        self.nats.resume()
        self.wait_settled()
        before = self.peak(relay)
        self.writer("many").copy(60_000).commit()
        self.audit()
        self.assertLess(self.peak(relay) - before, 8 * self.MEBI)

    def test_a_row_of_100_megabytes(self):
        """Past the CHECKs. It never leaves the server."""
        self.sql("ALTER TABLE boxhaul.outbox DROP CONSTRAINT outbox_size; "
                 "ALTER TABLE boxhaul.outbox_0 ALTER payload SET STORAGE EXTERNAL")
        relay = self.start_slim()
        self.writer("w").write("k", 5).commit()
        self.wait_settled()
        before = self.peak(relay)
        self.sql("INSERT INTO boxhaul.outbox (subject, key, payload) "
                 "VALUES ('orders.x', 'k', convert_to(repeat('0123456789', 10000000), 'UTF8'))")
        self.writer("v").write("k", 5).commit()
        self.audit()
        self.assertEqual(self.sql("SELECT reason FROM boxhaul.dead_letter"),
                         [("message is larger than max_message_size or the server's max_payload",)])
        self.assertLess(self.peak(relay) - before, 16 * self.MEBI)


if __name__ == "__main__":
    unittest.main()
