#!/usr/bin/python3
"""Runs README.md: every block of shell, SQL and Python in it, in order, as a reader would. First of all it looks whether each
test that tests/README.md names exists.

The reader's machine is made up: a private PostgreSQL with the database shop and its users, a private nats-server, a copy of the
tree to build in and a place to install to. Three things differ from what is printed, and nothing else: the configuration's
addresses, "shop" as the configuration's name (its file cannot lie in /etc), and commands that another step of tests/run runs.
"""

import ast
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(TOP, "tests", "lib"))

from jetstream import JetStream  # noqa: E402
from nats_client import Client  # noqa: E402
from process import Workspace, wait_until  # noqa: E402
from servers import Nats, Postgres  # noqa: E402

# Shell blocks that are run elsewhere, or cannot be here. Everything else is run.
ELSEWHERE = {"packaging/try": "the step `try` of tests/run", "tests/run": "this is it",
             "packaging/build deb\napt install ./build/boxhaul_*.deb": "tests/packages, --full for the second line",
             "systemctl enable --now boxhaul@shop": "tests/packages --full"}

# A "shop" among the arguments means the configuration; the shell finds the installed program and the private servers.
PRELUDE = """
set -eu
boxhaul() { local words=() w; for w; do [ "$w" != shop ] || w=$CONF; words+=("$w"); done; command boxhaul "${words[@]}"; }
"""


def blocks(text):
    """(language, code) of every fenced block, dedented; config and figure blocks have no language."""
    for indent, language, code in re.findall(r"^( *)```(\w*)\n(.*?)^ *```$", text, re.S | re.M):
        yield language, re.sub(f"^{indent}", "", code, flags=re.M).strip()


# `folder/file:Class.test`, or a file alone. In Python a class or one of its tests, elsewhere any name that the file has.
NAMED = re.compile(r"`((?:system|unit|simulator|lib|benchmark)/[\w.]+|\w+\.(?:sh|py))(?::([\w.]+))?`")


def names_of(path):
    """What tests/README.md may call by name in the file: tests, classes that have some, and in other languages all words
    that are neither comment nor text."""
    with open(path, encoding="utf-8") as f:
        text = f.read()
    if not path.endswith(".py"):
        return set(re.findall(r"\w+", re.sub(r'"(?:[^"\\]|\\.)*"|/\*.*?\*/', "", text, flags=re.S)))
    names = set()
    for thing in ast.parse(text).body:
        if isinstance(thing, ast.ClassDef):
            tests = [f"{thing.name}.{part.name}" for part in thing.body
                     if isinstance(part, ast.FunctionDef) and part.name.startswith("test_")]
            names.update(tests, [thing.name] if tests else [])
    return names


def check_names():
    """Every test that tests/README.md names exists."""
    with open(os.path.join(TOP, "tests", "README.md"), encoding="utf-8") as f:
        named = NAMED.findall(f.read())
    missing = []
    for file, name in named:
        path = os.path.join(TOP, "tests", file)
        if not os.path.exists(path) or name and name not in names_of(path):
            missing.append(f"{file}:{name}")
    if missing:
        sys.exit(f"tests/README.md names what does not exist: {', '.join(missing)}")
    if len(named) < 100:
        sys.exit("tests/README.md has lost its names, or this test cannot find them any more")
    print(f"{len(named)} names in tests/README.md exist", flush=True)


def without_comments(code):
    return "\n".join(re.sub(r"\s+#.*", "", line) for line in code.splitlines())


class Reader:
    """Somebody who follows the README on a machine of their own."""

    def __init__(self, w):
        self.w, self.ran, self.relay = w, 0, None
        self.postgres = w.add(Postgres(w.path("pg"))).start()
        self.nats = w.add(Nats(w.path("nats"))).start()
        self.tree, self.root, self.conf = w.path("tree"), w.path("root"), w.path("shop.conf")
        for sql in ("CREATE ROLE shop_owner LOGIN SUPERUSER", "CREATE ROLE shop_relay LOGIN", "CREATE ROLE shop_service LOGIN",
                    "CREATE DATABASE shop OWNER shop_owner"):
            self.postgres.execute(sql)
        self.postgres.execute("CREATE TABLE orders (id int PRIMARY KEY, state text)", dbname="shop")
        self.postgres.execute("INSERT INTO orders VALUES (42, 'new')", dbname="shop")
        self.postgres.execute("GRANT SELECT, UPDATE ON orders TO shop_service", dbname="shop")
        self.copy_tree()
        self.environment = {**os.environ, "PGHOST": self.postgres.directory, "PGPORT": str(self.postgres.port),
                            "PGUSER": "postgres", "CONF": self.conf, "DESTDIR": self.root,
                            "PATH": f"{self.root}/usr/local/bin:{self.root}/usr/local/sbin:{os.environ['PATH']}"}

    def copy_tree(self):
        listed = subprocess.run(["git", "-C", TOP, "ls-files", "-co", "--exclude-standard"], stdout=subprocess.PIPE, text=True, check=True)
        for name in listed.stdout.splitlines():
            os.makedirs(os.path.dirname(os.path.join(self.tree, name)), exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                shutil.copy2(os.path.join(TOP, name), os.path.join(self.tree, name))

    def shell(self, code):
        if without_comments(code) in ELSEWHERE:
            print(f"elsewhere  {code.splitlines()[0]}   ({ELSEWHERE[without_comments(code)]})")
            return
        if code.startswith("boxhaul run"):
            self.start_relay(code)
            return
        print("sh         " + code.replace("\n", "\n           "), flush=True)
        done = subprocess.run(["bash", "-c", PRELUDE + code], cwd=self.tree, env=self.environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"{done.stdout[-4000:]}\n{code!r} ended with status {done.returncode}")
        self.ran += 1

    def start_relay(self, code):
        """It stays in the foreground: another window."""
        print("sh &       " + code, flush=True)
        self.relay = subprocess.Popen(["bash", "-c", PRELUDE + "exec " + code.replace("shop", '-c "$CONF"')], cwd=self.tree,
                                      env=self.environment, stdin=subprocess.DEVNULL)
        self.ran += 1

    def configuration(self, code):
        for printed, ours in (("host=/run/postgresql", f"host={self.postgres.directory} port={self.postgres.port}"),
                              ("nats://127.0.0.1:4222", self.nats.url())):
            if printed not in code:
                sys.exit(f"the configuration in README.md does not say {printed} any more")
            code = code.replace(printed, ours)
        with open(self.conf, "w", encoding="utf-8") as f:
            f.write(f'{code}\nhealth = {{ listen = "off"; }};\n')

    def sql(self, code):
        print("sql        " + code.replace("\n", "\n           "), flush=True)
        self.postgres.execute(code, dbname="shop", user="shop_service")
        self.ran += 1

    def python(self, code):
        print("python     " + code.replace("\n", "\n           "), flush=True)
        with contextlib.closing(self.postgres.connect("shop", "shop_service")) as connection:
            connection.autocommit = False
            exec(compile(code, "README.md", "exec"), {"connection": connection})  # pylint: disable=exec-used
        self.ran += 1

    def messages_arrive(self, count):
        with Client(self.nats.url()) as client:
            js = JetStream(client)
            wait_until(lambda: "ORDERS" in js.names() and js.count("ORDERS") == count, f"{count} messages in the stream")

    def leave(self):
        """SIGTERM drains and exits 0, as the README says."""
        self.relay.send_signal(signal.SIGTERM)
        if self.relay.wait(60) != 0:
            sys.exit(f"boxhaul run ended with status {self.relay.returncode}")


def main():
    check_names()
    with open(os.path.join(TOP, "README.md"), encoding="utf-8") as f:
        text = f.read()
    messages = 0
    with Workspace() as w:
        reader = Reader(w)
        try:
            for language, code in blocks(text):
                if language == "sh":
                    reader.shell(code)
                elif language == "sql":
                    reader.sql(code)
                    messages += 1
                elif language == "python":
                    reader.python(code)
                    messages += 1
                elif language == "go":
                    print("skipped    the Go example: there is no Go toolchain among the Debian packages the tests install")
                elif code.startswith("postgres ="):
                    reader.configuration(code)
            reader.messages_arrive(messages)
            reader.leave()
        finally:
            if reader.relay is not None and reader.relay.poll() is None:
                reader.relay.kill()
                reader.relay.wait()
        print(f"{reader.ran} blocks of README.md were run, {messages} messages arrived")
        if reader.ran < 8 or messages < 3:
            sys.exit("README.md has lost its examples, or this test cannot find them any more")


if __name__ == "__main__":
    main()
