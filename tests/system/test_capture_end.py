"""What is marked is never sent again: so the stream of a capture must be the one that has it. Made anew, or put back to what it was once, it is
a gap, whoever leads and however far it has grown since. Expired or purged it is none."""

import unittest

from captures import NAME, STREAM
from test_capture_slot import SlotTest


class EndTest(SlotTest):
    def insert(self, *ids):
        for number in ids:
            self.sql("INSERT INTO legacy.orders (id, customer) VALUES (%s, 'one more')", (number,))
        self.wait_confirmed()

    def last(self):
        with self.jetstream() as js:
            return js.info(STREAM)["state"]["last_seq"]

    def make_anew(self):
        with self.jetstream() as js:
            subjects = js.info(STREAM)["config"]["subjects"]
            js.delete(STREAM)
            js.create(STREAM, subjects)

    def others_fill(self, count):
        with self.jetstream() as js:
            for _ in range(count):
                js.publish("cdc.shop.legacy.stranger", b"{}")

    def assert_nothing_is_sent(self, relay, *words):
        """A change comes; the stream ends where it did, and it is said why."""
        end = self.last()
        self.sql("INSERT INTO legacy.orders (id, customer) VALUES (7000, 'while it waits')")
        self.wait_gap(relay, "truncated")
        self.assertEqual(self.last(), end)
        detail, = self.books("detail")
        told = self.say(relay, "capture", "status", NAME)
        for word in words:
            self.assertIn(word, detail)
            self.assertIn(word, told)
        self.assertIn("boxhaul capture resync", told)


class Ends(EndTest):
    def test_on_record(self):
        """It is the stream's own word, and an idle capture does not ask again."""
        relay = self.start_whole()
        self.insert(5000)
        sequence, time_ns, created = self.books("stream_sequence, stream_time, stream_created")
        with self.jetstream() as js:
            self.assertEqual(sequence, js.info(STREAM)["state"]["last_seq"])
        self.assertGreater(time_ns, created)
        self.assertGreater(created, 0)
        self.assertEqual(relay.stop(), 0)
        relay.start()
        self.insert(5001)
        self.assertEqual(self.books("stream_sequence, stream_created"), (sequence + 1, created))
        self.audit_capture()

    def test_purged(self):
        """What was stored may be consumed and gone: no gap."""
        relay = self.start_whole()
        self.insert(5000)
        self.assertEqual(relay.stop(), 0)
        with self.jetstream() as js:
            js.purge(STREAM)
        end = self.last()
        relay.start()
        self.insert(5001)
        self.assertEqual(self.state(), "live")
        self.assertEqual(self.last(), end + 1)

    def test_made_anew_while_the_daemon_was_away(self):
        relay = self.start_whole()
        self.insert(5000)
        relay.kill9()
        self.make_anew()
        relay.start()
        self.assert_nothing_is_sent(relay, "was made anew")
        self.resync(relay)

    def test_made_anew_and_grown_beyond(self):
        relay = self.start_whole()
        self.assertEqual(relay.stop(), 0)
        end = self.last()
        self.make_anew()
        self.others_fill(end + 5)
        relay.start()
        self.assert_nothing_is_sent(relay, "was made anew")
        with self.jetstream() as js:
            js.purge(STREAM)
        self.resync(relay)

    def test_made_anew_under_the_daemon(self):
        relay = self.start_whole()
        self.insert(5000)
        self.make_anew()
        self.assert_nothing_is_sent(relay, "made anew")
        self.resync(relay)

    def test_an_older_backup(self):
        """Of the server: it ends below."""
        relay = self.start_whole()
        with self.put_back_behind():
            self.insert(5000, 5001)
            self.assertEqual(relay.stop(), 0)
        relay.start()
        self.assert_nothing_is_sent(relay, "has lost its end")
        self.resync(relay)

    def test_an_older_backup_that_others_have_grown(self):
        """Only the time of what stands there tells."""
        relay = self.start_whole()
        with self.put_back_behind():
            self.insert(5000, 5001)
            self.assertEqual(relay.stop(), 0)
        self.others_fill(10)
        relay.start()
        self.assert_nothing_is_sent(relay, "has grown again")
        with self.jetstream() as js:
            js.purge(STREAM)
        self.resync(relay)

    def test_an_older_backup_under_the_daemon(self):
        relay = self.start_whole()
        with self.put_back_behind():
            self.insert(5000, 5001)
        self.assert_nothing_is_sent(relay, "has lost its end")
        self.resync(relay)


if __name__ == "__main__":
    unittest.main()
