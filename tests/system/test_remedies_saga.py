"""Advice about sagas, followed to the letter while sagas are under way: each ends, completed or undone. tests/remedies.md lists every
advice."""

import json
import re
import unittest
import uuid

import psycopg2

from test_saga_sql import MONITOR, RELAY, REPLIES, STEPS, WORKER, WRITER, SagaTest as Sagas


class RemedyTest(Sagas):
    def hint(self, service, statement, *values, user=None):
        with self.assertRaises(psycopg2.Error) as caught:
            service.sql(statement, *values, user=user)
        return caught.exception.diag.message_hint


class Initiators(RemedyTest):
    def test_no_daemon_takes_the_answers(self):
        """What a daemon with the group sagas does when it begins; the one that was started before goes on."""
        before = self.start()
        self.shop.sql("DELETE FROM boxhaul.saga_settings")
        start = "SELECT boxhaul.saga_start('order', 'k')"
        self.assertIn("Give the daemon of this database the group sagas in its configuration and start it", self.hint(self.shop, start, user=WRITER))
        self.shop.sql("SELECT boxhaul.saga_configure(%s, '30 days')", REPLIES, user=RELAY)
        after = self.shop.one(start, user=WRITER)
        self.run_all()
        self.assertEqual([self.stands(s) for s in (before, after)], ["completed", "completed"])

    def test_one_that_is_not_defined(self):
        name = f"n{uuid.uuid4().hex[:8]}"
        start = "SELECT boxhaul.saga_start(%s, 'k')"
        hint = self.hint(self.shop, start, name, user=WRITER)
        call = re.search(r"SELECT boxhaul\.saga_define\(name, steps\)", hint)[0]
        self.shop.sql(call.replace("name, steps", "%s, %s"), name, json.dumps(STEPS), user=WRITER)
        saga = self.shop.one(start, name, user=WRITER)
        self.run_all()
        self.assertEqual(self.stands(saga), "completed")

    def test_another_definition(self):
        """A new version, while one of the old runs."""
        name = f"d{uuid.uuid4().hex[:8]}"
        self.define(name, STEPS)
        old = self.start(name)
        hint = self.hint(self.shop, "UPDATE boxhaul.saga_definition SET steps = '[]' WHERE name = %s", name)
        self.assertIn("Call boxhaul.saga_define() with the new steps: they are the next version. What runs ends on its own.", hint)
        self.define(name, STEPS[:3])
        new = self.start(name)
        self.run_all()
        self.assertEqual([(self.stands(s), self.saga(s)["version"]) for s in (old, new)], [("completed", 1), ("completed", 2)])

    def test_a_resource_of_another_saga(self):
        first = self.start(locks=["seat"])
        hint = self.hint(self.shop, "SELECT boxhaul.saga_start('order', 'k', '{}', '{seat}')", user=WRITER)
        look = re.search(r"SELECT \* FROM boxhaul\.sagas", hint)[0]
        self.assertIn(first, str(self.shop.sql(look, user=MONITOR)))
        self.run_all()
        self.assertEqual(self.stands(first), "completed")
        self.start(locks=["seat"])

    def test_one_that_is_not_there(self):
        saga = self.start()
        hint = self.hint(self.shop, "SELECT boxhaul.saga_retry(%s)", str(uuid.uuid4()), user=RELAY)
        rows = self.shop.sql(re.match("(SELECT .*) lists them", hint)[1], user=RELAY)
        self.assertEqual([str(row[0]) for row in rows], [saga])
        self.run_all()
        self.assertEqual(self.stands(saga), "completed")

    def test_what_a_person_may_not_say_of_it(self):
        """Another step than the one it stands at: the timeline tells which, and that one is resolved."""
        self.lost = lambda m: m["subject"] == "bank.charge"
        saga = self.start()
        self.run_all()
        resolve = "SELECT boxhaul.saga_resolve(%s, 'done', 'the bank says so', %s)"
        hint = self.hint(self.shop, resolve, saga, "reserve", user=RELAY)
        rows = self.shop.sql(re.match("(SELECT .*) shows it", hint)[1], user=RELAY)
        self.assertIn("charge", str(rows[-1]))
        self.shop.sql(resolve, saga, "charge", user=RELAY)
        self.run_all()
        self.assertEqual(self.stands(saga), "completed")
        self.assertEqual(self.hint(self.shop, resolve, saga, "charge", user=RELAY), "Nothing is left to do.")


class Participants(RemedyTest):
    """What a participant is told by an error, done in its next transaction."""

    ACCEPT = "SELECT boxhaul.saga_accept('work', %s, %s)"
    ANSWER = "SELECT boxhaul.saga_answer(%s, %s, %s)"

    def setUp(self):
        super().setUp()
        self.saga_ = self.start()
        self.move()

    def ask(self, statement, *values):
        return self.stock.sql(statement, *values, user=WORKER)

    def told(self, statement, *values):
        return self.hint(self.stock, statement, *values, user=WORKER)

    def receive(self):
        self.ask("ROLLBACK; BEGIN")
        ((lane, ident, headers),) = self.ask("SELECT lane, id, headers FROM boxhaul.receive('work', 1)")
        return lane, ident, headers["Boxhaul-Step"]

    def end(self):
        self.ask("ROLLBACK")
        self.work(self.stock)
        self.run_all()
        self.assertEqual(self.stands(self.saga_), "completed")
        self.assertEqual(self.effects(self.stock), ["do reserve", "do check", "do ship"])

    def test_outside_of_the_transaction(self):
        lane, ident, _ = self.receive()
        self.ask("ROLLBACK; BEGIN")
        self.assertIn("It belongs into the transaction of receive()", self.told(self.ACCEPT, lane, ident))
        self.end()

    def test_answered_before_it_is_accepted(self):
        lane, ident, step = self.receive()
        self.ask("SAVEPOINT s")
        self.assertEqual(self.told(self.ANSWER, self.saga_, step, "done"), "saga_accept() belongs into a transaction before the answer.")
        self.ask("ROLLBACK TO s")
        self.ask(self.ACCEPT, lane, ident)
        self.ask("INSERT INTO effect (saga, step, dir) VALUES (%s, %s, 'do')", self.saga_, step)
        self.ask(self.ANSWER, self.saga_, step, "done")
        self.ask("SELECT boxhaul.done('work', %s, %s); COMMIT", lane, ident)
        self.end()

    def test_an_answer_that_is_none_and_one_too_many(self):
        lane, ident, step = self.receive()
        self.ask(self.ACCEPT, lane, ident)
        self.ask("SAVEPOINT s")
        words = re.match(r"(\w+), (\w+) \(.*\) or (\w+)", self.told(self.ANSWER, self.saga_, step, "perhaps")).groups()
        self.assertEqual(words, ("done", "refused", "error"))
        self.ask("ROLLBACK TO s")
        self.ask("INSERT INTO effect (saga, step, dir) VALUES (%s, %s, 'do')", self.saga_, step)
        self.ask(self.ANSWER, self.saga_, step, words[0])
        self.ask("SELECT boxhaul.done('work', %s, %s); COMMIT; BEGIN", lane, ident)
        self.ask("INSERT INTO effect (saga, step, dir) VALUES (%s, %s, 'again')", self.saga_, step)
        self.assertEqual(self.told(self.ANSWER, self.saga_, step, "done"), "ROLLBACK: what was done for it must not stay.")
        self.end()


del Sagas

if __name__ == "__main__":
    unittest.main()
