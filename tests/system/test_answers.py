"""What an operator asks at three in the morning: status, explain, config show; and whether help, completion and the table of
commands say the same."""

import json
import os
import pty
import re
import subprocess
import unittest

from harness import STREAM
from process import free_port
from test_commands import CONFIG, DONE, FAILED, ROOT, UNREACHABLE, USAGE, CommandTest

LAGGING = 6
COMPLETION = os.path.join(ROOT, "packaging", "completion", "boxhaul")


def on_terminal(words, until, env=None):
    """Run a command on a terminal of its own; returns what it has written when until(text) holds, or it has ended."""
    master, slave = pty.openpty()
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=slave, stderr=slave, env=env) as process:
        os.close(slave)
        text = ""
        try:
            while not until(text):
                text += os.read(master, 65536).decode()
        except OSError:  # the other end is closed
            pass
        finally:
            process.terminate()
            process.wait(60)
            os.close(master)
    return text


class Table(CommandTest):
    """One table of commands: what is printed of it."""

    def commands(self):
        """Every command's words, from the list that help prints. What only a test build has is left out."""
        listed = re.search(r"\ncommands:\n(.*?)\n\n", self.boxhaul("help").stdout, re.DOTALL).group(1)
        return [line.split("  ")[1] for line in listed.splitlines() if not line.startswith("  failpoints ")]

    def options(self, command):
        """The long options that help lists for a command."""
        return set(re.findall(r"^  (--[a-z-]+)", self.boxhaul("help", *command.split()).stdout, re.MULTILINE))

    def complete(self, *words):
        """What bash offers for the last word."""
        script = 'source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _boxhaul; printf "%s\\n" "${COMPREPLY[@]}"'
        done = subprocess.run(["bash", "-c", script, COMPLETION, "boxhaul", *words], capture_output=True, text=True,
                              timeout=60, check=True)
        self.assertEqual(done.stderr, "")
        return set(done.stdout.split())

    def test_every_command_says_what_it_takes(self):
        for command in self.commands():
            with self.subTest(command):
                told = self.boxhaul("help", *command.split())
                self.assertEqual((told.returncode, told.stderr), (DONE, ""))
                self.assertTrue(told.stdout.startswith(f"usage: boxhaul {command}"), told.stdout)
                self.assertEqual(self.boxhaul(*command.split(), "--help").stdout, told.stdout)
                self.assertIn("--help", told.stdout)

    def test_words_that_are_wrong(self):
        for words, text in ((["config"], "unknown command: config : say one of show"),
                            (["config", "hide"], "unknown command: config hide: say one of show"),
                            (["help", "frobnicate"], "unknown command: frobnicate"),
                            (["explain", "-c", "x"], "explain needs ID"),
                            (["explain", "shop"], "explain needs ID"),
                            (["explain", "shop", "4x"], "4x: an id is a number"),
                            (["explain", "shop", "-1"], "explain: unknown option: -1"),
                            (["explain", "shop", "1", "2"], "unexpected: 2"),
                            (["status", "shop", "--max-lag", "30"], "--max-lag \"30\" has no unit"),
                            (["status", "shop", "--max-lag"], "--max-lag needs a value"),
                            (["check", "shop", "--json"], "check: unknown option: --json")):
            with self.subTest(" ".join(words)):
                done = self.boxhaul(*words)
                self.assertEqual((done.returncode, done.stdout), (USAGE, ""), done.stderr)
                self.assertIn(text, done.stderr)

    def test_a_group_of_commands(self):
        self.assertRegex(self.boxhaul("help", "config").stdout, r"(?m)^  config show  +\w")

    def test_the_completion_knows_the_table(self):
        commands = self.commands()
        self.assertEqual(self.complete(""), {command.split()[0] for command in commands})
        self.assertEqual(self.complete("help", ""), self.complete(""))
        for group in {command.split()[0] for command in commands if " " in command}:
            words = {command.split()[1] for command in commands if command.startswith(f"{group} ")}
            self.assertEqual((self.complete(group, ""), self.complete("help", group, "")), (words, words))
        for command in commands:
            with self.subTest(command):
                offered = self.complete(*command.split(), "--")
                self.assertEqual(offered if command != "help" else {"--help"}, self.options(command))
        self.assertEqual(self.complete("st"), {"status"})
        self.assertIn("/etc", self.complete("run", "-c", "/et"))
        self.assertEqual(self.complete("status", "--max-lag", ""), set())

    def test_every_exit_status_is_documented(self):
        told = dict(re.findall(r"(?m)^  (\d)  (.*)$", self.boxhaul("help").stdout))
        with open(os.path.join(ROOT, "relay", "exits.h"), encoding="utf-8") as f:
            codes = re.findall(r"EXIT_\w+ = (\d)", f.read())
        with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as f:
            manual = re.search(r"Exit status:\*\* (.*?)\n\n", f.read(), re.DOTALL).group(1)
        self.assertEqual(sorted(told), codes)
        self.assertEqual(re.findall(r"(?:^|;)\s*(\d) ", manual), codes)

    def test_colour_is_for_terminals(self):
        relay = self.add_relay()
        words = [self.program, "check", "-c", relay.config]
        plain = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
        for env, coloured in (({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False),
                              ({"TERM": "dumb"}, False)):
            text = on_terminal(words, lambda text: False, {**plain, **env})
            self.assertEqual("\033[32mok" in text, coloured, text)
            self.assertEqual("\033" in text, coloured, text)
        self.assertNotIn("\033", relay.command("check").stdout)


class ConfigShow(CommandTest):
    def test_what_holds_and_who_says_so(self):
        path = self.file('postgres = { conninfo = "host=127.0.0.1 password=s3cret";\n'
                         '  migrate_conninfo = "postgresql://u:s3cret@h/db"; };\n'
                         'nats = { urls = [ "nats://u:s3cret@127.0.0.1:1", "nats://s3cret@127.0.0.1:2" ]; };\n'
                         'streams = ( { name = "A"; subjects = [ "a" ]; },\n'
                         '            { name = "B"; subjects = [ "b", "c.>" ];\n'
                         '              replicas = 3; } );\n'
                         'delivery = { poison = "hold"; window_bytes = 2000000; ack_timeout = "1500ms"; };\n'
                         'health = { listen = "[::1]:9431"; };\n'
                         'name = "sh\\"op";\n'.replace('sh\\"op', "shop"))
        done = self.boxhaul("config", "show", "-c", path)
        self.assertEqual((done.returncode, done.stderr), (DONE, ""))
        shown = dict(re.findall(r"(?m)^(\S+) = (.*)$", done.stdout))
        for name, value, origin in (
                ("name", '"shop"', f"{path}:9"),
                ("postgres.conninfo", '"host=127.0.0.1 password=***"', f"{path}:1"),
                ("postgres.migrate_conninfo", '"postgresql://u:***@h/db"', f"{path}:2"),
                ("postgres.password_file", "none", "default"),
                ("nats.urls", '[ "nats://u:***@127.0.0.1:1", "nats://***@127.0.0.1:2" ]', f"{path}:3"),
                ("streams[0].replicas", "1", "default"), ("streams[1].replicas", "3", f"{path}:6"),
                ("streams[1].subjects", '[ "b", "c.>" ]', f"{path}:5"),
                ("delivery.poison", '"hold"', f"{path}:7"), ("delivery.window_bytes", '"2MB"', f"{path}:7"),
                ("delivery.ack_timeout", '"1500ms"', f"{path}:7"), ("delivery.ordering", '"strict"', "default"),
                ("delivery.window", "1024", "default"), ("nats.discover", "false", "default"),
                ("health.listen", '"[::1]:9431"', f"{path}:8"), ("log.stats_interval", '"1m"', "default")):
            self.assertEqual(shown[name], f"{value};  # {origin}")
        self.assertNotIn("s3cret", done.stdout)

    def test_it_shows_every_setting(self):
        sample = self.boxhaul("config-sample").stdout
        names = set(re.findall(r"(?m)^\s*#?(\w+) = (?![({])", sample))
        shown = self.boxhaul("config", "show", "-c", self.file('streams = ( { name = "A"; subjects = [ "a" ]; } );\n'))
        self.assertEqual({line.split(" = ")[0].split(".")[-1] for line in shown.stdout.splitlines()}, names)

    def test_a_wrong_file(self):
        done = self.boxhaul("config", "show", "-c", self.file("nats = 3;\n"))
        self.assertEqual((done.returncode, done.stdout), (CONFIG, ""))


class Answers(CommandTest):
    postgres_settings = {"max_prepared_transactions": 10}

    def look(self, relay, *words):
        done = relay.command("status", "--json", *words)
        self.assertEqual(done.returncode, DONE, done.stdout)
        return json.loads(done.stdout)

    def onlooker(self, role="boxhaul_monitor", **groups):
        """A configuration whose login may look at the books, and see what other sessions do."""
        self.pg.create_login("onlooker", role)
        self.addCleanup(self.pg.execute, "DROP ROLE onlooker")
        return self.add_relay(postgres={"conninfo": self.pg.conninfo(self.database, "onlooker")}, **groups)

    def wait_look(self, relay, condition, what):
        """The look for which the condition holds."""
        def taken():
            look = self.look(relay)
            return look if condition(look) else None
        return self.wait(taken, what)


class Status(Answers):
    def test_without_and_with_a_relay(self):
        relay = self.add_relay()
        self.expect(relay, "status", DONE, "nobody leads; nothing waits", "no relay answers at 127.0.0.1")
        self.writer("w").write("k", 3).commit()
        self.sql("SELECT boxhaul.publish('nowhere.x', '')")
        self.expect(relay, "status", DONE, "stands still: nobody leads, 4 messages wait, the oldest for ",
                    "waiting        4 rows above the position", "oldest         message 1, subject orders.paid, key k")
        look = self.look(relay)
        self.assertEqual((look["state"], look["leading"], look["position"], look["waiting"], look["oldest"]["id"],
                          look["newest_id"]), ("stands", False, 0, 4, 1, 4))
        self.assertGreater(look["lag_seconds"], 0)
        relay.start()
        self.wait_settled()
        self.expect(relay, "status", DONE, "all is sent", f"{self.database} on ", f"process {relay.pid}",
                    "position       4", "(nothing waits)", "exceptions     none", "dead letters   1 (0 hold their lane)",
                    "leader, ready", "NATS connected", f"{STREAM}: up to message ")
        look = self.look(relay)
        self.assertEqual((look["state"], look["leading"], look["position"], look["waiting"], look["dead_letters"],
                          look["lag_seconds"], look["epoch"], look["relay"]["role"], look["relay"]["nats"]["connected"]),
                         ("moves", True, 4, 0, 1, 0, 1, "leader", True))
        self.assertGreater(look["rate_60s"], 0)

    def test_what_is_held_back_and_why(self):
        relay = self.start_relay(streams=[{"name": STREAM, "subjects": ["orders.>"]}], outbox={"gap_grace": "0ms"})
        self.writer("w").write("k", 3).commit()
        self.wait(lambda: self.exceptions() != [], "the messages to be parked")
        # The answer to a look, or to a probe that is sent all the same.
        why = r"(stream not found \(10059\)|no stream answers for the subject \(503\))"
        text = self.expect(relay, "status", DONE, f"{STREAM}: nothing sent yet; takes nothing: ")
        self.assertRegex(text, rf"^stands still: 3 messages are held back, the oldest for [\d.]+ s: {why}\n")
        self.assertRegex(text, rf"\nexceptions     parked [123], for [\d.]+ s: {why}\n")
        look = self.look(relay)
        self.assertEqual((look["exceptions"], look["oldest"]["id"], look["state"]), ({"parked": 3}, 1, "limps"))

    def test_a_lane_behind_a_dead_letter(self):
        relay = self.start_relay(delivery={"poison": "hold"})
        self.writer("w").write("k", subject="nowhere.x").write("k").commit()
        self.wait(lambda: len(self.exceptions()) == 2, "one held, one parked")
        self.expect(relay, "status", DONE, "1 message waits behind 1 dead letter", "lanes held     1",
                    "key k: 2 from message 1 on: its dead letter waits for redrive or discard",
                    "dead letters   1 (1 hold their lane)")

    def test_who_is_in_the_way(self):
        relay, onlooker = self.start_relay(outbox={"gap_grace": "0ms"}), self.onlooker("pg_read_all_stats, boxhaul_monitor")
        me = self.connect()
        pid = me.get_backend_pid()
        with me.cursor() as cursor:
            cursor.execute("SET application_name = 'nightly'; BEGIN; SELECT boxhaul.publish('orders.x', '')")
            self.writer("w").write("k").commit()
            self.wait(lambda: self.exceptions() == [(1, 1, "missing")] and self.position() == 2, "the gap")
            self.expect(onlooker, "status", DONE, "all that is committed is sent; 1 id is of a transaction that is open: "
                        f"pid {pid} (nightly, idle in transaction for ", "missing 1, for ",
                        f"oldest xid     pid {pid} (nightly, idle in transaction for ")
            cursor.execute("PREPARE TRANSACTION 'forgotten'")
            self.expect(onlooker, "status", DONE, "prepared transaction 'forgotten' (for ")
            cursor.execute("ROLLBACK PREPARED 'forgotten'")
            self.wait_settled()

            # It writes elsewhere, too: then the look asks which tables are the outbox's, and must not lock them for that.
            cursor.execute("BEGIN; DELETE FROM boxhaul.paused; LOCK boxhaul.outbox")
            self.expect(onlooker, "status", DONE, f"stands still: pid {pid} (nightly, idle in transaction for ",
                        " has locked boxhaul's tables", " has AccessExclusiveLock on boxhaul.outbox and 8 more",
                        "not read       the outbox: a lock is in the way")
            self.assertEqual(onlooker.command("status", "--max-lag", "1h").returncode, FAILED)
            cursor.execute("ROLLBACK; BEGIN; UPDATE boxhaul.position SET epoch = epoch")
            self.writer("w").write("k").commit()
            look = self.wait_look(onlooker, lambda look: any(b["leader"] for b in look["blocked"]), "the relay to be blocked")
            self.assertEqual([by["pid"] for by in look["blocked"][0]["by"]], [pid])
            self.assertRegex(look["summary"], rf"^stands still: the relay waits for a lock \(ShareLock on a row\) that pid {pid} ")
            cursor.execute("ROLLBACK")
        self.wait_settled()
        self.assertEqual(relay.returncode, None)

    def test_the_monitor_may_look(self):
        self.writer("w").write("k").commit()
        look = self.look(self.onlooker())
        self.assertEqual((look["waiting"], look["oldest"]["key"], look["sees_all"]), (1, "k", False))

    def test_the_lag_as_a_probe(self):
        relay = self.add_relay()
        self.assertEqual(relay.command("status", "--max-lag", "0ms").returncode, DONE)
        self.writer("w").write("k").commit()
        done = relay.command("status", "--max-lag", "1ms")
        self.assertEqual((done.returncode, done.stdout.startswith("stands still")), (LAGGING, True), done.stdout)
        self.assertEqual(relay.command("status", "--max-lag", "1d", "--json").returncode, DONE)

    def test_what_the_relay_says_of_itself(self):
        relay = self.start_relay()
        other = self.add_relay(name="other", health={"listen": relay.settings["health"]["listen"]})
        self.expect(other, "status", DONE, f"another relay answers: {self.database}")
        self.expect(self.add_relay(health={"listen": "off"}), "status", DONE, "health.listen is off")
        leader = self.sql("SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted")[0][0]
        self.start_relay()
        self.expect(relay, "status", DONE, f"backend pid {leader}", "; 1 stands by")
        self.nats.stop()
        self.wait(lambda: not self.status(relay)["nats"]["connected"], "the relay to notice")
        self.expect(relay, "status", DONE, "nothing waits, but NATS is not connected", "NATS NOT connected: ")
        self.writer("w").write("k").commit()
        self.expect(relay, "status", DONE, "stands still: NATS is not connected: ")

    def test_watch(self):
        def is_page(text):
            return text.startswith("oldest xid ")
        for words, is_one in (([], is_page), (["--json"], json.loads)):
            relay = self.add_relay()
            with subprocess.Popen([self.program, "status", "--watch", *words, "-c", relay.config],
                                  stdout=subprocess.PIPE, text=True) as process:
                self.addCleanup(process.kill)
                for _ in range(2):
                    while not is_one(process.stdout.readline()):
                        pass
                self.assertIsNone(process.poll())
                process.terminate()
                process.wait(60)

    def test_watch_draws_in_place(self):
        text = on_terminal([self.program, "status", "--watch", "-c", self.add_relay().config],
                           lambda text: text.count("\033[J") >= 3, {**os.environ, "TERM": "xterm"})
        self.assertGreaterEqual(text.count("\033[H"), 3)
        self.assertNotIn("\033[2J", text)  # a wiped screen flickers
        self.assertIn("\033[K\r\n", text)

    def test_watch_outlives_the_database(self):
        relay, seen = self.add_relay(), []
        with subprocess.Popen([self.program, "status", "--watch", "--json", "-c", relay.config], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True) as process:
            self.addCleanup(process.kill)
            seen.append(json.loads(process.stdout.readline()))
            self.pg.stop()
            self.pg.start()
            self.writer("w").write("k").commit()
            while seen[-1].get("waiting") != 1:
                seen.append(json.loads(process.stdout.readline()))
            process.terminate()
            process.wait(60)

    def test_another_schema(self):
        for version, text in ((99, "install the newer boxhaul"), (-99, "run `boxhaul migrate`")):
            self.sql("UPDATE boxhaul.schema_version SET version = version + %s", (version,))
            self.expect(self.add_relay(), "status", DONE, "boxhaul: the schema has version ", text, "nothing waits")
            self.sql("UPDATE boxhaul.schema_version SET version = version - %s", (version,))

    def test_what_can_go_wrong(self):
        self.expect(self.add_relay(postgres={"conninfo": f"host=127.0.0.1 port={free_port()}"}), "status", UNREACHABLE,
                    "cannot connect to PostgreSQL")
        self.pg.create_login("stranger", "pg_monitor")
        self.addCleanup(self.pg.execute, "DROP ROLE stranger")
        self.expect(self.add_relay(postgres={"conninfo": self.pg.conninfo(self.database, "stranger")}), "status", FAILED,
                    "permission denied", "grant this login a role")
        self.renew("template0")
        self.expect(self.add_relay(), "status", FAILED, "does not exist", "run `boxhaul migrate`")


class Explain(Answers):
    def explain(self, relay, ident, *texts):
        done = relay.command("explain", str(ident))
        self.assertEqual(done.returncode, DONE, done.stdout)
        for text in texts:
            self.assertIn(text, done.stdout)
        return done.stdout

    def test_the_life_of_a_message(self):
        relay = self.add_relay()
        writer = self.writer("w")
        writer.write("k", 3).commit()
        self.explain(relay, 1, "message 1 is committed, and not sent yet", "nothing, until a relay leads", "by transaction ",
                     "stream not found (10059)")
        self.explain(relay, 3, "message 3 waits behind message 1 of its key, which is pending")
        relay.start()
        self.wait_settled()
        text = self.explain(relay, 2, f"message 2 is sent: stored in {STREAM} as sequence 2", "marked ", "relay          all is sent")
        ident = self.sql("SELECT message_id FROM boxhaul.outbox WHERE id = 2")[0][0]
        self.assertIn(f"subject orders.paid, key k, Nats-Msg-Id {ident}", text)
        done = relay.command("explain", "2", "--json")
        told = json.loads(done.stdout)
        self.assertEqual((told["id"], told["stream"], told["sequence"], told["row"]["state"]), (2, STREAM, 2, "sent"))
        with self.jetstream() as jetstream:
            jetstream.purge(STREAM)
        self.explain(relay, 2, f"message 2 is sent, and no longer in {STREAM}")
        self.nats.stop()
        self.explain(relay, 2, "message 2 is sent\n", f"{STREAM} could not be asked: ")

    def test_stored_among_many_others(self):
        relay = self.start_relay()
        self.writer("w").write(None, 40).commit()  # each is looked at in its turn, and for some seconds only
        self.wait_settled()
        where = {message.msg_id: message.seq for message in self.stored()}
        for ident in (1, 20, 40):
            uuid = self.sql("SELECT message_id::text FROM boxhaul.outbox WHERE id = %s", (ident,))[0][0]
            self.explain(relay, ident, f"stored in {STREAM} as sequence {where[uuid]}\n")

    def test_what_waits(self):
        relay = self.start_relay(delivery={"poison": "hold"}, streams=[
            {"name": STREAM, "subjects": ["orders.>"], "create": True}, {"name": "MISSING", "subjects": ["missing.>"]}])
        self.writer("w").write("k", subject="nowhere.x").write("k").write("m", subject="missing.x").commit()
        self.wait(lambda: len(self.exceptions()) == 3 or self.exceptions()[-1:] == [(2, 3, "parked")], "all to be held back")
        self.explain(relay, 1, "message 1 is a dead letter that holds its key: subject belongs to no configured stream",
                     "boxhaul dead-letters redrive")
        self.explain(relay, 2, "message 2 waits behind message 1 of its key, which is held")
        self.explain(relay, 3, "message 3 is parked: ", "tried again by itself")

    def test_ids_without_a_row(self):
        relay = self.start_relay(outbox={"gap_grace": "0ms"})
        writer, other = self.writer("w"), self.writer("open")
        writer.write("k").commit()
        writer.write("k").rollback()
        writer.write("k").commit()
        self.wait(lambda: self.count() == 2 and self.is_settled(), "the gap to be void")
        self.explain(relay, 2, "message 2 was rolled back: the id is void")
        other.write("l")
        writer.write("k").commit()
        self.wait(lambda: self.exceptions() == [(4, 4, "missing")], "the gap")
        self.explain(relay, 4, "message 4 has no row that can be seen: its transaction is open (1 has written to the outbox: pid ",
                     "when its transaction commits it is sent")
        self.explain(relay, 999, "its transaction is open")
        name = other.prepare()
        self.explain(relay, 4, f"prepared transaction '{name}'")
        other.finish(name, "ROLLBACK")
        self.wait_settled()
        self.explain(relay, 999, "message 999 was rolled back or never drawn: the newest id to be seen is 5")
        self.explain(self.add_relay(postgres={"conninfo": self.pg.conninfo(self.database)}), 999,
                     "message 999 was never drawn: the newest id is 5")
        self.sql("TRUNCATE boxhaul.outbox")
        self.explain(relay, 1, "has no row any more: it was sent and emptied with its slot, or it was rolled back, long ago (ids ")

    def test_the_monitor_may_ask(self):
        self.writer("w").write("k").commit()
        self.explain(self.onlooker(), 1, "message 1 is committed, and not sent yet")


if __name__ == "__main__":
    unittest.main()
