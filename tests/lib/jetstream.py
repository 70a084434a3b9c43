"""JetStream over our small client: the stream API, and a reader that returns a stream as it is stored."""

import json
import time
from typing import NamedTuple

from nats_client import NatsError, new_inbox

SECOND = 1_000_000_000  # the API counts in nanoseconds
ELECTION = 5  # seconds; a patient caller asks again then
NO_PEERS = 10005  # an err_code
BATCH, BATCH_BYTES = 4096, 16 << 20  # one pull: many small messages, or some large ones


class JetStreamError(NatsError):
    """An error reply of the JetStream API."""

    def __init__(self, error):
        super().__init__(f"{error.get('description', 'no description')} ({error.get('err_code', error.get('code'))})")
        self.code, self.err_code = error.get("code"), error.get("err_code")


class Stored(NamedTuple):
    """One message as a stream holds it. headers maps each name to the list of its values."""
    seq: int
    subject: str
    headers: dict
    payload: bytes
    time: float = 0.0  # when it was stored, by the server's clock

    @property
    def msg_id(self):
        return self.headers.get("Nats-Msg-Id", [None])[0]


class JetStream:
    """The stream API on a nats.Client. A cluster without a leader answers that it is not available, or nothing; one whose servers do not
    all know each other yet, that it has not enough of them: with patience (seconds) it is asked again."""

    def __init__(self, client, patience=0):
        self.client, self.patience = client, patience

    def call(self, name, request=None):
        body, end = json.dumps(request).encode() if request is not None else b"", time.monotonic() + self.patience
        while True:
            try:
                return self._checked(self.client.request("$JS.API." + name, body, deadline=ELECTION if self.patience else None))
            except (JetStreamError, TimeoutError) as e:
                if time.monotonic() > end or (getattr(e, "code", 503) != 503 and e.err_code != NO_PEERS):
                    raise
            time.sleep(0.2)

    def create(self, stream, subjects, **config):
        return self.call(f"STREAM.CREATE.{stream}", {"name": stream, "subjects": subjects, **config})

    def update(self, stream, **changes):
        config = {**self.info(stream)["config"], **changes}
        return self.call(f"STREAM.UPDATE.{stream}", config)

    def info(self, stream):
        return self.call(f"STREAM.INFO.{stream}")

    def names(self):
        return self.call("STREAM.NAMES").get("streams") or []

    def purge(self, stream, subject=None):
        return self.call(f"STREAM.PURGE.{stream}", {"filter": subject} if subject else None)

    def delete(self, stream):
        return self.call(f"STREAM.DELETE.{stream}")

    def delete_message(self, stream, seq):
        return self.call(f"STREAM.MSG.DELETE.{stream}", {"seq": seq})

    def count(self, stream):
        """Messages in the stream; 0 where there is no such stream (yet)."""
        try:
            return self.info(stream)["state"]["messages"]
        except JetStreamError as e:
            if e.code != 404:
                raise
            return 0

    def step_down(self, stream):
        """The stream's leader gives up the lead (clusters only)."""
        return self.call(f"STREAM.LEADER.STEPDOWN.{stream}")

    def snapshot(self, stream):
        """The stream as restore() takes it: (what it was, its pieces)."""
        inbox = new_inbox()
        sid = self.client.subscribe(inbox)
        what = self.call(f"STREAM.SNAPSHOT.{stream}", {"deliver_subject": inbox, "no_consumers": True})
        pieces = []
        while (message := self.client.next(sid)).payload:
            pieces.append(message.payload)
            if message.reply:  # the server waits for it before it sends more
                self.client.publish(message.reply)
        self.client.unsubscribe(sid)
        if message.status and message.status != "204":
            raise NatsError(f"the snapshot of {stream} broke off: {message.status}")
        return {"config": what["config"], "state": what["state"]}, pieces

    def restore(self, stream, what, pieces):
        """Make a stream that is gone anew from its snapshot: same messages, same sequences."""
        subject = self.call(f"STREAM.RESTORE.{stream}", what)["deliver_subject"]
        for piece in pieces:
            answer = self.client.request(subject, piece)
            if answer.payload:
                self._checked(answer)
        return self._checked(self.client.request(subject, b""))

    def publish(self, subject, payload=b"", headers=None):
        """Store one message; returns the PubAck."""
        return self._checked(self.client.request(subject, payload, headers))

    def read(self, stream, subject=None):
        """Every message of the stream, or those of a subject, in order. Fails unless it is as many as the stream says
        it holds."""
        state = self.info(stream)["state"]
        expected = 0 if subject else state["messages"]
        count, last = 0, 0
        for message in self._pull_all(stream, subject, state["last_seq"]):
            if message.seq <= last:
                raise NatsError(f"the reader got message {message.seq} of {stream} after {last}")
            count, last = count + 1, message.seq
            yield message
        if count < expected:
            raise NatsError(f"the reader got {count} messages of {stream}, which holds {expected}")

    @staticmethod
    def _checked(message):
        answer = json.loads(message.payload)
        if "error" in answer:
            raise JetStreamError(answer["error"])
        return answer

    def _pull_all(self, stream, subject, newest):
        """Up to the sequence `newest` at least. (What is pending, nats-server 2.9 counts too high where messages are replaced by newer ones.)"""
        consumer = self.call(f"CONSUMER.CREATE.{stream}", {"stream_name": stream, "config": {
            "ack_policy": "none", "deliver_policy": "all", "inactive_threshold": 60 * SECOND, "mem_storage": True,
            **({"filter_subject": subject} if subject else {})}})
        pending, fruitless = consumer["num_pending"], 0
        while pending:
            before = pending
            for pending, message in self._pull(stream, consumer["name"], newest):
                yield message
            fruitless = fruitless + 1 if pending == before else 0
            if fruitless == 10:
                raise NatsError(f"{pending} messages of {stream} do not come")
        self.call(f"CONSUMER.DELETE.{stream}.{consumer['name']}")

    def _pull(self, stream, consumer, newest):
        """One batch of (messages still to come, message); a status message may end it early."""
        inbox = f"_INBOX.{consumer}.{self.client.info['client_id']}"
        sid = self.client.subscribe(inbox)
        self.client.publish(f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}", json.dumps(
            {"batch": BATCH, "max_bytes": BATCH_BYTES, "expires": 10 * SECOND}).encode(), reply=inbox)
        for _ in range(BATCH):
            message = self.client.next(sid)
            if message.status:
                break
            seq, pending, nanoseconds = _position(message.reply)
            if seq >= newest:
                pending = 0
            yield pending, Stored(seq, message.subject, message.headers, message.payload, nanoseconds / SECOND)
            if not pending:
                break
        self.client.unsubscribe(sid)


def _position(reply):
    """(stream sequence, messages still to come, time stored) out of the subject that an ack would go to:
    $JS.ACK.stream.consumer.deliveries.seq.consumer-seq.time.pending, or the same with domain and account
    before the stream, and one more word behind."""
    words = reply.split(".")
    shift = 0 if len(words) == 9 else 2
    return int(words[5 + shift]), int(words[8 + shift]), int(words[7 + shift])
