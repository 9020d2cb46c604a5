package check_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/drill/check"
	"github.com/holdfast-go/holdfast/drill/load"
)

// store is a system that keeps numbers: what it does wrong is a test's.
type store struct {
	mu    sync.Mutex
	now   map[string]json.Number
	was   map[string]json.Number // before that
	calls int

	wrong func(s *store, call int, w http.ResponseWriter, r *http.Request) (done bool)
}

func (s *store) handle(w http.ResponseWriter, r *http.Request) {
	// It takes effect in the middle.
	<-time.After(5 * time.Millisecond)
	done := s.act(w, r)
	if done == nil {
		<-time.After(5 * time.Millisecond)
		return
	}
	<-done.Done()
}

func (s *store) act(w http.ResponseWriter, r *http.Request) (silent context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	if s.wrong != nil && s.wrong(s, s.calls, w, r) {
		return nil
	}
	if r.Method == http.MethodPut {
		s.put(w, r)
		if s.calls%50 == 0 { // now and then, an answer is lost
			return r.Context()
		}
		return nil
	}
	s.get(w, r, s.now)
	return nil
}

func (s *store) put(w http.ResponseWriter, r *http.Request) {
	var body struct{ Value json.Number }
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if s.now == nil {
		s.now, s.was = make(map[string]json.Number), make(map[string]json.Number)
	}
	s.was[r.URL.Path], s.now[r.URL.Path] = s.now[r.URL.Path], body.Value
}

func (s *store) get(w http.ResponseWriter, r *http.Request, of map[string]json.Number) {
	v, ok := of[r.URL.Path]
	if !ok || v == "" {
		http.NotFound(w, r)
		return
	}
	_, _ = fmt.Fprintf(w, `{"value": %s}`, v)
}

var registerCalls = check.Register{
	Keys: 2, Every: 20 * time.Millisecond, Values: 60,
	Write: load.Call{Method: "PUT", Path: "/{{.key}}", Body: map[string]any{"value": "{{.value}}"}, Timeout: time.Second},
	Read:  load.Call{Path: "/{{.key}}", Keep: map[string]string{"value": "value"}, Refused: []string{"404"}},
}

func register(t *testing.T, s *store) check.Verdict {
	t.Helper()
	return judge(t, world(s.handle), check.Invariant{Register: &registerCalls}, 10*time.Second)
}

func TestARegisterThatIsOneHolds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := new(store)
		v := register(t, s)
		if v.Answer != check.Holds || !strings.Contains(v.Says, "; linearizable") {
			t.Errorf("%+v", v)
		}
		if strings.Contains(v.Says, " 0 writes without an answer") || len(s.now) <= 2 {
			t.Errorf("no write was without an answer, or no key was replaced: %s; %d keys", v.Says, len(s.now))
		}
	})
}

// Half of the writes are not answered, and half of those have happened: that is no reason not to be able to tell.
func TestWritesWithoutAnAnswerAreNoTrouble(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := new(store)
		s.wrong = func(s *store, call int, w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodPut && call%2 == 0 {
				if call%4 == 0 {
					s.put(w, r)
				}
				panic(http.ErrAbortHandler)
			}
			return false
		}
		if v := register(t, s); v.Answer != check.Holds || strings.Contains(v.Says, " 0 writes without an answer") {
			t.Errorf("%+v", v)
		}
		unanswered := s.wrong
		stale := &store{wrong: func(s *store, call int, w http.ResponseWriter, r *http.Request) bool {
			if call%200 == 199 && r.Method != http.MethodPut && s.was[r.URL.Path] != "" {
				s.get(w, r, s.was)
				return true
			}
			return unanswered(s, call, w, r)
		}}
		if v := register(t, stale); v.Answer != check.Broken || len(v.History) > 8 {
			t.Errorf("%+v", v)
		}
	})
}

func TestARegisterThatIsNoneIsFound(t *testing.T) {
	t.Parallel()
	for name, wrong := range map[string]func(s *store, call int, w http.ResponseWriter, r *http.Request) bool{
		"a stale read": func(s *store, call int, w http.ResponseWriter, r *http.Request) bool {
			if call < 200 || r.Method == http.MethodPut || s.was[r.URL.Path] == "" {
				return false
			}
			s.get(w, r, s.was)
			return true
		},
		"a lost write": func(s *store, call int, _ http.ResponseWriter, r *http.Request) bool {
			return r.Method == http.MethodPut && call%40 == 0
		},
		"a write that happens twice": func(s *store, call int, _ http.ResponseWriter, r *http.Request) bool {
			if call%60 == 0 && s.was[r.URL.Path] != "" {
				s.now[r.URL.Path] = s.was[r.URL.Path]
			}
			return false
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				v := register(t, &store{wrong: wrong})
				if v.Answer != check.Broken || v.At == 0 {
					t.Fatalf("%+v", v)
				}
				if len(v.History) < 2 || len(v.History) > 6 {
					t.Errorf("what nothing explains is %d operations: %+v", len(v.History), v.History)
				}
				if explained(v.History, "") {
					t.Errorf("this could be: %+v", v.History)
				}
			})
		})
	}
}

// explained tries every order: each operation in its turn is one that none of the others ended before.
func explained(left []check.Operation, value string) bool {
	open := true // nothing that has to have a place is left
	for i, o := range left {
		open = open && o.Ended == 0
		first := !slices.ContainsFunc(left, func(x check.Operation) bool { return x.Ended != 0 && x.Ended < o.Begun })
		rest := slices.Delete(slices.Clone(left), i, i+1)
		switch {
		case !first:
		case o.Write && explained(rest, o.Value), !o.Write && o.Value == value && explained(rest, value):
			return true
		}
	}
	return open
}

func TestTheLastWriteIsMissed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := new(store)
		end := time.Now().Add(10*time.Second + time.Millisecond)
		s.wrong = func(s *store, _ int, _ http.ResponseWriter, _ *http.Request) bool {
			if time.Now().After(end) { // the load is over, and everything is lost
				clear(s.now)
			}
			return false
		}
		if v := register(t, s); v.Answer != check.Broken {
			t.Errorf("%+v", v)
		}
	})
}

// What is lost with all else is found whatever the answer is that says so, and however little the drill says of answers. Where
// there is no answer any more, nothing shows that it is lost, and nothing that it is not.
func TestAllIsLostAtTheEnd(t *testing.T) {
	t.Parallel()
	plain := registerCalls
	plain.Read = load.Call{Path: "/{{.key}}", Keep: map[string]string{"value": "value"}}
	t.Cleanup(func() {
		if plain.Read.Keep["value"] != "value" || len(plain.Read.Refused) != 0 {
			t.Errorf("the drill's own call was changed: %+v", plain.Read)
		}
	})
	for answer, c := range map[string]struct {
		status int
		body   string
		want   check.Answer
		says   string
	}{
		"not found":       {http.StatusNotFound, "", check.Broken, "not linearizable"},
		"without a value": {http.StatusOK, `{"value": null}`, check.Broken, "not linearizable"},
		"no content":      {http.StatusNoContent, "", check.Broken, "not linearizable"},
		"an error":        {http.StatusServiceUnavailable, "", check.Unknown, "keys could not be read at the end"},
	} {
		t.Run(answer, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				end := time.Now().Add(10*time.Second + time.Millisecond)
				s := &store{wrong: func(_ *store, _ int, w http.ResponseWriter, _ *http.Request) bool {
					if !time.Now().After(end) {
						return false
					}
					w.WriteHeader(c.status)
					_, _ = fmt.Fprint(w, c.body)
					return true
				}}
				if v := judge(t, world(s.handle), check.Invariant{Register: &plain}, 10*time.Second); v.Answer != c.want || !strings.Contains(v.Says, c.says) {
					t.Errorf("%+v", v)
				}
			})
		})
	}
}

func TestARegisterThatNeverAnswersIsUnknown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		down := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }
		v := judge(t, world(down), check.Invariant{Register: &registerCalls}, time.Second)
		if v.Answer != check.Unknown {
			t.Errorf("%+v", v)
		}
	})
}
