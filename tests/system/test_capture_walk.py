"""How the rows that are there are read: where a walk over a table ends, and what makes it begin anew."""

import contextlib
import threading
import unittest

from captures import CaptureTest


class WalkTest(CaptureTest):
    tables, orders = ["legacy.tail"], 1

    @classmethod
    def _make_template(cls):
        super()._make_template()
        cls.pg.execute("CREATE TABLE legacy.tail (id int PRIMARY KEY, other int NOT NULL UNIQUE, doc text);"
                       "INSERT INTO legacy.tail SELECT n, 1000 - n, 'there' FROM generate_series(1, 300) n;"
                       "ANALYZE legacy.tail; GRANT SELECT ON legacy.tail TO boxhaul_capture", dbname="migrated")

    def walk(self, columns):
        return self.sql(f"SELECT {columns} FROM boxhaul.capture_table WHERE tab = %s", (self.tables[0],))[0]

    def leave_in_the_middle(self, relay, reading=1, **books):
        """The daemon dies; its books are those of a walk that has come to 100 of 300 rows, and ends there."""
        relay.kill9()
        columns = {"state": "reading", "reading": reading, "readings": reading, "cursor": ["100"], "top": ["300"], "rows": 100, **books}
        self.sql("UPDATE boxhaul.capture_table SET filenode = boxhaul.capture_filenode(boxhaul.capture_relation(tab)), "
                 + ", ".join(f"{column} = %s" for column in columns), tuple(columns.values()))

    def read(self, op="r"):
        return [event.key["id"] for event in self.events() if event.op == op and event.table == self.tables[0]]


class Ends(WalkTest):
    def test_a_table_that_grows_faster_than_it_is_read_is_complete_one_day(self):
        """For each chunk that is read more rows than a chunk are put behind the last one."""
        relay = self.start_capture({"chunk_rows": 10, "chunk_share": 5}, wait=False)
        self.witness()
        self.wait(lambda: self.walk("top")[0] is not None, "the end of the walk to be known")
        self.assertEqual(self.walk("top, rows_estimate"), (["300"], 300))
        complete, rows, last = False, -1, 300

        def has_grown():
            nonlocal complete, rows
            found = self.walk("state = 'complete', rows")
            complete, grown, rows = found[0], found[1] > rows, found[1]
            return complete or grown
        while not complete:
            self.wait(has_grown, "the next rows to be read", pause=0.001)
            self.sql("INSERT INTO legacy.tail SELECT n, 1000 - n, 'new' FROM generate_series(%s::int, %s) n", (last + 1, last + 30))
            last += 30
        self.assertEqual(self.walk("rows"), (300,))
        copy = self.audit_capture()
        self.assertEqual(copy.counts["r"], 300)
        self.assertEqual(sorted(self.read()), list(range(1, 301)))
        self.assertTrue(relay.alive())

    def test_where_it_ends_outlives_who_leads(self):
        """kill -9 in the middle of a walk: whoever goes on reads to where that one ends, and no further."""
        relay = self.start_capture()
        self.wait_complete()
        before = len(self.read())
        self.leave_in_the_middle(relay)
        self.sql("INSERT INTO legacy.tail SELECT n, 1000 - n, 'new' FROM generate_series(301, 600) n")
        relay.start()
        self.wait_complete()
        self.wait_confirmed()
        # Those of 101 to 300 were stored once, under this reading: the same ids.
        self.assertEqual(self.read(), list(range(1, 301)))
        self.assertEqual(before, 300)
        self.assertEqual(self.read("c"), list(range(301, 601)))
        self.assertEqual(self.walk("rows"), (300,))

    def test_keys_that_move_up(self):
        """Rows that were not read are given keys above the end, without their large values: they are read once more."""
        self.sql("ALTER TABLE legacy.tail ALTER doc SET STORAGE EXTERNAL; UPDATE legacy.tail SET doc = repeat(md5(id::text), 100)")
        self.start_capture({"chunk_rows": 5, "chunk_share": 5}, wait=False)
        self.wait(lambda: self.walk("top")[0] is not None, "the end of the walk to be known")
        for key in range(300, 200, -1):
            self.sql("UPDATE legacy.tail SET id = id + 1000 WHERE id = %s", (key,))
        self.audit_capture()

    def test_keys_of_an_extension_that_move_up(self):
        """Rows that are read once more are found by the operators of their own type, which no path of ours has."""
        if not self.sql("SELECT 1 FROM pg_available_extensions WHERE name = 'ltree'"):
            self.skipTest("this PostgreSQL has no ltree")
        self.sql("CREATE EXTENSION ltree SCHEMA public; ALTER TABLE legacy.tail ALTER id TYPE public.ltree USING ('a' || 1000 + id)::public.ltree, ALTER doc SET STORAGE EXTERNAL")
        self.sql("UPDATE legacy.tail SET doc = repeat(md5(other::text), 100)")
        self.start_capture({"chunk_rows": 5, "chunk_share": 5}, wait=False)
        self.wait(lambda: self.walk("top")[0] is not None, "the end of the walk to be known")
        for key in range(1300, 1200, -1):
            self.sql("UPDATE legacy.tail SET id = ('b' || %s)::public.ltree WHERE id = ('a' || %s)::public.ltree", (key, key))
        self.audit_capture()

    def test_rows_of_one_size_are_read_once(self):
        """Where no column can be long nobody has to ask for sizes."""
        rows = 5000
        self.sql("ALTER TABLE legacy.tail DROP doc; TRUNCATE legacy.tail")
        self.sql("INSERT INTO legacy.tail SELECT n, n FROM generate_series(1, %s) n", (rows,))
        self.sql("ANALYZE legacy.tail; SELECT pg_stat_reset()")
        relay = self.start_capture({"chunk_rows": 1000})
        self.wait_complete()
        self.assertEqual(relay.stop(), 0)
        read = "SELECT idx_tup_fetch + seq_tup_read FROM pg_stat_user_tables WHERE relname = 'tail'"
        self.wait(lambda: self.sql(read)[0][0] >= rows, "what was read to be known")
        self.assertLess(self.sql(read)[0][0], rows * 1.5)
        relay.start()
        self.audit_capture()

    def test_rows_that_are_read_once_more_are_found_by_their_keys(self):
        """Not by a walk over the table for each handful of them: in one of a million rows that took minutes, and ran into its time-out."""
        rows = 20000
        self.sql("ALTER TABLE legacy.tail ALTER doc SET STORAGE EXTERNAL; TRUNCATE legacy.tail")
        self.sql("INSERT INTO legacy.tail SELECT n, n, CASE WHEN n > %s THEN repeat(md5(n::text), 100) END FROM generate_series(1, %s) n", (rows - 50, rows))
        self.sql("ANALYZE legacy.tail; SELECT pg_stat_reset()")
        relay = self.start_capture({"chunk_rows": 1000, "chunk_share": 10}, wait=False)
        self.wait(lambda: self.walk("top")[0] is not None, "the end of the walk to be known")
        self.sql("UPDATE legacy.tail SET id = id + 100000 WHERE id > %s", (rows - 50,))
        self.wait_complete()
        self.assertEqual(len([number for number in self.read() if number > 100000]), 50, "those that were moved were not read once more")
        self.assertEqual(relay.stop(), 0)  # a session that ends tells what it has read
        read = "SELECT idx_tup_fetch + seq_tup_read FROM pg_stat_user_tables WHERE relname = 'tail'"
        self.wait(lambda: self.sql(read)[0][0] >= rows, "what was read to be known")
        self.assertLess(self.sql(read)[0][0], rows * 2.5)  # each twice: its size, and then itself
        relay.start()
        self.audit_capture()

    def test_an_empty_table(self):
        self.sql("TRUNCATE legacy.tail")
        self.start_capture()
        self.wait_complete()
        self.assertEqual((self.walk("top, rows"), self.read()), ((None, 0), []))
        self.sql("INSERT INTO legacy.tail VALUES (1, 1, 'x')")
        self.audit_capture()


class Orders(CaptureTest):
    """The order of keys is their type's and their collation's, over all partitions; never that of bytes."""

    tables, orders = ["legacy.names", "legacy.parts", "legacy.amounts"], 1

    @classmethod
    def _make_template(cls):
        super()._make_template()
        cls.pg.execute("""
            CREATE TABLE legacy.names (name text COLLATE "und-x-icu", n numeric, PRIMARY KEY (name, n));
            CREATE TABLE legacy.parts (id int, at date, doc text, PRIMARY KEY (at, id)) PARTITION BY RANGE (at);
            CREATE TABLE legacy.parts_1 PARTITION OF legacy.parts FOR VALUES FROM ('-infinity') TO ('2026-02-01');
            CREATE TABLE legacy.parts_2 PARTITION OF legacy.parts DEFAULT;
            CREATE TABLE legacy.amounts (amount numeric PRIMARY KEY, f float8);
            INSERT INTO legacy.names SELECT x, n FROM unnest(ARRAY['Zebra', 'zebra', 'apfel', 'Äpfel', 'Öl', 'émile', 'Emil']) x, generate_series(-5, 12) n;
            INSERT INTO legacy.parts SELECT n, date '2026-01-01' + n, 'x' FROM generate_series(1, 100) n;
            INSERT INTO legacy.amounts SELECT n / 4.0, n FROM generate_series(-100, 100) n; INSERT INTO legacy.amounts VALUES ('NaN', 1);
            GRANT SELECT ON ALL TABLES IN SCHEMA legacy TO boxhaul_capture""", dbname="migrated")

    def test_ends_are_found(self):
        writing = threading.Event()

        def write():
            with contextlib.closing(self.connect()) as connection, connection.cursor() as cursor:
                # An end: rows that are put, or moved, between where the walk is and where it ends are read, too.
                for number in range(1, 300):
                    if writing.is_set():
                        break
                    cursor.execute("INSERT INTO legacy.names VALUES ('zz' || %s, %s) ON CONFLICT DO NOTHING", (number % 50, number))
                    cursor.execute("UPDATE legacy.parts SET at = at + 40 WHERE id = %s", (number % 100,))
                    cursor.execute("UPDATE legacy.amounts SET amount = amount + 1000000 WHERE f = %s AND amount <> 'NaN'", (number % 50,))
        writer = threading.Thread(target=write)
        writer.start()
        self.addCleanup(writer.join)
        self.addCleanup(writing.set)
        self.start_capture({"chunk_rows": 7, "chunk_share": 20})
        self.wait_complete()
        writing.set()
        writer.join()
        self.audit_capture()
        self.assertEqual(self.sql("SELECT top FROM boxhaul.capture_table WHERE tab = 'legacy.amounts'"), [(["NaN"],)])


class Anew(WalkTest):
    """What makes a walk begin from the start."""

    def test_another_key(self):
        """The same table, read by another column: where the walk has come to says nothing any more."""
        relay = self.start_capture()
        self.wait_complete()
        self.leave_in_the_middle(relay, cursor=["900"], top=["999"])
        self.sql("ALTER TABLE legacy.tail DROP CONSTRAINT tail_pkey; ALTER TABLE legacy.tail ADD PRIMARY KEY (other)")
        relay.start()
        self.wait_complete()
        self.assertEqual(self.walk("reading, rows, top"), (2, 300, ["999"]))
        self.assertEqual(len({e.key["other"] for e in self.events() if e.op == "r" and "other" in e.key}), 300)

    def test_another_collation(self):
        self.sql("ALTER TABLE legacy.tail ALTER id TYPE text COLLATE \"C\"")
        relay = self.start_capture()
        self.wait_complete()
        self.leave_in_the_middle(relay, top=["99"])
        self.sql("ALTER TABLE legacy.tail ALTER id TYPE text COLLATE \"und-x-icu\"")
        relay.start()
        self.wait_complete()
        self.assertEqual(self.walk("reading, rows"), (2, 300))


if __name__ == "__main__":
    unittest.main()
