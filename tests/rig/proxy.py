#!/usr/bin/python3 -B
"""A TCP proxy with bad days: every connection between two processes of a chaos run goes through a link of it.

    proxy.py CONTROL-SOCKET     a process of its own, one thread; Network (network.py) is its client

A link is a port of ours that leads to one port of theirs, and is in one mode:

    pass       forward
    delay      forward, but each piece later
    stall      nothing moves and nothing is lost: packets dropped for a while. It goes on where it stood.
    half-open  what is sent vanishes, what ends is not told, new connections are swallowed; torn when it heals
    mute       connections are torn, new ones are accepted and never answered; torn when it heals
    cut        connections are torn (RST), new ones too

Commands are JSON lines: {"add": name, "port": p, "target": q, "record": directory or null},
{"set": name, "mode": m, "seconds": delay}, {"reset": name} (tear what is there). Each is answered by a line
with the link's connections so far."""

import collections
import contextlib
import json
import os
import selectors
import socket
import struct
import sys
import time

PIECE = 1 << 16
ROOM = 1 << 18  # of one direction of a connection; then its sender waits
MODES = ("pass", "delay", "stall", "half-open", "mute", "cut")
RECORD = struct.Struct("<dcI")  # when, direction (> to the target, < back), bytes that follow


def tear(sock):
    """Close with a RST: what was on its way is gone."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class Half:
    """One direction of a connection: bytes read from source that sink has yet to take, each piece with its time."""

    def __init__(self, source, sink, arrow):
        self.source, self.sink, self.arrow = source, sink, arrow
        self.pieces, self.size, self.ended = collections.deque(), 0, False

    def put(self, piece, due):
        self.pieces.append((due, memoryview(piece)))
        self.size += len(piece)

    def due(self):
        return self.pieces[0][0] if self.pieces else None

    def flush(self, now):
        """Send what is due; the rest stays. OSError when the sink is gone."""
        while self.pieces and self.pieces[0][0] <= now:
            due, piece = self.pieces[0]
            try:
                sent = self.sink.send(piece)
            except BlockingIOError:
                return
            self.size -= sent
            if sent < len(piece):
                self.pieces[0] = (due, piece[sent:])
                return
            self.pieces.popleft()


class Connection:
    """near is the socket we accepted, far the one we opened (None where it is swallowed)."""

    def __init__(self, link, near, far, log):
        self.link, self.near, self.far, self.log = link, near, far, log
        self.connecting = far is not None
        self.doomed = far is None  # bytes of it are lost: it cannot go on after the healing
        self.halves = [Half(near, far, b">"), Half(far, near, b"<")] if far else []

    def sockets(self):
        return [s for s in (self.near, self.far) if s]

    def record(self, arrow, piece, now):
        if self.log:
            self.log.write(RECORD.pack(now, arrow, len(piece)) + piece)

    def close(self, how=tear):
        for s in self.sockets():
            how(s)
        if self.log:
            self.log.close()
            self.log = None


class Link:
    def __init__(self, name, port, target, record):
        self.name, self.target, self.directory = name, target, record
        self.mode, self.seconds, self.accepted = "pass", 0.0, 0
        self.connections = set()
        self.listener = socket.create_server(("127.0.0.1", port), backlog=64)
        self.listener.setblocking(False)

    def open_log(self):
        if not self.directory:
            return None
        return open(os.path.join(self.directory, f"{self.name}.{self.accepted}"), "wb", buffering=0)


class Proxy:
    def __init__(self, control):
        self.selector = selectors.DefaultSelector()
        self.links, self.waiting = {}, b""
        self.busy = set()  # connections with something to send, or to end
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(control)
        self.server.listen(1)

    def run(self):
        """Until the control connection ends."""
        self.control, _ = self.server.accept()
        self.selector.register(self.control, selectors.EVENT_READ, self._commands)
        while self.control:
            for key, events in self.selector.select(self._pause()):
                if key.fileobj.fileno() >= 0:  # not closed earlier in this round
                    key.data(events)
            self._flush_all(time.time())

    # -- commands

    def _commands(self, _events):
        data = self.control.recv(PIECE)
        if not data:
            self.control = None
            return
        *lines, self.waiting = (self.waiting + data).split(b"\n")
        for line in lines:
            link = self._obey(json.loads(line))
            self.control.sendall(json.dumps({"link": link.name, "accepted": link.accepted}).encode() + b"\n")

    def _obey(self, command):
        if "add" in command:
            link = Link(command["add"], command["port"], command["target"], command["record"])
            self.links[link.name] = link
            self.selector.register(link.listener, selectors.EVENT_READ, lambda _events: self._accept(link))
            return link
        link = self.links[command.get("set") or command["reset"]]
        if "set" in command:
            self._set(link, command["mode"], command["seconds"])
        else:
            self._tear_all(link)
        return link

    def _set(self, link, mode, seconds):
        assert mode in MODES
        link.mode, link.seconds = mode, seconds
        for connection in list(link.connections):
            if connection.doomed or mode in ("cut", "mute"):
                self._close(connection)
            elif mode == "half-open":
                connection.doomed = True
        for connection in link.connections:
            self._watch(connection)
        self._want_listener(link)

    def _tear_all(self, link):
        for connection in list(link.connections):
            self._close(connection)

    # -- connections

    def _accept(self, link):
        if link.mode == "stall":  # the kernel answers, we do not; asked again when it is over
            self.selector.unregister(link.listener)
            return
        try:
            near, _ = link.listener.accept()
        except OSError:
            return
        if link.mode == "cut":
            tear(near)
            return
        link.accepted += 1
        near.setblocking(False)
        near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        far = None if link.mode in ("half-open", "mute") else self._connect(link)
        connection = Connection(link, near, far, link.open_log() if far else None)
        link.connections.add(connection)
        self._watch(connection)

    @staticmethod
    def _connect(link):
        far = socket.socket()
        far.setblocking(False)
        far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        far.connect_ex(("127.0.0.1", link.target))
        return far

    def _watch(self, connection):
        """Say to the selector what each socket of a connection waits for now."""
        for s in connection.sockets():
            self._want(s, self._events(connection, s), connection)

    def _events(self, connection, s):
        mode, events = connection.link.mode, 0
        if mode == "stall":
            return 0
        if connection.connecting:
            return selectors.EVENT_WRITE if s is connection.far else 0
        if connection.doomed:
            return selectors.EVENT_READ
        for half in connection.halves:
            if half.source is s and half.size < ROOM and not half.ended:
                events |= selectors.EVENT_READ
            if half.sink is s and half.pieces and half.due() <= time.time():
                events |= selectors.EVENT_WRITE
        return events

    def _want(self, s, events, connection):
        known = self.selector.get_map().get(s.fileno())
        if not events:
            if known:
                self.selector.unregister(s)
        elif not known:
            self.selector.register(s, events, lambda ready: self._ready(connection, s, ready))
        elif known.events != events:
            self.selector.modify(s, events, known.data)

    def _want_listener(self, link):
        if link.mode != "stall" and link.listener.fileno() not in self.selector.get_map():
            self.selector.register(link.listener, selectors.EVENT_READ, lambda _events: self._accept(link))

    def _ready(self, connection, s, events):
        try:
            if connection.connecting:
                self._connected(connection)
            elif events & selectors.EVENT_READ:
                self._read(connection, s)
        except OSError:
            self._close(connection)
            return
        self._watch(connection)

    @staticmethod
    def _connected(connection):
        error = connection.far.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, "not connected")
        connection.connecting = False

    def _read(self, connection, s):
        piece = s.recv(PIECE)
        if connection.doomed:
            if not piece:  # told to nobody
                self._want(s, 0, connection)
                connection.near, connection.far = (None if x is s else x for x in (connection.near, connection.far))
                s.close()
            return
        half = next(half for half in connection.halves if half.source is s)
        self.busy.add(connection)
        if not piece:
            half.ended = True
            return
        now = time.time()
        connection.record(half.arrow, piece, now)
        half.put(piece, now + (connection.link.seconds if connection.link.mode == "delay" else 0))

    def _flush_all(self, now):
        for connection in list(self.busy):
            if connection.link.mode not in ("stall", "cut") and not connection.connecting:
                self._flush(connection, now)

    def _flush(self, connection, now):
        if connection.doomed:
            self.busy.discard(connection)
            return
        try:
            for half in connection.halves:
                half.flush(now)
        except OSError:
            self._close(connection)
            return
        if any(half.ended and not half.pieces for half in connection.halves):
            self._close(connection, socket.socket.close)
            return
        if not any(half.pieces for half in connection.halves):
            self.busy.discard(connection)
        self._watch(connection)

    def _close(self, connection, how=tear):
        for s in connection.sockets():
            self._want(s, 0, connection)
        connection.close(how)
        connection.link.connections.discard(connection)
        self.busy.discard(connection)

    def _pause(self):
        """Until the next delayed piece is due. Pieces that are due already wait for a socket, not for the clock."""
        now = time.time()
        later = [half.due() for connection in self.busy if connection.link.mode not in ("stall", "cut")
                 for half in connection.halves if half.pieces and half.due() > now]
        return max(0.0, min(later) - now) + 0.001 if later else None


if __name__ == "__main__":
    Proxy(sys.argv[1]).run()
