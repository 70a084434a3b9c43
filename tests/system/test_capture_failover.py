"""A capture whose slot is on the standby, too (PostgreSQL 17 and newer): the standby is promoted, and the capture goes on without a gap."""

import os
import shutil
import subprocess
import unittest
import unittest.mock

from captures import NAME, SETTINGS, STREAM, CaptureTest  # first: it knows where the library is
from harness import RELAY, SERVICE
from legacy import Legacy, Ways
import versions
from servers import Postgres, postgres_programs

FROM = 17


def programs():
    """The bin directory of a server that can copy slots; skips the test where there is none to be had."""
    kept = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "build", "matrix")
    os.makedirs(kept, exist_ok=True)
    try:
        if int(versions.postgres(os.path.abspath(postgres_programs()), kept).version.split(".")[0]) >= FROM:
            return postgres_programs()
        return versions.postgres(str(FROM), kept).path
    except versions.Unavailable as e:
        raise unittest.SkipTest(f"slots are on standbys from PostgreSQL {FROM} on: {e}") from None


class FailoverTest(CaptureTest):
    orders = 100

    @classmethod
    def setUpClass(cls):
        cls.enterClassContext(unittest.mock.patch.dict(os.environ, POSTGRES_BIN=programs()))
        super().setUpClass()

    def add_twin(self):
        """A standby, as the manual wants it. (A cold copy: not every package has pg_basebackup.)"""
        twin = self.workspace.add(Postgres(self.workspace.path(f"{self.database}-twin"), fsync="off", **SETTINGS))
        self.pg.execute("ALTER SYSTEM RESET synchronized_standby_slots")
        self.pg.execute("SELECT pg_create_physical_replication_slot(%s, true)", (self.database,))
        self.pg.stop()
        self.pg.keep(self.workspace.path(f"{self.database}-kept"))
        self.pg.start()
        return twin.follow(self.workspace.path(f"{self.database}-kept"), self.pg, self.database).start()

    def both(self, twin, user):
        return (f"host={self.pg.directory},{twin.directory} port={self.pg.port},{twin.port} dbname={self.database} user={user} "
                "target_session_attrs=read-write")

    def synchronize(self, slots):
        self.pg.execute(f"ALTER SYSTEM SET synchronized_standby_slots = '{slots}'")
        self.pg.execute("SELECT pg_reload_conf()")

    def wait_synced(self, twin):
        """The slot is on the standby, and stays there when that is promoted."""
        self.wait(lambda: twin.execute("SELECT synced AND NOT temporary AND invalidation_reason IS NULL FROM pg_replication_slots WHERE slot_name = %s",
                                       self.books("slot")) == [(True,)], "the slot to be on the standby",
                  progress=lambda: (self.sql("SELECT pg_log_standby_snapshot()"), twin.execute("SELECT * FROM pg_replication_slots")))

    def take_over(self, twin):
        self.pg.kill9()
        twin.promote()
        self.go_on_with(twin)
        twin.execute("ALTER SYSTEM RESET synchronized_standby_slots")
        twin.execute("SELECT pg_reload_conf()")


class Failover(FailoverTest):
    def test_the_capture_goes_on(self):
        """Under load: nothing is missing, nothing is twice, and it is not said that anything was lost."""
        twin = self.add_twin()
        self.synchronize(self.database)
        relay = self.start_capture(postgres={"conninfo": self.both(twin, RELAY), "migrate_conninfo": self.pg.conninfo(self.database)})
        self.assertEqual(self.slot("failover"), (True,))
        self.wait_complete()
        shop = Legacy(self.both(twin, SERVICE), 4, self.orders, Ways(pause=0.004))
        self.shops.append(shop)
        shop.start()
        self.wait_synced(twin)
        self.let_work(100)
        self.take_over(twin)
        self.wait_for_log(relay, msg="a promotion took nothing back that was sent")
        self.let_work(100)
        self.audit_capture()
        self.assertEqual(self.books("state, incarnation, diverged"), ("live", 1, None))

    def test_a_slot_that_is_not_copied_is_told(self):
        """By plan, with the command that copies it: followed, the promotion is no gap."""
        psql = shutil.which("psql")  # any version does
        if not psql:
            self.skipTest("there is no psql")
        twin = self.add_twin()
        relay = self.start_capture(postgres={"conninfo": self.both(twin, RELAY), "migrate_conninfo": self.pg.conninfo(self.database)})
        self.wait_complete()
        self.assertEqual(self.slot("failover"), (False,))
        slot, = self.books("slot")
        said = self.say(relay, "capture", "plan", NAME)
        self.assertIn("synchronized_standby_slots is empty", said)
        self.assertIn(f"slot {slot} is not copied to standbys", said)
        self.synchronize(self.database)
        self.wait(lambda: "is empty" not in self.say(relay, "capture", "plan", NAME), "the server to have the setting")
        self.assertIn(f"ALTER_REPLICATION_SLOT {slot} (FAILOVER)", self.say(relay, "capture", "plan", NAME))
        relay.stop()
        subprocess.run([psql, self.pg.conninfo(self.database) + " replication=database", "-c", f"ALTER_REPLICATION_SLOT {slot} (FAILOVER)"],
                       check=True, stdout=subprocess.DEVNULL)
        relay.start()
        self.assertNotIn("not copied", self.say(relay, "capture", "plan", NAME))
        self.wait_synced(twin)
        self.wait_confirmed()
        self.take_over(twin)
        self.wait_for_log(relay, msg="a promotion took nothing back that was sent")
        self.sql("UPDATE legacy.orders SET customer = 'the new one has it' WHERE id < 10")
        self.audit_capture()
        self.assertGreater(self.count(STREAM), 0)


if __name__ == "__main__":
    unittest.main()
