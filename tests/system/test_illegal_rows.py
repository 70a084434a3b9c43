"""Rows that can never be sent. Where the CHECKs are on, the producer learns it in its own transaction. Where somebody
got around them, the row becomes a dead letter with its reason; nothing of it reaches the broker, and its neighbours
arrive as if it were not there, or wait for an operator, as configured."""

import contextlib
import json
import os
import random
import string
import unittest

import psycopg2

from harness import SERVICE, STREAM, SystemTest
from nats_client import Client, new_inbox

VECTORS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../unit/message_vectors.txt")

REASONS = {
    "SUBJECT_NULL": "subject is NULL",
    "SUBJECT_EMPTY": "subject is empty",
    "SUBJECT_CHARACTER": "subject holds a space or a control character",
    "SUBJECT_WILDCARD": "subject holds a wildcard (* or >)",
    "SUBJECT_TOKEN": "subject has an empty token (leading, trailing or double dot)",
    "SUBJECT_UTF8": "subject is not valid UTF-8",
    "SUBJECT_LONG": "subject is longer than 1024 bytes",
    "SUBJECT_RESERVED": "subject is reserved ($... or _INBOX)",
    "HEADERS_SHAPE": "headers are not a JSON object of strings",
    "HEADER_NAME": "a header name is empty or holds a space, a colon or a character that is not ASCII",
    "HEADER_VALUE": "a header value holds a control character",
    "HEADER_RESERVED": "a header name starts with Nats-, which is reserved",
    "HEADERS_LONG": "headers are longer than 49152 bytes",
    "PAYLOAD_NULL": "payload is NULL",
    "MESSAGE_ID_NULL": "message_id is NULL",
    "MESSAGE_LONG": "message is larger than max_message_size or the server's max_payload",
}
LARGER_THAN_THE_STREAM_TAKES = ("message is larger than the stream's max_msg_size (10054): "
                                "message size exceeds maximum allowed")

LARGEST = (1 << 20) - 256  # payload and headers of a message, with the default max_message_size


def noise(size):
    """Text that does not compress: the server's idea of a value's size is its compressed one."""
    return "".join(random.Random(size).choices(string.ascii_letters, k=size))


def vectors():
    """(what it is, verdict, the columns it sets) of each line of the vectors; the verdict "ok" is legal."""
    with open(VECTORS, encoding="utf-8") as f:
        for line in f:
            if line.strip() and not line.startswith("#"):
                kind, verdict, text = line.rstrip("\n").split("\t", 2)
                yield f"{kind} {text}", verdict, {kind: json.loads(text) if kind == "subject" else text}


ILLEGAL = [vector for vector in vectors() if vector[1] != "ok"] + [
    ("a subject of 1025 bytes", "SUBJECT_LONG", {"subject": "orders." + "x" * 1018}),
    ("a subject that is never fetched", "SUBJECT_LONG", {"subject": "orders." + "x" * 5000}),
    ("headers of 49153 bytes", "HEADERS_LONG", {"headers": json.dumps({"a": noise(49153 - 9)})}),
    ("headers that shrink in the table", "HEADERS_LONG", {"headers": json.dumps({"a": "x" * 1000000})}),
    ("headers that do not", "HEADERS_LONG", {"headers": json.dumps({"a": noise(200000)})}),
    ("a payload one byte too large", "MESSAGE_LONG", {"payload": b"x" * (LARGEST + 1)}),
    ("payload and headers one byte too large", "MESSAGE_LONG",
     {"payload": b"x" * (LARGEST - 9), "headers": '{"a": "b"}'}),
    ("no subject", "SUBJECT_NULL", {"subject": None}),
    ("no payload", "PAYLOAD_NULL", {"payload": None}),
]
# What no CHECK knows or a producer cannot write.
ILLEGAL_FOR_THE_RELAY = ILLEGAL + [
    ("a command to JetStream", "SUBJECT_RESERVED", {"subject": "$JS.API.STREAM.DELETE.CANARY"}),
    ("a second command, smuggled in", "SUBJECT_CHARACTER", {"subject": "orders.x 0\r\n\r\nPUB canary.x"}),
    ("somebody's reply", "SUBJECT_RESERVED", {"subject": new_inbox()}),
    ("no message id", "MESSAGE_ID_NULL", {"message_id": None}),
]
LEGAL = [vector for vector in vectors() if vector[1] == "ok"] + [
    ("a subject of 1024 bytes", "ok", {"subject": "x" * 1017}),
    ("headers of 49152 bytes", "ok", {"headers": json.dumps({"a": noise(49152 - 9)})}),
    ("a payload as large as can be", "ok", {"payload": b"x" * LARGEST}),
    ("payload and headers as large as can be", "ok", {"payload": b"x" * (LARGEST - 10), "headers": '{"a": "b"}'}),
    ("an empty payload", "ok", {"payload": b""}),
    ("a payload of every byte", "ok", {"payload": bytes(range(256)) + b"\r\n\0\r\nPUB canary.x 0\r\n\r\n"}),
]
CONSTRAINTS = {"SUBJECT": "outbox_subject", "HEADER": "outbox_headers", "HEADERS": "outbox_headers",
               "MESSAGE": "outbox_size"}
REMOVE_THE_CHECKS = """ALTER TABLE boxhaul.outbox
    DROP CONSTRAINT outbox_subject, DROP CONSTRAINT outbox_headers, DROP CONSTRAINT outbox_size, DROP CONSTRAINT outbox_key,
    ALTER subject DROP NOT NULL, ALTER payload DROP NOT NULL, ALTER message_id DROP NOT NULL"""


class RowsTest(SystemTest):
    def setUp(self):
        super().setUp()
        self.connection = self.connect()

    def insert(self, connection=None, **row):
        """Insert a row; returns its id."""
        row = {"subject": "orders.x", "payload": b"x", **row}
        with (connection or self.connection).cursor() as cursor:
            cursor.execute(f"INSERT INTO boxhaul.outbox ({', '.join(row)}) VALUES ({', '.join(['%s'] * len(row))}) "
                           "RETURNING id", list(row.values()))
            return cursor.fetchone()[0]

    def good(self, key, number):
        return self.insert(key=key, payload=f"{key}/{number}".encode())

    def letters(self):
        return dict(self.sql("SELECT id, reason FROM boxhaul.dead_letter"))

    def letter_of(self, row):
        """(reason, held, decision), None without one."""
        found = self.sql("SELECT reason, held, decision FROM boxhaul.dead_letter WHERE id = %s", (row,))
        return found[0] if found else None

    def message(self, row):
        return self.sql("SELECT state, last_error FROM boxhaul.messages WHERE id = %s", (row,))[0]

    def lanes(self):
        """What is stored of each key, from payloads "key/number/...": {key: [numbers]}."""
        lanes = {}
        for message in self.stored():
            key, number, *_ = message.payload.decode().split("/")
            lanes.setdefault(key, []).append(int(number))
        return lanes

    def wait_for_lane(self, key, numbers):
        self.wait(lambda: len(self.lanes().get(key, [])) >= len(numbers), f"{numbers} of {key} to be stored")
        self.assertEqual(self.lanes()[key], numbers)


class Checks(RowsTest):
    """In the producer's own transaction, with a producer's rights."""

    def setUp(self):
        super().setUp()
        self.connection = self.connect(SERVICE)

    def test_the_checks_refuse_what_can_never_be_sent(self):
        for what, verdict, row in ILLEGAL:
            with self.subTest(what[:100]), self.assertRaises(psycopg2.IntegrityError) as caught:
                self.insert(**row)
            if verdict.endswith("NULL"):
                self.assertIsInstance(caught.exception, psycopg2.errors.NotNullViolation)
            else:
                self.assertEqual(caught.exception.diag.constraint_name, CONSTRAINTS[verdict.split("_")[0]], what)
        self.assertEqual(self.newest(), 0)

    def test_the_checks_let_everything_else_pass(self):
        for _what, _verdict, row in LEGAL:
            self.insert(**row)
        self.assertEqual(self.sql("SELECT count(*) FROM boxhaul.outbox"), [(len(LEGAL),)])

    def test_a_refused_row_takes_the_business_transaction_with_it(self):
        writer = self.writer("writer")
        writer.begin().execute("UPDATE shop.orders SET version = 99 WHERE id = 'order-1'")
        with self.assertRaises(psycopg2.errors.CheckViolation):
            writer.write(subject="orders.*")
        writer.execute("COMMIT")
        self.assertEqual(self.sql("SELECT version FROM shop.orders WHERE id = 'order-1'"), [(0,)])


class PastTheChecks(RowsTest):
    def setUp(self):
        super().setUp()
        self.sql(REMOVE_THE_CHECKS)

    def open_streams(self):
        with self.jetstream() as jetstream:
            # A Nats-Rollup that came through would empty the stream.
            jetstream.create(STREAM, ["orders.>"], allow_rollup_hdrs=True)
            jetstream.create("CANARY", ["canary.>"])
            jetstream.publish("canary.x", b"alive")

    def test_each_kind_is_a_dead_letter_and_its_neighbours_arrive(self):
        self.open_streams()
        with self.eavesdrop() as subjects:
            relay = self.start_relay()
            dead, lanes = self.insert_illegal_rows()
            self.wait_settled()
        self.assertEqual(self.letters(), dead)
        self.assertEqual(self.lanes(), lanes)
        self.assertEqual(self.sql("SELECT count(*) FROM boxhaul.dead_letter JOIN boxhaul.outbox o USING (id) "
                                  "WHERE (dead_letter.subject, dead_letter.key, dead_letter.payload, "
                                  "dead_letter.headers) IS NOT DISTINCT FROM (o.subject, o.key, o.payload, o.headers)"),
                         [(len(dead),)], "a letter holds the whole row")
        self.assertEqual(dict(self.sql("SELECT id, last_error FROM boxhaul.messages WHERE state = 'dead'")), dead)
        self.assertEqual(subjects, {"orders.x", "$JS.API.STREAM.INFO.ORDERS"}, "all that the relay published to")
        self.assertEqual([message.payload for message in self.stored("CANARY")], [b"alive"])
        self.assertTrue(relay.alive())
        self.assertEqual(self.status(relay)["dead_letters_total"], len(dead))

    def insert_illegal_rows(self):
        """Each with a key, between two good rows of that key, and once without a key. Returns what must come of it:
        {id: reason} and {key: numbers}."""
        dead, lanes = {}, {}
        self.connection.autocommit = False
        for n, (_what, verdict, row) in enumerate(ILLEGAL_FOR_THE_RELAY):
            key = f"lane {n}"
            lanes[key] = [1, 2]
            self.good(key, 1)
            dead[self.insert(key=key, **row)] = REASONS[verdict]
            dead[self.insert(**row)] = REASONS[verdict]
            self.good(key, 2)
        self.connection.commit()
        return dead, lanes

    @contextlib.contextmanager
    def eavesdrop(self):
        """A set; at the end all subjects that clients published to meanwhile stand in it, inboxes aside."""
        subjects = set()
        with Client(self.nats.url()) as client:
            sid = client.subscribe(">")
            client.flush()
            yield subjects
            client.publish(end := new_inbox())
            while (subject := client.next(sid).subject) != end:
                if not subject.startswith(("_INBOX.", "$JS.EVENT.")):
                    subjects.add(subject)

    def test_what_is_legal_arrives_as_it_was_written(self):
        self.start_relay()
        expected = []
        for _what, _verdict, row in LEGAL:
            row = {"payload": b"x", "headers": None, **row, "subject": "orders." + row.get("subject", "x")}
            self.insert(key="one lane", **row)
            headers = json.loads(row["headers"] or "{}")
            if len(row["payload"]) + len(row["headers"] or "") + len("one%20lane") <= LARGEST:
                headers["Boxhaul-Key"] = "one%20lane"
            expected.append((row["subject"], {name: [value.strip(" ")] for name, value in headers.items()},
                             row["payload"]))
        self.wait_settled()
        self.assertEqual(self.letters(), {})
        for message, row in zip(self.stored(), expected, strict=True):
            message.headers.pop("Nats-Msg-Id")
            self.assertEqual((message.subject, message.headers, message.payload), row)

    def test_a_database_without_an_encoding(self):
        """SQL_ASCII takes every byte for text."""
        self.connection.close()
        self.pg.execute(f"DROP DATABASE {self.database} WITH (FORCE)")
        self.pg.execute(f"CREATE DATABASE {self.database} ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' "
                        "TEMPLATE template0")
        relay = self.add_relay()
        self.assertEqual(relay.command("migrate").returncode, 0)
        self.sql(REMOVE_THE_CHECKS)
        self.connection = self.connect()
        relay.start()
        for number, (subject, key, headers) in enumerate((
                (r"'orders.x'", r"'k'", "NULL"),
                (r"E'orders.\xff'", r"'k'", "NULL"),
                (r"E'orders.\xc3\xa9'", r"E'k\xff'", "NULL"),
                (r"'orders.x'", r"'k'", r"""E'{"a": "\xc0\x80"}'"""),
                (r"'orders.y'", r"'k'", "NULL"))):
            self.sql(f"INSERT INTO boxhaul.outbox (subject, key, payload, headers) "
                     f"VALUES ({subject}, {key}, '{number}', {headers})")
        self.wait_settled()
        self.assertEqual(self.letters(), {2: REASONS["SUBJECT_UTF8"], 4: REASONS["HEADERS_SHAPE"]})
        self.assertEqual([(message.subject, message.payload) for message in self.stored()],
                         [("orders.x", b"0"), ("orders.é", b"2"), ("orders.y", b"4")])

    def test_a_dead_letter_that_cannot_be_written_is_not_forgotten(self):
        self.sql("""CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN RAISE EXCEPTION ''no room for dead letters''; END';
            CREATE TRIGGER refuse BEFORE INSERT ON boxhaul.dead_letter EXECUTE FUNCTION refuse()""")
        relay = self.start_relay()
        self.good("k", 1)
        bad = self.insert(key="k", subject="orders.*")
        self.good("k", 2)
        self.wait(lambda: "no room for dead letters" in relay.log_tail(1000), "the log to say what is wrong")
        self.assertLess(self.position(), bad)
        self.sql("DROP TRIGGER refuse ON boxhaul.dead_letter")
        self.wait_settled()
        self.assertEqual(self.letters(), {bad: REASONS["SUBJECT_WILDCARD"]})
        self.assertEqual(self.lanes(), {"k": [1, 2]})


class Hold(RowsTest):
    """poison = "hold": a dead letter's lane waits for an operator."""

    LANES = ("discarded", "mended", "not mended", "decided while nobody runs")

    def setUp(self):
        super().setUp()
        self.sql(REMOVE_THE_CHECKS)

    def decide(self, decision, row):
        self.sql(f"SELECT boxhaul.{decision}(%s)", (row,))

    def mend(self, row):
        self.sql("UPDATE boxhaul.outbox SET subject = 'orders.mended' WHERE id = %s", (row,))

    def test_a_lane_waits_for_an_operator(self):
        relay = self.start_relay(delivery={"poison": "hold"})
        bad = {}
        for key in self.LANES:
            self.good(key, 1)
            bad[key] = self.insert(key=key, subject="orders.*", payload=f"{key}/2".encode())
            behind = self.good(key, 3)
        unkeyed = self.insert(subject="orders.*")
        self.good("other", 1)
        self.wait(lambda: len(self.letters()) == len(bad) + 1, "the letters")
        self.wait_for_lane("other", [1])

        relay.stop()
        relay.start()
        for key in self.LANES:
            self.good(key, 4)
        self.good("other", 2)
        self.wait_for_lane("other", [1, 2])
        self.assertEqual(self.lanes(), {"other": [1, 2], **{key: [1] for key in self.LANES}})
        for key in self.LANES:
            self.assertEqual(self.letter_of(bad[key]), (REASONS["SUBJECT_WILDCARD"], True, None))
            self.assertEqual(self.message(bad[key]), ("held", REASONS["SUBJECT_WILDCARD"]))
        self.wait(lambda: self.message(behind)[0] == "parked", "the row behind to be parked")
        self.assertEqual(self.letter_of(unkeyed), (REASONS["SUBJECT_WILDCARD"], False, None), "no lane to hold")
        self.assertEqual(self.message(unkeyed), ("dead", REASONS["SUBJECT_WILDCARD"]))

        self.decide("discard", bad["discarded"])
        self.wait_for_lane("discarded", [1, 3, 4])
        self.mend(bad["mended"])
        self.decide("redrive", bad["mended"])
        self.wait_for_lane("mended", [1, 2, 3, 4])
        self.decide("redrive", bad["not mended"])
        self.wait(lambda: self.letter_of(bad["not mended"])[2] is None, "the letter to die again")
        self.assertEqual(self.message(bad["not mended"]), ("held", REASONS["SUBJECT_WILDCARD"]))
        self.assertEqual(self.lanes()["not mended"], [1])
        relay.stop()
        self.decide("discard", bad["not mended"])
        self.mend(bad["decided while nobody runs"])
        self.decide("redrive", bad["decided while nobody runs"])
        relay.start()
        self.wait_for_lane("not mended", [1, 3, 4])
        self.wait_for_lane("decided while nobody runs", [1, 2, 3, 4])
        self.wait_settled()
        self.assertEqual(list(self.letters()), [unkeyed])

    def test_the_parked_rows_tell_why(self):
        self.start_relay(delivery={"poison": "hold"})
        self.insert(key="k", subject="orders.*")
        behind = self.good("k", 1)
        self.wait(lambda: self.message(behind) == ("parked", REASONS["SUBJECT_WILDCARD"]),
                  "the row behind to be parked, with the reason")


class BrokerLimits(RowsTest):
    """Poison that only the broker can tell, and what becomes of it later."""

    nats_settings = {"max_payload": 65536}

    def setUp(self):
        super().setUp()
        with self.jetstream() as jetstream:
            jetstream.create(STREAM, ["orders.>"], max_msg_size=1000)

    def large(self, key, number, size=2000):
        return self.insert(key=key, payload=f"{key}/{number}/".encode().ljust(size, b"."))

    def widen(self, size=-1):
        with self.jetstream() as jetstream:
            jetstream.update(STREAM, max_msg_size=size)

    def test_skip_then_redrive_or_discard(self):
        self.start_relay()
        self.good("k", 1)
        first, second = self.large("k", 2), self.large("k", 3)
        self.good("k", 4)
        self.wait_settled()
        self.assertEqual(self.letters(), dict.fromkeys((first, second), LARGER_THAN_THE_STREAM_TAKES))
        self.assertEqual(self.lanes(), {"k": [1, 4]})
        self.assertEqual(self.message(first), ("dead", LARGER_THAN_THE_STREAM_TAKES))

        self.widen()
        self.sql("SELECT boxhaul.redrive(%s), boxhaul.discard(%s)", (first, second))
        self.wait_for_lane("k", [1, 4, 2])
        self.wait_settled()
        self.assertEqual(self.letters(), {})
        # Under the same message id: had the first attempt been stored after all, the stream would know it.
        same = self.sql("SELECT message_id FROM boxhaul.outbox WHERE id = %s", (first,))[0][0]
        self.assertEqual(self.stored()[-1].msg_id, same)

    def test_hold_then_redrive_in_its_old_place(self):
        self.start_relay(delivery={"poison": "hold"})
        self.good("k", 1)
        bad = self.large("k", 2)
        self.good("k", 3)
        self.good("other", 1)
        self.wait_for_lane("other", [1])
        self.wait(lambda: self.message(bad) == ("held", LARGER_THAN_THE_STREAM_TAKES), "the letter")
        self.widen()
        self.sql("SELECT boxhaul.redrive(%s)", (bad,))
        self.wait_for_lane("k", [1, 2, 3])
        self.wait_settled()
        self.assertEqual(self.letters(), {})

    def test_no_decision_about_what_is_no_dead_letter(self):
        for decision in ("redrive", "discard"):
            with self.assertRaisesRegex(psycopg2.Error, "there is no dead letter 4711") as caught:
                self.sql(f"SELECT boxhaul.{decision}(4711)")
            self.assertEqual(caught.exception.pgcode, "P0002")

    def test_a_letter_that_is_still_illegal_is_not_redriven(self):
        self.sql("INSERT INTO boxhaul.dead_letter (id, subject, payload, reason, attempts, held) "
                 "VALUES (7, 'orders.*', '', 'test', 0, false)")
        with self.assertRaises(psycopg2.errors.CheckViolation):
            self.sql("SELECT boxhaul.redrive(7)")
        self.assertEqual(self.letters(), {7: "test"})

    def test_the_servers_max_payload_counts(self):
        self.widen()
        self.start_relay()
        self.large("k", 1, 65536 - 256)
        bad = self.large("k", 2, 65536 - 255)
        self.good("k", 3)
        self.wait_settled()
        self.assertEqual(self.letters(), {bad: REASONS["MESSAGE_LONG"]})
        self.assertEqual(self.lanes(), {"k": [1, 3]})

    def test_max_message_size_counts(self):
        self.widen()
        self.start_relay(outbox={"max_message_size": "4KiB"})
        self.large("k", 1, 4096 - 256)
        bad = self.large("k", 2, 4096 - 255)
        self.good("k", 3)
        self.wait_settled()
        self.assertEqual(self.letters(), {bad: REASONS["MESSAGE_LONG"]})
        self.assertEqual(self.lanes(), {"k": [1, 3]})


if __name__ == "__main__":
    unittest.main()
