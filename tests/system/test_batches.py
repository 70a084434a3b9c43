"""Batches (fast ingest): with a nats-server of today a stream gets its messages in batches, each stored in its order and without a hole;
whatever happens in the middle of one, nothing is lost, nothing is stored twice, and each key is in order. With an older server, or a
stream that does not allow them, messages go one by one, and it is said why."""

import os
import re
import signal
import time
import unittest
import unittest.mock

from harness import STREAM
from test_faults import FaultTest

import versions
from servers import Nats

OLD, FROM = "2.12", (2, 14)
ROWS = 3000


def program(wanted):
    """The path of a nats-server; skips the test where there is none to be had."""
    kept = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "build", "matrix")
    os.makedirs(kept, exist_ok=True)
    try:
        given = os.environ.get("NATS_SERVER")
        if wanted == "newest" and given and tuple(map(int, versions.nats(given, kept).version.split(".")[:2])) >= FROM:
            return given
        return versions.nats(wanted, kept).path
    except versions.Unavailable as e:
        raise unittest.SkipTest(str(e)) from None


class BatchTest(FaultTest):
    send = "batch"
    batch_messages = 1000

    @classmethod
    def setUpClass(cls):
        cls.enterClassContext(unittest.mock.patch.dict(os.environ, NATS_SERVER=program("newest")))
        super().setUpClass()

    @classmethod
    def _settings(cls, database):
        settings = super()._settings(database)
        settings["streams"][0].update(send=cls.send, batch_messages=cls.batch_messages)
        settings.update(delivery={"ack_timeout": "800ms", "mark_interval": "100ms"}, outbox={"lease": "1s"})
        return settings

    def setUp(self):
        super().setUp()
        self.one = self.writer("one")

    def write(self, rows=ROWS, keys=40):
        self.one.copy(rows, keys=keys).commit()

    def stream(self, relay):
        """What the relay says of its stream; {} where it says nothing."""
        return (self.status(relay).get("streams") or [{}])[0]

    def wait_for_wire(self, relay, wire):
        self.wait(lambda: self.stream(relay).get("wire") == wire, f"the wire to be {wire}")

    def start_in_batches(self, **groups):
        relay = self.start_relay(**groups)
        self.wait_for_wire(relay, "batch")
        return relay

    def check(self, dead=0):
        """All that was committed is stored once, and each key in order; but for so many dead letters."""
        self.audit()
        self.assertEqual(self.sql("SELECT count(*) FROM boxhaul.dead_letter"), [(dead,)])
        ids = [message.msg_id for message in self.stored() if message.msg_id]
        self.assertEqual(len(ids), len(set(ids)), "stored twice")

    def said(self, relay, words):
        return self.wait(lambda: next((line for line in relay.log_tail(400).splitlines() if words in line), None), f"the words {words}")


class Quiet(BatchTest):
    """Nothing happens."""

    def test_in_one_order(self):
        relay = self.start_in_batches()
        self.write()
        self.check()
        written = [str(row[0]) for row in self.sql("SELECT message_id FROM boxhaul.outbox ORDER BY id")]
        self.assertEqual([message.msg_id for message in self.stored()], written)
        stream = self.stream(relay)
        self.assertGreater(stream["batches_total"], 0)
        self.assertEqual((stream["batches_unclean_total"], stream["batch_uncertain_messages"]), (0, 0))
        self.assertEqual(relay.log_tail(400).count("messages go to the stream in batches"), 1, "it is said once")

    def test_one_key(self):
        relay = self.start_in_batches()
        self.write(keys=1)
        self.check()
        self.assertEqual(self.stream(relay)["batches_unclean_total"], 0)

    def test_times_are_taken(self):
        relay = self.start_in_batches()
        self.write(500)
        self.check()
        metrics = relay.get("/metrics")[1]
        for name in ("ack_seconds", "delivery_seconds"):
            self.assertEqual(re.search(rf"boxhaul_{name}_count (\d+)", metrics)[1], "500")
        self.assertIn(f'boxhaul_stream_batched{{stream="{STREAM}"}} 1', metrics)

    def test_under_load(self):
        relay = self.start_in_batches()
        self.open_shop()
        self.let_trade(1500)
        self.check()
        self.assertEqual(self.stream(relay)["batches_unclean_total"], 0)

    def test_shutdown(self):
        relay = self.start_in_batches()
        for _ in range(3):
            before = self.count()
            self.write()
            self.wait(lambda before=before: self.count() > before, "some of it to be stored")
            self.assertEqual(relay.stop(), 0)
            relay.start().wait_until_ready()
        self.check()

    def test_pause(self):
        relay = self.start_in_batches()
        self.write()
        self.wait(lambda: self.count() > 0, "some of it to be stored")
        self.assertEqual(relay.command("pause").returncode, 0)
        paused = self.count()
        self.write(100)
        self.assertEqual(self.count(), paused)
        self.assertEqual(relay.command("resume").returncode, 0)
        self.check()


class Idle(BatchTest):
    """A batch that is left open is forgotten by this server before the next message comes; and then it would end without its word."""

    nats_settings = {"jetstream": {"limits": {"batch": {"timeout": "50ms"}}}}

    @classmethod
    def setUpClass(cls):
        given = Nats.__init__

        def init(server, directory, survive_us=False, **settings):
            limits = settings.pop("jetstream", {})
            given(server, directory, survive_us=survive_us, **settings)
            server.settings["jetstream"].update(limits)
        cls.enterClassContext(unittest.mock.patch.object(Nats, "__init__", init))
        super().setUpClass()

    def test_no_batch_is_open(self):
        relay = self.start_in_batches()
        for n in range(1, 6):
            self.write(n % 3 + 1)
            self.wait_settled()
            self.wait_asleep()
            time.sleep(0.2)
        self.check()
        self.assertEqual(self.stream(relay)["batches_unclean_total"], 0)


class Crashes(BatchTest):
    batch_messages = 300

    def test_kill9_of_the_relay(self):
        relay = self.start_in_batches()
        for _ in range(3):
            before = self.count()
            self.write()
            self.wait(lambda before=before: self.count() > before + 100, "some of it to be stored")
            relay.kill9()
            relay.start()
        self.check()

    def test_kill9_of_the_broker(self):
        relay = self.start_in_batches()
        for _ in range(3):
            before = self.count()
            self.write()
            self.wait(lambda before=before: self.count() > before + 100, "some of it to be stored")
            self.nats.kill9()
            self.nats.start()
            relay.wait_until_ready()
        self.check()
        self.wait_for_wire(relay, "batch")

    def test_a_broker_that_is_silent(self):
        """What it has in its socket is stored when it goes on."""
        self.start_in_batches()
        for _ in range(2):
            before = self.count()
            self.write()
            self.wait(lambda before=before: self.count() > before + 100, "some of it to be stored")
            self.nats.pause()
            time.sleep(2)
            self.nats.resume()
        self.check()

    def test_elections(self):
        """In a cluster: the leader of the stream steps down in the middle of batches."""
        if self.nats.replicas == 1:
            self.skipTest("one server elects nobody (NATS_NODES=3)")
        relay = self.start_in_batches()
        self.open_shop()
        for _ in range(4):
            self.let_trade(300)
            with self.jetstream() as jetstream:
                jetstream.step_down(STREAM)
        self.let_trade(300)
        self.check()
        self.wait_for_wire(relay, "batch")

    def test_a_standby_takes_over(self):
        leader, _ = self.start_relay(), self.start_relay()
        self.open_shop()
        for n in range(1, 3):
            self.let_trade(400)
            leader = self.wait_for_leader()
            leader.kill9()
            self.let_trade(100)
            self.wait(lambda n=n: len(self.leads()) > n, "the other one to lead")
            leader.start()
        self.check()

    def test_a_backlog_after_a_takeover(self):
        """What an earlier leader may have sent goes by itself, however much it is; what comes later goes in batches again."""
        relay = self.start_in_batches()
        self.write(100)
        self.wait_settled()
        relay.kill9()
        self.write()
        relay.start()
        self.check()
        self.assertEqual(self.stream(relay)["batches_total"], 0, "a batch held what an earlier leader may have sent")
        self.wait(lambda: self.write(200) or self.wait_settled() or self.stream(relay)["batches_total"] > 0, "a batch")
        self.check()

    def test_a_frozen_leader_that_goes_on(self):
        self.start_relay()
        self.start_relay()
        for n in range(1, 3):
            before = self.count()
            self.write()
            self.wait(lambda before=before: self.count() > before + 100, "some of it to be stored")
            frozen = self.wait_for_leader()
            frozen.pause()
            self.terminate_leader()
            self.wait(lambda n=n: len(self.leads()) > n, "the other one to lead")
            self.write(200)
            frozen.resume()
        self.check()


class Owned(BatchTest):
    """The chain of an owned stream inside of batches: one order of all, whatever happens."""
    batch_messages = 300

    @classmethod
    def _settings(cls, database):
        settings = super()._settings(database)
        settings["streams"][0]["owned"] = True
        return settings

    def test_kill9_of_the_broker(self):
        relay = self.start_in_batches()
        for _ in range(2):
            before = self.count()
            self.write()
            self.wait(lambda before=before: self.count() > before + 100, "some of it to be stored")
            self.nats.kill9()
            self.nats.start()
            relay.wait_until_ready()
        self.check()
        written = [str(row[0]) for row in self.sql("SELECT message_id FROM boxhaul.outbox ORDER BY id")]
        self.assertEqual([message.msg_id for message in self.stored()], written)
        self.assertGreater(self.stream(relay)["batches_total"], 0)


class Refused(BatchTest):
    """A message in the middle of a batch is not taken."""

    def create(self, **config):
        with self.jetstream() as jetstream:
            jetstream.create(STREAM, ["orders.>"], **{"allow_batched": True, **config})

    def update(self, **config):
        with self.jetstream() as jetstream:
            jetstream.update(STREAM, **config)

    def test_poison(self):
        """It becomes a dead letter, and those behind it are stored in their order."""
        self.create(max_msg_size=5000)
        self.start_in_batches()
        for _ in range(3):
            self.one.copy(300, keys=10)
            self.one.write("k", note="x" * 8000)
            self.one.copy(300, keys=10)
        self.one.commit()
        self.check(dead=3)

    def test_full(self):
        self.create(max_msgs=500, discard="new")
        relay = self.start_in_batches()
        self.write(1500)
        self.wait(lambda: self.stream(relay).get("blocked"), "it to be full")
        self.assertEqual(self.count(), 500)
        self.update(max_msgs=-1)
        self.check()

    def test_not_allowed(self):
        """The advice, to the letter: and then it goes in batches, without a restart."""
        self.create(allow_batched=False)
        relay = self.start_relay()
        self.write(300)
        self.wait_for_wire(relay, "single")
        line = self.said(relay, "messages go to the stream one by one")
        self.assertIn("allow_batched is off", line)
        self.assertIn("level=warn", line)
        self.assertIn(f"nats stream edit {STREAM} --allow-fast", line)
        done = relay.command("check")
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertRegex(done.stdout, rf"warn  stream {STREAM}: messages go one by one: .*allow_batched is off: "
                                      rf"switch it on: nats stream edit {STREAM} --allow-fast \(in JSON: \"allow_batched\": true\)")
        self.update(allow_batched=True)
        relay.send(signal.SIGHUP)
        self.wait_for_wire(relay, "batch")
        self.write(300)
        self.check()
        self.assertIn(f"ok    stream {STREAM}: messages go in batches of 1000 at most", relay.command("check").stdout)

    def test_switched_off_meanwhile(self):
        self.create()
        relay = self.start_in_batches()
        self.open_shop()
        self.let_trade(300)
        self.update(allow_batched=False)
        self.write()  # more than go by themselves: a batch is begun, and refused
        self.wait_for_wire(relay, "single")
        self.let_trade(300)
        self.said(relay, "allow_batched is off")
        self.check()

    def test_an_ordering_that_batches_do_not_keep(self):
        relay = self.start_relay(delivery={"ordering": "pipelined"})
        self.write(100)
        self.assertIn("delivery.ordering", self.said(relay, "messages go to the stream one by one"))
        line = next(line for line in relay.command("check").stdout.splitlines() if "messages go one by one" in line)
        self.assertIn('set delivery.ordering = "strict"', line)
        relay.stop()
        self.start_in_batches(delivery={"ordering": "strict"})
        self.write(100)
        self.check()

    def test_truncated(self):
        """Purged in the middle of a batch: what was acknowledged is not sent again, what was not is."""
        self.create()
        self.start_in_batches()
        self.write()
        self.wait(lambda: self.count() > 100, "some of it to be stored")
        with self.jetstream() as jetstream:
            jetstream.purge(STREAM)
        self.wait_settled()
        self.assertEqual(self.sql("SELECT count(*) FROM boxhaul.dead_letter"), [(0,)])
        with self.jetstream() as jetstream:
            self.assertEqual(jetstream.info(STREAM)["state"]["last_seq"], ROWS)


class Denied(BatchTest):
    """A login that lacks a right."""

    nats_settings = {"authorization": {"users": [
        {"user": "admin", "password": "p"},
        {"user": "relay", "password": "p", "permissions": {"publish": [">"], "subscribe": ["_INBOX.>"]}}]}}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        plain = cls.nats.url
        cls.nats.url = lambda user="admin", password="p", **more: plain(user=user, password=password, **more)

    def grant(self, publish, subscribe):
        self.nats.stop()
        self.nats.settings["authorization"]["users"][1]["permissions"] = {"publish": publish, "subscribe": subscribe}
        self.nats.start()

    def as_relay(self):
        return {"urls": [self.nats.url("relay", "p")]}

    def test_to_hear_what_is_answered(self):
        """A login that may hear no more than single answers delivers as before; with the right that is named, in batches."""
        self.grant([">"], ["_INBOX.*.q.*", "_INBOX.*.c.*"])
        relay = self.start_relay(nats=self.as_relay())
        self.write(300)
        line = self.said(relay, "messages go to the stream one by one")
        self.assertIn("this login may not subscribe to what is answered to batches", line)
        self.assertIn("let it subscribe to everything under nats.inbox_prefix", line)
        self.check()
        self.grant([">"], ["_INBOX.>"])
        self.wait_for_wire(relay, "batch")
        self.write(300)
        self.check()

    def test_to_publish_to_a_subject(self):
        self.grant({"allow": [">"], "deny": ["orders.secret"]}, ["_INBOX.>"])
        relay = self.start_in_batches(nats=self.as_relay())
        self.one.copy(200, keys=10)
        self.one.write("s", subject="orders.secret")
        self.one.copy(200, keys=10)
        self.one.commit()
        self.wait_for_messages(400)
        self.assertEqual(self.count(), 400)
        self.grant([">"], ["_INBOX.>"])
        self.check()
        self.assertNotEqual(relay.returncode, 1)


class Old(BatchTest):
    """A server that knows no batches."""

    def test_one_by_one_then_upgraded(self):
        with unittest.mock.patch.dict(os.environ, NATS_SERVER=program(OLD)):
            self.nats.restart()
            relay = self.start_relay()
            self.write(300)
            line = self.said(relay, "messages go to the stream one by one")
            self.assertIn("older than 2.14", line)
            self.assertIn("upgrade all servers of the cluster", line)
            self.assertRegex(relay.command("check").stdout, rf"warn  stream {STREAM}: messages go one by one: .*older than 2.14: upgrade")
            self.check()
            self.nats.stop()
        self.nats.start()
        with self.jetstream() as jetstream:
            jetstream.update(STREAM, allow_batched=True)
        relay.send(signal.SIGHUP)
        self.wait_for_wire(relay, "batch")
        self.write(300)
        self.check()


class Auto(BatchTest):
    """What can be done in batches is; and where it cannot, that is no warning."""
    send = "auto"

    def test_where_it_is_off(self):
        relay = self.start_relay()  # creates the stream, without
        self.write(100)
        self.assertIn("level=info", self.said(relay, "messages go to the stream one by one"))
        done = relay.command("check")
        self.assertRegex(done.stdout, rf"ok    stream {STREAM}: messages go one by one: .*; for batches, switch it on: nats stream edit")
        with self.jetstream() as jetstream:
            jetstream.update(STREAM, allow_batched=True)
        relay.send(signal.SIGHUP)
        self.wait_for_wire(relay, "batch")
        self.write(100)
        self.check()


class Default(BatchTest):
    """Nothing is set."""

    @classmethod
    def _settings(cls, database):
        settings = super()._settings(database)
        del settings["streams"][0]["send"], settings["streams"][0]["batch_messages"]
        return settings

    def test_in_batches(self):
        with self.jetstream() as jetstream:
            jetstream.create(STREAM, ["orders.>"], allow_batched=True)
        relay = self.start_in_batches()
        self.write()
        self.check()
        self.assertGreater(self.stream(relay)["batches_total"], 0)

    def test_one_message_goes_by_itself(self):
        """Batch or none, a message that is alone takes one publish and one answer."""
        with self.jetstream() as jetstream:
            jetstream.create(STREAM, ["orders.>"], allow_batched=True)
        relay = self.start_in_batches()
        for _ in range(5):
            self.write(1)
            self.wait_settled()
        self.check()
        self.assertEqual(self.stream(relay)["batches_total"], 0)

    def test_an_older_server(self):
        """Nothing changes, and nothing is warned of."""
        with unittest.mock.patch.dict(os.environ, NATS_SERVER=program(OLD)):
            self.nats.restart()
            relay = self.start_relay()
            self.write(300)
            self.assertIn("level=info", self.said(relay, "messages go to the stream one by one"))
            self.check()
            done = relay.command("check")
            self.assertRegex(done.stdout, rf"ok    stream {STREAM}: messages go one by one: .*older than 2.14")
            self.nats.stop()
        self.nats.start()


class Single(BatchTest):
    send = "single"

    def test_never(self):
        with self.jetstream() as jetstream:
            jetstream.create(STREAM, ["orders.>"], allow_batched=True)
        relay = self.start_relay()
        self.write(300)
        self.check()
        self.assertEqual((self.stream(relay)["wire"], self.stream(relay)["batches_total"]), ("single", 0))
        self.assertIn('one by one: its send is "single"', relay.command("check").stdout)


del BatchTest, FaultTest

if __name__ == "__main__":
    unittest.main()
