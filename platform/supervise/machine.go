//go:build unix

package supervise

import "time"

const (
	backoffBase = 100 * time.Millisecond
	backoffMax  = 10 * time.Second
	// steady is how long a process has to have been ready for its crash to count as the first one.
	steady = 10 * time.Second
	// loopAfter is the number of crashes in a row that make a crash loop.
	loopAfter = 5
)

// machine is the life of one instance, as decisions only: step is told what happened and says what to do. It knows no
// clock, process or goroutine. DESIGN.md has the diagram.
type machine struct {
	phase Phase // Starting, Ready, Draining, Backoff or Stopped; Frozen and Looping are views, see visible

	// frozen: the process is stopped by a signal. Only with a process.
	frozen bool
	// ended: the process that was started has ended but not been reaped, because others of its group still run. Only
	// while Draining: they may finish.
	ended bool
	// share is how much of the time the process is let run, by stopping it in between; 0 is all of it. Only with a process, and gone
	// with it. paused: it is stopped for that. resumed: it was let go on for good, and that it goes on has not been seen yet, so that
	// what is seen of stops is old.
	share           float64
	paused, resumed bool
	// silent: nobody holds the output of the process open any more, so its group is taken to be gone.
	silent bool
	// killed: SIGKILL was sent. The end of the process says nothing about its health, and nobody is left to finish.
	killed bool

	starts   int       // processes started so far, failed starts included
	failures int       // crashes in a row
	readyAt  time.Time // when the process became ready, zero if it did not
	reason   string    // why the last one ended; doReap finds it out
	unready  string    // why the process is not ready yet, once that takes long
	retryAt  time.Time // when the next one is started; zero unless waiting
}

// kind is something that happens to an instance.
type kind int

const (
	evStart     kind = iota // begin; the first input
	evStarted               // a process was started
	evFailed                // it could not be started
	evReady                 // its probe succeeded
	evUnready               // its probe has failed for a while
	evStopped               // it was stopped by a signal (whoever sent it)
	evContinued             // it goes on
	evEnded                 // the started process ended; it is not reaped yet
	evSilent                // its output was closed by all who held it
	evRetry                 // the wait after a crash is over
	evGrace                 // the time for draining is over
	cmdStop                 // end for good
	cmdKill                 // SIGKILL, then start again
	cmdFreeze
	cmdThaw
	cmdSlow // to event.share
	evPace  // it is time to stop or to go on
)

// event is an input of step.
type event struct {
	kind   kind
	now    time.Time
	reason string  // of evFailed and evUnready
	jitter float64 // in [0,1)
	share  float64 // of cmdSlow
}

// action is something to be done now, in order.
type action int

const (
	doStart     action = iota // start a process; answer with evStarted or evFailed
	doProbe                   // find out whether it is ready; replaces a probe that is under way
	doTerminate               // SIGTERM to the group
	doKill                    // SIGKILL to the group
	doFreeze                  // SIGSTOP to the group
	doThaw                    // SIGCONT to the group
	doReap                    // SIGKILL to what is left of the group, reap, stop probing
	doRetry                   // evRetry at retryAt
	doGrace                   // evGrace after the stop timeout
	doPace                    // evPace after pause
	doFinish                  // the last one: there is nothing more to come
)

// running reports whether there is a process.
func (m *machine) running() bool {
	return m.phase == Starting || m.phase == Ready || m.phase == Draining
}

// visible is the phase as users see it.
func (m *machine) visible() Phase {
	switch {
	case m.phase == Backoff && m.failures >= loopAfter:
		return Looping
	case m.frozen && (m.phase == Starting || m.phase == Ready):
		return Frozen
	}
	return m.phase
}

// why is the reason that users see: why the process is not ready yet, which is late then, and otherwise why the last one ended.
func (m *machine) why() (reason string, late bool) {
	if m.unready != "" && m.visible() == Starting {
		return m.unready, true
	}
	return m.reason, false
}

// restarts is the number of starts after the first.
func (m *machine) restarts() int { return max(0, m.starts-1) }

// step changes m by one event and returns what to do. Events that come too late, such as a freeze of a process that has
// just ended, are ignored.
func (m *machine) step(e event) []action {
	switch e.kind {
	case evStart, evRetry:
		if m.phase == Backoff || m.phase == "" {
			return m.start()
		}
	case evStarted:
		return []action{doProbe}
	case evFailed:
		m.reason = e.reason
		return m.crashed(e)
	case evReady:
		if m.phase == Starting && !m.frozen {
			m.phase, m.readyAt = Ready, e.now
		}
	case evUnready:
		if m.phase == Starting && !m.frozen {
			m.unready = e.reason
		}
	case evStopped:
		if m.share == 0 && !m.resumed {
			m.frozen = m.running()
		}
	case evContinued:
		if m.resumed || m.share > 0 {
			m.resumed = false
			return nil
		}
		return m.thawed()
	case evEnded:
		m.ended = true
		if m.phase != Draining || m.silent || m.killed {
			return m.reap(e)
		}
	case evSilent:
		m.silent = true
		if m.ended {
			return m.reap(e)
		}
	case evGrace:
		if m.phase == Draining && m.ended {
			return m.reap(e)
		}
		if m.phase == Draining {
			m.killed = true
			return []action{doKill}
		}
	default:
		return m.command(e)
	}
	return nil
}

func (m *machine) command(e event) []action {
	switch {
	case e.kind == cmdStop && (m.phase == Starting || m.phase == Ready):
		// SIGTERM waits in a stopped process until it goes on. A slowed one is slow in ending, too.
		m.phase, m.frozen, m.paused = Draining, false, false
		return []action{doTerminate, doThaw, doGrace}
	case e.kind == cmdStop && (m.phase == Backoff || m.phase == ""):
		m.phase, m.retryAt = Stopped, time.Time{}
		return []action{doFinish}
	case !m.running():
		return nil
	case e.kind == cmdKill && m.ended:
		return m.reap(e)
	case e.kind == cmdKill:
		m.killed = true
		return []action{doKill}
	case e.kind == cmdFreeze:
		m.frozen, m.resumed = true, false
		return []action{doFreeze}
	case e.kind == cmdThaw:
		m.paused = false
		return append([]action{doThaw}, m.thawed()...)
	case e.kind == cmdSlow:
		return m.slow(e.share)
	case e.kind == evPace:
		return m.paced()
	}
	return nil
}

// slow begins, changes or ends the stopping in between.
func (m *machine) slow(share float64) []action {
	was := m.share
	m.share = share
	switch {
	case share > 0 && was == 0:
		m.resumed = false
		return []action{doPace}
	case share == 0 && m.paused:
		m.paused = false
		if !m.frozen {
			m.resumed = true
			return []action{doThaw}
		}
	}
	return nil
}

// paced lets the process stop or go on. One that is frozen stays as it is.
func (m *machine) paced() []action {
	switch {
	case m.share == 0:
		return nil
	case m.frozen:
		return []action{doPace}
	case m.paused:
		m.paused = false
		return []action{doThaw, doPace}
	}
	m.paused = true
	return []action{doFreeze, doPace}
}

const (
	// paceTime is how long a slowed process takes to run and to stop once: long enough that the kernel's own time slices do
	// not matter, short enough that it looks slow and not frozen.
	paceTime = 40 * time.Millisecond
	// paceRun is the least that it is let run.
	paceRun = 2 * time.Millisecond
)

// pause is how long the process runs or stays stopped now.
func (m *machine) pause() time.Duration {
	run := max(paceRun, time.Duration(m.share*float64(paceTime)))
	if !m.paused {
		return run
	}
	return time.Duration(float64(run) * (1 - m.share) / m.share)
}

// start begins the life of a new process.
func (m *machine) start() []action {
	*m = machine{phase: Starting, starts: m.starts + 1, failures: m.failures, reason: m.reason}
	return []action{doStart}
}

// thawed probes again, because what a probe found out about a frozen process was not believed.
func (m *machine) thawed() []action {
	was := m.frozen
	m.frozen = false
	if was && m.phase == Starting {
		return []action{doProbe}
	}
	return nil
}

func (m *machine) reap(e event) []action {
	m.frozen, m.ended = false, false
	if m.phase == Draining {
		m.phase = Stopped
		return []action{doReap, doFinish}
	}
	return append([]action{doReap}, m.crashed(e)...)
}

// crashed waits for the next start: full jitter, doubling with each crash in a row.
func (m *machine) crashed(e event) []action {
	if !m.readyAt.IsZero() && e.now.Sub(m.readyAt) >= steady {
		m.failures = 0
	}
	if !m.killed {
		m.failures++
	}
	m.phase = Backoff
	m.retryAt = e.now.Add(time.Duration(e.jitter * float64(ceiling(m.failures))))
	return []action{doRetry}
}

// ceiling bounds the wait after so many crashes in a row.
func ceiling(failures int) time.Duration {
	d := backoffBase
	for i := 1; i < failures && d < backoffMax; i++ {
		d *= 2
	}
	return min(d, backoffMax)
}
