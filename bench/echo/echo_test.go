package main

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/holdfast-go/holdfast/bench/echo/echopb"
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
	ways := []way{{name: "bare"}, {name: "deadline"}, {name: "holdfast"}}
	base := []result{{rate: 100, cpu: 100, allocs: 100}}
	for _, test := range []struct {
		holdfast result
		kept     bool
	}{
		{result{rate: 100, cpu: 100, allocs: 100}, true},
		{result{rate: 91, cpu: 114, allocs: 105}, true},
		{result{rate: 89, cpu: 100, allocs: 100}, false},
		{result{rate: 100, cpu: 116, allocs: 100}, false},
		{result{rate: 100, cpu: 100, allocs: 106}, false},
	} {
		var out strings.Builder
		if kept := judge(&out, "deadline", ways, [][]result{nil, base, {test.holdfast}}); kept != test.kept || strings.Contains(out.String(), "NOT KEPT") == kept {
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
			b.Run(fmt.Sprintf("%s/%d", strings.ReplaceAll(w.name, " ", "-"), c), func(b *testing.B) {
				if _, err := measure(b.Context(), w, s.size, c, 10*time.Millisecond); err != nil {
					b.Fatal(err)
				}
				b.ReportAllocs()
				b.SetParallelism(c)
				b.ResetTimer()
				b.RunParallel(func(pb *testing.PB) {
					req := &echopb.EchoRequest{Body: make([]byte, s.size)}
					for pb.Next() {
						if err := w.call(context.Background(), req); err != nil {
							b.Error(err)
							return
						}
					}
				})
			})
		}
	}
}
