"""Throw-away certificates, made with openssl.

    authority = Authority(w.path("ca"))
    server = authority.issue("server")                  # for localhost and 127.0.0.1
    late = authority.issue("late", days=0)             # expired
    client = authority.issue("shop_relay", names=())    # its common name is what counts
"""

import os
import subprocess
import time
from typing import NamedTuple

HERE = ("DNS:localhost", "IP:127.0.0.1")


class Certificate(NamedTuple):
    cert_file: str
    key_file: str
    ca_file: str  # of whoever issued it

    def tls(self, **more):
        """The `tls` block of a nats-server that shows it."""
        return {"cert_file": self.cert_file, "key_file": self.key_file, **more}


class Authority:
    def __init__(self, directory):
        self.directory = directory
        os.makedirs(directory, exist_ok=True)
        self.ca_file = self._path("ca.pem")
        self._openssl("req", "-x509", "-days", "30", *self._new_key("ca"), "-subj", f"/CN=authority {os.path.basename(directory)}",
                      "-addext", "keyUsage=critical,keyCertSign", "-out", self.ca_file)

    def issue(self, name, days=30, names=HERE):
        """A certificate of that common name; expired a second later if days are 0."""
        extensions = self._path(f"{name}.names")
        with open(extensions, "w", encoding="ascii") as f:
            f.write("subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n")
            f.write(f"subjectAltName={','.join(names)}\n" if names else "")
        self._openssl("req", *self._new_key(name), "-subj", f"/CN={name}", "-out", self._path(f"{name}.csr"))
        self._openssl("x509", "-req", "-days", str(days), "-in", self._path(f"{name}.csr"), "-CA", self.ca_file,
                      "-CAkey", self._path("ca.key"), "-set_serial", str(time.time_ns()), "-extfile", extensions,
                      "-out", self._path(f"{name}.pem"))
        return Certificate(self._path(f"{name}.pem"), self._path(f"{name}.key"), self.ca_file)

    def _path(self, file):
        return os.path.join(self.directory, file)

    def _new_key(self, name):
        return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", self._path(f"{name}.key")]

    @staticmethod
    def _openssl(*words):
        subprocess.run(["openssl", *words], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
