"""The world of a chaos run: PostgreSQL a and b (a primary and its streaming standby), a JetStream server or a cluster
of three, one or two relays, and the proxy that all of them talk through.

        producers --- proxy --- a <-- proxy --> b        relay1, relay2 --- proxy --- a, b
                                                                        \\-- proxy --- nats1, nats2, nats3
The rig itself talks to the servers directly, so it sees and mends what the others cannot reach."""

import contextlib
import os
import threading
import time

import psycopg2

from disk import Disk
from jetstream import SECOND, JetStream
from nats_client import Client, NatsError
from network import Network
from process import free_port, wait_until
from relay import SETTLED, Relay
from servers import Nats, Postgres

STREAM, SUBJECTS = "ORDERS", "orders.>"
DATABASE, SERVICE, RELAY = "shop", "shop_service", "shop_relay"
SCHEMA = f"""
CREATE SCHEMA chaos;
CREATE TABLE chaos.keys (key text PRIMARY KEY, version bigint NOT NULL) WITH (fillfactor = 50);
CREATE TABLE chaos.transactions (name text PRIMARY KEY);
CREATE TABLE chaos.control (n bigint NOT NULL);
INSERT INTO chaos.control VALUES (0);
GRANT USAGE ON SCHEMA chaos TO {SERVICE};
GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA chaos TO {SERVICE};
"""
LAG = 0.4  # seconds that a standby which nobody waits for is behind when it takes over
DISK_MB = 256  # of a broker, where it can have a file system of its own


class Skipped(Exception):
    """This fault cannot be done here or now; why."""


class Pair:
    """PostgreSQL a and b. With sync, a commit is acknowledged when the standby has it, so a promotion loses nothing
    that a producer was told; the keeper (we) allows commits without a standby only after a promotion, until the old
    primary is rebuilt."""

    def __init__(self, workspace, network, sync=True):
        self.network, self.sync = network, sync
        settings = {"fsync": "off", "max_prepared_transactions": 20, "shared_buffers": "32MB", "wal_keep_size": "1GB",
                    "max_connections": 80, "synchronous_commit": "on", "wal_receiver_timeout": "60s",
                    "wal_sender_timeout": "60s", "wal_retrieve_retry_interval": "200ms", "log_lock_waits": "on",
                    "log_line_prefix": "%m [%p] %u "}
        self.a, self.b = (workspace.add(Postgres(workspace.path(name), **settings)) for name in "ab")
        self.primary, self.standby = self.a, self.b
        self.promotions = []  # when the new primary could take its first write

    def start(self):
        """The primary alone; follow() adds the standby when its schema stands."""
        self.a.start()
        self.ports = {"a-b": self.network.link("a-b", self.b.port), "b-a": self.network.link("b-a", self.a.port)}

    def name(self, node):
        return "a" if node is self.a else "b"

    def follow(self):
        """Build the standby from the primary, and trust it as soon as it is in step."""
        standby, primary = self.standby, self.primary
        standby.clone(primary, self.ports[f"{self.name(standby)}-{self.name(primary)}"])
        standby.start()
        wait_until(self.in_step, "the standby to stream")
        if self.sync:
            self._trust("*")

    def promote(self, fence):
        """fence(primary) makes sure that it takes no more writes. Returns the old primary, to be rebuilt."""
        self.wait_in_step()
        old, new = self.primary, self.standby
        if not self.sync:  # the last commits do not reach the standby
            self.network.set(self.network.between("a", "b"), "stall")
            time.sleep(LAG)
        fence(old)
        new.promote()
        self.promotions.append(time.time())
        self.primary, self.standby = new, old
        return old

    def in_step(self):
        """The standby has everything the primary had when we asked."""
        with contextlib.suppress(psycopg2.Error):
            (here,), = self.primary.execute("SELECT pg_current_wal_flush_lsn()")
            states = ["sync"] if self._trusting() else ["sync", "async"]
            return self.primary.execute("SELECT true FROM pg_stat_replication WHERE state = 'streaming' "
                                        "AND flush_lsn >= %s AND sync_state = ANY (%s)", (here, states))
        return False

    def wait_in_step(self):
        try:
            wait_until(self.in_step, "the standby to be in step", deadline=10)
        except TimeoutError as e:
            raise Skipped(str(e)) from None

    def execute(self, sql, values=None):
        return self.primary.execute(sql, values, DATABASE)

    def _trusting(self):
        return self.primary.execute("SHOW synchronous_standby_names") == [("*",)]

    def _trust(self, names):
        self.primary.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'")
        self.primary.execute("SELECT pg_reload_conf()")

    def conninfo(self, client, user):
        """Both hosts as client reaches them: whichever takes writes."""
        ports = [self.network.links[f"{client}-{name}"] for name in "ab"]
        return (f"host=127.0.0.1,127.0.0.1 port={ports[0]},{ports[1]} dbname={DATABASE} user={user} "
                f"password={self.a.password} target_session_attrs=read-write")


class Cluster:
    """nats1, or nats1 to nats3 with routes through the proxy."""

    def __init__(self, workspace, network, size):
        self.network = network
        self.nodes = [Nats(workspace.path(f"nats{n + 1}"), ping_interval="2s", ping_max=2, write_deadline="4s")
                      for n in range(size)]
        self.disks = [Disk(os.path.join(node.directory, "jetstream"), DISK_MB) for node in self.nodes]
        for node, disk in zip(self.nodes, self.disks):
            workspace.add(disk)
            workspace.add(node)
        if size > 1:
            self._route()

    def _route(self):
        """Each dials the others by its own links. What it advertises is a port where nobody listens: gossip must not
        find a way around the proxy."""
        listen = [free_port() for _ in self.nodes]
        for i, node in enumerate(self.nodes):
            routes = [f"nats://127.0.0.1:{self.network.link(f'nats{i + 1}-nats{j + 1}', listen[j])}"
                      for j in range(len(self.nodes)) if j != i]
            node.settings["server_name"] = f"nats{i + 1}"
            node.settings["cluster"] = {"name": "chaos", "host": "127.0.0.1", "port": listen[i], "routes": routes,
                                        "advertise": "127.0.0.1:1", "no_advertise": True}

    def start(self):
        for node, disk in zip(self.nodes, self.disks):
            disk.mount()
            node.spawn_only()
        for node in self.nodes:
            node.wait_listening()

    def name(self, node):
        return f"nats{self.nodes.index(node) + 1}"

    @contextlib.contextmanager
    def jetstream(self, node=None, deadline=5):
        """On a node that answers."""
        last = None
        for candidate in [node] if node else self.nodes:
            try:
                client = Client(candidate.url(), deadline)
            except (OSError, NatsError) as e:
                last = e
                continue
            with client:
                yield JetStream(client)
            return
        raise last

    def insist(self, what, call, deadline=60):
        """call(jetstream) until it works: there may be no leader yet. Each node is asked in turn."""
        answer, errors = [], []

        def ask():
            for node in self.nodes:
                try:
                    with self.jetstream(node) as jetstream:
                        answer[:] = [call(jetstream)]
                    return True
                except (OSError, NatsError) as e:
                    errors[:] = [e]
            return False
        try:
            wait_until(ask, what, deadline, pause=0.2)
        except TimeoutError as e:
            raise TimeoutError(f"{e}: {errors[-1]}") from None
        return answer[0]

    def leads(self, nodes):
        """One of them leads the stream, by their own word."""
        with contextlib.suppress(OSError, NatsError), self.jetstream(nodes[0], 1) as jetstream:
            return jetstream.info(STREAM)["cluster"].get("leader") in map(self.name, nodes)
        return False

    def leader(self):
        """The node that leads the stream; the first one, while nobody knows."""
        with contextlib.suppress(OSError, NatsError):
            with self.jetstream(deadline=1) as jetstream:
                name = jetstream.info(STREAM).get("cluster", {}).get("leader")
                return next((node for node in self.nodes if self.name(node) == name), self.nodes[0])
        return self.nodes[0]


class World:
    def __init__(self, workspace, program, relays=1, nats=1, window=2.0, sync=True, settings=None, send=None):
        """send: by which wire the stream is to be sent to; then it takes batches (nats-server 2.14 and newer)."""
        self.workspace, self.program, self.window, self.send = workspace, program, window, send
        self.network = workspace.add(Network(workspace.directory))
        self.pair = Pair(workspace, self.network, sync)
        self.size, self.count, self.settings = nats, relays, settings or {}
        self.relays, self._claimed, self._lock = [], set(), threading.Lock()

    def start(self):
        self.network.start()
        self.pair.start()
        self._migrate()
        self.pair.follow()
        self.cluster = Cluster(self.workspace, self.network, self.size)
        self.cluster.start()
        self.cluster.insist("the stream", self._create_stream)
        for name in "ab":
            self.network.link(f"producers-{name}", getattr(self.pair, name).port)
        for n in range(1, self.count + 1):
            self.relays.append(self._relay(n))
        for relay in self.relays:
            relay.start()
        for relay in self.relays:
            relay.wait_until_ready()

    def _create_stream(self, jetstream):
        return jetstream.create(STREAM, [SUBJECTS], num_replicas=self.size, storage="file", discard="new",
                                duplicate_window=int(self.window * SECOND), **({"allow_batched": True} if self.send else {}))

    def _stream(self):
        return {"name": STREAM, "subjects": [SUBJECTS], **({"send": self.send} if self.send else {})}

    def _migrate(self):
        pg = self.pair.a
        pg.execute(f"CREATE DATABASE {DATABASE}")
        settings = {"name": "chaos", "postgres": {"conninfo": pg.conninfo(DATABASE)},
                    "nats": {"urls": ["nats://127.0.0.1:4222"]}, "streams": [self._stream()],
                    **self.settings}
        Relay(self.program, self.workspace.path("migrate"), settings).migrate()
        pg.create_login(RELAY, "boxhaul_relay")
        pg.create_login(SERVICE, "boxhaul_writer")
        pg.execute(SCHEMA, dbname=DATABASE)

    def _relay(self, n):
        name, wire = f"relay{n}", self.workspace.path("wire")
        os.makedirs(wire, exist_ok=True)
        for host in "ab":
            self.network.link(f"{name}-{host}", getattr(self.pair, host).port)
        urls = [f"nats://127.0.0.1:{self.network.link(f'{name}-nats{i + 1}', node.port, wire)}"
                for i, node in enumerate(self.cluster.nodes)]
        relay = Relay(self.program, self.workspace.path(name), {
            "name": "chaos", "postgres": {"conninfo": self.pair.conninfo(name, RELAY)}, "nats": {"urls": urls},
            "streams": [self._stream()], **self.settings})
        relay.name = name
        return self.workspace.add(relay)

    # -- who is meant

    def leader(self):
        """The relay that says it leads; the first one, while none does."""
        for relay in self.relays:
            with contextlib.suppress(ValueError, OSError):
                if relay.alive() and relay.status(deadline=0.5).get("role") == "leader":
                    return relay
        return self.relays[0]

    def links(self, one, other):
        """All links between two ends, where "primary" is whoever it is now and "nats" every broker."""
        names = {"primary": [self.pair.name(self.pair.primary)],
                 "nats": [self.cluster.name(node) for node in self.cluster.nodes]}
        return [name for x in names.get(one, [one]) for y in names.get(other, [other]) if x != y
                for name in self.network.between(x, y)]

    @contextlib.contextmanager
    def claim(self, *things):
        """A thing can have one trouble at a time; the second fault is skipped."""
        with self._lock:
            taken = self._claimed.intersection(things)
            if taken:
                raise Skipped(f"{', '.join(sorted(map(str, taken)))} in trouble already")
            self._claimed.update(things)
        try:
            yield
        finally:
            with self._lock:
                self._claimed.difference_update(things)

    def is_claimed(self, thing):
        return thing in self._claimed

    # -- the end

    def is_settled(self):
        """Nothing committed is left unsent in boxhaul's books, and no id unaccounted for."""
        return self.pair.execute(SETTLED)[0][0]

    def situation(self):
        position = self.pair.execute("SELECT position, epoch, leader FROM boxhaul.position")
        exceptions = self.pair.execute("SELECT lo, hi, kind, attempts, last_error FROM boxhaul.exceptions LIMIT 10")
        newest = self.pair.execute("SELECT max(id) FROM boxhaul.outbox")
        roles = [relay.get("/readyz") for relay in self.relays]
        return f"position {position}, newest {newest}, exceptions {exceptions}, relays {roles}"
