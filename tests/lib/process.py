"""Child processes and the private directory they live in: started, watched and ended by us, and only ours.

A child leads its own process group, so a Ctrl-C in the terminal reaches us alone and we end the children in
order. Should we be killed outright, the kernel ends them (setpriv --pdeathsig)."""

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor

DEADLINE = 120  # seconds: generous everywhere, for a slow machine is no fault
ENDLESS = 10 * DEADLINE  # and so long although something goes on: what is waited for will not come

# --pdeathsig fires when the THREAD that forked ends. So one thread that lives as long as we do forks them all.
_launcher = ThreadPoolExecutor(max_workers=1, thread_name_prefix="launcher")
ROOM = 4 << 30  # bytes: several times what is written at once
_PORTS = 16  # that are reserved at once
_our_ports, _reservations = [], []


def free_port():
    """A port nobody listens on, and that no other process that asks here is given as long as we live. It lies below the range
    the kernel hands out to outgoing connections: those cannot take it while a server is down, nor can a client that
    keeps trying connect to itself. (Unless that range leaves no room: then some of it has to do.)"""
    while True:
        if not _our_ports:
            _reserve_ports()
        port = _our_ports.pop()
        if _is_free(port):
            return port


def _reserve_ports():
    """By a name that one process can have; it goes with the process, and children do not inherit it."""
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as f:
        lowest = int(f.read().split()[0])
    ceiling = lowest if lowest >= 4096 else 32768
    while True:
        first = random.SystemRandom().randrange(max(1024, ceiling - 12000), ceiling - _PORTS + 1) // _PORTS * _PORTS
        reservation = socket.socket(socket.AF_UNIX)
        try:
            reservation.bind(f"\0boxhaul-ports-{first}")
        except OSError:
            reservation.close()
            continue
        _reservations.append(reservation)
        _our_ports.extend(range(first, first + _PORTS))
        return


def _is_free(port):
    with socket.socket() as s:
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def wait_until(condition, what, deadline=DEADLINE, pause=None, progress=lambda: None):
    """Poll until condition() is true; what it waited for stands in the error (a function is asked for it then). The deadline begins anew whenever
    progress() says something else than before: how long much work takes is a matter of the machine. But not for ever: where others are at
    work all the while, there is always something else.

    Without a pause it asks the less often the longer it has waited, by a tenth of that: each question may be a session with a server,
    and whoever is waited for needs the processor."""
    begin = time.monotonic()
    end, last, before = begin + deadline, begin + max(deadline, ENDLESS), progress()
    while not (result := condition()):
        if (moment := time.monotonic()) > end:
            if (now := progress()) == before or moment > last:
                raise TimeoutError(f"waited {moment - begin:.0f} s for {what() if callable(what) else what}")
            end, before = moment + deadline, now
        time.sleep(min(max(0.03, (time.monotonic() - begin) / 10), 0.15) if pause is None else pause)
    return result


def state_of(pid):
    """The kernel's letter for a process, "" when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
            return f.read().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def takes_signal(pid, signum):
    """Has the process a way of its own with this signal? One that has just begun has none, and is ended by it; of one that is gone it does not matter."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8") as f:
            masks = dict(line.split(":", 1) for line in f)
        return bool((int(masks["SigBlk"], 16) | int(masks["SigCgt"], 16)) >> (signum - 1) & 1)
    except (OSError, KeyError):
        return True


def has_ended(pid):
    """True of a process that is gone, or dead and only not yet reaped by its parent."""
    return state_of(pid) in ("", "Z")


class Process:
    """One child process. Its output goes to a log file, whose end is quoted when it dies early."""

    def __init__(self, name, log, user=None, orphan_signal="KILL", survive_us=False):
        self.name, self.log, self.user = name, log, user
        self.orphan_signal = "keep" if survive_us else orphan_signal
        self._popen, self._paused = None, False

    def spawn(self, argv, env=None):
        assert not self.alive(), f"{self.name} runs already"
        setpriv = ["setpriv", "--pdeathsig", self.orphan_signal]
        if self.user:
            setpriv += ["--reuid", self.user, "--regid", self.user, "--init-groups"]
        _launcher.submit(self._fork, setpriv + ["--"] + argv, env).result()

    def _fork(self, argv, env):
        self._paused = False
        with open(self.log, "ab") as log:
            self._popen = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
                                           start_new_session=True, env={**os.environ, **(env or {})})

    @property
    def pid(self):
        return self._popen.pid

    @property
    def returncode(self):
        return self._popen.poll() if self._popen else None

    def alive(self):
        return self._popen is not None and self._popen.poll() is None

    def send(self, signum):
        """Signal the child, if it is still there (Popen never signals a pid it has reaped)."""
        if self._popen:
            self._popen.send_signal(signum)

    def pause(self):
        self._paused = True
        self.send(signal.SIGSTOP)

    def resume(self):
        self._paused = False
        self.send(signal.SIGCONT)

    def stopped(self):
        """It stands still: SIGSTOP has arrived."""
        return self.alive() and state_of(self.pid) == "T"

    def wait(self, deadline=DEADLINE):
        return self._popen.wait(deadline)

    def end(self, signum=signal.SIGTERM, deadline=DEADLINE):
        """Ask it to end and wait; one that will not is killed, and that is an error. Returns the exit status. Only what stands
        still is told to go on: SIGCONT takes back the SIGSTOP with which LeakSanitizer attaches to what is about to exit, and then
        waits for it for ever."""
        if not self.alive():
            return self.returncode
        stands_still = self._paused or self.stopped()
        self.send(signum)
        if stands_still:
            self.resume()
        try:
            return self.wait(deadline)
        except subprocess.TimeoutExpired:
            self.kill9()
            raise TimeoutError(f"{self.name} did not end {deadline} s after signal {signum}") from None

    def kill9(self):
        self.send(signal.SIGKILL)
        if self._popen:
            self.wait()

    def log_tail(self, lines=15):
        with open(self.log, encoding="utf-8", errors="replace") as f:
            return "".join(f.readlines()[-lines:])

    def died(self):
        return RuntimeError(f"{self.name} ended with status {self.returncode}:\n{self.log_tail()}")

    def wait_ready(self, is_ready, deadline=DEADLINE):
        """Wait until is_ready(); a child that ended instead is an error at once."""
        def ready():
            if not self.alive():
                raise self.died()
            return is_ready()
        wait_until(ready, f"{self.name} to be ready", deadline)


def roomy_directory():
    """Where much is written and nothing is to stay: in memory where there is plenty of it, for a third of the processor time of servers
    that come and go is the file system's otherwise; /tmp where there is not, or where no program may run from there."""
    try:
        memory = os.statvfs("/dev/shm")
        with open("/proc/meminfo", encoding="ascii") as f:
            available = next(int(line.split()[1]) * 1024 for line in f if line.startswith("MemAvailable:"))
        with contextlib.suppress(OSError, ValueError):  # "max" where nothing is bounded
            with open("/sys/fs/cgroup/memory.max", encoding="ascii") as f:
                available = min(available, int(f.read()))
    except (OSError, StopIteration):
        return "/tmp"
    plenty = memory.f_bavail * memory.f_frsize >= ROOM and available >= 2 * ROOM
    return "/dev/shm" if plenty and not memory.f_flag & os.ST_NOEXEC else "/tmp"


class Workspace:
    """A private directory and what was started in it. Leaving it, however that happens, ends the processes,
    last started first, and removes the directory; with keep both stay. It lies in the directory that the environment variable
    BOXHAUL_WORKSPACES names, /tmp without.

        with Workspace() as w:
            pg = w.add(Postgres(w.path("pg"))).start()
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self, keep=False):
        self.keep = keep
        self.directory = None
        self._things = []
        self._handlers = {}

    def __enter__(self):
        self._catch_signals()
        # Short: a unix socket's path has at most 107 bytes. Open to pass through: PostgreSQL is another user.
        self.directory = tempfile.mkdtemp(prefix="boxhaul-", dir=os.environ.get("BOXHAUL_WORKSPACES", "/tmp"))
        os.chmod(self.directory, 0o711)
        return self

    def path(self, *names):
        return os.path.join(self.directory, *names)

    def add(self, thing):
        """Something with close(), to be closed at the end."""
        self._things.append(thing)
        return thing

    def __exit__(self, *exception):
        for number in self._handlers:  # nothing may break off the tidying up
            signal.signal(number, signal.SIG_IGN)
        try:
            if not self.keep:
                self._close()
        finally:
            for number, handler in self._handlers.items():
                signal.signal(number, handler)

    def _close(self):
        problems = []
        for thing in reversed(self._things):
            try:
                thing.close()
            except Exception as e:  # the others must still be closed
                problems.append(e)
        shutil.rmtree(self.directory, ignore_errors=True)
        if problems:
            raise problems[0]

    def _catch_signals(self):
        """Turn signals into an exception, so that every `with` and `finally` runs."""
        def leave(number, _frame):
            raise SystemExit(128 + number)
        if threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.signal(number, leave) for number in self.SIGNALS}


if __name__ == "__main__":
    print(roomy_directory())
