package rest

import (
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/resilience"
)

// A process that was frozen does not blame others for it: what ran out meanwhile has a moment more for an answer that has
// come, but not beyond its call, and not twice.
func TestAnAttemptIsSparedAfterAPause(t *testing.T) {
	start := time.Now()
	for _, tt := range []struct {
		name               string
		until, call, rings time.Duration
		spared             time.Duration // until, from the start; 0: it is not
	}{
		{"paused", 100 * time.Millisecond, 10 * time.Second, time.Second, time.Second + resilience.Spared},
		{"paused until shortly before the end", 100 * time.Millisecond, 1100 * time.Millisecond, time.Second, 1100 * time.Millisecond},
		{"paused beyond the end", 100 * time.Millisecond, 900 * time.Millisecond, time.Second, 0},
		{"the only attempt", 10 * time.Second, 10 * time.Second, 11 * time.Second, 0},
		{"a little late", 100 * time.Millisecond, 10 * time.Second, 300 * time.Millisecond, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := &attempt{trip: &trip{deadline: start.Add(tt.call)}, until: start.Add(tt.until)}
			if got := a.spare(start.Add(tt.rings)); got != (tt.spared > 0) {
				t.Fatalf("spared: %v", got)
			}
			if tt.spared > 0 && !a.until.Equal(start.Add(tt.spared)) {
				t.Errorf("until %v, want %v", a.until.Sub(start), tt.spared)
			}
			if tt.spared > 0 && a.spare(a.until.Add(time.Second)) {
				t.Error("spared twice")
			}
		})
	}
}
