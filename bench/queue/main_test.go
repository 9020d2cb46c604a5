package main

import (
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/holdfast-go/holdfast/bench/internal/broker"

	"github.com/holdfast-go/holdfast/bench/internal/rounds"
)

func TestMain(m *testing.M) {
	broker.Child()
	goleak.VerifyTestMain(m)
}

func TestShort(t *testing.T) {
	var out strings.Builder
	if err := run(t.Context(), []string{"-short", "-engines", "memory,nats", "-sizes", "128", "-modes", "publish 64,consume 16,on the way"}, &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"memory, 128 B", "nats, 128 B", "publish 64", "consume 16", "on the way", rawAttributesName} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, out.String())
		}
	}
}

// TestJudge: what is slower than promised is found.
func TestJudge(t *testing.T) {
	for rate, kept := range map[float64]bool{899: false, 901: true} {
		table := table{engine: "x", against: rawName, rows: []row{{modes[0], []sideResults{
			{holdfastName, []rounds.Result{{Rate: 1}, {Rate: rate}, {Rate: 5000}}},
			{rawName, []rounds.Result{{Rate: 1000}, {Rate: 1000}, {Rate: 1000}}},
			{rawAttributesName, []rounds.Result{{Rate: 1}, {Rate: 1}, {Rate: 1}}},
		}}}}
		var out strings.Builder
		if got := table.judge(&out); got != kept {
			t.Errorf("%v of 1000 messages a second are kept: %v; %s", rate, got, out.String())
		}
		table.rows[0].mode.ordered = true // nothing is promised of it
		if !table.judge(&out) {
			t.Error("what is not promised was not kept")
		}
	}
}

func TestArguments(t *testing.T) {
	for _, args := range []string{"-engines x", "-modes x", "-sizes 1", "-sizes x", "-rounds 0", "-against x", "rest"} {
		if _, err := parse(strings.Fields(args)); err == nil {
			t.Errorf("%s: no error", args)
		}
	}
}
