"""What PostgreSQL's own log says of published tables: read through a slot of our own by SQL, parsed here. Whoever claims to have streamed
the changes is compared with it. (It shares nothing with the relay: another slot, another reader, another parser.)"""

import contextlib
import struct
from typing import NamedTuple, Optional

PINNED = ("-c datestyle=ISO -c intervalstyle=iso_8601 -c extra_float_digits=3 -c timezone=UTC -c bytea_output=hex "
          "-c client_encoding=UTF8 -c lc_monetary=C")  # the text of a value depends on these
UNCHANGED = object()  # a TOAST value that the log does not have


class Logged(NamedTuple):
    """One change. position: (commit LSN, commit time in us since 2000, index); tables: of a truncate; else one. new and old: column -> text,
    None, or UNCHANGED."""
    position: tuple
    xid: int
    op: str
    tables: tuple
    new: Optional[dict]
    old: Optional[dict]

    @property
    def table(self):
        return self.tables[0]


class Log:
    """A slot that reads the publications from now on."""

    def __init__(self, pg, database, publications, name="witness"):
        self.pg, self.database, self.publications, self.name = pg, database, publications, name
        pg.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (name,), database)

    def close(self):
        self.pg.execute("SELECT pg_drop_replication_slot(%s)", (self.name,), self.database)

    def changes(self):
        """All since it was made, transaction by transaction in commit order."""
        with contextlib.closing(self.pg.connect(self.database, options=PINNED)) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT data FROM pg_logical_slot_peek_binary_changes(%s, NULL, NULL, 'proto_version', '1', "
                           "'publication_names', %s)", (self.name, ",".join(f'"{name}"' for name in self.publications)))
            return list(parse(bytes(data) for (data,) in cursor))


def parse(messages):
    """pgoutput's messages (protocol 1) -> Logged."""
    relations, begin, index = {}, None, 0
    for data in messages:
        kind = data[:1]
        if kind == b"B":
            begin, index = struct.unpack(">QqI", data[1:]), 0
        elif kind == b"R":
            oid, name, columns = _relation(data)
            relations[oid] = name, columns
        elif kind in b"IUDT":
            yield _change(data, relations, begin, index)
            index += 1


def _relation(data):
    oid, = struct.unpack_from(">I", data, 1)
    schema, at = _string(data, 5)
    name, at = _string(data, at)
    count, = struct.unpack_from(">H", data, at + 1)  # behind the identity's letter
    at, columns = at + 3, []
    for _ in range(count):
        flags = data[at]
        column, at = _string(data, at + 1)
        columns.append((column, bool(flags & 1)))
        at += 8
    return oid, f"{schema or 'pg_catalog'}.{name}", columns


def _change(data, relations, begin, index):
    lsn, time, xid = begin
    kind, position = data[:1].decode(), (lsn, time, index)
    if kind == "T":
        count, = struct.unpack_from(">I", data, 1)
        oids = struct.unpack_from(f">{count}I", data, 6)
        return Logged(position, xid, "t", tuple(relations[oid][0] for oid in oids), None, None)
    name, columns = relations[struct.unpack_from(">I", data, 1)[0]]
    at, tuples = 5, {}
    while at < len(data):
        letter, at = data[at:at + 1].decode(), at + 1
        tuples[letter], at = _tuple(data, at, columns, letter == "K")
    return Logged(position, xid, {"I": "c", "U": "u", "D": "d"}[kind], (name,), tuples.get("N"), tuples.get("K") or tuples.get("O"))


def _tuple(data, at, columns, keys_only):
    """Of an old key only the columns that are flagged mean anything: the others are sent as if they were NULL."""
    count, = struct.unpack_from(">H", data, at)
    at, row = at + 2, {}
    for name, is_key in columns[:count]:
        letter, at = data[at:at + 1], at + 1
        value = None if letter == b"n" else UNCHANGED
        if letter == b"t":
            size, = struct.unpack_from(">I", data, at)
            value, at = data[at + 4:at + 4 + size].decode("utf-8", "surrogateescape"), at + 4 + size
        if is_key or not keys_only:
            row[name] = value
    return row, at


def _string(data, at):
    end = data.index(b"\0", at)
    return data[at:end].decode(), end + 1
