package queue

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestScrub(t *testing.T) {
	for in, want := range map[string]string{
		"dial postgres://shop:hunter2@db:5432/x failed":   "dial postgres://…@db:5432/x failed",
		"password=hunter2 host=db":                        "password=… host=db",
		`{"token": "abc", "id": 7}`:                       `{"token": "…", "id": 7}`,
		"Authorization: Bearer abc.def":                   "Authorization: Bearer …",
		"order 4711 has no address, write to me@home.org": "order 4711 has no address, write to me@home.org",
	} {
		if got := scrub(in); got != want {
			t.Errorf("%q is kept as %q, want %q", in, got, want)
		}
	}
}

func FuzzScrub(f *testing.F) {
	f.Add("x://a:b@c password=d")
	f.Add(strings.Repeat("ä", 3000))
	f.Fuzz(func(t *testing.T, s string) {
		if got := scrub(s); len(got) > maxErrorText || !utf8.ValidString(got) {
			t.Errorf("%q became %d bytes", s, len(got))
		}
	})
}
