"""Private servers for one test: PostgreSQL and nats-server on free loopback ports, data in a private directory.

Both keep port and data over stop, kill and start. Settings are the servers' own words:

    pg = w.add(Postgres(w.path("pg"), max_prepared_transactions=8)).start()
    nats = w.add(Nats(w.path("nats"), max_payload=65536, authorization={"user": "u", "password": "p"})).start()
"""

import contextlib
import glob
import json
import os
import pwd
import re
import secrets
import select
import shutil
import signal
import socket
import subprocess
import unittest
import urllib.request
from urllib.parse import quote

import psycopg2

from process import Process, free_port, has_ended, wait_until


def postgres_programs():
    """The bin directory that the environment variable POSTGRES_BIN names, or the newest installed version's."""
    if chosen := os.environ.get("POSTGRES_BIN"):
        return chosen
    found = glob.glob("/usr/lib/postgresql/*/bin/initdb")
    if not found:
        raise RuntimeError("no PostgreSQL server under /usr/lib/postgresql: run packaging/deps try")
    return os.path.dirname(max(found, key=lambda path: float(path.split("/")[4])))


class Postgres(Process):
    """A private PostgreSQL. Its unix socket lies in a directory nobody else may enter and asks for no
    password; TCP does, or any local user could become its superuser."""

    superuser = "postgres"

    def __init__(self, directory, survive_us=False, **settings):
        user = "postgres" if os.geteuid() == 0 else None  # the server refuses to run as root
        super().__init__("PostgreSQL", os.path.join(directory, "log"), user, "QUIT", survive_us)
        self.directory, self.data = directory, os.path.join(directory, "data")
        self.port, self.password = free_port(), secrets.token_hex(16)
        self.programs = postgres_programs()
        self.settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": directory,
                         "dynamic_shared_memory_type": "mmap",  # in data/, with which it goes after kill -9, too
                         "logging_collector": "off", **settings}

    def conninfo(self, dbname="postgres", user=None, tcp=False):
        """libpq's connection string; the superuser's unless a user is named."""
        where = f"host=127.0.0.1 password={self.password}" if tcp else f"host={self.directory}"
        return f"{where} port={self.port} dbname={dbname} user={user or self.superuser}"

    def connect(self, dbname="postgres", user=None, **options):
        """An autocommit connection."""
        connection = psycopg2.connect(self.conninfo(dbname, user), **options)
        connection.autocommit = True
        return connection

    def execute(self, sql, values=None, dbname="postgres", user=None):
        """Run one statement on a connection of its own; returns the rows, if it has any."""
        with contextlib.closing(self.connect(dbname, user)) as connection, connection.cursor() as cursor:
            cursor.execute(sql, values)
            return cursor.fetchall() if cursor.description else None

    def copy_database(self, template, name):
        """A new database that is what another one is. Page by page through the log, as it is done from PostgreSQL 15 on, costs twice the
        processor time of a copy of the files, and there is nothing else in the server that its checkpoints would have to write."""
        with contextlib.closing(self.connect()) as connection, connection.cursor() as cursor:
            how = " STRATEGY file_copy" if connection.server_version >= 150000 else ""
            cursor.execute(f"CREATE DATABASE {name} TEMPLATE {template}{how}")

    def create_login(self, user, *groups):
        """A user that logs in (by TCP with our one password) as a member of groups."""
        self.execute(f"CREATE ROLE {user} LOGIN PASSWORD '{self.password}'"
                     + (f" IN ROLE {', '.join(groups)}" if groups else ""))

    def program(self, name):
        """The path of one of PostgreSQL's programs. Some packages have the server alone: then an installed client
        that is not older does as well. Where there is none, the test that wants it is skipped."""
        own = os.path.join(self.programs, name)
        if os.path.exists(own):
            return own
        with open(os.path.join(self.data, "PG_VERSION"), encoding="ascii") as f:
            version = int(f.read())
        for path in glob.glob(f"/usr/lib/postgresql/*/bin/{name}"):
            if int(path.split("/")[4]) >= version:
                return path
        raise unittest.SkipTest(f"this PostgreSQL {version} came without {name}, and no installed one is new enough")

    def start(self):
        if not os.path.exists(os.path.join(self.data, "PG_VERSION")):  # what is mounted there may be empty
            self._initdb()
        argv = [os.path.join(self.programs, "postgres"), "-D", self.data, "-p", str(self.port)]
        for name, value in self.settings.items():
            argv += ["-c", f"{name}={value}"]
        self.spawn(argv)
        self.wait_ready(self._answers)
        return self

    def stop(self, mode="fast"):
        """smart waits for the clients, fast disconnects them, immediate recovers at the next start."""
        self.end({"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}[mode])

    def restart(self, mode="fast"):
        self.stop(mode)
        return self.start()

    def kill9(self):
        """Kill every process of the server, as a crash of the machine would."""
        if not self.alive():
            return
        self.pause()  # so that it starts no more children
        children = self._children()
        super().kill9()
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in children:
            wait_until(lambda pid=pid: has_ended(pid), f"backend {pid} to be gone")

    def freeze(self):
        """Stop every process of the server, as a machine that hangs does; pause() stops the postmaster alone."""
        self.pause()  # so that it starts no more children
        self._signal_children(signal.SIGSTOP)

    def thaw(self):
        self._signal_children(signal.SIGCONT)
        self.resume()

    def clone(self, source, port):
        """Become a copy of source (another Postgres), read over port, that follows it when started; what was here
        goes. The password is the source's, and primary_conninfo stays where it is when the roles change."""
        assert not self.alive()
        shutil.rmtree(self.data, ignore_errors=True)
        self.password = source.password
        self.make_directory()
        self._write_private("pgpass", f"*:*:*:*:{self.password}\n")
        upstream = f"host=127.0.0.1 port={port} user={self.superuser} passfile={os.path.join(self.directory, 'pgpass')}"
        self.settings["primary_conninfo"] = upstream + " connect_timeout=10"
        self._run(source.program("pg_basebackup"), "-d", upstream, "-D", self.data, "--checkpoint=fast", "--no-sync")
        self._write_private(os.path.join("data", "standby.signal"), "")
        return self

    def keep(self, directory):
        """Copy what it holds, for begin_with(). It must not run. The directory is there when it is whole."""
        assert not self.alive()
        os.makedirs(directory + ".new", mode=0o700)
        self._give(directory + ".new")
        self._run("cp", "-a", self.data, directory + ".new")
        self._write_private(os.path.join(directory + ".new", "password"), self.password)
        os.rename(directory + ".new", directory)

    def begin_with(self, directory):
        """Before the first start: hold what keep() of a server of the same programs has copied, and have its password. (They are
        one system by PostgreSQL's own number then: a relay may take one for the other.)"""
        self.make_directory()
        with open(os.path.join(directory, "password"), encoding="ascii") as f:
            self.password = f.read()
        self._run("cp", "-a", os.path.join(directory, "data"), self.directory)

    def follow(self, kept, source, slot):
        """Become a standby of source, over this physical slot, from what keep() of it has copied; it copies slots that are for a failover, too."""
        self.begin_with(kept)
        self._write_private("pgpass", f"*:*:*:*:{self.password}\n")
        self.settings.update(primary_conninfo=f"host=127.0.0.1 port={source.port} user={self.superuser} dbname=postgres connect_timeout=10 "
                             f"passfile={os.path.join(self.directory, 'pgpass')}",
                             primary_slot_name=slot, hot_standby_feedback="on", sync_replication_slots="on")
        self._write_private(os.path.join("data", "standby.signal"), "")
        return self

    def promote(self):
        """A standby becomes a primary; returns when it accepts writes."""
        self.execute("SELECT pg_promote(true, 60)")

    def backends(self, condition="true"):
        """Pids of client backends, by a condition on pg_stat_activity."""
        rows = self.execute("SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' "
                            f"AND pid <> pg_backend_pid() AND ({condition})")
        return [pid for (pid,) in rows]

    def kill_backend(self, pid):
        """kill -9 one backend: the server then restarts itself. False when it is no child of ours any more."""
        if pid not in self._children():
            return False
        os.kill(pid, signal.SIGKILL)
        return True

    def close(self):
        self.stop("immediate")  # nobody wants the data any more
        self._free_shared_memory()

    def _initdb(self):
        self.make_directory()
        self._write_private("password", self.password)
        self._run(os.path.join(self.programs, "initdb"), "-D", self.data, "-U", self.superuser, "-E", "UTF8", "--locale=C", "--no-sync",
                  "--pwfile", os.path.join(self.directory, "password"),
                  "--auth-local=trust", "--auth-host=scram-sha-256")

    def make_directory(self):
        os.makedirs(self.directory, mode=0o700, exist_ok=True)
        self._give(self.directory)

    def _write_private(self, name, text):
        path = os.path.join(self.directory, name)
        with open(path, "w", encoding="ascii") as f:
            os.fchmod(f.fileno(), 0o600)
            f.write(text)
        self._give(path)

    def _give(self, path):
        """To the server's user."""
        if self.user:
            owner = pwd.getpwnam(self.user)
            os.chown(path, owner.pw_uid, owner.pw_gid)

    def _run(self, program, *words):
        process = Process(os.path.basename(program), self.log, self.user)
        process.spawn([program, *words])
        if process.wait() != 0:
            raise process.died()

    def _answers(self):
        try:
            self.connect(connect_timeout=5).close()
            return True
        except psycopg2.OperationalError:
            return False

    def walsenders(self):
        """How many of its processes send its log, also where it takes no questions any more."""
        count = 0
        for pid in self._children():
            with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as f:
                count += "walsender" in f.read()
        return count

    def _children(self):
        listing = subprocess.run(["ps", "-o", "pid=", "--ppid", str(self.pid)], stdout=subprocess.PIPE, check=False)
        return [int(pid) for pid in listing.stdout.split()]

    def _signal_children(self, signum):
        for pid in self._children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signum)

    def _free_shared_memory(self):
        """After kill -9 and no restart, one segment is left, whose id postmaster.pid tells (line 7)."""
        with contextlib.suppress(OSError, IndexError):
            with open(os.path.join(self.data, "postmaster.pid"), encoding="utf-8") as f:
                _key, segment = f.read().splitlines()[6].split()
            subprocess.run(["ipcrm", "-m", segment], check=False, stderr=subprocess.DEVNULL)


class Questions:
    """A session as the superuser that is kept for questions: those who wait ask again and again, and a session for each costs ten
    times what the answer does. Another one is made when the server has ended it, or it is to be another server's or database's."""

    def __init__(self):
        self._whose, self._connection = None, None

    def ask(self, server, dbname, sql, values=None):
        """The rows of one statement that leaves nothing in the session."""
        if self._whose != (server, dbname) or self._connection.closed or select.select([self._connection], [], [], 0)[0]:
            self.close()
            self._whose, self._connection = (server, dbname), server.connect(dbname)
        with self._connection.cursor() as cursor:
            cursor.execute(sql, values)
            return cursor.fetchall()

    def close(self):
        if self._connection:
            self._connection.close()
        self._whose, self._connection = None, None


class Nats(Process):
    """A private nats-server with JetStream. settings is its configuration file; nested blocks are dicts. program: another one than
    the one on the PATH, or that the environment variable NATS_SERVER names."""

    replicas = 1  # as many as a stream may have

    def __init__(self, directory, survive_us=False, program=None, **settings):
        super().__init__("nats-server", os.path.join(directory, "log"), survive_us=survive_us)
        self.directory, self.port, self.program = directory, free_port(), program
        self.settings = {"host": "127.0.0.1", "port": self.port, "server_name": f"test-{self.port}",
                         "pid_file": os.path.join(directory, "pid"),
                         "jetstream": {"store_dir": os.path.join(directory, "jetstream")}, **settings}

    def url(self, user=None, password=None, token=None, scheme="nats"):
        """The address, with the login that the settings ask for unless another one is named."""
        wanted = self.settings.get("authorization", {})
        user, token = user or wanted.get("user"), token or wanted.get("token")
        password = password or wanted.get("password")
        login = f"{quote(user, '')}:{quote(password, '')}@" if user else f"{quote(token, '')}@" if token else ""
        return f"{scheme}://{login}127.0.0.1:{self.port}"

    def start(self):
        self.spawn_only()
        return self.wait_listening()

    def spawn_only(self):
        """The first half of start(): a cluster's nodes wait for each other."""
        os.makedirs(self.directory, mode=0o700, exist_ok=True)
        config = os.path.join(self.directory, "nats.conf")
        with open(config, "w", encoding="utf-8") as f:
            json.dump(self.settings, f, indent=1)  # the server's format is a superset of JSON
        program = self.program or os.environ.get("NATS_SERVER", "nats-server")
        self.spawn([program, "-c", config], env={"PATH": os.environ.get("PATH", "") + ":/usr/sbin"})

    def wait_listening(self):
        self.wait_ready(self._greets)
        return self

    def stop(self):
        self.end()

    def restart(self):
        self.stop()
        return self.start()

    def close(self):
        self.end()

    def version(self):
        return re.search(r'"version":"([^"]+)"', self._greeting()).group(1)

    def _greets(self):
        """JetStream is on before the port opens, but for a stream's recovery; the greeting says so."""
        return '"jetstream":true' in self._greeting()

    def _greeting(self):
        try:
            with socket.create_connection(("127.0.0.1", self.port), 5) as s:
                return s.recv(65536).decode()
        except OSError:
            return ""


class NatsCluster(Nats):
    """The first of three nodes, with the other two behind it. What is done to it (stop, kill9, pause) is done to it
    alone: whoever knows only its address sees the broker go, and the cluster elects."""

    replicas = 3

    def __init__(self, directory, program=None, **settings):
        super().__init__(directory, program=program, **settings)
        self.others = [Nats(f"{directory}-{n}", program=program, **settings) for n in (2, 3)]
        self.monitor, ports = free_port(), [free_port() for _ in range(3)]
        self.settings["http"] = f"127.0.0.1:{self.monitor}"
        for node, port in zip([self, *self.others], ports):
            node.settings["cluster"] = {"name": "test", "host": "127.0.0.1", "port": port,
                                        "routes": [f"nats://127.0.0.1:{other}" for other in ports if other != port]}

    def start(self):
        for node in self.others:
            if not node.alive():
                node.spawn_only()
        super().start()
        for node in self.others:
            node.wait_listening()
        self.wait_ready(self._has_leader)
        return self

    def close(self):
        for node in [self, *self.others]:
            node.end()

    def _has_leader(self):
        """The nodes agree on who answers for JetStream."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.monitor}/jsz", timeout=5) as answer:
                return bool(json.load(answer).get("meta_cluster", {}).get("leader"))
        except OSError:
            return False


def nats_server(directory, **settings):
    """What the environment variable NATS_NODES asks for: one server (the default), or three."""
    return {"1": Nats, "3": NatsCluster}[os.environ.get("NATS_NODES", "1")](directory, **settings)
