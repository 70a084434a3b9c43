"""The judge: what the producers did against what is in the stream. It takes nothing of boxhaul's word but its dead
letters; it knows the producers' history, the names in chaos.transactions, and every message of the stream.

Words as Jepsen uses them: attempted (an INSERT was issued), committed, aborted, unknown (COMMIT got no answer), read,
lost (committed, not read), unexpected (read, but aborted or never attempted), recovered (unknown, yet read).
A phantom is read though its transaction vanished when a standby was promoted that had not got it."""

import collections
from dataclasses import dataclass, field

from shop import recognise

EXAMPLES = 8
GRACE = 6.0  # seconds after a fault in which a producer may still feel it: it has to notice, and to connect again
PART = 0.25  # of a wait in which the machine was slow: what comes together then has to be worked off
LOST_CONNECTION = ("08", "57P", "25006", "53")  # SQLSTATEs that a failing or failed-over server answers with


@dataclass
class Verdict:
    attempted: int = 0
    committed: int = 0
    aborted: int = 0
    unknown: int = 0        # COMMIT got no answer; those found in the database count as committed, too
    read: int = 0
    recovered: int = 0
    lost: int = 0
    lost_prefix: int = 0    # before the first, between, behind the last one read of the same producer
    lost_middle: int = 0
    lost_postfix: int = 0
    lost_by_broker: int = 0  # of the lost: acknowledged by the broker, and not in the stream at the end
    unexpected: int = 0
    reordered: int = 0
    duplicates: int = 0
    phantoms: int = 0
    vanished: int = 0       # a producer was told "committed", and the database forgot it
    dead: int = 0
    producer_errors: int = 0
    producer_stalls: int = 0
    relay_crashes: int = 0
    takeovers: list = field(default_factory=list)
    examples: dict = field(default_factory=lambda: collections.defaultdict(list))

    def count(self, kind, what):
        setattr(self, kind, getattr(self, kind) + 1)
        if len(self.examples[kind]) < EXAMPLES:
            self.examples[kind].append(what)

    def violations(self, sync=True, max_duplicates=None):
        """The figures that must be 0 and are not."""
        kinds = ["lost", "unexpected", "reordered", "dead", "producer_errors", "producer_stalls", "relay_crashes"]
        kinds += ["vanished"] if sync else []
        found = [f"{kind}={getattr(self, kind)}" for kind in kinds if getattr(self, kind)]
        if max_duplicates is not None and self.duplicates > max_duplicates:
            found.append(f"duplicates={self.duplicates}")
        if not self.read:
            found.append("read=0")
        return found


class Books:
    """The truth about each message, from the producers' history and the transactions that the database knows."""

    def __init__(self, transactions, present):
        self.fate, self.row, self.unknown, self.vanished = {}, {}, set(), []
        for t in transactions:
            self._enter(t, t["name"] in present)

    def _enter(self, t, is_present):
        fate = "committed" if is_present else "aborted"
        if t["outcome"] == "committed" and not is_present:
            fate = "vanished"
            self.vanished.append(t["name"])
        elif t["outcome"] == "unknown" and not is_present:
            fate = "missing"  # rolled back, or committed for a moment on a server that is no more
        elif t["outcome"] == "aborted" and is_present:
            raise AssertionError(f"transaction {t['name']} was rolled back and stands in the database")
        for name, key, number in t["messages"]:
            self.fate[name], self.row[name] = fate, (key, number)
            if t["outcome"] == "unknown":
                self.unknown.add(name)
        for name, key, number in t["undone"]:
            self.fate[name], self.row[name] = "aborted", (key, number)

    def of(self, fate):
        return [name for name, f in self.fate.items() if f == fate]


def judge(transactions, present, stream, dead=(), promotions=(), acks=None):
    """transactions: the history. present: names in chaos.transactions. stream: what JetStream.read() gave. dead: dead
    letters, each as its text. promotions: when a standby took over. acks: wire.acknowledged()."""
    v, books = Verdict(), Books(transactions, present)
    first = _read(v, books, stream, max(promotions, default=0))
    _lose(v, books, first, acks or {}, {stored.seq: stored for stored in stream})
    for letter in dead:
        v.count("dead", letter)
    for name in books.vanished:
        v.count("vanished", name)
    v.attempted, v.committed, v.aborted = len(books.fate), len(books.of("committed")), len(books.of("aborted"))
    v.unknown, v.read = len(books.unknown), len(first)
    v.recovered = sum(name in first for name in books.unknown)
    return v


def _read(v, books, stream, last_promotion):
    """Walk through the stream. Returns {message: Stored} of the first copies."""
    first, newest = {}, {}
    for stored in stream:
        name, key, number = recognise(stored) or (None, None, None)
        if name in first:
            v.count("duplicates", f"{name} at {first[name].seq} and {stored.seq}, "
                                  f"{stored.time - first[name].time:.1f} s later")
            continue
        fate = books.fate.get(name)
        if fate is None or fate == "aborted" or books.row[name] != (key, number):
            v.count("unexpected", f"{name or 'a stranger'} ({fate or 'never attempted so'}) at {stored.seq}")
        elif fate == "missing" and stored.time > last_promotion:
            v.count("unexpected", f"{name} (commit unknown, not in the database) at {stored.seq}")
        elif fate in ("missing", "vanished"):
            v.count("phantoms", f"{name} at {stored.seq}")
        elif key is not None:
            before = newest.get(key)
            if before and number < before[0]:
                v.count("reordered", f"{name}, number {number} of {key}, at {stored.seq}, behind {before}")
            newest[key] = max(before or (0, None, 0), (number, name, stored.seq))
        if name:
            first[name] = stored
    return first


def _lose(v, books, first, acks, by_seq):
    marks = {}  # producer -> (first, last) number read
    for name in first:
        producer, _, n = name.partition("/")
        low, high = marks.get(producer, (int(n or 0), int(n or 0)))
        marks[producer] = min(low, int(n or 0)), max(high, int(n or 0))
    for name in books.of("committed"):
        if name in first:
            continue
        producer, _, n = name.partition("/")
        low, high = marks.get(producer, (0, 0))
        where = "prefix" if int(n) < low else "postfix" if int(n) > high else "middle"
        setattr(v, f"lost_{where}", getattr(v, f"lost_{where}") + 1)
        v.count("lost", f"{name} ({where}), key {books.row[name][0]}: {_evidence(name, acks, by_seq)}")
        v.lost_by_broker += bool(acks.get(name))


def _evidence(name, acks, by_seq):
    if name not in acks:
        return "no relay ever sent it"
    if not acks[name]:
        return "sent, and never acknowledged"
    seqs = [ack.seq for ack in acks[name] if ack.seq is not None]
    if not seqs:
        return "the broker acknowledged it in a batch"
    return f"the broker acknowledged it at {seqs}, where the stream now holds " + \
        ", ".join(str(by_seq[seq].msg_id) if seq in by_seq else "nothing" for seq in seqs)


# -- producers and time

def blame(v, errors, waits, blocked, intervals, spells=()):
    """Count what producers suffered and no fault of database, its network or its operator explains; intervals are
    (begin, end) of those that do. spells: the same of a machine that was slow (watch.Control); they explain a wait of which
    they are a part worth mentioning. blocked: samples of producers behind a lock of the relay's: never explained."""
    def explained(begin, end):
        return any(begin <= b + GRACE and end >= a for a, b in intervals)

    def slowed(begin, end):
        return sum(max(0, min(b, end) - max(a, begin)) for a, b in spells) >= PART * (end - begin)
    for sample in blocked:
        v.count("producer_stalls", sample)
    for e in errors:
        if not explained(e["begin"], e["end"]) or (e["sqlstate"] and not e["sqlstate"].startswith(LOST_CONNECTION)):
            v.count("producer_errors", e)
    for w in waits:
        if not explained(w["begin"], w["end"]) and not slowed(w["begin"], w["end"]):
            v.count("producer_stalls", w)


ENDS_THE_LEAD = ("relay-kill", "relay-restart", "terminate-relay")


def takeovers(faults, epochs, stream):
    """Seconds from the end of a lead (the leader killed, told to end, its session terminated) to the first message
    stored under the next one. epochs: when each lead was taken. Where another fault fell into that time, nobody could
    say what was waited for: it is left out."""
    times, stored, epochs = [], sorted(s.time for s in stream), sorted(epochs)
    done = [fault for fault in faults if "skipped" not in fault]
    for fault in done:
        if fault["kind"] not in ENDS_THE_LEAD or not fault["about"].get("was_leader"):
            continue
        lead = next((t for t in epochs if t > fault["began"]), None)
        after = lead and next((t for t in stored if t > lead), None)
        if after and not any(f is not fault and f["began"] < after and f["ended"] > fault["began"] for f in done):
            times.append(after - fault["began"])
    return times
