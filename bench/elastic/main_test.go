package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// report is a drill as it is written, in which something may be different.
func report(t *testing.T, old, new string) string {
	t.Helper()
	const good = `{"drills": [{"length": 90000000000, "figures": {"calls": 100, "ok": 100, "failed": 0},
		"timeline": [{"from": 1000000000, "ok": 10, "p99": 100000000}, {"from": 20000000000, "ok": 40, "p99": 900000000}, {"from": 40000000000, "ok": 50, "p99": 120000000}],
		"instances": [
			{"id": "gateway-1", "phases": [{"from": 0, "state": "ready"}]}, {"id": "gateway-2", "phases": [{"from": 0, "state": "ready"}]},
			{"id": "gateway-3", "phases": [{"from": 20000000000, "state": "starting"}, {"from": 21000000000, "state": "ready"}, {"from": 70000000000, "state": "draining"}]},
			{"id": "orders-1", "phases": [{"from": 0, "state": "ready"}]}
		]}]}`
	if !strings.Contains(good, old) {
		t.Fatalf("no %s in the report", old)
	}
	file := filepath.Join(t.TempDir(), "report.json")
	if err := os.WriteFile(file, []byte(strings.Replace(good, old, new, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestJudges(t *testing.T) {
	for want, change := range map[string][2]string{
		"":                               {"", ""},
		"1 of 100 calls failed":          {`"failed": 0`, `"failed": 1`},
		"p99 was above 300ms in 1 of":    {`"p99": 120000000`, `"p99": 400000000`},
		"never more than 2 instances":    {`"id": "gateway-3"`, `"id": "catalog-3"`},
		"3 instances of gateway in the":  {`"from": 70000000000, "state": "draining"`, `"from": 70000000000, "state": "ready"`},
		"changed its direction 3 times":  {`"from": 70000000000, "state": "draining"`, `"from": 50000000000, "state": "draining"}, {"from": 60000000000, "state": "ready"}, {"from": 70000000000, "state": "draining"`},
		"0 drills in the report, want o": {`{"drills": [`, `{"drills": [], "other": [`},
	} {
		var out strings.Builder
		err := run(config{service: "gateway", goal: 300 * time.Millisecond, report: report(t, change[0], change[1])}, &out)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		if want == "" && !strings.Contains(out.String(), "███ 3\n") {
			t.Errorf("printed:\n%s", out.String())
		}
	}
}

func TestADrillThatDoesNotRun(t *testing.T) {
	if err := run(config{holdfast: "false", system: "nowhere"}, io.Discard); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}
