"""What operators do to a running delivery: pause, resume, drain; dead letters; replay; reconcile."""

import json
import re
import signal
import subprocess
import threading
import time
import unittest

from harness import RELAY, STREAM, SystemTest
from process import DEADLINE
from relay import Relay
from test_answers import on_terminal

LARGE = 2000  # bytes; the stream of these tests takes less
SHORTEST_WINDOW = 100_000_000  # ns: the server allows no shorter one
FAILED, USAGE, UNREACHABLE = 1, 2, 4


class Acts(SystemTest):
    def act(self, *words, status=0, user=RELAY):
        """`boxhaul WORDS` in the test's database; returns what it says."""
        settings = self._settings(self.database)
        settings["postgres"]["conninfo"] = self.pg.conninfo(self.database, user)
        done = Relay(self.program, self.workspace.path(f"{self.database}-{user}"), settings).command(*words)
        self.assertEqual(done.returncode, status, done.stdout)
        return done.stdout

    def insert(self, key, payload, subject="orders.paid", headers=None):
        return self.sql("INSERT INTO boxhaul.outbox (subject, key, payload, headers) VALUES (%s, %s, %s, %s) RETURNING id",
                        (subject, key, payload.encode(), headers and json.dumps(headers)))[0][0]

    def wait_for_stream(self):
        """A relay that is ready may still be about to create it."""
        def there():
            with self.jetstream() as jetstream:
                return STREAM in jetstream.names()
        self.wait(there, "the stream to be created")

    def bodies(self):
        return [m.payload.decode().rstrip(".") for m in self.stored()]


class Pause(Acts):
    def is_quiet(self):
        return self.sql("SELECT quiet_epoch = epoch FROM boxhaul.paused, boxhaul.position") == [(True,)]

    def test_a_busy_relay_is_paused_and_goes_on(self):
        relay = self.start_relay()
        self.open_shop()
        self.let_trade(300)
        self.assertIn("for a test; nothing is in flight", self.act("pause", "--reason", "for a test"))
        count = self.count()
        self.let_trade(300)
        self.assertEqual(self.count(), count, "messages while all is quiet")
        status, text = relay.get("/readyz")
        self.assertEqual(status, 200)
        self.assertRegex(text, r"^ready: Paused by \w+ on .* since .*: for a test: nothing is sent.*\n`boxhaul resume -c .*` goes on\n$")
        self.assertRegex(self.act("status"), r"^Paused by .+ since .+: for a test: nothing is sent; \d+ messages wait, the oldest for .+\n"
                         r"`boxhaul resume -c .+` goes on\n")
        self.assertIn("\nboxhaul_paused 1\n", relay.get("/metrics")[1])
        self.assertRegex(self.status(relay)["paused_by"], "^by .*: for a test$")
        self.assertEqual(self.status(relay)["state"], "paused")
        self.assertIn("paused already", self.act("pause"))
        self.assertEqual(self.count(), count)
        self.assertEqual(self.act("resume"), "resumed\n")
        self.assertEqual(self.act("resume"), "it was not paused\n")
        self.audit()
        self.wait(lambda: relay.get("/readyz")[1] == "ready: All is delivered\n", "all to be delivered")

    def test_what_is_said_of_one_pause_is_not_said_of_the_next(self):
        self.start_relay()
        self.act("pause")
        (number, epoch), = self.sql("SELECT number, quiet_epoch FROM boxhaul.paused")
        for said, heard in (((epoch, number + 1), False), ((epoch - 1, number), False), ((epoch, number), True)):
            self.sql("UPDATE boxhaul.paused SET quiet_at = NULL")
            self.sql("SELECT boxhaul.quiet(%s, %s)", said)
            self.assertEqual(self.sql("SELECT quiet_at IS NOT NULL FROM boxhaul.paused"), [(heard,)], said)
        self.act("resume")

    def test_it_outlives_restart_and_take_over(self):
        first = self.start_relay()
        self.act("pause")
        first.stop()
        self.assertIn("nothing is in flight", self.act("pause"))
        writer = self.writer("w")
        writer.write("k", 20).commit()
        first = self.start_relay()
        self.wait(self.is_quiet, "the new leader to say that all is quiet")
        second = self.start_relay()
        writer.write("k", 20).commit()
        first.kill9()
        self.wait(lambda: self.status(second).get("role") == "leader", "the second relay to lead")
        self.assertIn("nothing is in flight", self.act("pause"))
        self.assertEqual(self.count(), 0)
        self.act("resume")
        self.audit()

    def test_a_sleeping_relay_hears_of_it(self):
        self.start_relay()
        self.wait_asleep()
        self.act("pause")
        self.writer("w").write("k", 3).commit()
        self.act("pause")
        self.assertEqual(self.count(), 0)
        self.act("resume")
        self.audit()

    def test_what_nobody_notified_is_found(self):
        self.start_relay()
        self.act("pause")
        self.writer("w").write("k", 3).commit()
        self.sql("DELETE FROM boxhaul.paused")
        self.audit()

    def test_a_pause_while_nats_is_away(self):
        relay = self.start_relay(delivery={"ack_timeout": "25s"})
        writer = self.writer("w")
        writer.write("k", 1).commit()
        self.wait_settled()
        self.nats.pause()
        writer.write(None, 20).commit()
        self.wait(lambda: self.status(relay).get("in_flight_messages") == 20, "the messages to be in flight")
        relay.pause()  # so that they stay it, however long the looks take
        self.assertIn("not settled yet", self.act("pause", "--timeout", "1ms", status=FAILED))
        self.assertIn("paused\n", self.act("pause", "--no-wait"))
        self.assertRegex(self.act("status"), r"^Paused by .+ since .+: nothing is sent; \d+ messages wait, .+\n`boxhaul resume -c .+` goes on\n")
        self.nats.resume()
        self.wait_for_messages(21)
        relay.resume()
        self.act("pause")
        count = self.count()
        writer.write("k", 5).commit()
        self.act("pause")
        self.assertEqual(self.count(), count)
        self.act("resume")
        self.audit()

    def test_whoever_was_cut_off_is_waited_for(self):
        """A leader that may live publishes until its lease is over: neither who finds nobody leading nor the next leader says
        before that all is quiet."""
        def pause(since):
            said = self.act("pause")
            self.assertGreaterEqual(time.monotonic() - since, 6, said)
            self.act("resume")
            return said
        self.start_relay(outbox={"lease": "6s"}).pause()
        self.sql("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted AND database = "
                 "(SELECT oid FROM pg_database WHERE datname = current_database())")
        self.assertIn("nobody leads now", pause(time.monotonic()))
        before = time.monotonic()
        self.start_relay()
        self.assertIn("nothing is in flight", pause(before))

    def test_drain_sends_what_is_there_and_pauses(self):
        self.act("pause")
        self.start_relay()
        self.writer("w").write("k", 300).write(None, 300).commit()
        self.assertRegex(self.act("drain", status=FAILED), "`boxhaul resume -c .+` first")
        self.act("resume")
        self.assertIn(": drained; nothing is in flight", self.act("drain"))
        self.assertEqual(self.count(), 600)
        self.writer("v").write("k2", 5).commit()
        self.act("pause")
        self.assertEqual(self.count(), 600)
        self.act("resume")
        self.audit()

    def test_drain_does_not_wait_for_operators(self):
        self.start_relay(delivery={"poison": "hold"})
        self.wait_for_stream()
        with self.jetstream() as jetstream:
            jetstream.update(STREAM, max_msg_size=1000)
        self.insert("held", "held 1".ljust(LARGE, "."))
        self.insert("held", "held 2")
        self.insert("free", "free 1")
        self.act("drain")
        self.assertEqual(self.bodies(), ["free 1"])

    def test_drain_says_how_far_it_is(self):
        """On a terminal, in place: how much of how much, how fast, and how long it will take."""
        relay = self.start_relay()
        relay.pause()  # leads, and does nothing
        try:
            self.writer("w").write("k", 50).commit()
            shown = on_terminal([self.program, "drain", "-c", relay.config], lambda text: "second" in text)
            self.assertRegex(shown, r"draining: 0 of 50 \(0 %\), 0 a second, \d+ s")
        finally:
            relay.resume()
        self.wait_settled()

    def test_drain_without_a_leader(self):
        self.insert("k", "1")
        self.assertIn("nobody leads", self.act("drain", status=FAILED))
        self.assertEqual(self.sql("SELECT count(*) FROM boxhaul.paused"), [(0,)])


class DeadLetters(Acts):
    def setUp(self):
        super().setUp()
        with self.jetstream() as jetstream:
            jetstream.create(STREAM, ["orders.>"], max_msg_size=1000)

    def widen(self):
        with self.jetstream() as jetstream:
            jetstream.update(STREAM, max_msg_size=-1)

    def large(self, key, number):
        return self.insert(key, f"{key} {number}".ljust(LARGE, "."))

    def letters(self, *words):
        return {letter["id"]: letter for letter in json.loads(self.act("dead-letters", "list", "--json", *words))}

    def wait_for_letters(self, count):
        self.wait(lambda: len(self.letters()) == count, f"{count} letters")

    def test_list_and_show(self):
        self.assertEqual(self.act("dead-letters", "list"), "no dead letters\n")
        self.assertEqual(self.letters(), {})
        self.start_relay()
        a, b = self.large("a", 1), self.large("b", 1)
        self.wait_for_letters(2)
        self.assertEqual(list(self.letters()), [a, b])
        self.assertEqual(list(self.letters("--key", "b")), [b])
        self.assertEqual(list(self.letters("--reason", "LARGER than the stream")), [a, b])
        self.assertEqual(self.letters("--reason", "else"), {})
        self.assertEqual(self.letters("--older", "1h"), {})
        self.assertRegex(self.act("dead-letters", "list"), r"^ID +DIED +STATE +KEY +SUBJECT +REASON\n")
        self.assertRegex(self.act("dead-letters", "list"), rf"(?m)^{a} .* dead +a +orders\.paid .*larger than")
        self.assertEqual(list(self.letters("--older", "0s")), [a, b])

        plain = self.act("dead-letters", "show", str(a))
        self.assertIn("is still in the outbox", plain)
        self.assertNotIn("....", plain)
        self.assertIn("a 1....", self.act("dead-letters", "show", str(a), "--payload"))
        shown = json.loads(self.act("dead-letters", "show", str(a), "--payload", "--json"))
        self.assertEqual(shown["id"], a)
        self.assertTrue(shown["payload_base64"])
        self.assertIn(f"no dead letter {b + 1}", self.act("dead-letters", "show", str(b + 1), status=FAILED))

    def test_who_may_see_and_who_may_act(self):
        self.pg.create_login("watcher", "boxhaul_monitor")
        self.start_relay()
        letter = str(self.large("a", 1))
        self.wait_for_letters(1)
        self.assertIn("larger than", self.act("dead-letters", "list", user="watcher"))
        self.act("dead-letters", "show", letter, user="watcher")
        self.assertIn("GRANT boxhaul_relay TO this login", self.act("dead-letters", "show", letter, "--payload", user="watcher",
                                                       status=FAILED))
        for words in (["dead-letters", "redrive", letter], ["pause"], ["resume"]):
            self.assertIn("permission denied", self.act(*words, user="watcher", status=FAILED))
        self.wait_for_letters(1)

    def test_redrive_keeps_the_order_of_a_key(self):
        self.start_relay()
        ids = [self.large("a", n) for n in range(1, 5)] + [self.large("b", 1)]
        self.insert("a", "a 5")
        self.wait_for_letters(5)
        uuids = {letter: of["message_id"] for letter, of in self.letters().items()}
        self.widen()
        self.wait_settled()
        # The rows may be gone: a letter has a copy of its own.
        self.sql("TRUNCATE boxhaul.outbox")
        named = [str(ids[i]) for i in (2, 0, 1)]
        self.assertIn("redrive: 3", self.act("dead-letters", "redrive", *named))
        self.wait_for_messages(4)
        self.assertIn("redrive: 1", self.act("dead-letters", "redrive", "--key", "a"))
        self.wait_for_messages(5)
        self.assertEqual(self.bodies(), ["a 5", "a 1", "a 2", "a 3", "a 4"])
        self.assertEqual([m.msg_id for m in self.stored()][1:], [uuids[i] for i in ids[:4]])
        self.act("dead-letters", "redrive", "--all")
        self.wait_for_messages(6)
        self.assertEqual(self.letters(), {})
        self.assertIn("redrive: 0", self.act("dead-letters", "redrive", "--all"))

    def redrive_what_was_stored_after_all(self, seconds=0):
        """The answer was lost, and the repeat refused: for the relay the letter was never stored. It is redriven so much later."""
        self.start_relay()
        letter = self.large("a", 1)
        self.wait_for_letters(1)
        self.widen()
        uuid = self.letters()[letter]["message_id"]
        with self.jetstream() as jetstream:
            jetstream.publish("orders.paid", b"a 1", {"Nats-Msg-Id": uuid})
        time.sleep(seconds)
        self.act("dead-letters", "redrive", str(letter))
        self.insert("a", "a 2")
        self.wait_settled()
        self.assertEqual({m.msg_id for m in self.stored() if m.payload.startswith(b"a 1")}, {uuid})

    def test_what_was_stored_after_all_is_not_stored_twice_within_the_window(self):
        self.redrive_what_was_stored_after_all()
        self.assertEqual(self.bodies(), ["a 1", "a 2"])

    def test_what_was_stored_after_all_is_stored_twice_beyond_the_window(self):
        """A documented limit: it is a new row, of which nothing is in doubt, so nobody looks."""
        with self.jetstream() as jetstream:
            jetstream.update(STREAM, duplicate_window=SHORTEST_WINDOW)
        self.redrive_what_was_stored_after_all(seconds=1)
        self.assertEqual(self.bodies(), ["a 1", "a 1", "a 2"])

    def test_a_held_letter_is_redriven_in_its_old_place(self):
        self.start_relay(delivery={"poison": "hold"})
        letter = self.large("a", 1)
        self.insert("a", "a 2")
        self.wait_for_letters(1)
        self.widen()
        self.assertIn("in its old place", self.act("dead-letters", "show", str(letter)))
        self.act("dead-letters", "redrive", "--reason", "larger")
        self.wait_settled()
        self.assertEqual(self.bodies(), ["a 1", "a 2"])
        self.assertEqual(self.letters(), {})

    def test_redrive_that_waits(self):
        relay = self.start_relay()
        small, large = self.large("a", 1), self.insert("b", "b".ljust(3 * LARGE, "."))
        self.wait_for_letters(2)
        with self.jetstream() as jetstream:
            jetstream.update(STREAM, max_msg_size=2 * LARGE)
        said = self.act("dead-letters", "redrive", "--all", "--wait", status=FAILED)
        self.assertRegex(said, r"redrive: 2 .*\nstored 1, dead again 1\ndead again: 1: .*larger than the stream.*\n")
        command = re.search("`boxhaul (dead-letters list [^`]*)`", said)[1].split()
        self.assertIn("larger than the stream", self.act(*command))
        self.assertEqual(self.bodies(), ["a 1"])
        self.assertNotIn(small, self.letters())
        letter, = self.letters()
        self.assertGreater(letter, large)
        self.widen()
        self.act("pause")
        said = self.act("dead-letters", "redrive", str(letter), "--wait", status=FAILED)
        self.assertRegex(said, r"stored 0, dead again 0, still waiting 1\n")
        resume = re.search("paused by .*`boxhaul (resume [^`]*)`", said)[1].split()
        self.act(*resume)
        self.wait_for_messages(2)
        self.assertIn("stored 0, dead again 0\n", self.act("dead-letters", "redrive", "--all", "--wait"))
        self.assertIn("how long to --wait", self.act("dead-letters", "redrive", "--all", "--timeout", "1s", status=USAGE))
        self.sql("INSERT INTO boxhaul.dead_letter (id, subject, payload, reason, attempts, held) VALUES "
                 "(9, 'orders.x', 'nine', 'test', 0, false), (10, 'orders.x', 'ten', 'test', 0, false)")
        self.nats.pause()
        try:
            self.assertIn("stored 0, dead again 0, still waiting 1\n",
                          self.act("dead-letters", "redrive", "9", "--wait", "--timeout", "1ms", status=FAILED))
        finally:
            self.nats.resume()
        self.wait_settled()
        relay.stop()
        self.assertIn("nobody leads", self.act("dead-letters", "redrive", "10", "--wait", status=FAILED))

    def test_a_held_letter_that_is_waited_for(self):
        self.start_relay(delivery={"poison": "hold"})
        letter = self.large("a", 1)
        self.insert("a", "a 2")
        self.wait_for_letters(1)
        self.assertIn("stored 0, dead again 1\n", self.act("dead-letters", "redrive", str(letter), "--wait", status=FAILED))
        self.widen()
        self.assertIn("stored 1, dead again 0\n", self.act("dead-letters", "redrive", str(letter), "--wait"))
        self.wait_settled()
        self.assertEqual(self.bodies(), ["a 1", "a 2"])

    def test_discard_asks(self):
        self.start_relay()
        a, b = self.large("a", 1), self.large("b", 1)
        self.wait_for_letters(2)
        self.assertIn("say --yes", self.act("dead-letters", "discard", "--all", status=USAGE))
        self.assertIn("say which", self.act("dead-letters", "discard", "--yes", status=USAGE))
        self.assertIn("say which", self.act("dead-letters", "redrive", "--all", str(a), status=USAGE))
        self.assertIn("discard: 1", self.act("dead-letters", "discard", "--yes", str(a)))
        self.assertIn(f"no dead letter {a}", self.act("dead-letters", "discard", "--yes", str(a), status=FAILED))
        self.assertEqual(list(self.letters()), [b])
        self.act("dead-letters", "discard", "--yes", "--older", "0s")
        self.assertEqual(self.letters(), {})

    def test_one_that_cannot_be_redriven_does_not_stop_the_others(self):
        self.sql("INSERT INTO boxhaul.dead_letter (id, subject, payload, reason, attempts, held) VALUES "
                 "(7, 'orders.*', '', 'test', 0, false), (8, NULL, NULL, 'test', 0, false), "
                 "(9, 'orders.x', 'nine', 'test', 0, false)")
        self.start_relay()
        said = self.act("dead-letters", "redrive", "--reason", "test", status=FAILED)
        self.assertIn("redrive: 1", said)
        self.assertIn("2 could not be decided", said)
        self.wait_for_messages(1)
        self.assertEqual(list(self.letters()), [7, 8])
        self.assertIn("nothing to send", self.act("dead-letters", "redrive", "8", status=FAILED))


class ReconcileTest(Acts):
    def reconcile(self, status=0, **expected):
        """The figures of the last line; what is not expected is 0."""
        said = self.act("reconcile", status=status)
        figures = {name: int(n) for name, n in re.findall(r"(\w+)=(\d+)", said.splitlines()[-1])}
        names = ("committed", "stored", "missing", "pending", "dead", "discarded", "unchecked")
        self.assertEqual(figures, {**dict.fromkeys(names, 0), **expected}, said)
        return said

    def named(self, said, command):
        """The words of a command that was told to be run, without the program's."""
        return re.search(rf"`boxhaul ({command} [^`]*)`", said)[1].split()

    def remove(self, index):
        """Take a message out of the stream, behind everybody's back; returns its row's id."""
        message = self.stored()[index]
        with self.jetstream() as jetstream:
            jetstream.delete_message(STREAM, message.seq)
        return self.sql("SELECT id FROM boxhaul.outbox WHERE message_id = %s", (message.msg_id,))[0][0]



class Reconcile(ReconcileTest):
    def test_everything_is_there(self):
        self.start_relay()
        self.reconcile()
        self.open_shop()
        self.let_trade(1000)
        result = self.audit()
        self.reconcile(committed=result.committed, stored=result.committed)

    def test_what_is_missing_is_named(self):
        relay = self.start_relay()
        self.writer("w").write("k", 500).write(None, 500).commit()
        self.wait_settled()
        lost = [self.remove(700), self.remove(10)]
        said = self.reconcile(status=FAILED, committed=1000, stored=998, missing=2)
        named = re.findall(r"(?m)^missing: id=(\d+) stream=ORDERS message_id=[0-9a-f-]{36}$", said)
        self.assertEqual(list(map(int, named)), sorted(lost))
        self.assertIn("2 messages have been deleted from the middle", said)
        told = json.loads(self.act("reconcile", "--json", status=FAILED))
        self.assertEqual([m["id"] for m in told["missing"]], sorted(lost))
        self.assertEqual((told["committed"], told["stored"], told["unchecked"]), (1000, 998, 0))
        self.assertEqual(told["notes"], ["stream ORDERS: 2 messages have been deleted from the middle of it"])
        relay.stop()
        self.writer("v").write("k", 7).commit()
        self.reconcile(status=FAILED, committed=1007, stored=998, missing=2, pending=7)

    def test_books_that_lie_are_found_out(self):
        """Marked sent, and never published."""
        relay = self.start_relay()
        self.writer("w").write("k", 10).commit()
        self.wait_settled()
        relay.stop()
        self.writer("v").write("k", 3).commit()
        self.sql("UPDATE boxhaul.position SET position = position + 3")
        self.reconcile(status=FAILED, committed=13, stored=10, missing=3)

    def test_letters_are_not_missing(self):
        with self.jetstream() as jetstream:
            jetstream.create(STREAM, ["orders.>"], max_msg_size=1000)
        self.start_relay()
        first, second = [self.insert("a", "x" * LARGE) for _ in range(2)]
        self.insert("a", "small")
        self.wait_settled()
        self.reconcile(committed=3, stored=1, dead=2)
        self.act("dead-letters", "discard", "--yes", str(first))
        self.reconcile(committed=3, stored=1, dead=1, discarded=1)
        with self.jetstream() as jetstream:
            jetstream.update(STREAM, max_msg_size=-1)
        self.act("dead-letters", "redrive", "--all")
        self.wait_settled()
        # The redriven letter's message is in the stream; it has two rows now, and the old one is nobody's any more.
        self.assertEqual(len(self.stored()), 2)
        self.assertEqual(self.sql("SELECT id, reason FROM boxhaul.discarded WHERE id > %s", (first,)), [(second, "redriven")])
        self.reconcile(committed=4, stored=2, discarded=2)

    def test_what_cannot_be_checked_is_not_called_missing(self):
        self.start_relay()
        self.writer("w").write("k", 20).commit()
        self.wait_settled()
        with self.jetstream() as jetstream:
            jetstream.purge(STREAM)
        self.assertIn("its first messages are gone", self.reconcile(committed=20, unchecked=20))
        with self.jetstream() as jetstream:
            jetstream.delete(STREAM)
            jetstream.create(STREAM, ["orders.>"], retention="workqueue")
        self.assertIn("consumers take messages out of it", self.reconcile(committed=20, unchecked=20))
        self.sql("DELETE FROM boxhaul.outbox WHERE id <= 5")
        self.assertIn("rows before id 6 are not kept", self.reconcile(committed=15, unchecked=15))

    def test_a_stream_that_is_gone(self):
        relay = self.start_relay()
        self.wait_for_stream()
        relay.stop()
        self.writer("w").write("k", 1).commit()
        self.sql("UPDATE boxhaul.position SET position = 1")
        with self.jetstream() as jetstream:
            jetstream.delete(STREAM)
        self.assertIn("not all of it could be read", self.act("reconcile", status=UNREACHABLE))


class ReplayMissing(ReconcileTest):
    """What the broker lost is sent again by the command that reconcile names."""

    def lose_the_stream(self):
        with self.jetstream() as jetstream:
            jetstream.delete(STREAM)
            jetstream.create(STREAM, ["orders.>"])

    def insert_some(self, name, count=3):
        for n in range(1, count + 1):
            for key in ("a", "b"):
                self.insert(key, f"{name} {key} {n}")

    def of_key(self, key):
        return [m for m in self.stored() if f" {key} " in m.payload.decode()]

    def test_a_stream_made_anew(self):
        relay = self.start_relay()
        self.insert_some("lost")
        self.wait_settled()
        before = {m.payload: m.msg_id for m in self.stored()}
        self.lose_the_stream()
        self.insert_some("kept")
        self.wait_settled()
        relay.stop()
        self.insert_some("waits")  # a backlog: it keeps its place before what is sent again
        said = self.reconcile(status=FAILED, committed=18, stored=6, missing=6, pending=6)
        words = self.named(said, "replay")
        self.assertIn("say --yes", self.act(*words, status=USAGE))
        self.assertEqual(self.act(*words, "--dry-run"), "replay: 6 messages would be sent again\n")
        self.assertIn("6 messages are in the outbox again", self.act(*words, "--yes"))
        self.reconcile(committed=24, stored=6, pending=12, discarded=6)
        self.start_relay()
        self.wait_settled()
        self.reconcile(committed=24, stored=18, discarded=6)
        self.assertEqual(self.act(*words, "--yes"), "replay: nothing is missing\n")
        for key in ("a", "b"):
            stored = self.of_key(key)
            self.assertEqual([m.payload.decode() for m in stored],
                             [f"{name} {key} {n}" for name in ("kept", "waits", "lost") for n in (1, 2, 3)])
            for copy in stored[6:]:
                self.assertEqual(copy.headers["Boxhaul-Replay-Of"], [before[copy.payload]])
        self.assertRegex(self.act("explain", "1"), r"message 1 was replayed by \w+ at .*: it is sent again as another row")

    def test_a_copy_that_is_lost(self):
        self.start_relay()
        self.insert_some("lost", 1)
        self.wait_settled()
        first = {m.payload: m.msg_id for m in self.stored()}
        for _ in range(2):
            self.lose_the_stream()
            self.act("replay", "--missing", "--yes")
            self.wait_settled()
        self.assertEqual({m.payload: m.headers["Boxhaul-Replay-Of"][0] for m in self.stored()}, first)
        self.reconcile(committed=6, stored=2, discarded=4)

    def test_two_at_once_send_it_once(self):
        self.start_relay()
        self.insert_some("lost", 20)
        self.wait_settled()
        self.lose_the_stream()
        with self.connect() as connection, connection.cursor() as held:
            held.execute("SELECT copied FROM boxhaul.replay_lost(ARRAY[3, 5], 1, 1000000)")  # no more than the first
            self.assertEqual(held.fetchone(), (1,))
            other = threading.Thread(target=self.act, args=("replay", "--missing", "--yes"))
            other.start()
            self.wait(lambda: self.pg.backends("wait_event_type = 'Lock'"), "the other to wait")
            connection.commit()
            other.join()
        self.wait_settled()
        self.reconcile(committed=80, stored=40, discarded=40)
        self.assertEqual(len(self.stored()), 40)

    def test_what_it_does_not_take(self):
        self.start_relay()
        self.writer("w").write("k", 20).commit()
        self.wait_settled()
        self.assertIn("--missing takes all", self.act("replay", "--missing", "--from", "1", status=USAGE))
        with self.jetstream() as jetstream:
            jetstream.purge(STREAM)
        self.assertRegex(self.act("replay", "--missing", "--yes"), "20 messages cannot be checked, .*`boxhaul reconcile -c .*`")
        self.assertEqual(self.newest(), 20)


class Replay(Acts):
    def test_again_in_order_and_marked_as_copies(self):
        self.start_relay()
        for n in range(1, 6):
            self.insert("k", f"k {n}", headers={"of": str(n)})
            self.insert("other", f"other {n}", subject="orders.other.line")
        self.wait_settled()
        before = self.stored()
        self.assertEqual(self.act("replay", "--from", "1", "--to", "8", "--dry-run"), "replay: 8 messages would be sent again\n")
        self.assertIn("say --yes", self.act("replay", "--from", "1", status=USAGE))
        self.assertEqual(self.newest(), 10)
        self.assertIn("5 messages are in the outbox again", self.act("replay", "--from", "1", "--key", "k", "--yes"))
        self.wait_settled()
        copies = self.stored()[10:]
        self.assertEqual([m.payload.decode() for m in copies], [f"k {n}" for n in range(1, 6)])
        ids = {m.payload: m.msg_id for m in before}
        for n, copy in enumerate(copies, 1):
            self.assertEqual(copy.headers["Boxhaul-Replay-Of"], [ids[copy.payload]])
            self.assertEqual(copy.headers["of"], [str(n)])
            self.assertNotIn(copy.msg_id, ids.values())
        # Copies are not copied; time and subject choose.
        self.assertIn("10 messages", self.act("replay", "--from", "1", "--dry-run"))
        for pattern, count in (("orders.*", 5), ("orders.>", 10), ("orders.other.*", 5), ("orders", 0), ("orders.pai.", 0)):
            self.assertIn(f"replay: {count} messages", self.act("replay", "--from", "1", "--subject", pattern, "--dry-run"))
        self.assertIn("replay: 10 messages", self.act("replay", "--since", "1h", "--dry-run"))
        self.assertIn("replay: 10 messages", self.act("replay", "--since", "yesterday", "--dry-run"))
        self.assertIn("replay: 0 messages", self.act("replay", "--since", "tomorrow", "--dry-run"))
        self.assertIn("say which", self.act("replay", status=USAGE))
        self.assertIn("invalid input", self.act("replay", "--since", "yesteryear", status=FAILED))
        self.assertIn("missing=0", self.act("reconcile"))

    def test_only_what_was_sent(self):
        relay = self.start_relay()
        self.insert("k", "sent")
        self.wait_settled()
        relay.stop()
        self.insert("k", "waits")
        self.sql("INSERT INTO boxhaul.dead_letter (id, reason, attempts, held) VALUES (1, 'test', 0, false)")
        self.assertIn("replay: 0 messages", self.act("replay", "--from", "1", "--dry-run"))
        self.act("dead-letters", "discard", "1", "--yes")
        self.assertIn("replay: 0 messages", self.act("replay", "--from", "1", "--dry-run"))

    def test_the_largest_message(self):
        self.start_relay()
        self.sql("INSERT INTO boxhaul.outbox (subject, payload) VALUES ('orders.x', convert_to(repeat('x', 1048320), 'UTF8'))")
        self.wait_settled()
        self.act("replay", "--from", "1", "--yes")
        self.wait_for_messages(2)
        self.assertNotIn("Boxhaul-Replay-Of", self.stored()[1].headers)

    def test_interrupted_and_gone_on_with(self):
        self.start_relay()
        self.writer("w").copy(20000).commit()
        self.wait_settled()
        gate = self.connect()
        gate.cursor().execute("""
            SELECT pg_advisory_lock(4711);
            CREATE FUNCTION public.hold() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                PERFORM pg_advisory_xact_lock_shared(4711);
                RETURN NEW;
            END $$;
            CREATE TRIGGER hold BEFORE INSERT ON boxhaul.outbox FOR EACH ROW WHEN (NEW.id = 30000)
                EXECUTE FUNCTION public.hold()""")
        log = self.workspace.path("replay.log")
        with open(log, "w", encoding="utf-8") as out:
            replay = subprocess.Popen([self.program, "replay", "-c", self.relays[0].config, "--from", "1", "--yes"],
                                      stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
            try:
                self.wait(lambda: self.pg.backends("wait_event_type = 'Lock' AND wait_event = 'advisory'"),
                          "half of it to be copied")
                replay.send_signal(signal.SIGINT)
                gate.close()
                status = replay.wait(DEADLINE)
            finally:
                replay.kill()
                replay.wait()
        with open(log, encoding="utf-8") as f:
            said = f.read()
        self.assertEqual(status, FAILED, said)
        rest = re.search(r"(\d+) of 20000 were copied, .* go on: boxhaul (replay) -c \S+ (--from) (\d+) (--to) (\d+)$", said,
                         re.MULTILINE)
        self.assertEqual(int(rest[1]) + 20000, self.newest())
        self.assertLess(int(rest[1]), 20000)
        self.act(*rest.groups()[1:], "--yes")
        self.wait_settled()
        stored = self.stored()
        copied = [m.headers["Boxhaul-Replay-Of"][0] for m in stored[20000:]]
        self.assertTrue(sorted(copied) == sorted(m.msg_id for m in stored[:20000]), "each copied once")


if __name__ == "__main__":
    unittest.main()
