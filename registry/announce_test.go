package registry_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/registry"
	"github.com/holdfast-go/holdfast/registry/driver"
	"github.com/holdfast-go/holdfast/registry/memregistry"
)

// TestAnnounceNeverGivesUp: after an hour without the engine, registration comes within moments of its return, and
// the tries in between were neither too many nor in step.
func TestAnnounceNeverGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newCounted()
		d.Down()
		var log syncBuffer
		r := registry.New(d, registry.Config{Logger: logTo(&log)})
		a := r.Announce(orders("1"))
		stop := run(a)
		<-time.After(time.Hour)
		if n := d.registers.Load(); n < 1800 || n > 7200 {
			t.Errorf("%d tries in an hour", n)
		}
		if n := strings.Count(log.String(), "registration failed"); n != 1 {
			t.Errorf("an outage was logged %d times", n)
		}
		d.Up()
		start := time.Now()
		<-a.Registered()
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("registered %v after the return", took)
		}
		if took, err := stop(); err != nil || took > 2*time.Second {
			t.Errorf("Run ended with %v after %v", err, took)
		}
	})
}

// TestAnnounceEndIsBounded: a frozen engine holds up the end of a process for two seconds at most.
func TestAnnounceEndIsBounded(t *testing.T) {
	for name, registered := range map[string]bool{"registered": true, "registering": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := memregistry.New()
				a := registry.New(d, registry.Config{}).Announce(orders("1"))
				if registered {
					stop := run(a)
					<-a.Registered()
					d.Freeze()
					drainStart := time.Now()
					if err := a.Drain(t.Context()); err == nil || time.Since(drainStart) > 2*time.Second {
						t.Errorf("Drain on a frozen engine = %v after %v", err, time.Since(drainStart))
					}
					if took, err := stop(); err != nil || took > 2*time.Second {
						t.Errorf("Run ended with %v after %v", err, took)
					}
					return
				}
				d.Freeze()
				stop := run(a)
				synctest.Wait()
				if took, err := stop(); err != nil || took > 2*time.Second {
					t.Errorf("Run ended with %v after %v", err, took)
				}
			})
		})
	}
}

// TestAnnounceEndDuringRegistration: a registration that is under way when the process ends is not left behind.
func TestAnnounceEndDuringRegistration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newCounted()
		d.slow = 500 * time.Millisecond
		stop := run(registry.New(d, registry.Config{}).Announce(orders("1")))
		<-time.After(100 * time.Millisecond)
		if took, err := stop(); err != nil || took > 2*time.Second {
			t.Errorf("Run ended with %v after %v", err, took)
		}
		if l, err := d.Driver.List(t.Context(), "orders"); err != nil || len(l.Records) != 0 || l.Revision == 0 {
			t.Errorf("left behind: %+v, %v", l, err)
		}
	})
}

// TestAnnounceFrequentUpdates: updates do not keep the lease from being renewed.
func TestAnnounceFrequentUpdates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newCounted()
		a := registry.New(d, registry.Config{}).Announce(orders("1"))
		stop := run(a)
		defer stop()
		<-a.Registered()
		for i := range 60 {
			if err := a.Update(func(inst *registry.Instance) { inst.Weight = i }); err != nil {
				t.Fatal(err)
			}
			<-time.After(time.Second)
		}
		if n := d.registers.Load(); n != 1 {
			t.Errorf("registered %d times, want once", n)
		}
	})
}

// stubborn is a registry whose records cannot be changed while refuses is set, although they can be renewed.
type stubborn struct {
	*memregistry.Driver
	refuses atomic.Bool
}

func (s *stubborn) Register(ctx context.Context, rec driver.Record, ttl time.Duration, takeOver bool) (driver.Registration, error) {
	held, err := s.Driver.Register(ctx, rec, ttl, takeOver)
	return &stubbornRegistration{held, s}, err
}

type stubbornRegistration struct {
	driver.Registration
	s *stubborn
}

func (r *stubbornRegistration) Update(ctx context.Context, rec driver.Record) error {
	if r.s.refuses.Load() {
		return errors.New("no space")
	}
	return r.Registration.Update(ctx, rec)
}

// TestAnnounceIsHeldWhileItCannotBeChanged: an engine that takes no changes, and still renews, loses no instance, and learns of the change
// when it takes them again.
func TestAnnounceIsHeldWhileItCannotBeChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &stubborn{Driver: memregistry.New()}
		var log syncBuffer
		a := registry.New(d, registry.Config{Logger: logTo(&log)}).Announce(orders("1"))
		stop := run(a)
		<-a.Registered()
		d.refuses.Store(true)
		if err := a.Update(func(i *registry.Instance) { i.Weight = 7 }); err != nil {
			t.Fatal(err)
		}
		weight := func() int {
			t.Helper()
			l, err := d.List(t.Context(), "orders")
			if err != nil || len(l.Records) != 1 {
				t.Fatalf("%d records, %v\n%s", len(l.Records), err, log.String())
			}
			return l.Records[0].Weight
		}
		for range 10 {
			<-time.After(30 * time.Second)
			if w := weight(); w == 7 {
				t.Fatal("changed, although that was refused")
			}
		}
		if n := strings.Count(log.String(), "cannot be changed"); n != 1 {
			t.Errorf("logged %d times", n)
		}
		d.refuses.Store(false)
		<-time.After(10 * time.Second)
		if w := weight(); w != 7 {
			t.Errorf("weight %d after the engine took changes again", w)
		}
		if _, err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestAnnounceMisuse(t *testing.T) {
	r := registry.New(memregistry.New(), registry.Config{})
	err := r.Announce(registry.Instance{Service: "a/b", ID: "x/y", Weight: -1, Endpoints: map[string]string{"grpc": ":0"}}).Run(t.Context())
	for _, want := range []string{`"a/b"`, `"x/y"`, `":0"`, "weight -1"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error does not mention %s: %v", want, err)
		}
	}
	a := r.Announce(orders("1"))
	if err := a.Drain(t.Context()); err != nil {
		t.Errorf("Drain before Run = %v", err)
	}
	stop := run(a)
	<-a.Registered()
	if err := a.Run(t.Context()); err == nil {
		t.Error("a second Run was accepted")
	}
	if err := a.Update(func(i *registry.Instance) { i.Endpoints = nil }); err == nil {
		t.Error("an update without endpoints was accepted")
	}
	if _, err := stop(); err != nil {
		t.Error(err)
	}
}

// unmarked is a registry of one instance that does not let it be marked.
type unmarked struct {
	driver.Registry
	update  func(ctx context.Context) error
	removed atomic.Int64
	left    time.Duration // that the removal had
}

func (u *unmarked) Register(context.Context, driver.Record, time.Duration, bool) (driver.Registration, error) {
	return u, nil
}

func (u *unmarked) Renew(context.Context) error { return nil }

func (u *unmarked) Update(ctx context.Context, _ driver.Record) error { return u.update(ctx) }

func (u *unmarked) Deregister(ctx context.Context) error {
	deadline, _ := ctx.Deadline()
	u.left = time.Until(deadline)
	u.removed.Add(1)
	return ctx.Err()
}

// TestAnnounceEndWithoutTheMark: an instance that cannot be marked as draining is removed all the same, and has the time for it; one whose
// record is not its own any more leaves that alone.
func TestAnnounceEndWithoutTheMark(t *testing.T) {
	for name, c := range map[string]struct {
		update  func(ctx context.Context) error
		removed int64
	}{
		"no leader": {func(context.Context) error { return errors.New("election") }, 1},
		"silence":   {func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, 1},
		"lost":      {func(context.Context) error { return fmt.Errorf("update: %w", driver.ErrLost) }, 0},
		"taken":     {func(context.Context) error { return fmt.Errorf("update: %w", driver.ErrTaken) }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := &unmarked{update: c.update}
				var log syncBuffer
				a := registry.New(d, registry.Config{Logger: logTo(&log)}).Announce(orders("1"))
				stop := run(a)
				<-a.Registered()
				synctest.Wait()
				if took, err := stop(); err != nil || took > 2*time.Second {
					t.Errorf("Run ended with %v after %v", err, took)
				}
				if n := d.removed.Load(); n != c.removed || n > 0 && d.left < 500*time.Millisecond {
					t.Errorf("removed %d times, want %d; there were %v left", n, c.removed, d.left)
				}
				if said := log.String(); strings.Contains(said, "not deregistered") {
					t.Errorf("the log says %s", said)
				}
			})
		})
	}
}
