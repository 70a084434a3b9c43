"""The wire of a capture: what stands in memory while the server sends more than anybody takes, and what the server is told meanwhile."""

import unittest

from captures import STREAM, CaptureTest

MEBI = 1 << 20
SLIM = {"window": 500, "queue": 1000, "queue_bytes": "32MiB"}  # a capture has an eighth of the bytes: room for as many messages


class WireTest(CaptureTest):
    """Without the rows that are there already: what is in the log from now on."""

    orders = 10

    def start_slim(self, **capture):
        """A queue that is full in no time, and none of the memory that the sanitizer keeps aside."""
        relay = self.add_capture({"snapshot": "none", **capture}, delivery=SLIM)
        self.say(relay, "capture", "start", "shop")
        relay.start(env={"ASAN_OPTIONS": "quarantine_size_mb=1:detect_leaks=0"})
        self.wait(lambda: self.state() == "live", "the capture to be live")
        self.sql("UPDATE legacy.orders SET customer = 'first'")
        self.wait_confirmed()
        return relay

    def peak(self, relay):
        """The most memory it ever had, in bytes."""
        with open(f"/proc/{relay.pid}/status", encoding="ascii") as f:
            return next(int(line.split()[1]) * 1024 for line in f if line.startswith("VmHWM"))

    def changes(self, relay):
        """So many has the core taken."""
        return self.status(relay)["captures"][0]["changes_total"]

    def fill(self, relay, statement):
        """Execute it while nobody takes anything, until the queue is full: as much is in memory as there ever is."""
        taken = self.changes(relay)
        self.nats.pause()
        self.sql(statement)
        self.wait(lambda: self.changes(relay) - taken >= SLIM["queue"], "the queue to be full")
        self.nats.resume()


class Memory(WireTest):
    """However much waits in the log, and however large one row is, the daemon's memory stays what it was (invariant 13)."""

    def test_a_transaction_of_very_many_rows(self):
        """It is never in memory: its changes go out as they come, and what nobody takes waits in the server."""
        relay = self.start_slim()
        self.fill(relay, self.lines(101, 2000))
        self.wait_confirmed()
        before = self.peak(relay)
        self.fill(relay, self.lines(102, 20_000))
        self.wait_confirmed()
        self.assertLess(self.peak(relay) - before, 20 * MEBI)  # all of it would be 40 and more
        self.assertEqual(len({m.msg_id for m in self.stored(STREAM) if b'"sku":"many"' in m.payload}), 22_000)

    @staticmethod
    def lines(line, count):
        return f"INSERT INTO legacy.order_lines SELECT n, {line}, 'many', n, repeat('x', 1500), NULL FROM generate_series(1, {count}) n"

    def test_a_backlog(self):
        """The daemon was away while much was written. It takes no more at a time than it has room for."""
        relay = self.start_slim()
        before = self.peak(relay)
        self.assertEqual(relay.stop(), 0)
        for n in range(10):
            self.sql(self.lines(n + 10, 1000))
        relay.start(env={"ASAN_OPTIONS": "quarantine_size_mb=1:detect_leaks=0"})
        self.wait_confirmed()
        self.assertLess(self.peak(relay) - before, 24 * MEBI)

    def test_large_rows(self):
        """libpq holds a message whole and gives a copy of it: twice the largest row, and what is made of it. The stream cannot take it, which is said."""
        relay = self.start_slim()
        self.sql("ALTER TABLE legacy.orders ALTER doc SET STORAGE EXTERNAL")
        before = self.peak(relay)
        for n in range(5):
            self.sql("INSERT INTO legacy.orders (id, doc) VALUES (%s, repeat('0123456789', 1000000))", (100 + n,))
        self.sql("INSERT INTO legacy.orders (id, doc) VALUES (200, 'small')")
        self.wait_confirmed()
        self.assertEqual(self.sql("SELECT key, reason FROM boxhaul.capture_letter ORDER BY ordinal"),
                         [(str(100 + n), "message is larger than max_message_size or the server's max_payload") for n in range(5)])
        self.assertLess(self.peak(relay) - before, 80 * MEBI)


if __name__ == "__main__":
    unittest.main()
