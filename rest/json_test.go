package rest

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

type order struct {
	Customer string `json:"customer"`
	Count    int8   `json:"count"`
	Items    []item `json:"items"`
	At       time.Time
}

type item struct {
	Product  string  `json:"product"`
	Quantity uint    `json:"quantity"`
	Price    float64 `json:"price"`
	Gift     bool    `json:"gift"`
}

func TestReadJSONSaysWhatIsWrongAndWhere(t *testing.T) {
	for _, tt := range []struct {
		body, message, field, why string
	}{
		{``, "the body is empty", "", ""},
		{" \n", "the body is empty", "", ""},
		{"{\n  \"customer\": ,\n}", "invalid character ',' looking for beginning of value, at line 2, column 15", "", ""},
		{`{"customer":"a"`, "unexpected end of JSON input, at line 1, column 15", "", ""},
		{`{} {}`, "invalid character '{' after top-level value, at line 1, column 4", "", ""},
		{`{"customer":1}`, "not valid", "customer", "has to be a string, not a number"},
		{`{"items":[{"quantity":1},{"quantity":"two"}]}`, "not valid", "items[1].quantity", "has to be a whole number that is not negative, not a string"},
		{`{"items":[{"quantity":1},{"price":1,"quantity":-2}]}`, "not valid", "items[1].quantity", "has to be a whole number that is not negative, not -2"},
		{`{"items":[{"gift":[]}]}`, "not valid", "items[0].gift", "has to be true or false, not a list"},
		{`{"items":[{"price":{}}]}`, "not valid", "items[0].price", "has to be a number, not an object"},
		{`{"items":{}}`, "not valid", "items", "has to be a list, not an object"},
		{`{"items":[7]}`, "not valid", "items[0]", "has to be an object, not a number"},
		{`{"count":300}`, "not valid", "count", "has to be a whole number of 8 bits, not 300"},
		{`[]`, "not valid", "", "has to be an object, not a list"},
		{`{"At":"yesterday"}`, `"yesterday"`, "", ""},
	} {
		t.Run(tt.body, func(t *testing.T) {
			var o order
			err := ReadJSON(httptest.NewRequest(http.MethodPost, "/", strings.NewReader(tt.body)), &o)
			var e *failure.Error
			if !errors.As(err, &e) || e.Code != failure.InvalidArgument {
				t.Fatalf("error %v", err)
			}
			if !strings.Contains(e.Message, tt.message) {
				t.Errorf("message %q lacks %q", e.Message, tt.message)
			}
			switch {
			case tt.why == "" && len(e.Violations) > 0:
				t.Errorf("violations %v", e.Violations)
			case tt.why != "" && (len(e.Violations) != 1 || e.Violations[0] != failure.Violation{Field: tt.field, Description: tt.why}):
				t.Errorf("violations %v, want %s %s", e.Violations, tt.field, tt.why)
			}
		})
	}
}

func TestReadJSONReadsWhatIsRight(t *testing.T) {
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(`{"customer":"a","more":true,"items":[{"product":"p","quantity":2}]}`+"\n"))
	r.Header.Set("Content-Type", "application/vnd.shop+json; charset=utf-8")
	var o order
	if err := ReadJSON(r, &o); err != nil || o.Customer != "a" || len(o.Items) != 1 || o.Items[0].Quantity != 2 {
		t.Errorf("%+v %v", o, err)
	}
}

func TestReadJSONRefusesOtherTypesAndTooMuch(t *testing.T) {
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(`{}`))
	r.Header.Set("Content-Type", "text/plain")
	if err := ReadJSON(r, &order{}); failure.CodeOf(err) != failure.InvalidArgument {
		t.Errorf("text/plain: %v", err)
	}
	var tooLarge *http.MaxBytesError
	if err := ReadJSON(httptest.NewRequest(http.MethodPost, "/", strings.NewReader(strings.Repeat(" ", 2<<20))), &order{}); !errors.As(err, &tooLarge) {
		t.Errorf("2 MiB: %v", err)
	}
	if err := ReadJSON(httptest.NewRequest(http.MethodPost, "/", strings.NewReader(`{}`)), order{}); failure.CodeOf(err) != failure.Internal {
		t.Errorf("no pointer: %v", err)
	}
}

func FuzzReadJSON(f *testing.F) {
	for _, s := range []string{`{}`, `{"items":[{"quantity":"x"}]}`, `[[[]]]`, `{"a":{"b":[1,{"c":`, "\xff", `{"items":[{},{"gift":1}]}`, `"\ud800"`, `{"":{"":[]}}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var o order
		err := ReadJSON(httptest.NewRequest(http.MethodPost, "/", strings.NewReader(s)), &o)
		if (err == nil) != (json.Unmarshal([]byte(s), new(order)) == nil) {
			t.Fatalf("%q: %v", s, err)
		}
		if err != nil && failure.CodeOf(err) != failure.InvalidArgument {
			t.Fatalf("%q: code %v", s, failure.CodeOf(err))
		}
	})
}

func FuzzFieldAt(f *testing.F) {
	f.Add(`{"a":[1,{"b":2}]}`, int64(14))
	f.Add(`[`, int64(-1))
	f.Add(`]}`, int64(5))
	f.Fuzz(func(_ *testing.T, s string, offset int64) { fieldAt([]byte(s), offset) })
}
