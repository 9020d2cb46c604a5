package control_test

import (
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/platform/control"
)

// fakeSight is a control.Sight that notes what it is asked.
type fakeSight struct {
	traces control.TraceQuery
	series control.SeriesQuery
	id     string
	lang   string
}

func (f *fakeSight) Traces(q control.TraceQuery) []control.TraceSummary {
	f.traces = q
	return []control.TraceSummary{{ID: "aa", Status: control.TraceRetried, Start: epoch, Duration: time.Second, Services: []string{"edge"}}}
}

func (f *fakeSight) Trace(id string) (control.Trace, error) {
	if f.id = id; id == "000000" {
		return control.Trace{}, failure.New(failure.NotFound, "no trace 000000")
	}
	return control.Trace{
		TraceSummary: control.TraceSummary{ID: id}, Incomplete: "half of it",
		Tree: []control.Span{{ID: "1", Kind: control.SpanServer, Start: epoch, Attributes: map[string]any{"n": 1.5, "list": []any{"a"}}}},
	}, nil
}

func (f *fakeSight) Explain(id, lang string) (control.Explanation, error) {
	f.id, f.lang = id, lang
	return control.Explanation{Trace: id, Verdict: "went well", Lines: []control.ExplainLine{{At: time.Millisecond, Text: "x"}}}, nil
}

func (f *fakeSight) Graph() control.Graph {
	return control.Graph{At: epoch, Nodes: []control.Node{{Service: "edge", Rate: 2}}, Edges: []control.Edge{{From: "edge", To: "orders", Kind: control.EdgeCall}}}
}

func (f *fakeSight) Rates() map[string]control.InstanceRates {
	return map[string]control.InstanceRates{"orders-1": {Rate: 3}}
}

func (f *fakeSight) Series(q control.SeriesQuery) []control.Series {
	f.series = q
	return []control.Series{{Name: q.Name, Points: []control.Point{{At: epoch, Value: 1}}}}
}

// sighted is a client of a server that has a Sight.
func sighted(t *testing.T, s control.Sight) *control.Client {
	t.Helper()
	srv := serveWith(t, &fakeSystem{}, control.Config{Sight: s})
	c := control.NewClient(srv.Addr())
	t.Cleanup(c.Close)
	return c
}

func TestSight(t *testing.T) {
	f := &fakeSight{}
	c := sighted(t, f)
	q := control.TraceQuery{Service: "orders", Status: control.TraceError, Text: "a b&c", Min: 250 * time.Millisecond, Since: epoch, Limit: 7}
	if got, err := c.Traces(t.Context(), q); err != nil || len(got) != 1 || got[0].Status != control.TraceRetried || got[0].Duration != time.Second {
		t.Errorf("%+v, %v", got, err)
	}
	if !f.traces.Since.Equal(q.Since) {
		t.Errorf("since %v", f.traces.Since)
	}
	f.traces.Since = q.Since
	if f.traces != q {
		t.Errorf("asked for %+v, want %+v", f.traces, q)
	}
	if _, err := c.Traces(t.Context(), control.TraceQuery{}); err != nil || f.traces.Limit != control.DefaultTraces {
		t.Errorf("%+v, %v", f.traces, err)
	}
	if got, err := c.Trace(t.Context(), "aabbcc"); err != nil || got.ID != "aabbcc" || got.Incomplete == "" || len(got.Tree) != 1 || got.Tree[0].Attributes["n"] != 1.5 {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := c.Trace(t.Context(), "000000"); failure.CodeOf(err) != failure.NotFound {
		t.Errorf("%v", err)
	}
	if got, err := c.Explain(t.Context(), "aa/bb", "zh"); err != nil || got.Verdict != "went well" || f.id != "aa/bb" || f.lang != "zh" {
		t.Errorf("%+v, %v, asked for %s in %s", got, err, f.id, f.lang)
	}
	if got, err := c.Graph(t.Context()); err != nil || len(got.Nodes) != 1 || len(got.Edges) != 1 {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := c.Rates(t.Context()); err != nil || got["orders-1"].Rate != 3 {
		t.Errorf("%+v, %v", got, err)
	}
	s := control.SeriesQuery{Name: "rpc.*", Service: "orders", Instance: "orders-1", Last: time.Minute}
	if got, err := c.Series(t.Context(), s); err != nil || len(got) != 1 || got[0].Points[0].Value != 1 {
		t.Errorf("%+v, %v", got, err)
	}
	if f.series != s {
		t.Errorf("asked for %+v, want %+v", f.series, s)
	}
}

func TestSightIsAskedWell(t *testing.T) {
	c := sighted(t, &fakeSight{})
	for name, err := range map[string]error{
		"status must be one of":      second(c.Traces(t.Context(), control.TraceQuery{Status: "bad"})),
		"text is longer":             second(c.Traces(t.Context(), control.TraceQuery{Text: strings.Repeat("x", 300)})),
		"name is missing":            second(c.Series(t.Context(), control.SeriesQuery{})),
		"service is longer than 128": second(c.Series(t.Context(), control.SeriesQuery{Name: "x", Service: strings.Repeat("x", 200)})),
	} {
		if failure.CodeOf(err) != failure.InvalidArgument || !strings.Contains(err.Error(), name) {
			t.Errorf("error %v, want %q", err, name)
		}
	}
	none, _ := serve(t, &fakeSystem{})
	if _, err := none.Graph(t.Context()); failure.CodeOf(err) != failure.Unimplemented {
		t.Errorf("without a Sight: %v", err)
	}
}

func second[T any](_ T, err error) error { return err }
