package consul

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve runs an agent that answers as f says; what f does not answer is 404.
func serve(t *testing.T, f func(w http.ResponseWriter, r *http.Request)) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(f))
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s.Listener.Addr().String()
}

func newClient(t *testing.T, cfg Config) *Client {
	t.Helper()
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func get(ctx context.Context, c *Client, out any) error {
	return c.Do(ctx, func(ctx context.Context, a *Agent) error {
		_, err := a.Get(ctx, "/v1/x", nil, out)
		return err
	})
}

func bounded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// TestAnotherAgent: an agent that refuses, hangs or has no leader is left for one that answers, and is asked last
// afterwards; what an agent answers is not asked of others.
func TestAnotherAgent(t *testing.T) {
	t.Parallel()
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead.Close()
	var good, leaderless, hung atomic.Int32
	goodAddr := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		good.Add(1)
		fmt.Fprint(w, `"hello"`)
	})
	leaderlessAddr := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		leaderless.Add(1)
		http.Error(w, "No cluster leader", http.StatusInternalServerError)
	})
	hanging := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		hung.Add(1)
		<-r.Context().Done()
	})
	c := newClient(t, Config{Agents: []string{dead.Addr().String(), leaderlessAddr, hanging, goodAddr}})
	for range 20 {
		var out string
		if err := get(bounded(t), c, &out); err != nil || out != "hello" {
			t.Fatalf("got %q, %v", out, err)
		}
	}
	if without, hung := leaderless.Load(), hung.Load(); without > 1 || hung > 1 {
		t.Errorf("although it is known who answers, the agent without a leader was asked %d times, the one that hangs %d times", without, hung)
	}

	refusing := serve(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "Permission denied", http.StatusForbidden) })
	before := good.Load()
	c = newClient(t, Config{Agents: []string{refusing, refusing}})
	if err := get(bounded(t), c, nil); !Is(err, http.StatusForbidden) || Unanswered(err) || good.Load() != before {
		t.Errorf("got %v", err)
	}
}

// TestSilence: when nobody answers, the error says what each said, in time, and nothing that is secret.
func TestSilence(t *testing.T) {
	t.Parallel()
	a := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "No cluster\nleader", http.StatusInternalServerError)
	})
	b := serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	c := newClient(t, Config{Agents: []string{a, b}, Token: "secret"})
	ctx := bounded(t)
	err := get(ctx, c, nil)
	if err == nil || !Unanswered(err) || ctx.Err() != nil {
		t.Fatalf("got %v; the call's own deadline: %v", err, ctx.Err())
	}
	for _, want := range []string{a + ": 500 No cluster leader", b} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q lacks %q", err, want)
		}
	}
	if strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "\n") {
		t.Errorf("says %q", err)
	}
	_ = c.Close()
	if err := get(t.Context(), c, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// TestAnswersThatAreNone: what is not Consul's is an error and asked of nobody else.
func TestAnswersThatAreNone(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func(http.ResponseWriter, *http.Request){
		"html": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") },
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusFound)
		},
		"kind": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"a":1}`) },
	} {
		var asked atomic.Int32
		addr := serve(t, func(w http.ResponseWriter, r *http.Request) {
			asked.Add(1)
			answer(w, r)
		})
		var out []int
		if err := get(bounded(t), newClient(t, Config{Agents: []string{addr, addr}}), &out); err == nil || asked.Load() != 1 {
			t.Errorf("%s: %v, asked %d times", name, err, asked.Load())
		}
	}
}

// TestToken: it goes with every request, from where it is; a file is read again; nothing is sent without one that should
// be there.
func TestToken(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var seen []string
	addr := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, r.Header.Get("X-Consul-Token"))
	})
	file := filepath.Join(t.TempDir(), "token")
	c := newClient(t, Config{Agents: []string{addr}, TokenFile: file})
	if err := get(bounded(t), c, nil); err == nil || !strings.Contains(err.Error(), "token file") {
		t.Errorf("without the file: %v", err)
	}
	write := func(s string) {
		if err := os.WriteFile(file, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
		c.token.mu.Lock()
		c.token.read = time.Time{}
		c.token.mu.Unlock()
	}
	for _, s := range []string{"one\n", "two", "", "three"} { // empty while it is being replaced
		write(s)
		if err := get(bounded(t), c, nil); err != nil {
			t.Error(err)
		}
	}
	if err := get(bounded(t), newClient(t, Config{Agents: []string{addr}, Token: "fixed"}), nil); err != nil {
		t.Error(err)
	}
	if got := strings.Join(seen, " "); got != "one two two three fixed" {
		t.Errorf("sent %s", got)
	}
}

func TestConfig(t *testing.T) {
	for _, c := range []Config{
		{},
		{Agents: []string{"h"}},
		{Agents: []string{"10.0.0.1:1"}},
		{Agents: []string{"127.0.0.1:0"}},
		{Agents: []string{"me@h:1"}, Insecure: true},
		{Agents: []string{"127.0.0.1:1"}, Token: "a", TokenFile: "b"},
		{Agents: []string{"127.0.0.1:1"}, Token: "a b"},
	} {
		if _, err := New(c); err == nil {
			t.Errorf("%+v was accepted", c)
		}
	}
}

// TestAdvance: the index rules of Consul's documentation. It must not go back, and 0 is none.
func TestAdvance(t *testing.T) {
	for _, c := range []struct {
		asked, got, next uint64
		changed          bool
		err              error
	}{
		{1, 1, 1, false, nil},
		{1, 7, 7, true, nil},
		{7, 7, 7, false, nil},
		{7, 6, 7, false, errIndexBack},
		{7, 1, 7, false, errIndexBack},
		{7, 0, 7, false, errNoIndex},
		{1 << 63, 1<<64 - 1, 1<<64 - 1, true, nil},
	} {
		next, changed, err := advance(c.asked, c.got)
		if next != c.next || changed != c.changed || !errors.Is(err, c.err) {
			t.Errorf("advance(%d, %d) = %d, %v, %v", c.asked, c.got, next, changed, err)
		}
	}
}

// blocking is an agent whose answers to blocking queries are scripted.
type blocking struct {
	addr   string
	script chan func(w http.ResponseWriter, r *http.Request)
	asked  chan string   // index and mode of each question
	left   chan struct{} // a question was given up by who asked it
	deaf   atomic.Bool
}

func newBlocking(t *testing.T) *blocking {
	b := &blocking{
		script: make(chan func(http.ResponseWriter, *http.Request), 16), asked: make(chan string, 1000),
		left: make(chan struct{}, 1000),
	}
	b.addr = serve(t, func(w http.ResponseWriter, r *http.Request) {
		if b.deaf.Load() {
			<-r.Context().Done()
			return
		}
		if r.URL.Path == "/v1/agent/version" {
			http.Error(w, "Permission denied", http.StatusForbidden) // which is an answer
			return
		}
		b.asked <- r.URL.Query().Get("index")
		if !r.URL.Query().Has("stale") {
			t.Error("a blocking query of the leader")
		}
		select {
		case f := <-b.script:
			f(w, r)
		case <-r.Context().Done():
			b.left <- struct{}{}
		}
	})
	return b
}

func answer(index, body string, more ...string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Consul-Index", index)
		for i := 0; i+1 < len(more); i += 2 {
			w.Header().Set(more[i], more[i+1])
		}
		fmt.Fprint(w, body)
	}
}

func (b *blocking) open(t *testing.T, c *Client, after uint64) (*Query, func() ([]string, uint64, error)) {
	t.Helper()
	q, err := c.Query(bounded(t), "/v1/x", nil, after)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(q.Close)
	return q, func() ([]string, uint64, error) {
		var out []string
		m, err := q.Next(bounded(t), func() any { out = nil; return &out })
		return out, m.Index, err
	}
}

// TestQuery: answers without news are asked again, with their index; what is newer is returned; index 0 is never asked
// for, since Consul would not block.
func TestQuery(t *testing.T) {
	t.Parallel()
	b := newBlocking(t)
	_, next := b.open(t, newClient(t, Config{Agents: []string{b.addr}}), 0)
	b.script <- answer("1", `["no news"]`)
	b.script <- answer("5", `["a"]`)
	b.script <- answer("5", `["a"]`)
	b.script <- answer("9", `["a","b"]`)
	for _, want := range []string{"5 [a]", "9 [a b]"} {
		out, index, err := next()
		if got := fmt.Sprint(index, " ", out); err != nil || got != want {
			t.Errorf("got %s, %v; want %s", got, err, want)
		}
	}
	for _, want := range []string{"1", "1", "5", "5"} {
		if got := <-b.asked; got != want {
			t.Errorf("asked for what is newer than %s, not %s", got, want)
		}
	}
}

// TestQueryEnds: what no query survives, each an error that says why, and none is asked again.
func TestQueryEnds(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer func(http.ResponseWriter, *http.Request)
		want   string
	}{
		"index went back": {answer("3", `[]`), "index went back"},
		"no index":        {answer("0", `[]`), "without an index"},
		"garbled index":   {answer("x", `[]`), "without an index"},
		"no leader":       {answer("9", `[]`, "X-Consul-KnownLeader", "false"), "has no leader"},
		"leader long ago": {answer("9", `[]`, "X-Consul-LastContact", "60000"), "has no leader"},
		"error": {func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "rpc error", http.StatusInternalServerError)
		}, "500 rpc error"},
		"no JSON": {answer("9", `<html>`), "decode"},
		"answer breaks off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			answer("9", `["a"`)(w, nil)
		}, "unexpected EOF"},
		"gone": {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "", http.StatusNotFound) }, "404"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBlocking(t)
			_, next := b.open(t, newClient(t, Config{Agents: []string{b.addr}}), 7)
			b.script <- c.answer
			for range 2 { // it stays over
				if _, _, err := next(); err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("got %v, want %q", err, c.want)
				}
			}
			if len(b.asked) != 1 {
				t.Errorf("asked %d times", len(b.asked))
			}
		})
	}
}

// TestStreamedAnswers: an agent that answers from what servers stream to it says that it knows no leader, which means
// nothing then. Keys that are not there are a 404 with an index, which is an answer.
func TestStreamedAnswers(t *testing.T) {
	t.Parallel()
	b := newBlocking(t)
	_, next := b.open(t, newClient(t, Config{Agents: []string{b.addr}}), 7)
	b.script <- answer("9", `["a"]`, "X-Consul-KnownLeader", "false", "X-Consul-Query-Backend", "streaming")
	b.script <- func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Consul-Index", "11")
		http.Error(w, "", http.StatusNotFound)
	}
	for _, want := range []string{"9 [a]", "11 []"} {
		out, index, err := next()
		if got := fmt.Sprint(index, " ", out); err != nil || got != want {
			t.Errorf("got %s, %v; want %s", got, err, want)
		}
	}
}

// TestSilentAgent: an agent that stops answering while a query is open is noticed within a few seconds, and the next query
// is opened elsewhere.
func TestSilentAgent(t *testing.T) {
	t.Parallel()
	b, other := newBlocking(t), newBlocking(t)
	other.deaf.Store(true)
	c := newClient(t, Config{Agents: []string{b.addr, other.addr}})
	_, next := b.open(t, c, 7)
	go func() {
		<-b.asked
		b.deaf.Store(true)
		other.deaf.Store(false)
	}()
	if _, _, err := next(); !errors.Is(err, errSilent) { // long before the answer is late
		t.Errorf("got %v", err)
	}
	q, _ := other.open(t, c, 7)
	if q.agent.addr != other.addr {
		t.Error("the silent agent was chosen again")
	}
}

// TestNextEnds: Next ends with its ctx, and can be called again; with Close, its own and the client's, for good.
func TestNextEnds(t *testing.T) {
	t.Parallel()
	b := newBlocking(t)
	c := newClient(t, Config{Agents: []string{b.addr}})
	q, next := b.open(t, c, 7)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := q.Next(ctx, func() any { return new([]string) }); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	<-b.left
	b.script <- answer("9", `["a"]`)
	if _, index, err := next(); index != 9 || err != nil {
		t.Errorf("after a Next that ended: %d, %v", index, err)
	}
	ended := make(chan error, 1)
	go func() { _, _, err := next(); ended <- err }()
	<-b.asked
	<-b.asked
	<-b.asked
	q.Close()
	if err := <-ended; !errors.Is(err, errQueryOver) {
		t.Errorf("after Close: %v", err)
	}
	_, next = b.open(t, c, 7)
	go func() { _, _, err := next(); ended <- err }()
	<-b.asked
	_ = c.Close()
	if err := <-ended; !errors.Is(err, ErrClosed) {
		t.Errorf("after Close of the client: %v", err)
	}
}

// FuzzMeta: whatever the headers say, it is read or counts as absent.
func FuzzMeta(f *testing.F) {
	f.Add("17", "true", "0", "true")
	f.Add("-1", "false", "999999999999999", "")
	f.Fuzz(func(t *testing.T, index, leader, contact, filtered string) {
		h := make(http.Header)
		h.Set("X-Consul-Index", index)
		h.Set("X-Consul-KnownLeader", leader)
		h.Set("X-Consul-LastContact", contact)
		h.Set("X-Consul-Results-Filtered-By-ACLs", filtered)
		m := metaOf(h)
		if m.LastContact < 0 || m.Filtered != (filtered == "true") || m.Leaderless != (leader == "false") {
			t.Errorf("%v is read as %+v", h, m)
		}
	})
}

// FuzzParseURL: a URL is refused, or says the same again; secrets are not repeated.
func FuzzParseURL(f *testing.F) {
	for _, s := range []string{
		"consul://127.0.0.1:8500", "consul://a:1,b:2/dc1?prefix=x-&tls=true&ca-file=/a&token-file=/b", "consul://h:1?token=s3cr3t", "consul://s3cr3t@h:1",
		"consul://?", "consul://h/%", "", "consul://h:1?tls=maybe",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := ParseURL(s)
		if err != nil {
			if strings.Contains(err.Error(), "s3cr3t") {
				t.Errorf("%q: %v", s, err)
			}
			return
		}
		if len(u.Agents) == 0 || strings.Contains(strings.Join(u.Agents, ""), "@") {
			t.Errorf("%q is read as %+v", s, u)
		}
	})
}
