"""The two sides of every ratio: the relay drains a backlog, and a bare publisher sends the same.

Both are timed by the stream's own clock: from the first message it stored to the last. So neither connecting nor the first look at
the database counts, nor the last mark; the CPU time of the relay has all of it, from its start until everything is marked."""

import json
import subprocess
from dataclasses import dataclass, field
from datetime import datetime

from arena import STREAM
from process import wait_until
from report import short


@dataclass
class Run:
    """One run of one side. cpu: name -> microseconds. others: the share of the machine that somebody else used."""
    messages: int
    seconds: float
    cpu: dict
    others: float
    load: float
    extra: dict = field(default_factory=dict)

    @property
    def rate(self):
        return (self.messages - 1) / self.seconds

    def us(self, name):
        """CPU microseconds per message."""
        return self.cpu.get(name, 0) / self.messages

    def text(self):
        cpu = ", ".join(f"{name} {us / self.messages:.2f}" for name, us in self.cpu.items())
        return f"{short(self.rate)}/s; CPU us a message: {cpu}; somebody else had {self.others:.0%} of the machine"


def drain(arena, database, stream=STREAM, relay=None, count=None, **groups):
    """Start a relay on what waits in the database, until all is stored and marked. count: how many messages that is,
    if known. groups: settings of the relay. A stream that holds another number in the end is an error."""
    if count is None:
        count = database.execute("SELECT count(*) FROM boxhaul.outbox")[0][0]
    relay = relay or arena.relay(database, stream, **groups)
    meter = arena.meter(database, relay=lambda: [relay.pid] if relay.alive() else [])
    with meter:
        relay.start()
        arena.wait_stored(count, stream, watch=relay)
        wait_until(database.settled, "everything to be marked", pause=0.02)
    if relay.stop() != 0:
        raise relay.died()
    return _judge(arena, stream, count, meter, {})


def publish(bench, arena, count, stream=STREAM, size=256, window=1024, **options):
    """yardsticks/publish.c: the raw limit. options: more words for its command line, --name value."""
    meter = arena.meter()
    with meter:
        said = run_yardstick(bench, "publish", url=arena.nats.url(), count=count, bytes=size, window=window, **options)
    meter.add("publisher", said["cpu_us"])
    return _judge(arena, stream, count, meter, said)


def run_yardstick(bench, name, **options):
    """Run a yardstick to its end; what it says of itself, its last line, is JSON."""
    words = [word for option, value in options.items() for word in (f"--{option}", str(value))]
    done = subprocess.run([bench.yardstick(name), *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{name} ended with status {done.returncode}:\n{done.stdout[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _judge(arena, stream, count, meter, extra):
    state = arena.state(stream)
    if state["messages"] != count:
        raise RuntimeError(f"{stream} holds {state['messages']} messages, not {count}")
    seconds = instant(state["last_ts"]) - instant(state["first_ts"])
    return Run(count, seconds, meter.cpu, meter.others, meter.load, extra)


def instant(text):
    """JetStream's time, with nanoseconds or fewer, as seconds."""
    whole, _, fraction = text.rstrip("Z").partition(".")
    return datetime.fromisoformat(whole + "+00:00").timestamp() + float("0." + (fraction or "0"))
