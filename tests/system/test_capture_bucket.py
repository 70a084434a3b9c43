"""A captured table as a NATS KV bucket (target = "kv"): what a client that watches it has is what the table is."""

import contextlib
import json
import random
import threading
import unittest

from captures import NAME, CaptureTest
from harness import SERVICE
from nats_client import NatsError


class Buckets(CaptureTest):
    tables, orders = ["legacy.docs"], 1

    @classmethod
    def _make_template(cls):
        super()._make_template()
        cls.pg.execute(f"""
            CREATE TABLE legacy.docs (id int PRIMARY KEY, doc text, n int);
            ALTER TABLE legacy.docs ALTER doc SET STORAGE EXTERNAL;
            GRANT SELECT, INSERT, UPDATE, DELETE ON legacy.docs TO {SERVICE};
            GRANT SELECT ON legacy.docs TO boxhaul_capture""", dbname="migrated")

    def test_a_table_as_a_bucket(self):
        """The last value of each key is the row; a row that has gone is deleted; another key is both."""
        with self.jetstream() as jetstream:
            jetstream.create("KV_docs", ["$KV.docs.>"], max_msgs_per_subject=1, discard="new", allow_rollup_hdrs=True)
        self.sql("ALTER TABLE legacy.docs REPLICA IDENTITY FULL")
        self.start_capture({"target": "kv", "stream": "KV_docs", "create": False})
        self.wait_complete()
        self.sql("INSERT INTO legacy.docs VALUES (1, 'a', 1), (2, repeat('x', 10000), 2), (3, 'c', 3)")
        self.sql("UPDATE legacy.docs SET n = 20 WHERE id = 2; DELETE FROM legacy.docs WHERE id = 1; UPDATE legacy.docs SET id = 4 WHERE id = 3")

        def bucket():
            return {m.subject: "DEL" if m.headers.get("KV-Operation") == ["DEL"] else json.loads(m.payload) for m in self.stored("KV_docs")}
        want = {"$KV.docs.docs.1": "DEL", "$KV.docs.docs.2": {"id": 2, "doc": "x" * 10000, "n": 20}, "$KV.docs.docs.3": "DEL",
                "$KV.docs.docs.4": {"id": 4, "doc": "c", "n": 3}}
        self.wait(lambda: bucket() == want, "the bucket", progress=bucket)
        self.assertEqual(self.sql("SELECT reason FROM boxhaul.capture_letter"), [])

    def bucket(self):
        """What a client that watches the table has now: {subject: row}."""
        return {m.subject: json.loads(m.payload) for m in self.stored("KV_docs") if m.headers.get("KV-Operation") != ["DEL"]}

    def table(self):
        return {f"$KV.docs.docs.{key}": {"id": key, "doc": doc, "n": n} for key, doc, n in self.sql("SELECT id, doc, n FROM legacy.docs")}

    def start_bucket(self, **settings):
        with self.jetstream() as jetstream:
            jetstream.create("KV_docs", ["$KV.docs.>"], max_msgs_per_subject=1, discard="new", allow_rollup_hdrs=True)
        return self.start_capture({"target": "kv", "stream": "KV_docs", "create": False, **settings})

    def wait_same(self):
        """Once nothing is on its way any more. (Who reads a bucket that moves waits for messages that have gone: it is read again.)"""
        self.wait_confirmed()
        self.wait(lambda: not self.sql("SELECT 1 FROM boxhaul.capture_repair"), "all rows to be read", progress=self.progress)
        self.wait_confirmed()

        def differs():
            try:
                bucket, table = self.bucket(), self.table()
            except NatsError as e:
                return str(e)
            return [key for key in bucket.keys() | table.keys() if bucket.get(key) != table.get(key)]
        self.wait(lambda: not differs(), "the bucket to be what the table is", progress=differs)
        self.assertEqual(self.sql("SELECT reason FROM boxhaul.capture_letter"), [])

    def test_a_value_that_was_not_sent_is_read(self):
        """A bucket holds whole rows: what the log leaves out is read before the row is put, also when the table was complete long ago."""
        self.sql("INSERT INTO legacy.docs SELECT n, repeat(md5(n::text), 200), n FROM generate_series(1, 50) n")
        relay = self.start_bucket(chunk_rows=10)
        self.wait_complete()
        self.wait_same()
        self.sql("UPDATE legacy.docs SET n = n + 100 WHERE id <= 20; UPDATE legacy.docs SET id = id + 1000 WHERE id > 40")
        self.wait_same()
        self.assertEqual(len(self.bucket()), 50)
        # The daemon dies with rows on record that it did not come to: the table is locked.
        blocker = self.connect()
        blocker.autocommit = False
        self.sql("UPDATE legacy.docs SET n = n + 1000 WHERE id <= 5")
        blocker.cursor().execute("LOCK TABLE legacy.docs IN ACCESS EXCLUSIVE MODE")
        relay.kill9()
        relay.start()
        self.wait(lambda: self.slot("active")[0], "the log to be read again")
        blocker.rollback()
        blocker.close()
        self.wait_same()

    def test_by_key_while_it_is_written_and_daemons_die(self):
        """order = "key", live: kill -9, and another daemon that takes over; the bucket is what the table is."""
        self.sql("INSERT INTO legacy.docs SELECT n, repeat(md5(n::text), 200), n FROM generate_series(1, 300) n")
        settings = {"order": "key", "chunk_rows": 20, "chunk_share": 20}
        first = self.start_bucket(**settings)
        second = self.add_capture({"target": "kv", "stream": "KV_docs", "create": False, **settings}).start()
        writing = threading.Event()
        done = [0]

        def write():
            with contextlib.closing(self.connect(SERVICE)) as connection, connection.cursor() as cursor:
                dice = random.Random(1)
                while not writing.is_set():
                    key = dice.randint(1, 400)
                    cursor.execute(dice.choice((
                        "UPDATE legacy.docs SET n = n + 1 WHERE id = %s", "UPDATE legacy.docs SET doc = md5(doc) || doc WHERE id = %s",
                        "DELETE FROM legacy.docs WHERE id = %s", "INSERT INTO legacy.docs VALUES (%s, repeat('y', 7000), 0) ON CONFLICT DO NOTHING",
                        "UPDATE legacy.docs SET id = id + 1000 WHERE id = %s AND NOT EXISTS (SELECT FROM legacy.docs d WHERE d.id = docs.id + 1000)")),
                                   (key,))
                    done[0] += 1
        writer = threading.Thread(target=write)
        writer.start()
        self.addCleanup(writer.join)
        self.addCleanup(writing.set)
        for relay in (first, second, first):
            goal = done[0] + 100
            self.wait(lambda goal=goal: done[0] >= goal, "changes", progress=lambda: done[0])
            relay.kill9()
            self.wait(lambda: self.sql("SELECT FROM boxhaul.capture_status WHERE leader_pid IS NOT NULL"), "somebody to lead")
            relay.start()
        writing.set()
        writer.join()
        self.wait_complete()
        self.wait_confirmed()
        self.wait_same()

    def test_truncate_stops_it(self):
        """Nothing can be told to a bucket that takes out all rows of a table: the capture is paused, and says what is to be done."""
        self.sql("INSERT INTO legacy.docs SELECT n, 'x', n FROM generate_series(1, 10) n")
        relay = self.start_bucket()
        self.wait_complete()
        self.wait_same()
        self.sql("TRUNCATE legacy.docs; INSERT INTO legacy.docs VALUES (1, 'new', 1)")
        self.wait(lambda: self.books("paused_at")[0], "the capture to be paused")
        paused_by, why = self.books("paused_by, pause_reason")
        self.assertEqual(paused_by, "boxhaul")
        self.assertIn("TRUNCATE legacy.docs", why)
        self.assertIn("legacy.docs", self.say(relay, "capture", "status", NAME))
        with self.jetstream() as jetstream:
            jetstream.purge("KV_docs", "$KV.docs.docs.>")
        self.say(relay, "capture", "resync", NAME, "legacy.docs")
        self.say(relay, "capture", "resume", NAME)
        self.wait_complete()
        self.wait_confirmed()
        self.assertEqual(self.bucket(), self.table())
        self.assertEqual(self.sql("SELECT count(*) FROM boxhaul.capture_letter"), [(1,)])


if __name__ == "__main__":
    unittest.main()
