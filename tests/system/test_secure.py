"""Who the servers are, who we are, and that nobody else learns anything: every way to log in, against servers configured for
it; everything that can be wrong with it, which must be told, tried again slowly, and healed without a restart; and that
nothing is ever sent in plain text where TLS is demanded."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
import time
import unittest

from harness import RELAY, STREAM
from certificates import Authority
from jetstream import JetStream
from nats_client import Client
from nkeys import Key, account_jwt, credentials, operator_jwt, user_jwt
from process import DEADLINE, free_port
from servers import Nats
from test_operation import OperationTest, log_lines
from wire import Wire

DOWN = {"nats": "NATS is not connected", "postgres": "PostgreSQL is not connected"}
NOT_OURS = "SECRETS-OF-OTHERS"


class SecureTest(OperationTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.authority, cls.stranger = Authority(cls.workspace.path("ca")), Authority(cls.workspace.path("stranger"))

    def file(self, name, text, mode=0o600):
        path = self.workspace.path(f"{self.database}-{name}")
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        os.chmod(path, mode)
        return path

    def try_in_vain(self, side, cases, **common):
        """A relay for each case: {name: (settings of that side, what is said)}. All are refused, and say why in the log
        and on the port. They go on trying; returns {name: relay}."""
        relays = {name: self.add_relay(**{**common, side: settings}).start() for name, (settings, _) in cases.items()}
        for name, (_, why) in cases.items():
            with self.subTest(name):
                self.see_refused(relays[name], side, why)
        return relays

    def see_refused(self, relay, side, why):
        self.wait_for_log(relay, level="error", msg=DOWN[side], why=why)

        def told():
            state = self.status(relay)[side]
            self.assertFalse(state["connected"])
            return why in state["why"]
        self.wait(told, f"the status to say {why}")
        self.wait_for_page(relay, "/readyz", 503, DOWN[side], why)
        self.assertNotIn(DOWN[side].replace("not ", ""), [line["msg"] for line in log_lines(relay)])
        self.assertLess(self.tries(relay, side), 10 + self.age(relay), "a try a second is the most, but for the first few")

    @staticmethod
    def age(relay):
        return time.time() - os.path.getmtime(relay.config)

    @staticmethod
    def tries(relay, side):
        return sum(int(line.get("repeated", 1)) for line in log_lines(relay) if line["msg"] == DOWN[side])

    def see_connected(self, relay, side):
        def connected():
            code, page = relay.get("/status")
            return code == 200 and json.loads(page)[side]["connected"]
        self.wait(connected, f"{side} to be connected")

    def assert_secret(self, relay, *secrets):
        with open(relay.log, encoding="utf-8") as f:
            text = f.read() + relay.get("/status")[1] + relay.get("/metrics")[1]
        for secret in secrets:
            self.assertNotIn(secret, text)


class Eavesdropper:
    """In a server's place: says greeting, or whatever answer(received) is, and keeps all it hears."""

    def __init__(self, greeting=b"", answer=lambda data: b""):
        self.heard, self.greeting, self.answer, self.visits = b"", greeting, answer, 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self):
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                with client, contextlib.suppress(OSError):
                    client.settimeout(DEADLINE)
                    client.sendall(self.greeting)
                    while data := client.recv(65536):
                        self.heard += data
                        client.sendall(self.answer(data))
                self.visits += 1


class PlainText(SecureTest):
    """A server that does no TLS where it is demanded hears nothing that matters."""

    INFO = (b'INFO {"server_id":"x","server_name":"x","version":"2.9.10","proto":1,"headers":true,"max_payload":1048576,'
            b'"host":"127.0.0.1","port":4222,"client_id":1}\r\n')
    SSL_REQUEST = bytes([0, 0, 0, 8, 4, 210, 22, 47])

    def eavesdropper(self, *words):
        listener = Eavesdropper(*words)
        self.addCleanup(listener.close)
        return listener

    def test_nats(self):
        token = self.file("token", NOT_OURS)
        demands = {"tls in the URL": ({"urls": ["tls://127.0.0.1:{}"]}, {}),
                   "tls in one of the URLs": ({"urls": ["nats://127.0.0.1:{}", f"tls://127.0.0.1:{free_port()}"]}, {}),
                   "tls.required": ({"urls": ["nats://127.0.0.1:{}"]}, {"required": True}),
                   "an authority": ({"urls": ["nats://127.0.0.1:{}"]}, {"ca_file": self.authority.ca_file})}
        listeners = {name: self.eavesdropper(self.INFO) for name in demands}
        relays = {name: self.add_relay(nats={
            **nats, "urls": [url.format(listeners[name].port) for url in nats["urls"]], "token_file": token,
            "tls": tls}).start() for name, (nats, tls) in demands.items()}
        for name, relay in relays.items():
            with self.subTest(name):
                # Of two servers the last that was tried says why, and that may be either; the log tells it once in a while only.
                self.wait_for_log(relay, level="error", msg=DOWN["nats"])
                self.wait_for_page(relay, "/readyz", 503, DOWN["nats"], "the server does no TLS")
                self.wait(lambda name=name: listeners[name].visits > 2, "it to be tried again")
                self.assertEqual(listeners[name].heard, b"")

    def test_a_server_that_stops_in_the_handshake(self):
        """Not plain text, but no better: nobody waits for it for ever."""
        listener = self.eavesdropper(self.INFO.replace(b"{", b'{"tls_required":true,', 1))
        relay = self.add_relay(nats={"urls": [f"tls://127.0.0.1:{listener.port}"]}).start()
        self.wait_for_log(relay, level="error", msg=DOWN["nats"], why="it stopped in the middle of the login")
        self.wait(lambda: listener.visits > 0 and listener.heard.count(b"\x16\x03\x01") > 1, "it to be tried again")
        relay.stop()
        self.assertIn("FAIL  nats: the server did not let us in for 8 s", relay.command("check").stdout)

    def test_postgres(self):
        listener = self.eavesdropper(b"", lambda data: b"N")
        password = self.file("pgpass", f"*:*:*:*:{NOT_OURS}\n")
        relay = self.add_relay(postgres={
            "conninfo": f"host=127.0.0.1 port={listener.port} user={RELAY} dbname={self.database} sslmode=verify-full "
                        f"sslrootcert={self.authority.ca_file}", "password_file": password}).start()
        self.see_refused(relay, "postgres", "server does not support SSL")
        self.wait(lambda: listener.visits > 2, "it to be tried again")
        self.assertEqual(listener.heard.replace(self.SSL_REQUEST, b""), b"")


class NatsTest(SecureTest):
    def server(self, tls=None, **settings):
        return self.workspace.add(Nats(self.workspace.path(f"nats-{os.urandom(4).hex()}"),
                                       **({"tls": tls} if tls else {}), **settings)).start()

    def to(self, server, cert=None, **settings):
        """The relay's settings for a server with TLS."""
        tls = {"ca_file": self.authority.ca_file}
        if cert:
            tls.update(cert_file=cert.cert_file, key_file=cert.key_file)
        return {"urls": [f"tls://localhost:{server.port}"], "tls": tls, **settings}


class Bare(Nats):
    """A nats-server without JetStream: of two nodes one may go."""

    def __init__(self, directory, **settings):
        super().__init__(directory, **settings)
        del self.settings["jetstream"]

    def _greets(self):
        return "INFO" in self._greeting()

    def wait_for_news_of(self, other):
        self.wait_ready(lambda: f":{other.port}" in self._greeting())


class NatsLogins(NatsTest):
    def test_servers_that_are_not_who_they_should_be(self):
        shown = {"certificate has expired": self.authority.issue("expired", days=0),
                 "hostname mismatch": self.authority.issue("other", names=("DNS:other.example", "IP:127.0.0.2")),
                 "unable to get local issuer certificate": self.stranger.issue("stranger")}
        servers = {why: self.server(cert.tls()) for why, cert in shown.items()}
        cases = {why: (self.to(server), why) for why, server in servers.items()}
        cases["IP address mismatch"] = ({**self.to(servers["hostname mismatch"]), "urls": [
            f"tls://127.0.0.1:{servers['hostname mismatch'].port}"]}, "IP address mismatch")
        self.try_in_vain("nats", cases)

    def test_the_systems_authorities(self):
        """Without ca_file those that OpenSSL knows."""
        server = self.server(self.authority.issue("server").tls())
        relay = self.add_relay(nats={"urls": [f"tls://localhost:{server.port}"]})
        relay.start({"SSL_CERT_FILE": self.authority.ca_file}).wait_until_ready()
        relay.stop()
        relay.start()
        self.wait_for_log(relay, level="error", msg=DOWN["nats"], why="unable to get local issuer certificate")

    def test_logins(self):
        """Each is let in with the right secret, is refused with a wrong one, and let in again once the file is right."""
        nkey, wrong, password = Key("user"), Key("user"), 'with "quotes" and \\'
        users = self.server(self.authority.issue("users").tls(), authorization={
            "users": [{"user": "a\"b", "password": password}, {"nkey": nkey.public}]})
        tokens = self.server(self.authority.issue("tokens").tls(), authorization={"token": "a\"token"})
        files = {"user": (users, password, "wrong"), "token": (tokens, "a\"token", "wrong"),
                 "nkey": (users, nkey.seed, wrong.seed)}
        settings = {"user": lambda path: {"user": "a\"b", "password_file": path}, "token": lambda path: {"token_file": path},
                    "nkey": lambda path: {"nkey_seed_file": path}}
        paths = {}
        for kind, (_, _, text) in files.items():
            paths[kind] = self.file(kind, text + "\n")
        relays = self.try_in_vain("nats", {kind: (self.to(server, **settings[kind](paths[kind])),
                                                  "Authorization Violation: the server refused us")
                                           for kind, (server, _, _) in files.items()})
        for kind, relay in relays.items():
            with self.subTest(kind), open(paths[kind], "w", encoding="utf-8") as f:
                self.assertIn(paths[kind], self.status(relay)["nats"]["why"])
                f.write("# a comment\n" * (kind == "nkey") + files[kind][1] + "\n")
        for kind, relay in relays.items():
            with self.subTest(kind):
                relay.wait_until_ready()
                self.assert_secret(relay, files[kind][1], files[kind][2] + '"')

    def test_files_that_cannot_be_used(self):
        """Told before anything is sent, and used once they are mended."""
        server, user = self.server(self.authority.issue("server").tls()), Key("user")
        readable = self.file("readable", "token\n", 0o644)
        key = self.authority.issue("client", names=())
        os.chmod(key.key_file, 0o644)
        missing = self.workspace.path("nowhere", "token")
        relays = self.try_in_vain("nats", {
            "readable": (self.to(server, token_file=readable), f"others may read {readable} (mode 0644)"),
            "missing": (self.to(server, token_file=missing), f"cannot read {missing}: No such file or directory"),
            "empty": (self.to(server, token_file=self.file("empty", "\nx")), "is empty"),
            "directory": (self.to(server, token_file=self.workspace.path()), "is no regular file"),
            "no seed": (self.to(server, nkey_seed_file=self.file("no-seed", "hello\n")), "holds no seed of a user"),
            "damaged seed": (self.to(server, nkey_seed_file=self.file("damaged", user.seed[:-3] + "AAA")), "damaged"),
            "an account's seed": (self.to(server, nkey_seed_file=self.file("sa", Key("account").seed)), "no seed of a user"),
            "no JWT": (self.to(server, credentials_file=self.file("creds", user.seed)), "holds no JWT with its seed"),
            "key": (self.to(server, key), f"others may read {key.key_file}"),
            "no credential": (self.to(server, token_file="token"), "$CREDENTIALS_DIRECTORY, which is not set")})
        os.chmod(readable, 0o600)
        os.chmod(key.key_file, 0o600)
        for name in ("readable", "key"):
            self.see_connected(relays[name], "nats")
        checked = relays["missing"].command("check").stdout
        self.assertIn(f"FAIL  nats: cannot read {missing}", checked)

    def test_credentials_of_systemd(self):
        """A bare name is looked for where systemd puts credentials: there they are root's and, by an access list that looks
        like a group's right, readable by the service's user."""
        directory = self.workspace.path(f"{self.database}-credentials")
        os.mkdir(directory)
        server = self.server(authorization={"token": "s3cret"})
        for name, text in (("nats-token", "s3cret\n"), ("pgpass", f"127.0.0.1:*:*:{RELAY}:{self.pg.password}\n")):
            path = os.path.join(directory, name)
            with open(path, "w", encoding="ascii") as f:
                f.write(text)
            os.chmod(path, 0o440 if os.geteuid() == 0 else 0o400)
        relay = self.add_relay(nats={"urls": [f"nats://127.0.0.1:{server.port}"], "token_file": "nats-token"},
                               postgres={"conninfo": f"host=127.0.0.1 port={self.pg.port} user={RELAY} dbname={self.database}",
                                         "password_file": "pgpass"})
        relay.start({"CREDENTIALS_DIRECTORY": directory}).wait_until_ready()

    def test_mutual_tls(self):
        server = self.server(self.authority.issue("server").tls(verify=True, ca_file=self.authority.ca_file, timeout=10))
        ours = self.authority.issue("shop_relay", names=())
        relays = self.try_in_vain("nats", {
            "none": (self.to(server), "perhaps it wants a certificate"),
            "expired": (self.to(server, self.authority.issue("expired-client", days=0, names=())), "perhaps it does not accept nats.tls.cert_file"),
            "of another authority": (self.to(server, self.stranger.issue("shop_relay", names=())),
                                     "perhaps it does not accept nats.tls.cert_file"),
            "with another's key": (self.to(server, ours._replace(key_file=self.authority.issue("k").key_file)), "key values mismatch")})
        for relay in relays.values():
            relay.stop()
        self.start_relay(nats=self.to(server, ours))

    def test_several_urls(self):
        """Any of them will do."""
        server = self.server(authorization={"token": "t"})
        relay = self.start_relay(nats={"urls": [f"nats://127.0.0.1:{free_port()}", f"nats://127.0.0.1:{server.port}",
                                                f"nats://127.0.0.1:{free_port()}"], "token_file": self.file("token", "t")})
        self.assertIn(f":{server.port}", self.wait_for_log(relay, msg="NATS is connected")["url"])

    def pair(self, **settings):
        """Two nodes of a cluster, each announced by the other."""
        ports = [free_port(), free_port()]
        routes = [f"nats://127.0.0.1:{port}" for port in ports]
        known, other = (self.workspace.add(Bare(self.workspace.path(f"node-{port}"), **settings, cluster={
            "name": "c", "host": "127.0.0.1", "port": port, "routes": routes})).start() for port in ports)
        known.wait_for_news_of(other)
        return known, other

    def test_discovered_servers(self):
        """What the cluster announces is used when the one we know is gone, if that is wanted: with the same login, even where
        that stands in a URL only (nats.c keeps it for servers without one)."""
        known, _ = self.pair(authorization={"user": "u", "password": "p"})
        urls = [f"nats://127.0.0.1:{free_port()}", known.url("u", "p")]
        relays = [self.add_relay(nats={"urls": urls, "discover": discover}).start() for discover in (True, False)]
        for relay in relays:
            self.see_connected(relay, "nats")
        known.stop()
        self.wait(lambda: self.tries(relays[0], "nats") > 0, "the relay to notice")
        self.see_connected(relays[0], "nats")  # there is only one server left
        self.wait(lambda: self.tries(relays[1], "nats") > 5, "the other one to look in vain")
        self.assertFalse(self.status(relays[1])["nats"]["connected"])
        known.start()
        self.see_connected(relays[1], "nats")

    def test_discovered_servers_and_a_reload_while_all_are_gone(self):
        """They are known as long as the URLs are the same; with others they are another cluster's."""
        known, other = self.pair()
        relay = self.add_relay(nats={"urls": [known.url()], "discover": True}).start()
        self.see_connected(relay, "nats")
        known.stop()
        other.stop()
        self.wait(lambda: not self.status(relay)["nats"]["connected"], "the relay to notice")
        self.reload(relay, log={"stats_interval": "20s"})
        other.start()
        self.see_connected(relay, "nats")
        other.stop()
        self.wait(lambda: not self.status(relay)["nats"]["connected"], "the relay to notice")
        self.reload(relay, nats={**relay.settings["nats"], "urls": [f"nats://127.0.0.1:{free_port()}"]})
        other.start()
        tries = self.tries(relay, "nats")
        self.wait(lambda: self.tries(relay, "nats") > tries + 5, "it to look in vain")
        self.assertFalse(self.status(relay)["nats"]["connected"])

    def reload(self, relay, **groups):
        """With another configuration file: the one there is, with these groups."""
        def reloads():
            return sum(line["msg"] == "configuration reloaded" for line in log_lines(relay))
        before = reloads()
        relay.configure({**relay.settings, **groups})
        relay.send(signal.SIGHUP)
        self.wait(lambda: reloads() > before, "the reload to be over")

    def test_a_signature_that_begins_with_zero(self):
        """nats.c before 3.8 leaves such a one out (1 in 256). The server refuses it; the next try has another nonce."""
        nkey = Key("user")
        server = self.server(authorization={"users": [{"nkey": nkey.public}]})
        nonce = next(nonce for nonce in (f"{n:016d}" for n in range(100000)) if nkey.sign(nonce)[0] == 0)
        caught, refused = [], []

        def trap(connection, from_client, data):
            if from_client and connection in caught:
                refused.append(data)
            elif not from_client and not refused and data.startswith(b"INFO "):
                caught.append(connection)
                before, rest = data.split(b'"nonce":"', 1)
                return before + b'"nonce":"' + nonce.encode() + rest[rest.index(b'"'):]
            return data

        wire = Wire(server.port, trap)
        self.addCleanup(wire.close)
        relay = self.start_relay(nats={"urls": [f"nats://127.0.0.1:{wire.port}"],
                                       "nkey_seed_file": self.file("seed", nkey.seed)})
        self.assertIn(b'"nkey":', refused[0])
        self.wait_for_log(relay, msg=DOWN["nats"], why="Authorization Violation")


class Jwt(NatsTest):
    """Accounts and users of an operator, over mutual TLS."""

    def setUp(self):
        super().setUp()
        self.operator, self.system, self.account = Key("operator"), Key("account"), Key("account")
        self.ours = self.authority.issue("shop_relay", names=())
        shown = self.authority.issue("server").tls(verify=True, ca_file=self.authority.ca_file, timeout=10)
        self.nats_of_operator = self.server(shown, operator=operator_jwt(self.operator, self.system),
                                            system_account=self.system.public, resolver="MEMORY",
                                            resolver_preload=self.accounts())

    def accounts(self, *revoked):
        return {self.system.public: account_jwt(self.operator, self.system, jetstream=False),
                self.account.public: account_jwt(self.operator, self.account, revoked)}

    def revoke(self, *users):
        self.nats_of_operator.settings["resolver_preload"] = self.accounts(*users)
        self.nats_of_operator.restart()

    def creds(self, name, user, expires=None, account=None):
        return self.file(f"{name}.creds", credentials(user_jwt(user, account or self.account, expires), user))

    def settings(self, creds):
        return self.to(self.nats_of_operator, self.ours, credentials_file=creds)

    def test_messages_arrive(self):
        user = Key("user")
        relay = self.start_relay(nats=self.settings(self.creds("user", user)))
        self.writer("w").write("k", 5).commit()
        self.wait_settled()
        jwt = user_jwt(user, self.account)
        with Client(self.nats_of_operator.url(scheme="tls").replace("127.0.0.1", "localhost"), ca_file=self.authority.ca_file,
                    certificate=(self.ours.cert_file, self.ours.key_file),
                    login=lambda nonce: {"jwt": jwt, **user.login(nonce)}) as client:
            self.judge(list(JetStream(client).read(STREAM)))
        self.assertEqual(self.status(relay)["acks_total"], 5)
        self.assert_secret(relay, user.seed)

    def test_users_that_are_no_more(self):
        """Expired, revoked, or another account's: refused while connected and afterwards; a new file lets it in again."""
        revoked, stranger = Key("user"), Key("user")
        paths = {"expired": self.workspace.path(f"{self.database}-expired.creds"), "revoked": self.creds("revoked", revoked)}
        relays = {name: self.add_relay(nats=self.settings(path)).start() for name, path in paths.items()}
        self.let_expire(relays["expired"])
        self.see_connected(relays["revoked"], "nats")
        self.wait_for_log(relays["expired"], level="error", msg="User Authentication Expired")
        self.revoke(revoked)
        for name, relay in relays.items():
            with self.subTest(name):
                self.wait_for_log(relay, level="error", msg=DOWN["nats"], why="Authorization Violation: the server refused us "
                                  f"with credentials_file {paths[name]}")
                self.assertFalse(self.status(relay)["nats"]["connected"])
        self.try_in_vain("nats", {"another account": (self.settings(self.creds("other", stranger, account=Key("account"))),
                                                      "Authorization Violation")})
        for name, path in paths.items():
            user = Key("user")
            with open(path, "w", encoding="ascii") as f:
                f.write(credentials(user_jwt(user, self.account), user))
            self.see_connected(relays[name], "nats")

    def let_expire(self, relay):
        """Connected with a JWT that lives just long enough for that."""
        seconds = 2
        while not any(line["msg"] == "NATS is connected" for line in log_lines(relay)):
            if (seconds := seconds * 2) > 100:
                self.fail("it does not connect")
            self.creds("expired", Key("user"), time.time() + seconds)
            time.sleep(seconds)

    def test_without_the_certificate(self):
        """The JWT alone is not enough."""
        creds = self.creds("user", Key("user"))
        self.try_in_vain("nats", {"no certificate": (self.to(self.nats_of_operator, credentials_file=creds),
                                                     "perhaps it wants a certificate")})


class PostgresLogins(SecureTest):
    """sslmode=verify-full and the ways to log in are libpq's matter; what the relay owes is to hand them on, to look for no
    other way in, and to say what is wrong."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.shown = cls.authority.issue("server")
        for user in ("by_certificate", "revoked"):
            cls.pg.create_login(user, "boxhaul_relay")
        with open(os.path.join(cls.pg.data, "pg_hba.conf"), "w", encoding="ascii") as f:
            f.write("local all all trust\nhostssl all by_certificate all cert\nhost all all all scram-sha-256\n")

    def setUp(self):
        super().setUp()
        self.serve(self.shown)

    def serve(self, cert):
        """Show this certificate from now on, or none."""
        settings = {"ssl": "on", "ssl_cert_file": cert.cert_file, "ssl_key_file": cert.key_file,
                    "ssl_ca_file": self.authority.ca_file} if cert else {"ssl": "off"}
        if cert and self.pg.user:
            subprocess.run(["chown", self.pg.user, cert.key_file], check=True)
        for name, value in settings.items():
            self.pg.execute(f"ALTER SYSTEM SET {name} = '{value}'")
        self.pg.execute("SELECT pg_reload_conf()")
        self.wait(lambda: all(self.pg.execute(f"SHOW {name}") == [(value,)] for name, value in settings.items()),
                  "the server to take it")

    def where(self, user=RELAY, cert=None, host="localhost", **words):
        """A connection string without a password."""
        words = {"host": host, "port": self.pg.port, "user": user, "dbname": self.database, "sslmode": "verify-full",
                 "sslrootcert": self.authority.ca_file, **words}
        if cert:
            words.update(sslcert=cert.cert_file, sslkey=cert.key_file)
        return " ".join(f"{name}={value}" for name, value in words.items())

    def pgpass(self, name, password, mode=0o600):
        return self.file(name, f"localhost:{self.pg.port}:*:*:{password}\n", mode)

    def test_servers_that_are_not_who_they_should_be(self):
        password = self.pgpass("pgpass", self.pg.password)
        for cert, why in ((None, "server does not support SSL"),
                          (self.authority.issue("expired", days=0), "certificate verify failed"),
                          (self.authority.issue("other", names=("DNS:other.example",)), "does not match host name"),
                          (self.stranger.issue("stranger"), "certificate verify failed")):
            with self.subTest(why):
                self.serve(cert)
                relay = self.add_relay(postgres={"conninfo": self.where(), "password_file": password}).start()
                self.see_refused(relay, "postgres", why)
                relay.stop()

    def test_logins(self):
        """The same words psql would take, all with the server's certificate verified."""
        pgpass, home = self.pgpass("pgpass", self.pg.password), self.workspace.path(f"{self.database}-home")
        os.mkdir(home)
        os.rename(self.pgpass("pgpass-at-home", self.pg.password), os.path.join(home, ".pgpass"))
        service = self.file("services", "[shop]\n" + self.where(passfile=pgpass).replace(" ", "\n") + "\n")
        certificate = self.authority.issue("by_certificate", names=())
        ways = {"password_file": ({"conninfo": self.where(), "password_file": pgpass}, {}),
                "passfile in the string": ({"conninfo": self.where(passfile=pgpass)}, {}),
                "~/.pgpass": ({"conninfo": self.where()}, {"HOME": home}),
                "PGPASSFILE": ({"conninfo": self.where()}, {"PGPASSFILE": pgpass}),
                "service": ({"conninfo": "service=shop"}, {"PGSERVICEFILE": service}),
                "certificate": ({"conninfo": self.where("by_certificate", certificate)}, {}),
                "URI": ({"conninfo": f"postgresql://{RELAY}:{self.pg.password}@localhost:{self.pg.port}/{self.database}"
                                     f"?sslmode=verify-full&sslrootcert={self.authority.ca_file}"}, {})}
        relays = {name: self.add_relay(postgres=settings).start(env) for name, (settings, env) in ways.items()}
        for name, relay in relays.items():
            with self.subTest(name):
                relay.wait_until_ready()
                self.assert_secret(relay, self.pg.password)
        self.assertEqual(self.sql("SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) "
                                  "WHERE ssl AND datname = current_database() AND application_name = 'boxhaul'"),
                         [(len(ways),)])
        self.writer("w").write("k", 5).commit()
        self.audit()

    def test_logins_that_are_refused(self):
        """Refused with a reason, and let in without a restart once it is mended."""
        wrong, readable = self.pgpass("wrong", NOT_OURS), self.pgpass("readable", self.pg.password, 0o644)
        ignored = self.pgpass("ignored", self.pg.password, 0o640)
        self.sql("ALTER ROLE revoked NOLOGIN")
        ours, key = (self.authority.issue(name, names=()) for name in ("by_certificate", "key"))
        os.chmod(key.key_file, 0o644)
        missing = self.workspace.path("nowhere", "pgpass")
        relays = self.try_in_vain("postgres", {
            "wrong password": ({"conninfo": self.where(), "password_file": wrong}, "password authentication failed for user"),
            "revoked": ({"conninfo": self.where("revoked"), "password_file": self.pgpass("p", self.pg.password)},
                        'role "revoked" is not permitted to log in'),
            "no such user": ({"conninfo": self.where("nobody"), "password_file": wrong}, "password authentication failed"),
            "readable": ({"conninfo": self.where(), "password_file": readable}, f"others may read {readable} (mode 0644)"),
            "missing": ({"conninfo": self.where(), "password_file": missing}, f"cannot read {missing}"),
            "no certificate": ({"conninfo": self.where("by_certificate")}, "requires a valid client certificate"),
            "expired certificate": ({"conninfo": self.where("by_certificate", self.authority.issue(
                "by_certificate_late", days=0, names=()))}, "certificate expired"),
            "certificate of another authority": ({"conninfo": self.where("by_certificate", self.stranger.issue(
                "by_certificate", names=()))}, "unknown ca"),
            "certificate of another user": ({"conninfo": self.where("by_certificate", self.authority.issue(
                "somebody", names=()))}, "certificate authentication failed"),
            "readable key": ({"conninfo": self.where("by_certificate", ours._replace(key_file=key.key_file))},
                             "has group or world access")})
        relays["ignored"] = self.add_relay(postgres={"conninfo": self.where(passfile=ignored)}).start()
        self.wait_for_page(relays["ignored"], "/readyz", 503, f"libpq ignores {ignored}, which others may read")
        self.assertIn(wrong, self.status(relays["wrong password"])["postgres"]["why"])
        self.assert_secret(relays["wrong password"], NOT_OURS)
        os.rename(self.pgpass("right", self.pg.password), wrong)
        for path in (readable, ignored):
            os.chmod(path, 0o600)
        self.sql("ALTER ROLE revoked LOGIN")
        for name in ("wrong password", "readable", "ignored", "revoked"):
            with self.subTest(name):
                relays[name].wait_until_ready()


if __name__ == "__main__":
    unittest.main()
