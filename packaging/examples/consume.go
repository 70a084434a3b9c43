// A consumer in Go: each message takes effect once, however often it is delivered.
//
//	go mod init billing && go get github.com/nats-io/nats.go github.com/jackc/pgx/v5
//	psql -f consume.sql
//	NATS_URL=nats://127.0.0.1:4222 DATABASE_URL='host=/run/postgresql dbname=billing' go run consume.go
package main

import (
	"context"
	"log"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const stream, name = "ORDERS", "billing"

// The server keeps the position under the durable name. One message at a time: so a message that is delivered again comes
// before the next one, and a key keeps its order. More in flight are faster, and give that up. A message is tried until it
// succeeds.
var config = jetstream.ConsumerConfig{Durable: name, AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 1,
	AckWait: 30 * time.Second, MaxDeliver: -1}

// idOf tells messages apart. What a replay sends again is the message it was at first: it has no second effect.
func idOf(message jetstream.Msg) string {
	if id := message.Headers().Get("Boxhaul-Replay-Of"); id != "" {
		return id
	}
	return message.Headers().Get("Nats-Msg-Id")
}

// apply is what the message does, in the transaction that remembers it.
func apply(ctx context.Context, tx pgx.Tx, message jetstream.Msg) error {
	_, err := tx.Exec(ctx, "INSERT INTO totals AS t VALUES ($1, 1) ON CONFLICT (subject) DO UPDATE SET messages = t.messages + 1",
		message.Subject())
	return err
}

// consume returns once the effect is committed, now or by an earlier delivery. If another consumer is about to commit the same
// id, the INSERT waits for it.
func consume(ctx context.Context, db *pgx.Conn, message jetstream.Msg) error {
	return pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		first, err := tx.Exec(ctx, "INSERT INTO consumed (message_id) VALUES ($1) ON CONFLICT DO NOTHING", idOf(message))
		if err != nil || first.RowsAffected() == 0 {
			return err
		}
		return apply(ctx, tx, message)
	})
}

func run(ctx context.Context) error {
	db, err := pgx.Connect(ctx, os.Getenv("DATABASE_URL"))
	if err != nil {
		return err
	}
	connection, err := nats.Connect(os.Getenv("NATS_URL"))
	if err != nil {
		return err
	}
	js, err := jetstream.New(connection)
	if err != nil {
		return err
	}
	consumer, err := js.CreateOrUpdateConsumer(ctx, stream, config)
	if err != nil {
		return err
	}
	// A heartbeat that is late under load is asked for again, and ends nothing.
	messages, err := consumer.Messages(jetstream.WithMessagesErrOnMissingHeartbeat(false))
	if err != nil {
		return err
	}
	for {
		message, err := messages.Next()
		if err != nil {
			return err
		}
		if err := consume(ctx, db, message); err != nil {
			return err
		}
		// Behind the commit: an end in between means one more delivery, which changes nothing.
		if err := message.Ack(); err != nil {
			return err
		}
	}
}

func main() {
	log.Fatal(run(context.Background()))
}
