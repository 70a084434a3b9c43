"""The SQL of sagas alone: an initiator and two participants, each with its own database, without a daemon and without a broker. A loop
here carries rows of an outbox into the inboxes that take their subjects."""

import contextlib
import glob
import json
import os
import random
import sys
import unittest
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import psycopg2  # noqa: E402
from psycopg2 import errors  # noqa: E402

from process import DEADLINE, Workspace  # noqa: E402
from servers import Postgres  # noqa: E402

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
RELAY, WRITER, WORKER, MONITOR = "saga_relay", "saga_writer", "saga_worker", "saga_monitor"
REPLIES = "shop.saga"
ANSWERS = "sagas.replies"  # the subscription that takes them
SEEDS = int(os.environ.get("SAGA_SEEDS", "3"))
FIRST_SEED = int(os.environ.get("SAGA_FIRST_SEED", "1"))
STEPS = [{"name": "reserve", "kind": "undoable", "command": "stock.reserve", "undo": "stock.release", "deadline": "10h", "retries": 1},
         {"name": "check", "kind": "undoable", "command": "stock.check", "deadline": "10h", "retries": 1},
         {"name": "charge", "kind": "pivot", "command": "bank.charge", "deadline": "10h", "retries": 1},
         {"name": "ship", "kind": "retriable", "command": "stock.ship", "deadline": "10h", "retries": 1}]
EVENTS = ("done", "refused", "error", "failed", "timeout", "repeat", "resend", "unsent", "cancel", "undo", "retry",
          "resolve_done", "resolve_undone", "resolve_refused")
STATES, KINDS = ("running", "undoing", "completed", "undone"), ("undoable", "pivot", "retriable")

SERVICE = f"""
CREATE TABLE effect (n bigserial PRIMARY KEY, saga uuid, step text, dir text);
CREATE TABLE broken (yes boolean NOT NULL);
INSERT INTO broken VALUES (false);
GRANT ALL ON effect, effect_n_seq, broken TO {WORKER}, {WRITER};
CREATE FUNCTION body(saga uuid, step text, dir text, data jsonb) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public AS $$
BEGIN
    IF (SELECT b.yes FROM broken b) THEN RAISE EXCEPTION 'no body today'; END IF;
    RETURN jsonb_build_object('saga', saga, 'step', step, 'dir', dir, 'amount', data -> 'amount');
END $$;
CREATE FUNCTION local(saga uuid, step text, dir text, data jsonb) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public AS $$
BEGIN
    INSERT INTO effect (saga, step, dir) VALUES (saga, step, dir);
    IF data ? 'refuse' THEN RAISE EXCEPTION 'not for this one' USING ERRCODE = 'BXREF'; END IF;
    IF (SELECT b.yes FROM broken b) THEN RAISE EXCEPTION 'out of order'; END IF;
    RETURN jsonb_build_object(step, dir);
END $$;
CREATE FUNCTION invoker(saga uuid, step text, dir text, data jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT data $$;
"""


class Service:
    """One database, as the services and the daemon beside it use it."""

    def __init__(self, pg, name):
        self.pg, self.name = pg, name
        self.connections, self.position, self.moved = {}, 0, 0

    def sql(self, statement, *values, user=None):
        if user not in self.connections or self.connections[user].closed:
            self.connections[user] = self.pg.connect(self.name, user)
        with self.connections[user].cursor() as cursor:
            cursor.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else None

    def one(self, statement, *values, user=None):
        return self.sql(statement, *values, user=user)[0][0]

    def open(self, subscription, *subjects):
        self.subscription, self.subjects = subscription, subjects
        self.one("SELECT boxhaul.inbox_define(%s, 'SAGAS', %s, lanes => 1)", subscription, list(subjects), user=RELAY)
        self.epoch = self.one("SELECT epoch FROM boxhaul.inbox_lead(%s, 'test')", subscription, user=RELAY)
        self.one("SELECT boxhaul.inbox_open(%s, %s, '2026', 0, NULL)", subscription, self.epoch, user=RELAY)

    def sent(self):
        """Rows of the outbox that did not leave yet, as messages."""
        rows = self.sql("""SELECT id, message_id::text, subject, key, convert_from(payload, 'UTF8'),
                                  coalesce(headers, '{}') || coalesce(boxhaul_headers, '{}')
                             FROM boxhaul.outbox WHERE id > %s ORDER BY id""", self.moved)
        if rows:
            self.moved = rows[-1][0]
        return [dict(zip(("id", "subject", "key", "body", "headers"), row[1:])) for row in rows]

    def takes(self, message):
        return any(message["subject"] == s or s.endswith(">") and message["subject"].startswith(s[:-1]) for s in self.subjects)

    def take(self, m):
        self.one("""SELECT taken FROM boxhaul.inbox_take(%s, %s, 1, %s, %s, %s, ARRAY[%s]::bigint[], ARRAY[%s], ARRAY[%s], ARRAY[%s],
                        ARRAY[%s]::bytea[], ARRAY[%s]::jsonb[], ARRAY[%s]::bigint[], ARRAY[NULL]::text[])""",
                 self.subscription, self.epoch, self.position, self.position + 1, self.position + 1, self.position + 1, m["id"],
                 m["subject"], m["key"], m["body"].encode(), json.dumps({**m["headers"], "Boxhaul-Key": m["key"]}),
                 self.position + 1, user=RELAY)
        self.position += 1


class SagaTest(unittest.TestCase):
    pg = None

    @classmethod
    def setUpClass(cls):
        if SagaTest.pg is not None:
            return
        workspace = unittest.enterModuleContext(Workspace())
        SagaTest.pg = pg = workspace.add(Postgres(workspace.path("pg"), fsync="off")).start()
        pg.execute("CREATE DATABASE shop")
        for path in sorted(glob.glob(os.path.join(TOP, "sql", "*.sql"))):
            with open(path, encoding="utf-8") as f:
                text = f.read()
            for _ in range(2):  # each can be run again
                pg.execute(text, dbname="shop")
        for user, role in ((RELAY, "boxhaul_relay"), (WRITER, "boxhaul_writer"), (WORKER, "boxhaul_handler"), (MONITOR, "boxhaul_monitor")):
            pg.create_login(user, role)
        pg.execute(SERVICE, dbname="shop")
        for name in ("stock", "bank"):
            pg.copy_database("shop", name)
        for user in (pg.superuser, RELAY, WRITER, WORKER, MONITOR):
            pg.execute(f"ALTER ROLE {user} SET statement_timeout = '{DEADLINE}s'")  # no test hangs
        cls.services = [Service(pg, name) for name in ("shop", "stock", "bank")]
        for service, subscription, subjects in zip(cls.services, (ANSWERS, "work", "work"), ([REPLIES], ["stock.>"], ["bank.>"])):
            service.open(subscription, *subjects)
        SagaTest.services = cls.services

    def setUp(self):
        self.shop, self.stock, self.bank = self.services
        self.answers, self.lost = {}, lambda message: False
        self.move()
        for drain in (self.work, self.work, lambda _: self.reply()):  # what an earlier test left on its way
            for service in self.services[1:]:
                drain(service)
        for service in self.services:
            service.sent()
            service.sql("""TRUNCATE boxhaul.saga, boxhaul.saga_log, boxhaul.saga_lock, boxhaul.saga_orphan, boxhaul.saga_part, effect;
                           UPDATE broken SET yes = false;
                           UPDATE boxhaul.saga_count SET timeouts = 0, sagas_before = '-infinity', parts_before = '-infinity'""")
        self.shop.sql("SELECT boxhaul.saga_configure(%s, '30 days')", REPLIES, user=RELAY)
        self.define("order", STEPS)

    # -- what the services do

    def define(self, name, steps):
        return self.shop.one("SELECT boxhaul.saga_define(%s, %s)", name, json.dumps(steps), user=WRITER)

    def start(self, name="order", data=None, locks=(), traceparent=None):
        self.clock = self.shop.one("SELECT clock_timestamp()")
        return self.shop.one("SELECT boxhaul.saga_start(%s, 'order-42', %s, %s::text[], %s)", name, json.dumps(data or {}), list(locks),
                             traceparent, user=WRITER)

    def move(self):
        """Carry every row of every outbox that is not lost to who takes it. Returns the messages."""
        messages = [m for service in self.services for m in service.sent()]
        for m in messages:
            if not self.lost(m):
                for service in self.services:
                    if service.takes(m):
                        service.take(m)
        return messages

    def work(self, service):
        """A participant's worker: it answers as self.answers says of (step, dir), else done; None: it decides later."""
        said = []

        def ask(statement, *values):
            return service.sql(statement, *values, user=WORKER)
        ask("ROLLBACK")  # a test that failed may have left a transaction
        ask("BEGIN")
        while rows := ask("SELECT lane, id, headers FROM boxhaul.receive('work', 1)"):
            lane, id_, headers = rows[0]
            saga, step, dir_ = headers["Boxhaul-Saga"], headers["Boxhaul-Step"], headers["Boxhaul-Dir"]
            what = ask("SELECT boxhaul.saga_accept('work', %s, %s)", lane, id_)[0][0]
            said.append(f"{dir_} {step}: {what}")
            answer = self.answers.get((step, dir_), "done")
            if what != "skip" and answer:
                if answer == "done":
                    ask("INSERT INTO effect (saga, step, dir) VALUES (%s, %s, %s)", saga, step, dir_)
                reply = {step: dir_} if answer == "done" else {"reason": f"{step} says {answer}"}
                ask("SELECT boxhaul.saga_answer(%s, %s, %s, %s)", saga, step, answer, json.dumps(reply))
            ask("SELECT boxhaul.done('work', %s, %s)", lane, id_)
            ask("COMMIT")
            ask("BEGIN")
        ask("ROLLBACK")
        return said

    def reply(self):
        """The daemon's handler of answers."""
        while True:
            lane, handled, failed, _, error = self.shop.sql(
                "SELECT lane, handled, failed, failed_id, error FROM boxhaul.handle(%s, 'boxhaul.saga_reply')", ANSWERS, user=RELAY)[0]
            self.assertFalse(failed, error)
            if lane is None or handled == 0:
                return

    def run_all(self):
        """Until nothing travels any more. Returns what the participants said, in order."""
        said = []
        while self.move():
            for service in (self.stock, self.bank):
                said += self.work(service)
            self.reply()
        return said

    def tick(self, hours=0):
        """The clock, so much later than it was. Hours, for a machine may be slow: what the test itself takes is nothing then."""
        self.clock = self.shop.one("SELECT %s + %s * '1 hour'::interval", self.clock, hours)
        return self.shop.one("SELECT boxhaul.saga_tick(%s)", self.clock, user=RELAY)

    def saga(self, id_):
        with contextlib.closing(self.pg.connect("shop", MONITOR)) as c, c.cursor() as cursor:
            cursor.execute("SELECT * FROM boxhaul.sagas WHERE id = %s", (id_,))
            return dict(zip([d.name for d in cursor.description], cursor.fetchone()))

    def stands(self, id_):
        s = self.saga(id_)
        return " ".join(str(s[k]) for k in ("state", "step", "attempt", "stuck") if s[k] is not None)

    def effects(self, service=None):
        return [" ".join(row) for s in ([service] if service else self.services)
                for row in s.sql("SELECT dir, step FROM effect ORDER BY n")]


class Definitions(SagaTest):
    def refused(self, steps, *words):
        with self.assertRaises(errors.InvalidParameterValue) as caught:
            self.define("bad", steps)
        for word in words:
            self.assertIn(word, str(caught.exception))

    def test_versions(self):
        """The same steps are the same version; a saga ends on the one it began with; what was put back starts again."""
        other = STEPS[:3]
        name = f"v{uuid.uuid4().hex[:8]}"
        self.assertEqual(self.define(name, STEPS), 1)
        self.assertEqual(self.define(name, [dict(s, retries=1) for s in STEPS]), 1)
        old = self.start(name)
        self.assertEqual(self.define(name, other), 2)
        new = self.start(name)
        self.assertEqual([self.saga(s)["version"] for s in (old, new)], [1, 2])
        self.assertEqual(self.define(name, STEPS), 1)
        self.assertEqual(self.saga(self.start(name))["version"], 1)
        said = self.run_all()
        self.assertEqual(said.count("do ship: do"), 2)
        self.assertEqual(self.stands(new), "completed")
        rows = self.shop.sql("SELECT version, current, open, ended FROM boxhaul.saga_definitions WHERE name = %s ORDER BY 1", name,
                             user=MONITOR)
        self.assertEqual(rows, [(1, True, 0, 2), (2, False, 0, 1)])

    def test_immutable(self):
        name = f"i{uuid.uuid4().hex[:8]}"
        self.define(name, STEPS)
        self.start(name)
        for statement in ("UPDATE boxhaul.saga_definition SET steps = '[]' WHERE name = %s",
                          "DELETE FROM boxhaul.saga_definition WHERE name = %s"):
            with self.subTest(statement), self.assertRaises(errors.ObjectNotInPrerequisiteState):
                self.shop.sql(statement, name)

    def test_what_is_refused(self):
        undoable, _, pivot, retriable = STEPS
        self.refused([], "1 to 100 steps")
        self.refused([pivot, undoable], "reserve", "behind one that is pivot", "behind the pivot nothing is undone")
        self.refused([pivot, dict(pivot, name="again")], "behind one that is pivot")
        self.refused([retriable, pivot], "behind one that is retriable")
        self.refused([undoable, undoable], "two steps are called reserve")
        self.refused([dict(pivot, undo="bank.refund")], "has an undo and is pivot")
        self.refused([dict(pivot, kind="maybe")], "of no kind")
        self.refused([dict(pivot, command="bank.>")], "no subject")
        self.refused([dict(pivot, comand="bank")], "comand")
        self.refused([dict(pivot, call="public.local")], "not both")
        self.refused([dict(pivot, deadline="soon")], "deadline")
        self.refused([dict(pivot, deadline="-1s")], "deadline")
        self.refused([dict(pivot, retries="many")], "retries")
        self.refused([dict(pivot, payload="public.missing")], "no function", "SECURITY DEFINER")
        self.refused([dict(pivot, payload="public.invoker")], "not SECURITY DEFINER")
        self.refused([dict(pivot, payload="x(uuid); DROP TABLE effect --")], "no function")
        self.shop.sql("REVOKE EXECUTE ON FUNCTION body FROM PUBLIC")
        self.addCleanup(self.shop.sql, "GRANT EXECUTE ON FUNCTION body TO PUBLIC")
        self.refused([dict(pivot, payload="public.body")], WRITER, "may not execute")

    def test_table(self):
        """Total, and what may never stand in it."""
        rows = self.shop.sql("""
            SELECT s, k, e, f, a, b, l, c, o, boxhaul.saga_transition(s, k, e, f, a, b, l, c, o)
              FROM unnest(%s) s, unnest(%s) k, unnest(%s) e, (VALUES (true), (false)) f (f), (VALUES (true), (false)) a (a),
                   (VALUES (true), (false)) b (b), (VALUES (true), (false)) l (l), (VALUES (true), (false)) c (c),
                   (VALUES (true), (false)) o (o)""", list(STATES), list(KINDS), list(EVENTS))
        self.assertEqual(len(rows), 4 * 3 * 14 * 64)
        seen = set()
        for state, kind, event, fits, left, first, last, _cancelling, orphan, word in rows:
            with self.subTest(state=state, kind=kind, event=event):
                seen.add(word)
                self.assertIsNotNone(word)
                if event in ("timeout", "repeat", "resend", "failed"):  # S2
                    self.assertNotIn(word, ("complete", "undone", "next", "back"))
                if word in ("back", "undo_this", "undone"):  # S5
                    self.assertTrue(state == "undoing" or kind != "retriable")
                    self.assertFalse(kind == "pivot" and event in ("error", "timeout") and state == "running")
                if word in ("next", "complete"):
                    self.assertEqual(state, "running")
                    self.assertIn(event, ("done", "resolve_done"))
                    self.assertEqual(word == "complete", last)
                if state in ("completed", "undone") or orphan and not event.startswith("resolve"):  # nothing goes on
                    self.assertIn(word, ("ignore", "refuse", "already", "orphan", "clear"))
                if state == "undoing" and event in ("error", "timeout", "refused") and fits and not orphan:  # S10
                    self.assertEqual(word.endswith("_stuck"), not left or event == "refused")
                if event == "unsent":
                    self.assertEqual(word, "orphan")
        self.assertEqual(len(seen), 16)


class Ends(SagaTest):
    def test_completed(self):
        traceparent = f"00-{uuid.uuid4().hex}-{uuid.uuid4().hex[:16]}-01"
        id_ = self.start(data={"amount": 7}, traceparent=traceparent)
        first = self.move()[0]
        self.assertEqual((first["subject"], first["key"], json.loads(first["body"])), ("stock.reserve", id_, {"amount": 7}))
        since = first["headers"].pop("Boxhaul-Since")
        self.assertEqual(first["headers"], {"Boxhaul-Saga": id_, "Boxhaul-Step": "reserve", "Boxhaul-Dir": "do", "Boxhaul-Attempt": "1",
                                            "Boxhaul-Reply-To": REPLIES, "traceparent": traceparent})
        self.assertEqual(self.work(self.stock), ["do reserve: do"])
        answer = self.move()[0]
        self.assertEqual((answer["subject"], answer["key"], json.loads(answer["body"])), (REPLIES, id_, {"reserve": "do"}))
        self.assertEqual(answer["headers"], {"Boxhaul-Saga": id_, "Boxhaul-Step": "reserve", "Boxhaul-Dir": "do", "Boxhaul-Attempt": "1",
                                             "Boxhaul-Outcome": "done", "Boxhaul-Since": since, "traceparent": traceparent})
        self.reply()
        self.assertEqual(self.run_all(), ["do check: do", "do charge: do", "do ship: do"])
        self.assertEqual(self.stands(id_), "completed")
        self.assertEqual(self.effects(), ["do reserve", "do check", "do ship", "do charge"])
        data, due_at = self.shop.sql("SELECT data, due_at FROM boxhaul.saga")[0]
        self.assertEqual((data, due_at), ({"amount": 7, "reserve": "do", "check": "do", "charge": "do", "ship": "do"}, None))
        self.assertIsNone(self.tick(3600))

    def test_refused(self):
        """Each kind: what was before is undone, in the reverse order; a step without an undo is passed over."""
        steps = [dict(STEPS[0], name=n, undo=f"stock.un{n}") for n in ("a", "b")] + STEPS[1:]
        name = f"r{uuid.uuid4().hex[:8]}"
        self.define(name, steps)
        for step, undone in (("a", []), ("b", ["undo a"]), ("check", ["undo b", "undo a"]), ("charge", ["undo b", "undo a"])):
            with self.subTest(step):
                self.answers = {(step, "do"): "refused"}
                id_ = self.start(name)
                said = self.run_all()
                self.assertEqual([s[:-6] for s in said if s.startswith("undo")], undone)
                self.assertEqual(self.stands(id_), "undone")
                self.assertEqual(self.saga(id_)["reason"], f"{step} says refused")

    def test_retriable_refuses(self):
        """It goes on being asked, and is shown; it is never undone."""
        self.answers = {("ship", "do"): "refused"}
        id_ = self.start()
        self.run_all()
        self.assertEqual(self.stands(id_), "running ship 1 refused")
        with self.assertRaises(errors.ObjectNotInPrerequisiteState):
            self.shop.sql("SELECT boxhaul.saga_undo(%s, 'no')", id_, user=RELAY)
        self.assertEqual(self.shop.one("SELECT boxhaul.saga_cancel(%s, 'no')", id_, user=WRITER), "refused")
        for outcome in ("undone", "refused"):
            with self.assertRaises(errors.ObjectNotInPrerequisiteState):
                self.shop.sql("SELECT boxhaul.saga_resolve(%s, %s, 'x')", id_, outcome, user=RELAY)
        self.tick(2)
        self.assertEqual(self.run_all(), ["do ship: skip"])  # refused is remembered
        self.assertEqual(self.stands(id_), "running ship 2 refused")
        self.assertEqual(self.shop.one("SELECT boxhaul.saga_resolve(%s, 'done', 'by hand', 'ship')", id_, user=RELAY), "completed")
        self.assertNotIn("undo reserve", self.effects())

    def test_silence(self):
        """Attempts are used up: an undoable step is undone itself, for it may have been done; a pivot and a retriable are asked on."""
        for step, ends in (("reserve", "undoing reserve 1"), ("check", "undoing reserve 1"), ("charge", "running charge 3 exhausted"),
                           ("ship", "running ship 3 exhausted")):
            with self.subTest(step):
                self.lost = lambda m, step=step: m["headers"]["Boxhaul-Step"] == step and "Boxhaul-Outcome" not in m["headers"]
                id_ = self.start()
                self.run_all()
                self.assertEqual(self.stands(id_), f"running {step} 1")
                self.tick(9)
                self.assertEqual(self.stands(id_), f"running {step} 1")
                self.tick(2)
                self.assertEqual(self.stands(id_), f"running {step} 2")
                self.tick(18)
                self.assertEqual(self.stands(id_), f"running {step} 2")
                self.tick(4)
                self.assertEqual(self.stands(id_), ends)
                self.lost = lambda m: False
                self.run_all()
                self.assertEqual(self.stands(id_), "undone" if ends.startswith("undoing") else "completed")
        timeouts = self.shop.one("SELECT count(*) FROM boxhaul.saga_log WHERE event = 'timeout'")
        self.assertEqual((timeouts, self.shop.one("SELECT boxhaul.saga_look()", user=MONITOR)["timeouts"]), (8, 8))

    def test_late_answer_of_an_older_attempt(self):
        """It counts: the work is the same. The answers to the repeats are late, and stand in the log."""
        id_ = self.start()
        self.tick(11)
        self.assertEqual(self.stands(id_), "running reserve 2")
        self.assertEqual([m["headers"]["Boxhaul-Attempt"] for m in self.move()], ["1", "2"])
        self.assertEqual(self.work(self.stock), ["do reserve: do", "do reserve: skip"])
        self.move()
        self.reply()
        self.assertEqual(self.stands(id_), "running check 1")
        self.run_all()
        self.assertEqual(self.effects(self.stock), ["do reserve", "do check", "do ship"])
        late = self.shop.sql("SELECT event, step, action FROM boxhaul.saga_timeline WHERE saga = %s AND action = 'ignore'", id_, user=RELAY)
        self.assertEqual(late, [("done", "reserve", "ignore")])

    def test_error_is_asked_again_by_the_clock(self):
        """Never in the transaction of the answer; with back-off; and used up like silence."""
        for step, then in (("reserve", "undone"), ("charge", "running charge 2 exhausted"), ("ship", "running ship 2 exhausted")):
            with self.subTest(step):
                self.answers = {(step, "do"): "error"}
                id_ = self.start()
                self.run_all()
                self.assertEqual(self.stands(id_), f"running {step} 1")
                self.assertEqual(self.shop.one("SELECT count(*) FROM boxhaul.saga_log WHERE saga = %s AND event = 'sent' AND step = %s",
                                               id_, step), 1)
                self.assertEqual(self.saga(id_)["waiting_for"], f"the time to ask {step} again: {step} says error")
                waits = self.shop.one("SELECT s.due_at - l.at FROM boxhaul.saga s JOIN boxhaul.saga_log l ON l.saga = s.id AND l.n = s.log_n "
                                      "WHERE s.id = %s", id_)
                self.assertEqual(waits.total_seconds(), 1)
                self.tick(2)
                self.assertIn(f"do {step}: do", self.run_all())
                self.assertEqual(self.stands(id_), then)
                self.answers = {}
                if then != "undone":
                    self.tick(3)
                    self.run_all()
                    self.assertEqual(self.stands(id_), "completed")

    def test_second_error_does_not_put_off(self):
        """Nor does one of an older attempt: a participant that repeats itself would be waited for, for ever."""
        self.answers = {("reserve", "do"): "error"}
        id_ = self.start()
        self.move()
        self.work(self.stock)
        answer = self.move()[0]
        self.reply()
        due = self.saga(id_)["due_at"]
        for again in (answer, answer):
            self.shop.take(dict(again, id=str(uuid.uuid4())))
            self.reply()
            self.assertEqual(self.saga(id_)["due_at"], due)
        self.tick(2)
        self.shop.take(dict(answer, id=str(uuid.uuid4())))
        self.reply()
        self.assertEqual(self.stands(id_), "running reserve 2")
        self.assertEqual(self.shop.one("SELECT due FROM boxhaul.saga"), "timeout")

    def test_undo_never_fails_for_good(self):
        for answer, stuck in (("refused", "refused"), ("error", "exhausted"), (None, "exhausted")):
            with self.subTest(answer):
                self.answers = {("charge", "do"): "refused", ("reserve", "undo"): answer}
                id_ = self.start()
                self.run_all()
                for _ in range(4):
                    self.tick(100)
                    self.run_all()
                self.assertEqual(self.stands(id_), f"undoing reserve 5 {stuck}")
                self.answers = {}
                self.tick(1000)
                self.run_all()
                if answer is None:  # it was accepted, and somebody decides now
                    self.stock.sql("SELECT boxhaul.saga_answer(%s, 'reserve', 'done')", id_, user=WORKER)
                    self.run_all()
                self.assertEqual(self.stands(id_), "undone")

    def test_due_at(self):
        """Deadlines double, and what has ended has none."""
        id_ = self.start()
        self.lost = lambda m: True
        waits = []
        for _ in range(2):
            due = self.saga(id_)["due_at"]
            self.tick(0)
            self.clock = due
            self.shop.one("SELECT boxhaul.saga_tick(%s)", due, user=RELAY)
            waits.append((self.saga(id_)["due_at"] - due).total_seconds())
        self.assertEqual(waits, [20 * 3600, 10 * 3600])  # the second is of the undo
        ms = self.shop.one("SELECT boxhaul.saga_tick(%s)", self.clock, user=RELAY)
        self.assertEqual(ms, 3_600_000)  # it says so at most


class Unread(SagaTest):
    """A deadline does not count while an answer may stand in the inbox that came before it."""

    def answered(self, *sagas):
        """Their answers are in the inbox, and nobody has handled them."""
        self.lost = lambda m: m["key"] not in sagas
        self.move()
        self.work(self.stock)
        self.move()

    def attempts(self, *sagas):
        return [self.shop.sql("SELECT step, attempt, (SELECT count(*) FROM boxhaul.saga_log WHERE saga = s.id AND event = 'timeout') "
                              "FROM boxhaul.saga s WHERE id = %s", s)[0] for s in sagas]

    def now(self, seconds=0):
        return self.shop.one("SELECT boxhaul.saga_tick(clock_timestamp() + %s * interval '1 second')", seconds, user=RELAY)

    def test_lane_that_is_held_up(self):
        """By a transaction of the service that has the row of another saga."""
        other, id_, silent = self.start(), self.start(), self.start()
        self.answered(other, id_)
        with contextlib.closing(self.pg.connect("shop", WRITER)) as service, service.cursor() as cursor:
            service.autocommit = False
            cursor.execute("SELECT boxhaul.saga_cancel(%s, 'x')", (other,))
            for hours in (11, 1, 24):
                self.assertLessEqual(self.tick(hours), 10_000)
                self.assertEqual(self.attempts(id_, silent), [(0, 1, 0)] * 2)
            service.rollback()
        self.assertEqual(self.shop.one("SELECT boxhaul.saga_look()", user=MONITOR)["timeouts"], 0)
        self.reply()
        self.assertEqual(self.attempts(id_), [(1, 1, 0)])
        self.tick(1)
        self.assertEqual(self.attempts(silent), [(0, 2, 1)])

    def test_answer_that_is_parked(self):
        """Until it is handled, or dead."""
        handled, dead, silent = self.start(), self.start(), self.start()
        self.answered(handled, dead)
        self.shop.sql("SELECT boxhaul.inbox_park(r, 'test') FROM boxhaul.inbox r WHERE r.subscription = %s AND r.key IN (%s, %s)",
                      ANSWERS, handled, dead)
        self.shop.sql("UPDATE boxhaul.inbox_parked SET next_at = 'infinity'; UPDATE boxhaul.inbox_lane SET next_due = NULL")
        self.reply()
        self.tick(11)
        self.assertEqual(self.attempts(handled, dead, silent), [(0, 1, 0), (0, 1, 0), (0, 2, 1)])
        self.shop.sql("SELECT boxhaul.inbox_skip(%s, id) FROM boxhaul.inbox_parked WHERE key = %s", ANSWERS, dead, user=RELAY)
        self.shop.sql("DELETE FROM boxhaul.inbox_dead")
        self.tick(1)
        self.assertEqual(self.attempts(handled, dead), [(0, 1, 0), (0, 2, 1)])
        self.shop.sql("SELECT boxhaul.inbox_retry(%s, id) FROM boxhaul.inbox_parked WHERE key = %s", ANSWERS, handled, user=RELAY)
        self.reply()
        self.assertEqual(self.attempts(handled), [(1, 1, 0)])

    def test_it_counts_in_the_end(self):
        """However far behind the lane is, and stays: what came behind the deadline does not put it off, nor behind one that was put off."""
        other, id_ = self.start(), self.start()
        self.answered(other)
        self.shop.sql("UPDATE boxhaul.saga SET due_at = clock_timestamp() WHERE id = %s", id_)
        self.assertLessEqual(self.now(), 2000)
        self.reply()
        self.answered(other)
        self.assertEqual(self.attempts(other, id_), [(1, 1, 0), (0, 1, 0)])
        self.now(5)
        self.assertEqual(self.attempts(other, id_), [(1, 1, 0), (0, 2, 1)])
        self.assertIsNone(self.shop.one("SELECT deadline FROM boxhaul.saga WHERE id = %s", id_))

    def test_cost(self):
        """One row is read for a saga that is due, however many wait."""
        sagas = [self.start() for _ in range(20)]
        self.answered(*sagas)
        counts = "SELECT sum(seq_scan), sum(idx_tup_fetch) FROM pg_stat_xact_user_tables WHERE relname ~ '^inbox_([0-7]|parked)$'"
        self.shop.sql("BEGIN", user=RELAY)
        before = self.shop.sql(counts, user=RELAY)[0]
        self.tick(11)
        whole, rows = (b - a for a, b in zip(before, self.shop.sql(counts, user=RELAY)[0]))
        self.shop.sql("COMMIT", user=RELAY)
        self.assertEqual((whole, rows), (0, 20))
        self.assertEqual(self.attempts(*sagas), [(0, 1, 0)] * 20)


class Starts(SagaTest):
    def test_rolled_back(self):
        """S12: nothing is left of it."""
        with contextlib.closing(self.pg.connect("shop", WRITER)) as c, c.cursor() as cursor:
            c.autocommit = False
            cursor.execute("SELECT boxhaul.saga_start('order', 'k', '{}', '{a}')")
            c.rollback()
        self.assertEqual(self.move(), [])
        for table in ("saga", "saga_log", "saga_lock"):
            self.assertEqual(self.shop.one(f"SELECT count(*) FROM boxhaul.{table}"), 0)

    def test_locks(self):
        """A resource is one open saga's; the transition that ends it frees it."""
        self.answers = {("reserve", "do"): "refused"}
        first = self.start(locks=["seat-1", "seat-2"])
        with self.assertRaises(errors.ObjectInUse) as caught:
            self.start(locks=["seat-3", "seat-2"])
        self.assertIn("seat-2", str(caught.exception))
        self.assertIn(first, caught.exception.diag.message_detail)
        self.assertEqual(self.shop.one("SELECT count(*) FROM boxhaul.saga_lock"), 2)
        self.run_all()
        self.assertEqual(self.stands(first), "undone")
        self.start(locks=["seat-3", "seat-2", "seat-2"])

    def test_what_is_refused(self):
        for statement, error in (("SELECT boxhaul.saga_start('nothing', 'k')", errors.UndefinedObject),
                                 ("SELECT boxhaul.saga_start('order', NULL)", errors.InvalidParameterValue),
                                 ("SELECT boxhaul.saga_start('order', 'k', '[]')", errors.InvalidParameterValue)):
            with self.subTest(statement), self.assertRaises(error):
                self.shop.sql(statement, user=WRITER)
        self.shop.sql("DELETE FROM boxhaul.saga_settings")
        with self.assertRaises(errors.ObjectNotInPrerequisiteState) as caught:
            self.start()
        self.assertIn("group sagas", caught.exception.diag.message_hint)
        with self.assertRaises(errors.InvalidParameterValue):
            self.shop.sql("SELECT boxhaul.saga_configure('a.>', '1 day')", user=RELAY)


class Functions(SagaTest):
    def setUp(self):
        super().setUp()
        self.define("local", [
            {"name": "note", "kind": "undoable", "call": "public.local", "undo": "public.local"},
            {"name": "hold", "kind": "undoable", "command": "stock.hold", "undo": "stock.free", "payload": "public.body"},
            {"name": "book", "kind": "pivot", "call": "public.local"},
            {"name": "tell", "kind": "retriable", "command": "stock.tell", "payload": "public.body"}])

    def broken(self, is_broken):
        self.shop.sql("UPDATE broken SET yes = %s", is_broken)

    def test_local_steps_and_payloads(self):
        id_ = self.start("local", {"amount": 3})
        self.assertEqual(self.effects(self.shop), ["do note"])
        message = self.move()[0]
        self.assertEqual(json.loads(message["body"]), {"saga": id_, "step": "hold", "dir": "do", "amount": 3})
        self.work(self.stock)
        self.run_all()
        self.assertEqual(self.stands(id_), "completed")
        self.assertEqual(self.effects(self.shop), ["do note", "do book"])

    def test_all_steps_are_local(self):
        """It has ended when it has started, in the same transaction; its lock is free."""
        self.define("at_once", [{"name": "note", "kind": "undoable", "call": "public.local"},
                                {"name": "book", "kind": "pivot", "call": "public.local"}])
        id_ = self.start("at_once", locks=["x"])
        self.assertEqual(self.stands(id_), "completed")
        self.assertEqual(self.effects(self.shop), ["do note", "do book"])
        self.assertEqual(self.shop.one("SELECT count(*) FROM boxhaul.saga_lock"), 0)

    def test_local_undo(self):
        self.answers = {("hold", "do"): "refused"}
        id_ = self.start("local")
        self.run_all()
        self.assertEqual(self.stands(id_), "undone")
        self.assertEqual(self.effects(self.shop), ["do note", "undo note"])

    def test_local_refusal(self):
        """BXREF: it did nothing, and what it wrote is gone."""
        id_ = self.start("local")
        self.shop.sql("UPDATE boxhaul.saga SET data = '{\"refuse\": 1}'")
        self.shop.sql("ALTER TABLE effect ADD CONSTRAINT no_undo CHECK (dir <> 'undo')")  # and the undo of the first fails
        self.addCleanup(self.shop.sql, "ALTER TABLE effect DROP CONSTRAINT IF EXISTS no_undo")
        self.run_all()
        self.assertEqual(self.stands(id_), "undoing note 1 failed")
        self.assertEqual(self.effects(self.shop), ["do note"])
        self.shop.sql("UPDATE boxhaul.saga SET data = '{}'")
        self.shop.sql("ALTER TABLE effect DROP CONSTRAINT no_undo")
        self.tick(2)
        self.assertEqual(self.stands(id_), "undone")
        self.assertEqual(self.saga(id_)["reason"], "not for this one")

    def test_start_that_raises(self):
        """The service hears of it, in its own transaction."""
        self.broken(True)
        with self.assertRaises(errors.RaiseException):
            self.start("local")
        self.assertEqual(self.shop.one("SELECT count(*) FROM boxhaul.saga"), 0)

    def test_one_that_raises_is_alone(self):
        """A local step and a payload that raise: stuck, due later with back-off, never sent, and the others go on."""
        bad = self.start("local")
        self.broken(True)
        good = self.start()
        self.run_all()
        self.assertEqual((self.stands(bad), self.stands(good)), ("running book 1 failed", "completed"))
        good = self.start()
        self.move()
        for n in (2, 3, 5):
            self.tick(n)
        self.assertEqual(self.stands(bad), "running book 1 failed")
        self.assertIn("out of order", self.saga(bad)["waiting_for"])
        self.assertEqual(self.stands(good), "running reserve 1")
        self.tick(3)
        self.assertEqual(self.stands(good), "running reserve 2")
        self.broken(False)
        self.tick(60)
        self.assertEqual(self.stands(bad), "running tell 1")
        self.assertEqual(self.effects(self.shop), ["do note", "do book"])

    def adoption(self):
        """Local steps whose constraint is checked at the end of the transaction."""
        self.shop.sql("""CREATE TABLE parent (name text PRIMARY KEY);
            CREATE TABLE child (name text REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
            CREATE FUNCTION adopt(saga uuid, step text, dir text, data jsonb) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER
                SET search_path = public AS $$
            BEGIN
                INSERT INTO child VALUES (data ->> 'name');
                IF data ? 'parent' THEN INSERT INTO parent VALUES (data ->> 'name'); END IF;
                RETURN NULL;
            END $$""")
        self.addCleanup(self.shop.sql, "DROP FUNCTION adopt; DROP TABLE child, parent")
        self.define("adopt", [{"name": "hold", "kind": "undoable", "command": "stock.hold", "undo": "stock.free"},
                              {"name": "adopt", "kind": "pivot", "call": "public.adopt"}])

    def test_constraint_that_is_checked_late(self):
        """Behind an answer, and by the clock: of this saga alone, and its error stands where it is stuck. No answer is parked for it."""
        self.adoption()
        ids = [self.start("adopt", {"name": name, **more}) for name, more in (("a", {"parent": 1}), ("b", {}), ("c", {"parent": 1}))]
        self.run_all()
        self.assertEqual([self.stands(i) for i in ids], ["completed", "running adopt 1 failed", "completed"])
        self.assertEqual(self.shop.one("SELECT count(*) FROM boxhaul.inbox_parked"), 0)
        self.tick(1)
        self.assertEqual([self.stands(i) for i in ids], ["completed", "running adopt 1 failed", "completed"])
        self.assertRegex(self.saga(ids[1])["waiting_for"], "a function of step adopt that fails: .*foreign key")
        log = self.shop.sql("SELECT event, action, step FROM boxhaul.saga_log WHERE saga = %s AND event <> 'sent' ORDER BY n", ids[1])
        self.assertEqual(log[2:], [("done", "next", "hold"), ("failed", "wait_stuck", "adopt"), ("resend", "send", "adopt"),
                                   ("failed", "wait_stuck", "adopt")])
        self.shop.sql("INSERT INTO parent VALUES ('b')")
        self.tick(1)
        self.assertEqual(self.stands(ids[1]), "completed")

    def test_constraints_of_a_service(self):
        """Its own transaction may keep them later: by what it writes behind a start, a cancel or an answer."""
        self.adoption()
        self.addCleanup(self.shop.sql, "ROLLBACK")
        self.define("noted", [{"name": "note", "kind": "undoable", "call": "public.local", "undo": "public.local"}, STEPS[0]])
        self.shop.sql("BEGIN; INSERT INTO child VALUES ('a')")
        id_ = self.shop.one("SELECT boxhaul.saga_start('noted', 'k')")
        self.shop.sql("INSERT INTO parent VALUES ('a'); COMMIT")
        self.shop.sql("BEGIN; INSERT INTO child VALUES ('b')")
        self.assertEqual(self.shop.one("SELECT boxhaul.saga_cancel(%s, 'x')", id_), "undoing")
        self.shop.sql("INSERT INTO parent VALUES ('b'); COMMIT")
        self.move()
        self.work(self.stock)
        self.move()
        self.shop.sql("BEGIN; INSERT INTO child VALUES ('c')")
        while rows := self.shop.sql("SELECT lane, id FROM boxhaul.receive(%s)", ANSWERS):
            for lane, row in rows:
                self.shop.sql("SELECT boxhaul.saga_reply(%s, %s, %s), boxhaul.done(%s, %s, %s)", ANSWERS, lane, row, ANSWERS, lane, row)
            self.shop.sql("INSERT INTO parent VALUES ('c'); COMMIT; BEGIN")
        self.shop.sql("ROLLBACK")
        self.assertEqual((self.stands(id_), self.effects(self.shop)), ("undone", ["do note", "undo note"]))
        self.assertEqual(self.shop.one("SELECT count(*) FROM child"), 3)

    def test_payload_that_raises(self):
        self.define("paid", [dict(STEPS[0], command="stock.reserve"), dict(STEPS[2], payload="public.body")])
        id_ = self.start("paid")
        self.broken(True)
        self.run_all()
        self.assertEqual(self.stands(id_), "running charge 1 failed")
        self.assertEqual(self.shop.one("SELECT sent FROM boxhaul.saga"), False)
        self.assertEqual(self.shop.one("SELECT boxhaul.saga_look()", user=MONITOR)["stuck"], 1)
        # A pivot whose command was never sent was not done: a cancel does not wait.
        self.assertEqual(self.shop.one("SELECT boxhaul.saga_cancel(%s, 'enough')", id_, user=WRITER), "undoing")
        self.run_all()
        self.assertEqual(self.stands(id_), "undone")

    def test_paused(self):
        """What is not sent cannot be answered: a deadline that falls into a pause is later by what the pause lasted."""
        self.addCleanup(self.shop.sql, "DELETE FROM boxhaul.paused")
        before = self.start()
        self.shop.sql("SELECT boxhaul.pause('test', 'x')", user=RELAY)
        self.shop.sql("UPDATE boxhaul.paused SET since = since - interval '7 hours'; UPDATE boxhaul.saga SET asked_at = asked_at - interval '8 hours'")
        meanwhile = self.start()
        self.assertEqual(self.tick(11), 1000)
        self.assertEqual([self.stands(s) for s in (before, meanwhile)], ["running reserve 1"] * 2)
        self.shop.sql("SELECT boxhaul.resume()", user=RELAY)
        self.clock = self.shop.one("SELECT clock_timestamp()")
        self.tick(10.5)
        self.assertEqual([self.stands(s) for s in (before, meanwhile)], ["running reserve 1", "running reserve 2"])
        self.tick(7)
        self.assertEqual(self.stands(before), "running reserve 2")

    def test_tick_isolates(self):
        """Whatever raises in one saga, a definition that is gone for instance."""
        bad, good = self.start(), self.start()
        self.shop.sql("UPDATE boxhaul.saga SET version = 999 WHERE id = %s", bad)
        self.tick(11)
        self.assertEqual(self.shop.sql("SELECT stuck, attempt FROM boxhaul.saga WHERE id = %s", bad), [("failed", 1)])
        self.assertEqual(self.stands(good), "running reserve 2")
        self.assertEqual(self.shop.one("SELECT timeouts FROM boxhaul.saga_count"), 1)


class Bodies(SagaTest):
    """The outcome of an answer is in its header, so no body keeps it from counting."""

    def reason(self, outcome, body):
        id_ = self.start()
        self.shop.take({"id": str(uuid.uuid4()), "subject": REPLIES, "key": id_, "body": body, "headers": {
            "Boxhaul-Saga": id_, "Boxhaul-Step": "reserve", "Boxhaul-Dir": "do", "Boxhaul-Attempt": "1", "Boxhaul-Outcome": outcome}})
        self.reply()
        if outcome == "done":
            self.assertEqual(self.stands(id_), "running check 1")
        return self.saga(id_)["reason"]

    def test_no_body_is_too_odd(self):
        for body in ("", "no JSON", "null", "7", '{"a": "\\u0000"}', "1e999999", "[" * 100_000):
            with self.subTest(body[:20]):
                self.assertIsNone(self.reason("done", body))

    def test_too_large_for_the_next_command(self):
        """What was answered makes the data so large that no command can be sent any more, the undo neither."""
        self.reason("done", json.dumps({"page": "x" * 600_000}))
        id_ = self.shop.one("SELECT id::text FROM boxhaul.saga")
        self.shop.take({"id": str(uuid.uuid4()), "subject": REPLIES, "key": id_, "body": json.dumps({"more": "x" * 600_000}), "headers": {
            "Boxhaul-Saga": id_, "Boxhaul-Step": "check", "Boxhaul-Dir": "do", "Boxhaul-Attempt": "1", "Boxhaul-Outcome": "done"}})
        self.reply()
        for step in ("charge", "reserve"):
            self.assertIn(f"{step} 1 failed", self.stands(id_))
            self.assertRegex(self.saga(id_)["error"],
                             rf"the command of step {step} is larger than a message may be: its data has 12\d{{5}} bytes")
            self.shop.one("SELECT boxhaul.saga_cancel(%s, 'x')", id_, user=WRITER)
        self.shop.one("SELECT boxhaul.saga_retry(%s)", id_, user=RELAY)
        self.assertIn("failed", self.stands(id_))
        self.shop.one("SELECT boxhaul.saga_resolve(%s, 'undone', 'by hand')", id_, user=RELAY)
        self.assertEqual(self.stands(id_), "undone")

    def test_reasons(self):
        for body, reason in (('{"reason": "sold out"}', "sold out"), ('{"error": "broken"}', "broken"), ('"sold out"', "sold out"),
                             ('{"reason": ""}', "reserve: refused"), ("[" * 100_000, "reserve: refused"),
                             (json.dumps({"reason": "x" * 200_000}), "x" * 1000)):
            with self.subTest(body[:20]):
                self.assertEqual(self.reason("refused", body), reason)


class Operators(SagaTest):
    def ask(self, what, id_, *rest):
        return self.shop.one(f"SELECT boxhaul.saga_{what}(%s{', %s' * len(rest)})", id_, *rest, user=RELAY)

    def test_cancel_before_the_pivot(self):
        id_ = self.start()
        self.assertEqual(self.shop.one("SELECT boxhaul.saga_cancel(%s, 'changed my mind')", id_, user=WRITER), "undoing")
        self.assertEqual(self.run_all(), ["do reserve: do", "undo reserve: undo"])
        self.assertEqual((self.stands(id_), self.saga(id_)["reason"]), ("undone", "changed my mind"))
        self.assertEqual(self.shop.one("SELECT boxhaul.saga_cancel(%s, 'again')", id_, user=WRITER), "undone")

    def test_cancel_while_the_pivot_is_under_way(self):
        for answer, ends in (("refused", "undone"), ("done", "completed")):
            with self.subTest(answer):
                self.lost = lambda m: m["subject"] == "bank.charge"
                id_ = self.start()
                self.run_all()
                self.assertEqual(self.shop.one("SELECT boxhaul.saga_cancel(%s, 'too late?')", id_, user=WRITER), "waiting")
                self.assertEqual(self.stands(id_), "running charge 1")
                self.lost = lambda m: False
                self.answers = {("charge", "do"): answer}
                self.tick(11)
                self.run_all()
                self.assertEqual(self.stands(id_), ends)
                said = [d for d, in self.shop.sql("SELECT detail FROM boxhaul.saga_log WHERE saga = %s AND step = 'charge' AND event = %s",
                                                  id_, answer)]
                self.assertEqual(any("the cancel is refused" in (d or "") for d in said), answer == "done")

    def test_retry(self):
        """The attempt never goes back."""
        self.lost = lambda m: m["subject"] == "bank.charge"
        id_ = self.start()
        self.run_all()
        for _ in range(3):
            self.tick(100)
        self.assertEqual(self.stands(id_), "running charge 4 exhausted")
        self.assertEqual(self.ask("retry", id_), "running: do charge, attempt 5")
        self.assertEqual(self.stands(id_), "running charge 5 exhausted")
        self.lost = lambda m: False
        self.run_all()
        self.assertEqual(self.stands(id_), "completed")
        with self.assertRaises(errors.ObjectNotInPrerequisiteState):
            self.ask("retry", id_)

    def test_undo(self):
        id_ = self.start()
        self.assertEqual(self.ask("undo", id_, "wrong customer"), "undoing: undo reserve, attempt 1")
        self.assertEqual(self.ask("undo", id_, "again"), "undoing already")
        self.run_all()
        self.assertEqual(self.ask("undo", id_, "again"), "undone")
        self.lost = lambda m: m["subject"] == "bank.charge"
        id_ = self.start()
        self.run_all()
        self.assertIn("its answer decides", self.ask("undo", id_, "late"))
        self.lost = lambda m: False
        self.tick(11)
        self.run_all()
        self.assertEqual(self.stands(id_), "completed")
        with self.assertRaises(errors.ObjectNotInPrerequisiteState) as caught:
            self.ask("undo", id_, "too late")
        self.assertIn("it has ended completed", str(caught.exception))

    def test_resolve(self):
        self.lost = lambda m: m["subject"] == "bank.charge"
        for outcome, then in (("done", "running ship 1"), ("refused", "undoing reserve 1"), ("undone", "undoing reserve 1")):
            with self.subTest(outcome):
                id_ = self.start()
                self.run_all()
                with self.assertRaises(errors.ObjectNotInPrerequisiteState) as caught:
                    self.ask("resolve", id_, outcome, "asked the bank", "reserve")
                self.assertIn("it stands at step charge, not at reserve", str(caught.exception))
                self.ask("resolve", id_, outcome, "asked the bank", "charge")
                self.assertEqual(self.stands(id_), then)
                detail = self.shop.one("SELECT detail FROM boxhaul.saga_log WHERE saga = %s AND event = %s", id_, "resolve_" + outcome)
                self.assertEqual(detail, f"by {RELAY}: asked the bank")
        with self.assertRaises(errors.ObjectNotInPrerequisiteState):
            self.ask("resolve", id_, "done", "it is being undone")
        self.assertEqual(self.ask("resolve", id_, "undone", "by hand"), "undone")
        with self.assertRaises(errors.InvalidParameterValue):
            self.ask("resolve", id_, "maybe", "x")
        with self.assertRaises(errors.UndefinedObject):
            self.ask("resolve", str(uuid.uuid4()), "done", "x")

    def test_what_comes_behind_a_word(self):
        """resolve asks nothing: a refusal that comes later stands in the log; a command that was on its way is done, is not undone, and shown as
        an orphan. Behind an undo it does nothing."""
        self.lost = lambda m: m["subject"] == "bank.charge"
        id_ = self.start()
        self.run_all()
        self.ask("resolve", id_, "done", "asked the bank", "charge")
        self.shop.take({"id": str(uuid.uuid4()), "subject": REPLIES, "key": id_, "body": "{}", "headers": {
            "Boxhaul-Saga": id_, "Boxhaul-Step": "charge", "Boxhaul-Dir": "do", "Boxhaul-Attempt": "1", "Boxhaul-Outcome": "refused"}})
        self.reply()
        self.assertEqual(self.stands(id_), "running ship 1")
        self.assertEqual(self.shop.one("SELECT action FROM boxhaul.saga_log WHERE saga = %s AND event = 'refused'", id_), "ignore")
        for way, stands, then in (("resolve", "undone orphan", ["do reserve"]), ("undo", "undone", [])):
            held = []
            self.lost = lambda m, held=held: m["subject"] == "stock.reserve" and not held.append(m)
            id_ = self.start()
            self.run_all()
            self.ask(*(("resolve", id_, "undone", "it never came", "reserve") if way == "resolve" else ("undo", id_, "x")))
            self.lost = lambda m: False
            self.run_all()
            self.stock.take(held[0])
            self.work(self.stock)
            self.run_all()
            self.assertEqual(self.stands(id_), stands)
            self.assertEqual([" ".join(row) for row in self.stock.sql("SELECT dir, step FROM effect WHERE saga = %s ORDER BY n", id_)], then)

    def test_roles(self):
        id_ = self.start()
        may = {WRITER: {"start", "cancel", "define"}, WORKER: {"answer"}, MONITOR: {"look"},
               RELAY: {"cancel", "answer", "retry", "undo", "resolve", "tick", "clean", "configure", "look"}}
        calls = {"start": "saga_start('order', 'k')", "cancel": f"saga_cancel('{id_}', 'x')", "define": "saga_define('order', '[]')",
                 "answer": f"saga_answer('{id_}', 'reserve', 'done')", "retry": f"saga_retry('{id_}')", "undo": f"saga_undo('{id_}', 'x')",
                 "resolve": f"saga_resolve('{id_}', 'done', 'x')", "tick": "saga_tick()", "clean": "saga_clean()",
                 "configure": "saga_configure('a', '1 day')", "look": "saga_look()",
                 "command": "saga_command(NULL, NULL, NULL)", "event": "saga_event(NULL, '', true, 0, now(), '', '{}', true, true)",
                 "tell": "saga_tell(NULL, '', 0, '', '{}')", "call": "saga_call('', NULL, '', '')"}
        for user, does in may.items():
            for what, call in calls.items():
                with self.subTest(user=user, what=what):
                    self.shop.sql("BEGIN", user=user)
                    refused = False
                    try:
                        self.shop.sql(f"SELECT boxhaul.{call}", user=user)
                    except errors.InsufficientPrivilege:
                        refused = True
                    except psycopg2.Error:
                        pass
                    self.shop.sql("ROLLBACK", user=user)
                    self.assertEqual(refused, what not in does)
        for table in ("saga", "saga_log", "saga_part", "saga_definition"):
            for user in may:
                for statement in (f"DELETE FROM boxhaul.{table}", f"INSERT INTO boxhaul.{table} DEFAULT VALUES"):
                    with self.subTest(user=user, statement=statement), self.assertRaises(errors.InsufficientPrivilege):
                        self.shop.sql(statement, user=user)
        with self.assertRaises(errors.InsufficientPrivilege):
            self.shop.sql("SELECT reply FROM boxhaul.saga_timeline", user=MONITOR)
        # What goes beside an answer or a command is nobody's to write.
        with self.assertRaises(errors.InsufficientPrivilege):
            self.shop.sql("INSERT INTO boxhaul.outbox (subject, boxhaul_headers) VALUES ('shop.saga', '{}')", user=WRITER)

    def test_timeline_and_look(self):
        id_ = self.start()
        self.run_all()
        rows = self.shop.sql("SELECT event, action, step, dir, attempt, message_state FROM boxhaul.saga_timeline WHERE saga = %s "
                             "ORDER BY n", id_, user=MONITOR)
        self.assertEqual(rows[:5], [("started", "sent", None, None, None, None), ("resend", "send", "reserve", "do", 1, None),
                                    ("sent", "sent", "reserve", "do", 1, "pending"), ("done", "next", "reserve", "do", 1, None),
                                    ("sent", "sent", "check", "do", 1, "pending")])
        self.assertEqual(rows[-1][:3], ("done", "complete", "ship"))
        self.shop.sql("DELETE FROM boxhaul.outbox WHERE id <= %s", self.shop.moved)
        gone = self.shop.one("SELECT message_state FROM boxhaul.saga_timeline WHERE saga = %s AND n = 3", id_, user=MONITOR)
        self.assertEqual(gone, "gone")
        self.start()
        look = self.shop.one("SELECT boxhaul.saga_look()", user=MONITOR)
        self.assertEqual((look["open"], look["stuck"], look["by"]), (1, 0, [{"name": "order", "state": "running", "count": 1}]))
        self.assertGreater(look["oldest_open_seconds"], 0)


class Orphans(SagaTest):
    def answer(self, id_, step, dir_="do", outcome="done", attempt=1, body="{}", **headers):
        self.shop.take({"id": str(uuid.uuid4()), "subject": REPLIES, "key": id_, "body": body, "headers": {
            "Boxhaul-Saga": id_, "Boxhaul-Step": step, "Boxhaul-Dir": dir_, "Boxhaul-Attempt": str(attempt), "Boxhaul-Outcome": outcome,
            **headers}})
        self.reply()

    def test_of_a_step_that_was_not_sent(self):
        """History was lost: nothing goes on by itself, until somebody resolves it."""
        for step, dir_ in (("charge", "do"), ("reserve", "undo"), ("stranger", "do")):
            with self.subTest(step):
                id_ = self.start()
                self.answer(id_, step, dir_)
                self.assertEqual(self.stands(id_), "running reserve 1 orphan")
                self.run_all()
                self.assertEqual([self.tick(hours) for hours in (10_000, 0)], [3_600_000] * 2)  # the clock has nothing to do with it
                self.assertEqual(self.stands(id_), "running reserve 1 orphan")
                self.assertEqual(self.shop.one("SELECT boxhaul.saga_look()", user=MONITOR)["stuck"], 1)
                self.assertEqual(self.shop.one("SELECT boxhaul.saga_cancel(%s, 'x')", id_, user=WRITER), "refused")
                for call in ("saga_retry(%s)", "saga_undo(%s, 'x')"):
                    with self.assertRaises(errors.ObjectNotInPrerequisiteState):
                        self.shop.sql(f"SELECT boxhaul.{call}", id_, user=RELAY)
                self.shop.sql("SELECT boxhaul.saga_resolve(%s, 'done', 'looked at stock', 'reserve')", id_, user=RELAY)
                self.assertEqual(self.stands(id_), "running check 1")
                self.run_all()
                self.assertEqual(self.stands(id_), "completed")

    def test_of_one_that_has_ended(self):
        id_ = self.start()
        self.run_all()
        self.answer(id_, "ship")
        self.assertEqual(self.stands(id_), "completed")
        self.answer(id_, "reserve", "undo")
        self.assertEqual(self.stands(id_), "completed orphan")
        self.shop.sql("SELECT boxhaul.saga_resolve(%s, 'done', 'seen')", id_, user=RELAY)
        self.assertEqual(self.stands(id_), "completed")

    def test_of_one_that_denies(self):
        """A participant has failed over behind its answer, took the command again, and came to another end."""
        def completed():
            self.answers = {}
            id_ = self.start()
            self.run_all()
            return id_

        def refused():
            self.answers = {("charge", "do"): "refused"}
            id_ = self.start()
            self.run_all()
            return id_
        for begin, stands, denials in (
                (completed, "completed", (("reserve", "do", "error"), ("reserve", "do", "refused"), ("ship", "do", "error"))),
                (refused, "undone", (("reserve", "undo", "error"), ("reserve", "undo", "refused"), ("charge", "do", "done")))):
            for step, dir_, outcome in denials:
                with self.subTest((stands, step, dir_, outcome)):
                    id_ = begin()
                    self.assertEqual(self.stands(id_), stands)
                    self.answer(id_, step, dir_, outcome)
                    self.assertEqual(self.stands(id_), f"{stands} orphan")
                    self.assertIn(f"{dir_} {step} was answered {outcome}", self.saga(id_)["error"])
                    self.shop.sql("SELECT boxhaul.saga_resolve(%s, 'done', 'seen')", id_, user=RELAY)
        self.answers = {("charge", "do"): None}
        id_ = self.start()
        self.run_all()
        self.answer(id_, "check", "do", "refused")
        self.assertEqual(self.stands(id_), "running charge 1 orphan")

    def test_of_one_that_is_late(self):
        """An error of an attempt before the one that was done; the repeat of a do that was undone; what was cleaned away."""
        self.answers = {("reserve", "do"): "error"}
        id_ = self.start()
        self.run_all()
        self.answers = {("charge", "do"): None}
        self.tick(1)
        self.run_all()
        self.assertEqual(self.stands(id_), "running charge 1")
        self.answer(id_, "reserve", "do", "error", attempt=1)
        self.assertEqual(self.stands(id_), "running charge 1")
        self.answer(id_, "reserve", "do", "error", attempt=2, body='{"cleaned": true}')
        self.assertEqual(self.stands(id_), "running charge 1")
        self.answer(id_, "charge", "do", "refused")
        self.run_all()
        self.answer(id_, "reserve", "do", "refused", attempt=2)
        self.answer(id_, "charge", "do", "refused")
        self.assertEqual(self.stands(id_), "undone")

    def test_unknown_saga(self):
        id_ = str(uuid.uuid4())
        for _ in range(2):
            self.answer(id_, "reserve")
        s = self.saga(id_)
        self.assertEqual((s["state"], s["stuck"], s["step"]), ("unknown", "orphan", "reserve"))
        look = self.shop.one("SELECT boxhaul.saga_look()", user=MONITOR)
        self.assertEqual((look["orphans"], look["stuck"], look["open"]), (1, 1, 0))
        self.assertEqual((look["worst"]["id"], look["worst"]["name"]), (id_, "unknown"))
        for call in ("saga_retry(%s)", "saga_undo(%s, 'x')", "saga_cancel(%s, 'x')"):
            with self.assertRaisesRegex(errors.UndefinedObject, "there are only answers to it"):
                self.shop.sql(f"SELECT boxhaul.{call}", id_, user=RELAY)
        self.shop.sql("SELECT boxhaul.saga_resolve(%s, 'done', 'somebody else')", id_, user=RELAY)
        with self.assertRaisesRegex(errors.UndefinedObject, "there is no saga"):
            self.shop.sql("SELECT boxhaul.saga_retry(%s)", id_, user=RELAY)
        self.assertEqual(self.shop.one("SELECT count(*) FROM boxhaul.sagas WHERE id = %s", id_), 0)
        # One whose saga may be cleaned away is only late.
        self.shop.sql("UPDATE boxhaul.saga_count SET sagas_before = now()")
        self.answer(str(uuid.uuid4()), "reserve", **{"Boxhaul-Since": "1000"})
        self.assertEqual(self.shop.one("SELECT count(*) FROM boxhaul.saga_orphan WHERE resolved_at IS NULL"), 0)

    def test_later_attempt_than_known(self):
        """The attempt never goes back, not even behind what a participant has seen."""
        id_ = self.start()
        self.answer(id_, "reserve", outcome="error", attempt=7)
        self.assertEqual(self.stands(id_), "undoing reserve 1")
        id_ = self.start()
        self.lost = lambda m: True
        self.run_all()
        self.answer(id_, "reserve", attempt=7)
        self.assertEqual(self.stands(id_), "running check 1")

    def test_no_answer_at_all(self):
        """It is poison, with a reason; not lost, and not taken for an answer."""
        id_ = self.start()
        for headers in ({"Boxhaul-Saga": "x"}, {"Boxhaul-Outcome": "maybe"}, {"Boxhaul-Attempt": "0"}, {"Boxhaul-Dir": "up"}):
            with self.subTest(headers), self.assertRaises(errors.InvalidParameterValue):
                self.shop.sql("SELECT boxhaul.saga_reply(r) FROM jsonb_populate_record(NULL::boxhaul.inbox, %s) r", json.dumps(
                    {"seq": 1, "subject": REPLIES, "payload": "", "headers": {
                        "Boxhaul-Saga": id_, "Boxhaul-Step": "reserve", "Boxhaul-Dir": "do", "Boxhaul-Attempt": "1",
                        "Boxhaul-Outcome": "done", **headers}}), user=RELAY)


class Participants(SagaTest):
    def command(self, id_, dir_="do", attempt=1, step="reserve", **headers):
        self.stock.take({"id": str(uuid.uuid4()), "subject": "stock.x", "key": id_, "body": "{}", "headers": {
            "Boxhaul-Saga": id_, "Boxhaul-Step": step, "Boxhaul-Dir": dir_, "Boxhaul-Attempt": str(attempt), "Boxhaul-Reply-To": REPLIES,
            **headers}})
        return self.work(self.stock)[0].split()[-1]

    def told(self):
        return [(m["headers"]["Boxhaul-Dir"], m["headers"]["Boxhaul-Attempt"], m["headers"]["Boxhaul-Outcome"]) for m in self.stock.sent()]

    def did(self, id_):
        return self.stock.one("SELECT did FROM boxhaul.saga_part WHERE saga = %s", id_)

    def test_repeats(self):
        for answer, then in (("done", "done"), ("refused", "refused")):
            with self.subTest(answer):
                id_ = str(uuid.uuid4())
                self.answers = {("reserve", "do"): answer}
                self.assertEqual([self.command(id_, attempt=n) for n in (1, 2, 3)], ["do", "skip", "skip"])
                self.assertEqual(self.told(), [("do", str(n), then) for n in (1, 2, 3)])
        self.assertEqual([self.command(id_, "undo", n) for n in (1, 2)], ["skip", "skip"])  # of what was refused there is nothing
        self.assertEqual(self.told(), [("undo", "1", "done"), ("undo", "2", "done")])

    def test_undo_and_its_repeats(self):
        id_ = str(uuid.uuid4())
        self.assertEqual([self.command(id_), self.command(id_, "undo"), self.command(id_, "undo", 2), self.command(id_, "do", 2)],
                         ["do", "undo", "skip", "skip"])
        self.assertEqual(self.told(), [("do", "1", "done"), ("undo", "1", "done"), ("undo", "2", "done"), ("do", "2", "refused")])
        self.assertEqual((self.effects(), self.did(id_)), (["do reserve", "undo reserve"], "undone"))

    def test_tombstone(self):
        """An undo that comes first: the do behind it is never done."""
        id_ = str(uuid.uuid4())
        self.assertEqual([self.command(id_, "undo"), self.command(id_), self.command(id_, "undo", 2)], ["skip"] * 3)
        self.assertEqual(self.told(), [("undo", "1", "done"), ("do", "1", "refused"), ("undo", "2", "done")])
        self.assertEqual((self.effects(), self.did(id_)), ([], "void"))

    def test_answer_later(self):
        """By a person, when the row is gone; to the newest command."""
        id_ = str(uuid.uuid4())
        self.answers = {("reserve", "do"): None, ("reserve", "undo"): None}
        self.assertEqual([self.command(id_, attempt=n, traceparent="t") for n in (1, 2)], ["do", "skip"])
        self.assertEqual((self.told(), self.did(id_)), ([], "pending"))
        self.stock.sql("SELECT boxhaul.saga_answer(%s, 'reserve', 'done', '{\"n\": 1}')", id_, user=WORKER)
        message = self.stock.sent()[0]
        headers = message["headers"]
        self.assertEqual((headers["Boxhaul-Attempt"], headers["traceparent"], message["body"]), ("2", "t", '{"n": 1}'))
        self.assertEqual([self.command(id_, "undo", n) for n in (1, 2)], ["undo", "skip"])
        self.assertEqual(self.told(), [])
        self.stock.sql("SELECT boxhaul.saga_answer(%s, 'reserve', 'error')", id_, user=WORKER)
        self.assertEqual(self.command(id_, "undo", 3), "undo")  # it did not work: once more
        self.stock.sql("SELECT boxhaul.saga_answer(%s, 'reserve', 'done')", id_, user=WORKER)
        self.assertEqual(self.told(), [("undo", "2", "error"), ("undo", "3", "done")])

    def test_undone_before_it_was_answered(self):
        """The answer that comes then raises: a person who decides tomorrow would make it done and undone."""
        id_ = str(uuid.uuid4())
        self.answers = {("reserve", "do"): None}
        self.assertEqual([self.command(id_), self.command(id_, "undo")], ["do", "skip"])
        self.assertEqual((self.told(), self.did(id_)), ([("undo", "1", "done")], "void"))
        with self.assertRaises(errors.ObjectNotInPrerequisiteState) as caught:
            self.stock.sql("SELECT boxhaul.saga_answer(%s, 'reserve', 'done')", id_, user=WORKER)
        self.assertIn("was undone before it was answered", str(caught.exception))

    def test_answers_count_once(self):
        id_ = str(uuid.uuid4())
        with self.assertRaises(errors.ObjectNotInPrerequisiteState):
            self.stock.sql("SELECT boxhaul.saga_answer(%s, 'reserve', 'done')", id_, user=WORKER)
        self.command(id_)
        for outcome in ("done", "refused"):
            with self.assertRaises(errors.ObjectNotInPrerequisiteState):
                self.stock.sql("SELECT boxhaul.saga_answer(%s, 'reserve', %s)", id_, outcome, user=WORKER)
        with self.assertRaises(errors.InvalidParameterValue):
            self.stock.sql("SELECT boxhaul.saga_answer(%s, 'reserve', 'perhaps')", id_, user=WORKER)

    def test_error_is_accepted_again(self):
        id_ = str(uuid.uuid4())
        self.answers = {("reserve", "do"): "error"}
        self.assertEqual(self.command(id_), "do")
        self.answers = {}
        self.assertEqual(self.command(id_, attempt=2), "do")
        self.assertEqual(self.told(), [("do", "1", "error"), ("do", "2", "done")])
        self.assertEqual(self.effects(), ["do reserve"])

    def test_rows_themselves(self):
        """In a handler of the daemon, and by a worker in autocommit."""
        self.stock.sql("""CREATE OR REPLACE FUNCTION act(r boxhaul.inbox) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
            IF boxhaul.saga_accept(r) = 'do' THEN PERFORM boxhaul.saga_answer(r, 'done'); END IF; END $$""")
        id_ = str(uuid.uuid4())
        self.stock.take({"id": id_, "subject": "stock.x", "key": id_, "body": "{}", "headers": {
            "Boxhaul-Saga": id_, "Boxhaul-Step": "reserve", "Boxhaul-Dir": "do", "Boxhaul-Attempt": "1", "Boxhaul-Reply-To": REPLIES}})
        handled = self.stock.one("SELECT handled FROM boxhaul.handle('work', 'public.act')", user=RELAY)
        self.assertEqual((handled, self.told()), (1, [("do", "1", "done")]))
        with self.assertRaises(errors.NoActiveSqlTransaction):
            self.stock.sql("SELECT boxhaul.saga_accept('work', 0, 1)", user=WORKER)

    def test_cleaned(self):
        """What is cleaned away is not guessed at: neither done again nor taken for never done. Tombstones stay as long as asked."""
        old, young, later = (str(uuid.uuid4()) for _ in range(3))
        self.command(old)
        self.command(young, "undo")
        self.answers = {("reserve", "do"): None}
        self.command(later)
        self.told()
        self.stock.sql("UPDATE boxhaul.saga_part SET at = now() - interval '40 days'")
        self.assertEqual(self.stock.one("SELECT boxhaul.saga_clean('10 days', '50 days')", user=RELAY), 0)
        self.stock.sql("UPDATE boxhaul.saga_part SET at = now() WHERE saga = %s", young)
        self.assertEqual(self.stock.one("SELECT boxhaul.saga_clean('10 days')", user=RELAY), 1)
        self.assertEqual((self.did(young), self.did(later)), ("void", "pending"))
        long_ago = str((self.stock.one("SELECT extract(epoch FROM now())::bigint") - 41 * 86400) * 1000)
        recently = str(self.stock.one("SELECT extract(epoch FROM now())::bigint") * 1000)
        for dir_ in ("do", "undo"):
            self.assertEqual(self.command(old, dir_, **{"Boxhaul-Since": long_ago}), "skip")
        self.assertEqual(self.told(), [("do", "1", "error"), ("undo", "1", "error")])
        self.assertEqual(self.command(str(uuid.uuid4()), **{"Boxhaul-Since": recently}), "do")


class Keeping(SagaTest):
    def test_clean(self):
        ended = self.start()
        self.run_all()
        opened = self.start()
        self.shop.sql("UPDATE boxhaul.saga SET started_at = now() - interval '60 days'")
        self.shop.sql("UPDATE boxhaul.saga SET ended_at = now() - interval '40 days' WHERE id = %s", ended)
        self.assertEqual(self.shop.one("SELECT boxhaul.saga_clean('50 days')", user=RELAY), 0)
        self.assertEqual(self.shop.one("SELECT boxhaul.saga_clean()", user=RELAY), 1)
        self.assertEqual(self.shop.sql("SELECT id FROM boxhaul.saga"), [(opened,)])
        self.assertEqual(self.shop.one("SELECT count(*) FROM boxhaul.saga_log WHERE saga = %s", ended), 0)

    def test_two_clocks(self):
        """The second passes over what the first has in its hands, and finds nothing due afterwards."""
        id_ = self.start()
        now = self.shop.one("SELECT clock_timestamp() + interval '11 h'")
        with contextlib.closing(self.pg.connect("shop", RELAY)) as c, c.cursor() as cursor:
            c.autocommit = False
            cursor.execute("SELECT boxhaul.saga_tick(%s)", (now,))
            self.assertEqual(self.shop.one("SELECT boxhaul.saga_tick(%s)", now, user=RELAY), 50)
            c.commit()
        self.assertEqual(self.shop.one("SELECT boxhaul.saga_tick(%s)", now, user=RELAY), 3_600_000)
        self.assertEqual(self.stands(id_), "running reserve 2")
        with self.assertRaises(errors.UniqueViolation):
            self.shop.sql("INSERT INTO boxhaul.saga_log (saga, n, at, event, action, step, dir, attempt) "
                          "VALUES (%s, 99, now(), 'timeout', 'again', 'reserve', 'do', 1)", id_)

    def test_plans(self):
        """The clock goes by the index of open sagas, and reads no more than what is due: 4000 are open, 16000 have ended.
        Whatever was planned when there was one."""
        id_ = self.start()
        self.shop.sql("ANALYZE boxhaul.saga")
        for _ in range(8):
            self.tick(700)
        self.shop.sql("""INSERT INTO boxhaul.saga (name, version, key, state, step, reached, attempt, sent, due, due_at, data, locks,
                                                   ended_at)
            SELECT 'order', 1, g::text, CASE WHEN g % 5 = 0 THEN 'running' ELSE 'completed' END, 0, 0, 1, true, 'timeout',
                   CASE WHEN g % 5 = 0 THEN now() + g * interval '1 ms' + interval '10000 days' END, '{}', '{}',
                   CASE WHEN g % 5 <> 0 THEN now() END FROM generate_series(1, 20000) g""")
        counts = "SELECT seq_scan, idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relid = 'boxhaul.saga'::regclass"
        attempt = self.saga(id_)["attempt"]
        self.shop.sql("BEGIN", user=RELAY)
        before = self.shop.sql(counts, user=RELAY)[0]
        self.tick(700)
        whole, rows = (b - a for a, b in zip(before, self.shop.sql(counts, user=RELAY)[0]))
        self.shop.sql("COMMIT", user=RELAY)
        self.assertEqual((whole, self.saga(id_)["attempt"]), (0, attempt + 1))
        self.assertIn(rows, range(1, 20))
        # Whoever relays here, and has nothing to do with sagas, asks whether one is open.
        self.shop.sql("DELETE FROM boxhaul.saga WHERE ended_at IS NULL")
        self.shop.sql("BEGIN", user=RELAY)
        before = self.shop.sql(counts, user=RELAY)[0]
        self.assertEqual(self.shop.one("SELECT boxhaul.saga_unclocked()", user=RELAY), 0)
        self.assertEqual(self.shop.sql(counts, user=RELAY)[0], before)
        self.shop.sql("COMMIT", user=RELAY)

    def test_functions_are_pinned(self):
        rows = self.shop.sql("""SELECT p.proname, p.proconfig, has_function_privilege('public', p.oid, 'EXECUTE')
                                  FROM pg_proc p WHERE p.pronamespace = 'boxhaul'::regnamespace AND p.proname ~ '^saga_'""")
        self.assertGreater(len(rows), 40)
        for name, config, public in rows:
            self.assertFalse(public, name)
            if "enable_seqscan=off" in (config or []):  # a scan that has to be costs 1e10 then, and each call would compile it: 90 ms
                self.assertIn("jit=off", config, name)
            self.assertIn("search_path=pg_catalog, pg_temp", config or [], name)
            self.assertIn("standard_conforming_strings=on", config or [], name)


class Random(SagaTest):
    """Everything at once, at random: participants that refuse, fail, are silent and decide later; messages that are late and come twice,
    commands and undos in one stream or in two; transactions that are rolled back; clocks, cancels and operators. Then it heals, and is
    judged by the effects alone."""

    KINDS = [("a", "undoable", "stock"), ("b", "undoable", "bank"), ("c", "pivot", "bank"), ("d", "retriable", "stock")]

    def setUp(self):
        super().setUp()
        self.network, self.later, self.sagas = {}, set(), []
        self.calm = False

    def steps(self, patient):
        return [{"name": name, "kind": kind, "command": f"{where}.{name}", "deadline": f"{self.random.choice(patient)}h",
                 "retries": self.random.choice([0, 1, 3]), **({"undo": f"{where}.un{name}"} if kind == "undoable" else {})}
                for name, kind, where in self.KINDS]

    def chance(self, probability):
        return not self.calm and self.random.random() < probability

    def transaction(self, service, user, act):
        """With a chance to be rolled back."""
        service.sql("BEGIN", user=user)
        try:
            result = act()
        except psycopg2.Error:
            service.sql("ROLLBACK", user=user)
            raise
        service.sql("ROLLBACK" if (back := self.chance(0.1)) else "COMMIT", user=user)
        return None if back else result

    # -- what can happen

    def begin_one(self):
        locks = self.random.sample("vwxyz", self.random.choice([0, 0, 1, 2]))
        with contextlib.suppress(errors.ObjectInUse):
            if id_ := self.transaction(self.shop, WRITER, lambda: self.start(f"random{self.random.randrange(2)}", locks=locks)):
                self.sagas.append(id_)

    def deliver(self):
        """One message of some queue, and perhaps a copy of it later: those of one key in one stream stay in their order."""
        for service in self.services:
            for m in service.sent():
                stream = "undo" if self.two_streams and m["headers"]["Boxhaul-Dir"] == "undo" else "do"
                self.network.setdefault((m["key"], m["subject"] == REPLIES or stream), []).append(m)
        queues = [q for q in self.network.values() if q]
        if queues:
            queue = self.random.choice(queues)
            message = queue.pop(0)
            if self.chance(0.1):
                queue.append(dict(message, id=str(uuid.uuid4())))
            next(s for s in self.services if s.takes(message)).take(message)

    def effect(self, service, saga, step, dir_):
        service.sql("INSERT INTO effect (saga, step, dir) VALUES (%s, %s, %s)", saga, step, dir_, user=WORKER)

    def answer(self, service, saga, step, dir_, outcome):
        if outcome == "done":
            self.effect(service, saga, step, dir_)
        service.sql("SELECT boxhaul.saga_answer(%s, %s, %s)", saga, step, outcome, user=WORKER)

    def do_one(self, service):
        rows = service.sql("SELECT lane, id, headers FROM boxhaul.receive('work', 1)", user=WORKER)
        if not rows:
            return None
        lane, id_, headers = rows[0]
        where = headers["Boxhaul-Saga"], headers["Boxhaul-Step"], headers["Boxhaul-Dir"]
        what = service.one("SELECT boxhaul.saga_accept('work', %s, %s)", lane, id_, user=WORKER)
        later = None
        if what != "skip":
            self.assertEqual(what, where[2])
            outcome = "done" if self.calm else self.random.choice(["done"] * 5 + ["refused", "error", None])
            if outcome == "refused" and where[1:] == ("d", "do"):
                outcome = "error"  # what is behind the pivot succeeds in the end
            if outcome:
                self.answer(service, *where, outcome)
            else:
                later = (service.name, *where)
        service.sql("SELECT boxhaul.done('work', %s, %s)", lane, id_, user=WORKER)
        return later or True

    def work_one(self, service):
        done = self.transaction(service, WORKER, lambda: self.do_one(service) or self.fail_quietly())
        if isinstance(done, tuple):
            self.later.add(done)

    class Nothing(psycopg2.Error):
        pass

    def fail_quietly(self):
        raise self.Nothing

    def decide(self):
        """A person who was asked before."""
        if self.later:
            asked = self.random.choice(sorted(self.later))
            service = next(s for s in self.services if s.name == asked[0])
            with contextlib.suppress(errors.ObjectNotInPrerequisiteState):  # undone meanwhile: the effect goes with the roll-back
                if self.transaction(service, WORKER, lambda: self.answer(service, *asked[1:], "done") or True) is None:
                    return
            self.later.discard(asked)

    def take_answers(self):
        self.transaction(self.shop, RELAY, lambda: self.shop.sql(
            "SELECT error FROM boxhaul.handle(%s, 'boxhaul.saga_reply', max => %s)", ANSWERS, self.random.choice([1, 5]), user=RELAY))

    def pass_time(self, hours=None):
        hours = self.random.choice([0, 1, 5, 30]) if hours is None else hours
        self.shop.sql("UPDATE boxhaul.saga SET due_at = due_at - %s * interval '1 hour' WHERE due_at IS NOT NULL", hours)
        self.transaction(self.shop, RELAY, lambda: self.shop.sql("SELECT boxhaul.saga_tick()", user=RELAY))

    def meddle(self):
        if self.sagas:
            call, user = self.random.choice([("saga_cancel(%s, 'x')", WRITER), ("saga_retry(%s)", RELAY), ("saga_undo(%s, 'x')", RELAY)])
            with contextlib.suppress(errors.ObjectNotInPrerequisiteState):
                self.transaction(self.shop, user, lambda: self.shop.sql(f"SELECT boxhaul.{call}", self.random.choice(self.sagas), user=user))

    def act(self):
        what = self.random.choices([self.begin_one, self.deliver, self.take_answers, self.pass_time, self.decide, self.meddle,
                                    lambda: self.work_one(self.stock), lambda: self.work_one(self.bank)], [2, 12, 6, 3, 2, 1, 6, 6])[0]
        with contextlib.suppress(self.Nothing):
            what()

    def heal(self):
        """From now on everything works. What is open ends."""
        self.calm = True
        for _ in range(60):
            for _ in range(30):
                self.deliver()
            for service in (self.stock, self.bank):
                with contextlib.suppress(self.Nothing):
                    while True:
                        self.work_one(service)
            while self.later:
                self.decide()
            self.reply()
            if not any(self.network.values()) and not self.shop.one("SELECT count(*) FROM boxhaul.saga WHERE ended_at IS NULL"):
                return
            self.pass_time(500)
        self.fail(f"still open: {self.shop.sql('SELECT state, step, attempt, due, due_at, stuck, error FROM boxhaul.saga WHERE ended_at IS NULL')}")

    # -- what has to hold

    def judge(self):
        done = {}
        for service in self.services:
            for saga, step, dir_ in service.sql("SELECT saga::text, step, dir FROM effect ORDER BY n"):
                done.setdefault(saga, []).append((step, dir_))
        states = dict(self.shop.sql("SELECT id::text, state FROM boxhaul.saga"))
        self.assertEqual(set(states), set(self.sagas))  # S12: nothing of what was rolled back
        self.assertLessEqual(set(done), set(states))
        for saga, state in states.items():
            have = done.get(saga, [])
            self.assertEqual(len(have), len(set(have)), "an effect twice")  # S7
            stands = {step for step, dir_ in have if dir_ == "do"} - {step for step, dir_ in have if dir_ == "undo"}
            self.assertEqual(stands, set("abcd") if state == "completed" else set(), f"{saga} is {state}: {have}")  # S8
            if state == "completed":
                self.assertNotIn("undo", [d for _, d in have])  # S5
            log = self.shop.sql("SELECT event, action, step, dir FROM boxhaul.saga_log WHERE saga = %s ORDER BY n", saga)
            undone = [step for event, _, step, dir_ in log if event == "sent" and dir_ == "undo"]
            self.assertEqual(undone, sorted(undone, reverse=True))  # S3
            self.assertFalse(any(a == "orphan" for _, a, _, _ in log))
        self.assertEqual(self.shop.one("SELECT count(*) FROM boxhaul.saga WHERE due_at IS NOT NULL OR stuck IS NOT NULL"), 0)  # S9
        self.assertEqual(self.shop.one("SELECT count(*) FROM boxhaul.saga_lock"), 0)
        self.assertEqual(self.shop.one("SELECT count(*) FROM boxhaul.saga_orphan"), 0)
        self.assertEqual(self.shop.one("SELECT count(*) FROM boxhaul.inbox_dead"), 0)
        self.assertEqual(self.shop.one("SELECT timeouts FROM boxhaul.saga_count"),
                         self.shop.one("SELECT count(*) FROM boxhaul.saga_log WHERE event = 'timeout'"))  # S6
        return states.values()

    def test_random(self):
        ends = []
        for seed in range(FIRST_SEED, FIRST_SEED + SEEDS):
            with self.subTest(seed=seed):
                self.setUp()
                self.random = random.Random(seed)
                self.two_streams = seed % 2 == 0
                for n in range(2):
                    self.define(f"random{n}", self.steps([1, 4, 20] if n else [100]))
                for _ in range(40):
                    for _ in range(8):
                        self.act()
                    self.assertEqual(self.shop.one("""SELECT count(*) FROM boxhaul.saga s JOIN boxhaul.saga_definition d
                        ON d.name = s.name AND d.version = s.version WHERE s.ended_at IS NULL AND s.stuck IS NULL
                        AND s.attempt > (d.steps -> s.step ->> 'retries')::integer + 1"""), 0)  # S10
                self.heal()
                ends += self.judge()
        self.assertEqual(set(ends), {"completed", "undone"})


if __name__ == "__main__":
    unittest.main()
