"""Tables move whose keys have several texts for one value, or an order of their own: there, read anew over other texts of the same keys, and back."""

import unittest

from captures import STREAM
from test_cutover import CutoverTest

# What each table's key is, the keys that are there, and what is done to them at the source.
KINDS = {
    "letters": ("k public.citext PRIMARY KEY", "(VALUES ('Foo'), ('bar'), ('')) v (k)",
                "BEGIN; UPDATE {t} SET k = 'fOO' WHERE k = 'foo'; DELETE FROM {t} WHERE k = 'BAR'; INSERT INTO {t} VALUES ('Bar'); COMMIT"),
    "two_orders": ("k text COLLATE keys.blind, l text COLLATE \"C\", PRIMARY KEY (k, l)", "(VALUES ('Foo', 'a'), ('foo', 'b')) v (k, l)",
                   "UPDATE {t} SET k = 'FOO' WHERE l = 'a'"),
    "padded": ("k char(6) PRIMARY KEY", "(VALUES ('a'), ('ab  '), (''), (' a')) v (k)", "UPDATE {t} SET k = 'zzzzzz' WHERE k = ''"),
    "numbers": ("k numeric PRIMARY KEY", "(VALUES (1.0), (2), ('NaN'), (0.00)) v (k)", "UPDATE {t} SET k = 1.000 WHERE k = 1; UPDATE {t} SET k = -k WHERE k = 2"),
    "signs": ("k float8 PRIMARY KEY", "(VALUES ('-0'::float8), (1), ('Infinity')) v (k)", "UPDATE {t} SET k = '0' WHERE k = 0"),
    "spans": ("k interval, l jsonb, PRIMARY KEY (k, l)", "(VALUES ('1 mon'::interval, '{\"a\": 1.0}'::jsonb), ('1 day', 'null')) v (k, l)",
              "UPDATE {t} SET k = '30 days', l = '{{\"a\": 1.00}}' WHERE k = '1 mon'"),
    "orders": ("k public.citext, n integer, PRIMARY KEY (k, n)", "(SELECT (CASE WHEN g % 2 = 0 THEN 'k' ELSE 'K' END || g / 4)::public.citext, g FROM generate_series(1, 999) g) v (k, n)",
               "UPDATE {t} SET n = -n WHERE n % 7 = 0"),
}
# The same keys in the copy, written otherwise.
OTHERWISE = """
UPDATE keys.letters SET k = 'foo' WHERE k = 'foo'; UPDATE keys.two_orders SET k = 'fOo' WHERE l = 'a'; UPDATE keys.numbers SET k = 1.00000 WHERE k = 1;
UPDATE keys.signs SET k = '-0' WHERE k = 0; UPDATE keys.spans SET k = '1 mon', l = '{"a": 1.0000}' WHERE k = '30 days'; UPDATE keys.orders SET k = upper(k::text)
"""


class Keys(CutoverTest):
    tables = [f"keys.{name}" for name in KINDS]
    pairs = [{"from": table, "to": table} for table in tables]

    @classmethod
    def _make_template(cls):
        super()._make_template()
        if not cls.pg.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'citext'"):
            raise unittest.SkipTest("this PostgreSQL has no citext")
        cls.pg.execute("CREATE EXTENSION citext SCHEMA public; CREATE SCHEMA keys; CREATE COLLATION keys.blind (provider = icu, locale = 'und-u-ks-level2', deterministic = false); "
                       + "; ".join(f"CREATE TABLE keys.{name} ({key})" for name, (key, _, _) in KINDS.items())
                       + "; GRANT USAGE ON SCHEMA keys TO boxhaul_capture, boxhaul_sink; GRANT ALL ON ALL TABLES IN SCHEMA keys TO boxhaul_capture, boxhaul_sink", dbname="migrated")

    def rows(self, database):
        return {table: sorted(self.at(database, f"SELECT t.*::text FROM {table} t")) for table in self.tables}

    def assert_equal(self):
        self.assertEqual(self.rows(self.database), self.rows(self.there))

    def wait_followed(self):
        self.wait_confirmed()
        self.wait(lambda: self.at(self.there, "SELECT complete AND position = %s FROM boxhaul.sink_status", (self.count(STREAM),)) == [(True,)], "the copy to follow",
                  progress=lambda: self.at(self.there, "SELECT position, error FROM boxhaul.sink_status"))

    def test_there_and_back(self):
        for name, (_, rows, _) in KINDS.items():
            self.sql(f"INSERT INTO keys.{name} SELECT * FROM {rows}")
        self.open_both()
        self.assert_equal()
        for name, (_, _, change) in KINDS.items():
            self.sql(change.format(t=f"keys.{name}"))
        self.wait_followed()
        self.assert_equal()
        # Read anew, into rows whose keys are the same and are written otherwise.
        self.at(self.there, OTHERWISE)
        before = self.sql("SELECT array_agg(snapshot_id ORDER BY tab) FROM boxhaul.capture_table")
        for table in self.tables:
            self.say(self.old, "capture", "resync", "shop", table)
        self.assertNotEqual(self.sql("SELECT array_agg(snapshot_id ORDER BY tab) FROM boxhaul.capture_table"), before)
        self.wait_complete()
        self.wait_followed()
        self.assert_equal()
        self.assertIn("different=0 left=0 unproved=0", self.verify())
        # A difference in the text alone is one, and is set right.
        self.at(self.there, OTHERWISE)
        self.assertIn("left=0 unproved=0", self.verify("--repair"))
        self.assert_equal()
        self.assertIn("done", self.cutover())
        self.at(self.there, "UPDATE keys.letters SET k = 'FOO' WHERE k = 'foo'; UPDATE keys.numbers SET k = 1.0 WHERE k = 1; DELETE FROM keys.orders WHERE k = 'K7'")
        self.wait_home()
        self.verify(back=True)
        self.assertIn("done", self.cutover("--back"))
        self.assert_equal()


if __name__ == "__main__":
    unittest.main()
