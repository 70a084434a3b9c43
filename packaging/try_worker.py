"""try_worker.py CONNINFO SUBSCRIPTION CRASH: a worker of packaging/try --inbox, as plain as a worker can be, but for one thing: with the
probability CRASH it dies at each of its steps, as kill -9 would let it."""

import os
import random
import select
import signal
import sys

import psycopg2
from psycopg2.extras import Json

conninfo, subscription, crash = sys.argv[1], sys.argv[2], float(sys.argv[3])


def perhaps_die():
    if random.random() < crash:
        os.kill(os.getpid(), signal.SIGKILL)


def handle(cursor, row):
    """The effect: here a row that says what was handled."""
    cursor.execute("INSERT INTO handled (subject, key, payload, headers) VALUES (%s, %s, %s, %s)",
                   (row["subject"], row["key"], row["payload"], Json(row["headers"])))


def turn(connection):
    """One transaction: what is received, its effects, and done. True: there was something."""
    with connection, connection.cursor() as cursor:  # commits at the end; rolls back on an error
        cursor.execute("SELECT lane, id, subject, key, payload, headers FROM boxhaul.receive(%s, 10)", (subscription,))
        rows = [dict(zip((column.name for column in cursor.description), row)) for row in cursor.fetchall()]
        for row in rows:
            perhaps_die()
            handle(cursor, row)
        perhaps_die()
        if rows:
            cursor.execute("SELECT boxhaul.done(%s)", (subscription,))
        perhaps_die()
    perhaps_die()
    return bool(rows)


def wait(connection):
    """Until somebody says that there is something, or for a second."""
    select.select([connection], [], [], 1)
    connection.poll()
    connection.notifies.clear()


def main():
    connection = psycopg2.connect(conninfo)
    with connection, connection.cursor() as cursor:
        cursor.execute("LISTEN boxhaul_inbox")
    while True:
        if not turn(connection):
            wait(connection)


if __name__ == "__main__":
    main()
