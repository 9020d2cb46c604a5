package rpc_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/rpc"
)

var chatDesc = &grpc.StreamDesc{StreamName: "Chat", ServerStreams: true, ClientStreams: true}

func receive(s grpc.ClientStream) (string, error) {
	m := new(wrapperspb.StringValue)
	err := s.RecvMsg(m)
	return m.GetValue(), err
}

// until makes the stream of an instance say its id and go on until done is closed, or the stream's context ends.
func until(done func(context.Context) <-chan struct{}) func(*rpc.ServerConfig, *handler) {
	return func(_ *rpc.ServerConfig, h *handler) {
		hello := h.stream
		h.stream = func(s grpc.ServerStream) error {
			if err := hello(s); err != nil {
				return err
			}
			select {
			case <-done(s.Context()):
				return failure.New(failure.Unavailable, "going down")
			case <-s.Context().Done():
				return s.Context().Err()
			}
		}
	}
}

func forever(context.Context) <-chan struct{} { return nil }

func TestStreamsAreSharedByAllInstances(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.start("a")
		w.start("b")
		c := w.dial()
		connected()
		counts := make(map[string]int)
		for range 50 {
			s, err := c.NewStream(t.Context(), chatDesc, chat)
			if err != nil {
				t.Fatal(err)
			}
			who, err := receive(s)
			if err != nil {
				t.Fatal(err)
			}
			counts[who]++
			if _, err := receive(s); !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
		}
		if counts["a"] < 10 || counts["b"] < 10 {
			t.Errorf("%v", counts)
		}
	})
}

func TestAStreamIsSetUpWhereThatIsPossible(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		c := w.dial()
		var s grpc.ClientStream
		set := make(chan error)
		go func() {
			var err error
			s, err = c.NewStream(t.Context(), chatDesc, chat)
			set <- err
		}()
		wait(time.Second)
		w.start("late")
		if err := <-set; err != nil {
			t.Fatal(err)
		}
		if who, err := receive(s); who != "late" || err != nil {
			t.Error(who, err)
		}
		if _, err := receive(s); !errors.Is(err, io.EOF) {
			t.Error(err)
		}
	})
}

// told counts how often it is told of the end of a call, and keeps what it was told.
type told struct {
	mu    sync.Mutex
	times int
	err   error
}

func (o *told) option() grpc.CallOption {
	return grpc.OnFinish(func(err error) {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.times++
		o.err = err
	})
}

func (o *told) ends() (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.times, o.err
}

// Not of each attempt to set it up.
func TestTheEndOfAStreamIsToldOnce(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		c := w.dial()
		var s grpc.ClientStream
		end, set := new(told), make(chan error)
		go func() {
			var err error
			s, err = c.NewStream(t.Context(), chatDesc, chat, end.option())
			set <- err
		}()
		wait(time.Second)
		h := w.start("late")
		if err := <-set; err != nil {
			t.Fatal(err)
		}
		if n, err := end.ends(); n != 0 {
			t.Errorf("set up, and told %d times that it is over: %v", n, err)
		}
		if _, err := receive(s); err != nil {
			t.Error(err)
		}
		if _, err := receive(s); !errors.Is(err, io.EOF) {
			t.Error(err)
		}
		if n, err := end.ends(); n != 1 || err != nil {
			t.Errorf("over, and told so %d times: %v", n, err)
		}

		h.stream = func(grpc.ServerStream) error { return failure.New(failure.NotFound, "no such room") }
		broken := new(told)
		s, err := c.NewStream(t.Context(), chatDesc, chat, broken.option())
		if err != nil {
			t.Fatal(err)
		}
		_, err = receive(s)
		if n, got := broken.ends(); n != 1 || failure.CodeOf(err) != failure.NotFound || failure.CodeOf(got) != failure.NotFound {
			t.Errorf("%v, and told %d times: %v", err, n, got)
		}

		h.stream = func(s grpc.ServerStream) error {
			<-s.Context().Done()
			return s.Context().Err()
		}
		left := new(told)
		ctx, cancel := context.WithCancel(t.Context())
		if _, err = c.NewStream(ctx, chatDesc, chat, left.option()); err != nil {
			t.Fatal(err)
		}
		cancel() // and nobody receives
		synctest.Wait()
		if n, got := left.ends(); n != 1 || failure.CodeOf(got) != failure.Canceled {
			t.Errorf("given up, and told %d times: %v", n, got)
		}
	})
}

// By what it is not set up, or not tried, its end is told like any other.
func TestTheEndOfACallThatIsNotSentIsToldOnce(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		badKey := rpc.WithIdempotencyKey(t.Context(), "\n")
		unary := func(ctx context.Context, c *rpc.Client, o grpc.CallOption) error {
			_, err := call(ctx, c, say, o)
			return err
		}
		stream := func(ctx context.Context, c *rpc.Client, o grpc.CallOption) error {
			_, err := c.NewStream(ctx, chatDesc, chat, o)
			return err
		}
		nobody := w.dial()
		full := w.dial(func(cfg *rpc.ClientConfig) { cfg.Policy.MaxInFlight = 1 })
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour) // that one waits all the time
		waiting := make(chan error)
		go func() { waiting <- unary(ctx, full, new(told).option()) }()
		synctest.Wait()
		for name, tt := range map[string]struct {
			ctx  context.Context
			c    *rpc.Client
			call func(context.Context, *rpc.Client, grpc.CallOption) error
			code failure.Code
		}{
			"unary, a bad key":     {badKey, nobody, unary, failure.InvalidArgument},
			"stream, a bad key":    {badKey, nobody, stream, failure.InvalidArgument},
			"unary, refused":       {t.Context(), full, unary, failure.ResourceExhausted},
			"stream, refused":      {t.Context(), full, stream, failure.ResourceExhausted},
			"unary, no instance":   {t.Context(), nobody, unary, failure.Unavailable},
			"stream, no instance":  {t.Context(), nobody, stream, failure.Unavailable},
			"stream, a bad header": {metadata.AppendToOutgoingContext(t.Context(), "no key", ""), nobody, stream, failure.Internal},
		} {
			end := new(told)
			err := tt.call(tt.ctx, tt.c, end.option())
			if n, got := end.ends(); n != 1 || failure.CodeOf(err) != tt.code || !errors.Is(got, err) {
				t.Errorf("%s: %v, and told %d times: %v", name, err, n, got)
			}
		}
		cancel()
		<-waiting
	})
}

func TestAStreamThatCannotBeSetUpSaysWhyInTime(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		start := time.Now()
		_, err := w.dial().NewStream(t.Context(), chatDesc, chat)
		if took := time.Since(start); took > 5*time.Second || !strings.Contains(err.Error(), "no instance of echo is reachable") {
			t.Errorf("after %v: %v", took, err)
		}
	})
}

// A connection that has as many streams as its server takes has the next one wait. That is part of its set-up.
func TestAStreamThatFindsNoRoomSaysSoInTime(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.start("a", until(forever), func(c *rpc.ServerConfig, _ *handler) { c.MaxConcurrentStreams = 1 })
		c := w.dial(func(c *rpc.ClientConfig) { c.Policy.Timeout, c.Policy.MaxInFlight = 2*time.Second, 1 })
		connected()
		ctx, cancel := context.WithCancel(t.Context())
		first, err := c.NewStream(ctx, chatDesc, chat)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := receive(first); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		_, err = c.NewStream(t.Context(), chatDesc, chat)
		if took := time.Since(start); !errors.Is(err, failure.DeadlineExceeded) || took > 2*time.Second {
			t.Errorf("after %v: %v", took, err)
		}
		cancel() // the first one goes on until then
		if _, err := receive(first); !errors.Is(err, failure.Canceled) {
			t.Error(err)
		}
		connected()
		if next, err := c.NewStream(t.Context(), chatDesc, chat); err != nil {
			t.Error(err)
		} else if _, err := receive(next); err != nil {
			t.Error(err)
		}
	})
}

func TestAStreamOutlivesTheTimeoutOfCalls(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.start("a", until(func(context.Context) <-chan struct{} {
			done := make(chan struct{})
			time.AfterFunc(time.Hour, func() { close(done) })
			return done
		}))
		s, err := w.dial().NewStream(t.Context(), chatDesc, chat)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		_, _ = receive(s)
		if _, err := receive(s); !errors.Is(err, failure.Unavailable) || time.Since(start) < time.Hour {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
	})
}

func TestAStreamThatBreaksNamesItsInstance(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.start("inst-3", until(forever))
		s, err := w.dial().NewStream(t.Context(), chatDesc, chat)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = receive(s)
		time.AfterFunc(time.Second, h.kill)
		_, err = receive(s)
		if !errors.Is(err, failure.Unavailable) || !strings.Contains(err.Error(), "inst-3 ("+h.addr) {
			t.Error(err)
		}
	})
}

func TestStreamsDoNotCountAsSlowCalls(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.start("a", until(forever))
		c := w.dial()
		ctx, cancel := context.WithCancel(t.Context())
		s, err := c.NewStream(ctx, chatDesc, chat)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = receive(s)
		wait(time.Hour)
		cancel()
		_, _ = receive(s)
		w.start("b")
		connected()
		if counts := share(t, c, say, 100); counts["a"] < 20 {
			t.Errorf("%v", counts)
		}
	})
}

func TestAStreamThatListensForDrainingEndsInOrder(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.start("a", until(rpc.Draining))
		s, err := w.dial().NewStream(t.Context(), chatDesc, chat)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = receive(s)
		start := time.Now()
		if err := h.serve.end(); err != nil || time.Since(start) > time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		if _, err := receive(s); !errors.Is(err, failure.Unavailable) || !strings.Contains(err.Error(), "going down") {
			t.Error(err)
		}
	})
}

func TestAStreamThatDoesNotListenIsCutAfterTheDrainTimeout(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.start("a", until(forever))
		s, err := w.dial().NewStream(t.Context(), chatDesc, chat)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = receive(s)
		start := time.Now()
		err = h.serve.end()
		if took := time.Since(start); took != rpc.DefaultDrainTimeout || err == nil || !strings.Contains(err.Error(), "1 calls cut after 20s") {
			t.Errorf("after %v: %v", took, err)
		}
		if _, err := receive(s); !errors.Is(err, failure.Unavailable) {
			t.Error(err)
		}
	})
}

func TestAHealthWatchDoesNotHoldUpDraining(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.start("a")
		s, err := healthpb.NewHealthClient(w.dial()).Watch(t.Context(), &healthpb.HealthCheckRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := s.Recv(); err != nil || got.GetStatus() != healthpb.HealthCheckResponse_SERVING {
			t.Fatal(got, err)
		}
		start := time.Now()
		if err := h.serve.end(); err != nil || time.Since(start) > time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		if got, err := s.Recv(); err == nil && got.GetStatus() != healthpb.HealthCheckResponse_NOT_SERVING {
			t.Error(got, err)
		}
		synctest.Wait()
	})
}
