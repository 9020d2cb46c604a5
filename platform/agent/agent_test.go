package agent

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/internal/fault"
	"github.com/holdfast-go/holdfast/internal/memnet"
)

const addr = "10.0.0.1:1"

var slowly = fault.Plan{Dial: []fault.Link{{To: []string{"*"}, Shape: fault.Shape{Delay: time.Second}}}}

// process is the other end of an agent: it puts in force what it reads, and says so.
type process struct {
	net.Conn
	t        *testing.T
	messages *fault.Reader
}

// serve runs a server on a network in memory, in virtual time, while do does.
func serve(t *testing.T, do func(t *testing.T, s *Server, dial func(hello string) *process)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		network := memnet.New()
		l, err := network.Listen(addr)
		if err != nil {
			t.Fatal(err)
		}
		s := newServer(Config{}, l)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		do(t, s, func(hello string) *process {
			t.Helper()
			c, err := network.Dial(t.Context(), addr)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Write([]byte(hello + "\n")); err != nil {
				t.Fatal(err)
			}
			return &process{c, t, fault.NewReader(c)}
		})
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if len(s.conns) != 0 || s.opened != 0 {
			t.Errorf("%d connections are left", s.opened)
		}
	})
}

const hello = `{"hello":{"service":"orders","instance":"orders-1","pid":7}}`

// plan reads the next plan.
func (p *process) plan() fault.Message {
	p.t.Helper()
	m, err := p.messages.Read()
	if err != nil || m.Plan == nil {
		p.t.Fatalf("%+v, %v; want a plan", m, err)
	}
	return m
}

func (p *process) say(m fault.Message) {
	p.t.Helper()
	if err := fault.Write(p, m); err != nil {
		p.t.Fatal(err)
	}
}

// follow acks everything until the connection ends.
func (p *process) follow() {
	go func() {
		for {
			m, err := p.messages.Read()
			if err != nil {
				return
			}
			if err := fault.Write(p, fault.Message{Ack: m.Seq}); err != nil {
				return
			}
		}
	}()
}

func wantCode(t *testing.T, err error, code failure.Code) {
	t.Helper()
	if failure.CodeOf(err) != code {
		t.Errorf("got %v (%s), want %s", err, failure.CodeOf(err), code)
	}
}

func TestPlanIsInForceWhenSetPlanReturns(t *testing.T) {
	serve(t, func(t *testing.T, s *Server, dial func(string) *process) {
		p := dial(hello)
		defer p.Close()
		if m := p.plan(); !reflect.ValueOf(*m.Plan).IsZero() || m.Seq != 1 {
			t.Errorf("first %+v", m)
		}
		synctest.Wait()
		if !s.Follows("orders-1") || s.Follows("orders-2") {
			t.Error("the wrong ones follow")
		}
		set := make(chan error, 1)
		go func() { set <- s.SetPlan(t.Context(), "orders-1", slowly) }()
		m := p.plan()
		if !reflect.DeepEqual(*m.Plan, slowly) || m.Seq != 2 {
			t.Errorf("%+v", m)
		}
		p.say(fault.Message{Ack: 1})
		synctest.Wait()
		select {
		case <-set:
			t.Error("an old ack counts")
		default:
		}
		p.say(fault.Message{Ack: m.Seq})
		if err := <-set; err != nil {
			t.Error(err)
		}
		// The same again is in force already.
		begun := time.Now()
		if err := s.SetPlan(t.Context(), "orders-1", slowly); err != nil || time.Since(begun) > 0 {
			t.Errorf("%v after %s", err, time.Since(begun))
		}
	})
}

// Whoever starts again under the same name finds its plan, before it has done anything.
func TestPlanOutlivesTheProcess(t *testing.T) {
	serve(t, func(t *testing.T, s *Server, dial func(string) *process) {
		wantCode(t, s.SetPlan(t.Context(), "orders-1", slowly), failure.FailedPrecondition)
		for range 2 {
			p := dial(hello)
			if m := p.plan(); !reflect.DeepEqual(*m.Plan, slowly) {
				t.Errorf("%+v", m)
			}
			p.Close()
			synctest.Wait()
			if s.Follows("orders-1") {
				t.Error("it is gone and follows")
			}
		}
		if err := s.SetPlan(t.Context(), "orders-1", fault.Plan{}); err != nil {
			t.Error(err)
		}
		if len(s.wanted) != 0 {
			t.Errorf("kept %v", s.wanted)
		}
	})
}

// A process that does not read holds up whoever waits for it, for a while, and nobody else; it gets the newest plan.
func TestFrozenProcess(t *testing.T) {
	serve(t, func(t *testing.T, s *Server, dial func(string) *process) {
		frozen, other := dial(hello), dial(strings.ReplaceAll(hello, "orders-1", "orders-2"))
		defer frozen.Close()
		defer other.Close()
		other.follow()
		synctest.Wait()
		begun := time.Now()
		wantCode(t, s.SetPlan(t.Context(), "orders-1", slowly), failure.DeadlineExceeded)
		if took := time.Since(begun); took != ackTimeout {
			t.Errorf("waited %s", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		wantCode(t, s.SetPlan(ctx, "orders-1", fault.Plan{Ballast: 1}), failure.DeadlineExceeded)
		begun = time.Now()
		if err := s.SetPlan(t.Context(), "orders-2", slowly); err != nil || time.Since(begun) > 0 {
			t.Errorf("%v after %s", err, time.Since(begun))
		}
		for {
			m := frozen.plan()
			frozen.say(fault.Message{Ack: m.Seq})
			if m.Plan.Ballast == 1 {
				break
			}
		}
		if err := s.SetPlan(t.Context(), "orders-1", fault.Plan{Ballast: 1}); err != nil {
			t.Error(err)
		}
	})
}

func TestProcessThatDiesBeforeItAnswers(t *testing.T) {
	serve(t, func(t *testing.T, s *Server, dial func(string) *process) {
		p := dial(hello)
		synctest.Wait()
		set := make(chan error, 1)
		go func() { set <- s.SetPlan(t.Context(), "orders-1", slowly) }()
		synctest.Wait()
		p.Close()
		wantCode(t, <-set, failure.FailedPrecondition)
	})
}

func TestStats(t *testing.T) {
	serve(t, func(t *testing.T, s *Server, dial func(string) *process) {
		p := dial(hello)
		p.follow()
		synctest.Wait()
		if got := s.Stats(); len(got) != 0 {
			t.Errorf("nothing was said: %+v", got)
		}
		p.say(fault.Message{Stats: &fault.Stats{InFlight: 3}})
		synctest.Wait()
		time.Sleep(time.Second) //nolint:forbidigo // in virtual time
		if got := s.Stats()["orders-1"]; got.InFlight != 3 || got.PID != 7 || time.Since(got.At) != time.Second {
			t.Errorf("%+v", got)
		}
		p.Close()
		synctest.Wait()
		if got := s.Stats(); len(got) != 0 {
			t.Errorf("of one that is gone: %+v", got)
		}
	})
}

func TestStates(t *testing.T) {
	serve(t, func(t *testing.T, s *Server, dial func(string) *process) {
		moved := func() bool {
			select {
			case <-s.StateChanged():
				return true
			default:
				return false
			}
		}
		p := dial(hello)
		p.follow()
		synctest.Wait()
		if got := s.States(); len(got) != 0 || moved() {
			t.Errorf("nothing was said: %+v", got)
		}
		p.say(fault.Message{State: &fault.State{Admin: "127.0.0.1:7"}})
		synctest.Wait()
		time.Sleep(time.Second) //nolint:forbidigo // in virtual time
		if got := s.States()["orders-1"]; got.Admin != "127.0.0.1:7" || got.PID != 7 || got.Service != "orders" || time.Since(got.At) != time.Second || !moved() || moved() {
			t.Errorf("%+v", got)
		}
		p.say(fault.Message{Stats: &fault.Stats{InFlight: 3}})
		synctest.Wait()
		if moved() || s.States()["orders-1"].Admin == "" {
			t.Error("stats are no state")
		}
		p.Close()
		synctest.Wait()
		if got := s.States(); len(got) != 0 || !moved() {
			t.Errorf("of one that is gone: %+v", got)
		}
	})
}

// Whatever connects, it is told nothing before it says who it is, and it cannot stay anonymous.
func TestStrangers(t *testing.T) {
	long := strings.Repeat("x", maxName+1)
	for name, said := range map[string]string{
		"silence": "", "nonsense": "GET / HTTP/1.1\r\n", "no name": `{"hello":{}}`, "an ack": `{"ack":1}`, "a plan": `{"plan":{},"seq":1}`,
		"a long name": `{"hello":{"instance":"` + long + `"}}`, "a long service": `{"hello":{"instance":"a-1","service":"` + long + `"}}`,
		"a long line": strings.Repeat(" ", fault.MaxMessage) + hello,
	} {
		t.Run(name, func(t *testing.T) {
			serve(t, func(t *testing.T, s *Server, dial func(string) *process) {
				p := dial(said)
				defer p.Close()
				if m, err := p.messages.Read(); err == nil {
					t.Errorf("it was told %+v", m)
				}
				if len(s.conns) != 0 {
					t.Error("it follows")
				}
			})
		})
	}
}

func TestPlansThatAreRefused(t *testing.T) {
	serve(t, func(t *testing.T, s *Server, _ func(string) *process) {
		wantCode(t, s.SetPlan(t.Context(), "orders-1", fault.Plan{Ballast: -1}), failure.InvalidArgument)
		var large fault.Plan
		for range 900 {
			l := fault.Link{Shape: fault.Shape{CutIn: true}}
			for range 100 {
				l.To = append(l.To, "a-host-of-some-length.example:50051")
			}
			large.Dial = append(large.Dial, l)
		}
		wantCode(t, s.SetPlan(t.Context(), "orders-1", large), failure.InvalidArgument)
		if len(s.wanted) != 0 {
			t.Error("it is wanted all the same")
		}
	})
}

// Changed says that somebody has come, has gone, or has taken note at last.
func TestChanged(t *testing.T) {
	serve(t, func(t *testing.T, s *Server, dial func(string) *process) {
		changed := func() bool {
			synctest.Wait()
			select {
			case <-s.Changed():
				return true
			default:
				return false
			}
		}
		p := dial(hello)
		if !changed() {
			t.Error("one has come")
		}
		m := p.plan()
		p.say(fault.Message{Ack: m.Seq})
		if !changed() {
			t.Error("it has taken note")
		}
		p.say(fault.Message{Stats: &fault.Stats{}})
		if changed() {
			t.Error("statistics change nothing")
		}
		p.Close()
		if !changed() {
			t.Error("it has gone")
		}
	})
}

// The socket is in a directory that only this user can enter, and gone at the end; what another platform left that was
// killed is gone, too.
func TestSocket(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	left, err := Listen(Config{})
	if err != nil {
		t.Fatal(err)
	}
	left.listener.(*net.UnixListener).SetUnlinkOnClose(false)
	left.listener.Close()
	s, err := Listen(Config{})
	if err != nil {
		t.Fatal(err)
	}
	path, ok := strings.CutPrefix(s.Env(), Variable+"=")
	info, err := os.Stat(filepath.Dir(path))
	if !ok || err != nil || info.Mode().Perm() != 0o700 || len(path) > maxPath {
		t.Errorf("%s: %v, %v", s.Env(), info, err)
	}
	if entries, err := os.ReadDir(temp); err != nil || len(entries) != 1 {
		t.Errorf("%v, %v", entries, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if entries, err := os.ReadDir(temp); err != nil || len(entries) != 0 {
		t.Errorf("%v, %v", entries, err)
	}
	// A long directory of temporary files is no place for a socket.
	long := filepath.Join(temp, strings.Repeat("x", maxPath))
	if err := os.Mkdir(long, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", long)
	s, err = Listen(Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// What others have made under the name of a platform's directory stays as it is, and so does what it leads to.
func TestDirectoryThatIsNotOurs(t *testing.T) {
	temp, victim := t.TempDir(), t.TempDir()
	t.Setenv("TMPDIR", temp)
	precious := filepath.Join(victim, socketName)
	refused := func(path string) { // a socket that nobody listens on
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		l.(*net.UnixListener).SetUnlinkOnClose(false)
		l.Close()
	}
	refused(precious)
	if err := os.Symlink(victim, filepath.Join(temp, "holdfast-agent-link")); err != nil {
		t.Fatal(err)
	}
	open := filepath.Join(temp, "holdfast-agent-open")
	if err := os.Mkdir(open, 0o700); err != nil {
		t.Fatal(err)
	}
	refused(filepath.Join(open, socketName))
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	linked := filepath.Join(temp, "holdfast-agent-linked")
	if err := os.Mkdir(linked, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(precious, filepath.Join(linked, socketName)); err != nil {
		t.Fatal(err)
	}
	s, err := Listen(Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, path := range []string{precious, filepath.Join(open, socketName), filepath.Join(linked, socketName)} {
		if _, err := os.Lstat(path); err != nil {
			t.Error(err)
		}
	}
}

// FuzzServe: whatever a process says, it is nobody else's matter, and its end is noticed.
func FuzzServe(f *testing.F) {
	f.Add(hello + "\n" + `{"ack":1}` + "\n" + `{"stats":{"in_flight":1}}`)
	f.Add(hello + "\n" + `{"ack":18446744073709551615}` + "\n" + `{"plan":{"ballast":-1},"seq":3}`)
	f.Add(`{"hello":{"instance":"` + "\x00" + `"}}`)
	f.Fuzz(func(t *testing.T, said string) {
		here, there := net.Pipe()
		s := newServer(Config{}, nil)
		ended := make(chan struct{})
		s.opened++
		go func() {
			defer close(ended)
			_ = s.serve(t.Context(), there)
		}()
		go func() {
			m := fault.NewReader(here)
			for {
				if _, err := m.Read(); err != nil {
					return
				}
			}
		}()
		_, _ = here.Write([]byte(said + "\n")) // it may be refused in the middle
		for id, said := range s.Stats() {
			if _, err := json.Marshal(said); err != nil || len(id) > maxName {
				t.Errorf("%.200q: %v", id, err)
			}
		}
		here.Close()
		<-ended
		s.wg.Wait()
		if len(s.conns) != 0 || s.opened != 0 {
			t.Error("it is still there")
		}
	})
}
