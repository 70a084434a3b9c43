"""What a key keeps waiting (order = "key") is carried in the books: the log goes on, its order stays, and nothing of it is lost or doubled."""

import json
import unittest

from captures import NAME, STREAM, CaptureTest

HELD, FREE = 7, 8  # ids of orders


class CarriedTest(CaptureTest):
    """A stream that takes one message of each subject, so that a key waits until its message is consumed."""

    tables, orders = ["legacy.orders"], 10

    def start_full(self, **capture):
        relay = self.start_capture({"subject": "cdc.{table}.{key}", "order": "key", "snapshot": "none", **capture})
        self.limit(1)
        return relay

    def limit(self, most):
        """At most so many messages of a subject; -1: any number."""
        with self.jetstream() as jetstream:
            jetstream.update(STREAM, max_msgs_per_subject=most, discard="new", discard_new_per_subject=most > 0)

    def change(self, number, customer):
        self.sql("UPDATE legacy.orders SET customer = %s WHERE id = %s", (customer, number))

    def carried(self):
        (n,), = self.sql("SELECT count(*) FROM boxhaul.capture_carried")
        return n

    def customers(self, number):
        """In the order in which they stand in the stream."""
        found = [json.loads(m.payload) for m in self.stored(STREAM)]
        return [e["row"]["customer"] for e in found if e["op"] == "u" and e["key"] == {"id": number}]


class Carried(CarriedTest):
    def test_a_key_that_waits_keeps_neither_the_log_nor_others(self):
        relay = self.start_full()
        for n in range(20):
            self.change(HELD, f"held {n}")
        self.change(FREE, "free")
        self.wait(lambda: self.carried() == 19, "the rest of the key to be carried", progress=self.progress)
        self.wait_confirmed()
        self.assertEqual(self.customers(HELD), ["held 0"])
        self.assertEqual(self.customers(FREE), ["free"])
        said = self.say(relay, "capture", "status", NAME)
        self.assertIn("19 changes wait for their key", said)
        self.assertIn("most messages it may for this subject", said)
        self.wait(lambda: "19 changes wait" in relay.get("/status")[1], "it to be said")
        relay.kill9()
        relay.start()
        self.change(HELD, "held 20")
        self.wait(lambda: self.carried() == 20, "what comes behind them to be carried", progress=self.progress)
        self.limit(-1)
        self.wait(lambda: self.carried() == 0, "all of it to be sent", progress=self.progress)
        self.assertEqual(self.customers(HELD), [f"held {n}" for n in range(21)])

    def test_one_is_given_up(self):
        relay = self.start_full()
        for n in range(3):
            self.change(HELD, f"held {n}")
        self.wait(lambda: self.carried() == 2, "the rest of the key to be carried", progress=self.progress)
        (first,), = self.sql("SELECT min(ordinal) FROM boxhaul.capture_carried")
        self.wait_confirmed()  # so their transactions are marked
        self.assertIn("dead letter", self.say(relay, "capture", "give-up", NAME, str(first)))
        self.assertIn("not carried", self.say(relay, "capture", "give-up", NAME, str(first)))
        self.assertIn("given up by", self.say(relay, "capture", "dead-letters", NAME))
        self.limit(-1)
        self.wait(lambda: self.carried() == 0, "the other to be sent", progress=self.progress)
        self.assertEqual(self.customers(HELD), ["held 0", "held 2"])

    def test_killed_in_the_middle(self):
        """Whatever the relay dies over: each change once, in its order."""
        relay = self.start_full()
        for n in range(200):
            self.change(HELD, f"held {n}")
        self.wait(lambda: self.carried() > 20, "much of the key to be carried", progress=self.progress)
        relay.kill9()
        self.limit(-1)
        for n in range(200, 220):
            self.change(HELD, f"held {n}")
        relay.start()
        self.wait(lambda: len(self.customers(HELD)) > 50, "some of it to be sent", progress=self.progress)
        relay.kill9()
        relay.start()
        self.wait(lambda: self.carried() == 0 and len(self.customers(HELD)) >= 220, "all of it to be sent", progress=self.progress)
        self.wait_confirmed()
        self.assertEqual(self.customers(HELD), [f"held {n}" for n in range(220)])


del CarriedTest

if __name__ == "__main__":
    unittest.main()
