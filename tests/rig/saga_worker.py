"""A worker of the bank in tests/chaos --saga: a participant in another language, by the forms with plain arguments. It dies, fails and
rolls back at random as inbox_worker.py does, and is slow, refuses, or leaves a command for a clerk. CONNINFO SUBSCRIPTION SEED."""

import json
import sys
import time

from inbox_worker import Worker

SLOW = 0.01  # share of commands that take longer than their deadline


class SagaWorker(Worker):
    def _handle(self, cursor, row):
        lane, number, _subject, headers, payload = row
        saga, step, amount = headers["Boxhaul-Saga"], headers["Boxhaul-Step"], json.loads(bytes(payload))["amount"]
        cursor.execute("INSERT INTO arrival VALUES (%s, %s, %s, %s, %s)", (saga, step, headers["Boxhaul-Dir"], headers["Boxhaul-Attempt"],
                                                                          headers["Nats-Msg-Id"]))
        cursor.execute("SELECT boxhaul.saga_accept(%s, %s, %s)", (self.subscription, lane, number))
        todo = cursor.fetchone()[0]
        self._may_die()
        roll = self._roll(cursor)
        if todo == "undo" and roll < 0.1:  # wrong of it: an undo must be done in the end
            self._answer(cursor, saga, step, "error" if roll < 0.06 else "refused", {})
        elif todo == "undo":
            self._effect(cursor, saga, step, "undo", amount)
            self._answer(cursor, saga, step, "done", {})
        elif todo == "do":
            self._do(cursor, saga, step, amount, roll)
        self._may_die()
        cursor.execute("SELECT boxhaul.done(%s, %s, %s)", (self.subscription, lane, number))

    def _roll(self, cursor):
        """0 to 1; always 1 where everybody is to be calm."""
        cursor.execute("SELECT calm FROM mood")
        return 1 if cursor.fetchone()[0] else self.dice.random()

    def _do(self, cursor, saga, step, amount, roll):
        if roll < 0.08:
            cursor.execute("INSERT INTO asked VALUES (%s, %s, %s) ON CONFLICT DO NOTHING", (saga, step, amount))  # a clerk answers, some time
        elif roll < 0.15:
            self._answer(cursor, saga, step, "error", {"error": "not today"})
        elif roll < 0.22:
            self._effect(cursor, saga, step, "refuse", amount)
            self._answer(cursor, saga, step, "refused", {"reason": "no"})
        else:
            if roll < 0.22 + SLOW:
                time.sleep(2)
            self._effect(cursor, saga, step, "do", amount)
            self._answer(cursor, saga, step, "done", {step: amount})

    def _effect(self, cursor, saga, step, what, amount):
        cursor.execute("SELECT takes_effect(%s, %s, %s, %s)", (saga, step, what, amount))
        self._may_die()

    @staticmethod
    def _answer(cursor, saga, step, outcome, reply):
        cursor.execute("SELECT boxhaul.saga_answer(%s::uuid, %s, %s, %s::jsonb)", (saga, step, outcome, json.dumps(reply)))


if __name__ == "__main__":
    SagaWorker(sys.argv[1], sys.argv[2], sys.argv[3]).run()
