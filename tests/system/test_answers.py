"""What an operator asks at three in the morning: status, explain, config show; and whether help, completion and the table of
commands say the same."""

import glob
import json
import os
import pty
import re
import shlex
import shutil
import subprocess
import sys
import unittest

from harness import ILLEGAL, SERVICE, STREAM
from process import free_port
from test_commands import CONFIG, DONE, FAILED, ROOT, UNREACHABLE, USAGE, CommandTest

LAGGING, CONFIG_WRONG = 6, 3
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
                            (["explain", "shop", "4x"], "4x: a message's id is a number, or the uuid in its Nats-Msg-Id"),
                            (["explain", "shop", "-1"], "explain: unknown option: -1"),
                            (["explain", "shop", "1", "2"], "unexpected: 2"),
                            (["status", "shop", "--max-lag", "30"], "--max-lag \"30\" has no unit"),
                            (["status", "shop", "--max-lag"], "--max-lag needs a value"),
                            (["check", "shop", "--watch"], "check: unknown option: --watch")):
            with self.subTest(" ".join(words)):
                done = self.boxhaul(*words)
                self.assertEqual((done.returncode, done.stdout), (USAGE, ""), done.stderr)
                self.assertIn(text, done.stderr)

    def test_every_command_that_a_message_names_is_there(self):
        """With the words and options that it has; and those that want a configuration say which."""
        known = self.commands()
        literal, named = re.compile(r'"((?:[^"\\\\]|\\\\.)*)"'), re.compile(r"`boxhaul ([^`]*)`")
        count = 0
        for path in glob.glob(os.path.join(ROOT, "relay", "**", "*.c"), recursive=True):
            with open(path, encoding="utf-8") as f:
                code = re.sub(r'"\s*\n\s*"', "", re.sub(r"/\*.*?\*/", "", f.read(), flags=re.DOTALL))
            for words in (w for text in literal.findall(code) for w in named.findall(text)):
                command = max((c for c in known if f"{words} ".startswith(f"{c} ")), key=len, default=None)
                self.assertIsNotNone(command, f"{path}: {words}")
                rest = words[len(command):].split()
                for option in (w for w in rest if w.startswith("--")):
                    self.assertIn(option, self.options(command), f"{path}: {words}")
                if "--config" in self.options(command) and os.path.basename(path) not in ("settings.c", "main.c", "line.c"):
                    self.assertTrue(rest, f"{path}: `boxhaul {words}` names no configuration")
                count += 1
        self.assertGreater(count, 30)

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

    def test_every_shell_offers_what_the_program_takes(self):
        done = subprocess.run([sys.executable, "-B", os.path.join(ROOT, "tests", "completion.py"), self.program], capture_output=True, text=True,
                              timeout=60, check=False)
        self.assertEqual(done.returncode, DONE, done.stderr)

    @unittest.skipUnless(shutil.which("fish"), "no fish here")
    def test_fish_completes(self):
        def offers(line):
            script = f"source {COMPLETION}.fish; complete -C {shlex.quote(line)}"
            done = subprocess.run(["fish", "-N", "-c", script], capture_output=True, text=True, timeout=60, check=True)
            return {row.split("\t")[0] for row in done.stdout.splitlines()}
        commands = self.commands()
        self.assertEqual(offers("boxhaul "), {command.split()[0] for command in commands})
        self.assertEqual(offers("boxhaul dead-letters "), {"list", "show", "redrive", "discard"})
        for command in ("run", "status", "dead-letters redrive", "inbox rewind"):
            self.assertEqual(offers(f"boxhaul {command} --"), self.options(command))

    @unittest.skipUnless(shutil.which("zsh"), "no zsh here")
    def test_zsh_completes(self):
        """What a terminal shows: zsh has no other way to ask."""
        directory = os.path.dirname(COMPLETION)
        begin = (f"fpath=({directory} $fpath); autoload -Uz compinit; compinit -u -D; PS1=; "
                 "zstyle ':completion:*' list-prompt ''; LISTMAX=0; print READ''Y\n")
        for line, wanted in (("boxhaul dead-letters redr", "dead-letters redrive"), ("boxhaul stat", "boxhaul status"),
                             ("boxhaul replay --miss", "replay --missing"), ("boxhaul dead-letters redrive --wa", "redrive --wait")):
            master, slave = pty.openpty()
            with subprocess.Popen(["zsh", "-f", "-i"], stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
                                  env={"PATH": os.environ["PATH"], "TERM": "dumb"}) as shell:
                os.close(slave)
                try:
                    text = ""
                    os.write(master, begin.encode())
                    while "READY" not in text:
                        text += os.read(master, 65536).decode()
                    os.write(master, f"{line}\t".encode())
                    while wanted not in text:
                        text += os.read(master, 65536).decode()
                finally:
                    shell.kill()
                    os.close(master)

    def test_what_was_meant(self):
        for words, meant in (("stauts", "status"), ("expalin 1", "explain"), ("dead-leters list", "dead-letters list"), ("inbx", "inbox"),
                             ("status --jsn", "--json"), ("replay --mising", "--missing"), ("status --max-lagg=1s", "--max-lag")):
            done = self.boxhaul(*words.split())
            self.assertEqual(done.returncode, USAGE)
            self.assertIn(f": did you mean {meant}?\n", done.stderr)
        for words in ("xyzzy", "status --xyzzy"):
            self.assertNotIn("did you mean", self.boxhaul(*words.split()).stderr)
        self.assertEqual(self.boxhaul("-V").stdout, self.boxhaul("version").stdout)

    def test_every_exit_status_is_documented(self):
        told = dict(re.findall(r"(?m)^  (\d)  (.*)$", self.boxhaul("help").stdout))
        with open(os.path.join(ROOT, "relay", "base", "exits.h"), encoding="utf-8") as f:
            codes = re.findall(r"EXIT_\w+ = (\d)", f.read())
        with open(os.path.join(ROOT, "packaging", "man", "boxhaul.8"), encoding="utf-8") as f:
            manual = re.search(r"(?ms)^\.Sh EXIT STATUS$(.*?)^\.El$", f.read()).group(1)
        self.assertEqual(sorted(told), codes)
        self.assertEqual(re.findall(r"(?m)^\.It (\d)$", manual), codes)

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

    def layers(self, shared, own, environment=None, words=("-c",)):
        """{setting: (value, source)} of a configuration in layers; or what is wrong with it."""
        directory = self.workspace.path(f"{self.database}-layers")
        os.makedirs(directory, exist_ok=True)
        for name, text in (("boxhaul.conf", shared), ("shop.conf", own)):
            with open(os.path.join(directory, name), "w", encoding="utf-8") as f:
                f.write(text)
        path = os.path.join(directory, "shop.conf")
        done = subprocess.run([self.program, "config", "show", "--json", *words, path], capture_output=True, text=True, timeout=60, check=False,
                              env={**os.environ, **(environment or {})})
        if done.returncode != DONE:
            return done.stderr.replace(f"{directory}/", "").splitlines()
        return {row["setting"]: (row["value"], row["source"].replace(f"{directory}/", "")) for row in json.loads(done.stdout)}

    def test_layers(self):
        """Defaults, what all instances share, the instance's file, the environment; a later one replaces a whole list."""
        shared = ('nats = { urls = [ "nats://a", "nats://b" ]; user = "all"; tls = { required = true; }; };\n'
                  'delivery = { window = 7; poison = "hold"; };\n'
                  'streams = ( { name = "SHARED"; subjects = [ "s.>" ]; replicas = 3; }, { name = "TWO"; subjects = [ "t" ]; } );\n')
        own = ('nats = { urls = [ "nats://c" ]; user = ""; };\n'
               'streams = ( { name = "OWN"; subjects = [ "o.>" ]; } ); delivery = { window = 8; };\n')
        shown = self.layers(shared, own, {"BOXHAUL_DELIVERY_WINDOW": "9", "BOXHAUL_NATS_DISCOVER": "true", "BOXHAUL_LOG_LEVEL": "warn",
                                          "BOXHAUL_HEALTH_LISTEN": "off", "BOXHAUL_DELIVERY_ACK_TIMEOUT": "7s", "BOXHAUL_OTHER": "x"})
        for name, value, source in (
                ("nats.urls", '[ "nats://c" ]', "shop.conf:1"), ("nats.user", "none", "shop.conf:1"),
                ("nats.tls.required", "true", "boxhaul.conf:1"), ("delivery.poison", '"hold"', "boxhaul.conf:2"),
                ("delivery.window", "9", "BOXHAUL_DELIVERY_WINDOW"), ("nats.discover", "true", "BOXHAUL_NATS_DISCOVER"),
                ("log.level", '"warn"', "BOXHAUL_LOG_LEVEL"), ("health.listen", '"off"', "BOXHAUL_HEALTH_LISTEN"),
                ("delivery.ack_timeout", '"7s"', "BOXHAUL_DELIVERY_ACK_TIMEOUT"), ("delivery.queue", "4096", "default"),
                ("name", '"shop"', "default: the file's name"), ("streams[0].name", '"OWN"', "shop.conf:2"),
                ("streams[0].replicas", "1", "default")):
            self.assertEqual(shown[name], (value, source), name)
        self.assertNotIn("streams[1].name", shown)
        shown = self.layers(shared, 'nats = { user = ""; };', {"BOXHAUL_NATS_URLS": "nats://x, nats://y", "BOXHAUL_NAME": "other"})
        self.assertEqual(shown["nats.urls"], ('[ "nats://x", "nats://y" ]', "BOXHAUL_NATS_URLS"))
        self.assertEqual((shown["streams[1].name"], shown["name"]), (('"TWO"', "boxhaul.conf:3"), ('"other"', "BOXHAUL_NAME")))

    def test_what_is_wrong_in_layers(self):
        own = 'streams = ( { name = "A"; subjects = [ "a" ]; } );\n'
        for shared, text, environment, wrong in (
                ("delivery = { window = 0; };", own, {}, ["boxhaul.conf:1: delivery.window = 0 is out of range: from 1 to 65536"]),
                ("delivery = { window = 0; };", own + "delivery = { window = 1; };", {}, None),
                ("delivery = {", own, {}, ["boxhaul.conf:1: syntax error: look for a missing quote, bracket or ';' here or on the line before"]),
                ("", own, {"BOXHAUL_DELIVERY_WINDOW": "many"}, ["BOXHAUL_DELIVERY_WINDOW: delivery.window is a text: write a whole number"]),
                ("", own, {"BOXHAUL_DELIVERY_ACK_TIMEOUT": "5"}, ['BOXHAUL_DELIVERY_ACK_TIMEOUT: delivery.ack_timeout = "5" has no unit: write "5ms" or "5s"']),
                ("", own, {"BOXHAUL_NATS_ULRS": "x"}, ["BOXHAUL_NATS_ULRS: no setting has this name: nats.urls, as an example, is BOXHAUL_NATS_URLS"]),
                ("", own, {"BOXHAUL_STREAMS": "x"}, ["BOXHAUL_STREAMS: a list of groups stands in a file"]),
                ("", own, {"BOXHAUL_POSTGRES_CONNINFO": "password=x"},
                 ["BOXHAUL_POSTGRES_CONNINFO: postgres.conninfo holds a password, and an environment keeps no secret: use a password file"]),
                ("", own, {"BOXHAUL_NATS_URLS": "nats://a,nats://u:p@b"},
                 ["BOXHAUL_NATS_URLS: nats.urls holds a password, and an environment keeps no secret: use a password file"]),
                ('delivery = { retry_max = "50ms"; };', own, {}, None)):
            with self.subTest(wrong):
                shown = self.layers(shared, text, environment)
                if wrong:
                    self.assertEqual(shown, wrong)
        self.assertIn("retry_min", shown[0])  # two values of two layers that do not fit

    def test_from_stdin_and_a_name_that_is_none(self):
        text = 'name = "piped"; streams = ( { name = "A"; subjects = [ "a" ]; } );\n'
        for given, code, said in ((text, DONE, 'name = "piped";  # stdin:1\n'), (text.replace('name = "piped"; ', ""), CONFIG_WRONG, "stdin:1: has no name")):
            done = subprocess.run([self.program, "config", "show", "-c", "-"], input=given, capture_output=True, text=True, timeout=60, check=False)
            self.assertEqual(done.returncode, code, done.stderr)
            self.assertIn(said, done.stdout + done.stderr)
        done = self.boxhaul("check", "boxhaul")
        self.assertEqual(done.returncode, USAGE)
        self.assertIn("boxhaul is no instance", done.stderr)

    def test_it_shows_every_setting(self):
        sample = self.boxhaul("config-sample").stdout
        names = set(re.findall(r"(?m)^\s*#?(\w+) = (?![({])", sample))
        shown = self.boxhaul("config", "show", "-c", self.file('streams = ( { name = "A"; subjects = [ "a" ]; } );\n'
                                                                      'inbox = ( { name = "b"; stream = "B"; subjects = [ "b" ]; } );\n'
                                                                      'capture = ( { name = "c"; stream = "C"; tables = [ "public.t" ]; } );\n'
                                                                      'outbox_tables = ( { table = "public.o"; preset = "debezium"; } );\n'
                                                                      'messages = ( { prefix = "boxhaul"; subject = "c.>"; } );\n'))
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
        self.expect(relay, "status", DONE, "Nobody leads; nothing waits", "no relay answers at 127.0.0.1")
        self.writer("w").write("k", 3).commit()
        self.insert_illegal()
        self.expect(relay, "status", DONE, "Nobody leads: 4 messages wait, the oldest for ",
                    "waiting        4 rows above the position", "oldest         message 1, subject orders.paid, key k")
        look = self.look(relay)
        self.assertEqual((look["state"], look["leading"], look["position"], look["waiting"], look["oldest"]["id"],
                          look["newest_id"]), ("stalled", False, 0, 4, 1, 4))
        self.assertGreater(look["lag_seconds"], 0)
        relay.start()
        self.wait_settled()
        self.expect(relay, "status", DONE, "1 message was given up and stands as dead letter", f"{self.database} on ", f"process {relay.pid}",
                    "position       4", "(nothing waits)", "exceptions     none", "dead letters   1 (0 hold their lane)",
                    "leader, ready", "NATS connected", f"{STREAM}: up to message ")
        look = self.look(relay)
        self.assertEqual((look["state"], look["leading"], look["position"], look["waiting"], look["dead_letters"],
                          look["lag_seconds"], look["epoch"], look["relay"]["role"], look["relay"]["nats"]["connected"]),
                         ("degraded", True, 4, 0, 1, 0, 1, "leader", True))
        self.assertGreater(look["rate_60s"], 0)

    def test_what_is_held_back_and_why(self):
        relay = self.start_relay(streams=[{"name": STREAM, "subjects": ["orders.>"]}], outbox={"gap_grace": "0ms"})
        self.writer("w").write("k", 3).commit()
        self.wait(lambda: self.exceptions() != [], "the messages to be parked")
        # The answer to a look, or to a probe that is sent all the same.
        why = r"(stream not found \(10059\)|no stream answers for the subject \(503\))"
        text = self.expect(relay, "status", DONE, f"{STREAM}: nothing sent yet; takes nothing: ")
        self.assertRegex(text, rf"^Stream {STREAM} takes no messages for [\d.]+ s: {why}")
        self.assertRegex(text, rf"\nexceptions     parked [123], for [\d.]+ s: {why}\n")
        look = self.look(relay)
        self.assertEqual((look["exceptions"], look["oldest"]["id"], look["state"]), ({"parked": 3}, 1, "degraded"))

    def test_a_lane_behind_a_dead_letter(self):
        relay = self.start_relay(delivery={"poison": "hold"})
        self.let_illegal_rows_in()
        self.writer("w").write("k", subject=ILLEGAL).write("k").commit()
        self.wait(lambda: len(self.exceptions()) == 2, "one held, one parked")
        self.wait(lambda: self.status(relay).get("dead_letters_held") == 1, "the relay to know of it")
        self.expect(relay, "status", DONE, "1 dead letter holds back what follows with the same key", "lanes held     1",
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
            self.expect(onlooker, "status", DONE, "All is delivered", "missing 1, for ",
                        f"oldest xid     pid {pid} (nightly, idle in transaction for ")
            cursor.execute("PREPARE TRANSACTION 'forgotten'")
            self.expect(onlooker, "status", DONE, "prepared transaction 'forgotten' (for ")
            cursor.execute("ROLLBACK PREPARED 'forgotten'")
            self.wait_settled()

            # It writes elsewhere, too: then the look asks which tables are the outbox's, and must not lock them for that.
            cursor.execute("BEGIN; DELETE FROM boxhaul.paused; LOCK boxhaul.outbox")
            self.expect(onlooker, "status", DONE, f"Stalled: pid {pid} (nightly, idle in transaction for ",
                        " has locked boxhaul's tables", " has AccessExclusiveLock on boxhaul.outbox and 8 more",
                        "not read       the outbox: a lock is in the way")
            self.assertEqual(onlooker.command("status", "--max-lag", "1h").returncode, FAILED)
            cursor.execute("ROLLBACK; BEGIN; UPDATE boxhaul.position SET epoch = epoch")
            self.writer("w").write("k").commit()
            look = self.wait_look(onlooker, lambda look: any(b["leader"] for b in look["blocked"]), "the relay to be blocked")
            self.assertEqual([by["pid"] for by in look["blocked"][0]["by"]], [pid])
            self.assertRegex(look["summary"], rf"^Stalled: the relay waits for a lock \(ShareLock on a row\) that pid {pid} ")
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
        self.assertEqual((done.returncode, done.stdout.startswith("Nobody leads")), (LAGGING, True), done.stdout)
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
        self.expect(relay, "status", DONE, "NATS is not connected: ", "NATS NOT connected: ")
        self.writer("w").write("k").commit()
        self.expect(relay, "status", DONE, "NATS is not connected: ")

    def test_a_database_that_is_away(self):
        """What the relay on this machine says counts then; JSON comes in any case."""
        relay = self.start_relay()
        self.assertEqual(relay.command("status", "--exit-code").returncode, DONE)
        self.pg.stop()
        self.wait(lambda: not self.status(relay)["postgres"]["connected"], "the relay to notice")
        said = self.status(relay)
        done = relay.command("status", "--json")
        look = json.loads(done.stdout)
        self.assertEqual((done.returncode, look["state"], look["ready"], look["database"]["connected"], look["relay"]["role"]),
                         (UNREACHABLE, "stalled", False, False, said["role"]))
        self.assertRegex(look["summary"], "^PostgreSQL is not connected: ")
        self.expect(relay, "status", UNREACHABLE, "PostgreSQL is not connected: ", "database       NOT connected: ")
        self.pg.start()

    def test_the_words_of_the_port(self):
        """Whether the relay says it or its database, it is the same sentence."""
        relay = self.start_relay(delivery={"poison": "hold"})
        blind = self.add_relay(health={"listen": "off"})
        self.assertEqual(blind.command("status", "--exit-code").returncode, DONE)
        for words, ready in ((["dead"], DONE), (["pause", "--reason", "a rest"], DONE)):
            if words == ["dead"]:
                self.let_illegal_rows_in()
                self.writer("w").write("k", subject=ILLEGAL).write("k").commit()
                self.wait(lambda: self.status(relay).get("dead_letters_held") == 1, "the relay to know of it")
            else:
                self.assertEqual(relay.command(*words).returncode, DONE)
                self.wait(lambda: self.status(relay)["state"] == "paused", "the relay to say so")
            said, *seen = self.status(relay), self.look(relay), self.look(blind)
            for look in seen:  # how long something waits, behind the semicolon, is another time each time
                self.assertEqual((look["state"], look["summary"].partition(";")[0]), (said["state"], said["summary"].partition(";")[0]))
            self.assertEqual(blind.command("status", "--exit-code").returncode, ready)
        self.assertEqual(relay.command("resume").returncode, DONE)

    def test_rows_that_commit_late_are_counted(self):
        """They stand below the position, and wait while nobody sends them."""
        relay, slow = self.start_relay(), self.writer("slow").write("k", 5)
        self.writer("w").write("k").commit()
        self.wait(lambda: self.position() == 6, "the others to pass")
        relay.stop()
        slow.commit()
        look = self.wait_look(relay, lambda look: not look["leading"], "the session of who has led to end")
        self.assertEqual((look["waiting"], look["late"], look["summary"].startswith("Nobody leads: 5 messages wait")), (5, 5, True))
        self.assertEqual(relay.command("status", "--exit-code").returncode, FAILED)

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

    def test_a_database_that_does_not_answer_in_time(self):
        """Who is at work there is said all the same."""
        self.sql("CREATE OR REPLACE FUNCTION boxhaul.status(streams jsonb DEFAULT NULL) RETURNS jsonb LANGUAGE sql STABLE AS "
                 "$$ SELECT '{}'::jsonb FROM pg_sleep(600) $$")
        with self.connect(SERVICE).cursor() as cursor:
            cursor.execute("BEGIN; SELECT boxhaul.publish('orders.x', '')")
            self.expect(self.add_relay(), "status", DONE, "Stalled: the database did not answer in time about the books\n",
                        "not read       the books: it takes too long\n", "has written to the outbox\n")

    def test_another_schema(self):
        for version, text in ((99, "install the newer boxhaul"), (-99, "run `boxhaul migrate -c ")):
            self.sql("UPDATE boxhaul.schema_version SET version = version + %s", (version,))
            self.expect(self.add_relay(), "status", DONE, "boxhaul: the schema has version ", text, "nothing waits")
            self.sql("UPDATE boxhaul.schema_version SET version = version - %s", (version,))

    def test_what_can_go_wrong(self):
        self.expect(self.add_relay(postgres={"conninfo": f"host=127.0.0.1 port={free_port()}"}), "status", UNREACHABLE,
                    "PostgreSQL is not connected: connection to server at ")
        self.pg.create_login("stranger", "pg_monitor")
        self.addCleanup(self.pg.execute, "DROP ROLE stranger")
        self.expect(self.add_relay(postgres={"conninfo": self.pg.conninfo(self.database, "stranger")}), "status", FAILED,
                    "permission denied", "boxhaul_monitor is enough")
        self.renew("template0")
        self.expect(self.add_relay(), "status", FAILED, "does not exist", "run `boxhaul migrate -c ")


class ManyRelays(Answers):
    """Several relays of one machine."""

    def directory(self):
        path = self.workspace.path(f"{self.database}-many")
        os.makedirs(path, exist_ok=True)
        return path

    def instance(self, name, relay, edit=lambda text: text):
        """A file of that name in the directory, as the relay's."""
        with open(relay.config, encoding="utf-8") as f:
            text = f.read()
        path = os.path.join(self.directory(), f"{name}.conf")
        with open(path, "w", encoding="utf-8") as f:
            f.write(edit(re.sub(r'(?m)^name = "[^"]*"', f'name = "{name}"', text)))
        return path

    def of_all(self, *words, code=DONE):
        done = self.boxhaul(*words, "-c", self.directory())
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done.stdout

    def test_one_table_worst_first(self):
        relay = self.start_relay()
        relay.wait_until_ready()
        self.instance("good", relay)
        self.assertEqual(self.of_all("status", "--exit-code").count("\n"), 2)
        self.instance("away", relay, lambda text: re.sub(r"port=\d+", f"port={free_port()}", re.sub(
            r'listen = "[^"]*"', f'listen = "127.0.0.1:{free_port()}"', text)))
        wrong = self.instance("wrong", relay, lambda text: "nonsense = 1;\n" + text)
        self.instance("boxhaul", relay, lambda _: 'log = { level = "debug"; };\n')  # is shared, and no instance
        lines = self.of_all("status").splitlines()
        self.assertRegex(lines[0], "^RELAY +READY +WAITING +LAG +DEAD +STATE$")
        away, other = sorted((line.split()[0] for line in lines[1:3]), key=lambda name: name != "away")
        self.assertEqual((away, other), ("away", wrong[:len(other)]), "as much of a path as there is room for")
        self.assertRegex(lines[1], "NOT ready")
        self.assertRegex(lines[3], r"^good +ready +0 +\S+ s +0  All is delivered$")
        told = json.loads(self.of_all("status", "--json", "--exit-code", code=FAILED))
        self.assertEqual([one["ready"] for one in told], [False, False, True])
        self.assertEqual(told[2]["instance"], "good")
        self.assertIn("--watch is for one relay", self.boxhaul("status", "--watch").stderr)

    def test_migrate_all(self):
        relay = self.add_relay()
        first, second = self.instance("first", relay), self.instance("second", relay, lambda text: "nonsense = 1;\n" + text)
        third = self.instance("third", relay)
        self.renew("template0")
        said = self.of_all("migrate", "--all", code=CONFIG_WRONG)
        self.assertRegex(said, f"^{first}: applied 001_schema\n(.*\n)+{second}: failed\n{third}: nothing to do: ")
        self.assertIn("only with --all", self.boxhaul("migrate", "-c", self.directory()).stderr)
        self.assertIn("without NAME", self.boxhaul("migrate", "--all", "-c", first).stderr)

    def test_the_default_port_is_the_first_ones(self):
        """The others run without, and are asked at their sockets."""
        relays = [self.add_relay() for _ in range(2)]
        environments = []
        for n, relay in enumerate(relays):
            run = self.workspace.path(f"{self.database}-run{n}")
            os.makedirs(run)
            relay.config = self.instance(f"r{n}", relay, lambda text: re.sub(r"(?s)health = \{.*?\};?", "", text))
            environments.append({"RUNTIME_DIRECTORY": run})
            relay.start(env=environments[n])
        for n, relay in enumerate(relays):
            def told(relay=relay, n=n):
                done = subprocess.run([self.program, "status", "--json", "-c", relay.config], capture_output=True, text=True, timeout=60,
                                      env={**os.environ, **environments[n]}, check=False)
                return json.loads(done.stdout)["relay"] if done.returncode == DONE else {}
            self.wait(lambda: told().get("reachable") and told().get("ready"), f"relay {n} to answer at its socket")
            self.assertEqual(told()["instance"], f"r{n}")
        self.assertIn("no health port: the default one is taken", "".join(relay.log_tail(50) for relay in relays))
        relays[0].kill9()  # what it leaves behind is no hindrance
        relays[0].start(env=environments[0])
        self.wait(lambda: "no health socket" in relays[0].log_tail(50) or relays[0].log_tail(50).count("standing by") +
                  relays[0].log_tail(50).count("leading") > 1, "it to be back")
        self.assertNotIn("no health socket", relays[0].log_tail(50))


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
        self.wait(lambda: self.status(relay)["summary"] == "All is delivered", "the relay to have looked again")
        text = self.explain(relay, 2, f"message 2 is sent: stored in {STREAM} as sequence 2", "marked ", "relay          All is delivered")
        ident = self.sql("SELECT message_id FROM boxhaul.outbox WHERE id = 2")[0][0]
        self.assertIn(f"subject orders.paid, key k, Nats-Msg-Id {ident}", text)
        done = relay.command("explain", "2", "--json")
        told = json.loads(done.stdout)
        self.assertEqual((told["id"], told["stream"], told["sequence"], told["row"]["state"]), (2, STREAM, 2, "sent"))
        with self.jetstream() as jetstream:
            jetstream.purge(STREAM)
        self.explain(relay, 2, f"message 2 is marked sent, but not found in {STREAM}", "boxhaul reconcile")
        self.nats.stop()
        self.explain(relay, 2, "message 2 is sent\n", f"{STREAM} could not be asked: ")

    def test_by_its_uuid_and_by_its_key(self):
        relay = self.start_relay()
        insert = "INSERT INTO boxhaul.outbox (subject, key, payload) VALUES ('orders.x', %s, 'x') RETURNING id"
        ids = [self.sql(insert, (key,))[0][0] for key in "aab"]
        self.wait_settled()
        uuid = str(self.sql("SELECT message_id FROM boxhaul.outbox WHERE id = %s", (ids[0],))[0][0])
        self.assertIn(f"message {ids[0]} is sent", relay.command("explain", uuid).stdout)
        self.assertIn(f"message {ids[0]} is sent", relay.command("explain", f"00{ids[0]}").stdout)
        self.assertIn(f"message {ids[1]} is sent", relay.command("explain", "--key", "a").stdout)
        relay.stop()
        waits = [self.sql(insert, (key,))[0][0] for key in "aba"]
        self.assertIn(f"message {waits[0]} is committed", relay.command("explain", "--key", "a").stdout)
        self.assertEqual(json.loads(relay.command("explain", "--key", "b", "--json").stdout)["id"], waits[1])
        for words, code, text in ((["--key", "c"], FAILED, "has the key c"), ([uuid[:-1] + "g"], USAGE, "or the uuid"),
                                  ([uuid.replace(uuid[:8], "00000000")], FAILED, "has the id 00000000-"), ([], USAGE, "needs ID, or --key KEY"),
                                  (["1", "--key", "a"], USAGE, "say one of them")):
            done = relay.command("explain", *words)
            self.assertEqual(done.returncode, code, done.stdout)
            self.assertIn(text, done.stdout)
        self.onlooker()
        self.assertIn(f"message {ids[0]} is sent", self.relays[-1].command("explain", uuid).stdout)

    def test_times_that_are_on_no_calendar(self):
        """Whoever owns the table may write them; they are delivered, and every question is answered."""
        relay = self.start_relay()
        for time in ("infinity", "-infinity", "294000-01-01", "0044-03-15 BC"):
            self.sql("INSERT INTO boxhaul.outbox (subject, key, payload, created_at) VALUES ('orders.x', 'k', 'x', %s)", (time,))
            self.wait_settled()
        sums = re.search(r"(?m)^boxhaul_delivery_seconds_sum (\S+)$", relay.get("/metrics")[1])
        self.assertLess(float(sums[1]), 4 * 31 * 24 * 3600, "a date of another age is not all that it says")
        for n in range(1, 5):
            self.assertIn(f"message {n} is sent: stored in ORDERS as sequence {n}", relay.command("explain", str(n)).stdout)
        self.assertIn("nobody knows how long ago", relay.command("explain", "1").stdout)
        done = relay.command("reconcile")
        self.assertEqual((done.returncode, done.stdout.splitlines()[-1]),
                         (DONE, "committed=4 stored=4 missing=0 pending=0 dead=0 discarded=0 unchecked=0"))
        relay.stop()
        self.sql("INSERT INTO boxhaul.outbox (subject, payload, created_at) VALUES ('orders.x', 'x', 'infinity')")
        for words in (["status"], ["status", "--json"], ["check"]):
            done = relay.command(*words)
            self.assertEqual(done.returncode, DONE, done.stdout)

    def test_ids_that_have_jumped_are_no_rate(self):
        relay = self.start_relay()
        self.sql("SELECT nextval('boxhaul.outbox_id_seq')")
        self.sql("SELECT setval('boxhaul.outbox_id_seq', 1000000000000)")
        self.sql("INSERT INTO boxhaul.outbox (subject, payload) VALUES ('orders.x', 'x')")
        self.wait_for_messages(1)
        self.wait(lambda: self.look(relay)["position"] > 1000000000000, "the mark")
        self.assertLessEqual(self.look(relay)["rate_10s"], 1)

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
        self.let_illegal_rows_in()
        self.writer("w").write("k", subject=ILLEGAL).write("k").write("m", subject="missing.x").commit()
        self.wait(lambda: len(self.exceptions()) == 3 or self.exceptions()[-1:] == [(2, 3, "parked")], "all to be held back")
        self.explain(relay, 1, "message 1 is a dead letter that holds its key: subject has an empty token",
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
        self.explain(relay, 999, "message 999 was never drawn: the newest id is 5")
        onlooker = self.onlooker()  # may not read the sequence
        self.explain(onlooker, 999, "its transaction is open")
        name = other.prepare()
        self.explain(relay, 4, f"prepared transaction '{name}'")
        other.finish(name, "ROLLBACK")
        self.wait_settled()
        self.explain(onlooker, 999, "message 999 was rolled back or never drawn: the newest id to be seen is 5")
        self.sql("TRUNCATE boxhaul.outbox")
        self.explain(relay, 1, "has no row any more: it was sent and emptied with its slot, or it was rolled back, long ago (ids ")

    def test_the_monitor_may_ask(self):
        self.writer("w").write("k").commit()
        self.explain(self.onlooker(), 1, "message 1 is committed, and not sent yet")


if __name__ == "__main__":
    unittest.main()
