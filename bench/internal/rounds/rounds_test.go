package rounds

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"
)

func TestCompareIsTheMedianOfNeighbours(t *testing.T) {
	a := []Result{{Rate: 90, CPU: 110, Allocs: 12}, {Rate: 1, CPU: 1000, Allocs: 900}, {Rate: 180, CPU: 220, Allocs: 13}}
	b := []Result{{Rate: 100, CPU: 100, Allocs: 10}, {Rate: 100, CPU: 100, Allocs: 10}, {Rate: 200, CPU: 200, Allocs: 10}}
	if rate, cpu, allocs := Compare(a, b); rate != 0.9 || cpu != 1.1 || allocs != 3 {
		t.Errorf("%v, %v, %v", rate, cpu, allocs)
	}
	if m := Middle(a); m.Rate != 90 || m.CPU != 220 || m.Allocs != 13 {
		t.Errorf("%+v", m)
	}
}

func TestEveryWayIsMeasuredInEveryRound(t *testing.T) {
	calls := make([]int, 2)
	way := func(i int) Way {
		return Way{Worker: func() func(context.Context) error {
			return func(context.Context) error { calls[i]++; return nil }
		}}
	}
	results, err := Interleave(t.Context(), []Way{way(0), way(1)}, 1, 3, time.Millisecond)
	if err != nil || len(results) != 2 || len(results[0]) != 3 || len(results[1]) != 3 || calls[0] < 6 || calls[1] < 6 {
		t.Errorf("%v, %d calls, %v", results, calls, err)
	}
	no := errors.New("no")
	failing := Way{Name: "failing", Worker: func() func(context.Context) error { return func(context.Context) error { return no } }}
	if _, err := Interleave(t.Context(), []Way{failing}, 2, 1, time.Millisecond); !errors.Is(err, no) {
		t.Errorf("of a call that fails: %v", err)
	}
}

func TestConcurrency(t *testing.T) {
	if all, err := Concurrency("1, 16,128"); err != nil || !slices.Equal(all, []int{1, 16, 128}) {
		t.Error(all, err)
	}
	for _, wrong := range []string{"", "0", "x", "1,", "10001"} {
		if all, err := Concurrency(wrong); err == nil {
			t.Errorf("%q: %v", wrong, all)
		}
	}
}
