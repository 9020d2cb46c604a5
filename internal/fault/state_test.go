package fault

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// state reads until the next state, and returns how long that took.
func (a *agent) state() (State, time.Duration) {
	a.t.Helper()
	begun := time.Now()
	for {
		m, err := a.in.Read()
		if err != nil {
			a.t.Fatal(err)
		}
		if m.State != nil {
			return *m.State, time.Since(begun)
		}
	}
}

// live shows signs of life on the present connection.
func (a *agent) live() {
	c, ended := a.c, make(chan struct{})
	a.t.Cleanup(func() { // a bubble waits for nobody
		c.Close()
		<-ended
	})
	go func() {
		defer close(ended)
		for WriteSign(c) == nil {
			<-time.After(SignOfLife)
		}
	}()
}

func TestStateIsSaidWhenItHasChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(t)
		var n, asked atomic.Int64
		moved := make(chan struct{}, 1)
		i := a.followSaying(Saying{Moved: moved, State: func() State {
			asked.Add(1)
			return State{Admin: "127.0.0.1:1", Goroutines: int(n.Load())}
		}})
		a.accept()
		a.live()
		got, took := a.state()
		if !reflect.DeepEqual(got, State{Admin: "127.0.0.1:1"}) || took != 0 {
			t.Errorf("%+v after %v", got, took)
		}
		time.AfterFunc(10*time.Second+time.Millisecond, func() { n.Store(1) })
		if got, took = a.state(); got.Goroutines != 1 || took < 10*time.Second || took > 11*time.Second {
			t.Errorf("%+v after %v", got, took)
		}
		if got := asked.Load(); got > 13 {
			t.Errorf("it was asked for %d times in 11 s", got)
		}

		// What has moved is said at once, but not more often than once a second.
		time.AfterFunc(5*time.Second+time.Millisecond, func() { n.Store(2); moved <- struct{}{} })
		if got, took = a.state(); got.Goroutines != 2 || took != 5*time.Second+time.Millisecond {
			t.Errorf("%+v after %v", got, took)
		}
		n.Store(3)
		moved <- struct{}{}
		if got, took = a.state(); got.Goroutines != 3 || took < 700*time.Millisecond || took > 1100*time.Millisecond {
			t.Errorf("%+v after %v", got, took)
		}

		// A new agent is told, though nothing has changed.
		a.c.Close()
		a.accept()
		if got, _ = a.state(); got.Goroutines != 3 {
			t.Errorf("%+v", got)
		}
		i.Close()
	})
}

func TestStateIsCutToWhatMayBeSaid(t *testing.T) {
	var s State
	for i := range 3 {
		b := BalancerState{Service: fmt.Sprint("service-", i)}
		for j := range 2000 {
			b.Instances = append(b.Instances, InstanceState{ID: fmt.Sprintf("instance-%d", j), State: InstanceEjected, Why: strings.Repeat("x", 100)})
		}
		s.Balancers = append(s.Balancers, b)
	}
	for i := range 500 {
		s.Locks = append(s.Locks, HoldState{Name: fmt.Sprint("lock-", i)})
	}
	b, err := encodeState(s)
	if err != nil || len(b) > MaxState {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	m, err := NewReader(bytes.NewReader(b)).Read()
	if err != nil || m.State == nil {
		t.Fatal(err)
	}
	left := len(m.State.Locks)
	for _, b := range m.State.Balancers {
		left += len(b.Instances)
	}
	if len(m.State.Balancers) != 3 || len(m.State.Locks) != 500 || m.State.Cut != 6500-left || left < 1000 {
		t.Errorf("%d are left, and %d were cut", left, m.State.Cut)
	}
	if len(s.Balancers[0].Instances) != 2000 || s.Cut != 0 {
		t.Error("the caller's was changed")
	}
	if _, err := encodeState(State{Admin: strings.Repeat("x", MaxState)}); err == nil {
		t.Error("what cannot be cut is said")
	}
}

func TestStateThatIsTooLargeIsRefused(t *testing.T) {
	b, err := json.Marshal(Message{State: &State{Admin: strings.Repeat("x", MaxState)}})
	if err != nil {
		t.Fatal(err)
	}
	if m, err := NewReader(bytes.NewReader(append(b, '\n'))).Read(); err == nil {
		t.Errorf("read %d bytes", len(m.State.Admin))
	}
}
