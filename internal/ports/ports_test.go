//go:build unix

package ports

import "testing"

// TestReserve: nobody has what somebody has, until that is given back.
func TestReserve(t *testing.T) {
	seen := map[int]bool{}
	var all []*Reserved
	for range 20 {
		r, err := Reserve(3)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
		for i := range 3 {
			if p := r.Port(i); seen[p] || p < first || p >= last || r.Addr(i) != Loopback(p) {
				t.Errorf("port %d of %v", p, seen)
			}
			seen[r.Port(i)] = true
		}
	}
	for _, r := range all {
		r.Release()
		r.Release()
	}
	(*Reserved)(nil).Release()
}
