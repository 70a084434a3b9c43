"""What others do while a cut-over is under way: tables that are read anew, that come, that go, whose rows are hidden. It is proved and ends, or gives up and
says why; one database takes the writes, then, and not the other one."""

import json
import os
import signal
import subprocess
import unittest

from test_cutover import NAME, PAIRS, SINK, TABLES
from test_cutover_proof import OWNER, ProofTest
from process import DEADLINE

STOCK = "legacy.stock"
MORE = "CREATE TABLE legacy.more (id integer PRIMARY KEY, note text)"


class MeanwhileTest(ProofTest):
    def setUp(self):
        super().setUp()
        if subprocess.run([self.program, "failpoints"], capture_output=True, check=False).returncode != 0:
            self.skipTest("this program has no failpoints: they need a build with configure --enable-failpoints")

    def during(self, point, act, *words):
        """A cut-over that stands still there while act() is done; its status, and what it said."""
        cutover = subprocess.Popen([self.program, "cutover", NAME, "--to", self.new.config, "-c", self.old.config, "--timeout", f"{DEADLINE}s", *words],
                                   stdin=subprocess.DEVNULL, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                   env={**os.environ, "BOXHAUL_FAILPOINT": f"move_{point}=stall"})
        try:
            self.wait(lambda: self.stands(cutover), f"the cut-over to stand at {point}")
            self.assertIsNone(cutover.poll())
            act()
        finally:
            cutover.send_signal(signal.SIGCONT)
            said, _ = cutover.communicate(timeout=2 * DEADLINE)
        return cutover.returncode, said

    def stands(self, process):
        with open(f"/proc/{process.pid}/stat", encoding="ascii") as f:
            return process.poll() is not None or f.read().rpartition(")")[2].split()[0] == "T"

    def killed(self, point):
        self.cutover(status=None, env={"BOXHAUL_FAILPOINT": f"move_{point}=kill"})

    def assert_taken_back(self, outcome, *words):
        status, said = outcome
        self.assertEqual(status, 1, said)
        for word in (*words, "taken back: the source takes the writes as before"):
            self.assertRegex(said, word)
        self.assertEqual(self.owners(), [self.database])

    def assert_moved(self):
        self.assertEqual(self.owners(), [self.there])
        self.assert_equal()

    # -- what they do

    def read_anew(self, *table):
        """The sink has met the beginning of that."""
        (now,), = self.at(self.there, "SELECT clock_timestamp()")
        self.say(self.old, "capture", "resync", NAME, *table)
        self.wait(lambda: self.at(self.there, "SELECT bool_and(begun_at > %s) FROM boxhaul.sink_table WHERE %s IN ('', source)", (now, "".join(table))) == [(True,)],
                  "the rows to come anew", progress=self.progress)

    def wait_whole(self):
        self.wait_complete()
        self.wait(lambda: self.at(self.there, "SELECT bool_and(state = 'complete') FROM boxhaul.sink_table") == [(True,)], "the copy to be complete")

    def configure(self, relay, group, **changes):
        """Another configuration, and the daemon takes it."""
        relay.stop()
        relay.settings[group] = [{**relay.settings[group][0], **changes}]
        relay.configure(relay.settings)
        relay.start()

    def add_table(self):
        """To the capture and to the sink."""
        for database in (self.database, self.there):
            self.at(database, MORE)
            self.at(database, "GRANT SELECT ON legacy.more TO boxhaul_capture; GRANT ALL ON legacy.more TO boxhaul_sink")
        self.sql("INSERT INTO legacy.more VALUES (1, 'more')")
        self.configure(self.old, "capture", tables=[*TABLES, "legacy.more"])
        self.say(self.old, "capture", "add", NAME, "legacy.more")
        self.configure(self.new, "inbox", tables=[*PAIRS, {"from": "legacy.more", "to": "legacy.more"}])
        self.wait(lambda: self.at(self.there, "SELECT 1 FROM boxhaul.sink_table WHERE source = 'legacy.more'"), "the sink to know it")


class Tables(MeanwhileTest):
    def test_that_are_read_anew(self):
        """Between the fence and the opening what is proved is not what is there at its end; nor would what has not come yet ever come."""
        self.open_both()
        for point, table in (("fenced", STOCK), ("arrived", STOCK), ("proved", STOCK), ("sequenced", STOCK), ("arrived", None)):
            with self.subTest(point=point, table=table):
                self.assert_taken_back(self.during(point, lambda table=table: self.read_anew(*([table] if table else [])), "--timeout", "15s"),
                                       f"read anew( since its token arrived, or not applied any more)?: .*{STOCK}")
                self.wait_whole()
        self.verify()
        self.cutover()
        self.assert_moved()

    def test_that_are_read_anew_before_the_token(self):
        """It is not written then."""
        self.open_both()
        self.assert_taken_back(self.during("fencing", lambda: self.sql("SELECT boxhaul.capture_resync(%s, %s)", (NAME, STOCK)), "--timeout", "15s"),
                               r"contents that the stream does not have: legacy.stock \((waiting|reading|read)\)|read anew")
        self.wait_whole()
        self.cutover()
        self.assert_moved()

    def test_one_that_comes(self):
        """It is none of the move, which ends with those that it began with: what had begun before, and what is said again."""
        self.open_both()
        self.killed("fenced")
        self.add_table()
        said = self.cutover()
        self.assertIn("sink move applies 3 tables", said)
        self.assert_moved()
        self.assertEqual(self.at(self.there, "SELECT tables FROM boxhaul.move_target"), [(sorted(TABLES),)])
        self.sql("INSERT INTO legacy.more VALUES (2, 'is written where it was')")

    def test_one_that_comes_while_it_waits(self):
        self.open_both()
        status, said = self.during("fenced", self.add_table)
        self.assertEqual(status, 0, said)
        self.assert_moved()

    def test_one_that_the_sink_does_not_apply_any_more(self):
        """The move cannot be proved, nor end otherwise: it is taken back, as a whole."""
        self.open_both()
        less = [pair for pair in PAIRS if pair["from"] != STOCK]
        self.killed("arrived")
        self.configure(self.new, "inbox", tables=less)
        self.wait(lambda: not self.at(self.there, "SELECT 1 FROM boxhaul.sink_table WHERE source = %s", (STOCK,)), "the sink to let it go")
        self.assert_taken_back((1, self.refused()), f"tables of the move that the sink does not apply any more: {STOCK}\n")
        self.configure(self.new, "inbox", tables=PAIRS)
        self.wait(lambda: self.at(self.there, "SELECT 1 FROM boxhaul.sink_table WHERE source = %s", (STOCK,)), "the sink to know it")
        self.say(self.old, "capture", "resync", NAME, STOCK)
        self.wait_whole()
        self.verify()
        self.assert_taken_back(self.during("arrived", lambda: self.configure(self.new, "inbox", tables=less)), 
                               f"table {STOCK} is not captured and applied any more\n|or not applied any more: {STOCK}\n")

    def test_one_that_is_not_captured_any_more(self):
        self.open_both()
        self.killed("expected")
        self.configure(self.old, "capture", tables=[table for table in TABLES if table != STOCK])
        self.wait(lambda: not self.sql("SELECT 1 FROM boxhaul.capture_table WHERE tab = %s", (STOCK,)), "the capture to let it go")
        self.assert_taken_back((1, self.refused()), rf"contents that the stream does not have: {STOCK} \(it is not captured any more\)")

    def test_a_copy_is_not_forgotten_while_a_move_waits(self):
        """Nobody could say how it ended, and the source would stay fenced."""
        self.open_both()
        self.killed("fenced")
        self.new.stop()
        self.assertIn(f"waits for subscription {SINK}", self.say(self.new, "inbox", "drop", SINK, "--yes", status=1))
        self.assertIn("is under way", self.say(self.old, "capture", "drop", NAME, "--yes", status=1))
        self.assert_taken_back((1, self.refused("--give-up")))
        self.say(self.new, "inbox", "drop", SINK, "--yes")
        self.assertEqual(self.at(self.there, "SELECT count(*) FROM boxhaul.verify_result"), [(0,)])
        self.new.start()
        self.wait(lambda: self.at(self.there, "SELECT 1 FROM boxhaul.sink WHERE subscription = %s", (SINK,)), "the sink to be there again")
        self.wait_whole()  # from the beginning of the stream on
        self.verify()
        self.cutover()
        self.assert_moved()


class Rows(MeanwhileTest):
    """Row-level security that is switched on when all is under way already: what is hidden is neither equal nor absent."""

    def hide(self, database, how="ENABLE ROW LEVEL SECURITY"):
        self.at(database, f"ALTER TABLE legacy.stock {how}")

    def show(self, database):
        self.at(database, "ALTER TABLE legacy.stock DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY")

    def own(self):
        """Whoever owns the tables, for the cut-over; a policy may be for that one, too."""
        if not self.pg.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (OWNER,)):
            self.pg.create_login(OWNER, self.pg.superuser)
        self.pg.execute(f"ALTER ROLE {OWNER} NOBYPASSRLS NOSUPERUSER")
        for of, database in ((self.old, self.database), (self.new, self.there)):
            of.settings["postgres"] = {**of.settings["postgres"], "migrate_conninfo": self.pg.conninfo(database, OWNER)}
            of.configure(of.settings)

    def test_of_the_target_that_a_sink_does_not_see(self):
        """A change stops it; a pass proves nothing. Shown again, all goes on."""
        self.open_both()
        self.hide(self.there)
        self.sql("UPDATE legacy.stock SET on_hand = on_hand + 1; DELETE FROM legacy.stock WHERE sku = (SELECT min(sku) FROM legacy.stock)")
        self.wait(lambda: "row-level security" in (self.at(self.there, "SELECT error FROM boxhaul.sink")[0][0] or ""), "the sink to stop")
        self.assertIn("it has stopped: ", self.refused())
        self.show(self.there)
        self.verify()
        self.hide(self.there)
        self.assertIn('not proved: query would be affected by row-level security policy for table "stock"', self.verify(status=1))
        self.assertIn(f"table {STOCK}: its last verify pass proves nothing", self.refused())
        self.assertEqual(self.at(self.there, "SELECT count(*) FROM boxhaul.verify_difference"), [(0,)])
        self.show(self.there)
        self.verify()
        self.cutover()
        self.assert_moved()

    def test_of_the_source_that_a_pass_does_not_see(self):
        """It waits, and says why; it does not take what is hidden for what is gone."""
        self.open_both()
        self.hide(self.database)
        self.assertIn(f"the pass over {STOCK} has not ended in time", self.verify("--timeout", "5s", status=1))
        self.wait(lambda: "a policy hides rows of it" in json.dumps(self.status(self.old)), "the daemon to say so", progress=lambda: self.status(self.old))
        self.assertEqual(self.at(self.there, "SELECT count(*) FROM boxhaul.verify_difference"), [(0,)])
        self.show(self.database)
        self.wait(lambda: not self.sql("SELECT 1 FROM boxhaul.capture_verify WHERE state <> 'complete'"), "the pass to end", deadline=2 * DEADLINE)
        self.verify()
        self.cutover()
        self.assert_moved()

    def test_that_are_hidden_behind_the_fence(self):
        """From who compares, and who asks for the highest key of a sequence."""
        self.open_both()
        self.own()
        for point, database in (("fenced", self.there), ("arrived", self.database), ("arrived", self.there)):
            with self.subTest(point=point, database=database):
                self.assert_taken_back(self.during(point, lambda database=database: self.hide(database, "ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")),
                                       'cannot compare: .*query would be affected by row-level security policy for table "stock"')
                self.show(database)
        act = "ALTER TABLE legacy.orders ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY"
        self.assert_taken_back(self.during("proved", lambda: self.at(self.there, act)),
                               'cannot set the sequences: .*query would be affected by row-level security policy for table "orders"')
        self.at(self.there, "ALTER TABLE legacy.orders DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY")
        self.cutover()
        self.assert_moved()


del ProofTest, MeanwhileTest  # nobody's tests by themselves

if __name__ == "__main__":
    unittest.main()
