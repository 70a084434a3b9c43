"""Situations at the edge: a server that refuses, is another one, is full or takes no writes; settings and keys that nobody expects. Nothing is
lost, and six places say the same."""

import contextlib
import os
import signal
import subprocess
import threading
import unittest

import psycopg2

from harness import RELAY, STREAM
from servers import nats_server
from words import WordsTest

QUICK = {"ack_timeout": "1s", "retry_max": "1s"}
ORDERS = {"name": STREAM, "subjects": ["orders.>"], "create": True}


class EdgeTest(WordsTest):
    def insert(self, count=1, subject="orders.x", key="k"):
        self.sql("INSERT INTO boxhaul.outbox (subject, key, payload) SELECT %s, %s, 'x' FROM generate_series(1, %s)",
                 (subject, key, count))

    def start_quick(self, ready=True, **groups):
        relay = self.add_told(**{"delivery": QUICK, **groups})
        relay.configure({**relay.settings, "health": {**relay.settings["health"], "stall_after": "4s"}})
        return self.start_told(relay, ready)

    def end_sessions(self):
        for pid in self.pg.backends(f"usename = '{RELAY}'"):
            self.pg.execute("SELECT pg_terminate_backend(%s)", (pid,))


class CreationIsRefused(EdgeTest):
    def refused(self, stream, words, advice):
        relay = self.start_quick(ready=False, streams=[ORDERS, stream])
        self.insert(2, "bills.x")
        self.insert(1)
        self.wait_for_messages(1)  # the other stream goes on
        said = self.same_words(relay, words)
        self.assertIn(advice, said)
        done = relay.command("check")
        self.assertEqual((done.returncode, advice in done.stdout), (1, True), done.stdout)
        return relay

    def test_more_replicas_than_servers(self):
        relay = self.refused({"name": "BILLS", "subjects": ["bills.>"], "create": True, "replicas": 3}, "stream BILLS: .*10074",
                             "set replicas = 1 for it, or run the servers as a cluster of as many")
        relay.stop()
        relay.configure({**relay.settings, "streams": [ORDERS, {"name": "BILLS", "subjects": ["bills.>"], "create": True}]})
        self.start_told(relay)
        self.wait_for_messages(2, "BILLS")
        self.wait_settled()

    def test_another_stream_has_the_subject(self):
        with self.jetstream() as jetstream:
            jetstream.create("OLD", ["bills.y"])
            self.refused({"name": "BILLS", "subjects": ["bills.>"], "create": True}, "stream BILLS: .*10065",
                         "give its subjects to one stream only")
            jetstream.delete("OLD")
        self.wait_for_messages(2, "BILLS")


class AnotherServer(EdgeTest):
    def test_another_nats_server_under_the_address(self):
        """What was sent to it stands there; the relay says that a stream is not the one it was, and what is missing can be sent again."""
        relay = self.start_quick()
        self.insert(3)
        self.wait_for_messages(3)
        self.wait_settled()
        other = self.workspace.add(nats_server(self.workspace.path(f"{self.database}.other")))
        other.port = other.settings["port"] = self.nats.port
        self.nats.stop()
        other.start()
        self.insert(2)
        self.wait_for_messages(2)
        self.same_words(relay, "^Stream ORDERS was made anew")
        self.wait_settled()
        other.stop()
        self.nats.start()
        relay.wait_until_ready()
        self.same_words(relay, "^Stream ORDERS was made anew")
        self.insert(1)
        self.wait_for_messages(4)
        self.wait_settled()
        done = relay.command("reconcile")
        self.assertEqual((done.returncode, "missing=2" in done.stdout), (1, True), done.stdout)
        self.assertEqual(relay.command("replay", "--missing", "--yes").returncode, 0)
        self.wait_for_messages(6)


class TakesNoWrites(EdgeTest):
    def test_a_database_that_is_read_only_by_default(self):
        """A habit of sessions, and no lock: the relay's own writes."""
        relay = self.start_quick()
        self.insert(3)
        self.wait_settled()
        keep = self.connect()
        self.pg.execute(f"ALTER DATABASE {self.database} SET default_transaction_read_only = on")
        self.end_sessions()
        with keep.cursor() as cursor:
            cursor.execute("INSERT INTO boxhaul.outbox (subject, key, payload) VALUES ('orders.x', 'k', 'x')")
        self.wait_for_messages(4)
        self.wait_settled()
        self.same_words(relay, "^All is delivered$")

    def test_a_hot_standby_that_is_promoted(self):
        relay = self.start_quick()
        self.insert(3)
        self.wait_settled()
        self.pg.stop()
        standby = os.path.join(self.pg.data, "standby.signal")
        subprocess.run(["install", "-m", "600", f"--owner={self.pg.user or os.geteuid()}", os.devnull, standby], check=True)
        self.addCleanup(lambda: os.path.exists(standby) and os.unlink(standby))
        self.pg.start()
        self.same_words(relay, "in recovery")
        self.pg.execute("SELECT pg_promote()")
        relay.wait_until_ready()
        self.insert(2)
        self.wait_for_messages(5)
        self.wait_settled()
        self.same_words(relay, "^All is delivered$")

    def test_a_disk_that_is_full_for_the_books(self):
        (path,), = self.sql("SELECT pg_relation_filepath('boxhaul.sent')")
        path = os.path.join(self.pg.data, path)
        os.rename(path, path + ".aside")
        os.symlink("/dev/full", path)
        relay = self.start_quick()
        self.insert(5)
        self.same_words(relay, "No space left on device|could not extend file")
        os.unlink(path)
        os.rename(path + ".aside", path)
        self.wait_settled()
        self.same_words(relay, "^All is delivered$")
        self.assertEqual(self.count(), 5)


class StoreIsFull(EdgeTest):
    def test_a_stream_that_has_its_bytes(self):
        with self.jetstream() as jetstream:
            jetstream.create(STREAM, ["orders.>"], max_bytes=4000, discard="new")
            relay = self.start_quick()
            self.sql("INSERT INTO boxhaul.outbox (subject, key, payload) SELECT 'orders.x', 'k', decode(repeat('78', 500), 'hex') "
                     "FROM generate_series(1, 200)")
            self.same_words(relay, "stream ORDERS: the stream is full")
            jetstream.update(STREAM, max_bytes=-1)
        self.wait_for_messages(200)
        self.wait_settled()
        self.same_words(relay, "^All is delivered$")


class AccountIsFull(EdgeTest):
    """The account has used up what it may store: no stream of it takes anything."""

    nats_settings = {"no_auth_user": "u", "accounts": {
        "A": {"jetstream": {"max_file": 8000}, "users": [{"user": "u", "password": "p"}]}}}

    def test_an_account_that_has_its_storage(self):
        relay = self.start_quick()
        self.sql("INSERT INTO boxhaul.outbox (subject, key, payload) SELECT 'orders.x', 'k', decode(repeat('78', 500), 'hex') "
                 "FROM generate_series(1, 100)")
        said = self.same_words(relay, "stream ORDERS: .*(storage|resource|limit)")
        done = relay.command("check")
        self.assertRegex(done.stdout, "(warn|FAIL)  stream ORDERS: .*the account's JetStream storage is used up", said)
        self.nats.stop()
        self.nats.settings["accounts"]["A"]["jetstream"]["max_file"] = 1 << 20  # the advice of `check`
        self.nats.start()
        self.wait_for_messages(100)
        self.wait_settled()
        self.same_words(relay, "^All is delivered$")


class LameDuck(EdgeTest):
    nats_settings = {"lame_duck_duration": "31s", "lame_duck_grace_period": "1s"}

    def test_a_server_that_is_told_to_go(self):
        """It asks its clients to leave, then ends; another one takes its place."""
        relay = self.start_quick()
        shop = self.open_shop(clients=2)
        self.let_trade(200)
        self.nats.send(signal.SIGUSR2)  # lame duck mode
        self.let_trade(200)
        self.wait(lambda: not self.nats.alive(), "the server to end")
        self.same_words(relay, "^NATS is not connected: ")
        self.nats.start()
        self.let_trade(200)
        self.assertEqual(shop.errors, [])
        self.audit()
        self.same_words(relay, "^All is delivered$")


class Settings(EdgeTest):
    """What a role, a database or a server may set, and what would change what our statements mean (K6)."""

    ODD = {"quote_all_identifiers": "on", "array_nulls": "off", "DateStyle": "'German, DMY'", "IntervalStyle": "sql_standard",
           "TimeZone": "'Asia/Kathmandu'", "bytea_output": "escape", "extra_float_digits": "-15",
           "default_transaction_isolation": "serializable", "default_transaction_deferrable": "on", "xmloption": "document",
           "statement_timeout": "'50ms'", "lock_timeout": "'1ms'", "idle_session_timeout": "'1500ms'",
           "idle_in_transaction_session_timeout": "'20ms'", "transaction_timeout": "'60ms'", "transform_null_equals": "on",
           "backslash_quote": "off", "standard_conforming_strings": "off", "plan_cache_mode": "force_custom_plan",
           "session_replication_role": "replica", "row_security": "off", "client_encoding": "LATIN1",
           "enable_indexscan": "off", "enable_sort": "off", "cursor_tuple_fraction": "0", "work_mem": "'64kB'",
           "plpgsql.extra_errors": "'all'", "plpgsql.variable_conflict": "use_column"}

    def test_odd_settings_of_a_role(self):
        for name, value in self.ODD.items():
            with contextlib.suppress(Exception):  # not in every version
                self.pg.execute(f"ALTER ROLE {RELAY} SET {name} = {value}")
        self.addCleanup(self.pg.execute, f"ALTER ROLE {RELAY} RESET ALL")
        relay = self.start_quick()
        writer = self.writer("w")
        for n in range(20):
            writer.write(f"k{n % 3}", 3, headers={"a": "é"}).commit()
        self.insert_illegal("bad")
        self.wait_for_messages(60)
        self.wait_settled()
        self.sql("SELECT boxhaul.discard(61)")
        for words in (["status"], ["check"], ["reconcile"], ["explain", "1"], ["dead-letters", "list"],
                      ["replay", "--since", "1h", "--dry-run"]):
            done = relay.command(*words)
            self.assertEqual(done.returncode, 0, f"{words}: {done.stdout}")
        self.same_words(relay, "^All is delivered$")
        self.audit()

    def test_limits_of_a_role_do_not_end_commands(self):
        """A role's limits are its application's: a command that waits longer than them for a lock does its work."""
        relay = self.start_quick()
        relay.stop()
        for name, value in (("statement_timeout", "'80ms'"), ("lock_timeout", "'80ms'"), ("transaction_timeout", "'80ms'")):
            with contextlib.suppress(psycopg2.errors.UndefinedObject):  # not in every version
                self.pg.execute(f"ALTER ROLE {RELAY} SET {name} = {value}")
        self.addCleanup(self.pg.execute, f"ALTER ROLE {RELAY} RESET ALL")
        for words in (["pause"], ["resume"], ["reconcile"]):
            with contextlib.closing(self.connect()) as connection, connection.cursor() as cursor:
                cursor.execute("BEGIN")
                cursor.execute("LOCK boxhaul.position, boxhaul.paused, boxhaul.outbox")
                outcome = []
                command = threading.Thread(target=lambda w=words: outcome.append(relay.command(*w)))
                command.start()
                self.wait(lambda: self.pg.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND "
                                                  "usename = %s AND now() - query_start > '200 ms'", (RELAY,))[0][0] == 1,
                          f"{words} to wait for longer than the limits")
                cursor.execute("ROLLBACK")
            command.join()
            self.assertEqual(outcome[0].returncode, 0, f"{words}: {outcome[0].stdout}")


class Maintenance(EdgeTest):
    """What administrators do to any table (K1, K5)."""

    STATEMENTS = ("VACUUM FULL boxhaul.position", "VACUUM FULL boxhaul.exceptions", "VACUUM FULL boxhaul.sent", "VACUUM FULL boxhaul.outbox",
                  "REINDEX TABLE boxhaul.sent", "ANALYZE boxhaul.outbox", "REINDEX SCHEMA boxhaul", "CLUSTER boxhaul.sent USING sent_pkey",
                  "VACUUM (FREEZE) boxhaul.outbox", "ALTER TABLE boxhaul.sent SET (autovacuum_enabled = off)",
                  "ALTER SEQUENCE boxhaul.outbox_id_seq NO CYCLE", "CHECKPOINT")

    def test_tables_are_written_anew_under_load(self):
        relay = self.start_quick(ready=True)
        shop = self.open_shop(clients=4)
        for statement in self.STATEMENTS:
            self.let_trade(100)
            self.sql(statement)
        self.let_trade(200)
        self.assertEqual(shop.errors, [])
        self.audit()
        relay.wait_until_ready()
        self.same_words(relay, "^All is delivered$")


class Keys(EdgeTest):
    def test_a_hot_key_of_any_characters(self):
        """Longer than there is room for, cut in the middle of a character, with what turns the direction, and a line's end."""
        key = "\u202e\n\"'`<b>" + "ö" * 600
        relay = self.add_told(delivery={"window": 1})
        self.insert(150000, key=key)
        self.start_told(relay)
        self.same_words(relay, "^Delivering: .* most have the key .*ö")

    def test_an_empty_key_is_a_key(self):
        relay = self.start_quick()
        writer = self.writer("w")
        for _ in range(30):
            writer.write("", 2).commit()
        self.wait_for_messages(60)
        self.audit()
        self.same_words(relay, "^All is delivered$")

    def test_a_key_that_is_held_holds_no_other(self):
        relay = self.start_quick(delivery={**QUICK, "poison": "hold"})
        self.insert_illegal("a")
        self.insert(3, key="a")
        self.insert(3, key="b")
        self.wait_for_messages(3)
        self.same_words(relay, "^1 dead letter holds back")


if __name__ == "__main__":
    unittest.main()
