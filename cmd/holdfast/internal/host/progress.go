//go:build unix

package host

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/platform/control"
	"github.com/holdfast-go/holdfast/platform/supervise"
	"github.com/holdfast-go/holdfast/platform/system"
)

// Progress is how far a system has come on its way up or down, as a value.
type Progress struct {
	System   string
	State    control.State
	Begun    time.Time       // when it was started
	Ready    time.Time       // when all services were ready for the first time; zero before
	Stopping time.Time       // when the stop began; zero before
	Why      string          // why the start failed, in one line, if that began the stop
	Build    BuildProgress   //
	Services []ServiceStatus // "control" first, if there is one, then in the order of the system file
}

// BuildProgress is how far the build is. It is zero if nothing is to be built.
type BuildProgress struct {
	Packages    int    // to build
	Compiled    int    // packages compiled so far, those they import included
	Download    string // "downloading MODULE VERSION" while that is what takes time
	Begun, Done time.Time
}

// ServiceStatus is one line of Progress.
type ServiceStatus struct {
	Name    string
	Wanted  int
	Ready   int       // of the wanted
	Running int       // processes, ready or not
	Needs   []string  // services it waits for before it is begun
	HTTP    string    // address of its edge
	Begun   time.Time // zero before its wave
	Done    time.Time // when all were ready for the first time
	Trouble string    // why one is not ready, or ended last
}

func newProgress(sys *system.System, now time.Time) Progress {
	p := Progress{System: sys.Name, State: control.Starting, Begun: now}
	if n := sys.Control.Members; n > 0 {
		p.Services = append(p.Services, ServiceStatus{Name: control.ControlService, Wanted: n})
	}
	for _, s := range sys.Services {
		p.Services = append(p.Services, ServiceStatus{Name: s.Name, Wanted: s.Replicas, Needs: s.Needs, HTTP: s.HTTP})
	}
	return p
}

// see brings the counts up to date with the states of all instances.
func (p *Progress) see(states []supervise.State, now time.Time) {
	for i := range p.Services {
		s := &p.Services[i]
		s.Ready, s.Running, s.Trouble = 0, 0, ""
		for _, state := range states {
			if state.Service != s.Name {
				continue
			}
			if state.PID != 0 {
				s.Running++
			}
			switch state.State {
			case supervise.Ready:
				s.Ready++
			case supervise.Backoff, supervise.Looping:
				s.Trouble = state.ID + ": " + state.Reason
			case supervise.Starting:
				if state.Late {
					s.Trouble = state.ID + ": " + state.Reason
				}
			case supervise.Frozen, supervise.Draining, supervise.Stopped:
			}
		}
		s.Ready = min(s.Ready, s.Wanted) // a rolling restart has one more for a while
		if s.Done.IsZero() && !s.Begun.IsZero() && s.Ready == s.Wanted {
			s.Done = now
		}
	}
}

// Progress returns how far the system is.
func (h *Host) Progress() Progress {
	states := h.sup.States()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.progress.see(states, time.Now())
	p := h.progress
	p.Services = slices.Clone(p.Services)
	return p
}

// began notes that a service's processes are about to be started.
func (h *Host) began(service string) {
	h.service(service, func(s *ServiceStatus) { s.Begun = time.Now() })
}

func (h *Host) service(name string, do func(*ServiceStatus)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.progress.Services {
		if h.progress.Services[i].Name == name {
			do(&h.progress.Services[i])
		}
	}
}

// enter moves the system to another state and says so. There is no way back from Stopping.
func (h *Host) enter(state control.State) {
	now := time.Now()
	h.mu.Lock()
	if h.progress.State == state || h.progress.State == control.Stopping {
		h.mu.Unlock()
		return
	}
	h.progress.State = state
	name, message := h.progress.System, ""
	switch state {
	case control.Building:
		message = "building " + name
	case control.Starting:
		message = "starting " + name
	case control.Ready:
		h.progress.Ready = now
		message = fmt.Sprintf("%s is ready in %s", name, Seconds(now.Sub(h.progress.Begun)))
	case control.Stopping:
		h.progress.Stopping = now
		message = "stopping " + name
		if h.failure != nil {
			h.progress.Why = brief(h.failure)
			message += ": " + h.progress.Why
		}
	}
	h.mu.Unlock()
	h.feed.publish(control.Event{Time: now, State: string(state), Message: message})
}

// brief is an error in one line, without what a service or the compiler wrote.
func brief(err error) string {
	var crash *supervise.CrashError
	var build *supervise.BuildError
	text := err.Error()
	switch {
	case errors.As(err, &crash):
		text = crash.ID + " keeps crashing: " + crash.Reason
	case errors.As(err, &build) && build.Output != "":
		text = "the build failed"
	}
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// Seconds prints a duration for people who wait: "0.4 s", "3.2 s", "2 min 5 s".
func Seconds(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	default:
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	}
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
