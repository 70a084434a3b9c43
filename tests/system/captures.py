"""What the tests of captures share: a database whose tables are captured, the load on them, and the audit at the end."""

import contextlib

from harness import RELAY, SERVICE  # first: it knows where the library is
from copied import Copy, Source
from legacy import TABLES, Legacy, Ways, create_tables
from limbo import Limbo
from pgoutput_log import Log
from test_operation import OperationTest

STREAM, NAME = "CDC", "shop"
SETTINGS = {"wal_level": "logical", "max_prepared_transactions": "5", "max_replication_slots": "20", "max_wal_senders": "20"}


class CaptureTest(OperationTest):
    """One capture called shop, of the tables of a legacy shop, into the stream CDC. Its login has what the manual asks for and no more."""

    postgres_settings = SETTINGS
    tables, orders, format = TABLES, 500, "row"

    @classmethod
    def _settings(cls, database):
        settings = super()._settings(database)
        del settings["streams"]  # it has no outbox
        settings["capture"] = [{"name": NAME, "tables": cls.tables, "stream": STREAM, "create": True, "replicas": cls.nats.replicas,
                                "format": cls.format, "chunk_rows": 100}]
        return settings

    @classmethod
    def _make_template(cls):
        super()._make_template()
        cls.pg.execute(f"ALTER ROLE {RELAY} REPLICATION")
        cls.pg.execute(f"GRANT boxhaul_capture TO {RELAY}")
        with contextlib.closing(cls.pg.connect("migrated")) as connection:
            create_tables(connection, cls.orders, SERVICE)
        cls.pg.execute("GRANT USAGE ON SCHEMA legacy TO boxhaul_capture; GRANT SELECT ON ALL TABLES IN SCHEMA legacy TO boxhaul_capture",
                       dbname="migrated")

    @classmethod
    def let_sink(cls):
        """For a template: the daemon's login may have a sink."""
        cls.pg.execute(f"GRANT boxhaul_sink TO {RELAY}")
        if int(cls.pg.execute("SHOW server_version_num")[0][0]) >= 150000:
            cls.pg.execute(f"GRANT SET ON PARAMETER session_replication_role TO {RELAY}")

    def setUp(self):
        super().setUp()
        self.limbo = self.log = None
        self.source = self.source_of()

    # -- what a test starts

    def source_of(self, tables=None):
        return Source(self.pg, self.database, tables or self.tables, self.format)

    def add_capture(self, capture=None, **groups):
        """A relay with the capture, not started yet. capture changes its settings."""
        if capture:
            groups["capture"] = [{**self._settings(self.database)["capture"][0], **capture}]
        return self.add_relay(**groups)

    def say(self, relay, *words, status=0):
        """`boxhaul WORDS`, which must end with this status. Returns what it said."""
        done = relay.command(*words)
        self.assertEqual(done.returncode, status, f"boxhaul {' '.join(words)}: {done.stdout}")
        return done.stdout

    def start_capture(self, capture=None, wait=True, **groups):
        """The owner makes the capture, the daemon runs it; it has its slot then."""
        relay = self.add_capture(capture, **groups)
        self.say(relay, "capture", "start", NAME)
        relay.start()
        if wait:
            self.wait(lambda: self.state() == "live", "the capture to be live")
        return relay

    def start_whole(self, capture=None, **groups):
        """All rows that were there are stored, and the server was told."""
        relay = self.start_capture(capture, **groups)
        self.wait_complete()
        self.wait_confirmed()
        return relay

    def go_on_with(self, twin):
        """The server is this one from now on, until the test has ended."""
        old, self.pg = self.pg, twin

        def go_back():
            self.pg = old
        self.addCleanup(go_back)
        self.addCleanup(twin.close)
        self.source = self.source_of()

    def witness(self):
        """The log by itself, from now on. The publication must stand."""
        self.log = Log(self.pg, self.database, [f"boxhaul_{NAME}"], f"witness_{self.database}")
        return self.log

    def open_legacy(self, **ways):
        clients = ways.pop("clients", 5)
        shop = Legacy(self.pg.conninfo(self.database, SERVICE), clients, self.orders, Ways(**{"pause": 0.004, **ways}))
        self.shops.append(shop)
        return shop.start()

    def open_limbo(self, delay):
        self.limbo = Limbo(self.pg, delay).start()
        return self.limbo

    # -- what a test sees

    def books(self, columns):
        return self.sql(f"SELECT {columns} FROM boxhaul.capture WHERE name = %s", (NAME,))[0]

    def state(self):
        return self.books("state")[0]

    def reason(self):
        return self.books("reason")[0]

    def slot(self, columns="confirmed_flush_lsn"):
        """Of the slot; None where there is none."""
        rows = self.pg.execute(f"SELECT {columns} FROM pg_replication_slots WHERE slot_name = %s", self.books("slot"))
        return rows[0] if rows else None

    def wait_slot_free(self):
        """A session may live on for a moment when who had it has ended."""
        self.wait(lambda: self.slot("active") == (False,), "the slot to be free")

    def unfinished(self):
        return [tab for (tab,) in self.sql("SELECT tab FROM boxhaul.capture_table WHERE state <> 'complete' ORDER BY tab")]

    def wait_complete(self):
        self.wait(lambda: not self.unfinished(), "all tables to be complete", progress=self.progress)

    def progress(self):
        return self.sql("SELECT state, cursor, rows FROM boxhaul.capture_table ORDER BY tab"), self.books("end_lsn"), self.count(STREAM)

    def wait_confirmed(self):
        """All that was in the log when we began to wait is settled, and the server was told."""
        (here,), = self.sql("SELECT pg_current_wal_insert_lsn()")
        name, = self.books("slot")

        def confirmed():
            return self.pg.execute("SELECT confirmed_flush_lsn >= %s FROM pg_replication_slots WHERE slot_name = %s", (here, name)) == [(True,)]
        try:
            self.wait(confirmed, f"the slot to reach {here}", progress=self.progress)
        except AssertionError as e:
            found = self.pg.execute("SELECT s.confirmed_flush_lsn, r.sent_lsn, r.write_lsn, r.flush_lsn, pg_current_wal_flush_lsn(), "
                                    "pg_current_wal_insert_lsn() FROM pg_replication_slots s LEFT JOIN pg_stat_replication r ON "
                                    "r.pid = s.active_pid WHERE s.slot_name = %s", (name,))
            raise AssertionError(f"{e}: confirmed, sent, write, flush; the server's flush, insert: {found}") from None

    def let_work(self, transactions):
        """Let the legacy shops go on until they have committed so many more."""
        goal = sum(shop.committed for shop in self.shops) + transactions
        self.wait(lambda: sum(shop.committed for shop in self.shops) >= goal, f"{transactions} transactions",
                  progress=lambda: sum(shop.committed for shop in self.shops))

    def events(self):
        return Copy().read(self.stored(STREAM)).events

    # -- the end of a test

    def audit_capture(self, source=None, **options):
        """Close the shops, wait until all is stored, rebuild the tables from the stream, and compare. Returns the copy."""
        for shop in self.shops:
            shop.stop()
        self.wait_complete()
        self.wait_confirmed()
        copy = Copy(**options).read(self.stored(STREAM))
        there, _here, _different = copy.compare(source or self.source)
        if self.log:
            copy.compare_with_log(self.log.changes(), source or self.source)
        self.assertEqual(dict(copy.faults), {}, copy.examples)
        self.assertGreater(there, 0)
        self.assertEqual([error for shop in self.shops for error in shop.errors], [], "errors that the legacy shop saw")
        self.assertEqual(self.sql("SELECT reason, tab, key FROM boxhaul.capture_letter"), [])
        return copy

    def _clean_up(self):
        for shop in self.shops:
            shop.stopping.set()
        if self.limbo:
            self.limbo.close()
        for relay in self.relays:
            relay.close()
        self._revive()
        self.wait(self._drop_slots, "the slots to be free")
        super()._clean_up()

    def _drop_slots(self):
        self.pg.execute("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE database = %s AND active", (self.database,))
        self.pg.execute("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = %s AND NOT active",
                        (self.database,))
        return not self.pg.execute("SELECT FROM pg_replication_slots WHERE database = %s", (self.database,))
