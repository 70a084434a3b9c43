"""The faults of `tests/chaos --move`: what dies, for how long, and what an operator does at the wrong moment."""

from injector import Skipped

KINDS = {  # weight, seconds at least, at most
    "relay-kill": (6, 0.1, 3), "relay-pause": (4, 0.5, 10), "relay-restart": (2, 0, 1), "terminate-relay": (3, 0, 0), "terminate-sender": (2, 0, 0),
    "nats-kill": (4, 0.2, 4), "nats-pause": (3, 0.5, 6), "nats-restart": (2, 0, 1), "stepdown": (3, 0, 0),
    "old-kill": (3, 0.2, 2), "old-pause": (2, 0.3, 5), "old-restart": (1, 0, 1), "new-kill": (3, 0.2, 2), "new-pause": (2, 0.3, 5), "new-restart": (1, 0, 1),
    "resync": (3, 0, 0),
}


class MoveFaults:
    """For a run (injector.py) that has daemons, servers, nats, and _ends()."""

    daemon_login = "mover"

    def _fault_relay(self, fault, breaks, mends):
        relay = self.daemons[fault["which"]]
        self._break(relay.log, getattr(relay, breaks), getattr(relay, mends), fault["seconds"])

    def _do_relay_kill(self, fault):
        self._fault_relay(fault, "kill9", "start")

    def _do_relay_pause(self, fault):
        self._fault_relay(fault, "pause", "resume")

    def _do_relay_restart(self, fault):
        self._fault_relay(fault, "stop", "start")

    def _do_terminate_relay(self, fault):
        self.servers[("old", "new")[fault["which"] % 2]].execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", (self.daemon_login,))

    def _do_terminate_sender(self, fault):
        self.servers[("old", "new")[fault["which"] % 2]].execute(
            "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active AND slot_type = 'logical'")

    def _do_nats_kill(self, fault):
        self._break("nats", self.nats.kill9, self.nats.start, fault["seconds"])

    def _do_nats_pause(self, fault):
        self._break("nats", self.nats.pause, self.nats.resume, fault["seconds"])

    def _do_nats_restart(self, fault):
        self._break("nats", self.nats.stop, self.nats.start, fault["seconds"])

    def _do_stepdown(self, _fault):
        with self._jetstream() as js:
            js.step_down(self._ends()[2][1])

    def _fault_server(self, name, fault, breaks, mends):
        server = self.servers[name]
        self._break(name, getattr(server, breaks), getattr(server, mends), fault["seconds"])

    def _do_old_kill(self, fault):
        self._fault_server("old", fault, "kill9", "start")

    def _do_old_pause(self, fault):
        self._fault_server("old", fault, "freeze", "thaw")

    def _do_old_restart(self, fault):
        self._fault_server("old", fault, "stop", "start")

    def _do_new_kill(self, fault):
        self._fault_server("new", fault, "kill9", "start")

    def _do_new_pause(self, fault):
        self._fault_server("new", fault, "freeze", "thaw")

    def _do_new_restart(self, fault):
        self._fault_server("new", fault, "stop", "start")

    def _do_resync(self, fault):
        """All tables or one. (What is spoilt is mended by it, so a pass that is under way need not find it.)"""
        source, _copy, (capture, _stream, _subscription) = self._ends()
        schema = "shop" if source == "old" else "moved"
        self.resyncs += 1
        done = self._command(source, "capture", "resync", capture, *([f"{schema}.customers"] if fault["which"] % 2 else []))
        if done.returncode:
            raise Skipped(done.stdout.strip())
