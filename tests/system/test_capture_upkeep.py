"""What a daemon does about its replication slot by itself: waits for it and says for whom, takes it over, lets it go over its budget, makes a new
one where the configuration says so."""

import contextlib
import unittest

from captures import NAME, CaptureTest
from test_capture_slot import SlotTest


class Making(CaptureTest):
    orders = 50

    def test_whom_the_slot_waits_for(self):
        with contextlib.closing(self.pg.connect(self.database)) as connection, connection.cursor() as cursor:
            connection.autocommit = False
            cursor.execute("SELECT pg_current_xact_id(), pg_backend_pid()")
            _, pid = cursor.fetchone()
            relay = self.start_capture(wait=False)
            self.wait(lambda: f"pid {pid} (" in relay.get("/status")[1], "the status to name it", progress=lambda: relay.get("/status")[1])
            self.assertEqual(self.state(), "creating")
            connection.rollback()
        self.wait(lambda: self.state() == "live", "the capture to be live")
        self.audit_capture()

    def test_killed_while_it_waits(self):
        """The server may make the slot all the same, or not: the next daemon drops what there is, and makes its own."""
        with contextlib.closing(self.pg.connect(self.database)) as connection, connection.cursor() as cursor:
            connection.autocommit = False
            cursor.execute("SELECT pg_current_xact_id()")
            relay = self.start_capture(wait=False)
            self.wait(lambda: self.slot("active_pid"), "the slot to be under way")
            relay.kill9()
            connection.rollback()
        relay.start()
        self.wait(lambda: self.state() == "live", "the capture to be live")
        self.assertEqual(self.books("incarnation"), (1,))
        self.audit_capture()


class Budget(SlotTest):
    def write(self, megabytes):
        self.sql("CREATE TABLE IF NOT EXISTS public.other (t text)")
        for _ in range(megabytes):
            self.sql("INSERT INTO public.other SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 32000)")

    def exceed(self, policy):
        relay = self.start_whole(capture={"wal_budget": "64MiB", "on_budget": policy})
        self.say(relay, "capture", "pause", NAME)
        self.write(90)
        return relay

    def test_over_it_the_slot_is_let_go(self):
        relay = self.exceed("let_go")
        self.wait_gap(relay, "let_go")
        self.wait(lambda: self.slot() is None, "the slot to be dropped")
        self.change_in_the_gap()
        self.say(relay, "capture", "resume", NAME)
        self.resync(relay)

    def test_or_only_told(self):
        relay = self.exceed("warn")
        self.wait(lambda: "more of the log than its budget" in relay.log_tail(100), "the log to say so")
        self.assertEqual(self.state(), "live")
        self.say(relay, "capture", "resume", NAME)
        self.audit_capture()


class Policies(SlotTest):
    def test_a_gap_that_is_repaired_without_an_operator(self):
        relay = self.start_whole(capture={"gap": "resync"})
        self.drop_slot()
        self.change_in_the_gap()
        self.wait(lambda: self.books("state, incarnation") == ("live", 2), "a new slot")
        self.audit_capture(gaps=1)
        self.assertTrue(relay.alive())

    def test_a_file_that_changes_while_nobody_looks(self):
        """A rewrite changes contents, and the log has nothing of it."""
        relay = self.start_whole()
        self.sql("VACUUM FULL legacy.orders")
        self.wait(lambda: ("legacy.orders",) in self.sql("SELECT tab FROM boxhaul.capture_table WHERE state = 'unproved'"), "it to be seen",
                  deadline=120)
        self.say(relay, "capture", "resync", NAME, "legacy.orders")
        self.audit_capture()


class TakeOver(SlotTest):
    def test_a_daemon_that_is_frozen(self):
        """Nobody ends its sessions but the one that stands by."""
        first = self.start_whole()
        second = self.add_capture().start()
        self.open_legacy()
        self.let_work(20)
        first.pause()
        self.wait(lambda: "leader" in second.get("/status")[1], "the other one to lead", deadline=120)
        self.let_work(20)
        first.resume()
        self.let_work(20)
        self.audit_capture()


if __name__ == "__main__":
    unittest.main()
