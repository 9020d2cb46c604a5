package rpc_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/registry"
	"github.com/holdfast-go/holdfast/registry/memregistry"
	"github.com/holdfast-go/holdfast/resilience"
	"github.com/holdfast-go/holdfast/rpc"
)

func TestAPanicIsAnInternalErrorAndTheServerServesOn(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		var log bytes.Buffer
		first := true
		w.start("a", func(cfg *rpc.ServerConfig, h *handler) {
			cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
			h.unary = func(context.Context, string) (string, error) {
				if first {
					first = false
					panic("the secret is 42")
				}
				return "still here", nil
			}
			h.stream = func(grpc.ServerStream) error { panic("in a stream") }
		})
		c := w.dial()
		_, err := call(t.Context(), c, say)
		if !errors.Is(err, failure.Internal) || strings.Contains(err.Error(), "42") {
			t.Error(err)
		}
		s, err := c.NewStream(t.Context(), chatDesc, chat)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := receive(s); !errors.Is(err, failure.Internal) {
			t.Error(err)
		}
		if who, err := call(t.Context(), c, say); who != "still here" || err != nil {
			t.Error(who, err)
		}
		for _, want := range []string{"the secret is 42", "in a stream", "server_test.go", say, chat} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("%q is not in the log: %s", want, &log)
			}
		}
	})
}

func TestTheCauseOfAFaultIsLoggedAndNotSent(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		var log bytes.Buffer
		w.start("a", func(cfg *rpc.ServerConfig, h *handler) {
			cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
			h.unary = func(context.Context, string) (string, error) { return "", errors.New("password is swordfish") }
		})
		_, err := call(t.Context(), w.dial(), say)
		if status.Code(err) != codes.Unknown || strings.Contains(err.Error(), "swordfish") || !strings.Contains(log.String(), "swordfish") {
			t.Errorf("%v; logged %s", err, &log)
		}
	})
}

func TestACallWithoutADeadlineGetsOne(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.serve("a", "127.0.0.1:0", func(_ *rpc.ServerConfig, h *handler) { h.unary = block })
		conn, err := grpc.NewClient("passthrough:///"+h.addr, grpc.WithContextDialer(w.net.Dial), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		start := time.Now()
		if _, err := call(t.Context(), conn, say); status.Code(err) != codes.DeadlineExceeded || time.Since(start) != rpc.DefaultServerTimeout {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
	})
}

func TestHealthFollowsTheLife(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.start("a")
		health := healthpb.NewHealthClient(w.dial())
		expect := func(service string, want healthpb.HealthCheckResponse_ServingStatus) {
			t.Helper()
			got, err := health.Check(t.Context(), &healthpb.HealthCheckRequest{Service: service})
			if err != nil || got.GetStatus() != want {
				t.Errorf("%q: %v, %v", service, got, err)
			}
		}
		expect("", healthpb.HealthCheckResponse_SERVING)
		expect("holdfast.test.Echo", healthpb.HealthCheckResponse_SERVING)
		h.server.SetServing("holdfast.test.Echo", false)
		expect("holdfast.test.Echo", healthpb.HealthCheckResponse_NOT_SERVING)
		h.server.SetServing("holdfast.test.Echo", true)
		if err := h.server.Drain(t.Context()); err != nil {
			t.Error(err)
		}
		expect("", healthpb.HealthCheckResponse_NOT_SERVING)
		expect("holdfast.test.Echo", healthpb.HealthCheckResponse_NOT_SERVING)
		if who, err := call(t.Context(), w.dial(), say); who != "a" || err != nil {
			t.Error("a draining server does not serve", who, err)
		}
	})
}

func TestReflectionListsTheServices(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.start("a")
		s, err := reflectionpb.NewServerReflectionClient(w.dial()).ServerReflectionInfo(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Send(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}}); err != nil {
			t.Fatal(err)
		}
		got, err := s.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(got.GetListServicesResponse().GetService(), func(s *reflectionpb.ServiceResponse) bool {
			return s.GetName() == "holdfast.test.Echo"
		}) {
			t.Error(got)
		}
		if err := s.CloseSend(); err != nil {
			t.Error(err)
		}
		_, _ = s.Recv()
	})
}

// Who looks at the services, with grpcui say, keeps its stream.
func TestReflectionDoesNotHoldUpDraining(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.start("a")
		s, err := reflectionpb.NewServerReflectionClient(w.dial()).ServerReflectionInfo(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Send(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Recv(); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if err := h.serve.end(); err != nil || time.Since(start) > time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		if _, err := s.Recv(); !errors.Is(err, failure.Unavailable) {
			t.Error(err)
		}
		synctest.Wait()
	})
}

func TestCallsInFlightFinishBeforeTheServerStops(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.start("a", func(_ *rpc.ServerConfig, h *handler) {
			h.unary = func(context.Context, string) (string, error) { wait(3 * time.Second); return "done", nil }
		})
		c := w.dial()
		answer := make(chan error, 1)
		go func() { _, err := call(t.Context(), c, say); answer <- err }()
		wait(time.Second)
		start := time.Now()
		if err := h.serve.end(); err != nil || time.Since(start) != 2*time.Second {
			t.Errorf("stopped after %v: %v", time.Since(start), err)
		}
		if err := <-answer; err != nil {
			t.Error(err)
		}
	})
}

// A server may be told to stop before gRPC has begun to accept.
func TestAServerThatIsStoppedAtOnceStopsWithoutAnError(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, drain := range []time.Duration{-1, time.Minute} {
		for range 50 {
			s, err := rpc.NewServer(rpc.ServerConfig{Addr: "127.0.0.1:0", DrainTimeout: drain})
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Run(ctx); err != nil {
				t.Fatal(err)
			}
			if conn, err := net.Dial("tcp", strings.TrimPrefix(s.Name(), "rpc ")); err == nil {
				_ = conn.Close()
				t.Fatal("it still listens")
			}
		}
	}
}

func TestAHandlerThatIgnoresItsEndDoesNotHoldTheServer(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		release := make(chan struct{})
		defer close(release)
		h := w.start("a", func(cfg *rpc.ServerConfig, h *handler) {
			cfg.DrainTimeout = -1
			h.unary = func(context.Context, string) (string, error) { <-release; return "", nil }
		})
		c := w.dial()
		go call(t.Context(), c, say)
		wait(time.Second)
		start := time.Now()
		if err := h.serve.end(); err == nil || !strings.Contains(err.Error(), "1 handlers still run") || time.Since(start) > 2*time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
	})
}

func TestAMessageThatIsTooLargeIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.start("a", func(cfg *rpc.ServerConfig, _ *handler) { cfg.MaxRecvBytes = 1000 })
		err := w.dial().Invoke(t.Context(), look, wrapperspb.String(strings.Repeat("x", 2000)), new(wrapperspb.StringValue))
		if !errors.Is(err, failure.ResourceExhausted) || h.calls.Load() != 0 || len(attempts(t, err)) != 1 {
			t.Error(err)
		}
	})
}

// broken is an error whose methods need what it points at.
type broken struct{ code codes.Code }

func (b *broken) Error() string              { return b.code.String() }
func (b *broken) GRPCStatus() *status.Status { return status.New(b.code, "") }

// What is returned as an error may be a nil pointer; it fails one call.
func TestAnErrorThatPanicsIsContained(t *testing.T) {
	for name, wrong := range map[string]error{"somebody's": (*broken)(nil), "ours": (*resilience.CallError)(nil)} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				w.start("a", func(_ *rpc.ServerConfig, h *handler) {
					h.unary = func(context.Context, string) (string, error) { return "", wrong }
					h.stream = func(grpc.ServerStream) error { return wrong }
				})
				c := w.dial()
				if _, err := call(t.Context(), c, say); !errors.Is(err, failure.Internal) {
					t.Error(err)
				}
				s, err := c.NewStream(t.Context(), chatDesc, chat)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := receive(s); !errors.Is(err, failure.Internal) {
					t.Error(err)
				}
			})
		})
	}
}

func TestAServerRunsOnce(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.start("a")
		<-h.server.Ready()
		if err := h.server.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "run twice") {
			t.Error(err)
		}
	})
}

func TestAServerOfOnesOwnTakesTheOptions(t *testing.T) {
	lis := listenLoopback(t)
	s := grpc.NewServer(rpc.ServerOptions(rpc.ServerConfig{Logger: quiet})...)
	h := &handler{unary: func(context.Context, string) (string, error) { panic("contained") }}
	h.register(s)
	served := make(chan error, 1)
	go func() { served <- s.Serve(lis) }()
	defer func() { s.Stop(); <-served }()
	conn, err := grpc.NewClient(lis.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := call(t.Context(), conn, say); status.Code(err) != codes.Internal {
		t.Error(err)
	}
}

func TestATakenPortIsAClearError(t *testing.T) {
	taken := listenLoopback(t).Addr().String()
	_, err := rpc.NewServer(rpc.ServerConfig{Addr: taken})
	if err == nil || !strings.Contains(err.Error(), "rpc listen") || !strings.Contains(err.Error(), taken) || !strings.Contains(err.Error(), "in use") {
		t.Error(err)
	}
}

func TestPlaintextIsForLoopbackOnly(t *testing.T) {
	for _, addr := range []string{":0", "0.0.0.0:0", "[::]:0"} {
		if _, err := rpc.NewServer(rpc.ServerConfig{Addr: addr}); err == nil || !strings.Contains(err.Error(), "plaintext is for loopback only") {
			t.Errorf("%s: %v", addr, err)
		}
		s, err := rpc.NewServer(rpc.ServerConfig{Addr: addr, Insecure: true})
		if err != nil {
			t.Errorf("%s, insecure: %v", addr, err)
			continue
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	wild, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer wild.Close()
	if _, err := rpc.NewServer(rpc.ServerConfig{Listener: wild}); err == nil || !strings.Contains(err.Error(), "plaintext is for loopback only") {
		t.Error(err)
	}
}

func TestPlaintextIsNotSpokenToOtherMachines(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.serve("far", "192.0.2.1:50051", func(cfg *rpc.ServerConfig, _ *handler) { cfg.Insecure = true })
		h.announce()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := call(ctx, w.dial(), say); err == nil || !strings.Contains(err.Error(), "plaintext is for loopback only") {
			t.Error(err)
		}
		c := w.dial(func(cfg *rpc.ClientConfig) { cfg.Insecure = true })
		if who, err := call(t.Context(), c, say); who != "far" || err != nil {
			t.Error(who, err)
		}
	})
}

// certificate returns both sides' TLS with a certificate for name.
func certificate(t *testing.T, name string) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS13},
		&tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}
}

func TestTLSIsForTheNameOfTheService(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		server, client := certificate(t, "echo")
		h := w.serve("far", "192.0.2.1:50051", func(cfg *rpc.ServerConfig, _ *handler) { cfg.TLS = server })
		h.announce()
		c := w.dial(func(cfg *rpc.ClientConfig) { cfg.TLS = client })
		if who, err := call(t.Context(), c, say); who != "far" || err != nil {
			t.Error(who, err)
		}
	})
	bubble(t, func(t *testing.T, w *world) {
		server, client := certificate(t, "somebody-else")
		w.start("a", func(cfg *rpc.ServerConfig, _ *handler) { cfg.TLS = server })
		c := w.dial(func(cfg *rpc.ClientConfig) { cfg.TLS = client })
		if _, err := call(t.Context(), c, say); err == nil || !strings.Contains(err.Error(), "certificate is valid for somebody-else, not echo") {
			t.Error(err)
		}
	})
}

func TestGarbageOnThePortDisturbsNobody(t *testing.T) {
	s, err := rpc.NewServer(rpc.ServerConfig{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	(&handler{unary: func(context.Context, string) (string, error) { return "fine", nil }}).register(s)
	serve := begin(s.Run)
	defer serve.end()
	<-s.Ready()
	addr := s.Addr().String()
	preface := "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	for _, garbage := range []string{
		"", "\x00", "GET / HTTP/1.1\r\n\r\n", strings.Repeat("\xff", 1<<20), preface,
		preface + strings.Repeat("\x00", 100), preface + strings.Repeat("\xff", 1000),
		preface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00" + "\x00\xff\xff\x01\x04\x00\x00\x00\x01" + strings.Repeat("\xff", 0xffff),
	} {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Write([]byte(garbage)) // it may be cut off in the middle
	}
	mem := memregistry.New()
	reg := registry.New(mem, registry.Config{Logger: quiet})
	defer reg.Close()
	record := begin(reg.Announce(registry.Instance{Service: "echo", ID: "a", Endpoints: map[string]string{"grpc": addr}}).Run)
	defer record.end()
	c, err := rpc.Dial(reg, "echo", rpc.ClientConfig{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if who, err := call(t.Context(), c, say); who != "fine" || err != nil {
		t.Error(who, err)
	}
}
