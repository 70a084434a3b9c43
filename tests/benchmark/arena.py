"""The servers of a measurement: a private PostgreSQL and nats-server, and what a figure puts into them.

They are as an operator would have them who has changed nothing: PostgreSQL with the defaults of its version (fsync and
synchronous_commit on), JetStream on file storage with its own sync. What is set nevertheless stands in told()."""

import contextlib
import itertools

from jetstream import SECOND, JetStream
from meter import Meter, children
from nats_client import Client
from process import DEADLINE, wait_until
from relay import SETTLED, Relay
from servers import Nats, NatsCluster, Postgres

RELAY, SERVICE = "bench_relay", "bench_service"  # who logs in
STREAM, SUBJECTS = "BENCH", ["bench.>"]

# As the relay itself creates a stream, so that both sides of a ratio write to the same kind.
STREAM_CONFIG = {"retention": "limits", "discard": "new", "storage": "file", "num_replicas": 1,
                 "duplicate_window": 120 * SECOND, "allow_direct": True}

# Chunks are transactions of their own, as a backlog has come into being. Payloads begin with the message's number, and
# yardsticks/bare.c makes the very same. Four subjects, and keys in turn.
FILL = """
DO $$
BEGIN
    FOR lowest IN %(first)s .. %(last)s BY %(chunk)s LOOP
        INSERT INTO %(table)s (subject, key, payload)
        SELECT '%(prefix)s.' || i %% %(subjects)s, 'key-' || i %% %(keys)s, convert_to(rpad(i::text, %(bytes)s, 'boxhaul '), 'UTF8')
          FROM generate_series(lowest, least(lowest + %(chunk)s - 1, %(last)s)) i;
        COMMIT;
    END LOOP;
END
$$
"""


class Database:
    """One migrated database of an arena, and the relay's books in it. It goes with its `with`, at the latest with the
    arena's."""

    def __init__(self, arena, name):
        self.arena, self.name = arena, name

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.drop()

    def conninfo(self, user=SERVICE):
        return self.arena.pg.conninfo(self.name, user)

    def connect(self, user=None):
        """An autocommit connection, as the superuser unless a user is named; the caller closes it."""
        return self.arena.pg.connect(self.name, user)

    def execute(self, sql, values=None):
        return self.arena.pg.execute(sql, values, self.name)

    def fill(self, count, size=256, keys=1000, chunk=500, first=1, prefix="bench", table="boxhaul.outbox", subjects=4):
        """A backlog of count messages of `size` bytes over so many keys and subjects, in transactions of `chunk`."""
        with contextlib.closing(self.connect()) as connection, connection.cursor() as cursor:
            cursor.execute("SET synchronous_commit = off; SET plan_cache_mode = force_generic_plan")
            cursor.execute(FILL % {"first": first, "last": first + count - 1, "keys": keys, "bytes": size, "chunk": chunk,
                                   "prefix": prefix, "table": table, "subjects": subjects})
        return self

    def copy(self):
        """A database that is this one as it stands now: the same backlog again, as nobody has read it yet."""
        return self.arena.database(self.name, by_file=True)

    def settled(self):
        """Everything committed is marked sent (or dead)."""
        return self.execute(SETTLED)[0][0]

    def asleep(self):
        """The relay sleeps: producers would notify it."""
        return self.execute("SELECT boxhaul.is_asleep()") == [(True,)]

    def backends(self, user=RELAY):
        """Pids of the backends that serve a user (the relay's, unless another one is named) in this database."""
        return self.arena.pg.backends(f"usename = '{user}' AND datname = '{self.name}'")

    def counts(self):
        """What PostgreSQL has counted for this database: sessions tell it when they end, and now and then before. It is
        asked in another one, so the question is not in it."""
        found = self.arena.pg.execute("""SELECT xact_commit + xact_rollback, tup_inserted + tup_updated + tup_deleted,
            blks_read + blks_hit FROM pg_stat_database WHERE datname = %s""", (self.name,))
        return dict(zip(("transactions", "written", "buffers"), found[0]))

    def drop(self):
        self.arena.pg.execute(f"DROP DATABASE IF EXISTS {self.name} WITH (FORCE)")


class Arena:
    """Servers that run. Leaving it ends the relays and removes databases and streams; the servers too, if they
    are its own (a Bench's standing arena keeps them for the next figure).

        with bench.arena() as arena:
            database = arena.database().fill(100_000)
            arena.create_stream()
            relay = arena.relay(database).start()
    """

    def __init__(self, workspace, program, number, postgres=None, nats=None, standing=False, nodes=1,
                 nats_program=None, stream_config=None):
        """nats_program: another nats-server than the installed one. stream_config: what its streams have beside STREAM_CONFIG."""
        self.workspace, self.program, self.standing = workspace, program, standing
        self.postgres_settings, self.nats_settings, self.stream_config = postgres or {}, nats or {}, stream_config or {}
        self.directory = f"arena-{number}"
        self.pg = workspace.add(Postgres(workspace.path(f"pg-{number}"), **self.postgres_settings))
        kind, self.replicas = (Nats, 1) if nodes == 1 else (NatsCluster, NatsCluster.replicas)
        self.nats = workspace.add(kind(workspace.path(f"nats-{number}"), program=nats_program, **self.nats_settings))
        self._numbers = itertools.count(1)
        self._relays, self._databases = [], []

    def start(self):
        self.pg.start()
        self.nats.start()
        self.pg.execute("CREATE DATABASE migrated")
        self.relay(Database(self, "migrated")).migrate()
        self.pg.create_login(RELAY, "boxhaul_relay")
        self.pg.create_login(SERVICE, "boxhaul_writer")
        return self

    def told(self):
        """What was set, in words."""
        version = self.pg.execute("SHOW server_version")[0][0].split()[0]
        private = ("listen_addresses", "unix_socket_directories", "dynamic_shared_memory_type", "logging_collector")
        changed = {name: value for name, value in self.pg.settings.items() if name not in private}
        copies = "one replica" if self.replicas == 1 else "three nodes and replicas"
        return [f"PostgreSQL {version}: defaults" + (f", but {changed}" if changed else "") + "; unix socket",
                f"nats-server {self.nats.version()}: defaults"
                + (f", but {self.nats_settings}" if self.nats_settings else "")
                + f"; TCP on loopback; streams: file, {copies}, duplicate window 2 min"
                + "".join(f", {name}" for name in self.stream_config)]

    # -- what a figure puts into it; gone when it leaves

    def database(self, template="migrated", by_file=False):
        """A fresh database: migrated and empty, or a copy of another one. by_file: file by file, between two checkpoints,
        so that nothing of the copying is left to do for the run to come (the only way before PostgreSQL 15)."""
        database = Database(self, f"bench_{next(self._numbers)}")
        can_choose = self.pg.execute("SELECT current_setting('server_version_num')::int >= 150000")[0][0]
        how = "STRATEGY FILE_COPY" if by_file and can_choose else ""
        self.pg.execute(f"CREATE DATABASE {database.name} TEMPLATE {template} {how}")
        self._databases.append(database)
        return database

    def relay(self, database, stream=STREAM, subjects=None, program=None, **groups):
        """A relay that is not started yet; the defaults, but where groups say something else: delivery={"window": 1}."""
        settings = {"name": database.name,
                    "postgres": {"conninfo": database.conninfo(RELAY),
                                 "migrate_conninfo": database.conninfo(self.pg.superuser)},
                    "nats": {"urls": [self.nats.url()]},
                    "streams": [{"name": stream, "subjects": subjects or SUBJECTS}]}
        for group, value in groups.items():
            settings[group] = {**settings.get(group, {}), **value} if isinstance(value, dict) else value
        path = self.workspace.path(f"{self.directory}-relay-{len(self._relays) + 1}")
        relay = self.workspace.add(Relay(program or self.program, path, settings))
        self._relays.append(relay)
        return relay

    @contextlib.contextmanager
    def jetstream(self):
        with Client(self.nats.url()) as client:
            yield JetStream(client)

    def create_stream(self, stream=STREAM, subjects=None, **config):
        """A fresh stream: one of that name goes before. config: what differs, in the words of the stream API."""
        with self.jetstream() as jetstream:
            if stream in jetstream.names():
                jetstream.delete(stream)
            jetstream.create(stream, subjects or SUBJECTS, **{**STREAM_CONFIG, "num_replicas": self.replicas, **self.stream_config, **config})

    def state(self, stream=STREAM):
        """What the stream says of itself: messages, first_ts, last_ts, ..."""
        with self.jetstream() as jetstream:
            return jetstream.info(stream)["state"]

    def wait_stored(self, count, stream=STREAM, deadline=30 * DEADLINE, pause=0.1, watch=None):
        """Until the stream holds count messages. watch: a process that must be alive meanwhile."""
        with self.jetstream() as jetstream:
            def enough():
                if watch is not None and not watch.alive():
                    raise watch.died()
                return jetstream.count(stream) >= count
            wait_until(enough, f"{count} messages in {stream}", deadline, pause)

    def meter(self, database=None, **sources):
        """A Meter over the servers, each of `sources` (name=[pid, ...] or a function), and the relay's backends in
        the database. "postgres" is the rest of PostgreSQL: everything but those."""
        backends = database.backends if database else (lambda: [])
        asked = {}

        def serving():
            asked["pids"] = backends()
            return asked["pids"]

        def others():
            return [pid for pid in [self.pg.pid, *children(self.pg.pid)] if pid not in asked["pids"]]
        named = {name: pids if callable(pids) else (lambda pids=pids: pids) for name, pids in sources.items()}
        nodes = [self.nats, *getattr(self.nats, "others", ())]
        return Meter({**named, "postgres_backend": serving, "postgres": others,
                      "nats-server": lambda: [node.pid for node in nodes]})

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.clear()
        if not self.standing:
            self.pg.close()
            self.nats.close()

    def clear(self):
        """End the relays, drop the databases, delete the streams."""
        for relay in self._relays:
            relay.close()
        for database in self._databases:
            database.drop()
        with self.jetstream() as jetstream:
            for stream in jetstream.names():
                jetstream.delete(stream)
        self._relays, self._databases = [], []
