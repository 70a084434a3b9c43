"""The relay under test: its configuration file, its one-shot commands and the running daemon."""

import json
import os
import signal
import subprocess
import urllib.error
import urllib.request

from process import DEADLINE, Process, free_port, takes_signal, wait_until

# Of a build with sanitizers: what is not ours.
os.environ.setdefault("LSAN_OPTIONS", f"suppressions={os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lsan.supp')}:print_suppressions=0")

# Everything committed is marked sent (or dead), and every missing id accounted for: of a database, by its books.
SETTLED = """SELECT NOT EXISTS (SELECT FROM boxhaul.exceptions) AND
    position >= (SELECT coalesce(max(id), 0) FROM boxhaul.outbox) FROM boxhaul.position"""


def to_libconfig(value, depth=0):
    """A Python value in libconfig's syntax: dict -> group, list of dicts -> list, other lists -> array."""
    if isinstance(value, dict):
        indent = "    " * depth
        lines = [f"{indent}{name} = {to_libconfig(v, depth + 1)};\n" for name, v in value.items()]
        return "".join(lines) if depth == 0 else "{\n" + "".join(lines) + "    " * (depth - 1) + "}"
    if isinstance(value, list):
        items = ", ".join(to_libconfig(v, depth) for v in value)
        return f"( {items} )" if value and isinstance(value[0], dict) else f"[ {items} ]"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return json.dumps(value)  # true, false and numbers look the same


class Relay(Process):
    """One relay. settings is its configuration file; a health port is chosen unless it names one.

        relay = w.add(Relay(program, w.path("relay"), {"postgres": {...}, "nats": {...}, "streams": [...]}))
        relay.migrate()
        relay.start()
    """

    def __init__(self, program, directory, settings):
        super().__init__("boxhaul run", os.path.join(directory, "log"))
        os.makedirs(directory, mode=0o700, exist_ok=True)
        self.program, self.config = program, os.path.join(directory, "boxhaul.conf")
        self.configure({"health": {"listen": f"127.0.0.1:{free_port()}"}, **settings})

    def configure(self, settings):
        """Write the configuration file; counts from the next start."""
        self.settings = settings
        with open(self.config, "w", encoding="utf-8") as f:
            os.fchmod(f.fileno(), 0o600)  # it may hold passwords
            f.write(to_libconfig(settings))

    def command(self, *words, deadline=DEADLINE):
        """Run `boxhaul WORDS -c FILE`; returns the CompletedProcess, output as text."""
        return subprocess.run([self.program, *words, "-c", self.config], stdin=subprocess.DEVNULL, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=deadline, check=False)

    def migrate(self):
        """`boxhaul migrate`, which must succeed."""
        done = self.command("migrate")
        if done.returncode != 0:
            raise RuntimeError(f"boxhaul migrate ended with status {done.returncode}:\n{done.stdout}")

    def start(self, env=None):
        self.spawn([self.program, "run", "-c", self.config], env)
        return self

    def stop(self, deadline=DEADLINE):
        """SIGTERM: it drains and ends. Returns the exit status. One that has just been started must know the signal first."""
        if self.alive():
            wait_until(lambda: not self.alive() or takes_signal(self.pid, signal.SIGTERM), f"{self.name} to take SIGTERM", deadline)
        return self.end(signal.SIGTERM, deadline)

    def close(self):
        self.kill9()

    def get(self, path, deadline=10):
        """(status, body) of the health port; (0, "") when it does not answer."""
        url = f"http://{self.settings['health']['listen']}{path}"
        try:
            with urllib.request.urlopen(url, timeout=deadline) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as e:
            return e.code, e.read().decode()
        except OSError:
            return 0, ""

    def status(self, deadline=10):
        """What it says of itself; {} when it does not answer."""
        return json.loads(self.get("/status", deadline)[1] or "{}")

    def wait_until_ready(self, deadline=DEADLINE):
        self.wait_ready(lambda: self.get("/readyz")[0] == 200, deadline)
        return self
