"""A legacy shop that knows nothing of us: tables of its own, and clients that change them in every way that makes a capture hard: updates
that leave large values alone, keys that change, rows that come and go in one transaction, savepoints, roll-backs, several tables and
composite keys in a transaction, late commits, TRUNCATE.

    create_tables(connection, orders=2000)
    with Legacy(conninfo, clients=6) as legacy:
        time.sleep(20)
        legacy.truncate("legacy.stock")
    legacy.errors                       # what a client should never see

A row that is rolled back is marked so (changed_by begins with "undone"): nobody may ever see one."""

import contextlib
import random
import threading
import time
from dataclasses import dataclass

import psycopg2

SCHEMA = """
CREATE SCHEMA legacy;
CREATE DOMAIN legacy.money_amount AS numeric(14,4);
CREATE TYPE legacy.state AS ENUM ('new', 'paid', 'sent', 'it''s back');
CREATE TABLE legacy.orders (
    id bigint PRIMARY KEY, customer text, total legacy.money_amount, weight float8, state legacy.state NOT NULL DEFAULT 'new',
    placed_at timestamptz NOT NULL DEFAULT clock_timestamp(), due date, attributes jsonb, tags text[], paid boolean, doc text, scan bytea,
    version int NOT NULL DEFAULT 0, changed_by text) WITH (fillfactor = 80);
ALTER TABLE legacy.orders ALTER doc SET STORAGE EXTERNAL, ALTER scan SET STORAGE EXTERNAL;
CREATE TABLE legacy.order_lines (
    order_id bigint, line smallint, sku varchar(40) NOT NULL, amount numeric, note text, changed_by text, PRIMARY KEY (order_id, line));
CREATE TABLE legacy.stock (
    place text, sku varchar(40), on_hand int NOT NULL, counted_at timestamp, doc text, changed_by text, PRIMARY KEY (sku, place));
ALTER TABLE legacy.stock ALTER doc SET STORAGE EXTERNAL;
INSERT INTO legacy.orders (id, customer, total, weight, attributes, tags, paid, doc)
    SELECT n, 'customer ' || n, n / 7.0, n / 3.0, jsonb_build_object('n', n, 'list', jsonb_build_array(1, 2.50, NULL)),
           ARRAY['a', NULL, 'b "c"', n::text], n % 2 = 0, CASE WHEN n % 3 = 0 THEN repeat(md5(n::text), 100) END
    FROM generate_series(1, {orders}) n;
INSERT INTO legacy.order_lines SELECT n, l, 'sku ' || (n + l) % 50, n * l / 10.0, 'line' FROM generate_series(1, {orders}) n, generate_series(1, 2) l;
INSERT INTO legacy.stock SELECT 'place ' || p, 'sku ' || s, s * p, now(), repeat('x', 2100 + s)
    FROM generate_series(1, greatest({orders} / 50, 1)) s, generate_series(1, 4) p;
ANALYZE legacy.orders; ANALYZE legacy.order_lines; ANALYZE legacy.stock;
"""
TABLES = ["legacy.orders", "legacy.order_lines", "legacy.stock"]
GRANTS = """
GRANT USAGE ON SCHEMA legacy TO {user};
GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON ALL TABLES IN SCHEMA legacy TO {user};
"""


def create_tables(connection, orders=1000, user=None):
    """user is who the clients log in as, unless the owner itself."""
    with connection.cursor() as cursor:
        cursor.execute(SCHEMA.format(orders=orders))
        if user:
            cursor.execute(GRANTS.format(user=user))


@dataclass
class Ways:
    """How the clients behave: shares of transactions, or of steps, and seconds."""
    rollback: float = 0.08
    savepoint: float = 0.12     # of steps, that are rolled back to a savepoint first
    slow: float = 0.02          # dawdle before COMMIT, for up to slow_seconds
    slow_seconds: float = 0.3
    unchanged: float = 0.6      # of updates, that leave the large values alone
    pause: float = 0.0          # between two transactions of a client


class Legacy:
    """The running shop."""

    def __init__(self, conninfo, clients=6, orders=1000, ways=None, seed=None, name="c"):
        self.conninfo, self.orders, self.ways = conninfo, orders, ways or Ways()
        self.errors, self.disconnects, self.stopping = [], 0, threading.Event()
        self._clients = [_Client(self, n, f"{name}{n}", random.Random(f"{seed}/{n}" if seed is not None else None)) for n in range(clients)]

    @property
    def committed(self):
        """Transactions whose COMMIT returned."""
        return sum(client.committed for client in self._clients)

    def start(self):
        for client in self._clients:
            client.start()
        return self

    def stop(self, deadline=120):
        """Whatever is running when it returns has ended."""
        self.stopping.set()
        for client in self._clients:
            if client.ident:
                client.join(deadline)
                if client.is_alive():
                    raise TimeoutError(f"a client of the legacy shop is stuck in a transaction for {deadline} s")

    close = stop

    def truncate(self, *tables):
        """On demand, in a transaction of its own that also writes into what it has emptied."""
        with contextlib.closing(psycopg2.connect(self.conninfo)) as connection:
            while not self._truncated(connection, tables):
                pass

    @staticmethod
    def _truncated(connection, tables):
        """False: a deadlock; again."""
        with contextlib.suppress(psycopg2.errors.DeadlockDetected), connection, connection.cursor() as cursor:
            cursor.execute(f"TRUNCATE {', '.join(tables)}")
            if "legacy.stock" in tables:
                cursor.execute("INSERT INTO legacy.stock (place, sku, on_hand) VALUES ('after', 'truncate', 1)")
            return True
        return False

    def __enter__(self):
        return self.start()

    def __exit__(self, *exception):
        self.stop()


class _Client(threading.Thread):
    def __init__(self, legacy, number, name, dice):
        super().__init__(name=f"legacy-{name}", daemon=True)
        self.legacy, self.number, self.label, self.dice, self.ways = legacy, number, name, dice, legacy.ways
        self.committed = self.transactions = 0
        self.fresh = 1_000_000_000 * (number + 1) + int(time.time()) % 1_000_000 * 1000  # ids that nobody else draws
        self.connection = None

    def run(self):
        while not self.legacy.stopping.is_set():
            if self._connect():
                self._transaction()
                self.legacy.stopping.wait(self.ways.pause)
        if self.connection:
            self.connection.close()

    def _connect(self):
        if self.connection and not self.connection.closed:
            return True
        try:
            self.connection = psycopg2.connect(self.legacy.conninfo, connect_timeout=10)
            self.connection.autocommit = True  # BEGIN and COMMIT are ours
            return True
        except psycopg2.OperationalError:
            self.legacy.stopping.wait(0.1)
            return False

    def _transaction(self):
        self.transactions += 1
        undone = self._chance(self.ways.rollback)
        by = f"{'undone ' if undone else ''}{self.label}-{self.transactions}"
        try:
            with self.connection.cursor() as cursor:
                cursor.execute("BEGIN")
                # One order of locking for all: no deadlocks, but between two keys of one step, which serve as the dice fall.
                for order in sorted(self.dice.sample(range(1, self.legacy.orders + 1), self.dice.choice((1, 1, 2, 3)))):
                    self._step(cursor, order, by)
                if self._chance(self.ways.slow):
                    time.sleep(self.dice.uniform(0.1, 1) * self.ways.slow_seconds)
                cursor.execute("ROLLBACK" if undone else "COMMIT")
                self.committed += not undone
        except psycopg2.Error as e:
            self._trouble(e)

    def _trouble(self, error):
        """A deadlock is the shop's own; without an SQLSTATE the connection is lost."""
        if not error.pgcode:
            self.connection.close()
        if self.connection.closed or error.pgcode.startswith("57P"):
            self.connection.close()
            self.legacy.disconnects += 1
            return
        if error.pgcode != "40P01":
            self.legacy.errors.append(f"{error.pgcode} {str(error).strip()}")
        with contextlib.suppress(psycopg2.Error), self.connection.cursor() as cursor:
            cursor.execute("ROLLBACK")

    def _step(self, cursor, order, by):
        kinds = (self._update, self._update, self._update, self._insert, self._remove, self._change_key, self._come_and_go, self._lines,
                 self._stock, self._twice)
        if self._chance(self.ways.savepoint):
            cursor.execute("SAVEPOINT step")
            self.dice.choice(kinds)(cursor, order, "undone " + by)
            cursor.execute("ROLLBACK TO SAVEPOINT step")
        self.dice.choice(kinds)(cursor, order, by)

    def _update(self, cursor, order, by):
        """Mostly without a word about the large values; sometimes one that changes nothing at all."""
        if self._chance(self.ways.unchanged):
            cursor.execute("UPDATE legacy.orders SET version = version + 1, state = %s, total = total + 0.0001, changed_by = %s WHERE id = %s",
                           (self.dice.choice(("new", "paid", "sent", "it's back")), by, order))
        elif self._chance(0.1):
            cursor.execute("UPDATE legacy.orders SET customer = customer WHERE id = %s", (order,))
        else:
            cursor.execute("UPDATE legacy.orders SET doc = %s, scan = %s, version = version + 1, changed_by = %s, due = %s WHERE id = %s",
                           (self._large(), self._scan(), by, self.dice.choice(("2026-01-31", "infinity", None)), order))

    def _insert(self, cursor, order, by, key=None):
        self.fresh += key is None
        cursor.execute("INSERT INTO legacy.orders (id, customer, total, weight, tags, paid, doc, scan, attributes, changed_by) "
                       "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (id) DO UPDATE SET changed_by = excluded.changed_by",
                       (key or self.fresh, self.dice.choice(("Zoë \\ \"q\" \t", "", None, "日本")),
                        self.dice.choice(("NaN", "1.5000", "123456789.0001", None)), self.dice.choice((0.1, float("inf"), float("nan"), 1e300)),
                        self.dice.choice(([], ["x", None, 'NULL', "{,}"], None)), self.dice.choice((True, None)), self._large(), self._scan(),
                        self.dice.choice(('null', '{"a": 1.10, "b": [true, null]}', '"text"', None)), by))
        return key or self.fresh

    def _remove(self, cursor, order, by):
        """And, as a rule, the row comes back: there must be something to work on."""
        cursor.execute("UPDATE legacy.orders SET changed_by = %s WHERE id = %s", (by, order))
        cursor.execute("DELETE FROM legacy.orders WHERE id = %s", (order,))
        if self._chance(0.7):
            self._insert(cursor, order, by, key=order)

    def _change_key(self, cursor, order, by):
        """To a key far away and, in half of the cases, back again later; the large values are left alone."""
        self.fresh += 1
        cursor.execute("UPDATE legacy.orders SET id = %s, changed_by = %s WHERE id = %s", (self.fresh, by, order))
        if cursor.rowcount and self._chance(0.5):
            cursor.execute("UPDATE legacy.orders SET id = %s, version = version + 1 WHERE id = %s", (order, self.fresh))

    def _come_and_go(self, cursor, order, by):
        key = self._insert(cursor, order, by)
        cursor.execute("DELETE FROM legacy.orders WHERE id = %s", (key,))

    def _twice(self, cursor, order, by):
        for _ in range(2):
            cursor.execute("UPDATE legacy.orders SET version = version + 1, changed_by = %s WHERE id = %s", (by, order))

    def _lines(self, cursor, order, by):
        """Composite keys, of which one part changes."""
        cursor.execute("UPDATE legacy.order_lines SET amount = amount * 1.01, changed_by = %s WHERE order_id = %s", (by, order))
        cursor.execute("DELETE FROM legacy.order_lines WHERE order_id = %s AND line = 9", (order,))
        cursor.execute("UPDATE legacy.order_lines SET line = 9, changed_by = %s WHERE order_id = %s AND line = 2", (by, order))
        cursor.execute("INSERT INTO legacy.order_lines VALUES (%s, 2, %s, 1.50, NULL, %s) ON CONFLICT DO NOTHING", (order, f"sku {order}", by))

    def _stock(self, cursor, order, by):
        """Keys of text, in another order than their columns stand in the table; a large value that mostly stays."""
        sku, place = f"sku {order % 50}", f"place {self.dice.randint(1, 5)} é.{order % 3}"
        cursor.execute("INSERT INTO legacy.stock VALUES (%s, %s, 1, clock_timestamp(), %s, %s) ON CONFLICT (sku, place) DO UPDATE "
                       "SET on_hand = stock.on_hand + 1, changed_by = excluded.changed_by", (place, sku, self._large(), by))

    def _large(self):
        return self.dice.choice(("short", None)) if self._chance(0.2) else "%032x" % self.dice.getrandbits(128) * self.dice.randint(70, 200)

    def _scan(self):
        return psycopg2.Binary(self.dice.randbytes(self.dice.choice((0, 10, 3000)))) if self._chance(0.5) else None

    def _chance(self, share):
        return self.dice.random() < share
