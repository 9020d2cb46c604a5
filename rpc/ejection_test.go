package rpc_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/holdfast-go/holdfast/balance"
	"github.com/holdfast-go/holdfast/policy"
	"github.com/holdfast-go/holdfast/registry"
	"github.com/holdfast-go/holdfast/rpc"
)

// journal keeps what is logged.
type journal struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.Write(p)
}

func (j *journal) count(what string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Count(j.buf.String(), what)
}

func (j *journal) logger() *slog.Logger { return slog.New(slog.NewTextHandler(j, nil)) }

// steadily makes n calls, 10 ms apart, and returns how many failed.
func steadily(ctx context.Context, c grpc.ClientConnInterface, method string, n int) (failed int) {
	for range n {
		if _, err := call(ctx, c, method); err != nil {
			failed++
		}
		wait(10 * time.Millisecond)
	}
	return failed
}

func TestASickInstanceIsEjectedAndComesBack(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		var sick atomic.Bool
		sick.Store(true)
		a := w.start("a", func(_ *rpc.ServerConfig, h *handler) {
			h.unary = func(context.Context, string) (string, error) {
				if sick.Load() {
					return "", status.Error(codes.Unavailable, "out of order")
				}
				return "a", nil
			}
		})
		b, c := w.start("b"), w.start("c")
		log := new(journal)
		client := w.dial(func(cfg *rpc.ClientConfig) { cfg.Logger = log.logger() })
		connected()
		if failed := steadily(t.Context(), client, look, 500); failed > 0 {
			t.Errorf("%d calls failed", failed)
		}
		if got := a.calls.Load(); got < 5 || got > 10 {
			t.Errorf("%d of 500 calls went to the sick one", got)
		}
		if log.count("instance ejected") != 1 || log.count("instance=a") != 1 || log.count("5 failures in a row") != 1 {
			t.Errorf("log:\n%s", log.buf.String())
		}
		sick.Store(false)
		steadily(t.Context(), client, look, 1500)
		if log.count("instance re-admitted") != 1 {
			t.Errorf("log:\n%s", log.buf.String())
		}
		a.calls.Store(0)
		b.calls.Store(0)
		c.calls.Store(0)
		steadily(t.Context(), client, look, 600)
		for _, h := range []*host{a, b, c} {
			if got := h.calls.Load(); got < 140 || got > 260 {
				t.Errorf("%d of 600 calls went to %s", got, h.id)
			}
		}
	})
}

func TestAnInstanceThatKnowsNothingIsNotEjected(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.start("a", func(_ *rpc.ServerConfig, h *handler) {
			h.unary = func(context.Context, string) (string, error) { return "", status.Error(codes.NotFound, "nothing here") }
		})
		w.start("b")
		w.start("c")
		log := new(journal)
		client := w.dial(func(cfg *rpc.ClientConfig) { cfg.Logger = log.logger() })
		connected()
		if failed := steadily(t.Context(), client, look, 600); failed < 100 {
			t.Errorf("%d of 600 calls were answered NOT_FOUND", failed)
		}
		if log.count("ejected") > 0 {
			t.Errorf("log:\n%s", log.buf.String())
		}
	})
}

// Streams only: their ends are all that is known.
func TestAnInstanceThatRefusesStreamsIsEjected(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a := w.start("a", func(_ *rpc.ServerConfig, h *handler) {
			h.stream = func(grpc.ServerStream) error { return status.Error(codes.Unavailable, "out of order") }
		})
		w.start("b")
		w.start("c")
		log := new(journal)
		client := w.dial(func(cfg *rpc.ClientConfig) { cfg.Logger = log.logger() })
		connected()
		for range 500 {
			s, err := client.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true}, chat)
			if err != nil {
				t.Fatal(err)
			}
			_ = s.CloseSend()
			for err == nil {
				err = s.RecvMsg(new(wrapperspb.StringValue))
			}
			wait(10 * time.Millisecond)
		}
		if got := a.calls.Load(); log.count("instance ejected") != 1 || got > 12 {
			t.Errorf("%d of 500 streams to the sick one; log:\n%s", got, log.buf.String())
		}
	})
}

// What is known of the instances of another resolver is its connection's, and what is learnt of them late has to get there.
func TestAnInstanceOfAnotherResolverComesBack(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		var sick atomic.Bool
		sick.Store(true)
		a := w.serve("a", "127.0.0.1:0", func(_ *rpc.ServerConfig, h *handler) {
			h.unary = func(context.Context, string) (string, error) {
				if sick.Load() {
					return "", status.Error(codes.Unavailable, "out of order")
				}
				return "a", nil
			}
		})
		b := w.serve("b", "127.0.0.1:0")
		static := manual.NewBuilderWithScheme("static")
		static.InitialState(resolver.State{Endpoints: []resolver.Endpoint{
			{Addresses: []resolver.Address{{Addr: a.addr}}}, {Addresses: []resolver.Address{{Addr: b.addr}}},
		}})
		cfg := rpc.ClientConfig{Logger: quiet, Options: []grpc.DialOption{grpc.WithContextDialer(w.net.Dial), grpc.WithResolvers(static)}}
		conn, err := grpc.NewClient("static:///echo", rpc.DialOptions(w.reg, cfg)...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		conn.Connect()
		connected()
		if failed := steadily(t.Context(), conn, look, 500); failed > 0 || a.calls.Load() > 12 {
			t.Errorf("%d calls failed, %d of 500 went to the sick one", failed, a.calls.Load())
		}
		sick.Store(false)
		steadily(t.Context(), conn, look, 2500)
		a.calls.Store(0)
		steadily(t.Context(), conn, look, 400)
		if n := a.calls.Load(); n < 120 {
			t.Errorf("%d of 400 calls went to the one that is well again", n)
		}
	})
}

// grpc-go has nothing to say of a stream that was over before its first message was written, until somebody receives.
func TestAnInstanceThatRefusesStreamsBeforeAMessageIsWrittenIsEjected(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a := w.start("a", func(_ *rpc.ServerConfig, h *handler) {
			h.stream = func(grpc.ServerStream) error { return status.Error(codes.Unavailable, "out of order") }
		})
		w.start("b")
		w.start("c")
		log := new(journal)
		client := w.dial(func(cfg *rpc.ClientConfig) { cfg.Logger = log.logger() })
		connected()
		for range 500 {
			s, err := client.NewStream(t.Context(), chatDesc, chat)
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			_ = s.SendMsg(wrapperspb.String("hello"))
			for err == nil {
				_, err = receive(s)
			}
			wait(10 * time.Millisecond)
		}
		if got := a.calls.Load(); log.count("instance ejected") != 1 || got > 12 {
			t.Errorf("%d of 500 streams to the sick one; log:\n%s", got, log.buf.String())
		}
	})
}

// What begins well and breaks is no better than what does not begin.
func TestAnInstanceThatBreaksStreamsAfterTheirFirstMessageIsEjected(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a := w.start("a", func(_ *rpc.ServerConfig, h *handler) {
			h.stream = func(s grpc.ServerStream) error {
				if err := s.SendMsg(wrapperspb.String("a")); err != nil {
					return err
				}
				return status.Error(codes.Unavailable, "out of order")
			}
		})
		w.start("b")
		w.start("c")
		log := new(journal)
		client := w.dial(func(cfg *rpc.ClientConfig) { cfg.Logger = log.logger() })
		connected()
		for range 500 {
			s, err := client.NewStream(t.Context(), chatDesc, chat)
			for err == nil {
				_, err = receive(s)
			}
			wait(10 * time.Millisecond)
		}
		if got := a.calls.Load(); log.count("instance ejected") != 1 || got > 12 {
			t.Errorf("%d of 500 streams to the sick one; log:\n%s", got, log.buf.String())
		}
	})
}

// Streams that last, and that their caller ends: nothing is to be learnt from how they end.
func TestAnInstanceComesBackWhereStreamsDoNotEnd(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		var sick atomic.Bool
		sick.Store(true)
		lasting := until(forever)
		for _, id := range []string{"a", "b", "c"} {
			w.start(id, lasting, func(cfg *rpc.ServerConfig, h *handler) {
				cfg.MaxConcurrentStreams = 10_000
				serve := h.stream
				h.stream = func(s grpc.ServerStream) error {
					if id == "a" && sick.Load() {
						return status.Error(codes.Unavailable, "out of order")
					}
					return serve(s)
				}
			})
		}
		log := new(journal)
		client := w.dial(func(cfg *rpc.ClientConfig) { cfg.Logger = log.logger() })
		connected()
		begun := time.Now()
		for log.count("instance re-admitted") == 0 {
			if time.Since(begun) > 5*time.Minute {
				t.Fatalf("log:\n%s", log.buf.String())
			}
			ctx, cancel := context.WithCancel(t.Context())
			s, err := client.NewStream(ctx, chatDesc, chat)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = receive(s)
			time.AfterFunc(time.Minute, cancel)
			wait(10 * time.Millisecond)
			if log.count("instance ejected") > 0 {
				sick.Store(false)
			}
		}
	})
}

// Not for its first message, and once more for its end.
func TestAStreamCountsOnceForAnInstanceThatIsBack(t *testing.T) {
	for _, desc := range []*grpc.StreamDesc{chatDesc, {ServerStreams: true}, {ClientStreams: true}} {
		bubble(t, func(t *testing.T, w *world) {
			var sick atomic.Bool
			sick.Store(true)
			a := w.start("a", func(_ *rpc.ServerConfig, h *handler) {
				serve := h.stream
				h.stream = func(s grpc.ServerStream) error {
					if sick.Load() {
						return status.Error(codes.Unavailable, "out of order")
					}
					return serve(s)
				}
			})
			w.start("b")
			w.start("c")
			log := new(journal)
			client := w.dial(func(cfg *rpc.ClientConfig) { cfg.Logger = log.logger() })
			connected()
			for range 10_000 {
				s, err := client.NewStream(t.Context(), desc, chat)
				for err == nil {
					_, err = receive(s)
				}
				if log.count("instance re-admitted") > 0 {
					break
				}
				if log.count("instance ejected") > 0 && sick.Swap(false) {
					a.calls.Store(0)
				}
				wait(10 * time.Millisecond)
			}
			if n := a.calls.Load(); log.count("3 good answers in a row") != 1 || n != 3 {
				t.Errorf("%+v: it is back after %d streams; log:\n%s", desc, n, log.buf.String())
			}
		})
	}
}

// place announces an instance with what it says of itself.
func (w *world) place(id, zone string, weight int) *host {
	h := w.serve(id, "127.0.0.1:0")
	h.said = w.reg.Announce(registry.Instance{Service: "echo", ID: id, Zone: zone, Weight: weight, Endpoints: map[string]string{"grpc": h.addr}})
	h.record = begin(h.said.Run)
	<-h.said.Registered()
	return h
}

func TestCallsStayInTheZoneAndGoByWeight(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		for id, weight := range map[string]int{"a": 1, "b": 3} {
			w.place(id, "here", weight)
		}
		for _, id := range []string{"c", "d"} {
			w.place(id, "there", 2)
		}
		client := w.dial(func(cfg *rpc.ClientConfig) {
			cfg.Balance = balance.Config{Policy: balance.RoundRobin, Zone: "here"}
		})
		connected()
		got := share(t, client, look, 400)
		if got["a"] != 100 || got["b"] != 300 {
			t.Errorf("calls went to %v", got)
		}
	})
}

func TestSubsetConnectsToFew(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		for _, id := range strings.Split("abcdefgh", "") {
			w.start(id)
		}
		client := w.dial(func(cfg *rpc.ClientConfig) { cfg.Balance.Subset = 3 })
		connected()
		if got := share(t, client, look, 100); len(got) != 3 {
			t.Errorf("calls went to %v", got)
		}
	})
}

func TestALiveSubsetIsConnectedToAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		for _, id := range strings.Split("abcdefgh", "") {
			w.start(id)
		}
		live := policy.NewLive(nil)
		client := w.dial(func(cfg *rpc.ClientConfig) { cfg.Policies, cfg.Balance.Subset = live, 2 })
		connected()
		for _, n := range []int{3, 6, 2, 8} {
			live.Set("echo", policy.Service{Calls: policy.Calls{Balance: balance.Config{Subset: n}}})
			if _, err := call(t.Context(), client, look); err != nil { // the first one that goes by it
				t.Fatal(err)
			}
			connected()
			if got := share(t, client, look, 200); len(got) != n {
				t.Errorf("of a subset of %d, calls went to %v", n, got)
			}
		}
	})
}

func TestCallsWithAKeyGoTogether(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		for _, id := range strings.Split("abcde", "") {
			w.start(id)
		}
		client := w.dial(func(cfg *rpc.ClientConfig) { cfg.Balance.Policy = balance.RingHash })
		connected()
		all := map[string]bool{}
		for _, key := range strings.Split("abcdefghijklmnopqrstuvwxyz", "") {
			ctx, first := balance.WithKey(t.Context(), key), ""
			for range 5 {
				got, err := call(ctx, client, look)
				if err != nil || first != "" && got != first {
					t.Fatalf("key %s: %s, then %s, %v", key, first, got, err)
				}
				first = got
			}
			all[first] = true
		}
		if len(all) < 4 {
			t.Errorf("26 keys went to %v", all)
		}
	})
}

// The policy hcl asks the instances themselves: of three, one is busy with the calls of somebody else.
func TestHCLAsksInstances(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		busy := w.start("a", func(_ *rpc.ServerConfig, h *handler) {
			h.unary = func(ctx context.Context, in string) (string, error) {
				wait(50 * time.Millisecond)
				return "a", nil
			}
		})
		w.start("b")
		w.start("c")
		other := w.dial(func(cfg *rpc.ClientConfig) { cfg.Balance.Picker = func() balance.Picker { return always("a") } })
		client := w.dial(func(cfg *rpc.ClientConfig) { cfg.Balance.Policy = balance.HCL })
		connected()
		var users sync.WaitGroup
		for range 8 {
			users.Go(func() {
				for range 60 {
					_, _ = call(t.Context(), other, look)
				}
			})
		}
		steadily(t.Context(), client, look, 50)
		before := busy.calls.Load()
		counts := map[string]int{}
		for range 100 {
			who, err := call(t.Context(), client, look)
			if err != nil {
				t.Fatal(err)
			}
			counts[who]++
			wait(10 * time.Millisecond)
		}
		if counts["a"] > 10 || counts["b"] < 20 || counts["c"] < 20 {
			t.Errorf("calls went to %v; %d to the busy one by then", counts, before)
		}
		users.Wait()
		synctest.Wait()
	})
}

// always picks the node with that id.
type always string

func (id always) Pick(nodes []*balance.Node, _ balance.Call) int {
	for i, n := range nodes {
		if n.ID() == string(id) {
			return i
		}
	}
	return len(nodes) - 1
}
