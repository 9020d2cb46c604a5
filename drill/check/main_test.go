package check_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/holdfast-go/holdfast/drill/check"
	"github.com/holdfast-go/holdfast/drill/load"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// handler is a system in this process: what a handler answers, without a network.
type handler func(w http.ResponseWriter, r *http.Request)

func (h handler) RoundTrip(r *http.Request) (resp *http.Response, err error) {
	defer func() {
		if p := recover(); p != nil { // as a server would
			resp, err = nil, fmt.Errorf("the connection was closed: %v", p)
		}
	}()
	if r.Body == nil {
		r.Body = http.NoBody
	}
	w := httptest.NewRecorder()
	h(w, r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return w.Result(), nil
}

// world is what checks see of a drill of a system, whose load has calls of one kind.
func world(h handler, calls ...load.Call) *check.World {
	return &check.World{
		Caller: load.NewCaller(load.Target{Edges: map[string]string{"g": "http://g"}, HTTP: h}),
		Record: new(load.Recorder),
		Mix:    load.Mix{Vars: map[string]string{"customer": "{{uuid}}"}, Calls: calls},
		Seed:   1,
	}
}

// judge makes one check, alongside nothing for so long.
func judge(t *testing.T, w *check.World, i check.Invariant, length time.Duration) check.Verdict {
	t.Helper()
	c, err := check.New(i)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Prepare(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	w.Record.Start()
	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	c.Run(ctx, w)
	v := c.Judge(t.Context(), w)
	if v.Name != c.Name() || v.Says == "" || (v.Answer == check.Broken) != (len(v.Findings) > 0) {
		t.Errorf("a verdict that is none: %+v", v)
	}
	return v
}
