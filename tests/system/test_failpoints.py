"""At every step between a committed row and a truncated slot the relay dies, freezes, or is told that the step failed;
and each time all that was committed is stored, once and in order."""

import signal
import time
import unittest

from harness import RELAY, STREAM, UNDRAINED
from shop import Habits
from strikes import QUICK, StruckTest

ACTIONS = ("kill", "stall", "error")
ENDS = ("drained", "resigned")  # where the relay was told to stop


class Failpoints(StruckTest):
    """One victim after the other, on one database whose slots are truncated all the time."""

    def test_each_with_each_action(self):
        points = self.failpoints()
        self.assertGreater(len(points), 12)
        self.migrate(**QUICK)
        self.turns = struck = committed = 0
        for point in points:
            for action in ACTIONS:
                with self.subTest(f"{point}={action}"):
                    try:
                        committed += self.strike_and_recover(point, action).committed
                        struck += 1
                    finally:
                        self.clear_away()
        self.start_relay(**QUICK)
        self.wait(lambda: self.sql("SELECT count(*) FROM boxhaul.outbox") == [(0,)], "every slot to be truncated")
        print(f"failpoints={len(points)} struck={struck} committed={committed}")

    def test_stalled_in_the_middle_of_a_window(self):
        """A turn makes a window, and writes it in pieces. In its middle the relay stands still until its lease is over, another one has sent the
        rest, and the stream has forgotten what it would drop as a repeat: of what is made after that nothing is written."""
        self.failpoints()
        settings = {**QUICK, "delivery": {**QUICK["delivery"], "queue": 1024, "window": 512}}
        self.migrate(**settings)
        with self.jetstream() as jetstream:
            jetstream.create(STREAM, ["orders.>"], duplicate_window=100_000_000)
            self.sql("INSERT INTO boxhaul.outbox (subject, payload) SELECT 'orders.paid', convert_to(repeat('x', 2000), 'UTF8') FROM generate_series(1, 400)")
            victim = self.strike("handed_over", "stall", 200, **settings)
            self.assertGreater(jetstream.count(STREAM), 0, "the first pieces of the window")
            self.depose()
            self.add_relay(**settings).start()
            self.wait(lambda: jetstream.count(STREAM) >= 400, "the other one to send what is left")
            self.wait_settled()
            time.sleep(1)  # the stream forgets
            victim.resume()
            self.wait(lambda: self.status(victim)["role"] == "standby", "the victim to know that it leads no more")
            self.assertEqual(jetstream.count(STREAM), 400)

    def strike_and_recover(self, point, action):
        """The victim meets its fate while the shop trades; then it, or a fresh relay, brings everything home."""
        self.trade()
        victim = self.strike(point, action)
        if action == "stall":
            self.depose()
        if action != "error" or point in ENDS:
            self.add_relay(**QUICK).start()
        self.trade()
        if action == "stall":
            # The lead is another's, and so is everything in hand. Nor may the one that wakes up do harm.
            self.wait(self.is_led, "another relay to lead")
            victim.resume()
        self.let_trade(20)
        result = self.audit()
        self.check_end(victim, point, action)
        return result

    def check_end(self, victim, point, action):
        """Nobody crashed: dead by our hand, ended as it was told, or at work."""
        if action == "kill":
            self.assertEqual(victim.returncode, -signal.SIGKILL)
        elif point in ENDS:
            self.assertEqual(victim.wait(), UNDRAINED if (point, action) == ("resigned", "error") else 0)
        else:
            victim.wait_until_ready()

    # -- parts

    def trade(self):
        self.turns += 1
        self.open_shop(clients=3, habits=Habits(pause=0.005, slow_seconds=0.2), orders=20, name=f"turn{self.turns}-")

    def depose(self):
        """End the sessions of a relay that cannot know it. (A terminate that waits for it came with PostgreSQL 14.)"""
        theirs = f"usename = '{RELAY}'"
        for pid in self.pg.backends(theirs):
            self.sql("SELECT pg_terminate_backend(%s)", (pid,))
        self.wait(lambda: not self.pg.backends(theirs), "the sessions to end")

    def is_led(self):
        return self.sql("SELECT EXISTS (SELECT FROM pg_locks JOIN pg_stat_activity USING (pid) "
                        "WHERE locktype = 'advisory' AND granted AND usename = %s)", (RELAY,))[0][0]

    def clear_away(self):
        """For the next victim: no relay, no shop, an empty stream; the database goes on as it is."""
        self.nats.resume()
        for relay in self.relays:
            relay.kill9()
        self.close_shops()
        self.relays.clear()
        self.shops.clear()
        with self.jetstream() as jetstream:
            if jetstream.count(STREAM):
                jetstream.purge(STREAM)


if __name__ == "__main__":
    unittest.main()
