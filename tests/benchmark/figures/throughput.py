"""Draining a backlog: as fast as the broker takes it? And what does it cost?

The bare publisher sends the payloads on the same subjects, with no header but the Nats-Msg-Id. Beside it stands one that sends the same
messages to the byte, Boxhaul-Key too. How many subjects there are is a matter of its own: the broker keeps books for each."""

import runs
from report import Figure


def _beside_the_bare_publisher(bench, servers, count):
    with servers as arena:
        backlog = arena.database().fill(count)

        def relay():
            with backlog.copy() as database:
                return runs.drain(arena, database, count=count)
        return runs.side_by_side(bench, relay, lambda: runs.publish(bench, arena, count), bench.rounds)


KEYS = 1000  # of arena.fill()


def _beside_its_own_messages(bench, arena, count, subjects):
    """The relay, and the two bare publishers: (drained, (ratios, runs) of the one without keys, of the one with them)."""
    backlog = arena.database().fill(count, keys=KEYS, subjects=subjects)
    options = {**runs.best(bench, arena), "subjects": subjects}

    def relay():
        with backlog.copy() as database:
            return runs.drain(arena, database, count=count)
    drained, (bare, same) = runs.beside_each(bench, relay, [
        lambda: runs.publish(bench, arena, count, **options), lambda: runs.publish(bench, arena, count, keys=KEYS, **options)], bench.rounds)
    return drained, bare, same


def throughput(bench):
    """a backlog drained, strict order, beside a bare publisher of the same payloads, and of the same messages"""
    with bench.arena() as arena:
        drained, (ratios, published), (same, alike) = _beside_its_own_messages(bench, arena, bench.messages, 4)
    said = runs.notes(relay=drained, bare_publisher=published)
    said[1] += f" (the best of those tried: {bench.best['mode']}, window {bench.best['window']})"
    return [
        Figure("throughput_ratio", target=">= 0.95", rounds=ratios, notes=said),
        Figure("throughput_same_messages_ratio", target=">= 0.95", rounds=same, notes=[
            "the bare publisher sends the header Boxhaul-Key, too"] + runs.notes(bare_publisher=alike)),
        Figure("throughput", unit="messages a second", rounds=[run.rate for run in drained]),
        Figure("raw_limit", unit="messages a second", rounds=[run.rate for run in published]),
        _cost("relay_cpu_us_per_message", "relay", drained,
              f"from its start until everything is marked; {runs.threads(drained)}", "<= 4"),
        _cost("postgres_cpu_us_per_message", "postgres_backend", drained,
              f"the relay's backends: reading and marking; {runs.database_work(drained)}"),
        _cost("nats_cpu_us_per_message", "nats-server", drained,
              f"beside the bare publisher: {runs.typical(published, 'nats-server'):.2f}"),
        _cost("bare_cpu_us_per_message", "publisher", published, "the bare publisher itself: what nats.c costs"),
    ]


def subjects(bench):
    """the same with a subject of its own for each of the thousand keys, for relay and bare publishers alike"""
    with bench.arena() as arena:
        drained, (ratios, published), (same, alike) = _beside_its_own_messages(bench, arena, bench.messages_of(50_000, 1_000_000), KEYS)
    return [Figure("throughput_subjects_ratio", target=">= 0.95", rounds=ratios, notes=runs.notes(relay=drained, bare_publisher=published)),
            Figure("throughput_subjects_same_messages_ratio", target=">= 0.95", rounds=same, notes=runs.notes(bare_publisher_with_keys=alike))]


def cluster(bench):
    """the same against three nats-servers that keep three copies, all on this machine"""
    count = bench.messages_of(30_000, 300_000)
    ratios, drained, published = _beside_the_bare_publisher(bench, bench.arena(nodes=3), count)
    return [Figure("cluster_ratio", rounds=ratios, notes=runs.notes(relay=drained, bare_publisher=published)),
            Figure("cluster_throughput", unit="messages a second", rounds=[run.rate for run in drained])]


def sent_flag(bench):
    """the same backlog, and a simple relay that updates a flag in each row (1,000 rows a transaction)"""
    count = bench.messages_of(50_000, 500_000)
    with bench.arena() as arena:
        ours, theirs = arena.database().fill(count), arena.database()
        theirs.execute(runs.SENT_FLAG)
        theirs.fill(count, table="sent_flag")

        def relay():
            with ours.copy() as database:
                return runs.drain(arena, database, count=count)

        def flag():
            with theirs.copy() as database:
                return runs.sent_flag(bench, arena, database, count)
        ratios, drained, flagged = runs.side_by_side(bench, relay, flag, bench.rounds_of(1, 5))
    return [
        Figure("sent_flag_ratio", unit="times its rate", rounds=ratios, notes=runs.notes(relay=drained, sent_flag=flagged)),
        _cost("sent_flag_postgres_cpu_us_per_message", "postgres_backend", flagged, "its backend; the relay's beside it: "
              f"{runs.typical(drained, 'postgres_backend'):.2f}. Vacuum comes on top"),
    ]


def _cost(name, process, some, note, target=""):
    return Figure(name, unit="us", target=target, rounds=[run.us(process) for run in some], notes=[note])


FIGURES = {"throughput_ratio": throughput, "throughput_subjects_ratio": subjects, "relay_cpu_us_per_message": throughput, "postgres_cpu_us_per_message": throughput,
           "sent_flag_ratio": sent_flag, "cluster_ratio": cluster}
