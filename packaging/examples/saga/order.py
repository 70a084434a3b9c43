"""The orders: each begins a saga, in the transaction that writes it down. Stock and payment are services of their own.

    apt install python3-psycopg2
    psql -d orders -c 'GRANT boxhaul_writer TO order_service'
    psql -d orders -U order_service -f order.sql
    DATABASE_URL='host=/run/postgresql dbname=orders' python3 order.py

A customer comes every now and then, for ever. If this is killed in the middle of an order, there is neither the order nor its saga.
"""

import json
import os
import random
import sys
import time

import psycopg2

CUSTOMERS, ITEMS, PRICE = 10, 5, 7
PAUSE = 0.03  # seconds


def order(db, customer, item, quantity):
    """One transaction: the order and its saga, or neither. What the steps need goes along as the saga's data."""
    with db, db.cursor() as cursor:
        data = {"customer": customer, "item": item, "quantity": quantity, "amount": quantity * PRICE}
        cursor.execute("INSERT INTO sale (customer, item, quantity, amount)"
                       " VALUES (%(customer)s, %(item)s, %(quantity)s, %(amount)s) RETURNING id", data)
        [data["order"]] = cursor.fetchone()
        cursor.execute("SELECT boxhaul.saga_start('order', %s, %s)", (str(data["order"]), json.dumps(data)))


def sell(db):
    while True:
        order(db, f"customer-{random.randrange(CUSTOMERS)}", f"item-{random.randrange(ITEMS)}", random.randint(1, 3))
        time.sleep(PAUSE)


def main():
    while True:
        try:
            sell(psycopg2.connect(os.environ.get("DATABASE_URL", "")))
        except psycopg2.Error as e:
            print(e, file=sys.stderr)
            time.sleep(1)


if __name__ == "__main__":
    main()
