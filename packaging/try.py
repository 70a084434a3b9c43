"""The show behind packaging/try: a shop, its outbox, boxhaul, a stream, and the count at the end."""

import argparse
import contextlib
import os
import secrets
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "lib"))

import psycopg2  # noqa: E402

from jetstream import JetStream  # noqa: E402
from nats_client import Client, NatsError  # noqa: E402
from process import DEADLINE, Workspace  # noqa: E402
from reconcile import reconcile  # noqa: E402
from relay import Relay  # noqa: E402
from servers import Nats, Postgres  # noqa: E402
from shop import Habits, Shop, create_schema  # noqa: E402

import try_capture  # noqa: E402
import try_dual  # noqa: E402
import try_inbox  # noqa: E402
import try_move  # noqa: E402
import try_saga  # noqa: E402
from try_show import Flow, must_succeed, say  # noqa: E402

ROLES = ("boxhaul_writer", "boxhaul_relay", "boxhaul_monitor", "boxhaul_handler")
CLIENTS = 8


class PrivateDatabase:
    """A PostgreSQL of our own. Shop and relay log in as users with no more than the granted roles."""

    schema = "shop"

    def __init__(self, workspace):
        self.server = workspace.add(Postgres(workspace.path("pg"), survive_us=workspace.keep)).start()
        self.server.execute("CREATE DATABASE shop")
        self.owner = self.server.conninfo("shop")
        self.relay = self.server.conninfo("shop", "shop_relay")
        self.shop = self.server.conninfo("shop", "shop_service")
        self.where = f"a private PostgreSQL {version_of(self.owner)} on 127.0.0.1:{self.server.port}"
        self.left = f"psql '{self.owner}'"

    def admit(self):
        """Called after `boxhaul migrate`, which made the roles."""
        self.server.create_login("shop_relay", "boxhaul_relay")
        self.server.create_login("shop_service", "boxhaul_writer")
        with opened(self.owner) as connection:
            create_schema(connection, self.schema, "shop_service")


class GivenDatabase:
    """The user's own database: everybody logs in as the user said, and what we create we remove."""

    def __init__(self, conninfo, tag):
        self.owner = self.relay = self.shop = conninfo
        self.schema = f"boxhaul_try_{tag}"
        self.where = f"your PostgreSQL {version_of(conninfo)}"
        self.had_roles, self.had_schema = self._look()
        self.left = f"the schemas boxhaul and {self.schema} in your database"

    def admit(self):
        with opened(self.owner) as connection:
            create_schema(connection, self.schema)

    def close(self):
        with opened(self.owner) as connection, connection.cursor() as cursor:
            cursor.execute(f"DROP SCHEMA IF EXISTS {self.schema} CASCADE")
            if self.had_schema:
                return
            cursor.execute("DROP SCHEMA IF EXISTS boxhaul CASCADE")
            for role in set(ROLES) - self.had_roles:
                try:
                    cursor.execute(f"DROP ROLE IF EXISTS {role}")
                except psycopg2.Error as e:  # in use in another database since
                    say(f"the role {role} stays: {str(e).splitlines()[0]}")

    def _look(self):
        """What is there already. A boxhaul at work is none of our business: we would send its messages."""
        with opened(self.owner) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT rolname FROM pg_roles WHERE rolname = ANY (%s)", (list(ROLES),))
            roles = {name for (name,) in cursor.fetchall()}
            cursor.execute("SELECT to_regnamespace('boxhaul') IS NOT NULL")
            if not cursor.fetchone()[0]:
                return roles, False
            cursor.execute("SELECT EXISTS (SELECT FROM boxhaul.messages WHERE state <> 'sent'), "
                           "EXISTS (SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database "
                           "WHERE l.locktype = 'advisory' AND d.datname = current_database())")
            unsent, busy = cursor.fetchone()
        if unsent or busy:
            found = "unsent messages" if unsent else "a relay at work"
            raise RuntimeError(f"--postgres: this database has a boxhaul with {found}; name another, "
                               "for instance a new one (createdb boxhaul_try)")
        return roles, True


class PrivateBroker:
    """A nats-server of our own."""

    stream, subjects = "ORDERS", "orders"

    def __init__(self, workspace):
        self.server = workspace.add(Nats(workspace.path("nats"), survive_us=workspace.keep)).start()
        self.url = self.server.url()
        self.where = f"a private nats-server {self.server.version()} on 127.0.0.1:{self.server.port}"
        self.left = f"{self.url}, stream {self.stream}"


class GivenBroker:
    """The user's own NATS: one stream under a name nobody has, removed at the end."""

    def __init__(self, url, tag):
        self.url = url
        self.stream, self.subjects = f"BOXHAUL_TRY_{tag.upper()}", f"boxhaul_try_{tag}"
        try:
            with Client(url) as client:
                JetStream(client).names()  # fails here and now where JetStream is off
                self.where = f"your nats-server {client.info['version']}"
        except (OSError, NatsError, ValueError) as e:
            raise RuntimeError(f"--nats: no JetStream at {url.rpartition('@')[2]}: {e}") from None
        self.left = f"the stream {self.stream} on your nats-server"

    def close(self):
        with Client(self.url) as client:
            jetstream = JetStream(client)
            if self.stream in jetstream.names():
                jetstream.delete(self.stream)


@contextlib.contextmanager
def opened(conninfo):
    """An autocommit connection, closed at the end (psycopg2's own `with` does not)."""
    connection = psycopg2.connect(conninfo, connect_timeout=30)
    connection.autocommit = True
    try:
        yield connection
    finally:
        connection.close()


def version_of(conninfo):
    with opened(conninfo) as connection:
        return connection.get_parameter_status("server_version").split()[0]


class Trade:
    """What is committed, and what is stored of it."""

    def __init__(self, shop, stored):
        self.shop, self.stored, self.before = shop, stored, 0

    def look(self):
        stored, committed = self.stored(), len(self.shop.ledger.committed)
        rate, self.before = stored - self.before, stored
        return (stored, committed), (f"committed {committed:9,}   stored {stored:9,}   "
                                     f"backlog {max(0, committed - stored):7,}   {rate:7,}/s")


def settings(database, broker):
    """boxhaul's configuration file."""
    return {"name": "try",
            "postgres": {"conninfo": database.relay, "migrate_conninfo": database.owner},
            "nats": {"urls": [broker.url]},
            "streams": [{"name": broker.stream, "subjects": [f"{broker.subjects}.>"], "create": True}],
            "log": {"level": "info"}}


def open_shop(shop, relay, stored, seconds):
    """Trade for a while, then wait until all of it is stored. Returns what went wrong."""
    flow = Flow(Trade(shop, stored).look, [relay])
    shop.start()
    try:
        flow.show_until(lambda: flow.is_over(seconds))
        shop.stop()
        finished = flow.show_until(lambda: stored() >= len(shop.ledger.committed))
    finally:
        flow.end()
    problems = [] if finished else [f"nothing moved for {DEADLINE} s; the end of boxhaul's log:\n{relay.log_tail()}"]
    if shop.errors:
        problems.append(f"the shop got {len(shop.errors)} SQL errors, the first: {shop.errors[0]}")
    return problems


def judge(database, relay, ledger, stream):
    """Stop the relay and count. Returns the reconciliation and what else is wrong."""
    problems = []
    if (status := relay.stop()) != 0:
        problems.append(f"boxhaul run ended with status {status} on SIGTERM:\n{relay.log_tail()}")
    with opened(database.owner) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT state, count(*) FROM boxhaul.messages WHERE state <> 'sent' GROUP BY 1")
        problems += [f"{count} messages are not marked sent but {state}" for state, count in cursor.fetchall()]
    result = reconcile(ledger, stream)
    return result, problems + result.examples


def run(workspace, database, broker, boxhaul, seconds):
    say(f"using {database.where}\n  and {broker.where}")
    relay = workspace.add(Relay(boxhaul, workspace.path("relay"), settings(database, broker)))
    must_succeed(relay, "migrate")
    database.admit()
    must_succeed(relay, "check")
    say("boxhaul migrate and boxhaul check are content, boxhaul run runs")
    relay.start()
    say(f"the shop opens for {seconds} s: {CLIENTS} clients, one transaction in 10 rolls back, some commit late")
    shop = workspace.add(Shop(database.shop, database.schema, broker.subjects, CLIENTS, habits=Habits(pause=0.002)))
    with Client(broker.url) as client:
        jetstream = JetStream(client)
        problems = open_shop(shop, relay, lambda: jetstream.count(broker.stream), seconds)
        say(f"the shop is closed: {len(shop.ledger.aborted):,} messages were rolled back and must not be there; "
            "stopping boxhaul and reading the stream")
        result, more = judge(database, relay, shop.ledger, jetstream.read(broker.stream))
    return result, problems + more


def tell_what_is_left(workspace, database, broker, boxhaul):
    """For --keep: how to connect, and how to be rid of it."""
    stop = workspace.path("stop")
    pidfiles = [os.path.join(workspace.path(), name) for name in ("pg/data/postmaster.pid", "nats/pid")]
    with open(stop, "w", encoding="utf-8") as f:
        f.write("#!/bin/sh\n# Ends the servers that packaging/try --keep left, and removes their directory.\n"
                f"for file in {' '.join(pidfiles)}; do\n\t[ -f \"$file\" ] || continue\n"
                "\tpid=$(head -n 1 \"$file\")\n\tkill -INT \"$pid\"\n"
                "\twhile kill -0 \"$pid\" 2>/dev/null; do sleep 0.1; done\ndone\n"
                f"rm -rf {workspace.path()}\n")
    os.chmod(stop, 0o755)
    say(f"""kept:
  database   {database.left}
  stream     {broker.left}
  relay      {boxhaul} run -c {workspace.path('relay', 'boxhaul.conf')}
  a message  SELECT boxhaul.publish('{broker.subjects}.hello', '{{"hello": "world"}}'::jsonb);
  the end    {stop}""")


def parse_arguments():
    parser = argparse.ArgumentParser(prog="packaging/try", add_help=False)
    parser.add_argument("--boxhaul", required=True)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--inbox", action="store_true")
    parser.add_argument("--saga", action="store_true")
    parser.add_argument("--capture", action="store_true")
    parser.add_argument("--dual-write", action="store_true")
    parser.add_argument("--move", action="store_true")
    parser.add_argument("--postgres")
    parser.add_argument("--nats")
    return parser.parse_args()


def main():
    options, tag = parse_arguments(), secrets.token_hex(3)
    with Workspace(keep=options.keep) as workspace:
        if options.inbox:
            return try_inbox.run(workspace, options.boxhaul, options.seconds)
        if options.capture:
            return try_capture.run(workspace, options.boxhaul, options.seconds)
        if options.dual_write:
            return try_dual.run(workspace, options.boxhaul, options.seconds)
        if options.move:
            return try_move.run(workspace, options.boxhaul, options.seconds)
        if options.saga:
            return try_saga.run(workspace, options.boxhaul, options.seconds)
        database = (workspace.add(GivenDatabase(options.postgres, tag)) if options.postgres
                    else PrivateDatabase(workspace))
        broker = workspace.add(GivenBroker(options.nats, tag)) if options.nats else PrivateBroker(workspace)
        try:
            result, problems = run(workspace, database, broker, options.boxhaul, options.seconds)
        finally:
            if options.keep:
                tell_what_is_left(workspace, database, broker, options.boxhaul)
    for problem in problems:
        say(problem)
    say(str(result))
    return 0 if result.clean() and not problems else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (RuntimeError, OSError, psycopg2.Error, NatsError) as e:
        print(f"packaging/try: {str(e).rstrip()}", file=sys.stderr)
        sys.exit(1)
