package rpc

import (
	"context"
	"errors"
	"net"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

var errPlaintext = errors.New("plaintext is for loopback only: give TLS, or set Insecure")

// beyondLoopback reports whether others can listen in on addr. Only TCP leaves the machine; an address that does not
// say (0.0.0.0) is everywhere.
func beyondLoopback(addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	return ok && !tcp.IP.IsLoopback()
}

func checkPlaintext(cfg ServerConfig, addr net.Addr) error {
	if cfg.TLS == nil && !cfg.Insecure && beyondLoopback(addr) {
		return errPlaintext
	}
	return nil
}

// loopbackCredentials are plaintext, and refuse connections to other machines before a byte is sent.
type loopbackCredentials struct {
	credentials.TransportCredentials
}

func newLoopbackCredentials() credentials.TransportCredentials {
	return loopbackCredentials{insecure.NewCredentials()}
}

// ClientHandshake implements credentials.TransportCredentials.
func (c loopbackCredentials) ClientHandshake(ctx context.Context, authority string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	if beyondLoopback(conn.RemoteAddr()) {
		return nil, nil, errPlaintext
	}
	return c.TransportCredentials.ClientHandshake(ctx, authority, conn)
}

// Clone implements credentials.TransportCredentials.
func (c loopbackCredentials) Clone() credentials.TransportCredentials {
	return loopbackCredentials{c.TransportCredentials.Clone()}
}
