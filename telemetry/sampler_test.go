package telemetry

import (
	"testing"
	"time"
)

func sampling(t *testing.T, cfg Config, env map[string]string) *sampler {
	t.Helper()
	e := readEnvironment(func(k string) string { return env[k] })
	if len(e.wrong) > 0 {
		t.Fatal(e.wrong)
	}
	return newSampler(cfg, e)
}

func TestAShareOfTheTracesIsChosenByTheirIDs(t *testing.T) {
	tenth, half := sampling(t, Config{PerSecond: -1}, nil), sampling(t, Config{Ratio: 0.5, PerSecond: -1}, nil)
	same := sampling(t, Config{PerSecond: -1}, nil)
	n, m := 0, 0
	for range 100_000 {
		id := newTraceID()
		a, b := tenth.chosen(id), half.chosen(id)
		if a != same.chosen(id) || a && !b {
			t.Fatal("it is not the id that decides")
		}
		if a {
			n++
		}
		if b {
			m++
		}
	}
	if n < 9_500 || n > 10_500 || m < 49_000 || m > 51_000 {
		t.Errorf("%d and %d of 100,000", n, m)
	}
}

func TestSamplersOfTheEnvironment(t *testing.T) {
	for _, test := range []struct {
		name, arg     string
		share         float64
		parents, late bool
	}{
		{"", "", DefaultRatio, true, true},
		{"", "0.25", 0.25, true, true},
		{"always_on", "", 1, false, true},
		{"always_off", "", 0, false, false},
		{"traceidratio", "0.5", 0.5, false, true},
		{"traceidratio", "", 1, false, true},
		{"parentbased_always_on", "", 1, true, true},
		{"parentbased_always_off", "", 0, true, false},
		{"parentbased_traceidratio", "0", 0, true, true},
	} {
		s := sampling(t, Config{PerSecond: -1}, map[string]string{"OTEL_TRACES_SAMPLER": test.name, "OTEL_TRACES_SAMPLER_ARG": test.arg})
		if got := float64(s.bound) / (1 << 63); got != test.share || s.parents != test.parents || s.late != test.late {
			t.Errorf("%q %q: %v %v %v", test.name, test.arg, got, s.parents, s.late)
		}
	}
}

func TestNewTracesAreBoundedInNumber(t *testing.T) {
	s := sampling(t, Config{Ratio: 1, PerSecond: 10}, nil)
	now := time.Unix(1_700_000_000, 0)
	count := func(take func() bool) (n int) {
		for range 1000 {
			if take() {
				n++
			}
		}
		return n
	}
	begin, end := func() bool { return s.begin(now, newTraceID()) }, func() bool { return s.end(now, keepError) }
	if a, b := count(begin), count(end); a != 10 || b != 10 {
		t.Errorf("at once: %d and %d", a, b)
	}
	if now = now.Add(300 * time.Millisecond); count(begin) != 3 {
		t.Error("after 0.3 s")
	}
	if now = now.Add(time.Hour); count(begin) != 10 {
		t.Error("more was saved up than for a second")
	}
}

// What anybody can cause does not take from what has gone wrong.
func TestMistakesOfCallersDoNotTakeFromFaults(t *testing.T) {
	s := sampling(t, Config{PerSecond: 100}, nil)
	now := time.Unix(1_700_000_000, 0)
	for _, want := range []struct {
		why reason
		n   int
	}{{keepMistake, 5}, {keepSlow, 100}, {keepRefused, 100}, {keepError, 100}} {
		n := 0
		for range 1000 {
			if s.end(now, want.why) {
				n++
			}
		}
		if n != want.n || s.refused[want.why].Load() != uint64(1000-n) {
			t.Errorf("%v: %d kept, %d counted as not kept; want %d kept", want.why, n, s.refused[want.why].Load(), want.n)
		}
	}
	n := 0
	for range 5000 {
		if s.join(now) {
			n++
		}
	}
	if n != 1000 || s.strange.Load() != 4000 {
		t.Errorf("%d of 5,000 kept that were chosen elsewhere, %d counted as not kept", n, s.strange.Load())
	}
}

func TestADisabledTelemetryIsNilAndWorks(t *testing.T) {
	o, err := Open(t.Context(), Config{Getenv: func(name string) string {
		return map[string]string{"OTEL_SDK_DISABLED": "TRUE"}[name]
	}})
	if o != nil || err != nil {
		t.Fatal(o, err)
	}
	_, s := o.TracerProvider().Tracer("x").Start(t.Context(), "y")
	s.End()
	if _, err := o.MeterProvider().Meter("x").Int64Counter("y"); err != nil {
		t.Error(err)
	}
	o.Propagators().Fields()
	if err := o.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}
