"""What a figure works with: the arena, the yardsticks, and how much of everything it shall take.

A file of figures/ exports FIGURES = {name: function}. A function takes a Bench and returns a list of report.Figure; what
it cannot measure it raises, with the reason; report.Skipped where something is missing that need not be there."""

import importlib
import os
import subprocess
import sys

import versions
from arena import Arena
from report import Skipped

HERE = os.path.dirname(os.path.abspath(__file__))


class Bench:
    """One call of tests/bench."""

    def __init__(self, workspace, program, build, options, report):
        self.workspace, self.program, self.build, self.options, self.report = workspace, program, build, options, report
        self.quick, self.full = not options.full, options.full
        self.best = None  # how the bare publisher is fastest: see runs.best()
        self._standing, self._arenas = None, 0

    def pick(self, quick, full):
        """What belongs to this size of run."""
        return full if self.full else quick

    @property
    def rounds(self):
        return self.rounds_of(3, 7)

    def rounds_of(self, quick, full):
        """--rounds, or a figure's own number of rounds."""
        return self.options.rounds or self.pick(quick, full)

    @property
    def messages(self):
        return self.messages_of(100_000, 1_000_000)

    def messages_of(self, quick, full):
        """--messages, or a figure's own number of messages."""
        return self.options.messages or self.pick(quick, full)

    def arena(self, postgres=None, nats=None, nodes=1):
        """For a `with`. Without settings it is the one that stands for all figures; with some, servers of its own. nodes:
        3 for a cluster, whose streams have three replicas."""
        if postgres or nats or nodes > 1:
            return self._start(postgres, nats, nodes=nodes)
        if self._standing is None:
            self._standing = self._start(standing=True)
        return self._standing

    def own_arena(self):
        """Servers of its own with the settings of all: for whoever stops one."""
        return self._start()

    def batched_arena(self, nodes=1):
        """Servers of their own with the newest nats-server, whose streams take batches."""
        kept = os.path.join(HERE, "..", "..", "build", "matrix")
        os.makedirs(kept, exist_ok=True)
        try:
            program = versions.nats("newest", kept).path
        except versions.Unavailable as e:
            raise Skipped(f"the newest nats-server is not to be had: {e}") from None
        return self._start(nodes=nodes, nats_program=program, stream_config={"allow_batched": True})

    def _start(self, postgres=None, nats=None, standing=False, nodes=1, **more):
        self._arenas += 1
        arena = Arena(self.workspace, self.program, self._arenas, postgres, nats, standing, nodes, **more).start()
        self.report.servers.append(arena.told())
        return arena

    def yardstick(self, name):
        """The path of a program of yardsticks/, compiled when it is older than its sources."""
        room = os.path.join(HERE, "yardsticks")
        sources = [os.path.join(room, file) for file in (name + ".c", "bare.c")]
        target = os.path.join(self.build, name)
        newest = max(os.path.getmtime(os.path.join(room, file)) for file in os.listdir(room))
        if not os.path.exists(target) or os.path.getmtime(target) < newest:
            flags = subprocess.run(["pkg-config", "--cflags", "--libs", "libpq", "libnats"], stdout=subprocess.PIPE, text=True,
                                   check=True).stdout.split()
            os.makedirs(self.build, exist_ok=True)
            subprocess.run(["gcc", "-std=c11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Werror", "-o", target + ".new",
                            *sources, *flags, "-lpthread"], check=True)
            os.replace(target + ".new", target)
        return target

    def say(self, text):
        """Progress, for whoever waits."""
        print(f"  ... {text}", file=sys.stderr, flush=True)


FIRST = ["throughput", "steady"]  # latency wants to know the sustainable rate


def all_figures():
    """name -> function, in the order of the files and of the tables in them."""
    rooms = sorted(file.removesuffix(".py") for file in os.listdir(os.path.join(HERE, "figures")) if file.endswith(".py"))
    found = {}
    for room in FIRST + [room for room in rooms if room not in FIRST]:
        found.update(importlib.import_module(room).FIGURES)
    return found


def program(build):
    """The one that BOXHAUL names, or one built for the purpose: optimised, nothing watched."""
    if "BOXHAUL" in os.environ:
        return os.path.abspath(os.environ["BOXHAUL"])
    subprocess.run([os.path.join(HERE, "..", "..", "packaging", "build-tree"), "CC=gcc", "CFLAGS=-O2 -g"], check=True,
                   env={**os.environ, "BOXHAUL_BUILD": build})
    return os.path.join(build, "bin", "boxhaul")
