"""Chromium without a window, driven through a pipe in the DevTools protocol: pages as a person's browser shows them."""

import base64
import json
import os
import shutil
import signal
import subprocess

from process import DEADLINE, wait_until

# Without the flags behind --no-first-run it looks for hosts in the world at every start.
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
         "--disable-background-networking", "--disable-component-update", "--disable-sync", "--remote-debugging-pipe"]


def chromium():
    """The program, or None."""
    return shutil.which("chromium")


class Browser:
    """with Browser(w.path("browser")) as b: b.open(url); b.evaluate("document.title")"""

    def __init__(self, directory):
        self.directory, self.number, self.session, self.events = directory, 0, None, []

    def __enter__(self):
        to_read, self.out = os.pipe()
        self.back, to_write = os.pipe()

        def arrange():  # it reads from 3 and writes to 4
            high = [os.dup2(fd, n, inheritable=True) for fd, n in ((to_read, 100), (to_write, 101))]
            for fd, n in zip(high, (3, 4)):
                os.dup2(fd, n, inheritable=True)

        self.process = subprocess.Popen(  # pylint: disable=consider-using-with
            ["setpriv", "--pdeathsig", "KILL", "--", chromium(), *FLAGS, f"--user-data-dir={self.directory}",
             "about:blank"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            close_fds=False, preexec_fn=arrange, start_new_session=True)
        os.close(to_read)
        os.close(to_write)
        self.pipe = os.fdopen(self.back, "rb")
        self.buffer = b""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(self, *exception):
        os.killpg(self.process.pid, signal.SIGKILL)  # its own group, all of its helpers
        self.process.wait()
        self.pipe.close()
        os.close(self.out)

    def _receive(self):
        while b"\0" not in self.buffer:
            chunk = os.read(self.pipe.fileno(), 1 << 20)
            if not chunk:
                raise RuntimeError("the browser is gone")
            self.buffer += chunk
        message, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(message)

    def call(self, method, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        while (answer := self._receive()).get("id") != self.number:
            self.events.append(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def open(self, url):
        self.call("Page.navigate", url=url)
        wait_until(lambda: self.evaluate("document.readyState") == "complete" and self.evaluate("location.href") == url,
                   f"{url} to be loaded")

    def evaluate(self, expression):
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in result:
            raise RuntimeError(f"{expression}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def wait(self, expression, what, deadline=DEADLINE):
        """Until the expression is true; a page that is just being exchanged is not."""
        return wait_until(lambda: self.evaluate(f"Boolean({expression})"), what, deadline)

    def press(self, key):
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=9)

    def screen(self, width, height, dark=False):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        self.call("Emulation.setEmulatedMedia",
                  features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])

    def screenshot(self, path):
        with open(path, "wb") as f:
            f.write(base64.b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]))

    def requests(self):
        """The addresses of everything that was asked for."""
        return [e["params"]["request"]["url"] for e in self.events if e.get("method") == "Network.requestWillBeSent"]

    def complaints(self):
        """Exceptions of the page's script, and what the browser refused or complained about."""
        return ([e["params"]["exceptionDetails"]["text"] for e in self.events
                 if e.get("method") == "Runtime.exceptionThrown"]
                + [e["params"]["entry"]["text"] for e in self.events if e.get("method") == "Log.entryAdded"])
