"""A verify pass of a capture: what it says of each row holds at its place in the stream, under load, whatever is killed; so that whoever
applies the stream in its order can compare there. The judge is tests/lib/copied.py, which rebuilds the tables from the stream alone."""

import json
import random
import time
import unittest

from captures import NAME, STREAM, CaptureTest
from copied import Copy, canonical


class Pass(CaptureTest):
    format, orders = "text", 300

    def begin(self, capture=None, **ways):
        relay = self.start_capture(capture)
        self.wait_complete()
        if ways is not None:
            self.open_legacy(**ways)
            self.let_work(20)
        return relay

    def verify(self, table, columns=None, whole=False, keys=None, repair=False):
        (name,), = self.sql("SELECT boxhaul.capture_verify(%s, %s, %s, %s, %s, %s)::text",
                            (NAME, table, columns, whole, None if keys is None else json.dumps(keys), repair))
        return name

    def states(self):
        return dict(self.sql("SELECT id::text, state FROM boxhaul.capture_verify"))

    def wait_ended(self, *passes):
        self.wait(lambda: all(self.states()[name] == "complete" for name in passes), "the passes to end",
                  progress=lambda: self.sql("SELECT tab, state, cursor, rows FROM boxhaul.capture_verify ORDER BY pass"))

    def keys_of(self, copy, table):
        return set(copy.tables[table].rows)

    def test_holds_at_its_place_under_load(self):
        """All tables by hashes while each of them is written to: no row is said to be what it is not at that place."""
        self.begin({"chunk_rows": 20}, pause=0.001)
        epoch = self.books("epoch")
        passes = [self.verify(table) for table in self.tables]
        self.wait_ended(*passes)
        # Whoever leads has led on: nobody's lease was waited for, and the stream has not stood still.
        self.assertEqual(self.books("epoch"), epoch)
        copy = self.audit_capture()
        self.assertGreater(copy.verified, self.orders)
        windows = [event for event in copy.events if event.op == "v" and len(event.body.get("rows", ())) > 1]
        self.assertGreater(len(windows), 2, "rows of a window stand in one message")

    def test_meets_each_row_that_nobody_touches(self):
        self.begin({"chunk_rows": 50}, pause=0.01)
        for shop in self.shops:
            shop.stop()
        self.wait_confirmed()
        passes = {table: self.verify(table, whole=n % 2 == 0) for n, table in enumerate(self.tables)}
        self.wait_ended(*passes.values())
        copy = self.audit_capture()
        for table, name in passes.items():
            self.assertEqual(copy.met[name], self.keys_of(copy, table), table)

    def test_one_begins_while_another_one_is_read(self):
        """And again, over the same tables: each begins when what is read of its table has ended."""
        self.begin({"chunk_rows": 10, "chunk_share": 10}, pause=0.01)
        epoch = self.books("epoch")
        first = self.verify("legacy.orders")
        self.wait(lambda: self.states()[first] == "reading", "the first pass to be under way")
        second = self.verify("legacy.order_lines", whole=True)
        self.wait_ended(first, second)
        self.wait_ended(self.verify("legacy.orders"), self.verify("legacy.stock"))
        self.assertEqual(self.books("epoch"), epoch)
        self.audit_capture()

    def test_finds_what_somebody_has_done_to_a_copy(self):
        """The judge can fail: of a copy that differs in one row, that one is named."""
        self.begin()
        for shop in self.shops:
            shop.stop()
        self.wait_confirmed()
        upto = self.count(STREAM)
        self.wait_ended(self.verify("legacy.orders"))
        stored = self.stored(STREAM)
        copy = Copy().read(stored[:upto])
        key = sorted(copy.tables["legacy.orders"].rows)[3]
        copy.tables["legacy.orders"].rows[key]["changed_by"] = "a hand"
        copy.read(stored[upto:])
        self.assertEqual(dict(copy.faults), {"unverified": 1}, copy.examples)
        self.assertIn(key, copy.examples[0])

    def test_killed_at_any_moment(self):
        """kill -9: the pass goes on where it was, under the same reading."""
        relay = self.begin({"chunk_rows": 10, "chunk_share": 10}, pause=0.02, clients=3)
        name, dice = self.verify("legacy.orders"), random.Random()
        for _ in range(4):
            time.sleep(dice.uniform(0.1, 0.6))
            relay.kill9()
            relay.start()
        self.wait_ended(name)
        self.audit_capture()
        self.assertEqual(self.sql("SELECT reading, state FROM boxhaul.capture_verify"), [(1, "complete")])

    def test_keys_that_are_there_and_keys_that_are_not(self):
        """A pass about some keys says of each whether there is such a row, also where it comes to be meanwhile."""
        self.begin(pause=0.005)
        wanted = [["1"], ["5"], ["987654321"]]
        self.wait_ended(self.verify("legacy.orders", whole=True, keys=wanted))
        copy = self.audit_capture()
        said = {tuple(key): row for event in copy.events if event.op == "v" for key, row in event.body.get("rows", ())}
        self.assertEqual(set(said), {tuple(key) for key in wanted})
        self.assertIsNone(said[("987654321",)])

    def test_keys_of_a_collation(self):
        """They are asked for in the order of their column, and those that it takes for the same are one key."""
        self.sql("CREATE COLLATION legacy.blind (provider = icu, locale = 'und-u-ks-level2', deterministic = false);"
                 "ALTER TABLE legacy.stock ALTER sku TYPE text COLLATE legacy.blind;"
                 "INSERT INTO legacy.stock (place, sku, on_hand) SELECT 'x', word, 1 FROM unnest(ARRAY['Foo', 'apfel', 'B', 'Zebra']) word")
        self.start_capture({"chunk_rows": 2})
        self.wait_complete()
        asked = [[word, "x"] for word in ("Foo", "foo", "Zebra", "FOO", "nothing", "apfel", "B", "b")]
        self.wait_ended(self.verify("legacy.stock", whole=True, keys=asked))
        said = [key[0] for event in self.audit_capture().events if event.op == "v" for key, _ in event.body.get("rows", ())]
        self.assertEqual(said, ["apfel", "B", "Foo", "nothing", "Zebra"])

    def test_what_is_refused(self):
        self.begin(pause=0.05)
        for words, arguments in (("has no table", ("legacy.nowhere",)), ("have not the", ("legacy.orders", None, True, [["1", "2"]])),
                                 ("a hash mends nothing", ("legacy.orders", None, False, None, True))):
            with self.assertRaisesRegex(Exception, words):
                self.verify(*arguments)
        self.sql("SELECT boxhaul.capture_pause(%s)", (NAME,))
        self.verify("legacy.orders")
        with self.assertRaisesRegex(Exception, "is being verified"):
            self.verify("legacy.orders")
        self.assertEqual(self.sql("SELECT boxhaul.capture_verify_stop(%s)", (NAME,)), [(1,)])
        self.sql("SELECT boxhaul.capture_resume(%s)", (NAME,))
        self.wait_ended(self.verify("legacy.orders"))
        for shop in self.shops:
            shop.stop()
        self.sql("ALTER TABLE legacy.stock DROP CONSTRAINT stock_pkey")
        with self.assertRaisesRegex(Exception, "has no key"):
            self.verify("legacy.stock")
        self.sql("ALTER TABLE legacy.stock ADD PRIMARY KEY (sku, place)")

    def test_not_before_all_rows_are_stored(self):
        self.say(self.add_capture(), "capture", "start", NAME)
        with self.assertRaisesRegex(Exception, "cannot be verified: the capture is creating"):
            self.verify("legacy.orders")


del CaptureTest  # nobody's test by itself

if __name__ == "__main__":
    unittest.main()
