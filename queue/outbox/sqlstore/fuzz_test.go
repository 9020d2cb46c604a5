package sqlstore

import (
	"encoding/json"
	"maps"
	"testing"
)

// Whatever stands in the column: it is read, or it is an error; what was stored is read as it was.
func FuzzReadAttributes(f *testing.F) {
	for _, seed := range []string{"", "{}", `{"traceparent":"00-1-2-01"}`, `{"a":1}`, `{"a":"b","a":"c"}`, "[]", "null", `{"a":"\u0000"}`, "{"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		m, err := readAttributes(text)
		if err != nil {
			if m != nil {
				t.Errorf("%v with an error", m)
			}
			return
		}
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		again, err := readAttributes(string(b))
		if err != nil || !maps.Equal(m, again) {
			t.Errorf("%v became %v, %v", m, again, err)
		}
	})
}
