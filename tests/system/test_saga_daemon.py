"""The daemon's half of sagas: it takes the answers, and is their clock; what an operator sees of them, and decides. The service that starts
them and the one that takes part share a database here: to the daemon it is the same."""

import contextlib
import json
import re
import signal
import subprocess
import unittest

from harness import RELAY, SERVICE
from words import WordsTest

REPLIES = "shop.saga"
SILENT = "30s"  # a deadline that no test waits for

# What becomes of a command stands in the data of its saga, by the step's name: done where nothing stands.
PARTICIPANT = f"""
CREATE TABLE effect (n bigserial PRIMARY KEY, saga text, step text, dir text);
CREATE FUNCTION act(r boxhaul.inbox) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    step text := r.headers ->> 'Boxhaul-Step';
    data jsonb := convert_from(r.payload, 'UTF8')::jsonb;
    word text := boxhaul.saga_accept(r);
BEGIN
    IF word = 'skip' OR data ->> step = 'silent' THEN RETURN; END IF;
    IF word = 'do' AND data ->> step = 'refused' THEN
        PERFORM boxhaul.saga_answer(r, 'refused', jsonb_build_object('reason', 'sold out'));
        RETURN;
    END IF;
    INSERT INTO public.effect (saga, step, dir) VALUES (r.headers ->> 'Boxhaul-Saga', step, word);
    PERFORM boxhaul.saga_answer(r, 'done', jsonb_build_object(step || '-id', 7));
END $$;
CREATE FUNCTION local(saga uuid, step text, dir text, data jsonb) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public AS $$
BEGIN
    RETURN NULL;
END $$;
GRANT ALL ON effect, effect_n_seq TO {RELAY};
GRANT EXECUTE ON FUNCTION local(uuid, text, text, jsonb) TO {SERVICE};
"""


def step(name, kind, deadline=SILENT, retries=0, **more):
    return {"name": name, "kind": kind, "command": f"stock.{name}", "deadline": deadline, "retries": retries, **more}


ORDER = [step("reserve", "undoable", undo="stock.release"), step("pay", "pivot"), step("ship", "retriable")]
HURRIED = [ORDER[0], step("pay", "pivot", deadline="200ms"), ORDER[2]]  # for a participant that is silent


class SagaDaemonTest(WordsTest):
    @classmethod
    def _settings(cls, database):
        settings = super()._settings(database)
        settings["streams"] = [{"name": "SAGAS", "subjects": ["stock.>", REPLIES], "create": True, "replicas": cls.nats.replicas}]
        settings["inbox"] = [{"name": "stock", "stream": "SAGAS", "subjects": ["stock.>"], "handler": "public.act"}]
        settings["sagas"] = {"stream": "SAGAS", "replies": REPLIES, "tick": "100ms"}
        return settings

    def setUp(self):
        super().setUp()
        self.sql(PARTICIPANT)
        with self.jetstream() as jetstream:
            if "SAGAS" in jetstream.names():
                jetstream.delete("SAGAS")
            jetstream.create("SAGAS", ["stock.>", REPLIES], num_replicas=self.nats.replicas)

    def start(self, steps=ORDER, **groups):
        relay = self.start_told(**groups)
        self.wait(lambda: self.sql("SELECT 1 FROM boxhaul.saga_settings"), "sagas to be configured")
        self.sql("SELECT boxhaul.saga_define('order', %s)", (json.dumps(steps),))
        return relay

    def begin(self, key="order-1", **data):
        return self.sql("SELECT boxhaul.saga_start('order', %s, %s)::text", (key, json.dumps(data)), SERVICE)[0][0]

    def saga(self, id_, what="state"):
        return self.sql(f"SELECT {what} FROM boxhaul.sagas WHERE id = %s", (id_,))[0][0]

    def wait_saga(self, id_, state):
        self.wait(lambda: self.saga(id_) == state, f"saga {id_} to be {state}")

    def events(self, id_, event):
        return self.sql("SELECT count(*) FROM boxhaul.saga_log WHERE saga = %s AND event = %s", (id_, event))[0][0]

    def effects(self, id_):
        return [" ".join(row) for row in self.sql("SELECT dir, step FROM effect WHERE saga = %s ORDER BY n", (id_,))]

    def say(self, relay, *words, status=0):
        done = relay.command("sagas", *words)
        self.assertEqual(done.returncode, status, done.stdout)
        return done.stdout

    def sleeps(self, seconds=1):
        """The clock has asked nothing for so long."""
        return self.sql("""SELECT count(*) = 1 AND bool_and(clock_timestamp() - state_change > %s * interval '1 second') FROM pg_stat_activity
                            WHERE application_name = 'boxhaul sagas' AND state = 'idle' AND datname = current_database()""", (seconds,))[0][0]

    def figure(self, relay, name):
        found = re.search(rf"(?m)^boxhaul_saga_{re.escape(name)} (\S+)$", relay.get("/metrics")[1])
        return found and float(found.group(1))

    # -- sagas

    def test_done_and_undone(self):
        relay = self.start()
        good, bad = self.begin(), self.begin("order-2", pay="refused")
        self.wait_saga(good, "completed")
        self.wait_saga(bad, "undone")
        self.assertEqual(self.effects(good), ["do reserve", "do pay", "do ship"])
        self.assertEqual(self.effects(bad), ["do reserve", "undo reserve"])
        self.assertEqual(self.saga(bad, "reason"), "sold out")
        self.assertEqual(self.sql("SELECT data ->> 'ship-id' FROM boxhaul.saga WHERE id = %s", (good,))[0][0], "7")
        # What is said of them. (The last answer may be here before the books say that its command was sent.)
        self.wait_settled()
        lines = self.say(relay, "list").splitlines()
        self.assertEqual([line.split()[0] for line in lines], [bad, good])
        self.assertRegex(lines[0], r"order +order-2 +started .* ago +undone")
        self.assertEqual([s["id"] for s in json.loads(self.say(relay, "list", "--json"))], [bad, good])
        self.assertEqual(self.say(relay, "list", "--open"), "no sagas\n")
        shown = self.say(relay, "show", bad)
        for line in (r"^order " + bad, r"state +undone, .* ago", r"reason +sold out", r"--> do reserve #1 +message \d+ of the outbox: sent",
                     r"<-- do reserve #1: done +next", r"<-- do pay #1: refused +back: sold out", r"--> undo reserve #1 .*: sent",
                     r"<-- undo reserve #1: done +undone"):
            self.assertRegex(shown, "(?m)" + line)
        told = json.loads(self.say(relay, "show", good, "--json"))
        self.assertEqual((told["state"], [t["event"] for t in told["timeline"] if t["event"] != "resend"]),
                         ("completed", ["started", "sent", "done", "sent", "done", "sent", "done"]))
        definitions = self.say(relay, "definitions")
        self.assertRegex(definitions, r"^order version 1: 0 open, 2 ended")
        self.assertRegex(definitions, r"reserve +undoable +sends stock.reserve, undo stock.release; answers in 00:00:30")
        self.assertRegex(relay.command("status").stdout, r"(?m)^sagas +0 open, .* 0 stuck; 0 deadlines")
        for words in (("show", "1"), ("resolve", good), ("resolve", good, "--step", "well"), ("resolve", good, "--step", "done"),
                      ("resolve", good, "--step", "=done", "--reason", "the step of a script was empty")):
            self.say(relay, *words, status=2)
        self.assertIn("has ended completed", self.say(relay, "retry", good, status=1))
        self.sql("INSERT INTO boxhaul.saga_orphan (saga, step, dir, outcome, attempt) VALUES (gen_random_uuid(), 'pay', 'do', 'done', 1)")
        self.assertRegex(self.say(relay, "list", "--stuck"), r"^\S+ - +- +started .* ago unknown +stuck for .* \(orphan\)")

    def test_stuck(self):
        """A pivot whose participant is silent: neither given up nor undone, and said everywhere in the same words."""
        relay = self.start(HURRIED)
        saga = self.begin(pay="silent")
        self.wait(lambda: self.saga(saga, "stuck") == "exhausted", "the attempts to be used up")
        words = rf"1 saga is stuck; the oldest, order {saga}, at step pay for \S+ \S+: exhausted"
        self.same_words(relay, words)
        told = self.status(relay)
        self.assertEqual(told["state"], "degraded")
        self.assertEqual(told["sagas"]["by"], [{"name": "order", "state": "running", "open": 1}])
        self.assertEqual((told["sagas"]["open"], told["sagas"]["stuck"], told["sagas"]["clock"]), (1, 1, True))
        self.assertEqual((self.figure(relay, 'open{saga="order",state="running"}'), self.figure(relay, "stuck"), self.figure(relay, "clock")),
                         (1, 1, 1))
        self.wait(lambda: self.figure(relay, "timeouts_total") >= 1, "the deadlines to be counted")
        self.assertGreater(self.figure(relay, "oldest_open_seconds"), 0)
        self.assertEqual(relay.get("/readyz")[0], 200)
        self.assertRegex(self.say(relay, "list", "--stuck", "--name", "order"), rf"^{saga} .* stuck for .* \(exhausted\) waits for the answer to do pay")
        self.assertEqual(self.say(relay, "list", "--stuck", "--older", "1h"), "no sagas\n")
        shown = self.say(relay, "show", saga)
        self.assertRegex(shown, r"(?m)waits for +the answer to do pay, attempt \d+, for .*; the clock (comes in|should have come) ")
        self.assertRegex(shown, r"(?m) \*  timeout of do pay #1 +again_stuck")
        self.assertRegex(shown, r"(?m)\.\.\. waits for the answer to do pay, attempt \d+$")
        # The command that the verdict names shows it.
        command = re.search(r"`boxhaul (sagas show [^`]*)`", told["action"]).group(1).split()
        self.assertEqual(subprocess.run([self.program, *command], stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False).returncode, 0)
        # Without the relay the same is said from the database.
        self.assertEqual(relay.stop(), 0)
        self.assertRegex(json.dumps(json.loads(relay.command("status", "--json").stdout)["sagas"]), '"stuck": 1')
        relay.start().wait_until_ready()
        self.say(relay, "undo", saga, "--reason", "gives up", "--yes")
        self.assertEqual((self.saga(saga), self.saga(saga, "cancelled IS NOT NULL")), ("running", True), "the answer decides")
        self.say(relay, "resolve", saga, "--step", "ship=done", "--reason", "asked", "--yes", status=1)
        self.say(relay, "resolve", saga, "--step", "pay=done", "--reason", "the bank says so", "--yes")
        self.wait_saga(saga, "completed")
        self.assertRegex(self.say(relay, "show", saga), r"resolve_done of do pay #\d+ +next: .*the bank says so")
        self.wait(lambda: self.status(relay).get("state") == "ok", "all to be well")

    def test_clean(self):
        relay = self.start(sagas={"retention": "1s"})
        saga = self.begin()
        self.wait(lambda: not self.sql("SELECT 1 FROM boxhaul.saga WHERE id = %s", (saga,)), "it to be cleaned away")
        self.sql("UPDATE boxhaul.saga_part SET at = at - interval '2 hours'")  # it is kept for an hour at least
        self.wait(lambda: not self.sql("SELECT 1 FROM boxhaul.saga_part"), "what the participant remembered, too")
        relay.settings["sagas"] = {**relay.settings["sagas"], "retention": "3h", "tick": "5s"}
        relay.configure(relay.settings)
        relay.send(signal.SIGHUP)
        self.wait(lambda: self.sql("SELECT retention = '3h' FROM boxhaul.saga_settings")[0][0], "the reload")

    # -- the clock

    def test_idle(self):
        """Without an open saga it asks nothing; it hears of the first one, whatever that begins with, and whoever was about to start one when it
        fell asleep."""
        self.start([step("pay", "pivot", deadline="200ms", retries=100)])
        self.wait(self.sleeps, "the clock to sleep")
        first = self.begin(pay="silent")
        self.wait(lambda: self.events(first, "timeout") >= 1, "a deadline of the first one")
        self.sql("SELECT boxhaul.saga_resolve(%s, 'done', 'test')", (first,))
        self.wait(self.sleeps, "the clock to sleep again")
        self.sql("SELECT boxhaul.saga_define('order', %s)", (json.dumps([
            {"name": "note", "kind": "undoable", "call": "public.local"}, step("pay", "pivot", deadline="200ms", retries=100)]),))
        local = self.begin(pay="silent")
        self.wait(lambda: self.events(local, "timeout") >= 1, "a deadline behind a local step")
        with contextlib.closing(self.connect(SERVICE)) as service:
            service.autocommit = False
            with service.cursor() as cursor:
                cursor.execute("SELECT boxhaul.saga_start('order', 'k', '{\"pay\": \"silent\"}')::text")
                late = cursor.fetchone()[0]
                self.sql("SELECT boxhaul.saga_resolve(%s, 'done', 'test')", (local,))
                self.wait_saga(local, "completed")
                self.wait(lambda: self.sql("SELECT last_value FROM boxhaul.saga_asleep")[0][0] == 2, "the clock to want to sleep")
                service.commit()
        self.wait(lambda: self.events(late, "timeout") >= 1, "a deadline of the one that it could not see")

    def test_answers_come_before_deadlines(self):
        """Who was away finds answers in the stream, and deadlines that have passed: what was answered did not time out."""
        relay = self.start([step("reserve", "undoable", undo="stock.release", deadline="3s"), step("ship", "retriable")],
                           inbox=[{"name": "other", "stream": "SAGAS", "subjects": ["stock.nothing"]}])
        saga = self.begin()
        self.wait(lambda: self.count("SAGAS") == 1, "the command to be in the stream")
        relay.kill9()
        with self.jetstream() as jetstream:
            jetstream.publish(REPLIES, b"{}", {"Boxhaul-Saga": saga, "Boxhaul-Step": "reserve", "Boxhaul-Dir": "do", "Boxhaul-Attempt": "1",
                                               "Boxhaul-Outcome": "done", "Boxhaul-Key": saga})
        self.wait(lambda: self.sql("SELECT due_at < clock_timestamp() - interval '1 second' FROM boxhaul.saga")[0][0], "its deadline to pass")
        if self.events(saga, "timeout"):
            self.skipTest("the relay was slow to die")
        with contextlib.closing(self.connect()) as slow:  # it is taken, and cannot be handled yet
            slow.autocommit = False
            with slow.cursor() as cursor:
                cursor.execute("LOCK TABLE boxhaul.inbox_lane IN EXCLUSIVE MODE")
                relay.start()
                self.wait(lambda: (self.status(relay).get("subscriptions") or [{}])[-1].get("waiting") == 1, "the answer to wait")
                since = self.status(relay)["uptime_seconds"]
                self.wait(lambda: self.status(relay)["uptime_seconds"] >= since + 2, "the clock to have had time")
                self.assertEqual((self.figure(relay, "clock"), self.events(saga, "timeout")), (0, 0))
                slow.commit()
        self.wait(lambda: self.saga(saga, "step") == "ship", "the answer")
        self.assertEqual((self.saga(saga), self.events(saga, "timeout")), ("running", 0))
        self.wait(lambda: self.figure(relay, "clock") == 1, "the clock to run")

    def test_whoever_takes_the_answers_is_the_clock(self):
        """Killed between any two steps, or by the side of another: each deadline counts once, and the other goes on."""
        if subprocess.run([self.program, "failpoints"], stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode:
            self.skipTest("this program has no failpoints: they need a build with configure --enable-failpoints")
        first = self.start([step("pay", "pivot", deadline="50ms", retries=3)])
        self.assertEqual(first.stop(), 0)
        for point in ("saga_ticking=kill", "saga_ticked=kill", "saga_ticked=error@2"):
            saga = self.begin(pay="silent")
            relay = self.add_relay().start({"BOXHAUL_FAILPOINT": point})
            if point.endswith("kill"):
                self.wait(lambda: not relay.alive(), f"{point} to strike")  # noqa: B023
                relay = self.start_relay()
            other = self.start_relay()
            self.wait(lambda: self.saga(saga, "stuck") == "exhausted", f"all attempts, {point}")  # noqa: B023
            self.assertEqual(sum(self.figure(r, "clock") for r in (relay, other)), 1)
            self.assertEqual([row[0] for row in self.sql("""SELECT attempt FROM boxhaul.saga_log WHERE saga = %s AND event = 'timeout'
                                                             ORDER BY n LIMIT 4""", (saga,))], [1, 2, 3, 4])
            relay.kill9()
            self.sql("SELECT boxhaul.saga_resolve(%s, 'done', 'test')", (saga,))
            self.wait(lambda: self.figure(other, "clock") == 1, "the other one to take over")
            other.kill9()

    # -- check

    def check(self, relay):
        said = relay.command("check").stdout
        return [line for line in said.splitlines() if "saga" in line]

    def test_check(self):
        relay = self.start()
        said = "\n".join(self.check(relay))
        self.assertRegex(said, "(?m)^ok .*subscription sagas.replies: handler boxhaul.saga_reply is there")
        self.assertRegex(said, "(?m)^ok .*saga order")
        self.assertNotRegex(said, "(?m)^(warn|FAIL)")
        for _ in range(20):
            self.begin()
        self.wait(lambda: not self.sql("SELECT 1 FROM boxhaul.saga WHERE ended_at IS NULL"), "them to end")
        open_ = self.begin(reserve="silent")
        self.sql("SELECT boxhaul.saga_define('order', %s)", (json.dumps([
            step("reserve", "undoable", undo="elsewhere.release"), step("pay", "pivot", deadline="1ms"), step("ship", "retriable")]),))
        said = "\n".join(self.check(relay))
        self.assertRegex(said, "(?m)^warn .*saga order: step reserve: no stream of the configuration takes its undo elsewhere.release")
        self.assertRegex(said, "(?m)^warn .*saga order: step pay: .*deadline")
        self.assertRegex(said, "(?m)^warn .*saga order: 1 open .* version 1")
        self.say(relay, "undo", open_, "--yes")

    # -- the configuration changes

    def restart(self, relay, **groups):
        """With these groups in place of its own; None takes one out. -> the relay"""
        self.assertEqual(relay.stop(), 0)
        relay.configure({name: group for name, group in {**relay.settings, **groups}.items() if group is not None})
        return relay.start(relay.supervisor.env)

    def replies(self, relay, subject):
        return self.restart(relay, sagas={**relay.settings["sagas"], "replies": subject})

    def test_group_is_taken_out(self):
        """Sagas are open, and nobody is their clock: a relay that has an outbox says so, and one that has only an inbox, and not in place of a
        daemon that is."""
        relay = self.start([step("pay", "pivot", retries=100)])
        saga = self.begin(pay="silent")
        inbox, sagas = relay.settings["inbox"], relay.settings["sagas"]
        words = "1 saga is open, and no daemon takes their answers and deadlines"
        for without in ({"inbox": None}, {"streams": None, "inbox": inbox}):
            self.restart(relay, sagas=None, **without)
            self.same_words(relay, words)
            self.assertEqual((relay.get("/readyz")[0], self.status(relay)["state"]), (200, "degraded"))
            self.assertIn("the group sagas", self.status(relay)["action"])
            self.assertRegex("\n".join(self.check(relay)), f"(?m)^warn .*sagas: {words}: start the daemon whose configuration has the group sagas")
            self.assertRegex("\n".join(self.check(relay)), "(?m)^warn .*sagas.replies is not in this configuration.*: give a daemon the group sagas back; or,")
            shown = relay.command("inbox", "show", "sagas.replies").stdout
            self.assertIn("SAGAS", shown)
            self.assertIn(f'"{REPLIES}"', shown)
        other = self.start_relay()
        self.wait(lambda: self.figure(other, "clock") == 1, "the other one to be the clock")
        self.assertRegex("\n".join(self.check(relay)), "(?m)^ok .*sagas: 1 open; another daemon of this database takes")
        self.assertEqual(other.stop(), 0)
        self.restart(relay, sagas=sagas)
        self.wait(lambda: self.figure(relay, "clock") == 1, "the clock to be back")
        self.say(relay, "resolve", saga, "--step", "pay=done", "--reason", "test", "--yes")
        self.wait_saga(saga, "completed")

    def test_other_replies(self):
        """Taken where no saga is open. Where one is, it is said what to do, and both ways help."""
        other = "shop.answers"
        with self.jetstream() as jetstream:
            jetstream.update("SAGAS", subjects=["stock.>", REPLIES, other])
        streams = [{"name": "SAGAS", "subjects": ["stock.>", REPLIES, other], "replicas": self.nats.replicas}]
        relay = self.start([step("pay", "pivot", deadline="1s", retries=1000)], streams=streams)
        saga = self.begin(pay="silent")
        self.replies(relay, other)
        words = f"sagas are open, and are answered to {REPLIES}: answers to {other} are not taken yet"
        told = self.same_words(relay, words)
        self.assertEqual(relay.get("/readyz")[0], 503)
        said = [line for line in self.check(relay) if words in line]
        self.assertEqual([line[:4] for line in said if line[:4] != "ok  " and "now:" not in line], ["FAIL"], said)
        for where in (told, said[0]):
            self.assertIn(f'Set sagas.replies = "{REPLIES}" until `boxhaul sagas list --open` shows none: then the change is taken', where)
        # As it was, until none is open.
        self.replies(relay, REPLIES)
        self.wait(lambda: self.figure(relay, "clock") == 1, "the clock to run")
        self.say(relay, "resolve", saga, "--step", "pay=done", "--reason", "test", "--yes")
        self.wait_saga(saga, "completed")
        self.replies(relay, other)
        self.wait(lambda: self.sql("SELECT replies FROM boxhaul.saga_settings") == [(other,)], "the change to be taken")
        saga = self.begin()
        self.wait_saga(saga, "completed")
        self.assertEqual(self.sql("SELECT count(*) FROM boxhaul.outbox WHERE subject = %s", (other,)), [(1,)])
        # Now, and what is open is asked for again.
        saga = self.begin(pay="silent")
        self.replies(relay, REPLIES)
        told = self.same_words(relay, f"sagas are open, and are answered to {other}")
        self.sql(re.search(r"SELECT boxhaul\.inbox_subjects\([^)]*\)", told)[0])
        self.wait(lambda: self.figure(relay, "clock") == 1, "the clock to run")
        self.wait(lambda: self.sql("SELECT reply_to FROM boxhaul.saga_part WHERE saga = %s", (saga,)) == [(REPLIES,)], "it to be asked again")
        self.sql("SELECT boxhaul.saga_answer(%s, 'pay', 'done')", (saga,))
        self.wait_saga(saga, "completed")

    def test_other_stream(self):
        with self.jetstream() as jetstream:
            jetstream.create("MORE", ["more.>"])
        relay = self.start([step("pay", "pivot", retries=1000)])
        more = {"stream": "MORE", "replies": "more.saga", "tick": "100ms"}
        streams = [*relay.settings["streams"], {"name": "MORE", "subjects": ["more.>"], "replicas": self.nats.replicas}]
        self.restart(relay, sagas=more, streams=streams)
        self.same_words(relay, 'Set sagas.stream = "SAGAS" until `boxhaul sagas list --open` shows none')
        self.assertEqual(relay.stop(), 0)
        self.sql("SELECT boxhaul.inbox_drop('sagas.replies')")
        relay.start(relay.supervisor.env).wait_until_ready()
        self.wait(lambda: self.sql("SELECT replies FROM boxhaul.saga_settings") == [("more.saga",)], "the new subject")
        self.wait_saga(self.begin(), "completed")


del WordsTest

if __name__ == "__main__":
    unittest.main()
