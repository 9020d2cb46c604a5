package balance

import (
	"strconv"
	"strings"
	"time"
)

// How a client asks for a report, and where it comes back: in the metadata of gRPC and the headers of HTTP. A probe is a
// health check with the first.
const (
	HeaderLoadProbe = "x-load-probe" // "1"
	HeaderLoad      = "x-load"       // "<calls in flight>,<latency in µs>"
)

// Load is what a server knows of its own load: the calls in it, and the latency that one more has to expect. The zero
// value is ready. Safe for concurrent use.
type Load struct{}

// Start counts a call as in flight, and returns how many there were before it, which is for Done.
func (l *Load) Start() (inFlight int) { return 0 }

// Done ends a call that began at start, when Start returned inFlight. answered is false for calls that were shed, failed
// at once, or are streams: their duration is no latency.
func (l *Load) Done(now, start time.Time, inFlight int, answered bool) {}

// Report returns the load as of now: the median latency of recent calls that found about as many others in flight.
func (l *Load) Report(now time.Time) Report { return Report{} }

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
