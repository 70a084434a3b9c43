"""try_dual_writer.py WAY CONNINFO NATS: a service of packaging/try --dual-write. It sells, and tells others of each sale in one of two ways:

    dual     by a second write: it publishes to NATS itself, before or behind the COMMIT, as the dice fall
    outbox   by a row of boxhaul.outbox in the transaction of the sale

Somebody kills it at any moment. One sale in ten is taken back, for the card was refused."""

import os
import random
import sys
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "lib"))

import psycopg2  # noqa: E402

from jetstream import JetStream  # noqa: E402
from nats_client import Client  # noqa: E402

REFUSED = 0.1


def sell(cursor, way):
    sale = str(uuid.uuid4())
    cursor.execute("INSERT INTO sales (id, way) VALUES (%s, %s)", (sale, way))
    return sale


def end(connection):
    """True: it is committed."""
    if random.random() < REFUSED:
        connection.rollback()
        return False
    connection.commit()
    return True


def sell_with_outbox(connection):
    with connection.cursor() as cursor:
        sale = sell(cursor, "outbox")
        cursor.execute("INSERT INTO boxhaul.outbox (subject, key, payload) VALUES ('outbox.sold', %s, %s)", (sale, sale.encode()))
    end(connection)


def sell_and_tell(connection, jetstream):
    """Whichever comes first: what lies between the two can be the end of this process, and nobody is left who knows of it."""
    with connection.cursor() as cursor:
        sale = sell(cursor, "dual")
    if random.random() < 0.5:
        if end(connection):
            jetstream.publish("dual.sold", sale.encode())
    else:
        jetstream.publish("dual.sold", sale.encode())
        end(connection)


def main():
    way, conninfo, nats = sys.argv[1:]
    connection = psycopg2.connect(conninfo)
    with Client(nats) as client:
        print("connected", flush=True)
        while way == "outbox":
            sell_with_outbox(connection)
        while True:
            sell_and_tell(connection, JetStream(client))


if __name__ == "__main__":
    main()
