// A worker in Go: each message of a subscription takes effect once, in order per key.
//
//	go mod init billing && go get github.com/jackc/pgx/v5
//	psql -c 'GRANT boxhaul_handler TO billing_worker'
//	DATABASE_URL='host=/run/postgresql dbname=billing' go run worker.go
//
// Start as many as you like. One that is killed leaves nothing behind: its transaction is rolled back, and the rows come again.
package main

import (
	"context"
	"errors"
	"log"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const subscription, rows = "billing", 10

type message struct {
	Lane    int32
	ID      int64
	Subject string
	Key     *string
	Payload []byte
}

// apply is what the message does, in the transaction that says that it is done. Its error is the message's failure.
func apply(ctx context.Context, tx pgx.Tx, m message) error {
	_, err := tx.Exec(ctx, "INSERT INTO totals AS t VALUES ($1, 1) ON CONFLICT (subject) DO UPDATE SET messages = t.messages + 1",
		m.Subject)
	return err
}

// failure is an error and the message that it is about.
type failure struct {
	message
	error
}

// isOutage says that the error tells nothing about the message: connections, conflicts, resources, shutdown, locks. It is no attempt.
func isOutage(err error) bool {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return true
	}
	return strings.Contains("08 40 53 57 58", pg.Code[:2]) || pg.Code == "25006" || pg.Code == "55P03"
}

// turn is one transaction. It returns how many messages took effect.
func turn(ctx context.Context, db *pgx.Conn) (int, error) {
	var messages []message
	err := pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		found, err := tx.Query(ctx, "SELECT lane, id, subject, key, payload FROM boxhaul.receive($1, $2)", subscription, rows)
		if err != nil {
			return err
		}
		messages, err = pgx.CollectRows(found, pgx.RowToStructByPos[message])
		if err != nil || len(messages) == 0 {
			return err
		}
		for _, m := range messages {
			if err := apply(ctx, tx, m); err != nil {
				return failure{m, err}
			}
		}
		_, err = tx.Exec(ctx, "SELECT boxhaul.done($1)", subscription)
		return err
	})
	var f failure
	if errors.As(err, &f) && !isOutage(f.error) {
		// It comes again after a pause, and what follows in its key waits behind it. Other keys go on.
		_, err = db.Exec(ctx, "SELECT boxhaul.failed($1, $2, $3, $4)", subscription, f.Lane, f.ID, f.Error())
	}
	return len(messages), err
}

func work(ctx context.Context) error {
	db, err := pgx.Connect(ctx, os.Getenv("DATABASE_URL"))
	if err != nil {
		return err
	}
	defer db.Close(ctx)
	if _, err := db.Exec(ctx, "LISTEN boxhaul_inbox"); err != nil {
		return err
	}
	for {
		n, err := turn(ctx, db)
		if err != nil {
			return err
		}
		if n == 0 {
			second, cancel := context.WithTimeout(ctx, time.Second)
			_, err = db.WaitForNotification(second)
			cancel()
			if err != nil && !errors.Is(err, context.DeadlineExceeded) {
				return err
			}
		}
	}
}

func main() {
	for {
		log.Print(work(context.Background()))
		time.Sleep(time.Second)
	}
}
