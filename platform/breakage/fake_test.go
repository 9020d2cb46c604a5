package breakage

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/internal/fault"
	"github.com/holdfast-go/holdfast/platform/control"
)

// fakeSystem is a shop of fake processes, which suffer what they are told, unless they are stopped.
type fakeSystem struct {
	t       *testing.T
	packets bool

	mu       sync.Mutex
	procs    map[string]*fakeProc
	plans    map[string]fault.Plan // of instances, as the agent keeps them
	links    map[string]int
	clocks   map[string]time.Duration
	replicas map[string]int
	steps    []int // that Scale was asked for and did not refuse
	held     map[string]int
	events   []string
	inside   map[string]bool // calls for a process that are under way
	pids     int
	refuse   error        // of Scale
	waits    map[int]bool // numbers at which Scale waits in vain for instances
	changed  func()
}

type fakeProc struct {
	service string
	pid     int
	foreign bool
	frozen  bool
	unseen  bool // nobody has seen that it is frozen
	share   float64
	plan    fault.Plan    // in force
	woken   chan struct{} // closed and replaced when it goes on
}

// newFake makes services with their instances, and three control members.
func newFake(t *testing.T) *fakeSystem {
	f := &fakeSystem{
		t: t, procs: make(map[string]*fakeProc), plans: make(map[string]fault.Plan), links: make(map[string]int), clocks: make(map[string]time.Duration),
		replicas: map[string]int{"orders": 3, "cart": 2, "legacy": 1}, held: make(map[string]int), inside: make(map[string]bool),
		changed: func() {},
	}
	for _, id := range []string{"control-1", "control-2", "control-3", "orders-1", "orders-2", "orders-3", "cart-1", "cart-2", "legacy-1"} {
		service, _, _ := strings.Cut(id, "-")
		f.procs[id] = &fakeProc{service: service, foreign: service == "legacy" || service == "control", woken: make(chan struct{})}
		f.start(id)
	}
	return f
}

func (f *fakeSystem) start(id string) {
	f.pids++
	p := f.procs[id]
	*p = fakeProc{service: p.service, foreign: p.foreign, pid: f.pids, plan: f.plans[id], woken: make(chan struct{})}
}

// restart kills a process and starts it again, with or without a moment in which there is none.
func (f *fakeSystem) restart(id string) {
	f.mu.Lock()
	f.start(id)
	f.mu.Unlock()
	f.changed()
}

func (f *fakeSystem) kill(id string) {
	f.mu.Lock()
	f.procs[id].pid = 0
	f.mu.Unlock()
	f.changed()
}

func (f *fakeSystem) World() World {
	f.mu.Lock()
	defer f.mu.Unlock()
	w := World{
		Services: slices.Sorted(maps.Keys(f.replicas)),
		Registry: []string{"127.0.0.1:2379", "127.0.0.1:2380"}, Queue: []string{"127.0.0.1:4222"}, Edge: []string{"127.0.0.1:8080"},
	}
	for n, id := range slices.Sorted(maps.Keys(f.procs)) {
		p := f.procs[id]
		w.Instances = append(w.Instances, Instance{
			ID: id, Service: p.service, PID: p.pid, Frozen: p.frozen && !p.unseen, Settled: p.pid != 0, Follows: p.pid != 0 && !p.foreign,
			Clock: !p.foreign, Addrs: []string{fmt.Sprintf("127.0.0.1:%d", 4000+n)},
		})
	}
	return w
}

func (f *fakeSystem) Packets() bool { return f.packets }

func (f *fakeSystem) SetPackets(id string, links []control.Link) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.links[id] = len(links)
	if len(links) == 0 {
		delete(f.links, id)
	}
	return nil
}

func (f *fakeSystem) SetClock(id string, by time.Duration) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if id == "cart-2" {
		return errors.New("no disk")
	}
	f.clocks[id] = by
	return nil
}

func (f *fakeSystem) SetPlan(ctx context.Context, id string, plan fault.Plan) error {
	defer f.enter(id)()
	f.mu.Lock()
	if f.plans[id] = plan; reflect.ValueOf(plan).IsZero() {
		delete(f.plans, id)
	}
	p := f.procs[id]
	f.mu.Unlock()
	if p == nil { // the edge
		return nil
	}
	for {
		f.mu.Lock()
		woken, frozen := p.woken, p.frozen
		switch {
		case p.pid == 0 || p.foreign:
			f.mu.Unlock()
			return failure.New(failure.FailedPrecondition, "%s does not follow", id)
		case !frozen:
			p.plan = f.plans[id]
			f.mu.Unlock()
			return nil
		}
		f.mu.Unlock()
		select {
		case <-woken:
		case <-ctx.Done():
			return failure.New(failure.DeadlineExceeded, "%s has not taken note", id)
		}
	}
}

func (f *fakeSystem) signal(id string, do func(*fakeProc)) error {
	defer f.enter(id)()
	return f.change(id, do)
}

// goOn is a thaw by somebody else's hand, whatever is being done to the process.
func (f *fakeSystem) goOn(id string) {
	_ = f.change(id, func(p *fakeProc) { p.frozen, p.unseen = false, false }) // it may have ended
}

func (f *fakeSystem) change(id string, do func(*fakeProc)) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.procs[id]
	switch {
	case p == nil:
		return failure.New(failure.NotFound, "no instance %s", id)
	case p.pid == 0:
		return failure.New(failure.FailedPrecondition, "%s is not running", id)
	}
	was := p.frozen
	do(p)
	if was && !p.frozen {
		p.plan = f.plans[id] // it reads what it was sent
		close(p.woken)
		p.woken = make(chan struct{})
	}
	return nil
}

func (f *fakeSystem) Freeze(id string) error {
	return f.signal(id, func(p *fakeProc) { p.frozen = true })
}

func (f *fakeSystem) Thaw(id string) error {
	return f.signal(id, func(p *fakeProc) { p.frozen = false })
}

func (f *fakeSystem) Slow(id string, share float64) error {
	return f.signal(id, func(p *fakeProc) { p.share = share })
}

func (f *fakeSystem) Replicas(service string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.replicas[service]
}

func (f *fakeSystem) Scale(ctx context.Context, service string, n int) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuse != nil {
		return f.refuse
	}
	f.replicas[service] = n
	f.steps = append(f.steps, n)
	if f.waits[n] {
		f.mu.Unlock()
		<-ctx.Done()
		f.mu.Lock()
		return ctx.Err()
	}
	return nil
}

func (f *fakeSystem) HoldScale(service string) func() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.held[service]++
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.held[service]--
	}
}

func (f *fakeSystem) Publish(e control.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.events = append(f.events, e.State+": "+e.Message)
}

// enter checks that nobody else acts on the process.
func (f *fakeSystem) enter(id string) func() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.inside[id] {
		f.t.Errorf("two at once act on %s", id)
	}
	f.inside[id] = true
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.inside[id] = false
	}
}

// proc is a copy of a process.
func (f *fakeSystem) proc(id string) fakeProc {
	f.mu.Lock()
	defer f.mu.Unlock()
	return *f.procs[id]
}

// broken lists everything that is not as it should be without faults.
func (f *fakeSystem) broken() (all []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, p := range f.procs {
		if p.pid != 0 && (p.frozen || p.share != 0 || !reflect.ValueOf(p.plan).IsZero()) {
			all = append(all, fmt.Sprintf("%s: %+v", id, *p))
		}
	}
	for id, p := range f.plans {
		all = append(all, fmt.Sprintf("plan of %s: %+v", id, p))
	}
	for id, n := range f.links {
		all = append(all, fmt.Sprintf("%d links of %s", n, id))
	}
	if want := map[string]int{"orders": 3, "cart": 2, "legacy": 1}; !maps.Equal(f.replicas, want) {
		all = append(all, fmt.Sprint(f.replicas))
	}
	for service, n := range f.held {
		if n != 0 {
			all = append(all, fmt.Sprintf("scale of %s held %d times", service, n))
		}
	}
	return all
}

// keep runs a Keeper of a fake system in virtual time while do does. Then it stops, and nothing may be broken.
func keep(t *testing.T, do func(t *testing.T, f *fakeSystem, k *Keeper)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		k := New(f, Config{})
		f.changed = k.Changed
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- k.Run(ctx) }()
		synctest.Wait()
		do(t, f, k)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		f.mu.Lock()
		f.replicas = map[string]int{"orders": 3, "cart": 2, "legacy": 1} // a system that stops has no scale
		f.mu.Unlock()
		if left := f.broken(); len(left) > 0 {
			t.Errorf("left broken: %q", left)
		}
	})
}

// pass lets time pass.
func pass(d time.Duration) { time.Sleep(d) } //nolint:forbidigo // in virtual time
