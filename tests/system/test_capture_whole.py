"""A table without a key is read whole: beside inserts, while commits are in limbo, while the daemon dies in the middle. Its copy has each row as
often as the source."""

import collections
import json
import os
import threading
import time
import unittest

from captures import NAME, STREAM, CaptureTest
from copied import canonical
from harness import SERVICE
from test_operation import log_lines

KILLS = int(os.environ.get("CAPTURE_KILLS", "3"))  # 20 and more for a long run
TABLE, ROWS = "legacy.visits", 6000
WHOLE = {"inserts_only": [TABLE], "snapshot": "whole", "chunk_rows": 50, "chunk_bytes": 65536}


class Visitors:
    """Insert into the table, and into an order in the same transaction, until they are told to stop. Rows are equal to one another, and some are large."""

    def __init__(self, connect, count):
        self.stopping, self.committed, self.errors = threading.Event(), 0, []
        self.threads = [threading.Thread(target=self._work, args=(connect(SERVICE), n)) for n in range(count)]
        for thread in self.threads:
            thread.start()

    def _work(self, connection, n):
        i = 0
        while not self.stopping.is_set():
            i += 1
            try:
                with connection.cursor() as cursor:
                    cursor.execute("BEGIN")
                    cursor.execute("UPDATE legacy.orders SET changed_by = %s WHERE id = %s", (f"visitor {n}", 1 + i % 50))
                    cursor.execute(f"INSERT INTO {TABLE} SELECT %s, repeat('v', %s) FROM generate_series(1, 2)", (i % 100, 90000 if i % 20 == 0 else 5))
                    cursor.execute("COMMIT")
                self.committed += 1
            except Exception as e:  # pylint: disable=broad-except
                self.errors.append(e)
                return
            time.sleep(0.005)

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join()
        if self.errors:
            raise self.errors[0]


class Whole(CaptureTest):
    orders = 60

    def setUp(self):
        super().setUp()
        self.visitors = None
        self.sql(f"CREATE TABLE {TABLE} (n int, note text); GRANT SELECT ON {TABLE} TO boxhaul_capture; GRANT ALL ON {TABLE} TO PUBLIC; "
                 f"ALTER TABLE {TABLE} ALTER note SET STORAGE EXTERNAL; "
                 f"INSERT INTO {TABLE} SELECT i % 1000, repeat('x', CASE WHEN i % 500 = 0 THEN 100000 ELSE i % 7 END) FROM generate_series(1, {ROWS}) i; "
                 f"INSERT INTO {TABLE} VALUES (NULL, NULL), (NULL, NULL); ANALYZE {TABLE}")

    def _clean_up(self):
        if self.visitors:
            self.visitors.stopping.set()
        super()._clean_up()

    def visit(self, clients=3):
        self.visitors = Visitors(self.connect, clients)

    def let_visit(self, transactions):
        goal = self.visitors.committed + transactions
        self.wait(lambda: self.visitors.committed >= goal, f"{transactions} visits", progress=lambda: self.visitors.committed)

    def table(self, columns):
        return self.sql(f"SELECT {columns} FROM boxhaul.capture_table WHERE tab = %s", (TABLE,))[0]

    def meet(self, relay, condition, what):
        """Until that is so while the table is read. A reading that was over before anybody looked is made once more."""
        def met():
            if condition():
                return True
            if self.table("state") == ("complete",):
                self.say(relay, "capture", "resync", NAME, TABLE)
            return False
        self.wait(met, what, pause=0.005)

    def wait_reading(self, relay):
        """Until some of its rows are stored, and not all."""
        self.meet(relay, lambda: self.table("state = 'reading' AND rows > 0") == (True,), "its rows to be read")

    def transactions(self):
        """Of the daemon, which stay open."""
        return self.pg.execute("SELECT pid FROM pg_stat_activity WHERE application_name = %s AND datname = %s AND xact_start IS NOT NULL "
                               "AND state LIKE 'idle in%%'", (f"boxhaul-{NAME}", self.database))

    def judge(self):
        """Once all is stored. Returns what was read."""
        if self.visitors:
            self.visitors.stop()
        copy = self.audit_capture(unkeyed=[TABLE])
        source = collections.Counter()
        for n, note in self.sql(f"SELECT n, note FROM {TABLE}"):
            source[canonical({"n": n, "note": note})] += 1
        here = copy.unkeyed[TABLE]
        self.assertEqual(sum(here.values()), sum(source.values()))
        self.assertEqual(here, source)
        return copy

    def test_rows_that_were_there_and_inserts_meanwhile(self):
        self.visit()
        self.let_visit(10)
        relay = self.start_capture(WHOLE)
        self.wait_complete()
        self.assertRegex(self.say(relay, "capture", "status", NAME), rf"{TABLE} .*read whole")
        self.assertIn((TABLE, True), [(t["name"], t["whole"]) for t in relay.status()["captures"][0]["tables"]])
        self.let_visit(50)
        copy = self.judge()
        self.assertGreaterEqual(copy.counts["r"], ROWS)
        self.assertEqual(self.transactions(), [])

    def test_commits_in_limbo(self):
        self.open_limbo(0.005)
        self.visit()
        self.start_capture(WHOLE)
        self.wait_complete()
        self.judge()

    def test_killed_in_the_middle(self):
        """kill -9: it is begun anew under a new number, and consumers are told."""
        self.visit()
        relay, readings = self.start_capture({**WHOLE, "chunk_rows": 3}), [0]  # slow enough to be met
        for n in range(KILLS):
            self.wait(lambda: self.table(f"state = 'reading' AND rows > 0 AND reading > {readings[-1]}") == (True,), "its rows to be read", pause=0.005)
            relay.kill9()
            readings.append(self.table("reading")[0])
            if n + 1 == KILLS:  # nobody has to meet it any more
                relay.configure({**relay.settings, "capture": [{**relay.settings["capture"][0], "chunk_rows": WHOLE["chunk_rows"]}]})
            relay.start()
        self.wait_complete()
        relay.kill9()
        relay.start()
        self.let_visit(20)
        self.judge()
        self.assertGreater(self.table("reading")[0], readings[-1])
        begun = [m for m in self.stored(STREAM) if json.loads(m.payload)["table"] == TABLE and json.loads(m.payload)["op"] == "snapshot-begin"]
        self.assertEqual(len(begun), len({m.headers["Boxhaul-Chunk"][0] for m in begun}))
        self.assertGreater(len(begun), KILLS)

    def test_the_reader_is_lost(self):
        self.visit(1)
        relay = self.start_capture(WHOLE)
        self.meet(relay, lambda: self.pg.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s AND datname = %s "
                                                 "AND query LIKE 'FETCH%%' AND xact_start IS NOT NULL", (f"boxhaul-{NAME}", self.database)), "the reader to be met")
        self.wait_complete()
        self.judge()
        self.assertTrue(any("is gone" in line.get("why", "") for line in log_lines(relay)))

    def test_a_pause_ends_the_transaction(self):
        relay = self.start_capture(WHOLE)
        self.wait_reading(relay)
        self.say(relay, "capture", "pause", NAME)
        self.wait(lambda: not self.transactions(), "no transaction to be open")
        self.sql(f"ALTER TABLE {TABLE} ADD COLUMN more int")  # who alters it does not wait
        self.sql(f"ALTER TABLE {TABLE} DROP COLUMN more")
        self.say(relay, "capture", "resume", NAME)
        self.wait_complete()
        self.judge()

    @staticmethod
    def is_waited_for(cursor):
        cursor.execute("SELECT pid FROM pg_locks WHERE NOT granted AND relation = %s::regclass", (TABLE,))
        return cursor.fetchall()

    def test_a_table_that_is_written_anew(self):
        """A reader whose snapshot is older than the end of a rewriting ALTER that it waited for would find no row (capture.md 9.7). The ALTER begins behind
        the barrier, while rows of another table are read."""
        self.start_capture({**WHOLE, "chunk_rows": 1, "chunk_share": 5})
        self.wait(lambda: self.sql("SELECT FROM boxhaul.capture_table WHERE state = 'reading' AND rows > 0"), "other rows to be read")
        owner = self.connect()
        with owner.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute(f"ALTER TABLE {TABLE} ALTER n TYPE bigint")
            self.assertEqual(self.table("state"), ("waiting",))
            self.wait(lambda: self.is_waited_for(cursor), "the reader to wait", pause=0.001, progress=self.progress)
            cursor.execute("COMMIT")
        self.wait_complete()
        self.judge()

    def test_the_plan(self):
        relay = self.add_capture(WHOLE)
        lines = [line for line in json.loads(self.say(relay, "capture", "plan", "--json", NAME)) if line["about"] == TABLE]
        (note,) = [line["what"] for line in lines if line["verdict"] == "note" and "read whole" in line["what"]]
        self.assertIn(f"about {ROWS + 2}", note)
        self.assertIn("whole_limit", note)

    def test_not_by_key(self):
        relay = self.add_capture({**WHOLE, "order": "key"})
        self.assertIn('set order = "commit"', self.say(relay, "capture", "plan", NAME, status=3))


if __name__ == "__main__":
    unittest.main()
