"""boxhaul-saga(7): its tables of transitions are what boxhaul.saga_transition() does, and its example runs, as it is printed."""

import itertools
import json
import os
import re
import subprocess
import unittest

from harness import SystemTest
from relay import Relay, to_libconfig
from test_examples import TOP

STATES = {"any": ("running", "undoing", "completed", "undone"), "ended": ("completed", "undone")}
KINDS = {"any": ("undoable", "pivot", "retriable")}
FACTS = ("fits", "attempts_left", "first", "last", "cancelling", "orphan")
# The tables, by the heading they stand under: what their events are called in SQL.
TABLES = {"Answers, and the clock": {e: e for e in ("done", "refused", "error", "failed", "timeout", "repeat", "resend", "unsent")},
          "What somebody asks for": {e: e for e in ("cancel", "undo", "retry")},
          "What somebody says of the step in place of its participant": {e: f"resolve_{e}" for e in ("done", "undone", "refused")}}
ASK = """SELECT boxhaul.saga_transition(q ->> 0, q ->> 1, q ->> 2, (q ->> 3)::bool, (q ->> 4)::bool, (q ->> 5)::bool, (q ->> 6)::bool,
                                        (q ->> 7)::bool, (q ->> 8)::bool)
           FROM jsonb_array_elements(%s) WITH ORDINALITY AS x (q, n) ORDER BY n"""


def page():
    with open(os.path.join(TOP, "packaging", "man", "boxhaul-saga.7"), encoding="utf-8") as f:
        return f.read()


def section(name):
    return re.search(rf"(?ms)^\.Ss {re.escape(name)}\n(.*?)(?=^\.S[hs] |\Z)", page()).group(1)


def displays(text):
    for display in re.findall(r"(?ms)^\.Bd -literal[^\n]*\n(.*?)^\.Ed$", text):
        yield display.replace("\\(dq", '"').replace("\\-", "-").replace("\\e", "\\")


class Row:
    """A line of a table: what it matches, and what is done then."""

    def __init__(self, line, events):
        state, kind, event, fact, self.action = (cell.replace(" , ", ", ").replace("\\-", "").strip() for cell in line.split(" Ta "))
        self.states, self.kinds = STATES.get(state, (state,)), KINDS.get(kind, (kind,))
        self.events = list(events.values()) if event == "any" else [events[e] for e in event.split(", ")]
        self.wanted, self.fact = not fact.startswith("not "), fact.removeprefix("not ")
        assert self.fact in ("", *FACTS), fact

    def matches(self, question):
        state, kind, event, *facts = question
        return (state in self.states and kind in self.kinds and event in self.events
                and (not self.fact or dict(zip(FACTS, facts))[self.fact] == self.wanted))


class TransitionsTest(SystemTest):
    def test_the_printed_tables_are_the_function(self):
        asked = 0
        for heading, events in TABLES.items():
            rows = [Row(line, events) for line in re.findall(r"(?m)^\.It (?!Sy)(.*)$", section(heading))]
            questions = list(itertools.product(STATES["any"], KINDS["any"], events.values(), *[(False, True)] * len(FACTS)))
            said = [row[0] for row in self.sql(ASK, (json.dumps(questions),))]
            self.assertEqual(len(said), len(questions))
            used = set()
            for question, action in zip(questions, said):
                row = next((r for r in rows if r.matches(question)), None)
                self.assertIsNotNone(row, f"no line of the page says what {question} does")
                self.assertEqual(row.action, action, question)
                used.add(row)
            self.assertEqual([vars(row) for row in rows if row not in used], [], "these lines never count")
            asked += len(questions)
        self.assertEqual(asked, 4 * 3 * 14 * 2 ** 6)

    def test_every_word_is_told(self):
        told = set(re.findall(r"[a-z_]+", " ".join(re.findall(r"(?m)^\.It (.*)$", section("The words")))))
        cells = " ".join(" ".join(line.split(" Ta ")[2:]) for heading in TABLES for line in re.findall(r"(?m)^\.It (?!Sy)(.*)$", section(heading)))
        self.assertEqual(set(re.findall(r"[a-z_]{2,}", cells)) - told, {"any", "not", "cancel", "retry", "undo"})


class ExampleTest(SystemTest):
    """As printed, but for addresses; the owner of each database runs the SQL, as its service would."""

    def service(self, name):
        user = f"{name}_{self.database}"
        database = f"{self.database}_{name}"
        self.pg.execute(f"CREATE ROLE {user} LOGIN")
        self.pg.execute(f"CREATE DATABASE {database} OWNER {user}")
        relay = self.workspace.add(Relay(self.program, self.workspace.path(database), {}))
        [text] = displays(section(f"The {name}: its configuration"))
        owner = f'" ; migrate_conninfo = "{self.pg.conninfo(database)}'
        for printed, ours in (("host=/run/postgresql", f"host={self.pg.directory} port={self.pg.port}"), (f"dbname={name}", f"dbname={database}"),
                              ("user=boxhaul", f"user=boxhaul{owner}"), ("nats://127.0.0.1:4222", self.nats.url())):
            self.assertIn(printed, text)
            text = text.replace(printed, ours)
        with open(relay.config, "w", encoding="utf-8") as f:
            f.write(text + to_libconfig(relay.settings))
        relay.migrate()
        self.pg.execute(f"GRANT boxhaul_writer, boxhaul_handler TO {user}")
        [sql] = displays(section(f"The {name}: its database"))
        self.pg.execute(sql, dbname=database, user=user)
        return relay, lambda sql: self.pg.execute(sql, dbname=database, user=user)

    def test_three_sales(self):
        self.pg.execute("CREATE ROLE boxhaul LOGIN")
        relays, shop, stock = [], None, None
        relay, stock = self.service("stock")
        relays.append(relay)
        relay, shop = self.service("shop")
        relays.append(relay)
        self.pg.execute("GRANT boxhaul_relay TO boxhaul")
        for relay in relays:
            relay.start().wait_until_ready()
        for relay in relays:
            checked = relay.command("check")
            self.assertEqual(checked.returncode, 0, checked.stdout)
        self.wait(lambda: self.pg.execute("SELECT 1 FROM boxhaul.saga_settings", dbname=f"{self.database}_shop"), "sagas to be configured")
        [sales] = displays(section("Three sales"))
        for sale in sales.split("\n\n"):
            shop(sale)
        [look] = displays(section("What became of them"))
        self.wait(lambda: all(row[1] in ("completed", "undone") for row in shop(look)), "the sagas to end")
        self.assertEqual([row[:3] for row in shop(look)],
                         [("sale-1", "completed", None), ("sale-2", "undone", "no money"), ("sale-3", "undone", "sold out")])
        self.assertEqual(shop("SELECT number, state FROM sale ORDER BY number"), [(1, "sold"), (2, "cancelled"), (3, "cancelled")])
        self.assertEqual(shop("SELECT customer, balance FROM account ORDER BY customer"), [("ann", 60), ("bob", 0)])
        self.assertEqual(stock("SELECT free FROM stock"), [(3,)])
        self.assertEqual(stock("SELECT item, quantity, shipped FROM held"), [("lamp", 2, True)])
        self.operate(relays[1], shop)

    def operate(self, relay, shop):
        """The commands of OPERATING, with the id of a saga that has ended: only what looks at it can do something."""
        id_ = shop("SELECT id::text FROM boxhaul.sagas WHERE key = 'sale-1'")[0][0]
        operating = re.search(r"(?ms)^\.Sh OPERATING\n(.*?)^\.Sh ", page()).group(1)
        commands = [line for display in displays(operating) for line in display.splitlines()]
        self.assertEqual(len(commands), 7)
        for line in commands:
            with self.subTest(line):
                command = line.replace("NAME", f"-c {relay.config}").replace(" ID", f" {id_}").replace("boxhaul", self.program, 1)
                done = subprocess.run(["bash", "-c", command + (" --yes" if "--reason" in line else "")], stdin=subprocess.DEVNULL,
                                      capture_output=True, text=True, timeout=60, check=False)
                changes = any(word in line for word in (" retry ", " undo ", " resolve "))
                self.assertEqual(done.returncode, 1 if changes else 0, done.stdout + done.stderr)
                self.assertIn("has ended completed" if changes else "", done.stdout + done.stderr)


del SystemTest

if __name__ == "__main__":
    unittest.main()
