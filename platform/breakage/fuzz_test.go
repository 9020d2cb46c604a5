package breakage

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/platform/control"
)

// FuzzRequest: what a request may be, a process can be told, in a plan that it takes, and people in a line.
func FuzzRequest(f *testing.F) {
	for _, seed := range []string{
		`{"kind":"freeze","targets":["orders-1"]}`,
		`{"kind":"slow-cpu","targets":["orders-1"],"share":0.5}`,
		`{"kind":"net","links":[{"from":["*"],"to":["registry","edge","legacy-1"],"cut_out":true,"delay":1,"rate":5,"reset_every":7}]}`,
		`{"kind":"net","links":[{"from":["edge"],"to":["orders-1","[::1]:80"],"refuse":true,"jitter":600000000000}]}`,
		`{"kind":"calls","targets":["orders-1"],"calls":[{"share":1e-300,"code":"INTERNAL","methods":["GET /"]}]}`,
		`{"kind":"disk","targets":["orders-1"],"disk":{"slow_sync":1}}`,
		`{"kind":"memory","targets":["orders-1"],"bytes":68719476736}`,
		`{"kind":"scale","targets":["orders"],"replicas":0}`,
		`{"kind":"clock","targets":["orders-1"],"jump":-5}`,
		`{"kind":"net","links":[{"from":["*"],"to":["y\n:0"],"cut_in":true}]}`,
		`{"kind":"net","links":[{"from":["x\n"],"to":["y:0"],"cut_in":true}]}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		var req control.FaultRequest
		if json.Unmarshal([]byte(body), &req) != nil {
			return
		}
		err := req.Validate()
		if err == nil {
			err = check(req, shop(), false)
		} else if failure.CodeOf(err) != failure.InvalidArgument {
			t.Errorf("%v is the caller's fault", err)
		}
		if err != nil {
			if strings.ContainsRune(err.Error(), '\n') || !utf8.ValidString(err.Error()) {
				t.Errorf("not a line: %q", err)
			}
			return
		}
		faults := faultsOf([]control.FaultRequest{req, req})
		for id, tr := range compile(faults, shop(), false) {
			if err := tr.Plan.Validate(); err != nil {
				t.Errorf("%s is told %+v: %v", id, tr.Plan, err)
			}
		}
		if what := describe(req); what == "" || strings.ContainsFunc(what, unicode.IsControl) {
			t.Errorf("described as %q", what)
		}
	})
}
