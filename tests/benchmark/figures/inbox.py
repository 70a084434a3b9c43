"""The inbox: how fast it takes what stands in a stream, what that costs, and how fast and how soon it is handled.

The yardstick is a bare reader (yardsticks/take.c): the same consumer, and nothing looked after. It feeds COPY, single INSERTs, or one
INSERT with the same anti-join on ids. Both read the same stream, in turns."""

import contextlib
import itertools
import statistics
import threading
import time

import runs
from arena import RELAY, STREAM, SUBJECTS
from footprint import Watch
from nats_client import Client
from process import wait_until
from report import Figure

NAME = "bench"
HANDLER = """
CREATE TABLE handled (id bigint, at timestamptz DEFAULT clock_timestamp());
CREATE FUNCTION handle(m boxhaul.inbox) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.handled VALUES (m.id);
END $$;
"""


def _relay(arena, database, **settings):
    relay = arena.relay(database, inbox=[{"name": NAME, "stream": STREAM, "subjects": SUBJECTS, **settings}])
    relay.configure({group: value for group, value in relay.settings.items() if group != "streams"})
    return relay


def _asked(database, sql):
    return database.execute(f"SELECT ({sql})")[0][0]


def _position(database):
    return _asked(database, "SELECT coalesce(max(taken), 0) FROM boxhaul.inbox_position")


def take(arena, count, dedupe):
    """A relay takes all of the stream into a fresh database; timed from the first row to the last, by the database's clock."""
    with arena.database() as database:
        relay = _relay(arena, database, dedupe=dedupe)
        meter = arena.meter(database, relay=lambda: [relay.pid] if relay.alive() else [])
        with meter:
            relay.start()
            wait_until(lambda: _position(database) >= count or not relay.alive(), f"{count} messages to be taken", 600, 0.05)
        if not relay.alive():
            raise relay.died()
        seconds = float(_asked(database, "SELECT extract(epoch FROM max(received_at) - min(received_at)) FROM boxhaul.inbox"))
        # Rows of the first statement have its one time: they are not in the time.
        first = _asked(database, "SELECT count(*) FROM boxhaul.inbox WHERE received_at = (SELECT min(received_at) FROM boxhaul.inbox)")
        dead = _asked(database, "SELECT coalesce(sum(n_dead_tup), 0) FROM pg_stat_user_tables WHERE relname ~ '^(inbox|seen)_[0-9]$'")
        if relay.stop() != 0:
            raise relay.died()
        return runs.Run(count - first, seconds, meter.cpu, meter.others, meter.load, {"dead": int(dead)})


def bare(bench, arena, count, into):
    with arena.database() as database:
        meter = arena.meter(database)
        with meter:
            said = runs.run_yardstick(bench, "take", url=arena.nats.url(), stream=STREAM, count=count, into=into,
                                      conninfo=database.conninfo(arena.pg.superuser))
        meter.add("reader", said["cpu_us"])
        return runs.Run(count, said["seconds"], meter.cpu, meter.others, meter.load, said)


def _beside(bench, arena, count, dedupe, into):
    return runs.side_by_side(bench, lambda: take(arena, count, dedupe), lambda: bare(bench, arena, count, into), bench.rounds)


def taking(bench):
    """a stream taken into the database, beside a bare reader that feeds COPY, and one with the same anti-join on ids"""
    count = bench.messages_of(100_000, 1_000_000)
    with bench.arena() as arena:
        runs.publish(bench, arena, count, mode="loop", window=4096)
        ratios, taken, copied = _beside(bench, arena, count, "position", "copy")
        ids_ratios, ids_taken, joined = _beside(bench, arena, count, "ids", "ids")
        nothing, inserted = bare(bench, arena, count, "none"), bare(bench, arena, count, "insert")
    dead = [run.extra["dead"] for run in taken + ids_taken]
    return [
        Figure("inbox_take_ratio", target=">= 0.8", rounds=ratios, notes=runs.notes(relay=taken, reader_into_COPY=copied)),
        Figure("inbox_take_ids_ratio", target=">= 0.8", rounds=ids_ratios,
               notes=runs.notes(relay=ids_taken, reader_with_the_anti_join=joined)),
        Figure("inbox_take", unit="messages a second", target=">= 60000", rounds=[run.rate for run in taken],
               notes=["dedupe = position; the target is for two cores shared with the servers"]),
        Figure("inbox_take_ids", unit="messages a second", rounds=[run.rate for run in ids_taken], notes=["dedupe = ids"]),
        Figure("inbox_cpu_us_per_message", unit="us", rounds=[run.us("relay") for run in ids_taken],
               notes=[f"dedupe = ids; with position {runs.typical(taken, 'relay'):.2f}"]),
        Figure("inbox_postgres_cpu_us_per_message", unit="us", rounds=[run.us("postgres_backend") for run in ids_taken],
               notes=[f"dedupe = ids; with position {runs.typical(taken, 'postgres_backend'):.2f}"]),
        Figure("inbox_dead_tuples", max(dead), "dead tuples in inbox and seen", "<= 0"),
        Figure("inbox_bare_reader", nothing.rate, "messages a second", notes=[
            "it inserts nothing", f"with single INSERTs in a pipeline: {inserted.rate:.0f}/s"]),
    ]


def _handle(arena, count, snapshot=False, workers=1):
    """Messages a second that a handler in the database handles. All of them are taken before, by a relay that has none; and timed by
    what the handler wrote."""
    with arena.database() as database:
        database.execute(HANDLER)
        database.execute(f"GRANT ALL ON handled TO {RELAY}")
        relay = _relay(arena, database).start()
        wait_until(lambda: _position(database) >= count, "all to be taken", 600, 0.05)
        if relay.stop() != 0:
            raise relay.died()
        with contextlib.ExitStack() as stack:
            if snapshot:
                old = stack.enter_context(contextlib.closing(database.connect()))
                old.cursor().execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1")
            relay = _relay(arena, database, handler="public.handle", workers=workers).start()
            wait_until(lambda: _asked(database, "SELECT count(*) FROM handled") >= count, "all to be handled", 600, 0.1)
        relay.kill9()
        if _asked(database, "SELECT count(DISTINCT id) FROM handled") != count:
            raise RuntimeError("not every message was handled once")
        return (count - 1) / float(_asked(database, "SELECT extract(epoch FROM max(at) - min(at)) FROM handled"))


def handling(bench):
    """messages a second through a handler in the database: one worker, four; and beside an old snapshot"""
    count = bench.messages_of(60_000, 500_000)
    with bench.arena() as arena:
        runs.publish(bench, arena, count, mode="loop", window=4096)
        one = [_handle(arena, count, workers=1) for _ in range(bench.rounds)]
        four = [_handle(arena, count, workers=4) for _ in range(bench.rounds)]
        old = [_handle(arena, count, snapshot=True, workers=4) for _ in range(bench.rounds)]
    return [Figure("inbox_handle", unit="messages a second", rounds=one, notes=["a handler of one INSERT, one session"]),
            Figure("inbox_handle_4", unit="messages a second", rounds=four, notes=["four sessions, 64 lanes"]),
            Figure("inbox_old_snapshot_ratio", rounds=[slow / quick for slow, quick in zip(old, four)],
                   notes=["the same while a transaction in REPEATABLE READ stays open"])]


def through(arena, count):
    """A relay takes all of the stream into a fresh database, and one session handles it there; timed from the first row that came to the
    last effect."""
    with arena.database() as database:
        database.execute(HANDLER)
        database.execute(f"GRANT ALL ON handled TO {RELAY}")
        relay = _relay(arena, database, handler="public.handle", workers=1)
        meter = arena.meter(database, relay=lambda: [relay.pid] if relay.alive() else [])
        with meter:
            relay.start()
            wait_until(lambda: _asked(database, "SELECT count(*) FROM handled") >= count or not relay.alive(), "all to be handled", 1200, 0.05)
        if not relay.alive():
            raise relay.died()
        relay.kill9()
        seconds = float(_asked(database, "SELECT extract(epoch FROM (SELECT max(at) FROM handled) - min(received_at)) FROM boxhaul.inbox"))
        return runs.Run(count, seconds, meter.cpu, meter.others, meter.load)


def home_made(bench, arena, count, batch):
    """yardsticks/consume.c: a durable consumer with acknowledgements, and a table of ids."""
    with arena.database() as database:
        meter = arena.meter(database)
        with meter:
            said = runs.run_yardstick(bench, "consume", url=arena.nats.url(), stream=STREAM, count=count, batch=batch,
                                      conninfo=database.conninfo(arena.pg.superuser))
        meter.add("consumer", said["cpu_us"])
        if _asked(database, "SELECT count(DISTINCT n) FROM home_handled") != count:
            raise RuntimeError("not every message was handled once")
        return runs.Run(count, said["seconds"], meter.cpu, meter.others, meter.load, said)


def consuming(bench):
    """from a stream to effects in one session, beside consumers that services make themselves, which dedupe in the database"""
    count = bench.messages_of(3_000, 200_000)
    figures = []
    with bench.arena() as arena:
        runs.publish(bench, arena, count, mode="loop", window=4096)
        for name, batch, words in (("inbox_consumer_ratio", 1, "a transaction for each message"),
                                   ("inbox_batch_consumer_ratio", 100, "a transaction for a hundred")):
            ratios, ours, theirs = runs.side_by_side(bench, lambda: through(arena, count),
                                                     lambda b=batch: home_made(bench, arena, count, b), bench.rounds)
            figures.append(Figure(name, rounds=ratios, notes=[words, *runs.notes(relay_and_handler=ours, home_made=theirs)]))
    return figures


class Publishing:
    """Somebody publishes all the while, a message every `gap` seconds: for a `with`."""

    def __init__(self, url, gap):
        self.url, self.gap, self.ended = url, gap, threading.Event()
        self.thread = threading.Thread(target=self._run)

    def _run(self):
        with Client(self.url) as client:
            for n in itertools.count():
                if self.ended.wait(self.gap):
                    return
                client.publish(f"bench.{n % 4}", b"busy %d" % n, {"Boxhaul-Key": f"key-{n % 1000}"})

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exception):
        self.ended.set()
        self.thread.join()


def _busy_latency(arena, database, seconds, percentile):
    """ms, from the time that the stream gave a message to its effect; while others come all the time."""
    with Publishing(arena.nats.url(), 0.002):
        time.sleep(1)
        begin = _asked(database, "SELECT coalesce(max(id), 0) FROM handled")
        time.sleep(seconds)
        end = _asked(database, "SELECT max(id) FROM handled")
    return [float(_asked(database, f"SELECT percentile_cont({p}) WITHIN GROUP (ORDER BY extract(epoch FROM h.at - i.stored_at) * 1000) "
                                   f"FROM handled h JOIN boxhaul.inbox i USING (id) WHERE id BETWEEN {begin} AND {end}")) for p in percentile]


def _latencies(arena, database, count, gap):
    """From the acknowledgement of a publish to the commit of its effect, ms; one by one."""
    found = []
    with Client(arena.nats.url()) as client, contextlib.closing(database.connect()) as connection, connection.cursor() as cursor:
        for n in range(count):
            cursor.execute("SELECT count(*) FROM handled")
            before = cursor.fetchone()[0]
            client.request("bench.0", f"latency {n}".encode(), deadline=10)
            begin = time.time()
            while True:
                cursor.execute("SELECT count(*), extract(epoch FROM max(at)) FROM handled")
                handled, at = cursor.fetchone()
                if handled > before:
                    break
            found.append(max(0.0, float(at) - begin) * 1000)
            time.sleep(gap)
    return found


def latency(bench):
    """from stored to handled, asleep and busy; queries of an inbox that has nothing to do"""
    with bench.arena() as arena:
        arena.create_stream()
        with arena.database() as database:
            database.execute(HANDLER)
            database.execute(f"GRANT ALL ON handled TO {RELAY}")
            relay = _relay(arena, database, handler="public.handle").start()
            wait_until(lambda: _asked(database, "SELECT count(*) FROM boxhaul.inbox_position WHERE created IS NOT NULL") == 1,
                       "the subscription")
            rounds = [statistics.median(_latencies(arena, database, bench.pick(20, 200), 0.3)) for _ in range(bench.rounds)]
            seconds = bench.pick(20, 300)
            time.sleep(1.5)
            before = database.counts()["transactions"]
            time.sleep(seconds)
            asked = database.counts()["transactions"] - before
            busy = [_busy_latency(arena, database, bench.pick(3, 30), (0.5, 0.99)) for _ in range(bench.rounds)]
            relay.kill9()
    return [Figure("inbox_latency_ms", unit="ms, stored to handled, asleep", rounds=rounds),
            Figure("inbox_busy_latency_ms", unit="ms, stored to handled, one every 2 ms", rounds=[p50 for p50, _ in busy],
                   notes=[f"99 of 100 within {statistics.median(p99 for _, p99 in busy):.2f} ms"]),
            Figure("inbox_idle_queries_per_minute", 60 * asked / seconds, "transactions a minute",
                   notes=["the clock: looking after lanes, cleaning, figures; the worker's own look every 30 s"])]


def memory(bench):
    """resident memory while a long stream is taken"""
    count = bench.messages_of(200_000, 10_000_000)
    with bench.arena() as arena:
        runs.publish(bench, arena, count, mode="loop", window=4096)
        with arena.database() as database:
            relay = _relay(arena, database).start()
            with Watch(relay.pid) as watch:
                wait_until(lambda: _position(database) >= count, "all to be taken", 7200, 0.2)
            relay.kill9()
    return [Figure("inbox_memory_mb", watch.most("Hwm"), "MB resident at most", "< 25", notes=[f"{count} messages", watch.told()])]


FIGURES = {"inbox_consumer_ratio": consuming, "inbox_batch_consumer_ratio": consuming, "inbox_busy_latency_ms": latency,
           "inbox_take_ratio": taking, "inbox_take_ids_ratio": taking, "inbox_handle": handling, "inbox_latency_ms": latency,
           "inbox_idle_queries_per_minute": latency, "inbox_memory_mb": memory}
