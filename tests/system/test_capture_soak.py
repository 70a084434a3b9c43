"""A large table is read while it is written to, commits wait for a standby, and the daemon is killed again and again on the way: what an independent
reader makes of the stream is the table, row by row.

    SOAK_ROWS=10000000 SOAK_KILLS=20 tests/system/test_capture_soak.py"""

import contextlib
import os
import random
import threading
import time
import unittest

import psycopg2

from captures import STREAM, CaptureTest
from harness import SERVICE
from outline import LargeSource, Outline

ROWS, KILLS = int(os.environ.get("SOAK_ROWS", "4000")), int(os.environ.get("SOAK_KILLS", "4"))
LARGE = ROWS > 100_000
DEADLINE = 120 + ROWS / 500  # seconds for what has to do with all rows
TABLE = "legacy.history"
SCHEMA = f"""
CREATE TABLE {TABLE} (id bigint PRIMARY KEY, n int NOT NULL, at timestamptz DEFAULT clock_timestamp(), note text, doc text, changed_by text)
    WITH (fillfactor = 90);
ALTER TABLE {TABLE} ALTER doc SET STORAGE EXTERNAL;
GRANT ALL ON {TABLE} TO {SERVICE}; GRANT SELECT ON {TABLE} TO boxhaul_capture;
"""
FILL = f"""INSERT INTO {TABLE} (id, n, note, doc) SELECT n, n, 'note ' || n, CASE WHEN n %% 20 = 0 THEN repeat(md5(n::text), 80) END
           FROM generate_series(%s, %s) n"""
# What a writer does with a row. %(fresh)s is a key that nobody has.
STEPS = (
    f"UPDATE {TABLE} SET n = n + 1, changed_by = %(by)s WHERE id = %(id)s",
    f"UPDATE {TABLE} SET doc = repeat(md5(%(by)s), 80), changed_by = %(by)s WHERE id = %(id)s",
    f"UPDATE {TABLE} SET id = %(fresh)s, changed_by = %(by)s WHERE id = %(id)s",
    f"UPDATE {TABLE} SET id = %(fresh)s, changed_by = %(by)s WHERE id = %(id)s; UPDATE {TABLE} SET id = %(id)s, n = 0 WHERE id = %(fresh)s",
    f"DELETE FROM {TABLE} WHERE id = %(id)s",
    f"DELETE FROM {TABLE} WHERE id = %(id)s; INSERT INTO {TABLE} VALUES (%(id)s, 0, now(), 'again', NULL, %(by)s)",
    f"INSERT INTO {TABLE} VALUES (%(fresh)s, 0, now(), 'new', repeat('x', 3000), %(by)s)",
    f"SAVEPOINT s; UPDATE {TABLE} SET n = -1, changed_by = 'undone' WHERE id = %(id)s; ROLLBACK TO s; "
    f"UPDATE {TABLE} SET n = n + 1, changed_by = %(by)s WHERE id = %(id)s",
)


class Writer(threading.Thread):
    """Changes some rows in each transaction, all over the table and behind its end; some are rolled back."""

    def __init__(self, conninfo, number, ending):
        super().__init__(daemon=True)
        self.conninfo, self.number, self.ending, self.dice = conninfo, number, ending, random.Random()
        self.committed, self.fresh = 0, ROWS * (number + 2)

    def run(self):
        with contextlib.closing(psycopg2.connect(self.conninfo)) as connection, connection.cursor() as cursor:
            while not self.ending.wait(0.02):
                kept = self.dice.random() > 0.1
                for row in sorted(self.dice.sample(range(1, ROWS), self.dice.choice((1, 1, 2, 5)))):
                    self.fresh += 1
                    by = f"w{self.number} {self.committed}" if kept else "undone"
                    with contextlib.suppress(psycopg2.errors.UniqueViolation):  # two who put back the same row
                        cursor.execute("SAVEPOINT step")
                        cursor.execute(self.dice.choice(STEPS), {"id": row, "fresh": self.fresh, "by": by})
                        continue
                    cursor.execute("ROLLBACK TO SAVEPOINT step")
                if kept:
                    connection.commit()
                else:
                    connection.rollback()
                self.committed += kept


class Soak(CaptureTest):
    tables, orders, format = [TABLE], 1, "text"

    @classmethod
    def _make_template(cls):
        super()._make_template()
        cls.pg.execute(SCHEMA, dbname="migrated")

    def fill(self):
        for first in range(1, ROWS + 1, 100_000):
            self.sql(FILL, (first, min(ROWS, first + 99_999)))
        self.sql(f"ANALYZE {TABLE}")

    def walk(self, columns="rows, reading, state"):
        return self.sql(f"SELECT {columns} FROM boxhaul.capture_table")[0]

    def test_a_large_table_is_read_under_load_and_the_daemon_is_killed(self):
        self.fill()
        ending = threading.Event()
        self.addCleanup(ending.set)
        self.open_limbo(0.003)
        relay = self.start_capture({} if LARGE else {"chunk_rows": 50, "chunk_share": 10}, wait=False)
        writers = [Writer(self.pg.conninfo(self.database, SERVICE), number, ending) for number in range(4)]
        for writer in writers:
            writer.start()
        begun, memory, dice, kills = time.monotonic(), 0, random.Random(), 0
        for kill in range(1, KILLS + 1):
            # Anywhere between two of these: in the middle of a chunk, of a mark, of what is in flight.
            self.wait_rows(kill * ROWS // (KILLS + 2))
            time.sleep(dice.uniform(0, 0.2))
            kills += self.walk("state") == ("reading",)
            memory = max(memory, resident(relay.pid))
            relay.kill9()
            relay.start()
        self.wait(lambda: self.walk("state") == ("complete",), "the rows to be read", DEADLINE, progress=self.progress)
        memory, seconds = max(memory, resident(relay.pid)), time.monotonic() - begun
        ending.set()
        for writer in writers:
            writer.join()
        self.limbo.close()
        self.wait_confirmed()
        self.assertEqual(relay.stop(), 0)
        self.assertEqual(self.walk("reading"), (1,), "the table was begun anew")
        self.assertGreaterEqual(kills, max(1, KILLS // 4), "hardly any kill met a reading")
        with self.jetstream() as jetstream:
            copy = Outline().read(jetstream.read(STREAM))
        there, here, different = copy.compare(LargeSource(self.pg, self.database, [TABLE], "text"))
        print(f"soak: rows={ROWS} kills={kills} transactions={sum(w.committed for w in writers)} read={copy.counts['r']} "
              f"changes={sum(copy.counts[op] for op in 'cud')} seconds={seconds:.0f} resident_mb={memory / 1024:.1f} "
              f"source_rows={there} copy_rows={here} different={different}", flush=True)
        self.assertEqual(dict(copy.faults), {}, copy.examples)
        self.assertEqual(self.sql("SELECT reason, tab, key FROM boxhaul.capture_letter"), [])
        self.assertGreater(there, ROWS // 2)

    def wait_rows(self, rows):
        self.wait(lambda: self.walk("rows >= %s OR state = 'complete'" % rows) == (True,), f"{rows} rows to be read", DEADLINE,
                  progress=lambda: self.walk("rows"))


def resident(pid):
    """KiB, at most so far. (Of a sanitized program it says nothing.)"""
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmHWM:"))


if __name__ == "__main__":
    unittest.main()
