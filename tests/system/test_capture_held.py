"""poison = "hold": a change that can never be stored holds back what follows with the same key, until somebody redrives or discards it."""

import json
import unittest

from captures import NAME, STREAM, CaptureTest

HELD, FREE = 7, 8  # ids of orders
SMALL = 100_000  # bytes that the stream takes
LARGE = "x" * 2 * SMALL


class HeldTest(CaptureTest):
    """A stream that takes small messages alone."""

    tables, orders = ["legacy.orders"], 10

    def start_small(self, **capture):
        relay = self.start_capture({"order": "key", "poison": "hold", "snapshot": "none", **capture})
        self.limit(SMALL)
        return relay

    def limit(self, most):
        """Bytes of a message at most; -1: any number."""
        with self.jetstream() as jetstream:
            jetstream.update(STREAM, max_msg_size=most)

    def change(self, number, customer):
        self.sql("UPDATE legacy.orders SET customer = %s WHERE id = %s", (customer, number))

    def hold(self, relay, behind=3):
        """The second change of a key is too large; so many follow."""
        self.change(HELD, "before")
        self.change(HELD, LARGE)
        for n in range(behind):
            self.change(HELD, f"behind {n}")
        self.change(FREE, "free")
        self.wait_held(1, behind + 1)

    def wait_held(self, held, carried):
        self.wait(lambda: self.carried() == (held, carried), f"{held} to be held, and {carried} carried", progress=self.progress)

    def carried(self):
        return self.sql("SELECT count(*) FILTER (WHERE held), count(*) FROM boxhaul.capture_carried")[0]

    def letters(self, held=True):
        return [n for (n,) in self.sql("SELECT id FROM boxhaul.capture_letter WHERE held = %s ORDER BY id", (held,))]

    def customers(self, number):
        """In the order in which they stand in the stream."""
        found = [json.loads(m.payload) for m in self.stored(STREAM)]
        return [e["row"]["customer"] for e in found if e["op"] == "u" and e["key"] == {"id": number}]

    def decide(self, relay, what):
        """Not before the transaction is marked, which is what others wait for, too."""
        self.wait_confirmed()
        (letter,) = self.letters()
        return self.say(relay, "capture", what, str(letter))


class Held(HeldTest):
    def test_discarded(self):
        relay = self.start_small()
        self.hold(relay)
        self.wait_confirmed()  # the log is not held back
        self.assertEqual((self.customers(HELD), self.customers(FREE)), (["before"], ["free"]))
        said = self.say(relay, "capture", "status", NAME)
        self.assertIn("1 dead letter holds back what follows with the same key", said)
        self.assertIn("4; of these 1 dead letter that holds its key", said)
        self.wait(lambda: "1 dead letter holds back what follows with the same key" in relay.get("/status")[1], "it to be said")
        self.assertIn('boxhaul_capture_held{capture="shop"} 1', relay.get("/metrics")[1])
        self.assertIn("larger than", self.say(relay, "capture", "dead-letters", NAME))
        self.assertIn("given up", self.decide(relay, "discard"))
        self.wait_held(0, 0)
        self.assertEqual(self.customers(HELD), ["before"] + [f"behind {n}" for n in range(3)])
        self.assertEqual(self.letters(), [])

    def test_redriven(self):
        relay = self.start_small()
        self.hold(relay)
        self.assertIn("sent again, in its old place", self.decide(relay, "redrive"))
        self.wait(lambda: len(self.letters()) == 1, "it to be held once more", progress=self.progress)
        self.limit(-1)
        self.decide(relay, "redrive")
        self.wait_held(0, 0)
        self.assertEqual(self.customers(HELD), ["before", LARGE] + [f"behind {n}" for n in range(3)])
        self.assertEqual((self.letters(), self.letters(held=False)), ([], []))

    def test_given_up(self):
        relay = self.start_small()
        self.hold(relay)
        self.wait_confirmed()
        ((first,),) = self.sql("SELECT ordinal FROM boxhaul.capture_carried WHERE held")
        self.say(relay, "capture", "give-up", NAME, str(first))
        self.wait_held(0, 0)
        self.assertEqual(self.customers(HELD), ["before"] + [f"behind {n}" for n in range(3)])
        (letter,) = self.letters(held=False)
        self.assertEqual(self.letters(), [])
        said = self.say(relay, "capture", "redrive", str(letter), status=1)
        self.assertIn("does not hold its key", said)
        self.assertIn("boxhaul capture resync NAME", said)

    def test_killed_and_taken_over(self):
        """Whatever the relay dies over: each change once, in its order, and nothing of the key before somebody has decided."""
        relay = self.start_small()
        self.change(HELD, "before")
        self.change(HELD, LARGE)
        relay.kill9()  # parked or not, carried or not
        for n in range(50):
            self.change(HELD, f"behind {n}")
        relay.start()
        self.wait_held(1, 51)
        relay.kill9()
        relay.start()
        self.change(HELD, "behind 50")
        self.wait_held(1, 52)
        self.wait_confirmed()
        self.assertEqual(self.customers(HELD), ["before"])
        relay.kill9()
        self.sql("SELECT boxhaul.capture_discard(id) FROM boxhaul.capture_letter WHERE held")  # nobody leads
        relay.start()
        self.wait(lambda: len(self.customers(HELD)) > 5, "some of it to be sent", progress=self.progress)
        relay.kill9()
        relay.start()
        self.wait_held(0, 0)
        self.wait_confirmed()
        self.assertEqual(self.customers(HELD), ["before"] + [f"behind {n}" for n in range(51)])

    def test_skipped_instead(self):
        """Where nobody can decide: what is not marked is read again, and becomes a letter that holds nothing."""
        relay = self.start_small()
        self.hold(relay)
        self.wait_confirmed()
        relay.stop()
        relay.configure({**relay.settings, "capture": [{**relay.settings["capture"][0], "poison": "skip"}]})
        relay.start()
        self.change(FREE, LARGE)
        self.change(FREE, "behind")
        self.wait(lambda: self.customers(FREE) == ["free", "behind"], "the key to go on", progress=self.progress)
        self.wait_confirmed()  # its letter is written with a mark
        self.assertEqual((len(self.letters()), len(self.letters(held=False))), (1, 1))  # who holds goes on to do so
        self.decide(relay, "discard")
        self.wait_held(0, 0)

    def test_not_in_commit_order(self):
        relay = self.add_capture({"poison": "hold"})
        said = relay.command("check").stdout
        self.assertIn('poison = "hold" would stop all of it behind one dead letter: use "skip", or order = "key"', said)
        relay = self.add_capture({"poison": "hold", "order": "key"})
        self.assertNotIn("would stop all of it", relay.command("check").stdout)

    def test_a_row_that_was_there(self):
        """Of a snapshot, too; and nobody has to write before it can be decided about."""
        self.sql("UPDATE legacy.orders SET customer = %s WHERE id = %s", (LARGE, HELD))
        with self.jetstream() as jetstream:
            jetstream.create(STREAM, ["cdc.>"], max_msg_size=SMALL)
        relay = self.start_capture({"order": "key", "poison": "hold"})
        self.wait_held(1, 1)
        self.decide(relay, "discard")
        self.wait_held(0, 0)
        self.wait(lambda: self.sql("SELECT state FROM boxhaul.capture_table WHERE tab = 'legacy.orders'") == [("complete",)], "the rows to be read",
                  progress=self.progress)


del HeldTest

if __name__ == "__main__":
    unittest.main()
