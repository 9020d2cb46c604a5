package sight

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/platform/control"
)

// onPurpose is how the error of a call ends that a drill has failed.
const onPurpose = "on purpose, by a drill"

// cause is why something failed: the deepest reason that is known.
type cause struct {
	kind string // the end of a phrase's name: "shed", "deadline" ...
	span *control.Span
	call *control.Span   // that it belongs to; nil if that is not known
	late *control.Span   // the first that ran out of time, if that is what happened
	path []string        // the services from what is explained down to it
	or   []*control.Span // if kind is "oneof": of which one is why; else what failed before, and may have to do with it
}

// cause follows a failure down to where it began.
func (x *teller) cause(s *control.Span) cause {
	c := x.follow(s)
	service := c.span.Service
	if (isTry(c.span) || isCall(c.span)) && c.kind != "throttle" && c.kind != "bulkhead" && c.kind != "ratelimit" {
		service = x.asked(c.span)
	}
	switch c.kind {
	case "business", "oneof":
	case "deadline", "late":
		_, by := x.longest(cmp.Or(c.late, c.span))
		x.blame(service, by.by, by.toward)
	default:
		if isTry(c.span) {
			x.blame(service, text(c.span, keyPeer))
		} else if !isCall(c.span) {
			x.blame(service, c.span.Instance)
		} else {
			x.blame(service)
		}
	}
	return c
}

// blame notes in which service it went wrong, and in which of its instances.
func (x *teller) blame(service string, instances ...string) {
	if x.blamed == nil {
		x.blamed, x.suspects = make(map[string]bool), make(map[string]bool)
	}
	x.blamed[service], x.suspects[service] = true, true
	for _, instance := range instances {
		x.suspects[instance] = true
	}
}

func (x *teller) follow(s *control.Span) cause {
	var path []string
	var call, late *control.Span
	for depth := 0; depth < maxDepth; depth++ {
		if len(path) == 0 || path[len(path)-1] != s.Service {
			path = append(path, s.Service)
		}
		if isCall(s) {
			call = s
		}
		if late == nil && s.Code == "DEADLINE_EXCEEDED" && (isCall(s) || isTry(s) || len(x.below[s.ID]) == 0) {
			late = s
		}
		next, kind := x.down(s)
		if next == nil {
			if peer := x.asked(s); kind != "throttle" && (isTry(s) || isCall(s)) && peer != "?" && path[len(path)-1] != peer {
				path = append(path, peer)
			}
			c := cause{kind: kind, span: s, call: call, late: late, path: path}
			if !isTry(s) && !isCall(s) && (kind == "oneof" || kind == "fault") {
				c.or, _ = x.culprits(s)
			}
			return c
		}
		s = next
	}
	return cause{kind: "unknown", span: s, call: call, path: path}
}

// down is the span below s whose failure is the reason for that of s; or, if there is none, what kind of failure it is.
func (x *teller) down(s *control.Span) (next *control.Span, kind string) {
	switch {
	case isCall(s):
		return x.downCall(s)
	case isTry(s):
		return x.downTry(s)
	}
	switch text(s, keyAdmission) {
	case "shed":
		return nil, "shed"
	case "quota":
		return nil, "quota"
	case "late":
		return nil, "late"
	}
	culprits, doubt := x.culprits(s)
	var worst *control.Span
	if doubt == noDoubt {
		worst = tried(culprits)
	}
	switch {
	case doubt == whichOfThem:
		return nil, "oneof"
	case strings.Contains(s.Error, onPurpose) && worst == nil:
		return nil, "drill"
	case worst != nil:
		return worst, ""
	case s.Code == "DEADLINE_EXCEEDED" && ownWords(s):
		return nil, "fault"
	case s.Code == "DEADLINE_EXCEEDED":
		return nil, "deadline"
	case canceled(s) && s == x.focus:
		return nil, "canceled"
	case canceled(s):
		return nil, "silent"
	case isBad(s.Code) || s.Code == "ABORTED" || s.Kind == control.SpanConsumer: // nobody waits for the answer of a message
		return nil, "fault"
	}
	return nil, "business"
}

// What may be in doubt about culprits.
const (
	noDoubt     = iota // any of them will do
	whichOfThem        // it is one of them
	whether            // it may be one of them, or none; or there are none
)

// culprits are the spans below s that failed and so may be why s did, in the order in which they ended. A failure that s goes on
// after has been coped with, unless s repeats its words; and a span with words of its own, and another code, speaks for itself.
func (x *teller) culprits(s *control.Span) (found []*control.Span, doubt int) {
	var failed []*control.Span
	for _, c := range x.below[s.ID] {
		if c.Code != "" && c.Kind != control.SpanConsumer && (isBad(c.Code) || !isBad(s.Code)) {
			failed = append(failed, c)
		}
	}
	slices.SortStableFunc(failed, func(a, b *control.Span) int { return end(a).Compare(end(b)) })
	pick := func(fits func(*control.Span) bool) (out []*control.Span) {
		for _, c := range failed {
			if fits(c) {
				out = append(out, c)
			}
		}
		return out
	}
	last := func(c *control.Span) bool { return !x.wentOn(s, c) }
	for _, fits := range []func(*control.Span) bool{
		func(c *control.Span) bool { return repeats(s.Error, c) },
		func(c *control.Span) bool { return sameCode(s.Code, c.Code) && last(c) },
		func(c *control.Span) bool { return !ownWords(s) && last(c) },
	} {
		if found := pick(fits); len(found) > 0 {
			if x.alike(found) {
				return found, noDoubt
			}
			return found, whichOfThem
		}
	}
	return pick(last), whether
}

// minRepeated is how long words must be to be told from chance.
const minRepeated = 6

// repeats reports whether an error is that of c, or has it in it.
func repeats(text string, c *control.Span) bool {
	return ownWords(c) && (text == c.Error || len(c.Error) >= minRepeated && strings.Contains(text, c.Error))
}

func sameCode(a, b string) bool {
	return a == b || (a == "CANCELED" || a == "CANCELLED") && (b == "CANCELED" || b == "CANCELLED")
}

// wentOn reports whether s began something else after c had ended.
func (x *teller) wentOn(s, c *control.Span) bool {
	return slices.ContainsFunc(x.below[s.ID], func(o *control.Span) bool {
		return o != c && o.Kind != control.SpanConsumer && o.Start.After(end(c))
	})
}

// alike reports whether all spans are calls of one service, or the same work.
func (x *teller) alike(spans []*control.Span) bool {
	for _, s := range spans {
		if x.what(s) != x.what(spans[0]) {
			return false
		}
	}
	return true
}

// what is whom a span asks, or else what it does.
func (x *teller) what(s *control.Span) string {
	if asked := x.asked(s); asked != "?" {
		return asked
	}
	return s.Name
}

// list is spans that failed, with their codes.
func (x *teller) list(spans []*control.Span) string {
	var each []string
	for _, s := range spans[:min(len(spans), maxTold)] {
		each = append(each, x.what(s)+" ("+s.Code+")")
	}
	return strings.Join(each, ", ")
}

// lost is how many attempts a call has made of which nothing is known.
func (x *teller) lost(call *control.Span) int {
	n, _ := number(call, keyAttempts)
	return max(0, int(n)-len(x.tries(call)))
}

func (x *teller) downCall(s *control.Span) (*control.Span, string) {
	tries := x.tries(s)
	var last *control.Span
	for _, t := range tries {
		if t.Code != "" && !boolean(t, keyLost) {
			last = t
		}
	}
	if refused := text(s, keyRefusedBy); s.Code != "" && x.lost(s) > 0 && (refused == "" || refused == "budget") {
		if n, _ := number(tried(tries), keyAttempt); last == nil || int(n) < x.lost(s)+len(tries) { // the last one is not known
			return nil, "unseen"
		}
	}
	if last == nil && s.Code == "" && len(tries) > 0 { // it took long, and went well
		return tries[len(tries)-1], ""
	}
	if last == nil {
		switch text(s, keyRefusedBy) {
		case "throttle":
			return nil, "throttle"
		case "bulkhead":
			return nil, "bulkhead"
		case "rate limit":
			return nil, "ratelimit"
		case "breaker":
			return nil, "breaker"
		}
		switch {
		case strings.Contains(s.Error, onPurpose):
			return nil, "drill"
		case s.Code == "DEADLINE_EXCEEDED":
			return nil, "deadline"
		case s.Code == "CANCELLED" || s.Code == "CANCELED":
			return nil, "canceled"
		case len(tries) == 0 && s.Code == "UNAVAILABLE" && len(x.ctx.gaps) == 0:
			return nil, "noinstance"
		}
		return nil, "unknown"
	}
	return last, ""
}

// tried is the last of some attempts, or nothing.
func tried(tries []*control.Span) *control.Span {
	if len(tries) == 0 {
		return &control.Span{}
	}
	return tries[len(tries)-1]
}

func (x *teller) downTry(s *control.Span) (*control.Span, string) {
	if strings.Contains(s.Error, onPurpose) {
		if server := x.server(s); server != nil && server.Code != "" {
			if next, kind := x.down(server); next != nil || kind == "drill" {
				return server, ""
			}
		}
		return nil, "drill"
	}
	server := x.server(s)
	if server != nil && gaveUp(s) { // it may only have waited for somebody else
		if waited := x.waitedFor(server, end(s)); waited != nil {
			return waited, ""
		}
	}
	switch text(s, keyOutcome) {
	case "no instance":
		return nil, "noinstance"
	case "unsent":
		return nil, "unreachable"
	case "attempt timeout":
		if server != nil && server.Code != "" && ownWords(server) {
			return server, ""
		}
		return nil, "timeout"
	case "deadline exceeded", "overdue":
		if server == nil || server.Code == "" {
			return nil, "deadline"
		}
	case "connection broken":
		return nil, "broken"
	case "shed":
		if server == nil {
			return nil, "shed"
		}
	}
	if server != nil && server.Code != "" {
		return server, ""
	}
	switch {
	case s.Code == "DEADLINE_EXCEEDED":
		return nil, "deadline"
	case canceled(s) && x.focus.Code != "" && canceled(x.focus):
		return nil, "canceled"
	case canceled(s): // not by whoever began it all, but by somebody in between who had no more time
		return nil, "silent"
	case s.Code == "": // slow, and well
		if server != nil {
			if waited := x.waitedFor(server, end(s)); waited != nil {
				return waited, ""
			}
		}
		return nil, "silent"
	case isBad(s.Code):
		return nil, "fault"
	}
	return nil, "business"
}

func canceled(s *control.Span) bool { return s.Code == "CANCELLED" || s.Code == "CANCELED" }

// gaveUp reports whether an attempt ended because nobody waited any more, and not with an answer.
func gaveUp(s *control.Span) bool {
	switch text(s, keyOutcome) {
	case "attempt timeout", "deadline exceeded", "overdue", "canceled":
		return true
	}
	return s.Code == "DEADLINE_EXCEEDED" || canceled(s)
}

// ownWords reports whether a server that ran out of time says for what.
func ownWords(s *control.Span) bool {
	return s.Error != "" && s.Error != s.Code && !strings.Contains(s.Error, "context ") && !strings.HasPrefix(s.Error, "HTTP ")
}

// waitedFor is the call that a server was waiting for when its caller gave up: the last one that had not ended well by then, or one
// that took most of its time. nil if there is none.
func (x *teller) waitedFor(server *control.Span, until time.Time) (found *control.Span) {
	seen := make(map[string]bool)
	var look func(s *control.Span)
	look = func(s *control.Span) {
		for _, c := range x.below[s.ID] {
			if seen[c.ID] || c.Kind == control.SpanConsumer || c.Start.After(until) {
				continue
			}
			seen[c.ID] = true
			if !isCall(c) {
				look(c)
				continue
			}
			if c.Code == "" && (end(c).Before(until) && c.Duration < until.Sub(server.Start)/2) {
				continue
			}
			if c.Code != "" && until.Sub(end(c)) > max(10*skewFloor, until.Sub(server.Start)/10) { // it was over, and something else was not
				continue
			}
			if found == nil || c.Start.After(found.Start) {
				found = c
			}
		}
	}
	look(server)
	return found
}
