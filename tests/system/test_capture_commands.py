"""`boxhaul capture`: what the commands say, do, and leave behind. What is captured others look at."""

import json
import re
import unittest

import psycopg2
import psycopg2.extras

from captures import NAME, SETTINGS, STREAM, CaptureTest
from harness import RELAY, SERVICE
from legacy import TABLES


class CommandTest(CaptureTest):
    orders = 50

    def plan(self, relay=None, status=0, **capture):
        """{(about, verdict): [line]} of `capture plan`."""
        said = self.say(relay or self.add_capture(capture), "capture", "plan", "--json", NAME, status=status)
        lines = {}
        for line in json.loads(said):
            lines.setdefault((line["about"], line["verdict"]), []).append(line)
        return lines

    def verdicts(self, table, status, **capture):
        """What is not well with one table, by the plan."""
        return {verdict: [line["what"] for line in lines] for (about, verdict), lines in self.plan(status=status, tables=[table], **capture).items()
                if about == table and verdict not in ("ok", "note")}

    def left_behind(self):
        """Slots, publications and books."""
        return (self.pg.execute("SELECT slot_name FROM pg_replication_slots WHERE database = %s", (self.database,)),
                self.sql("SELECT pubname FROM pg_publication"), self.sql("SELECT name FROM boxhaul.capture"))


class Plan(CommandTest):
    """Each fault is prepared, and told with what mends it."""

    def test_all_is_there_but_the_publications(self):
        relay = self.add_capture()
        lines = self.plan(relay)
        self.assertEqual([about for about, verdict in lines if verdict == "FAIL"], [])
        self.assertEqual({about for about, verdict in lines if verdict == "todo"}, {f"boxhaul_{NAME}", f"boxhaul_{NAME}_inserts"})
        for table in TABLES:
            self.assertIn("key ", lines[table, "ok"][0]["what"])
        self.assertEqual(self.left_behind(), ([], [], []))  # it changed nothing
        self.say(relay, "capture", "start", NAME)
        self.assertEqual([about for about, verdict in self.plan(relay) if verdict == "todo"], [])

    def test_the_sql_for_a_dba(self):
        """What --sql prints is all that is missing: run by a superuser, it is there."""
        self.sql("REVOKE SELECT ON legacy.orders FROM boxhaul_capture")
        relay = self.add_capture()
        self.sql(self.say(relay, "capture", "plan", "--sql", NAME))
        self.assertEqual({verdict for _about, verdict in self.plan(relay)} - {"ok", "note", "warn"}, set())
        owner = self.add_capture(postgres={"migrate_conninfo": self.pg.conninfo(self.database, SERVICE)})
        self.say(owner, "capture", "start", NAME)  # nothing is left to do that needs the owner

    def test_a_table_without_a_key(self):
        self.sql("CREATE TABLE legacy.keyless (v int)")
        (why,) = self.verdicts("legacy.keyless", 1)["FAIL"]
        self.assertIn("no primary key", why)
        lines = self.plan(tables=TABLES, inserts_only=["legacy.keyless"])  # what it says mends it
        self.assertIn("inserts only", lines["legacy.keyless", "ok"][0]["what"])

    def test_identities(self):
        self.sql("CREATE TABLE legacy.bare (id int PRIMARY KEY); ALTER TABLE legacy.bare REPLICA IDENTITY NOTHING; "
                 "CREATE TABLE legacy.whole (id int PRIMARY KEY, doc text); ALTER TABLE legacy.whole REPLICA IDENTITY FULL; "
                 "CREATE TABLE legacy.unkeyed (id int, doc text); ALTER TABLE legacy.unkeyed REPLICA IDENTITY FULL; "
                 "CREATE TABLE legacy.indexed (id int NOT NULL, other text NOT NULL); CREATE UNIQUE INDEX named ON legacy.indexed (other, id); "
                 "ALTER TABLE legacy.indexed REPLICA IDENTITY USING INDEX named")
        self.assertIn("NOTHING", self.verdicts("legacy.bare", 1)["FAIL"][0])
        self.assertIn("told apart", self.verdicts("legacy.unkeyed", 1)["FAIL"][0])
        lines = self.plan(tables=["legacy.whole", "legacy.indexed"])
        self.assertIn("whole old row", lines["legacy.whole", "note"][0]["what"])
        self.assertIn("key other, id", lines["legacy.indexed", "ok"][0]["what"])
        (bare,) = self.plan(status=1, tables=["legacy.bare"])["legacy.bare", "FAIL"]
        self.sql(bare["statement"])
        self.assertNotIn("FAIL", self.verdicts("legacy.bare", 0))

    def test_partitions(self):
        self.sql("CREATE TABLE legacy.parts (id int PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE legacy.one PARTITION OF legacy.parts "
                 "FOR VALUES FROM (0) TO (10); CREATE TABLE legacy.loose (id int) PARTITION BY RANGE (id); "
                 "CREATE TABLE legacy.leaf PARTITION OF legacy.loose FOR VALUES FROM (0) TO (10)")
        self.assertIn("in 1 partitions", self.plan(tables=["legacy.parts"])["legacy.parts", "ok"][0]["what"])
        self.assertIn("no primary key", self.verdicts("legacy.loose", 1)["FAIL"][0])
        lines = self.plan(status=1, tables=["legacy.parts", "legacy.one"])
        self.assertIn("partition of legacy.parts", lines["legacy.one", "FAIL"][0]["what"])
        self.sql("ALTER TABLE legacy.one REPLICA IDENTITY NOTHING")
        self.assertIn("legacy.one", self.verdicts("legacy.parts", 1)["FAIL"][0])
        self.sql("ALTER TABLE legacy.one REPLICA IDENTITY DEFAULT")
        self.assertEqual(self.verdicts("legacy.parts", 0), {"todo": [f"{RELAY} is allowed to read it"]})

    def test_what_is_no_table(self):
        self.sql("CREATE VIEW legacy.seen AS SELECT 1 AS id; CREATE UNLOGGED TABLE legacy.quick (id int PRIMARY KEY); "
                 "GRANT SELECT ON legacy.quick TO boxhaul_capture")
        self.assertIn("no table", self.verdicts("legacy.seen", 1)["FAIL"][0])
        self.assertIn("no such table", self.verdicts("legacy.missing", 1)["FAIL"][0])
        self.assertIn("unlogged", self.verdicts("legacy.quick", 1)["FAIL"][0])
        (line,) = self.plan(status=1, tables=["legacy.quick"])["legacy.quick", "FAIL"]
        self.sql(line["statement"])
        self.assertNotIn("FAIL", self.verdicts("legacy.quick", 0))

    def test_rows_that_the_login_may_not_read(self):
        self.sql("REVOKE ALL ON legacy.stock FROM boxhaul_capture; REVOKE ALL ON SCHEMA legacy FROM boxhaul_capture")
        relay = self.add_capture()
        self.assertTrue(self.plan(relay)["legacy.stock", "todo"][0]["statement"].endswith("GRANT SELECT ON legacy.stock TO boxhaul_capture"))
        self.say(relay, "capture", "start", NAME)
        self.sql("SELECT FROM legacy.stock", user=RELAY)

    def test_row_level_security(self):
        self.sql("ALTER TABLE legacy.stock ENABLE ROW LEVEL SECURITY")
        (line,) = self.plan()["legacy.stock", "warn"]
        self.assertIn("row-level security", line["what"])
        self.pg.execute(line["statement"])
        self.addCleanup(self.pg.execute, f"ALTER ROLE {RELAY} NOBYPASSRLS")
        self.assertNotIn("warn", self.verdicts("legacy.stock", 0))

    def test_a_login_that_may_not_read_the_log(self):
        self.pg.create_login(f"clerk_{self.database}")
        self.addCleanup(self.pg.execute, f"DROP ROLE clerk_{self.database}")
        relay = self.add_capture(postgres={"capture_conninfo": self.pg.conninfo(self.database, f"clerk_{self.database}")})
        lines = self.plan(relay, status=1)["login", "FAIL"]
        for line in lines:
            if line["statement"]:
                self.pg.execute(line["statement"])
        self.assertEqual([line["what"] for line in self.plan(relay).get(("login", "FAIL"), [])], [])
        self.say(relay, "capture", "start", NAME)

    def test_a_login_that_does_not_get_in(self):
        relay = self.add_capture(postgres={"capture_conninfo": self.pg.conninfo(self.database, "nobody_here")})
        self.assertIn("nobody_here", self.plan(relay, status=1)["login", "FAIL"][0]["what"])
        self.assertIn("FAIL", self.say(relay, "check", status=1))

    def test_publications_of_somebody_else(self):
        """Whoever made them made them otherwise: it is said what would break producers, and start mends the rest."""
        relay = self.add_capture()
        self.sql(f"CREATE PUBLICATION boxhaul_{NAME} FOR TABLE legacy.stock WITH (publish = 'insert')")
        todo = [line["statement"] for line in self.plan(relay)[f"boxhaul_{NAME}", "todo"]]
        self.assertEqual(len(todo), 1 + len(TABLES) - 1)
        self.say(relay, "capture", "start", NAME)
        self.assertEqual({tab for (tab,) in self.sql("SELECT schemaname || '.' || tablename FROM pg_publication_tables WHERE pubname = %s",
                                                     (f"boxhaul_{NAME}",))}, set(TABLES))

    def test_a_filter_in_the_publication(self):
        if self.sql("SHOW server_version_num")[0][0] < "150000":
            self.skipTest("publications have no filters before 15")
        relay = self.add_capture()
        self.sql(f"CREATE PUBLICATION boxhaul_{NAME} FOR TABLE legacy.orders WHERE (id > 10)")
        (line,) = self.plan(relay, status=1)[f"boxhaul_{NAME}", "FAIL"]
        self.assertIn("row filter", line["what"])
        self.sql(line["statement"])
        self.say(relay, "capture", "start", NAME)
        self.assertEqual(self.sql("SELECT count(*) FROM pg_publication_rel"), [(len(TABLES),)])

    def test_it_is_no_superusers_business(self):
        """A login that owns nothing cannot start it, and changes nothing."""
        relay = self.add_capture(postgres={"migrate_conninfo": self.pg.conninfo(self.database, SERVICE)})
        said = self.say(relay, "capture", "start", NAME, status=1)
        self.assertIn("capture plan --sql", said)
        self.assertEqual(self.left_behind(), ([], [], []))

    def test_messages(self):
        """PostgreSQL 13 sends none."""
        relay = self.add_capture(messages=[{"prefix": "boxhaul", "subject": "emitted.>"}])
        if self.sql("SELECT current_setting('server_version_num')::int")[0][0] >= 140000:
            self.assertNotIn(("server", "FAIL"), self.plan(relay))
        else:
            self.assertIn("logical messages", self.plan(relay, status=1)["server", "FAIL"][0]["what"])

    def test_the_same_name_in_another_database(self):
        """Slots belong to the whole server: the second one is told to have another name."""
        other = self.database + "_other"
        self.pg.execute(f"CREATE DATABASE {other}")
        self.addCleanup(lambda: self.pg.execute(f"DROP DATABASE {other}"))
        self.pg.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (f"boxhaul_{NAME}_3",), other)
        self.addCleanup(lambda: self.pg.execute("SELECT pg_drop_replication_slot(%s)", (f"boxhaul_{NAME}_3",)))
        relay = self.add_capture()
        self.assertIn(other, self.plan(relay, status=1)["replication slot", "FAIL"][0]["what"])
        self.assertNotIn(("replication slot", "FAIL"), self.plan_of("another"))

    def plan_of(self, name):
        said = self.say(self.add_capture({"name": name}), "capture", "plan", "--json", name)
        return {(line["about"], line["verdict"]) for line in json.loads(said)}

    def test_a_slot_that_would_be_taken_away(self):
        """By a server that ends idle slots (18)."""
        if self.sql("SELECT current_setting('idle_replication_slot_timeout', true)")[0][0] is None:
            self.skipTest("it has no idle_replication_slot_timeout")
        self.pg.execute("ALTER SYSTEM SET idle_replication_slot_timeout = '2d'")
        self.addCleanup(self.pg.execute, "SELECT pg_reload_conf()")
        self.addCleanup(self.pg.execute, "ALTER SYSTEM RESET idle_replication_slot_timeout")
        self.pg.execute("SELECT pg_reload_conf()")
        self.wait(lambda: ("idle_replication_slot_timeout", "warn") in self.plan(), "the setting to count")
        (line,) = self.plan()["idle_replication_slot_timeout", "warn"]
        self.pg.execute(line["statement"])
        self.pg.execute("SELECT pg_reload_conf()")
        self.wait(lambda: ("idle_replication_slot_timeout", "warn") not in self.plan(), "the setting to count")

    def test_the_name_of_no_capture(self):
        said = self.say(self.add_capture(), "capture", "plan", "shoop", status=2)
        self.assertIn(f"it has {NAME}", said)


class OtherServers(CommandTest):
    """The server is not set up for captures."""

    postgres_settings = {**SETTINGS, "wal_level": "replica", "max_replication_slots": 0, "max_wal_senders": 0,
                         "synchronous_standby_names": "FIRST 1 (near, *)", "synchronous_commit": "local"}

    def test_what_needs_a_restart(self):
        relay = self.add_capture()
        lines = self.plan(relay, status=1)
        for about in ("wal_level", "max_replication_slots", "max_wal_senders"):
            self.assertIn("restart", lines[about, "FAIL"][0]["mend"])
            self.pg.execute(lines[about, "FAIL"][0]["statement"])
        self.assertIn("standby", lines["synchronous_standby_names", "FAIL"][0]["what"])
        said = self.say(relay, "check", status=1)
        for about in ("wal_level", "max_replication_slots", "synchronous_standby_names"):
            self.assertRegex(said, f"FAIL  capture {NAME}: {about}: ")
        self.assertIn("have to be mended first", self.say(relay, "capture", "start", NAME, status=1))
        self.assertEqual(self.left_behind(), ([], [], []))
        self.settings_as_told()
        self.say(relay, "capture", "start", NAME)

    def settings_as_told(self):
        """What ALTER SYSTEM set, without what the command line of this server says; and the standbys by their names."""
        self.pg.settings = {name: value for name, value in self.pg.settings.items()
                            if name not in ("wal_level", "max_replication_slots", "max_wal_senders")}
        self.pg.settings["synchronous_standby_names"] = "FIRST 1 (near, far)"
        self.pg.restart()


class Life(CommandTest):
    def test_from_start_to_drop(self):
        """What the commands and psql say on the way; and drop leaves nothing behind."""
        relay = self.start_capture()
        self.wait_complete()
        self.wait_confirmed()
        self.assertIn("was started already", self.say(relay, "capture", "start", NAME))
        said = self.say(relay, "capture", "status", NAME)
        for table in TABLES:
            self.assertRegex(said, rf"{re.escape(table)} +complete")
        self.assertRegex(said, rf"(?m)^Capture {NAME}: all changes are taken as they come")
        self.say(relay, "capture", "pause", "--reason", "a test", NAME)
        self.wait(lambda: "paused" in relay.get("/readyz")[1], "the pause")
        self.assertIn("was paused already", self.say(relay, "capture", "pause", NAME))
        self.sql("INSERT INTO legacy.orders (id) VALUES (900)")
        self.assertIn("a test", self.say(relay, "capture", "status", NAME))
        self.assertIn("resumed", self.say(relay, "capture", "resume", NAME))
        self.audit_capture()
        self.assertIn("say --yes", self.say(relay, "capture", "drop", NAME, status=2))
        relay.stop()
        self.say(relay, "capture", "drop", "--yes", NAME)
        self.assertEqual(self.left_behind(), ([], [], []))
        self.assertGreater(self.count(STREAM), 0)

    def test_dropped_while_it_is_read(self):
        relay = self.start_capture()
        self.wait_complete()
        self.say(relay, "capture", "drop", "--yes", NAME)
        self.wait(lambda: self.left_behind()[0] == [], "the slot to be gone")
        self.assertEqual(self.left_behind()[1], [])
        self.wait(lambda: f"Capture {NAME} is configured, and has not been started" in relay.get("/status")[1], "the daemon to know")

    def test_one_that_nobody_reads_any_more(self):
        """Its name is gone from the configuration, and the server keeps its log: it is said, with what ends it."""
        relay = self.start_capture()
        self.wait_complete()
        relay.stop()
        other = self.add_capture({"name": "other", "stream": "OTHER"})
        said = self.say(other, "capture", "status")
        self.assertIn(f"Capture {NAME} is not in this configuration", said)
        self.assertIn("Capture other is configured, and has not been started", said)
        (mend,) = re.findall(r"`boxhaul (capture drop) [^`]* (\w+)` forgets it", said)
        self.say(other, *mend[0].split(), "--yes", mend[1])
        self.assertEqual(self.left_behind(), ([], [], []))

    def test_a_table_more(self):
        """It has to stand in the configuration."""
        self.sql("CREATE TABLE legacy.more (id int PRIMARY KEY); INSERT INTO legacy.more VALUES (1); GRANT SELECT ON legacy.more TO boxhaul_capture")
        relay = self.start_capture()
        self.wait_complete()
        self.assertIn("into the configuration first", self.say(relay, "capture", "add", NAME, "legacy.more", status=2))
        relay.configure({**relay.settings, "capture": [{**relay.settings["capture"][0], "tables": [*TABLES, "legacy.more"]}]})
        self.assertIn("is captured from now on", self.say(relay, "capture", "add", NAME, "legacy.more"))
        relay.stop()
        relay.start()
        self.assertIn("was captured already", self.say(relay, "capture", "add", NAME, "legacy.more"))
        self.audit_capture(self.source_of([*TABLES, "legacy.more"]))

    def test_a_slot_that_somebody_else_uses(self):
        """The session of another login cannot be ended by that of the capture: drop says who is in the way, and comes to its end later."""
        relay = self.start_capture()
        self.wait_complete()
        relay.stop()
        self.wait_slot_free()
        name, = self.books("slot")
        reader = psycopg2.connect(self.pg.conninfo(self.database), connection_factory=psycopg2.extras.LogicalReplicationConnection)
        reader.cursor().start_replication(name, options={"proto_version": "1", "publication_names": f"boxhaul_{NAME}"}, decode=False)
        said = self.say(relay, "capture", "drop", "--yes", NAME, status=1)
        self.assertTrue(name in said or "terminate" in said, said)
        reader.close()
        self.wait(lambda: not self.pg.execute("SELECT FROM pg_replication_slots WHERE slot_name = %s AND active", (name,)), "the reader to be gone")
        self.say(relay, "capture", "drop", "--yes", NAME)
        self.assertEqual(self.left_behind(), ([], [], []))

    def test_where_a_change_is(self):
        relay = self.start_capture()
        self.wait_complete()
        (first,), = self.sql("SELECT pg_current_wal_insert_lsn()")
        self.sql("INSERT INTO legacy.orders (id) VALUES (901)")
        self.wait_confirmed()
        self.assertIn("is in the stream", self.say(relay, "capture", "explain", NAME, first))
        self.assertIn("has not come so far", self.say(relay, "capture", "explain", NAME, "FFFF/0"))
        self.assertIn("there before the capture began", self.say(relay, "capture", "explain", NAME, "0/1"))
        position = self.stored(STREAM)[-1].headers["Boxhaul-Position"][0]
        self.assertIn("is in the stream", self.say(relay, "capture", "explain", NAME, position))
        self.assertIn("is in the stream", self.say(relay, "capture", "explain", NAME, "legacy.orders", "901"))
        self.assertIn("key of legacy.orders", self.say(relay, "capture", "explain", NAME, "legacy.orders", "901", "2", status=1))
        self.assertIn("position of the log", self.say(relay, "capture", "explain", NAME, "901", status=2))
        self.assertIn("It has: legacy.order_lines, ", self.say(relay, "capture", "explain", NAME, "legacy.missing", "1", status=1))


class Words(CommandTest):
    """The verdict is the same on the port, in the log, and by the commands, with the daemon and without it."""

    @staticmethod
    def problem(relay, begins):
        return next(p for p in json.loads(relay.get("/status")[1])["problems"] if p["summary"].startswith(begins))

    def everywhere(self, relay, begins):
        problem = self.problem(relay, begins)
        for words in (("capture", "status", NAME), ("check",)):
            done = relay.command(*words)
            self.assertIn(problem["summary"][:60], done.stdout)
        return problem

    def follow(self, relay, problem, *more):
        """The first command of the advice, as it is written."""
        words = re.search(r"`boxhaul ([^`]*)`", problem["action"]).group(1).split()
        where = words.index("-c") if "-c" in words else len(words)
        self.say(relay, *words[:where], *words[where + 2:], *more)

    def test_paused(self):
        relay = self.start_capture()
        self.wait_complete()
        self.say(relay, "capture", "pause", NAME)
        self.wait(lambda: f"Capture {NAME} is paused" in relay.get("/status")[1], "the pause")
        problem = self.everywhere(relay, f"Capture {NAME} is paused by ")  # by whom, since when
        self.assertIn(" at 2", problem["summary"])
        self.follow(relay, problem)
        self.audit_capture()

    def test_a_gap(self):
        relay = self.start_capture()
        self.wait_complete()
        relay.stop()
        self.wait_slot_free()
        self.pg.execute("SELECT pg_drop_replication_slot(%s)", self.books("slot"))
        relay.start()
        self.wait(lambda: self.state() == "gap", "the gap")
        self.wait(lambda: f"Capture {NAME} reads nothing" in relay.get("/readyz")[1], "it to be said")
        problem = self.everywhere(relay, f"Capture {NAME} reads nothing")
        self.assertEqual(problem["state"], "stalled")
        self.assertIn("gap", relay.log_tail(200))
        relay.stop()
        self.assertIn("its replication slot is gone", self.say(relay, "capture", "status", NAME))
        relay.start()
        self.follow(relay, problem)
        self.wait(lambda: self.state() == "live", "the new slot")
        self.audit_capture(gaps=1)

    def test_not_started_and_not_run(self):
        relay = self.add_capture().start()
        self.wait(lambda: "has not been started" in relay.get("/readyz")[1], "it to be said")
        self.follow(relay, self.everywhere(relay, f"Capture {NAME} is configured"))
        self.say(relay, "capture", "start", NAME)
        self.wait(lambda: self.state() == "live", "the slot")
        relay.stop()
        self.wait(lambda: "no daemon reads it" in self.say(relay, "capture", "status", NAME), "its session to end")

    def test_a_dead_letter(self):
        relay = self.start_capture()
        self.wait_complete()
        self.sql("INSERT INTO boxhaul.capture_letter (capture, ordinal, reason, tab, key) VALUES (%s, 7, 'too large', 'legacy.orders', '7')", (NAME,))
        self.wait(lambda: f"Capture {NAME}: 1 change was given up" in relay.get("/status")[1], "the letter to be told")
        self.assertIn(f'boxhaul_capture_dead_letters{{capture="{NAME}"}} 1', relay.get("/metrics")[1])
        self.everywhere(relay, f"Capture {NAME}: 1 change was given up")
        relay.stop()
        said = self.say(relay, "capture", "dead-letters", NAME)
        self.assertIn("too large", said)
        (number,) = re.findall(r"(?m)^(\d+) ", said)
        self.assertIn("given up", self.say(relay, "capture", "discard", number))
        self.assertIn("no letter", self.say(relay, "capture", "discard", number))
        self.assertIn("no dead letters", self.say(relay, "capture", "dead-letters", NAME))

    def test_who_is_waited_for(self):
        """The slot waits for a transaction that was forgotten: it is named, and ended."""
        forgotten = self.connect()
        forgotten.cursor().execute("BEGIN; CREATE TABLE legacy.forgotten (v int)")
        relay = self.add_capture()
        self.say(relay, "capture", "start", NAME)
        relay.start()
        self.wait(lambda: f"Capture {NAME}: the replication slot waits for" in relay.get("/status")[1], "it to be said")
        problem = self.everywhere(relay, f"Capture {NAME}: the replication slot waits for")
        pid = re.search(r"pid (\d+)", problem["summary"]).group(1)
        self.assertEqual(self.state(), "creating")
        self.sql("SELECT pg_terminate_backend(%s)", (pid,))
        self.wait(lambda: self.state() == "live", "the slot")
        self.audit_capture()

    def test_a_table_whose_rows_are_not_read(self):
        """A right is taken away between start and reading: it is said of the table, with the way back."""
        relay = self.add_capture()
        self.say(relay, "capture", "start", NAME)
        self.sql("REVOKE SELECT ON legacy.stock FROM boxhaul_capture")
        relay.start()
        self.wait(lambda: f"Capture {NAME}: table legacy.stock is not read" in relay.get("/status")[1], "it to be said")
        problem = self.everywhere(relay, f"Capture {NAME}: table legacy.stock is not read")
        self.sql(re.search(r"GRANT SELECT ON \S+ TO boxhaul_capture", problem["summary"]).group())
        self.assertIn("tried again", problem["action"])
        self.audit_capture()

    def test_the_log_is_kept_for_too_long(self):
        relay = self.start_capture({"wal_budget": "64MiB"})
        self.wait_complete()
        self.say(relay, "capture", "pause", NAME)
        self.sql("CREATE TABLE legacy.filler (v text)")
        for _ in range(8):
            self.sql("INSERT INTO legacy.filler SELECT repeat(md5(n::text), 300) FROM generate_series(1, 1000) n")
            self.sql("INSERT INTO legacy.filler SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 300000) n")
        self.wait(lambda: f"Capture {NAME} makes the server keep" in relay.get("/status")[1], "it to be said")
        problem = self.problem(relay, f"Capture {NAME} makes the server keep")
        self.assertEqual(problem["state"], "degraded")
        self.follow(relay, problem)  # it says that it is paused
        self.assertRegex(self.say(relay, "capture", "status", NAME), r"log kept +\d+ MB, of a wal_budget of 67 MB")
        self.say(relay, "capture", "resume", NAME)
        self.audit_capture()


del CommandTest

if __name__ == "__main__":
    unittest.main()
