package autoscale

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/platform/control"
	"github.com/holdfast-go/holdfast/scale"
)

// fake is a system of one service whose load is shared by those who serve.
type fake struct {
	mu        sync.Mutex
	instances []control.Instance
	wanted    int
	load      float64 // calls in flight, in all
	cpu       float64 // processors in use, in all
	finds     int     // the limit that an instance finds when it has as many calls in flight; 0: it says nothing of its servers
	silent    bool    // processes say nothing
	crash     bool    // what is started crashes
	drain     time.Duration
	startup   time.Duration
	steps     []string // "2 → 4: why"
	begun     time.Time
	told      []string
	busy      bool
}

func (f *fake) Instances() []control.Instance {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.instances)
}

func (f *fake) Replicas(string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.wanted
}

func (f *fake) serving() (n int) {
	for _, i := range f.instances {
		if i.State == ready {
			n++
		}
	}
	return n
}

func (f *fake) Stats() control.Stats {
	f.mu.Lock()
	defer f.mu.Unlock()
	stats := control.Stats{Instances: make(map[string]control.InstanceStats)}
	if f.silent {
		return stats
	}
	n := float64(f.serving())
	for _, i := range f.instances {
		if i.State != ready {
			continue
		}
		each := int(f.load / n)
		s := control.InstanceStats{
			At: time.Now(), PID: i.PID, InFlight: min(each, 100), Waiting: max(0, each-100), Limit: 100,
			CPU: time.Duration(f.cpu / n * float64(time.Since(f.begun))),
		}
		if f.finds > 0 {
			s.InFlight, s.Waiting, s.Limit = each, 0, 10_000
			srv := control.ServerStats{Protocol: "http", InFlight: each, Limit: 10_000}
			if each >= f.finds {
				s.InFlight, s.Waiting, s.Limit = f.finds, each-f.finds, f.finds
				srv.InFlight, srv.Waiting, srv.Limit, srv.Found = f.finds, each-f.finds, f.finds, f.finds
			}
			s.Servers = []control.ServerStats{srv}
		}
		stats.Instances[i.ID] = s
	}
	return stats
}

func (f *fake) Scale(ctx context.Context, service string, n int, why string) error {
	f.mu.Lock()
	if f.busy {
		f.mu.Unlock()
		return failure.New(failure.Aborted, "busy")
	}
	f.busy = true
	f.steps = append(f.steps, fmt.Sprintf("%d → %d: %s", f.wanted, n, why))
	f.wanted = n
	wait := f.drain
	staying := 0
	for k := range f.instances {
		switch i := &f.instances[k]; {
		case i.State == "draining":
		case staying == n:
			i.State = "draining"
		default:
			staying++
		}
	}
	crash := f.crash
	for ; staying < n; staying++ {
		wait = f.startup
		id := len(f.instances) + 1
		i := control.Instance{Service: service, ID: fmt.Sprintf("%s-%d", service, id), PID: 100 + id, State: starting}
		if crash {
			i.State = "crash-looping"
		}
		f.instances = append(f.instances, i)
		if !crash {
			time.AfterFunc(f.startup, func() { f.set(i.ID, ready) })
		}
	}
	if n < len(f.instances) {
		time.AfterFunc(f.drain, func() { f.set("", "") })
	}
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.busy = false
	}()
	if crash {
		return failure.New(failure.FailedPrecondition, "%s-3 keeps crashing", service)
	}
	select {
	case <-time.After(wait):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// set changes the state of an instance; without a name, what is draining is gone.
func (f *fake) set(id, state string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if id == "" {
		f.instances = slices.DeleteFunc(f.instances, func(i control.Instance) bool { return i.State == "draining" })
	}
	for k := range f.instances {
		if f.instances[k].ID == id {
			f.instances[k].State = state
		}
	}
}

func (f *fake) change(do func(*fake)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do(f)
}

func (f *fake) wantSteps(t *testing.T, want ...string) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if !slices.Equal(f.steps, want) {
		t.Errorf("steps %q, want %q", f.steps, want)
	}
}

func (f *fake) wantTold(t *testing.T, want ...string) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if !slices.Equal(f.told, want) {
		t.Errorf("told %q, want %q", f.told, want)
	}
}

var policy = scale.Policy{Min: 2, Max: 8, Targets: []scale.Target{{Metric: scale.InFlight, Value: 20}}}

// run runs test with a Scaler at work on a service of two instances, in virtual time.
func run(t *testing.T, p scale.Policy, test func(s *Scaler, f *fake)) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{wanted: 2, startup: time.Second, drain: time.Second, begun: time.Now()}
		for n := range 2 {
			f.instances = append(f.instances, control.Instance{Service: "web", ID: fmt.Sprintf("web-%d", n+1), PID: 101 + n, State: ready})
		}
		s, err := New(Config{
			System: f, Policies: map[string]scale.Policy{"web": p}, Processors: 2,
			Tell:   func(_, message string) { f.change(func(f *fake) { f.told = append(f.told, message) }) },
			kernel: unknowing(),
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		test(s, f)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		pass(time.Hour) // what the fake has begun
	})
}

// unknowing is a kernel that knows of no process what it has used, and has each in a group of its own.
func unknowing() *kernel {
	return &kernel{
		time:   func(int) (time.Duration, bool) { return 0, false },
		groups: func() map[int]map[int]time.Duration { return nil },
		group:  func(pid int) (int, bool) { return pid, true },
	}
}

func instance(id string, pid int) control.Instance {
	return control.Instance{Service: "web", ID: id, PID: pid, State: ready}
}

// pass lets virtual time pass.
func pass(d time.Duration) { <-time.After(d) }
