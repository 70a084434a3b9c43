"""There is no more room: in the stream, in the broker's store, on the disk of the source. The capture stands still by name and loses nothing; when there
is room it goes on."""

import contextlib
import json
import unittest

import psycopg2

from captures import SETTINGS, STREAM, CaptureTest
from disk import Disk


class RoomTest(CaptureTest):
    orders = 100

    def change_much(self, text="x", times=1):
        """A megabyte and a half each time."""
        for n in range(times):
            self.sql("UPDATE legacy.orders SET doc = repeat(%s, 15000), version = %s", (text, n))

    def wait_said(self, relay, *words):
        """It is not ready, and says all of this."""
        self.wait(lambda: relay.get("/readyz")[0] == 503 and all(word in relay.get("/readyz")[1] for word in words), f"{words} to be said",
                  progress=lambda: relay.get("/readyz"))


class Streams(RoomTest):
    def test_a_stream_that_is_full_of_bytes(self):
        relay = self.start_whole()
        with self.jetstream() as jetstream:
            jetstream.update(STREAM, max_bytes=jetstream.info(STREAM)["state"]["bytes"] + 100_000)
        self.change_much()
        self.wait_said(relay, STREAM)
        relay.kill9()
        relay.start()
        self.change_much("y")
        self.wait_said(relay, STREAM)
        with self.jetstream() as jetstream:
            jetstream.update(STREAM, max_bytes=-1)
        self.audit_capture()
        self.wait(lambda: relay.get("/readyz")[0] == 200, "it to be ready")

    def test_another_capture_goes_on(self):
        """Pain 33: what one stream does not take holds up nothing that goes to another one."""
        self.sql("CREATE TABLE legacy.other (id int PRIMARY KEY, v text); GRANT SELECT ON legacy.other TO boxhaul_capture")
        both = [*self._settings(self.database)["capture"],
                {"name": "other", "tables": ["legacy.other"], "stream": "OTHER", "create": True, "replicas": self.nats.replicas}]
        relay = self.add_relay(capture=both)
        for capture in both:
            self.say(relay, "capture", "start", capture["name"])
        relay.start()
        self.wait(lambda: self.sql("SELECT count(*) FROM boxhaul.capture WHERE state = 'live'") == [(2,)], "both to be live")
        self.wait_complete()
        self.wait_confirmed()
        with self.jetstream() as jetstream:
            jetstream.update(STREAM, max_msgs=jetstream.count(STREAM) + 5)
        self.change_much()
        self.wait_said(relay, STREAM)
        self.sql("INSERT INTO legacy.other SELECT n, 'while the other one stands still' FROM generate_series(1, 3000) n")

        def arrived():
            return sum(json.loads(m.payload)["op"] == "c" for m in self.stored("OTHER")) == 3000
        self.wait(arrived, "all of them", progress=lambda: self.count("OTHER"))
        with self.jetstream() as jetstream:
            jetstream.update(STREAM, max_msgs=-1)
        self.audit_capture()


class Brokers(RoomTest):
    def setUp(self):
        super().setUp()
        if self.nats.replicas > 1:
            self.skipTest("one server, whose store is changed")

    def begin_anew(self, **jetstream):
        """The broker with other settings of its store."""
        self.nats.stop()
        self.nats.settings["jetstream"] = {"store_dir": self.nats.settings["jetstream"]["store_dir"], **jetstream}
        self.nats.start()

    def test_what_the_server_may_store_is_used_up(self):
        self.begin_anew(max_file_store=12 << 20)
        self.addCleanup(self.begin_anew)
        relay = self.start_whole()
        self.change_much(times=12)
        self.wait_said(relay, STREAM)
        self.begin_anew()
        self.audit_capture()
        self.wait(lambda: relay.get("/readyz")[0] == 200, "it to be ready")

    def test_its_disk_is_full(self):
        """A server whose disk was full has switched JetStream off: the operator makes room, and starts it again."""
        disk = self.workspace.add(Disk(self.nats.settings["jetstream"]["store_dir"], 64))
        self.nats.stop()
        if not disk.mount().mounted:
            self.skipTest(f"no small file system: {disk.reason}")
        self.addCleanup(self._go_back, disk)
        self.nats.start()
        relay = self.start_whole()
        disk.fill()
        self.change_much(times=4)
        self.wait(lambda: relay.get("/readyz")[0] == 503, "it not to be ready", progress=lambda: relay.get("/readyz"))
        (here,), = self.sql("SELECT pg_current_wal_insert_lsn()")
        self.assertEqual(self.sql("SELECT %s::pg_lsn < %s", (self.slot()[0], here)), [(True,)])
        disk.clear()
        self.nats.kill9()
        self.nats.start()
        self.audit_capture()

    def _go_back(self, disk):
        self.nats.kill9()
        disk.close()
        self.nats.start()


class Sources(RoomTest):
    postgres_settings = {**SETTINGS, "max_wal_size": "64MB", "min_wal_size": "32MB", "logical_decoding_work_mem": "64kB", "wal_sender_timeout": "20s"}

    @classmethod
    def _start_migrated(cls):
        cls.pg.make_directory()
        cls.disk = Disk(cls.pg.data, 400)
        cls.addClassCleanup(cls.disk.close)
        cls.disk.mount(cls.pg.user)
        cls.addClassCleanup(cls.pg.close)
        super()._start_migrated()

    def setUp(self):
        super().setUp()
        if not self.disk.mounted:
            self.skipTest(f"no small file system: {self.disk.reason}")

    def _clean_up(self):
        self.disk.clear()
        super()._clean_up()

    def test_no_room_for_what_is_decoded(self):
        """A transaction that does not fit into the walsender's memory is written to the disk, and that is full. No gap, and it comes later."""
        relay = self.start_whole()
        self.witness()
        self.assertEqual(relay.stop(), 0)
        self.change_much(times=2)
        self.sql("INSERT INTO legacy.order_lines SELECT n, 1, 'sku', n, repeat('x', 300), NULL FROM generate_series(100001, 110000) n")
        self.pg.execute("SELECT pg_switch_wal()")  # so that who leads has room for its books
        self.pg.execute("CHECKPOINT")
        self.disk.fill()
        relay.start()
        self.wait_said(relay, "the log is not read", "No space left on device")
        self.assertEqual(self.state(), "live")
        self.disk.clear()
        self.audit_capture()
        self.wait(lambda: relay.get("/readyz")[0] == 200, "it to be ready")

    def test_no_room_for_the_log(self):
        """The server ends itself, and cannot start. The operator makes room, and starts it again."""
        self.start_whole()
        self.open_legacy(clients=2)
        self.let_work(20)
        self.disk.fill()
        with contextlib.suppress(psycopg2.Error):
            while True:
                self.sql("SELECT pg_logical_emit_message(false, 'noise', repeat('x', 1000000))")
        self.disk.clear()
        self.pg.kill9()
        self.pg.start()
        self.let_work(20)
        for shop in self.shops:
            shop.stop()
            shop.errors[:] = [error for error in shop.errors if not error.startswith("53100")]  # could not extend file
        self.audit_capture()


if __name__ == "__main__":
    unittest.main()
