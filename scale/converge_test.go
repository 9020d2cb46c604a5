package scale_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast-go/holdfast/scale"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

// fleet is a service in a queueing model: calls arrive at a rate, each instance handles so many at once, each takes so long, and
// what does not fit waits. New instances need a while to start.
type fleet struct {
	*service
	rate     func(at time.Duration) float64 // calls a second
	takes    time.Duration                  // one call
	handles  float64                        // calls at once, by one instance
	startup  time.Duration
	waiting  float64
	starting []time.Time // when those that are being started will serve
	most     float64     // that waited
}

// tick is one interval of the model, and one decision.
func (f *fleet) tick(at time.Duration) {
	still := f.starting[:0]
	for _, then := range f.starting {
		if f.now.Before(then) {
			still = append(still, then)
		}
	}
	f.Ready += len(f.starting) - len(still)
	f.starting = still
	f.Starting = len(still)
	// Little's law: so many are in flight if all fit. What arrives beyond the capacity waits.
	rate, capacity := f.rate(at), float64(f.Ready)*f.handles/f.takes.Seconds()
	f.waiting = max(0, f.waiting+(rate-capacity)*tick.Seconds())
	f.most = max(f.most, f.waiting)
	handled := min(rate*f.takes.Seconds()+f.waiting, float64(f.Ready)*f.handles)
	f.total(handled + f.waiting)
	n := f.step()
	switch {
	case n > f.Wanted:
		for range n - f.Wanted {
			f.starting = append(f.starting, f.now.Add(f.startup))
		}
		f.Starting = len(f.starting)
	case n < f.Wanted:
		f.Ready = n
	default:
		return
	}
	f.Wanted = n
	f.changes = append(f.changes, n)
}

func (f *fleet) reversals() (n int) {
	for i := 2; i < len(f.changes); i++ {
		if (f.changes[i] > f.changes[i-1]) != (f.changes[i-1] > f.changes[i-2]) {
			n++
		}
	}
	return n
}

// fourfold is a load that becomes four times as large within ten seconds, stays so for a minute and a half, and goes.
func fourfold(base float64) func(time.Duration) float64 {
	return func(at time.Duration) float64 {
		switch {
		case at < 10*time.Second:
			return base
		case at < 20*time.Second:
			return base * (1 + 3*(at-10*time.Second).Seconds()/10)
		case at < 110*time.Second:
			return base * 4
		}
		return base
	}
}

// TestFourfoldLoad: whatever an instance can do and however long it takes to start, up to some seconds, there is soon room for
// four times the load, what waited meanwhile is worked off, and once the load has gone the service is back at its minimum, with
// one way up and one way down.
func TestFourfoldLoad(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		handles := rapid.Float64Range(2, 50).Draw(t, "handles")
		takes := time.Duration(rapid.IntRange(5, 500).Draw(t, "takes ms")) * time.Millisecond
		target := handles * rapid.Float64Range(0.5, 0.8).Draw(t, "target share")
		least := rapid.IntRange(2, 4).Draw(t, "min")
		base := float64(least) * target * rapid.Float64Range(0.3, 0.95).Draw(t, "base share") / takes.Seconds()
		f := &fleet{
			service: newService(t, inFlight(least, 8*least, target), least),
			rate:    fourfold(base), takes: takes, handles: handles,
			startup: time.Duration(rapid.IntRange(0, 5000).Draw(t, "startup ms")) * time.Millisecond,
		}
		enough := time.Duration(0) // since when nothing waits
		for at := time.Duration(0); at < 6*time.Minute; at += tick {
			f.tick(at)
			if f.waiting > 0 && at < 110*time.Second {
				enough = at
			}
		}
		if enough > 60*time.Second {
			t.Fatalf("calls waited until %s: %v", enough, f.changes)
		}
		if f.Wanted != least || f.reversals() > 1 {
			t.Fatalf("came to %d, by %v", f.Wanted, f.changes)
		}
	})
}

// TestTranscript is a fourfold load as it is told: testdata/fourfold.txt.
func TestTranscript(t *testing.T) {
	f := &fleet{
		service: newService(t, inFlight(2, 8, 10), 2), rate: fourfold(150), takes: 100 * time.Millisecond, handles: 16, startup: time.Second,
	}
	var out strings.Builder
	fmt.Fprintln(&out, "min 2, max 8, in-flight 10; an instance handles 16 calls at once, each takes 100 ms; one is started in 1 s")
	fmt.Fprintln(&out, "   time  calls/s  in flight  wanted  ready  asked for  decision")
	before := ""
	for at := time.Duration(0); at < 4*time.Minute; at += tick {
		was := f.Wanted
		f.tick(at)
		row := fmt.Sprintf("%6d  %5d  %9d", was, f.Ready, f.last.Wish)
		held := string(f.last.Held)
		if f.last.Replicas != was {
			held = fmt.Sprintf("%d → %d: %s", was, f.last.Replicas, f.last.Why)
		}
		if line := row + held; line != before { // the first of those that are alike
			fmt.Fprintf(&out, "%6.1fs  %7.0f  %9.0f  %s  %s\n", at.Seconds(), f.rate(at), f.Readings[0].Sum, row, held)
			before = line
		}
	}
	const file = "testdata/fourfold.txt"
	if *update {
		if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if out.String() != string(want) {
		t.Errorf("%s differs (-update rewrites it); got:\n%s", file, out.String())
	}
}

func TestValidate(t *testing.T) {
	for want, change := range map[string]func(*scale.Policy){
		"min 0 is not at least 1":        func(p *scale.Policy) { p.Min = 0 },
		"max 1 is below min 2":           func(p *scale.Policy) { p.Max = 1 },
		"there is no target":             func(p *scale.Policy) { p.Targets = nil },
		"a window is negative":           func(p *scale.Policy) { p.UpAfter = -1 },
		"tolerance 1 is not":             func(p *scale.Policy) { p.Tolerance = 1 },
		"max-up 1 is not":                func(p *scale.Policy) { p.MaxUp = 1 },
		"in-flight: the target 0 is not": func(p *scale.Policy) { p.Targets[0].Value = 0 },
		"limiter: the target 2 is not":   func(p *scale.Policy) { p.Targets[0] = scale.Target{Metric: scale.Limiter, Value: 2} },
		"lag: there is no topic":         func(p *scale.Policy) { p.Targets[0] = scale.Target{Metric: scale.Lag, Value: 2} },
		"custom: there is no path":       func(p *scale.Policy) { p.Targets[0] = scale.Target{Metric: scale.Custom, Value: 2, Path: "x"} },
		`the metric "moon" is unknown`:   func(p *scale.Policy) { p.Targets[0] = scale.Target{Metric: "moon", Value: 2} },
	} {
		p := inFlight(2, 8, 20)
		if err := p.Validate(); err != nil {
			t.Fatal(err)
		}
		change(&p)
		if err := p.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
