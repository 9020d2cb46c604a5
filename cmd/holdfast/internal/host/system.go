//go:build unix

package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/platform/control"
	"github.com/holdfast-go/holdfast/platform/sight"
	"github.com/holdfast-go/holdfast/platform/supervise"
	"github.com/holdfast-go/holdfast/platform/system"
)

// Info implements control.System.
func (h *Host) Info() control.Info {
	p := h.Progress()
	info := control.Info{
		System: h.sys.Name, State: p.State, Since: p.Begun, PID: os.Getpid(), Version: h.cfg.Version,
		Dir: h.sys.Dir, Data: h.cfg.Data, Registry: h.url, Config: h.policies.url, Queue: h.queue,
	}
	info.Clock = h.clocks != nil
	if h.sight.receiver != nil {
		info.Telemetry = h.sight.receiver.Addr()
	}
	if h.net != nil {
		info.Network = h.net.Subnet().String()
	}
	replicated := make(map[string]bool)
	for _, s := range h.sys.Services {
		replicated[s.Name] = s.State == system.Replicated
	}
	for _, s := range p.Services {
		if s.Name != control.ControlService {
			info.Services = append(info.Services, control.Service{
				Name: s.Name, Replicas: s.Wanted, Ready: s.Ready, HTTP: s.HTTP, Autoscale: h.scaling(s.Name), Replicated: replicated[s.Name],
			})
		}
	}
	return info
}

// Instances implements control.System.
func (h *Host) Instances() []control.Instance {
	states := h.sup.States()
	out := make([]control.Instance, 0, len(states))
	for _, s := range states {
		out = append(out, control.Instance{
			Service: s.Service, ID: s.ID, PID: s.PID, Addr: mainAddr(s.Addrs), Addrs: maps.Clone(s.Addrs), State: string(s.State),
			Restarts: s.Restarts, Since: s.Since, Reason: s.Reason,
		})
	}
	// The supervisor has them in the order of waves.
	rank := map[string]int{control.ControlService: -1}
	for i, s := range h.sys.Services {
		rank[s.Name] = i
	}
	slices.SortStableFunc(out, func(a, b control.Instance) int { return rank[a.Service] - rank[b.Service] })
	return out
}

// mainAddr is the address that the registry lists first: gRPC's, or else HTTP's, or else any.
func mainAddr(addrs map[string]string) string {
	for _, protocol := range append([]string{"grpc", "http"}, slices.Sorted(maps.Keys(addrs))...) {
		if addr, ok := addrs[protocol]; ok {
			return addr
		}
	}
	return ""
}

// Kill implements control.System.
func (h *Host) Kill(_ context.Context, id string) error { return h.sup.Kill(id) }

// Freeze implements control.System.
func (h *Host) Freeze(_ context.Context, id string) error { return h.sup.Freeze(id) }

// Thaw implements control.System.
func (h *Host) Thaw(_ context.Context, id string) error { return h.sup.Thaw(id) }

// Restart implements control.System.
func (h *Host) Restart(ctx context.Context, service string, ids []string) error {
	if err := h.up("restart"); err != nil {
		return err
	}
	if err := h.sup.Restart(ctx, service, ids...); err != nil {
		return h.answer(err)
	}
	h.finished(service, control.EventRestarted, strings.Join(ids, ", ")+" restarted")
	return nil
}

// Scale implements control.System.
func (h *Host) Scale(ctx context.Context, service string, n int) error {
	if err := h.up("scale"); err != nil {
		return err
	}
	say := func(message string) {
		h.feed.publish(control.Event{Time: time.Now(), Service: service, Message: service + message})
	}
	was := h.scaler.Pause(service, fmt.Sprintf("set to %d by hand", n))
	if was {
		say(" is not scaled by its load from now on; scale " + service + " auto gives it back")
	}
	err := h.resize(ctx, service, n, fmt.Sprintf("%s scaled to %d", service, n))
	if h.sup.Replicas(service) == n {
		h.keeper.Rescaled(service, n) // what a fault set is over
	}
	if was && h.sup.Replicas(service) != n { // refused: it is as it was
		_ = h.scaler.Resume(service)
		say(" is scaled by its load again")
	}
	return err
}

// resize changes how many instances a service has, and says so in the words of done.
func (h *Host) resize(ctx context.Context, service string, n int, done string) error {
	h.service(service, func(s *ServiceStatus) { s.Wanted = n })
	if err := h.sup.Scale(ctx, service, n); err != nil {
		// Refused, or begun and not yet done: the supervisor knows.
		wanted := h.sup.Replicas(service)
		h.service(service, func(s *ServiceStatus) { s.Wanted = wanted })
		return h.answer(err)
	}
	h.finished(service, control.EventScaled, done)
	return nil
}

// answer gives an error the code and the words that control.System promises: without them the API hides what it is.
func (h *Host) answer(err error) error {
	var crash *supervise.CrashError
	var coded *failure.Error
	switch {
	case errors.As(err, &coded):
		return err
	case errors.As(err, &crash):
		return failure.Wrap(err, failure.FailedPrecondition, "%s", crash.Error())
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		// Nobody but the end of the system, or whoever asked and has left, ends these contexts.
		return failure.Wrap(err, failure.CodeOf(err), "given up: %s is stopping, or the request was ended", h.sys.Name)
	}
	return failure.Wrap(err, failure.FailedPrecondition, "%s", err.Error())
}

// finished publishes that a command is done, after all that it did.
func (h *Host) finished(service, state, message string) {
	h.settle()
	h.feed.publish(control.Event{Time: time.Now(), Service: service, State: state, Message: message})
}

// up refuses what makes no sense before the system is ready or once it stops.
func (h *Host) up(what string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s := h.progress.State; s != control.Ready {
		return failure.New(failure.FailedPrecondition, "%s is %s; %s works once it is ready", h.sys.Name, s, what)
	}
	return nil
}

// Down implements control.System.
func (h *Host) Down() { h.downOnce.Do(func() { close(h.down) }) }

// Logs implements control.System.
func (h *Host) Logs(ctx context.Context, q control.LogQuery, emit func(control.LogLine) error) error {
	kept := q.Lines
	if q.Text != "" || q.Trace != "" {
		kept = control.MaxLogLines
	}
	fits := sight.Filter(q)
	lines, tail, err := h.sup.Logs(q.Service, kept, q.Follow)
	if err != nil {
		return err
	}
	if tail != nil {
		defer tail.Stop()
	}
	sent, more := h.sight.store.Sent(q)
	if more != nil {
		defer more.Stop()
	}
	for _, l := range filtered(q, lines, sent) {
		if err := emit(l); err != nil {
			return err
		}
	}
	if tail == nil {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	written := make(chan control.LogLine)
	done := make(chan struct{})
	go func() {
		defer close(done)
		err = hand(ctx, tail, fits, written)
	}()
	defer func() {
		cancel()
		<-done
	}()
	for {
		var line control.LogLine
		select {
		case line = <-written:
		case line = <-more.Lines:
		case <-done:
			return err
		}
		if err := emit(line); err != nil {
			return err
		}
	}
}

// hand hands on what comes of a tail and fits, until ctx ends or the supervisor has ended.
func hand(ctx context.Context, tail *supervise.Tail, fits func(control.LogLine) bool, to chan<- control.LogLine) error {
	for {
		l, err := tail.Next(ctx)
		switch {
		case errors.Is(err, io.EOF), ctx.Err() != nil:
			return nil //nolint:nilerr // that is its end
		case err != nil:
			return err
		}
		line := logLine(l)
		if line.Dropped == 0 && !fits(line) {
			continue
		}
		select {
		case to <- line:
		case <-ctx.Done():
			return nil
		}
	}
}

func logLine(l supervise.Line) control.LogLine {
	line := control.LogLine{Time: l.Time, Service: l.Service, Instance: l.Instance, Text: l.Text, Dropped: l.Dropped}
	line.Trace, line.Span, line.Level = sight.ParseLine(l.Text)
	return line
}
