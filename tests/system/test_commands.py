"""The commands an operator types: their words, their exit codes, and what they leave behind."""

import contextlib
import glob
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
import time
import unittest
from concurrent.futures import ThreadPoolExecutor

import psycopg2

from harness import RELAY, SERVICE, STREAM, SystemTest
from jetstream import JetStream
from nats_client import Client
from process import free_port
from servers import Nats, Postgres

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
SQL = sorted(glob.glob(os.path.join(ROOT, "sql", "*.sql")))
NEWEST = int(os.path.basename(SQL[-1])[:3])
DONE, FAILED, USAGE, CONFIG, UNREACHABLE = range(5)
COMMANDS = ("run", "migrate", "check", "status", "explain", "config show", "dead-letters list", "dead-letters show",
            "dead-letters redrive", "dead-letters discard", "pause", "resume", "drain", "reconcile", "replay", "inbox list",
            "inbox show", "inbox pause", "inbox resume", "inbox rewind", "inbox accept-gap", "inbox retry", "inbox skip",
            "inbox dead-letters", "inbox redrive", "inbox discard", "config-sample", "version", "help")


class CommandTest(SystemTest):
    def boxhaul(self, *words, timeout=60):
        return subprocess.run([self.program, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=timeout, check=False)

    def file(self, text, mode=0o600):
        path = self.workspace.path(f"{self.database}.conf")
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        os.chmod(path, mode)
        return path

    def expect(self, relay, word, code, *texts):
        """Run the command and see its exit code and texts in its output; returns the output."""
        done = relay.command(word)
        for text in texts:
            self.assertIn(text, done.stdout)
        self.assertEqual(done.returncode, code, done.stdout)
        return done.stdout

    def renew(self, template="migrated"):
        """The test's database as it was, or an empty one."""
        self.pg.execute(f"DROP DATABASE {self.database} WITH (FORCE)")
        self.pg.execute(f"CREATE DATABASE {self.database} TEMPLATE {template}")


class Usage(CommandTest):
    WRONG = (  # words, exit code, what stderr says
        ([], USAGE, "usage: boxhaul COMMAND"),
        (["frobnicate"], USAGE, "unknown command: frobnicate"),
        (["--frobnicate"], USAGE, "unknown command: --frobnicate"),
        (["run"], USAGE, "which configuration? Say -c FILE, or an instance's NAME: run"),
        (["check", "--watch", "-c", "x.conf"], USAGE, "--watch"),
        (["run", "-x", "-c", "x.conf"], USAGE, "-x"),
        (["run", "-c"], USAGE, "-c"),
        (["run", "one", "two"], USAGE, "unexpected: two"),
        (["version", "one"], USAGE, "unexpected: one"),
        (["check", "-c", "/nowhere/x.conf"], CONFIG, "/nowhere/x.conf"),
        (["check", "no-such-instance"], CONFIG, "/etc/boxhaul/no-such-instance.conf"),
        (["check", "-c", "/"], CONFIG, "/"),
    )

    def test_help_and_version(self):
        for words in (["help"], ["--help"], ["-h"]):
            done = self.boxhaul(*words)
            self.assertEqual((done.returncode, done.stderr), (DONE, ""))
            for command in COMMANDS:
                self.assertRegex(done.stdout, rf"(?m)^  {command} +\w")
            for code in range(7):
                self.assertRegex(done.stdout, rf"(?m)^  {code}  \w")
        for words in (["version"], ["--version"]):
            self.assertRegex(self.boxhaul(*words).stdout, r"^boxhaul \d+\.\d+\.\d+\n$")

    def test_wrong_words(self):
        for words, code, text in self.WRONG:
            with self.subTest(" ".join(words)):
                done = self.boxhaul(*words)
                self.assertEqual((done.returncode, done.stdout), (code, ""))
                self.assertIn(text, done.stderr)

    def test_all_errors_of_a_file_at_once(self):
        path = self.file('naem = "x";\n'
                         'nats = { urls = [ "nats://u:s3cret@host:port" ]; };\n'
                         'delivery = { window = "many"; queue = 8; ack_timeout = "5"; };\n'
                         'health = { liste = "off"; };\n'
                         'log = { level = "loud"; };\n')
        for command in ("run", "migrate", "check", "status"):
            done = self.boxhaul(command, "-c", path)
            self.assertEqual((done.returncode, done.stdout), (CONFIG, ""))
            lines = done.stderr.splitlines()
            for line, texts in ((1, ("naem", "name")), (2, ("nats.urls", "***")),
                                (3, ("delivery.window", "whole number")), (3, ("delivery.queue", "out of range")),
                                (3, ("delivery.ack_timeout", "no unit")),
                                (4, ("liste", "listen")), (5, ('"loud"', '"debug"')), ("", ("streams, inbox and capture are missing",))):
                self.assertTrue(any(found.startswith(f"{path}:{line}") and all(text in found for text in texts)
                                    for found in lines), (line, texts, done.stderr))
            self.assertNotIn("s3cret", done.stderr)

    def test_a_secret_everybody_can_read_is_warned_of(self):
        text = ('postgres = { conninfo = "host=127.0.0.1 port=1 password=s3cret"; };\n'
                'streams = ( { name = "A"; subjects = [ "a" ]; } );\n')
        for mode, warned in ((0o600, False), (0o644, True)):
            done = self.boxhaul("status", "-c", self.file(text, mode))
            self.assertEqual(done.returncode, UNREACHABLE)
            self.assertEqual("chmod" in done.stderr, warned, done.stderr)
            self.assertNotIn("s3cret", done.stderr)


class Migrate(CommandTest):
    """`boxhaul migrate`, on an empty database unless a test says otherwise."""

    def setUp(self):
        super().setUp()
        self.renew("template0")
        self.relay = self.add_relay()

    def objects(self, dbname=None, server=None):
        """Everything of ours in the database, and what it looks like."""
        return (server or self.pg).execute("""
            SELECT c.oid::regclass::text, pg_get_viewdef(c.oid), c.relacl::text FROM pg_class c
              JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = 'boxhaul' AND relkind IN ('p', 'r', 'v', 'S')
            UNION ALL SELECT p.oid::regprocedure::text, prosrc, proacl::text FROM pg_proc p
              JOIN pg_namespace n ON n.oid = pronamespace WHERE nspname = 'boxhaul'
            UNION ALL SELECT conname, pg_get_constraintdef(c.oid), '' FROM pg_constraint c
              JOIN pg_namespace n ON n.oid = connamespace WHERE nspname = 'boxhaul'
            UNION ALL SELECT version::text, name, '' FROM boxhaul.schema_version ORDER BY 1, 2""",
                                              dbname=dbname or self.database)

    def is_there(self, dbname=None, server=None):
        return (server or self.pg).execute("SELECT to_regnamespace('boxhaul') IS NOT NULL",
                                           dbname=dbname or self.database)[0][0]

    def paste(self, path):
        with open(path, encoding="utf-8") as f:
            self.sql(f.read())

    def test_twice(self):
        applied = "".join(f"applied {os.path.basename(path)[:-4]}\n" for path in SQL)
        self.assertEqual(self.expect(self.relay, "migrate", DONE),
                         f"{applied}schema boxhaul is at version {NEWEST}\n")
        before = self.objects()
        self.assertGreater(len(before), 30)
        self.assertEqual(self.expect(self.relay, "migrate", DONE),
                         f"nothing to do: schema boxhaul is at version {NEWEST}\n")
        self.assertEqual(self.objects(), before)

    def test_eight_at_once(self):
        with ThreadPoolExecutor(8) as pool:
            done = list(pool.map(lambda _: self.relay.command("migrate"), range(8)))
        self.assertEqual([d.returncode for d in done], [DONE] * 8, [d.stdout for d in done])
        outputs = [d.stdout for d in done]
        self.assertEqual(sum("applied 001_schema" in output for output in outputs), 1)
        self.assertEqual(sum("nothing to do" in output for output in outputs), 7)

    def test_many_databases_of_a_new_server_at_once(self):
        """The roles belong to all of them."""
        with self.new_server() as server:
            names = [f"d{n}" for n in range(4)]
            for name in names:
                server.execute(f"CREATE DATABASE {name}")
            relays = [self.add_relay(postgres={"migrate_conninfo": server.conninfo(name)}) for name in names]
            with ThreadPoolExecutor(8) as pool:
                done = list(pool.map(lambda relay: relay.command("migrate"), relays * 2))
            self.assertEqual([d.returncode for d in done], [DONE] * 8, [d.stdout for d in done])
            first, *rest = [self.objects(name, server) for name in names]
            self.assertTrue(first and all(other == first for other in rest))

    @contextlib.contextmanager
    def new_server(self):
        server = Postgres(self.workspace.path(f"{self.database}-pg"), fsync="off")
        with contextlib.closing(server.start()):
            yield server

    def test_it_does_not_go_back(self):
        self.expect(self.relay, "migrate", DONE)
        self.sql("INSERT INTO boxhaul.schema_version (version, name) VALUES (99, 'future')")
        before = self.objects()
        self.expect(self.relay, "migrate", FAILED, f"version 99, this boxhaul knows {NEWEST}: install the newer boxhaul")
        self.assertEqual(self.objects(), before)

    def test_it_goes_on_from_an_older_version(self):
        for count in range(1, len(SQL)):
            with self.subTest(count):
                self.renew("template0")
                for path in SQL[:count]:
                    self.paste(path)
                output = self.expect(self.relay, "migrate", DONE, f"schema boxhaul is at version {NEWEST}")
                self.assertEqual(output.count("applied "), len(SQL) - count)

    def test_pasted_files_do_the_same(self):
        self.expect(self.relay, "migrate", DONE)
        migrated = self.objects()
        self.renew("template0")
        for path in SQL:
            self.paste(path)
            self.paste(path)
        self.assertEqual(self.objects(), migrated)
        self.expect(self.relay, "migrate", DONE, "nothing to do")
        for path in SQL:
            self.paste(path)
        self.assertEqual(self.objects(), migrated)

    def test_printed_and_tried(self):
        """--print connects to nothing, and psql makes of it what `migrate` makes; --dry-run leaves nothing."""
        other = self.add_relay(outbox={"retention": "10m", "max_message_size": "4KiB"})
        self.expect(other, "migrate", DONE)
        migrated = self.objects()
        self.renew("template0")
        done = other.command("migrate", "--dry-run")
        self.assertIn("applied 001_schema\n", done.stdout)
        self.assertIn("a slot of the ring now lasts 150 s\n", done.stdout)
        self.assertIn("taken back (--dry-run)", done.stdout)
        self.assertFalse(self.is_there())
        blind = self.add_relay(outbox={"retention": "10m", "max_message_size": "4KiB"},
                               postgres={"migrate_conninfo": f"host=127.0.0.1 port={free_port()}"})
        printed = blind.command("migrate", "--print")
        self.assertEqual(printed.returncode, DONE)
        for _ in range(2):
            psql = subprocess.run(["psql", "-1", "-q", "-X", "-v", "ON_ERROR_STOP=1", "-d", self.pg.conninfo(self.database)],
                                  input=printed.stdout, capture_output=True, text=True, timeout=60, check=False)
            self.assertEqual((psql.returncode, psql.stderr), (0, ""))
            self.assertEqual(self.objects(), migrated)
        self.expect(other, "migrate", DONE, "nothing to do")

    def test_nothing_is_left_when_it_fails(self):
        self.pg.execute("CREATE ROLE nobody_special LOGIN")
        self.addCleanup(self.pg.execute, "DROP ROLE nobody_special")
        special = self.add_relay(postgres={"migrate_conninfo": self.pg.conninfo(self.database, "nobody_special")})
        self.expect(special, "migrate", FAILED, "sql/001_schema.sql: permission denied", "postgres.migrate_conninfo")
        self.assertFalse(self.is_there())
        self.sql("""CREATE FUNCTION public.refuse() RETURNS event_trigger LANGUAGE plpgsql AS
            'BEGIN RAISE EXCEPTION ''no views here''; END';
            CREATE EVENT TRIGGER refuse ON ddl_command_start WHEN TAG IN ('CREATE VIEW')
            EXECUTE FUNCTION public.refuse()""")
        self.expect(self.relay, "migrate", FAILED, "sql/003_publish.sql", "no views here")
        self.assertFalse(self.is_there())
        self.sql("DROP EVENT TRIGGER refuse")
        self.expect(self.relay, "migrate", DONE)

    def test_a_user_without_the_right_to_make_roles(self):
        with self.new_server() as server:
            server.execute("CREATE ROLE owner LOGIN")
            server.execute("CREATE DATABASE shop OWNER owner")
            relay = self.add_relay(postgres={"migrate_conninfo": server.conninfo("shop", "owner")})
            self.expect(relay, "migrate", FAILED, "sql/001_schema.sql: permission denied to create role",
                        "postgres.migrate_conninfo")
            self.assertFalse(self.is_there("shop", server))
            for role in ("boxhaul_writer", "boxhaul_relay", "boxhaul_monitor", "boxhaul_handler", "boxhaul_capture", "boxhaul_sink"):
                server.execute(f"CREATE ROLE {role} NOLOGIN")
            self.expect(relay, "migrate", DONE, "applied 001_schema")

    def test_the_configuration_is_fitted_and_told(self):
        self.expect(self.relay, "migrate", DONE)
        other = self.add_relay(outbox={"retention": "10m", "max_message_size": "4KiB"})
        self.expect(other, "migrate", DONE, "a slot of the ring now lasts 150 s\n",
                    "payload, headers and key of a message may now have 3840 bytes\n", "schema boxhaul is at version")
        self.expect(other, "migrate", DONE, "nothing to do")
        with self.assertRaises(psycopg2.errors.CheckViolation):
            self.sql("INSERT INTO boxhaul.outbox (subject, payload) VALUES ('orders.x', %s)", (b"x" * 3841,))
        self.sql("INSERT INTO boxhaul.outbox (subject, payload) VALUES ('orders.x', %s)", (b"x" * 3840,))

    def test_it_does_not_get_in_the_way_of_producers(self):
        """Where nothing is to change it takes no lock; else it tries until it gets it, and nobody waits behind it."""
        self.expect(self.relay, "migrate", DONE)
        slow, quick = self.connect(SERVICE).cursor(), self.connect(SERVICE).cursor()
        slow.execute("BEGIN; SELECT boxhaul.publish('orders.x', '')")
        self.expect(self.relay, "migrate", DONE, "nothing to do")
        other = self.add_relay(outbox={"retention": "10m"})
        with ThreadPoolExecutor(1) as pool:
            done = pool.submit(other.command, "migrate")
            quick.execute("SET lock_timeout = '30s'")
            for _ in range(20):
                quick.execute("SELECT boxhaul.publish('orders.x', '')")
                self.assertFalse(done.done())
                time.sleep(0.05)
            slow.execute("COMMIT")
            self.assertEqual(done.result().stdout,
                             f"a slot of the ring now lasts 150 s\nschema boxhaul is at version {NEWEST}\n")

    def test_servers_that_do_not_let_us_in(self):
        for conninfo in (f"host=127.0.0.1 port={free_port()}",
                         self.pg.conninfo(tcp=True).replace("password=", "password=x")):
            relay = self.add_relay(postgres={"migrate_conninfo": conninfo})
            self.expect(relay, "migrate", UNREACHABLE, "cannot connect to PostgreSQL: connection to server")


@unittest.skipUnless(os.geteuid() == 0, "only root may become another user")
class Peer(CommandTest):
    """A server of this machine that lets in the system's user of the login's name, and nobody else."""

    USER, OTHER, NOBODY = "nobody", "daemon", "boxhaul_test_no_such_user"

    def setUp(self):
        super().setUp()
        self.open = tempfile.mkdtemp(dir="/tmp", prefix="boxhaul-peer-")  # where other users get through
        self.addCleanup(shutil.rmtree, self.open)
        os.chmod(self.open, 0o777)
        directory = self.workspace.path(f"{self.database}-peer")
        self.server = self.workspace.add(Postgres(directory, unix_socket_directories=f"{directory},{self.open}")).start()
        hba = os.path.join(self.server.data, "pg_hba.conf")
        with open(hba, encoding="utf-8") as f:
            rules = f.read()
        with open(hba, "w", encoding="utf-8") as f:
            f.write(f"local all {self.USER},{self.NOBODY} peer\n{rules}")
        self.server.execute("SELECT pg_reload_conf()")
        self.server.execute("CREATE DATABASE shop")
        owner = f"{self.server.conninfo('shop')}"
        self.expect(self.add_relay(postgres={"migrate_conninfo": owner}), "migrate", DONE)
        for user in (self.USER, self.NOBODY):
            self.server.create_login(user, "boxhaul_relay")

    def relay_of(self, user, mode=0o600):
        relay = self.add_relay(postgres={"conninfo": f"host={self.open} port={self.server.port} dbname=shop user={user}"})
        path = os.path.join(self.open, "shop.conf")
        shutil.copy(relay.config, path)
        os.chmod(path, mode)
        relay.config = path
        return relay

    def as_user(self, user, *words):
        return subprocess.run(["setpriv", f"--reuid={user}", "--regid=nogroup", "--clear-groups", self.program, *words],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60,
                              check=False)

    def test_root_becomes_the_user(self):
        relay = self.relay_of(self.USER)  # root alone may read the configuration
        for words in (["status"], ["check"], ["pause", "--no-wait"], ["resume"], ["explain", "1"], ["reconcile"]):
            done = relay.command(*words)
            self.assertEqual(done.returncode, DONE, done.stdout)
        self.assertEqual(relay.command("status", "--json").stdout.count('"waiting"'), 1)

    def test_others_are_told_how(self):
        relay = self.relay_of(self.USER, mode=0o644)
        done = self.as_user(self.OTHER, "status", "-c", relay.config)
        self.assertEqual(done.returncode, UNREACHABLE, done.stdout)
        told = re.search("run it as that user: sudo -u (\\S+) boxhaul (.*)", done.stdout)
        self.assertEqual(told[1], self.USER)
        done = self.as_user(told[1], *told[2].split())
        self.assertEqual(done.returncode, DONE, done.stdout)

    def test_a_user_that_is_not_there(self):
        done = self.relay_of(self.NOBODY).command("check")
        self.assertIn(f"this machine has no user {self.NOBODY}: make one, or give that login a password", done.stdout)
        self.assertEqual(done.returncode, UNREACHABLE)

    def test_another_refusal_is_no_peer(self):
        done = self.relay_of("nobody_of_the_database").command("pause")
        self.assertNotIn("sudo", done.stdout)
        done = self.add_relay(postgres={"conninfo": self.server.conninfo("no_such_database")}).command("pause")
        self.assertRegex(done.stdout, 'database "no_such_database" does not exist$')


MISSPELT = (psycopg2.errors.UndefinedFunction, psycopg2.errors.UndefinedTable, psycopg2.errors.UndefinedColumn,
            psycopg2.errors.SyntaxError)


class Privileges(CommandTest):
    """Each role may do its own work and nothing else."""

    WRITE = ("INSERT INTO boxhaul.outbox (subject, key, payload, headers) VALUES ('orders.x', 'k', '', '{}') "
             "RETURNING id, created_at",
             "SELECT boxhaul.publish('orders.x', 'text')", "SELECT boxhaul.publish('orders.x', '{}'::jsonb, 'k', '{}')",
             "SELECT boxhaul.publish('orders.x', ''::bytea, key => 'k')")
    VERSION = ("SELECT max(version) FROM boxhaul.schema_version",)
    BOOKS = ("SELECT * FROM boxhaul.position", "SELECT * FROM boxhaul.exceptions", "SELECT * FROM boxhaul.sent")
    PAYLOADS = ("SELECT payload FROM boxhaul.outbox", "SELECT headers FROM boxhaul.outbox",
                "SELECT * FROM boxhaul.outbox", "SELECT * FROM boxhaul.messages",
                "SELECT headers FROM boxhaul.messages", "SELECT payload FROM boxhaul.dead_letter",
                "SELECT headers FROM boxhaul.dead_letter", "COPY boxhaul.outbox TO STDOUT")
    FOR_THE_MONITOR = (
        "SELECT id, message_id, subject, key, created_at FROM boxhaul.outbox",
        "SELECT id, subject, key, state, sent_at, attempts, last_error, payload_bytes FROM boxhaul.messages",
        "SELECT id, subject, key, reason, attempts, held, decision, died_at FROM boxhaul.dead_letter",
        "SELECT boxhaul.slot_seconds()", "SELECT * FROM boxhaul.paused", "SELECT * FROM boxhaul.discarded",
        "SELECT boxhaul.leader_pid()", "SELECT boxhaul.activity()", "SELECT boxhaul.status()", "SELECT boxhaul.explain(1)",
        "SELECT * FROM boxhaul.pause_state(1)", "SELECT * FROM boxhaul.dead_letters()", "SELECT * FROM boxhaul.kept()",
        "SELECT * FROM boxhaul.fates(0, 1, 1)", "SELECT boxhaul.not_granted()", "SELECT * FROM boxhaul.owner_lacks()", "SELECT boxhaul.is_asleep()",
        "SELECT * FROM boxhaul.ids()", "SELECT boxhaul.ids_differ()", "SELECT boxhaul.ids_remedy('')", "SELECT * FROM boxhaul.late_rows()")
    FOR_THE_RELAY = (
        "SELECT * FROM boxhaul.outbox", "SELECT * FROM boxhaul.messages", "SELECT * FROM boxhaul.dead_letter",
        "SELECT boxhaul.lead('me', 1)", "SELECT boxhaul.announce(1)", "SELECT boxhaul.outbox_xmin()",
        """SELECT boxhaul.mark(0, '{"position": 0}')""", "SELECT boxhaul.try_leader_lock()", "SELECT boxhaul.resign(0, 0)", "LISTEN boxhaul",
        "SELECT boxhaul.truncate_slot(0, 0, '1h')", "SELECT boxhaul.clean_sent(0, '1h', 1)", "SELECT boxhaul.clean_wake(1)",
        "SELECT pg_sequence_last_value('boxhaul.outbox_id_seq')",
        "SELECT boxhaul.mend_ids()", "SELECT boxhaul.rehearse('mark')", "SELECT boxhaul.pause('me', 'why')", "SELECT boxhaul.resume()", "SELECT boxhaul.quiet(0, 0)",
        "SELECT boxhaul.decide_many('discard', 0, 1, NULL, NULL, NULL, 1)",
        "SELECT boxhaul.replay(0, 0, NULL, NULL, NULL, 1, 1, 1, true)")
    DECISIONS = ("SELECT boxhaul.discard(1)", "SELECT boxhaul.redrive(1)")
    FOR_NOBODY = (
        "INSERT INTO boxhaul.outbox (xid, subject) VALUES ('1', 'orders.x')",
        "INSERT INTO boxhaul.outbox (slot, subject) VALUES (1, 'orders.x')",
        "INSERT INTO boxhaul.outbox (id, subject) OVERRIDING SYSTEM VALUE VALUES (1, 'orders.x')",
        "INSERT INTO boxhaul.outbox (message_id, subject) VALUES (gen_random_uuid(), 'orders.x')",
        "INSERT INTO boxhaul.outbox (created_at, subject) VALUES (now(), 'orders.x')",
        "INSERT INTO boxhaul.outbox_0 (subject, slot) VALUES ('orders.x', 0)", "SELECT payload FROM boxhaul.outbox_0",
        "UPDATE boxhaul.outbox SET subject = 'orders.y'", "DELETE FROM boxhaul.outbox", "TRUNCATE boxhaul.outbox",
        "UPDATE boxhaul.position SET position = 1", "DELETE FROM boxhaul.position", "DELETE FROM boxhaul.exceptions",
        "INSERT INTO boxhaul.exceptions (lo, hi, kind) VALUES (1, 1, 'missing')", "DELETE FROM boxhaul.sent",
        "INSERT INTO boxhaul.dead_letter (id, reason, attempts, held) VALUES (1, '', 0, false)",
        "UPDATE boxhaul.dead_letter SET decision = 'discard'", "DELETE FROM boxhaul.dead_letter",
        "INSERT INTO boxhaul.paused (paused_by) VALUES ('me')", "DELETE FROM boxhaul.paused", "DELETE FROM boxhaul.discarded",
        "UPDATE boxhaul.schema_version SET version = 99", "INSERT INTO boxhaul.wake DEFAULT VALUES",
        "SELECT setval('boxhaul.relay_asleep', 2)", "SELECT nextval('boxhaul.relay_asleep')",
        "SELECT boxhaul.decide(1, 'discard')", "SELECT message_id FROM boxhaul.outbox_0",
        "SELECT boxhaul.configure('1h', 1)", "CREATE TABLE boxhaul.mine ()",
        "CREATE FUNCTION boxhaul.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'", "DROP TABLE boxhaul.sent")

    EVERYTHING = {*WRITE, *VERSION, *BOOKS, *PAYLOADS, *FOR_THE_MONITOR, *FOR_THE_RELAY, *DECISIONS, *FOR_NOBODY}
    MAY = {
        "boxhaul_writer": {*WRITE, *VERSION, "LISTEN boxhaul"},
        "boxhaul_relay": {*VERSION, *BOOKS, *PAYLOADS, *FOR_THE_MONITOR, *FOR_THE_RELAY, *DECISIONS},
        "boxhaul_monitor": {*VERSION, *BOOKS, *FOR_THE_MONITOR, "LISTEN boxhaul"},
        None: {"LISTEN boxhaul"},
    }

    def test_what_each_role_may_do(self):
        for role, may in self.MAY.items():
            user = f"{role or 'anybody'}_user"
            self.pg.create_login(user, *filter(None, [role]))
            self.addCleanup(self.pg.execute, f"DROP ROLE {user}")
            with contextlib.closing(self.pg.connect(self.database, user)) as connection:
                denied = {sql for sql in self.EVERYTHING if self.is_denied(connection, sql)}
            self.assertEqual(denied - (self.EVERYTHING - may), set(), f"{role} may not do what it should")
            self.assertEqual((self.EVERYTHING - may) - denied, set(), f"{role} may do what it should not")

    def is_denied(self, connection, sql):
        """Whether the statement fails for want of a right. It changes nothing."""
        with connection.cursor() as cursor:
            cursor.execute("BEGIN")
            try:
                if sql.startswith("COPY"):
                    with open(os.devnull, "wb") as nowhere:
                        cursor.copy_expert(sql, nowhere)
                else:
                    cursor.execute(sql)
                return False
            except psycopg2.errors.InsufficientPrivilege:
                return True
            except MISSPELT:
                raise
            except psycopg2.Error:
                return False  # it was let in, and failed for another reason
            finally:
                cursor.execute("ROLLBACK")

    def test_names_in_public_do_not_lead_our_functions_astray(self):
        """Whoever may create objects in public must not get our functions to call them."""
        self.sql("""CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE plpgsql AS
            'BEGIN RAISE EXCEPTION ''astray''; END'""")
        for function in ("lead('me', 1)", "resign(1, 0)", "announce(1)", "outbox_xmin()", "clean_sent(0, '1h', 1)", "clean_wake(1)", "slot_seconds()",
                         "ids_differ()", "late_rows()",
                         "publish('orders.x', 'text')"):
            self.sql(f"SET search_path = public, pg_catalog; SELECT boxhaul.{function}")


# -- check

class Proxy:
    """Between a client and a PostgreSQL server: edits what the server says. edit(type, body) returns the body, or None
    to keep the message back."""

    def __init__(self, server, edit):
        self.socket_of_server, self.edit = f"{server.directory}/.s.PGSQL.{server.port}", edit
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.where = f"host=127.0.0.1 port={self.listener.getsockname()[1]} sslmode=disable gssencmode=disable"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self):
        self.listener.close()

    def _serve(self):
        client, _ = self.listener.accept()
        with client, socket.socket(socket.AF_UNIX) as server:
            server.connect(self.socket_of_server)
            threading.Thread(target=self._pass_on, args=(client, server), daemon=True).start()
            with contextlib.suppress(OSError, struct.error), server.makefile("rb") as answers:
                while head := answers.read(5):
                    kind, size = struct.unpack("!cI", head)
                    body = self.edit(kind, answers.read(size - 4))
                    if body is not None:
                        client.sendall(struct.pack("!cI", kind, len(body) + 4) + body)

    @staticmethod
    def _pass_on(client, server):
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)


def say_version_12(kind, body):
    return re.sub(rb"server_version\0\d+", rb"server_version\00012", body) if kind == b"S" else body


def keep_notifications(kind, body):
    return None if kind == b"A" else body


class NatsWithoutJetStream(Nats):
    def __init__(self, directory):
        super().__init__(directory, jetstream=False)

    def _greets(self):
        return '"server_id"' in self._greeting()


SWITCH_ON = ("switch it on at the server (with Debian's package, as root: `install -d -o nats -g nats /var/lib/nats`; "
             "`echo 'jetstream { store_dir: /var/lib/nats }' >>/etc/nats-server.conf`; `systemctl restart nats-server`), or, at a "
             "leaf node, set nats.jetstream_domain")


class PackagedNats(Nats):
    """With Debian's configuration, and what an operator adds to it."""

    def spawn_only(self):
        os.makedirs(self.directory, mode=0o700, exist_ok=True)
        self.config = os.path.join(self.directory, "nats-server.conf")
        if not os.path.exists(self.config):
            with open(self.config, "w", encoding="utf-8") as f:
                f.write(f"host: 127.0.0.1\nport: {self.port}\n")
        self.spawn([os.environ.get("NATS_SERVER", "nats-server"), "-c", self.config],
                   env={"PATH": os.environ.get("PATH", "") + ":/usr/sbin"})

    def _greets(self):
        return '"server_id"' in self._greeting()


MIGRATE = "run `boxhaul migrate {0}`, then `boxhaul check {0}`"
OWNER = "it is not the relay's user that lacks a right, but the owner of boxhaul's functions, or of a trigger's"
ADDED = ("take away what was added to boxhaul's tables (a trigger, a rule, a policy, a foreign key), or see the server's log")
REFUSE = ("CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''not on my watch''; END'; ")
AGAIN = "the schema is not whole: apply all of sql/*.sql again"
GRANT = "GRANT boxhaul_relay TO the relay's user"
RIGHTS = (("SELECT", "boxhaul.outbox"), ("SELECT", "boxhaul.exceptions"), ("SELECT", "boxhaul.dead_letter"),
          ("SELECT", "boxhaul.sent"), ("EXECUTE", "boxhaul.try_leader_lock"), ("EXECUTE", "boxhaul.lead"),
          ("EXECUTE", "boxhaul.resign"), ("EXECUTE", "boxhaul.announce"), ("EXECUTE", "boxhaul.outbox_xmin"), ("EXECUTE", "boxhaul.mark"),
          ("EXECUTE", "boxhaul.truncate_slot"), ("SELECT", "boxhaul.outbox_id_seq"))


def ageless(line):
    """What two calls, one after the other, say alike."""
    return re.sub(r"\b[\d.]+ (ms|s|min|h)\b", "some time", line)


class Check(CommandTest):
    """Every error and every warning of `boxhaul check`, each from a real situation, and gone when it is mended."""

    IN_THE_DATABASE = [  # what somebody did, what is said, what mends it: SQL, or one of the words below
        ("DROP SCHEMA boxhaul CASCADE",
         'FAIL  schema: relation "boxhaul.schema_version" does not exist: ' + MIGRATE, "migrate"),
        ("DELETE FROM boxhaul.schema_version WHERE version > 4",
         f"FAIL  schema: the schema has version 4, this boxhaul needs {NEWEST}: run `boxhaul migrate {{0}}`", "migrate"),
        ("INSERT INTO boxhaul.schema_version (version, name) VALUES (99, 'future')",
         f"FAIL  schema: the schema has version 99, this boxhaul knows {NEWEST}: install the newer boxhaul",
         "DELETE FROM boxhaul.schema_version WHERE version = 99"),
        (f"INSERT INTO boxhaul.schema_version (version, name, serves) VALUES (99, 'future', {NEWEST})",
         f"warn  schema: the schema has version 99 and serves relays of an older one, this boxhaul knows {NEWEST}: install the newer "
         "boxhaul when it suits",
         "DELETE FROM boxhaul.schema_version WHERE version = 99"),
        (f"REVOKE boxhaul_relay FROM {RELAY}",
         f"FAIL  schema: permission denied for schema boxhaul: GRANT boxhaul_relay TO this login (to look, boxhaul_monitor is enough)", f"GRANT boxhaul_relay TO {RELAY}"),
        (f"REVOKE boxhaul_relay FROM {RELAY}; GRANT boxhaul_monitor TO {RELAY}",
         f"FAIL  grants: the relay's user lacks SELECT on boxhaul.outbox: {GRANT}",
         f"REVOKE boxhaul_monitor FROM {RELAY}; GRANT boxhaul_relay TO {RELAY}"),
        ("DROP FUNCTION boxhaul.lead",
         f'FAIL  grants: function "boxhaul.lead(text, integer)" does not exist: {AGAIN}', "paste"),
        ("ALTER SEQUENCE boxhaul.outbox_id_seq CACHE 100",
         "FAIL  ids: boxhaul.outbox_id_seq does not count one by one (CACHE, INCREMENT or CYCLE): rows would be lost: "
         "ALTER SEQUENCE boxhaul.outbox_id_seq CACHE 1 INCREMENT 1 NO CYCLE",
         "ALTER SEQUENCE boxhaul.outbox_id_seq CACHE 1"),
        ("REVOKE EXECUTE ON FUNCTION boxhaul.ids_differ FROM boxhaul_relay",
         f"FAIL  ids: permission denied for function ids_differ: {AGAIN}", "paste"),
        ("REVOKE EXECUTE ON FUNCTION boxhaul.owner_lacks FROM boxhaul_relay",
         f"FAIL  owner: permission denied for function owner_lacks: {AGAIN}", "paste"),
        (REFUSE + "CREATE TRIGGER refuse BEFORE UPDATE ON boxhaul.position EXECUTE FUNCTION public.refuse()",
         [f"FAIL  run: cannot {what}: not on my watch: {ADDED}" for what in ("take the lead", "mark what is sent")],
         "DROP TRIGGER refuse ON boxhaul.position"),
        (REFUSE + "CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON boxhaul.exceptions INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.refuse()",
         f"FAIL  run: cannot mark what is sent: not on my watch: {ADDED}", "DROP TRIGGER refuse ON boxhaul.exceptions"),
        (REFUSE + "CREATE TRIGGER refuse BEFORE DELETE ON boxhaul.sent FOR EACH ROW EXECUTE FUNCTION public.refuse()",
         f"FAIL  run: cannot clean up: not on my watch: {ADDED}", "DROP TRIGGER refuse ON boxhaul.sent"),
        ("CREATE TABLE public.mine (id bigint, slot smallint, FOREIGN KEY (id, slot) REFERENCES boxhaul.outbox)",
         "FAIL  run: cannot clean up: cannot truncate a table referenced in a foreign key constraint (public.mine refers to "
         f"boxhaul.outbox_0) (Drop the foreign key: rows of the outbox go away.): {ADDED}", "DROP TABLE public.mine"),
        ("ALTER TABLE boxhaul.wake DROP CONSTRAINT wake_pkey; CREATE PUBLICATION everything FOR ALL TABLES",
         'FAIL  run: cannot clean up: cannot delete from table "wake" because it does not have a replica identity and publishes deletes '
         "(To enable deleting from the table, set REPLICA IDENTITY using ALTER TABLE.): give the table a replica identity, or leave boxhaul's tables out of the publication",
         "DROP PUBLICATION everything; ALTER TABLE boxhaul.wake ADD PRIMARY KEY (id)"),
        ("ALTER TABLE boxhaul.outbox ENABLE ROW LEVEL SECURITY",
         'FAIL  run: cannot read: query would be affected by row-level security policy for table "outbox": ' + OWNER,
         "ALTER TABLE boxhaul.outbox DISABLE ROW LEVEL SECURITY"),
        ("INSERT INTO boxhaul.dead_letter (id, reason, attempts, held) VALUES (1, 'x', 1, false)",
         "warn  dead letters: there are 1: `boxhaul dead-letters list {0}` shows them", "DELETE FROM boxhaul.dead_letter"),
        ("SELECT boxhaul.pause('somebody', 'maintenance')",
         re.compile("^warn  now: Paused by somebody since .*: maintenance: nothing is sent: `boxhaul resume -c .*` goes on$"),
         "SELECT boxhaul.resume()"),
        ("REVOKE EXECUTE ON FUNCTION boxhaul.slot_seconds FROM boxhaul_relay",
         f"FAIL  ring: permission denied for function slot_seconds: {AGAIN}", "paste"),
        ("REVOKE EXECUTE ON FUNCTION pg_is_in_recovery FROM PUBLIC",
         "FAIL  server: permission denied for function pg_is_in_recovery",
         "GRANT EXECUTE ON FUNCTION pg_is_in_recovery TO PUBLIC"),
    ] + [
        (f"REVOKE {right} ON {'FUNCTION' * (right == 'EXECUTE')} {what} FROM boxhaul_relay",
         f"FAIL  grants: boxhaul_relay lacks {right} on {what}: {AGAIN}", "paste")
        for right, what in RIGHTS]

    STREAMS = [  # the stream, what of our configuration matters, what is said, what mends it
        ({"subjects": ["orders.paid", "orders.sent"]}, {"subjects": ["orders.paid", "orders.*.late"]},
         ["FAIL  stream ORDERS: does not take orders.*.late: nats stream edit ORDERS --subjects ...,orders.*.late"],
         {"subjects": ["orders.>"]}),
        ({"no_ack": True}, {},
         ["FAIL  stream ORDERS: no_ack is on, nothing can be known to be stored: nats stream edit ORDERS --ack"],
         {"no_ack": False}),
        ({"retention": "interest"}, {},
         ["warn  stream ORDERS: interest retention acknowledges and drops what no consumer wants"], None),
        ({"retention": "workqueue"}, {},
         ["warn  stream ORDERS: work-queue retention forgets message ids when a message is consumed: late repeats are "
          "not recognised"], None),
        ({"max_msgs": 1000}, {},
         ["warn  stream ORDERS: discard old deletes unread messages when it is full: nats stream edit ORDERS "
          "--discard=new"], {"discard": "new"}),
        ({"max_bytes": 1 << 20}, {},
         ["warn  stream ORDERS: discard old deletes unread messages when it is full: nats stream edit ORDERS "
          "--discard=new"], {"discard": "new"}),
        ({"max_age": 600 * 10**9}, {},
         ["warn  stream ORDERS: it drops messages after 600 s, the outbox keeps rows for 3600 s: `boxhaul reconcile {0}` cannot check "
          "what is dropped"], {"max_age": 3600 * 10**9}),
        ({"storage": "memory"}, {},
         ["warn  stream ORDERS: memory storage does not survive a restart of the server"], None),
        ({}, {"replicas": 3},
         ["warn  stream ORDERS: 1 replicas, the configuration says 3: nats stream edit ORDERS --replicas=3"], None),
        ({}, {"send": "batch"}, [re.compile("^warn  stream ORDERS: messages go one by one: ")], None),
        ({"duplicate_window": 10**9}, {"duplicate_window": "5m"},
         ["warn  stream ORDERS: the duplicate window is 1000 ms, the configuration says 300000 ms: nats stream edit "
          "ORDERS --dupe-window=300000ms"], {"duplicate_window": 300 * 10**9}),
        ({"max_msgs_per_subject": 5}, {"owned": True},
         [re.compile("^warn  stream ORDERS: of a subject it keeps the last 5: "),
          "FAIL  stream ORDERS: it is owned, and loses messages one by one (its retention, or max_msgs_per_subject): what was stored "
          "without an answer could be stored again, out of its order: keep them (retention limits, max_msgs_per_subject -1), or owned = "
          "false"], {"max_msgs_per_subject": -1}),
        ({"max_msg_size": 1000}, {},
         ["warn  stream ORDERS: max_msg_size 1000 is smaller than outbox.max_message_size 1048576: larger messages "
          "become dead letters: nats stream edit ORDERS --max-msg-size=1048576"], {"max_msg_size": 1 << 20}),
    ]

    def setUp(self):
        super().setUp()
        self.seen = []

    def check(self, relay, *expected, code=None):
        """All that `boxhaul check` finds wrong: texts, or patterns."""
        done = relay.command("check")
        lines = done.stdout.splitlines()
        for line in lines:
            self.assertRegex(line, "^(ok  |warn|FAIL)  [a-z]")
        wrong = [line for line in lines if not line.startswith("ok")]
        self.assertEqual(len(wrong), len(expected), done.stdout)
        for line, text in zip(wrong, expected):
            if isinstance(text, str):  # {0}: what a command's line says to mean this configuration
                text = f"^{re.escape(text.replace('{0}', f'-c {relay.config}'))}$"
            self.assertRegex(line, text)
        if code is None:
            code = FAILED if any(line.startswith("FAIL") for line in wrong) else DONE
        self.assertEqual(done.returncode, code, done.stdout)
        if not self.seen:  # once is enough
            told = json.loads(relay.command("check", "--json").stdout)
            self.assertEqual([ageless(f"{c['verdict']:<4}  {c['text']}") for c in told["checks"]], [ageless(line) for line in lines])
            self.assertEqual(told["ok"], code == DONE)
        self.seen += wrong
        return done.stdout

    def test_every_error_and_warning(self):
        for part in (self.check_that_all_is_well, self.check_connecting, self.check_the_database, self.check_the_server,
                     self.check_owner, self.check_now, self.check_nats, self.check_streams, self.check_room):
            with self.subTest(part.__name__):
                part()
        self.assertEqual(self.never_seen(), [], "messages of check.c that were not provoked")

    def test_the_words_that_switch_jetstream_on(self):
        """They are README.md's, and followed with a backlog they are enough."""
        server = self.add_server(PackagedNats(self.workspace.path("packaged")))
        relay = self.start_relay(nats={"urls": [server.url()]})
        self.writer("w").write("k", 20).commit()
        self.wait(lambda: "JetStream" in self.status(relay)["summary"], "the relay to say so")
        said = self.expect(relay, "check", FAILED, f"FAIL  stream ORDERS: nobody answers for JetStream: {SWITCH_ON}\n")
        with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as f:
            readme = [line.strip() for line in f]
        store = self.workspace.path("var-lib-nats")
        commands = re.findall("`(.*?)`", next(line for line in said.splitlines() if "nobody answers" in line))
        self.assertEqual(len(commands), 3)
        for command in commands:
            self.assertIn(command, readme)
            command = command.replace("-o nats -g nats ", "").replace("/var/lib/nats", store)
            if command.startswith("systemctl"):
                server.stop()
                server.start()
            else:
                subprocess.run(["sh", "-ec", command.replace("/etc/nats-server.conf", server.config)], check=True, timeout=60)
        self.wait_settled()
        self.assertTrue(os.listdir(store))
        self.check(relay)

    def check_room(self):
        """Of streams as newer servers have them, too: somebody answers in JetStream's place."""
        server = self.add_server(NatsWithoutJetStream(self.workspace.path("in-its-place")))
        relay = self.add_relay(nats={"urls": [server.url()]})
        config = {"subjects": ["orders.>"], "storage": "file", "num_replicas": 1, "duplicate_window": 300 * 10**9,
                  "discard": "new", "max_msgs": 10, "max_bytes": 1000}
        self.answer_for(server, config | {"allow_msg_counter": True, "persist_mode": "async", "max_msgs_per_subject": 5},
                        {"messages": 10, "bytes": 950}, {"storage": 1000, "limits": {"max_storage": 1050}})
        self.check(relay,
                   "FAIL  stream ORDERS: it takes only counters (allow_msg_counter): "
                   "take these subjects out of it, then configure another stream for them",
                   "warn  stream ORDERS: persist_mode async acknowledges before it has written: a crash of the server loses messages",
                   "warn  stream ORDERS: of a subject it keeps the last 5: what it dropped cannot be found, and a late repeat is "
                   "stored behind what came after it",
                   "FAIL  stream ORDERS: the account's JetStream storage is used up (1000 of 1050 bytes): it takes nothing: consume "
                   "or purge messages, or raise the limit",
                   "FAIL  stream ORDERS: it is full (950 of 1000 bytes): it takes nothing: consume or purge messages, or raise the "
                   "limit",
                   "FAIL  stream ORDERS: it is full (10 of 10 messages): it takes nothing: consume or purge messages, or raise the "
                   "limit")
        self.answer_for(server, config | {"storage": "memory"}, {"messages": 9, "bytes": 900}, {"limits": {"max_memory": 0}})
        self.check(relay,
                   "warn  stream ORDERS: memory storage does not survive a restart of the server",
                   "warn  stream ORDERS: nearly, it is full: 900 of 1000 bytes",
                   "warn  stream ORDERS: nearly, it is full: 9 of 10 messages")

    def answer_for(self, server, config, state, account):
        """Once to each question of `check`."""
        client = Client(server.url())
        self.addCleanup(client.close)
        answers = {"$JS.API.INFO": account, "$JS.API.STREAM.INFO.ORDERS": {"config": config, "state": state},
                   "$JS.API.STREAM.MSG.GET.ORDERS": {"error": {"code": 404, "err_code": 10037}}}
        sids = {subject: client.subscribe(subject) for subject in answers}
        client.flush()

        def serve():
            with contextlib.suppress(OSError):  # the test is over
                for subject, sid in sids.items():
                    client.publish(client.next(sid).reply, json.dumps(answers[subject]).encode())
                    client.unsubscribe(sid)
        threading.Thread(target=serve, daemon=True).start()

    def check_that_all_is_well(self):
        relay = self.add_relay()
        self.assertIn("ok    stream ORDERS: not there yet, `run` will create it\n", self.check(relay))
        with self.jetstream() as jetstream:
            jetstream.create(STREAM, ["orders.>"])
            self.assertIn("ok    stream ORDERS: takes orders.>\n", self.check(relay))
            jetstream.delete(STREAM)
        self.check(self.add_relay(streams=[{"name": STREAM, "subjects": ["orders.>", "invoices.>"]}]),
                   "FAIL  stream ORDERS: it does not exist: nats stream add ORDERS --subjects=orders.> --storage=file "
                   "--discard=new, or set create = true")

    def check_connecting(self):
        refused = self.pg.conninfo(self.database, RELAY, tcp=True).replace("password=", "password=x")
        for conninfo, why in ((f"host=127.0.0.1 port={free_port()}", "refused"), (refused, "authentication failed")):
            self.check(self.add_relay(postgres={"conninfo": conninfo}),
                       re.compile(f"^FAIL  database: .*{why}.*: check postgres.conninfo, and that the server runs and "
                                  "lets this user in$"), code=UNREACHABLE)
        locked = self.add_server(Nats(self.workspace.path("locked"), authorization={"user": "u", "password": "p"}))
        for url, why in ((f"nats://127.0.0.1:{free_port()}", "No server available for connection"),
                         (locked.url("u", "wrong"),
                          "Authorization Violation: the server refused us with no login but what nats.urls hold")):
            self.check(self.add_relay(nats={"urls": [url]}),
                       f"FAIL  nats: {why}: check nats.urls and the login, and that the server runs", code=UNREACHABLE)

    def add_server(self, server):
        server.start()
        self.addCleanup(server.close)
        return server

    def check_the_database(self):
        relay = self.add_relay()
        for sql, text, mend in self.IN_THE_DATABASE:
            with self.subTest(sql):
                self.renew()
                self.sql(sql)
                self.check(relay, *(text if isinstance(text, list) else [text]))
                self.mend(relay, mend)
                self.check(relay)
        self.renew()
        longer = self.add_relay(outbox={"retention": "10h"})
        self.check(longer, "warn  ring: holds 5400 s, outbox.retention is 36000 s: run `boxhaul migrate {0}`")
        self.mend(longer, "migrate")
        self.check(longer)
        self.renew()

    def mend(self, relay, how):
        if how == "migrate":
            self.expect(relay, "migrate", DONE)
        elif how == "paste":
            for path in SQL:
                with open(path, encoding="utf-8") as f:
                    self.sql(f.read())
        else:
            self.sql(how)

    def check_owner(self):
        """A tool gave the outbox to another role: the functions' owner lacks it. The remedy is followed, with a backlog."""
        for role in ("steward", "appliance"):
            self.pg.execute(f"CREATE ROLE {role} LOGIN")
        self.renew("template0")
        self.pg.execute(f"ALTER DATABASE {self.database} OWNER TO steward")
        relay = self.add_relay(postgres={"migrate_conninfo": self.pg.conninfo(self.database, "steward")})
        self.mend(relay, "migrate")
        self.check(relay)
        self.sql("INSERT INTO boxhaul.outbox (subject) VALUES ('orders.x'); ALTER TABLE boxhaul.outbox OWNER TO appliance")
        remedy = "; ".join(f"GRANT ALL ON ALL {things} IN SCHEMA boxhaul TO steward" for things in ("TABLES", "SEQUENCES"))
        self.check(relay, "FAIL  owner: steward, who owns boxhaul's functions, lacks SELECT on boxhaul.outbox_id_seq, INSERT on "
                          f"boxhaul.outbox, SELECT on boxhaul.outbox: {remedy}")
        self.sql(remedy)
        self.check(relay, re.compile("^warn  now: Nobody leads: 1 message waits, "))
        relay.start()
        self.wait_settled()
        relay.stop()
        self.assertEqual(self.count(), 1)
        self.renew()

    def check_now(self):
        """Where somebody leads he is asked, and nothing of his is touched."""
        relay = self.start_relay()
        self.check(relay)
        books = "SELECT position, epoch, leader, led_since, xmin::text FROM boxhaul.position"
        before = self.sql(books), self.sql("SELECT last_value FROM boxhaul.relay_asleep")
        self.assertNotIn("take the lead", self.check(relay))
        self.assertEqual(self.sql(books), before[0])
        self.nats.stop()
        self.wait(lambda: not self.status(relay)["nats"]["connected"], "the relay to notice")
        self.check(relay, re.compile("^FAIL  now: NATS is not connected: .*: `boxhaul check -c .*nats-down$"),
                   re.compile("^FAIL  nats: "), code=UNREACHABLE)
        self.nats.start()
        relay.stop()
        with self.jetstream() as jetstream:
            jetstream.delete(STREAM)

    def test_a_rehearsal_leaves_nothing(self):
        """Every value of every table and sequence of ours is as it was, and nobody waited for a lock of it."""
        relay = self.add_relay()
        self.writer("w").write("k", 3).commit()
        self.sql("SELECT setval('boxhaul.relay_asleep', 4000000000)")

        def everything():
            return [self.sql(f"SELECT {'x::text' if kind == 'r' else 'last_value'} FROM {name} x ORDER BY 1") for name, kind in self.sql(
                "SELECT oid::regclass::text, relkind::text FROM pg_class WHERE relnamespace = 'boxhaul'::regnamespace "
                "AND relkind IN ('r', 'S') ORDER BY 1")]
        before = everything()
        for _ in range(3):
            self.check(relay, re.compile("^warn  now: Nobody leads: 3 messages wait, "))
        self.assertEqual(everything(), before)
        with self.connect().cursor() as cursor:
            cursor.execute("BEGIN; LOCK boxhaul.exceptions IN SHARE MODE")
            self.assertIn("FAIL  run: cannot mark what is sent: canceling statement due to lock timeout", relay.command("check").stdout)
            cursor.execute("ROLLBACK")

    def check_the_server(self):
        for edit, text in (
                (say_version_12, re.compile(r"^FAIL  server: PostgreSQL \d.* is too old: 13 or newer is needed$")),
                (keep_notifications, "FAIL  notify: LISTEN was accepted, but nothing arrives: a pooler stands between; "
                                     "connect to the server directly")):
            with contextlib.closing(Proxy(self.pg, edit)) as proxy:
                conninfo = f"{proxy.where} dbname={self.database} user={RELAY}"
                self.check(self.add_relay(postgres={"conninfo": conninfo}), text)
        standby = os.path.join(self.pg.data, "standby.signal")
        self.pg.stop()
        with open(standby, "wb"):
            self.addCleanup(lambda: os.path.exists(standby) and os.unlink(standby))
        self.pg.start()
        self.check(self.add_relay(), "FAIL  server: it is in recovery (a standby): connect to the primary, e.g. "
                                     "target_session_attrs=read-write",
                   "FAIL  notify: cannot execute LISTEN during recovery")
        os.unlink(standby)
        self.pg.restart()
        self.check(self.add_relay())

    def check_nats(self):
        without = self.add_server(NatsWithoutJetStream(self.workspace.path("without")))
        accounts = self.add_server(Nats(self.workspace.path("accounts"), accounts={
            "WITHOUT": {"users": [{"user": "without", "password": "p"}]},
            "WITH": {"jetstream": True, "users": [
                {"user": "all", "password": "p"},
                {"user": "blind", "password": "p",
                 "permissions": {"publish": ["orders.>", "$JS.API.STREAM.INFO.ORDERS"]}},
                {"user": "dumb", "password": "p", "permissions": {"publish": ["orders.>"]}}]}}))
        for url, text in (
                (without.url(), f"nobody answers for JetStream: {SWITCH_ON}"),
                (accounts.url("without", "p"),
                 "JetStream is off for this login's account: add jetstream: enabled to the account"),
                (accounts.url("dumb", "p"),
                 "no answer: let this login publish to $JS.API.STREAM.INFO.ORDERS and subscribe to _INBOX.>")):
            self.check(self.add_relay(nats={"urls": [url]}), f"FAIL  stream ORDERS: {text}")
        two = [{"name": name, "subjects": [f"{name}.>"]} for name in ("A", "B")]
        self.check(self.add_relay(nats={"urls": [without.url()], "jetstream_domain": "hub"}, streams=two),
                   "FAIL  stream A: nobody answers for JetStream at $JS.hub.API: look at nats.jetstream_domain and "
                   "nats.jetstream_prefix")
        with Client(without.url()) as client:  # in JetStream's place
            sid = client.subscribe("$JS.API.STREAM.INFO.ORDERS")
            client.flush()
            error = b'{"error": {"code": 400, "err_code": 10999, "description": "the moon is new"}}'
            answering = threading.Thread(target=lambda: client.publish(client.next(sid).reply, error))
            answering.start()
            self.check(self.add_relay(nats={"urls": [without.url()]}),
                       "FAIL  stream ORDERS: the server says: error of the server (10999): the moon is new")
            answering.join()
        with Client(accounts.url("all", "p")) as client:
            JetStream(client).create(STREAM, ["orders.>"])
        self.check(self.add_relay(nats={"urls": [accounts.url("blind", "p")]}),
                   "warn  stream ORDERS: no answer to $JS.API.STREAM.MSG.GET.ORDERS: let this login publish to it, or "
                   "messages may be stored twice after a restart")
        self.check(self.add_relay(outbox={"max_message_size": "2MiB"}),
                   "warn  nats: max_payload 1048576 is smaller than outbox.max_message_size 2097152: larger messages "
                   "become dead letters")

    def check_streams(self):
        for config, ours, expected, mend in self.STREAMS:
            with self.subTest(config), self.jetstream() as jetstream:
                relay = self.add_relay(streams=[{"name": STREAM, "subjects": ["orders.>"], **ours}])
                jetstream.create(STREAM, **{"subjects": ["orders.>"], **config})
                self.check(relay, *expected)
                if mend:
                    jetstream.update(STREAM, **mend)
                    self.check(relay)
                jetstream.delete(STREAM)
        with self.jetstream() as jetstream:
            jetstream.create(STREAM, ["orders.>"])
            jetstream.update(STREAM, sealed=True)
            self.check(self.add_relay(), "FAIL  stream ORDERS: it is sealed and takes nothing: take these subjects out of it, then "
                                         "configure another stream for them")
            jetstream.delete(STREAM)
            jetstream.create("ORIGIN", ["origin.>"])
            jetstream.create(STREAM, [], mirror={"name": "ORIGIN"})
            self.check(self.add_relay(),
                       "FAIL  stream ORDERS: does not take orders.>: nats stream edit ORDERS --subjects ...,orders.>",
                       "FAIL  stream ORDERS: it is a mirror and takes nothing: configure its origin",
                       re.compile("^warn  stream ORDERS: the duplicate window is 0 ms"))
            jetstream.delete(STREAM)
        wanted = {"name": STREAM, "subjects": ["orders.>"], "create": True}
        self.check(self.add_relay(streams=[{**wanted, "replicas": 3}]),
                   "warn  stream ORDERS: replicas = 3, and 1 server is known: whether there are enough cannot be known before it is made: "
                   "set replicas = 1 for it, or run the servers as a cluster of as many")
        self.check(self.add_relay(streams=[{**wanted, "replicas": 1}]))

    def never_seen(self):
        """Messages that no line was written with. A line counts for the message with the longest text that fits it."""
        patterns = self.messages()
        met = {max((p for p in patterns if re.fullmatch(p, line)), key=len) for line in self.seen}
        return sorted(patterns - met)

    @staticmethod
    def messages():
        """Every format that relay/command/check.c and check_run.c give to fail() and warn(), as a pattern."""
        text = ""
        for name in ("check.c", "check_run.c"):
            with open(os.path.join(ROOT, "relay", "command", name), encoding="utf-8") as f:
                text += f.read()
        calls = re.findall(r'\b(fail\(c|warn\(c),\s*(?=")((?:"(?:[^"\\]|\\.)*"|PRI[a-z]\d+|\s)+)', text)
        assert len(calls) > 25, "the sources are not written as they were"
        patterns = set()
        for call, literals in calls:
            text = "".join(re.findall(r'"((?:[^"\\]|\\.)*)"', re.sub(r"PRI[a-z]\d+", '"d"', literals)))
            words = re.split(r"%(?:\.0)?l?[a-z]", text)
            patterns.add(("FAIL  " if call.startswith("fail") else "warn  ") + ".*".join(map(re.escape, words)))
        return patterns


if __name__ == "__main__":
    unittest.main()
