#!/usr/bin/python3 -B
"""The tools that judge a capture, tested: the judge sees each kind of fault, the load is as nasty as it says, a commit can be held in limbo."""

import contextlib
import json
import threading
import time
import unittest

import psycopg2

from copied import Copy, Damaged, Source, parse, position_of
from event_values import Type, expected
from jetstream import Stored
from legacy import TABLES, Legacy, Ways, create_tables
from limbo import Limbo
from pgoutput_log import UNCHANGED, Log
from process import Workspace, wait_until
from servers import Postgres

T = "public.t"


def message(seq, op, key=1, position=None, last=True, id=None, table=T, **body):
    """As a correct relay would have stored it."""
    headers = {"Nats-Msg-Id": [id or f"id-{seq}"]}
    if op != "r":
        headers["Boxhaul-Position"] = [position or f"0/{seq:X}.{seq}.0"]
        if last:
            headers["Boxhaul-Last"] = ["1"]
    return Stored(seq, f"cdc.{table}", headers, json.dumps({"op": op, "table": table, "key": {"id": key}, **body}).encode())


def row(id=1, v="a", **more):
    return {"id": id, "v": v, **more}


class Rows:
    """A source that is said, not asked."""

    tables = [T]

    def __init__(self, *rows):
        self._rows = {f'{{"id": {r["id"]}}}': r for r in rows}

    def rows(self, _table):
        return self._rows


class Judge(unittest.TestCase):
    def judge(self, stream, *rows, faults=None, **options):
        copy = Copy(**options).read(stream)
        copy.compare(Rows(*rows))
        self.assertEqual(dict(copy.faults), faults or {}, copy.examples)
        return copy

    def test_all_is_well(self):
        self.judge([message(1, "r", row=row()), message(2, "c", key=2, row=row(2)), message(3, "u", row=row(v="b")), message(4, "d", key=2)],
                   row(v="b"))

    def test_transactions(self):
        def change(seq, place, last):
            return message(seq, "u", position=place, last=last, row=row(v=str(seq)))
        self.judge([change(1, "0/10.5.0", False), change(2, "0/10.5.1", True), change(3, "0/20.6.0", True)], row(v="3"))
        self.judge([change(1, "0/10.5.0", False), change(3, "0/20.6.0", True)], row(v="3"), faults={"torn": 1})
        self.judge([change(1, "0/10.5.0", True), change(2, "0/10.5.1", True)], row(v="2"), faults={"torn": 1})
        self.judge([change(1, "0/10.5.1", False), change(2, "0/10.5.0", True)], row(v="2"), faults={"disorder": 1})
        self.judge([change(1, "0/20.6.0", True), change(2, "0/10.5.0", True)], row(v="2"), faults={"disorder": 1})
        self.judge([change(1, "0/20.6.0", True), change(2, "0/10.5.0", True)], row(v="2"), owned=False)

    def test_at_a_gap_the_log_may_go_back_or_a_transaction_be_cut_off(self):
        """Once for each, and never back in time."""
        stream = [message(1, "u", position="0/20.6.0", row=row()), message(2, "u", position="0/10.7.0", row=row()),
                  message(3, "u", position="0/8.8.0", row=row())]
        self.judge(stream[:2], row(), gaps=1)
        self.judge(stream, row(), gaps=1, faults={"disorder": 1})
        cut_off = [message(1, "u", position="0/20.6.0", last=False, row=row()), message(2, "u", position="0/30.7.0", row=row())]
        self.judge(cut_off, row(), faults={"torn": 1})
        self.judge(cut_off, row(), gaps=1)

    def test_twice(self):
        copy = self.judge([message(1, "c", row=row()), message(2, "u", id="id-1", row=row(v="b"))], row(), faults={"twice": 1})
        self.assertIn("id-1 at 1 and 2", copy.examples[0])

    def test_damaged(self):
        good = message(1, "c", row=row())
        for what in (b"", b"{", b"[]", b'{"op": "x", "table": "t"}', b'{"op": "c", "table": "t", "key": {"id": 1}}',
                     b'{"op": "u", "table": "t", "row": {}}', b'{"op": "u", "table": "t", "key": {}, "row": {"v": null}, "unchanged": ["v"]}'):
            with self.assertRaises(Damaged, msg=what):
                parse(good._replace(payload=what))
        for gone in ("Nats-Msg-Id", "Boxhaul-Position"):
            headers = {name: value for name, value in good.headers.items() if name != gone}
            self.assertEqual(dict(Copy().read([good._replace(headers=headers)]).faults), {"damaged": 1})
        self.assertEqual(position_of("3B/1260.849253375684112.3"), (0x3B00001260, 849253375684112, 3))

    def test_stale_rows_of_a_snapshot(self):
        self.judge([message(1, "u", row=row(v="b")), message(2, "r", row=row(v="b"))], row(v="b"))
        self.judge([message(1, "u", row=row(v="b")), message(2, "r", row=row())], row(), faults={"stale": 1})
        self.judge([message(1, "d"), message(2, "r", row=row())], row(), faults={"stale": 1})
        self.judge([message(1, "t"), message(2, "r", row=row())], row(), faults={"stale": 1})
        self.judge([message(1, "u", key=2, old={"id": 1}, row=row(2)), message(2, "r", row=row())], row(), row(2), faults={"stale": 1})
        self.judge([message(1, "d"), message(2, "r", row=row())], row(), strict=False)

    def test_what_did_not_change_is_kept(self):
        changed = message(2, "u", row={"id": 1, "n": 2}, unchanged=["v"])
        self.judge([message(1, "c", row=row(n=1)), changed], row(n=2))
        self.judge([changed], row(n=2), faults={"partial": 1})
        self.judge([changed, message(3, "r", row=row(n=2))], row(n=2))
        self.judge([message(1, "c", row=row(n=1)), message(2, "u", row=row(v=None, n=2))], row(n=2), faults={"different": 1})
        moved = message(2, "u", key=2, old={"id": 1}, row={"id": 2}, unchanged=["v"])
        self.judge([message(1, "c", row=row()), moved], row(2))
        self.judge([moved], row(2), faults={"partial": 1})
        self.judge([message(1, "u", old=row(v="o"), row={"id": 1}, unchanged=["v"])], row(v="o"))

    def test_the_end(self):
        stream = [message(1, "c", row=row())]
        self.judge(stream, row(), row(2), faults={"missing": 1})
        self.judge(stream, faults={"surplus": 1})
        self.judge(stream, row(v="b"), faults={"different": 1})
        self.assertEqual(Copy().read(stream).compare(Rows(row())), (1, 1, 0))
        self.assertEqual(Copy().read(stream).compare(Rows(row(v="b"), row(2))), (2, 1, 2))

    def test_truncate(self):
        self.judge([message(1, "c", row=row()), message(2, "t"), message(3, "c", key=2, row=row(2))], row(2))

    def test_several_rows_in_one_message(self):
        columns = [{"name": "id", "type": 23, "key": 1}, {"name": "v", "type": 25}]
        def rows(seq, *rows):
            return Stored(seq, f"cdc.{T}", {"Nats-Msg-Id": [f"id-{seq}"]}, json.dumps({"op": "r", "table": T, "rows": rows}).encode())
        begun = message(1, "snapshot-begin", columns=columns)
        self.assertEqual(self.judge([begun, rows(2, row(), row(2))], row(), row(2)).counts["r"], 2)
        self.judge([begun, message(2, "u", row=row(v="b")), rows(3, row(2), row())], row(), row(2), faults={"stale": 1})
        self.judge([rows(1, row(), row(2))], faults={"damaged": 1, "surplus": 1})
        self.judge([begun, rows(2, row())], faults={"damaged": 1})

    def test_several_changes_in_one_message(self):
        def several(seq, *changes, position=None, last=True, **body):
            many = message(seq, "m", position=position, last=last)
            return many._replace(payload=json.dumps({"op": "m", "table": T, "changes": changes, "at": "now", **body}).encode())
        came, changed, gone = {"op": "c", "key": {"id": 1}, "row": row(n=1)}, {"op": "u", "key": {"id": 1}, "row": {"id": 1, "n": 2}, "unchanged": ["v"]}, {"op": "d", "key": {"id": 1}}
        copy = self.judge([several(1, came, changed)], row(n=2))
        self.assertEqual(copy.counts, {"c": 1, "u": 1})
        self.judge([several(1, came, gone)])
        self.judge([message(1, "r", row=row()), several(2, changed, changed)], row(n=2))
        self.judge([several(1, came, changed), message(2, "r", row=row(n=1))], row(n=1), faults={"stale": 1})
        self.judge([several(1, came, gone, position="0/10.5.1", last=False), message(2, "c", position="0/10.5.2", row=row())], row())
        self.judge([several(1, came, gone, position="0/10.5.1"), message(2, "c", position="0/10.5.2", row=row())], row(), faults={"torn": 1})
        moved, unsent = {**changed, "old": {"id": 2}}, {**changed, "row": row()}
        for bad in ([came], [], None, [came, {"op": "t"}], [came, {"op": "c", "row": row()}], [came, {"op": "c", "key": {"id": 1}}], [came, unsent], [came, moved],
                    [came, {**gone, "table": T}], [came, {**gone, "op": "m"}]):
            self.judge([several(1, changes=bad)], faults={"damaged": 1})
        self.judge([several(1, came, gone, key={"id": 1})], faults={"damaged": 1})
        headers = {"Nats-Msg-Id": ["id-1"]}
        self.judge([several(1, came, gone)._replace(headers=headers)], faults={"damaged": 1})

    def test_what_was_rolled_back(self):
        self.judge([message(1, "c", row=row(changed_by="undone c1-1"))], row(changed_by="undone c1-1"), faults={"uncommitted": 1})

    def test_of_what_came_before_a_snapshot_nothing_counts(self):
        stream = [message(1, "r", row=row()), message(2, "r", key=2, row=row(2)), message(3, "d", key=3), message(4, "snapshot-begin"),
                  message(5, "r", row=row(v="b")), message(6, "c", key=3, row=row(3)), message(7, "snapshot-end")]
        self.judge(stream, row(v="b"), row(3))
        # A value that did not change since may have changed in the gap.
        stream = [message(1, "r", row=row()), message(2, "snapshot-begin"), message(3, "u", row={"id": 1}, unchanged=["v"])]
        self.judge(stream, row(), faults={"partial": 1})
        self.judge([*stream, message(4, "r", row=row(v="b"))], row(v="b"))


class Values(unittest.TestCase):
    def test_each_type(self):
        for text, kind, value in (
                (None, "int4", None), ("t", "bool", True), ("9223372036854775807", "int8", 9223372036854775807), ("1.50", "numeric", "1.50"),
                ("NaN", "numeric", "NaN"), ("0.5", "float8", 0.5), ("-Infinity", "float4", "-Infinity"), ("\\x00ff", "bytea", "AP8="),
                ("2026-01-02 03:04:05.678+00", "timestamptz", "2026-01-02T03:04:05.678Z"), ("infinity", "timestamptz", "infinity"),
                ("2026-01-02 03:04:05", "timestamp", "2026-01-02T03:04:05"), ("null", "jsonb", None), ('{"a": [1]}', "json", {"a": [1]}),
                ("P1M2DT3H", "interval", "P1M2DT3H"), ("it's back", "state", "it's back")):
            self.assertEqual(expected(text, Type(kind)), value, kind)

    def test_arrays(self):
        for text, element, value in (
                ("{}", "text", []), ("{a,NULL,\"NULL\",\"b \\\"c\\\\\"}", "text", ["a", None, "NULL", 'b "c\\']), ("{{1,2},{3,NULL}}", "int4", [[1, 2], [3, None]]),
                ("[0:1]={t,f}", "bool", [True, False]), ('{"{\\"a\\": 1}"}', "jsonb", [{"a": 1}]), ('{"2026-01-02 03:04:05+00"}', "timestamptz", ["2026-01-02T03:04:05Z"])):
            self.assertEqual(expected(text, Type("", element)), value, text)


class Live(unittest.TestCase):
    """Against a real PostgreSQL: a stream is made from its log by the plainest of all relays, and damaged."""

    @classmethod
    def setUpClass(cls):
        workspace = cls.enterClassContext(Workspace())
        cls.pg = workspace.add(Postgres(workspace.path("pg"), wal_level="logical", fsync="off", max_prepared_transactions=5)).start()
        with contextlib.closing(cls.pg.connect()) as connection:
            create_tables(connection, orders=100)
        cls.pg.execute(f"CREATE PUBLICATION everything FOR TABLE {', '.join(TABLES)}")
        cls.log = Log(cls.pg, "postgres", ["everything"])
        cls.first = {form: [(t, r) for t in TABLES for r in Source(cls.pg, "postgres", TABLES, form).rows(t).values()] for form in ("row", "text")}
        cls.legacy = Legacy(cls.pg.conninfo(), clients=6, orders=100, seed=1)
        with cls.legacy:
            wait_until(lambda: cls.legacy.committed > 400, "some transactions", progress=lambda: cls.legacy.committed)
            cls.legacy.truncate("legacy.stock", "legacy.order_lines")
            wait_until(lambda: cls.legacy.committed > 600, "some transactions", progress=lambda: cls.legacy.committed)
        cls.logged = cls.log.changes()

    def stream(self, form="row"):
        """The snapshot of a quiet server, and the log behind it."""
        source, stored = Source(self.pg, "postgres", TABLES, form), []

        def add(op, table, body, headers):
            stored.append(Stored(len(stored) + 1, table, {"Nats-Msg-Id": [f"id-{len(stored)}"], **headers},
                                 json.dumps({"op": op, "table": table, **body}, default=float).encode()))
        for table, values in self.first[form]:
            add("r", table, {"key": {name: values[name] for name in source.types(table)[1]}, "row": values}, {})
        each = [(change, table) for change in self.logged for table in change.tables]
        for n, (change, table) in enumerate(each):
            lsn, at, _index = change.position
            headers = {"Boxhaul-Position": [f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}.{at}.{n}"]}
            if n + 1 == len(each) or each[n + 1][0].position[:2] != change.position[:2]:
                headers["Boxhaul-Last"] = ["1"]
            add(change.op, table, self.body(change, source), headers)
        return source, stored

    @staticmethod
    def body(change, source):
        if change.op == "t":
            return {}
        keys, new, old = source.types(change.table)[1], change.new, change.old
        body = {"key": {name: source.events(change.table, new or old)[name] for name in keys} if not new else
                {name: source.events(change.table, {name: new[name]})[name] for name in keys}}
        if new:
            body["row"] = source.events(change.table, {name: text for name, text in new.items() if text is not UNCHANGED})
            body["unchanged"] = [name for name, text in new.items() if text is UNCHANGED]
            if old:
                body["old"] = source.events(change.table, old)
        return body

    def test_a_true_stream_makes_a_true_copy(self):
        self.assertEqual(self.legacy.errors, [])
        for form in ("row", "text"):
            source, stored = self.stream(form)
            copy = Copy().read(stored)
            there, here, different = copy.compare(source)
            self.assertEqual((dict(copy.faults), here, different), ({}, there, 0), copy.examples)
            self.assertGreater(there, 100)
            self.assertEqual(copy.compare_with_log(self.logged, source), len(self.logged) + 1)  # the TRUNCATE of two
            self.assertEqual(dict(copy.faults), {}, copy.examples)

    def test_each_damage_is_seen(self):
        source, stored = self.stream()
        changes = [n for n, s in enumerate(stored) if "Boxhaul-Position" in s.headers]
        middle = changes[len(changes) // 2]
        for what, stream in (("one is missing", stored[:middle] + stored[middle + 1:]),
                             ("one is there twice", stored[:middle] + [stored[middle]] + stored[middle:]),
                             ("the last is missing", stored[:-1]),
                             ("two have changed places", stored[:middle] + [stored[middle + 1], stored[middle]] + stored[middle + 2:]),
                             ("a value is another", [self.spoil(s) if n == middle else s for n, s in enumerate(stored)])):
            copy = Copy().read(stream)
            copy.compare(source)
            copy.compare_with_log(self.logged, source)
            self.assertFalse(copy.clean(), what)

    @staticmethod
    def spoil(stored):
        body = json.loads(stored.payload)
        body["op"] = "d" if body["op"] != "d" else "c"
        body.setdefault("row", {"changed_by": "nobody"})
        return stored._replace(payload=json.dumps(body).encode())

    def test_the_load_has_all_that_is_hard(self):
        ops = {change.op for change in self.logged}
        self.assertEqual(ops, set("cudt"))
        updates = [c for c in self.logged if c.op == "u"]
        self.assertTrue(any(UNCHANGED in c.new.values() for c in updates), "unchanged large values")
        for table in ("legacy.orders", "legacy.order_lines"):
            self.assertTrue(any(c.old and c.table == table for c in updates), "changed keys")
        self.assertTrue(any(c.old and UNCHANGED in c.new.values() for c in updates), "changed keys with unchanged large values")
        by_transaction = {}
        for c in self.logged:
            by_transaction.setdefault(c.position[:2], []).append(c)
        self.assertTrue(any(len({c.table for c in t}) > 1 for t in by_transaction.values()), "several tables in a transaction")
        self.assertTrue(any(a.op == "c" and b.op == "d" and a.new["id"] == b.old["id"] for t in by_transaction.values()
                            for a, b in zip(t, t[1:]) if a.table == b.table == "legacy.orders"), "inserted and deleted in one")
        lsns, xids = [t[0].position[0] for t in by_transaction.values()], [t[0].xid for t in by_transaction.values()]
        self.assertEqual(lsns, sorted(lsns))
        self.assertNotEqual(xids, sorted(xids), "commits out of the order in which they began")


class InLimbo(unittest.TestCase):
    def setUp(self):
        workspace = self.enterContext(Workspace())
        self.pg = workspace.add(Postgres(workspace.path("pg"), wal_level="logical", fsync="off")).start()
        self.pg.execute("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1); CREATE PUBLICATION p FOR TABLE t")
        self.limbo = workspace.add(Limbo(self.pg)).start()

    def test_what_is_streamed_is_not_yet_seen(self):
        log = Log(self.pg, "postgres", ["p"])
        self.limbo.silent = True
        with contextlib.closing(psycopg2.connect(self.pg.conninfo())) as connection:
            connection.autocommit = True
            writer = threading.Thread(target=lambda: connection.cursor().execute("UPDATE t SET v = 2"))
            writer.start()
            wait_until(self.limbo.waiting, "the commit to wait")
            # The log tells of it, a snapshot does not show it.
            self.assertEqual([c.new["v"] for c in log.changes()], ["2"])
            self.assertEqual(self.pg.execute("SELECT v FROM t"), [(1,)])
            self.limbo.silent = False
            writer.join()
        self.assertEqual(self.pg.execute("SELECT v FROM t"), [(2,)])

    def test_it_answers_late(self):
        def commit():
            begun = time.monotonic()
            self.pg.execute("UPDATE t SET v = v + 1")
            return time.monotonic() - begun
        self.limbo.delay = 0.3
        self.assertGreater(commit(), 0.25)

    def test_when_it_has_gone_nobody_waits(self):
        self.limbo.silent = True
        self.limbo.close()
        self.pg.execute("UPDATE t SET v = 3")


if __name__ == "__main__":
    unittest.main()
