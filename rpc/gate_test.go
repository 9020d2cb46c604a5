package rpc_test

import (
	"context"
	"strconv"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/holdfast-go/holdfast/admission"
	"github.com/holdfast-go/holdfast/balance"
	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/policy"
	"github.com/holdfast-go/holdfast/resilience"
	"github.com/holdfast-go/holdfast/rpc"
)

// bare returns a client of one instance that does nothing by itself.
func (w *world) bare(addr string) *grpc.ClientConn {
	w.t.Helper()
	c, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(w.net.Dial), grpc.WithDisableRetry())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	return c
}

// oneAtATime lets one call in, and nobody wait.
func oneAtATime(c *rpc.ServerConfig) { c.Admission = admission.Config{MaxLimit: 1, Queue: -1} }

// occupied starts an instance that can do one thing at a time, and does. free ends that.
func (w *world) occupied(change ...func(*rpc.ServerConfig, *handler)) (h *host, c *grpc.ClientConn, free func()) {
	w.t.Helper()
	release := make(chan struct{})
	h = w.serve("a", "127.0.0.1:0", append([]func(*rpc.ServerConfig, *handler){func(cfg *rpc.ServerConfig, h *handler) {
		oneAtATime(cfg)
		h.unary = func(_ context.Context, in string) (string, error) {
			<-release
			return in, nil
		}
	}}, change...)...)
	c = w.bare(h.addr)
	first := make(chan error, 1)
	go func() {
		_, err := call(context.Background(), c, say)
		first <- err
	}()
	connected()
	return h, c, func() {
		close(release)
		if err := <-first; err != nil {
			w.t.Error(err)
		}
	}
}

func TestABusyServerSaysSo(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h, c, free := w.occupied()
		defer free()
		for i := range 20 {
			var trailer metadata.MD
			_, err := call(t.Context(), c, say, grpc.Trailer(&trailer))
			e := failure.From(err)
			if !e.Shed() || e.Code != failure.ResourceExhausted {
				t.Fatalf("%v, want to be shed", err)
			}
			values := trailer.Get("grpc-retry-pushback-ms")
			if len(values) != 1 {
				t.Fatalf("trailer %v", trailer)
			}
			// The first may have been bad luck; when one in ten is shed, it is no use elsewhere either.
			ms, err := strconv.Atoi(values[0])
			if err != nil || ms < -1 || ms > 50 || i > 0 && (ms != -1 || e.RetryAfter < time.Second) {
				t.Errorf("call %d: pushback %q, retry after %v", i, values[0], e.RetryAfter)
			}
		}
		if n := h.calls.Load(); n != 1 {
			t.Errorf("the handler ran %d times", n)
		}
	})
}

func TestHealthAndProbesAreAnsweredByABusyServer(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		_, c, free := w.occupied()
		defer free()
		ctx := metadata.AppendToOutgoingContext(t.Context(), balance.HeaderLoadProbe, "1")
		var trailer metadata.MD
		resp, err := healthpb.NewHealthClient(c).Check(ctx, &healthpb.HealthCheckRequest{}, grpc.Trailer(&trailer))
		if err != nil || resp.GetStatus() != healthpb.HealthCheckResponse_SERVING {
			t.Errorf("%v, %v", resp, err)
		}
		values := trailer.Get(balance.HeaderLoad)
		if len(values) != 1 {
			t.Fatalf("no load in %v", trailer)
		}
		if load, ok := balance.ParseReport(values[0]); !ok || load.InFlight != 1 {
			t.Errorf("load %q", values[0])
		}
		if _, err := healthpb.NewHealthClient(c).Check(t.Context(), &healthpb.HealthCheckRequest{}, grpc.Trailer(&trailer)); err != nil || len(trailer.Get(balance.HeaderLoad)) > 0 {
			t.Errorf("not asked for: %v, %v", trailer, err)
		}
	})
}

// A stream waits its turn, and after that takes no place.
func TestStreamsTakeNoPlace(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		_, c, free := w.occupied(func(_ *rpc.ServerConfig, h *handler) {
			h.stream = func(s grpc.ServerStream) error {
				if err := s.SendMsg(wrapperspb.String("in")); err != nil {
					return err
				}
				<-s.Context().Done()
				return s.Context().Err()
			}
		})
		open := func() error {
			s, err := c.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, chat)
			if err != nil {
				return err
			}
			return s.RecvMsg(new(wrapperspb.StringValue))
		}
		if err := open(); !failure.From(err).Shed() {
			t.Errorf("behind a call: %v", err)
		}
		free()
		for range 3 {
			if err := open(); err != nil {
				t.Error(err)
			}
		}
		if _, err := call(t.Context(), c, say); err != nil {
			t.Errorf("beside streams: %v", err)
		}
	})
}

func TestWhatACallSaysOfItselfReachesTheHandler(t *testing.T) {
	for _, untrusted := range []bool{false, true} {
		bubble(t, func(t *testing.T, w *world) {
			var got resilience.Request
			h := w.serve("a", "127.0.0.1:0", func(cfg *rpc.ServerConfig, h *handler) {
				cfg.Untrusted = untrusted
				h.unary = func(ctx context.Context, in string) (string, error) {
					got, _ = resilience.RequestOf(ctx)
					return in, nil
				}
			})
			ctx := metadata.AppendToOutgoingContext(t.Context(), resilience.HeaderCriticality, "critical_plus", resilience.HeaderTenant, "acme", resilience.HeaderAttempt, "2")
			if _, err := call(ctx, w.bare(h.addr), say); err != nil {
				t.Fatal(err)
			}
			want := resilience.Request{Criticality: resilience.CriticalPlus, Tenant: "acme", Attempt: 2}
			if untrusted {
				want.Criticality = resilience.Critical
			}
			if got != want {
				t.Errorf("untrusted %v: %+v, want %+v", untrusted, got, want)
			}
		})
	}
}

// What another server said of itself is not this one's word: the caller would take it that its call has not run here.
func TestARefusalFromElsewhereIsNotPassedOn(t *testing.T) {
	for _, reason := range []string{failure.ReasonShed, failure.ReasonQuota, failure.ReasonThrottled} {
		bubble(t, func(t *testing.T, w *world) {
			h := w.serve("a", "127.0.0.1:0", func(_ *rpc.ServerConfig, h *handler) {
				h.unary = func(context.Context, string) (string, error) {
					return "", failure.New(failure.ResourceExhausted, "busy").WithReason(reason, failure.Domain)
				}
			})
			_, err := call(t.Context(), w.bare(h.addr), say)
			if e := failure.From(err); e.Code != failure.ResourceExhausted || e.Reason != "" || e.Message != "busy" {
				t.Errorf("%s: %v, reason %q", reason, err, e.Reason)
			}
		})
	}
}

func TestAQuotaSaysWhenThereIsMore(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.serve("a", "127.0.0.1:0", func(cfg *rpc.ServerConfig, _ *handler) {
			cfg.Admission.Quota = admission.Quota{Rate: 1, Burst: 1}
		})
		c := w.bare(h.addr)
		ctx := metadata.AppendToOutgoingContext(t.Context(), resilience.HeaderTenant, "acme")
		if _, err := call(ctx, c, say); err != nil {
			t.Fatal(err)
		}
		var trailer metadata.MD
		_, err := call(ctx, c, say, grpc.Trailer(&trailer))
		if e := failure.From(err); e.Reason != failure.ReasonQuota || e.RetryAfter != time.Second {
			t.Errorf("%v, retry after %v", err, e.RetryAfter)
		}
		if got := trailer.Get("grpc-retry-pushback-ms"); len(got) != 1 || got[0] != "1000" {
			t.Errorf("pushback %v", got)
		}
		if _, err := call(t.Context(), c, say); err != nil {
			t.Errorf("of nobody: %v", err)
		}
	})
}

// The policy of the server's own service is in force from the next call on, and the configuration when it is gone.
func TestAServerFollowsItsPolicy(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		live := policy.NewLive(nil)
		var left time.Duration
		h := w.serve("a", "127.0.0.1:0", func(cfg *rpc.ServerConfig, h *handler) {
			cfg.Service, cfg.Policies, cfg.Timeout = "echo", live, time.Minute
			h.unary = func(ctx context.Context, in string) (string, error) {
				d, _ := ctx.Deadline()
				left = time.Until(d)
				return in, nil
			}
		})
		c := w.bare(h.addr)
		ctx := metadata.AppendToOutgoingContext(context.Background(), resilience.HeaderTenant, "acme")
		check := func(when string, timeout time.Duration, refused bool) {
			t.Helper()
			left = timeout
			if _, err := call(ctx, c, say); (err != nil) != refused || left != timeout {
				t.Errorf("%s: %v, %v left, want %v", when, err, left, timeout)
			}
		}
		check("without a policy", time.Minute, false)
		live.Set("echo", policy.Service{Serves: policy.Serves{Timeout: time.Second, Admission: admission.Config{Quotas: map[string]admission.Quota{"acme": {Rate: 1e-3}}}}})
		check("with one", time.Second, false)
		check("and its quota used up", time.Second, true)
		live.Set("other", policy.Service{})
		check("with one for somebody else", time.Second, true)
		live.Delete("echo")
		check("with none again", time.Minute, false)
	})
}
