#!/usr/bin/python3 -B
"""The judge of a move sees each kind of fault: between two databases, and between a database and what its clients saw committed."""

import unittest

from moved import Judge, Ledger, longest_silence


def rows():
    """A shop: two customers, two orders, three lines, two payments."""
    return {"customers": [(1, "Ann", None, 1500), (2, "Bob", "b@example.org", 0)],
            "orders": [(10, 1, 2, "c0-5", None), (11, 2, 0, "old", "md5")],
            "order_lines": [(10, 1, "sku 1", 3), (10, 2, "sku 2", 1), (11, 1, "sku 1", 1)],
            "payments": [(100, 1, "c0-1", 1000), (101, 1, "c1-1", 500)]}


def ledgers():
    """Of its two clients. The second one has also deleted an order."""
    first, second = Ledger({10: (2, "c0-5", 2)}), Ledger({11: (0, "old", 1)})
    first.payments["c0-1"], second.payments["c1-1"] = (1, 1000), (1, 500)
    second.removed.add(12)
    return [first, second]


def put(table, row):
    """The shop with a row instead of the one that has its key, or one more."""
    shop, width = rows(), 2 if table == "order_lines" else 1
    shop[table] = [kept for kept in shop[table] if kept[:width] != row[:width]] + [row]
    return shop


def more(table, row):
    shop = rows()
    shop[table].append(row)
    return shop


def less(table, n=0):
    shop = rows()
    del shop[table][n]
    return shop


class Databases(unittest.TestCase):
    def judge(self, copy, **faults):
        judge = Judge()
        self.assertEqual(judge.compare(rows(), copy), 9)
        self.assertEqual(dict(judge.faults), faults, judge.examples)

    def test_all_is_well(self):
        copy = rows()
        for table in copy.values():
            table.reverse()
        self.judge(copy)

    def test_missing(self):
        for table in rows():
            with self.subTest(table):
                self.judge(less(table), missing=1)

    def test_surplus(self):
        self.judge(more("order_lines", (11, 2, "sku 1", 1)), surplus=1)

    def test_different(self):
        self.judge(put("customers", (1, "Ann", "", 1500)), different=1)
        self.judge(put("orders", (11, 2, 0, "old", None)), different=1)
        self.judge(put("order_lines", (10, 2, "sku 2", 2)), different=1)
        self.judge(put("payments", (100, 1, "c0-1", 10)), different=1)

    def test_doubled(self):
        self.judge(more("payments", rows()["payments"][0]), doubled=1)

    def test_the_owner_is_judged_too(self):
        judge = Judge()
        judge.compare(more("orders", rows()["orders"][0]), rows())
        self.assertEqual(dict(judge.faults), {"doubled": 1})


class Clients(unittest.TestCase):
    def judge(self, shop, **faults):
        judge = Judge()
        judge.settle(ledgers(), shop)
        self.assertEqual(dict(judge.faults), faults, judge.examples)
        return judge

    def test_all_is_well(self):
        self.judge(rows())

    def test_a_payment_is_lost(self):
        self.judge(less("payments"), lost=1)

    def test_a_payment_and_what_it_did_are_lost(self):
        shop = put("customers", (1, "Ann", None, 500))
        del shop["payments"][0]
        self.judge(shop, lost=1, unbalanced=1)

    def test_a_payment_is_another_one(self):
        self.judge(put("payments", (100, 2, "c0-1", 1000)), lost=1)

    def test_a_payment_took_effect_twice(self):
        self.judge(more("payments", (102, 1, "c0-1", 1000)), doubled=1)

    def test_a_payment_that_nobody_made(self):
        self.judge(more("payments", (102, 1, "undone c0-9", 5)), unexpected=1)

    def test_a_change_of_a_row_of_all_is_lost(self):
        self.judge(put("customers", (1, "Ann", None, 1000)), unbalanced=1)
        self.judge(put("customers", (2, "Bob", "b@example.org", 500)), unbalanced=1)

    def test_an_order_is_lost(self):
        self.judge(less("orders"), lost=1)

    def test_an_order_is_as_it_was_before(self):
        self.judge(put("orders", (10, 1, 1, "c0-4", None)), lost=1)

    def test_a_line_of_an_order_is_lost(self):
        self.judge(less("order_lines"), lost=1)

    def test_an_order_came_back(self):
        self.judge(more("orders", (12, 1, 0, "old", None)), revived=1)

    def test_an_order_that_nobody_placed(self):
        self.judge(more("orders", (13, 1, 0, "undone c0-9", None)), unexpected=1)

    def test_examples_are_few(self):
        shop = rows()
        shop["payments"] += [(n, 1, f"x{n}", 1) for n in range(1000, 1100)]
        self.assertEqual(len(self.judge(shop, unexpected=100).examples), 5)


class Silence(unittest.TestCase):
    def test_between_two_writes(self):
        self.assertEqual(longest_silence([1, 2, 5, 6], 0, 7), 3)

    def test_across_the_borders(self):
        self.assertEqual(longest_silence([1, 8], 4, 5), 7)

    def test_before_and_behind_does_not_count(self):
        self.assertEqual(longest_silence([1, 8, 9, 10, 20], 8, 10), 10)
        self.assertEqual(longest_silence([1, 5, 8, 9, 10], 8, 9), 3)

    def test_what_was_never_taken_up_again(self):
        self.assertEqual(longest_silence([1, 2], 1, 9), 7)


if __name__ == "__main__":
    unittest.main()
