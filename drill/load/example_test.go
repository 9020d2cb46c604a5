package load_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/holdfast-go/holdfast/drill/load"
)

// A second of load on a shop that keeps orders under the keys that it is sent.
func Example() {
	shop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusCreated)
		_, _ = fmt.Fprintf(w, `{"order": {"id": %q}}`, "order of "+r.Header.Get("Idempotency-Key"))
	}))
	defer shop.Close()

	caller := load.NewCaller(load.Target{Edges: map[string]string{"gateway": shop.URL}})
	defer caller.Close()
	l, err := load.New(context.Background(), load.Mix{
		Steps: []load.Step{{For: time.Second, From: 20, To: 20}},
		Vars:  map[string]string{"customer": "c-{{int 1 500}}"},
		Calls: []load.Call{{
			Name: "checkout", Weight: 1, Path: "/api/orders", Key: "of-{{.customer}}",
			Body:   map[string]any{"customer": "{{.customer}}", "items": []any{map[string]any{"product": "mug", "quantity": "{{int 1 3}}"}}},
			Expect: []string{"201"}, Keep: map[string]string{"order": "order.id"},
		}},
		Seed: 1,
	}, caller)
	if err != nil {
		fmt.Println(err)
		return
	}
	var record load.Recorder
	l.Run(context.Background(), &record)

	first := record.Samples()[0]
	fmt.Println(first.Call, first.Outcome, first.Status)
	fmt.Println(first.Kept["order"] == "order of of-"+first.Vars["customer"])
	fmt.Println(record.Tally().Failed, "failed")
	// Output:
	// checkout ok 201
	// true
	// 0 failed
}
