"""Boxhaul-Key, by which whoever takes messages keeps their order, and Boxhaul-... at large: ours alone."""

import json
import os
import unittest
import urllib.parse

import psycopg2

from harness import SERVICE, SystemTest

MEBI = 1 << 20
LARGEST = MEBI - 256  # payload, headers and key of a message, with the default max_message_size
SQL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "sql")
ODD_KEYS = ["order-42", "", " ", "100%", 'a"b', "a: b", "line\r\nNats-Msg-Id: x\r\n\r\nPUB evil 0\r\n", "tab\t", "größe 新しい 🚚", "\x01\x7f",
            "%41", "k" * 15000, "\u9375" * 3000]
RESERVED = ["Boxhaul-Key", "boxhaul-key", "BOXHAUL-Replay-Of", "Boxhaul-", "boxhaul-saga"]


def sql_file(name):
    with open(os.path.join(SQL, name), encoding="utf-8") as f:
        return f.read()


class KeysTest(SystemTest):
    def insert(self, key="k", payload=b"x", headers=None, user=None):
        """Returns (id, message id)."""
        return self.sql("INSERT INTO boxhaul.outbox (subject, key, payload, headers) VALUES ('orders.x', %s, %s, %s::jsonb) "
                        "RETURNING id, message_id::text", (key, payload, headers and json.dumps(headers)), user)[0]

    def headers(self):
        """{message id: its other headers}"""
        return {m.headers.pop("Nats-Msg-Id")[0]: m.headers for m in self.stored()}

    def as_before(self):
        """The outbox as it was before there was a header for the key: rows that the CHECKs of today refuse get in."""
        self.sql("ALTER TABLE boxhaul.outbox DROP CONSTRAINT outbox_headers, DROP CONSTRAINT outbox_size, DROP CONSTRAINT outbox_key")
        self.sql("""ALTER TABLE boxhaul.outbox ADD CONSTRAINT outbox_headers CHECK (jsonb_typeof(headers) = 'object'),
                    ADD CONSTRAINT outbox_size CHECK (octet_length(payload) + coalesce(octet_length(headers::text), 0) <= 1048320)""")


class Keys(KeysTest):
    def check(self, **groups):
        self.start_relay(**groups)
        written = {self.insert(key)[1]: key for key in ODD_KEYS}
        without = self.insert(None)[1]
        self.wait_settled()
        got = self.headers()
        for message_id, key in written.items():
            (line,) = got[message_id]["Boxhaul-Key"]
            self.assertTrue(line.isascii() and line.isprintable() and " " not in line, line)
            self.assertEqual(urllib.parse.unquote(line), key)
            if groups and key:
                self.assertEqual(got[message_id]["ce-partitionkey"], [line])
        self.assertNotIn("Boxhaul-Key", got[without])

    def test_of_any_kind(self):
        self.check()

    def test_of_any_kind_as_events(self):
        self.check(envelope="cloudevents")

    def test_beside_headers_of_the_row(self):
        self.start_relay()
        _, message_id = self.insert("a b", headers={"a": "b", "x-boxhaul-key": "mine", "Boxhaul": "too"})
        self.wait_settled()
        self.assertEqual(self.headers()[message_id],
                         {"Boxhaul-Key": ["a%20b"], "a": ["b"], "x-boxhaul-key": ["mine"], "Boxhaul": ["too"]})

    def test_what_fits_to_the_byte(self):
        """The CHECK and the relay count alike: what a producer may insert goes with its key; one byte more he may not."""
        relay = self.start_relay()
        shapes = [(key, headers) for key in ("k" * 100, "ß" * 100, "\u9375%\" " * 40, "") for headers in (None, {"a": "b" * 500})]
        written = {}
        for key, headers in shapes:
            size = LARGEST - len(urllib.parse.quote(key, safe="!#$&'()*+,-./:;<=>?@[\\]^_`{|}~")) - len(json.dumps(headers) if headers else "")
            written[self.insert(key, bytes(size), headers)[1]] = key
            for statement in ("INSERT INTO boxhaul.outbox (subject, key, payload, headers) VALUES ('orders.x', %s, %s, %s::jsonb)",
                              "SELECT boxhaul.publish('orders.x', key => %s, payload => %s, headers => %s::jsonb)"):
                with self.assertRaises(psycopg2.errors.CheckViolation) as refused:
                    self.sql(statement, (key, bytes(size + 1), headers and json.dumps(headers)), SERVICE)
                self.assertEqual(refused.exception.diag.constraint_name, "outbox_size")
        self.assertIn("Payload, headers and key together have up to 1048320 bytes", refused.exception.diag.message_hint)
        self.wait_settled()
        got = self.headers()
        self.assertEqual({i: urllib.parse.unquote(got[i]["Boxhaul-Key"][0]) for i in written}, written)
        self.assertEqual(self.metric(relay, "keyless_total"), 0)

    def test_a_header_has_room_for_the_longest(self):
        relay = self.start_relay()
        longest = self.insert("\u9375" * 7222 + "k")[1]  # 64,999 bytes
        beside = self.insert("k" * (65000 - 40009 - 3), headers={"a": "b" * 40000})[1]
        for key, headers in (("\u9375" * 7223, None), ("k" * 25001, {"a": "b" * 40000})):
            for statement in ("INSERT INTO boxhaul.outgoing (subject, key, headers) VALUES ('orders.x', %s, %s::jsonb)",
                              "INSERT INTO boxhaul.outbox (subject, key, headers) VALUES ('orders.x', %s, %s::jsonb)"):
                with self.assertRaises(psycopg2.errors.CheckViolation) as refused:
                    self.sql(statement, (key, headers and json.dumps(headers)), SERVICE)
                self.assertEqual(refused.exception.diag.constraint_name, "outbox_key")
        self.wait_settled()
        got = self.headers()
        self.assertTrue(got[longest]["Boxhaul-Key"] and got[beside]["Boxhaul-Key"])
        self.assertEqual(self.metric(relay, "keyless_total"), 0)

    def test_an_older_row_that_has_no_room(self):
        self.as_before()
        full = self.insert("k" * 50, bytes(LARGEST))[1]
        room = self.insert("k" * 50, bytes(LARGEST - 50))[1]
        long = self.insert("\u9375" * 8000)[1]
        longer = self.insert("k" * 70000)[1]
        relay = self.start_relay()
        self.wait_settled()
        got = self.headers()
        self.assertEqual([got[i].get("Boxhaul-Key") for i in (full, room, long, longer)], [None, ["k" * 50], None, None])
        self.assertEqual(self.metric(relay, "keyless_total"), 3)
        with open(relay.log, encoding="utf-8") as log:
            self.assertIn("a message is sent without its Boxhaul-Key", log.read())
        self.assertEqual(self.sql("SELECT count(*) FROM boxhaul.dead_letter"), [(0,)])


class Reserved(KeysTest):
    """No producer writes a header that begins with Boxhaul-: not by name, and not into the column of ours."""

    def test_names(self):
        for name in RESERVED:
            for statement in ("INSERT INTO boxhaul.outbox (subject, headers) VALUES ('orders.x', %s)",
                              "INSERT INTO boxhaul.outgoing (subject, headers) VALUES ('orders.x', %s)",
                              "SELECT boxhaul.publish('orders.x', '{}'::jsonb, headers => %s)"):
                with self.subTest(name=name, statement=statement):
                    with self.assertRaises(psycopg2.errors.CheckViolation) as refused:
                        self.sql(statement, (json.dumps({"a": "b", name: "x"}),), SERVICE)
                    self.assertEqual(refused.exception.diag.constraint_name, "outbox_headers")
                    if "boxhaul.outbox" not in statement:
                        self.assertIn("begins neither with Nats- nor with Boxhaul-", refused.exception.diag.message_hint)

    def test_the_column(self):
        for statement in ("INSERT INTO boxhaul.outbox (subject, boxhaul_headers) VALUES ('orders.x', '{}')",
                          "SELECT boxhaul_headers FROM boxhaul.outbox", "UPDATE boxhaul.outbox SET boxhaul_headers = '{}'"):
            with self.subTest(statement), self.assertRaises(psycopg2.errors.InsufficientPrivilege):
                self.sql(statement, user=SERVICE)
        with self.assertRaises(psycopg2.errors.UndefinedColumn):
            self.sql("INSERT INTO boxhaul.outgoing (subject, boxhaul_headers) VALUES ('orders.x', '{}')", user=SERVICE)

    def test_rows_older_than_the_rule(self):
        """The files are applied over them and fail on none. They are sent as they are, but the key is ours to say; and they can be sent
        once more."""
        self.as_before()
        _, mine = self.insert("ours", headers={"Boxhaul-Key": "theirs", "BOXHAUL-key": "theirs", "Boxhaul-Odd": "1", "a": "b"})
        _, free = self.insert(None, headers={"Boxhaul-Key": "theirs"})
        for _ in range(2):
            for name in sorted(os.listdir(SQL)):
                self.sql(sql_file(name))
            with self.assertRaises(psycopg2.errors.CheckViolation):
                self.insert(headers={"Boxhaul-Odd": "1"})
            with self.assertRaises(psycopg2.errors.CheckViolation):
                self.insert("k" * 50, bytes(LARGEST))
        self.start_relay()
        self.wait_settled()
        got = self.headers()
        self.assertEqual(got[mine], {"Boxhaul-Key": ["ours"], "Boxhaul-Odd": ["1"], "a": ["b"]})
        self.assertEqual(got[free], {"Boxhaul-Key": ["theirs"]})
        self.assertEqual(self.replay(), (2,))
        self.wait_for_messages(4)
        copies = [m.headers for m in self.stored()[2:]]
        self.assertEqual([c["Boxhaul-Replay-Of"] for c in copies], [[mine], [free]])
        self.assertEqual((copies[0]["Boxhaul-Odd"], copies[0]["Boxhaul-Key"], copies[0]["a"]), (["1"], ["ours"], ["b"]))
        self.assertEqual(self.sql("SELECT headers FROM boxhaul.outbox WHERE boxhaul_headers IS NOT NULL ORDER BY id"), [({"a": "b"},), ({},)])

    def replay(self):
        (found,) = self.sql("SELECT copied FROM boxhaul.replay(0, 100, NULL, NULL, NULL, 100, 1000000, 1048576, false)")
        return found

    def test_ours_stay_with_a_letter_that_is_redriven(self):
        self.let_illegal_rows_in()
        self.sql("INSERT INTO boxhaul.outbox (subject, key, headers, boxhaul_headers) VALUES ('orders..x', 'k', '{\"a\": \"b\"}', "
                 "'{\"Boxhaul-Replay-Of\": \"1\"}')")
        self.start_relay()
        self.wait_settled()
        self.sql("UPDATE boxhaul.dead_letter SET subject = 'orders.x'")
        self.sql("SELECT boxhaul.redrive(id) FROM boxhaul.dead_letter")
        self.wait_for_messages(1)
        (headers,) = self.headers().values()
        self.assertEqual(headers, {"Boxhaul-Key": ["k"], "a": ["b"], "Boxhaul-Replay-Of": ["1"]})
        self.assertEqual(self.sql("SELECT headers FROM boxhaul.messages ORDER BY id DESC LIMIT 1"),
                         [({"a": "b", "Boxhaul-Replay-Of": "1"},)])


if __name__ == "__main__":
    unittest.main()
