"""The show behind packaging/try --capture: a legacy shop that knows nothing of us writes into tables of its own; boxhaul reads the database's
log, brings the rows that were there before, and is killed on the way. At the end an independent reader, which knows the stream and nothing
else, rebuilds the tables, and the copy is compared with the source row by row."""

import contextlib

from copied import Copy, Source
from jetstream import JetStream
from legacy import TABLES, Legacy, Ways, create_tables
from nats_client import Client
from process import DEADLINE
from relay import Relay
from servers import Nats, Postgres
from try_show import Flow, Killer, must_succeed, say

CAPTURE, STREAM, DATABASE = "legacy", "LEGACY_CDC", "legacy"
CLIENTS, ORDERS = 4, 20000


class Show:
    """A database that was there before us, and what is put beside it."""

    def __init__(self, workspace, boxhaul):
        self.postgres = workspace.add(Postgres(workspace.path("pg"), wal_level="logical")).start()
        self.nats = workspace.add(Nats(workspace.path("nats"))).start()
        self.postgres.execute(f"CREATE DATABASE {DATABASE}")
        with contextlib.closing(self.postgres.connect(DATABASE)) as connection:
            create_tables(connection, ORDERS)
        self.relay = workspace.add(Relay(boxhaul, workspace.path("relay"), {
            "name": "legacy", "nats": {"urls": [self.nats.url()]}, "postgres": {
                "conninfo": self.postgres.conninfo(DATABASE, "boxhaul_reader"), "migrate_conninfo": self.postgres.conninfo(DATABASE)},
            "capture": [{"name": CAPTURE, "tables": TABLES, "stream": STREAM, "create": True}]}))
        self.killer = Killer(self.relay)

    def prepare(self):
        """What an administrator does once."""
        must_succeed(self.relay, "migrate")
        self.postgres.create_login("boxhaul_reader", "boxhaul_relay", "boxhaul_capture")
        self.postgres.execute("ALTER ROLE boxhaul_reader REPLICATION")
        self.postgres.execute("GRANT USAGE ON SCHEMA legacy TO boxhaul_capture; "
                              "GRANT SELECT ON ALL TABLES IN SCHEMA legacy TO boxhaul_capture", dbname=DATABASE)
        for words in (("capture", "plan", CAPTURE), ("capture", "start", CAPTURE)):
            must_succeed(self.relay, *words)

    def start(self):
        self.relay.start()
        self.killer.start()

    def close(self):
        self.killer.close()

    def stored(self):
        with Client(self.nats.url()) as client:
            return JetStream(client).count(STREAM)

    def is_settled(self):
        """The snapshot is complete, and all that was in the log when we asked is stored and confirmed."""
        (here,), = self.postgres.execute("SELECT pg_current_wal_flush_lsn()")
        return (self.postgres.execute("SELECT bool_and(state = 'complete') FROM boxhaul.capture_table", dbname=DATABASE) == [(True,)] and
                self.postgres.execute("SELECT bool_and(confirmed_flush_lsn >= %s) FROM pg_replication_slots", (here,)) == [(True,)])


def trade(show, legacy, seconds):
    """The legacy shop is open for a while; then everything is stored. Returns what went wrong."""
    def look():
        seen = legacy.committed, show.stored()
        return seen, f"transactions {seen[0]:8,}   in the stream {seen[1]:9,}   boxhaul killed {show.killer.kills:3} times"

    flow = Flow(look)
    legacy.start()
    try:
        show.start()
        flow.show_until(lambda: flow.is_over(seconds))
        legacy.stop()
        show.close()
        finished = flow.show_until(show.is_settled)
    finally:
        flow.end()
    problems = [] if finished else [f"nothing moved for {DEADLINE} s; the end of boxhaul's log:\n{show.relay.log_tail()}"]
    problems += show.killer.failures
    if legacy.errors:
        problems.append(f"the legacy shop got {len(legacy.errors)} SQL errors, the first: {legacy.errors[0]}")
    if show.killer.kills == 0:
        problems.append("boxhaul was never killed: that was no trial")
    return problems


def run(workspace, boxhaul, seconds):
    """Returns the exit status."""
    show = workspace.add(Show(workspace, boxhaul))
    show.prepare()
    say(f"a legacy shop with {3 * ORDERS:,} rows knows nothing of us; {CLIENTS} clients write for {seconds} s while its tables are captured "
        "and boxhaul is killed again and again")
    legacy = workspace.add(Legacy(show.postgres.conninfo(DATABASE), CLIENTS, ORDERS, Ways(pause=0.005)))
    problems = trade(show, legacy, seconds)
    if (status := show.relay.stop()) != 0:
        problems.append(f"boxhaul run ended with status {status} on SIGTERM:\n{show.relay.log_tail()}")
    say(f"the shop is closed, boxhaul was killed {show.killer.kills} times; rebuilding the tables from the stream alone")
    copy = Copy()
    with Client(show.nats.url()) as client:
        copy.read(JetStream(client).read(STREAM))
    there, here, different = copy.compare(Source(show.postgres, DATABASE, TABLES))
    counts = ", ".join(f"{copy.counts[op]:,} {what}" for op, what in (("r", "rows that were there before"), ("c", "inserts"), ("u", "updates"),
                                                                      ("d", "deletes")))
    say(f"the stream holds {counts}; of its order and its ids: {copy}")
    for problem in problems + copy.examples:
        say(problem)
    say(f"source_rows={there} copy_rows={here} different={different}")
    return 0 if copy.clean() and not problems and there > 0 else 1
