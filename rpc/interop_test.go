package rpc_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/grpclog"
	"google.golang.org/grpc/interop"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/orca"
	"google.golang.org/grpc/status"

	"github.com/holdfast-go/holdfast/registry"
	"github.com/holdfast-go/holdfast/registry/memregistry"
	"github.com/holdfast-go/holdfast/rpc"
)

// The cases by which the gRPC project tests that implementations understand each other, in the names of
// interop-test-descriptions.md, with grpc-go's own client and server.
//
// Not here, since they are not about this package:
//   - compute_engine_creds, service_account_creds, jwt_token_creds, oauth2_auth_token, per_rpc_creds,
//     google_default_credentials, compute_engine_channel_credentials: Google's accounts;
//   - pick_first_unary: the balancer of another policy, against a server that tells its name, which grpc-go's does not;
//   - orca_oob: a service that reports loads, whose shortest interval is set by what only grpc-go may import;
//   - orca_per_rpc under a Holdfast client: it is a test of a balancer that only the test has;
//   - cacheable_unary, client_compressed_*, server_compressed_*, xDS and ALTS: grpc-go's client has no such case, or it
//     needs their infrastructure.
var interopCases = []struct {
	name string
	run  func(context.Context, *grpc.ClientConn)
}{
	{"empty_unary", on(interop.DoEmptyUnaryCall)},
	{"large_unary", on(interop.DoLargeUnaryCall)},
	{"client_streaming", on(interop.DoClientStreaming)},
	{"server_streaming", on(interop.DoServerStreaming)},
	{"ping_pong", on(interop.DoPingPong)},
	{"empty_stream", on(interop.DoEmptyStream)},
	{"timeout_on_sleeping_server", on(interop.DoTimeoutOnSleepingServer)},
	{"cancel_after_begin", on(interop.DoCancelAfterBegin)},
	{"cancel_after_first_response", on(interop.DoCancelAfterFirstResponse)},
	{"status_code_and_message", on(interop.DoStatusCodeAndMessage)},
	{"special_status_message", on(interop.DoSpecialStatusMessage)},
	{"custom_metadata", on(interop.DoCustomMetadata)},
	{"unimplemented_method", interop.DoUnimplementedMethod},
	{"unimplemented_service", func(ctx context.Context, cc *grpc.ClientConn) {
		interop.DoUnimplementedService(ctx, testgrpc.NewUnimplementedServiceClient(cc))
	}},
	{"rpc_soak", func(ctx context.Context, cc *grpc.ClientConn) {
		interop.DoSoakTest(ctx, interop.SoakTestConfig{
			RequestSize: 271828, ResponseSize: 314159, Iterations: 10, NumWorkers: 2,
			PerIterationMaxAcceptableLatency: 5 * time.Second, OverallTimeout: 30 * time.Second,
			ChannelForTest: func() (*grpc.ClientConn, func()) { return cc, func() {} },
		})
	}},
}

func on(run func(context.Context, testgrpc.TestServiceClient, ...grpc.CallOption)) func(context.Context, *grpc.ClientConn) {
	return func(ctx context.Context, cc *grpc.ClientConn) { run(ctx, testgrpc.NewTestServiceClient(cc)) }
}

func TestInteropClientOfGRPCAgainstOurServer(t *testing.T) {
	overBoth(t, func(t *testing.T, serverTLS, clientTLS *tls.Config) {
		addr := ourInteropServer(t, rpc.ServerConfig{TLS: serverTLS, Options: []grpc.ServerOption{orca.CallMetricsServerOption(nil)}})
		creds := insecure.NewCredentials()
		if clientTLS != nil {
			creds = credentials.NewTLS(clientTLS)
		}
		runInterop(t, interopClient(t, addr, creds))

		// The load that a handler reports comes through to grpc-go's balancers.
		t.Run("orca_per_rpc", func(t *testing.T) {
			cc := interopClient(t, addr, creds, grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"test_backend_metrics_load_balancer":{}}]}`))
			fatal(t, func() { interop.DoORCAPerRPCTest(t.Context(), testgrpc.NewTestServiceClient(cc)) })
		})
		t.Run("channel_soak", func(t *testing.T) {
			fatal(t, func() {
				interop.DoSoakTest(t.Context(), interop.SoakTestConfig{
					RequestSize: 271828, ResponseSize: 314159, Iterations: 6, NumWorkers: 2,
					PerIterationMaxAcceptableLatency: 5 * time.Second, OverallTimeout: 30 * time.Second,
					ChannelForTest: func() (*grpc.ClientConn, func()) {
						cc := interopClient(t, addr, creds)
						return cc, func() { cc.Close() }
					},
				})
			})
		})
	})
}

func TestInteropServerOfGRPCUnderOurClient(t *testing.T) {
	overBoth(t, func(t *testing.T, serverTLS, clientTLS *tls.Config) {
		var opts []grpc.ServerOption
		if serverTLS != nil {
			opts = append(opts, grpc.Creds(credentials.NewTLS(serverTLS)))
		}
		srv := grpc.NewServer(opts...)
		testgrpc.RegisterTestServiceServer(srv, interop.NewTestServer())
		lis := listenLoopback(t)
		served := make(chan error, 1)
		go func() { served <- srv.Serve(lis) }()
		t.Cleanup(func() { srv.Stop(); <-served })
		runInterop(t, ourInteropClient(t, lis.Addr().String(), clientTLS))
	})
}

func TestInteropOurClientAgainstOurServer(t *testing.T) {
	overBoth(t, func(t *testing.T, serverTLS, clientTLS *tls.Config) {
		runInterop(t, ourInteropClient(t, ourInteropServer(t, rpc.ServerConfig{TLS: serverTLS}), clientTLS))
	})
}

// overBoth runs test in plaintext and over TLS.
func overBoth(t *testing.T, test func(t *testing.T, serverTLS, clientTLS *tls.Config)) {
	t.Helper()
	t.Run("plaintext", func(t *testing.T) { test(t, nil, nil) })
	t.Run("tls", func(t *testing.T) {
		serverTLS, clientTLS := certificate(t, "interop")
		clientTLS.ServerName = "interop"
		test(t, serverTLS, clientTLS)
	})
}

func runInterop(t *testing.T, cc *grpc.ClientConn) {
	t.Helper()
	for _, c := range interopCases {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			fatal(t, func() { c.run(ctx, cc) })
		})
	}
}

func ourInteropServer(t *testing.T, cfg rpc.ServerConfig) (addr string) {
	t.Helper()
	cfg.Listener, cfg.Logger = listenLoopback(t), quiet
	srv, err := rpc.NewServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	testgrpc.RegisterTestServiceServer(srv, interop.NewTestServer())
	run := begin(srv.Run)
	t.Cleanup(func() { run.end() })
	return srv.Addr().String()
}

func interopClient(t *testing.T, addr string, creds credentials.TransportCredentials, opts ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	cc, err := grpc.NewClient(addr, append(opts, grpc.WithTransportCredentials(creds))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cc.Close() })
	return cc
}

func ourInteropClient(t *testing.T, addr string, clientTLS *tls.Config) *grpc.ClientConn {
	t.Helper()
	mem := memregistry.New()
	reg := registry.New(mem, registry.Config{Logger: quiet})
	said := reg.Announce(registry.Instance{Service: "interop", ID: "one", Endpoints: map[string]string{"grpc": addr}})
	run := begin(said.Run)
	t.Cleanup(func() {
		run.end()
		reg.Close()
		mem.Close()
	})
	// The cases compare the texts of errors with those of bare statuses. Ours say more; what is compared is the status in
	// them, as any program gets it.
	bare := []grpc.DialOption{
		grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, next grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			return bareError(next(ctx, method, req, reply, cc, opts...))
		}),
		grpc.WithChainStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, next grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
			s, err := next(ctx, desc, cc, method, opts...)
			return bareStream{s}, bareError(err)
		}),
	}
	cc, err := grpc.NewClient("holdfast:///interop", append(bare, rpc.DialOptions(reg, rpc.ClientConfig{TLS: clientTLS, Logger: quiet})...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cc.Close() })
	return cc
}

func bareError(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	return status.Convert(err).Err()
}

type bareStream struct{ grpc.ClientStream }

func (s bareStream) SendMsg(m any) error { return bareError(s.ClientStream.SendMsg(m)) }
func (s bareStream) RecvMsg(m any) error { return bareError(s.ClientStream.RecvMsg(m)) }

// fatal runs a case, which ends the process by its logger where a test would fail.
func fatal(t *testing.T, run func()) {
	t.Helper()
	defer func() {
		switch v := recover().(type) {
		case nil:
		case fatalLog:
			t.Fatal(string(v))
		default:
			panic(v)
		}
	}()
	run()
}

type fatalLog string

// fatalLogger is grpc-go's logger, but that what would end the process panics.
type fatalLogger struct{ grpclog.LoggerV2 }

func (fatalLogger) Fatal(args ...any)                 { panic(fatalLog(fmt.Sprint(args...))) }
func (fatalLogger) Fatalln(args ...any)               { panic(fatalLog(fmt.Sprintln(args...))) }
func (fatalLogger) Fatalf(format string, args ...any) { panic(fatalLog(fmt.Sprintf(format, args...))) }

// It has to be set before grpc-go is used.
var _ = func() bool {
	grpclog.SetLoggerV2(fatalLogger{grpclog.NewLoggerV2(io.Discard, io.Discard, os.Stderr)})
	return true
}()
