"""A synchronous standby that answers when it likes. A commit that waits for it has been written to the log, and a walsender has sent it, but
no snapshot sees it yet: it is in limbo.

    standby = Limbo(pg).start()        # every commit of pg waits for it from now on
    standby.delay = 0.03               # it answers so much later
    standby.silent = True              # or not at all
"""

import collections
import contextlib
import select
import threading
import time

import psycopg2
from psycopg2.extras import PhysicalReplicationConnection

NAME = "limbo"


class Limbo:
    """It receives the log as a standby does, and keeps nothing of it."""

    def __init__(self, pg, delay=0.0):
        self.pg, self.delay, self.silent = pg, delay, False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="limbo", daemon=True)
        self._connection = None

    def start(self):
        # postgres is no word for dbname here: a physical walsender belongs to no database.
        self._connection = psycopg2.connect(self.pg.conninfo() + f" application_name={NAME}", connection_factory=PhysicalReplicationConnection)
        self._thread.start()
        self._wait_for(NAME)
        return self

    def close(self):
        """Commits wait for nobody any more."""
        if self._stopping.is_set():
            return
        with contextlib.suppress(psycopg2.Error):
            self._wait_for("")
        self._stopping.set()
        if self._thread.ident:
            self._thread.join()
        if self._connection:
            self._connection.close()

    stop = close

    def leave(self):
        """It is gone; whoever waits for it goes on doing so."""
        self._stopping.set()
        self._thread.join()
        self._connection.close()

    def waiting(self):
        """How many sessions wait for it now."""
        return self.pg.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")[0][0]

    def _wait_for(self, names):
        self.pg.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'")
        self.pg.execute("SELECT pg_reload_conf()")

    def _run(self):
        with contextlib.suppress(psycopg2.Error):  # the server has gone: then nobody waits for us
            self._receive()

    def _receive(self):
        cursor = self._connection.cursor()
        (lsn,), = self.pg.execute("SELECT pg_current_wal_flush_lsn()")
        cursor.start_replication(start_lsn=lsn)
        received = collections.deque()  # (when it came, where it ends)
        while not self._stopping.is_set():
            while message := cursor.read_message():
                received.append((time.monotonic(), message.data_start + len(message.payload)))
            self._answer(cursor, received)
            select.select([self._connection], [], [], 0.001 if received else 0.02)

    def _answer(self, cursor, received):
        end = None
        while received and not self.silent and time.monotonic() - received[0][0] >= self.delay:
            end = received.popleft()[1]
        if end:
            cursor.send_feedback(write_lsn=end, flush_lsn=end, apply_lsn=end, force=True)
