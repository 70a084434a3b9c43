// GORM: an order and its messages, in one transaction.
//
//	go get gorm.io/gorm gorm.io/driver/postgres
//	DATABASE_URL=postgresql://shop@localhost/shop go run order_gorm.go
package main

import (
	"fmt"
	"log"
	"os"
	"strconv"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
)

type Order struct {
	ID       int64
	Customer string
}

// Outgoing stays out of AutoMigrate: the view is boxhaul's.
type Outgoing struct {
	ID      int64
	Subject string
	Key     *string
	Payload []byte
	Headers map[string]string `gorm:"serializer:json"` // a nil map is JSON's null, which the view takes for none
}

func (Outgoing) TableName() string { return "boxhaul.outgoing" }

func main() {
	db, err := gorm.Open(postgres.Open(os.Getenv("DATABASE_URL")), &gorm.Config{})
	if err != nil {
		log.Fatal(err)
	}
	order := Order{Customer: "Ada"}
	var messages []Outgoing
	err = db.Transaction(func(tx *gorm.DB) error { // commits, or rolls back when an error is returned
		if err := tx.Create(&order).Error; err != nil {
			return err
		}
		key, body := strconv.FormatInt(order.ID, 10), []byte(fmt.Sprintf(`{"order": %d}`, order.ID))
		messages = []Outgoing{
			{Subject: "orders.created", Key: &key, Payload: body, Headers: map[string]string{"Trace": "a-1"}},
			{Subject: "orders.paid", Key: &key, Payload: body},
		}
		return tx.Create(&messages).Error
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(order.ID, messages[0].ID, messages[1].ID)
}
