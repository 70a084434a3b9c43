"""A chaos run of a move: the tables of a shop are captured in the old database and applied in the new one, under other names and types and by a function, and the
way back stands ready. Daemons, brokers and both servers die; rows of the copy are spoilt by hand, and `verify` has to find each; `capture resync` reads all
anew. In the middle a cut-over is killed again and again until it ends, and later the same back; the writers follow the side that takes their writes. Then
everything is healed, and the judge compares both databases row by row, and with what the writers know. He takes nothing of boxhaul's word."""

import contextlib
import json
import os
import random
import signal
import subprocess
import threading
import time

import psycopg2
from psycopg2 import errors

from injector import AFTER, DRAIN, Injector, Skipped, draw
from jetstream import JetStreamError
from move_faults import KINDS, MoveFaults
from move_judge import Found, Report, Verdict, as_old, by_key, judge
from move_shop import GRANTS, KEYS, NEW, OLD, SERVICE, STILL, MovingShop, Side, sinks
from nats_client import NatsError
from process import wait_until
from relay import Relay
from servers import Nats, NatsCluster, Postgres

DAEMON, HAND = MoveFaults.daemon_login, "a_hand"
FORTH, BACK = ("shop", "SHOP_CDC", "move"), ("back", "BACK_CDC", "home")  # capture, stream, subscription
PINNED = "-c datestyle=ISO -c intervalstyle=iso_8601 -c timezone=UTC -c extra_float_digits=3 -c bytea_output=hex"
SPOIL = {  # rows that no writer changes; {n}: which one. In the old one's words.
    "lines": {"changed": "UPDATE {t}.lines SET amount = 777 WHERE order_id = {n} AND line = 1",
              "missing": "DELETE FROM {t}.lines WHERE order_id = {n} AND line = 1",
              "surplus": "INSERT INTO {t}.lines VALUES ({n}, 99, 'surplus', 1, 'a hand')"},
    "stock": {"changed": "UPDATE {t}.stock SET {on_hand} = {on_hand} + {many} WHERE place = 'here' AND sku = 'still {n}'",
              "missing": "DELETE FROM {t}.stock WHERE place = 'here' AND sku = 'still {n}'",
              "surplus": "INSERT INTO {t}.stock (place, sku, {on_hand}, by) VALUES ('nowhere', 'still {n}', {many}, 'a hand')"},
    "customers": {"changed": "UPDATE {t}.customers SET note = note || ' ' WHERE id = {n}"},
}
SPOILT = {"lines": lambda n, kind: (str(n), "99" if kind == "surplus" else "1"),
          "stock": lambda n, kind: ("nowhere" if kind == "surplus" else "here", f"still {n}"), "customers": lambda n, kind: (str(n),)}


def draw_faults(o):
    names = [k for k in KINDS if (not o.faults or k in o.faults) and not (k == "stepdown" and o.nats == 1)]
    return draw("move", o.seed, o.seconds, o.gap, {k: KINDS[k] for k in names}, 2 * o.relays)


def draw_switches(seed, seconds):
    """When it is cut over, and when back: not at all, sometimes."""
    dice = random.Random(f"switches {seed}")
    forth, back = dice.uniform(0.3, 0.5) * seconds, dice.uniform(0.6, 0.85) * seconds
    return [(False, forth)] + ([(True, back)] if dice.random() < 0.75 else [])


class MoveRun(MoveFaults, Injector):
    name = "move"

    def __init__(self, options, program):
        super().__init__(options, program, draw_faults(options))
        self.dice = random.Random(f"move {options.seed}")
        self.owner, self.verdict = "old", Verdict()
        self.rows = threading.Lock()  # whoever spoils rows has it until they are right again, and a switch while it is under way
        self.reports, self.both, self.spoilt, self.unrepaired, self.said = [], [], 0, [], []
        self.passes = self.probes = self.kills = self.tries = self.moves = self.resyncs = self.mended = 0
        self.healed, self.settled, self.shop = threading.Event(), threading.Event(), None

    def _play(self, workspace):
        self._start(workspace)
        self.shop = MovingShop(*self.sides.values(), self.options.producers, self.options.producers / self.options.rate, self.options.seed).start()
        self.begun = time.monotonic()
        others = [threading.Thread(target=work, daemon=True) for work in (self._switch_all, self._verify_all, self._probe_all)]
        operator = threading.Thread(target=self._operate, daemon=True)
        for thread in (*others, operator):
            thread.start()
        self._inject()
        self.healed.set()
        time.sleep(AFTER)
        others[0].join(DRAIN)
        self.stopping.set()
        for thread in others[1:]:
            thread.join(DRAIN)
        self.shop.stop()
        self._drain()
        self.settled.set()
        operator.join(DRAIN)
        self._verify_last()
        self._stop(self.daemons)
        self._judge()

    # -- the world

    def _start(self, workspace):
        settings = {"fsync": "off", "shared_buffers": "32MB", "max_connections": 80, "wal_level": "logical"}
        self.old, self.new = (workspace.add(Postgres(workspace.path(name), **settings)) for name in ("old", "new"))
        self.new.programs = os.environ.get("POSTGRES_BIN_NEW", self.new.programs)
        self.servers = {"old": self.old, "new": self.new}
        self.nats = workspace.add((Nats if self.options.nats == 1 else NatsCluster)(workspace.path("nats")))
        for server in (self.nats, self.old, self.new):
            server.start()
        self.sides = {name: Side(name, server.conninfo("shop", SERVICE)) for name, server in self.servers.items()}
        urls = [node.url() for node in [self.nats, *getattr(self.nats, "others", [])]]
        ends = {"old": (FORTH, BACK, "cdc.shop", "back.shop"), "new": (BACK, FORTH, "back.shop", "cdc.shop")}
        self.relays = {name: [self._relay(workspace, name, n, urls, *ends[name]) for n in range(self.options.relays)] for name in ends}
        self.daemons = [*self.relays["old"], *self.relays["new"]]
        for name, schema in (("old", "shop"), ("new", "moved")):
            self._make(name, schema)
        for name, end in (("old", FORTH), ("new", BACK)):
            self._must(name, "capture", "start", end[0])
            for relay in self.relays[name]:
                relay.start()
            # Its stream is there then.
            wait_until(lambda name=name: self._ask(name, "SELECT state FROM boxhaul.capture") == [("live",)], f"the capture of the {name} one to be live")
        wait_until(lambda: self._ask("old", "SELECT 1 FROM boxhaul.inbox_position WHERE subscription = %s", BACK[2]), "the way back's sink to be known")
        self._must("old", "inbox", "pause", BACK[2])
        wait_until(self._complete, "the copy to be complete", progress=lambda: self._status("new"))

    @staticmethod
    def _version(server):
        return int(server.execute("SHOW server_version_num")[0][0])

    def _relay(self, workspace, name, n, urls, out, back, subject, subject_back):
        """A daemon of one side, with its capture, and the sink of the other one's."""
        captures = [{"name": out[0], "tables": [pair["from"] for pair in sinks(name == "old")], "stream": out[1], "create": True, "replicas": self.nats.replicas,
                     "format": "text", "subject": subject + ".{schema}.{table}", "chunk_rows": 50,
                     **({"snapshot": "none", "skip_applied": [back[2]]} if name == "new" else {})}]
        inbox = [{"name": back[2], "stream": back[1], "subjects": [subject_back + ".*.*"], "tables": sinks(name == "new"),
                  "snapshot": "required" if name == "new" else "none"}]
        server = self.servers[name]
        groups = {"capture": captures, "inbox": inbox}
        return workspace.add(Relay(self.program, workspace.path(f"{name}{n + 1}"), {
            "name": name, "nats": {"urls": urls}, "postgres": {"conninfo": server.conninfo("shop", DAEMON), "migrate_conninfo": server.conninfo("shop")}, **groups}))

    def _make(self, name, schema):
        server = self.servers[name]
        server.execute("CREATE DATABASE shop")
        self._must(name, "migrate")
        server.create_login(SERVICE)
        server.create_login(DAEMON, "boxhaul_relay", "boxhaul_capture", "boxhaul_sink")
        server.create_login(HAND, "boxhaul_sink")
        server.execute(f"ALTER ROLE {DAEMON} REPLICATION")
        for login in (DAEMON, HAND):
            server.execute(f"GRANT SET ON PARAMETER session_replication_role TO {login}" if self._version(server) >= 150000 else f"ALTER ROLE {login} SUPERUSER")
        with contextlib.closing(server.connect("shop")) as connection, connection.cursor() as cursor:
            cursor.execute(OLD if name == "old" else NEW)
            cursor.execute(GRANTS.format(schema=schema, service=SERVICE))
            if name == "new":  # the copy is fenced from its beginning
                for pair in sinks(True):
                    cursor.execute("SELECT boxhaul.fence_relation(%s::regclass, %s, 'it is written in the old database')", (pair["to"], pair["to"]))

    def _command(self, name, *words, deadline=120):
        return self.relays[name][0].command(*words, deadline=deadline)

    def _must(self, name, *words):
        done = self._command(name, *words)
        if done.returncode:
            raise RuntimeError(f"boxhaul {' '.join(words)}: {done.stdout}")

    def _ask(self, name, sql, *values):
        return self.servers[name].execute(sql, values, "shop")

    def _ends(self):
        """The side that is written, the other one, and what goes from there to here: capture, stream, subscription."""
        return ("old", "new", FORTH) if self.owner == "old" else ("new", "old", BACK)

    def _status(self, name):
        with contextlib.suppress(psycopg2.Error):
            return self._ask(name, "SELECT position, complete, error, missing FROM boxhaul.sink_status")
        return None

    def _complete(self):
        """All tables of the copy are, by both databases' word, and so far as the source had written when we asked."""
        source, copy, (capture, stream, subscription) = self._ends()
        with contextlib.suppress(psycopg2.Error, OSError, NatsError, Skipped):  # a TimeoutError is an OSError
            if self._ask(source, "SELECT 1 FROM boxhaul.capture c WHERE c.name = %s AND (c.state <> 'live' OR EXISTS (SELECT FROM boxhaul.capture_table t "
                         "WHERE t.capture = c.name AND t.state NOT IN ('complete', 'unproved')))", capture):  # a verify pass proves those
                return False
            with self._jetstream() as js:
                last = js.info(stream)["state"]["last_seq"]
            wait_until(lambda: self._ask(copy, "SELECT position >= %s FROM boxhaul.sink_status WHERE subscription = %s", last, subscription) == [(True,)],
                       "the sink", 10)
            return self._ask(copy, "SELECT complete FROM boxhaul.sink_status WHERE subscription = %s", subscription) == [(True,)]
        return False

    def _operate(self):
        """What the words say that tell of trouble: a unique index that rows from before a resync violate goes, and is made again when they are gone."""
        dropped = set()
        while not self.settled.wait(0.5) or dropped:
            with contextlib.suppress(psycopg2.Error, TimeoutError):
                _source, copy, _way = self._ends()
                if self._ask(copy, "SELECT 1 FROM boxhaul.sink_status WHERE error_state = '23505'"):
                    self._ask(copy, f"ALTER TABLE {self.sides[copy].schema}.customers DROP CONSTRAINT IF EXISTS unique_email")
                    dropped.add(copy)
                for name in list(dropped):
                    if self._complete():
                        self._ask(name, self.sides[name].words("ALTER TABLE {t}.customers ADD CONSTRAINT unique_email UNIQUE ({email})"))
                        dropped.discard(name)
                        self.mended += 1

    # -- the switch

    def _switch_all(self):
        for back, at in draw_switches(self.options.seed, self.options.seconds):
            self.healed.wait(max(0.0, self.begun + at - time.monotonic()))
            with self.rows:
                try:
                    self._switch(back)
                except Exception as e:  # pylint: disable=broad-except
                    self.problems.append(f"the rig failed at the cut-over: {e!r}")
                    return

    def _switch(self, back):
        """Killed at any moment, and said again, until it ends; taken back in between, sometimes."""
        end, kills = time.monotonic() + DRAIN, 0
        # A table that was emptied has another file, and a cut-over asks for a verify pass behind that.
        self.shop.truncating = False
        time.sleep(1)
        self._verify(None)
        words = [BACK[0], "--to", self.relays["new"][0].config, "-c", self.relays["old"][0].config, "--back"]
        words = words if back else [FORTH[0], *words[1:-1]]
        while time.monotonic() < end:
            self.tries += 1
            give_up = ["--give-up"] if self.dice.random() < 0.1 and kills < 8 else []
            with subprocess.Popen([self.program, "cutover", *words, "--timeout", "15s", *give_up], stdin=subprocess.DEVNULL, text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as run:
                if kills < 8 and self.dice.random() < 0.85:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        run.wait(self.dice.uniform(0.02, 0.9))
                    if run.returncode is None:
                        run.send_signal(signal.SIGKILL)
                        kills += 1
                said = run.communicate()[0]
            self.said.append(f"{' '.join(give_up) or 'cutover'} {run.returncode}: {said.strip()[-600:]}")
            if run.returncode == 0:
                self.owner = "old" if back else "new"
                self.kills, self.moves, self.shop.truncating = self.kills + kills, self.moves + 1, True
                return
            time.sleep(0.2)
            if "FAIL" in said:  # it says: verify
                wait_until(self._complete, "the copy to be complete", DRAIN, pause=0.3)
                self._verify(None)
        self.problems.append(f"the cut-over did not end: {self.said[-3:]}")

    def _probe_all(self):
        """Whether both databases would take a write: while a transaction is open that has written into a table of the one, no fence can come there; if the
        other takes one meanwhile, two owners are there."""
        dice = random.Random(f"probes {self.options.seed}")
        while not self.stopping.wait(0.05):
            names = dice.sample(("old", "new"), 2)
            table = dice.choice(("customers", "scratch", "stock"))
            with contextlib.suppress(psycopg2.OperationalError, psycopg2.InterfaceError):
                if self._takes(table, names):
                    self.both.append(f"{time.time():.3f} {table}")
                self.probes += 1

    def _takes(self, table, names):
        """Do all of them take a write into the table at one moment? It is taken back."""
        values = {"customers": "(id, {email}, by) VALUES (-1, 'probe', 'probe')", "scratch": "(id, by) VALUES (-1, 'probe')",
                  "stock": "(place, sku, {on_hand}, by) VALUES ('probe', 'probe', 0, 'probe')"}[table]
        with contextlib.ExitStack() as stack:
            for name in names:
                connection = psycopg2.connect(self.sides[name].conninfo, connect_timeout=5, options="-c lock_timeout=200ms")
                stack.callback(connection.close)
                try:
                    connection.cursor().execute(self.sides[name].words(f"INSERT INTO {{t}}.{table} {values}"))
                except (errors.ObjectNotInPrerequisiteState, errors.LockNotAvailable):
                    return False
        return True

    # -- verify

    def _verify_all(self):
        """Pass after pass over one table or all, and rows that are spoilt before some of them."""
        while not self.stopping.wait(self.dice.uniform(0.2, 1.5)):
            with self.rows:
                try:
                    self._verify_some()
                except Exception as e:  # pylint: disable=broad-except
                    self.problems.append(f"the rig failed at verify: {e!r}")
                    return

    def _verify_some(self):
        if not self._complete():
            return
        resyncs, table = self.resyncs, self.dice.choice([*SPOIL, None])
        spoilt = self._spoil(table) if table and self.dice.random() < 0.7 else set()
        found, proved = self._verify(table)
        if found is None:  # the world was healed, and it does not end
            self.unrepaired.append(f"verify did not end: {self.said[-2:]}")
            return
        maybe = resyncs != self.resyncs
        self.reports.append(Report(found, set() if maybe else spoilt, spoilt if maybe else set(), proved))
        while spoilt and self._verify(table, "--repair")[0] is not None and (left := self._still_spoilt(spoilt)):
            if self.stopping.is_set():
                self.unrepaired.append(f"{left} after verify --repair: {self.said[-1]}")
                return

    def _spoil(self, table):
        """Returns what is wrong now: (table, kind, key) each."""
        _source, copy, _way = self._ends()
        wrong = set()
        for n in self.dice.sample(range(1, STILL + 1), self.dice.choice((1, 1, 3))):
            kind = self.dice.choice(list(SPOIL[table]))
            with contextlib.suppress(psycopg2.Error), contextlib.closing(self.servers[copy].connect("shop", HAND)) as connection:
                connection.cursor().execute("SET session_replication_role = replica")
                connection.cursor().execute(self.sides[copy].words(SPOIL[table][kind].replace("{n}", str(n))))
            wrong.add((table, kind, tuple(sorted(SPOILT[table](n, kind)))))
        self.spoilt += len(wrong)
        # A connection that ended in the middle has told nobody whether it took effect.
        return self._still_spoilt(wrong)

    def _still_spoilt(self, wrong):
        """By the rows themselves: of each side's still ones."""
        if not wrong:
            return set()
        table = next(iter(wrong))[0]
        old, new = by_key(table, self._rows("old", table)), by_key(table, [as_old(table, row) for row in self._rows("new", table)])
        source, copy = (old, new) if self.owner == "old" else (new, old)
        here = {tuple(sorted(key)): ("missing" if key not in copy else "surplus" if key not in source else "changed")
                for key in source.keys() | copy.keys() if source.get(key) != copy.get(key)}
        return {what for what in wrong if here.get(what[2]) == what[1]}

    def _rows(self, name, table):
        """Texts of the columns, as their types write them."""
        def ask():
            with contextlib.closing(self.servers[name].connect("shop", options=PINNED)) as connection, connection.cursor() as cursor:
                where = f"{self.sides[name].schema}.{table}"
                cursor.execute("SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum", (where,))
                names = [column for (column,) in cursor.fetchall()]
                columns = ", ".join(f"CASE WHEN {n} IS NULL THEN NULL ELSE format('%s', {n}) END" for n in names)
                cursor.execute(f"SELECT {columns} FROM {where}")
                return [dict(zip(names, row)) for row in cursor.fetchall()]
        return self._insist(ask)

    @staticmethod
    def _insist(ask):
        """A server may be down just now."""
        answer = []

        def once():
            with contextlib.suppress(psycopg2.OperationalError, psycopg2.InterfaceError):
                answer.append(ask())
            return answer
        return wait_until(once, "a server to answer", pause=0.1)[0]

    def _verify(self, table, *words):
        """Again and again until it has an answer: what it has found, and of which tables it says that they are compared. (None, ..) when the world is healed
        and it has none all the same."""
        source, copy, (capture, _stream, _subscription) = self._ends()
        schema = "shop" if source == "old" else "moved"
        end = None
        while True:
            named = ["--table", f"{schema}.{table}"] if table else []
            done = self._command(source, "verify", "--to", self.relays[copy][0].config, "--json", "--timeout", "30s", *named, *words)
            self.said.append(f"verify {table or ''} {' '.join(words)} {done.returncode}: {done.stdout[-600:]}")
            with contextlib.suppress(ValueError, IndexError):
                report = json.loads(done.stdout.splitlines()[-1])["tables"]
                if all(not one["why"] for one in report):
                    self.passes += 1
                    return ({(one["table"].partition(".")[2], key["kind"], tuple(sorted(key["key"]))) for one in report for key in one["keys"]},
                            {one["table"].partition(".")[2] for one in report})
            with contextlib.suppress(psycopg2.Error):  # what it would say: give it up
                self._ask(source, "SELECT boxhaul.capture_verify_stop(%s)", capture)
            while True:  # whoever asks again at once only makes the capture begin anew
                if self.healed.is_set():
                    end = end or time.monotonic() + DRAIN
                    if time.monotonic() > end:
                        return None, set()
                time.sleep(0.3)
                if self._complete():
                    break

    def _verify_last(self):
        """At rest: it has to agree with the judge, who finds no difference."""
        found, proved = self._verify(None)
        if found is None:
            self.problems.append(f"the last verify did not end: {self.said[-2:]}")
        else:
            self.reports.append(Report(found, set(), set(), proved))

    # -- the end

    def _settled(self):
        source, _copy, (capture, _stream, _subscription) = self._ends()
        (here,), = self._ask(source, "SELECT pg_current_wal_insert_lsn()")
        wait_until(lambda: self._ask(source, "SELECT s.confirmed_flush_lsn >= %s FROM boxhaul.capture c JOIN pg_replication_slots s ON s.slot_name = c.slot "
                                     "WHERE c.name = %s", here, capture) == [(True,)], "all to be confirmed", 20, pause=0.2)
        return self._complete()

    def _situation(self):
        with contextlib.suppress(psycopg2.Error, JetStreamError, OSError, NatsError, Skipped):
            return {name: (self._ask(name, "SELECT name, state, reason, detail, paused_by FROM boxhaul.capture"),
                           self._ask(name, "SELECT tab, state, reason FROM boxhaul.capture_table WHERE state <> 'complete'"), self._status(name),
                           self._ask(name, "SELECT stop FROM boxhaul.inbox_position")) for name in self.servers}
        return "nothing is known"

    def _drain(self):
        def settled():
            with contextlib.suppress(TimeoutError, psycopg2.Error):
                return self._settled()
            return False
        try:
            wait_until(settled, "all to be applied", DRAIN, pause=0.2)
        except TimeoutError as e:
            self.problems.append(f"{e}: {self._situation()}")

    def _judge(self):
        rows = {name: {table: self._rows(name, table) for table in KEYS} for name in self.servers}
        owners = [name for name in self.servers if self._takes("customers", [name])]
        self.verdict = judge(Found(self.owner, rows, self.shop.expected(), owners, self.both, self.reports, self.unrepaired, self.shop.errors))
        self.problems += self.verdict.violations()
        for name in self.servers:
            if letters := self._ask(name, "SELECT reason, tab, key FROM boxhaul.capture_letter LIMIT 5"):
                self.problems.append(f"dead letters at {name}: {letters}")

    def _keep(self, workspace):
        kept = super()._keep(workspace)
        with open(os.path.join(kept, "said"), "w", encoding="utf-8") as f:
            f.write("\n\n".join(self.said))

    def report(self):
        self._table()
        o, v, s = self.options, self.verdict, self.shop
        print(f"chaos move seed={o.seed} nats={o.nats} relays={o.relays} faults={len(self.faults_done())} transactions={s and s.count('done')} "
              f"turned_away={s and s.count('turned_away')} unknown={s and s.count('unknown')} moves={self.moves} tries={self.tries} kills={self.kills} "
              f"resyncs={self.resyncs} mended={self.mended} verified={self.passes} spoilt={self.spoilt} false_alarms={v.counts['false_alarms']} missed={v.counts['missed']} "
              f"probes={self.probes} two_owners={v.counts['two_owners']} lost={v.counts['lost']} unexpected={v.counts['unexpected']} "
              f"old_rows={v.compared['old']} new_rows={v.compared['new']} different={v.counts['different'] + v.counts['missing'] + v.counts['surplus']}")
