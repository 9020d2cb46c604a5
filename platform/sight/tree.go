package sight

import (
	"slices"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/platform/control"
)

const (
	// skewFloor is by how much clocks may contradict each other before one counts as wrong: two processes of one machine read
	// it at different times.
	skewFloor = time.Millisecond
	maxDepth  = 256
	// settling is how long after the last span of a trace further ones are likely to come.
	settling = 5 * time.Second
)

// grow puts spans into a tree, depth first, and corrects what clocks that contradict each other say.
func grow(spans []control.Span) []control.Span {
	slices.SortStableFunc(spans, func(a, b control.Span) int { return a.Start.Compare(b.Start) })
	at := make(map[string]int, len(spans))
	for i := len(spans) - 1; i >= 0; i-- {
		at[spans[i].ID] = i
	}
	below := make([][]int, len(spans))
	var roots []int
	for i := range spans {
		p, ok := at[spans[i].Parent]
		if spans[i].Parent == "" || !ok || p == i || at[spans[i].ID] != i {
			roots = append(roots, i)
			continue
		}
		below[p] = append(below[p], i)
	}
	out := make([]control.Span, 0, len(spans))
	seen := make([]bool, len(spans))
	var walk func(i, depth int, skew time.Duration)
	walk = func(i, depth int, skew time.Duration) {
		if seen[i] {
			return
		}
		seen[i] = true
		s := &spans[i]
		s.Depth, s.Skew = min(depth, maxDepth), skew
		s.Start = s.Start.Add(skew)
		for k := range s.Events {
			s.Events[k].Time = s.Events[k].Time.Add(skew)
		}
		out = append(out, *s)
		me := len(out) - 1
		for _, c := range below[i] {
			d := skew
			if k := &spans[c]; k.Instance != s.Instance || k.Service != s.Service {
				d = contradiction(&out[me], k)
			}
			walk(c, depth+1, d)
		}
	}
	for _, i := range roots {
		walk(i, 0, 0)
	}
	for i := range spans { // circles
		if !seen[i] {
			walk(i, 0, 0)
		}
	}
	return out
}

// contradiction is by how much a span of another process has to be moved, so that it begins after its parent has, and ends
// before it if the parent has seen its end. A server may well begin or end after its caller has given up.
func contradiction(parent, child *control.Span) time.Duration {
	early := parent.Start.Sub(child.Start)
	late := child.Start.Add(child.Duration).Sub(parent.Start.Add(parent.Duration))
	switch {
	case early > skewFloor:
	case late > skewFloor && child.Kind == control.SpanServer && parent.Kind == control.SpanClient && answered(parent):
	case -early > parent.Duration && child.Kind == control.SpanServer && child.Code != "" && gaveUp(child) && child.Duration <= parent.Duration && child.Duration > parent.Duration/2:
		// It was told to stop, and had been at it for as long as its caller waited: it cannot have begun after that.
	default:
		return 0
	}
	if child.Kind == control.SpanConsumer || child.Duration > parent.Duration {
		return early // all that is known is that it did not begin before
	}
	return early + (parent.Duration-child.Duration)/2
}

// answered reports whether the end of a client's span is that of an answer.
func answered(s *control.Span) bool {
	return s.Code == "" && !boolean(s, keyLost)
}

// gap is something that a trace lacks, as a phrase.
type gap struct {
	key  string
	args []any
}

// gaps are what a trace lacks, and why as far as that is known.
func gaps(t *control.Trace, dropped int, partly bool, age time.Duration, events []control.Event) []gap {
	known := make(map[string]bool, len(t.Tree))
	for i := range t.Tree {
		known[t.Tree[i].ID] = true
	}
	orphans := make(map[string]bool)
	var of []string
	rootless, fromOutside := true, true
	tries := make(map[string]int)
	for i := range t.Tree {
		if s := &t.Tree[i]; isTry(s) {
			tries[s.Parent]++
		}
	}
	var unseen int
	var callers []string
	for i := range t.Tree {
		s := &t.Tree[i]
		if n, ok := number(s, keyAttempts); ok && isCall(s) && int(n) > tries[s.ID] {
			unseen += int(n) - tries[s.ID]
			callers = append(callers, s.Name+" ("+where(s)+")")
		}
		if s.Parent == "" {
			rootless = false
			continue
		}
		if !known[s.Parent] && s.Kind != control.SpanServer && s.Kind != control.SpanConsumer {
			fromOutside = false
		}
		if !known[s.Parent] && !orphans[s.Parent] {
			orphans[s.Parent] = true
			of = append(of, s.Name+" ("+where(s)+")")
		}
	}
	var out []gap
	// What a browser or another system began has a parent that nobody here knows, and lacks nothing.
	// What is begun within a process has its parent there.
	outside := rootless && len(orphans) == 1 && fromOutside
	switch {
	case partly:
		out = append(out, gap{"gap.partly", nil})
	case len(orphans) > 0 && !outside:
		out = append(out, gap{"gap.spans", []any{len(orphans), strings.Join(of[:min(len(of), 3)], ", ")}})
	}
	if unseen := silent(t); len(unseen) > 0 {
		out = append(out, gap{"gap.silent", []any{strings.Join(unseen, ", ")}})
	}
	if unseen > 0 {
		out = append(out, gap{"gap.tries", []any{unseen, strings.Join(callers[:min(len(callers), 3)], ", ")}})
	}
	if dropped > 0 {
		out = append(out, gap{"gap.dropped", []any{dropped}})
	}
	if len(out) == 0 {
		return nil
	}
	var died []string
	for _, e := range events {
		if e.Instance != "" && (e.State == "backoff" || e.State == "crash-looping" || e.State == control.Frozen) && !slices.Contains(died, e.Message) && len(died) < 3 {
			died = append(died, e.Message)
		}
	}
	switch {
	case len(died) > 0:
		out = append(out, gap{"gap.died", []any{strings.Join(died, ", ")}})
	case age < settling && rootless:
		out = append(out, gap{"gap.running", nil})
	case age < settling:
		out = append(out, gap{"gap.settling", nil})
	case !partly:
		out = append(out, gap{"gap.sampled", nil})
	}
	return out
}

// incomplete is gaps in words.
func incomplete(all []gap) string {
	var says []string
	for _, g := range all {
		says = append(says, say(english, g.key, g.args...))
	}
	return strings.Join(says, "; ")
}

// silent are the instances that answered an attempt of which they have told nothing.
func silent(t *control.Trace) []string {
	parents := make(map[string]bool, len(t.Tree))
	for i := range t.Tree {
		parents[t.Tree[i].Parent] = true
	}
	var out []string
	for i := range t.Tree {
		s := &t.Tree[i]
		peer := text(s, keyPeer)
		if isTry(s) && answered(s) && peer != "" && !parents[s.ID] && !slices.Contains(out, peer) {
			out = append(out, peer)
		}
	}
	return out
}

// text, number, boolean and words read attributes of a span; what is not there, or of another type, is none.
func text(s *control.Span, key string) string {
	v, _ := s.Attributes[key].(string)
	return v
}

func number(s *control.Span, key string) (float64, bool) {
	switch v := s.Attributes[key].(type) {
	case int64:
		return float64(v), true
	case float64:
		return v, true
	}
	return 0, false
}

func boolean(s *control.Span, key string) bool {
	v, _ := s.Attributes[key].(bool)
	return v
}

func words(s *control.Span, key string) []string {
	v, _ := s.Attributes[key].([]string)
	return v
}

func millis(s *control.Span, key string) (time.Duration, bool) {
	v, ok := number(s, key)
	return time.Duration(v * float64(time.Millisecond)), ok
}

func isAttempt(s *control.Span) bool { _, ok := number(s, keyAttempt); return ok }

func isCall(s *control.Span) bool { return boolean(s, keyCall) }
