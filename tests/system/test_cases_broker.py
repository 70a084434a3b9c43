"""What stands at the other end of the NATS connection, or pretends to: a server that stops, a network that swallows
everything, an enemy. And other clients that meddle with our acknowledgements."""

import contextlib
import itertools
import json
import os
import socket
import threading
import time
import unittest

from harness import RELAY, STREAM, UNDRAINED
from nats_client import Client, NatsError
from test_operation import QUICK, OperationTest, health, stream
from wire import Wire


class Silence(OperationTest):
    """Nobody says that the connection is of no use any more."""

    def add_wire(self, server_port):
        wire = Wire(server_port)
        self.addCleanup(wire.close)
        return wire

    def test_a_server_that_stands_still(self):
        """Stopped until the relay has given the connection up, with more to send than fits into any buffer. The loop
        turns all the while: each look at the health port is answered."""
        relay = self.start_relay(delivery={"ordering": "none", "ack_timeout": "1s"})
        self.nats.pause()
        self.sql("INSERT INTO boxhaul.outbox (subject, payload) SELECT 'orders.x', convert_to(repeat('x', 500000), 'UTF8') "
                 "FROM generate_series(1, 100)")

        def given_up():
            self.assertEqual(relay.get("/livez", deadline=30)[0], 200)
            return not self.status(relay)["nats"]["connected"]
        self.wait(given_up, "the relay to give the connection up")
        self.wait_for_page(relay, "/readyz", 503, "NATS is not connected")
        self.nats.resume()
        relay.wait_until_ready()
        self.writer("w").write("k", 5).commit()
        self.audit_with(100)

    def audit_with(self, others):
        self.wait_settled()
        self.assertEqual(self.count(), others + len(self.ledger.committed))

    def test_a_network_that_swallows_everything(self):
        """TCP would not notice for a quarter of an hour. On NATS pings tell. On PostgreSQL the lease runs out first:
        what is due again is not sent, for somebody else may lead; then the session is given up."""
        to_nats, to_pg = self.add_wire(self.nats.port), self.add_wire(self.pg.port)
        conninfo = self.pg.conninfo(self.database, RELAY, tcp=True).replace(f"port={self.pg.port}", f"port={to_pg.port}")
        relay = self.start_relay(postgres={"conninfo": conninfo}, nats={"urls": [f"nats://127.0.0.1:{to_nats.port}"]},
                                 delivery={"ack_timeout": "500ms", "retry_max": "500ms"}, outbox={"lease": "1s"})
        to_nats.silence()
        self.writer("w").write(None, 20).commit()
        # Nobody answers: the messages, or the look at the stream that comes before the first of them.
        self.wait_for_log(relay, msg="stream takes no messages now: holding them back", why="no reply from the stream")
        self.wait_for_log(relay, level="error", msg="NATS is not connected")
        relay.wait_until_ready()
        self.wait_settled()

        self.nats.pause()
        sent = self.metric(relay, "publishes_total")
        self.writer("v").write(None, 20).commit()
        self.wait(lambda: self.metric(relay, "publishes_total") >= sent + 20, "the messages to be sent")
        to_pg.silence()
        time.sleep(2)  # longer than the lease
        sent = self.metric(relay, "publishes_total")
        time.sleep(2)  # longer than the pause before they are sent again
        self.assertEqual(self.metric(relay, "publishes_total"), sent)
        self.nats.resume()
        self.wait_for_log(relay, level="error", msg="PostgreSQL is not connected", why="does not answer")
        to_pg.cut()  # the server's own keep-alives end what was the session
        relay.wait_until_ready()
        self.writer("x").write("k", 5).commit()
        self.audit()


INFO = {"server_id": "x", "server_name": "x", "version": "2.9.10", "proto": 1, "headers": True, "max_payload": 1 << 20,
        "jetstream": True, "host": "127.0.0.1", "port": 4222, "client_id": 1}


def info(**changes):
    return b"INFO " + json.dumps({**INFO, **changes}).encode() + b"\r\n"


class Enemy:
    """Takes connections and says what it pleases: greeting, then, once the client has said PING and got its PONG,
    speech. answer(reply) is what it says to a publish that wants a reply."""

    def __init__(self, greeting, speech=b"", answer=None):
        self.greeting, self.speech, self.answer = greeting, speech, answer
        self.visits, self.answers, self.stopping = 0, 0, False
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"nats://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self):
        self.stopping = True
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def _serve(self):
        with contextlib.suppress(OSError):
            while not self.stopping:
                client, _ = self.listener.accept()
                self.visits += 1
                threading.Thread(target=self._talk, args=(client,), daemon=True).start()

    def _talk(self, client):
        with contextlib.suppress(OSError), client, client.makefile("rb") as lines:
            client.settimeout(20)
            client.sendall(self.greeting)
            greeted = False
            while line := lines.readline(1 << 20):
                words = line.split()
                if words[:1] == [b"PING"]:
                    client.sendall(b"PONG\r\n" + (b"" if greeted else self.speech))
                    greeted = True
                elif words[:1] in ([b"PUB"], [b"HPUB"]):
                    lines.read(int(words[-1]) + 2)
                    if self.answer:
                        self.answers += 1
                        client.sendall(self.answer(words[2].decode(), self.answers))


def message(subject, payload, sid=1):
    return f"MSG {subject} {sid} {len(payload)}\r\n".encode() + payload + b"\r\n"


class Hostile(OperationTest):
    """An enemy in the server's place. It can keep us from publishing; it must not do more."""

    SPEECHES = {
        "garbage": os.urandom(100000),
        "a negative size": b"MSG a 1 -5\r\nabcde\r\n",
        "a size without end": b"MSG a 1 99999999999999999999\r\n",
        "headers longer than the message": b"HMSG a 1 100 5\r\nabcde\r\n",
        "headers of a negative size": b"HMSG a 1 -1 -1\r\n\r\n",
        "a message for nobody": message("a", b"x", sid=4711) * 1000,
        "no sizes at all": b"MSG\r\nHMSG\r\nMSG a\r\n",
        "headers that are none": b"HMSG a 1 12 12\r\nNATS/9.9\r\n\r\n\r\n",
        "headers without end": b"HMSG a 1 1000000 1000000\r\nNATS/1.0\r\n" + b"A: b\r\n" * 100000,
        "a line without end": b"MSG " + b"x" * 1000000,
        "errors": b"-ERR '" + b"%s%n" * 1000 + b"'\r\n",
        "permissions": b"-ERR 'Permissions Violation for Publish to \"" + b"\\" * 3000 + b"\"'\r\n",
        "pongs": b"PONG\r\n" * 100000,
        "a new greeting": info(max_payload=-1) + info(connect_urls=["x" * 10000] * 10, max_payload=1 << 40),
    }
    GREETINGS = {
        "nothing": b"",
        "garbage for a greeting": os.urandom(4096),
        "a greeting that is no JSON": b"INFO {{{{\r\n",
        "nested greeting": b"INFO " + b"[" * 2000 + b"\r\n",
        "negative numbers": info(max_payload=-1, proto=-1, client_id=-1),
        "other types": info(max_payload="x", headers="yes", connect_urls={"a": 1}, server_id=[1]),
    }

    def relay_against(self, enemy):
        """Without the search for leaks: nats.c 3.4.1 forgets a message that is half received when the link ends."""
        self.addCleanup(enemy.close)
        relay = self.add_relay(nats={"urls": [enemy.url]}, log={"level": "debug"}, **QUICK)
        return relay.start(env={"ASAN_OPTIONS": "detect_leaks=0"})

    def test_what_it_says(self):
        """Each speech to a relay of its own, again and again."""
        enemies = {name: Enemy(info(), speech) for name, speech in self.SPEECHES.items()}
        enemies.update((name, Enemy(greeting)) for name, greeting in self.GREETINGS.items())
        relays = {name: self.relay_against(enemy) for name, enemy in enemies.items()}
        self.writer("w").write("k", 5).commit()
        for name, relay in relays.items():
            with self.subTest(name):
                self.wait(lambda name=name: enemies[name].visits >= 1, "the relay to call")
                self.wait(lambda relay=relay: relay.get("/livez")[0] == 200, "the loop to turn")
        time.sleep(5)
        for name, relay in relays.items():
            with self.subTest(name):
                self.assertEqual(relay.get("/livez")[0], 200)
                self.assertIn(relay.stop(), (0, UNDRAINED))
        self.start_relay()
        self.audit()

    LIES = (b"", b"{", b"[" * 100000, b"null", b"{}", b'{"seq":1}', b'{"stream":"ORDERS"}', b'{"stream":"ORDERS","seq":0}',
            b'{"stream":"ORDERS","seq":-1}', b'{"stream":"ORDERS","seq":1.5}', b'{"stream":"ORDERS","seq":"1"}',
            b'{"stream":"orders","seq":1}', b'{"stream":"ORDERS\\u0000","seq":1}', b'{"stream":["ORDERS"],"seq":1}',
            b'{"stream":"ORDERS","seq":0,"duplicate":true}', b'{"stream":"ORDERS","seq":1,"error":{}}',
            b'{"stream":"ORDERS","seq":1,"error":null}', b'{"error":{"code":400,"err_code":1}}', b"\xff" * 1000, b"x" * 1000000)

    def test_what_it_answers(self):
        """Anything but an acknowledgement is none, on our inbox, beside it, and for tokens that are not ours."""
        def answer(reply, n):
            lie, truth = self.LIES[n % len(self.LIES)], b'{"stream":"ORDERS","seq":1}'
            return b"".join((message(reply, lie), message(reply[:-1], truth), message(reply + "0", truth),
                             message(reply[:-16] + "f" * 16, truth), message(reply[:-16] + "-" + reply[-15:], truth),
                             message(reply.upper(), truth), message(reply, truth, sid=2)))
        enemy = Enemy(info(), answer=answer)
        relay = self.relay_against(enemy)
        self.writer("w").write("k", 3).write(None, 40).commit()
        self.wait(lambda: enemy.answers > 2 * len(self.LIES), "enough answers")
        self.assertEqual((self.status(relay)["acks_total"], self.status(relay)["dead_letters_total"]), (0, 0))
        self.assertEqual(relay.get("/livez")[0], 200)
        self.assertIn(relay.stop(), (0, UNDRAINED))
        self.start_relay()
        self.audit()


class Meddlers(OperationTest):
    """Other clients of the same server."""

    def test_answers_that_are_not_jetstreams(self):
        """Somebody sees our messages go by, and answers. What is no acknowledgement of our stream is none. (One who may
        read every subject and write to every inbox can forge a true one: the server's permissions keep him out.)"""
        with self.jetstream() as jetstream:
            jetstream.create(STREAM, ["unused"])  # it is there, and what we send goes by
        relay = self.start_relay(streams=[stream()], **QUICK)
        with Client(self.nats.url()) as client:
            sid = client.subscribe("orders.>")
            client.flush()
            self.writer("w").write("k").commit()
            inboxes = set()
            for n in range(21):
                seen = client.next(sid)
                inbox, _, token = seen.reply.rpartition(".")
                inboxes.add(inbox)
                client.publish(seen.reply, Hostile.LIES[n % 14])
                for forged in (f"{inbox}.{int(token, 16) ^ (1 << n % 64):016x}", f"{inbox}.x", f"{inbox}.{token}0"):
                    client.publish(forged, b'{"stream":"ORDERS","seq":7}')
            client.flush()
        self.assertEqual(len(inboxes), 1)
        self.assertRegex(inboxes.pop(), r"^_INBOX\.[0-9a-f]{32}\.c$", "128 random bits")
        self.assertEqual((self.status(relay)["acks_total"], self.sql("SELECT low_water FROM boxhaul.sent")), (0, []))
        with self.jetstream() as jetstream:
            jetstream.update(STREAM, subjects=["orders.>"])
        self.audit()

    def test_two_relays_do_not_share_an_inbox(self):
        """Drawn anew for every connection."""
        inboxes = set()
        with Client(self.nats.url()) as client:
            sid = client.subscribe("orders.>")
            client.flush()
            for n in range(3):
                relay = self.start_relay()
                self.writer(f"w{n}").write("k").commit()
                while (inbox := client.next(sid).reply.rpartition(".")[0]) in inboxes:
                    pass  # sent more than once: the stream had no leader yet
                inboxes.add(inbox)
                self.wait_settled()
                relay.stop()
        self.assertEqual(len(inboxes), 3)
        self.audit()


def answer_all(test, answer):
    """Answers every message in the stream's place, as a server of another version may: answer(message) is the JSON."""
    client = Client(test.nats.url(), deadline=600)
    test.addCleanup(client.close)
    sid = client.subscribe("orders.>")
    client.flush()

    def serve():
        with contextlib.suppress(NatsError, OSError, ValueError):
            while True:
                seen = client.next(sid)
                if seen.reply:
                    client.publish(seen.reply, json.dumps(answer(seen)).encode())
    threading.Thread(target=serve, daemon=True).start()


class Sequences(OperationTest):
    """A stream's first sequence may be anything up to 2^64 - 1 (first_seq, since 2.10)."""

    def test_above_2_63(self):
        with self.jetstream() as jetstream:
            jetstream.create(STREAM, ["unused"])
        numbers = itertools.count(2 ** 63 + 5)
        answer_all(self, lambda _: {"stream": STREAM, "seq": next(numbers)})
        relay = self.start_relay(streams=[stream()], **QUICK)
        self.writer("w").write("k", 3).commit()
        self.wait_settled()
        self.assertEqual((self.status(relay)["acks_total"], self.status(relay)["refusals_total"]), (3, {}))
        relay.stop()
        relay = self.start_relay(streams=[stream()], **QUICK)  # from a floor up there
        self.writer("w").write("k").commit()
        self.wait_settled()
        self.assertEqual(self.status(relay)["acks_total"], 1)


class Words(OperationTest):
    """What the server says when it refuses is for whoever has to do something about it, also where the relay knows no more of it
    than a number: it stands in the log, in the books, and wherever an operator asks."""

    def setUp(self):
        super().setUp()
        with self.jetstream() as jetstream:
            jetstream.create(STREAM, ["unused"])  # what it holds can be asked for, and what we send goes by
        self.errors = {}  # subject -> error

    def refuse(self, subject, code, err_code, description):
        self.errors[subject] = {"code": code, "err_code": err_code, "description": description}

    def start_refusing(self):
        answer_all(self, lambda seen: {"error": self.errors[seen.subject], "stream": STREAM, "seq": 0})

    def wait_for_problem(self, relay, said):
        """Among those that the page lists."""
        self.wait(lambda: any(said in problem["summary"] for problem in self.status(relay)["problems"]), f"a problem: {said}")

    def test_of_an_error_that_nobody_knows(self):
        said = r"error of the server (10999): the moon\nis new, says nats://u:***@x ?"
        too_large = "message is larger than the stream's max_msg_size (10054): 7 bytes too many"
        self.refuse("orders.paid", 400, 10999, "the moon\nis new, says nats://u:secret@x \u2603")
        self.refuse("orders.large", 400, 10054, "7 bytes too many")
        self.start_refusing()
        relay = self.start_relay(streams=[stream()], **QUICK)
        self.writer("w").write("k", 2).write("other", subject="orders.large").commit()
        self.wait_for_log(relay, level="warn", msg="lane is held back", why=said, code="10999")
        self.wait_for_log(relay, level="error", msg="dead letter", why=too_large)
        self.wait(lambda: self.states().get("parked") == {said}, "the lane to be in the books")
        self.assertEqual(self.sql("SELECT id, reason FROM boxhaul.dead_letter"), [(3, too_large)])
        self.assertIn(said, relay.command("status").stdout)
        self.assertIn(f"message 1 is parked: {said}", relay.command("explain", "1").stdout)
        self.assertIn(f"message 3 is a dead letter: {too_large}", relay.command("explain", "3").stdout)
        self.assertIn(too_large, relay.command("dead-letters", "list").stdout)
        self.wait(lambda: self.status(relay)["refused_last"] == f"message 1 of {STREAM}: {said}", "the port to say it")
        self.wait_for_problem(relay, said)
        self.assertNotIn("moon", relay.get("/metrics")[1], "a label with words in it would be a series for each of them")
        self.assertIn('boxhaul_refusals_total{reason="error of the server (10999)"}', relay.get("/metrics")[1])
        with open(relay.log, encoding="utf-8") as log:
            self.assertNotIn("secret", log.read())

    def test_of_an_error_of_the_stream(self):
        """Our sentence first, the server's words behind it; a probe is refused again and again."""
        said = "insufficient storage (10047): disk 3 is full"
        self.refuse("orders.paid", 500, 10047, "disk 3 is full")
        self.start_refusing()
        relay = self.start_relay(streams=[stream()], health=health(stall_after="1s"), **QUICK)
        self.writer("w").write("k", 2).commit()
        self.wait_for_log(relay, msg="stream takes no messages now: holding them back", why=said)
        self.wait_for_page(relay, "/readyz", 503, f"stream {STREAM}: {said}: the stream does not take orders.>")
        self.wait_for_problem(relay, said)
        self.assertIn(f"{STREAM}: nothing sent yet; takes nothing: {said}: the stream does not take", relay.command("status").stdout)
        self.assertEqual(self.status(relay)["streams"][0]["reason"], said)
        self.wait(lambda: self.states().get("parked") == {said}, "the books to say it")
        self.assertIn(f"message 1 is parked: {said}", relay.command("explain", "1").stdout)


if __name__ == "__main__":
    unittest.main()
