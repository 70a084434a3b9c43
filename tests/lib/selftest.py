#!/usr/bin/python3 -B
"""The test library tested: above all that the reconciliation can fail, in each of the ways it must."""

import contextlib
import glob
import itertools
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import unittest
import unittest.mock

import psycopg2

from certificates import Authority
from jetstream import JetStream, JetStreamError, Stored, _position
from nats_client import Client, NatsError
from process import Process, Workspace, has_ended, wait_until
from reconcile import dead_letters, reconcile
from relay import to_libconfig
from servers import Nats, Postgres
from shop import Habits, Ledger, Shop, create_schema, recognise, seal, unseal

HERE = os.path.dirname(os.path.abspath(__file__))


def stored(seq, message, key="order-1", number=None, **changes):
    """A message as the shop would have written it and a correct relay stored it."""
    body = {"message": message, "key": key, "seq": seq if number is None else number, "subject": "orders.paid",
            "headers": {"City": "Zürich"}}
    row = {"seq": seq, "subject": "orders.paid", "headers": {"City": ["Zürich"], "Nats-Msg-Id": [message]},
           "payload": json.dumps(seal(body)).encode(), **changes}
    return Stored(**row)


class Reconcile(unittest.TestCase):
    def setUp(self):
        self.ledger = Ledger()
        self.ledger.record("committed", "t1", ["a", "b", "c"])
        self.ledger.record("aborted", "t2", ["x"])
        self.ledger.record("unknown", "t3", ["u", "v"])
        self.good = [stored(1, "a"), stored(2, "b"), stored(3, "c")]

    def expect(self, stream, line, dead=()):
        result = reconcile(self.ledger, stream, dead)
        self.assertEqual(str(result), line)
        return result

    def test_all_is_well(self):
        result = self.expect(self.good, "committed=3 stored=3 missing=0 unexpected=0 duplicates=0 out_of_order=0")
        self.assertTrue(result.clean())

    def test_missing(self):
        result = self.expect(self.good[:1], "committed=3 stored=1 missing=2 unexpected=0 duplicates=0 out_of_order=0")
        self.assertFalse(result.clean())
        self.assertIn("transaction t1", result.examples[0])

    def test_aborted_and_foreign_ones(self):
        for message in ("x", "never-written"):
            result = self.expect(self.good + [stored(4, message)],
                                 "committed=3 stored=4 missing=0 unexpected=1 duplicates=0 out_of_order=0")
            self.assertFalse(result.clean())

    def test_what_is_damaged_is_missing_and_unexpected(self):
        good = self.good[0]
        for damage in ({"payload": good.payload.replace(b"order-1", b"order-2")}, {"payload": b""},
                       {"payload": b"[1]"}, {"payload": b"\xff"}, {"payload": b'{"check": 1}'},
                       {"subject": "orders.other"}, {"headers": {}}, {"headers": {"City": ["Z?rich"]}}):
            self.expect([good._replace(**damage)] + self.good[1:],
                        "committed=3 stored=3 missing=1 unexpected=1 duplicates=0 out_of_order=0")

    def test_duplicates(self):
        result = self.expect(self.good + [stored(4, "a"), stored(5, "a")],
                             "committed=3 stored=3 missing=0 unexpected=0 duplicates=2 out_of_order=0")
        self.assertFalse(result.clean())

    def test_order_counts_within_a_key(self):
        result = self.expect([stored(1, "b", number=2), stored(2, "a", number=1), stored(3, "c", number=3)],
                             "committed=3 stored=3 missing=0 unexpected=0 duplicates=0 out_of_order=1")
        self.assertFalse(result.clean())

    def test_order_does_not_count_across_keys_nor_without_one(self):
        self.expect([stored(1, "b", number=2), stored(2, "a", "order-2", 1), stored(3, "c", None, 0)],
                    "committed=3 stored=3 missing=0 unexpected=0 duplicates=0 out_of_order=0")

    def test_a_late_copy_is_a_duplicate_but_not_out_of_order(self):
        self.expect(self.good + [stored(4, "a", number=1)],
                    "committed=3 stored=3 missing=0 unexpected=0 duplicates=1 out_of_order=0")

    def test_unknown_ones_count_when_stored_but_only_whole(self):
        self.expect(self.good + [stored(4, "u"), stored(5, "v")],
                    "committed=5 stored=5 missing=0 unexpected=0 duplicates=0 out_of_order=0")
        self.expect(self.good + [stored(4, "u")],
                    "committed=5 stored=4 missing=1 unexpected=0 duplicates=0 out_of_order=0")

    def test_a_dead_letter_excuses(self):
        self.expect(self.good[:2], "committed=3 stored=2 missing=0 unexpected=0 duplicates=0 out_of_order=0", {"c"})

    def test_nothing_committed_is_not_a_success(self):
        self.assertFalse(reconcile(Ledger(), []).clean())

    def test_several_ledgers(self):
        other = Ledger()
        other.record("committed", "t9", ["d"])
        self.assertTrue(reconcile([self.ledger, other], self.good + [stored(4, "d")]).clean())


class Broker(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.workspace = cls.enterClassContext(Workspace())
        cls.server = cls.workspace.add(Nats(cls.workspace.path("nats"))).start()

    def setUp(self):
        self.client = self.enterContext(Client(self.server.url()))
        self.jetstream = JetStream(self.client)

    def tearDown(self):
        for stream in self.jetstream.names():
            self.jetstream.delete(stream)

    def test_every_byte_and_header_arrives(self):
        sid = self.client.subscribe("a.*")
        for payload in (b"", b"\r\nMSG a.b 1 3\r\n", bytes(range(256)) * 4000):
            for headers in ({}, {"One": ["1"], "Two": ["b c", "Zürich: 7"]}):
                self.client.publish("a.b", payload, headers, reply="answer.here")
                message = self.client.next(sid)
                self.assertEqual((message.subject, message.reply, message.headers, message.payload),
                                 ("a.b", "answer.here", headers, payload))

    def test_waiting_has_an_end(self):
        sid = self.client.subscribe("nothing")
        with self.assertRaises(TimeoutError):
            self.client.next(sid, deadline=0.05)
        with self.assertRaisesRegex(NatsError, "nobody answers"):
            self.client.request("nobody.there")

    def test_the_reader_reads_all_in_order(self):
        self.jetstream.create("S", ["s.>"])
        self.assertEqual(list(self.jetstream.read("S")), [])
        for n in range(20_000):
            self.client.publish(f"s.{n % 7}", b"%d" % n, {"Nats-Msg-Id": f"id-{n}"})
        self.jetstream.publish("s.large", b"\r\n" * 500_000)
        self.jetstream.delete_message("S", 10)
        self.jetstream.delete_message("S", 20_001)
        self.jetstream.publish("s.last")
        read = list(self.jetstream.read("S"))
        self.assertEqual([m.seq for m in read], [n for n in range(1, 20_003) if n not in (10, 20_001)])
        self.assertEqual(read[4][:4], (5, "s.4", {"Nats-Msg-Id": ["id-4"]}, b"4"))
        self.assertEqual((read[4].msg_id, read[-1].msg_id, read[-1].payload), ("id-4", None, b""))

    def test_a_batch_of_large_messages(self):
        self.jetstream.create("S", ["s"])
        for n in range(60):
            self.jetstream.publish("s", bytes([n]) * 1_000_000)
        self.assertEqual([m.payload[0] for m in self.jetstream.read("S")], list(range(60)))

    def test_stream_administration(self):
        self.jetstream.create("S", ["s"], max_msgs=5, discard="new")
        self.jetstream.update("S", max_msgs=1)
        self.assertEqual(self.jetstream.publish("s", b"1")["seq"], 1)
        with self.assertRaisesRegex(JetStreamError, "maximum messages exceeded"):
            self.jetstream.publish("s", b"2")
        self.jetstream.purge("S")
        self.assertEqual((self.jetstream.count("S"), self.jetstream.count("NONE")), (0, 0))

    def test_a_stream_is_deleted_and_restored(self):
        self.jetstream.create("S", ["s.>"])
        for n in range(20):
            self.jetstream.publish("s.one", os.urandom(100_000), {"N": str(n)})
        before = list(self.jetstream.read("S"))
        what, pieces = self.jetstream.snapshot("S")
        self.assertGreater(len(pieces), 1)
        self.jetstream.delete("S")
        self.jetstream.restore("S", what, pieces)
        self.assertEqual(list(self.jetstream.read("S")), before)
        self.assertEqual(self.jetstream.publish("s.one")["seq"], len(before) + 1)
        self.assertLess(abs(before[-1].time - time.time()), 600)

    def test_both_forms_of_the_ack_subject(self):
        self.assertEqual(_position("$JS.ACK.S.C.1.7.8.1700.3"), (7, 3, 1700))
        self.assertEqual(_position("$JS.ACK.domain.account.S.C.1.7.8.1700.3.word"), (7, 3, 1700))


class Servers(unittest.TestCase):
    def setUp(self):
        self.workspace = self.enterContext(Workspace())

    def nats(self, **settings):
        return self.workspace.add(Nats(self.workspace.path("nats"), **settings)).start()

    def test_nats_keeps_its_data_over_kill_and_restart(self):
        server = self.nats()
        with Client(server.url()) as client:
            JetStream(client).create("S", ["s"])
            JetStream(client).publish("s", b"kept")
            server.kill9()
            with self.assertRaises((NatsError, OSError)):
                client.flush()
        for _ in range(2):
            server.start()
            with Client(server.url()) as client:
                self.assertEqual([m.payload for m in JetStream(client).read("S")], [b"kept"])
            server.stop()

    def test_a_paused_server_is_silent_and_comes_back(self):
        server = self.nats()
        with Client(server.url()) as client:
            server.pause()
            client.deadline = 0.2
            with self.assertRaises(TimeoutError):
                client.flush()
            server.resume()
            client.deadline = 30
            client.flush()

    def test_logins_and_limits(self):
        for login in ({"user": "u:1", "password": "p@ss"}, {"token": "t/o"}):
            server = self.nats(authorization=login, max_payload=1000)
            with Client(server.url()) as client:
                self.assertEqual(client.info["max_payload"], 1000)
            with self.assertRaisesRegex(NatsError, "Authorization Violation"):
                Client(f"nats://127.0.0.1:{server.port}")
            server.close()

    def test_tls(self):
        certificate = Authority(self.workspace.path("ca")).issue("server")
        server = self.nats(tls=certificate.tls())
        with Client(server.url(), ca_file=certificate.ca_file) as client:
            client.flush()
        with self.assertRaises(OSError):
            Client(server.url())  # an authority it does not know

    def test_postgres_keeps_committed_rows_over_kill9(self):
        pg = self.workspace.add(Postgres(self.workspace.path("pg"), max_prepared_transactions=3)).start()
        self.assertEqual(pg.execute("SHOW max_prepared_transactions"), [("3",)])
        self.assertEqual(os.stat(pg.directory).st_mode & 0o777, 0o700)
        pg.execute("CREATE TABLE t AS SELECT 1 AS n")
        for outage in (pg.kill9, lambda: pg.stop("immediate"), pg.stop):
            outage()
            pg.start()
            self.assertEqual(pg.execute("SELECT n FROM t"), [(1,)])
        with contextlib.closing(psycopg2.connect(pg.conninfo(tcp=True))) as connection:
            self.assertTrue(pg.kill_backend(connection.get_backend_pid()))
        self.assertFalse(pg.kill_backend(os.getpid()))

    def test_a_frozen_postgres_is_silent_and_comes_back(self):
        pg = self.workspace.add(Postgres(self.workspace.path("pg"))).start()
        answers = []
        with contextlib.closing(pg.connect()) as connection, connection.cursor() as cursor:
            pg.freeze()
            question = threading.Thread(target=lambda: answers.append(cursor.execute("SELECT 1")))
            question.start()
            question.join(0.3)
            self.assertEqual(answers, [])
            pg.thaw()
            question.join()
            self.assertEqual(answers, [None])

    def test_a_standby_follows_and_takes_over(self):
        first, second = (self.workspace.add(Postgres(self.workspace.path(name))) for name in ("a", "b"))
        first.start().execute("CREATE TABLE t AS SELECT 1 AS n")
        for primary, standby in ((first, second), (second, first)):
            standby.clone(primary, primary.port).start()
            primary.execute("INSERT INTO t SELECT max(n) + 1 FROM t")
            (count,), = primary.execute("SELECT count(*) FROM t")
            wait_until(lambda: standby.execute("SELECT count(*) FROM t") == [(count,)], "the standby to follow")
            with self.assertRaises(psycopg2.errors.ReadOnlySqlTransaction):
                standby.execute("DELETE FROM t")
            primary.kill9()
            standby.promote()
            standby.execute("UPDATE t SET n = n")

    def test_a_child_that_dies_early_says_why(self):
        with self.assertRaisesRegex(RuntimeError, "nats-server ended with status 1(.|\n)*nats.conf:"):
            self.nats(max_payload="much")

    def test_nothing_stays_after_a_signal_or_a_kill(self):
        script = textwrap.dedent("""
            import sys, time
            from process import Workspace
            from servers import Nats
            with Workspace() as w:
                server = w.add(Nats(w.path("nats"))).start()
                print(w.path(), server.pid, flush=True)
                time.sleep(600)
            """)
        for signum, tidy in ((signal.SIGTERM, True), (signal.SIGINT, True), (signal.SIGKILL, False)):
            with subprocess.Popen([sys.executable, "-B", "-c", script], stdout=subprocess.PIPE, cwd=HERE,
                                  text=True) as child:
                directory, pid = child.stdout.readline().split()
                child.send_signal(signum)
                child.wait()
            wait_until(lambda pid=pid: has_ended(pid), "the server's end")
            self.assertEqual(os.path.exists(directory), not tidy)
            if not tidy:
                subprocess.run(["rm", "-r", directory], check=True)


class TheShop(unittest.TestCase):
    """The shop must be as nasty as it says, and its ledger true."""

    def setUp(self):
        workspace = self.enterContext(Workspace())
        self.pg = workspace.add(Postgres(workspace.path("pg"), track_commit_timestamp="on")).start()
        with contextlib.closing(self.pg.connect()) as connection, connection.cursor() as cursor:
            for path in sorted(glob.glob(os.path.join(HERE, "../../sql/*.sql"))):
                with open(path, encoding="utf-8") as f:
                    cursor.execute(f.read())
            self.pg.create_login("shop_service", "boxhaul_writer")
            create_schema(connection, user="shop_service", orders=20)

    def trade(self, trouble=lambda: None, **habits):
        shop = Shop(self.pg.conninfo(user="shop_service"), orders=20, habits=Habits(**habits), seed=1)
        with shop:
            end = time.monotonic() + 3
            while time.monotonic() < end or len(shop.ledger.committed) < 300:
                time.sleep(0.2)
                trouble()
        return shop

    def rows(self, order="id"):
        return self.pg.execute("SELECT id, subject, headers, payload, key, pg_xact_commit_timestamp(xmin) "
                               f"FROM boxhaul.outbox ORDER BY {order}")

    def as_stream(self):
        return [Stored(row[0], row[1], {name: [value] for name, value in (row[2] or {}).items()}, bytes(row[3]))
                for row in self.rows()]

    def test_its_ledger_is_true_and_ids_follow_the_order_of_effects(self):
        shop = self.trade()
        result = reconcile(shop.ledger, self.as_stream())
        self.assertTrue(result.clean(), f"{result} {result.examples}")
        self.assertEqual((shop.errors, shop.disconnects, shop.ledger.unknown), ([], 0, {}))
        self.assertGreater(len(shop.ledger.aborted), 0)

    def test_ids_and_commits_are_out_of_step(self):
        self.trade()
        times = [row[5] for row in self.rows()]
        self.assertTrue(any(later < earlier for earlier, later in zip(times, times[1:])))

    def test_every_form_of_message_occurs(self):
        self.trade()
        messages = self.as_stream()
        bodies = [unseal(m.payload) for m in messages]
        self.assertTrue(all(recognise(m) for m in messages))
        self.assertTrue(any(b["key"] is None for b in bodies) and any(b["key"] for b in bodies))
        self.assertTrue(any(b["headers"] for b in bodies))
        self.assertEqual([row[4] for row in self.rows()], [b["key"] for b in bodies])

    def test_dead_letters_are_read_from_their_table(self):
        self.trade()
        self.pg.execute("INSERT INTO boxhaul.dead_letter (id, payload, reason, attempts, held) "
                        "SELECT id, payload, 'test', 1, false FROM boxhaul.outbox ORDER BY id LIMIT 2")
        expected = {unseal(m.payload)["message"] for m in self.as_stream()[:2]}
        with contextlib.closing(self.pg.connect()) as connection:
            self.assertEqual(dead_letters(connection), expected)

    def test_it_survives_lost_connections_and_keeps_true_books(self):
        def kill_all():
            for pid in self.pg.backends("usename = 'shop_service'"):
                self.pg.execute("SELECT pg_terminate_backend(%s)", (pid,))
        shop = self.trade(kill_all, slow=0.2, slow_seconds=0.1)
        self.pg.restart("immediate")
        result = reconcile(shop.ledger, self.as_stream())
        self.assertTrue(result.clean(), f"{result} {result.examples}")
        self.assertGreater(shop.disconnects, 0)
        self.assertEqual(shop.errors, [])


class Ending(unittest.TestCase):
    """Whoever ends a child tells it to go on only if it stands still."""

    # Status 0: after SIGTERM there was no SIGCONT.
    CHILD = ("import signal; both = {signal.SIGTERM, signal.SIGCONT}; signal.pthread_sigmask(signal.SIG_BLOCK, both);"
             "print('ready', flush=True); signal.sigwait({signal.SIGTERM});"
             "raise SystemExit(0 if signal.sigtimedwait({signal.SIGCONT}, 0.5) is None else 3)")

    def child(self):
        child = Process("child", self.enterContext(Workspace()).path("log"))
        self.addCleanup(child.kill9)
        child.spawn([sys.executable, "-c", self.CHILD])
        wait_until(lambda: "ready" in child.log_tail(), "the child")
        return child

    def test_one_that_runs(self):
        self.assertEqual(self.child().end(), 0)

    def test_one_that_was_stopped(self):
        child = self.child()
        child.pause()
        self.assertEqual(child.end(), 3)

    def test_one_that_stopped_itself(self):
        child = self.child()
        child.send(signal.SIGSTOP)
        wait_until(child.stopped, "it to stand still")
        self.assertEqual(child.end(), 3)


class Waiting(unittest.TestCase):
    def test_it_has_an_end_when_nothing_moves_any_more(self):
        steps, looks = iter(range(5)), []

        def look():
            looks.append(next(steps, 5))
            return looks[-1]
        self.assertTrue(wait_until(lambda: looks[-1] == 3, "the third step", deadline=0, pause=0.01, progress=look))
        with self.assertRaises(TimeoutError):
            wait_until(lambda: False, "nothing", deadline=0, pause=0.01, progress=look)
        self.assertEqual(looks, [0, 1, 2, 3, 4, 5, 5])

    def test_it_has_an_end_although_something_moves_for_ever(self):
        with unittest.mock.patch("process.ENDLESS", 0.05), self.assertRaises(TimeoutError):
            wait_until(lambda: False, "nothing", deadline=0, pause=0.01, progress=itertools.count().__next__)


class AllFiles(unittest.TestCase):
    """system/all.py, on files that are no tests: what passes only alone is told, what fails twice fails it."""

    SAYS = "import os, sys, time\nprint(os.path.basename(__file__), 'says', time.sleep(0.1))\n"
    ONCE = SAYS + "first = not os.path.exists(__file__ + '.ran')\nopen(__file__ + '.ran', 'w').close()\nsys.exit(first)\n"

    def play(self, **files):
        with Workspace() as w:
            paths = [w.path(f"{name}.py") for name in files]
            for path, text in zip(paths, files.values()):
                with open(path, "w", encoding="ascii") as f:
                    f.write(text)
            done = subprocess.run([os.path.join(HERE, "..", "system", "all.py"), w.path(), *paths], stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        return done.returncode, done.stdout

    def test_all_pass(self):
        code, said = self.play(a=self.SAYS, b=self.SAYS)
        self.assertEqual((code, said.count("says"), "alone" in said), (0, 2, False), said)
        self.assertRegex(said, r"(?m)^the slowest of 2 files, by processor time:\n +\d+\.\d s  [ab]\.py \(\d+ s by the clock\)\n")
        self.assertRegex(said, r"(?m)^cpu=\d+ s \(user \d+, system \d+\) files=2$")

    def test_one_passes_only_alone(self):
        code, said = self.play(a=self.SAYS, b=self.ONCE)
        self.assertEqual(code, 0, said)
        self.assertIn("\npassed only alone: b.py; beside the others it said:\nb.py says", said)
        self.assertTrue(said.endswith("\npassed only alone: b.py\n"), said)

    def test_one_fails_twice(self):
        code, said = self.play(a=self.ONCE, b=self.SAYS + "sys.exit(1)\n")
        self.assertEqual(code, 1, said)
        self.assertTrue(said.endswith("\npassed only alone: a.py\nfailed twice: b.py\n"), said)


class Configuration(unittest.TestCase):
    def test_libconfig(self):
        self.assertEqual(to_libconfig({"name": 'a"b\\', "health": {"port": 1, "on": True},
                                       "streams": [{"name": "S", "subjects": ["a", "b"]}]}), textwrap.dedent("""\
            name = "a\\"b\\\\";
            health = {
                port = 1;
                on = true;
            };
            streams = ( {
                name = "S";
                subjects = [ "a", "b" ];
            } );
            """))


if __name__ == "__main__":
    unittest.main()
