// A consumer in JavaScript (Node): each message takes effect once, however often it is delivered.
//
//     npm install @nats-io/transport-node @nats-io/jetstream pg
//     psql -f consume.sql
//     NATS_URL=nats://127.0.0.1:4222 DATABASE_URL=postgresql://billing@127.0.0.1/billing node consume.js

const { connect } = require("@nats-io/transport-node");
const { AckPolicy, jetstream, jetstreamManager } = require("@nats-io/jetstream");
const { Client } = require("pg");

const STREAM = "ORDERS", NAME = "billing";

// The server keeps the position under the durable name. One message at a time: so a message that is delivered again comes
// before the next one, and a key keeps its order. More in flight are faster, and give that up. A message is tried until it
// succeeds.
const CONFIG = { durable_name: NAME, ack_policy: AckPolicy.Explicit, max_ack_pending: 1, ack_wait: 30e9, max_deliver: -1 };

// What a replay sends again is the message it was at first: it has no second effect.
function idOf(message) {
    return message.headers.get("Boxhaul-Replay-Of") || message.headers.get("Nats-Msg-Id");
}

// What the message does, in the transaction that remembers it.
async function apply(db, message) {
    await db.query("INSERT INTO totals AS t VALUES ($1, 1) ON CONFLICT (subject) DO UPDATE SET messages = t.messages + 1",
        [message.subject]);
}

// Returns once the effect is committed, now or by an earlier delivery. If another consumer is about to commit the same id, the
// INSERT waits for it.
async function consume(db, message) {
    await db.query("BEGIN");
    try {
        const first = await db.query("INSERT INTO consumed (message_id) VALUES ($1) ON CONFLICT DO NOTHING", [idOf(message)]);
        if (first.rowCount === 1) await apply(db, message);
        await db.query("COMMIT");
    } catch (error) {
        await db.query("ROLLBACK");
        throw error;
    }
}

async function main() {
    const db = new Client(process.env.DATABASE_URL);
    await db.connect();
    const connection = await connect({ servers: process.env.NATS_URL ?? "nats://127.0.0.1:4222" });
    await (await jetstreamManager(connection)).consumers.add(STREAM, CONFIG);
    const consumer = await jetstream(connection).consumers.get(STREAM, NAME);
    for await (const message of await consumer.consume()) {
        await consume(db, message);
        message.ack(); // behind the commit: an end in between means one more delivery, which changes nothing
    }
}

main().catch((error) => { console.error(error); process.exit(1); });
