"""What is said of the inbox: one verdict, the same words on the port, in `status` and in `inbox show`; figures; and the command that goes
on, which does."""

import json
import re
import subprocess
import unittest

from harness import STREAM
from test_inbox_take import NAME, TakeTest as _TakeTest


class Watched(_TakeTest):
    def say(self, relay, *words):
        done = relay.command(*words)
        self.assertEqual(done.returncode, 0, done.stdout)
        return done.stdout

    def told(self, relay):
        return self.status(relay)["subscriptions"][0]

    def wait_state(self, relay, state, pattern=""):
        """Until it is in this state and its summary says that. What is not connected yet is stalled, too; and a relay knows what it
        has looked at last."""
        status = {}

        def said():
            status.clear()
            status.update(self.status(relay))
            return status.get("state") == state and re.search(pattern, status["summary"])
        self.wait(said, lambda: f"the state to be {state}, and {pattern!r} in {status.get('summary')!r}")
        return status

    def wait_figures(self, relay, **figures):
        self.wait(lambda: {name: self.figure(relay, name) for name in figures} == figures, f"the figures to be {figures}")

    def figure(self, relay, name):
        """None: it is not known (yet)."""
        found = re.search(rf'(?m)^boxhaul_inbox_{name}{{subscription="{NAME}"}} (\S+)$', relay.get("/metrics")[1])
        return found and float(found.group(1))

    def follow(self, action):
        """Runs the command that stands in an action, as it stands there."""
        words = re.search(r"`boxhaul ([^`]*)`", action).group(1).split()
        done = subprocess.run([self.program, *words, "--yes"] if words[1] in ("accept-gap", "rewind") else [self.program, *words],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)

    def work(self, fail=()):
        """One turn of a worker: handles what there is; those that are named fail."""
        with self.pg.connect(self.database) as connection:
            connection.autocommit = False
            with connection.cursor() as cursor:
                cursor.execute("SELECT subscription, lane, id, payload FROM boxhaul.receive(%s, 100)", (NAME,))
                rows = cursor.fetchall()
                bad = [row for row in rows if bytes(row[3]) in fail]
                if rows and not bad:
                    cursor.execute("SELECT boxhaul.done(%s)", (NAME,))
            if not rows or bad:
                connection.rollback()
        for row in bad:
            self.sql("SELECT boxhaul.failed(%s, %s, %s, 'this one is bad')", row[:3])
        return len(rows)

    def test_what_waits(self):
        relay = self.start_taker()
        self.publish(5)
        self.wait_taken()
        self.wait(lambda: self.told(relay)["waiting"] == 5, "the figures")
        told = self.told(relay)
        self.assertEqual((told["name"], told["stream"], told["leader"], told["stop"], told["position"], told["taken_total"]),
                         (NAME, STREAM, True, "none", 5, 5))
        self.assertGreater(told["oldest_unhandled_seconds"], 0)
        self.assertEqual((self.figure(relay, "waiting"), self.figure(relay, "lag_messages"), self.figure(relay, "stopped")), (5, 0, 0))
        self.assertIn("Taking; 5 messages wait to be handled", self.status(relay)["summary"])
        self.assertRegex(self.say(relay, "status"), rf"(?m)^inbox +{NAME} from {STREAM}: position 5, 0 in the stream not taken; 5 wait")
        while self.work():
            pass
        self.wait(lambda: self.status(relay)["summary"] == "All that was taken is handled", "all to be handled")

    def test_a_gap(self):
        relay = self.start_taker()
        self.publish(3)
        self.wait_taken()
        self.assertEqual(relay.stop(), 0)
        self.publish(5)
        with self.jetstream() as js:
            js.purge(STREAM)
        self.publish(2)
        relay.start()
        told = self.wait_state(relay, "stalled", "has stopped at a gap: sequences 4 to 8 left stream ORDERS before they were taken")
        self.assertEqual(relay.get("/readyz")[0], 503)
        self.assertIn("at a gap", relay.get("/readyz")[1])
        self.assertEqual((self.figure(relay, "stopped"), self.told(relay)["stop"]), (1, "gap"))
        self.assertEqual(json.loads(self.say(relay, "inbox", "show", NAME, "--json"))["summary"], told["summary"])
        self.assertTrue(self.say(relay, "status").startswith(told["summary"]))
        self.follow(told["action"])
        self.wait_state(relay, "ok")
        self.wait(lambda: self.taken() == 5, "the two behind the gap")
        self.assertEqual(self.look("lost"), 5)

    def test_the_lag_grows_while_nothing_is_taken(self):
        """An alert on it fires, whatever keeps it: an operator, or a database that is away."""
        relay = self.start_taker()
        self.publish(1)
        self.wait_taken()
        self.wait(lambda: self.told(relay)["lag_seconds"] == 0, "it to be level with the stream")
        self.say(relay, "inbox", "pause", NAME)
        self.publish(1)
        self.wait(lambda: (self.told(relay)["lag_seconds"] or 0) > 1, "the lag to grow")
        self.say(relay, "inbox", "resume", NAME)
        self.wait(lambda: self.told(relay)["lag_seconds"] == 0, "it to be level again")
        self.pg.stop()
        self.publish(1)
        self.wait(lambda: (self.told(relay)["lag_seconds"] or 0) > 1, "the lag to grow")
        self.pg.start()
        self.wait_taken()
        self.wait(lambda: self.told(relay)["lag_seconds"] == 0, "it to be level again")
        self.assertEqual(self.figure(relay, "lag_seconds"), 0)
        self.assertIsNone(self.told(self.add_taker().start().wait_until_ready())["lag_seconds"], "of who stands by")

    def test_no_consumer_to_be_had(self):
        """It is tried again for ever, for others may make room; and that is said."""
        with self.jetstream() as js:
            js.delete(STREAM)
            js.create(STREAM, ["orders.>"], max_consumers=1, num_replicas=self.nats.replicas)
            js.call(f"CONSUMER.CREATE.{STREAM}.other", {"stream_name": STREAM, "config": {"name": "other", "ack_policy": "none",
                                                                                         "inactive_threshold": 600_000_000_000}})
        relay = self.add_taker().start()
        self.wait_state(relay, "stalled", rf"^Subscription {NAME} takes nothing, for no consumer of stream {STREAM} works: .*maximum consumers")
        self.assertEqual(relay.get("/readyz")[0], 503)
        with self.jetstream() as js:
            js.call(f"CONSUMER.DELETE.{STREAM}.other")
        self.publish(3)
        self.judge()
        self.wait(lambda: self.status(relay)["state"] == "ok", "it to be well")

    def test_a_message_that_looks_like_a_status(self):
        """libnats gives it to nobody, but says that no consumer is there: it is told of, and what stands in the way can be deleted."""
        self.publish(1)
        with self.jetstream() as js:
            js.publish("orders.paid", b"", {"Status": "503"})
        relay = self.start_taker()
        self.wait_state(relay, "stalled", f"no consumer of stream {STREAM} works: the consumer: nobody answers under its name")
        with self.jetstream() as js:
            js.delete_message(STREAM, 2)
        self.publish(2)
        self.judge()

    def test_what_fails(self):
        relay = self.start_taker(max_attempts=1, lanes=1)
        self.publish(1, key="bad")
        self.publish(3, key="bad")
        self.publish(2, key="good")
        self.wait_taken()
        self.work(fail=[b"m1"])
        while self.work():
            pass
        self.wait_figures(relay, held=1, parked=4, waiting=4)
        told = self.wait_state(relay, "degraded", r"^Subscription billing: row 1 \(key bad\) is held: this one is bad; 4 wait parked")
        self.assertEqual(self.told(relay)["blocked"], {"id": 1, "key": "bad", "state": "held", "error": "this one is bad"})
        self.assertEqual(relay.get("/readyz")[0], 200)
        self.assertIn(told["summary"], self.say(relay, "status"))
        self.assertTrue(self.say(relay, "inbox", "show", NAME).startswith(told["summary"]))
        self.sql("SELECT boxhaul.inbox_skip(%s, 1)", (NAME,))
        while self.work():
            pass
        self.wait(lambda: "1 message was given up" in self.status(relay)["summary"], "the dead letter to be told of")
        self.assertEqual(self.figure(relay, "dead_letters"), 1)

    def test_without_a_relay(self):
        """The database alone tells of a pause, and of what it is about."""
        relay = self.start_taker()
        self.publish(1)
        self.wait_taken()
        self.say(relay, "inbox", "pause", NAME)
        self.wait_state(relay, "degraded", "is paused")
        self.assertEqual(relay.stop(), 0)
        told = json.loads(self.say(relay, "status", "--json"))
        self.assertIn("is paused: nothing is taken or handed out", told["summary"])
        self.follow(told["action"])
        self.assertNotIn("paused", json.loads(self.say(relay, "status", "--json"))["summary"])

    def test_a_handler_that_is_not_there(self):
        relay = self.add_taker(handler="public.nobody").start()
        self.publish(1)
        self.wait_state(relay, "stalled", "^The handler of subscription billing cannot be called: ")
        self.sql("CREATE FUNCTION nobody(r boxhaul.inbox) RETURNS void LANGUAGE sql AS ''")
        self.wait_state(relay, "ok")
        self.wait_figures(relay, handled_total=1)


if __name__ == "__main__":
    unittest.main()
