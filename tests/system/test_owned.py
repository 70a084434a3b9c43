"""Owned streams: all messages in one order, with a whole window in flight, each chained to the one before. (NATS_SERVER and NATS_NODES say
with which servers.) What a producer alone has written is stored in the order of its ids, whatever happens."""

import time
import unittest

from harness import STREAM
from test_faults import FaultTest

ROWS = 4000


class OwnedTest(FaultTest):
    foreign = "stop"

    @classmethod
    def _settings(cls, database):
        settings = super()._settings(database)
        settings["streams"][0].update(owned=True, foreign=cls.foreign)
        settings.update(delivery={"ack_timeout": "800ms", "mark_interval": "100ms"}, outbox={"lease": "1s"})
        return settings

    def setUp(self):
        super().setUp()
        self.one = self.writer("one")

    def write(self, rows=ROWS, keys=40):
        self.one.copy(rows, keys=keys).commit()

    def ids(self):
        """Of what the stream holds, in its order: message ids."""
        return [message.msg_id for message in self.stored() if message.msg_id]

    def check_order(self, but=0):
        """All that was committed is stored, once, in the order of ids; but for so many dead letters."""
        self.wait_settled()
        written = [str(row[0]) for row in self.sql("SELECT message_id FROM boxhaul.outbox ORDER BY id")]
        ids = self.ids()
        self.assertEqual(len(ids), len(written) - but)
        self.assertEqual(ids, [one for one in written if one in set(ids)])



class Order(OwnedTest):
    def test_all_keys_in_one_order(self):
        self.start_relay()
        self.write()
        self.check_order()

    def test_one_key(self):
        self.start_relay()
        self.write(keys=1)
        self.check_order()

    def test_kill9_of_the_relay(self):
        relay = self.start_relay()
        for n in range(1, 4):
            self.write()
            self.wait(lambda n=n: self.count() > (n - 1) * ROWS + 200, "some of it to be stored")
            relay.kill9()
            relay.start()
        self.check_order()

    def test_kill9_of_the_broker(self):
        relay = self.start_relay()
        for n in range(1, 4):
            self.write()
            self.wait(lambda n=n: self.count() > (n - 1) * ROWS + 200, "some of it to be stored")
            self.nats.kill9()
            self.nats.start()
            relay.wait_until_ready()
        self.check_order()

    def test_a_broker_that_is_silent(self):
        """What it has in its socket is stored when it goes on; by then it was taken for lost."""
        self.start_relay()
        for n in range(1, 3):
            self.write()
            self.wait(lambda n=n: self.count() > (n - 1) * ROWS + 200, "some of it to be stored")
            self.nats.pause()
            time.sleep(2)
            self.nats.resume()
        self.check_order()

    def test_under_load_per_key(self):
        """Many producers at once: of a key in order, and nothing lost or twice."""
        relay = self.start_relay()
        self.open_shop()
        for _ in range(2):
            self.let_trade(400)
            relay.kill9()
            self.let_trade(100)
            relay.start()
        self.audit()


class Zombies(OwnedTest):
    def test_a_frozen_leader_that_goes_on(self):
        """The leader is frozen with a window in flight, its session is taken away, the other one leads; then the first goes on."""
        leader, standby = self.start_relay(), self.start_relay()
        for _ in range(2):
            leads = len(self.leads())
            before = self.count()
            self.write()
            self.wait(lambda before=before: self.count() > before + 200, "some of it to be stored")
            frozen = self.wait_for_leader()
            frozen.pause()
            self.terminate_leader()
            self.wait(lambda leads=leads: len(self.leads()) > leads, "the other one to lead")
            self.write(200)
            frozen.resume()
        self.assertIn(frozen, (leader, standby))
        self.check_order()


class Poison(OwnedTest):
    def test_in_the_middle(self):
        """The chain goes on behind a dead letter: what stands behind it was refused with it, and is stored in its order."""
        with self.jetstream() as jetstream:
            jetstream.create(STREAM, ["orders.>"], max_msg_size=5000)
        self.start_relay()
        self.one.copy(300, keys=10)
        self.one.write("k", note="x" * 8000)
        self.one.copy(300, keys=10)
        self.one.commit()
        self.check_order(but=1)
        self.assertEqual(self.sql("SELECT count(*) FROM boxhaul.dead_letter"), [(1,)])


class Foreign(OwnedTest):
    def publish(self):
        with self.jetstream() as jetstream:
            return jetstream.publish("orders.foreign", b"not ours")["seq"]


    def test_it_stops_until_it_was_paused_and_resumed(self):
        relay = self.start_relay()
        self.write(300)
        self.check_order()
        self.publish()
        self.write(300)
        self.wait(lambda: "somebody else has published to a stream that is owned" in relay.log_tail(200), "it to be said")
        self.assertEqual(self.count(), 301)
        self.assertIn("somebody else has published to the stream, which is owned", str(self.status(relay)))
        for command in ("pause", "resume"):
            done = relay.command(command)
            self.assertEqual(done.returncode, 0, done.stdout)
        self.check_order()

    def test_under_load(self):
        """It takes the place of one of ours, or comes when all is stored: it is found with the next one, and nothing is lost or stored twice."""
        relay = self.start_relay()
        self.write()
        self.wait(lambda: self.count() > 200, "some of it to be stored")
        self.publish()
        self.write(300)
        self.wait(lambda: "somebody else has published to a stream that is owned" in relay.log_tail(200), "it to be said")
        for command in ("pause", "resume"):
            done = relay.command(command)
            self.assertEqual(done.returncode, 0, done.stdout)
        self.wait_settled()
        self.assertEqual(len(set(self.ids())), ROWS + 300)
        self.assertEqual(self.count(), ROWS + 301)


class ForeignPasses(OwnedTest):
    foreign = "pass"

    def test_it_is_only_said(self):
        relay = self.start_relay()
        self.write(300)
        self.check_order()
        with self.jetstream() as jetstream:
            jetstream.publish("orders.foreign", b"not ours")
        self.write(300)
        self.check_order()
        self.wait(lambda: "somebody else has published to a stream that is owned" in relay.log_tail(200), "it to be said")


class Check(OwnedTest):
    def test_a_letter_that_would_hold_all(self):
        relay = self.add_relay(delivery={"poison": "hold"})
        self.assertIn("would stop all of it behind one dead letter: use \"skip\"", relay.command("check").stdout)
        self.start_relay(delivery={"poison": "skip"})
        self.write(300)
        self.check_order()

    def test_a_stream_that_loses_messages(self):
        with self.jetstream() as jetstream:
            jetstream.create(STREAM, ["orders.>"], max_msgs_per_subject=1)
        done = self.add_relay().command("check")
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn("it is owned, and loses messages one by one", done.stdout)
        with self.jetstream() as jetstream:
            jetstream.delete(STREAM)
            jetstream.create(STREAM, ["orders.>"])
        self.assertIn("owned: all of it in one order", self.add_relay().command("check").stdout)


del OwnedTest, FaultTest

if __name__ == "__main__":
    unittest.main()
