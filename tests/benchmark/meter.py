"""What a run costs: CPU time and memory of processes, who else was busy, and what PostgreSQL counted.

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
    found = {}
    for tid in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{tid}/schedstat", encoding="ascii") as f:
                used = int(f.read().split()[0]) / 1000
            with open(f"/proc/{pid}/task/{tid}/comm", encoding="utf-8") as f:
                found[f"{f.read().strip()}/{tid}"] = used
        except OSError:
            pass  # it has ended
    return found


def children(pid):
    """The pids of a process's children."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
            return [int(child) for child in f.read().split()]
    except OSError:
        return []


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
        """The share of the machine's CPUs that went to nobody who is measured here: a quiet machine has nearly none."""
        return max(0.0, (self._busy - self._own - sum(self.cpu.values())) / (self.seconds * 1e6 * CPUS))

    @staticmethod
    def _read(pids):
        return {pid: cpu_us(pid) for pid in pids()}


DATABASE_COUNTS = ("xact_commit", "xact_rollback", "blks_read", "blks_hit", "tup_returned", "tup_fetched", "tup_inserted",
                   "tup_updated", "tup_deleted")


def database_counts(connection):
    """What PostgreSQL has counted for the database of this connection. A backend reports when it is idle or ends, and
    at most once a second: wait so long before the second look. The connection's own work is in it."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(DATABASE_COUNTS)} FROM pg_stat_database WHERE datname = current_database()")
        counts = dict(zip(DATABASE_COUNTS, cursor.fetchone()))
        cursor.execute("SELECT coalesce(sum(heap_blks_read + heap_blks_hit), 0), coalesce(sum(idx_blks_read + idx_blks_hit), 0) "
                       "FROM pg_statio_user_tables WHERE schemaname = 'boxhaul'")
        counts["heap_blocks"], counts["index_blocks"] = map(int, cursor.fetchone())
        cursor.execute("SELECT coalesce(sum(n_dead_tup), 0) FROM pg_stat_user_tables WHERE relid IN "
                       "(SELECT relid FROM pg_partition_tree('boxhaul.outbox'))")
        counts["dead_tuples"] = int(cursor.fetchone()[0])
    return counts
