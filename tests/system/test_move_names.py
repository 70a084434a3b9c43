"""Tables move whose names SQL writes in quotes, and a table with very many columns."""

import unittest

from test_cutover import CutoverTest

LONG = "ß" * 31 + "x"  # 63 bytes
SCHEMA = '"Old. ""Shop"""'
NAMES = ['"Orders"', '"All. ""the"" Lines, per order"', f'"{LONG}"', '"plain"']
WIDE = ", ".join(f'"column with a name, {n}" integer DEFAULT {n}' for n in range(1000))
SHOP = f"""
CREATE SCHEMA {SCHEMA};
CREATE TABLE {SCHEMA}.orders (id integer PRIMARY KEY, is_another text);  -- what "Orders" would be without its quotes
CREATE TABLE {SCHEMA}."Orders" ("Id" bigserial PRIMARY KEY, "It's" text);
CREATE TABLE {SCHEMA}."All. ""the"" Lines, per order" ("order, number" integer, "line=" integer, "{LONG}" text, PRIMARY KEY ("order, number", "line="));
CREATE TABLE {SCHEMA}."{LONG}" (id integer PRIMARY KEY, {WIDE});
CREATE TABLE {SCHEMA}."plain" (id integer PRIMARY KEY);
GRANT USAGE ON SCHEMA {SCHEMA} TO boxhaul_capture, boxhaul_sink; GRANT ALL ON ALL TABLES IN SCHEMA {SCHEMA} TO boxhaul_capture, boxhaul_sink;
"""
ROWS = f"""
INSERT INTO {SCHEMA}."Orders" ("It's") SELECT 'order ' || n FROM generate_series(1, 50) n;
INSERT INTO {SCHEMA}."All. ""the"" Lines, per order" SELECT n, 1, 'line ' || n FROM generate_series(1, 50) n;
INSERT INTO {SCHEMA}."{LONG}" SELECT n FROM generate_series(1, 5) n;
INSERT INTO {SCHEMA}."plain" SELECT n FROM generate_series(1, 5) n;
"""


class Names(CutoverTest):
    tables = [f"{SCHEMA}.{name}" for name in NAMES]
    pairs = [{"from": table, "to": table} for table in tables]

    @classmethod
    def _make_template(cls):
        super()._make_template()
        cls.pg.execute(SHOP, dbname="migrated")

    def rows(self, database):
        return [sorted(self.at(database, f"SELECT t.*::text FROM {table} t")) for table in self.tables]

    def assert_equal(self):
        self.assertEqual(self.rows(self.database), self.rows(self.there))

    def test_there_and_back(self):
        self.sql(ROWS)
        self.open_both(verify=False)
        said = self.verify()
        self.assertIn("tables=4 rows=110 ", said)
        self.assertIn("different=0 left=0 unproved=0", said)
        self.at(self.there, f'UPDATE {SCHEMA}."Orders" SET "It\'s" = \'a hand\' WHERE "Id" = 7')
        said = self.verify("--table", self.tables[0], "--repair")
        self.assertIn("tables=1 rows=50 ranges=1 different=1 left=0", said)
        self.cutover("--dry-run")
        said = self.cutover()
        for name in ('Old. "Shop".Orders', 'Old. "Shop".All. "the" Lines, per order'):
            self.assertIn(f"table {name} is equal", said)
        self.assertIn('sequence "Old. ""Shop"""."Orders_Id_seq" stands at 51', said)
        self.assertIn("done", said)
        self.assert_equal()
        # Of a table that nobody has changed the pass tells what its columns are.
        self.assertIn("nothing has told yet what its columns are: `boxhaul verify ", self.cutover("--back", "--unverified", status=1))
        self.at(self.there, f'INSERT INTO {SCHEMA}."Orders" ("It\'s") VALUES (\'of the new owner\'); UPDATE {SCHEMA}."{LONG}" SET "column with a name, 7" = 8')
        self.wait_home()
        self.assertIn("tables=4 rows=111 ranges=4 different=0 left=0 unproved=0", self.verify(back=True))
        self.assertIn("done", self.cutover("--back"))
        self.assertEqual(self.sql(f'SELECT "It\'s" FROM {SCHEMA}."Orders" WHERE "Id" > 50'), [("of the new owner",)])
        self.assert_equal()

    def test_contents_that_the_log_does_not_have(self):
        """Found behind the fence, by whatever name."""
        self.open_both()
        self.sql(f'ALTER TABLE {SCHEMA}."plain" ADD more integer DEFAULT 1')
        self.sql(f'VACUUM FULL {SCHEMA}."plain"')
        self.assertIn('"plain"', self.cutover(status=1))


if __name__ == "__main__":
    unittest.main()
