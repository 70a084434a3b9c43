#!/usr/bin/python3
"""Runs README.md and then the manual, in order, as a reader would: every block of shell, SQL, Python and configuration in them, and
every command in README.md's table. First it checks that each test that tests/evidence.md names exists, and each figure that
tests/benchmark/README.md tells how to measure.

The reader's machine is made up: a private PostgreSQL with the database shop and its users, a private nats-server, a copy of the
tree to build in and a place to install to. These things differ from what is printed, and nothing else: the configuration's
addresses, and the owner's login for `boxhaul migrate`; "shop" (NAME in the runbook) as the configuration's name, for its file
cannot lie in /etc; the id of a dead letter; who runs a command, for the private server lets everybody in as anybody; --yes for
commands that ask, for there is no terminal; and commands that another step of tests/run runs. On a bare Debian, to the letter,
tests/packages --full runs *Install* and *Set it up*. boxhaul-saga.7 is run by tests/system/test_saga_manual.py, boxhaul-move.7 by tests/system/test_move_manual.py.
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

# Blocks that are run elsewhere, or cannot be here, by their first line. Everything else is run.
ELSEWHERE = {"packaging/try": "the step `try` of tests/run",
             "packaging/build deb": "tests/packages, --full for its second line",
             "apt install postgresql nats-server": "tests/packages --full",
             "systemctl enable --now boxhaul@shop": "tests/packages --full",
             "systemd-sysusers && systemd-tmpfiles --create && systemctl daemon-reload": "tests/packages --full",
             "systemctl status boxhaul@NAME": "there is no systemd here",
             "# systemctl edit boxhaul@shop": "tests/packages --full",
             "UPDATE boxhaul.outbox SET subject = 'SUBJECT' WHERE id = ID;": "tests/system/test_kinds_words.py",
             "boxhaul inbox show NAME SUBSCRIPTION": "tests/system/test_inbox_commands.py",
             "boxhaul inbox accept-gap NAME SUBSCRIPTION": "the same",
             "boxhaul inbox rewind NAME SUBSCRIPTION --to start": "the same",
             "boxhaul inbox retry NAME SUBSCRIPTION ID": "the same",
             "nats stream get STREAM SEQUENCE": "tests/system/test_inbox_watch.py asks JetStream itself: Debian has no nats command",
             "boxhaul sagas list NAME --stuck": "tests/system/test_saga_manual.py",
             "boxhaul capture status NAME CAPTURE": "tests/system/test_capture_commands.py",
             "boxhaul capture resync NAME CAPTURE": "the same",
             "boxhaul verify --repair --to FILE NAME": "tests/system/test_verify.py",
             "boxhaul capture drop NAME CAPTURE": "the same",
             "boxhaul capture dead-letters NAME CAPTURE": "tests/system/test_capture_events.py",
             "boxhaul capture discard NAME ID": "the same",
             "boxhaul capture give-up NAME CAPTURE CHANGE": "tests/system/test_capture_carried.py",
             'boxhaul sagas resolve NAME ID --step STEP=done --reason "ticket 4711"': "the same",
             "boxhaul sagas list NAME --open --older 1h": "the same",
             "boxhaul config-sample >/etc/boxhaul/shop.conf": "README.md, *Set it up*, has the same commands",
             "ssh -L 9431:127.0.0.1:9431 HOST": "there is no other machine",
             "nats stream edit ORDERS --allow-fast": "tests/system/test_batches.py says the same to JetStream itself: Debian has no nats command",
             '{"ce-type": "com.example.paid", "ce-subject": "order 42"}': "tests/system/test_envelope.py"}

# "shop" and NAME among the arguments mean the configuration, 4711 and ID the dead letter; the shell finds the installed program
# and the private servers.
PRELUDE = """
set -eu
runuser() { shift 3; "$@"; }
boxhaul() {
    local words=() w
    for w; do
        case $w in shop | NAME) w=$CONF ;; 4711 | ID) w=$LETTER ;; esac
        words+=("$w")
    done
    case " $* " in *" --dry-run "*) ;; " replay "* | " dead-letters discard "*) words+=(--yes) ;; esac
    command boxhaul "${words[@]}"
}
"""


def blocks(text):
    """(language, code) of every fenced block, dedented; config and figure blocks have no language."""
    for indent, language, code in re.findall(r"^( *)```(\w*)\n(.*?)^ *```$", text, re.S | re.M):
        yield language, re.sub(f"^{indent}", "", code, flags=re.M).strip()


ROW = re.compile(r"^\|.*\| *`([^`]+)` *\|$")  # of a table whose last column is a command
MANUAL = ("boxhaul-sql.7", "boxhaul.conf.5", "boxhaul.8", "boxhaul-runbook.7", "boxhaul-metrics.7")


def commands_of(text):
    """What stands alone in the last column of a table."""
    return [match[1] for line in text.splitlines() if (match := ROW.match(line))]


def examples_of(page):
    """The literal displays of a manual page, but for those that tests/manual.py makes."""
    page = re.sub(r'(?ms)^\.\\" list: .*?^\.\\" end of list$', "", page)
    for display, line in re.findall(r"(?ms)^\.Bd -literal[^\n]*\n(.*?)^\.Ed$|^\.Dl ([^\n]*)$", page):
        yield (display or line).replace("\\(dq", '"').replace("\\-", "-").replace("\\&", "").replace("\\e", "\\").strip()


# `folder/file:Class.test`, or a file alone. In Python a class or one of its tests, elsewhere any name that the file has.
NAMED = re.compile(r"`((?:system|unit|simulator|lib|benchmark)/[\w.]+|\w+\.(?:sh|py))(?::([\w.]+))?`")


def names_of(path):
    """What tests/evidence.md may call by name in the file: tests, classes that have some, and in other languages all words
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


def read(*path):
    with open(os.path.join(TOP, *path), encoding="utf-8") as f:
        return f.read()


def check_names():
    """Every test that tests/README.md and tests/evidence.md name exists."""
    named = NAMED.findall(read("tests", "README.md") + read("tests", "evidence.md"))
    missing = []
    for file, name in named:
        path = os.path.join(TOP, "tests", file)
        if not os.path.exists(path) or name and name not in names_of(path):
            missing.append(f"{file}:{name}")
    if missing:
        sys.exit(f"tests/README.md or tests/evidence.md names what does not exist: {', '.join(missing)}")
    if len(named) < 100:
        sys.exit("tests/evidence.md has lost its names, or this test cannot find them any more")
    print(f"{len(named)} names in tests/README.md and tests/evidence.md exist", flush=True)


def check_figures():
    """Every figure that tests/benchmark/README.md tells how to measure is one of tests/bench."""
    text = read("tests", "benchmark", "README.md")
    listed = subprocess.run([os.path.join(TOP, "tests", "bench"), "--list"], stdout=subprocess.PIPE, text=True, check=True).stdout
    known = {line.split()[0] for line in listed.splitlines()}
    named = {name for name in commands_of(text) if not name.startswith("--")}
    for names in re.findall(r"tests/bench --full --figures ([a-z0-9_ ]+)", text):
        named.update(names.split())
    if unknown := named - known:
        sys.exit(f"tests/benchmark/README.md: tests/bench has no figure {', '.join(sorted(unknown))}")
    if len(named) < 15:
        sys.exit("tests/benchmark/README.md has lost its figures, or this test cannot find them any more")
    check_tools("tests/benchmark/README.md", re.findall(r"(?m)^(?:\w+=\S+ )?(tests/.*?)(?: *#.*)?$", text))
    print(f"{len(named)} figures in tests/benchmark/README.md can be measured", flush=True)


def check_tools(where, commands):
    """A tool that another step of tests/run runs is there, and knows the options."""
    for command in commands:
        tool, *words = command.split()
        text = read(*tool.split("/")) if os.access(os.path.join(TOP, tool), os.X_OK) else sys.exit(f"{where}: there is no {tool}")
        for word in words:
            if word.startswith("--") and word not in text:
                sys.exit(f"{where}: {tool} does not know {word}")


def is_elsewhere(code):
    first = re.sub(r"\s+#.*", "", code.splitlines()[0])
    if first in ELSEWHERE:
        print(f"elsewhere  {first}   ({ELSEWHERE[first]})")
    return first in ELSEWHERE


class Reader:
    """Somebody who follows the README on a machine of their own."""

    def __init__(self, w):
        self.w, self.ran, self.messages, self.relay, self.inbox = w, 0, 0, None, None
        self.postgres = w.add(Postgres(w.path("pg"))).start()
        self.nats = w.add(Nats(w.path("nats"))).start()
        self.tree, self.root, self.conf = w.path("tree"), w.path("root"), w.path("shop.conf")
        for sql in ("CREATE ROLE shop_owner LOGIN SUPERUSER", "CREATE ROLE shop_relay LOGIN", "CREATE ROLE grafana LOGIN",
                    "CREATE DATABASE shop OWNER shop_owner"):
            self.postgres.execute(sql)
        self.postgres.execute("CREATE TABLE orders (id int PRIMARY KEY, state text)", dbname="shop")
        self.postgres.execute("INSERT INTO orders VALUES (42, 'new')", dbname="shop")
        self.postgres.execute("GRANT SELECT, UPDATE ON orders TO PUBLIC", dbname="shop")
        self.postgres.execute("CREATE SCHEMA shop CREATE TABLE orders (id int PRIMARY KEY, state text)", dbname="shop")
        self.copy_tree()
        self.environment = {**os.environ, "PGHOST": self.postgres.directory, "PGPORT": str(self.postgres.port),
                            "PGUSER": "postgres", "CONF": self.conf, "LETTER": "0", "DESTDIR": self.root,
                            "PATH": f"{self.root}/usr/local/bin:{self.root}/usr/local/sbin:{os.environ['PATH']}"}

    def copy_tree(self):
        listed = subprocess.run(["git", "-C", TOP, "ls-files", "-co", "--exclude-standard"], stdout=subprocess.PIPE, text=True, check=True)
        for name in listed.stdout.splitlines():
            os.makedirs(os.path.dirname(os.path.join(self.tree, name)), exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                shutil.copy2(os.path.join(TOP, name), os.path.join(self.tree, name))

    def shell(self, code):
        if is_elsewhere(code):
            return
        if re.match(r"(runuser -u \w+ -- )?boxhaul run ", code):
            self.start_relay(code)
            return
        code = code.replace("/usr/share/boxhaul", f"{self.root}/usr/local/share/boxhaul")
        self.messages += code.count("boxhaul.publish(")
        print("sh         " + code.replace("\n", "\n           "), flush=True)
        done = subprocess.run(["bash", "-c", PRELUDE + code], cwd=self.tree, env=self.environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"{done.stdout[-4000:]}\n{code!r} ended with status {done.returncode}")
        self.ran += 1

    def start_relay(self, code):
        """It stays in the foreground: another window."""
        print("sh &       " + code, flush=True)
        self.relay = subprocess.Popen(["bash", "-c", PRELUDE + "exec " + code.replace("runuser -u boxhaul -- ", "").replace("shop", '-c "$CONF"')], cwd=self.tree,
                                      env=self.environment, stdin=subprocess.DEVNULL)
        self.ran += 1

    def configuration(self, code):
        owner = f'" ; migrate_conninfo = "{self.postgres.conninfo("shop", "shop_owner")}'
        for printed, ours in (("host=/run/postgresql", f"host={self.postgres.directory} port={self.postgres.port}"),
                              ("user=boxhaul", f"user=boxhaul{owner}"), ("nats://127.0.0.1:4222", self.nats.url())):
            if printed not in code:
                sys.exit(f"the configuration in README.md does not say {printed} any more")
            code = code.replace(printed, ours)
        with open(self.conf, "w", encoding="utf-8") as f:
            f.write(f'{code}\nhealth = {{ listen = "off"; }};\n')

    def subscribe(self, code):
        """Another service: a database and a relay of its own, beside the shop's."""
        path = self.w.path("billing.conf")
        self.postgres.execute("CREATE DATABASE billing OWNER shop_owner")
        with open(path, "w", encoding="utf-8") as f:
            f.write(f'postgres = {{ conninfo = "{self.postgres.conninfo("billing", "shop_owner")}"; }};\n'
                    f'nats = {{ urls = ["{self.nats.url()}"]; }};\n{code}\nhealth = {{ listen = "off"; }};\n')
        for word in ("migrate", "check"):
            self.shell(f"boxhaul {word} -c {path}")
        self.postgres.execute("CREATE ROLE billing_service LOGIN IN ROLE boxhaul_handler")
        self.inbox = subprocess.Popen(["boxhaul", "run", "-c", path], env=self.environment, stdin=subprocess.DEVNULL)

    def sql(self, code, user="shop_service"):
        print("sql        " + code.replace("\n", "\n           "), flush=True)
        self.postgres.execute(code, dbname="shop", user=user)
        self.messages += code.count("INSERT INTO boxhaul.outbox") + code.count("boxhaul.publish(")
        self.ran += 1

    def works(self, code):
        """A worker: what stands in the stream takes effect in the other database, each message once."""
        print("python     " + code.replace("\n", "\n           "), flush=True)
        applied = []
        wait_until(lambda: self.postgres.execute("SELECT count(*) FROM boxhaul.inbox", dbname="billing")[0][0] == self.messages,
                   f"{self.messages} messages in the inbox")
        for _ in range(2 * self.messages + 1):  # a lane each
            with contextlib.closing(self.postgres.connect("billing", "billing_service")) as connection:
                connection.autocommit = False
                exec(compile(code, "README.md", "exec"),  # pylint: disable=exec-used
                     {"connection": connection, "apply": lambda _cursor, rows: applied.extend(row[1] for row in rows)})
        if len(applied) != self.messages or len(set(applied)) != self.messages:
            sys.exit(f"README.md's worker handled the rows {applied} of {self.messages}")
        self.ran += 1

    def go(self, code):
        """Compiled only: no driver is installed."""
        if shutil.which("go") is None:
            print("skipped    the Go example: there is no Go toolchain")
            return
        folder = self.w.path("go")
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, "main.go"), "w", encoding="utf-8") as f:
            f.write('package main\n\nimport (\n"context"\n"database/sql"\n)\n\n'
                    "func apply(ctx context.Context, tx *sql.Tx, rows *sql.Rows) int { return 0 }\n\n"
                    f"func do(ctx context.Context, db *sql.DB) error {{\n{code}\nreturn err\n}}\n\nfunc main() {{ _ = do }}\n")
        done = subprocess.run(["go", "build", "-o", os.devnull, "main.go"], cwd=folder, text=True, check=False,
                              env={**os.environ, "GOFLAGS": "-mod=mod", "GOPROXY": "off"},
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode != 0:
            sys.exit(f"the Go example does not compile:\n{done.stdout}")
        print("compiled   the Go example", flush=True)

    def shown(self, code):
        """A configuration that is not used any further: the program reads it without a complaint."""
        path = self.w.path("example.conf")
        with open(path, "w", encoding="utf-8") as f:
            f.write(code)
        self.shell(f"boxhaul config show -c {path}")

    def python(self, code):
        if "boxhaul.receive" in code:
            self.works(code)
            return
        print("python     " + code.replace("\n", "\n           "), flush=True)
        with contextlib.closing(self.postgres.connect("shop", "shop_service")) as connection:
            connection.autocommit = False
            exec(compile(code, "README.md", "exec"), {"connection": connection})  # pylint: disable=exec-used
        self.messages += code.count("boxhaul.publish(")
        self.ran += 1

    def messages_arrive(self):
        with Client(self.nats.url()) as client:
            js = JetStream(client)
            wait_until(lambda: "ORDERS" in js.names() and js.count("ORDERS") == self.messages,
                       f"{self.messages} messages in the stream")

    def a_dead_letter(self):
        """One that can never be sent, for the pages that tell what to do with it. No producer could insert it."""
        self.postgres.execute("ALTER TABLE boxhaul.outbox DROP CONSTRAINT outbox_subject", dbname="shop")
        self.postgres.execute("CREATE ROLE shop_worker", dbname="shop")
        self.postgres.execute("CREATE SCHEMA billing; CREATE TABLE billing.invoice (order_id text)", dbname="shop")
        self.postgres.execute("INSERT INTO boxhaul.outbox (subject, payload) VALUES ('invoices..sent', '')", dbname="shop")
        wait_until(lambda: self.postgres.execute("SELECT 1 FROM boxhaul.dead_letter", dbname="shop"), "a dead letter")
        self.environment["LETTER"] = str(self.postgres.execute("SELECT id FROM boxhaul.dead_letter", dbname="shop")[0][0])

    def leave(self):
        """SIGTERM drains and exits 0, as the README says."""
        self.relay.send_signal(signal.SIGTERM)
        self.inbox.send_signal(signal.SIGTERM)
        for relay in (self.relay, self.inbox):
            if relay.wait(60) != 0:
                sys.exit(f"boxhaul run ended with status {relay.returncode}")


def follow_readme(reader):
    text = read("README.md")
    for language, code in blocks(text):
        if language == "sh":
            reader.shell(code)
        elif language == "sql":
            reader.sql(code)
        elif language == "python":
            reader.python(code)
        elif language == "go":
            reader.go(code)
        elif code.startswith("postgres ="):
            reader.configuration(code)
        elif code.startswith("inbox ="):
            reader.subscribe(code)
        elif code.startswith("capture ="):
            reader.shown(code)  # tests/system/test_capture_copy.py and packaging/try --capture have whole ones
    reader.messages_arrive()
    commands = commands_of(text)
    for command in commands:
        if command.startswith("boxhaul "):
            reader.shell(command)
    reader.shell("boxhaul resume shop")
    check_tools("README.md", [command for command in commands if not command.startswith("boxhaul ")])
    print(f"{reader.ran} blocks of README.md were run, {reader.messages} messages arrived", flush=True)
    if reader.ran < 15 or reader.messages < 2 or len(commands) < 15:
        sys.exit("README.md has lost its examples, or this test cannot find them any more")


def follow_page(reader, page):
    """GRANT is for the owner, what publishes for the service, and all that reads for whoever watches."""
    for code in examples_of(read("packaging", "man", page)):
        if any(word in code for word in ("boxhaul.receive(", "boxhaul.failed(")):
            continue  # README.md has the same worker; tests/system/test_inbox_sql.py has both
        if "boxhaul.saga_start(" in code:
            continue  # no sagas are configured here; tests/system/test_saga_manual.py starts some
        if code.startswith(("GRANT", "CREATE FUNCTION")):
            reader.sql(code, "shop_owner")
        elif code.startswith(("BEGIN", "SELECT boxhaul.publish")):
            reader.sql(code)
        elif code.startswith("SELECT"):
            reader.sql(code, "grafana")
        elif code.startswith("postgres ="):
            reader.shown(code)
        elif code.startswith("boxhaul "):
            reader.shell(code)
        elif not is_elsewhere(code):
            sys.exit(f"{page}: nobody runs\n{code}")


def follow_manual(reader):
    before = reader.ran
    reader.a_dead_letter()
    for page in MANUAL:
        print(f"--- {page}", flush=True)
        follow_page(reader, page)
        if page == "boxhaul-sql.7":  # it publishes; a later page replays
            reader.messages_arrive()
    print(f"{reader.ran - before} examples of the manual were run")
    if reader.ran - before < 15:
        sys.exit("the manual has lost its examples, or this test cannot find them any more")


def main():
    check_names()
    check_figures()
    with Workspace() as w:
        reader = Reader(w)
        try:
            follow_readme(reader)
            follow_manual(reader)
            reader.leave()
        finally:
            for relay in (reader.relay, reader.inbox):
                if relay is not None and relay.poll() is None:
                    relay.kill()
                    relay.wait()


if __name__ == "__main__":
    main()
