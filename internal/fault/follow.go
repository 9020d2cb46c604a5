package fault

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/internal/backoff"
)

const (
	// firstPlan is how long connections wait for the first plan.
	firstPlan = 500 * time.Millisecond
	// statsEvery is how often a process says how it is.
	statsEvery = 500 * time.Millisecond
	// writeWithin is how long the agent may take nothing before its connection counts as broken.
	writeWithin = 5 * time.Second
	// stateEvery is how often a process says what state it is in, at most.
	stateEvery = time.Second
	// SignOfLife is how often an agent says something, if it is nothing.
	SignOfLife = time.Second
	// silence is how long an agent may say nothing before it counts as gone: twice, since a process that was frozen has not
	// listened meanwhile, and what was said waits for it.
	silence = 3 * time.Second
)

// Follow returns an Injector whose plan is what the agent that listens at path, a unix socket, says: nil if path is "".
//
// It returns at once, and what it wraps waits for the first plan, for at most 500 ms, so that a process that is started in the
// middle of it never sees a world without its faults. A plan is void when the connection to the agent ends, whatever
// the reason, or has been silent for 6 s; the connection is made again, with a delay of at most a second, until Close. say is asked by one goroutine.
func Follow(path string, hello Hello, say Saying, log *slog.Logger) *Injector {
	if path == "" {
		return nil
	}
	return follow(func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{Timeout: 2 * time.Second}).DialContext(ctx, "unix", path)
	}, hello, say, log)
}

// Saying is what a process says of itself.
type Saying struct {
	// Stats is called twice a second.
	Stats func() Stats
	// State is called once a second, and soon after Moved has had a value, but not sooner than a second after the last time
	// something was said. What is the same as the last time is not said again. nil: there is none.
	State func() State
	// Moved says that the state is another one. nil: it is seen when it is asked for.
	Moved <-chan struct{}
}

func follow(dial func(context.Context) (net.Conn, error), hello Hello, say Saying, log *slog.Logger) *Injector {
	i := newInjector()
	ctx, cancel := context.WithCancel(context.Background())
	f := &follower{inj: i, dial: dial, hello: hello, say: say, log: log}
	var running sync.WaitGroup
	running.Go(func() { f.run(ctx) })
	waited := time.AfterFunc(firstPlan, f.begin)
	i.stop = func() {
		cancel()
		waited.Stop()
		running.Wait()
		f.begin()
	}
	return i
}

// follower keeps the connection to an agent.
type follower struct {
	inj   *Injector
	dial  func(context.Context) (net.Conn, error)
	hello Hello
	say   Saying
	log   *slog.Logger
	once  sync.Once

	suffers bool
}

// begin lets go what waits for the first plan.
func (f *follower) begin() { f.once.Do(func() { close(f.inj.first) }) }

func (f *follower) run(ctx context.Context) {
	delay := backoff.Backoff{Base: 50 * time.Millisecond, Max: time.Second}
	for ctx.Err() == nil {
		planned, err := f.session(ctx)
		f.tellOf(&Plan{}) // nothing stays broken when the platform is gone
		f.inj.Set(Plan{})
		if ctx.Err() != nil {
			return
		}
		if planned {
			f.log.Debug("the agent of the platform is gone", "error", err)
			delay.Reset()
		}
		backoff.Pause(ctx, delay.Next())
	}
}

// tellOf logs when it begins to suffer, and when that is over: who reads the log of what happens has to know why.
func (f *follower) tellOf(p *Plan) {
	switch s := p.something(); {
	case s && !f.suffers:
		f.log.Info("suffering on purpose: the platform has a drill")
	case !s && f.suffers:
		f.log.Info("no longer suffering on purpose")
	}
	f.suffers = p.something()
}

// session is one connection to the agent. planned: there was a plan.
func (f *follower) session(ctx context.Context) (planned bool, err error) {
	c, err := f.dial(ctx)
	if err != nil {
		return false, fmt.Errorf("dial agent: %w", err)
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	out := &sender{conn: c}
	if err := out.send(Message{Hello: &f.hello}); err != nil {
		return false, err
	}
	done := make(chan struct{})
	var telling sync.WaitGroup
	telling.Go(func() { f.tell(out, done) })
	defer telling.Wait()
	defer close(done)
	for in := NewReader(hearing{c}); ; {
		m, err := in.Read()
		if err != nil {
			return planned, err
		}
		if m.Plan == nil {
			continue // of a later version
		}
		f.tellOf(m.Plan)
		f.inj.Set(*m.Plan)
		f.begin()
		planned = true
		if err := out.send(Message{Ack: m.Seq}); err != nil {
			return planned, err
		}
	}
}

// hearing is a connection on which something is always said.
type hearing struct{ net.Conn }

// Read implements io.Reader.
func (h hearing) Read(b []byte) (n int, err error) {
	for range 2 {
		if err := h.SetReadDeadline(time.Now().Add(silence)); err != nil {
			return 0, fmt.Errorf("agent: %w", err)
		}
		if n, err = h.Conn.Read(b); n > 0 || !timedOut(err) {
			return n, err
		}
	}
	return n, err
}

// tell says how the process is.
func (f *follower) tell(out *sender, done <-chan struct{}) {
	t := time.NewTicker(statsEvery)
	defer t.Stop()
	var state teller
	for n := 0; ; n++ {
		s := f.say.Stats()
		s.Suffered = f.inj.Suffered()
		s.CPU = processorTime()
		err := out.send(Message{Stats: &s})
		if f.say.State != nil && err == nil && state.due(time.Now()) {
			err = state.say(f.say.State(), out)
		}
		for waiting := true; waiting && err == nil; {
			select {
			case <-t.C:
				waiting = false
			case <-f.say.Moved: // never of nil
				if f.say.State != nil && state.free(time.Now()) {
					err = state.say(f.say.State(), out)
				} else {
					state.asked = time.Time{}
				}
			case <-done:
				return
			}
		}
		if err != nil {
			_ = out.conn.Close() // which ends the session
			return
		}
	}
}

// teller says the state of a process on one connection.
type teller struct {
	asked time.Time // zero: it is to be asked for as soon as it may be said
	said  time.Time
	last  []byte
}

// free reports whether something may be said.
func (t *teller) free(now time.Time) bool { return now.Sub(t.said) >= stateEvery-statsEvery/5 }

// due reports whether the state is to be asked for.
func (t *teller) due(now time.Time) bool {
	return t.free(now) && now.Sub(t.asked) >= stateEvery-statsEvery/5
}

// say sends s, unless that was said last.
func (t *teller) say(s State, out *sender) error {
	now := time.Now()
	t.asked = now
	b, err := encodeState(s)
	if err != nil || bytes.Equal(b, t.last) {
		return err
	}
	t.said, t.last = now, b
	return out.sendRaw(b)
}

// sender writes messages from several goroutines.
type sender struct {
	mu   sync.Mutex
	conn net.Conn
}

func (s *sender) send(m Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.conn.SetWriteDeadline(time.Now().Add(writeWithin)); err != nil {
		return fmt.Errorf("write message: %w", err)
	}
	return Write(s.conn, m)
}

// sendRaw sends a message that is encoded already, with its newline.
func (s *sender) sendRaw(b []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.conn.SetWriteDeadline(time.Now().Add(writeWithin)); err != nil {
		return fmt.Errorf("write message: %w", err)
	}
	if _, err := s.conn.Write(b); err != nil {
		return fmt.Errorf("write message: %w", err)
	}
	return nil
}

// something reports whether the plan is any.
func (p *Plan) something() bool {
	return len(p.Dial) > 0 || p.Accept != nil || len(p.Calls) > 0 || p.Disk != nil || p.Ballast > 0
}
