#!/usr/bin/python3 -B
"""The chaos rig tested without a server: above all that the judge can convict, of each of the things he must."""

import contextlib
import itertools
import json
import os
import socket
import sys
import tempfile
import threading
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "lib")]

import schedule  # noqa: E402
import wire  # noqa: E402
from faults import DOERS, hurts_producers  # noqa: E402
from jetstream import Stored  # noqa: E402
from judge import GRACE, Verdict, blame, judge, takeovers  # noqa: E402
from move_selftest import MoveJudge, MoveWorld  # noqa: E402, F401
from network import Network  # noqa: E402
from process import free_port  # noqa: E402
from proxy import RECORD  # noqa: E402
from saga_selftest import Faults, SagaJudge  # noqa: E402, F401
from shop import seal  # noqa: E402
from watch import Control  # noqa: E402


def transaction(name, outcome, *messages, undone=()):
    """messages as NAME:KEY:NUMBER; a name alone has no key."""
    def parse(words):
        parsed = []
        for word in words:
            parts = word.split(":")
            parsed.append([parts[0], parts[1], int(parts[2])] if len(parts) == 3 else [parts[0], None, None])
        return parsed
    return {"name": name, "producer": name, "outcome": outcome, "messages": parse(messages), "undone": parse(undone),
            "began": 0, "ended": 0}


def payload(message):
    name, _, rest = message.partition(":")
    key, _, number = rest.partition(":")
    body = {"message": name, "key": key or None, "seq": int(number) if number else None, "subject": "orders.paid",
            "headers": None}
    return json.dumps(seal(body)).encode()


def stream(*messages, begin=1, time_=100.0):
    return [Stored(seq, "orders.paid", {"Nats-Msg-Id": [f"uuid-{seq}"]}, payload(message), time_)
            for seq, message in enumerate(messages, begin)]


class Judge(unittest.TestCase):
    """One history, and streams that fit it or do not."""

    history = [transaction("t1", "committed", "p1/1:k:1", "p1/2:k:2", undone=["p1/3:k:2"]),
               transaction("t2", "committed", "p1/4:k:3", "p2/1"),
               transaction("t3", "aborted", "p1/5:k:4"),
               transaction("t4", "unknown", "p1/6:k:4"),
               transaction("t5", "unknown", "p1/7:k:5"),
               transaction("t6", "committed", "p1/8:k:5")]
    present = {"t1", "t2", "t4", "t6"}
    good = ("p1/1:k:1", "p1/2:k:2", "p1/4:k:3", "p2/1", "p1/6:k:4", "p1/8:k:5")

    def judge(self, *messages, present=None, **more):
        return judge(self.history, self.present if present is None else present, stream(*messages), **more)

    def expect(self, verdict, **figures):
        self.assertEqual({name: getattr(verdict, name) for name in figures}, figures, dict(verdict.examples))
        return verdict

    def test_all_is_well(self):
        v = self.expect(self.judge(*self.good), attempted=9, committed=6, aborted=2, unknown=2, read=6, recovered=1,
                        lost=0, unexpected=0, reordered=0, duplicates=0, phantoms=0, vanished=0)
        self.assertEqual(v.violations(max_duplicates=0), [])

    def test_lost_before_between_and_behind(self):
        for gone, where in ((0, "prefix"), (2, "middle"), (5, "postfix")):
            v = self.judge(*(self.good[:gone] + self.good[gone + 1:]))
            self.expect(v, lost=1, **{f"lost_{where}": 1})
            self.assertEqual(v.violations(), ["lost=1"])

    def test_what_was_recovered_can_be_lost(self):
        self.expect(self.judge(*(message for message in self.good if message != "p1/6:k:4")), lost=1, recovered=0)

    def test_who_lost_it(self):
        less = self.good[1:]
        for acks, by_broker, words in (({}, 0, "no relay ever sent it"), ({"p1/1": []}, 0, "never acknowledged"),
                                       ({"p1/1": [wire.Ack(0, 99, False)]}, 1, "now holds nothing"),
                                       ({"p1/1": [wire.Ack(0, None, False)]}, 1, "acknowledged it in a batch")):
            v = self.expect(self.judge(*less, acks=acks), lost=1, lost_by_broker=by_broker)
            self.assertIn(words, v.examples["lost"][0])
            self.assertEqual(v.violations(), ["lost=1"])

    def test_unexpected(self):
        # aborted, undone, never attempted, rolled back
        for stranger in ("p1/5:k:4", "p1/3:k:2", "p9/1:k:9", "p1/7:k:5"):
            v = self.judge(*self.good, stranger)
            self.expect(v, unexpected=1, lost=0)
            self.assertEqual(v.violations(), ["unexpected=1"])

    def test_a_row_that_was_changed_on_the_way(self):
        self.expect(self.judge("p1/1:k:9", *self.good[1:]), unexpected=1)
        self.expect(self.judge("p1/1:j:1", *self.good[1:]), unexpected=1)

    def test_damage_and_foreign_messages(self):
        damaged = [Stored(1, "orders.paid", {}, b"no shop wrote this", 0.0),
                   Stored(2, "orders.other", {}, payload("p1/1:k:1"), 0.0)]
        v = judge(self.history, self.present, damaged + stream(*self.good, begin=3))
        self.expect(v, unexpected=2, lost=0, duplicates=0)

    def test_duplicates(self):
        v = self.expect(self.judge(*self.good, "p1/1:k:1", "p1/1:k:1", "p2/1"), duplicates=3, reordered=0)
        self.assertEqual((v.violations(), v.violations(max_duplicates=3), v.violations(max_duplicates=2)),
                         ([], [], ["duplicates=3"]))

    def test_reordered(self):
        v = self.judge("p1/2:k:2", "p1/1:k:1", *self.good[2:])
        self.expect(v, reordered=1, lost=0)
        self.assertEqual(v.violations(), ["reordered=1"])

    def test_a_later_copy_does_not_mend_the_order(self):
        self.expect(self.judge("p1/2:k:2", "p1/1:k:1", "p1/2:k:2", *self.good[2:]), reordered=1, duplicates=1)

    def test_the_unordered_have_no_order(self):
        self.expect(self.judge("p2/1", *(message for message in self.good if message != "p2/1")), reordered=0, lost=0)

    def test_vanished_with_a_promotion(self):
        present = self.present - {"t6"}
        v = self.judge(*self.good, present=present, promotions=[200.0])
        self.expect(v, vanished=1, phantoms=1, lost=0, unexpected=0)
        self.assertEqual((v.violations(sync=True), v.violations(sync=False)), (["vanished=1"], []))

    def test_an_unknown_one_may_be_a_phantom_only_before_a_promotion(self):
        self.expect(self.judge(*self.good, "p1/7:k:5", promotions=[200.0]), phantoms=1, unexpected=0)
        self.expect(self.judge(*self.good, "p1/7:k:5", promotions=[50.0]), phantoms=0, unexpected=1)

    def test_phantoms_do_not_count_for_the_order(self):
        history = [transaction("t1", "unknown", "p1/1:k:2"), transaction("t2", "committed", "p1/2:k:1")]
        self.expect(judge(history, {"t2"}, stream("p1/1:k:2", "p1/2:k:1"), promotions=[200.0]), reordered=0, phantoms=1)

    def test_a_dead_letter_is_a_violation(self):
        v = self.judge(*self.good, dead=["(1, 'orders.paid')"])
        self.assertEqual(v.violations(), ["dead=1"])

    def test_nothing_read_is_no_success(self):
        self.assertEqual(judge([], set(), []).violations(), ["read=0"])

    def test_a_history_that_contradicts_the_database_is_no_history(self):
        with self.assertRaises(AssertionError):
            self.judge(*self.good, present=self.present | {"t3"})


class Blame(unittest.TestCase):
    def blame(self, errors=(), waits=(), blocked=(), intervals=(), spells=()):
        v = Verdict(read=1)
        blame(v, errors, waits, blocked, intervals, spells)
        return v.violations()

    def test_errors(self):
        lost = {"begin": 10, "end": 10, "sqlstate": None, "text": "server closed the connection"}
        refused = {**lost, "sqlstate": "23514"}
        self.assertEqual(self.blame([lost]), ["producer_errors=1"])
        self.assertEqual(self.blame([lost], intervals=[(9, 10)]), [])
        self.assertEqual(self.blame([lost], intervals=[(1, 10 - GRACE - 1)]), ["producer_errors=1"])
        self.assertEqual(self.blame([{**lost, "begin": 1}], intervals=[(1, 2)]), [])
        self.assertEqual(self.blame([{**lost, "sqlstate": "57P01"}], intervals=[(9, 10)]), [])
        self.assertEqual(self.blame([refused], intervals=[(9, 10)]), ["producer_errors=1"])

    def test_waits(self):
        wait = {"begin": 10, "end": 12}
        self.assertEqual(self.blame(waits=[wait]), ["producer_stalls=1"])
        self.assertEqual(self.blame(waits=[wait], intervals=[(11, 11.5)]), [])
        self.assertEqual(self.blame(waits=[wait], intervals=[(13, 14)]), ["producer_stalls=1"])

    def test_a_machine_that_was_slow(self):
        """It explains what it is a part of, and neither an error nor what comes a moment later."""
        wait, slow = {"begin": 10, "end": 12}, [(9.8, 11.9)]
        self.assertEqual(self.blame(waits=[wait], spells=slow), [])
        self.assertEqual(self.blame(waits=[wait], spells=[(n / 10, (n + 1) / 10) for n in range(100, 120)]), [])
        self.assertEqual(self.blame(waits=[wait], spells=[(9, 10.2), (11, 11.2)]), ["producer_stalls=1"])
        self.assertEqual(self.blame(waits=[wait], spells=[(7, 9.9), (12.1, 14)]), ["producer_stalls=1"])
        self.assertEqual(self.blame([{**wait, "sqlstate": None}], spells=slow), ["producer_errors=1"])

    def test_behind_a_relay_there_is_no_excuse(self):
        self.assertEqual(self.blame(blocked=["behind relay"], intervals=[(0, 1e9)], spells=[(0, 1e9)]), ["producer_stalls=1"])

    def test_a_relay_that_crashed(self):
        v = Verdict(read=1)
        v.count("relay_crashes", "status 134")
        self.assertEqual(v.violations(), ["relay_crashes=1"])


class Slow(Control):
    """Each of its transactions takes so long."""

    def __init__(self, *seconds):
        super().__init__("")
        self.seconds, self.over = iter(seconds), threading.Event()

    def _transaction(self):
        if (seconds := next(self.seconds, None)) is None:
            self.over.set()
        time.sleep(seconds or 0)


class TheControl(unittest.TestCase):
    def test_slow_ones_are_written_down(self):
        begin = time.time()
        control = Slow(0, 0.5, 0, 0.5)
        control.start()
        control.over.wait()
        control.stop()
        slow = [(a, b) for a, b in control.spells if b - a > 0.5]
        self.assertGreaterEqual(len(slow), 2, control.spells)
        self.assertTrue(all(begin <= a and b <= time.time() for a, b in slow))


class Takeovers(unittest.TestCase):
    def test_from_the_end_of_a_lead_to_the_next_message(self):
        kill = {"kind": "relay-kill", "began": 10.0, "ended": 10.5, "about": {"was_leader": True}}
        stored = stream("p1/1", time_=10.1) + stream("p1/2", time_=11.5) + stream("p1/3", time_=12.0)
        self.assertEqual(takeovers([kill], [5.0, 11.0], stored), [1.5])
        self.assertEqual(takeovers([{**kill, "about": {"was_leader": False}}, {**kill, "skipped": "busy"},
                                    {**kill, "kind": "nats-kill"}], [5.0, 11.0], stored), [])
        self.assertEqual(takeovers([kill], [5.0], stored), [])
        pause = {"kind": "nats-pause", "began": 9.0, "ended": 11.2, "about": {}}
        self.assertEqual(takeovers([kill, pause], [5.0, 11.0], stored), [])
        others = [{**pause, "skipped": "busy"}, {**pause, "ended": 9.5}]
        self.assertEqual(takeovers([kill, *others], [5.0, 11.0], stored), [1.5])


class Schedule(unittest.TestCase):
    def test_it_is_a_function_of_the_seed(self):
        draw = lambda seed: schedule.draw(seed, 300, 2, 3)  # noqa: E731
        self.assertEqual(draw(1), draw(1))
        self.assertNotEqual(draw(1), draw(2))

    def test_quiet_first_then_every_kind_alone_and_together(self):
        faults = [fault for seed in range(5) for fault in schedule.draw(seed, 600, 2, 3)]
        self.assertEqual({fault["kind"] for fault in faults}, set(schedule.KINDS) - set(schedule.NAMED))
        self.assertGreater(min(fault["at"] for fault in faults), schedule.QUIET)
        pairs = {(one["kind"], other["kind"]) for one, other in itertools.permutations(faults, 2)
                 if one["at"] <= other["at"] <= one["at"] + one["seconds"]}
        self.assertGreater(len(pairs), 300)

    def test_no_step_down_without_a_cluster_and_only_what_was_asked_for(self):
        self.assertNotIn("stepdown", {fault["kind"] for fault in schedule.draw(1, 3000)})
        self.assertEqual({fault["kind"] for fault in schedule.draw(1, 100, kinds=["cut"])}, {"cut"})
        named = {fault["kind"] for seed in range(5) for fault in schedule.draw(seed, 600, 2, 3, kinds=list(schedule.KINDS))}
        self.assertEqual(named, set(schedule.KINDS))
        self.assertEqual(schedule.draw(1, 3000, kinds=["quorum-loss"]), [])

    def test_every_kind_can_be_done_and_has_its_place(self):
        self.assertEqual(set(DOERS), set(schedule.KINDS))
        self.assertTrue(hurts_producers({"kind": "cut", "between": ("producers", "primary")}))
        self.assertFalse(hurts_producers({"kind": "cut", "between": ("relay1", "primary")}))


class Wire(unittest.TestCase):
    def record(self, *pieces):
        directory = tempfile.mkdtemp()
        self.addCleanup(lambda: __import__("shutil").rmtree(directory))
        with open(os.path.join(directory, "relay1-nats1.1"), "wb") as f:
            for when, (arrow, piece) in enumerate(pieces):
                f.write(RECORD.pack(when, arrow, len(piece)) + piece)
        return directory

    @staticmethod
    def hpub(message, reply):
        head, body = b"NATS/1.0\r\nNats-Msg-Id: x\r\n\r\n", payload(message)
        return b"HPUB orders.paid %s %d %d\r\n%s%s\r\n" % (reply, len(head), len(head) + len(body), head, body)

    @staticmethod
    def answer(reply, text):
        return b"MSG %s 1 %d\r\n%s\r\n" % (reply, len(text), text)

    def test_acks_find_their_messages_across_pieces(self):
        sent = b"CONNECT {}\r\nPING\r\n" + self.hpub("a", b"_I.1") + self.hpub("b", b"_I.2") + self.hpub("c", b"_I.3")
        back = (b"INFO {}\r\nPONG\r\n" + self.answer(b"_I.1", b'{"stream":"ORDERS", "seq":7}')
                + self.answer(b"_I.2", b'{"error":{"code":503},"stream":"ORDERS","seq":0}'))
        directory = self.record((b">", sent[:70]), (b"<", back[:50]), (b">", sent[70:]), (b"<", back[50:]))
        self.assertEqual(wire.acknowledged(directory, "ORDERS"), {"a": [wire.Ack(3, 7, False)], "b": [], "c": []})

    def test_no_ack_is_a_duplicate_without_a_sequence_or_of_another_stream(self):
        for text in (b'{"stream":"ORDERS","seq":0,"duplicate": true}', b'{"stream":"OTHER","seq":4}', b"not JSON"):
            directory = self.record((b">", self.hpub("a", b"_I.1")), (b"<", self.answer(b"_I.1", text)))
            self.assertEqual(wire.acknowledged(directory, "ORDERS"), {"a": []})

    def test_of_a_batch_all_up_to_a_number_is_acknowledged(self):
        sent = b"".join(self.hpub(name, b"_I.%s.100.fail.%d.%d.$FI" % (batch, n, n > 1)) for batch, n, name in (
            (b"B1", 1, "a"), (b"B1", 2, "b"), (b"B1", 3, "c"), (b"B2", 1, "d"), (b"B3", 1, "e"), (b"B3", 2, "f")))
        back = (self.answer(b"_I.B1.100.fail.3.1.$FI", b'{"type":"ack","seq":2,"msgs":100}')
                + self.answer(b"_I.B1.100.fail.2.1.$FI", b'{"type":"ack","seq":1,"msgs":100}')
                + self.answer(b"_I.B2.100.fail.1.0.$FI", b'{"type":"gap","last_seq":1,"seq":3}')
                + self.answer(b"_I.B3.100.fail.2.2.$FI", b'{"stream":"ORDERS","seq":9,"batch":"B3","count":2}'))
        stored = [wire.Ack(1, None, False)]
        self.assertEqual(wire.acknowledged(self.record((b">", sent), (b"<", back)), "ORDERS"), {
            "a": stored, "b": stored, "c": [], "d": [], "e": stored, "f": stored})

    def test_a_cut_off_end(self):
        sent = self.hpub("a", b"_I.1") + self.hpub("b", b"_I.2")[:-5]
        self.assertEqual(wire.acknowledged(self.record((b">", sent)), "ORDERS"), {"a": []})


class Echo:
    """A server that says everything back."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=(self.listener.accept()[0],), daemon=True).start()

    @staticmethod
    def _serve(connection):
        with contextlib.suppress(OSError), connection:
            while piece := connection.recv(65536):
                connection.sendall(piece)


class Proxy(unittest.TestCase):
    """Each mode of a link, on real sockets."""

    def setUp(self):
        self.directory = self.enterContext(tempfile.TemporaryDirectory())
        self.echo = Echo()
        self.addCleanup(self.echo.listener.close)
        self.network = Network(self.directory)
        self.addCleanup(self.network.close)
        self.network.start()
        self.port = self.network.link("x-y", self.echo.port, self.directory)

    def connect(self):
        s = socket.create_connection(("127.0.0.1", self.port), 20)
        self.addCleanup(s.close)
        return s

    def say(self, s, what=b"hello"):
        s.sendall(what)
        return self.hear(s, len(what))

    @staticmethod
    def hear(s, size):
        heard = b""
        while len(heard) < size and (piece := s.recv(size - len(heard))):
            heard += piece
        return heard

    def assert_silent(self, s):
        s.settimeout(0.3)
        with self.assertRaises(TimeoutError):
            s.recv(1)
        s.settimeout(20)

    def assert_torn(self, s):
        with self.assertRaises((ConnectionResetError, BrokenPipeError)):
            while s.recv(100):
                pass
            raise AssertionError("closed in an orderly way")

    def test_pass_also_large_pieces_and_orderly_ends(self):
        s = self.connect()
        large = os.urandom(3 << 20)
        sender = threading.Thread(target=s.sendall, args=(large,))
        sender.start()
        self.assertEqual(self.hear(s, len(large)), large)
        sender.join()
        s.shutdown(socket.SHUT_WR)
        self.assertEqual(s.recv(1), b"")

    def test_cut(self):
        s = self.connect()
        self.say(s)
        self.network.set(["x-y"], "cut")
        self.assert_torn(s)
        with contextlib.suppress(ConnectionResetError):  # the RST may be quicker than connect()
            self.assert_torn(self.connect())
        self.network.heal()
        self.assertEqual(self.say(self.connect()), b"hello")

    def test_reset(self):
        s = self.connect()
        self.say(s)
        self.network.reset(["x-y"])
        self.assert_torn(s)
        self.assertEqual(self.say(self.connect()), b"hello")

    def test_stall_loses_nothing(self):
        s = self.connect()
        self.say(s)
        self.network.set(["x-y"], "stall")
        s.sendall(b"later")
        late = self.connect()  # the kernel says yes
        late.sendall(b"me too")
        self.assert_silent(s)
        self.network.heal()
        self.assertEqual((self.hear(s, 5), self.hear(late, 6)), (b"later", b"me too"))

    def test_half_open_swallows_and_is_torn_when_it_heals(self):
        s = self.connect()
        self.say(s)
        self.network.set(["x-y"], "half-open")
        new = self.connect()
        for one in (s, new):
            one.sendall(b"into the void")
            self.assert_silent(one)
        self.network.heal()
        for one in (s, new):
            self.assert_torn(one)
        self.assertEqual(self.say(self.connect()), b"hello")

    def test_mute(self):
        s = self.connect()
        self.say(s)
        self.network.set(["x-y"], "mute")
        self.assert_torn(s)
        new = self.connect()
        new.sendall(b"anybody?")
        self.assert_silent(new)
        self.network.heal()
        self.assert_torn(new)

    def test_delay_keeps_the_order(self):
        s = self.connect()
        self.say(s)
        self.network.set(["x-y"], "delay", 2)
        begin = time.monotonic()
        s.sendall(b"one ")
        self.assert_silent(s)
        s.sendall(b"two ")
        self.network.heal()
        s.sendall(b"three")
        self.assertEqual(self.hear(s, 13), b"one two three")
        self.assertGreater(time.monotonic() - begin, 2)

    def test_nobody_behind_it(self):
        self.port = self.network.link("x-nobody", free_port())
        with contextlib.suppress(ConnectionResetError):
            self.assert_torn(self.connect())

    def test_what_passes_is_written_down(self):
        s = self.connect()
        self.say(s, b"HPUB")
        s.shutdown(socket.SHUT_WR)
        self.assertEqual(s.recv(1), b"")
        (sent, times), (back, _) = wire.halves(os.path.join(self.directory, "x-y.1"))
        self.assertEqual((bytes(sent), bytes(back)), (b"HPUB", b"HPUB"))
        self.assertLess(abs(times[0][1] - time.time()), 60)


if __name__ == "__main__":
    unittest.main()
