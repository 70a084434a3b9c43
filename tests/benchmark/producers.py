"""Producers: pgbench, with a script of ours.

    with Producers(arena, database, insert(rows=10), clients=4, rate=500):    # for as long as the block takes
        ...
    inserts_per_second(arena, database, "boxhaul.outbox", clients=64, seconds=10)
"""

import contextlib
import itertools
import os
import time

from arena import SERVICE
from process import Process, wait_until

ENDLESS = 3600  # seconds: until it is told to end
BEGINNING = 0.5  # seconds
_numbers = itertools.count(1)


def insert(table="boxhaul.outbox", rows=1, size=256, keys=1000):
    """A transaction of one message, inserted as services do, or of several in one statement."""
    message = f"'bench.' || i % 4, 'key-' || i, '{'boxhaul ' * (size // 8)}'::bytea"
    if rows == 1:
        source = f"VALUES ({message.replace('i %', ':key::int %').replace('|| i,', '|| :key::text,')})"
    else:
        source = f"SELECT {message} FROM generate_series(:key::int, :key::int + {rows - 1}) i"
    return f"\\set key random(1, {keys})\nINSERT INTO {table} (subject, key, payload) {source};\n"


class Producers:
    """So many clients, each in a loop of transactions. rate: transactions per second of all together, at most."""

    def __init__(self, arena, database, script, clients, rate=None, user=SERVICE):
        stem = arena.workspace.path(f"producers-{next(_numbers)}")
        with open(stem + ".sql", "w", encoding="utf-8") as f:
            f.write(script)
        self.process = arena.workspace.add(_Pgbench("pgbench", stem + ".log"))
        self.argv = [arena.pg.program("pgbench"), "-n", "-M", "prepared", "-T", str(ENDLESS), "-f", stem + ".sql",
                     "-c", str(clients), "-j", str(min(clients, os.cpu_count()))]
        self.argv += ["-R", str(rate)] if rate else []
        self.argv.append(database.conninfo(user))

    def __enter__(self):
        self.process.spawn(self.argv)
        return self

    def __exit__(self, *exception):
        if not self.process.alive():
            raise self.process.died()
        self.process.kill9()


class _Pgbench(Process):
    def close(self):
        self.kill9()


def inserts_per_second(arena, database, table, clients, seconds, script=None, meter=None):
    """Of that many clients, one message a transaction, counted by the ids that were drawn. The first half second is left
    out: the clients connect in it, and a relay that has slept wakes up. meter: runs for as long as is counted."""
    with contextlib.closing(database.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_get_serial_sequence(%s, 'id')", (table,))
        sequence = cursor.fetchone()[0]

        def drawn():
            cursor.execute(f"SELECT last_value, extract(epoch FROM clock_timestamp()) FROM {sequence}")
            return cursor.fetchone()
        start = drawn()[0]
        with Producers(arena, database, script or insert(table), clients):
            wait_until(lambda: drawn()[0] > start + clients, "the producers to have begun", pause=0.02)
            time.sleep(BEGINNING)
            with meter or contextlib.nullcontext():
                before, then = drawn()
                time.sleep(seconds)
                after, now = drawn()
    return (after - before) / float(now - then)
