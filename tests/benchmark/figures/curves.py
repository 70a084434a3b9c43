"""Where the defaults stand: the throughput ratio over what an operator, or a message, may change."""

import runs
from report import Curve, Figure

ELSEWHERE = "all other figures"  # what they are measured with
RATIO = "of the raw limit"
BYTES = 256 << 20  # so much at most is sent per run, where messages are large


def payload(bench):
    """throughput ratio over the size of a message, 16 B to 1 MB"""
    sizes = bench.pick((16, 256, 4096, 65536), (16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1_000_000))
    return _curve(bench, Curve("bytes of payload", RATIO, [], 256, ELSEWHERE), "payload", sizes, lambda n: {"size": n})


def window(bench):
    """throughput ratio over delivery.window: messages in flight"""
    windows = bench.pick((16, 256, 1024, 4096), (1, 4, 16, 64, 256, 512, 1024, 2048, 4096))  # no wider than the queue
    return _curve(bench, Curve("delivery.window", RATIO, [], 1024), "window", windows, lambda n: {"delivery": {"window": n}})


def batch(bench):
    """throughput ratio over delivery.queue: what is in memory, and so what one fetch can bring"""
    queues = bench.pick((256, 1024, 4096, 32768), (64, 256, 1024, 2048, 4096, 8192, 16384, 32768, 65536))
    return _curve(bench, Curve("delivery.queue", RATIO, [], 4096), "batch", queues,
                  lambda n: {"delivery": {"queue": n, "window": min(n, 1024)}})


def keys(bench):
    """throughput ratio over the number of keys, strict"""
    numbers = bench.pick((10, 100, 1000, 100_000), (1, 10, 30, 100, 300, 1000, 3000, 10_000, 100_000))
    return _curve(bench, Curve("keys", RATIO, [], 1000, ELSEWHERE), "keys", numbers, lambda n: {"keys": n})


def _curve(bench, curve, name, values, words):
    """words(value): what of it is for the backlog (size, keys) and what for the relay (delivery). The figure's value is
    the one at the curve's mark."""
    notes = []
    with bench.arena() as arena:
        runs.best(bench, arena)
        for value in values:
            ratios, ours, bare = _point(bench, arena, **words(value))
            curve.points.append((value, ratios))
            notes.append(f"{curve.x} {value}: {runs.notes(relay=ours)[0]}; bare {runs.typical_rate(bare):.0f}/s")
    return [Figure(name, rounds=dict(curve.points)[curve.mark], notes=notes, curve=curve)]


def _point(bench, arena, size=256, keys=1000, **groups):
    count = max(100, min(bench.messages_of(30_000, 200_000), BYTES // size))
    if keys == 1:
        count //= 10
    with arena.database().fill(count, size, keys, chunk=max(1, min(500, (1 << 20) // size))) as backlog:
        def relay():
            with backlog.copy() as database:
                return runs.drain(arena, database, count=count, **groups)
        return runs.side_by_side(bench, relay, lambda: runs.publish(bench, arena, count, size=size), bench.rounds_of(1, 3))


FIGURES = {"payload": payload, "window": window, "batch": batch, "keys": keys}
for function in FIGURES.values():
    function.only_full = True
