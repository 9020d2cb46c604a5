package registrytest

import (
	"context"
	"testing"

	"github.com/holdfast-go/holdfast/registry"
)

// announceCases show that an instance stays registered whatever happens to the engine.
var announceCases = []testCase{
	{"Announce/BootWithRegistryDown", bootWithRegistryDown},
	{"Announce/LeaseLost", leaseLost},
	{"Announce/KeyDeleted", keyDeleted},
	{"Announce/RecordCorrupted", recordCorrupted},
	{"Announce/RegistryWiped", registryWiped},
	{"Announce/RegistryFrozenLongerThanTTL", registryFrozen},
	{"Announce/RegistryDownLongerThanTTL", registryDown},
	{"Announce/DuplicateID", duplicateID},
	{"Announce/RestartWithSameID", restartWithSameID},
	{"Announce/Update", update},
	{"Announce/OrderlyEnd", orderlyEnd},
}

// bootWithRegistryDown: a service and a consumer start while the engine is down, and find each other when it is up.
func bootWithRegistryDown(t *testing.T, e *env) {
	e.Down()
	r, _ := e.registry(t)
	a := e.announce(t, r, instance("1"), false)
	select {
	case <-a.Ready():
	default:
		t.Error("not ready while the registry is down")
	}
	w := e.watch(t, r)
	ctx, cancel := context.WithTimeout(t.Context(), e.cfg.TTL/4)
	defer cancel()
	if s, err := w.Next(ctx); err == nil {
		t.Fatalf("a set came from an engine that is down: %+v", s)
	}
	select {
	case <-a.Registered():
		t.Fatal("registered with an engine that is down")
	default:
	}
	e.Up()
	a.registered(e)
	w.until("the instance", exactly("1"))
}

func leaseLost(t *testing.T, e *env)  { returns(t, e, e.ExpireLease) }
func keyDeleted(t *testing.T, e *env) { returns(t, e, e.DeleteKey) }

// recordCorrupted: a record that somebody overwrote with garbage is written again.
func recordCorrupted(t *testing.T, e *env) { returns(t, e, e.Corrupt) }

// returns takes an instance out of the engine twice; it comes back, and no consumer ever missed it.
func returns(t *testing.T, e *env, lose func(service, id string)) {
	r, _ := e.registry(t)
	e.announce(t, r, instance("1"), true)
	consumer, _ := e.registry(t)
	w := e.watch(t, consumer)
	w.until("the instance", exactly("1"))
	d := e.Open(t)
	for range 2 {
		lose(service, "1")
		e.poll(t, "return of the record", func(ctx context.Context) bool { return listed(ctx, d, "1") })
	}
	w.quiet(e.cfg.TTL / 4)
	w.always("1")
	if last := w.seen[len(w.seen)-1]; !exactly("1")(last) {
		w.until("the instance, trusted", exactly("1"))
	}
}

// registryWiped: the engine comes back with an empty disk; everybody registers again, and consumers keep everybody meanwhile.
func registryWiped(t *testing.T, e *env) {
	outage(t, e, func(*follower) { e.Wipe() })
}

// registryFrozen: the engine hangs for longer than the leases last.
func registryFrozen(t *testing.T, e *env) {
	outage(t, e, func(w *follower) {
		e.Freeze()
		w.until("a stale source", func(s registry.Set) bool { return s.Source == registry.Stale })
		w.quiet(e.cfg.TTL + e.cfg.TTL/2)
		e.Thaw()
	})
}

// registryDown: the engine is dead for longer than the leases last.
func registryDown(t *testing.T, e *env) {
	outage(t, e, func(w *follower) {
		e.Down()
		w.until("a stale source", func(s registry.Set) bool { return s.Source == registry.Stale })
		w.quiet(e.cfg.TTL + e.cfg.TTL/2)
		e.Up()
	})
}

// outage breaks the engine under three instances. No consumer may miss one at any time, and all must be registered
// and trusted again afterwards.
func outage(t *testing.T, e *env, fail func(*follower)) {
	ids := []string{"1", "2", "3"}
	for _, id := range ids {
		r, _ := e.registry(t)
		e.announce(t, r, instance(id), true)
	}
	consumer, _ := e.registry(t)
	w := e.watch(t, consumer)
	w.until("all instances", exactly(ids...))
	w.forget()
	fail(w)
	d := e.Open(t)
	e.poll(t, "registration of all", func(ctx context.Context) bool { return listed(ctx, d, ids...) })
	// The last set must be the good one, and stay it.
	if last := w.quiet(e.cfg.TTL); !exactly(ids...)(last) {
		w.until("all instances, trusted", exactly(ids...))
	}
	w.always(ids...)
}

// duplicateID: of two processes that announce one ID, the later one has the record and the earlier one stands by.
func duplicateID(t *testing.T, e *env) {
	first, second := instance("1"), instance("1")
	first.Version, second.Version = "first", "second"
	r1, _ := e.registry(t)
	r2, _ := e.registry(t)
	e.announce(t, r1, first, true)
	later := e.announce(t, r2, second, true)
	w := e.watch(t, r1)
	version := func(v string) func(registry.Set) bool {
		return func(s registry.Set) bool {
			return len(s.Instances) == 1 && s.Instances[0].Version == v && !s.Instances[0].Draining
		}
	}
	w.until("the later instance", version("second"))
	w.forget()
	if s := w.quiet(e.cfg.TTL); !version("second")(s) || len(w.seen) > 1 {
		t.Errorf("the earlier process did not stand by; sets:\n%s", w)
	}
	later.end()
	w.until("the earlier instance", version("first"))
}

// restartWithSameID: the process dies without a word and comes back within its TTL, elsewhere, under the same ID.
func restartWithSameID(t *testing.T, e *env) {
	d := e.Open(t)
	e.register(t, d, record("1", "former life"), e.cfg.TTL)
	r, _ := e.registry(t)
	again := instance("1")
	again.Endpoints = map[string]string{"grpc": "10.0.0.9:9"}
	e.announce(t, r, again, true)
	w := e.watch(t, r)
	w.until("the new address", func(s registry.Set) bool {
		return len(s.Instances) == 1 && s.Instances[0].Endpoints["grpc"] == "10.0.0.9:9"
	})
	w.quiet(2 * e.cfg.TTL) // the former lease ends in this time
	w.always("1")
	if len(w.seen) > 1 {
		t.Errorf("the end of the former lease was noticed; sets:\n%s", w)
	}
}

// update: a change of what is announced reaches consumers and outlives the loss of the lease.
func update(t *testing.T, e *env) {
	r, _ := e.registry(t)
	a := e.announce(t, r, instance("1"), true)
	w := e.watch(t, r)
	w.until("the instance", exactly("1"))
	if err := a.Update(func(i *registry.Instance) { i.Weight = 42 }); err != nil {
		t.Fatal(err)
	}
	heavy := func(s registry.Set) bool { return exactly("1")(s) && s.Instances[0].Weight == 42 }
	w.until("the weight", heavy)
	e.ExpireLease(service, "1")
	d := e.Open(t)
	e.poll(t, "return of the record", func(ctx context.Context) bool { return listed(ctx, d, "1") })
	if l := e.list(t, d); l.Records[0].Weight != 42 {
		t.Errorf("weight after the loss = %d, want 42", l.Records[0].Weight)
	}
	if err := a.Update(func(i *registry.Instance) { i.ID = "2" }); err == nil {
		t.Error("the id could be changed")
	}
}

// orderlyEnd: instances that drain and deregister are never suspected, not even when all go at once, and neither is
// one that is stopped without draining.
func orderlyEnd(t *testing.T, e *env) {
	ids := []string{"1", "2", "3"}
	var all []*announced
	for _, id := range ids {
		r, _ := e.registry(t)
		all = append(all, e.announce(t, r, instance(id), true))
	}
	consumer, _ := e.registry(t)
	w := e.watch(t, consumer)
	w.until("all instances", exactly(ids...))
	for _, a := range all[:2] {
		if err := a.Drain(e.ctx(t)); err != nil {
			t.Fatal(err)
		}
	}
	w.until("two draining", func(s registry.Set) bool {
		return exactly(ids...)(s) && s.Instances[0].Draining && s.Instances[1].Draining && !s.Instances[2].Draining
	})
	for _, a := range all {
		a.end()
	}
	w.until("nobody", exactly())
	for _, s := range w.seen {
		if len(s.Suspect) > 0 {
			t.Errorf("an orderly end was distrusted; sets:\n%s", w)
			break
		}
	}
}
