package edge

import (
	"io"
	"net/http"
	"slices"
	"testing"

	"github.com/holdfast-go/holdfast/balance"
)

func TestWhomTheEdgeEjectsIsTold(t *testing.T) {
	told := make(chan balance.Event, 16)
	s := newSystem(t, Config{
		OnEject: func(e balance.Event) { told <- e },
	})
	if got := s.edge.Instances(); len(got) != 0 {
		t.Errorf("before the first request it knows %v", got)
	}
	s.serve("b", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "b") })
	s.broken("a", killed)
	for len(told) == 0 {
		s.do("GET", "/", "").want(t, 200, "b")
	}
	if e := <-told; e.ID != "a" || !e.Ejected {
		t.Errorf("%+v", e)
	}
	i := slices.IndexFunc(s.edge.Instances(), func(i balance.Instance) bool { return i.ID == "a" })
	if i < 0 || s.edge.Instances()[i].State != balance.StateEjected || s.edge.Instances()[i].Why == "" {
		t.Errorf("it knows %+v", s.edge.Instances())
	}
}
