package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/idempotency"
	"github.com/holdfast-go/holdfast/resilience"
	"github.com/holdfast-go/holdfast/rpc"
)

// deduplicated makes an instance share store with others that do.
func deduplicated(store idempotency.Store, cfg rpc.DedupeConfig) func(*rpc.ServerConfig, *handler) {
	return func(c *rpc.ServerConfig, _ *handler) {
		ledger := idempotency.New(store, idempotency.Config{Logger: slog.New(slog.DiscardHandler)})
		c.UnaryInterceptors = append(c.UnaryInterceptors, rpc.Deduplicate(ledger, cfg))
	}
}

// answering makes an instance answer with f.
func answering(f func(context.Context, string) (string, error)) func(*rpc.ServerConfig, *handler) {
	return func(_ *rpc.ServerConfig, h *handler) { h.unary = f }
}

// sayWith calls say with a body of its own.
func sayWith(ctx context.Context, c grpc.ClientConnInterface, body string, opts ...grpc.CallOption) (string, error) {
	out := new(wrapperspb.StringValue)
	err := c.Invoke(ctx, say, wrapperspb.String(body), out, opts...)
	return out.GetValue(), err
}

func TestOfAHundredDuplicatesOneIsHandled(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		store := new(idempotency.Memory)
		var runs atomic.Int64
		place := answering(func(context.Context, string) (string, error) {
			n := runs.Add(1)
			wait(200 * time.Millisecond)
			return fmt.Sprint("order ", n), nil
		})
		w.start("a", deduplicated(store, rpc.DedupeConfig{}), place)
		w.start("b", deduplicated(store, rpc.DedupeConfig{}), place)
		c := w.dial()
		ctx := rpc.WithIdempotencyKey(t.Context(), "key")
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if got, err := call(ctx, c, say); err != nil || got != "order 1" {
					t.Errorf("%q, %v", got, err)
				}
			})
		}
		wg.Wait()
		if n := runs.Load(); n != 1 {
			t.Errorf("the handler ran %d times", n)
		}
	})
}

// An instance is killed after it has done what it was asked for and before anybody has heard of it: the call is repeated at
// another instance, and gets the answer.
func TestTheAnswerOfACallWhoseInstanceWasLost(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		store := new(idempotency.Memory)
		var runs atomic.Int64
		var first atomic.Pointer[host]
		lose := func(c *rpc.ServerConfig, _ *handler) {
			// Outside of the de-duplication: the answer is kept, but does not get out.
			c.UnaryInterceptors = append([]grpc.UnaryServerInterceptor{func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
				resp, err := next(ctx, req)
				if h := first.Swap(nil); h != nil {
					w.net.Cut(h.addr)
				}
				return resp, err
			}}, c.UnaryInterceptors...)
		}
		place := answering(func(context.Context, string) (string, error) { return fmt.Sprint("order ", runs.Add(1)), nil })
		a := w.start("a", deduplicated(store, rpc.DedupeConfig{}), lose, place)
		first.Store(a)
		c := w.dial()
		connected()
		w.start("b", deduplicated(store, rpc.DedupeConfig{}), place)
		got, err := call(rpc.WithIdempotencyKey(t.Context(), "key"), c, say)
		if err != nil || got != "order 1" || runs.Load() != 1 {
			t.Errorf("%q, %v after %d runs", got, err, runs.Load())
		}
	})
}

func TestWhatIsKeptOfACall(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		var err error
		h := w.start("a", deduplicated(new(idempotency.Memory), rpc.DedupeConfig{}),
			answering(func(_ context.Context, in string) (string, error) { return "answer to " + in, err }))
		c := w.dial()
		soldOut := failure.New(failure.FailedPrecondition, "sold out").WithReason("OUT_OF_STOCK", "shop").WithMetadata("left", "0")
		for i, test := range []struct {
			err  error
			kept bool
		}{
			{nil, true},
			{soldOut, true},
			{failure.New(failure.NotFound, "no such mug"), true},
			{soldOut.WithRetryAfter(time.Hour), false},
			{failure.New(failure.Aborted, "lost a race"), false},
			{failure.New(failure.Internal, "broken"), false},
			{fmt.Errorf("plain"), false},
		} {
			ctx := rpc.WithIdempotencyKey(t.Context(), fmt.Sprint("key-", i))
			before := h.calls.Load()
			err = test.err
			got1, err1 := call(ctx, c, say)
			err = nil
			var trailer metadata.MD
			got2, err2 := call(ctx, c, say, grpc.Trailer(&trailer))
			if ran := h.calls.Load() - before; (ran == 1) != test.kept || (len(trailer.Get("idempotent-replayed")) == 1) != test.kept {
				t.Errorf("%v: ran %d times, %v", test.err, ran, trailer)
			}
			if !test.kept {
				continue
			}
			e1, e2 := failure.From(err1), failure.From(err2)
			if got1 != got2 || (e1 == nil) != (e2 == nil) || e1 != nil && (e1.Code != e2.Code || e1.Message != e2.Message ||
				e1.Reason != e2.Reason || e1.Metadata["left"] != e2.Metadata["left"]) {
				t.Errorf("%v: %q, %v; repeated: %q, %v", test.err, got1, err1, got2, err2)
			}
		}
	})
}

func TestKeysThatAreRefused(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		hold := make(chan struct{})
		h := w.start("a", deduplicated(new(idempotency.Memory), rpc.DedupeConfig{Required: []string{say}}),
			answering(func(_ context.Context, in string) (string, error) {
				if in == "hang" {
					<-hold
				}
				return in, nil
			}))
		c := w.dial()
		key := func(k string) context.Context { return rpc.WithIdempotencyKey(t.Context(), k) }
		refused := func(name string, ctx context.Context, body string, code failure.Code, reason string) {
			t.Helper()
			before := h.calls.Load()
			_, err := sayWith(ctx, c, body)
			if e := failure.From(err); e == nil || e.Code != code || e.Reason != reason || h.calls.Load() != before {
				t.Errorf("%s: %v", name, err)
			}
		}
		refused("no key", t.Context(), "x", failure.InvalidArgument, "IDEMPOTENCY_KEY_MISSING")
		twice := metadata.AppendToOutgoingContext(t.Context(), "idempotency-key", "a", "idempotency-key", "b")
		refused("two keys", twice, "x", failure.InvalidArgument, "IDEMPOTENCY_KEY_INVALID")
		refused("no key at all", metadata.AppendToOutgoingContext(t.Context(), "idempotency-key", ""), "x", failure.InvalidArgument, "IDEMPOTENCY_KEY_INVALID")
		if _, err := sayWith(key("one"), c, "mug"); err != nil {
			t.Fatal(err)
		}
		refused("another request", key("one"), "tent", failure.InvalidArgument, "IDEMPOTENCY_KEY_REUSED")

		done := make(chan struct{})
		go func() {
			defer close(done)
			if got, err := sayWith(key("two"), c, "hang"); err != nil || got != "hang" {
				t.Errorf("%q, %v", got, err)
			}
		}()
		connected()
		ctx, cancel := context.WithTimeout(key("two"), time.Second/2)
		defer cancel()
		refused("under way", ctx, "hang", failure.Aborted, "IDEMPOTENCY_KEY_IN_USE")
		close(hold)
		<-done
	})
}

func TestCallsThatAreHandledEach(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.start("a", deduplicated(new(idempotency.Memory), rpc.DedupeConfig{}))
		c := w.dial()
		keyed := rpc.WithIdempotencyKey(t.Context(), "key")
		for name, each := range map[string]func() error{
			"without a key":       func() error { _, err := call(t.Context(), c, say); return err },
			"declared to be safe": func() error { _, err := call(keyed, c, look); return err },
			"with the keys of many": func() error {
				_, err := call(resilience.WithTenant(keyed, fmt.Sprint("t", h.calls.Load())), c, say)
				return err
			},
		} {
			before := h.calls.Load()
			for range 3 {
				if err := each(); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
			}
			if n := h.calls.Load() - before; n != 3 {
				t.Errorf("%s: handled %d times", name, n)
			}
		}
	})
}

func TestAPanicGivesTheKeyBack(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		broken := true
		w.start("a", deduplicated(new(idempotency.Memory), rpc.DedupeConfig{}),
			answering(func(context.Context, string) (string, error) {
				if broken {
					panic("broken")
				}
				return "repaired", nil
			}))
		c := w.dial()
		ctx := rpc.WithIdempotencyKey(t.Context(), "key")
		if _, err := call(ctx, c, say); failure.CodeOf(err) != failure.Internal {
			t.Fatal(err)
		}
		broken = false
		if got, err := call(ctx, c, say); err != nil || got != "repaired" {
			t.Errorf("%q, %v", got, err)
		}
	})
}

// The time of an attempt runs out while its request is being handled: the next one asks for that answer, and may have too little
// time for it as well. The call has more.
func TestAKeyedCallWaitsForItsFirstAttempt(t *testing.T) {
	for name, before := range map[string]int{"without history": 0, "far slower than usual": 200} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				store := new(idempotency.Memory)
				var runs atomic.Int64
				takes := 10 * time.Millisecond
				place := answering(func(context.Context, string) (string, error) {
					runs.Add(1)
					wait(takes) // whatever becomes of its caller
					return "done", nil
				})
				w.start("a", deduplicated(store, rpc.DedupeConfig{}), place)
				w.start("b", deduplicated(store, rpc.DedupeConfig{}), place)
				c := w.dial()
				connected()
				for i := range before {
					if _, err := call(rpc.WithIdempotencyKey(t.Context(), fmt.Sprint(i)), c, say); err != nil {
						t.Fatal(err)
					}
				}
				runs.Store(0)
				takes = 3 * time.Second
				begun := time.Now()
				got, err := call(rpc.WithIdempotencyKey(t.Context(), "key"), c, say)
				if took := time.Since(begun); err != nil || got != "done" || runs.Load() != 1 || took > takes+time.Second/2 {
					t.Errorf("after %v: %q, %v; it has run %d times", took, got, err, runs.Load())
				}
			})
		})
	}
}

// The word of somebody further in, about a key of their own, is an answer to a call without one.
func TestAKeyInUseFurtherInIsAnAnswer(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.start("a", answering(func(context.Context, string) (string, error) { return "", idempotency.ErrUnderWay }))
		w.start("b", answering(func(context.Context, string) (string, error) { return "", idempotency.ErrUnderWay }))
		c := w.dial()
		connected()
		_, err := call(t.Context(), c, look)
		if !errors.Is(err, failure.Aborted) || len(attempts(t, err)) != 1 || failure.From(err).Reason != failure.ReasonKeyInUse {
			t.Errorf("%v", err)
		}
	})
}
