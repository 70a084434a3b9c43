"""One release after another: program and schema of a release and of the one before it get along, whichever comes first; those that
do not say so and stand aside; and the new program takes over from the old one.

The release after this one is built here, from the tree that BOXHAUL was built in: the same sources, one schema version more, which
serves the one before it. A release after that breaks with all before it, and needs no program."""

import datetime
import glob
import os
import re
import shutil
import subprocess
import unittest

import psycopg2

from harness import SystemTest
from process import Workspace

NEXT_SQL = """\
-- What a next release may do to the books: a new column, a function that does more, and a look at the outbox itself.
ALTER TABLE boxhaul.position ADD COLUMN IF NOT EXISTS next_release boolean NOT NULL DEFAULT true;
ALTER TABLE boxhaul.sent ADD COLUMN IF NOT EXISTS next_release text;
ALTER TABLE boxhaul.outbox ALTER COLUMN subject SET STATISTICS 10;
INSERT INTO boxhaul.schema_version (version, name, serves) VALUES ({version}, 'next', {serves}) ON CONFLICT DO NOTHING;
"""

# What a file does that cannot serve the release before it (sql/001_schema.sql).
BREAKING_SQL = """\
INSERT INTO boxhaul.schema_version (version, name) VALUES ({version}, 'breaking');
UPDATE boxhaul.position SET epoch = epoch + 1;
UPDATE boxhaul.inbox_position SET epoch = epoch + 1;
"""

UNRELEASED = ("roles", "outbox", "publish", "ledger", "views", "grants", "tail", "operate")  # the files before the first release


def sql_of(tree):
    return sorted(glob.glob(os.path.join(tree, "source", "sql", "*.sql")))


def build_next(tree, copy):
    """Only what the version is in is compiled again. Returns the program."""
    shutil.copytree(tree, copy, symlinks=True, ignore=lambda folder, names:
                    {"tests", "share", "bin"} & set(names) if folder == tree else set())
    version = len(sql_of(tree)) + 1
    with open(os.path.join(copy, "source", "sql", f"{version:03d}_next.sql"), "w", encoding="utf-8") as f:
        f.write(NEXT_SQL.format(version=version, serves=version - 1))
    files = " ".join("sql/" + os.path.basename(path) for path in sql_of(copy))
    done = subprocess.run(["make", "-j2", "-C", copy, f"dist_sql_DATA={files}", "boxhaul"], text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"the next release could not be built:\n{done.stdout[-4000:]}")
    return os.path.join(copy, "boxhaul")


NEXT = {}  # program, sql_files: what setUpModule made


def setUpModule():
    tree = os.path.dirname(os.path.dirname(os.path.realpath(os.environ.get("BOXHAUL", ""))))
    if not os.path.exists(os.path.join(tree, "config.status")):
        raise unittest.SkipTest("BOXHAUL does not stand in the tree it was built in (packaging/build-tree): the next "
                                "release cannot be built")
    workspace = unittest.enterModuleContext(Workspace())
    NEXT.update(program=build_next(tree, workspace.path("next")), sql_files=sql_of(tree))


class UpgradeTest(SystemTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.next_program, cls.sql_files = NEXT["program"], NEXT["sql_files"]
        cls.version = len(cls.sql_files)

    def add_next(self, **groups):
        """A relay of the next release that is not started yet."""
        relay = self.add_relay(**groups)
        relay.program = self.next_program
        return relay

    def migrate_to_next(self):
        done = self.add_next().command("migrate")
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn(f"schema boxhaul is at version {self.version + 1}", done.stdout)

    def lead(self, relay):
        """The epoch, and how many of them were this relay's own leads."""
        with open(relay.log, encoding="utf-8") as f:
            return self.status(relay)["epoch"], f.read().count('msg="leading"')

    def assert_goes_on(self, relay, before):
        """Nobody has ended its lead. It may have begun another one itself: where the machine stands still for seconds, a session ends."""
        epoch, leads = self.lead(relay)
        self.assertEqual((epoch - before[0], self.leads(relay)), (leads - before[1], True))

    def wait_aside(self, relay, *words):
        """Not ready, and the log and /readyz say these words."""
        def said():
            with open(relay.log, encoding="utf-8") as f:
                log = f.read()
            status, page = relay.get("/readyz")
            return status == 503 and all(word in page and word in log for word in words)
        self.wait(said, f"not ready, with {words}")
        self.assertTrue(relay.alive())

    def break_with_all(self):
        """The schema goes two releases forward: whoever knows less than that has no business there."""
        self.sql(BREAKING_SQL.format(version=self.version + 2))

    def go_back(self):
        self.sql("DELETE FROM boxhaul.schema_version WHERE version > %s", (self.version,))

    def broken(self, knows):
        return (f"the schema has version {self.version + 2}, this boxhaul knows {knows}", "install the newer boxhaul")

    def behind(self, relay):
        """How many versions the schema is behind, as the relay says; None: it does not answer."""
        return self.status(relay).get("schema_behind")

    def leads(self, relay):
        return self.status(relay).get("role") == "leader"


class Served(UpgradeTest):
    """Program and schema one release apart: nothing stands still, and whoever asks is told what to do when it suits."""

    def assert_told(self, relay, sentence):
        """By check, status and explain, and by the relay's log; and the commands that change something do it."""
        for command, prefix in (("check", "warn  schema: "), ("status", "boxhaul: "), ("explain", "boxhaul: ")):
            done = relay.command(command, *(["1"] if command == "explain" else []))
            self.assertIn(f"{prefix}{sentence}\n", done.stdout)
            self.assertEqual(done.returncode, 0, done.stdout)
        what, do = sentence.rsplit(": ", 1)
        with open(relay.log, encoding="utf-8") as f:
            self.assertRegex(f.read(), rf'level=warn msg="the schema is not that of this boxhaul" .*why="{re.escape(what)}" .*do="{re.escape(do)}"')
        for command in ("pause", "resume"):
            done = relay.command(command)
            self.assertEqual(done.returncode, 0, done.stdout)
            self.assertNotIn("schema", done.stdout)

    def test_the_program_is_upgraded_first(self):
        """As by an unattended upgrade: the package restarts its relays, and nobody has migrated. When somebody does, under a relay at
        work, it learns of it."""
        self.assertEqual(self.start_relay().stop(), 0)
        new = self.add_next(outbox={"safety_poll": "1s"}, inbox=[{"name": "own", "stream": "ORDERS", "subjects": ["orders.>"]}])
        new.start().wait_until_ready()
        self.open_shop()
        self.let_trade(100)
        self.wait(lambda: self.leads(new), "it to lead")  # the session of who has stopped may live a moment longer
        self.assertEqual(self.behind(new), 1)
        self.assert_told(new, f"the schema has version {self.version}, this boxhaul serves it and knows {self.version + 1}: "
                              f"run `boxhaul migrate -c {new.config}` when it suits")
        before = self.lead(new)
        self.migrate_to_next()
        self.wait(lambda: self.behind(new) == 0, "the migration to be noticed")
        self.assert_goes_on(new, before)
        self.assertIn(f"ok    schema: version {self.version + 1}\n", new.command("check").stdout)
        self.audit()
        taken = "SELECT taken = (SELECT count(*) FROM boxhaul.outbox) FROM boxhaul.inbox_position"
        self.wait(lambda: self.sql(taken) == [(True,)], "all of it to be taken")

    def test_the_schema_is_migrated_first(self):
        """The program of the release before begins on it, is told, and inherits the lead; its migrate finds nothing to do."""
        self.migrate_to_next()
        old = self.start_relay(outbox={"safety_poll": "1s"})
        self.open_shop()
        self.let_trade(100)
        self.wait(lambda: self.leads(old), "it to lead")
        self.assertEqual(self.behind(old), -1)
        self.assert_told(old, f"the schema has version {self.version + 1} and serves relays of an older one, this boxhaul knows "
                              f"{self.version}: install the newer boxhaul when it suits")
        done = old.command("migrate")
        self.assertEqual((done.returncode, done.stdout), (0, f"nothing to do: schema boxhaul is at version {self.version + 1}\n"))
        standby = self.start_relay()
        self.wait(lambda: self.status(standby).get("role") == "standby", "a standby")
        old.kill9()
        self.wait(lambda: self.leads(standby), "the standby to lead")
        self.audit()


class Misfits(UpgradeTest):
    def test_an_old_relay_and_a_schema_that_does_not_serve_it(self):
        """It sends nothing and changes nothing, not even by migrate; and it needs no restart if somebody goes back."""
        self.break_with_all()
        old = self.add_relay().start()
        self.writer("w").write("k", 5).commit()
        self.wait_aside(old, *self.broken(self.version))
        done = old.command("migrate")
        self.assertEqual(done.returncode, 1)
        self.assertIn(f"knows {self.version}: install the newer boxhaul\n", done.stdout)
        self.assertIn(f"FAIL  schema: {': '.join(self.broken(self.version))}\n", old.command("check").stdout)
        self.assertEqual((self.position(), self.count()), (0, 0))
        self.go_back()
        self.audit()
        self.assertTrue(self.leads(old))

    def test_a_leader_under_which_the_schema_breaks(self):
        """Its lead ends with the first mark that it makes, and that of its subscription with the first message; and no standby of its
        release inherits it, the one that began to stand by before no more than the next."""
        inbox = [{"name": "own", "stream": "ORDERS", "subjects": ["orders.>"]}]
        relays = [self.start_relay(inbox=inbox), self.start_relay(inbox=inbox), self.add_next(inbox=inbox).start()]
        self.wait(lambda: [self.status(relay).get("role") for relay in relays] == ["leader", "standby", "standby"], "one to lead")
        self.open_shop()
        self.let_trade(100)
        self.break_with_all()
        with self.jetstream() as js:  # what the relay has sent since may all have been taken before
            first = js.publish("orders.behind.it", b"")["seq"]
        for relay, knows in zip(relays, (self.version, self.version, self.version + 1)):
            self.wait_aside(relay, *self.broken(knows))
            self.wait(lambda relay=relay: self.status(relay)["subscriptions"][0]["role"] == "starting", "nothing to be taken")
        at = self.position()
        self.let_trade(100)
        self.assertEqual(self.position(), at)
        self.wait(lambda: self.sql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = "
                                   "(SELECT oid FROM pg_database WHERE datname = current_database())") == [(0,)], "nobody to hold a lead")
        with self.jetstream() as js:
            js.delete_message("ORDERS", first)
        self.go_back()
        self.audit()

    def test_a_leader_that_nobody_told(self):
        """A file forgot to end its lead: it finds out by itself, while it sleeps."""
        old = self.start_relay(outbox={"safety_poll": "1s"})
        self.wait_asleep()
        self.sql("INSERT INTO boxhaul.schema_version (version, name) VALUES (%s, 'breaking')", (self.version + 2,))
        self.wait_aside(old, *self.broken(self.version))

    def test_a_newer_relay_and_a_schema_that_is_too_old_for_it(self):
        """It waits for migrate, and goes on by itself."""
        self.sql("DELETE FROM boxhaul.schema_version WHERE version = %s", (self.version,))
        new = self.add_next().start()
        self.writer("w").write("k", 5).commit()
        self.wait_aside(new, f"the schema has version {self.version - 1}, this boxhaul needs {self.version}",
                        f"run `boxhaul migrate -c {new.config}`")
        self.assertEqual(self.count(), 0)
        self.migrate_to_next()
        new.wait_until_ready()
        self.audit()


class Unreleased(UpgradeTest):
    """The schemas from before the first release are refused, in one sentence that says what to do: by every command, by the relay,
    and by the file that begins."""

    def pretend(self, version):
        self.sql("DROP SCHEMA boxhaul CASCADE; CREATE SCHEMA boxhaul; CREATE TABLE boxhaul.schema_version (version int, name text); "
                 "GRANT USAGE ON SCHEMA boxhaul TO boxhaul_relay; GRANT SELECT ON boxhaul.schema_version TO boxhaul_relay")
        for number in range(1, version + 1):
            self.sql("INSERT INTO boxhaul.schema_version VALUES (%s, %s)", (number, UNRELEASED[number - 1]))

    def test_refused(self):
        relay = self.add_relay()
        for version in range(1, len(UNRELEASED) + 1):
            with self.subTest(version):
                self.pretend(version)
                advice = (f"the schema has the unreleased version {version}: when all its messages are sent, "
                          "DROP SCHEMA boxhaul CASCADE, then run `boxhaul migrate")
                sentence = f"{advice} -c {relay.config}`"
                for command, prefix in (("migrate", "boxhaul: "), ("status", "boxhaul: "), ("check", "FAIL  schema: "),
                                        ("reconcile", "boxhaul: "), ("pause", "boxhaul: ")):
                    done = relay.command(command)
                    self.assertEqual(done.returncode, 1, done.stdout)
                    self.assertIn(f"{prefix}{sentence}\n", done.stdout)
                with open(self.sql_files[0], encoding="utf-8") as f, self.assertRaises(psycopg2.Error) as caught:
                    self.sql(f.read())
                self.assertEqual(caught.exception.diag.message_primary, f"boxhaul: {advice}`")
                self.assertEqual(self.sql("SELECT max(version) FROM boxhaul.schema_version"), [(version,)])
        self.wait_aside(relay.start(), "the schema has the unreleased version 8", "when all its messages are sent, DROP SCHEMA")
        self.sql("DROP SCHEMA boxhaul CASCADE")
        done = self.add_relay().command("migrate")
        self.assertEqual(done.returncode, 0, done.stdout)
        relay.wait_until_ready()


class Forward(UpgradeTest):
    """Once there is a release: its files stay as they are, and the ones behind them bring it forward. (The files of every release
    belong here then.)"""

    def test_from_this_schema_to_the_next(self):
        """Rows that were inserted under it are sent under the next."""
        self.sql("INSERT INTO boxhaul.outbox (subject, key, payload) VALUES ('orders.x', 'k', '1'), ('orders.x', 'k', '2')")
        self.migrate_to_next()
        self.add_next().start()
        self.wait_for_messages(2)
        self.assertEqual([int(m.payload) for m in self.stored()], [1, 2])

    def test_what_is_half_there(self):
        """Who pasted some of the files has rows that are sent once all are there."""
        self.sql("DROP SCHEMA boxhaul CASCADE")
        for n, path in enumerate(self.sql_files[:-1], 1):
            with open(path, encoding="utf-8") as f:
                self.sql(f.read())
            if n > 1:  # there is an outbox
                self.sql("INSERT INTO boxhaul.outbox (subject, key, payload) VALUES ('orders.x', 'k', %s)", (str(n).encode(),))
            owner = self.add_relay(postgres={"conninfo": self.pg.conninfo(self.database)})
            self.assertIn(f"FAIL  schema: the schema has version {n}, this boxhaul needs {self.version}: "
                          f"run `boxhaul migrate -c {owner.config}`\n", owner.command("check").stdout)
        done = self.add_relay().command("migrate")
        self.assertEqual(done.returncode, 0, done.stdout)
        self.start_relay()
        self.wait_for_messages(self.version - 2)
        self.assertEqual([int(m.payload) for m in self.stored()], list(range(2, self.version)))

    def test_migrate_under_load(self):
        """The relay that leads goes on sending through it, and no producer fails."""
        old = self.start_relay()
        self.open_shop()
        self.let_trade(300)
        led = self.lead(old)
        self.migrate_to_next()
        before = self.count()
        self.let_trade(300)
        self.wait_for_messages(before + 300)
        self.assert_goes_on(old, led)
        self.audit()


class TakeOver(UpgradeTest):
    """The order of an upgrade: install, migrate, restart. Prints the time without a message under load, from the last one
    stored by the old program to the first one stored by the new, by the broker's clock."""

    def trade_and_migrate(self):
        old = self.start_relay()
        self.open_shop()
        self.let_trade(500)
        self.migrate_to_next()
        self.let_trade(200)
        return old

    def finish(self, new, what):
        self.wait(lambda: self.leads(new), "the new one to lead")
        self.let_trade(500)
        self.audit()
        stored, lead = self.stored(), self.began_to_lead(new)
        self.assertEqual(len({m.msg_id for m in stored}), len(stored), "nothing is stored twice")
        last, first = max(m.time for m in stored if m.time < lead), min(m.time for m in stored if m.time >= lead)
        print(f"upgrade, {what}: {(first - last) * 1000:.0f} ms without a message", flush=True)

    @staticmethod
    def began_to_lead(relay):
        with open(relay.log, encoding="utf-8") as f:
            ts = re.search(r'^ts=(\S+) level=info msg="leading"', f.read(), re.MULTILINE).group(1)
        return datetime.datetime.fromisoformat(ts).timestamp()

    def test_the_new_one_stands_by(self):
        old = self.trade_and_migrate()
        new = self.add_next().start().wait_until_ready()
        self.assertEqual(old.stop(), 0)
        self.finish(new, "the new one stands by")

    def test_a_restart_in_place(self):
        old = self.trade_and_migrate()
        new = self.add_next()
        self.assertEqual(old.stop(), 0)
        self.finish(new.start(), "a restart in place")


if __name__ == "__main__":
    unittest.main()
