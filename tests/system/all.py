#!/usr/bin/python3 -B
"""All files of system tests (or those named), several at a time: they have servers and ports of their own, and mostly wait.

    tests/system/all.py LOGS [FILE ...]

A file that fails is run once more when all others are through, by itself: a machine with other load must not turn down a sound tree. If
it passes then, that is said in the last lines, with all that the first run said. If it fails again, the step fails.

Their servers' data lie in memory where there is plenty of it, and what a migrated server holds is made once for all of them.

Each file's processor time is that of all processes it has waited for: servers, relays, producers. Logs are kept in LOGS; the environment
variable BOXHAUL names the program to test."""

import glob
import os
import resource
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "lib")]

from process import Workspace, roomy_directory  # noqa: E402

AT_ONCE = 4  # twice as many as there are processors of a small machine
HANGS = 3600  # seconds: for one that hangs
SLOWEST = 10
# What takes longest by the clock; then by size, so that none is left alone at the end.
FIRST = ("capture_source", "capture_whole", "inbox_take", "delivery", "kindness", "upgrades", "once", "operation", "examples", "faults",
         "capture_slot", "kinds_broker", "orms", "quorum", "commands", "cutover", "cases_broker", "remedies", "capture_upkeep")


class Ended(NamedTuple):
    path: str
    passed: bool
    seconds: float
    cpu: float
    log: str

    @property
    def name(self):
        return os.path.basename(self.path)


def files():
    """The longest first."""
    first = [os.path.join(HERE, f"test_{name}.py") for name in FIRST]
    found = sorted(glob.glob(os.path.join(HERE, "test_*.py")), key=os.path.getsize, reverse=True)
    return first + [path for path in found if path not in first]


def play(path, logs, place, attempt=""):
    """Run one file; its log is in logs, and what its servers write in place: also that of one which was killed goes at the end."""
    log = os.path.join(logs, os.path.basename(path) + attempt + ".log")
    begin = time.monotonic()
    with open(log, "wb") as out:
        child = subprocess.Popen(["timeout", "-k", "20", str(HANGS), "/usr/bin/python3", "-B", path, "-v"],
                                 stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                 env={**os.environ, "BOXHAUL_WORKSPACES": place, "BOXHAUL_KEPT": place})
        _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    return Ended(path, child.returncode == 0, time.monotonic() - begin, used.ru_utime + used.ru_stime, log)


def show(ended):
    """As soon as it is through: the last lines, or all of them where it failed."""
    with open(ended.log, encoding="utf-8", errors="replace") as f:
        lines = f.read().splitlines()
    print(f"== {ended.name}", *(lines[-3:] if ended.passed else lines), sep="\n", flush=True)
    return ended


def report(all_ended):
    print(f"the slowest of {len(all_ended)} files, by processor time:")
    for ended in sorted(all_ended, key=lambda e: e.cpu, reverse=True)[:SLOWEST]:
        print(f"  {ended.cpu:6.1f} s  {ended.name} ({ended.seconds:.0f} s by the clock)")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"cpu={used.ru_utime + used.ru_stime:.0f} s (user {used.ru_utime:.0f}, system {used.ru_stime:.0f}) files={len(all_ended)}")


def tell_again(failed, logs, place):
    """Each that failed once more by itself. What passes now is told last and in full; true when all do."""
    again = [(ended, show(play(ended.path, logs, place, ".alone"))) for ended in failed]
    for first, second in again:
        if second.passed:
            print(f"passed only alone: {first.name}; beside the others it said:")
            with open(first.log, encoding="utf-8", errors="replace") as f:
                shutil.copyfileobj(f, sys.stdout)
    for first, second in again:
        print(f"passed only alone: {first.name}" if second.passed else f"failed twice: {first.name}")
    return all(second.passed for _, second in again)


def main():
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    logs, wanted = sys.argv[1], [os.path.abspath(path) for path in sys.argv[2:]] or files()
    os.environ.setdefault("BOXHAUL_WORKSPACES", roomy_directory())
    with Workspace() as workspace:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            ended = list(pool.map(lambda path: show(play(path, logs, workspace.path())), wanted))
        report(ended)
        passed = tell_again([e for e in ended if not e.passed], logs, workspace.path())
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
