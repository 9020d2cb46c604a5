package holdfast

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// adminGuard decides who may look at what. A browser reaches loopback on behalf of any page:
//
//   - DNS rebinding: a page's own host name is made to resolve to 127.0.0.1. The Host header gives it away.
//   - Requests of other origins: Sec-Fetch-Site or Origin say so. That another page cannot read the answer is not enough: a
//     profile takes its time from the process.
type adminGuard struct {
	open     http.Handler // for whoever reaches the listener
	local    http.Handler // for this machine, and who has a certificate
	loopback bool         // nobody else is to reach the listener
	busy     chan struct{}
	scraped  chan struct{} // for /metrics
}

// ServeHTTP implements http.Handler.
func (g *adminGuard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'") // pprof's index has its style in it
	local := fromLoopback(r)
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		h.Set("Allow", "GET, HEAD")
		http.Error(w, "here one only looks", http.StatusMethodNotAllowed)
	case foreignPage(r):
		http.Error(w, "requests of other pages are refused", http.StatusForbidden)
	case g.loopback && !local:
		http.Error(w, "the host is not this machine's loopback address", http.StatusForbidden)
	case isLocal(r.URL.Path) && !local && !certified(r):
		http.Error(w, "this is for the machine itself, or for who has a client certificate", http.StatusForbidden)
	default:
		if places := g.places(r.URL.Path); places != nil {
			select {
			case places <- struct{}{}:
				defer func() { <-places }()
			default:
				http.Error(w, "too many look at a time", http.StatusServiceUnavailable)
				return
			}
		}
		if isLocal(r.URL.Path) {
			g.local.ServeHTTP(w, r)
			return
		}
		g.open.ServeHTTP(w, r)
	}
}

// places are those that a request takes one of; nil: it takes none.
func (g *adminGuard) places(path string) chan struct{} {
	switch path {
	case "/healthz", "/readyz":
		return nil
	case "/metrics":
		return g.scraped
	}
	return g.busy
}

// isLocal reports whether a path is one of those that tell more than how well the process is.
func isLocal(path string) bool {
	return path == "/buildinfo" || path == "/state" || path == "/settings" || path == "/debug/pprof" || strings.HasPrefix(path, "/debug/")
}

// fromLoopback reports whether a request comes from this machine, and asks for it by a name that nobody else can have.
func fromLoopback(r *http.Request) bool {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !from.Addr().Unmap().IsLoopback() {
		return false
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Zone() == "" && ip.Unmap().IsLoopback()
}

// foreignPage reports whether a browser sends a request for a page of another origin, be it another port of this machine.
func foreignPage(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "none", "same-origin":
	default:
		return true
	}
	origin := r.Header.Get("Origin")
	if origin == "" {
		return false
	}
	scheme := "http://"
	if r.TLS != nil {
		scheme = "https://"
	}
	return !strings.EqualFold(origin, scheme+r.Host)
}

// certified reports whether TLS has verified who asks.
func certified(r *http.Request) bool { return r.TLS != nil && len(r.TLS.VerifiedChains) > 0 }
