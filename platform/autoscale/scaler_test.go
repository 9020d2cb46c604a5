package autoscale

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/platform/control"
	"github.com/holdfast-go/holdfast/scale"
)

func TestFollowsTheLoad(t *testing.T) {
	run(t, policy, func(_ *Scaler, f *fake) {
		pass(10 * time.Second)
		f.change(func(f *fake) { f.load = 140 })
		pass(20 * time.Second)
		f.wantSteps(t, "2 → 4: in-flight 70 per instance, target 20", "4 → 7: in-flight 35 per instance, target 20")
		f.change(func(f *fake) { f.load = 0 })
		pass(3 * time.Minute)
		f.change(func(f *fake) { f.steps = f.steps[2:] })
		f.wantSteps(t, "7 → 4: in-flight 0 per instance, target 20", "4 → 2: in-flight 0 per instance, target 20")
		f.wantTold(t)
	})
}

// TestAFrozenInstanceIsMissing: its load falls upon the others, so another one is started, and none is taken away while it is
// not back.
func TestAFrozenInstanceIsMissing(t *testing.T) {
	run(t, policy, func(_ *Scaler, f *fake) {
		f.change(func(f *fake) { f.load = 36 })
		f.set("web-2", "frozen")
		pass(5 * time.Second)
		f.wantSteps(t, "2 → 3: in-flight 36 per instance, target 20")
		f.change(func(f *fake) { f.load = 0 })
		pass(10 * time.Minute)
		f.wantSteps(t, "2 → 3: in-flight 36 per instance, target 20")
		f.set("web-2", ready)
		pass(2 * time.Minute)
		if n := f.Replicas("web"); n != 2 {
			t.Errorf("%d after it came back, want 2", n)
		}
	})
}

// TestTheSecondThatIsLostIsMadeUpFor: what was started in place of the first one is as good as that, once it has served for long
// enough, and not before.
func TestTheSecondThatIsLostIsMadeUpFor(t *testing.T) {
	for served, want := range map[time.Duration]int{10 * time.Second: 5, time.Minute: 6} {
		run(t, policy, func(_ *Scaler, f *fake) {
			f.change(func(f *fake) { f.load = 80 })
			pass(time.Minute)
			f.set("web-1", "frozen")
			pass(5*time.Second + served)
			f.set("web-5", "frozen")
			pass(time.Minute)
			if n := f.Replicas("web"); n != want {
				t.Errorf("%d when it had served for %s, want %d: %q", n, served, want, f.steps)
			}
		})
	}
}

func TestWhoWasLost(t *testing.T) {
	var s served
	now := time.Now()
	look := func(after time.Duration, want int, states ...string) {
		t.Helper()
		now = now.Add(after)
		instances := []control.Instance{{Service: "other", ID: "other-1", State: "frozen"}}
		for n, state := range states {
			if state != "" {
				instances = append(instances, control.Instance{Service: "web", ID: fmt.Sprintf("web-%d", n+1), State: state})
			}
		}
		if got := s.lost(now, "web", instances); got != want {
			t.Errorf("%d of %q are lost, want %d", got, states, want)
		}
	}
	look(0, 1, ready, "frozen") // taken for granted
	look(time.Second, 1, ready, "frozen", starting)
	look(time.Second, 1, ready, "frozen", ready)
	look(10*time.Second, 1, ready, "frozen", "backoff") // it did not serve for long enough
	look(10*time.Second, 1, ready, "frozen", ready)
	look(10*time.Second, 1, ready, "frozen", ready)
	look(time.Minute, 1, ready, "frozen", ready) // nobody looked for a while
	look(time.Second, 1, ready, "frozen", "backoff")
	for range 4 {
		look(10*time.Second, 1, ready, "frozen", ready)
	}
	look(time.Second, 2, ready, "frozen", "backoff")
	look(time.Second, 2, ready, "frozen", starting)
	look(time.Second, 1, ready, "frozen", draining)
	look(time.Second, 1, ready, "frozen", starting) // another one of that name
	look(time.Second, 0, ready)
	look(time.Second, 0, ready, "backoff")
}

func TestSilenceIsNotIdleness(t *testing.T) {
	p := policy
	p.Min = 1
	run(t, p, func(_ *Scaler, f *fake) {
		f.change(func(f *fake) { f.silent = true })
		pass(time.Hour)
		f.wantSteps(t)
		f.wantTold(t, "web is not scaled down while this is not known: in-flight of web-1, web-2")
	})
}

// TestWhatAPidBeforeSaidDoesNotCount: a process that was just started has not said anything, whatever the one before it said.
func TestWhatAPidBeforeSaidDoesNotCount(t *testing.T) {
	v := view{now: time.Now(), kernel: unknowing()}
	f := &fake{load: 10}
	f.instances = append(f.instances, instance("web-1", 7))
	v.instances, v.stats = f.Instances(), f.Stats().Instances
	svc := &service{name: "web", policy: policy}
	if x, silent := sample(svc, 1, v, make([]poll, 1)); x.Readings[0].Sum != 10 || len(silent) != 0 {
		t.Errorf("%+v, %v", x, silent)
	}
	v.instances[0].PID = 8
	if x, silent := sample(svc, 1, v, make([]poll, 1)); x.Readings[0].Of != 0 || len(silent) != 1 {
		t.Errorf("%+v, %v", x, silent)
	}
	v.instances[0].PID, v.now = 7, v.now.Add(fresh+time.Minute)
	if x, silent := sample(svc, 1, v, make([]poll, 1)); x.Readings[0].Of != 0 || len(silent) != 1 {
		t.Errorf("%+v, %v", x, silent)
	}
}

func TestLoadThatReturnsDoesNotWaitForADrain(t *testing.T) {
	run(t, policy, func(_ *Scaler, f *fake) {
		f.change(func(f *fake) { f.wanted, f.drain = 2, time.Hour; f.load = 70 })
		pass(10 * time.Second)
		f.change(func(f *fake) { f.load = 0 })
		pass(62 * time.Second)
		f.change(func(f *fake) { f.load = 70 })
		pass(10 * time.Second)
		f.wantSteps(t, "2 → 4: in-flight 35 per instance, target 20", "4 → 2: in-flight 0 per instance, target 20", "2 → 4: in-flight 35 per instance, target 20")
	})
}

// TestAStepThatFailedIsNotRepeatedAtOnce: more of what crashes helps nobody.
func TestAStepThatFailedIsNotRepeatedAtOnce(t *testing.T) {
	run(t, policy, func(_ *Scaler, f *fake) {
		f.change(func(f *fake) { f.load, f.crash = 200, true })
		pass(10 * time.Second)
		f.wantSteps(t, "2 → 4: in-flight 100 per instance, target 20")
		f.wantTold(t, "web could not be scaled 2 → 4: web-3 keeps crashing; no further step up for 10s")
		pass(10 * time.Minute)
		f.change(func(f *fake) {
			if len(f.steps) != 2 || f.wanted != 8 {
				t.Errorf("steps %q", f.steps)
			}
		})
	})
}

func TestThisMachineIsFull(t *testing.T) {
	run(t, policy, func(_ *Scaler, f *fake) {
		f.change(func(f *fake) { f.load, f.cpu = 200, 1.95 })
		pass(time.Minute)
		f.wantSteps(t)
		f.wantTold(t, "web stays at 2, although 10 are asked for (in-flight 100 per instance, target 20): this machine's processors, 2, are all in use")
	})
}

func TestCPUIsARate(t *testing.T) {
	p := policy
	p.Targets = []scale.Target{{Metric: scale.CPU, Value: 0.5}}
	run(t, p, func(s *Scaler, f *fake) {
		f.change(func(f *fake) { f.cpu = 1.4 })
		pass(5 * time.Second)
		st, _ := s.Status("web")
		if st.Waits != "" {
			t.Errorf("waits although it was done: %+v", st)
		}
		if st.Wish != 3 || st.Why != "0.7 processors per instance, target 0.5" {
			t.Errorf("%+v", st)
		}
	})
}

// TestByHand: whoever sets a number is not overruled, until the service is given back.
func TestByHand(t *testing.T) {
	run(t, policy, func(s *Scaler, f *fake) {
		if !s.Pause("web", "set to 5 by hand") || s.Pause("web", "set to 5 by hand") {
			t.Error("Pause does not tell the first from others")
		}
		f.change(func(f *fake) { f.load = 200 })
		pass(time.Hour)
		f.wantSteps(t)
		if st, ok := s.Status("web"); !ok || st.Paused != "set to 5 by hand" {
			t.Errorf("%+v", st)
		}
		if err := s.Resume("web"); err != nil {
			t.Error(err)
		}
		pass(4 * time.Second)
		f.wantSteps(t, "2 → 4: in-flight 100 per instance, target 20")
	})
}

func TestAHoldEndsTheStepThatIsUnderWay(t *testing.T) {
	run(t, policy, func(s *Scaler, f *fake) {
		f.change(func(f *fake) { f.load, f.startup = 200, time.Hour })
		pass(5 * time.Second)
		f.change(func(f *fake) {
			if !f.busy {
				t.Error("no step is under way")
			}
		})
		release := s.Hold("web", "a drill holds it")
		f.change(func(f *fake) {
			if f.busy {
				t.Error("the step is still under way")
			}
		})
		other := s.Hold("web", "another")
		release()
		release()
		pass(time.Minute)
		f.wantSteps(t, "2 → 4: in-flight 100 per instance, target 20")
		other()
	})
}

func TestNilScalesNothing(t *testing.T) {
	var s *Scaler
	s.Hold("web", "")()
	if s.Pause("web", "") {
		t.Error("paused")
	}
	if _, ok := s.Status("web"); ok {
		t.Error("a status")
	}
	if failure.CodeOf(s.Resume("web")) != failure.FailedPrecondition {
		t.Error("resumed")
	}
}

func TestNewChecksPolicies(t *testing.T) {
	_, err := New(Config{Policies: map[string]scale.Policy{"web": {Min: 3, Max: 2}}})
	if failure.CodeOf(err) != failure.InvalidArgument || !strings.Contains(err.Error(), "max 2 is below min 3") {
		t.Errorf("%v", err)
	}
}
