"""One row that cannot be handled stops one key, and no more: characters that do not convert, broken data."""

import contextlib
import json
import unittest

from harness import SERVICE, SystemTest
from shop import create_schema


class RowsTest(SystemTest):
    def insert(self, *rows):
        """(subject, key, headers), each a transaction."""
        for subject, key, headers in rows:
            self.sql("INSERT INTO boxhaul.outbox (subject, key, payload, headers) VALUES (%s, %s, %s, %s)",
                     (subject, key, f"{subject} {key}".encode(), headers))

    def letters(self):
        return self.sql("SELECT id, key, reason FROM boxhaul.dead_letter ORDER BY id")

    def break_chunk(self, message):
        """A chunk of its payload is lost, as a broken disk would lose it."""
        (table,), = self.sql("SELECT t.reltoastrelid::regclass::text FROM boxhaul.outbox o "
                             "JOIN pg_class t ON t.oid = o.tableoid WHERE o.id = %s", (message,))
        connection = self.connect()
        with connection.cursor() as cursor:
            cursor.execute("SET allow_system_table_mods = on")
            cursor.execute("UPDATE pg_class SET relkind = 'r' WHERE oid = %s::regclass", (table,))  # else nobody may
            cursor.execute(f"DELETE FROM {table} WHERE chunk_seq = 1")
            self.assertGreater(cursor.rowcount, 0)
            cursor.execute("UPDATE pg_class SET relkind = 't' WHERE oid = %s::regclass", (table,))


class DoesNotConvert(RowsTest):
    """WIN1252 has five bytes without a character. 0x81 is one."""

    def setUp(self):
        super().setUp()
        self.pg.execute(f"DROP DATABASE {self.database} WITH (FORCE)")
        self.pg.execute(f"CREATE DATABASE {self.database} ENCODING 'WIN1252' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
        self.migrate()
        with contextlib.closing(self.pg.connect(self.database)) as connection:
            create_schema(connection, user=SERVICE)
        self.bytes = self.connect()
        with self.bytes.cursor() as cursor:
            cursor.execute("SET client_encoding = 'WIN1252'")

    def insert_bytes(self, subject, key, headers, payload="x"):
        with self.bytes.cursor() as cursor:
            values = ", ".join("NULL" if value is None else f"'{value}'" for value in (subject, key, payload, headers))
            cursor.execute(f"INSERT INTO boxhaul.outbox (subject, key, payload, headers) VALUES ({values})"
                           .encode("latin-1"))

    def test_one_row_is_a_dead_letter_and_all_others_go(self):
        relay = self.start_relay()
        self.insert(("orders.x", "a", None))
        self.insert_bytes("orders.x", "b", '{"name": "caf\x81"}')
        self.insert(("orders.x", "c", '{"name": "é"}'), ("orders.x", "b", None), ("orders.x", "a", None))
        self.wait_for_messages(4)
        self.wait_settled()
        (id_, key, reason), = self.letters()
        self.assertEqual((id_, key), (2, "b"))
        self.assertIn("0x81", reason)
        self.assertIn("the database cannot read the row", reason)
        self.check_commands(relay, 2, 4)

    def check_commands(self, relay, bad, stored):
        for words in (["status"], ["status", "--json"], ["explain", str(bad)], ["dead-letters", "list"], ["reconcile"],
                      ["dead-letters", "show", str(bad)]):
            done = relay.command(*words)
            self.assertEqual(done.returncode, 0, f"{words}: {done.stdout}")
        self.assertIn(f"stored={stored}", relay.command("reconcile").stdout)
        self.assertIn("dead letter", relay.command("explain", str(bad)).stdout)

    def test_mended_and_redriven_it_is_sent(self):
        relay = self.start_relay()
        self.insert_bytes("orders.x", "b", '{"name": "caf\x81"}')
        self.wait(self.letters, "the dead letter")
        self.sql("UPDATE boxhaul.dead_letter SET headers = '{\"name\": \"x\"}'")
        done = relay.command("dead-letters", "redrive", "1")
        self.assertEqual(done.returncode, 0, done.stdout)
        self.wait_for_messages(1)

    def test_a_key_that_no_event_needs_need_not_convert(self):
        relay = self.start_relay()
        self.insert_bytes("orders.x", "k\x81", None)
        self.insert_bytes("orders.x", "k\x81", '{"name": "caf\x81"}')  # the others are read with care
        self.insert_bytes("orders.x", "k\x81", None)
        self.wait_for_messages(2)
        self.wait_settled()
        self.assertEqual([id_ for id_, in self.sql("SELECT id FROM boxhaul.dead_letter")], [2])
        self.assertEqual([m.headers.get("Boxhaul-Key") for m in self.stored()], [None, None])  # it goes without, and says so
        self.assertGreaterEqual(self.metric(relay, "keyless_total"), 2)
        self.check_commands(relay, 2, 2)

    def test_a_subject_and_the_last_and_the_first_row(self):
        self.sql("ALTER TABLE boxhaul.outbox DROP CONSTRAINT IF EXISTS outbox_subject")
        self.insert_bytes("orders.\x81", "a", None)
        self.insert(("orders.x", "b", None), ("orders.x", "a", None))
        self.insert_bytes("orders.\x8d", None, None)
        relay = self.start_relay()
        self.wait_for_messages(2)
        self.wait_settled()
        self.assertEqual([id_ for id_, in self.sql("SELECT id FROM boxhaul.dead_letter ORDER BY id")], [1, 4])
        self.check_commands(relay, 1, 2)

    def test_a_relay_that_is_killed_among_them(self):
        with self.bytes.cursor() as cursor:
            cursor.execute("INSERT INTO boxhaul.outbox (subject, key, payload, headers) SELECT 'orders.x', (n % 7)::text, 'x', "
                           "CASE WHEN n % 5 = 0 THEN '{\"name\": \"caf\x81\"}'::jsonb END FROM generate_series(1, 3000) n"
                           .encode("latin-1"))
        relay = self.start_relay()
        for _ in range(3):
            self.wait(lambda: self.count() > 0, "the first to be sent")
            relay.kill9()
            relay.start()
        relay.wait_until_ready()
        self.wait_for_messages(2400)
        self.wait_settled()
        self.assertEqual((self.count(), self.sql("SELECT count(*) FROM boxhaul.dead_letter")), (2400, [(600,)]))

    def test_a_key_that_is_sent_must(self):
        relay = self.start_relay(envelope="cloudevents", event_source="/shop")
        self.insert_bytes("orders.x", "k\x81", None)
        self.insert(("orders.x", "a", None))
        self.wait_for_messages(1)
        self.wait_settled()
        self.assertEqual([id_ for id_, in self.sql("SELECT id FROM boxhaul.dead_letter")], [1])
        self.check_commands(relay, 1, 1)

    def test_thousands_of_them_are_a_matter_of_seconds(self):
        with self.bytes.cursor() as cursor:
            cursor.execute("INSERT INTO boxhaul.outbox (subject, key, payload, headers) SELECT 'orders.x', n::text, 'x', "
                           "CASE WHEN n % 2 = 0 THEN '{\"name\": \"caf\x81\"}'::jsonb END FROM generate_series(1, 6000) n"
                           .encode("latin-1"))
        self.start_relay()
        self.wait_for_messages(3000)
        self.wait_settled()
        self.assertEqual(self.sql("SELECT count(*) FROM boxhaul.dead_letter"), [(3000,)])

    def test_held_it_holds_its_own_key(self):
        relay = self.start_relay(delivery={"poison": "hold"})
        self.insert_bytes("orders.x", "b", '{"name": "caf\x81"}')
        self.insert(("orders.x", "b", None), ("orders.x", "a", None))
        self.wait_for_messages(1)
        self.wait(self.letters, "the dead letter")
        self.wait(lambda: self.position() == 3, "the position")
        self.assertEqual(self.count(), 1)
        self.assertEqual(relay.command("status").returncode, 0)
        self.assertEqual(relay.command("dead-letters", "discard", "--yes", "1").returncode, 0)
        self.wait_for_messages(2)
        self.wait_settled()


class Broken(RowsTest):
    def test_a_chunk_of_one_payload_is_lost(self):
        relay = self.add_relay()
        self.insert(("orders.x", "a", None))
        self.sql("INSERT INTO boxhaul.outbox (subject, key, payload) SELECT 'orders.x', 'b', "
                 "string_agg(sha256(n::text::bytea), '') FROM generate_series(1, 1000) n")
        self.break_chunk(2)
        self.insert(("orders.x", "b", None), ("orders.x", "c", None))
        relay.start().wait_until_ready()
        self.wait_for_messages(3)
        self.wait_settled()
        (id_, key, reason), = self.letters()
        self.assertEqual((id_, key), (2, "b"))
        self.assertIn("chunk", reason)
        self.assertEqual(self.sql("SELECT subject, payload FROM boxhaul.dead_letter"), [("orders.x", None)])
        for words in (["status"], ["explain", "2"], ["dead-letters", "list"], ["dead-letters", "show", "2"], ["reconcile"],
                      ["check"]):
            done = relay.command(*words)
            self.assertEqual(done.returncode, 0, f"{words}: {done.stdout}")
        done = relay.command("dead-letters", "redrive", "2")
        self.assertIn("could not be read", done.stdout)
        self.assertEqual(relay.command("dead-letters", "discard", "--yes", "2").returncode, 0)


class Ascii(RowsTest):
    """A database without an encoding holds any bytes for text."""

    def test_what_is_no_utf8_stops_no_command(self):
        self.pg.execute(f"DROP DATABASE {self.database} WITH (FORCE)")
        self.pg.execute(f"CREATE DATABASE {self.database} ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
        self.migrate()
        connection = self.connect()
        relay = self.add_relay()
        with connection.cursor() as cursor:
            cursor.execute("SET client_encoding = 'SQL_ASCII'")
            cursor.execute(b"INSERT INTO boxhaul.outbox (subject, key, payload) VALUES ('orders.x', 'k\xff', 'x')")
            cursor.execute(b"INSERT INTO boxhaul.outbox (subject, key, payload, headers) "
                           b"VALUES ('orders.x', 'k\xff', 'x', '{\"a\": \"\xff\"}')")
        done = relay.command("status", "--json")
        self.assertEqual(done.returncode, 0, done.stdout)
        json.loads(done.stdout)
        relay.start().wait_until_ready()
        self.wait_for_messages(1)
        self.wait_settled()
        for words in (["status"], ["explain", "1"], ["explain", "2"], ["dead-letters", "list"], ["reconcile"]):
            done = relay.command(*words)
            self.assertEqual(done.returncode, 0, f"{words}: {done.stdout}")


if __name__ == "__main__":
    unittest.main()
