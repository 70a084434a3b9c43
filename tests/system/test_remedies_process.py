"""Advice about the configuration and the process, followed to the letter while messages wait. tests/remedies.md lists every advice."""

import os
import re
import resource
import socket
import subprocess
import unittest

from harness import RELAY, STREAM
from process import free_port
from relay import to_libconfig
from remedies import RemedyTest

DONE, CONFIG_WRONG = 0, 3
ORDERS = {"name": STREAM, "subjects": ["orders.>"], "create": True}


class Configuration(RemedyTest):
    """Each complaint, and the file as it asks for; the relay does not start before, and sends what waits then."""

    def complaints(self):
        """(what is wrong, what is said, what it asks for): groups of the configuration, or a change of its text."""
        nats = {"urls": [self.nats.url()]}
        login = [self.nats.url("u", "p")]
        cert = {"tls": {"cert_file": "/c", "key_file": "/k"}}
        taking = {"name": "i", "stream": STREAM, "subjects": ["orders.>"]}
        return [
            ({"name": "a b"}, r"is not usable: write up to 48 letters, digits, '.', '_' and '-'", {"name": "a_b.-1"}),
            ({"nats": {**nats, "user": "u", "password_file": "/p", "token_file": "/t"}}, "are two ways to log in: leave one out",
             {"nats": {**nats, "token_file": "/t"}}),
            ({"nats": {"urls": login, "token_file": "/t"}}, "the login in the URL would be used instead of .*: leave one out",
             {"nats": {"urls": login}}),
            ({"nats": {**nats, "user": "u"}}, "nats.user needs a password: add password_file", {"nats": {**nats, "user": "u", "password_file": "/p"}}),
            ({"nats": {**nats, "password_file": "/p"}}, "nats.password_file needs a user: add user", {"nats": {**nats, "user": "u", "password_file": "/p"}}),
            ({"nats": {**nats, "jetstream_domain": "hub", "jetstream_prefix": "js"}}, "say the same in two ways: leave one out",
             {"nats": {**nats, "jetstream_domain": "hub"}}),
            ({"nats": {**nats, "tls": {"cert_file": "/c"}}}, "needs its private key: add key_file", {"nats": {**nats, **cert}}),
            ({"nats": {**nats, "tls": {"key_file": "/k"}}}, "needs its certificate: add cert_file", {"nats": {**nats, **cert}}),
            ({"nats": {**nats, "token_file": "relative/token"}}, "is no absolute path: begin it with /", {"nats": {**nats, "token_file": "/token"}}),
            ({"streams": [{**ORDERS, "subjects": ["box.>"]}], "nats": {**nats, "inbox_prefix": "box"}}, "takes the answers to this relay: narrow it",
             {"streams": [{**ORDERS, "subjects": ["box.orders"]}], "nats": {**nats, "inbox_prefix": "box"}}),
            ({"streams": [{**ORDERS, "subjects": ["box.>"]}], "nats": {**nats, "inbox_prefix": "box"}}, "or choose another nats.inbox_prefix than",
             {"streams": [{**ORDERS, "subjects": ["box.>"]}], "nats": {**nats, "inbox_prefix": "else"}}),
            ({"streams": [ORDERS, {**ORDERS, "subjects": ["more"]}]}, "stands twice .*: put all its subjects into one",
             {"streams": [{**ORDERS, "subjects": ["orders.>", "more"]}]}),
            ({"inbox": [{**taking, "subjects": ["orders.>", "orders.x"]}]}, "overlap: .*narrow or leave out one of them", {"inbox": [taking]}),
            ({"streams": []}, "streams is empty: add .*, or leave it out", {"streams": [ORDERS]}),
            (("streams", None), r"streams, inbox and capture are missing: add streams = \(", {"streams": [ORDERS]}),
            ({"streams": [{"name": STREAM}]}, 'this group of streams has no subjects: add subjects', {"streams": [ORDERS]}),
            ({"streams": [{**ORDERS, "name": f"S{n}", "subjects": [f"s{n}"]} for n in range(40)]}, "and one relay serves .* at most: leave some out",
             {"streams": [ORDERS]}),
            ({"surprise": 1}, "unknown key surprise: `boxhaul config-sample` lists them all", {}),
            ('name = "other";\n', "duplicate setting name: it stands further above, too: leave one out", ""),
            ("log = { level = \"info\"\n", "look for a missing quote, bracket or ';' here or on the line before", "log = { level = \"info\"; };\n"),
            ("log = { level = \"info; };\n", "this quote is never closed: add \"", "log = { level = \"info\"; };\n"),
        ]

    def complaints_of_captures(self):
        """The same of captures, outbox tables and messages; the file's own stream takes orders.>."""
        shop = {"name": "shop", "stream": "CDC", "tables": ["public.orders"]}
        bucket = {"name": "b", "stream": "KV_b", "target": "kv", "tables": ["public.orders"]}
        table = {"table": "public.outbox", "preset": "debezium"}
        trigger = {"table": "public.outbox", "preset": "go-outbox", "source": "trigger", "subject": "orders.{topic>}"}
        message = {"prefix": "p", "subject": "p.{name}"}

        def of(**changes):
            return {"capture": [{name: value for name, value in {**shop, **changes}.items() if value is not None}]}

        def bucket_of(**changes):
            return {"capture": [{**bucket, **changes}]}

        return [
            (of(tables=["a.b", "a.b"]), "stands twice in this capture: leave one out", of(tables=["a.b"])),
            ({**of(subject="box.{op}.{schema}.{table}"), "nats": {"urls": [self.nats.url()], "inbox_prefix": "box"}},
             "are subjects of the answers to this relay: choose others",
             {**of(subject="cdc.{table}"), "nats": {"urls": [self.nats.url()], "inbox_prefix": "box"}}),
            (of(subject="orders.{table}"), "a subject may belong to one stream only; choose another subject", of(subject="cdc.{table}")),
            (bucket_of(tables=["a.b", "c.b"]), "have the same keys in one bucket: give each a capture of its own",
             {"capture": [{**bucket, "tables": ["a.b"]}, {**bucket, "name": "c", "stream": "KV_c", "tables": ["c.b"]}]}),
            (bucket_of(subject="a"), 'capture.subject is not for target = "kv", .*: leave it out', bucket_of()),
            (bucket_of(create=True), "capture.create is not for target = .*: make the bucket with", bucket_of()),
            (of(stream=STREAM), 'with order = "commit" nobody else publishes to it; name another stream', of()),
            (of(tables=None), r'this group of capture has nothing to capture: add tables = \[', of()),
            (of(tables=None), 'or say capture = "shop"; in outbox_tables or messages', {**of(tables=None), "messages": [{**message, "capture": "shop"}]}),
            ({**bucket_of(), "messages": [message]}, "which holds rows of tables only: name another",
             {"capture": [bucket, shop], "messages": [{**message, "capture": "shop"}]}),
            ({**of(), "messages": [{**message, "capture": "x"}]}, r"is no capture: name one of those in capture = \(",
             {**of(), "messages": [{**message, "capture": "shop"}]}),
            ({"messages": [message]}, "messages needs a capture that sends them: add capture", {**of(), "messages": [message]}),
            ({"capture": [shop, {**shop, "name": "b", "stream": "B"}], "messages": [message]}, "does not say which capture sends them: add capture",
             {"capture": [shop, {**shop, "name": "b", "stream": "B"}], "messages": [{**message, "capture": "b"}]}),
            ({**of(), "outbox_tables": [{"table": "a.b", "payload": "p"}]}, "has no subject, and its preset knows none: add subject",
             {**of(), "outbox_tables": [{"table": "a.b", "payload": "p", "subject": "o.{x}"}]}),
            ({"outbox_tables": [{**trigger, "capture": "shop"}]}, 'is not for source = "trigger", which sends by the outbox: leave it out',
             {"outbox_tables": [trigger]}),
            ({"outbox_tables": [{**trigger, "subject": "more.x"}]}, "no stream takes the subjects .*; add them to one of streams",
             {"outbox_tables": [{**trigger, "subject": "more.x"}], "streams": [{**ORDERS, "subjects": ["orders.>", "more.x"]}]}),
            ({**of(), "outbox_tables": [{"table": "a.b", "subject": "a"}]}, "has no payload: add payload",
             {**of(), "outbox_tables": [{"table": "a.b", "subject": "a", "payload": "p"}]}),
            ({**of(), "outbox_tables": [{"table": "a.b", "subject": "a"}]}, "or a preset",
             {**of(), "outbox_tables": [{"table": "a.b", "subject": "a", "preset": "watermill"}]}),
            ({**of(), "outbox_tables": [table, table]}, "outbox_tables.table = .* stands twice .*: leave one out", {**of(), "outbox_tables": [table]}),
            ({**of(tables=["public.outbox", "a.b"]), "outbox_tables": [table]}, "is one of capture.tables, too: leave one out",
             {**of(tables=["a.b"]), "outbox_tables": [table]}),
            ({**of(), "messages": [message, message]}, "messages.prefix = .* stands twice .*: leave one out", {**of(), "messages": [message]}),
        ]

    def write(self, relay, what):
        if isinstance(what, tuple):
            text = to_libconfig({name: group for name, group in relay.settings.items() if name not in what})
        else:
            text = to_libconfig({**relay.settings, **what}) if isinstance(what, dict) else to_libconfig(relay.settings) + what
        with open(relay.config, "w", encoding="utf-8") as f:
            f.write(text)

    def test_each_complaint(self):
        self.follow(self.complaints())

    def test_each_complaint_of_captures(self):
        self.follow(self.complaints_of_captures())

    def test_each_complaint_of_tables(self):
        def sink(*tables, **more):
            return {"inbox": [{"name": "move", "stream": STREAM, "subjects": ["orders.>"], "tables": list(tables), **more}]}

        one, right = {"from": "public.a", "to": "shop.a"}, ({},)
        self.follow((
            (sink(one, handler="shop.f"), "inbox.handler and inbox.tables exclude each other: leave one out", sink(one)),
            (sink({"from": "public.a"}), r'this group of inbox.tables has no to: add to = "schema.table";', sink(one)),
            (sink(), r'inbox.tables is empty: add \{ from', sink(one)),
            (sink(*({**one, "from": f"public.a{n}"} for n in range(1001))), "inbox.tables holds more than 1000 tables: leave some out", sink(one)),
            (sink(one, {**one, "from": "public.b"}), "inbox.tables: two tables go to shop.a: give each a table of its own",
             sink(one, {"from": "public.b", "to": "shop.b"})),
            (sink(), "or leave it out", *right)))

    def follow(self, complaints):
        relay = self.add_quick(True)
        for wrong, words, right in complaints:
            with self.subTest(words):
                self.write(relay, wrong)
                done = relay.command("config", "show")
                self.assertEqual(done.returncode, CONFIG_WRONG, done.stdout)
                self.assertRegex(done.stdout, words)
                self.write(relay, right)
                done = relay.command("config", "show")
                self.assertEqual(done.returncode, DONE, done.stdout)

    def test_messages_wait_for_a_file_that_is_right(self):
        relay = self.add_quick(True)
        good = relay.settings
        self.insert(3)
        relay.configure({**good, "streams": [{"name": STREAM}]})
        self.assertEqual(relay.start().wait(), CONFIG_WRONG)
        self.assertIn("has no subjects: add subjects", relay.log_tail(10))
        relay.configure(good)
        self.judge(relay.start())

    def boxhaul(self, *words, **options):
        return subprocess.run([self.program, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=60, check=False, **options)

    def test_the_sample_that_is_named(self):
        """A file that is not there: what `config-sample` prints is one, and lists every key."""
        path = self.workspace.path(f"{self.database}.sample.conf")
        done = self.boxhaul("config", "show", "-c", path)
        self.assertEqual(done.returncode, CONFIG_WRONG)
        sample = self.boxhaul(*re.search("`boxhaul (config-sample)` prints one", done.stdout)[1].split()).stdout
        with open(path, "w", encoding="utf-8") as f:
            f.write(sample)
        self.assertEqual(self.boxhaul("config", "show", "-c", path).returncode, DONE)

    def test_a_name_for_stdin(self):
        text = to_libconfig({**self.add_quick(True).settings, "name": "shop"})
        nameless = re.sub(r'name = "shop";\n', "", text, count=1)
        for given, code in ((nameless, CONFIG_WRONG), (nameless + 'name = "mine";\n', DONE)):
            done = subprocess.run([self.program, "config", "show", "-c", "-"], input=given, capture_output=True, text=True, timeout=60, check=False)
            self.assertEqual(done.returncode, code, done.stderr)
        self.assertEqual("add name" in done.stderr, False)

    def test_a_password_that_everybody_may_read(self):
        """A warning: it works. Then the mode is changed as it says."""
        relay = self.add_quick(True, postgres={"conninfo": self.pg.conninfo(self.database, RELAY, tcp=True)})
        os.chmod(relay.config, 0o644)
        self.insert(3)
        line = next(l for l in relay.command("check").stdout.splitlines() if "everybody may read this file" in l)
        self.assertEqual(subprocess.run(["chmod", re.search("chmod (o-r) it", line)[1], relay.config], check=True).returncode, 0)
        self.assertNotIn("everybody may read", relay.command("check").stdout)
        self.judge(relay.start())

    def test_a_connection_string(self):
        """A name with a blank in it, as it is and quoted."""
        relay = self.add_quick(True, postgres={"conninfo": self.pg.conninfo(self.database, RELAY) + " application_name=my relay"}).start()
        self.insert(3)
        self.said(relay, "the connection string is not understood: quote or escape spaces")
        relay.stop()
        relay.configure({**relay.settings, "postgres": {"conninfo": self.pg.conninfo(self.database, RELAY) + " application_name='my relay'"}})
        self.judge(relay.start())

    def test_a_password_in_the_environment(self):
        relay = self.add_quick(True)
        secret = self.workspace.path(f"{self.database}.pgpass")
        with open(secret, "w", encoding="utf-8") as f:
            os.fchmod(f.fileno(), 0o600)
            f.write(f"*:*:*:*:{self.pg.password}\n")
        self.insert(3)
        conninfo = self.pg.conninfo(self.database, RELAY, tcp=True)
        self.assertEqual(relay.start(env={**os.environ, "BOXHAUL_POSTGRES_CONNINFO": conninfo}).wait(), CONFIG_WRONG)
        self.assertIn("an environment keeps no secret: use a password file", relay.log_tail(10))
        bare = conninfo.replace(f"password={self.pg.password} ", "")
        relay.start(env={**os.environ, "BOXHAUL_POSTGRES_CONNINFO": bare, "BOXHAUL_POSTGRES_PASSWORD_FILE": secret})
        self.judge(relay)


class Process(RemedyTest):
    def test_a_port_that_is_taken(self):
        """Both halves: another port; or what listens there is stopped."""
        port = free_port()
        relay = self.add_quick(True, health={"listen": f"127.0.0.1:{port}"})
        good = relay.settings
        with socket.create_server(("127.0.0.1", port)):
            self.insert(3)
            self.assertEqual(relay.start().wait(), CONFIG_WRONG)
            self.assertIn("change health.listen, or stop what listens there", relay.log_tail(5))
            relay.configure({**good, "health": {"listen": f"127.0.0.1:{free_port()}"}})
            self.judge(relay.start())
            relay.stop()
        relay.configure(good)
        self.insert(3)
        self.judge(relay.start())

    def test_the_default_port_is_taken(self):
        """Messages go all the same; with a port of its own it is asked there."""
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", 9431))
                s.listen()
            except OSError:
                pass  # somebody else's: as good
            relay = self.add_quick(True)
            named = relay.settings
            relay.configure({name: group for name, group in named.items() if name != "health"})
            relay.settings = named
            self.insert(3)
            relay.start()
            self.wait_for_messages(3)
            self.assertIn("set health.listen where each relay of this machine is to have a port", relay.log_tail(20))
            relay.stop()
        relay.configure(named)
        self.insert(3)
        self.judge(relay.start())

    def test_too_few_descriptors(self):
        relay = self.add_quick(True)
        self.insert(3)
        least = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (24, least[1]))
        try:
            with open(relay.log, "ab") as log:
                few = subprocess.run(["sh", "-c", 'ulimit -Hn 24; exec "$@"', "sh", self.program, "run", "-c", relay.config], check=False,
                                     stdout=log, stderr=log, stdin=subprocess.DEVNULL, timeout=60)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, least)
        self.assertEqual(few.returncode, 1)
        self.assertIn("allow more: LimitNOFILE= in the unit, `ulimit -n` in a shell", relay.log_tail(5))
        needed = int(re.search(r"needed=(\d+)", relay.log_tail(5))[1])
        relay.spawn(["sh", "-c", f'ulimit -n {needed + 3}; exec "$@"', "sh", self.program, "run", "-c", relay.config])
        self.judge(relay)

    def test_core_files(self):
        relay = self.add_quick(True)
        self.insert(3)
        relay.start(env={**os.environ, "BOXHAUL_ALLOW_CORE_FILES_WITH_SECRETS": "1"})
        line = self.said(relay, "core files and debuggers are allowed.*unset it when you are done")
        relay.stop()
        name = re.search(r'why="(\w+) is set"', line)[1]
        before = relay.log_tail(1000).count(name)
        relay.start()
        self.judge(relay)
        self.assertEqual(relay.log_tail(1000).count(name), before)

    def test_a_key_that_has_no_room(self):
        """A shorter key has it."""
        relay = self.add_quick(True)
        self.sql("ALTER TABLE boxhaul.outbox DROP CONSTRAINT outbox_key")
        relay.start().wait_until_ready()
        for key in ("k" * 70_000, "k"):
            self.inserted.append(f"m{len(self.inserted)}")
            self.sql("INSERT INTO boxhaul.outbox (subject, key, payload) VALUES ('orders.x', %s, %s)", (key, self.inserted[-1].encode()))
        self.said(relay, "it is sent without its Boxhaul-Key|a message is sent without its Boxhaul-Key.*use shorter keys")
        self.judge(relay)
        self.assertEqual([m.headers.get("Boxhaul-Key") for m in self.stored()], [None, ["k"]])


if __name__ == "__main__":
    unittest.main()
