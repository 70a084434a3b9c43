"""The judge of `tests/chaos --move`: he has the rows of both databases, what the writers know to be committed, who took writes when, and what `verify` said
while he knew what was wrong. He takes nothing of boxhaul's word, and makes the new database's rows the old one's by his own rules."""

import collections
import hashlib
from dataclasses import dataclass, field

from move_shop import KEYS, NAMES, UNITS

COUNTS = ("different", "missing", "surplus", "torn", "lost", "unexpected", "two_owners", "no_owner", "false_alarms", "missed", "unrepaired", "errors")
EXAMPLES = 5


@dataclass
class Report:
    """What a pass over some tables has found, (table, kind, key) each. standing: what was wrong all the time from before its beginning to behind its end;
    perhaps: what may have been. proved: tables of which it says that it has compared all."""
    found: set
    standing: set
    perhaps: set = field(default_factory=set)
    proved: set = field(default_factory=lambda: set(KEYS))


@dataclass
class Found:
    """rows: {"old": {table: [{column: text}]}, "new": ...}. expected: table -> key -> by. owner: who should take writes; owners: who did, at the end. both: moments
    at which both did."""
    owner: str
    rows: dict
    expected: dict
    owners: list = field(default_factory=list)
    both: list = field(default_factory=list)
    reports: list = field(default_factory=list)
    unrepaired: list = field(default_factory=list)
    errors: list = field(default_factory=list)


class Verdict:
    def __init__(self):
        self.counts, self.examples, self.compared = collections.Counter(), collections.defaultdict(list), {"old": 0, "new": 0}

    def count(self, kind, example):
        self.counts[kind] += 1
        if len(self.examples[kind]) < EXAMPLES:
            self.examples[kind].append(str(example))

    def violations(self):
        return [f"{kind}={self.counts[kind]}: {'; '.join(self.examples[kind])}" for kind in COUNTS if self.counts[kind]]


def as_old(table, row):
    """A row of the new database as the old one would have it."""
    back = {theirs: ours for ours, theirs in NAMES.get(table, {}).items()}
    made = {back.get(name, name): value for name, value in row.items()}
    if table == "stock":
        units = int(made["on_hand"])
        made["on_hand"] = str(units // UNITS) if units % UNITS == 0 else f"{units} / {UNITS}"
    return made


def by_key(table, rows):
    return {tuple(row[name] for name in KEYS[table]): row for row in rows}


def judge(found):
    verdict = Verdict()
    tables = {"old": {table: by_key(table, found.rows["old"][table]) for table in KEYS},
              "new": {table: by_key(table, [as_old(table, row) for row in found.rows["new"][table]]) for table in KEYS}}
    copy = "new" if found.owner == "old" else "old"
    for table in KEYS:
        _compare(verdict, table, tables[found.owner][table], tables[copy][table])
        _expect(verdict, table, tables[found.owner][table], found.expected[table])
        for name, side in tables.items():
            verdict.compared[name] += len(side[table])
            _look_inside(verdict, f"{name}.{table}", side[table])
    for moment in found.both:
        verdict.count("two_owners", moment)
    if found.owners != [found.owner]:
        verdict.count("two_owners" if len(found.owners) > 1 else "no_owner", f"at the end {found.owners} take writes, and {found.owner} should")
    for report in found.reports:
        _judge_report(verdict, report)
    for what in found.unrepaired:
        verdict.count("unrepaired", what)
    for error in found.errors:
        verdict.count("errors", error)
    return verdict


def _compare(verdict, table, there, here):
    """Row by row."""
    for key in there.keys() - here.keys():
        verdict.count("missing", f"{table} {key}")
    for key in here.keys() - there.keys():
        verdict.count("surplus", f"{table} {key} by {here[key].get('by')}")
    for key in there.keys() & here.keys():
        if there[key] != here[key]:
            names = sorted(name for name in there[key].keys() | here[key].keys() if there[key].get(name) != here[key].get(name))
            verdict.count("different", f"{table} {key}: {names[0]} is {str(there[key].get(names[0]))[:40]!r} by {there[key].get('by')} there and "
                                       f"{str(here[key].get(names[0]))[:40]!r} by {here[key].get('by')} here")


def _expect(verdict, table, rows, expected):
    """What a writer saw committed is there, and nothing else is."""
    for key in expected.keys() - rows.keys():
        verdict.count("lost", f"{table} {key} by {expected[key]}")
    for key in rows.keys() - expected.keys():
        verdict.count("unexpected", f"{table} {key} by {rows[key].get('by')}")
    for key in rows.keys() & expected.keys():
        if rows[key].get("by") != expected[key]:
            verdict.count("lost", f"{table} {key} is by {rows[key].get('by')} and should be by {expected[key]}")


def _look_inside(verdict, where, rows):
    """A large value is the one that was written with its sum."""
    for key, row in rows.items():
        doc = row.get("doc")
        if "doc_sum" in row and row["doc_sum"] != (hashlib.md5(doc.encode(), usedforsecurity=False).hexdigest() if doc is not None else None):
            verdict.count("torn", f"{where} {key} by {row.get('by')}")


def _judge_report(verdict, report):
    for what in report.found - report.standing - report.perhaps:
        verdict.count("false_alarms", what)
    for what in report.standing - report.found:
        if what[0] in report.proved:
            verdict.count("missed", what)
