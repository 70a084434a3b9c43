"""The shop of packaging/try --move: its tables as a monolith has them and as a service of its own wants them, the clients that write, and the router
that tells them where. A client does not know which database is which: it has the same writes in the words of both."""

import contextlib
import random
import threading
import time
from dataclasses import dataclass

import psycopg2
from psycopg2 import errors

from moved import Ledger

CUSTOMERS, ORDERS = 300, 3000
PAUSE = 0.02        # seconds, between two transactions of a client
REFUSED = 0.01      # seconds, until a write that was refused is tried again

MONOLITH = f"""
CREATE SCHEMA shop;
CREATE TABLE shop.customers (id bigserial PRIMARY KEY, name text NOT NULL, email text, balance numeric(14,2) NOT NULL DEFAULT 0);
CREATE TABLE shop.orders (id bigserial PRIMARY KEY, customer_id bigint NOT NULL REFERENCES shop.customers, revision integer NOT NULL DEFAULT 0,
    ref text NOT NULL, note text);
ALTER TABLE shop.orders ALTER note SET STORAGE EXTERNAL;
CREATE TABLE shop.order_lines (order_id bigint REFERENCES shop.orders ON DELETE CASCADE, line integer, sku text NOT NULL, quantity integer NOT NULL,
    PRIMARY KEY (order_id, line));
CREATE TABLE shop.payments (id bigserial PRIMARY KEY, customer_id bigint NOT NULL REFERENCES shop.customers, ref text NOT NULL,
    amount numeric(12,2) NOT NULL);
CREATE FUNCTION shop.payment_of(theirs jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE SET search_path = pg_catalog AS $$
    SELECT jsonb_build_object('customer_id', theirs ->> 'client_id', 'ref', theirs ->> 'ref', 'amount', (theirs ->> 'cents')::numeric / 100)
$$;
INSERT INTO shop.customers (name, email) SELECT 'customer ' || n, 'c' || n || '@example.org' FROM generate_series(1, {CUSTOMERS}) n;
INSERT INTO shop.orders (customer_id, ref, note) SELECT n % {CUSTOMERS} + 1, 'old', CASE WHEN n % 5 = 0 THEN repeat(md5(n::text), 100) END
    FROM generate_series(1, {ORDERS}) n;
INSERT INTO shop.order_lines SELECT n, l, 'sku ' || n % 50, l FROM generate_series(1, {ORDERS}) n, generate_series(1, 2) l;
"""
SERVICE = """
CREATE SCHEMA sales;
CREATE TABLE sales.clients (id bigserial PRIMARY KEY, full_name text NOT NULL, email text, balance numeric(14,2) NOT NULL DEFAULT 0,
    since timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE TABLE sales.orders (id bigserial PRIMARY KEY, client_id bigint NOT NULL REFERENCES sales.clients, revision integer NOT NULL DEFAULT 0,
    ref text NOT NULL, note text);
ALTER TABLE sales.orders ALTER note SET STORAGE EXTERNAL;
CREATE TABLE sales.order_lines (order_id bigint REFERENCES sales.orders ON DELETE CASCADE, line integer, sku text NOT NULL, quantity bigint NOT NULL,
    PRIMARY KEY (order_id, line));
CREATE TABLE sales.payments (id bigserial PRIMARY KEY, client_id bigint NOT NULL REFERENCES sales.clients, ref text NOT NULL, cents bigint NOT NULL);
CREATE FUNCTION sales.payment_of(theirs jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE SET search_path = pg_catalog AS $$
    SELECT jsonb_build_object('client_id', theirs ->> 'customer_id', 'ref', theirs ->> 'ref', 'cents', ((theirs ->> 'amount')::numeric * 100)::bigint)
$$;
"""
GRANTS = """
GRANT USAGE ON SCHEMA {schema} TO boxhaul_capture, boxhaul_sink, client;
GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO boxhaul_capture;
GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON ALL TABLES IN SCHEMA {schema} TO boxhaul_sink, client;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA {schema} TO client;
GRANT EXECUTE ON FUNCTION {schema}.payment_of(jsonb) TO boxhaul_sink;
"""
THERE = [{"from": "shop.customers", "to": "sales.clients", "columns": ["*", "name=full_name"]},
         {"from": "shop.orders", "to": "sales.orders", "columns": ["*", "customer_id=client_id"]},
         {"from": "shop.order_lines", "to": "sales.order_lines"},
         {"from": "shop.payments", "to": "sales.payments", "function": "sales.payment_of"}]
BACK = [{"from": "sales.clients", "to": "shop.customers", "columns": ["id", "full_name=name", "email", "balance"]},
        {"from": "sales.orders", "to": "shop.orders", "columns": ["*", "client_id=customer_id"]},
        {"from": "sales.order_lines", "to": "shop.order_lines"},
        {"from": "sales.payments", "to": "shop.payments", "function": "shop.payment_of"}]


@dataclass(frozen=True)
class Words:
    """The writes of a client, and what the judge reads, as one database has them."""
    place: str
    line: str
    change: str
    annotate: str
    remove: str
    pay: str
    credit: str
    read: dict


def words(schema, customers, customer, name, amount, paid, cents):
    orders, lines, payments = f"{schema}.orders", f"{schema}.order_lines", f"{schema}.payments"
    return Words(
        place=f"INSERT INTO {orders} ({customer}, ref, note) VALUES (%s, %s, %s) RETURNING id",
        line=f"INSERT INTO {lines} (order_id, line, sku, quantity) VALUES (%s, %s, %s, %s)",
        change=f"UPDATE {orders} SET revision = revision + 1, ref = %s WHERE id = %s",
        annotate=f"UPDATE {orders} SET note = %s WHERE id = %s",
        remove=f"DELETE FROM {orders} WHERE id = %s",
        pay=f"INSERT INTO {payments} ({customer}, ref, {amount}) VALUES (%s, %s, {paid})",
        credit=f"UPDATE {schema}.{customers} SET balance = balance + %s / 100.0 WHERE id = %s",
        read={"customers": f"SELECT id, {name}, email, (balance * 100)::bigint FROM {schema}.{customers}",
              "orders": f"SELECT id, {customer}, revision, ref, md5(note) FROM {orders}",
              "order_lines": f"SELECT order_id, line, sku, quantity FROM {lines}",
              "payments": f"SELECT id, {customer}, ref, {cents} FROM {payments}"})


WORDS = {"monolith": words("shop", "customers", "customer_id", "name", "amount", "%s / 100.0", "(amount * 100)::bigint"),
         "service": words("sales", "clients", "client_id", "full_name", "cents", "%s", "cents")}


class Router:
    """Which database takes the writes: that which did so last, until it refuses one; then the other is asked. Of the two, one at most does."""

    def __init__(self, names):
        self._names, self._lock, self.turns = list(names), threading.Lock(), 0

    def owner(self):
        return self._names[0]

    def refused(self, name):
        """A write was refused there. (Somebody else may have said so already.)"""
        with self._lock:
            if self._names[0] == name:
                self._names.reverse()
                self.turns += 1


class Clients:
    """So many threads that write. taken: when each transaction was seen to be committed; refusals: how many the fence has stopped."""

    def __init__(self, conninfos, count, seed):
        self.router, self.conninfos = Router(conninfos), conninfos
        self.taken, self.refusals, self.errors = [], 0, []
        self.stopping, self.going = threading.Event(), threading.Event()
        self.going.set()
        self._clients = [_Client(self, n, count, random.Random(f"{seed}/{n}")) for n in range(count)]

    @property
    def ledgers(self):
        return [client.ledger for client in self._clients]

    def start(self):
        for client in self._clients:
            client.start()
        return self

    def hold(self):
        """Returns when nobody has a transaction; until go_on()."""
        self.going.clear()
        for client in self._clients:
            with client.busy:
                pass

    def go_on(self):
        self.going.set()

    def close(self):
        self.stopping.set()
        self.going.set()
        for client in self._clients:
            if client.ident:
                client.join()


class _Client(threading.Thread):
    """Its orders are its own: of those that were there before, each client has a share. Customers belong to all."""

    def __init__(self, clients, number, count, dice):
        super().__init__(name=f"client-{number}", daemon=True)
        self.clients, self.number, self.dice, self.busy = clients, number, dice, threading.Lock()
        self.ledger = Ledger({order: (0, "old", 2) for order in range(1, ORDERS + 1) if order % count == number})
        self.own, self.writes, self.sessions = list(self.ledger.orders), 0, {}

    def run(self):
        with contextlib.ExitStack() as stack:
            while not self.clients.stopping.wait(PAUSE * self.dice.uniform(0.5, 1.5)):
                self.clients.going.wait()
                with self.busy:
                    if self.clients.going.is_set() and not self.clients.stopping.is_set():
                        self._write(stack)

    def _session(self, stack, name):
        if name not in self.sessions:
            self.sessions[name] = stack.enter_context(contextlib.closing(psycopg2.connect(self.clients.conninfos[name])))
        return self.sessions[name]

    def _write(self, stack):
        """One write, wherever and as often as it takes until it is committed once: the fence refuses before anything is."""
        self.writes += 1
        ref = f"c{self.number}-{self.writes}"
        act = self.dice.choice((self._place, self._place, self._pay, self._pay, self._change, self._change, self._remove, self._undone))
        chosen = self.dice.getstate()
        while not self.clients.stopping.is_set():
            name = self.clients.router.owner()
            session = self._session(stack, name)
            self.dice.setstate(chosen)  # the same write again, not another one
            try:
                with session.cursor() as cursor:
                    enter = act(cursor, WORDS[name], ref)
                if enter is None:
                    session.rollback()
                    return
                session.commit()
            except errors.ObjectNotInPrerequisiteState:
                session.rollback()
                self.clients.refusals += 1
                self.clients.router.refused(name)
                time.sleep(REFUSED)
                continue
            except psycopg2.Error as e:
                self.clients.errors.append(f"{e.pgcode} {str(e).strip()}")
                session.rollback()
                return
            self.clients.taken.append(time.monotonic())
            enter()
            return

    # -- writes: each is done with the cursor, and returns what is to be entered in the ledger once it is committed. None: it is taken back.

    def _customer(self):
        return self.dice.randint(1, CUSTOMERS)

    def _note(self):
        return "%032x" % self.dice.getrandbits(128) * 100 if self.dice.random() < 0.3 else None

    def _place(self, cursor, say, ref):
        cursor.execute(say.place, (self._customer(), ref, self._note()))
        (order,), lines = cursor.fetchone(), self.dice.randint(1, 3)
        for line in range(1, lines + 1):
            cursor.execute(say.line, (order, line, f"sku {self.dice.randint(1, 50)}", line))

        def enter():
            self.ledger.orders[order] = (0, ref, lines)
            self.own.append(order)
        return enter

    def _change(self, cursor, say, ref):
        """Mostly without a word about the note, which the log leaves out then."""
        order = self.dice.choice(self.own)
        cursor.execute(say.change, (ref, order))
        if note := self._note():
            cursor.execute(say.annotate, (note, order))
        revision, _ref, lines = self.ledger.orders[order]

        def enter():
            self.ledger.orders[order] = (revision + 1, ref, lines)
        return enter

    def _remove(self, cursor, say, _ref):
        """And its lines, by the foreign key."""
        order = self.dice.choice(self.own)
        cursor.execute(say.remove, (order,))

        def enter():
            del self.ledger.orders[order]
            self.ledger.removed.add(order)
            self.own.remove(order)
        return enter

    def _pay(self, cursor, say, ref):
        customer, cents = self._customer(), self.dice.randint(1, 99999)
        cursor.execute(say.pay, (customer, ref, cents))
        cursor.execute(say.credit, (cents, customer))

        def enter():
            self.ledger.payments[ref] = (customer, cents)
        return enter

    def _undone(self, cursor, say, ref):
        self._pay(cursor, say, f"undone {ref}")
