package load_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/drill/load"
	"github.com/holdfast-go/holdfast/failure"
)

// echo notes the last request.
type echo struct {
	method, uri, body string
	header            http.Header
}

func (e *echo) handle(_ http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	e.method, e.uri, e.body, e.header = r.Method, r.URL.String(), string(b), r.Header
}

func TestARequestIsFilledIn(t *testing.T) {
	t.Parallel()
	var got echo
	s := do(t, got.handle, load.Call{
		Path:   "/api/{{.who}}?q={{.who}}",
		Key:    "k-{{.n}}",
		Header: map[string]string{"X-Who": "{{.n}}"},
		Body: map[string]any{
			"who": "{{.who}}", "n": "{{.n}}", "fixed": 1.5, "text": "n {{.n}}", "list": []any{"{{.n}}", nil, true}, "key": "{{.key}}",
		},
	}, load.Values{"who": {Text: `a/b "c"&d`}, "n": {Text: "7", JSON: true}})
	if s.Outcome != load.OK || s.Status != "200" {
		t.Fatalf("%+v", s)
	}
	if want := `http://gateway/api/a%2Fb%20%22c%22&d?q=a%2Fb+%22c%22%26d`; got.uri != want || got.method != "POST" {
		t.Errorf("%s %s, not %s", got.method, got.uri, want)
	}
	if want := `{"fixed":1.5,"key":"k-7","list":[7,null,true],"n":7,"text":"n 7","who":"a/b \"c\"\u0026d"}`; got.body != want {
		t.Errorf("body %s, not %s", got.body, want)
	}
	if got.header.Get("Idempotency-Key") != "k-7" || got.header.Get("X-Who") != "7" || got.header.Get("Content-Type") != "application/json" {
		t.Errorf("header %v", got.header)
	}
	if s.Vars["key"] != "k-7" || s.Vars["who"] != `a/b "c"&d` || s.Vars["n"] != "7" {
		t.Errorf("made with %v", s.Vars)
	}
	do(t, got.handle, load.Call{Method: "PUT", Path: "http://other/x", Body: `{"who": "{{.who}}", "n": {{.n}}}`},
		load.Values{"who": {Text: `"`}, "n": {Text: "7", JSON: true}})
	if got.uri != "http://other/x" || got.method != "PUT" || got.body != `{"who": "\"", "n": 7}` {
		t.Errorf("%s %s: %s", got.method, got.uri, got.body)
	}
}

func TestAnAnswerIsJudged(t *testing.T) {
	t.Parallel()
	answer := func(status int, body string) handler {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	for _, c := range []struct {
		status          int
		body            string
		expect, refused []string
		want            load.Outcome
	}{
		{200, "{}", nil, nil, load.OK},
		{204, "", nil, nil, load.OK},
		{200, "", []string{"200"}, nil, load.OK},
		{304, "", nil, nil, load.OK},
		{302, "", nil, nil, load.OK},
		{404, "", nil, nil, load.Failed},
		{503, "busy", nil, nil, load.Failed},
		{200, "", []string{"201"}, nil, load.Failed},
		{201, "", []string{"200", "201"}, nil, load.OK},
		{299, "", []string{"2xx"}, nil, load.OK},
		{409, "OUT_OF_STOCK", nil, []string{"409"}, load.Refused},
		{409, `{"reason":"OUT_OF_STOCK"}`, nil, []string{"409 OUT_OF_STOCK"}, load.Refused},
		{409, `{"reason":"BUSY"}`, nil, []string{"409 OUT_OF_STOCK"}, load.Failed},
		{200, "no", []string{"200 yes"}, nil, load.Failed},
	} {
		s := do(t, answer(c.status, c.body), load.Call{Path: "/", Expect: c.expect, Refused: c.refused}, nil)
		if s.Outcome != c.want {
			t.Errorf("%d %q, expecting %v, refusing %v: %s", c.status, c.body, c.expect, c.refused, s.Outcome)
		}
		if s.Outcome != load.OK && s.Error != c.body {
			t.Errorf("%d %q says %q", c.status, c.body, s.Error)
		}
	}
	// A read that is answered with a yes and nothing else is what a handler that gave up leaves behind.
	for method, want := range map[string]load.Outcome{"GET": load.Failed, "": load.Failed, "PUT": load.OK, "DELETE": load.OK, "HEAD": load.OK} {
		s := do(t, answer(200, ""), load.Call{Path: "/", Method: method}, nil)
		if s.Outcome != want || (want == load.Failed) != strings.Contains(s.Error, "is empty") {
			t.Errorf("%q, answered with nothing: %s, %q", method, s.Outcome, s.Error)
		}
	}
	s := do(t, answer(200, ""), load.Call{Path: "/", Keep: map[string]string{"kind": "@header.Content-Type ?? none", "status": "@status"}}, nil)
	if s.Outcome != load.OK || s.Empty {
		t.Errorf("what is kept is in the header: %+v", s)
	}
	s = do(t, answer(500, strings.Repeat("é\n", 5000)+"\xff"), load.Call{Path: "/"}, nil)
	if len(s.Error) > 1<<10 || strings.Contains(s.Error, "\n") {
		t.Errorf("an error of %d bytes", len(s.Error))
	}
}

type broken struct{ error }

func (b broken) RoundTrip(*http.Request) (*http.Response, error) { return nil, b.error }

func TestNoAnswerIsAFailure(t *testing.T) {
	t.Parallel()
	c := load.NewCaller(load.Target{Edges: map[string]string{"g": "http://user:secret@g"}, HTTP: broken{errors.New("connection refused")}})
	p, err := c.Prepare(t.Context(), nil, load.Call{Path: "/"})
	if err != nil {
		t.Fatal(err)
	}
	s := p.Do(t.Context(), load.Draw{}, nil)
	if s.Outcome != load.Failed || s.Status != "" || !strings.Contains(s.Error, "connection refused") || strings.Contains(s.Error, "secret") {
		t.Errorf("%+v", s)
	}
	synctest.Test(t, func(t *testing.T) {
		never := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
		s := do(t, never, load.Call{Path: "/", Timeout: 3 * time.Second}, nil)
		if s.Took != 3*time.Second || s.Outcome != load.Failed || !strings.Contains(s.Error, "no answer within 3s") {
			t.Errorf("%+v", s)
		}
	})
}

func TestWhatIsWrongWithACallIsSaid(t *testing.T) {
	t.Parallel()
	c := caller(t, func(http.ResponseWriter, *http.Request) {})
	_, err := c.Prepare(t.Context(), []string{"customer"}, load.Call{
		Name: "checkout", Path: "/{{.order}}", Edge: "store", Key: "{{uid}}", Body: map[string]any{"a": []any{"{{int 1}}"}},
		Header: map[string]string{"X": "{{"}, Keep: map[string]string{"id": "a..b", "9": "a"}, Expect: []string{"fine"}, Refused: []string{"9xx"},
	})
	if !errors.Is(err, failure.InvalidArgument) {
		t.Fatal(err)
	}
	for _, want := range []string{
		"checkout: ", "{{.order}} is not known here: there are customer", "store has no public address", "there is no uid", "two numbers", "{{ without }}",
		"a name is missing", `"9" is no name`, `"fine" is no status`, `"9xx" is no status`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v\ndoes not say %q", err, want)
		}
	}
	for _, call := range []load.Call{{Path: "api"}, {}, {Path: "/", GRPC: "a/b.C/D"}, {GRPC: "a"}, {GRPC: "a/b.C/D"}} {
		if _, err := c.Prepare(t.Context(), nil, call); !errors.Is(err, failure.InvalidArgument) {
			t.Errorf("%+v: %v", call, err)
		}
	}
	two := load.NewCaller(load.Target{Edges: map[string]string{"a": "http://a", "b": "http://b"}})
	if _, err := two.Prepare(t.Context(), nil, load.Call{Path: "/"}); err == nil || !strings.Contains(err.Error(), "edge says which") {
		t.Errorf("%v", err)
	}
}
