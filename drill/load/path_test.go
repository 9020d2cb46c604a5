package load_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/holdfast-go/holdfast/drill/load"
	"github.com/holdfast-go/holdfast/failure"
)

const order = `{"id": "o-1", "total": {"minor": 1200}, "big": 12345678901234567890, "paid": true, "note": null,
	"items": [{"product": "mug", "quantity": 2}, {"product": "tea pot", "quantity": 1}]}`

func TestValuesAreKept(t *testing.T) {
	t.Parallel()
	shop := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "/api/orders/o-1")
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write([]byte(order))
	}
	for path, want := range map[string]string{
		"id":                                 "o-1",
		"total.minor":                        "1200",
		"big":                                "12345678901234567890",
		"paid":                               "true",
		"items.#":                            "2",
		"items.1.product":                    "tea pot",
		"items.#(product=mug).quantity":      "2",
		"items.#(product={{.p}}).quantity":   "1",
		"items.#(quantity=2).product":        "mug",
		"items.#(product=cup).quantity ?? 0": "0",
		"items.#(product!=cup)#":             "2",
		"items.#(product=mug)#":              "1",
		"items.#(product!={{.p}}).product":   "mug",
		"note ?? none":                       "none",
		"total":                              `{"minor":1200}`,
		"@header.Location":                   "/api/orders/o-1",
		"@header.location":                   "/api/orders/o-1",
		"@status":                            "201",
	} {
		s := do(t, shop, load.Call{Path: "/", Keep: map[string]string{"it": path}}, load.Values{"p": {Text: "tea pot"}})
		if s.Outcome != load.OK || s.Kept["it"] != want {
			t.Errorf("%s: %v %q, not %q", path, s.Outcome, s.Kept["it"], want)
		}
	}
	for _, path := range []string{"none", "id.x", "items.2", "items.-1", "items.x", "items.#(product=cup).quantity", "note", "@header.Nothing", "total.#"} {
		s := do(t, shop, load.Call{Path: "/", Keep: map[string]string{"it": path}}, nil)
		if s.Outcome != load.Failed || !strings.Contains(s.Error, path) || !strings.Contains(s.Error, "o-1") {
			t.Errorf("%s is not there: %+v", path, s)
		}
	}
}

func TestWhatIsWrongWithAPathIsSaid(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                "no path",
		" ?? 1":           "no path",
		"a..b":            "a name is missing",
		".a":              "a name is missing",
		"a.":              "a name is missing",
		"a.#.b":           "nothing goes after #",
		"a.#(b":           "an element is",
		"a.#(b)":          "an element is",
		"a.#(=b)":         "an element is",
		"a.#(b=c)#.d":     "nothing goes after #",
		"a.#(!=c)":        "an element is",
		"a.#(b=c)d":       "an element is",
		"a.#(b={{x}})":    "there is no x",
		"a.#(b={{uuid}})": "nothing is drawn",
		"@cookie":         "beside the body",
		"@header":         "beside the body",
		"@status.x":       "beside the body",
	} {
		if _, err := load.CompilePath(text); !errors.Is(err, failure.InvalidArgument) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, which does not say %q", text, err, want)
		}
	}
}

func FuzzCompilePath(f *testing.F) {
	for _, s := range []string{"id", "items.#(product=mug).quantity ?? 0", "a.#", "@header.X", "a.#(b={{.x}}).c", "#(a=b)", "#.a"} {
		f.Add(s, order)
	}
	f.Add(strings.Repeat("a", 1<<10), strings.Repeat("b", 2<<10)) // both are said of a call that has no such thing
	f.Fuzz(func(t *testing.T, path, body string) {
		if _, err := load.CompilePath(path); err != nil {
			if !errors.Is(err, failure.InvalidArgument) {
				t.Errorf("%v", err)
			}
			return
		}
		answer := func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(body)) }
		p, err := load.NewCaller(load.Target{Edges: map[string]string{"g": "http://g"}, HTTP: handler(answer)}).
			Prepare(t.Context(), nil, load.Call{Path: "/", Keep: map[string]string{"it": path}})
		if err != nil {
			return // a variable that nobody knows
		}
		if s := p.Do(t.Context(), load.Draw{}, nil); len(s.Kept["it"]) > 4<<10 || len(s.Error) > 1<<10 {
			t.Errorf("%d bytes are kept, %d are said", len(s.Kept["it"]), len(s.Error))
		}
	})
}

func FuzzCompileStatus(f *testing.F) {
	for _, s := range []string{"201", "2xx", "NOT_FOUND", "409 OUT_OF_STOCK", "600", "2x1", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := load.CompileStatus(text); err != nil && !errors.Is(err, failure.InvalidArgument) {
			t.Errorf("%v", err)
		}
	})
}
