"""What passed between a relay and a broker, out of the proxy's recordings: which messages were handed over when, and
what the broker answered. It tells a message that no relay ever sent from one that the broker acknowledged and
lost."""

import json
import os
from typing import NamedTuple, Optional

from proxy import RECORD
from shop import unseal


class Frame(NamedTuple):
    """A message in the protocol: when its last byte passed."""
    time: float
    subject: str
    reply: str
    payload: bytes


class Ack(NamedTuple):
    """The broker's word that it stored a message. seq: None of one in a batch, which is acknowledged by its number there."""
    time: float
    seq: Optional[int]
    duplicate: bool


def halves(path):
    """Both directions of a recording, each as (bytes, [(end of piece, time)])."""
    found = {b">": (bytearray(), []), b"<": (bytearray(), [])}
    with open(path, "rb") as f:
        while len(head := f.read(RECORD.size)) == RECORD.size:
            when, arrow, size = RECORD.unpack(head)
            data, times = found[arrow]
            data += f.read(size)
            times.append((len(data), when))
    return found[b">"], found[b"<"]


def frames(half):
    """The PUB, HPUB, MSG and HMSG frames of one direction; what is cut off at the end is left out."""
    data, times = half
    at, piece = 0, 0
    while (stop := data.find(b"\r\n", at)) >= 0:
        words = data[at:stop].decode(errors="replace").split(" ")
        at, verb = stop + 2, words[0]
        if verb not in ("PUB", "HPUB", "MSG", "HMSG"):
            continue
        size = int(words[-1])
        if at + size + 2 > len(data):
            return
        body, at = bytes(data[at:at + size]), at + size + 2
        while times[piece][0] < at:
            piece += 1
        yield _frame(times[piece][1], verb, words, body)


def _frame(when, verb, words, body):
    names = words[1:-2] if verb.startswith("H") else words[1:-1]
    if verb.endswith("MSG"):
        del names[1]  # the subscription's number
    head = int(words[-2]) if verb.startswith("H") else 0
    return Frame(when, names[0], names[1] if len(names) > 1 else None, body[head:])


def acknowledged(directory, stream):
    """{message: [Ack, ...]} for the shop's messages that any relay sent, over all recordings of a directory. A message
    that was sent and never acknowledged has an empty list."""
    acks = {}
    for name in sorted(os.listdir(directory)):
        sent, answers = halves(os.path.join(directory, name))
        asked, batches = {}, {}
        for frame in frames(sent):
            body = unseal(frame.payload)
            if body:
                acks.setdefault(body["message"], [])
                batch, number = _place(frame.reply)
                if batch:
                    batches.setdefault(batch, {})[number] = body["message"]
                else:
                    asked[frame.reply] = body["message"]
        for frame in frames(answers):
            batch, _number = _place(frame.subject)
            if batch in batches:
                _stored(acks, batches[batch], frame)
                continue
            ack = frame.subject in asked and _ack(frame, stream)
            if ack:
                acks[asked[frame.subject]].append(ack)
    return acks


def _place(subject):
    """(batch, number in it) of a message that is sent in one, by its reply subject: PREFIX.BATCH.FLOW.fail.NUMBER.OPERATION.$FI"""
    words = (subject or "").split(".")
    return (words[-6], int(words[-3])) if len(words) > 6 and words[-1] == "$FI" else (None, None)


def _stored(acks, batch, frame):
    """A flow acknowledgement, or the PubAck of the end: all up to a number are stored. Each counts once."""
    try:
        answer = json.loads(frame.payload)
    except ValueError:
        return
    upto = answer.get("seq", 0) if answer.get("type") == "ack" else answer.get("count", 0) if "error" not in answer else 0
    for number in [number for number in batch if number <= upto]:
        acks[batch.pop(number)].append(Ack(frame.time, None, False))


def _ack(frame, stream):
    try:
        answer = json.loads(frame.payload)
    except ValueError:
        return None
    if "error" in answer or answer.get("stream") != stream or not answer.get("seq"):
        return None
    return Ack(frame.time, answer["seq"], bool(answer.get("duplicate")))
