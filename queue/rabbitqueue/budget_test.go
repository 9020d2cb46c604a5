package rabbitqueue

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestWhoMustNotWaitTakesWhatIsThere, and overtakes nobody who waits.
func TestWhoMustNotWaitTakesWhatIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(10)
		if !b.tryTake(7) || b.tryTake(4) || !b.tryTake(2) {
			t.Error("of 10, 7 and 2 can be had, and 4 cannot")
		}
		waiting := make(chan error, 1)
		go func() { waiting <- b.take(t.Context(), 3) }()
		synctest.Wait()
		if b.tryTake(1) {
			t.Error("it overtook")
		}
		b.give(2)
		if err := <-waiting; err != nil {
			t.Error(err)
		}
		if b.tryTake(1) || b.left != 0 {
			t.Errorf("%d are left", b.left)
		}
		b.give(10)
		if !b.tryTake(10) {
			t.Error("all are there")
		}
	})
}

// TestBudgetServesInTurn: a large one is not starved by small ones behind it, and one that gives up lets them go on.
func TestBudgetServesInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(10)
		if err := b.take(t.Context(), 8); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		large, small := make(chan error, 1), make(chan error, 1)
		go func() { large <- b.take(ctx, 5) }()
		synctest.Wait()
		go func() { small <- b.take(t.Context(), 1) }()
		synctest.Wait()
		select {
		case <-small:
			t.Error("the small one overtook")
		default:
		}
		if err := <-large; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the large one: %v", err)
		}
		if err := <-small; err != nil {
			t.Errorf("the small one: %v", err)
		}
		b.give(9)
		if b.left != 10 || len(b.waiting) != 0 {
			t.Errorf("%d are left, %d wait", b.left, len(b.waiting))
		}
		if err := b.take(t.Context(), 10); err != nil {
			t.Error(err)
		}
	})
}
