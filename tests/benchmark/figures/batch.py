"""The second wire: rows sent in batches (fast ingest), with the newest nats-server and a stream that allows them.

The yardstick is the bare publisher with a PubAck for each message, on the same subjects and with the same headers: what a client
can do that knows nothing of batches. In the same turns the relay drains the same backlog by single messages."""

import statistics

import runs
import trips
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


def _asleep(bench, arena, database, send):
    """(microseconds from the sending of COMMIT to stored, batches begun), of single messages that wake a relay. (Where others keep the machine
    busy a message may be stored before its producer hears that it has committed.)"""
    relay = arena.relay(database, streams=_stream(send)).start().wait_until_ready()
    trips.sleep_deeply(database)
    found = trips.Trips(bench, arena, database, bench.pick(40, 400), trips.GAP_MS, "i").us["stored_from_send"]
    (said,) = relay.status()["streams"]
    if relay.stop() != 0:
        raise relay.died()
    return statistics.median(found), said["batches_total"]


def batch_latency(bench):
    """commit to stored, one message after the other to a relay that sleeps: where it may send in batches, by where it sends single messages"""
    p50, begun = {"single": [], "batch": []}, 0
    with bench.batched_arena() as arena:
        _may_be_asked(arena)
        arena.create_stream()
        database = arena.database()
        for number in range(bench.rounds):
            bench.say(f"idle latency: round {number + 1} of {bench.rounds}")
            for send, found in p50.items():
                us, batches = _asleep(bench, arena, database, send)
                found.append(us)
                begun += batches
    return [Figure("batch_idle_latency_ratio", target="<= 1.05", rounds=[b / s for b, s in zip(p50["batch"], p50["single"])], notes=[
        "p50 in us, round by round: " + "; ".join(f"{send} {' '.join(f'{us:.0f}' for us in found)}" for send, found in p50.items()),
        f"batches begun: {begun}"])]


FIGURES = {"batch_idle_latency_ratio": batch_latency, "batch_ratio": batch, "batch_ratio_r3": batch_r3, "batch_hot_key_ratio": batch_hot_key}
