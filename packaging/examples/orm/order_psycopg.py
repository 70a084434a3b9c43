"""psycopg 3: an order and its messages, in one transaction.

    DATABASE_URL=postgresql://shop@localhost/shop python3 order_psycopg.py
"""

import json
import os

import psycopg
from psycopg.types.json import Jsonb

SEND = "INSERT INTO boxhaul.outgoing (subject, key, payload, headers) VALUES (%s, %s, %s, %s) RETURNING id"


def send(db, subject, key, body, headers=None):
    return db.execute(SEND, (subject, key, json.dumps(body).encode(), Jsonb(headers) if headers else None)).fetchone()[0]


with psycopg.connect(os.environ["DATABASE_URL"]) as db:  # commits at the end, rolls back when something is raised
    order = db.execute("INSERT INTO orders (customer) VALUES (%s) RETURNING id", ("Ada",)).fetchone()[0]
    sent = [send(db, "orders.created", str(order), {"order": order}, {"Trace": "a-1"}),
            send(db, "orders.paid", str(order), {"order": order})]
print(order, *sent)
