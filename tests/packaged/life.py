#!/usr/bin/python3
"""A package's life on a machine of its own. tests/packaged/life runs this inside a clean Debian root with a real systemd.

The previous version is installed and serves a shop: PostgreSQL lets its user in by peer authentication, the password for
NATS is a credential of systemd. It is upgraded with data in flight, killed, frozen, given a bad configuration, stopped,
removed, purged. An independent reader counts what arrived, and all files of the machine are compared with those before."""

import hashlib
import os
import stat
import subprocess
import sys
import time

SOURCE = "/root/source"
sys.path.insert(0, f"{SOURCE}/tests/lib")

import psycopg2  # noqa: E402

from jetstream import JetStream  # noqa: E402
from nats_client import Client  # noqa: E402
from process import wait_until  # noqa: E402
from reconcile import reconcile  # noqa: E402
from shop import Habits, Shop, create_schema  # noqa: E402

UNIT, CONF = "boxhaul@shop.service", "/etc/boxhaul/shop.conf"
NATS_URL = "nats://relay:secret@127.0.0.1:4222"
OWNER = "host=/run/postgresql dbname=shop user=root"
CONFIGURATION = f"""
postgres = {{ conninfo = "host=/run/postgresql dbname=shop user=boxhaul"; migrate_conninfo = "{OWNER}"; }};
nats = {{ urls = [ "nats://127.0.0.1:4222" ]; user = "relay"; password_file = "/run/credentials/{UNIT}/nats"; }};
streams = ( {{ name = "ORDERS"; subjects = [ "orders.>" ]; create = true; }} );
"""
NATS_CONF = """
listen: 127.0.0.1:4222
jetstream { store_dir: /var/lib/nats }
authorization { user: relay, password: secret }
"""

NO_DISK = ("/proc", "/sys", "/dev", "/run", "/tmp", "/old")
# What a machine writes by itself while packages come and go.
RESTLESS = ("/etc/ld.so.cache", "/etc/machine-id", "/etc/resolv.conf", "/etc/.pwd.lock", "/root/", "/var/cache/",
            "/var/lib/apt/", "/var/lib/dpkg/", "/var/lib/postgresql/", "/var/log/", "/var/lib/systemd/random-seed",
            "/var/lib/systemd/timers", "/var/lib/systemd/catalog", "/var/lib/systemd/credential")
# The user stays, as Debian's users do: files of it may be anywhere.
USERS = tuple(f"/etc/{file}{backup}" for file in ("passwd", "group", "shadow", "gshadow") for backup in ("", "-"))
# Written by the operator, that is by us, and so theirs to remove.
WANTS = "/etc/systemd/system/boxhaul.target.wants"
OPERATORS = {"/etc/boxhaul", CONF, WANTS, f"{WANTS}/{UNIT}"}
SERVERS = ("/etc/nats-server.conf", "/etc/systemd/system/nats-server.service.d", "/var/lib/nats")


def run(*argv, may_fail=False, **options):
    """Run a command to its end; returns its output."""
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False, **options)
    if done.returncode != 0 and not may_fail:
        raise RuntimeError(f"{' '.join(argv)} ended with status {done.returncode}:\n{done.stdout[-4000:]}")
    return done.stdout.strip()


def show(key, unit=UNIT):
    return run("systemctl", "show", "-P", key, unit)


def demand(truth, what):
    if not truth:
        raise AssertionError(what)


def told(what):
    print(f"ok - {what}", flush=True)


def write(path, text, mode=0o644):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as f:
        os.fchmod(f.fileno(), mode)
        f.write(text)


def content_of(path, about):
    if stat.S_ISLNK(about.st_mode):
        return os.readlink(path)
    if not stat.S_ISREG(about.st_mode):
        return ""
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


def every_file():
    """path -> what can be said of it, for all that is on the disk."""
    found = {}
    for top, directories, files in os.walk("/"):
        directories[:] = [name for name in directories if os.path.join(top, name) not in NO_DISK]
        for name in directories + files:
            path = os.path.join(top, name)
            if path.startswith(RESTLESS + USERS):
                continue
            about = os.lstat(path)
            found[path] = (oct(about.st_mode), about.st_uid, about.st_gid, content_of(path, about))
    return found


def version_of(file):
    return run("dpkg-deb", "-f", file, "Version")


def install(file):
    run("apt-get", "-q", "-y", "install", "--no-install-recommends", file)
    demand(run("dpkg-query", "-W", "-f=${Version}", "boxhaul") == version_of(file), "another version is installed")


def servers():
    """The machine's own PostgreSQL and nats-server; there is nobody else on it."""
    write("/etc/nats-server.conf", NATS_CONF)
    write("/etc/systemd/system/nats-server.service.d/store.conf", "[Service]\nStateDirectory=nats\n")
    run("systemctl", "daemon-reload")
    run("systemctl", "start", "nats-server", "postgresql@15-main")
    for sql in ("CREATE ROLE root LOGIN SUPERUSER", "CREATE ROLE boxhaul LOGIN", "CREATE DATABASE shop"):
        run("runuser", "-u", "postgres", "--", "psql", "-qc", sql)


def configure():
    write(CONF, CONFIGURATION, 0o640)
    os.chown(CONF, 0, os.stat("/etc/boxhaul").st_gid)
    write("/etc/boxhaul/nats-password", "secret\n", 0o600)  # root's: the relay's user cannot read it
    write(f"/etc/systemd/system/{UNIT}.d/secret.conf", "[Service]\nLoadCredential=nats:/etc/boxhaul/nats-password\n")
    run("systemctl", "daemon-reload")


def prepare_database():
    """What the README says: migrate as the owner, let the relay's user in."""
    run("boxhaul", "migrate", "shop")
    with psycopg2.connect(OWNER) as connection:
        create_schema(connection, "shop", "boxhaul_writer")
        connection.cursor().execute("GRANT boxhaul_relay TO boxhaul")


def is_sandboxed():
    """The process as the kernel sees it."""
    pid = show("MainPID")
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        facts = dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)
    demand(run("ps", "-o", "user=", "-p", pid) == "boxhaul", "it is not the user boxhaul")
    demand(facts["CapBnd"] == facts["CapEff"] == "0" * 16, f"it has capabilities: {facts}")
    demand((facts["NoNewPrivs"], facts["Seccomp"]) == ("1", "2"), f"no seccomp: {facts}")
    demand(os.readlink(f"/proc/{pid}/ns/user") != os.readlink("/proc/1/ns/user"), "it sees the users of the machine")


class Trade:
    """The shop, open while something happens; what it committed has to arrive."""

    ledgers, number = [], 0

    def __enter__(self):
        Trade.number += 1
        conninfo = "host=/run/postgresql dbname=shop user=root options=-crole=boxhaul_writer"
        self.shop = Shop(conninfo, "shop", "orders", 4, name=f"trade{Trade.number}-", habits=Habits(pause=0.002))
        self.shop.start()
        self.flows()
        return self

    def flows(self, more=300):
        """Messages arrive."""
        with Client(NATS_URL) as client:
            stream = JetStream(client)
            begun = stream.count("ORDERS") if "ORDERS" in stream.names() else 0
            wait_until(lambda: "ORDERS" in stream.names() and stream.count("ORDERS") >= begun + more,
                       "messages in the stream")

    def __exit__(self, kind, *_):
        self.shop.stop()
        Trade.ledgers.append(self.shop.ledger)
        if kind is None:
            demand(not self.shop.errors, f"the shop got SQL errors: {self.shop.errors[:1]}")
            wait_until(lambda: stored() >= committed(), "everything committed to be stored")


def committed():
    return sum(len(ledger.committed) for ledger in Trade.ledgers)


def stored():
    with Client(NATS_URL) as client:
        return JetStream(client).count("ORDERS")


def is_upgraded():
    with Trade() as trade:
        before = show("MainPID")
        install("/root/new.deb")
        wait_until(lambda: show("ActiveState") == "active", "the new version to run")
        demand(show("MainPID") not in (before, "0"), "the upgrade did not restart the relay")
        demand(show("NRestarts") == "0", "the old version did not end well")
        trade.flows()
    told(f"upgraded from {version_of('/root/previous.deb')} to {version_of('/root/new.deb')} with data in flight")


def is_killed():
    with Trade() as trade:
        before = show("MainPID")
        run("kill", "-9", before)
        wait_until(lambda: (show("NRestarts"), show("ActiveState")) == ("1", "active"), "systemd to start it again")
        trade.flows()
    told("killed, and started again")


def is_frozen():
    """A loop that does not turn is a relay that is not there. 2 s instead of 30, to save time."""
    drop_in = f"/etc/systemd/system/{UNIT}.d/watchdog.conf"
    write(drop_in, "[Service]\nWatchdogSec=2\n")
    run("systemctl", "daemon-reload")
    run("systemctl", "restart", UNIT)
    with Trade() as trade:
        before, killings = show("MainPID"), show("NRestarts")
        time.sleep(5)  # what it has to outlive, not what we wait for
        demand((show("MainPID"), show("NRestarts")) == (before, killings), "the watchdog killed a relay that works")
        run("kill", "-STOP", before)
        wait_until(lambda: (show("NRestarts"), show("ActiveState")) == (str(int(killings) + 1), "active"),
                   "the watchdog to strike")
        trade.flows()
    os.remove(drop_in)
    run("systemctl", "daemon-reload")
    run("systemctl", "restart", UNIT)
    told("frozen, found by the watchdog, and started again")


def is_reloaded():
    """A good configuration is taken, a bad one refused; neither disturbs."""
    with Trade() as trade:
        before = show("MainPID")
        run("systemctl", "reload", UNIT)
        trade.flows()
        write(CONF, "nonsense\n", 0o640)
        run("systemctl", "reload", UNIT)
        trade.flows()
        demand((show("MainPID"), show("ActiveState")) == (before, "active"), "a reload ended it")
    told("reloaded, also with a bad configuration")


def has_a_bad_configuration():
    write(CONF, "nonsense\n", 0o640)
    run("systemctl", "restart", UNIT, may_fail=True)
    wait_until(lambda: show("SubState") in ("failed", "auto-restart"), "it to give up")
    demand((show("SubState"), show("ExecMainStatus")) == ("failed", "3"), "it is started again and again")
    configure()
    run("systemctl", "restart", UNIT)
    told("a bad configuration is told once, and mended")


def follows_the_target():
    with Trade() as trade:
        run("systemctl", "stop", "boxhaul.target")
        demand((show("ActiveState"), show("Result")) == ("inactive", "success"), "it does not stop with its target")
        run("systemctl", "start", "boxhaul.target")
        wait_until(lambda: show("ActiveState") == "active", "an enabled instance to start with the target")
        trade.flows()
    told("stops and starts with boxhaul.target")


def debian_tests():
    """As autopkgtest would run them: in the unpacked source, against what is installed."""
    for test in ("main-job", "service"):
        said = run(f"debian/tests/{test}", cwd=SOURCE)
        told(f"debian/tests/{test}: {said.splitlines()[-1]}")


def arrived():
    with Client(NATS_URL) as client:
        result = reconcile(Trade.ledgers, JetStream(client).read("ORDERS"))
    demand(result.clean(), f"{result}\n" + "\n".join(result.examples))
    return result


def is_removed(before):
    """removed: nothing runs any more. purged: what is left is what the operator wrote."""
    pid = show("MainPID")
    run("apt-get", "-q", "-y", "remove", "boxhaul")
    demand(not os.path.exists(f"/proc/{pid}"), "it runs on though it is removed")
    os.remove("/etc/boxhaul/nats-password")
    os.remove(f"/etc/systemd/system/{UNIT}.d/secret.conf")
    os.rmdir(f"/etc/systemd/system/{UNIT}.d")
    run("apt-get", "-q", "-y", "purge", "--auto-remove", "boxhaul")
    run("systemctl", "stop", "nats-server", "postgresql@15-main")
    after = every_file()
    ours = {path for path in after if before.get(path) != after[path]} | (before.keys() - after.keys())
    ours = {path for path in ours if not path.startswith(SERVERS)}
    demand(ours == OPERATORS, f"left or changed by the package: {sorted(ours ^ OPERATORS)}")
    told("removed and purged; nothing is left but what the operator wrote, and the user")


def main():
    before = every_file()
    servers()
    install("/root/previous.deb")
    demand(show("ActiveState", "boxhaul.target") == "active", "boxhaul.target is not active")
    demand(run("systemctl", "is-enabled", "boxhaul.target") == "enabled", "boxhaul.target is not enabled")
    configure()
    prepare_database()
    run("systemctl", "enable", "--now", UNIT)
    with Trade():
        is_sandboxed()
    run("runuser", "-u", "boxhaul", "--", "boxhaul", "check", "shop")
    told("installed, configured, and at work in its sandbox: peer authentication, LoadCredential")
    is_upgraded()
    is_killed()
    is_frozen()
    is_reloaded()
    has_a_bad_configuration()
    follows_the_target()
    result = arrived()
    debian_tests()
    is_removed(before)
    print(f"OK {result}")


if __name__ == "__main__":
    try:
        main()
    except Exception:
        print(run("journalctl", "--no-pager", "-n", "60", "-u", UNIT, may_fail=True), file=sys.stderr)
        raise
