"""What the shows of packaging/try have in common: what they say, and commands that must succeed."""

import random
import sys
import threading
import time

from process import DEADLINE


def say(text):
    print(text, flush=True)


def must_succeed(relay, *words):
    """`boxhaul WORDS`. Returns what it said."""
    done = relay.command(*words)
    if done.returncode != 0:
        raise RuntimeError(f"boxhaul {' '.join(words)} ended with status {done.returncode}:\n{done.stdout.rstrip()}")
    return done.stdout


class Killer:
    """kill -9 of a relay, again and again, at any moment; and it is started again. pause: seconds between two kills, at least and at the most.
    dice: a random.Random, where a seed draws the moments. failures: when it had ended by itself."""

    def __init__(self, relay, pause=(0.7, 3), dice=random):
        self.relay, self.pause, self.dice, self.kills, self.failures = relay, pause, dice, 0, []
        self._stopping, self._thread = threading.Event(), threading.Thread(target=self._run, daemon=True)

    def start(self):
        self._thread.start()

    def _run(self):
        while not self._stopping.wait(self.dice.uniform(*self.pause)):
            if not self.relay.alive():
                self.failures.append(str(self.relay.died()))
            self.relay.kill9()
            self.kills += 1
            self.relay.start()

    def close(self):
        self._stopping.set()
        if self._thread.ident:
            self._thread.join()


class Flow:
    """The live line, once a second; in place on a terminal. look() tells (figures, text): while the figures change something moves.
    The processes must not die meanwhile."""

    def __init__(self, look, processes=()):
        self.look, self.processes = look, processes
        self.started = self.progress = time.monotonic()
        self.last = None

    def is_over(self, seconds):
        return time.monotonic() - self.started >= seconds

    def show_until(self, done):
        """False when it does not come to that, for nothing moves any more."""
        while not done():
            time.sleep(1)
            for process in self.processes:
                if not process.alive():
                    raise process.died()
            self._sample()
            if time.monotonic() - self.progress > DEADLINE:
                return False
        return True

    def end(self):
        """Whatever is printed next begins a line."""
        if sys.stdout.isatty():
            print()

    def _sample(self):
        now, (figures, text) = time.monotonic(), self.look()
        if figures == self.last:
            return
        self.last, self.progress = figures, now
        line = f"{now - self.started:5.0f} s   {text}"
        print(f"\r{line}\x1b[K" if sys.stdout.isatty() else f"{line}\n", end="", flush=True)
