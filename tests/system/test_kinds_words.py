"""One verdict: six places say the same words, while things break."""

import json
import re
import unittest

from words import WordsTest

HEALTH = {"stall_after": "3s"}


class SameWords(WordsTest):
    def insert(self, count=1, subject="orders.x", key="k"):
        self.sql("INSERT INTO boxhaul.outbox (subject, key, payload) SELECT %s, %s, 'x' FROM generate_series(1, %s)",
                 (subject, key, count))

    def outside(self, relay):
        """What `status` says where no relay answers at this machine's port: from the database alone."""
        other = self.add_relay(streams=relay.settings["streams"])
        return other.command("status").stdout.split("\n")[0]

    def outside_says(self, relay, words):
        """The relay knows before its books do: what it holds is written with its next mark."""
        seen = {}

        def said():
            seen["outside"] = self.outside(relay)
            return seen["outside"].startswith(words)
        self.wait(said, lambda: f"{seen} to say {words!r}", pause=0.3)

    def test_all_is_well_then_paused(self):
        relay = self.start_told()
        self.insert(3)
        self.same_words(relay, "^All is delivered$")
        self.outside_says(relay, "All is delivered")
        self.sql("SELECT boxhaul.pause('ops', 'to look at it')")
        self.insert(2)
        words = self.same_words(relay, "^Paused by ops since .*: to look at it: nothing is sent; 2 messages wait")
        self.outside_says(relay, words[:40])

    def test_dead_letters(self):
        relay = self.start_told(delivery={"poison": "hold"})
        self.insert_illegal("k")
        words = self.same_words(relay, "^1 dead letter holds back what follows with the same key$")
        self.outside_says(relay, words)
        self.assertEqual(relay.command("dead-letters", "discard", "--yes", "1").returncode, 0)
        self.same_words(relay, "^All is delivered$")

    def test_a_database_that_is_away(self):
        relay = self.start_told()
        self.insert(3)
        self.same_words(relay, "^All is delivered$")
        self.pg.stop()
        self.same_words(relay, "^PostgreSQL is not connected: ")
        self.pg.start()
        self.same_words(relay, "^All is delivered$")

    def test_a_broker_that_is_away(self):
        relay = self.start_told()
        self.same_words(relay, "^All is delivered$")
        self.nats.stop()
        self.same_words(relay, "^NATS is not connected: ")
        self.nats.start()
        self.same_words(relay, "^All is delivered$")

    def test_a_leader_that_does_not_mark(self):
        """One that hangs holds the lead and says nothing: what is seen from outside is the books."""
        relay = self.start_told()
        self.insert(1)
        self.same_words(relay, "^All is delivered$")
        relay.pause()
        try:
            self.insert(3)
            words = {}

            def said():
                words["status"] = relay.command("status").stdout.split("\n")[0]
                words["outside"] = self.outside(relay)
                machine = relay.command("status", "--json").stdout.splitlines()[-1]
                words["status --json"] = json.loads(machine)["summary"]
                return all(re.match(r"Nothing has moved for \d+.*: 3 messages wait.*; the leader \(.* on .*, process "
                                    rf"{relay.pid}\) does not mark", w) for w in words.values())
            self.wait(said, lambda: f"{words} to say that the leader does not mark")
        finally:
            relay.resume()
        self.same_words(relay, "^All is delivered$")
        self.wait_for_messages(4)

    def test_what_no_stream_takes(self):
        relay = self.start_told()
        self.insert(2, "bills.x")
        words = self.same_words(relay, "^2 messages are held: no stream of the configuration takes their subjects$")
        self.outside_says(relay, words)

    def test_what_no_stream_takes_and_what_mends_it(self):
        relay = self.start_told()
        self.insert(2, "bills.x")
        self.insert(1, "orders.x", "other")
        self.wait_for_messages(1)
        self.assertEqual(self.metric(relay, "unrouted_messages"), 2)
        self.sql("UPDATE boxhaul.outbox SET subject = 'orders.y' WHERE id = 1")  # as the runbook says
        self.sql("DELETE FROM boxhaul.outbox WHERE id = 2")
        self.wait(lambda: self.sql("SELECT count(*) FROM boxhaul.exceptions WHERE kind = 'parked'") != [(0,)], "the mark")
        self.assertEqual(relay.stop(), 0)
        self.start_told(relay)
        self.wait_for_messages(2)
        self.wait_settled()
        self.same_words(relay, "^All is delivered$")

    def test_a_stream_that_was_made_anew(self):
        relay = self.start_told()
        self.insert(5)
        self.wait_for_messages(5)
        self.wait_settled()
        with self.jetstream() as jetstream:
            jetstream.delete("ORDERS")
            jetstream.create("ORDERS", ["orders.>"])
        self.insert(1)
        self.wait_for_messages(1)
        words = "^Stream ORDERS was made anew, or has lost its end, .* ago: what was sent before may be gone from it$"
        self.same_words(relay, words)
        self.assertEqual(relay.get("/readyz")[0], 200)
        action = self.status(relay)["action"]
        self.assertIn(f"boxhaul reconcile -c {relay.config}", action)
        self.assertIn(f"boxhaul replay --missing -c {relay.config}", action)
        self.assertIn('boxhaul_stream_lost{stream="ORDERS"} 1', relay.get("/metrics")[1])
        done = relay.command("reconcile")
        self.assertEqual((done.returncode, "missing=5" in done.stdout), (1, True), done.stdout)
        done = relay.command("replay", "--missing", "--yes")
        self.assertEqual(done.returncode, 0, done.stdout)
        self.wait_for_messages(6)

    def test_a_stream_that_was_made_anew_while_no_relay_ran(self):
        relay = self.start_told()
        self.insert(5)
        self.wait_for_messages(5)
        self.wait_settled()
        self.assertEqual(relay.stop(), 0)
        with self.jetstream() as jetstream:
            jetstream.delete("ORDERS")
        self.start_told(relay)
        self.same_words(relay, "^Stream ORDERS was made anew")

    def test_a_hot_key(self):
        relay = self.add_told(delivery={"window": 1})
        self.insert(250000, key="hot")
        self.insert(10, key="other")
        self.start_told(relay)
        words = self.same_words(relay, "^Delivering: .* messages wait, .*; most have the key hot and go one after the other$")
        self.assertIn("most have the key hot", self.outside(relay), words)


class Backlog(WordsTest):
    """Rows that come into view among the missing ids wait like any other."""

    ROWS = 40000  # four times what is counted one by one: boxhaul.appeared()

    def test_a_bulk_insert_beside_other_writers(self):
        """Looked at where it stands still, and as it moves: there each figure lies between what waited before and after the look."""
        relay = self.start_told(delivery={"window": 1})
        bulk = self.connect()
        bulk.autocommit = False
        cursor = bulk.cursor()
        for n in range(20):  # ids of others between its own
            cursor.execute("INSERT INTO boxhaul.outbox (subject, key, payload) SELECT 'orders.x', 'b' || n, 'x' "
                           "FROM generate_series(1, %s) n", (self.ROWS // 20,))
            self.sql("INSERT INTO boxhaul.outbox (subject, key, payload) VALUES ('orders.x', 'other', 'x')")
        self.wait_for_messages(20)
        self.wait(lambda: self.sql("SELECT sum(hi - lo + 1) FROM boxhaul.exceptions WHERE kind = 'missing'") == [(self.ROWS,)],
                  "the position to pass them")
        self.act(relay, "pause")
        bulk.commit()
        bulk.close()
        for part in (1, 2):
            self.look_at_rest(relay)
            self.act(relay, "resume")
            self.look_until(relay, part * self.ROWS // 4)
            self.act(relay, "pause")
        self.look_at_rest(relay)
        self.act(relay, "resume")
        self.wait_for_messages(self.ROWS + 20)
        self.wait_settled()
        self.same_words(relay, "^All is delivered$")
        self.assertEqual(self.metric(relay, "backlog_messages"), 0)

    def act(self, relay, word):
        """`boxhaul pause` returns when nothing is in flight."""
        done = relay.command(word)
        self.assertEqual(done.returncode, 0, done.stdout)

    def waiting(self):
        return self.ROWS + 20 - self.count()

    def figures(self, relay):
        """What the relay says, and what the books say to the command."""
        return (self.metric(relay, "backlog_messages"), json.loads(relay.command("status", "--json").stdout)["waiting"],
                relay.command("status").stdout)

    def look_at_rest(self, relay):
        """Nothing is sent: the figures have all the time there is to become right."""
        waits, seen = self.waiting(), []

        def right():
            seen[:] = self.figures(relay)
            return all(waits / 2 <= figure <= waits * 2 for figure in seen[:2]) and "held back" not in seen[2]
        self.wait(right, lambda: f"{seen} to say that {waits} wait")
        self.assertEqual(self.waiting(), waits)

    def look_until(self, relay, sent):
        """Look on until so many are sent, once at least."""
        after = self.waiting()
        while after > self.ROWS - sent:
            before = after
            metric, status, text = self.figures(relay)
            after = self.waiting()
            for figure in (metric, status):
                self.assertTrue(after / 2 <= figure <= before * 2, (before, after, metric, status, text))
            self.assertNotIn("held back", text)


if __name__ == "__main__":
    unittest.main()
