package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"reflect"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/internal/fault"
)

// Variable is the name of the environment variable that tells a process where its agent listens.
const Variable = "HOLDFAST_AGENT"

const (
	// maxConns bounds the connections. A system has at most some hundred processes.
	maxConns = 1024
	// maxName bounds what a process calls itself; it comes back in answers and messages.
	maxName = 128
	// helloTimeout bounds how long a connection may be anonymous.
	helloTimeout = 2 * time.Second
	// ackTimeout bounds how long SetPlan waits.
	ackTimeout = 2 * time.Second
)

// Config configures a Server. The zero value works.
type Config struct {
	// Logger gets what goes wrong. Default: discarded.
	Logger *slog.Logger
}

// Said is what a process last said of itself.
type Said struct {
	fault.Stats
	At  time.Time // when it came
	PID int       // as the process knows it
}

// StateSaid is the state that a process last said it is in.
type StateSaid struct {
	fault.State
	At      time.Time // when it came
	PID     int       // as the process knows it
	Service string    // what the process registers as
}

// Server is where the processes of one system ask what they are to suffer. It is a lifecycle Component. Safe for
// concurrent use.
type Server struct {
	cfg      Config
	listener net.Listener
	dir      string // removed at the end
	changed  chan struct{}
	states   chan struct{}

	wg sync.WaitGroup

	mu     sync.Mutex
	closed bool
	wanted map[string]fault.Plan // by instance; without empty ones
	conns  map[*conn]struct{}    // those that have said hello
	opened int                   // those that have not, too
}

// conn is a process that follows.
type conn struct {
	net.Conn
	hello fault.Hello

	// Guarded by Server.mu.
	plan  fault.Plan
	seq   uint64        // of plan
	acked uint64        // the highest that is in force
	moved chan struct{} // closed and replaced when acked grows, and closed for good at the end
	send  chan struct{} // has something when plan is newer than what was sent
	said  Said
	state StateSaid
	ended bool
}

// Listen listens at once on a unix socket in a directory of its own that only this user can reach. A Server that is not run
// must be closed.
func Listen(cfg Config) (*Server, error) {
	listener, dir, err := listen()
	if err != nil {
		return nil, fmt.Errorf("agent: %w", err)
	}
	s := newServer(cfg, listener)
	s.dir = dir
	return s, nil
}

func newServer(cfg Config, l net.Listener) *Server {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Server{
		cfg: cfg, listener: l, changed: make(chan struct{}, 1), states: make(chan struct{}, 1),
		wanted: make(map[string]fault.Plan), conns: make(map[*conn]struct{}),
	}
}

// Env is the variable that leads a process here, as KEY=VALUE.
func (s *Server) Env() string { return Variable + "=" + s.listener.Addr().String() }

// Name implements lifecycle.Namer.
func (s *Server) Name() string { return "agent" }

// Changed has a value whenever, since it was last received, a process has begun or ceased to follow, or has put a plan in
// force for which nobody waited any more. It is for one receiver.
func (s *Server) Changed() <-chan struct{} { return s.changed }

func (s *Server) tell() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// StateChanged has a value whenever, since it was last received, a process has said that its state is another one, or has
// ceased to follow. It is for one receiver.
func (s *Server) StateChanged() <-chan struct{} { return s.states }

func (s *Server) tellState() {
	select {
	case s.states <- struct{}{}:
	default:
	}
}

// Run serves until ctx ends, and then ends all connections: every plan is void.
func (s *Server) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	defer s.wg.Wait()
	defer func() { _ = s.Close() }()
	for {
		c, err := s.listener.Accept()
		switch {
		case err == nil:
		case ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			return nil
		default:
			// Too many open files, say: it passes, and the processes try again.
			s.cfg.Logger.Warn("agent: accept", "error", err)
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
			}
			continue
		}
		s.mu.Lock()
		refuse := s.closed || s.opened >= maxConns
		if !refuse {
			s.opened++
		}
		s.mu.Unlock()
		if refuse {
			c.Close()
			continue
		}
		s.wg.Go(func() {
			if err := s.serve(ctx, c); err != nil {
				s.cfg.Logger.Warn("agent: a process is not followed any more", "error", err)
			}
		})
	}
}

// Close ends all connections and frees the address. It may be called more than once.
func (s *Server) Close() error {
	s.mu.Lock()
	first := !s.closed
	s.closed = true
	for c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	if !first {
		return nil
	}
	return errors.Join(s.listener.Close(), remove(s.dir))
}

// serve speaks with one process until it ends. The error is what was wrong with it; that a process ends is nothing wrong.
func (s *Server) serve(ctx context.Context, nc net.Conn) error {
	defer func() {
		nc.Close()
		s.mu.Lock()
		s.opened--
		s.mu.Unlock()
	}()
	stop := context.AfterFunc(ctx, func() { nc.Close() })
	defer stop()

	messages := fault.NewReader(nc)
	_ = nc.SetReadDeadline(time.Now().Add(helloTimeout))
	m, err := messages.Read()
	switch {
	case err != nil:
		return nil // whoever it was; it has not even said its name
	case m.Hello == nil:
		return errors.New("it does not say who it is")
	case m.Hello.Instance == "" || len(m.Hello.Instance) > maxName || len(m.Hello.Service) > maxName:
		return fmt.Errorf("it calls itself %.140q of %.140q", m.Hello.Instance, m.Hello.Service)
	}
	_ = nc.SetReadDeadline(time.Time{})
	c := s.join(nc, *m.Hello)
	if c == nil {
		return nil
	}
	gone := make(chan struct{})
	s.wg.Go(func() { s.write(c, gone) })
	err = s.read(c, messages)
	close(gone)
	s.leave(c)
	if err != nil {
		return fmt.Errorf("%s: %w", c.hello.Instance, err)
	}
	return nil
}

// join makes a connection one of an instance; nil if the server has ended.
func (s *Server) join(nc net.Conn, hello fault.Hello) *conn {
	c := &conn{Conn: nc, hello: hello, seq: 1, moved: make(chan struct{}), send: make(chan struct{}, 1)}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	c.plan = s.wanted[hello.Instance]
	c.send <- struct{}{} // the process waits for its first plan, if it is an empty one, too
	s.conns[c] = struct{}{}
	s.tell()
	return c
}

func (s *Server) leave(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	c.ended = true
	close(c.moved)
	s.tell()
	s.tellState()
}

// write sends each new plan, and signs of life, until gone is closed. One that does not read holds up this goroutine alone, and always
// gets the newest one next.
func (s *Server) write(c *conn, gone <-chan struct{}) {
	life := time.NewTicker(fault.SignOfLife)
	defer life.Stop()
	for {
		select {
		case <-c.send:
		case <-life.C:
			if err := fault.WriteSign(c); err != nil {
				c.Close()
				return
			}
			continue
		case <-gone:
			return
		}
		s.mu.Lock()
		plan, seq := c.plan, c.seq
		s.mu.Unlock()
		if err := fault.Write(c, fault.Message{Plan: &plan, Seq: seq}); err != nil {
			c.Close() // a plan that is half sent cannot be taken back; the process connects anew
			return
		}
	}
}

func (s *Server) read(c *conn, messages *fault.Reader) error {
	for {
		m, err := messages.Read()
		if err != nil {
			var network net.Error
			if errors.As(err, &network) || isEnd(err) {
				return nil
			}
			return err
		}
		s.mu.Lock()
		if m.Ack > c.acked && m.Ack <= c.seq {
			c.acked = m.Ack
			close(c.moved)
			c.moved = make(chan struct{})
			s.tell()
		}
		if m.Stats != nil {
			c.said = Said{Stats: *m.Stats, At: time.Now(), PID: c.hello.PID}
		}
		if m.State != nil {
			c.state = StateSaid{State: *m.State, At: time.Now(), PID: c.hello.PID, Service: c.hello.Service}
			s.tellState()
		}
		s.mu.Unlock()
	}
}

// SetPlan says what an instance is to suffer from now on, also after it is started again, and waits until its process has
// put that in force: until ctx ends, or for 2 s. An instance that does not follow at the moment gets its plan when it does;
// that is a failure.FailedPrecondition unless the plan is empty. A process that does not answer in time, because it is
// frozen, gets it when it goes on; that is a failure.DeadlineExceeded. A plan that is not valid, or too large to be sent,
// is a failure.InvalidArgument and changes nothing.
func (s *Server) SetPlan(ctx context.Context, instance string, plan fault.Plan) error {
	if err := check(plan); err != nil {
		return failure.Wrap(err, failure.InvalidArgument, "plan for %s: %s", instance, err.Error())
	}
	waits := s.set(instance, plan)
	none := reflect.ValueOf(plan).IsZero()
	if len(waits) == 0 && !none {
		return failure.New(failure.FailedPrecondition, "%s does not follow", instance)
	}
	late := time.NewTimer(ackTimeout)
	defer late.Stop()
	gone := 0
	for _, w := range waits {
		err := s.await(ctx, late.C, w)
		switch {
		case errors.Is(err, errGone):
			gone++
		case err != nil:
			return failure.Wrap(err, failure.DeadlineExceeded, "%s has not taken note yet", instance)
		}
	}
	if gone == len(waits) && !none {
		return failure.New(failure.FailedPrecondition, "%s does not follow any more", instance)
	}
	return nil
}

// wait is a plan that a process has to put in force.
type wait struct {
	c   *conn
	seq uint64
}

var (
	errGone = errors.New("the connection has ended")
	errLate = errors.New("no answer in time")
)

// set changes the plan of an instance and returns for what to wait.
func (s *Server) set(instance string, plan fault.Plan) []wait {
	s.mu.Lock()
	defer s.mu.Unlock()
	if reflect.ValueOf(plan).IsZero() {
		delete(s.wanted, instance)
	} else {
		s.wanted[instance] = plan
	}
	var waits []wait
	for c := range s.conns {
		if c.hello.Instance != instance {
			continue
		}
		if !reflect.DeepEqual(c.plan, plan) {
			c.plan = plan
			c.seq++
			select {
			case c.send <- struct{}{}:
			default: // the newest one will be sent
			}
		}
		waits = append(waits, wait{c, c.seq})
	}
	return waits
}

func (s *Server) await(ctx context.Context, late <-chan time.Time, w wait) error {
	for {
		s.mu.Lock()
		done, ended, moved := w.c.acked >= w.seq, w.c.ended, w.c.moved
		s.mu.Unlock()
		switch {
		case done:
			return nil
		case ended:
			return errGone
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		case <-late:
			return errLate
		}
	}
}

// Follows says whether a process of an instance is connected.
func (s *Server) Follows(instance string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		if c.hello.Instance == instance {
			return true
		}
	}
	return false
}

// Stats is what those that are connected said last, by instance. One that has not said anything yet is not in it. The
// caller owns the map.
func (s *Server) Stats() map[string]Said {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := make(map[string]Said, len(s.conns))
	for c := range s.conns {
		if was, ok := stats[c.hello.Instance]; !c.said.At.IsZero() && (!ok || c.said.At.After(was.At)) {
			stats[c.hello.Instance] = c.said
		}
	}
	return stats
}

// States is the state that those that are connected said last that they are in, by instance. One that has not said anything yet
// is not in it. The caller owns the map, and changes nothing that it leads to.
func (s *Server) States() map[string]StateSaid {
	s.mu.Lock()
	defer s.mu.Unlock()
	states := make(map[string]StateSaid, len(s.conns))
	for c := range s.conns {
		if was, ok := states[c.hello.Instance]; !c.state.At.IsZero() && (!ok || c.state.At.After(was.At)) {
			states[c.hello.Instance] = c.state
		}
	}
	return states
}
