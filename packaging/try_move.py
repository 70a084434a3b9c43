"""The show behind packaging/try --move: tables move out of a monolith into a service with a database server of its own, and back again, while clients
write. The copy is made and proved under load; the switch is made with nobody stopped; boxhaul is killed on the way, and so is the command that switches.
At the end both databases are compared row by row, and each client's own ledger with the database that takes the writes."""

import os
import random
import signal
import subprocess
import time

from jetstream import JetStream
from moved import DIFFERENT, LOST, Judge, longest_silence
from nats_client import Client
from process import DEADLINE, wait_until
from relay import Relay
from servers import Nats, Postgres
from try_move_shop import BACK, GRANTS, MONOLITH, SERVICE, THERE, WORDS, Clients
from try_show import Flow, Killer, must_succeed, say

CLIENTS, SWITCHES = 4, 5  # at the most, of a cut-over that is taken back
OUT, HOME = "OUT_CDC", "HOME_CDC"  # streams: from the monolith, and from the service
PAUSE = 3, 8  # seconds between two kills of a daemon
# A stream that is ours alone stands still until what a killed daemon may have sent has arrived or never will: for a lease and a time-out. It is this time
# that a client waits if a daemon is killed in the middle of a cut-over.
WAIT = {"outbox": {"lease": "1s"}, "delivery": {"ack_timeout": "1s"}}
MOMENTS = ("the target expects it", "fenced:")  # what the command has said when it is killed


class Side:
    """One of the two: a server, the database on it, and the daemon beside it."""

    def __init__(self, workspace, boxhaul, nats, name, schema):
        self.name, self.schema = name, schema
        self.postgres = workspace.add(Postgres(workspace.path(f"pg_{name}"), wal_level="logical")).start()
        self.postgres.execute(f"CREATE DATABASE {name}")
        self.relay = workspace.add(Relay(boxhaul, workspace.path(name), {
            "name": name, "nats": {"urls": [nats.url()]}, **WAIT,
            "postgres": {"conninfo": self.postgres.conninfo(name, "keeper"), "migrate_conninfo": self.postgres.conninfo(name)}}))

    def prepare(self, tables, capture, sink):
        """What an administrator does once."""
        self.relay.configure({**self.relay.settings, "capture": [capture], "inbox": [sink]})
        must_succeed(self.relay, "migrate")
        self.postgres.create_login("client")
        self.postgres.create_login("keeper", "boxhaul_relay", "boxhaul_capture", "boxhaul_sink")
        self.postgres.execute("ALTER ROLE keeper REPLICATION")
        self.postgres.execute("GRANT SET ON PARAMETER session_replication_role TO keeper")
        for sql in (tables, GRANTS.format(schema=self.schema)):
            self.postgres.execute(sql, dbname=self.name)
        must_succeed(self.relay, "capture", "start", capture["name"])

    def ask(self, sql, values=None):
        return self.postgres.execute(sql, values, self.name)

    def rows(self):
        """For the judge."""
        return {table: self.ask(sql) for table, sql in WORDS[self.name].read.items()}

    def follows(self):
        """How far the sink has come, and whether it takes what comes now."""
        return self.ask("SELECT position, complete, error FROM boxhaul.sink_status")


def captures(name, tables, stream, **more):
    return {"name": name, "tables": tables, "stream": stream, "create": True, "format": "text", "subject": f"{name}.{{schema}}.{{table}}", **more}


def sinks(name, tables, stream, capture, snapshot):
    return {"name": name, "stream": stream, "subjects": [f"{capture}.>"], "tables": tables, "snapshot": snapshot}


class Show:
    def __init__(self, workspace, boxhaul, seed):
        self.boxhaul, self.dice = boxhaul, random.Random(seed)
        self.nats = workspace.add(Nats(workspace.path("nats"))).start()
        self.monolith = Side(workspace, boxhaul, self.nats, "monolith", "shop")
        self.service = Side(workspace, boxhaul, self.nats, "service", "sales")
        self.sides = {OUT: (self.monolith, self.service), HOME: (self.service, self.monolith)}  # by stream: from whom to whom
        # The way back has no rows to bring: the service's table begins as a copy.
        self.monolith.prepare(MONOLITH, captures("out", [pair["from"] for pair in THERE], OUT), sinks("home", BACK, HOME, "back", "none"))
        self.service.prepare(SERVICE, captures("back", [pair["from"] for pair in BACK], HOME, snapshot="none", skip_applied=["move"]),
                             sinks("move", THERE, OUT, "out", "required"))
        self.clients = workspace.add(Clients({side.name: side.postgres.conninfo(side.name, "client") for side in (self.monolith, self.service)},
                                             CLIENTS, seed))
        self.killers = [Killer(side.relay, PAUSE, random.Random(f"{seed}/{side.name}")) for side in (self.monolith, self.service)]
        self.judge, self.switches, self.commands_killed = Judge(), [], 0

    def start(self):
        for side in (self.service, self.monolith):
            side.relay.start()
        wait_until(lambda: self.monolith.ask("SELECT 1 FROM boxhaul.inbox_position"), "the way back's sink")
        must_succeed(self.monolith.relay, "inbox", "pause", "home")
        self.clients.start()
        for killer in self.killers:
            killer.start()

    def close(self):
        for killer in self.killers:
            killer.close()

    def kills(self):
        return sum(killer.kills for killer in self.killers)

    # -- what is seen

    def stored(self):
        with Client(self.nats.url()) as client:
            jetstream = JetStream(client)
            names = jetstream.names()
            return {stream: jetstream.count(stream) if stream in names else 0 for stream in self.sides}

    def look(self):
        stored = self.stored()
        seen = stored, [side.follows() for side in (self.monolith, self.service)]
        return seen, (f"{self.clients.router.owner():8} takes the writes: {len(self.clients.taken):7,}   refused {self.clients.refusals:5,}   "
                      f"in the streams {stored[OUT]:8,} {stored[HOME]:8,}   boxhaul killed {self.kills():3} times")

    # -- what is done

    def go_on(self, flow, seconds, done=lambda: True):
        end = time.monotonic() + seconds
        if not flow.show_until(lambda: time.monotonic() >= end and done()):
            raise RuntimeError(f"nothing moved for {DEADLINE} s; the ends of boxhaul's logs:\n" +
                               "\n".join(side.relay.log_tail() for side in (self.monolith, self.service)))

    def is_complete(self, stream):
        """All tables hold what the source holds, but for what is under way."""
        return [row[1:] for row in self.sides[stream][1].follows()] == [(True, None)]

    def verify(self, back):
        """Under load."""
        source, target = self.sides[HOME if back else OUT]
        say(must_succeed(source.relay, "verify", "--to", target.relay.config).rstrip())

    def cut_over(self, back):
        """While clients go on. The command is killed once, where the dice say, and said again; one that was taken back is said again, too."""
        begin, moment = time.monotonic(), self.dice.choice(MOMENTS) if not back else None
        for _ in range(SWITCHES):
            done = self._switch(moment, back)
            if done == -signal.SIGKILL:
                self.commands_killed, moment = self.commands_killed + 1, None
                say("          the command was killed there; again")
            elif done == 0:
                break
        else:
            raise RuntimeError(f"the cut-over did not come to its end, said {SWITCHES} times")
        # The one who takes the writes from now on has taken some.
        written = len(self.clients.taken)
        wait_until(lambda: len(self.clients.taken) >= written + CLIENTS, "the clients to go on")
        silence = longest_silence(self.clients.taken, begin, time.monotonic())
        self.switches.append(round(silence * 1000))
        say(f"{self.clients.router.owner()} takes the writes; the longest time without one was {self.switches[-1]} ms")

    def _switch(self, moment, back):
        """The command's exit status. moment: when it has said this, it is killed."""
        words = [self.boxhaul, "cutover", *(["back", "--back"] if back else ["out"]), "-c", self.monolith.relay.config, "--to", self.service.relay.config]
        with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            for line in process.stdout:
                say(line.rstrip())
                if moment and moment in line:
                    process.kill()
        return process.returncode

    def compare(self, flow, stream):
        """Nobody writes for a while; when the copy has come so far, the judge has both. Returns the rows."""
        source, target = self.sides[stream]
        self.clients.hold()
        (here,), = source.ask("SELECT pg_current_wal_flush_lsn()")
        self.go_on(flow, 0, lambda: source.ask("SELECT bool_and(confirmed_flush_lsn >= %s) FROM pg_replication_slots", (here,)) == [(True,)])
        last = self.stored()[stream]
        self.go_on(flow, 0, lambda: target.follows()[0][0] >= last)
        owner = source.rows()
        rows = self.judge.compare(owner, target.rows())
        self.judge.settle(self.clients.ledgers, owner)
        say(f"{rows:,} rows of {source.name} compared with those of {target.name}, and with what {CLIENTS} clients saw committed: "
            f"{len(self.clients.taken):,} writes")
        self.clients.go_on()
        return rows

    def problems(self):
        found = [*self.judge.examples, *(failure for killer in self.killers for failure in killer.failures)]
        if self.clients.errors:
            found.append(f"the clients got {len(self.clients.errors)} SQL errors, the first: {self.clients.errors[0]}")
        if not self.kills() or not self.commands_killed:
            found.append(f"boxhaul was killed {self.kills()} times, and the cut-over {self.commands_killed} times: that was no trial")
        if len(self.switches) != 2 or self.clients.router.turns < 2:
            found.append("nobody was switched: that was no trial")
        return found


def move(show, seconds):
    """There and back. Returns the rows that there are at the end."""
    flow, share = Flow(show.look), seconds / 3
    show.start()
    try:
        show.go_on(flow, share, lambda: show.is_complete(OUT))
        flow.end()
        say("the copy is complete; verify, while clients write and boxhaul is killed:")
        show.verify(back=False)
        say("the cut-over:")
        show.cut_over(back=False)
        show.go_on(flow, share, lambda: show.is_complete(HOME))
        show.compare(flow, HOME)
        say("and back: verify, while clients write there, and the cut-over:")
        show.verify(back=True)
        show.cut_over(back=True)
        show.go_on(flow, share, lambda: show.is_complete(OUT))
        return show.compare(flow, OUT)
    finally:
        show.clients.close()
        show.close()
        flow.end()


def run(workspace, boxhaul, seconds):
    """Returns the exit status."""
    seed = os.environ.get("TRY_SEED", "1")
    show = workspace.add(Show(workspace, boxhaul, seed))
    say(f"a monolith and a service, each with a PostgreSQL and a boxhaul; {CLIENTS} clients write wherever it is taken. Tables move from the one to the "
        f"other and back, and boxhaul is killed again and again (TRY_SEED={seed})")
    rows = move(show, seconds)
    problems = show.problems()
    for side in (show.monolith, show.service):
        if (status := side.relay.stop()) != 0:
            problems.append(f"boxhaul run of {side.name} ended with status {status} on SIGTERM:\n{side.relay.log_tail()}")
    say(f"boxhaul was killed {show.kills()} times, the cut-over {show.commands_killed} times; the fence refused {show.clients.refusals:,} writes, which were "
        "made again where they were taken")
    for problem in problems:
        say(problem)
    good = not problems and not show.judge.faults and rows > 0
    say(f"rows={rows} different={show.judge.count(DIFFERENT)} lost_writes={show.judge.count(LOST)} downtime_ms={max(show.switches)} "
        f"back={'ok' if good else 'wrong'}")
    return 0 if good else 1
