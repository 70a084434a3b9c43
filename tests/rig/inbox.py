"""A chaos run of the inbox: a shop writes into the outbox of A, JetStream carries, the inbox of B takes, for two subscriptions: workers of
the service handle the one, a function that boxhaul calls the other. Then everything is healed, and the judge compares what the shop
committed with the effects of each in B: each once, in order per key, and nothing else. It takes nothing of boxhaul's word: it knows the
shop's ledger and the table of effects."""

import contextlib
import os
import shutil
import sys
import threading
import time

import psycopg2

from inbox_worker import FAILURE
from injector import AFTER, DRAIN, Injector, Skipped, draw
from jetstream import JetStreamError, Stored
from nats_client import NatsError
from process import Process, wait_until
from reconcile import reconcile
from relay import SETTLED, Relay
from servers import Nats, NatsCluster, Postgres
from shop import Habits, Shop, create_schema

STREAM, NAME, CALLED, DATABASE = "ORDERS", "billing", "archive", "service"
SERVICE, WORKER, RELAY = "shop_service", "billing_worker", "a_relay"
EFFECTS = f"""
CREATE TABLE effect (n bigserial PRIMARY KEY, subscription text, subject text, headers jsonb, payload bytea);
GRANT INSERT ON effect TO {WORKER}, {RELAY};
GRANT USAGE ON SEQUENCE effect_n_seq TO {WORKER}, {RELAY};
CREATE FUNCTION act(m boxhaul.inbox) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.effect (subscription, subject, headers, payload) VALUES (m.subscription, m.subject, m.headers, m.payload);
    IF random() < {FAILURE} THEN RAISE 'not today'; END IF;
END $$;
"""
SETTINGS = {"delivery": {"ack_timeout": "2s", "retry_max": "2s", "queue": 1024, "window": 256},
            "outbox": {"lease": "3s", "safety_poll": "5s"}}
KINDS = {  # weight, seconds at least, at most
    "taker-kill": (5, 0.1, 3), "taker-pause": (4, 0.5, 12), "taker-restart": (2, 0, 1), "terminate-taker": (3, 0, 0),
    "relay-kill": (2, 0.2, 3), "nats-kill": (4, 0.2, 5), "nats-pause": (3, 0.5, 8), "pg-a-kill": (2, 0.2, 2),
    "pg-b-kill": (4, 0.2, 3), "pg-b-pause": (2, 0.3, 5), "consumer-delete": (4, 0, 0), "stepdown": (4, 0, 0),
    "truncate": (2, 1, 4), "worker-kill": (4, 0, 0), "terminate-handler": (3, 0, 0),
}


class WorkerProcess(Process):
    """Started again whenever it dies: that is its business."""

    def __init__(self, directory, number, conninfo):
        super().__init__("worker", os.path.join(directory, f"worker{number}.log"))
        self.number, self.conninfo, self.lives = number, conninfo, 0

    def start(self):
        self.lives += 1
        here = os.path.dirname(os.path.abspath(__file__))
        self.spawn([sys.executable, "-B", os.path.join(here, "inbox_worker.py"), self.conninfo, NAME,
                    f"{self.number}/{self.lives}"])
        return self

    def close(self):
        self.kill9()


def draw_faults(o):
    names = [k for k in KINDS if (not o.faults or k in o.faults) and not (k == "stepdown" and o.nats == 1)
             and not (k == "truncate" and o.nats > 1)]
    return draw("inbox", o.seed, o.seconds, o.gap, {k: KINDS[k] for k in names}, o.relays)


class InboxRun(Injector):
    name = "inbox"

    def __init__(self, options, program):
        super().__init__(options, program, draw_faults(options))
        self.results, self.figures = {}, None

    def _play(self, workspace):
        self._start(workspace)
        shop = Shop(self.a.conninfo(DATABASE, SERVICE), clients=self.options.producers,
                    habits=Habits(pause=self.options.producers / self.options.rate)).start()
        keeper = threading.Thread(target=self._keep_alive, args=(self.workers,), daemon=True)
        keeper.start()
        self._inject()
        time.sleep(AFTER)
        shop.stop()
        self._drain()
        self.stopping.set()
        keeper.join()
        self._judge(shop)

    def _start(self, workspace):
        settings = {"fsync": "off", "shared_buffers": "32MB", "max_connections": 60}
        self.a, self.b = (workspace.add(Postgres(workspace.path(name), **settings)) for name in "ab")
        self.nats = workspace.add((Nats if self.options.nats == 1 else NatsCluster)(workspace.path("nats")))
        for server in (self.a, self.b, self.nats):
            server.start()
        for pg in (self.a, self.b):
            pg.execute(f"CREATE DATABASE {DATABASE}")
        urls = [node.url() for node in [self.nats, *getattr(self.nats, "others", [])]]
        self.relay = workspace.add(Relay(self.program, workspace.path("relay"), {
            "name": "shop", "postgres": self._postgres(self.a), "nats": {"urls": urls}, **SETTINGS,
            "streams": [{"name": STREAM, "subjects": ["orders.>"], "create": True, "replicas": self.nats.replicas}]}))
        self.takers = [workspace.add(Relay(self.program, workspace.path(f"taker{n}"), {
            "name": "billing", "postgres": self._postgres(self.b), "nats": {"urls": urls},
            "inbox": [{"name": name, "stream": STREAM, "subjects": ["orders.>"], "max_attempts": 1000000, "crash_attempts": 0, **more}
                      for name, more in ((NAME, {}), (CALLED, {"handler": "public.act", "workers": 2}))]}))
            for n in range(self.options.relays)]
        for relay in (self.relay, self.takers[0]):
            done = relay.command("migrate")
            if done.returncode:
                raise RuntimeError(f"boxhaul migrate: {done.stdout}")
        for pg in (self.a, self.b):
            pg.create_login(RELAY, "boxhaul_relay")
        self.a.create_login(SERVICE, "boxhaul_writer")
        self.b.create_login(WORKER, "boxhaul_handler")
        with contextlib.closing(self.a.connect(DATABASE)) as connection:
            create_schema(connection, user=SERVICE)
        self.b.execute(EFFECTS, dbname=DATABASE)
        for relay in (self.relay, *self.takers):
            relay.start()
        self.workers = [workspace.add(WorkerProcess(workspace.directory, n + 1, self.b.conninfo(DATABASE, WORKER))).start()
                        for n in range(4)]

    @staticmethod
    def _postgres(pg):
        return {"conninfo": pg.conninfo(DATABASE, RELAY), "migrate_conninfo": pg.conninfo(DATABASE)}

    # -- faults

    def _do_taker_kill(self, fault):
        taker = self.takers[fault["which"]]
        self._break(taker.log, taker.kill9, taker.start, fault["seconds"])

    def _do_taker_pause(self, fault):
        taker = self.takers[fault["which"]]
        self._break(taker.log, taker.pause, taker.resume, fault["seconds"])

    def _do_taker_restart(self, fault):
        taker = self.takers[fault["which"]]
        self._break(taker.log, taker.stop, taker.start, fault["seconds"])

    def _do_terminate_taker(self, _fault):
        self.b.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'boxhaul inbox'")

    def _do_relay_kill(self, fault):
        self._break("relay", self.relay.kill9, self.relay.start, fault["seconds"])

    def _do_nats_kill(self, fault):
        self._break("nats", self.nats.kill9, self.nats.start, fault["seconds"])

    def _do_nats_pause(self, fault):
        self._break("nats", self.nats.pause, self.nats.resume, fault["seconds"])

    def _do_pg_a_kill(self, fault):
        self._break("a", self.a.kill9, self.a.start, fault["seconds"])

    def _do_pg_b_kill(self, fault):
        self._break("b", self.b.kill9, self.b.start, fault["seconds"])

    def _do_pg_b_pause(self, fault):
        self._break("b", self.b.freeze, self.b.thaw, fault["seconds"])

    def _do_worker_kill(self, fault):
        self.workers[fault["which"] % len(self.workers)].kill9()

    def _do_terminate_handler(self, _fault):
        self.b.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'boxhaul handler'")

    def _do_consumer_delete(self, _fault):
        with self._jetstream() as js:
            for name in js.call(f"CONSUMER.NAMES.{STREAM}").get("consumers") or []:
                with contextlib.suppress(JetStreamError):  # it has gone meanwhile, as each does whose lead ends
                    js.call(f"CONSUMER.DELETE.{STREAM}.{name}")

    def _do_stepdown(self, _fault):
        with self._jetstream() as js:
            js.step_down(STREAM)

    def _do_truncate(self, fault):
        """The store is put back to what it was a while ago. What is lost so, B has taken before: else nobody could bring it."""
        store, kept = os.path.join(self.nats.directory, "jetstream"), os.path.join(self.nats.directory, "kept")
        with self._claim("nats"), self._claim("relay"), self._claim("b"):
            self.nats.stop()
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(store, kept)
            self.nats.start()
            time.sleep(fault["seconds"])
            self.relay.kill9()
            try:
                wait_until(self._all_taken, "all of the stream to be taken", 30, pause=0.1)
                self.nats.kill9()
                shutil.rmtree(store)
                shutil.copytree(kept, store)
                self.nats.start()
            except TimeoutError as e:
                raise Skipped(str(e)) from None
            finally:
                self.relay.start()

    # -- the end

    def _all_taken(self):
        with contextlib.suppress(psycopg2.Error, OSError, NatsError, Skipped):
            with self._jetstream() as js:
                last = js.info(STREAM)["state"]["last_seq"]
            return self.b.execute("SELECT position FROM boxhaul.inbox_position", dbname=DATABASE) == [(last,)] * 2
        return False

    def _settled(self):
        with contextlib.suppress(psycopg2.Error):
            return (self.a.execute(SETTLED, dbname=DATABASE)[0][0] and self._all_taken() and
                    self.b.execute("SELECT waiting, parked FROM boxhaul.inbox_status", dbname=DATABASE) == [(0, 0)] * 2)
        return False

    def _situation(self):
        with contextlib.suppress(psycopg2.Error):
            return (self.b.execute("SELECT subscription, position, incarnation, epoch, taken, left_out, waiting, parked, held, dead, stop "
                                   "FROM boxhaul.inbox_status", dbname=DATABASE))
        return "nothing is known"

    def _drain(self):
        try:
            wait_until(self._settled, "everything to be taken and handled", DRAIN, pause=0.2)
        except TimeoutError as e:
            self.problems.append(f"{e}: {self._situation()}")
        self._stop((self.relay, *self.takers))

    def _judge(self, shop):
        for name in (NAME, CALLED):
            rows = self.b.execute("SELECT n, subject, headers, payload FROM effect WHERE subscription = %s ORDER BY n", (name,), DATABASE)
            effects = [Stored(n, subject, {header: v if isinstance(v, list) else [v] for header, v in (headers or {}).items()},
                              bytes(payload)) for n, subject, headers, payload in rows]
            self.results[name] = result = reconcile(shop.ledger, effects)
            if not result.clean():
                self.problems.append(f"{name}: {result} {result.examples}")
        self.figures = self.b.execute("SELECT sum(epoch - 1), sum(incarnation - 1), sum(taken), sum(left_out), sum(dead) "
                                      "FROM boxhaul.inbox_status", dbname=DATABASE)[0]
        if self.figures[4]:
            self.problems.append(f"dead letters: {self.b.execute('SELECT reason FROM boxhaul.inbox_dead LIMIT 5', dbname=DATABASE)}")

    def report(self):
        self._table()
        o, results = self.options, self.results.values()
        takeovers, rewinds, taken, left_out, dead = self.figures or (0,) * 5
        figures = " ".join(f"{name}={sum(getattr(r, what) for r in results)}" for name, what in (
            ("missing", "missing"), ("twice", "duplicates"), ("unexpected", "unexpected"), ("out_of_order", "out_of_order")))
        handled = "+".join(str(r.stored) for r in results)
        print(f"chaos inbox seed={o.seed} nats={o.nats} takers={o.relays} faults={len(self.faults_done())} "
              f"committed={max((r.committed for r in results), default=0)} handled={handled} {figures} "
              f"taken={taken} left_out={left_out} dead={dead} takeovers={takeovers} rewinds={rewinds} "
              f"worker_lives={sum(w.lives for w in getattr(self, 'workers', []))}")
