"""A capture: how fast the log and the rows that were there before arrive in the stream, what that costs, and how soon a change is there.

The yardsticks: a bare publisher with a chain (publish.c), which has the messages in memory, and a bare reader of the log (log.c), which
parses nothing, looks after nothing, and publishes what it has read or not."""

import base64
import contextlib
import io
import math
import re
import statistics
import subprocess
import time

import runs
from arena import RELAY, SERVICE, STREAM
from footprint import Watch
from jetstream import JetStream
from nats_client import Client
from process import wait_until
from producers import inserts_per_second
from report import Figure

NAME, TABLE, PUBLICATION = "bench", "public.payment", "bare"
LOGICAL = {"wal_level": "logical"}
CHUNK = 20  # rows of a transaction
SCHEMA = f"""
CREATE TABLE {TABLE} (id bigint PRIMARY KEY, customer int NOT NULL, amount numeric(12,2) NOT NULL, state text NOT NULL,
                      at timestamptz NOT NULL DEFAULT now(), note text);
CREATE PUBLICATION {PUBLICATION} FOR TABLE {TABLE};
GRANT SELECT ON {TABLE} TO boxhaul_capture;
"""
FILL = f"""
DO $$
BEGIN
    FOR lowest IN %(first)s .. %(last)s BY %(chunk)s LOOP
        INSERT INTO {TABLE} (id, customer, amount, state, note)
        SELECT i, i %% 1000, i / 100.0, 'paid', rpad('', %(bytes)s, 'boxhaul ') FROM generate_series(lowest, least(lowest + %(chunk)s - 1, %(last)s)) i;
        COMMIT;
    END LOOP;
END
$$
"""


class Captured:
    """A fresh database with the table, and a relay that captures it (and logical messages, where `messages` says so); for a `with`. The
    slots go with it."""

    def __init__(self, arena, messages=None, **capture):
        self.arena, self.capture = arena, capture
        self.more = {"messages": messages} if messages else {}
        self.database = arena.database()

    def __enter__(self):
        self.database.execute(SCHEMA)
        self.arena.pg.execute(f"ALTER ROLE {RELAY} REPLICATION; GRANT boxhaul_capture TO {RELAY}")
        return self

    def __exit__(self, *exception):
        for relay in self.arena._relays:
            relay.close()
        name = self.database.name
        self.arena.pg.execute("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE database = %s AND active", (name,))
        wait_until(lambda: not self.arena.pg.execute("SELECT FROM pg_replication_slots WHERE database = %s AND active", (name,)), "the slot to be free")
        self.arena.pg.execute("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = %s", (name,))
        self.database.drop()

    def fill(self, count, first=1, chunk=CHUNK, size=100):
        with contextlib.closing(self.database.connect()) as connection, connection.cursor() as cursor:
            cursor.execute("SET synchronous_commit = off")
            cursor.execute(FILL % {"first": first, "last": first + count - 1, "chunk": chunk, "bytes": size})

    def relay(self):
        """Not started; its capture is."""
        relay = self.arena.relay(self.database, capture=[{"name": NAME, "tables": [TABLE], "stream": STREAM, "subject": "bench.0", **self.capture}], **self.more)
        relay.configure({group: value for group, value in relay.settings.items() if group != "streams"})
        if (done := relay.command("capture", "start", NAME)).returncode:
            raise RuntimeError(f"capture start: {done.stdout}")
        return relay

    def live(self, relay):
        relay.start()
        wait_until(lambda: self.database.execute("SELECT state FROM boxhaul.capture") == [("live",)], "the slot")
        wait_until(lambda: self.database.execute("SELECT bool_and(state = 'complete') FROM boxhaul.capture_table") == [(True,)], "its rows", 3600)
        return relay

    def confirmed(self):
        (here,), = self.database.execute("SELECT pg_current_wal_insert_lsn()")
        wait_until(lambda: self.database.execute("SELECT s.confirmed_flush_lsn >= %s FROM pg_replication_slots s JOIN boxhaul.capture c ON "
                                                 "c.slot = s.slot_name", (here,)) == [(True,)], "all to be confirmed", 3600, 0.02)

    def senders(self):
        """The walsenders of this database, and what else serves the relay."""
        return [pid for (pid,) in self.arena.pg.execute("SELECT pid FROM pg_stat_activity WHERE datname = %s AND "
                                                        "(backend_type = 'walsender' OR usename = %s)", (self.database.name, RELAY))]

    def slot(self, name):
        self.database.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (name,))
        return {"conninfo": self.arena.pg.conninfo(self.database.name) + " replication=database", "slot": name, "publication": PUBLICATION}


def drain(arena, count, **fill):
    """The daemon is away, rows are written, and it comes back: timed by the stream's clock."""
    arena.create_stream()
    with Captured(arena, snapshot="none") as captured:
        relay = captured.live(captured.relay())
        captured.confirmed()
        if relay.stop() != 0:
            raise relay.died()
        before = arena.state()["messages"]
        captured.fill(count, **fill)
        meter = arena.meter(relay=lambda: [relay.pid] if relay.alive() else [], walsender=captured.senders)
        with meter:
            relay.start()
            arena.wait_stored(before + count, watch=relay)
            captured.confirmed()
        state = arena.state()
        return runs.Run(count, runs.instant(state["last_ts"]) - runs.instant(state["first_ts"]), meter.cpu, meter.others, meter.load,
                        {"bytes": state["bytes"] / state["messages"]})


def read(bench, arena, count, publish):
    """The bare reader of the same log; with publish, into a stream."""
    arena.create_stream()
    with Captured(arena) as captured:
        slot = captured.slot("bare")
        captured.fill(count)
        meter = arena.meter(walsender=captured.senders)
        with meter:
            said = runs.run_yardstick(bench, "log", count=count, **slot, **({"url": arena.nats.url(), "chain": "yes", "window": 4096} if publish else {}))
        meter.add("reader", said["cpu_us"])
        return runs.Run(count, said["seconds"], meter.cpu, meter.others, meter.load)


def draining(bench):
    """a log of inserts drained into an owned stream, beside a bare publisher with a chain, and beside a bare reader of the log"""
    count = bench.messages_of(50_000, 500_000)
    with bench.arena(postgres=LOGICAL) as arena:
        size = round(drain(arena, min(count, 2000)).extra["bytes"])
        ratios, ours, bare = runs.side_by_side(bench, lambda: drain(arena, count), lambda: runs.publish(
            bench, arena, count, size=size - 150, mode="loop", window=4096, chain="yes", subjects=1), bench.rounds)
        alone = [read(bench, arena, count, False) for _ in range(bench.rounds)]
        both = [read(bench, arena, count, True) for _ in range(bench.rounds)]
    rate = runs.typical_rate(ours)
    return [
        Figure("capture_drain_ratio", target=">= 0.9", rounds=ratios, notes=[f"a message of {size} bytes as stored"] + runs.notes(
            relay=ours, bare_publisher_with_a_chain=bare)),
        Figure("capture_drain", unit="changes a second", rounds=[run.rate for run in ours], notes=[
            f"transactions of {CHUNK} rows; walsender {runs.typical(ours, 'walsender'):.2f} us a change, relay {runs.typical(ours, 'relay'):.2f}, "
            f"nats-server {runs.typical(ours, 'nats-server'):.2f}"]),
        Figure("capture_reader_ratio", rate / runs.typical_rate(alone), "of a bare reader that only counts", notes=runs.notes(bare_reader=alone)),
        Figure("capture_publishing_reader_ratio", rate / runs.typical_rate(both), "of a bare reader that publishes in a chain",
               notes=runs.notes(publishing_reader=both)),
    ]


def snapshot(bench):
    """rows that were there before, into an owned stream, beside a bare publisher with a chain, and beside COPY"""
    count = bench.messages_of(50_000, 1_000_000)

    def ours():
        arena.create_stream()
        with Captured(arena) as captured:
            captured.fill(count, chunk=10_000)
            captured.database.execute(f"ANALYZE {TABLE}")
            relay = captured.relay()
            meter = arena.meter(relay=lambda: [relay.pid] if relay.alive() else [], backends=captured.senders)
            with meter:
                captured.live(relay)
            state = arena.state()
            return runs.Run(count, runs.instant(state["last_ts"]) - runs.instant(state["first_ts"]), meter.cpu, meter.others, meter.load,
                            {"bytes": state["bytes"] / state["messages"]})

    with bench.arena(postgres=LOGICAL) as arena:
        size = round(ours().extra["bytes"])
        ratios, read_rows, bare = runs.side_by_side(bench, ours, lambda: runs.publish(
            bench, arena, count, size=size - 150, mode="loop", window=4096, chain="yes", subjects=1), bench.rounds)
        copied = [_copy(arena, count) for _ in range(bench.rounds)]
    return [
        Figure("capture_snapshot_ratio", rounds=ratios, notes=runs.notes(relay=read_rows, bare_publisher_with_a_chain=bare)),
        Figure("capture_snapshot", unit="rows a second", rounds=[run.rate for run in read_rows],
               notes=[f"COPY of the same table to a client that forgets it: {statistics.median(copied):.0f} rows/s"]),
    ]


class _Nowhere(io.TextIOBase):
    def write(self, text):
        return len(text)


def _copy(arena, count):
    with Captured(arena) as captured:
        captured.fill(count, chunk=10_000)
        with contextlib.closing(captured.database.connect()) as connection, connection.cursor() as cursor:
            begin = time.monotonic()
            cursor.copy_expert(f"COPY {TABLE} TO STDOUT", _Nowhere())
            return count / (time.monotonic() - begin)


def memory(bench):
    """resident memory with one transaction of very many rows, and with rows of a megabyte"""
    count, large = bench.messages_of(100_000, 10_000_000), bench.pick(50, 500)
    with bench.arena(postgres=LOGICAL, nats={"max_payload": 8 << 20}) as arena:
        many, big = _memory(arena, count, chunk=count), _memory(arena, large, chunk=10, size=1_000_000)
    return [Figure("capture_memory_mb", many.most("Hwm"), "MB resident at most", "< 25", notes=[f"one transaction of {count} rows", many.told()]),
            Figure("capture_memory_large_mb", big.most("Hwm"), "MB resident at most", "< 25", notes=[f"{large} rows of 1 MB", big.told()])]


def _memory(arena, count, **fill):
    arena.create_stream()
    with Captured(arena, snapshot="none") as captured:
        relay = captured.live(captured.relay())
        captured.confirmed()
        before = arena.state()["messages"]
        with Watch(relay.pid) as watch:
            captured.fill(count, **fill)
            arena.wait_stored(before + count, watch=relay)
            captured.confirmed()
    return watch


class Probe:
    """What is written one by one, and by which it is found in a stream: `statement` writes the number it is given."""

    def __init__(self, statement, **reader):
        self.statement, self.reader = statement, reader  # what the bare reader must be told


ROW = Probe(f"INSERT INTO {TABLE} (id, customer, amount, state) VALUES (%s, 1, 1, 'paid')")
EMITTED = Probe("SELECT boxhaul.emit('bench.emitted', 'probe ' || %s)", messages="boxhaul")  # 14 and newer: before it pgoutput has none
FIRST_PROBE = 1_000_000_001  # as long as the last one, so that no number is the beginning of another one


def latency(bench):
    """from commit to stored, idle: a captured row, and a logical message, by a bare reader of the log that publishes; in turns"""
    probes, rounds, found = bench.pick(60, 400), bench.rounds_of(3, 7), []
    with bench.arena(postgres=LOGICAL) as arena:
        found += _latency(bench, arena, "capture_latency", ROW, probes, rounds)
        if int(arena.pg.execute("SHOW server_version_num")[0][0]) >= 140000:
            found += _latency(bench, arena, "message_latency", EMITTED, probes, rounds, messages=[{"prefix": "boxhaul", "subject": "bench.>", "capture": NAME}])
    return found


def _latency(bench, arena, name, probe, probes, rounds, **capture):
    bare_us, our_us, numbers = [], [], iter(range(FIRST_PROBE, 1 << 40))
    arena.create_stream()
    arena.create_stream("BARE", ["bare.>"])
    with Captured(arena, **capture) as captured, contextlib.closing(captured.database.connect()) as connection:
        slot = captured.slot("bare")
        relay = captured.live(captured.relay())
        for _ in range(rounds):
            # Each first gets what the other has had meanwhile. One more than the probes is written in each turn: see _probe().
            behind = len(our_us) and probes + 1
            relay.pause()
            with subprocess.Popen([bench.yardstick("log"), *_words(count=behind + 1 + probes, url=arena.nats.url(), subject="bare.0",
                                                                   **slot, **probe.reader)], stdout=subprocess.DEVNULL) as reader:
                try:
                    bare_us.append(_probe(arena, connection, probe, numbers, probes, "BARE"))
                except BaseException:
                    reader.kill()
                    raise
                if reader.wait(60) != 0:
                    raise RuntimeError("the bare reader failed")
            relay.resume()
            our_us.append(_probe(arena, connection, probe, numbers, probes, STREAM))
        relay.close()
    p50 = [statistics.median(us) for us in our_us], [statistics.median(us) for us in bare_us]
    return [Figure(f"{name}_ratio", target="<= 1.1", rounds=[ours / bare for ours, bare in zip(*p50)]),
            Figure(f"{name}_p50_us", unit="us", rounds=p50[0], notes=[
                f"from the return of COMMIT; 99 of 100 within {_worst(our_us):.0f} us; the bare reader: {statistics.median(p50[1]):.0f}, "
                f"{_worst(bare_us):.0f}"])]


def _worst(rounds):
    values = sorted(us for one in rounds for us in one)
    return values[math.ceil(len(values) * 0.99) - 1]


def _words(**options):
    return [word for option, value in options.items() for word in (f"--{option}", str(value))]


def _probe(arena, connection, probe, numbers, count, stream):
    """us from the return of each COMMIT until the message was stored. The first one is not measured: when it is in the stream, all
    that was written before it is there, too, and whoever reads is awake and behind nobody."""
    with Client(arena.nats.url()) as client, connection.cursor() as cursor:
        jetstream, returned = JetStream(client), {}

        def write():
            number = next(numbers)
            cursor.execute(probe.statement, (number,))
            returned[number] = time.time()
            return number

        def last():
            return base64.b64decode(jetstream.call(f"STREAM.MSG.GET.{stream}", {
                "seq": jetstream.info(stream)["state"]["last_seq"]})["message"].get("data", "")) if jetstream.count(stream) else b""
        first = str(write()).encode()
        wait_until(lambda: first in last(), "the first of the probes", 60)
        before = jetstream.info(stream)["state"]["last_seq"]
        for _ in range(count):
            time.sleep(0.02)
            end = str(write()).encode()
        wait_until(lambda: end in last(), "the last of the probes", 60)
        stored = {number: message.time for message in jetstream.read(stream) if message.seq > before
                  for number in map(int, re.findall(rb"1\d{9}", message.payload)) if number in returned}
    del returned[int(first)]
    return [(stored[number] - here) * 1e6 for number, here in returned.items()]


INSERT = f"INSERT INTO {TABLE} (customer, amount, state, note) VALUES (:key, 1, 'paid', '{'boxhaul ' * 12}')"
WRITERS = f"""
ALTER TABLE {TABLE} ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY;
GRANT INSERT ON {TABLE} TO {SERVICE};
"""


def writers(bench):
    """what a capture costs those who write to its table: inserts a second, and WAL bytes a transaction, beside the same table uncaptured

    resting: the slot is held and nobody reads, so the difference is the log's alone; captured: walsender, daemon and broker are on
    the same machine. And both beside a server with wal_level = replica."""
    seconds, rounds, clients = bench.pick(1, 10), bench.rounds_of(2, 5), 16
    with bench.arena() as replica, bench.arena(postgres=LOGICAL) as logical, contextlib.ExitStack() as stack:
        plain, free, captured = (stack.enter_context(Captured(arena)) for arena in (replica, logical, logical))
        for one in (plain, free, captured):
            one.database.execute(WRITERS)
        logical.create_stream()
        relay = captured.live(captured.relay())
        found = {"plain": [], "free": [], "resting": [], "captured": []}

        def write(name, whose):
            found[name].append(_write(whose, clients, seconds))
        write("plain", plain), write("free", free)  # to warm up
        found["plain"], found["free"] = [], []
        for _ in range(rounds):
            write("plain", plain)
            write("free", free)
            write("captured", captured)
            captured.confirmed()
            if relay.stop() != 0:
                raise relay.died()
            write("resting", captured)
            captured.live(relay)
            captured.confirmed()
        relay.close()
    rates, wal = ({name: [run[i] for run in its] for name, its in found.items()} for i in (0, 1))
    def beside(name, one, other, whom, target=""):
        return Figure(f"capture_writer_{name}_ratio", unit=f"of the inserts a second {whom}", target=target,
                      rounds=[ours / theirs for ours, theirs in zip(rates[one], rates[other])], notes=[
                          f"{clients} clients, an insert a transaction: {statistics.median(rates[one]):.0f} beside {statistics.median(rates[other]):.0f}/s; "
                          f"WAL bytes a transaction: {statistics.median(wal[one]):.0f} beside {statistics.median(wal[other]):.0f}"])
    return [beside("resting", "resting", "free", "without a capture", ">= 0.97"), beside("busy", "captured", "free", "without a capture"),
            beside("wal_level", "free", "plain", "with wal_level = replica")]


def _write(whose, clients, seconds):
    """(inserts a second, WAL bytes for each)"""
    pg, database = whose.arena.pg, whose.database

    def now():
        return pg.execute("SELECT pg_current_wal_insert_lsn() - '0/0'")[0][0], database.execute(f"SELECT coalesce(max(id), 0) FROM {TABLE}")[0][0]
    pg.execute("CHECKPOINT")  # so that as many images of pages fall to each
    wal, rows = now()
    rate = inserts_per_second(whose.arena, database, TABLE, clients, seconds, f"\\set key random(1, 1000)\n{INSERT};\n")
    wal_then, rows_then = now()
    return rate, float(wal_then - wal) / (rows_then - rows)


def owned(bench):
    """an outbox into an owned stream (one total order), beside a bare publisher with a chain on the same subjects, and without one"""
    count = bench.messages_of(50_000, 500_000)
    with bench.arena() as arena:
        ratios, ours, bare = _owned(bench, arena, count, chain="yes")
        unchained, _ours, free = _owned(bench, arena, count)
    return [Figure("owned_throughput_ratio", target=">= 0.95", rounds=ratios, notes=runs.notes(relay=ours, bare_publisher_with_a_chain=bare)),
            Figure("owned_unchained_ratio", unit="of a bare publisher without a chain", rounds=unchained, notes=runs.notes(bare_publisher=free))]


def owned_hot_key(bench):
    """one key on one subject into an owned stream, beside the bare publisher with a chain"""
    count = bench.messages_of(50_000, 500_000)
    with bench.arena() as arena:
        ratios, ours, bare = _owned(bench, arena, count, keys=1, subjects=1, chain="yes")
    return [Figure("owned_hot_key_ratio", target=">= 0.9", rounds=ratios, notes=runs.notes(relay=ours, bare_publisher_with_a_chain=bare))]


def _owned(bench, arena, count, keys=1000, subjects=4, **chain):
    backlog = arena.database().fill(count, keys=keys, subjects=subjects)

    def relay():
        with backlog.copy() as database:
            return runs.drain(arena, database, count=count, streams=[{"name": STREAM, "subjects": ["bench.>"], "owned": True}])
    return runs.side_by_side(bench, relay, lambda: runs.publish(bench, arena, count, mode="loop", window=4096, subjects=subjects, **chain), bench.rounds)


FIGURES = {"capture_drain_ratio": draining, "capture_snapshot_ratio": snapshot, "capture_memory_mb": memory, "capture_latency_ratio": latency,
           "capture_writer_ratio": writers,
           "owned_throughput_ratio": owned, "owned_hot_key_ratio": owned_hot_key}
