"""From commit to stored, message by message.

A probe (yardsticks/trips.c) inserts single rows and tells when each COMMIT was sent and when it returned; the stream tells
when the message was stored. All clocks are that of one machine. Counted from the return of COMMIT: before it nobody can
know that there is a message. The yardstick are the three bare round trips that no relay can do without, taken in turns
with the probes and after the same pauses: NOTIFY until a listener has it, one read of the outbox, one publish until the
acknowledgement (which the probe does not wait for: the message is stored before).

    asleep   the relay has nothing to do and sleeps; a notification wakes it for each probe
    awake    a burst has woken it, and the probes come too close to each other to let it sleep again: it polls
    10 %..   beside producers that write at a share of the rate that can be sustained"""

import math
import statistics
import subprocess
import time

from arena import STREAM
from jetstream import JetStream
from nats_client import Client
from producers import Producers, insert
from process import wait_until
from report import Figure

PERCENTILES = (50, 99, 99.9)
SHARES = (10, 50, 80)
PROBE = "bench.probe"
BARE = "TRIPS"  # the stream that the bare publishes go to
GAP_MS = 20  # between two trips: half of it to one and a half
WAKING_ROWS = 50
PRODUCERS, ROWS = 4, 10  # of the load: clients, messages in a transaction
SETTLE_S = 0.7


def percentile(values, p):
    """The smallest value that p percent do not exceed; None where there are too few to know (one of a thousand is the
    99.9th at best)."""
    if not values or len(values) * (100 - p) < 99.99:
        return None
    return sorted(values)[math.ceil(len(values) * p / 100) - 1]


class Trips:
    """What one call of the probe found, in microseconds: letter -> [of each trip], and "stored" and "stored_from_send"."""

    def __init__(self, bench, arena, database, count, gap_ms, only="ipnf", first=0):
        argv = [bench.yardstick("trips"), "--postgres", database.conninfo(arena.pg.superuser), "--nats", arena.nats.url(),
                "--subject", PROBE, "--count", str(count), "--gap-ms", str(gap_ms), "--only", only, "--first", str(first)]
        self.us, commits = {}, {}
        for line in subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines():
            kind, turn, *times = line.split()
            if kind == "i":
                commits[int(turn)] = [int(ns) for ns in times]
            else:
                self.us.setdefault(kind, []).append(int(times[0]) / 1000)
        stored = self._stored(arena, len(commits))
        turns = [turn for turn in commits if turn >= 0]
        self.us["stored"] = [(stored[turn] - commits[turn][1]) / 1000 for turn in turns]
        self.us["stored_from_send"] = [(stored[turn] - commits[turn][0]) / 1000 for turn in turns]

    @staticmethod
    def _stored(arena, expected):
        """turn -> when it was stored (ns); the probes are taken out of the stream."""
        with Client(arena.nats.url()) as client:
            jetstream, found = JetStream(client), {}

            def all_there():
                found.update((int(m.payload), round(m.time * 1e9)) for m in jetstream.read(STREAM, PROBE))
                return len(found) >= expected
            wait_until(all_there, f"{expected} probes in the stream", pause=0.3)
            jetstream.call(f"STREAM.PURGE.{STREAM}", {"filter": PROBE})
        return found


class Case:
    """The trips of one situation over all rounds: their percentiles over everything, and the medians of each round."""

    def __init__(self, name):
        self.name, self.all, self.medians = name, {}, {}

    def add(self, trips):
        for kind, values in trips.us.items():
            self.all.setdefault(kind, []).extend(values)
            self.medians.setdefault(kind, []).append(statistics.median(values))

    def bare(self, number):
        return sum(self.medians[kind][number] for kind in "nfp")

    def told(self, kind="stored"):
        return ", ".join(f"p{p:g} " + (f"{value:.0f}" if (value := percentile(self.all[kind], p)) is not None else "unknown")
                         for p in PERCENTILES)

    def figures(self, idle, notes):
        """The ratio, and a figure for each percentile; idle: the case in which the bare trips were taken."""
        ratios = [stored / idle.bare(number) for number, stored in enumerate(self.medians["stored"])]
        yield Figure(f"{self.name}_latency_ratio", None, "of the bare round trips", "<= 1.5" if self is idle else "", ratios, [
            f"{len(self.all['stored'])} probes; us, from the return of COMMIT: {self.told()}; from its sending: "
            f"{self.told('stored_from_send')}", *notes])
        for p in PERCENTILES:
            if (value := percentile(self.all["stored"], p)) is not None:
                yield Figure(f"{self.name}_latency_p{p:g}_us".replace(".", "_"), value, "us",
                             rounds=self.medians["stored"] if p == 50 else [])


def latency(bench):
    """from commit to stored: asleep, awake, and beside producers; asleep by the bare round trips it takes"""
    probes, rounds = bench.pick(40, 400), bench.rounds_of(2, 5)
    idle, awake = Case("idle"), Case("awake")
    loaded = {share: Case(f"busy_{share}") for share in SHARES}
    with bench.arena() as arena:
        database = arena.database()
        arena.create_stream()
        arena.create_stream(BARE, ["trips.bare"])
        relay = arena.relay(database).start().wait_until_ready()
        rate = sustainable_rate(bench, arena, database)
        for number in range(rounds):
            bench.say(f"latency: round {number + 1} of {rounds}")
            sleep_deeply(database)
            idle.add(Trips(bench, arena, database, probes, GAP_MS))
            awake.add(Trips(bench, arena, database, probes, GAP_MS, "i", first=WAKING_ROWS))
            for share, case in loaded.items() if bench.full or number == 0 else ():
                per_second = max(1, rate * share // 100 // ROWS)
                with Producers(arena, database, insert(rows=ROWS), PRODUCERS, per_second):
                    time.sleep(SETTLE_S)
                    case.add(Trips(bench, arena, database, probes, GAP_MS, "i"))
                sleep_deeply(database)
                arena.create_stream()
    return list(_figures(idle, awake, loaded, rate))


def sleep_deeply(database):
    wait_until(lambda: database.settled() and database.asleep(), "the relay to have delivered everything and to sleep")


def sustainable_rate(bench, arena, database):
    """Messages a second that producers and relay manage together: what was found in this call, or a short try."""
    for figure in bench.report.figures:
        if figure.name == "sustainable_rate":
            return int(figure.value)
    seconds = bench.pick(1, 10)
    with Producers(arena, database, insert(rows=ROWS), PRODUCERS):
        time.sleep(SETTLE_S)
        before = arena.state()["messages"]
        time.sleep(seconds)
        rate = int((arena.state()["messages"] - before) / seconds)
    sleep_deeply(database)
    arena.create_stream()
    return rate


def _figures(idle, awake, loaded, rate):
    bare = ", ".join(f"{name} {statistics.median(idle.all[kind]):.0f}" for kind, name in
                     (("n", "NOTIFY to listener"), ("f", "fetch"), ("p", "publish to acknowledgement")))
    for case in (idle, awake, *loaded.values()):
        yield from case.figures(idle, {"idle": [f"bare round trips, p50 in us: {bare}"]}.get(case.name, []))
    yield Figure("latency_rate", rate, "messages/s", notes=[
        f"what 100 % is: sustained by {PRODUCERS} producers with {ROWS} messages in a transaction, and the relay"])


FIGURES = {"latency": latency, "idle_latency_ratio": latency}
