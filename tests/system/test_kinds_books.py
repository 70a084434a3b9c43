"""Kinds of fault around the books: whatever changes ids, rows or books under a relay, nothing is lost: it goes on rightly, or it
stops at once and says what to do; and what it says to do, done with a backlog present, loses nothing."""

import contextlib
import glob
import os
import subprocess
import threading
import time
import unittest

from harness import RELAY, SERVICE, SystemTest

SQL = sorted(glob.glob(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "sql", "*.sql")))
QUICK = {"outbox": {"safety_poll": "1s", "gap_grace": "100ms"}}
INSERT = "INSERT INTO boxhaul.outbox (subject, key, payload) VALUES ('orders.x', 'k', %s)"


class KindTest(SystemTest):
    def insert(self, *payloads):
        for payload in payloads:
            self.sql(INSERT, [payload.encode()], user=SERVICE)

    def bodies(self):
        return [message.payload.decode() for message in self.stored()]

    def wait_stored(self, *payloads):
        self.wait(lambda: set(payloads) <= set(self.bodies()), f"{payloads} to be stored", progress=self.count)

    def wait_refusal(self, relay, words):
        self.wait(lambda: relay.get("/readyz")[0] == 503 and words in relay.get("/readyz")[1], f"not ready: {words}")

    def hint(self):
        """What lead() says to do."""
        with self.connect(RELAY).cursor() as cursor:
            with self.assertRaises(Exception) as caught:
                cursor.execute("SELECT boxhaul.lead('me', 1000)")
        return caught.exception.diag.message_hint

    def mend(self, relay):
        """As the hint says."""
        self.assertIn("boxhaul.mend_ids()", self.hint())
        relay.stop()
        return self.sql("SELECT boxhaul.mend_ids()")[0][0]


class Ids(KindTest):
    def test_truncate_restart_identity_under_a_leader(self):
        relay = self.start_relay(**QUICK)
        self.insert(*"abcde")
        self.wait_stored(*"abcde")
        self.wait_settled()
        self.sql("TRUNCATE boxhaul.outbox RESTART IDENTITY")
        self.insert("1", "2", "3")
        self.wait_refusal(relay, "ids up to")
        self.insert("4", "5", "6", "7", "8")  # past the old position, while nobody reads
        self.mend(relay)
        relay.start().wait_until_ready()
        self.wait_stored(*"12345678")
        self.assertEqual(self.bodies(), list("abcde12345678"))

    def test_a_burst_that_passes_the_old_position_between_two_looks(self):
        """The sequence is set back, and everything from there to above the position is drawn before anybody looks."""
        relay = self.start_relay(**QUICK)
        self.sql("ALTER TABLE boxhaul.outbox ALTER slot SET DEFAULT 1")
        self.insert(*"abcde")
        self.wait_stored(*"abcde")
        self.wait_settled()
        relay.pause()
        self.sql("ALTER TABLE boxhaul.outbox ALTER slot SET DEFAULT 2")
        self.sql("SELECT setval('boxhaul.outbox_id_seq', 2)")
        self.insert(*"123456")
        relay.resume()
        self.wait_refusal(relay, "rows were inserted at or below the position")
        self.assertIn("where all had been read", relay.log_tail(400), "the next fetch says so")
        self.mend(relay)
        relay.start().wait_until_ready()
        self.wait_stored(*"123456")
        self.assertEqual(sorted(set(self.bodies())), sorted("abcde123456"))
        self.assertEqual([body for body in self.bodies() if body in "123456"][:6], list("123456"))

    def test_a_sequence_that_does_not_count_one_by_one(self):
        relay = self.start_relay(**QUICK)
        for change in ("CACHE 100", "INCREMENT BY 2", "CYCLE"):
            with self.subTest(change=change):
                self.sql(f"ALTER SEQUENCE boxhaul.outbox_id_seq {change}")
                self.wait_refusal(relay, "does not count one by one")
                self.assertIn("does not count one by one", relay.command("check").stdout)
                self.insert(change)
                self.sql(self.hint())
                relay.wait_until_ready()
                self.wait_stored(change)

    def test_a_sequence_that_is_behind_a_backlog(self):
        """What a table-wise restore leaves: sent rows, rows that wait, and a sequence at the beginning."""
        relay = self.start_relay(**QUICK)
        self.sql("ALTER TABLE boxhaul.outbox ALTER slot SET DEFAULT 1")
        self.insert(*"abc")
        self.wait_stored(*"abc")
        self.wait_settled()
        relay.stop()
        self.insert(*"defg")
        self.sql("ALTER TABLE boxhaul.outbox ALTER slot SET DEFAULT 5")
        self.sql("SELECT setval('boxhaul.outbox_id_seq', 1, false)")
        self.insert(*"hijklmn")  # 1 to 7: the last four have the ids of those that wait
        relay.start()
        self.wait_refusal(relay, "rows")
        self.mend(relay)
        relay.start().wait_until_ready()
        self.wait_stored(*"abcdefghijklmn")
        self.assertEqual(self.bodies(), list("abcdefghijklmn"))

    def test_a_dump_that_is_restored_into_the_live_database(self):
        """The same epoch, an older position, ids that come again."""
        relay = self.start_relay(**QUICK)
        self.insert(*"abcde")
        self.wait_stored(*"abcde")
        self.wait_settled()
        dump = self.workspace.path(f"{self.database}.dump")
        subprocess.run([self.pg.program("pg_dump"), "-Fc", "-f", dump, self.pg.conninfo(self.database)], check=True)
        self.insert(*"fghij")
        self.wait_stored(*"fghij")
        self.wait_settled()
        subprocess.run([self.pg.program("pg_restore"), "--clean", "--if-exists", "-d", self.pg.conninfo(self.database), dump],
                       check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # some things it cannot drop
        self.insert(*"12345")
        self.insert(*"67")
        self.wait(lambda: set("1234567") <= set(self.bodies()), "what was inserted since", progress=self.count)
        self.assertEqual([body for body in self.bodies() if body in "1234567"], list("1234567"))
        self.assertEqual(relay.get("/readyz")[0], 200)

    def test_a_mark_by_whoever_holds_other_books(self):
        with self.connect(RELAY).cursor() as cursor:
            cursor.execute("SELECT epoch FROM boxhaul.lead('me', 1000)")
            epoch = cursor.fetchone()[0]
            cursor.execute("SELECT boxhaul.mark(%s, '{\"from\": 0, \"position\": 5}')", [epoch])
            with self.assertRaisesRegex(Exception, "the position is not 0 any more"):
                cursor.execute("SELECT boxhaul.mark(%s, '{\"from\": 0, \"position\": 6}')", [epoch])
        self.assertEqual(self.position(), 5)

    def test_an_outbox_that_a_subscription_fills(self):
        self.sql("CREATE SUBSCRIPTION s CONNECTION 'dbname=none' PUBLICATION p WITH (connect = false, slot_name = NONE)")
        self.addCleanup(self.sql, "DROP SUBSCRIPTION s")
        self.sql("INSERT INTO pg_subscription_rel SELECT s.oid, 'boxhaul.outbox_3'::regclass, 'r', NULL FROM pg_subscription s")
        relay = self.add_relay(**QUICK).start()
        self.wait_refusal(relay, "filled by a subscription")
        self.sql("DELETE FROM pg_subscription_rel")
        relay.wait_until_ready()


class Books(KindTest):
    """Somebody works on the tables under a leader. What loses nothing, it goes on with; else it stops, and says the command."""

    def start_marked(self, *payloads, **settings):
        """A relay that has sent and marked these."""
        relay = self.start_relay(**{**QUICK, **settings})
        self.sql("ALTER TABLE boxhaul.outbox ALTER slot SET DEFAULT 1")
        self.insert(*payloads)
        self.wait_stored(*payloads)
        self.wait_settled()
        return relay

    def epoch(self):
        return self.sql("SELECT epoch FROM boxhaul.position")[0][0]

    def wait_all(self, relay, *payloads):
        """All of them, once and in this order, and it is ready."""
        relay.wait_until_ready()
        self.wait_stored(*payloads)
        self.assertEqual(self.bodies(), list(payloads))

    def redraw(self, drawn, *payloads):
        """The sequence goes back, and these are drawn again, into another slot."""
        self.sql("ALTER TABLE boxhaul.outbox ALTER slot SET DEFAULT 2")
        self.sql(f"SELECT setval('boxhaul.outbox_id_seq', {drawn})")
        self.insert(*payloads)

    # -- what stops it

    def test_a_position_that_somebody_else_has_changed(self):
        relay = self.start_marked(*"abc", delivery={"mark_interval": "100ms"})
        for i, change in enumerate(("position + 2", "position - 2")):
            with self.subTest(change=change):
                relay.pause()
                self.insert(f"m{i}", f"n{i}")
                self.sql(f"UPDATE boxhaul.position SET position = {change}")
                relay.resume()
                self.wait_refusal(relay, "and not by a mark")
                self.assertIn("and not by a mark", relay.command("check").stdout)
                self.sql(self.hint())
                relay.wait_until_ready()
                self.wait_stored(f"m{i}", f"n{i}")
        self.wait_all(relay, "a", "b", "c", "m0", "n0", "m1", "n1")

    def test_a_position_that_is_gone(self):
        relay = self.start_marked(*"abc")
        relay.pause()
        self.insert(*"de")
        self.sql("DELETE FROM boxhaul.position")
        relay.resume()
        self.wait_refusal(relay, "boxhaul.position is empty")
        self.sql(self.hint())
        self.wait_all(relay, *"abcde")

    def test_a_sequence_that_begins_again(self):
        relay = self.start_marked(*"abc")
        for i, change in enumerate(("ALTER SEQUENCE boxhaul.outbox_id_seq RESTART", "SELECT setval('boxhaul.outbox_id_seq', 1, false)",
                                    "SELECT setval('boxhaul.outbox_id_seq', 1)")):
            with self.subTest(change=change):
                self.sql(f"ALTER TABLE boxhaul.outbox ALTER slot SET DEFAULT {i + 2}")
                self.sql(change)
                self.insert(f"m{i}")
                self.wait_refusal(relay, "ids up to")
                self.insert(f"n{i}")
                self.mend(relay)
                relay.start().wait_until_ready()
                self.wait_stored(f"m{i}", f"n{i}")
                self.wait_settled()
        self.wait_all(relay, "a", "b", "c", "m0", "n0", "m1", "n1", "m2", "n2")

    def test_ids_drawn_again_above_the_last_mark(self):
        """They were read, and are not marked: nobody would look at the position for them."""
        relay = self.start_relay(outbox={**QUICK["outbox"], "lease": "1m"}, delivery={"mark_interval": "10s", "ack_timeout": "25s"})
        self.sql("ALTER TABLE boxhaul.outbox ALTER slot SET DEFAULT 1")
        self.sql("INSERT INTO boxhaul.outbox (subject, key, payload) SELECT 'orders.x', 'k', p::bytea FROM regexp_split_to_table('abcde', '') p")
        self.wait(lambda: self.count() == 5, "all to be stored", pause=0.01)  # within the ten seconds
        relay.pause()
        self.redraw(3, *"1234")
        relay.resume()
        self.wait_refusal(relay, "two rows have the id")
        self.mend(relay)
        self.wait_all(relay.start(), *"abcde1234")

    def test_ids_drawn_again_by_a_transaction_that_ends_late(self):
        """It is seen when it ends, though what was drawn above has been sent and marked meanwhile; and for ever after."""
        relay = self.start_marked(*"abcde")
        relay.pause()
        with self.connect(SERVICE).cursor() as cursor:
            self.redraw(2)
            cursor.execute("BEGIN")
            for payload in "123":
                cursor.execute(INSERT, [payload.encode()])
            self.insert(*"45")
            relay.resume()
            self.wait_stored(*"45")
            self.wait(lambda: self.position() == 7, "a mark behind it")
            cursor.execute("COMMIT")
        self.wait_refusal(relay, "rows were inserted at or below the position")
        self.assertIn("where all had been read", relay.log_tail(400), "the next fetch says so")
        self.mend(relay)
        relay.start().wait_until_ready()
        self.wait_stored(*"123")
        self.assertEqual(self.bodies()[:7], list("abcde45"))
        self.assertEqual([body for body in self.bodies() if body in "123"], list("123"))

    def test_rows_far_below_that_were_put_in_by_hand(self):
        """As a subscription or a restore does: with their own ids, and not from the sequence."""
        self.sql("SELECT setval('boxhaul.outbox_id_seq', 5000)")
        settings = {"outbox": {**QUICK["outbox"], "retention": "8s"}}  # what is looked at now and then, is so once a second
        self.migrate(**settings)
        relay = self.start_marked(*"abc", **settings)
        self.sql("INSERT INTO boxhaul.outbox (id, slot, subject, key, payload) OVERRIDING SYSTEM VALUE "
                 "VALUES (17, 1, 'orders.x', 'k', '1'), (18, 5, 'orders.x', 'k', '2')")
        self.wait_refusal(relay, "rows were inserted at or below the position")
        self.mend(relay)
        self.wait_all(relay.start(), *"abc12")

    def test_a_subscription_that_begins_under_a_leader(self):
        settings = {"outbox": {**QUICK["outbox"], "retention": "8s"}}
        self.migrate(**settings)
        relay = self.start_marked(*"abc", **settings)
        self.sql("CREATE SUBSCRIPTION s CONNECTION 'dbname=none' PUBLICATION p WITH (connect = false, slot_name = NONE)")
        self.addCleanup(self.sql, "DROP SUBSCRIPTION s")
        self.sql("INSERT INTO pg_subscription_rel SELECT s.oid, 'boxhaul.outbox_3'::regclass, 'r', NULL FROM pg_subscription s")
        self.wait_refusal(relay, "filled by a subscription")
        self.sql("DELETE FROM pg_subscription_rel")
        self.insert("d")
        self.wait_all(relay, *"abcd")

    def test_rows_of_another_cluster(self):
        """Restored with the numbers of transactions there, which are ours by now, and never were: nothing has come late."""
        relay = self.start_marked(*"abc")
        relay.stop()
        self.sql("UPDATE boxhaul.position SET marked_at = marked_at + interval '1 hour'")
        self.sql("UPDATE boxhaul.sent SET marked_at = marked_at + interval '1 hour'")
        self.sql("UPDATE boxhaul.outbox SET xid = pg_current_xact_id()")
        self.assertEqual(self.sql("SELECT boxhaul.ids_differ()"), [(None,)])
        relay.start()
        self.insert("d")
        self.wait_all(relay, *"abcd")

    def test_another_table_under_its_name(self):
        """Swapped in by a rename: its sequence is its own, and begins at 1."""
        relay = self.start_marked(*"abc")
        self.sql("ALTER TABLE boxhaul.outbox RENAME TO outbox_old; ALTER SEQUENCE boxhaul.outbox_id_seq RENAME TO outbox_old_id_seq; "
                 + "; ".join(f"ALTER TABLE boxhaul.outbox_{i} RENAME TO outbox_old_{i}" for i in range(8)))
        subprocess.run([self.pg.program("psql"), "-q", "-v", "ON_ERROR_STOP=1", "-d", self.pg.conninfo(self.database),
                        *(f"--file={path}" for path in SQL)], check=True, stderr=subprocess.DEVNULL)
        self.insert("1", "2")
        self.wait_refusal(relay, "ids up to")
        self.assertIn("boxhaul.outbox is another table", relay.log_tail(400))
        self.mend(relay)
        self.wait_all(relay.start(), *"abc12")

    def test_data_alone_is_restored(self):
        """pg_restore --data-only, into emptied tables and into full ones: then the position stays, and the sequence goes back."""
        relay = self.start_marked(*"abcde")
        dump = self.workspace.path(f"{self.database}.dump")
        subprocess.run([self.pg.program("pg_dump"), "-Fc", "-n", "boxhaul", "-f", dump, self.pg.conninfo(self.database)], check=True)
        self.insert(*"fghij")
        self.wait_stored(*"fghij")
        self.wait_settled()
        for i, emptied in enumerate((False, True)):
            with self.subTest(emptied=emptied):
                self.sql(f"ALTER TABLE boxhaul.outbox ALTER slot SET DEFAULT {i + 2}")
                if emptied:
                    self.sql("TRUNCATE boxhaul.outbox, boxhaul.position, boxhaul.sent, boxhaul.exceptions, boxhaul.schema_version")
                subprocess.run([self.pg.program("pg_restore"), "--data-only", "-d", self.pg.conninfo(self.database), dump],
                               check=False, stderr=subprocess.DEVNULL)  # what is there already stays
                self.insert(f"m{i}", f"n{i}")
                if not emptied:
                    self.wait_refusal(relay, "ids up to")
                    self.mend(relay)
                    relay.start()
                relay.wait_until_ready()
                self.wait_stored(f"m{i}", f"n{i}")
                self.wait_settled()
        self.assertEqual([body for body in self.bodies() if len(body) == 2], ["m0", "n0", "m1", "n1"])

    # -- what it goes on with

    def test_files_that_are_written_anew(self):
        """VACUUM FULL, CLUSTER and pg_repack give the tables other files; nothing is lost, and the lead is kept. The sequence's is
        another one: it takes the lead anew."""
        relay = self.start_marked(*"ab")
        epoch = self.epoch()
        for statement in ("VACUUM FULL boxhaul.outbox_1", "CLUSTER boxhaul.outbox_1 USING outbox_1_pkey", "VACUUM FULL boxhaul.position"):
            self.sql(statement)
        self.insert(*"cd")
        self.wait_all(relay, *"abcd")
        self.assertEqual(self.epoch(), epoch)
        self.sql("ALTER SEQUENCE boxhaul.outbox_id_seq MAXVALUE 1000000")
        self.insert(*"ef")
        self.wait_all(relay, *"abcdef")
        self.wait_settled()

    def test_ids_that_are_left_out(self):
        relay = self.start_marked(*"ab")
        epoch = self.epoch()
        self.sql("SELECT setval('boxhaul.outbox_id_seq', 1000000)")
        self.insert(*"cd")
        self.wait_all(relay, *"abcd")
        self.wait_settled()
        self.assertEqual(self.epoch(), epoch)

    def test_a_table_that_is_emptied_between_reading_and_marking(self):
        relay = self.start_relay(**QUICK, delivery={"mark_interval": "2s"})
        self.insert(*"abc")
        self.wait_stored(*"abc")
        epoch = self.epoch()
        self.sql("TRUNCATE boxhaul.outbox")
        self.insert(*"def")
        self.wait_all(relay, *"abcdef")
        self.wait_settled()
        self.assertEqual(self.epoch(), epoch)

    def test_transactions_that_end_late(self):
        """Their ids are known to be missing: what comes with them was not drawn again."""
        relay = self.start_marked("a")
        epoch = self.epoch()
        with self.connect(SERVICE).cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute(INSERT, [b"b"])
            self.insert(*"cd")
            self.wait_stored(*"cd")
            cursor.execute("COMMIT")
        self.wait_all(relay, *"acdb")
        self.wait_settled()
        self.assertEqual(self.epoch(), epoch)


class Housekeeping(KindTest):
    postgres_settings = {"max_prepared_transactions": 4}

    def start_short(self):
        """A relay that keeps sent rows for four seconds."""
        settings = {"outbox": {**QUICK["outbox"], "retention": "4s"}}
        self.migrate(**settings)
        return self.start_relay(**settings)

    def test_every_table_has_a_key(self):
        """Tools that copy tables ask for one, and a publication of all tables refuses a DELETE without."""
        self.assertEqual(self.sql(
            "SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'boxhaul'::regnamespace AND c.relkind IN ('r', 'p') "
            "AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)"), [])

    def test_a_publication_of_all_tables(self):
        relay = self.start_short()
        self.sql("CREATE PUBLICATION everything FOR ALL TABLES")
        self.addCleanup(self.sql, "DROP PUBLICATION everything")
        self.insert(*"abc")
        self.wait_stored(*"abc")
        self.wait_asleep()
        self.insert(*"def")
        self.wait_stored(*"def")
        self.wait(lambda: self.sql("SELECT count(*) FROM boxhaul.outbox") == [(0,)], "the ring to be emptied")
        self.wait(lambda: self.sql("SELECT count(*) FROM boxhaul.wake") == [(0,)], "the wake-ups to be cleared")
        self.assertEqual(relay.get("/readyz")[0], 200)
        self.assertNotIn("cleaning up failed", relay.log_tail(200))

    def test_a_table_of_wake_ups_that_has_grown(self):
        """Leading does not wait for it; it is cleared a few at a time."""
        self.sql("ALTER TABLE boxhaul.wake DISABLE TRIGGER USER")
        self.sql("INSERT INTO boxhaul.wake SELECT FROM generate_series(1, 30000)")
        self.sql("ALTER TABLE boxhaul.wake ENABLE TRIGGER USER")
        self.start_relay(**QUICK)
        self.insert("a")
        self.wait_stored("a")
        self.wait(lambda: self.sql("SELECT count(*) FROM boxhaul.wake") == [(0,)], "the wake-ups to be cleared",
                  progress=lambda: self.sql("SELECT count(*) FROM boxhaul.wake"))

    def test_one_slot_that_cannot_be_emptied(self):
        """It is its own failure: the others are emptied, messages go out, and it is told."""
        relay = self.start_short()
        self.sql("CREATE TABLE refers (id bigint, slot smallint, FOREIGN KEY (id, slot) REFERENCES boxhaul.outbox_4 (id, slot))")
        self.addCleanup(self.sql, "DROP TABLE refers")
        for slot in (0, 4):
            self.sql(f"ALTER TABLE boxhaul.outbox ALTER slot SET DEFAULT {slot}")
            self.insert(f"in {slot}")
        self.wait_stored("in 0", "in 4")
        self.wait_settled()
        self.wait(lambda: self.sql("SELECT count(*) FROM boxhaul.outbox_0") == [(0,)], "the slot that may go")
        self.wait(lambda: "Cleaning up fails again and again: slot 4 of the outbox" in str(self.status(relay)), "it to be told")
        self.insert("after")
        self.wait_stored("after")
        self.assertEqual(relay.get("/readyz")[0], 200)
        self.sql("DROP TABLE refers; CREATE TABLE refers ()")
        self.wait(lambda: "Cleaning up fails" not in str(self.status(relay)), "it to be over")

    def test_a_large_ledger_goes_a_few_rows_at_a_time(self):
        relay = self.start_short()
        self.insert("a")
        self.wait_stored("a")
        self.wait_settled()
        self.sql("INSERT INTO boxhaul.sent (first_id, last_id, stream, low_water, marked_at) "
                 "SELECT -n, 1, 'ORDERS', 1, now() - interval '1 day' FROM generate_series(1, 20000) n")
        self.insert("b")
        self.wait_stored("b")
        self.wait(lambda: self.sql("SELECT count(*) FROM boxhaul.sent")[0][0] < 100, "old rows to go",
                  progress=lambda: self.sql("SELECT count(*) FROM boxhaul.sent"))
        self.assertTrue(relay.alive())

    def test_a_relay_that_died_asleep_is_not_notified_for_ever(self):
        """A NOTIFY is dear, and nobody listens. The flag runs out by itself; a relay that lives sets it again."""
        relay = self.start_relay(**QUICK)
        self.wait_asleep()
        first = self.sql("SELECT last_value FROM boxhaul.relay_asleep")
        self.wait(lambda: self.sql("SELECT last_value FROM boxhaul.relay_asleep") > first, "the flag to be set again")
        relay.kill9()
        self.assertEqual(self.sql("SELECT boxhaul.is_asleep()"), [(True,)])
        seconds = self.sql("SELECT last_value - extract(epoch FROM clock_timestamp()) FROM boxhaul.relay_asleep")[0][0]
        self.assertLess(seconds, 100)
        self.sql("SELECT setval('boxhaul.relay_asleep', extract(epoch FROM clock_timestamp())::bigint - 1)")  # as time would
        before = self.sql("SELECT last_value FROM boxhaul.wake_id_seq")
        self.insert("a")
        self.assertEqual(self.sql("SELECT last_value FROM boxhaul.wake_id_seq"), before, "a notification for nobody")
        relay.start().wait_until_ready()
        self.wait_stored("a")


class WakeUp(KindTest):
    postgres_settings = {"max_prepared_transactions": 4}

    def wakes(self, what, insert):
        """It arrives by a notification: the safety poll is an hour away."""
        self.wait_asleep()
        before = self.metric(self.relays[-1], "notifications_total")
        insert()
        self.wait_stored(what)
        self.assertGreater(self.metric(self.relays[-1], "notifications_total"), before)

    def test_every_protocol(self):
        self.start_relay(outbox={"safety_poll": "1h"})
        for mode in ("simple", "extended", "prepared"):
            script = self.workspace.path(f"{mode}.sql")
            with open(script, "w", encoding="ascii") as f:
                f.write(f"INSERT INTO boxhaul.outbox (subject, key, payload) VALUES ('orders.x', 'k', '{mode}');\n")
            self.wakes(mode, lambda mode=mode, script=script: subprocess.run(
                [self.pg.program("pgbench"), "-n", "-t", "1", "-M", mode, "-f", script, self.pg.conninfo(self.database, SERVICE)],
                check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    def test_strings_as_they_were(self):
        """standard_conforming_strings = off in a producer's session, beside prepared transactions."""
        self.start_relay(outbox={"safety_poll": "1s"})
        self.wait_asleep()
        connection = self.connect(SERVICE)
        with connection.cursor() as cursor:
            cursor.execute("SET standard_conforming_strings = off")
            cursor.execute("BEGIN")
            cursor.execute(INSERT, [b"prepared"])
            cursor.execute("PREPARE TRANSACTION 'p'")
            cursor.execute("COMMIT PREPARED 'p'")
        self.wait_stored("prepared")


class Strings(KindTest):
    def test_a_database_with_strings_as_they_were(self):
        """Everything of ours says what it means, whatever the database's default is."""
        self.pg.execute(f"ALTER DATABASE {self.database} SET standard_conforming_strings = off")
        self.migrate(outbox={"retention": "8s"})
        self.assertEqual(self.sql("SELECT boxhaul.slot_seconds()"), [(2,)])
        relay = self.start_relay(**{**QUICK, "outbox": {**QUICK["outbox"], "retention": "8s"}})
        self.insert("a")
        self.wait_stored("a")
        self.assertNotIn("FAIL", relay.command("check").stdout)
        relay.stop()
        self.sql("DROP SCHEMA boxhaul CASCADE")
        self.migrate()
        with self.connect().cursor() as cursor:
            cursor.execute("SET standard_conforming_strings = on")
            cursor.execute("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'outbox_subject' "
                           "AND conrelid = 'boxhaul.outbox'::regclass")
            self.assertIn(r"\u0001", cursor.fetchone()[0])


class Failures(KindTest):
    def test_questions_asked_through_notify_are_bounded(self):
        """Anybody may notify; one question at a time is answered to it."""
        relay = self.start_relay(**QUICK)
        stop = threading.Event()

        def flood():
            with contextlib.closing(self.pg.connect(self.database, SERVICE)) as connection, connection.cursor() as cursor:
                while not stop.is_set():
                    cursor.execute("SELECT pg_notify('boxhaul', 'decided') FROM generate_series(1, 100)")
        threads = [threading.Thread(target=flood) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            begun, asked = time.monotonic(), self.decisions(relay)
            for i in range(20):
                self.insert(f"m{i}")
            self.wait_stored("m19")
            self.wait(lambda: self.decisions(relay) > asked, "a question to be asked")
            self.assertLess(self.decisions(relay) - asked, 5 * (time.monotonic() - begun) + 5)
        finally:
            stop.set()
            for thread in threads:
                thread.join()

    def decisions(self, relay):
        page = relay.get("/metrics")[1]
        return sum(float(line.split()[-1]) for line in page.splitlines()
                   if line.startswith("boxhaul_postgres_statements_total") and '"decisions"' in line)


class Mappers(KindTest):
    """The view for object-relational mappers."""

    def test_what_they_write(self):
        self.start_relay(**QUICK)
        connection = self.connect(SERVICE)
        with connection.cursor() as cursor:
            for n, (sql, values) in enumerate([
                    ("INSERT INTO boxhaul.outgoing (id, subject, key, payload) VALUES (DEFAULT, 'orders.x', 'k', %s) RETURNING id", []),
                    ("INSERT INTO boxhaul.outgoing (id, subject, key, payload) VALUES (1, 'orders.x', 'k', %s) RETURNING *", []),
                    ("INSERT INTO boxhaul.outgoing (subject, key, payload, headers, created_at) "
                     "VALUES ('orders.x', 'k', %s, 'null', now()) RETURNING message_id, created_at", []),
                    ("INSERT INTO boxhaul.outgoing (id, message_id, subject, key, payload, headers, created_at) "
                     "VALUES (NULL, NULL, 'orders.x', 'k', %s, '{\"a\": \"b\"}', NULL) RETURNING \"id\"", [])]):
                cursor.execute("BEGIN")
                cursor.execute(sql, [f"m{n}".encode(), *values])
                self.assertIsNotNone(cursor.fetchone()[0])
                cursor.execute("SELECT count(*) FROM boxhaul.outgoing")
                self.assertEqual(cursor.fetchone(), (1,), "one's own, and nothing of others")
                cursor.execute("COMMIT")
            cursor.execute("SELECT count(*) FROM boxhaul.outgoing")
            self.assertEqual(cursor.fetchone(), (0,))
        self.wait_stored("m0", "m1", "m2", "m3")
        self.assertEqual(self.bodies(), ["m0", "m1", "m2", "m3"])

    def test_what_they_may_not(self):
        for sql in ("INSERT INTO boxhaul.outbox (id, subject) OVERRIDING SYSTEM VALUE VALUES (1, 'orders.x')",
                    "SELECT message_id FROM boxhaul.outbox", "SELECT payload FROM boxhaul.outbox",
                    "UPDATE boxhaul.outgoing SET subject = 'orders.y'", "DELETE FROM boxhaul.outgoing"):
            with self.subTest(sql=sql), self.assertRaisesRegex(Exception, "permission denied"):
                self.sql(sql, user=SERVICE)

    def test_the_xid_comes_before_the_id(self):
        """All that is concluded of a missing id rests on it."""
        with self.connect(SERVICE).cursor() as cursor:
            cursor.execute("BEGIN; SELECT pg_current_xact_id_if_assigned()")
            cursor.execute("INSERT INTO boxhaul.outgoing (id, subject) VALUES (DEFAULT, 'orders.x')")
            cursor.execute("SELECT pg_current_xact_id_if_assigned()")
            xid = cursor.fetchone()[0]
            cursor.execute("COMMIT")
        self.assertEqual(self.sql("SELECT xid::text FROM boxhaul.outbox"), [(str(xid),)])
        plan = "\n".join(row[0] for row in self.sql(
            "EXPLAIN (VERBOSE, COSTS OFF) INSERT INTO boxhaul.outbox (subject) VALUES ('orders.x')"))
        self.assertLess(plan.index("pg_current_xact_id()"), plan.index("nextval"))

    def test_refusals_in_words(self):
        """publish() and the view say which rule was broken, and what is allowed; what they take, the CHECKs take."""
        for subject, payload, headers in (("a b", b"", None), ("$x", b"", None), ("a..b", b"", None), ("_INBOX.x", b"", None),
                                          ("a" * 1025, b"", None), ("a", b"x" * 1_048_321, None), ("a", b"", '{"Nats-X": "1"}'),
                                          ("a", b"", '{"a": 1}'), ("a", b"", '[]'), ("a", b"", '{"a": "\\u0001"}'),
                                          ("orders.ü", b"x", '{"a": "ü"}'), ("a", b"x" * 1_048_000, '{"a": "b"}')):
            with self.subTest(subject=subject[:20], headers=headers), self.connect(SERVICE).cursor() as cursor:
                outcome = []
                for sql in ("INSERT INTO boxhaul.outbox (subject, payload, headers) VALUES (%s, %s, %s)",
                            "SELECT boxhaul.publish(%s, %s::bytea, headers => %s::jsonb)"):
                    try:
                        cursor.execute(sql, [subject, payload, headers])
                        outcome.append(None)
                    except Exception as error:  # pylint: disable=broad-except
                        outcome.append((error.pgcode, error.diag.constraint_name))
                        hint = error.diag.message_hint
                self.assertEqual(outcome[0], outcome[1])
                if outcome[0]:
                    self.assertTrue(hint)

    def test_json(self):
        self.start_relay(**QUICK)
        for cast in ("json", "jsonb", "text", "bytea"):
            self.sql(f"SELECT boxhaul.publish('orders.x', '{{\"as\":\"{cast}\"}}'::{cast}, 'k')", user=SERVICE)
        self.wait(lambda: self.count() == 4, "all four")


if __name__ == "__main__":
    unittest.main()
