"""The relay as a service: what its supervisor hears (sd_notify's protocol, spoken to a socket of our own), and the
configuration that changes while it runs."""

import os
import signal
import socket
import time
import unittest

from harness import STREAM, SystemTest
from process import free_port
from supervisor import Supervisor

EXIT_CONFIG = 3
PERIOD = 0.4  # seconds, of the watchdog


class ServiceTest(SystemTest):
    supervisors = 0

    def supervise(self, relay, abstract=False, **env):
        """Start the relay under a supervisor of its own, which is returned."""
        self.supervisors += 1
        supervisor = Supervisor(self.workspace.path(f"{self.database}.{self.supervisors}"), abstract)
        self.addCleanup(supervisor.close)
        # WATCHDOG_PID is the relay's own unless something else is said: sh knows it, and becomes the relay.
        relay.spawn(["sh", "-c", 'export WATCHDOG_PID="${WATCHDOG_PID:-$$}"; exec "$@"', "sh",
                     relay.program, "run", "-c", relay.config], {**supervisor.env, **env})
        self.wait(lambda: "READY" in supervisor.states(), "READY=1")
        return supervisor

    def wait_for_line(self, supervisor, text):
        self.wait(lambda: text in supervisor.line(), f"the line to say {text!r}")

    def log(self, relay):
        with open(relay.log, encoding="utf-8") as f:
            return f.read()

    def reload(self, relay, supervisor):
        """SIGHUP, and wait until it is over. Returns what the log says of it."""
        before, logged = len(supervisor.states()), len(self.log(relay))
        relay.send(signal.SIGHUP)
        self.wait(lambda: supervisor.states()[before:] == ["RELOADING", "READY"], "the reload to be over")
        return self.log(relay)[logged:]

    def change(self, relay, **groups):
        """Write another configuration file: the one there is with these differences."""
        settings = {group: dict(value) if isinstance(value, dict) else value
                    for group, value in relay.settings.items()}
        for group, value in groups.items():
            settings[group] = {**settings.get(group, {}), **value} if isinstance(value, dict) else value
        relay.configure(settings)

    def spoil(self, relay, text):
        with open(relay.config, "a", encoding="utf-8") as f:
            f.write(text)
        with open(relay.config, encoding="utf-8") as f:
            return len(f.readlines())

    def connects(self, relay):
        """(to PostgreSQL, to NATS): how often."""
        return self.metric(relay, "postgres_connects_total"), self.metric(relay, "nats_connects_total")


class Notify(ServiceTest):
    """Type=notify: READY is said by one that has started, WATCHDOG by a loop that turns, and the rest by its line."""

    def test_it_has_started_before_its_servers(self):
        relay = self.add_relay(postgres={"conninfo": f"host=127.0.0.1 port={free_port()} dbname=none user=nobody"},
                               nats={"urls": [f"nats://127.0.0.1:{free_port()}"]})
        supervisor = self.supervise(relay)
        self.assertEqual(relay.get("/livez")[0], 200)
        self.wait_for_line(supervisor, "not ready: PostgreSQL is not connected: ")
        self.assertEqual(supervisor.states(), ["READY"])
        self.assertEqual(relay.stop(), 0)

    def test_a_line_that_tells_how_it_goes(self):
        supervisor = self.supervise(self.add_relay(), WATCHDOG_USEC="1000000")
        self.wait_for_line(supervisor, "All is delivered; 0 messages/s, 0 in memory, 0 in flight")
        self.writer("w").write("k", 50).commit()
        self.wait(lambda: any(" messages/s" in line and "; 0 messages/s" not in line for line in supervisor.all("STATUS")),
                  "a rate")
        second = self.supervise(self.add_relay())
        self.wait_for_line(second, "Standing by: ")
        self.audit()
        self.wait_for_line(supervisor, "All is delivered; 0 messages/s, 0 in memory, 0 in flight")
        said, pets = len(supervisor.all("STATUS")), len(supervisor.all("WATCHDOG"))
        self.wait(lambda: len(supervisor.all("WATCHDOG")) > pets + 6, "three seconds")
        self.assertEqual(len(supervisor.all("STATUS")), said, "the same line again")
        lines = supervisor.all("STATUS")
        self.assertTrue(all(a != b for a, b in zip(lines, lines[1:])), lines)

    def test_the_line_names_the_cause_of_a_stall(self):
        supervisor = self.supervise(self.add_relay(
            streams=[{"name": STREAM, "subjects": ["orders.>"], "create": False}],
            delivery={"ack_timeout": "500ms", "retry_max": "500ms"}, health={"listen": f"127.0.0.1:{free_port()}",
                                                                            "stall_after": "1s"}))
        self.writer("w").write("k", 1).commit()
        self.wait_for_line(supervisor, "not ready: Stalled: nothing was acknowledged for")
        self.wait(lambda: f"stream {STREAM}: " in supervisor.line() and "stream not found (10059)" in supervisor.line(),
                  "the cause in the line")
        with self.jetstream() as jetstream:
            jetstream.create(STREAM, ["orders.>"])
        self.wait_for_line(supervisor, "All is delivered; ")
        self.audit()

    def test_an_abstract_socket_and_the_end(self):
        relay = self.add_relay(delivery={"drain_timeout": "70s"})
        supervisor = self.supervise(relay, abstract=True)
        self.wait_for_line(supervisor, " messages/s, ")
        self.assertEqual(relay.stop(), 0)
        self.wait(lambda: supervisor.states() == ["READY", "STOPPING"], "STOPPING=1")
        self.assertGreater(int(supervisor.all("EXTEND_TIMEOUT_USEC")[0]), 70 * 1000000)

    def test_a_supervisor_that_does_not_read(self):
        """Its socket is full at once, and says so for ever: everything else goes on, the watchdog is not asked to be petted."""
        deaf = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(deaf.close)
        deaf.bind(self.workspace.path("deaf"))
        relay = self.add_relay().start({"NOTIFY_SOCKET": self.workspace.path("deaf"), "WATCHDOG_USEC": "2000"})
        relay.wait_until_ready()
        self.open_shop()
        self.let_trade(300)
        self.audit()
        self.assertEqual(relay.stop(), 0)

    def test_a_supervisor_that_is_gone_or_has_no_name(self):
        for name in (self.workspace.path("nobody"), "nonsense", ""):
            relay = self.add_relay().start({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "100000"}).wait_until_ready()
            self.assertEqual("the supervisor cannot be told anything" in self.log(relay), not name.startswith("/"))
            self.assertEqual(relay.stop(), 0)

    def pets(self, supervisor, more):
        count = len(supervisor.all("WATCHDOG"))
        self.wait(lambda: len(supervisor.all("WATCHDOG")) >= count + more, "the watchdog to be petted")

    def test_one_that_stands_still_does_not_pet_it(self):
        relay = self.add_relay()
        supervisor = self.supervise(relay, WATCHDOG_USEC=str(int(PERIOD * 1e6)))
        self.pets(supervisor, 5)
        relay.pause()
        self.wait(relay.stopped, "it to stand still")
        supervisor.catch_up()
        count = len(supervisor.all("WATCHDOG"))
        time.sleep(5 * PERIOD)
        self.assertEqual(len(supervisor.all("WATCHDOG")), count)
        relay.resume()
        self.pets(supervisor, 3)
        self.assertEqual(relay.stop(), 0)

    def test_it_is_petted_without_any_server(self):
        """The loop turns, whatever the servers do."""
        relay = self.add_relay(nats={"urls": [f"nats://127.0.0.1:{free_port()}"]},
                               postgres={"conninfo": f"host=127.0.0.1 port={free_port()} dbname=none user=nobody"})
        self.pets(self.supervise(relay, WATCHDOG_USEC="200000"), 20)

    def test_another_process_is_meant(self):
        relay = self.add_relay()
        supervisor = self.supervise(relay, WATCHDOG_USEC="10000", WATCHDOG_PID="1")
        self.wait_for_line(supervisor, " messages/s, ")
        self.assertEqual(supervisor.all("WATCHDOG"), [])

    def test_a_wrong_configuration_is_not_worth_another_try(self):
        relay = self.add_relay()
        self.spoil(relay, "surprise = 1;\n")
        self.assertEqual(relay.command("run").returncode, EXIT_CONFIG)

    def test_neither_is_a_port_that_is_taken(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            relay = self.add_relay(health={"listen": f"127.0.0.1:{taken.getsockname()[1]}"})
            done = relay.command("run")
        self.assertEqual(done.returncode, EXIT_CONFIG)
        self.assertIn("no health port", done.stdout)


class Reload(ServiceTest):
    """SIGHUP."""

    def start(self, **groups):
        relay = self.add_relay(**groups)
        supervisor = self.supervise(relay)
        relay.wait_until_ready()
        return relay, supervisor

    def write_secret(self, name, password):
        """A password file that nobody else may read."""
        path = self.workspace.path(name)
        with open(path, "w", encoding="utf-8") as f:
            os.fchmod(f.fileno(), 0o600)
            f.write(f"*:*:*:*:{password}\n")
        return path

    def test_under_load(self):
        """Good files and bad ones, new sessions and new connections, one on the heels of the other: nothing is lost,
        doubled or out of order, and no producer notices."""
        secret = self.write_secret("pgpass", "first")
        relay, supervisor = self.start(postgres={"password_file": secret})
        self.open_shop()
        url, conninfo = self.nats.url(), relay.settings["postgres"]["conninfo"]
        good = [{"delivery": {"window": 1, "queue_bytes": "1MiB", "window_bytes": "1MiB"}},
                {"delivery": {"window": 2000, "mark_interval": "1ms"}, "log": {"level": "debug"}},
                {"nats": {"urls": [url.replace("127.0.0.1", "localhost"), url]}},
                {"postgres": {"conninfo": conninfo + " connect_timeout=9"}},
                {"outbox": {"sleep_after": "10ms", "safety_poll": "100ms", "gap_grace": "0ms"}, "log": {"level": "info"}},
                {"nats": {"urls": [url]}, "postgres": {"conninfo": conninfo}},
                {"delivery": {"window": 300, "ack_timeout": "1s", "poison": "hold"}, "outbox": {"retention": "1s"}}]
        for round_number in range(3):
            for groups in good:
                self.change(relay, **groups)
                self.assertIn("configuration reloaded", self.reload(relay, supervisor))
                self.let_trade(20)
                self.spoil(relay, "nonsense = 1;\n")
                self.assertIn("not reloaded", self.reload(relay, supervisor))
            self.write_secret("pgpass", f"round{round_number}")
        result = self.audit()
        self.assertGreater(result.committed, 400)
        self.assertGreaterEqual(min(self.connects(relay)), 7)  # two in each round
        self.assertEqual(relay.stop(), 0)

    def test_a_bad_file(self):
        relay, supervisor = self.start()
        before = self.connects(relay)
        self.change(relay, nats={"urls": ["nats://127.0.0.1:1"]})
        first = self.spoil(relay, "surprise = 1;\n")
        second = self.spoil(relay, "delivery : { window = 0; };\n")
        said = self.reload(relay, supervisor)
        self.assertIn(f"{relay.config}:{first}: unknown key surprise", said)
        self.assertIn(f"{relay.config}:{second}: ", said)
        self.assertIn("configuration not reloaded: the old one stays", said)
        self.wait_for_line(supervisor, "The last reload of the configuration was refused")
        self.writer("w").write("k", 10).commit()
        self.audit()
        self.assertEqual(self.connects(relay), before)
        os.unlink(relay.config)
        self.assertIn("does not exist", self.reload(relay, supervisor))
        self.change(relay, nats={"urls": [self.nats.url()]})
        self.assertIn("changed=nothing", self.reload(relay, supervisor))
        self.wait(lambda: "All is delivered" in supervisor.line(), "another line")

    def test_what_changes_at_once_and_what_waits(self):
        relay, supervisor = self.start()
        self.change(relay, log={"level": "debug", "stats_interval": "1s"}, delivery={"window": 7, "queue": 1000},
                    health={"listen": f"127.0.0.1:{free_port()}", "stall_after": "77s"},
                    streams=[{"name": STREAM, "subjects": ["orders.>", "more.>"], "create": True}])
        said = self.reload(relay, supervisor)
        self.assertIn('changed="delivery.window, health.stall_after, log.level, log.stats_interval"', said)
        self.assertIn('msg="these changes wait for a restart" settings="streams.subjects, delivery.queue, health.listen"', said)
        self.wait(lambda: self.log(relay).count('msg="stats"') > 2, "a line of figures each second")
        self.assertEqual(relay.stop(), 0)
        supervisor = self.supervise(relay)
        relay.wait_until_ready()
        said = self.reload(relay, supervisor)
        self.assertIn("changed=nothing", said)
        self.assertNotIn("restart", said)

    def test_connections_are_made_anew_where_their_settings_changed(self):
        secret = self.write_secret("secret", "first")
        relay, supervisor = self.start(postgres={"password_file": secret})
        conninfo, url = relay.settings["postgres"]["conninfo"], self.nats.url()
        self.wait(lambda: self.connects(relay) == (1, 1), "both connections")
        self.assertIn("changed=nothing", self.reload(relay, supervisor))
        self.change(relay, nats={"urls": [url.replace("127.0.0.1", "localhost")]})
        self.assertIn("changed=nats.urls", self.reload(relay, supervisor))
        self.wait(lambda: self.connects(relay) == (1, 2), "another connection to NATS")
        self.write_secret("secret", "another")
        self.assertIn("changed=postgres.password_file", self.reload(relay, supervisor))
        # The lead went with the session, and what NATS held with the lead.
        self.wait(lambda: self.connects(relay) == (2, 3), "another session")
        relay.wait_until_ready()  # leading again: what follows takes the lead away once more
        self.assertIn("changed=nothing", self.reload(relay, supervisor))
        self.change(relay, postgres={"conninfo": conninfo + " keepalives_idle=7"})
        self.reload(relay, supervisor)
        self.wait(lambda: self.connects(relay) == (3, 4), "another session")
        self.wait(lambda: relay.get("/readyz")[0] == 200 and self.status(relay)["role"] == "leader", "the lead")
        self.writer("w").write("k", 10).commit()
        self.audit()

    def test_a_wrong_server_and_back(self):
        """What can only be found out by connecting is no mistake of the file: not ready, until it is mended."""
        relay, supervisor = self.start()
        url = self.nats.url()
        self.change(relay, nats={"urls": [f"nats://127.0.0.1:{free_port()}"]})
        self.reload(relay, supervisor)
        self.wait_for_line(supervisor, "not ready: NATS is not connected")
        self.writer("w").write("k", 10).commit()
        self.change(relay, nats={"urls": [url]})
        self.reload(relay, supervisor)
        self.wait_for_line(supervisor, " messages/s, ")
        self.audit()

    def test_values_that_fit_only_after_a_restart(self):
        relay, supervisor = self.start()
        self.change(relay, outbox={"lease": "60s"}, delivery={"mark_interval": "10s"})
        said = self.reload(relay, supervisor)
        self.assertIn("delivery.mark_interval (10s) must be less than outbox.lease (5s)", said)
        self.assertIn("this needs a restart", said)
        self.writer("w").write("k", 10).commit()
        self.audit()

    def test_many_at_once_and_while_it_stops(self):
        relay, supervisor = self.start()
        self.open_shop()
        for _ in range(200):
            relay.send(signal.SIGHUP)
        self.wait(lambda: supervisor.states()[-1] == "READY" and "configuration reloaded" in self.log(relay), "an end")
        self.let_trade(100)
        relay.send(signal.SIGHUP)
        relay.send(signal.SIGTERM)
        self.assertEqual(relay.wait(), 0)
        self.wait(lambda: supervisor.states()[-1] == "STOPPING", "STOPPING=1")
        self.supervise(relay)
        self.audit()


if __name__ == "__main__":
    unittest.main()
