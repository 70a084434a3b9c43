"""Handlers that are functions in the database: the daemon is the worker. What has to hold, whatever dies meanwhile: each message takes
effect once, those of a key in their order, and one that fails holds up nothing but its key."""

import itertools
import random
import signal
import subprocess
import time
import unittest

from harness import RELAY, SystemTest
from process import DEADLINE

SOON = 15  # seconds; well below the safety look of an idle worker, which is every 30

SERVICE = f"""
CREATE TABLE effect (n bigserial PRIMARY KEY, message text, key text, xid xid8 DEFAULT pg_current_xact_id());
CREATE SEQUENCE tries;
CREATE TABLE outage (lasts boolean);
CREATE FUNCTION act(r boxhaul.inbox) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.effect (message, key) VALUES (convert_from(r.payload, 'UTF8'), r.key);
    CASE coalesce(r.headers ->> 'do', '')
        WHEN 'fail' THEN RAISE EXCEPTION 'this one is bad';
        WHEN 'sleep' THEN PERFORM pg_sleep(600);
        WHEN 'slow' THEN PERFORM pg_sleep(0.02);
        WHEN 'die' THEN PERFORM pg_terminate_backend(pg_backend_pid());
        WHEN 'conflict' THEN
            IF nextval('public.tries') < 5 THEN RAISE EXCEPTION 'not this time' USING ERRCODE = 'serialization_failure'; END IF;
        WHEN 'full' THEN
            IF EXISTS (SELECT FROM public.outage) THEN
                PERFORM nextval('public.tries');
                RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full';
            END IF;
        WHEN 'left' THEN
            PERFORM pg_advisory_xact_lock(1), pg_sleep(0.5);
            PERFORM pg_advisory_xact_lock(2);
        WHEN 'right' THEN
            PERFORM pg_advisory_xact_lock(2), pg_sleep(0.5);
            PERFORM pg_advisory_xact_lock(1);
        ELSE NULL;
    END CASE;
END $$;
CREATE FUNCTION settings(r boxhaul.inbox) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.effect (message) VALUES (concat_ws(' ', current_setting('enable_seqscan'), current_setting('synchronous_commit'),
        current_setting('plan_cache_mode'), current_setting('lock_timeout'), current_setting('statement_timeout'), current_user));
END $$;
GRANT ALL ON effect, effect_n_seq, tries, outage TO {RELAY};
"""


class HandlerTest(SystemTest):
    postgres_settings = {"deadlock_timeout": "100ms"}

    def setUp(self):
        super().setUp()
        self.sql(SERVICE)
        self.dice = random.Random(self.id())
        self.names = itertools.count(1)
        self.delivered = 0

    @classmethod
    def _settings(cls, database):
        settings = super()._settings(database)
        del settings["streams"]
        return {**settings, "inbox": [{"name": "billing", "stream": "BILLS", "subjects": ["bills.>"], "handler": "public.act"}]}

    def start(self, postgres=None, **settings):
        """A relay whose subscription billing has the handler act."""
        subscription = {**self._settings("")["inbox"][0], "workers": 2, "lanes": 8, **settings}
        with self.jetstream() as jetstream:
            if "BILLS" in jetstream.names():
                jetstream.delete("BILLS")
            jetstream.create("BILLS", ["bills.>"])
        return self.start_relay(inbox=[subscription], **({"postgres": postgres} if postgres else {}))

    def deliver(self, *words):
        """"a:k" is message a with key k; "b:k:fail" fails."""
        with self.jetstream() as jetstream:
            for word in words:
                name, key, *do = word.split(":")
                headers = {"Nats-Msg-Id": name, **({"Boxhaul-Key": key} if key else {}), **({"do": do[0]} if do else {})}
                jetstream.client.publish("bills.a", name.encode(), headers)
            jetstream.client.flush()
        self.delivered += len(words)

    def deliver_many(self, count, keys=40, do=""):
        self.deliver(*(f"m{next(self.names)}:k{self.dice.randrange(keys)}{do and ':' + do}" for _ in range(count)))

    def effects(self):
        return [row[0] for row in self.sql("SELECT message FROM effect ORDER BY n")]

    def wait_for(self, *names, deadline=DEADLINE):
        self.wait(lambda: set(names) <= set(self.effects()), f"the effects of {names}", deadline)

    def wait_handled(self, deadline=DEADLINE):
        self.wait(lambda: self.status("(taken, waiting)") == f"({self.delivered},0)", "everything to be handled", deadline,
                  progress=lambda: self.status("handled"))

    def status(self, column):
        return self.sql(f"SELECT ({column})::text FROM boxhaul.inbox_status")[0][0]

    def blocked(self):
        return dict(self.sql("""SELECT convert_from(i.payload, 'UTF8'), b.state FROM boxhaul.inbox_blocked b
                                  JOIN boxhaul.inbox i USING (subscription, lane, id)"""))

    def sessions(self):
        return [pid for (pid,) in self.sql("SELECT pid FROM pg_stat_activity WHERE application_name = 'boxhaul handler'"
                                           " AND datname = current_database()")]

    def judge(self):
        """Each message once, and in the order of its key."""
        rows = self.sql("""SELECT i.key, array_agg(convert_from(i.payload, 'UTF8') ORDER BY i.id) FROM boxhaul.inbox i
            WHERE NOT EXISTS (SELECT FROM boxhaul.inbox_dead d WHERE d.inbox_id = i.id) GROUP BY 1""")
        took = self.sql("SELECT key, array_agg(message ORDER BY n) FROM effect GROUP BY 1")
        self.assertEqual(dict(took), dict(rows))


class Handling(HandlerTest):
    def test_each_once_and_in_order(self):
        relay = self.start(workers=4, lanes=16)
        for _ in range(10):
            self.deliver_many(300)
        self.wait_handled()
        self.judge()
        self.assertEqual(relay.stop(), 0)

    def test_a_key_that_fails(self):
        """It backs off; all others go on; after max_attempts it is held, and everything of its key behind it waits in order."""
        relay = self.start(max_attempts=3)
        self.deliver("a:k:fail", "b:l", "c:k", "d:m", "e:k", "f:")
        self.wait_for("b", "d", "f")
        self.wait(lambda: self.blocked() == {"a": "held"}, "a to be held")
        self.deliver("g:k", "h:l")
        self.wait_for("h")
        self.assertEqual(sorted(self.effects()), ["b", "d", "f", "h"])
        self.sql("UPDATE boxhaul.inbox SET headers = NULL")
        done = relay.command("inbox", "retry", "billing", "1")
        self.assertEqual(done.returncode, 0, done.stdout)
        self.wait_for("g", deadline=SOON)
        self.judge()

    def test_a_dead_letter(self):
        self.start(max_attempts=1, poison="skip")
        self.deliver("a:k:fail", "b:k", "c:k:fail", "d:k")
        self.wait_for("b", "d")
        self.wait_handled()
        self.assertEqual(self.status("dead"), "2")
        self.judge()

    def test_one_that_takes_too_long(self):
        """... has failed, by itself: those before and behind it in its batch have not."""
        self.start(handler_timeout="2s", workers=1, lanes=1, max_attempts=2)
        self.deliver(*(f"m{n}:k{n}" for n in range(10)), "slow:s:sleep", *(f"n{n}:k{n}" for n in range(10)), "behind:s")
        self.wait(lambda: self.blocked().get("slow") == "held", "it to be held")
        self.wait(lambda: len(self.effects()) == 20, "the others")
        self.assertNotIn("behind", self.effects())
        self.assertEqual(self.sql("SELECT id, attempts FROM boxhaul.inbox_parked WHERE attempts > 0"), [(11, 2)])
        self.assertIn("took longer than handler_timeout (2.0 s)", self.sql("SELECT error FROM boxhaul.inbox_parked WHERE id = 11")[0][0])
        self.assertEqual(len(set(self.effects())), 20)

    def test_slow_ones_are_no_time_out(self):
        """A batch of them takes longer than the time of a single one."""
        self.start(handler_timeout="1s", workers=1, lanes=1)
        self.deliver_many(100, do="slow")
        self.wait_handled()
        self.judge()
        self.assertEqual(self.sql("SELECT sum(attempts) FROM boxhaul.inbox_parked"), [(None,)])

    def test_one_that_ends_its_session(self):
        """It is parked in the end, though nobody ever says that it failed; other lanes go on meanwhile."""
        self.start(stuck_after="300ms", crash_attempts=2, max_attempts=1, workers=3)
        self.deliver("bad:k:die", "behind:k")
        while self.blocked().get("bad") != "held":
            self.deliver_many(5)
            time.sleep(0.1)
        self.wait(lambda: self.status("(taken, waiting)") == f"({self.delivered},2)", "the others")
        self.sql("SELECT boxhaul.inbox_skip('billing', 1)")
        self.wait_handled()
        self.assertEqual(self.effects().count("behind"), 1)
        self.judge()

    def test_a_deadlock_is_no_attempt(self):
        self.start(workers=2)
        self.deliver("a:k1:left", "b:k2:right")
        lanes = "SELECT count(*), count(DISTINCT lane) FROM boxhaul.inbox"
        self.wait(lambda: self.sql(lanes)[0][0] == 2, "both to be taken")
        self.assertEqual(self.sql(lanes), [(2, 2)], "the two keys have to be in two lanes")
        self.wait_handled()
        self.assertEqual(sorted(self.effects()), ["a", "b"])
        self.assertEqual(self.sql("SELECT count(*) FROM boxhaul.inbox_parked")[0][0], 0)

    def test_a_conflict_is_no_attempt(self):
        self.start(max_attempts=1)
        self.deliver("a:k:conflict", "b:k")
        self.wait_handled()
        self.assertEqual(self.effects(), ["a", "b"])
        self.assertEqual(self.status("dead + held + parked"), "0")
        self.assertEqual(self.sql("SELECT last_value FROM tries"), [(5,)])

    def test_a_long_outage_is_no_attempt(self):
        """Only the handler's tables are out of order: the lane stands, for longer than a row that kills would be given. It is no crash."""
        self.sql("INSERT INTO outage VALUES (true)")
        self.start(stuck_after="300ms", crash_attempts=2, max_attempts=1, poison="skip")
        self.deliver("a:k:full", "b:k")
        self.wait(lambda: self.sql("SELECT last_value FROM tries")[0][0] >= 16, "many tries", progress=lambda: self.sql("TABLE tries"))
        self.assertEqual(self.status("dead + held + parked"), "0")
        self.sql("DELETE FROM outage")
        self.wait_handled()
        self.assertEqual(self.effects(), ["a", "b"])
        self.assertEqual(self.status("dead + held + parked"), "0")

    def test_there_is_no_such_function(self):
        relay = self.start(handler="public.later")
        self.deliver("a:k")
        self.wait(lambda: "there is no function public.later(boxhaul.inbox)" in relay.log_tail(50), "it to be said")
        self.assertEqual(self.status("parked"), "0")
        self.sql("""CREATE FUNCTION later(r boxhaul.inbox) RETURNS void LANGUAGE sql AS
                    'INSERT INTO public.effect (message) VALUES (''later'')'""")
        self.wait_for("later")

    def test_its_session_is_as_the_database_has_it(self):
        """The relay's own pins plans and does not wait for the disk: both are wrong for other people's functions."""
        self.start(handler="public.settings", handler_timeout="7s")
        self.deliver("a:k")
        self.wait_for(f"on on auto 0 7s {RELAY}")


class Waking(HandlerTest):
    def queries(self):
        return self.sql("SELECT pid, query_start FROM pg_stat_activity WHERE application_name = 'boxhaul handler'"
                        " AND datname = current_database() ORDER BY 1")

    def idle(self):
        """It has looked, and sleeps."""
        self.wait(lambda: self.sql("SELECT boxhaul.inbox_drawn('idle', number) FROM boxhaul.subscription") == [(2,)], "the workers to sleep")
        def silent():  # but for a look each half minute, and one when the position has moved
            before = self.queries()
            time.sleep(2)
            return self.queries() == before
        self.wait(silent, "an idle worker to ask nothing for two seconds", deadline=20)

    def test_it_sleeps_and_is_woken(self):
        self.start()
        for name in "abc":
            self.idle()
            self.deliver(f"{name}:k")
            self.wait_for(name, deadline=SOON)

    def test_what_backs_off_needs_nobody(self):
        self.start()
        self.deliver("a:k:fail")
        self.wait(lambda: self.sql("SELECT coalesce(max(attempts), 0) >= 5 FROM boxhaul.inbox_parked") == [(True,)], "five attempts", SOON)

    def test_an_operator_wakes_it(self):
        relay = self.start(max_attempts=1)
        self.deliver("a:k:fail")
        self.wait(lambda: self.blocked() == {"a": "held"}, "it to be held")
        self.idle()
        self.sql("UPDATE boxhaul.inbox SET headers = NULL")
        self.assertEqual(relay.command("inbox", "retry", "billing", "1").returncode, 0)
        self.wait_for("a", deadline=SOON)
        self.assertEqual(relay.command("inbox", "pause", "billing").returncode, 0)
        self.sql("""INSERT INTO boxhaul.inbox (subscription, lane, id, slot, seq, incarnation, subject, payload, stored_at)
                    VALUES ('billing', 0, 9, 0, 0, 1, 'bills.a', 'paused', now());
                    UPDATE boxhaul.inbox_position SET last_id = 9, lane_last[1] = 9""")
        self.idle()
        self.assertEqual(relay.command("inbox", "resume", "billing").returncode, 0)
        self.wait_for("paused", deadline=SOON)


class Killing(HandlerTest):
    """Everything is killed at random; the effects are counted."""

    def under_fire(self, strike, rounds=8):
        for _ in range(rounds):
            self.deliver_many(200, keys=20, do=self.dice.choice(["", "slow"]))
            time.sleep(self.dice.random() * 0.3)
            strike()
        self.deliver("last:z")
        self.wait_handled()
        self.judge()

    def test_sessions(self):
        self.start(workers=3)
        self.wait(lambda: len(self.sessions()) == 3, "three sessions")

        def strike():
            sessions = self.sessions()
            for pid in self.dice.sample(sessions, k=min(2, len(sessions))):
                self.sql("SELECT pg_terminate_backend(%s)", (pid,))

        self.under_fire(strike)

    def test_calls_that_are_cancelled(self):
        """By hand, which has the SQLSTATE of a time-out and says nothing about the message."""
        self.start(workers=3, max_attempts=1)

        def strike():
            for pid in self.sessions():
                self.sql("SELECT pg_cancel_backend(%s)", (pid,))

        self.under_fire(strike)
        self.assertEqual(self.status("dead + held + parked"), "0")

    def test_the_relay(self):
        relay = self.start(workers=3)

        def strike():
            relay.kill9()
            relay.start()

        self.under_fire(strike)
        self.assertEqual(relay.stop(), 0)

    def test_the_relay_stops(self):
        relay = self.start(workers=3)

        def strike():
            self.wait(lambda: relay.get("/readyz")[0] != 0, "it to run: before that SIGTERM ends it as it ends any program")
            self.assertEqual(relay.stop(), 0)
            relay.start()

        self.under_fire(strike, rounds=4)

    def test_the_server(self):
        self.start(workers=3)

        def strike():
            self.pg.kill9()
            self.pg.start()

        self.under_fire(strike, rounds=3)

    def test_at_each_step(self):
        """The relay dies, or is told that the step failed, between the call and its answer and right behind that."""
        for point in ("inbox_handling", "inbox_handled"):
            for action in ("kill", "error"):
                with self.subTest(f"{point}={action}"):
                    relay = self.start_struck(f"{point}={action}@3")
                    self.deliver_many(200, do="slow")
                    self.wait(lambda: f"msg=failpoint name={point} action={action}" in relay.log_tail(200), "it to be struck")
                    if action == "kill":
                        relay.wait()
                        relay.start()
                    self.wait_handled()
                    self.judge()
                    relay.kill9()

    def start_struck(self, failpoint):
        done = subprocess.run([self.program, "failpoints"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if "inbox_handling" not in done.stdout:
            self.skipTest("this program has no failpoints")
        with self.jetstream() as jetstream:
            if "BILLS" not in jetstream.names():
                jetstream.create("BILLS", ["bills.>"])
        return self.add_relay().start({"BOXHAUL_FAILPOINT": failpoint})


class Reloading(HandlerTest):
    def test_the_time_that_it_may_take(self):
        """... is another one at the next call, without a restart."""
        relay = self.start(handler_timeout="60s", handler="public.settings")
        self.deliver("a:k")
        self.wait_for(f"on on auto 0 1min {RELAY}")
        settings = relay.settings
        settings["inbox"][0]["handler_timeout"] = "7s"
        relay.configure(settings)
        relay.send(signal.SIGHUP)
        self.wait(lambda: "reloaded" in relay.log_tail(50), "the reload")
        self.deliver("b:k")
        self.wait_for(f"on on auto 0 7s {RELAY}")


if __name__ == "__main__":
    unittest.main()
