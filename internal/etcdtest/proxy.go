package etcdtest

import (
	"testing"

	"github.com/holdfast-go/holdfast/internal/proxytest"
)

// Proxy stands between clients and a Server.
type Proxy = proxytest.Proxy

// NewProxy returns a proxy on a free loopback port that forwards to what backend returns. It ends with the test.
func NewProxy(t testing.TB, backend func() string) *Proxy {
	t.Helper()
	return proxytest.New(t, backend)
}
