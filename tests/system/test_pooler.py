"""A connection pooler between the relay and its database: in transaction mode it is refused before anything is set, in session
mode it works."""

import contextlib
import threading
import unittest

import psycopg2

from harness import RELAY, SERVICE, SystemTest
from pooler import PgBouncer

REFUSED = "a connection pooler in transaction mode stands between"
SETTINGS = ("search_path", "synchronous_commit", "enable_seqscan", "statement_timeout", "lock_timeout", "row_security",
            "default_transaction_read_only")


class PoolerTest(SystemTest):
    def pooler(self, mode, size=20):
        name = f"{self.database}-pooler"
        return self.workspace.add(PgBouncer(self.workspace.path(name), self.pg, mode, [RELAY, SERVICE], size)).start()

    def relay_through(self, pooler, user=RELAY):
        return self.add_relay(postgres={"conninfo": pooler.conninfo(self.database, user),
                                        "migrate_conninfo": pooler.conninfo(self.database, self.pg.superuser)})


class Transactions(PoolerTest):
    def test_every_command_refuses_it_and_sets_nothing(self):
        """The service shares login and pool with the relay: what a command set would be the service's."""
        self.sql(f"GRANT boxhaul_relay TO {SERVICE}")
        self.addCleanup(self.sql, f"REVOKE boxhaul_relay FROM {SERVICE}")
        for size in (1, 20):
            with self.subTest(size=size):
                pooler = self.pooler("transaction", size)
                relay = self.relay_through(pooler, SERVICE)
                for words in (["check"], ["status"], ["explain", "1"], ["dead-letters", "list"], ["pause", "--no-wait"],
                              ["resume"], ["reconcile"], ["migrate"]):
                    done = relay.command(*words)
                    self.assertIn(REFUSED, done.stdout, words)
                    self.assertNotEqual(done.returncode, 0, words)
                relay.start()
                self.wait(lambda relay=relay: REFUSED in relay.log_tail(50), "the relay to say so")
                self.assertTrue(relay.alive())
                self.assertEqual(relay.get("/readyz")[0], 503)
                self.assert_untouched(pooler)
                relay.stop()
                pooler.close()

    def assert_untouched(self, pooler):
        """Every backend of the pool has the settings of a fresh session, and no lock of ours."""
        show = "SELECT " + ", ".join(f"current_setting('{name}')" for name in SETTINGS)
        with contextlib.closing(self.connect(SERVICE)) as direct, direct.cursor() as cursor:
            cursor.execute(show)
            fresh = cursor.fetchone()
        for _ in range(5):
            with contextlib.closing(psycopg2.connect(pooler.conninfo(self.database, SERVICE))) as pooled, pooled.cursor() as cursor:
                cursor.execute(show)
                self.assertEqual(cursor.fetchone(), fresh)
        self.assertEqual(self.sql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"), [(0,)])

    def test_while_the_pool_is_busy(self):
        """Other clients take the backends in between: it is told all the same."""
        pooler = self.pooler("transaction", 3)
        end = threading.Event()

        def work():
            with contextlib.closing(psycopg2.connect(pooler.conninfo(self.database, RELAY))) as connection:
                connection.autocommit = True
                with connection.cursor() as cursor:
                    while not end.is_set():
                        cursor.execute("SELECT 1")
        threads = [threading.Thread(target=work) for _ in range(6)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(20):
                self.assertIn(REFUSED, self.relay_through(pooler).command("status").stdout)
        finally:
            end.set()
            for thread in threads:
                thread.join()


class Sessions(PoolerTest):
    def test_it_works(self):
        """Also where one backend is all there is: then a second connection gets none, which is an answer too."""
        for size in (20, 1):
            with self.subTest(size=size):
                pooler = self.pooler("session", size)
                relay = self.relay_through(pooler).start().wait_until_ready()
                self.writer(f"w{size}").write("k", 20).commit()
                self.wait_settled()
                self.audit()
                relay.stop()
                pooler.close()


if __name__ == "__main__":
    unittest.main()
