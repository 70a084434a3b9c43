"""What the source does to its tables while they are captured: other shapes, other publications, policies, values that are too large."""

import threading
import unittest

from captures import NAME, STREAM, CaptureTest
from harness import RELAY, SERVICE
from legacy import TABLES


class SourceTest(CaptureTest):
    orders = 100

    def resync_table(self, relay, table):
        self.say(relay, "capture", "resync", NAME, table)
        self.source.forget()
        self.wait_complete()


class Shapes(SourceTest):
    def test_columns_come_go_and_change(self):
        """Pains 16 and 42: no value in another column's place, whatever comes first. Rows that were not touched since lack what no
        change tells of, until the table is read again."""
        relay = self.start_whole()
        self.open_legacy()
        for statement in ("ALTER TABLE legacy.orders ADD added int DEFAULT 7", "ALTER TABLE legacy.orders DROP customer, ADD customer text",
                          "ALTER TABLE legacy.orders DROP weight", "ALTER TABLE legacy.order_lines ALTER amount TYPE text USING 'n ' || amount",
                          "ALTER TABLE legacy.stock RENAME doc TO document"):
            self.let_work(10)
            try:
                self.sql(statement)
            except Exception as e:
                raise AssertionError(statement) from e
        for shop in self.shops:
            shop.stop()
            shop.errors.clear()  # its own statements name columns that have gone
        for table in TABLES:
            self.resync_table(relay, table)
        self.audit_capture()

    def test_a_shape_that_changes_while_rows_are_read(self):
        relay = self.add_capture({"chunk_rows": 5, "chunk_share": 10})
        self.say(relay, "capture", "start", NAME)
        relay.start()
        self.wait(lambda: self.sql("SELECT FROM boxhaul.capture_table WHERE state = 'reading' AND rows > 0"), "rows to be read")
        self.sql("ALTER TABLE legacy.order_lines ADD added int, DROP note")
        self.sql("VACUUM FULL legacy.orders")
        self.sql("UPDATE legacy.order_lines SET added = 1 WHERE line = 1")
        self.wait_complete()
        for table in TABLES:
            self.resync_table(relay, table)
        self.audit_capture()


class Publications(SourceTest):
    def test_a_table_that_was_dropped_and_made_anew(self):
        """Pain 13: it is in no publication any more, and everything looks healthy. It is said; and mended by what is said."""
        relay = self.start_whole()
        self.sql("DROP TABLE legacy.stock; CREATE TABLE legacy.stock (place text, sku varchar(40), on_hand int NOT NULL, PRIMARY KEY (sku, place)); "
                 "GRANT SELECT ON legacy.stock TO boxhaul_capture; INSERT INTO legacy.stock VALUES ('here', 'new', 1)")
        self.wait(lambda: "legacy.stock" in relay.get("/status")[1] and "publication" in relay.get("/status")[1], "it to be said")
        self.sql(f"ALTER PUBLICATION boxhaul_{NAME} ADD TABLE legacy.stock")
        self.resync_table(relay, "legacy.stock")
        self.sql("INSERT INTO legacy.stock VALUES ('there', 'new', 2)")
        self.audit_capture()

    def test_a_table_is_added_while_transactions_on_it_are_open(self):
        """What they wrote before is in no change, so the rows are read only when they have ended."""
        self.sql("CREATE TABLE legacy.more (id int PRIMARY KEY, v text); INSERT INTO legacy.more SELECT n, 'old' FROM generate_series(1, 50) n; "
                 "GRANT ALL ON legacy.more TO shop_service; GRANT SELECT ON legacy.more TO boxhaul_capture")
        relay = self.start_whole()
        early = self.connect(SERVICE)
        early.cursor().execute("BEGIN; INSERT INTO legacy.more VALUES (100, 'before'); UPDATE legacy.more SET v = 'before' WHERE id = 1")
        relay.configure({**relay.settings, "capture": [{**relay.settings["capture"][0], "tables": [*TABLES, "legacy.more"]}]})
        self.say(relay, "capture", "add", NAME, "legacy.more")
        relay.stop()
        relay.start()
        early.cursor().execute("INSERT INTO legacy.more VALUES (101, 'behind'); UPDATE legacy.more SET v = 'behind' WHERE id = 2")
        late = self.connect(SERVICE)
        late.cursor().execute("INSERT INTO legacy.more VALUES (102, 'another')")
        self.assertEqual(self.unfinished(), ["legacy.more"])
        early.cursor().execute("COMMIT")
        self.audit_capture(self.source_of([*TABLES, "legacy.more"]))

    def test_producers_without_a_key_are_never_refused(self):
        """Pain 14: PostgreSQL refuses UPDATE and DELETE of a published table without an identity, in the producer's transaction."""
        self.sql("CREATE TABLE legacy.keyless (v int); GRANT ALL ON legacy.keyless TO shop_service; GRANT SELECT ON legacy.keyless TO boxhaul_capture")
        relay = self.add_capture({"tables": [*TABLES, "legacy.keyless"]})
        done = relay.command("capture", "start", NAME)
        writer = self.connect(SERVICE)
        writer.cursor().execute("INSERT INTO legacy.keyless VALUES (1); UPDATE legacy.keyless SET v = 2; DELETE FROM legacy.keyless")
        self.assertIn("legacy.keyless", done.stdout)


class Policies(SourceTest):
    def test_rows_that_a_policy_hides(self):
        """Pain 31: a chunk would have no rows, and no error. The table waits and says why; the others go on."""
        self.sql("ALTER TABLE legacy.stock ENABLE ROW LEVEL SECURITY")
        relay = self.start_capture()
        self.wait(lambda: self.unfinished() == ["legacy.stock"], "the other tables", progress=self.progress)
        self.wait(lambda: "BYPASSRLS" in relay.get("/status")[1], "the reason")
        self.assertIn("legacy.stock", relay.get("/status")[1])
        self.pg.execute(f"ALTER ROLE {RELAY} BYPASSRLS")
        self.addCleanup(self.pg.execute, f"ALTER ROLE {RELAY} NOBYPASSRLS")
        relay.stop()
        relay.start()
        self.audit_capture()


class Values(SourceTest):
    nats_settings = {"max_payload": 262144}

    def test_a_row_that_is_too_large(self):
        """Pain 33: it becomes a dead letter with its key and a reason; what comes behind it goes on."""
        self.start_whole()
        self.sql("INSERT INTO legacy.orders (id, doc) VALUES (8000, repeat('x', 300000))")
        self.sql("UPDATE legacy.orders SET customer = 'behind' WHERE id = 1")
        self.wait(lambda: self.sql("SELECT FROM boxhaul.capture_letter"), "the dead letter")
        (tab, key, reason), = self.sql("SELECT tab, key, reason FROM boxhaul.capture_letter")
        self.assertEqual(tab, "legacy.orders")
        self.assertIn("8000", key)
        self.assertTrue(reason)
        self.sql("DELETE FROM legacy.orders WHERE id = 8000; SELECT boxhaul.capture_discard(id) FROM boxhaul.capture_letter")
        self.audit_capture(gaps=1)  # the last message of its transaction is the one that is not there

    def test_a_row_that_was_too_large_before_it_began(self):
        self.sql("INSERT INTO legacy.orders (id, doc) VALUES (8000, repeat('x', 300000))")
        self.start_capture()
        self.wait_complete()
        self.assertEqual(self.sql("SELECT tab, key ~ '8000' FROM boxhaul.capture_letter"), [("legacy.orders", True)])
        self.sql("DELETE FROM legacy.orders WHERE id = 8000; SELECT boxhaul.capture_discard(id) FROM boxhaul.capture_letter")
        self.audit_capture()

    def test_settings_of_the_database_change_no_value(self):
        """The text of a value depends on the session's settings: ours are pinned, in both sessions."""
        for setting in ("datestyle = 'German'", "timezone = 'Asia/Tokyo'", "extra_float_digits = -5", "bytea_output = 'escape'",
                        "intervalstyle = 'postgres_verbose'"):
            self.sql(f"ALTER DATABASE {self.database} SET {setting}")
        self.open_legacy()
        self.start_capture()
        self.wait_complete()
        self.let_work(50)
        self.audit_capture()

    def test_types(self):
        """Pain 32, and what else has a text of its own."""
        self.sql("""
            CREATE TABLE legacy.types (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), a int[], b numeric[], c timestamptz[], d interval, e inet,
                f int4range, g float4, h money, i bit(3), j char(5), k json, l date, m time with time zone, n numeric(1000, 10), o "char", p xml);
            GRANT SELECT ON legacy.types TO boxhaul_capture;
            INSERT INTO legacy.types (a, b, c, d, e, f, g, h, i, j, k, l, m, n, o) VALUES
                ('[0:1]={1,2}', '{NaN,1.50,NULL}', '{infinity,"2026-01-02 03:04:05.678+09"}', '1 mon 2 days 03:04:05.6', '10.0.0.1/8', '[1,5)', 'NaN', 12.5,
                 B'101', 'ab', '{"a":  1.0, "b": "\\u00e9"}', '-infinity', '03:04:05+02', 12345678901234567890.5, 'x'),
                ('{{1,2},{3,NULL}}', NULL, NULL, '-1 year', '::1', 'empty', '-Infinity', -1, B'000', '', 'null', '0044-03-15 BC', '00:00+00', 'NaN', '"');
            """)
        tables = [*TABLES, "legacy.types"]
        for form in ("row", "text"):
            with self.subTest(form):
                self.format = form
                self.start_capture({"tables": tables, "format": form}) if form == "row" else None
                if form == "row":
                    self.sql("UPDATE legacy.types SET g = g")
                    self.audit_capture(self.source_of(tables))


if __name__ == "__main__":
    unittest.main()
