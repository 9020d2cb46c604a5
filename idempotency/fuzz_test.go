package idempotency_test

import (
	"bytes"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/holdfast-go/holdfast/idempotency"
)

func FuzzParseKey(f *testing.F) {
	for _, seed := range []string{"", "k", `"k"`, `"k`, `k"`, `""`, `"a\"b\\c"`, `"a\b"`, `"k";a=1`, `"\`, "a b", "ä", "\x00", strings.Repeat("k", 257), `"` + strings.Repeat(`\"`, 256) + `"`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		key, ok := idempotency.ParseKey(value)
		if !ok {
			return
		}
		if !idempotency.ValidKey(key) {
			t.Fatalf("%q is the key %q, which is none", value, key)
		}
		quoted := `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(key) + `"`
		if again, ok := idempotency.ParseKey(quoted); !ok || again != key {
			t.Fatalf("%q in quotes is %q, %v", key, again, ok)
		}
	})
}

func FuzzParseRecord(f *testing.F) {
	for _, r := range []idempotency.Record{
		{State: idempotency.UnderWay, Owner: [16]byte{1}},
		{State: idempotency.Done, Result: []byte("answer")},
		{State: idempotency.Done},
		{State: idempotency.NotKept, Fingerprint: idempotency.Fingerprint{9}},
		{State: 7},
	} {
		f.Add(r.Append(nil))
	}
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := idempotency.ParseRecord(data)
		if err != nil {
			return
		}
		if again := r.Append(nil); !bytes.Equal(again, data) {
			t.Fatalf("%x is %+v, which is %x", data, r, again)
		}
	})
}

func FuzzFingerprint(f *testing.F) {
	f.Add([]byte("ab"), []byte("c"))
	f.Add([]byte("a"), []byte("bc"))
	f.Add([]byte(nil), []byte("abc"))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		if print := idempotency.FingerprintOf(a, b); print == idempotency.FingerprintOf(append(bytes.Clone(a), b...)) ||
			print != idempotency.FingerprintOf(a, b) ||
			(len(a) > 0 && print == idempotency.FingerprintOf(nil, append(bytes.Clone(a), b...))) {
			t.Fatalf("%x, %x", a, b)
		}
	})
}

// No two keys meet because of how their parts are put together.
func TestIDsAreOfTheWholeKey(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[ab]{0,3}`)
		draw := func() idempotency.Key {
			return idempotency.Key{Method: text.Draw(t, "method"), Caller: text.Draw(t, "caller"), Key: text.Draw(t, "key")}
		}
		if a, b := draw(), draw(); (a == b) != (a.ID() == b.ID()) {
			t.Fatalf("%+v, %+v", a, b)
		}
	})
}
