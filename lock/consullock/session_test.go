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
	txns     [][]kv
}

func (s *scripted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.Header().Set("X-Consul-Index", "10")
	switch r.URL.Path {
	case "/v1/session/create":
		s.sessions++
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
	s := &scripted{}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	d, err := Open(Config{Agents: []string{server.Listener.Addr().String()}})
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
