package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/holdfast-go/holdfast/balance"
	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/registry"
	"github.com/holdfast-go/holdfast/resilience"
	"github.com/holdfast-go/holdfast/rpc"
)

func TestCallsAreSharedByAllInstances(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		for _, id := range []string{"a", "b", "c"} {
			w.start(id)
		}
		c := w.dial()
		connected()
		counts := share(t, c, say, 300)
		for _, id := range []string{"a", "b", "c"} {
			if counts[id] < 50 {
				t.Errorf("%v", counts)
			}
		}
	})
}

func TestACallWaitsForTheFirstInstance(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		c := w.dial()
		answer := make(chan string)
		go func() {
			who, err := call(t.Context(), c, say)
			answer <- fmt.Sprint(who, err)
		}()
		wait(3 * time.Second)
		w.start("late")
		if got := <-answer; got != "late<nil>" {
			t.Error(got)
		}
	})
}

func TestACallWithoutAnyInstanceSaysSoBeforeItsDeadline(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		c := w.dial()
		start := time.Now()
		_, err := call(t.Context(), c, say)
		if took := time.Since(start); took < 4*time.Second || took >= 5*time.Second {
			t.Errorf("took %v", took)
		}
		if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "call echo "+say) ||
			!strings.Contains(err.Error(), "no instance of echo is reachable: none is known") {
			t.Error(err)
		}
	})
}

func TestACallWithoutAReachableInstanceNamesThoseThatAreKnown(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.start("inst-1").kill()
		c := w.dial()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := call(ctx, c, say)
		if !errors.Is(err, failure.Unavailable) || ctx.Err() != nil {
			t.Errorf("%v, %v", err, ctx.Err())
		}
		for _, want := range []string{"inst-1 127.0.0.1:", "connection refused", "no instance of echo is reachable"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q is not in: %v", want, err)
			}
		}
		// What is sent on to others does not name them.
		if text := status.Convert(err).Message(); strings.Contains(text, "127.0.0.1") {
			t.Error(text)
		}
	})
}

func TestTheDefaultDeadlineIsFiveSecondsAndTravels(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		var left atomic.Int64
		w.start("a", func(_ *rpc.ServerConfig, h *handler) {
			h.unary = func(ctx context.Context, _ string) (string, error) {
				deadline, _ := ctx.Deadline()
				left.Store(int64(time.Until(deadline)))
				return block(ctx, "")
			}
		})
		c := w.dial()
		start := time.Now()
		_, err := call(t.Context(), c, say)
		if took, left := time.Since(start), time.Duration(left.Load()); took != 5*time.Second || left > 5*time.Second || left < 4900*time.Millisecond {
			t.Errorf("took %v, handler had %v", took, left)
		}
		if !errors.Is(err, failure.DeadlineExceeded) || !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
}

func TestAnInheritedDeadlineLeavesTimeForTheWayBack(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		var c *rpc.Client
		var outer, inner time.Time
		w.start("a", func(_ *rpc.ServerConfig, h *handler) {
			h.unary = func(ctx context.Context, in string) (string, error) {
				if outer.IsZero() {
					outer, _ = ctx.Deadline()
					return call(ctx, c, say)
				}
				inner, _ = ctx.Deadline()
				return "innermost", nil
			}
		})
		c = w.dial()
		connected()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if who, err := call(ctx, c, say); who != "innermost" || err != nil {
			t.Fatal(who, err)
		}
		if d := outer.Sub(inner); d < 40*time.Millisecond || d > 60*time.Millisecond {
			t.Errorf("the inner deadline is %v earlier", d)
		}
	})
}

func TestCancellingACallEndsItEverywhere(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		entered, left := make(chan struct{}), make(chan error, 1)
		w.start("a", func(_ *rpc.ServerConfig, h *handler) {
			h.unary = func(ctx context.Context, _ string) (string, error) {
				close(entered)
				<-ctx.Done()
				left <- ctx.Err()
				return "", ctx.Err()
			}
		})
		c := w.dial()
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-entered; cancel() }()
		start := time.Now()
		_, err := call(ctx, c, look)
		if !errors.Is(err, failure.Canceled) || !errors.Is(err, context.Canceled) || time.Since(start) > 0 {
			t.Error(err)
		}
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Errorf("the handler saw %v", err)
		}
	})
}

func TestCancellingACallThatWaitsEndsIt(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		c := w.dial()
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		_, err := call(ctx, c, say)
		if !errors.Is(err, context.Canceled) || status.Code(err) != codes.Canceled {
			t.Error(err)
		}
	})
}

func TestClosingAClientEndsTheCallsThatWait(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		c := w.dial()
		time.AfterFunc(time.Second, func() { c.Close() })
		start := time.Now()
		_, err := call(t.Context(), c, say)
		if status.Code(err) != codes.Canceled || time.Since(start) != time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		if _, err := call(t.Context(), c, say); status.Code(err) != codes.Canceled {
			t.Errorf("on a closed client: %v", err)
		}
	})
}

func TestAnErrorKeepsItsIdentityOverTheWire(t *testing.T) {
	soldOut := failure.New(failure.FailedPrecondition, "sold out").WithReason("OUT_OF_STOCK", "shop").WithMetadata("left", "0")
	bubble(t, func(t *testing.T, w *world) {
		w.start("inst-7", func(_ *rpc.ServerConfig, h *handler) {
			h.unary = func(context.Context, string) (string, error) {
				return "", fmt.Errorf("reserve: %w", soldOut.WithCause(errors.New("secret")))
			}
		})
		_, err := call(t.Context(), w.dial(), say)
		if !errors.Is(err, soldOut) || !errors.Is(err, failure.FailedPrecondition) {
			t.Error(err)
		}
		var call *resilience.CallError
		var fail *failure.Error
		if !errors.As(err, &call) || len(call.Attempts) != 1 || call.Attempts[0].Instance != "inst-7" {
			t.Errorf("%+v", call)
		}
		if !errors.As(err, &fail) || fail.Metadata["left"] != "0" || strings.Contains(err.Error(), "secret") {
			t.Errorf("%+v", fail)
		}
		if st, ok := status.FromError(err); !ok || st.Code() != codes.FailedPrecondition || st.Message() != "sold out" {
			t.Errorf("%v, %v", st, ok)
		}
	})
}

func TestRoundRobinTakesTurns(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.start("a")
		w.start("b")
		c := w.dial(func(cfg *rpc.ClientConfig) { cfg.Balance.Policy = balance.RoundRobin })
		connected()
		if counts := share(t, c, say, 10); counts["a"] != 5 || counts["b"] != 5 {
			t.Errorf("%v", counts)
		}
	})
}

func TestWhatIsKnownOfInstancesSurvivesUpdates(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.start("slow", func(_ *rpc.ServerConfig, h *handler) {
			h.unary = func(context.Context, string) (string, error) { wait(100 * time.Millisecond); return "slow", nil }
		})
		w.start("fast")
		c := w.dial()
		connected()
		share(t, c, say, 20)
		joined := w.start("joined")
		connected()
		if counts := share(t, c, say, 60); counts["slow"] > 1 {
			t.Errorf("after one has come: %v", counts)
		}
		if err := joined.stop(); err != nil {
			t.Fatal(err)
		}
		connected()
		if counts := share(t, c, say, 60); counts["slow"] > 1 {
			t.Errorf("after one has gone: %v", counts)
		}
	})
}

func TestADrainingInstanceIsUsedOnlyWhenAlone(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		leaving := w.start("leaving")
		other := w.start("other")
		c := w.dial()
		if err := leaving.said.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		connected()
		if counts := share(t, c, say, 50); counts["leaving"] != 0 {
			t.Errorf("%v", counts)
		}
		other.kill()
		connected()
		if counts := share(t, c, say, 5); counts["leaving"] != 5 {
			t.Errorf("%v", counts)
		}
	})
}

func TestInstancesThatTheRegistryLosesServeOn(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a, b := w.start("a"), w.start("b")
		c := w.dial()
		share(t, c, say, 4)
		w.mem.Freeze() // the leases end while nobody can do anything about it
		a.record.stop()
		b.record.stop()
		wait(time.Minute)
		w.mem.Thaw()
		wait(time.Minute)
		share(t, c, say, 20)
	})
}

func TestAPlainClientConnWorksWithTheOptions(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.start("a")
		cfg := rpc.ClientConfig{Options: []grpc.DialOption{grpc.WithContextDialer(w.net.Dial)}}
		conn, err := grpc.NewClient("holdfast:///echo", rpc.DialOptions(w.reg, cfg)...)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if who, err := call(t.Context(), conn, say); who != "a" || err != nil {
			t.Error(who, err)
		}
	})
}

func TestATargetOfAnotherSchemeIsCalledByTheSameRules(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.serve("a", "127.0.0.1:0")
		cfg := rpc.ClientConfig{Logger: quiet, Options: []grpc.DialOption{grpc.WithContextDialer(w.net.Dial)}}
		conn, err := grpc.NewClient("passthrough:///"+h.addr, rpc.DialOptions(w.reg, cfg)...)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if who, err := call(t.Context(), conn, say); who != "a" || err != nil {
			t.Fatal(who, err)
		}
		h.kill()
		_, err = call(t.Context(), conn, say)
		if !errors.Is(err, failure.Unavailable) || !strings.Contains(err.Error(), h.addr) {
			t.Error(err)
		}
	})
}

func TestAForeignClientIsServed(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.serve("a", "127.0.0.1:0")
		conn, err := grpc.NewClient("passthrough:///"+h.addr, grpc.WithContextDialer(w.net.Dial), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if who, err := call(t.Context(), conn, say); who != "a" || err != nil {
			t.Error(who, err)
		}
	})
}

func TestAnIdempotencyKeyReachesTheServer(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		var keys []string
		w.start("a", func(_ *rpc.ServerConfig, h *handler) {
			h.unary = func(ctx context.Context, _ string) (string, error) {
				key, ok := rpc.IdempotencyKey(ctx)
				keys = append(keys, fmt.Sprint(key, ok))
				return "", nil
			}
		})
		c := w.dial()
		for _, ctx := range []context.Context{
			t.Context(),
			rpc.WithIdempotencyKey(t.Context(), "order 1"),
			rpc.WithIdempotencyKey(t.Context(), ""),
			rpc.WithIdempotencyKey(rpc.WithIdempotencyKey(t.Context(), "outer"), "inner"),
			metadata.AppendToOutgoingContext(t.Context(), "idempotency-key", strings.Repeat("x", 257)),
		} {
			if _, err := call(ctx, c, say); err != nil {
				t.Error(err)
			}
		}
		if got, want := fmt.Sprint(keys), "[false order 1true false innertrue false]"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
	})
}

func TestABadIdempotencyKeyIsNotSent(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.start("a")
		c := w.dial()
		for _, key := range []string{"naïve", "a\nb", strings.Repeat("x", 257)} {
			if _, err := call(rpc.WithIdempotencyKey(t.Context(), key), c, say); !errors.Is(err, failure.InvalidArgument) {
				t.Errorf("key %q: %v", key, err)
			}
		}
		if n := h.calls.Load(); n != 0 {
			t.Errorf("%d calls", n)
		}
	})
}

func TestAWrongConfigurationSaysEverythingThatIsWrong(t *testing.T) {
	reg := registry.New(nil, registry.Config{})
	_, err := rpc.Dial(reg, "echo", rpc.ClientConfig{
		Policy:  resilience.Policy{MaxAttempts: -1},
		Methods: map[string]rpc.MethodPolicy{"Echo/Say": {}, "/a.B/C": {Timeout: -1}},
	})
	for _, want := range []string{"rpc dial echo", "MaxAttempts", `"Echo/Say"`, "/a.B/C"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
	if _, err := rpc.Dial(reg, "no/such name", rpc.ClientConfig{}); err == nil {
		t.Error("a service name with a slash was taken")
	}
}

func TestMethodsOfAClientCanDiffer(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.start("a", func(_ *rpc.ServerConfig, h *handler) { h.unary = block })
		c := w.dial(func(cfg *rpc.ClientConfig) {
			cfg.Methods = map[string]rpc.MethodPolicy{
				"/holdfast.test.Echo/": {Timeout: 2 * time.Second},
				look:                   {Timeout: time.Second, MaxAttempts: 1},
			}
		})
		for method, want := range map[string]time.Duration{say: 2 * time.Second, look: time.Second} {
			start := time.Now()
			if _, err := call(t.Context(), c, method); !errors.Is(err, failure.DeadlineExceeded) || time.Since(start) != want {
				t.Errorf("%s: %v after %v", method, err, time.Since(start))
			}
		}
	})
}
