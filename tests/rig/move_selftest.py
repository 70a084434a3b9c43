"""The judge of tests/chaos --move can convict, of each of the things he must. (Run by selftest.py.)"""

import copy
import hashlib
import unittest
from types import SimpleNamespace

import injector
import move
from move_judge import COUNTS, Found, Report, judge
from move_shop import KEYS, NAMES, Side, sinks

DOC = "a large value"
SUM = hashlib.md5(DOC.encode(), usedforsecurity=False).hexdigest()


def fair():
    """Two customers with an order each, and one row of the rest, the same in both."""
    old = {
        "customers": [{"id": str(n), "email": f"e{n}", "name": None, "by": f"w0-{n}"} for n in (1, 2)],
        "orders": [{"id": str(n), "customer": str(n), "state": "new", "doc": DOC, "doc_sum": SUM, "by": f"w0-{n}"} for n in (1, 2)],
        "lines": [{"order_id": "1", "line": "1", "amount": "1.50", "by": "w0-1"}],
        "stock": [{"place": "p", "sku": "s", "on_hand": "7", "doc": None, "doc_sum": None, "by": "w1-1"}],
        "scratch": [{"id": "1", "body": "x", "by": "w0-3"}],
        "journal": [{"name": name} for name in ("w0-1", "w0-2", "w0-3", "w1-1")],
    }
    new = {table: [{NAMES.get(table, {}).get(name, name): value for name, value in row.items()} for row in rows] for table, rows in old.items()}
    new["stock"][0]["units"] = "70"
    expected = {table: {tuple(row[name] for name in KEYS[table]): row.get("by") for row in rows} for table, rows in old.items()}
    found = {("lines", "missing", ("1", "1"))}
    return Found("old", {"old": old, "new": new}, expected, ["old"], [], [Report(set(found), set(found)), Report(set(), set())])


class MoveJudge(unittest.TestCase):
    def setUp(self):
        self.found = copy.deepcopy(fair())

    def expect(self, **counts):
        """These and no other violations."""
        v = judge(self.found)
        self.assertEqual({kind: v.counts[kind] for kind in COUNTS if v.counts[kind]}, counts, dict(v.examples))
        self.assertEqual(bool(v.violations()), bool(counts))

    def test_all_is_well(self):
        self.expect()

    def test_either_may_be_the_owner(self):
        self.found.owner, self.found.owners = "new", ["new"]
        self.expect()

    def test_a_value_that_differs(self):
        self.found.rows["new"]["customers"][0]["mail"] = "another"
        self.expect(different=1)

    def test_null_is_not_nothing(self):
        self.found.rows["new"]["customers"][0]["name"] = ""
        self.expect(different=1)

    def test_what_the_function_makes(self):
        self.found.rows["new"]["stock"][0]["units"] = "71"
        self.expect(different=1)

    def test_a_row_that_is_not_in_the_copy(self):
        self.found.rows["new"]["lines"].clear()
        self.expect(missing=1)

    def test_a_row_that_is_in_the_copy_alone(self):
        self.found.rows["new"]["scratch"].append({"id": "2", "body": "x", "by": "w0-4"})
        self.expect(surplus=1)

    def test_a_transaction_that_is_nowhere(self):
        for rows in self.found.rows.values():
            del rows["journal"][0]
        self.expect(lost=1)

    def test_a_change_that_is_nowhere(self):
        self.found.expected["customers"][("1",)] = "w0-9"
        self.expect(lost=1)

    def test_a_row_that_nobody_has_committed(self):
        for rows in self.found.rows.values():
            rows["scratch"].append({"id": "2", "body": "x", "by": "undone w0-4"})
        self.expect(unexpected=1)

    def test_a_large_value_of_another_version(self):
        for name, rows in self.found.rows.items():
            rows["orders"][0]["doc"] = "an older one"
        self.expect(torn=2)

    def test_both_take_writes(self):
        self.found.both = ["12:00 customers"]
        self.expect(two_owners=1)

    def test_both_at_the_end(self):
        self.found.owners = ["old", "new"]
        self.expect(two_owners=1)

    def test_none_or_the_wrong_one_at_the_end(self):
        self.found.owners = []
        self.expect(no_owner=1)
        self.found.owners = ["new"]
        self.expect(no_owner=1)

    def test_verify_says_of_a_good_row_that_it_is_none(self):
        self.found.reports[1].found.add(("stock", "changed", ("p", "s")))
        self.expect(false_alarms=1)
        self.found.reports[1].perhaps.add(("stock", "changed", ("p", "s")))
        self.expect()

    def test_verify_says_another_kind(self):
        self.found.reports[0].found = {("lines", "changed", ("1", "1"))}
        self.expect(false_alarms=1, missed=1)

    def test_verify_does_not_see_it(self):
        self.found.reports[0].found.clear()
        self.expect(missed=1)
        self.found.reports[0].proved = {"stock"}  # it was not asked
        self.expect()

    def test_what_is_not_mended_and_what_a_writer_should_never_see(self):
        self.found.unrepaired, self.found.errors = ["lines 1"], ["w0: 23505"]
        self.expect(unrepaired=1, errors=1)


class MoveWorld(unittest.TestCase):
    def test_every_fault_is_done_by_something(self):
        for kind in move.KINDS:
            self.assertTrue(callable(getattr(move.MoveRun, "_do_" + kind.replace("-", "_"))), kind)

    def test_a_seed_is_a_schedule(self):
        options = SimpleNamespace(seed=1, seconds=60, gap=2.0, faults=None, nats=3, relays=2)
        faults = move.draw_faults(options)
        self.assertEqual(faults, move.draw_faults(options))
        self.assertGreater(len(faults), 20)
        self.assertGreaterEqual(min(fault["at"] for fault in faults), injector.QUIET)
        self.assertEqual({back for seed in range(20) for back, _at in move.draw_switches(seed, 60)}, {False, True})

    def test_the_words_of_each_side(self):
        old, new = Side("old", ""), Side("new", "")
        self.assertEqual(old.words("{t}.customers {email} {many}"), "shop.customers email 1")
        self.assertEqual(new.words("{t}.customers {email} {many}"), "moved.customers mail 10")
        self.assertIn({"from": "moved.orders", "to": "shop.orders", "columns": ["*", "customer_id=customer", "status=state"]}, sinks(False))
