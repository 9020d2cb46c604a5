package check

import (
	"context"
	"slices"
	"time"

	"github.com/holdfast-go/holdfast/drill/load"
	"github.com/holdfast-go/holdfast/failure"
)

// Checker makes one check. Its methods are called once each, in this order, and never two at a time.
type Checker interface {
	// Name says what is checked, in a few words: "register", "checkout is acknowledged once".
	Name() string
	// Prepare looks whether the check can be made at all, before anything is broken. Its errors have codes, and are for the
	// author of the drill.
	Prepare(ctx context.Context, w *World) error
	// Run makes what the check needs while load and faults are on, until ctx is done, and joins what it started.
	Run(ctx context.Context, w *World)
	// Judge says what came of it, after the load has ended and what was broken is mended. With a ctx that is done, it is
	// Unknown unless it is Broken already.
	Judge(ctx context.Context, w *World) Verdict
}

// World is what checks see of a drill. Caller and Record are required.
type World struct {
	Caller *load.Caller
	Record *load.Recorder // its clock is theirs, too
	Mix    load.Mix
	Seed   uint64
	// Instances returns the instances of a service as they are now; nil when nothing is known of them.
	Instances func(ctx context.Context, service string) ([]Instance, error)
	// Dir is where commands run, the directory of the system file, and Env what they are told besides the environment of
	// this process ("HOLDFAST_EDGE=…").
	Dir string
	Env []string
}

// Instance is one instance of a service.
type Instance struct {
	ID   string // "orders-1"
	HTTP string // the address of its own HTTP server, "" if it has none
}

// Invariant is one of the kinds. Exactly one field besides Name is set.
type Invariant struct {
	// Name, if not empty, is what the check is called.
	Name         string
	Register     *Register
	Acknowledged *Acknowledged
	Once         *Once
	Leader       *Leader
	HTTP         *HTTP
	Command      *Command
	Func         *Func
}

// New returns the check of an invariant. The error is INVALID_ARGUMENT.
func New(i Invariant) (Checker, error) {
	var out []Checker
	if i.Register != nil {
		out = append(out, &register{named: named{i.Name, "register"}, cfg: *i.Register})
	}
	if i.Acknowledged != nil {
		out = append(out, &acknowledged{named: named{i.Name, i.Acknowledged.Call + " is there"}, cfg: *i.Acknowledged})
	}
	if i.Once != nil {
		out = append(out, &once{named: named{i.Name, i.Once.Call + " happens once"}, cfg: *i.Once})
	}
	if i.Leader != nil {
		out = append(out, &leader{named: named{i.Name, "one leader of " + i.Leader.Service}, cfg: *i.Leader})
	}
	if i.HTTP != nil {
		out = append(out, &http{named: named{i.Name, i.HTTP.Call.Method + " " + i.HTTP.Call.Path + i.HTTP.Call.GRPC}, cfg: *i.HTTP})
	}
	if i.Command != nil {
		out = append(out, &command{named: named{i.Name, i.Command.Run}, cfg: *i.Command})
	}
	if i.Func != nil {
		out = append(out, &function{named: named{i.Name, "check"}, cfg: *i.Func})
	}
	if len(out) != 1 {
		return nil, invalid("an invariant is one of register, acknowledged, once, leader, http, command: this is %d of them", len(out))
	}
	return out[0], nil
}

func invalid(format string, args ...any) error {
	return failure.New(failure.InvalidArgument, format, args...)
}

// named is the name of a check: its own, or what it is by kind.
type named struct{ own, kind string }

func (n named) Name() string {
	if n.own != "" {
		return n.own
	}
	return n.kind
}

// passive is a check that does nothing while the drill is on.
type passive struct{}

func (passive) Run(context.Context, *World) {}

// findings collects what is wrong, the earliest first.
type findings struct {
	all []finding
}

type finding struct {
	at   time.Duration // 0: not known
	text string
}

func (f *findings) add(at time.Duration, text string) {
	f.all = append(f.all, finding{at, text})
}

// into puts the findings into a verdict, and makes it Broken if there are any.
func (f *findings) into(v *Verdict) {
	slices.SortStableFunc(f.all, func(a, b finding) int { return int(a.at - b.at) })
	for i, x := range f.all {
		v.Answer = Broken
		if v.At == 0 {
			v.At = x.at
		}
		if i >= MaxFindings {
			v.More++
			continue
		}
		v.Findings = append(v.Findings, x.text)
	}
}

// wait waits, and reports false if ctx was done first.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
	return ctx.Err() == nil
}

// orDefault returns d, or what is usual.
func orDefault(d, usual time.Duration) time.Duration {
	if d <= 0 {
		return usual
	}
	return d
}
