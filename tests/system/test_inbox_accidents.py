"""What befalls an inbox besides (test_inbox_take.py has the rest): settings that change what was promised, databases that are not what
they were, streams that drop what was not read; and that each advice, followed as it stands there, goes on."""

import os
import re
import subprocess
import unittest

import psycopg2

from harness import RELAY, STREAM
from pooler import PgBouncer
from servers import Postgres
from test_inbox_handler import HandlerTest
from test_inbox_take import NAME, TakeTest

WORKER = "billing_worker"


class AccidentTest(TakeTest):
    @classmethod
    def _make_template(cls):
        super()._make_template()
        cls.pg.create_login(WORKER, "boxhaul_handler")

    def show(self, relay):
        done = relay.command("inbox", "show", NAME)
        self.assertEqual(done.returncode, 0, done.stdout)
        return done.stdout

    def follow(self, told, word, **blanks):
        """Runs the command that was printed, as it stands there, with its blanks filled in."""
        found = re.search(rf"`boxhaul (inbox {word} [^`]*)`", told)
        self.assertTrue(found, told)
        words = [str(blanks.get(w, w)) for w in found.group(1).split()]
        done = subprocess.run([self.program, *words, "--yes"], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
                              timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout


class Settings(AccidentTest):
    def test_ids_that_were_not_kept_until_now(self):
        """What was taken without ids is known by them, or it would come twice when the stream loses its end."""
        first = self.start_taker(dedupe="position")
        self.publish(10)
        self.wait_taken()
        self.assertEqual(first.stop(), 0)
        second = self.start_taker()
        self.wait_log(second, 'msg="taking"')
        second.stop()
        self.sql("DELETE FROM boxhaul.trail")  # what stood there has left the stream, or was thinned out
        with self.put_back_behind():
            self.start_taker()
            self.publish(10)
            self.wait_taken()
        self.publish(3)
        self.judge()
        self.assertEqual(self.look("incarnation"), 2)

    def test_other_subjects(self):
        """They are refused, and the statement that is named goes on with them."""
        first = self.start_taker()
        self.publish(1)
        self.wait_taken()
        first.stop()
        relay = self.add_taker(subjects=["orders.paid"]).start()
        self.wait_log(relay, "inbox_subjects")
        with open(relay.log, encoding="utf-8") as f:
            statement = re.search(r"SELECT boxhaul\.inbox_subjects\('[^']*', '[^']*'\)", f.read()).group(0)
        self.sql(statement)
        self.publish(3)
        self.judge()

    def test_other_subjects_while_it_leads(self):
        """From then on the old filter moves nothing: it would pass over what only the new one matches. It is said, and what to do."""
        old = self.start_taker(subjects=["orders.paid"])
        self.publish(3)
        self.wait_taken()
        self.sql("SELECT boxhaul.inbox_subjects(%s, '{orders.>}')", (NAME,))
        self.publish(3, subject="orders.sent")
        self.publish(3)
        self.wait_log(old, "give it the subjects on record, and restart the daemon")
        self.assertEqual(self.look("position"), 3)
        self.add_taker().start()
        self.judge()


class Databases(AccidentTest):
    REFUSES = """CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN RAISE 'cannot execute INSERT in a read-only transaction' USING ERRCODE = '25006'; END $$;
                 CREATE TRIGGER refuse BEFORE INSERT ON boxhaul.inbox_0 FOR EACH ROW EXECUTE FUNCTION refuse()"""

    def sessions(self):
        """The inbox's sessions, by the time when they began."""
        return self.sql("SELECT backend_start FROM pg_stat_activity WHERE application_name = 'boxhaul inbox' "
                        "AND datname = current_database()")

    def test_a_server_that_became_read_only(self):
        """It keeps the session, and answers 25006 (a failover that moves no connection). Only another session finds the one that writes:
        so one is made, and nothing is a dead letter."""
        relay = self.start_taker()
        self.publish(5)
        self.wait_taken()
        before = self.sessions()
        self.sql(self.REFUSES)
        self.publish(5)
        self.wait_log(relay, "sqlstate=25006")
        self.wait(lambda: self.sessions() not in ([], before), "another session")
        self.assertEqual(self.taken(), 5)
        self.sql("DROP TRIGGER refuse ON boxhaul.inbox_0")
        self.judge()
        self.assertEqual(self.look("dead"), 0)

    def test_a_database_that_is_set_to_read_only(self):
        """The setting is a default, for those who ask for nothing else: the inbox says that it writes."""
        self.sql(f"ALTER DATABASE {self.database} SET default_transaction_read_only = on")
        self.start_taker()
        self.publish(5)
        self.judge()

    def test_a_standby(self):
        """Nothing is taken of it, and it is said, until it is promoted."""
        self.start_taker()
        self.publish(5)
        self.wait_taken()
        twin = self.workspace.add(Postgres(self.workspace.path(f"twin-{self.database}"), **{**self.postgres_settings, "fsync": "off"}))
        twin.clone(self.pg, self.pg.port).start()
        for relay in self.relays:
            relay.stop()
        relay = self.add_taker()
        relay.configure({**relay.settings, "postgres": {**relay.settings["postgres"], "conninfo": twin.conninfo(self.database, RELAY)}})
        relay.start()
        self.wait_log(relay, "in recovery")
        self.publish(5)
        twin.promote()

        def taken():
            return [bytes(row[0]) for row in twin.execute("SELECT payload FROM boxhaul.inbox ORDER BY id", None, self.database)]
        self.wait(lambda: len(taken()) >= 10, "all to be taken there")
        self.assertEqual(taken(), self.published)

    def test_a_lock_that_outlives_every_statement(self):
        """No message is blamed for it."""
        self.sql(f"ALTER ROLE {RELAY} IN DATABASE {self.database} SET statement_timeout = '300ms'")
        relay = self.start_taker()
        self.publish(5)
        self.wait_taken()
        locker = self.connect()
        with locker.cursor() as cursor:
            cursor.execute("BEGIN; LOCK TABLE boxhaul.inbox IN SHARE MODE")
            self.publish(5)
            self.wait_log(relay, "messages could not be taken")
            cursor.execute("COMMIT")
        self.judge()
        self.assertEqual(self.look("(taken, dead)"), "(10,0)")

    def test_a_dump_restored_elsewhere(self):
        """Rows, ids, lanes and position are of one moment: what was taken since is taken again, what was handled is not handled again."""
        relay = self.start_taker()
        self.publish(10)
        self.wait_taken()
        self.sql("BEGIN; SELECT count(*) FROM boxhaul.receive(%s, 5); SELECT boxhaul.done(%s); COMMIT", (NAME, NAME))
        handled = self.sql("SELECT sum(handled) FROM boxhaul.inbox_lane")[0][0]
        words = ["-h", "127.0.0.1", "-p", str(self.pg.port), "-U", self.pg.superuser]
        env = {**os.environ, "PGPASSWORD": self.pg.password}
        dump = subprocess.run([self.pg.program("pg_dump"), *words, self.database], env=env, stdout=subprocess.PIPE, check=True).stdout
        self.publish(5)
        self.wait_taken()
        relay.stop()
        self.pg.execute(f"DROP DATABASE {self.database} WITH (FORCE)")
        self.pg.execute(f"CREATE DATABASE {self.database}")
        subprocess.run([self.pg.program("psql"), *words, "-qX", "-v", "ON_ERROR_STOP=1", self.database], input=dump, env=env,
                       stdout=subprocess.DEVNULL, check=True)
        self.start_taker()
        self.publish(2)
        self.judge()
        self.assertEqual(self.sql("SELECT sum(handled) FROM boxhaul.inbox_lane"), [(handled,)])
        worker = self.connect(WORKER)
        with worker.cursor() as cursor:
            for _ in range(len(self.published)):
                cursor.execute("BEGIN; SELECT * FROM boxhaul.receive(%s, 100)", (NAME,))
                if not cursor.rowcount:
                    cursor.execute("ROLLBACK")
                    break
                cursor.execute("SELECT boxhaul.done(%s); COMMIT", (NAME,))
        self.assertEqual(self.sql("SELECT sum(handled) FROM boxhaul.inbox_lane"), [(len(self.published),)])


class Brokers(AccidentTest):
    def test_limits_drop_what_waits(self):
        """While the database stands still the stream drops the oldest: it stops there, and the command that it names goes on."""
        with self.jetstream() as js:
            js.update(STREAM, max_msgs=50)
        relay = self.start_taker(queue=16)
        self.publish(5)
        self.wait_taken()
        locker = self.connect()
        with locker.cursor() as cursor:
            cursor.execute("BEGIN; LOCK TABLE boxhaul.inbox IN SHARE MODE")
            self.publish(300)
            cursor.execute("COMMIT")

        def at_the_end():
            """Each stop names what had gone by then; more may have gone since."""
            if self.look("stop ->> 'kind'") == "gap":
                self.follow(self.show(relay), "accept-gap")
            return self.look("position") == 305
        self.wait(at_the_end, "the end of the stream to be reached")
        rows, lost = self.rows(), self.look("lost")
        self.assertEqual(len(rows) + lost, len(self.published))
        self.assertGreater(lost, 0)
        self.assertEqual(rows, [m for m in self.published if m in set(rows)])

    def test_a_sealed_stream(self):
        """It is read to its end, and stays so."""
        self.publish(5)
        with self.jetstream() as js:
            js.update(STREAM, sealed=True)
        relay = self.start_taker()
        self.judge()
        self.assertEqual(relay.stop(), 0)

    def test_lost_its_end_and_grown_past_the_position(self):
        """Without ids somebody has to find out how far both agree. What is said has to keep them from going ahead of the position: what
        came instead of the lost end would never be taken."""
        relay = self.start_taker(dedupe="position")
        self.publish(10)
        self.wait_taken()
        with self.put_back_behind():
            self.publish(10)
            self.wait_taken()
        self.publish(30)
        self.wait_stopped("truncated")
        told = self.show(relay)
        self.assertIn("the last one under which the stream still holds what boxhaul.inbox holds", told)
        ahead = relay.command("inbox", "rewind", NAME, "--to", "40", "--yes")
        self.assertEqual(ahead.returncode, 1, ahead.stdout)
        self.assertIn("ahead of it", ahead.stdout)
        self.follow(told, "rewind", SEQUENCE=10)
        self.judge()

    def test_no_mark_agrees_and_it_began_in_the_middle(self):
        """The command that is named goes on, and says what it takes besides."""
        self.publish(3)
        relay = self.start_taker(start="new")
        self.wait(lambda: self.look("created IS NOT NULL"), "the stream to be opened")
        with self.put_back_behind():
            self.publish(10)
            self.wait_taken(10)
            self.sql("DELETE FROM boxhaul.trail")
            relay.kill9()
        relay.start()
        self.wait_stopped("truncated")
        told = self.show(relay)
        self.assertIn("also what stands before its start", told)
        self.follow(told, "rewind")
        self.publish(2)
        self.wait_taken(15)
        self.assertEqual(self.rows(), self.published[3:13] + self.published[:3] + self.published[13:])


class Pooled(AccidentTest):
    def test_workers_behind_a_pooler_in_transaction_mode(self):
        """Two on fewer backends, with savepoints, roll-backs and rows that fail: each message once, and in order."""
        pooler = self.workspace.add(PgBouncer(self.workspace.path(f"pooler-{self.database}"), self.pg, "transaction", [WORKER], size=2))
        pooler.start()
        self.sql("CREATE TABLE effect (n bigserial, key text, payload text); GRANT ALL ON effect, effect_n_seq TO PUBLIC")
        self.start_taker(lanes=2)
        for n in range(90):
            self.publish(key=f"k{n % 5}")
        self.wait_taken()
        workers = [psycopg2.connect(pooler.conninfo(self.database, WORKER)) for _ in range(3)]
        self.addCleanup(lambda: [w.close() for w in workers])
        failed, step = set(), 0

        def work(connection):
            """One transaction, as a driver without autocommit has it; the third row fails once, behind a savepoint."""
            nonlocal step
            step += 1
            with connection.cursor() as cursor:
                cursor.execute("SELECT lane, id, key, convert_from(payload, 'UTF8') FROM boxhaul.receive(%s, 7)", (NAME,))
                for nth, (lane, ident, key, payload) in enumerate(cursor.fetchall()):
                    cursor.execute("SAVEPOINT one; INSERT INTO effect (key, payload) VALUES (%s, %s)", (key, payload))
                    cursor.execute("SELECT boxhaul.done(%s, %s, %s)", (NAME, lane, ident))
                    if nth == 2 and payload not in failed:
                        failed.add(payload)
                        cursor.execute("ROLLBACK TO SAVEPOINT one")
                        connection.commit()
                        cursor.execute("SELECT boxhaul.failed(%s, %s, %s, 'not yet')", (NAME, lane, ident))
                        break
                if step % 7 == 0:
                    connection.rollback()
                else:
                    connection.commit()

        def all_done():
            for each in workers:
                work(each)
            return self.sql("SELECT waiting, parked FROM boxhaul.inbox_status") == [(0, 0)]
        self.wait(all_done, "all to be handled", progress=lambda: self.sql("SELECT count(*) FROM effect"))
        effects = self.sql("SELECT key, array_agg(payload ORDER BY n) FROM effect GROUP BY 1 ORDER BY 1")
        self.assertEqual(effects, [(f"k{k}", [m.decode() for m in self.published[k::5]]) for k in range(5)])
        self.assertTrue(failed)


class Onward(AccidentTest):
    def test_what_a_message_publishes(self):
        """Inbox to outbox in one transaction: however it ends, the effect and the message that was published are there both, or neither."""
        self.sql(f"GRANT boxhaul_writer TO {WORKER}; CREATE TABLE effect (n bigserial, payload text);"
                 "GRANT ALL ON effect, effect_n_seq TO PUBLIC")
        relay = self.add_taker(subjects=["orders.paid"])
        relay.configure({**relay.settings, "streams": [{"name": STREAM, "subjects": ["orders.>"]}]})
        relay.start().wait_until_ready()
        self.publish(6)
        self.wait_taken()
        for ending in ("ROLLBACK", "killed", "COMMIT") * 3:
            before = self.sql("SELECT count(*) FROM effect")
            worker = self.connect(WORKER)
            with worker.cursor() as cursor:
                cursor.execute("BEGIN; SELECT lane, id, key, convert_from(payload, 'UTF8') FROM boxhaul.receive(%s, 2)", (NAME,))
                rows = cursor.fetchall()
                self.assertEqual(len(rows), 2)
                for lane, ident, key, payload in rows:
                    cursor.execute("INSERT INTO effect (payload) VALUES (%s)", (payload,))
                    cursor.execute("SELECT boxhaul.publish('orders.shipped', %s::text, key => %s)", (payload, key))
                    cursor.execute("SELECT boxhaul.done(%s, %s, %s)", (NAME, lane, ident))
                if ending == "killed":
                    self.sql("SELECT pg_terminate_backend(%s)", (worker.info.backend_pid,))
                    self.wait(lambda: not self.pg.backends(f"pid = {worker.info.backend_pid}"), "the worker to be gone")
                else:
                    cursor.execute(ending)
            self.assertEqual(self.sql("SELECT count(*) FROM effect") == before, ending != "COMMIT")
        wanted = [m.decode() for m in self.published]
        self.assertEqual([row[0] for row in self.sql("SELECT payload FROM effect ORDER BY n")], wanted)
        self.wait(lambda: self.count() >= 12, "all to be published", progress=self.count)
        with self.jetstream() as js:
            sent = [m.payload.decode() for m in js.read(STREAM) if m.subject == "orders.shipped"]
        self.assertEqual(sent, wanted)


class Handlers(HandlerTest):
    """Sessions that are of no use any more: another one is, so the daemon makes one."""

    def test_a_handler_that_forgets_the_prepared_statements(self):
        """They are the daemon's. Each call takes effect, and the next one finds its statements gone (26000)."""
        self.sql("""CREATE FUNCTION forget(r boxhaul.inbox) RETURNS void LANGUAGE plpgsql AS
                    $$ BEGIN PERFORM public.act(r); EXECUTE 'DEALLOCATE ALL'; END $$""")
        self.start(handler="public.forget", workers=1, lanes=2)
        self.deliver("a:k", "b:k")
        self.wait_for("a", "b")
        self.deliver("c:k", "d:l")
        self.wait_handled()
        self.judge()

    def test_a_server_that_became_read_only(self):
        """It keeps the handler's session, and answers 25006: no attempt is counted, and another session is made."""
        self.sql("""CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
                    $$ BEGIN RAISE 'cannot execute INSERT in a read-only transaction' USING ERRCODE = '25006'; END $$;
                    CREATE TRIGGER refuse BEFORE INSERT ON effect FOR EACH ROW EXECUTE FUNCTION refuse()""")
        self.start(workers=1)
        self.wait(self.sessions, "the handler's session")
        before = self.sessions()
        self.deliver("a:k", "b:k")
        self.wait(lambda: self.sessions() not in ([], before), "another session")
        self.sql("DROP TRIGGER refuse ON effect")
        self.wait_handled()
        self.judge()
        self.assertEqual(self.blocked(), {})


class Timelines(HandlerTest):
    """The database twice, of which the old primary stands first in the connection string, which leaves the choice to the daemon."""

    REPLIES = "shop.saga"
    SESSIONS = ["boxhaul", "boxhaul handler", "boxhaul inbox", "boxhaul sagas"]

    @classmethod
    def _settings(cls, database):
        return {**super()._settings(database), "sagas": {"stream": "SAGAS", "replies": cls.REPLIES},
                "streams": [{"name": "SAGAS", "subjects": [cls.REPLIES], "create": True, "replicas": cls.nats.replicas}]}

    def apps(self, server):
        return [row[0] for row in server.execute("SELECT DISTINCT application_name FROM pg_stat_activity WHERE usename = %s AND datname = %s "
                                                 "ORDER BY 1", (RELAY, self.database))]

    def wait_apps(self, server, apps):
        self.wait(lambda: self.apps(server) == apps, f"the sessions there to be {apps}", deadline=90, progress=lambda: self.apps(server))

    def effects_at(self, server):
        return [row[0] for row in server.execute("SELECT message FROM effect ORDER BY n", None, self.database)]

    def wait_effects_at(self, server, names):
        self.wait(lambda: self.effects_at(server) == names, f"the effects of {names} there", deadline=90,
                  progress=lambda: self.effects_at(server))

    def wait_said(self, relay, *words):
        """All of them in one line of the log, or of what the relay says of itself."""
        def found():
            with open(relay.log, encoding="utf-8") as f:
                return any(all(word in line for word in words) for line in [*f, *relay.get("/readyz")[1].splitlines()])
        self.wait(found, f"somebody to say: {words}", deadline=90)

    def test_an_old_primary_that_comes_back(self):
        """Its postmaster hangs while the standby is promoted. What has a session there ends it as soon as one of them has seen the new one;
        and when the old one is back nothing is taken or handled there, though it takes writes."""
        old = self.pg
        twin = self.workspace.add(Postgres(self.workspace.path(f"twin-{self.database}"), **{**self.postgres_settings, "fsync": "off"}))
        twin.clone(old, old.port).start()
        hosts = (f"host={old.directory},{twin.directory} port={old.port},{twin.port} dbname={self.database} user={RELAY} connect_timeout=2")
        self.sql("INSERT INTO outage VALUES (true)")
        relay = self.start(postgres={"conninfo": hosts})
        self.deliver("a:k:full", "b:l:full")
        self.wait(lambda: self.status("taken") == "2" and self.sql("SELECT last_value > 1 FROM tries")[0][0], "both to be tried")
        self.wait_apps(old, self.SESSIONS)
        self.wait(lambda: twin.execute("SELECT count(*) FROM boxhaul.inbox", None, self.database) == [(2,)], "the standby to have them")
        beside = self.connect()
        beside.autocommit = True
        cursor = beside.cursor()

        self.pg = twin  # who waits in vain asks it, and the old one would not answer
        self.addCleanup(setattr, self, "pg", old)
        old.pause()
        self.addCleanup(old.resume)
        twin.promote()
        twin.execute("DELETE FROM outage", None, self.database)
        cursor.execute("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'boxhaul inbox'")
        self.wait_apps(twin, self.SESSIONS)
        cursor.execute("DELETE FROM outage")
        self.wait(lambda: sorted(self.effects_at(twin)) == ["a", "b"], "what had failed to be handled there", deadline=90)
        self.deliver("c:k")
        self.wait_effects_at(twin, [*self.effects_at(twin)[:2], "c"])
        for who in ("PostgreSQL is not connected", "a worker's session is gone", "deadlines of sagas is gone"):
            self.wait_said(relay, who, "another server was promoted meanwhile")

        old.resume()
        position = old.execute("SELECT subscription, position, epoch FROM boxhaul.inbox_position ORDER BY 1", None, self.database)
        for app in self.SESSIONS:
            twin.execute("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = %s", (app,))
        self.deliver("d:k")
        for who in ("not ready for the relay", "not ready for the inbox"):
            self.wait_said(relay, who, "an older history of this database: timeline 1 ",
                           "stop the old primary; if it is meant to be served, restart the relay")
        self.wait_effects_at(twin, [*self.effects_at(twin)[:3], "d"])
        self.wait_apps(twin, self.SESSIONS)
        relay.wait_until_ready()
        self.assertEqual(self.effects_at(old), [])
        self.assertEqual(old.execute("SELECT subscription, position, epoch FROM boxhaul.inbox_position ORDER BY 1", None, self.database), position)
        self.assertEqual(self.apps(old), [])
        # A command looks at the same one.
        self.assertIn("position     4", relay.command("inbox", "show", "billing").stdout)
        self.assertEqual(relay.stop(), 0)

        # The old one is meant to be served: what it missed is taken again.
        self.pg = old
        twin.close()
        relay.start()
        self.wait(lambda: len(self.effects_at(old)) == 4, "the effects at the old one", deadline=90)
        self.assertEqual([name for name in self.effects_at(old) if name != "b"], ["a", "c", "d"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
