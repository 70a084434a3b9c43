"""Two services: two databases, two relays, two streams, one nats-server."""

import contextlib
import time

import runs
from arena import STREAM
from process import wait_until
from report import Figure

STREAMS = {"LEFT": "left", "RIGHT": "right"}  # and the prefix of its subjects


def two_databases(bench):
    """two databases, two relays, one nats-server: do both get their share, and is the sum what one alone gets?"""
    count = bench.messages_of(50_000, 500_000)
    fairness, sums = [], []
    with bench.arena() as arena:
        backlogs = {stream: arena.database().fill(count, prefix=prefix) for stream, prefix in STREAMS.items()}
        alone = arena.database().fill(count)
        ones = []
        for n in range(bench.rounds_of(1, 5)):
            with alone.copy() as database:
                ones.append(runs.drain(arena, database, STREAM, count=count))
            fair, rate = _both(arena, backlogs, count)
            fairness.append(fair)
            sums.append(rate / ones[-1].rate)
            bench.say(f"round {n + 1}: together {rate:.0f}/s, fairness {fair:.2f}, one alone {ones[-1].rate:.0f}/s")
    return [Figure("two_databases_fairness", rounds=fairness,
                   notes=["the slower one's messages by the faster one's, while both run"]),
            Figure("two_databases_sum", unit="times one alone", rounds=sums, notes=runs.notes(one_alone=ones))]


def _both(arena, backlogs, count):
    """(fairness, messages a second of both) from when both have begun until the first one is through."""
    relays = []
    with contextlib.ExitStack() as stack:
        for stream, backlog in backlogs.items():
            arena.create_stream(stream, [f"{STREAMS[stream]}.>"])
            database = stack.enter_context(backlog.copy())
            relays.append(arena.relay(database, stream, [f"{STREAMS[stream]}.>"]))
        looks = []
        for relay in relays:
            relay.start()
        with arena.jetstream() as jetstream:
            def look():
                looks.append((time.monotonic(), [jetstream.count(stream) for stream in backlogs]))
                return min(looks[-1][1]) >= count
            wait_until(look, "both databases to be drained", 3600, pause=0.02)
        for relay in relays:
            if relay.stop() != 0:
                raise relay.died()
    if looks[-1][1] != [count, count]:
        raise RuntimeError(f"the streams hold {looks[-1][1]} messages, not {count} each")
    return _share(looks, count)


def _share(looks, count):
    both = [(at, counts) for at, counts in looks if min(counts) > 0 and max(counts) < count]
    if len(both) < 2:
        raise RuntimeError("the two did not run at the same time for long enough: more messages, please")
    (begin, before), (end, after) = both[0], both[-1]
    done = [last - first for first, last in zip(before, after)]
    return min(done) / max(done), sum(done) / (end - begin)


FIGURES = {"two_databases": two_databases}
