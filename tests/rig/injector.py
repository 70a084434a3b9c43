"""What the runs of tests/chaos with services of their own (--inbox, --sagas) have in common: faults drawn, done and undone, one trouble
at a time for each thing; what is kept of a run that went wrong, and the table of faults."""

import collections
import contextlib
import os
import random
import shutil
import threading
import time
import traceback

import psycopg2

from jetstream import JetStream
from nats_client import Client, NatsError
from process import Workspace

QUIET, AFTER, DRAIN = 3.0, 3.0, 240  # seconds: without faults at first, of trade behind them, in which all must be settled then


class Skipped(Exception):
    """This fault cannot be done here or now; why."""


def draw(what, seed, seconds, gap, kinds, which):
    """The faults of a run, in order of time: a pure function. kinds: name -> (weight, seconds at least, at most). Where a kind
    has several things to hit, it takes the one of the number "which"."""
    dice = random.Random(f"{what} {seed}")
    names, faults, at = list(kinds), [], QUIET
    while names:
        at += dice.uniform(0.3, 1.7) * gap
        if at >= seconds:
            break
        for _ in range(1 + (dice.random() < 0.4)):  # two at once, sometimes
            kind = dice.choices(names, [kinds[k][0] for k in names])[0]
            _weight, least, most = kinds[kind]
            faults.append({"at": round(at, 2), "kind": kind, "which": dice.randrange(which),
                           "seconds": round(least + (most - least) * dice.random() ** 2, 2)})
    return faults


class Injector:
    """A run. Whoever derives from it has _play(workspace) and a method _do_KIND(fault) for each kind of fault; nats and options are
    known to all. problems are the violations."""

    name = "run"

    def __init__(self, options, program, schedule):
        self.options, self.program, self.schedule = options, program, schedule
        self.problems, self.done, self.stopping = [], [], threading.Event()
        self.locks = collections.defaultdict(threading.Lock)

    def play(self):
        """Returns the violations."""
        with Workspace() as workspace:
            try:
                self._play(workspace)
            except Exception:
                self.problems.append(traceback.format_exc())
            if self.problems or self.options.keep:
                self._keep(workspace)
        return self.problems

    def _keep_alive(self, workers):
        """Until the end: started again whenever they die."""
        while not self.stopping.wait(0.1):
            for worker in workers:
                if not worker.alive():
                    worker.start()

    @contextlib.contextmanager
    def _jetstream(self):
        last = None
        for node in [self.nats, *getattr(self.nats, "others", [])]:
            try:
                client = Client(node.url(), 5)
            except (OSError, NatsError) as e:
                last = e
                continue
            with client:
                yield JetStream(client, 10)
            return
        raise Skipped(f"no server answers: {last}")

    # -- faults

    def _inject(self):
        begin, threads = time.monotonic(), []
        for fault in self.schedule:
            time.sleep(max(0.0, begin + fault["at"] - time.monotonic()))
            threads.append(threading.Thread(target=self._one, args=(fault,), daemon=True))
            threads[-1].start()
        time.sleep(max(0.0, begin + self.options.seconds - time.monotonic()))
        for thread in threads:
            thread.join(300)
            if thread.is_alive():
                self.problems.append("a fault could not be undone within 300 s")

    def _one(self, fault):
        try:
            getattr(self, "_do_" + fault["kind"].replace("-", "_"))(fault)
            self.done.append(fault["kind"])
        except (Skipped, OSError, NatsError, psycopg2.Error) as e:
            self.done.append(f"skipped: {fault['kind']} {e}".splitlines()[0])
        except Exception:
            self.problems.append(f"the rig failed at {fault}: {traceback.format_exc()}")

    @contextlib.contextmanager
    def _claim(self, what):
        lock = self.locks[what]
        if not lock.acquire(blocking=False):
            raise Skipped("something else is done to it")
        try:
            yield
        finally:
            lock.release()

    def _break(self, what, breaks, mends, seconds):
        with self._claim(what):
            breaks()
            time.sleep(seconds)
            mends()

    # -- the end

    def _stop(self, relays):
        """With nothing left to do they end in peace."""
        for relay in relays:
            if (status := relay.stop()) != 0:
                self.problems.append(f"{relay.config} ended with status {status} when told to:\n{relay.log_tail()}")

    def _keep(self, workspace):
        kept = os.path.join(self.options.kept or "/tmp", f"chaos-{self.name}-{self.options.seed}-{os.getpid()}")
        os.makedirs(kept, exist_ok=True)
        for name in sorted(os.listdir(workspace.directory)):
            log = workspace.path(name) if name.endswith(".log") else workspace.path(name, "log")
            if os.path.isfile(log):
                shutil.copyfile(log, os.path.join(kept, f"{name.removesuffix('.log')}.log"))
        print(f"logs: {kept}")
        return kept

    def faults_done(self):
        return [kind for kind in self.done if not kind.startswith("skipped")]

    def _table(self):
        for kind, count in sorted(collections.Counter(self.done).items()):
            print(f"  {kind:20} {count:3}")
        for problem in self.problems:
            print(f"VIOLATION {problem}")
