package configtest

import (
	"slices"
	"testing"

	"github.com/holdfast-go/holdfast/config/driver"
)

// LateWrites checks that what was given up, and comes to the engine after what was put or deleted since, changes nothing any
// more: a member of the engine can be frozen with a write in it. freeze holds up the next write of d, which must fail; thaw
// carries it out. d has nothing.
func LateWrites(t *testing.T, d driver.Store, freeze func(), thaw func() error) {
	t.Helper()
	ctx := t.Context()
	put := func(value string) error {
		_, err := d.Put(ctx, "key", []byte(value))
		return err
	}
	remove := func() error {
		_, err := d.Delete(ctx, "key")
		return err
	}
	for _, c := range []struct {
		name       string
		late, then func() error
		want       []string
	}{
		{"a first value", func() error { return put("old") }, func() error { return put("new") }, []string{"new"}},
		{"a value", func() error { return put("old") }, func() error { return put("newer") }, []string{"newer"}},
		{"a deletion", remove, func() error { return put("newest") }, []string{"newest"}},
		{"a value, of what is gone", func() error { return put("old") }, remove, nil},
	} {
		freeze()
		if err := c.late(); err == nil {
			t.Fatalf("%s: written, although the engine is frozen", c.name)
		}
		if err := c.then(); err != nil {
			t.Fatalf("%s: what came then: %v", c.name, err)
		}
		if err := thaw(); err != nil {
			t.Fatalf("%s, late: %v", c.name, err)
		}
		l, err := d.List(ctx, "")
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range l.Entries {
			got = append(got, string(e.Value))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s that came late: there is %q, want %q", c.name, got, c.want)
		}
	}
}
