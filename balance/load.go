package balance

import (
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// How a client asks for a report, and where it comes back: in the metadata of gRPC and the headers of HTTP. A probe is a
// health check with the first.
const (
	HeaderLoadProbe = "x-load-probe" // "1"
	HeaderLoad      = "x-load"       // "<calls in flight>,<latency in µs>"
)

const (
	// asked is how long after a report latencies are kept. A server that nobody asks does not pay for them.
	asked = 10 * time.Second
	// remembered is the age from which a latency says nothing about the present.
	remembered = 5 * time.Second
	// kept is the number of latencies for each number of calls in flight, and sufficient the number that a median is
	// taken of.
	kept, sufficient = 8, 5
	// levels tell numbers of calls in flight apart: each up to 8, then eight for each power of two.
	levels = 8 + 8*21
)

// Load is what a server knows of its own load: the calls in it, and the latency that one more has to expect. It is the
// median of recent ones that found about as many calls in the server as there are now, since a server that has just become
// busy is not as fast as it was. The zero value is ready. Safe for concurrent use.
type Load struct {
	counts atomic.Uint64 // how many have ended, times underway, and how many are in flight
	last   atomic.Int64  // when it was asked last, in Unix nanoseconds

	mu    sync.Mutex
	level [levels]struct {
		took [kept]float32 // nanoseconds
		at   [kept]uint32  // ticks
		n    uint32
	}
	moved time.Time // when a call ended, or the first began
}

// underway is more than there can be in flight. What is above it in 64 bits lasts for years.
const underway = 1 << 20

// Start counts a call as in flight, and returns how many there were before it, which is for Done.
func (l *Load) Start() (inFlight int) { return int((l.counts.Add(1) - 1) % underway) }

// Counts returns how many calls are in flight, and how many have ended.
func (l *Load) Counts() (inFlight int, ended uint64) {
	n := l.counts.Load()
	return int(n % underway), n / underway
}

// Done ends a call that began at start, when Start returned inFlight. answered is false for calls that were shed, failed
// at once, or are streams: their duration is no latency.
func (l *Load) Done(now, start time.Time, inFlight int, answered bool) {
	l.counts.Add(underway - 1)
	if !answered || nanos(now)-l.last.Load() > int64(asked) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	v := &l.level[levelOf(inFlight)]
	v.took[v.n%kept], v.at[v.n%kept] = float32(max(now.Sub(start), 1)), ticks(now)
	v.n++
	l.moved = now
}

// Report returns the load as of now. Its latency is not known until calls have been answered after the first report.
func (l *Load) Report(now time.Time) Report {
	before := l.last.Swap(nanos(now))
	inFlight, _ := l.Counts()
	r := Report{InFlight: inFlight}
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.InFlight == 0 || nanos(now)-before > int64(asked) {
		l.moved = now
	}
	r.Latency = l.estimate(now, r.InFlight)
	// Nothing has come out for longer than that: what goes in now will not do so sooner.
	if r.Latency > 0 {
		r.Latency = max(r.Latency, now.Sub(l.moved), time.Microsecond) // less could not be told from nothing
	}
	return r
}

// estimate goes from the level of what is in flight to those around it, until it has enough for a median.
func (l *Load) estimate(now time.Time, inFlight int) time.Duration {
	var found [sufficient + 2*kept]float32
	n, at := 0, ticks(now)
	here := levelOf(inFlight)
	nearest := -1
	take := func(i int) {
		v := &l.level[i]
		for j := range min(v.n, kept) {
			if time.Duration(max(int32(at-v.at[j]), 0))*tick <= remembered {
				found[n] = v.took[j]
				n++
				if nearest < 0 {
					nearest = i
				}
			}
		}
	}
	for d := 0; d < levels && n < sufficient; d++ {
		if here+d < levels {
			take(here + d)
		}
		if d > 0 && here-d >= 0 {
			take(here - d)
		}
	}
	if n == 0 {
		return 0
	}
	slices.Sort(found[:n])
	took := float64(found[n/2])
	if low := float64(lowest(nearest)); nearest < here && float64(inFlight) > 2*(low+1) {
		// Nobody has come out of such a crowd yet. To answer with what it took when there was none would draw more.
		took *= (float64(inFlight) + 1) / (low + 1) / 2
	}
	return time.Duration(took)
}

// levelOf returns the level of a number of calls in flight.
func levelOf(n int) int {
	n = min(max(n, 0), 1<<24-1)
	if n < 8 {
		return n
	}
	exp := bits.Len(uint(n)) - 4 // 8..15: 0
	return 8 + 8*exp + n>>exp - 8
}

// lowest returns the least number of calls in flight of a level.
func lowest(level int) int {
	if level < 16 {
		return max(level, 0)
	}
	exp := level/8 - 1
	return (8 + level%8) << exp
}

// Report is the answer to a probe.
type Report struct {
	// InFlight is the number of calls in the server.
	InFlight int
	// Latency is what one more has to expect. 0: not known.
	Latency time.Duration
}

// String returns the report as it travels.
func (r Report) String() string {
	return strconv.Itoa(r.InFlight) + "," + strconv.FormatInt(r.Latency.Microseconds(), 10)
}

// ParseReport reads what String wrote. It is false for anything else.
func ParseReport(s string) (Report, bool) {
	a, b, ok := strings.Cut(s, ",")
	if !ok {
		return Report{}, false
	}
	n, err1 := strconv.ParseUint(a, 10, 24)
	us, err2 := strconv.ParseUint(b, 10, 40)
	if err1 != nil || err2 != nil {
		return Report{}, false
	}
	return Report{InFlight: int(n), Latency: time.Duration(us) * time.Microsecond}, true
}
