package main

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/holdfast-go/holdfast/bench/internal/broker"
)

func TestMain(m *testing.M) {
	broker.Child()
	goleak.VerifyTestMain(m)
}

func TestMillis(t *testing.T) {
	var took []time.Duration
	for i := range 100 {
		took = append(took, time.Duration(i+1)*time.Millisecond)
	}
	for percent, want := range map[int]float64{0: 1, 50: 51, 99: 100, 100: 100} {
		if got := millis(took, percent); got != want {
			t.Errorf("%d %%: %v, want %v", percent, got, want)
		}
	}
	if millis(nil, 50) != 0 || median([]float64{3, 1, 2}) != 2 {
		t.Error("nothing, or three in any order")
	}
}

func TestMissing(t *testing.T) {
	committed, seen := map[string]bool{"a": true, "b": true, "c": true}, map[string]bool{"b": true, "x": true, "y": true}
	if missing(committed, seen) != 2 || missing(seen, committed) != 2 || missing(seen, seen) != 0 {
		t.Error("as many in one as in the other, and not the same ones")
	}
}
