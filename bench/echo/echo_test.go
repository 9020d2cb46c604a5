package main

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/holdfast-go/holdfast/bench/internal/rounds"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRunPrintsEveryWay(t *testing.T) {
	var out strings.Builder
	if err := run(t.Context(), []string{"-short", "-round", "20ms", "-c", "1,4", "-split"}, &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"1 at a time", "4 at a time", "bare", "deadline", "holdfast", "holdfast client", "holdfast server"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, out.String())
		}
	}
}

func TestRunRejectsWrongUse(t *testing.T) {
	for _, args := range [][]string{{"-c", "0"}, {"-c", "x"}, {"-rounds", "0"}, {"-only", "nothing"}, {"-against", "nothing"}} {
		if err := run(t.Context(), args, &strings.Builder{}); err == nil {
			t.Errorf("%v: no error", args)
		}
	}
}

func TestPromisesAreJudged(t *testing.T) {
	ways := []rounds.Way{{Name: "bare"}, {Name: "deadline"}, {Name: "holdfast"}}
	base := []rounds.Result{{Rate: 100, CPU: 100, Allocs: 100}}
	for _, test := range []struct {
		holdfast rounds.Result
		kept     bool
	}{
		{rounds.Result{Rate: 100, CPU: 100, Allocs: 100}, true},
		{rounds.Result{Rate: 91, CPU: 114, Allocs: 105}, true},
		{rounds.Result{Rate: 89, CPU: 100, Allocs: 100}, false},
		{rounds.Result{Rate: 100, CPU: 116, Allocs: 100}, false},
		{rounds.Result{Rate: 100, CPU: 100, Allocs: 106}, false},
	} {
		var out strings.Builder
		if kept := judge(&out, "deadline", ways, [][]rounds.Result{nil, base, {test.holdfast}}); kept != test.kept || strings.Contains(out.String(), "NOT KEPT") == kept {
			t.Errorf("%+v: %v\n%s", test.holdfast, kept, out.String())
		}
	}
}

func BenchmarkEcho(b *testing.B) {
	s := settings{size: 128, round: time.Second, split: true}
	ways, closeAll, err := open(b.Context(), s)
	if err != nil {
		b.Fatal(err)
	}
	defer closeAll()
	for _, w := range ways {
		for _, c := range []int{1, 16, 128} {
			b.Run(fmt.Sprintf("%s/%d", strings.ReplaceAll(w.Name, " ", "-"), c), func(b *testing.B) {
				if _, err := rounds.Measure(b.Context(), w, c, 10*time.Millisecond); err != nil {
					b.Fatal(err)
				}
				b.ReportAllocs()
				b.SetParallelism(c)
				b.ResetTimer()
				b.RunParallel(func(pb *testing.PB) {
					call := w.Worker()
					for pb.Next() {
						if err := call(context.Background()); err != nil {
							b.Error(err)
							return
						}
					}
				})
			})
		}
	}
}
