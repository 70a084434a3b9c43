// The stock in Go: the same steps as stock.py, on the same tables.
//
//	go mod init stock && go get github.com/jackc/pgx/v5
//	psql -d stock -c 'GRANT boxhaul_handler TO stock_service'
//	psql -d stock -U stock_service -f stock.sql
//	DATABASE_URL='host=/run/postgresql dbname=stock' go run stock.go
//
// Start as many as you like. One that is killed leaves nothing behind: its transaction is rolled back, and the commands come again.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"log"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const subscription, rows = "stock", 10

// order is what the steps need of the saga's data.
type order struct {
	Order    int64  `json:"order"`
	Item     string `json:"item"`
	Quantity int    `json:"quantity"`
}

// refused is a step that says no: it has done nothing, and never will. The saga is undone.
type refused string

func (r refused) Error() string { return string(r) }

// reserve holds, and does not take: others see that it is not free.
func reserve(ctx context.Context, tx pgx.Tx, o order) error {
	held, err := tx.Exec(ctx, `
		UPDATE stock SET free = free - $2, held = held + $2
		 WHERE item = $1 AND free >= $2`, o.Item, o.Quantity)
	if err != nil {
		return err
	}
	if held.RowsAffected() == 0 {
		return refused("there is too little of " + o.Item)
	}
	_, err = tx.Exec(ctx, `
		INSERT INTO reservation (order_id, item, quantity)
		VALUES ($1, $2, $3)`, o.Order, o.Item, o.Quantity)
	return err
}

// release is the undo of reserve: what is held can always be let go.
func release(ctx context.Context, tx pgx.Tx, o order) error {
	_, err := tx.Exec(ctx, `
		UPDATE reservation SET state = 'released'
		 WHERE order_id = $1`, o.Order)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `
		UPDATE stock SET free = free + $2, held = held - $2
		 WHERE item = $1`, o.Item, o.Quantity)
	return err
}

// ship stands behind the pivot: it cannot refuse, for the goods are held.
func ship(ctx context.Context, tx pgx.Tx, o order) error {
	_, err := tx.Exec(ctx, `
		UPDATE reservation SET state = 'shipped'
		 WHERE order_id = $1`, o.Order)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `
		UPDATE stock SET held = held - $2
		 WHERE item = $1`, o.Item, o.Quantity)
	return err
}

var steps = map[string]func(context.Context, pgx.Tx, order) error{
	"saga.stock.reserve": reserve,
	"saga.stock.release": release,
	"saga.stock.ship":    ship,
}

type command struct {
	Lane    int32
	ID      int64
	Subject string
	Payload []byte
	Saga    string
	Step    string
}

// isOutage says that the error tells nothing about the step: connections, conflicts, resources, shutdown, locks.
func isOutage(err error) bool {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return true
	}
	return strings.Contains("08 40 53 57 58", pg.Code[:2]) || pg.Code == "25006" || pg.Code == "55P03"
}

// answer is what the initiator is told.
type answer struct {
	outcome string
	reply   map[string]string
}

func because(outcome string, reason error) answer {
	return answer{outcome, map[string]string{"reason": reason.Error()}}
}

// carryOut returns the answer. An error of the step takes back what it has
// done, and nothing else: the saga asks again later.
func carryOut(ctx context.Context, tx pgx.Tx, c command) (answer, error) {
	step, o := steps[c.Subject], order{}
	err := json.Unmarshal(c.Payload, &o)
	if step == nil {
		err = errors.New("no step of ours: " + c.Subject)
	}
	if err != nil {
		return because("error", err), nil
	}
	err = pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error {
		return step(ctx, tx, o) // in a savepoint
	})
	var no refused
	switch {
	case err == nil:
		return answer{outcome: "done"}, nil
	case errors.As(err, &no):
		return because("refused", err), nil
	case isOutage(err):
		return answer{}, err
	}
	return because("error", err), nil
}

// handle does or undoes what the command says, and answers. What was
// answered before is answered again by saga_accept, and is not done again.
func handle(ctx context.Context, tx pgx.Tx, c command) error {
	var what string
	err := tx.QueryRow(ctx, "SELECT boxhaul.saga_accept($1, $2, $3)",
		subscription, c.Lane, c.ID).Scan(&what)
	if err != nil {
		return err
	}
	if what != "skip" { // do or undo, as the subject says
		a, err := carryOut(ctx, tx, c)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, "SELECT boxhaul.saga_answer($1, $2, $3, $4)",
			c.Saga, c.Step, a.outcome, a.reply)
		if err != nil {
			return err
		}
	}
	_, err = tx.Exec(ctx, "SELECT boxhaul.done($1, $2, $3)",
		subscription, c.Lane, c.ID)
	return err
}

// turn is one transaction. It returns how many commands were answered.
func turn(ctx context.Context, db *pgx.Conn) (int, error) {
	var commands []command
	err := pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		found, err := tx.Query(ctx, "SELECT lane, id, subject, payload, headers ->> 'Boxhaul-Saga', headers ->> 'Boxhaul-Step'"+
			" FROM boxhaul.receive($1, $2)", subscription, rows)
		if err != nil {
			return err
		}
		if commands, err = pgx.CollectRows(found, pgx.RowToStructByPos[command]); err != nil {
			return err
		}
		for _, c := range commands {
			if err := handle(ctx, tx, c); err != nil {
				return err
			}
		}
		return nil
	})
	return len(commands), err
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
