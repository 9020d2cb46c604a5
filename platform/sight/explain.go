package sight

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/platform/control"
)

const (
	maxSteps     = 60
	maxStepLevel = 8
	quickWait    = 2 * time.Millisecond // a wait that is not worth a word
	maxTold      = 3                    // events that are told
)

// Context is what Explain knows beside the trace.
type Context struct {
	// Lang is "en" or "zh"; another one is English.
	Lang string
	// Span is the ID of the call that is asked about. Empty, or not one of the trace's: the whole trace, by its root.
	Span string
	// Events is what happened to the system at about that time, faults that were in force included.
	Events []control.Event

	gaps []gap
}

// Explain says in plain words what happened in a trace, or to one of its calls. It is a function of what it is given alone.
func Explain(t control.Trace, c Context) control.Explanation {
	x := &teller{t: &t, ctx: c, below: make(map[string][]*control.Span, len(t.Tree))}
	var name string
	x.lang, name = language(c.Lang)
	e := control.Explanation{Trace: t.ID, Lang: name, Status: t.Status, Lines: []control.ExplainLine{}}
	if len(t.Tree) == 0 {
		e.Verdict = x.say("step.incomplete", cmp.Or(t.Incomplete, x.say("gap.sampled")))
		return e
	}
	for i := range t.Tree {
		s := &t.Tree[i]
		x.below[s.Parent] = append(x.below[s.Parent], s)
		if s.ID == t.Tree[0].Parent { // a circle has no beginning
			x.below[s.Parent] = nil
		}
	}
	x.focus = x.choose(c.Span)
	if x.focus.ID != t.Tree[0].ID || c.Span != "" {
		e.Span = x.focus.ID
		e.Status = x.status()
	}
	f := x.focus
	x.begin = f.Start
	dead := x.dead(f)
	switch {
	case f.Code != "":
		e.Title = x.say("title.error", f.Name, where(f), f.Duration, f.Code)
		e.Verdict = x.verdict(f, &e)
	case dead != nil:
		e.Title = x.say("title.dead", f.Name, where(f), f.Duration)
		e.Verdict = x.verdict(dead, &e)
	default:
		e.Title = x.say("title.ok", f.Name, where(f), f.Duration)
		e.Verdict = x.fine(f, &e)
	}
	x.story(f)
	x.events(&e)
	x.incomplete(&e)
	e.Lines = x.lines
	return e
}

// teller tells of one trace.
type teller struct {
	t     *control.Trace
	ctx   Context
	lang  int
	focus *control.Span
	begin time.Time
	below map[string][]*control.Span
	lines []control.ExplainLine
	more  int             // steps that are not told
	later []*control.Span // what became of messages, which is told when the rest has been
	seen  map[string]bool
	told  map[string]bool // put off
	// blamed are the services in which it went wrong: what happened to any of their instances may be why.
	blamed map[string]bool
	// suspects are these services, and those of their instances that are known to be it.
	suspects map[string]bool
}

func (x *teller) say(key string, args ...any) string { return say(x.lang, key, args...) }

func (x *teller) word(s string) string { return word(x.lang, s) }

// choose is the span that is told of: of an attempt, the call that it belongs to.
func (x *teller) choose(id string) *control.Span {
	for i := range x.t.Tree {
		s := &x.t.Tree[i]
		if id == "" || s.ID != id {
			continue
		}
		if isTry(s) {
			for k := range x.t.Tree {
				if p := &x.t.Tree[k]; p.ID == s.Parent && isCall(p) {
					return p
				}
			}
		}
		return s
	}
	root := &x.t.Tree[0]
	for i := range x.t.Tree { // the root: without a parent, else the first
		if s := &x.t.Tree[i]; s.Parent == "" {
			return s
		}
	}
	return root
}

// status is that of what is told of, if that is not the whole trace.
func (x *teller) status() string {
	retried, hedged := false, false
	x.each(x.focus, func(s *control.Span) {
		if n, ok := number(s, keyAttempts); ok && n > 1 {
			hedged = hedged || boolean(s, keyHedged)
			retried = retried || !boolean(s, keyHedged) || n > 2
		}
	})
	switch {
	case x.focus.Code != "" || x.dead(x.focus) != nil:
		return control.TraceError
	case retried:
		return control.TraceRetried
	case hedged:
		return control.TraceHedged
	case text(x.focus, keyKeep) == "slow":
		return control.TraceSlow
	}
	return control.TraceOK
}

// each visits a span and all below it.
func (x *teller) each(s *control.Span, visit func(*control.Span)) {
	seen := make(map[string]bool)
	var walk func(*control.Span)
	walk = func(s *control.Span) {
		if seen[s.ID] {
			return
		}
		seen[s.ID] = true
		visit(s)
		for _, c := range x.below[s.ID] {
			walk(c)
		}
	}
	walk(s)
}

// isTry reports whether a span is an attempt of a call: that of the caller, not that of who served it.
func isTry(s *control.Span) bool { return s.Kind == control.SpanClient && isAttempt(s) }

// where is the instance of a span, or else its service.
func where(s *control.Span) string { return cmp.Or(s.Instance, s.Service) }

// peerOf is the instance that an attempt was made on, or what is known of it.
func (x *teller) peerOf(s *control.Span) string {
	return cmp.Or(text(s, keyPeer), text(s, keyPeerAddress), x.say("step.nobody"))
}

// asked is the service that a call or an attempt is for.
func (x *teller) asked(s *control.Span) string {
	if name := cmp.Or(text(s, keyServer), text(s, keyPeerService)); name != "" {
		return name
	}
	for _, c := range x.below[s.ID] {
		if c.Kind == control.SpanServer {
			return c.Service
		}
	}
	return "?"
}

// tries are the attempts of a call, in order.
func (x *teller) tries(call *control.Span) []*control.Span {
	var out []*control.Span
	for _, c := range x.below[call.ID] {
		if isTry(c) {
			out = append(out, c)
		}
	}
	slices.SortStableFunc(out, func(a, b *control.Span) int {
		n, _ := number(a, keyAttempt)
		m, _ := number(b, keyAttempt)
		return cmp.Compare(n, m)
	})
	return out
}

// server is who served an attempt; nil if that is not known.
func (x *teller) server(try *control.Span) *control.Span {
	for _, c := range x.below[try.ID] {
		if c.Kind == control.SpanServer {
			return c
		}
	}
	return nil
}

// dead is a message below a span that could not be handled for good; nil if there is none.
func (x *teller) dead(s *control.Span) (found *control.Span) {
	x.each(s, func(s *control.Span) {
		if isDead(text(s, keyVerdict)) && x.replayed(s) == nil {
			found = s
		}
	})
	return found
}

// replayed is how a message that was a dead letter was handled when it came again; nil if that is not known.
func (x *teller) replayed(dead *control.Span) *control.Span {
	for _, s := range x.below[dead.Parent] {
		if s.Kind == control.SpanConsumer && s.Service == dead.Service && s.Name == dead.Name && s.Start.After(dead.Start) && handled(s) &&
			text(s, keyMessageID) == text(dead, keyMessageID) {
			return s
		}
	}
	return nil
}

// handled reports whether a message was, for good.
func handled(s *control.Span) bool {
	switch text(s, keyVerdict) {
	case "", "ok", "done", "ack", "handled":
		return s.Code == ""
	}
	return false
}

// events tells what happened to those who took part, and says so in the verdict if it was on purpose.
func (x *teller) events(e *control.Explanation) {
	names := make(map[string]bool)
	x.each(x.focus, func(s *control.Span) {
		names[s.Service], names[s.Instance] = true, true
		names[text(s, keyPeer)], names[text(s, keyServer)] = true, true
	})
	delete(names, "")
	end := x.focus.Start.Add(x.focus.Duration)
	x.each(x.focus, func(s *control.Span) {
		if at := s.Start.Add(s.Duration); at.After(end) {
			end = at
		}
	})
	for name := range x.blamed {
		names[name] = true
	}
	told, replaced := 0, false
	for _, event := range x.ctx.Events {
		if told == maxTold || event.Time.After(end) || !touches(event, names) && !x.blamed[event.Service] {
			continue
		}
		at := event.Time.Sub(x.begin)
		usual := event.State == "starting" || event.State == "ready"
		if usual || at < 0 && event.Fault == "" && e.Status == control.TraceOK { // it has nothing to do with it
			continue
		}
		told++
		line := control.ExplainLine{At: max(0, at), Text: x.say("step.event", event.Message), Bad: event.Fault != ""}
		if at < 0 {
			line.Text = x.say("step.event.before", event.Message, -at)
		}
		i := len(x.lines)
		for i > 0 && x.lines[i-1].At > line.At {
			i--
		}
		if at < 0 {
			i = told - 1
		}
		x.lines = slices.Insert(x.lines, min(i, len(x.lines)), line)
		if gone := event.State == control.Frozen || event.State == "backoff" || event.State == "crash-looping"; gone && event.Instance != "" && e.Status != control.TraceOK {
			e.Verdict += " " + x.say("event.gone", line.Text)
			if x.blamed[event.Service] { // rather than those who waited for it
				advice := x.say("do.died", event.Instance)
				if event.State == control.Frozen {
					advice = x.say("do.thaw", event.Instance)
				}
				if !replaced {
					e.Advice, replaced = nil, true
				}
				if !slices.Contains(e.Advice, advice) {
					e.Advice = append(e.Advice, advice)
				}
			}
		}
		if event.State == control.EventFaultBegun && e.Status != control.TraceOK {
			what := strings.TrimPrefix(event.Message, "broken on purpose: ")
			guilty := touches(event, x.suspects) || event.Instance == "" && x.suspects[event.Service] && !strings.Contains(event.Message, event.Service+"-")
			key := "fault.beside"
			if guilty || slices.Contains(e.Advice, x.say("do.drill")) {
				key = "fault.touched"
			}
			if said := x.say(key, what); !strings.Contains(e.Verdict, said) {
				e.Verdict += " " + said
			}
			if advice := x.say("do.drill"); guilty && !slices.Contains(e.Advice, advice) {
				e.Advice = slices.Insert(e.Advice, 0, advice)
			}
		}
	}
}

// touches reports whether an event is about one of the names.
func touches(e control.Event, names map[string]bool) bool {
	if e.Instance != "" {
		return names[e.Instance]
	}
	if e.Fault == "" {
		return false
	}
	if names[e.Service] && e.Service != "" {
		for _, word := range strings.FieldsFunc(e.Message, notName) {
			// A fault of one instance is no fault of the others.
			if strings.HasPrefix(word, e.Service+"-") && !names[word] {
				continue
			}
			if names[word] {
				return true
			}
		}
	}
	for _, word := range strings.FieldsFunc(e.Message, notName) {
		if names[word] {
			return true
		}
	}
	return false
}

func notName(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.'
}

func (x *teller) incomplete(e *control.Explanation) {
	text := ""
	for _, g := range x.ctx.gaps {
		if text != "" {
			text += "; "
		}
		text += x.say(g.key, g.args...)
		if g.key == "gap.settling" {
			e.Advice = append(e.Advice, x.say("do.wait"))
		}
	}
	if text = cmp.Or(text, x.t.Incomplete); text != "" {
		x.lines = append(x.lines, control.ExplainLine{At: x.last(), Text: x.say("step.incomplete", text)})
	}
}

func (x *teller) last() time.Duration {
	if len(x.lines) == 0 {
		return 0
	}
	return x.lines[len(x.lines)-1].At
}
