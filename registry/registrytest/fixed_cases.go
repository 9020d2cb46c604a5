package registrytest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/registry"
	"github.com/holdfast-go/holdfast/registry/driver"
)

type fixedCase struct {
	name string
	run  func(t *testing.T, d driver.Registry, service string, ids []string)
}

var fixedCases = []fixedCase{
	{"Fixed/Watch", fixedWatch},
	{"Fixed/Announce", fixedAnnounce},
	{"Fixed/CallsEnd", fixedCallsEnd},
}

const patience = 10 * time.Second

// fixedWatch: the set is what the setting says, and an unknown service has nobody.
func fixedWatch(t *testing.T, d driver.Registry, service string, ids []string) {
	r := registry.New(d, registry.Config{})
	defer func() { _ = r.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for name, want := range map[string][]string{service: slices.Sorted(slices.Values(ids)), "unknown": {}} {
		w := r.Watch(name)
		s, err := w.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if got := idsOf(s); !slices.Equal(got, want) || s.Source != registry.Live {
			t.Errorf("%s: %v %q, want live %q", name, s.Source, got, want)
		}
		w.Stop()
	}
}

// fixedAnnounce: an announcement is registered and ends, as with any engine.
func fixedAnnounce(t *testing.T, d driver.Registry, service string, _ []string) {
	r := registry.New(d, registry.Config{})
	defer func() { _ = r.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	inst := instance("announced")
	inst.Service = service
	a := r.Announce(inst)
	run, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- a.Run(run) }()
	select {
	case <-a.Registered():
	case <-ctx.Done():
		t.Fatal("not registered")
	}
	if err := a.Drain(ctx); err != nil {
		t.Error(err)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// fixedCallsEnd: a watch ends with its ctx and with Close; Close can be called again.
func fixedCallsEnd(t *testing.T, d driver.Registry, service string, _ []string) {
	w, err := d.Watch(t.Context(), service, 0)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Next with an ended ctx = %v", err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := w.Next(t.Context())
		ended <- err
	}()
	if err := errors.Join(d.Close(), d.Close()); err != nil {
		t.Error(err)
	}
	if err := <-ended; err == nil {
		t.Error("Next on a closed driver returned no error")
	}
}
