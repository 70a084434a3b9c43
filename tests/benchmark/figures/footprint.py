"""What the relay takes while it works, waits or sleeps: memory and quiet."""

import contextlib
import os
import re
import statistics
import threading
import time

from arena import STREAM, SUBJECTS
from meter import cpu_us, memory_kb, threads_us_and_waits
from process import wait_until
from report import Figure

FULL_AT = 1000  # messages, and a stream takes no more
LARGE = 64 * 1024  # bytes
PATIENCE_S = 20  # it gives back what it does not need when it has slept for a second or so
SAFETY_POLL_S = 30  # outbox.safety_poll when nobody sets it


class Watch:
    """The memory of a relay, looked at fifty times a second while the `with` lasts; KiB."""

    PAUSE_S = 0.02

    def __init__(self, pid):
        self.pid, self.looks, self._stop = pid, [], threading.Event()
        self.asleep = None  # afterwards, if somebody looked
        self._threads = []  # with each look
        self._thread = threading.Thread(target=self._look, daemon=True)

    def _look(self):
        while not self._stop.is_set():
            with contextlib.suppress(OSError, KeyError, AttributeError):  # in the middle of its exec() it has none
                memory, threads = memory_kb(self.pid), threads_us_and_waits(self.pid)
                self.looks.append(memory)
                self._threads.append(threads)
            self._stop.wait(self.PAUSE_S)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exception):
        self._stop.set()
        self._thread.join()

    def most(self, what):
        return max(look[what] for look in self.looks) / 1024

    def told(self):
        """After a quarter of the time and at the end: flat or not."""
        resident = [look["Rss"] / 1024 for look in self.looks]
        early, late = resident[len(resident) // 4], resident[-1]
        return (f"resident at most {self.most('Hwm'):.1f} MB ({self.most('Anon'):.1f} of it its own, {self.most('Pss'):.1f} by share); "
                f"in the middle {statistics.median(resident):.1f}, in 99 of 100 looks up to {sorted(resident)[len(resident) * 99 // 100]:.1f}; "
                f"after a quarter of the time {early:.1f}, at the end {late:.1f}"
                + (f", asleep {self.asleep / 1024:.1f}" if self.asleep else ""))

    def told_of_growth(self):
        """Who frees what nats.c was given is, but for the loop, the thread that works most. Did it get a CPU?"""
        names = [name for name in self._threads[-1] if not name.endswith(f"/{self.pid}")]
        freeing = max(names, key=lambda name: self._threads[-1][name][0])
        steps = []
        for before, after, was, now in zip(self.looks, self.looks[1:], self._threads, self._threads[1:]):
            if freeing in was and freeing in now:
                steps.append(((after["Rss"] - before["Rss"]) / 1024, (now[freeing][1] - was[freeing][1]) / 1000))
        steps = steps[len(steps) // 10:]  # at first everything grows
        return (f"of {len(steps)} steps of {1000 * self.PAUSE_S:.0f} ms those that grew most, and how long the thread that frees nats.c's "
                "messages had no CPU meanwhile: " + ", ".join(f"{mb:+.1f} MB {ms:.0f} ms" for mb, ms in sorted(steps, reverse=True)[:5])
                + f"; in the middle {statistics.median(ms for _mb, ms in steps):.1f} ms")


def memory_mb(bench):
    """resident memory with a backlog waiting: while it is sent, with a full stream, without NATS."""
    count, patience = bench.messages_of(200_000, 10_000_000), bench.pick(1.5, 60)
    with bench.arena() as arena:
        bench.say(f"memory: {count} messages")
        database = arena.database().fill(count, chunk=1000)
        cases = {"without NATS": _without_nats(arena, database, patience), "full stream": _full(arena, database, patience),
                 "sending": sending(arena, database, count)}
        large = _large(arena, bench)
    most = max(watch.most("Hwm") for watch in cases.values())
    return [Figure("memory_mb", most, "MB resident at most", "< 20", [watch.most("Hwm") for watch in cases.values()],
                   [f"{count} messages of 256 bytes waiting"] + [f"{name}: {watch.told()}" for name, watch in cases.items()]
                   + ["sending: " + cases["sending"].told_of_growth()]),
            Figure("memory_large_mb", large.most("Hwm"), "MB resident at most", "", notes=[
                f"messages of {LARGE >> 10} KiB, sent: {large.told()}"])]


def _when_given_back(pid, before):
    """What is resident when it is a tenth less, or after a while; KiB."""
    end = time.monotonic() + PATIENCE_S
    while (now := memory_kb(pid)["Rss"]) > 0.9 * before and time.monotonic() < end:
        time.sleep(0.1)
    return now


def _watched(relay, until, then=None):
    """Start it, and watch it until that is so; then it is killed, after a look at it asleep (then)."""
    relay.start()
    with Watch(relay.pid) as watch:
        until(relay)
    if then is not None:
        wait_until(then, "the relay to sleep")
        watch.asleep = _when_given_back(relay.pid, watch.looks[-1]["Rss"])
    relay.kill9()
    return watch


def _without_nats(arena, database, patience):
    """It goes while the relay is busy: everything that was in flight is kept, and read on as far as there is room."""
    arena.create_stream()
    relay = arena.relay(database)

    def until(_relay):
        arena.wait_stored(FULL_AT, pause=0.01)
        arena.nats.stop()
        time.sleep(patience)
    try:
        return _watched(relay, until)
    finally:
        if not arena.nats.alive():
            arena.nats.start()


def _full(arena, database, patience):
    """The stream takes nothing more: the backlog is read and parked."""
    arena.create_stream(STREAM, SUBJECTS, max_msgs=FULL_AT)

    def until(relay):
        wait_until(lambda: arena.state()["messages"] >= FULL_AT, "the stream to be full", pause=0.01)
        time.sleep(patience)
    return _watched(arena.relay(database), until)


def sending(arena, database, count):
    """The Watch of a relay that drains these, and then sleeps."""
    arena.create_stream()
    return _watched(arena.relay(database), lambda relay: wait_until(database.settled, "everything to be sent", 3600, 0.2),
                    database.asleep)


def _large(arena, bench):
    count = bench.pick(500, 5000)
    database = arena.database().fill(count, size=LARGE, chunk=50)
    arena.create_stream()
    return _watched(arena.relay(database), lambda relay: arena.wait_stored(count), database.asleep)


# -- asleep


def idle(bench):
    """what a sleeping relay asks and uses in a minute

    The quick run is too short for safety polls every 30 seconds. It looks at a relay between two of them, and at one that has
    one every two seconds: so it knows what one costs. What comes once a minute is in the full run alone."""
    if bench.full:
        minute, how = _asleep(bench, SAFETY_POLL_S, 300), []
    else:
        seconds, poll_s = 8, 2
        between, often = _asleep(bench, SAFETY_POLL_S, seconds), _asleep(bench, poll_s, seconds)
        minute = {name: between[name] + max(0, often[name] - between[name]) * poll_s / SAFETY_POLL_S for name in between}
        how = [f"between two safety polls, and with one every {poll_s} s; told for one every {SAFETY_POLL_S}, without what "
               "comes once a minute"]
    return [Figure("idle_queries_per_minute", minute["transactions"], "", "", notes=[
                "transactions that PostgreSQL counted in the relay's database"] + how),
            Figure("idle_cpu_ms_per_minute", (minute["relay_us"] + minute["backend_us"]) / 1000, "ms", "", notes=[
                f"relay {minute['relay_us'] / 1000:.2f}, its backend {minute['backend_us'] / 1000:.2f}"] + how),
            Figure("idle_wakeups_per_minute", minute["wakeups"], "", "", notes=[
                "voluntary context switches of all the relay's threads"] + how)]


def _asleep(bench, poll_s, seconds):
    """What is counted in a minute, measured over so many seconds."""
    with bench.arena() as arena:
        database = arena.database().fill(1000)
        arena.create_stream()
        relay = arena.relay(database, outbox={"safety_poll": f"{poll_s}s"}).start().wait_until_ready()
        wait_until(lambda: database.settled() and database.asleep(), "the relay to sleep")
        backend = database.backends()[0]
        time.sleep(poll_s % SAFETY_POLL_S + 1.5)  # the last poll of waking, and PostgreSQL's own pause between two reports
        bench.say(f"idle: {seconds} seconds")
        before, then = _look(arena, database, relay, backend), time.monotonic()
        time.sleep(seconds)
        after, per_minute = _look(arena, database, relay, backend), 60 / (time.monotonic() - then)
    return {name: (after[name] - before[name]) * per_minute for name in before}


def _look(arena, database, relay, backend):
    """Asked from another database: the question does not count."""
    transactions = arena.pg.execute("SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = %s", (database.name,))
    return {"transactions": transactions[0][0], "relay_us": cpu_us(relay.pid), "backend_us": cpu_us(backend),
            "wakeups": _switches(relay.pid)}


def _switches(pid):
    count = 0
    for tid in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{tid}/status", encoding="ascii", errors="replace") as f:
            count += int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", f.read(), re.M).group(1))
    return count


FIGURES = {"memory_mb": memory_mb, "memory_large_mb": memory_mb, "idle_queries_per_minute": idle, "idle_cpu_ms_per_minute": idle,
           "idle_wakeups_per_minute": idle}
