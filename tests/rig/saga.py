"""A chaos run of sagas: a desk that orders, a stock and a bank, each with a PostgreSQL and a daemon of its own, one nats-server; orders that
are refused, that meet errors, silence, clerks who answer too late, operators and customers who change their minds. Then everything is
healed, all sagas must end, and saga_judge.py reads the three databases."""

import collections
import contextlib
import json
import os
import random
import shutil
import sys
import threading
import time

import psycopg2
import psycopg2.errors

import saga_judge as judge
from injector import AFTER, DRAIN, Injector, draw
from process import Process, wait_until
from relay import SETTLED, Relay
from saga_services import BEFORE, DEFINITIONS, DESK, REPLIES, STEPS, STREAM, participant
from servers import Nats, NatsCluster, Postgres

DATABASE, RELAY, SERVICE = "service", "a_daemon", "a_service"
SETTINGS = {"delivery": {"ack_timeout": "2s", "retry_max": "2s", "queue": 1024, "window": 256},
            "outbox": {"lease": "3s", "safety_poll": "5s"}}
SERVICES = ("desk", "stock", "bank")
KINDS = {  # weight, seconds at least, at most
    "daemon-kill": (6, 0.1, 3), "daemon-pause": (4, 0.5, 8), "daemon-restart": (2, 0, 1), "terminate-sessions": (4, 0, 0),
    "nats-kill": (3, 0.2, 4), "nats-pause": (2, 0.5, 6), "pg-kill": (6, 0.2, 3), "pg-pause": (3, 0.3, 4), "worker-kill": (3, 0, 0),
    "truncate": (3, 0.5, 3), "clock-ahead": (4, 1, 8), "clock-behind": (2, 1, 8), "stepdown": (2, 0, 0), "change-of-mind": (4, 0, 0),
}
CANCELS, ROLLBACKS = 0.03, 0.05  # shares of what is started
RATE = 15  # sagas a second, at most


class BankWorker(Process):
    def __init__(self, directory, number, conninfo):
        super().__init__("worker", os.path.join(directory, f"worker{number}.log"))
        self.number, self.conninfo, self.lives = number, conninfo, 0

    def start(self):
        self.lives += 1
        here = os.path.dirname(os.path.abspath(__file__))
        self.spawn([sys.executable, "-B", os.path.join(here, "saga_worker.py"), self.conninfo, "bank", f"{self.number}/{self.lives}"])
        return self

    def close(self):
        self.kill9()


class Starter(threading.Thread):
    """Someone at the desk: orders, sometimes thinks better of it before COMMIT, or cancels one of the last orders."""

    def __init__(self, conninfo, seed, pause, stopping):
        super().__init__(daemon=True)
        self.conninfo, self.dice, self.pause, self.stopping = conninfo, random.Random(seed), pause, stopping
        self.rolled_back, self.locked, self.cancels, self.last, self.error = 0, 0, collections.Counter(), [], None

    def run(self):
        try:
            while not self.stopping.is_set():
                with contextlib.suppress(psycopg2.OperationalError, psycopg2.InterfaceError):
                    with contextlib.closing(psycopg2.connect(self.conninfo, connect_timeout=10)) as connection:
                        while not self.stopping.wait(self.dice.uniform(0, 2 * self.pause)):
                            self._order(connection)
                self.stopping.wait(0.1)
        except Exception as e:
            self.error = e

    def _order(self, connection):
        amount, count = self.dice.randint(1, 90), self.dice.randint(1, 5)
        try:
            with connection, connection.cursor() as cursor:
                if self.last and self.dice.random() < CANCELS:
                    self._cancel(cursor)
                    return
                locks = [f"customer {self.dice.randrange(300)}"] if self.dice.random() < 0.5 else []
                cursor.execute("SELECT boxhaul.saga_start(%s, %s, jsonb_build_object('amount', %s, 'count', %s), %s::text[])",
                               (self.dice.choice(list(DEFINITIONS)), f"order {amount}", amount, count, locks))
                saga = cursor.fetchone()[0]
                cursor.execute("INSERT INTO orders VALUES (%s, %s, %s)", (saga, amount, count))
                if self.dice.random() < ROLLBACKS:
                    self.rolled_back += 1
                    connection.rollback()
                    return
            self.last = [*self.last[-9:], saga]
        except psycopg2.errors.ObjectInUse:
            self.locked += 1
        except psycopg2.errors.RaiseException:  # the note failed, and with it the start
            self.rolled_back += 1

    def _cancel(self, cursor):
        """It is under way, or has ended: the answer says what comes of it."""
        cursor.execute("SELECT boxhaul.saga_cancel(%s, 'the customer thought better of it')", (self.dice.choice(self.last),))
        self.cancels[cursor.fetchone()[0]] += 1


class Clerks(threading.Thread):
    """Decide what the services left open, some time: mostly too late."""

    def __init__(self, servers, seed, stopping):
        super().__init__(daemon=True)
        self.servers, self.dice, self.stopping, self.calm = servers, random.Random(seed), stopping, threading.Event()
        self.decided, self.void, self.error = 0, 0, None

    def run(self):
        try:
            while not self.stopping.wait(0.3):
                for server in self.servers:
                    with contextlib.suppress(psycopg2.OperationalError, psycopg2.InterfaceError):
                        self._look(server)
        except Exception as e:
            self.error = e

    def _look(self, server):
        with contextlib.closing(psycopg2.connect(server.conninfo(DATABASE, SERVICE), connect_timeout=5)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("SELECT saga, step FROM asked WHERE at < clock_timestamp() - %s * interval '1 second'",
                               (0 if self.calm.is_set() else self.dice.uniform(0, 12),))
                for saga, step in cursor.fetchall():
                    self._decide(cursor, saga, step)

    def _decide(self, cursor, saga, step):
        try:
            cursor.execute("SELECT decide(%s, %s, %s)", (saga, step, self.calm.is_set() or self.dice.random() < 0.7))
            self.decided += 1
        except (psycopg2.errors.DeadlockDetected, psycopg2.errors.NoDataFound):
            return
        except (psycopg2.errors.RaiseException, psycopg2.errors.ObjectNotInPrerequisiteState):  # it was undone, or has another answer
            cursor.execute("DELETE FROM asked WHERE saga = %s AND step = %s", (saga, step))
            self.void += 1


def draw_faults(o):
    names = [k for k in KINDS if (not o.faults or k in o.faults) and not (k == "stepdown" and o.nats == 1)
             and not (k == "truncate" and o.nats > 1)]
    return draw("saga", o.seed, o.seconds, o.gap, {k: KINDS[k] for k in names}, 12)


class SagaRun(Injector):
    name = "saga"

    def __init__(self, options, program):
        super().__init__(options, program, draw_faults(options))
        self.verdict, self.starters, self.quiet = judge.Verdict(), [], 0

    def _play(self, workspace):
        self._start(workspace)
        done, o = threading.Event(), self.options
        self.starters = [Starter(self.desk.conninfo(DATABASE, SERVICE), f"{o.seed}/{n}", o.producers / min(o.rate, RATE), done)
                         for n in range(o.producers)]
        clerks = Clerks((self.stock, self.bank), o.seed, self.stopping)
        keeper = threading.Thread(target=self._keep_alive, args=(self.workers,), daemon=True)
        for thread in (*self.starters, clerks, keeper):
            thread.start()
        self._inject()
        time.sleep(AFTER)
        done.set()
        self._heal(clerks)
        self._drain()
        self.stopping.set()
        for thread in (*self.starters, clerks, keeper):
            thread.join(DRAIN)
            if getattr(thread, "error", None):
                self.problems.append(f"{type(thread).__name__}: {thread.error!r}")
        self._judge()

    def _start(self, workspace):
        settings = {"fsync": "off", "shared_buffers": "32MB", "max_connections": 60, "deadlock_timeout": "100ms"}
        for name in SERVICES:
            setattr(self, name, workspace.add(Postgres(workspace.path(name), **settings)))
        self.servers = [getattr(self, name) for name in SERVICES]
        self.nats = workspace.add((Nats if self.options.nats == 1 else NatsCluster)(workspace.path("nats")))
        for server in (*self.servers, self.nats):
            server.start()
        for pg in self.servers:
            pg.execute(f"CREATE DATABASE {DATABASE}")
        self.daemons = [self._daemon(workspace, "desk", n) for n in range(self.options.relays)] + [
            self._daemon(workspace, name) for name in ("stock", "bank")]
        for relay in self.daemons[-3:]:
            relay.migrate()
        self._make_services()
        for relay in self.daemons:
            relay.start()
        wait_until(lambda: self._ask(self.desk, "SELECT count(*) FROM boxhaul.saga_settings") == [(1,)], "the desk's daemon to say where "
                   "answers go")
        self.workers = [workspace.add(BankWorker(workspace.directory, n + 1, self.bank.conninfo(DATABASE, SERVICE))).start()
                        for n in range(3)]

    def _daemon(self, workspace, name, number=0):
        pg, replicas = getattr(self, name), self.nats.replicas
        own = {"sagas": {"stream": STREAM, "replies": REPLIES, "tick": "500ms"}} if name == "desk" else {"inbox": [
            {"name": name, "stream": STREAM, "subjects": [f"{name}.>"], "max_attempts": 1000000, "crash_attempts": 0,
             **({"handler": "public.handle", "workers": 2} if name == "stock" else {})}]}
        urls = [node.url() for node in [self.nats, *getattr(self.nats, "others", [])]]
        return workspace.add(Relay(self.program, workspace.path(f"daemon-{name}{number or ''}"), {
            "name": name, "postgres": {"conninfo": pg.conninfo(DATABASE, RELAY), "migrate_conninfo": pg.conninfo(DATABASE)},
            "nats": {"urls": urls}, **SETTINGS, **own,
            "streams": [{"name": STREAM, "subjects": ["desk.>", "stock.>", "bank.>"], "create": True, "replicas": replicas}]}))

    def _make_services(self):
        for pg in self.servers:
            pg.create_login(RELAY, "boxhaul_relay")
            pg.create_login(SERVICE, "boxhaul_writer", "boxhaul_handler")
        self.desk.execute(DESK.format(service=SERVICE), dbname=DATABASE)
        for name, steps in DEFINITIONS.items():
            self.desk.execute("SELECT boxhaul.saga_define(%s, %s::jsonb)", (name, json.dumps(steps)), DATABASE)
        self.stock.execute(participant("reserve", "count", (RELAY, SERVICE)), dbname=DATABASE)
        self.bank.execute(participant("hold", "amount", (RELAY, SERVICE)), dbname=DATABASE)

    # -- faults

    def _do_daemon_kill(self, fault):
        daemon = self.daemons[fault["which"] % len(self.daemons)]
        self._break(daemon.log, daemon.kill9, daemon.start, fault["seconds"])

    def _do_daemon_pause(self, fault):
        daemon = self.daemons[fault["which"] % len(self.daemons)]
        self._break(daemon.log, daemon.pause, daemon.resume, fault["seconds"])

    def _do_daemon_restart(self, fault):
        daemon = self.daemons[fault["which"] % len(self.daemons)]
        self._break(daemon.log, daemon.stop, daemon.start, fault["seconds"])

    def _do_terminate_sessions(self, fault):
        self.servers[fault["which"] % 3].execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", (RELAY,))

    def _do_nats_kill(self, fault):
        self._break("nats", self.nats.kill9, self.nats.start, fault["seconds"])

    def _do_nats_pause(self, fault):
        self._break("nats", self.nats.pause, self.nats.resume, fault["seconds"])

    def _do_pg_kill(self, fault):
        pg = self.servers[fault["which"] % 3]
        self._break(pg.log, pg.kill9, pg.start, fault["seconds"])

    def _do_pg_pause(self, fault):
        pg = self.servers[fault["which"] % 3]
        self._break(pg.log, pg.freeze, pg.thaw, fault["seconds"])

    def _do_worker_kill(self, fault):
        self.workers[fault["which"] % len(self.workers)].kill9()

    def _do_clock_ahead(self, fault):
        """Deadlines come early, as when the clock of the database's machine is set ahead: a repeat or an undo more, and nothing wrong."""
        self._tick(fault["seconds"])

    def _do_clock_behind(self, fault):
        self._tick(-fault["seconds"])

    def _tick(self, seconds):
        self.desk.execute("SELECT boxhaul.saga_tick(clock_timestamp() + %s * interval '1 second', 100)", (seconds,), DATABASE)

    def _do_change_of_mind(self, fault):
        """An operator acts upon one that is open: what cannot be is refused."""
        act = ("retry(id)", "undo(id, 'an operator')", "cancel(id, 'an operator')")[fault["which"] % 3]
        self.desk.execute(f"SELECT boxhaul.saga_{act} FROM boxhaul.sagas WHERE state = 'running' ORDER BY started_at LIMIT 1", None, DATABASE)

    def _do_stepdown(self, _fault):
        with self._jetstream() as js:
            js.step_down(STREAM)

    def _do_truncate(self, fault):
        """The store is put back to what it was a while ago. Commands and answers are lost so, and nobody brings them again but the
        deadlines."""
        store, kept = os.path.join(self.nats.directory, "jetstream"), os.path.join(self.nats.directory, "kept")
        with self._claim("nats"):
            self.nats.stop()
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(store, kept)
            self.nats.start()
            time.sleep(fault["seconds"])
            self.nats.kill9()
            shutil.rmtree(store)
            shutil.copytree(kept, store)
            self.nats.start()

    # -- the end

    def _heal(self, clerks):
        """From now on everybody answers, and soon."""
        clerks.calm.set()
        for pg in self.servers:
            pg.execute("UPDATE mood SET calm = true", dbname=DATABASE)

    def _settled(self):
        """Where all that was sent is handled and a saga is open, only its deadline can help, which may be minutes away, for it was doubled
        often: then it has come. (Not before: whoever asks again while answers wait has more to wait for.)"""
        with contextlib.suppress(psycopg2.Error):
            quiet = (all(self._ask(pg, SETTLED)[0][0] for pg in self.servers)
                     and all(self._ask(pg, "SELECT sum(waiting + parked) FROM boxhaul.inbox_status") == [(0,)] for pg in self.servers))
            if self._ask(self.desk, "SELECT count(*) FROM boxhaul.sagas WHERE ended_at IS NULL") == [(0,)]:
                return quiet
            self.quiet = self.quiet + 1 if quiet else 0
            if self.quiet > 3:
                self._ask(self.desk, "SELECT boxhaul.saga_tick(max(due_at)) FROM boxhaul.sagas WHERE due_at < 'infinity'")
                self.quiet = 0
        return False

    def _ended(self):
        with contextlib.suppress(psycopg2.Error):
            return self._ask(self.desk, "SELECT count(*) FROM boxhaul.sagas WHERE ended_at IS NOT NULL")
        return None

    @staticmethod
    def _ask(pg, sql):
        return pg.execute(sql, dbname=DATABASE)

    def _drain(self):
        try:
            wait_until(self._settled, "every saga to end", DRAIN, pause=0.3,
                       progress=self._ended)
        except TimeoutError as e:
            self.problems.append(f"{e}: {self._situation()}")
        self._stop(self.daemons)

    def _situation(self):
        with contextlib.suppress(psycopg2.Error):
            return [self._ask(self.desk, "SELECT s FROM boxhaul.sagas s WHERE ended_at IS NULL LIMIT 5")] + [
                self._ask(pg, "SELECT subscription, position, waiting, parked, held, dead, stop FROM boxhaul.inbox_status")
                for pg in self.servers]
        return "nothing is known"

    def _judge(self):
        found = judge.read(*(lambda sql, pg=pg: self._ask(pg, sql) for pg in self.servers), steps=STEPS, before=BEFORE)
        self.verdict = judge.judge(found)
        self.problems += self.verdict.violations()

    def report(self):
        self._table()
        v, o = self.verdict, self.options
        print(f"chaos saga seed={o.seed} nats={o.nats} desks={o.relays} faults={len(self.faults_done())} "
              f"started={v.started} completed={v.completed} undone={v.undone} "
              f"stuck={v.counts['stuck']} open={v.counts['open']} inconsistent={v.inconsistent} refused={v.refused} "
              f"timeouts={v.timeouts} repeats={v.repeats} effects={v.effects} rolled_back={sum(s.rolled_back for s in self.starters)} "
              f"locked={sum(s.locked for s in self.starters)} worker_lives={sum(w.lives for w in getattr(self, 'workers', []))}")
