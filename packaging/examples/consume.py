"""A consumer in Python: each message takes effect once, however often it is delivered.

    pip install nats-py 'psycopg[binary]'
    psql -f consume.sql
    NATS_URL=nats://127.0.0.1:4222 DATABASE_URL='host=/run/postgresql dbname=billing' python3 consume.py
"""

import asyncio
import os

import nats
import psycopg
from nats.js.api import ConsumerConfig

STREAM, NAME = "ORDERS", "billing"

# The server keeps the position under the durable name. One message at a time: so a message that is delivered again comes
# before the next one, and a key keeps its order. More in flight are faster, and give that up. A message is tried until it
# succeeds.
CONFIG = ConsumerConfig(max_ack_pending=1, ack_wait=30, max_deliver=-1)


def id_of(message):
    """What a replay sends again is the message it was at first: it has no second effect."""
    return message.headers.get("Boxhaul-Replay-Of") or message.headers["Nats-Msg-Id"]


async def apply(db, message):
    """What the message does, in the transaction that remembers it."""
    await db.execute("INSERT INTO totals AS t VALUES (%s, 1) ON CONFLICT (subject) DO UPDATE SET messages = t.messages + 1",
                     (message.subject,))


async def consume(db, message):
    """Returns once the effect is committed, now or by an earlier delivery. If another consumer is about to commit the same id, the
    INSERT waits for it."""
    async with db.transaction():
        first = await db.execute("INSERT INTO consumed (message_id) VALUES (%s) ON CONFLICT DO NOTHING", (id_of(message),))
        if first.rowcount == 1:
            await apply(db, message)


async def main():
    async with await psycopg.AsyncConnection.connect(os.environ.get("DATABASE_URL", ""), autocommit=True) as db:
        connection = await nats.connect(os.environ.get("NATS_URL", "nats://127.0.0.1:4222"))
        messages = await connection.jetstream().pull_subscribe("", durable=NAME, stream=STREAM, config=CONFIG)
        while True:
            try:
                [message] = await messages.fetch(1, timeout=5)
            except nats.errors.TimeoutError:
                continue
            await consume(db, message)
            await message.ack()  # behind the commit: an end in between means one more delivery, which changes nothing


if __name__ == "__main__":
    asyncio.run(main())
