"""A supervisor, as a service hears of it: sd_notify's protocol, on a socket of our own."""

import contextlib
import socket
import threading

from process import DEADLINE, wait_until


class Supervisor:
    """Somebody who listens on NOTIFY_SOCKET, and keeps what is said: a list of dicts, one for each datagram."""

    def __init__(self, path, abstract=False):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(b"\0" + path.encode() if abstract else path)
        self.env = {"NOTIFY_SOCKET": ("@" if abstract else "") + path}
        self.said = []
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self):
        while data := self.socket.recv(65536):
            self.said.append(dict(line.split("=", 1) for line in data.decode().splitlines()))

    def all(self, name):
        return [words[name] for words in list(self.said) if name in words]

    def states(self):
        """READY, RELOADING, STOPPING in their order."""
        return [name for words in list(self.said) for name in words if name in ("READY", "RELOADING", "STOPPING")]

    def line(self):
        return (self.all("STATUS") or [""])[-1]

    def catch_up(self, deadline=DEADLINE):
        """Until all that was said before is kept."""
        before = len(self.all("CAUGHT_UP"))
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.sendto(b"CAUGHT_UP=1", self.socket.getsockname())
        wait_until(lambda: len(self.all("CAUGHT_UP")) > before, "the supervisor to catch up", deadline)

    def close(self):
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RD)  # ends the thread's recv
        self._thread.join()
        self.socket.close()
