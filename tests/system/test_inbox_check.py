"""`boxhaul check` of subscriptions: what would keep one from taking messages is said before it does, with what mends it, and nothing
stays behind that was tried. What `run` refuses it refuses in the same words."""

import re
import signal
import subprocess
import unittest

from harness import RELAY, STREAM
from test_inbox_take import NAME, TakeTest as Taking

FAILED, DONE = 1, 0
DAY = 86_400_000_000_000  # in ns
RIGHTS = ["STREAM.INFO.ORDERS", "STREAM.MSG.GET.ORDERS", "CONSUMER.CREATE.ORDERS.>", "CONSUMER.MSG.NEXT.ORDERS.>",
          "CONSUMER.DELETE.ORDERS.>"]


class CheckTest(Taking):
    def check(self, relay, code=DONE):
        """{verdict: its lines}"""
        done = relay.command("check")
        said = {verdict: [line[6:] for line in done.stdout.splitlines() if line.startswith(verdict)] for verdict in ("ok", "warn", "FAIL")}
        self.assertEqual(done.returncode, code, done.stdout)
        return said

    def of_inbox(self, lines):
        return [line.removeprefix(f"subscription {NAME}: ") for line in lines if line.startswith("subscription")]

    def consumers(self):
        with self.jetstream() as js:
            return js.info(STREAM)["state"]["consumer_count"]


class Check(CheckTest):
    def test_all_is_well_and_nothing_stays(self):
        """With all defaults, of the stream as well, there is nothing to be warned of."""
        self.publish(3)
        self.publish(1, key=None)
        relay = self.add_taker()
        said = self.check(relay)
        self.assertEqual(self.of_inbox(said["warn"] + said["FAIL"]), [])
        ok = self.of_inbox(said["ok"])
        self.assertEqual(ok, [
            f"fits the database; `run` will write: subscription {NAME} is new", f"stream {STREAM} exists, 4 messages",
            f"ids are kept for 7 days (inbox.retention), and stream {STREAM} keeps its messages for ever: after a rewind to before that, "
            "what is older takes effect again",
            "3 of its last 4 messages have a Boxhaul-Key", f"a consumer of stream {STREAM} can be made"])
        self.assertEqual(self.consumers(), 0)
        self.assertEqual(self.sql("SELECT count(*) FROM boxhaul.subscription"), [(0,)])
        relay.start().wait_until_ready()
        self.wait_taken()
        self.assertIn("is in the database as it is configured", self.of_inbox(self.check(relay)["ok"]))
        self.judge()

    def test_no_key(self):
        self.publish(5, key=None)
        said = self.check(self.add_taker())
        self.assertIn("none of its last 5 messages has a Boxhaul-Key", said["warn"][-1])
        self.assertEqual(self.of_inbox(self.check(self.add_taker(key="none"))["warn"]), [])

    def test_how_long_ids_are_kept(self):
        """Where messages are kept for longer, that is said: a rewind would let them take effect again. By position nothing is told by its id."""
        for age, said in ((7 * DAY, None), (8 * DAY, "for 8 days: "), (0, "for ever: ")):
            with self.jetstream() as js:
                js.update(STREAM, max_age=age)
            lines = [line for line in self.of_inbox(self.check(self.add_taker())["ok"]) if line.startswith("ids are kept for 7 days")]
            self.assertEqual(len(lines), 1 if said else 0, lines)
            if said:
                self.assertIn(f"stream {STREAM} keeps its messages {said}after a rewind", lines[0])
        self.assertTrue(any(line.startswith("ids are kept for 30 days") for line in self.of_inbox(self.check(self.add_taker(retention="30d"))["ok"])))
        self.assertFalse(any("ids are kept" in line for line in self.of_inbox(self.check(self.add_taker(dedupe="position"))["ok"])))

    def test_no_stream(self):
        with self.jetstream() as js:
            js.delete(STREAM)
        said = self.check(self.add_taker(), FAILED)
        self.assertEqual(self.of_inbox(said["FAIL"]), [f"stream {STREAM} does not exist: look at inbox.stream, or create it"])

    def test_subjects_that_nothing_has(self):
        said = self.check(self.add_taker(subjects=["orders.eu.>", "invoices.*"]))
        self.assertTrue(any("holds nothing of invoices.*" in line for line in said["warn"]), said)
        self.assertFalse(any("holds nothing of orders" in line for line in said["warn"]), said)

    def test_several_subjects_before_2_10(self):
        with self.jetstream() as js:
            old = tuple(map(int, js.client.info["version"].split(".")[:2])) < (2, 10)
        said = self.check(self.add_taker(subjects=["orders.eu.>", "orders.us.*"]))
        self.assertEqual([line for line in self.of_inbox(said["warn"]) if "room for one subject" in line],
                         ["this server has room for one subject in a consumer (nats-server 2.10 has it for more): all of orders.> "
                          "comes, and what is not wanted is left out here"] if old else [])
        self.assertEqual(self.consumers(), 0)

    def test_another_stream_than_before(self):
        relay = self.add_taker().start().wait_until_ready()
        self.publish(1)
        self.wait_taken()
        relay.stop()
        said = self.check(self.add_taker(subjects=["orders.eu.>"]), FAILED)
        self.assertIn(f"subscription {NAME} takes orders.>, not orders.eu.>", self.of_inbox(said["FAIL"])[0])
        self.assertIn("boxhaul.inbox_subjects(", self.of_inbox(said["FAIL"])[0])  # what mends it


class Renamed(CheckTest):
    """Another name is another subscription. What the old one left is told of, and the command that is named ends it."""

    def test_the_old_one_is_told_of_and_dropped(self):
        old = self.start_taker()
        self.publish(3)
        self.wait_taken()
        new = self.add_taker(name="renamed")
        self.assertFalse(any("not in this configuration" in line for line in self.check(new)["warn"]), "a daemon takes it")
        refused = new.command("inbox", "drop", NAME, "--yes")
        self.assertEqual(refused.returncode, FAILED, refused.stdout)
        self.assertIn(f"a daemon takes the messages of subscription {NAME}", refused.stdout)
        old.stop()
        said = f"Subscription {NAME} is not in this configuration, and no daemon takes it; 3 messages wait"
        self.wait(lambda: said in new.command("status").stdout, "the session of who has stopped to end")
        (line,) = [line for line in self.check(new)["warn"] if line.startswith(said)]
        self.assertIn(said, new.command("inbox", "show", NAME).stdout)
        self.assertRegex(new.command("inbox", "list").stdout, rf"(?m)^{NAME} .*left behind$")
        words = re.search(r"`boxhaul ([^`]*)`", line).group(1).split()
        self.assertIn("asks first", new.command(*words[:2], NAME).stdout)
        done = subprocess.run([self.program, *words, "--yes"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, done.stdout), (DONE, f"subscription {NAME} is gone\n"), done.stderr)
        self.assertEqual(self.sql("SELECT (SELECT count(*) FROM boxhaul.subscription), (SELECT count(*) FROM boxhaul.inbox)"), [(0, 0)])
        self.assertFalse(any("not in this configuration" in line for line in self.check(new)["warn"]))


class Kinds(CheckTest):
    """Streams that have no position to read from: refused by check, and by run, which stops, in the same words."""

    def try_stream(self, words, **config):
        with self.jetstream() as js:
            js.delete(STREAM)
            js.create(STREAM, num_replicas=self.nats.replicas, **config)
        relay = self.add_taker()
        (said,) = self.of_inbox(self.check(relay, FAILED)["FAIL"])
        self.assertTrue(said.startswith(f"stream {STREAM} {words}"), said)
        relay.start()
        self.wait_log(relay, said)
        self.assertEqual(self.consumers(), 0)
        relay.stop()

    def test_a_work_queue(self):
        self.try_stream("is a work queue", subjects=["orders.>"], retention="workqueue")

    def test_interest(self):
        self.try_stream("has interest retention", subjects=["orders.>"], retention="interest")

    def test_a_mirror(self):
        with self.jetstream() as js:
            js.create("ORIGIN", ["invoices.>"], num_replicas=self.nats.replicas)
        self.addCleanup(self.delete_origin)
        self.try_stream("is a mirror", subjects=None, mirror={"name": "ORIGIN"})

    def delete_origin(self):
        with self.jetstream() as js:
            js.delete("ORIGIN")


class Handlers(CheckTest):
    def said(self, handler="billing.handle"):
        return self.check(self.add_taker(handler=handler), None)

    def check(self, relay, code=DONE):
        if code is not None:
            return super().check(relay, code)
        done = relay.command("check")
        return [line for line in done.stdout.splitlines() if "handler" in line or "function" in line]

    def test_a_handler(self):
        self.assertEqual(self.said(), [f"FAIL  subscription {NAME}: there is no function billing.handle(boxhaul.inbox): "
                                       "CREATE FUNCTION billing.handle(message boxhaul.inbox) ..."])
        self.sql("CREATE SCHEMA billing")
        self.sql("CREATE FUNCTION billing.handle(text) RETURNS void LANGUAGE sql AS ''")
        self.assertIn("there is no function", self.said()[0])
        self.sql("CREATE FUNCTION billing.handle(boxhaul.inbox) RETURNS void LANGUAGE sql AS ''; "
                 "REVOKE ALL ON FUNCTION billing.handle(boxhaul.inbox) FROM PUBLIC")
        (line,) = self.said()
        self.assertTrue(line.startswith(f"FAIL  subscription {NAME}: {RELAY} may not call its handler: "), line)
        self.sql(line.split("its handler: ")[1])
        self.assertEqual(self.said(), [f"ok    subscription {NAME}: handler billing.handle is there, and may be called"])


class Rights(CheckTest):
    """Each right by its name."""

    nats_settings = {"authorization": {"users": [
        {"user": "admin", "password": "p"},
        {"user": "all", "password": "p", "permissions": {"publish": [f"$JS.API.{r}" for r in RIGHTS], "subscribe": ["_INBOX.>"]}},
        *({"user": f"without{i}", "password": "p", "permissions": {
            "publish": [f"$JS.API.{r}" for r in RIGHTS if r != right], "subscribe": ["_INBOX.>"]}} for i, right in enumerate(RIGHTS))]}}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        plain = cls.nats.url
        cls.nats.url = lambda user="admin", password="p", **more: plain(user=user, password=password, **more)

    def as_user(self, user):
        relay = self.add_taker()
        relay.configure({**relay.settings, "nats": {"urls": [self.nats.url(user=user)]}})
        return relay

    def test_all_that_is_needed_is_enough(self):
        said = self.check(self.as_user("all"))
        self.assertEqual(self.of_inbox(said["warn"] + said["FAIL"]), [])

    def test_each_that_is_missing(self):
        for i, right in enumerate(RIGHTS):
            with self.subTest(right):
                said = self.of_inbox(self.check(self.as_user(f"without{i}"), FAILED)["FAIL"])
                self.assertEqual(len(said), 1, said)
                self.assertIn(f"no answer to $JS.API.{right}", said[0])
                self.assertIn("let this login publish to it", said[0])


class Reload(CheckTest):
    """A subscription in the file that is read again: what its users read when they decide changes at once, the rest waits."""

    def test_what_changes_at_once_and_what_waits(self):
        relay = self.start_taker(max_attempts=5)
        self.publish(1)
        self.wait_taken()
        relay.configure({**relay.settings, "inbox": [self.subscription(max_attempts=7, poison="skip", lanes=8),
                                                     self.subscription(name="other")]})
        relay.send(signal.SIGHUP)
        self.wait_log(relay, 'changed="inbox.max_attempts, inbox.poison"')
        self.wait_log(relay, 'msg="these changes wait for a restart" settings="inbox, inbox.lanes"')
        self.wait(lambda: self.sql("SELECT max_attempts, poison, lanes FROM boxhaul.subscription") == [(7, "skip", 64)], "the books to follow")
        self.publish(1)
        self.judge()
        relay.configure({**relay.settings, "inbox": [self.subscription(dedupe="position", on_recreated="restart")]})
        relay.send(signal.SIGHUP)
        self.wait_log(relay, "configuration not reloaded: the old one stays")
        self.publish(1)
        self.judge()


del CheckTest, Taking

if __name__ == "__main__":
    unittest.main()
