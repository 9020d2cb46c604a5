package rest

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/balance"
	"github.com/holdfast-go/holdfast/resilience"
)

// journal keeps what is logged.
type journal struct {
	mu  sync.Mutex
	buf strings.Builder
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.Write(p)
}

func (j *journal) count(what string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Count(j.buf.String(), what)
}

// ejecting is a client that probes fast, so that a test need not wait.
func ejecting(w *world, log *journal) *http.Client {
	return w.client(ClientConfig{
		Logger:  slog.New(slog.NewTextHandler(log, nil)),
		Policy:  resilience.Policy{Hedge: resilience.HedgePolicy{Share: -1}},
		Balance: balance.Config{Policy: balance.P2C, SlowStart: -1, Ejection: balance.Ejection{Probe: 20 * time.Millisecond, MaxProbe: 20 * time.Millisecond}},
	})
}

func TestASickInstanceIsEjectedAndComesBack(t *testing.T) {
	w := newWorld(t)
	var sick atomic.Bool
	var calls atomic.Int64
	sick.Store(true)
	w.serve("a", http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		calls.Add(1)
		if sick.Load() {
			rw.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(rw, "a")
	}), ServerConfig{})
	w.good("b")
	w.good("c")
	log := new(journal)
	client := ejecting(w, log)
	get := call{method: http.MethodGet, path: "/"}
	eventually(t, "it is ejected", func() bool {
		if status, _, err := send(client, get.request(t, t.Context())); status != http.StatusOK || err != nil {
			t.Fatal(status, err)
		}
		return log.count("instance ejected") == 1
	})
	if got := calls.Load(); got != balance.DefaultConsecutive {
		t.Errorf("%d calls went to the sick one", got)
	}
	sick.Store(false)
	eventually(t, "it is back", func() bool {
		_, _, _ = send(client, get.request(t, t.Context()))
		return log.count("instance re-admitted") == 1
	})
}

func TestAnInstanceThatKnowsNothingIsNotEjected(t *testing.T) {
	w := newWorld(t)
	w.serve("a", http.NotFoundHandler(), ServerConfig{})
	w.good("b")
	log := new(journal)
	client := ejecting(w, log)
	get := call{method: http.MethodGet, path: "/"}
	eventually(t, "both are known", func() bool { _, body, _ := send(client, get.request(t, t.Context())); return body != "b:" })
	for range 200 {
		_, _, _ = send(client, get.request(t, t.Context()))
	}
	if log.count("ejected") > 0 {
		t.Errorf("log:\n%s", log.buf.String())
	}
}

// The policy hcl asks the instances themselves.
func TestHCLAsksInstances(t *testing.T) {
	w := newWorld(t)
	for i := range 3 {
		w.good(fmt.Sprint(i))
	}
	tr := w.client(ClientConfig{Balance: balance.Config{Policy: balance.HCL}}).Transport.(*Transport)
	g, err := tr.follow("shop")
	if err != nil {
		t.Fatal(err)
	}
	get := call{method: http.MethodGet, path: "/"}
	client := &http.Client{Transport: tr}
	eventually(t, "reports have come", func() bool {
		if status, _, err := send(client, get.request(t, t.Context())); status != http.StatusOK || err != nil {
			t.Fatal(status, err)
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		for _, p := range g.peers {
			if r, ok := p.load(); !ok || r.InFlight != 0 {
				return false
			}
		}
		return len(g.peers) == 3
	})
	if got := g.prober.unheard.Load(); got != 0 {
		t.Errorf("%d probes without a report", got)
	}
}

// A proxy is asked for names that are made up. They give way to others, and the service that is called stays.
func TestServicesThatNobodyCallsGiveWay(t *testing.T) {
	w := newWorld(t)
	w.good("a")
	client := w.client(ClientConfig{})
	get := call{method: http.MethodGet, path: "/"}
	if status, _, err := send(client, get.request(t, t.Context())); status != http.StatusOK || err != nil {
		t.Fatal(status, err)
	}
	tr := client.Transport.(*Transport)
	shop, _ := tr.follow("shop")
	for i := range maxServices + 10 {
		if _, err := tr.follow(fmt.Sprint("made-up-", i)); err != nil {
			t.Fatal(i, err)
		}
	}
	if again, err := tr.follow("shop"); again != shop || err != nil {
		t.Errorf("the service that is called was forgotten, %v", err)
	}
	if got := len(tr.targets); got != maxServices {
		t.Errorf("%d services", got)
	}
	for _, g := range tr.targets {
		g.used.Store(time.Now().Add(time.Hour).UnixNano())
	}
	if _, err := tr.follow("one-more"); err == nil {
		t.Error("all are in use, and one more is followed")
	}
}

// eject takes the instance out for longer than a test takes.
func eject(t *testing.T, client *http.Client, id string) {
	t.Helper()
	g, err := client.Transport.(*Transport).follow("shop")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range g.now.Load().peers {
		for range 2 * balance.DefaultConsecutive {
			now, health := time.Now(), balance.Good
			if p.id == id {
				health = balance.Bad
			}
			p.node.Start()
			g.done(p, now, now, 0, balance.None, health)
		}
	}
	if n := g.now.Load().view.Candidates(time.Now()); n != 1 {
		t.Fatalf("%d instances may be picked", n)
	}
}

// An instance that is ejected is nobody's alternative: what would go to it stays where it is.
func TestAnEjectedInstanceIsNotElsewhere(t *testing.T) {
	out := balance.Config{Ejection: balance.Ejection{Probe: time.Hour, MaxProbe: time.Hour}}
	t.Run("a request that was shed", func(t *testing.T) {
		w := newWorld(t)
		var hits atomic.Int64
		w.serve("a", shedding(&hits, 0), ServerConfig{})
		w.good("b")
		client := w.client(ClientConfig{Balance: out})
		known(t, client, 2)
		eject(t, client, "b")
		status, body, err := send(client, call{method: "GET"}.request(t, t.Context()))
		if err != nil || status != http.StatusServiceUnavailable || hits.Load() != 1 {
			t.Errorf("%d %q %v after %d requests", status, body, err, hits.Load())
		}
	})
	t.Run("an attempt without an answer", func(t *testing.T) {
		w := newWorld(t)
		ice := rawServer(t, frozen)
		w.add("a", ice.addr())
		w.good("b")
		client := w.client(ClientConfig{Balance: out, Policy: resilience.Policy{Timeout: 500 * time.Millisecond}})
		known(t, client, 2)
		eject(t, client, "b")
		if _, _, err := send(client, call{method: "GET"}.request(t, t.Context())); len(callError(t, err).Attempts) != 1 || ice.requests.Load() != 1 {
			t.Errorf("%v after %d requests", err, ice.requests.Load())
		}
	})
}

// A call that tries whether an ejected instance is back has the others to go to.
func TestAnAttemptAtAnEjectedInstanceIsCutOff(t *testing.T) {
	w := newWorld(t)
	ice := rawServer(t, frozen)
	w.add("a", ice.addr())
	w.good("b")
	client := w.client(ClientConfig{Balance: balance.Config{Ejection: balance.Ejection{Probe: time.Nanosecond, MaxProbe: time.Nanosecond}}})
	known(t, client, 2)
	eject(t, client, "a")
	eventually(t, "it is tried", func() bool {
		status, body, err := send(client, call{method: "GET"}.request(t, t.Context()))
		if err != nil || status != http.StatusOK || body != "b:" {
			t.Fatal(status, body, err)
		}
		return ice.requests.Load() > 0
	})
}

// That a download which began before its instance was ejected comes to its end says nothing about what it would answer now.
func TestADownloadFromBeforeAnEjectionDoesNotEndIt(t *testing.T) {
	w := newWorld(t)
	var sick atomic.Bool
	goOn := make(chan struct{})
	half := make([]byte, maxWhole)
	w.serve("a", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if sick.Load() {
			rw.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		rw.Header().Set("Content-Length", fmt.Sprint(2*len(half)))
		_, _ = rw.Write(half)
		_ = http.NewResponseController(rw).Flush()
		select {
		case <-goOn:
			_, _ = rw.Write(half)
		case <-r.Context().Done():
		}
	}), ServerConfig{})
	w.good("b")
	told := make(chan balance.Event, 10)
	client := w.client(ClientConfig{
		Policy: resilience.Policy{Hedge: resilience.HedgePolicy{Share: -1}},
		Balance: balance.Config{
			Ejection: balance.Ejection{Probe: time.Hour, MaxProbe: time.Hour},
			OnEject:  func(e balance.Event) { told <- e },
		},
	})
	known(t, client, 2)
	get := call{method: http.MethodGet, path: "/"}
	var downloads []*http.Response
	for range 2 * balance.DefaultConsecutive {
		resp, err := client.Do(get.request(t, t.Context()))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		downloads = append(downloads, resp)
	}
	sick.Store(true)
	for len(told) == 0 {
		if status, body, err := send(client, get.request(t, t.Context())); status != http.StatusOK || body != "b:" {
			t.Fatal(status, body, err)
		}
	}
	if e := <-told; e.ID != "a" || !e.Ejected {
		t.Fatalf("%+v", e)
	}
	close(goOn)
	for _, resp := range downloads {
		if n, err := io.Copy(io.Discard, resp.Body); n != 2*maxWhole || err != nil {
			t.Fatal(n, err)
		}
	}
	if len(told) > 0 {
		t.Errorf("%+v", <-told)
	}
}
