"""What the relay owes on a good day: whatever producers do, committed rows arrive in order, once, and unchanged."""

import json
import random
import threading
import time
import unittest
import urllib.parse

from harness import SERVICE, STREAM, SystemTest
from shop import Habits, unseal

MEBI = 1 << 20
KEPT = "!#$&'()*+,-./:;<=>?@[\\]^_`{|}~"  # of a key, in a header


class Commits(SystemTest):
    """Ids are drawn before COMMIT, so they become visible in another order, late, or never."""

    def test_inverted_commits(self):
        """The ids ascend, the commits descend; nobody waits for a lower id that is still open."""
        self.start_relay()
        writers = [self.writer(f"w{n}").write(f"key-{n}", 2) for n in range(6)]
        for done, writer in enumerate(reversed(writers), 1):
            writer.commit()
            self.wait_for_messages(2 * done)
        self.audit()
        order = [unseal(m.payload)["key"] for m in self.stored()]
        self.assertEqual(order, [f"key-{n // 2}" for n in range(11, -1, -1)])

    def test_inverted_commits_of_one_key(self):
        """Of two transactions that do not wait for each other the one that commits first takes effect first."""
        self.start_relay()
        early_id = self.writer("early-id").write("key", 3, seq=2)
        early_commit = self.writer("early-commit").write("key", 3, seq=1)
        early_commit.commit()
        self.wait_for_messages(3)
        early_id.commit()
        self.audit()

    def test_interleaved_transactions(self):
        """Many transactions draw ids in turn, and end in any order, each in its own way."""
        self.start_relay()
        dice = random.Random(1)
        for n in range(12):
            writers = [self.writer(f"round-{n}-{m}") for m in range(8)]
            for _ in range(5):
                for m, writer in enumerate(dice.sample(writers, len(writers))):
                    writer.write(dice.choice((None, f"{writer.name}")), 1 + m % 3)
            for writer in dice.sample(writers, len(writers)):
                dice.choice((writer.commit, writer.commit, writer.rollback))()
                writer.connection.close()
        self.audit()

    def test_rollbacks_and_savepoints(self):
        """What was rolled back never appears, and its ids are accounted for without anybody's help."""
        self.start_relay()
        writer = self.writer("w")
        for n in range(20):
            writer.write("kept", 2).savepoint().write("undone", 3).rollback_to_savepoint().write("kept").commit()
            writer.write("undone", 1 + n).rollback()
        writer.write("last").commit()
        result = self.audit()
        self.assertEqual((result.committed, len(self.ledger.aborted)), (61, 60 + 210))

    def test_rollbacks_while_the_relay_sleeps(self):
        """It is told of commits alone. When one of them shows it a gap it must not sleep on until a safety poll
        settles what the gap was."""
        self.start_relay(outbox={"safety_poll": "1h"})
        writer = self.writer("w")
        for _ in range(3):
            self.wait_asleep()
            writer.write("key", 3).rollback()
            writer.write("key").commit()
            self.wait_settled(deadline=60)
        self.audit()

    def test_a_shop_of_bad_habits(self):
        self.start_relay()
        self.open_shop(clients=10, habits=Habits(rollback=0.3, savepoint=0.3, slow=0.03, slow_seconds=1.5))
        self.let_trade(2500)
        self.audit()
        self.assertGreater(len(self.shops[0].ledger.aborted), 1000)

    def test_one_large_transaction_among_small_ones(self):
        """200,000 rows become visible at one stroke while the shop goes on."""
        rows = 200_000
        self.start_relay()
        self.open_shop(clients=4, habits=Habits(pause=0.01))
        large = self.writer("large").copy(rows)
        self.let_trade(500)
        large.commit()
        self.let_trade(500)
        self.assertGreater(self.audit().stored, rows + 1000)


class Late(SystemTest):
    """A transaction that holds ids for long delays its own rows, and nothing else."""

    postgres_settings = {"autovacuum": "off"}  # it draws xids when it likes

    def hold_in_trigger(self, key):
        """Whoever inserts key waits in a BEFORE trigger, with xid and id in hand, until the returned connection is
        closed."""
        gate = self.connect()
        with gate.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(4711)")
            cursor.execute(f"""
                CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$
                BEGIN
                    IF NEW.key = '{key}' THEN PERFORM pg_advisory_xact_lock_shared(4711); END IF;
                    RETURN NEW;
                END $$;
                CREATE TRIGGER hold BEFORE INSERT ON boxhaul.outbox FOR EACH ROW EXECUTE FUNCTION hold()""")
        return gate

    def write_behind(self, writer, key):
        """Insert and commit on another thread, and return it once it hangs in the trigger."""
        thread = threading.Thread(target=lambda: writer.write(key).commit(), daemon=True)
        thread.start()
        self.wait(lambda: self.pg.backends("wait_event_type = 'Lock' AND wait_event = 'advisory'"),
                  "the insert to hang in the trigger")
        return thread

    def test_a_slow_before_trigger(self):
        """One id hangs for seconds; all others arrive meanwhile, and then it."""
        self.start_relay()
        self.open_shop(clients=4)
        self.let_trade(300)
        gate = self.hold_in_trigger("slow")
        slow = self.write_behind(self.writer("slow"), "slow")
        self.let_trade(1500, seconds=4)
        self.shops[0].stop()
        self.wait_for_messages(self.committed())
        self.assertTrue(slow.is_alive())
        gate.close()
        slow.join()
        self.audit()
        self.assertIn("slow/1", self.ledger.committed)

    def test_the_xmax_trap(self):
        """The owner of a missing id may stand above the snapshot's xmax, and in no list of it: a transaction with
        an older xid writes a later id and commits first. To take that xmax for a fence would lose the row."""
        relay = self.start_relay(outbox={"gap_grace": "0s"})
        gate = self.hold_in_trigger("slow")
        # Then it draws no xid either. (The flag is set before that: to say so has an xid of its own, and a fence is drawn.)
        self.wait(lambda: self.status(relay).get("pace") == "asleep", "the relay to sleep")
        old = self.writer("old").begin()
        (old_xid,), = old.execute("SELECT pg_current_xact_id()::text::bigint")
        slow = self.write_behind(self.writer("slow"), "slow")
        old.write("quick")
        (xmax,), = self.sql("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
        self.assertLessEqual(xmax, old_xid)  # so the slow one's lies above any xmax until old has committed
        old.commit()
        self.wait_for_messages(1)
        self.wait(lambda: self.exceptions() == [(1, 1, "missing")], "id 1 to be written down as missing")
        for _ in range(20):  # every mark gives the relay another chance to void it
            old.write("quick").commit()
            time.sleep(0.1)
        self.assertEqual(self.exceptions(), [(1, 1, "missing")])
        gate.close()
        slow.join()
        self.audit()
        self.assertIn("slow/1", self.ledger.committed)

    def test_an_unrelated_long_writer(self):
        """A writing transaction that never touched the outbox holds back every snapshot's xmin. Neither delivery
        nor the voiding of rolled-back ids waits for it."""
        self.sql("CREATE TABLE unrelated (n int)")
        self.start_relay(outbox={"gap_grace": "0s"})
        here, elsewhere = self.connect(), self.pg.connect()
        self.addCleanup(elsewhere.close)
        xids = []
        for connection, sql in ((here, "INSERT INTO unrelated VALUES (1)"), (elsewhere, "CREATE TABLE t (n int)")):
            with connection.cursor() as cursor:
                cursor.execute(f"BEGIN; {sql}; SELECT pg_current_xact_id()::text::bigint")
                xids += cursor.fetchall()[0]
        self.open_shop(clients=4, habits=Habits(rollback=0.3, savepoint=0.3))
        self.let_trade(1500)
        writer = self.writer("w")
        writer.write(count=10).rollback()
        writer.write("last").commit()
        self.audit()  # which includes that no exception is left
        (xmin,), = self.sql("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
        self.assertEqual(xmin, min(xids))  # they were open all the time

    def test_an_open_transaction_with_rows_is_never_voided(self):
        """The other side of it: while its own transaction lives an id stays missing, however often the relay looks,
        and so do rolled-back ids above it, for they might be its own, too. Other rows do not wait."""
        self.start_relay(outbox={"gap_grace": "0s"})
        held, other = self.writer("held").write("held", 3), self.writer("other")
        for n in range(40):
            other.write("other").commit()
            if n % 10 == 0:
                other.write("other").rollback()
            time.sleep(0.05)
        self.wait_for_messages(40)
        self.wait(lambda: self.position() == self.newest(), "the position to pass the held ids")
        self.assertEqual(self.exceptions()[0], (1, 3, "missing"))
        held.commit()
        self.audit()

    def draw_two(self):
        """Each row draws one id more, as if every other one rolled back."""
        self.sql("""CREATE FUNCTION public.draw() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
            'BEGIN PERFORM nextval(''boxhaul.outbox_id_seq''); RETURN NEW; END';
            CREATE TRIGGER draw BEFORE INSERT ON boxhaul.outbox FOR EACH ROW EXECUTE FUNCTION public.draw()""")

    def test_very_many_missing_ids(self):
        """While a transaction with rows in the outbox is open no missing id above its own can be voided: they pile
        up with every rollback. Others are delivered nevertheless."""
        self.start_relay()
        self.draw_two()
        held = self.writer("held").write("held")
        self.writer("many").copy(20_000).commit()
        self.wait_for_messages(20_000)
        self.wait(lambda: self.position() == self.newest(), "the position to pass the missing ids", progress=self.position)
        self.writer("another").write("another").commit()
        self.wait_for_messages(20_001)
        self.assertGreaterEqual(len(self.exceptions()), 20_000)
        held.commit()
        self.audit()

    def test_order_behind_very_many_missing_ids(self):
        """With so many missing the relay asks for them now and then, and reads the backlog as of the last time. What was
        written since, behind one that was missing then, stands in the same backlog and must not come before it."""
        self.draw_two()
        held, behind = self.writer("held").write("key", 3), self.writer("behind")
        self.writer("many").copy(40_000).commit()
        self.start_relay()
        self.wait_for_messages(10_000)  # and while it reads the others:
        held.commit()
        behind.write("key", 3, seq=100).commit()
        self.audit()


def wake_as_a_replica(test):
    """session_replication_role = replica leaves triggers out. No safety poll helps here, either."""
    test.start_relay(outbox={"safety_poll": "1h"})
    with test.connect().cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        for n, statement in enumerate(("INSERT INTO boxhaul.outbox (subject, key, payload) VALUES ('orders.x', 'k', 'x')",
                                       "SELECT boxhaul.publish('orders.x', 'x'::bytea, 'k')")):
            test.wait_asleep()
            cursor.execute(statement)
            test.wait_for_messages(n + 1)
        test.wait_settled()
        for columns, values in (("", ""), (", id", ", DEFAULT")):
            with test.assertRaisesRegex(Exception, "replica cannot insert into boxhaul.outgoing"):
                cursor.execute(f"INSERT INTO boxhaul.outgoing (subject, key, payload{columns}) VALUES ('orders.x', 'k', 'x'{values})")


class Unprepared(SystemTest):
    def test_a_producer_that_runs_as_a_replica_wakes_it(self):
        wake_as_a_replica(self)


class Prepared(SystemTest):
    """PREPARE TRANSACTION hands ids and locks to nobody's session, for as long as it pleases."""

    postgres_settings = {"max_prepared_transactions": 20}

    def test_prepared_under_load(self):
        self.start_relay(outbox={"gap_grace": "0s"})
        self.open_shop(clients=4)
        writer, names = self.writer("w"), []
        for n in range(12):
            names.append(writer.write(f"key-{n}", 3).prepare())
            self.let_trade(40)
        for name in names[::2]:
            writer.finish(name, "ROLLBACK")
        self.let_trade(200)
        for name in reversed(names[1::2]):
            writer.finish(name)
        self.audit()

    def test_prepared_while_the_relay_sleeps(self):
        """A transaction that has executed NOTIFY cannot be prepared: waking the relay must not be what fails it."""
        self.start_relay(outbox={"safety_poll": "1s"})
        writer = self.writer("w")
        for verb in ("COMMIT", "ROLLBACK", "COMMIT"):
            self.wait_asleep()
            name = writer.write(verb, 2).prepare()
            self.wait_asleep()
            writer.finish(name, verb)
        self.wait_for_messages(4)
        writer.write("last").commit()
        self.audit()

    def test_a_commit_wakes_the_sleeping_relay(self):
        """With prepared transactions allowed the NOTIFY takes another way. No safety poll helps here."""
        self.start_relay(outbox={"safety_poll": "1h"})
        writer = self.writer("w")
        for n in range(5):
            self.wait_asleep()
            writer.write("key").commit()
            self.wait_for_messages(n + 1)
        self.audit()

    def test_a_producer_that_runs_as_a_replica_wakes_it(self):
        wake_as_a_replica(self)

    def test_prepared_over_restarts_of_everything(self):
        relay = self.start_relay(outbox={"gap_grace": "0s"})
        writer = self.writer("w")
        commit, rollback = writer.write("a", 2).prepare(), writer.write("b", 2).prepare()
        writer.write("c").commit()
        self.wait_for_messages(1)
        relay.stop()
        self.pg.restart("immediate")
        relay.start().wait_until_ready()
        writer.connection = self.connect(SERVICE)
        writer.finish(commit)
        writer.finish(rollback, "ROLLBACK")
        self.audit()


class Contents(SystemTest):
    """What arrives is what was written, byte for byte."""

    ODD_PAYLOADS = (b"", b"\0", b"\r\n", b"\r\nPUB orders.x 0\r\n\r\n", b"+OK\r\n-ERR 'x'\r\n",
                    bytes(range(256)), bytes(range(255, -1, -1)) * 300, "\u4f60\u597d \U0001f600".encode())
    ODD_KEYS = (None, "", " ", "schlüssel", "\u9375", "a'b\"c\\d", "{1,2}", "k" * 2000, "line\nbreak\ttab")
    ODD_SUBJECTS = ("orders.a", "orders.zürich.\u6771\u4eac", "orders.A-b_c/d:e", "orders.$x.y$", "orders." + "s" * 900)
    ODD_HEADERS = (None, {}, {"A": "b"}, {"City": "Zürich \u6771\u4eac", "Empty": "", "traceparent": "00-4bf9-00f0-01"},
                   {"Colon": "a: b: c", "x-" + "n" * 500: "v" * 8000}, {f"Header-{n}": str(n) for n in range(200)},
                   {"Quoted": "\"\\ \U0001f600 %s {} '"})

    def insert(self, rows):
        """Insert (subject, key, payload, headers), one transaction each; returns {message id: what is to be stored}."""
        connection, written = self.connect(SERVICE), {}
        with connection.cursor() as cursor:
            for subject, key, payload, headers in rows:
                cursor.execute("INSERT INTO boxhaul.outgoing (subject, key, payload, headers) "
                               "VALUES (%s, %s, %s, %s::jsonb) RETURNING message_id::text",
                               (subject, key, payload, None if headers is None else json.dumps(headers)))
                message_id = cursor.fetchone()[0]
                written[message_id] = (subject, payload, {**{name: [value] for name, value in (headers or {}).items()},
                                                          **({} if key is None else {"Boxhaul-Key": [urllib.parse.quote(key, safe=KEPT)]}),
                                                          "Nats-Msg-Id": [message_id]})
        return written

    def expect(self, written):
        """The stream holds exactly that: each under its own message id, its headers, and no others."""
        self.wait_settled()
        messages = self.stored()
        self.assertEqual(len(messages), len(written))
        for message in messages:
            self.assertEqual((message.subject, message.payload, message.headers), written[message.msg_id])

    def test_odd_contents(self):
        self.start_relay()
        plain = ("orders.a", "key", b"payload", None)
        rows = [plain[:2] + (payload, None) for payload in self.ODD_PAYLOADS]
        rows += [("orders.a", key, b"payload", None) for key in self.ODD_KEYS]
        rows += [(subject,) + plain[1:] for subject in self.ODD_SUBJECTS]
        rows += [plain[:3] + (headers,) for headers in self.ODD_HEADERS]
        dice = random.Random(1)
        rows += [tuple(map(dice.choice, (self.ODD_SUBJECTS, self.ODD_KEYS, self.ODD_PAYLOADS, self.ODD_HEADERS)))
                 for _ in range(300)]
        self.expect(self.insert(rows))

    def test_a_megabyte(self):
        """1,000,000 bytes each, more of them together than fit into the relay's queue at once."""
        self.start_relay()
        dice = random.Random(1)
        self.expect(self.insert([("orders.large", dice.choice((None, "a", "b")), dice.randbytes(1_000_000),
                                  dice.choice((None, {"Size": "1000000"}))) for _ in range(40)]))

    def test_large_ones_keep_their_order(self):
        """The same through the books: large and small messages of few keys in one lane each."""
        self.start_relay()
        writer = self.writer("w")
        for n in range(45):
            writer.write(f"key-{n % 3}", note="x" * (999_000 if n % 2 else 10)).commit()
        self.audit()

    def test_the_largest_that_the_checks_admit(self):
        """max_message_size less 256 bytes and the key is admitted, so it must arrive; a byte more the producer's own INSERT
        refuses."""
        self.start_relay()
        written = self.insert([("orders.a", "key", bytes(MEBI - 256 - len("key")), None)])
        with self.assertRaisesRegex(Exception, "up to 1048320 bytes"):
            self.insert([("orders.a", "key", bytes(MEBI - 255 - len("key")), None)])
        self.expect(written)


class Window(SystemTest):
    """What may be in flight at once shows while the broker is silent."""

    def send(self, at_once, **delivery):
        """Of 30 messages of three keys, and ten without one, so many are sent before any is answered."""
        relay = self.start_relay(delivery={"ack_timeout": "20s", **delivery})
        self.writer("first").write("first").commit()
        self.audit()  # the stream is open: what it holds has been looked at
        self.nats.pause()
        writer = self.writer("w")
        for _ in range(10):
            for key in ("a", "b", "c", None):
                writer.write(key)
        writer.commit()
        self.wait(lambda: self.status(relay)["queue_messages"] == 40, "all to be read")
        self.wait(lambda: self.status(relay)["in_flight_messages"] >= at_once, "the window to fill")
        time.sleep(0.5)
        in_flight = self.status(relay)["in_flight_messages"]
        self.nats.resume()
        self.audit()
        self.assertEqual(in_flight, at_once)

    def test_strict(self):
        """One of each key, whatever happens to it; those without a key wait for nothing."""
        self.send(3 + 10)

    def test_pipelined(self):
        self.send(40, ordering="pipelined")

    def test_no_ordering(self):
        self.send(40, ordering="none")

    def test_a_small_window(self):
        self.send(7, ordering="none", window=7)


class Settings(SystemTest):
    """The other ways to run it deliver everything, too."""

    def trade(self, **delivery):
        self.start_relay(delivery=delivery)
        self.open_shop()
        self.let_trade(1500)

    def test_pipelined(self):
        self.trade(ordering="pipelined")
        self.audit(ordered=False)

    def test_no_ordering(self):
        self.trade(ordering="none")
        self.audit(ordered=False)

    def test_a_window_of_one(self):
        self.trade(window=1)
        self.audit()

    def test_little_memory(self):
        self.start_relay(delivery={"queue": 16, "window": 16, "queue_bytes": "4KB", "window_bytes": "2KB"},
                         outbox={"max_message_size": "2KB"})
        self.open_shop()
        self.let_trade(1500)
        self.audit()

    def test_large_ones_behind_small_ones(self):
        """How much is read at once is bounded in bytes. In a backlog of small rows nobody adds them up, until a large one comes;
        and never where single rows come, of whatever size: a large one would have to be asked for twice."""
        def fetches(how):
            return self.metric(relay, rf'postgres_statements_total\{{statement="{how}"\}}')

        writer = self.writer("one").write("b", 2000)
        for _ in range(5):
            writer.write("a", note="x" * 40_000)
        writer.write("b", 300).commit()
        relay = self.start_relay(delivery={"queue": 256, "queue_bytes": "512KiB", "window": 256, "window_bytes": "512KiB"},
                                 outbox={"max_message_size": "64KiB"})
        self.wait_settled()
        by_shares = fetches("fetch")
        self.assertGreaterEqual(by_shares, (2000 - 4 * 256) // 256, "four answers of 256 are summed, and then none of small rows")
        self.assertGreaterEqual(fetches("fetch_summed"), 4 + 1)
        for n in range(20):
            writer.write("a", note="x" * 10_000 * (n % 2)).commit()
            self.wait_settled()
        self.assertEqual(fetches("fetch"), by_shares)
        self.audit()

    def test_hot_keys(self):
        """Nearly all of it in three lanes."""
        self.start_relay()
        self.open_shop(orders=3, habits=Habits(unordered=0.01, slow=0))
        self.let_trade(1000)
        self.audit()

    def test_polling_without_listen(self):
        self.start_relay(outbox={"wakeup": "poll"})
        self.open_shop()
        self.let_trade(1000)
        self.audit()

    def test_two_streams(self):
        streams = [{"name": STREAM, "subjects": ["orders.eu.>"], "create": True},
                   {"name": "REST", "subjects": ["orders.*"], "create": True}]
        self.start_relay(streams=streams)
        self.open_shop(habits=Habits(unordered=1))
        self.let_trade(1000)
        self.shops[0].stop()
        self.wait_settled()
        eu, rest = self.stored(), self.stored("REST")
        self.assertEqual({m.subject for m in eu}, {"orders.eu.shipped", "orders.eu.returned"})
        self.assertEqual({m.subject for m in rest}, {"orders.created", "orders.paid", "orders.packed"})
        names = [unseal(m.payload)["message"] for m in eu + rest]
        self.assertEqual(sorted(names), sorted(self.shops[0].ledger.committed))


class Ring(SystemTest):
    """The outbox is a ring of eight slots; what is sent and old enough goes by TRUNCATE, and nobody notices."""

    # Waits of 200 ms stand in its log, and who waited.
    postgres_settings = {"log_lock_waits": "on", "deadlock_timeout": "200ms", "log_line_prefix": "%u "}

    def start(self):
        """A retention of 2 s: slots of 1 s, so that the ring turns over every 8 s."""
        relay = self.add_relay(outbox={"retention": "2s", "safety_poll": "1s"})
        done = relay.command("migrate")
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertEqual(self.sql("SELECT boxhaul.slot_seconds()"), [(1,)])
        return relay.start().wait_until_ready()

    def rows(self):
        return self.sql("SELECT count(*) FROM boxhaul.outbox")[0][0]

    def waits_for_a_table(self):
        """Lines of PostgreSQL's log about a producer who waited for a lock on a table (row locks of the shop's own
        orders are another matter; and whoever counts the rows waits for a slot that is being emptied)."""
        with open(self.pg.log, encoding="utf-8", errors="replace") as f:
            return [line for line in f if line.startswith(f"{SERVICE} LOG:") and "still waiting for" in line
                    and "on relation" in line]

    def test_it_stays_bounded_and_loses_nothing(self):
        self.start()
        self.open_shop()
        self.let_trade(1000)
        self.wait(lambda: self.committed() > 4 * self.rows(), "the outbox to be a fraction of what went through it")
        self.audit()
        self.wait(lambda: self.rows() == 0, "the outbox to be emptied")
        self.assertEqual(self.waits_for_a_table(), [])

    def test_an_outage_longer_than_the_retention(self):
        """What is not sent stays, however old it gets, for the next start of the relay, too; producers go on, into
        slots that are not empty."""
        relay = self.start()
        self.open_shop(clients=4)
        self.let_trade(200)
        self.nats.stop()
        self.let_trade(500, seconds=11)
        relay.kill9()
        self.nats.start()
        relay.start()
        self.audit()
        self.wait(lambda: self.rows() == 0, "the outbox to be emptied")
        self.assertEqual(self.waits_for_a_table(), [])

    def test_an_uncommitted_row_in_an_old_slot(self):
        """The slot of an open transaction's row comes round again and again, and is left alone until it ends."""
        self.start()
        self.open_shop(clients=4)
        held, undone = self.writer("held").write("held", 2), self.writer("undone").write("undone", 2)
        self.let_trade(1000, seconds=11)
        self.assertGreater(self.committed(), self.rows())  # other slots were truncated meanwhile
        held.write("held").commit()
        undone.rollback()
        self.audit()
        self.wait(lambda: self.rows() == 0, "the outbox to be emptied")
        self.assertEqual(self.waits_for_a_table(), [])


if __name__ == "__main__":
    unittest.main()
