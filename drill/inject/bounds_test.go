package inject_test

import (
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/drill/inject"
)

// What the control API would refuse is not found out in the middle of a drill: a fault that is accepted is one that it takes.
func TestWhatTheSystemWouldRefuseIsNoFault(t *testing.T) {
	for _, tc := range []struct {
		fault inject.Fault
		says  string // "" is accepted
	}{
		{inject.Fault{Kind: inject.SlowCPU, Share: 0.01}, ""},
		{inject.Fault{Kind: inject.SlowCPU, Share: 0.99}, ""},
		{inject.Fault{Kind: inject.SlowCPU, Share: 0.005}, "from 1% to below 100%"},
		{inject.Fault{Kind: inject.SlowCPU, Share: 1}, "from 1% to below 100%"},
		{inject.Fault{Kind: inject.Errors, Share: 1}, ""},
		{inject.Fault{Kind: inject.Errors, Methods: []string{"/shop.Orders/Place", "GET /orders"}}, ""},
		{inject.Fault{Kind: inject.Errors, Methods: []string{"Place"}}, "neither /package.Service/Method"},
		{inject.Fault{Kind: inject.Errors, Code: inject.NoCode}, "delay has to say"},
		{inject.Fault{Kind: inject.Errors, Code: inject.NoCode, Delay: time.Second}, ""},
		{inject.Fault{Kind: inject.Memory, Bytes: 64 << 30}, ""},
		{inject.Fault{Kind: inject.Memory, Bytes: 64<<30 + 1}, "at most 64 GiB"},
	} {
		tc.fault.Target, tc.fault.For = []string{"mail"}, time.Second
		said := ""
		for _, p := range tc.fault.Validate() {
			said += p.Message
		}
		if tc.says != "" {
			if !strings.Contains(said, tc.says) {
				t.Errorf("%+v: %q", tc.fault, said)
			}
			continue
		}
		s := newSystem()
		active, err := (&inject.Applier{Control: s, Note: "drill x"}).Begin(t.Context(), resolved(t, tc.fault))
		if err != nil || said != "" {
			t.Errorf("%+v: %v, %q", tc.fault, err, said)
			continue
		}
		if err := s.last.Validate(); err != nil {
			t.Errorf("%+v: the system would refuse it: %v", tc.fault, err)
		}
		if err := active.End(t.Context()); err != nil {
			t.Error(err)
		}
	}
}
