"""Those who look on: who leads since when, whether a producer waits behind a relay, whether a relay has crashed; and how
quick the machine is."""

import contextlib
import threading
import time

import psycopg2

from producers import PATIENCE
from world import DATABASE, RELAY, SERVICE

PAUSE = 0.05
BLOCKED = f"""
SELECT w.pid, w.query, b.pid, b.query, l.mode, l.relation::regclass::text
  FROM pg_stat_activity w
  CROSS JOIN LATERAL unnest(pg_blocking_pids(w.pid)) p
  JOIN pg_stat_activity b ON b.pid = p AND b.usename = '{RELAY}'
  LEFT JOIN pg_locks l ON l.pid = w.pid AND NOT l.granted
 WHERE w.usename = '{SERVICE}' AND w.wait_event_type = 'Lock'"""
LEAD = "SELECT epoch, leader, extract(epoch FROM led_since)::float FROM boxhaul.position"


class Watch:
    """watch.epochs: {epoch: (when, leader)}. watch.blocked: samples, each a text. watch.crashes: relays that ended
    though nobody told them to; they are started again, as an init would."""

    def __init__(self, world):
        self.world, self.epochs, self.blocked, self.crashes = world, {}, [], []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._look, args=(server,), daemon=True)
                         for server in (world.pair.a, world.pair.b)]
        self._threads.append(threading.Thread(target=self._guard, daemon=True))

    def start(self):
        for thread in self._threads:
            thread.start()
        return self

    def stop(self):
        self._stop.set()
        for thread in self._threads:
            thread.join(10)

    def _look(self, server):
        """One thread a server: a query that hangs in a frozen one must not blind us to the other."""
        while not self._stop.is_set():
            with contextlib.suppress(psycopg2.Error):
                with contextlib.closing(server.connect(DATABASE, connect_timeout=2)) as connection:
                    self._sample(connection, server)
            self._stop.wait(0.2)

    def _sample(self, connection, server):
        while not self._stop.wait(PAUSE) and server is self.world.pair.primary:
            with connection.cursor() as cursor:
                cursor.execute(LEAD)
                for epoch, leader, since in cursor.fetchall():
                    if leader:
                        self.epochs.setdefault(epoch, (since, leader))
                cursor.execute(BLOCKED)
                for row in cursor.fetchall():
                    self.blocked.append(f"{time.time():.3f} producer {row[0]} [{row[1]}] waits for {row[4]} on "
                                        f"{row[5]} behind relay {row[2]} [{row[3]}]")

    def _guard(self):
        while not self._stop.wait(0.1):
            for relay in self.world.relays:
                if relay.alive() or self.world.is_claimed(relay.name):
                    continue
                with contextlib.suppress(Exception):  # claimed at this very moment: then it is no crash
                    with self.world.claim(relay.name):
                        if not relay.alive():
                            self.crashes.append(f"{relay.name} ended with status {relay.returncode}:\n"
                                                + relay.log_tail(30))
                            relay.start()


class Control(threading.Thread):
    """A producer that has nothing to do with the relay: a transaction as long as theirs, on a table of its own, again and
    again, through the same links into the same server. When it is slow, the machine is: a disk or a CPU that is not to be
    had, for this process, too. control.spells: (begin, end) of each."""

    STATEMENTS = 10
    SLOW = 0.1  # seconds; where nothing is wrong hardly one in a hundred takes so long

    def __init__(self, conninfo):
        super().__init__(daemon=True)
        self.conninfo, self.connection, self.spells = conninfo, None, []
        self.stopping = threading.Event()

    def stop(self):
        self.stopping.set()
        self.join()

    def run(self):
        begin = time.time()
        while not self.stopping.wait(PAUSE):
            try:
                self._transaction()
            except psycopg2.Error:
                self.connection = None
            end = time.time()
            if end - begin - PAUSE > self.SLOW:
                self.spells.append((begin, end))
            begin = end
        if self.connection:
            self.connection.close()

    def _transaction(self):
        if self.connection is None:
            self.connection = psycopg2.connect(self.conninfo, connect_timeout=PATIENCE, application_name="control")
        with self.connection, self.connection.cursor() as cursor:
            for _ in range(self.STATEMENTS):
                cursor.execute("UPDATE chaos.control SET n = n + 1")
