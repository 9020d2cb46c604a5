package inject

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// say puts a fault into the words that a report has for it.
func (r Resolved) say() string {
	who := list(r.Targets)
	switch r.Kind {
	case Kill:
		return "kill -9 " + who
	case Freeze:
		return "freeze " + who
	case SlowCPU:
		return fmt.Sprintf("slow %s down to %s of the processor", who, percent(r.Share))
	case Restart:
		return "restart " + who
	case Scale:
		return fmt.Sprintf("scale %s to %d", who, r.Replicas)
	case Partition:
		return r.sayPartition()
	case Latency:
		delay := Span(r.Delay)
		if r.Jitter > 0 {
			delay += " to " + Span(r.Delay+r.Jitter)
		}
		return fmt.Sprintf("%s of latency between %s", delay, r.ends())
	case Bandwidth:
		return fmt.Sprintf("%s a second between %s", bytes(r.Rate), r.ends())
	case Loss:
		return fmt.Sprintf("lose %s of the packets between %s", percent(r.Share), r.ends())
	case Reset:
		every := ""
		if r.Every > 0 {
			every = ", every " + Span(r.Every)
		}
		return fmt.Sprintf("reset the connections between %s%s", r.ends(), every)
	case Errors:
		return r.sayErrors(who)
	case Disk:
		return map[string]string{
			"full": "fill the disk of " + who, "failing": "let the disk of " + who + " fail",
			"slow": fmt.Sprintf("slow each sync of %s by %s", who, Span(r.Delay)),
		}[r.Mode]
	case Memory:
		return fmt.Sprintf("take %s of memory in %s", bytes(r.Bytes), who)
	case Clock:
		return fmt.Sprintf("turn the clock of %s by %s", who, signed(r.Jump))
	case Registry, Broker:
		return r.sayEngine()
	case Command:
		return "run " + cut(r.Run)
	case HTTP:
		return fmt.Sprintf("%s %s at %s", r.Request.Method, cut(r.Request.Path), who)
	}
	return string(r.Kind)
}

func (r Resolved) sayPartition() string {
	if len(r.Between) > 0 {
		sets := make([]string, 0, len(r.Links)+1)
		for _, l := range r.Links { // the sets, each once: those before the first link's To come as its From
			for _, set := range [][]string{l.From, l.To} {
				if s := list(set); !strings.Contains("|"+strings.Join(sets, "|")+"|", "|"+s+"|") {
					sets = append(sets, s)
				}
			}
		}
		return "split " + strings.Join(sets, " | ")
	}
	from, to := list(r.Links[0].From), everybody(r.Links[0].To)
	switch r.Way {
	case "out":
		return fmt.Sprintf("lose what %s sends to %s", from, to)
	case "in":
		return fmt.Sprintf("lose what %s gets from %s", from, to)
	}
	return fmt.Sprintf("cut %s off from %s", from, to)
}

func (r Resolved) sayErrors(who string) string {
	what := percent(cmp.Or(r.Share, 1)) + " of the calls of " + who
	if len(r.Methods) > 0 {
		what += " to " + cut(strings.Join(r.Methods, ", "))
	}
	if r.Code == NoCode {
		return fmt.Sprintf("hold up %s by %s", what, Span(r.Delay))
	}
	late := ""
	if r.Delay > 0 {
		late = " after " + Span(r.Delay)
	}
	return fmt.Sprintf("fail %s with %s%s", what, cmp.Or(r.Code, DefaultCode), late)
}

func (r Resolved) sayEngine() string {
	what := map[Kind]string{Registry: "the registry", Broker: "the broker"}[r.Kind]
	switch r.Mode {
	case "down":
		return "cut everybody off from " + what
	case "wiped":
		return "wipe " + what + " (" + list(r.Targets) + ")"
	}
	return fmt.Sprintf("%s of latency to %s", Span(r.Delay), what)
}

func (r Resolved) ends() string {
	l := r.Links[0]
	return list(l.From) + " and " + everybody(l.To)
}

func everybody(ids []string) string {
	if len(ids) == 1 && ids[0] == everyone {
		return "everybody else"
	}
	return list(ids)
}

// list names some, and counts the rest.
func list(ids []string) string {
	const most = 6
	named := make([]string, 0, most)
	for i, id := range ids {
		if i == most && len(ids) > most+1 {
			return strings.Join(named, ", ") + fmt.Sprintf(" and %d more", len(ids)-most)
		}
		switch id {
		case Edge, TheRegistry, TheQueue:
			id = "the " + id
		case everyone:
			id = "everybody"
		}
		named = append(named, id)
	}
	return strings.Join(named, ", ")
}

func percent(share float64) string {
	return strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.2f", share*100), "0"), ".") + " %"
}

func signed(d time.Duration) string {
	if d > 0 {
		return "+" + Span(d)
	}
	return "-" + Span(-d)
}

// Span is a duration as reports write it: 250 ms, 1.5 s, 90 s, 10 min, 2 h. It is not rounded.
func Span(d time.Duration) string {
	unit, name := time.Microsecond, "µs"
	switch {
	case d == 0:
		return "0 s"
	case d >= 2*time.Hour && d%time.Hour == 0:
		unit, name = time.Hour, "h"
	case d >= 2*time.Minute && d%time.Minute == 0:
		unit, name = time.Minute, "min"
	case d >= time.Second:
		unit, name = time.Second, "s"
	case d >= time.Millisecond:
		unit, name = time.Millisecond, "ms"
	}
	return strconv.FormatFloat(float64(d)/float64(unit), 'f', -1, 64) + " " + name
}

func bytes(n int64) string {
	for _, unit := range []struct {
		size int64
		name string
	}{{1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if n >= unit.size {
			return strings.TrimSuffix(fmt.Sprintf("%.1f", float64(n)/float64(unit.size)), ".0") + " " + unit.name
		}
	}
	return fmt.Sprintf("%d bytes", n)
}

// cut keeps a text on one line of a report.
func cut(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > 60 {
		return string(r[:59]) + "…"
	}
	return s
}

// DefaultCode is what Errors answers when the fault names no code.
const DefaultCode = "UNAVAILABLE"
