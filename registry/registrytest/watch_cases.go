package registrytest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/registry"
)

// watchCases show that a consumer keeps what it knows, and learns what is new, whatever happens to the engine.
var watchCases = []testCase{
	{"Watch/HangsSilently", watchHangs},
	{"Watch/UnreadableRecord", unreadableRecord},
	{"Watch/MassDisappearance", massDisappearance},
	{"Watch/MassDisappearanceAges", massDisappearanceAges},
	{"Watch/SmallDisappearance", smallDisappearance},
	{"Watch/ColdStartFromDisk", coldStart},
	{"Watch/BackFromIdle", backFromIdle},
	{"Watch/StopAndClose", stopAndClose},
}

// watchHangs: the watch delivers nothing any more and says nothing; the next list brings what was missed.
func watchHangs(t *testing.T, e *env) {
	consumer, d := e.registry(t)
	r, _ := e.registry(t)
	e.announce(t, r, instance("1"), true)
	w := e.watch(t, consumer)
	w.until("the first instance", exactly("1"))
	d.hangWatches()
	e.announce(t, r, instance("2"), true)
	w.until("the second instance", exactly("1", "2"))
}

// unreadableRecord: it is skipped and reported, the others are there, and one that was readable stays as it was.
func unreadableRecord(t *testing.T, e *env) {
	d := e.Open(t)
	e.Corrupt(service, "bad")
	e.register(t, d, record("good", "me"))
	consumer, _ := e.registry(t)
	w := e.watch(t, consumer)
	s := w.until("the good record", exactly("good"))
	if !slices.Equal(s.Unreadable, []string{"bad"}) {
		t.Errorf("unreadable = %q, want bad", s.Unreadable)
	}
	e.Corrupt(service, "good")
	s = w.until("two unreadable records", func(s registry.Set) bool { return len(s.Unreadable) == 2 })
	if !slices.Equal(idsOf(s), []string{"good"}) {
		t.Errorf("instances = %q, want good as it was", idsOf(s))
	}
	w.quiet(2 * e.cfg.RelistEvery) // a complete list says the same
	w.always("good")
	for _, id := range []string{"bad", "good"} {
		if !strings.Contains(e.log.String(), "instance="+id) {
			t.Errorf("%s was not reported", id)
		}
	}
}

// massDisappearance: most instances vanish at once. They stay candidates until they cannot be connected to, or the
// engine has them again.
func massDisappearance(t *testing.T, e *env) {
	d := e.Open(t)
	consumer, _ := e.registry(t)
	ids := []string{"1", "2", "3", "4"}
	for _, id := range ids {
		e.register(t, d, record(id, "me"))
	}
	w := e.watch(t, consumer)
	w.until("all", exactly(ids...))
	for _, id := range ids[1:] {
		e.DeleteKey(service, id)
	}
	w.until("three suspects", func(s registry.Set) bool {
		return slices.Equal(idsOf(s), ids) && len(s.Suspect) == 3 && !s.Suspect["1"]
	})
	w.Unreachable("1") // the engine vouches for it
	w.Unreachable("2")
	w.until("one suspect less", func(s registry.Set) bool { return slices.Equal(idsOf(s), []string{"1", "3", "4"}) })
	e.register(t, d, record("3", "me"))
	w.until("one suspect cleared", func(s registry.Set) bool {
		return slices.Equal(idsOf(s), []string{"1", "3", "4"}) && len(s.Suspect) == 1 && s.Suspect["4"]
	})
	w.Unreachable("4")
	w.until("no suspect left", exactly("1", "3"))
	e.DeleteKey(service, "1")
	e.DeleteKey(service, "3")
	w.until("the last two suspected", func(s registry.Set) bool { return s.Suspect["3"] })
	w.Unreachable("1")
	w.Unreachable("3")
	w.until("nobody", exactly())
}

// massDisappearanceAges: an engine that keeps answering without the suspects is believed in the end.
func massDisappearanceAges(t *testing.T, e *env) {
	d := e.Open(t)
	consumer, _ := e.registry(t, func(c *registry.Config) {
		c.SuspectFor = 2 * e.cfg.TTL
		c.RelistEvery = e.cfg.TTL / 2
	})
	e.register(t, d, record("1", "me"))
	w := e.watch(t, consumer)
	w.until("the instance", exactly("1"))
	e.DeleteKey(service, "1")
	w.until("the suspect", func(s registry.Set) bool { return s.Suspect["1"] })
	start := time.Now()
	w.until("nobody", exactly())
	if took := time.Since(start); took < 2*e.cfg.TTL-e.cfg.TTL/2 {
		t.Errorf("believed after %v, want about %v", took, 2*e.cfg.TTL)
	}
}

// smallDisappearance: one of three is gone; that is what a registry is for.
func smallDisappearance(t *testing.T, e *env) {
	d := e.Open(t)
	consumer, _ := e.registry(t)
	for _, id := range []string{"1", "2", "3"} {
		e.register(t, d, record(id, "me"))
	}
	w := e.watch(t, consumer)
	w.until("all", exactly("1", "2", "3"))
	e.ExpireLease(service, "2")
	w.until("two", exactly("1", "3"))
}

// coldStart: a consumer starts while the engine is down and finds what an earlier process left on disk; when the
// engine is back, that is what counts.
func coldStart(t *testing.T, e *env) {
	dir := t.TempDir()
	onDisk := func(c *registry.Config) { c.CacheDir = dir }
	d := e.Open(t)
	for _, id := range []string{"1", "2", "3"} {
		e.register(t, d, record(id, "me"))
	}
	before, _ := e.registry(t, onDisk)
	w := e.watch(t, before)
	w.until("all", exactly("1", "2", "3"))
	w.Stop()
	closeRegistry(t, before)

	e.Down()
	consumer, _ := e.registry(t, onDisk)
	w = e.watch(t, consumer)
	s := w.until("the disk copy", func(registry.Set) bool { return true })
	if s.Source != registry.Disk || !slices.Equal(idsOf(s), []string{"1", "2", "3"}) {
		t.Errorf("first set = %v %q, want three from disk", s.Source, idsOf(s))
	}
	if got, want := s.Instances[0], instance("1"); got.Endpoints["grpc"] != want.Endpoints["grpc"] || got.Weight != want.Weight || got.Zone != want.Zone {
		t.Errorf("from disk: %+v, want %+v", got, want)
	}
	e.Up()
	w.until("a live set", exactly("1", "2", "3"))
	e.DeleteKey(service, "2")
	w.until("two", exactly("1", "3"))
}

// backFromIdle: the last watch of a service ends; a new one while the engine is down still knows the instances.
func backFromIdle(t *testing.T, e *env) {
	d := e.Open(t)
	e.register(t, d, record("1", "me"))
	consumer, _ := e.registry(t)
	w := e.watch(t, consumer)
	w.until("the instance", exactly("1"))
	w.Stop()
	e.Down()
	w = e.watch(t, consumer)
	s := w.until("what was known", func(registry.Set) bool { return true })
	if s.Source != registry.Stale || !slices.Equal(idsOf(s), []string{"1"}) {
		t.Errorf("set = %v %q, want the instance, stale", s.Source, idsOf(s))
	}
	e.Up()
	w.until("a live set", exactly("1"))
}

// stopAndClose: Next ends with ErrClosed, also on a frozen engine; other watches of the service go on until Close.
func stopAndClose(t *testing.T, e *env) {
	consumer, _ := e.registry(t)
	a, b := e.watch(t, consumer), e.watch(t, consumer)
	e.register(t, e.Open(t), record("1", "me"))
	a.until("the instance", exactly("1"))
	a.Stop()
	if _, err := a.Next(e.ctx(t)); !errors.Is(err, registry.ErrClosed) {
		t.Errorf("Next after Stop = %v, want ErrClosed", err)
	}
	b.until("the instance", exactly("1"))
	e.Freeze()
	defer e.Thaw()
	ended := make(chan error, 1)
	go func() {
		for {
			if _, err := b.Next(context.Background()); err != nil {
				ended <- err
				return
			}
		}
	}()
	start := time.Now()
	closeRegistry(t, consumer)
	if err := <-ended; !errors.Is(err, registry.ErrClosed) {
		t.Errorf("Next after Close = %v, want ErrClosed", err)
	}
	if took := time.Since(start); took > e.cfg.Within {
		t.Errorf("Close took %v on a frozen engine", took)
	}
	if _, err := consumer.Watch(service).Next(e.ctx(t)); !errors.Is(err, registry.ErrClosed) {
		t.Errorf("Watch after Close = %v, want ErrClosed", err)
	}
}
