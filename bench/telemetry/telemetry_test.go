package main

import (
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/holdfast-go/holdfast/bench/internal/rounds"
)

// TestMain lets the program under test start itself as its receiver.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == sinkArgument {
		main()
		return
	}
	goleak.VerifyTestMain(m)
}

func TestRunPrintsEveryWay(t *testing.T) {
	for _, protocol := range [][]string{nil, {"-http"}} {
		var out strings.Builder
		if err := run(t.Context(), append([]string{"-short", "-round", "20ms", "-c", "1,4"}, protocol...), &out); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"1 at a time", "4 at a time", "off", "disabled", "on", "unsent", "default", "all"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("no %q in:\n%s", want, out.String())
			}
		}
	}
}

func TestRunRejectsWrongUse(t *testing.T) {
	for _, args := range [][]string{{"-c", "0"}, {"-c", "x"}, {"-rounds", "0"}, {"-only", "nothing"}} {
		if err := run(t.Context(), args, &strings.Builder{}); err == nil {
			t.Errorf("%v: no error", args)
		}
	}
}

func TestPromisesAreJudged(t *testing.T) {
	ways := []rounds.Way{{Name: "off"}, {Name: "disabled"}, {Name: "on"}}
	base := rounds.Result{Rate: 100, CPU: 1000, Allocs: 100}
	for _, test := range []struct {
		disabled, on rounds.Result
		kept         bool
	}{
		{base, base, true},
		{base, rounds.Result{Rate: 90, CPU: 1080, Allocs: 104}, true},
		{base, rounds.Result{Rate: 100, CPU: 1081, Allocs: 100}, false},
		{base, rounds.Result{Rate: 100, CPU: 1000, Allocs: 105}, false},
		{rounds.Result{Rate: 100, CPU: 1000, Allocs: 101}, base, false},
	} {
		var out strings.Builder
		kept := judge(&out, ways, [][]rounds.Result{{base}, {test.disabled}, {test.on}})
		if kept != test.kept || strings.Contains(out.String(), "NOT KEPT") == kept {
			t.Errorf("%+v: %v\n%s", test, kept, out.String())
		}
	}
}
