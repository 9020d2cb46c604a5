package balance

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// busy is n calls that found so many others in the server, and took d.
func busy(l *Load, now time.Time, n, inFlight int, d time.Duration) {
	for range n {
		l.Start()
		l.Done(now, now.Add(-d), inFlight, true)
	}
}

func TestLoadReportsWhatCallsTookThatFoundAsManyOthers(t *testing.T) {
	l := new(Load)
	now := epoch
	if got := l.Report(now); got != (Report{}) {
		t.Errorf("nothing has happened: %v", got)
	}
	busy(l, now, 10, 0, 10*time.Millisecond)
	busy(l, now, 10, 20, 200*time.Millisecond)
	for _, tt := range []struct {
		inFlight int
		want     time.Duration
	}{
		{0, 10 * time.Millisecond},
		{2, 10 * time.Millisecond},
		{20, 200 * time.Millisecond},
		{21, 200 * time.Millisecond},
		{300, 1433 * time.Millisecond}, // in proportion: nobody has come out of such a crowd
	} {
		for range tt.inFlight {
			l.Start()
		}
		got := l.Report(now)
		if got.InFlight != tt.inFlight || got.Latency.Round(time.Millisecond) != tt.want {
			t.Errorf("%d in flight: %v, want %v", tt.inFlight, got, tt.want)
		}
		for range tt.inFlight {
			l.Done(now, now, 0, false)
		}
	}
	if got := l.Report(now.Add(remembered + time.Second)); got.Latency != 0 {
		t.Errorf("long after: %v", got)
	}
}

func TestLoadSaysWhenNothingComesOut(t *testing.T) {
	l := new(Load)
	l.Report(epoch)
	busy(l, epoch, 10, 0, 10*time.Millisecond)
	l.Start()
	if got := l.Report(epoch.Add(2 * time.Second)); got.Latency != 2*time.Second {
		t.Errorf("frozen for 2 s: %v", got)
	}
}

func TestLoadThatIsVeryFastIsKnown(t *testing.T) {
	l := new(Load)
	l.Report(epoch)
	busy(l, epoch, 10, 0, 0)
	if r, ok := ParseReport(l.Report(epoch).String()); !ok || r.Latency != time.Microsecond {
		t.Errorf("%v, %v", r, ok)
	}
}

func TestLoadOfShedAndUnaskedCallsIsNotKept(t *testing.T) {
	l := new(Load)
	busy(l, epoch, 10, 0, time.Millisecond)
	if got := l.Report(epoch); got.Latency != 0 {
		t.Errorf("nobody had asked: %v", got)
	}
	l.Start()
	l.Done(epoch, epoch.Add(-time.Microsecond), 0, false)
	if got := l.Report(epoch); got != (Report{}) {
		t.Errorf("a call that was shed: %v", got)
	}
}

// Levels are in order, leave no number out, and are no wider than an eighth.
func TestLoadLevels(t *testing.T) {
	last := -1
	for n := range 1 << 16 {
		at := levelOf(n)
		if at != last && at != last+1 {
			t.Fatalf("%d is in level %d, after %d", n, at, last)
		}
		last = at
		if low := lowest(at); low > n || n-low > n/8 {
			t.Fatalf("%d is in level %d, which begins at %d", n, at, low)
		}
	}
	if got := levelOf(math.MaxInt); got >= levels {
		t.Errorf("level %d of %d", got, levels)
	}
}

func FuzzParseReport(f *testing.F) {
	for _, s := range []string{"0,0", "3,1500", "", ",", "1", "-1,2", "1,2,3", " 1,2", "99999999999,1", "1,99999999999999999999", "٣,1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, ok := ParseReport(s)
		if !ok {
			if r != (Report{}) {
				t.Errorf("%q: %v", s, r)
			}
			return
		}
		if r.InFlight < 0 || r.Latency < 0 {
			t.Errorf("%q: %v", s, r)
		}
		if again, ok := ParseReport(r.String()); !ok || again != r {
			t.Errorf("%q: %v, then %v, %v", s, r, again, ok)
		}
	})
}

// The pool never holds more than it should, of no node twice, and its quantile is that of what it saw.
func TestPool(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		_, v := in(Config{Policy: HCL}, rapid.IntRange(2, 120).Draw(t, "nodes"))
		g := v.plan(epoch).all
		p := new(pool)
		now := epoch
		var last []int
		for range rapid.IntRange(1, 300).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 20).Draw(t, "ms")) * time.Millisecond)
			if rapid.Bool().Draw(t, "add") {
				rif := rapid.IntRange(0, 50).Draw(t, "rif")
				last = append(last, rif)
				p.add(v.nodes[rapid.IntRange(0, len(v.nodes)-1).Draw(t, "node")], now, Report{rif, time.Millisecond}, len(v.nodes), 3, 1)
			} else {
				p.pick(v.plan(epoch), g, &Call{Now: now}, 1)
			}
			if p.n > poolSize(len(v.nodes)) {
				t.Fatalf("%d entries", p.n)
			}
			seenNodes := map[*Node]bool{}
			for _, e := range p.entries[:p.n] {
				if seenNodes[e.node] {
					t.Fatal("two entries of one node")
				}
				seenNodes[e.node] = true
			}
			below := 0
			lately := last[max(len(last)-seen, 0):]
			for _, rif := range lately {
				if rif <= p.threshold() {
					below++
				}
			}
			if len(lately) > 0 && float64(below) < hot*float64(len(lately)-1) {
				t.Fatalf("%d of %d are not above %d", below, len(lately), p.threshold())
			}
		}
	})
}

// Cold before hot, among the cold the faster, among the hot the less busy.
func TestHCLChooses(t *testing.T) {
	b, v := in(Config{Policy: HCL}, 24) // a pool of 4
	rnd := rand.New(rand.NewPCG(1, 2))
	for range seen {
		b.pool.saw(int32(rnd.IntN(10)))
	}
	for _, tt := range []struct {
		name    string
		reports []Report
		want    int
	}{
		{"the fastest of the cold", []Report{{1, 9e6}, {2, 5e6}, {50, 1e6}, {0, 7e6}}, 1},
		{"the only cold one", []Report{{50, 1e6}, {40, 1e6}, {60, 1e6}, {0, 1e9}}, 3},
		{"the least busy of the hot", []Report{{50, 1e6}, {40, 9e6}, {60, 1e6}, {70, 1e6}}, 1},
		{"one that does not know how fast it is, not before those that do", []Report{{1, 0}, {1, 2e6}, {1, 9e6}, {1, 9e6}}, 1},
	} {
		b.pool.n = 0
		for i, r := range tt.reports {
			b.Probed(v.nodes[i], epoch, r)
		}
		if got := v.Pick(Call{Now: epoch, Rand: 1}); got != tt.want {
			t.Errorf("%s: picked %d, want %d", tt.name, got, tt.want)
		}
	}
	b.pool.n = 0
	b.Probed(v.nodes[3], epoch, Report{})
	if got := b.pool.pick(v.plan(epoch), v.plan(epoch).all, &Call{Now: epoch}, 1); got != -1 {
		t.Errorf("one answer is enough to pick %d", got)
	}
	b.Probed(v.nodes[4], epoch, Report{})
	if got := b.pool.pick(v.plan(epoch), v.plan(epoch).all, &Call{Now: epoch.Add(2 * time.Second)}, 1); got != -1 {
		t.Errorf("old answers are enough to pick %d", got)
	}
}

func TestALoadCounts(t *testing.T) {
	var l Load
	var now time.Time
	for range 3 {
		l.Start()
	}
	l.Done(now, now, 0, true)
	l.Done(now, now, 1, false)
	if in, ended := l.Counts(); in != 1 || ended != 2 {
		t.Errorf("%d in flight, %d ended", in, ended)
	}
	if before := l.Start(); before != 1 {
		t.Errorf("%d before it", before)
	}
}
