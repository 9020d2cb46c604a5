package rpc

import (
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
)

// Direct returns a connection to the one server at addr (host:port), for programs whose parts know each other one by one,
// such as the members of a replicated group. It has the TLS and loopback rules of a [Client], its keepalive and bounds,
// and nothing else of it: no retries, hedges, balancing or deadlines. Of cfg only TLS, Insecure, Dial and Options are used.
// Without a ServerName in TLS, the server must present a certificate for the host of addr.
//
// It begins to connect with the first call. Calls fail at once while the server is not reachable; it is tried again after
// 50 ms, rising to 1 s (ResetConnectBackoff of the connection tries at once). The caller closes it.
func Direct(addr string, cfg ClientConfig) (*grpc.ClientConn, error) {
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return nil, fmt.Errorf("rpc dial %q: %w", addr, err)
	}
	creds := newLoopbackCredentials()
	switch {
	case cfg.TLS != nil:
		creds = credentials.NewTLS(cfg.TLS)
	case cfg.Insecure:
		creds = insecure.NewCredentials()
	}
	opts := []grpc.DialOption{
		grpc.WithTransportCredentials(creds),
		grpc.WithDisableServiceConfig(),
		grpc.WithDisableRetry(),
		grpc.WithIdleTimeout(0),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
			MinConnectTimeout: 3 * time.Second,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 20 * time.Second, Timeout: 5 * time.Second, PermitWithoutStream: true}),
		grpc.WithStaticStreamWindowSize(streamWindow),
		grpc.WithStaticConnWindowSize(connWindow),
		grpc.WithNoProxy(),
	}
	opts = append(append(opts, cfg.dialer()...), cfg.Options...)
	// The resolver that connects to what it is given: names are looked up by the dialler, each time anew.
	conn, err := grpc.NewClient("passthrough:///"+addr, opts...)
	if err != nil {
		return nil, fmt.Errorf("rpc dial %s: %w", addr, err)
	}
	return conn, nil
}
