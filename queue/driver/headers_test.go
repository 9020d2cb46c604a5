package driver_test

import (
	"fmt"
	"iter"
	"maps"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/holdfast-go/holdfast/queue/driver"
)

// bindings are the prefixes and names of the engines.
var bindings = [][2]string{{"ce-", "Content-Type"}, {"ce_", "content-type"}, {"cloudEvents_", ""}}

func texts(most int) *rapid.Generator[string] {
	return rapid.Map(rapid.String(), func(s string) string { return driver.Cut(strings.ToValidUTF8(s, "?"), most) })
}

func messages() *rapid.Generator[*driver.Message] {
	return rapid.Custom(func(t *rapid.T) *driver.Message {
		m := &driver.Message{
			ID: texts(driver.MaxText).Draw(t, "id"), Source: texts(driver.MaxText).Draw(t, "source"), Type: texts(driver.MaxText).Draw(t, "type"),
			Key: texts(driver.MaxKey).Draw(t, "key"),
		}
		if rapid.Bool().Draw(t, "timed") {
			m.Time = time.Unix(rapid.Int64Range(0, 1<<34).Draw(t, "seconds"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanoseconds")).UTC()
		}
		attributes := rapid.MapOfN(rapid.StringMatching(`[a-z0-9]{1,40}`).Filter(driver.AttributeName), texts(300), 0, driver.MaxAttributes).Draw(t, "attributes")
		if len(attributes) > 0 {
			m.Attributes = attributes
		}
		return m
	})
}

func TestHeadersRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := messages().Draw(t, "message")
		b := rapid.SampledFrom(bindings).Draw(t, "binding")
		if b[1] != "" {
			m.ContentType = texts(driver.MaxText).Draw(t, "content type")
		}
		headers := make(map[string]string)
		driver.ToHeaders(m, b[0], b[1], func(name, value string) {
			for i := range len(value) {
				if value[i] <= ' ' || value[i] >= 0x7f {
					t.Fatalf("%s has the value %q, which no line of text can have", name, value)
				}
			}
			headers[name] = value
		})
		if got := driver.FromHeaders(maps.All(headers), b[0], b[1]); !reflect.DeepEqual(got, m) {
			t.Fatalf("%+v is %+v after the way through %v", m, got, headers)
		}
	})
}

// TestHeadersOfOthers: what another publisher of CloudEvents writes is read, whatever the case of its headers.
func TestHeadersOfOthers(t *testing.T) {
	got := driver.FromHeaders(maps.All(map[string]string{
		"CE-SpecVersion": "1.0", "Ce-Id": "a b", "ce-source": "/x", "ce-type": "t%20u", "ce-time": "2024-02-29T12:00:00+02:00",
		"ce-datacontenttype": "text/plain", "ce-Subject": "100%", "other": "x", "ce-not-a-name": "y",
	}), "ce-", "")
	want := &driver.Message{
		ID: "a b", Source: "/x", Type: "t u", Time: time.Date(2024, 2, 29, 10, 0, 0, 0, time.UTC), ContentType: "text/plain",
		Attributes: map[string]string{"subject": "100%"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// TestIdentitiesStayApart: IDs that are too long, or no UTF-8, become others by which messages can be told apart, the same
// ones each time; and so do sources.
func TestIdentitiesStayApart(t *testing.T) {
	long := strings.Repeat("é", 200)
	seen := make(map[string]string)
	for _, raw := range []string{
		"", "a", "\uFFFD", long[:driver.MaxText-1], long, long + "1", long + "2", "\xfe", "\xff", "a\xfe", "a\xff", long + "\xfe", long + "\xff",
		strings.Repeat("\x80", 300), strings.Repeat("\x80", 301), strings.Repeat("\xff", 255), strings.Repeat("x", 255), strings.Repeat("x", 256),
		strings.Repeat("x", 800) + "1", strings.Repeat("x", 800) + "2",
	} {
		for _, value := range []string{raw, url.PathEscape(raw)} {
			m := driver.FromHeaders(maps.All(map[string]string{"ce-id": value, "ce-source": value}), "ce-", "")
			if want := driver.Identity(raw); m.ID != want || m.Source != want {
				t.Errorf("%q was read as the ID %q and the source %q, want %q", value, m.ID, m.Source, want)
			}
			if len(m.ID) > driver.MaxText || !utf8.ValidString(m.ID) || driver.Identity(m.ID) != m.ID {
				t.Errorf("%q is no ID", m.ID)
			}
			if other, ok := seen[m.ID]; ok && other != raw {
				t.Errorf("%q and %q are both %q", other, raw, m.ID)
			}
			seen[m.ID] = raw
			if utf8.ValidString(raw) && len(raw) <= driver.MaxText && m.ID != raw {
				t.Errorf("%q became %q", raw, m.ID)
			}
		}
	}
}

// TestIdentityIsTheSameEverywhere: instances of other versions have to agree.
func TestIdentityIsTheSameEverywhere(t *testing.T) {
	for raw, want := range map[string]string{
		"a\xffb":                 "a\uFFFDb~01ce0241d2a0e71a4fecd5a8d71157fe",
		strings.Repeat("x", 256): strings.Repeat("x", 222) + "~85e62acd750c4eb56b7b6a1d66dca5bf",
		strings.Repeat("世", 100): strings.Repeat("世", 74) + "~9f3eb83f80346476a9c43f484b3715cb",
	} {
		if got := driver.Identity(raw); got != want {
			t.Errorf("%q is %q, want %q", raw, got, want)
		}
	}
}

func TestCutKeepsCharactersWhole(t *testing.T) {
	for n, want := range map[int]string{0: "", 1: "a", 2: "a", 3: "aé", 6: "aé世", 9: "aé世"} {
		if got := driver.Cut("aé世", n); got != want {
			t.Errorf("%d bytes of it are %q, want %q", n, got, want)
		}
	}
}

func FuzzFromHeaders(f *testing.F) {
	f.Add("ce-id", "1", "ce-time", "2024-02-29T12:00:00Z", "ce-x", "%E4%B8%96")
	f.Add("ce-id", strings.Repeat("世", 100)+"%", "ce-source", "a%ff", "ce-type", "\xff")
	f.Add("Content-Type", "text/plain", "CE-PartitionKey", "%", "ce-", "%zz")
	f.Fuzz(func(t *testing.T, n1, v1, n2, v2, n3, v3 string) {
		var headers iter.Seq2[string, string] = func(yield func(string, string) bool) {
			_ = yield(n1, v1) && yield(n2, v2) && yield(n3, v3)
		}
		m := driver.FromHeaders(headers, "ce-", "content-type")
		for _, s := range []string{m.ID, m.Source, m.Type, m.ContentType} {
			if len(s) > driver.MaxText || !utf8.ValidString(s) {
				t.Errorf("text %q", s)
			}
		}
		if len(m.Key) > driver.MaxKey || !utf8.ValidString(m.Key) {
			t.Errorf("key %q", m.Key)
		}
		for name, value := range m.Attributes {
			if !driver.AttributeName(name) || len(value) > driver.MaxAttribute || !utf8.ValidString(value) {
				t.Errorf("attribute %q=%q", name, value)
			}
		}
		again := make(map[string]string)
		driver.ToHeaders(m, "ce-", "content-type", func(name, value string) { again[name] = value })
		if got := driver.FromHeaders(maps.All(again), "ce-", "content-type"); !reflect.DeepEqual(got, m) {
			t.Errorf("%+v became %+v", m, got)
		}
	})
}

// Attributes that are too many are left out; what a message needs is not, wherever it stands.
func TestTooManyAttributesTakeNothingWithThem(t *testing.T) {
	m := driver.FromHeaders(func(yield func(string, string) bool) {
		for i := range 10 {
			if !yield(fmt.Sprint("ce-a", i), strings.Repeat("x", 4000)) {
				return
			}
		}
		_ = yield("ce-id", "1") && yield("ce-source", "s") && yield("ce-partitionkey", "k")
	}, "ce-", "Content-Type")
	if m.ID != "1" || m.Source != "s" || m.Key != "k" {
		t.Errorf("id %q source %q key %q, %d attributes", m.ID, m.Source, m.Key, len(m.Attributes))
	}
}
