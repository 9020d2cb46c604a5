package registrytest

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/registry/driver"
)

// driverCases show the primitives themselves.
var driverCases = []testCase{
	{"Driver/RoundTrip", roundTrip},
	{"Driver/WatchMissesNothing", watchMissesNothing},
	{"Driver/ServicesAreApart", servicesAreApart},
	{"Driver/OldLeaseLeavesNewRecord", oldLeaseLeavesNewRecord},
	{"Driver/DeregisterOnlyOwn", deregisterOnlyOwn},
	{"Driver/TakeOver", takeOver},
	{"Driver/LossIsReported", lossIsReported},
	{"Driver/FrozenCallsEnd", frozenCallsEnd},
	{"Driver/UnreadableIsApart", unreadableIsApart},
	{"Driver/CloseEndsWatches", closeEndsWatches},
}

func record(id, owner string) driver.Record {
	return driver.Record{Instance: instance(id), Owner: owner}
}

// register writes a record that nobody renews, with a lease that outlasts the case unless ttl is given.
func (e *env) register(t *testing.T, d driver.Registry, rec driver.Record, ttl ...time.Duration) driver.Registration {
	t.Helper()
	life := 10 * time.Minute
	if len(ttl) > 0 {
		life = ttl[0]
	}
	held, err := d.Register(e.ctx(t), rec, life, true)
	if err != nil {
		t.Fatal(err)
	}
	return held
}

func (e *env) list(t *testing.T, d driver.Registry) driver.Listing {
	t.Helper()
	l, err := d.List(e.ctx(t), service)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// roundTrip: everything in a record comes back, through a list and through a watch.
func roundTrip(t *testing.T, e *env) {
	d := e.Open(t)
	l := e.list(t, d)
	if len(l.Records) != 0 || len(l.Unreadable) != 0 {
		t.Fatalf("an empty engine lists %+v", l)
	}
	w, err := d.Watch(e.ctx(t), service, l.Revision)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Close() }()
	want := record("1", "me")
	held := e.register(t, d, want)
	same(t, "list", e.list(t, e.Open(t)).Records, want)
	changes := e.next(t, w, 1)
	if changes[0].Record == nil {
		t.Fatalf("watch: %+v", changes[0])
	}
	same(t, "watch", []driver.Record{*changes[0].Record}, want)

	want.Draining, want.Weight = true, 7
	if err := held.Update(e.ctx(t), want); err != nil {
		t.Fatal(err)
	}
	same(t, "list after update", e.list(t, d).Records, want)
	if err := held.Renew(e.ctx(t)); err != nil {
		t.Fatal(err)
	}
	if err := held.Deregister(e.ctx(t)); err != nil {
		t.Fatal(err)
	}
	same(t, "list after deregistration", e.list(t, d).Records)
	changes = e.next(t, w, 2)
	if changes[0].Record == nil || !changes[0].Record.Draining || changes[1].Record != nil || changes[1].ID != "1" {
		t.Errorf("watch after update and deregistration: %+v", changes)
	}
}

func same(t *testing.T, what string, got []driver.Record, want ...driver.Record) {
	t.Helper()
	slices.SortFunc(got, func(a, b driver.Record) int { return len(a.ID) - len(b.ID) })
	ok := slices.EqualFunc(got, want, func(a, b driver.Record) bool {
		return a.Service == b.Service && a.ID == b.ID && a.Zone == b.Zone && a.Version == b.Version && a.Weight == b.Weight &&
			a.Draining == b.Draining && a.Owner == b.Owner && maps.Equal(a.Endpoints, b.Endpoints) && maps.Equal(a.Metadata, b.Metadata)
	})
	if !ok {
		t.Errorf("%s:\n got %+v\nwant %+v", what, got, want)
	}
}

// next reads n changes.
func (e *env) next(t *testing.T, w driver.Watcher, n int) []driver.Change {
	t.Helper()
	var out []driver.Change
	for len(out) < n {
		u, err := w.Next(e.ctx(t))
		if err != nil {
			t.Fatalf("watch after %d of %d changes: %v", len(out), n, err)
		}
		if u.Full != nil {
			t.Fatal("the suite does not know watches of full lists yet")
		}
		out = append(out, u.Changes...)
	}
	return out
}

// watchMissesNothing: what happens between a list and the watch from its revision is delivered.
func watchMissesNothing(t *testing.T, e *env) {
	d := e.Open(t)
	e.register(t, d, record("before", "me"))
	l := e.list(t, d)
	e.register(t, d, record("between", "me"))
	e.DeleteKey(service, "before")
	w, err := d.Watch(e.ctx(t), service, l.Revision)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Close() }()
	changes := e.next(t, w, 2)
	if changes[0].ID != "between" || changes[0].Record == nil || changes[1].ID != "before" || changes[1].Record != nil {
		t.Errorf("changes = %+v, want between added, before removed", changes)
	}
}

// servicesAreApart: a service whose name begins with another's is not part of it.
func servicesAreApart(t *testing.T, e *env) {
	d := e.Open(t)
	other := record("1", "me")
	other.Service = service + "2"
	e.register(t, d, other)
	e.register(t, d, record("mine", "me"))
	same(t, "list", e.list(t, d).Records, record("mine", "me"))
}

// oldLeaseLeavesNewRecord: a restarted instance uses its ID again; the lease of its former life ends and takes nothing along.
func oldLeaseLeavesNewRecord(t *testing.T, e *env) {
	d := e.Open(t)
	former := e.register(t, d, record("1", "former"), e.cfg.TTL)
	e.register(t, d, record("1", "now"))
	e.register(t, d, record("clock", "me"), e.cfg.TTL) // expires after the former lease
	e.poll(t, "expiry", func(ctx context.Context) bool { return listed(ctx, d, "1") })
	same(t, "list", e.list(t, d).Records, record("1", "now"))
	if err := former.Renew(e.ctx(t)); !errors.Is(err, driver.ErrLost) && !errors.Is(err, driver.ErrTaken) {
		t.Errorf("Renew of the former registration = %v, want ErrLost or ErrTaken", err)
	}
}

// deregisterOnlyOwn: ending a registration that was replaced leaves the replacement alone.
func deregisterOnlyOwn(t *testing.T, e *env) {
	d := e.Open(t)
	former := e.register(t, d, record("1", "former"))
	now := e.register(t, d, record("1", "now"))
	if err := former.Deregister(e.ctx(t)); err != nil {
		t.Errorf("Deregister of a replaced record = %v, want nil", err)
	}
	same(t, "list", e.list(t, d).Records, record("1", "now"))
	if err := now.Renew(e.ctx(t)); err != nil {
		t.Errorf("Renew of the replacement = %v", err)
	}
	if err := now.Deregister(e.ctx(t)); err != nil {
		t.Error(err)
	}
	if err := now.Deregister(e.ctx(t)); err != nil {
		t.Errorf("second Deregister = %v, want nil", err)
	}
	same(t, "list at the end", e.list(t, d).Records)
}

// takeOver: another owner's record is replaced only on request; one's own always.
func takeOver(t *testing.T, e *env) {
	d := e.Open(t)
	first := e.register(t, d, record("1", "first"))
	if _, err := d.Register(e.ctx(t), record("1", "second"), time.Minute, false); !errors.Is(err, driver.ErrTaken) {
		t.Fatalf("Register without takeOver = %v, want ErrTaken", err)
	}
	if _, err := d.Register(e.ctx(t), record("1", "first"), time.Minute, false); err != nil {
		t.Fatalf("Register again by the owner = %v", err)
	}
	e.register(t, d, record("1", "second"))
	if err := first.Renew(e.ctx(t)); !errors.Is(err, driver.ErrTaken) {
		t.Errorf("Renew after takeover = %v, want ErrTaken", err)
	}
	if err := first.Update(e.ctx(t), record("1", "first")); !errors.Is(err, driver.ErrTaken) {
		t.Errorf("Update after takeover = %v, want ErrTaken", err)
	}
	same(t, "list", e.list(t, d).Records, record("1", "second"))
}

// lossIsReported: a lease or record that is gone is ErrLost to Renew and Update, and none to Deregister.
func lossIsReported(t *testing.T, e *env) {
	d := e.Open(t)
	for name, lose := range map[string]func(service, id string){"lease": e.ExpireLease, "record": e.DeleteKey, "content": e.Corrupt} {
		held := e.register(t, d, record("1", "me"))
		lose(service, "1")
		if err := held.Renew(e.ctx(t)); !errors.Is(err, driver.ErrLost) {
			t.Errorf("%s lost: Renew = %v, want ErrLost", name, err)
		}
		if err := held.Update(e.ctx(t), record("1", "me")); !errors.Is(err, driver.ErrLost) {
			t.Errorf("%s lost: Update = %v, want ErrLost", name, err)
		}
		if err := held.Deregister(e.ctx(t)); err != nil {
			t.Errorf("%s lost: Deregister = %v, want nil", name, err)
		}
	}
}

// frozenCallsEnd: while the engine is frozen, every call ends with its ctx.
func frozenCallsEnd(t *testing.T, e *env) {
	d := e.Open(t)
	held := e.register(t, d, record("1", "me"))
	w, err := d.Watch(e.ctx(t), service, e.list(t, d).Revision)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Close() }()
	e.Freeze()
	defer e.Thaw()
	calls := map[string]func(context.Context) error{
		"Register": func(ctx context.Context) error {
			_, err := d.Register(ctx, record("2", "me"), time.Minute, true)
			return err
		},
		"List":       func(ctx context.Context) error { _, err := d.List(ctx, service); return err },
		"Watch":      func(ctx context.Context) error { _, err := d.Watch(ctx, service, 0); return err },
		"Next":       func(ctx context.Context) error { _, err := w.Next(ctx); return err },
		"Renew":      held.Renew,
		"Update":     func(ctx context.Context) error { return held.Update(ctx, record("1", "me")) },
		"Deregister": held.Deregister,
	}
	for name, call := range calls {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		start := time.Now()
		err := call(ctx)
		cancel()
		if took := time.Since(start); err == nil || took > 100*time.Millisecond+e.cfg.Within {
			t.Errorf("%s on a frozen engine: %v after %v", name, err, took)
		}
	}
}

// unreadableIsApart: a record that cannot be decoded fails neither list nor watch.
func unreadableIsApart(t *testing.T, e *env) {
	d := e.Open(t)
	e.register(t, d, record("good", "me"))
	l := e.list(t, d)
	e.Corrupt(service, "bad")
	w, err := d.Watch(e.ctx(t), service, l.Revision)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Close() }()
	if c := e.next(t, w, 1)[0]; c.ID != "bad" || c.Err == nil || c.Record != nil {
		t.Errorf("watch: %+v, want an error for bad", c)
	}
	l = e.list(t, d)
	same(t, "list", l.Records, record("good", "me"))
	if len(l.Unreadable) != 1 || l.Unreadable[0].ID != "bad" || l.Unreadable[0].Err == nil {
		t.Errorf("unreadable = %+v, want bad", l.Unreadable)
	}
}

// closeEndsWatches: a closed watch returns from Next, and Close can be called again.
func closeEndsWatches(t *testing.T, e *env) {
	d := e.Open(t)
	w, err := d.Watch(e.ctx(t), service, e.list(t, d).Revision)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := w.Next(e.ctx(t))
		ended <- err
	}()
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Next on a closed watch = %v", err)
	}
	if err := w.Close(); err != nil {
		t.Errorf("second Close of the watch = %v", err)
	}
	if err := errors.Join(d.Close(), d.Close()); err != nil {
		t.Errorf("Close twice = %v", err)
	}
}
