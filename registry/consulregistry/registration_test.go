package consulregistry

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestNotice: an instance that leaves stays marked for a moment, since a watch tells of states and not of each.
func TestNotice(t *testing.T) { synctest.Test(t, testNotice) }

func testNotice(t *testing.T) {
	for _, c := range []struct {
		marked, limit, want time.Duration
	}{
		{0, time.Second, noticeMark},
		{100 * time.Millisecond, time.Second, noticeMark - 100*time.Millisecond},
		{time.Minute, time.Second, 0},
		{0, 50 * time.Millisecond, 50 * time.Millisecond},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), c.limit)
		begun := time.Now()
		(&registration{marked: begun.Add(-c.marked)}).notice(ctx)
		if took := time.Since(begun); took != c.want {
			t.Errorf("marked %v ago: waits %v, want %v", c.marked, took, c.want)
		}
		cancel()
	}
	begun := time.Now()
	(&registration{}).notice(t.Context())
	if time.Since(begun) != 0 {
		t.Error("waits although nothing was marked")
	}
}
