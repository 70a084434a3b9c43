"""The taking half of the inbox on real servers: what matches in a stream stands in the database, each message once and in the order of the
stream, whatever ends in between. (How rows are handled: test_inbox_sql.py.)"""

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import time
import unittest
import unittest.mock
import uuid

from harness import STREAM, SystemTest
from nats_client import NatsError

NAME = "billing"
TAKING = ("inbox_lead_taken", "inbox_pulling", "inbox_received", "inbox_moving", "inbox_move_sent", "inbox_moved")  # failpoints
HEARTBEATS = 90  # seconds: far more than the relay waits for any sign of life


class TakeTest(SystemTest):
    """A stream, a publisher that remembers what it published, and daemons that only take."""

    @classmethod
    def _settings(cls, database):
        settings = super()._settings(database)
        del settings["streams"]
        return {**settings, "inbox": [cls.subscription()]}

    @staticmethod
    def subscription(**settings):
        return {"name": NAME, "stream": STREAM, "subjects": ["orders.>"], **settings}

    @classmethod
    def _make_template(cls):
        super()._make_template()

    def setUp(self):
        super().setUp()
        self.published, self.numbers = [], itertools.count(1)
        with self.jetstream() as js:
            js.create(STREAM, ["orders.>"], num_replicas=self.nats.replicas)

    def add_taker(self, *subscriptions, **settings):
        return self.add_relay(inbox=list(subscriptions) or [self.subscription(**settings)])

    def start_taker(self, *subscriptions, **settings):
        return self.add_taker(*subscriptions, **settings).start().wait_until_ready()

    def publish(self, count=1, subject="orders.paid", key="k", payload=None, headers=None, id="new"):
        """Messages of which each is to be taken; returns the last PubAck."""
        with self.jetstream() as js:
            for _ in range(count):
                body = f"m{next(self.numbers)}".encode() if payload is None else payload
                known = str(uuid.uuid4()) if id == "new" else id
                sent = {**({"Nats-Msg-Id": known} if known else {}), **({"Boxhaul-Key": key} if key else {}), **(headers or {})}
                ack = js.publish(subject, body, sent)
                self.published.append(body)
        return ack

    def publish_quickly(self, count, subject="orders.paid"):
        """Without waiting for each answer. (A cluster that elects would forget them.)"""
        self.wait(self.is_led, "the stream to be led")
        with self.jetstream() as js:
            for _ in range(count):
                body = f"m{next(self.numbers)}".encode()
                js.client.publish(subject, body, {"Nats-Msg-Id": str(uuid.uuid4()), "Boxhaul-Key": f"k{len(body) % 7}"})
                self.published.append(body)
            js.client.flush()
        self.wait(lambda: self.count() >= len(self.published), "the stream to hold them", progress=self.count)

    def is_led(self):
        """It has a leader, and all follow."""
        with contextlib.suppress(OSError, NatsError), self.jetstream() as js:
            return "cluster" not in (info := js.info(STREAM)) or "leader" in info["cluster"] and all(
                peer["current"] for peer in info["cluster"].get("replicas", []))
        return False

    def rows(self):
        """What was taken, in the order of its ids."""
        return [bytes(row[0]) for row in self.sql("SELECT payload FROM boxhaul.inbox WHERE subscription = %s ORDER BY id", (NAME,))]

    def leave_a_gap(self, relay):
        """It has taken five, and is dead; five more are gone; three are there."""
        self.publish(5)
        self.wait_taken()
        relay.kill9()
        self.publish(5)
        with self.jetstream() as js:
            js.purge(STREAM)
        del self.published[5:]
        self.publish(3)

    def look(self, what):
        return self.sql(f"SELECT {what} FROM boxhaul.inbox_position WHERE subscription = %s", (NAME,))[0][0]

    def taken(self):
        return self.sql("SELECT count(*) FROM boxhaul.inbox")[0][0]

    def wait_taken(self, count=None):
        wanted = len(self.published) if count is None else count
        self.wait(lambda: self.taken() >= wanted, f"{wanted} messages to be taken", progress=self.taken)

    def wait_stopped(self, kind):
        self.wait(lambda: self.sql("SELECT stop ->> 'kind' FROM boxhaul.inbox_position WHERE subscription = %s", (NAME,)) == [(kind,)],
                  f"the subscription to stop: {kind}")

    def wait_log(self, relay, words):
        def found():
            with open(relay.log, encoding="utf-8") as f:
                return words in f.read()
        self.wait(found, f"the log to say: {words}", deadline=HEARTBEATS)

    def judge(self):
        """All that was published, once, in the order of the stream; by ids that rise with it."""
        self.wait_taken()
        self.assertEqual(self.rows(), self.published)
        self.assertEqual(self.sql("SELECT count(*) FROM (SELECT seq, lag(seq) OVER (ORDER BY id) AS before FROM boxhaul.inbox) x "
                                  "WHERE before >= seq AND (SELECT incarnation FROM boxhaul.inbox_position) = 1"), [(0,)])

    def _situation(self):
        with contextlib.suppress(Exception):
            return str(self.sql("SELECT position, witness, incarnation, epoch, stop, taken, left_out, dead, lost FROM boxhaul.inbox_position"))
        return "nothing is known"


class Taking(TakeTest):
    def test_one_consumer_is_enough(self):
        """Two requests are served in turn, and a full one ends without a word in 2.9: read one behind the other, or counted for the wrong
        one, what they bring would look like lost messages."""
        self.publish_quickly(3000)
        relay = self.start_taker(queue=64)
        self.wait_taken()
        self.publish_quickly(1000)
        self.judge()
        with open(relay.log, encoding="utf-8") as f:
            self.assertNotIn("making another consumer", f.read())

    def test_all_that_is_there_and_all_that_comes(self):
        self.publish_quickly(3000)
        self.start_taker()
        self.wait_taken()
        self.publish(20)
        self.judge()
        self.assertEqual(self.look("position"), len(self.published))
        self.assertEqual(self.look("taken"), len(self.published))

    def test_what_a_message_says(self):
        """Subject, key, id, headers, time and bytes, as the publisher gave them."""
        self.publish(key="50%25 of it", headers={"a": "1", "Content-Type": "text/x; \"y\""}, payload=b"\x00\xff binary", id="order-1")
        self.start_taker()
        self.judge()
        with self.jetstream() as js:
            stored = next(iter(js.read(STREAM)))
        row = self.sql("SELECT subject, key, seq, headers, message_id, extract(epoch FROM stored_at)::float8 FROM boxhaul.inbox")[0]
        self.assertEqual(row[:3], ("orders.paid", "50% of it", 1))
        self.assertEqual(row[3], {"a": "1", "Content-Type": "text/x; \"y\"", "Nats-Msg-Id": "order-1", "Boxhaul-Key": "50%25 of it"})
        self.assertEqual(row[4], self.sql("SELECT md5('order-1')::uuid")[0][0])
        self.assertAlmostEqual(row[5], stored.time, delta=0.001)

    def test_key_in_the_subject(self):
        self.publish(subject="orders.paid.4711", key="not this")
        self.start_taker(key="subject:3", subjects=["orders.*.*"])
        self.judge()
        self.assertEqual(self.sql("SELECT key FROM boxhaul.inbox"), [("4711",)])


    def test_where_it_starts(self):
        self.publish(5)
        starts = [self.subscription(name=f"from-{start}", start=start) for start in ("all", "new", 4)]
        self.start_taker(*starts)
        self.wait(lambda: self.sql("SELECT count(*) FROM boxhaul.inbox_position WHERE created IS NOT NULL") == [(3,)],
                  "the stream to be opened by all")
        self.publish(1)
        self.wait_taken(6 + 1 + 3)
        self.assertEqual(self.sql("SELECT subscription, min(seq), max(seq), count(*) FROM boxhaul.inbox GROUP BY 1 ORDER BY 1"),
                         [("from-4", 4, 6, 3), ("from-all", 1, 6, 6), ("from-new", 6, 6, 1)])

    def test_several_filters(self):
        """nats-server 2.9 has room for one: it gets the narrowest that takes all, and what no filter matches is left out here."""
        with self.jetstream() as js:
            js.update(STREAM, subjects=["orders.>", "other.>"])
            for n in range(30):
                js.publish(("orders.paid.1", "orders.sent.1", "orders.lost.1", "other.x")[n % 4], f"n{n}".encode())
        self.published = [f"n{n}".encode() for n in range(30) if n % 4 < 2]
        self.start_taker(subjects=["orders.paid.*", "orders.sent.>"])
        self.judge()
        self.publish(3, subject="orders.sent.2")
        self.judge()

    def test_ids(self):
        """A message without an id is one of its own; an id that stands twice counts once, per subscription."""
        with self.jetstream() as js:
            js.update(STREAM, duplicate_window=100_000_000)
        self.publish(2, payload=b"same", id=None)
        self.publish(1, id="twice")
        with self.jetstream() as js:
            self.wait(lambda: not js.publish("orders.paid", b"the copy", {"Nats-Msg-Id": "twice"}).get("duplicate"), "the window to pass")
        self.publish(1)
        self.start_taker(self.subscription(), self.subscription(name="other"))
        self.wait_taken(8)
        self.assertEqual(self.rows(), self.published)
        self.assertEqual(self.sql("SELECT subscription, taken, left_out, position FROM boxhaul.inbox_position ORDER BY 1"),
                         [(NAME, 4, 1, 5), ("other", 4, 1, 5)])

    def test_headers_that_stand_twice(self):
        """The first one counts, as it does for the broker; both stand in the row."""
        twice = {"Nats-Msg-Id": ["one", "two"], "Boxhaul-Key": ["k1", "k2"]}
        self.publish(payload=b"first", key=None, id=None, headers=twice)
        with self.jetstream() as js:
            self.assertTrue(js.publish("orders.paid", b"again", {"Nats-Msg-Id": "one"})["duplicate"])
        self.publish(payload=b"second", id="two")
        self.publish(payload=b"none", key=None, id=None, headers={"Nats-Msg-Id": ["", "two"], "Boxhaul-Key": ["", "k"]})
        self.start_taker()
        self.judge()
        one, two = (self.sql(f"SELECT md5('{word}')::uuid")[0][0] for word in ("one", "two"))
        self.assertEqual(self.sql("SELECT message_id, key FROM boxhaul.inbox ORDER BY id"), [(one, "k1"), (two, "k"), (None, None)])
        self.assertEqual(self.sql("SELECT headers FROM boxhaul.inbox ORDER BY id LIMIT 1"), [(twice,)])

    def test_headers_of_any_bytes(self):
        """nats-server stores them unseen. A header without a value is empty, and nothing else; what is no header makes a dead letter, and
        whatever it is, messages with a body or without, it stops nothing."""
        odd = [(b"Nats-Msg-Id: \r\nBoxhaul-Key: k\r\n", None), (b"Nats-Msg-Id: \r\nBoxhaul-Key: k\r\n", None), (b"a: b\r\nNats-Msg-Id:\r\n", None),
               (b"no colon\r\na: b\r\n", "a line has no colon"), (b" a: b\r\n", "the first line begins with a blank"),
               (b"a: b\0c\r\n", "one holds a zero byte"), (b"a: b\r\n c\r\n", None)]
        with self.jetstream() as js:
            for payload in (b"body", b""):
                for headers, _reason in odd:
                    self.publish_raw(js, headers, payload)
        self.publish()
        self.start_taker()
        self.wait(lambda: self.look("position") == 2 * len(odd) + 1, "all to be taken")
        self.assertEqual(self.sql("SELECT reason FROM boxhaul.inbox_dead ORDER BY seq"), 2 * [(f"its headers: {r}",) for _, r in odd if r])
        self.assertEqual(self.sql("SELECT message_id, key, headers FROM boxhaul.inbox ORDER BY id")[:-1], 2 * [
            *2 * [(None, "k", {"Nats-Msg-Id": "", "Boxhaul-Key": "k"})], (None, None, {"a": "b", "Nats-Msg-Id": ""}), (None, None, {"a": "b c"})])

    def test_large_messages(self):
        """One that is larger than a request, and than the queue, has a request to itself."""
        for n in range(4):
            self.publish(payload=os.urandom(900_000 if n % 2 else 10))
        self.start_taker(queue=16, queue_bytes="64KiB")
        self.judge()

    def test_what_no_row_can_hold(self):
        """Dead letters at once, with the reason; what stands before and behind is taken."""
        self.publish()
        with self.jetstream() as js:
            self.publish_raw(js, b"Boxhaul-Key: k\r\na: \xff\xfe\r\n", b"headers")
            js.publish("orders.paid", b"key", {"Boxhaul-Key": "k" * 1100})
            js.publish("orders.paid", b"zero", {"Boxhaul-Key": "a%00b"})
            self.publish_raw(js, b"Nats-Msg-Id: \xc3\x28\r\n", b"id")
        self.publish()
        self.start_taker()
        self.judge()
        self.assertEqual(self.look("(taken, dead, position)"), "(2,4,6)")
        self.assertEqual([(bytes(payload), reason) for payload, reason in self.sql("SELECT payload, reason FROM boxhaul.inbox_dead ORDER BY seq")],
                         [(b"headers", "its headers: one is not UTF-8"), (b"key", "its key is longer than 1,024 bytes"),
                          (b"zero", "its key holds a zero byte"), (b"id", "its headers: one is not UTF-8")])

    def test_what_the_database_refuses(self):
        """It is found by taking its batch one by one, and is a dead letter; the rest of the batch is taken."""
        self.sql("ALTER TABLE boxhaul.inbox ADD CHECK (payload <> 'poison')")
        with self.jetstream() as js:
            for n in range(50):
                js.publish("orders.paid", b"poison" if n == 20 else b"m%d" % n, {"Boxhaul-Key": "k%C3%BC", "Nats-Msg-Id": f"ü{n}"})
        self.published = [b"m%d" % n for n in range(50) if n != 20]
        self.start_taker()
        self.judge()
        self.assertEqual(self.look("(taken, dead, position)"), "(49,1,50)")
        reason, *kept = self.sql("SELECT reason, key, headers, message_id FROM boxhaul.inbox_dead WHERE payload = 'poison'")[0]
        self.assertIn("check constraint", reason)
        self.assertEqual(kept, ["kü", {"Boxhaul-Key": "k%C3%BC", "Nats-Msg-Id": "ü20"}, self.sql("SELECT md5('ü20')::uuid")[0][0]])

    def test_what_the_encoding_of_the_database_has_not(self):
        """Dead letters, with what they are found by in characters that every encoding has; what comes again is known."""
        self.pg.execute(f"DROP DATABASE {self.database} WITH (FORCE)")
        self.pg.execute(f"CREATE DATABASE {self.database} ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
        self.publish(key="%C3%BC")
        with self.jetstream() as js:
            js.publish("orders.paid", b"euro", {"Boxhaul-Key": "%E2%82%AC 1", "Nats-Msg-Id": "id €", "a": "€"})
            js.publish("orders.paid.€", b"subject", {"Boxhaul-Key": "k"})
        self.publish()
        relay = self.add_taker()
        relay.migrate()
        relay.start()
        self.judge()
        letters = "SELECT key, convert_from(payload, 'UTF8'), subject, headers FROM boxhaul.inbox_dead ORDER BY seq"
        self.assertEqual(self.sql(letters), [("%E2%82%AC%201", "euro", "orders.paid", None), ("k", "subject", None, {"Boxhaul-Key": "k"})])
        self.assertIn("LATIN1", self.sql("SELECT reason FROM boxhaul.inbox_dead")[0][0])
        self.sql("SELECT boxhaul.inbox_rewind(%s, '1')", (NAME,))
        self.wait(lambda: self.look("position") == 4, "it to be taken again")
        self.assertEqual(self.look("(taken, dead, left_out)"), "(2,3,2)")  # the one without an id cannot be known

    def publish_raw(self, js, headers, payload):
        """Headers that are no text."""
        block = b"NATS/1.0\r\n" + headers + b"\r\n"
        before = js.info(STREAM)["state"]["last_seq"]
        js.client._send(b"HPUB orders.paid %d %d\r\n%s%s\r\n" % (len(block), len(block) + len(payload), block, payload))
        self.wait(lambda: js.info(STREAM)["state"]["last_seq"] > before, "it to be stored")

    def test_the_position_follows_a_quiet_filter(self):
        """By heartbeats, and with the time of the message there."""
        with self.jetstream() as js:
            js.update(STREAM, subjects=["orders.>", "quiet.>"])
        self.publish(subject="quiet.x")
        self.start_taker(subjects=["quiet.>"])
        self.wait_taken()
        with self.jetstream() as js:
            for n in range(40):
                js.publish("orders.paid", b"not ours")
        self.wait(lambda: self.look("position") == 41, "the position to follow", deadline=HEARTBEATS)
        with self.jetstream() as js:
            stored = [m.time for m in js.read(STREAM)][-1]
        self.assertAlmostEqual(self.look("witness") / 1e9, stored, delta=0.001)
        self.assertEqual(self.sql("SELECT count(*) FROM boxhaul.trail WHERE seq = 41"), [(1,)])
        self.publish(subject="quiet.y")
        self.judge()

    def test_an_idle_inbox_asks_nothing(self):
        self.publish(3)
        self.start_taker(start="new")
        self.wait(lambda: self.sql("SELECT created IS NOT NULL FROM boxhaul.inbox_position") == [(True,)], "the stream to be opened")
        seen, end = set(), time.monotonic() + 20
        while time.monotonic() < end:
            seen.update(self.statements())
            time.sleep(0.05)
        self.assertLessEqual(len(seen), 5, f"{seen}: two looks at the lanes, one at what waits, and one cleaning")

    def statements(self):
        """What the inbox's session did last, and when; none while there is no session."""
        return self.sql("SELECT query_start, query FROM pg_stat_activity WHERE application_name = 'boxhaul inbox' "
                        "AND datname = current_database()")

    def test_sleeping_workers_are_woken(self):
        self.start_taker()
        self.wait(lambda: self.sql("SELECT created IS NOT NULL FROM boxhaul.inbox_position") == [(True,)], "the stream to be opened")
        worker = self.connect()
        with worker.cursor() as cursor:
            cursor.execute("LISTEN boxhaul_inbox; BEGIN")
            cursor.execute("SELECT * FROM boxhaul.receive(%s, 10)", (NAME,))
            self.assertEqual(cursor.fetchall(), [])
            cursor.execute("COMMIT")
        self.publish(1)

        def notified():
            worker.poll()
            return worker.notifies
        self.wait(notified, "the worker to be notified")

    def test_outbox_and_inbox_in_one_daemon(self):
        """What the outbox publishes comes back."""
        relay = self.add_taker()
        relay.configure({**relay.settings, "streams": [{"name": STREAM, "subjects": ["orders.>"]}]})
        relay.start().wait_until_ready()
        writer = self.writer("w")
        writer.write(key="a b", count=20).commit()
        self.wait_taken(20)
        self.assertEqual(self.sql("SELECT count(DISTINCT message_id) FROM boxhaul.inbox i JOIN boxhaul.outbox o USING (message_id)"), [(20,)])
        self.assertEqual(relay.stop(), 0)

    def test_it_ends_when_told(self):
        relay = self.start_taker()
        self.publish(10)
        self.wait_taken()
        self.assertEqual(relay.stop(), 0)


class Accidents(TakeTest):
    def test_each_step_with_each_action(self):
        """Dead, frozen, or told that the step failed; then another daemon goes on, or the same one."""
        done = subprocess.run([self.program, "failpoints"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        points = [line.split()[0] for line in done.stdout.splitlines() if line.split()[0] in TAKING]
        if done.returncode == 0:
            self.assertEqual(points, list(TAKING))
        else:
            self.skipTest("this program has no failpoints: they need a build with configure --enable-failpoints")
        for point, action in itertools.product(points, ("kill", "stall", "error")):
            with self.subTest(f"{point}={action}"):
                self.publish(30)
                passes = 1 if point in ("inbox_lead_taken", "inbox_pulling", "inbox_moving") else 2
                victim = self.add_taker()
                victim.start({"BOXHAUL_FAILPOINT": f"{point}={action}@{passes}"})
                words = f"msg=failpoint name={point} action={action}"
                self.wait(lambda: self.log_of(victim).count(words) or self.feed(), f"{point} to {action}")
                if action == "stall":
                    self.depose()
                if action != "error":
                    self.start_taker()
                self.publish(10)
                self.wait_taken()
                if action == "stall":
                    victim.resume()
                    self.publish(10)
                self.judge()
                self.assertEqual(victim.alive(), action != "kill")
                for relay in self.relays:
                    relay.close()

    def feed(self):
        """What leads to a later passing of a point."""
        self.publish(1)
        return False

    @staticmethod
    def log_of(relay):
        with open(relay.log, encoding="utf-8") as f:
            return f.read()

    def depose(self):
        """The server ends the session of a daemon that says nothing."""
        self.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'boxhaul inbox' "
                 "AND datname = current_database()")

    def test_postgresql_crashes(self):
        self.start_taker()
        for _ in range(3):
            self.publish_quickly(500)
            self.pg.kill9()
            self.pg.start()
        self.publish(1)
        self.judge()

    def test_nats_server_crashes(self):
        self.start_taker()
        for _ in range(3):
            self.publish_quickly(500)
            self.nats.kill9()
            self.nats.start()
        self.publish(1)
        self.judge()

    def test_the_daemon_is_killed_again_and_again(self):
        for _ in range(6):
            relay = self.add_taker().start()
            before = self.taken()
            self.publish_quickly(400)
            self.wait(lambda: self.taken() > before, "something to be taken", pause=0.01)
            relay.kill9()
        self.start_taker()
        self.judge()

    def test_somebody_deletes_the_consumer(self):
        self.start_taker()
        self.publish(5)
        self.wait_taken()
        with self.jetstream() as js:
            names = js.call(f"CONSUMER.NAMES.{STREAM}")["consumers"]
            self.assertEqual(len(names), 1)
            self.assertTrue(names[0].startswith(f"boxhaul-{NAME}-"), names)
            js.call(f"CONSUMER.DELETE.{STREAM}.{names[0]}")
        self.publish(5)
        self.judge()

    def test_two_daemons(self):
        """One takes; when it dies the other one does."""
        first = self.start_taker()
        self.publish(10)
        self.wait_taken()
        self.assertEqual(self.look("epoch"), 1)
        second = self.add_taker().start()
        self.wait_log(second, "standing by")
        self.publish(10)
        self.wait_taken()
        self.assertEqual(self.look("epoch"), 1)
        first.kill9()
        self.publish(10)
        self.wait_taken()
        self.assertEqual(self.look("epoch"), 2)
        self.judge()

    def test_one_that_was_frozen_takes_nothing(self):
        """Its session says nothing, and whoever stands by ends it. It wakes up with what it had in hand, and its lead is over."""
        first = self.start_taker(stuck_after="1s")
        self.publish(10)
        self.wait_taken()
        second = self.add_taker(stuck_after="1s").start()
        self.wait_log(second, "standing by")
        first.pause()
        self.publish(10)
        self.wait_taken()
        self.assertGreater(self.look("epoch"), 1)
        first.resume()
        self.publish(10)
        self.judge()

    def test_a_database_that_is_put_back(self):
        """Rows, ids and position go back together: what was taken since is taken again."""
        self.start_taker()
        self.publish(10)
        self.wait_taken()
        with self.database_put_back():
            self.publish(10)
            self.wait_taken()
        self.publish(5)
        self.judge()

    def test_a_database_from_before_it_began(self):
        """With start = "new" it would begin at the end of today, and what came between would be lost: whoever knew of it begins where it
        began, and says so."""
        self.publish(3)
        with self.database_put_back():
            relay = self.start_taker(start="new")
            self.wait_log(relay, 'msg="the subscription begins: what stands in the stream up to here is not taken" subscription=billing position=3')
            del self.published[:]
            self.publish(5)
            self.wait_taken()
        self.publish(2)
        self.judge()
        self.assertEqual(self.look("(began, position, incarnation)"), "(3,10,1)")
        self.wait_log(relay, "taking again from where the subscription began")

    @contextlib.contextmanager
    def database_put_back(self):
        """All of it, as a failover to an older state does."""
        data, kept = self.pg.data, self.pg.data + ".kept"
        self.pg.stop()
        shutil.copytree(data, kept)
        subprocess.run(["chown", "-R", "--reference", data, kept], check=True)
        self.pg.start()
        yield
        self.pg.kill9()
        shutil.rmtree(data)
        os.rename(kept, data)
        self.pg.start()

    def test_a_disk_that_is_full_for_the_messages(self):
        """Nothing is wrong with any message: none is a dead letter, and all are taken when there is room."""
        self.sql("""CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION 'no space left' USING ERRCODE = 'disk_full'; END $$""")
        self.sql("CREATE TRIGGER full_disk BEFORE INSERT ON boxhaul.inbox FOR EACH ROW EXECUTE FUNCTION full_disk()")
        self.publish(20)
        relay = self.add_taker().start()
        self.wait_log(relay, "sqlstate=53100")
        self.publish(5)
        self.assertEqual(self.look("(taken, dead, position)"), "(0,0,0)")
        self.sql("DROP FUNCTION full_disk CASCADE")
        self.judge()
        self.assertEqual(self.look("(taken, dead, left_out)"), "(25,0,0)")

    def test_settings_that_change_while_it_runs(self):
        """A gap is waited at; then it is to be passed, by a reload."""
        relay = self.start_taker()
        self.leave_a_gap(relay)
        relay.start()
        self.wait_stopped("gap")
        relay.configure({**relay.settings, "inbox": [self.subscription(on_gap="continue", max_attempts=7)]})
        relay.send(signal.SIGHUP)
        self.judge()
        self.assertEqual(self.look("(lost, stop IS NULL)"), "(5,t)")
        self.assertEqual(self.sql("SELECT max_attempts FROM boxhaul.subscription"), [(7,)])

    def test_lanes_that_cannot_change_now(self):
        """Rows wait in the lanes of before: the subscription is not led with others, and says why; another daemon may lead it."""
        relay = self.start_taker()
        self.publish(5)
        self.wait_taken()
        relay.stop()
        second = self.add_taker(lanes=7).start()
        self.wait_log(second, "their order would be lost")
        self.publish(5)
        self.start_taker()
        self.judge()


class Streams(TakeTest):
    """What may become of a stream."""

    def test_purged_above_the_position(self):
        """Nothing behind the gap is taken before somebody accepts that it is lost."""
        self.leave_a_gap(self.start_taker())
        relay = self.add_taker().start()
        self.wait_stopped("gap")
        self.assertEqual(self.look("(stop ->> 'first_seq', position)"), "(11,5)")
        self.wait_log(relay, "accept-gap")
        relay.kill9()
        self.wait_log(self.add_taker().start(), "the subscription had stopped before")  # whoever leads next says it in its own log
        time.sleep(1)
        self.assertEqual(self.taken(), 5)
        self.assertEqual(self.sql("SELECT boxhaul.inbox_accept_gap(%s)", (NAME,)), [(5,)])
        self.judge()
        self.assertEqual(self.look("(lost, stop IS NULL)"), "(5,t)")

    def test_purged_above_the_position_and_gone_on(self):
        self.leave_a_gap(self.start_taker())
        self.start_taker(on_gap="continue")
        self.judge()
        self.assertEqual(self.look("(lost, stop IS NULL)"), "(5,t)")

    def test_deleted_and_made_anew(self):
        relay = self.start_taker()
        self.publish(5)
        self.wait_taken()
        self.make_anew()
        self.publish(3)
        self.wait_stopped("recreated")
        self.wait_log(relay, "rewind")
        self.assertEqual(self.taken(), 5)
        self.sql("SELECT boxhaul.inbox_rewind(%s, 'start')", (NAME,))
        self.judge()
        self.assertEqual(self.look("(incarnation, position)"), "(2,3)")

    def test_deleted_and_made_anew_and_restarted(self):
        """What is known by its id is left out."""
        self.start_taker(on_recreated="restart")
        self.publish(4)
        self.publish(1, id="known")
        self.wait_taken()
        self.make_anew()
        self.publish(1, id="known")
        del self.published[-1]
        self.publish(3)
        self.judge()
        self.assertEqual(self.look("(incarnation, position, left_out)"), "(2,4,1)")

    def make_anew(self):
        with self.jetstream() as js:
            js.delete(STREAM)
            js.create(STREAM, ["orders.>"])

    def test_deleted_for_a_while(self):
        relay = self.start_taker(on_recreated="restart")
        self.publish(2)
        self.wait_taken()
        with self.jetstream() as js:
            js.delete(STREAM)
        self.wait_log(relay, "stream not found")
        with self.jetstream() as js:
            js.create(STREAM, ["orders.>"])
        self.publish(2)
        self.judge()

    def put_back(self, before, after):
        """The store as it was after `before` messages; `after` were stored since, and are taken."""
        self.publish(before)
        self.wait_taken()
        with self.put_back_behind():
            self.publish(after)
            self.wait_taken()

    def test_lost_its_end(self):
        """What comes under the lost numbers is taken, all of it, whether it has grown past the position meanwhile or not."""
        for grown in (3, 30):
            with self.subTest(grown=grown):
                relay = self.start_taker()
                self.put_back(10, 10)
                self.publish(grown)
                self.wait_taken()
                self.assertEqual(self.rows(), self.published)
                self.publish(2)
                self.wait_taken()
                self.assertEqual(self.rows(), self.published)
                self.wait_log(relay, "lost its end")
                relay.kill9()
        self.assertEqual(self.look("incarnation"), 3)

    def test_lost_its_end_while_the_filter_was_quiet(self):
        """The witness stands at the position that followed: or what came under its numbers since would never be taken."""
        with self.jetstream() as js:
            js.update(STREAM, subjects=["orders.>", "quiet.>"])
        relay = self.start_taker(subjects=["quiet.>"])
        self.publish(1, subject="quiet.x")
        self.wait_taken()
        with self.put_back_behind():
            with self.jetstream() as js:
                for _ in range(20):
                    js.publish("orders.paid", b"not ours")
            self.wait(lambda: self.look("position") == 21, "the position to follow", deadline=HEARTBEATS)
            relay.kill9()
        self.publish(30, subject="quiet.y")
        self.start_taker(subjects=["quiet.>"])
        self.judge()

    def test_lost_more_than_the_newest_marks(self):
        """There are hundreds of marks in a second, and a stream can lose minutes: the older marks count, too, and it is not taken again from
        its beginning."""
        relay = self.start_taker()
        for _ in range(10):
            self.publish(1)
            self.wait_taken()
        with self.put_back_behind():
            self.publish_quickly(1500)
            self.wait_taken()
            relay.kill9()
            self.sql("INSERT INTO boxhaul.trail (subscription, seq, incarnation, witness) SELECT %s, n, 1, n FROM generate_series(11, 1509) n "
                     "ON CONFLICT DO NOTHING", (NAME,))
            self.sql("UPDATE boxhaul.trail SET at = at - (20 - seq) * '1 minute'::interval WHERE seq <= 10")
        self.publish(5)
        self.start_taker()
        self.judge()
        self.assertEqual(self.look("(incarnation, position, left_out)"), "(2,15,0)")

    def test_lost_its_end_and_ids_are_forgotten(self):
        """No mark agrees, and what stands at the beginning would take effect twice: it stops, and goes on as a person says."""
        relay = self.start_taker()
        self.publish(10)
        self.wait_taken()
        with self.put_back_behind():
            self.publish(10)
            self.wait_taken()
            relay.kill9()
        self.sql("DELETE FROM boxhaul.trail; UPDATE boxhaul.inbox_slot SET turn = 3 WHERE ring = 'seen' AND slot = 2")
        relay = self.add_taker().start()
        self.publish(3)
        self.wait_stopped("truncated")
        self.wait(lambda: "lost its end" in relay.get("/readyz")[1], "the port to say so")
        self.sql("SELECT boxhaul.inbox_rewind(%s, '10')", (NAME,))
        self.judge()

    def test_lost_its_end_without_ids(self):
        """Nobody can tell what is known: it stops, and stays so when the stream has grown past the position."""
        relay = self.start_taker(dedupe="position")
        self.put_back(10, 10)
        self.publish(30)
        self.wait_stopped("truncated")
        self.wait_log(relay, "rewind")
        relay.kill9()
        again = self.add_taker(dedupe="position").start()
        self.wait_log(again, 'msg="taking"')
        self.publish(5)
        time.sleep(1)
        self.assertEqual(self.taken(), 20)
        self.sql("SELECT boxhaul.inbox_rewind(%s, '10')", (NAME,))
        self.judge()
        self.assertTrue(again.alive())

    def test_kinds_that_have_no_position(self):
        for retention in ("workqueue", "interest"):
            with self.subTest(retention=retention):
                with self.jetstream() as js:
                    js.create(retention.upper(), [f"{retention}.>"], retention=retention)
                relay = self.add_taker(name=retention, stream=retention.upper(), subjects=[f"{retention}.>"]).start()
                self.wait(lambda: self.sql("SELECT stop ->> 'kind' FROM boxhaul.inbox_position WHERE subscription = %s", (retention,))
                          == [("kind",)], "it to stop")
                relay.kill9()

    def test_a_start_ahead_of_the_end(self):
        self.publish(2)
        self.add_taker(start=100).start()
        self.wait_stopped("start_ahead")


class Denied(TakeTest):
    """A login that lacks a right: which one, is said."""

    nats_settings = {"authorization": {"users": [
        {"user": "all", "password": "all"},
        {"user": "taker", "password": "taker", "permissions": {
            "publish": {"deny": ["$JS.API.CONSUMER.CREATE.>"]}, "subscribe": ["_INBOX.>"]}}]}}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        plain = cls.nats.url
        cls.nats.url = lambda user="all", password="all", **more: plain(user=user, password=password, **more)

    def test_a_consumer_may_not_be_made(self):
        self.publish(1)
        relay = self.add_taker()
        relay.configure({**relay.settings, "nats": {"urls": [self.nats.url(user="taker", password="taker")]}})
        relay.start()
        self.wait_stopped("refused")
        self.assertEqual(self.look("stop ->> 'words'"), f"let this login publish to $JS.API.CONSUMER.CREATE.{STREAM}.>")


class Nodes(TakeTest):
    """Three servers, and a stream on all of them; its consumer lives on one."""

    @classmethod
    def setUpClass(cls):
        with unittest.mock.patch.dict(os.environ, NATS_NODES="3"):
            super().setUpClass()

    def setUp(self):
        super().setUp()
        self.nodes = [self.nats, *self.nats.others]

    def consumers_node(self):
        with contextlib.suppress(OSError, NatsError), self.jetstream() as js:
            names = [c["cluster"]["leader"] for c in js.call(f"CONSUMER.LIST.{STREAM}")["consumers"]]
            for node in self.nodes:
                if node.settings["server_name"] in names:
                    return node
        return None

    def test_the_streams_leader_steps_down(self):
        """Others have lost messages by it, with a consumer whose filter had been changed, or an acknowledgement of what the new leader
        never sent. Here nothing is lost, twice, or late, and nothing waits for ever."""
        relay = self.add_taker(queue=64, subjects=["orders.paid"])
        relay.configure({**relay.settings, "nats": {"urls": [node.url() for node in self.nodes]}})
        relay.start().wait_until_ready()
        for n in range(3):
            self.publish_quickly(300)
            with self.jetstream() as js:
                js.call(f"STREAM.LEADER.STEPDOWN.{STREAM}")
            self.publish_quickly(300)
            self.wait_taken()
            if n == 0:
                relay.stop()
                self.sql("SELECT boxhaul.inbox_subjects(%s, '{orders.>}')", (NAME,))
                relay.configure({**relay.settings, "inbox": [self.subscription(queue=64)]})
                relay.start()
        self.publish(5, subject="orders.sent")
        self.judge()

    def test_the_consumers_node_is_killed(self):
        """Another consumer is made on what is left, and goes on from the position."""
        relay = self.add_taker(queue=64)
        relay.configure({**relay.settings, "nats": {"urls": [node.url() for node in self.nodes]}})
        relay.start().wait_until_ready()
        for _ in range(3):
            with self.connect() as locker, locker.cursor() as cursor:
                cursor.execute("BEGIN; LOCK TABLE boxhaul.inbox IN SHARE MODE")
                before = self.taken()
                self.publish_quickly(3000)
                self.wait(self.consumers_node, "a consumer").kill9()
                self.assertEqual(self.taken(), before)
                cursor.execute("COMMIT")
            for node in self.nodes:
                if not node.alive():
                    node.spawn_only()
                    node.wait_listening()
            self.wait(self.is_led, "the stream to be led")
        self.publish(5)
        self.judge()



if __name__ == "__main__":
    unittest.main(verbosity=2)
