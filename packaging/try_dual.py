"""The show behind packaging/try --dual-write: the trap, and the way out of it, side by side. Two services do the same: sales into a table, and a
message of each. One publishes to NATS itself, besides its transaction; the other one leaves that to an outbox and to boxhaul. Both are killed at
random, and so is boxhaul. At the end the table and the stream of each are compared, by the ids of the sales."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading

from jetstream import JetStream
from nats_client import Client
from process import DEADLINE
from relay import Relay
from servers import Nats, Postgres
from try_show import Flow, Killer, must_succeed, say

WAYS = ("dual", "outbox")
STREAMS = {"dual": "DUAL", "outbox": "OUTBOX"}
PROCESSES = 2  # of each service
TABLE = """
CREATE TABLE sales (id uuid PRIMARY KEY, way text NOT NULL);
GRANT INSERT ON sales TO shop_service;
"""


class Service:
    """So many processes of a service; each is killed at some moment, and started again."""

    def __init__(self, way, conninfo, nats):
        self.words = [sys.executable, "-B", os.path.join(os.path.dirname(os.path.abspath(__file__)), "try_dual_writer.py"), way, conninfo, nats]
        self.kills, self.failures, self.stopping = 0, [], threading.Event()
        self.threads = [threading.Thread(target=self._keep, daemon=True) for _ in range(PROCESSES)]

    def start(self):
        for thread in self.threads:
            thread.start()
        return self

    def close(self):
        self.stopping.set()
        for thread in self.threads:
            if thread.ident:
                thread.join()

    def _keep(self):
        while not self.stopping.is_set():
            process = subprocess.Popen(self.words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            process.stdout.readline()  # it is connected; or it has ended
            self.stopping.wait(random.uniform(0.05, 0.5))
            process.kill()
            _, said = process.communicate()
            if process.returncode == -signal.SIGKILL:
                self.kills += 1
            else:
                self.failures.append(said.strip() or f"a service ended with status {process.returncode}")
                self.stopping.wait(1)


class Show:
    """Servers of our own, both services and the relay."""

    def __init__(self, workspace, boxhaul):
        self.postgres = workspace.add(Postgres(workspace.path("pg"))).start()
        self.nats = workspace.add(Nats(workspace.path("nats"))).start()
        self.postgres.execute("CREATE DATABASE shop")
        self.relay = workspace.add(Relay(boxhaul, workspace.path("relay"), {
            "name": "shop", "nats": {"urls": [self.nats.url()]},
            "postgres": {"conninfo": self.postgres.conninfo("shop", "shop_relay"), "migrate_conninfo": self.postgres.conninfo("shop")},
            "streams": [{"name": STREAMS["outbox"], "subjects": ["outbox.>"], "create": True}]}))
        must_succeed(self.relay, "migrate")
        self.postgres.create_login("shop_relay", "boxhaul_relay")
        self.postgres.create_login("shop_service", "boxhaul_writer")
        self.postgres.execute(TABLE, dbname="shop")
        with Client(self.nats.url()) as client:
            JetStream(client).create(STREAMS["dual"], ["dual.>"])
        self.services = {way: workspace.add(Service(way, self.postgres.conninfo("shop", "shop_service"), self.nats.url())) for way in WAYS}
        self.killer = Killer(self.relay)

    def start(self):
        self.relay.start().wait_until_ready()
        for service in self.services.values():
            service.start()
        self.killer.start()

    def close(self):
        self.killer.close()

    def sold(self, way):
        return {sale for (sale,) in self.postgres.execute("SELECT id::text FROM sales WHERE way = %s", (way,), dbname="shop")}

    def told(self, way):
        with Client(self.nats.url()) as client:
            return {stored.payload.decode() for stored in JetStream(client).read(STREAMS[way])}

    def counts(self):
        """Sales and messages of each way: (sales, messages), (sales, messages)."""
        sold = dict(self.postgres.execute("SELECT way, count(*) FROM sales GROUP BY 1", dbname="shop"))
        with Client(self.nats.url()) as client:
            return tuple((sold.get(way, 0), JetStream(client).count(STREAMS[way])) for way in WAYS)

    def is_settled(self):
        """Everything that is in the outbox is marked as sent."""
        return self.postgres.execute("SELECT count(*) FROM boxhaul.messages WHERE state <> 'sent'", dbname="shop") == [(0,)]


def trade(show, seconds):
    """Both services sell for a while, and longer where the dice have spared the dual write so far. Returns what went wrong."""
    def look():
        (dual, told), (outbox, relayed) = show.counts()
        kills = sum(service.kills for service in show.services.values())
        return (dual, told, outbox, relayed), (f"dual write: sold {dual:7,} told {told:7,}   outbox: sold {outbox:7,} told {relayed:7,}   "
                                               f"services killed {kills:4}, boxhaul {show.killer.kills:3} times")

    flow = Flow(look)
    show.start()
    try:
        flow.show_until(lambda: flow.is_over(seconds) and show.killer.kills > 0 and
                        (flow.is_over(seconds + DEADLINE) or bool(show.sold("dual") ^ show.told("dual"))))
        for service in show.services.values():
            service.close()
        show.close()
        finished = flow.show_until(show.is_settled)
    finally:
        flow.end()
    problems = [] if finished else [f"nothing moved for {DEADLINE} s; the end of boxhaul's log:\n{show.relay.log_tail()}"]
    problems += show.killer.failures
    for way, service in show.services.items():
        if service.failures:
            problems.append(f"the service {way} failed {len(service.failures)} times, the first: {service.failures[0]}")
    return problems


def tell(show, way):
    """What is in the one place and not in the other. Returns how many."""
    sold, told = show.sold(way), show.told(way)
    say(f"{way}: {len(sold):,} sales in the table, {len(told):,} in the stream: {len(sold - told):,} that nobody was told of, "
        f"{len(told - sold):,} that never happened")
    return len(sold ^ told), len(sold)


def run(workspace, boxhaul, seconds):
    """Returns the exit status."""
    with contextlib.closing(Show(workspace, boxhaul)) as show:
        say(f"two services sell for {seconds} s, {PROCESSES} processes each: one publishes by itself, the other one writes into its outbox; they and "
            "boxhaul are killed again and again")
        problems = trade(show, seconds)
        say(must_succeed(show.relay, "reconcile").rstrip())
        if (status := show.relay.stop()) != 0:
            problems.append(f"boxhaul run ended with status {status} on SIGTERM:\n{show.relay.log_tail()}")
        (dual, sales), (outbox, others) = tell(show, "dual"), tell(show, "outbox")
    for problem in problems:
        say(problem)
    say(f"dual_write_diverged={dual} outbox_diverged={outbox}")
    return 0 if dual > 0 and outbox == 0 and sales and others and not problems else 1
