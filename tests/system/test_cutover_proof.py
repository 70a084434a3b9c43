"""What a cut-over takes for proved, and what it does not: columns of which nobody has told, rows that are made otherwise since the pass, rows that a login does not
see, keys that the source cannot have; and a proof that takes too long."""

import subprocess
import unittest

from harness import RELAY
from test_cutover import NAME, PAIRS, SINK, WRITE, CutoverTest
from process import DEADLINE

OWNER = "move_owner"
LINE = """CREATE OR REPLACE FUNCTION legacy.line(line jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE SET search_path = pg_catalog AS $$
    SELECT jsonb_build_object('sku', line -> 'sku', 'amount', line -> 'amount', 'note', {}, 'changed_by', line -> 'changed_by') $$"""


class ProofTest(CutoverTest):
    def refused(self, *words):
        """What stands against it, by its first words."""
        said = self.cutover(*words, status=1)
        self.assertEqual(self.owners()[:1], [self.database])
        return said

    def follow(self, said, words):
        """The command of the line with these words."""
        line = next(line for line in said.splitlines() if words in line)
        words = line.split("`")[1].split()
        done = subprocess.run([self.program, *words[1:]], stdin=subprocess.DEVNULL, text=True, capture_output=True, timeout=2 * DEADLINE, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def wait_complete_again(self, begun):
        self.wait(lambda: self.at(self.there, "SELECT bool_and(state = 'complete' AND begun_at > %s) FROM boxhaul.sink_table WHERE source = 'legacy.order_lines'",
                                  (begun,)) == [(True,)], "the rows to have come anew")
        self.wait(lambda: self.sql("SELECT bool_and(state = 'complete') FROM boxhaul.capture_table") == [(True,)], "that to be on record")


class Columns(ProofTest):
    def test_of_which_no_change_has_told(self):
        """It has a default that is stored in no row, so nothing is sent; a pass does not compare it, and a cut-over would lose it."""
        self.open_both()
        self.sql("ALTER TABLE legacy.order_lines ADD channel text DEFAULT 'web'")
        said = self.verify(status=1)
        self.assertIn("table legacy.order_lines: 0 rows, 0 ranges, 0 different, 0 left, not proved: the source has columns of which the copy has not been told: channel", said)
        self.assertIn("unproved=1", said)
        told = "table legacy.order_lines: the source has columns of which the copy has not been told: channel"
        for words in ((), ("--unverified",), ("--dry-run", "--unverified")):
            said = self.refused(*words)
            self.assertIn(told, said)
        self.at(self.there, "ALTER TABLE legacy.order_lines ADD channel text")
        (begun,), = self.at(self.there, "SELECT clock_timestamp()")
        self.follow(said, told)
        self.wait_complete_again(begun)
        self.verify()
        self.cutover()
        self.assert_equal()
        self.assertEqual(self.at(self.there, "SELECT DISTINCT channel FROM legacy.order_lines"), [("web",)])

    def test_of_which_one_has_told_behind_the_plan(self):
        """Whoever adds one while the cut-over is under way, too."""
        self.open_both()
        self.cutover(status=None, env={"BOXHAUL_FAILPOINT": "move_arrived=kill"})
        self.sql("ALTER TABLE legacy.order_lines ADD channel text DEFAULT 'web'")
        self.assertIn("table legacy.order_lines: the source has columns of which the copy has not been told: channel", self.refused())
        self.assertEqual(self.owners(), [self.database])

    def test_that_are_generated_at_the_source(self):
        """No resync brings them: what would is said."""
        self.sql("ALTER TABLE legacy.order_lines ADD worth integer GENERATED ALWAYS AS (line * 2) STORED")
        self.open_both(verify=False)
        self.at(self.there, "ALTER TABLE legacy.order_lines ADD worth integer")
        # So that it has been told what the columns are.
        self.sql(WRITE, (-1,))
        self.wait(lambda: self.at(self.there, "SELECT 1 FROM legacy.order_lines WHERE order_id = -1"), "the row to be there")
        words = "columns are generated at the source, and never sent: worth"
        for said in (self.verify(status=1), self.refused("--unverified")):
            self.assertIn(words, said)
            self.assertIn("make them GENERATED in the target, too", said)
            self.assertNotIn("resync", said)
        self.at(self.there, "ALTER TABLE legacy.order_lines DROP worth; ALTER TABLE legacy.order_lines ADD worth integer GENERATED ALWAYS AS (line * 2) STORED")
        self.verify()
        self.cutover()

    def test_that_were_changed_in_the_target(self):
        self.open_both()
        self.at(self.there, "ALTER TABLE legacy.order_lines ALTER note TYPE varchar(20)")
        words = "table legacy.order_lines: since its last verify pass its columns, its mapping or its function were changed in the target"
        said = self.refused("--dry-run")
        self.assertIn(words, said)
        self.follow(said, words)
        self.cutover()
        self.assert_equal()


class Function(ProofTest):
    def setUp(self):
        super().setUp()
        self.at(self.there, LINE.format("line -> 'note'"))
        self.at(self.there, "GRANT EXECUTE ON FUNCTION legacy.line(jsonb) TO boxhaul_sink")

    def sink_settings(self, name, stream, subjects, snapshot):
        (settings,) = super().sink_settings(name, stream, subjects, snapshot)
        if name == SINK:
            settings["tables"] = [{**pair, **({"function": "legacy.line"} if pair["from"] == "legacy.order_lines" else {})} for pair in PAIRS]
        return [settings]

    def test_that_was_changed(self):
        """Rows that are there were made by another one: they differ, and no pass has compared them with what it makes now."""
        self.open_both()
        self.cutover("--dry-run")
        self.at(self.there, LINE.format("to_jsonb(upper(line ->> 'note'))"))
        self.assertIn("its mapping or its function were changed", self.refused())
        self.assertIn('changed: table=legacy.order_lines key=["1", "1"]', self.verify(status=1))
        self.verify("--repair")
        self.verify()
        self.cutover()
        self.assertEqual(self.at(self.there, "SELECT DISTINCT note FROM legacy.order_lines"), [("LINE",)])

    def test_that_was_changed_behind_the_pass(self):
        """After the plan: then all rows are compared."""
        self.open_both()
        self.cutover(status=None, env={"BOXHAUL_FAILPOINT": "move_arrived=kill"})
        self.at(self.there, LINE.format("to_jsonb(upper(line ->> 'note'))"))
        said = self.refused()
        self.assertIn("table legacy.order_lines: no pass that stands has proved it, so all its rows are compared", said)
        self.assertIn('changed: table=legacy.order_lines key=["1", "1"]', said)


class Rows(ProofTest):
    def test_that_a_login_does_not_see(self):
        """Said before anything is fenced: behind it the comparing would be refused."""
        self.open_both()
        if not self.pg.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (OWNER,)):
            self.pg.create_login(OWNER, self.pg.superuser)
        self.pg.execute(f"ALTER ROLE {OWNER} NOBYPASSRLS")
        for of, database in ((self.old, self.database), (self.new, self.there)):
            of.settings["postgres"] = {**of.settings["postgres"], "migrate_conninfo": self.pg.conninfo(database, OWNER)}
            of.configure(of.settings)
        self.cutover("--dry-run")
        for database, which in ((self.database, "source"), (self.there, "target")):
            self.at(database, "ALTER TABLE legacy.stock ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
            self.assertIn(f"FAIL  table legacy.stock of the {which} has row-level security, which hides rows from this login: ALTER ROLE {OWNER} BYPASSRLS;",
                          self.refused("--dry-run"))
        self.pg.execute(f"ALTER ROLE {OWNER} BYPASSRLS")
        self.cutover("--dry-run")

    def give_up_within(self, timeout, statement, said):
        """Somebody in the target holds what the cut-over needs: it ends with --timeout, says so, and the fence goes."""
        other = self.pg.connect(self.there)
        self.addCleanup(other.close)
        with other.cursor() as cursor:
            cursor.execute(f"BEGIN; {statement}")
            output = self.cutover("--timeout", timeout, status=1)
            self.assertRegex(output, f"boxhaul: {said} within --timeout(: a verify pass just before leaves less to compare, .*)?\n")
            self.assertIn("taken back: the source takes the writes as before", output)
            cursor.execute("ROLLBACK")
        self.assertEqual(self.owners(), [self.database])
        self.cutover()
        self.assert_equal()

    def test_that_are_locked(self):
        """What compares them gets what is left of --timeout, and not more."""
        self.open_both()
        self.cutover(status=None, env={"BOXHAUL_FAILPOINT": "move_arrived=kill"})
        self.give_up_within("5s", "LOCK TABLE legacy.stock IN ACCESS EXCLUSIVE MODE", "table legacy.stock was not compared")

    def test_a_sequence_that_somebody_holds(self):
        """The fence stands while the sequences are set."""
        self.open_both()
        (sequence,), = self.at(self.there, "SELECT seqrelid::regclass::text FROM pg_sequence s WHERE seqrelid IN "
                                           "(SELECT q.seq FROM boxhaul.move_sequences_of('legacy.orders') q) LIMIT 1")
        self.give_up_within("8s", f"ALTER SEQUENCE {sequence} CACHE 1", "the sequences were not set")


class Keys(ProofTest):
    def setUp(self):
        super().setUp()
        self.at(self.there, "ALTER TABLE legacy.order_lines ALTER order_id TYPE text")

    def test_that_the_source_cannot_have(self):
        """Its type cannot read them; they are named and counted like others, and so are those beside them."""
        self.open_both()
        hand = "ALTER TABLE legacy.order_lines DISABLE TRIGGER ALL; INSERT INTO legacy.order_lines (order_id, line, sku) VALUES ('no number', 1, 'x'), ('99999', 1, 'x')"
        self.at(self.there, hand)
        said = self.refused()
        for key in ("no number", "99999"):
            self.assertIn(f'surplus: table=legacy.order_lines key=["{key}", "1"]', said)
        self.assertIn("taken back", said)
        said = self.verify("--repair", status=1)
        self.assertIn("different=2 left=1 unproved=0", said)
        self.assertIn("table legacy.order_lines: not set right: 1 of the keys that the target has can be none of the source: delete these rows there, logged in as the sink", said)
        self.at(self.there, "DELETE FROM legacy.order_lines WHERE order_id = 'no number'", user=RELAY)
        self.verify()
        self.cutover()


class Tables(ProofTest):
    def test_one_that_cannot_be_verified(self):
        """The others are, and the report names it."""
        self.open_both(verify=False)
        self.at(self.there, "UPDATE boxhaul.sink_table SET state = 'reading' WHERE source = 'legacy.stock'")
        self.sql("SELECT boxhaul.capture_pause(%s)", (NAME,))
        self.sql("SELECT boxhaul.capture_verify(%s, 'legacy.orders')", (NAME,))
        self.sql("SELECT boxhaul.capture_resume(%s)", (NAME,))
        said = self.verify(status=1)
        self.assertIn("table legacy.stock: 0 rows, 0 ranges, 0 different, 0 left, not proved: it is not complete in the target yet (reading)", said)
        self.assertIn("table legacy.order_lines: 200 rows", said)
        self.at(self.there, "UPDATE boxhaul.sink_table SET state = 'complete' WHERE source = 'legacy.stock'")
        self.wait(lambda: self.sql("SELECT bool_and(state = 'complete') FROM boxhaul.capture_verify") == [(True,)], "the passes to be over")
        self.assertIn("unproved=0", self.verify())


    def test_one_that_is_complete_in_a_moment(self):
        """The rows are there, and one of the two databases has yet to say so: that is waited for."""
        self.open_both()
        asked = "SELECT 1 FROM pg_stat_activity WHERE datname = %s AND query LIKE '%%t.state FROM boxhaul.sink_table t%%' AND pid <> pg_backend_pid()"
        for database, table in ((self.there, "sink_table WHERE source"), (self.database, "capture_table WHERE tab")):
            name, value = table.split(" WHERE ")
            change = f"UPDATE boxhaul.{name} SET state = '%s' WHERE {value} = 'legacy.stock'"
            self.at(database, change % "reading")
            verify = subprocess.Popen([self.program, "verify", "-c", self.old.config, "--to", self.new.config, "--table", "legacy.stock"],
                                      stdin=subprocess.DEVNULL, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            self.wait(lambda: verify.poll() is not None or self.at(self.there, asked, (self.there,)), "it to look whether the table is complete")
            self.at(database, change % "complete")
            said = verify.communicate(timeout=DEADLINE)[0]
            self.assertEqual(verify.returncode, 0, said)
            self.assertIn("unproved=0", said)


del CutoverTest  # nobody's test by itself

if __name__ == "__main__":
    unittest.main()
