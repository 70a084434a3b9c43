"""The inbox's SQL alone: what the leader, the workers, the clock and the operators call, without a relay and without a
broker. The last class drives all of them at random and judges by the effects: each message once, in order per key."""

import contextlib
import ctypes
import ctypes.util
import glob
import itertools
import json
import os
import random
import sys
import threading
import unittest
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import psycopg2  # noqa: E402
from psycopg2 import errors  # noqa: E402

from process import DEADLINE, Workspace, wait_until  # noqa: E402
from servers import Postgres  # noqa: E402

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
LEADER, WORKER, MONITOR = "inbox_relay", "inbox_worker", "inbox_monitor"
DATABASE = "service"
SEEDS = int(os.environ.get("INBOX_SEEDS", "12"))
FIRST_SEED = int(os.environ.get("INBOX_FIRST_SEED", "1"))

SERVICE = f"""
CREATE TABLE effect (n bigserial PRIMARY KEY, message text, key text, number bigint);
CREATE FUNCTION act(r boxhaul.inbox) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.effect (message, key, number)
    VALUES (convert_from(r.payload, 'UTF8'), r.key, r.seq);
    CASE coalesce(r.headers ->> 'do', '')
        WHEN 'fail' THEN RAISE EXCEPTION 'this one is bad';
        WHEN 'outage' THEN RAISE EXCEPTION 'no room' USING ERRCODE = 'disk_full';
        WHEN 'sleep' THEN PERFORM pg_sleep(600);
        ELSE NULL;
    END CASE;
END $$;
GRANT ALL ON effect, effect_n_seq TO {WORKER}, {LEADER};
"""


class Message:
    """As a broker has it."""

    def __init__(self, name, key=None, id=None, headers=None, reason=None, subject="orders.a"):
        self.name, self.key, self.id, self.subject, self.reason = name, key, id, subject, reason
        self.headers = headers


class Leader:
    """What the relay's leader does with its one connection."""

    def __init__(self, connection, name="billing", who="leader"):
        self.connection, self.name, self.who = connection, name, who
        self.epoch = self.incarnation = self.position = 0

    def ask(self, sql, *values):
        with self.connection.cursor() as cursor:
            cursor.execute(sql, values or None)
            return cursor.fetchall() if cursor.description else None

    def look(self):
        self.incarnation, self.position = self.ask(
            "SELECT incarnation, position FROM boxhaul.inbox_position WHERE subscription = %s", self.name)[0]

    def lead(self, created="2026", position=0):
        self.epoch = self.ask("SELECT epoch FROM boxhaul.inbox_lead(%s, %s)", self.name, self.who)[0][0]
        said = self.ask("SELECT boxhaul.inbox_open(%s, %s, %s, %s, NULL)", self.name, self.epoch, created, position)[0][0]
        self.look()
        return said

    def take(self, messages, seqs=None, to=None, witness=None, start=None, **belief):
        """(position, taken, left out, dead) or None where nothing was taken; moves our idea of the position."""
        start = self.position if start is None else start
        seqs = list(range(start + 1, start + 1 + len(messages))) if seqs is None else seqs
        to = (seqs[-1] if seqs else start) if to is None else to
        position, taken, left_out, dead, _asleep = self.ask(
            """SELECT * FROM boxhaul.inbox_take(%s, %s, %s, %s, %s, %s, %s::bigint[], %s::text[], %s::text[], %s::text[],
                                                %s::bytea[], %s::jsonb[], %s::bigint[], %s::text[])""",
            self.name, belief.get("epoch", self.epoch), belief.get("incarnation", self.incarnation), start, to,
            to * 1000 if witness is None else witness, seqs, [m.id for m in messages], [m.subject for m in messages],
            [m.key for m in messages], [None if m.reason else m.name.encode() for m in messages],
            [json.dumps(m.headers) if m.headers else None for m in messages], [s * 1000 for s in seqs],
            [m.reason for m in messages])[0]
        if taken is None:
            return None
        self.position = position
        return position, taken, left_out, dead


def messages(*names, **options):
    """"a:k" is message a with key k and id a."""
    return [Message(name, *(key or [None])[:1], id=name, **options)
            for name, *key in (word.split(":") for word in names)]


class InboxTest(unittest.TestCase):
    pg = None  # one server and one database for all of them

    @classmethod
    def setUpClass(cls):
        if InboxTest.pg is None:
            InboxTest.pg = cls.start_server()

    @staticmethod
    def start_server():
        workspace = unittest.enterModuleContext(Workspace())
        pg = workspace.add(Postgres(workspace.path("pg"), fsync="off", max_prepared_transactions=4)).start()
        pg.execute(f"CREATE DATABASE {DATABASE}")
        for path in sorted(glob.glob(os.path.join(TOP, "sql", "*.sql"))):
            with open(path, encoding="utf-8") as f:
                text = f.read()
            for _ in range(2):  # each can be run again
                pg.execute(text, dbname=DATABASE)
        pg.create_login(LEADER, "boxhaul_relay")
        pg.create_login(WORKER, "boxhaul_handler")
        pg.create_login(MONITOR, "boxhaul_monitor")
        pg.execute(SERVICE, dbname=DATABASE)
        for user in (pg.superuser, LEADER, WORKER, MONITOR):
            pg.execute(f"ALTER ROLE {user} SET statement_timeout = '{DEADLINE}s'")  # no test hangs
        return pg

    def setUp(self):
        self.database = DATABASE
        self.connections, self.standing = [], {}
        self.addCleanup(self._close)
        self.reset()

    def reset(self):
        self.sql("""SELECT boxhaul.inbox_drop(name) FROM boxhaul.subscription;
            TRUNCATE boxhaul.inbox, boxhaul.seen, boxhaul.inbox_dead, effect RESTART IDENTITY;
            UPDATE boxhaul.inbox_slot SET state = CASE slot WHEN 0 THEN 'current' ELSE 'empty' END, turn = CASE slot WHEN 0 THEN 1 ELSE 0 END, since = now()""")

    def _close(self):
        for connection in self.connections:
            with contextlib.suppress(psycopg2.Error):
                connection.close()
        self.standing.clear()

    def connect(self, user=None, autocommit=True):
        self.connections.append(self.pg.connect(self.database, user))
        self.connections[-1].autocommit = autocommit
        return self.connections[-1]

    def sql(self, statement, *values, user=None):
        """One statement, a transaction of its own."""
        if user not in self.standing:
            self.standing[user] = self.connect(user)
        with self.standing[user].cursor() as cursor:
            cursor.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else None

    def define(self, name="billing", **options):
        options = {"stream": "ORDERS", "subjects": ["orders.>"], "lanes": 1, **options}
        words = ", ".join(f"{option} => %s" for option in options)
        return self.sql(f"SELECT boxhaul.inbox_define(%s, {words})", name, *options.values(), user=LEADER)[0][0]

    def lead(self, name="billing", **options):
        leader = Leader(self.connect(LEADER), name)
        leader.lead(**options)
        return leader

    def begin(self, how="BEGIN"):
        """A worker's transaction: a function that executes in it."""
        connection = self.connect(WORKER)

        def execute(statement, *values):
            with connection.cursor() as cursor:
                cursor.execute(statement, values or None)
                return cursor.fetchall() if cursor.description else None
        execute.connection = connection
        execute(how)
        return execute

    def handle(self, count=10, name="billing"):
        """One worker's transaction that does all it gets; returns the messages."""
        self.worker = getattr(self, "worker", None) or self.begin("SELECT")
        work = self.worker
        work("BEGIN")
        rows = work("SELECT lane, id, convert_from(payload, 'UTF8'), key, seq FROM boxhaul.receive(%s, %s)", name, count)
        for lane, id, message, key, seq in rows:
            work("INSERT INTO effect (message, key, number) VALUES (%s, %s, %s)", message, key, seq)
            work("SELECT boxhaul.done(%s, %s, %s)", name, lane, id)
        work("COMMIT")
        return [message for _, _, message, _, _ in rows]

    def handle_all(self, count=10, name="billing"):
        said = []
        while got := self.handle(count, name):
            said += got
            self.assertLess(len(said), 10_000, "rows come without end")
        return said

    def fails(self, message, error="bad", name="billing"):
        """As a worker tells it; then its back-off lasts until let_time_pass()."""
        (lane, id), = self.sql("SELECT lane, id FROM boxhaul.inbox WHERE subscription = %s AND payload = %s", name, message.encode())
        said = self.sql("SELECT boxhaul.failed(%s, %s, %s, %s)", name, lane, id, error, user=WORKER)[0][0]
        self.waits = self.sql("SELECT extract(epoch FROM next_at - since) FROM boxhaul.inbox_parked WHERE id = %s", id)
        self.move_back_off("1 hour")
        return said

    def let_time_pass(self):
        """What backs off is due."""
        self.move_back_off("-1 second")

    def move_back_off(self, to):
        self.sql("UPDATE boxhaul.inbox_parked SET next_at = now() + %s::interval WHERE attempts > 0", to)
        self.sql("""UPDATE boxhaul.inbox_lane l SET next_due = boxhaul.inbox_next_due(l.subscription, l.lane)""")

    def effects(self):
        return [row[0] for row in self.sql("SELECT message FROM effect ORDER BY n")]

    def status(self, column, name="billing"):
        return self.sql(f"SELECT {column} FROM boxhaul.inbox_status WHERE subscription = %s", name, user=MONITOR)[0][0]

    def blocked(self):
        return self.sql("""SELECT convert_from(i.payload, 'UTF8'), b.state, b.attempts, b.behind
            FROM boxhaul.inbox_blocked b JOIN boxhaul.inbox i USING (subscription, lane, id) ORDER BY b.id""")

    def assert_raises(self, error, call, *words, hint=None):
        with self.assertRaises(error) as caught:
            call(*words)
        if hint:
            self.assertIn(hint, caught.exception.diag.message_hint)
        return str(caught.exception)


class Definition(InboxTest):
    def test_it_is_created_once_and_fitted(self):
        self.assertEqual(self.define(), ["subscription billing is new"])
        self.assertEqual(self.define(), [])
        self.assertEqual(self.define(poison="skip", max_attempts=3),
                         ["dedupe: ids, handler: workers, poison: skip, at most 3 attempts"])
        self.assertEqual(self.sql("SELECT poison, max_attempts, lanes FROM boxhaul.subscription"), [("skip", 3, 1)])

    def test_a_name_that_was_misspelt(self):
        """A subscription that has never found its stream may have another one: nothing is lost by that. Whoever leads it with the old
        name opens nothing any more."""
        self.define(stream="ODRERS", subjects=["oders.>"])
        old = Leader(self.connect(LEADER))
        old.epoch = old.ask("SELECT epoch FROM boxhaul.inbox_lead('billing', 'old')")[0][0]
        self.sql("SELECT boxhaul.inbox_stop('billing', %s, %s)", old.epoch, '{"kind": "no_stream"}', user=LEADER)
        self.assertEqual(self.define(subjects=["orders.>"]), ["takes orders.> of stream ORDERS"])
        self.assertEqual(self.define(subjects=["orders.>"]), [])
        self.assertEqual(old.ask("SELECT boxhaul.inbox_open('billing', %s, '2025', 5, NULL)", old.epoch), [(None,)])
        self.assertEqual(self.sql("SELECT position, created, stop FROM boxhaul.inbox_position"), [(0, None, None)])
        self.lead().take(messages("a:k"))
        self.assert_raises(errors.ObjectNotInPrerequisiteState, lambda: self.define(stream="X"), hint="another name")
        self.assert_raises(errors.ObjectNotInPrerequisiteState, lambda: self.define(subjects=["orders.a"]), hint="another name")
        self.assertEqual(self.sql("SELECT position FROM boxhaul.inbox_position"), [(1,)])

    def test_what_would_lose_messages_is_refused(self):
        self.define()
        self.lead()
        self.assert_raises(errors.ObjectNotInPrerequisiteState, lambda: self.define(stream="X"), hint="another name")
        self.assert_raises(errors.ObjectNotInPrerequisiteState, lambda: self.define(subjects=["orders.a"]), hint="inbox_subjects")
        self.sql("SELECT boxhaul.inbox_subjects('billing', '{orders.a}')", user=LEADER)
        self.assertEqual(self.define(subjects=["orders.a"]), [])
        self.assert_raises(errors.ObjectNotInPrerequisiteState, hint="subjects on record",
                           call=lambda: self.sql("SELECT boxhaul.inbox_lead('billing', 'a', '{orders.b}')", user=LEADER))
        self.assertEqual(len(self.sql("SELECT boxhaul.inbox_lead('billing', 'a', '{orders.a}')", user=LEADER)), 1)
        for bad in ({"lanes": 0}, {"lanes": 257}, {"dedupe": "x"}, {"poison": "x"}, {"max_attempts": 0}):
            self.assert_raises(errors.CheckViolation, lambda bad=bad: self.define("other", **bad))
        self.assert_raises(errors.CheckViolation, lambda: self.define("no space"))

    def test_lanes_change_only_when_nothing_waits(self):
        self.define()
        leader = self.lead()
        leader.take(messages("a:k", "b:l"))
        for change in ({"lanes": 7}, {"key_rule": "none"}):
            self.assert_raises(errors.ObjectNotInPrerequisiteState, lambda change=change: self.define(**change), hint="parked")
        self.fails("a")
        self.handle_all()
        self.assert_raises(errors.ObjectNotInPrerequisiteState, lambda: self.define(lanes=7))  # for one is parked
        self.let_time_pass()
        self.handle_all()
        self.assertEqual(self.define(lanes=7), ["7 lanes, key: header"])
        self.assertEqual(self.status("waiting"), 0)
        leader.take(messages("c:k", "d:l", "e:m", "f"))
        self.assertEqual(sorted(self.handle_all()), ["c", "d", "e", "f"])
        self.assertEqual(self.define(lanes=2), ["2 lanes, key: header"])
        leader.take(messages("g:k", "h:l"))
        self.assertEqual(sorted(self.handle_all()), ["g", "h"])
        self.assertEqual(self.status("(waiting, handled)"), "(0,8)")

    def test_a_dropped_one_can_come_again(self):
        self.define()
        self.lead().take(messages("a:k", "b:k"))
        self.handle_all()
        self.sql("SELECT boxhaul.inbox_drop('billing')", user=LEADER)
        self.define()
        self.assertEqual(self.lead().take(messages("a:k", "b:k")), (2, 2, 0, 0))
        self.assertEqual(self.handle_all(), ["a", "b"])

    def test_unknown_ones_are_named(self):
        for call in ("inbox_lead('x', '')", "inbox_subjects('x', '{}')", "inbox_drop('x')", "inbox_pause('x')", "inbox_resume('x')",
                     "inbox_rewind('x', 'start')", "inbox_accept_gap('x')", "inbox_watch('x')"):
            self.assertIn("no subscription x", self.assert_raises(
                errors.UndefinedObject, lambda call=call: self.sql(f"SELECT boxhaul.{call}", user=LEADER), hint="lists them"))
        self.assert_raises(errors.UndefinedObject, lambda: self.sql("SELECT boxhaul.receive('x')", user=WORKER))


class Taking(InboxTest):
    def rows(self, what):
        return [row[0] if len(row) == 1 else row for row in self.sql(f"SELECT {what} FROM boxhaul.inbox ORDER BY id")]

    def test_only_from_where_it_stands(self):
        """I1, I8."""
        self.define()
        leader = self.lead()
        self.assertEqual(leader.take(messages("a")), (1, 1, 0, 0))
        for belief in ({"start": 0}, {"start": 2}, {"epoch": leader.epoch + 1}, {"epoch": leader.epoch - 1}, {"incarnation": 0},
                       {"incarnation": 2}):
            self.assertIsNone(leader.take(messages("b"), **belief), belief)
        second = self.lead()
        self.assertEqual(second.position, 1)
        self.assertIsNone(leader.take(messages("b")))
        self.assertEqual(second.take(messages("b")), (2, 1, 0, 0))
        self.assertEqual(self.rows("convert_from(payload, 'UTF8')"), ["a", "b"])
        self.assertEqual(self.sql("SELECT seq, witness FROM boxhaul.trail ORDER BY seq"), [(1, 1000), (2, 2000)])

    def test_two_at_the_same_moment(self):
        """The second waits for the first's commit, and finds the position moved; or, when it rolls back, takes."""
        self.define()
        for end, outcome in (("COMMIT", None), ("ROLLBACK", (2, 1, 0, 0))):
            leader = self.lead()
            leader.ask("BEGIN")
            self.assertIsNotNone(leader.take(messages(f"first-{end}")))
            twin, said = Leader(self.connect(LEADER)), []
            twin.epoch, twin.incarnation, twin.position = leader.epoch, leader.incarnation, leader.position - 1
            thread = threading.Thread(target=lambda twin=twin, end=end, said=said: said.append(twin.take(messages(f"twin-{end}"))))
            thread.start()
            wait_until(lambda: self.pg.backends("wait_event_type = 'Lock'"), "the twin to wait")
            leader.ask(end)
            thread.join()
            self.assertEqual(said, [outcome])
        self.assertEqual(self.rows("convert_from(payload, 'UTF8')"), ["first-COMMIT", "twin-ROLLBACK"])

    def test_each_id_once(self):
        """I3: in the batch, before it, in every slot of the ring; per subscription; and what has no id is never the same."""
        self.define()
        self.define("other")
        leader, other = self.lead(), self.lead("other")
        plain = str(uuid.uuid4())
        batch = messages("a:k", "b:k", "a:k") + [Message(n, "k", i) for n, i in (("c", ""), ("d", ""), ("e", None), ("f", plain))]
        self.assertEqual(leader.take(batch), (7, 6, 1, 0))
        self.assertEqual(leader.take(messages("b:k", "g:k") + [Message("f2", "k", plain)]), (10, 1, 2, 0))
        self.assertEqual(other.take(batch), (7, 6, 1, 0))
        for _ in range(2):
            self.sql("UPDATE boxhaul.inbox_slot SET since = since - interval '4 days' WHERE ring = 'seen'")
            self.assertIn("is current", str(self.sql("SELECT boxhaul.inbox_clean()", user=LEADER)))
        self.assertEqual(leader.take(messages("g:k", "h:k", "a:k")), (13, 1, 2, 0))
        self.assertEqual(self.handle_all(), ["a", "b", "c", "d", "e", "f", "g", "h"])
        self.assertEqual(self.sql("SELECT message_id FROM boxhaul.inbox WHERE subscription = 'billing' AND payload = 'f'"), [(plain,)])
        self.assertEqual(self.status("(taken, left_out)"), "(8,5)")
        self.assertEqual(self.sql("SELECT boxhaul.inbox_uuid(NULL), boxhaul.inbox_uuid(''), boxhaul.inbox_uuid('a')::text = md5('a')::uuid::text"),
                         [(None, None, True)])
        for odd in (plain.upper(), plain.replace("-", ""), plain + "0", plain[:-1], "-" * 36, "g" + plain[1:], plain[:-1] + "-"):
            self.assertEqual(self.sql("SELECT boxhaul.inbox_uuid(%s) = md5(%s)::uuid", odd, odd), [(True,)], odd)
        self.assertEqual(self.sql("SELECT boxhaul.inbox_uuid(%s)", plain), [(plain,)])

    def test_a_fresh_slot_is_probed(self):
        """Plans that were made for an empty slot stay when it fills: no batch may read what the ones before have stored."""
        self.define()
        leader = self.lead()
        self.sql("SELECT pg_stat_reset()")
        for n in range(20):
            leader.take([Message("x", "k", f"{n}-{m}") for m in range(100)])
        count = "SELECT coalesce(sum({}), 0) FROM pg_stat_user_indexes WHERE relname ~ '^seen_'"

        def probed():
            leader.ask("SELECT 1")  # an idle session reports nothing
            return self.sql(count.format("idx_scan"))[0][0] >= 2000
        wait_until(probed, "the statistics of the probes")
        self.assertLess(self.sql(count.format("idx_tup_read"))[0][0], 100)  # some may be of the test before; else thousands

    def test_position_knows_no_ids(self):
        self.define(dedupe="position")
        leader = self.lead()
        self.assertEqual(leader.take(messages("a:k", "a:k")), (2, 2, 0, 0))
        self.assertEqual(self.sql("SELECT count(*) FROM boxhaul.seen"), [(0,)])
        self.assert_raises(errors.ObjectNotInPrerequisiteState,
                           lambda: leader.ask("SELECT boxhaul.inbox_rewind_to_trail('billing', %s, 1, 2, 2)", leader.epoch))

    def test_from_position_to_ids(self):
        """A stream that lost its end leads back from now on: what was taken before the change is known."""
        self.define(dedupe="position", max_attempts=1, poison="skip")
        leader = self.lead()
        leader.take(messages("a:k", "b:k", "a:k", "c:k") + [Message("d", "k", None), Message("e", "k", "e", reason="its headers: bad")])
        self.handle(1)
        self.fails("b")
        self.define(max_attempts=1, poison="skip")
        self.assertEqual(self.sql("SELECT count(*) FROM boxhaul.seen"), [(4,)])
        self.assertEqual(leader.take(messages("a:k", "b:k", "c:k", "e:k", "f:k"))[1:3], (1, 4))
        self.assertEqual(self.effects() + self.handle_all(), ["a", "a", "c", "d", "f"])
        self.define(dedupe="position", max_attempts=1, poison="skip")
        self.define(max_attempts=1, poison="skip")  # nothing is known twice
        self.assertEqual(self.sql("SELECT count(*) FROM boxhaul.seen"), [(5,)])

    def test_keys_have_their_lane_and_ids_rise(self):
        """I4."""
        self.define(lanes=8)
        leader = self.lead()
        for n in range(5):
            leader.take([Message(f"{n}-{k}", f"key{k}" if k else None, f"{n}-{k}") for k in range(20)])
        self.assertEqual(self.rows("id"), list(range(1, 101)))
        self.assertEqual([seq for _, seq in self.rows("id, seq")], list(range(1, 101)))
        self.assertEqual(self.sql("SELECT count(*), count(DISTINCT lane) FROM (SELECT DISTINCT key, lane FROM boxhaul.inbox "
                                  "WHERE key IS NOT NULL) k")[0][0], 19)
        self.assertGreater(self.sql("SELECT count(DISTINCT lane) FROM boxhaul.inbox WHERE key IS NULL")[0][0], 1)
        self.assertEqual(self.sql("SELECT lane_last FROM boxhaul.inbox_position")[0][0],
                         [row[0] for row in self.sql("SELECT (SELECT coalesce(max(i.id), 0) FROM boxhaul.inbox i WHERE i.lane = l.lane) "
                                                     "FROM boxhaul.inbox_lane l ORDER BY l.lane")])

    def test_what_is_of_no_use_is_dead_at_once(self):
        self.define()
        leader = self.lead()
        batch = messages("a:k") + [Message("b", "k", "b", reason="too large: 3 MB"), Message("c", None, None, reason="not UTF-8", subject=None)]
        self.assertEqual(leader.take(batch + messages("b:k")), (4, 1, 1, 2))
        self.assertEqual(self.sql("SELECT seq, key, payload, reason FROM boxhaul.inbox_dead ORDER BY id", user=LEADER),
                         [(2, "k", None, "too large: 3 MB"), (3, None, None, "not UTF-8")])
        self.assertEqual(self.handle_all(), ["a"])
        self.assert_raises(errors.ObjectNotInPrerequisiteState, lambda: self.sql("SELECT boxhaul.inbox_dead_retry(1)", user=LEADER),
                           hint="discard")
        self.sql("SELECT boxhaul.inbox_dead_discard(1)", user=LEADER)
        self.assertEqual(self.status("dead"), 1)
        for call in ("inbox_dead_retry(1)", "inbox_dead_discard(1)"):
            self.assert_raises(errors.NoDataFound, lambda call=call: self.sql(f"SELECT boxhaul.{call}", user=LEADER))

    def test_sequences_have_to_fit(self):
        self.define()
        leader = self.lead()
        for seqs, to in (([0], 1), ([1, 2], 1), ([1], 0)):
            self.assert_raises(errors.InvalidParameterValue, lambda seqs=seqs, to=to: leader.take(messages("a", "b")[:len(seqs)], seqs, to))
        self.assertEqual(leader.take(messages("a", "b"), [5, 9], 20), (20, 2, 0, 0))
        self.assertEqual(leader.take([], to=25), (25, 0, 0, 0))

    def test_it_follows_only_with_a_witness(self):
        """I9."""
        self.define()
        leader = self.lead()
        follow = "SELECT boxhaul.inbox_follow('billing', %s, 1, %s, %s, %s)"
        self.assert_raises(errors.InvalidParameterValue, leader.ask, follow, leader.epoch, 0, 9, None)
        self.assertEqual(leader.ask(follow, leader.epoch, 1, 9, 77), [(False,)])
        self.assertEqual(leader.ask(follow, leader.epoch, 0, 9, 77), [(True,)])
        self.assertEqual(self.sql("SELECT position, witness FROM boxhaul.inbox_position"), [(9, 77)])
        self.assertEqual(self.sql("SELECT seq, witness FROM boxhaul.trail"), [(9, 77)])

    def test_a_truncated_stream(self):
        self.define()
        leader = self.lead()
        for names in (("a:k", "b:k"), ("c:k", "d:k"), ("e:k", "f:k")):
            leader.take(messages(*names))
        back = "SELECT boxhaul.inbox_rewind_to_trail('billing', %s, %s, 6, %s)"
        self.assertEqual(leader.ask(back, leader.epoch, 2, 4), [(False,)])
        self.assert_raises(errors.NoDataFound, leader.ask, back, leader.epoch, 1, 3)
        self.assertEqual(leader.ask(back, leader.epoch, 1, 4), [(True,)])
        self.assertIsNone(leader.take(messages("g:k")), "still the lost history")
        self.assertIsNone(leader.take(messages("g:k"), start=4), "still the lost history")
        self.assertEqual(self.sql("SELECT seq FROM boxhaul.trail ORDER BY seq"), [(2,), (4,)])
        leader.look()
        self.assertEqual((leader.position, leader.incarnation), (4, 2))
        self.assertEqual(leader.take(messages("e:k", "g:k", "f:k", "h:k")), (8, 2, 2, 0))
        self.assertEqual(self.handle_all(), ["a", "b", "c", "d", "e", "f", "g", "h"])

    def test_back_to_the_beginning_only_with_all_ids(self):
        """No mark agrees. Where ids have been forgotten, what stands at the beginning would take effect twice."""
        self.define()
        leader = self.lead()
        leader.take(messages("a:k", "b:k"))
        back = "SELECT boxhaul.inbox_rewind_to_trail('billing', %s, %s, 2, 0)"
        self.sql("UPDATE boxhaul.inbox_slot SET turn = 3 WHERE ring = 'seen' AND slot = 2")
        self.assertEqual(leader.ask(back, leader.epoch, 1), [(False,)])
        self.assertEqual(self.sql("SELECT position, stop ->> 'kind' FROM boxhaul.inbox_position"), [(2, "truncated")])
        self.sql("UPDATE boxhaul.inbox_slot SET turn = 0 WHERE ring = 'seen' AND slot = 2; UPDATE boxhaul.inbox_position SET stop = NULL")
        self.assertEqual(leader.ask(back, leader.epoch, 1), [(True,)])

    def test_nothing_is_taken_while_it_stands(self):
        """I12: a stop, and a pause, are part of what the take compares."""
        self.define()
        leader = self.lead()
        leader.take(messages("a:k"))
        stop = "SELECT boxhaul.inbox_stop('billing', %s, %s)"
        self.assert_raises(errors.InvalidParameterValue, leader.ask, stop, leader.epoch, '{"kind": "gap"}')
        self.assert_raises(errors.CheckViolation, leader.ask, stop, leader.epoch, '{"kind": "other"}')
        self.assertEqual(leader.ask(stop, leader.epoch - 1, '{"kind": "gap", "first_seq": 10}'), [(False,)])
        self.assertEqual(leader.ask(stop, leader.epoch, '{"kind": "gap", "first_seq": 10}'), [(True,)])
        self.assertIsNone(leader.take(messages("b:k")))
        self.assertEqual(leader.ask("SELECT boxhaul.inbox_follow('billing', %s, 1, 1, 9, 1)", leader.epoch), [(False,)])
        self.assertEqual(self.status("stopped"), "gap")
        self.assertEqual(self.status("goes_on_with"), "boxhaul inbox accept-gap NAME billing")
        self.assertEqual(self.sql("SELECT boxhaul.inbox_accept_gap('billing')", user=LEADER), [(8,)])
        self.assert_raises(errors.ObjectNotInPrerequisiteState, lambda: self.sql("SELECT boxhaul.inbox_accept_gap('billing')", user=LEADER))
        leader.look()
        self.assertEqual((leader.position, self.status("lost")), (9, 8))
        self.assertEqual(leader.take(messages("b:k")), (10, 1, 0, 0))
        self.assertEqual(self.sql("SELECT boxhaul.inbox_pause('billing', NULL, 'deploy')", user=LEADER), [(True,)])
        self.assertEqual(self.sql("SELECT boxhaul.inbox_pause('billing')", user=LEADER), [(False,)])
        self.assertIsNone(leader.take(messages("c:k")))
        self.assertEqual(self.handle(), [])
        self.assertEqual(self.status("(paused_by, pause_reason)"), f"({LEADER},deploy)")
        self.assertEqual(self.sql("SELECT boxhaul.inbox_resume('billing')", user=LEADER), [(True,)])
        self.assertEqual(self.sql("SELECT boxhaul.inbox_resume('billing')", user=LEADER), [(False,)])
        self.assertIsNotNone(leader.take(messages("c:k")))
        self.assertEqual(self.handle(), ["a", "b", "c"])

    def test_a_stream_made_anew(self):
        self.define()
        leader = self.lead()
        leader.take(messages("a:k", "b:k"))
        self.assertEqual(leader.lead("2026"), "same")
        self.assertEqual(leader.lead("2027"), "recreated")
        self.assertEqual(leader.ask("SELECT boxhaul.inbox_open('billing', 0, '2027', 0, NULL)"), [(None,)])
        leader.ask("SELECT boxhaul.inbox_stop('billing', %s, %s)", leader.epoch, '{"kind": "recreated", "created": "2027"}')
        self.assertEqual(self.status("goes_on_with"), "boxhaul inbox rewind NAME billing --to start")
        self.assertEqual(self.sql("SELECT boxhaul.inbox_rewind('billing', 'start')", user=LEADER), [(0,)])
        self.assertEqual(leader.lead("2027"), "same")
        self.assertEqual((leader.position, leader.incarnation), (0, 2))
        self.assertEqual(self.sql("SELECT count(*) FROM boxhaul.trail"), [(0,)])
        self.assertEqual(leader.take(messages("b:k", "c:k")), (2, 1, 1, 0))
        self.assertEqual(self.handle(), ["a", "b", "c"])

    def test_rewind(self):
        self.define()
        leader = self.lead()
        for n, name in enumerate(("a:k", "b:k", "c:k"), 1):
            leader.take(messages(name), witness=1_700_000_000_000_000_000 + n * 10**9)
        rewind = "SELECT boxhaul.inbox_rewind('billing', %s)"
        self.assert_raises(errors.InvalidParameterValue, leader.ask, rewind, "4")
        self.assert_raises(errors.NoDataFound, leader.ask, rewind, "2001-01-01")
        self.assertEqual(leader.ask(rewind, "2023-11-14 22:13:22.5+00"), [(2,)])
        self.assertIsNone(leader.take(messages("x:k")))
        leader.look()
        self.assertEqual(leader.take(messages("c:k", "d:k")), (4, 1, 1, 0))
        self.assertEqual(leader.ask(rewind, "start"), [(0,)])
        leader.look()
        self.assertEqual(leader.take(messages("a:k", "b:k", "c:k", "d:k")), (4, 0, 4, 0))
        self.assertEqual(self.handle(), ["a", "b", "c", "d"])


class Extended:
    """libpq's PQexecParams: parse, bind, execute and sync, as most drivers do it; psycopg2 cannot."""

    def __init__(self, conninfo):
        self.pq = ctypes.CDLL(ctypes.util.find_library("pq"))
        for name in ("PQconnectdb", "PQexecParams"):
            getattr(self.pq, name).restype = ctypes.c_void_p
        for name in ("PQresultErrorField", "PQgetvalue"):
            getattr(self.pq, name).restype = ctypes.c_char_p
        self.connection = ctypes.c_void_p(self.pq.PQconnectdb(conninfo.encode()))

    def execute(self, sql):
        """("", rows) or (SQLSTATE, 0)."""
        result = ctypes.c_void_p(self.pq.PQexecParams(self.connection, sql.encode(), 0, None, None, None, None, 0))
        state, rows = self.pq.PQresultErrorField(result, ord("C")) or b"", self.pq.PQntuples(result)
        self.pq.PQclear(result)
        return state.decode(), rows

    def close(self):
        self.pq.PQfinish(self.connection)


class Workers(InboxTest):
    def setUp(self):
        super().setUp()
        self.define()
        self.leader = self.lead()
        self.leader.take(messages("a:k", "b:l", "c:k", "d"))

    RECEIVE = "SELECT id FROM boxhaul.receive('billing', 10)"

    def test_in_order_and_once(self):
        """I5."""
        work = self.begin()
        self.assertEqual([row[0] for row in work(self.RECEIVE)], [1, 2, 3, 4])
        done = "SELECT boxhaul.done('billing', 0, %s)"
        work("SAVEPOINT s")
        self.assert_raises(errors.ObjectNotInPrerequisiteState, work, done, 2, hint="in the order")
        work("ROLLBACK TO s")
        work(done, 1)
        for id in (1, 3, 99):
            self.assert_raises(errors.ObjectNotInPrerequisiteState, work, done, id)
            work("ROLLBACK TO s")
            work(done, 1)
        work(done, 2)
        work("COMMIT")
        self.assertEqual(self.sql("SELECT cursor, handled FROM boxhaul.inbox_lane"), [(2, 2)])
        self.assertEqual(self.handle(), ["c", "d"])
        self.assertEqual(self.handle(), [])

    def test_rolled_back_savepoint_is_not_done(self):
        work = self.begin()
        work(self.RECEIVE)
        work("SELECT boxhaul.done('billing', 0, 1)")
        work("SAVEPOINT s")
        work("SELECT boxhaul.done('billing', 0, 2)")
        work("ROLLBACK TO s")
        work("COMMIT")
        self.assertEqual(self.handle(), ["b", "c", "d"])

    def test_all_forms(self):
        work = self.begin()
        self.assertEqual(len(work("SELECT boxhaul.done(r) FROM boxhaul.receive('billing', 2) r")), 2)
        work("COMMIT")
        work("BEGIN")
        self.assertEqual(work("SELECT convert_from(payload, 'UTF8'), lane, key, seq, subject FROM boxhaul.receive('billing', max => 1)"),
                         [("c", 0, "k", 3, "orders.a")])
        self.assertEqual(work("SELECT boxhaul.done('billing')"), [(1,)])
        work("COMMIT")
        work("SELECT boxhaul.done(r) FROM boxhaul.receive('billing') r")  # one statement is a transaction, too
        self.assertEqual(self.status("waiting"), 0)
        self.leader.take(messages("e:k"))
        row, = work("BEGIN; SELECT r::text FROM boxhaul.receive('billing') r")[0]
        work("ROLLBACK")
        self.assertEqual(work("SELECT boxhaul.failed(%s::boxhaul.inbox, 'x')", row), [("parked",)])

    def test_autocommit_is_refused_by_receive(self):
        work = self.begin()
        work("ROLLBACK")
        self.assert_raises(errors.NoActiveSqlTransaction, work, self.RECEIVE, hint="autocommit")
        extended = Extended(self.pg.conninfo(self.database, WORKER))
        self.addCleanup(extended.close)
        self.assertEqual(extended.execute(self.RECEIVE), ("25P01", 0))
        self.assertEqual(extended.execute("SELECT boxhaul.done('billing', 0, 1)")[0], "25P01")
        self.assertEqual(extended.execute("SELECT boxhaul.done('billing')")[0], "25P01")
        # And a transaction is not, however it was begun.
        self.assertEqual(len(work("BEGIN; " + self.RECEIVE)), 4)
        work("ROLLBACK")
        extended.execute("BEGIN")
        self.assertEqual(extended.execute(self.RECEIVE), ("", 4))
        extended.execute("SELECT boxhaul.done('billing', 0, 1)")
        self.assertEqual(extended.execute("COMMIT"), ("", 0))
        self.assertEqual(self.handle(), ["b", "c", "d"])

    def test_nothing_done_is_not_committed(self):
        work = self.begin()
        work(self.RECEIVE)
        work("INSERT INTO effect (message) VALUES ('x')")
        self.assert_raises(errors.NoActiveSqlTransaction, work, "COMMIT", hint="ROLLBACK")
        self.assertEqual(self.effects(), [])
        work("BEGIN")
        work(self.RECEIVE)
        work("SELECT boxhaul.done('billing', 0, 1)")
        work("RESET ALL")  # and with it what done() has counted
        self.assert_raises(errors.NoActiveSqlTransaction, work, "COMMIT")
        self.assertEqual(self.handle(), ["a", "b", "c", "d"])

    def test_done_elsewhere_is_refused(self):
        work = self.begin()
        work(self.RECEIVE)
        work("ROLLBACK")
        work("BEGIN")
        self.assert_raises(errors.NoActiveSqlTransaction, work, "SELECT boxhaul.done('billing', 0, 1)", hint="autocommit")
        work("ROLLBACK")
        work("BEGIN")
        work("SELECT set_config('boxhaul.received', pg_current_xact_id() || ' 0 billing', true), set_config('boxhaul.received_ids', "
             "'{1}', true), set_config('boxhaul.received_to', '1', true), set_config('boxhaul.done', '0', true), "
             "set_config('boxhaul.settled', '0', true), set_config('boxhaul.settle', 'now', true)")
        work("SELECT boxhaul.done('billing', 0, 1)")
        work("COMMIT")
        self.assertEqual(self.sql("SELECT cursor FROM boxhaul.inbox_lane"), [(0,)], "what a worker says of itself is no proof")

    def test_constraints_that_are_immediate(self):
        for before in (True, False):
            work = self.begin()
            if before:
                work("SET CONSTRAINTS ALL IMMEDIATE")
            ids = [row[0] for row in work("SELECT id FROM boxhaul.receive('billing', 2)")]
            if not before:
                work("SET CONSTRAINTS ALL IMMEDIATE")
                work("SET CONSTRAINTS ALL DEFERRED")
            for id in ids:
                work("SELECT boxhaul.done('billing', 0, %s)", id)
            work("COMMIT")
        self.assertEqual(self.sql("SELECT cursor, handled FROM boxhaul.inbox_lane"), [(4, 4)])

    def test_two_phase_commit(self):
        work = self.begin()
        work(self.RECEIVE)
        work("SELECT boxhaul.done('billing')")
        work("PREPARE TRANSACTION 'p'")
        self.assertEqual(self.handle(), [], "the lane is still the prepared transaction's")
        work("COMMIT PREPARED 'p'")
        self.assertEqual(self.sql("SELECT cursor FROM boxhaul.inbox_lane"), [(4,)])

    def test_one_receive_a_transaction(self):
        work = self.begin()
        work(self.RECEIVE)
        self.assert_raises(errors.ObjectNotInPrerequisiteState, work, self.RECEIVE, hint="COMMIT")
        work("ROLLBACK")
        for most in (0, 1001, None):
            self.assert_raises(errors.InvalidParameterValue, work, "SELECT boxhaul.receive('billing', %s)", most)

    def test_a_lane_is_one_workers(self):
        first, second = self.begin(), self.begin()
        self.assertEqual(len(first("SELECT id FROM boxhaul.receive('billing', 1)")), 1)
        self.assertEqual(second(self.RECEIVE), [])
        first("ROLLBACK")
        self.assertEqual(len(second(self.RECEIVE)), 4)

    def test_a_worker_that_is_killed_leaves_nothing(self):
        work = self.begin()
        work(self.RECEIVE)
        work("INSERT INTO effect (message) VALUES ('x')")
        work("SELECT boxhaul.done('billing', 0, 1)")
        self.sql("SELECT pg_terminate_backend(%s)", work.connection.info.backend_pid)
        wait_until(lambda: not self.pg.backends(f"pid = {work.connection.info.backend_pid}"), "the worker to be gone")
        self.assertEqual(self.handle(), ["a", "b", "c", "d"])
        self.assertEqual(self.effects(), ["a", "b", "c", "d"])

    def test_repeatable_read_gets_40001(self):
        for isolation in ("REPEATABLE READ", "SERIALIZABLE"):
            work = self.begin(f"BEGIN ISOLATION LEVEL {isolation}")
            work("SELECT count(*) FROM effect")  # its snapshot
            self.assertEqual(len(self.handle(1)), 1)
            self.assert_raises(errors.SerializationFailure, work, self.RECEIVE, hint="READ COMMITTED")
            work("ROLLBACK")
            work(f"BEGIN ISOLATION LEVEL {isolation}")
            work("SELECT id FROM boxhaul.receive('billing', 1)")
            work("SELECT boxhaul.done('billing')")
            work("COMMIT")
        self.assertEqual(self.sql("SELECT handled FROM boxhaul.inbox_lane"), [(4,)])

    def test_repeatable_read_does_not_miss_what_was_parked(self):
        """The failure changes rows that a snapshot does not show; but also the lane's, and that is noticed."""
        work = self.begin("BEGIN ISOLATION LEVEL REPEATABLE READ")
        work("SELECT count(*) FROM effect")
        self.assertEqual(self.fails("a"), "parked")
        self.assert_raises(errors.SerializationFailure, work, self.RECEIVE)

    def test_a_batch_of_large_ones_is_short(self):
        self.handle_all()
        body = "x" * 1_000_000
        self.leader.take([Message(body, "k") for _ in range(20)])
        work = self.begin()
        self.assertEqual(len(work("SELECT id FROM boxhaul.receive('billing', 1000)")), 8)
        self.assertEqual(work("SELECT boxhaul.done('billing')"), [(8,)])
        work("COMMIT")
        self.assertEqual([len(self.handle(1000)) for _ in range(3)], [8, 4, 0])


class Unread(InboxTest):
    def test_done_in_an_expression_that_nobody_reads(self):
        """PostgreSQL does not run it. The transaction fails then, and nothing is taken for handled."""
        self.define()
        self.lead().take(messages("a:k", "b:k"))
        work = self.begin()
        rows = work("WITH r AS MATERIALIZED (SELECT * FROM boxhaul.receive('billing', 10)), d AS (SELECT boxhaul.done(r) FROM r) "
                    "SELECT count(*) FROM r")
        self.assertEqual(rows, [(2,)])
        self.assert_raises(errors.NoActiveSqlTransaction, work, "COMMIT")
        self.assertEqual(self.status("(waiting, handled)"), "(2,0)")
        work("BEGIN")
        work("WITH r AS MATERIALIZED (SELECT * FROM boxhaul.receive('billing', 10)), d AS MATERIALIZED (SELECT boxhaul.done(r) FROM r) "
             "SELECT count(*) FROM d")
        work("COMMIT")
        self.assertEqual(self.status("(waiting, handled)"), "(0,2)")


class Failures(InboxTest):
    def setUp(self):
        super().setUp()
        self.define(max_attempts=3)
        self.leader = self.lead()

    def test_its_key_waits_and_the_others_go_on(self):
        """I6, I7. The seventh of ten fails; what stands before it in its key is not held by it."""
        self.leader.take(messages("a:k", "b:l", "c:k", "d", "e:l", "f:k", "bad:k", "h:l", "i:k", "j"))
        self.assertEqual(self.fails("bad"), "parked")
        self.assertEqual(self.fails("bad"), "ignored")  # it backs off: counted already
        self.assertEqual(self.handle(4), ["a", "b", "c", "d"])
        self.assertEqual(self.handle(), ["e", "f", "h", "j"])
        self.leader.take(messages("k:k", "l:l"))
        self.assertEqual(self.handle(), ["l"])
        self.assertEqual(self.handle(), [])
        self.assertEqual(self.blocked(), [("bad", "retrying", 1, 2)])
        self.assertEqual(self.status("(waiting, parked, held)"), "(3,3,0)")
        self.let_time_pass()
        self.assertEqual(self.handle(), ["bad"])  # alone, for it has failed
        self.assertEqual(self.handle(), ["i", "k"])
        self.leader.take(messages("m:k"))
        self.assertEqual(self.handle_all(), ["m"])
        self.assertEqual(self.sql("SELECT count(*) FROM boxhaul.inbox_parked"), [(0,)])
        self.assertEqual(self.status("(waiting, parked)"), "(0,0)")

    def test_an_earlier_one_of_the_key_fails_later(self):
        self.leader.take(messages("a:k", "b:k", "c:k", "d:k"))
        self.assertEqual(self.fails("c"), "parked")
        self.assertEqual(self.fails("a"), "parked")
        self.assertEqual(self.handle(), [])
        self.assertEqual(self.blocked(), [("a", "retrying", 1, 3), ("c", "retrying", 1, 1)])
        self.let_time_pass()
        self.assertEqual([self.handle() for _ in range(5)], [["a"], ["b"], ["c"], ["d"], []])

    def test_a_parked_row_waits_for_the_cursor(self):
        """It is due, but earlier ones of its key are not handled."""
        self.leader.take(messages("a:k", "b:k", "bad:k", "c:l"))
        self.fails("bad")
        self.let_time_pass()
        for _ in range(12):  # which of the two is looked at first is drawn
            work = self.begin()
            self.assertEqual(len(work("SELECT id FROM boxhaul.receive('billing') WHERE id <> 3")), 3)
            work("ROLLBACK")
        self.assertEqual(self.handle_all(), ["a", "b", "c", "bad"])

    def test_rows_parked_above_the_cursor_come_once(self):
        """Half of a batch was done: what was parked beyond it is looked at again, so it must not be handed out before."""
        for n in range(10):  # which of the two is looked at first is drawn
            before = self.leader.position
            self.leader.take(messages(*(f"{name}{n}:{key}" for name, key in zip("abxcyz", "kklkll"))))
            self.fails(f"a{n}")
            work = self.begin()
            self.assertEqual(len(work("SELECT id FROM boxhaul.receive('billing', 3)")), 3)
            work("SELECT boxhaul.done('billing', 0, %s)", before + 3)
            work("COMMIT")
            self.assertEqual(self.sql("SELECT cursor, parked FROM boxhaul.inbox_lane"), [(before + 3, 3)])
            self.let_time_pass()
            said = self.handle_all()
            self.assertEqual([m[0] for m in said if m[0] in "abc"], ["a", "b", "c"])
            self.assertEqual([m[0] for m in said if m[0] in "yz"], ["y", "z"])

    def test_back_off_doubles_and_one_is_held(self):
        self.leader.take(messages("bad:k", "next:k", "other:l"))
        waits = []
        for fate in ("parked", "parked", "held"):
            self.assertEqual(self.fails("bad", "the reason"), fate)
            waits += self.waits
            self.sql("UPDATE boxhaul.inbox_parked SET since = now()")
            self.let_time_pass()
        self.assertAlmostEqual(float(waits[0][0]), 0.1, delta=0.05)
        self.assertGreater(waits[1][0], 0.2)
        self.assertEqual(self.handle_all(), ["other"])
        self.assertEqual(self.blocked(), [("bad", "held", 3, 1)])
        self.assertEqual(self.fails("bad"), "ignored")
        self.assertEqual(self.status("(held, dead)"), "(1,0)")
        self.sql("SELECT boxhaul.inbox_retry('billing', 1)", user=LEADER)
        self.assertEqual(self.handle_all(), ["bad", "next"])
        self.assert_raises(errors.NoDataFound, lambda: self.sql("SELECT boxhaul.inbox_retry('billing', 1)", user=LEADER))

    def test_back_off_ends_at_a_minute(self):
        self.define(max_attempts=100)
        self.leader.take(messages("bad:k"))
        for _ in range(40):
            self.assertEqual(self.fails("bad"), "parked")
            self.let_time_pass()
        self.assertTrue(60 <= self.waits[0][0] < 60 + DEADLINE, self.waits)

    def test_skip_lets_its_key_go_on(self):
        for attempts in (1, 2):
            self.define(max_attempts=attempts, poison="skip")
            base = self.leader.position
            self.leader.take(messages(*(f"{n}{attempts}:k" for n in ("a", "bad", "c"))))
            fates = []
            for _ in range(attempts):
                fates.append(self.fails(f"bad{attempts}", "worthless"))
                self.handle_all()
                self.let_time_pass()
            self.assertEqual(fates[-1], "dead")
            self.handle_all()
            self.assertEqual(self.effects()[-2:], [f"a{attempts}", f"c{attempts}"])
            self.assertEqual(self.sql("SELECT reason, attempts, inbox_id FROM boxhaul.inbox_dead ORDER BY id DESC LIMIT 1"),
                             [("worthless", attempts, base + 2)])
            self.assertEqual(self.sql("SELECT count(*) FROM boxhaul.inbox_parked"), [(0,)])
        self.assertEqual(self.status("(waiting, dead)"), "(0,2)")
        self.sql("SELECT boxhaul.inbox_dead_retry(1)", user=LEADER)
        self.assertEqual(self.sql("SELECT state FROM boxhaul.inbox_find('bad1')"), [("waiting",)])
        self.assertEqual(self.handle_all(), ["bad1"])
        self.assertEqual(self.status("(waiting, dead)"), "(0,1)")

    def test_rows_without_a_key_hold_nobody(self):
        self.leader.take(messages("a", "b", "c"))
        self.assertEqual(self.fails("a"), "parked")
        self.assertEqual(self.fails("b"), "parked")
        self.assertEqual(self.handle_all(), ["c"])
        self.assertEqual(self.blocked(), [("a", "retrying", 1, 0), ("b", "retrying", 1, 0)])
        self.let_time_pass()
        self.assertEqual(sorted(self.handle_all()), ["a", "b"])

    def test_skip_by_hand(self):
        self.leader.take(messages("a:k", "b:k", "c:k", "d:l"))
        self.fails("a")
        self.handle_all()
        skip = "SELECT boxhaul.inbox_skip('billing', %s, 'enough')"
        self.sql(skip, 1, user=LEADER)
        self.assertEqual(self.handle_all(), ["b", "c"])
        self.leader.take(messages("e:k", "f:k"))
        self.sql(skip, 5, user=LEADER)  # one that never failed, and is still above the cursor
        self.assert_raises(errors.NoDataFound, lambda: self.sql(skip, 5, user=LEADER))
        self.assertEqual(self.handle_all(), ["f"])
        self.assertEqual(self.sql("SELECT reason FROM boxhaul.inbox_dead ORDER BY id"),
                         [(f"skipped by {LEADER}: enough: bad",), (f"skipped by {LEADER}: enough",)])
        self.assertEqual(self.status("(waiting, parked, dead)"), "(0,0,2)")

    def test_it_belongs_into_a_transaction_of_its_own(self):
        self.leader.take(messages("a:k"))
        work = self.begin()
        work("SELECT id FROM boxhaul.receive('billing')")
        self.assert_raises(errors.ObjectNotInPrerequisiteState, work, "SELECT boxhaul.failed('billing', 0, 1, 'x')", hint="ROLLBACK")
        work("ROLLBACK")
        self.assertEqual(self.handle(), ["a"])
        self.assertEqual(self.fails("a"), "ignored")  # handled meanwhile
        self.assert_raises(errors.UndefinedObject, lambda: self.sql("SELECT boxhaul.failed('billing', 9, 1, 'x')", user=WORKER))
        self.assertEqual(self.sql("SELECT boxhaul.failed('billing', 0, 99, 'x')", user=WORKER), [("ignored",)])

    def test_a_lane_in_other_hands(self):
        self.leader.take(messages("a:k"))
        work = self.begin()
        work("SELECT id FROM boxhaul.receive('billing')")
        self.assert_raises(errors.LockNotAvailable, lambda: self.fails("a"), hint="ROLLBACK first")

    def test_thousands_of_a_key_that_waits(self):
        """What follows a failure is parked as the cursor comes to it, a thousand at a time; by workers, or by the clock."""
        self.leader.take([Message(f"m{n}", "k", f"m{n}") for n in range(2500)] + messages("other:l"))
        self.fails("m0")
        self.assertEqual(self.handle(), ["other"])  # its eight rounds were enough
        self.assertEqual(self.status("(waiting, parked)"), "(2500,2500)")
        self.let_time_pass()
        self.assertEqual(self.handle(1000), ["m0"])
        self.assertEqual(self.handle_all(1000), [f"m{n}" for n in range(1, 2500)])


class Standing(InboxTest):
    """Workers that end without a word."""

    def setUp(self):
        super().setUp()
        self.define(stuck_after="0.001 s", crash_attempts=3, lanes=2)
        self.leader = self.lead()

    def crash(self, count=1, most=10):
        seen = []
        work = self.begin("SELECT")
        for _ in range(count):
            work("BEGIN")
            seen.append([row[0] for row in work("SELECT convert_from(payload, 'UTF8') FROM boxhaul.receive('billing', %s)", most)])
            work("ROLLBACK")
        return seen

    def watch(self):
        return self.sql("SELECT boxhaul.inbox_watch('billing')", user=LEADER)[0][0]

    def test_it_is_shown_then_handed_out_alone_then_parked(self):
        self.leader.take(messages("a:k", "killer:k", "c:k", "d:k"))
        self.assertEqual(self.watch(), 0)
        self.crash(4)
        self.assertEqual(self.watch(), 1)
        self.assertEqual(self.blocked(), [("a", "standing", 0, None)])
        self.assertEqual(self.status("lanes_standing"), 1)
        self.assertEqual(self.handle(), ["a"])  # it was not the one
        self.assertEqual(self.crash(4), [["killer"]] * 4)
        self.watch()
        self.crash(4)
        self.assertEqual(self.watch(), 1)
        self.crash(2)
        self.assertEqual(self.watch(), 1)
        self.crash(1)
        self.assertEqual(self.watch(), 0)
        self.assertEqual([row[:3] for row in self.blocked()], [("killer", "retrying", 1)])
        self.assertRegex(self.sql("SELECT error FROM boxhaul.inbox_blocked")[0][0], "again and again")
        self.assertEqual(self.handle_all(), [])
        self.let_time_pass()
        self.assertEqual(self.handle_all(), ["killer", "c", "d"])

    def test_nobody_works_is_something_else(self):
        self.leader.take(messages("a:k"))
        for _ in range(5):
            self.assertEqual(self.watch(), 0)

    def test_one_that_is_at_work_does_not_stand(self):
        self.leader.take(messages("a:k"))
        self.watch()
        self.crash(4)
        work = self.begin()
        work("SELECT id FROM boxhaul.receive('billing')")
        self.assertEqual(self.watch(), 0)
        work("SELECT boxhaul.done('billing')")
        work("COMMIT")
        self.assertEqual(self.watch(), 0)

    def test_a_lane_that_was_idle_does_not_stand(self):
        """What came after a long rest is not blamed for the rest."""
        self.leader.take(messages("a:k"))
        self.watch()
        self.handle_all()
        self.watch()
        self.crash(50)
        self.leader.take(messages("b:k"))
        self.assertEqual(self.watch(), 0)

    def test_the_clock_moves_the_cursor_over_what_waits(self):
        self.define(stuck_after="1 hour", lanes=2)
        self.leader.take(messages("a:k", "b:k", "c:k"))
        self.fails("a")
        self.watch()
        self.assertEqual(self.sql("SELECT cursor FROM boxhaul.inbox_lane WHERE parked > 0"), [(0,)], "a lane that moves is left alone")
        self.sql("UPDATE boxhaul.inbox_lane SET moved_at = moved_at - interval '1 second'")
        self.watch()
        self.assertEqual(self.sql("SELECT cursor FROM boxhaul.inbox_lane WHERE parked > 0"), [(3,)])


class Handler(InboxTest):
    def setUp(self):
        super().setUp()
        self.define(max_attempts=2)
        self.leader = self.lead()

    def call(self, most=100, handler="public.act", user=LEADER, timeout=f"{DEADLINE}s", only=None):
        connection = self.connect(user)
        with connection.cursor() as cursor:
            cursor.execute(f"SET statement_timeout = '{timeout}'")
            cursor.execute("SELECT lane, handled, failed, failed_id, error FROM boxhaul.handle('billing', %s, NULL, %s, %s)",
                           (handler, most, only))
            return cursor.fetchone()

    def call_until_nothing_comes(self):
        for _ in range(100):
            if self.call()[0] is None:
                return
        raise AssertionError("rows come without end")

    def take(self, *words):
        """"a:k" is fine, "b:k:fail" is not."""
        batch = []
        for word in words:
            name, key, *do = word.split(":")
            batch.append(Message(name, key or None, name, {"do": do[0]} if do else None))
        self.leader.take(batch)

    def test_a_batch(self):
        self.take("a:k", "b:l", "c:k")
        self.assertEqual(self.call(), (0, 3, 0, None, None))
        self.assertEqual(self.call(), (None, 0, 0, None, None))
        self.assertEqual(self.effects(), ["a", "b", "c"])

    def test_one_that_fails_takes_nobody_with_it(self):
        self.take("a:k", "b:l:fail", "c:k", "d:l", "e:", "f::fail", "g:")
        self.assertEqual(self.call(), (0, 4, 2, 6, "this one is bad (P0001)"))
        self.assertEqual(self.effects(), ["a", "c", "e", "g"])
        self.assertEqual(self.blocked(), [("b", "retrying", 1, 1), ("f", "retrying", 1, 0)])
        self.let_time_pass()
        for _ in range(2):
            self.assertEqual(self.call()[:3], (0, 0, 1))
        self.assertEqual(sorted(row[:2] for row in self.blocked()), [("b", "held"), ("f", "held")])
        self.assertEqual(self.call(), (None, 0, 0, None, None))
        self.sql("UPDATE boxhaul.inbox SET headers = NULL")
        for id in (2, 6):
            self.sql("SELECT boxhaul.inbox_retry('billing', %s)", id, user=LEADER)
        self.call_until_nothing_comes()
        self.assertEqual(sorted(self.effects()), ["a", "b", "c", "d", "e", "f", "g"])
        self.assertEqual(self.sql("SELECT string_agg(message, '' ORDER BY n) FROM effect WHERE key = 'l'"), [("bd",)])

    def test_skipped_ones_let_their_key_go_on(self):
        self.define(max_attempts=1, poison="skip")
        self.take("a:k:fail", "b:k", "c:k:fail", "d:k")
        self.assertEqual(self.call(), (0, 2, 2, 3, "this one is bad (P0001)"))
        self.assertEqual(self.effects(), ["b", "d"])
        self.assertEqual(self.status("(waiting, parked, dead)"), "(0,0,2)")

    def test_a_chain_behind_one_that_failed(self):
        self.take("a:k:fail", "b:k", "c:k:fail", "d:k")
        self.call()
        self.sql("UPDATE boxhaul.inbox SET headers = NULL WHERE payload = 'a'")
        self.let_time_pass()
        self.assertEqual(self.call()[1:3], (1, 0))
        self.assertEqual(self.call()[1:4], (1, 1, 3))
        self.sql("UPDATE boxhaul.inbox SET headers = NULL")
        self.let_time_pass()
        self.call_until_nothing_comes()
        self.assertEqual(self.effects(), ["a", "b", "c", "d"])

    def test_an_outage_is_no_attempt(self):
        """I11."""
        self.take("a:k", "b:l:outage")
        self.assert_raises(errors.DiskFull, self.call)
        self.assertEqual(self.effects(), [])
        self.assertEqual(self.status("(waiting, parked)"), "(2,0)")
        self.assertEqual(self.call(1)[1], 1)
        self.assert_raises(errors.DiskFull, self.call)

    def test_one_that_takes_too_long(self):
        self.take("a:k", "b:l:sleep", "c:k")
        self.assert_raises(errors.QueryCanceled, lambda: self.call(timeout="200ms"))
        self.assertEqual(self.effects(), [])
        self.assertEqual(self.call(1, timeout="60s")[1], 1)
        self.assertEqual(self.sql("SELECT boxhaul.inbox_next('billing', 0)", user=LEADER), [(2,)])
        self.assert_raises(errors.QueryCanceled, lambda: self.call(1, timeout="200ms", only=2))
        self.assertEqual(self.call(1, only=3)[0], None)
        self.assertEqual(self.sql("SELECT boxhaul.failed('billing', 0, 2, 'more than 0.2 s')", user=LEADER), [("parked",)])
        self.assertEqual(self.blocked(), [("b", "retrying", 1, 0)])
        self.assertEqual(self.call(timeout="60s")[1], 1)
        self.assertEqual(self.effects(), ["a", "c"])

    def test_a_constraint_that_is_checked_late(self):
        """... fails the message that broke it, and no other."""
        self.sql("""CREATE TABLE parent (name text PRIMARY KEY);
            CREATE TABLE child (name text REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
            GRANT ALL ON parent, child TO inbox_relay;
            CREATE FUNCTION adopt(r boxhaul.inbox) RETURNS void LANGUAGE plpgsql AS $$
            BEGIN
                INSERT INTO public.child VALUES (r.key);
                IF r.headers ->> 'do' = 'parent' THEN INSERT INTO public.parent VALUES (r.key); END IF;
            END $$""")
        self.addCleanup(self.sql, "DROP FUNCTION adopt; DROP TABLE child, parent")
        self.take("a:k:parent", "b:l", "c:m:parent", "d:n:parent")
        self.assertEqual(self.call(handler="public.adopt")[1:4], (3, 1, 2))
        self.assertEqual(self.sql("SELECT array_agg(name ORDER BY name) FROM child"), [(["k", "m", "n"],)])
        self.assertEqual(self.blocked(), [("b", "retrying", 1, 0)])
        self.move_back_off("1 hour")
        self.take("e:o:parent", "f:k")
        self.assertEqual(self.call(handler="public.adopt")[1:3], (2, 0))

    def test_it_says_which_lanes_have_work(self):
        def lanes():
            return self.sql("SELECT lane, due_ms FROM boxhaul.inbox_lanes('billing')", user=LEADER)

        def idle():
            return self.sql("SELECT boxhaul.inbox_drawn('idle', number) FROM boxhaul.subscription")[0][0]

        self.assertEqual(lanes(), [])
        self.assertEqual(idle(), 2)
        self.take("a:k:fail")
        self.assertEqual((lanes(), idle()), ([(0, 0)], 1))
        self.call()
        self.move_back_off("1 hour")
        ((lane, due),) = lanes()
        self.assertTrue(lane == 0 and 3500000 < due <= 3600000, due)
        self.assertEqual(idle(), 2)
        self.let_time_pass()
        self.assertEqual(lanes(), [(0, 0)])
        self.sql("SELECT boxhaul.inbox_pause('billing')")
        self.assertEqual(lanes(), [])

    def test_it_runs_with_the_callers_rights(self):
        self.take("a:k")
        self.sql("""CREATE FUNCTION who(r boxhaul.inbox) RETURNS void LANGUAGE plpgsql AS $$
                    BEGIN INSERT INTO public.effect (message) VALUES (current_user); END $$""")
        self.assertEqual(self.call(handler="public.who")[1], 1)
        self.assertEqual(self.effects(), [LEADER])
        for bad in ("nothing.such", "public.nothing", "act; DROP TABLE effect"):
            with self.assertRaises(psycopg2.Error):
                self.call(handler=bad)


class Cleaning(InboxTest):
    def setUp(self):
        super().setUp()
        self.define()
        self.leader = self.lead()

    def clean(self, age="7 days"):
        """As if so much time had passed."""
        self.sql("UPDATE boxhaul.inbox_slot SET since = since - %s::interval", age)
        return self.sql("SELECT boxhaul.inbox_clean()", user=LEADER)[0][0]

    def there(self, table="inbox"):
        return self.sql(f"SELECT count(*) FROM boxhaul.{table}")[0][0]

    def test_handled_and_old_ones_go(self):
        self.leader.take(messages("a:k", "b:k"))
        self.assertEqual(self.clean("1 day"), [])
        self.assertEqual(self.clean("1 day"), ["inbox_1 is current"])
        self.leader.take(messages("c:k"))
        self.assertEqual(self.handle(1), ["a"])
        self.assertEqual(self.clean(), ["inbox_2 is current", "seen_1 is current"])
        self.assertEqual(self.there(), 3)
        self.assertEqual(self.handle_all(1), ["b", "c"])  # over the border of two slots, in order
        for _ in range(9):
            self.clean()
        self.assertEqual((self.there(), self.there("seen")), (0, 0))
        self.leader.take(messages("d:k"))
        self.assertEqual(self.handle_all(), ["d"])

    def test_what_waits_is_kept(self):
        """I7: a row above its cursor, and one that is parked, however old; and the ring goes round it."""
        self.leader.take(messages("parked:k", "follows:k", "other:l"))
        self.fails("parked")
        self.assertEqual(self.handle_all(), ["other"])
        self.clean()
        self.leader.take(messages("waits:l"))
        for n in range(20):
            self.clean()
            self.leader.take(messages(f"m{n}:m"))
        self.assertEqual(self.sql("SELECT slot FROM boxhaul.inbox WHERE payload IN ('parked', 'waits') ORDER BY id"), [(0,), (1,)])
        self.let_time_pass()
        said = self.handle_all()
        self.assertEqual([m for m in said if not m.startswith("m")], sorted((m for m in said if not m.startswith("m")), key=said.index))
        self.assertEqual(sorted(said), sorted(["parked", "follows", "waits"] + [f"m{n}" for n in range(20)]))
        self.assertLess(said.index("parked"), said.index("follows"))
        self.assertEqual([m for m in said if m.startswith("m")], [f"m{n}" for n in range(20)])
        for _ in range(20):
            self.clean()
        self.assertEqual(self.there(), 0)

    def test_all_slots_are_full(self):
        for n in range(12):
            self.leader.take(messages(f"m{n}:k"))
            self.clean()
        self.assertEqual(self.handle_all(1), [f"m{n}" for n in range(12)])

    def test_ids_are_known_for_the_retention(self):
        self.leader.take(messages("a:k"))
        self.handle_all()
        for days, known in ((3, 1), (3, 1), (2, 1)):
            self.clean(f"{days} days")
            self.assertEqual(self.leader.take(messages("a:k"))[2], known, days)
        for _ in range(4):
            self.clean("3 days")
        self.assertEqual(self.leader.take(messages("a:k"))[1], 1)

    def test_a_slot_that_is_drained_is_in_no_workers_way(self):
        """A worker at work has no lock on it; whoever reads the table has, and then it waits for another time."""
        self.leader.take(messages("a:k"))
        self.handle_all()
        self.clean()
        self.assertIn("inbox_0 is drained", self.clean("0 days"))
        self.leader.take(messages("b:k"))
        work = self.begin()
        work("SELECT id FROM boxhaul.receive('billing')")
        look = self.connect()
        with look.cursor() as cursor:
            cursor.execute("BEGIN; SELECT count(*) FROM boxhaul.inbox")
            for _ in range(3):
                self.assertNotIn("inbox_0 is empty", self.clean())
            cursor.execute("COMMIT")
        self.assertIn("inbox_0 is empty", sum((self.clean() for _ in range(3)), []))

    def test_a_taker_in_flight_delays_the_turn(self):
        """Order over the border of two slots: the old one is left when all its rows are committed."""
        self.leader.ask("BEGIN")
        self.leader.take(messages("a:k"))
        self.assertNotIn("inbox_1 is current", self.clean())
        self.leader.ask("COMMIT")
        self.assertIn("inbox_1 is current", self.clean())

    def test_the_trail_thins_out(self):
        self.sql("""INSERT INTO boxhaul.trail SELECT 'billing', g, 1, g, now() - interval '1 day' + g * interval '1 second'
                    FROM generate_series(1, 4000) g""")
        self.clean()
        count, oldest = self.sql("SELECT count(*), min(seq) FROM boxhaul.trail")[0]
        self.assertEqual(oldest, 1)
        self.assertLess(count, 1100)


class Figures(InboxTest):
    """What the watch asks every few seconds, on the session that takes: it must not grow with what is parked or dead."""

    def setUp(self):
        super().setUp()
        self.define(max_attempts=1)
        self.leader = self.lead()

    def ask(self):
        return self.sql("""SELECT waiting, handled, oldest_us > 0, parked, held, dead, standing, id, key, state, error
                             FROM boxhaul.inbox_figures('billing')""", user=LEADER)[0]

    def test_what_they_say(self):
        self.assertEqual(self.ask(), (0, 0, None, 0, 0, 0, 0, None, None, None, None))
        self.leader.take([*messages("a:k", "b:k", "c:l", "d:m"), Message("x", reason="too large")])
        self.assertEqual(self.ask(), (4, 0, True, 0, 0, 1, 0, None, None, None, None))
        self.define(max_attempts=5)
        self.fails("c", "at first")
        self.assertEqual(self.ask()[7:], (3, "l", "retrying", "at first"))
        self.define(max_attempts=1)
        self.fails("a", "no good")
        self.handle_all()
        self.assertEqual(self.ask(), (3, 1, True, 3, 1, 1, 0, 1, "k", "held", "no good"))
        self.assertEqual(self.ask()[:2], tuple(int(self.status(column)) for column in ("waiting", "handled")))

    def test_they_read_no_more_where_there_is_more(self):
        """Blocks that are touched, with very many rows parked and dead, by those with few."""
        def touched():
            with self.connect().cursor() as cursor:
                cursor.execute("SELECT * FROM boxhaul.inbox_figures('billing')")  # its plans are made
                cursor.execute("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT * FROM boxhaul.inbox_figures('billing')")
                plan = cursor.fetchone()[0][0]["Plan"]
            return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]

        self.leader.take(messages("a:k", "b:k"))
        self.fails("a")
        self.handle_all()
        few = touched()
        self.sql("""INSERT INTO boxhaul.inbox_parked (subscription, lane, id, slot, key, head, state, attempts, received_at)
                    SELECT subscription, lane, g, slot, key, false, 'waiting', 0, received_at
                      FROM boxhaul.inbox_parked, generate_series(1000, 31000) g WHERE attempts > 0;
                    INSERT INTO boxhaul.inbox_dead (subscription, seq, incarnation, payload, reason, attempts)
                    SELECT CASE g % 2 WHEN 0 THEN 'other' ELSE 'other2' END, g, 1, repeat('x', 500)::bytea, 'r', 1
                      FROM generate_series(1, 30000) g""")
        self.assertLess(touched(), few + 50)


class Backlog(InboxTest):
    """A worker finds its rows by (subscription, lane, id), in the order in which they stand there: however many wait, and whatever the
    planner believes of them."""

    def touched(self):
        """Blocks, for ten rows."""
        work = self.begin("BEGIN")
        work("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT * FROM boxhaul.receive('billing', 10)")  # its plans are made
        work("ROLLBACK")
        work("BEGIN")
        plan, = work("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT * FROM boxhaul.receive('billing', 10)")[0]
        work("ROLLBACK")
        return plan[0]["Plan"]["Shared Hit Blocks"] + plan[0]["Plan"]["Shared Read Blocks"]

    def test_a_poll_reads_no_more_of_a_long_one(self):
        self.define()
        leader = self.lead()
        leader.take(messages(*(f"m{n}:k{n % 7}" for n in range(20))))
        self.sql("ANALYZE boxhaul.inbox")  # from now on the statistics say: twenty rows
        few = self.touched()
        self.sql("""INSERT INTO boxhaul.inbox (subscription, lane, id, slot, seq, incarnation, subject, key, payload, stored_at)
                    SELECT subscription, lane, g, slot, g, incarnation, subject, key, repeat('x', 200)::bytea, stored_at
                      FROM (SELECT * FROM boxhaul.inbox LIMIT 1) i, generate_series(100000, 1001, -1) g;
                    UPDATE boxhaul.inbox_position SET last_id = 100000, lane_last = '{100000}', taken = taken + 99000""")
        self.assertLess(self.touched(), few + 20)
        self.assertEqual(self.handle(10), [f"m{n}" for n in range(10)])


class Waking(InboxTest):
    def setUp(self):
        super().setUp()
        self.define()
        self.leader = self.lead()
        self.listener = self.connect(WORKER)
        with self.listener.cursor() as cursor:
            cursor.execute("LISTEN boxhaul_inbox")

    def heard(self):
        with self.listener.cursor() as cursor:
            cursor.execute("SELECT")  # notifications that were committed before are delivered with it
        self.listener.poll()
        heard = [n.payload for n in self.listener.notifies]
        self.listener.notifies.clear()
        return heard

    def test_only_workers_that_found_nothing(self):
        self.leader.take(messages("a"))
        self.assertEqual(self.heard(), [])
        self.handle_all()
        self.leader.take(messages("b"))
        self.assertEqual(self.heard(), ["billing"])
        self.leader.take(messages("c"))
        self.assertEqual(self.heard(), [])
        self.handle_all()
        self.leader.take([], to=9)
        self.assertEqual(self.heard(), [])

    def test_not_more_often_than_every_10_ms(self):
        self.handle_all()
        self.sql("UPDATE boxhaul.inbox_position SET notified_at = clock_timestamp() + interval '1 hour'")
        asleep = self.leader.ask("SELECT asleep FROM boxhaul.inbox_take('billing', %s, 1, 0, 1, 1, '{1}', '{a}', '{s}', '{k}', '{x}', "
                                 "'{NULL}', '{1}', '{NULL}')", self.leader.epoch)
        self.assertEqual((asleep, self.heard()), ([(True,)], []))
        self.assertEqual(self.leader.ask("SELECT boxhaul.inbox_wake('billing')"), [(True,)])
        self.assertEqual(self.heard(), ["billing"])
        self.assertEqual(self.leader.ask("SELECT boxhaul.inbox_wake('billing')"), [(False,)])

    def test_the_flag_outlives_a_roll_back(self):
        work = self.begin()
        self.assertEqual(work("SELECT id FROM boxhaul.receive('billing')"), [])
        work("ROLLBACK")
        self.leader.take(messages("a"))
        self.assertEqual(self.heard(), ["billing"])


class Rights(InboxTest):
    def test_who_may_what(self):
        self.define()
        self.lead().take(messages("a:k"))
        for user, statement in ((WORKER, "SELECT * FROM boxhaul.inbox"), (WORKER, "SELECT * FROM boxhaul.subscription"),
                                (WORKER, "SELECT boxhaul.inbox_wake('billing')"), (WORKER, "SELECT boxhaul.inbox_pick('billing', 0, 1)"),
                                (WORKER, "SELECT boxhaul.inbox_skip('billing', 1)"),
                                (WORKER, "SELECT boxhaul.handle('billing', 'public.act')"),
                                (LEADER, "INSERT INTO boxhaul.inbox SELECT * FROM boxhaul.inbox"),
                                (LEADER, "UPDATE boxhaul.inbox_lane SET cursor = 9"), (LEADER, "DELETE FROM boxhaul.inbox_parked"),
                                (LEADER, "SELECT boxhaul.receive('billing')"), (MONITOR, "SELECT payload FROM boxhaul.inbox"),
                                (MONITOR, "SELECT headers FROM boxhaul.inbox_dead"), (MONITOR, "SELECT boxhaul.inbox_pause('billing')")):
            self.assert_raises(errors.InsufficientPrivilege, lambda s=statement, u=user: self.sql(s, user=u))
        for statement in ("SELECT * FROM boxhaul.inbox_status", "SELECT * FROM boxhaul.inbox_blocked",
                          "SELECT id, key FROM boxhaul.inbox", "SELECT id, reason FROM boxhaul.inbox_dead"):
            self.sql(statement, user=MONITOR)

    def test_functions_are_pinned(self):
        rows = self.sql("""SELECT p.proname, p.proconfig, has_function_privilege('public', p.oid, 'EXECUTE')
                             FROM pg_proc p WHERE p.pronamespace = 'boxhaul'::regnamespace
                              AND p.proname ~ '^(inbox_|receive$|done$|failed$|handle)'""")
        self.assertGreater(len(rows), 40)
        for name, config, public in rows:
            self.assertFalse(public, name)
            if name not in ("inbox_uuid", "inbox_lane_of"):  # qualified throughout: they have to be inlined
                self.assertIn("search_path=pg_catalog, pg_temp", config or [], name)
                self.assertIn("standard_conforming_strings=on", config or [], name)

    def test_every_table_has_a_primary_key(self):
        self.assertEqual(self.sql("""SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'boxhaul'::regnamespace
            AND c.relkind IN ('r', 'p') AND c.relname ~ '^(inbox|seen|trail|subscription)'
            AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)"""), [])

    def test_find(self):
        self.define(max_attempts=1)
        self.lead().take(messages("a:k", "b:k", "c:k", "d:l"))
        self.handle(1)
        self.fails("b")
        find = "SELECT state, id, attempts FROM boxhaul.inbox_find(%s)"
        self.assertEqual([self.sql(find, name, user=MONITOR) for name in "abcd"],
                         [[("handled", 1, 0)], [("held", 2, 1)], [("waiting", 3, 0)], [("waiting", 4, 0)]])
        self.sql("SELECT boxhaul.inbox_skip('billing', 2)", user=LEADER)
        self.assertEqual(self.sql(find, "b", user=MONITOR), [("dead", 2, 1)])
        self.sql("TRUNCATE boxhaul.inbox")
        self.assertEqual([self.sql(find, name) for name in "ab"], [[("known", 1, 0)], [("dead", 2, 1)]])
        self.assertEqual(self.sql(find, "zzz"), [])
        self.assertIsNotNone(self.status("subscription"))


class Stream:
    """A broker's stream, with its accidents: copies stored beyond the duplicate window, an end that is lost."""

    def __init__(self, dice):
        self.dice, self.log, self.clock, self.counts = dice, [], 1_700_000_000_000_000_000, {}

    def store(self, message):
        self.clock += self.dice.randrange(1, 10**9)
        self.log.append((self.clock, message))

    def publish(self, poison):
        if self.dice.random() < 0.1:
            return self.store(None)  # of another subject
        key = self.dice.choice(("k1", "k2", "k3", "k4", "k5", None))
        self.counts[key] = self.counts.get(key, 0) + 1
        name = f"{key}/{self.counts[key]}"
        return self.store(Message(name, key, name, {"do": "fail"} if self.dice.random() < poison else None))

    def repeat(self):
        if stored := [message for _, message in self.log if message]:
            self.store(self.dice.choice(stored))

    def truncate(self):
        """What was lost comes again, in order, or never."""
        keep = max(0, len(self.log) - self.dice.randrange(1, 12)) if self.dice.random() < 0.8 else 0
        lost, self.log[keep:] = [message for _, message in self.log[keep:]], []
        again = self.dice.random() < 0.7
        have = {message.name for _, message in self.log if message}
        for message in lost:
            if again and message and message.name not in have:
                have.add(message.name)
                self.store(message)

    def time(self, seq):
        return self.log[seq - 1][0] if 0 < seq <= len(self.log) else None


class Crowd:
    """Leaders, workers, the clock and an operator around one subscription, in one thread: whose turn it is, and what befalls
    them, is drawn from the seed. Nobody waits for a lock: what would is put off."""

    def __init__(self, test, seed):
        self.test, self.dice = test, random.Random(seed)
        self.settings = {"lanes": self.dice.choice((1, 2, 8)), "max_attempts": self.dice.choice((1, 2, 4)),
                         "poison": self.dice.choice(("hold", "skip")), "stuck_after": "0.001 s",
                         "crash_attempts": self.dice.choice((0, 2))}
        test.define(**self.settings)
        self.stream = Stream(self.dice)
        self.leaders = [Leader(test.connect(LEADER), who=f"leader {n}") for n in range(2)]
        self.leaders[0].lead()
        self.workers = [{"work": None, "rows": [], "lane": None, "failed": None} for _ in range(3)]
        self.counts = dict.fromkeys(("taken", "refused", "committed", "failed", "killed", "rewound", "stopped"), 0)
        self.well = False
        test.sql("SELECT setseed(%s)", self.dice.random())

    def run(self, steps):
        turns = ((self.publish, 5), (self.lead, 14), (self.step_worker, 30), (self.handler, 2), (self.pass_time, 5), (self.watch, 1),
                 (self.clean, 1), (self.operate, 1), (self.accident, 2))
        for _ in range(steps):
            self.dice.choices([turn for turn, _ in turns], [weight for _, weight in turns])[0]()

    # -- the stream and its leaders

    def publish(self):
        for _ in range(self.dice.randrange(1, 6)):
            self.stream.publish(poison=0.05)

    def accident(self):
        self.dice.choice((self.stream.repeat, self.stream.repeat, self.stream.truncate))()

    def lead(self):
        leader = self.dice.choice(self.leaders)  # one of them has been deposed, and does not know
        if leader.epoch == 0 or self.dice.random() < 0.1:
            leader.lead()
        elif self.dice.random() < 0.5:
            leader.look()
        if self.agrees(leader):
            self.take(leader)

    def agrees(self, leader):
        """What a leader does before it takes: the witness; a stream that lost its end; back by the trail, or not at all."""
        witness, stop = leader.ask("SELECT witness, stop ->> 'kind' FROM boxhaul.inbox_position")[0]
        if stop:
            return False
        if leader.position == 0 or witness == self.stream.time(leader.position):
            return True
        marks = leader.ask("SELECT seq, witness FROM boxhaul.trail ORDER BY seq DESC")
        good = [seq for seq, time in marks if seq <= leader.position and self.stream.time(seq) == time]
        if good:
            said = leader.ask("SELECT boxhaul.inbox_rewind_to_trail('billing', %s, %s, %s, %s)", leader.epoch, leader.incarnation,
                              leader.position, good[0])
            self.counts["rewound"] += said == [(True,)]
        else:
            said = leader.ask("SELECT boxhaul.inbox_stop('billing', %s, %s)", leader.epoch, '{"kind": "truncated", "last_seq": 0}')
            self.counts["stopped"] += said == [(True,)]
        return False

    def take(self, leader):
        end = min(len(self.stream.log), leader.position + self.dice.randrange(1, 12))
        if end <= leader.position:
            return
        batch = [(seq, message) for seq, (_, message) in enumerate(self.stream.log[leader.position:end], leader.position + 1) if message]
        if batch or self.dice.random() < 0.5:
            said = leader.take([message for _, message in batch], [seq for seq, _ in batch], end, self.stream.time(end))
        else:
            said = leader.ask("SELECT boxhaul.inbox_follow('billing', %s, %s, %s, %s, %s)", leader.epoch, leader.incarnation,
                              leader.position, end, self.stream.time(end))[0][0] or None
            leader.position = end if said else leader.position
        self.counts["taken" if said else "refused"] += 1
        if self.dice.random() < 0.1:
            leader.position = max(0, leader.position - len(batch))  # the answer to the COMMIT was lost

    # -- workers

    def step_worker(self):
        worker = self.dice.choice(self.workers)
        if worker["failed"]:
            self.tell_failure(worker)
        elif worker["lane"] is None:
            self.receive(worker)
        else:
            self.work_on(worker)

    def receive(self, worker):
        worker["work"] = worker["work"] or self.test.begin("SELECT")
        work, most = worker["work"], self.dice.randrange(1, 6)
        what = "SELECT lane, id, convert_from(payload, 'UTF8'), key, seq, headers ->> 'do' FROM boxhaul.receive('billing', %s)"
        if self.dice.random() < 0.05 and not self.well:  # in autocommit, by mistake
            with contextlib.suppress(errors.NoActiveSqlTransaction):
                self.test.assertEqual(work(what, most), [])
            return
        work("BEGIN")
        worker["rows"] = work(what, most)
        if worker["rows"]:
            worker["lane"] = worker["rows"][0][0]
        else:
            work(self.dice.choice(("COMMIT", "ROLLBACK")))

    def work_on(self, worker):
        work, luck = worker["work"], 1 if self.well else self.dice.random()
        if luck < 0.04:
            self.test.sql("SELECT pg_terminate_backend(%s)", work.connection.info.backend_pid)
            wait_until(lambda: not self.test.pg.backends(f"pid = {work.connection.info.backend_pid}"), "a worker to be gone")
            self.counts["killed"] += 1
            worker.update(work=None, lane=None, rows=[], some=False)
        elif luck < 0.07:
            self.leave(worker, "ROLLBACK")
        elif not worker["rows"] or luck < 0.1 and worker.get("some"):
            self.counts["committed"] += 1
            self.leave(worker, "COMMIT")
        else:
            lane, id, message, key, seq, bad = worker["rows"][0]
            work("SAVEPOINT s")
            effect = ("INSERT INTO effect (message, key, number) VALUES (%s, %s, %s)", message, key, seq)
            work(*effect)
            if bad and not self.well or luck > 0.93 and not self.well:
                worker["failed"] = worker["rows"][0]
                self.leave(worker, "ROLLBACK")
                return
            work("SELECT boxhaul.done('billing', %s, %s)", lane, id)
            if self.dice.random() < 0.1:  # that was nothing
                work("ROLLBACK TO s")
                return
            worker["rows"].pop(0)
            worker["some"] = True

    def leave(self, worker, verb):
        worker["work"](verb)
        worker.update(lane=None, rows=[], some=False)

    def held_lanes(self):
        """A worker may hold more than the lane whose rows it got: those that had nothing but rows to park."""
        return [lane for lane, in self.test.sql("""SELECT lane FROM boxhaul.inbox_lane EXCEPT
            SELECT * FROM (SELECT lane FROM boxhaul.inbox_lane FOR UPDATE SKIP LOCKED) free""")]

    def tell_failure(self, worker):
        lane, id = worker["failed"][:2]
        if lane not in self.held_lanes():
            worker["work"]("SELECT boxhaul.failed('billing', %s, %s, 'bad')", lane, id)
            self.counts["failed"] += 1
            worker["failed"] = None

    def handler(self):
        self.test.sql("SELECT boxhaul.handle('billing', 'public.act', NULL, %s)", self.dice.randrange(1, 6), user=LEADER)

    # -- the clock and the operator

    def pass_time(self):
        self.test.sql("UPDATE boxhaul.inbox_parked SET next_at = now() - interval '1 second' WHERE next_at > now() AND lane <> ALL (%s)",
                      self.held_lanes())
        self.test.sql("UPDATE boxhaul.inbox_lane SET next_due = boxhaul.inbox_next_due(subscription, lane) WHERE lane <> ALL (%s)",
                      self.held_lanes())

    def watch(self):
        self.test.sql("SELECT boxhaul.inbox_watch('billing')", user=LEADER)

    def clean(self):
        self.test.sql("UPDATE boxhaul.inbox_slot SET since = since - interval '5 days' WHERE ring = 'inbox'")
        self.test.sql("SELECT boxhaul.inbox_clean()", user=LEADER)

    def operate(self):
        if self.test.status("stopped"):
            self.test.sql("SELECT boxhaul.inbox_rewind('billing', 'start')", user=LEADER)
        for id, lane in self.test.sql("SELECT id, lane FROM boxhaul.inbox_blocked WHERE state <> 'standing'"):
            if lane not in self.held_lanes() and (self.well or self.dice.random() < 0.3):
                self.test.sql("SELECT boxhaul.inbox_retry('billing', %s)", id, user=LEADER)

    # -- the end

    def come_to_rest(self):
        """Nothing bad happens any more: then everything is handled."""
        self.well = True
        self.test.sql("UPDATE boxhaul.inbox SET headers = NULL WHERE headers IS NOT NULL")
        for _, message in self.stream.log:
            if message:
                message.headers = None
        for worker in self.workers:
            worker["failed"] = None
        self.leaders[0].lead()
        for _ in range(3000):
            self.operate()
            self.leaders[0].look()
            if self.agrees(self.leaders[0]):
                self.take(self.leaders[0])
            self.pass_time()
            self.watch()
            for _ in range(12):
                self.step_worker()
            if (self.leaders[0].position >= len(self.stream.log) and not self.held_lanes() and self.agrees(self.leaders[0])
                    and self.test.status("waiting") == 0):
                return
        raise AssertionError(f"it does not come to rest: {self.test.sql('SELECT * FROM boxhaul.inbox_status')} "
                             f"{self.test.sql('SELECT * FROM boxhaul.inbox_blocked')}")


class Judge:
    """By the effects alone."""

    @staticmethod
    def verdict(effects, stored, dead):
        """effects: (name, key), in the order of their transactions. A name is key/number. What is wrong, as text."""
        wrong, last, seen = [], {}, set()
        for name, key in effects:
            number = int(name.partition("/")[2])
            if name in seen:
                wrong.append(f"twice: {name}")
            elif key is not None and number < last.get(key, 0):
                wrong.append(f"out of order: {name} behind {last[key]}")
            seen.add(name)
            last[key] = max(number, last.get(key, 0))
        wrong += [f"missing: {name}" for name in sorted(stored - seen - dead)]
        wrong += [f"dead and handled: {name}" for name in sorted(dead & seen)]
        return wrong


class AtRandom(InboxTest):
    def judge(self, stored, what):
        effects = self.sql("SELECT message, key FROM effect ORDER BY n")
        dead = {name for name, in self.sql("SELECT convert_from(payload, 'UTF8') FROM boxhaul.inbox_dead")}
        self.assertEqual(Judge.verdict(effects, stored, dead), [], what)
        self.assertEqual(self.sql("SELECT count(*) FROM boxhaul.inbox_parked"), [(0,)], what)
        self.assertEqual(self.status("(waiting, parked, lanes_standing)"), "(0,0,0)", what)
        self.assertEqual(self.sql("""SELECT l.lane FROM boxhaul.inbox_lane l, boxhaul.inbox_position p
            WHERE l.cursor <> p.lane_last[l.lane + 1] AND p.lane_last[l.lane + 1] > 0 AND l.cursor < p.lane_last[l.lane + 1]"""), [])

    def test_the_judge_is_able_to_convict(self):
        good = [("k/1", "k"), ("l/1", "l"), ("k/2", "k"), ("None/2", None), ("None/1", None)]
        stored = {name for name, _ in good}
        self.assertEqual(Judge.verdict(good, stored, set()), [])
        self.assertEqual(Judge.verdict(good + [("k/2", "k")], stored, set()), ["twice: k/2"])
        self.assertEqual(Judge.verdict(good[2:] + good[:2], stored, set()), ["out of order: k/1 behind 2"])
        self.assertEqual(Judge.verdict(good[1:], stored, set()), ["missing: k/1"])
        self.assertEqual(Judge.verdict(good[1:], stored, {"k/1"}), [])
        self.assertEqual(Judge.verdict(good, stored, {"k/1"}), ["dead and handled: k/1"])

    def test_seeds(self):
        total = {}
        for seed in range(FIRST_SEED, FIRST_SEED + SEEDS):
            with self.subTest(seed=seed):
                self.reset()
                crowd = Crowd(self, seed)
                crowd.run(250)
                crowd.come_to_rest()
                self.judge({message.name for _, message in crowd.stream.log if message}, f"seed {seed}, {crowd.settings}")
                for what, count in crowd.counts.items():
                    total[what] = total.get(what, 0) + count
            self._close()
        if SEEDS >= 12:  # each of them has happened
            self.assertEqual([what for what, count in total.items() if count == 0], [], total)

    def test_all_at_once(self):
        """Threads, so that statements meet in the middle: workers, two leaders that both believe they lead, a killer, the clock."""
        self.define(lanes=4, max_attempts=3, stuck_after="0.05 s", crash_attempts=2)
        stream = Stream(random.Random(1))
        for _ in range(600):
            stream.publish(poison=0.01)
            if stream.dice.random() < 0.1:
                stream.repeat()
        stored = {message.name for _, message in stream.log if message}
        self.lead()
        stop, calm, wrong = threading.Event(), threading.Event(), []

        def forever(turn, seed):
            def run():
                dice, state = random.Random(seed), {}
                while not stop.is_set():
                    try:
                        turn(dice, state)
                    except (psycopg2.OperationalError, psycopg2.InterfaceError, errors.LockNotAvailable, errors.AdminShutdown):
                        state.clear()  # killed
                    except Exception as e:  # pylint: disable=broad-except
                        wrong.append(repr(e))
                        stop.set()
            return threading.Thread(target=run)

        def lead(dice, state):
            leader = state.setdefault("leader", Leader(self.pg.connect(DATABASE, LEADER)))
            if leader.epoch == 0 or dice.random() < 0.02:
                leader.lead()
            leader.look()
            batch = stream.log[leader.position:leader.position + dice.randrange(1, 20)]
            seqs = [n for n, (_, message) in enumerate(batch, leader.position + 1) if message]
            if batch:
                leader.take([message for _, message in batch if message], seqs, leader.position + len(batch), batch[-1][0])

        def work(dice, state):
            if "connection" not in state:
                state["connection"] = self.pg.connect(DATABASE, WORKER)
            failed = None
            with state["connection"].cursor() as cursor:
                cursor.execute("BEGIN")
                cursor.execute("SELECT lane, id, convert_from(payload, 'UTF8'), key, headers ->> 'do' FROM boxhaul.receive('billing', %s)",
                               (dice.randrange(1, 8),))
                for lane, id, message, key, bad in cursor.fetchall():
                    cursor.execute("INSERT INTO effect (message, key) VALUES (%s, %s)", (message, key))
                    if not calm.is_set() and (bad or dice.random() < 0.03):
                        failed = (lane, id)
                        break
                    cursor.execute("SELECT boxhaul.done('billing', %s, %s)", (lane, id))
                cursor.execute("ROLLBACK" if failed or not calm.is_set() and dice.random() < 0.1 else "COMMIT")
                if failed:
                    cursor.execute("SELECT boxhaul.failed('billing', %s, %s, 'bad')", failed)

        def kill(dice, _state):
            pids = self.pg.backends(f"usename = '{WORKER}'")
            if pids and not calm.is_set():
                self.pg.execute("SELECT pg_terminate_backend(%s)", (dice.choice(pids),))
            stop.wait(0.1)

        def clock(_dice, state):
            self.pg.execute("UPDATE boxhaul.inbox_slot SET since = since - interval '3 days' WHERE ring = 'inbox'", dbname=DATABASE)
            if "connection" not in state:
                state["connection"] = self.pg.connect(DATABASE, LEADER)
            with state["connection"].cursor() as cursor:
                for call in ("inbox_watch('billing')", "inbox_clean()", "inbox_wake('billing')"):
                    cursor.execute(f"SELECT boxhaul.{call}")
                with contextlib.suppress(errors.NoDataFound):  # it was handled between the two
                    cursor.execute("SELECT boxhaul.inbox_retry(subscription, id) FROM boxhaul.inbox_blocked WHERE %s AND state <> 'standing'",
                                   (calm.is_set(),))
            stop.wait(0.05)

        threads = [forever(turn, n) for n, turn in enumerate((lead, lead, work, work, work, work, kill, clock))]
        for thread in threads:
            thread.start()
        try:
            def effects():
                return self.sql("SELECT count(*) FROM effect")[0][0]
            wait_until(lambda: stop.is_set() or effects() > len(stored) / 2, "half of the effects", progress=effects)
            calm.set()
            wait_until(lambda: stop.is_set() or effects() >= len(stored) and self.status("waiting") == 0, "all effects", progress=effects)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        self.assertEqual(wrong, [])
        self.judge(stored, "threads")


if __name__ == "__main__":
    unittest.main()
