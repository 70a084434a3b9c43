"""Kinds of fault that the core answers for: one subject, or one stream, that takes nothing; a configuration that lacks a stream; the end of
the ids."""

import json
import unittest

from harness import STREAM, SystemTest

BILLS = {"name": "BILLS", "subjects": ["bills.>"], "create": True}
ORDERS = {"name": STREAM, "subjects": ["orders.>"], "create": True}


class OneSubject(SystemTest):
    MANY = 6000  # more than memory holds

    def test_what_one_subject_cannot_take_stops_no_other(self):
        """Each of its messages has a key of its own, so each is held back alone."""
        with self.jetstream() as jetstream:
            jetstream.create(STREAM, ["orders.>"], max_msgs_per_subject=1, discard="new", discard_new_per_subject=True)
            relay = self.start_relay()
            self.sql("INSERT INTO boxhaul.outbox (subject, key, payload) SELECT 'orders.full', n::text, '' "
                     "FROM generate_series(1, %s) n", (self.MANY,))
            self.sql("INSERT INTO boxhaul.outbox (subject, key, payload) SELECT 'orders.ok.' || n, 'k', '' "
                     "FROM generate_series(1, 20) n")
            self.wait_for_messages(21)
            self.wait(lambda: self.status(relay)["position"] == self.MANY + 20, "the position to pass them all")
            self.assertEqual(self.sql("SELECT count(*) FROM boxhaul.dead_letter"), [(0,)])
            jetstream.update(STREAM, max_msgs_per_subject=-1, discard="old", discard_new_per_subject=False)
            self.wait_for_messages(self.MANY + 20)


class AStreamIsLacking(SystemTest):
    def test_its_rows_are_held_and_follow_in_order(self):
        relay = self.start_relay(streams=[BILLS])
        writer = self.writer("w")
        for _ in range(10):
            writer.write("k", 5).write("l", 2).write("k", subject="bills.x").commit()
        self.wait_for_messages(10, "BILLS")
        self.wait(lambda: self.position() == self.newest(), "the position to pass what is held")
        self.assertEqual(self.sql("SELECT count(*) FROM boxhaul.dead_letter"), [(0,)])
        held = "70 messages are held: no stream of the configuration takes their subjects"
        self.wait(lambda: held in relay.get("/readyz")[1], "the relay to say so")
        self.assertEqual(relay.get("/readyz")[0], 200)
        self.assertEqual(self.status(relay)["state"], "degraded")
        why = self.sql("SELECT DISTINCT last_error FROM boxhaul.exceptions")
        self.assertEqual(why, [("no stream of the configuration takes this subject",)])
        relay.stop()
        self.start_relay(streams=[BILLS, ORDERS])
        self.wait_for_messages(70)
        self.wait_settled()
        keys = {}
        for message in self.stored():
            body = json.loads(message.payload)
            keys.setdefault(body["key"], []).append(int(body["message"].split("/")[1]))
        self.assertEqual({key: len(seqs) for key, seqs in keys.items()}, {"k": 50, "l": 20})
        for key, seqs in keys.items():
            self.assertEqual(seqs, sorted(seqs), key)


class TheLastIds(SystemTest):
    def test_the_last_id_is_sent_like_any_other(self):
        self.sql("SELECT setval('boxhaul.outbox_id_seq', 9223372036854775805);"
                 "UPDATE boxhaul.position SET position = 9223372036854775805, marked = 9223372036854775805")
        relay = self.start_relay()
        self.sql("INSERT INTO boxhaul.outbox (subject, payload) VALUES ('orders.x', '1'), ('orders.x', '2')")
        self.wait_for_messages(2)
        self.wait(lambda: self.position() == 9223372036854775807, "the mark")
        self.assertTrue(relay.alive())


if __name__ == "__main__":
    unittest.main()
