"""The examples in packaging/examples, as they are installed: messages out of other libraries' outbox tables, and consumers.

The consumers' clients come from their registries, into $EXAMPLES_BUILD (default build/examples), where they are used again. A
language or a registry that is not to be had skips its test, and says so."""

import json
import os
import shutil
import subprocess
import unittest
import uuid

import psycopg2

from harness import STREAM, SystemTest
from process import Process

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
EXAMPLES = os.path.join(TOP, "packaging", "examples")
BUILD = os.path.realpath(os.environ.get("EXAMPLES_BUILD", os.path.join(TOP, "build", "examples")))
APPLICATION = "application"  # a user that knows nothing of boxhaul
LARGE = "x" * (1 << 20)  # larger than a message may be


def read(name):
    with open(os.path.join(EXAMPLES, name), encoding="utf-8") as f:
        return f.read()


class TableTest(SystemTest):
    """A foreign outbox table, whose rows go through a trigger. A subclass says what it is."""

    table, example, subjects = None, None, None

    @classmethod
    def setUpClass(cls):
        if cls is TableTest:
            raise unittest.SkipTest("what the tests of the tables have in common")
        super().setUpClass()
        cls.pg.execute(f"CREATE ROLE {APPLICATION} LOGIN")

    def setUp(self):
        super().setUp()
        self.sql(f"{self.table}; {read('import.sql')}; {read(self.example)}")
        self.relay = self.start_relay(streams=[{"name": STREAM, "subjects": [self.subjects], "create": True,
                                                "replicas": self.nats.replicas}])

    def grant(self, schema, table):
        self.sql(f"GRANT USAGE ON SCHEMA {schema} TO {APPLICATION}; GRANT INSERT, SELECT, DELETE ON {table} TO {APPLICATION}")

    def insert(self, statement, *rows):
        """As the application, all rows in one transaction; none of them may fail."""
        connection = self.connect(APPLICATION)
        with connection.cursor() as cursor:
            cursor.execute("BEGIN")
            for row in rows:
                cursor.execute(statement, row)
            cursor.execute("COMMIT")

    def messages(self, count):
        """Those in the stream, once everything is sent: exactly so many."""
        self.wait_settled()
        stored = self.stored() if count else []
        self.assertEqual(len(stored), count, f"{stored}")
        return stored

    def letters(self):
        return self.sql("SELECT message_id::text, subject, key, payload, headers, reason FROM boxhaul.dead_letter ORDER BY id")

    def apply_again(self):
        """A second time changes nothing: a message is not sent twice."""
        self.sql(f"{read('import.sql')}; {read(self.example)}")

    def no_way_in(self):
        """The functions run with the owner's rights, and are nobody else's to call."""
        for call in ("boxhaul_import.message(NULL, 'a', NULL, '', NULL)", "boxhaul_import.dead_letter('', NULL, 'a', NULL, '', NULL)"):
            with self.assertRaises(psycopg2.errors.InsufficientPrivilege):
                self.sql(f"SELECT {call}", user=APPLICATION)


class DebeziumTest(TableTest):
    table = """CREATE TABLE outbox (id uuid PRIMARY KEY, aggregatetype varchar(255) NOT NULL, aggregateid varchar(255) NOT NULL,
                                    type varchar(255) NOT NULL, payload jsonb)"""
    example, subjects = "debezium.sql", "outbox.event.>"
    statement = "INSERT INTO outbox VALUES (%s, %s, %s, %s, %s)"

    def setUp(self):
        super().setUp()
        self.grant("public", "outbox")

    @staticmethod
    def row(aggregate="order", key="42", kind="OrderPaid", payload='{"id": 42}'):
        return str(uuid.uuid4()), aggregate, key, kind, payload

    def test_good_rows_arrive_and_bad_ones_die(self):
        self.no_way_in()
        self.apply_again()
        good, gone, empty = self.row(), self.row(key="43"), self.row(payload=None)
        bad = [self.row("or der"), self.row("a..b"), self.row(kind="a\x01b"), self.row(payload=json.dumps(LARGE))]
        self.insert(self.statement, good, bad[0], gone, *bad[1:], empty)
        stored = self.messages(3)
        self.assertEqual([(m.msg_id, m.subject, m.payload) for m in stored],
                         [(good[0], "outbox.event.order", b'{"id": 42}'), (gone[0], "outbox.event.order", b'{"id": 42}'),
                          (empty[0], "outbox.event.order", b"")])
        self.assertEqual(stored[0].headers["type"], ["OrderPaid"])
        letters = self.letters()
        self.assertEqual([letter[0] for letter in letters], [row[0] for row in bad])
        for letter, constraint in zip(letters, ("outbox_subject", "outbox_subject", "outbox_headers", "outbox_size")):
            self.assertIn(constraint, letter[5])
        self.assertEqual(letters[0][1:3], ("outbox.event.or der", "42"))
        self.assertEqual(bytes(letters[3][3]), json.dumps(LARGE).encode())

    def test_written_and_deleted_in_one_transaction(self):
        """As Debezium's own library for Quarkus does it."""
        row = self.row()
        connection = self.connect(APPLICATION)
        with connection.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute(self.statement, row)
            cursor.execute("DELETE FROM outbox WHERE id = %s", row[:1])
            cursor.execute("COMMIT")
        self.assertEqual(self.messages(1)[0].msg_id, row[0])

    def test_what_is_rolled_back_leaves_nothing(self):
        connection, kept = self.connect(APPLICATION), self.row()
        with connection.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute(self.statement, self.row())
            cursor.execute(self.statement, self.row("a..b"))
            cursor.execute("ROLLBACK")
            cursor.execute("BEGIN")
            cursor.execute(self.statement, kept)
            cursor.execute("SAVEPOINT s")
            cursor.execute(self.statement, self.row())
            cursor.execute(self.statement, self.row("a..b"))
            cursor.execute("ROLLBACK TO s")
            cursor.execute("COMMIT")
        self.assertEqual(self.messages(1)[0].msg_id, kept[0])
        self.assertEqual(self.letters(), [])

    def test_one_statement_with_many_rows_keeps_their_order(self):
        self.sql("""INSERT INTO outbox SELECT gen_random_uuid(), CASE WHEN n % 10 = 0 THEN 'a..b' ELSE 'order' END, n % 7, 'OrderPaid',
                    to_jsonb(n) FROM generate_series(1, 2000) n""", user=APPLICATION)
        numbers = [int(m.payload) for m in self.messages(1800)]
        for key in range(7):
            of_key = [n for n in numbers if n % 7 == key]
            self.assertEqual(of_key, sorted(of_key))
        self.assertEqual(len(self.letters()), 200)

    def test_a_dead_letter_is_mended_and_redriven(self):
        row = self.row("a..b")
        self.insert(self.statement, row, self.row())
        self.messages(1)
        listed = self.relay.command("dead-letters", "list")
        self.assertIn("outbox_subject", listed.stdout)
        refused = self.relay.command("dead-letters", "redrive", "--all")
        self.assertNotEqual(refused.returncode, 0, refused.stdout)
        self.sql("UPDATE boxhaul.dead_letter SET subject = 'outbox.event.order'")
        redriven = self.relay.command("dead-letters", "redrive", "--all")
        self.assertEqual(redriven.returncode, 0, redriven.stdout)
        self.assertEqual(self.messages(2)[1].msg_id, row[0])
        self.assertEqual(self.letters(), [])

    def test_a_lost_table_is_told_to_the_application(self):
        """What is not the message's fault must not be swallowed: the message would be lost."""
        self.sql("ALTER TABLE boxhaul.outbox RENAME TO gone")
        with self.assertRaises(psycopg2.errors.UndefinedTable):
            self.insert(self.statement, self.row())


class GoOutboxTest(TableTest):
    table = """CREATE SCHEMA outbox;
        CREATE TABLE outbox.messages (id uuid PRIMARY KEY, stream text NOT NULL, topic text NOT NULL, payload bytea NOT NULL,
            headers jsonb NOT NULL DEFAULT '{}', target jsonb NOT NULL DEFAULT '{}', available_at timestamptz NOT NULL DEFAULT now(),
            status smallint NOT NULL DEFAULT 0, attempts int NOT NULL DEFAULT 0, created_at timestamptz NOT NULL DEFAULT now())"""
    example, subjects = "go-outbox.sql", "account.>"

    def test_good_rows_arrive_and_bad_ones_die(self):
        self.grant("outbox", "outbox.messages")
        self.apply_again()
        rows = [(str(uuid.uuid4()), topic, payload, headers, target) for topic, payload, headers, target in (
            ("account.debited", b"\x00\xff\r\n", '{"traceparent": "00-1"}', '{"key": "42"}'),
            ("account.debited", b"2", "{}", '{"version": 2}'),
            ("account.>", b"3", "{}", "{}"),
            ("account.debited", b"4", '{"a": 1}', "{}"),
            ("account.debited", b"5", '{"Nats-Msg-Id": "mine"}', "{}"))]
        self.insert("INSERT INTO outbox.messages (id, stream, topic, payload, headers, target) VALUES (%s, 'local', %s, %s, %s, %s)", *rows)
        stored = self.messages(2)
        self.assertEqual([(m.msg_id, m.subject, m.payload) for m in stored],
                         [(rows[0][0], "account.debited", b"\x00\xff\r\n"), (rows[1][0], "account.debited.v2", b"2")])
        self.assertEqual(stored[0].headers["traceparent"], ["00-1"])
        self.assertEqual(self.sql("SELECT key FROM boxhaul.outbox ORDER BY id"), [("42",), (None,)])
        self.assertEqual([(letter[0], bytes(letter[3])) for letter in self.letters()],
                         [(rows[n][0], rows[n][2]) for n in (2, 3, 4)])


class MassTransitTest(TableTest):
    table = """CREATE TABLE "OutboxMessage" ("SequenceNumber" bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
        "EnqueueTime" timestamptz, "SentTime" timestamptz NOT NULL, "Headers" text, "Properties" text, "InboxMessageId" uuid,
        "InboxConsumerId" uuid, "OutboxId" uuid, "MessageId" uuid NOT NULL, "ContentType" varchar(256) NOT NULL,
        "MessageType" text NOT NULL, "Body" text NOT NULL, "ConversationId" uuid, "CorrelationId" uuid, "InitiatorId" uuid,
        "RequestId" uuid, "SourceAddress" varchar(256), "DestinationAddress" varchar(256), "ResponseAddress" varchar(256),
        "FaultAddress" varchar(256), "ExpirationTime" timestamptz)"""
    example, subjects = "masstransit.sql", "Shop.Contracts.>"

    def test_good_rows_arrive_and_bad_ones_die(self):
        self.grant("public", '"OutboxMessage"')
        self.apply_again()
        rows = [(str(uuid.uuid4()), kind, body, str(uuid.uuid4())) for kind, body in (
            ("urn:message:Shop.Contracts:OrderPaid;urn:message:Shop.Contracts:Event", '{"message": {"order": 42}}'),
            ("OrderPaid", "{}"), ("urn:message:Shop Contracts:OrderPaid", "{}"), ("urn:message:Shop.Contracts:Order", LARGE))]
        self.insert('INSERT INTO "OutboxMessage" ("SentTime", "MessageId", "ContentType", "MessageType", "Body", "CorrelationId") '
                    "VALUES (now(), %s, 'application/vnd.masstransit+json', %s, %s, %s)", *rows)
        [message] = self.messages(1)
        self.assertEqual((message.msg_id, message.subject, message.payload),
                         (rows[0][0], "Shop.Contracts.OrderPaid", rows[0][2].encode()))
        self.assertEqual(message.headers["Content-Type"], ["application/vnd.masstransit+json"])
        self.assertEqual(self.sql("SELECT key FROM boxhaul.outbox"), [(rows[0][3],)])
        self.assertEqual([letter[0] for letter in self.letters()], [row[0] for row in rows[1:]])


class CapTest(TableTest):
    table = """CREATE SCHEMA cap;
        CREATE TABLE cap.published ("Id" bigint PRIMARY KEY NOT NULL, "Version" varchar(20) NOT NULL, "Name" varchar(200) NOT NULL,
            "Content" text, "Retries" int NOT NULL, "Added" timestamp NOT NULL, "ExpiresAt" timestamp,
            "StatusName" varchar(50) NOT NULL)"""
    example, subjects = "cap.sql", "orders.>"

    def test_good_rows_arrive_and_bad_ones_die(self):
        self.grant("cap", "cap.published")
        self.apply_again()
        headers = {"cap-msg-id": "1", "cap-callback-name": None, "cap-kafka-key": "42"}
        rows = [(1, "orders.paid", json.dumps({"Headers": headers, "Value": {"order": 42}})), (2, "orders.paid", "{no json"),
                (3, "orders.paid", None), (4, "orders paid", json.dumps({"Headers": headers, "Value": 1})),
                (5, "orders.paid", '{"Headers": {}, "Value": "\\u0000"}'), (6, "orders.paid", '{"Headers": {"a": {}}, "Value": 1}'),
                (7, "orders.paid", "[1]")]
        self.insert("INSERT INTO cap.published VALUES (%s, 'v1', %s, %s, 0, now(), NULL, 'Scheduled')", *rows)
        [message] = self.messages(1)
        self.assertEqual((message.subject, json.loads(message.payload), message.headers["cap-msg-id"]),
                         ("orders.paid", {"order": 42}, ["1"]))
        self.assertNotIn("cap-callback-name", message.headers)
        self.assertEqual(self.sql("SELECT key FROM boxhaul.outbox"), [("42",)])
        letters = self.letters()
        self.assertEqual([letter[1] for letter in letters], [row[1] for row in rows[1:]])
        self.assertEqual([bytes(letter[3] or b"") for letter in letters[:2]], [b"{no json", b""])


# --- the demo of packaging/oci ---

class DemoTest(SystemTest):
    """What compose.yaml starts, on servers of our own: the same configuration but for addresses, the same SQL."""

    def setUp(self):
        super().setUp()
        self.demo = os.path.join(TOP, "packaging", "oci", "demo")
        self.pg.execute(f"DROP DATABASE {self.database} WITH (FORCE)")
        self.pg.execute("CREATE ROLE owner LOGIN SUPERUSER")
        self.pg.execute(f"CREATE DATABASE {self.database} OWNER owner")
        self.relay = self.add_relay()
        with open(os.path.join(self.demo, "boxhaul.conf"), encoding="utf-8") as f:
            text = f.read()
        for printed, ours in (("host=postgres dbname=shop", f"host={self.pg.directory} port={self.pg.port} dbname={self.database}"),
                              ("nats://nats:4222", self.nats.url()), ("0.0.0.0:9431", self.relay.settings["health"]["listen"])):
            self.assertIn(printed, text)
            text = text.replace(printed, ours)
        with open(self.relay.config, "w", encoding="utf-8") as f:
            f.write(text)

    def psql(self, user, *words):
        return [self.pg.program("psql"), "-h", self.pg.directory, "-p", str(self.pg.port), "-U", user, "-d", self.database, *words]

    def test_orders_arrive(self):
        migrated = self.relay.command("migrate")
        self.assertEqual(migrated.returncode, 0, migrated.stdout)
        for _ in range(2):  # as when compose is started again
            subprocess.run(self.psql("owner", "-q", "-1", "-v", "ON_ERROR_STOP=1", "-f", os.path.join(self.demo, "roles.sql")),
                           check=True, stderr=subprocess.DEVNULL)
        self.relay.start().wait_until_ready()
        shop = Process("the shop", self.workspace.path("shop.log"))
        shop.spawn(self.psql("demo_service", "-f", os.path.join(self.demo, "shop.sql")))
        self.addCleanup(shop.kill9)
        self.wait_for_messages(3)
        shop.kill9()
        orders = [json.loads(message.payload)["order"] for message in self.stored()]
        self.assertEqual(orders, list(range(1, len(orders) + 1)))


# --- consumers ---

def fetch(language, *commands):
    """What a language's consumer needs, in a directory of its own; made once."""
    directory = os.path.join(BUILD, language)
    done = os.path.join(directory, ".done")
    if os.path.exists(done):
        return directory
    shutil.rmtree(directory, ignore_errors=True)
    os.makedirs(directory)
    for command in commands:
        if shutil.which(command[0]) is None:
            raise unittest.SkipTest(f"there is no {command[0]} here")
        ended = subprocess.run(command, cwd=directory, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               text=True, check=False)
        if ended.returncode != 0:
            raise unittest.SkipTest(f"{' '.join(command)} failed (no registry?): {ended.stdout[-500:]}")
    with open(done, "w", encoding="ascii"):
        pass
    return directory


class ConsumerTest(SystemTest):
    """Some messages are stored twice, the consumer is killed at work, everything is replayed: and yet each message has taken effect
    once."""

    COUNT = 60

    def consumer(self, argv, env=None):
        process = Process("the consumer", self.workspace.path(f"{self.database}-consumer"))
        process.spawn(argv, {"NATS_URL": self.nats.url(), "DATABASE_URL": self.url(), **(env or {})})
        self.addCleanup(process.kill9)
        return process

    def url(self):
        """As a URI, which every driver takes."""
        return f"postgresql://{self.pg.superuser}:{self.pg.password}@127.0.0.1:{self.pg.port}/{self.database}"

    def effects(self):
        return self.sql("SELECT coalesce(sum(messages), 0)::int FROM totals")[0][0]

    def is_idle(self):
        with self.jetstream() as js:
            info = js.call(f"CONSUMER.INFO.{STREAM}.billing")
        return info["num_pending"] == info["num_ack_pending"] == 0

    def store_twice(self):
        """Copies of what is stored, behind the duplicate window."""
        stored = self.stored()
        with self.jetstream() as js:
            js.update(STREAM, duplicate_window=100_000_000)
            for message in stored[::3]:
                headers = {name: values[0] for name, values in message.headers.items()}
                self.wait(lambda m=message, h=headers: not js.publish(m.subject, m.payload, h).get("duplicate"), "the window to pass")

    def consumes_once(self, argv, env=None):
        self.sql(read("consume.sql"))
        relay = self.start_relay()
        self.sql(f"INSERT INTO boxhaul.outbox (subject, key, payload) SELECT 'orders.' || n % 5, n % 5, n::text::bytea "
                 f"FROM generate_series(1, {self.COUNT}) n")
        self.wait_settled()
        self.store_twice()
        process = self.consumer(argv, env)
        self.wait_consumed(process, 1)
        process.kill9()
        process = self.consumer(argv, env)
        self.wait_consumed(process, self.COUNT)
        replayed = relay.command("replay", "--since", "1h", "--yes")
        self.assertEqual(replayed.returncode, 0, replayed.stdout)
        self.wait_settled()
        self.assertGreaterEqual(self.count(), 2 * self.COUNT + self.COUNT // 3)
        self.wait(self.is_idle, "the consumer to have seen everything")
        self.assertTrue(process.alive(), process.log_tail())
        self.assertEqual(self.effects(), self.COUNT)
        self.assertEqual(self.sql("SELECT count(*) FROM consumed"), [(self.COUNT,)])

    def wait_consumed(self, process, count):
        def look():
            if not process.alive():
                raise process.died()
            return self.effects() >= count
        self.wait(look, f"{count} effects")

    def test_python(self):
        directory = fetch("python", ("/usr/bin/python3", "-m", "pip", "install", "-q", "--target", ".", "nats-py", "psycopg[binary]"))
        self.consumes_once(["/usr/bin/python3", os.path.join(EXAMPLES, "consume.py")], {"PYTHONPATH": directory})

    def test_go(self):
        directory = fetch("go", ("go", "mod", "init", "consume"),
                          ("go", "get", "github.com/nats-io/nats.go@latest", "github.com/jackc/pgx/v5@latest"))
        shutil.copy(os.path.join(EXAMPLES, "consume.go"), directory)
        built = subprocess.run(["go", "build", "-o", "consume", "consume.go"], cwd=directory, stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        self.assertEqual(built.returncode, 0, built.stdout)
        self.consumes_once([os.path.join(directory, "consume")])

    def test_node(self):
        directory = fetch("node", ("npm", "install", "--silent", "--no-audit", "--no-fund", "@nats-io/transport-node",
                                   "@nats-io/jetstream", "pg"))
        shutil.copy(os.path.join(EXAMPLES, "consume.js"), directory)  # node looks for packages beside the program
        self.consumes_once(["node", os.path.join(directory, "consume.js")])


class WorkerTest(ConsumerTest):
    """The same, where boxhaul takes the messages and a worker handles them in one transaction: it remembers nothing itself."""

    test_node = None

    def consumes_once(self, argv, env=None):
        self.sql("CREATE TABLE totals (subject text PRIMARY KEY, messages bigint NOT NULL CHECK (messages < 1000000))")
        self.start_relay(inbox=[{"name": "billing", "stream": STREAM, "subjects": ["orders.>"], "max_attempts": 1, "lanes": 4}])
        self.publish("1", self.COUNT)
        self.wait_settled()
        self.store_twice()
        process = self.consumer(argv, env)
        self.wait_consumed(process, 1)
        process.kill9()
        process = self.consumer(argv, env)
        self.wait_consumed(process, self.COUNT)
        self.one_fails()
        self.assertTrue(process.alive(), process.log_tail())
        self.assertEqual(self.look("left_out"), self.COUNT // 3)

    def publish(self, key, count=1):
        self.sql(f"INSERT INTO boxhaul.outbox (subject, key, payload) SELECT 'orders.' || n % 5, '{key}', n::text::bytea "
                 f"FROM generate_series(1, {count}) n")

    def look(self, what):
        return self.sql(f"SELECT {what} FROM boxhaul.inbox_status")[0][0]

    def one_fails(self):
        """It is held, with its key; another key goes on."""
        self.sql("UPDATE totals SET messages = 999999 WHERE subject = 'orders.1'")
        self.publish("bad")
        self.wait(lambda: self.look("held") == 1, "the message to be held")
        self.assertIn("totals_messages_check", self.sql("SELECT error FROM boxhaul.inbox_blocked")[0][0])
        self.sql("DELETE FROM totals")
        self.publish("good")
        self.wait(lambda: self.effects() == 1, "the other key to go on")
        self.sql("SELECT boxhaul.inbox_retry('billing', id) FROM boxhaul.inbox_parked")
        self.wait(lambda: self.effects() == 2 and self.look("waiting") == 0, "both to be handled")

    def test_python(self):
        directory = fetch("python", ("/usr/bin/python3", "-m", "pip", "install", "-q", "--target", ".", "nats-py", "psycopg[binary]"))
        self.consumes_once(["/usr/bin/python3", os.path.join(EXAMPLES, "worker.py")], {"PYTHONPATH": directory})

    def test_go(self):
        directory = fetch("go-worker", ("go", "mod", "init", "worker"), ("go", "get", "github.com/jackc/pgx/v5@latest"))
        shutil.copy(os.path.join(EXAMPLES, "worker.go"), directory)
        built = subprocess.run(["go", "build", "-o", "worker", "worker.go"], cwd=directory, stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        self.assertEqual(built.returncode, 0, built.stdout)
        self.consumes_once([os.path.join(directory, "worker")])


if __name__ == "__main__":
    unittest.main()
