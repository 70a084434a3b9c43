"""Producers and relay at work at the same time: which rate can last?

A trial lets the producers insert at a rate for some seconds, and looks at the lag all the while: messages that were inserted
and are not stored yet. A rate lasts when the producers reach it and the lag does not grow. The highest such rate is searched
with short trials, and then has to last for a long one.

Beside it stands the limit of the two servers on this machine: the same producers insert as fast as they can, and the bare
publisher sends as many messages as they have inserted, from memory. PostgreSQL takes as many messages as JetStream does, and
nobody carries them from the one to the other."""

import contextlib
import statistics
import time
from dataclasses import dataclass

import runs
from arena import STREAM
from process import wait_until
from producers import Producers, insert
from report import Figure, short

CLIENTS, ROWS = 8, 10  # of the producers: connections, messages in a transaction
LOOK_S = 0.1  # between two looks at the lag
FOLLOW_S = 0.01  # between two looks of the bare publisher
REACHED = 0.97  # of the rate that is wanted
BARE = "BARE"  # the stream of the bare publisher


@dataclass
class Trial:
    """What came of one. Rates are messages a second; growth is the lag's, by the line that fits it best."""
    wanted: float
    produced: float
    stored: float
    lag: list
    growth: float
    meter: object

    def lasts(self, slack):
        return self.growth <= slack * self.produced and (self.wanted is None or self.produced >= REACHED * self.wanted)

    def text(self):
        return (f"{short(self.produced)}/s inserted, {short(self.stored)}/s stored, lag {self.lag[0]} -> {self.lag[-1]} "
                f"(at most {max(self.lag)}), growing by {short(self.growth)}/s")


class Steady:
    """A database with a running relay, and the trials that are made with it."""

    def __init__(self, bench, arena):
        self.bench, self.arena, self.database = bench, arena, arena.database()
        arena.create_stream()
        self.relay = arena.relay(self.database).start().wait_until_ready()
        self.slack = bench.pick(0.02, 0.005)  # of the rate: a short trial cannot tell such a growth from a wave

    def trial(self, rate, seconds):
        """rate: messages a second, or None for all they can."""
        meter = self.arena.meter(self.database, relay=[self.relay.pid], producers=lambda: [producers.process.pid])
        with self._looking(self.database) as look:
            _at, before, there = look()
            with self._producers(self.database, rate) as producers:
                wait_until(lambda: look()[1] > before, "the producers to have begun", pause=0.02)
                time.sleep(seconds / 4)
                with meter:
                    looks = self._looks(look, seconds)
        wait_until(self.database.settled, "the lag to be gone", 3600)
        self._check()
        (begin, drawn, stored), (end, drawn_last, stored_last) = looks[0], looks[-1]
        rolled_back = before - there  # ids of earlier trials
        lag = [ids - messages - rolled_back for _at, ids, messages in looks]
        slope = statistics.linear_regression([at for at, _drawn, _stored in looks], lag).slope
        trial = Trial(rate, (drawn_last - drawn) / (end - begin), (stored_last - stored) / (end - begin), lag, slope, meter)
        self.bench.say(("flat out" if rate is None else f"{short(rate)}/s wanted") + f": {trial.text()}")
        return trial

    def highest(self):
        """The longest trial of the highest rate that lasts."""
        short_s, long_s = self.bench.pick((2, 4), (15, 150))
        flat_out = self.trial(None, short_s)
        low, high = 0, flat_out.produced
        if flat_out.lasts(self.slack):
            low, rate = high, high
        else:
            rate = (flat_out.produced + flat_out.stored) / 2
            for _ in range(self.bench.pick(3, 6)):
                if self.trial(rate, short_s).lasts(self.slack):
                    low = rate
                else:
                    high = rate
                rate = (low + high) / 2 if low else rate * 0.8
        rate = low or rate
        for _ in range(10):
            trial = self.trial(rate, long_s)
            if trial.lasts(self.slack):
                return trial
            rate *= 0.95
        raise RuntimeError(f"no rate down to {short(rate)}/s lasts for {long_s} s")

    def raw_limit(self):
        """What both servers do a second when no relay is between them."""
        options, seconds = runs.best(self.bench, self.arena), self.bench.pick(2, 15)
        self.arena.create_stream(BARE, ["bare.>"])
        with self.arena.database() as unread, self._looking(unread, BARE) as look, \
                runs.Follower(self.bench, url=self.arena.nats.url(), prefix="bare", **options) as publisher, \
                self._producers(unread, None):
            def follow(until):
                looks = [look()]
                while looks[-1][0] < looks[0][0] + until:
                    publisher.may_send(looks[-1][1])
                    time.sleep(FOLLOW_S)
                    looks.append(look())
                return looks
            follow(seconds / 4)
            looks = follow(seconds)
        (begin, drawn, stored), (end, drawn_last, stored_last) = looks[0], looks[-1]
        inserted, published = (drawn_last - drawn) / (end - begin), (stored_last - stored) / (end - begin)
        self.bench.say(f"without a relay: {short(inserted)}/s inserted, {short(published)}/s published")
        return (inserted + published) / 2

    def _producers(self, database, rate):
        return Producers(self.arena, database, insert(rows=ROWS), CLIENTS, rate and max(1, round(rate / ROWS)))

    @contextlib.contextmanager
    def _looking(self, database, stream=STREAM):
        """A function that gives (now, ids drawn, messages stored)."""
        with contextlib.closing(database.connect()) as connection, connection.cursor() as cursor, \
                self.arena.jetstream() as jetstream:
            def look():
                stored = jetstream.count(stream)  # first, so that the lag is never made smaller
                cursor.execute("SELECT last_value FROM boxhaul.outbox_id_seq")
                return time.monotonic(), cursor.fetchone()[0], stored
            yield look

    @staticmethod
    def _looks(look, seconds):
        looks = [look()]
        while looks[-1][0] < looks[0][0] + seconds:
            time.sleep(LOOK_S)
            looks.append(look())
        return looks

    def _check(self):
        stored, there = self.arena.state()["messages"], self.database.execute("SELECT count(*) FROM boxhaul.outbox")[0][0]
        if stored != there:
            raise RuntimeError(f"the stream holds {stored} messages, the outbox {there}")


def steady(bench):
    """producers and relay together: the highest rate at which the lag does not grow, by the limit of the two servers"""
    with bench.arena() as arena:
        runs.best(bench, arena)
        work = Steady(bench, arena)
        trial = work.highest()
        work.relay.stop()
        limits = [work.raw_limit() for _ in range(bench.rounds_of(1, 3))]
    stored, lag = trial.stored * trial.meter.seconds, [1000 * messages / trial.produced for messages in trial.lag]
    cpu = ", ".join(f"{name} {us / stored:.2f}" for name, us in trial.meter.cpu.items())
    notes = [f"{CLIENTS} producers, {ROWS} messages in a transaction, for {trial.meter.seconds:.0f} s: {trial.text()}",
             f"CPU us a message: {cpu} (postgres: the producers' backends, and the rest of it); somebody else had "
             f"{trial.meter.others:.0%} of the machine; load {short(trial.meter.load)}"]
    return [Figure("steady_ratio", rounds=[trial.produced / limit for limit in limits],
                   notes=[f"limit of PostgreSQL and JetStream sharing the machine: {', '.join(map(short, limits))}/s"]),
            Figure("sustainable_rate", trial.produced, "messages a second", notes=notes),
            Figure("steady_lag_ms", statistics.median(lag), "ms, typical", notes=[
                f"at the beginning {lag[0]:.1f}, at the end {lag[-1]:.1f}, at most {max(lag):.1f}; it does not grow"])]


FIGURES = {"steady_ratio": steady, "sustainable_rate": steady}
