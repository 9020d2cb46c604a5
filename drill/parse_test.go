package drill

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/drill/check"
	"github.com/holdfast-go/holdfast/drill/load"
	"github.com/holdfast-go/holdfast/drill/report"
)

func TestParseKnowsEveryField(t *testing.T) {
	b, err := os.ReadFile("testdata/full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	sc, err := Parse("full.yaml", b)
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.MarshalIndent(sc, "", "  ") //nolint:staticcheck // a file has no checks in Go
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "full.json", string(got)+"\n")
}

// Each file of testdata/bad is wrong throughout, and the file beside it has what Parse says of it.
func TestParseSaysAllThatIsWrong(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, path := range files {
		name := strings.TrimSuffix(filepath.Base(path), ".yaml")
		t.Run(name, func(t *testing.T) {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			sc, err := Parse(filepath.Base(path), b)
			var problems Problems
			if !errors.As(err, &problems) || sc != nil {
				t.Fatalf("Parse = %v, %v; want problems", sc, err)
			}
			golden(t, "bad/"+name+".txt", problems.Error()+"\n")
		})
	}
}

func TestADrillNeedsNoName(t *testing.T) {
	sc, err := Parse("drills/leaders-die.yaml", []byte("faults: [{at: 1s, kill: orders}]"))
	if err != nil || sc.Name != "leaders-die" || sc.Length() != 11*time.Second {
		t.Errorf("Parse = %+v, %v", sc, err)
	}
	if _, err := Parse("/tmp/Leaders Die.yaml", []byte("{for: 1s}")); err == nil || !strings.Contains(err.Error(), "needs a name") {
		t.Errorf("error = %v", err)
	}
}

func TestDrillsOfASystem(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(dir, Dir), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, Dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := LoadDir(dir); err != nil || len(got) != 0 {
		t.Fatalf("without a directory: %v, %v", got, err)
	}
	write("a.yaml", "faults: [{at: 1s, kill: orders}]")
	write("b.yaml", "expect: {p99: 1s}\nload: {rate: 7}\ninvariants: [{acknowledged: order, at: {get: \"/{{.id}}\"}}]")
	write("c.yaml", "load: {calls: {mine: {get: /mine}}}")
	write("standard.yaml", "for: 20s\nload: {rate: 100, vars: {x: a}, calls: {order: {post: /, keep: {id: id}}}}\nexpect: {success: 99%}\ninvariants: [{command: ./audit}]")
	got, err := LoadDir(dir)
	if err != nil || len(got) != 4 || got[0].Name != StandardName {
		t.Fatalf("LoadDir = %v, %v", got, err)
	}
	a, b, c := got[1], got[2], got[3]
	if a.Load.Calls[0].Name != "order" || a.Load.Vars["x"] != "a" || a.Load.Rate(0) != 0 || a.complete().Load.Rate(0) != 100 ||
		a.Expect.Success != 0.99 || len(a.Invariants) != 1 || a.Length() != 11*time.Second {
		t.Errorf("a = %+v", a)
	}
	if b.complete().Load.Rate(0) != 7 || b.Expect.Success != 0.99 || b.Expect.P99 != time.Second || len(b.Invariants) != 2 {
		t.Errorf("b = %+v", b)
	}
	if len(c.Load.Calls) != 1 || c.Load.Calls[0].Name != "mine" || len(c.Invariants) != 0 || c.Expect.Success != 0.99 {
		t.Errorf("c = %+v", c)
	}

	write("d.yaml", "drill: a\nfaults: [{at: 1s, kil: orders}]")
	write("e.yaml", "drill: a\n")
	_, err = LoadDir(dir)
	for _, want := range []string{"d.yaml:2:19: unknown field kil; did you mean kill?", "e.yaml: the drill a is in "} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error = %v, want %q", err, want)
		}
	}
}

// A promise about one thing, and an invariant, take nothing from the promise about failures.
func TestFailuresAreAlwaysPromised(t *testing.T) {
	const some = "load: {calls: {a: {get: /}}}\nfaults: [{at: 5s, kill: orders}]\n"
	for _, expect := range []string{"", "expect: {p99: 500ms}", "expect: {recover: 5s}", "invariants: [{command: 'true'}]"} {
		sc, err := Parse("a.yaml", []byte(some+expect))
		if err != nil {
			t.Fatal(err)
		}
		if got := sc.complete().Expect.Success; got != DefaultSuccess {
			t.Errorf("%s: success = %v", expect, got)
		}
		done := sc.complete()
		done.For = 20 * time.Second
		r := judged(done, []report.Fault{{Kind: "kill", Begun: 5 * time.Second}}, steady(done.For, func(s *load.Sample) {
			if s.Due > 5*time.Second && s.Due%(100*ms) != 0 {
				s.Outcome = load.Failed
			}
		}))
		r.Invariants = []check.Verdict{{Name: "true", Answer: check.Holds}}
		if r.Verdict() != report.UsersNoticed {
			t.Errorf("%s: with most of the calls failed, %v", expect, r.Verdict())
		}
	}
	if sc := (Scenario{Expect: Expect{Success: 0.5}}); sc.complete().Expect.Success != 0.5 {
		t.Error("what is promised is not kept to")
	}
}

// What begins when the load is over is never done.
func TestAFaultBeginsBeforeTheEnd(t *testing.T) {
	if _, err := Parse("a.yaml", []byte("for: 5s\nfaults: [{at: 5s, kill: orders}]")); err == nil || !strings.Contains(err.Error(), "a.yaml:2:10: the fault is at 5s, when the load is over") {
		t.Errorf("error = %v", err)
	}
	sc, err := Parse("a.yaml", []byte("for: 10s\nfaults: [{at: 5s, kill: orders}, {at: 6s, freeze: orders, for: 4s}]"))
	if err != nil || len(sc.Faults) != 2 {
		t.Fatalf("%+v, %v", sc, err)
	}
	if short := sc.Last(5 * time.Second); len(short.Faults) != 0 || len(short.LeftOut) != 1 {
		t.Errorf("cut to 5 s: %+v", short)
	}
}

// Nothing is broken in some drills, and what is measured from a fault is not asked of them.
func TestWithoutFaultsNothingIsMasked(t *testing.T) {
	sc, err := Parse("standard.yaml", []byte("load: {calls: {a: {get: /}}}\nexpect: {success: 99%, p99: 1s, mask: 1s, recover: 2s}"))
	if err != nil {
		t.Fatal(err)
	}
	done := sc.complete()
	if done.Expect != (Expect{Success: 0.99, P99: time.Second}) || len(done.LeftOut) != 1 || len(done.complete().LeftOut) != 1 {
		t.Errorf("%+v", done)
	}
	if r := judged(done, nil, steady(done.For, nil)); r.Verdict() != report.NobodyNoticed {
		t.Errorf("%v: %v", r.Verdict(), r.Reasons())
	}
	sc.Random = &Random{}
	if got := sc.complete().Expect; got.Mask != time.Second || got.Recover != 2*time.Second {
		t.Errorf("with faults that are drawn: %+v", got)
	}
}

func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/*.yaml", "testdata/bad/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, path := range files {
			b, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		sc, err := Parse("fuzz.yaml", b)
		if err != nil {
			var problems Problems
			if !errors.As(err, &problems) || len(problems) == 0 || sc != nil {
				t.Fatalf("Parse = %v, %v: neither a scenario nor problems", sc, err)
			}
			return
		}
		// What was taken can be run.
		length := sc.Length()
		for _, fault := range sc.Faults {
			if problems := fault.Validate(); len(problems) > 0 || fault.At+fault.For > length {
				t.Fatalf("%+v: %v, in %v", fault, problems, length)
			}
		}
		if done := sc.complete(); done.Load.Length() < length || length <= 0 || length > 10*maxDuration {
			t.Fatalf("load for %v of %v", done.Load.Length(), length)
		}
		if short := sc.Last(time.Second); short.Length() != time.Second || short.complete().Load.Length() != time.Second {
			t.Fatalf("cut to a second it lasts %v, with load for %v", short.Length(), short.complete().Load.Length())
		}
	})
}
