"""The network of a chaos run: named links through one proxy process, and what is wrong with them."""

import json
import os
import socket
import sys
import threading

from process import Process, free_port, wait_until

HERE = os.path.dirname(os.path.abspath(__file__))


class Network(Process):
    """network.link("relay1-nats2", port) returns the port that leads there. The names of a link's two ends are the two
    sides of a partition: both directions between two servers are two links, cut together."""

    def __init__(self, directory):
        super().__init__("proxy", os.path.join(directory, "proxy.log"))
        self.control = os.path.join(directory, "proxy")
        self.links = {}  # name -> port of ours
        self._lock, self._replies = threading.Lock(), None

    def start(self):
        self.spawn([sys.executable, "-B", os.path.join(HERE, "proxy.py"), self.control])
        self.wait_ready(lambda: os.path.exists(self.control))
        self._socket = socket.socket(socket.AF_UNIX)
        wait_until(self._connect, "the proxy to listen")
        self._replies = self._socket.makefile("r")
        return self

    def link(self, name, target, record=None):
        """record: a directory where all that passes is written down (see wire.py)."""
        port = free_port()
        self._ask({"add": name, "port": port, "target": target, "record": record})
        self.links[name] = port
        return port

    def between(self, one, other):
        """The links between two ends, by the names of the ends."""
        return [name for name in self.links if name in (f"{one}-{other}", f"{other}-{one}")]

    def set(self, names, mode, seconds=0.0):
        for name in names:
            self._ask({"set": name, "mode": mode, "seconds": seconds})

    def reset(self, names):
        for name in names:
            self._ask({"reset": name})

    def heal(self):
        self.set(self.links, "pass")

    def close(self):
        if self._replies:
            self._replies.close()
            self._socket.close()
        self.kill9()

    def _connect(self):
        try:
            self._socket.connect(self.control)
            return True
        except ConnectionRefusedError:
            return False

    def _ask(self, command):
        with self._lock:
            self._socket.sendall(json.dumps(command).encode() + b"\n")
            reply = self._replies.readline()
        if not reply:
            raise self.died()
        return json.loads(reply)
