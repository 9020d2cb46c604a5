package sight

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/platform/control"
)

// verdict says why f failed, and what to do.
func (x *teller) verdict(f *control.Span, e *control.Explanation) string {
	c := x.cause(f)
	e.Advice = x.advice(c)
	said := []string{}
	if isDead(text(f, keyVerdict)) {
		n, _ := number(f, keyMessageAttempt)
		said = append(said, x.say("fail.dead", cmp.Or(text(f, keyTopic), f.Name), where(f), max(1, int(n))))
		e.Advice = append(e.Advice, x.say("do.dead"))
	}
	said = append(said, x.because(c))
	if c.kind != "oneof" && len(c.or) > 0 {
		said = append(said, x.say("fail.maybe", x.list(c.or)))
	}
	if c.call != nil && c.kind != "oneof" {
		said = append(said, x.tried(c, e)...)
	}
	if len(c.path) > 1 {
		said = append(said, x.say("fail.way", strings.Join(c.path, " → ")))
	}
	return strings.Join(said, " ")
}

// tried says what became of the attempts of the call that failed.
func (x *teller) tried(c cause, e *control.Explanation) (said []string) {
	tries := x.tries(c.call)
	if total := len(tries) + x.lost(c.call); total > 1 && len(tries) > 0 {
		var each []string
		for _, t := range tries {
			if t.Code != "" && !boolean(t, keyLost) {
				each = append(each, x.peerOf(t)+" "+x.outcome(t))
			}
		}
		switch list := strings.Join(each, ", "); len(each) {
		case 0:
		case total:
			said = append(said, x.say("fail.attempts", total, list))
		default:
			said = append(said, x.say("fail.some", total, list))
		}
	}
	if len(tries) > 0 {
		last := tries[len(tries)-1]
		if gone := words(last, keyEjected); len(gone) > 0 && !strings.HasPrefix(text(last, keyWhy), probing) {
			if n, ok := number(last, keyCandidates); ok && float64(len(gone)) >= n || slices.Contains(gone, text(last, keyPeer)) {
				said = append(said, x.say("fail.panic", x.asked(c.call), strings.Join(gone, ", ")))
				e.Advice = append(e.Advice, x.say("do.ejected"))
			}
		}
	}
	switch {
	case text(c.call, keyRefusedBy) == "budget":
		said = append(said, x.say("fail.budget", where(c.call), x.asked(c.call)))
	case text(c.call, keyStopped) == "not declared safe to repeat":
		said = append(said, x.say("fail.unsafe"))
		e.Advice = append(e.Advice, x.say("do.unsafe"))
	}
	return said
}

// because is the cause in a sentence.
func (x *teller) because(c cause) string {
	s := c.span
	service, instance := x.asked(s), x.peerOf(s)
	if !isTry(s) && !isCall(s) {
		service, instance = s.Service, where(s)
	}
	switch c.kind {
	case "drill":
		all := []string{instance}
		if c.call != nil {
			for _, t := range x.tries(c.call) {
				if peer := x.peerOf(t); strings.Contains(t.Error, onPurpose) && !slices.Contains(all, peer) {
					all = append(all, peer)
				}
			}
		}
		return x.say("fail.drill", strings.Join(all, ", "))
	case "shed", "late":
		return x.say("fail."+c.kind, service, instance, x.inFlight(s))
	case "quota", "unreachable", "broken":
		return x.say("fail."+c.kind, service, instance)
	case "throttle", "bulkhead", "ratelimit", "breaker", "noinstance":
		return x.say("fail."+c.kind, where(s), service)
	case "timeout":
		timeout, ok := millis(s, keyTimeout)
		if !ok || timeout <= 0 {
			timeout = s.Duration
		}
		said := x.say("fail.timeout", service, instance, min(timeout, max(s.Duration, time.Millisecond)))
		if server := x.server(s); server != nil {
			took, by := x.longest(server)
			said += " " + x.say("fail.deadline", "", took, x.spent(by))
		}
		return said
	case "silent":
		return x.say("fail.silent", service, instance, s.Duration)
	case "deadline":
		total := ""
		from := cmp.Or(c.late, s)
		if d, ok := millis(from, keyDeadline); ok && d > 0 {
			total = x.say("of.deadline", d)
		}
		took, by := x.longest(from)
		return x.say("fail.deadline", total, took, x.spent(by))
	case "business", "fault":
		return x.say("fail."+c.kind, service, instance, s.Code, short(s.Error))
	case "canceled":
		return x.say("fail.canceled")
	case "oneof":
		return x.say("fail.oneof", instance, s.Code, x.list(c.or))
	case "unseen":
		n, _ := number(s, keyAttempts)
		return x.say("fail.unseen", where(s), service, int(n), s.Code, short(s.Error))
	}
	return x.say("fail.unknown", s.Code, short(s.Error))
}

// inFlight is how much a server has to do, if it says so.
func (x *teller) inFlight(s *control.Span) string {
	in, ok := number(s, keyInFlight)
	limit, known := number(s, keyLimit)
	if !ok || !known || limit <= 0 {
		return ""
	}
	return x.say("with.inflight", int(in), int(limit))
}

const maxShort = 200

// probing is why an ejected instance is picked to see whether it is well again.
const probing = "ejected, and tried with this call"

// short is the beginning of an error, in a line.
func short(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > maxShort {
		text = string(cut([]byte(text), maxShort)) + "…"
	}
	return strings.TrimSuffix(text, ".")
}

func (x *teller) advice(c cause) []string {
	s := c.span
	service, instance := x.asked(s), text(s, keyPeer)
	if !isTry(s) && !isCall(s) {
		service, instance = s.Service, s.Instance
	}
	switch c.kind {
	case "drill":
		return []string{x.say("do.drill")}
	case "shed":
		return []string{x.say("do.shed", service)}
	case "quota":
		return []string{x.say("do.quota", service)}
	case "throttle":
		return []string{x.say("do.throttle", service)}
	case "bulkhead", "ratelimit":
		return []string{x.say("do.limit", service)}
	case "breaker":
		return []string{x.say("do.breaker", service)}
	case "noinstance":
		return []string{x.say("do.noinstance", service)}
	case "unreachable", "broken", "timeout", "silent":
		if instance != "" {
			return []string{x.say("do.instance", instance)}
		}
		return []string{x.say("do.noinstance", service)}
	case "deadline", "late":
		_, by := x.longest(cmp.Or(c.late, s))
		return x.timeAdvice(by)
	case "business":
		return []string{x.say("do.business")}
	case "unseen":
		return []string{x.say("do.noinstance", service)}
	case "fault":
		return []string{x.say("do.fault", cmp.Or(instance, service))}
	}
	return nil
}
