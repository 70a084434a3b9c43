"""One verdict, the same words everywhere: for tests that bring a relay into a situation and ask how it says so.

    class MyTest(WordsTest):
        def test_something(self):
            relay = self.start_told()
            ...
            self.same_words(relay, "^Paused by ")

Six places: `status`, its JSON, /readyz, /status (which the page shows as it stands), the supervisor's line, and the log's line of figures.
What differs from one moment to the next, numbers and ages, is not compared."""

import json
import re

from harness import SystemTest
from process import DEADLINE
from supervisor import Supervisor

READY = {200: "ready: ", 503: "not ready: "}


def steady(words):
    """Without what goes on while one place is asked after the other: ages and numbers."""
    return re.sub(r"\d+(\.\d+)?( (ms|s|min|h|d)\b)?", "#", words)


class WordsTest(SystemTest):
    told = 0

    def add_told(self, **groups):
        """A relay that says its words once a second in each place, under a supervisor; not started."""
        return self.add_relay(**{"log": {"format": "json", "stats_interval": "1s"}, **groups})

    def start_told(self, relay=None, ready=True, **groups):
        relay = relay or self.add_told(**groups)
        WordsTest.told += 1
        relay.supervisor = Supervisor(self.workspace.path(f"told.{WordsTest.told}"))
        self.addCleanup(relay.supervisor.close)
        relay.start(relay.supervisor.env)
        return relay.wait_until_ready() if ready else relay

    @staticmethod
    def log_words(relay):
        with open(relay.log, encoding="utf-8") as f:
            lines = [json.loads(line) for line in f if line.startswith("{") and '"stats"' in line]
        return lines[-1].get("summary", "") if lines else ""

    def six_places(self, relay):
        """place -> the sentence that stands there."""
        code, readyz = relay.get("/readyz")
        port = json.loads(relay.get("/status")[1] or "{}")
        command = relay.command("status").stdout
        try:
            machine = json.loads(relay.command("status", "--json").stdout.splitlines()[-1])
        except (ValueError, IndexError):
            machine = {}
        summary = port.get("summary", "")
        line = relay.supervisor.line().removeprefix("not ready: ")
        return {"status": command.split("\n")[0], "status --json": machine.get("summary", ""), "/status": summary,
                "/readyz": readyz.split("\n")[0].removeprefix(READY.get(code, "?")),
                "STATUS=": re.sub(r"; \d+ messages/s, \d+ in memory, \d+ in flight$", "", line),
                "log": self.log_words(relay)}

    def same_words(self, relay, pattern, deadline=DEADLINE):
        """Wait until all six say the same, and that is this; returns the sentence."""
        seen = {}

        def same():
            seen.clear()
            seen.update(self.six_places(relay))
            return len({steady(words) for words in seen.values()}) == 1 and re.search(pattern, seen["/status"])
        try:
            self.wait(same, f"{pattern!r} in six places", deadline, pause=0.3)
        except AssertionError as e:
            lines = "\n".join(f"  {place}: {words}" for place, words in seen.items())
            raise AssertionError(f"{e}\n{lines}") from None
        return seen["/status"]
