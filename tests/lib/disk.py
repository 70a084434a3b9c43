"""A small file system of its own that can be full. Only who may mount one (root) has it."""

import contextlib
import os
import pwd
import subprocess


class Disk:
    """Under a directory, which need not be there. After mount(), mounted says whether there is one, reason why not."""

    def __init__(self, directory, megabytes):
        self.directory, self.megabytes, self.mounted, self.reason = directory, megabytes, False, None

    def mount(self, user=None):
        """user: whose it is."""
        os.makedirs(self.directory, mode=0o700, exist_ok=True)
        options = f"size={self.megabytes}m,mode=700" + (f",uid={pwd.getpwnam(user).pw_uid},gid={pwd.getpwnam(user).pw_gid}" if user else "")
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "boxhaul-test", self.directory],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        self.mounted, self.reason = done.returncode == 0, done.stdout.strip()
        return self

    def fill(self):
        """To the last byte."""
        with open(os.path.join(self.directory, "filler"), "wb", buffering=0) as f:
            for block in (1 << 20, 1 << 12, 1):
                with contextlib.suppress(OSError):
                    while True:
                        f.write(bytes(block))

    def clear(self):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self.directory, "filler"))

    def close(self):
        if self.mounted:
            subprocess.run(["umount", self.directory], check=True)
            self.mounted = False
