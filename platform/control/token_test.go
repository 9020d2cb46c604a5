package control_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/platform/control"
)

// home gives the test a user's cache of its own and returns the directory of the token files.
func home(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("HOME", dir)
	t.Setenv("XDG_CACHE_HOME", filepath.Join(dir, "cache"))
	t.Setenv(control.TokenVariable, "")
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(cache, "holdfast", "control")
}

// request does a request with these headers ("Name: value") and returns its status and what was answered.
func request(t *testing.T, method, url, body string, headers ...string) (*http.Response, string) {
	t.Helper()
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	return requestBy(t, c, method, url, body, headers...)
}

func requestBy(t *testing.T, c *http.Client, method, url, body string, headers ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" || method == http.MethodPost || method == http.MethodPut {
		req.Header.Set("Content-Type", "application/json")
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(b)
}

// login takes an invitation and returns the headers of the page that did: without its key, and with it.
func login(t *testing.T, base, code string) (cookie, key string) {
	t.Helper()
	resp, body := request(t, http.MethodPost, base+"/v1/session", `{"code": "`+code+`"}`)
	var s control.Session
	if err := json.Unmarshal([]byte(body), &s); err != nil || resp.StatusCode != http.StatusOK || s.Key == "" {
		t.Fatalf("login: %d %s", resp.StatusCode, body)
	}
	set := resp.Header.Get("Set-Cookie")
	for _, want := range []string{"HttpOnly", "SameSite=Strict", "Path=/v1/"} {
		if !strings.Contains(set, want) {
			t.Errorf("the cookie %q is not %s", set, want)
		}
	}
	cookie, _, _ = strings.Cut(set, ";")
	return "Cookie: " + cookie, control.KeyHeader + ": " + s.Key
}

// Who may do what, on loopback and beyond it.
func TestRights(t *testing.T) {
	home(t)
	cert, _ := certificate(t)
	for _, place := range []struct {
		name, addr string
		tls        *tls.Config
		open       bool
	}{
		{"on loopback", "127.0.0.1:0", nil, true},
		{"beyond it", "0.0.0.0:0", cert, false},
	} {
		t.Run(place.name, func(t *testing.T) {
			f := &fakeSystem{}
			srv := serveWith(t, f, control.Config{Addr: place.addr, TLS: place.tls, Token: operator})
			_, port, _ := net.SplitHostPort(srv.Addr())
			base := "http://127.0.0.1:" + port
			if place.tls != nil {
				base = "https://127.0.0.1:" + port
			}
			c := control.NewClient("127.0.0.1:" + port)
			defer c.Close()
			view, err := c.Token(t.Context(), control.View)
			if err != nil {
				t.Fatal(err)
			}
			viewCookie, viewKey := login(t, base, srv.Invite(control.View).Code)
			cookie, key := login(t, base, srv.Invite(control.Operate).Code)
			foreign := strings.Replace(key, ": ", ": x", 1)
			// One connection for all: what a request may do is said by it alone.
			browser := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
			defer browser.CloseIdleConnections()
			anybody := http.StatusOK // who shows nothing, and reads
			if !place.open {
				anybody = http.StatusUnauthorized
			}
			for _, tc := range []struct {
				name         string
				headers      []string
				read, change int
			}{
				{"nothing", nil, anybody, 401},
				{"a wrong token", []string{"Authorization: Bearer " + operator + "x"}, 401, 401},
				{"an empty token", []string{"Authorization: Bearer "}, 401, 401},
				{"another scheme", []string{"Authorization: Basic " + operator}, 401, 401},
				{"the token", []string{"Authorization: Bearer " + operator}, 200, 200},
				{"a token to look", []string{"Authorization: Bearer " + view.Token}, 200, 403},
				{"a cookie alone, as other ports of this machine see it", []string{cookie}, 200, 401},
				{"a cookie and a made-up key", []string{cookie, foreign}, 200, 401},
				{"a key without the cookie", []string{key}, anybody, 401},
				{"a cookie and somebody else's key", []string{cookie, viewKey}, 200, 401},
				{"a cookie and its key", []string{cookie, key}, 200, 200},
				{"a session to look", []string{viewCookie, viewKey}, 200, 403},
				{"a cookie that is none", []string{strings.Replace(cookie, "=", "=x", 1), key}, anybody, 401},
			} {
				t.Run(tc.name, func(t *testing.T) {
					for path, want := range map[string]int{"/v1/system": tc.read, "/v1/session": tc.read} {
						if resp, body := requestBy(t, browser, http.MethodGet, base+path, "", tc.headers...); resp.StatusCode != want {
							t.Errorf("GET %s: %d, want %d: %s", path, resp.StatusCode, want, body)
						}
					}
					if resp, _ := requestBy(t, browser, http.MethodHead, base+"/v1/system", "", tc.headers...); resp.StatusCode != tc.read {
						t.Errorf("HEAD: %d, want %d", resp.StatusCode, tc.read)
					}
					for _, change := range []struct{ method, path, body string }{
						{http.MethodPost, "/v1/kill", `{"target": "orders-1"}`},
						{http.MethodPut, "/v1/faults/f1", `{}`},
						{http.MethodDelete, "/v1/faults/f1", ""},
					} {
						resp, body := requestBy(t, browser, change.method, base+change.path, change.body, tc.headers...)
						if resp.StatusCode != tc.change {
							t.Errorf("%s %s: %d, want %d: %s", change.method, change.path, resp.StatusCode, tc.change, body)
						}
						if done := len(f.called()) > 0; done != (tc.change == 200) {
							t.Errorf("%s %s was done: %v", change.method, change.path, done)
						}
						if tc.change == 401 && (resp.Header.Get("WWW-Authenticate") == "" || !strings.Contains(body, control.ReasonToken)) {
							t.Errorf("what was wrong is not said: %s", body)
						}
						if tc.change == 403 && !strings.Contains(body, control.ReasonRight) {
							t.Errorf("what was wrong is not said: %s", body)
						}
					}
				})
			}
		})
	}
}

// The link of an invitation lets one browser in, once; who logs out is out.
func TestInvitation(t *testing.T) {
	home(t)
	srv := serveWith(t, &fakeSystem{}, control.Config{})
	base := "http://" + srv.Addr()
	in := srv.Invite(control.Operate)
	if in.URL != base+"/#login="+in.Code || time.Until(in.Until) < 30*time.Minute {
		t.Errorf("the invitation is %+v", in)
	}
	cookie, key := login(t, base, in.Code)
	if resp, body := request(t, http.MethodPost, base+"/v1/session", `{"code": "`+in.Code+`"}`); resp.StatusCode != http.StatusUnauthorized || !strings.Contains(body, control.ReasonCode) {
		t.Errorf("a code that was used: %d %s", resp.StatusCode, body)
	}
	_, body := request(t, http.MethodGet, base+"/v1/session", "", cookie, key)
	if !strings.Contains(body, `"operate"`) || strings.Contains(body, `"key"`) {
		t.Errorf("the session is %s; its key is told once", body)
	}
	if resp, _ := request(t, http.MethodDelete, base+"/v1/session", "", cookie); resp.StatusCode != http.StatusOK {
		t.Errorf("logout: %d", resp.StatusCode)
	}
	if resp, _ := request(t, http.MethodPost, base+"/v1/down", "{}", cookie, key); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("after the logout: %d", resp.StatusCode)
	}
	// Of many, the last ones are good.
	first := srv.Invite(control.View)
	for range 20 {
		in = srv.Invite(control.View)
	}
	if resp, _ := request(t, http.MethodPost, base+"/v1/session", `{"code": "`+first.Code+`"}`); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("the first of many: %d", resp.StatusCode)
	}
	login(t, base, in.Code)
}

// Who follows with a token that gives way is told that, and not that the system has ended.
func TestAStreamSaysThatItsTokenIsVoid(t *testing.T) {
	for name, follow := range map[string]func(ctx context.Context, c *control.Client, begun func()) error{
		"live": func(ctx context.Context, c *control.Client, begun func()) error {
			return c.Live(ctx, func(control.Live) error { begun(); return nil }, nil)
		},
		"events": func(ctx context.Context, c *control.Client, begun func()) error {
			return c.Events(ctx, begun, func(control.Event) error { return nil })
		},
	} {
		t.Run(name, func(t *testing.T) {
			home(t)
			srv := serveWith(t, &fakeSystem{events: make(chan control.Event)}, control.Config{Token: operator})
			owner := control.NewClient(srv.Addr())
			defer owner.Close()
			made, err := owner.Token(t.Context(), control.View)
			if err != nil {
				t.Fatal(err)
			}
			t.Setenv(control.TokenVariable, made.Token)
			c := control.NewClient(srv.Addr())
			defer c.Close()
			began, ended := make(chan struct{}), make(chan error, 1)
			begun := sync.OnceFunc(func() { close(began) })
			go func() { ended <- follow(t.Context(), c, begun) }()
			<-began
			for range 62 {
				if _, err := owner.Token(t.Context(), control.View); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := c.System(t.Context()); err != nil {
				t.Fatalf("void after 62 others: %v", err)
			}
			if _, err := owner.Token(t.Context(), control.View); err != nil { // the 63rd
				t.Fatal(err)
			}
			if err := <-ended; failure.CodeOf(err) != failure.Unauthenticated || !strings.Contains(err.Error(), "void") {
				t.Errorf("ended with %v", err)
			}
		})
	}
}

// Who guesses is told to stop, and holds nobody up.
func TestGuessing(t *testing.T) {
	home(t)
	c, addr := serve(t, &fakeSystem{})
	statuses := map[int]int{}
	for range 40 {
		resp, _ := request(t, http.MethodPost, "http://"+addr+"/v1/down", "{}", "Authorization: Bearer guess")
		statuses[resp.StatusCode]++
	}
	if statuses[401] != 30 || statuses[429] != 10 {
		t.Errorf("answers %v, want 30 of 401 and then 429", statuses)
	}
	if err := c.Down(t.Context()); err != nil {
		t.Errorf("the right token is held up: %v", err)
	}
	// So are tokens bounded, that operators make: the oldest gives way, and never the system's own.
	for range 70 {
		if _, err := c.Token(t.Context(), control.View); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Down(t.Context()); err != nil {
		t.Errorf("the system's own token gave way: %v", err)
	}
	if _, err := c.Token(t.Context(), "root"); failure.CodeOf(err) != failure.InvalidArgument {
		t.Errorf("a right that is none: %v", err)
	}
}

// The token lies where only the user can read it, for as long as the system runs.
func TestTokenFile(t *testing.T) {
	dir := home(t)
	srv, err := control.NewServer(&fakeSystem{}, control.Config{Addr: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 {
		t.Fatalf("files %v, %v", files, err)
	}
	if info, err := files[0].Info(); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	for d := dir; d != filepath.Dir(filepath.Dir(dir)); d = filepath.Dir(d) {
		if info, err := os.Stat(d); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", d, info.Mode(), err)
		}
	}
	if err := srv.Close(); err != nil {
		t.Error(err)
	}
	if files, _ := os.ReadDir(dir); len(files) != 0 {
		t.Errorf("left %v", files)
	}
	ctx, cancel := context.WithCancel(t.Context())
	srv, err = control.NewServer(&fakeSystem{}, control.Config{Addr: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := srv.Run(ctx); err != nil {
		t.Error(err)
	}
	if files, _ := os.ReadDir(dir); len(files) != 0 {
		t.Errorf("left by Run: %v", files)
	}
}

// A file that others can read, or could have written, is not believed; nor is one that holds no token.
func TestTokenFilesThatAreNotBelieved(t *testing.T) {
	dir := home(t)
	f := &fakeSystem{}
	srv := serveWith(t, f, control.Config{Token: operator})
	path := filepath.Join(dir, strings.ReplaceAll(srv.Addr(), ":", "_")+".json")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	try := func() error {
		c := control.NewClient(srv.Addr())
		defer c.Close()
		return c.Down(t.Context())
	}
	if err := try(); err != nil {
		t.Errorf("as it is: %v", err)
	}
	for name, spoil := range map[string]func() error{
		"others can read it":  func() error { return os.Chmod(path, 0o640) },
		"half of it is there": func() error { return os.WriteFile(path, whole[:20], 0o600) },
		"it is no token":      func() error { return os.WriteFile(path, []byte(`{"token": "a\r\nb: c"}`), 0o600) },
		"it is gone":          func() error { return os.Remove(path) },
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		if err := try(); failure.CodeOf(err) != failure.Unauthenticated {
			t.Errorf("%s: %v", name, err)
		}
		_ = os.Remove(path)
		if err := os.WriteFile(path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv(control.TokenVariable, operator+"x")
	if err := try(); failure.CodeOf(err) != failure.Unauthenticated {
		t.Errorf("the environment does not come first: %v", err)
	}
}

// Each of two systems has its own token; what a dead one has left is replaced, and a client that has outlived a system speaks with the
// next at its address.
func TestTokensOfSeveralSystems(t *testing.T) {
	dir := home(t)
	one, two := &fakeSystem{}, &fakeSystem{}
	a, b := serveWith(t, one, control.Config{}), serveWith(t, two, control.Config{})
	for srv, f := range map[*control.Server]*fakeSystem{a: one, b: two} {
		c := control.NewClient(srv.Addr())
		defer c.Close()
		if _, err := c.Kill(t.Context(), "orders-1", false); err != nil {
			t.Error(err)
		}
		equal(t, "calls", f.called(), []string{"kill orders-1"})
	}

	third, err := control.NewServer(&fakeSystem{}, control.Config{Addr: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	addr := third.Addr()
	path := filepath.Join(dir, strings.ReplaceAll(addr, ":", "_")+".json")
	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_ = third.Close()
	if err := os.WriteFile(path, old, 0o600); err != nil { // as after kill -9
		t.Fatal(err)
	}
	c := control.NewClient(addr)
	defer c.Close()
	if _, err := c.Kill(t.Context(), "orders-1", false); err == nil {
		t.Error("nobody is there")
	}
	serveWith(t, &fakeSystem{}, control.Config{Addr: addr})
	if _, err := c.Kill(t.Context(), "orders-1", false); err != nil {
		t.Errorf("the next system at the address: %v", err)
	}
}

// Beyond this machine a client wants a certificate that is signed for the name, and has the token from its environment. On this machine
// it knows the certificate.
func TestTLS(t *testing.T) {
	dir := home(t)
	cert, file := certificate(t)
	srv := serveWith(t, &fakeSystem{}, control.Config{Addr: "0.0.0.0:0", TLS: cert, Token: operator})
	_, port, _ := net.SplitHostPort(srv.Addr())
	ask := func(addr string) error {
		c := control.NewClient(addr)
		defer c.Close()
		_, err := c.System(t.Context())
		return err
	}
	for _, addr := range []string{"127.0.0.1:" + port, "localhost:" + port, "https://127.0.0.1:" + port} {
		if err := ask(addr); err != nil {
			t.Errorf("%s: %v", addr, err)
		}
	}
	if err := os.RemoveAll(dir); err != nil { // as at another machine
		t.Fatal(err)
	}
	t.Setenv(control.TokenVariable, operator)
	if err := ask("127.0.0.1:" + port); err == nil {
		t.Error("the token went out in plaintext, and was taken")
	}
	if err := ask("192.0.2.1:" + port); !errors.Is(err, failure.InvalidArgument) || !strings.Contains(err.Error(), "https://192.0.2.1") {
		t.Errorf("the token goes elsewhere in plaintext: %v", err)
	}
	if err := ask("https://127.0.0.1:" + port); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a certificate that nobody trusts: %v", err)
	}
	t.Setenv(control.CAVariable, file)
	if err := ask("https://127.0.0.1:" + port); err != nil {
		t.Errorf("a certificate that is trusted: %v", err)
	}
	if in := srv.Invite(control.View); !strings.HasPrefix(in.URL, "https://localhost:"+port+"/#login=") {
		t.Errorf("the link is %s", in.URL)
	}
}

func TestTokensThatAreTooShort(t *testing.T) {
	for _, token := range []string{"short", strings.Repeat(" ", 40), strings.Repeat("x", 2000), strings.Repeat("é", 40)} {
		srv, err := control.NewServer(&fakeSystem{}, control.Config{Addr: "127.0.0.1:0", Token: token})
		if err == nil {
			_ = srv.Close()
			t.Errorf("the token %.20q is taken", token)
		}
	}
}

// certificate makes one for 127.0.0.1, and a file with it.
func certificate(t *testing.T) (*tls.Config, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: der}); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, file
}
