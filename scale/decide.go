package scale

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

const (
	// startWait is how long a step waits for instances that were started before it. One that does not serve by then is
	// missing.
	startWait = 30 * time.Second
	// gap is the longest time between two samples over which a window goes on, unless UpAfter is longer.
	gap = 15 * time.Second
)

// Proof is how long an instance that was added has to serve, without a break, until it is made up for when it is missing.
const Proof = 30 * time.Second

// Sample is what is known of a service at one time.
type Sample struct {
	// Wanted is how many instances there should be by now, as it was last set, by whomever.
	Wanted int
	// Ready of them serve; Starting are on the way to it. All others are missing: frozen, crashed, cut off.
	Ready, Starting int
	// Lost is how many of those that do not serve have once served for Proof, whether they are being started again or not. 0 also
	// says that this is not known: how many have served at once counts in any case. That alone misses those that are lost after
	// others were made up for, since numbers do not tell who it is that serves.
	Lost int
	// Readings are of the targets of the policy, in their order. One that is not there is not known.
	Readings []Reading
	// Full says that what all instances share, such as the processors of one machine, has nothing left.
	Full bool
}

// Missing is how many instances should be there and neither serve nor are being started.
func (x Sample) Missing() int { return max(0, x.Wanted-x.Ready-x.Starting) }

// Reading is what is known of one metric. The zero value is nothing.
type Reading struct {
	// Sum is over all instances that said something, and Of is how many these are.
	Sum float64
	Of  int
	// Whole says that Sum is of the service as a whole, whoever serves; then Of does not count.
	Whole bool
}

// known is how many of ready instances the reading is of.
func (r Reading) known(ready int) int {
	switch {
	case math.IsNaN(r.Sum) || math.IsInf(r.Sum, 0) || r.Sum < 0:
		return 0
	case r.Whole:
		return ready
	}
	return min(max(r.Of, 0), ready)
}

// Held says why there are not as many instances as the metrics ask for.
type Held string

// Why a Decision is not what the metrics ask for.
const (
	Free     Held = ""         // it is
	Window   Held = "window"   // they have not asked for it for long enough
	Step     Held = "step"     // it is further than one step goes; the next one follows
	Starting Held = "starting" // more than there are were asked for before, and they do not serve yet
	Missing  Held = "missing"  // fewer are asked for, and some are not there
	Unknown  Held = "unknown"  // fewer are asked for, and not all have said how they are; or none has
	Down     Held = "down"     // none serves
	Full     Held = "full"     // more are asked for, and what they share is used up
	AtMax    Held = "max"      // more are asked for than Max
	AtMin    Held = "min"      // fewer are asked for than Min
)

// Decision is how many instances there should be.
type Decision struct {
	// Replicas is from Min to Max. If it is not the sample's Wanted, set it.
	Replicas int
	// Wish is how many the metrics of this sample ask for, with those on top that have served and are missing, whatever the
	// bounds; 0 if nothing is known.
	Wish int
	// Why names the metric that asked for most, in words: "in-flight 45 per instance, target 20". It is empty when nothing
	// is known.
	Why string
	// Held is why Replicas is not Wish.
	Held Held
}

// State is what Decide remembers of one service. The zero value is one of which nothing is known yet. It is a value: Decide
// returns the next and leaves the old one as it was. Its size is bounded by Max.
type State struct {
	wanted   int       // of the sample before
	at       time.Time // of the sample before
	starting time.Time // since when some are being started, again and again maybe, and not all serve; zero if that is not so
	started  time.Time // when one was last being started
	// proven is how many have served at once, for long enough; 0 if nothing is known yet. Those beyond it were added and have
	// never done so: they are not made up for, or each that crashes would ask for one more that crashes.
	proven int
	ready  window // of how many serve
	// Invariant: the windows hold wishes since the last change, the last gap and, for growing, since all that was started
	// serves.
	up, down window
}

// Decide returns how many instances the service should have by now, and what to remember for the next time. Call it for
// every sample, in the order of time; two per UpAfter or more. It returns the same decision again while the sample still has
// the old number in Wanted, and begins its windows anew when that changes, whoever changed it. The policy has to be valid.
func Decide(p Policy, s State, now time.Time, x Sample) (Decision, State) {
	p = p.Resolved()
	if n := min(max(x.Wanted, p.Min), p.Max); n != x.Wanted { // somebody else's doing
		return Decision{Replicas: n, Why: fmt.Sprintf("there are to be %d to %d", p.Min, p.Max)}, State{wanted: x.Wanted, at: now, proven: s.prove(now, x).proven}
	}
	s = s.follow(p, now, x)
	if !s.starting.IsZero() && now.Sub(s.starting) >= startWait {
		x.Starting = 0 // missing, by now
	}
	wish, why, known := ask(p, x, max(0, s.proven-x.Ready-x.Starting, min(x.Lost, x.Missing())))
	d := Decision{Replicas: x.Wanted, Wish: wish, Why: why}
	s.remember(p, now, x, min(wish, p.Max), known)
	switch {
	case x.Ready == 0:
		d.Held = Down
	case wish == 0:
		d.Held = Unknown
	case wish > x.Wanted:
		d.Replicas, d.Held = s.grow(p, now, x, wish)
	case wish < x.Wanted:
		d.Replicas, d.Held = s.shrink(p, now, x, wish, known)
	}
	return d, s
}

// follow begins the windows anew where what they hold says nothing about now.
func (s State) follow(p Policy, now time.Time, x Sample) State {
	switch since := now.Sub(s.at); {
	case since < 0 || since > max(gap, p.UpAfter):
		s = State{wanted: s.wanted, starting: s.starting, started: s.started, proven: s.proven}
	case s.wanted != x.Wanted:
		s = State{wanted: s.wanted, starting: s.starting, started: s.started, proven: s.proven, ready: s.ready}
	}
	s = s.prove(now, x)
	s = s.awaits(p, now, x)
	s.wanted, s.at = x.Wanted, now
	return s
}

// awaits keeps since when those that are being started are waited for. What crashes on the way, and is started again after a
// while, is not waited for anew each time: that would never be over.
func (s State) awaits(p Policy, now time.Time, x Sample) State {
	if x.Starting > 0 {
		s.started = now
	}
	switch {
	case x.Starting == 0 && (x.Ready >= x.Wanted || now.Sub(s.started) > max(startWait, p.UpAfter)):
		s.starting = time.Time{}
	case s.wanted != x.Wanted, s.starting.After(now):
		s.starting = time.Time{}
	}
	if x.Starting > 0 && s.starting.IsZero() {
		s.starting = now
	}
	return s
}

// prove keeps how many have served. Of those that are there at first it is taken for granted.
func (s State) prove(now time.Time, x Sample) State {
	s.ready = s.ready.lowest(now, Proof, x.Ready)
	if n, ok := s.ready.full(now, Proof); ok {
		s.proven = max(s.proven, n)
	}
	if s.proven == 0 || s.proven > x.Wanted {
		s.proven = x.Wanted
	}
	return s
}

// remember adds a wish to the windows; 0 is none.
func (s *State) remember(p Policy, now time.Time, x Sample, wish int, known bool) {
	if known && x.Ready >= x.Wanted {
		s.down = s.down.highest(now, p.DownAfter, wish)
	} else {
		s.down = s.down.highest(now, p.DownAfter, max(wish, x.Wanted))
	}
	switch {
	case x.Starting > 0:
		s.up = window{} // how much they will take off the others is not known
	case wish == 0:
		s.up = s.up.lowest(now, p.UpAfter, x.Wanted)
	default:
		s.up = s.up.lowest(now, p.UpAfter, wish)
	}
}

// grow is for a wish above what there should be.
func (s State) grow(p Policy, now time.Time, x Sample, wish int) (int, Held) {
	n, ok := s.up.full(now, p.UpAfter)
	switch {
	case x.Wanted == p.Max:
		return x.Wanted, AtMax
	case x.Starting > 0:
		return x.Wanted, Starting
	case !ok || n <= x.Wanted:
		return x.Wanted, Window
	case x.Full:
		return x.Wanted, Full
	}
	step := max(x.Wanted+1, int(math.Ceil(min(float64(x.Wanted)*p.MaxUp, most))))
	n = min(n, step, p.Max)
	switch {
	case n == wish:
		return n, Free
	case n == p.Max:
		return n, AtMax
	case n == step:
		return n, Step
	}
	return n, Window
}

// shrink is for a wish below what there should be.
func (s State) shrink(p Policy, now time.Time, x Sample, wish int, known bool) (int, Held) {
	n, ok := s.down.full(now, p.DownAfter)
	switch {
	case x.Wanted == p.Min:
		return x.Wanted, AtMin
	case x.Ready < x.Wanted:
		return x.Wanted, Missing
	case !known:
		return x.Wanted, Unknown
	case !ok || n >= x.Wanted:
		return x.Wanted, Window
	}
	step := (x.Wanted + 1) / 2
	n = max(n, step, p.Min)
	switch {
	case n == wish:
		return n, Free
	case n == p.Min:
		return n, AtMin
	case n == step:
		return n, Step
	}
	return n, Window
}

// most bounds a wish, so that a metric that is out of its mind stays a number.
const most = 1 << 20

// ask returns how many instances the metrics ask for, with those that have to be made up for on top, and by which of them;
// 0 if nothing is known or none serves. known says that all instances have said everything.
func ask(p Policy, x Sample, lost int) (wish int, why string, known bool) {
	if x.Ready <= 0 {
		return 0, "", false
	}
	known = true
	have := max(1, x.Wanted-x.Missing()) // that serve, or will
	for i, t := range p.Targets {
		var r Reading
		if i < len(x.Readings) {
			r = x.Readings[i]
		}
		of := r.known(x.Ready)
		known = known && of == x.Ready
		if of == 0 {
			continue
		}
		usage := r.Sum / t.Value // in instances
		need := int(math.Ceil(min(usage, most)))
		if math.Abs(usage/float64(have)-1) <= p.Tolerance {
			need = have
		}
		need = max(1, need)
		// Never more than as many again: whatever it is that they die of, more of them would die of it, too.
		if n := need + min(lost, need); n > wish {
			wish, why = n, t.words(r.Sum/float64(of))
		}
	}
	return wish, why, known
}

// words is a reading for people.
func (t Target) words(each float64) string {
	switch t.Metric {
	case Limiter:
		return fmt.Sprintf("%.0f %% of the limit in use, target %.0f %%", each*100, t.Value*100)
	case CPU:
		return fmt.Sprintf("%s processors per instance, target %s", number(each), number(t.Value))
	case Lag:
		return fmt.Sprintf("%s messages of %s wait per instance, target %s", number(each), t.Topic, number(t.Value))
	case Custom:
		return fmt.Sprintf("%s says %s per instance, target %s", t.Path, number(each), number(t.Value))
	case InFlight:
	}
	return fmt.Sprintf("%s %s per instance, target %s", t.Metric, number(each), number(t.Value))
}

// number is v with as many digits as people read.
func number(v float64) string {
	switch {
	case v >= 100:
		return strconv.FormatFloat(math.Round(v), 'f', -1, 64)
	case v >= 10:
		return strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64)
	}
	return strconv.FormatFloat(math.Round(v*100)/100, 'f', -1, 64)
}
