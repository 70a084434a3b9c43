"""A copy of captured tables, rebuilt from the stream alone, and its judge. It takes nothing of boxhaul's word: it knows what an event of
format "row" or "text" means, and what PostgreSQL says of the tables.

    copy = Copy()
    copy.read(jetstream.read("SHOP_CDC"))
    copy.compare(source)                # Source(pg, database, ["public.orders"])
    copy.faults                         # {} when all is well

    damaged      no event, or one without what it must carry
    twice        the id of another message
    disorder     a change behind one that was committed later, or did not happen later in its transaction
    torn         a transaction begins before the one ahead of it has said which was its last change, or goes on behind that
    stale        a row of the snapshot that is not what the changes ahead of it have made of its key
    unverified   a verify pass says at its place of a row what the copy has otherwise there
    uncommitted  a row that only a transaction wrote which was rolled back
    partial      at the end, a row of which a value never came
    missing, surplus, different   at the end, against the source
    unlogged     a change that the source's log has otherwise, or has not; or one of the log that is not there

Each rule is one of order = "commit": where keys go their own ways (order = "key") say owned=False, and only twice, stale and the end are
judged."""

import collections
import contextlib
import hashlib
import json
import re
from typing import NamedTuple, Optional

from event_values import Type, expected, load
from pgoutput_log import PINNED, UNCHANGED

EXAMPLES = 5
UNDONE = "undone"  # how changed_by begins in rows that are rolled back (legacy.py)
OPERATIONS = (*"rcudtsvm", "snapshot-begin", "snapshot-end", "end")


class Damaged(ValueError):
    """What is wrong with an event."""


class Event(NamedTuple):
    seq: int
    id: Optional[str]
    op: str
    table: str
    key: dict
    row: Optional[dict]
    old: Optional[dict]
    unchanged: list
    position: Optional[tuple]  # (LSN, time, index); None of a row of the snapshot
    last: bool
    body: dict


def canonical(values):
    """A key as something that can be looked up: {"id": 1} -> '{"id": 1}'."""
    return json.dumps(values, sort_keys=True, default=str)


def row_hash(texts):
    """boxhaul.row_hash(): of the text that PostgreSQL writes of an array of texts."""
    def element(text):
        if text is None:
            return "NULL"
        plain = text and text.upper() != "NULL" and not re.search('[{}",\\\\ \t\n\r\v\f]', text)
        return text if plain else '"' + re.sub(r'([\\"])', r"\\\1", text) + '"'
    return hashlib.sha256(("{" + ",".join(map(element, texts)) + "}").encode()).hexdigest()[:32]


def position_of(text):
    """0/3B001260.849253375684112.3 -> (LSN, time, index)"""
    try:
        lsn, time, index = text.split(".")
        high, low = lsn.split("/")
        return (int(high, 16) << 32) + int(low, 16), int(time), int(index)
    except ValueError:
        raise Damaged(f"Boxhaul-Position {text}") from None


def parse(stored, unkeyed=()):
    """A message -> Event. Damaged, where it is none. unkeyed: tables without a key, whose rows have none."""
    def header(name):
        return stored.headers.get(name, [None])[0]
    try:
        body = load(stored.payload)
        op, table = body["op"], body["table"]
    except (ValueError, KeyError, TypeError) as e:
        raise Damaged(f"no event: {stored.payload[:80]!r}") from e
    if op not in OPERATIONS:
        raise Damaged(f"op {op}")
    if op == "r" and "rows" in body:
        if not (isinstance(body["rows"], list) and len(body["rows"]) > 1 and all(isinstance(row, dict) for row in body["rows"])) or {"key", "row"} & set(body):
            raise Damaged("r with rows that are none")
        return Event(stored.seq, stored.msg_id, op, table, {}, None, None, [], None, False, body)
    if op == "m":
        _judge_changes(body)
    else:
        _judge_change(op, body, table in unkeyed)
    place = header("Boxhaul-Position")
    if op in tuple("cudtm") and place is None:
        raise Damaged(f"{op} without Boxhaul-Position")
    return Event(stored.seq, stored.msg_id, op, table, body.get("key") or {}, body.get("row"), body.get("old"), body.get("unchanged") or [],
                 position_of(place) if place else None, header("Boxhaul-Last") == "1", body)


def _judge_change(op, body, unkeyed=False):
    if op in tuple("rcud") and not isinstance(body.get("key"), dict) and not (op in "rc" and unkeyed and "key" not in body):
        raise Damaged(f"{op} without a key")
    if op in tuple("rcu") and not isinstance(body.get("row"), dict):
        raise Damaged(f"{op} without a row")
    if set(body.get("unchanged") or ()) & set(body.get("row") or ()):
        raise Damaged("a value that was not sent has one")


def _judge_changes(body):
    """Of an m: several changes, each whole, but for what all of them have in common. None of them gives its row another key."""
    changes = body.get("changes")
    if not (isinstance(changes, list) and len(changes) > 1 and all(isinstance(change, dict) for change in changes)) or {"key", "row"} & set(body):
        raise Damaged("m with changes that are none")
    for change in changes:
        if change.get("op") not in tuple("cud") or {"table", "at"} & set(change):
            raise Damaged(f"m with op {change.get('op')}, or with what stands outside")
        _judge_change(change["op"], change)
        if change["op"] == "u" and any((change.get("old") or {}).get(name, value) != value for name, value in change["key"].items()):
            raise Damaged("m with a key that changes")


def changes_of(body):
    """What a message says, one by one: of an m each change, as the body of a message of its own."""
    around = {name: value for name, value in body.items() if name != "changes"}
    return [{**around, **change} for change in body["changes"]] if body["op"] == "m" else [body]


class Table:
    """rows: key -> {column: value}, without the columns of which nothing has come. touched: keys of which a change has passed, so that it is
    known what they are; emptied: that is so of all keys."""

    def __init__(self):
        self.rows, self.touched, self.emptied = {}, set(), False

    def knows(self, key):
        return self.emptied or key in self.touched

    def begin_snapshot(self):
        """Whatever is here may be of before a gap, so nothing of it counts: what there is comes again. (Somebody who serves readers meanwhile
        keeps it, and sweeps at the end what neither the snapshot nor a change has brought.)"""
        self.__init__()


class Copy:
    """gaps: how often the slot was lost: there a transaction may have been cut off, and the log gone back, if a standby that lacked its end
    took over. strict: rows of the snapshot are judged (not where phantoms have passed)."""

    def __init__(self, owned=True, gaps=0, strict=True, unkeyed=()):
        self.owned, self.gaps, self.strict = owned, gaps, strict
        self.unkeyed = {table: collections.Counter() for table in unkeyed}  # their rows: how often each is there, since their snapshot began
        self.tables = collections.defaultdict(Table)
        self.faults, self.examples, self.counts = collections.Counter(), [], collections.Counter()
        self.events, self.compared, self.verified = [], 0, 0
        self.met = collections.defaultdict(set)  # by pass: the keys that it has said something of
        self.keys = {}                           # by table: the columns of its key, as the stream said last
        self._ids, self._before = {}, None

    def fault(self, kind, what):
        self.faults[kind] += 1
        if self.faults[kind] <= EXAMPLES:
            self.examples.append(f"{kind}: {what}")

    def clean(self):
        return not self.faults

    def __str__(self):
        return " ".join(f"{kind}={count}" for kind, count in sorted(self.faults.items())) or "no fault"

    # -- the stream

    def read(self, messages):
        """In the order of the stream; call it again with what has come since."""
        for stored in messages:
            try:
                event = parse(stored, self.unkeyed)
            except Damaged as e:
                self.fault("damaged", f"{e}, at {stored.seq}")
                continue
            events = self._each(event)
            self.events += events
            self.counts.update(one.op for one in events)
            if self._is_new(event):
                self._judge_place(event)
                for one in events:
                    self._apply(one)
        return self

    def _each(self, event):
        """Of a message of several changes an event for each, all at its place, which is that of the last one; of several rows too: their keys are known by what
        was said of the table's columns."""
        if "columns" in event.body and event.op != "v":
            keys = sorted((c for c in event.body["columns"] if "key" in c), key=lambda c: c["key"])
            self.keys[event.table] = [c["name"] for c in keys]
        if event.op == "m":
            return [event._replace(op=body["op"], key=body["key"], row=body.get("row"), old=body.get("old"), unchanged=body.get("unchanged") or [], body=body)
                    for body in changes_of(event.body)]
        if event.op != "r" or "rows" not in event.body:
            return [event]
        if not self.keys.get(event.table):
            self.fault("damaged", f"rows of {event.table} without a key, at {event.seq}")
        return [event._replace(row=row, key={name: row[name] for name in self.keys.get(event.table, ())}) for row in event.body["rows"]]

    def _is_new(self, event):
        """Whoever consumes drops a second copy; it must not be there all the same."""
        if event.id is None:
            self.fault("damaged", f"no Nats-Msg-Id, at {event.seq}")
        elif event.id in self._ids:
            self.fault("twice", f"{event.id} at {self._ids[event.id]} and {event.seq}")
            return False
        else:
            self._ids[event.id] = event.seq
        return True

    def _judge_place(self, event):
        if not self.owned or event.position is None:
            return
        before, self._before = self._before, event
        if not before:
            return
        same = event.position[:2] == before.position[:2]
        later = event.position[::2] > before.position[::2] if same else event.position[0] > before.position[0]
        if not same and self.gaps and not (later and before.last) and event.position[1] >= before.position[1]:
            self.gaps -= 1
            return
        if not same and not before.last:
            self.fault("torn", f"{_place(event)} at {event.seq} begins, and {_place(before)} at {before.seq} was not the last of its own")
        if same and before.last:
            self.fault("torn", f"{_place(event)} at {event.seq} goes on behind its last change")
        if not later:
            self.fault("disorder", f"{_place(event)} at {event.seq} behind {_place(before)}")

    def _apply(self, event):
        for values in (event.row, event.old):
            if str((values or {}).get("changed_by", "")).startswith(UNDONE):
                self.fault("uncommitted", f"{event.table} {event.key} at {event.seq}")
        if event.table in self.unkeyed:
            self._apply_unkeyed(self.unkeyed[event.table], event)
            return
        table = self.tables[event.table]
        if event.op == "t":
            self._truncate(table)
        elif event.op == "r":
            self._read_row(table, event)
        elif event.op in ("c", "u"):
            self._change(table, event)
        elif event.op == "d":
            key = canonical(event.key)
            table.rows.pop(key, None)
            table.touched.add(key)
        elif event.op == "v" and event.body["what"] == "rows":
            self._verify(table, event)
        elif event.op == "snapshot-begin":
            table.begin_snapshot()

    @staticmethod
    def _apply_unkeyed(rows, event):
        """Nothing but inserts: what came before the last snapshot began counts no more."""
        if event.op == "snapshot-begin":
            rows.clear()
        elif event.op in tuple("rc"):
            rows[canonical(event.row)] += 1

    def _verify(self, table, event):
        """Exactly here the copy has exactly what the pass has read of each key."""
        for values, said in event.body["rows"]:
            key = canonical(dict(zip(event.body["key"], values)))
            here = table.rows.get(key)
            self.verified += 1
            self.met[event.body["pass"]].add(key)
            if isinstance(said, str):
                same = here is not None and row_hash([here.get(name) for name in event.body["columns"]]) == said
            else:
                same = said == (here and {name: here.get(name) for name in said or here})
            if not same:
                self.fault("unverified", f"{event.table} {key} at {event.seq}: the pass says {said}, and the copy has {here}")

    @staticmethod
    def _truncate(table):
        table.rows, table.touched, table.emptied = {}, set(), True

    def _read_row(self, table, event):
        """A row of the snapshot: exactly what the changes ahead of it have made of its key."""
        key = canonical(event.key)
        here = table.rows.get(key)
        if self.strict and table.knows(key):
            if here is None:
                self.fault("stale", f"{event.table} {key} at {event.seq}: it had been deleted")
            elif differing := [name for name in event.row if name in here and here[name] != event.row[name]]:
                self.fault("stale", f"{event.table} {key} at {event.seq}: {differing[0]} had been changed")
        table.rows[key] = dict(event.row)

    @staticmethod
    def _change(table, event):
        """c and u are upserts. What did not change is taken from the row as it was, under its old key if that has changed."""
        key, before = canonical(event.key), None
        old_key = {name: event.old[name] for name in event.key} if event.old and set(event.key) <= set(event.old) else event.key
        before = table.rows.get(canonical(old_key))
        if canonical(old_key) != key:
            table.rows.pop(canonical(old_key), None)
            table.touched.add(canonical(old_key))
        kept = {name: before[name] for name in event.unchanged if before and name in before}
        kept.update({name: event.old[name] for name in event.unchanged if event.old and name in event.old})
        table.rows[key] = {**kept, **event.row}
        table.touched.add(key)

    # -- the end

    def compare(self, source):
        """Row by row. Returns (rows there, rows here, rows that differ)."""
        there_all = here_all = 0
        wrong = sum(self.faults[kind] for kind in ("missing", "surplus", "different", "partial"))
        for table in source.tables:
            there, here = source.rows(table), self.tables[table].rows
            there_all, here_all = there_all + len(there), here_all + len(here)
            for key in there.keys() - here.keys():
                self.fault("missing", f"{table} {key}")
            for key in here.keys() - there.keys():
                self.fault("surplus", f"{table} {key}")
            for key in there.keys() & here.keys():
                self._compare_row(table, key, there[key], here[key])
        self.compared = there_all
        return there_all, here_all, sum(self.faults[kind] for kind in ("missing", "surplus", "different", "partial")) - wrong

    def _compare_row(self, table, key, there, here):
        unknown = there.keys() - here.keys()
        differing = sorted(name for name in there.keys() & here.keys() if there[name] != here[name])
        if differing:
            self.fault("different", f"{table} {key}: {differing[0]} is {str(there[differing[0]])[:60]!r} there and "
                                    f"{str(here[differing[0]])[:60]!r} here")
        elif unknown:
            self.fault("partial", f"{table} {key}: {sorted(unknown)[0]} never came")

    def compare_with_log(self, logged, source):
        """Every change of the log exactly once and as it was, from the first one that the stream has. Returns how many it has."""
        sent = [event for event in self.events if event.op in tuple("cudt")]
        wanted = [(change, table) for change in logged for table in change.tables if table in source.tables]
        if not sent:
            return len(wanted)
        begin = next((n for n, (change, _table) in enumerate(wanted) if change.position[:2] == sent[0].position[:2]), None)
        if begin is None:
            self.fault("unlogged", f"{_place(sent[0])} at {sent[0].seq}, the first change of the stream")
            return 0
        for (change, table), event in zip(wanted[begin:], sent):
            if difference := f"the log has it of {table}" if table != event.table else self._differs(change, event, source):
                self.fault("unlogged", f"at {event.seq}, {_place(event)} {event.op} {event.table} {event.key}: {difference}")
                break
        if len(wanted) - begin != len(sent):
            self.fault("unlogged", f"{len(sent)} changes in the stream, {len(wanted) - begin} in the log from there on")
        return len(sent)

    @staticmethod
    def _differs(change, event, source):
        """What is not the same; None when nothing is. (The index is as whoever streams it counts; that it ascends is judged elsewhere.)"""
        if (change.position[:2], change.op) != (event.position[:2], event.op):
            return f"the log has {change.op} of {change.table} at {change.position} there"
        if change.new is None:
            return None
        came = {name: text for name, text in change.new.items() if text is not UNCHANGED}
        if source.events(change.table, came) != event.row:
            return f"the log has {came}"
        missing = sorted(set(change.new) - set(came))
        return f"unchanged are {missing}" if missing != sorted(event.unchanged) else None


class Source:
    """The tables as PostgreSQL has them. format is the capture's."""

    def __init__(self, pg, database, tables, format="row"):
        self.pg, self.database, self.tables, self.format = pg, database, list(tables), format
        self._types = {}

    def rows(self, table):
        """key -> {column: value}, as events carry them."""
        types, keys = self.types(table)
        # By the type's output function, as the log has it: a cast says true for t, and takes the blanks from a char(n).
        columns = ", ".join(f"""CASE WHEN "{name}" IS NULL THEN NULL ELSE format('%s', "{name}") END""" for name in types)
        with self._session() as cursor:
            cursor.execute(f"SELECT {columns} FROM {table}")
            rows = [self.events(table, dict(zip(types, row))) for row in cursor.fetchall()]
        return {canonical({name: row[name] for name in keys}): row for row in rows}

    def events(self, table, texts):
        """column -> text, as an event carries them."""
        types, _keys = self.types(table)
        return texts if self.format == "text" else {name: expected(text, types[name]) for name, text in texts.items()}

    def types(self, table):
        """({column: Type}, columns of the key), as they are now."""
        if table not in self._types:
            with self._session() as cursor:
                cursor.execute("""
                    WITH RECURSIVE base(attnum, attname, oid) AS (
                        SELECT attnum, attname, atttypid FROM pg_attribute
                        WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
                        UNION ALL SELECT b.attnum, b.attname, t.typbasetype FROM base b JOIN pg_type t ON t.oid = b.oid WHERE t.typtype = 'd')
                    SELECT b.attname, t.typname, coalesce(e.typname, '') FROM base b JOIN pg_type t ON t.oid = b.oid AND t.typtype <> 'd'
                    LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typcategory = 'A' ORDER BY b.attnum""", (table,))
                types = {name: Type(kind, element) for name, kind, element in cursor.fetchall()}
                cursor.execute("SELECT a.attname FROM (SELECT indrelid, indkey FROM pg_index WHERE indrelid = %s::regclass AND "
                               "(indisprimary OR indisreplident) ORDER BY indisprimary DESC LIMIT 1) i "
                               "JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)", (table,))
                self._types[table] = types, [name for (name,) in cursor.fetchall()] or list(types)
        return self._types[table]

    def forget(self):
        """The tables have another shape now."""
        self._types = {}

    @contextlib.contextmanager
    def _session(self):
        with contextlib.closing(self.pg.connect(self.database, options=PINNED)) as connection, connection.cursor() as cursor:
            yield cursor


def _place(event):
    lsn, time, index = event.position
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:08X}.{time}.{index}"
