"""What a service needs to take part in sagas: it takes commands, does or undoes what they say, and answers, in one transaction each time.

    apt install python3-psycopg2
    psql -d stock -c 'GRANT boxhaul_handler TO stock_service'
    psql -d stock -U stock_service -f stock.sql
    DATABASE_URL='host=/run/postgresql dbname=stock' python3 stock.py

Start as many as you like. One that is killed leaves nothing behind: its transaction is rolled back, and the commands come again.
"""

import json
import os
import select
import sys
import time

import psycopg2

ROWS = 10


class Refused(Exception):
    """A step that says no: it has done nothing, and never will. The saga is undone."""


def carry_out(cursor, steps, subject, payload):
    """Returns the outcome, and the reply. An error takes back what the
    step has done, and nothing else: the saga asks again later."""
    cursor.execute("SAVEPOINT step")
    try:
        reply = steps[subject](cursor, json.loads(bytes(payload)))
        return "done", json.dumps(reply)
    except psycopg2.OperationalError:
        raise  # an outage, a deadlock: it says nothing about the step
    except Refused as e:
        outcome, reason = "refused", str(e)
    except Exception as e:
        outcome, reason = "error", repr(e)
    cursor.execute("ROLLBACK TO SAVEPOINT step")
    return outcome, json.dumps({"reason": reason})


def turn(db, subscription, steps):
    """One transaction. Returns how many commands were answered."""
    with db, db.cursor() as cursor:  # commits, or rolls back
        cursor.execute("""
            SELECT lane, id, subject, payload,
                   headers ->> 'Boxhaul-Saga', headers ->> 'Boxhaul-Step'
              FROM boxhaul.receive(%s, %s)""", (subscription, ROWS))
        commands = cursor.fetchall()
        for lane, id_, subject, payload, saga, step in commands:
            row = (subscription, lane, id_)
            cursor.execute("SELECT boxhaul.saga_accept(%s, %s, %s)", row)
            [what] = cursor.fetchone()
            if what != "skip":  # do or undo, as the subject says
                said = carry_out(cursor, steps, subject, payload)
                cursor.execute("""
                    SELECT boxhaul.saga_answer(%s, %s, %s, %s)""",
                               (saga, step, *said))
            cursor.execute("SELECT boxhaul.done(%s, %s, %s)", row)
    return len(commands)


def wait(db):
    """Until somebody says that there is something, or for a second."""
    select.select([db], [], [], 1)
    db.poll()
    db.notifies.clear()


def work(db, subscription, steps):
    with db, db.cursor() as cursor:
        cursor.execute("LISTEN boxhaul_inbox")
    while True:
        if turn(db, subscription, steps) == 0:
            wait(db)


def serve(subscription, steps):
    """For ever. steps: what each subject means, as a function of the cursor and the command's data, which returns what to reply."""
    while True:
        try:
            work(psycopg2.connect(os.environ.get("DATABASE_URL", "")), subscription, steps)
        except psycopg2.Error as e:  # an outage; or no command at all, which is parked when it has come some times
            print(e, file=sys.stderr)
            time.sleep(1)
