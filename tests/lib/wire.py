"""A TCP line from a client to a server that a test can disturb: silent, cut, or with something lost on the way."""

import contextlib
import socket
import struct
import threading

CHUNK = 65536


class Connection:
    """One client's connection and its twin to the server."""

    def __init__(self, wire, client, server):
        self.wire, self.ends, self.silent = wire, (client, server), False
        for source, sink, from_client in ((client, server, True), (server, client, False)):
            threading.Thread(target=self._carry, args=(source, sink, from_client), daemon=True).start()

    def cut(self):
        """End it with a reset at both ends."""
        for end in self.ends:
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _carry(self, source, sink, from_client):
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK):
                if not self.silent and (data := self.wire.edit(self, from_client, data)):
                    sink.sendall(data)
            if not self.silent:
                sink.shutdown(socket.SHUT_WR)


class Wire:
    """Takes connections on a port of its own and passes them on to the server's.

    edit(connection, from_client, data) sees every piece of data and returns what is passed on; it may cut the
    connection or make it silent. A silent connection swallows what either end sends, its end included: both believe
    that the other one is there and says nothing, as in a network that drops everything."""

    def __init__(self, server_port, edit=None, port=0):
        self.server_port, self.connections = server_port, []
        self.edit = edit or (lambda connection, from_client, data: data)
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def silence(self):
        """Of the connections there are; new ones work."""
        for connection in self.connections:
            connection.silent = True

    def cut(self):
        while self.connections:
            self.connections.pop().cut()

    def close(self):
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the accepting thread
        self._listener.close()
        self.cut()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", self.server_port))
                except OSError:
                    client.close()
                    continue
                self.connections.append(Connection(self, client, server))
