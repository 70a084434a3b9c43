"""The two sides of every ratio: the relay drains a backlog, and a bare publisher sends the same.

Both are timed by the stream's own clock: from the first message it stored to the last. So neither connecting nor the first
look at the database counts, nor the last mark; the CPU time of the relay has all of it, from its start until everything is
marked."""

import json
import statistics
import subprocess
from dataclasses import dataclass, field
from datetime import datetime

from arena import STREAM
from meter import threads_us
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


def drain(arena, database, stream=STREAM, relay=None, count=None, **groups):
    """Start a relay on what waits in the database, until all is stored (in a fresh stream) and marked. count: how many
    messages that is, if known. groups: settings of the relay. A stream that holds another number in the end is an error."""
    if count is None:
        count = database.execute("SELECT count(*) FROM boxhaul.outbox")[0][0]
    arena.create_stream(stream)
    relay = relay or arena.relay(database, stream, **groups)
    meter, before = arena.meter(database, relay=lambda: [relay.pid] if relay.alive() else []), database.counts()
    with meter:
        relay.start()
        arena.wait_stored(count, stream, watch=relay)
        wait_until(database.settled, "everything to be marked", pause=0.02)
    used, said = threads_us(relay.pid), relay.status()
    if relay.stop() != 0:
        raise relay.died()
    wait_until(lambda: not database.backends(), "the relay's session to end", pause=0.02)
    gone = {name: total - before[name] for name, total in database.counts().items()}
    return judge(arena, stream, count, meter, {"threads": used, "database": gone, "status": said})


def publish(bench, arena, count, stream=STREAM, size=256, **options):
    """yardsticks/publish.c: the raw limit, into a fresh stream. options: more for its command line; without mode and window
    the best ones."""
    options = options or best(bench, arena)
    arena.create_stream(stream)
    meter = arena.meter()
    with meter:
        said = run_yardstick(bench, "publish", url=arena.nats.url(), count=count, bytes=size, **options)
    meter.add("publisher", said["cpu_us"])
    return judge(arena, stream, count, meter, said)


def best(bench, arena):
    """The mode and window with which the bare publisher is fastest here: found once in a call."""
    if bench.best is None:
        tries = [{"mode": mode, "window": window} for mode in ("loop", "threads")
                 for window in bench.pick((1024, 4096), (256, 512, 1024, 2048, 4096, 8192))]
        count = min(bench.messages, bench.pick(40_000, 300_000))
        publish(bench, arena, count, **tries[0])  # warm-up
        rates = [[publish(bench, arena, count, **options).rate] for options in tries]
        # One that was lucky once is a weak yardstick: the quickest are tried again, in turns.
        quickest = sorted(range(len(tries)), key=lambda i: rates[i][0], reverse=True)[:4]
        for i in quickest * bench.pick(0, 2):
            rates[i].append(publish(bench, arena, count, **tries[i]).rate)
        bench.best = tries[max(quickest, key=lambda i: statistics.median(rates[i]))]
        bench.say("bare publisher: " + ", ".join(f"{o['mode']} {o['window']}: {' '.join(map(short, tried))}/s"
                                                 for o, tried in zip(tries, rates)))
    return bench.best


# The table of a relay that flags what it has sent: what the outbox has, and the flag with its index.
SENT_FLAG = """
CREATE TABLE sent_flag (
    id         bigint      NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id uuid        NOT NULL DEFAULT gen_random_uuid(),
    subject    text        NOT NULL,
    key        text,
    payload    bytea       NOT NULL,
    headers    jsonb,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    sent_at    timestamptz
);
CREATE INDEX sent_flag_unsent ON sent_flag (id) WHERE sent_at IS NULL;
"""


def sent_flag(bench, arena, database, count, batch=1000):
    """yardsticks/sent_flag.c on a database with SENT_FLAG's table, filled; into a fresh stream."""
    options = best(bench, arena)
    arena.create_stream()
    meter = arena.meter()
    with meter:
        said = run_yardstick(bench, "sent_flag", url=arena.nats.url(), conninfo=database.conninfo(arena.pg.superuser),
                             batch=batch, **options)
    meter.add("sent_flag", said["cpu_us"])
    meter.add("postgres_backend", said["backend_cpu_us"])
    return judge(arena, STREAM, count, meter, said)


def run_yardstick(bench, name, **options):
    """Run a yardstick to its end; what it says of itself, its last line, is JSON."""
    words = [word for option, value in options.items() for word in (f"--{option}", str(value))]
    done = subprocess.run([bench.yardstick(name), *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{name} ended with status {done.returncode}:\n{done.stdout[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


class Follower:
    """yardsticks/publish.c, that sends no more than it may, for as long as the `with` lasts."""

    def __init__(self, bench, **options):
        self.argv = [bench.yardstick("publish"), "--follow", "yes", "--count", "1000000000"]
        self.argv += [word for option, value in options.items() for word in (f"--{option}", str(value))]

    def __enter__(self):
        self.process = subprocess.Popen(self.argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        return self

    def may_send(self, total):
        self.process.stdin.write(f"{total}\n")
        self.process.stdin.flush()

    def __exit__(self, *exception):
        self.process.stdin.close()
        if self.process.wait(60) != 0 and exception == (None, None, None):
            raise RuntimeError(f"publish ended with status {self.process.returncode}")


def judge(arena, stream, count, meter, extra):
    """The Run of what filled a stream that was empty."""
    state = arena.state(stream)
    if state["messages"] != count:
        raise RuntimeError(f"{stream} holds {state['messages']} messages, not {count}")
    seconds = instant(state["last_ts"]) - instant(state["first_ts"])
    return Run(count, seconds, meter.cpu, meter.others, meter.load, extra)


def instant(text):
    """JetStream's time, with nanoseconds or fewer, as seconds."""
    whole, _, fraction = text.rstrip("Z").partition(".")
    return datetime.fromisoformat(whole + "+00:00").timestamp() + float("0." + (fraction or "0"))


def side_by_side(bench, one, other, rounds):
    """Two functions that give a Run, in turns: other, one, other, ..., other. Returns the pairs' ratios of the rates and
    all runs: (ratios, ones, others). Each run of one is compared with the mean of its two neighbours, so
    what drifts does not count. Both are called once before, to warm up."""
    ones, ((ratios, runs),) = beside_each(bench, one, [other], rounds)
    return ratios, ones, runs


def beside_each(bench, one, others, rounds):
    """The same with several yardsticks: (ones, [(ratios, runs) of each])."""
    for function in (one, *others):
        function()
    ones, runs = [], [[other()] for other in others]
    for n in range(rounds):
        ones.append(one())
        for other, its in zip(others, runs):
            its.append(other())
        bench.say(f"round {n + 1}: {short(ones[-1].rate)}/s beside {' and '.join(f'{short(its[-1].rate)}/s' for its in runs)}")
    return ones, [([run.rate / ((before.rate + after.rate) / 2) for run, before, after in zip(ones, its, its[1:])], its) for its in runs]


def typical(runs, process):
    """The median of a process's CPU microseconds per message."""
    return statistics.median(run.us(process) for run in runs)


def typical_rate(runs):
    """The median of messages a second."""
    return statistics.median(run.rate for run in runs)


def threads(runs):
    """What each thread of the relay took, in the first of the runs: those that took a hundredth of it."""
    used = sorted(runs[0].extra["threads"].items(), key=lambda thread: -thread[1])
    return "CPU us a message by thread: " + ", ".join(f"{name} {us / runs[0].messages:.2f}" for name, us in used
                                                      if us > 0.01 * used[0][1])


def database_work(runs):
    """What PostgreSQL counted per thousand messages, in the first of the runs."""
    each = {name: 1000 * n / runs[0].messages for name, n in runs[0].extra["database"].items()}
    return (f"per 1,000 messages: {short(each['transactions'])} transactions, {short(each['written'])} rows written, "
            f"{short(each['buffers'])} buffers touched (ours among them: the look whether all is marked)")


def notes(**sides):
    """A line per side with the spread of its rates, its CPU by process, and who else was busy."""
    lines = []
    for side, runs in sides.items():
        rates = [run.rate for run in runs]
        cpu = ", ".join(f"{name} {typical(runs, name):.2f}" for name in runs[0].cpu)
        lines.append(f"{side.replace('_', ' ')}: {short(statistics.median(rates))}/s ({short(min(rates))} - "
                     f"{short(max(rates))}), {runs[0].messages} messages; CPU us a message: {cpu}")
    everyone = [run for runs in sides.values() for run in runs]
    lines.append(f"somebody else had up to {max(run.others for run in everyone):.0%} of the machine; "
                 f"load {short(max(run.load for run in everyone))}")
    return lines
