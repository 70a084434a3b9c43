"""What befalls sagas between real servers: deadlines, crashes, undos that fail, answers that nobody asked for. The participant is the test:
it reads commands from the stream and publishes answers, as a service in any language would without our inbox. (The transition itself, and
participants that have the inbox: test_saga_sql.py.)"""

import json
import unittest
import uuid

from harness import SystemTest

STREAM, REPLIES, NAME = "SAGAS", "desk.saga", "order"
HOUR = "1h"


class SagaTest(SystemTest):
    @classmethod
    def _settings(cls, database):
        return {**super()._settings(database), "sagas": {"stream": STREAM, "replies": REPLIES, "tick": "200ms"},
                "streams": [{"name": STREAM, "subjects": ["desk.>", "stock.>", "bank.>"], "create": True, "replicas": cls.nats.replicas}]}

    def setUp(self):
        super().setUp()
        with self.jetstream() as js:
            for name in js.names():
                js.delete(name)

    # -- the desk

    def start_desk(self):
        """A daemon that has said where answers go: from then on sagas can be started."""
        relay = self.start_relay()
        self.wait(lambda: self.sql("SELECT count(*) FROM boxhaul.saga_settings") == [(1,)], "the daemon to configure sagas")
        return relay

    def define(self, deadline=HOUR, retries=1, **steps):
        """reserve and hold can be undone, charge is the pivot, ship will be done. Another deadline of one: hold="300ms"."""
        told = [{"name": "reserve", "kind": "undoable", "command": "stock.reserve", "undo": "stock.release"},
                {"name": "hold", "kind": "undoable", "command": "bank.hold", "undo": "bank.free"},
                {"name": "charge", "kind": "pivot", "command": "bank.charge"},
                {"name": "ship", "kind": "retriable", "command": "stock.ship"}]
        told = [{**step, "deadline": steps.get(step["name"], deadline), "retries": retries} for step in told]
        return self.sql("SELECT boxhaul.saga_define(%s, %s::jsonb)", (NAME, json.dumps(told)))[0][0]

    def begin(self, count=1):
        """Sagas; the id of the last."""
        return [str(self.sql("SELECT boxhaul.saga_start(%s, 'k', '{\"amount\": 10}')", (NAME,))[0][0]) for _ in range(count)][-1]

    def look(self, saga, what="state"):
        return self.sql(f"SELECT {what} FROM boxhaul.sagas WHERE id = %s", (saga,))[0][0]

    def wait_state(self, saga, state):
        self.wait(lambda: self.look(saga) == state, f"the saga to be {state}", progress=lambda: self.log(saga))

    def log(self, saga):
        return self.sql("SELECT event, step, dir, attempt, action FROM boxhaul.saga_timeline WHERE saga = %s ORDER BY n", (saga,))

    def timeouts(self, saga):
        return [(step, direction, attempt) for event, step, direction, attempt, _action in self.log(saga) if event == "timeout"]

    # -- the participant

    def commands(self, saga=None):
        """What the stream holds for it: [(saga, step, dir, attempt)], in order."""
        return [self.told(stored) for stored in self.stored(STREAM) if stored.subject != REPLIES
                and (saga is None or stored.headers["Boxhaul-Saga"] == [saga])]

    @staticmethod
    def told(stored):
        saga, step, direction, attempt = (stored.headers[f"Boxhaul-{name}"][0] for name in ("Saga", "Step", "Dir", "Attempt"))
        return saga, step, direction, int(attempt)

    def wait_command(self, saga, step, direction="do", attempt=1):
        wanted = (saga, step, direction, attempt)

        def found():
            return next((stored for stored in self.stored(STREAM) if stored.subject != REPLIES and self.told(stored) == wanted), None)
        return self.wait(found, f"the command {wanted}", pause=0.1, progress=lambda: self.count(STREAM))

    def answer(self, command, outcome="done", **headers):
        """As the contract says it: the saga's headers back, and the outcome."""
        back = {name: values[0] for name, values in command.headers.items()
                if name in ("Boxhaul-Saga", "Boxhaul-Step", "Boxhaul-Dir", "Boxhaul-Attempt")}
        back.update({"Boxhaul-Outcome": outcome, "Boxhaul-Key": back["Boxhaul-Saga"], "Nats-Msg-Id": str(uuid.uuid4()), **headers})
        with self.jetstream() as js:
            js.publish(command.headers["Boxhaul-Reply-To"][0], b"{}", back)

    def walk(self, saga, *steps, direction="do"):
        """Each is asked for, and done."""
        for step in steps:
            self.answer(self.wait_command(saga, step, direction))

    @staticmethod
    def of(step, direction, *attempts):
        return [(step, direction, attempt) for attempt in attempts]


class Deadlines(SagaTest):
    def test_a_participant_that_is_silent(self):
        """eventuate-tram-sagas#74: it would hold the saga for ever. What it was asked for is unknown, so it is undone, too; and the saga ends
        by answers only."""
        self.define(hold="200ms")
        self.start_desk()
        saga = self.begin()
        self.walk(saga, "reserve")
        undo = self.wait_command(saga, "hold", "undo")
        self.assertEqual(self.timeouts(saga)[:2], self.of("hold", "do", 1, 2))
        self.assertEqual(self.look(saga), "undoing")
        self.answer(undo)
        self.walk(saga, "reserve", direction="undo")
        self.wait_state(saga, "undone")

    def test_a_step_that_is_done_after_it_was_given_up(self):
        """compressor#1001, agentmux#636: the late "done" ends nothing, and is in the log; the undo's answer does."""
        self.define(hold="200ms", reserve=HOUR)
        self.start_desk()
        saga = self.begin()
        self.walk(saga, "reserve")
        late = self.wait_command(saga, "hold")
        undo = self.wait_command(saga, "hold", "undo")
        self.answer(late)
        self.wait(lambda: ("done", "hold", "do", 1, "ignore") in self.log(saga), "the late answer to be ignored")
        self.assertEqual((self.look(saga), self.look(saga, "step")), ("undoing", "hold"))
        self.answer(undo)
        self.walk(saga, "reserve", direction="undo")
        self.wait_state(saga, "undone")

    def test_two_daemons(self):
        """NServiceBus#4085, #3829: both have a clock. A deadline counts once: one line in the log, one command an attempt."""
        self.define("150ms", retries=3)
        for _ in range(2):
            self.start_desk()
        self.begin(12)
        sagas = [str(saga) for (saga,) in self.sql("SELECT id FROM boxhaul.sagas")]
        for saga in sagas:
            self.answer(self.wait_command(saga, "reserve", "undo"))
        for saga in sagas:
            self.wait_state(saga, "undone")
        self.wait_settled()
        for saga in sagas:
            self.assertEqual([t for t in self.timeouts(saga) if t[1] == "do"], self.of("reserve", "do", 1, 2, 3, 4))
            asked = [told[1:] for told in self.commands(saga)]
            self.assertEqual([told for told in asked if told[1] == "do"], self.of("reserve", "do", 1, 2, 3, 4))
            self.assertEqual(len(asked), len(set(asked)))

    def test_one_that_has_ended_has_no_deadline(self):
        """NServiceBus#2515."""
        self.define("1s", retries=9)
        self.start_desk()
        saga = self.begin()
        self.answer(self.wait_command(saga, "reserve"), "refused")
        self.wait_state(saga, "undone")
        before = self.log(saga)
        self.sql("SELECT boxhaul.saga_tick(clock_timestamp() + interval '1 year')")
        self.assertEqual(self.log(saga), before)
        self.assertIsNone(self.look(saga, "due_at"))


class Crashes(SagaTest):
    def test_an_answer_that_came_while_nobody_was_there(self):
        """eventuate-tram-sagas#40: replies were not read before another saga began."""
        self.define()
        relay = self.start_desk()
        saga = self.begin()
        command = self.wait_command(saga, "reserve")
        relay.kill9()
        self.answer(command)
        relay.start()
        self.walk(saga, "hold", "charge", "ship")
        self.wait_state(saga, "completed")

    def test_postgresql_crashes_while_it_is_undone(self):
        """dbos-py#716, #742, camunda#14329: pending for ever. The deadline stands in the database; it comes, and the command again."""
        self.define("2s", retries=3)
        self.start_desk()
        saga = self.begin()
        self.walk(saga, "reserve")
        self.answer(self.wait_command(saga, "hold"), "refused")
        self.wait_command(saga, "reserve", "undo")
        self.pg.kill9()
        self.pg.start()
        self.answer(self.wait_command(saga, "reserve", "undo", 2))
        self.wait_state(saga, "undone")

    def test_commands_that_the_stream_lost(self):
        """Nobody sends them again but the deadline."""
        self.define("1s", retries=9)
        relay = self.start_desk()
        saga = self.begin()
        self.wait_command(saga, "reserve")
        with self.jetstream() as js:
            js.purge(STREAM)
        self.answer(self.wait_command(saga, "reserve", "do", 2))
        self.wait(lambda: self.look(saga, "step") == "hold", "the next step")
        self.assertTrue(relay.alive())


class Undoing(SagaTest):
    def test_an_undo_that_fails(self):
        """eventuate-tram-sagas#75, camunda#5655: the saga was dead, and nobody was told. It is asked again and again, shown as stuck, and
        goes on by itself when the participant is mended."""
        self.define("3s", retries=1)  # there is time to answer before that, twice
        relay = self.start_desk()
        saga = self.begin()
        self.answer(self.wait_command(saga, "reserve"))
        self.answer(self.wait_command(saga, "hold"), "refused")
        for attempt in (1, 2):
            self.answer(self.wait_command(saga, "reserve", "undo", attempt), "refused")
        self.wait(lambda: self.look(saga, "stuck"), "it to be shown as stuck")
        self.wait(lambda: self.metric(relay, "saga_stuck") == 1, "the metric")
        self.answer(self.wait_command(saga, "reserve", "undo", 3))
        self.wait_state(saga, "undone")
        self.assertIsNone(self.look(saga, "stuck"))

    def test_refused_at_the_first_step(self):
        """python-cqrs#47: taken up for ever. There is nothing to undo: it has ended."""
        self.define()
        self.start_desk()
        saga = self.begin()
        self.answer(self.wait_command(saga, "reserve"), "refused")
        self.wait_state(saga, "undone")
        self.wait_settled()
        self.assertEqual(self.commands(), [(saga, "reserve", "do", 1)])

    def test_cancelled(self):
        """temporal sdk-java#305: the undo did not run, or saw nothing of what was done. It is the same walk over the same row."""
        self.define()
        self.start_desk()
        saga = self.begin()
        self.walk(saga, "reserve")
        under_way = self.wait_command(saga, "hold")
        self.sql("SELECT boxhaul.saga_cancel(%s, 'thought better of it')", (saga,))
        self.answer(under_way)
        self.walk(saga, "hold", "reserve", direction="undo")
        self.wait_state(saga, "undone")
        self.assertEqual([told[1:3] for told in self.commands(saga)],
                         [("reserve", "do"), ("hold", "do"), ("hold", "undo"), ("reserve", "undo")])

    def test_a_definition_that_changes_meanwhile(self):
        """workflow-core#107, conductor#987: running ones jumped. They end on theirs, undo included."""
        self.define()
        self.start_desk()
        old = self.begin()
        self.walk(old, "reserve")
        self.sql("SELECT boxhaul.saga_define(%s, %s::jsonb)", (NAME, json.dumps(
            [{"name": "charge", "kind": "pivot", "command": "bank.charge", "deadline": HOUR}])))
        new = self.begin()
        self.walk(new, "charge")
        self.wait_state(new, "completed")
        self.answer(self.wait_command(old, "hold"), "refused")
        self.walk(old, "reserve", direction="undo")
        self.wait_state(old, "undone")


class Strangers(SagaTest):
    def test_answers_that_nobody_asked_for(self):
        """MassTransit#702, #4947: error queue, or silence. None stops the others, none moves the saga, each is somewhere to be seen."""
        self.define()
        self.start_desk()
        saga = self.begin()
        command = self.wait_command(saga, "reserve")
        with self.jetstream() as js:
            js.publish(REPLIES, b"no saga wrote this")
            js.publish(REPLIES, b"{}", {"Boxhaul-Saga": "not a uuid", "Boxhaul-Outcome": "done"})
        for wrong in ({"Boxhaul-Step": "ship"}, {"Boxhaul-Step": "nothing of ours"}, {"Boxhaul-Dir": "undo"}, {"Boxhaul-Dir": "sideways"},
                      {"Boxhaul-Outcome": "perhaps"}, {"Boxhaul-Attempt": "7"}, {"Boxhaul-Attempt": "many"}):
            other = self.begin()
            self.answer(self.wait_command(other, "reserve"), **wrong)
        self.answer(command)
        self.answer(command)
        self.walk(saga, "hold", "charge", "ship")
        self.wait_state(saga, "completed")

    def test_an_answer_for_a_saga_that_was_never_started(self):
        """Its start was lost in a failover: kept and shown, never ignored."""
        self.define()
        self.start_desk()
        saga = self.begin()
        command = self.wait_command(saga, "reserve")
        stranger = str(uuid.uuid4())
        self.answer(command, **{"Boxhaul-Saga": stranger, "Boxhaul-Key": stranger})
        self.wait(lambda: self.sql("SELECT stuck FROM boxhaul.sagas WHERE id = %s", (stranger,)) == [("orphan",)], "the orphan to be shown")
        self.walk(saga, "reserve", "hold", "charge", "ship")
        self.wait_state(saga, "completed")


if __name__ == "__main__":
    unittest.main(verbosity=2)
