package sight

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/platform/control"
)

// story tells what happened, from f on, step by step.
func (x *teller) story(f *control.Span) {
	x.seen, x.told = make(map[string]bool), make(map[string]bool)
	x.step(f, 0)
	for len(x.later) > 0 {
		next := x.later[0]
		x.later = x.later[1:]
		x.step(next, 0)
	}
	if x.more > 0 {
		x.lines = append(x.lines, control.ExplainLine{At: x.last(), Text: x.say("step.more", x.more)})
	}
}

func (x *teller) line(at time.Time, level int, span *control.Span, bad bool, text string) {
	if len(x.lines) >= maxSteps {
		x.more++
		return
	}
	x.lines = append(x.lines, control.ExplainLine{At: max(0, at.Sub(x.begin)), Level: min(level, maxStepLevel), Text: text, Span: span.ID, Bad: bad})
}

// step tells of one span and what is below it.
func (x *teller) step(s *control.Span, level int) {
	if x.seen[s.ID] {
		return
	}
	if s.Kind == control.SpanConsumer && len(x.lines) > 0 && !slices.Contains(x.later, s) && !x.told[s.ID] {
		x.told[s.ID] = true
		x.later = append(x.later, s)
		return
	}
	x.seen[s.ID] = true
	if s.Skew.Abs() > 10*skewFloor && s.Kind == control.SpanServer {
		x.line(s.Start, level, s, false, x.say("step.skew", where(s), s.Skew.Abs()))
	}
	switch {
	case isCall(s):
		x.callStep(s, level)
		return
	case isTry(s): // whose call is not known
		x.tryStep(s, level, true)
		return
	case s.Kind == control.SpanServer:
		if s == x.focus {
			x.line(s.Start, level, s, false, x.say("step.begin", where(s), s.Name))
		}
		x.admission(s, level+1)
	case s.Kind == control.SpanProducer:
		if topic := cmp.Or(text(s, keyTopic), strings.TrimPrefix(s.Name, "publish ")); s.Code == "" {
			x.line(s.Start, level, s, false, x.say("step.publish", where(s), topic))
		} else {
			x.line(s.Start, level, s, true, x.say("step.publish.bad", where(s), topic, s.Code+": "+short(s.Error)))
		}
	case s.Kind == control.SpanConsumer:
		x.handleStep(s, level)
	case s.Code != "":
		x.line(s.Start, level, s, true, x.say("step.work.bad", where(s), s.Name, s.Code+": "+short(s.Error)))
	default:
		x.line(s.Start, level, s, false, x.say("step.work", where(s), s.Name, human(s.Duration)))
	}
	x.children(s, level+1)
	if s.Kind == control.SpanServer && (s == x.focus || s.Code != "") {
		x.served(s, level)
	}
}

func (x *teller) children(s *control.Span, level int) {
	below := slices.Clone(x.below[s.ID])
	slices.SortStableFunc(below, func(a, b *control.Span) int { return a.Start.Compare(b.Start) })
	for _, c := range below {
		x.step(c, level)
	}
}

// served says how a served call ended.
func (x *teller) served(s *control.Span, level int) {
	switch {
	case s.Code == "":
		x.line(end(s), level, s, false, x.say("step.done", where(s), s.Duration))
	case s != x.focus && slices.ContainsFunc(x.below[s.ID], func(c *control.Span) bool { return c.Code == s.Code }):
		// It only hands on what has been told.
	case text(s, keyAdmission) == "" || text(s, keyAdmission) == "admitted":
		x.line(end(s), level, s, true, x.say("step.failed", where(s), s.Code+": "+short(s.Error)))
	}
}

// admission says how a server took a call, if that is worth a word.
func (x *teller) admission(s *control.Span, level int) {
	waited, _ := millis(s, keyWaited)
	after := ""
	if waited >= quickWait {
		after = x.say("after.waiting", waited)
	}
	switch verdict := text(s, keyAdmission); {
	case verdict == "" || verdict == "admitted" && after == "":
	case verdict == "admitted":
		x.line(s.Start.Add(waited), level, s, false, x.say("step.admitted", where(s), after+x.inFlight(s)))
	default:
		x.line(end(s), level, s, true, x.say("step.refused", where(s), after+x.inFlight(s)))
	}
}

func (x *teller) handleStep(s *control.Span, level int) {
	n, _ := number(s, keyMessageAttempt)
	said := x.say("step.handle", where(s), cmp.Or(text(s, keyTopic), strings.TrimPrefix(s.Name, "process ")), max(1, int(n)))
	why := cmp.Or(short(s.Error), s.Code)
	switch verdict := text(s, keyVerdict); {
	case isDead(verdict):
		said += x.say("step.dead", why)
	case verdict == "returned":
		said += x.say("step.back")
	case verdict == "retry" || verdict != "" && s.Code != "":
		said += x.say("step.again", why)
	case s.Code != "": // nobody says what becomes of it
		said += x.say("step.unhandled", why)
	default:
		said += x.say("step.handled", s.Duration)
	}
	x.line(s.Start, level, s, s.Code != "" || isDead(text(s, keyVerdict)), said)
}

// callStep tells of a call: in a line if it went well at once, else with its attempts.
func (x *teller) callStep(s *control.Span, level int) {
	tries := x.tries(s)
	said := x.say("step.call", where(s), x.asked(s), s.Name)
	if d, ok := millis(s, keyDeadline); ok && d > 0 {
		said += x.say("step.left", d)
	}
	if len(tries) == 1 && s.Code == "" && tries[0].Code == "" && len(words(tries[0], keyEjected)) == 0 {
		t := tries[0]
		x.seen[t.ID] = true
		x.line(s.Start, level, s, false, said+x.say("step.by", x.peerOf(t))+x.say("step.ok", t.Duration))
		x.under(t, level)
		x.others(s, level+1)
		return
	}
	x.line(s.Start, level, s, false, said)
	for i, t := range tries {
		x.seen[t.ID] = true
		x.tryStep(t, level+1, i == 0 && (len(tries) > 1 || s == x.focus || x.server(t) == nil))
	}
	x.others(s, level+1)
	if worth := len(tries) != 1 || s == x.focus || text(s, keyStopped) != "" && text(s, keyStopped) != "another attempt would fail alike"; s.Code != "" && worth {
		stopped := x.word(text(s, keyStopped))
		if stopped == "" || len(tries) == 0 {
			stopped = strings.TrimPrefix(stopped+", "+s.Code+": "+short(s.Error), ", ")
		}
		x.line(end(s), level+1, s, true, x.say("step.gaveup", where(s), stopped))
	}
}

// others are what is below a call beside its attempts.
func (x *teller) others(s *control.Span, level int) {
	for _, c := range x.below[s.ID] {
		x.step(c, level)
	}
}

// tryStep tells of an attempt.
func (x *teller) tryStep(t *control.Span, level int, first bool) {
	x.seen[t.ID] = true
	n, _ := number(t, keyAttempt)
	key := "step.try"
	if boolean(t, keyHedge) {
		key = "step.hedge"
	}
	said := x.say(key, int(n), x.peerOf(t))
	if wait, ok := millis(t, keyWait); ok && wait >= quickWait && !boolean(t, keyHedge) {
		said += x.say("step.waited", wait)
	}
	if of, ok := number(t, keyCandidates); ok && first {
		said += x.say("step.chosen", x.word(text(t, keyWhy)), int(of))
	}
	if gone := words(t, keyEjected); len(gone) > 0 {
		said += x.say("step.ejected", strings.Join(gone, ", "))
	}
	bad := false
	switch {
	case boolean(t, keyLost) && x.unanswered(t):
		said += x.say("step.letgo", t.Duration)
	case boolean(t, keyLost):
		said += x.say("step.lost", t.Duration)
	case t.Code == "":
		said += x.say("step.ok", t.Duration)
	default:
		bad = true
		said += x.say("step.bad", x.outcome(t), t.Duration)
		switch text(t, keySent) {
		case "not sent":
			said += x.say("step.notsent")
		case "sent and lost":
			said += x.say("step.maybe")
		}
		if tokens, ok := number(t, keyTokens); ok && tokens < 5 {
			said += x.say("step.tokens", strings.TrimSuffix(fmt.Sprintf("%.1f", tokens), ".0"))
		}
	}
	x.line(t.Start, level, t, bad, said)
	x.under(t, level)
}

// unanswered reports whether none of the attempts of the call that t belongs to is known to have been answered.
func (x *teller) unanswered(t *control.Span) bool {
	return !slices.ContainsFunc(x.below[t.Parent], func(o *control.Span) bool { return isTry(o) && answered(o) })
}

// under tells what the server of an attempt did.
func (x *teller) under(t *control.Span, level int) {
	for _, c := range x.below[t.ID] {
		x.step(c, level)
	}
}
