package rpc_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/policy"
	"github.com/holdfast-go/holdfast/resilience"
	"github.com/holdfast-go/holdfast/rpc"
)

// straggler is a service of two instances, of which whichever is called first by a call can be told what to do.
type straggler struct {
	hosts []*host
	first atomic.Pointer[func(ctx context.Context) (string, error)] // nil: answers its id after 10 ms
	other atomic.Pointer[func(ctx context.Context) (string, error)]
	tries atomic.Int64 // of the call under way
	seen  chan metadata.MD
}

// stragglers returns it, warm: the client knows how long calls take.
func (w *world) stragglers(c func() grpc.ClientConnInterface) (*straggler, grpc.ClientConnInterface) {
	s := &straggler{seen: make(chan metadata.MD, 100)}
	for _, id := range []string{"a", "b"} {
		s.hosts = append(s.hosts, w.start(id, func(_ *rpc.ServerConfig, h *handler) {
			h.unary = func(ctx context.Context, _ string) (string, error) {
				md, _ := metadata.FromIncomingContext(ctx)
				select {
				case s.seen <- md:
				default:
				}
				if err := grpc.SetHeader(ctx, metadata.Pairs("who", id)); err != nil {
					return "", err
				}
				if err := grpc.SetTrailer(ctx, metadata.Pairs("who-too", id)); err != nil {
					return "", err
				}
				script := &s.other
				if s.tries.Add(1) == 1 {
					script = &s.first
				}
				if f := script.Load(); f != nil {
					who, err := (*f)(ctx)
					if who == "" {
						who = id
					}
					return who, err
				}
				wait(10 * time.Millisecond)
				return id, nil
			}
		}))
	}
	client := c()
	connected()
	for range 150 {
		s.tries.Store(0)
		if _, err := call(w.ctx, client, look); err != nil {
			w.t.Fatal(err)
		}
	}
	wait(200 * time.Millisecond) // what is known is kept for so long
	s.tries.Store(0)
	s.seen = make(chan metadata.MD, 100)
	return s, client
}

func (s *straggler) does(first, other func(context.Context) (string, error)) {
	s.tries.Store(0)
	s.first.Store(nil)
	s.other.Store(nil)
	if first != nil {
		s.first.Store(&first)
	}
	if other != nil {
		s.other.Store(&other)
	}
}

func after(d time.Duration, err error) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		select {
		case <-time.After(d):
			return "", err
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

// An instance stalls in the middle of a call. Another one is asked when most calls are over, and its answer is the
// call's, with header, trailer and peer; the first attempt is cancelled.
func TestASlowCallIsHedged(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		s, c := w.stragglers(func() grpc.ClientConnInterface { return w.dial() })
		for range 5 {
			var ended atomic.Int64
			s.does(func(ctx context.Context) (string, error) {
				<-ctx.Done()
				ended.Add(1)
				return "", ctx.Err()
			}, nil)
			var header, trailer metadata.MD
			var from peer.Peer
			finished := 0
			start := time.Now()
			who, err := call(t.Context(), c, look, grpc.Header(&header), grpc.Trailer(&trailer), grpc.Peer(&from), grpc.OnFinish(func(err error) {
				if finished++; err != nil {
					t.Error(err)
				}
			}))
			if took := time.Since(start); err != nil || took > 50*time.Millisecond {
				t.Fatalf("after %v: %v", took, err)
			}
			if header.Get("who")[0] != who || trailer.Get("who-too")[0] != who || from.Addr.String() == "" || finished != 1 {
				t.Errorf("%q answered: header %v, trailer %v, peer %v, told %d times that it is over", who, header, trailer, from.Addr, finished)
			}
			synctest.Wait()
			if n := s.tries.Load(); n != 2 || ended.Load() != 1 {
				t.Errorf("%d attempts, %d cancelled", n, ended.Load())
			}
		}
	})
}

// Which of the two ends first decides, unless it is with a failure that the other one can make good.
func TestTheFirstAnswerOfAHedgedCallCounts(t *testing.T) {
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	for _, tt := range []struct {
		name         string
		first, other func(context.Context) (string, error)
		code         failure.Code
		took         time.Duration // beyond the hedge's delay of about 11 ms
		tries        int64
	}{
		{"the first", after(ms(20), nil), after(ms(500), nil), failure.OK, ms(10), 2},
		{"the hedge", after(ms(200), nil), after(ms(5), nil), failure.OK, ms(6), 2},
		{"the first, with no", after(ms(20), failure.NotFound), after(ms(500), nil), failure.NotFound, ms(10), 2},
		{"the hedge, with no", after(ms(200), nil), after(ms(5), failure.NotFound), failure.NotFound, ms(6), 2},
		{"the hedge is broken", after(ms(50), nil), after(ms(5), failure.Unavailable), failure.OK, ms(40), 2},
		{"the first is broken", after(ms(20), failure.Unavailable), after(ms(50), nil), failure.OK, ms(51), 2},
		{"the hedge is over a quota", after(ms(50), nil), after(ms(5), failure.ResourceExhausted), failure.OK, ms(40), 2},
		{"the hedge has too little time", after(ms(50), nil), after(ms(5), failure.DeadlineExceeded), failure.OK, ms(40), 2},
		{"both are over a quota", after(ms(20), failure.ResourceExhausted), after(ms(50), failure.ResourceExhausted), failure.ResourceExhausted, ms(51), 2},
		{"both are broken", after(ms(20), failure.Unavailable), after(ms(50), failure.Unavailable), failure.Unavailable, ms(500), 3},
		{"it is fast", nil, nil, failure.OK, 0, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				s, c := w.stragglers(func() grpc.ClientConnInterface { return w.dial() })
				s.does(tt.first, tt.other)
				start := time.Now()
				who, err := call(t.Context(), c, look)
				if took := time.Since(start) - 11*time.Millisecond; failure.CodeOf(err) != tt.code || took > tt.took || s.tries.Load() != tt.tries {
					t.Errorf("%q, %v with %d attempts, %v after the hedge", who, err, s.tries.Load(), took)
				}
				var e *resilience.CallError
				if errors.As(err, &e) {
					hedges := 0
					for _, a := range e.Attempts {
						if a.Hedge {
							hedges++
						}
					}
					if int64(len(e.Attempts)) != tt.tries || hedges != 1 {
						t.Errorf("%d hedges among %d attempts: %v", hedges, len(e.Attempts), err)
					}
				}
			})
		})
	}
}

// A call that may be followed by another attempt is not one that may run twice at the same time.
func TestWhatIsHedged(t *testing.T) {
	hedge := resilience.HedgePolicy{Share: 0.04}
	methods := func(m map[string]rpc.MethodPolicy) func(*rpc.ClientConfig) {
		return func(cfg *rpc.ClientConfig) { cfg.Methods = m }
	}
	live := func(m map[string]policy.Method) func(*rpc.ClientConfig) {
		return func(cfg *rpc.ClientConfig) {
			cfg.Policies = policy.NewLive(map[string]policy.Service{"echo": {Calls: policy.Calls{Methods: m}}})
		}
	}
	for _, tt := range []struct {
		name   string
		ctx    func(context.Context) context.Context
		method string
		change func(*rpc.ClientConfig)
		hedged bool
	}{
		{name: "what changes nothing", method: look, hedged: true},
		{name: "what must not run twice", method: say},
		{name: "nor with hedges", method: say, change: methods(map[string]rpc.MethodPolicy{say: {Hedge: hedge}})},
		{name: "what is idempotent", method: put},
		{name: "with hedges for all", method: put, change: func(cfg *rpc.ClientConfig) { cfg.Policy.Hedge = hedge }},
		{name: "with hedges", method: put, change: methods(map[string]rpc.MethodPolicy{put: {Hedge: hedge}}), hedged: true},
		{name: "with live hedges", method: put, change: live(map[string]policy.Method{put: {Hedge: hedge}}), hedged: true},
		{name: "declared safe", method: say, change: methods(map[string]rpc.MethodPolicy{say: {Safe: true}})},
		{name: "declared safe, live", method: say, change: live(map[string]policy.Method{say: {Safe: policy.SafeAlways}})},
		{name: "declared safe, with hedges", method: say, change: methods(map[string]rpc.MethodPolicy{say: {Safe: true, Hedge: hedge}}), hedged: true},
		{
			name: "declared safe, with hedges, live", method: say,
			change: live(map[string]policy.Method{say: {Safe: policy.SafeAlways, Hedge: hedge}}), hedged: true,
		},
		{name: "declared unsafe, live", method: look, change: live(map[string]policy.Method{look: {Safe: policy.SafeNever}})},
		{name: "what is safe by its key alone", method: say, ctx: func(ctx context.Context) context.Context {
			return rpc.WithIdempotencyKey(ctx, "order-1")
		}},
		{name: "what may be shed", method: look, ctx: func(ctx context.Context) context.Context {
			return resilience.WithCriticality(ctx, resilience.SheddablePlus)
		}},
		{name: "a client without hedges", method: look, change: func(cfg *rpc.ClientConfig) { cfg.Policy.Hedge.Share = -1 }},
		{name: "a method without hedges", method: look, change: methods(map[string]rpc.MethodPolicy{look: {Hedge: resilience.HedgePolicy{Share: -1}}})},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				s, c := w.stragglers(func() grpc.ClientConnInterface {
					if tt.change == nil {
						return w.dial()
					}
					return w.dial(tt.change)
				})
				ctx := t.Context()
				if tt.ctx != nil {
					ctx = tt.ctx(ctx)
				}
				for range 50 {
					if _, err := call(ctx, c, tt.method); err != nil {
						t.Fatal(err)
					}
				}
				wait(200 * time.Millisecond)
				s.does(after(100*time.Millisecond, nil), nil)
				want := int64(1)
				if tt.hedged {
					want = 2
				}
				if _, err := call(ctx, c, tt.method); err != nil || s.tries.Load() != want {
					t.Errorf("%d attempts, not %d: %v", s.tries.Load(), want, err)
				}
			})
		})
	}
}

// A policy that changes does not take away what is known of the method's latency, which hedges go by.
func TestACallIsHedgedAfterAPolicyHasChanged(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		live := policy.NewLive(nil)
		s, c := w.stragglers(func() grpc.ClientConnInterface {
			return w.dial(func(cfg *rpc.ClientConfig) { cfg.Policies = live })
		})
		for _, share := range []float64{-1, 0.05} {
			live.Set("echo", policy.Service{Calls: policy.Calls{Methods: map[string]policy.Method{look: {Hedge: resilience.HedgePolicy{Share: share}}}}})
			s.does(after(100*time.Millisecond, nil), nil)
			if _, err := call(t.Context(), c, look); err != nil || (s.tries.Load() == 2) != (share > 0) {
				t.Errorf("share %v: %d attempts: %v", share, s.tries.Load(), err)
			}
		}
	})
}

// A hedge has its own goroutine; what goes wrong in an interceptor there must not end the process.
func TestAPanicInAHedgeIsAFailureOfIt(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		var panics atomic.Bool
		s, c := w.stragglers(func() grpc.ClientConnInterface {
			return w.dial(func(cfg *rpc.ClientConfig) {
				cfg.Options = append(cfg.Options, grpc.WithChainUnaryInterceptor(
					func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoker grpc.UnaryInvoker, opts ...grpc.CallOption) error {
						md, _ := metadata.FromOutgoingContext(ctx)
						if panics.Load() && len(md.Get(resilience.HeaderAttempt)) > 0 {
							panic("in the hedge")
						}
						return invoker(ctx, method, req, reply, cc, opts...)
					}))
			})
		})
		panics.Store(true)
		s.does(after(100*time.Millisecond, nil), nil)
		if _, err := call(t.Context(), c, look); failure.CodeOf(err) != failure.Internal {
			t.Errorf("the hedge panicked, and that is an answer: %v", err)
		}
	})
}

// Cancelling the call ends both attempts, and the deadline of the caller does.
func TestTheEndOfAHedgedCallEndsBothAttempts(t *testing.T) {
	for _, cancelled := range []bool{true, false} {
		bubble(t, func(t *testing.T, w *world) {
			s, c := w.stragglers(func() grpc.ClientConnInterface { return w.dial() })
			var ended atomic.Int64
			hang := func(ctx context.Context) (string, error) {
				<-ctx.Done()
				ended.Add(1)
				return "", ctx.Err()
			}
			s.does(hang, hang)
			ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
			defer cancel()
			want := failure.DeadlineExceeded
			if cancelled {
				want = failure.Canceled
				time.AfterFunc(50*time.Millisecond, cancel)
			}
			start := time.Now()
			_, err := call(ctx, c, look)
			if took := time.Since(start); failure.CodeOf(err) != want || took > 150*time.Millisecond {
				t.Errorf("after %v: %v", took, err)
			}
			synctest.Wait()
			wait(time.Millisecond)
			if n := s.tries.Load(); n < 2 || ended.Load() != n {
				t.Errorf("%d attempts, %d have ended", n, ended.Load())
			}
		})
	}
}

// With real concurrency and everything that an attempt writes to, for the race detector.
func TestHedgesShareNothing(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		s, c := w.stragglers(func() grpc.ClientConnInterface {
			return w.dial(func(cfg *rpc.ClientConfig) { cfg.Policy.Hedge.Share = 1 })
		})
		s.does(after(13*time.Millisecond, nil), after(2*time.Millisecond, nil))
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				for range 20 {
					s.tries.Store(0)
					var header, trailer metadata.MD
					var from peer.Peer
					in, out := wrapperspb.String("hello"), new(wrapperspb.StringValue)
					if err := c.Invoke(t.Context(), look, in, out, grpc.Header(&header), grpc.Trailer(&trailer), grpc.Peer(&from)); err != nil {
						t.Error(err)
						return
					}
					in.Value, out.Value = "over", "over"
					if len(header.Get("who")) != 1 || len(trailer.Get("who-too")) != 1 || header.Get("who")[0] != trailer.Get("who-too")[0] {
						t.Errorf("header %v, trailer %v", header, trailer)
					}
				}
			})
		}
		wg.Wait()
	})
}
