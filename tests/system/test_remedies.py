"""Advice about streams, accounts and rights, followed to the letter while messages wait: all of them arrive, once and in order.
tests/remedies.md lists every advice."""

import re
import unittest

from harness import STREAM
from jetstream import SECOND, JetStream
from nats_client import Client
from remedies import RemedyTest
from servers import Nats, NatsCluster

ORDERS = {"name": STREAM, "subjects": ["orders.>"]}


class Streams(RemedyTest):
    """What `check` says of a stream, and the command that it ends with."""

    def edit(self, words, **config):
        """A stream, a backlog that it may not take, and the command of `check`."""
        with self.jetstream() as js:
            if config:
                js.create(STREAM, **{"subjects": ["orders.>"], **config})
            relay = self.add_quick().start()
            self.insert(5)
            self.run_nats(self.said(relay, words), js)
            self.assertNotRegex(relay.command("check").stdout, words)
        self.insert(5)
        self.judge(relay)

    def test_a_subject_is_added(self):
        self.edit("FAIL .*does not take orders.>: nats stream edit", subjects=["unused", "else.>"])
        with self.jetstream() as js:
            self.assertEqual(js.info(STREAM)["config"]["subjects"], ["unused", "else.>", "orders.>"])

    def test_acknowledgements_are_switched_on(self):
        self.edit("FAIL .*no_ack is on, nothing can be known to be stored: nats stream edit", no_ack=True)

    def test_the_duplicate_window_is_widened(self):
        self.edit("warn .*the duplicate window is 1000 ms, .*: nats stream edit", duplicate_window=SECOND)

    def test_it_is_added(self):
        self.edit("FAIL .*it does not exist: nats stream add")

    def test_it_is_created(self):
        """The other half: "or set create = true"."""
        relay = self.add_quick().start()
        self.insert(5)
        for words in ("create it, or set create = true", "FAIL .*, or set create = true"):
            self.said(relay, words)
        relay.stop()
        relay.configure({**relay.settings, "streams": [{**ORDERS, "create": True}]})
        self.judge(relay.start())

    def test_discard_old_and_full(self):
        """Before it is full; then it is full, and what it says then is done."""
        with self.jetstream() as js:
            js.create(STREAM, ["orders.>"], discard="old", max_msgs=3)
            self.insert(5)
            relay = self.add_quick()
            self.run_nats(self.said(relay, "warn .*discard old deletes unread messages when it is full: nats stream edit"), js)
            relay.start()
            self.said(relay, r"FAIL .*it is full \(3 of 3 messages\): it takes nothing: consume or purge messages, or raise the limit")
            self.assertEqual(self.bodies(), self.inserted[:3])
            js.update(STREAM, max_msgs=-1)
        self.judge(relay)

    def test_larger_messages(self):
        """One has become a dead letter by then: what is said of it is done, too."""
        with self.jetstream() as js:
            js.create(STREAM, ["orders.>"], max_msg_size=1000)
            relay = self.add_quick().start()
            self.insert(1)
            self.insert(1, size=2000)
            line = self.said(relay, "^1 message was given up|`boxhaul dead-letters list .*; then redrive or discard")
            self.assertIn("larger than the stream's max_msg_size", self.run_boxhaul(line))
            self.run_nats(self.said(relay, "warn .*larger messages become dead letters: nats stream edit"), js)
        self.assertEqual(relay.command("dead-letters", "redrive", "--all").returncode, 0)
        self.insert(3, size=2000)
        self.judge(relay)

    def test_letters_of_a_relay_that_is_stopped(self):
        """As `check` says it before anybody leads; with the choice to give one up."""
        relay = self.add_quick(create=True).start()
        self.insert_illegal("k", 2)
        self.insert(2)
        self.wait(lambda: self.count() == 2, "the others")
        self.wait_settled()
        relay.stop()
        self.insert(2)
        listed = self.run_boxhaul(self.said(relay, "warn  dead letters: there are 2: `boxhaul dead-letters list .*` shows them"))
        ids = re.findall(r"(?m)^(\d+) ", listed)
        self.assertEqual(len(ids), 2)
        self.assertEqual(relay.command("dead-letters", "discard", "--yes", *ids).returncode, 0)
        relay.start()
        self.wait_settled()
        self.assertEqual(self.bodies(), self.inserted)

    def test_another_stream_than_a_sealed_one(self):
        with self.jetstream() as js:
            js.create(STREAM, ["orders.>"])
            relay = self.add_quick().start()
            self.insert(3)
            self.wait_settled()
            js.update(STREAM, sealed=True)
            self.insert(3)
            for words in ("FAIL .*it is sealed and takes nothing: ", "not ready: .*the stream is sealed: "):
                self.assertIn("take these subjects out of it, then configure another stream for them", self.said(relay, words))
            js.update(STREAM, subjects=["orders_of_last_year.>"])
            relay.stop()
            relay.configure({**relay.settings, "streams": [{**ORDERS, "name": "ORDERS2", "create": True}]})
            relay.start()
            self.wait_settled()
        relay.wait_until_ready()
        self.assertEqual(self.bodies() + self.bodies("ORDERS2"), self.inserted)

    def test_the_origin_of_a_mirror(self):
        with self.jetstream() as js:
            js.create("ORIGIN", ["orders.>"])
            js.create(STREAM, [], mirror={"name": "ORIGIN"})
            relay = self.add_quick().start()
            self.insert(5)
            for words in ("FAIL .*it is a mirror and takes nothing: configure its origin", "the stream is a mirror and takes nothing"):
                self.said(relay, words)
            relay.stop()
            relay.configure({**relay.settings, "streams": [{**ORDERS, "name": "ORIGIN"}]})
            relay.start()
            self.judge(relay, "ORIGIN")
            js.delete(STREAM)

    def test_a_subject_is_taken_out_of_the_configuration(self):
        """The other way: "or take it out of the configuration". What waits for it is held, and follows when a stream takes it."""
        with self.jetstream() as js:
            js.create(STREAM, ["orders.>"])
            relay = self.add_quick(streams=[{**ORDERS, "subjects": ["orders.>", "bills.>"]}]).start()
            self.insert(2, "bills.x")
            self.said(relay, "the stream does not take bills.>: add the subject to it, or take it out of the configuration")
            relay.stop()
            relay.configure({**relay.settings, "streams": [ORDERS]})
            relay.start()
            line = self.said(relay, "`boxhaul status .*` says which; add their subjects to a stream of the configuration, then restart")
            self.assertIn("message 1, subject bills.x", self.run_boxhaul(line))
            relay.stop()
            relay.configure({**relay.settings, "streams": [ORDERS, {"name": "BILLS", "subjects": ["bills.>"], "create": True}]})
            relay.start()
            self.judge(relay, "BILLS")

    def test_another_stream_that_takes_the_subject(self):
        """Both halves: "name that one in the configuration, or take the subject out of it"."""
        with self.jetstream() as js:
            js.create("OLD", ["orders.>"])
            js.create(STREAM, ["unused"])
            relay = self.add_quick().start()
            self.insert(3)
            self.said(relay, "takes the subject: OLD: name that one in the configuration, or take the subject out of it")
            stored = js.count("OLD")
            relay.stop()
            relay.configure({**relay.settings, "streams": [{**ORDERS, "name": "OLD"}]})
            relay.start()
            self.judge(relay, "OLD")
            self.assertLessEqual(stored, 1)

    def test_a_domain_that_nobody_answers_in(self):
        with self.jetstream() as js:
            js.create(STREAM, ["orders.>"])
        relay = self.add_quick(nats={"urls": [self.nats.url()], "jetstream_domain": "hub"}).start()
        self.insert(3)
        self.said(relay, "FAIL .*nobody answers for JetStream at .JS.hub.API: look at nats.jetstream_domain and nats.jetstream_prefix")
        relay.stop()
        relay.configure({**relay.settings, "nats": {"urls": [self.nats.url()]}})
        self.judge(relay.start())

    def test_replicas(self):
        cluster = self.workspace.add(NatsCluster(self.workspace.path(f"{self.database}.cluster"))).start()
        with Client(cluster.url()) as client:
            js = JetStream(client, 60)
            js.create(STREAM, ["orders.>"], num_replicas=1)
            relay = self.add_quick(nats={"urls": [cluster.url()]}, streams=[{**ORDERS, "replicas": 3}])
            self.insert(5)
            self.run_nats(self.said(relay, "warn .*1 replicas, the configuration says 3: nats stream edit"), js)
            relay.start()
            self.wait_settled()
            self.assertEqual([m.payload.decode() for m in js.read(STREAM)], self.inserted)
            self.assertEqual(js.info(STREAM)["config"]["num_replicas"], 3)
        relay.stop()
        cluster.close()


class Accounts(RemedyTest):
    """What the server of NATS refuses to a whole account. Its configuration is changed, and it is restarted."""

    nats_settings = {"no_auth_user": "u", "accounts": {
        "A": {"jetstream": {"max_streams": 1}, "users": [{"user": "u", "password": "p"}]},
        "B": {"users": [{"user": "b", "password": "p"}]}}}

    def refused(self, words, user=None):
        relay = self.add_quick(True, nats={"urls": [self.nats.url(user, "p" if user else None)]}).start()
        self.insert(5)
        self.said(relay, words)
        return relay

    def test_one_of_its_streams_is_deleted(self):
        with self.jetstream() as js:
            js.create("OTHER", ["other"])
            relay = self.refused("raise the account's number of streams, or delete one")
            js.delete("OTHER")
        self.judge(relay)

    def test_it_may_have_more_streams(self):
        with self.jetstream() as js:
            js.create("OTHER", ["other"])
        relay = self.refused("raise the account's number of streams, or delete one")
        self.restart_with(2)
        self.judge(relay)
        relay.stop()
        with self.jetstream() as js:
            js.delete("OTHER")
        self.restart_with(1)

    def restart_with(self, streams):
        self.nats.stop()
        self.nats.settings["accounts"]["A"]["jetstream"]["max_streams"] = streams
        self.nats.start()

    def test_jetstream_is_enabled_for_it(self):
        relay = self.refused("enable JetStream for this account|JetStream does not answer: is it enabled for this account", "b")
        self.said(relay, "FAIL .*JetStream is off for this login's account: add jetstream: enabled to the account")
        self.nats.stop()
        self.nats.settings["accounts"]["B"]["jetstream"] = "enabled"
        self.nats.start()
        self.wait_settled()
        relay.wait_until_ready()
        with Client(self.nats.url("b", "p")) as client:
            self.assertEqual([m.payload.decode() for m in JetStream(client).read(STREAM)], self.inserted)


class ServerWithout(Nats):
    def _greets(self):
        return '"server_id"' in self._greeting()


class Rights(RemedyTest):
    """A right that a login lacks, by its name."""

    nats_settings = {"authorization": {"users": [
        {"user": "admin", "password": "p"},
        {"user": "relay", "password": "p", "permissions": {"publish": [], "subscribe": []}}]}}
    ALL = ["orders.>", f"$JS.API.STREAM.INFO.{STREAM}", f"$JS.API.STREAM.MSG.GET.{STREAM}"]

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        plain = cls.nats.url
        cls.nats.url = lambda user="admin", password="p", **more: plain(user=user, password=password, **more)

    def setUp(self):
        super().setUp()
        with self.jetstream() as js:
            js.create(STREAM, ["orders.>"])

    def grant(self, publish, subscribe):
        """The server reads its configuration again: connections stay, what they may do changes."""
        self.nats.stop()
        self.nats.settings["authorization"]["users"][1]["permissions"] = {"publish": publish or ["none"], "subscribe": subscribe or ["none"]}
        self.nats.start()

    def lacks(self, words, publish=(), subscribe=("_INBOX.>",)):
        self.grant(list(publish), list(subscribe))
        relay = self.add_quick(nats={"urls": [self.nats.url("relay", "p")]}).start()
        self.insert(5)
        return relay, self.said(relay, words)

    def test_to_hear_answers(self):
        relay, line = self.lacks(r"no answer can reach us: let this login subscribe to (\S+) ", self.ALL, ())
        self.grant(self.ALL, [re.search("subscribe to (\\S+) ", line)[1]])
        self.judge(relay)

    def test_to_ask_for_the_stream(self):
        """It delivers without; check asks for it."""
        relay, line = self.lacks("FAIL .*no answer: let this login publish to ", ["orders.>"])
        publish, subscribe = re.search(r"let this login publish to (\S+) and subscribe to (\S+)", line).groups()
        self.grant(["orders.>", publish], [subscribe])
        line = self.said(relay, "warn .*no answer to .*MSG.GET.*: let this login publish to it, or messages may be stored twice")
        self.grant(["orders.>", publish, re.search(r"no answer to (\S+):", line)[1]], [subscribe])
        self.judge(relay)
        self.assertNotRegex(relay.command("check").stdout, "let this login")

    def test_to_look_at_what_it_holds(self):
        """After a crash, with messages stored that are not marked: those are not stored again."""
        self.grant(["orders.>", self.ALL[1]], ["_INBOX.>"])
        relay = self.add_quick(nats={"urls": [self.nats.url("relay", "p")]}, delivery={"mark_interval": "10s", "ack_timeout": "25s"},
                               outbox={"lease": "1m"}).start()
        self.insert(5)
        self.wait_for_messages(5)
        relay.kill9()
        relay.start()
        line = self.said(relay, "may not look at what the stream holds: .*let this login publish to")
        rights = [right.replace("<stream>", STREAM) for right in re.findall(r"\$JS\S+<stream>", line)]
        self.assertEqual(rights, self.ALL[1:])
        relay.kill9()
        self.grant(["orders.>", *rights], ["_INBOX.>"])
        self.insert(5)
        relay.start()
        self.judge(relay)

    def test_to_look_at_a_stream_that_is_owned(self):
        """Without a look nothing is sent to it."""
        self.grant(["orders.>"], ["_INBOX.>"])
        stream = {"name": STREAM, "subjects": ["orders.>"], "owned": True}
        relay = self.add_quick(nats={"urls": [self.nats.url("relay", "p")]}, streams=[stream]).start()
        self.insert(5)
        line = self.said(relay, "this login may not look at what the stream holds, and it is owned: let it publish to")
        self.assertEqual(self.count(), 0)
        self.grant(["orders.>", *(right.replace("<stream>", STREAM) for right in re.findall(r"\$JS\S+<stream>", line))], ["_INBOX.>"])
        self.judge(relay)

    def test_to_publish_to_a_subject(self):
        """The runbook, exceptions: grant the permission."""
        relay, _ = self.lacks("not permitted to publish to the subject", self.ALL[1:])
        self.grant(self.ALL, ["_INBOX.>"])
        self.judge(relay)


class Server(RemedyTest):
    """The configuration of the server itself."""

    def test_it_is_switched_on(self):
        server = ServerWithout(self.workspace.path(f"{self.database}.without"))
        jetstream = server.settings.pop("jetstream")
        self.mend(server, "FAIL .*nobody answers for JetStream: switch it on at the server", jetstream=jetstream)

    def test_a_mapping(self):
        server = Nats(self.workspace.path(f"{self.database}.mapped"), mappings={"orders.>": "prod.orders.>"})
        self.mend(server, "is there and takes the subject, but the message does not reach it: does a mapping of the server lead it elsewhere",
                  mappings={})

    def mend(self, server, words, **settings):
        self.workspace.add(server).start()
        relay = self.add_quick(True, nats={"urls": [server.url()]}).start()
        self.insert(5)
        self.said(relay, words)
        server.stop()
        server.settings.update(settings)
        server.start()
        self.wait_settled()
        relay.wait_until_ready()
        with Client(server.url()) as client:
            self.assertEqual([m.payload.decode() for m in JetStream(client).read(STREAM)], self.inserted)
        relay.stop()
        server.close()


if __name__ == "__main__":
    unittest.main()
