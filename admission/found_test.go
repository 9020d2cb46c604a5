package admission

import (
	"testing"
	"time"
)

// TestFoundIsWhatWasFound: not what is never exceeded while there is no limit, not what a probe lets in, and not what a limit is
// raised to since it turns nobody away.
func TestFoundIsWhatWasFound(t *testing.T) {
	t.Parallel()
	w := twenty()
	w.rate, w.length = step(500, 2000, 850, 2*time.Second, 15*time.Second), 30*time.Second
	var probed, raised, dropped bool
	w.trace = func(at time.Duration, w *world) {
		s, phase := w.core.snapshot(), w.core.limiter.phase
		if phase == open {
			dropped = at > 15*time.Second
			if s.Found != 0 || s.Limit != DefaultMaxLimit {
				t.Errorf("%v, no limit: %+v", at, s)
			}
			return
		}
		if at < 3*time.Second { // the first one is being looked for
			return
		}
		if s.Found < 15 || s.Found > 60 {
			t.Errorf("%v, %v, of 20 workers: %+v", at, phase, s)
		}
		probed = probed || s.Limit < s.Found
		raised = raised || 2*s.Limit > 3*s.Found
	}
	w.run(1)
	if !probed || !raised || !dropped {
		t.Errorf("not all was seen: probed %t, raised %t, dropped %t", probed, raised, dropped)
	}
}

func TestFoundIsWithinWhatIsConfigured(t *testing.T) {
	t.Parallel()
	w := twenty()
	w.rate, w.length = constant(2000), 5*time.Second
	w.run(1)
	if s := w.core.snapshot(); s.Found < 15 {
		t.Fatalf("none was found: %+v", s)
	}
	w.core.configure(w.now, Config{MaxLimit: 10})
	if s := w.core.snapshot(); s.Found != 10 {
		t.Errorf("%+v", s)
	}
}

func TestNothingIsFoundByWhatIsOff(t *testing.T) {
	c := New(Config{})
	c.core.limiter.found(0, 20)
	if s := c.Stats(); s.Found != 20 || s.Limit != 20 {
		t.Errorf("%+v", s)
	}
	c.Configure(Config{Off: true})
	if s := c.Stats(); s.Found != 0 {
		t.Errorf("switched off: %+v", s)
	}
}
