"""Draining a backlog: as fast as the broker takes it? And what does it cost?"""

import runs
from report import Figure


def throughput(bench):
    """a backlog drained, strict order, beside a bare publisher of the same messages"""
    with bench.arena() as arena:
        backlog = arena.database().fill(bench.messages)

        def relay():
            database = backlog.copy()
            try:
                return runs.drain(arena, database, count=bench.messages)
            finally:
                database.drop()

        def bare():
            return runs.publish(bench, arena, bench.messages)
        ratios, drained, published = runs.side_by_side(bench, relay, bare, bench.rounds)
    said = runs.notes(relay=drained, bare_publisher=published)
    said[1] += f" (the best of those tried: {bench.best['mode']}, window {bench.best['window']})"
    return [
        Figure("throughput_ratio", target=">= 0.95", rounds=ratios, notes=said),
        Figure("throughput", unit="messages a second", rounds=[run.rate for run in drained]),
        Figure("raw_limit", unit="messages a second", rounds=[run.rate for run in published]),
        _cost("relay_cpu_us_per_message", "relay", drained, "<= 4", "from its start until everything is marked"),
        _cost("postgres_cpu_us_per_message", "postgres_backend", drained, "", "the relay's backends: reading and marking"),
        _cost("nats_cpu_us_per_message", "nats-server", drained, "",
              f"beside the bare publisher: {runs.typical(published, 'nats-server'):.2f}"),
        _cost("bare_cpu_us_per_message", "publisher", published, "", "the bare publisher itself: what nats.c costs"),
    ]


def _cost(name, process, some, target, note):
    return Figure(name, unit="us", target=target, rounds=[run.us(process) for run in some], notes=[note])


FIGURES = {name: throughput for name in ("throughput_ratio", "relay_cpu_us_per_message", "postgres_cpu_us_per_message")}
