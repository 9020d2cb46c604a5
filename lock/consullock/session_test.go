package consullock

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// scripted answers as Consul does when everything holds, and keeps the transactions.
type scripted struct {
	mu       sync.Mutex
	sessions int
	last     struct{ TTL, LockDelay string } // of the last session
	txns     [][]kv
}

func (s *scripted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.Header().Set("X-Consul-Index", "10")
	switch r.URL.Path {
	case "/v1/session/create":
		s.sessions++
		if err := json.NewDecoder(r.Body).Decode(&s.last); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		fmt.Fprintf(w, `{"ID":"session-%d"}`, s.sessions)
	case "/v1/txn":
		var ops []struct{ KV kv }
		if err := json.NewDecoder(r.Body).Decode(&ops); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		var steps []kv
		var answer struct{ Results []struct{ KV pair } }
		for _, op := range ops {
			steps = append(steps, op.KV)
			answer.Results = append(answer.Results, struct{ KV pair }{pair{Key: op.KV.Key, ModifyIndex: 10}})
		}
		s.txns = append(s.txns, steps)
		_ = json.NewEncoder(w).Encode(answer)
	default:
		http.NotFound(w, r)
	}
}

// steps returns all steps so far whose keys have that in them.
func (s *scripted) steps(with string) (out []kv) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, txn := range s.txns {
		for _, step := range txn {
			if strings.Contains(step.Key, with) {
				out = append(out, step)
			}
		}
	}
	return out
}

func openScripted(t *testing.T) (*scripted, *Driver) {
	t.Helper()
	return openScriptedWith(t, Config{})
}

func openScriptedWith(t *testing.T, cfg Config) (*scripted, *Driver) {
	t.Helper()
	s := &scripted{}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	cfg.Agents = []string{server.Listener.Addr().String()}
	d, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return s, d
}

func openSession(t *testing.T, d *Driver) *session {
	t.Helper()
	opened, err := d.Open(t.Context(), time.Minute, "")
	if err != nil {
		t.Fatal(err)
	}
	return opened.(*session)
}

// TestLateEnterOfTwo: that a second request to enter was answered says nothing of the first one, which may come late: the
// guard moves before the ticket goes.
func TestLateEnterOfTwo(t *testing.T) {
	for name, lost := range map[string]bool{"answered": false, "the first was not": true} {
		t.Run(name, func(t *testing.T) {
			consul, d := openScripted(t)
			s := openSession(t, d)
			given, up := context.WithCancel(t.Context())
			if up(); lost && s.Enter(given, "l", "a", "") == nil {
				t.Fatal("Enter was answered although nobody waited")
			}
			if err := s.Enter(t.Context(), "l", "a", ""); err != nil {
				t.Fatal(err)
			}
			if err := s.Leave(t.Context(), "l", "a"); err != nil {
				t.Fatal(err)
			}
			moved := false
			for _, step := range consul.steps("/guards/") {
				moved = moved || step.Verb == "lock"
			}
			if moved != lost {
				t.Errorf("the guard has moved: %v", moved)
			}
			if len(s.tickets) != 0 {
				t.Errorf("%d tickets are remembered", len(s.tickets))
			}
		})
	}
}

// TestTokensOfAnotherConsul: what was seen before a session was lost is not what the next one compares with: the indexes of
// a Consul that was wiped begin anew, and one may be the same.
func TestTokensOfAnotherConsul(t *testing.T) {
	consul, d := openScripted(t)
	for range 2 {
		s := openSession(t, d)
		if err := s.Enter(t.Context(), "l", "a", ""); err != nil {
			t.Fatal(err)
		}
		s.learn(s.key("l", "a"), func(t *ticket) { t.first = true })
		for range 2 {
			if _, err := s.Claim(t.Context(), "l", "a", 1); err != nil {
				t.Fatal(err)
			}
		}
	}
	var got []uint64
	for _, step := range consul.steps("/tokens/") {
		got = append(got, step.Index)
	}
	if fmt.Sprint(got) != "[0 10 0 10]" {
		t.Errorf("claims compared with %v", got)
	}
}

// TestAHolderGivesUpWithinTheLockDelay: a session that is ended right after it was renewed, by an agent that leaves, keeps others
// away for the lock-delay only. A holder that does not hear of it believes in the session for its TTL.
func TestAHolderGivesUpWithinTheLockDelay(t *testing.T) {
	for name, c := range map[string]struct {
		cfg         Config
		ttl         time.Duration
		granted     time.Duration
		sent, delay string
	}{
		"as it is":                  {Config{}, 15 * time.Second, 15 * time.Second, "15s", "15s"},
		"shorter than Consul's":     {Config{}, time.Second, 10 * time.Second, "10s", "10s"},
		"longer than any delay":     {Config{}, 2 * time.Minute, time.Minute, "1m0s", "1m0s"},
		"a delay that is shorter":   {Config{LockDelay: 5 * time.Second}, 20 * time.Second, 5 * time.Second, "10s", "5s"},
		"a delay that is longer":    {Config{LockDelay: 30 * time.Second}, 20 * time.Second, 20 * time.Second, "20s", "30s"},
		"Consul's is longer":        {Config{MinTTL: 3 * time.Minute}, time.Minute, time.Minute, "3m0s", "1m0s"},
		"no delay, two may hold it": {Config{LockDelay: -1}, 2 * time.Minute, 2 * time.Minute, "2m0s", "0s"},
	} {
		t.Run(name, func(t *testing.T) {
			consul, d := openScriptedWith(t, c.cfg)
			s, err := d.Open(t.Context(), c.ttl, "")
			if err != nil {
				t.Fatal(err)
			}
			consul.mu.Lock()
			defer consul.mu.Unlock()
			if s.TTL() != c.granted || consul.last.TTL != c.sent || consul.last.LockDelay != c.delay {
				t.Errorf("granted %v, by a session of %s with a delay of %s; want %v, %s, %s", s.TTL(), consul.last.TTL, consul.last.LockDelay,
					c.granted, c.sent, c.delay)
			}
		})
	}
}
