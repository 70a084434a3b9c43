"""Sagas: how many of three steps a second with all servers on this machine, what a transition costs, what ended ones take on disk, and
whether the clock costs more when more of them are open."""

import contextlib
import json
import statistics

from arena import RELAY
from meter import cpu_us
from process import wait_until
from report import Figure

STREAM, SUBJECTS, REPLIES, NAME = "SAGAS", ["desk.>", "stock.>", "bank.>"], "desk.saga", "order"
STEPS = [{"name": "reserve", "kind": "undoable", "command": "stock.reserve", "undo": "stock.release", "deadline": "1h"},
         {"name": "charge", "kind": "pivot", "command": "bank.charge", "deadline": "1h"},
         {"name": "ship", "kind": "retriable", "command": "stock.ship", "deadline": "1h"}]
PARTICIPANT = f"""
CREATE TABLE did (saga text, step text);
CREATE FUNCTION act(m boxhaul.inbox) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF boxhaul.saga_accept(m) <> 'skip' THEN
        INSERT INTO public.did VALUES (m.headers ->> 'Boxhaul-Saga', m.headers ->> 'Boxhaul-Step');
        PERFORM boxhaul.saga_answer(m, 'done', '{{}}');
    END IF;
END $$;
GRANT ALL ON did TO {RELAY};
"""
# The answer to a saga's command, as the daemon hands it over. i: where in the inbox; it is in no table.
REPLY = """
CREATE FUNCTION answer(saga uuid, step text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    r boxhaul.inbox;
BEGIN
    r.subscription := 'sagas.replies'; r.lane := 0; r.id := 1; r.subject := 'desk.saga'; r.key := saga::text; r.payload := '{}';
    r.headers := jsonb_build_object('Boxhaul-Saga', saga, 'Boxhaul-Step', step, 'Boxhaul-Dir', 'do', 'Boxhaul-Attempt', '1',
                                    'Boxhaul-Outcome', 'done');
    PERFORM boxhaul.saga_reply(r);
END $$;
"""
SIZES = "SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class c WHERE c.oid IN ('boxhaul.saga'::regclass, 'boxhaul.saga_log'::regclass)"


def _asked(database, sql):
    return database.execute(f"SELECT ({sql})")[0][0]


def _desk(database):
    """A database that may start sagas, and no daemon looks after it."""
    database.execute("SELECT boxhaul.saga_define(%s, %s::jsonb)", (NAME, json.dumps(STEPS)))
    database.execute(f"SELECT boxhaul.saga_configure('{REPLIES}', '30 days')")
    return database


def _start(database, count, chunk=100):
    """count sagas, so many in a transaction. Returns the CPU microseconds of the backend."""
    with contextlib.closing(database.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        pid = cursor.fetchone()[0]
        before = cpu_us(pid)
        for first in range(0, count, chunk):
            cursor.execute("SELECT boxhaul.saga_start(%s, 'k' || i, '{\"amount\": 10}') FROM generate_series(1, %s) i",
                           (NAME, min(chunk, count - first)))
        return cpu_us(pid) - before


def _finish(database, chunk=100):
    """Answer every step of every open saga. Returns (transitions, CPU microseconds of the backend)."""
    database.execute(REPLY)
    done = 0
    with contextlib.closing(database.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        pid = cursor.fetchone()[0]
        cursor.execute("SELECT id FROM boxhaul.sagas WHERE ended_at IS NULL")
        ids = [saga for (saga,) in cursor.fetchall()]
        before = cpu_us(pid)
        for first in range(0, len(ids), chunk):
            for step in STEPS:
                cursor.execute("SELECT answer(x, %s) FROM unnest(%s::uuid[]) x", (step["name"], ids[first:first + chunk]))
                done += cursor.rowcount
        used = cpu_us(pid) - before
    if _asked(database, "SELECT count(*) FROM boxhaul.sagas WHERE state <> 'completed'"):
        raise RuntimeError("not every saga was completed")
    return done, used


def transition(bench):
    """CPU of PostgreSQL for a start, and for each transition, a hundred in a transaction; disk of those that have ended"""
    count = bench.messages_of(2_000, 1_000_000)
    starts, transitions = [], []
    with bench.arena() as arena:
        for _ in range(bench.rounds if bench.quick else 1):
            with _desk(arena.database()) as database:
                empty = int(_asked(database, SIZES))
                starts.append(_start(database, count) / count)
                done, used = _finish(database)
                transitions.append(used / done)
                database.execute("VACUUM boxhaul.saga")
                size = (int(_asked(database, SIZES)) - empty) / count
    return [Figure("saga_transition_us", unit="us of CPU", rounds=transitions,
                   notes=["an answer: the row, its log and the next command, in transactions of a hundred"]),
            Figure("saga_start_us", unit="us of CPU", rounds=starts, notes=["the row, its log and the first command, a hundred at a time"]),
            Figure("saga_disk_mb_per_million", size, "MB", notes=[
                f"rows, log and indexes of {count} that have ended, three steps each, vacuumed; the outbox has its own retention"])]


def _services(arena):
    """Three databases and their daemons, which are not started: [(database, daemon), ...], the desk's first."""
    arena.create_stream(STREAM, SUBJECTS)
    found = []
    for name in ("desk", "stock", "bank"):
        database = arena.database()
        own = {"sagas": {"stream": STREAM, "replies": REPLIES}}
        if name != "desk":
            own = {"inbox": [{"name": name, "stream": STREAM, "subjects": [f"{name}.>"], "handler": "public.act"}]}
            database.execute(PARTICIPANT)
        found.append((database, arena.relay(database, STREAM, SUBJECTS, **own)))
    return found


def rate(bench):
    """sagas a second of three steps over three databases and daemons, PostgreSQL and nats-server on this machine"""
    count = bench.messages_of(1_000, 50_000)
    rates, cpu = [], []
    for _ in range(bench.rounds):
        with bench.arena() as arena:
            services = _services(arena)
            desk = _desk(services[0][0])
            for _, daemon in services:
                daemon.start().wait_until_ready()
            meter = arena.meter(None, daemons=lambda: [daemon.pid for _, daemon in services if daemon.alive()])
            with meter:
                _start(desk, count)
                wait_until(lambda: _asked(desk, "SELECT count(*) FROM boxhaul.sagas WHERE ended_at IS NULL") == 0, "all sagas to end", 1800,
                           0.1)
            seconds = float(_asked(desk, "SELECT extract(epoch FROM max(ended_at) - min(started_at)) FROM boxhaul.sagas"))
            if _asked(desk, "SELECT count(*) FROM boxhaul.sagas WHERE state <> 'completed'"):
                raise RuntimeError("not every saga was completed")
            for database, _ in services[1:]:
                if _asked(database, "SELECT count(*) - count(DISTINCT (saga, step)) FROM did"):
                    raise RuntimeError("a step was done twice")
            rates.append(count / seconds)
            cpu.append({name: us / count for name, us in meter.cpu.items()})
    typical = {name: statistics.median(round_[name] for round_ in cpu) for name in cpu[0] if name != "postgres_backend"}
    return [Figure("saga_rate", unit="sagas a second", rounds=rates, notes=[
        f"{count} sagas of three steps, from the first start to the last end: 6 messages each, handlers in the database, one PostgreSQL "
        "for the three databases",
        "CPU us a saga: " + ", ".join(f"{name} {us:.0f}" for name, us in typical.items())])]


def _ticks(database, times):
    """CPU microseconds of the backend for each look of the clock at which nothing is due, and the wall clock's."""
    with contextlib.closing(database.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        pid = cursor.fetchone()[0]
        cursor.execute("SELECT boxhaul.saga_tick()")
        before = cpu_us(pid)
        for _ in range(times):
            cursor.execute("SELECT boxhaul.saga_tick()")
        return (cpu_us(pid) - before) / times


def _due(database, times):
    """The same for ticks that take a hundred sagas whose deadline has passed, CPU a saga."""
    with contextlib.closing(database.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        pid = cursor.fetchone()[0]
        before = cpu_us(pid)
        for _ in range(times):
            cursor.execute("SELECT boxhaul.saga_tick(clock_timestamp() + interval '2 hours', 10)")
        return (cpu_us(pid) - before) / times


def tick(bench):
    """the clock with 10,000 sagas open, by the clock with 100: nothing due, and ten due at a time; in turns"""
    looks, takes, few_us, many_us = [], [], [], []
    with bench.arena() as arena, _desk(arena.database()) as few, _desk(arena.database()) as many:
        _start(few, 100)
        _start(many, 10_000)
        for database in (few, many):
            database.execute("VACUUM ANALYZE boxhaul.saga")
        for _ in range(bench.rounds):
            one, other = _ticks(few, 1000), _ticks(many, 1000)
            few_us.append(one)
            many_us.append(other)
            looks.append(other / one)
        for _ in range(bench.rounds):
            one, other = _due(few, 3), _due(many, 3)
            takes.append(other / one)
    return [Figure("saga_tick_ratio", target="<= 1.5", rounds=looks, notes=[
                f"CPU of a look: {statistics.median(few_us):.0f} us with 100 open, {statistics.median(many_us):.0f} us with 10,000"]),
            Figure("saga_due_ratio", target="<= 1.5", rounds=takes, notes=["the same for ticks that take ten sagas each"])]


FIGURES = {"saga_rate": rate, "saga_transition_us": transition, "saga_tick_ratio": tick}
