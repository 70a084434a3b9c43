// pgx: an order and its messages, in one transaction.
//
//	go get github.com/jackc/pgx/v5
//	DATABASE_URL=postgresql://shop@localhost/shop go run order_pgx.go
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"strconv"

	"github.com/jackc/pgx/v5"
)

func send(ctx context.Context, tx pgx.Tx, subject, key string, payload []byte, headers map[string]string) (id int64, err error) {
	err = tx.QueryRow(ctx, "INSERT INTO boxhaul.outgoing (subject, key, payload, headers) VALUES ($1, $2, $3, $4) RETURNING id",
		subject, key, payload, headers).Scan(&id) // a nil map is NULL
	return id, err
}

func main() {
	ctx := context.Background()
	db, err := pgx.Connect(ctx, os.Getenv("DATABASE_URL"))
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close(ctx)
	var order, created, paid int64
	err = pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error { // commits, or rolls back when an error is returned
		err := tx.QueryRow(ctx, "INSERT INTO orders (customer) VALUES ($1) RETURNING id", "Ada").Scan(&order)
		if err != nil {
			return err
		}
		key, body := strconv.FormatInt(order, 10), []byte(fmt.Sprintf(`{"order": %d}`, order))
		if created, err = send(ctx, tx, "orders.created", key, body, map[string]string{"Trace": "a-1"}); err != nil {
			return err
		}
		paid, err = send(ctx, tx, "orders.paid", key, body, nil)
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(order, created, paid)
}
