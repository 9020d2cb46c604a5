package admission

import (
	"context"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/resilience"
)

// Whatever a call says of itself, and however busy the server is, it is let in or refused; and what is kept about callers
// stays within bounds.
func FuzzAdmit(f *testing.F) {
	f.Add("/a.B/C", "", "acme", int8(0), 0, uint8(1))
	f.Add("GET", "/orders/17", "", int8(-128), -1, uint8(200))
	f.Add("", "\x00", "\xff", int8(127), 1<<62, uint8(0))
	f.Fuzz(func(t *testing.T, method, path, tenant string, criticality int8, attempt int, calls uint8) {
		const maxTenants = 4
		c := New(Config{MinLimit: 1, MaxLimit: 2, Queue: 2, Quota: Quota{Rate: 1000, Burst: 100}, MaxTenants: maxTenants})
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // nobody waits for a turn
		var tickets []Ticket
		for i := range calls {
			ticket, err := c.Admit(ctx, Request{
				Method: method, Path: path + string(rune(i)), Criticality: resilience.Criticality(criticality), Tenant: tenant + string(rune(i)), Attempt: attempt,
			})
			if err == nil {
				tickets = append(tickets, ticket)
				continue
			}
			e := failure.From(err)
			switch e.Code {
			case failure.ResourceExhausted, failure.Canceled:
			default:
				t.Fatalf("%v", err)
			}
			if after, ok := Pushback(e); ok && after > time.Minute || e.RetryAfter < 0 {
				t.Fatalf("%+v", e)
			}
		}
		if len(c.quotas.others) > maxTenants {
			t.Fatalf("%d tenants are kept", len(c.quotas.others))
		}
		for i, ticket := range tickets {
			ticket.Done(Outcome(i % 3))
		}
		if _, err := c.Admit(t.Context(), Request{}); err != nil {
			t.Fatalf("an idle server refuses a call: %v", err)
		}
	})
}
