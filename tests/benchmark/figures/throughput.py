"""Draining a backlog: as fast as the broker takes it?"""

import runs
from report import Figure


def throughput(bench):
    """a backlog drained, strict, against a bare publisher of the same messages (and the CPU of both)"""
    with bench.arena() as arena:
        backlog = arena.database().fill(bench.messages)
        arena.create_stream()
        run = runs.drain(arena, backlog.copy())
        return [Figure("throughput_ratio", run.rate, "messages a second", ">= 0.95", [run.rate], [run.text()])]


FIGURES = {"throughput_ratio": throughput}
