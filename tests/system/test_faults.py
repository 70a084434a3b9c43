"""What the relay owes on a bad day: whatever dies, stalls or comes back in whatever order, nothing is lost, nothing
uncommitted is sent, order per key holds, and inside the broker's duplicate window nothing is stored twice."""

import signal
import time
import unittest

from harness import RELAY, SERVICE, UNDRAINED, SystemTest
from shop import Habits


PATIENT = {"ack_timeout": "25s", "drain_timeout": "10m"}  # longer than a test looks at what is not acknowledged


class FaultTest(SystemTest):
    """Adds what one needs to see who leads, and who ever led."""

    def setUp(self):
        super().setUp()
        self.sql("""
            CREATE TABLE public.leads (epoch bigint PRIMARY KEY, pid int, since float8);
            CREATE FUNCTION public.note_lead() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                INSERT INTO public.leads VALUES (NEW.epoch, substring(NEW.leader FROM 'process ([0-9]+)$')::int,
                                                 extract(epoch FROM NEW.led_since));
                RETURN NULL;
            END $$;
            CREATE TRIGGER note_lead AFTER UPDATE OF epoch ON boxhaul.position
                FOR EACH ROW EXECUTE FUNCTION public.note_lead()""")

    def leads(self):
        """(epoch, process, since when) of every lead so far, as the database saw it."""
        return self.sql("SELECT * FROM public.leads ORDER BY epoch")

    def role(self, relay):
        """The relay's own view; None when it does not answer."""
        return self.status(relay).get("role")

    def leader(self):
        """The one relay that leads, or None. Where two say so both are asked again: the first may have answered
        just before it learnt of its end."""
        leaders = self.relays
        for _ in range(2):
            leaders = [relay for relay in leaders if relay.alive() and self.role(relay) == "leader"]
        self.assertLessEqual(len(leaders), 1, "two relays lead")
        return leaders[0] if leaders else None

    def wait_for_leader(self):
        return self.wait(self.leader, "a relay to lead", pause=0.01)

    def terminate_leader(self):
        """End the session that holds the leader's lock."""
        self.assertEqual(self.sql("""
            SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted
               AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""), [(True,)])


    def fall_silent(self, relay):
        """The broker answers nothing any more, and the relay has its hands full: what it may send is sent, and a key's second
        message waits for the first. Its ack_timeout should be a long one."""
        self.shops[0].stop()
        self.wait_settled()
        self.nats.pause()
        self.writer("silent").write(None, 100).write("silent", 50).commit()
        self.wait(lambda: self.status(relay).get("in_flight_messages") == 101, "the messages to be in flight", pause=0.01)


class Crashes(FaultTest):
    def test_kill9_of_the_relay(self):
        """What it had sent and not marked is sent again, and the broker knows it by its id."""
        relay = self.start_relay()
        self.open_shop()
        for n in range(1, 6):
            self.let_trade(700)
            relay.kill9()
            self.let_trade(100)
            relay.start()
            self.wait(lambda n=n: len(self.leads()) > n, "the relay to lead again")
        self.let_trade(300)
        self.audit()
        self.assertEqual(len(self.leads()), 6)

    def test_kill9_of_the_broker(self):
        relay = self.start_relay()
        self.open_shop()
        for _ in range(3):
            self.let_trade(700)
            self.nats.kill9()
            self.let_trade(300)  # producers do not notice
            self.nats.start()
        relay.wait_until_ready()
        self.let_trade(300)
        self.audit()

    def test_kill9_of_the_relay_and_a_silent_broker(self):
        """The broker falls silent, and what is on its way to it dies with it, and with the relay. What nobody has
        acknowledged must not have been marked."""
        relay = self.start_relay(outbox={"gap_grace": "0s"})  # so that no gap holds the position back
        self.open_shop()
        for _ in range(3):
            self.let_trade(300)
            self.nats.pause()
            self.let_trade(100, seconds=0.5)  # time for a mark
            relay.kill9()
            self.nats.kill9()
            self.nats.start()
            relay.start().wait_until_ready()
        self.audit()

    def test_the_session_is_terminated(self):
        self.start_relay()
        self.open_shop()
        for n in range(1, 6):
            self.let_trade(400)
            self.terminate_leader()
            self.wait(lambda n=n: len(self.leads()) > n, "the relay to lead again")
        self.audit()

    def test_kill9_of_a_backend(self):
        """The whole server goes through crash recovery: of commits under way nobody knows how they ended."""
        relay = self.start_relay()
        self.open_shop()
        for role in (RELAY, SERVICE):
            self.let_trade(700)
            self.wait_for_leader()  # so that there is a backend of it
            victim = self.pg.backends(f"usename = '{role}'")[0]
            self.assertTrue(self.pg.kill_backend(victim))
            self.let_trade(300)
        self.assertGreater(self.shops[0].disconnects, 0)
        relay.wait_until_ready()
        self.audit()

    def test_kill9_of_everything(self):
        """One after the other, as parts of a failing machine might. What the relay could not deliver any more it
        must not have marked."""
        relay = self.start_relay()
        self.open_shop()
        for order in ((relay, self.pg, self.nats), (self.nats, relay, self.pg), (self.nats, self.pg, relay)):
            self.let_trade(500)
            for victim in order:
                victim.kill9()
                time.sleep(0.3)  # time for a mark
            for victim in order:
                victim.start()
        self.let_trade(300)
        self.audit()


class Outages(FaultTest):
    def test_postgres_stops_and_starts(self):
        relay = self.start_relay()
        self.open_shop()
        for mode in ("fast", "immediate", "fast"):
            self.let_trade(500)
            self.pg.stop(mode)
            self.wait(lambda: relay.get("/readyz")[0] == 503, "the relay to notice")
            time.sleep(1)
            self.pg.start()
        relay.wait_until_ready()
        self.let_trade(500)
        self.audit()

    def test_a_silent_broker(self):
        """Stopped, not dead: connections stay, answers do not come. Shorter and longer than the ack timeout, and
        than what the connection puts up with. Then all the repeats arrive at once."""
        self.start_relay(delivery={"ack_timeout": "1s"})
        self.open_shop()
        for seconds in (0.5, 3, 8):
            self.let_trade(500)
            self.nats.pause()
            self.let_trade(200, seconds=seconds)  # producers do not notice
            self.nats.resume()
        self.let_trade(300)
        self.audit()

    def test_a_mark_that_fails_without_a_word(self):
        """An error is one whatever its text: what is not marked is marked later."""
        self.sql("""
            CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                PERFORM nextval('public.refused');
                RAISE EXCEPTION E' \\n';
            END $$;
            CREATE SEQUENCE public.refused;
            CREATE TRIGGER refuse BEFORE INSERT ON boxhaul.sent FOR EACH ROW EXECUTE FUNCTION public.refuse()""")
        self.start_relay()
        self.writer("w").write("key", 5).commit()
        self.wait(lambda: self.sql("SELECT is_called FROM public.refused") == [(True,)], "a mark to fail")
        self.sql("DROP TRIGGER refuse ON boxhaul.sent")
        self.audit()

    def test_both_are_down(self):
        """In both orders of going and both of coming back."""
        relay = self.start_relay()
        self.open_shop()
        for going in ((self.nats, self.pg), (self.pg, self.nats)):
            for coming in (going, going[::-1]):
                self.let_trade(400)
                for server in going:
                    server.stop()
                    time.sleep(0.3)
                self.wait(lambda: relay.get("/readyz")[0] == 503, "the relay to notice")
                for server in coming:
                    server.start()
                    time.sleep(0.3)
        relay.wait_until_ready()
        self.let_trade(300)
        self.audit()

    def test_the_relay_starts_first(self):
        """With nothing to connect to it waits, alive and not ready, for whichever comes first."""
        writer = self.writer("before").write("key", 5)
        writer.commit()
        for coming in ((self.pg, self.nats), (self.nats, self.pg)):
            self.pg.stop()
            self.nats.stop()
            relay = self.add_relay().start()
            self.wait(lambda relay=relay: relay.get("/livez")[0] == 200, "the relay to live")
            self.assertEqual(relay.get("/readyz")[0], 503)
            coming[0].start()
            time.sleep(1)
            self.assertEqual(relay.get("/readyz")[0], 503)
            coming[1].start()
            relay.wait_until_ready()
            self.open_shop(clients=4)
            self.let_trade(200)
            self.assertEqual(relay.stop(), 0)
        relay.start()
        self.audit()


class TakeOver(FaultTest):
    """Two relays on one database: one leads, the other waits for its end."""

    def pair(self, **settings):
        for _ in range(2):
            self.start_relay(**settings)
        leader = self.wait_for_leader()
        standby, = (relay for relay in self.relays if relay is not leader)
        self.assertEqual(self.role(standby), "standby")
        self.open_shop()
        return leader, standby

    def take_over(self, standby, blow, what):
        """Let blow() end the lead of the other one. Prints how long the database was without a leader."""
        self.let_trade(500)
        count, start = len(self.leads()), time.time()
        blow()
        self.wait(lambda: len(self.leads()) > count, "the standby to lead")
        _epoch, pid, since = self.leads()[-1]
        self.assertEqual(pid, standby.pid)
        print(f"take-over after {what}: {1000 * (since - start):.0f} ms")
        self.let_trade(300)

    def audit(self):
        """Also: every epoch was led by one relay, and the database knows no other."""
        result = super().audit()
        epochs = [epoch for epoch, _pid, _since in self.leads()]
        self.assertEqual([(epochs[-1],)], self.sql("SELECT epoch FROM boxhaul.position"))
        self.assertEqual(epochs, list(range(1, len(epochs) + 1)))
        return result

    def test_one_leads_and_the_other_waits(self):
        leader, standby = self.pair()
        for _ in range(20):
            self.let_trade(50)
            self.assertIs(self.leader(), leader)
        self.assertEqual(standby.get("/readyz")[0], 200)
        self.assertEqual(self.metric(standby, "publishes_total"), 0)
        self.audit()
        self.assertEqual(len(self.leads()), 1)

    def test_kill9_of_the_leader(self):
        leader, standby = self.pair()
        for _ in range(3):
            self.take_over(standby, leader.kill9, "kill -9")
            leader, standby = standby, leader.start().wait_until_ready()
        self.audit()

    def test_sigterm_of_the_leader(self):
        leader, standby = self.pair(delivery=PATIENT)
        self.take_over(standby, lambda: leader.send(signal.SIGTERM), "SIGTERM, the drain included")
        self.assertEqual(leader.wait(), 0)
        self.audit()

    def test_the_leaders_session_is_terminated(self):
        """Whoever gets the lock next leads, and may be the same one; never both."""
        self.pair()
        for n in range(1, 9):
            self.let_trade(200)
            self.wait_for_leader()
            self.terminate_leader()
            self.wait(lambda n=n: self.leader() and len(self.leads()) > n, "the next lead", pause=0.01)
        self.audit()

    def test_a_deposed_leader_publishes_nothing(self):
        """The leader has its hands full, for the broker is silent, when it is frozen and its session taken away. The
        other one delivers everything. When the first goes on it must not send what it has in hand: long after the
        fact that would be stored again."""
        leader, standby = self.pair(delivery={"ack_timeout": "25s"})
        self.let_trade(300)
        self.fall_silent(leader)
        sent = self.metric(leader, "publishes_total")
        leader.pause()
        self.terminate_leader()
        self.nats.resume()
        self.wait_settled()
        leader.resume()
        self.wait(lambda: self.role(leader) == "standby" and self.status(leader)["nats"]["connected"],
                  "the deposed one to stand by")
        time.sleep(0.5)
        self.assertEqual(self.metric(leader, "publishes_total"), sent)
        self.assertIs(self.leader(), standby)
        self.audit()

    def test_a_frozen_leader_is_deposed(self):
        """The same under load and with a broker that answers, at any point of the leader's work."""
        leader, standby = self.pair()
        for _ in range(4):
            def freeze(leader=leader):
                leader.pause()
                self.terminate_leader()
            self.take_over(standby, freeze, "a freeze and the end of the session")
            leader.resume()
            self.wait(lambda leader=leader: self.role(leader) == "standby", "the deposed one to stand by")
            leader, standby = standby, leader
        self.audit()


class WholeLife(FaultTest):
    def test_in_short(self):
        """From start to drain, by way of the end and the return of both servers, of a session and of a silent broker. Few
        messages: tests/watch runs it under tools that make everything slow."""
        relay = self.start_relay(delivery={"ack_timeout": "300ms"})
        self.open_shop(clients=2, habits=Habits(pause=0.01))
        for end in (self.nats.stop, self.pg.stop, self.nats.kill9, self.pg.kill9, self.nats.pause, self.terminate_leader):
            self.let_trade(50)
            self.wait_for_leader()
            end()
            time.sleep(0.5)  # time to notice, and to try in vain
            self._revive()
            relay.wait_until_ready()
        self.audit()
        self.assertEqual(relay.command("status").returncode, 0)
        self.assertEqual(relay.command("check").returncode, 0)
        self.assertEqual(relay.stop(), 0)


class Shutdown(FaultTest):
    def marked(self):
        """The ids of the messages that are marked sent."""
        return {name for (name,) in self.sql("SELECT message_id::text FROM boxhaul.messages WHERE state = 'sent'")}

    def test_sigterm_drains(self):
        """Status 0, and what is stored is marked: not a message more, not a message less."""
        relay = self.start_relay(delivery=PATIENT)
        self.open_shop()
        for _ in range(4):
            self.let_trade(500)
            self.assertEqual(relay.stop(), 0)
            self.assertEqual({m.msg_id for m in self.stored()}, self.marked())
            relay.start().wait_until_ready()
        self.audit()

    def test_sigterm_while_messages_wait_behind_others(self):
        """What waits for its key's turn is not sent any more, and must not hide what is acknowledged behind it: it
        would be sent again, and be stored again once the broker has forgotten it."""
        relay = self.start_relay(delivery=PATIENT)
        writer = self.writer("w")
        writer.write(None).commit()
        self.wait_settled()
        self.nats.pause()
        for _ in range(10):
            writer.write("key").write(None)
        writer.commit()
        self.wait(lambda: self.status(relay)["in_flight_messages"] == 11, "the first of the key and the keyless ones to be sent")
        relay.send(signal.SIGTERM)
        self.wait(lambda: self.log_says(relay, "stopping: waiting"), "the drain to begin")
        self.nats.resume()
        self.assertEqual(relay.wait(), 0)
        self.assertEqual({m.msg_id for m in self.stored()}, self.marked())
        self.assertEqual(self.count(), 12)
        relay.start()
        self.audit()

    def log_says(self, relay, text):
        with open(relay.log, encoding="utf-8") as f:
            return text in f.read()

    def test_a_second_sigterm(self):
        """With a silent broker there is no end to the drain, but there is one to patience. Nothing is lost."""
        relay = self.start_relay(delivery=PATIENT)
        self.open_shop()
        self.let_trade(700)
        self.fall_silent(relay)
        relay.send(signal.SIGTERM)
        self.wait(lambda: self.log_says(relay, "stopping: waiting"), "the drain to begin")
        time.sleep(1)
        self.assertTrue(relay.alive())
        relay.send(signal.SIGTERM)
        self.assertEqual(relay.wait(), UNDRAINED)
        self.nats.resume()
        relay.start()
        self.audit()

    def test_the_drain_has_an_end(self):
        """The same, left alone: after drain_timeout it ends by itself, and says that it was not done."""
        relay = self.start_relay(delivery={**PATIENT, "drain_timeout": "1s"})
        self.open_shop()
        self.let_trade(700)
        self.fall_silent(relay)
        self.assertEqual(relay.stop(), UNDRAINED)
        self.nats.resume()
        relay.start()
        self.audit()

    def test_sigterm_without_a_database(self):
        """Nothing can be marked, and nothing need be: it ends, and begins again where the marks are."""
        relay = self.start_relay(delivery={"drain_timeout": "5s"})
        self.open_shop(habits=Habits(pause=0.002, slow=0))
        self.let_trade(700)
        self.pg.stop()
        self.assertIn(relay.stop(), (0, UNDRAINED))
        self.pg.start()
        relay.start()
        self.audit()


if __name__ == "__main__":
    unittest.main()
