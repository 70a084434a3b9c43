"""What a batch (fast ingest) is worth when a cluster loses its majority and then its leader: with the newest nats-server, three nodes and a
stream on all of them.

A message that is proposed and not yet stored is *in process*. Its repeat as an ordinary publish is refused as such (10158). Within a
batch the repeat counts as stored (nats-server 2.14.10, 2.15.3): whoever sends what was not acknowledged again in a new batch is told
that all is well, and it is gone with the leader. So boxhaul settles it by ordinary publishes first."""

import json
import os
import unittest
import unittest.mock

from harness import STREAM, SystemTest

import versions
from fast_ingest import IN_PROCESS, Batch
from jetstream import JetStream
from nats_client import Client, new_inbox
from process import DEADLINE

RAW, SUBJECT = "RAW", "raw.x"
BEFORE, UNCERTAIN, BEHIND = 100, 1000, 100  # messages: stored with a majority, sent without one, sent when all is well again
SILENCE = 5.0  # seconds: a server that has mended it may answer nothing


class Cluster(SystemTest):
    """Three nodes of the newest nats-server."""

    @classmethod
    def setUpClass(cls):
        kept = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "build", "matrix")
        os.makedirs(kept, exist_ok=True)
        try:
            newest = versions.nats("newest", kept).path
        except versions.Unavailable as e:
            raise unittest.SkipTest(str(e)) from None
        cls.enterClassContext(unittest.mock.patch.dict(os.environ, NATS_SERVER=newest, NATS_NODES="3"))
        super().setUpClass()

    def nodes(self):
        return [self.nats, *self.nats.others]

    def parted(self, stream):
        """(the leader's node, the two others)"""
        def leader():
            with self.jetstream() as jetstream:
                name = jetstream.info(stream)["cluster"].get("leader")
            return next((node for node in self.nodes() if node.settings["server_name"] == name), None)
        chosen = self.wait(leader, "a leader")
        return chosen, [node for node in self.nodes() if node is not chosen]

    def leave_alone(self, stream):
        """The leader loses both others at once. kill -9, not SIGSTOP: what waits in the socket of a server that stands still is read when it
        goes on, and so is not lost."""
        leader, others = self.parted(stream)
        for node in others:
            node.kill9()
        return leader, others

    def replace(self, leader, others, stream):
        """The leader goes, and those who never heard what it had taken elect another one; only then may it come back, and be overruled:
        its log is the longer one."""
        leader.kill9()
        for node in others:
            node.spawn_only()
        for node in others:
            node.wait_listening()
        with Client(others[0].url()) as client:
            jetstream = JetStream(client, DEADLINE)
            self.wait(lambda: jetstream.info(stream)["cluster"].get("leader"), "another leader")

    def _revive(self):
        for node in self.nats.others:
            node.resume()
            if not node.alive():
                node.spawn_only()
        super()._revive()


class Facts(Cluster):
    """What the server does, asked without boxhaul."""

    def setUp(self):
        super().setUp()
        with self.jetstream() as jetstream:
            jetstream.create(RAW, ["raw.>"], num_replicas=3, allow_batched=True)

    def send(self, batch, numbers, last=False):
        for n in numbers:
            batch.send(SUBJECT, str(n).encode(), f"m-{n}", last and n == numbers[-1])

    def in_process(self):
        """A stream that holds some, whose leader is alone and has taken more; a connection to it, and the batch."""
        with self.jetstream() as jetstream:
            self.assertEqual(jetstream.info(RAW)["state"]["messages"], 0)
        leader, _others = self.parted(RAW)
        client = self.enterContext(Client(leader.url()))
        batch = Batch(client)
        self.send(batch, range(1, BEFORE + 1))
        self.wait(lambda: batch.take(SILENCE) and batch.stored == BEFORE or batch.ping(SUBJECT), "the first hundred to be stored")
        alone, others = self.leave_alone(RAW)
        self.assertIs(alone, leader)
        self.send(batch, self.uncertain)
        batch.ping(SUBJECT)
        said = len(batch.answers)
        self.wait(lambda: batch.take(SILENCE), "the ping to be answered, behind all that was taken")
        self.assertEqual({answer.kind for answer in batch.answers[said:]}, {"ack"}, batch.answers[said:])
        self.assertEqual(batch.stored, BEFORE, "nothing is stored without a majority")
        return leader, others, client

    uncertain = range(BEFORE + 1, BEFORE + UNCERTAIN + 1)

    def ask(self, client, number, deadline):
        """An ordinary publish; what it was answered, None when nothing."""
        inbox = new_inbox()
        sid = client.subscribe(inbox)
        try:
            client.publish(SUBJECT, str(number).encode(), {"Nats-Msg-Id": f"m-{number}"}, reply=inbox)
            answer = client.next(sid, deadline)
        except TimeoutError:
            return None
        finally:
            client.unsubscribe(sid)
        return None if answer.status else json.loads(answer.payload)

    def numbers(self):
        """What the stream holds, when all three are back and agree."""
        for node in self.nodes():
            if not node.alive():
                node.start()
        with self.jetstream() as jetstream:
            self.wait(lambda: all(peer.get("current") for peer in jetstream.info(RAW)["cluster"].get("replicas", [{}])), "all three to agree")
            return [int(message.payload) for message in jetstream.read(RAW)]

    def test_a_new_batch_after_silence(self):
        """The naive way. Whether it loses is the server's matter, and may be mended: it is said, and the prefix is checked."""
        leader, others, client = self.in_process()
        again = Batch(client)
        self.send(again, self.uncertain, last=True)
        ended = again.wait_ended(SILENCE)
        self.replace(leader, others, RAW)
        stored = self.numbers()
        acknowledged = range(1, BEFORE + 1 + again.stored)
        lost = sorted(set(acknowledged) - set(stored))
        print(f"\na new batch after silence, nats-server {self.nats.version()}: {again.stored} of {UNCERTAIN} acknowledged "
              f"({'with' if ended else 'without'} a PubAck), acknowledged_and_lost={len(lost)}", flush=True)
        self.assertEqual(stored[:BEFORE], list(range(1, BEFORE + 1)), "what a majority had is there")
        self.assertEqual(stored, list(range(1, len(stored) + 1)), "a prefix of what was sent")

    def test_ordinary_publishes_before_a_new_batch(self):
        leader, others, client = self.in_process()
        # The fact all rests on: none of them is acknowledged while the leader is alone.
        asked = [self.ask(client, n, 1.0) for n in (self.uncertain[0], self.uncertain[UNCERTAIN // 2], self.uncertain[-1])]
        self.assertEqual([a for a in asked if a and "error" not in a], [], "a message in process is not acknowledged")
        self.assertLessEqual({a["error"]["err_code"] for a in asked if a}, {IN_PROCESS}, asked)
        print(f"\nordinary repeats of what is in process: {[a and a['error']['err_code'] for a in asked]}", flush=True)
        self.replace(leader, others, RAW)
        with Client(others[0].url()) as other:
            for n in self.uncertain:
                self.wait(lambda n=n: (self.ask(other, n, 2.0) or {"error": 0}).get("error") is None, f"{n} to be settled", pause=0.2)
            last = Batch(other)
            self.send(last, range(BEFORE + UNCERTAIN + 1, BEFORE + UNCERTAIN + BEHIND + 1), last=True)
            self.assertTrue(last.wait_ended(DEADLINE))
        self.assertEqual(last.stored, BEHIND)
        self.assertEqual(self.numbers(), list(range(1, BEFORE + UNCERTAIN + BEHIND + 1)), "each once, in order")


class Relayed(Cluster):
    """The relay in the same place: what it has marked is stored, in order, when all is over."""

    def lose(self, send):
        """A majority and then the leader, while the relay sends so."""
        with self.jetstream() as jetstream:
            jetstream.create(STREAM, ["orders.>"], num_replicas=3, allow_batched=True)
        streams = [{"name": STREAM, "subjects": ["orders.>"], "send": send}]
        if "unknown key" in (said := self.add_relay(streams=streams).command("config", "show").stdout):
            self.skipTest(said.strip())
        relay = self.start_relay(streams=streams, nats={"urls": [node.url() for node in self.nodes()]},
                                 delivery={"ack_timeout": "2s", "retry_max": "2s"})
        writer = self.writer("w")
        for n in range(BEFORE):
            writer.write(f"k{n % 10}")
        writer.commit()
        self.wait_for_messages(BEFORE)
        self.wait_settled()
        leader, others = self.leave_alone(STREAM)
        sent = self.metric(relay, "publishes_total")
        for n in range(UNCERTAIN):
            writer.write(f"k{n}")  # by single messages, too, all of them are in flight
        writer.commit()
        self.wait(lambda: self.metric(relay, "publishes_total") > sent + UNCERTAIN, "all to be sent, and one of them again",
                  progress=lambda: self.metric(relay, "publishes_total"))
        self.assertEqual(self.position(), BEFORE, "nothing is marked that no majority has")
        self.replace(leader, others, STREAM)
        leader.start()
        for n in range(BEHIND):
            writer.write(f"k{n % 10}")
        writer.commit()
        self.audit()
        self.assertEqual(self.count(), BEFORE + UNCERTAIN + BEHIND, "each once")
        self.assertEqual(relay.stop(), 0)

    def test_single_messages(self):
        self.lose("single")

    def test_batches(self):
        self.lose("batch")


if __name__ == "__main__":
    unittest.main()
