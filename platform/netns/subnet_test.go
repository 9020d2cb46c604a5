package netns

import (
	"fmt"
	"net/netip"
	"testing"
)

func TestFree(t *testing.T) {
	pp := func(all ...string) (ps []netip.Prefix) {
		for _, s := range all {
			ps = append(ps, netip.MustParsePrefix(s))
		}
		return ps
	}
	for _, c := range []struct {
		routes []netip.Prefix
		first  string
		n      int
	}{
		{nil, "10.200.0.0/16", 51},
		{pp("0.0.0.0/0", "0.0.0.0/1", "192.168.0.0/16"), "10.200.0.0/16", 51},
		{pp("10.200.7.0/24", "10.201.0.0/16"), "10.202.0.0/16", 49},
		{pp("10.192.0.0/12"), "10.208.0.0/16", 43},
		{pp("10.0.0.0/8"), "", 0},
	} {
		got := free(c.routes)
		if len(got) != c.n || c.n > 0 && got[0].String() != c.first {
			t.Errorf("%v: %v", c.routes, got)
		}
		for _, p := range got {
			if number(p) == 0 || Subnet(p.Addr().Next()) != p {
				t.Errorf("%s is none of the networks that are tried", p)
			}
		}
	}
}

func TestAddresses(t *testing.T) {
	b := newBook(subnet(200))
	for _, c := range []struct{ id, want string }{
		{"control-1", "10.200.1.1"},
		{"control-3", "10.200.1.3"},
		{"orders-1", "10.200.2.1"},
		{"a-b-12", "10.200.3.12"},
		{"a-b-300", "10.200.3.1"}, // no such number in an address
		{"a-b-1", "10.200.3.2"},   // taken
		{"alone", "10.200.4.1"},
		{"control-1", "10.200.1.1"}, // again
	} {
		if got, err := b.addr(c.id); err != nil || got.String() != c.want {
			t.Errorf("%s is at %s, %v, not %s", c.id, got, err, c.want)
		}
	}
	b = newBook(subnet(250))
	seen := map[netip.Addr]bool{b.platform(): true}
	for i := range maxNumber {
		a, err := b.addr(fmt.Sprintf("x-%d", i))
		if err != nil || seen[a] {
			t.Fatalf("x-%d is at %s, %v", i, a, err)
		}
		seen[a] = true
	}
	if a, err := b.addr("x-1000"); err == nil {
		t.Errorf("one too many is at %s", a)
	}
	for i := range maxGroups - 1 {
		if _, err := b.addr(fmt.Sprintf("s%d-1", i)); err != nil {
			t.Fatal(err)
		}
	}
	if a, err := b.addr("one-1"); err == nil {
		t.Errorf("a service too many is at %s", a)
	}
}
