"""Tables of a legacy shop are captured and applied to the tables of another database: under load, with other names, types and a function, while everything
is killed, and after a resync. What is compared at the end are the rows of both databases."""

import os
import random
import unittest

from captures import NAME, STREAM, CaptureTest
from harness import RELAY

KILLS = int(os.environ.get("SINK_KILLS", "5"))
TABLES = [{"from": "legacy.orders", "to": "moved.orders", "columns": ["*", "customer=client", "changed_by=by"]},
          {"from": "legacy.order_lines", "to": "moved.order_lines"},
          {"from": "legacy.stock", "to": "moved.stock", "function": "moved.stock_of"}]

# Other names (client, by), other types (state, total, due, weight, amount), a foreign key, a trigger that must not fire, and a table that a function fills.
SHOP = """
CREATE SCHEMA moved;
CREATE TABLE moved.orders (
    id bigint PRIMARY KEY, client text, total numeric, weight float8, state text NOT NULL, placed_at timestamptz NOT NULL, due timestamp, attributes jsonb,
    tags text[], paid boolean, doc text, scan bytea, version bigint NOT NULL, by varchar(200), noted text NOT NULL DEFAULT 'ours');
CREATE TABLE moved.order_lines (
    order_id bigint, line integer, sku text NOT NULL, amount numeric, note text, changed_by text, PRIMARY KEY (line, order_id));
CREATE TABLE moved.stock (place text, sku text, many bigint NOT NULL, counted timestamp, PRIMARY KEY (place, sku));
CREATE FUNCTION moved.stock_of(line jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE SET search_path = pg_catalog AS $$
    SELECT jsonb_build_object('many', (line ->> 'on_hand')::bigint * 10, 'counted', line ->> 'counted_at')
$$;
CREATE FUNCTION moved.never() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''a trigger fired''; END';
CREATE TRIGGER never BEFORE INSERT ON moved.order_lines FOR EACH ROW EXECUTE FUNCTION moved.never();
GRANT USAGE ON SCHEMA moved TO boxhaul_sink;
GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON ALL TABLES IN SCHEMA moved TO boxhaul_sink;
GRANT EXECUTE ON FUNCTION moved.stock_of(jsonb) TO boxhaul_sink;
"""
SAME = [
    ("SELECT id, customer, total::text, weight::text, state::text, placed_at, due::timestamp, attributes::text, tags::text, paid, md5(doc), md5(scan), version, changed_by "
     "FROM legacy.orders ORDER BY id",
     "SELECT id, client, total::text, weight::text, state, placed_at, due, attributes::text, tags::text, paid, md5(doc), md5(scan), version, by FROM moved.orders ORDER BY id"),
    ("SELECT order_id, line, sku, amount::text, note, changed_by FROM legacy.order_lines ORDER BY order_id, line",
     "SELECT order_id, line, sku, amount::text, note, changed_by FROM moved.order_lines ORDER BY order_id, line"),
    ('SELECT place COLLATE "C", sku, on_hand * 10, counted_at FROM legacy.stock ORDER BY 1, sku COLLATE "C"',
     'SELECT place COLLATE "C", sku, many, counted FROM moved.stock ORDER BY 1, sku COLLATE "C"'),
]


class SinkTest(CaptureTest):
    format, orders = "text", 200

    @classmethod
    def _make_template(cls):
        super()._make_template()
        cls.let_sink()
        cls.pg.execute(SHOP, dbname="migrated")

    def setUp(self):
        super().setUp()
        if int(self.pg.execute("SHOW server_version_num")[0][0]) < 150000:
            self.skipTest("session_replication_role cannot be granted")
        self.target = f"{self.database}_new"
        self.pg.execute(f"CREATE DATABASE {self.target} TEMPLATE migrated")

    def add_sink(self, **subscription):
        settings = {"name": "new", "postgres": {"conninfo": self.pg.conninfo(self.target, RELAY), "migrate_conninfo": self.pg.conninfo(self.target)},
                    "inbox": [{"name": "move", "stream": STREAM, "subjects": [f"cdc.{NAME}.*.*"], "tables": TABLES, **subscription}]}
        relay = self.add_relay(**settings)
        for group in ("capture", "streams"):
            relay.settings.pop(group, None)
        relay.configure(relay.settings)
        return relay

    def there(self, statement, values=None):
        return self.pg.execute(statement, values, self.target)

    def sink(self, columns):
        rows = self.there(f"SELECT {columns} FROM boxhaul.sink_status")
        return rows[0] if rows else None

    def seen(self):
        return self.sink("position, complete, applied, missing, held, error")

    def wait_applied(self):
        """All that the stream holds is applied."""
        for shop in self.shops:
            shop.stop()
        self.wait_complete()
        self.wait_confirmed()
        last = len(self.stored(STREAM))
        self.wait(lambda: self.sink("complete AND position = %d" % last) == (True,), f"the sink to reach {last}", progress=self.seen)

    def compare(self, missing=0):
        self.wait_applied()
        for theirs, ours in SAME:
            there, here = self.sql(theirs), self.there(ours)
            self.assertEqual(len(there), len(here), theirs)
            self.assertEqual([pair for pair in zip(there, here) if pair[0] != pair[1]][:3], [], theirs)
            self.assertGreater(len(here), 0)
        self.assertEqual(self.sink("missing, held, error"), (missing, 0, None))
        self.assertEqual(self.there("SELECT count(*) FROM moved.orders WHERE noted <> 'ours'"), [(0,)])
        self.assertEqual([error for shop in self.shops for error in shop.errors], [])


class Whole(SinkTest):
    def test_rows_and_changes(self):
        self.start_capture()
        self.add_sink().start().wait_until_ready()
        self.open_legacy()
        self.let_work(150)
        self.compare()

    def test_a_sink_that_comes_late(self):
        """It begins with all that the stream holds."""
        self.start_capture()
        self.open_legacy()
        self.let_work(100)
        self.add_sink().start().wait_until_ready()
        self.let_work(50)
        self.compare()

    def test_truncate_and_large_transactions(self):
        self.start_capture()
        self.add_sink(transaction=50).start().wait_until_ready()
        self.sql("INSERT INTO legacy.order_lines SELECT n, 9, 'many', 1 FROM generate_series(1000, 3000) n")
        shop = self.open_legacy()
        self.let_work(30)
        shop.truncate("legacy.stock")
        self.sql("INSERT INTO legacy.stock SELECT 'p', 's' || n, n FROM generate_series(1, 500) n")
        self.let_work(30)
        self.compare()

    def test_everything_is_killed(self):
        rng = random.Random(1)
        relays = [self.start_capture(), self.add_sink(transaction=rng.choice((3, 10000))).start()]
        self.open_legacy()
        for n in range(KILLS):
            self.let_work(rng.randint(5, 40))
            victim = (relays[1], relays[0], self.nats, self.pg)[n % 4]
            victim.kill9()
            victim.start()
        self.compare()

    def test_a_resync_sweeps(self):
        capture = self.start_capture()
        self.add_sink().start().wait_until_ready()
        self.wait_applied()
        self.say(capture, "capture", "pause", NAME)
        self.there("INSERT INTO moved.orders (id, state, placed_at, version) SELECT n, 'stale', now(), 0 FROM generate_series(900001, 900010) n; "
                   "UPDATE moved.orders SET client = 'changed by hand' WHERE id < 20; DELETE FROM moved.orders WHERE id BETWEEN 30 AND 40")
        self.say(capture, "capture", "resync", NAME)
        self.say(capture, "capture", "resume", NAME)
        self.wait(lambda: self.state() == "live", "the capture to be live again")
        self.open_legacy()
        self.let_work(50)
        self.compare()
        self.assertEqual(self.there("SELECT swept >= 10 FROM boxhaul.sink_table WHERE source = 'legacy.orders'"), [(True,)])

    def test_a_resync_over_values_that_have_changed_places(self):
        """A column that is unique, of which two rows had exchanged the values, and one the value of a row that is gone."""
        self.there("CREATE UNIQUE INDEX ON moved.orders (client); CREATE UNIQUE INDEX ON moved.stock (many, sku, place)")
        capture = self.start_capture()
        self.add_sink().start().wait_until_ready()
        self.wait_applied()
        self.say(capture, "capture", "pause", NAME)
        self.there("UPDATE moved.orders SET client = 'free' WHERE id = 20; UPDATE moved.orders SET client = 'customer 20' WHERE id = 21; "
                   "UPDATE moved.orders SET client = 'customer 21' WHERE id = 20; UPDATE moved.orders SET client = 'nobody' WHERE id = 5; "
                   "INSERT INTO moved.orders (id, client, state, placed_at, version) VALUES (900001, 'customer 5', 'stale', now(), 0)")
        self.say(capture, "capture", "resync", NAME)
        self.say(capture, "capture", "resume", NAME)
        self.wait(lambda: self.state() == "live", "the capture to be live again")
        self.compare()

    def test_a_value_that_the_source_has_twice(self):
        """Rows that have both come stay, and that is told."""
        self.there("INSERT INTO moved.orders (id, client, state, placed_at, version) VALUES (900001, 'x', 'stale', now(), 0); CREATE UNIQUE INDEX ON moved.orders (client)")
        self.sql("UPDATE legacy.orders SET customer = 'customer 5' WHERE id = 100")
        self.start_capture()
        self.add_sink().start()
        self.wait(lambda: self.sink("error") not in (None, (None,)), "the error to be told")
        self.assertIn("duplicate key value", self.sink("error")[0])
        self.sql("UPDATE legacy.orders SET customer = 'customer 100' WHERE id = 100")
        self.there("DROP INDEX moved.orders_client_idx")
        self.compare()


class Lasting(SinkTest):
    """Tables whose key is one WITHOUT OVERLAPS (18)."""

    tables = ["legacy.rates"]

    def setUp(self):
        super().setUp()
        if int(self.pg.execute("SHOW server_version_num")[0][0]) < 180000:
            self.skipTest("it came with 18")
        rates = "CREATE TABLE %s.rates (item int4range, during daterange, price text, PRIMARY KEY (item, during WITHOUT OVERLAPS)); GRANT ALL ON %s.rates TO boxhaul_%s"
        self.sql(rates % ("legacy", "legacy", "capture"))
        self.there(rates % ("moved", "moved", "sink"))
        self.sql("INSERT INTO legacy.rates SELECT int4range(n / 50, n / 50, '[]'), daterange('2026-01-01'::date + n, '2026-01-01'::date + n + 1), 'of ' || n FROM generate_series(1, 1000) n")

    def test_rows_and_changes(self):
        self.start_capture({"tables": self.tables})
        self.add_sink(tables=[{"from": "legacy.rates", "to": "moved.rates"}]).start()
        self.wait(lambda: self.sink("error") not in (None, (None,)), "the error to be told")
        self.assertIn("but one WITHOUT OVERLAPS, by which no row can be found", self.sink("error")[0])
        self.there("ALTER TABLE moved.rates ADD UNIQUE (item, during)")
        for n in range(20):
            self.sql(f"DELETE FROM legacy.rates WHERE item @> {n} AND price = 'of ' || {n * 50 + 3}; "
                     f"UPDATE legacy.rates SET during = daterange(lower(during), upper(during) + 1) WHERE price = 'of ' || {n * 50 + 2}; "
                     f"UPDATE legacy.rates SET price = 'other' WHERE item @> {n} AND upper(during) = '2026-01-10'; "
                     f"INSERT INTO legacy.rates VALUES (int4range({n}, {n}, '[]'), daterange('2025-01-01', '2026-01-01'), 'new')")
        self.wait_applied()
        rates = "SELECT item::text, during::text, price FROM {}.rates ORDER BY 1, 2"
        self.assertEqual(self.sql(rates.format("legacy")), self.there(rates.format("moved")))
        self.assertEqual(self.sink("missing, error"), (0, None))


class Trouble(SinkTest):
    def test_what_cannot_be_applied_is_told_and_goes_on_when_it_is_mended(self):
        self.there("ALTER TABLE moved.orders ADD CONSTRAINT small CHECK (id < 1000000)")
        self.start_capture()
        sink = self.add_sink().start().wait_until_ready()
        self.wait_applied()
        self.sql("INSERT INTO legacy.orders (id, customer) VALUES (1000001, 'x'); INSERT INTO legacy.orders (id, customer) VALUES (500001, 'y')")
        self.wait(lambda: self.sink("error")[0], "the error to be told")
        self.assertIn('violates check constraint "small"', self.sink("error")[0])
        self.wait(lambda: "small" in sink.get("/readyz")[1], "the daemon to tell", progress=lambda: sink.get("/readyz"))
        self.wait(lambda: self.sink("error_count")[0] > 1, "another try")
        self.assertEqual(self.there("SELECT count(*) FROM moved.orders WHERE id > 500000"), [(0,)])
        self.there("ALTER TABLE moved.orders DROP CONSTRAINT small")
        self.compare()

    def test_what_check_and_show_say(self):
        self.start_capture()
        sink = self.add_sink()
        self.there(f"REVOKE UPDATE ON moved.orders FROM boxhaul_sink; ALTER FUNCTION moved.stock_of(jsonb) RENAME TO other; REVOKE boxhaul_sink FROM {RELAY}")
        for words, mend in (("has not the role boxhaul_sink", f"GRANT boxhaul_sink TO {RELAY}"),
                            ("may not write table moved.orders", "GRANT UPDATE ON moved.orders TO boxhaul_sink"),
                            (r"there is no function moved.stock_of\(jsonb\)", "ALTER FUNCTION moved.other(jsonb) RENAME TO stock_of; "
                             "REVOKE EXECUTE ON FUNCTION moved.stock_of(jsonb) FROM PUBLIC, boxhaul_sink"),
                            (r"may not call the function moved.stock_of\(jsonb\)", "GRANT EXECUTE ON FUNCTION moved.stock_of(jsonb) TO boxhaul_sink")):
            done = sink.command("check")
            self.assertRegex(done.stdout, f"FAIL  subscription move: .*{words}")
            self.there(mend)
        self.assertIn("ok    subscription move: its tables are there, and may be written", sink.command("check").stdout)
        sink.start().wait_until_ready()
        self.wait_applied()
        said = self.say(sink, "inbox", "show", "move")
        self.assertRegex(said, r"legacy.orders to moved.orders: complete, \d+ changes\n")
        self.there("DELETE FROM moved.stock")
        self.sql("UPDATE legacy.stock SET on_hand = 1 WHERE sku = 'sku 1'")
        self.wait(lambda: self.sink("missing")[0] > 0, "updates without a row")
        self.assertRegex(self.say(sink, "inbox", "show", "move"), r"\d updates? found no row: its tables are not what the source has")
        self.wait(lambda: 'boxhaul_inbox_sink_missing{' in sink.get("/metrics")[1] and 'boxhaul_inbox_sink_incomplete_tables{' in sink.get("/metrics")[1], "the figures")

    def test_a_stream_of_another_format(self):
        self.start_capture({"format": "row"})
        self.add_sink().start()
        self.wait(lambda: self.sink("error") not in (None, (None,)), "the error to be told")
        self.assertIn("have the format row, of which no table can be made again", self.sink("error")[0])


if __name__ == "__main__":
    unittest.main()
