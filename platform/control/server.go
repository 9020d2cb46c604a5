package control

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/netutil"
)

// DefaultAddr is where the API of a running system is found unless told otherwise.
const DefaultAddr = "127.0.0.1:7070"

const (
	maxConnections = 256
	maxStreams     = 64       // of logs and events at once; a stream may stay open for days
	maxBody        = 16 << 10 // bytes; the largest sensible request has about 100
	maxHeader      = 16 << 10

	headerTimeout = 5 * time.Second
	bodyTimeout   = 10 * time.Second
	idleTimeout   = 2 * time.Minute
	stopTimeout   = 2 * time.Second
)

// Config configures a Server. The zero value listens on 127.0.0.1:7070.
type Config struct {
	// Addr is the address to listen on, DefaultAddr if empty. An address beyond loopback is refused unless
	// TLS demands client certificates: the API can kill processes and has no passwords.
	Addr string
	// TLS, if not nil, is used for every connection.
	TLS *tls.Config
	// Logger gets what goes wrong while serving; slog.Default() if nil.
	Logger *slog.Logger
}

// Server serves the API of one system. It is a lifecycle Component.
type Server struct {
	listener net.Listener
	http     *http.Server
}

// NewServer listens at once, so that a taken port is known before anything is started; Run serves. A Server
// that is not run must be closed.
func NewServer(system System, cfg Config) (*Server, error) {
	addr := cmp.Or(cfg.Addr, DefaultAddr)
	if err := checkAddr(addr, cfg.TLS); err != nil {
		return nil, fmt.Errorf("control listen %s: %w", addr, err)
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("control listen %s: %w", addr, err)
	}
	bound := listener.Addr().String()
	listener = netutil.LimitListener(listener, maxConnections)
	if cfg.TLS != nil {
		listener = tls.NewListener(listener, cfg.TLS)
	}
	logger := cfg.Logger
	if logger == nil {
		logger = slog.Default()
	}
	return &Server{
		listener: listener,
		http: &http.Server{
			Addr:              bound,
			Handler:           newHandler(system, cfg.TLS != nil),
			ReadHeaderTimeout: headerTimeout,
			IdleTimeout:       idleTimeout,
			MaxHeaderBytes:    maxHeader,
			// What net/http logs here is almost always a client that spoke garbage.
			ErrorLog: log.New(debugWriter{logger}, "", 0),
		},
	}, nil
}

// Name names the component in logs.
func (s *Server) Name() string { return "control API" }

// Addr is the address that the server listens on.
func (s *Server) Addr() string { return s.http.Addr }

// Close frees the address of a Server that will not be run.
func (s *Server) Close() error { return s.listener.Close() }

// Run serves until ctx ends. It returns nil then, after open streams have been closed and requests in flight
// have been answered, for which they have two seconds.
func (s *Server) Run(ctx context.Context) error {
	s.http.BaseContext = func(net.Listener) context.Context { return ctx } // ends streams and long requests
	served := make(chan error, 1)
	go func() { served <- s.http.Serve(s.listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("control serve %s: %w", s.Addr(), err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if err := s.http.Shutdown(stop); err != nil {
		// A client that does not read holds its stream; it is cut off.
		_ = s.http.Close()
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("control serve %s: %w", s.Addr(), err)
	}
	return nil
}

// checkAddr refuses to offer the API to other machines unless they have to prove who they are.
func checkAddr(addr string, tlsConfig *tls.Config) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	if isLoopback(host) || tlsConfig != nil && tlsConfig.ClientAuth == tls.RequireAndVerifyClientCert {
		return nil
	}
	return errors.New("not a loopback address; beyond this machine the control API takes TLS with client certificates")
}

// debugWriter passes net/http's log on as debug records.
type debugWriter struct{ logger *slog.Logger }

func (w debugWriter) Write(p []byte) (int, error) {
	w.logger.Debug("control API", "http", string(p))
	return len(p), nil
}
