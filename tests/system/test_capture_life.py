"""What an operator does to a capture that runs: tables that come and go with a reload, under load, with kill -9 in the middle."""

import os
import random
import re
import signal
import subprocess
import unittest

from captures import NAME, STREAM, CaptureTest
from harness import RELAY, SERVICE
from legacy import TABLES

MORE = "legacy.more"


class LifeTest(CaptureTest):
    orders = 200

    def setUp(self):
        super().setUp()
        self.sql(f"CREATE TABLE {MORE} (id int PRIMARY KEY, v text); INSERT INTO {MORE} SELECT n, 'old' FROM generate_series(1, 2000) n; "
                 f"GRANT ALL ON {MORE} TO {SERVICE}; GRANT SELECT ON {MORE} TO boxhaul_capture")

    def want(self, relay, *tables):
        """The configuration has these tables; nothing knows of it yet."""
        relay.configure({**relay.settings, "capture": [{**relay.settings["capture"][0], "tables": list(tables)}]})

    def reload(self, relay):
        before = relay.log_tail(10000).count("begins anew")
        relay.send(signal.SIGHUP)
        self.wait(lambda: relay.log_tail(10000).count("begins anew") > before, "the reload", progress=lambda: relay.log_tail(5))

    def hold(self, number):
        """A transaction that has written to the table, and is open."""
        writer = self.connect(SERVICE)
        writer.cursor().execute(f"BEGIN; INSERT INTO {MORE} VALUES ({number}, 'before'); UPDATE {MORE} SET v = 'before' WHERE id = {number - 10000}")
        return writer

    def rows_read(self):
        """How often rows that were there were read, by table; and how many there are of each."""
        counts = {}
        for event in self.events():
            if event.op == "r":
                counts[event.table] = counts.get(event.table, 0) + 1
        return counts

    def audit_more(self):
        return self.audit_capture(self.source_of([*TABLES, MORE]))


class Tables(LifeTest):
    def test_one_more_while_transactions_on_it_are_open(self):
        """In the process that runs: its rows are read when who wrote before has ended; the others are not read again."""
        relay = self.start_whole()
        self.open_legacy()
        process = relay.pid
        read = self.rows_read()
        early = self.hold(10001)
        self.want(relay, *TABLES, MORE)
        self.assertIn("Reload the daemon", self.say(relay, "capture", "add", NAME, MORE))
        early.cursor().execute(f"INSERT INTO {MORE} VALUES (10002, 'behind'); UPDATE {MORE} SET v = 'behind' WHERE id = 2")
        self.reload(relay)
        late = self.connect(SERVICE)
        late.cursor().execute(f"INSERT INTO {MORE} VALUES (10003, 'another'); DELETE FROM {MORE} WHERE id = 3")
        self.wait(lambda: "waits_for" in relay.get("/status")[1] and self.unfinished() == [MORE], "the table to wait")
        early.cursor().execute("COMMIT")
        self.let_work(50)
        self.audit_more()
        self.assertEqual(relay.pid, process)
        self.assertEqual({t: n for t, n in self.rows_read().items() if t != MORE}, read, "rows of the other tables")

    def test_killed_at_any_time(self):
        """A reload, and the process killed a moment later, again and again; the table comes, goes, and comes back."""
        dice = random.Random(self.id())
        relay = self.start_whole()
        self.open_legacy()
        held = self.hold(10001)
        self.want(relay, *TABLES, MORE)
        self.say(relay, "capture", "add", NAME, MORE)
        for number in range(8):
            relay.send(signal.SIGHUP)
            if number == 1:
                held.cursor().execute("COMMIT")
            self.let_work(dice.randrange(1, 40))
            relay.kill9()
            leads = relay.log_tail(10000).count("is led")
            relay.start()
            self.wait(lambda: relay.log_tail(10000).count("is led") > leads, "it to lead again")
            self.want(relay, *TABLES, *([MORE] if number % 2 else []))
            self.let_work(dice.randrange(1, 40))
            self.sql(f"UPDATE {MORE} SET v = 'round {number}' WHERE id % 7 = {number}; DELETE FROM {MORE} WHERE id = 100 + {number}")
        self.reload(relay)
        self.wait(lambda: self.sql("SELECT FROM boxhaul.capture_table WHERE tab = %s", (MORE,)), "it to be on record")
        self.audit_more()

    def test_reloaded_before_its_publication_has_it(self):
        """It waits, and says for what; added then it is read behind whoever was open when its publication came to have it."""
        relay = self.start_whole()
        self.open_legacy()
        self.want(relay, *TABLES, MORE)
        self.reload(relay)
        self.wait(lambda: "no publication" in relay.get("/status")[1], "the reason", progress=lambda: relay.get("/status")[1])
        early = self.hold(10001)
        self.assertIn("was captured already", self.say(relay, "capture", "add", NAME, MORE))
        self.let_work(50)
        self.assertEqual(self.unfinished(), [MORE])
        early.cursor().execute("COMMIT")
        self.audit_more()

    def test_one_less(self):
        """What is written to it is not sent any more, and the others go on without a gap."""
        relay = self.start_whole()
        self.open_legacy()
        self.want(relay, *TABLES, MORE)
        self.say(relay, "capture", "add", NAME, MORE)
        self.reload(relay)
        self.wait_complete()
        self.want(relay, *TABLES)
        self.reload(relay)
        self.wait(lambda: self.sql("SELECT FROM boxhaul.capture_table WHERE tab = %s", (MORE,)) == [], "it to be forgotten")
        self.sql(f"INSERT INTO {MORE} VALUES (20000, 'not sent')")
        self.let_work(50)
        self.audit_capture(self.source_of(TABLES))
        self.assertNotIn("not sent", str([m.payload for m in self.stored(STREAM)]))


class Strangers(LifeTest):
    def test_one_who_uses_the_slot(self):
        """With our own login, even: it is named, with the command that ends it, and left alone. Once that was done the capture goes on."""
        relay = self.start_whole()
        self.wait_confirmed()
        relay.stop()
        slot, = self.books("slot")
        stranger = subprocess.Popen([self.pg.program("pg_recvlogical"), "-d", self.pg.conninfo(self.database, RELAY), "-S", slot,
                                     "--start", "-f", os.devnull, "--no-loop", "--fsync-interval=0", "--status-interval=0", "-o", "proto_version=1",
                                     "-o", f"publication_names=boxhaul_{NAME}"], stderr=subprocess.DEVNULL)
        self.addCleanup(stranger.wait)
        self.addCleanup(stranger.kill)
        self.wait(lambda: self.slot("active_pid") != (None,), "it to use the slot")
        pid, = self.slot("active_pid")
        relay.start()
        self.sql("UPDATE legacy.orders SET customer = 'meanwhile' WHERE id < 10")
        said = self.wait(lambda: re.search(rf"Capture {NAME} reads nothing: .*pid {pid} \(pg_recvlogical of {RELAY}, since [^;]*: (SELECT pg_terminate_backend\(\d+\))",
                                           relay.get("/status")[1]), "it to be named", progress=lambda: relay.get("/status")[1])
        self.assertEqual(relay.get("/readyz")[0], 503)
        self.assertIn(f"pid {pid}", self.say(relay, "capture", "status", NAME))
        self.assertEqual((stranger.poll(), self.slot("active_pid")), (None, (pid,)))
        self.pg.execute(said[1])
        self.audit_capture()


if __name__ == "__main__":
    unittest.main()
