"""A worker in Python: each message of a subscription takes effect once, in order per key.

    pip install 'psycopg[binary]'
    psql -c 'GRANT boxhaul_handler TO billing_worker'
    DATABASE_URL='host=/run/postgresql dbname=billing' python3 worker.py

Start as many as you like. One that is killed leaves nothing behind: its transaction is rolled back, and the rows come again.
"""

import os
import sys
import time

import psycopg
from psycopg.rows import dict_row

SUBSCRIPTION, ROWS = "billing", 10


def apply(db, message):
    """What the message does, in the transaction that says that it is done. What it raises is the message's failure."""
    db.execute("INSERT INTO totals AS t VALUES (%s, 1) ON CONFLICT (subject) DO UPDATE SET messages = t.messages + 1",
               (message["subject"],))


def turn(db):
    """One transaction. Returns how many messages took effect."""
    message = None
    try:
        with db.transaction():
            messages = db.execute("SELECT lane, id, subject, key, payload, headers FROM boxhaul.receive(%s, %s)",
                                  (SUBSCRIPTION, ROWS)).fetchall()
            for message in messages:
                apply(db, message)
            if messages:
                db.execute("SELECT boxhaul.done(%s)", (SUBSCRIPTION,))
        return len(messages)
    except psycopg.OperationalError:
        raise  # a connection, a deadlock, a full disk: it says nothing about the message, and is no attempt
    except Exception as e:
        if message is None:
            raise
        # It comes again after a pause, and what follows in its key waits behind it. Other keys go on.
        db.execute("SELECT boxhaul.failed(%s, %s, %s, %s)", (SUBSCRIPTION, message["lane"], message["id"], str(e)))
        return 1


def work(db):
    db.execute("LISTEN boxhaul_inbox")
    while True:
        if turn(db) == 0:
            for _ in db.notifies(timeout=1, stop_after=1):
                pass


def main():
    while True:
        try:
            with psycopg.connect(os.environ.get("DATABASE_URL", ""), autocommit=True, row_factory=dict_row) as db:
                work(db)
        except psycopg.OperationalError as e:
            print(e, file=sys.stderr)
            time.sleep(1)


if __name__ == "__main__":
    main()
