"""The show behind packaging/try --saga: order, stock and payment of examples/saga, each with a database and a relay, and one NATS between
them. Some customers cannot pay; services and relays are killed in mid flight; and at the end the three databases are held against each
other: a sale that was completed is shipped and paid for, one that was undone has left nothing."""

import collections
import os
import random
import sys
import threading

from process import DEADLINE, Process, wait_until
from relay import Relay, to_libconfig
from servers import Nats, Postgres
from try_show import Flow, must_succeed, say

EXAMPLES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "examples", "saga")
DATABASES = {"order": "orders", "stock": "stock", "payment": "payment"}
ROLES = {"order": "boxhaul_writer", "stock": "boxhaul_handler", "payment": "boxhaul_handler"}
CUSTOMERS, POOR, ITEMS, PLENTY = 10, 3, 5, 1_000_000
DEADLINE_OF_A_STEP, OUTAGES = "2s", (0, 0, 0.2, 2.5)  # seconds until what was killed is started again; the last is longer than the deadline
FILL = {"stock": f"INSERT INTO stock (item, free) SELECT 'item-' || n, {PLENTY} FROM generate_series(0, {ITEMS - 1}) n",
        "payment": f"INSERT INTO account SELECT 'customer-' || n, CASE WHEN n < {POOR} THEN 0 ELSE {PLENTY} END "
                   f"FROM generate_series(0, {CUSTOMERS - 1}) n"}


def read(name):
    with open(os.path.join(EXAMPLES, name), encoding="utf-8") as f:
        return f.read()


class Service(Process):
    """A program of examples/saga."""

    def __init__(self, name, argv, directory, conninfo):
        super().__init__(f"the service {name}", os.path.join(directory, "service.log"))
        self.argv, self.conninfo = argv, conninfo

    def start(self):
        self.spawn(self.argv, {"DATABASE_URL": self.conninfo})
        return self

    def close(self):
        self.kill9()


class Services:
    """All three, on servers of our own, as their files say; only addresses are others, and deadlines shorter. instead: what to run in
    place of the Python program of a service."""

    def __init__(self, workspace, boxhaul, instead=None):
        self.workspace, self.instead = workspace, instead or {}
        self.postgres = workspace.add(Postgres(workspace.path("pg"))).start()
        self.nats = workspace.add(Nats(workspace.path("nats"))).start()
        self.relays = {name: self._relay(boxhaul, name) for name in DATABASES}
        self.programs = {name: self._program(name) for name in DATABASES}

    def _relay(self, boxhaul, name):
        relay = self.workspace.add(Relay(boxhaul, self.workspace.path(name), {}))
        text = read(f"{name}.conf")
        owner = self.postgres.conninfo(DATABASES[name])
        for printed, ours in (("host=/run/postgresql", f"host={self.postgres.directory} port={self.postgres.port}"),
                              ('user=boxhaul"', f'user=boxhaul"; migrate_conninfo = "{owner}"'), ("nats://127.0.0.1:4222", self.nats.url())):
            if printed not in text:
                raise RuntimeError(f"examples/saga/{name}.conf does not say {printed}")
            text = text.replace(printed, ours)
        with open(relay.config, "w", encoding="utf-8") as f:
            f.write(text + to_libconfig(relay.settings))
        return relay

    def _program(self, name):
        user = f"{name}_service"
        self.postgres.execute(f"CREATE ROLE {user} LOGIN")
        self.postgres.execute(f"CREATE DATABASE {DATABASES[name]} OWNER {user}")
        must_succeed(self.relays[name], "migrate")
        self.postgres.execute(f"GRANT {ROLES[name]} TO {user}")
        self._apply(name, read(f"{name}.sql").replace('"30s"', f'"{DEADLINE_OF_A_STEP}"'), user)
        if name in FILL:
            self._apply(name, FILL[name], user)
        argv = self.instead.get(name, [sys.executable, "-B", os.path.join(EXAMPLES, f"{name}.py")])
        return self.workspace.add(Service(name, argv, self.workspace.path(name), self.postgres.conninfo(DATABASES[name], user)))

    def _apply(self, name, sql, user):
        self.postgres.execute(sql, dbname=DATABASES[name], user=user)

    def start(self):
        self.postgres.execute("CREATE ROLE boxhaul LOGIN IN ROLE boxhaul_relay")
        for relay in self.relays.values():
            relay.start().wait_until_ready()
        for relay in self.relays.values():
            must_succeed(relay, "check")
        for program in self.programs.values():
            program.start()
        wait_until(lambda: self.sagas()["started"], "the first order")
        return self

    def ask(self, name, sql):
        """The rows of a service's database."""
        return self.postgres.execute(sql, dbname=DATABASES[name])

    def sagas(self):
        """How many were started, and how many of each kind there are."""
        [row] = self.ask("order", "SELECT (SELECT count(*) FROM sale), count(*) FILTER (WHERE state = 'completed'),"
                                  " count(*) FILTER (WHERE state = 'undone'), count(*) FILTER (WHERE stuck IS NOT NULL),"
                                  " count(*) FILTER (WHERE state IN ('running', 'undoing')) FROM boxhaul.sagas")
        return dict(zip(("started", "completed", "undone", "stuck", "open"), row))


class Killer:
    """Now and then one of them is killed, in the middle of whatever it does, and started again, at once or after a while."""

    def __init__(self, victims):
        self.victims, self.kills, self.failures = list(victims), 0, []
        self.stopping, self.thread = threading.Event(), threading.Thread(target=self._work, daemon=True)

    def start(self):
        self.thread.start()
        return self

    def close(self):
        """All of them run again."""
        self.stopping.set()
        self.thread.join()

    def _work(self):
        while not self.stopping.wait(random.uniform(0.1, 0.5)):
            victim = random.choice(self.victims)
            if not victim.alive():
                self.failures.append(str(victim.died()))
            victim.kill9()
            self.kills += 1
            self.stopping.wait(random.choice(OUTAGES))
            victim.start()


def trade(services, seconds):
    """Orders come for a while, then all sagas end. Returns how many were killed and what went wrong."""
    killer = services.workspace.add(Killer([*services.programs.values(), *services.relays.values()])).start()

    def look():
        seen = {**services.sagas(), "killed": killer.kills}
        return seen, "   ".join(f"{name} {count:6,}" for name, count in seen.items())

    flow = Flow(look)
    try:
        flow.show_until(lambda: flow.is_over(seconds))
        killer.close()
        services.programs["order"].kill9()
        flow.processes = [services.programs["stock"], services.programs["payment"], *services.relays.values()]
        finished = flow.show_until(lambda: services.sagas()["open"] == 0)
    finally:
        flow.end()
    problems = killer.failures
    if not finished:
        problems += [f"nothing moved for {DEADLINE} s; the end of {name}'s log:\n{relay.log_tail()}" for name, relay in services.relays.items()]
    return killer.kills, problems


class Books:
    """What the three databases say in the end."""

    def __init__(self, services):
        self.sales = services.ask("order", "SELECT id, customer, item, quantity, amount, state FROM sale")
        self.ends = collections.defaultdict(list)
        for key, state in services.ask("order", "SELECT key, state FROM boxhaul.sagas"):
            self.ends[int(key)].append(state)
        self.reservations = {row[0]: row[1:] for row in services.ask("stock", "SELECT order_id, item, quantity, state FROM reservation")}
        self.charges = {row[0]: row[1:] for row in services.ask("payment", "SELECT order_id, customer, amount FROM charge")}
        self.stock = services.ask("stock", "SELECT item, free, held FROM stock")
        self.balances = services.ask("payment", "SELECT customer, balance FROM account")

    def inconsistent(self):
        """A line for each sale, item and customer that does not add up."""
        known = set()
        for sale in self.sales:
            known.add(sale[0])
            yield from self._of_sale(*sale)
        for order in (set(self.reservations) | set(self.charges) | set(self.ends)) - known:
            yield f"there is no sale {order}, but {self.ends[order]} {self.reservations.get(order)} {self.charges.get(order)}"
        yield from self._of_stock()
        yield from self._of_money()

    def _of_sale(self, id_, customer, item, quantity, amount, state):
        ends, reserved, charged = self.ends[id_], self.reservations.get(id_), self.charges.get(id_)
        if ends == ["completed"]:
            right = state == "sold" and reserved == (item, quantity, "shipped") and charged == (customer, amount)
        elif ends == ["undone"]:
            right = state == "cancelled" and reserved in (None, (item, quantity, "released")) and charged is None
        else:
            right = len(ends) == 1  # open: counted as that
        if not right:
            yield f"sale {id_} is {state}, its saga {ends}, its goods {reserved}, its money {charged}"

    def _of_stock(self):
        """Everything that was there is free, held, or shipped."""
        of = collections.Counter()
        for item, quantity, state in self.reservations.values():
            of[item, state] += quantity
        for item, free, held in self.stock:
            if held != of[item, "held"] or free + held + of[item, "shipped"] != PLENTY:
                yield f"{item}: {free} free, {held} held ({of[item, 'held']} by reservations), {of[item, 'shipped']} shipped, of {PLENTY}"

    def _of_money(self):
        spent = collections.Counter()
        for customer, amount in self.charges.values():
            spent[customer] += amount
        for customer, balance in self.balances:
            had = 0 if int(customer.rpartition("-")[2]) < POOR else PLENTY
            if balance + spent[customer] != had:
                yield f"{customer} had {had}, paid {spent[customer]} and has {balance}"


def run(workspace, boxhaul, seconds, instead=None):
    """Returns the exit status. instead: see Services."""
    services = Services(workspace, boxhaul, instead).start()
    say(f"three services, three databases, three relays, one NATS; orders come for {seconds} s, {POOR} customers of {CUSTOMERS} cannot pay, "
        "and services and relays are killed at random")
    kills, problems = trade(services, seconds)
    say(f"all sagas have ended; {kills} processes were killed on the way; stopping and counting")
    for name, relay in services.relays.items():
        if (status := relay.stop()) != 0:
            problems.append(f"{name}'s boxhaul run ended with status {status} on SIGTERM:\n{relay.log_tail()}")
    inconsistent = list(Books(services).inconsistent())
    count = services.sagas()
    if kills == 0:
        problems.append("nothing was killed: that was no trial")
    if not count["completed"] or not count["undone"]:
        problems.append("not both kinds of end occurred: that was no trial")
    for problem in problems + inconsistent[:10]:
        say(problem)
    say(" ".join(f"{name}={number}" for name, number in count.items()) + f" inconsistent={len(inconsistent)}")
    adds_up = count["started"] == count["completed"] + count["undone"] and not count["stuck"] and not count["open"] and not inconsistent
    return 0 if adds_up and not problems else 1
