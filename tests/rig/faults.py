"""How each fault is done, and undone. A fault is a generator function: what stands before its yield breaks something,
what stands behind mends it. It may raise Skipped before the yield."""

import contextlib
import threading
import time

import psycopg2

from jetstream import JetStreamError
from nats_client import NatsError
from process import wait_until
from producers import Producer
from schedule import KINDS, NETWORK
from world import DATABASE, RELAY, SERVICE, STREAM, SUBJECTS, Skipped

# What may make a producer wait or fail, through no fault of the relay's.
HURTS_PRODUCERS = ("pg-kill", "pg-pause", "pg-restart", "promote", "terminate-producers", "lock-outbox")
FULL = 20  # messages that a "full" stream still takes


def hurts_producers(fault):
    ends = fault.get("between", ())
    return fault["kind"] in HURTS_PRODUCERS or "producers" in ends or tuple(ends) == ("a", "b")


# -- relays

def _relay(world, fault, about):
    leader = world.leader()
    relay = leader if fault["who"] == "leader" else world.relays[fault["which"]]
    about.update(relay=relay.name, was_leader=relay is leader)
    return relay


def relay_kill(world, fault, about):
    relay = _relay(world, fault, about)
    with world.claim(relay.name):
        relay.kill9()
        yield
        relay.start()


def relay_pause(world, fault, about):
    relay = _relay(world, fault, about)
    with world.claim(relay.name):
        relay.pause()
        yield
        relay.resume()


def relay_restart(world, fault, about):
    relay = _relay(world, fault, about)
    with world.claim(relay.name):
        about["status"] = relay.stop()
        yield
        relay.start()


def terminate_relay(world, fault, about):
    about["was_leader"] = True
    _terminate(world, f"usename = '{RELAY}'", about)
    yield


# -- brokers

def _node(world, fault, about):
    node = world.cluster.leader() if fault["who"] == "leader" else world.cluster.nodes[fault["which"]]
    about["node"] = world.cluster.name(node)
    return node


def nats_kill(world, fault, about):
    node = _node(world, fault, about)
    with world.claim(about["node"]):
        node.kill9()
        yield
        node.start()


def nats_pause(world, fault, about):
    node = _node(world, fault, about)
    with world.claim(about["node"]):
        node.pause()
        yield
        node.resume()


def nats_restart(world, fault, about):
    node = _node(world, fault, about)
    with world.claim(about["node"]):
        _stop(node, about)
        yield
        node.start()


def _stop(node, about):
    try:
        node.end(deadline=8)
    except TimeoutError:
        about["hung"] = "it did not end when told to, and was killed"


def disk_full(world, fault, about):
    """A server whose disk was full has switched JetStream off: the operator makes room and restarts it. (2.9.10 then
    does not end when it is told to.)"""
    node = _node(world, fault, about)
    disk = world.cluster.disks[fault["which"] if fault["who"] == "any" else world.cluster.nodes.index(node)]
    if not disk.mounted:
        raise Skipped(f"no small file system: {disk.reason}")
    with world.claim(about["node"]):
        disk.fill()
        yield
        disk.clear()
        _stop(node, about)
        node.start()


def stepdown(world, _fault, about):
    try:
        with world.cluster.jetstream(world.cluster.leader()) as jetstream:
            jetstream.step_down(STREAM)
    except (OSError, NatsError) as e:
        raise Skipped(f"no leader to step down: {e}") from None
    about["node"] = "leader"
    yield


def stepdowns(world, _fault, about):
    """The lead changes hands each second."""
    done, over = [], threading.Event()

    def ask():
        while not over.is_set():
            with contextlib.suppress(OSError, NatsError), world.cluster.jetstream(world.cluster.leader()) as jetstream:
                jetstream.step_down(STREAM)
                done.append(time.time())
            over.wait(1)
    thread = threading.Thread(target=ask, daemon=True)
    with world.claim("lead"):
        thread.start()
        yield
        over.set()
        thread.join()
        about.update(node="leader", times=len(done))


def quorum_loss(world, _fault, about):
    """The leader of the stream is left alone, and takes what it cannot store. Then it goes too, and those who never heard of that elect
    another one before it comes back. (kill -9: what waits in the socket of a server that stands still is read when it goes on.)"""
    leader = world.cluster.leader()
    others = [node for node in world.cluster.nodes if node is not leader]
    about["node"] = world.cluster.name(leader)
    with world.claim("lead", *map(world.cluster.name, world.cluster.nodes)):
        for node in others:
            node.kill9()
        yield
        leader.kill9()
        for node in others:
            node.spawn_only()
        for node in others:
            node.wait_listening()
        wait_until(lambda: world.cluster.leads(others), "one of the two to lead", pause=0.2)
        leader.start()


# -- the stream, by its operator

def _update(world, **changes):
    world.cluster.insist("an update of the stream", lambda jetstream: jetstream.update(STREAM, **changes))


def stream_full(world, _fault, about):
    """Its limit is set while nothing comes: a limit below what a stream holds would delete the oldest."""
    with world.claim("stream"):
        _move_subjects(world)
        before = world.cluster.insist("what the stream holds", lambda jetstream: jetstream.info(STREAM))["state"]
        about["limit"] = before["messages"] + FULL
        _update(world, max_msgs=about["limit"], subjects=[SUBJECTS])
        yield
        _update(world, max_msgs=-1)
        after = world.cluster.insist("what the stream holds", lambda jetstream: jetstream.info(STREAM))["state"]
        assert after["first_seq"] == before["first_seq"], "the rig itself deleted messages"


def stream_deaf(world, _fault, _about):
    with world.claim("stream"):
        _move_subjects(world)
        yield
        _update(world, subjects=[SUBJECTS])


def stream_restore(world, _fault, about):
    """Take it out of service, save it, delete it, and some time later restore it."""
    with world.claim("stream"):
        _move_subjects(world)
        try:
            what, pieces = world.cluster.insist("a snapshot", lambda jetstream: jetstream.snapshot(STREAM), 15)
        except TimeoutError as e:
            _update(world, subjects=[SUBJECTS])
            raise Skipped(str(e)) from None
        world.cluster.insist("the deletion", _delete)
        about["bytes"] = sum(map(len, pieces))
        yield
        world.cluster.insist("the restoring", lambda jetstream: _restore(jetstream, what, pieces))
        _update(world, subjects=[SUBJECTS])


def _move_subjects(world):
    try:
        with world.cluster.jetstream() as jetstream:
            jetstream.update(STREAM, subjects=["elsewhere.>"])
    except (OSError, NatsError) as e:
        raise Skipped(f"the broker does not answer: {e}") from None


def _delete(jetstream):
    try:
        jetstream.delete(STREAM)
    except JetStreamError as e:
        if e.code != 404:  # deleted by an attempt whose answer was lost
            raise


def _restore(jetstream, what, pieces):
    if STREAM not in jetstream.names():
        jetstream.restore(STREAM, what, pieces)
    if jetstream.count(STREAM) != what["state"]["messages"]:
        raise NatsError("the stream is not whole yet")


# -- databases

def _server(world, fault, about):
    about["server"] = fault["who"]
    return world.pair.primary if fault["who"] == "primary" else world.pair.standby


def pg_kill(world, fault, about):
    with world.claim("pg"):
        server = _server(world, fault, about)
        server.kill9()
        yield
        server.start()


def pg_pause(world, fault, about):
    with world.claim("pg"):
        server = _server(world, fault, about)
        server.freeze()
        yield
        server.thaw()


def pg_restart(world, fault, _about):
    with world.claim("pg"):
        server = world.pair.primary
        server.stop(fault["mode"])
        yield
        server.start()


def promote(world, fault, about):
    """The primary is killed, or hangs and is fenced off; the standby takes over; the old one is rebuilt behind it."""
    pair, network = world.pair, world.network
    with world.claim("pg"):
        names = [name for name in network.links if name.endswith(f"-{pair.name(pair.primary)}")]

        def fence(old):
            if fault["victim"] == "killed":
                old.kill9()
            else:
                old.freeze()
            network.set(names, "cut")
        old = pair.promote(fence)
        about["primary"] = pair.name(pair.primary)
        yield
        old.kill9()
        network.set(names + network.between("a", "b"), "pass")
        pair.follow()


def _terminate(world, condition, about):
    try:
        rows = world.pair.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = "
                                  f"'client backend' AND datname = '{DATABASE}' AND {condition}")
    except psycopg2.Error as e:
        raise Skipped(f"the database does not answer: {e}") from None
    about["backends"] = len(rows)


def terminate_producers(world, _fault, about):
    _terminate(world, f"usename = '{SERVICE}' AND pid % 2 = 0", about)
    yield


def idle_in_transaction(world, fault, about):
    about["name"] = f"idle{fault['n']}"
    idler = Producer(about["name"], world.pair.primary.conninfo(DATABASE, SERVICE), world.history, "idle")
    idler.leave_open(fault["seconds"], fault["end"].upper(), world.stopping)
    yield


def lock_outbox(world, fault, _about):
    """An operator's LOCK TABLE. Producers wait behind it, and that is not the relay's doing."""
    try:
        connection = world.pair.primary.connect(DATABASE, connect_timeout=2)
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '1s'")
            cursor.execute("BEGIN")
            cursor.execute(f"LOCK TABLE boxhaul.outbox IN {fault['mode']} MODE")
    except psycopg2.Error as e:
        raise Skipped(f"no lock to be had: {e}") from None
    yield
    with contextlib.suppress(psycopg2.Error):
        connection.cursor().execute("ROLLBACK")
    connection.close()


# -- the network

def network(world, fault, about):
    names = world.links(*fault["between"])
    about["links"] = names
    with world.claim(*names):
        if fault["kind"] == "reset":
            world.network.reset(names)
        else:
            world.network.set(names, fault["kind"], fault.get("delay", 0.0))
        yield
        if fault["kind"] != "reset":
            world.network.set(names, "pass")


DOERS = {kind: network if kind in NETWORK else globals()[kind.replace("-", "_")] for kind in KINDS}


def inject(world, fault):
    """Do one fault, let it last, undo it. Returns its record: the fault, when it began and ended by the wall clock, and
    what it hit; skipped tells why there was none."""
    about = {}
    record = {**fault, "about": about, "began": time.time()}
    doer = DOERS[fault["kind"]](world, fault, about)
    try:
        next(doer)
    except Skipped as e:
        return {**record, "ended": time.time(), "skipped": str(e).partition("\n")[0]}
    record["done"] = time.time()
    world.stopping.wait(fault["seconds"] if fault["kind"] != "idle-in-transaction" else 0)
    for _ in doer:
        raise AssertionError(f"{fault['kind']} has two yields")
    if hurts_producers(fault):
        _wait_for_the_database(world)
    return {**record, "ended": time.time()}


def _wait_for_the_database(world):
    """The fault is over when producers can write again."""
    def writable():
        with contextlib.suppress(psycopg2.Error):
            world.pair.primary.execute("SELECT pg_current_xact_id()")
            return True
        return False
    wait_until(writable, "the database to take writes again", pause=0.1)
