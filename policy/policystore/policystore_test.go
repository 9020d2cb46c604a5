package policystore_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/holdfast-go/holdfast/config"
	"github.com/holdfast-go/holdfast/config/memconfig"
	"github.com/holdfast-go/holdfast/policy"
	"github.com/holdfast-go/holdfast/policy/policystore"
	"github.com/holdfast-go/holdfast/resilience"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func attempts(n int) policy.Service {
	return policy.Service{Calls: policy.Calls{Policy: resilience.Policy{MaxAttempts: n}}}
}

func TestFollower(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, live := memconfig.New(), policy.NewLive(nil)
		store := config.New(engine, config.Config{})
		defer store.Close()
		f := policystore.New(live, map[string]policy.Service{"orders": attempts(2)}, func(service string, p policy.Service) error {
			if service == "orders" && p.Calls.Policy.Timeout > time.Minute {
				return errors.New("too long here")
			}
			return nil
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- f.Run(ctx, store) }()
		want := func(service string, timeout time.Duration, attempts int) {
			t.Helper()
			synctest.Wait()
			p, _ := live.Service(service)
			if p == nil {
				p = &policy.Service{}
			}
			if got := p.Calls.Policy; got.Timeout != timeout || got.MaxAttempts != attempts {
				t.Errorf("%s: timeout %v, attempts %d; want %v and %d", service, got.Timeout, got.MaxAttempts, timeout, attempts)
			}
		}
		put := func(service, document string) {
			t.Helper()
			if _, err := engine.Put(ctx, policystore.Key(service), []byte(document)); err != nil {
				t.Fatal(err)
			}
		}
		want("orders", 0, 2)
		put("orders", "calls: {timeout: 1s}")
		want("orders", time.Second, 2)
		put("orders", "calls: {timeout: 1h}")
		want("orders", time.Second, 2)
		put("carts", "calls: {attempts: 4}")
		want("carts", 0, 4)
		version := live.Version()
		put("carts", "calls: {attempts: 4} # said differently")
		want("carts", 0, 4)
		if live.Version() != version {
			t.Error("a policy that says the same has another version")
		}
		for _, service := range []string{"orders", "carts"} {
			if _, err := engine.Delete(ctx, policystore.Key(service)); err != nil {
				t.Fatal(err)
			}
		}
		want("orders", 0, 2)
		if p, _ := live.Service("carts"); p != nil {
			t.Error("a policy that was removed is in force")
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
}

func TestKeys(t *testing.T) {
	if s, ok := policystore.Service(policystore.Key("orders")); s != "orders" || !ok {
		t.Errorf("%q, %v", s, ok)
	}
	for _, key := range []string{"orders", "policies/", "policies/a b", "policies/a/b"} {
		if s, ok := policystore.Service(key); ok {
			t.Errorf("%q is the key of %q", key, s)
		}
	}
}

// What is valid by itself may not be over the base, and then it is refused also where nothing else checks it.
func TestAPolicyIsValidatedOverTheBase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, live := memconfig.New(), policy.NewLive(nil)
		store := config.New(engine, config.Config{})
		defer store.Close()
		base := policy.Service{Calls: policy.Calls{Policy: resilience.Policy{AttemptTimeout: 3 * time.Second}}}
		f := policystore.New(live, map[string]policy.Service{"orders": base}, nil)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- f.Run(ctx, store) }()
		if _, err := engine.Put(ctx, policystore.Key("orders"), []byte("calls: {timeout: 2s}\nserves: {timeout: 1s}")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if p, _ := live.Service("orders"); p.Calls.Policy.Timeout != 0 || p.Serves.Timeout != 0 {
			t.Errorf("in force: %+v", p)
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
}
