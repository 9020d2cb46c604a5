package control

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/holdfast-go/holdfast/failure"
)

// guard refuses requests that a web page elsewhere can make the user's browser send: the API trusts whoever
// reaches it, and a browser reaches loopback on behalf of any page.
//
//   - DNS rebinding: a page's own host name is made to resolve to 127.0.0.1. The Host header gives it away.
//   - Cross-site requests: the Origin header (sent by browsers with every POST and every fetch across origins)
//     is not ours, or Sec-Fetch-Site says so.
//   - A form needs neither script nor preflight, but cannot send application/json.
//
// With mutual TLS (anyHost) the certificate decides who may come and any Host is taken; a browser that holds the
// certificate is still held to same-origin.
func guard(next http.Handler, anyHost bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Server", serverName)
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if err := admit(r, anyHost); err != nil {
			failure.WriteProblem(w, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// serverName is the Server header: a Client tells by it that it talks to a control API.
const serverName = "holdfast-control"

func admit(r *http.Request, anyHost bool) error {
	if !anyHost && !isLoopback(hostOf(r.Host)) {
		return failure.New(failure.PermissionDenied, "host %q is not this machine's loopback address", r.Host)
	}
	if origin := r.Header.Get("Origin"); origin != "" && !sameOrigin(origin, r) {
		return failure.New(failure.PermissionDenied, "requests from the origin %q are refused", origin)
	}
	if site := r.Header.Get("Sec-Fetch-Site"); site == "cross-site" || site == "same-site" {
		// A link from elsewhere may open the index or the console, nothing more.
		if r.Method != http.MethodGet || r.Header.Get("Sec-Fetch-Mode") != "navigate" {
			return failure.New(failure.PermissionDenied, "requests from other sites are refused")
		}
	}
	if (r.Method == http.MethodPost || r.Method == http.MethodPut) && !isJSON(r.Header.Get("Content-Type")) {
		return failure.New(failure.InvalidArgument, "the body must be application/json, not %q", r.Header.Get("Content-Type"))
	}
	return nil
}

func sameOrigin(origin string, r *http.Request) bool {
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" {
		return false // "null" too
	}
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	return u.Scheme == scheme && strings.EqualFold(u.Host, r.Host)
}

func isJSON(contentType string) bool {
	mediaType, _, _ := strings.Cut(contentType, ";")
	return strings.EqualFold(strings.TrimSpace(mediaType), "application/json")
}

// hostOf takes the port from a Host header, which need not have one.
func hostOf(hostport string) string {
	if host, _, err := net.SplitHostPort(hostport); err == nil {
		return host
	}
	return strings.TrimSuffix(strings.TrimPrefix(hostport, "["), "]")
}

// isLoopback reports whether host is a literal loopback address or localhost. Names are not looked up: whoever
// controls the name controls the answer.
func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}
