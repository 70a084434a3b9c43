"""What a run costs: CPU time and memory of processes, and who else was busy.

    meter = Meter({"relay": lambda: [relay.pid], "nats-server": lambda: [nats.pid]})
    with meter:
        ...
    meter.cpu["relay"], meter.others          # microseconds; the share of the machine that somebody else used
"""

import os
import re
import time

TICK_US = 1_000_000 // os.sysconf("SC_CLK_TCK")
CPUS = os.cpu_count()


def cpu_us(pid):
    """User and system time of a process with all its threads, also those that have ended; 0 when it is gone. It is
    the process's own CPU clock (clock_getcpuclockid): nanoseconds, where /proc/PID/stat counts ticks of 10 ms."""
    try:
        return time.clock_gettime_ns(~pid << 3 | 2) / 1000
    except OSError:
        return 0.0


def threads_us(pid):
    """The same for each living thread: name/tid -> microseconds, from its schedstat."""
    return {name: used for name, (used, _waited) in threads_us_and_waits(pid).items()}


def threads_us_and_waits(pid):
    """And how long each was ready to run and had no CPU: name/tid -> (microseconds, microseconds)."""
    found = {}
    for tid in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{tid}/schedstat", encoding="ascii") as f:
                used, waited = map(int, f.read().split()[:2])
            with open(f"/proc/{pid}/task/{tid}/comm", encoding="utf-8") as f:
                found[f"{f.read().strip()}/{tid}"] = used / 1000, waited / 1000
        except OSError:
            pass  # it has ended
    return found


def children(pid):
    """The pids of a process's children."""
    try:
        found = []
        for tid in os.listdir(f"/proc/{pid}/task"):  # each thread has its own
            with open(f"/proc/{pid}/task/{tid}/children", encoding="ascii") as f:
                found += [int(child) for child in f.read().split()]
        return found
    except OSError:
        return []


def family_us(pid=None):
    """What a process (this one) and all its descendants have used so far, also those that have ended; in ticks of 10 ms."""
    pid = pid or os.getpid()
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
            used = sum(map(int, f.read().rpartition(")")[2].split()[11:15])) * TICK_US
    except OSError:
        return 0
    return used + sum(family_us(child) for child in children(pid))


def memory_kb(pid):
    """Rss (resident now), Hwm (at most so far), Pss (shared pages by share), Anon (its own, not of a file), in KiB."""
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as f:
        said = dict(re.findall(r"^(Vm\w+|Rss\w+):\s+(\d+) kB", f.read(), re.M))
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii", errors="replace") as f:
        pss = re.search(r"^Pss:\s+(\d+) kB", f.read(), re.M)
    return {"Rss": int(said["VmRSS"]), "Hwm": int(said["VmHWM"]), "Anon": int(said["RssAnon"]), "Pss": int(pss.group(1))}


def busy_us():
    """What all CPUs of the machine have worked so far, for whomever."""
    with open("/proc/stat", encoding="ascii") as f:
        user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, f.readline().split()[1:9])
    return (user + nice + system + irq + softirq + steal) * TICK_US


class Company:
    """Who else is at work on this machine: share is what went to nobody of our family while the `with` lasted. A quiet
    machine has nearly none."""

    def __enter__(self):
        self._then = time.monotonic(), busy_us(), family_us()
        return self

    def __exit__(self, *exception):
        seconds, busy, ours = (now - then for now, then in zip((time.monotonic(), busy_us(), family_us()), self._then))
        self.share = max(0.0, (busy - ours) / (seconds * 1e6 * CPUS))


class Meter:
    """CPU time by process while the `with` lasts. sources: name -> function that gives pids. They are asked at both ends,
    so a process may begin meanwhile; of one that has ended before the second look nothing is known, unless it told what
    it used: add()."""

    def __init__(self, sources):
        self.sources = sources
        self.cpu, self.seconds, self.load = {}, 0.0, 0.0

    def __enter__(self):
        self._before = {name: self._read(pids) for name, pids in self.sources.items()}
        self._own, self._busy, self._begin = cpu_us(os.getpid()), busy_us(), time.monotonic()
        return self

    def __exit__(self, *exception):
        self.seconds = time.monotonic() - self._begin
        self._own, self._busy = cpu_us(os.getpid()) - self._own, busy_us() - self._busy
        self.cpu = {name: sum(us - self._before[name].get(pid, 0) for pid, us in self._read(pids).items())
                    for name, pids in self.sources.items()}
        self.load = os.getloadavg()[0]

    def add(self, name, us):
        self.cpu[name] = self.cpu.get(name, 0) + us

    @property
    def others(self):
        """The share of the machine's CPUs that went to nobody who is measured here."""
        return max(0.0, (self._busy - self._own - sum(self.cpu.values())) / (self.seconds * 1e6 * CPUS))

    @staticmethod
    def _read(pids):
        return {pid: cpu_us(pid) for pid in pids()}
