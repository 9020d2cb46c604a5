package control

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
)

// Config configures a Server. The zero value listens on 127.0.0.1:7070.
type Config struct {
	Addr   string       // default DefaultAddr; an address beyond loopback takes TLS with client certificates
	TLS    *tls.Config  // nil for plain HTTP
	Logger *slog.Logger // default slog.Default()
}

// DefaultAddr is where the API of a running system is found unless told otherwise.
const DefaultAddr = "127.0.0.1:7070"

// Server serves the API of one system. It is a lifecycle Component.
type Server struct{}

// NewServer listens at once, so that a taken port is known before anything is started; Run serves.
func NewServer(system System, cfg Config) (*Server, error) { return nil, errors.ErrUnsupported }

// Addr is the address that the server listens on.
func (s *Server) Addr() string { return "" }

// Run serves until ctx ends. It returns nil then, after open streams have been closed.
func (s *Server) Run(ctx context.Context) error { return errors.ErrUnsupported }
