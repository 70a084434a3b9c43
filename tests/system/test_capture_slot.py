"""The life of the replication slot: lost, gone, made by somebody else, left behind by a promotion. What cannot be had is said, never papered
over; what was read again makes the copy whole. And the server, which must be able to shut down."""

import contextlib
import os
import shutil
import signal
import subprocess
import unittest

import psycopg2

from captures import NAME, SETTINGS, STREAM, CaptureTest
from harness import RELAY
from servers import Postgres
from test_operation import log_lines


class SlotTest(CaptureTest):
    orders = 100

    def wait_gap(self, relay, reason):
        """On record, not ready, and nothing is sent."""
        self.wait(lambda: self.state() == "gap", "the gap to be recognised")
        self.assertEqual(self.reason(), reason)
        self.wait(lambda: relay.get("/readyz")[0] == 503, "it not to be ready")
        self.assertIn(reason, relay.get("/status")[1])

    def change_in_the_gap(self):
        """An insert, an update, a key that changes and a delete that no log has."""
        self.sql("INSERT INTO legacy.orders (id, customer) VALUES (5000, 'in the gap'); DELETE FROM legacy.orders WHERE id = 1; "
                 "UPDATE legacy.orders SET customer = 'in the gap' WHERE id = 2; UPDATE legacy.orders SET id = 6000 WHERE id = 3")

    def resync(self, relay):
        """And all is whole again, what was deleted in the gap included."""
        incarnation, = self.books("incarnation")
        self.say(relay, "capture", "resync", NAME)
        self.wait(lambda: self.state() == "live", "the capture to be live")
        self.assertEqual(self.books("incarnation"), (incarnation + 1,))
        self.sql("UPDATE legacy.orders SET customer = 'behind the gap' WHERE id = 4")
        return self.audit_capture(gaps=1)

    def drop_slot(self):
        """Whoever uses it is thrown out."""
        name = self.books("slot")

        def dropped():
            with contextlib.suppress(psycopg2.errors.ObjectInUse):
                self.pg.execute("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = %s AND active", name)
                self.pg.execute("SELECT pg_drop_replication_slot(%s)", name)
                return True
            return False
        self.wait(dropped, "the slot to be dropped", pause=0)


class Gaps(SlotTest):
    def test_gone_while_the_daemon_was_away(self):
        relay = self.start_whole()
        relay.stop()
        self.drop_slot()
        self.change_in_the_gap()
        relay.start()
        self.wait_gap(relay, "gone")
        before = self.count(STREAM)
        self.assertIsNone(self.slot())
        self.assertEqual(self.count(STREAM), before)
        self.resync(relay)

    def test_gone_under_the_daemon(self):
        relay = self.start_whole()
        self.drop_slot()
        self.wait_gap(relay, "gone")
        self.change_in_the_gap()
        self.resync(relay)

    def test_another_slot_of_the_same_name(self):
        """Pains 17 and 18: a script, or Patroni, made it anew. It looks healthy, and what lies between is missing."""
        relay = self.start_whole()
        self.assertEqual(relay.stop(), 0)
        name, = self.books("slot")
        self.drop_slot()
        self.change_in_the_gap()
        self.sql("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (name,))
        relay.start()
        self.wait_gap(relay, "foreign")
        self.resync(relay)

    def test_another_slot_of_the_same_name_and_another_plugin(self):
        relay = self.start_whole()
        relay.kill9()
        name, = self.books("slot")
        self.drop_slot()
        self.change_in_the_gap()
        self.pg.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (name,))  # of the database postgres
        relay.start()
        self.wait_gap(relay, "foreign")
        self.pg.execute("SELECT pg_drop_replication_slot(%s)", (name,))
        self.resync(relay)


class Lost(SlotTest):
    postgres_settings = {**SETTINGS, "max_slot_wal_keep_size": "16MB", "min_wal_size": "32MB", "max_wal_size": "64MB"}

    def test_the_server_took_the_slot_away(self):
        relay = self.start_whole()
        relay.stop()
        self.change_in_the_gap()
        for _ in range(4):
            self.pg.execute("SELECT pg_logical_emit_message(false, 'noise', 'x')")
            self.pg.execute("SELECT pg_switch_wal()")
        self.pg.execute("CHECKPOINT")
        self.assertEqual(self.slot("wal_status"), ("lost",))
        relay.start()
        self.wait_gap(relay, "lost")
        self.resync(relay)


class Promotions(SlotTest):
    def both(self, twin):
        return {"conninfo": f"host={self.pg.directory},{twin.directory} port={self.pg.port},{twin.port} dbname={self.database} user={RELAY} "
                            "target_session_attrs=read-write"}

    def add_twin(self):
        twin = self.workspace.add(Postgres(self.workspace.path(f"{self.database}-twin"), fsync="off", **SETTINGS))
        return twin.clone(self.pg, self.pg.port).start()

    def fall_behind(self, twin):
        """The standby has all there is, and gets no more."""
        (here,), = self.sql("SELECT pg_current_wal_flush_lsn()")
        self.wait(lambda: twin.execute("SELECT pg_last_wal_replay_lsn() >= %s", (here,)) == [(True,)], "the standby to follow")
        twin.kill9()

    def keep_slot(self, twin):
        """As tools for high availability do it before PostgreSQL 17: the slot's files go to the standby, which does not run."""
        name, = self.books("slot")
        shutil.copytree(os.path.join(self.pg.data, "pg_replslot", name), os.path.join(twin.data, "pg_replslot", name),
                        ignore=shutil.ignore_patterns("*.tmp", "xid-*"), copy_function=lambda *paths: os.chmod(shutil.copy(*paths), 0o600))
        subprocess.run(["chown", "-R", "--reference", twin.data, os.path.join(twin.data, "pg_replslot")], check=True)

    def write_phantoms(self):
        for n in range(40):
            self.sql("UPDATE legacy.orders SET customer = %s WHERE id = %s", (f"phantom {n}", n + 1))
        self.sql("DELETE FROM legacy.orders WHERE id = 99; INSERT INTO legacy.orders (id, customer) VALUES (7000, 'phantom')")
        self.wait_confirmed()

    def take_over(self, twin):
        self.pg.kill9()
        twin.start()
        twin.promote()
        self.go_on_with(twin)

    def test_what_only_the_old_primary_had_was_sent(self):
        """The slot is there after the promotion, so the log is read on; but copies have what the new primary has not. It is said with the
        fork and the first such message, the capture is not ready, and its tables are unproved until their rows were compared or sent anew."""
        twin = self.add_twin()
        relay = self.start_whole(postgres=self.both(twin))
        self.fall_behind(twin)
        self.keep_slot(twin)
        stored = self.count(STREAM)
        self.write_phantoms()
        self.take_over(twin)
        self.wait_for_log(relay, level="error", msg="a promotion took changes back that were sent")
        self.wait(lambda: self.books("former_timeline, diverged IS NOT NULL") == (None, True), "it to be on record")
        self.assertEqual(self.state(), "live")
        self.assertIn(f"message {stored + 1},", self.books("diverged")[0])
        self.assertEqual(set(self.sql("SELECT state, reason LIKE 'diverged: %%' FROM boxhaul.capture_table")), {("unproved", True)})
        self.wait(lambda: "copies of its tables may differ" in relay.get("/readyz")[1] and relay.get("/readyz")[0] == 503, "it not to be ready")
        for n in range(40):  # it goes on
            self.sql("UPDATE legacy.orders SET customer = %s WHERE id = %s", (f"new {n}", n + 10))
        self.wait_confirmed()
        self.assertEqual(relay.get("/readyz")[0], 503)
        self.assertIn("may differ", self.say(relay, "capture", "status", NAME))
        for tab in self.tables:
            self.say(relay, "capture", "resync", NAME, tab)
        self.wait_complete()
        self.wait(lambda: relay.get("/readyz")[0] == 200, "it to be ready")
        self.assertEqual(self.sql("SELECT boxhaul.capture_diverged(%s)", (NAME,)), [(None,)])
        self.audit_capture(gaps=1)

    def test_a_slot_that_stands_beyond_the_fork(self):
        """It was copied when the old primary had gone on: what commits on the new one up to there would not be sent, and nobody would say so."""
        twin = self.add_twin()
        relay = self.start_whole(postgres=self.both(twin))
        self.fall_behind(twin)
        self.sql("SELECT pg_logical_emit_message(false, 'noise', repeat('x', 100000))")
        self.pg.execute("CHECKPOINT")  # writes the log up to here
        self.wait_confirmed()
        self.pg.execute("CHECKPOINT")  # and the slot
        self.keep_slot(twin)
        self.take_over(twin)
        self.wait_gap(relay, "foreign")
        self.change_in_the_gap()
        self.resync(relay)

    def test_a_promotion_that_loses_nothing_that_was_sent(self):
        twin = self.add_twin()
        relay = self.start_whole(postgres=self.both(twin))
        self.sql("UPDATE legacy.orders SET customer = 'both have it' WHERE id < 20")
        self.wait_confirmed()
        self.fall_behind(twin)
        self.keep_slot(twin)
        self.take_over(twin)
        self.wait_for_log(relay, msg="a promotion took nothing back that was sent")
        self.sql("UPDATE legacy.orders SET customer = 'the new one has it' WHERE id < 10")
        self.audit_capture()
        self.assertEqual(self.books("former_timeline, diverged"), (None, None))
        self.wait(lambda: relay.get("/readyz")[0] == 200, "it to be ready")

    def test_a_standby_that_lacks_the_end_takes_over(self):
        """Changes that only the old primary had are in the stream and nowhere else. Positions of the log are given out again: no new change
        is taken for an old one. What the copy has too much goes with the second snapshot."""
        twin = self.add_twin()
        relay = self.start_whole(postgres=self.both(twin))
        self.fall_behind(twin)
        self.write_phantoms()
        self.take_over(twin)
        self.wait_gap(relay, "gone")
        self.change_in_the_gap()
        for n in range(40):
            self.sql("UPDATE legacy.orders SET customer = %s WHERE id = %s", (f"new {n}", n + 10))
        self.resync(relay)


class Shutdown(SlotTest):
    def test_the_server_shuts_down_while_nats_is_away(self):
        """Pain 10: a walsender whose reader confirms nothing keeps the server from ending, for ever. So the daemon closes the stream."""
        relay = self.start_whole()
        self.nats.stop()
        self.sql("UPDATE legacy.orders SET customer = 'not stored' WHERE id < 50")
        self.wait(lambda: relay.get("/readyz")[0] == 503, "it to miss NATS")
        self.pg.stop("fast")  # an error, if it takes too long
        self.pg.start()
        self.nats.start()
        self.audit_capture()

    def test_the_server_waits_for_somebody_else_and_we_do_not_come_back(self):
        """Pain 11: a client that comes back again and again keeps it from ending. Here a standby does, that says nothing; nobody reads the log for us
        meanwhile, and when the standby has gone, the server ends."""
        relay = self.start_whole()
        limbo = self.open_limbo(0)
        limbo.silent = True
        self.pg.execute("ALTER SYSTEM SET synchronous_standby_names = ''")
        self.pg.execute("SELECT pg_reload_conf()")
        self.sql("UPDATE legacy.orders SET customer = 'the standby does not answer for it' WHERE id < 10")
        self.wait_confirmed()
        self.pg.send(signal.SIGINT)  # a fast shutdown
        self.wait(lambda: self.pg.walsenders() == 1, "our walsender to be gone", progress=self.pg.walsenders)
        refused = len(log_lines(relay))
        seen = set()

        def has_tried():
            seen.add(self.pg.walsenders())
            return len([line for line in log_lines(relay)[refused:] if "shutting down" in line.get("error", "") + line.get("why", "")])
        self.wait(has_tried, "it to ask, and to be refused", pause=0.02)
        self.assertTrue(self.pg.alive())
        self.assertEqual(seen, {1})
        limbo.leave()
        self.pg.wait()
        self.pg.start()
        self.audit_capture()

    def test_the_server_shuts_down_while_all_is_well(self):
        self.start_whole()
        self.open_legacy(clients=2)
        self.let_work(20)
        self.pg.stop("fast")
        self.pg.start()
        self.let_work(20)
        self.audit_capture()

    def test_the_server_crashes(self):
        self.start_whole()
        self.open_legacy(clients=2)
        for _ in range(2):
            self.let_work(20)
            self.pg.kill9()
            self.pg.start()
        self.let_work(20)
        self.audit_capture()


    def test_who_led_before_is_ourselves(self):
        """After a restart of the server nobody's lease is waited for: the next epoch is ours as the last one was, so nobody has led between.
        (As long as the lease is nothing comes; it is longer than the wait here.)"""
        self.start_whole(outbox={"lease": "1m"}, delivery={"ack_timeout": "100ms"})
        for _ in range(2):
            self.pg.stop("fast")
            self.pg.start()
            (begun,), = self.pg.execute("SELECT pg_postmaster_start_time()")
            self.sql("UPDATE legacy.orders SET customer = 'behind the restart' WHERE id < 10")
            self.wait_confirmed()
            self.assertEqual(self.sql("SELECT marked_at - %s < interval '1 min' FROM boxhaul.capture", (begun,)), [(True,)])
        self.audit_capture()


class Beginnings(SlotTest):
    def test_no_slot_without_its_publications(self):
        """Pain 12: a slot that was made before its publication fails for ever at what was written between them."""
        relay = self.add_capture()
        self.say(relay, "capture", "start", NAME)
        self.sql(f"DROP PUBLICATION boxhaul_{NAME}")
        relay.start()
        self.wait_for_log(relay, level="error", differences=f"there is no publication boxhaul_{NAME}")
        self.assertIsNone(self.slot())
        self.assertEqual(self.state(), "creating")
        self.sql(f"CREATE PUBLICATION boxhaul_{NAME} FOR TABLE {', '.join(self.tables)} WITH (publish_via_partition_root)")
        self.audit_capture()

    def test_a_slot_of_another_database_with_this_name(self):
        """Slots are the server's, names of captures a database's. The other's is left alone, and it is said."""
        self.pg.execute(f"CREATE DATABASE {self.database}_other")
        self.addCleanup(self.pg.execute, f"DROP DATABASE {self.database}_other")
        relay = self.add_capture()
        self.say(relay, "capture", "start", NAME)
        self.pg.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (f"boxhaul_{NAME}_1",), dbname=f"{self.database}_other")
        self.assertIn("choose another name", self.say(relay, "capture", "plan", NAME, status=1))
        relay.start()
        self.wait(lambda: "another database of this server has a slot of this name" in relay.get("/readyz")[1], "it to be said")
        self.assertEqual(self.pg.execute("SELECT count(*) FROM pg_replication_slots"), [(1,)])
        self.pg.execute("SELECT pg_drop_replication_slot(%s)", (f"boxhaul_{NAME}_1",), dbname=f"{self.database}_other")
        self.audit_capture()

    def test_rows_behind_pages_that_are_empty(self):
        """Pain 23: a reading by pages stops there. Ours goes by keys."""
        self.sql("INSERT INTO legacy.orders (id, doc) SELECT n, 'x' FROM generate_series(1000, 9000) n")
        self.sql("DELETE FROM legacy.orders WHERE id BETWEEN 1000 AND 8900")
        self.sql("VACUUM legacy.orders")
        self.start_whole(capture={"chunk_rows": 10})
        self.audit_capture()

    def test_a_server_that_is_a_standby(self):
        """Pain 20: an address that leads to a reader node. Nothing is done there, and it is said."""
        twin = self.workspace.add(Postgres(self.workspace.path(f"{self.database}-twin"), fsync="off", **SETTINGS))
        twin.clone(self.pg, self.pg.port).start()
        self.addCleanup(twin.close)
        relay = self.add_capture(postgres={"conninfo": twin.conninfo(self.database, RELAY)})
        self.say(self.add_capture(), "capture", "start", NAME)
        relay.start()
        self.wait(lambda: relay.get("/readyz")[0] == 503 and "recovery" in relay.get("/readyz")[1], "it to be said")
        self.assertEqual(twin.execute("SELECT count(*) FROM pg_replication_slots"), [(0,)])


class Stalls(SlotTest):
    def test_a_stream_that_is_full(self):
        """Pain 35: it stands still by name, and goes on by itself."""
        relay = self.start_whole()
        with self.jetstream() as jetstream:
            jetstream.update(STREAM, max_msgs=jetstream.count(STREAM) + 5)
        self.sql("UPDATE legacy.orders SET customer = 'more than it takes'")
        self.wait(lambda: relay.get("/readyz")[0] == 503 and STREAM in relay.get("/readyz")[1], "it to be said")
        with self.jetstream() as jetstream:
            jetstream.update(STREAM, max_msgs=-1)
        self.audit_capture()
        self.wait(lambda: relay.get("/readyz")[0] == 200, "it to be ready")


class Senders(SlotTest):
    """Pain 9."""

    postgres_settings = {**SETTINGS, "wal_sender_timeout": "2s"}

    def test_nats_is_away_for_longer_than_the_server_waits(self):
        """Status updates go on: the server does not take us for dead."""
        self.start_whole()
        sender = self.slot("active_pid")
        self.nats.stop()
        self.sql("UPDATE legacy.orders SET doc = repeat(md5(id::text), 200), customer = 'not stored'")
        (begun,), = self.sql("SELECT clock_timestamp()")
        self.wait(lambda: self.sql("SELECT clock_timestamp() > %s + interval '6s'", (begun,))[0][0], "three times the time-out")
        self.assertEqual(self.slot("active_pid"), sender)
        self.nats.start()
        self.audit_capture()

    def test_a_large_transaction(self):
        """Larger than everything that is kept in memory, and the server decodes for a while without sending."""
        self.start_whole()
        self.witness()
        sender = self.slot("active_pid")
        self.sql("INSERT INTO legacy.order_lines SELECT n, 1, 'sku', n, repeat('x', 300), NULL FROM generate_series(100001, 108000) n")
        self.audit_capture()
        self.assertEqual(self.slot("active_pid"), sender)


if __name__ == "__main__":
    unittest.main()
