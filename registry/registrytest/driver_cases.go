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
	w := e.follow(t, d, l)
	want := record("1", "me")
	held := e.register(t, d, want)
	same(t, "list", e.list(t, e.Open(t)).Records, want)
	if c := w.next(1)["1"]; c.Record == nil {
		t.Fatalf("watch: %+v", c)
	} else {
		same(t, "watch", []driver.Record{*c.Record}, want)
	}

	want.Draining, want.Weight = true, 7
	if err := held.Update(e.ctx(t), want); err != nil {
		t.Fatal(err)
	}
	same(t, "list after update", e.list(t, d).Records, want)
	w.until("the update", func(all map[string]driver.Change) bool {
		r := all["1"].Record
		return r != nil && r.Draining && r.Weight == 7
	})
	if err := held.Renew(e.ctx(t)); err != nil {
		t.Fatal(err)
	}
	if err := held.Deregister(e.ctx(t)); err != nil {
		t.Fatal(err)
	}
	same(t, "list after deregistration", e.list(t, d).Records)
	w.until("the removal", func(all map[string]driver.Change) bool { return len(all) == 0 })
}

func same(t *testing.T, what string, got []driver.Record, want ...driver.Record) {
	t.Helper()
	slices.SortFunc(got, func(a, b driver.Record) int { return len(a.ID) - len(b.ID) })
	if !slices.EqualFunc(got, want, sameRecord) {
		t.Errorf("%s:\n got %+v\nwant %+v", what, got, want)
	}
}

func sameRecord(a, b driver.Record) bool {
	return a.Service == b.Service && a.ID == b.ID && a.Zone == b.Zone && a.Version == b.Version && a.Weight == b.Weight &&
		a.Draining == b.Draining && a.Owner == b.Owner && maps.Equal(a.Endpoints, b.Endpoints) && maps.Equal(a.Metadata, b.Metadata)
}

// tracked is a watch of the primitive kind, of changes or of whole lists, and what is known by it.
type tracked struct {
	driver.Watcher
	e   *env
	t   *testing.T
	all map[string]driver.Change // what there is: a record, or the error of one that cannot be decoded
}

// follow opens a watch of what comes after l.
func (e *env) follow(t *testing.T, d driver.Registry, l driver.Listing) *tracked {
	t.Helper()
	w, err := d.Watch(e.ctx(t), service, l.Revision)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	return &tracked{Watcher: w, e: e, t: t, all: contents(l)}
}

func contents(l driver.Listing) map[string]driver.Change {
	all := make(map[string]driver.Change)
	for _, r := range l.Records {
		all[r.ID] = driver.Change{ID: r.ID, Record: &r}
	}
	for _, u := range l.Unreadable {
		all[u.ID] = driver.Change{ID: u.ID, Err: u.Err}
	}
	return all
}

// read takes one update and returns what it changed: also what it removed, as a Change with nothing in it. A watch of
// whole lists may have skipped states in between, and may tell of one that is as before.
func (w *tracked) read() map[string]driver.Change {
	w.t.Helper()
	u, err := w.Next(w.e.ctx(w.t))
	if err != nil {
		w.t.Fatalf("watch: %v, with %+v known", err, w.all)
	}
	before := maps.Clone(w.all)
	if u.Full != nil {
		w.all = contents(*u.Full)
	}
	for _, c := range u.Changes {
		if c.Record == nil && c.Err == nil {
			delete(w.all, c.ID)
		} else {
			w.all[c.ID] = c
		}
	}
	changed := make(map[string]driver.Change)
	for id, c := range w.all {
		if old, had := before[id]; !had || !sameChange(old, c) {
			changed[id] = c
		}
	}
	for id := range before {
		if _, has := w.all[id]; !has {
			changed[id] = driver.Change{ID: id}
		}
	}
	return changed
}

func sameChange(a, b driver.Change) bool {
	return (a.Record == nil) == (b.Record == nil) && (a.Err == nil) == (b.Err == nil) &&
		(a.Record == nil || sameRecord(*a.Record, *b.Record))
}

// next reads until n records have changed, and returns how.
func (w *tracked) next(n int) map[string]driver.Change {
	w.t.Helper()
	changed := make(map[string]driver.Change)
	for len(changed) < n {
		maps.Copy(changed, w.read())
	}
	return changed
}

// until reads until what is known is as wanted.
func (w *tracked) until(what string, want func(map[string]driver.Change) bool) {
	w.t.Helper()
	deadline := time.Now().Add(w.e.longest())
	for !want(w.all) {
		if w.read(); time.Now().After(deadline) {
			w.t.Fatalf("%s: not within %v; known is %+v", what, w.e.longest(), w.all)
		}
	}
}

// watchMissesNothing: what happens between a list and the watch from its revision is delivered.
func watchMissesNothing(t *testing.T, e *env) {
	d := e.Open(t)
	e.register(t, d, record("before", "me"))
	l := e.list(t, d)
	e.register(t, d, record("between", "me"))
	e.DeleteKey(service, "before")
	changed := e.follow(t, d, l).next(2)
	if changed["between"].Record == nil || changed["before"].Record != nil || len(changed) != 2 {
		t.Errorf("changes = %+v, want between added, before removed", changed)
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
	if c := e.follow(t, d, l).next(1)["bad"]; c.Err == nil || c.Record != nil {
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
