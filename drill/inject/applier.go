package inject

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/platform/control"
)

const (
	// lease is how long a fault outlives whoever has begun it.
	lease = 5 * time.Second
	renew = lease / 5
	// patience is how long something is tried that fails because an instance is just being started.
	patience = 10 * time.Second
	again    = 100 * time.Millisecond
	// commandTime bounds a command of the user's.
	commandTime = time.Minute
)

// Control is what an Applier needs of a running system; a *control.Client is one.
type Control interface {
	InstancesOf(ctx context.Context, target string) ([]control.Instance, error)
	Kill(ctx context.Context, target string, all bool) ([]string, error)
	Restart(ctx context.Context, target string) ([]string, error)
	Wipe(ctx context.Context, target string) ([]string, error)
	Inject(ctx context.Context, req control.FaultRequest) (control.Fault, error)
	Renew(ctx context.Context, id string) (control.Fault, error)
	Mend(ctx context.Context, id string) error
}

// Applier breaks a running system and mends it. Control is required. Its fields must not change once it is used. Safe for
// concurrent use.
type Applier struct {
	Control Control
	// Note is what the faults say they are for, where the system lists them: "drill leaders-die".
	Note string
	// Dir is where commands run, Env their environment; nil is that of this process.
	Dir string
	Env []string
	// Guard, if not nil, is told what has to be undone by whoever is left if this process is killed: what faults of the
	// kinds Command and HTTP have done, which no lease can undo. The returned function says that it has been undone.
	Guard func(Undo) (undone func(), err error)
}

// Undo is how to undo what no lease undoes: a command, or requests.
type Undo struct {
	Run      string    `json:"run,omitempty"`
	Dir      string    `json:"dir,omitempty"`
	Env      []string  `json:"env,omitempty"`      // what the command knows of the system, beside the environment of whoever runs it
	Requests []string  `json:"requests,omitempty"` // URLs
	Request  *Request  `json:"request,omitempty"`
	Until    time.Time `json:"until,omitzero"`
}

// Active is a fault that is in force.
type Active struct {
	Resolved
	end func(ctx context.Context) error
}

// End mends what lasts, and returns when it is mended. The error says why that could not be done, or that it did not last
// until now. Call it once; what does not last needs it, too.
func (a *Active) End(ctx context.Context) error {
	if a.end == nil {
		return nil
	}
	return a.end(ctx)
}

// Begin breaks. What lasts is in force when it returns, and stays until End; what does not last is done then, which for a
// restart takes as long as the instances need to be ready again. An instance that is just being started is waited for, 10 s
// at most. If it returns an error, what was begun is mended.
func (a *Applier) Begin(ctx context.Context, r Resolved) (*Active, error) {
	active := &Active{Resolved: r}
	var err error
	switch r.Kind {
	case Kill:
		err = each(r.Targets, func(id string) error {
			return persist(ctx, func() error {
				_, err := a.Control.Kill(ctx, id, false)
				return err
			})
		})
	case Restart:
		err = a.restart(ctx, r.Targets)
	case Command:
		active.end, err = a.command(ctx, r)
	case HTTP:
		active.end, err = a.http(ctx, r)
	case Registry:
		if r.Mode == "wiped" {
			_, err = a.Control.Wipe(ctx, control.ControlService)
			break
		}
		active.end, err = a.inject(ctx, r)
	default:
		active.end, err = a.inject(ctx, r)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.What, err)
	}
	return active, nil
}

// restart restarts one after the other.
func (a *Applier) restart(ctx context.Context, targets []string) error {
	for _, id := range targets {
		if err := persist(ctx, func() error {
			_, err := a.Control.Restart(ctx, id)
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}

// ErrNotSuffered is in the error of the end of a fault that was accepted, and that somebody whom it was to hit never suffered.
var ErrNotSuffered = errors.New("not suffered")

// inject begins a fault under a lease, and renews that until the fault is ended.
func (a *Applier) inject(ctx context.Context, r Resolved) (func(context.Context) error, error) {
	req, err := r.ask()
	if err != nil {
		return nil, err
	}
	req.TTL, req.Note = lease, a.Note
	var fault control.Fault
	if err := persist(ctx, func() error {
		fault, err = a.Control.Inject(ctx, req)
		return err
	}); err != nil {
		return nil, err
	}
	renewing, stop := context.WithCancel(context.WithoutCancel(ctx))
	// A fault that is accepted is not suffered yet: it is once nobody is in trouble with it, of whatever else happens to them
	// later. A change of scale goes on after Inject, so of that what counts is how it is at the end.
	suffered := fault.Trouble == "" && r.Kind != Scale
	var lost error
	var wg sync.WaitGroup
	wg.Go(func() {
		lost = a.renew(renewing, fault.ID, func(f control.Fault) { suffered = suffered || f.Trouble == "" && r.Kind != Scale })
	})
	return func(ctx context.Context) error {
		stop()
		wg.Wait()
		trouble := ""
		if !suffered {
			if now, err := a.Control.Renew(ctx, fault.ID); err == nil {
				trouble = now.Trouble
			}
		}
		switch err := a.Control.Mend(ctx, fault.ID); {
		case lost != nil:
			return fmt.Errorf("it ended by itself before it should have: %w", lost)
		case failure.CodeOf(err) == failure.NotFound:
			return errors.New("it ended by itself before it should have")
		case err != nil:
			return fmt.Errorf("mend: %w", err)
		case trouble != "":
			return failure.Wrap(ErrNotSuffered, failure.FailedPrecondition, "not all whom it was to hit have suffered it: %s", trouble)
		}
		return nil
	}, nil
}

// renew keeps a lease until ctx is done, and shows what it is told of the fault. It returns why the lease was lost, nil if it was not.
func (a *Applier) renew(ctx context.Context, id string, show func(control.Fault)) error {
	tick := time.NewTicker(renew)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		// A failure is tried again at the next tick, and shows itself as NOT_FOUND when the lease is over.
		switch f, err := a.Control.Renew(ctx, id); {
		case err == nil:
			show(f)
		case failure.CodeOf(err) == failure.NotFound && ctx.Err() == nil:
			return err
		}
	}
}

// ask is what the control API is asked for. It is INVALID_ARGUMENT for kinds that it does not know: those that are done
// by other calls.
func (r Resolved) ask() (control.FaultRequest, error) {
	req := control.FaultRequest{Targets: r.Targets}
	switch r.Kind {
	case Freeze:
		req.Kind = control.FaultFreeze
	case SlowCPU:
		req.Kind, req.Share = control.FaultSlowCPU, r.Share
	case Scale:
		req.Kind, req.Replicas = control.FaultScale, &r.Replicas
	case Errors:
		req.Kind = control.FaultCalls
		rule := control.Calls{Methods: r.Methods, Share: cmp.Or(r.Share, 1), Code: cmp.Or(r.Code, DefaultCode), Delay: r.Delay}
		if rule.Code == NoCode {
			rule.Code = ""
		}
		req.Calls = []control.Calls{rule}
	case Disk:
		req.Kind = control.FaultDisk
		req.Disk = &control.Disk{Full: r.Mode == "full", FailSync: r.Mode == "failing", SlowSync: r.Delay}
	case Memory:
		req.Kind, req.Bytes = control.FaultMemory, r.Bytes
	case Clock:
		req.Kind, req.Jump = control.FaultClock, r.Jump
	case Partition, Latency, Bandwidth, Loss, Reset, Registry, Broker:
		req.Kind, req.Targets = control.FaultNet, nil
		for _, l := range r.Links {
			req.Links = append(req.Links, control.Link{From: l.From, To: l.To, Shape: r.shape()})
		}
	default:
		return control.FaultRequest{}, failure.New(failure.InvalidArgument, "%s is not done under a lease", r.Kind)
	}
	return req, nil
}

func (r Resolved) shape() control.Shape {
	switch r.Kind { //nolint:exhaustive // the others are no shapes
	case Partition:
		return control.Shape{CutOut: r.Way != "in", CutIn: r.Way != "out"}
	case Latency:
		return control.Shape{Delay: r.Delay, Jitter: r.Jitter}
	case Bandwidth:
		return control.Shape{Rate: r.Rate}
	case Loss:
		return control.Shape{Loss: r.Share}
	case Reset:
		return control.Shape{Reset: true, ResetEvery: r.Every}
	}
	if r.Mode == "slow" {
		return control.Shape{Delay: r.Delay}
	}
	return control.Shape{CutOut: true, CutIn: true}
}

// http sends the request to each target, and the other one to each at the end.
func (a *Applier) http(ctx context.Context, r Resolved) (func(context.Context) error, error) {
	undone, err := a.guard(ctx, r)
	if err != nil {
		return nil, err
	}
	send := func(ctx context.Context, what *Request) error {
		return each(r.Targets, func(id string) error {
			return persist(ctx, func() error {
				base, err := a.address(ctx, id)
				if err != nil {
					return err
				}
				return what.Send(ctx, base)
			})
		})
	}
	end := func(ctx context.Context) error {
		if r.Mend == nil {
			return nil
		}
		err := send(ctx, r.Mend)
		if err == nil {
			undone()
		}
		return err
	}
	if err := send(ctx, r.Request); err != nil {
		return nil, errors.Join(err, end(context.WithoutCancel(ctx)))
	}
	return end, nil
}

// address is the base URL of an instance's own HTTP server.
func (a *Applier) address(ctx context.Context, id string) (string, error) {
	instances, err := a.Control.InstancesOf(ctx, id)
	if err != nil {
		return "", err
	}
	for _, i := range instances {
		if addr := i.Addrs["http"]; i.ID == id && addr != "" {
			return "http://" + addr, nil
		}
	}
	return "", failure.New(failure.FailedPrecondition, "%s has no HTTP server that could be asked", id)
}

// Send makes the request to a base URL, and fails for any answer but a good one.
func (q *Request) Send(ctx context.Context, base string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, q.Method, base+q.Path, strings.NewReader(q.Body))
	if err != nil {
		return err
	}
	if strings.HasPrefix(strings.TrimSpace(q.Body), "{") || strings.HasPrefix(strings.TrimSpace(q.Body), "[") {
		req.Header.Set("Content-Type", "application/json")
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // what is broken may hold connections
	resp, err := client.Do(req)
	if err != nil {
		return failure.Wrap(err, failure.Unavailable, "%s %s: %v", q.Method, q.Path, errors.Unwrap(err))
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %w", q.Method, q.Path, failure.ReadProblem(resp))
	}
	return nil
}

// guard tells the guard how to undo a fault. undone is never nil.
func (a *Applier) guard(ctx context.Context, r Resolved) (undone func(), err error) {
	if a.Guard == nil || r.For == 0 {
		return func() {}, nil
	}
	u := Undo{Run: r.Undo, Dir: a.Dir, Request: r.Mend}
	for _, v := range a.Env {
		if strings.HasPrefix(v, "HOLDFAST_") && r.Undo != "" {
			u.Env = append(u.Env, v)
		}
	}
	if r.Kind == HTTP {
		for _, id := range r.Targets {
			if base, err := a.address(ctx, id); err == nil {
				u.Requests = append(u.Requests, base)
			}
		}
	}
	undone, err = a.Guard(u)
	if err != nil {
		return nil, fmt.Errorf("guard: %w", err)
	}
	return undone, nil
}

// each does something to all at once, and waits.
func each(ids []string, do func(id string) error) error {
	errs := make([]error, len(ids))
	var wg sync.WaitGroup
	for i, id := range ids {
		wg.Go(func() { errs[i] = do(id) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// persist tries again what fails because an instance is not there yet.
func persist(ctx context.Context, do func() error) error {
	for deadline := time.Now().Add(patience); ; {
		err := do()
		var refused *failure.Error
		switch code := failure.CodeOf(err); {
		case err == nil, code != failure.FailedPrecondition && code != failure.Unavailable, time.Now().After(deadline):
			return err
		case errors.As(err, &refused) && refused.Reason == control.ReasonDoesNotFollow:
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(again):
		}
	}
}
