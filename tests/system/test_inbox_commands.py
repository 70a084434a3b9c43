"""`boxhaul inbox ...` and `explain --inbox`: what they say, what they change, and how they end. No relay runs: the leader's part is played
by its SQL (test_inbox_sql.Leader), the workers' by receive() and failed()."""

import json
import os
import re
import subprocess
import unittest

from harness import RELAY, SystemTest
from test_inbox_sql import Leader, Message

DONE, FAILED, USAGE, CONFIG, UNREACHABLE = range(5)
SUBSCRIPTION = {"name": "billing", "stream": "ORDERS", "subjects": ["orders.>"]}


class InboxCommands(SystemTest):
    def setUp(self):
        super().setUp()
        self.relay = self.add_relay(inbox=[SUBSCRIPTION])
        self.sql("SELECT boxhaul.inbox_define('billing', 'ORDERS', '{orders.>}', lanes => 1, max_attempts => 2)", user=RELAY)
        self.leader = Leader(self.connect(RELAY))
        self.leader.lead()

    def say(self, *words, code=DONE):
        done = self.relay.command("inbox", *words)
        self.assertEqual(done.returncode, code, done.stdout)
        return done.stdout

    def look(self):
        return json.loads(self.say("show", "billing", "--json"))

    def take(self, *words):
        """"a:k" is message a with key k and id a."""
        self.leader.take([Message(name, key or None, name) for name, _, key in (word.partition(":") for word in words)])

    def fail(self, ident, times=1):
        for _ in range(times):
            self.sql("UPDATE boxhaul.inbox_parked SET next_at = now() WHERE attempts > 0")
            self.sql("SELECT boxhaul.failed('billing', 0, %s, 'this one is \x1b[31mbad')", (ident,))

    def test_list_and_show(self):
        self.assertRegex(self.say("list"), r"^billing +ORDERS +position 0 +waiting 0 +oldest - +parked 0 +dead 0 +ok\n$")
        self.take("a:k", "b:k", "c:l")
        self.assertIn("Subscription billing: messages wait for workers", self.say("show", "billing"))
        self.fail(1)
        told = self.say("show", "billing")
        self.assertRegex(told, r"^Subscription billing: row 1 \(key k\) failed and is tried again: this one is ")
        self.assertNotIn("\x1b", told)
        self.assertRegex(told, r"waiting +3, the oldest for ")
        self.assertRegex(told, r"\n  1 +lane 0 +key k +retrying .* 1 attempt.*, 0 behind it: this one is")
        self.assertRegex(self.say("list"), r"parked 1 .*failing\n$")
        known = json.loads(self.say("list", "--json"))[0]
        self.assertEqual((known["subscription"], known["taken"], known["parked"], known["blocked"][0]["id"]), ("billing", 3, 1, 1))
        self.assertIn("there is no subscription nobody: `boxhaul inbox list -c ", self.say("show", "nobody", code=FAILED))
        self.assertIn("inbox show needs SUBSCRIPTION", self.say("show", code=USAGE))

    def test_the_monitor_may_look_and_do_nothing(self):
        self.pg.execute("CREATE ROLE onlooker LOGIN IN ROLE boxhaul_monitor")
        self.addCleanup(self.pg.execute, "DROP ROLE onlooker")
        self.relay = self.add_relay(postgres={"conninfo": self.pg.conninfo(self.database, "onlooker")}, inbox=[SUBSCRIPTION])
        self.take("a:k")
        self.fail(1, 2)
        self.sql("SELECT boxhaul.inbox_skip('billing', 1)")
        self.assertIn("billing", self.say("list"))
        self.assertIn("given up", self.say("show", "billing"))
        self.assertIn("skipped by", self.say("dead-letters", "billing"))
        self.assertEqual(self.relay.command("explain", "--inbox", "a").returncode, DONE)
        self.say("dead-letters", "billing", "1", "--payload", code=FAILED)
        for words in (["pause", "billing"], ["resume", "billing"], ["rewind", "billing", "--to", "start", "--yes"],
                      ["accept-gap", "billing", "--yes"], ["retry", "billing", "1"], ["skip", "billing", "1"],
                      ["redrive", "billing", "1"], ["discard", "billing", "1", "--yes"]):
            self.assertIn("permission denied", self.say(*words, code=FAILED), words)

    def test_pause_and_resume(self):
        self.assertIn("it was not paused", self.say("resume", "billing"))
        self.assertIn("paused: nothing is taken", self.say("pause", "billing", "--reason", "new disks"))
        self.assertIn("it was paused already", self.say("pause", "billing"))
        self.assertIsNone(self.leader.take([Message("a")]))
        told = self.say("show", "billing")
        self.assertRegex(told, r"(?s)^Subscription billing is paused: nothing is taken.*\npaused +by root on \S+ at [^\n]*: new disks\n")
        self.follow(told, "resume")
        self.assertEqual(self.look()["paused"], None)
        self.take("a")

    def follow(self, told, word, *options):
        """Runs the command that was printed, as it stands there; returns what it says."""
        found = re.search(rf"`boxhaul (inbox {word} [^`]*)`", told)
        self.assertTrue(found, told)
        done = subprocess.run([self.program, *found.group(1).split(), *options], capture_output=True, text=True, check=False,
                              stdin=subprocess.DEVNULL, timeout=60)
        self.assertEqual(done.returncode, DONE, done.stderr)
        return done.stdout

    def test_a_gap(self):
        self.take("a")
        self.assertIn("has not stopped at a gap", self.say("accept-gap", "billing", "--yes", code=FAILED))
        self.leader.ask("SELECT boxhaul.inbox_stop('billing', %s, %s)", self.leader.epoch,
                        json.dumps({"kind": "gap", "first_seq": 10, "last_seq": 20}))
        told = self.say("show", "billing")
        self.assertIn("has stopped at a gap: sequences 2 to 9 left stream ORDERS before they were taken", told)
        self.assertRegex(self.say("list"), r"gap\n$")
        self.assertIn("asks first", self.say("accept-gap", "billing", code=USAGE))
        self.assertEqual(self.look()["position"], 1)
        self.assertIn("8 sequences are put on record as lost", self.follow(told, "accept-gap", "--yes"))
        self.assertEqual((self.look()["position"], self.look()["lost"], self.look()["stopped"]), (9, 8, None))

    def test_a_stream_that_is_not_what_it_was(self):
        self.take("a", "b", "c")
        for kind, said in (("truncated", "lost its end, and does not hold the message of position 3 any more; it ends at 2"),
                           ("recreated", "stream ORDERS was made anew")):
            with self.subTest(kind):
                self.leader.ask("SELECT boxhaul.inbox_stop('billing', %s, %s)", self.leader.epoch,
                                json.dumps({"kind": kind, "first_seq": 1, "last_seq": 2, "created": "2027"}))
                told = self.say("show", "billing")
                self.assertIn(said, told)
                self.assertIn("goes on behind sequence 0", self.follow(told, "rewind", "--yes"))
                self.leader.look()
                self.assertEqual((self.leader.position, self.look()["stopped"]), (0, None))
                self.assertEqual(self.leader.take([Message(name, id=name) for name in "abc"]), (3, 0, 3, 0))

    def test_rewind(self):
        self.take("a", "b", "c")
        self.assertIn("say --to", self.say("rewind", "billing", code=USAGE))
        self.assertIn("asks first", self.say("rewind", "billing", "--to", "1", code=USAGE))
        self.assertIn("ahead of it", self.say("rewind", "billing", "--to", "9", "--yes", code=FAILED))
        self.assertIn("goes on behind sequence 1", self.say("rewind", "billing", "--to", "1", "--yes"))
        self.assertIn("the trail of subscription billing does not go back", self.say(
            "rewind", "billing", "--to", "1970-01-01", "--yes", code=FAILED))
        self.leader.look()
        self.assertEqual(self.leader.take([Message("b", id="b"), Message("d", id="d")]), (3, 1, 1, 0))

    def test_retry_and_skip(self):
        self.take("a:k", "b:k", "c:l")
        self.fail(1, 2)
        self.fail(3, 2)
        told = self.say("show", "billing")
        self.assertRegex(told, r"^Subscription billing: row 1 \(key k\) is held: .*; 2 wait parked\n")
        self.assertIn("row 1 is handed out again", self.follow(told, "retry"))
        self.assertEqual({b["id"]: b["state"] for b in self.look()["blocked"]}, {1: "retrying", 3: "held"})
        self.assertIn("row 3 is a dead letter now", self.say("skip", "billing", "3", "--reason", "nonsense"))
        self.assertIn("does not wait", self.say("skip", "billing", "3", code=FAILED))
        self.assertIn("3x: an id is a number", self.say("skip", "billing", "3x", code=USAGE))
        self.assertEqual(self.look()["dead"], 1)

    def test_dead_letters(self):
        self.assertEqual(self.say("dead-letters"), "no dead letters\n")
        self.take("a:k", "b:l", "c:m")
        for ident in (1, 2, 3):
            self.say("skip", "billing", str(ident), "--reason", f"reason {ident}")
        self.leader.take([Message("d", id="d", reason="too large")])
        listed = self.say("dead-letters", "billing")
        self.assertEqual(re.findall(r"(?m)^(\d+) ", listed), ["1", "2", "3", "4"])
        self.assertEqual([letter["id"] for letter in json.loads(self.say("dead-letters", "--json", "--reason", "Reason 2"))], [2])
        self.assertEqual(self.say("dead-letters", "nobody"), "no dead letters\n")
        self.assertRegex(self.say("dead-letters", "billing", "1", "--payload"), r"(?s)key +k\n.*reason 1.*payload +1 bytes\na\n")
        shown = json.loads(self.say("dead-letters", "billing", "4", "--payload", "--json"))
        self.assertEqual((shown["reason"], shown["payload_base64"]), ("too large", None))
        self.assertIn("has no dead letter 9", self.say("dead-letters", "billing", "9", code=FAILED))
        self.assertIn("say which", self.say("redrive", "billing", code=USAGE))
        self.assertIn("dead letter 1 of subscription nobody: there is none", self.say("redrive", "nobody", "1", code=FAILED))
        self.assertEqual(self.say("redrive", "billing", "2", "1"), "redrive: 2\n")
        self.assertEqual(self.sql("SELECT array_agg(convert_from(payload, 'UTF8') ORDER BY id) FROM boxhaul.inbox WHERE id > 4"),
                         [(["a", "b"],)])
        told = self.say("redrive", "billing", "--all", code=FAILED)
        self.assertIn("dead letter 4 of subscription billing: ", told)
        self.assertIn("redrive: 1\n", told)
        self.assertIn("asks first", self.say("discard", "billing", "--all", code=USAGE))
        self.assertEqual(self.say("discard", "billing", "--all", "--yes"), "discard: 1\n")
        self.assertEqual(self.say("dead-letters"), "no dead letters\n")

    def test_explain(self):
        self.take("a:k", "b:k", "c:l", "4:m")
        self.fail(1)

        def explain(ident, code=DONE):
            done = self.relay.command("explain", "--inbox", ident)
            self.assertEqual(done.returncode, code, done.stdout)
            return done.stdout

        self.assertIn("in subscription billing it failed 1 time: this one is", explain("a"))
        self.assertIn("it waits to be handled", explain("4"))
        self.fail(1)
        self.sql("BEGIN; SELECT count(*) FROM boxhaul.receive('billing', 10); SELECT boxhaul.done('billing'); COMMIT")
        self.assertIn("is held after 2 attempts", explain("a"))
        self.assertIn("waits behind row 1 of its key, which failed", explain("b"))
        self.assertIn("it is handled", explain("c"))
        self.follow(explain("a"), "retry")
        self.say("skip", "billing", "1")
        self.assertIn("is a dead letter: skipped by", explain("a"))
        self.assertIn("redrive: 1", self.follow(explain("a"), "redrive"))
        self.sql("TRUNCATE boxhaul.inbox")
        self.assertIn("was taken, and its row is gone", explain("c"))
        self.assertIn("no subscription knows the message id z", explain("z", FAILED))
        self.assertEqual(json.loads(self.relay.command("explain", "--inbox", "c", "--json").stdout)[0]["state"], "known")

    def test_without_a_database(self):
        self.relay = self.add_relay(postgres={"conninfo": "host=127.0.0.1 port=1 dbname=x"})
        for words in (["list"], ["show", "billing"], ["pause", "billing"], ["dead-letters"], ["redrive", "billing", "1"]):
            self.say(*words, code=UNREACHABLE)


if __name__ == "__main__":
    unittest.main()
