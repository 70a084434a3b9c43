"""What the tests with failpoints share: a relay that is struck at a step, and what leads it there. The points
themselves are listed by the program (see relay/base/failpoint.h)."""

import signal
import subprocess

from harness import SystemTest
from process import DEADLINE

# In the middle of the work rather than at its beginning. What is not named here is struck the first time.
PASSES = {"fetch_sent": 5, "rows_received": 5, "publishing": 50, "handed_over": 50, "written": 5, "ack_received": 50,
          "marking": 5, "mark_sent": 5, "mark_answered": 5}

# With these no point is waited for long: a slot lasts a second, and a silent broker fills the small queue.
QUICK = {"delivery": {"ack_timeout": "500ms", "retry_max": "500ms", "mark_interval": "20ms", "queue": 64, "window": 32,
                      "drain_timeout": "10m"},  # but one that is told to end may stand still for as long as it likes
         "outbox": {"retention": "1s", "gap_grace": "50ms", "sleep_after": "100ms", "safety_poll": "200ms",
                    "lease": "1s"}}


class StruckTest(SystemTest):
    def failpoints(self):
        """The names of all points; a program that has none skips the test."""
        done = subprocess.run([self.program, "failpoints"], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=DEADLINE, check=False)
        if done.returncode != 0:
            self.skipTest("this program has no failpoints: they need a build with configure --enable-failpoints")
        names = [line.split()[0] for line in done.stdout.splitlines()]
        return [name for name in names if not name.startswith(("inbox_", "saga_", "move_"))]  # those: test_inbox_take.py, test_saga_daemon.py, test_cutover.py

    def strike(self, point, action, passes=None, **groups):
        """A relay that was killed, stalled or failed at the point, a moment ago. There must be a shop at work."""
        relay = self.add_relay(**(groups or QUICK))
        relay.start({"BOXHAUL_FAILPOINT": f"{point}={action}@{passes or PASSES.get(point, 1)}"})
        getattr(self, f"_lead_to_{point}", lambda relay: None)(relay)
        self.wait(lambda: self._is_struck(relay, point, action), f"{point} to {action}", pause=0.01)
        self.nats.resume()
        return relay

    @staticmethod
    def _is_struck(relay, point, action):
        """It said so, and is as it should be then."""
        with open(relay.log, encoding="utf-8") as f:
            if f"msg=failpoint name={point} action={action}\n" not in f.read():
                return False
        return action == "error" or (relay.stopped() if action == "stall" else not relay.alive())

    def close_shops(self):
        for shop in self.shops:
            shop.stop()

    # -- what leads to a point, where trade alone does not

    def _wait_at_work(self, relay):
        self.wait(lambda: self.status(relay).get("acks_total", 0) > 0, "the relay to be at work", pause=0.01)

    def _lead_to_lease_renewed(self, relay):
        """Messages in flight, and nothing that could be read or marked."""
        self._wait_at_work(relay)
        self.nats.pause()

    def _lead_to_sleep_flagged(self, _relay):
        self.close_shops()

    _lead_to_sleep_fenced = _lead_to_sleep_flagged

    def _lead_to_drained(self, relay):
        self._wait_at_work(relay)
        relay.send(signal.SIGTERM)

    _lead_to_resigned = _lead_to_drained
