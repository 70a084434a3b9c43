"""A captured table arrives whole and in order: while it is written to, while commits are in limbo, while the daemon dies; rebuilt from the
stream by an independent reader and compared row by row, and each change with the log as PostgreSQL itself tells it."""

import io
import os
import random
import threading
import time
import unittest

from captures import NAME, STREAM, CaptureTest
from harness import SERVICE

KILLS = int(os.environ.get("CAPTURE_KILLS", "6"))  # 20 and more for a long run


class Whole(CaptureTest):
    orders = 200

    def begin(self, capture=None, limbo=None, **ways):
        """The legacy shop writes before the slot is made, and goes on."""
        relay = self.add_capture(capture)
        self.say(relay, "capture", "start", NAME)
        self.witness()
        if limbo:
            self.open_limbo(limbo)
        self.open_legacy(**ways)
        self.let_work(20)
        return relay.start()

    def test_rows_that_were_there_and_changes_meanwhile(self):
        """Pains 24 and 28: what changes while a chunk is read is neither lost nor overwritten."""
        self.begin()
        self.wait_complete()
        self.let_work(100)
        copy = self.audit_capture()
        self.assertGreaterEqual(copy.counts["r"], self.orders)
        self.assertGreater(min(copy.counts[op] for op in "cud"), 10)

    def test_the_format_that_tables_can_be_made_of(self):
        self.format = "text"
        self.source = self.source_of()
        self.begin({"format": "text"})
        self.wait_complete()
        self.let_work(50)
        copy = self.audit_capture()
        messages = {event.seq for event in copy.events if "rows" in event.body and event.op == "r"}
        self.assertLess(0, len(messages))
        self.assertLess(len(messages), copy.counts["r"] / 2)  # rows of one window go together

    def test_a_stream_that_takes_small_messages_only(self):
        """No row is refused for its company."""
        table = "legacy.small"
        self.sql(f"CREATE TABLE {table} (id int PRIMARY KEY, v text); INSERT INTO {table} SELECT n, 'old' FROM generate_series(1, 300) n; "
                 f"GRANT SELECT ON {table} TO boxhaul_capture")
        with self.jetstream() as jetstream:
            jetstream.create(STREAM, ["cdc.>"], max_msg_size=2000)
        self.format = "text"
        relay = self.start_capture({"format": "text", "tables": [table]})
        self.wait_complete()
        # Nor a change; and who leads next waits for NATS, and does not know the stream before.
        self.wait_confirmed()
        self.assertEqual(relay.stop(), 0)
        self.nats.stop()
        self.sql(f"UPDATE {table} SET v = 'new'")
        relay.start()
        self.wait(lambda: self.sql("SELECT active FROM pg_replication_slots") == [(True,)], "the log to be read")
        self.sql(f"UPDATE {table} SET v = 'newer'")
        time.sleep(1)
        self.nats.start()
        self.wait_confirmed()
        self.assertEqual(self.sql("SELECT reason FROM boxhaul.capture_letter"), [])
        self.audit_capture(self.source_of([table]))

    def test_large_rows_and_small_ones(self):
        """A chunk has as many rows as it may have bytes, but one at least."""
        table = "legacy.sizes"
        self.sql(f"CREATE TABLE {table} (id int PRIMARY KEY, v text); ALTER TABLE {table} ALTER v SET STORAGE EXTERNAL; "
                 f"INSERT INTO {table} SELECT n, repeat(md5(n::text), CASE WHEN n = 150 THEN 5000 WHEN n > 150 THEN 300 END) FROM generate_series(1, 300) n; "
                 f"GRANT SELECT ON {table} TO boxhaul_capture")
        relay = self.start_whole({"tables": [table], "chunk_bytes": 65536})
        # 150 small rows, with the large one behind them; 150 of 9,600 bytes, of which seven make a chunk; the look behind the last.
        self.assertIn(relay.status()["captures"][0]["chunks_total"], range(1 + 150 // 7, 5 + 150 // 7))
        self.audit_capture(self.source_of([table]))

    def test_commits_in_limbo(self):
        """A standby answers late: what was streamed is not yet visible to the chunks. Twenty rows a chunk, so that there are many."""
        self.begin({"chunk_rows": 20}, limbo=0.005, pause=0.02)
        self.wait_complete()
        self.audit_capture()

    def test_a_commit_that_stays_in_limbo(self):
        """The standby says nothing. Chunks wait, and the stream goes on; when it answers, so do they."""
        self.open_limbo(0)
        relay = self.add_capture({"chunk_rows": 10})
        self.say(relay, "capture", "start", NAME)
        self.witness()
        self.limbo.silent = True
        writer = self.connect(SERVICE)
        commit = threading.Thread(target=lambda: writer.cursor().execute("UPDATE legacy.orders SET changed_by = 'limbo' WHERE id = 7"))
        commit.start()
        self.wait(self.limbo.waiting, "the commit to wait")
        relay.start()
        self.limbo.silent = False
        commit.join()
        self.wait_complete()
        self.limbo.close()
        self.audit_capture()

    def test_killed_at_any_moment_while_rows_are_read(self):
        """kill -9 again and again, commits in limbo meanwhile. It goes on where it was: no table is begun anew (pains 26 and 40)."""
        relay = self.begin({"chunk_rows": 20, "chunk_share": 20}, limbo=0.003, clients=3, pause=0.05)
        dice, readings = random.Random(), set()
        for _ in range(KILLS):
            time.sleep(dice.uniform(0.1, 1))
            relay.kill9()
            readings.update(self.sql("SELECT tab, reading FROM boxhaul.capture_table WHERE state = 'reading'"))
            relay.start()
        self.wait_complete()
        self.let_work(50)
        relay.kill9()
        relay.start()
        self.audit_capture()
        self.assertEqual(len(readings), len({tab for tab, _reading in readings}), "a table was begun anew")

    def test_told_to_end_and_started_again(self):
        relay = self.begin()
        for _ in range(3):
            relay.wait_until_ready()
            self.let_work(30)
            self.assertEqual(relay.stop(), 0)
            relay.start()
        self.audit_capture()

    def test_one_takes_over_from_another(self):
        """Two daemons, one of them frozen for longer than its lease: it sends nothing more when it wakes."""
        first = self.begin()
        second = self.add_capture().start()
        self.let_work(30)
        first.pause()
        self.let_work(60)
        self.pg.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s AND backend_type = 'client backend'",
                        (f"boxhaul-{NAME}",))
        self.let_work(60)
        first.resume()
        self.let_work(30)
        self.audit_capture()
        self.assertTrue(second.alive())

    def test_truncated_meanwhile(self):
        self.begin({"chunk_rows": 20})
        for tables in (["legacy.stock"], ["legacy.orders", "legacy.order_lines"]):
            self.let_work(40)
            self.shops[0].truncate(*tables)
        self.let_work(40)
        self.audit_capture()


class Positions(CaptureTest):
    """Where it goes on after a crash."""

    def copy_in(self, first, count):
        with self.connect().cursor() as cursor:
            lines = "".join(f"{n}\tcopied\t{n}\n" for n in range(first, first + count))
            cursor.copy_expert("COPY legacy.orders (id, customer, version) FROM STDIN", io.StringIO(lines))

    def kill_in_the_middle(self, relay, rows, part):
        """Of so many rows of one transaction some are stored, `part` messages or more, and not all; returns what was stored before them. Where they were all
        through before anybody looked, it is done once more."""
        for attempt in range(1, 20):
            self.copy_in(attempt * 1_000_000 - 1, 1)  # the table's shape is said with the first change
            self.wait_confirmed()
            before = self.count(STREAM)
            self.copy_in(attempt * 1_000_000, rows)
            with self.jetstream() as jetstream:
                self.wait(lambda jetstream=jetstream, before=before: jetstream.count(STREAM) > before + part, "a part of them", pause=0.002)
                relay.kill9()
            if "Boxhaul-Last" not in self.stored(STREAM)[-1].headers:
                return before
            relay.start()
        return self.fail("they are always all through before anybody looks")

    def test_all_rows_of_a_copy_have_one_position(self):
        """Pains 1, 2, 3 and 5: killed in the middle of a transaction, whose rows have the position of its beginning."""
        relay = self.start_capture()
        self.witness()
        self.wait_complete()
        self.wait_confirmed()
        before = self.kill_in_the_middle(relay, 6000, 1000)
        relay.start()
        self.audit_capture()
        self.assertEqual(self.count(STREAM), before + 6000)

    def test_changes_that_go_together_are_the_same_messages_again(self):
        """Killed in the middle of a transaction, whose changes are several in a message: the next leader, who reads rows meanwhile, puts together the same."""
        self.format = "text"
        relay = self.start_capture({"format": "text"})
        self.witness()
        self.wait_complete()
        self.wait_confirmed()
        self.kill_in_the_middle(relay, 30000, 200)
        self.say(relay, "capture", "resync", NAME, "legacy.orders")
        relay.start()
        copy = self.audit_capture(self.source_of())
        messages = {event.seq for event in copy.events if event.body.get("op") == "c" and event.position}
        self.assertLess(len(messages) * 10, copy.counts["c"])

    def test_a_transaction_that_is_sent_is_not_confirmed_before_it_is_stored(self):
        """Pains 4, 5, 6 and 41: NATS takes nothing any more. The slot stays behind the first change that is not stored."""
        relay = self.start_capture()
        self.witness()
        self.wait_complete()
        self.wait_confirmed()
        self.nats.pause()
        (before,) = self.slot()
        (here,), = self.sql("SELECT pg_current_wal_insert_lsn()")
        self.sql("UPDATE legacy.orders SET changed_by = 'x' WHERE id < 20")
        # Unrelated log behind it: keepalives tell positions far above.
        self.sql("CREATE TABLE noise AS SELECT n FROM generate_series(1, 10000) n")
        self.wait_sent(here)
        time.sleep(1.5)
        self.assertTrue(self.sql("SELECT %s::pg_lsn <= %s::pg_lsn", (self.slot()[0], here))[0][0], f"{self.slot()} {here} {before}")
        relay.kill9()
        self.nats.resume()
        relay.start()
        self.audit_capture()

    def test_rows_that_are_read_and_not_stored_hold_the_log(self):
        """Pain 30: a chunk is out that NATS does not take, and keepalives tell positions far above. The slot stays where it is."""
        relay = self.start_capture({"chunk_rows": 10, "chunk_share": 5})

        def chunks():
            return (relay.status().get("captures") or [{}])[0].get("chunks_total", 0)
        self.wait(lambda: chunks() > 0, "a chunk to be read")
        self.nats.pause()
        before = chunks()
        self.wait(lambda: chunks() > before, "another chunk to be read", progress=chunks)
        (here,), = self.sql("SELECT pg_current_wal_insert_lsn()")
        self.sql("CREATE TABLE noise AS SELECT n FROM generate_series(1, 10000) n")
        self.wait_sent(here)
        time.sleep(1.5)
        self.assertTrue(self.sql("SELECT %s::pg_lsn <= %s::pg_lsn", (self.slot()[0], here))[0][0], f"{self.slot()} {here}")
        self.assertTrue(self.unfinished())
        relay.kill9()
        self.nats.resume()
        relay.start()
        self.audit_capture()

    def wait_sent(self, here):
        """The server has sent much that lies behind this position."""
        self.wait(lambda: self.pg.execute("SELECT sent_lsn - %s::pg_lsn > 100000 FROM pg_stat_replication WHERE application_name = %s",
                                          (here, f"boxhaul-{NAME}")) == [(True,)], "the server to have sent it")

    def test_log_that_is_not_ours_is_let_go_and_nothing_is_written(self):
        """Pain 7: an idle capture confirms what comes by, without a heartbeat, and marks nothing."""
        self.start_capture()
        self.wait_complete()
        self.wait_confirmed()
        mark = self.books("xmin, ctid, marked_at")
        self.sql("CREATE TABLE noise AS SELECT n FROM generate_series(1, 20000) n")
        self.wait_confirmed()
        self.assertEqual(self.books("xmin, ctid, marked_at"), mark)

        def written():
            """While nobody else writes, in two seconds."""
            before = self.sql("SELECT pg_current_wal_insert_lsn()")
            time.sleep(2)
            return self.sql("SELECT pg_current_wal_insert_lsn()") != before
        self.wait(lambda: not written(), "a moment in which nothing is written", pause=0)

    def test_a_prepared_transaction_comes_when_it_is_committed(self):
        """It was written before the slot was there, or while rows were read: whole, once, and in its place."""
        early, late = self.connect(SERVICE), self.connect(SERVICE)
        relay = self.add_capture({"chunk_rows": 10})
        self.say(relay, "capture", "start", NAME)
        early.cursor().execute("BEGIN; UPDATE legacy.orders SET changed_by = 'prepared early' WHERE id = 3; PREPARE TRANSACTION 'early'")
        relay.start()
        self.wait(lambda: self.slot("active_pid"), "the slot to be made, which waits")
        self.sql("COMMIT PREPARED 'early'")
        self.wait(lambda: self.state() == "live", "the capture to be live")
        self.witness()
        late.cursor().execute("BEGIN; UPDATE legacy.orders SET changed_by = 'prepared late' WHERE id > 490; PREPARE TRANSACTION 'late'")
        self.sql("UPDATE legacy.orders SET changed_by = 'between' WHERE id < 10")
        self.sql("COMMIT PREPARED 'late'")
        copy = self.audit_capture()
        # As changes, or as rows that were read behind them: which of the two comes is a matter of how far the reading was.
        last = {e.key["id"]: e.row["changed_by"] for e in copy.events
                if e.op in "ru" and e.table == "legacy.orders" and e.key["id"] > 490}
        self.assertEqual(set(last.values()), {"prepared late"}, last)


@unittest.skipUnless(os.environ.get("CAPTURE_LONG"), "takes minutes: CAPTURE_LONG=yes")
class Long(Whole):
    """The same with more rows, more clients and more deaths: CAPTURE_LONG=yes CAPTURE_KILLS=20."""

    orders = 20000


if __name__ == "__main__":
    unittest.main()
