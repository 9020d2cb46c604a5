package rpc_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
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
