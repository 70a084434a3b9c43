"""All messages on one key: nothing can be sent before its predecessor is stored."""

import runs
from report import Figure

ONE_AFTER_ANOTHER = {"mode": "loop", "window": 1}  # the faster of the two modes, by far


def strict(bench):
    """one key, strict: beside one bare publish round trip after another"""
    count = bench.messages_of(5_000, 100_000)
    with bench.arena() as arena:
        ratios, ours, bare = _beside(bench, arena, count, "strict", ONE_AFTER_ANOTHER)
    trip = 1e6 / runs.typical_rate(bare)
    return [Figure("hot_key_ratio", rounds=ratios, notes=runs.notes(relay=ours, bare_round_trips=bare)
                   + [f"a bare round trip: {trip:.0f} us; the relay's: {1e6 / runs.typical_rate(ours):.0f} us"])]


def pipelined(bench):
    """one key, pipelined: beside the bare publisher with its best window"""
    count = bench.messages_of(50_000, 500_000)
    with bench.arena() as arena:
        ratios, ours, bare = _beside(bench, arena, count, "pipelined", {})
    return [Figure("hot_key_pipelined_ratio", rounds=ratios, notes=runs.notes(relay=ours, bare_publisher=bare))]


def _beside(bench, arena, count, ordering, options):
    backlog = arena.database().fill(count, keys=1)

    def relay():
        with backlog.copy() as database:
            return runs.drain(arena, database, count=count, delivery={"ordering": ordering})
    return runs.side_by_side(bench, relay, lambda: runs.publish(bench, arena, count, **options), bench.rounds)


FIGURES = {"hot_key_ratio": strict, "hot_key_pipelined_ratio": pipelined}
