package driver

import (
	"context"
	"net"
)

// Opener opens engines by their URL. A program links the engines it can use by naming their Openers
// (holdfast.Drivers), so that one it does not use costs it nothing.
type Opener interface {
	// Scheme is what the URLs begin with, without the colon: "consul".
	Scheme() string
	// CheckURL reports everything that is wrong with url, without connecting. The text goes on after the URL: "has a
	// member that is not HOST:PORT". It never repeats what stands where a secret could.
	CheckURL(url string) error
	// OpenLocks returns the engine at url. It connects to nothing, so that it works while the engine is dead.
	OpenLocks(url string, o OpenOptions) (Engine, error)
}

// OpenOptions is what differs between programs that open the same URL.
type OpenOptions struct {
	// Insecure allows plaintext beyond loopback.
	Insecure bool
	// WrapDial returns how connections are made instead of by next: what the Opener itself was given for that, or nil, which is
	// net.Dialer.DialContext. Nothing is changed if it is nil.
	WrapDial func(next func(ctx context.Context, network, address string) (net.Conn, error)) func(ctx context.Context, network, address string) (net.Conn, error)
}
