package control

import (
	"context"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/holdfast-go/holdfast/failure"
)

// Reasons in errors about who asks.
const (
	// ReasonToken: the request needs a token, and has none or a wrong one.
	ReasonToken = "TOKEN_REQUIRED"
	// ReasonRight: the token does not have the right to do this.
	ReasonRight = "RIGHT_REQUIRED"
	// ReasonCode: the code of an invitation was used already, or is too old, or never was one.
	ReasonCode = "CODE_VOID"
)

// guard decides who is let in, and keeps out what a web page elsewhere can make the user's browser send: a browser reaches
// loopback on behalf of any page.
//
//   - DNS rebinding: a page's own host name is made to resolve to 127.0.0.1. The Host header gives it away.
//   - Cross-site requests: the Origin header (sent by browsers with every POST and every fetch across origins)
//     is not ours, or Sec-Fetch-Site says so.
//   - A form needs neither script nor preflight, but cannot send application/json. There is no preflight that is answered.
//   - Every change needs a token, which a page does not have, or a session: a cookie that is not sent along by other sites
//     (SameSite=Strict) and a key in a header, which only the page that has logged in knows. Cookies do not tell ports apart: a
//     server at another port of this machine can come to see one, and has no key.
//
// Reading takes a token or a session, too, unless the listener is on loopback (open). There the Host has to be loopback; beyond
// it any Host is taken, since TLS and the token say who speaks with whom.
type guard struct {
	keys *keyring
	open bool
	next http.Handler
}

// serverName is the Server header: a Client tells by it that it talks to a control API.
const serverName = "holdfast-control"

func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Server", serverName)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'") // the console has its own
	var has grant
	err := admit(r, g.open)
	if err == nil {
		has, err = g.allow(r)
	}
	if err != nil {
		if failure.CodeOf(err) == failure.Unauthenticated {
			h.Set("WWW-Authenticate", `Bearer realm="holdfast"`)
		}
		failure.WriteProblem(w, err)
		return
	}
	// What let it in goes along with it: asked for again later, it may be void by then, and look like nothing.
	g.next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), grantKey{}, has)))
}

// admit refuses what no client of ours sends, whoever it says it is.
func admit(r *http.Request, open bool) error {
	if open && !isLoopback(hostOf(r.Host)) {
		return failure.New(failure.PermissionDenied, "host %.128q is not this machine's loopback address", r.Host)
	}
	if origin := r.Header.Get("Origin"); origin != "" && !sameOrigin(origin, r) {
		return failure.New(failure.PermissionDenied, "requests from the origin %.128q are refused", origin)
	}
	if site := r.Header.Get("Sec-Fetch-Site"); site == "cross-site" || site == "same-site" {
		// A link from elsewhere may open the index or the console, in a tab of its own, nothing more.
		dest := r.Header.Get("Sec-Fetch-Dest")
		if r.Method != http.MethodGet || r.Header.Get("Sec-Fetch-Mode") != "navigate" || dest != "" && dest != "document" {
			return failure.New(failure.PermissionDenied, "requests from other sites are refused")
		}
	}
	if strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		return failure.New(failure.InvalidArgument, "there are no WebSockets here; GET /v1/live is a stream of server-sent events")
	}
	if (r.Method == http.MethodPost || r.Method == http.MethodPut) && !isJSON(r.Header.Get("Content-Type")) {
		return failure.New(failure.InvalidArgument, "the body must be application/json, not %.128q", r.Header.Get("Content-Type"))
	}
	return nil
}

// allow refuses a request whose sender does not have the right to it, and returns what the sender may do otherwise.
func (g *guard) allow(r *http.Request) (grant, error) {
	changes := r.Method != http.MethodGet && r.Method != http.MethodHead && r.Method != http.MethodOptions
	switch {
	case r.URL.Path == sessionPath && r.Method == http.MethodPost:
		return grant{}, nil // the code is the token
	case !changes && isPage(r.URL.Path):
		return grant{}, nil // nothing in it is a secret, and one logs in there
	}
	has, err := g.keys.who(r)
	switch {
	case err != nil:
		return grant{}, err
	case has.right == "" && !changes && g.open:
		return has, nil
	case has.right == "":
		return grant{}, failure.New(failure.Unauthenticated, "this needs a token, which clients of the same user find by themselves; others take %s, and a browser the link of `holdfast console`", TokenVariable).
			WithReason(ReasonToken, Domain)
	case !changes, r.URL.Path == sessionPath: // everybody may log out
		return has, nil
	case has.by != nil && subtle.ConstantTimeCompare([]byte(has.by.Key), []byte(r.Header.Get(KeyHeader))) != 1:
		return grant{}, failure.New(failure.Unauthenticated, "the header %s does not have the key of this session; log in again by `holdfast console`", KeyHeader).
			WithReason(ReasonToken, Domain)
	case has.right != Operate:
		return grant{}, failure.New(failure.PermissionDenied, "this token may look and change nothing").WithReason(ReasonRight, Domain)
	}
	return has, nil
}

// grantOf returns what let a request in.
func grantOf(r *http.Request) grant {
	has, _ := r.Context().Value(grantKey{}).(grant)
	return has
}

// isPage reports whether a path is the console's.
func isPage(path string) bool { return path == "/" || strings.HasPrefix(path, "/console/") }

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
