"""The show behind packaging/try --inbox: two services with a database and a relay each, and one NATS between them. The shop publishes, billing
handles, its workers crash at random; and the count at the end: what was committed in the one database has had its effect in the
other, once, and in the order of its key."""

import contextlib
import os
import signal
import subprocess
import sys
import threading

from jetstream import JetStream, Stored
from nats_client import Client
from process import DEADLINE, wait_until
from reconcile import reconcile
from relay import Relay
from servers import Nats, Postgres
from shop import Habits, Shop, create_schema
from try_show import Flow, must_succeed, say

STREAM, NAME = "ORDERS", "billing"
CLIENTS, WORKERS, CRASH = 4, 3, 0.002
SCHEMA = """
CREATE TABLE handled (n bigserial PRIMARY KEY, subject text, key text, payload bytea, headers jsonb);
GRANT INSERT ON handled TO billing_worker;
GRANT USAGE ON SEQUENCE handled_n_seq TO billing_worker;
"""


class Workers:
    """So many processes; one that dies is started again."""

    def __init__(self, conninfo, count=WORKERS):
        self.conninfo, self.crashes, self.failures, self.stopping = conninfo, 0, [], threading.Event()
        self.threads = [threading.Thread(target=self._keep, daemon=True) for _ in range(count)]

    def start(self):
        for thread in self.threads:
            thread.start()
        return self

    def close(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join()

    def _keep(self):
        program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "try_worker.py")
        while not self.stopping.is_set():
            worker = subprocess.Popen([sys.executable, "-B", program, self.conninfo, NAME, str(CRASH)], stdin=subprocess.DEVNULL,
                                      stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            while worker.poll() is None and not self.stopping.wait(0.02):
                pass
            if self.stopping.is_set():
                worker.kill()
            elif worker.returncode == -signal.SIGKILL:
                self.crashes += 1
            else:
                self.failures.append(worker.stderr.read().strip() or f"a worker ended with status {worker.returncode}")
                self.stopping.wait(1)
            worker.communicate()


class Services:
    """Both of them, on servers of our own."""

    def __init__(self, workspace, boxhaul):
        self.workspace = workspace
        self.postgres = workspace.add(Postgres(workspace.path("pg"), survive_us=workspace.keep)).start()
        self.nats = workspace.add(Nats(workspace.path("nats"), survive_us=workspace.keep)).start()
        self.shop = self._service(boxhaul, "shop", streams=[{"name": STREAM, "subjects": ["orders.>"], "create": True}])
        self.billing = self._service(boxhaul, "billing", inbox=[{"name": NAME, "stream": STREAM, "subjects": ["orders.>"]}])
        self.postgres.create_login("shop_service", "boxhaul_writer")
        self.postgres.create_login("billing_worker", "boxhaul_handler")
        with contextlib.closing(self.postgres.connect("shop")) as connection:
            create_schema(connection, user="shop_service")
        self.postgres.execute(SCHEMA, dbname="billing")

    def _service(self, boxhaul, name, **what):
        self.postgres.execute(f"CREATE DATABASE {name}")
        relay = self.workspace.add(Relay(boxhaul, self.workspace.path(name), {
            "name": name, "nats": {"urls": [self.nats.url()]}, **what,
            "postgres": {"conninfo": self.postgres.conninfo(name, f"{name}_relay"), "migrate_conninfo": self.postgres.conninfo(name)}}))
        must_succeed(relay, "migrate")
        self.postgres.create_login(f"{name}_relay", "boxhaul_relay")
        return relay

    def stored(self):
        with Client(self.nats.url()) as client:
            return JetStream(client).count(STREAM)

    def ask(self, sql):
        """One number of billing's database."""
        return self.postgres.execute(sql, dbname="billing")[0][0]

    def handled(self):
        return self.ask("SELECT count(*) FROM handled")

    def waiting(self):
        return self.ask("SELECT coalesce(sum(waiting), 0) FROM boxhaul.inbox_status")

    def effects(self):
        """What billing has done, as a stream would tell it."""
        rows = self.postgres.execute("SELECT n, subject, headers, payload FROM handled ORDER BY n", dbname="billing")
        return [Stored(n, subject, {name: [value] for name, value in headers.items()}, bytes(payload))
                for n, subject, headers, payload in rows]


def trade(services, seconds):
    """The shop is open for a while, then everything is handled. Returns the shop, the workers and what went wrong."""
    shop = services.workspace.add(Shop(services.postgres.conninfo("shop", "shop_service"), "shop", "orders", CLIENTS,
                                       habits=Habits(pause=0.01)))
    workers = services.workspace.add(Workers(services.postgres.conninfo("billing", "billing_worker"))).start()

    def look():
        seen = len(shop.ledger.committed), services.stored(), services.handled()
        return seen, (f"published {seen[0]:9,}   in the stream {seen[1]:9,}   handled {seen[2]:9,}   "
                      f"workers crashed {workers.crashes:4}")

    flow = Flow(look, (services.shop, services.billing))
    shop.start()
    try:
        flow.show_until(lambda: flow.is_over(seconds))
        shop.stop()
        finished = flow.show_until(lambda: services.stored() >= len(shop.ledger.committed) and services.waiting() == 0
                                   and services.handled() >= len(shop.ledger.committed))
    finally:
        flow.end()
    problems = [] if finished else [f"nothing moved for {DEADLINE} s; the end of billing's log:\n{services.billing.log_tail()}"]
    if shop.errors:
        problems.append(f"the shop got {len(shop.errors)} SQL errors, the first: {shop.errors[0]}")
    if workers.failures:
        problems.append(f"the workers failed {len(workers.failures)} times, the first: {workers.failures[0]}")
    return shop, workers, problems


def run(workspace, boxhaul, seconds):
    """Returns the exit status."""
    services = Services(workspace, boxhaul)
    services.shop.start().wait_until_ready()
    wait_until(lambda: services.stored() >= 0, "the stream")
    must_succeed(services.billing, "check")
    services.billing.start().wait_until_ready()
    say(f"two databases, two relays, one NATS; the shop opens for {seconds} s: {CLIENTS} clients publish, {WORKERS} workers of billing "
        "handle, and die at random")
    shop, workers, problems = trade(services, seconds)
    workers.close()
    say(f"all is handled; {workers.crashes} workers died on the way; stopping both relays and counting")
    for relay in (services.shop, services.billing):
        if (status := relay.stop()) != 0:
            problems.append(f"boxhaul run ended with status {status} on SIGTERM:\n{relay.log_tail()}")
    result = reconcile(shop.ledger, services.effects())
    if result.unexpected:
        problems.append(f"{result.unexpected} messages took effect that nobody committed")
    if workers.crashes == 0:
        problems.append("no worker died: that was no trial")
    for problem in problems + result.examples:
        say(problem)
    say(f"published={result.committed} handled={result.stored} missing={result.missing} twice={result.duplicates} "
        f"out_of_order={result.out_of_order}")
    return 0 if result.clean() and not problems else 1

