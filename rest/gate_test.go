package rest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/admission"
	"github.com/holdfast-go/holdfast/balance"
	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/policy"
	"github.com/holdfast-go/holdfast/resilience"
)

func get(h http.Handler, target string, header ...string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, target, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	h.ServeHTTP(w, r)
	return w
}

// occupied returns a handler that can do one thing at a time, and does. free ends that.
func occupied(t *testing.T) (h *Handler, ran *int, free func()) {
	t.Helper()
	ran = new(int)
	begun, release, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	h = Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		*ran++
		if r.URL.Path == "/long" {
			close(begun)
			<-release
		}
	}), ServerConfig{Logger: quiet, Admission: admission.Config{MaxLimit: 1, Queue: -1}})
	go func() {
		defer close(done)
		get(h, "/long")
	}()
	<-begun
	return h, ran, func() {
		close(release)
		<-done
	}
}

func TestABusyServerIs503AndSaysSo(t *testing.T) {
	h, ran, free := occupied(t)
	defer free()
	for range 5 {
		w := get(h, "/orders")
		p := wantProblem(t, w, http.StatusServiceUnavailable, failure.ResourceExhausted)
		if p.Reason != failure.ReasonShed || p.Domain != failure.Domain {
			t.Errorf("problem %+v", p)
		}
	}
	w := get(h, "/orders")
	if s, err := strconv.Atoi(w.Header().Get("Retry-After")); err != nil || s < 1 {
		t.Errorf("Retry-After %q", w.Header().Get("Retry-After"))
	}
	if *ran != 1 {
		t.Errorf("the handler ran %d times", *ran)
	}
}

func TestTheHealthPathIsAnsweredByABusyServer(t *testing.T) {
	h, _, free := occupied(t)
	defer free()
	w := get(h, DefaultHealthPath, balance.HeaderLoadProbe, "1")
	load, ok := balance.ParseReport(w.Header().Get(balance.HeaderLoad))
	if w.Code != http.StatusOK || !ok || load.InFlight != 1 {
		t.Errorf("%d, load %q", w.Code, w.Header().Get(balance.HeaderLoad))
	}
	if w := get(h, DefaultHealthPath); w.Header().Get(balance.HeaderLoad) != "" {
		t.Error("the load is told without being asked for")
	}
}

func TestAQuotaIs429(t *testing.T) {
	h := Wrap(http.NotFoundHandler(), ServerConfig{Logger: quiet, Admission: admission.Config{Quota: admission.Quota{Rate: 0.5, Burst: 1}}})
	get(h, "/", HeaderTenant, "acme")
	w := get(h, "/", HeaderTenant, "acme")
	if p := wantProblem(t, w, http.StatusTooManyRequests, failure.ResourceExhausted); p.Reason != failure.ReasonQuota || w.Header().Get("Retry-After") != "2" {
		t.Errorf("%+v, Retry-After %q", p, w.Header().Get("Retry-After"))
	}
	if w := get(h, "/"); w.Code != http.StatusNotFound {
		t.Errorf("of nobody: %d", w.Code)
	}
}

// A stream, or what is no HTTP any more, waits its turn, and after that takes no place.
func TestAStreamTakesNoPlace(t *testing.T) {
	streaming := make(chan struct{})
	h := Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/stream" {
			r = Stream(w, r)
			close(streaming)
			<-r.Context().Done()
		}
	}), ServerConfig{Logger: quiet, Admission: admission.Config{MaxLimit: 1, Queue: -1}})
	done := make(chan struct{})
	go func() {
		defer close(done)
		get(h, "/stream")
	}()
	<-streaming
	if w := get(h, "/"); w.Code != http.StatusOK {
		t.Errorf("beside a stream: %d", w.Code)
	}
	h.EndStreams()
	<-done
	if s := h.gate.controller.Stats(); s.InFlight != 0 {
		t.Errorf("%+v", s)
	}
}

func TestWhatARequestSaysOfItselfReachesTheHandler(t *testing.T) {
	for _, highest := range []resilience.Criticality{resilience.Critical, resilience.CriticalPlus} {
		var got resilience.Request
		h := Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			got, _ = resilience.RequestOf(r.Context())
		}), ServerConfig{Logger: quiet, MaxCriticality: highest, Admission: admission.Config{Off: true}})
		get(h, "/", HeaderCriticality, "critical_plus", HeaderTenant, "acme", HeaderAttempt, "2")
		if want := (resilience.Request{Criticality: highest, Tenant: "acme", Attempt: 2}); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
}

// What another server said of itself is not this one's word: the client would take it that its request has not run here.
func TestARefusalFromElsewhereIsNotPassedOn(t *testing.T) {
	for _, reason := range []string{failure.ReasonShed, failure.ReasonQuota, failure.ReasonThrottled} {
		w := serveOnce(func(w http.ResponseWriter, r *http.Request) {
			Error(w, r, failure.New(failure.ResourceExhausted, "busy").WithReason(reason, failure.Domain))
		}, ServerConfig{}, httptest.NewRequest(http.MethodGet, "/", nil))
		if p := wantProblem(t, w, http.StatusTooManyRequests, failure.ResourceExhausted); p.Reason != "" || p.Detail != "busy" {
			t.Errorf("%s: %+v", reason, p)
		}
	}
}

// The policy of the server's own service is in force from the next request on, and the configuration when it is gone.
func TestAServerFollowsItsPolicy(t *testing.T) {
	live := policy.NewLive(nil)
	var left time.Duration
	h := Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		d, _ := r.Context().Deadline()
		left = time.Until(d)
	}), ServerConfig{Logger: quiet, Timeout: time.Hour, Service: "shop", Policies: live})
	check := func(when string, timeout time.Duration, status int) {
		t.Helper()
		left = timeout
		if w := get(h, "/", HeaderTenant, "acme"); w.Code != status || left > timeout || left < timeout/2 {
			t.Errorf("%s: %d, %v left, want %d and %v", when, w.Code, left, status, timeout)
		}
	}
	check("without a policy", time.Hour, http.StatusOK)
	live.Set("shop", policy.Service{Serves: policy.Serves{Timeout: time.Minute, Admission: admission.Config{Quotas: map[string]admission.Quota{"acme": {Rate: 1e-3}}}}})
	check("with one", time.Minute, http.StatusOK)
	check("and its quota used up", time.Minute, http.StatusTooManyRequests)
	live.Delete("shop")
	check("with none again", time.Hour, http.StatusOK)
}

// A handler waits for a body that does not come, whatever its context says. It is told at its deadline.
func TestAnUploadThatStallsIsAnsweredAtItsDeadline(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		handler http.HandlerFunc
		want    string
	}{
		"a handler that says what is wrong": {func(w http.ResponseWriter, r *http.Request) {
			if _, err := io.Copy(io.Discard, r.Body); err != nil {
				Error(w, r, err)
			}
		}, "400"},
		"one that says nothing": {func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }, "504"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, tt.handler, ServerConfig{Timeout: 100 * time.Millisecond})
			runServer(t, s)
			c, err := net.Dial("tcp", s.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			start := time.Now()
			if _, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nxxx"); err != nil {
				t.Fatal(err)
			}
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if took := time.Since(start); !strings.HasPrefix(resp.Status, tt.want) || took > slack/2 {
				t.Errorf("%s after %v, want %s", resp.Status, took, tt.want)
			}
		})
	}
}

// A handler that wrote an answer did its work, however it did so: only nobody waited for it any more.
func TestWorkThatEndsLateIsNoWorkGivenUp(t *testing.T) {
	for name, write := range map[string]func(http.ResponseWriter){
		"a status": func(w http.ResponseWriter) { w.WriteHeader(http.StatusCreated) },
		"a body":   func(w http.ResponseWriter) { _, _ = io.WriteString(w, "ok") },
		"a file":   func(w http.ResponseWriter) { _, _ = w.(io.ReaderFrom).ReadFrom(strings.NewReader("ok")) },
		"a flush":  func(w http.ResponseWriter) { _ = http.NewResponseController(w).Flush() },
		"nothing":  func(http.ResponseWriter) {},
		"an error": func(w http.ResponseWriter) { http.Error(w, "no", http.StatusBadGateway) },
	} {
		want := admission.TooLate
		if name == "nothing" || name == "an error" {
			want = admission.Late
		}
		synctest.Test(t, func(t *testing.T) {
			var of *responseWriter
			var ctx context.Context
			serveOnce(func(w http.ResponseWriter, r *http.Request) {
				of, ctx = w.(*responseWriter), r.Context()
				<-ctx.Done()
				write(w)
				if got := outcome(ctx, of.status); got != want {
					t.Errorf("%s: outcome %v, want %v", name, got, want)
				}
			}, ServerConfig{Timeout: time.Second}, httptest.NewRequest(http.MethodGet, "/", nil))
		})
	}
}

// net/http reads what is left of a body before it sends an answer, and would wait for one that does not come. What the
// refusal does to the connection is over with it.
func TestARefusalDoesNotWaitForTheBody(t *testing.T) {
	t.Parallel()
	served := Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(w, r.Body); err != nil {
			Error(w, r, err)
		}
	}), ServerConfig{Logger: quiet})
	s := httptest.NewServer(served) // without any timeout of its own
	defer s.Close()
	for _, body := range []string{"", "0123456789"} {
		c, err := net.Dial("tcp", s.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.SetDeadline(time.Now().Add(slack)); err != nil {
			t.Fatal(err)
		}
		in := bufio.NewReader(c)
		exchange := func(want int, parts ...string) {
			t.Helper()
			for i, part := range parts {
				if i > 0 {
					<-time.After(5 * readGrace)
				}
				if _, err := io.WriteString(c, part); err != nil {
					t.Fatal(err)
				}
			}
			resp, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			if resp.StatusCode != want {
				t.Errorf("%s, want %d", resp.Status, want)
			}
		}
		const head = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n"
		exchange(http.StatusGatewayTimeout, head+HeaderTimeout+": 0\r\n\r\n"+body)
		if body != "" {
			<-time.After(5 * readGrace)
			exchange(http.StatusOK, head+"\r\n01234", "56789")
		}
	}
}

// What a shed request costs, beside one that is served.
func BenchmarkShed(b *testing.B) {
	h := Wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }), ServerConfig{Logger: quiet})
	full := Wrap(h, ServerConfig{Logger: quiet, Admission: admission.Config{MaxLimit: 1, Queue: -1}})
	if _, err := full.gate.controller.Admit(b.Context(), admission.Request{}); err != nil {
		b.Fatal(err)
	}
	for name, h := range map[string]http.Handler{"served": h, "shed": full} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/orders", nil))
			}
		})
	}
}

// What a policy allows beyond the timeout that the server was made with has to fit its connections as well.
func TestATimeoutOfAPolicyThatIsLongerIsKept(t *testing.T) {
	for _, tt := range []struct {
		name string
		own  time.Duration // the policy's
		body bool
	}{
		{"an answer", time.Minute, false},
		{"an answer, without end", -1, false},
		{"an upload", time.Minute, true},
		{"an upload, without end", -1, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const takes = 25 * time.Second
				live := policy.NewLive(nil)
				l := newPipes()
				s, err := NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					n, err := io.Copy(io.Discard, r.Body)
					if !tt.body {
						select {
						case <-time.After(takes):
						case <-r.Context().Done():
							err = context.Cause(r.Context())
						}
					}
					fmt.Fprint(w, n, " ", err)
				}), ServerConfig{Listener: l, Logger: quiet, Timeout: time.Second, Service: "shop", Policies: live})
				if err != nil {
					t.Fatal(err)
				}
				runServer(t, s)
				tr := &http.Transport{DialContext: l.Dial}
				defer tr.CloseIdleConnections()
				live.Set("shop", policy.Service{Serves: policy.Serves{Timeout: tt.own}})
				for range 2 { // on one connection
					body, want := io.Reader(nil), "0 <nil>"
					if tt.body {
						reader, writer := io.Pipe()
						defer reader.Close()
						time.AfterFunc(takes, func() {
							_, _ = writer.Write([]byte("x"))
							_ = writer.Close()
						})
						body, want = reader, "1 <nil>"
					}
					req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://shop/", body)
					if err != nil {
						t.Fatal(err)
					}
					if _, got, err := send(&http.Client{Transport: tr}, req); got != want || err != nil {
						t.Errorf("%q %v, want %q", got, err, want)
					}
				}
			})
		})
	}
}
