"""The SQL of captures alone: what the leader, the reader of rows, the operators, producers and triggers call, without a daemon and without a broker."""

import contextlib
import datetime
import glob
import json
import os
import struct
import sys
import threading
import unittest
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import psycopg2  # noqa: E402
from psycopg2 import errors  # noqa: E402
from psycopg2.extras import LogicalReplicationConnection  # noqa: E402

from process import DEADLINE, Workspace, wait_until  # noqa: E402
from servers import Postgres  # noqa: E402

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
READER, OPERATOR, MONITOR, WRITER, LEGACY = "capture_reader", "capture_operator", "capture_monitor", "capture_writer", "legacy"
DATABASE, NAME = "monolith", "shop"
TABLES = [{"table": "public.orders", "snapshot": "keys"}, {"table": "public.parts", "snapshot": "keys"},
          {"table": "public.events", "snapshot": "none", "inserts_only": True}]

MONOLITH = f"""
CREATE TABLE orders (id bigint PRIMARY KEY, note text, doc text, total numeric(10,2), twice numeric GENERATED ALWAYS AS (total * 2) STORED);
CREATE TABLE parts (region text, id integer, note text, PRIMARY KEY (region, id)) PARTITION BY LIST (region);
CREATE TABLE parts_eu PARTITION OF parts FOR VALUES IN ('eu');
CREATE TABLE events (what text);
CREATE TABLE elsewhere (id integer PRIMARY KEY);
GRANT SELECT ON orders, parts, events TO boxhaul_capture;
GRANT ALL ON ALL TABLES IN SCHEMA public TO {LEGACY};
CREATE PUBLICATION boxhaul_shop FOR TABLE orders, parts WITH (publish_via_partition_root = true);
CREATE PUBLICATION boxhaul_shop_inserts FOR TABLE events WITH (publish = 'insert', publish_via_partition_root = true);
"""


def hexed(*columns):
    """A key, as a mark has it."""
    return [column.encode().hex() for column in columns]


class CaptureSqlTest(unittest.TestCase):
    pg, number = None, 0  # one server for all of them; each test begins with a copy of one database

    @classmethod
    def setUpClass(cls):
        if CaptureSqlTest.pg is None:
            CaptureSqlTest.pg = cls.start_server()
            CaptureSqlTest.version = int(CaptureSqlTest.pg.execute("SHOW server_version_num")[0][0])

    @staticmethod
    def start_server():
        workspace = unittest.enterModuleContext(Workspace())
        pg = workspace.add(Postgres(workspace.path("pg"), fsync="off", wal_level="logical", max_prepared_transactions=4)).start()
        pg.execute("CREATE DATABASE template_of_all")
        for path in sorted(glob.glob(os.path.join(TOP, "sql", "*.sql"))):
            with open(path, encoding="utf-8") as f:
                text = f.read()
            for _ in range(2):  # each can be run again
                pg.execute(text, dbname="template_of_all")
        for user, group in ((READER, "boxhaul_capture"), (OPERATOR, "boxhaul_relay"), (MONITOR, "boxhaul_monitor"), (WRITER, "boxhaul_writer")):
            pg.create_login(user, group)
        pg.create_login(LEGACY)
        pg.execute(f"ALTER ROLE {READER} REPLICATION")
        pg.execute(MONOLITH, dbname="template_of_all")
        if int(pg.execute("SHOW server_version_num")[0][0]) < 140000:
            pg.execute("ALTER PUBLICATION boxhaul_shop_inserts ADD TABLE boxhaul.capture_signal", dbname="template_of_all")
        for user in (pg.superuser, READER, OPERATOR, MONITOR, WRITER, LEGACY):
            pg.execute(f"ALTER ROLE {user} SET statement_timeout = '{DEADLINE}s'")  # no test hangs
        return pg

    def setUp(self):
        CaptureSqlTest.number += 1
        self.database = f"{DATABASE}_{CaptureSqlTest.number}"
        self.pg.execute(f"CREATE DATABASE {self.database} TEMPLATE template_of_all")
        self.connections = []
        self.addCleanup(self._clean_up)
        self.epoch = None

    def _clean_up(self):
        for connection in self.connections:
            with contextlib.suppress(psycopg2.Error):
                connection.close()
        self.pg.execute("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active")
        wait_until(lambda: not self.pg.execute("SELECT FROM pg_replication_slots WHERE active"), "the slots to be free")
        self.pg.execute("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")
        self.pg.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (self.database,))
        wait_until(lambda: not self.pg.execute("SELECT FROM pg_stat_activity WHERE datname = %s", (self.database,)), "sessions to be gone")
        for (name,) in self.pg.execute("SELECT gid FROM pg_prepared_xacts"):
            self.pg.execute(f"ROLLBACK PREPARED '{name}'", dbname=self.database)
        self.pg.execute(f"DROP DATABASE {self.database}")

    def connect(self, user=None, autocommit=True, **options):
        self.connections.append(psycopg2.connect(self.pg.conninfo(self.database, user), **options))
        if "connection_factory" not in options:
            self.connections[-1].autocommit = autocommit
        return self.connections[-1]

    def ask(self, user, sql, *values):
        return self.pg.execute(sql, values or None, dbname=self.database, user=user)

    def sql(self, sql, *values):
        return self.ask(None, sql, *values)

    def one(self, sql, *values):
        return self.sql(sql, *values)[0][0]

    def refused(self, error, user, sql, *values):
        """Returns what the error says."""
        with self.assertRaises(error) as caught:
            self.ask(user, sql, *values)
        return str(caught.exception)

    # -- the steps of a leader

    def define(self, tables=None, stream="SHOP", user=READER):
        return self.ask(user, "SELECT boxhaul.capture_define(%s, %s, %s)", NAME, stream, json.dumps(tables or TABLES))[0][0]

    def lead(self, who="a daemon"):
        self.epoch, promoted, resigned = self.ask(
            READER, "SELECT (l.books).epoch, l.promoted, (l.books).resigned_lsn FROM boxhaul.capture_lead(%s, %s) l", NAME, who)[0]
        return promoted, resigned

    def books(self, columns="state, reason, incarnation"):
        return self.sql(f"SELECT {columns} FROM boxhaul.capture WHERE name = %s", NAME)[0]

    def table(self, columns, tab="public.orders"):
        return self.sql(f"SELECT {columns} FROM boxhaul.capture_table WHERE capture = %s AND tab = %s", NAME, tab)[0]

    def make_slot(self):
        name, number = self.books("slot, incarnation")
        lsn = self.ask(READER, "SELECT lsn FROM pg_create_logical_replication_slot(%s, 'pgoutput')", name)[0][0]
        return lsn, self.ask(READER, "SELECT boxhaul.capture_live(%s, %s, %s, %s)", NAME, self.epoch, number, lsn)[0][0]

    def go_live(self):
        """A capture that was started and is led. Returns where its slot begins."""
        self.define()
        self.ask(OPERATOR, "SELECT boxhaul.capture_start(%s)", NAME)
        self.lead()
        lsn, live = self.make_slot()
        self.assertTrue(live)
        return lsn

    def mark(self, payloads=None, epoch=None, **changes):
        end, ordinal = self.books("end_lsn, ordinal")
        mark = {"incarnation": self.books()[2], "from": ordinal, "end_lsn": end, "commit_time": 1, "ordinal": ordinal, **changes}
        self.ask(READER, "SELECT boxhaul.capture_mark(%s, %s, %s, %s)", NAME, epoch or self.epoch, json.dumps(mark),
                 [psycopg2.Binary(p) for p in payloads] if payloads else None)

    def examine(self, confirmed=None):
        return self.ask(READER, "SELECT state, reason, exist, active_pid, retained, lag, pause, superseded FROM boxhaul.capture_examine(%s, %s, %s)",
                        NAME, self.epoch, confirmed)[0]


class Life(CaptureSqlTest):
    """The states of a capture."""

    def test_it_fits_the_configuration(self):
        self.assertIn("capture shop is new", self.define())
        self.assertEqual(self.define(), [])
        self.assertEqual(self.table("state, snapshot"), ("waiting", "keys"))
        self.assertEqual(self.table("state, inserts_only", "public.events"), ("complete", True))
        did = self.define([TABLES[0], {"table": "public.elsewhere", "snapshot": "keys"}])
        self.assertEqual(sorted(did), ["table public.elsewhere: snapshot keys", "without table public.events", "without table public.parts"])
        self.assertEqual(self.define(TABLES, "OTHER")[0], "sends to stream OTHER")

    def test_another_stream_is_another_capture_once_it_is_live(self):
        self.go_live()
        self.assertIn("sends to stream SHOP", self.refused(errors.ObjectNotInPrerequisiteState, READER,
                                                           "SELECT boxhaul.capture_define(%s, 'OTHER', '[]')", NAME))

    def test_publications_come_before_the_slot(self):
        self.define()
        self.sql("DROP PUBLICATION boxhaul_shop_inserts; ALTER PUBLICATION boxhaul_shop DROP TABLE orders")
        said = self.refused(errors.ObjectNotInPrerequisiteState, OPERATOR, "SELECT boxhaul.capture_start(%s)", NAME)
        self.assertIn("there is no publication boxhaul_shop_inserts", said)
        self.assertIn("public.orders: it is not in publication boxhaul_shop", said)
        self.assertEqual(self.books(), ("none", None, 0))

    def test_signals_are_published_where_they_are_rows(self):
        """PostgreSQL 13 sends no messages: without them a sink's changes would go back to where they came from, and a cut-over would wait for its token."""
        self.define()
        self.sql("ALTER PUBLICATION boxhaul_shop_inserts SET TABLE events")
        if self.version >= 140000:
            self.assertEqual(self.sql("SELECT * FROM boxhaul.capture_differs(%s)", NAME), [])
            return
        said = self.refused(errors.ObjectNotInPrerequisiteState, OPERATOR, "SELECT boxhaul.capture_start(%s)", NAME)
        self.assertIn("boxhaul.capture_signal: it is not in publication boxhaul_shop_inserts", said)
        (statement,), = self.sql("SELECT statement FROM boxhaul.capture_plan_publications(%s, ARRAY['public.orders', 'public.parts'], ARRAY['public.events'])"
                                 " WHERE verdict = 'todo'", NAME)
        self.sql(statement)
        self.assertEqual(self.sql("SELECT * FROM boxhaul.capture_differs(%s)", NAME), [])
        self.go_live()

    def test_a_publication_that_sends_something_else(self):
        self.define()
        self.sql("ALTER PUBLICATION boxhaul_shop SET (publish = 'insert'); ALTER PUBLICATION boxhaul_shop_inserts SET (publish_via_partition_root = false)")
        whys = [why for _, why in self.sql("SELECT * FROM boxhaul.capture_differs(%s)", NAME)]
        self.assertEqual(len([why for why in whys if "does not send what it is to send" in why]), 2, whys)

    def test_from_none_to_live(self):
        self.define()
        self.assertEqual(self.books(), ("none", None, 0))
        self.assertEqual(self.ask(OPERATOR, "SELECT boxhaul.capture_start(%s)", NAME), [(True,)])
        self.assertEqual(self.ask(OPERATOR, "SELECT boxhaul.capture_start(%s)", NAME), [(False,)])
        self.assertEqual(self.books("state, slot"), ("creating", "boxhaul_shop_1"))
        self.lead()
        lsn, live = self.make_slot()
        self.assertTrue(live)
        system, = self.sql("SELECT system_identifier FROM pg_control_system()")[0]
        self.assertEqual(self.books("state, end_lsn, begin_lsn, system_id, ordinal"), ("live", lsn, lsn, system, 0))
        self.assertEqual(self.examine(lsn)[:3], ("live", None, True))

    def test_a_slot_that_is_not_here_is_not_live(self):
        """It was made on another server, or is gone again."""
        self.define()
        self.ask(OPERATOR, "SELECT boxhaul.capture_start(%s)", NAME)
        self.lead()
        self.assertEqual(self.ask(READER, "SELECT boxhaul.capture_live(%s, %s, 1, '0/1')", NAME, self.epoch), [(False,)])
        self.assertEqual(self.books()[0], "creating")

    def test_a_slot_that_an_attempt_has_left_is_dropped(self):
        self.define()
        self.ask(OPERATOR, "SELECT boxhaul.capture_start(%s)", NAME)
        self.lead()
        self.ask(READER, "SELECT pg_create_logical_replication_slot('boxhaul_shop_1', 'pgoutput')")
        self.assertTrue(self.examine()[7])
        self.assertIn("dropped slot boxhaul_shop_1", self.ask(READER, "SELECT boxhaul.capture_free(%s, %s, true)", NAME, self.epoch)[0][0])
        self.assertEqual(self.examine()[2], False)

    def test_a_new_lead_ends_the_old_one(self):
        self.go_live()
        old = self.epoch
        self.lead("another daemon")
        self.assertIn("is over", self.refused(errors.ObjectNotInPrerequisiteState, READER,
                                              "SELECT boxhaul.capture_examine(%s, %s, NULL)", NAME, old))
        with self.assertRaises(errors.ObjectNotInPrerequisiteState):
            self.mark(epoch=old)
        self.mark()

    def test_what_a_leader_leaves_when_it_resigns(self):
        lsn = self.go_live()
        self.assertEqual(self.lead()[1], None)
        self.ask(READER, "SELECT boxhaul.capture_resign(%s, %s, %s)", NAME, self.epoch, lsn)
        self.assertEqual(self.lead()[1], lsn)
        self.assertEqual(self.lead()[1], None, "it counts once: who comes next may confirm more")

    def test_the_lock_is_one_for_each_capture(self):
        first, second = self.connect(READER), self.connect(READER)

        def lock(connection, name):
            with connection.cursor() as cursor:
                cursor.execute("SELECT boxhaul.capture_try_lock(%s), pg_backend_pid()", (name,))
                return cursor.fetchone()
        got, pid = lock(first, "a")
        self.assertTrue(got)
        self.assertEqual(self.ask(MONITOR, "SELECT boxhaul.capture_leading_pid('a'), boxhaul.capture_leading_pid('b')"), [(pid, None)])
        self.assertFalse(lock(second, "a")[0])
        self.assertTrue(lock(second, "b")[0])
        first.close()
        wait_until(lambda: lock(second, "a")[0], "the lock to be free")

    def test_pause(self):
        self.go_live()
        self.assertEqual(self.ask(OPERATOR, "SELECT boxhaul.capture_pause(%s, 'ann', 'lunch')", NAME), [(True,)])
        self.assertEqual(self.ask(OPERATOR, "SELECT boxhaul.capture_pause(%s)", NAME), [(False,)])
        self.assertEqual(self.examine()[6], 1)
        self.assertEqual(self.books("paused_by, pause_reason"), ("ann", "lunch"))
        self.assertEqual(self.ask(OPERATOR, "SELECT boxhaul.capture_resume(%s)", NAME), [(True,)])
        self.assertEqual(self.ask(OPERATOR, "SELECT boxhaul.capture_resume(%s)", NAME), [(False,)])
        self.ask(OPERATOR, "SELECT boxhaul.capture_pause(%s)", NAME)
        self.assertEqual(self.examine()[6], 2, "another pause has another number")

    def test_who_changes_the_books_tells_the_leader(self):
        listener = self.connect(READER)
        with listener.cursor() as cursor:
            cursor.execute("LISTEN boxhaul")
        self.go_live()
        for call in ("pause('shop')", "resume('shop')", "resync('shop', 'public.orders')", "drop('shop')"):
            listener.poll()
            listener.notifies.clear()
            self.ask(OPERATOR, f"SELECT boxhaul.capture_{call}")
            wait_until(lambda: listener.poll() or [n.payload for n in listener.notifies] == ["capture"], f"to be told of {call}")

    def test_words_for_what_is_not_there(self):
        for call in ("start('x')", "pause('x')", "resume('x')", "resync('x')", "add('x', 'public.orders')", "drop('x')"):
            self.assertIn("there is no capture x", self.refused(errors.NoDataFound, OPERATOR, f"SELECT boxhaul.capture_{call}"))
        self.define()
        self.assertIn("never started", self.refused(errors.ObjectNotInPrerequisiteState, OPERATOR, "SELECT boxhaul.capture_resync('shop')"))

    def test_a_table_is_added(self):
        self.go_live()
        epoch = self.epoch
        self.assertEqual(self.ask(OPERATOR, "SELECT boxhaul.capture_add(%s, 'public.elsewhere')", NAME), [(True,)])
        self.assertEqual(self.ask(OPERATOR, "SELECT boxhaul.capture_add(%s, 'public.elsewhere')", NAME), [(False,)])
        self.assertEqual(self.table("state", "public.elsewhere"), ("waiting",))
        with self.assertRaises(errors.ObjectNotInPrerequisiteState):
            self.mark(epoch=epoch)  # the leader has no barrier for it

    def test_tables_that_inherit_are_not_published(self):
        """Published, one without a key of its own would let nobody update its rows."""
        self.sql("CREATE TABLE base (id integer PRIMARY KEY, note text); CREATE TABLE heir () INHERITS (base); INSERT INTO heir VALUES (1)")
        plan = "SELECT statement FROM boxhaul.capture_plan_publications('family', '{public.base,public.parts}') WHERE verdict = 'todo' ORDER BY about"
        published = "SELECT array_agg(tablename::text ORDER BY tablename) FROM pg_publication_tables WHERE pubname = 'boxhaul_family'"

        def follow():
            for (statement,) in self.sql(plan):
                self.sql(statement)
            self.assertEqual(self.sql(plan), [])
            self.assertEqual(self.one(published), ["base", "parts"])
            self.sql("UPDATE heir SET note = 'changed'")
        follow()
        for spoil in ("ALTER PUBLICATION boxhaul_family ADD TABLE heir", "ALTER PUBLICATION boxhaul_family DROP TABLE ONLY base",
                      "CREATE TABLE heir_of_heir () INHERITS (heir); ALTER PUBLICATION boxhaul_family ADD TABLE ONLY heir"):
            with self.subTest(spoil):
                self.sql(spoil)
                follow()

    def test_old_releases_may_not_add(self):
        """Which minor releases decode it wrongly: the function is asked under each number."""
        body = self.one("SELECT prosrc FROM pg_proc WHERE oid = 'boxhaul.capture_may_add()'::regprocedure")
        for number, may in ((130020, False), (130021, True), (140017, False), (140018, True), (150012, False), (150013, True), (160008, False),
                            (160009, True), (170004, False), (170005, True), (180000, True)):
            asked = body.replace("current_setting('server_version_num')::integer", str(number))
            self.assertNotEqual(asked, body)
            self.assertEqual(self.one(asked), may, number)

    def on_an_old_release(self):
        """From now on, by what the books are told of the server."""
        self.sql("CREATE OR REPLACE FUNCTION boxhaul.capture_may_add() RETURNS boolean LANGUAGE sql STABLE AS 'SELECT false'")

    def test_a_configuration_adds_no_table_there(self):
        """A daemon that is reloaded has put it into the books: its rows are not read, for changes of it are lost. A new slot is safe; so is a newer release."""
        self.define()
        self.on_an_old_release()
        more = [*TABLES, {"table": "public.elsewhere", "snapshot": "keys"}, {"table": "public.parts_eu", "snapshot": "none"}]
        self.assertEqual(self.define(TABLES[:2] + more[3:4]), ["without table public.events", "table public.elsewhere: snapshot keys"])  # there is no slot yet
        self.define()
        self.go_live()
        self.assertIn("table public.elsewhere: snapshot keys, refused: PostgreSQL", self.define(more)[0])
        self.define([*more[:3], {**more[3], "snapshot": "whole"}, more[4]])  # and stays so
        for tab in ("public.elsewhere", "public.parts_eu"):
            state, why = self.table("state, reason", tab)
            self.assertEqual(state, "refused")
            self.assertIn("changes would be lost in silence", why)
            self.assertIn("lost in silence", self.refused(errors.FeatureNotSupported, OPERATOR, "SELECT boxhaul.capture_resync(%s, %s)", NAME, tab))
        self.assertEqual(self.table("state")[0], "waiting")
        self.assertIn("lost in silence", self.refused(errors.FeatureNotSupported, OPERATOR, "SELECT boxhaul.capture_add(%s, 'public.another')", NAME))
        plan = "SELECT verdict, what, statement FROM boxhaul.capture_plan_publications(%s, '{public.orders,public.parts,public.elsewhere}', '{public.events}') WHERE verdict <> 'ok'"
        for user in (OPERATOR, MONITOR):
            (verdict, what, statement), = self.ask(user, plan, NAME)
            self.assertEqual((verdict, statement), ("FAIL", "ALTER PUBLICATION boxhaul_shop ADD TABLE ONLY public.elsewhere"))
            self.assertIn("lost in silence", what)
        self.ask(OPERATOR, "SELECT boxhaul.capture_resync(%s)", NAME)
        self.assertEqual(self.table("state, reason", "public.elsewhere"), ("waiting", None))
        self.assertEqual(self.table("state, reason", "public.parts_eu"), ("complete", None))  # whose rows nobody reads

    def left(self):
        """Tables that have a row with the capture's name."""
        tables = self.sql("SELECT c.table_name FROM information_schema.columns c JOIN information_schema.tables t USING (table_schema, table_name) "
                          "WHERE c.table_schema = 'boxhaul' AND c.column_name = 'capture' AND t.table_type = 'BASE TABLE'")
        return {table for (table,) in tables if self.sql(f"SELECT 1 FROM boxhaul.{table} WHERE capture = %s LIMIT 1", NAME)}

    def ask_for_a_pass(self):
        self.sql("UPDATE boxhaul.capture_table SET state = 'complete'")
        self.ask(OPERATOR, "SELECT boxhaul.capture_verify(%s, 'public.orders', keys => '[[\"1\"]]')", NAME)

    def test_nothing_is_left_of_what_is_dropped(self):
        """But dead letters, and what was decided of its moves: a source has to know it when its capture is gone."""
        self.go_live()
        self.mark(letters=[{"ordinal": 1, "reason": "too long"}], ordinal=1)
        self.ask_for_a_pass()
        move = self.one("SELECT boxhaul.move_begin(%s, 'elsewhere', '{public.orders}')", NAME)
        self.assertLessEqual({"capture_table", "capture_letter", "capture_verify", "move_source"}, self.left())
        self.assertIn(f"move {move} of capture {NAME} is under way", self.refused(errors.ObjectInUse, OPERATOR, "SELECT boxhaul.capture_drop(%s)", NAME))
        self.sql("SELECT boxhaul.move_end(%s, 'given_up')", move)
        self.ask(OPERATOR, "SELECT boxhaul.capture_drop(%s)", NAME)
        self.assertEqual(self.left(), {"capture_letter", "move_source"})
        self.assertEqual(self.one("SELECT count(*) FROM boxhaul.capture_verify_key"), 0)

    def test_a_pass_goes_with_its_table(self):
        """Taken out of the configuration, and put into it again: nobody goes on with it, and it proves nothing."""
        self.go_live()
        self.ask_for_a_pass()
        self.define(TABLES[1:])
        self.define()
        self.assertEqual(self.left(), {"capture_table"})
        self.ask_for_a_pass()

    def test_drop_leaves_letters_and_names_the_slots(self):
        self.go_live()
        self.mark(letters=[{"ordinal": 1, "reason": "too long"}], ordinal=1)
        self.assertEqual(self.ask(OPERATOR, "SELECT boxhaul.capture_drop(%s)", NAME), [(["boxhaul_shop_1"],)])
        self.assertEqual(self.sql("SELECT count(*) FROM boxhaul.capture_table"), [(0,)])
        letter, = self.sql("SELECT id FROM boxhaul.capture_letter")[0]
        self.assertEqual(self.ask(OPERATOR, "SELECT boxhaul.capture_discard(%s)", letter), [(True,)])
        self.assertEqual(self.ask(OPERATOR, "SELECT boxhaul.capture_discard(%s)", letter), [(False,)])


class Gaps(CaptureSqlTest):
    """What is recognised, and what ends it."""

    def check_gap(self, reason, confirmed=None):
        self.assertEqual(self.examine(confirmed)[:2], ("gap", reason))
        self.assertEqual(self.books("state, reason"), ("gap", reason))
        with self.assertRaises(errors.ObjectNotInPrerequisiteState):
            self.mark()
        self.lead()  # no new leader goes on either
        self.assertEqual(self.books("state, reason"), ("gap", reason))

    def test_gone(self):
        self.go_live()
        self.pg.execute("SELECT pg_drop_replication_slot('boxhaul_shop_1')")
        self.check_gap("gone")

    def test_another_kind_of_slot_under_the_name(self):
        lsn = self.go_live()
        self.pg.execute("SELECT pg_drop_replication_slot('boxhaul_shop_1')")
        self.pg.execute("SELECT pg_create_physical_replication_slot('boxhaul_shop_1')")
        self.check_gap("foreign", lsn)

    def test_a_slot_of_another_database(self):
        lsn = self.go_live()
        self.pg.execute("SELECT pg_drop_replication_slot('boxhaul_shop_1')")
        self.pg.execute("SELECT pg_create_logical_replication_slot('boxhaul_shop_1', 'pgoutput')")
        self.check_gap("foreign", lsn)

    def test_made_anew_under_the_same_name(self):
        lsn = self.go_live()
        self.pg.execute("SELECT pg_drop_replication_slot('boxhaul_shop_1')")
        self.sql("INSERT INTO orders (id) VALUES (1)")
        self.ask(READER, "SELECT pg_create_logical_replication_slot('boxhaul_shop_1', 'pgoutput')")
        self.assertEqual(self.examine()[0], "live", "nobody knows what a leader that just ended has confirmed")
        self.check_gap("foreign", lsn)

    def test_what_was_confirmed_is_no_gap(self):
        self.go_live()
        self.sql("INSERT INTO orders (id) VALUES (1)")
        end = self.one("SELECT pg_current_wal_insert_lsn()")
        self.ask(READER, "SELECT pg_replication_slot_advance('boxhaul_shop_1', %s)", end)
        self.assertEqual(self.examine(end)[0], "live")

    def test_another_system(self):
        self.go_live()
        self.sql("UPDATE boxhaul.capture SET system_id = system_id + 1")
        self.lead()
        self.assertEqual(self.books("state, reason"), ("gap", "system"))

    def test_an_older_history(self):
        self.go_live()
        self.sql("UPDATE boxhaul.capture SET timeline = timeline + 1")
        self.lead()
        self.assertEqual(self.books("state, reason"), ("gap", "timeline"))

    def test_a_promotion_is_told_and_is_no_gap(self):
        self.go_live()
        self.assertEqual(self.lead()[0], False)
        self.sql("UPDATE boxhaul.capture SET timeline = 0")
        self.assertEqual(self.lead()[0], True)
        self.assertEqual(self.lead()[0], False)
        self.assertEqual(self.books()[0], "live")

    def test_resync_ends_it(self):
        self.go_live()
        before = self.table("snapshot_id")
        self.mark(tables=[{"table": "public.orders", "state": "reading", "reading": 1, "cursor": hexed("7"), "rows": 7, "filenode": 3}],
                  repairs=[{"table": "public.orders", "reading": 2, "key": hexed("9")}])
        self.ask(READER, "SELECT boxhaul.capture_gap(%s, %s, 'truncated', 'the stream ends at 5')", NAME, self.epoch)
        self.assertIn("has a gap", self.refused(errors.ObjectNotInPrerequisiteState, OPERATOR,
                                                "SELECT boxhaul.capture_resync(%s, 'public.orders')", NAME))
        said = self.ask(OPERATOR, "SELECT boxhaul.capture_resync(%s)", NAME)[0][0]
        self.assertEqual(said, "a new replication slot boxhaul_shop_2; 2 tables are read again")
        self.assertEqual(self.books("state, reason, incarnation, slot, end_lsn, low_water"), ("creating", None, 2, "boxhaul_shop_2", None, None))
        self.assertEqual(self.table("state, reading, cursor, rows, filenode"), ("waiting", 0, None, 0, 0))
        self.assertNotEqual(self.table("snapshot_id"), before)
        self.assertEqual(self.table("state", "public.events"), ("complete",))
        self.assertEqual(self.sql("SELECT count(*) FROM boxhaul.capture_repair"), [(0,)])
        self.lead()
        self.assertTrue(self.examine()[7], "the old slot is not read any more")
        self.assertEqual(self.ask(READER, "SELECT boxhaul.capture_free(%s, %s, true)", NAME, self.epoch)[0][0], "dropped slot boxhaul_shop_1")
        self.assertTrue(self.make_slot()[1])
        self.assertFalse(self.examine()[7])

    def test_a_table_is_named_as_sql_does_or_as_a_shell_leaves_it(self):
        self.sql('CREATE TABLE "Old Orders" (id integer PRIMARY KEY)')
        self.go_live()
        self.define([*TABLES, {"table": 'public."Old Orders"', "snapshot": "keys"}])
        for said in ('public."Old Orders"', "public.Old Orders"):
            before = self.table("snapshot_id", 'public."Old Orders"')
            self.ask(OPERATOR, "SELECT boxhaul.capture_resync(%s, %s)", NAME, said)
            self.assertNotEqual(self.table("snapshot_id", 'public."Old Orders"'), before)
        self.assertIn("has no table public.OldOrders", self.refused(errors.NoDataFound, OPERATOR, "SELECT boxhaul.capture_resync(%s, 'public.OldOrders')", NAME))

    def test_one_table_is_read_again(self):
        self.go_live()
        other, before = self.table("snapshot_id", "public.parts"), self.table("snapshot_id")
        self.assertIn("has no table", self.refused(errors.NoDataFound, OPERATOR, "SELECT boxhaul.capture_resync(%s, 'public.x')", NAME))
        self.ask(OPERATOR, "SELECT boxhaul.capture_resync(%s, 'public.orders')", NAME)
        self.assertEqual(self.table("snapshot_id", "public.parts"), other)
        self.assertNotEqual(self.table("snapshot_id"), before)
        self.assertEqual(self.books("state, incarnation"), ("live", 1))

    def test_let_go(self):
        self.go_live()
        self.assertFalse(self.examine()[7])
        self.ask(READER, "SELECT boxhaul.capture_gap(%s, %s, 'let_go', 'too much')", NAME, self.epoch)
        self.assertTrue(self.examine()[7])
        self.ask(READER, "SELECT boxhaul.capture_free(%s, %s, true)", NAME, self.epoch)
        self.assertEqual(self.pg.execute("SELECT count(*) FROM pg_replication_slots"), [(0,)])

    def test_any_other_gap_keeps_the_slot(self):
        self.go_live()
        self.ask(READER, "SELECT boxhaul.capture_gap(%s, %s, 'truncated', '')", NAME, self.epoch)
        self.assertFalse(self.examine()[7])
        self.ask(READER, "SELECT boxhaul.capture_free(%s, %s, true)", NAME, self.epoch)
        self.assertEqual(self.pg.execute("SELECT count(*) FROM pg_replication_slots"), [(1,)])

    def test_a_stranger_who_uses_the_slot_is_named(self):
        """Our login is not enough: sessions of the daemon have a name, too."""
        self.go_live()
        stream = self.connect(READER, connection_factory=LogicalReplicationConnection, application_name="pg_recvlogical")
        with stream.cursor() as cursor:
            cursor.start_replication(slot_name="boxhaul_shop_1", options={"proto_version": "1", "publication_names": "boxhaul_shop"})
            wait_until(lambda: self.examine()[3], "the slot to be in use")
            with self.assertRaisesRegex(errors.ObjectInUse, rf"pid {self.examine()[3]} \(pg_recvlogical of {READER}, since .*pg_terminate_backend"):
                self.ask(READER, "SELECT boxhaul.capture_free(%s, %s, true)", NAME, self.epoch)
            self.assertIsNotNone(self.examine()[3])

    def test_who_uses_the_slot_is_ended(self):
        self.go_live()
        stream = self.connect(READER, connection_factory=LogicalReplicationConnection, application_name=f"boxhaul-{NAME}")
        with stream.cursor() as cursor:
            cursor.start_replication(slot_name="boxhaul_shop_1", options={"proto_version": "1", "publication_names": "boxhaul_shop"})
            wait_until(lambda: self.examine()[3], "the slot to be in use")
            said = self.ask(READER, "SELECT boxhaul.capture_free(%s, %s, false)", NAME, self.epoch)[0][0]
            self.assertIn("which used slot boxhaul_shop_1", said)
            wait_until(lambda: self.examine()[3] is None, "the slot to be free")

    def test_who_is_named_by_the_connection_string_is_ended(self):
        """application_name in it goes before ours: all sessions of the daemon have that one."""
        self.go_live()
        stream = self.connect(READER, connection_factory=LogicalReplicationConnection, application_name="the shop's")
        asks = self.connect(READER, application_name="the shop's")
        with stream.cursor() as cursor, asks.cursor() as ours:
            cursor.start_replication(slot_name="boxhaul_shop_1", options={"proto_version": "1", "publication_names": "boxhaul_shop"})
            wait_until(lambda: self.examine()[3], "the slot to be in use")
            ours.execute("SELECT boxhaul.capture_free(%s, %s, false)", (NAME, self.epoch))
            self.assertIn("which used slot boxhaul_shop_1", ours.fetchone()[0])
            wait_until(lambda: self.examine()[3] is None, "the slot to be free")


class Marks(CaptureSqlTest):
    def test_a_position(self):
        self.go_live()
        self.mark(end_lsn="0/FFFFFFFF", commit_time=849253375684112, ordinal=42, low_water=17)
        self.assertEqual(self.books("end_lsn, commit_time, ordinal, low_water"), ("0/FFFFFFFF", 849253375684112, 42, 17))
        committed = datetime.datetime(2000, 1, 1) + datetime.timedelta(microseconds=849253375684112)
        self.assertEqual(self.sql("SELECT committed_at AT TIME ZONE 'UTC' FROM boxhaul.capture_status"), [(committed,)])

    def test_what_guards_it(self):
        self.go_live()
        self.mark(end_lsn="0/F0000000", ordinal=42)
        for wrong in ({"epoch": self.epoch - 1}, {"incarnation": 2}, {"from": 41}, {"end_lsn": "0/E0000000"}, {"ordinal": 41}):
            with self.subTest(wrong), self.assertRaises(errors.ObjectNotInPrerequisiteState):
                self.mark(**{"letters": [{"ordinal": 1, "reason": "x"}], **wrong})
        self.assertEqual(self.books("end_lsn, ordinal"), ("0/F0000000", 42))
        self.assertEqual(self.sql("SELECT count(*) FROM boxhaul.capture_letter"), [(0,)])

    def test_all_of_it_or_nothing(self):
        self.go_live()
        with self.assertRaises(psycopg2.Error):
            self.mark(ordinal=42, letters=[{"ordinal": 1}])  # a letter without a reason
        self.assertEqual(self.books("ordinal"), (0,))

    def test_a_position_alone_is_one_hot_update(self):
        self.go_live()
        connection = self.connect(READER)
        with connection.cursor() as cursor:
            for number in range(100):
                cursor.execute("SELECT boxhaul.capture_mark(%s, %s, %s)", (NAME, self.epoch, json.dumps(
                    {"incarnation": 1, "from": number, "end_lsn": f"1/{number:X}", "commit_time": number, "ordinal": number + 1})))
        connection.close()
        counts = "SELECT n_tup_upd, n_tup_upd - n_tup_hot_upd FROM pg_stat_user_tables WHERE relid = 'boxhaul.capture'::regclass"
        wait_until(lambda: self.sql(counts)[0][0] >= 100, "the statistics")
        self.assertLess(self.sql(counts)[0][1], 5)

    def test_cursors(self):
        self.go_live()
        self.mark(tables=[{"table": "public.parts", "state": "reading", "reading": 1, "cursor": hexed("eu", "7"), "rows": 3, "filenode": -5}])
        self.assertEqual(self.table("state, reading, cursor, rows, filenode", "public.parts"), ("reading", 1, ["eu", "7"], 3, -5))
        self.mark(tables=[{"table": "public.parts", "rows": 4}])
        self.assertEqual(self.table("cursor, rows", "public.parts"), (["eu", "7"], 4))
        self.mark(tables=[{"table": "public.parts", "reading": 2, "cursor": None}])
        self.assertEqual(self.table("cursor, reading", "public.parts"), (None, 2))
        self.mark(tables=[{"table": "public.gone", "rows": 4}])

    def test_a_table_that_stands_in_it_several_times(self):
        """What is said last holds; of UPDATE ... FROM any of them would."""
        self.go_live()
        for _ in range(5):
            self.mark(tables=[{"table": "public.orders", "state": "reading", "reading": 1, "cursor": hexed(str(n)), "rows": n} for n in range(1, 6)]
                      + [{"table": "public.orders", "state": "complete"}])
            self.assertEqual(self.table("state, cursor, rows"), ("complete", ["5"], 5))
            self.mark(tables=[{"table": "public.orders", "state": "waiting", "cursor": None, "rows": 0}])

    def test_what_consumers_were_told(self):
        self.go_live()
        columns = [{"name": "id", "type": 20, "typmod": -1}]
        self.mark(told=[{"table": "public.orders", "columns": columns}], tables=[{"table": "public.orders", "rows": 1}])
        self.assertEqual(self.table("columns, rows"), (columns, 1))
        self.mark(tables=[{"table": "public.orders", "rows": 2}])
        self.assertEqual(self.table("columns"), (columns,))

    def test_repairs(self):
        self.go_live()
        repair = {"table": "public.parts", "reading": 2, "key": hexed("eu", "k, 9")}
        self.mark(repairs=[repair, {**repair, "reading": 3}])
        # Whoever leads next gives higher numbers, though no mark has said anything of the table itself.
        self.assertEqual(self.sql("SELECT readings FROM boxhaul.capture_table WHERE capture = 'shop' AND tab = 'public.parts'"), [(3,)])
        self.mark(repairs=[repair])
        self.assertEqual(self.sql("SELECT reading, key FROM boxhaul.capture_repair ORDER BY reading"), [(2, ["eu", "k, 9"]), (3, ["eu", "k, 9"])])
        self.mark(tables=[{"table": "public.parts", "repair_first": 3}])
        self.assertEqual(self.sql("SELECT reading FROM boxhaul.capture_repair"), [(3,)])
        self.mark(tables=[{"table": "public.parts", "repair_first": 4}])
        self.assertEqual(self.sql("SELECT count(*) FROM boxhaul.capture_repair"), [(0,)])

    def test_dead_letters(self):
        self.go_live()
        one = str(uuid.uuid4())
        self.mark(payloads=[b"\x00\xff", b""], letters=[
            {"ordinal": 7, "message_id": one, "subject": "a b", "headers": {"x": "y"}, "reason": "a space", "attempts": 3,
             "position": "0/1.2.3", "tab": "public.orders", "key": "42"}, {"ordinal": 8, "reason": "too long"}])
        self.assertEqual(self.sql("SELECT capture, ordinal, message_id::text, subject, payload, headers, reason, attempts, position, tab, key "
                                  "FROM boxhaul.capture_letter ORDER BY id")[0][:4], (NAME, 7, one, "a b"))
        self.assertEqual([bytes(p) for (p,) in self.sql("SELECT payload FROM boxhaul.capture_letter ORDER BY id")], [b"\x00\xff", b""])
        self.assertEqual(self.ask(MONITOR, "SELECT ordinal, reason FROM boxhaul.capture_letters(by_reason => 'LONG')"), [(8, "too long")])

    def test_what_waits_is_given_up_once_its_transaction_is_marked(self):
        """Before, the next leader reads it again: the letter would be sent, too."""
        self.go_live()
        self.sql("INSERT INTO boxhaul.capture_carried (capture, ordinal, lane, payload, headers, bytes, wire_bytes) "
                 "SELECT %s, n, 1, '', '', 10, 10 FROM generate_series(41, 43) n", NAME)
        self.mark(ordinal=42)
        give_up = "SELECT boxhaul.capture_give_up(%s, %s)"
        self.assertIn("not settled as a whole", self.refused(errors.ObjectNotInPrerequisiteState, OPERATOR, give_up, NAME, 43))
        self.mark(ordinal=43)
        self.assertEqual([self.ask(OPERATOR, give_up, NAME, n)[0][0] for n in (43, 43, 44)], [True, False, False])
        self.assertEqual(self.sql("SELECT ordinal FROM boxhaul.capture_letter"), [(43,)])


    def test_what_is_held(self):
        """It and what stands behind it were never sent, until somebody decides."""
        self.go_live()
        carried = [{"ordinal": n, "lane": 7, "low_water": -1, "bytes": 10, "wire_bytes": 10, "tab": "public.orders", "why": "w" if n == 41 else None}
                   for n in (41, 42, 43)]
        self.mark(ordinal=42, low_water=5, carried=carried, payloads=[b"p", b"", None] * 3,
                  held=[{"ordinal": n, "reason": "too large", "attempts": 2} for n in (41, 43)])
        letters = "SELECT ordinal, reason, payload, held FROM boxhaul.capture_letter ORDER BY id"
        self.assertEqual([(n, why, bytes(p), held) for n, why, p, held in self.sql(letters)],
                         [(41, "too large: w", b"p", True), (43, "too large", b"p", True)])
        self.assertEqual(self.sql("SELECT held, carried FROM boxhaul.capture_status"), [(2, 3)])
        ids = {n: i for n, i in self.sql("SELECT ordinal, id FROM boxhaul.capture_letter")}
        discard, redrive = "SELECT boxhaul.capture_discard(%s)", "SELECT boxhaul.capture_redrive(%s)"
        self.assertIn("not settled as a whole", self.refused(errors.ObjectNotInPrerequisiteState, OPERATOR, discard, ids[43]))
        self.assertEqual(self.ask(OPERATOR, redrive, ids[41]), [(True,)])
        self.assertEqual(self.ask(OPERATOR, redrive, ids[41]), [(False,)])
        self.assertEqual(self.sql("SELECT ordinal, held, low_water FROM boxhaul.capture_carried ORDER BY ordinal"),
                         [(41, False, 5), (42, False, 5), (43, True, 5)])
        # What is not marked comes again: without the letter.
        self.sql("SELECT boxhaul.capture_lead(%s, 'next')", NAME)
        self.assertEqual(self.sql("SELECT ordinal FROM boxhaul.capture_carried ORDER BY ordinal"), [(41,), (42,)])
        self.assertEqual(self.sql(letters), [])


class Barrier(CaptureSqlTest):
    def setUp(self):
        super().setUp()
        self.define()

    def draw(self):
        return self.ask(READER, "SELECT pg_current_xact_id()::text")[0][0]

    def horizon(self, fence):
        passed, pids, prepared = self.ask(READER, "SELECT horizon >= %s::xid8, pids, prepared FROM boxhaul.capture_horizon(%s, %s::xid8)",
                                          fence, NAME, fence)[0]
        return passed, pids, prepared

    def begin(self, sql):
        """A transaction that stays open. Returns its session and process."""
        connection = self.connect(autocommit=False)
        with connection.cursor() as cursor:
            cursor.execute(sql)
            cursor.execute("SELECT pg_backend_pid()")
            return connection, cursor.fetchone()[0]

    def test_nobody(self):
        fence = self.draw()
        self.assertEqual(self.horizon(fence), (True, None, None))

    def test_a_writer_of_a_plain_table(self):
        connection, pid = self.begin("INSERT INTO orders (id) VALUES (1)")
        fence = self.draw()
        self.assertEqual(self.horizon(fence), (False, [pid], None))
        who = self.ask(READER, "SELECT boxhaul.capture_who(%s, NULL)", [pid])[0][0]
        self.assertRegex(who, rf"pid {pid} \(.*in a transaction for \d+ s\)")
        connection.commit()
        self.assertEqual(self.horizon(fence), (True, None, None))

    def test_a_writer_of_a_partition(self):
        connection, pid = self.begin("INSERT INTO parts_eu VALUES ('eu', 1)")
        fence = self.draw()
        self.assertEqual(self.horizon(fence), (False, [pid], None))
        connection.rollback()
        self.assertTrue(self.horizon(fence)[0])

    def test_a_writer_of_another_table(self):
        """On 13 what it writes to a table that was added is not decoded, so it is waited for."""
        _connection, pid = self.begin("INSERT INTO elsewhere VALUES (1)")
        fence = self.draw()
        self.assertEqual(self.horizon(fence), (True, None, None) if self.version >= 140000 else (False, [pid], None))

    def test_a_writer_that_began_after_the_fence(self):
        self.begin("INSERT INTO elsewhere VALUES (1)")  # the snapshot's xmin is below the fence
        fence = self.draw()
        self.begin("INSERT INTO orders (id) VALUES (1)")
        if self.version >= 140000:
            self.assertEqual(self.horizon(fence), (True, None, None))

    def test_a_subtransaction(self):
        connection, pid = self.begin("INSERT INTO elsewhere VALUES (1); SAVEPOINT s")
        fence = self.draw()
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO orders (id) VALUES (1)")
        self.assertEqual(self.horizon(fence)[:2], (False, [pid]))

    def test_a_prepared_transaction(self):
        connection, _pid = self.begin("INSERT INTO orders (id) VALUES (1)")
        with connection.cursor() as cursor:
            cursor.execute("PREPARE TRANSACTION 'shop'")
        connection.rollback()
        fence = self.draw()
        self.assertEqual(self.horizon(fence), (False, None, ["shop"]))
        self.assertEqual(self.ask(READER, "SELECT boxhaul.capture_who(NULL, '{shop}')"), [("the prepared transaction shop",)])
        self.sql("COMMIT PREPARED 'shop'")
        self.assertTrue(self.horizon(fence)[0])

    def test_whom_a_slot_waits_for(self):
        connection, pid = self.begin("INSERT INTO elsewhere VALUES (1)")
        maker = self.connect(READER)
        with maker.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            making = cursor.fetchone()[0]

            def make():
                cursor.execute("SELECT pg_create_logical_replication_slot('boxhaul_shop_1', 'pgoutput')")
            thread = threading.Thread(target=make)
            thread.start()
            try:
                wait_until(lambda: f"pid {pid} (" in (self.ask(READER, "SELECT boxhaul.capture_waits(%s)", making)[0][0] or ""), "the wait to show")
            finally:
                connection.rollback()
                thread.join()
        self.assertEqual(self.ask(READER, "SELECT boxhaul.capture_waits(%s)", making), [(None,)])


class Shapes(CaptureSqlTest):
    def shape(self, tab, columns, user=READER):
        return self.ask(user, f"SELECT {columns} FROM boxhaul.capture_shape(%s, %s)", NAME, tab)[0]

    def test_columns_that_the_log_has(self):
        columns, types, key, published = self.shape("public.orders", "columns, types, key, published")
        self.assertEqual((columns, types, key, published), (["id", "note", "doc", "total"], ["bigint", "text", "text", "numeric(10,2)"], ["id"], True))
        self.assertEqual(self.shape("public.parts", "kind, key, key_types, why"), ("p", ["region", "id"], ["text", "integer"], None))

    def test_a_list_of_columns_and_a_filter(self):
        if self.version < 150000:
            self.skipTest("PostgreSQL 15 has them")
        self.sql("ALTER PUBLICATION boxhaul_shop SET TABLE orders (id, note) WHERE (id > 3), parts")
        columns, filter_ = self.shape("public.orders", "columns, filter")
        self.assertEqual((columns, filter_), (["id", "note"], "(id > 3)"))
        self.sql("ALTER PUBLICATION boxhaul_shop SET TABLE orders (note), parts")
        self.assertEqual(self.shape("public.orders", "columns, key"), (["note"], None), "a key that is not sent is none")

    def test_a_table_that_is_locked_holds_up_no_question_about_what_is_published(self):
        """Nor about another table: the view of published tables opens all of them, from 16 on."""
        self.go_live()
        with self.connect(autocommit=False).cursor() as cursor:
            cursor.execute("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
        for user in (READER, OPERATOR, MONITOR):
            self.assertEqual(self.ask(user, "SET lock_timeout = '1s'; SELECT * FROM boxhaul.capture_differs(%s)", NAME), [])
        self.assertEqual(self.shape("public.parts", "published, why"), (True, None))
        self.assertIsNone(self.ask(OPERATOR, "SELECT boxhaul.capture_look(%s) #> '{0,differs}'", NAME)[0][0])

    def test_what_a_publication_sends_as_its_own(self):
        """By name, with all tables, with those of a schema; but of a root and its partitions the root alone. A list of columns may name generated ones from 18 on, or they come with all."""
        self.sql("CREATE PUBLICATION boxhaul_wide FOR ALL TABLES WITH (publish_via_partition_root)")
        self.addCleanup(self.sql, "DROP PUBLICATION boxhaul_wide")

        def sent():
            return self.sql("SELECT t FROM unnest(ARRAY['orders', 'parts', 'parts_eu', 'elsewhere']) t WHERE boxhaul.capture_publishes('boxhaul_wide', t::regclass) ORDER BY 1")
        theirs = "SELECT tablename::text FROM pg_publication_tables WHERE pubname = 'boxhaul_wide' AND tablename IN ('orders', 'parts', 'parts_eu', 'elsewhere') ORDER BY 1"
        self.assertEqual(sent(), self.sql(theirs))
        makes = ["CREATE PUBLICATION boxhaul_wide FOR TABLE orders, parts, parts_eu WITH (publish_via_partition_root)"]
        if self.version >= 150000:
            makes.append("CREATE PUBLICATION boxhaul_wide FOR TABLES IN SCHEMA public WITH (publish_via_partition_root)")
        for make in makes:
            self.sql("DROP PUBLICATION boxhaul_wide")
            self.sql(make)
            self.assertEqual(sent(), self.sql(theirs), make)
        if self.version >= 180000:
            self.sql("CREATE TABLE made (id integer PRIMARY KEY, twice integer GENERATED ALWAYS AS (id * 2) STORED)")
            for made, columns in (("ADD TABLE made", ["id"]), ("SET TABLE made (id, twice)", ["id", "twice"]), ("SET TABLE made (id)", ["id"]),
                                  ("SET (publish_generated_columns = stored)", ["id"]), ("SET TABLE made", ["id", "twice"])):
                self.sql(f"ALTER PUBLICATION boxhaul_shop {made}")
                self.assertEqual(self.shape("public.made", "columns"), (columns,), made)

    def test_keys(self):
        self.sql("""CREATE TABLE k (a integer NOT NULL, b integer NOT NULL, c integer);
                    CREATE UNIQUE INDEX k_partial ON k (a) WHERE b > 0; CREATE UNIQUE INDEX k_null ON k (c); CREATE UNIQUE INDEX k_expr ON k ((a + 1));
                    CREATE UNIQUE INDEX k_good ON k (b, a)""")
        self.assertEqual(self.shape("public.k", "key"), (None,))
        self.sql("ALTER TABLE k REPLICA IDENTITY USING INDEX k_good")
        self.assertEqual(self.shape("public.k", "key"), (["b", "a"],))
        self.sql("ALTER TABLE k ADD PRIMARY KEY (a)")
        self.assertEqual(self.shape("public.k", "key"), (["b", "a"],), "old keys in the log are those of the identity")
        self.sql("ALTER TABLE k REPLICA IDENTITY FULL")
        self.assertEqual(self.shape("public.k", "key"), (["a"],))

    def test_why_rows_cannot_be_read(self):
        self.assertEqual(self.shape("public.nothing", "why"), ("there is no such table",))
        self.assertEqual(self.shape("public.elsewhere", "why"), ("it is in no publication of the capture",))
        self.sql("REVOKE SELECT ON orders FROM boxhaul_capture")
        self.assertIn("GRANT SELECT ON public.orders TO boxhaul_capture", self.shape("public.orders", "why")[0])
        self.sql("GRANT SELECT (id, note, doc, total) ON orders TO boxhaul_capture")
        self.assertEqual(self.shape("public.orders", "why"), (None,))
        self.sql("ALTER TABLE orders ENABLE ROW LEVEL SECURITY")
        self.assertIn("BYPASSRLS", self.shape("public.orders", "why")[0])

    def test_types(self):
        self.sql("""CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE DOMAIN positive AS integer CHECK (VALUE > 0); CREATE DOMAIN more AS positive;
                    CREATE DOMAIN moods AS mood[]""")
        for name, wanted in (("int4", (0, 0)), ("int4[]", (0, 0)), ("positive", (23, 0)), ("more", (23, 0)), ("more[]", (0, 23)),
                             ("mood", (0, 0))):
            self.assertEqual(self.sql("SELECT base, element FROM boxhaul.capture_type(%s::regtype)", name), [wanted], name)
        mood, array = self.sql("SELECT 'mood'::regtype::oid::bigint, 'mood[]'::regtype::oid::bigint")[0]
        self.assertEqual(self.sql("SELECT base, element FROM boxhaul.capture_type('mood[]'::regtype)"), [(0, mood)])
        self.assertEqual(self.sql("SELECT base, element FROM boxhaul.capture_type('moods'::regtype)"), [(array, mood)])

    def filenode(self, tab):
        return self.ask(READER, "SELECT boxhaul.capture_filenode(boxhaul.capture_relation(%s))", tab)[0][0]

    def test_files_of_a_plain_table(self):
        before = self.filenode("public.orders")
        self.assertNotEqual(before, 0)
        self.assertEqual(self.filenode("public.orders"), before)
        self.sql("VACUUM FULL orders")
        self.assertNotEqual(self.filenode("public.orders"), before)

    def test_files_of_partitions(self):
        before = self.filenode("public.parts")
        self.sql("CREATE TABLE parts_us PARTITION OF parts FOR VALUES IN ('us')")
        between = self.filenode("public.parts")
        self.assertNotEqual(between, before)
        self.sql("ALTER TABLE parts_eu ALTER COLUMN note TYPE varchar(9)" if self.version < 130000 else "TRUNCATE parts_eu")
        self.assertNotEqual(self.filenode("public.parts"), between)

    def test_a_complete_table_with_other_files_is_unproved(self):
        self.go_live()

        def watch():
            return self.ask(READER, "SELECT boxhaul.capture_watch(%s, %s)", NAME, self.epoch)[0][0]
        self.mark(tables=[{"table": t, "state": "complete", "filenode": self.filenode(t)} for t in ("public.orders", "public.parts")])
        self.assertEqual(watch(), [])
        self.sql("ALTER TABLE orders ALTER COLUMN note TYPE integer USING length(note)")
        self.assertEqual(watch(), ["public.orders"])
        self.assertEqual(self.table("state"), ("unproved",))
        self.assertEqual(watch(), [])


class Emit(CaptureSqlTest):
    BAD = [("subject", "a b", "{}", None, None), ("subject", "$SYS.x", "{}", None, None), ("subject", "a..b", "{}", None, None),
           ("headers", "a", "{}", None, {"Nats-X": "1"}), ("headers", "a", "{}", None, {"x": 1}), ("size", "a", "x" * 1_100_000, None, None)]

    def setUp(self):
        super().setUp()
        self.go_live()

    def messages(self):
        """Prefix and content of the messages that come out of the slot."""
        found = []
        for (data,) in self.sql("""SELECT data FROM pg_logical_slot_get_binary_changes('boxhaul_shop_1', NULL, NULL, 'proto_version', '1',
                                   'publication_names', 'boxhaul_shop', 'messages', 'true')"""):
            data = bytes(data)
            if data[:1] == b"M":
                prefix, rest = data[10:].split(b"\0", 1)
                found.append((data[1], prefix.decode(), rest[4:4 + struct.unpack(">I", rest[:4])[0]]))
        return found

    def emit(self, subject, payload, key=None, headers=None):
        return self.ask(WRITER, "SELECT boxhaul.emit(%s, %s::bytea, %s, %s)", subject, psycopg2.Binary(payload), key,
                        json.dumps(headers) if headers is not None else None)

    @staticmethod
    def content(subject, key, headers, payload):
        return (b"\x01" + struct.pack(">iii", len(subject), -1 if key is None else len(key), -1 if headers is None else len(headers))
                + subject + (key or b"") + (headers or b"") + payload)

    def test_what_it_writes(self):
        if self.version < 140000:
            self.assertIn("needs PostgreSQL 14", self.refused(errors.FeatureNotSupported, WRITER, "SELECT boxhaul.emit('a', 'b'::text)"))
            return
        self.emit("orders.paid", b"\x00body\xff", "k\u00e4se", {"a": "b"})
        self.emit("orders.paid", b"", "")
        self.emit("orders.paid", b"x", headers=None)
        self.assertEqual(self.messages(), [
            (1, "boxhaul", self.content(b"orders.paid", "k\u00e4se".encode(), b'{"a": "b"}', b"\x00body\xff")),
            (1, "boxhaul", self.content(b"orders.paid", b"", None, b"")),
            (1, "boxhaul", self.content(b"orders.paid", None, None, b"x"))])

    def test_every_kind_of_payload(self):
        if self.version < 140000:
            self.skipTest("PostgreSQL 14 has it")
        self.ask(WRITER, """SELECT boxhaul.emit('a', 'text'::text), boxhaul.emit('a', '{"b": 1}'::jsonb, 'k', '{"h": "v"}'),
                                   boxhaul.emit('a', '{ "c" :2}'::json, headers => '{"h":"v"}'::json), boxhaul.emit('a', 'x'::bytea, headers => 'null')""")
        self.assertEqual([content for _, _, content in self.messages()],
                         [self.content(b"a", None, None, b"text"), self.content(b"a", b"k", b'{"h": "v"}', b'{"b": 1}'),
                          self.content(b"a", None, b'{"h": "v"}', b'{ "c" :2}'), self.content(b"a", None, None, b"x")])

    def test_what_is_rolled_back_is_not_sent(self):
        if self.version < 140000:
            self.skipTest("PostgreSQL 14 has it")
        connection = self.connect(WRITER, autocommit=False)
        with connection.cursor() as cursor:
            cursor.execute("SELECT boxhaul.emit('a', 'gone'::text)")
            connection.rollback()
            cursor.execute("SELECT boxhaul.emit('a', 'kept'::text)")
            connection.commit()
        self.assertEqual([content[-4:] for _, _, content in self.messages()], [b"kept"])

    def test_it_refuses_what_the_outbox_refuses(self):
        if self.version < 140000:
            self.skipTest("PostgreSQL 14 has it")
        for constraint, subject, payload, key, headers in self.BAD:
            with self.subTest(constraint, subject=subject), self.assertRaises(errors.CheckViolation) as of_emit:
                self.emit(subject, payload.encode(), key, headers)
            with self.assertRaises(errors.CheckViolation) as of_outbox:
                self.ask(WRITER, "INSERT INTO boxhaul.outbox (subject, key, payload, headers) VALUES (%s, %s, %s, %s)", subject, key,
                         psycopg2.Binary(payload.encode()), json.dumps(headers) if headers is not None else None)
            self.assertEqual(of_emit.exception.diag.constraint_name, "outbox_" + constraint)
            self.assertEqual(of_outbox.exception.diag.constraint_name, "outbox_" + constraint)
        self.assertEqual(self.messages(), [])

    def test_nobody_would_take_it(self):
        if self.version < 140000:
            self.skipTest("PostgreSQL 14 has it")
        self.ask(OPERATOR, "SELECT boxhaul.capture_drop(%s)", NAME)
        self.assertIn("no capture was started", self.refused(errors.ObjectNotInPrerequisiteState, WRITER, "SELECT boxhaul.emit('a', 'b'::text)"))


class Triggers(CaptureSqlTest):
    """Outbox tables of others, copied by a trigger. The tables are written to by somebody without any right in the schema boxhaul."""

    def attach(self, tab, ddl, **mapping):
        self.sql(f"{ddl}; GRANT ALL ON {tab} TO {LEGACY}")
        return self.one("SELECT boxhaul.outbox_attach(%s, %s)", tab, json.dumps(mapping))

    def insert(self, tab, *rows, **options):
        connection = self.connect(LEGACY, **options)
        with connection.cursor() as cursor:
            for row in rows:
                names = ", ".join(f'"{name}"' for name in row)
                cursor.execute(f"INSERT INTO {tab} ({names}) VALUES ({', '.join(['%s'] * len(row))})", list(row.values()))
        return connection

    def sent(self, columns="subject, key, payload, headers"):
        return [tuple(bytes(v) if isinstance(v, memoryview) else v for v in row)
                for row in self.sql(f"SELECT {columns} FROM boxhaul.outbox ORDER BY id")]

    def dead(self, columns="reason"):
        return self.sql(f"SELECT {columns} FROM boxhaul.dead_letter ORDER BY id")

    def test_debezium(self):
        self.attach("public.outbox", "CREATE TABLE outbox (id uuid PRIMARY KEY, aggregatetype text, aggregateid text, type text, payload jsonb)",
                    preset="debezium")
        one = str(uuid.uuid4())
        self.insert("public.outbox", {"id": one, "aggregatetype": "order", "aggregateid": "42", "type": "OrderPaid", "payload": '{"a": 1}'})
        self.assertEqual(self.sent("message_id::text, subject, key, payload, headers"),
                         [(one, "outbox.event.order", "42", b'{"a": 1}', {"type": "OrderPaid"})])

    def test_a_subject_of_columns(self):
        self.attach("public.outbox", "CREATE TABLE outbox (id uuid PRIMARY KEY, aggregatetype text, aggregateid text, type text, payload jsonb)",
                    preset="debezium", subject="orders.{aggregatetype}.{type}")
        for aggregate, type_ in (("order", "paid"), ("a.b c", "50%*>"), ("k\u00e4se", "x")):
            self.insert("public.outbox", {"id": str(uuid.uuid4()), "aggregatetype": aggregate, "type": type_, "payload": "1"})
        self.assertEqual([subject for (subject,) in self.sent("subject")],
                         ["orders.order.paid", "orders.a%2Eb%20c.50%25%2A%3E", "orders.k%C3%A4se.x"])

    def test_pg_transactional_outbox(self):
        self.attach("public.o", """CREATE TABLE o (id uuid PRIMARY KEY, aggregate_type text, aggregate_id text, message_type text, segment text,
                                   concurrency text NOT NULL DEFAULT 'sequential', payload jsonb, metadata jsonb)""", preset="pg-transactional-outbox")
        row = {"aggregate_type": "movie", "aggregate_id": "7", "message_type": "created", "payload": "{}", "metadata": '{"m": 1}'}
        for extra in ({}, {"segment": "s"}, {"segment": "s", "concurrency": "parallel"}):
            self.insert("public.o", {"id": str(uuid.uuid4()), **row, **extra})
        self.assertEqual(self.sent("subject, key"), [("outbox.movie.created", key) for key in ("7", "s", None)])
        self.assertEqual(self.sent("headers")[0][0], {"aggregate_id": "7", "aggregate_type": "movie", "message_type": "created", "metadata": '{"m": 1}'})

    def test_go_outbox(self):
        self.attach("public.o", "CREATE TABLE o (id uuid PRIMARY KEY, topic text, payload bytea, headers jsonb, target jsonb)", preset="go-outbox")
        self.insert("public.o", {"id": str(uuid.uuid4()), "topic": "a.b", "payload": b"\x00\x01", "headers": '{"h": "v", "n": 5, "none": null}',
                                 "target": '{"key": "k"}'})
        self.assertEqual(self.sent(), [("outbox.a.b", "k", b"\x00\x01", {"h": "v", "n": "5"})])

    def test_watermill(self):
        self.attach('public."watermill_orders"', """CREATE TABLE "watermill_orders" ("offset" bigserial, uuid varchar(36), payload json, metadata json)
                                                    ; GRANT ALL ON SEQUENCE watermill_orders_offset_seq TO legacy""", preset="watermill")
        one = str(uuid.uuid4())
        self.insert('public."watermill_orders"', {"uuid": one, "payload": '{ "a" :1}', "metadata": '{"m": "1"}'}, {"uuid": "no uuid", "payload": "1"})
        self.assertEqual(self.sent("subject, payload, headers"), [("outbox.watermill_orders", b'{ "a" :1}', {"m": "1"}),
                                                                  ("outbox.watermill_orders", b"1", None)])
        self.assertEqual(self.sent("message_id::text")[0][0], one)

    def test_masstransit(self):
        for tab, names in (('public."OutboxMessage"', ("MessageId", "CorrelationId", "MessageType", "Body", "ContentType")),
                           ("public.outbox_message", ("message_id", "correlation_id", "message_type", "body", "content_type"))):
            columns = ", ".join(f'"{name}" {"uuid" if name.lower().endswith("id") else "text"}' for name in names)
            self.attach(tab, f"CREATE TABLE {tab} ({columns})", preset="masstransit")
            one, two = str(uuid.uuid4()), str(uuid.uuid4())
            self.insert(tab, dict(zip(names, (one, two, "urn:message:Shop.Contracts:OrderPaid;urn:message:x", "{}", "application/json"))))
            self.assertEqual(self.sent("message_id::text, subject, key, headers")[-1],
                             (one, "outbox.Shop.Contracts.OrderPaid", two, {"Content-Type": "application/json"}))

    def test_no_preset(self):
        self.attach("public.mine", "CREATE TABLE mine (n serial, body text, who integer, extra text); GRANT ALL ON SEQUENCE mine_n_seq TO legacy",
                    subject="mine.{who}", payload="body", key="who", header_columns=["extra"])
        self.insert("public.mine", {"body": "one", "who": 7, "extra": "e"}, {"body": "two", "who": 7})
        self.assertEqual(self.sent(), [("mine.7", "7", b"one", {"extra": "e"}), ("mine.7", "7", b"two", {})])

    def test_what_cannot_be_sent_is_a_dead_letter_and_the_statement_succeeds(self):
        self.attach("public.o", "CREATE TABLE o (id uuid, topic text, payload bytea, headers text, target jsonb)", preset="go-outbox")
        good = {"id": str(uuid.uuid4()), "topic": "a", "payload": b"x"}
        for bad in ({"topic": "a b"}, {"topic": None}, {"payload": None}, {"headers": "no json"}, {"headers": "[1]"}, {"headers": '{"Nats-X": "1"}'},
                    {"payload": b"x" * 1_100_000}, {"target": '{"key": "%s"}' % ("\u00e4" * 30000)}):
            self.insert("public.o", {**good, **bad})
        self.insert("public.o", good)
        self.assertEqual(self.sent("subject, payload"), [("outbox.a", b"x")])
        reasons = [reason for (reason,) in self.dead()]
        self.assertEqual([reason.split(":")[0] for reason in reasons], ["subject", "subject", "payload", "invalid input syntax for type json", "headers",
                                                                        "headers", "size", "key"], reasons)
        self.assertEqual(set(self.dead("message_id::text, held, attempts")), {(good["id"], False, 0)})
        self.assertEqual(self.sql("SELECT count(*) FROM o"), [(9,)])

    def test_a_letter_has_an_id_of_its_own(self):
        self.attach("public.o", "CREATE TABLE o (id uuid, topic text, payload bytea, headers text, target jsonb)", preset="go-outbox")
        for topic in ("a", "a b", "c"):
            self.insert("public.o", {"topic": topic, "payload": b"x"})
        self.assertEqual([i for (i,) in self.sent("id")] + [i for (i,) in self.dead("id")], [1, 3, 2])

    def test_a_column_that_went(self):
        self.attach("public.o", "CREATE TABLE o (id uuid, topic text, payload bytea, headers jsonb, target jsonb)", preset="go-outbox")
        self.sql("ALTER TABLE o DROP COLUMN topic")
        self.insert("public.o", {"payload": b"x"})
        self.assertIn("topic", self.dead()[0][0])

    def test_rolled_back_with_the_row(self):
        self.attach("public.o", "CREATE TABLE o (id uuid, topic text, payload bytea, headers jsonb, target jsonb)", preset="go-outbox")
        self.insert("public.o", {"topic": "a", "payload": b"x"}, {"topic": "a b", "payload": b"x"}, autocommit=False).rollback()
        self.assertEqual((self.sent(), self.dead()), ([], []))

    def test_a_row_costs_no_transaction_of_its_own(self):
        """65 subtransactions of one transaction make every snapshot of the server slow."""
        self.attach("public.o", "CREATE TABLE o (id uuid, topic text, payload bytea, headers jsonb, target jsonb)", preset="go-outbox")
        connection = self.connect(LEGACY, autocommit=False)
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO o (topic, payload) SELECT 'a', 'x' FROM generate_series(1, 100)")
        connection.commit()
        self.assertEqual(self.one("SELECT count(DISTINCT xmin::text) FROM boxhaul.outbox"), 1)

    def test_rows_in_their_order(self):
        self.attach("public.mine", "CREATE TABLE mine (n integer, body text)", subject="mine", payload="body")
        self.sql("INSERT INTO mine SELECT g, g FROM generate_series(1, 500) g")
        self.assertEqual([int(p) for (p,) in self.sent("payload")], list(range(1, 501)))

    def test_a_session_that_is_a_replica(self):
        self.attach("public.mine", "CREATE TABLE mine (body text)", subject="mine", payload="body")
        self.sql("SET session_replication_role = replica; INSERT INTO mine VALUES ('x')")
        self.assertEqual(len(self.sent()), 1)

    def test_once_more_and_off_again(self):
        self.attach("public.mine", "CREATE TABLE mine (body text, b text)", subject="one", payload="body")
        self.one("SELECT boxhaul.outbox_attach('public.mine', %s)", json.dumps({"subject": "two", "payload": "b"}))
        self.insert("public.mine", {"body": "x", "b": "y"})
        self.assertEqual(self.sent("subject, payload"), [("two", b"y")])
        self.assertEqual(self.sql("SELECT tab::regclass::text, mapping FROM boxhaul.outbox_table"), [("mine", {"subject": "two", "payload": "b"})])
        self.assertEqual(self.sql("SELECT boxhaul.outbox_detach('public.mine')"), [(True,)])
        self.assertEqual(self.sql("SELECT boxhaul.outbox_detach('public.mine')"), [(False,)])
        self.insert("public.mine", {"body": "x", "b": "y"})
        self.assertEqual(len(self.sent()), 1)
        self.assertEqual(self.sql("SELECT count(*) FROM pg_proc WHERE proname LIKE 'outbox_copy\\_%'"), [(0,)])

    def test_mappings_that_make_no_sense(self):
        self.sql("CREATE TABLE mine (body text)")
        for mapping, error, words in (({"payload": "body"}, errors.InvalidParameterValue, "no subject"),
                                      ({"subject": "x"}, errors.InvalidParameterValue, "no payload"),
                                      ({"subject": "x", "payload": "nobody"}, errors.UndefinedColumn, "no column nobody"),
                                      ({"subject": "x.{who}", "payload": "body"}, errors.UndefinedColumn, "no column who"),
                                      ({"subject": "x.{who", "payload": "body"}, errors.InvalidParameterValue, "no template"),
                                      ({"preset": "x"}, errors.InvalidParameterValue, "no preset x")):
            with self.subTest(mapping):
                self.assertIn(words, self.refused(error, None, "SELECT boxhaul.outbox_attach('public.mine', %s)", json.dumps(mapping)))
        self.assertIn("no table", self.refused(errors.UndefinedTable, None, "SELECT boxhaul.outbox_attach('public.nobody', '{}')"))

    def test_names_that_want_quotes(self):
        self.attach('public."My ""Box"""', 'CREATE TABLE "My ""Box""" ("the body" text, "it\'s" text)', subject="x.{it's}.{table}", payload="the body",
                    header_columns=["it's"])
        self.insert('public."My ""Box"""', {"the body": "b", "it's": "v"})
        self.assertEqual([row[:2] for row in self.sent("payload, headers")] + [(subject,) for (subject,) in self.sent("subject")],
                         [(b"b", {"it's": "v"}), ('x.v.My%20"Box"',)])


class Rights(CaptureSqlTest):
    """Who may do what, and nothing else."""

    CALLS = {  # function: who may; an argument list that fails only later
        "capture_define('x', 's', '[]')": (READER, OPERATOR), "capture_lead('shop', 'me')": (READER,),
        "capture_mark('shop', 1, '{}')": (READER,), "capture_live('shop', 1, 1, '0/1')": (READER,), "capture_gap('shop', 0, 'gone', '')": (READER,),
        "capture_examine('shop', 0, NULL)": (READER,), "capture_horizon('shop', '1')": (READER,), "capture_free('shop', 0, true)": (READER,),
        "capture_watch('shop', 0)": (READER,), "capture_resign('shop', 99, '0/1')": (READER,), "capture_try_lock('shop')": (READER,),
        "capture_start('shop')": (OPERATOR,), "capture_pause('shop')": (OPERATOR,), "capture_resume('shop')": (OPERATOR,),
        "capture_resync('shop')": (READER, OPERATOR), "capture_add('shop', 't')": (OPERATOR,), "capture_discard(1)": (OPERATOR,),
        "capture_redrive(1)": (OPERATOR,), "capture_decide('shop', 1)": (),
        "capture_letters()": (OPERATOR, MONITOR), "capture_waits(1)": (READER, OPERATOR, MONITOR), "capture_differs('shop')": (READER, OPERATOR, MONITOR),
        "emit('a', 'b'::text)": (WRITER,), "emit_message('a', NULL, 'b', NULL)": (WRITER,),
        "outbox_attach('public.orders', '{}')": (), "outbox_detach('public.orders')": (), "outbox_copy(NULL, 'a', NULL, 'b', NULL, NULL)": (),
        "capture_drop('shop')": (OPERATOR,),
    }

    def test_functions(self):
        self.define()
        for user in (READER, OPERATOR, MONITOR, WRITER, LEGACY):
            for call, who in self.CALLS.items():
                with self.subTest(f"{user}: {call}"):
                    said = ""
                    try:
                        self.ask(user, f"BEGIN; SELECT boxhaul.{call}; ROLLBACK")
                    except psycopg2.Error as error:
                        said = str(error)
                    if user in who:
                        self.assertNotIn("permission denied", said)
                    else:
                        self.assertIn("permission denied", said)

    def test_tables(self):
        everything = ("capture", "capture_table", "capture_repair", "capture_letter", "outbox_table", "capture_status", "capture_progress")
        sees = {READER: set(everything) - {"outbox_table"}, OPERATOR: set(everything), MONITOR: set(everything) - {"capture_letter"}, WRITER: set(),
                LEGACY: set()}
        for user, may in sees.items():
            for name in everything:
                got = self.one("SELECT has_schema_privilege(%s, 'boxhaul', 'USAGE') AND has_table_privilege(%s, %s, 'SELECT')", user, user,
                               f"boxhaul.{name}")
                self.assertEqual(got, name in may, f"{user} {name}")
                for right in ("INSERT", "UPDATE", "DELETE", "TRUNCATE"):
                    self.assertFalse(self.one("SELECT has_table_privilege(%s, %s, %s)", user, f"boxhaul.{name}", right), f"{user} {right} {name}")
        self.assertEqual(self.ask(MONITOR, "SELECT id, capture, reason FROM boxhaul.capture_letter"), [])
        self.refused(errors.InsufficientPrivilege, MONITOR, "SELECT payload FROM boxhaul.capture_letter")
        self.refused(errors.InsufficientPrivilege, READER, "SELECT FROM boxhaul.outbox")

    def test_every_function_is_pinned_and_nobody_elses(self):
        with open(os.path.join(TOP, "sql", "010_capture.sql"), encoding="utf-8") as f:
            names = sorted({line.split("boxhaul.")[1].split("(")[0] for line in f if line.startswith("CREATE OR REPLACE FUNCTION boxhaul.")})
        loose = self.sql("""SELECT p.proname FROM pg_proc p WHERE p.pronamespace = 'boxhaul'::regnamespace AND p.proname = ANY (%s)
                              AND (NOT coalesce(p.proconfig, '{}') @> '{"search_path=pg_catalog, pg_temp"}'
                                   OR EXISTS (SELECT FROM aclexplode(p.proacl) a WHERE a.grantee = 0) OR p.proacl IS NULL)""", names)
        self.assertEqual(loose, [])
        self.assertGreater(len(names), 30)

    def test_the_version(self):
        self.assertEqual(self.sql("SELECT name FROM boxhaul.schema_version WHERE version = 10"), [("capture",)])


if __name__ == "__main__":
    unittest.main()
