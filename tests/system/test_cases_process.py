"""What the machine does to the process: a lock nobody lets go of, pauses, descriptors that run out, core files."""

import contextlib
import os
import resource
import socket
import subprocess
import time
import unittest

from harness import RELAY
from test_faults import FaultTest
from test_operation import QUICK, OperationTest


class Lock(FaultTest):
    def test_a_lock_that_a_dead_relay_left_behind(self):
        """Its backend lives on behind a pooler or a broken network. Nobody leads, nothing is taken by force; the lock's
        end is enough."""
        holder = self.connect(RELAY)
        with holder.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(1651472488, 1)")
        relays = [self.start_relay() for _ in range(2)]
        self.writer("w").write("k", 5).commit()
        time.sleep(1)
        self.assertEqual([self.role(relay) for relay in relays], ["standby", "standby"])
        self.assertEqual((self.leads(), sum(self.metric(relay, "publishes_total") for relay in relays)), ([], 0))
        self.terminate_leader()
        self.audit()
        self.assertEqual(len(self.leads()), 1)


class Pause(FaultTest):
    def test_longer_than_every_timeout(self):
        """The process stands still, as in a suspended machine, until everybody has given it up: the broker's answers
        lie in its socket, its lease is over. Nobody took over: it goes on, and sends nothing twice."""
        relay = self.start_relay(outbox={"lease": "1s"}, delivery={"ack_timeout": "500ms"})
        shop = self.open_shop()
        for _ in range(2):
            self.let_trade(300)
            relay.pause()
            self.let_trade(100, seconds=3)
            relay.resume()
        shop.stop()
        self.audit()
        self.assertEqual(len(self.leads()), 1)


class Cores(OperationTest):
    def setUp(self):
        super().setUp()
        _soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
        if os.geteuid() == 0:
            hard = resource.RLIM_INFINITY
        if hard == 0:
            self.skipTest("core files are off for all of us, so nothing can be seen")
        before = resource.getrlimit(resource.RLIMIT_CORE)
        resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_CORE, before)
        self.hard = hard

    def test_no_core_file(self):
        """It would hold passwords. The relay switches it off, whatever it was started with."""
        relay = self.start_relay()
        self.assertEqual(resource.prlimit(relay.pid, resource.RLIMIT_CORE), (0, 0))
        self.assertNotIn("core files and debuggers", self.log(relay))

    def test_allowed_for_a_debugger(self):
        """By a switch whose name says what core files hold, and by no other value of it; the log warns."""
        for value, limit in (("1", self.hard), ("yes", 0), ("", 0)):
            relay = self.add_relay().start({"BOXHAUL_ALLOW_CORE_FILES_WITH_SECRETS": value}).wait_until_ready()
            self.assertEqual(resource.prlimit(relay.pid, resource.RLIMIT_CORE)[1], limit, "the hard limit")
            self.assertEqual("core files and debuggers are allowed: they show passwords" in self.log(relay), value == "1")
            self.assertEqual(relay.stop(), 0)

    @staticmethod
    def log(relay):
        with open(relay.log, encoding="utf-8") as f:
            return f.read()


class Descriptors(OperationTest):
    """Nothing more can be opened: no connection to the health port, none to the servers. What is open goes on."""

    def test_too_few_to_start_with(self):
        """It says so and ends, whatever it is that would have failed first; some of them may be somebody else's."""
        relay = self.add_relay()
        run = [self.program, "run", "-c", relay.config]
        with contextlib.ExitStack() as stack:
            theirs = [stack.enter_context(open(os.devnull, encoding="ascii")).fileno() for _ in range(30)]
            for limit, inherited in [(limit, []) for limit in range(5, 25)] + [(max(theirs) + 5, theirs)]:
                done = subprocess.run(["prlimit", f"--nofile={limit}", *run], stdin=subprocess.DEVNULL, pass_fds=inherited,
                                      stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False)
                self.assertEqual(done.returncode, 1, f"{limit} descriptors: {done.stdout}")
                self.assertIn('msg="cannot start: too few file descriptors are left"', done.stdout)
                self.assertIn("LimitNOFILE=", done.stdout)
        relay.spawn(["prlimit", "--nofile=36", *run])
        relay.wait_until_ready()
        self.writer("w").write("k", 5).commit()
        self.audit()

    def test_the_standard_ones_are_closed(self):
        """They are opened first of all: else a server's socket gets such a number, and the log is written into it."""
        relay = self.add_relay(health={"listen": "off"}, log={"level": "debug"})
        relay.spawn(["/bin/sh", "-c", 'exec "$0" run -c "$1" <&- >&- 2>&-', self.program, relay.config])
        self.writer("w").write("k", 50).commit()
        self.wait_settled()
        self.audit()
        self.assertEqual({os.readlink(f"/proc/{relay.pid}/fd/{fd}") for fd in range(3)}, {os.devnull})

    def test_none_is_left(self):
        relay = self.start_relay(**QUICK)
        if not os.access(f"/proc/{relay.pid}/fd", os.R_OK):
            self.skipTest("only root may count the descriptors of a process that hides its memory")
        self.writer("w").write("k", 5).commit()
        self.wait_settled()
        _soft, hard = resource.prlimit(relay.pid, resource.RLIMIT_NOFILE)
        used = max(int(fd) for fd in os.listdir(f"/proc/{relay.pid}/fd")) + 1
        resource.prlimit(relay.pid, resource.RLIMIT_NOFILE, (used, hard))
        with contextlib.ExitStack() as stack:
            for _ in range(100):
                s = stack.enter_context(socket.create_connection(self.address(relay), 30))
                with contextlib.suppress(OSError):
                    s.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            before, since = self.cpu_seconds(relay), time.monotonic()
            self.writer("v").write("k", 5).commit()
            self.wait_settled()
            time.sleep(3)
            share = (self.cpu_seconds(relay) - before) / (time.monotonic() - since)
            self.assertLess(share, 0.15, "it does not run hot over connections it cannot take")
            self.nats.restart()  # a connection less, and none to be had in its place
            self.writer("u").write("k", 5).commit()
            time.sleep(1)
        resource.prlimit(relay.pid, resource.RLIMIT_NOFILE, (hard, hard))
        self.audit()
        self.wait_for_page(relay, "/readyz", 200)

    @staticmethod
    def cpu_seconds(relay):
        with open(f"/proc/{relay.pid}/stat", encoding="utf-8") as f:
            fields = f.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    unittest.main()
