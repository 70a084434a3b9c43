"""The rules of sagas stand twice: in SQL, which is what runs, and in C, which the simulator plays. Here they are compared: the table of a
transition, for every combination of what it asks for; and the whole of what an initiator does with events, and a participant with commands
and answers, in walks that the simulator draws."""

import contextlib
import glob
import json
import os
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from psycopg2 import errors  # noqa: E402

from process import Workspace  # noqa: E402
from servers import Postgres  # noqa: E402

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
STATES, KINDS, EVENTS, WALKS = 4, 3, 14, 80

TABLE = """
SELECT concat_ws(E'\\t', state, kind, event, fits::int, attempts_left::int, first::int, last::int, cancelling::int, orphan::int,
                 coalesce(boxhaul.saga_transition(state, kind, event, fits, attempts_left, first, last, cancelling, orphan), 'NULL'))
  FROM unnest(%s::text[]) state, unnest(%s::text[]) kind, unnest(%s::text[]) event, unnest('{f,t}'::bool[]) fits,
       unnest('{f,t}'::bool[]) attempts_left, unnest('{f,t}'::bool[]) first, unnest('{f,t}'::bool[]) last,
       unnest('{f,t}'::bool[]) cancelling, unnest('{f,t}'::bool[]) orphan"""
FUNCTIONS = """
CREATE TABLE mood (now text NOT NULL);
INSERT INTO mood VALUES ('well');
CREATE FUNCTION body(saga uuid, step text, dir text, data jsonb) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    IF (SELECT m.now FROM public.mood m) = 'raises' THEN RAISE EXCEPTION 'no'; END IF;
    RETURN '{}';
END $$;
CREATE FUNCTION local(saga uuid, step text, dir text, data jsonb) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    IF (SELECT m.now FROM public.mood m) = 'refuses' THEN RAISE EXCEPTION 'no' USING ERRCODE = 'BXREF'; END IF;
    RETURN public.body(saga, step, dir, data);
END $$"""
ROW = """SELECT concat_ws(' ', state, step, reached, attempt, sent::int, due, coalesce(stuck, '-'), (cancelled IS NOT NULL)::int)
           FROM boxhaul.saga WHERE id = %s"""
PART = "SELECT concat_ws(' ', did, dir, attempt) FROM boxhaul.saga_part WHERE saga = %s"
SENT = """SELECT id, boxhaul_headers ->> 'Boxhaul-Dir', substr(boxhaul_headers ->> 'Boxhaul-Step', 2), boxhaul_headers ->> 'Boxhaul-Attempt',
                 boxhaul_headers ->> 'Boxhaul-Outcome'
            FROM boxhaul.outbox WHERE id > %s ORDER BY id"""
RECEIVED = "FROM jsonb_populate_record(NULL::boxhaul.inbox, %s) r"


class Walk:
    """One line after the other of what the simulator printed, played on the database. Each returns what is there then."""

    def __init__(self, connection):
        self.connection, self.sent, self.number, self.id = connection, 0, 0, None

    def sql(self, statement, *values):
        with self.connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            return cursor.fetchall()

    def one(self, statement, *values):
        rows = self.sql(statement, *values)
        return rows[0][0] if rows else None

    def may_raise(self, statement, *values):
        """None: it raised, and nothing is left of it."""
        try:
            return self.one(statement, *values)
        except errors.ObjectNotInPrerequisiteState:
            return None

    def leaves(self):
        rows = self.sql(SENT, self.sent)
        self.sent = rows[-1][0] if rows else self.sent
        return [row[1:] for row in rows]

    def message(self, step, dir_, attempt, **headers):
        return json.dumps({"seq": 1, "subject": "walk", "payload": "", "headers": {
            "Boxhaul-Saga": self.id, "Boxhaul-Step": f"s{step}", "Boxhaul-Dir": dir_, "Boxhaul-Attempt": attempt, **headers}})

    def stands(self):
        commands = ",".join(f"{dir_}:{step}:{attempt}" for dir_, step, attempt, _ in self.leaves())
        return f"{self.one(ROW, self.id)} {commands or '-'}"

    def mood(self, now):
        with self.connection.cursor() as cursor:
            cursor.execute("UPDATE mood SET now = %s WHERE now <> %s", (now, now))

    def well(self, name, *words):
        return self.event("well", name, words)

    def raises(self, name, *words):
        return self.event("raises", name, words)

    def refuses(self, name, *words):
        return self.event("refuses", name, words)

    def event(self, mood, name, words):
        self.mood(mood)
        return getattr(self, name)(*words)

    def saga(self, *words):
        self.number += 1
        steps = []
        for i, word in enumerate(words):
            kind, undo, local, payload, retries = word.split(",")
            step = {"name": f"s{i}", "kind": kind, "retries": int(retries), "call" if local == "1" else "command": "public.local"}
            step.update(undo="public.local" if undo == "1" else None, payload="public.body" if payload == "1" else None)
            steps.append(step)
        self.mood("well")
        self.sql("SELECT boxhaul.saga_define(%s, %s)", f"walk{self.number}", json.dumps(steps))
        self.id = self.one("SELECT boxhaul.saga_start(%s, 'x')::text", f"walk{self.number}")
        return self.stands()

    def answer(self, step, dir_, attempt, outcome):
        self.sql(f"SELECT boxhaul.saga_reply(r) {RECEIVED}", self.message(step, dir_, attempt, **{"Boxhaul-Outcome": outcome}))
        return self.stands()

    def clock(self):
        self.sql("SELECT boxhaul.saga_due(%s, now())", self.id)
        return self.stands()

    def ask(self, event):
        call, _, outcome = event.partition("_")
        values = {"retry": ("saga_retry(%s)",), "cancel": ("saga_cancel(%s, 'x')",), "undo": ("saga_undo(%s, 'x')",),
                  "resolve": ("saga_resolve(%s, %s, 'x')", outcome)}[call]
        self.may_raise(f"SELECT boxhaul.{values[0]}", self.id, *values[1:])
        return self.stands()

    def part(self):
        self.id = self.one("SELECT gen_random_uuid()::text")

    def told(self, word):
        answers = ",".join(f"{dir_}:{attempt}:{outcome}" for dir_, _, attempt, outcome in self.leaves())
        return f"{word} {self.one(PART, self.id) or '- - 0'} {answers or '-'}"

    def command(self, dir_, attempt):
        return self.told(self.one(f"SELECT boxhaul.saga_accept(r) {RECEIVED}", self.message(0, dir_, attempt, **{
            "Boxhaul-Reply-To": "walk"})))

    def say(self, outcome):
        done = self.may_raise("SELECT boxhaul.saga_answer(%s, 's0', %s) IS NOT NULL", self.id, outcome)
        return self.told("raised" if done is None else "said")


class Twice(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        workspace = cls.enterClassContext(Workspace())
        cls.pg = workspace.add(Postgres(workspace.path("pg"), fsync="off")).start()
        for path in sorted(glob.glob(os.path.join(TOP, "sql", "*.sql"))):
            with open(path, encoding="utf-8") as f:
                cls.pg.execute(f.read())
        cls.pg.execute(FUNCTIONS)
        cls.pg.execute("SELECT boxhaul.saga_configure('walk.replies', '1 day')")
        cls.program = os.path.join(cls.enterClassContext(tempfile.TemporaryDirectory()), "sagas")
        subprocess.run([os.path.join(TOP, "tests", "simulator", "build_world"), "saga", cls.program], check=True)

    def ours(self, *words):
        return subprocess.run([self.program, *words], check=True, capture_output=True, text=True).stdout.splitlines()

    def test_table(self):
        ours = self.ours("--table")
        self.assertEqual(len(ours), STATES * KINDS * EVENTS * 2 ** 6)
        words = [sorted({line.split("\t")[i] for line in ours}) for i in range(3)]
        self.assertEqual([len(w) for w in words], [STATES, KINDS, EVENTS])
        theirs = [row[0] for row in self.pg.execute(TABLE, words)]
        self.assertEqual(sorted(set(ours) ^ set(theirs)), [], "the C table and boxhaul.saga_transition() differ")
        self.assertEqual(len(theirs), len(ours))

    def test_no_other_word_is_known(self):
        for event in ("answered", ""):
            with self.subTest(event):
                self.assertEqual(self.pg.execute("SELECT boxhaul.saga_transition('running', 'pivot', %s, true, true, true, true, false, false)",
                                                 (event,)), [(None,)])

    def test_walks(self):
        ours = self.ours("--walks", str(WALKS))
        self.assertGreater(len(ours), 20 * WALKS)
        walk = Walk(self.enterContext(contextlib.closing(self.pg.connect())))
        begin = 0
        for i, line in enumerate(ours):
            event, _, there = line.partition(" => ")
            name, *words = event.split(" ")
            begin = i if name in ("saga", "part") else begin
            self.assertEqual((getattr(walk, name)(*words) or ""), there, "\n".join(["SQL and C differ behind:", *ours[begin:i + 1]]))


if __name__ == "__main__":
    unittest.main()
