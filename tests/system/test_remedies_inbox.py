"""Advice about subscriptions, workers and handlers, followed to the letter while messages wait: each takes effect, once and in order.
tests/remedies.md lists every advice."""

import contextlib
import os
import re
import subprocess
import unittest

import psycopg2

from harness import RELAY, STREAM
from test_inbox_take import NAME, TakeTest as Taking

WORKER = "shop_worker"
RIGHTS = ["STREAM.INFO.ORDERS", "STREAM.MSG.GET.ORDERS", "CONSUMER.CREATE.ORDERS.>", "CONSUMER.MSG.NEXT.ORDERS.>", "CONSUMER.DELETE.ORDERS.>"]


class InboxTest(Taking):
    @classmethod
    def _make_template(cls):
        super()._make_template()
        cls.pg.create_login(WORKER, "boxhaul_handler")

    def said(self, relay, words):
        def found():
            log = relay.log_tail(60).splitlines() if os.path.exists(relay.log) else []
            lines = [*relay.get("/readyz")[1].splitlines(), *relay.command("check").stdout.splitlines(), *log]
            return next((line for line in lines if re.search(words, line)), None)
        return self.wait(found, f"somebody to say {words}")

    def follow(self, told, word, **blanks):
        """Runs the command that was printed, as it stands there, with its blanks filled in."""
        command = re.search(rf"`boxhaul ({word} [^`]*)`", told)[1]
        words = [str(blanks.get(w, w)) for w in command.split()]
        done = subprocess.run([self.program, *words, *(["--yes"] if word in ("inbox rewind", "inbox accept-gap") else [])], text=True,
                              capture_output=True, check=False, stdin=subprocess.DEVNULL, timeout=60)
        self.assertEqual(done.returncode, 0, f"{command}: {done.stdout}{done.stderr}")
        return done.stdout

    def work(self, name=NAME):
        """A worker handles all that waits, also what failed and is due; returns it in its order."""
        handled = []
        with contextlib.closing(psycopg2.connect(self.pg.conninfo(self.database, WORKER))) as connection, connection.cursor() as cursor:
            def turn():
                cursor.execute("SELECT payload FROM boxhaul.receive(%s, 100)", (name,))
                rows = [bytes(row[0]) for row in cursor.fetchall()]
                if rows:
                    cursor.execute("SELECT boxhaul.done(%s)", (name,))
                connection.commit()
                handled.extend(rows)
                return self.sql("SELECT waiting + parked FROM boxhaul.inbox_status WHERE subscription = %s", (name,)) == [(0,)]
            self.wait(turn, "all to be handled", progress=lambda: len(handled))
        return handled

    def judge_as(self, name):
        """All that was published, once and in order, in the subscription of another name."""
        def rows():
            return [bytes(row[0]) for row in self.sql("SELECT payload FROM boxhaul.inbox WHERE subscription = %s ORDER BY id", (name,))]
        self.wait(lambda: len(rows()) >= len(self.published), "all to be taken", progress=lambda: len(rows()))
        self.assertEqual(rows(), self.published)

    def restart(self, relay, **settings):
        """With another configuration."""
        relay.stop()
        relay.configure({**relay.settings, "inbox": [self.subscription(**settings)]})
        return relay.start()


class Subscriptions(InboxTest):
    def test_a_stream_that_is_not_there(self):
        """Both halves: it is created; or the name of one that is."""
        with self.jetstream() as js:
            js.delete(STREAM)
            relay = self.add_taker().start()
            self.said(relay, f"stream {STREAM} does not exist: look at inbox.stream, or create it")
            js.create(STREAM, ["orders.>"])
        self.publish(3)
        self.judge()
        self.restart(relay, name="other", stream="ODRERS")
        self.said(relay, "stream ODRERS does not exist: look at inbox.stream")
        self.wait(lambda: self.sql("SELECT stop ->> 'kind' FROM boxhaul.inbox_position WHERE subscription = 'other'") == [("no_stream",)], "it to stop")
        self.restart(relay, name="other")
        self.judge_as("other")

    def test_subjects_that_nothing_has(self):
        """They are put right: nothing that waited is passed over."""
        relay = self.add_taker(subjects=["invoices.>"]).start()
        self.publish(5)
        self.said(relay, "holds nothing of invoices.>: look at inbox.subjects, or at the subjects of the stream")
        self.restart(relay, subjects=["orders.>"])
        self.judge()

    def test_other_subjects(self):
        """What is said of those on record; and the statement that takes the others, with all that stands below the position."""
        with self.jetstream() as js:
            js.update(STREAM, subjects=["orders.>", "invoices.>"])
        relay = self.start_taker(subjects=["invoices.>"])
        self.publish(2)
        self.publish(2, subject="invoices.x")
        self.wait_taken(2)
        self.publish(2)
        self.restart(relay, subjects=["orders.>", "invoices.>"])
        line = self.said(relay, "would never be taken").replace('\\"', '"')
        self.sql(re.search(r"SELECT boxhaul\.inbox_subjects\([^)]*\)", line)[0])
        self.sql("SELECT boxhaul.inbox_rewind(%s, 'start')", (NAME,))
        self.wait_taken(6)
        self.assertEqual(sorted(self.rows()), sorted(self.published))
        self.restart(relay, subjects=["orders.>"])
        self.said(relay, "Where this configuration is the older one, give it the subjects on record, and restart the daemon")
        self.restart(relay, subjects=["orders.>", "invoices.>"])
        self.publish(2)
        self.wait_taken(8)

    def test_another_name(self):
        """The other way: a new subscription under the new stream or subjects; the old one's messages stay with it."""
        relay = self.start_taker()
        self.publish(3)
        self.wait_taken()
        with self.jetstream() as js:
            js.create("MORE", ["more.>"])
        self.restart(relay, stream="MORE", subjects=["more.>"])
        self.said(relay, "Give the subscription of stream MORE another name|another name")
        with self.jetstream() as js:
            js.publish("more.x", b"of another", {"Nats-Msg-Id": "1"})
        self.restart(relay, name="more", stream="MORE", subjects=["more.>"])
        self.wait(lambda: self.sql("SELECT count(*) FROM boxhaul.inbox WHERE subscription = 'more'") == [(1,)], "the new one to take")
        self.assertEqual(self.work(), self.published)

    def test_no_key(self):
        """Both halves."""
        relay = self.add_taker()
        self.publish(5, subject="orders.a", key=None)
        self.publish(5, subject="orders.b", key=None)
        line = self.said(relay, 'none of its last .* messages has a Boxhaul-Key: there is no order among them; set key = "subject:N", or "none"')
        self.assertIn('"subject:N"', line)
        relay.configure({**relay.settings, "inbox": [self.subscription(key="subject:2", lanes=4)]})
        self.assertNotIn("has a Boxhaul-Key: there", relay.command("check").stdout)
        relay.start()
        self.judge()
        self.assertEqual(self.sql("SELECT DISTINCT key FROM boxhaul.inbox ORDER BY 1"), [("a",), ("b",)])
        relay.configure({**relay.settings, "inbox": [self.subscription(key="none")]})
        self.assertNotIn("has a Boxhaul-Key: there", relay.command("check").stdout)

    def test_lanes_that_change_when_nothing_waits(self):
        relay = self.start_taker(lanes=4)
        self.publish(6)
        self.wait_taken()
        self.restart(relay, lanes=7)
        line = self.said(relay, "Go on with the old lanes and key|their order would be lost")
        self.publish(2)
        self.restart(relay, lanes=4)
        self.wait_taken()
        self.assertEqual(relay.command("inbox", "pause", NAME).returncode, 0)  # stop taking
        relay.command("inbox", "resume", NAME)
        relay.stop()
        self.publish(3)
        self.assertEqual(self.work(), self.published[:8])
        self.restart(relay, lanes=7)
        self.wait_taken()
        self.assertEqual(self.work(), self.published[8:], line)
        self.assertEqual(self.sql("SELECT lanes FROM boxhaul.subscription"), [(7,)])

    def test_a_handler_that_may_not_be_called(self):
        self.sql("CREATE SCHEMA billing; CREATE TABLE billing.effect (n bigserial, payload bytea);"
                 "CREATE FUNCTION billing.handle(r boxhaul.inbox) RETURNS void LANGUAGE sql SECURITY DEFINER AS "
                 "'INSERT INTO billing.effect (payload) VALUES (r.payload)'; REVOKE ALL ON FUNCTION billing.handle(boxhaul.inbox) FROM PUBLIC")
        relay = self.add_taker(handler="billing.handle").start()
        self.publish(5)
        line = self.said(relay, "may not call its handler: GRANT USAGE")
        self.sql(line.split("its handler: ")[1])
        self.wait(lambda: self.sql("SELECT count(*) FROM billing.effect") == [(5,)], "all to be handled")
        self.assertEqual([bytes(row[0]) for row in self.sql("SELECT payload FROM billing.effect ORDER BY n")], self.published)


class Kinds(InboxTest):
    """Streams that have no position to read from: what is said of each, done, brings all that waits."""

    def refused(self, words, config, **settings):
        with self.jetstream() as js:
            js.delete(STREAM)
            js.create(STREAM, num_replicas=self.nats.replicas, **config)
        relay = self.add_taker(**settings).start()
        if "mirror" not in config:
            self.publish(3)
        self.said(relay, words)
        return relay

    def source(self):
        with self.jetstream() as js:
            js.create("COPY", [], sources=[{"name": STREAM}])
            self.wait(lambda: js.count("COPY") == 3, "the copy")

    def test_a_work_queue(self):
        relay = self.refused("is a work queue.*: take from a stream with limits retention that has it as a source",
                             {"subjects": ["orders.>"], "retention": "workqueue"})
        self.source()
        self.restart(relay, name="copy", stream="COPY")
        self.judge_as("copy")

    def test_interest(self):
        """A stream with limits that has it as a source, from before: in it a message has gone when those who want it have it."""
        with self.jetstream() as js:
            js.delete(STREAM)
            js.create(STREAM, ["orders.>"], retention="interest")
            relay = self.add_taker().start()
            self.said(relay, "has interest retention.*: give it limits retention, or take from a stream with limits that has it as a source")
            js.create("COPY", [], sources=[{"name": STREAM}])
            self.wait(lambda: js.info("COPY")["sources"][0].get("active", -1) >= 0, "the copy to listen")
        self.publish(3)
        self.restart(relay, name="copy", stream="COPY")
        self.judge_as("copy")
        with self.jetstream() as js:
            js.delete("COPY")

    def test_a_mirror(self):
        with self.jetstream() as js:
            js.create("ORIGIN", ["invoices.>"], num_replicas=self.nats.replicas)
        relay = self.refused("is a mirror.*: take from its origin, or from a stream that has it as a source",
                             {"subjects": None, "mirror": {"name": "ORIGIN"}}, subjects=["invoices.>"])
        self.publish(3, subject="invoices.x")
        self.restart(relay, name="origin", stream="ORIGIN", subjects=["invoices.>"])
        self.judge_as("origin")
        with self.jetstream() as js:
            js.delete(STREAM)
            js.delete("ORIGIN")


class Rights(InboxTest):
    """Each right that is missing, by the name that is said."""

    nats_settings = {"authorization": {"users": [{"user": "admin", "password": "p"}, {"user": "taker", "password": "p"}]}}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        plain = cls.nats.url
        cls.nats.url = lambda user="admin", password="p", **more: plain(user=user, password=password, **more)

    def grant(self, rights):
        self.nats.stop()
        self.nats.settings["authorization"]["users"][1]["permissions"] = {"publish": rights, "subscribe": ["_INBOX.>"]}
        self.nats.start()

    def test_one_after_the_other(self):
        rights, relay = ["none"], self.add_taker()
        relay.configure({**relay.settings, "nats": {"urls": [self.nats.url(user="taker")]}})
        self.grant(rights)
        self.publish(5)
        relay.start()
        for _ in RIGHTS:
            done = relay.command("check")
            missing = re.findall(r"FAIL .*no answer to (\S+): let this login publish to it", done.stdout)
            if not missing:
                break
            rights.append(missing[0])
            self.grant(rights)
        self.assertEqual(sorted(rights[1:]), sorted(f"$JS.API.{right}" for right in RIGHTS))
        self.judge()


class Workers(InboxTest):
    """What a worker is told by an error, done in the session that met it."""

    def setUp(self):
        super().setUp()
        self.relay = self.start_taker(lanes=1)
        self.publish(4)
        self.wait_taken()
        self.session = self.connect(WORKER)
        self.cursor = self.session.cursor()

    def told(self, sql):
        with self.assertRaises(psycopg2.Error) as caught:
            self.cursor.execute(sql)
        return caught.exception.diag.message_hint

    def receive(self, most=10):
        self.cursor.execute("SELECT lane, id, payload FROM boxhaul.receive(%s, %s)", (NAME, most))
        return self.cursor.fetchall()

    RECEIVE = f"SELECT id FROM boxhaul.receive('{NAME}', 1)"

    def test_one_receive_a_transaction(self):
        self.cursor.execute("BEGIN")
        self.assertEqual(len(self.receive(1)), 1)
        self.cursor.execute(f"SELECT boxhaul.done('{NAME}'); SAVEPOINT s")
        self.assertEqual(self.told(self.RECEIVE), "COMMIT, and receive again in the next transaction.")
        self.cursor.execute("ROLLBACK TO s")
        self.cursor.execute("COMMIT; BEGIN")
        self.assertEqual([bytes(row[2]) for row in self.receive()], self.published[1:])
        self.cursor.execute("ROLLBACK")
        self.assertEqual(self.work(), self.published[1:])

    def test_autocommit(self):
        hint = self.told(self.RECEIVE)
        self.assertIn("BEGIN first. To give rows back, ROLLBACK.", hint)
        self.cursor.execute("BEGIN")
        (row,) = self.receive(1)
        self.cursor.execute("ROLLBACK")
        self.assertIn("done() belongs into the transaction of receive()", self.told(f"SELECT boxhaul.done('{NAME}', 0, {row[1]})"))
        self.assertIn("done() belongs into the transaction of receive()", self.told(f"SELECT boxhaul.done('{NAME}')"))
        self.cursor.execute("BEGIN")
        self.receive(1)
        self.cursor.execute(f"SELECT boxhaul.done('{NAME}'); COMMIT")
        self.assertEqual(self.work(), self.published[1:])

    def test_in_another_order(self):
        self.cursor.execute("BEGIN")
        rows = self.receive()
        self.cursor.execute("SAVEPOINT s")
        done = "SELECT boxhaul.done(%s, 0, %s)"
        self.assertEqual(self.told(self.cursor.mogrify(done, (NAME, rows[1][1]))), "Rows are done once, in the order in which they were received.")
        self.cursor.execute("ROLLBACK TO s")
        for _, ident, _ in rows:
            self.cursor.execute(done, (NAME, ident))
        self.cursor.execute("COMMIT")
        self.assertEqual(self.work(), [])

    def test_failed_in_the_transaction_that_received(self):
        """By the same worker, and by another one."""
        self.cursor.execute("BEGIN")
        (row,) = self.receive(1)
        failed = f"SELECT boxhaul.failed('{NAME}', 0, {row[1]}, 'why')"
        with self.connect(WORKER).cursor() as other:
            with self.assertRaises(psycopg2.Error) as caught:
                other.execute(failed)
            self.assertIn("ROLLBACK first. Else try again when it has ended.", caught.exception.diag.message_hint)
            self.assertEqual(self.told(failed), "ROLLBACK first.")
            self.cursor.execute("ROLLBACK")
            other.execute(failed)
            self.assertEqual(other.fetchone(), ("parked",))
        self.assertEqual(self.work(), self.published)

    def test_a_snapshot_that_is_too_old(self):
        self.cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1")
        first = self.work()
        self.publish(2)
        self.wait_taken()
        self.assertEqual(self.told(self.RECEIVE), "ROLLBACK and receive again; with READ COMMITTED, which is enough, this does not happen.")
        self.cursor.execute("ROLLBACK; BEGIN ISOLATION LEVEL READ COMMITTED")
        self.assertEqual([bytes(row[2]) for row in self.receive()], self.published[4:])
        self.cursor.execute("ROLLBACK")
        self.assertEqual(first, self.published[:4])


class Operators(InboxTest):
    def test_names_that_are_not_there(self):
        """The statement that is named lists those that are."""
        self.start_taker(lanes=1)
        self.publish(3)
        self.wait_taken()
        self.sql("SELECT boxhaul.failed(%s, 0, 1, 'bad')", (NAME,))
        for call, expected in (("inbox_pause('x')", [(NAME,)]), (f"inbox_retry('{NAME}', 99)", None), ("inbox_dead_retry(99)", [])):
            with self.subTest(call), self.connect(RELAY).cursor() as cursor:
                with self.assertRaises(psycopg2.Error) as caught:
                    cursor.execute(f"SELECT boxhaul.{call}")
                cursor.execute(re.match("(SELECT .*) lists", caught.exception.diag.message_hint)[1])
                rows = cursor.fetchall()
                self.assertEqual(rows if expected is not None else len(rows), 1 if expected is None else expected)
        self.assertEqual(self.work(), self.published)

    def test_a_time_that_the_trail_does_not_know(self):
        relay = self.start_taker()
        self.publish(3)
        self.wait_taken()
        self.publish(2)
        with self.connect(RELAY).cursor() as cursor:
            with self.assertRaises(psycopg2.Error) as caught:
                cursor.execute("SELECT boxhaul.inbox_rewind(%s, '1970-01-01')", (NAME,))
            self.assertEqual(caught.exception.diag.message_hint, "Name a sequence, or start.")
            for to in ("1", "start"):
                cursor.execute("SELECT boxhaul.inbox_rewind(%s, %s)", (NAME, to))
        self.publish(1)
        self.judge()
        self.assertTrue(relay.alive())

    def test_a_letter_that_was_never_stored(self):
        """It is read where it stands, and discarded; a rewind leaves it out."""
        self.start_taker()
        self.publish(1)
        with self.jetstream() as js:
            odd = js.publish("orders.x", b"x", {"Nats-Msg-Id": "odd", "Boxhaul-Key": "k" * 2000})["seq"]
        self.publish(1)
        self.wait(lambda: self.look("position") == 3, "all to be taken")
        self.sql("UPDATE boxhaul.inbox_dead SET payload = NULL")  # as of one that is too large to be stored
        ((letter, seq),) = self.sql("SELECT id, seq FROM boxhaul.inbox_dead")
        with self.connect(RELAY).cursor() as cursor, self.assertRaises(psycopg2.Error) as caught:
            cursor.execute("SELECT boxhaul.inbox_dead_retry(%s)", (letter,))
        self.assertIn("Read it there, and discard the letter", caught.exception.diag.message_hint)
        self.assertEqual(seq, odd)
        with self.jetstream() as js:
            self.assertEqual(js.call(f"STREAM.MSG.GET.{STREAM}", {"seq": seq})["message"]["data"], "eA==")
        self.sql("SELECT boxhaul.inbox_dead_discard(%s)", (letter,))
        self.sql("SELECT boxhaul.inbox_rewind(%s, 'start')", (NAME,))
        self.publish(1)
        self.wait_taken(3)
        self.assertEqual(self.rows(), self.published)
        self.assertEqual(self.sql("SELECT count(*) FROM boxhaul.inbox_dead"), [(0,)])

    def test_nobody_takes(self):
        """The runbook, inbox-late: the session of a daemon that is frozen is ended by the statement that stands there; a standby takes."""
        first = self.start_taker()
        self.publish(3)
        self.wait_taken()
        self.add_taker().start()
        first.pause()
        self.publish(3)
        self.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                 "WHERE application_name = 'boxhaul inbox' AND datname = current_database() AND pid = "
                 "(SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND database = "
                 "(SELECT oid FROM pg_database WHERE datname = current_database()) LIMIT 1)")
        self.wait_taken()
        first.resume()
        self.publish(3)
        self.judge()


del Taking

if __name__ == "__main__":
    unittest.main()
