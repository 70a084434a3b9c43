"""What stands around a payload: the row's own headers, byte for byte, and the envelope of an event where one is asked for."""

import base64
import datetime
import json
import re
import unittest

from harness import SERVICE, STREAM, SystemTest

EVENTS = {"envelope": "cloudevents"}
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
STATE = "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE,a@b=c d!~, x=\t1"  # spaces and a tab are legal in between
MEBI = 1 << 20


class EnvelopeTest(SystemTest):
    def insert(self, headers=None, subject="orders.paid", key="order-42", payload=b"{}", user=SERVICE):
        """Returns (id, message id)."""
        return self.sql("INSERT INTO boxhaul.outgoing (subject, key, payload, headers) VALUES (%s, %s, %s, %s::jsonb) "
                        "RETURNING id, message_id::text", (subject, key, payload, headers and json.dumps(headers)), user)[0]

    def lines(self, message_id):
        """The headers of that message as they are stored, in bytes, without the message id; sorted, for nats.c has an
        order of its own."""
        for message in self.stored():
            if message.msg_id == message_id:
                with self.jetstream() as jetstream:
                    stored = jetstream.call(f"STREAM.MSG.GET.{STREAM}", {"seq": message.seq})["message"]
                first, *lines = base64.b64decode(stored["hdrs"]).split(b"\r\n")
                self.assertEqual((first, lines[-2:]), (b"NATS/1.0", [b"", b""]))
                lines.remove(f"Nats-Msg-Id: {message_id}".encode())
                return sorted(lines[:-2])
        raise AssertionError(f"{message_id} is not stored")

    def attributes(self, message_id):
        """{name: value} of its headers."""
        return dict(line.decode().split(": ", 1) for line in self.lines(message_id))

    def reason(self, row_id):
        return self.sql("SELECT reason FROM boxhaul.dead_letter WHERE id = %s", (row_id,))[0][0]


class Trace(EnvelopeTest):
    """A trace goes on behind the broker: its headers arrive as they were written, whatever the envelope."""

    def check(self, **groups):
        self.start_relay(**groups)
        traces = [{parent: PARENT, state: STATE} for parent, state in
                  (("traceparent", "tracestate"), ("Traceparent", "Tracestate"), ("TRACEPARENT", "TraceState"))]
        written = {self.insert(headers)[1]: headers for headers in traces}
        self.wait_settled()
        for message_id, headers in written.items():
            got = [line for line in self.lines(message_id) if not line.startswith((b"ce-", b"Boxhaul-Key: "))]
            self.assertEqual(got, sorted(f"{name}: {value}".encode() for name, value in headers.items()))

    def test_raw(self):
        self.check()

    def test_events(self):
        self.check(**EVENTS)


class Events(EnvelopeTest):
    """envelope = "cloudevents": CloudEvents 1.0, binary content mode of the NATS protocol binding."""

    def test_all_of_it_comes_from_the_row_and_around_it(self):
        relay = self.start_relay(**EVENTS)
        before = datetime.datetime.now(datetime.timezone.utc)
        _, message_id = self.insert({"Content-Type": "application/json; charset=utf-8"})
        self.wait_settled()
        got = self.attributes(message_id)
        inserted = got.pop("ce-time")
        self.assertRegex(inserted, r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")
        inserted = datetime.datetime.fromisoformat(inserted)
        self.assertLessEqual(before - datetime.timedelta(seconds=1), inserted)  # the server's clock is ours
        self.assertEqual([(inserted,)], self.sql("SELECT created_at FROM boxhaul.outbox"))
        self.assertEqual(got, {"ce-specversion": "1.0", "ce-id": message_id, "ce-type": "orders.paid",
                               "ce-source": f"/boxhaul/{relay.settings['name']}", "ce-partitionkey": "order-42",
                               "ce-datacontenttype": "application/json;%20charset=utf-8",
                               "Content-Type": "application/json; charset=utf-8", "Boxhaul-Key": "order-42"})

    def test_what_the_row_says_goes_before(self):
        self.start_relay(event_source="https://shop.example/orders?a=%20", **EVENTS)
        own = {"ce-type": "com.example.paid", "ce-source": "urn:uuid:1", "ce-time": "1999-12-31T23:59:59Z",
               "ce-partitionkey": "p", "ce-subject": "Euro \u20ac \U0001f600", "ce-dataschema": "https://x.example/s",
               "ce-traceparent": PARENT}
        _, mine = self.insert(own)
        _, plain = self.insert(key=None, subject="orders.zürich")
        self.wait_settled()
        self.assertEqual(self.attributes(mine), {"ce-specversion": "1.0", "ce-id": mine, **own, "Boxhaul-Key": "order-42",
                                                 "ce-subject": "Euro%20%E2%82%AC%20%F0%9F%98%80"})
        got = self.attributes(plain)
        del got["ce-time"]
        self.assertEqual(got, {"ce-specversion": "1.0", "ce-id": plain, "ce-type": "orders.z%C3%BCrich",
                               "ce-source": "https://shop.example/orders?a=%2520"})

    def test_keys_of_any_kind(self):
        self.start_relay(**EVENTS)
        keys = {"": None, " ": "%20", 'a"b': "a%22b", "100%": "100%25", "line\nbreak\ttab": "line%0Abreak%09tab",
                "\u9375": "%E9%8D%B5", "k" * 15000: "k" * 15000}
        written = {key: self.insert(key=key)[1] for key in keys}
        self.wait_settled()
        for key, message_id in written.items():
            self.assertEqual(self.attributes(message_id).get("ce-partitionkey"), keys[key])

    def test_a_clash_is_a_dead_letter_and_the_key_goes_on(self):
        self.start_relay(**EVENTS)
        clashes = [({"ce-id": "1"}, "a ce- header that the envelope cannot take: ce-id, "),
                   ({"CE-SpecVersion": "1.0"}, "a ce- header that the envelope cannot take"),
                   ({"ce-datacontenttype": "text/plain"}, "a ce- header that the envelope cannot take"),
                   ({"ce-order_id": "1"}, "a ce- header that the envelope cannot take"),
                   ({"ce-type": ""}, "a ce- header that the envelope cannot take"),
                   ({"content-type": "application/cloudevents+json"}, "content-type is application/cloudevents")]
        dead = {self.insert(headers)[0]: text for headers, text in clashes}
        _, good = self.insert()
        self.wait_settled()
        for row_id, text in dead.items():
            self.assertEqual(self.reason(row_id)[:len(text)], text)
        self.assertEqual([m.msg_id for m in self.stored()], [good])

    def test_the_same_headers_are_nothing_special_when_raw(self):
        self.start_relay()
        headers = {"ce-id": "1", "CE-SpecVersion": "0.3", "content-type": "application/cloudevents+json", "ce-a_b": "%"}
        _, message_id = self.insert(headers)
        self.wait_settled()
        sent = {**headers, "Boxhaul-Key": "order-42"}
        self.assertEqual(self.lines(message_id), sorted(f"{name}: {value}".encode() for name, value in sent.items()))

    def test_what_fits_no_more_is_a_dead_letter(self):
        """Headers of 64 KB, and the server's max_payload, envelope included; up to there it arrives."""
        self.start_relay(**EVENTS)
        self.sql("ALTER TABLE boxhaul.outbox DROP CONSTRAINT outbox_key")
        (long_key,), = self.sql("INSERT INTO boxhaul.outbox (subject, key) VALUES ('orders.x', %s) RETURNING id",
                                ("\u9375" * 7300,))  # 21,900 bytes, 65,700 when they are encoded
        _, fits = self.insert(key="\u9375" * 7000)
        never_read, _ = self.insert(key="k" * 50000)
        many, _ = self.insert({"ce-x": "%" * 22000})
        large, _ = self.insert(payload=bytes(MEBI - 400))
        _, largest = self.insert(payload=bytes(MEBI - 600))
        self.wait_settled()
        for row_id in (long_key, never_read, many):
            self.assertEqual(self.reason(row_id), "headers with their envelope are longer than 64 KiB")
        self.assertEqual(self.reason(large), "message is larger than max_message_size or the server's max_payload")
        self.assertEqual([m.msg_id for m in self.stored()], [fits, largest])

    def test_times_without_words(self):
        """created_at is not the service's to write, but somebody may. An event needs no time."""
        self.start_relay(**EVENTS)
        written = self.sql("INSERT INTO boxhaul.outbox (subject, created_at) SELECT 'orders.x', t::timestamptz FROM "
                           "unnest('{infinity,-infinity,\"0044-03-15 BC\",\"20000-01-01\",\"1900-01-01 00:00:00.5Z\"}'"
                           "::text[]) t RETURNING message_id::text")
        self.wait_settled()
        self.assertEqual([self.attributes(message_id).get("ce-time") for (message_id,) in written],
                         [None, None, None, None, "1900-01-01T00:00:00.500000Z"])

    def test_a_life_with_faults(self):
        """A shop at work, and the broker gone in between: all arrives, in order, each an event of its own id."""
        self.start_relay(delivery={"ack_timeout": "500ms"}, **EVENTS)
        self.open_shop()
        self.let_trade(300)
        self.nats.kill9()
        self.let_trade(300)
        self.nats.start()
        self.audit()
        for message in self.stored():
            self.assertEqual(message.headers["ce-id"], [message.msg_id])
            self.assertEqual(message.headers["ce-type"], [message.subject])
            self.assertTrue(re.fullmatch(r"[!-~]+", message.headers["ce-time"][0]))


if __name__ == "__main__":
    unittest.main()
