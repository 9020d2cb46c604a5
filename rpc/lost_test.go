package rpc_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/rpc"
)

// hook is called in the middle of a call: when its header is queued, and before its request is.
type hook func(method string)

func (h hook) HandleRPC(_ context.Context, s stats.RPCStats) {
	if out, ok := s.(*stats.OutHeader); ok {
		h(out.FullMethod)
	}
}
func (hook) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (hook) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (hook) HandleConn(context.Context, stats.ConnStats)                       {}

// grpc-go tries such a call again by itself, and then there is no instance for the moment. That one was picked before
// does not mean that it has seen the call.
func TestAnUnsafeCallWhoseHeaderWasNeverWrittenWaitsForTheInstanceToBeBack(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.start("a")
		var once sync.Once
		c := w.dial(func(cfg *rpc.ClientConfig) {
			cfg.Options = append(cfg.Options, grpc.WithStatsHandler(hook(func(method string) {
				if method == say {
					once.Do(func() {
						w.net.Cut(h.addr)
						wait(100 * time.Millisecond)
						w.net.Restore(h.addr)
					})
				}
			})))
		})
		connected()
		if _, err := call(t.Context(), c, look); err != nil {
			t.Fatal(err)
		}
		// A large request to a frozen instance keeps the writer of the connection busy.
		w.net.Freeze(h.addr)
		large := make(chan error, 1)
		go func() {
			large <- c.Invoke(t.Context(), look, wrapperspb.String(strings.Repeat("x", 1<<20)), new(wrapperspb.StringValue))
		}()
		connected()
		before := h.calls.Load()
		if who, err := call(t.Context(), c, say); who != "a" || err != nil {
			t.Errorf("%q, %v", who, err)
		}
		if err := <-large; err != nil {
			t.Error(err)
		}
		if n := h.calls.Load() - before; n != 2 {
			t.Errorf("the instance has seen %d calls, want one each", n)
		}
	})
}

// early is a client whose requests are on their way only when the answer to their header has come, and instances of which a
// answers so with err, and pushback if that is not "".
func (w *world) early(err error, pushback string, others []string, change ...func(*rpc.ClientConfig)) (a *host, c *rpc.Client) {
	a = w.start("a", func(_ *rpc.ServerConfig, h *handler) {
		h.stream = func(s grpc.ServerStream) error {
			if pushback != "" {
				s.SetTrailer(metadata.Pairs("grpc-retry-pushback-ms", pushback))
			}
			return err
		}
	})
	for _, id := range others {
		w.start(id)
	}
	c = w.dial(append(change, func(cfg *rpc.ClientConfig) {
		cfg.Methods = map[string]rpc.MethodPolicy{chat: {Safe: true}}
		cfg.Options = append(cfg.Options, grpc.WithStatsHandler(hook(func(string) { wait(time.Millisecond) })))
	})...)
	connected()
	return a, c
}

// grpc-go calls it no error that a call was over before its request was written.
func TestAnInstanceThatAnswersBeforeTheRequestIsEjected(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		log := new(journal)
		a, c := w.early(errBusy, "", []string{"b", "c"}, func(cfg *rpc.ClientConfig) { cfg.Logger = log.logger() })
		if failed := steadily(t.Context(), c, chat, 500); failed > 0 {
			t.Errorf("%d calls failed", failed)
		}
		if got := a.calls.Load(); log.count("instance ejected") != 1 || got > 12 {
			t.Errorf("%d of 500 calls to the sick one; log:\n%s", got, log.buf.String())
		}
	})
}

func TestAnInstanceThatAnswersBeforeTheRequestIsNotTriedAgain(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a, c := w.early(errBusy, "", []string{"b"}, func(cfg *rpc.ClientConfig) { cfg.Balance.Ejection.Off = true })
		seen := int64(0)
		for range 50 {
			if _, err := call(t.Context(), c, chat); err != nil {
				t.Error(err)
			}
			if n := a.calls.Load(); n > seen+1 {
				t.Errorf("it was tried %d times for a call", n-seen)
			}
			seen = a.calls.Load()
		}
		if seen == 0 {
			t.Error("it was never tried")
		}
	})
}

func TestAnAnswerBeforeTheRequestMayAskForAPause(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a, c := w.early(errBusy, "-1", nil)
		_, err := call(t.Context(), c, chat)
		if n := a.calls.Load(); n != 1 || !strings.Contains(err.Error(), "asked to come back later") {
			t.Errorf("%d calls: %v", n, err)
		}
	})
}

// What a server hands on of the error of its own call is what GRPCStatus says.
func TestTheStatusOfABrokenConnectionHasNoAddresses(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		entered := make(chan struct{}, 2)
		h := w.start("a", func(_ *rpc.ServerConfig, h *handler) {
			h.unary = func(ctx context.Context, in string) (string, error) {
				entered <- struct{}{}
				return block(ctx, in)
			}
			h.stream = func(s grpc.ServerStream) error {
				if err := s.SendMsg(wrapperspb.String("first")); err != nil {
					return err
				}
				entered <- struct{}{}
				<-s.Context().Done()
				return s.Context().Err()
			}
		})
		c := w.dial()
		connected()
		s, err := c.NewStream(t.Context(), chatDesc, chat)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := receive(s); err != nil {
			t.Fatal(err)
		}
		go func() { <-entered; <-entered; w.net.Cut(h.addr) }()
		_, unary := call(t.Context(), c, say)
		_, stream := receive(s)
		for _, err := range []error{unary, stream} {
			st := failure.Status(err)
			if failure.CodeOf(err) != failure.Unavailable || strings.Contains(st.String(), "127.0.0.1") || strings.Contains(status.Convert(err).Message(), "127.0.0.1") {
				t.Errorf("%v as a status: %v", err, st)
			}
			if !strings.Contains(err.Error(), h.addr) || !strings.Contains(err.Error(), "connection reset") {
				t.Errorf("the log does not learn what happened: %v", err)
			}
		}
	})
}

// A proxy that hands on all metadata hands on a key as well. With two of them the server would take neither, and the
// client try again what is not safe.
func TestAnIdempotencyKeyReplacesOneInTheMetadata(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		var got string
		w.start("a", func(_ *rpc.ServerConfig, h *handler) {
			h.unary = func(ctx context.Context, _ string) (string, error) {
				got, _ = rpc.IdempotencyKey(ctx)
				return "", nil
			}
		})
		c := w.dial()
		given := metadata.AppendToOutgoingContext(t.Context(), "Idempotency-Key", "handed on", "other", "1")
		if _, err := call(rpc.WithIdempotencyKey(given, "own"), c, say); err != nil || got != "own" {
			t.Errorf("the server got %q, %v", got, err)
		}
		if md, _ := metadata.FromOutgoingContext(given); md.Get("idempotency-key")[0] != "handed on" {
			t.Error("the caller's metadata were changed")
		}
	})
}
