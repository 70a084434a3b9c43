"""psycopg2: an order and its messages, in one transaction.

    DATABASE_URL=postgresql://shop@localhost/shop python3 order_psycopg2.py
"""

import json
import os

import psycopg2
from psycopg2.extras import Json

SEND = "INSERT INTO boxhaul.outgoing (subject, key, payload, headers) VALUES (%s, %s, %s, %s) RETURNING id"


def send(cursor, subject, key, body, headers=None):
    cursor.execute(SEND, (subject, key, json.dumps(body).encode(), Json(headers) if headers else None))
    return cursor.fetchone()[0]


db = psycopg2.connect(os.environ["DATABASE_URL"])
with db, db.cursor() as cursor:  # commits at the end, rolls back when something is raised
    cursor.execute("INSERT INTO orders (customer) VALUES (%s) RETURNING id", ("Ada",))
    order = cursor.fetchone()[0]
    sent = [send(cursor, "orders.created", str(order), {"order": order}, {"Trace": "a-1"}),
            send(cursor, "orders.paid", str(order), {"order": order})]
print(order, *sent)
