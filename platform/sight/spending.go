package sight

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/platform/control"
)

// spending is where time went by.
type spending struct {
	kind       string // the end of a phrase's name
	by, toward string
}

func (x *teller) spent(s spending) string { return x.say("time."+s.kind, s.by, s.toward) }

func (x *teller) timeAdvice(by spending) []string {
	switch by.kind {
	case "queue":
		service, _, _ := cutLast(by.by, "-")
		return []string{x.say("do.queue", service)}
	case "silent":
		return []string{x.say("do.instance", by.by)}
	case "network":
		return []string{x.say("do.instance", by.toward)}
	}
	return []string{x.say("do.time", by.by)}
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// longest is where most of a span's time went by, of itself and all that it waited for.
func (x *teller) longest(f *control.Span) (time.Duration, spending) {
	spent := make(map[spending]time.Duration)
	var order []spending
	add := func(s spending, d time.Duration) {
		if d <= 0 {
			return
		}
		if _, ok := spent[s]; !ok {
			order = append(order, s)
		}
		spent[s] += d
	}
	until := end(f)
	x.each(f, func(s *control.Span) {
		if s.Start.After(until) || s.Kind == control.SpanConsumer && s != f {
			return
		}
		own := x.own(s, until)
		switch {
		case isTry(s):
			server := x.server(s)
			switch {
			case boolean(s, keyLost):
			case s.Code != "" && (server == nil || server.Start.After(end(s))): // it began when nobody waited any more
				add(spending{kind: "silent", by: x.peerOf(s)}, own)
			case server == nil:
				add(spending{kind: "untold", by: x.peerOf(s)}, own)
			default:
				add(spending{kind: "network", by: where(s), toward: where(server)}, own)
			}
		case isCall(s) && x.lost(s) > 0:
			add(spending{kind: "unseen", by: where(s), toward: x.asked(s)}, own)
		case isCall(s):
			add(spending{kind: "backoff", by: where(s)}, own)
		case s.Kind == control.SpanClient:
			if below := x.below[s.ID]; len(below) > 0 {
				add(spending{kind: "network", by: where(s), toward: where(below[0])}, own)
			} else {
				add(spending{kind: "untold", by: x.what(s)}, own)
			}
		default:
			waited, _ := millis(s, keyWaited)
			waited = min(waited, own)
			add(spending{kind: "queue", by: where(s)}, waited)
			add(spending{kind: "work", by: where(s)}, own-waited)
		}
	})
	slices.SortStableFunc(order, func(a, b spending) int { return cmp.Compare(spent[b], spent[a]) })
	if len(order) == 0 {
		return f.Duration, spending{kind: "work", by: where(f)}
	}
	return spent[order[0]], order[0]
}

// own is how long a span had nothing going on below it, until a time.
func (x *teller) own(s *control.Span, until time.Time) time.Duration {
	stop := end(s)
	if stop.After(until) {
		stop = until
	}
	type stretch struct{ from, to time.Time }
	var busy []stretch
	for _, c := range x.below[s.ID] {
		if c.Kind == control.SpanConsumer {
			continue
		}
		from, to := c.Start, end(c)
		if from.Before(s.Start) {
			from = s.Start
		}
		if to.After(stop) {
			to = stop
		}
		if to.After(from) {
			busy = append(busy, stretch{from, to})
		}
	}
	slices.SortFunc(busy, func(a, b stretch) int { return a.from.Compare(b.from) })
	own := stop.Sub(s.Start)
	at := s.Start
	for _, b := range busy {
		if b.from.Before(at) {
			b.from = at
		}
		if b.to.After(b.from) {
			own -= b.to.Sub(b.from)
			at = b.to
		}
	}
	return max(0, own)
}

func end(s *control.Span) time.Time { return s.Start.Add(s.Duration) }
