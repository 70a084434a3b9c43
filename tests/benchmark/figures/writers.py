"""What the outbox costs those who write to it.

Inserts per second of 1, 16 and 64 clients, one message a transaction, everything durable (fsync and synchronous_commit on,
as PostgreSQL comes). In turns:

    plain    a table with the same columns but the ring's, the same defaults and CHECKs, a primary key on id;
             no ring, no trigger, and no relay that does anything
    outbox   boxhaul.outbox as it is, and a relay that delivers what is written
    resting  the same, but nobody reads: what ring and trigger cost without the relay's share of the machine
    notify   the outbox and its relay, but a trigger that notifies each time"""

import os
import re
import shutil
import statistics
import subprocess

from arena import SERVICE
from meter import CPUS
from process import wait_until
from producers import insert, inserts_per_second
from report import Figure, Skipped

CLIENTS = (1, 16, 64)
WARM_UP_S = 0.5

PLAIN = """
CREATE TABLE public.plain (LIKE boxhaul.outbox INCLUDING DEFAULTS INCLUDING IDENTITY INCLUDING CONSTRAINTS);
ALTER TABLE public.plain DROP COLUMN slot, ADD PRIMARY KEY (id);
GRANT INSERT (subject, key, payload, headers) ON public.plain TO {user};
"""
NOTIFY = """
CREATE FUNCTION public.notify_always() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_notify('boxhaul', ''); RETURN NULL; END $$;
DROP TRIGGER wake_statement ON boxhaul.outbox;
CREATE TRIGGER notify_always AFTER INSERT ON boxhaul.outbox FOR EACH STATEMENT EXECUTE FUNCTION public.notify_always();
"""


class Variant:
    """A database, what is written to in it, and the relay that reads it, if one does."""

    def __init__(self, arena, name, sql="", table="boxhaul.outbox", relayed=False):
        self.name, self.arena, self.table = name, arena, table
        self.database = arena.database()
        if sql:
            self.database.execute(sql)
        self.relay = None
        self.forget()
        if relayed:
            arena.create_stream(name.upper(), [f"{name}.>"])
            self.relay = arena.relay(self.database, name.upper(), [f"{name}.>"]).start().wait_until_ready()

    def write(self, clients, seconds):
        script = insert(self.table).replace("'bench.'", f"'{self.name}.'")
        meter = self.arena.meter(self.database, relay=[self.relay.pid]) if self.relay else None
        self.tps[clients].append(inserts_per_second(self.arena, self.database, self.table, clients, seconds, script, meter))
        if self.relay:
            self.cpu[clients].append({name: us / meter.seconds / 1e4 for name, us in meter.cpu.items()})
            wait_until(lambda: self.database.settled() and self.database.asleep(), "the relay to have delivered everything")

    def forget(self):
        """Nothing has been measured yet. By clients: inserts a second, and percent of a CPU by process, of each round."""
        self.tps, self.cpu = {clients: [] for clients in CLIENTS}, {clients: [] for clients in CLIENTS}

    def shares(self, clients):
        """Of the CPUs, in percent: the median of the rounds."""
        return ", ".join(f"{name} {statistics.median(cpu[name] for cpu in self.cpu[clients]):.0f}"
                         for name in self.cpu[clients][0])


def writer_ratio(bench):
    """inserts a second at 1, 16 and 64 clients, by those into a plain table that nobody relays

    In the quick run, of what stands beside the ratio there is one round of 64 clients that notify."""
    seconds, rounds = bench.pick(0.7, 10), bench.rounds_of(2, 5)
    with bench.arena() as arena:
        plain = Variant(arena, "plain", PLAIN.format(user=SERVICE), "public.plain")
        outbox = Variant(arena, "outbox", relayed=True)
        beside = [Variant(arena, "notify", NOTIFY, relayed=True)] + ([Variant(arena, "resting")] if bench.full else [])
        for variant in (plain, outbox):
            variant.write(CLIENTS[-1], WARM_UP_S)
            variant.forget()
        for number in range(rounds):
            for clients in CLIENTS:
                bench.say(f"writer_ratio: round {number + 1} of {rounds}, {clients} clients")
                turn = [plain, outbox] + (beside if bench.full or (number == 0 and clients == CLIENTS[-1]) else [])
                for variant in turn[:: -1 if number % 2 else 1]:
                    variant.write(clients, seconds)
        return list(_figures(plain, outbox, beside))


def _figures(plain, outbox, beside):
    for clients in CLIENTS:
        def ratios(variant, clients=clients):
            return [mine / bare for mine, bare in zip(variant.tps[clients], plain.tps[clients])]
        yield Figure(f"writer_ratio_{clients}", None, "of a plain table", ">= 0.9", ratios(outbox), notes=[
            f"inserts per second: plain {_spread(plain, clients)}, outbox {_spread(outbox, clients)}",
            f"percent of a CPU beside them ({CPUS} CPUs): {outbox.shares(clients)}"])
        for variant in [one for one in beside if one.tps[clients]]:
            yield Figure(f"writer_ratio_{clients}_{variant.name}", None, "of a plain table", "", ratios(variant),
                         notes=[f"inserts per second: {_spread(variant, clients)}"])


def _spread(variant, clients):
    tps = variant.tps[clients]
    return f"{statistics.median(tps):.0f} ({min(tps):.0f} - {max(tps):.0f})"


# -- counted, not timed

UNCHECKED = """
CREATE TABLE public.unchecked (LIKE boxhaul.outbox INCLUDING DEFAULTS INCLUDING IDENTITY);
ALTER TABLE public.unchecked DROP COLUMN slot, ADD PRIMARY KEY (id);
"""
FEW, MANY = 50, 450  # statements: the difference of two runs, so that starting up does not count


def instructions(bench):
    """what an insert costs a backend in instructions: the outbox, a plain table with its CHECKs, and one without

    A single-user PostgreSQL under valgrind executes a prepared INSERT of one message a transaction. It counts what its own code does,
    the same on a busy machine; not the kernel, nor the waiting for disk and locks, which make most of the time."""
    if not shutil.which("valgrind"):
        raise Skipped("valgrind is missing")
    with bench.own_arena() as arena:
        database = arena.database()
        database.execute(PLAIN.format(user=SERVICE) + UNCHECKED)
        arena.pg.stop()
        try:
            outbox, plain, unchecked = (_count(arena, database.name, table) for table in ("boxhaul.outbox", "public.plain", "public.unchecked"))
        finally:
            arena.pg.start()
    return [Figure("writer_instructions", outbox, "instructions of the backend for an insert", notes=[
                f"a plain table with the same CHECKs {plain:.0f}, without them {unchecked:.0f}; and for each statement, not for each row: a "
                "transaction that inserts several by one INSERT pays the most of it once"]),
            Figure("writer_instructions_ratio", outbox / plain, "of a plain table with the same CHECKs")]


def _count(arena, database, table):
    """Instructions of one INSERT."""
    few, many = (_single_user(arena.pg, database, [f"PREPARE p (text, text, bytea) AS INSERT INTO {table} (subject, key, payload) VALUES ($1, $2, $3)"] + [
        f"EXECUTE p ('bench.{i % 4}', 'key-{i}', '{'boxhaul ' * 32}')" for i in range(count)]) for count in (FEW, MANY))
    return (many - few) / (MANY - FEW)


def _single_user(pg, database, statements):
    drop = ["setpriv", "--reuid", pg.user, "--regid", pg.user, "--init-groups", "--"] if pg.user else []
    done = subprocess.run([*drop, "valgrind", "--tool=callgrind", "--vgdb=no", "--callgrind-out-file=/dev/null", os.path.join(pg.programs, "postgres"),
                           "--single", "-D", pg.data, "-c", "autovacuum=off", "-c", "full_page_writes=off", "-c", "fsync=off", database],
                          input="\n".join(statements) + "\n", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, cwd="/")
    counted = re.findall(r"Collected : (\d+)", done.stdout)
    if done.returncode != 0 or not counted or "ERROR" in done.stdout:
        raise RuntimeError(f"postgres --single ended with status {done.returncode}:\n{done.stdout[-2000:]}")
    return int(counted[-1])


FIGURES = {"writer_ratio": writer_ratio, "writer_instructions": instructions}
