"""A small NATS client on the standard library's sockets.

It shares no code with the library the relay publishes with, on purpose: a mistake there cannot hide here.
One thread, blocking; every wait has a deadline."""

import base64
import collections
import json
import os
import socket
import ssl
import time
from typing import NamedTuple, Optional
from urllib.parse import unquote, urlsplit

CHUNK = 1 << 18


class NatsError(Exception):
    """What the server said, or what went wrong with the connection."""


class Message(NamedTuple):
    """One message as it came. headers maps each name to the list of its values; status is that of a status
    message ("404", ...), else ""."""
    subject: str
    sid: bytes
    reply: Optional[str]
    headers: dict
    status: str
    payload: bytes


def parse_headers(block):
    """The header block of an HMSG -> (headers, status)."""
    first, *lines = block.decode("utf-8", "surrogateescape").rstrip("\r\n").split("\r\n")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers.setdefault(name, []).append(value.strip(" "))
    return headers, first[8:].strip()[:3]


def format_headers(headers):
    lines = [f"{name}: {value}" for name, values in headers.items()
             for value in ([values] if isinstance(values, str) else values)]
    return "\r\n".join(["NATS/1.0", *lines, "", ""]).encode()


class Client:
    """A connection. url: nats://[user:password@|token@]host[:port], or tls://... certificate is the client's, as
    (cert_file, key_file); login(nonce) says what else belongs into its CONNECT.

        with Client(url) as nats:
            nats.publish("a.b", b"payload", {"Name": "value"})
    """

    def __init__(self, url, deadline=30, ca_file=None, certificate=None, login=None):
        self.url = urlsplit(url if "//" in url else "nats://" + url)
        self.deadline = deadline
        self._data, self._at = b"", 0
        self._last_sid = 0
        self._waiting = collections.defaultdict(collections.deque)  # sid -> messages read while looking for others
        self._socket = socket.create_connection((self.url.hostname, self.url.port or 4222), deadline)
        try:
            self._greet(ca_file, certificate, login)
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def close(self):
        self._socket.close()

    def publish(self, subject, payload=b"", headers=None, reply=None):
        words = [subject] + ([reply] if reply else [])
        if headers:
            block = format_headers(headers)
            head = f"HPUB {' '.join(words)} {len(block)} {len(block) + len(payload)}"
            payload = block + payload
        else:
            head = f"PUB {' '.join(words)} {len(payload)}"
        self._send(head.encode() + b"\r\n" + payload + b"\r\n")

    def subscribe(self, subject):
        """Returns the sid that next() takes."""
        self._last_sid += 1
        self._send(f"SUB {subject} {self._last_sid}\r\n".encode())
        return str(self._last_sid).encode()

    def unsubscribe(self, sid):
        self._send(b"UNSUB " + sid + b"\r\n")
        self._waiting.pop(sid, None)

    def next(self, sid, deadline=None):
        """The subscription's next message; TimeoutError when none comes in time."""
        waiting = self._waiting[sid]
        if waiting:
            return waiting.popleft()
        end = time.monotonic() + (self.deadline if deadline is None else deadline)
        while True:
            message = self._next_of_any(end)
            if message.sid == sid:
                return message
            self._waiting[message.sid].append(message)

    def request(self, subject, payload=b"", headers=None, deadline=None):
        inbox = new_inbox()
        sid = self.subscribe(inbox)
        try:
            self.publish(subject, payload, headers, reply=inbox)
            answer = self.next(sid, deadline)
        finally:
            self.unsubscribe(sid)
        if answer.status == "503":
            raise NatsError(f"nobody answers on {subject}")
        return answer

    def flush(self):
        """Returns once the server has seen all we sent."""
        sid = self.subscribe(inbox := new_inbox())
        self.publish(inbox)
        self.next(sid)
        self.unsubscribe(sid)

    def arrived(self, sid):
        """The subscription's messages so far, which next() has not returned: all that the server knew of before this."""
        self.flush()
        messages = list(self._waiting[sid])
        self._waiting[sid].clear()
        return messages

    # -- the protocol

    def _greet(self, ca_file, certificate, login):
        end = time.monotonic() + self.deadline
        verb, _, info = self._line(end).partition(b" ")
        if verb != b"INFO":
            raise NatsError(f"not a NATS server: it said {verb[:80]!r}")
        self.info = json.loads(info)
        if self.info.get("tls_required") or self.url.scheme == "tls":
            context = ssl.create_default_context(cafile=ca_file)
            if certificate:
                context.load_cert_chain(*certificate)
            self._socket = context.wrap_socket(self._socket, server_hostname=self.url.hostname)
        more = login(self.info["nonce"]) if login else {}
        self._send(b"CONNECT " + json.dumps({**self._login(), **more}).encode() + b"\r\nPING\r\n")
        while (line := self._line(end)) != b"PONG":
            self._complain(line)

    def _login(self):
        login = {"verbose": False, "pedantic": False, "lang": "python-stdlib", "version": "1", "protocol": 1,
                 "headers": True, "no_responders": True}
        if self.url.password is not None:
            login.update({"user": unquote(self.url.username), "pass": unquote(self.url.password)})
        elif self.url.username:
            login["auth_token"] = unquote(self.url.username)
        return login

    def _next_of_any(self, end):
        while True:
            line = self._line(end)
            words = line.split(b" ")
            if words[0] == b"MSG":
                return self._message(words, end)
            if words[0] == b"HMSG":
                return self._message_with_headers(words, end)
            if words[0] == b"PING":
                self._send(b"PONG\r\n")
            else:
                self._complain(line)

    def _message(self, words, end):
        """MSG subject sid [reply] size"""
        reply = words[3].decode() if len(words) == 5 else None
        payload = self._exactly(int(words[-1]), end)
        return Message(words[1].decode(errors="replace"), words[2], reply, {}, "", payload)

    def _message_with_headers(self, words, end):
        """HMSG subject sid [reply] size-of-headers size-of-all"""
        reply = words[3].decode() if len(words) == 6 else None
        size = int(words[-2])
        body = self._exactly(int(words[-1]), end)
        headers, status = parse_headers(body[:size])
        return Message(words[1].decode(errors="replace"), words[2], reply, headers, status, body[size:])

    @staticmethod
    def _complain(line):
        if line.startswith(b"-ERR"):
            raise NatsError(line[5:].decode(errors="replace").strip("'"))

    def _line(self, end):
        while (stop := self._data.find(b"\r\n", self._at)) < 0:
            self._receive(end)
        line = self._data[self._at:stop]
        self._at = stop + 2
        return line

    def _exactly(self, size, end):
        """size bytes and the line end behind them, which is dropped."""
        while len(self._data) - self._at < size + 2:
            self._receive(end)
        body = self._data[self._at:self._at + size]
        self._at += size + 2
        return body

    def _receive(self, end):
        self._socket.settimeout(max(0.001, end - time.monotonic()))
        chunk = self._socket.recv(CHUNK)
        if not chunk:
            raise NatsError("the server closed the connection")
        self._data, self._at = self._data[self._at:] + chunk, 0

    def _send(self, data):
        self._socket.settimeout(self.deadline)
        self._socket.sendall(data)


def new_inbox():
    return "_INBOX." + base64.b32encode(os.urandom(15)).decode()
