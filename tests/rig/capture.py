"""A chaos run of a capture: a legacy shop writes, its tables are captured, a standby follows; daemons, brokers and servers die, slots are
dropped, the standby takes over. An operator resyncs what has a gap, and does nothing else. Then everything is healed, and an independent
reader rebuilds the tables from the stream alone and compares them with the source row by row. It takes nothing of boxhaul's word."""

import contextlib
import os
import threading
import time

import psycopg2

from copied import Copy, Source
from disk import Disk
from injector import AFTER, DRAIN, Injector, Skipped, draw
from legacy import TABLES, Legacy, Ways, create_tables
from process import wait_until
from relay import Relay
from servers import Nats, NatsCluster, Postgres

CAPTURE, STREAM, DATABASE = "legacy", "LEGACY_CDC", "legacy"
SERVICE, READER, ORDERS = "legacy_shop", "capture_reader", 3000
KINDS = {  # weight, seconds at least, at most
    "relay-kill": (6, 0.1, 3), "relay-pause": (4, 0.5, 12), "relay-restart": (2, 0, 1), "terminate-relay": (3, 0, 0),
    "terminate-sender": (3, 0, 0), "nats-kill": (4, 0.2, 5), "nats-pause": (3, 0.5, 8), "pg-kill": (3, 0.2, 3), "pg-pause": (2, 0.3, 6),
    "pg-restart": (2, 0, 1), "promote": (2, 0.2, 2), "slot-drop": (2, 0, 0), "stepdown": (3, 0, 0), "truncate": (1, 0, 0),
    "standby-silent": (3, 0.3, 5), "resync": (1, 0, 0), "disk-full": (2, 0.5, 4), "source-full": (1, 0.5, 4),
}
DISK_MB = 768  # of a broker and of each source, where it can have a file system of its own


def draw_faults(o):
    names = [k for k in KINDS if (not o.faults or k in o.faults) and not (k == "stepdown" and o.nats == 1)]
    return draw("capture", o.seed, o.seconds, o.gap, {k: KINDS[k] for k in names}, o.relays)


class CaptureRun(Injector):
    name = "capture"

    def __init__(self, options, program):
        super().__init__(options, program, draw_faults(options))
        self.resyncs = self.promotions = 0
        self.copy, self.rows = Copy(), (0, 0, 0)
        self.healing = threading.Lock()  # whoever changes the roles of the two servers has it

    def _play(self, workspace):
        self._start(workspace)
        self.legacy = Legacy(self._conninfo(SERVICE), self.options.producers, ORDERS, Ways(pause=self.options.producers / self.options.rate))
        self.legacy.start()
        operator = threading.Thread(target=self._operate, daemon=True)
        operator.start()
        self._inject()
        time.sleep(AFTER)
        self.legacy.stop()
        self._drain()
        self.stopping.set()
        operator.join()
        self._stop(self.relays)
        self._judge()

    # -- the world

    def _start(self, workspace):
        settings = {"fsync": "off", "shared_buffers": "32MB", "max_connections": 60, "wal_level": "logical", "wal_keep_size": "256MB"}
        self._give_disks(workspace)
        self.primary, self.standby = (workspace.add(Postgres(workspace.path(name), **settings)) for name in "ab")
        self.nats = workspace.add((Nats if self.options.nats == 1 else NatsCluster)(workspace.path("nats")))
        self._mount()
        self.primary.start()
        self.nats.start()
        self.primary.execute(f"CREATE DATABASE {DATABASE}")
        urls = [node.url() for node in [self.nats, *getattr(self.nats, "others", [])]]
        self.relays = [workspace.add(Relay(self.program, workspace.path(f"relay{n + 1}"), {
            "name": "legacy", "nats": {"urls": urls}, "postgres": {"conninfo": self._conninfo(READER), "migrate_conninfo": self._conninfo("postgres")},
            "capture": [{"name": CAPTURE, "tables": TABLES, "stream": STREAM, "create": True, "replicas": self.nats.replicas,
                         "chunk_rows": 50}]}))
            for n in range(self.options.relays)]
        self._must("migrate")
        for login in (SERVICE, READER):
            self.primary.create_login(login)
        self.primary.execute(f"ALTER ROLE {READER} REPLICATION; GRANT boxhaul_relay, boxhaul_capture TO {READER}")
        with contextlib.closing(self.primary.connect(DATABASE)) as connection:
            create_tables(connection, ORDERS, SERVICE)
        self.primary.execute("GRANT USAGE ON SCHEMA legacy TO boxhaul_capture; GRANT SELECT ON ALL TABLES IN SCHEMA legacy TO boxhaul_capture",
                             dbname=DATABASE)
        self._must("capture", "start", CAPTURE)
        self._follow()
        for relay in self.relays:
            relay.start()

    def _give_disks(self, workspace):
        """Small file systems, where such a fault is drawn; they are closed behind the servers."""
        kinds = {fault["kind"] for fault in self.schedule}
        self.disks = {name: workspace.add(Disk(workspace.path(name, folder), DISK_MB))
                      for name, folder, kind in (("nats", "jetstream", "disk-full"), ("a", "data", "source-full"), ("b", "data", "source-full"))
                      if kind in kinds}

    def _mount(self):
        for server in (self.primary, self.standby, self.nats):
            if disk := self._disk(server):
                os.makedirs(server.directory, mode=0o711, exist_ok=True)
                disk.mount(server.user)

    def _disk(self, server):
        return self.disks.get(os.path.basename(server.directory))

    def _conninfo(self, user):
        """Whichever of the two takes writes."""
        return (f"host={self.primary.directory},{self.standby.directory} port={self.primary.port},{self.standby.port} dbname={DATABASE} "
                f"user={user} target_session_attrs=read-write")

    def _must(self, *words):
        done = self.relays[0].command(*words)
        if done.returncode:
            raise RuntimeError(f"boxhaul {' '.join(words)}: {done.stdout}")

    def _follow(self):
        """Commits wait for the standby (unless --async-standby): each is in limbo for a while, and a promotion loses none."""
        self.standby.clone(self.primary, self.primary.port).start()
        if not self.options.async_standby:
            self._trust("walreceiver")

    def _trust(self, names):
        self.primary.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'")
        self.primary.execute("SELECT pg_reload_conf()")

    def _books(self, columns):
        return self.primary.execute(f"SELECT {columns} FROM boxhaul.capture", dbname=DATABASE)[0]

    def _operate(self):
        """What the manual tells an operator to do when a capture has a gap."""
        while not self.stopping.wait(0.3):
            with contextlib.suppress(psycopg2.Error, IndexError):
                if self._books("state") == ("gap",) and self.relays[0].command("capture", "resync", CAPTURE).returncode == 0:
                    self.resyncs += 1

    # -- faults

    def _relay(self, fault):
        return self.relays[fault["which"]]

    def _do_relay_kill(self, fault):
        relay = self._relay(fault)
        self._break(relay.log, relay.kill9, relay.start, fault["seconds"])

    def _do_relay_pause(self, fault):
        relay = self._relay(fault)
        self._break(relay.log, relay.pause, relay.resume, fault["seconds"])

    def _do_relay_restart(self, fault):
        relay = self._relay(fault)
        self._break(relay.log, relay.stop, relay.start, fault["seconds"])

    def _do_terminate_relay(self, _fault):
        self.primary.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", (READER,))

    def _do_terminate_sender(self, _fault):
        self.primary.execute("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active AND slot_type = 'logical'")

    def _do_nats_kill(self, fault):
        self._break("nats", self.nats.kill9, self.nats.start, fault["seconds"])

    def _do_nats_pause(self, fault):
        self._break("nats", self.nats.pause, self.nats.resume, fault["seconds"])

    def _do_pg_kill(self, fault):
        self._break("pg", self.primary.kill9, self.primary.start, fault["seconds"])

    def _do_pg_pause(self, fault):
        self._break("pg", self.primary.freeze, self.primary.thaw, fault["seconds"])

    def _do_pg_restart(self, fault):
        self._break("pg", lambda: self.primary.stop("fast"), self.primary.start, fault["seconds"])

    def _do_standby_silent(self, fault):
        """Commits stay in limbo for so long."""
        with self._claim("pg"):
            self.standby.freeze()
            time.sleep(fault["seconds"])
            self.standby.thaw()

    def _do_promote(self, fault):
        """The primary dies; the standby, which may lack the end (--async-standby), takes over; the old one follows it."""
        with self._claim("pg"):
            if self.options.async_standby:
                self.standby.freeze()
                time.sleep(0.4)
            self.primary.kill9()
            if self.options.async_standby:
                self.standby.thaw()
            self.standby.promote()
            self.primary, self.standby = self.standby, self.primary
            self.promotions += 1
            self._trust("")
            time.sleep(fault["seconds"])
            self._follow()

    def _do_slot_drop(self, _fault):
        with self._claim("pg"):
            name = self._books("slot")
            for _ in range(50):
                self.primary.execute("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = %s AND active", name)
                with contextlib.suppress(psycopg2.errors.ObjectInUse):
                    self.primary.execute("SELECT pg_drop_replication_slot(%s)", name)
                    return
            raise Skipped("it is always in use")

    def _fill(self, server, seconds):
        disk = self._disk(server)
        if not disk.mounted:
            raise Skipped(f"no small file system: {disk.reason}")
        disk.fill()
        time.sleep(seconds)
        disk.clear()

    def _do_disk_full(self, fault):
        """A broker whose disk was full has switched JetStream off: the operator makes room, and starts it again."""
        with self._claim("nats"):
            self._fill(self.nats, fault["seconds"])
            self.nats.kill9()
            self.nats.start()

    def _do_source_full(self, fault):
        """Statements fail, decoding fails, or the server ends itself: the operator makes room, and starts it again."""
        with self._claim("pg"):
            self._fill(self.primary, fault["seconds"])
            self.primary.kill9()
            self.primary.start()

    def _do_resync(self, _fault):
        if self.relays[0].command("capture", "resync", CAPTURE).returncode == 0:
            self.resyncs += 1

    def _do_truncate(self, _fault):
        self.legacy.truncate("legacy.stock")

    def _do_stepdown(self, _fault):
        with self._jetstream() as js:
            js.step_down(STREAM)

    # -- the end

    def _settled(self):
        with contextlib.suppress(psycopg2.Error, IndexError):
            (here,), = self.primary.execute("SELECT pg_current_wal_insert_lsn()")
            wait_until(lambda: self.primary.execute(
                "SELECT c.state = 'live' AND s.confirmed_flush_lsn >= %s AND NOT EXISTS (SELECT FROM boxhaul.capture_table WHERE state <> 'complete') "
                "FROM boxhaul.capture c JOIN pg_replication_slots s ON s.slot_name = c.slot", (here,), DATABASE) == [(True,)],
                "all to be confirmed", 20, pause=0.2)
            return True
        return False

    def _situation(self):
        with contextlib.suppress(psycopg2.Error):
            return (self.primary.execute("SELECT state, reason, detail, incarnation, end_lsn, ordinal FROM boxhaul.capture", dbname=DATABASE),
                    self.primary.execute("SELECT tab, state, reason, rows FROM boxhaul.capture_table", dbname=DATABASE),
                    self.primary.execute("SELECT slot_name, active, confirmed_flush_lsn FROM pg_replication_slots"))
        return "nothing is known"

    def _drain(self):
        def settled():
            with contextlib.suppress(TimeoutError):
                return self._settled()
            return False
        try:
            wait_until(settled, "everything to be stored and confirmed", DRAIN, pause=0.2)
        except TimeoutError as e:
            self.problems.append(f"{e}: {self._situation()}")

    def _judge(self):
        with self._jetstream() as js:
            self.copy = Copy(gaps=self.resyncs + self.promotions, strict=not self.options.async_standby).read(js.read(STREAM))
        self.rows = self.copy.compare(Source(self.primary, DATABASE, TABLES))
        if not self.copy.clean():
            self.problems.append(f"{self.copy}: {self.copy.examples}")
        full = "source-full" in self.done
        errors = [error for error in self.legacy.errors if not (full and error.startswith("53100"))]
        if errors:
            self.problems.append(f"the legacy shop got {len(errors)} errors: {errors[:3]}")
        if letters := self.primary.execute("SELECT reason, tab, key FROM boxhaul.capture_letter LIMIT 5", dbname=DATABASE):
            self.problems.append(f"dead letters: {letters}")

    def report(self):
        self._table()
        o, there, here, different = self.options, *self.rows
        print(f"chaos capture seed={o.seed} nats={o.nats} relays={o.relays} faults={len(self.faults_done())} "
              f"transactions={getattr(self, 'legacy', None) and self.legacy.committed} events={len(self.copy.events)} "
              f"promotions={self.promotions} resyncs={self.resyncs} twice={self.copy.faults['twice']} "
              f"source_rows={there} copy_rows={here} different={different}")
