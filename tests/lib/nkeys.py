"""nkeys and JWTs of NATS, made by hand: what nsc and nk do, which Debian does not have.

    operator, account, user = Key("operator"), Key("account"), Key("user")
    jwt = user_jwt(user, account)
    credentials(jwt, user)      # the text of a .creds file
"""

import base64
import binascii
import json
import secrets
import time

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

SEED = 18 << 3
KINDS = {"operator": 14 << 3, "account": 0, "user": 20 << 3}
UNLIMITED = {"subs": -1, "data": -1, "payload": -1}


def _text(raw):
    return base64.b32encode(raw + binascii.crc_hqx(raw, 0).to_bytes(2, "little")).decode().rstrip("=")


def _url64(raw):
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


class Key:
    def __init__(self, kind):
        prefix, secret = KINDS[kind], secrets.token_bytes(32)
        self._private = Ed25519PrivateKey.from_private_bytes(secret)
        self.seed = _text(bytes([SEED | prefix >> 5, (prefix & 31) << 3]) + secret)
        self.public = _text(bytes([prefix]) + self._private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))

    def sign(self, text):
        return self._private.sign(text.encode())

    def login(self, nonce):
        """What a client says in its CONNECT."""
        return {"nkey": self.public, "sig": _url64(self.sign(nonce))}


def _jwt(issuer, subject, claims, expires=None):
    body = {"jti": secrets.token_hex(8), "iat": int(time.time()), "iss": issuer.public, "sub": subject.public,
            "name": "test", "nats": {"version": 2, **claims}, **({"exp": int(expires)} if expires else {})}
    text = ".".join(_url64(json.dumps(part).encode()) for part in ({"typ": "JWT", "alg": "ed25519-nkey"}, body))
    return f"{text}.{_url64(issuer.sign(text))}"


def operator_jwt(operator, system):
    return _jwt(operator, operator, {"type": "operator", "system_account": system.public})


def account_jwt(operator, account, revoked=(), jetstream=True):
    storage = -1 if jetstream else 0
    limits = {**UNLIMITED, "imports": -1, "exports": -1, "wildcards": True, "conn": -1, "leaf": -1, "mem_storage": storage,
              "disk_storage": storage, "streams": -1, "consumer": -1}
    return _jwt(operator, account, {"type": "account", "limits": limits, "default_permissions": {"pub": {}, "sub": {}},
                                    "revocations": {user.public: int(time.time()) + 60 for user in revoked}})


def user_jwt(user, account, expires=None):
    return _jwt(account, user, {"type": "user", "pub": {}, "sub": {}, **UNLIMITED}, expires)


def credentials(jwt, user):
    return (f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{user.seed}\n------END USER NKEY SEED------\n")
