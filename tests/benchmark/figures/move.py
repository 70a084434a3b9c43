"""A table that moves to another server, through a stream (a capture at one end, a sink at the other), beside PostgreSQL's own logical replication
(CREATE SUBSCRIPTION) between the same two servers, in turns: the rows that are there, the changes behind them, how far behind they are, and what a row costs.

Both ways have the same tables, rows, transactions and servers, all with the defaults of their versions but for wal_level = logical at the
source. So what an apply worker commits is not waited for to be on disk (its synchronous_commit is off), and what a sink commits is."""

import contextlib
import json
import statistics
import time

import runs
from arena import RELAY, STREAM
from capture import LOGICAL
from meter import Meter, cpu_us, family_us
from process import wait_until
from report import Figure

NAME, TABLE = "bench", "public.payment"
CREATE = f"CREATE TABLE {TABLE} (id bigint PRIMARY KEY, customer int NOT NULL, amount numeric(12,2) NOT NULL, state text NOT NULL, at timestamptz NOT NULL, note text);"
SOURCE = CREATE + f"CREATE PUBLICATION bench FOR TABLE {TABLE}; GRANT SELECT ON {TABLE} TO boxhaul_capture;"
TARGET = CREATE + f"GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON {TABLE} TO boxhaul_sink;"
ROWS = f"INSERT INTO {TABLE} SELECT i, i %% 1000, i / 100.0, 'open', now(), rpad('', 100, 'boxhaul ') FROM generate_series(%s, %s) i"
HOT = 20_000  # rows that are updated; changes that meet in one batch of a sink are few

# Transactions of 20 changes; the first row and the last one have marks around them, by which both ways are timed.
INSERTS = """
    FOR i IN 0 .. %(count)s - 1 BY 20 LOOP
        INSERT INTO payment SELECT %(first)s + j, j, j / 100.0, 'open', now(), rpad('', 100, 'boxhaul ') FROM generate_series(i, i + 19) j;
        COMMIT;
    END LOOP;"""
MIXED = """
    FOR i IN 0 .. %(count)s / 20 - 1 LOOP
        INSERT INTO payment SELECT %(first)s + j, j, j / 100.0, 'open', now(), rpad('', 100, 'boxhaul ') FROM generate_series(i * 10, i * 10 + 9) j;
        UPDATE payment SET amount = amount + 1, state = 'paid' WHERE id = ANY (ARRAY(SELECT 1 + (i * 8 + k) * 7919 %% %(hot)s FROM generate_series(0, 7) k));
        DELETE FROM payment WHERE id = ANY (ARRAY[%(hot)s + 1 + i * 2, %(hot)s + 2 + i * 2]);
        COMMIT;
    END LOOP;"""
BEGUN, ENDED, FIRST, PROBE = -1, -2, 1_000_000_000, 2_000_000_000


class Way:
    """One way from a database of `legacy` to one of `service`; for a `with`."""

    def __init__(self, legacy, service, rows):
        self.legacy, self.service = legacy, service
        self.source, self.target = legacy.database(), service.database()
        self.source.execute(SOURCE)
        self.target.execute(TARGET)
        with contextlib.closing(self.source.connect()) as connection, connection.cursor() as cursor:
            cursor.execute("SET synchronous_commit = off")
            cursor.execute(ROWS, (1, rows))
        self.source.execute(f"VACUUM ANALYZE {TABLE}")
        self.rows = rows

    def __enter__(self):
        legacy, service = self.legacy.pg, self.service.pg
        legacy.execute(f"ALTER ROLE {RELAY} REPLICATION; GRANT boxhaul_capture TO {RELAY}")
        service.execute(f"GRANT boxhaul_sink TO {RELAY}; GRANT SET ON PARAMETER session_replication_role TO {RELAY}")
        legacy.execute("CHECKPOINT")
        service.execute("CHECKPOINT")
        return self

    def __exit__(self, *exception):
        for arena in (self.legacy, self.service):
            for relay in arena._relays:
                relay.close()
        self.end()
        name = self.source.name
        wait_until(lambda: not self.legacy.pg.execute("SELECT FROM pg_replication_slots WHERE database = %s AND active", (name,)), "the slot to be free")
        self.legacy.pg.execute("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = %s", (name,))
        self.target.drop()
        self.source.drop()

    def daemons(self):
        return {}

    def watch(self):
        """Raises where a process has died."""

    def end(self):
        pass

    def measured(self, count, work):
        """The Run of `work`, which gives seconds, or None: then it is the time that it took."""
        servers = {"legacy_server": self.legacy.pg.pid, "new_server": self.service.pg.pid}
        before = {name: family_us(pid) for name, pid in servers.items()}
        meter = Meter(self.daemons())
        with meter:
            seconds = work()
        for name, pid in servers.items():
            meter.add(name, family_us(pid) - before[name])
        return runs.Run(count, seconds or meter.seconds, meter.cpu, meter.others, meter.load)

    def copy(self):
        """All rows that were there, from the word to begin until they count as complete."""
        self.prepare()

        def work():
            self.begin()
            self.wait_complete()
        return self.measured(self.rows, work)

    def wait_complete(self):
        """By one session: what it costs to look belongs to the CPU of the new server."""
        with contextlib.closing(self.target.connect()) as there, there.cursor() as cursor:
            def complete():
                self.watch()
                cursor.execute(self.COMPLETE)
                return cursor.fetchall() == [(True,)]
            wait_until(complete, "the rows to be there", 3600, 0.02)

    def stream(self, count, changes):
        """Changes that were written while nobody read, from the first one that is to be seen to the last."""
        self.prepare()
        self.begin()
        self.wait_complete()
        self.hold()
        with contextlib.closing(self.source.connect()) as connection, connection.cursor() as cursor:
            cursor.execute("SET synchronous_commit = off")
            cursor.execute(ROWS, (BEGUN, BEGUN))
            cursor.execute(f"DO $$ BEGIN {changes % {'count': count, 'first': FIRST, 'hot': HOT}} END $$")
            cursor.execute(ROWS, (ENDED, ENDED))

        def work():
            self.resume()
            with contextlib.closing(self.target.connect()) as there:
                begun = seen(there, BEGUN)
                return seen(there, ENDED) - begun
        run = self.measured(count, work)
        ours, theirs = ([database.execute(f"SELECT count(*), sum(hashtextextended(p::text, 0)) FROM {TABLE} p")[0] for database in (self.source, self.target)])
        if ours != theirs:
            raise RuntimeError(f"the tables differ: {ours} and {theirs} rows and hashes")
        return run

    def lag(self, probes):
        """ms from the return of each COMMIT until the row is to be seen in the other database."""
        self.prepare()
        self.begin()
        self.wait_complete()
        found = []
        with contextlib.closing(self.source.connect()) as here, contextlib.closing(self.target.connect()) as there, here.cursor() as cursor:
            for probe in range(PROBE, PROBE + probes + 1):
                time.sleep(0.02)
                cursor.execute(ROWS, (probe, probe))
                begun = time.monotonic()
                found.append((seen(there, probe, 0.0005) - begun) * 1000)
        return found[1:]


def seen(connection, row, pause=0.01):
    """When it was to be seen there."""
    with connection.cursor() as cursor:
        def there():
            cursor.execute(f"SELECT FROM {TABLE} WHERE id = %s", (row,))
            return cursor.rowcount == 1
        wait_until(there, f"row {row}", 3600, pause)
    return time.monotonic()


class Moved(Way):
    """By boxhaul: capture, stream, sink."""

    COMPLETE = "SELECT complete FROM boxhaul.sink_status"

    def prepare(self):
        self.legacy.create_stream()
        self.capture = self.legacy.relay(self.source, capture=[{"name": NAME, "tables": [TABLE], "stream": STREAM, "subject": "bench.0", "format": "text"}])
        self.sink = self.service.relay(self.target, nats={"urls": [self.legacy.nats.url()]}, inbox=[
            {"name": NAME, "stream": STREAM, "subjects": ["bench.0"], "tables": [{"from": TABLE, "to": TABLE}]}])
        for relay in (self.capture, self.sink):
            relay.configure({group: value for group, value in relay.settings.items() if group != "streams"})
            relay.start().wait_until_ready()

    def begin(self):
        if (done := self.capture.command("capture", "start", NAME)).returncode:
            raise RuntimeError(f"capture start: {done.stdout}")

    def watch(self):
        for relay in (self.capture, self.sink):
            if not relay.alive():
                raise relay.died()

    def wait_stored(self):
        """That all rows are stored the sink knows a moment before the capture's own books do."""
        def stored():
            self.watch()
            return self.source.execute("SELECT bool_and(state = 'complete') FROM boxhaul.capture_table") == [(True,)]
        wait_until(stored, "the capture's books to say that all rows are stored", 3600)

    def verify(self):
        if (done := self.capture.command("verify", "--to", self.sink.config)).returncode:
            raise RuntimeError(f"verify: {done.stdout}")

    def hold(self):
        if self.capture.stop() != 0:
            raise self.capture.died()

    def resume(self):
        self.capture.start()

    def daemons(self):
        return {"capture_daemon": lambda: [self.capture.pid] if self.capture.alive() else [], "sink_daemon": lambda: [self.sink.pid],
                "nats-server": lambda: [self.legacy.nats.pid]}


class Subscribed(Way):
    """By PostgreSQL itself."""

    COMPLETE = "SELECT bool_and(srsubstate = 'r') FROM pg_subscription_rel"

    def prepare(self):
        pass

    def begin(self):
        self.target.execute(f"CREATE SUBSCRIPTION {self.target.name} CONNECTION '{self.source.conninfo(self.legacy.pg.superuser)}' PUBLICATION bench")

    def hold(self):
        self.target.execute(f"ALTER SUBSCRIPTION {self.target.name} DISABLE")
        wait_until(lambda: not self.service.pg.execute("SELECT FROM pg_stat_subscription WHERE pid IS NOT NULL"), "the apply worker to end")

    def resume(self):
        self.target.execute(f"ALTER SUBSCRIPTION {self.target.name} ENABLE")

    def end(self):
        self.target.execute(f"DROP SUBSCRIPTION IF EXISTS {self.target.name}")


@contextlib.contextmanager
def two_servers(bench):
    with bench.arena(postgres=LOGICAL) as legacy, bench.own_arena() as service:
        yield legacy, service


def beside(bench, legacy, service, rows, measure):
    """In turns: (ratios of the rates, runs of ours, runs of PostgreSQL's)."""
    def way(kind):
        def run():
            with kind(legacy, service, rows) as one:
                return measure(one)
        return run
    return runs.side_by_side(bench, way(Moved), way(Subscribed), bench.rounds)


def copying(bench):
    """rows that are there to another server, through a stream and a sink, beside PostgreSQL's own logical replication; CPU a row"""
    count = bench.messages_of(100_000, 1_000_000)
    with two_servers(bench) as (legacy, service):
        ratios, ours, theirs = beside(bench, legacy, service, count, Way.copy)
    return figures("move_copy", ">= 0.3", count, ratios, ours, theirs)


def streaming(bench):
    """changes to another server, through a stream and a sink, beside PostgreSQL's own logical replication: transactions of 20, of inserts alone and mixed"""
    count = bench.messages_of(100_000, 1_000_000)
    with two_servers(bench) as (legacy, service):
        mixed = beside(bench, legacy, service, HOT + count // 10, lambda way: way.stream(count, MIXED))
        inserts = beside(bench, legacy, service, HOT, lambda way: way.stream(count, INSERTS))
    return figures("move_stream", ">= 0.5", count, *mixed) + figures("move_stream_inserts", "", count, *inserts)


def figures(name, target, count, ratios, ours, theirs):
    def us(run):
        return sum(run.cpu.values()) / count
    return [Figure(f"{name}_ratio", target=target, rounds=ratios, notes=runs.notes(boxhaul=ours, PostgreSQL=theirs)),
            Figure(f"{name}_seconds_per_million", unit="s", rounds=[1e6 / run.rate for run in ours]),
            Figure(f"{name}_cpu_us", unit="us a row, daemons and all servers", rounds=[us(run) for run in ours],
                   notes=[f"PostgreSQL's own: {statistics.median(map(us, theirs)):.1f}"])]


def lagging(bench):
    """ms from a commit until the row is to be seen at the other server, while little happens; beside PostgreSQL's own logical replication"""
    probes, rounds = bench.pick(50, 300), bench.rounds_of(2, 5)
    ours, theirs = [], []
    with two_servers(bench) as (legacy, service):
        for _ in range(rounds):
            for kind, its in ((Moved, ours), (Subscribed, theirs)):
                with kind(legacy, service, 100) as one:
                    its.append(one.lag(probes))
    p50 = [statistics.median(its) for its in ours]
    worst = [sorted(sum(its, []))[-max(1, probes * rounds // 100)] for its in (ours, theirs)]
    return [Figure("move_lag_p50_ms", unit="ms", rounds=p50, notes=[
        f"99 of 100 within {worst[0]:.1f}; PostgreSQL's own: {statistics.median(map(statistics.median, theirs)):.2f}, {worst[1]:.1f}"])]


def proving(bench):
    """a verify pass over rows that are equal: from the word to begin until it has ended"""
    count = bench.messages_of(100_000, 1_000_000)
    found = []
    with two_servers(bench) as (legacy, service):
        for _ in range(bench.rounds):
            with Moved(legacy, service, count) as moved:
                moved.prepare()
                moved.begin()
                moved.wait_complete()
                moved.wait_stored()
                found.append(moved.measured(count, moved.verify))
    return [Figure("move_verify_seconds_per_million", unit="s", rounds=[1e6 / run.rate for run in found], notes=runs.notes(boxhaul=found)),
            Figure("move_verify_cpu_us", unit="us a row, daemons and all servers", rounds=[sum(run.cpu.values()) / count for run in found])]


def applying(bench):
    """CPU of a sink's session for a row, by SQL alone: batches of 1,000 and of 100 messages, inserts in transactions of 20; several in one message; and rows that were there"""
    count = bench.messages_of(20_000, 200_000)
    changes, rows = [_change(number, count) for number in range(count)], [_rows(number) for number in range(0, count, ROWS_OF_MESSAGE)]
    several = [_changes(number) for number in range(0, count, CHANGES_OF_MESSAGE)]
    with bench.own_arena() as service:
        large, small, many, read = ([_apply(service, messages, size) / count for _ in range(bench.rounds)]
                                    for messages, size in ((changes, 1000), (changes, 100), (several, 500), (rows, 500)))
    return [Figure("move_apply_us", unit="us a row", rounds=large, notes=["batches of 1,000 messages"]),
            Figure("move_apply_small_us", unit="us a row", rounds=small, notes=["batches of 100 messages"]),
            Figure("move_apply_many_us", unit="us a row", rounds=many, notes=[f"batches of 500 messages of {CHANGES_OF_MESSAGE} changes"]),
            Figure("move_apply_rows_us", unit="us a row", rounds=read, notes=[f"batches of 500 messages of {ROWS_OF_MESSAGE} rows"])]


SHAPE = [{"name": name, "type": type_, "typmod": -1, **({"key": 1} if name == "id" else {})} for name, type_ in (
    ("id", 20), ("customer", 23), ("amount", 1700), ("state", 25), ("at", 1184), ("note", 25))]


ROWS_OF_MESSAGE, CHANGES_OF_MESSAGE = 18, 14  # as a capture puts them together


def _row(number):
    """Its members in the order in which a capture writes them"""
    return {"at": "2026-11-30 17:45:00.123456+00", "id": str(number), "note": "boxhaul " * 12, "state": "open", "amount": "3.50", "customer": "7"}


def _rows(number):
    return {"op": "r", "table": TABLE, "rows": [_row(n) for n in range(number, number + ROWS_OF_MESSAGE)], "snapshot": "s"}, {"Boxhaul-Chunk": "s-1"}


def _changes(number):
    tx = f"0/{number:X}.849253375684112"
    body = {"op": "m", "table": TABLE, "changes": [{"op": "c", "key": {"id": str(n)}, "row": _row(n)} for n in range(number, number + CHANGES_OF_MESSAGE)],
            "at": "2026-11-30T17:45:00.123456Z"}
    return body, {"Boxhaul-Tx": tx, "Boxhaul-Position": f"{tx}.{CHANGES_OF_MESSAGE}", "Boxhaul-Last": "1"}


def _change(number, size):
    tx = f"0/{number // 20:X}.849253375684112"
    body = {"op": "c", "table": TABLE, "key": {"id": str(number)}, "row": _row(number), "at": "2026-11-30T17:45:00.123456Z"}
    last = {"Boxhaul-Last": "1"} if number % 20 == 19 or number == size - 1 else {}
    return body, {"Boxhaul-Tx": tx, "Boxhaul-Position": f"{tx}.{number % 20 + 1}", **last}


def _apply(service, changes, size):
    """us of a session that is given what a daemon would give it; what its arguments cost by themselves is taken off."""
    with service.database() as database, contextlib.closing(database.connect(RELAY)) as connection, connection.cursor() as cursor:
        service.pg.execute(f"GRANT boxhaul_sink TO {RELAY}; GRANT SET ON PARAMETER session_replication_role TO {RELAY}")
        database.execute(TARGET)
        cursor.execute("SELECT boxhaul.inbox_define(%s, 'CDC', ARRAY['cdc.>'], 'none', 1, 'position')", (NAME,))
        cursor.execute("SELECT boxhaul.sink_define(%s, %s)", (NAME, json.dumps([{"from": TABLE, "to": TABLE, "columns": ["*"], "function": ""}])))
        cursor.execute("SELECT epoch FROM boxhaul.inbox_lead(%s, 'bench')", (NAME,))
        epoch = cursor.fetchone()[0]
        cursor.execute("SELECT boxhaul.inbox_open(%s, %s, '2026', 0, NULL)", (NAME, epoch))
        begin = {"op": "snapshot-begin", "table": TABLE, "columns": SHAPE, "snapshot": "s", "format": "text", "order": "commit"}
        messages = [(begin, {}), *changes]
        pid, used, position = connection.info.backend_pid, 0.0, 0
        for first in [0, *range(1, len(messages), size)]:
            batch = messages[first:first + size] if first else messages[:1]
            values = {"epoch": epoch, "at": position, "to": position + len(batch), "seqs": list(range(position + 1, position + len(batch) + 1)),
                      "bodies": [json.dumps(body, separators=(",", ":")).encode() for body, _ in batch], "headers": [json.dumps(headers) for _, headers in batch]}
            before = cpu_us(pid)
            cursor.execute("SELECT cardinality(%(seqs)s::bigint[]), cardinality(%(bodies)s::bytea[]), cardinality(%(headers)s::jsonb[])", values)
            between = cpu_us(pid)
            cursor.execute("SELECT taken, trouble FROM (SELECT %(seqs)s::bigint[] AS seqs, ARRAY(SELECT NULL::text FROM unnest(%(seqs)s::bigint[])) AS no) m, "
                           "boxhaul.sink_apply('bench', %(epoch)s, 1, %(at)s, %(to)s, 1, m.seqs, m.no, m.no, m.no, %(bodies)s::bytea[], "
                           "%(headers)s::jsonb[], m.seqs, m.no, 0)", values)
            used += cpu_us(pid) - between - (between - before)
            if (said := cursor.fetchone()) != (len(batch), None):
                raise RuntimeError(f"the batch was not applied: {said}")
            position += len(batch)
        return used


FIGURES = {"move_copy_ratio": copying, "move_stream_ratio": streaming, "move_lag_p50_ms": lagging, "move_verify": proving, "move_apply_us": applying}
