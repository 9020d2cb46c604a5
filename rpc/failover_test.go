package rpc_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/resilience"
	"github.com/holdfast-go/holdfast/rpc"
)

// answers makes an instance fail with err, or answer its id if that is nil.
func answers(id string, err error) func(*rpc.ServerConfig, *handler) {
	return func(_ *rpc.ServerConfig, h *handler) {
		h.unary = func(context.Context, string) (string, error) { return id, err }
	}
}

// attempts are those of a failed call.
func attempts(t *testing.T, err error) []resilience.Attempt {
	t.Helper()
	var call *resilience.CallError
	if !errors.As(err, &call) {
		t.Fatalf("%T: %v", err, err)
	}
	return call.Attempts
}

var errBusy = failure.New(failure.Unavailable, "try elsewhere")

func TestASafeCallIsTriedOnAnotherInstanceEachTime(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		hosts := []*host{w.start("a", answers("", errBusy)), w.start("b", answers("", errBusy)), w.start("c", answers("", errBusy))}
		c := w.dial()
		connected()
		_, err := call(t.Context(), c, look)
		if !errors.Is(err, failure.Unavailable) {
			t.Fatal(err)
		}
		for _, h := range hosts {
			if n := h.calls.Load(); n != 1 {
				t.Errorf("%s: %d calls", h.id, n)
			}
		}
		if got := attempts(t, err); len(got) != 3 || !strings.Contains(err.Error(), "attempt 3 at ") || !strings.Contains(err.Error(), "attempts used up") {
			t.Error(err)
		}
	})
}

func TestAnUnsafeCallThatMayHaveRunIsNotRepeated(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		hosts := []*host{w.start("a", answers("", errBusy)), w.start("b", answers("", errBusy))}
		c := w.dial()
		connected()
		_, err := call(t.Context(), c, say)
		if n := hosts[0].calls.Load() + hosts[1].calls.Load(); n != 1 || !strings.Contains(err.Error(), "not declared safe to repeat") {
			t.Errorf("%d calls: %v", n, err)
		}
		if _, err = call(rpc.WithIdempotencyKey(t.Context(), "k"), c, say); len(attempts(t, err)) != 3 {
			t.Errorf("with a key: %v", err)
		}
	})
}

// Options win over everything: where another policy picks, nothing is known of what became of an attempt.
func TestAnUnsafeCallIsNotRepeatedUnderAnotherBalancer(t *testing.T) {
	for _, config := range []string{`{"loadBalancingConfig":[{"round_robin":{}}]}`, `{"methodConfig":[{"name":[{}]}]}`} {
		bubble(t, func(t *testing.T, w *world) {
			h := w.start("a", answers("", errBusy))
			c := w.dial(func(cfg *rpc.ClientConfig) { cfg.Options = append(cfg.Options, grpc.WithDefaultServiceConfig(config)) })
			connected()
			_, err := call(t.Context(), c, say)
			if n := h.calls.Load(); n != 1 || !strings.Contains(err.Error(), "not declared safe to repeat") {
				t.Errorf("%s: %d calls: %v", config, n, err)
			}
			if _, err = call(t.Context(), c, look); len(attempts(t, err)) != 3 {
				t.Errorf("%s: a safe one: %v", config, err)
			}
		})
	}
}

func TestAMethodCanBeDeclaredSafe(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.start("a", answers("", errBusy))
		c := w.dial(func(cfg *rpc.ClientConfig) { cfg.Methods = map[string]rpc.MethodPolicy{say: {Safe: true}} })
		if _, err := call(t.Context(), c, say); len(attempts(t, err)) != 3 {
			t.Error(err)
		}
	})
}

func TestKillingAnInstanceInTheMiddleOfACall(t *testing.T) {
	for _, tc := range []struct {
		method, want string
		runs         int64
	}{{look, "other", 1}, {say, "", 0}} {
		t.Run(tc.method, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				entered := make(chan struct{})
				victim := w.start("victim", func(_ *rpc.ServerConfig, h *handler) {
					h.unary = func(ctx context.Context, in string) (string, error) { close(entered); return block(ctx, in) }
				})
				c := w.dial()
				connected()
				var other *host
				go func() { <-entered; other = w.start("other"); connected(); victim.kill() }()
				who, err := call(t.Context(), c, tc.method)
				if who != tc.want || other.calls.Load() != tc.runs {
					t.Errorf("answer %q, %d calls at the other: %v", who, other.calls.Load(), err)
				}
				if tc.want == "" && (!errors.Is(err, failure.Unavailable) || len(attempts(t, err)) != 1 || attempts(t, err)[0].Instance != "victim") {
					t.Error(err)
				}
			})
		})
	}
}

func TestNoCallFailsForAnInstanceThatIsDown(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		down := w.start("down")
		w.start("up")
		c := w.dial()
		connected()
		share(t, c, say, 10)
		down.kill() // the registry knows nothing of it
		connected()
		if counts := share(t, c, say, 50); counts["up"] != 50 {
			t.Errorf("%v", counts)
		}
	})
}

func TestARestartedInstanceIsUsedWithinSeconds(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.start("a")
		c := w.dial()
		share(t, c, say, 1)
		h.kill()
		wait(2 * time.Minute) // connecting has backed off as far as it does
		w.net.Restore(h.addr)
		w.serve("again", h.addr)
		start := time.Now()
		who, err := call(t.Context(), c, say)
		if took := time.Since(start); who != "again" || err != nil || took > 2500*time.Millisecond {
			t.Errorf("%q after %v: %v", who, took, err)
		}
	})
}

func TestAFrozenInstanceCostsSafeCallsLittle(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		frozen := w.start("frozen")
		w.start("b")
		w.start("c")
		c := w.dial()
		connected()
		share(t, c, look, 300)
		wait(time.Second) // a summary of the latency may be 100 ms old
		w.net.Freeze(frozen.addr)
		var slow int
		var worst time.Duration
		for range 300 {
			start := time.Now()
			if who, err := call(t.Context(), c, look); err != nil || who == "frozen" {
				t.Fatalf("%q: %v", who, err)
			}
			took := time.Since(start)
			worst = max(worst, took)
			if took > 0 {
				slow++
			}
			wait(10 * time.Millisecond)
		}
		if slow > 3 || worst > 500*time.Millisecond {
			t.Errorf("%d slow calls, the slowest %v", slow, worst)
		}
		// Keepalive finds out, and the connection is given up.
		wait(time.Minute)
		if n := w.net.Conns(frozen.addr); n > 1 {
			t.Errorf("%d connections", n)
		}
		w.net.Restore(frozen.addr)
		wait(10 * time.Second)
		if counts := share(t, c, look, 300); counts["frozen"] == 0 {
			t.Errorf("after it has thawed: %v", counts)
		}
	})
}

func TestAnInstanceThatIsFrozenFromTheStartGetsNoCall(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		frozen := w.start("frozen")
		w.net.Freeze(frozen.addr)
		c := w.dial()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		_, err := call(ctx, c, say)
		if !errors.Is(err, failure.Unavailable) || !strings.Contains(err.Error(), "frozen "+frozen.addr) {
			t.Error(err)
		}
		w.start("b")
		connected()
		if counts := share(t, c, say, 50); counts["b"] != 50 {
			t.Errorf("%v", counts)
		}
	})
}

func TestOnlySafeCallsAreCutOffEarly(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.start("a", func(_ *rpc.ServerConfig, h *handler) { h.unary = block })
		w.start("b", func(_ *rpc.ServerConfig, h *handler) { h.unary = block })
		c := w.dial()
		connected()
		for method, want := range map[string]int{look: 3, say: 1} {
			start := time.Now()
			_, err := call(t.Context(), c, method)
			if !errors.Is(err, failure.DeadlineExceeded) || len(attempts(t, err)) != want || time.Since(start) != 5*time.Second {
				t.Errorf("%s: after %v: %v", method, time.Since(start), err)
			}
		}
	})
}

// What the only instance has not answered yet, it has not answered yet either when it is asked again.
func TestAnAttemptAtTheOnlyInstanceIsNotCutOff(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		var left atomic.Int64
		h := w.start("a", func(_ *rpc.ServerConfig, h *handler) {
			h.unary = func(ctx context.Context, in string) (string, error) {
				deadline, _ := ctx.Deadline()
				left.Store(int64(time.Until(deadline)))
				return block(ctx, in)
			}
		})
		c := w.dial()
		connected()
		start := time.Now()
		if _, err := call(t.Context(), c, look); !errors.Is(err, failure.DeadlineExceeded) || time.Since(start) != 5*time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		if n := h.calls.Load(); n != 1 || left.Load() < int64(4*time.Second) {
			t.Errorf("%d attempts, the last of which could take %v", n, time.Duration(left.Load()))
		}
	})
}

func TestAnEmptyBudgetReturnsTheErrorOfTheAttempt(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a := w.start("a", answers("", errBusy.WithReason("BUSY", "test")))
		c := w.dial(func(cfg *rpc.ClientConfig) {
			cfg.Policy.Budget = resilience.BudgetPolicy{Burst: 10, Floor: -1}
			cfg.Policy.Throttle.K = -1
		})
		const calls = 1000
		var last error
		for range calls {
			_, last = call(t.Context(), c, look)
		}
		if !errors.Is(last, errBusy.WithReason("BUSY", "test")) || !strings.Contains(last.Error(), "retry budget empty") {
			t.Error(last)
		}
		if n := a.calls.Load(); n > calls*11/10+10 {
			t.Errorf("%d attempts for %d calls", n, calls)
		}
	})
}

func TestPushback(t *testing.T) {
	for _, tc := range []struct {
		name     string
		trailer  []string
		after    time.Duration // RetryInfo
		attempts int
		least    time.Duration
		most     time.Duration
		stop     string
	}{
		{name: "none", attempts: 3, most: 100 * time.Millisecond},
		{name: "-1", trailer: []string{"-1"}, attempts: 1, stop: "asked to come back later"},
		{name: "0", trailer: []string{"0"}, attempts: 3, most: 100 * time.Millisecond},
		{name: "100", trailer: []string{"100"}, attempts: 3, least: 200 * time.Millisecond, most: 200 * time.Millisecond},
		{name: "300 is longer than a loop waits", trailer: []string{"300"}, attempts: 1, stop: "asked to come back later"},
		{name: "garbage", trailer: []string{"soon"}, attempts: 1, stop: "asked to come back later"},
		{name: "huge", trailer: []string{"99999999999999999999"}, attempts: 1, stop: "asked to come back later"},
		{name: "two", trailer: []string{"1", "2"}, attempts: 1, stop: "asked to come back later"},
		{name: "RetryInfo 100 ms", after: 100 * time.Millisecond, attempts: 3, least: 200 * time.Millisecond, most: 200 * time.Millisecond},
		{name: "RetryInfo 1 s", after: time.Second, attempts: 1, stop: "asked to come back later"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				w.start("a", func(_ *rpc.ServerConfig, h *handler) {
					h.unary = func(ctx context.Context, _ string) (string, error) {
						for _, v := range tc.trailer {
							if err := grpc.SetTrailer(ctx, metadata.Pairs("grpc-retry-pushback-ms", v)); err != nil {
								return "", err
							}
						}
						return "", errBusy.WithRetryAfter(tc.after)
					}
				})
				c := w.dial()
				connected()
				start := time.Now()
				_, err := call(t.Context(), c, look)
				took := time.Since(start)
				if n := len(attempts(t, err)); n != tc.attempts || took < tc.least || took > tc.most || !strings.Contains(err.Error(), tc.stop) {
					t.Errorf("%d attempts in %v: %v", n, took, err)
				}
			})
		})
	}
}

func TestAPushbackBeyondTheDeadlineEndsTheCallAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.start("a", answers("", errBusy.WithRetryAfter(200*time.Millisecond)))
		c := w.dial()
		connected()
		ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
		defer cancel()
		start := time.Now()
		if _, err := call(ctx, c, look); len(attempts(t, err)) != 1 || time.Since(start) > 0 {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
	})
}

func TestAHeaderSentBeforeTheFailureDoesNotPreventAnotherAttempt(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		for _, id := range []string{"a", "b"} {
			w.start(id, func(_ *rpc.ServerConfig, h *handler) {
				h.unary = func(ctx context.Context, _ string) (string, error) {
					if err := grpc.SetHeader(ctx, metadata.Pairs("who", id)); err != nil {
						return "", err
					}
					if id == "a" {
						return "", errBusy
					}
					return id, nil
				}
			})
		}
		c := w.dial()
		connected()
		for range 10 {
			var header metadata.MD
			if who, err := call(t.Context(), c, look, grpc.Header(&header)); who != "b" || err != nil || header.Get("who")[0] != "b" {
				t.Fatalf("%q, %v: %v", who, header, err)
			}
		}
	})
}

func TestWhatAnotherInstanceWouldAnswerAlikeIsNotRepeated(t *testing.T) {
	for _, code := range []failure.Code{
		failure.InvalidArgument, failure.NotFound, failure.AlreadyExists, failure.PermissionDenied, failure.ResourceExhausted,
		failure.FailedPrecondition, failure.Aborted, failure.OutOfRange, failure.Unimplemented, failure.Internal, failure.DataLoss,
		failure.Unauthenticated, failure.Unknown,
	} {
		t.Run(code.String(), func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				a, b := w.start("a", answers("", failure.New(code, "no"))), w.start("b", answers("", failure.New(code, "no")))
				_, err := call(t.Context(), w.dial(), look)
				if n := a.calls.Load() + b.calls.Load(); n != 1 || !errors.Is(err, code) {
					t.Errorf("%d calls: %v", n, err)
				}
			})
		})
	}
}

func TestLayersDoNotMultiplyTheirAttempts(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		var c *rpc.Client
		inner := w.start("inner", func(_ *rpc.ServerConfig, h *handler) {
			h.unary = func(ctx context.Context, _ string) (string, error) {
				if _, nested := rpc.IdempotencyKey(ctx); !nested {
					return "", errBusy
				}
				return call(ctx, c, look)
			}
		})
		c = w.dial()
		_, err := call(rpc.WithIdempotencyKey(t.Context(), "outer"), c, say)
		if n := inner.calls.Load(); n != 1+3 {
			t.Errorf("%d calls: %v", n, err)
		}
		if fail := failure.From(err); fail.Code != failure.Unavailable || fail.RetryAfter != time.Second {
			t.Errorf("%#v", fail)
		}
	})
}

// load makes calls until it is stopped, and counts those that failed.
type load struct {
	stop   chan struct{}
	done   sync.WaitGroup
	mu     sync.Mutex
	failed []error
	calls  int
}

func (w *world) load(c grpc.ClientConnInterface, method string, workers int) *load {
	l := &load{stop: make(chan struct{})}
	for range workers {
		l.done.Go(func() {
			for {
				select {
				case <-l.stop:
					return
				case <-time.After(20 * time.Millisecond):
				}
				_, err := call(w.t.Context(), c, method)
				l.mu.Lock()
				l.calls++
				if err != nil {
					l.failed = append(l.failed, err)
				}
				l.mu.Unlock()
			}
		})
	}
	return l
}

func (l *load) end(t *testing.T) {
	t.Helper()
	close(l.stop)
	l.done.Wait()
	if l.calls < 100 || len(l.failed) > 0 {
		t.Errorf("%d of %d calls failed, the first with: %v", len(l.failed), l.calls, append(l.failed, nil)[0])
	}
}

func TestKillsAndFreezesLoseNoSafeCall(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		hosts := []*host{w.start("a", slowly), w.start("b", slowly), w.start("c", slowly)}
		c := w.dial()
		connected()
		l := w.load(c, look, 2)
		wait(time.Second)
		for _, h := range hosts {
			w.net.Freeze(h.addr)
			wait(4 * time.Second)
			w.net.Restore(h.addr)
			wait(time.Second)
			w.net.Cut(h.addr)
			wait(2 * time.Second)
			w.net.Restore(h.addr)
			wait(3 * time.Second)
		}
		l.end(t)
	})
}
