"""What is gone from a stream is not taken for never stored: consumed out of a work queue, or replaced by the last of its subject,
before another leader looks, after the broker has forgotten its message id."""

import base64
import json
import os
import signal
import time
import unittest

from harness import RELAY, SERVICE, STREAM, SystemTest
from jetstream import JetStreamError
from test_once import FORGOTTEN, ShortWindow

INSERT = "INSERT INTO boxhaul.outbox (subject, key, payload) VALUES ('orders.x', %s, %s)"
HEADER = b"Boxhaul-Snapshot:"


class Gone(ShortWindow):
    """The relay dies before it has marked anything: it would mark after ten seconds, and cannot as long as the books are held. (The next
    one waits for its lease.)"""

    config = {}

    def create(self, **config):
        super().create(**{**self.config, **config})

    def start_relay(self, **groups):
        relay = super().start_relay(delivery={"mark_interval": "10s", "ack_timeout": "800ms"}, outbox={"lease": "15s"}, **groups)
        self.held_books, self.service = self.connect(), self.connect(SERVICE)
        self.held_books.cursor().execute("BEGIN; LOCK boxhaul.position IN SHARE MODE")  # without an xid: those are what it looks at
        return relay

    def kill(self, relay):
        """What it has asked of the database goes with it: the books are let go when its sessions have ended."""
        relay.kill9()
        theirs = f"usename = '{RELAY}' AND datname = '{self.database}'"
        for pid in self.pg.backends(theirs):
            self.sql("SELECT pg_terminate_backend(%s)", (pid,))
        self.wait(lambda: not self.pg.backends(theirs), "its sessions to end")
        self.held_books.close()

    def insert(self, key, *payloads):
        for payload in payloads:
            self.service.cursor().execute(INSERT, [key, payload.encode()])

    def held(self):
        """(sequence, headers, payload) of everything that the stream holds. (A work queue is not read by consumers that are not its own.)"""
        with self.jetstream() as jetstream:
            state = jetstream.info(STREAM)["state"]
            for sequence in range(max(state["first_seq"], 1), state["last_seq"] + 1):
                try:
                    message = jetstream.call(f"STREAM.MSG.GET.{STREAM}", {"seq": sequence})["message"]
                except JetStreamError as e:
                    if e.err_code != 10037:
                        raise
                    continue
                yield sequence, base64.b64decode(message.get("hdrs", "")), base64.b64decode(message["data"]).decode()

    def bodies(self):
        return [payload for _, _, payload in self.held()]

    def last(self):
        with self.jetstream() as jetstream:
            return jetstream.info(STREAM)["state"]["last_seq"]

    def wait_stored(self, count):
        self.wait(lambda: self.last() == count, f"{count} messages to be stored")
        self.assertEqual(self.position(), 0, "it has marked: the test shows nothing")

    def take_over(self, relay):
        self.kill(relay)
        time.sleep(FORGOTTEN)
        relay.start()
        relay.wait_until_ready()

    def settle(self, relay):
        """A relay that ends marks."""
        relay.stop()
        self.assertTrue(self.is_settled())


class LastOfEachSubject(Gone):
    config = {"max_msgs_per_subject": 1}

    def test_it_does_not_go_back_to_an_older_one(self):
        relay = self.start_relay()
        self.insert("k", "v1", "v2", "v3", "v4", "v5")
        self.wait_stored(5)
        self.assertEqual(self.bodies(), ["v5"])
        self.take_over(relay)
        self.wait(lambda: self.found(relay) == 5, "all five to be found or proved")
        self.settle(relay)
        self.assertEqual((self.bodies(), self.last()), (["v5"], 5))

    def test_what_was_never_sent_is_sent(self):
        relay = self.start_relay()
        self.insert("k", "v1", "v2")
        self.wait_stored(2)
        self.kill(relay)
        self.insert("k", "v3")
        relay.start()
        self.wait(lambda: self.bodies() == ["v3"], "the last one")
        self.assertEqual(self.last(), 3)
        self.settle(relay)


class WorkQueue(Gone):
    config = {"retention": "workqueue"}

    def consume(self, count):
        """So many, taken and acknowledged."""
        with self.jetstream() as jetstream:
            jetstream.call(f"CONSUMER.DURABLE.CREATE.{STREAM}.worker", {"stream_name": STREAM, "config": {
                "durable_name": "worker", "ack_policy": "explicit", "deliver_policy": "all"}})
            bodies = []
            for _ in range(count):
                message = jetstream.client.request(f"$JS.API.CONSUMER.MSG.NEXT.{STREAM}.worker", b'{"batch": 1}')
                jetstream.client.request(message.reply, b"+ACK")
                bodies.append(message.payload.decode())
        return bodies

    def test_what_was_consumed_is_not_stored_again(self):
        relay = self.start_relay()
        for n in range(1, 6):
            self.insert("k", f"k{n}")
            self.insert("l", f"l{n}")
        self.wait_stored(10)
        taken = self.consume(7)
        left = self.bodies()
        self.assertEqual(sorted(taken + left), sorted(f"{k}{n}" for k in "kl" for n in range(1, 6)))
        self.take_over(relay)
        self.wait(lambda: self.found(relay) == 10, "all ten to be found or proved")
        self.settle(relay)
        self.assertEqual((self.bodies(), self.last()), (left, 10))
        self.assertEqual(self.consume(3), left)

    def test_a_row_that_came_late_is_stored(self):
        """Its successor was read and stored while its own transaction ran: that proves nothing."""
        relay = self.start_relay()
        slow = self.writer("slow").write("k")
        self.insert("k", "quick")
        self.wait_stored(1)
        self.kill(relay)
        slow.commit()
        time.sleep(FORGOTTEN)
        relay.start()
        self.wait(lambda: self.last() == 2, "the late one to be stored", progress=self.last)
        self.assertEqual(self.bodies()[0], "quick")
        self.settle(relay)

    def test_what_one_transaction_wrote_is_proved_whatever_else_runs(self):
        """Somebody else writes all the while: xmin says nothing of what came since."""
        other = self.writer("other").write("other")
        relay = self.start_relay()
        self.sql(f"{INSERT}, ('orders.x', 'k', 'k2'), ('orders.x', 'k', 'k3')", ["k", b"k1"], user=SERVICE)
        self.wait_stored(3)
        self.assertEqual(self.consume(2), ["k1", "k2"])
        self.take_over(relay)
        self.wait(lambda: self.found(relay) == 3, "all three to be found or proved")
        self.assertEqual((self.bodies(), self.last()), (["k3"], 3))
        other.rollback()

    def test_only_where_it_is_of_use(self):
        relay = self.start_relay()
        self.insert("k", "v")
        self.sql(INSERT, [None, b"without a key"], user=SERVICE)
        self.wait_stored(2)
        self.assertEqual({payload: HEADER in headers for _, headers, payload in self.held()}, {"v": True, "without a key": False})
        self.kill(relay)
        with self.jetstream() as jetstream:
            jetstream.delete(STREAM)
        self.config = {}
        self.create()
        relay.start()
        self.wait(lambda: self.last() == 2, "both to be stored again")
        self.assertFalse(any(HEADER in headers for _, headers, _ in self.held()))


class Crash(SystemTest):
    def test_a_dead_letter_is_still_there(self):
        """What stands behind it is sent when its mark is answered, and then says that all before it is stored, or on record. Marks
        are not flushed otherwise."""
        self.sql(INSERT, ["k", b"dead"], user=SERVICE)
        with self.connect().cursor() as cursor:
            cursor.execute("SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'")
            os.kill(cursor.fetchone()[0], signal.SIGSTOP)  # or it would flush them a moment later
            cursor.execute("SET synchronous_commit = off")
            cursor.execute("SELECT epoch FROM boxhaul.lead('me', 1000)")
            cursor.execute("SELECT boxhaul.mark(%s, %s)", (cursor.fetchone()[0], json.dumps(
                {"from": 0, "position": 1, "dead": [{"id": 1, "reason": "x", "attempts": 1, "held": False}]})))
            self.pg.kill9()
        self.pg.start()
        self.assertEqual(self.sql("SELECT id FROM boxhaul.dead_letter"), [(1,)])


if __name__ == "__main__":
    unittest.main()
