"""A gap at the source, and what a copy does between it and the rows that are read again: what went in the gap is still there, and changes that come before the rows
would find it in their way."""

import contextlib
import json
import unittest

from captures import NAME, STREAM
from test_sink import SinkTest

TAKEN = "UPDATE legacy.orders SET customer = 'another' WHERE id = 5; UPDATE legacy.orders SET id = 800006 WHERE id = 6; DELETE FROM legacy.orders WHERE id = 7"
FREE = ("UPDATE legacy.orders SET customer = 'customer 5' WHERE id = 105; INSERT INTO legacy.orders (id, customer) VALUES (700001, 'customer 7'); "
        "UPDATE legacy.orders SET customer = 'was 6' WHERE id = 800006; UPDATE legacy.orders SET customer = 'customer 6' WHERE id = 106")


class Gaps(SinkTest):
    tables = ["legacy.stock", "legacy.order_lines", "legacy.orders"]  # in which order they are read

    def setUp(self):
        super().setUp()
        self.there("CREATE UNIQUE INDEX ON moved.orders (client)")
        self.capture = self.start_capture()
        self.add_sink().start().wait_until_ready()
        self.wait_complete()
        self.sql("UPDATE legacy.orders SET paid = true WHERE id = 1")  # its columns are told
        self.wait_applied()

    def in_a_gap(self, statement):
        """What no log of ours has, for the slot that comes then was not there."""
        self.say(self.capture, "capture", "pause", NAME)
        self.sql(statement)
        self.resync()

    def resync(self):
        self.say(self.capture, "capture", "resync", NAME)
        self.wait(lambda: self.state() == "live", "the capture to be live again")

    @contextlib.contextmanager
    def no_rows(self, *before):
        """The rows of the first table begin, and none is read, by a leader that comes when somebody has written who has not ended yet."""
        self.capture.stop()
        for statement in before:
            self.sql(statement)
        with contextlib.closing(self.pg.connect(self.database)) as holder:
            with holder.cursor() as cursor:
                cursor.execute("BEGIN; UPDATE legacy.orders SET paid = NOT paid WHERE id = 1")
                self.capture.start()
                yield
                cursor.execute("COMMIT")

    def wait_passed(self):
        """The sink has passed all that is committed, and did not stop."""
        self.wait_confirmed_but_rows()
        last = self.count(STREAM)
        self.wait(lambda: self.sink("position")[0] >= last or self.sink("error")[0], f"the sink to reach {last}", progress=self.seen)
        self.assertEqual(self.sink("error"), (None,))

    def wait_confirmed_but_rows(self):
        """A last change of a table that is not in the way says that all before it is stored."""
        self.sql("UPDATE legacy.order_lines SET note = 'passed' WHERE order_id = 1 AND line = 1")
        self.wait(lambda: any(m.payload and b'"note":"passed"' in m.payload for m in self.stored(STREAM)), "the last change to be stored", progress=self.progress)

    def told(self):
        """What the stream says of the orders: the histories, as they come."""
        bodies = [json.loads(m.payload) for m in self.stored(STREAM) if m.payload]
        return [(b["op"], b["history"]) for b in bodies if b.get("table") == "legacy.orders" and b["op"] in ("s", "snapshot-begin")]

    def states(self):
        return dict(self.there("SELECT source, state FROM boxhaul.sink_table"))

    def test_changes_before_the_rows_are_read_again(self):
        self.in_a_gap(TAKEN)
        with self.no_rows():
            self.sql(FREE)
            self.say(self.capture, "capture", "resume", NAME)
            self.wait_passed()
            self.assertEqual((self.states()["legacy.orders"], self.there("SELECT client FROM moved.orders WHERE id = 5")), ("incomplete", [("customer 5",)]))
        self.compare()
        (_, before), *_, (first, after), (begin, the_same) = self.told()
        self.assertEqual((first, begin, after, before == after), ("s", "snapshot-begin", the_same, False))

    def test_the_slot_was_lost(self):
        self.capture.stop()
        self.pg.execute("SELECT pg_drop_replication_slot(%s)", self.books("slot"))
        self.sql(TAKEN)
        self.capture.start()
        self.wait(lambda: self.state() == "gap", "the gap")
        self.in_a_gap("UPDATE legacy.orders SET customer = 'another one' WHERE id = 5")
        with self.no_rows():
            self.sql(FREE)
            self.say(self.capture, "capture", "resume", NAME)
            self.wait_passed()
        self.compare()

    def test_a_leader_that_dies_and_another_resync(self):
        self.in_a_gap(TAKEN)
        with self.no_rows():
            self.sql(FREE)
            self.say(self.capture, "capture", "resume", NAME)
            self.wait_passed()
            self.capture.kill9()  # it has marked that message, or not
            self.capture.start()
            self.sql("UPDATE legacy.orders SET paid = true WHERE id = 700001")
            self.wait_passed()
        self.compare()
        self.in_a_gap("UPDATE legacy.orders SET customer = 'gone' WHERE id = 105")
        self.resync()  # twice
        with self.no_rows():
            self.sql("UPDATE legacy.orders SET customer = 'customer 5' WHERE id = 205")
            self.say(self.capture, "capture", "resume", NAME)
            self.capture.kill9()
            self.capture.start()
            self.wait_passed()
        self.compare()

    def test_one_table_alone_has_no_gap(self):
        with self.no_rows("ALTER TABLE legacy.orders ALTER customer TYPE varchar(100)", *(f"SELECT boxhaul.capture_resync('{NAME}', '{table}')" for table in ("legacy.stock", "legacy.orders"))):
            self.sql("UPDATE legacy.orders SET customer = 'known at once' WHERE id = 5")
            self.wait_passed()
            self.assertEqual((self.states()["legacy.orders"], self.there("SELECT client FROM moved.orders WHERE id = 5")), ("complete", [("known at once",)]))
        self.compare()


if __name__ == "__main__":
    unittest.main()
