package control

import (
	"fmt"
	"math"
	"net"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/holdfast-go/holdfast/failure"
)

// Bounds of a FaultRequest. What a process is told of all of them together is bounded once more.
const (
	// MaxBallast is the most bytes of memory that a process can be made to take.
	MaxBallast = 64 << 30
	// MinSlowShare is the least share of the processors that slow-cpu leaves: with less it is frozen.
	MinSlowShare = 0.01

	maxTargets = 512
	maxLinks   = 64
	maxRules   = 64
	maxMethods = 100
	maxNote    = 200
	maxDelay   = 10 * time.Minute
	maxJump    = 10 * 365 * 24 * time.Hour
)

// Validate returns everything that is wrong with a request by itself, in one failure.InvalidArgument.
func (r FaultRequest) Validate() error {
	c := checker{}
	c.fields(r)
	c.ttl(r.TTL)
	c.note(r.Note)
	switch r.Kind {
	case FaultFreeze:
		c.targets(r.Targets)
	case FaultSlowCPU:
		c.targets(r.Targets)
		c.check(r.Share >= MinSlowShare && r.Share < 1, "share must be from %v to below 1, not %v", MinSlowShare, r.Share)
	case FaultNet:
		c.count("links", len(r.Links), maxLinks)
		for n, l := range r.Links {
			c.link(fmt.Sprintf("links[%d]", n), l)
		}
	case FaultCalls:
		c.targets(r.Targets)
		c.count("calls", len(r.Calls), maxRules)
		for n, rule := range r.Calls {
			c.calls(fmt.Sprintf("calls[%d]", n), rule)
		}
	case FaultDisk:
		c.targets(r.Targets)
		c.check(r.Disk != nil && *r.Disk != (Disk{}), "disk says nothing that becomes of writes")
		if r.Disk != nil {
			c.delay("disk: slow_sync", r.Disk.SlowSync)
		}
	case FaultMemory:
		c.targets(r.Targets)
		c.check(r.Bytes > 0 && r.Bytes <= MaxBallast, "bytes must be from 1 to %d, not %d", int64(MaxBallast), r.Bytes)
	case FaultScale:
		c.check(len(r.Targets) == 1, "targets must be one service, not %d", len(r.Targets))
		c.names("targets", r.Targets)
		c.check(!slices.Contains(r.Targets, ControlService), "the number of control members does not change while they run")
		c.check(r.Replicas != nil, "replicas is missing")
		if r.Replicas != nil {
			c.check(*r.Replicas >= 0 && *r.Replicas <= MaxReplicas, "replicas must be from 0 to %d, not %d", MaxReplicas, *r.Replicas)
		}
	case FaultClock:
		c.targets(r.Targets)
		c.check(r.Jump != 0 && r.Jump >= -maxJump && r.Jump <= maxJump, "jump must be within %s and not 0, not %s", maxJump, r.Jump)
	case "":
		c.check(false, "kind is missing")
	default:
		c.check(false, "there is no kind %.64q; there are %s", r.Kind, strings.Join(kindNames(), ", "))
	}
	return c.err()
}

// kindFields are the fields of a kind that are not for all.
type kindFields struct {
	kind   FaultKind
	fields []string
}

var faultKinds = []kindFields{
	{FaultFreeze, []string{"targets"}},
	{FaultSlowCPU, []string{"targets", "share"}},
	{FaultNet, []string{"links"}},
	{FaultCalls, []string{"targets", "calls"}},
	{FaultDisk, []string{"targets", "disk"}},
	{FaultMemory, []string{"targets", "bytes"}},
	{FaultScale, []string{"targets", "replicas"}},
	{FaultClock, []string{"targets", "jump"}},
}

func kindNames() []string {
	var names []string
	for _, k := range faultKinds {
		names = append(names, string(k.kind))
	}
	return names
}

// checker collects what is wrong.
type checker struct{ wrong []string }

func (c *checker) check(ok bool, format string, args ...any) {
	if !ok {
		c.wrong = append(c.wrong, fmt.Sprintf(format, args...))
	}
}

func (c *checker) err() error {
	if len(c.wrong) == 0 {
		return nil
	}
	const most = 10
	if more := len(c.wrong) - most; more > 0 {
		c.wrong = append(c.wrong[:most], fmt.Sprintf("and %d more", more))
	}
	return failure.New(failure.InvalidArgument, "%s", strings.Join(c.wrong, "; "))
}

// fields refuses those that the kind does not take: who sets one means something that would not happen.
func (c *checker) fields(r FaultRequest) {
	n := slices.IndexFunc(faultKinds, func(k kindFields) bool { return k.kind == r.Kind })
	if n < 0 {
		return
	}
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"targets", len(r.Targets) > 0},
		{"links", len(r.Links) > 0},
		{"calls", len(r.Calls) > 0},
		{"disk", r.Disk != nil},
		{"share", r.Share != 0},
		{"bytes", r.Bytes != 0},
		{"replicas", r.Replicas != nil},
		{"jump", r.Jump != 0},
	} {
		c.check(!f.set || slices.Contains(faultKinds[n].fields, f.name), "%s takes no %s", r.Kind, f.name)
	}
}

func (c *checker) ttl(d time.Duration) {
	c.check(d >= 0 && d <= MaxTTL, "ttl must be from 0 (%s) to %s, not %s", DefaultTTL, MaxTTL, d)
}

func (c *checker) note(note string) {
	c.check(len(note) <= maxNote && printable(note), "note must be a line of at most %d bytes", maxNote)
}

func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

func (c *checker) count(what string, n, most int) {
	c.check(n > 0 && n <= most, "%s must have from 1 to %d entries, not %d", what, most, n)
}

func (c *checker) targets(ids []string) {
	c.count("targets", len(ids), maxTargets)
	c.names("targets", ids)
}

func (c *checker) names(what string, names []string) {
	for _, n := range names {
		c.check(n != "" && len(n) <= maxName && printable(n), "%s: %.140q is empty, longer than %d bytes, or not printable", what, n, maxName)
	}
}

func (c *checker) delay(what string, d time.Duration) {
	c.check(d >= 0 && d <= maxDelay, "%s must be from 0 to %s, not %s", what, maxDelay, d)
}

func (c *checker) link(at string, l Link) {
	c.count(at+": from", len(l.From), maxTargets)
	c.count(at+": to", len(l.To), maxTargets)
	c.names(at+": from", l.From)
	c.names(at+": to", l.To)
	for _, end := range l.From {
		c.check(end != RegistryEnd && end != QueueEnd && !strings.Contains(end, ":"), "%s: from: %.140q can only be in to: it makes no connections", at, end)
	}
	for _, end := range l.To {
		if !strings.Contains(end, ":") {
			continue
		}
		_, port, err := net.SplitHostPort(end)
		c.check(err == nil && port != "", "%s: to: %.140q is neither a name nor host:port", at, end)
	}
	s := l.Shape
	c.check(s != (Shape{}), "%s says nothing that becomes of the connections", at)
	c.delay(at+": delay", s.Delay)
	c.delay(at+": jitter", s.Jitter)
	c.delay(at+": reset_every", s.ResetEvery)
	c.check(s.Rate >= 0, "%s: rate must not be negative", at)
	c.check(s.Loss >= 0 && s.Loss <= 1, "%s: loss must be from 0 to 1, not %v", at, s.Loss)
}

func (c *checker) calls(at string, r Calls) {
	c.check(r.Share > 0 && r.Share <= 1 && !math.IsNaN(r.Share), "%s: share must be above 0 and at most 1, not %v", at, r.Share)
	c.delay(at+": delay", r.Delay)
	c.check(r.Code != "" || r.Delay > 0, "%s says nothing that becomes of the calls: code or delay", at)
	if r.Code != "" {
		code, known := failure.ParseCode(r.Code)
		c.check(known && code != failure.OK && code.String() == r.Code, "%s: code: %.64q is none that a call can fail with", at, r.Code)
	}
	c.check(len(r.Methods) <= maxMethods, "%s: methods: more than %d", at, maxMethods)
	for _, m := range r.Methods {
		c.check(IsMethod(m), "%s: methods: %.140q is neither /package.Service/Method nor METHOD /path", at, m)
	}
}

// IsMethod reports whether m can be one of the Methods of Calls: /package.Service/Method, METHOD /path, or the beginning of one.
func IsMethod(m string) bool {
	path := m
	if _, after, http := strings.Cut(m, " "); http {
		path = after
	}
	return strings.HasPrefix(path, "/") && len(m) <= maxNote && printable(m)
}
