package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast-go/holdfast/config/driver"
)

var errBad = errors.New("bad")

func decodeTest(_ string, value []byte) (string, error) {
	if strings.HasPrefix(string(value), "bad") {
		return "", errBad
	}
	return string(value), nil
}

func listing(revision uint64, entries ...string) driver.Listing {
	l := driver.Listing{Revision: revision}
	for _, e := range entries {
		key, value, _ := strings.Cut(e, "=")
		l.Entries = append(l.Entries, driver.Entry{Key: "p/" + key, Value: []byte(value), Revision: revision})
	}
	return l
}

func render(v *view[string]) string {
	var words []string
	for key, s := range v.set().Settings {
		word := strings.TrimPrefix(key, "p/")
		if s.InForce {
			word += "=" + s.Value
		}
		if s.Kept {
			word += "?"
		}
		if s.Refused != nil {
			word += "!"
		}
		words = append(words, word)
	}
	slices.Sort(words)
	return strings.Join(words, " ")
}

// TestWhatADisappearanceMeans has a line for each way in which settings can be gone.
func TestWhatADisappearanceMeans(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		name string
		do   func(v *view[string])
		want string
	}{
		{"missed by a watch that hung", func(v *view[string]) { v.replace(listing(9), now) }, ""},
		{"less than half, after an outage", func(v *view[string]) { v.fail(); v.replace(listing(9, "a=1", "b=1"), now) }, "a=1 b=1"},
		{"most, after an outage", func(v *view[string]) { v.fail(); v.replace(listing(9, "a=1"), now) }, "a=1 b=1? c=1?"},
		{"all, and the engine knows less than before", func(v *view[string]) { v.replace(listing(2), now) }, "a=1? b=1? c=1?"},
		{"one by one, after an outage", func(v *view[string]) {
			v.fail()
			v.replace(listing(9, "a=1"), now)
			v.replace(listing(10), now)
		}, "b=1? c=1?"},
		{"removed while watched", func(v *view[string]) {
			v.change([]driver.Change{{Key: "p/a"}, {Key: "p/b"}, {Key: "p/c"}}, now)
		}, ""},
		{"removed while watched, after they were kept", func(v *view[string]) {
			v.fail()
			v.replace(listing(9), now)
			v.change([]driver.Change{{Key: "p/b"}}, now)
		}, "a=1? c=1?"},
		{"put again", func(v *view[string]) {
			v.fail()
			v.replace(listing(1), now)
			v.replace(listing(2, "a=1", "b=2"), now)
		}, "a=1 b=2 c=1?"},
		{"put again, and wrong", func(v *view[string]) {
			v.fail()
			v.replace(listing(1), now)
			v.replace(listing(2, "a=bad"), now)
		}, "a=1! b=1? c=1?"},
		{"for long enough", func(v *view[string]) {
			v.fail()
			v.replace(listing(1), now)
			v.replace(listing(1), now.Add(10*time.Minute))
		}, ""},
		{"for long enough, but without an answer", func(v *view[string]) {
			v.fail()
			v.replace(listing(1), now)
			v.fail()
			v.replace(listing(1), now.Add(time.Hour))
		}, "a=1? b=1? c=1?"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := newView("p/", false, 10*time.Minute, decodeTest)
			v.replace(listing(5, "a=1", "b=1", "c=1"), now)
			c.do(v)
			if got := render(v); got != c.want {
				t.Errorf("left %q, want %q", got, c.want)
			}
		})
	}
}

func TestKeysThatAreNoneAreIgnored(t *testing.T) {
	v := newView("p/", false, time.Minute, decodeTest)
	l := listing(1, "a=1", "b c=1", "../x=1", "ü=1")
	for i := range maxSettings + 10 {
		l.Entries = append(l.Entries, driver.Entry{Key: fmt.Sprintf("p/k%d", i), Revision: 1})
	}
	v.replace(l, time.Now())
	if n := len(v.settings); n != maxSettings {
		t.Errorf("%d settings, want %d", n, maxSettings)
	}
	for key := range v.settings {
		if ValidateKey(key) != nil {
			t.Errorf("%q is kept", key)
		}
	}
}

// TestViewInvariants: whatever happens, what is in force was accepted, and is either what the engine says or the last
// accepted value; and without a gap the keys are exactly those of the engine.
func TestViewInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Now()
		v := newView("p/", false, time.Minute, decodeTest)
		engine := make(map[string]driver.Entry)
		accepted := make(map[string]map[string]bool)
		var revision uint64
		list := func() driver.Listing {
			return driver.Listing{Revision: revision, Entries: slices.Collect(maps.Values(engine))}
		}
		v.replace(list(), now)
		synced := true
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			now = now.Add(time.Second)
			key := "p/" + rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "key")
			switch step := rapid.SampledFrom([]string{"put", "delete", "missed", "list", "fail", "wipe"}).Draw(t, "step"); step {
			case "put", "missed":
				revision++
				value := rapid.SampledFrom([]string{"1", "2", "3", "bad", ""}).Draw(t, "value")
				e := driver.Entry{Key: key, Value: []byte(value), Revision: revision}
				engine[key] = e
				if value != "bad" {
					if accepted[key] == nil {
						accepted[key] = make(map[string]bool)
					}
					accepted[key][value] = true
				}
				if step == "put" {
					v.change([]driver.Change{{Key: key, Entry: &e}}, now)
				} else {
					synced = false
				}
			case "delete":
				revision++
				delete(engine, key)
				v.change([]driver.Change{{Key: key}}, now)
			case "list":
				gap := v.gap || revision < v.revision
				v.replace(list(), now)
				synced = synced || !gap
			case "fail":
				v.fail()
				synced = false
			case "wipe":
				revision = 0
				clear(engine)
				v.fail()
				synced = false
			}
			for key, s := range v.settings {
				if s.InForce && !accepted[key][s.Value] {
					t.Fatalf("%s = %q is in force and was never accepted", key, s.Value)
				}
				if e, ok := engine[key]; synced && len(v.missing) == 0 && s.InForce && s.Refused == nil && (!ok || string(e.Value) != s.Value) {
					t.Fatalf("%s = %q is in force, the engine has %q", key, s.Value, e.Value)
				}
				if s.Kept != has(v.missing, key) {
					t.Fatalf("%s: kept %v, missing %v", key, s.Kept, has(v.missing, key))
				}
			}
		}
		v.replace(list(), now)
		v.replace(list(), now.Add(2*time.Minute))
		if len(v.missing) > 0 {
			t.Fatal("settings are kept beyond the time")
		}
		if got, want := slices.Sorted(maps.Keys(v.settings)), slices.Sorted(maps.Keys(engine)); !slices.Equal(got, want) {
			t.Fatalf("in the end there are %v, the engine has %v", got, want)
		}
	})
}

func has(m map[string]time.Duration, key string) bool {
	_, ok := m[key]
	return ok
}
