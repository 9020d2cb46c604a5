package sight

import (
	"cmp"
	"strings"

	"github.com/holdfast-go/holdfast/platform/control"
)

// fine is the verdict on what went well.
func (x *teller) fine(f *control.Span, e *control.Explanation) string {
	var retried, hedged, coped, bumpy, dead *control.Span
	others := 0
	x.each(f, func(s *control.Span) {
		if s.Kind == control.SpanClient && !isTry(s) && !isCall(s) {
			others++
		}
		if own := s.Kind == control.SpanClient || s.Kind == control.SpanInternal || s.Kind == control.SpanProducer ||
			s.Kind == control.SpanConsumer && text(s, keyVerdict) == ""; own && !isTry(s) && !isCall(s) && s.Code != "" && isBad(s.Code) {
			bumpy = cmp.Or(bumpy, s)
		}
		if isDead(text(s, keyVerdict)) {
			dead = cmp.Or(dead, s)
		}
		switch n, ok := number(s, keyAttempts); {
		case isCall(s) && s.Code != "" && isBad(s.Code):
			if coped == nil {
				coped = s
			}
		case !ok || n < 2 || s.Code != "":
		case boolean(s, keyHedged) && n == 2:
			hedged = cmp.Or(hedged, s)
		default:
			retried = cmp.Or(retried, s)
		}
	})
	switch {
	case retried != nil:
		return x.fineRetried(retried, e)
	case hedged != nil:
		return x.fineHedged(hedged)
	case coped != nil:
		cause := x.cause(coped)
		e.Advice = x.advice(cause)
		return x.say("ok.coped", x.asked(coped), coped.Code, where(coped)) + " " + x.because(cause)
	case dead != nil && x.replayed(dead) != nil:
		return x.say("ok.replayed", cmp.Or(text(dead, keyTopic), dead.Name), where(dead), where(x.replayed(dead)))
	case bumpy != nil:
		return x.say("ok.bumpy", f.Duration, where(bumpy), bumpy.Name, bumpy.Code+": "+short(bumpy.Error))
	case x.slow(f):
		took, by := x.longest(f)
		x.blame(by.by, by.toward)
		e.Advice = x.timeAdvice(by)
		return x.say("ok.slow", f.Duration, took, x.spent(by))
	case f.Kind == control.SpanConsumer:
		n, _ := number(f, keyMessageAttempt)
		return x.say("ok.message", where(f), max(1, int(n)), human(f.Duration))
	}
	services, attempts := make(map[string]bool), 0
	x.each(f, func(s *control.Span) {
		services[s.Service] = true
		if isTry(s) {
			attempts++
		}
	})
	part := x.say("took.nobody")
	switch {
	case len(x.ctx.gaps) > 0:
		return x.say("ok.known", f.Duration)
	case len(services) > 1:
		part = x.say("took.part", len(services), attempts)
	case attempts > 0:
		part = x.say("took.attempts", attempts)
	case others > 0:
		part = x.say("took.others", others)
	}
	return x.say("ok.plain", f.Duration, part)
}

func (x *teller) slow(f *control.Span) bool {
	return text(f, keyKeep) == "slow" || f == &x.t.Tree[0] && x.t.Status == control.TraceSlow
}

func (x *teller) fineRetried(call *control.Span, e *control.Explanation) string {
	tries := x.tries(call)
	var failed, answer *control.Span
	for _, t := range tries {
		if t.Code == "" && !boolean(t, keyLost) {
			answer = t
		} else if failed == nil && !boolean(t, keyLost) {
			failed = t
		}
	}
	if failed == nil || answer == nil { // one of the two is missing
		return x.unseen(call)
	}
	cause := x.cause(failed)
	if cause.kind == "noinstance" {
		return x.say("ok.waited", where(call), x.asked(call), answer.Start.Sub(failed.Start), x.peerOf(answer))
	}
	if cause.span != failed && cause.kind != "drill" {
		n, _ := number(answer, keyAttempt)
		e.Advice = x.advice(cause)
		return x.say("ok.below", int(n), x.asked(call), x.peerOf(answer), x.because(cause))
	}
	if cause.kind == "drill" {
		e.Advice = x.advice(cause)
	} else if peer := text(failed, keyPeer); peer != "" {
		e.Advice = []string{x.say("do.instance", peer)}
	}
	n, _ := number(answer, keyAttempt)
	said := x.say("ok.retried", x.peerOf(failed), x.asked(call), x.outcome(failed), int(n), x.peerOf(answer))
	if cause.kind == "drill" {
		said += " " + x.because(cause)
	}
	return said
}

func (x *teller) fineHedged(call *control.Span) string {
	tries := x.tries(call)
	var first, hedge *control.Span
	for _, t := range tries {
		if boolean(t, keyHedge) {
			hedge = t
		} else if first == nil {
			first = t
		}
	}
	if first == nil || hedge == nil {
		return x.unseen(call)
	}
	x.blame(x.asked(call), text(first, keyPeer))
	waited := hedge.Start.Sub(first.Start)
	if boolean(hedge, keyLost) || hedge.Code != "" {
		return x.say("ok.hedgelost", x.peerOf(first), waited, x.peerOf(hedge))
	}
	return x.say("ok.hedgewon", x.peerOf(first), waited, x.peerOf(hedge))
}

// unseen is the verdict on a call that went well, of whose attempts some are not known.
func (x *teller) unseen(call *control.Span) string {
	n, _ := number(call, keyAttempts)
	return x.say("ok.unseen", x.focus.Duration, where(call), max(2, int(n)), x.asked(call))
}

// outcome is how an attempt ended, in words: its code, or what package resilience calls it.
func (x *teller) outcome(try *control.Span) string {
	word := x.word(text(try, keyOutcome))
	switch {
	case word == "" || word == "ok" || strings.EqualFold(word, strings.ReplaceAll(try.Code, "_", " ")):
		return try.Code
	case try.Code == "":
		return word
	}
	return try.Code + ", " + word
}
