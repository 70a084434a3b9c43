"""What the inbox says to JetStream, read from the wire: what others have suffered from cannot occur where it is never asked for. And what
JetStream may say at any time, said by another client: none of it may leave a subscription that asks for nothing any more."""

import json
import unittest

from harness import STREAM
from nats_client import Client
from test_inbox_take import NAME, TakeTest as _TakeTest


class WireTest(_TakeTest):
    """A client that hears everything that the daemon says to the API, and answers nothing."""

    def setUp(self):
        super().setUp()
        self.spy = self.enterContext(Client(self.nats.url()))
        self.asks, self.acks = (self.spy.subscribe(subject) for subject in ("$JS.API.CONSUMER.>", "$JS.ACK.>"))
        self.spy.flush()


class Asked(WireTest):
    def test_consumers_are_made_and_never_changed(self):
        """However its consumer is lost and whatever it is to take, each one is made once, under a name of its own: without acknowledgements,
        deliveries that are counted, or a life after its connection. No message is ever acknowledged."""
        relay = self.start_taker(subjects=["orders.paid"])
        self.publish(3)
        self.wait_taken()
        with self.jetstream() as js:
            name, = js.call(f"CONSUMER.NAMES.{STREAM}")["consumers"]
            js.call(f"CONSUMER.DELETE.{STREAM}.{name}")
        self.publish(3)
        self.wait_taken()
        relay.kill9()
        self.sql("SELECT boxhaul.inbox_subjects(%s, '{orders.>}')", (NAME,))
        self.publish(3, subject="orders.sent")
        self.start_taker()
        self.publish(3)
        self.judge()
        asked = self.spy.arrived(self.asks)
        made = [json.loads(m.payload) for m in asked if ".CREATE." in m.subject]
        self.assertGreaterEqual(len(made), 3)
        self.assertEqual({m.subject.split(".")[3] for m in asked} - {"NAMES"}, {"CREATE", "MSG", "DELETE"}, "and nothing else")
        self.assertEqual(len({m["config"]["name"] for m in made}), len(made), "a name of its own each")
        for config in (m["config"] for m in made):
            self.assertEqual((config["ack_policy"], config["mem_storage"], config["num_replicas"], config.get("durable_name"),
                              config.get("max_deliver"), config.get("deliver_subject")), ("none", True, 1, None, None, None), config)
        self.assertEqual(self.spy.arrived(self.acks), [])
        with self.jetstream() as js:
            infos = js.call(f"CONSUMER.LIST.{STREAM}")["consumers"]
        there = next(i for i in infos if i["delivered"]["consumer_seq"] > 0)
        self.assertEqual((there["num_ack_pending"], there["num_redelivered"], there["config"]["ack_policy"]), (0, 0, "none"))

    def test_a_duplicate_is_no_error(self):
        """It is told by its id before it is inserted: no text of an error, in whatever language, has to be understood."""
        with self.jetstream() as js:
            js.update(STREAM, duplicate_window=100_000_000)
        self.start_taker()
        self.publish(1, id="same")
        self.wait_taken()
        for _ in range(3):
            with self.jetstream() as js:
                self.wait(lambda js=js: not js.publish("orders.paid", b"again", {"Nats-Msg-Id": "same"}).get("duplicate"), "the window to pass")
        self.publish(1)
        self.judge()
        self.assertEqual(self.look("(taken, left_out)"), "(2,3)")
        with open(self.pg.log, encoding="utf-8", errors="replace") as f:
            self.assertNotIn("duplicate key", f.read())


class Told(WireTest):
    """Statuses that end a request, or say that the consumer is another server's by now."""

    def tell(self, status):
        """To each request that is outstanding."""
        replies = self.wait(lambda: {m.reply for m in self.spy.arrived(self.asks) if ".MSG.NEXT." in m.subject}, "requests to be outstanding")
        block = f"NATS/1.0 {status}\r\n\r\n".encode()
        with Client(self.nats.url()) as client:
            for reply in replies:
                client._send(b"HPUB %s %d %d\r\n%s\r\n" % (reply.encode(), len(block), len(block), block))
            client.flush()

    def test_whatever_it_is_told(self):
        """It asks again, or makes another consumer; what comes then is taken."""
        self.start_taker()
        self.publish(2)
        self.wait_taken()
        for status in ("409 Leadership Change", "408 Request Timeout", "404 No Messages", "409 Consumer Deleted", "409 Batch Completed",
                       "409 Exceeded MaxWaiting", "409 Message Size Exceeds MaxBytes", "503", "423 Nats-Wrong-Pin-Id", "999 Never Heard Of"):
            with self.subTest(status):
                self.tell(status)
                self.publish(2)
                self.judge()


if __name__ == "__main__":
    unittest.main(verbosity=2)
