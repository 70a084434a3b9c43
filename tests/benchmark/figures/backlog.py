"""Draining what waits: does it matter how much that is, who else looks at the database, and how many ids are missing?

Rates are taken from the stream's own clock: from its first message to its last."""

import contextlib
import time

from process import wait_until
from report import Curve, Figure
from runs import drain, instant

MARKS_OF_AN_HOUR = 36_000  # one in delivery.mark_interval
UNDECIDED, UNRELATED = "a writer of the outbox stays open", "an unrelated writer stays open"

# Buffers of our tables, with their indexes and TOAST.
BUFFERS = """
SELECT coalesce(sum(heap_blks_read + heap_blks_hit + idx_blks_read + idx_blks_hit + coalesce(toast_blks_read + toast_blks_hit, 0)
                    + coalesce(tidx_blks_read + tidx_blks_hit, 0)), 0)::int8
  FROM pg_statio_all_tables WHERE schemaname IN ('boxhaul', 'pg_toast')
"""

# PostgreSQL counts buffers by table, not by who touched them: nobody else may be at work on these.
ALONE = """
DO $$ DECLARE t regclass; BEGIN
    FOR t IN SELECT relid FROM pg_partition_tree('boxhaul.outbox') WHERE isleaf LOOP
        EXECUTE format('ALTER TABLE %s SET (autovacuum_enabled = off, toast.autovacuum_enabled = off)', t);
    END LOOP;
END $$
"""


def backlog_growth(bench):
    """drain rate and buffers a message with little, much and very much waiting

    The two larger ones are compared over the same number of messages. The smallest has no more to send than it has, and
    beginning has a larger share in that; so it stands beside them."""
    sizes = bench.pick((10_000, 50_000, 200_000), (10_000, 1_000_000, 10_000_000))
    span, rounds = bench.pick(50_000, 1_000_000), bench.rounds_of(2, 7)
    rates, buffers = {size: [] for size in sizes}, {size: [] for size in sizes}
    with bench.arena() as arena:
        waiting = {}
        for size in sizes:
            bench.say(f"backlog_growth: writing {size} messages")
            waiting[size] = Backlog(arena, size).fill()
        for number in range(rounds):
            bench.say(f"backlog_growth: round {number + 1} of {rounds}")
            for size in sizes[:: 1 if number % 2 else -1]:
                rate, per_message = waiting[size].send(span)
                rates[size].append(rate)
                buffers[size].append(per_message)
    _, middle, high = sizes
    how = f"the first {span} messages with {high} waiting, against {middle}"
    return [Figure("backlog_growth", target=">= 0.95", rounds=[m / n for m, n in zip(rates[high], rates[middle])],
                   notes=["drain rate: " + how], curve=Curve("messages waiting", "sent a second", [(n, rates[n]) for n in sizes])),
            Figure("backlog_growth_buffers", target="<= 1.05", rounds=[m / n for m, n in zip(buffers[high], buffers[middle])],
                   notes=["buffers that the relay's backend touched, a message: " + how],
                   curve=Curve("messages waiting", "buffers a message", [(n, buffers[n]) for n in sizes]))]


class Backlog:
    """A database in which so many messages wait, whenever a round begins."""

    def __init__(self, arena, size):
        self.arena, self.size = arena, size
        self.database, self.written, self.sent = arena.database(), 0, 0
        self.database.execute(ALONE)

    def fill(self):
        missing = self.size - (self.written - self.sent)
        if missing > 0:
            self.database.fill(missing, chunk=1000, first=self.written + 1)
            self.written += missing
        return self

    def send(self, at_most):
        """Let a relay send that many, and what it has in hand then; (messages a second, buffers a message)."""
        self.fill()
        self.arena.create_stream()
        before = self._buffers()
        relay = self.arena.relay(self.database).start()
        self.arena.wait_stored(min(self.size, at_most), watch=relay, pause=0.02)
        if relay.stop() != 0:
            raise relay.died()
        state = self.arena.state()
        self.sent += state["messages"]
        after = self._buffers()
        return ((state["messages"] - 1) / (instant(state["last_ts"]) - instant(state["first_ts"])),
                (after - before) / state["messages"])

    def _buffers(self):
        """Of all backends that have ended (those report before they go); our own question is in neither look."""
        wait_until(lambda: not self.database.backends(), "the relay's session to end")
        time.sleep(0.1)
        return self.database.execute(BUFFERS)[0][0]


def old_snapshot_ratio(bench):
    """drain rate while a repeatable-read transaction stays open, by the rate without

    It has been open for an hour's worth of marks: every version of the relay's position since then is still there."""
    count, rounds = bench.messages_of(60_000, 1_000_000), bench.rounds_of(2, 5)
    ratios, rates = [], {"with": [], "without": []}
    with bench.arena() as arena:
        filled = arena.database().fill(count)
        for number in range(rounds):
            bench.say(f"old_snapshot_ratio: round {number + 1} of {rounds}")
            for how in ("with", "without")[:: 1 if number % 2 else -1]:
                rates[how].append(_with_snapshot(arena, filled.copy(), count, held=how == "with"))
            ratios.append(rates["with"][-1] / rates["without"][-1])
    return [Figure("old_snapshot_ratio", None, "of the rate without", ">= 0.95", ratios, [
        f"messages a second {how}: " + " ".join(f"{rate:.0f}" for rate in its) for how, its in rates.items()] + [
        f"{MARKS_OF_AN_HOUR} marks were made in either case before the drain"])]


def _with_snapshot(arena, database, count, held):
    with contextlib.closing(database.connect()) as reader, reader.cursor() as cursor:
        if held:
            cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            cursor.execute("SELECT count(*) FROM boxhaul.position")
        database.execute(f"""DO $$ BEGIN SET synchronous_commit = off; FOR i IN 1 .. {MARKS_OF_AN_HOUR} LOOP
            UPDATE boxhaul.position SET marked_at = clock_timestamp(); COMMIT; END LOOP; END $$""")
        rate = drain(arena, database, count=count).rate
    database.drop()
    return rate


GAPS = """
DO $$
BEGIN
    SET synchronous_commit = off;
    FOR i IN 1 .. %(transactions)s LOOP
        INSERT INTO boxhaul.outbox (subject, key, payload)
        SELECT 'bench.' || n %% 4, 'key-' || n %% 1000, convert_to(rpad(n::text, 256, 'boxhaul '), 'UTF8')
          FROM generate_series(i * %(rows)s, (i + 1) * %(rows)s - 1) n;
        IF %(gaps)s AND i %% 5 = 0 THEN ROLLBACK; ELSE COMMIT; END IF;
    END LOOP;
END
$$
"""


def missing_ids_ratio(bench):
    """drain rate with a fifth of all transactions rolled back and a writer open all the while, by the rate with neither

    First an unrelated writer, which never touches the outbox: what is missing is soon known to be void. Then one that has
    written to the outbox: as long as it is open, every missing id may still be its own."""
    count, rows, rounds = bench.messages_of(40_000, 300_000), 4, bench.rounds_of(2, 5)
    rates = {"": [], UNRELATED: [], UNDECIDED: []}
    with bench.arena() as arena:
        whole, holed = arena.database(), arena.database()
        for database, gaps in ((whole, False), (holed, True)):
            transactions = count // rows * (5 if gaps else 4) // 4
            database.execute(GAPS % {"transactions": transactions, "rows": rows, "gaps": gaps})
        counts = {d: d.execute("SELECT count(*) FROM boxhaul.outbox")[0][0] for d in (whole, holed)}
        for number in range(rounds):
            bench.say(f"missing_ids_ratio: round {number + 1} of {rounds}")
            for case, its in rates.items():
                database = whole if not case else holed
                its.append(_with_writer(arena, database.copy(), counts[database], case))
    return [Figure(name, None, "of the rate without missing ids", target, [mine / bare for mine, bare in zip(rates[case], rates[""])], [
        f"{count // rows // 4} ranges of {rows} missing ids, and {case}; messages a second: "
        + " ".join(f"{rate:.0f}" for rate in rates[case]) + ", without: " + " ".join(f"{rate:.0f}" for rate in rates[""])])
        for name, case, target in (("missing_ids_ratio", UNRELATED, ">= 0.95"), ("undecided_ids_ratio", UNDECIDED, ""))]


def _with_writer(arena, database, count, case):
    with contextlib.closing(database.connect()) as writer, writer.cursor() as cursor:
        if case:
            cursor.execute("CREATE TABLE public.unrelated (i int)")
            cursor.execute("BEGIN")
            cursor.execute("INSERT INTO public.unrelated VALUES (1)")
        if case == UNDECIDED:
            cursor.execute("INSERT INTO boxhaul.outbox (subject) VALUES ('bench.undecided')")
        arena.create_stream()
        relay = arena.relay(database).start()
        arena.wait_stored(count, watch=relay)
        state = arena.state()
        relay.kill9()
    database.drop()
    return (count - 1) / (instant(state["last_ts"]) - instant(state["first_ts"]))


FIGURES = {"backlog_growth": backlog_growth, "old_snapshot_ratio": old_snapshot_ratio, "missing_ids_ratio": missing_ids_ratio,
           "undecided_ids_ratio": missing_ids_ratio}
