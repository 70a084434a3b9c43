"""Advice that is followed: what tests/remedies.md names begins here.

    class MyTest(RemedyTest):
        def test_something(self):
            ...                                          # what somebody did
            self.insert(5)                               # a backlog
            line = self.said(relay, "does not take")     # in the product's own words
            self.run_nats(line)                          # to the letter
            self.judge(relay)                            # all of it is stored, once, in order"""

import os
import re
import shlex
import subprocess

from harness import SERVICE, STREAM, SystemTest
from jetstream import SECOND

INSERT = "INSERT INTO boxhaul.outbox (subject, key, payload) VALUES (%s, %s, %s)"
QUICK = {"delivery": {"ack_timeout": "1s", "retry_max": "500ms"}, "outbox": {"safety_poll": "1s", "gap_grace": "100ms"}}


class RemedyTest(SystemTest):
    def setUp(self):
        super().setUp()
        self.inserted = []

    def add_quick(self, create=False, **groups):
        """A relay whose stream is another's work, unless it is to create it."""
        return self.add_relay(**{"streams": [{"name": STREAM, "subjects": ["orders.>"], "create": create}], **QUICK, **groups})

    def insert(self, count=5, subject="orders.x", size=0):
        for _ in range(count):
            self.inserted.append(f"m{len(self.inserted) + 1}".ljust(size, "."))
            self.sql(INSERT, [subject, "k", self.inserted[-1].encode()], user=SERVICE)

    def places(self, relay):
        """Where a relay, and those who ask for it, say what to do."""
        yield from relay.get("/readyz")[1].splitlines()
        yield from relay.command("check").stdout.splitlines()
        if os.path.exists(relay.log):
            yield from relay.log_tail(60).splitlines()

    def said(self, relay, words):
        """The first line with these words, a pattern."""
        return self.wait(lambda: next((line for line in self.places(relay) if re.search(words, line)), None), f"somebody to say {words}")

    def run_boxhaul(self, line, *more, number=0):
        """The command of ours that stands in the line, as it stands there."""
        command = re.findall(r"`boxhaul ([^`]*)`", line)[number]
        done = subprocess.run([self.program, *shlex.split(command), *more], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=60, check=False)
        self.assertEqual(done.returncode, 0, f"{command}: {done.stdout}{done.stderr}")
        return done.stdout

    def run_nats(self, line, js):
        """The command of the tool `nats` that stands at the end of the line: as the tool does it, which is not installed here."""
        _, _, verb, name, *words = shlex.split(re.search(r"nats stream .*?(?=, or set|$)", line)[0])
        options = dict(re.findall(r"--([a-z-]+)(?:[= ](\S+))?", " ".join(words)))
        config = js.info(name)["config"] if verb == "edit" else {}
        for option, value in options.items():
            if option == "subjects":
                config["subjects"] = [*config.get("subjects", []), *(s for s in value.split(",") if s != "...")]
            elif option == "ack":
                config["no_ack"] = False
            elif option == "dupe-window":
                config["duplicate_window"] = int(value.removesuffix("ms")) * SECOND // 1000
            elif option in ("discard", "storage"):
                config[option] = value
            else:
                config[{"replicas": "num_replicas", "max-msg-size": "max_msg_size"}[option]] = int(value)
        js.call(f"STREAM.{'UPDATE' if verb == 'edit' else 'CREATE'}.{name}", {"name": name, **config})

    def bodies(self, stream=STREAM):
        return [message.payload.decode() for message in self.stored(stream)]

    def judge(self, relay, stream=STREAM):
        """Ready, and all that was inserted is stored, once and in order."""
        self.wait_settled()
        relay.wait_until_ready()
        self.assertEqual(self.bodies(stream), self.inserted)
        self.assertEqual(self.sql("SELECT count(*) FROM boxhaul.dead_letter"), [(0,)])
        done = relay.command("reconcile")
        self.assertRegex(done.stdout, r"missing=0 pending=0 dead=0 ")
