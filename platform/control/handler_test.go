package control

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// deadlines is a ResponseWriter that notes until when a request may be read.
type deadlines struct {
	*httptest.ResponseRecorder
	set []time.Time
}

func (d *deadlines) SetReadDeadline(t time.Time) error {
	d.set = append(d.set, t)
	return nil
}

// A body that comes a byte at a time holds one of a bounded number of connections: its time is bounded wherever it is sent
// to, and what has been read to its end may be worked on for longer.
func TestEveryBodyHasATimeLimit(t *testing.T) {
	s := &Server{keys: &keyring{}}
	token := s.keys.addToken(Operate)
	h := newHandler(idle{}, Config{}, s, true)
	for _, tc := range []struct {
		name, method, path, body string
		read                     bool
	}{
		{"that is read", http.MethodPost, "/v1/down", "{}", true},
		{"to a path that is none", http.MethodPost, "/api/orders", "{}", false},
		{"where none belongs", http.MethodGet, "/", "{}", false},
		{"that is refused unread", http.MethodPost, "/v1/kill", "target=orders-1", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := &deadlines{ResponseRecorder: httptest.NewRecorder()}
			r := httptest.NewRequest(tc.method, "http://localhost"+tc.path, strings.NewReader(tc.body))
			r.Header.Set("Authorization", "Bearer "+token)
			if strings.HasPrefix(tc.body, "{") {
				r.Header.Set("Content-Type", "application/json")
			}
			h.ServeHTTP(w, r)
			if len(w.set) == 0 || w.set[0].IsZero() || time.Until(w.set[0]) > bodyTimeout {
				t.Fatalf("read deadlines %v, want one within %v first", w.set, bodyTimeout)
			}
			if last := w.set[len(w.set)-1]; last.IsZero() != tc.read {
				t.Errorf("the last read deadline is %v, read to its end: %v", last, tc.read)
			}
		})
	}
	w := &deadlines{ResponseRecorder: httptest.NewRecorder()}
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://localhost/", nil))
	if len(w.set) != 0 {
		t.Errorf("a request without a body got the read deadlines %v; streams would end by them", w.set)
	}
}

// idle is a system of which only Down is asked for.
type idle struct{ System }

func (idle) Down() {}
