"""The second wire: rows sent in batches (fast ingest), with the newest nats-server and a stream that allows them.

The yardstick is the bare publisher with a PubAck for each message, on the same subjects and with the same headers: what a client
can do that knows nothing of batches. In the same turns the relay drains the same backlog by single messages."""

import runs
from arena import STREAM, SUBJECTS
from report import Figure, Skipped

KEYS = 1000
WINDOW = {"mode": "loop", "window": 4096}


def _stream(send):
    return [{"name": STREAM, "subjects": SUBJECTS, "send": send}]


def _drain(arena, backlog, count, send):
    with backlog.copy() as database:
        run = runs.drain(arena, database, count=count, streams=_stream(send))
    said = _told(run)
    if (said["wire"], said["batches_total"] > 0) != (send, send == "batch"):
        raise RuntimeError(f"it was to send by {send}, and says {said}")
    return run


def _told(run):
    """What the relay said of the stream in the end."""
    (said,) = [stream for stream in run.extra["status"]["streams"] if stream["name"] == STREAM]
    return said


def _batches(ours):
    """How it went, run by run: a relay that did little of it by batches shows it here."""
    return "batches (unclean, messages settled): " + ", ".join(
        f"{said['batches_total']} ({said['batches_unclean_total']}, {said['batch_settled_total']})" for said in map(_told, ours)) + \
        f" for {ours[0].messages} messages each"


def _may_be_asked(arena):
    """A program from before there were batches does not know the setting."""
    done = arena.relay(arena.database(), streams=_stream("batch")).command("config", "show")
    if done.returncode:
        raise Skipped("this boxhaul sends no batches: " + done.stdout.strip().rpartition(": unknown")[2].strip())


def _beside(bench, nodes, count, keys):
    """(batches, singles, (ratios, bare)): a subject for each key."""
    with bench.batched_arena(nodes) as arena:
        _may_be_asked(arena)
        backlog, singles = arena.database().fill(count, keys=keys, subjects=keys), []

        def batches():
            if keys > 1:  # one key by single messages is a round trip a message: hot_key_ratio
                singles.append(_drain(arena, backlog, count, "single"))
            return _drain(arena, backlog, count, "batch")
        ratios, ours, bare = runs.side_by_side(bench, batches, lambda: runs.publish(
            bench, arena, count, subjects=keys, keys=keys, **WINDOW), bench.rounds)
    return ours, singles[1:], (ratios, bare)


def _many(bench, name, target, nodes, count):
    ours, singles, (ratios, bare) = _beside(bench, nodes, count, KEYS)
    yield Figure(name, target=target, rounds=ratios, notes=runs.notes(relay_by_batches=ours, relay_by_single_messages=singles, bare_publisher=bare)
                 + [_batches(ours)])
    for what, process in (("relay", "relay"), ("nats", "nats-server")):
        each = [one.us(process) / other.us(process) for one, other in zip(ours, singles)]
        yield Figure(name.replace("ratio", f"{what}_cpu_ratio"), unit="of its CPU a message with single messages", rounds=each, notes=[
            f"us a message: {runs.typical(ours, process):.2f} by batches, {runs.typical(singles, process):.2f} by single messages"])


def batch(bench):
    """a backlog sent in batches, beside a bare publisher with single PubAcks on the same subjects; and the CPU of both wires"""
    return list(_many(bench, "batch_ratio", ">= 1.0", 1, bench.messages_of(50_000, 1_000_000)))


def batch_r3(bench):
    """the same against three nats-servers that keep three copies, all on this machine"""
    return list(_many(bench, "batch_ratio_r3", ">= 1.15", 3, bench.messages_of(30_000, 300_000)))


def batch_hot_key(bench):
    """one key on one subject in batches, in strict order, beside the bare publisher with its full window, which keeps none"""
    ours, _none, (ratios, bare) = _beside(bench, 1, bench.messages_of(50_000, 500_000), 1)
    return [Figure("batch_hot_key_ratio", target=">= 0.9", rounds=ratios, notes=runs.notes(relay=ours, bare_publisher=bare) + [_batches(ours)])]


FIGURES = {"batch_ratio": batch, "batch_ratio_r3": batch_r3, "batch_hot_key_ratio": batch_hot_key}
