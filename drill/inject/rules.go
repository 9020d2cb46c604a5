package inject

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/platform/control"
)

// Bounds of a fault. They are far above what anybody means, so that a slip is an error and not a machine that hangs.
const (
	maxFor     = 24 * time.Hour
	maxDelay   = 10 * time.Minute
	maxTargets = 64
	maxText    = 64 << 10
	maxBytes   = 1 << 40
	maxJump    = 10 * 365 * 24 * time.Hour
)

// Kinds are all kinds, in the order in which they are explained.
func Kinds() []Kind {
	return []Kind{
		Kill, Freeze, SlowCPU, Restart, Scale,
		Partition, Latency, Bandwidth, Loss, Reset, Errors, Disk, Memory, Clock,
		Registry, Broker, Command, HTTP,
	}
}

// Problem is one thing that is wrong with a fault.
type Problem struct {
	Field   string // as in a scenario file: "share"; the kind's own name for its target or mode; "" for the fault as a whole
	Message string
	Missing string // the field that is missing, if that is the problem; Field is "" then
}

// use says how a kind uses a field.
type use int

const (
	no use = iota
	may
	must
)

// rule says which fields a kind has. Those that are not named are no.
type rule struct {
	target, links, lasts use
	rest                 map[string]use
}

var linked = rule{links: must, lasts: must}

// rules is a function so that there is no table that anything could change.
func rules(k Kind) (rule, bool) {
	with := func(r rule, rest map[string]use) (rule, bool) {
		r.rest = rest
		return r, true
	}
	on := rule{target: must, lasts: must}
	switch k {
	case Kill, Restart:
		return rule{target: must}, true
	case Freeze:
		return on, true
	case SlowCPU:
		return with(on, map[string]use{"share": must})
	case Scale:
		return with(on, map[string]use{"replicas": must})
	case Partition:
		return with(linked, map[string]use{"way": may, "between": may})
	case Latency:
		return with(linked, map[string]use{"delay": must, "jitter": may})
	case Bandwidth:
		return with(linked, map[string]use{"rate": must})
	case Loss:
		return with(linked, map[string]use{"share": must})
	case Reset:
		return with(rule{links: must, lasts: may}, map[string]use{"every": may})
	case Errors:
		return with(on, map[string]use{"share": may, "code": may, "methods": may, "delay": may})
	case Disk:
		return with(on, map[string]use{"mode": must, "delay": may})
	case Memory:
		return with(on, map[string]use{"bytes": must})
	case Clock:
		return with(on, map[string]use{"jump": must})
	case Registry, Broker:
		return with(rule{lasts: may}, map[string]use{"mode": must, "delay": may})
	case Command:
		return with(rule{lasts: may}, map[string]use{"run": must, "undo": may})
	case HTTP:
		return with(rule{target: must, lasts: may}, map[string]use{"request": must, "mend": may})
	}
	return rule{}, false
}

// Lasts reports whether faults of the kind have a duration, always or sometimes.
func (k Kind) Lasts() bool {
	r, _ := rules(k)
	return r.lasts != no
}

// Validate says everything that is wrong with a fault, as far as can be told without the system; nil if nothing is.
func (f Fault) Validate() []Problem {
	r, ok := rules(f.Kind)
	if !ok {
		return []Problem{{Message: fmt.Sprintf("%q is no kind of fault", string(f.Kind))}}
	}
	v := &validator{kind: f.Kind}
	v.fields(f, r)
	v.values(f)
	v.together(f)
	return v.problems
}

type validator struct {
	kind     Kind
	problems []Problem
}

func (v *validator) add(field, format string, args ...any) {
	v.problems = append(v.problems, Problem{Field: field, Message: fmt.Sprintf(format, args...)})
}

func (v *validator) missing(field, format string, args ...any) {
	v.problems = append(v.problems, Problem{Missing: field, Message: fmt.Sprintf(format, args...)})
}

// fields holds what is set against the rule of the kind.
func (v *validator) fields(f Fault, r rule) {
	kind := string(f.Kind)
	check := func(u use, field string, set bool, missing string) {
		switch {
		case u == no && set:
			v.add(field, "%s: %s does not take it", field, kind)
		case u == must && !set:
			v.missing(field, "%s: %s is missing", kind, missing)
		}
	}
	switch {
	case r.target == must && len(f.Target) == 0:
		v.missing(kind, "%s: whom? name an instance, a service, SERVICE/all or *", kind)
	case r.target == no && len(f.Target) > 0:
		v.add(kind, "%s: takes no target", kind)
	}
	check(r.lasts, "for", f.For != 0, "for, how long it lasts,")
	if r.links == no {
		check(no, "from", len(f.From) > 0, "")
		check(no, "to", len(f.To) > 0, "")
	} else if len(f.From) == 0 && len(f.Between) == 0 {
		v.missing("from", "%s: from is missing, whose connections", kind)
	}
	for _, field := range []struct {
		name, means string
		set         bool
	}{
		{"between", "between", len(f.Between) > 0},
		{"way", "way", f.Way != ""},
		{"share", "share, such as 10%,", f.Share != 0},
		{"delay", "delay", f.Delay != 0},
		{"jitter", "jitter", f.Jitter != 0},
		{"every", "every", f.Every != 0},
		{"rate", "rate, bytes a second such as 64KiB,", f.Rate != 0},
		{"bytes", "bytes, such as 256MiB,", f.Bytes != 0},
		{"jump", "jump, such as -30s,", f.Jump != 0},
		{"replicas", "replicas", f.Replicas != 0},
		{"code", "code", f.Code != ""},
		{"methods", "methods", len(f.Methods) > 0},
		{"mode", "mode", f.Mode != ""},
		{"run", "run", f.Run != ""},
		{"undo", "undo", f.Undo != ""},
		{"request", "request", f.Request != nil},
		{"mend", "mend", f.Mend != nil},
	} {
		check(r.rest[field.name], field.name, field.set, field.means)
	}
}

// values holds each value against its bounds.
func (v *validator) values(f Fault) {
	for _, d := range []struct {
		field string
		value time.Duration
		most  time.Duration
	}{{"at", f.At, maxFor}, {"for", f.For, maxFor}, {"delay", f.Delay, maxDelay}, {"jitter", f.Jitter, maxDelay}, {"every", f.Every, maxDelay}} {
		if d.value < 0 || d.value > d.most {
			v.add(d.field, "%s: %v is not between 0 and %v", d.field, d.value, d.most)
		}
	}
	if f.Jump < -maxJump || f.Jump > maxJump {
		v.add("jump", "jump: %v is more than ten years", f.Jump)
	}
	if !(f.Share >= 0 && f.Share <= 1) { // NaN, too
		v.add("share", "share: %v is not between 0 and 100%%", f.Share)
	} else if f.Kind == SlowCPU && f.Share != 0 && (f.Share < control.MinSlowShare || f.Share == 1) {
		v.add("share", "share: slow-cpu leaves from 1%% to below 100%% of a processor, not %v%%; with less use freeze", f.Share*100)
	}
	if f.Rate < 0 || f.Rate > maxBytes {
		v.add("rate", "rate: %d bytes a second is not between 1 and %d", f.Rate, int64(maxBytes))
	}
	if f.Bytes < 0 || f.Bytes > maxBytes {
		v.add("bytes", "bytes: %d is not between 1 and %d", f.Bytes, int64(maxBytes))
	} else if f.Kind == Memory && f.Bytes > control.MaxBallast {
		v.add("bytes", "bytes: a process takes at most %d GiB of memory", control.MaxBallast>>30)
	}
	v.targets(string(f.Kind), f.Target)
	v.targets("from", f.From, Edge)
	v.targets("to", f.To, Edge, TheRegistry, TheQueue)
	for _, set := range f.Between {
		v.targets("between", set, Edge)
	}
	for field, text := range map[string]string{"run": f.Run, "undo": f.Undo} {
		if len(text) > maxText {
			v.add(field, "%s: longer than %d KiB", field, maxText>>10)
		}
	}
	v.request("request", f.Request)
	v.request("mend", f.Mend)
	if len(f.Methods) > maxTargets {
		v.add("methods", "methods: more than %d", maxTargets)
	}
	for _, m := range f.Methods {
		if !control.IsMethod(m) {
			v.add("methods", "methods: %.140q is neither /package.Service/Method nor METHOD /path", m)
		}
	}
	if f.Code != "" && f.Code != NoCode {
		if code, ok := failure.ParseCode(f.Code); !ok || code == failure.OK {
			v.add("code", "code: %q is no error code such as UNAVAILABLE, or %s", f.Code, NoCode)
		}
	}
}

// NoCode as the Code of Errors lets the calls go on, after their Delay.
const NoCode = "none"

var name = regexp.MustCompile(`^[a-z]([a-z0-9-]*[a-z0-9])?$`)

// groups are what can stand after a service and a slash.
func groups() []string { return []string{"all", "minority", "majority", "rest"} }

// Ends of connections that are no instances.
const (
	// Edge is the platform itself: it calls the services on behalf of users.
	Edge = control.EdgeEnd
	// TheRegistry and TheQueue are the engines as the services reach them, embedded ones or others; only in To.
	TheRegistry = control.RegistryEnd
	TheQueue    = control.QueueEnd
	everyone    = control.Everybody
)

func (v *validator) targets(field string, targets []string, ends ...string) {
	if len(targets) > maxTargets {
		v.add(field, "%s: more than %d targets", field, maxTargets)
		return
	}
	for _, t := range targets {
		service, group, found := strings.Cut(t, "/")
		switch {
		case slices.Contains(ends, t):
		case t == Edge || t == TheRegistry || t == TheQueue:
			v.add(field, "%s: %s cannot be here; it can be an end of connections: to: %[2]s", field, t)
		case service != "*" && (!name.MatchString(service) || len(service) > 64):
			v.add(field, "%s: %.80q is no target: an instance (orders-1), one of a service (orders), all of it (orders/all), or *", field, t)
		case found && !slices.Contains(groups(), group):
			v.add(field, "%s: %.80q: after the / comes one of %s", field, t, strings.Join(groups(), ", "))
		}
	}
}

func (v *validator) request(field string, r *Request) {
	switch {
	case r == nil:
	case !slices.Contains([]string{"GET", "PUT", "POST", "PATCH", "DELETE"}, r.Method):
		v.add(field, "%s: %.20q is no method; want GET, PUT, POST, PATCH or DELETE", field, r.Method)
	case !strings.HasPrefix(r.Path, "/") || strings.ContainsAny(r.Path, " \r\n\t"):
		v.add(field, "%s: the path %.80q does not begin with / or has blanks", field, r.Path)
	case len(r.Path) > maxText || len(r.Body) > maxText:
		v.add(field, "%s: longer than %d KiB", field, maxText>>10)
	}
}

// together says what does not go together.
func (v *validator) together(f Fault) {
	if len(f.Between) > 0 {
		if len(f.From)+len(f.To) > 0 || f.Way != "" {
			v.add("between", "between: stands alone, without from, to and way")
		}
		if len(f.Between) < 2 || len(f.Between) > 8 || slices.ContainsFunc(f.Between, func(set []string) bool { return len(set) == 0 }) {
			v.add("between", "between: wants two or more lists of targets, which lose each other")
		}
	}
	if f.Way != "" && !slices.Contains([]string{"both", "out", "in"}, f.Way) {
		v.add("way", "way: %.20q is not both, out or in", f.Way)
	}
	modes := map[Kind][]string{Disk: {"full", "slow", "failing"}, Registry: {"down", "wiped", "slow"}, Broker: {"down", "slow"}}[f.Kind]
	if f.Mode != "" && modes != nil {
		field := "mode"
		if f.Kind != Disk {
			field = string(f.Kind)
		}
		if !slices.Contains(modes, f.Mode) {
			v.add(field, "%s: %.20q is none of %s", f.Kind, f.Mode, strings.Join(modes, ", "))
		}
		if slow := f.Mode == "slow"; slow != (f.Delay > 0) && slices.Contains(modes, f.Mode) {
			v.add(field, "%s: slow and delay go together", f.Kind)
		}
	}
	if f.Kind == Registry || f.Kind == Broker {
		if wiped := f.Mode == "wiped"; wiped == (f.For > 0) && slices.Contains(modes, f.Mode) {
			if wiped {
				v.add("for", "for: what is wiped is wiped; it takes no for")
			} else {
				v.missing("for", "%s: for, how long it lasts, is missing", f.Kind)
			}
		}
	}
	for _, pair := range []struct {
		kind     Kind
		with     string
		together bool
	}{{Reset, "every", f.Every > 0}, {Command, "undo", f.Undo != ""}, {HTTP, "mend", f.Mend != nil}} {
		if f.Kind == pair.kind && pair.together != (f.For > 0) {
			v.add("for", "%s: for and %s go together", f.Kind, pair.with)
		}
	}
	if f.Kind == Errors && f.Code == NoCode && f.Delay == 0 {
		v.add("code", "code: %s lets the calls go on, so that delay has to say how late", NoCode)
	}
	if f.Kind == Scale && len(f.Target) == 1 && strings.ContainsAny(f.Target[0], "/*") {
		v.add(string(f.Kind), "scale: takes the name of a service, not %.80q", f.Target[0])
	}
	if f.Kind == Scale && (f.Replicas < 0 || f.Replicas > maxTargets) {
		v.add("replicas", "replicas: %d is not between 1 and %d", f.Replicas, maxTargets)
	}
}
