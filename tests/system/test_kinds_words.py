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

    def test_all_is_well_then_paused(self):
        relay = self.start_told()
        self.insert(3)
        self.same_words(relay, "^All is delivered$")
        self.assertEqual(self.outside(relay), "All is delivered")
        self.sql("SELECT boxhaul.pause('ops', 'to look at it')")
        self.insert(2)
        words = self.same_words(relay, "^Paused by ops since .*: to look at it: nothing is sent; 2 messages wait")
        self.assertEqual(self.outside(relay)[:40], words[:40])

    def test_dead_letters(self):
        relay = self.start_told(delivery={"poison": "hold"})
        self.insert_illegal("k")
        words = self.same_words(relay, "^1 dead letter holds back what follows with the same key$")
        self.assertEqual(self.outside(relay), words)
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
            self.wait(said, f"{words} to say that the leader does not mark")
        finally:
            relay.resume()
        self.same_words(relay, "^All is delivered$")
        self.wait_for_messages(4)

    def test_what_no_stream_takes(self):
        relay = self.start_told()
        self.insert(2, "bills.x")
        words = self.same_words(relay, "^2 messages are held: no stream of the configuration takes their subjects$")
        self.assertEqual(self.outside(relay), words)

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

    ROWS = 160000

    def test_a_bulk_insert_beside_other_writers(self):
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
        bulk.commit()
        seen = []

        def look():
            waits = self.ROWS + 20 - self.count()
            seen.append((waits, self.metric(relay, "backlog_messages"),
                         json.loads(relay.command("status", "--json").stdout)["waiting"], relay.command("status").stdout))
            return waits < self.ROWS // 2
        self.wait(look, "half of them to be sent", pause=0.2)
        seen = [(waits, metric, status, text) for waits, metric, status, text in seen if self.ROWS // 2 < waits < self.ROWS - 2000]
        self.assertGreater(len(seen), 6)
        for waits, metric, status, text in seen[4:]:  # a moment passes before the relay asks
            for figure in (metric, status):
                self.assertLess(waits / 2, figure, (waits, metric, status, text))
                self.assertLess(figure, waits * 2, (waits, metric, status, text))
            self.assertNotIn("held back", text)
        bulk.close()
        self.wait_for_messages(self.ROWS + 20)
        self.wait_settled()
        self.same_words(relay, "^All is delivered$")
        self.assertEqual(self.metric(relay, "backlog_messages"), 0)


if __name__ == "__main__":
    unittest.main()
