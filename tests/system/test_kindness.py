"""The service never waits for us, and the database stays cool: whatever state the relay is in, no producer's
transaction fails or waits for a lock of ours, and nothing piles up in the outbox.

Two witnesses, who know nothing of each other: a session that asks pg_blocking_pids() all the time, and the server,
which logs every wait for a lock that lasts longer than a millisecond. Ours is whoever calls itself boxhaul."""

import contextlib
import os
import re
import threading
import time
import unittest
from typing import NamedTuple

from harness import RELAY, SERVICE
from process import DEADLINE
from shop import Habits
from strikes import QUICK, StruckTest

SOAK_SECONDS = float(os.environ.get("SOAK_SECONDS", "0"))  # it lasts as long as its turns anyway
SLOTS, SLOT_SECONDS = 8, 1
ROW_BYTES = 2048      # a message of the shop with its share of the index, generously
EMPTY_BYTES = 65536   # an empty slot: first pages of table, index and TOAST

# Of each slot: its file, which is another one after each TRUNCATE, its size with all that belongs to it, its rows.
SIZES = " UNION ALL ".join(
    f"SELECT pg_relation_filenode('boxhaul.outbox_{n}'), pg_total_relation_size('boxhaul.outbox_{n}'), "
    f"(SELECT count(*) FROM boxhaul.outbox_{n})" for n in range(SLOTS))

WAITS = """
    SELECT DISTINCT waiter.query, ours.application_name, ours.query
      FROM pg_stat_activity waiter, LATERAL unnest(pg_blocking_pids(waiter.pid)) AS blocker (pid)
      JOIN pg_stat_activity ours USING (pid)
     WHERE waiter.usename = %s AND waiter.wait_event_type = 'Lock' AND ours.application_name LIKE 'boxhaul%%'"""


class Sampler(threading.Thread):
    """Asks all the time whether a producer waits behind one of ours. pg_blocking_pids() names those that hold a lock,
    and those that merely stand before it in the queue for one."""

    def __init__(self, pg):
        super().__init__(daemon=True)
        self.connection = pg.connect()
        self.ending = threading.Event()
        self.seen, self.samples = set(), 0

    def run(self):
        with self.connection.cursor() as cursor:
            while not self.ending.wait(0.02):
                cursor.execute(WAITS, (SERVICE,))
                self.seen |= set(cursor.fetchall())
                self.samples += 1

    def close(self):
        self.ending.set()
        self.join()
        self.connection.close()


class ServerLog:
    """What the server's log tells, from now on, of producers who waited behind one of ours. Each line begins with
    process and user (log_line_prefix); the second line of a wait names those before the waiter."""

    LOGIN = re.compile(r"(\d+) \S* LOG:  connection authorized: .*application_name=(.*)")
    WAIT = re.compile(rf"(\d+) {SERVICE} LOG:  process \d+ (still waiting for .*)")
    QUEUE = re.compile(r"(\d+) \S* DETAIL:  Process(?:es)? holding the lock: (.*)\. Wait queue: (.*)\.")

    def __init__(self, pg):
        self.path, self.start = pg.log, os.path.getsize(pg.log)

    def seen(self):
        """[(what was waited for, by a process of which name)]"""
        names, waits, found = {}, {}, []
        with open(self.path, encoding="utf-8", errors="replace") as f:
            f.seek(self.start)
            for line in f:
                if login := self.LOGIN.match(line):
                    names[login[1]] = login[2].strip()
                elif wait := self.WAIT.match(line):
                    waits[wait[1]] = wait[2]
                elif (queue := self.QUEUE.match(line)) and queue[1] in waits:
                    what = waits.pop(queue[1])
                    found += [(what, names[pid]) for pid in before(*queue.groups())
                              if names.get(pid, "").startswith("boxhaul")]
        return found


def before(pid, holders, waiting):
    """Who must go before this one gets the lock: all that hold it, and those who asked for it earlier. The server
    reads the queue after it has decided to tell of a wait: whoever got the lock in between stands among the holders."""
    queue = waiting.split(", ")
    return holders.split(", ") + (queue[:queue.index(pid)] if pid in queue else [])


class KindnessTest(StruckTest):
    postgres_settings = {"log_lock_waits": "on", "deadlock_timeout": "1ms", "log_connections": "on",
                         "log_line_prefix": "%p %u ", "max_prepared_transactions": 16}

    def setUp(self):
        super().setUp()
        self.migrate(**QUICK)
        self.sampler, self.server_log = Sampler(self.pg), ServerLog(self.pg)
        self.addCleanup(self.sampler.close)
        self.sampler.start()

    def audit(self):
        """Also: no producer noticed anything of us."""
        result = super().audit()
        self.assertEqual((self.sampler.seen, self.server_log.seen()), (set(), []), "producers waited for us")
        self.assertEqual([shop.disconnects for shop in self.shops], [0] * len(self.shops))
        self.assertTrue(self.sampler.is_alive() and self.sampler.samples > 0)
        return result

    def our_backends(self, condition):
        return self.pg.backends(f"usename = '{RELAY}' AND datname = '{self.database}' AND {condition}")


class Witnesses(KindnessTest):
    """They see what they are there for."""

    def check(self):
        self.wait(lambda: self.sampler.seen and self.server_log.seen(), "both witnesses to see it")

    def ours(self):
        return contextlib.closing(self.pg.connect(self.database, application_name="boxhaul"))

    def test_a_lock_that_is_held(self):
        self.open_shop(clients=2)
        with self.ours() as ours:
            ours.cursor().execute("BEGIN; LOCK TABLE boxhaul.outbox IN SHARE MODE")
            self.check()

    def test_a_lock_that_is_waited_for(self):
        """Whoever waits for a strong lock holds up all that come later, though it has nothing yet."""
        writer = self.writer("open").write("k")
        with self.ours() as ours:
            waiting = threading.Thread(target=ours.cursor().execute,
                                       args=("BEGIN; LOCK TABLE boxhaul.outbox IN ACCESS EXCLUSIVE MODE",))
            waiting.start()
            self.wait(lambda: self.pg.backends("wait_event_type = 'Lock' AND application_name = 'boxhaul'"),
                      "the queue")
            self.open_shop(clients=2)
            try:
                self.check()
            finally:
                writer.rollback()
                waiting.join()


class Relays(KindnessTest):
    """The relay is not there, stands still, is exchanged."""

    def test_dead(self):
        """It has never been there; it is killed; it has stopped."""
        self.open_shop()
        self.let_trade(300)
        relay = self.start_relay(**QUICK)
        for end in (relay.kill9, relay.stop):
            self.let_trade(300)
            end()
            self.let_trade(300)
            relay.start()
        self.audit()

    def test_frozen_at_any_moment(self):
        relay = self.start_relay(**QUICK)
        self.open_shop()
        for _ in range(6):
            self.let_trade(100)
            relay.pause()
            self.let_trade(300)
            relay.resume()
        self.audit()

    def test_frozen_at_each_step(self):
        for point in self.failpoints():
            with self.subTest(point):
                self.open_shop(clients=4)
                relay = self.strike(point, "stall")
                self.close_shops()
                self.open_shop(clients=4)
                self.let_trade(100)
                relay.kill9()
                self.close_shops()
        self.add_relay(**QUICK).start()
        self.audit()

    def test_frozen_with_an_open_fetch(self):
        """The server cannot get rid of the rows it has read: its backend holds a snapshot, and locks on every slot."""
        self.failpoints()
        self.writer("large").write(count=40, note="x" * 400000).commit()
        relay = self.strike("fetch_sent", "stall", 1, outbox=QUICK["outbox"])
        self.wait(lambda: self.our_backends("wait_event = 'ClientWrite' AND query LIKE '%FROM boxhaul.outbox%'"),
                  "a backend with an open fetch")
        self.open_shop()
        self.let_trade(1000)
        self.migrate(**QUICK)
        self.assertTrue(self.our_backends("wait_event = 'ClientWrite' AND backend_xmin IS NOT NULL"))
        relay.resume()
        self.audit()

    def test_frozen_in_the_middle_of_a_mark(self):
        """Its transaction has moved the position and waits for a lock that somebody else holds."""
        relay = self.start_relay(**QUICK)
        self.open_shop()
        for lock in ("TABLE boxhaul.sent IN SHARE MODE", "TABLE boxhaul.position IN SHARE MODE"):
            self.let_trade(100)
            operator = self.connect()
            operator.cursor().execute(f"BEGIN; LOCK {lock}")
            self.wait(lambda: self.our_backends("wait_event_type = 'Lock' AND query LIKE '%boxhaul.mark(%'"),
                      "a mark that waits", pause=0.01)
            relay.pause()
            self.let_trade(500)
            relay.resume()
            self.let_trade(100)
            operator.close()
        self.audit()

    def test_another_takes_over(self):
        """Killed, told to stop, its session ended; and each time the other one, that has stood by, leads."""
        first, second = (self.start_relay(**QUICK) for _ in range(2))
        self.open_shop()
        for end in (first.kill9, first.stop, self.end_sessions):
            first.alive() or first.start().wait_until_ready()
            self.let_trade(200)
            end()
            self.let_trade(200)
            self.wait(lambda: any(self.status(relay).get("role") == "leader" for relay in (first, second)), "a leader")
        self.audit()

    def end_sessions(self):
        for pid in self.our_backends("true"):
            self.sql("SELECT pg_terminate_backend(%s)", (pid,))

    def test_upgraded(self):
        """`migrate` while everything is at work: with nothing to do, and with every file but the first to apply."""
        relay = self.start_relay(**QUICK)
        self.open_shop()
        for version in (99, 1, 2, 3, 4, 5):
            self.let_trade(100)
            self.sql("DELETE FROM boxhaul.schema_version WHERE version > %s", (version,))
            self.assertEqual("nothing to do" in self.migrate(**QUICK), version == 99)
            relay.stop()
            relay.start().wait_until_ready()
        self.let_trade(100)
        self.audit()


class CleaningUp(KindnessTest):
    """A slot is emptied as soon as it may be; whoever holds it holds up the emptying, and nobody else."""

    def setUp(self):
        super().setUp()
        self.relay = self.start_relay(**QUICK)
        self.open_shop(clients=4)
        self.wait_for_truncations(2)

    def wait_for_truncations(self, count):
        goal = self.emptied() + count
        self.wait(lambda: self.emptied() >= goal, f"{count} more slots to be emptied")

    def emptied(self):
        return self.metric(self.relay, "slot_truncations_total")

    def audit(self):
        self.wait_for_truncations(3)
        result = super().audit()
        self.wait(lambda: self.sql("SELECT count(*) FROM boxhaul.outbox") == [(0,)], "every slot to be emptied")
        return result

    def test_an_open_writer(self):
        """One row in one slot, older than the ring's turn; the other slots are emptied meanwhile."""
        writer = self.writer("open").write("k")
        self.wait_for_truncations(10)
        writer.commit()
        self.audit()

    def test_a_prepared_transaction(self):
        writer = self.writer("prepared").write("k")
        name = writer.prepare()
        self.wait_for_truncations(10)
        writer.finish(name)
        self.audit()

    def test_an_old_snapshot(self):
        """It does not hold the outbox, so it holds up nothing."""
        with self.snapshot() as cursor:
            self.wait_for_truncations(10)
            cursor.execute("SELECT count(*) FROM shop.orders")
        self.audit()

    def test_a_long_reader(self):
        """Whoever has read the outbox holds every slot until he ends."""
        with self.snapshot() as cursor:
            cursor.execute("SELECT count(*) FROM boxhaul.outbox")
            seen = cursor.fetchall()
            self.let_trade(100)  # what was emptied just before has been counted
            emptied = self.emptied()
            self.let_trade(1000, seconds=4)
            self.assertEqual(self.emptied(), emptied)
            cursor.execute("SELECT count(*) FROM boxhaul.outbox")
            self.assertEqual(cursor.fetchall(), seen, "what he sees stays as it is")
        self.audit()

    def test_a_cleaning_that_cannot_have_the_books(self):
        """It must not wait for them with a slot in its hand: whoever reads the outbox would wait as long."""
        operator, reader = self.connect(), self.connect(SERVICE)
        reader.cursor().execute("BEGIN; SELECT FROM boxhaul.outbox")  # so that there is something left to clean
        self.let_trade(20)
        self.close_shops()
        self.wait_settled()
        self.wait_asleep()  # nothing is left to mark
        operator.cursor().execute("BEGIN; SELECT FROM boxhaul.position FOR UPDATE")
        reader.cursor().execute("COMMIT")
        reader.cursor().execute("SET lock_timeout = '60s'")

        def read_until_tried():
            reader.cursor().execute("SELECT id, created_at FROM boxhaul.outbox")
            with open(self.relay.log, encoding="utf-8") as f:
                return 'msg="cleaning up failed"' in f.read()
        self.wait(read_until_tried, "a cleaning in vain", pause=0.01)
        operator.close()
        self.wait_for_truncations(1)

    def test_locks_of_others(self):
        """VACUUM's, and what keeps a mark and a cleaning from the books."""
        for lock in ("boxhaul.outbox IN SHARE UPDATE EXCLUSIVE MODE", "boxhaul.position IN SHARE ROW EXCLUSIVE MODE",
                     "boxhaul.sent IN SHARE MODE", "boxhaul.exceptions IN ACCESS EXCLUSIVE MODE"):
            with self.subTest(lock):
                operator = self.connect()
                operator.cursor().execute(f"BEGIN; LOCK TABLE {lock}")
                self.let_trade(500, seconds=3)
                operator.close()
                self.wait_for_truncations(2)
        self.audit()

    @contextlib.contextmanager
    def snapshot(self):
        with contextlib.closing(self.pg.connect(self.database)) as connection, connection.cursor() as cursor:
            cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT pg_current_xact_id()")
            yield cursor


class Sample(NamedTuple):
    """The outbox at a time: messages committed so far, rows and bytes it has, the file of each slot."""
    time: float
    committed: int
    rows: int
    bytes: int
    files: list


class Soak(KindnessTest):
    """The ring turns and turns. SOAK_SECONDS=3600 makes it a long one; then a quarter of it has the old snapshot."""

    postgres_settings = {**KindnessTest.postgres_settings, "autovacuum_naptime": "1s"}  # as the slots: in fast motion
    TURNS = 4

    BOOKS = ("position", "exceptions", "sent", "wake")

    def test_nothing_piles_up(self):
        """No row of the outbox is ever written again, what it keeps is bounded by what two turns of the ring bring in,
        and a snapshot that is as old as a turn changes nothing of that."""
        self.start_relay(**QUICK)
        # What is rolled back leaves dead rows behind, and they are the producer's.
        self.open_shop(clients=4, habits=Habits(pause=0.01, rollback=0, savepoint=0, slow=0))
        samples = self.soak(1)
        books = self.books()
        with contextlib.closing(self.pg.connect(self.database)) as connection, connection.cursor() as cursor:
            cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT pg_current_xact_id()")
            samples += self.soak(1)
        swollen = self.books()
        samples += self.soak(self.TURNS - 2)
        committed = self.audit().committed
        self.judge(samples)
        for name, size in self.books().items():
            self.assertLessEqual(size, max(swollen[name], 2 * books[name]) + 8 * 8192, f"boxhaul.{name} grows")
        print(f"soak: {committed} messages, {self.TURNS}+ turns; at most {max(s.rows for s in samples)} rows "
              f"and {max(s.bytes for s in samples)} bytes in it; books {books} then {swollen} then {self.books()}")

    def soak(self, turns):
        """Samples of the outbox while each of its slots is emptied so many times, and for our share of SOAK_SECONDS."""
        end, emptied, samples = time.monotonic() + SOAK_SECONDS * turns / self.TURNS, [0] * SLOTS, [self.sample()]

        def turned():
            samples.append(self.sample())
            for slot, (before, now) in enumerate(zip(samples[-2].files, samples[-1].files)):
                emptied[slot] += before != now
            return min(emptied) >= turns and time.monotonic() >= end
        self.wait(turned, f"{turns} turns of the ring", deadline=SOAK_SECONDS + DEADLINE, pause=0.2)
        return samples

    def sample(self):
        rows = self.sql(SIZES)
        figures = self.sql("SELECT sum(n_dead_tup), sum(n_tup_upd), sum(n_tup_del) FROM pg_stat_user_tables "
                           "WHERE relid IN (SELECT relid FROM pg_partition_tree('boxhaul.outbox'))")
        self.assertEqual(figures, [(0, 0, 0)], "dead, updated, deleted rows of the outbox")
        return Sample(time.monotonic(), self.committed(), sum(row[2] for row in rows), sum(row[1] for row in rows),
                      [row[0] for row in rows])

    def judge(self, samples):
        """What is in the ring came in within its last two turns."""
        first = most = 0
        for sample in samples:
            while sample.time - samples[first].time > 2 * SLOTS * SLOT_SECONDS:
                first += 1
            most = max(most, sample.committed - samples[first].committed)
        self.assertLessEqual(max(s.rows for s in samples), most)
        self.assertLessEqual(max(s.bytes for s in samples), most * ROW_BYTES + SLOTS * EMPTY_BYTES)

    def books(self):
        return {name: self.sql(f"SELECT pg_total_relation_size('boxhaul.{name}')")[0][0] for name in self.BOOKS}


if __name__ == "__main__":
    unittest.main()
