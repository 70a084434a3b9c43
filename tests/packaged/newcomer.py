#!/usr/bin/python3
"""newcomer.py INIT ROOT: follows README.md on the machine whose first process is INIT and whose files lie in ROOT.

Every block of *Install* and *Set it up* is run as it is printed, in order, by root in a clone of the repository. Then the message that
was sent has to be in the stream, and the commands of the table have to work for the relay's user. Differences: answers to apt's
question whether to go on are typed ahead; what is built from source is installed aside, so that the package's program is the one that
is tried; the relay in the foreground is stopped before the service starts, for one of them is enough."""

import os
import re
import subprocess
import sys
import time

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
sys.path[:0] = [os.path.join(TOP, "tests"), os.path.join(TOP, "tests", "lib")]

from process import wait_until  # noqa: E402
from readme import blocks, commands_of  # noqa: E402

CONF = "/etc/boxhaul/shop.conf"
AS_RELAY = "runuser -u boxhaul -- "
FETCHES = ("apt ", "packaging/")  # blocks that need the network of this machine; there is none inside


class Machine:
    def __init__(self, init, root):
        self.init, self.root, self.ran = init, root, 0

    def argv(self, code, network=False):
        return ["nsenter", "-t", self.init, "-m", "-p", "-u", "-i", "-C", *([] if network else ["-n"]), "--",
                "env", "-i", "-C", "/root/boxhaul", "HOME=/root", "LANG=C.UTF-8", "DEBIAN_FRONTEND=noninteractive",
                "DEB_BUILD_OPTIONS=" + os.environ.get("DEB_BUILD_OPTIONS", ""), "DESTDIR=" + ("/root/aside" if "make install" in code else ""),
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "bash", "-e", "-c", code]

    def run(self, code, may_fail=False):
        done = subprocess.run(self.argv(code, code.startswith(FETCHES)), input="y\n" * 9, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode != 0 and not may_fail:
            wrong = "\n".join(re.findall(r"(?m)^(?:not ok|FAIL).*$", done.stdout))
            sys.exit(f"{code}\nended with status {done.returncode}:\n{wrong}\n{done.stdout[-4000:]}")
        return done.stdout

    def follow(self, code):
        begin = time.monotonic()
        self.run(code)
        self.ran += 1
        print(f"ok - {code.splitlines()[0]}   ({time.monotonic() - begin:.0f} s)", flush=True)

    def foreground(self, code):
        """Until it leads; then SIGTERM ends it well."""
        relay = subprocess.Popen(self.argv(code), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            wait_until(lambda: relay.poll() is not None or "leading" in self.run(f"{AS_RELAY}boxhaul status shop", may_fail=True), "the relay to lead")
            self.run("kill $(pidof boxhaul)")
            said, _ = relay.communicate(timeout=60)
        finally:
            relay.kill()
        if relay.returncode != 0:
            sys.exit(f"{code}\nended with status {relay.returncode}:\n{said[-4000:]}")
        self.ran += 1
        print(f"ok - {code}", flush=True)

    def configure(self, code):
        with open(self.root + CONF, "w", encoding="utf-8") as f:
            f.write(code + "\n")
        print(f"ok - {CONF}", flush=True)


def section(text, name):
    return re.search(rf"(?ms)^## {name}\n(.*?)^## ", text).group(1)


def stored(init):
    """Messages in the stream, seen by our own reader from inside the machine's network."""
    code = ("import sys; sys.path.insert(0, sys.argv[1]); from jetstream import JetStream; from nats_client import Client\n"
            "with Client('nats://127.0.0.1:4222') as client: print(*(m.payload.decode() for m in JetStream(client).read('ORDERS')))")
    return subprocess.run(["nsenter", "-t", init, "-n", "--", "/usr/bin/python3", "-B", "-c", code, os.path.join(TOP, "tests", "lib")],
                          stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def main():
    machine = Machine(*sys.argv[1:])
    with open(os.path.join(TOP, "README.md"), encoding="utf-8") as f:
        text = f.read()
    later = None
    for language, code in blocks(section(text, "Install") + section(text, "Set it up")):
        if language != "sh":
            machine.configure(code)
        elif code.startswith("systemctl enable"):
            later = code
        elif "boxhaul run" in code:
            machine.foreground(code)
            machine.follow(later)
        else:
            machine.follow(code)
    wait_until(lambda: "sent" in machine.run(f"{AS_RELAY}boxhaul explain shop 1"), "the first message to be sent")
    if stored(machine.init) != "world":
        sys.exit(f"the stream holds {stored(machine.init)!r}")
    for command in commands_of(text):
        if command.startswith("boxhaul "):
            machine.run(AS_RELAY + command)
            machine.ran += 1
    if machine.ran < 16:
        sys.exit("README.md has lost its examples, or this test cannot find them any more")
    print(f"OK {machine.ran} blocks and commands of README.md, the first message arrived", flush=True)


if __name__ == "__main__":
    main()
