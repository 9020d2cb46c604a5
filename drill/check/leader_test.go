package check_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/drill/check"
	"github.com/holdfast-go/holdfast/drill/load"
)

// group is a service of three whose leader is whoever a test says.
type group struct {
	mu    sync.Mutex
	terms map[string]int // of those who say that they lead
}

func (g *group) handle(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	term, leads := g.terms[r.Host]
	_, _ = fmt.Fprintf(w, `{"leader": %v, "term": %d}`, leads, term)
}

func (g *group) lead(terms map[string]int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.terms = terms
}

func TestOneLeadsAtATime(t *testing.T) {
	t.Parallel()
	type phase map[string]int
	for name, c := range map[string]struct {
		phases []phase
		want   check.Answer
		says   string
	}{
		"one after another":        {[]phase{{"a": 1}, {}, {"b": 2}, {"a": 3}}, check.Holds, "2 instances that led for 3 terms"},
		"two at a time":            {[]phase{{"a": 1}, {"a": 1, "b": 2}, {"b": 2}}, check.Broken, "leads in term 1"},
		"two in the same term":     {[]phase{{"a": 1}, {"b": 1}}, check.Broken, "and so does orders-1 in term 1"},
		"one that comes back":      {[]phase{{"a": 1}, {"b": 2}, {"a": 1}}, check.Broken, "orders-1 leads in term 1 at"},
		"one that leads again":     {[]phase{{"a": 1}, {"b": 2}, {"a": 3}}, check.Holds, "3 terms"},
		"nobody ever":              {[]phase{{}, {}}, check.Unknown, "nobody said that it leads"},
		"the same leader for ever": {[]phase{{"c": 9}, {"c": 9}}, check.Holds, "1 instance that led for 1 term"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g := new(group)
				w := world(g.handle)
				w.Instances = func(context.Context, string) ([]check.Instance, error) {
					return []check.Instance{{ID: "orders-1", HTTP: "a"}, {ID: "orders-2", HTTP: "b"}, {ID: "orders-3", HTTP: "c"}, {ID: "orders-4"}}, nil
				}
				var led sync.WaitGroup
				led.Go(func() {
					for _, p := range c.phases {
						g.lead(p)
						<-time.After(time.Second)
					}
				})
				v := judge(t, w, check.Invariant{Leader: &check.Leader{
					Service: "orders", Get: load.Call{Path: "/admin/leader", Keep: map[string]string{"leader": "leader", "term": "term"}},
				}}, time.Duration(len(c.phases))*time.Second)
				led.Wait()
				if v.Answer != c.want || !strings.Contains(v.Says+" "+strings.Join(v.Findings, " "), c.says) {
					t.Errorf("%+v", v)
				}
				if v.Answer == check.Broken && (len(v.Findings) != 1 || v.At < time.Second-100*time.Millisecond) {
					t.Errorf("%+v", v)
				}
			})
		})
	}
}

// What is not seen is not judged: a leader that answered once, before all went silent, shows nothing of what came after.
func TestSilenceIsNoLeader(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		from, to time.Duration // nobody answers
		want     check.Answer
	}{
		"never":          {9 * time.Second, 9 * time.Second, check.Holds},
		"for a moment":   {3 * time.Second, 5 * time.Second, check.Holds},
		"at first":       {0, 4 * time.Second, check.Unknown},
		"in the middle":  {3 * time.Second, 6 * time.Second, check.Unknown},
		"from then on":   {time.Second, time.Minute, check.Unknown},
		"nearly for all": {100 * time.Millisecond, time.Minute, check.Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g, begin := &group{terms: map[string]int{"a": 1}}, time.Now()
				w := world(func(w http.ResponseWriter, r *http.Request) {
					if d := time.Since(begin); d >= c.from && d < c.to {
						http.Error(w, "busy", http.StatusServiceUnavailable)
						return
					}
					g.handle(w, r)
				})
				w.Instances = func(context.Context, string) ([]check.Instance, error) {
					return []check.Instance{{ID: "orders-1", HTTP: "a"}, {ID: "orders-2", HTTP: "b"}}, nil
				}
				v := judge(t, w, check.Invariant{Leader: &check.Leader{
					Service: "orders", Get: load.Call{Path: "/admin/leader", Keep: map[string]string{"leader": "leader", "term": "term"}},
				}}, 10*time.Second)
				if v.Answer != c.want || strings.Contains(v.Says, "no instance answered") != (c.want == check.Unknown) {
					t.Errorf("%+v", v)
				}
			})
		})
	}
}
