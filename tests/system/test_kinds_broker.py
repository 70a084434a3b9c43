"""Kinds of faults at the broker: what the server keeps for a connection is gone; another stream takes the subject; JetStream
stands elsewhere; a row breaks the connection. Each is told by its cause, and nothing is lost, doubled or stopped for it."""

import contextlib
import json
import os
import re
import signal
import threading
import time
import unittest
import unittest.mock

from harness import SERVICE, STREAM
from jetstream import SECOND, JetStream, JetStreamError
from nats_client import Client, NatsError
from process import free_port, takes_signal
from servers import Nats
import versions
from test_operation import QUICK, OperationTest, health, log_lines, stream
from wire import Wire


class Inbox(OperationTest):
    """The server drops a subscription that it no longer permits; the connection lives on, and nothing is said when it is
    permitted again."""

    nats_settings = {"authorization": {"users": [
        {"user": "operator", "password": "operator"},
        {"user": "relay", "password": "relay", "permissions": {"publish": [">"], "subscribe": ["_INBOX.>"]}}]}}

    @contextlib.contextmanager
    def jetstream(self):
        with Client(self.nats.url("operator", "operator")) as client:
            yield JetStream(client)

    def permit(self, *subjects):
        """To subscribe, by a reload of the server's configuration."""
        users = self.nats.settings["authorization"]["users"]
        users[1]["permissions"]["subscribe"] = list(subjects)
        with open(os.path.join(self.nats.directory, "nats.conf"), "w", encoding="utf-8") as f:
            json.dump(self.nats.settings, f)
        os.kill(self.nats.pid, signal.SIGHUP)

    def test_taken_away_and_given_back(self):
        with self.jetstream() as jetstream:
            jetstream.create(STREAM, ["orders.>"], duplicate_window=3 * SECOND)
        relay = self.start_relay(nats={"urls": [self.nats.url("relay", "relay")]}, **QUICK)
        self.writer("w").write("k", 10).commit()
        self.wait_settled()
        self.permit("nothing")
        self.addCleanup(self.permit, "_INBOX.>")
        self.wait_for_page(relay, "/readyz", 503, "NATS is not connected: no answer can reach us: let this login subscribe to _INBOX.> "
                           '(Permissions Violation for Subscription to "_INBOX.')
        self.writer("v").write("k", 5).commit()
        self.assertIn("FAIL  stream ORDERS: no answer", relay.command("check").stdout)
        time.sleep(8)  # two duplicate windows and more: who sent without being heard would store it again
        self.permit("_INBOX.>")
        relay.wait_until_ready()
        self.audit()
        self.assertEqual(self.count(), 15)

    def test_lost_without_a_word(self):
        """Nothing complains: only that no answer comes tells it."""
        def forget(connection, from_client, data):
            first = connection is wire.connections[0] if wire.connections else True
            return re.sub(rb"SUB [^\r]*\r\n", b"", data) if from_client and first else data
        wire = Wire(self.nats.port, forget)
        self.addCleanup(wire.close)
        relay = self.add_relay(nats={"urls": [f"nats://relay:relay@127.0.0.1:{wire.port}"]}, **QUICK).start()
        self.writer("w").write("k", 5).commit()
        self.wait_for_log(relay, level="error", msg="NATS is not connected", why="nothing that was sent is answered")
        relay.wait_until_ready()
        self.audit()
        self.assertEqual(self.count(), 5)


class Elsewhere(OperationTest):
    """A stream of another name takes the subject: what is sent is stored there."""

    TAKES = ("another stream than the configured one takes the subject: NEW: name that one in the configuration, or take the "
             "subject out of it")

    def test_a_stream_that_was_renamed(self):
        """One copy, not one for every duplicate window; and none more when the configuration is mended."""
        with self.jetstream() as jetstream:
            jetstream.create("NEW", ["orders.>"], duplicate_window=SECOND)
        relay = self.start_relay(streams=[stream("OLD")], health=health(stall_after="1s"), **QUICK)
        self.writer("w").write("k", 5).write(None, 5).commit()
        self.wait_for_page(relay, "/readyz", 503, f"stream OLD: {self.TAKES}")
        self.wait(lambda: self.TAKES in self.states().get("parked", ()), "the books to say it")
        stored = self.count("NEW")
        time.sleep(6)  # six windows, a dozen probes
        self.assertEqual(self.count("NEW"), stored)
        self.assertIn("takes nothing: " + self.TAKES, relay.command("status").stdout)
        relay.stop()
        relay = self.start_relay(streams=[stream("NEW")], **QUICK)
        self.wait_settled()
        self.judge(self.stored("NEW"))

    def test_it_is_mended_at_the_server(self):
        """The configured stream is made, and takes the subject: it goes on at once."""
        with self.jetstream() as jetstream:
            jetstream.create("NEW", ["orders.>"])
            relay = self.start_relay(streams=[stream()], **QUICK)
            self.writer("w").write("k", 5).commit()
            self.wait(lambda: self.TAKES in self.states().get("parked", ()), "the books to say it")
            jetstream.delete("NEW")
            jetstream.create(STREAM, ["orders.>"])
        self.audit()

    def test_a_mapping_leads_there(self):
        """The configured stream takes the subject all the time, and does not see the message."""
        mapped = self.workspace.add(Nats(self.workspace.path("mapped"), mappings={"orders.>": "prod.orders.>"})).start()
        relay = self.add_relay(nats={"urls": [mapped.url()]}, streams=[stream()], health=health(stall_after="1s"), **QUICK)
        with Client(mapped.url()) as client:
            jetstream = JetStream(client)
            jetstream.create(STREAM, ["orders.>"])
            jetstream.create("NEW", ["prod.orders.>"], duplicate_window=SECOND)
            relay.start()
            self.writer("w").write("k", 5).commit()
            self.wait_for_page(relay, "/readyz", 503, f"stream {STREAM}: {self.TAKES}")
            stored = jetstream.count("NEW")
            time.sleep(5)
            self.assertEqual(jetstream.count("NEW"), stored)


class Domains(OperationTest):
    """JetStream that is not the server's own, or another account's."""

    def settle_and_look(self, jetstream, **nats):
        """Everything that asks JetStream finds it; who leads next looks there, and nothing is stored twice."""
        jetstream.create(STREAM, ["orders.>"], duplicate_window=SECOND)
        relay = self.add_relay(nats=nats, streams=[stream()], **QUICK)
        self.assertNotIn("FAIL", self.say(relay, "check"))
        relay.start().wait_until_ready()
        lock = self.connect()
        with lock.cursor() as cursor:
            cursor.execute("BEGIN; SELECT FROM boxhaul.position FOR UPDATE")  # nothing can be marked
            self.writer("w").write("k", 5).write(None, 5).commit()
            self.wait(lambda: jetstream.count(STREAM) == 10, "all to be stored")
            relay.kill9()
            cursor.execute("ROLLBACK")
        time.sleep(2)  # the stream forgets the ids
        relay.start().wait_until_ready()
        self.wait_for_log(relay, msg="read what the stream holds since the last mark", stream=STREAM, with_id="10")
        self.wait_settled()
        self.judge(list(jetstream.read(STREAM)))
        self.assertFalse([line for line in log_lines(relay) if "stored twice" in line["msg"]])
        self.assertIn("is sent: stored in ORDERS as sequence ", self.say(relay, "explain", "1"))
        self.assertIn("missing=0", self.say(relay, "reconcile"))
        return relay

    def say(self, relay, *words):
        done = relay.command(*words)
        self.assertEqual(done.returncode, 0, done.stdout)
        return done.stdout

    def test_a_leaf_node_with_a_domain_of_its_own(self):
        ports = free_port()
        store = {name: {"store_dir": self.workspace.path(name + "-js"), "domain": name} for name in ("hub", "leaf")}
        hub = self.workspace.add(Nats(self.workspace.path("hub"), jetstream=store["hub"],
                                      leafnodes={"host": "127.0.0.1", "port": ports})).start()
        leaf = self.workspace.add(Nats(self.workspace.path("leaf"), jetstream=store["leaf"],
                                       leafnodes={"remotes": [{"url": f"nats://127.0.0.1:{ports}"}]})).start()
        with Client(hub.url()) as client:
            self.wait(lambda: self.reaches(leaf, "$JS.hub.API.INFO"), "the leaf to reach the hub")
            relay = self.settle_and_look(JetStream(client), urls=[leaf.url()], jetstream_domain="hub")
        with Client(leaf.url()) as client:
            self.assertEqual(JetStream(client).names(), [], "nothing is made at the leaf")
        shown = self.say(relay, "config", "show")
        self.assertIn('nats.jetstream_prefix = "$JS.hub.API";  # default: that of nats.jetstream_domain', shown)

    @staticmethod
    def reaches(server, subject):
        with Client(server.url()) as client, contextlib.suppress(NatsError, TimeoutError):
            return b'"error":' not in client.request(subject, b"", deadline=2).payload
        return False

    def test_an_account_that_imports_it(self):
        accounts = self.workspace.add(Nats(self.workspace.path("accounts"), no_auth_user="shop", accounts={
            "STREAMS": {"jetstream": True, "users": [{"user": "owner", "password": "p"}],
                        "exports": [{"service": "$JS.API.>"}, {"service": "orders.>"}]},
            "SHOP": {"users": [{"user": "shop", "password": "p"}],
                     "imports": [{"service": {"account": "STREAMS", "subject": "$JS.API.>"}, "to": "JS.orders.API.>"},
                                 {"service": {"account": "STREAMS", "subject": "orders.>"}}]}})).start()
        with Client(accounts.url("owner", "p")) as client:
            self.settle_and_look(JetStream(client), urls=[accounts.url("shop", "p")], jetstream_prefix="JS.orders.API")

    def test_an_inbox_of_its_own(self):
        """A login that may subscribe to its own prefix alone: it hears its answers there, those of commands too."""
        own = self.workspace.add(Nats(self.workspace.path("own"), jetstream={"store_dir": self.workspace.path("own-js")}, authorization={
            "users": [{"user": "owner", "password": "p"},
                      {"user": "shop", "password": "p",
                       "permissions": {"publish": ["orders.>", "$JS.API.>"], "subscribe": ["_INBOX_shop.>"]}}]})).start()
        nats = {"urls": [own.url("shop", "p")]}
        with Client(own.url("owner", "p")) as client:
            self.settle_and_look(JetStream(client), inbox_prefix="_INBOX_shop", **nats)
        for prefix in ("_INBOX", "_INBOX_bills"):
            said = self.add_relay(nats={**nats, "inbox_prefix": prefix}, streams=[stream()]).command("check").stdout
            self.assertIn(f"subscribe to {prefix}.>", said)
            lost = self.add_relay(nats={**nats, "inbox_prefix": prefix}, streams=[stream()], **QUICK).start()
            self.wait_for_page(lost, "/readyz", 503, f"let this login subscribe to {prefix}.>")
            lost.stop()


class Breakers(OperationTest):
    """A message that makes the other end break off the connection stops nobody else."""

    nats_settings = {"max_control_line": 512}
    LONG = "orders." + "x" * 600

    def test_a_control_line_that_is_too_long(self):
        """The server says so: it becomes a dead letter, also beside others like it."""
        relay = self.start_relay(**QUICK)
        self.writer("early").write("k", 5).write(None, 50).commit()
        for n in range(3):
            self.publish(f"{self.LONG}.{n}", "long")
            self.publish("orders.behind", "long")
        self.writer("late").write("k", 5).write(None, 50).commit()
        self.wait_settled()
        said = "the server ends the connection when it is sent: maximum control line exceeded"
        dead = self.sql("SELECT subject, reason FROM boxhaul.dead_letter ORDER BY id")
        self.assertEqual(dead, [(f"{self.LONG}.{n}", said) for n in range(3)])
        self.wait_for_log(relay, level="error", msg="dead letter", why=said)
        stored = self.stored()
        self.assertEqual([message.subject for message in stored].count("orders.behind"), 3)
        self.assertEqual(len(stored), 113)
        self.writer("later").write(None, 2000).commit()  # at its full window again
        self.wait_settled()
        self.assertEqual(self.count(), 2113)

    def test_ended_without_a_word(self):
        """By something between us: nothing is given up for that; its key waits, and the others go on."""
        mended = threading.Event()

        def edit(connection, from_client, data):
            if from_client and b"orders.evil" in data and not mended.is_set():
                connection.cut()
                return b""
            return data
        wire = Wire(self.nats.port, edit)
        self.addCleanup(wire.close)
        relay = self.start_relay(nats={"urls": [f"nats://127.0.0.1:{wire.port}"]}, **QUICK)
        self.publish("orders.evil", "evil")
        self.publish("orders.behind", "evil")
        self.writer("w").write("k", 5).write(None, 50).commit()
        self.wait(lambda: self.count() == 55, "the others to be stored")
        self.wait(lambda: "the connection ends when it is sent" in self.states().get("parked", ()), "the books to say it")
        mended.set()
        self.wait_settled()
        self.assertEqual(self.sql("SELECT count(*) FROM boxhaul.dead_letter"), [(0,)])
        subjects = [message.subject for message in self.stored()]
        self.assertLess(subjects.index("orders.evil"), subjects.index("orders.behind"))


class Words(OperationTest):
    """What is said of a stream that takes nothing, or not all."""

    def newest(self):
        """A nats-server of today beside the class's."""
        try:
            path = versions.nats("newest", self.kept()).path
        except versions.Unavailable as e:
            self.skipTest(str(e))
        with unittest.mock.patch.dict(os.environ, NATS_SERVER=path):
            return self.workspace.add(Nats(self.workspace.path(f"{self.database}-newest"))).start()

    @staticmethod
    def kept():
        path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "build", "matrix")
        os.makedirs(path, exist_ok=True)
        return path

    def check(self, server, line, status, **config):
        with Client(server.url()) as client:
            jetstream = JetStream(client)
            jetstream.create(STREAM, ["orders.>"], **config)
            for n in range(2):
                with contextlib.suppress(JetStreamError):
                    jetstream.publish("orders.x", bytes(1000))
            done = self.add_relay(nats={"urls": [server.url()]}, streams=[stream()]).command("check")
            jetstream.delete(STREAM)
        self.assertEqual(done.returncode, status, done.stdout)
        self.assertRegex(done.stdout, line)

    def test_check_says_what_a_stream_does_not_take(self):
        full = r"FAIL  stream ORDERS: it is full \(\d+ of \d+ {}\): it takes nothing: consume or purge"
        self.check(self.nats, full.format("messages"), 1, max_msgs=2, discard="new")
        self.check(self.nats, full.format("bytes"), 1, max_bytes=1100, discard="new")
        self.check(self.nats, "warn  stream ORDERS: of a subject it keeps the last 1: ", 0, max_msgs_per_subject=1)

    def test_check_of_options_that_came_later(self):
        server = self.newest()
        self.check(server, r"FAIL  stream ORDERS: it takes only counters \(allow_msg_counter\)", 1, allow_msg_counter=True)
        self.check(server, "warn  stream ORDERS: persist_mode async acknowledges before it has written", 0, persist_mode="async")

    def test_the_account_has_used_its_storage_up(self):
        server = self.workspace.add(Nats(self.workspace.path("small"), no_auth_user="u", accounts={
            "A": {"jetstream": {"max_file": 2000}, "users": [{"user": "u", "password": "p"}]}})).start()
        self.check(server, r"FAIL  stream ORDERS: the account's JetStream storage is used up \(\d+ of 2000 bytes\): it takes nothing", 1)

    def test_small_messages_and_a_stream_of_so_many_bytes(self):
        """discard new: a full stream refuses. But not in each version: boxhaul-runbook(7) tells, under stalled."""
        newest = self.newest()
        for server in (newest, self.nats):
            with self.subTest(server.version()), Client(server.url()) as client:
                jetstream, stored = JetStream(client), 0
                jetstream.create(STREAM, ["orders.>"], max_bytes=4000, discard="new")
                for n in range(200):
                    with contextlib.suppress(JetStreamError):
                        jetstream.publish("orders.x", b"x")
                        stored += 1
                kept = jetstream.info(STREAM)["state"]["messages"]
                jetstream.delete(STREAM)
                if server is newest:
                    self.assertEqual(stored, kept)
                elif server.version() == "2.9.10":
                    self.assertGreater(stored, kept, "the manual says that it loses some")

    def test_a_mapping_leads_nowhere(self):
        mapped = self.workspace.add(Nats(self.workspace.path("nowhere"), mappings={"orders.>": "prod.orders.>"})).start()
        relay = self.add_relay(nats={"urls": [mapped.url()]}, streams=[stream()], health=health(stall_after="1s"), **QUICK)
        with Client(mapped.url()) as client:
            JetStream(client).create(STREAM, ["orders.>"])
        relay.start()
        self.writer("w").write("k", 5).commit()
        self.wait_for_page(relay, "/readyz", 503, f"stream {STREAM}: no stream answers for the subject (503): the stream is there "
                           "and takes the subject, but the message does not reach it: does a mapping")

    def test_a_mirror(self):
        with self.jetstream() as jetstream:
            jetstream.create("ORIGIN", ["origin.>"])
            jetstream.call(f"STREAM.CREATE.{STREAM}", {"name": STREAM, "mirror": {"name": "ORIGIN"}})
        relay = self.start_relay(streams=[stream()], health=health(stall_after="1s"), **QUICK)
        self.writer("w").write("k").commit()
        self.wait_for_page(relay, "/readyz", 503, "the stream is a mirror and takes nothing: configure its origin")

    def test_explain_where_subjects_are_transformed(self):
        server = self.newest()
        with Client(server.url()) as client:
            jetstream = JetStream(client)
            jetstream.create(STREAM, ["orders.>"], subject_transform={"src": "orders.>", "dest": "evt.>"})
            relay = self.start_relay(nats={"urls": [server.url()]}, streams=[stream()], **QUICK)
            self.writer("w").write("k", 2).commit()
            self.wait_settled()
            self.assertIn("message 2 is sent: stored in ORDERS as sequence 2", relay.command("explain", "2").stdout)
            jetstream.purge(STREAM)
            self.assertIn("message 2 is marked sent, but not found in ORDERS", relay.command("explain", "2").stdout)


class FirstMoments(OperationTest):
    def test_a_reload_before_it_is_ready(self):
        """It waits until somebody handles it."""
        self.pg.pause()  # so that the beginning takes its time
        relay = self.add_relay().start()
        self.wait(lambda: takes_signal(relay.pid, signal.SIGHUP), "the relay to look after itself", pause=0)
        os.kill(relay.pid, signal.SIGHUP)
        self.pg.resume()
        relay.wait_until_ready()
        self.wait_for_log(relay, msg="configuration reloaded")

    def test_an_end_before_it_is_ready(self):
        """At whatever moment it is asked for, from the one on in which the program can be asked."""
        relay = self.add_relay()
        for _ in range(10):
            self.assertEqual(relay.start().stop(), 0)

    def test_what_turns_the_direction(self):
        """A subject that would read as another one: in the log and in what a command prints it is seen for what it is."""
        relay = self.start_relay(**QUICK)
        self.let_illegal_rows_in()
        self.sql("INSERT INTO boxhaul.outbox (subject, key, payload) VALUES (%s, %s, '{}')", ("elsewhere..\u202edlog", "a\u2066b"))
        self.wait(lambda: self.sql("SELECT count(*) FROM boxhaul.dead_letter") == [(1,)], "the dead letter")
        said = relay.command("dead-letters", "list").stdout + relay.command("status").stdout + relay.command("explain", "1").stdout
        self.wait_for_log(relay, msg="dead letter")
        told = relay.get("/readyz")[1] + json.dumps(self.status(relay))
        for where, text in (("commands", said), ("port", told), ("log", relay.log_tail())):
            self.assertNotIn("\u202e", text, where)
        self.assertIn("elsewhere..\\u202edlog", said)
        self.assertIn("a\\u2066b", said)
        for hidden in "\u202e\u2066":
            self.assertNotIn(hidden, said)


if __name__ == "__main__":
    unittest.main()
