package rpc_test

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/synctest"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/resilience"
	"github.com/holdfast-go/holdfast/rpc"
)

// witness is an observer of the calls of a client that keeps how they ended.
type witness struct {
	mu       sync.Mutex
	attempts []resilience.AttemptEnd
	calls    []resilience.CallEnd
}

func (w *witness) BeginCall(context.Context, resilience.CallInfo) resilience.CallObserver { return w }

func (w *witness) BeginServe(ctx context.Context, _ resilience.ServeInfo) (context.Context, resilience.ServeObserver) {
	return ctx, nil
}

func (w *witness) BeginAttempt(resilience.AttemptInfo) resilience.Along { return resilience.Along{} }

func (w *witness) EndAttempt(e resilience.AttemptEnd) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.attempts = append(w.attempts, e)
}

func (w *witness) End(e resilience.CallEnd) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls = append(w.calls, e)
}

// Also one that was over before the message to be sent was written, which grpc-go first calls a good end.
func TestTheEndOfAStreamIsObservedAsItsUserLearnsIt(t *testing.T) {
	for _, early := range []bool{false, true} {
		bubble(t, func(t *testing.T, w *world) {
			w.start("a", func(_ *rpc.ServerConfig, h *handler) {
				h.stream = func(s grpc.ServerStream) error {
					if !early {
						_ = s.RecvMsg(new(wrapperspb.StringValue))
					}
					return failure.New(failure.Unavailable, "out of order")
				}
			})
			seen := new(witness)
			c := w.dial(func(cfg *rpc.ClientConfig) { cfg.Observer = seen })
			connected()
			s, err := c.NewStream(t.Context(), chatDesc, chat)
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if err := s.SendMsg(wrapperspb.String("hello")); errors.Is(err, io.EOF) != early {
				t.Fatal(err)
			}
			if n := len(seen.attempts) + len(seen.calls); n > 0 {
				t.Errorf("early %v: %d ends were told before anybody could know them", early, n)
			}
			if _, err := receive(s); !errors.Is(err, failure.Unavailable) {
				t.Fatal(err)
			}
			if len(seen.attempts) != 1 || seen.attempts[0].Outcome != resilience.Unavailable || seen.attempts[0].Instance != "a" {
				t.Errorf("early %v: the attempt: %+v", early, seen.attempts)
			}
			if len(seen.calls) != 1 || !errors.Is(seen.calls[0].Err, failure.Unavailable) {
				t.Errorf("early %v: the call: %+v", early, seen.calls)
			}
		})
	}
}

// Its end is told by the stream itself, whoever picks.
func TestTheEndOfAStreamIsObservedUnderAnotherBalancer(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.start("a")
		seen := new(witness)
		c := w.dial(func(cfg *rpc.ClientConfig) {
			cfg.Observer = seen
			cfg.Options = append(cfg.Options, grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"round_robin":{}}]}`))
		})
		connected()
		s, err := c.NewStream(t.Context(), chatDesc, chat)
		for err == nil {
			_, err = receive(s)
		}
		if !errors.Is(err, io.EOF) || len(seen.attempts) != 1 || len(seen.calls) != 1 || seen.calls[0].Err != nil {
			t.Errorf("%v: %+v, %+v", err, seen.attempts, seen.calls)
		}
	})
}
