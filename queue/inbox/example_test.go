package inbox_test

import (
	"context"
	"fmt"

	"github.com/holdfast-go/holdfast/queue/inbox"
)

// A subscription asks its inbox before each attempt; this is what it does with a message that comes twice.
func Example() {
	in := inbox.NewMemory(0, inbox.Config{})
	mail := func(context.Context) error {
		fmt.Println("sent")
		return nil
	}
	for range 2 {
		if err := in.Once(context.Background(), "orders.paid/notifications", "orders/1-paid", mail); err != nil {
			fmt.Println(err)
		}
	}
	// Output: sent
}
