"""Fast ingest (batch publishing, nats-server 2.14 and newer) by hand: what a batch is told and what it is answered, and nothing of how
to use it well. The batch's number, the message's number and what to do with it stand in the reply subject; gap mode is always `fail`."""

import contextlib
import json
import os
from typing import NamedTuple, Optional

from nats_client import new_inbox

BEGIN, GOES_ON, ENDS, END_ONLY, PING = range(5)  # what a message is to its batch
IN_PROCESS = 10158  # err_code: the same id is proposed, and not yet stored


class Answer(NamedTuple):
    """kind: ack (stored up to `number`), gap, error (of message `number`), end (a PubAck: `number` messages are in), refused (before
    the batch was looked at), silent (503: nobody listens)."""
    kind: str
    number: int = 0
    err_code: Optional[int] = None


def parse(message):
    if message.status == "503":
        return Answer("silent")
    body = json.loads(message.payload)
    kind, code = body.get("type"), (body.get("error") or {}).get("err_code")
    if kind == "ack":
        return Answer("ack", body["seq"])
    if kind == "gap":
        return Answer("gap", body["last_seq"])
    if kind == "err":
        return Answer("error", body["seq"], code)
    return Answer("refused", 0, code) if code else Answer("end", body["count"])


class Batch:
    """One batch over one connection. stored: as many of it are acknowledged, by what was taken."""

    def __init__(self, client, flow=10):
        self.client, self.flow, self.sent, self.stored, self.ended = client, flow, 0, 0, False
        self.name, self.inbox, self.answers = os.urandom(8).hex(), new_inbox(), []
        self._sid = client.subscribe(self.inbox + ".>")

    def send(self, subject, payload, message_id, last=False):
        self.sent += 1
        op = ENDS if last else BEGIN if self.sent == 1 else GOES_ON
        self.client.publish(subject, payload, {"Nats-Msg-Id": message_id}, reply=self._reply(self.sent, op))

    def ping(self, subject):
        """Is answered behind all that was sent, and confirms none of it."""
        self.client.publish(subject, reply=self._reply(self.sent, PING))

    def take(self, deadline):
        """The next answer; None when none comes within so many seconds."""
        with contextlib.suppress(TimeoutError):
            answer = parse(self.client.next(self._sid, deadline))
            self.answers.append(answer)
            if answer.kind in ("ack", "end"):
                self.stored = max(self.stored, answer.number)
            self.ended |= answer.kind == "end"
            return answer
        return None

    def wait_ended(self, deadline):
        """Until the PubAck is there, or nothing has come for so long. Returns whether it is."""
        while not self.ended and self.take(deadline):
            pass
        return self.ended

    def _reply(self, number, op):
        return f"{self.inbox}.{self.name}.{self.flow}.fail.{number}.{op}.$FI"
