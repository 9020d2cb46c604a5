package holdfast_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast"
	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/internal/stopwatch"
	"github.com/holdfast-go/holdfast/lock"
	"github.com/holdfast-go/holdfast/lock/memlock"
	"github.com/holdfast-go/holdfast/registry/memregistry"
)

// reign is what is known of who leads.
type reign struct {
	t  *testing.T
	mu sync.Mutex

	leader  string
	hold    context.Context // the leader's
	highest uint64
	begun   map[string]int
}

// lead is the function of a leader that lasts until its ctx ends.
func (r *reign) lead(id string) func(context.Context) error {
	return func(ctx context.Context) error {
		token, ok := lock.Token(ctx)
		r.mu.Lock()
		if !ok || token <= r.highest {
			r.t.Errorf("%s leads with token %d after %d", id, token, r.highest)
		}
		if r.leader != "" && r.hold.Err() == nil { // it may be over, and its function not have had a turn yet
			r.t.Errorf("%s leads while %s does", id, r.leader)
		}
		r.leader, r.hold, r.highest = id, ctx, token
		r.begun[id]++
		r.mu.Unlock()
		<-ctx.Done()
		r.mu.Lock()
		if r.leader == id {
			r.leader = ""
		}
		r.mu.Unlock()
		return nil
	}
}

func (r *reign) now() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.leader
}

// TestLead: one of several instances leads; when it drains, another one does before it has stopped to serve.
func TestLead(t *testing.T) {
	t.Parallel()
	registry, locks := memregistry.New(), memlock.New()
	r := &reign{t: t, begun: make(map[string]int)}
	instances := make(map[string]*instance)
	for n := range 3 {
		id := fmt.Sprintf("orders-%d", n)
		i := newInstance(t, registry, "orders", id, func(c *holdfast.Config) {
			c.Locks, c.Settings.DrainDelay = locks.Another(), 2*time.Second
		}).both(nil)
		i.Lead("nightly", r.lead(id))
		instances[id] = i.run(t)
	}
	for len(instances) > 0 {
		eventually(t, "one leads", func() bool { return r.now() != "" })
		old := r.now()
		leader := instances[old]
		if h, ok, err := leader.Election("nightly").Leader(t.Context()); err != nil || !ok || h.Value != old || h.Name != old {
			t.Errorf("the leader is %+v, %v, %v, and should be %s", h, ok, err, old)
		}
		delete(instances, old)
		leader.cancel()
		if len(instances) > 0 {
			took := stopwatch.Start(t)
			eventually(t, "another leads", func() bool { return r.now() != old && r.now() != "" })
			if took := took(); took > time.Second {
				t.Errorf("the next one leads after %v", took)
			}
			if refusing(leader.http) {
				t.Error("the old leader has stopped to serve before there was a new one")
			}
		}
		leader.stop(t)
	}
}

// TestLeadershipLost: an instance that loses its leadership is told, and stands again.
func TestLeadershipLost(t *testing.T) {
	t.Parallel()
	locks := memlock.New()
	r := &reign{t: t, begun: make(map[string]int)}
	links := make(map[string]*memlock.Driver)
	for n := range 2 {
		id := fmt.Sprintf("orders-%d", n)
		links[id] = locks.Another()
		i := newInstance(t, memregistry.New(), "orders", id, func(c *holdfast.Config) {
			c.Locks = links[id]
			c.Lock.TTL = 400 * time.Millisecond
		})
		i.Lead("nightly", r.lead(id))
		i.run(t)
	}
	for range 3 {
		eventually(t, "one leads", func() bool { return r.now() != "" })
		old := r.now()
		links[old].Freeze()
		eventually(t, "another leads", func() bool { return r.now() != old && r.now() != "" })
		links[old].Thaw()
	}
}

// TestLeadFails: a leader that fails or panics resigns, and leads again; one that is done does not.
func TestLeadFails(t *testing.T) {
	t.Parallel()
	i := newInstance(t, memregistry.New(), "orders", "orders-1", func(c *holdfast.Config) { c.Locks = memlock.New() })
	times := make(chan int, 10)
	n := 0
	i.Lead("nightly", func(context.Context) error {
		n++
		times <- n
		switch n {
		case 1:
			return errors.New("no")
		case 2:
			panic("boom")
		}
		return nil
	})
	i.run(t)
	for want := 1; want <= 3; want++ {
		if got := <-times; got != want {
			t.Errorf("call %d came as %d", want, got)
		}
	}
	eventually(t, "nobody leads", func() bool {
		_, ok, err := i.Election("nightly").Leader(t.Context())
		return err == nil && !ok
	})
}

// TestLock: two services exclude each other by the same name; what is held lasts until its service has stopped.
func TestLock(t *testing.T) {
	t.Parallel()
	locks := memlock.New()
	with := func(c *holdfast.Config) { c.Locks = locks.Another() }
	a := newInstance(t, memregistry.New(), "alpha", "alpha-1", with).run(t)
	b := newInstance(t, memregistry.New(), "beta", "beta-1", with).run(t)
	h, err := a.Lock("stock").Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Lock("stock").TryLock(t.Context()); !errors.Is(err, lock.ErrHeld) {
		t.Errorf("a lock that is held: %v", err)
	}
	a.stop(t)
	if !errors.Is(context.Cause(h.Context()), lock.ErrClosed) {
		t.Errorf("a hold of a Service that has stopped: %v", context.Cause(h.Context()))
	}
	if _, err := a.Lock("stock").Lock(t.Context()); !errors.Is(err, lock.ErrClosed) {
		t.Errorf("a lock of a Service that has stopped: %v", err)
	}
	next, err := b.Lock("stock").Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := next.Unlock(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestLocksAlone: a service without a registry has locks of its own, and waits for nobody when it stops.
func TestLocksAlone(t *testing.T) {
	t.Parallel()
	svc := holdfast.New("alone", func(c *holdfast.Config) { c.Settings.DrainDelay = time.Minute })
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
	defer stop()
	led := false
	svc.Lead("nightly", func(ctx context.Context) error {
		led = true
		stop()
		<-ctx.Done()
		return ctx.Err()
	})
	if err := svc.Run(ctx); err != nil || !led {
		t.Errorf("Run = %v, led %v", err, led)
	}
}

// TestALeaderThatHangsIsNamed: also where there is no listener.
func TestALeaderThatHangsIsNamed(t *testing.T) {
	t.Parallel()
	i := newInstance(t, nil, "orders", "orders-1", func(c *holdfast.Config) { c.Lifecycle.StopTimeout = 50 * time.Millisecond })
	leads, goOn, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
	i.Lead("nightly", func(context.Context) error {
		defer close(ended)
		close(leads)
		<-goOn
		return nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		<-leads
		cancel()
	}()
	if err := i.Run(ctx); err == nil || !strings.Contains(err.Error(), "stop leaders: tasks (lead nightly): still running") {
		t.Errorf("Run: %v", err)
	}
	close(goOn)
	<-ended
}

// TestLocksAloneWhereOthersReachIt: a lock that binds nobody else is told of where the address says that there are others.
func TestLocksAloneWhereOthersReachIt(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		addr, lock string
		warned     bool
	}{{"127.0.0.1:0", "", false}, {"0.0.0.0:0", "", true}, {":0", "", true}, {"0.0.0.0:0", "memory", false}} {
		i := newInstance(t, nil, "orders", "orders-1", func(cfg *holdfast.Config) {
			cfg.HTTPServer.Listener, cfg.HTTPServer.Addr, cfg.Settings.Lock = nil, c.addr, c.lock
		})
		i.Lock("x")
		i.Lead("y", func(context.Context) error { return nil })
		i.Close()
		if n := strings.Count(i.logs.String(), "locks and elections are of this process alone"); n > 1 || (n == 1) != c.warned {
			t.Errorf("%+v: told %d times", c, n)
		}
	}
}

// TestNoLocks: a service that asks for locks and has no engine for them does not run, and says what to do.
func TestNoLocks(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ registry, locks, want string }{
		{"static:orders=127.0.0.1:1", "", "HOLDFAST_LOCK"},
		{"consul://127.0.0.1:1", "", "lock/consullock"},
		{"", "consul://127.0.0.1:1", "lock/consullock"},
		{"", "etcd://127.0.0.1", "HOST:PORT"},
		{"", "etcd://me:secret@127.0.0.1:1", "credentials"},
		{"", "static:a=b:1", "is not a URL"},
	} {
		svc := holdfast.New("alpha", func(cfg *holdfast.Config) {
			cfg.Settings.Registry, cfg.Settings.Lock = c.registry, c.locks
			if strings.HasPrefix(c.registry, "consul") {
				cfg.Drivers = []holdfast.Driver{fakeEngine{"consul"}}
			}
		})
		m := svc.Lock("stock")
		if _, err := m.Lock(t.Context()); failure.CodeOf(err) != failure.FailedPrecondition {
			t.Errorf("%+v: Lock = %v", c, err)
		}
		if err := svc.Run(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%+v: Run = %v", c, err)
		}
	}
	// One that does not ask for any runs.
	svc := holdfast.New("alpha", func(cfg *holdfast.Config) { cfg.Settings.Registry = "static:orders=127.0.0.1:1" })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := svc.Run(ctx); err != nil {
		t.Error(err)
	}
	svc = holdfast.New("alpha", func(cfg *holdfast.Config) { cfg.Locks = memlock.New() })
	svc.Lock("")
	if err := svc.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "without a name") {
		t.Errorf("Run = %v", err)
	}
}

// TestLocksInReplicatedState: instances that keep their state themselves keep their locks there, too; one that stops gives
// them back before its part in that ends.
func TestLocksInReplicatedState(t *testing.T) {
	t.Parallel()
	registry, dir := memregistry.New(), t.TempDir()
	r := &reign{t: t, begun: make(map[string]int)}
	instances := make(map[string]*instance)
	for n := range 3 {
		id := fmt.Sprintf("orders-%d", n)
		i := newInstance(t, registry, "orders", id, func(c *holdfast.Config) {
			c.Settings.Lock, c.Settings.DataDir, c.Settings.ReplicaAddr = "replica", dir, "127.0.0.1:0"
			c.Replica.Election = 250 * time.Millisecond
			c.Lock.TTL, c.Lock.Settle = 3*patience, -1 // whoever dies with the lock keeps it for longer than anybody waits here
		})
		i.Lead("nightly", r.lead(id))
		instances[id] = i.run(t)
	}
	eventually(t, "one leads", func() bool { return r.now() != "" })
	old := r.now()
	instances[old].stop(t)
	eventually(t, "another leads", func() bool { return r.now() != old && r.now() != "" })
	svc := holdfast.New("orders", func(c *holdfast.Config) { c.Settings.Lock = "replica" })
	if err := svc.Run(t.Context()); err == nil || strings.Count(err.Error(), "HOLDFAST_DATA_DIR") != 1 {
		t.Errorf("Run = %v", err)
	}
}
