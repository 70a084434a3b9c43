"""Once, in practice: the broker forgets message ids after a tenth of a second, and still nothing is stored twice. What
is not known to be stored is looked up in the stream before it is sent again. (audit() counts the copies.)"""

import itertools
import os
import time
import unittest

from harness import STREAM, SystemTest
from test_faults import FaultTest
from test_operation import OperationTest, log_lines

WINDOW = 0.1  # seconds: the shortest window the server allows
FORGOTTEN = 3 * WINDOW  # long enough for it to have forgotten


class ShortWindow(FaultTest):
    def setUp(self):
        super().setUp()
        self.create()

    def create(self, **config):
        with self.jetstream() as jetstream:
            jetstream.create(STREAM, ["orders.>"], duplicate_window=int(WINDOW * 1e9), **config)

    def start_relay(self, **groups):
        """One that reads what it dies with before it tells the database: plenty to find in the stream."""
        return super().start_relay(**{"delivery": {"mark_interval": "400ms", "ack_timeout": "800ms"},
                                      "outbox": {"lease": "1s"}, **groups})

    def found(self, relay):
        return self.metric(relay, "duplicates_total")

    def wait_for_lead(self, leads):
        self.wait(lambda: len(self.leads()) > leads, "the lead to be taken")


class Once(ShortWindow):
    def test_kill9_of_the_relay(self):
        relay = self.start_relay()
        self.open_shop()
        found = 0
        for _ in range(3):
            before = self.count()
            self.let_trade(500)
            relay.kill9()
            self.let_trade(100, seconds=FORGOTTEN)
            relay.start()
            self.wait_for_messages(before + 600)
            self.wait(lambda: self.metric(relay, "acks_total") > 300, "it to deliver again")
            found += self.found(relay)
        self.assertGreater(self.metric(relay, "lookbacks_total"), 0)
        self.audit()
        self.assertGreater(found, 0, "nothing was stored and not marked: the test shows nothing")

    def test_the_session_ends(self):
        """The same process leads again: it knows that nobody else sends, and looks at once."""
        relay = self.start_relay()
        self.open_shop()
        for n in range(1, 5):
            self.let_trade(500, seconds=FORGOTTEN)
            self.terminate_leader()
            self.wait_for_lead(n)
        self.audit()
        self.assertGreater(self.found(relay), 0, "nothing was stored and not marked: the test shows nothing")

    def test_a_silent_broker(self):
        """It stores what lies in its socket when it goes on; by then all that is forgotten, and sent again."""
        self.start_relay(delivery={"ack_timeout": "800ms", "mark_interval": "100ms"})
        self.open_shop()
        for seconds in (1.5, 4):
            self.let_trade(500)
            self.nats.pause()
            self.let_trade(200, seconds=seconds)
            self.nats.resume()
            self.let_trade(200, seconds=FORGOTTEN)
        self.audit()

    def test_kill9_of_the_broker(self):
        relay = self.start_relay()
        self.open_shop()
        for _ in range(3):
            self.let_trade(500)
            self.nats.kill9()
            self.let_trade(200, seconds=FORGOTTEN)
            self.nats.start()
            relay.wait_until_ready()
        self.audit()

    def test_kill9_of_everything(self):
        relay = self.start_relay()
        self.open_shop()
        for order in ((relay, self.pg, self.nats), (self.nats, relay, self.pg), (self.nats, self.pg, relay)):
            self.let_trade(500)
            for victim in order:
                victim.kill9()
                time.sleep(FORGOTTEN)
            for victim in order:
                victim.start()
        self.let_trade(300)
        self.audit()

    def test_two_relays(self):
        """The leader dies, or loses its lead and lives on; whoever is next cannot know which. Until the lease of the
        first is over, nothing is published, for the window would not bridge it."""
        for _ in range(2):
            self.start_relay()
        self.open_shop()
        for n in range(1, 5):
            self.let_trade(400)
            victim = self.wait_for_leader()
            if n % 2:
                victim.kill9()
            else:
                self.terminate_leader()
            self.wait_for_lead(n)
            if n % 2:
                victim.start()
        self.audit()

    def test_the_leader_is_frozen(self):
        """It wakes up deposed, with messages it had decided to send."""
        for _ in range(2):
            self.start_relay()
        self.open_shop()
        for n in range(1, 4):
            self.let_trade(400)
            frozen = self.wait_for_leader()
            frozen.pause()
            self.terminate_leader()
            self.wait_for_lead(n)
            self.let_trade(300, seconds=2)
            frozen.resume()
        self.audit()


class SharedStream(ShortWindow):
    def test_others_publish_to_the_stream(self):
        """Some of them with ids, uuids even; some large; some of it deleted again. None of it is ours."""
        relay, found = self.start_relay(), 0
        self.open_shop()
        with self.jetstream() as jetstream:
            for round_ in range(3):
                self.let_trade(400)
                relay.kill9()
                for n in range(300):
                    jetstream.publish("orders.others", os.urandom(100_000 if n % 100 == 0 else 10),
                                      {"Nats-Msg-Id": f"{round_}-{n}"} if n % 2 else None)
                jetstream.delete_message(STREAM, jetstream.info(STREAM)["state"]["last_seq"] - 5)
                time.sleep(FORGOTTEN)
                before = self.count()
                relay.start()
                self.wait_for_messages(before + 100)
                found += self.found(relay)
            for shop in self.shops:
                shop.stop()
            self.wait_settled()
            jetstream.call(f"STREAM.PURGE.{STREAM}", {"filter": "orders.others"})
        self.audit()
        self.assertGreater(found, 0, "nothing was stored and not marked: the test shows nothing")


class LastLook(OperationTest):
    """While something is left that an earlier leader may have sent, what was stored meanwhile is looked at once more: but not
    what was ours."""

    STREAMS = [{"name": STREAM, "subjects": ["orders.>"]}, {"name": "LATER", "subjects": ["later.>"]}]

    def take_over(self, jetstream, window, lease):
        """From a leader that was killed with something left for which to look; both are seconds. Half of the window is more than
        the lease, so the first look need not wait. Returns the next relay, not started."""
        config = {"streams": self.STREAMS, "outbox": {"lease": f"{lease}s"}}
        jetstream.create(STREAM, ["orders.>"], duplicate_window=window * 10**9)
        self.writer("early").write("waits", subject="later.x").commit()
        first = self.start_relay(**config)
        self.wait(self.exceptions, "it to be parked")
        first.kill9()
        self.others = itertools.count(1)
        return self.add_relay(**config)

    def publish_as_others(self, jetstream):
        jetstream.publish("orders.others", b"x", {"Nats-Msg-Id": f"00000000-0000-4000-8000-{next(self.others):012}"})

    def looks(self, relay):
        """That found something. Of those behind the first, the log tells no more for some seconds than that they were."""
        return [line for line in log_lines(relay) if line["msg"].startswith("read what the stream holds")]

    def test_when_the_lease_is_over(self):
        """Whenever that is: others go on all the time."""
        with self.jetstream() as jetstream:
            relay = self.take_over(jetstream, window=24, lease=10)
            self.publish_as_others(jetstream)
            relay.start()

            def looked_twice():
                self.publish_as_others(jetstream)
                return len(self.looks(relay)) > 1
            self.wait(looked_twice, "it to look once more")
            jetstream.create("LATER", ["later.>"])
        self.wait_settled()
        self.assertEqual(self.count("LATER"), 1)

    def test_only_others_are_looked_at(self):
        """Behind a break of the connection: that look comes when we want it to, and long before the lease is over."""
        writer = self.writer("one")
        with self.jetstream() as jetstream:
            relay = self.take_over(jetstream, window=600, lease=60).start()
            for n in range(1, 4):
                writer.write("a", 100).write("b", 100).commit()
                self.wait(lambda n=n: self.metric(relay, "acks_total") == n * 200, "all to be acknowledged")
                self.publish_as_others(jetstream)
        self.assertEqual(self.looks(relay), [])  # the first found nothing
        self.nats.restart()
        look = self.wait(lambda: self.looks(relay), "it to look again")[0]
        self.assertEqual((look["messages"], look["with_id"]), ("3", "3"))
        with self.jetstream() as jetstream:
            jetstream.create("LATER", ["later.>"])
        self.wait_settled()
        self.assertEqual((self.count(), self.count("LATER")), (603, 1))


class OthersIds(OperationTest):
    """What others publish with ids like ours is kept in mind, for nobody can know whose they are, and no longer than it may be of use."""

    def test_they_are_forgotten_asleep(self):
        others = 2000
        relay = self.start_relay()
        self.writer("one").write("a", 100).commit()
        self.wait_settled()
        relay.kill9()
        with self.jetstream() as jetstream:
            for n in range(others):
                jetstream.client.publish("orders.others", b"x", {"Nats-Msg-Id": f"00000000-0000-4000-8000-{n:012d}"})
            self.wait_for_messages(100 + others)
            relay.start()
            look = self.wait_for_log(relay, msg="read what the stream holds")
            self.assertGreaterEqual(int(look["with_id"]), others)
            self.wait_asleep()
            self.wait(lambda: self.metric(relay, "found_messages") == 0, "the ids to be forgotten")
            jetstream.call(f"STREAM.PURGE.{STREAM}", {"filter": "orders.others"})
        self.audit()


class HandOver(SystemTest):
    """With a window of two minutes a new leader need not wait; nor behind one that has resigned."""

    def lease_ms(self):
        return self.sql("SELECT lease_ms FROM boxhaul.position")[0][0]

    def test_a_drained_relay_resigns(self):
        relay = self.start_relay(outbox={"lease": "10s"})
        self.assertEqual(self.lease_ms(), 10000)
        self.wait_asleep()
        relay.stop()
        self.assertEqual(self.lease_ms(), 0)
        self.assertFalse(self.is_asleep(), "producers would notify nobody")

    def test_a_killed_one_does_not(self):
        relay = self.start_relay()
        relay.kill9()
        self.assertEqual(self.lease_ms(), 5000)

    def floor(self):
        """Above which the next leader looks for what this one sent."""
        rows = self.sql("SELECT low_water FROM boxhaul.sent ORDER BY last_id DESC LIMIT 1")
        return rows[0][0] if rows else 0

    def test_the_floor_is_where_the_stream_ends(self):
        """At rest, that is: whoever leads next has nothing to look through."""
        relay, writer = self.start_relay(), self.writer("one")
        for n in range(1, 4):
            writer.write("a", 100).commit()
            self.wait_settled()
            self.assertEqual(self.floor(), n * 100)
            if n % 2:
                relay.stop()
            else:
                relay.kill9()
            relay.start()
        self.audit()

    def test_the_floor_in_a_stream_made_anew(self):
        """Under a relay that is connected all the while: only the sequences that come back tell of it."""
        self.start_relay()
        writer = self.writer("one")
        writer.write("a", 100).commit()
        self.wait_settled()
        with self.jetstream() as jetstream:
            jetstream.delete(STREAM)
            jetstream.create(STREAM, ["orders.>"])
        writer.write("a", 30).commit()
        self.wait_settled()
        self.assertEqual(self.count(), 30)
        self.assertLessEqual(self.floor(), 30)

    def test_the_floor_rises_under_load(self):
        """Some marks behind; how many messages that are depends on how quick the machine is."""
        self.start_relay()
        self.open_shop()
        for _ in range(3):
            stored = self.count()
            self.wait(lambda: self.floor() > stored, "the floor to pass what was stored when we asked")
        self.audit()


if __name__ == "__main__":
    unittest.main()
