package stopwatch

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestStallsDoNotCount(t *testing.T) {
	begun := time.Unix(0, 0)
	w := &watch{begun: begun, tick: begun}
	for at := step; at <= time.Second; at += step {
		w.book(begun.Add(at))
	}
	if got := w.book(begun.Add(6 * time.Second)); got != time.Second+2*step {
		t.Errorf("after a stall of 5 s in 6 s: %v", got)
	}
	if got := w.book(begun.Add(6*time.Second + step)); got != time.Second+3*step {
		t.Errorf("a step later: %v", got)
	}
}

func TestWhatWaitsCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		took := Start(t)
		<-time.After(time.Second)
		if got := took(); got != time.Second {
			t.Errorf("after a second: %v", got)
		}
	})
}
