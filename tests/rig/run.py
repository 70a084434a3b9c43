"""One chaos run: a quiet start, faults, healing, draining, judging."""

import collections
import contextlib
import json
import os
import shutil
import sys
import tempfile
import threading
import time
import traceback

import faults
import schedule
import wire
from judge import Verdict, blame, judge, takeovers
from process import Workspace, wait_until
from producers import History, Producer
from watch import Control, Watch
from world import SERVICE, STREAM, World

AFTER = 3.0     # seconds of trade behind the healing: the world is seen to work again
DRAIN = 240     # seconds in which everything must be settled then; a judgement, not a measure
SETTINGS = {    # the relay's, quick enough that a short run sees every timeout
    "delivery": {"ack_timeout": "2s", "retry_max": "2s", "queue": 1024, "window": 256},
    "outbox": {"lease": "3s", "safety_poll": "5s", "retention": "12s"},
}


class Run:
    def __init__(self, options, program):
        self.options, self.program = options, program
        self.schedule = schedule.draw(options.seed, options.seconds, options.relays, options.nats, options.gap,
                                      options.faults)
        self.history, self.done, self.problems, self.epochs, self.control = History(), [], [], {}, None
        self.verdict = Verdict()

    def play(self):
        """Returns the violations."""
        with Workspace() as workspace:
            try:
                self._play(workspace)
            except Exception:
                self.problems.append(traceback.format_exc())
            violations = self.problems + self.verdict.violations(not self.options.async_standby,
                                                                 self.options.max_duplicates)
            if violations or self.options.keep:
                self._keep(workspace, violations)
        return violations

    def _play(self, workspace):
        o = self.options
        self.world = world = World(workspace, self.program, o.relays, o.nats, o.window, not o.async_standby, SETTINGS, o.send)
        world.history, world.stopping = self.history, threading.Event()
        world.start()
        watch = Watch(world).start()
        self.control = Control(world.pair.conninfo("producers", SERVICE))
        self.control.start()
        producers = [Producer(f"p{n + 1}", world.pair.conninfo("producers", SERVICE), self.history, o.seed,
                              o.producers / o.rate) for n in range(o.producers)]
        for producer in producers:
            producer.start()
        self._inject(world)
        time.sleep(AFTER)
        for producer in producers:
            producer.stopping.set()
        for producer in producers:
            producer.join(DRAIN)
            if producer.is_alive():
                raise TimeoutError(f"producer {producer.name} hangs, though the world is whole")
        self.control.stop()
        self._drain(world)
        watch.stop()
        self._stop_relays(world)
        self._judge(world, watch)

    # -- faults

    def _inject(self, world):
        begin, threads = time.monotonic(), []
        for fault in self.schedule:
            time.sleep(max(0.0, begin + fault["at"] - time.monotonic()))
            threads.append(threading.Thread(target=self._one, args=(world, fault), daemon=True))
            threads[-1].start()
        time.sleep(max(0.0, begin + self.options.seconds - time.monotonic()))
        world.stopping.set()  # heal: whatever lasts ends now
        for thread in threads:
            thread.join(300)
            if thread.is_alive():
                self.problems.append("a fault could not be undone within 300 s")

    def _one(self, world, fault):
        try:
            record = faults.inject(world, fault)
        except Exception:
            self.problems.append(f"the rig failed at {fault}: {traceback.format_exc()}")
            return
        self.done.append(record)

    def _drain(self, world):
        last = {}

        def settled():
            with contextlib.suppress(Exception):
                last["situation"] = world.situation()
                return world.is_settled()
            return False
        try:
            wait_until(settled, "everything to be settled", DRAIN, pause=0.2)
        except TimeoutError as e:
            self.problems.append(f"{e}: {last.get('situation')}")

    def _stop_relays(self, world):
        """With nothing left to do they end in peace."""
        for relay in world.relays:
            status = relay.stop()
            if status != 0:
                self.problems.append(f"{relay.name} ended with status {status} when told to:\n{relay.log_tail()}")

    # -- judgement

    def _judge(self, world, watch):
        self.stream = world.cluster.insist("the stream to be read", lambda jetstream: list(jetstream.read(STREAM)))
        present = {name for (name,) in world.pair.execute("SELECT name FROM chaos.transactions")}
        dead = [str(row) for row in world.pair.execute("SELECT id, subject, key, reason FROM boxhaul.dead_letter")]
        acks = wire.acknowledged(world.workspace.path("wire"), STREAM)
        self.verdict = judge(self.history.transactions, present, self.stream, dead, world.pair.promotions, acks)
        blame(self.verdict, self.history.errors, self.history.waits, watch.blocked,  # a skipped one was tried
              [(f["began"], f["ended"]) for f in self.done if faults.hurts_producers(f)], self.control.spells)
        for crash in watch.crashes:
            self.verdict.count("relay_crashes", crash)
        self.epochs = watch.epochs
        self.verdict.takeovers = takeovers(self.done, [since for since, _ in watch.epochs.values()], self.stream)

    # -- the report

    def table(self):
        """Faults by kind."""
        counts, skipped = collections.Counter(), collections.defaultdict(list)
        for fault in self.done:
            if "skipped" in fault:
                skipped[fault["kind"]].append(fault["skipped"])
            else:
                counts[fault["kind"]] += 1
        lines = [f"  {kind:20} {counts[kind]:3}" + (f"   skipped {len(skipped[kind])}: {skipped[kind][0]}"
                                                    if skipped[kind] else "")
                 for kind in schedule.KINDS if counts[kind] or skipped[kind]]
        return "\n".join(lines)

    def line(self):
        o, v = self.options, self.verdict
        times = sorted(v.takeovers)
        spread = "/".join(f"{t * 1000:.0f}" for t in (times[0], times[len(times) // 2], times[-1])) if times else "-"
        return (f"chaos seed={o.seed} seconds={o.seconds:g} nats={o.nats} relays={o.relays} "
                f"window={o.window:g}{f' send={o.send}' if o.send else ''} faults={sum('skipped' not in f for f in self.done)} messages={v.read} "
                f"attempted={v.attempted} committed={v.committed} aborted={v.aborted} unknown={v.unknown} "
                f"recovered={v.recovered} lost={v.lost} unexpected={v.unexpected} reordered={v.reordered} "
                f"duplicates={v.duplicates} phantoms={v.phantoms} dead={v.dead} "
                f"takeovers={max(0, len(self.epochs) - 1)} takeover_ms={spread} "
                f"producer_errors={v.producer_errors} producer_stalls={v.producer_stalls}")

    def _keep(self, workspace, violations):
        """Everything that led to the verdict, for people."""
        kept = tempfile.mkdtemp(prefix=f"chaos-{self.options.seed}-", dir=self.options.kept or "/tmp")
        os.chmod(kept, 0o755)
        self.history.write(kept)
        self._write(kept, "schedule.json", self.schedule)
        self._write(kept, "faults.json", sorted(self.done, key=lambda f: f["began"]))
        self._write(kept, "epochs.json", self.epochs)
        self._write(kept, "slow.json", self.control.spells if self.control else [])
        self._write(kept, "examples.json", dict(self.verdict.examples))
        with open(os.path.join(kept, "stream.jsonl"), "w", encoding="utf-8") as f:
            for s in getattr(self, "stream", []):
                f.write(json.dumps({"seq": s.seq, "time": s.time, "id": s.msg_id, "subject": s.subject,
                                    "payload": s.payload.decode(errors="replace")}) + "\n")
        with open(os.path.join(kept, "verdict"), "w", encoding="utf-8") as f:
            f.write("\n".join([self.line(), *violations, ""]))
        self._copy_logs(workspace, kept)
        print(f"histories are kept in {kept}")

    @staticmethod
    def _write(directory, name, what):
        with open(os.path.join(directory, name), "w", encoding="utf-8") as f:
            json.dump(what, f, indent=1, default=str)

    @staticmethod
    def _copy_logs(workspace, kept):
        for name in sorted(os.listdir(workspace.directory)):
            log = workspace.path(name, "log")
            if os.path.exists(log):
                shutil.copyfile(log, os.path.join(kept, f"{name}.log"))
        if os.path.isdir(workspace.path("wire")):
            shutil.copytree(workspace.path("wire"), os.path.join(kept, "wire"))


def report(run, violations, out=sys.stdout):
    """What a run ends with; the line of figures is the last."""
    print(run.table(), file=out)
    for kind, examples in run.verdict.examples.items():
        for example in examples:
            print(f"  {kind}: {example}", file=out)
    for violation in violations:
        print(f"VIOLATION {violation}", file=out)
    print(run.line(), file=out, flush=True)
