"""One release after another: the schema goes forward while a relay is at work, a relay and a schema that do not fit say so and
stand aside, and the new program takes over from the old one.

The release after this one is built here, from the tree that BOXHAUL was built in: the same sources, one schema version more."""

import datetime
import glob
import os
import re
import shutil
import subprocess
import unittest

from harness import SystemTest
from relay import Relay

NEXT_SQL = """\
-- What a next release may do to the books: a new column, a function that does more, and a look at the outbox itself.
ALTER TABLE boxhaul.position ADD COLUMN IF NOT EXISTS next_release boolean NOT NULL DEFAULT true;
ALTER TABLE boxhaul.sent ADD COLUMN IF NOT EXISTS next_release text;
ALTER TABLE boxhaul.outbox ALTER COLUMN subject SET STATISTICS 10;
INSERT INTO boxhaul.schema_version (version, name) VALUES ({version}, 'next') ON CONFLICT DO NOTHING;
"""

def version_of(tree):
    with open(os.path.join(tree, "source", "relay", "ledger.h"), encoding="utf-8") as f:
        return int(re.search(r"SCHEMA_VERSION = (\d+)", f.read()).group(1))


def build_next(tree, copy):
    """Only what the version is in is compiled again. Returns the program."""
    shutil.copytree(tree, copy, symlinks=True, ignore=lambda folder, names:
                    {"tests", "share", "bin"} & set(names) if folder == tree else set())
    ledger, version = os.path.join(copy, "source", "relay", "ledger.h"), version_of(tree) + 1
    with open(ledger, encoding="utf-8") as f:
        text = f.read()
    with open(ledger, "w", encoding="utf-8") as f:
        f.write(text.replace(f"SCHEMA_VERSION = {version - 1}", f"SCHEMA_VERSION = {version}"))
    with open(os.path.join(copy, "source", "sql", f"{version:03d}_next.sql"), "w", encoding="utf-8") as f:
        f.write(NEXT_SQL.format(version=version))
    files = sorted("sql/" + os.path.basename(path) for path in glob.glob(os.path.join(copy, "source", "sql", "*.sql")))
    done = subprocess.run(["make", "-j2", "-C", copy, f"dist_sql_DATA={' '.join(files)}", "boxhaul"], text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"the next release could not be built:\n{done.stdout[-4000:]}")
    return os.path.join(copy, "boxhaul")


class UpgradeTest(SystemTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        tree = os.path.dirname(os.path.dirname(os.path.realpath(cls.program)))
        if not os.path.exists(os.path.join(tree, "config.status")):
            raise unittest.SkipTest("BOXHAUL does not stand in the tree it was built in (packaging/build-tree): the next "
                                    "release cannot be built")
        cls.version = version_of(tree)
        cls.next_program = build_next(tree, cls.workspace.path("next"))

    def add_next(self, **groups):
        """A relay of the next release that is not started yet."""
        relay = self.add_relay(**groups)
        relay.program = self.next_program
        return relay

    def migrate_to_next(self):
        done = self.add_next().command("migrate")
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn(f"schema boxhaul is at version {self.version + 1}", done.stdout)

    def wait_aside(self, relay, *words):
        """Not ready, and the log and /readyz say these words."""
        def said():
            with open(relay.log, encoding="utf-8") as f:
                log = f.read()
            status, page = relay.get("/readyz")
            return status == 503 and all(word in page and word in log for word in words)
        self.wait(said, f"not ready, with {words}")
        self.assertTrue(relay.alive())

    def leads(self, relay):
        return self.status(relay).get("role") == "leader"


class Misfits(UpgradeTest):
    def test_an_old_relay_and_a_newer_schema(self):
        """It sends nothing and changes nothing, not even by migrate; and it needs no restart if somebody goes back."""
        self.migrate_to_next()
        old = self.add_relay().start()
        self.writer("w").write("k", 5).commit()
        self.wait_aside(old, f"the schema has version {self.version + 1}, this relay knows {self.version}",
                        "install the newer boxhaul")
        done = old.command("migrate")
        self.assertEqual(done.returncode, 1)
        self.assertIn("it does not go back; install the newer boxhaul", done.stdout)
        self.assertEqual((self.position(), self.count()), (0, 0))
        self.add_next().start()
        self.audit()
        self.assertFalse(self.leads(old))

    def test_an_old_standby_does_not_inherit_a_newer_schema(self):
        """It began to stand by before. When it gets the lock it lets go of it; and had it not got it, it would have said so
        all the same."""
        leader = self.start_relay()
        standby = self.start_relay()
        self.open_shop()
        self.let_trade(100)
        other = self.start_relay()
        self.migrate_to_next()
        leader.kill9()
        for relay in (standby, other):
            self.wait_aside(relay, f"the schema has version {self.version + 1}, this relay knows {self.version}")
        self.let_trade(100)
        self.assertEqual(len(self.sql("SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND database = "
                                      "(SELECT oid FROM pg_database WHERE datname = current_database())")), 0,
                         "nobody holds the lead")
        self.add_next().start()
        self.audit()

    def test_a_newer_relay_and_an_older_schema(self):
        """It waits for migrate, and goes on by itself; the older one sends meanwhile."""
        old = self.start_relay()
        self.open_shop()
        new = self.add_next().start()
        self.wait_aside(new, f"the schema has version {self.version}, this relay needs {self.version + 1}",
                        "run `boxhaul migrate`")
        self.let_trade(100)
        self.assertTrue(self.leads(old))
        self.migrate_to_next()
        new.wait_until_ready()
        self.assertEqual(self.status(new)["role"], "standby")
        old.kill9()
        self.wait(lambda: self.leads(new), "the newer one to lead")
        self.audit()


class Forward(UpgradeTest):
    def test_from_every_earlier_schema(self):
        """Who looks sees what there is, and is told what to do; rows that were inserted under it are sent under the newest."""
        paths = sorted(glob.glob(os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(self.program))), "source",
                                              "sql", "*.sql")))
        self.sql("DROP SCHEMA boxhaul CASCADE")
        for n, path in enumerate(paths):
            with open(path, encoding="utf-8") as f:
                self.sql(f.read())
            if n + 1 < 2:  # no outbox yet
                continue
            with self.subTest(schema=n + 1):
                self.sql("INSERT INTO boxhaul.outbox (subject, key, payload) VALUES ('orders.x', 'k', %s)", (str(n).encode(),))
                database = f"{self.database}_from_{n + 1}"
                self.pg.execute(f"CREATE DATABASE {database} TEMPLATE {self.database}")
                self.check_from(database, n + 1, n)
                self.pg.execute(f"DROP DATABASE {database} WITH (FORCE)")

    def check_from(self, database, version, count):
        relay = self.workspace.add(Relay(self.program, self.workspace.path(database), {
            **self._settings(database), "streams": [{"name": database, "subjects": ["orders.>"], "create": True}]}))
        if version < self.version:
            self.check_answers(database, version, count)
        done = relay.command("migrate")
        self.assertEqual(done.returncode, 0, done.stdout)
        relay.start()
        self.wait(lambda: self.count(database) >= count, f"{count} messages")
        self.assertEqual([int(m.payload) for m in self.stored(database)], list(range(1, count + 1)))
        self.assertEqual(relay.stop(), 0)
        with self.jetstream() as jetstream:
            jetstream.delete(database)

    def check_answers(self, database, version, count):
        owner = self.pg.conninfo(database)  # before 006 nobody else may look
        relay = self.workspace.add(Relay(self.program, self.workspace.path(f"{database}_looker"), {
            **self._settings(database), "postgres": {"conninfo": owner}}))
        older = f"the schema has version {version}, this boxhaul needs {self.version}: run `boxhaul migrate`"
        done = relay.command("status")
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn(f"boxhaul: {older}\n", done.stdout)
        if version < 7:  # the books are others
            self.assertIn(f"cannot say: {older}\n", done.stdout)
            self.assertIn("not read       the books: the schema is older: run `boxhaul migrate`\n", done.stdout)
            return
        self.assertRegex(done.stdout, rf"(?m)^stands still: nobody leads, {count} messages wait")
        done = relay.command("explain", "1")
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn(f"boxhaul: {older}\n", done.stdout)
        self.assertIn("message 1 is committed, and not sent yet\n", done.stdout)

    def test_migrate_under_load(self):
        """The relay that leads goes on sending through it, and no producer fails."""
        old = self.start_relay()
        self.open_shop()
        self.let_trade(300)
        epoch = self.status(old)["epoch"]
        self.migrate_to_next()
        before = self.count()
        self.let_trade(300)
        self.wait_for_messages(before + 300)
        self.assertEqual((self.status(old)["epoch"], self.leads(old)), (epoch, True))
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
