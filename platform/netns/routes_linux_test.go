package netns

import (
	"fmt"
	"strings"
	"testing"
)

func TestParseRoutes(t *testing.T) {
	const table = `Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
eth0	00000000	010200C0	0003	0	0	0	00000000	0	0	0
eth0	000200C0	00000000	0001	0	0	0	00FFFFFF	0	0	0
tun0	0000C80A	00000000	0001	0	0	0	0000FFFF	0	0	0
`
	got, err := parseRoutes(strings.NewReader(table))
	if want := "[0.0.0.0/0 192.0.2.0/24 10.200.0.0/16]"; err != nil || fmt.Sprint(got) != want {
		t.Errorf("%v, %v, not %s", got, err, want)
	}
	for _, bad := range []string{"x\neth0 0 0 0 0 0 0 00000000", "x\neth0 00000000 0 0 0 0 0 zz"} {
		if got, err := parseRoutes(strings.NewReader(bad)); err == nil {
			t.Errorf("%q: %v", bad, got)
		}
	}
}
