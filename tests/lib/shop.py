"""A small shop that keeps an outbox, and writes down what became of every message it tried to send.

Several clients at once. Each transaction takes one to three orders, raises their version (the row lock makes
the order of effects per key a fact, not a matter of clocks), and inserts a message per version, in every way
the outbox offers. Some transactions roll back, some roll back to a savepoint on the way, some dawdle between
drawing ids and committing while the others go on."""

import json
import random
import threading
import time
import zlib
from dataclasses import dataclass

import psycopg2

SCHEMA = """
CREATE SCHEMA {schema};
CREATE TABLE {schema}.orders (id text PRIMARY KEY, version bigint NOT NULL DEFAULT 0,
                              changed_at timestamptz) WITH (fillfactor = 50);
INSERT INTO {schema}.orders (id) SELECT 'order-' || n FROM generate_series(1, {orders}) n;
"""
GRANTS = """
GRANT USAGE ON SCHEMA {schema} TO {user};
GRANT SELECT, UPDATE ON {schema}.orders TO {user};
"""
EVENTS = ("created", "paid", "packed", "eu.shipped", "eu.returned")
FORMS = {
    "insert": "INSERT INTO boxhaul.outbox (subject, key, payload, headers) "
              "VALUES (%(subject)s, %(key)s, convert_to(%(payload)s, 'UTF8'), %(headers)s::jsonb)",
    "bytea": "SELECT boxhaul.publish(%(subject)s, convert_to(%(payload)s, 'UTF8'), %(key)s, %(headers)s::jsonb)",
    "text": "SELECT boxhaul.publish(%(subject)s, %(payload)s::text, key => %(key)s, headers => %(headers)s::jsonb)",
    "jsonb": "SELECT boxhaul.publish(%(subject)s, %(payload)s::jsonb, key => %(key)s, headers => %(headers)s::jsonb)",
}


def create_schema(connection, schema="shop", user=None, orders=200):
    """The shop's own table; user is who the clients log in as, unless the owner itself."""
    with connection.cursor() as cursor:
        cursor.execute(SCHEMA.format(schema=schema, orders=orders))
        if user:
            cursor.execute(GRANTS.format(schema=schema, user=user))


# -- messages: each tells all that must be true of it, so that a reader needs nothing else to judge it

def _checksum(body):
    return zlib.crc32(json.dumps(body, sort_keys=True).encode())


def seal(body):
    return {**body, "check": _checksum(body)}


def unseal(payload):
    """The body of a message of a shop, or None when it is not one, or not whole."""
    try:
        body = json.loads(payload)
        check = body.pop("check")
    except (ValueError, AttributeError, KeyError, TypeError):
        return None
    return body if check == _checksum(body) else None


def recognise(stored):
    """(message, key, seq) of a message read from the stream, or None for one that no shop has written so:
    damaged, or under another subject, or without its headers."""
    body = unseal(stored.payload)
    if not body or body["subject"] != stored.subject:
        return None
    if any(stored.headers.get(name) != [value] for name, value in (body["headers"] or {}).items()):
        return None
    return body["message"], body["key"], body["seq"]


class Ledger:
    """What became of every message: committed (COMMIT returned), aborted, or unknown (the connection was
    lost around COMMIT). Maps messages to their transactions: those are stored whole or not at all."""

    def __init__(self):
        self.committed, self.aborted, self.unknown = {}, {}, {}
        self._lock = threading.Lock()

    def record(self, outcome, transaction, messages):
        with self._lock:
            getattr(self, outcome).update(dict.fromkeys(messages, transaction))


@dataclass
class Habits:
    """How the clients behave: shares of transactions, and times in seconds."""
    rollback: float = 0.10
    savepoint: float = 0.10     # share of steps that are rolled back to a savepoint
    slow: float = 0.02          # share that dawdles before COMMIT, for up to slow_seconds
    slow_seconds: float = 0.6
    unordered: float = 0.15     # share of messages with key NULL
    headers: float = 0.30
    note_bytes: int = 200       # padding, at most
    pause: float = 0.0          # between two transactions of a client


class Shop:
    """The running shop.

        with Shop(conninfo, clients=8) as shop:
            time.sleep(20)
        reconcile(shop.ledger, ...)
    """

    def __init__(self, conninfo, schema="shop", subjects="orders", clients=8, orders=200, name="",
                 habits=None, seed=None):
        self.conninfo, self.schema, self.subjects, self.orders = conninfo, schema, subjects, orders
        self.habits = habits or Habits()
        self.ledger = Ledger()
        self.errors = []       # what a client should never see: an SQL error on a healthy connection
        self.disconnects = 0
        self.stopping = threading.Event()
        self._clients = [_Client(self, f"{name}{n}", random.Random(seed if seed is None else f"{seed}/{n}"))
                         for n in range(clients)]

    def start(self):
        for client in self._clients:
            client.start()
        return self

    def stop(self, deadline=120):
        """Let every client end its transaction; whatever is running when this returns True has ended."""
        self.stopping.set()
        for client in self._clients:
            if client.ident:
                client.join(deadline)
                if client.is_alive():
                    raise TimeoutError(f"a client of the shop is stuck in a transaction for {deadline} s")

    close = stop

    def __enter__(self):
        return self.start()

    def __exit__(self, *exception):
        self.stop()


class _Client(threading.Thread):
    """One client: a thread with a connection, which it makes anew when it is lost."""

    def __init__(self, shop, name, dice):
        super().__init__(name=f"shop-client-{name}", daemon=True)
        self.shop, self.label, self.dice, self.habits = shop, name, dice, shop.habits
        self.connection = None
        self.transactions = self.messages = 0

    def run(self):
        while not self.shop.stopping.is_set():
            if self._connect():
                self._transaction()
                self.shop.stopping.wait(self.habits.pause)
        if self.connection:
            self.connection.close()

    def _connect(self):
        if self.connection and not self.connection.closed:
            return True
        try:
            self.connection = psycopg2.connect(self.shop.conninfo, connect_timeout=10)
            self.connection.autocommit = True  # BEGIN and COMMIT are ours: their outcome matters
            return True
        except psycopg2.OperationalError:
            self.shop.stopping.wait(0.1)
            return False

    def _transaction(self):
        self.transactions += 1
        name, drafted, undone = f"{self.label}-{self.transactions}", [], []
        try:
            with self.connection.cursor() as cursor:
                self._work(cursor, name, drafted, undone)
                wanted = "rollback" if self._chance(self.habits.rollback) else "commit"
        except psycopg2.Error as e:
            self._trouble(e)
            wanted = "rollback"
        self.shop.ledger.record("aborted", name, undone)
        self.shop.ledger.record(self._end(wanted), name, drafted)

    def _end(self, wanted):
        """Returns the outcome. Without a COMMIT sent it can only be an abort."""
        if self.connection.closed:
            return "aborted"
        try:
            with self.connection.cursor() as cursor:
                cursor.execute(wanted)
                # COMMIT of a failed transaction rolls back, and says so here alone
                return "committed" if cursor.statusmessage == "COMMIT" else "aborted"
        except psycopg2.Error as e:
            self._trouble(e)
            return "unknown" if wanted == "commit" and self.connection.closed else "aborted"

    def _trouble(self, error):
        """An error without an SQLSTATE is libpq's own: the connection is lost, though psycopg2 may not know yet."""
        if not error.pgcode:
            self.connection.close()
        if self.connection.closed:
            self.shop.disconnects += 1
        else:
            self.shop.errors.append(str(error).strip())

    def _work(self, cursor, name, drafted, undone):
        cursor.execute("BEGIN")
        orders = self.dice.sample(range(self.shop.orders), self.dice.choice((1, 1, 1, 2, 3)))
        for order in sorted(orders):  # one order of locking for all: no deadlocks
            if self._chance(self.habits.savepoint):
                cursor.execute("SAVEPOINT step")
                self._step(cursor, name, order, undone)
                cursor.execute("ROLLBACK TO SAVEPOINT step")
            self._step(cursor, name, order, drafted)
        if self._chance(self.habits.slow):
            time.sleep(self.dice.uniform(0.1, 1) * self.habits.slow_seconds)

    def _step(self, cursor, name, order, messages):
        """Change one order, and tell of it once or twice in the same transaction."""
        count = self.dice.choice((1, 1, 2))
        cursor.execute(f"UPDATE {self.shop.schema}.orders SET version = version + %s, changed_at = now() "
                       "WHERE id = %s RETURNING version", (count, f"order-{order + 1}"))
        version = cursor.fetchone()[0] - count
        for n in range(count):
            row = self._row(name, f"order-{order + 1}", version + n + 1)
            messages.append(row.pop("message"))
            cursor.execute(FORMS[self.dice.choice(list(FORMS))], row)

    def _row(self, transaction, key, seq):
        self.messages += 1
        if self._chance(self.habits.unordered):
            key = seq = None
        headers = {"Shop-Client": self.label, "Shop-City": "Zürich"} if self._chance(self.habits.headers) else None
        body = {"message": f"{self.label}/{self.messages}", "key": key, "seq": seq,
                "client": self.label, "transaction": transaction, "headers": headers,
                "subject": f"{self.shop.subjects}.{self.dice.choice(EVENTS)}",
                "note": "né " * self.dice.randint(0, self.habits.note_bytes // 4)}
        return {"message": body["message"], "subject": body["subject"], "key": key,
                "payload": json.dumps(seal(body), ensure_ascii=False),
                "headers": headers and json.dumps(headers, ensure_ascii=False)}

    def _chance(self, share):
        return self.dice.random() < share
