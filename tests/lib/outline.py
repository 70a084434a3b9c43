"""The judge of a capture (copied.py) for tables of very many rows: of a large value it keeps a hash, of events nothing, and the source is read
row by row. What it keeps of a row is half a kilobyte."""

import contextlib
import hashlib

from copied import Copy, Source, canonical
from pgoutput_log import PINNED

LARGE = 16  # characters: what is longer is kept as a hash of this size


def outline(row):
    return {name: hashlib.blake2b(value.encode(), digest_size=LARGE).digest() if isinstance(value, str) and len(value) > LARGE else value
            for name, value in row.items()}


class _Forgotten(list):
    def __iadd__(self, _events):
        return self


class Outline(Copy):
    """Copy's rules, but for those that need all events at the end. read() and compare() as there."""

    def __init__(self, **options):
        super().__init__(**options)
        self.events = _Forgotten()
        self._seen = set()

    def _is_new(self, event):
        """Ids by their hash: of 20 million, two are taken for one with a chance of one in 90,000."""
        known = len(self._seen)
        self._seen.add(hash(event.id))
        if event.id is None or len(self._seen) == known:
            self.fault("damaged" if event.id is None else "twice", f"{event.id} at {event.seq}")
        return event.id is not None and len(self._seen) > known

    def _apply(self, event):
        if event.row and event.table not in self.unkeyed:
            event = event._replace(row=outline(event.row))
        super()._apply(event)

    def compare(self, source):
        """Row by row. Returns (rows there, rows here, rows that differ)."""
        there = here = 0
        before = self.faults["different"] + self.faults["partial"]
        for table in source.tables:
            rows = self.tables[table].rows
            here += len(rows)
            for key, row in source.each_row(table):
                there += 1
                if key in rows:
                    self._compare_row(table, key, outline(row), rows.pop(key))
                else:
                    self.fault("missing", f"{table} {key}")
            for key in rows:
                self.fault("surplus", f"{table} {key}")
        self.compared = there
        self.faults += {}  # without those that are zero
        return there, here, self.faults["different"] + self.faults["partial"] - before


class LargeSource(Source):
    """A source that is read row by row."""

    def each_row(self, table):
        types, keys = self.types(table)
        columns = ", ".join(f"""CASE WHEN "{name}" IS NULL THEN NULL ELSE format('%s', "{name}") END""" for name in types)
        with contextlib.closing(self.pg.connect(self.database, options=PINNED)) as connection:
            with connection.cursor("rows", withhold=True) as cursor:
                cursor.itersize = 10000
                cursor.execute(f"SELECT {columns} FROM {table}")
                for texts in cursor:
                    row = self.events(table, dict(zip(types, texts)))
                    yield canonical({name: row[name] for name in keys}), row
