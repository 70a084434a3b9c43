"""The services in packaging/examples/saga, as they are installed: order, stock and payment, killed at random, as `packaging/try --saga`
runs them (which the step `try` of tests/run does in Python). And what that counts can fail."""

import json
import os
import shutil
import subprocess
import sys
import unittest

import psycopg2

from harness import SystemTest
from process import Workspace
from test_examples import EXAMPLES, TOP, fetch

sys.path[:0] = [os.path.join(TOP, "packaging"), os.path.join(EXAMPLES, "saga")]

import participant  # noqa: E402
import try_saga  # noqa: E402



class Ledger:
    """What three services say: a sale that was completed and one that was undone, and what a test changes."""

    def __init__(self, **changed):
        self.rows = {"sale": [(1, "customer-7", "item-0", 2, 14, "sold"), (2, "customer-0", "item-1", 1, 7, "cancelled")],
                     "sagas": [("1", "completed"), ("2", "undone")],
                     "reservation": [(1, "item-0", 2, "shipped"), (2, "item-1", 1, "released")], "charge": [(1, "customer-7", 14)],
                     "stock": [("item-0", try_saga.PLENTY - 2, 0), ("item-1", try_saga.PLENTY, 0)],
                     "account": [("customer-7", try_saga.PLENTY - 14), ("customer-0", 0)], **changed}

    def ask(self, _, sql):
        return self.rows[sql.rpartition(" ")[2].removeprefix("boxhaul.")]

    def faults(self):
        return list(try_saga.Books(self).inconsistent())


class BooksTest(unittest.TestCase):
    def test_what_adds_up(self):
        self.assertEqual(Ledger().faults(), [])

    def test_every_kind_of_fault_is_seen(self):
        sound = Ledger().rows
        for what, changed in {
                "a sale without a saga": {"sagas": sound["sagas"][1:]},
                "a sale with two": {"sagas": [*sound["sagas"], ("1", "undone")]},
                "completed and not shipped": {"reservation": [(1, "item-0", 2, "held"), sound["reservation"][1]],
                                              "stock": [("item-0", try_saga.PLENTY - 2, 2), sound["stock"][1]]},
                "completed and not paid": {"charge": [], "account": [("customer-7", try_saga.PLENTY), ("customer-0", 0)]},
                "undone and paid": {"sagas": [("1", "undone"), ("2", "undone")]},
                "completed and not sold": {"sale": [(*sound["sale"][0][:5], "pending"), sound["sale"][1]]},
                "undone and still held": {"reservation": [sound["reservation"][0], (2, "item-1", 1, "held")],
                                          "stock": [sound["stock"][0], ("item-1", try_saga.PLENTY - 1, 1)]},
                "goods of no sale": {"reservation": [*sound["reservation"], (3, "item-1", 1, "released")]},
                "money made": {"account": [("customer-7", try_saga.PLENTY), ("customer-0", 0)]},
                "goods lost": {"stock": [("item-0", try_saga.PLENTY - 3, 0), sound["stock"][1]]}}.items():
            with self.subTest(what):
                self.assertEqual(len(Ledger(**changed).faults()), 1)


class PythonTest(SystemTest):
    """What participant.py makes of a step that raises, refuses, or is none; one database is initiator and participant."""

    STEPS = [{"name": "reserve", "kind": "undoable", "command": "saga.reserve", "undo": "saga.release"},
             {"name": "charge", "kind": "pivot", "command": "saga.charge"}]

    def saga(self, what="state"):
        return self.sql(f"SELECT {what} FROM boxhaul.sagas")[0][0]

    def serve_until(self, steps, done, what):
        connection = psycopg2.connect(self.pg.conninfo(self.database))
        self.addCleanup(connection.close)

        def look():
            participant.turn(connection, "here", steps)
            return done()
        self.wait(look, what)

    def test_a_step_that_raises_is_taken_back_and_asked_again(self):
        self.sql("CREATE TABLE effect (what text)")
        self.start_relay(streams=[{"name": "SAGAS", "subjects": ["saga.>"], "create": True, "replicas": self.nats.replicas}],
                         inbox=[{"name": "here", "stream": "SAGAS", "subjects": ["saga.reserve", "saga.release", "saga.charge"]}],
                         sagas={"stream": "SAGAS", "replies": "saga.answers", "tick": "100ms"})
        self.wait(lambda: self.sql("SELECT 1 FROM boxhaul.saga_settings"), "sagas to be configured")
        self.sql("SELECT boxhaul.saga_define('order', %s)", (json.dumps(self.STEPS),))
        self.sql("SELECT boxhaul.saga_start('order', '1')")
        failures = ["first", "second"]

        def effect(cursor, _):
            cursor.execute("INSERT INTO effect VALUES ('reserve')")
            if failures:
                raise ValueError(failures.pop(0))

        def refuse(*_):
            raise participant.Refused("no money")

        self.serve_until({"saga.reserve": effect}, lambda: self.saga("step") == "charge" and self.saga("error"), "a command that nobody knows")
        self.assertEqual((self.sql("SELECT what FROM effect"), failures), ([("reserve",)], []))
        self.assertIn("KeyError", self.saga("error"))
        self.serve_until({"saga.charge": refuse, "saga.release": lambda cursor, _: cursor.execute("DELETE FROM effect")},
                         lambda: self.saga() == "undone", "the saga to be undone")
        self.assertEqual((self.saga("reason"), self.sql("SELECT what FROM effect")), ("no money", []))
        self.assertEqual([row[0] for row in self.sql("SELECT detail FROM boxhaul.saga_log WHERE event = 'error' AND step = 'reserve' ORDER BY n")],
                         ["ValueError('first')", "ValueError('second')"])


class GoTest(unittest.TestCase):
    def test_stock_in_go(self):
        directory = fetch("go-worker", ("go", "mod", "init", "worker"), ("go", "get", "github.com/jackc/pgx/v5@latest"))
        shutil.copy(os.path.join(EXAMPLES, "saga", "stock.go"), directory)
        built = subprocess.run(["go", "build", "-o", "stock", "stock.go"], cwd=directory, stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        self.assertEqual(built.returncode, 0, built.stdout)
        with Workspace() as workspace:
            self.assertEqual(try_saga.run(workspace, os.environ["BOXHAUL"], 3, {"stock": [os.path.join(directory, "stock")]}), 0)


del SystemTest

if __name__ == "__main__":
    unittest.main()
