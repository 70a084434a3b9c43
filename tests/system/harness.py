"""What the system tests share: real servers, a migrated database, relays, producers, and the count at the end.

    class MyTest(SystemTest):
        def test_something(self):
            self.start_relay()
            self.open_shop()
            ...
            self.audit()

A class has one PostgreSQL and one nats-server; every test gets a fresh database (a copy of a migrated one that
has the shop's table), the stream ORDERS for orders.>, and finds both servers up. Relay and producers log in as
users with no more than the granted roles. The program under test is named by the environment variable BOXHAUL."""

import contextlib
import fcntl
import hashlib
import io
import itertools
import json
import os
import re
import shutil
import signal
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import psycopg2  # noqa: E402

from jetstream import JetStream  # noqa: E402
from nats_client import Client  # noqa: E402
from process import DEADLINE, Workspace, wait_until  # noqa: E402
from reconcile import dead_letters, reconcile  # noqa: E402
from relay import SETTLED, Relay  # noqa: E402
from servers import Postgres, Questions, nats_server  # noqa: E402
from shop import Habits, Ledger, Shop, create_schema, seal  # noqa: E402

STREAM = "ORDERS"
SERVICE, RELAY = "shop_service", "shop_relay"  # who logs in
ANSWERS = 20  # seconds that a relay which runs is asked for its status
UNDRAINED = 5  # what `boxhaul run` ends with when it was told to end at once
ASKED_FOR = (None, 0, UNDRAINED, -signal.SIGKILL)  # statuses of a relay that has not failed


def encode(body):
    return json.dumps(seal(body)).encode()


# A statement that leaves nothing in its session.
QUESTION = re.compile(r"(?!.*(;|advisory|set_config))\s*SELECT\b", re.IGNORECASE | re.DOTALL)
ILLEGAL = "orders..x"  # an empty token: can never be sent


class Writer:
    """A producer driven by hand: one connection, one transaction at a time, all it writes booked in a ledger.
    What it writes is what the shop writes, so one reconciliation judges both."""

    def __init__(self, name, connection, ledger, numbers):
        self.name, self.connection, self.ledger, self.numbers = name, connection, ledger, numbers
        self.transactions, self.messages, self.open = 0, 0, False
        self.drafted, self.kept, self.prepared = [], 0, {}

    @property
    def transaction(self):
        return f"{self.name}-{self.transactions}"

    def execute(self, sql, values=None):
        with self.connection.cursor() as cursor:
            cursor.execute(sql, values)
            return cursor.fetchall() if cursor.description else None

    def begin(self):
        if not self.open:
            self.execute("BEGIN")
            self.transactions, self.open, self.drafted = self.transactions + 1, True, []
        return self

    def write(self, key=None, count=1, seq=None, note="", subject="orders.paid", headers=None):
        """Insert count messages. Those of a key are numbered as they are written: commit in that order, or say seq."""
        self.begin()
        for _ in range(count):
            self._insert(key, next(self.numbers) if seq is None else seq, note, subject, headers)
        return self

    def copy(self, count, keys=500):
        """The same by COPY, for very many."""
        self.begin()
        bodies = [self._body(f"{self.name}-{n % keys}", next(self.numbers), "", "orders.paid", None)
                  for n in range(count)]
        lines = "".join(f"{body['subject']}\t{body['key']}\t\\\\x{encode(body).hex()}\n" for body in bodies)
        with self.connection.cursor() as cursor:
            cursor.copy_expert("COPY boxhaul.outbox (subject, key, payload) FROM STDIN", io.StringIO(lines))
        return self

    def savepoint(self):
        self.begin()
        self.execute("SAVEPOINT step")
        self.kept = len(self.drafted)
        return self

    def rollback_to_savepoint(self):
        self.execute("ROLLBACK TO SAVEPOINT step")
        self.ledger.record("aborted", self.transaction, self.drafted[self.kept:])
        del self.drafted[self.kept:]
        return self

    def commit(self):
        self.execute("COMMIT")
        self._end("committed")

    def rollback(self):
        self.execute("ROLLBACK")
        self._end("aborted")

    def prepare(self):
        """PREPARE TRANSACTION; returns the name that finish() takes."""
        self.execute(f"PREPARE TRANSACTION '{self.transaction}'")
        self.prepared[self.transaction], self.open = self.drafted, False
        return self.transaction

    def finish(self, name, verb="COMMIT"):
        """COMMIT PREPARED or ROLLBACK PREPARED."""
        self.execute(f"{verb} PREPARED '{name}'")
        self.ledger.record("committed" if verb == "COMMIT" else "aborted", name, self.prepared.pop(name))

    def _insert(self, key, seq, note, subject, headers):
        body = self._body(key, seq, note, subject, headers)
        self.execute("INSERT INTO boxhaul.outbox (subject, key, payload, headers) VALUES (%s, %s, %s, %s::jsonb)",
                     (subject, key, encode(body), headers and json.dumps(headers)))

    def _body(self, key, seq, note, subject, headers):
        self.messages += 1
        self.drafted.append(f"{self.name}/{self.messages}")
        return {"message": self.drafted[-1], "key": key, "seq": seq, "subject": subject, "headers": headers,
                "transaction": self.transaction, "note": note}

    def _end(self, outcome):
        self.ledger.record(outcome, self.transaction, self.drafted)
        self.open = False


class SystemTest(unittest.TestCase):
    postgres_settings = {}
    nats_settings = {}
    _kept = None  # the directory with copies of what migrated servers held

    @classmethod
    def setUpClass(cls):
        cls.program = os.environ.get("BOXHAUL")
        if not cls.program:
            raise RuntimeError("the environment variable BOXHAUL must name the program to test")
        cls.workspace = cls.enterClassContext(Workspace())
        # fsync guards against power cuts, which no test makes: kill -9 of everything loses nothing without it.
        cls.pg = cls.workspace.add(Postgres(cls.workspace.path("pg"), **{"fsync": "off", "max_wal_size": "256MB", **cls.postgres_settings}))
        cls.nats = cls.workspace.add(nats_server(cls.workspace.path("nats"), **cls.nats_settings))
        cls.nats.start()
        cls._numbers = itertools.count(1)
        cls._start_migrated()

    @classmethod
    def _start_migrated(cls):
        """What a migrated server holds is made once for all classes that want the same, of this file and, where the environment variable
        BOXHAUL_KEPT names a directory for it, of all files: initdb and migrate cost as much as several tests."""
        if SystemTest._kept is None:
            SystemTest._kept = os.environ.get("BOXHAUL_KEPT") or unittest.enterModuleContext(Workspace()).path()
        directory = os.path.join(SystemTest._kept, hashlib.sha256(cls._what_makes_it().encode()).hexdigest()[:16])
        with open(directory + ".lock", "wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if os.path.exists(directory):
                cls.pg.begin_with(directory)
            else:
                cls.pg.start()
                cls._make_template()
                cls.pg.stop()
                cls.pg.keep(directory)
        cls.pg.start()

    @classmethod
    def _what_makes_it(cls):
        """All that a migrated server depends on: the programs, the template's steps, the settings."""
        wanted = {name: value for name, value in cls._settings("migrated").items() if name not in ("postgres", "nats")}
        steps = [vars(c)["_make_template"].__func__ for c in cls.__mro__ if "_make_template" in vars(c)]
        # What the steps read of the class: how many rows there are, for one.
        names = sorted({name for step in steps for name in step.__code__.co_names})
        values = {name: value for name in names if isinstance(value := getattr(cls, name, None), (str, int, list, tuple))}
        program = os.stat(cls.program)
        return json.dumps([cls.pg.programs, os.path.realpath(cls.program), program.st_mtime_ns, program.st_size,
                           [[step.__code__.co_filename, step.__qualname__] for step in steps], cls.postgres_settings, wanted, values])

    @classmethod
    def _make_template(cls):
        cls.pg.execute(f"ALTER ROLE {cls.pg.superuser} SET statement_timeout = '{DEADLINE}s'")  # no test hangs
        cls.pg.execute("CREATE DATABASE migrated")
        Relay(cls.program, cls.workspace.path("migrate"), cls._settings("migrated")).migrate()
        cls.pg.create_login(RELAY, "boxhaul_relay")
        cls.pg.create_login(SERVICE, "boxhaul_writer")
        with contextlib.closing(cls.pg.connect("migrated")) as connection:
            create_schema(connection, user=SERVICE)

    @classmethod
    def _settings(cls, database):
        return {"name": database,
                "postgres": {"conninfo": cls.pg.conninfo(database, RELAY),
                             "migrate_conninfo": cls.pg.conninfo(database)},
                "nats": {"urls": [cls.nats.url()]},
                "streams": [{"name": STREAM, "subjects": ["orders.>"], "create": True,
                             "replicas": cls.nats.replicas}]}

    def setUp(self):
        self.ledger, self.shops, self.relays, self.connections, self._questions = Ledger(), [], [], [], Questions()
        self._message_numbers = itertools.count(1)
        self._revive()
        self.database = f"test_{next(self._numbers)}"
        self.pg.copy_database("migrated", self.database)
        self.addCleanup(self._clean_up)

    def run(self, result=None):
        """As usual, but a test that fails shows the relays' logs."""
        result = self.defaultTestResult() if result is None else result
        before = len(result.failures) + len(result.errors)
        super().run(result)
        if len(result.failures) + len(result.errors) > before:
            for relay in getattr(self, "relays", []):
                if os.path.exists(relay.log):
                    print(f"\n{self.id()}: the end of {relay.log}:\n{relay.log_tail(40)}", file=sys.stderr)
        return result

    # -- what a test starts; all of it is gone at the end of the test

    def add_relay(self, **groups):
        """A relay that is not started yet. groups change its configuration: delivery={"window": 1}, ..."""
        settings = self._settings(self.database)
        if "urls" in groups.get("nats", {}):  # another server, which may stand alone
            settings["streams"][0]["replicas"] = 1
        for group, value in groups.items():
            settings[group] = {**settings.get(group, {}), **value} if isinstance(value, dict) else value
        name = f"{self.database}-relay-{len(self.relays) + 1}"
        relay = self.workspace.add(Relay(self.program, self.workspace.path(name), settings))
        self.relays.append(relay)
        return relay

    def start_relay(self, **groups):
        """A relay that runs and says it is ready."""
        return self.add_relay(**groups).start().wait_until_ready()

    def migrate(self, **groups):
        """Fit the test's database to this configuration."""
        done = self.add_relay(**groups).command("migrate")
        self.assertEqual(done.returncode, 0, done.stdout)
        return done.stdout

    def open_shop(self, clients=8, habits=None, **options):
        """A shop at work. Its books count in audit()."""
        shop = Shop(self.pg.conninfo(self.database, SERVICE), clients=clients, habits=habits or Habits(pause=0.002),
                    **{"name": f"shop{len(self.shops) + 1}-", **options})
        self.shops.append(shop)
        return shop.start()

    def writer(self, name, user=SERVICE):
        """A producer driven by hand. Its books count in audit()."""
        return Writer(name, self.connect(user), self.ledger, self._message_numbers)

    def connect(self, user=None):
        """An autocommit connection to the test's database, as the superuser unless a user is named."""
        self.connections.append(self.pg.connect(self.database, user))
        return self.connections[-1]

    def let_illegal_rows_in(self):
        """A row with the subject ILLEGAL becomes a dead letter from now on; else no producer could insert one."""
        self.sql("ALTER TABLE boxhaul.outbox DROP CONSTRAINT IF EXISTS outbox_subject")

    def insert_illegal(self, key=None, count=1):
        self.let_illegal_rows_in()
        self.sql("INSERT INTO boxhaul.outbox (subject, key, payload) SELECT %s, %s, '{}' FROM generate_series(1, %s)",
                 (ILLEGAL, key, count))

    def sql(self, statement, values=None, user=None):
        """One statement in the test's database; returns the rows, if it has any."""
        if user is None and QUESTION.match(statement) and threading.current_thread() is threading.main_thread():
            return self._questions.ask(self.pg, self.database, statement, values)
        return self.pg.execute(statement, values, self.database, user)

    @contextlib.contextmanager
    def jetstream(self):
        with Client(self.nats.url()) as client:
            yield JetStream(client, DEADLINE if self.nats.replicas > 1 else 0)

    @contextlib.contextmanager
    def put_back_behind(self):
        """JetStream's store as it is now is what it will be again: an older backup."""
        store, kept = os.path.join(self.nats.directory, "jetstream"), os.path.join(self.nats.directory, "kept")
        self.nats.stop()
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(store, kept)
        self.nats.start()
        yield
        self.nats.kill9()
        shutil.rmtree(store)
        shutil.copytree(kept, store)
        self.nats.start()

    # -- what a test sees

    def stored(self, stream=STREAM):
        """All messages of the stream, in order; none where there is no such stream (yet)."""
        with self.jetstream() as jetstream:
            return list(jetstream.read(stream)) if jetstream.count(stream) else []

    def count(self, stream=STREAM):
        with self.jetstream() as jetstream:
            return jetstream.count(stream)

    def status(self, relay):
        """What the relay says of itself. One that runs is asked until it answers: it may have been started a moment ago, and the machine
        be busy. {} when it does not."""
        end = time.monotonic() + ANSWERS
        while not (said := relay.status()) and relay.alive() and not relay.stopped() and time.monotonic() < end:
            time.sleep(0.05)
        return said

    def metric(self, relay, name):
        """One number of the relay's metrics; one that has just been started may not answer yet."""
        def found():
            return re.search(rf"^boxhaul_{name} (\d+)$", relay.get("/metrics")[1], re.MULTILINE)
        return int(self.wait(found, f"the metric {name}").group(1))

    def position(self):
        return self.sql("SELECT position FROM boxhaul.position")[0][0]

    def exceptions(self):
        return self.sql("SELECT lo, hi, kind FROM boxhaul.exceptions ORDER BY lo")

    def newest(self):
        """The highest id among the committed rows, 0 when there is none."""
        return self.sql("SELECT coalesce(max(id), 0) FROM boxhaul.outbox")[0][0]

    def committed(self):
        """Messages that the shops know to be committed."""
        return sum(len(shop.ledger.committed) for shop in self.shops)

    def is_settled(self):
        """Everything committed is marked sent (or dead), and every missing id accounted for."""
        return self.sql(SETTLED)[0][0]

    def is_asleep(self):
        """The relay has announced that it sleeps: producers notify it, and it asks for nothing."""
        return self.sql("SELECT boxhaul.is_asleep()") == [(True,)]

    def wait(self, condition, what, deadline=DEADLINE, pause=None, progress=lambda: None):
        """Poll until condition() is true; a relay that crashes meanwhile is an error at once. The deadline begins anew
        with each progress()."""
        def check():
            for relay in self.relays:
                if relay.returncode not in ASKED_FOR:
                    raise relay.died()
            return condition()
        try:
            return wait_until(check, what, deadline, pause, progress)
        except TimeoutError as e:
            raise AssertionError(f"{e}; {self._situation()}") from None

    def wait_for_messages(self, count, stream=STREAM):
        """Until the stream holds at least count messages."""
        self.wait(lambda: self.count(stream) >= count, f"{count} messages in {stream}", progress=lambda: self.count(stream))

    def wait_settled(self, deadline=DEADLINE):
        self.wait(self.is_settled, "everything to be sent and marked", deadline,
                  progress=lambda: (self.position(), self.sql("SELECT count(*) FROM boxhaul.exceptions")))

    def wait_asleep(self):
        self.wait(self.is_asleep, "the relay to sleep")

    def let_trade(self, messages, seconds=0.0):
        """Let the shops go on until they have committed that many messages more, and for so long at least."""
        goal, end = self.committed() + messages, time.monotonic() + seconds
        self.wait(lambda: self.committed() >= goal and time.monotonic() >= end, f"{messages} messages to be committed",
                  DEADLINE + seconds, progress=self.committed)

    # -- the end of a test

    def audit(self, ordered=True):
        """Close the shops, wait until all is sent, and compare the books with the stream: committed = stored,
        per key in order, nothing unexpected, and no producer ever saw an error. Returns the reconciliation."""
        for shop in self.shops:
            shop.stop()
        self.wait_settled()
        with contextlib.closing(self.pg.connect(self.database)) as connection:
            dead = dead_letters(connection)
        result = reconcile([self.ledger] + [shop.ledger for shop in self.shops], self.stored(), dead)
        if not ordered:
            result.out_of_order = 0
        self.assertTrue(result.clean(), f"{result} {result.examples}")
        self.assertEqual([error for shop in self.shops for error in shop.errors], [], "errors producers saw")
        return result

    # -- between tests

    def _revive(self):
        """Both servers up, whatever the test did to them."""
        for server in (self.pg, self.nats):
            server.resume()
            if not server.alive():
                server.start()

    def _clean_up(self):
        for relay in self.relays:
            relay.close()
        self._revive()
        for shop in self.shops:
            shop.stopping.set()
        for (name,) in self.sql("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"):
            self.sql(f"ROLLBACK PREPARED '{name}'")
        wait_until(self._drop_database, "the database's sessions to end")
        for thing in [*self.shops, *self.connections, self._questions]:
            thing.close()
        with self.jetstream() as jetstream:
            for stream in jetstream.names():
                jetstream.delete(stream)

    def _drop_database(self):
        """Whatever still runs in it ends here; the server itself waits only five seconds for that."""
        with contextlib.suppress(psycopg2.errors.ObjectInUse):
            self.pg.execute(f"DROP DATABASE {self.database} WITH (FORCE)")
            return True
        return False

    def _situation(self):
        try:
            return (f"position {self.position()}, newest id {self.newest()}, exceptions {self.exceptions()[:10]}, "
                    f"stored {self.count()}")
        except (psycopg2.Error, OSError) as e:
            return f"and the servers do not answer: {e}"
