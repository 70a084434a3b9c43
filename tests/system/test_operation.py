"""What an operator meets: streams that cannot take messages, a relay that sleeps, readiness and the log."""

import contextlib
import json
import os
import re
import select
import signal
import time
import unittest
from collections import Counter

from harness import ILLEGAL, RELAY, SERVICE, STREAM, SystemTest
from jetstream import JetStream
from nats_client import Client
from process import free_port
from prometheus import parse_metrics
from reconcile import reconcile
from servers import Nats
from shop import Habits

PAGES = ("/", "/page.css", "/page.js", "/livez", "/readyz", "/healthz", "/metrics", "/status", "/history")  # of the health port
QUICK = {"delivery": {"ack_timeout": "500ms", "retry_max": "500ms"},  # for tests in which much goes unanswered
         "outbox": {"gap_grace": "100ms"}}
HOUR = {"safety_poll": "1h"}  # longer than any test: what arrives was not found by the safety poll


def stream(name=STREAM, *subjects, create=False):
    return {"name": name, "subjects": list(subjects or ["orders.>"]), "create": create}


def health(**settings):
    return {"listen": f"127.0.0.1:{free_port()}", **settings}


def log_lines(relay):
    """The log as a list of dicts; every line must be logfmt."""
    with open(relay.log, encoding="utf-8") as f:
        return [parse_logfmt(line) for line in f]


def parse_logfmt(line):
    pair = r'([a-z_]+)=("(?:[^"\\]|\\.)*"|[^\s"=]+)'
    if not re.fullmatch(f"{pair}( {pair})*\n", line):
        raise AssertionError(f"not logfmt: {line!r}")
    return {key: json.loads(value) if value[0] == '"' else value for key, value in re.findall(pair, line)}


def fill(pipe):
    """Until not one byte more fits."""
    os.set_blocking(pipe, False)
    for size in (4096, 1):
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(pipe, b"x" * size)
    os.set_blocking(pipe, True)


class OperationTest(SystemTest):
    @staticmethod
    def address(relay):
        host, port = relay.settings["health"]["listen"].split(":")
        return host, int(port)

    def wait_for_log(self, relay, **fields):
        """Until a line has these fields, each found in the line's; returns the line."""
        def found():
            return [line for line in log_lines(relay)
                    if all(text in line.get(key, "") for key, text in fields.items())]
        return self.wait(found, f"the log to say {fields}")[0]

    def wait_for_page(self, relay, path, code, *words):
        """Until the page answers so, with all the words in its text; returns the text."""
        def answers():
            got, text = relay.get(path)
            return text if got == code and all(word in text for word in words) else None
        return self.wait(answers, f"{path} to answer {code} {words}")

    def wait_for_pace(self, relay, pace):
        self.wait(lambda: self.status(relay)["pace"] == pace, f"the relay to be {pace}")

    def states(self):
        """{state: {last errors}} of all messages that are not sent."""
        states = {}
        for state, error in self.sql("SELECT state, last_error FROM boxhaul.messages WHERE state <> 'sent'"):
            states.setdefault(state, set()).add(error)
        return states

    def publish(self, subject, key=None, count=1):
        """Messages beside the books that audit() judges."""
        for _ in range(count):
            self.sql("SELECT boxhaul.publish(%s, '{}'::jsonb, key => %s)", (subject, key), user=SERVICE)

    def judge(self, stored):
        """As audit(), of a stream that was read in parts."""
        result = reconcile([self.ledger] + [shop.ledger for shop in self.shops], stored)
        self.assertTrue(result.clean(), f"{result} {result.examples}")
        self.assertEqual(self.sql("SELECT count(*) FROM boxhaul.dead_letter"), [(0,)])

    def listen_to_everything(self):
        """With a subscriber on '>' nobody is told that there is no stream."""
        client = Client(self.nats.url())
        self.addCleanup(client.close)
        client.subscribe(">")
        client.flush()


class Streams(OperationTest):
    """A stream that cannot take messages stops its own messages and no others; nothing becomes a dead letter, and the
    cause has a name."""

    def start(self, *streams):
        """What the broker says comes before what is said without it: a cause is logged once."""
        return self.start_relay(streams=list(streams) or [stream()], health=health(stall_after="6s"),
                                delivery={"ack_timeout": "5s", "retry_max": "500ms"}, outbox=QUICK["outbox"])

    def test_missing_then_created(self):
        self.check_missing()

    def test_missing_in_silence(self):
        self.listen_to_everything()
        self.check_missing()

    def check_missing(self):
        reason = "stream not found"  # or what a probe is told that is sent all the same
        relay = self.start()
        self.writer("early").write("k", 10).write(None, 5).commit()
        self.wait_for_page(relay, "/readyz", 503, STREAM, "stream not found (10059)", "create = true")
        self.wait_for_log(relay, level="warn", msg="takes no messages", stream=STREAM, why=reason)
        self.wait_for_log(relay, level="warn", msg="stream is not there", stream=STREAM, why="stream not found")
        self.wait_for_log(relay, level="error", msg="stalled", why=STREAM)
        told = self.status(relay)["streams"][0]
        self.assertEqual((told["name"], told["blocked"]), (STREAM, True))
        self.assertIn(told["reason"], [f"{reason} (10059)", "no stream answers for the subject (503)", "no reply from the stream"])
        self.assertIn("create it, or set create = true", told["detail"])
        self.wait(self.are_parked_as_missing, "all to be parked")
        with self.jetstream() as jetstream:
            jetstream.create(STREAM, ["orders.>"])
        self.writer("late").write("k", 10).commit()
        self.judge_when_settled(relay)
        self.wait_for_log(relay, level="info", msg="takes messages again", stream=STREAM)

    def are_parked_as_missing(self):
        states = self.states()
        return list(states) == ["parked"] and states["parked"] <= {
            "stream not found (10059)", "no stream answers for the subject (503)", "no reply from the stream"}

    def judge_when_settled(self, relay, before=()):
        self.wait_settled()
        self.judge(list(before) + self.stored())
        self.wait_for_page(relay, "/readyz", 200)
        self.assertFalse(self.status(relay)["streams"][0]["blocked"])

    def test_what_is_held_back_is_written_down_however_often_it_is_tried(self):
        self.start_relay(streams=[stream()], delivery=QUICK["delivery"], outbox={"gap_grace": "2s"})
        self.writer("w").write("k", 3).commit()
        self.wait(self.are_parked_as_missing, "all to be parked")

    def test_full_of_messages_then_purged(self):
        self.check_full("purged", max_msgs=5)

    def test_full_of_messages_then_widened(self):
        self.check_full("widened", max_msgs=5)

    def test_full_of_bytes_then_purged(self):
        self.check_full("purged", max_bytes=3000)

    def test_full_of_bytes_then_widened(self):
        self.check_full("widened", max_bytes=3000)

    def check_full(self, way, **limit):
        relay = self.start(stream(), stream("INVOICES", "invoices.>", create=True))
        with self.jetstream() as jetstream:
            jetstream.create(STREAM, ["orders.>"], discard="new", **limit)
            for n in range(10):
                self.writer(f"w{n}").write("k").write(None).commit()
            self.wait_for_page(relay, "/readyz", 503, STREAM, "the stream is full")
            self.wait_for_log(relay, level="warn", stream=STREAM, why="the stream is full")
            self.publish("invoices.sent", "k", 10)
            self.wait_for_messages(10, "INVOICES")
            what = "messages" if "max_msgs" in limit else "bytes"
            self.wait(lambda: self.states() == {"parked": {f"the stream is full: maximum {what} exceeded"}}, "the rest to be parked")
            stored = []
            if way == "widened":
                jetstream.update(STREAM, **dict.fromkeys(limit, -1))
            while way == "purged" and not self.is_settled():
                stored += (found := self.stored())
                if found:  # up to what was read; without a sequence above 1 it would purge what came since, too
                    jetstream.call(f"STREAM.PURGE.{STREAM}", {"seq": found[-1].seq + 1})
        self.judge_when_settled(relay, stored)

    def test_full_for_one_subject(self):
        relay = self.start()
        with self.jetstream() as jetstream:
            jetstream.create(STREAM, ["orders.>"], discard="new", max_msgs_per_subject=1, discard_new_per_subject=True)
        for key, subject in (("k", "a"), ("k", "a"), ("k", "b"), (None, "a"), (None, "c"), ("other", "d")):
            self.publish(f"orders.{subject}", key)
        self.wait_for_messages(3)
        self.assertEqual([message.subject for message in self.stored()], ["orders.a", "orders.c", "orders.d"])
        reason = "the stream holds the most messages it may for this subject"
        self.wait(lambda: self.states() == {"parked": {f"{reason}: maximum messages per subject exceeded"}}, "two lanes to be parked")
        self.wait_for_log(relay, level="warn", msg="lane is held back", stream=STREAM, why=reason)
        self.assertFalse(self.status(relay)["streams"][0]["blocked"])
        with self.jetstream() as jetstream:
            jetstream.update(STREAM, max_msgs_per_subject=-1, discard_new_per_subject=False)
        self.wait_settled()
        subjects = [message.subject for message in self.stored()]
        self.assertEqual(Counter(subjects), {"orders.a": 3, "orders.b": 1, "orders.c": 1, "orders.d": 1})
        self.assertNotIn("orders.a", subjects[subjects.index("orders.b") + 2:], "b went before the a of its key")

    def test_taken_by_another_stream(self):
        with self.jetstream() as jetstream:
            jetstream.create("THIEF", ["orders.>"])
            jetstream.create(STREAM, ["unused"])
        relay = self.start()
        self.writer("w").write("k", 5).commit()
        reason = ("another stream than the configured one takes the subject: THIEF: name that one in the configuration, or take "
                  "the subject out of it")
        self.wait_for_page(relay, "/readyz", 503, f"stream {STREAM}: {reason}")
        self.wait_for_log(relay, level="warn", stream=STREAM, why=reason)
        self.wait(lambda: self.states() == {"parked": {reason}}, "all to be parked")
        with self.jetstream() as jetstream:
            jetstream.delete("THIEF")
            jetstream.update(STREAM, subjects=["orders.>"])
        self.judge_when_settled(relay)

    def test_deleted_under_load_then_created(self):
        """What the deleted stream held is gone with it, by the operator's own hand; nothing else is."""
        with self.jetstream() as jetstream:
            jetstream.create(STREAM, ["orders.>"])
            relay = self.start_relay(streams=[stream()], health=health(stall_after="2m"))
            shop = self.open_shop()
            self.let_trade(300)
            self.assertEqual(relay.command("pause").returncode, 0)  # what is stored is known to be, however long the reading takes
            before = self.stored()
            jetstream.delete(STREAM)
            self.assertEqual(relay.command("resume").returncode, 0)
            self.let_trade(300)
            self.wait(lambda: self.status(relay)["streams"][0]["blocked"], "the relay to notice")
            jetstream.create(STREAM, ["orders.>"])
            self.let_trade(300)
            shop.stop()
        self.wait_settled()
        self.assertGreater(len(before), 0)
        self.judge(before + self.stored())

    def test_deleted_when_thousands_went_well(self):
        """After a thousand answers without a 503 they are taken where the next 503 cannot be told whose it is: what it
        answered counts as not answered, is tried again, and then the cause has its name as ever."""
        with self.jetstream() as jetstream:
            jetstream.create(STREAM, ["orders.>"])
            relay = self.start()
            writer = self.writer("w")
            writer.copy(3000).commit()
            self.wait_settled()
            before = self.stored()
            jetstream.delete(STREAM)
            writer.write("k", 10).write(None, 5).commit()
            self.wait(self.are_parked_as_missing, "all to be parked")
            self.wait_for_page(relay, "/readyz", 503, STREAM, "stream not found (10059)")
            jetstream.create(STREAM, ["orders.>"])
            writer.write("k", 10).commit()
        self.judge_when_settled(relay, before)


class Permissions(OperationTest):
    """A subject the relay's user may not publish to stops its lanes and no others."""

    nats_settings = {"authorization": {"users": [
        {"user": "operator", "password": "operator"},
        {"user": "relay", "password": "relay",
         "permissions": {"publish": {"allow": ["orders.>", "$JS.API.STREAM.INFO.ORDERS"],
                                     "deny": ["orders.secret.*", 'orders."quoted\\"']},
                         "subscribe": ["_INBOX.>"]}},
        {"user": "deaf", "password": "deaf", "permissions": {"publish": [">"], "subscribe": ["nothing"]}}]}}

    def setUp(self):
        super().setUp()
        with self.jetstream() as jetstream:
            jetstream.create(STREAM, ["orders.>"])

    def relay_as(self, user, **groups):
        return self.start_relay(nats={"urls": [self.nats.url(user, user)]}, **{**QUICK, **groups})

    @contextlib.contextmanager
    def jetstream(self):
        with Client(self.nats.url("operator", "operator")) as client:
            yield JetStream(client)

    def test_a_subject_that_is_not_permitted(self):
        relay = self.relay_as("relay")
        denied = ["orders.secret.1", "orders.secret.2", 'orders."quoted\\"']
        for n, subject in enumerate(denied):
            self.publish(subject, f"denied {n}")
            self.publish("orders.behind", f"denied {n}")
        self.publish(denied[0])  # unordered
        self.writer("w").write("k", 5).write(None, 5).commit()
        reason = "not permitted to publish to the subject"

        def parked():
            return len(self.sql("SELECT id FROM boxhaul.messages WHERE state = 'parked'"))
        self.wait(lambda: (self.states(), parked()) == ({"parked": {reason}}, 7), "the denied lanes to be parked, and only those")
        for subject in denied[:2]:
            self.wait_for_log(relay, level="error", msg=f'Permissions Violation for Publish to "{subject}"')
        self.wait_for_log(relay, level="warn", msg="lane is held back", why=reason)
        self.writer("v").write("k", 5).write(None, 5).commit()
        self.wait_for_messages(20)
        self.judge(self.stored())
        self.assertEqual(self.status(relay)["streams"][0]["blocked"], False)

    def test_a_login_that_may_not_look(self):
        """It cannot know what an earlier leader has stored; within the duplicate window that does no harm."""
        relay = self.relay_as("relay")
        self.writer("first").write("first", 5).commit()
        self.wait_settled()
        relay.kill9()
        with self.jetstream() as jetstream:
            jetstream.publish("orders.others")  # something to look at
            relay = self.relay_as("relay")
            self.writer("second").write("second", 5).commit()
            self.wait_settled()
            jetstream.call(f"STREAM.PURGE.{STREAM}", {"filter": "orders.others"})
        self.wait_for_log(relay, level="warn", msg="may not look at what the stream holds", stream=STREAM)
        self.judge(self.stored())

    def test_acknowledgements_that_cannot_reach_the_relay(self):
        relay = self.add_relay(nats={"urls": [self.nats.url("deaf", "deaf")]}, **QUICK).start()
        self.writer("w").write("k").commit()
        self.wait_for_log(relay, level="error", msg="Permissions Violation for Subscription to")
        self.wait_for_page(relay, "/readyz", 503, "NATS is not connected: no answer can reach us: let this login subscribe "
                           "to _INBOX.> (Permissions Violation for Subscription to")
        self.assertIn("FAIL  stream ORDERS: no answer", relay.command("check").stdout)
        self.assertEqual(self.count(), 0, "nothing is sent whose answer could not be heard")


class SleepTest(OperationTest):
    def activity(self):
        """What the relay's sessions last asked, and when. Asked from another database."""
        return self.pg.execute("SELECT pid, query_start, query FROM pg_stat_activity "
                               "WHERE datname = %s AND usename = %s ORDER BY pid", (self.database, RELAY))

    def wait_asleep(self, relay):
        self.wait_settled()
        self.wait_for_pace(relay, "asleep")

    def commit_and_wait(self, stored):
        self.writer(f"w{stored}").write("k").commit()
        self.wait_for_messages(stored)


class Sleep(SleepTest):
    def test_a_sleeping_relay_asks_nothing_and_wakes_at_once(self):
        relay = self.start_relay(outbox=HOUR)
        self.check_it_sleeps_and_wakes(relay, 0)
        # Nothing is rolled back: an id that never appears is accounted for at the next poll, an hour from now.
        shop = self.open_shop(habits=Habits(pause=0.002, rollback=0, savepoint=0))
        self.let_trade(500)
        shop.stop()
        self.wait_settled()
        self.check_it_sleeps_and_wakes(relay, self.count())
        self.audit()

    def asks_nothing(self, relay):
        """For two seconds, though it is asked itself. What it goes to sleep with may take a while; one that polls never comes so far."""
        before = self.activity()
        time.sleep(2)
        for path in ("/livez", "/readyz", "/metrics", "/status"):
            self.assertEqual(relay.get(path)[0], 200)
        return self.activity() == before

    def check_it_sleeps_and_wakes(self, relay, stored):
        self.wait_asleep(relay)
        self.wait(lambda: self.asks_nothing(relay), "the relay to ask nothing", deadline=60)
        before = self.activity()
        self.assertEqual(len(before), 1)
        for n in range(1, 4):
            self.commit_and_wait(stored + n)
            self.assertNotEqual(self.activity(), before)
            self.wait_asleep(relay)

    def test_only_a_sleeping_relay_is_notified(self):
        listener = self.connect()
        listener.cursor().execute("LISTEN boxhaul")
        relay = self.start_relay(outbox={"sleep_after": "1m", **HOUR})
        shop = self.open_shop(clients=4, habits=Habits(pause=0.002, rollback=0, savepoint=0))
        self.let_trade(200)
        shop.stop()
        self.assertEqual(self.status(relay)["pace"], "awake")
        self.assertEqual(self.heard(listener), [], "while the relay was awake")
        self.wait_settled()
        relay.stop()
        relay = self.start_relay(outbox={"sleep_after": "10ms", **HOUR})
        self.wait_asleep(relay)
        self.heard(listener)
        self.writer("w").write("k", 3).commit()
        self.assertIn("", self.heard(listener), "while the relay slept")
        self.audit()

    def heard(self, listener):
        """The payloads of all notifications up to now. They arrive in the order of the commits."""
        heard = []
        self.sql("SELECT pg_notify('boxhaul', 'up to here')")
        while "up to here" not in heard:
            self.assertTrue(select.select([listener], [], [], 30)[0], "a notification")
            listener.poll()
            heard += [notify.payload for notify in listener.notifies]
            listener.notifies.clear()
        heard.remove("up to here")
        return heard

class SleepWherePrepareIsAllowed(Sleep):
    """There the notification waits for the end of the transaction, in another trigger."""
    postgres_settings = {"max_prepared_transactions": 4}


class WithoutNotifications(SleepTest):
    def setUp(self):
        super().setUp()
        self.sql("ALTER TABLE boxhaul.outbox DISABLE TRIGGER wake_statement")

    def test_a_lost_notification_is_found_by_the_safety_poll_alone(self):
        relay = self.start_relay(outbox=HOUR)
        self.wait_asleep(relay)
        self.writer("lost").write("k").commit()
        time.sleep(2)
        self.assertEqual(self.count(), 0, "nobody told the relay")
        relay.stop()
        relay = self.start_relay(outbox={"safety_poll": "500ms"})
        for stored in (1, 2, 3):
            self.wait_for_messages(stored)
            self.wait_asleep(relay)
            self.writer(f"w{stored}").write("k").commit()
        self.audit()

    def test_wakeup_by_polling(self):
        relay = self.start_relay(outbox={"wakeup": "poll", **HOUR})
        for stored in (1, 2, 3):
            self.commit_and_wait(stored)
            time.sleep(0.7)  # longer than sleep_after
        self.assertEqual(self.status(relay)["pace"], "awake")
        self.assertEqual(self.sql("SELECT last_value FROM boxhaul.relay_asleep"), [(1,)])
        before = self.activity()
        self.wait(lambda: self.activity() != before, "the next poll")
        self.audit()


class Readiness(OperationTest):
    def test_each_side_down(self):
        relay = self.start_relay()
        for server, cause in ((self.pg, "PostgreSQL is not connected"), (self.nats, "NATS is not connected")):
            with self.subTest(cause):
                server.stop()
                self.wait_for_page(relay, "/readyz", 503, "not ready", cause)
                self.assertEqual(relay.get("/healthz")[0], 503)
                self.assertEqual(relay.get("/livez"), (200, "alive\n"))
                self.assertEqual(self.metric(relay, "boxhaul_ready"), 0)
                self.wait_for_log(relay, level="error", msg=cause)
                server.start()
                self.wait_for_page(relay, "/readyz", 200, "ready: ")
                self.assertEqual(self.metric(relay, "boxhaul_ready"), 1)
        self.writer("w").write("k").commit()
        self.audit()

    def test_both_down_at_the_start(self):
        self.pg.stop()
        self.nats.stop()
        relay = self.add_relay().start()
        self.wait_for_page(relay, "/livez", 200)
        self.wait_for_page(relay, "/readyz", 503, "PostgreSQL is not connected")
        self.nats.start()
        self.pg.start()
        relay.wait_until_ready()
        self.writer("w").write("k").commit()
        self.audit()

    def test_a_stall_is_not_ready(self):
        relay = self.start_relay(streams=[stream()], health=health(stall_after="2s"), **QUICK)
        self.assertEqual(relay.get("/readyz"), (200, "ready: All is delivered\n"), "nothing waits: no stall")
        self.writer("w").write("k").commit()
        self.wait_for_page(relay, "/readyz", 503, "nothing was acknowledged for", STREAM)
        self.assertEqual(relay.get("/livez")[0], 200)
        self.assertEqual(self.status(relay)["ready"], False)

    def test_a_database_without_our_schema(self):
        self.sql("DROP SCHEMA boxhaul CASCADE")
        relay = self.add_relay().start()
        self.wait_for_page(relay, "/readyz", 503, "boxhaul migrate")
        self.wait_for_log(relay, level="error", msg="not ready for the relay", do="boxhaul migrate")
        self.assertEqual(relay.command("migrate").returncode, 0)
        relay.wait_until_ready()

    def test_a_standby_is_ready(self):
        self.start_relay()
        standby = self.start_relay()
        self.wait_for_page(standby, "/readyz", 200, f"ready: Standing by: {self.database} on ")
        self.assertEqual(self.status(standby)["role"], "standby")
        self.assertEqual(self.metric(standby, "boxhaul_leader"), 0)

    def metric(self, relay, name):
        return parse_metrics(relay.get("/metrics")[1])[name, ()]


class Log(OperationTest):
    LEVELS = ["error", "warn", "info", "debug"]

    def make_noise(self, relay):
        """Something worth a line of each level."""
        self.sql("SELECT boxhaul.pause()")
        self.wait(lambda: self.status(relay)["paused"], "the pause")
        self.sql("SELECT boxhaul.resume()")
        self.insert_illegal()  # a dead letter
        self.publish("orders.x")
        self.wait_settled()        # it has looked at what the stream holds: from now on it just sends
        self.nats.pause()
        self.publish("orders.x")   # sent again
        self.wait(lambda: self.status(relay)["retries_total"] > 0, "a retry")
        self.nats.resume()
        self.wait_settled()

    def test_levels_and_formats(self):
        for n, level in enumerate(self.LEVELS):
            for form, parse in (("logfmt", parse_logfmt), ("json", json.loads)):
                if (n % 2 == 0) == (form == "json"):
                    continue
                with self.subTest(level=level, format=form):
                    relay = self.start_relay(log={"level": level, "format": form}, **QUICK)
                    self.make_noise(relay)
                    self.assertEqual(relay.stop(), 0)
                    with open(relay.log, encoding="utf-8") as f:
                        lines = [parse(line) for line in f]
                    self.assertEqual({line["level"] for line in lines}, set(self.LEVELS[:n + 1]))
                    for line in lines:
                        self.assertRegex(line["ts"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
                        self.assertTrue(line["msg"])

    def test_repeated_errors_are_collapsed_and_counted(self):
        relay = self.start_relay()
        self.insert_illegal(count=40)
        self.wait_settled()
        relay.stop()
        lines = [line for line in log_lines(relay) if line["msg"] == "dead letter"]
        self.assertLess(len(lines), 10)
        self.assertEqual(sum(int(line.get("repeated", 0)) + ("id" in line) for line in lines), 40)

    def test_one_stats_line_in_the_interval(self):
        relay = self.start_relay(log={"stats_interval": "1s"})
        self.writer("w").write("k", 5).commit()
        acked = lambda: sum(int(line["acks"]) for line in self.stats(relay))  # noqa: E731
        self.wait(lambda: len(self.stats(relay)) >= 3 and acked() >= 5, "three lines of figures")
        self.wait_settled()
        lines = self.stats(relay)
        self.assertEqual(acked(), 5)
        self.assertEqual({line["role"] for line in lines}, {"leader"})
        self.assertLessEqual(len(lines), self.status(relay)["uptime_seconds"] + 1)

    @staticmethod
    def stats(relay):
        """The figures since it leads."""
        lines = log_lines(relay)
        leads = [line["msg"] for line in lines].index("leading")
        return [line for line in lines[leads:] if line["msg"] == "stats"]

    def test_priorities_for_the_journal(self):
        relay = self.add_relay(log={"level": "debug"}, **QUICK)
        with open(relay.log, "ab") as f:
            journal = os.fstat(f.fileno())
        relay.start(env={"JOURNAL_STREAM": f"{journal.st_dev}:{journal.st_ino}"}).wait_until_ready()
        self.make_noise(relay)
        relay.stop()
        with open(relay.log, encoding="utf-8") as f:
            found = {re.match(r"<(\d)>level=(\w+) ", line).groups() for line in f}
        self.assertEqual(found, {("3", "error"), ("4", "warn"), ("6", "info"), ("7", "debug")})
        relay.start(env={"JOURNAL_STREAM": f"{journal.st_dev}:{journal.st_ino + 1}"}).wait_until_ready()
        self.assertRegex(relay.log_tail(1), "^ts=", "another journal's stream")

    def test_a_reader_that_is_gone_or_stands_still_does_not_stop_it(self):
        for what in ("gone", "stands still"):
            with self.subTest(what):
                reader, writer = os.pipe()
                if what == "gone":
                    os.close(reader)
                else:
                    self.addCleanup(os.close, reader)
                    fill(writer)
                relay = self.add_relay(log={"level": "debug"})
                relay.log = f"/proc/self/fd/{writer}"
                relay.start()
                os.close(writer)
                self.wait(lambda relay=relay: relay.get("/readyz")[0] == 200, "the relay to be ready")
                self.insert_illegal(count=5)
                self.writer(what).write("k").commit()
                self.wait_settled()
                self.assertEqual(relay.get("/livez")[0], 200)
                self.assertEqual(relay.stop(), 0)
        self.audit()


class Secrets(OperationTest):
    """No secret and no payload, wherever somebody may look."""

    PASSWORD, TOKEN, WRONG = "nats-pa55word", "nats-t0ken", "wr0ng-secret"
    PAYLOAD, HEADER = "payl0ad-of-a-message", "header-0f-a-message"
    nats_settings = {"authorization": {"user": "relay", "password": PASSWORD}}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.nats_with_token = cls.workspace.add(
            Nats(cls.workspace.path("nats-with-token"), authorization={"token": cls.TOKEN})).start()

    def secret_file(self, text):
        self.files = getattr(self, "files", 0) + 1
        path = self.workspace.path(f"{self.database}-secret-{self.files}")
        with open(path, "w", encoding="ascii") as f:
            os.fchmod(f.fileno(), 0o600)
            f.write(text + "\n")
        return path

    def conninfo(self, password):
        return self.pg.conninfo(self.database, RELAY, tcp=True).replace(self.pg.password, password)

    def without_password(self):
        return re.sub("password=[^ ]* ", "", self.conninfo(""))

    def ways_in(self, password, nats_password, token):
        """The configuration's ways to hold a secret: {name: (postgres, nats)}."""
        nobody = f"nats://127.0.0.1:{self.nats.port}"
        return {
            "in the configuration": (
                {"conninfo": self.conninfo(password)}, {"urls": [self.nats.url("relay", nats_password)]}),
            "as URIs": (
                {"conninfo": f"postgresql://{RELAY}:{password}@127.0.0.1:{self.pg.port}/{self.database}"},
                {"urls": [self.nats_with_token.url(token=token)]}),
            "in password files": (
                {"conninfo": self.without_password(), "password_file": self.secret_file(f"*:*:*:*:{password}")},
                {"urls": [nobody], "user": "relay", "password_file": self.secret_file(nats_password)}),
            "in a token file": (
                {"conninfo": self.conninfo(password)},
                {"urls": [f"nats://127.0.0.1:{self.nats_with_token.port}"], "token_file": self.secret_file(token)}),
        }

    def all_there_is_to_see(self, relay):
        texts = [relay.get(path)[1] for path in PAGES]
        texts += [relay.command(word).stdout for word in ("check", "status", "migrate")]
        for path in (relay.log, f"/proc/{relay.pid}/cmdline"):
            with open(path, encoding="utf-8", errors="replace") as f:
                texts.append(f.read())
        for text in texts:
            self.assertTrue(text)
        return "\n".join(texts)

    def test_at_work(self):
        for name, (postgres, nats) in self.ways_in(self.pg.password, self.PASSWORD, self.TOKEN).items():
            with self.subTest(name):
                relay = self.start_relay(postgres=postgres, nats=nats, log={"level": "debug"})
                self.let_illegal_rows_in()
                for subject in ("orders.x", ILLEGAL):
                    self.sql("INSERT INTO boxhaul.outbox (subject, payload, headers) VALUES (%s, %s, %s)",
                             (subject, self.PAYLOAD.encode(), json.dumps({"Name": self.HEADER})))
                self.wait_settled()
                self.check_nothing_shows(relay, self.pg.password, self.PASSWORD, self.TOKEN, self.PAYLOAD, self.HEADER)
                relay.stop()

    def test_refused(self):
        for name, (postgres, nats) in self.ways_in(*[self.WRONG] * 3).items():
            with self.subTest(name):
                relay = self.add_relay(postgres=postgres, nats=nats, log={"level": "debug"}).start()
                self.wait_for_log(relay, level="error", msg="PostgreSQL is not connected", why="password auth")
                self.wait_for_log(relay, level="error", msg="NATS is not connected", why="uthorization")
                self.check_nothing_shows(relay, self.WRONG)
                relay.stop()

    def test_a_connection_string_that_cannot_be_read(self):
        for conninfo in (f"host=127.0.0.1 password=first {self.WRONG} user=x", f"password='{self.WRONG}",
                         f"postgresql://x:first@{self.WRONG}@127.0.0.1", f"postgresql://x:{self.WRONG}/first@127.0.0.1",
                         f"postgresql://x:{self.WRONG}@[127.0.0.1",
                         f"host=127.0.0.1 password=first{self.WRONG}= user=x"):
            with self.subTest(conninfo):
                relay = self.add_relay(postgres={"conninfo": conninfo}, log={"level": "debug"}).start()
                self.wait_for_log(relay, level="error", msg="PostgreSQL is not connected")
                self.check_nothing_shows(relay, self.WRONG)
                relay.stop()

    def check_nothing_shows(self, relay, *secrets):
        text = self.all_there_is_to_see(relay)
        for secret in secrets:
            self.assertNotIn(secret, text)


if __name__ == "__main__":
    unittest.main()
