package rest

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/idempotency"
)

// deduplicated is h as a Server would run it, de-duplicating.
func deduplicated(store idempotency.Store, cfg DedupeConfig, h http.HandlerFunc) http.Handler {
	ledger := idempotency.New(store, idempotency.Config{Logger: slog.New(slog.DiscardHandler)})
	return Wrap(Deduplicate(ledger, cfg)(h), ServerConfig{Logger: slog.New(slog.DiscardHandler)})
}

// post makes a request with a key ("": none) and returns the answer.
func post(h http.Handler, key, path, body string, change ...func(*http.Request)) *http.Response {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	if key != "" {
		r.Header.Set(HeaderIdempotencyKey, key)
	}
	for _, c := range change {
		c(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func text(t *testing.T, resp *http.Response) string {
	t.Helper()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestOfAHundredDuplicatesOneIsHandled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(idempotency.Memory)
		var runs atomic.Int64
		place := func(w http.ResponseWriter, _ *http.Request) {
			n := runs.Add(1)
			<-time.After(200 * time.Millisecond)
			w.Header().Set("Location", fmt.Sprint("/orders/", n))
			w.WriteHeader(http.StatusCreated)
			fmt.Fprint(w, "order ", n)
		}
		instances := []http.Handler{deduplicated(store, DedupeConfig{}, place), deduplicated(store, DedupeConfig{}, place)}
		var wg sync.WaitGroup
		var replays atomic.Int64
		for i := range 100 {
			wg.Go(func() {
				resp := post(instances[i%2], "key", "/orders", "two mugs")
				if body := text(t, resp); resp.StatusCode != http.StatusCreated || body != "order 1" || resp.Header.Get("Location") != "/orders/1" {
					t.Errorf("%d %v %q", resp.StatusCode, resp.Header, body)
				}
				if resp.Header.Get(HeaderReplayed) == "true" {
					replays.Add(1)
				}
			})
		}
		wg.Wait()
		if runs.Load() != 1 || replays.Load() != 99 {
			t.Errorf("the handler ran %d times, %d were told that theirs is a repetition", runs.Load(), replays.Load())
		}
	})
}

func TestWhatIsKeptOfAnAnswer(t *testing.T) {
	problem := func(err error) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { Error(w, r, err) }
	}
	status := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }
	}
	for name, test := range map[string]struct {
		handler http.HandlerFunc
		status  int
		again   int // of the repetition; 0: the handler runs again
	}{
		"nothing":         {func(http.ResponseWriter, *http.Request) {}, 200, 200},
		"no content":      {status(204), 204, 204},
		"see other":       {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/orders/1", http.StatusSeeOther) }, 303, 303},
		"sold out":        {problem(failure.New(failure.FailedPrecondition, "sold out")), 409, 409},
		"lost a race":     {problem(failure.New(failure.Aborted, "lost a race")), 409, 0},
		"not a problem":   {status(409), 409, 0}, // it might be either
		"not found":       {status(404), 404, 404},
		"unprocessable":   {status(422), 422, 422},
		"not allowed":     {status(403), 403, 0},
		"come back":       {problem(failure.New(failure.FailedPrecondition, "soon").WithRetryAfter(time.Hour)), 409, 0},
		"busy":            {status(503), 503, 0},
		"broken":          {status(500), 500, 0},
		"a panic":         {func(http.ResponseWriter, *http.Request) { panic("broken") }, 500, 0},
		"a panic at last": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated); panic("broken") }, 500, 0},
		"too large":       {func(w http.ResponseWriter, _ *http.Request) { w.Write(make([]byte, idempotency.DefaultMaxResult+1)) }, 200, 409},
		"flushed":         {func(w http.ResponseWriter, _ *http.Request) { w.(http.Flusher).Flush(); fmt.Fprint(w, "x") }, 200, 409},
		"flushed failure": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusServiceUnavailable)
			w.(http.Flusher).Flush()
		}, 503, 0},
		"with trailers": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Trailer", "X-Sum")
			fmt.Fprint(w, "x")
			w.Header().Set("X-Sum", "1")
		}, 200, 409},
	} {
		t.Run(name, func(t *testing.T) {
			runs := 0
			h := deduplicated(new(idempotency.Memory), DedupeConfig{}, func(w http.ResponseWriter, r *http.Request) {
				runs++
				test.handler(w, r)
			})
			first, second := post(h, "key", "/orders", "two mugs"), post(h, "key", "/orders", "two mugs")
			want, wantRuns := test.again, 1
			if want == 0 {
				want, wantRuns = test.status, 2
			}
			if first.StatusCode != test.status || second.StatusCode != want || runs != wantRuns {
				t.Errorf("%d, then %d after %d runs", first.StatusCode, second.StatusCode, runs)
			}
			if first.Header.Get(HeaderReplayed) != "" || (second.Header.Get(HeaderReplayed) == "true") != (wantRuns == 1 && want == test.status) {
				t.Errorf("%s: %q, %q", HeaderReplayed, first.Header.Get(HeaderReplayed), second.Header.Get(HeaderReplayed))
			}
			if a, b := text(t, first), text(t, second); want == test.status && a != b {
				t.Errorf("%q, then %q", a, b)
			}
		})
	}
}

// What stands around the middleware has headers of its own, in each answer other ones.
func TestHeadersOfAReplay(t *testing.T) {
	ledger := idempotency.New(new(idempotency.Memory), idempotency.Config{})
	inner := Deduplicate(ledger, DedupeConfig{})(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Del("X-Powered-By")
		w.Header().Add("Set-Cookie", "a=1")
		w.Header().Add("Set-Cookie", "b=2")
		w.Header().Set("Content-Type", "text/x-order")
		w.Header().Set("Connection", "close")
		fmt.Fprint(w, "order")
		w.Header().Set("X-Late", "1") // after the answer has begun: nobody gets it
	}))
	n := 0
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n++
		w.Header().Set("X-Request-Id", fmt.Sprint(n))
		w.Header().Set("X-Powered-By", "us")
		inner.ServeHTTP(w, r)
	})
	for i := range 2 {
		got := post(h, "key", "/orders", "").Header
		if len(got["Set-Cookie"]) != 2 || got.Get("Content-Type") != "text/x-order" || got.Get("X-Late") != "" ||
			got.Get("X-Request-Id") != fmt.Sprint(i+1) || (got.Get("Connection") == "close") != (i == 0) {
			t.Errorf("answer %d: %v", i+1, got)
		}
	}
}

func TestKeysThatAreRefused(t *testing.T) {
	runs := 0
	h := deduplicated(new(idempotency.Memory), DedupeConfig{Required: true, MaxBodyBytes: 100}, func(w http.ResponseWriter, r *http.Request) {
		runs++
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "got %s", body)
	})
	if resp := post(h, `"one"`, "/orders?a=1", "mug"); text(t, resp) != "got mug" {
		t.Error("the handler did not get the body")
	}
	header := func(name string, values ...string) func(*http.Request) {
		return func(r *http.Request) { r.Header[name] = values }
	}
	for name, test := range map[string]struct {
		resp   *http.Response
		status int
		reason string
	}{
		"none":                 {post(h, "", "/orders", "x"), 400, "IDEMPOTENCY_KEY_MISSING"},
		"empty":                {post(h, "", "/orders", "x", header(HeaderIdempotencyKey, "")), 400, "IDEMPOTENCY_KEY_INVALID"},
		"two":                  {post(h, "", "/orders", "x", header(HeaderIdempotencyKey, "a", "b")), 400, "IDEMPOTENCY_KEY_INVALID"},
		"not quoted to an end": {post(h, `"a`, "/orders", "x"), 400, "IDEMPOTENCY_KEY_INVALID"},
		"another body":         {post(h, "one", "/orders?a=1", "tent"), 422, "IDEMPOTENCY_KEY_REUSED"},
		"another query":        {post(h, "one", "/orders?a=2", "mug"), 422, "IDEMPOTENCY_KEY_REUSED"},
		"another type":         {post(h, "one", "/orders?a=1", "mug", header("Content-Type", "text/csv")), 422, "IDEMPOTENCY_KEY_REUSED"},
		"a large body":         {post(h, "two", "/orders", strings.Repeat("x", 101)), 413, "BODY_TOO_LARGE"},
	} {
		if e := failure.ReadProblem(test.resp); test.resp.StatusCode != test.status || e.Reason != test.reason {
			t.Errorf("%s: %d %v", name, test.resp.StatusCode, e)
		}
	}
	if resp := post(h, "one", "/orders?a=1", "mug"); text(t, resp) != "got mug" || resp.Header.Get(HeaderReplayed) != "true" {
		t.Error("in quotes or not, it is one key")
	}
	if runs != 1 {
		t.Errorf("the handler ran %d times", runs)
	}
}

func TestRequestsThatAreHandledEach(t *testing.T) {
	for name, change := range map[string]func(*http.Request){
		"reading":         func(r *http.Request) { r.Method = http.MethodGet },
		"without a key":   func(r *http.Request) { r.Header.Del(HeaderIdempotencyKey) },
		"of many callers": func(r *http.Request) { r.Header.Set("X-User", fmt.Sprint(time.Now().UnixNano())) },
	} {
		runs := 0
		h := deduplicated(new(idempotency.Memory), DedupeConfig{Caller: func(r *http.Request) string { return r.Header.Get("X-User") }},
			func(http.ResponseWriter, *http.Request) { runs++ })
		for range 3 {
			post(h, "key", "/orders", "", change)
		}
		if runs != 3 {
			t.Errorf("%s: handled %d times", name, runs)
		}
	}
}

func TestARequestUnderWayIsAConflict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := deduplicated(new(idempotency.Memory), DedupeConfig{}, func(w http.ResponseWriter, r *http.Request) {
			<-time.After(5 * time.Second)
			fmt.Fprint(w, "order 1")
		})
		go post(h, "key", "/orders", "")
		synctest.Wait()
		resp := post(h, "key", "/orders", "", func(r *http.Request) { r.Header.Set(HeaderTimeout, "1000") })
		if e := failure.ReadProblem(resp); resp.StatusCode != http.StatusConflict || resp.Header.Get("Retry-After") != "1" || e.Reason != "IDEMPOTENCY_KEY_IN_USE" {
			t.Errorf("%d %v %v", resp.StatusCode, resp.Header, e)
		}
		if resp := post(h, "key", "/orders", ""); text(t, resp) != "order 1" {
			t.Error("who has the time to wait does not get the answer")
		}
	})
}

// Whoever gives up gives the key back, unless the handler has an answer all the same.
func TestARequestWhoseCallerLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runs, heeds := 0, true
		h := deduplicated(new(idempotency.Memory), DedupeConfig{}, func(w http.ResponseWriter, r *http.Request) {
			runs++
			if heeds {
				<-r.Context().Done()
				return
			}
			<-time.After(time.Second)
			fmt.Fprint(w, "order ", runs)
		})
		leave := func(r *http.Request) {
			ctx, cancel := context.WithTimeout(r.Context(), time.Second/2)
			time.AfterFunc(time.Second, cancel)
			*r = *r.WithContext(ctx)
		}
		if resp := post(h, "key", "/orders", "", leave); resp.StatusCode != http.StatusGatewayTimeout {
			t.Errorf("%d", resp.StatusCode)
		}
		heeds = false
		post(h, "key", "/orders", "", leave)
		if resp := post(h, "key", "/orders", ""); text(t, resp) != "order 2" || runs != 2 {
			t.Errorf("%d runs", runs)
		}
	})
}

func FuzzParseAnswer(f *testing.F) {
	f.Add(answer{status: 201, header: http.Header{"Location": {"/orders/1"}, "Set-Cookie": {"a", "b"}}, body: []byte("order")}.encode())
	f.Add(answer{status: 204}.encode())
	f.Add([]byte("\xc8\x01\xff\xff\xff\xff\x0f"))
	f.Add([]byte("\xc8\x01\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"))
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := parseAnswer(data)
		if err != nil {
			return
		}
		a.final()
		w := httptest.NewRecorder()
		a.write(w)
		if w.Code != a.status {
			t.Fatalf("%d was answered as %d", a.status, w.Code)
		}
		again, err := parseAnswer(a.encode())
		if err != nil || again.status != a.status || len(again.header) != len(a.header) || string(again.body) != string(a.body) {
			t.Fatalf("%+v became %+v, %v", a, again, err)
		}
	})
}

// Gin writes a 200 for a handler that wrote nothing, and so for one that gave up.
func TestAHandlerThatGaveUpBehindARouterGivesItsKeyBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runs := 0
		h := deduplicated(new(idempotency.Memory), DedupeConfig{}, func(w http.ResponseWriter, r *http.Request) {
			if runs++; runs == 1 {
				<-r.Context().Done()
				w.WriteHeader(http.StatusOK)
				return
			}
			fmt.Fprint(w, "order 1")
		})
		first := post(h, "key", "/orders", "", func(r *http.Request) { r.Header.Set(HeaderTimeout, "500") })
		if first.StatusCode != http.StatusGatewayTimeout {
			t.Errorf("the first: %d", first.StatusCode)
		}
		second := post(h, "key", "/orders", "")
		if body := text(t, second); runs != 2 || body != "order 1" || second.Header.Get(HeaderReplayed) != "" {
			t.Errorf("%d runs, %d %q %v", runs, second.StatusCode, body, second.Header)
		}
	})
}
