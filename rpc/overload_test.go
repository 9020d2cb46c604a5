package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/policy"
	"github.com/holdfast-go/holdfast/registry"
	"github.com/holdfast-go/holdfast/resilience"
	"github.com/holdfast-go/holdfast/rpc"
)

// shedding starts an instance that refuses every call before it begins with it, as an overloaded server does, with
// that pushback. It has sent its header before.
func (w *world) shedding(id, pushback string) *handler {
	w.t.Helper()
	lis, err := w.net.Listen("127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	h := &handler{}
	s := grpc.NewServer(grpc.UnaryInterceptor(func(ctx context.Context, _ any, _ *grpc.UnaryServerInfo, _ grpc.UnaryHandler) (any, error) {
		h.calls.Add(1)
		if err := grpc.SetHeader(ctx, metadata.Pairs("who", id)); err != nil {
			return nil, err
		}
		if pushback != "" {
			if err := grpc.SetTrailer(ctx, metadata.Pairs("grpc-retry-pushback-ms", pushback)); err != nil {
				return nil, err
			}
		}
		return nil, failure.New(failure.ResourceExhausted, "too busy").WithReason(failure.ReasonShed, failure.Domain).GRPCStatus().Err()
	}))
	h.register(s)
	served := make(chan error, 1)
	go func() { served <- s.Serve(lis) }()
	said := w.reg.Announce(registry.Instance{Service: "echo", ID: id, Endpoints: map[string]string{"grpc": lis.Addr().String()}})
	record := begin(said.Run)
	<-said.Registered()
	w.t.Cleanup(func() {
		record.end()
		s.Stop()
		<-served
	})
	return h
}

// What an instance was too busy to begin with is tried once more, elsewhere and at once, safe or not, and although it
// has sent a header.
func TestWhatIsShedIsTriedOnceElsewhere(t *testing.T) {
	for _, tt := range []struct {
		pushback string
		busy     int // of three instances
		ok       bool
		attempts int
		stop     string
	}{
		{"0", 1, true, 2, ""},
		{"20", 1, true, 2, ""},
		{"", 1, true, 2, ""},
		{"0", 3, false, 2, "the service is overloaded"},
		{"-1", 3, false, 1, "asked to come back later"},
		{"soon", 3, false, 1, "asked to come back later"},
	} {
		t.Run(fmt.Sprintf("%s of %d", tt.pushback, tt.busy), func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				var busy []*handler
				for i := range 3 {
					if id := fmt.Sprint("i", i); i < tt.busy {
						busy = append(busy, w.shedding(id, tt.pushback))
					} else {
						w.start(id)
					}
				}
				c := w.dial(func(cfg *rpc.ClientConfig) { cfg.Policy.Throttle.K = -1 })
				connected()
				for _, method := range []string{say, look} {
					for range 10 {
						start := time.Now()
						_, err := call(t.Context(), c, method)
						if took := time.Since(start); took > 20*time.Millisecond {
							t.Fatalf("after %v: %v", took, err)
						}
						if tt.ok {
							if err != nil {
								t.Fatalf("%s: %v", method, err)
							}
							continue
						}
						if n := len(attempts(t, err)); n != tt.attempts || !strings.Contains(err.Error(), tt.stop) {
							t.Fatalf("%d attempts: %v", n, err)
						}
					}
				}
				if busy[0].calls.Load() == 0 {
					t.Error("nothing was shed")
				}
			})
		})
	}
}

func TestWhatIsShedByTheOnlyInstanceIsNotTriedAgain(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.shedding("a", "0")
		c := w.dial()
		connected()
		_, err := call(t.Context(), c, look)
		if n := len(attempts(t, err)); n != 1 || h.calls.Load() != 1 || !errors.Is(err, failure.New(failure.ResourceExhausted, "").WithReason(failure.ReasonShed, failure.Domain)) {
			t.Errorf("%d attempts: %v", n, err)
		}
		// What is passed on by a server that has begun with its own call does not say so.
		var e *resilience.CallError
		if errors.As(err, &e); failure.FromStatus(e.GRPCStatus()).Shed() {
			t.Errorf("passed on as %v", e.GRPCStatus())
		}
	})
}

// Of a service that refuses everything, nearly all calls are held back; the others are not sent twice. Once it accepts
// again, everything gets through within 8 s.
func TestCallsOfAServiceThatRefusesThemAreHeldBack(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		var mu sync.Mutex
		down := true
		h := w.start("a", func(_ *rpc.ServerConfig, h *handler) {
			h.unary = func(context.Context, string) (string, error) {
				mu.Lock()
				defer mu.Unlock()
				if down {
					return "", failure.New(failure.Unavailable, "down")
				}
				return "up", nil
			}
		})
		c := w.dial(func(cfg *rpc.ClientConfig) { cfg.Balance.Ejection.Off = true })
		connected()
		throttled := failure.New(failure.ResourceExhausted, "").WithReason(failure.ReasonThrottled, failure.Domain)
		second := func() (refused, ok int) {
			for range 100 {
				switch _, err := call(t.Context(), c, say); {
				case err == nil:
					ok++
				case errors.Is(err, throttled):
					refused++
					var e *resilience.CallError
					if errors.As(err, &e); e.RefusedBy != "throttle" || len(e.Attempts) != 0 || e.Remaining <= 0 {
						t.Fatalf("%+v", e)
					}
				}
				wait(10 * time.Millisecond)
			}
			return refused, ok
		}
		for range 20 {
			second()
		}
		before := h.calls.Load()
		if refused, _ := second(); refused < 85 || h.calls.Load()-before != int64(100-refused) {
			t.Errorf("%d of 100 calls are held back, %d are sent", refused, h.calls.Load()-before)
		}
		mu.Lock()
		down = false
		mu.Unlock()
		for range 7 {
			second()
		}
		if _, ok := second(); ok < 95 {
			t.Errorf("%d of 100 calls get through 8 s after the end", ok)
		}
	})
}

func TestACallTakesItsFactsAlong(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		seen := make(chan metadata.MD, 10)
		w.start("a", func(_ *rpc.ServerConfig, h *handler) {
			h.unary = func(ctx context.Context, _ string) (string, error) {
				md, _ := metadata.FromIncomingContext(ctx)
				seen <- md
				if len(md.Get(resilience.HeaderAttempt)) == 0 && len(md.Get("fail")) > 0 {
					return "", failure.Unavailable
				}
				return "", nil
			}
		})
		c := w.dial(func(cfg *rpc.ClientConfig) {
			cfg.Methods = map[string]rpc.MethodPolicy{say: {Criticality: resilience.Sheddable}}
		})
		connected()
		for _, tt := range []struct {
			name                         string
			ctx                          context.Context
			method                       string
			criticality, tenant, attempt string
		}{
			{"the default costs nothing", t.Context(), look, "", "", ""},
			{"a method's level", t.Context(), say, "sheddable", "", ""},
			{"chosen", resilience.WithTenant(resilience.WithCriticality(t.Context(), resilience.CriticalPlus), "acme"), say, "critical_plus", "acme", ""},
			{"inherited", resilience.WithRequest(t.Context(), resilience.Request{Criticality: resilience.SheddablePlus, Tenant: "acme", Attempt: 2}), look, "sheddable_plus", "acme", "2"},
			{"over what is passed on", metadata.AppendToOutgoingContext(resilience.WithTenant(t.Context(), "acme"), resilience.HeaderTenant, "evil", resilience.HeaderTenant, "worse"), look, "", "acme", ""},
			{"a further attempt", metadata.AppendToOutgoingContext(resilience.WithRequest(t.Context(), resilience.Request{}), "fail", "1"), look, "", "", "1"},
		} {
			if _, err := call(tt.ctx, c, tt.method); err != nil {
				t.Fatalf("%s: %v", tt.name, err)
			}
			md := <-seen
			if tt.attempt != "" && len(md.Get("fail")) > 0 {
				md = <-seen
			}
			for key, want := range map[string]string{
				resilience.HeaderCriticality: tt.criticality, resilience.HeaderTenant: tt.tenant, resilience.HeaderAttempt: tt.attempt,
			} {
				if got := strings.Join(md.Get(key), ","); got != want {
					t.Errorf("%s: %s is %q, want %q", tt.name, key, got, want)
				}
			}
		}
	})
}

func TestALimitedClientRefusesAtOnce(t *testing.T) {
	for _, tt := range []struct {
		by     string
		change func(*resilience.Policy)
		calls  int // that are let through, while they hang
	}{
		{"bulkhead", func(p *resilience.Policy) { p.MaxInFlight = 3 }, 3},
		{"rate limit", func(p *resilience.Policy) { p.Rate, p.Burst = 1, 2 }, 2},
	} {
		t.Run(tt.by, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				h := w.start("a", func(_ *rpc.ServerConfig, h *handler) { h.unary = block })
				c := w.dial(func(cfg *rpc.ClientConfig) { tt.change(&cfg.Policy) })
				connected()
				ctx, cancel := context.WithCancel(t.Context())
				var wg sync.WaitGroup
				for range tt.calls {
					wg.Go(func() { call(ctx, c, say) })
				}
				connected()
				start := time.Now()
				_, err := call(t.Context(), c, say)
				var e *resilience.CallError
				if !errors.As(err, &e) || e.RefusedBy != tt.by || time.Since(start) > 0 || h.calls.Load() != int64(tt.calls) {
					t.Errorf("%d calls arrive, then after %v: %v", h.calls.Load(), time.Since(start), err)
				}
				cancel()
				wg.Wait()
				wait(3 * time.Second)
				ctx, cancel = context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if _, err := call(ctx, c, say); failure.CodeOf(err) != failure.DeadlineExceeded {
					t.Errorf("places are not given back: %v", err)
				}
			})
		})
	}
}

// A policy that changes while a client is in use is in force for the next call, for its target and methods alone. One
// that does not go together with the configuration is refused.
func TestPoliciesChangeWhileTheClientIsInUse(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.start("a", func(_ *rpc.ServerConfig, h *handler) { h.unary = block })
		live := policy.NewLive(nil)
		c := w.dial(func(cfg *rpc.ClientConfig) {
			cfg.Policies, cfg.Policy.Timeout = live, 3*time.Second
			cfg.Policy.Throttle.K = -1
			cfg.Balance.Ejection.Off = true
		})
		connected()
		lasts := func(method string, want time.Duration, attempts int64) {
			t.Helper()
			before, start := h.calls.Load(), time.Now()
			_, err := call(t.Context(), c, method)
			if took := time.Since(start); took != want || h.calls.Load()-before != attempts {
				t.Errorf("%s: %d attempts in %v, want %d in %v: %v", method, h.calls.Load()-before, took, attempts, want, err)
			}
		}
		lasts(say, 3*time.Second, 1)
		calls := policy.Calls{Policy: resilience.Policy{Timeout: time.Second}}
		live.Set("echo", policy.Service{Calls: calls})
		lasts(say, time.Second, 1)
		calls.Methods = map[string]policy.Method{
			"/holdfast.test.Echo/": {Timeout: 2 * time.Second},
			look:                   {Timeout: 500 * time.Millisecond, AttemptTimeout: 200 * time.Millisecond, Safe: policy.SafeNever},
		}
		live.Set("echo", policy.Service{Calls: calls})
		lasts(say, 2*time.Second, 1)
		lasts(look, 500*time.Millisecond, 1)
		calls.Policy.Timeout = -1
		live.Set("echo", policy.Service{Calls: calls})
		lasts(say, 2*time.Second, 1)
		live.Set("another", policy.Service{})
		lasts(say, 2*time.Second, 1)
		live.Delete("echo")
		lasts(say, 3*time.Second, 1)
	})
}
