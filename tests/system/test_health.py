"""The health port: what the pages say, the page for people in a browser, what watches it (alerts, dashboard), and
strangers that come in thousands."""

import contextlib
import json
import os
import re
import resource
import socket
import subprocess
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.request
from html.parser import HTMLParser

from harness import RELAY, STREAM  # first: it says where the others are
from browser import Browser, chromium
from prometheus import names_of, parse_metrics
from shop import Habits
from test_operation import PAGES, QUICK, OperationTest, health, log_lines, stream

PACKAGING = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "packaging")
RUNBOOK = {"down", "lag", "stalled", "dead-letters", "nats-down", "postgresql-down", "no-leader", "exceptions",
           "reload-failed", "paused", "unrouted", "stream-lost", "batches", "inbox-stopped", "inbox-late", "inbox-failing", "sink-different",
           "sagas-stuck", "sagas-late", "capture-stopped", "capture-gap", "capture-diverged", "capture-late", "capture-wal", "capture-waits",
           "capture-dead-letters", "capture-carried"}


class HealthTest(OperationTest):
    def ask(self, relay, method, path, body=None):
        """(status, headers, body) of one request."""
        request = urllib.request.Request(f"http://{relay.settings['health']['listen']}{path}", body, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as e:
            return e.code, e.headers, e.read()

    def metrics(self, relay):
        return parse_metrics(relay.get("/metrics")[1])

    def sample(self, relay, name, **labels):
        """None where there is none."""
        return self.metrics(relay).get(("boxhaul_" + name, tuple(labels.items())))


class HealthPort(HealthTest):
    # What is no figure; of the figures, those that are no process's, by their name in /metrics.
    STATUS_KEYS = {"version", "instance", "state", "summary", "action", "problems", "role", "led_by", "epoch", "uptime_seconds",
                   "postgres", "nats", "nats_url", "pace", "paused_by", "refused_last", "streams", "subscriptions", "sagas", "captures", "rate_10s",
                   "rate_60s"}
    NOT_IN_STATUS = {"info", "state", "postgres_up", "nats_up", "ack_seconds", "delivery_seconds"}

    def test_pages_and_methods(self):
        relay = self.start_relay()
        for path in PAGES:
            code, headers, body = self.ask(relay, "GET", path)
            self.assertEqual((code, headers["Cache-Control"]), (200, "no-store"))
            self.assertTrue(body.endswith(b"\n"))
            code, headers_of_head, nothing = self.ask(relay, "HEAD", path)
            self.assertEqual((code, nothing), (200, b""))
            self.assertEqual(headers_of_head["Content-Type"], headers["Content-Type"])
            self.assertGreater(int(headers_of_head["Content-Length"]), 0)
            for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
                code, headers, _ = self.ask(relay, method, path, b"x=1")
                self.assertEqual((code, headers["Allow"]), (405, "GET, HEAD"))
        self.assertEqual(self.ask(relay, "GET", "/readyz?verbose=1")[0], 200)
        for path in ("/nothing", "/livez/", "//livez", "/status/../livez", "/%00"):
            code, _, body = self.ask(relay, "GET", path)
            self.assertEqual((code, b"/readyz" in body), (404, True), "what pages there are")

    def test_status(self):
        relay = self.start_relay()
        status = self.status(relay)
        figures = {name.removeprefix("boxhaul_") for name in names_of(relay.get("/metrics")[1]) if name.startswith("boxhaul_")}
        plain = {name for name in figures - self.NOT_IN_STATUS if not name.startswith(("stream_", "inbox_", "saga_", "capture_"))}
        self.assertEqual(set(status), self.STATUS_KEYS | plain)
        self.assertEqual(set(status["streams"][0]), {"name", "wire", "wire_why"} | {name.removeprefix("stream_") for name in figures - plain
                                                               if name.startswith("stream_")})
        self.assertEqual((status["state"], status["ready"], status["role"], status["instance"], status["problems"]),
                         ("ok", True, "leader", self.database, []))
        self.assertIsNone(status["sagas"], "none are started here")
        self.assertEqual((status["postgres"], status["nats"]), ({"connected": True}, {"connected": True}))
        self.pg.stop()
        self.wait_for_page(relay, "/readyz", 503)
        self.assertFalse(self.status(relay)["postgres"]["connected"])
        self.assertTrue(self.status(relay)["postgres"]["why"])

    def test_errors_in_any_encoding(self):
        """A long error is cut off somewhere, for one of these two in the middle of a character."""
        for pad in ("", "x"):
            relay = self.add_relay(postgres={"conninfo": f"host=/{pad}{300 * chr(246)} dbname=x user=x"}).start()
            self.wait(lambda relay=relay: chr(246) in relay.get("/readyz")[1], "the error to be told")
            self.assertIn(chr(246), self.status(relay)["postgres"]["why"])
            self.assertEqual(relay.stop(), 0)

    def test_a_port_that_is_taken(self):
        settings = health()
        with socket.create_server(("127.0.0.1", int(settings["listen"].split(":")[1]))):
            relay = self.add_relay(health=settings).start()
            self.assertEqual(relay.wait(), 3)
        self.assertEqual([(line["level"], line["msg"], "Address already in use" in line["why"])
                          for line in log_lines(relay)], [("error", "no health port", True)])

    def test_no_health_port(self):
        self.add_relay(health={"listen": "off"}).start()
        self.writer("w").write("k").commit()
        self.audit()


class Metrics(HealthTest):
    def test_metrics(self):
        strange = 'STRANGE"NAME'
        relay = self.start_relay(streams=[stream(create=True), stream(strange, "strange.>")])
        self.writer("w").write("k", 7).commit()
        self.wait_for_messages(7)
        self.insert_illegal()
        self.wait_settled()
        self.publish("strange.x")
        self.wait(lambda: self.status(relay)["streams"][1]["blocked"], "the missing stream to be blocked")
        # What waits is looked at anew after a quarter of a second: not known at first, and then what was there before.
        self.wait(lambda: self.sample(relay, "backlog_messages") == 0, "nothing to wait that is not held back")
        metrics = parse_metrics(relay.get("/metrics")[1])
        self.assertGreater(len(metrics), 100)
        for name, labels, value in (("leader", {}, 1), ("ready", {}, 1), ("acks_total", {}, 7),
                                    ("dead_letters_total", {}, 1), ("read_id", {}, 9),
                                    ("stream_acks_total", {"stream": STREAM}, 7),
                                    ("stream_blocked", {"stream": STREAM}, 0),
                                    ("stream_blocked", {"stream": strange}, 1), ("ack_seconds_count", {}, 7),
                                    ("delivery_seconds_count", {}, 7), ("backlog_messages", {}, 0),
                                    ("postgres_statements_total", {"statement": "lead"}, 1),
                                    ("config_last_reload_successful", {}, 1)):
            self.assertEqual(metrics["boxhaul_" + name, tuple(labels.items())], value, name)

        self.wait(lambda: self.sample(relay, "refusals_total", reason="no stream answers for the subject (503)"),
                  "the broker to refuse")
        self.assertGreater(sum(n for (name, _), n in metrics.items() if name == "boxhaul_wakeups_total"), 1)
        self.wait(lambda: self.sample(relay, "dead_letters") == 1, "the dead letter to be counted")
        self.wait(lambda: self.sample(relay, "oldest_unsent_seconds") > 0, "the parked message to be seen")
        self.assertEqual(self.sample(relay, "lag_seconds"), 0, "what is held back is no lag")
        self.promtool("check", "metrics", text=relay.get("/metrics")[1])

    def test_who_a_relay_is(self):
        """Name, database, server, version: of the one that leads and of the one that stands by the same; of one that never reached its
        database, all but the server."""
        with self.connect().cursor() as cursor:
            cursor.execute("SELECT system_identifier FROM pg_control_system()")
            server = str(cursor.fetchone()[0])

        def told(relay):
            return [dict(labels) for (name, labels), n in self.metrics(relay).items() if (name, n) == ("boxhaul_info", 1)]
        leader, standby = self.start_relay(), self.start_relay()
        for relay in (leader, standby):
            status = self.status(relay)
            self.assertEqual(told(relay), [{"name": status["instance"], "database": self.database, "server": server,
                                            "version": status["version"]}])
        lost = self.add_relay(postgres={"conninfo": "host=/nowhere dbname=elsewhere user=x"}).start()
        self.wait_for_page(lost, "/readyz", 503)
        self.assertEqual([(t["database"], t["server"]) for t in told(lost)], [("elsewhere", "")])

    def test_dead_letters_of_a_lead_before(self):
        """Those that the process made itself when it led before stand in the database: they are not counted once more."""
        relay = self.start_relay(health=health(stall_after="4s"), **QUICK)
        self.insert_illegal()
        self.wait(lambda: self.sample(relay, "dead_letters") == 1, "the dead letter to be counted")
        with self.connect().cursor() as other:  # somebody else has the lead for a while
            other.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted AND "
                          "database = (SELECT oid FROM pg_database WHERE datname = current_database());"
                          "SELECT pg_advisory_lock(1651472488, 1)")
            self.wait(lambda: self.status(relay)["role"] == "standby", "the relay to stand by")
            asked = self.sample(relay, "postgres_statements_total", statement="backlog")
            self.wait(lambda: self.sample(relay, "postgres_statements_total", statement="backlog") > asked, "another look")
            other.execute("SELECT pg_advisory_unlock(1651472488, 1)")
        self.wait(lambda: self.sample(relay, "dead_letters") is not None, "the relay to lead again", pause=0.01)
        self.assertEqual(self.sample(relay, "dead_letters"), 1)

    def promtool(self, *words, text=""):
        done = subprocess.run([os.path.join(PACKAGING, "prometheus", "promtool"), *words], input=text, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300, check=False)
        self.assertEqual((done.returncode, text and done.stdout), (0, ""), done.stdout)

    def test_the_process(self):
        relay = self.start_relay()
        metrics = {name: n for (name, _), n in self.metrics(relay).items() if name.startswith("process_")}
        self.assertEqual(set(metrics), {"process_cpu_seconds_total", "process_start_time_seconds", "process_max_fds",
                                        "process_resident_memory_bytes", "process_virtual_memory_bytes",
                                        "process_open_fds"})
        self.assertLess(abs(metrics["process_start_time_seconds"] - time.time()), 3600)
        self.assertEqual(metrics["process_max_fds"], resource.prlimit(relay.pid, resource.RLIMIT_NOFILE)[0])
        with open(f"/proc/{relay.pid}/statm", encoding="ascii") as f:
            resident = int(f.read().split()[1]) * resource.getpagesize()
        self.assertLess(abs(metrics["process_resident_memory_bytes"] - resident), 16 << 20)
        self.assertGreater(metrics["process_open_fds"], 5)

    def test_what_waits_and_since_when(self):
        """While the broker is away: in memory, and beyond what there is room for. On the server's clock, and on no other."""
        relay = self.start_relay(delivery={"queue": 16, "window": 16})
        self.nats.stop()
        self.wait_for_page(relay, "/readyz", 503, "NATS is not connected")
        self.sql("INSERT INTO boxhaul.outbox (subject, created_at) SELECT 'orders.x', now() - interval '1 hour' "
                 "FROM generate_series(1, 100)")
        self.wait(lambda: self.sample(relay, "backlog_messages") == 100, "the backlog to be seen")
        for name in ("lag_seconds", "oldest_unsent_seconds"):
            self.assertGreaterEqual(self.sample(relay, name), 3600)
        self.assertEqual(self.status(relay)["backlog_messages"], 100)
        self.nats.start()
        self.wait_for_messages(100)
        self.wait(lambda: self.sample(relay, "backlog_messages") == 0, "nothing to wait any more")
        self.assertEqual((self.sample(relay, "lag_seconds"), self.status(relay)["lag_seconds"]), (0, 0))
        late = [n for (name, labels), n in self.metrics(relay).items()
                if name == "boxhaul_delivery_seconds_bucket" and labels == (("le", "1800"),)]
        self.assertEqual(late + [self.sample(relay, "delivery_seconds_count")], [0, 100])

    def test_a_standby_does_not_know_what_waits(self):
        self.start_relay()
        standby = self.start_relay()
        self.assertEqual((self.sample(standby, "standby"), self.sample(standby, "leader")), (1, 0))
        self.assertIsNone(self.sample(standby, "lag_seconds"))
        self.assertIsNone(self.status(standby)["lag_seconds"])

    def the_table_of_relays(self, panels):
        """It stands on top and is sorted by state, the worst first; every question of the dashboard is one that Prometheus takes."""
        asked = [t["expr"].replace("$database", ".*").replace("$__rate_interval", "1m") for panel in panels for t in panel["targets"]]
        top = min(panels, key=lambda panel: panel["gridPos"]["y"])
        self.assertEqual((top["type"], top["options"]["sortBy"]), ("table", [{"displayName": "State", "desc": True}]))
        states = next(o for o in top["fieldConfig"]["overrides"] if o["matcher"]["options"] == "State")["properties"][0]["value"][0]["options"]
        words = {found["text"]: int(rank) for rank, found in states.items()}
        worse = ["standby", "ok", "stopping", "paused", "starting", "degraded", "stalled", "no answer"]
        self.assertEqual(sorted(words, key=words.get), worse)

        def target(word):
            name = word.replace(" ", "-")
            labels = f'instance="{name}",job="relays"'
            yield f"up{{{labels}}}", "1 0" if word == "no answer" else "1 1"
            yield f'boxhaul_info{{{labels},name="shop",database="{name}",server="7",version="1"}}', "1 stale" if word == "no answer" else "1 1"
            for state in worse[:-1]:
                yield f'boxhaul_state{{{labels},state="{state}"}}', "0 stale" if word == "no answer" else f"0 {int(state == word)}"

        def sample(word):
            return {"labels": f'{{instance="{word.replace(" ", "-")}",job="relays"}}', "value": words[word]}

        series = [{"series": name, "values": values} for word in worse for name, values in target(word)]
        series.append({"series": 'up{instance="x",job="others"}', "values": "0 0"})
        rows = [{"labels": f'{{instance="{name}",job="relays",name="shop",database="{name}",version="1"}}', "value": 1}
                for name in (word.replace(" ", "-") for word in worse)]
        versions = [{"labels": '{version="1"}', "value": len(worse) - 1}]
        known = {asked[0]: [sample(word) for word in worse], asked[1]: rows, asked[-1]: versions}
        tests = [{"expr": expr, "eval_time": "1m", "exp_samples": found} for expr, found in known.items()]
        tests += [{"expr": f"0 * count({expr}) or vector(0)", "eval_time": "0s", "exp_samples": [{"labels": "{}", "value": 0}]}
                  for expr in asked if expr not in known]
        with tempfile.NamedTemporaryFile("w", suffix=".yml", encoding="utf-8") as f:
            json.dump({"tests": [{"interval": "1m", "input_series": series, "promql_expr_test": tests}]}, f)
            f.flush()
            self.promtool("test", "rules", f.name)

    def test_alerts_and_dashboard(self):
        """Rules and tests of the rules hold, each alert names its section, and every metric they speak of exists."""
        rules = os.path.join(PACKAGING, "prometheus", "boxhaul.rules.yml")
        self.promtool("check", "rules", rules)
        self.promtool("test", "rules", os.path.join(PACKAGING, "prometheus", "boxhaul.rules.test.yml"))
        with open(rules, encoding="utf-8") as f:
            text = f.read()
        self.assertEqual(set(re.findall(r'runbook: "boxhaul-runbook\(7\): ([a-z-]+)"', text)), RUNBOOK)
        # In this order below each alert, and the same section: the link leads there in the installed page.
        self.assertEqual(re.findall(r'runbook: "boxhaul-runbook\(7\): ([a-z-]+)"', text),
                         re.findall(r'runbook_url: "file:///usr/share/doc/boxhaul/html/boxhaul-runbook\.7\.html#([a-z-]+)"', text))
        self.assertEqual((text.count("- alert:"), text.count("- alert:")), (text.count("runbook: "), text.count("runbook_url: ")))
        self.assertNotIn('job="', text, "no name of a job is needed")
        with open(os.path.join(PACKAGING, "grafana", "boxhaul.json"), encoding="utf-8") as f:
            panels = json.load(f)["panels"]
        self.the_table_of_relays(panels)
        asked = [re.sub(r"#.*", "", text)] + [t["expr"] for panel in panels for t in panel["targets"]]
        names = names_of(self.start_relay().get("/metrics")[1])
        known = set(names) | {f"{name}_{part}" for name, kind in names.items() if kind == "histogram"
                              for part in ("bucket", "sum", "count")}
        spoken_of = set(re.findall(r"\b(?:boxhaul|process)_[a-z_]+", " ".join(asked)))
        self.assertEqual(spoken_of - known, set())
        self.assertGreater(len(spoken_of), 25)


class Stalls(HealthTest):
    """Ready means that whatever waits moves, each stream by itself."""

    def test_one_of_two_streams(self):
        """It stands still, the other one moves: not ready, and the stream is named. Its end is the end of it."""
        relay = self.start_relay(streams=[stream(create=True), stream("INVOICES", "invoices.>")],
                                 health=health(stall_after="2s"), **QUICK)
        shop = self.open_shop()
        self.publish("invoices.sent", "k", 3)
        self.wait_for_page(relay, "/readyz", 503, "nothing was acknowledged for", "INVOICES", "stream not found")
        self.wait_for_log(relay, level="error", msg="stalled", why="INVOICES")
        before = self.status(relay)["streams"][0]["acks_total"]
        self.wait(lambda: self.status(relay)["streams"][0]["acks_total"] > before, "the other stream to move")
        self.assertEqual(relay.get("/readyz")[0], 503)
        with self.jetstream() as jetstream:
            jetstream.create("INVOICES", ["invoices.>"])
        self.wait_for_page(relay, "/readyz", 200)
        self.wait_for_log(relay, level="info", msg="moving again")
        shop.stop()
        self.wait_settled()

    def test_a_leader_that_does_nothing(self):
        """A dead relay's backend keeps the lock. The relay that stands by says so, and names the session."""
        holder = self.connect(RELAY)
        with holder.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(1651472488, 1)")
            cursor.execute("SELECT pg_backend_pid()")
            pid = cursor.fetchone()[0]
        relay = self.start_relay(health=health(stall_after="2s"), **QUICK)
        self.wait_for_page(relay, "/readyz", 200, "ready: Standing by: ", " leads\n")
        time.sleep(3)
        self.assertEqual(relay.get("/readyz")[0], 200, "nothing waits")
        self.writer("w").write("k", 5).commit()
        self.wait_for_page(relay, "/readyz", 503, "holds the lead and sends nothing", f"pg_terminate_backend({pid})")
        self.sql("SELECT pg_terminate_backend(%s)", (pid,))
        self.wait_for_page(relay, "/readyz", 200, "ready: All is delivered")
        self.audit()

    def test_a_standby_of_a_leader_that_works(self):
        """There is always something that waits, and the position moves: for longer than it may stand still."""
        # What waits has waited for a minute: the position alone can tell.
        self.sql("ALTER TABLE boxhaul.outbox ALTER created_at SET DEFAULT clock_timestamp() - interval '1 min'")
        self.start_relay(outbox={"gap_grace": "0s"})  # an id that is rolled back does not hold the position
        standby = self.start_relay(health=health(stall_after="10s"), **QUICK)
        shop = self.open_shop(habits=Habits(pause=0.05))
        end = time.monotonic() + 15
        while time.monotonic() < end:
            time.sleep(0.5)
            self.assertEqual((standby.get("/readyz")[0], self.status(standby)["state"]), (200, "standby"))
        self.pg.freeze()
        self.addCleanup(self.pg.thaw)
        for _ in range(24):
            time.sleep(0.5)
            self.assertNotIn("holds the lead", standby.get("/readyz")[1], "who cannot look blames nobody")
        self.pg.thaw()
        shop.stop()
        self.audit()

    def test_a_standby_of_a_paused_leader(self):
        """Rows wait and the position stands still, as it is meant to."""
        leader, standby = self.start_relay(), self.start_relay(health=health(stall_after="1s"), **QUICK)
        self.sql("SELECT boxhaul.pause('me')")
        self.writer("w").write("k", 5).commit()

        def looks():
            return self.sample(standby, "postgres_statements_total", statement="backlog")
        self.wait(lambda: self.sql("SELECT clock_timestamp() - max(created_at) > '3 s' FROM boxhaul.outbox")[0][0],
                  "the rows to wait for longer than is allowed")
        before = looks()
        self.wait(lambda: looks() > before + 4, "the standby to look again and again")
        self.assertEqual((standby.get("/readyz")[0], self.status(standby)["state"]), (200, "standby"))
        self.assertRegex(leader.get("/readyz")[1], "^ready: Paused by me .*: nothing is sent")
        self.assertEqual(self.count(), 0)
        self.sql("SELECT boxhaul.resume()")
        self.audit()


class Outline(HTMLParser):
    """Every element is closed in its turn, and nothing is asked for that is not beside the page."""

    VOID = {"meta", "link", "line", "path"}

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.addresses, self.text = [], [], [], ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.ids += [attrs["id"]] if "id" in attrs else []
        self.addresses += [attrs[name] for name in ("src", "href") if name in attrs]
        assert "style" not in attrs and not any(name.startswith("on") for name in attrs), (tag, attrs)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        assert tag in self.VOID, tag

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"{tag} is closed out of turn"

    def handle_data(self, data):
        self.text += data


class Page(HealthTest):
    # Whatever stands in the table beside the names of the streams.
    BROKEN = """[...document.querySelectorAll("th, td + td")].filter(cell => {
        const text = document.createRange();
        text.selectNodeContents(cell);
        return text.getClientRects().length > 1;
    }).map(cell => cell.textContent).join()"""

    def outline(self, relay):
        code, headers, body = self.ask(relay, "GET", "/")
        self.assertEqual((code, headers["Content-Type"]), (200, "text/html; charset=utf-8"))
        outline = Outline(body.decode())
        self.assertEqual((outline.open, len(outline.ids)), ([], len(set(outline.ids))))
        self.assertNotRegex(body.decode(), r"\{\{|\}\}|https?://")
        return outline

    def test_it_stands_alone(self):
        relay = self.start_relay()
        self.assertEqual(set(self.outline(relay).addresses), {"data:,", "page.css", "page.js", "status", "metrics", "readyz"})
        size = 0
        for path in ("/", "/page.css", "/page.js"):
            _, headers, body = self.ask(relay, "GET", path)
            policy = headers["Content-Security-Policy"]
            self.assertIn("default-src 'none'", policy)
            self.assertNotIn("unsafe", policy)
            self.assertEqual(headers["X-Content-Type-Options"], "nosniff")
            size += len(body)
            if path != "/":
                self.assertNotRegex(body.decode(), r"https?:|//[a-z]|@import|url\(")
        self.assertLess(size, 32 << 10)

    # What is told of a subscription, and what stands in the column "verified".
    PROOFS = (("{}", "-"), ("{sink_different: 3, sink_unproved_tables: 1, sink_proved_seconds: null}", "3 rows differ"),
              ("{sink_different: 10000, sink_unproved_tables: 1, sink_proved_seconds: null}", "at least 10,000 rows differ"),
              ("{sink_different: 0, sink_unproved_tables: 2, sink_proved_seconds: null}", "2 tables not verified"),
              ("{sink_different: 0, sink_unproved_tables: 0, sink_proved_seconds: 75}", "equal, 75 s ago"))

    def shown(self, browser):
        """What somebody sees at a glance: (colour by state, sentence, advice, list of what needs somebody)."""
        return browser.evaluate("""[document.getElementById("head").className, document.getElementById("state").textContent,
            document.getElementById("action").textContent, document.getElementById("problems").textContent]""")

    def see(self, browser, relay, state, sentence, name):
        """The browser shows the state, in the words of /status and /readyz, whatever is in the page."""
        def same():
            status, page, shown = self.status(relay), relay.get("/readyz"), self.shown(browser)
            advice = (status["action"] or "").replace("`", "")
            return (shown[:3] == [status["state"], status["summary"], advice] and status["state"] == state
                    and page[1].startswith(f"{'ready' if status['ready'] else 'not ready'}: {status['summary']}\n")
                    and re.search(sentence, status["summary"]) and status)
        status = self.wait(same, f"{state}: {sentence} to be shown")
        self.shoot(browser, name)
        return status

    @unittest.skipUnless(chromium(), "there is no chromium here: apt-get install chromium (400 MB)")
    def test_every_state_in_a_browser(self):
        """As it looks for somebody who has ten seconds. What may contain anything stands in it as text."""
        strange = 'A<B&"C"'
        relay = self.start_relay(streams=[stream(create=True), stream(strange, "strange.>")],
                                 health=health(stall_after="3s"), delivery={**QUICK["delivery"], "poison": "hold"})
        url = f"http://{relay.settings['health']['listen']}/"
        with Browser(self.workspace.path("states")) as browser:
            browser.screen(1000, 1000)
            browser.open(url)
            status = self.see(browser, relay, "ok", "^All is delivered$", "ok")
            self.assertEqual((status["problems"], self.shown(browser)[3]), ([], ""))

            command = f"`boxhaul resume -c {relay.config}` goes on"
            self.sql("SELECT boxhaul.pause('<b>me</b>', 'to look at it')")
            self.publish("orders.x", "k", 3)
            status = self.see(browser, relay, "paused", "^Paused by <b>me</b> since .*: to look at it: nothing is sent; 3 messages wait,",
                              "paused")
            self.assertEqual((status["ready"], status["action"], self.sample(relay, "state", state="paused")), (True, command, 1))
            self.assertEqual([p["summary"] for p in status["problems"]], [status["summary"]])
            self.sql("SELECT boxhaul.resume()")
            self.see(browser, relay, "ok", "^All is delivered$", "ok-again")

            self.insert_illegal("held")
            self.publish("orders.x", "held")
            status = self.see(browser, relay, "degraded", "^1 dead letter holds back what follows with the same key$", "degraded")
            self.assertIn(f"boxhaul dead-letters list -c {relay.config}", status["action"])
            self.assertTrue(status["ready"])

            self.publish("strange.x", "k")
            status = self.see(browser, relay, "stalled", f"^Stalled: nothing was acknowledged for .* stream {re.escape(strange)}: .*stream not found",
                              "stalled")
            self.assertEqual((status["ready"], len(status["problems"])), (False, 2))
            self.assertIn("1 dead letter holds back", self.shown(browser)[3])

            standby = self.start_relay()
            browser.open(f"http://{standby.settings['health']['listen']}/")
            self.see(browser, standby, "standby", f"^Standing by: {self.database} on .*, process {relay.pid} leads$", "standby")
            self.pg.stop()
            self.see(browser, standby, "stalled", "^PostgreSQL is not connected: ", "no-database")
            self.assertEqual(browser.complaints(), [])

    @unittest.skipUnless(chromium(), "there is no chromium here: apt-get install chromium (400 MB)")
    def test_in_a_browser(self):
        """Lives, on a phone and without a mouse, and says so when the relay is gone. Without scripts it says where to look."""
        relay = self.start_relay(streams=[stream(create=True), stream("INVOICES", "invoices.>"),
                                          stream("ALL_THE_" + "RATHER_" * 5 + "LONG_NAMES", "long.>", create=True)],
                                 health=health(stall_after="1s"), **QUICK)
        url = f"http://{relay.settings['health']['listen']}/"
        state = "document.getElementById('state').textContent"
        with Browser(self.workspace.path("browser")) as browser:
            browser.screen(1000, 1000)
            browser.open(url)
            browser.wait(f"{state} === 'All is delivered'", "the state to be shown")
            for told, said in self.PROOFS:
                self.assertEqual(browser.evaluate(f"proof({told})"), said)
            self.assertEqual(browser.evaluate("share({rows: 1200, estimate_rows: 5000, rate: 100})"), "24 %, 38 s left")
            self.publish("invoices.sent", "k", 3)
            browser.wait(f"{state}.startsWith('Stalled: nothing was acknowledged')", "the stall to be shown")
            for width, dark in ((1000, False), (1000, True), (360, False), (360, True)):
                browser.screen(width, 1000, dark)
                self.assertLessEqual(browser.evaluate("document.documentElement.scrollWidth"), width)
                self.assertEqual(browser.evaluate(self.BROKEN), "", "what is written over more than one line in the table")
                self.shoot(browser, f"stalled-{width}-{'dark' if dark else 'light'}")
            browser.press("Tab")
            self.assertEqual(browser.evaluate("document.activeElement.textContent"), "status as JSON")
            self.assertEqual(browser.complaints(), [])
            self.assertTrue(all(address.startswith((url, "data:")) for address in browser.requests()), browser.requests())
            self.assertGreater(len(browser.requests()), 4)
            relay.stop()
            browser.wait(f"{state}.startsWith('The relay does not answer')", "the silence to be shown")
            self.shoot(browser, "gone")
            relay.start().wait_until_ready()
            browser.wait(f"!{state}.startsWith('The relay')", "the page to come back")
            browser.call("Emulation.setScriptExecutionDisabled", value=True)
            browser.open(url)
            self.assertIn("curl 127.0.0.1:9431/readyz", browser.evaluate("document.body.innerText"))
            self.assertFalse(browser.evaluate("document.getElementById('body').checkVisibility()"), "empty tables")
            self.shoot(browser, "no-script")

    @staticmethod
    def shoot(browser, name):
        """For those who want to look at it."""
        if directory := os.environ.get("BOXHAUL_SCREENSHOTS"):
            browser.screenshot(os.path.join(directory, f"{name}.png"))


class Crowd(HealthTest):
    """More strangers at the health port than it takes. It costs them, not the relay."""

    PEOPLE = 10000
    GARBAGE = (b"\0" * 4096, b"\xff\xfe\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 512,
               b"GET /" + b"x" * 1000000, b"GET / HTTP/1.1\r\nX: " + b"x" * 1000000 + b"\r\n\r\n",
               b"GET /livez HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(10000)) + b"\r\n",
               b"POST /status HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
               b"POST /status HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n" + b"y" * 100000,
               b"GET /livez HTTP/9.9\r\n\r\n", b"/livez\r\n\r\n", b"\r\n" * 1000)

    def setUp(self):
        super().setUp()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        self.people = min(self.PEOPLE, hard - 200)

    def peak(self, relay):
        with open(f"/proc/{relay.pid}/status", encoding="ascii") as f:
            return next(int(line.split()[1]) * 1024 for line in f if line.startswith("VmHWM"))

    def test_idle_and_dripping_connections(self):
        """Thousands that say nothing, and some that say a byte at a time. Messages are delivered meanwhile; when the
        crowd is gone, and be it thrown out, the port answers."""
        # Else AddressSanitizer keeps for a while what was given back.
        frugal = f"{os.environ.get('ASAN_OPTIONS', '')}:quarantine_size_mb=1"
        relay = self.add_relay().start({"ASAN_OPTIONS": frugal}).wait_until_ready()
        before = self.peak(relay)
        with contextlib.ExitStack() as stack:
            crowd = []
            for _ in range(self.people):
                s = stack.enter_context(socket.socket())
                s.setblocking(False)
                with contextlib.suppress(OSError):
                    s.connect(self.address(relay))
                crowd.append(s)
            for n in range(20):
                for s in crowd[::50]:
                    with contextlib.suppress(OSError):
                        s.send(b"GET /livez HTTP/1.1\r\n"[n:n + 1])
                self.writer(f"w{n}").write("k").commit()
                self.wait_for_messages(n + 1)
        self.wait_for_page(relay, "/livez", 200)
        self.audit()
        self.assertLess(self.peak(relay) - before, 32 << 20)

    def test_garbage_and_slow_clients(self):
        relay = self.start_relay()
        with contextlib.ExitStack() as stack:
            def connect():
                return stack.enter_context(socket.create_connection(self.address(relay), 30))
            for n in range(100):
                with contextlib.suppress(OSError):
                    connect().sendall(b"GET /livez HTT"[:n % 15])
            for garbage in self.GARBAGE:
                with contextlib.suppress(OSError):  # it may hang up on us at any time
                    connect().sendall(garbage)
            self.writer("w").write("k", 20).commit()
            self.wait_for_messages(20)
            self.wait_for_page(relay, "/livez", 200)
        for garbage in self.GARBAGE:
            with contextlib.suppress(OSError), socket.create_connection(self.address(relay), 30) as s:
                s.sendall(garbage)
            self.wait_for_page(relay, "/readyz", 200)
        self.assertTrue(relay.alive())
        self.audit()

    def test_pipelined_requests(self):
        relay = self.start_relay()
        with socket.create_connection(self.address(relay), 30) as s:
            s.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n" * 49
                      + b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            answers = b""
            while chunk := s.recv(65536):
                answers += chunk
        self.assertEqual(answers.count(b"alive\n"), 50)

    def test_a_line_of_a_gigabyte(self):
        relay = self.start_relay()
        before = self.peak(relay)
        with socket.create_connection(self.address(relay), 30) as s, contextlib.suppress(OSError):
            s.sendall(b"GET /")
            for _ in range(1024):
                s.sendall(b"x" * (1 << 20))
        self.assertLess(self.peak(relay) - before, 32 << 20)
        self.wait_for_page(relay, "/readyz", 200)

    def test_a_question_in_the_crowd(self):
        """All that it has room for hold their connection and their tongue; whoever asks is answered at once all the same."""
        relay = self.start_relay()
        with contextlib.ExitStack() as stack:
            for _ in range(200):
                stack.enter_context(socket.create_connection(self.address(relay), 30)).send(b"GET /li")
            for _ in range(50):
                self.assertEqual(relay.get("/livez"), (200, "alive\n"))

    def test_a_request_that_never_ends(self):
        """A byte a second is no silence; the time for a request is up all the same. Whoever asks anew has it anew."""
        relay = self.start_relay()
        with socket.create_connection(self.address(relay), 30) as slow, \
                socket.create_connection(self.address(relay), 30) as busy:
            slow.settimeout(0.5)
            for n in range(60):
                try:
                    slow.send(b"GET /livez HTTP/1.1\r\nX-Header: " [n:n + 1] or b"x")
                    if slow.recv(100) == b"":
                        break
                except TimeoutError:
                    pass
                except OSError:
                    break
                busy.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
                self.assertIn(b"200 OK", busy.recv(4096))
            else:
                self.fail("it was never cut off")
            busy.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            self.assertIn(b"200 OK", busy.recv(4096))

    def test_a_flood_of_questions(self):
        """Several ask as fast as they can, and mix garbage in; messages are delivered meanwhile, and in order."""
        relay = self.start_relay()
        stop = threading.Event()

        def flood(path):
            request = b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path
            while not stop.is_set():
                with contextlib.suppress(OSError), socket.create_connection(self.address(relay), 30) as s:
                    s.settimeout(10)
                    s.sendall(request * 40 + b"\0garbage\xff" * 100 + request)
                    while s.recv(65536):
                        pass

        threads = [threading.Thread(target=flood, args=(path,)) for path in (b"/metrics", b"/", b"/status", b"/nothing")]
        for thread in threads:
            thread.start()
        try:
            shop = self.open_shop(clients=2)
            self.let_trade(1000)
            shop.stop()
            self.wait_settled()
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        self.audit()
        self.wait_for_page(relay, "/readyz", 200)


if __name__ == "__main__":
    unittest.main()
