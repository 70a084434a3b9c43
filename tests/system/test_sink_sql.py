"""The SQL of sinks alone: what the daemon's session calls, with messages as a capture sends them, without a daemon and without a broker. The last class
changes tables at random, cuts the stream into batches at random, and compares with what a plain database would hold."""

import contextlib
import glob
import json
import os
import random
import re
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import psycopg2  # noqa: E402
from psycopg2 import errors  # noqa: E402

from process import DEADLINE, Workspace  # noqa: E402
from servers import Postgres  # noqa: E402

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
SINK, MONITOR, OPERATOR = "move_sink", "move_monitor", "move_operator"
DATABASE, NAME = "service", "move"
SEEDS, FIRST_SEED = int(os.environ.get("SINK_SEEDS", "10")), int(os.environ.get("SINK_FIRST_SEED", "1"))
TYPES = {"int4": 23, "int8": 20, "text": 25, "numeric": 1700, "timestamptz": 1184, "jsonb": 3802, "_text": 1009, "varchar": 1043, "bool": 16, "bytea": 17, "inet": 869}

SERVICE = f"""
CREATE SCHEMA shop;
CREATE TABLE shop.orders (id bigint PRIMARY KEY, client varchar(20), total numeric(10,2), at timestamptz, attributes jsonb, tags text[], doc text NOT NULL DEFAULT 'ours',
    noted_by text NOT NULL DEFAULT 'nobody');
CREATE TABLE shop.lines (order_id bigint REFERENCES shop.orders DEFERRABLE, line integer, sku text, PRIMARY KEY (order_id, line));
CREATE TABLE shop.people (id integer PRIMARY KEY, name text UNIQUE, adult boolean NOT NULL);
CREATE TABLE shop.prices (price numeric PRIMARY KEY, label text, doc text);
GRANT USAGE ON SCHEMA shop TO boxhaul_sink;
GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON ALL TABLES IN SCHEMA shop TO boxhaul_sink;
CREATE FUNCTION shop.person(line jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE SET search_path = pg_catalog AS $$
    SELECT CASE WHEN (line ->> 'name') LIKE 'test%' THEN NULL
                ELSE jsonb_strip_nulls(jsonb_build_object('name', upper(line ->> 'name'), 'adult', CASE WHEN line ? 'age' THEN (line ->> 'age')::integer >= 18 END)) END
$$;
GRANT EXECUTE ON FUNCTION shop.person(jsonb) TO boxhaul_sink;
"""
SHAPES = {
    "public.orders": (("id", "int8", 1), ("customer", "text", 0), ("total", "numeric", 0), ("at", "timestamptz", 0), ("attributes", "jsonb", 0),
                      ("tags", "_text", 0), ("doc", "text", 0)),
    "public.lines": (("order_id", "int8", 1), ("line", "int4", 2), ("sku", "text", 0)),
    "public.people": (("id", "int4", 1), ("name", "text", 0), ("age", "int4", 0)),
}
# One price may be written in two ways, so its table is slow; the other one is not configured. Both are begun by those who use them.
OTHERS = {"public.prices": (("price", "numeric", 1), ("label", "text", 0), ("doc", "text", 0)), "public.other": (("id", "int8", 1), ("v", "text", 0)),
          "public.blobs": (("content", "bytea", 1), ("part", "int4", 2), ("name", "text", 0)), "public.hosts": (("address", "inet", 1), ("name", "text", 0)),
          "public.notes": (("id", "int4", 1), ("of", "int8", 0), ("doc", "text", 0))}
TABLES = [{"from": "public.orders", "to": "shop.orders", "columns": ["*", "customer=client"], "function": ""},
          {"from": "public.lines", "to": "shop.lines", "columns": ["*"], "function": ""},
          {"from": "public.people", "to": "shop.people", "columns": [], "function": "shop.person"}]


class Stream:
    """What a capture sends, message by message."""

    def __init__(self, format="text", order="commit"):
        self.messages, self.lsn, self.index, self.tx = [], 1000, 0, None
        self.format, self.order = format, order

    def _send(self, body, headers=None):
        self.messages.append((json.dumps(body).encode() if body is not None else b"no JSON", headers or {}))
        return len(self.messages)

    def shape(self, table):
        return [{"name": n, "type": TYPES[t], "typmod": -1, **({"key": k} if k else {})} for n, t, k in (SHAPES | OTHERS)[table]]

    def begin(self, table, id="s1", **history):
        return self._send({"op": "snapshot-begin", "table": table, "columns": self.shape(table), "snapshot": id, "format": self.format, "order": self.order, **history},
                          {"Boxhaul-Chunk": f"{id}-0"})

    def tell(self, table, **history):
        return self._send({"op": "s", "table": table, "columns": self.shape(table), "format": self.format, "order": self.order, **history})

    def end(self, table, id="s1"):
        return self._send({"op": "snapshot-end", "table": table, "snapshot": id}, {"Boxhaul-Chunk": f"{id}-0"})

    def ready(self, *tables):
        for table in tables or SHAPES:
            self.begin(table)
            self.end(table)
        return self

    @contextlib.contextmanager
    def transaction(self, last=True):
        self.lsn, self.index = self.lsn + 8, 0
        self.tx = f"0/{self.lsn:X}.849253375684112"
        yield self
        if last:
            self.messages[-1][1]["Boxhaul-Last"] = "1"
        self.tx = None

    def key(self, table, row):
        return {n: row[n] for n, _t, k in (SHAPES | OTHERS)[table] if k}

    def change(self, op, table, row=None, old=None, unchanged=()):
        body = {"op": op, "table": table}
        if op not in ("t", "end"):
            body["key"] = self.key(table, row)
        if op in ("c", "u", "r"):
            body["row"] = {n: v for n, v in row.items() if n not in unchanged}
        if old is not None:
            body["old"] = old
        if unchanged:
            body["unchanged"] = list(unchanged)
        if op == "r":
            return self._send({**body, "snapshot": "s1"}, {"Boxhaul-Chunk": "s1-0"})
        self.index += 1
        return self._send(body, {"Boxhaul-Position": f"{self.tx}.{self.index}", "Boxhaul-Tx": self.tx, "Boxhaul-Index": str(self.index)})

    def rows(self, table, *rows):
        return self._send({"op": "r", "table": table, "rows": rows, "snapshot": "s1"}, {"Boxhaul-Chunk": "s1-0"})

    def alone_of(self, op, table, key, row, old=None):
        with self.transaction():
            self.index += 1
            self._send({"op": op, "table": table, "key": key, **({} if op == "d" else {"row": row}), **({"old": old} if old else {})},
                       {"Boxhaul-Position": f"{self.tx}.{self.index}", "Boxhaul-Tx": self.tx, "Boxhaul-Index": str(self.index)})

    def alone(self, *change, **options):
        with self.transaction():
            return self.change(*change, **options)


def put_together(messages, rng):
    """As a capture may put changes of one transaction and table that stand side by side into messages of several. Returns these messages, and of each how many came
    until its end."""
    made, ends, n = [], [], 0
    while n < len(messages):
        end = n + 1
        if belongs := together(messages[n]):
            most = rng.choice((1, 2, 3, 20))
            while end < len(messages) and end - n < most and together(messages[end]) == belongs:
                end += 1
        made.append(messages[n] if end == n + 1 else several(messages[n:end]))
        ends.append(end)
        n = end
    return made, ends


def together(message):
    """The table and transaction of a change that may stand with others; None: it may not."""
    body, tx = json.loads(message[0]), message[1].get("Boxhaul-Tx")
    moves = any((body.get("old") or {}).get(name, value) != value for name, value in body.get("key", {}).items())
    return (body["table"], tx) if tx and body["op"] in tuple("cud") and not moves else None


def several(messages):
    """One message of these changes."""
    bodies = [json.loads(payload) for payload, _ in messages]
    changes = [{name: value for name, value in body.items() if name != "table"} for body in bodies]
    return json.dumps({"op": "m", "table": bodies[0]["table"], "changes": changes}).encode(), messages[-1][1]


def order(id, customer="ann", total="9.90", doc="long", **more):
    return {"id": str(id), "customer": customer, "total": total, "at": "2026-11-30 09:45:00.123456+00", "attributes": '{"a": null}',
            "tags": '[0:1]={a,"b \\"c"}', "doc": doc, **more}


def line(order_id, n, sku="sku"):
    return {"order_id": str(order_id), "line": str(n), "sku": sku}


class SinkTest(unittest.TestCase):
    pg = None

    @classmethod
    def setUpClass(cls):
        if SinkTest.pg is None:
            SinkTest.pg = cls.start_server()
            SinkTest.version = int(SinkTest.pg.execute("SHOW server_version_num")[0][0])

    @staticmethod
    def start_server():
        workspace = unittest.enterModuleContext(Workspace())
        pg = workspace.add(Postgres(workspace.path("pg"), fsync="off", wal_level="logical")).start()
        pg.execute(f"CREATE DATABASE {DATABASE}")
        for path in sorted(glob.glob(os.path.join(TOP, "sql", "*.sql"))):
            with open(path, encoding="utf-8") as f:
                text = f.read()
            for _ in range(2):  # each can be run again
                pg.execute(text, dbname=DATABASE)
        pg.create_login(SINK, "boxhaul_relay", "boxhaul_sink")
        pg.create_login(OPERATOR, "boxhaul_relay")
        pg.create_login(MONITOR, "boxhaul_monitor")
        for user in (pg.superuser, SINK, MONITOR):
            pg.execute(f"ALTER ROLE {user} SET statement_timeout = '{DEADLINE}s'")  # no test hangs
        return pg

    replicates = True

    def setUp(self):
        self.addCleanup(self.close)
        self.pg.execute("SELECT boxhaul.inbox_drop(name) FROM boxhaul.subscription; DROP SCHEMA IF EXISTS shop CASCADE", dbname=DATABASE)
        self.pg.execute(SERVICE, dbname=DATABASE)
        if self.version >= 150000:
            self.pg.execute(f"{'GRANT' if self.replicates else 'REVOKE'} SET ON PARAMETER session_replication_role {'TO' if self.replicates else 'FROM'} {SINK}")
        self.connections, self.stream = {}, Stream()

    def close(self):
        for connection in self.connections.values():
            connection.close()
        self.connections = {}

    def again(self):
        """From the beginning, within a test."""
        self.close()
        self.setUp()

    def sql(self, statement, *values, user=None):
        if user not in self.connections:
            self.connections[user] = self.pg.connect(DATABASE, user)
            self.connections[user].autocommit = True
        with self.connections[user].cursor() as cursor:
            cursor.execute(statement, (values[0] if values and isinstance(values[0], dict) else values) or None)
            return cursor.fetchall() if cursor.description else None

    def define(self, tables=None, snapshot="required", part=10000):
        self.sql("SELECT boxhaul.inbox_define(%s, 'CDC', ARRAY['cdc.>'], 'none', 1, 'position')", NAME, user=SINK)
        return self.sql("SELECT boxhaul.sink_define(%s, %s, %s, %s)", NAME, json.dumps(tables or TABLES), snapshot, part, user=SINK)[0][0]

    def lead(self):
        (self.epoch,), = self.sql("SELECT epoch FROM boxhaul.inbox_lead(%s, 'test')", NAME, user=SINK)
        self.sql("SELECT boxhaul.inbox_open(%s, %s, '2026', 0, NULL)", NAME, self.epoch, user=SINK)
        return self

    def start(self, *tables, **options):
        """A sink whose tables are complete, and empty."""
        self.define(**options)
        self.lead()
        self.stream.ready(*tables)
        self.take()

    def place(self):
        return self.sql("SELECT position, incarnation FROM boxhaul.inbox_position WHERE subscription = %s", NAME)[0]

    def take(self, upto=None, lost=0, reasons=None, **belief):
        """Gives all messages up to a sequence, those behind the position. Returns (taken, trouble)."""
        position, incarnation = self.place()
        upto = upto or len(self.stream.messages)
        seqs = list(range(position + 1, upto + 1))
        of = [self.stream.messages[s - 1] for s in seqs]
        at, taken, _left, _dead, _asleep, trouble = self.sql(
            """SELECT * FROM boxhaul.sink_apply(%s, %s, %s, %s, %s, %s, %s::bigint[], %s::text[], %s::text[], %s::text[],
                                                %s::bytea[], %s::jsonb[], %s::bigint[], %s::text[], %s)""",
            NAME, belief.get("epoch", self.epoch), belief.get("incarnation", incarnation), belief.get("position", position), upto, upto * 1000, seqs,
            [None] * len(of), ["cdc.x"] * len(of), [None] * len(of), [m[0] for m in of], [json.dumps(m[1]) for m in of], [s * 1000 for s in seqs],
            reasons or [None] * len(of), lost, user=SINK)[0]
        self.at = at
        return taken, trouble

    def take_well(self, *words, **options):
        taken, trouble = self.take(*words, **options)
        self.assertIsNone(trouble)
        self.assertIsNotNone(taken)

    def orders(self, columns="id, client, total::text, doc"):
        return self.sql(f"SELECT {columns} FROM shop.orders ORDER BY id")

    def sink(self, columns):
        return self.sql(f"SELECT {columns} FROM boxhaul.sink_status WHERE subscription = %s", NAME, user=MONITOR)[0]

    def states(self):
        return dict(self.sql("SELECT source, state FROM boxhaul.sink_table ORDER BY source"))


class Changes(SinkTest):
    """What each kind of change does, alone and together with others."""

    def each_way(self, write, check):
        """The same in one batch, and in batches of one message."""
        for size in (1000, 1):
            with self.subTest(size=size):
                self.again()
                self.start()
                write(self.stream)
                for upto in range(len(self.stream.messages) if size == 1000 else self.place()[0] + 1, len(self.stream.messages) + 1):
                    self.take_well(upto)
                check()

    def test_rows_are_the_same_values(self):
        def write(s):
            s.alone("c", "public.orders", order(1))
            s.alone("c", "public.orders", order(2, None, None, attributes="null", tags=None, at=None, doc=""))
        self.each_way(write, lambda: self.assertEqual(
            self.sql("SELECT id, client, total::text, at::text, attributes::text, tags::text, doc, noted_by FROM shop.orders ORDER BY id"),
            [(1, "ann", "9.90", self.sql("SELECT '2026-11-30 09:45:00.123456+00'::timestamptz::text")[0][0],
              '{"a": null}', '[0:1]={a,"b \\"c"}', "long", "nobody"),
             (2, None, None, None, "null", None, "", "nobody")]))

    def test_an_update_sets_only_what_was_sent(self):
        def write(s):
            s.alone("c", "public.orders", order(1, doc="kept"))
            self.take_well()
            self.sql("UPDATE shop.orders SET noted_by = 'us'")
            s.alone("u", "public.orders", order(1, "bob"), unchanged=["doc"])
        self.each_way(write, lambda: self.assertEqual(self.orders("client, doc, noted_by"), [("bob", "kept", "us")]))

    def test_what_is_left_out_comes_from_an_earlier_change_of_the_batch(self):
        def write(s):
            with s.transaction():
                s.change("c", "public.orders", order(1, doc="first"))
                s.change("u", "public.orders", order(1, "bob", doc="second"))
                s.change("u", "public.orders", order(1, "cid"), unchanged=["doc"])
            with s.transaction():
                s.change("u", "public.orders", order(1, "dan"), unchanged=["doc"])
        self.each_way(write, lambda: self.assertEqual(self.orders("client, doc"), [("dan", "second")]))

    def test_what_is_left_out_may_be_null_here(self):
        """No constraint would tell of one that was lost."""
        def write(s):
            with s.transaction():
                s.change("c", "public.orders", order(1, attributes='{"a": 1}'))
                s.change("u", "public.orders", order(1, "bob"), unchanged=["attributes"])
        self.each_way(write, lambda: self.assertEqual(self.orders("client, attributes"), [("bob", {"a": 1})]))

    def test_a_row_that_goes_and_comes_begins_anew(self):
        def write(s):
            s.alone("c", "public.orders", order(1))
            self.take_well()
            self.sql("UPDATE shop.orders SET noted_by = 'us'")
            with s.transaction():
                s.change("d", "public.orders", order(1))
                s.change("c", "public.orders", order(1, "bob"))
                s.change("u", "public.orders", order(1, "cid"), unchanged=["doc"])
        self.each_way(write, lambda: self.assertEqual(self.orders("client, doc, noted_by"), [("cid", "long", "nobody")]))

    def test_rows_that_are_there_already(self):
        """Among many that are new; what is ours alone in one that was there stays."""
        def write(s):
            s.begin("public.lines", "s2")
            self.take_well()
            self.sql("INSERT INTO shop.orders (id, client, noted_by) VALUES (5, 'hand', 'us'); INSERT INTO shop.lines VALUES (5, 1, 'hand')")
            with s.transaction():
                for n in range(1, 21):
                    s.change("c", "public.orders", order(n))
            for n in range(1, 20, 2):
                s.rows("public.lines", line(n, 1), line(n + 1, 1))
        self.each_way(write, lambda: self.assertEqual(
            (self.orders("id, client, noted_by"), self.sql("SELECT order_id, sku FROM shop.lines ORDER BY 1"), self.sink("missing")),
            ([(n, "ann", "us" if n == 5 else "nobody") for n in range(1, 21)], [(n, "sku") for n in range(1, 21)], (0,))))

    def test_a_row_that_comes_twice(self):
        """No source says so, and nothing is lost by it."""
        def write(s):
            with s.transaction():
                for name in ("ann", "bob", "cid"):
                    s.change("c", "public.orders", order(1, name))
                    s.change("c", "public.people", {"id": "1", "name": name, "age": "30"})
        self.each_way(write, lambda: self.assertEqual((self.orders("id, client"), self.sql("SELECT name FROM shop.people")), ([(1, "cid")], [("CID",)])))

    def test_a_row_that_comes_and_goes(self):
        def write(s):
            s.alone("c", "public.orders", order(1))
            with s.transaction():
                s.change("c", "public.orders", order(2))
                s.change("u", "public.orders", order(2, "bob"))
                s.change("d", "public.orders", order(2))
                s.change("d", "public.orders", order(1))
        self.each_way(write, lambda: self.assertEqual(self.orders("id"), []))

    def test_a_key_that_changes(self):
        def write(s):
            s.alone("c", "public.orders", order(1, doc="kept"))
            with s.transaction():
                s.change("u", "public.orders", order(7, "bob"), old={"id": "1"}, unchanged=["doc"])
                s.change("c", "public.orders", order(1, "other"))
        self.each_way(write, lambda: self.assertEqual(self.orders("id, client, doc"), [(1, "other", "long"), (7, "bob", "kept")]))

    def test_a_key_that_is_generated_always(self):
        """As the source has it, too: a way back asks for no ALTER of the tables that were moved."""
        self.sql("ALTER TABLE shop.orders ALTER id ADD GENERATED ALWAYS AS IDENTITY; ALTER TABLE shop.lines ALTER order_id ADD GENERATED ALWAYS AS IDENTITY")
        self.start()
        self.stream.alone("c", "public.orders", order(1, doc="kept"))
        self.stream.alone("c", "public.orders", order(2))
        self.stream.alone("u", "public.orders", order(1, "bob"), unchanged=["doc"])
        self.stream.alone("d", "public.orders", order(2))
        self.stream.alone("c", "public.lines", line(1, 1))
        self.stream.alone("u", "public.lines", line(1, 9, "moved"), old={"order_id": "1", "line": "1"})
        self.take_well()
        self.assertEqual((self.orders("id, client, doc"), self.sql("SELECT order_id, line, sku FROM shop.lines")), ([(1, "bob", "kept")], [(1, 9, "moved")]))
        self.sql("DELETE FROM shop.lines")  # before 15 its foreign key acts
        self.stream.alone("u", "public.orders", order(7), old={"id": "1"})
        self.assertIn("column id of table shop.orders is GENERATED ALWAYS, and cannot be changed", self.take()[1])
        mend = "ALTER TABLE shop.orders ALTER COLUMN id SET GENERATED BY DEFAULT;"
        self.assertIn(mend, self.sink("error_hint")[0])
        self.sql(mend)
        self.take_well()
        self.assertEqual(self.orders("id, client"), [(7, "ann")])

    def test_an_old_row_with_the_same_key_is_no_change_of_the_key(self):
        def write(s):
            s.alone("c", "public.orders", order(1))
            s.alone("u", "public.orders", order(1, "bob"), old=order(1))
        self.each_way(write, lambda: self.assertEqual(self.orders("id, client"), [(1, "bob")]))

    def test_keys_of_several_columns(self):
        def write(s):
            s.alone("c", "public.orders", order(1))
            with s.transaction():
                s.change("c", "public.lines", line(1, 1, "a"))
                s.change("c", "public.lines", line(1, 2, "b"))
                s.change("u", "public.lines", line(1, 3, "b"), old={"order_id": "1", "line": "2"})
                s.change("d", "public.lines", line(1, 1))
        self.each_way(write, lambda: self.assertEqual(self.sql("SELECT line, sku FROM shop.lines"), [(3, "b")]))

    def test_truncate_keeps_its_place(self):
        def write(s):
            s.alone("c", "public.orders", order(1))
            with s.transaction():
                s.change("c", "public.lines", line(1, 1))
                s.change("t", "public.lines")
                s.change("c", "public.lines", line(1, 2))
        self.each_way(write, lambda: self.assertEqual(self.sql("SELECT line FROM shop.lines"), [(2,)]))

    def test_truncate_of_what_others_refer_to(self):
        """shop.lines refers to shop.orders: TRUNCATE refuses that, whatever the session may."""
        def write(s):
            s.alone("c", "public.orders", order(1))
            with s.transaction():
                s.change("t", "public.lines")
                s.change("t", "public.orders")
        self.each_way(write, lambda: self.assertEqual(self.orders("id"), []))

    def test_a_function_translates(self):
        def write(s):
            s.alone("c", "public.people", {"id": "1", "name": "ann", "age": "17"})
            s.alone("c", "public.people", {"id": "2", "name": "test person", "age": "40"})
            s.alone("c", "public.people", {"id": "3", "name": "cid", "age": "50"})
            s.alone("u", "public.people", {"id": "1", "name": "anna", "age": "18"})
            s.alone("u", "public.people", {"id": "3", "name": "test", "age": "50"})
            s.alone("u", "public.people", {"id": "9", "name": "anna", "age": "18"}, old={"id": "1"})
        self.each_way(write, lambda: self.assertEqual(self.sql("SELECT * FROM shop.people"), [(9, "ANNA", True)]))

    def test_a_function_is_not_told_of_what_was_not_sent(self):
        def write(s):
            s.alone("c", "public.people", {"id": "1", "name": "ann", "age": "17"})
            self.take_well()
            s.alone("u", "public.people", {"id": "1", "name": "bea", "age": None}, unchanged=["age"])
        self.each_way(write, lambda: self.assertEqual(self.sql("SELECT * FROM shop.people"), [(1, "BEA", False)]))

    def test_values_that_change_places(self):
        """Each by itself is fine in the order of the log, and not in every order."""
        def write(s):
            s.alone("c", "public.people", {"id": "1", "name": "a", "age": "1"})
            s.alone("c", "public.people", {"id": "2", "name": "b", "age": "1"})
            with s.transaction():
                s.change("u", "public.people", {"id": "1", "name": "tmp", "age": "1"})
                s.change("u", "public.people", {"id": "2", "name": "a", "age": "1"})
                s.change("u", "public.people", {"id": "1", "name": "b", "age": "1"})
        self.each_way(write, lambda: self.assertEqual(self.sql("SELECT id, name FROM shop.people ORDER BY id"), [(1, "B"), (2, "A")]))

    def test_other_tables_of_the_capture_are_left_out(self):
        self.start(tables=TABLES[:1])
        self.stream.alone("c", "public.orders", order(1))
        self.stream.alone("c", "public.lines", line(1, 1))
        self.take_well()
        self.assertEqual((self.orders("id"), self.sql("SELECT 1 FROM shop.lines")), ([(1,)], []))
        self.assertEqual(self.sink("applied >= 1, skipped >= 1"), (True, True))

    def test_columns_that_are_named_alone(self):
        self.start("public.orders", tables=[{**TABLES[0], "columns": ["customer=client"]}])
        self.stream.alone("c", "public.orders", order(1))
        self.take_well()
        self.assertEqual(self.orders("id, client, total, doc"), [(1, "ann", None, "ours")])


class Transactions(SinkTest):
    """Whole transactions, and none twice."""

    def test_what_is_seen_ends_where_a_transaction_ends(self):
        self.start()
        with self.stream.transaction():
            for n in range(1, 5):
                self.stream.change("c", "public.orders", order(n))
        last = len(self.stream.messages)
        for upto in range(last - 3, last):
            self.take_well(upto)
            self.assertEqual((self.orders("id"), self.place()[0]), ([], upto))
        self.assertEqual(self.sink("held"), (3,))
        self.take_well()
        self.assertEqual((len(self.orders()), self.sink("held, transactions")), (4, (0, 1)))

    def test_a_row_of_a_snapshot_within_a_transaction_keeps_its_place(self):
        self.define()
        self.lead()
        self.stream.begin("public.orders")
        with self.stream.transaction():
            self.stream.change("c", "public.orders", order(1))
            self.stream.change("r", "public.orders", order(2, "was"))
            self.stream.change("u", "public.orders", order(2, "is"))
        for upto in range(1, len(self.stream.messages) + 1):
            self.take_well(upto)
            self.assertIn(len(self.orders()), (0, 2))
        self.assertEqual(self.orders("id, client"), [(1, "ann"), (2, "is")])

    def test_a_transaction_whose_end_never_comes_ends_with_the_next(self):
        self.start()
        with self.stream.transaction(last=False):
            self.stream.change("c", "public.orders", order(1))
        self.take_well()
        self.assertEqual(self.orders(), [])
        self.stream.alone("c", "public.orders", order(2))
        self.take_well()
        self.assertEqual(self.orders("id"), [(1,), (2,)])

    def test_an_end_of_its_own_ends_it(self):
        """Its last change is a dead letter of the capture."""
        self.start()
        with self.stream.transaction():
            self.stream.change("c", "public.orders", order(1))
            self.stream.change("end", "boxhaul.transaction")
        self.take_well()
        self.assertEqual(self.orders("id"), [(1,)])
        with self.stream.transaction():
            self.stream.change("end", "boxhaul.transaction")  # all of it was one
        self.take_well()

    def test_a_very_large_one_comes_in_parts(self):
        self.start(part=5)
        with self.stream.transaction():
            for n in range(1, 21):
                self.stream.change("c", "public.orders", order(n))
        first = len(self.stream.messages) - 20
        seen = []
        for upto in range(first + 3, first + 21, 3):
            self.take_well(upto)
            seen.append(len(self.orders()))
        self.take_well()
        self.assertEqual((seen, len(self.orders())), ([0, 6, 9, 12, 15, 18], 20))
        self.assertEqual(self.sink("transactions, split, held, place"), (1, False, 0, self.stream.messages[-1][1]["Boxhaul-Position"]))

    def test_of_two_leaders_one_applies(self):
        self.start()
        self.stream.alone("c", "public.orders", order(1))
        old = self.epoch
        self.sql("SELECT boxhaul.inbox_lead(%s, 'other')", NAME)
        self.assertEqual(self.take(epoch=old), (None, None))
        self.assertEqual(self.orders(), [])
        self.epoch = old + 1
        self.take_well()
        self.assertEqual(self.take(position=self.place()[0] - 1), (None, None))
        self.assertEqual(len(self.orders()), 1)

    def test_nothing_while_it_is_paused(self):
        self.start()
        self.stream.alone("c", "public.orders", order(1))
        self.sql("SELECT boxhaul.inbox_pause(%s, 'test', 'x')", NAME)
        self.assertEqual(self.take(), (None, None))
        self.sql("SELECT boxhaul.inbox_resume(%s)", NAME)
        self.take_well()

    def test_its_transactions_are_told_by_a_signal(self):
        self.start()
        self.sql("SELECT pg_create_logical_replication_slot('seen', 'test_decoding')")
        try:
            self.stream.alone("c", "public.orders", order(1))
            self.take_well()
            words = [data for _lsn, _xid, data in self.sql("SELECT * FROM pg_logical_slot_get_changes('seen', NULL, NULL)")]
        finally:
            self.sql("SELECT pg_drop_replication_slot('seen')")
        told = (r"message: transactional: 1 prefix: boxhaul\.applied, sz: 4 content:move" if self.version >= 140000 else
                r"table boxhaul\.capture_signal: INSERT: id\[bigint\]:\d+ prefix\[text\]:'boxhaul\.applied' content\[text\]:'move'")
        self.assertRegex(words[1], "^" + told)
        self.assertEqual(self.sql("SELECT count(*) FROM boxhaul.capture_signal"), [(0,)])


class Errors(SinkTest):
    """What cannot be applied stops it there, says why, and is tried again."""

    def test_a_value_that_does_not_fit(self):
        self.start()
        self.stream.alone("c", "public.orders", order(1))
        bad = self.stream.alone("c", "public.orders", order(2, "x" * 30))
        self.stream.alone("c", "public.orders", order(3))
        taken, trouble = self.take()
        self.assertIsNone(taken)
        self.assertIn(f"value too long for type character varying(20) (message {bad} of the stream, transaction 0/", trouble)
        self.assertEqual((self.orders("id"), self.place()[0], self.at), ([(1,)], bad - 1, bad - 1))
        self.assertEqual(self.sink("error, error_state, error_seq, error_count, error_hint"),
                         (trouble, "22001", bad, 1, "A column of the target cannot hold the value: change its type, or give the table a function that translates. "
                          "It is tried again by itself."))
        self.assertEqual((self.take()[0], self.sink("error_count"), self.place()[0]), (None, (2,), bad - 1))
        self.sql("ALTER TABLE shop.orders ALTER client TYPE text")
        self.take_well()
        self.assertEqual((self.orders("id"), self.sink("error, error_seq, error_count")), ([(1,), (2,), (3,)], (None, None, 0)))

    def test_the_whole_transaction_waits(self):
        self.start()
        with self.stream.transaction():
            self.stream.change("c", "public.orders", order(1))
            self.stream.change("c", "public.orders", order(2, total="1e20"))
        self.assertIn("numeric field overflow", self.take()[1])
        self.assertEqual(self.orders(), [])

    def test_one_of_which_a_part_was_held_back(self):
        self.start()
        with self.stream.transaction():
            for n in (1, 2):
                self.stream.change("c", "public.orders", order(n))
            self.take_well()
            bad = self.stream.change("c", "public.people", {"id": "x", "name": "a", "age": "1"})
        self.assertIn(f"(message {bad} of", self.take()[1])
        self.assertEqual((self.orders(), self.sink("held")), ([], (2,)))
        self.stream.messages[bad - 1] = (self.stream.messages[bad - 1][0].replace(b'"x"', b'"1"'), self.stream.messages[bad - 1][1])
        self.take_well()
        self.assertEqual((len(self.orders()), self.sink("held")), (2, (0,)))

    def test_a_message_that_is_no_change(self):
        self.start()
        for body, headers in ((b"no JSON", {}), (b"[]", {}), (b'{"op": "x", "table": "public.orders"}', {}), (b'{"hello": 1}', {})):
            with self.subTest(body):
                self.stream.messages.append((body, headers))
                self.assertIn(f"(message {len(self.stream.messages)} of the stream)", self.take()[1])
                self.stream.messages.pop()

    def test_a_message_that_cannot_be_read(self):
        self.start()
        self.stream.alone("c", "public.orders", order(1))
        self.assertIn("its headers: one is not UTF-8", self.take(reasons=["its headers: one is not UTF-8"])[1])

    def test_streams_of_which_no_table_can_be_made(self):
        for options, words in (({"format": "row"}, "have the format row"), ({"order": "key"}, "has not the order of commits")):
            with self.subTest(words):
                self.again()
                self.stream = Stream(**options)
                self.define()
                self.lead()
                self.stream.begin("public.orders")
                self.assertIn(words, self.take()[1])
                self.sql("SELECT boxhaul.inbox_drop(%s)", NAME)  # and begins anew, with another one
                self.stream = Stream()
                self.start()

    def test_targets_that_cannot_be_written(self):
        """What is told mends it."""
        key = "ALTER TABLE shop.lines DROP CONSTRAINT lines_order_id_fkey; ALTER TABLE shop.orders DROP CONSTRAINT orders_pkey"
        for statement, words, mend in (
                ("ALTER TABLE shop.orders RENAME TO gone", "there is no table shop.orders", "ALTER TABLE shop.gone RENAME TO orders"),
                ("ALTER TABLE shop.orders DROP COLUMN tags", "has no column tags", "ALTER TABLE shop.orders ADD COLUMN tags text[]"),
                (key, "no primary key or unique index on id", "ALTER TABLE shop.orders ADD PRIMARY KEY (id)"),
                ("ALTER TABLE shop.orders DROP COLUMN doc; ALTER TABLE shop.orders ADD COLUMN doc integer GENERATED ALWAYS AS IDENTITY",
                 "is GENERATED ALWAYS, and cannot be set", "ALTER TABLE shop.orders ALTER COLUMN doc SET GENERATED BY DEFAULT"),
                ("ALTER TABLE shop.orders DROP COLUMN doc; ALTER TABLE shop.orders ADD COLUMN doc text GENERATED ALWAYS AS ('ours') STORED",
                 "is GENERATED ALWAYS, and cannot be set", None),
                ("REVOKE UPDATE ON shop.orders FROM boxhaul_sink", f"{SINK} may not write table shop.orders",
                 "GRANT USAGE ON SCHEMA shop TO boxhaul_sink; GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON shop.orders TO boxhaul_sink"),
                ("ALTER TABLE shop.orders ENABLE ROW LEVEL SECURITY", "row-level security", f"ALTER ROLE {SINK} BYPASSRLS")):
            with self.subTest(words):
                self.again()
                self.sql(statement)
                self.define()
                self.lead()
                self.stream.begin("public.orders")
                self.assertIn(words, self.take()[1])
                if mend:
                    self.assertIn(mend[:40] if "RENAME" not in mend else "Create it", self.sink("error_hint")[0].replace("tags ...", "tags text[]"))
                    self.sql(mend)
                else:
                    self.define([{**TABLES[0], "columns": ["customer=client"]}])
                self.take_well()
                self.sql(f"ALTER ROLE {SINK} NOBYPASSRLS")

    def test_columns_that_the_source_has_not(self):
        self.define([{**TABLES[0], "columns": ["custom=client"]}])
        self.lead()
        self.stream.begin("public.orders")
        self.assertIn("table public.orders has no column custom at the source", self.take()[1])
        self.define([{**TABLES[0], "columns": ["customer=client"]}])
        self.take_well()

    def test_a_table_of_which_nothing_was_said(self):
        self.define(snapshot="none")
        self.lead()
        self.sql("SELECT boxhaul.sink_complete(%s)", NAME, user=SINK)
        self.stream.alone("c", "public.orders", order(1))
        self.assertIn("nothing has said what table public.orders looks like", self.take()[1])
        self.assertIn("boxhaul capture resync NAME CAPTURE 'public.orders'", self.sink("error_hint")[0])

    def test_a_right_that_was_taken(self):
        self.start()
        self.sql("REVOKE INSERT ON shop.orders FROM boxhaul_sink")
        self.stream.alone("c", "public.orders", order(1))
        self.assertIn("may not write table shop.orders", self.take()[1])
        self.sql("GRANT INSERT ON shop.orders TO boxhaul_sink; REVOKE EXECUTE ON FUNCTION shop.person(jsonb) FROM boxhaul_sink, public")
        self.stream.alone("c", "public.people", {"id": "1", "name": "a", "age": "1"})
        self.assertIn("permission denied for function person", self.take()[1])
        self.assertIn("GRANT it to boxhaul_sink", self.sink("error_hint")[0])
        self.sql("GRANT EXECUTE ON FUNCTION shop.person(jsonb) TO boxhaul_sink")
        self.take_well()

    def test_a_constraint_of_the_target(self):
        self.start()
        self.sql("ALTER TABLE shop.orders ADD CONSTRAINT small CHECK (total < 5)")
        self.stream.alone("c", "public.orders", order(1))
        self.assertIn('violates check constraint "small"', self.take()[1])
        self.assertIn("A constraint of the target refuses", self.sink("error_hint")[0])
        self.sql("ALTER TABLE shop.orders DROP CONSTRAINT small")
        self.take_well()

    def test_a_table_without_a_key_at_the_source(self):
        self.define()
        self.lead()
        self.stream.begin("public.orders")
        body = json.loads(self.stream.messages[0][0])
        body["columns"][0].pop("key")
        self.stream.messages[0] = (json.dumps(body).encode(), {})
        self.assertIn("table public.orders has no key at the source", self.take()[1])


class Triggers(SinkTest):
    TRIGGER = """CREATE TABLE shop.log (id bigint); GRANT ALL ON shop.log TO boxhaul_sink;
        CREATE FUNCTION shop.note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO shop.log VALUES (NEW.id); RETURN NEW; END';
        CREATE TRIGGER note AFTER INSERT ON shop.orders FOR EACH ROW EXECUTE FUNCTION shop.note()"""

    def test_they_do_not_fire(self):
        if self.version < 150000:
            self.skipTest("the right cannot be granted")
        self.sql(self.TRIGGER)
        self.start()
        with self.stream.transaction():
            self.stream.change("c", "public.lines", line(1, 1))  # before its order
            self.stream.change("c", "public.orders", order(1))
        self.take_well()
        self.assertEqual((self.orders("id"), self.sql("SELECT 1 FROM shop.log")), ([(1,)], []))
        self.assertEqual(self.sql("SHOW session_replication_role", user=SINK), [("replica",)])  # so that plans are kept
        self.lead()
        self.sql("SELECT boxhaul.inbox_try_lock(%s)", NAME, user=SINK)
        self.assertEqual(self.sql("SHOW session_replication_role", user=SINK), [("origin",)])

    def test_they_fire_for_other_subscriptions_of_the_session(self):
        if self.version < 150000:
            self.skipTest("the right cannot be granted")
        self.start()
        self.sql("SELECT boxhaul.inbox_try_lock('other'); SELECT boxhaul.inbox_define('other', 'CDC', ARRAY['x.>'], 'none', 1, 'position')", user=SINK)
        self.stream.alone("c", "public.orders", order(1))
        self.take_well()
        self.assertEqual((self.orders("id"), self.sql("SHOW session_replication_role", user=SINK)), ([(1,)], [("origin",)]))

    def test_foreign_keys_that_act_take_no_row_that_has_left_theirs_before(self):
        """Put together with what stands around it, a row would go first, and take those with it that refer to it until then."""
        self.replicates = False
        self.again()
        self.sql("CREATE TABLE shop.notes (id integer PRIMARY KEY, of bigint REFERENCES shop.orders ON DELETE CASCADE, doc text, mine text DEFAULT 'ours'); "
                 "GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON shop.notes TO boxhaul_sink")
        self.start("public.orders", "public.notes", tables=[TABLES[0], {"from": "public.notes", "to": "shop.notes", "columns": ["*"], "function": ""}])
        for n in (1, 2):
            self.stream.alone("c", "public.orders", order(n))
        notes = [{"id": str(n), "of": "1", "doc": "long"} for n in (1, 2, 3)]
        for note in notes:
            self.stream.alone("c", "public.notes", note)
        self.take_well()
        self.sql("UPDATE shop.notes SET mine = 'kept'")
        with self.stream.transaction():
            self.stream.change("u", "public.notes", {**notes[0], "of": "2"}, unchanged=["doc"])
            self.stream.change("u", "public.notes", {**notes[1], "of": "2"})
            self.stream.change("d", "public.orders", order(1))
        self.take_well()
        self.assertEqual(self.sql("SELECT * FROM shop.notes ORDER BY id"), [(1, 2, "long", "kept"), (2, 2, "long", "kept")])
        self.assertEqual(self.sink("missing"), (0,))


class Cuts(SinkTest):
    def test_the_last_one_is_the_last_of_all(self):
        chance = random.Random(FIRST_SEED)
        for _ in range(2000):
            txs = [chance.choice((None, "a", "a", "b", "b", "c")) for _ in range(chance.randrange(7))]
            lasts = [tx is not None and chance.random() < 0.4 for tx in txs]
            split = chance.choice((None, "a", "b"))
            [(cuts, last, tx)] = self.sql("SELECT boxhaul.sink_cuts(%(s)s, %(t)s::text[], %(l)s::boolean[]), l.* FROM "
                                          "boxhaul.sink_last_cut(%(s)s, %(t)s::text[], %(l)s::boolean[]) l", {"s": split, "t": txs, "l": lasts})
            open_ = split
            for its, ends in zip(txs, lasts):
                open_ = open_ if its is None else None if ends else its
            self.assertEqual((last, tx), (cuts[-1] if cuts else 0, open_), (split, txs, lasts))


class Refused(SinkTest):
    """Targets in which rows would change or go behind the sink's back."""

    def test_each_is_named_and_taken_when_it_is_mended(self):
        self.sql("CREATE FUNCTION shop.none() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; CREATE TRIGGER hush BEFORE INSERT ON shop.orders FOR EACH ROW "
                 "EXECUTE FUNCTION shop.none(); CREATE RULE kept AS ON DELETE TO shop.orders DO INSTEAD NOTHING; CREATE TABLE shop.old_orders () INHERITS (shop.orders)")
        self.define()
        self.lead()
        self.stream.begin("public.orders")
        for refused, words, mend in (
                ("ALTER TABLE shop.orders ENABLE ALWAYS TRIGGER hush", "trigger hush of table shop.orders fires always", "ALTER TABLE shop.orders ENABLE TRIGGER hush"),
                ("ALTER TABLE shop.orders ENABLE REPLICA RULE kept", "rule kept of table shop.orders acts always", "ALTER TABLE shop.orders ENABLE RULE kept"),
                ("SELECT 1", "table shop.orders has tables that inherit from it, whose rows would be taken for its own: shop.old_orders",
                 "ALTER TABLE shop.old_orders NO INHERIT shop.orders"),
                ("ALTER TABLE shop.lines SET UNLOGGED; ALTER TABLE shop.orders SET UNLOGGED", "table shop.orders is unlogged", "ALTER TABLE shop.orders SET LOGGED")):
            self.sql(refused)
            troubles = dict(self.sql("SELECT trouble, hint FROM boxhaul.sink_troubles('shop.orders', '{}', NULL)"))
            self.assertIn(words, self.take()[1] if "inherit" in words else " ".join(troubles))
            (hint,) = [hint for trouble, hint in troubles.items() if words in trouble]
            self.assertEqual(hint, mend + ";")
            self.sql(hint)
        if self.version < 150000:  # the sink may not keep them from it
            self.sql("ALTER TABLE shop.orders DISABLE TRIGGER hush; ALTER TABLE shop.orders DISABLE RULE kept")
        self.take_well()

    def test_a_key_that_is_rounded_off(self):
        """Two rows of the source would be one here, and one that goes there would stay."""
        self.sql("CREATE TABLE shop.times (at timestamptz(0) PRIMARY KEY); GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON shop.times TO boxhaul_sink")
        self.define([{"from": "public.times", "to": "shop.times", "columns": ["*"], "function": ""}])
        self.lead()
        self.stream._send({"op": "snapshot-begin", "table": "public.times", "snapshot": "s1", "format": "text", "order": "commit",
                           "columns": [{"name": "at", "type": 1184, "typmod": -1, "key": 1}]})
        self.assertIn("column at of table shop.times is a part of the key, and rounds off what the source has", self.take()[1])
        self.sql("ALTER TABLE shop.times ALTER COLUMN at TYPE timestamptz")
        self.take_well()
        for ours, theirs, modifier, rounds in (
                ("timestamp(3)", "timestamp", 3, False), ("timestamp(3)", "timestamp", 4, True), ("timestamp(3)", "timestamp", -1, True), ("time(6)", "time", -1, False),
                ("timestamp", "timestamp", -1, False), ("date", "timestamptz", -1, True), ("date", "date", -1, False), ("numeric", "numeric", (9 << 16 | 2) + 4, False),
                ("numeric(12,2)", "numeric", (9 << 16 | 2) + 4, False), ("numeric(12,1)", "numeric", (9 << 16 | 2) + 4, True), ("numeric(12,0)", "numeric", -1, False),
                ("bigint", "numeric", -1, False), ("varchar(3)", "varchar", 9, False)):
            self.sql(f"DROP TABLE IF EXISTS shop.kinds; CREATE TABLE shop.kinds (k {ours})")
            self.assertEqual(self.sql("SELECT boxhaul.sink_rounds('shop.kinds', 'k', %s::regtype, %s)", theirs, modifier), [(rounds,)], (ours, theirs, modifier))

    def test_a_trigger_of_a_partition(self):
        self.sql("DROP TABLE shop.lines; CREATE TABLE shop.lines (order_id bigint, line integer, sku text, PRIMARY KEY (order_id, line)) PARTITION BY HASH (order_id); "
                 "CREATE TABLE shop.part PARTITION OF shop.lines FOR VALUES WITH (MODULUS 1, REMAINDER 0); CREATE FUNCTION shop.none() RETURNS trigger LANGUAGE plpgsql AS "
                 "'BEGIN RETURN NULL; END'; CREATE TRIGGER hush BEFORE INSERT ON shop.part FOR EACH ROW EXECUTE FUNCTION shop.none(); ALTER TABLE shop.part ENABLE REPLICA TRIGGER hush")
        self.assertEqual(self.sql("SELECT trouble, hint FROM boxhaul.sink_troubles('shop.lines', '{}', NULL) WHERE trouble ~ 'always'"),
                         [("trigger hush of table shop.part fires always, also for what was done at the source already", "ALTER TABLE shop.part ENABLE TRIGGER hush;")])

    def test_a_column_that_is_generated_at_the_source(self):
        """It is never sent, so a plain column of that name would stay empty, and no pass would look at it."""
        self.start()
        ask = "SELECT unknown, unsent FROM boxhaul.verify_way(%s, 'public.orders', jsonb_build_array(jsonb_build_object('name', 'worth', 'type', 'numeric', 'collation', '', 'unsent', true)))"
        self.assertEqual(self.sql(ask, NAME), [(None, None)])
        self.sql("ALTER TABLE shop.orders ADD worth numeric")
        self.assertEqual(self.sql(ask, NAME), [(None, "worth")])
        self.sql("ALTER TABLE shop.orders DROP worth; ALTER TABLE shop.orders ADD worth numeric GENERATED ALWAYS AS (total * 2) STORED")
        self.assertEqual(self.sql(ask, NAME), [(None, None)])


class Untrusted(SinkTest):
    replicates = False

    def test_a_table_with_a_trigger_is_refused(self):
        self.sql(Triggers.TRIGGER)
        self.define()
        self.lead()
        self.stream.begin("public.orders")
        trouble = self.take()[1]
        self.assertIn("trigger note of table shop.orders would fire for what was done at the source already", trouble)
        self.sql("ALTER TABLE shop.orders DISABLE TRIGGER note")
        self.take_well()

    def test_a_rule_is_refused(self):
        """It would leave undone what the stream says, and nobody would be told."""
        self.sql("CREATE RULE kept AS ON DELETE TO shop.orders DO INSTEAD NOTHING")
        self.define()
        self.lead()
        self.stream.begin("public.orders")
        self.assertIn("rule kept of table shop.orders would act on what was done at the source already", self.take()[1])
        self.assertRegex(self.sink("error_hint")[0], "disable the rule")
        self.sql("ALTER TABLE shop.orders DISABLE RULE kept")
        self.take_well()

    def test_a_trigger_of_a_partition_is_refused(self):
        """One of its root is named once."""
        self.sql("""DROP TABLE shop.lines; CREATE TABLE shop.lines (order_id bigint, line integer, sku text, PRIMARY KEY (order_id, line)) PARTITION BY HASH (order_id);
            CREATE TABLE shop.part PARTITION OF shop.lines FOR VALUES WITH (MODULUS 1, REMAINDER 0);
            GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON shop.lines, shop.part TO boxhaul_sink;
            CREATE FUNCTION shop.none() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
            CREATE TRIGGER hush BEFORE INSERT ON shop.part FOR EACH ROW EXECUTE FUNCTION shop.none();
            CREATE TRIGGER all_of_them AFTER INSERT ON shop.lines FOR EACH ROW EXECUTE FUNCTION shop.none();
            CREATE TRIGGER not_for_the_root AFTER INSERT ON shop.part EXECUTE FUNCTION shop.none()""")
        ask = "SELECT trouble FROM boxhaul.sink_troubles('shop.lines', '{}', NULL) ORDER BY 1"
        said = "trigger {} of table {} would fire for what was done at the source already"
        self.assertEqual(self.sql(ask, user=SINK), [(said.format("all_of_them", "shop.lines"),), (said.format("hush", "shop.part"),)])
        self.sql("ALTER TABLE shop.part DISABLE TRIGGER hush; ALTER TABLE shop.lines DISABLE TRIGGER all_of_them")
        self.assertEqual(self.sql(ask, user=SINK), [])

    def test_a_truncate_behind_rows_that_a_foreign_key_has_yet_to_look_at(self):
        self.start()
        self.stream.alone("c", "public.orders", order(1))
        with self.stream.transaction():
            self.stream.change("c", "public.lines", line(1, 1))
            self.stream.change("t", "public.lines")
            self.stream.change("c", "public.lines", line(1, 2))
        self.take_well()
        self.assertEqual(self.sql("SELECT line FROM shop.lines"), [(2,)])

    def test_the_name_of_a_function_is_no_statement(self):
        """The sink writes it, and whoever cuts over has more rights."""
        self.start()
        self.addCleanup(self.sql, "DROP ROLE IF EXISTS intruder")
        self.sql("UPDATE boxhaul.sink_table SET function = 'shop.person($1); CREATE ROLE intruder; SELECT shop.person' WHERE source = 'public.people'", user=SINK)
        with self.assertRaises(psycopg2.Error):
            self.sql("SELECT boxhaul.sink_row_as_target(%s, 'public.people', '{\"id\": 1, \"name\": \"ann\"}')", NAME)
        self.assertEqual(self.sql("SELECT 1 FROM pg_roles WHERE rolname = 'intruder'"), [])

    def test_foreign_keys_are_looked_at_when_the_transaction_ends(self):
        self.start()
        with self.stream.transaction():
            self.stream.change("c", "public.lines", line(1, 1))
            self.stream.change("c", "public.orders", order(1))
        self.take_well()
        self.stream.alone("c", "public.lines", line(5, 1))
        self.assertIn("violates foreign key constraint", self.take()[1])
        self.assertEqual(self.sql("SELECT order_id FROM shop.lines"), [(1,)])


    def test_foreign_keys_are_named_before_anything_begins(self):
        def said():
            return self.sql("SELECT target, trouble FROM boxhaul.sink_check(%s) WHERE trouble LIKE 'foreign key%%' ORDER BY 1", json.dumps(TABLES[:2]), user=SINK)
        self.assertEqual(said(), [(f"shop.{table}", "foreign key lines_order_id_fkey of table shop.lines would be asked while rows come, which is table by table") for table in ("lines", "orders")])
        if self.version >= 150000:
            self.pg.execute(f"GRANT SET ON PARAMETER session_replication_role TO {SINK}")
            self.assertEqual(said(), [])


class Lasting(SinkTest):
    """A key WITHOUT OVERLAPS: times of one thing that do not meet."""

    RATES = [{"from": "public.rates", "to": "shop.rates", "columns": ["*"], "function": ""}]

    def setUp(self):
        super().setUp()
        if self.version < 180000:
            self.skipTest("it came with 18")
        self.sql("CREATE TABLE shop.rates (item int4range, during daterange, price text, PRIMARY KEY (item, during WITHOUT OVERLAPS)); "
                 "GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON shop.rates TO boxhaul_sink")
        self.define(self.RATES)
        self.lead()

    def begin(self, id="s1"):
        self.stream._send({"op": "snapshot-begin", "table": "public.rates", "snapshot": id, "format": "text", "order": "commit", "columns": [
            {"name": "item", "type": 3904, "typmod": -1, "key": 1}, {"name": "during", "type": 3912, "typmod": -1, "key": 2}, {"name": "price", "type": 25, "typmod": -1}]})

    def price(self, op, during, price="1", old=None):
        key = {"item": "[1,2)", "during": during}
        self.stream.alone_of(op, "public.rates", key, {**key, "price": price}, old and {**key, "during": old})

    def rates(self):
        return self.sql("SELECT during::text, price FROM shop.rates ORDER BY 1")

    def test_it_is_refused_by_name(self):
        self.begin()
        self.assertIn("table shop.rates has no primary key or unique index on item, during but one WITHOUT OVERLAPS, by which no row can be found", self.take()[1])
        self.assertEqual(self.sink("error_hint"), ("ALTER TABLE shop.rates ADD UNIQUE (item, during); It is tried again by itself.",))
        self.assertIn(("ALTER TABLE shop.rates ADD UNIQUE (the same columns);",), self.sql("SELECT hint FROM boxhaul.sink_check(%s)", json.dumps(self.RATES), user=SINK))
        self.sql("ALTER TABLE shop.rates ADD UNIQUE (item, during)")
        self.take_well()

    def test_with_an_index_besides(self):
        self.sql("ALTER TABLE shop.rates ADD UNIQUE (item, during)")
        self.begin()
        self.stream._send({"op": "snapshot-end", "table": "public.rates", "snapshot": "s1"})
        self.price("c", "[2026-01-01,2026-02-01)")
        self.price("c", "[2026-02-01,2026-03-01)", "2")
        self.price("u", "[2026-01-01,2026-01-15)", "3", old="[2026-01-01,2026-02-01)")  # it gives way to the next one
        self.price("c", "[2026-01-15,2026-02-01)", "4")
        self.price("d", "[2026-02-01,2026-03-01)")
        self.take_well()
        self.assertEqual(self.rates(), [("[2026-01-01,2026-01-15)", "3"), ("[2026-01-15,2026-02-01)", "4")])
        self.begin("s2")  # in between they were all put together
        self.price("r", "[2026-01-01,2026-03-01)", "5")
        self.stream._send({"op": "snapshot-end", "table": "public.rates", "snapshot": "s2"})
        self.take_well()
        self.assertEqual(self.rates(), [("[2026-01-01,2026-03-01)", "5")])


class Snapshots(SinkTest):
    def test_nothing_before_the_beginning_of_a_table(self):
        self.define()
        self.lead()
        self.stream.alone("c", "public.orders", order(1))
        self.stream.begin("public.orders")
        self.stream.alone("c", "public.orders", order(2))
        self.stream.alone("c", "public.lines", line(2, 1))
        self.take_well()
        self.assertEqual((self.orders("id"), self.sql("SELECT 1 FROM shop.lines")), ([(2,)], []))
        self.assertEqual(self.states(), {"public.orders": "reading", "public.lines": "incomplete", "public.people": "incomplete"})
        self.assertEqual(self.sink("complete"), (False,))

    def test_complete_at_the_end(self):
        self.define()
        self.lead()
        for table in SHAPES:
            self.stream.begin(table)
        self.stream.change("r", "public.orders", order(1))
        self.stream.end("public.orders", "another")
        self.take_well()
        self.assertEqual(set(self.states().values()), {"reading"})
        for table in SHAPES:
            self.stream.end(table)
        self.take_well()
        self.assertEqual((set(self.states().values()), self.sink("complete")), ({"complete"}, (True,)))

    def test_an_update_of_a_row_that_is_not_read_yet(self):
        self.define()
        self.lead()
        self.stream.begin("public.orders")
        self.stream.alone("u", "public.orders", order(1, "bob"), unchanged=["doc"])
        self.stream.alone("u", "public.orders", order(2, "cid"))
        self.take_well()
        self.assertEqual(self.orders("id"), [(2,)])
        self.stream.change("r", "public.orders", order(1, "bob"))
        self.stream.end("public.orders")
        self.take_well()
        self.assertEqual((self.orders("id"), self.sink("missing")), ([(1,), (2,)], (0,)))

    def test_an_update_that_finds_no_row_is_a_difference(self):
        self.start()
        self.stream.alone("u", "public.orders", order(1, "bob"), unchanged=["doc"])
        self.stream.alone("u", "public.orders", order(2, "cid"))
        self.take_well()
        self.assertEqual((self.orders("id"), self.sink("missing")), ([(2,)], (2,)))

    def test_what_was_there_before_goes_at_the_end(self):
        self.start()
        with self.stream.transaction():
            for n in range(1, 8):
                self.stream.change("c", "public.orders", order(n))
        self.take_well()
        self.stream.begin("public.orders", "s2")
        self.stream.change("r", "public.orders", order(1, "new"))                                      # is there
        self.stream.alone("u", "public.orders", order(2, "new"), unchanged=["doc"])                    # touched, and read no more
        self.stream.alone("u", "public.orders", order(13, "new"), old={"id": "3"}, unchanged=["doc"])  # has moved
        self.stream.alone("c", "public.orders", order(9))
        self.stream.alone("d", "public.orders", order(4))
        self.take_well()
        self.assertEqual([n for n, in self.orders("id")], [1, 2, 5, 6, 7, 9, 13])
        self.stream.end("public.orders", "s2")
        self.take_well()
        self.assertEqual([n for n, in self.orders("id")], [1, 2, 9, 13])
        self.assertEqual(self.sql("SELECT swept, sweep FROM boxhaul.sink_table WHERE source = 'public.orders'"), [(3, False)])
        self.assertEqual(self.sql("SELECT 1 FROM boxhaul.sink_seen"), [])

    def test_several_rows_in_one_message(self):
        """Alone and together with what stands around them; where the table is new, where rows are there from before, and by a function."""
        def write(s):
            self.define()
            self.lead()
            s.rows("public.orders", order(8))  # before the beginning
            for table in ("public.orders", "public.people"):
                s.begin(table)
            s.rows("public.orders", order(1), order(2))
            s.rows("public.orders", order(3), order(4))
            s.rows("public.people", *({"id": str(n), "name": name, "age": "17"} for n, name in enumerate(("ann", "test person", "cid"), 1)))
            s.rows("public.unknown", {"id": "1"}, {"id": "2"})
            s.alone("u", "public.orders", order(2, "bob"), unchanged=["doc"])
            s.alone("d", "public.orders", order(3))
            s.rows("public.orders", order(5), order(6))

        def check():
            self.assertEqual(self.orders("id, client"), [(1, "ann"), (2, "bob"), (4, "ann"), (5, "ann"), (6, "ann")])
            self.assertEqual(self.sql("SELECT id, name FROM shop.people ORDER BY 1"), [(1, "ANN"), (3, "CID")])
            self.assertEqual(self.sink("applied, skipped"), (2 + 6 + 3 + 2, 2))  # what begins, rows, rows, changes; before the beginning, unknown
            self.assertEqual(self.sql("SELECT source, rows FROM boxhaul.sink_table WHERE rows > 0 ORDER BY 1"), [("public.orders", 8), ("public.people", 3)])
        for size in (1000, 1):
            with self.subTest(size=size):
                self.again()
                write(self.stream)
                for upto in range(len(self.stream.messages) if size == 1000 else 1, len(self.stream.messages) + 1):
                    self.take_well(upto)
                check()

    def test_rows_that_come_again_in_one_message(self):
        """Those of an attempt that was broken off and of the next one may meet in one batch; and rows from before go at the end."""
        self.start()
        for n in (1, 2, 7):
            self.stream.alone("c", "public.orders", order(n))
        self.take_well()
        self.stream.begin("public.orders", "s2")
        self.stream.rows("public.orders", order(1), order(2, "bob"))
        self.stream.rows("public.orders", order(2, "cid"), order(3))
        self.stream.end("public.orders", "s2")
        self.take_well()
        self.assertEqual(self.orders("id, client"), [(1, "ann"), (2, "cid"), (3, "ann")])

    def test_a_row_among_several_that_is_refused(self):
        self.define()
        self.lead()
        self.sql("CREATE UNIQUE INDEX ON shop.orders (client)")
        self.stream.begin("public.orders")
        self.stream.rows("public.orders", order(1, "ann"), order(2, "bob"))
        self.stream.rows("public.orders", order(3, "cid"), order(4, "ann"))
        taken, trouble = self.take()
        self.assertEqual((taken, self.orders("id")), (None, [(1,), (2,)]))
        self.assertIn("duplicate key", trouble)
        self.assertIn("(message 3 of the stream)", trouble)
        self.sql("DROP INDEX shop.orders_client_idx")
        self.take_well()
        self.assertEqual(self.orders("id"), [(1,), (2,), (3,), (4,)])

    def test_a_column_of_ones_own_makes_no_room(self):
        """It has the name of one of the source's, and is not mapped: its values say nothing of rows there."""
        self.start("public.orders", tables=[{**TABLES[0], "columns": ["customer=client"]}])
        self.sql("ALTER TABLE shop.orders ALTER doc DROP DEFAULT, ALTER doc DROP NOT NULL; CREATE UNIQUE INDEX ON shop.orders (doc)")
        for n in (1, 2):
            self.stream.alone("c", "public.orders", order(n, doc="long"))
        self.take_well()
        self.sql("UPDATE shop.orders SET doc = 'long' WHERE id = 2")
        self.stream.begin("public.orders", "s2")
        self.stream.change("r", "public.orders", order(1, "bob", doc="long"))
        self.take_well()
        self.assertEqual(self.orders("id, client, doc"), [(1, "bob", None), (2, "ann", "long")])

    def stale_row_of_notes(self, client, *statements):
        """Where the sink is no replica, foreign keys act. The row 2 is in the way of the new row 1, and a note refers to it. Returns the trouble."""
        self.again()
        self.start("public.orders")
        self.sql(f"ALTER TABLE shop.orders ALTER client {client}; CREATE UNIQUE INDEX ON shop.orders (client); CREATE TABLE shop.notes (of integer REFERENCES shop.orders ON DELETE CASCADE); "
                 "GRANT SELECT ON shop.notes TO boxhaul_sink")
        for n, name in enumerate(("ann", "bob"), 1):
            self.stream.alone("c", "public.orders", order(n, name))
        self.take_well()
        self.sql(";".join(("INSERT INTO shop.notes VALUES (2)", *statements)))
        self.stream.begin("public.orders", "s2")
        self.stream.change("r", "public.orders", order(1, "bob"))
        return self.take()[1]

    def test_rows_of_others_do_not_go_with_one_that_makes_room(self):
        self.replicates = False
        self.assertIsNone(self.stale_row_of_notes("DROP NOT NULL"))
        self.assertEqual(self.orders("id, client"), [(1, "bob"), (2, None)])  # its value goes
        self.stream.change("r", "public.orders", order(2, "ann"))
        self.stream.end("public.orders", "s2")
        self.take_well()
        self.assertEqual(self.orders("id, client"), [(1, "bob"), (2, "ann")])
        self.assertEqual(self.sql("SELECT of FROM shop.notes"), [(2,)])
        for how in (("SET NOT NULL",), ("DROP NOT NULL", "ALTER TABLE shop.orders ADD CHECK (client <> '' AND client IS NOT NULL)"),
                    ("DROP NOT NULL", "REVOKE SELECT ON shop.notes FROM boxhaul_sink", "ALTER TABLE shop.orders ALTER client SET NOT NULL")):
            with self.subTest(how):
                self.assertIn("duplicate key value", self.stale_row_of_notes(*how))
                self.assertEqual(self.sql("SELECT of FROM shop.notes"), [(2,)])
                self.sql("DELETE FROM shop.notes; GRANT SELECT ON shop.notes TO boxhaul_sink")
                self.take_well()
                self.assertEqual(self.orders("id, client"), [(1, "bob")])

    def test_rows_that_refer_to_the_value_itself(self):
        self.replicates = False
        self.again()
        self.start("public.orders")
        self.sql("ALTER TABLE shop.orders ADD UNIQUE (client); CREATE TABLE shop.notes (of varchar REFERENCES shop.orders (client) ON UPDATE CASCADE); GRANT SELECT ON shop.notes TO boxhaul_sink")
        for n, name in enumerate(("ann", "bob"), 1):
            self.stream.alone("c", "public.orders", order(n, name))
        self.take_well()
        self.sql("INSERT INTO shop.notes VALUES ('bob')")
        self.stream.begin("public.orders", "s2")
        self.stream.change("r", "public.orders", order(1, "bob"))
        self.assertIn("duplicate key value", self.take()[1])
        self.assertEqual(self.sql("SELECT of FROM shop.notes"), [("bob",)])

    def test_rows_that_refer_to_it_in_other_letters(self):
        """Equal is what the foreign key takes for it: the row would go, and the other one with it."""
        if not self.sql("SELECT 1 FROM pg_available_extensions WHERE name = 'citext'"):
            self.skipTest("this PostgreSQL has no citext")
        self.replicates = False
        self.again()
        self.sql("""CREATE EXTENSION citext SCHEMA shop; ALTER TABLE shop.orders ALTER client TYPE shop.citext; ALTER TABLE shop.orders ADD UNIQUE (client);
            CREATE TABLE shop.notes (of shop.citext REFERENCES shop.orders (client) ON DELETE CASCADE); GRANT SELECT ON shop.notes TO boxhaul_sink""")
        self.start("public.orders")
        for n, name in enumerate(("ann", "bob"), 1):
            self.stream.alone("c", "public.orders", order(n, name))
        self.take_well()
        self.sql("INSERT INTO shop.notes VALUES ('BOB')")
        self.stream.begin("public.orders", "s2")
        self.stream.change("r", "public.orders", order(1, "bob"))
        self.assertIn("duplicate key value", self.take()[1])
        self.assertEqual(self.sql("SELECT of::text FROM shop.notes"), [("BOB",)])

    def test_rows_of_others_that_refer_to_a_partition(self):
        if self.version < 150000:
            self.skipTest("a sink that is no superuser needs 15")
        self.pg.execute(f"REVOKE SET ON PARAMETER session_replication_role FROM {SINK}")
        self.sql("""DROP TABLE shop.lines;
            CREATE TABLE shop.lines (order_id bigint, line integer, sku text, PRIMARY KEY (order_id, line), UNIQUE (sku, line)) PARTITION BY LIST (line);
            CREATE TABLE shop.lines_1 PARTITION OF shop.lines FOR VALUES IN (1);
            CREATE TABLE shop.notes (n integer PRIMARY KEY, order_id bigint, line integer, FOREIGN KEY (order_id, line) REFERENCES shop.lines_1 ON DELETE CASCADE);
            GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON ALL TABLES IN SCHEMA shop TO boxhaul_sink;
            INSERT INTO shop.lines VALUES (1, 1, 'a'), (2, 1, 'b');
            INSERT INTO shop.notes VALUES (1, 1, 1)""")
        self.define(TABLES[1:2])
        self.lead()
        self.stream.begin("public.lines")
        self.stream.rows("public.lines", line(2, 1, "a"), line(1, 1, "b"))
        self.take_well()
        self.assertEqual(self.sql("SELECT order_id, sku FROM shop.lines ORDER BY 1"), [(1, "b"), (2, "a")])
        self.assertEqual(self.sql("SELECT order_id FROM shop.notes"), [(1,)])

    def test_keys_whose_texts_are_longer_than_an_index_holds(self):
        """Their bytes are not, of which the table has its index. No other key is taken for one of them."""
        self.sql("CREATE TABLE shop.blobs (content bytea, part integer, name text UNIQUE, PRIMARY KEY (content, part)); "
                 "GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON shop.blobs TO boxhaul_sink")
        self.define([{"from": "public.blobs", "to": "shop.blobs", "columns": ["*"], "function": ""}])
        self.lead()
        rng = random.Random(1)
        rows = [{"content": "\\x" + rng.randbytes(size).hex(), "part": str(part), "name": f"{size} {part}"} for size in (1500, 490, 10) for part in (1, 2, 3)]
        self.stream.begin("public.blobs")
        self.stream.rows("public.blobs", *rows)
        self.stream.end("public.blobs")
        self.take_well()
        rows = [row for row in rows if row["part"] != "3"]
        rows[0]["name"], rows[1]["name"] = rows[1]["name"], rows[0]["name"]
        self.stream.begin("public.blobs", "s2")
        self.stream.rows("public.blobs", *rows, *rows[:1])
        self.stream.end("public.blobs", "s2")
        self.take_well()
        self.assertEqual(self.sql("SELECT content::text, part::text, name FROM shop.blobs ORDER BY 1, 2"),
                         sorted((row["content"], row["part"], row["name"]) for row in rows))
        self.assertEqual(self.sql("SELECT swept FROM boxhaul.sink_table"), [(3,)])

    def test_values_that_changed_places_while_nothing_was_captured(self):
        """Rows from before have the values of those that come, and go; what has come stays."""
        self.start()
        self.sql("CREATE UNIQUE INDEX ON shop.orders (client)")
        for n, name in enumerate(("ann", "bob", "cid", "dan", "eve"), 1):
            self.stream.alone("c", "public.orders", order(n, name, doc=f"of {n}"))
            self.stream.alone("c", "public.people", {"id": str(n), "name": name, "age": "30"})
        self.take_well()
        self.stream.begin("public.orders", "s2")
        self.stream.begin("public.people", "s2")
        self.stream.change("r", "public.orders", order(1, "bob"))
        self.stream.alone("u", "public.orders", order(2, "ann"), unchanged=["doc"])                     # which is not here any more
        self.stream.alone("u", "public.orders", order(13, "dan"), old={"id": "3"}, unchanged=["doc"])   # has moved, and has its value from another one
        self.stream.alone("u", "public.orders", order(15, "eve"), old={"id": "5"}, unchanged=["doc"])   # has moved, and has its own
        self.stream.change("r", "public.orders", order(2, "ann"))
        self.stream.change("r", "public.people", {"id": "1", "name": "bob", "age": "30"})
        self.stream.change("r", "public.people", {"id": "2", "name": "ann", "age": "30"})
        self.stream.alone("u", "public.people", {"id": "13", "name": "dan", "age": "30"}, old={"id": "3"})
        for table in ("public.orders", "public.people"):
            self.stream.end(table, "s2")
        self.take_well()
        self.assertEqual(self.orders("id, client, doc"), [(1, "bob", "long"), (2, "ann", "long"), (13, "dan", "of 3"), (15, "eve", "of 5")])
        self.assertEqual(self.sql("SELECT id, name FROM shop.people ORDER BY 1"), [(1, "BOB"), (2, "ANN"), (13, "DAN")])

    def test_each_kind_of_index_that_was_in_the_way(self):
        """By an expression, with a predicate, of values that are all NULL, of GENERATED columns and columns of the target's own, and by an exclusion."""
        kinds = ["CREATE UNIQUE INDEX ON shop.orders (lower(client))", "CREATE UNIQUE INDEX ON shop.orders (client) WHERE id < 10",
                 "CREATE UNIQUE INDEX ON shop.orders (lower(client), (id % 2)) WHERE total > 1",
                 "ALTER TABLE shop.orders ADD known text GENERATED ALWAYS AS (lower(client)) STORED UNIQUE",
                 "ALTER TABLE shop.orders ADD known text GENERATED ALWAYS AS (lower(client)) STORED; CREATE UNIQUE INDEX ON shop.orders (upper(known), (total > 1)) WHERE known <> ''",
                 "ALTER TABLE shop.orders ADD tenant integer NOT NULL DEFAULT 1, ADD UNIQUE (tenant, client)",
                 "ALTER TABLE shop.orders ADD tenant varchar(9) DEFAULT 'it''s', ADD known text GENERATED ALWAYS AS (tenant::text || '/' || client) STORED UNIQUE",
                 "CREATE FUNCTION shop.whose(text, text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1 || $2'; GRANT EXECUTE ON FUNCTION shop.whose TO boxhaul_sink; "
                 "CREATE UNIQUE INDEX ON shop.orders (shop.whose(noted_by, client))",
                 "ALTER TABLE shop.orders ADD EXCLUDE USING btree (client WITH =)", "ALTER TABLE shop.orders ADD UNIQUE (client) DEFERRABLE INITIALLY DEFERRED"]
        if self.version >= 150000:
            kinds.append("CREATE UNIQUE INDEX ON shop.orders (client) NULLS NOT DISTINCT")
        for kind in kinds:
            with self.subTest(kind):
                self.again()
                self.start("public.orders")
                self.sql(kind)
                names = ("ann", "bob", None, "dan") if "NULLS" in kind else ("ann", "bob", "cid", "dan")
                for n, name in enumerate(names):
                    self.stream.alone("c", "public.orders", order(2 * n + 1, name, doc=f"of {n}"))
                self.take_well()
                self.stream.begin("public.orders", "s2")
                self.stream.change("r", "public.orders", order(1, names[2]))
                self.stream.alone("u", "public.orders", order(3, "ann"))
                self.stream.alone("u", "public.orders", order(15, names[3], doc="moved"), old={"id": "5"})
                self.stream.end("public.orders", "s2")
                self.take_well()
                self.assertEqual(self.orders("id, client"), [(1, names[2]), (3, "ann"), (15, names[3])])

    def test_what_a_column_of_ones_own_is(self):
        """As it is in the row that is here; in a new one its default, where that is known before."""
        for own, room in (("text", False), ("text DEFAULT 'x'", True), ("text DEFAULT upper('x')", False), ("integer GENERATED BY DEFAULT AS IDENTITY", False)):
            with self.subTest(own):
                self.again()
                self.start("public.orders")
                self.sql(f"DROP TABLE shop.lines; ALTER TABLE shop.orders ADD own {own}; CREATE UNIQUE INDEX ON shop.orders (own, client)")
                for n in (1, 2):
                    self.stream.alone("c", "public.orders", order(n, f"of {n}"))
                self.take_well()
                self.stream.begin("public.orders", "s2")
                self.stream.change("r", "public.orders", order(3, "of 2"))
                trouble = self.take()[1]
                self.assertEqual((trouble or "")[:13], "duplicate key" if "upper" in own else "")
                self.assertEqual(self.orders("id"), [(1,), (3,)] if room else [(1,), (2,)] if trouble else [(1,), (2,), (3,)])
        self.again()
        self.start("public.orders")
        self.sql("DROP TABLE shop.lines; ALTER TABLE shop.orders ADD own text DEFAULT clock_timestamp()::text; CREATE UNIQUE INDEX ON shop.orders (own, total)")
        for n in (1, 2, 3):
            self.stream.alone("c", "public.orders", order(n, total=f"{n}.10"))
        self.take_well()
        self.sql("UPDATE shop.orders SET own = id % 2")
        self.stream.begin("public.orders", "s2")
        self.stream.alone("u", "public.orders", order(1, total="3.099"))  # as the column rounds it
        self.stream.alone("u", "public.orders", order(2, total="3.10"))
        self.take_well()
        self.assertEqual(self.orders("id, own, total::text"), [(1, "1", "3.10"), (2, "0", "3.10")])

    def test_a_value_that_two_rows_have_that_have_come(self):
        self.start()
        self.sql("CREATE UNIQUE INDEX ON shop.orders (client)")
        self.stream.alone("c", "public.orders", order(1))
        self.take_well()
        self.stream.begin("public.orders", "s2")
        self.stream.change("r", "public.orders", order(2, "bob"))
        self.stream.change("r", "public.orders", order(3, "bob"))
        self.assertIn("duplicate key", self.take()[1])
        self.sql("DROP INDEX shop.orders_client_idx")
        self.take_well()
        self.assertEqual(self.orders("id"), [(1,), (2,), (3,)])

    def test_a_value_from_before_a_resync_that_has_not_come_yet(self):
        """The table is complete, and nothing is known of its rows, for nobody reads them at the source; what is said helps."""
        self.start()
        self.sql("CREATE UNIQUE INDEX ON shop.orders (client)")
        self.stream.alone("c", "public.orders", order(1, "ann"))
        self.take_well()
        self.stream.alone("c", "public.orders", order(2, "ann"))  # 1 has changed while nothing was captured
        self.assertIn("duplicate key", self.take()[1])
        self.assertIn("drop the constraint or the unique index, and make it again when the tables are complete", self.sink("error_hint")[0])
        self.sql("DROP INDEX shop.orders_client_idx")
        self.take_well()
        self.stream.begin("public.orders", "s2")
        self.stream.change("r", "public.orders", order(1, "bob"))
        self.stream.change("r", "public.orders", order(2, "ann"))
        self.stream.end("public.orders", "s2")
        self.take_well()
        self.sql("CREATE UNIQUE INDEX ON shop.orders (client)")
        self.assertEqual(self.orders("id, client"), [(1, "bob"), (2, "ann")])

    def test_a_history_that_another_one_follows(self):
        """Nothing is applied to what lacks the changes in between, until its rows are read again."""
        def told(history):
            self.stream.tell("public.orders", history=history)
            self.take_well()
            return self.states()["public.orders"]

        def begun(id, history, state="reading"):
            self.stream.begin("public.orders", id, history=history)
            self.take_well()
            self.assertEqual(self.states(), {"public.orders": state, "public.lines": "complete", "public.people": "complete"})
        self.start()
        self.sql("CREATE UNIQUE INDEX ON shop.orders (client)")
        self.assertEqual(told("h1"), "complete")    # it was so by what was read, or by somebody's word
        self.stream.alone("c", "public.orders", order(1, "ann"))
        with self.stream.transaction():
            self.stream.change("c", "public.orders", order(3, "dan"))
            self.stream.tell("public.orders", history="h2")
            self.stream.change("c", "public.orders", order(2, "ann"))  # 1 is another one's by then
            self.stream.change("c", "public.lines", line(1, 1))
        self.take_well()
        self.assertEqual((self.orders("id, client"), self.states()["public.orders"], self.sql("SELECT order_id FROM shop.lines")), ([(1, "ann"), (3, "dan")], "incomplete", [(1,)]))
        self.assertEqual(told("h2"), "incomplete")  # said again
        begun("s2", "h2")
        self.assertEqual(told("h2"), "reading")     # of the same one
        self.assertEqual(told("h3"), "incomplete")  # while it was read
        begun("s3", "h3")
        begun("s4", "h4")                           # the rows begin before the first change
        self.assertEqual(told("h4"), "reading")
        for n, name in ((1, "bob"), (2, "ann")):
            self.stream.change("r", "public.orders", order(n, name))
        self.stream.end("public.orders", "s4")
        self.take_well()
        self.assertEqual((self.orders("id, client"), self.states()["public.orders"]), ([(1, "bob"), (2, "ann")], "complete"))
        self.stream.tell("public.orders")           # from one whose rows nobody reads
        self.take_well()
        self.assertEqual(self.states()["public.orders"], "complete")

    def test_a_key_that_changes_to_one_from_before(self):
        self.start()
        for n in (1, 2):
            self.stream.alone("c", "public.orders", order(n))
        self.take_well()
        self.stream.begin("public.orders", "s2")
        self.stream.alone("u", "public.orders", order(2, "was 1"), old={"id": "1"}, unchanged=["doc"])
        self.stream.end("public.orders", "s2")
        self.take_well()
        self.assertEqual(self.orders("id, client"), [(2, "was 1")])

    def test_a_loss_makes_all_of_them_incomplete(self):
        for how in ("lost", "rewind", "history"):
            with self.subTest(how):
                self.again()
                self.start()
                self.assertEqual(set(self.states().values()), {"complete"})
                self.stream.alone("c", "public.orders", order(1))
                if how == "rewind":
                    self.sql("SELECT boxhaul.inbox_rewind(%s, %s)", NAME, str(self.place()[0] - 1))
                elif how == "history":
                    self.sql("UPDATE boxhaul.inbox_position SET incarnation = incarnation + 1")
                self.take_well(lost=1 if how == "lost" else 0)
                self.assertEqual((set(self.states().values()), self.orders()), ({"incomplete"}, []))
                self.stream.begin("public.orders", "s2")
                self.stream.alone("c", "public.orders", order(2))
                self.take_well()
                self.assertEqual(self.orders("id"), [(2,)])

    def test_another_way_needs_another_reading(self):
        self.start()
        self.assertEqual(self.define(), [])
        said = self.define([{**TABLES[0], "columns": ["id"]}, *TABLES[1:2]])
        self.assertEqual(said, ["table public.orders goes to shop.orders in another way, and has to be read anew", "table public.people is not applied any more"])
        self.assertEqual(self.states(), {"public.orders": "incomplete", "public.lines": "complete"})

    def test_a_sink_without_a_snapshot_is_started_by_hand(self):
        self.define(snapshot="none")
        self.lead()
        shape = {"op": "s", "table": "public.orders", "columns": self.stream.shape("public.orders"), "format": "text", "order": "commit"}
        self.stream._send(shape)
        self.stream.alone("c", "public.orders", order(1))
        self.stream._send(None, {"Boxhaul-Token": "t1"})
        self.stream.alone("c", "public.orders", order(2))
        self.sql("DROP FUNCTION IF EXISTS boxhaul.sink_token(text, text); CREATE FUNCTION boxhaul.sink_token(subscription text, token text) RETURNS void LANGUAGE sql AS 'SELECT boxhaul.sink_complete(subscription)'; "
                 "GRANT EXECUTE ON FUNCTION boxhaul.sink_token(text, text) TO boxhaul_sink")
        self.take_well()
        self.assertEqual(self.orders("id"), [(2,)])

    def test_a_subscription_of_workers_is_no_sink(self):
        self.sql("SELECT boxhaul.inbox_define(%s, 'CDC', ARRAY['cdc.>'], 'none', 1, 'position')", NAME, user=SINK)
        self.sql("UPDATE boxhaul.inbox_position SET position = 5")
        with self.assertRaisesRegex(psycopg2.Error, "has taken messages for workers"):
            self.define()

    def test_two_tables_do_not_go_to_one(self):
        """The one that is read later would sweep the rows of the other one."""
        with self.assertRaisesRegex(psycopg2.Error, "more than one table goes to shop.*orders.*: public.orders, public.old_orders"):
            self.define([TABLES[0], {**TABLES[0], "from": "public.old_orders", "to": 'shop."orders"'}])
        self.define([TABLES[0], {**TABLES[1], "from": "public.old_orders"}])

    def test_it_is_forgotten_with_its_subscription(self):
        self.start()
        with self.stream.transaction(last=False):
            self.stream.change("c", "public.orders", order(1))
        self.take_well()
        self.sql("SELECT boxhaul.inbox_drop(%s)", NAME, user=OPERATOR)
        self.assertEqual(self.sql("SELECT (SELECT count(*) FROM boxhaul.sink), (SELECT count(*) FROM boxhaul.sink_table), (SELECT count(*) FROM boxhaul.sink_held)"),
                         [(0, 0, 0)])


PASS, LATER = "00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002"


class Passes(SinkTest):
    """What a verify pass says, as its capture sends it."""

    def setUp(self):
        super().setUp()
        self.sql("DELETE FROM boxhaul.verify_result; DELETE FROM boxhaul.verify_difference")
        self.define(TABLES[:1])
        self.lead()
        self.stream.ready("public.orders")
        self.take_well()

    def apply(self, *rows, op="c"):
        for row in rows:
            self.stream.alone(op, "public.orders", row)
        self.take_well()

    def verify(self, name, *rows, repair=False, table="public.orders"):
        for what in ("begin", "rows", "end"):
            body = {"op": "v", "what": what, "table": table, "pass": name, "keys": False, "repair": repair, "reading": 1}
            if what == "rows":
                names = [n for n, *_ in (SHAPES | OTHERS)[table]]
                body |= {"key": names[:1], "columns": names, "rows": [[[row[names[0]]], row] for row in rows]}
            self.stream._send(body)
        self.take_well()

    def test_rows_that_a_pass_says_while_the_table_is_not_complete(self):
        """It meets what is said behind it again, and proves nothing all the same."""
        self.define(TABLES[:1], snapshot="none")
        self.verify(PASS, order(1))
        said = [json.loads(payload) | {"pass": LATER} for payload, _ in self.stream.messages[-3:]]
        for body, state in zip(said, ("complete", "incomplete", "complete")):
            self.sql("UPDATE boxhaul.sink_table SET state = %s", state)
            self.stream._send(body)
            self.take_well()
        self.assertEqual(self.sql("SELECT ended_at IS NOT NULL, rows, why FROM boxhaul.verify_result WHERE pass = %s", LATER),
                         [(True, 0, "the table was not complete here while the pass was under way")])

    def test_what_cannot_be_compared_proves_nothing_and_stops_nothing(self):
        self.apply(order(1))
        self.verify(PASS, order(1, total="no number"))
        ((ended, why),) = self.sql("SELECT ended_at IS NOT NULL, why FROM boxhaul.verify_result WHERE pass = %s", PASS)
        self.assertTrue(ended)
        self.assertIn("invalid input syntax for type numeric", why)
        self.apply(order(2))
        self.assertEqual(self.orders("id"), [(1,), (2,)])

    def figures(self):
        """(different, different_tab, unproved, proved)"""
        return self.sql("SELECT different, different_tab, unproved, proved_us IS NOT NULL FROM boxhaul.verify_figures(%s)", NAME)[0]

    def test_a_row_that_is_right_again_makes_no_room(self):
        """It differed once, and its difference is not closed yet. The target is stricter than the source, so the other row has no room: that is said."""
        one, two = order(1), order(2)
        self.apply(one, two)
        self.sql("UPDATE shop.orders SET client = 'hand' WHERE id = 2")
        self.verify(PASS, one, two)
        self.assertEqual(self.figures(), (1, "public.orders", 1, False))
        self.apply(two, op="u")
        self.sql("DELETE FROM shop.orders WHERE id = 1; CREATE UNIQUE INDEX twins ON shop.orders (client)")
        self.verify(LATER, two, one, repair=True)
        self.assertEqual(self.orders("id, client"), [(2, "ann")])
        self.assertEqual(self.sql("SELECT key, kind FROM boxhaul.verify_difference WHERE proved_at IS NULL AND repaired_at IS NULL"), [(["1"], "missing")])
        self.assertIn("twins", self.sql("SELECT why FROM boxhaul.verify_result WHERE pass = %s", LATER)[0][0])

    def test_values_that_changed_places_are_set_right_in_one_pass(self):
        self.sql("CREATE UNIQUE INDEX once ON shop.orders (client)")
        one, two = order(1, customer="ann"), order(2, customer="bob")
        self.apply(order(1, customer="bob"), order(2, customer="ann"))
        self.verify(PASS, one, two, repair=True)
        self.assertEqual(self.orders("id, client"), [(1, "ann"), (2, "bob")])

    def test_values_of_keys_that_a_cast_to_text_writes_in_another_way(self):
        """One of inet gets its /32 by that."""
        self.sql("CREATE TABLE shop.hosts (address inet PRIMARY KEY, name text UNIQUE); GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON shop.hosts TO boxhaul_sink")
        self.define([{"from": "public.hosts", "to": "shop.hosts", "columns": ["*"], "function": ""}])
        self.stream.ready("public.hosts")
        self.take_well()
        self.sql("INSERT INTO shop.hosts VALUES ('10.0.0.1', 'bob'), ('10.0.0.2', 'ann')")
        self.verify(PASS, {"address": "10.0.0.1", "name": "ann"}, {"address": "10.0.0.2", "name": "bob"}, repair=True, table="public.hosts")
        self.assertEqual(self.sql("SELECT host(address), name FROM shop.hosts ORDER BY 1"), [("10.0.0.1", "ann"), ("10.0.0.2", "bob")])

    def test_keys_that_the_source_cannot_have(self):
        """What its type cannot read, and what it would cut off: that is the key of another row."""
        self.sql("CREATE TABLE shop.short (code varchar(3), number numeric(4,1), day integer, PRIMARY KEY (code, number, day))")
        good, bad = [["abc", "1.5", "7"], ["ab", "100", "8"]], [["abcd", "1.5", "7"], ["abc", "1.55", "7"], ["abc", "1.5", "seven"], ["abc", "12345", "7"]]
        for keys, readable in ((good, good), (good + bad, good), (bad, []), ([], [])):
            self.assertEqual(self.sql("SELECT readable, unreadable FROM boxhaul.verify_readable('shop.short', %s)", json.dumps(keys)),
                             [(readable, [[key, None] for key in keys if key in bad])])

    def test_a_table_that_is_not_applied_any_more_does_not_differ(self):
        """No pass could say that it does not. When it comes again, no pass has proved it. (It may be taken out in a session in which triggers do not fire.)"""
        self.apply(order(1))
        self.verify(PASS, order(1))
        self.verify(LATER, order(1), order(2))
        self.assertEqual(self.figures(), (1, "public.orders", 1, False))
        self.sql("SET session_replication_role = replica; SELECT boxhaul.sink_define(%s, %s)", NAME, json.dumps(TABLES[1:2]))
        self.assertEqual(self.figures(), (0, None, 1, False))
        self.define(TABLES[:1])
        self.sql("UPDATE boxhaul.sink_table SET state = 'complete'")
        self.assertEqual(self.sql("SELECT pass, open, why FROM boxhaul.verify_standing(%s)", NAME), [(None, 0, "no verify pass over it has ended")])

    def left(self):
        """Tables that have a row with the subscription's name."""
        tables = self.sql("SELECT c.table_name FROM information_schema.columns c JOIN information_schema.tables t USING (table_schema, table_name) "
                          "WHERE c.table_schema = 'boxhaul' AND c.column_name = 'subscription' AND t.table_type = 'BASE TABLE'")
        return {table for (table,) in tables if self.sql(f"SELECT 1 FROM boxhaul.{table} WHERE subscription = %s LIMIT 1", NAME)}

    def test_nothing_is_left_of_what_is_dropped(self):
        """But what was decided of its moves."""
        self.apply(order(1))
        self.verify(PASS, order(1), order(2))
        self.sql("INSERT INTO boxhaul.verify_mark (subscription, tab, reading, key) VALUES (%s, 'public.orders', 1, '{1}')", NAME)
        self.sql("INSERT INTO boxhaul.move_target (token, subscription, tables) VALUES (%s, %s, '{}')", PASS, NAME)
        self.assertLessEqual({"sink", "sink_table", "verify_result", "verify_difference", "verify_mark", "move_target", "inbox_position"}, self.left())
        with self.assertRaisesRegex(errors.ObjectInUse, f"move {PASS} waits for subscription {NAME}"):
            self.sql("SELECT boxhaul.inbox_drop(%s)", NAME, user=OPERATOR)
        self.sql("SELECT boxhaul.move_give_up(%s, %s)", PASS, NAME)
        self.sql("SELECT boxhaul.inbox_drop(%s)", NAME, user=OPERATOR)
        self.assertEqual(self.left(), {"move_target"})
        self.sql("DELETE FROM boxhaul.move_target")

    def test_what_differs_is_counted_up_to_a_number(self):
        """Each row once, whoever has found it; and a table whose differences were not counted is not proved."""
        self.define(TABLES[:2])
        self.sql("UPDATE boxhaul.sink_table SET state = 'complete'")
        self.verify(PASS)
        self.sql("INSERT INTO boxhaul.verify_result (pass, subscription, tab, keys, repair, reading, making, began_xid, ended_at) "
                 "SELECT %s, %s, 'public.lines', false, false, 1, boxhaul.verify_making(%s, 'public.lines'), 1, now()", PASS, NAME, NAME)
        self.assertEqual(self.figures(), (0, None, 0, True))
        add = ("INSERT INTO boxhaul.verify_difference (subscription, tab, pass, kind, key) SELECT %s, %s, p::uuid, 'changed', ARRAY[k::text] "
               "FROM generate_series(1, %s) k, unnest(%s) p")
        self.sql(add, NAME, "public.lines", 9999, [PASS, LATER])
        self.assertEqual(self.figures(), (9999, "public.lines", 1, False))
        self.sql(add, NAME, "public.orders", 2, [PASS])
        self.assertEqual(self.figures(), (10000, "public.lines", 2, False))
        self.sql(add.replace("ARRAY[k::text]", "ARRAY['more', k::text]"), NAME, "public.lines", 9, [PASS])
        self.assertEqual(self.figures(), (10000, "public.lines", 2, False))

    def test_a_table_that_is_not_complete_is_not_proved(self):
        self.apply(order(1))
        self.verify(PASS, order(1))
        self.assertEqual(self.figures(), (0, None, 0, True))
        self.stream.alone("u", "public.orders", order(1))
        self.take(lost=1)
        self.assertEqual(self.figures(), (0, None, 1, False))


class Several(SinkTest):
    """A message of several changes does what its changes do that come by themselves: the same rows, counts and errors, wherever it begins and ends."""

    TABLES = [*TABLES, {"from": "public.prices", "to": "shop.prices", "columns": ["*"], "function": ""}]
    TARGETS = {"shop.orders": "*", "shop.people": "*", "shop.prices": "price::text, label, doc", "shop.lines": "*"}
    # What stops the sink somewhere, and how it is mended.
    SPOILS = {"": "", "CREATE UNIQUE INDEX twins ON shop.orders (client)": "DROP INDEX shop.twins", "ALTER TABLE shop.orders ADD CONSTRAINT few CHECK (id < 12) NOT VALID":
              "ALTER TABLE shop.orders DROP CONSTRAINT few", "CREATE UNIQUE INDEX twins ON shop.prices (label)": "DROP INDEX shop.twins",
              "ALTER TABLE shop.people ADD CONSTRAINT grown CHECK (adult OR id > 3)": "ALTER TABLE shop.people DROP CONSTRAINT grown"}
    NAMES = ("ann", "bob", "cid", "dan", "eve", "test one", "fay", "gus", "hal", "ida", "jon", "kim")

    def test_it_is_the_same_as_one_by_one(self):
        for seed in range(FIRST_SEED, FIRST_SEED + SEEDS):
            with self.subTest(seed=seed):
                self.run_seed(random.Random(seed))

    def run_seed(self, rng):
        self.stream, self.count = Stream(), 0
        self.write(rng)
        singles = self.stream.messages
        many, ends = put_together(singles, rng)
        self.assertLess(len(many), len(singles))
        spoil, sizes = rng.choice(list(self.SPOILS)), rng.choice(((1, 2, 3), (2, 9, 40), (1000,)))
        cuts = self.cuts(rng, len(many), sizes)
        there = self.outcome(singles, [ends[cut - 1] for cut in cuts], spoil)
        here = self.outcome(many, cuts, spoil)
        self.assertEqual(here, there)
        # In parts, and cut elsewhere: how often a row is written may differ, and what it is in the end does not.
        other = self.outcome(many, self.cuts(rng, len(many), (1, 2, 7, 30)), spoil, rng.choice((1, 2, 5)))
        self.assertEqual((other["rows"], other["counts"]), (here["rows"], here["counts"]))

    @staticmethod
    def cuts(rng, n, sizes):
        cuts = [0]
        while cuts[-1] < n:
            cuts.append(min(n, cuts[-1] + rng.choice(sizes)))
        return cuts[1:]

    def outcome(self, messages, cuts, spoil, part=10000):
        """What is there when all was given up to each of these places, and what was told meanwhile."""
        self.again()
        self.define(self.TABLES, part=part)
        self.lead()
        self.sql("INSERT INTO shop.orders (id, client, doc) SELECT n, 'stale ' || n, 'stale' FROM generate_series(1, 20, 3) n")
        self.stream.messages, told = messages, []
        self.sql(spoil or "SELECT")
        for cut in cuts:
            taken, trouble = self.take(cut)
            if trouble is not None:
                self.assertIsNone(taken)
                told.append((re.sub(r"message \d+", "message", trouble), self.sink("error_state, error_tx, error_count, place"), self.rows(), self.seen()))
                self.sql(self.SPOILS[spoil])
                self.take_well(cut)
            told.append((self.seen(), self.rows()))
        return {"told": told, "rows": self.rows(), "counts": self.sink("applied, transactions, skipped, held, place, complete"), "missing": self.sink("missing"),
                "tables": self.sql("SELECT source, state, rows, missing, swept, slow FROM boxhaul.sink_table ORDER BY source")}

    def rows(self):
        return {target: sorted(self.sql(f"SELECT {columns} FROM {target}"), key=str) for target, columns in self.TARGETS.items()}

    def seen(self):
        return self.sql("SELECT source, key FROM boxhaul.sink_seen ORDER BY 1, 2")

    def write(self, rng):
        """Tables that are read, one of them into rows from before, and changes all the while; one that is never begun, and one that nobody wants."""
        world = {table: {} for table in ("public.orders", "public.people", "public.prices", "public.lines", "public.other")}
        for table in ("public.orders", "public.people", "public.prices"):
            self.stream.begin(table)
        turns, snapshot = rng.randint(4, 20), rng.choice(("s1", "s2"))
        for turn in range(turns):
            if turn == turns // 3:
                self.stream.begin("public.orders", snapshot)  # perhaps anew, into what has come till now
            elif turn == turns * 2 // 3:
                self.stream.end("public.orders", rng.choice((snapshot, "another")))
                self.stream.end("public.people")
                self.stream.end("public.prices")
            with self.stream.transaction():
                for _ in range(rng.choice((1, 1, 2, 3))):
                    table = rng.choice(("public.orders", "public.orders", *world))
                    for _ in range(rng.choice((1, 2, 4, 9))):
                        self.step(rng, table, world[table])
                if self.stream.index == 0:
                    self.step(rng, "public.other", world["public.other"])

    def step(self, rng, table, rows):
        n, self.count = str(rng.randint(1, 12)), self.count + 1
        make = {"public.orders": lambda n: order(n, rng.choice(self.NAMES), doc=f"d{self.count}"), "public.lines": lambda n: line(n, 1),
                "public.people": lambda n: {"id": n, "name": f"{rng.choice(self.NAMES)} {self.count}", "age": str(rng.randint(15, 20))},
                "public.prices": lambda n: {"price": n + rng.choice(("", ".0", ".00")), "label": f"{rng.choice(self.NAMES)} {self.count % 5}", "doc": f"d{self.count}"},
                "public.other": lambda n: {"id": n, "v": str(self.count)}}[table]
        if n not in rows:
            if rng.random() < 0.05:  # is there, though nobody has said so
                self.stream.change("u", table, make(n), unchanged=["doc"] if "doc" in make(n) else ())
                return
            rows[n] = make(n)
            self.stream.change("c", table, rows[n])
            return
        row, what = {**make(n), **self.stream.key(table, rows[n])}, rng.random()
        if what < 0.25:
            self.stream.change("d", table, rows.pop(n), old=self.stream.key(table, row) if what < 0.1 else None)
        elif what < 0.35 and (free := [to for to in map(str, range(1, 15)) if to not in rows]):
            to, old = rng.choice(free), self.stream.key(table, rows.pop(n))
            rows[to] = make(to)
            self.stream.change("u", table, rows[to], old=old)
        elif what < 0.7 and "doc" in row:
            rows[n] = {**row, "doc": rows[n]["doc"]}
            self.stream.change("u", table, rows[n], unchanged=["doc"])
        else:
            rows[n] = row
            self.stream.change("u", table, row, old=row if what > 0.9 else None)

    def test_a_key_that_stands_in_it_several_times(self):
        self.start()
        with self.stream.transaction():
            self.stream.change("c", "public.orders", order(1, doc="first"))
            self.stream.change("u", "public.orders", order(1, "bob", doc="second"))
            self.stream.change("u", "public.orders", order(1, "cid"), unchanged=["doc"])
            self.stream.change("c", "public.orders", order(2))
            self.stream.change("d", "public.orders", order(2))
        self.stream.messages[-5:] = [several(self.stream.messages[-5:])]
        before, = self.sink("applied")
        self.take_well()
        self.assertEqual((self.orders("id, client, doc"), self.sink("applied, transactions, skipped")), ([(1, "cid", "second")], (before + 5, 1, 0)))

    def test_messages_are_held_back_and_not_changes(self):
        self.start(part=2)
        with self.stream.transaction():
            for n in range(1, 13):
                self.stream.change("c", "public.orders", order(n))
        made = [several(self.stream.messages[n - 3:n or None]) for n in (-9, -6, -3, 0)]
        self.stream.messages[-12:] = made
        seen = []
        for upto in range(self.place()[0] + 1, len(self.stream.messages) + 1):
            self.take_well(upto)
            seen.append((len(self.orders()), *self.sink("held, split")))
        self.assertEqual(seen, [(0, 1, False), (0, 2, False), (9, 0, True), (12, 0, False)])

    def test_one_that_holds_what_it_may_not(self):
        self.start()
        good = {"op": "c", "key": {"id": "1"}, "row": order(1)}
        for changes in (None, [], {}, "c", [good, {"op": "t"}], [good, {}], [good, {"op": "m", "changes": [good, good]}], [good, {**good, "op": "r"}],
                        [good, {"op": "snapshot-end"}], [good, 1]):
            for table in ("public.orders", "public.other", None):
                with self.subTest(changes=changes, table=table):
                    self.stream._send({"op": "m", "table": table, **({} if changes is None else {"changes": changes})})
                    self.assertIn(f"(message {len(self.stream.messages)} of the stream)", self.take()[1])
                    self.assertEqual(self.orders(), [])
                    self.stream.messages.pop()


class AtRandom(SinkTest):
    """Tables that change at random, in batches cut at random: whatever is put together, the outcome is that of the log."""

    def test_the_outcome_is_that_of_the_log(self):
        for seed in range(FIRST_SEED, FIRST_SEED + SEEDS):
            with self.subTest(seed=seed):
                self.again()
                self.run_seed(random.Random(seed))

    def run_seed(self, rng):
        rows = {n: order(n, f"was {n}", doc=f"doc {n}") for n in range(1, 15)}
        unread, before = list(rows), rng.random() < 0.5
        if before:  # rows of an earlier life
            self.sql("INSERT INTO shop.orders (id, client, doc) SELECT n, 'stale', 'stale' FROM generate_series(1, 20, 3) n")
        self.define(part=rng.choice((3, 10, 1000)))
        self.lead()
        self.stream.begin("public.orders")
        again = set()       # rows to be read once more
        for _ in range(rng.randint(5, 40)):
            with self.stream.transaction():
                for _ in range(rng.choice((1, 1, 2, 5, 12))):
                    self.step(rng, rows, unread, again)
                self.stream.change("c", "public.lines", line(1, 1))  # of a table that is not read
            if rng.random() < 0.3 and unread:
                self.read(unread.pop(0), rows)
        for n in unread + sorted(again):
            self.read(n, rows)
        self.stream.end("public.orders")
        last = len(self.stream.messages)
        while self.place()[0] < last:
            self.take_well(min(last, self.place()[0] + rng.choice((1, 2, 7, 50, 500))))
        expected = [(n, rows[n]["customer"], rows[n]["doc"]) for n in sorted(rows)]
        self.assertEqual(self.orders("id, client, doc"), expected)
        self.assertEqual(self.sink("missing"), (0,))

    def read(self, n, rows):
        if n in rows:
            self.stream.change("r", "public.orders", rows[n])

    def step(self, rng, rows, unread, again):
        n, free = rng.randint(1, 25), [n for n in range(1, 30) if n not in rows]
        self.count = getattr(self, "count", 0) + 1
        if n not in rows:
            rows[n] = order(n, f"c{self.count}", doc=f"d{self.count}")
            self.stream.change("c", "public.orders", rows[n])
            return
        what = rng.random()
        row = {**rows[n], "customer": f"u{self.count}"}
        if what < 0.2:
            self.stream.change("d", "public.orders", rows.pop(n))
        elif what < 0.35 and free:
            to = rng.choice(free)
            del rows[n]
            rows[to] = {**row, "id": str(to)}
            self.stream.change("u", "public.orders", rows[to], old={"id": str(n)}, unchanged=["doc"])
            again.add(to)
        elif what < 0.7:
            rows[n] = row
            self.stream.change("u", "public.orders", row, unchanged=["doc"])
        else:
            rows[n] = {**row, "doc": f"d{self.count}"}
            self.stream.change("u", "public.orders", rows[n])


if __name__ == "__main__":
    unittest.main()
