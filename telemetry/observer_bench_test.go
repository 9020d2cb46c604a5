package telemetry_test

import (
	"context"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/resilience"
	"github.com/holdfast-go/holdfast/telemetry"
)

// BenchmarkObserver is what each side of a call spends on being observed, without the header on the wire.
func BenchmarkObserver(b *testing.B) {
	t, err := telemetry.Open(context.Background(), telemetry.Config{
		Service: "echo", Logger: quiet, Exporter: nowhere{}, Ratio: -1, Getenv: func(string) string { return "" },
	})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = t.Shutdown(context.Background()) }()
	o := t.Observer()
	budget, latency := resilience.NewBudget(resilience.BudgetPolicy{}), new(resilience.Latency)
	var along resilience.Along
	b.Run("call", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			now := time.Now()
			c := o.BeginCall(context.Background(), resilience.CallInfo{Service: "echo", Method: say, Begun: now, Deadline: now.Add(time.Second), Budget: budget, Latency: latency})
			along = c.BeginAttempt(resilience.AttemptInfo{Begun: now, Deadline: now.Add(time.Second)})
			c.EndAttempt(resilience.AttemptEnd{Ended: now, Instance: "a"})
			c.End(resilience.CallEnd{Ended: now})
		}
	})
	b.Run("serve", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			now := time.Now()
			_, s := o.BeginServe(context.Background(), resilience.ServeInfo{Method: say, Begun: now, Deadline: now.Add(time.Second), Along: along})
			s.Admit(resilience.AdmitInfo{At: now})
			end := resilience.ServeEnd{Ended: time.Now()}
			s.Keep(end)
			s.End(end)
		}
	})
}
