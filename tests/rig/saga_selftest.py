"""The judge of tests/chaos --saga can convict, of each of the things he must. (Run by selftest.py.)"""

import copy
import unittest

import inbox
import injector
import saga
from saga_judge import COUNTS, Book, Command, Effect, Event, Found, Order, Saga, judge

STEPS = ["reserve", "hold", "charge", "ship"]


def commands(saga, *words):
    """"reserve do 2" is the second attempt of it."""
    return [Command(saga, step, direction, int(attempt), f"{saga} {step} {direction} {attempt}")
            for step, direction, attempt in (word.split() for word in words)]


def effects(saga, *words, begin=1.0):
    return [Effect(saga, *word.split(), begin + n) for n, word in enumerate(words)]


def log(saga, *words):
    """"timeout:again hold do 1 11" is at second 11 the deadline of the first attempt, and what comes of it."""
    parsed = (word.split() for word in words)
    return [Event(saga, *(what.split(":") if ":" in what else (what, what)), step, direction, int(attempt), float(at))
            for what, step, direction, attempt, at in parsed]


def fair():
    """Four sagas: one completed, one refused by the bank, one that hung and was undone, one that had not begun when it was cancelled."""
    sent = (commands("a", "reserve do 1", "hold do 1", "hold do 2", "charge do 1", "ship do 1")
            + commands("b", "reserve do 1", "hold do 1", "reserve undo 1")
            + commands("c", "reserve do 1", "hold do 1", "hold do 2", "hold undo 1", "reserve undo 1", "reserve undo 2")
            + commands("d", "reserve do 1", "reserve undo 1"))
    return Found(
        STEPS, [Order(saga, 10, 2) for saga in "abcd"],
        [Saga("a", "completed"), *(Saga(saga, "undone") for saga in "bcd")],
        effects("a", "reserve do", "hold do", "charge do", "ship do") + effects("b", "reserve do", "hold refuse", "reserve undo")
        + effects("c", "reserve do", "hold do", "hold undo", "reserve undo"),
        sent, list(sent),
        log("a", "sent hold do 1 10", "timeout:again hold do 1 11", "sent hold do 2 11", "done:next hold do 2 12")
        + log("c", "sent hold do 1 10", "timeout:again hold do 1 11", "sent hold do 2 11", "timeout:undo_this hold do 2 13",
              "sent reserve undo 1 14", "timeout:again reserve undo 1 15"),
        {"bank": Book(1000, 990, 0, 10, "amount"), "stock": Book(100, 98, 0, 2, "count")})


class SagaJudge(unittest.TestCase):
    def setUp(self):
        self.found = copy.deepcopy(fair())

    def expect(self, **counts):
        """These and no other violations."""
        v = judge(self.found)
        self.assertEqual({kind: v.counts[kind] for kind in COUNTS if v.counts[kind]}, counts, dict(v.examples))
        self.assertEqual(bool(v.violations()), bool(counts))
        return v

    def without(self, saga, step, what):
        self.found.effects = [e for e in self.found.effects if (e.saga, e.step, e.what) != (saga, step, what)]

    def test_all_is_well(self):
        v = self.expect()
        self.assertEqual((v.started, v.completed, v.undone, v.timeouts, v.refused, v.repeats, v.inconsistent), (4, 1, 3, 4, 1, 3, 0))

    def test_nothing_is_no_success(self):
        self.assertEqual(judge(Found(STEPS, [], [], [], [], [], [])).violations(), ["no saga ended"])

    def test_no_clock(self):
        sagas = [Saga(str(n), "undone") for n in range(100)]
        found = Found(STEPS, [Order(saga.id, 1, 1) for saga in sagas], sagas, [], [], [], [])
        self.assertEqual(judge(found).violations(), ["of 100 sagas none met a deadline: there is no clock"])

    def test_open_and_stuck(self):
        self.found.sagas[1].state = "undoing"
        self.expect(open=1)
        self.found.sagas[1].stuck = "exhausted"
        self.assertEqual(self.expect(stuck=1).inconsistent, 0)

    def test_a_start_that_was_rolled_back(self):
        self.found.orders.pop()
        self.expect(unordered=1)
        self.found.orders.append(Order("x", 1, 1))
        self.expect(unordered=1, unstarted=1)

    def test_effects_of_a_stranger(self):
        self.found.effects += effects("x", "reserve do")
        self.expect(strangers=1)

    def test_twice(self):
        self.found.effects += effects("a", "ship do", begin=9.0)
        self.expect(twice=1)
        self.found.effects += effects("c", "hold undo", begin=9.0)
        self.expect(twice=2)

    def test_completed_and_not_done(self):
        self.without("a", "ship", "do")
        self.expect(half=1)

    def test_done_without_what_stands_before_it(self):
        self.without("a", "hold", "do")
        self.expect(half=1, order=1)

    def test_undone_and_still_done(self):
        self.without("b", "reserve", "undo")
        self.expect(half=1)

    def test_both_done_and_undone(self):
        self.found.effects += effects("a", "ship undo", begin=9.0)
        self.expect(mixed=1)

    def test_undone_and_never_done(self):
        self.found.effects += effects("d", "reserve undo")
        self.expect(mixed=1)

    def test_refused_and_done(self):
        self.found.effects += effects("b", "hold do", begin=2.5)
        self.expect(mixed=1)

    def test_a_late_do_behind_the_undo(self):
        self.without("c", "hold", "do")
        self.found.effects += effects("c", "hold do", begin=9.0)
        self.expect(order=1)

    def test_undone_forwards(self):
        for effect in self.found.effects:
            if effect.saga == "c" and effect.what == "undo":
                effect.at = {"hold": 9.0, "reserve": 8.0}[effect.step]
        self.expect(order=1)

    def test_done_backwards(self):
        for effect in self.found.effects:
            if (effect.saga, effect.step) == ("a", "hold"):
                effect.at = 0.5
        self.expect(order=1)

    def test_a_deadline_that_counts_twice(self):
        self.found.log.append(self.found.log[7])
        self.expect(deadlines=1)

    def test_an_attempt_that_is_left_out_or_was_not_to_be_sent(self):
        self.found.sent += commands("d", "reserve do 2")
        self.expect(deadlines=1)
        self.found = fair()
        self.found.log[1] = log("a", "timeout:undo_this hold do 1 11")[0]
        self.expect(deadlines=1)

    def test_a_deadline_that_comes_before_its_time(self):
        self.found.log[1] = log("a", "timeout:again hold do 1 10.9")[0]
        self.expect(early=1)
        self.found = fair()
        self.found.log[7] = log("c", "timeout:undo_this hold do 2 12.5")[0]
        self.expect(early=1)
        self.found = fair()
        del self.found.log[0]
        self.expect(early=1)

    def test_an_attempt_that_is_sent_twice(self):
        again = Command("a", "hold", "do", 2, "another message")
        self.found.sent.append(again)
        self.expect(deadlines=1)
        self.found.arrived.append(again)
        self.expect(deadlines=2)

    def test_a_copy_of_the_same_message_is_none(self):
        self.found.arrived.append(self.found.arrived[0])
        self.expect()

    def test_a_command_that_nobody_sent(self):
        self.found.arrived += commands("a", "reserve do 2")
        self.expect(strangers=1)

    def test_money_made_and_lost(self):
        for book, change in (("bank", -1), ("bank", 1), ("stock", -1)):
            self.found = fair()
            self.found.books[book].left += change
            self.expect(made_or_lost=1)

    def test_money_that_moved_though_the_sum_is_right(self):
        bank = self.found.books["bank"]
        bank.left, bank.held = bank.left - 5, 5
        self.expect(made_or_lost=1)
        bank.held, bank.spent = 0, bank.spent + 5
        self.expect(made_or_lost=1)

    def test_money_that_is_held_for_an_open_saga(self):
        self.found.sagas[1].state = "running"
        self.found.books["stock"].left, self.found.books["stock"].held = 96, 2
        self.expect(open=1)

    def test_a_lock_that_stays(self):
        self.found.locks = ["customer 1"]
        self.expect(locked=1)


class Faults(unittest.TestCase):
    def test_they_are_a_function_of_the_seed(self):
        draw = lambda seed: injector.draw("saga", seed, 100, 3, saga.KINDS, 12)  # noqa: E731
        self.assertEqual(draw(1), draw(1))
        self.assertNotEqual(draw(1), draw(2))
        self.assertGreater(min(fault["at"] for fault in draw(1)), injector.QUIET)

    def test_every_kind_can_be_done(self):
        for run, kinds in ((saga.SagaRun, saga.KINDS), (inbox.InboxRun, inbox.KINDS)):
            done = {name[4:].replace("_", "-") for name in dir(run) if name.startswith("_do_")}
            self.assertEqual(done, set(kinds))
