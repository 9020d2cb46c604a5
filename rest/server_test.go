package rest

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/lifecycle"
)

var (
	_ lifecycle.Component = (*Server)(nil)
	_ lifecycle.Readier   = (*Server)(nil)
	_ lifecycle.Drainer   = (*Server)(nil)
	_ lifecycle.Namer     = (*Server)(nil)
)

func newServer(t testing.TB, h http.HandlerFunc, cfg ServerConfig) *Server {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = quiet
	}
	s, err := NewServer(h, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// dial opens a connection and sends text on it.
func dial(t testing.TB, s *Server, text string) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	return c, bufio.NewReader(c)
}

func TestServerThatCannotListenSaysWhy(t *testing.T) {
	first := newServer(t, nil, ServerConfig{})
	defer first.Close()
	l, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for want, cfg := range map[string]ServerConfig{
		"address already in use":              {Addr: first.Addr().String()},
		"0.0.0.0:0: plaintext is for":         {Addr: "0.0.0.0:0"},
		":0: plaintext is for":                {Addr: ":0"},
		"plaintext is for loopback only: set": {Listener: l},
		"Addr: \"x\" given together":          {Addr: "x", Listener: l},
		"MaxHeaderBytes: -1 is negative":      {MaxHeaderBytes: -1},
		"ReadHeaderTimeout: -1ns is negative": {ReadHeaderTimeout: -1},
		"IdleTimeout: -1ns is negative":       {IdleTimeout: -1},
		"HealthPath: \"x\" does not start":    {HealthPath: "x"},
	} {
		s, err := NewServer(http.NotFoundHandler(), cfg)
		if err == nil {
			_ = s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	s, err := NewServer(http.NotFoundHandler(), ServerConfig{Addr: "0.0.0.0:0", Insecure: true})
	if err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
}

func TestRequestThatComesBeforeRunIsServed(t *testing.T) {
	s := newServer(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }, ServerConfig{})
	<-s.Ready()
	_, r := dial(t, s, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	runServer(t, s)
	if resp, err := http.ReadResponse(r, nil); err != nil || resp.StatusCode != http.StatusOK {
		t.Error(resp, err)
	}
}

func TestListenerThatFailsEndsRunWithItsError(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(t, nil, ServerConfig{Listener: l})
	defer s.Close()
	_ = l.Close()
	if err := s.Run(t.Context()); !errors.Is(err, net.ErrClosed) || !strings.Contains(err.Error(), "rest serve") {
		t.Errorf("error %v", err)
	}
}

func TestHostileClientsGetAnErrorAndHarmNothing(t *testing.T) {
	t.Parallel()
	serving := func(header, within time.Duration) *Server {
		s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
			if _, err := io.Copy(io.Discard, r.Body); err != nil {
				Error(w, r, err)
			}
		}, ServerConfig{Timeout: within, ReadHeaderTimeout: header, MaxHeaderBytes: 1 << 10})
		sooner := s.server.ReadTimeout - 2*within // the slack of 5 s is too long for a test
		s.server.ReadTimeout -= sooner
		s.server.WriteTimeout -= sooner
		runServer(t, s)
		return s
	}
	const short, long = 50 * time.Millisecond, 30 * time.Second
	patient, hasty, hastier := serving(long, long), serving(long, short), serving(short, long)
	for name, tt := range map[string]struct {
		*Server
		send, want string
	}{
		"no HTTP":           {patient, "\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", "400"},
		"endless header":    {patient, "GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 100_000), "431"},
		"two lengths":       {patient, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "400"},
		"trickled header":   {hastier, "GET / HTTP/1.1\r\nHo", ""}, // cut
		"announced 100 MB":  {patient, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\nxxx", "413"},
		"100 MB in chunks":  {patient, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5F5E100\r\n" + strings.Repeat("x", 2<<20), "413"},
		"body never comes":  {hasty, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nxxx", "400"},
		"timeout overflows": {patient, "GET / HTTP/1.1\r\nHost: x\r\nX-Request-Timeout-Ms: 99999999999999999999\r\n\r\n", "200"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, err := net.Dial("tcp", tt.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			go func() { _, _ = io.WriteString(c, tt.send) }()
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			switch {
			case err != nil && tt.want != "":
				t.Errorf("%v, want %s", err, tt.want)
			case err == nil && !strings.HasPrefix(resp.Status, tt.want):
				body, _ := io.ReadAll(resp.Body)
				t.Errorf("%s %s, want %s", resp.Status, body, tt.want)
			}
		})
	}
}

// certificate returns a self-signed one for name.
func certificate(t *testing.T, name string) (tls.Certificate, *x509.CertPool) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func TestTLSVerifiesTheNameOfTheService(t *testing.T) {
	cert, pool := certificate(t, "shop")
	w := newWorld(t)
	w.serve("a", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		fmt.Fprint(rw, r.Proto, r.TLS != nil)
	}), ServerConfig{TLS: &tls.Config{Certificates: []tls.Certificate{cert}}})
	client := w.client(ClientConfig{TLS: &tls.Config{RootCAs: pool}})
	for _, scheme := range []string{"http", "https"} {
		req := call{method: "POST", body: "x"}.request(t, t.Context())
		req.URL.Scheme = scheme
		if status, body, err := send(client, req); err != nil || status != 200 || body != "HTTP/1.1true" {
			t.Errorf("%s: %d %q %v", scheme, status, body, err)
		}
	}
	other, _ := certificate(t, "shop")
	w2 := newWorld(t)
	w2.serve("a", http.NotFoundHandler(), ServerConfig{TLS: &tls.Config{Certificates: []tls.Certificate{other}}})
	_, _, err := send(w2.client(ClientConfig{TLS: &tls.Config{RootCAs: pool}}), call{method: "GET"}.request(t, t.Context()))
	if e := callError(t, err); !strings.Contains(err.Error(), "x509") || e.Attempts[0].Sent != 1 {
		t.Errorf("error %v", err)
	}
}

// The answer to a body that is too long comes while the client still sends, and must not be lost to a reset connection.
func TestAnEarlyAnswerToAnExpectedBodyArrives(t *testing.T) {
	h := Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.CopyN(io.Discard, r.Body, 64<<10)
		Error(w, r, failure.New(failure.InvalidArgument, "enough"))
	}), ServerConfig{MaxBodyBytes: -1})
	server := httptest.NewServer(h)
	defer server.Close()
	transport := &http.Transport{ExpectContinueTimeout: time.Second, DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	for range 20 {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, io.LimitReader(zeros{}, 50<<20))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Expect", "100-continue")
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusBadRequest {
			t.Fatal(resp.Status)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// late is the context of a request that says of its end only that the client is gone: the end of the reading of its body was seen before
// the deadline was.
type late struct {
	context.Context
	deadline time.Time
}

func (l late) Deadline() (time.Time, bool) { return l.deadline, true }

// A caller that is still there tries elsewhere what took too long, and not what it is said to have given up itself.
func TestTimeThatIsOverIsNotAClientThatIsGone(t *testing.T) {
	for name, answer := range map[string]func(http.ResponseWriter, *http.Request){
		"nothing": func(http.ResponseWriter, *http.Request) {},
		"an error": func(w http.ResponseWriter, r *http.Request) {
			Error(w, r, failure.Wrap(r.Context().Err(), failure.Canceled, "given up"))
		},
	} {
		for at, want := range map[time.Duration]int{time.Second: http.StatusGatewayTimeout, time.Second - 1: 499} {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				w := httptest.NewRecorder()
				r := httptest.NewRequestWithContext(late{ctx, time.Now().Add(time.Second)}, http.MethodPut, "/x", strings.NewReader("x"))
				Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					<-time.After(at)
					cancel()
					<-r.Context().Done()
					answer(w, r)
				}), ServerConfig{}).ServeHTTP(w, r)
				if w.Code != want {
					t.Errorf("%s, ended after %v of a second: %d %s, want %d", name, at, w.Code, w.Body, want)
				}
			})
		}
	}
}
