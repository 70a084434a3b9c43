"""What a captured change looks like in the stream: each type, each format, subjects, what was not sent, outbox tables of other libraries, logical
messages. (Pains 15, 16 and 32.)"""

import json
import unittest

from captures import NAME, STREAM, CaptureTest
from harness import RELAY

# column, its type, (value in SQL, what format = "row" says, what format = "text" says) for each row
NOTHING = ("NULL", None, None)
TYPES = [
    ("b", "boolean", ("true", True, "t"), ("false", False, "f")),
    ("i2", "smallint", ("-32768", -32768, "-32768"), NOTHING),
    ("i4", "integer", ("2147483647", 2147483647, "2147483647"), ("0", 0, "0")),
    ("i8", "bigint", ("9223372036854775807", 9223372036854775807, "9223372036854775807"), ("-1", -1, "-1")),
    ("n", "numeric", ("123456789012345678901234567890.00000000000000000001", "123456789012345678901234567890.00000000000000000001",
                      "123456789012345678901234567890.00000000000000000001"), ("'NaN'", "NaN", "NaN")),
    ("n2", "numeric(10,2)", ("9.9", "9.90", "9.90"), ("-0.01", "-0.01", "-0.01")),
    ("f4", "real", ("1.1", 1.1, "1.1"), ("'-Infinity'", "-Infinity", "-Infinity")),
    ("f8", "double precision", ("0.1::float8 + 0.2::float8", 0.30000000000000004, "0.30000000000000004"), ("'NaN'", "NaN", "NaN")),
    ("f9", "double precision", ("1e300", 1e300, "1e+300"), ("'Infinity'", "Infinity", "Infinity")),
    ("d", "date", ("'2026-01-02'", "2026-01-02", "2026-01-02"), ("'0044-03-15 BC'", "0044-03-15 BC", "0044-03-15 BC")),
    ("t", "time", ("'24:00'", "24:00:00", "24:00:00"), ("'03:04:05.6'", "03:04:05.6", "03:04:05.6")),
    ("tz", "timetz", ("'03:04:05+02'", "03:04:05+02", "03:04:05+02"), NOTHING),
    ("ts", "timestamp", ("'2026-01-02 03:04:05.678'", "2026-01-02T03:04:05.678", "2026-01-02 03:04:05.678"), ("'infinity'", "infinity", "infinity")),
    ("tstz", "timestamptz", ("'2026-01-02 03:04:05.678+09'", "2026-01-01T18:04:05.678Z", "2026-01-01 18:04:05.678+00"),
     ("'0044-03-15 12:00:00+00 BC'", "0044-03-15 12:00:00+00 BC", "0044-03-15 12:00:00+00 BC")),
    ("iv", "interval", ("'1 mon 2 days 03:04:05'", "P1M2DT3H4M5S", "P1M2DT3H4M5S"), ("'-1 year'", "P-1Y", "P-1Y")),
    ("by", "bytea", ("'\\x00ff41'", "AP9B", "\\x00ff41"), ("''", "", "\\x")),
    ("u", "uuid", ("'11111111-2222-3333-4444-555555555555'", "11111111-2222-3333-4444-555555555555", "11111111-2222-3333-4444-555555555555"), NOTHING),
    ("j", "json", ("'{\"a\":  1.10, \"a\": 2}'", {"a": 2}, '{"a":  1.10, "a": 2}'), ("'null'", None, "null")),
    ("jb", "jsonb", ("'[1, {\"x\": null}, \"\\u00e9\"]'", [1, {"x": None}, "\u00e9"], '[1, {"x": null}, "\u00e9"]'), ("'\"t\"'", "t", '"t"')),
    ("ai", "integer[]", ("'[0:1]={1,2}'", [1, 2], "[0:1]={1,2}"), ("'{{1,2},{3,NULL}}'", [[1, 2], [3, None]], "{{1,2},{3,NULL}}")),
    ("at", "text[]", ("ARRAY['a', 'b c', NULL, 'NULL', '', 'q\"\\', '{x,y}']", ["a", "b c", None, "NULL", "", 'q"\\', "{x,y}"],
                      '{a,"b c",NULL,"NULL","","q\\"\\\\","{x,y}"}'), ("'{}'", [], "{}")),
    ("an", "numeric[]", ("'{1.50,NaN}'", ["1.50", "NaN"], "{1.50,NaN}"), NOTHING),
    ("az", "timestamptz[]", ("'{2026-01-02 03:04:05+00,infinity}'", ["2026-01-02T03:04:05Z", "infinity"], '{"2026-01-02 03:04:05+00",infinity}'), NOTHING),
    ("ab", "bytea[]", ("ARRAY['\\x00'::bytea, NULL]", ["AA==", None], '{"\\\\x00",NULL}'), NOTHING),
    ("aj", "jsonb[]", ("ARRAY['{\"a\": 1}', 'null']::jsonb[]", [{"a": 1}, None], '{"{\\"a\\": 1}","null"}'), NOTHING),
    ("mood", "legacy.mood", ("'so so'", "so so", "so so"), ("'good'", "good", "good")),
    ("moods", "legacy.mood[]", ("'{good,NULL,\"so so\"}'", ["good", None, "so so"], '{good,NULL,"so so"}'), NOTHING),
    ("amount", "legacy.amount", ("1.5", "1.50", "1.50"), ("0", "0.00", "0.00")),
    ("count", "legacy.count", ("7", 7, "7"), NOTHING),
    ("counts", "legacy.counts", ("'{1,NULL}'", [1, None], "{1,NULL}"), NOTHING),
    ("pair", "legacy.pair", ("ROW(1, 'a b')", '(1,"a b")', '(1,"a b")'), NOTHING),
    ("r", "int4range", ("'[1,5)'", "[1,5)", "[1,5)"), ("'empty'", "empty", "empty")),
    ("ip", "inet", ("'10.0.0.1/8'", "10.0.0.1/8", "10.0.0.1/8"), ("'::1'", "::1", "::1")),
    ("bits", "bit(3)", ("B'101'", "101", "101"), NOTHING),
    ("c", "char(5)", ("'ab'", "ab   ", "ab   "), ("''", "     ", "     ")),
    ("o", '"char"', ("'x'", "x", "x"), NOTHING),
    ("tx", "text", ("E'\"\\\\\\n\\t\\x01\u00e4\U0001f600'", '"\\\n\t\x01\u00e4\U0001f600', '"\\\n\t\x01\u00e4\U0001f600'), ("''", "", "")),
    ("m", "money", ("1234.5", "$1,234.50", "$1,234.50"), NOTHING),
    ("vec", "tsvector", ("'a:1 b:2'", "'a':1 'b':2", "'a':1 'b':2"), NOTHING),
    ("p", "point", ("'(1,2)'", "(1,2)", "(1,2)"), NOTHING),
]


class EventsTest(CaptureTest):
    tables, orders = ["legacy.types"], 1

    @classmethod
    def _make_template(cls):
        super()._make_template()
        cls.pg.execute("""
            CREATE TYPE legacy.mood AS ENUM ('good', 'so so'); CREATE TYPE legacy.pair AS (a int, b text);
            CREATE DOMAIN legacy.amount AS numeric(10,2) CHECK (value >= 0); CREATE DOMAIN legacy.count AS int; CREATE DOMAIN legacy.counts AS int[];
            CREATE TABLE legacy.types (id int PRIMARY KEY, """ + ", ".join(f"{name} {kind}" for name, kind, *_ in TYPES) + """);
            CREATE TABLE legacy.docs (id int PRIMARY KEY, doc text, n int);
            ALTER TABLE legacy.docs ALTER doc SET STORAGE EXTERNAL;
            GRANT SELECT ON legacy.types, legacy.docs TO boxhaul_capture""", dbname="migrated")

    def insert_types(self, first):
        """The two rows, as first and first + 1."""
        for number in (0, 1):
            self.sql(f"INSERT INTO legacy.types (id, {', '.join(name for name, *_ in TYPES)}) VALUES ({first + number}, "
                     + ", ".join(column[2 + number][0] for column in TYPES) + ")")

    def wait_event(self, op, key, seen=None):
        """The event of this op and key; waits until it is stored."""
        def find():
            return next((e for e in self.events() if e.op == op and e.key == key), None)
        self.wait(find, f"{op} of {key}", progress=self.progress)
        return find()

    def messages_of(self, count, stream=STREAM):
        """All messages of the stream, once there are so many."""
        self.wait(lambda: self.count(stream) >= count, f"{count} messages", progress=lambda: self.count(stream))
        return self.stored(stream)


class Types(EventsTest):
    """Read by a snapshot and out of the log, a value looks the same; however the database is set."""

    def check(self, form):
        self.insert_types(1)
        for setting in ("datestyle = 'German'", "timezone = 'Asia/Tokyo'", "extra_float_digits = -5", "bytea_output = 'escape'",
                        "intervalstyle = 'postgres_verbose'"):
            self.sql(f"ALTER DATABASE {self.database} SET {setting}")
        self.start_capture({"format": form})
        self.wait_complete()
        self.insert_types(3)
        for op, first in (("r", 1), ("c", 3)):
            for number in (0, 1):
                key = first + number
                event = self.wait_event(op, {"id": key if form == "row" else str(key)})
                row = json.loads(json.dumps(event.row, default=float)) if form == "row" else event.row
                for name, kind, *values in TYPES:
                    with self.subTest(op=op, column=f"{name} {kind}", row=number):
                        self.assertEqual(row[name], values[number][1 if form == "row" else 2])
        self.assertEqual(self.sql("SELECT reason FROM boxhaul.capture_letter"), [])

    def test_rows(self):
        self.check("row")

    def test_texts(self):
        self.check("text")

    def test_bigint_as_a_string(self):
        self.start_capture({"int8": "string"})
        self.wait_complete()
        self.insert_types(1)
        self.assertEqual(self.wait_event("c", {"id": 1}).row["i8"], "9223372036854775807")

    def test_numbers_keep_every_digit(self):
        """Beyond 2^53, and beyond a double."""
        self.start_capture()
        self.wait_complete()
        self.sql("INSERT INTO legacy.types (id, i8, jb) VALUES (1, 9007199254740993, '[12345678901234567890.123456789]')")
        self.wait_event("c", {"id": 1})
        payload = self.stored(STREAM)[-1].payload
        self.assertIn(b'"i8":9007199254740993,', payload)
        self.assertIn(b'"jb":[12345678901234567890.123456789]', payload)


class Values(EventsTest):
    tables = ["legacy.docs"]

    def test_what_was_not_sent_is_named_and_never_null(self):
        """Pain 15: a value stored out of line that an update leaves alone is not in the log."""
        self.start_capture()
        self.wait_complete()
        self.sql("INSERT INTO legacy.docs VALUES (1, repeat('x', 10000), 1), (2, NULL, 1)")
        self.sql("UPDATE legacy.docs SET n = 2")
        event = self.wait_event("u", {"id": 1})
        self.assertEqual((event.row, event.unchanged), ({"id": 1, "n": 2}, ["doc"]))
        event = self.wait_event("u", {"id": 2})
        self.assertEqual((event.row, event.unchanged), ({"id": 2, "doc": None, "n": 2}, []))

    def test_with_the_whole_old_row_nothing_is_left_out(self):
        self.sql("ALTER TABLE legacy.docs REPLICA IDENTITY FULL")
        self.start_capture()
        self.wait_complete()
        self.sql("INSERT INTO legacy.docs VALUES (1, repeat('x', 10000), 1)")
        self.sql("UPDATE legacy.docs SET n = 2; DELETE FROM legacy.docs")
        event = self.wait_event("u", {"id": 1})
        self.assertEqual((event.row, event.unchanged), ({"id": 1, "doc": "x" * 10000, "n": 2}, []))
        self.assertEqual(event.old, {"id": 1, "doc": "x" * 10000, "n": 1})
        self.assertEqual(self.wait_event("d", {"id": 1}).old, {"id": 1, "doc": "x" * 10000, "n": 2})

    def test_another_key(self):
        self.start_capture()
        self.wait_complete()
        self.sql("INSERT INTO legacy.docs VALUES (1, 'a', 1)")
        self.sql("UPDATE legacy.docs SET id = 2")
        event = self.wait_event("u", {"id": 2})
        self.assertEqual((event.row, event.old), ({"id": 2, "doc": "a", "n": 1}, {"id": 1}))
        self.sql("DELETE FROM legacy.docs")
        self.assertEqual(self.wait_event("d", {"id": 2}).old, {"id": 2})

    def test_columns_are_told_before_the_first_row_that_has_them(self):
        """Pain 16: whoever reads knows what a value means. A transaction that changes the table and writes to it tells both."""
        self.start_capture()
        self.wait_complete()
        self.sql("INSERT INTO legacy.docs VALUES (1, 'a', 1)")
        self.sql("BEGIN; ALTER TABLE legacy.docs DROP n, ADD n text, ADD m int DEFAULT 5; INSERT INTO legacy.docs VALUES (2, 'b', 'c', 6); "
                 "ALTER TABLE legacy.docs RENAME doc TO document; UPDATE legacy.docs SET m = 7 WHERE id = 1; COMMIT")
        self.wait_event("u", {"id": 1})
        said, known = [], None
        for event in self.events():
            if event.op == "s":
                known = {column["name"] for column in event.body["columns"]}
                said.append(known)
            elif event.op in "cu":
                self.assertEqual(set(event.row) | set(event.unchanged), known)
        self.assertEqual(said, [{"id", "doc", "n"}, {"id", "doc", "n", "m"}, {"id", "document", "n", "m"}])
        row = next(e.row for e in self.events() if e.op == "c" and e.key == {"id": 2})
        self.assertEqual(row, {"id": 2, "doc": "b", "n": "c", "m": 6})

    def test_an_inserted_table_alone(self):
        """A table without a key, of which inserts alone are sent: its producers are never refused."""
        self.sql("CREATE TABLE legacy.visits (at int); GRANT SELECT ON legacy.visits TO boxhaul_capture")
        self.start_capture({"inserts_only": ["legacy.visits"], "subject": "cdc.{table}"})
        self.wait_complete()
        self.sql("INSERT INTO legacy.visits VALUES (1); UPDATE legacy.visits SET at = 2; DELETE FROM legacy.visits; INSERT INTO legacy.visits VALUES (1)")
        found = [m for m in self.messages_of(1) if m.subject == "cdc.visits"]
        self.wait(lambda: len([m for m in self.stored(STREAM) if m.subject == "cdc.visits" and b'"op":"c"' in m.payload]) == 2, "both", progress=lambda: found)


class Formats(EventsTest):
    tables = ["legacy.docs"]

    def write(self):
        self.sql("INSERT INTO legacy.docs VALUES (1, 'a', 1)")
        self.sql("UPDATE legacy.docs SET n = 2")
        self.sql("DELETE FROM legacy.docs")
        self.sql("TRUNCATE legacy.docs")

    def bodies(self):
        """Of the changes, without what tells of tables and snapshots."""
        def found():
            messages = [(m, json.loads(m.payload)) for m in self.stored(STREAM)]
            return [(m, body) for m, body in messages if body["op"] in tuple("cudt")]
        self.wait(lambda: len(found()) == 4, "four changes", progress=self.progress)
        return found()

    def test_debezium(self):
        self.start_capture({"format": "debezium", "snapshot": "none"})
        self.write()
        rows = [(body["op"], body["before"], body["after"]) for _, body in self.bodies()]
        self.assertEqual(rows, [("c", None, {"id": 1, "doc": "a", "n": 1}), ("u", None, {"id": 1, "doc": "a", "n": 2}), ("d", {"id": 1}, None), ("t", None, None)])
        message, body = self.bodies()[0]
        source = body["source"]
        self.assertEqual((source["name"], source["db"], source["schema"], source["table"], source["snapshot"]), (NAME, self.database, "legacy", "docs", "false"))
        lsn = int(message.headers["Boxhaul-Position"][0].split(".")[0].split("/")[1], 16)
        self.assertEqual(source["lsn"] & 0xffffffff, lsn)
        self.assertGreater(body["ts_ms"], 1_600_000_000_000)

    def test_cloudevents(self):
        self.start_capture({"format": "cloudevents", "snapshot": "none"})
        self.write()
        message, body = self.bodies()[0]
        headers = {name.lower(): values[0] for name, values in message.headers.items()}
        self.assertEqual((headers["ce-specversion"], headers["ce-id"], headers["ce-type"], headers["ce-partitionkey"], headers["ce-datacontenttype"]),
                         ("1.0", message.msg_id, "legacy.docs.c", "legacy.docs/1", "application/json"))
        self.assertEqual(headers["ce-time"], body["at"])

    def test_subjects(self):
        """A value stands in one token; what is of no row has a token all the same."""
        self.start_capture({"subject": "cdc.{op}.{schema}-{table}.{key}.{id}", "snapshot": "none"})
        self.write()
        self.assertEqual([m.subject for m, _ in self.bodies()],
                         ["cdc.c.legacy-docs.1.1", "cdc.u.legacy-docs.1.1", "cdc.d.legacy-docs.1.1", "cdc.t.legacy-docs._._"])

    def test_transactions(self):
        """Each says its place; the last one of each transaction, that it is that."""
        self.start_capture({"snapshot": "none"})
        self.sql("BEGIN; INSERT INTO legacy.docs VALUES (1, 'a', 1), (2, 'b', 2); UPDATE legacy.docs SET n = 3 WHERE id = 1; COMMIT")
        self.sql("DELETE FROM legacy.docs WHERE id = 2")
        def found():
            return [m for m in self.stored(STREAM) if json.loads(m.payload)["op"] in tuple("cud")]
        self.wait(lambda: len(found()) == 4, "four changes", progress=self.progress)
        headers = [{name: values[0] for name, values in m.headers.items()} for m in found()]
        self.assertEqual([h.get("Boxhaul-Last") for h in headers], [None, None, "1", "1"])
        self.assertEqual(len({h["Boxhaul-Tx"] for h in headers[:3]}), 1)
        self.assertNotEqual(headers[3]["Boxhaul-Tx"], headers[2]["Boxhaul-Tx"])
        for h in headers:
            self.assertEqual(h["Boxhaul-Position"], f"{h['Boxhaul-Tx']}.{h['Boxhaul-Index']}")
            self.assertRegex(h["Nats-Msg-Id"], "^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$")

    def test_no_utf8(self):
        """A database that does not know of encodings: the change becomes a dead letter that names the column."""
        self.pg.execute(f"CREATE DATABASE {self.database}_ascii ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
        self.addCleanup(self.leave, self.database)
        self.database += "_ascii"
        relay = self.add_capture({"tables": ["public.docs"], "snapshot": "none"})
        self.say(relay, "migrate")
        self.sql("CREATE TABLE public.docs (id int PRIMARY KEY, note text); GRANT SELECT ON public.docs TO boxhaul_capture")
        self.say(relay, "capture", "start", NAME)
        relay.start()
        self.wait(lambda: self.state() == "live", "the capture to be live")
        self.sql("INSERT INTO public.docs VALUES (1, E'a\\377'), (2, 'b')")
        self.wait_event("c", {"id": 2})
        (reason, key), = self.sql("SELECT reason, key FROM boxhaul.capture_letter")
        self.assertIn('the column "note" is not valid UTF-8', reason)
        self.assertIn("1", key)
        # The last one of a transaction is one: who waits for its end hears of it all the same.
        self.sql("INSERT INTO public.docs VALUES (3, 'c'), (4, E'a\\377')")
        self.wait_event("c", {"id": 3})
        def ends():
            return [m for m in self.stored(STREAM) if json.loads(m.payload)["op"] == "end"]
        self.wait(ends, "the end of the transaction")
        row = next(m for m in self.stored(STREAM) if json.loads(m.payload).get("key") == {"id": 3})
        self.assertEqual([(m.headers["Boxhaul-Last"], m.headers["Boxhaul-Tx"]) for m in ends()], [(["1"], row.headers["Boxhaul-Tx"])])
        self.assertNotIn("Boxhaul-Last", row.headers)

    def leave(self, database):
        """Drop the test's own database, and go back to this one."""
        for relay in self.relays:
            relay.close()
        self.wait(self._drop_slots, "the slots to be free")
        self.pg.execute(f"DROP DATABASE {self.database} WITH (FORCE)")
        self.database = database


# The tables of the libraries, as they make them; a row; and the message: subject, key, headers beside ours, payload, id.
ID = "11111111-2222-3333-4444-555555555555"
OUTBOXES = {
    "debezium": ("CREATE TABLE legacy.outbox (id uuid PRIMARY KEY, aggregatetype varchar(255) NOT NULL, aggregateid varchar(255) NOT NULL, type varchar(255) NOT NULL, payload jsonb)",
                 f"INSERT INTO legacy.outbox VALUES ('{ID}', 'order', '42', 'OrderPaid', '{{\"a\": 1}}')",
                 ("outbox.event.order", "42", {"type": "OrderPaid"}, b'{"a": 1}', ID)),
    "pg-transactional-outbox": (
        "CREATE TABLE legacy.outbox (id uuid PRIMARY KEY, aggregate_type text NOT NULL, aggregate_id text NOT NULL, message_type text NOT NULL, segment text, "
        "concurrency text NOT NULL DEFAULT 'sequential', payload jsonb NOT NULL, metadata jsonb, locked_until timestamptz NOT NULL DEFAULT to_timestamp(0), "
        "created_at timestamptz NOT NULL DEFAULT clock_timestamp(), processed_at timestamptz, abandoned_at timestamptz, started_attempts smallint NOT NULL DEFAULT 0, "
        "finished_attempts smallint NOT NULL DEFAULT 0)",
        f"INSERT INTO legacy.outbox (id, aggregate_type, aggregate_id, message_type, payload, metadata) VALUES ('{ID}', 'movie', 'm1', 'movie.made', '1', '{{\"x\": \"y\"}}')",
        ("outbox.movie.movie%2Emade", "m1", {"aggregate_type": "movie", "aggregate_id": "m1", "message_type": "movie.made", "metadata": '{"x": "y"}'}, b"1", ID)),
    "go-outbox": ("CREATE TABLE legacy.outbox (id uuid PRIMARY KEY, stream text NOT NULL, topic text NOT NULL, payload bytea NOT NULL, headers jsonb, target jsonb, "
                  "available_at timestamptz NOT NULL DEFAULT now(), status smallint NOT NULL DEFAULT 0)",
                  f"INSERT INTO legacy.outbox (id, stream, topic, payload, headers, target) VALUES ('{ID}', 'local', 'account.debited', '\\x00ff', "
                  "'{\"traceparent\": \"00-1\"}', '{\"key\": \"42\"}')",
                  ("outbox.account.debited", "42", {"traceparent": "00-1"}, b"\x00\xff", ID)),
    "watermill": ('CREATE TABLE legacy.outbox ("offset" bigserial, "uuid" varchar(36) NOT NULL, "created_at" timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP, '
                  '"payload" json DEFAULT NULL, "metadata" json DEFAULT NULL, "transaction_id" xid8 NOT NULL, PRIMARY KEY ("transaction_id", "offset"))',
                  f"INSERT INTO legacy.outbox (uuid, payload, metadata, transaction_id) VALUES ('{ID}', '{{\"a\":  1}}', '{{\"x\": \"y\"}}', pg_current_xact_id())",
                  ("outbox.outbox", None, {"x": "y"}, b'{"a":  1}', ID)),
    "masstransit": ("CREATE TABLE legacy.outbox (sequence_number bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, sent_time timestamptz NOT NULL DEFAULT now(), headers text, "
                    "properties text, outbox_id uuid, message_id uuid NOT NULL, content_type varchar(256) NOT NULL, message_type text NOT NULL, body text NOT NULL, "
                    "correlation_id uuid)",
                    f"INSERT INTO legacy.outbox (message_id, content_type, message_type, body, correlation_id) VALUES ('{ID}', 'application/vnd.masstransit+json', "
                    f"'urn:message:Shop.Contracts:OrderPaid;urn:message:X:Y', '{{}}', '{ID}')",
                    ("outbox.Shop.Contracts.OrderPaid", ID, {"Content-Type": "application/vnd.masstransit+json"}, b"{}", ID)),
}


class Outboxes(EventsTest):
    """Outbox tables as other libraries make them: out of the log, and by a trigger, the message is the same."""

    tables = ["legacy.docs"]

    def check(self, message, want):
        subject, key, headers, payload, id_ = want
        ours = {name: values[0] for name, values in message.headers.items() if not name.startswith(("Boxhaul-", "Nats-"))}
        self.assertEqual((message.subject, message.headers.get("Boxhaul-Key", [None])[0], ours, message.payload, message.msg_id),
                         (subject, key, headers, payload, id_))

    def from_the_log(self, preset):
        table, row, want = OUTBOXES[preset]
        self.sql(table)
        self.start_capture({"snapshot": "none"}, outbox_tables=[{"table": "legacy.outbox", "preset": preset}])
        self.sql(row)
        self.sql("UPDATE legacy.outbox SET payload = payload" if preset != "masstransit" else "UPDATE legacy.outbox SET body = body")
        self.sql("DELETE FROM legacy.outbox")
        self.sql("INSERT INTO legacy.docs VALUES (1)")
        self.wait_event_of_docs()
        messages = [m for m in self.stored(STREAM) if m.subject.startswith("outbox.")]
        self.assertEqual(len(messages), 1, "what marks or deletes a row is no message")
        self.check(messages[0], want)

    def wait_event_of_docs(self):
        self.wait(lambda: any(m.subject.endswith("legacy.docs") and b'"op":"c"' in m.payload for m in self.stored(STREAM)), "what came behind", progress=self.progress)

    def by_a_trigger(self, preset):
        table, row, want = OUTBOXES[preset]
        self.sql(table)
        relay = self.add_relay(streams=[{"name": "OUT", "subjects": ["outbox.>"], "create": True}],
                               outbox_tables=[{"table": "legacy.outbox", "preset": preset, "source": "trigger"}])
        relay.configure({name: group for name, group in relay.settings.items() if name != "capture"})
        self.assertIn("each new row of legacy.outbox is copied", self.say(relay, "migrate"))
        self.assertIn("nothing to do", self.say(relay, "migrate"))
        relay.start()
        self.sql(row)
        self.check(self.messages_of(1, "OUT")[0], want)

    def test_debezium(self):
        self.from_the_log("debezium")

    def test_pg_transactional_outbox(self):
        self.from_the_log("pg-transactional-outbox")

    def test_go_outbox(self):
        self.from_the_log("go-outbox")

    def test_watermill(self):
        self.from_the_log("watermill")

    def test_masstransit(self):
        self.from_the_log("masstransit")

    def test_debezium_by_a_trigger(self):
        self.by_a_trigger("debezium")

    def test_pg_transactional_outbox_by_a_trigger(self):
        self.by_a_trigger("pg-transactional-outbox")

    def test_go_outbox_by_a_trigger(self):
        self.by_a_trigger("go-outbox")

    def test_watermill_by_a_trigger(self):
        self.by_a_trigger("watermill")

    def test_masstransit_by_a_trigger(self):
        self.by_a_trigger("masstransit")


class Messages(EventsTest):
    tables = ["legacy.docs"]

    def setUp(self):
        super().setUp()
        if int(self.sql("SHOW server_version_num")[0][0]) < 140000:
            self.skipTest("pgoutput sends no messages before PostgreSQL 14")

    def test_messages_of_others_and_of_emit(self):
        self.start_capture({"snapshot": "none"}, messages=[{"prefix": "shop", "subject": "shop.{name}"}, {"prefix": "boxhaul", "subject": "orders.>"}])
        self.sql("SELECT pg_logical_emit_message(true, 'shop/paid/order-42', '{\"a\":1}')")
        self.sql("SELECT pg_logical_emit_message(true, 'shop/late', '\\x00ff'::bytea)")
        self.sql("SELECT pg_logical_emit_message(true, 'other/paid/x', 'nothing')")
        self.sql("SELECT boxhaul.emit('orders.paid', '\\x00ff'::bytea, key => 'k', headers => '{\"x\": \"y\"}')")
        self.sql("SELECT boxhaul.emit('orders.late', '{\"a\": 1}'::jsonb)")
        self.sql("BEGIN; SELECT boxhaul.emit('orders.never', 'x'); ROLLBACK")
        self.sql("INSERT INTO legacy.docs VALUES (1)")
        self.wait(lambda: any(b'"op":"c"' in m.payload for m in self.stored(STREAM)), "what came behind", progress=self.progress)
        found = [(m.subject, m.headers.get("Boxhaul-Key", [None])[0], m.headers.get("x", [None])[0], m.payload)
                 for m in self.stored(STREAM) if not m.subject.startswith("cdc.")]
        self.assertEqual(found, [("shop.paid", "order-42", None, b'{"a":1}'), ("shop.late", None, None, b"\x00\xff"), ("orders.paid", "k", "y", b"\x00\xff"),
                                 ("orders.late", None, None, b'{"a": 1}')])

    def test_a_message_that_nobody_can_read(self):
        """Anybody may write with emit()'s prefix: what is no content of it becomes a dead letter, and the rest goes on."""
        self.start_capture({"snapshot": "none"}, messages=[{"prefix": "boxhaul", "subject": "orders.>"}])
        self.sql("SELECT pg_logical_emit_message(true, 'boxhaul', 'no content')")
        self.sql("SELECT boxhaul.emit('elsewhere.paid', 'x')")
        self.sql("SELECT boxhaul.emit('orders.paid', 'behind')")
        self.wait(lambda: [m.payload for m in self.stored(STREAM) if m.subject == "orders.paid"] == [b"behind"], "what came behind", progress=self.progress)
        self.wait(lambda: self.sql("SELECT count(*) FROM boxhaul.capture_letter") == [(2,)], "two dead letters")
        reasons = " ".join(reason for (reason,) in self.sql("SELECT reason FROM boxhaul.capture_letter ORDER BY id"))
        self.assertIn("boxhaul.emit()", reasons)
        self.assertIn('messages.subject = "orders.>" does not take its subject', reasons)


if __name__ == "__main__":
    unittest.main()
