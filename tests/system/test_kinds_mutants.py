"""Rules of the SQL and of the shell that keep what was committed, which no simulated world plays: what is concluded of a missing
id, what is emptied, and who may still publish."""

import threading
import unittest

from harness import STREAM, SystemTest

QUICK = {"outbox": {"safety_poll": "200ms", "gap_grace": "50ms"}}
LONG_MS = 3_600_000


class CutAnswers(SystemTest):
    def test_late_rows_that_do_not_fit_into_one_answer(self):
        """An answer that is cut off by its bytes says nothing of what is behind the cut. Rows that were missing and have come
        meanwhile are far more than one answer holds, and all of them are sent: none counts as rolled back."""
        relay = self.start_relay(delivery={"queue_bytes": "2MiB", "window_bytes": "2MiB"}, **QUICK)
        late = self.writer("late").write("late", 8, note="x" * 700_000)
        self.writer("early").write("early").commit()
        self.wait_for_messages(1)
        self.wait(lambda: self.exceptions() == [(1, 8, "missing")], "the late ones to be missed")
        late.commit()
        self.audit()
        self.assertEqual((self.count(), self.metric(relay, "voided_ids_total")), (9, 0))


class Preparing(SystemTest):
    """PREPARE TRANSACTION hands over locks one by one. Between two of them the lock table shows somebody who has locked the outbox
    and owns no xid: the owner of the ids seems to be gone. That moment is made to last here: the view pg_locks of the test's
    database shows the xid of each prepared transaction as somebody else's than its other locks."""

    postgres_settings = {"max_prepared_transactions": 4}

    def show_split_locks(self, condition="true"):
        """condition: looked at before the locks are."""
        columns = self.sql(
            "SELECT string_agg(CASE attname WHEN 'virtualtransaction' THEN 'CASE WHEN pid IS NULL AND locktype = ''transactionid'' "
            "THEN ''-2/0'' ELSE virtualtransaction END AS virtualtransaction' ELSE quote_ident(attname) END, ', ' ORDER BY attnum) "
            "FROM pg_attribute WHERE attrelid = 'pg_locks'::regclass AND attnum > 0")[0][0]
        with self.connect().cursor() as cursor:
            cursor.execute("SET allow_system_table_mods = on")
            cursor.execute(f"CREATE OR REPLACE VIEW pg_catalog.pg_locks AS SELECT {columns} FROM pg_lock_status() WHERE {condition}")

    def xid(self, name):
        return self.sql("SELECT transaction::text::bigint FROM pg_prepared_xacts WHERE gid = %s", [name])[0][0]

    def outbox_xmin(self):
        return int(self.sql("SELECT boxhaul.outbox_xmin()::text")[0][0])

    def test_its_ids_are_not_given_up(self):
        self.show_split_locks()
        prepared = self.writer("prepared").write("a")
        name = prepared.prepare()
        self.writer("other").write("b").commit()
        self.assertLessEqual(self.outbox_xmin(), self.xid(name))
        relay = self.start_relay(**QUICK)
        self.wait_for_messages(1)
        self.wait(self.exceptions, "the prepared one to be missed")

        def looks():
            return self.metric(relay, r'postgres_statements_total\{statement="evidence"\}')
        before = looks()
        self.wait(lambda: looks() > before + 1, "the lock table to be looked at")
        self.assertEqual(self.exceptions(), [(1, 1, "missing")])
        prepared.finish(name)
        self.audit()

    def test_the_locks_are_looked_at_first(self):
        """Whoever is prepared between the two looks is no longer in the first and must be in the second."""
        self.sql("CREATE FUNCTION let_go() RETURNS boolean LANGUAGE plpgsql STABLE AS $$ BEGIN "
                 "PERFORM pg_advisory_lock_shared(77), pg_advisory_unlock_shared(77); RETURN true; END $$")
        self.show_split_locks("public.let_go()")
        holder, writer, found = self.connect().cursor(), self.writer("prepared").write("a"), []
        self.sql("SELECT pg_current_xact_id()")  # it is not the newest
        holder.execute("SELECT pg_advisory_lock(77)")
        look = threading.Thread(target=lambda: found.append(self.outbox_xmin()))
        look.start()
        self.wait(lambda: self.sql("SELECT pid FROM pg_stat_activity WHERE wait_event = 'advisory' AND datname = current_database()"),
                  "the look at the locks to begin")
        name = writer.prepare()
        holder.execute("SELECT pg_advisory_unlock(77)")
        look.join()
        self.assertLessEqual(found[0], self.xid(name))
        writer.finish(name)
        self.start_relay(**QUICK)
        self.audit()


class Retention(SystemTest):
    def test_what_is_not_settled_is_kept_however_old(self):
        """A slot whose rows are all below the position is emptied when they are old enough; but not as long as one of them is
        parked, or an exception of any other kind. It is the only copy."""
        epoch = self.sql("SELECT epoch FROM boxhaul.lead('me', 1000)")[0][0]
        slot = self.sql("SELECT (extract(epoch FROM clock_timestamp())::bigint / boxhaul.slot_seconds() + 4) % 8")[0][0]
        self.sql("INSERT INTO boxhaul.outbox (subject, key, payload, slot, created_at) "
                 "SELECT 'orders.x', 'k', '', %s, now() - interval '1 day' FROM generate_series(1, 3)", [slot])

        def is_emptied():
            return self.sql("SELECT boxhaul.truncate_slot(%s, %s, '1 hour')", [epoch, slot])[0][0]
        self.assertFalse(is_emptied(), "above the position")
        self.sql("SELECT boxhaul.mark(%s, '{\"from\": 0, \"position\": 3}')", [epoch])
        for kind in ("parked", "held", "active", "missing"):
            for lo, hi in ((1, 1), (3, 3), (1, 3)):
                self.sql("INSERT INTO boxhaul.exceptions (lo, hi, kind) VALUES (%s, %s, %s)", [lo, hi, kind])
                self.assertFalse(is_emptied(), f"{lo} to {hi} {kind}")
                self.sql("DELETE FROM boxhaul.exceptions")
        self.assertTrue(is_emptied(), "nothing is left to send")
        self.assertEqual(self.newest(), 0)


class Lease(SystemTest):
    """Whoever led before and did not resign may live, cut off from the database, and publish until its lease is over."""

    def setUp(self):
        """A window much shorter than any lease."""
        super().setUp()
        with self.jetstream() as jetstream:
            jetstream.create(STREAM, ["orders.>"], duplicate_window=10**8)

    def follow_one_that_was_killed(self):
        """The next leader, over books that give the one before a lease of an hour."""
        first, writer = self.start_relay(**QUICK), self.writer("one")
        writer.write("a").commit()
        self.wait_settled()
        first.kill9()
        self.sql("UPDATE boxhaul.position SET lease_ms = %s", [LONG_MS])
        writer.write("a").commit()
        return self.add_relay(**QUICK).start()

    def wait_read(self, relay, rows):
        """Until it has read so many rows, and has gone on for a while."""
        def asked():
            return self.metric(relay, r'postgres_statements_total\{statement="fetch_summed"\}')
        self.wait(lambda: self.metric(relay, "rows_total") >= rows, "the rows to be read")
        before = asked()
        self.wait(lambda: asked() > before + 5, "it to go on reading")

    def test_nothing_is_published_before_it_is_over(self):
        """What it sends may be stored at any moment till then, and the window would not tell a copy of it."""
        second = self.follow_one_that_was_killed()
        self.wait_read(second, 1)
        self.assertEqual((self.count(), self.metric(second, "publishes_total")), (1, 0))

    def test_one_that_led_before_may_have_been_followed(self):
        """Its own lease is nobody else's, so it goes on at once when its session has ended; but not if another one has led since."""
        relay, writer = self.start_relay(**QUICK), self.writer("one")
        writer.write("a").commit()
        self.wait_settled()
        self.sql("UPDATE boxhaul.position SET lease_ms = %s", [LONG_MS])
        self.sql("SELECT pg_terminate_backend(boxhaul.leader_pid())")
        writer.write("a").commit()
        self.wait_settled()
        relay.pause()
        self.sql("SELECT pg_terminate_backend(boxhaul.leader_pid())")
        self.sql("SELECT boxhaul.lead('another', %s)", [LONG_MS])
        writer.write("a").commit()
        relay.resume()
        self.wait_read(relay, 3)
        self.assertEqual((self.count(), self.metric(relay, "publishes_total")), (2, 2))

    def test_it_is_handed_on(self):
        """Who resigns says how long those before it may still publish."""
        second = self.follow_one_that_was_killed()
        self.wait_read(second, 1)
        second.stop()
        self.assertGreater(self.sql("SELECT lease_ms FROM boxhaul.position")[0][0], LONG_MS / 2)


if __name__ == "__main__":
    unittest.main()
