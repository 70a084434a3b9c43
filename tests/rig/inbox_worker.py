"""A worker of the receiving service: writes one effect for each row, in the transaction that receives it. It dies at random, at any step;
fails at random, too. Run by tests/rig/inbox.py: CONNINFO SUBSCRIPTION SEED."""

import os
import random
import select
import signal
import sys

import psycopg2

DEATH, FAILURE, ROLLBACK = 0.002, 0.01, 0.01


class Worker:
    def __init__(self, conninfo, subscription, seed):
        self.conninfo, self.subscription, self.dice = conninfo, subscription, random.Random(seed)

    def run(self):
        while True:
            try:
                self._serve(psycopg2.connect(self.conninfo, connect_timeout=10))
            except psycopg2.OperationalError:
                select.select([], [], [], 0.1)

    def _serve(self, connection):
        connection.autocommit = True  # BEGIN and COMMIT are ours
        with connection.cursor() as cursor:
            cursor.execute("LISTEN boxhaul_inbox")
            while True:
                if not self._batch(cursor):
                    select.select([connection], [], [], 1)
                    connection.poll()
                    connection.notifies.clear()

    def _batch(self, cursor):
        """One transaction; False where there was nothing."""
        cursor.execute("BEGIN")
        cursor.execute("SELECT lane, id, subject, headers, payload FROM boxhaul.receive(%s, %s)",
                       (self.subscription, self.dice.choice((1, 5, 10, 50))))
        rows = cursor.fetchall()
        if not rows:
            cursor.execute("ROLLBACK")
            return False
        self._may_die()
        for row in rows:
            if self.dice.random() < FAILURE:
                cursor.execute("ROLLBACK")
                cursor.execute("SELECT boxhaul.failed(%s, %s, %s, 'not today')", (self.subscription, row[0], row[1]))
                return True
            self._handle(cursor, row)
        self._may_die()
        cursor.execute("ROLLBACK" if self.dice.random() < ROLLBACK else "COMMIT")
        self._may_die()
        return True

    def _handle(self, cursor, row):
        lane, number, subject, headers, payload = row
        cursor.execute("INSERT INTO effect (subscription, subject, headers, payload) VALUES (%s, %s, %s, %s)",
                       (self.subscription, subject, psycopg2.extras.Json(headers), payload))
        self._may_die()
        cursor.execute("SELECT boxhaul.done(%s, %s, %s)", (self.subscription, lane, number))

    def _may_die(self):
        if self.dice.random() < DEATH:
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    import psycopg2.extras
    Worker(sys.argv[1], sys.argv[2], sys.argv[3]).run()
