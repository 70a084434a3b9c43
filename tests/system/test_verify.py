"""`boxhaul verify`: tables of another database, made of what a capture sends, are compared with those of the source while both are in use. What somebody has done
to the target by hand is found, named, set right and proved. The rows are applied here by the SQL of the sink (boxhaul.sink_apply()), batch by batch."""

import contextlib
import json
import threading
import unittest

import psycopg2

from captures import STREAM, CaptureTest
from harness import RELAY
from process import DEADLINE

SINK, NAME, PASS = "verify_sink", "moved", "00000000-0000-4000-8000-000000000001"
TARGET = """
CREATE SCHEMA moved;
CREATE TABLE moved.orders (LIKE legacy.orders INCLUDING ALL);
ALTER TABLE moved.orders RENAME customer TO client;
CREATE TABLE moved.order_lines (LIKE legacy.order_lines INCLUDING ALL);
CREATE TABLE moved.stock (LIKE legacy.stock INCLUDING ALL);
ALTER TABLE moved.stock ALTER on_hand TYPE numeric(14,2);
GRANT USAGE ON SCHEMA moved, legacy TO boxhaul_sink;
GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON ALL TABLES IN SCHEMA moved TO boxhaul_sink;
"""
TABLES = [{"from": "legacy.orders", "to": "moved.orders", "columns": ["*", "customer=client"], "function": ""},
          {"from": "legacy.order_lines", "to": "moved.order_lines", "columns": ["*"], "function": ""},
          {"from": "legacy.stock", "to": "moved.stock", "columns": ["*"], "function": ""}]
APPLY = """SELECT taken, trouble FROM boxhaul.sink_apply(%s, %s, %s, %s, %s, %s, %s::bigint[], %s::text[], %s::text[], %s::text[],
    %s::bytea[], %s::jsonb[], %s::bigint[], %s::text[], 0) AS a (at, taken, pending, dead, asleep, trouble)"""


class Sink(threading.Thread):
    """Applies the stream to the target, from its beginning on and in its order, until it is told to stop."""

    def __init__(self, test, batch=200):
        super().__init__(daemon=True)
        self.test, self.batch, self.stopping, self.position, self.trouble = test, batch, threading.Event(), 0, None
        self.connection = test.pg.connect(test.target, SINK)
        self.connection.autocommit = True
        self.ask("SELECT boxhaul.inbox_define(%s, %s, ARRAY['cdc.>'], 'none', 1, 'position')", NAME, STREAM)
        self.ask("SELECT boxhaul.sink_define(%s, %s)", NAME, json.dumps(TABLES))
        (self.epoch,), = self.ask("SELECT epoch FROM boxhaul.inbox_lead(%s, 'test')", NAME)
        self.ask("SELECT boxhaul.inbox_open(%s, %s, '2026', 0, NULL)", NAME, self.epoch)
        (self.incarnation,), = self.ask("SELECT incarnation FROM boxhaul.inbox_position WHERE subscription = %s", NAME)

    def ask(self, statement, *values):
        with self.connection.cursor() as cursor:
            cursor.execute(statement, values)
            return cursor.fetchall() if cursor.description else None

    def run(self):
        while not self.stopping.wait(0.1) and self.trouble is None:
            try:
                messages = self.test.stored(STREAM)[self.position:]
                for first in range(0, len(messages), self.batch):
                    self.apply(messages[first:first + self.batch])
            except Exception as e:  # pylint: disable=broad-except
                self.trouble = str(e)

    @staticmethod
    def told(payload):
        """A snapshot's begin says of what kind its events are."""
        body = json.loads(payload)
        return json.dumps({"format": "text", "order": "commit", **body}).encode() if body["op"] in ("s", "snapshot-begin") else payload

    def apply(self, messages):
        if not messages or self.trouble or self.stopping.is_set():
            return
        seqs, n = [m.seq for m in messages], len(messages)
        (_taken, self.trouble), = self.ask(
            APPLY, NAME, self.epoch, self.incarnation, self.position, seqs[-1], seqs[-1] * 1000, seqs, [m.msg_id for m in messages],
            ["cdc.x"] * n, [None] * n, [psycopg2.Binary(self.told(m.payload)) for m in messages],
            [json.dumps({name: values[0] for name, values in m.headers.items()}) for m in messages], [s * 1000 for s in seqs], [None] * n)
        self.position = seqs[-1]


class Verify(CaptureTest):
    format, orders = "text", 200

    def setUp(self):
        super().setUp()
        self.target = f"{self.database}_target"
        self.pg.copy_database("migrated", self.target)
        self.pg.execute(TARGET, dbname=self.target)
        if not self.pg.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (SINK,)):
            self.pg.create_login(SINK, "boxhaul_relay", "boxhaul_sink")
        if int(self.pg.execute("SHOW server_version_num")[0][0]) >= 150000:
            self.pg.execute(f"GRANT SET ON PARAMETER session_replication_role TO {SINK}")
        else:
            self.pg.execute(f"ALTER ROLE {SINK} SUPERUSER")
        self.relay = self.start_capture({"chunk_rows": 50})
        self.wait_complete()
        self.sink = Sink(self)
        self.sink.start()
        self.addCleanup(self.stop_sink)
        self.wait(self.is_complete, "the tables to be complete", progress=lambda: self.sink.position)

    def is_complete(self):
        self.assertIsNone(self.sink.trouble)
        return self.on_target("SELECT bool_and(state = 'complete') FROM boxhaul.sink_table") == [(True,)]

    def stop_sink(self):
        self.sink.stopping.set()
        self.sink.join()
        self.sink.connection.close()

    def captured(self):
        """(state of legacy.orders, tables that are verified, tables whose rows are not all stored), as the daemon tells."""
        told, = self.status(self.relay)["captures"]
        state, = (table["state"] for table in told["tables"] if table["name"] == "legacy.orders")
        return state, told["verifying_tables"], told["unfinished_tables"]

    def test_a_pass_under_way_is_told(self):
        """A lock on its table holds it."""
        with contextlib.closing(self.pg.connect(self.database)) as holder, holder.cursor() as cursor:
            cursor.execute("BEGIN; LOCK TABLE legacy.orders IN ACCESS EXCLUSIVE MODE")
            self.sql("SELECT boxhaul.capture_verify('shop', 'legacy.orders')")
            self.wait(lambda: self.captured() == ("verifying", 1, 0), "the pass to be told", progress=self.captured)
            for words in (("status",), ("capture", "status", "shop")):
                self.assertIn("verifying: 0 rows of about ", self.say(self.relay, *words))
            holder.rollback()
        self.wait(lambda: self.captured() == ("complete", 0, 0), "the pass to end", progress=self.captured)

    def on_target(self, statement, values=None):
        return self.pg.execute(statement, values, self.target)

    def verify(self, *words, status=0):
        to = self.add_relay(postgres={"conninfo": self.pg.conninfo(self.target, RELAY), "migrate_conninfo": self.pg.conninfo(self.target)})
        said = self.say(self.relay, "verify", "--to", to.config, *words, status=status)
        self.assertIsNone(self.sink.trouble)
        return said

    def test_equal_while_both_are_in_use(self):
        """Under load, and nothing is said to differ that does not. Hashes where each column is the same, else whole rows."""
        self.open_legacy(pause=0.003)
        self.let_work(20)
        said = self.verify()
        self.let_work(20)
        self.assertRegex(said, r"tables=3 rows=[1-9]\d+ ranges=[1-9]\d* different=0 left=0 unproved=0")
        self.assertRegex(said, r"table legacy\.stock: \d+ rows, \d+ ranges?, 0 different, 0 left, proved between 20")
        self.assertEqual(dict(self.sql("SELECT tab, whole FROM boxhaul.capture_verify")),
                         {"legacy.orders": True, "legacy.order_lines": False, "legacy.stock": True})
        self.audit_capture()

    def test_finds_names_mends_and_proves(self):
        """Changed, deleted and surplus rows in each table, by hand, while the shop goes on."""
        self.open_legacy(pause=0.02, clients=2)
        self.let_work(10)
        self.on_target("""
            UPDATE moved.order_lines SET note = 'a hand' WHERE (order_id, line) = (150, 1);
            DELETE FROM moved.order_lines WHERE (order_id, line) = (151, 2);
            INSERT INTO moved.order_lines VALUES (99999999, 1, 'surplus');
            INSERT INTO moved.stock VALUES ('nowhere', 'surplus', 1);
            INSERT INTO moved.orders (id, state) VALUES (99999999, 'new')""")
        said = self.verify("--table", "legacy.order_lines", status=1)
        found = dict(self.on_target("SELECT kind, key FROM boxhaul.verify_difference WHERE tab = 'legacy.order_lines'"))
        self.assertEqual(found.get("surplus"), ["99999999", "1"], said)
        self.assertIn('surplus: table=legacy.order_lines key=["99999999", "1"]', said)
        report = json.loads(self.verify("--repair", "--json").splitlines()[-1])  # behind what it says meanwhile
        kinds = {(t["table"], k["kind"]) for t in report["tables"] for k in t["keys"]}
        self.assertLessEqual({("legacy.order_lines", "surplus"), ("legacy.stock", "surplus"), ("legacy.orders", "surplus")}, kinds)
        self.assertEqual({t["left"] for t in report["tables"]}, {0}, report)
        # Of the others the shop may have mended some by itself, which writes and deletes on.
        self.assertEqual(self.on_target("SELECT count(*) FROM boxhaul.verify_difference WHERE kind = 'surplus' AND (repaired_at IS NULL OR proved_at IS NULL)"),
                         [(0,)])
        self.assertIn("different=0 left=0", self.verify())
        self.assertEqual(self.on_target("SELECT (SELECT count(*) FROM moved.orders WHERE id = 99999999) + (SELECT count(*) FROM moved.stock WHERE sku = 'surplus')"),
                         [(0,)])
        self.audit_capture()

    def test_each_kind_in_a_table_at_rest(self):
        self.on_target("""
            UPDATE moved.order_lines SET note = NULL WHERE (order_id, line) = (50, 1);
            DELETE FROM moved.order_lines WHERE (order_id, line) = (51, 2);
            INSERT INTO moved.order_lines VALUES (99999999, 1, 'surplus');
            UPDATE moved.orders SET client = client || ' ' WHERE id = 7;
            DELETE FROM moved.orders WHERE id = 8;
            UPDATE moved.stock SET on_hand = on_hand + 0.01 WHERE (place, sku) = ('place 1', 'sku 1')""")
        wanted = {("changed", "legacy.order_lines", ("50", "1")), ("missing", "legacy.order_lines", ("51", "2")),
                  ("surplus", "legacy.order_lines", ("99999999", "1")), ("changed", "legacy.orders", ("7",)),
                  ("missing", "legacy.orders", ("8",)), ("changed", "legacy.stock", ("sku 1", "place 1"))}
        said = self.verify(status=1)
        self.assertEqual({(kind, tab, tuple(key)) for kind, tab, key in self.on_target("SELECT kind, tab, key FROM boxhaul.verify_difference")}, wanted, said)
        self.assertIn("tables=3 rows=604 ranges", said.replace(f"rows={200 + 400 + 16}", "rows=604"))
        self.assertIn("different=6 left=6", said)
        self.assertIn("different=6 left=0", self.verify("--repair"))
        self.assertIn("different=0 left=0", self.verify())
        here = self.on_target("SELECT order_id, line, sku, amount, note FROM moved.order_lines ORDER BY 1, 2")
        self.assertEqual(here, self.sql("SELECT order_id, line, sku, amount, note FROM legacy.order_lines ORDER BY 1, 2"))

    def test_values_that_have_changed_places(self):
        """A row that is set right makes room for itself: what has its value differs, too, and its turn comes. By columns, by an expression, where a condition holds."""
        for unique in ("moved.orders (client)", "moved.orders (lower(client))", "moved.orders (client) WHERE id < 50"):
            with self.subTest(unique):
                self.on_target(f"CREATE UNIQUE INDEX places ON {unique}")
                self.on_target("""
                    UPDATE moved.orders SET client = 'away' WHERE id = 7;
                    UPDATE moved.orders SET client = 'customer 7' WHERE id = 8;
                    UPDATE moved.orders SET client = 'customer 8' WHERE id = 7;
                    DELETE FROM moved.orders WHERE id = 9;
                    INSERT INTO moved.orders (id, client) VALUES (-1, 'customer 9')""")
                self.assertIn("different=4 left=0 unproved=0", self.verify("--repair"))
                self.on_target("DROP INDEX moved.places")
                self.assertEqual(self.on_target("SELECT id, client FROM moved.orders WHERE id < 10 ORDER BY id"), [(n, f"customer {n}") for n in range(1, 10)])

    def test_a_row_in_the_way_that_is_right(self):
        """The target is stricter than the source: that is said, and hinders no other row."""
        self.sql("UPDATE legacy.orders SET customer = 'twin' WHERE id IN (30, 31)")
        self.wait(lambda: self.on_target("SELECT count(*) FROM moved.orders WHERE client = 'twin'") == [(2,)], "both to be there")
        self.on_target("DELETE FROM moved.orders WHERE id = 31; UPDATE moved.orders SET client = 'hand ' || id WHERE id IN (5, 50); CREATE UNIQUE INDEX twins ON moved.orders (client)")
        said = self.verify("--repair", status=1)
        self.assertIn("different=3 left=1 unproved=0", said)
        self.assertIn('table legacy.orders: not set right: row ["31"]: duplicate key value violates unique constraint "twins" (Key (client)=(twin) already exists.): '
                      "change the constraint, or the rows here that are in its way", said)
        self.on_target("DROP INDEX moved.twins")
        self.assertIn("left=0", self.verify("--repair"))

    def test_the_end_of_a_pass_over_a_large_table(self):
        """The sink allows itself nested loops alone, and nobody has counted the marks: all the same, each row does not read each mark. That would take minutes, and a
        sink that is cut off by its time-out comes to the same place again."""
        rows, tab = 30000, "legacy.order_lines"
        self.stop_sink()
        with contextlib.closing(self.pg.connect(self.target, SINK)) as self.sink.connection:
            ask = self.sink.ask
            ask("INSERT INTO moved.order_lines (order_id, line, sku) SELECT n, 7, 'many' FROM generate_series(1000001, 1000000 + %s) n", rows + 1)
            ask("INSERT INTO boxhaul.verify_result (pass, subscription, tab, keys, repair, reading, began_xid) SELECT %s, %s, %s, false, false, 1, "
                "pg_current_xact_id()::text::bigint", PASS, NAME, tab)
            ask("INSERT INTO boxhaul.verify_mark (subscription, tab, reading, key) SELECT %s, %s, 1, ARRAY[t.order_id::text, t.line::text] "
                "FROM moved.order_lines t WHERE t.order_id <> 1000001", NAME, tab)
            for setting in ("enable_seqscan", "enable_bitmapscan", "enable_hashjoin", "enable_mergejoin"):
                ask(f"SET {setting} = off")
            ask(f"SET statement_timeout = '{DEADLINE}s'")
            self.assertEqual(ask("SELECT boxhaul.verify_surplus(%s, %s, %s, 1)", NAME, tab, PASS), [(1,)])

    def test_what_a_promotion_took_back(self):
        """The copy has what nobody has any more, and lacks what was deleted in vain. (What a real promotion does is in test_capture_slot.py.)"""
        self.on_target("INSERT INTO moved.order_lines VALUES (99999999, 1, 'phantom'); DELETE FROM moved.orders WHERE id = 8")
        self.sql("UPDATE boxhaul.capture SET former_timeline = 1")
        self.assertIn("nobody has looked", self.sql("SELECT boxhaul.capture_diverged('shop')")[0][0])
        self.sql("SELECT boxhaul.capture_forked('shop', (SELECT epoch FROM boxhaul.capture), '0/3000148', 'message 7')")
        self.wait(lambda: self.relay.get("/readyz")[0] == 503 and "message 7" in self.relay.get("/readyz")[1], "it to be said")
        self.assertEqual(set(self.sql("SELECT state FROM boxhaul.capture_table")), {("unproved",)})
        self.assertIn("left=0", self.verify("--repair"))
        self.assertEqual(set(self.sql("SELECT state, boxhaul.capture_diverged('shop') FROM boxhaul.capture_table")), {("complete", None)})
        self.wait(lambda: self.relay.get("/readyz")[0] == 200, "it to be ready")
        self.assertIn("different=0 left=0", self.verify())

    def test_nothing_to_compare_with(self):
        self.assertIn("--to FILE", self.say(self.relay, "verify", status=2))
        self.assertIn("there is nothing to verify", self.verify("--table", "legacy.nowhere", status=1))


del CaptureTest  # nobody's test by itself

if __name__ == "__main__":
    unittest.main()
