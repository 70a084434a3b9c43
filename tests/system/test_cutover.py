"""Tables move from one database to another while clients write: the switch, the switch that is killed at each step, the one that is taken back, and the
way back. Two databases with a daemon each; a capture of the one and a sink of the other, both ways."""

import contextlib
import json
import os
import signal
import subprocess
import unittest

import psycopg2
from psycopg2 import errors

from captures import NAME, STREAM, CaptureTest  # first: it knows where the library is
from copied import changes_of
from harness import RELAY, SERVICE
from legacy import TABLES, Legacy, Ways
from process import DEADLINE

BACK, RETURN, SINK, HOME = "back", "BACK", "move", "home"
PAIRS = [{"from": table, "to": table} for table in TABLES]
SAME = ("SELECT id, customer, total::text, weight::text, state::text, placed_at, due, attributes::text, tags::text, paid, md5(doc), md5(scan), version, changed_by "
        "FROM legacy.orders ORDER BY id",
        "SELECT * FROM legacy.order_lines ORDER BY order_id, line",
        "SELECT place, sku, on_hand, counted_at, md5(doc), changed_by FROM legacy.stock ORDER BY place COLLATE \"C\", sku COLLATE \"C\"")
# Which write shows whose turn it is.
WRITE = "INSERT INTO legacy.order_lines (order_id, line, sku) VALUES (%s, 1, 'probe')"


class CutoverTest(CaptureTest):
    format, orders, pairs = "text", 100, PAIRS

    @classmethod
    def _make_template(cls):
        super()._make_template()
        cls.let_sink()
        cls.pg.execute("GRANT USAGE ON SCHEMA legacy TO boxhaul_sink; GRANT ALL ON ALL TABLES IN SCHEMA legacy TO boxhaul_sink", dbname="migrated")
        # A key of its own, drawn from a sequence, beside those that the shop's clients draw.
        cls.pg.execute("CREATE SEQUENCE legacy.numbers; ALTER TABLE legacy.orders ADD number bigint DEFAULT nextval('legacy.numbers'); "
                       f"GRANT USAGE ON SEQUENCE legacy.numbers TO {SERVICE}", dbname="migrated")

    def setUp(self):
        super().setUp()
        self.there = f"{self.database}_new"
        self.pg.copy_database("migrated", self.there)
        self.addCleanup(self._forget)
        self.probes = 1000

    def _forget(self):
        """Slots are the server's, and the next test wants their names."""
        for relay in self.relays:
            relay.close()
        slots = "FROM pg_replication_slots WHERE database = %s"
        self.pg.execute(f"SELECT pg_terminate_backend(active_pid) {slots} AND active", (self.there,))
        self.wait(lambda: self.pg.execute(f"SELECT count(*) {slots} AND active", (self.there,)) == [(0,)], "the slots to be free")
        self.pg.execute(f"SELECT pg_drop_replication_slot(slot_name) {slots}", (self.there,))
        self.pg.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (self.there,))
        self.wait(lambda: self.pg.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = %s", (self.there,)) == [(0,)], "sessions to be gone")
        self.pg.execute(f"DROP DATABASE {self.there}")

    # -- both sides

    def sink_settings(self, name, stream, subjects, snapshot):
        return [{"name": name, "stream": stream, "subjects": [subjects], "tables": self.pairs, "snapshot": snapshot}]

    def open_both(self, verify=True):
        """The old database captures, the new one follows; and the way back stands ready, paused."""
        self.new = self.add_relay(
            name="new", postgres={"conninfo": self.pg.conninfo(self.there, RELAY), "migrate_conninfo": self.pg.conninfo(self.there)},
            inbox=self.sink_settings(SINK, STREAM, f"cdc.{NAME}.*.*", "required"),
            capture=[{"name": BACK, "tables": self.tables, "stream": RETURN, "create": True, "replicas": self.nats.replicas, "format": "text",
                      "subject": "back.{schema}.{table}", "snapshot": "none", "skip_applied": [SINK]}])
        self.say(self.new, "capture", "start", BACK)
        self.old = self.start_capture()
        self.new.start()
        self.wait(lambda: self.at(self.there, "SELECT state FROM boxhaul.capture") == [("live",)], "the way back's capture to be live")
        self.wait(lambda: self.at(self.there, "SELECT complete FROM boxhaul.sink_status") == [(True,)], "the copy to be complete", progress=self.progress)
        # The way back begins once its stream is there.
        self.old.stop()
        self.old.settings["inbox"] = self.sink_settings(HOME, RETURN, "back.*.*", "none")
        self.old.configure(self.old.settings)
        self.old.start()
        self.wait(lambda: self.sql("SELECT 1 FROM boxhaul.inbox_position WHERE subscription = %s", (HOME,)), "the way back's sink to be known")
        self.say(self.old, "inbox", "pause", HOME)
        if verify:
            self.verify()

    def at(self, database, sql, values=None, user=None):
        return self.pg.execute(sql, values, database, user)

    def cutover(self, *words, status=0, env=None):
        """`boxhaul cutover`; what it said. status: None = it is killed on the way."""
        done = subprocess.run([self.program, "cutover", NAME if "--back" not in words else BACK, "--to", self.new.config, "-c", self.old.config,
                               "--timeout", f"{DEADLINE}s", *words], stdin=subprocess.DEVNULL, text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=2 * DEADLINE, check=False, env={**os.environ, **(env or {})})
        self.assertEqual(done.returncode, -signal.SIGKILL if status is None else status, done.stdout)
        return done.stdout

    def verify(self, *words, status=0, back=False):
        """A pass over each table, as a cut-over asks for."""
        (of, to) = (self.new, self.old) if back else (self.old, self.new)
        return self.say(of, "verify", "--to", to.config, *words, status=status)

    def takes_writes(self, database):
        """May a client of the service write there? What it writes is taken back."""
        connection = psycopg2.connect(self.pg.conninfo(database, SERVICE))
        try:
            with connection.cursor() as cursor:
                self.probes += 1
                cursor.execute(WRITE, (-self.probes,))
            return True
        except errors.ObjectNotInPrerequisiteState as e:
            self.assertIn("it is written in database", str(e))
            return False
        finally:
            connection.rollback()
            connection.close()

    def owners(self):
        return [database for database in (self.database, self.there) if self.takes_writes(database)]

    def wait_home(self):
        self.wait(lambda: self.sql("SELECT complete FROM boxhaul.sink_status") == [(True,)], "the way back to have begun",
                  progress=lambda: self.sql("SELECT position, complete, error FROM boxhaul.sink_status"))

    def open_shop_at(self, database, name="c"):
        shop = Legacy(self.pg.conninfo(database, SERVICE), 3, self.orders, Ways(pause=0.004), name=name)
        self.shops.append(shop)
        return shop.start()

    def stop_shops(self):
        """They may have been stopped by a fence, and by nothing else."""
        for shop in self.shops:
            shop.stop()
            self.assertEqual([error for error in shop.errors if not error.startswith("55000")], [])

    def assert_equal(self):
        for sql in SAME:
            here, there = self.at(self.database, sql), self.at(self.there, sql)
            self.assertEqual([pair for pair in zip(here, there) if pair[0] != pair[1]][:3], [], sql)
            self.assertEqual(len(here), len(there), sql)
            self.assertGreater(len(here), 0)


class Switch(CutoverTest):
    def test_there_and_back(self):
        self.open_both()
        self.open_shop_at(self.database)
        self.let_work(60)
        self.say(self.old, "inbox", "resume", HOME)
        self.assertIn("warn  the way back would not begin: `boxhaul inbox pause -c ", self.cutover("--dry-run"))
        self.say(self.old, "inbox", "pause", HOME)
        said = self.cutover("--dry-run")
        self.assertIn("nothing was changed", said)
        self.assertIn(f"ok    the way back stands ready: {HOME}", said)
        self.assertEqual(self.owners()[:1], [self.database])
        said = self.cutover()
        self.assertIn("fenced: nobody writes the 3 tables", said)
        self.assertIn("sequence legacy.numbers stands at", said)
        self.assertIn(f"the way back is kept: {HOME}", said)
        self.stop_shops()
        self.assert_equal()
        self.assertEqual(self.owners(), [self.there])
        # What is drawn now is in no row that was written there. (A statement that the fence has stopped may have drawn more.)
        (drawn,), = self.at(self.database, "SELECT max(number) FROM legacy.orders")
        self.assertGreater(self.at(self.there, "SELECT nextval('legacy.numbers')")[0][0], drawn)
        # The new owner goes on; and back.
        self.wait_home()
        self.open_shop_at(self.there, "n")
        self.let_work(60)
        self.assertIn("no verify pass over it has ended", self.cutover("--back", status=1))
        self.verify(back=True)
        said = self.cutover("--back")
        self.assertIn("done", said)
        self.stop_shops()
        # The copy follows again, and passes over what it was itself.
        self.wait_copied()
        self.assert_equal()
        self.open_shop_at(self.database, "d")
        self.let_work(30)
        self.stop_shops()
        self.wait_copied()
        self.assert_equal()
        self.assertEqual(self.owners(), [self.database])
        # Nothing that came from the old database went back to it.
        texts = [stored.payload.decode() for stored in self.stored(RETURN)]
        self.assertTrue(any('"n' in text for text in texts))
        came = [change["row"] for text in texts for change in changes_of(json.loads(text)) if change["op"] == "c"]
        self.assertEqual([row for row in came if (row.get("changed_by") or "").startswith("c")][:3], [])

    def wait_copied(self):
        """All that was written in the old database is in its stream, and was applied in the new one."""
        self.wait_confirmed()
        self.wait(lambda: self.at(self.there, "SELECT position FROM boxhaul.sink_status") == [(len(self.stored(STREAM)),)], "the copy to follow",
                  progress=lambda: self.at(self.there, "SELECT position, error FROM boxhaul.sink_status"))

    def test_a_writer_who_does_not_end(self):
        self.open_both()
        writer = psycopg2.connect(self.pg.conninfo(self.database, SERVICE))
        self.addCleanup(writer.close)
        with writer.cursor() as cursor:
            cursor.execute(WRITE, (-1,))
        said = self.cutover("--timeout", "1s", status=1)
        self.assertIn(f"table legacy.order_lines waits for pid {writer.get_backend_pid()} ", said)
        self.assertIn("taken back: the source takes the writes as before", said)
        writer.commit()
        self.assertEqual(self.owners(), [self.database])
        self.cutover()
        self.assertEqual(self.owners(), [self.there])
        self.assert_equal()

    def test_a_sink_that_does_not_come(self):
        self.open_both()
        self.new.stop()
        said = self.cutover("--timeout", "2s", status=1)
        self.assertIn("the token did not come through the stream", said)
        self.assertEqual(self.owners(), [self.database])
        self.new.start()
        self.cutover()  # the token of the one that was given up passes, and opens nothing
        self.assertEqual(self.owners(), [self.there])

    def test_once_is_enough(self):
        self.open_both()
        self.cutover()
        said = self.cutover(status=1)
        self.assertIn("FAIL  the target takes the writes already, of legacy.order_lines: the switch is done", said)
        self.assertIn("not proved: it is written in the target since the cut-over: verify the other way", self.verify(status=1))
        self.assertEqual(self.owners(), [self.there])

    def test_what_is_written_there_is_not_written_over(self):
        """The stream still has what the old database wrote, and has its copies of what the new one writes: whoever wakes the sink of the new one, nothing of that
        comes over the rows of the service."""
        held = "legacy.order_lines is written here since the cut-over"
        wrote = [("the service's",)]
        self.open_both()
        self.cutover()
        shown = self.say(self.new, "inbox", "show", SINK)
        self.assertIn("leave it so", shown)
        done = self.new.command("inbox", "resume", SINK)
        self.assertEqual((done.returncode, held in done.stdout, "cutover --back" in done.stdout), (1, True, True), done.stdout)
        # By hand, past the command.
        self.at(self.there, "UPDATE boxhaul.inbox_position SET paused_at = NULL, paused_by = NULL, pause_reason = NULL; NOTIFY boxhaul, 'inbox'")
        note = "legacy.order_lines WHERE (order_id, line) = (1, 1)"
        for text in ("first", wrote[0][0]):
            self.at(self.there, f"UPDATE legacy.order_lines SET note = %s {note[19:]}", (text,))
        self.wait(lambda: self.sql(f"SELECT note FROM {note}") == wrote, "the way back to bring it")
        self.wait(lambda: held in (self.at(self.there, "SELECT error FROM boxhaul.sink_status")[0][0] or ""), "the sink to say why it stands")
        self.assertEqual(self.at(self.there, f"SELECT note FROM {note}"), wrote)
        # It follows again once it is written elsewhere, and not before.
        self.say(self.new, "inbox", "pause", SINK)
        self.verify(back=True)
        self.cutover("--back")
        self.sql(WRITE, (-1,))
        self.wait_copied()
        self.assert_equal()
        self.assertEqual(self.owners(), [self.database])


HAND = "ALTER TABLE legacy.order_lines DISABLE TRIGGER ALL; UPDATE legacy.order_lines SET note = 'a hand' WHERE (order_id, line) = (5, 1)"
FOUND = 'changed: table=legacy.order_lines key=["5", "1"]'


class Proof(CutoverTest):
    """Nothing opens that is not proved: before the fence, by a pass; behind it, by what has changed since."""

    def assert_refused(self, why, *words):
        said = self.cutover("--dry-run", status=1)
        self.assertIn(why, said)
        self.assertIn(why, self.cutover(*words, status=1))
        self.assertEqual(self.owners()[:1], [self.database])
        return said

    def told(self, said):
        """What a command advises, done: the program's words behind the sign `."""
        advice = next(line for line in said.splitlines() if line.startswith("FAIL")).split("`")[1]
        words = advice.split()
        self.assertEqual(words[0], "boxhaul")
        done = subprocess.run([self.program, *words[1:]], stdin=subprocess.DEVNULL, text=True, capture_output=True, timeout=2 * DEADLINE, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_no_pass(self):
        self.open_both(verify=False)
        said = self.assert_refused("FAIL  table legacy.orders: no verify pass over it has ended: `boxhaul verify ")
        self.told(said)
        self.assertIn("3 of 3 tables are verified", self.cutover())
        self.assertEqual(self.owners(), [self.there])
        self.assert_equal()

    def sink_told(self):
        """The sink of the copy, as its daemon tells."""
        told, = self.status(self.new)["subscriptions"]
        return told

    def test_a_pass_that_found_something(self):
        """In the copy, by hand: each kind of difference; repaired, it is no hindrance."""
        self.open_both(verify=False)
        self.at(self.there, "UPDATE legacy.order_lines SET note = 'a hand' WHERE (order_id, line) = (5, 1);"
                            "DELETE FROM legacy.orders WHERE id = 7; INSERT INTO legacy.stock (place, sku, on_hand) VALUES ('nowhere', 'surplus', 1)")
        said = self.verify(status=1)
        self.assertIn("left=3", said)
        self.assertIn("then the same with --repair sets it right", said)
        self.wait(lambda: self.sink_told().get("sink_different") == 3, "the daemon to know of it", progress=self.sink_told)
        self.assertIn(f"Subscription {SINK}: 3 rows of its tables differ from the source, in legacy.order", self.status(self.new)["summary"])
        self.assertIn("boxhaul verify --repair", self.status(self.new)["action"])
        self.assertIn("3 rows differ, in legacy.order", self.say(self.new, "status"))
        self.told(self.assert_refused("FAIL  table legacy.orders: 1 difference is open: `boxhaul verify "))
        self.wait(lambda: self.sink_told().get("sink_proved_seconds") is not None, "the daemon to know of the proof", progress=self.sink_told)
        self.assertEqual((self.sink_told()["sink_different"], self.sink_told()["sink_unproved_tables"]), (0, 0))
        self.assertEqual(self.status(self.new)["state"], "ok")
        self.assertIn("equal, by verify passes that began ", self.say(self.new, "status"))
        self.cutover()
        self.assert_equal()

    def test_a_hand_behind_the_pass(self):
        """Rows of the copy that were changed after they were proved: found behind the fence, one by one, and the move is taken back."""
        self.open_both()
        self.sql("UPDATE legacy.orders SET version = version + 1 WHERE id = 3")
        for change, found in (("UPDATE legacy.order_lines SET note = 'a hand' WHERE (order_id, line) = (5, 1)", FOUND),
                              ("DELETE FROM legacy.orders WHERE id = 7", 'missing: table=legacy.orders key=["7"]'),
                              ("INSERT INTO legacy.stock (place, sku, on_hand) VALUES ('nowhere', 'surplus', 1)", "surplus: table=legacy.stock key=")):
            self.at(self.there, f"ALTER TABLE {found.split('table=')[1].split()[0]} DISABLE TRIGGER ALL; {change}")
            said = self.cutover(status=1)
            self.assertIn(found, said)
            self.assertIn("taken back", said)
            self.assertEqual(self.owners()[:1], [self.database])
            self.assertIn("1 difference is open", self.cutover(status=1))
            self.verify("--repair")
        said = self.cutover()
        self.assertIn("table legacy.orders is equal: ", said)
        self.assertEqual(self.owners(), [self.there])
        self.assert_equal()

    def test_said_again_it_finds_the_same(self):
        """It ends between what it has found and the word that the move is given up: whoever says it again must not take what is known for nothing new."""
        self.open_both()
        self.at(self.there, HAND)
        self.at(self.there, "CREATE FUNCTION public.no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$; "
                            "CREATE TRIGGER no BEFORE UPDATE ON boxhaul.move_target FOR EACH ROW WHEN (NEW.state = 'given_up') EXECUTE FUNCTION public.no()")
        self.assertNotIn("taken back: ", self.cutover(status=4))
        self.at(self.there, "DROP TRIGGER no ON boxhaul.move_target")
        said = self.cutover(status=1)
        self.assertIn(FOUND, said)
        self.assertIn("taken back", said)
        self.assertEqual(self.owners()[:1], [self.database])

    def test_a_pass_that_proves_nothing(self):
        """One that found something, with --unverified; one over some columns; and one from before a column came whose values no row has: all rows are compared."""
        self.open_both(verify=False)
        self.at(self.there, HAND)
        self.verify(status=1)
        self.assertIn(FOUND, self.cutover("--unverified", status=1))
        self.verify("--repair")
        self.at(self.there, HAND)
        self.sql("SELECT boxhaul.capture_verify(%s, 'legacy.order_lines', ARRAY['order_id', 'line'], false)", (NAME,))
        self.wait(lambda: self.sql("SELECT bool_and(state = 'complete') FROM boxhaul.capture_verify") == [(True,)], "the pass to be over")
        self.assertIn(FOUND, self.cutover("--unverified", status=1))
        self.verify("--repair")
        self.at(self.there, "ALTER TABLE legacy.order_lines ADD channel text")
        self.sql("ALTER TABLE legacy.order_lines ADD channel text DEFAULT 'web'")
        self.sql("UPDATE legacy.order_lines SET note = 'n' WHERE (order_id, line) = (5, 1)")
        self.assertIn("its columns, its mapping or its function were changed", self.cutover(status=1))
        self.verify("--repair")
        self.cutover()
        self.assert_equal()

    def test_tables_that_inherit(self):
        """They are not captured with their parent, and so not compared with it."""
        self.sql("CREATE TABLE legacy.kids () INHERITS (legacy.order_lines)")
        self.sql("INSERT INTO legacy.kids (order_id, line, sku) VALUES (99999, 1, 'kid')")
        self.open_both()
        self.sql("UPDATE ONLY legacy.order_lines SET note = 'n' WHERE (order_id, line) = (5, 1)")
        self.assertIn("table legacy.order_lines is equal: 200 keys", self.cutover())

    def test_while_clients_write(self):
        """Deletes, keys that change, and rows that come: what a pass has proved is not compared again."""
        self.open_both(verify=False)
        self.open_shop_at(self.database)
        self.let_work(60)
        self.verify()
        self.let_work(60)
        said = self.cutover()
        self.assertNotIn("all its rows are compared", said)
        self.stop_shops()
        self.assert_equal()

    def test_files_that_are_others(self):
        self.open_both()
        self.sql("CLUSTER legacy.stock USING stock_pkey")
        self.assert_refused("FAIL  table legacy.stock: since its last verify pass it has other files")
        said = self.cutover("--unverified", status=1)  # the capture itself does not know what that has changed
        self.assertIn("contents that the stream does not have: legacy.stock", said)
        self.assertEqual(self.owners()[:1], [self.database])
        self.verify()
        self.wait(lambda: self.sql("SELECT bool_and(state = 'complete') FROM boxhaul.capture_table") == [(True,)], "the tables to be proved")
        self.cutover()
        self.assert_equal()

    def test_unverified(self):
        """Then all rows are compared behind the fence, and what differs is found there."""
        self.open_both(verify=False)
        self.at(self.there, "UPDATE legacy.order_lines SET note = 'a hand' WHERE (order_id, line) = (5, 1)")
        self.assertIn("warn  table legacy.orders: no verify pass over it has ended: all its rows are compared behind the fence", self.cutover("--dry-run", "--unverified"))
        said = self.cutover("--unverified", status=1)
        self.assertIn("table legacy.orders: no pass that stands has proved it, so all its rows are compared: 100 and 100", said)
        self.assertIn('changed: table=legacy.order_lines key=["5", "1"]', said)
        self.assertEqual(self.owners()[:1], [self.database])
        self.at(self.there, "SET session_replication_role = replica; ALTER TABLE legacy.order_lines DISABLE TRIGGER ALL;"
                            "UPDATE legacy.order_lines SET note = NULL WHERE (order_id, line) = (5, 1)")
        self.verify("--repair")
        self.cutover("--unverified")
        self.assertEqual(self.owners(), [self.there])
        self.assert_equal()


class Words(CutoverTest):
    """What stands against it, and goes when somebody does what is said."""

    def test_what_is_missing(self):
        self.open_both()
        self.assertIn("Say --to", self.say(self.old, "cutover", NAME, status=2))
        self.assertIn("say --to with that of the other one", self.say(self.old, "cutover", NAME, "--to", self.old.config, status=1))
        self.cutover("--dry-run")

    def test_sequences_that_no_default_names(self):
        """Of an object-relational mapper: the configuration names them."""
        self.open_both()
        self.old.settings["capture"] = [{**self.old.settings["capture"][0], "sequences": ["legacy.hibernate_sequence", "legacy.bills=legacy.invoices"]}]
        self.old.configure(self.old.settings)
        self.assertIn("is no sequence in the source: legacy.hibernate_sequence, legacy.bills", self.cutover(status=1))
        self.sql("CREATE SEQUENCE legacy.hibernate_sequence START 4711 INCREMENT 50; CREATE SEQUENCE legacy.bills;"
                 "SELECT nextval('legacy.hibernate_sequence'), nextval('legacy.bills')")
        self.assertIn("is no sequence in the target: legacy.hibernate_sequence, legacy.invoices", self.cutover("--dry-run", status=1))
        self.at(self.there, "CREATE SEQUENCE legacy.invoices; CREATE SEQUENCE legacy.hibernate_sequence INCREMENT 50")
        self.assertIn("behind sequence legacy.hibernate_sequence, now at 4711", self.cutover("--dry-run"))
        said = self.cutover()
        self.assertIn("sequence legacy.hibernate_sequence stands at 4761", said)
        self.assertIn("sequence legacy.invoices stands at 2", said)
        self.assertEqual(self.at(self.there, "SELECT nextval('legacy.hibernate_sequence')"), [(4811,)])

    def test_a_capture_that_is_paused(self):
        self.open_both()
        self.say(self.old, "capture", "pause", NAME)
        self.assertIn("FAIL  capture shop is live, paused", self.cutover(status=1))
        self.assertIn("paused", self.say(self.old, "capture", "status", NAME))
        self.say(self.old, "capture", "resume", NAME)
        self.cutover("--dry-run")

    def test_a_promotion_that_nobody_has_looked_into(self):
        """The tables are complete as before, and the stream may have what the new primary has not."""
        self.open_both()
        self.sql("UPDATE boxhaul.capture SET former_timeline = 1")
        self.assertIn("nobody has looked yet", self.cutover(status=1))
        self.wait(lambda: "copies of its tables may differ" in self.say(self.old, "capture", "status", NAME), "the daemon to hear of it")
        self.sql("UPDATE boxhaul.capture SET former_timeline = NULL")
        self.cutover("--dry-run")

    def test_a_sink_that_is_paused(self):
        self.open_both()
        self.say(self.new, "inbox", "pause", SINK)
        self.assertIn("`boxhaul inbox resume -c ", self.cutover(status=1))
        self.assertIn("stands still, and compares nothing until it goes on: it is paused", self.verify("--timeout", "1s", status=1))
        self.assertEqual(self.owners()[:1], [self.database])
        self.say(self.new, "inbox", "resume", SINK)
        self.cutover("--dry-run")

    def test_a_sink_that_has_stopped(self):
        self.open_both()
        self.at(self.there, "ALTER TABLE legacy.order_lines ADD CONSTRAINT no_probe CHECK (sku <> 'probe')")
        self.sql(WRITE, (-1,))
        self.wait(lambda: self.at(self.there, "SELECT error IS NOT NULL FROM boxhaul.sink_status") == [(True,)], "the sink to stop")
        self.assertIn("it has stopped", self.cutover(status=1))
        self.at(self.there, "ALTER TABLE legacy.order_lines DROP CONSTRAINT no_probe")
        self.wait(lambda: self.at(self.there, "SELECT error IS NULL FROM boxhaul.sink_status") == [(True,)], "the sink to go on")
        self.cutover("--dry-run")

    def test_a_copy_that_differs(self):
        """Somebody has written into it before it was fenced."""
        self.open_both()
        self.at(self.there, "DELETE FROM legacy.order_lines WHERE (order_id, line) = (1, 1)")
        self.sql("UPDATE legacy.order_lines SET note = 'x' WHERE (order_id, line) = (1, 1)")
        self.sql("ALTER TABLE legacy.order_lines ALTER note SET STORAGE EXTERNAL")
        self.sql("UPDATE legacy.order_lines SET note = repeat('x', 9000) WHERE (order_id, line) = (1, 2)")
        self.at(self.there, "DELETE FROM legacy.order_lines WHERE (order_id, line) = (1, 2)")
        self.sql("UPDATE legacy.order_lines SET amount = 7 WHERE (order_id, line) = (1, 2)")  # without the note, which has not changed
        self.wait(lambda: self.at(self.there, "SELECT missing FROM boxhaul.sink_status") == [(2,)], "the sink to miss both rows")
        self.assertIn("2 updates found no row", self.cutover(status=1))
        self.say(self.old, "capture", "resync", NAME, "legacy.order_lines")
        self.wait(lambda: self.at(self.there, "SELECT missing, complete FROM boxhaul.sink_status") == [(0, True)], "the rows to be there again")
        self.wait(lambda: self.sql("SELECT bool_and(state = 'complete') FROM boxhaul.capture_table") == [(True,)], "that to be on record")
        self.verify()
        self.cutover()
        self.assert_equal()

    def test_too_early(self):
        self.open_both()
        self.at(self.there, "UPDATE boxhaul.sink_table SET state = 'reading' WHERE source = 'legacy.stock'")
        self.assertIn("FAIL  tables that are not complete: legacy.stock", self.cutover(status=1))
        self.at(self.there, "UPDATE boxhaul.sink_table SET state = 'complete' WHERE source = 'legacy.stock'")
        self.cutover("--dry-run")


class Killed(CutoverTest):
    def test_interrupted(self):
        """By whoever waits for a writer: a table that was fenced before it is not left so, for its clients would be refused until somebody comes again."""
        self.open_both()
        fenced = "SELECT count(*) FROM boxhaul.fence WHERE active"
        for number in (signal.SIGINT, signal.SIGTERM):
            with self.subTest(number), contextlib.closing(psycopg2.connect(self.pg.conninfo(self.database, SERVICE))) as writer, writer.cursor() as cursor:
                cursor.execute("UPDATE legacy.stock SET on_hand = on_hand")
                cutover = subprocess.Popen([self.program, "cutover", NAME, "--to", self.new.config, "-c", self.old.config, "--timeout", f"{DEADLINE}s"],
                                           stdin=subprocess.DEVNULL, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
                self.wait(lambda: self.sql(fenced)[0][0] >= 2, "two tables to be fenced")
                cutover.send_signal(number)
                said = cutover.communicate(timeout=DEADLINE)[0]
                self.assertEqual(cutover.returncode, 1, said)
                self.assertIn("boxhaul: interrupted\n", said)
                self.assertIn("taken back: the source takes the writes as before", said)
                self.assertEqual(self.owners(), [self.database])
        self.cutover()

    def test_at_each_step(self):
        """Killed before the target is open: nobody has taken over; the next one takes it back, or goes on."""
        self.open_both()
        if subprocess.run([self.program, "failpoints"], capture_output=True, check=False).returncode != 0:
            self.skipTest("this program has no failpoints: they need a build with configure --enable-failpoints")
        for point in ("expected", "fencing", "fenced", "arrived", "proved", "sequenced"):
            with self.subTest(point):
                self.cutover(status=None, env={"BOXHAUL_FAILPOINT": f"move_{point}=kill"})
                self.assertNotIn(self.there, self.owners())
                self.cutover("--give-up", status=1)
                self.assertEqual(self.owners(), [self.database])
        self.cutover(status=None, env={"BOXHAUL_FAILPOINT": "move_fenced=kill"})
        self.cutover("--give-up", status=None, env={"BOXHAUL_FAILPOINT": "move_given_up=kill"})
        self.assertEqual(self.owners(), [])
        said = self.cutover(status=1)  # what was decided holds
        self.assertIn("taken back", said)
        self.assertEqual(self.owners(), [self.database])
        self.cutover(status=1, env={"BOXHAUL_FAILPOINT": "move_fencing=error"})
        self.assertEqual(self.owners(), [self.database])
        self.cutover(status=None, env={"BOXHAUL_FAILPOINT": "move_sequenced=kill"})
        self.assertEqual(self.owners(), [])
        self.cutover(status=None, env={"BOXHAUL_FAILPOINT": "move_opened=kill"})
        self.assertEqual(self.owners(), [self.there])
        self.cutover("--give-up")  # too late: it is open
        self.assertEqual(self.owners(), [self.there])
        self.assert_equal()


if __name__ == "__main__":
    unittest.main()
