package rest

import (
	"context"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"testing"

	"github.com/holdfast-go/holdfast/resilience"
)

// watcher is an observer of the calls of a client that has them take along what it says.
type watcher struct{ along resilience.Along }

func (w watcher) BeginCall(context.Context, resilience.CallInfo) resilience.CallObserver { return w }

func (watcher) BeginServe(ctx context.Context, _ resilience.ServeInfo) (context.Context, resilience.ServeObserver) {
	return ctx, nil
}

func (w watcher) BeginAttempt(resilience.AttemptInfo) resilience.Along { return w.along }
func (watcher) EndAttempt(resilience.AttemptEnd)                       {}
func (watcher) End(e resilience.CallEnd)                               { _ = e.Err }

// For the race detector.
func TestAWatchedBodyMayBeClosedWhileItIsRead(t *testing.T) {
	w := newWorld(t)
	w.serve("a", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Length", "10000000")
		_, _ = rw.Write(make([]byte, 100_000))
		rw.(http.Flusher).Flush()
		<-r.Context().Done()
	}), ServerConfig{})
	client := w.client(ClientConfig{Observer: watcher{}})
	for range 20 {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://shop/", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(io.Discard, resp.Body, 100_000); err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() {
			_, err := io.Copy(io.Discard, resp.Body)
			done <- err
		}()
		_ = resp.Body.Close()
		if err := <-done; err == nil {
			t.Fatal("the end of what was closed was read")
		}
	}
}

func TestAProxyDoesNotPassOnWhatItsTraceRefused(t *testing.T) {
	w := newWorld(t)
	got := make(chan http.Header, 1)
	w.serve("a", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got <- r.Header }), ServerConfig{})
	client := w.client(ClientConfig{Observer: watcher{resilience.Along{Traceparent: "mine"}}})
	proxy := &httputil.ReverseProxy{Transport: client.Transport, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: "http", Host: "shop"})
	}}
	front := w.serve("front", proxy, ServerConfig{})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+front.Addr().String()+"/", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []string{resilience.HeaderTraceparent, resilience.HeaderTracestate, resilience.HeaderBaggage} {
		req.Header.Set(k, "a stranger's")
	}
	tr := new(http.Transport)
	defer tr.CloseIdleConnections()
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	h := <-got
	for k, want := range map[string]string{headerTraceparent: "mine", headerTracestate: "", headerBaggage: ""} {
		if h.Get(k) != want {
			t.Errorf("%s is %q, not %q", k, h.Get(k), want)
		}
	}
}

// endings is an observer of what is served.
type endings chan resilience.ServeEnd

func (endings) BeginCall(context.Context, resilience.CallInfo) resilience.CallObserver { return nil }

func (e endings) BeginServe(ctx context.Context, _ resilience.ServeInfo) (context.Context, resilience.ServeObserver) {
	return ctx, e
}

func (endings) Admit(resilience.AdmitInfo)      {}
func (endings) Keep(resilience.ServeEnd) string { return "" }
func (e endings) End(of resilience.ServeEnd)    { e <- of }

func TestTheObserverIsToldTheStatus(t *testing.T) {
	told := make(endings, 1)
	w := newWorld(t)
	mux := http.NewServeMux()
	mux.HandleFunc("/nothing", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/body", func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, "x") })
	mux.HandleFunc("/created", func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusCreated) })
	mux.HandleFunc("/events", func(rw http.ResponseWriter, _ *http.Request) { rw.Header().Set("Content-Type", "text/event-stream") })
	mux.HandleFunc("/upgrade", func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Upgrade", "test")
		rw.Header().Set("Connection", "Upgrade")
		rw.WriteHeader(http.StatusSwitchingProtocols)
	})
	mux.HandleFunc("/taken", func(rw http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(rw).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
		conn.Close()
	})
	front := w.serve("front", mux, ServerConfig{Observer: told})
	tr := new(http.Transport)
	defer tr.CloseIdleConnections()
	for path, want := range map[string]resilience.ServeEnd{
		"/nothing": {Status: 200}, "/body": {Status: 200}, "/created": {Status: 201}, "/elsewhere": {Status: 404},
		"/events": {Status: 200, Stream: true}, "/upgrade": {Status: 101, Stream: true}, "/taken": {Status: 101, Stream: true},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+front.Addr().String()+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if got := <-told; got.Status != want.Status || got.Stream != want.Stream {
			t.Errorf("%s: status %d, stream %v; want %d, %v", path, got.Status, got.Stream, want.Status, want.Stream)
		}
	}
}
