//go:build unix

package cli_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"

	"github.com/holdfast-go/holdfast"
	"github.com/holdfast-go/holdfast/queue"
)

// The system that the console is looked at with: counter takes orders and asks kitchen, which asks for a bill by a message.
// Nobody can pay for an order "poison" unless the file in PAYABLE is there.

// beCounter passes on to an instance of kitchen what it is asked.
func beCounter() {
	svc := holdfast.New("counter")
	client := svc.HTTPClient()
	svc.HandleFunc("POST /orders/{id}", func(w http.ResponseWriter, r *http.Request) {
		req, err := http.NewRequestWithContext(r.Context(), http.MethodPut, "http://kitchen/meals/"+r.PathValue("id"), nil)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		resp, err := client.Do(req)
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		defer resp.Body.Close()
		w.WriteHeader(resp.StatusCode)
		fmt.Fprintln(w, "ordered")
	})
	holdfast.Main(svc)
}

// beKitchen cooks, and says so.
func beKitchen() {
	svc := holdfast.New("kitchen")
	svc.HandleFunc("PUT /meals/{id}", func(w http.ResponseWriter, r *http.Request) {
		id := r.PathValue("id")
		svc.Logger().InfoContext(r.Context(), "cooked", "order", id)
		if err := svc.Publish(r.Context(), "meals.cooked", map[string]string{"order": id}, queue.Key(id)); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusCreated)
	})
	holdfast.Main(svc)
}

// beBill handles what was cooked.
func beBill() {
	svc := holdfast.New("bill")
	svc.Consume("meals.cooked", "bill", queue.Handle(func(_ context.Context, m queue.Message[map[string]string]) error {
		if _, err := os.Stat(os.Getenv("PAYABLE")); err != nil && m.Key == "poison" {
			return queue.Reject(errors.New("nobody pays for this"))
		}
		return nil
	}), queue.SubscriptionConfig{})
	holdfast.Main(svc)
}
