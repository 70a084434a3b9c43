"""What was measured, for people and for programs.

A figure is the median of its rounds. Text: a block per figure with spread, rounds and what each process cost, and at the very
end a line per figure, `name=value (target)`. JSON: all of it, with the machine and what was set."""

import json
import os
import platform
import statistics
from dataclasses import asdict, dataclass, field

from picture import draw


QUIET = 0.05  # of the machine: what is always going on


def short(value):
    """A number as people write it: four digits that count, no exponent."""
    if value is None:
        return "unknown"
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:.0f}"
    return f"{value:.{3 if abs(value) < 10 else 2 if abs(value) < 100 else 1}f}"


class Skipped(Exception):
    """Not to be measured here, and why: no failure."""


@dataclass
class Curve:
    """y over x. points: (x, [y of each round]). mark: an x to be shown, the default's as a rule. log: x by powers."""
    x: str
    y: str
    points: list
    mark: float = None
    mark_name: str = "default"
    log: bool = True


@dataclass
class Figure:
    """One number. target: ">= 0.95", "<= 4" or "" (none). rounds: what each round gave; value is their median unless
    it is said. notes: lines for people (how it was measured, CPU by process, who else was busy)."""
    name: str
    value: float = None
    unit: str = ""
    target: str = ""
    rounds: list = field(default_factory=list)
    notes: list = field(default_factory=list)
    curve: Curve = None
    others: float = 0.0  # the share of the machine that somebody else had meanwhile

    def __post_init__(self):
        if self.value is None and self.rounds:
            self.value = statistics.median(self.rounds)

    def missed(self):
        """True when there is a target, and the value is beside it."""
        if not self.target or self.value is None:
            return False
        sign, bound = self.target.split()[:2]
        return not {">=": self.value >= float(bound), "<=": self.value <= float(bound),
                    "<": self.value < float(bound), ">": self.value > float(bound)}[sign]

    def line(self):
        words = [self.target or "no target"] + ["missed"] * self.missed() + ["on a busy machine"] * (self.others > QUIET)
        return f"{self.name}={short(self.value)} ({', '.join(words)})"

    def text(self):
        spread = ""
        if self.rounds:
            spread = (f"   spread {short(min(self.rounds))} - {short(max(self.rounds))}   rounds "
                      + " ".join(map(short, self.rounds)))
        lines = [f"{self.name}: {short(self.value)} {self.unit}".rstrip() + spread]
        if self.curve:
            lines += [f"  {self.curve.x} {short(x)}: {short(statistics.median(ys))} ({short(min(ys))} - {short(max(ys))})"
                      + (f"   <- {self.curve.mark_name}" if x == self.curve.mark else "") for x, ys in self.curve.points]
        return "\n".join(lines + [f"  {note}" for note in self.notes])


class Report:
    """All figures of one call. Those that could not be measured are named with their reason."""

    def __init__(self, settings):
        self.settings, self.figures, self.failures, self.skipped, self.servers = settings, [], {}, {}, []

    def add(self, figures, others):
        """others: the share of the machine that somebody else had while they were measured."""
        self.figures += figures
        for figure in figures:
            figure.others = others
            print("\n" + figure.text(), flush=True)
        if others > QUIET:
            print(f"\nTHE MACHINE WAS BUSY: somebody else had {others:.0%} of it meanwhile", flush=True)

    def fail(self, name, why):
        self.failures[name] = str(why)
        print(f"\n{name}: could not be measured: {why}", flush=True)

    def skip(self, name, why):
        self.skipped[name] = str(why)
        print(f"\n{name}: skipped: {why}", flush=True)

    def lines(self):
        failed = [f"{name}=unknown (could not be measured)" for name in self.failures]
        skipped = [f"{name}=skipped ({why})" for name, why in self.skipped.items()]
        return [figure.line() for figure in self.figures] + skipped + failed

    def write_json(self, path):
        figures = [{**asdict(figure), "missed": figure.missed()} for figure in self.figures]
        with open(path, "w", encoding="utf-8") as f:
            json.dump({"machine": machine(), "settings": self.settings, "servers": self.servers,
                       "failures": self.failures, "skipped": self.skipped, "figures": figures}, f, indent=1)
            f.write("\n")

    def write_pictures(self, directory):
        os.makedirs(directory, exist_ok=True)
        for figure in self.figures:
            if figure.curve:
                with open(os.path.join(directory, figure.name + ".svg"), "w", encoding="utf-8") as f:
                    f.write(draw(figure.name, figure.curve))


def machine():
    """In words: what the figures were measured on."""
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        model = next((line.split(":")[1].strip() for line in f if line.startswith("model name")), platform.machine())
    with open("/proc/meminfo", encoding="ascii") as f:
        memory = int(f.readline().split()[1]) >> 20
    return {"cpu": model, "cpus": os.cpu_count(), "memory_gib": memory, "kernel": platform.release(),
            "load": os.getloadavg()[0]}
