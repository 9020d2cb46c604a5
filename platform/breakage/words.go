package breakage

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast-go/holdfast/platform/control"
)

// describe says what a request does, in a line for people.
func describe(r control.FaultRequest) string {
	who := list(r.Targets)
	are := "is"
	if len(r.Targets) > 1 {
		are = "are"
	}
	switch r.Kind {
	case control.FaultFreeze:
		return fmt.Sprintf("%s %s frozen", who, are)
	case control.FaultSlowCPU:
		return fmt.Sprintf("%s %s let run %s of the time", who, are, percent(r.Share))
	case control.FaultNet:
		var links []string
		for _, l := range r.Links {
			links = append(links, describeLink(l))
		}
		return strings.Join(links, "; ")
	case control.FaultCalls:
		var rules []string
		for _, c := range r.Calls {
			rules = append(rules, describeCalls(c))
		}
		return "of the calls that " + who + " " + plural(r.Targets, "serves", "serve") + ", " + strings.Join(rules, ", ")
	case control.FaultDisk:
		return describeDisk(*r.Disk) + " on " + who
	case control.FaultMemory:
		return fmt.Sprintf("%s of memory %s taken in %s", bytes(r.Bytes), "are", who)
	case control.FaultScale:
		return fmt.Sprintf("%s is scaled to %d", who, *r.Replicas)
	case control.FaultClock:
		return fmt.Sprintf("the wall clock of %s is off by %s", who, r.Jump)
	}
	return string(r.Kind)
}

func describeLink(l control.Link) string {
	from, to := ends(l.From), ends(l.To)
	if from == everybodyElse {
		from = "everybody"
	}
	var what []string
	switch {
	case l.CutOut && l.CutIn:
		what = append(what, "nothing passes between "+from+" and "+to)
	case l.CutOut:
		what = append(what, "nothing passes from "+from+" to "+to)
	case l.CutIn:
		what = append(what, "nothing passes from "+to+" to "+from)
	}
	between := " between " + from + " and " + to
	if len(what) > 0 {
		between = ""
	}
	say := func(words string) {
		what = append(what, words+between)
		between = ""
	}
	switch {
	case l.Delay > 0 && l.Jitter > 0:
		say(fmt.Sprintf("%s to %s each way", l.Delay, l.Delay+l.Jitter))
	case l.Delay > 0:
		say(l.Delay.String() + " each way")
	case l.Jitter > 0:
		say("up to " + l.Jitter.String() + " each way")
	}
	if l.Rate > 0 {
		say("at most " + bytes(l.Rate) + "/s")
	}
	if l.Loss > 0 {
		say(percent(l.Loss) + " of the packets lost")
	}
	made := " that " + from + " " + plural(l.From, "makes", "make") + " to " + to
	if l.Refuse {
		what = append(what, "connections"+made+" are refused")
	}
	if l.ResetEvery > 0 {
		what = append(what, "connections"+made+" are reset every "+l.ResetEvery.String())
	} else if l.Reset {
		what = append(what, "connections"+made+" are reset")
	}
	return strings.Join(what, ", ")
}

func describeCalls(c control.Calls) string {
	var b strings.Builder
	b.WriteString(percent(c.Share))
	if len(c.Methods) > 0 {
		b.WriteString(" of " + list(c.Methods))
	}
	switch {
	case c.Code != "" && c.Delay > 0:
		fmt.Fprintf(&b, " fail with %s after %s", c.Code, c.Delay)
	case c.Code != "":
		b.WriteString(" fail with " + c.Code)
	default:
		fmt.Fprintf(&b, " take %s longer", c.Delay)
	}
	return b.String()
}

func describeDisk(d control.Disk) string {
	var what []string
	if d.Full {
		what = append(what, "the disk is full")
	}
	if d.FailSync {
		what = append(what, "syncs fail")
	}
	if d.SlowSync > 0 {
		what = append(what, "each sync takes "+d.SlowSync.String()+" longer")
	}
	return strings.Join(what, " and ")
}

const everybodyElse = "everybody else"

func ends(names []string) string {
	if slices.Contains(names, control.Everybody) {
		return everybodyElse
	}
	named := slices.Clone(names)
	for n, end := range named {
		switch end {
		case control.EdgeEnd, control.RegistryEnd, control.QueueEnd:
			named[n] = "the " + end
		}
	}
	return list(named)
}

// list names at most four.
func list(names []string) string {
	const most = 4
	switch n := len(names); {
	case n == 0:
		return "nobody"
	case n == 1:
		return names[0]
	case n > most:
		return strings.Join(names[:most-1], ", ") + " and " + strconv.Itoa(n-most+1) + " more"
	default:
		return strings.Join(names[:n-1], ", ") + " and " + names[n-1]
	}
}

func plural(names []string, one, many string) string {
	if len(names) == 1 {
		return one
	}
	return many
}

func percent(share float64) string {
	return strconv.FormatFloat(share*100, 'g', 3, 64) + " %"
}

func bytes(n int64) string {
	switch {
	case n >= 10<<20:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 10<<10:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d bytes", n)
}
