package fault

import (
	"errors"
	"io"
	"net"
	"runtime"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// overTCP is a connection of the kernel's whose client's end goes through an Injector.
func overTCP(t *testing.T) pair {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	inj := New()
	client, err := inj.Dial(nil)(t.Context(), "tcp", lis.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err := lis.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		inj.Close()
		client.Close()
		server.Close()
	})
	return pair{inj, client, server}
}

func everywhere(s Shape) Plan { return Plan{Dial: []Link{{To: []string{"*"}, Shape: s}}} }

var cutOff = Shape{CutOut: true, CutIn: true}

// TestACloseEndsWhatIsUnderWay: calls that wait in the kernel, or for a lane, end with the connection, although its end is held back.
func TestACloseEndsWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	read := func(c net.Conn) error {
		_, err := c.Read(make([]byte, 1))
		return err
	}
	write := func(c net.Conn) error {
		_, err := c.Write(make([]byte, 64<<20))
		return err
	}
	for name, call := range map[string]func(net.Conn) error{"read": read, "write": write} {
		for order, before := range map[string]bool{"before the cut": true, "in the cut": false} {
			t.Run(name+" "+order, func(t *testing.T) {
				t.Parallel()
				p := overTCP(t)
				done := make(chan error, 1)
				if !before {
					p.inj.Set(everywhere(cutOff))
				}
				go func() { done <- call(p.client) }()
				if c := p.client.(*conn); name == "write" { // until it is under way
					for begun := time.Now(); !c.direct.Load() && before && time.Since(begun) < 5*time.Second; {
						runtime.Gosched()
					}
				}
				p.inj.Set(everywhere(cutOff))
				if err := p.client.Close(); err != nil {
					t.Fatal(err)
				}
				select {
				case err := <-done:
					if !errors.Is(err, net.ErrClosed) {
						t.Error(err)
					}
				case <-time.After(5 * time.Second):
					t.Error("it waits on")
				}
			})
		}
	}
}

// The same in virtual time, where a call is known to be under way.
func TestACloseEndsACallThatWaitedBeforeTheRuleBegan(t *testing.T) {
	for _, s := range []Shape{cutOff, {CutOut: true}, {CutIn: true}, {Delay: time.Hour}} {
		synctest.Test(t, func(t *testing.T) {
			p := connect(t, Plan{})
			done := make(chan error, 2)
			go func() {
				_, err := p.client.Read(make([]byte, 1))
				done <- err
			}()
			go func() {
				_, err := p.client.Write(make([]byte, 64<<20))
				done <- err
			}()
			synctest.Wait()
			p.inj.Set(to(s))
			synctest.Wait()
			p.client.Close()
			begun := time.Now()
			for range 2 {
				if err := <-done; !errors.Is(err, net.ErrClosed) {
					t.Errorf("%+v: %v", s, err)
				}
			}
			if took := time.Since(begun); took != 0 {
				t.Errorf("%+v: ended after %v", s, took)
			}
		})
	}
}

func TestAWriteUnderWayDoesNotGoOnThroughACut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := connect(t, Plan{})
		const size = 8 << 20
		done := make(chan error, 1)
		go func() {
			_, err := p.client.Write(make([]byte, size))
			done <- err
		}()
		synctest.Wait() // until the network takes no more
		p.inj.Set(to(Shape{CutOut: true}))
		p.server.SetReadDeadline(time.Now().Add(time.Second))
		n, err := io.Copy(io.Discard, p.server)
		if err == nil || n > 1<<20 {
			t.Errorf("%d bytes went through the cut: %v", n, err)
		}
		p.server.SetReadDeadline(time.Time{})
		p.inj.Set(Plan{})
		if _, err := io.CopyN(io.Discard, p.server, size-n); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestARuleIsForAReadThatWaitsSinceTheLastOne: a Read that has waited through a rule suffers the next one as well.
func TestARuleIsForAReadThatWaitsSinceTheLastOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := connect(t, Plan{})
		got := make(chan string, 1)
		var failed error
		go func() {
			defer close(got)
			for {
				b := make([]byte, 100)
				n, err := p.client.Read(b)
				if err != nil {
					failed = err
					return
				}
				got <- string(b[:n])
			}
		}()
		for range 3 {
			synctest.Wait()
			p.inj.Set(to(cutOff))
			write(t, p.server, "held")
			select {
			case s := <-got:
				t.Errorf("read %q through a cut", s)
			case <-time.After(time.Second):
			}
			p.inj.Set(Plan{})
			if s := <-got; s != "held" {
				t.Errorf("read %q", s)
			}
		}
		synctest.Wait()
		p.inj.Set(to(Shape{Reset: true}))
		for s := range got {
			t.Errorf("read %q", s)
		}
		if !errors.Is(failed, syscall.ECONNRESET) {
			t.Errorf("a reset is seen as %v", failed)
		}
	})
}

func TestAResetBeginsWhileAnotherIsInForce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rule := func(serial uint64) Plan { return to(Shape{Reset: true, Serial: serial}) }
		p := connect(t, rule(7))
		p.inj.Set(rule(7))
		p.inj.Set(rule(3)) // the later of two is over
		p.inj.Set(rule(7))
		write(t, p.client, "whole")
		read(t, p.server, "whole")
		p.inj.Set(rule(8))
		if _, err := p.client.Write([]byte("x")); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("write after a second reset: %v", err)
		}
	})
}

func TestAConnectionThatIsClosedIsGivenUpWhenItsPeerTakesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := connect(t, to(Shape{Delay: time.Millisecond}))
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				if _, err := p.client.Write(make([]byte, 1<<20)); err != nil {
					return
				}
			}
		}()
		<-time.After(time.Second) // lane and network are full
		p.client.Close()
		<-done
		p.inj.Set(Plan{})
		<-time.After(lingers + time.Second)
		p.inj.conns.Range(func(any, any) bool {
			t.Error("it is still open")
			return true
		})
	})
}

func TestSmallPiecesTakeNoMoreMemoryThanLargeOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, s := range []Shape{{CutOut: true}, {Delay: time.Hour}, {CutOut: true, Rate: 1000}} {
			var l lane
			for range 2 * largest {
				l.push(&s, []byte{0}, 0)
			}
			if n := len(l.pieces); n > 2*largest/smallest {
				t.Errorf("%+v: %d pieces", s, n)
			}
		}
	})
	synctest.Test(t, func(t *testing.T) {
		s := Shape{Delay: time.Hour}
		var l lane
		for l.room() > 0 {
			l.push(&s, []byte{0}, 0)
			<-time.After(together)
		}
		if len(l.pieces) != most {
			t.Errorf("%d pieces", len(l.pieces))
		}
	})
}
