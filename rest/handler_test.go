package rest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/resilience"
)

var quiet = slog.New(slog.DiscardHandler)

// serveOnce runs one request through a wrapped handler.
func serveOnce(h http.HandlerFunc, cfg ServerConfig, r *http.Request) *httptest.ResponseRecorder {
	if cfg.Logger == nil {
		cfg.Logger = quiet
	}
	w := httptest.NewRecorder()
	Wrap(h, cfg).ServeHTTP(w, r)
	return w
}

func wantProblem(t *testing.T, w *httptest.ResponseRecorder, status int, code failure.Code) failure.Problem {
	t.Helper()
	if w.Code != status {
		t.Errorf("status %d, want %d; body %s", w.Code, status, w.Body)
	}
	if ct := w.Header().Get("Content-Type"); ct != failure.ProblemType {
		t.Errorf("content type %q, want %q", ct, failure.ProblemType)
	}
	var p failure.Problem
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
		t.Fatalf("body %q: %v", w.Body, err)
	}
	if p.Status != status || p.Code != code.String() {
		t.Errorf("problem says %d %s, want %d %s", p.Status, p.Code, status, code)
	}
	return p
}

func TestDeadlineIsTheShorterOfServerAndCaller(t *testing.T) {
	for _, tt := range []struct {
		name   string
		own    time.Duration
		header []string
		want   time.Duration // negative: none
	}{
		{"caller asks for less", 10 * time.Second, []string{"250"}, 250 * time.Millisecond},
		{"caller asks for more", time.Second, []string{"60000"}, time.Second},
		{"no header", time.Second, nil, time.Second},
		{"default", 0, nil, DefaultTimeout},
		{"garbage", time.Second, []string{"soon"}, time.Second},
		{"negative", time.Second, []string{"-5"}, time.Second},
		{"two of them", time.Second, []string{"5", "6"}, time.Second},
		{"no time left", time.Second, []string{"0"}, 0},
		{"no own limit", -1, []string{"40"}, 40 * time.Millisecond},
		{"no limit at all", -1, nil, -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := httptest.NewRequest(http.MethodGet, "/", nil)
				r.Header[HeaderTimeout] = tt.header
				serveOnce(func(w http.ResponseWriter, r *http.Request) {
					if !resilience.Incoming(r.Context()) {
						t.Error("context is not marked as incoming: clients would add their own timeout to the caller's")
					}
					got := time.Duration(-1)
					if at, ok := r.Context().Deadline(); ok {
						got = time.Until(at)
					}
					if got != tt.want {
						t.Errorf("time to the deadline %v, want %v", got, tt.want)
					}
				}, ServerConfig{Timeout: tt.own}, r)
			})
		})
	}
}

func TestHandlerThatMissedItsDeadlineWithoutAnAnswerIs504(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := serveOnce(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
			ServerConfig{Timeout: time.Second}, httptest.NewRequest(http.MethodGet, "/slow", nil))
		if p := wantProblem(t, w, 504, failure.DeadlineExceeded); p.Instance != "/slow" {
			t.Errorf("instance %q", p.Instance)
		}
	})
}

// Nobody may be told that a request went well, and nobody who counts them, which its handler gave up because it was canceled.
func TestHandlerThatGaveUpWithItsClientIsNoSuccess(t *testing.T) {
	for name, tt := range map[string]struct {
		write  func(http.ResponseWriter)
		status int
	}{
		"nothing":  {func(http.ResponseWriter) {}, 499},
		"a status": {func(w http.ResponseWriter) { w.WriteHeader(http.StatusCreated) }, http.StatusCreated},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		w := serveOnce(func(w http.ResponseWriter, _ *http.Request) {
			cancel()
			tt.write(w)
		}, ServerConfig{}, httptest.NewRequestWithContext(ctx, http.MethodPost, "/orders", nil))
		if w.Code != tt.status {
			t.Errorf("%s: status %d, want %d", name, w.Code, tt.status)
		}
	}
}

func TestStreamOutlivesTheDeadlineAndEndsWithTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type key struct{}
		h := Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r = r.WithContext(context.WithValue(r.Context(), key{}, "kept"))
			r = Stream(w, r)
			if _, ok := r.Context().Deadline(); ok || r.Context().Value(key{}) != "kept" {
				t.Error("Stream kept the deadline or lost the values")
			}
			<-r.Context().Done()
			if cause := context.Cause(r.Context()); !errors.Is(cause, ErrStopping) {
				t.Errorf("cause %v, want ErrStopping", cause)
			}
		}), ServerConfig{Timeout: time.Second, Logger: quiet})
		w := httptest.NewRecorder()
		done := make(chan struct{})
		go func() {
			defer close(done)
			h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/events", nil))
		}()
		select {
		case <-done:
			t.Fatal("the stream ended by itself")
		case <-time.After(time.Hour):
		}
		h.EndStreams()
		<-done
		if w.Code != 200 {
			t.Errorf("status %d: a stream that wrote nothing has not missed a deadline", w.Code)
		}
	})
}

func TestStreamEndsWithTheClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Minute, cancel)
		serveOnce(func(w http.ResponseWriter, r *http.Request) {
			<-Stream(w, r).Context().Done()
		}, ServerConfig{}, httptest.NewRequest(http.MethodGet, "/events", nil).WithContext(ctx))
	})
}

func TestStreamOutsideOfAHandlerIsTheRequestItself(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	if Stream(httptest.NewRecorder(), r) != r {
		t.Error("another request came back")
	}
}

func TestPanicIs500AndItsStackIsInTheLogOnly(t *testing.T) {
	var log bytes.Buffer
	w := serveOnce(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Etag", `"half"`)
		panic("secret pointer")
	}, ServerConfig{Logger: slog.New(slog.NewTextHandler(&log, nil))}, httptest.NewRequest(http.MethodGet, "/boom", nil))
	wantProblem(t, w, 500, failure.Internal)
	if strings.Contains(w.Body.String(), "secret") || w.Header().Get("Etag") != "" {
		t.Errorf("the answer tells too much: %v %s", w.Header(), w.Body)
	}
	for _, want := range []string{"secret pointer", "handler_test.go", "/boom"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("log lacks %q: %s", want, &log)
		}
	}
}

func TestPanicAfterTheAnswerBeganAborts(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"half an answer":     func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "half"); panic("late") },
		"ErrAbortHandler":    func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"flushed":            func(w http.ResponseWriter, _ *http.Request) { w.(http.Flusher).Flush(); panic("late") },
		"nil after a header": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK); panic(errors.New("x")) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if v := recover(); v != http.ErrAbortHandler { //nolint:errorlint // the very value is what net/http looks for
					t.Errorf("panic value %v, want http.ErrAbortHandler", v)
				}
			}()
			serveOnce(h, ServerConfig{}, httptest.NewRequest(http.MethodGet, "/", nil))
			t.Error("no panic")
		})
	}
}

func TestBodyOverTheLimitIs413(t *testing.T) {
	read := func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(r.Body); err != nil {
			Error(w, r, err)
		}
	}
	t.Run("announced", func(t *testing.T) {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader("12345"))
		w := serveOnce(func(http.ResponseWriter, *http.Request) { t.Error("the handler was called") }, ServerConfig{MaxBodyBytes: 4}, r)
		if p := wantProblem(t, w, 413, failure.InvalidArgument); p.Reason != "BODY_TOO_LARGE" {
			t.Errorf("reason %q", p.Reason)
		}
		if w.Header().Get("Connection") != "close" {
			t.Error("the connection is kept although the body is still coming")
		}
	})
	t.Run("chunked", func(t *testing.T) {
		r := httptest.NewRequest(http.MethodPost, "/", io.MultiReader(strings.NewReader("12345")))
		wantProblem(t, serveOnce(read, ServerConfig{MaxBodyBytes: 4}, r), 413, failure.InvalidArgument)
	})
	t.Run("exactly the limit", func(t *testing.T) {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader("1234"))
		if w := serveOnce(read, ServerConfig{MaxBodyBytes: 4}, r); w.Code != 200 {
			t.Errorf("status %d", w.Code)
		}
	})
	t.Run("no limit", func(t *testing.T) {
		r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(make([]byte, 2<<20)))
		if w := serveOnce(read, ServerConfig{MaxBodyBytes: -1}, r); w.Code != 200 {
			t.Errorf("status %d", w.Code)
		}
	})
}

func TestDrainClosesConnectionsAndFailsTheHealthPath(t *testing.T) {
	h := Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/write":
			_, _ = io.WriteString(w, "x")
		case "/header":
			w.WriteHeader(http.StatusTeapot)
		case "/copy":
			_, _ = io.Copy(w, strings.NewReader("x"))
		case "/panic":
			panic("x")
		}
	}), ServerConfig{Logger: quiet})
	get := func(path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w
	}
	for _, path := range []string{"/write", "/header", "/copy", "/panic", "/nothing", "/healthz"} {
		if v := get(path).Header().Get("Connection"); v != "" {
			t.Errorf("%s: Connection: %s before Drain", path, v)
		}
	}
	h.Drain()
	for _, path := range []string{"/write", "/header", "/copy", "/panic", "/nothing", "/healthz"} {
		if get(path).Header().Get("Connection") != "close" {
			t.Errorf("%s: no Connection: close while draining", path)
		}
	}
	wantProblem(t, get("/healthz"), 503, failure.Unavailable)
}

func TestHealthPathIsAnsweredUnlessTheHandlerDoes(t *testing.T) {
	for _, tt := range []struct {
		name   string
		cfg    ServerConfig
		h      http.HandlerFunc
		method string
		status int
		body   string
	}{
		{"nothing there", ServerConfig{}, http.NotFound, "GET", 200, `{"status":"ok"}` + "\n"},
		{"head", ServerConfig{}, http.NotFound, "HEAD", 200, `{"status":"ok"}` + "\n"},
		{"other method", ServerConfig{}, http.NotFound, "POST", 404, "404 page not found\n"},
		{"own answer", ServerConfig{}, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "mine") }, "GET", 200, "mine"},
		{"own failure", ServerConfig{}, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }, "GET", 503, ""},
		{"empty answer", ServerConfig{}, func(http.ResponseWriter, *http.Request) {}, "GET", 200, ""},
		{"switched off", ServerConfig{HealthPath: "-"}, http.NotFound, "GET", 404, "404 page not found\n"},
		{"elsewhere", ServerConfig{HealthPath: "/ready"}, http.NotFound, "GET", 404, "404 page not found\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := serveOnce(tt.h, tt.cfg, httptest.NewRequest(tt.method, "/healthz", nil))
			if w.Code != tt.status || w.Body.String() != tt.body {
				t.Errorf("got %d %q, want %d %q", w.Code, w.Body, tt.status, tt.body)
			}
		})
	}
	t.Run("panic", func(t *testing.T) {
		w := serveOnce(func(http.ResponseWriter, *http.Request) { panic("x") }, ServerConfig{}, httptest.NewRequest(http.MethodGet, "/healthz", nil))
		wantProblem(t, w, 500, failure.Internal)
	})
}

func TestWriterKeepsTheOptionalInterfaces(t *testing.T) {
	s := httptest.NewServer(Wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if _, ok := w.(io.ReaderFrom); !ok {
			t.Error("no io.ReaderFrom")
		}
		if _, ok := w.(http.CloseNotifier); !ok { //nolint:staticcheck // Gin asserts it
			t.Error("no http.CloseNotifier")
		}
		if err := http.NewResponseController(w).EnableFullDuplex(); err != nil {
			t.Errorf("ResponseController does not reach the server's writer: %v", err)
		}
		conn, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Errorf("hijack: %v", err)
			return
		}
		defer conn.Close()
		_, _ = rw.WriteString("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
		_ = rw.Flush()
	}), ServerConfig{Logger: quiet}))
	defer s.Close()
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	if string(body) != "hi" {
		t.Errorf("body %q", body)
	}
}

func TestErrorHidesCausesFromTheClientAndLogsThem(t *testing.T) {
	for _, tt := range []struct {
		err    error
		status int
		code   failure.Code
		logged bool
	}{
		{errors.New("dsn=secret"), 500, failure.Unknown, true},
		{failure.Wrap(errors.New("dsn=secret"), failure.Internal, "sorry"), 500, failure.Internal, true},
		{failure.Wrap(errors.New("dsn=secret"), failure.NotFound, "no such thing"), 404, failure.NotFound, false},
		{context.DeadlineExceeded, 504, failure.DeadlineExceeded, false},
		{nil, 500, failure.Internal, true},
	} {
		var log bytes.Buffer
		w := serveOnce(func(w http.ResponseWriter, r *http.Request) { Error(w, r, tt.err) },
			ServerConfig{Logger: slog.New(slog.NewTextHandler(&log, nil))}, httptest.NewRequest(http.MethodGet, "/x?token=secret", nil))
		wantProblem(t, w, tt.status, tt.code)
		if strings.Contains(w.Body.String(), "secret") {
			t.Errorf("%v: the client sees %s", tt.err, w.Body)
		}
		if (log.Len() > 0) != tt.logged {
			t.Errorf("%v: log %q, want logged %v", tt.err, &log, tt.logged)
		}
	}
}

func FuzzParseTimeout(f *testing.F) {
	for _, s := range []string{"", "0", "250", "-1", "+5", "1e3", "9999999999", "99999999999", "٣", " 5", "5\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, ok := ParseTimeout(s)
		if d < 0 || !ok && d != 0 {
			t.Fatalf("%q: %v %v", s, d, ok)
		}
		if ok && d > 0 {
			if again, ok := ParseTimeout(formatTimeout(d)); !ok || again != d {
				t.Fatalf("%q: %v is written as %q and read as %v", s, d, formatTimeout(d), again)
			}
		}
	})
}
