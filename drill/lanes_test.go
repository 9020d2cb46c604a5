package drill

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-go/holdfast/drill/report"
	"github.com/holdfast-go/holdfast/platform/control"
)

// told is a system of which nothing is known but its events.
type told struct {
	Control
	events []control.Event
	over   context.CancelFunc
}

func (c told) Events(_ context.Context, _ func(), emit func(control.Event) error) error {
	defer c.over()
	for _, e := range c.events {
		if err := emit(e); err != nil {
			return err
		}
	}
	return nil
}

// What others say of an instance is no state of it: one that was elected, or gets no calls from another, is ready.
func TestLanesKeepStates(t *testing.T) {
	began := time.Now()
	c := told{}
	for i, state := range []string{
		control.EventElected, control.EventDeposed, control.EventEjected, control.EventReadmitted, control.EventFaultBegun,
		control.EventFaultEnded, control.EventScaling, "", "frozen", "frozen", control.EventEjected, "ready", control.EventDraining, "stopped",
	} {
		c.events = append(c.events, control.Event{Instance: "orders-1", State: state, Time: began.Add(time.Duration(i) * time.Second)})
	}
	ctx, cancel := context.WithCancel(t.Context())
	c.over = cancel
	var l lanes
	l.begin([]control.Instance{{ID: "orders-1", State: "ready", PID: 7}})
	l.follow(ctx, c, began)
	want := []report.Instance{{ID: "orders-1", Phases: []report.Phase{
		{State: "ready", PID: 7},
		{From: 8 * time.Second, State: "frozen"},
		{From: 11 * time.Second, State: "ready"},
		{From: 12 * time.Second, State: "draining"},
		{From: 13 * time.Second, State: "stopped"},
	}}}
	if diff := cmp.Diff(want, l.list()); diff != "" {
		t.Error(diff)
	}
}
