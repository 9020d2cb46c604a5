package fault

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/nettest"
	"pgregory.net/rapid"

	"github.com/holdfast-go/holdfast/internal/memnet"
)

const addr = "127.0.0.1:7"

// pair is a connection whose client's end goes through an Injector.
type pair struct {
	inj            *Injector
	client, server net.Conn
}

func connect(t testing.TB, plan Plan) pair {
	t.Helper()
	n := memnet.New()
	lis, err := n.Listen(addr)
	if err != nil {
		t.Fatal(err)
	}
	inj := New()
	inj.Set(plan)
	client, err := inj.Dial(func(ctx context.Context, _, addr string) (net.Conn, error) { return n.Dial(ctx, addr) })(t.Context(), "tcp", addr)
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
		lis.Close()
	})
	return pair{inj, client, server}
}

// to is a plan with one rule for the pair's connections.
func to(s Shape) Plan { return Plan{Dial: []Link{{To: []string{addr}, Shape: s}}} }

func write(t testing.TB, c net.Conn, s string) {
	t.Helper()
	if n, err := c.Write([]byte(s)); err != nil || n != len(s) {
		t.Fatalf("wrote %d: %v", n, err)
	}
}

func read(t testing.TB, c net.Conn, want string) {
	t.Helper()
	b := make([]byte, len(want))
	if n, err := io.ReadFull(c, b); err != nil || string(b) != want {
		t.Fatalf("read %q (%d), want %q: %v", b[:n], n, want, err)
	}
}

// silent fails the test if something comes within a second, and leaves the connection without a deadline.
func silent(t testing.TB, c net.Conn) {
	t.Helper()
	silentFor(t, c, time.Second)
}

func silentFor(t testing.TB, c net.Conn, d time.Duration) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(d))
	if n, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || n != 0 {
		t.Fatalf("read %d bytes: %v", n, err)
	}
	c.SetReadDeadline(time.Time{})
}

func through(c net.Conn) bool { return !c.(*conn).shaped.Load() }

func TestWithoutARuleBytesPassStraightThrough(t *testing.T) {
	p := connect(t, Plan{Dial: []Link{{To: []string{"127.0.0.1:8"}, Shape: Shape{CutOut: true}}}})
	write(t, p.client, "ping")
	read(t, p.server, "ping")
	if !through(p.client) || p.inj.Suffered() != 0 {
		t.Errorf("shaped, suffered %d", p.inj.Suffered())
	}
}

func TestACutHoldsWhatIsSentUntilItIsLifted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := connect(t, Plan{})
		p.inj.Set(to(Shape{CutOut: true}))
		write(t, p.client, "one ")
		write(t, p.client, "two")
		silent(t, p.server)
		write(t, p.server, "back") // the other way is open
		read(t, p.client, "back")
		p.inj.Set(Plan{})
		write(t, p.client, " three")
		read(t, p.server, "one two three")
		synctest.Wait()
		if !through(p.client) {
			t.Error("still shaped")
		}
		if p.inj.Suffered() == 0 {
			t.Error("nothing counted")
		}
	})
}

func TestACutHoldsWhatIsReceivedAlsoByAReadThatWaitedBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := connect(t, Plan{})
		got := make(chan string)
		go func() {
			b := make([]byte, 10)
			n, err := p.client.Read(b)
			if err != nil {
				t.Error(err)
			}
			got <- string(b[:n])
		}()
		synctest.Wait()
		p.inj.Set(to(Shape{CutIn: true}))
		write(t, p.server, "late")
		select {
		case s := <-got:
			t.Errorf("read %q through a cut", s)
		case <-time.After(time.Second):
		}
		p.inj.Set(Plan{})
		if s := <-got; s != "late" {
			t.Errorf("read %q", s)
		}
		write(t, p.server, "again")
		read(t, p.client, "again")
		synctest.Wait()
		if !through(p.client) {
			t.Error("still shaped")
		}
	})
}

func TestADeadlineEndsAReadThatIsHeldAndLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := connect(t, Plan{})
		p.inj.Set(to(Shape{CutIn: true}))
		write(t, p.server, "held")
		silent(t, p.client)
		// As net/http ends a read that waits.
		time.AfterFunc(time.Second, func() { p.client.SetReadDeadline(time.Unix(1, 0)) })
		if _, err := p.client.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read: %v", err)
		}
		var timeout net.Error
		if _, err := p.client.Read(make([]byte, 1)); !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("read: %v", err)
		}
		p.client.SetReadDeadline(time.Time{})
		p.inj.Set(Plan{})
		read(t, p.client, "held")
	})
}

func TestTheUsersDeadlineHoldsAgainAfterARule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := connect(t, to(Shape{Delay: time.Millisecond}))
		write(t, p.server, "a")
		read(t, p.client, "a")
		p.client.SetReadDeadline(time.Now().Add(time.Minute))
		p.inj.Set(Plan{})
		write(t, p.server, "b")
		read(t, p.client, "b")
		synctest.Wait()
		if !through(p.client) {
			t.Fatal("still shaped")
		}
		begun := time.Now()
		if _, err := p.client.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begun) > time.Minute {
			t.Errorf("read: %v after %v", err, time.Since(begun))
		}
	})
}

func TestAWriteThroughACutBlocksWhenItsLaneIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := connect(t, to(Shape{}))
		p.inj.Set(to(Shape{CutOut: true}))
		p.client.SetWriteDeadline(time.Now().Add(time.Minute))
		sent := bytes.Repeat([]byte("0123456789abcdef"), 2*lanes/16)
		n, err := p.client.Write(sent)
		if n != lanes || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("wrote %d: %v", n, err)
		}
		p.client.SetWriteDeadline(time.Time{})
		done := make(chan error, 1)
		go func() {
			_, err := p.client.Write(sent[n:])
			done <- err
		}()
		p.inj.Set(Plan{})
		got := make([]byte, len(sent))
		if _, err := io.ReadFull(p.server, got); err != nil || !bytes.Equal(got, sent) {
			t.Errorf("what came is not what was sent: %v", err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestADelayIsOfEachDirectionAndDoesNotAddUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		p := connect(t, to(Shape{Delay: time.Second}))
		if took := time.Since(begun); took != 2*time.Second {
			t.Errorf("connecting took %v, and not a round trip", took)
		}
		begun = time.Now()
		for range 10 {
			write(t, p.client, "ping")
		}
		read(t, p.server, "ping")
		if took := time.Since(begun); took != time.Second {
			t.Errorf("there: %v", took)
		}
		for range 9 {
			read(t, p.server, "ping")
		}
		for range 10 {
			write(t, p.server, "pong")
		}
		for range 10 {
			read(t, p.client, "pong")
		}
		if took := time.Since(begun); took != 2*time.Second {
			t.Errorf("there and back: %v", took)
		}
	})
}

func TestARateBoundsBytesASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := connect(t, to(Shape{Rate: 100_000}))
		const size = 300_000
		go func() { p.client.Write(make([]byte, size)) }()
		begun := time.Now()
		if _, err := io.ReadFull(p.server, make([]byte, size)); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begun); took < 3*time.Second || took > 3100*time.Millisecond {
			t.Errorf("out: %v", took)
		}
		go func() { p.server.Write(make([]byte, size)) }()
		begun = time.Now()
		if _, err := io.ReadFull(p.client, make([]byte, size)); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begun); took < 3*time.Second || took > 3100*time.Millisecond {
			t.Errorf("in: %v", took)
		}
	})
}

func TestTheEndOfAConnectionIsHeldBackLikeItsBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := connect(t, Plan{})
		p.inj.Set(to(Shape{CutOut: true}))
		write(t, p.client, "last words")
		if err := p.client.Close(); err != nil {
			t.Fatal(err)
		}
		for _, err := range []error{
			func() error { _, err := p.client.Read(make([]byte, 1)); return err }(),
			func() error { _, err := p.client.Write(make([]byte, 1)); return err }(),
			p.client.Close(), p.client.SetDeadline(time.Time{}),
		} {
			if !errors.Is(err, net.ErrClosed) {
				t.Errorf("after close: %v", err)
			}
		}
		silent(t, p.server)
		p.inj.Set(Plan{})
		read(t, p.server, "last words")
		if _, err := p.server.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("at the end: %v", err)
		}
		synctest.Wait()
		p.inj.conns.Range(func(c, _ any) bool {
			t.Error("a connection is left behind")
			return true
		})
	})
}

func TestTheEndThatTheOtherSideMakesIsHeldBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := connect(t, Plan{})
		p.inj.Set(to(Shape{CutIn: true}))
		write(t, p.server, "bye")
		p.server.Close()
		silent(t, p.client)
		p.inj.Set(Plan{})
		read(t, p.client, "bye")
		if _, err := p.client.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("at the end: %v", err)
		}
	})
}

func TestAnInjectorThatIsClosedHoldsNothingBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := connect(t, Plan{})
		p.inj.Set(to(Shape{CutOut: true, CutIn: true, Delay: time.Hour}))
		write(t, p.client, "free")
		p.client.Close()
		p.inj.Close()
		read(t, p.server, "free")
	})
}

func TestAResetIsForConnectionsThatWereOpenWhenItBegan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := connect(t, Plan{})
		waiting := make(chan error)
		go func() {
			_, err := p.client.Read(make([]byte, 1))
			waiting <- err
		}()
		synctest.Wait()
		rule := to(Shape{Reset: true})
		p.inj.Set(rule)
		if err := <-waiting; !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("read: %v", err)
		}
		if _, err := p.client.Write([]byte("x")); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("write: %v", err)
		}
		if err := p.client.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		again := connect(t, rule)
		again.inj.Set(Plan{Dial: rule.Dial, Ballast: 1}) // the rule goes on
		write(t, again.client, "here")
		read(t, again.server, "here")
		again.inj.Set(Plan{})
		again.inj.Set(rule)
		if _, err := again.client.Write([]byte("x")); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("write after the rule began again: %v", err)
		}
	})
}

func TestConnectionsAreResetAgainAndAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := connect(t, to(Shape{ResetEvery: 10 * time.Second}))
		begun := time.Now()
		_, err := p.client.Read(make([]byte, 1))
		if took := time.Since(begun); !errors.Is(err, syscall.ECONNRESET) || took != 10*time.Second {
			t.Errorf("read: %v after %v", err, took)
		}
		q := connect(t, to(Shape{ResetEvery: 10 * time.Second}))
		silentFor(t, q.client, 9*time.Second)
		q.inj.Set(Plan{})
		silentFor(t, q.client, 9*time.Second)
	})
}

// TestWhateverTheRulesNothingIsLostOrTurnedAround sends both ways while rules come and go.
func TestWhateverTheRulesNothingIsLostOrTurnedAround(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		type step struct {
			shape Shape
			after time.Duration
		}
		steps := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
			return step{
				Shape{
					CutOut: rapid.Bool().Draw(t, "cut out"),
					CutIn:  rapid.Bool().Draw(t, "cut in"),
					Delay:  time.Duration(rapid.IntRange(0, 50).Draw(t, "delay")) * time.Millisecond,
					Jitter: time.Duration(rapid.IntRange(0, 50).Draw(t, "jitter")) * time.Millisecond,
					Rate:   int64(rapid.SampledFrom([]int{0, 0, 10_000, 1_000_000}).Draw(t, "rate")),
				},
				time.Duration(rapid.IntRange(0, 100).Draw(t, "after")) * time.Millisecond,
			}
		}), 0, 8).Draw(rt, "steps")
		seed := rapid.Uint64().Draw(rt, "seed")
		synctest.Test(t, func(t *testing.T) {
			p := connect(t, Plan{})
			done := make(chan error, 4)
			for n, ends := range [][2]net.Conn{{p.client, p.server}, {p.server, p.client}} {
				rnd := rand.New(rand.NewPCG(seed, uint64(n)))
				sent := make([]byte, 100_000)
				for i := range sent {
					sent[i] = byte(rnd.Uint32())
				}
				go func() {
					for rest := sent; len(rest) > 0; {
						k := min(len(rest), 1+rnd.IntN(40_000))
						if _, err := ends[0].Write(rest[:k]); err != nil {
							done <- err
							return
						}
						rest = rest[k:]
						<-time.After(time.Duration(rnd.IntN(20)) * time.Millisecond)
					}
					done <- nil
				}()
				go func() {
					got := make([]byte, len(sent))
					_, err := io.ReadFull(ends[1], got)
					if err == nil && !bytes.Equal(got, sent) {
						err = errors.New("what came is not what was sent")
					}
					done <- err
				}()
			}
			for _, s := range steps {
				p.inj.Set(to(s.shape))
				<-time.After(s.after)
			}
			p.inj.Set(Plan{})
			begun := time.Now()
			for range 4 {
				if err := <-done; err != nil {
					rt.Error(err)
				}
			}
			if time.Since(begun) > 5*time.Second {
				rt.Errorf("took %v after the last rule", time.Since(begun))
			}
			synctest.Wait()
			if !through(p.client) {
				rt.Error("still shaped")
			}
		})
	})
}

// TestAConnectionIsOneAsNetWantsIt runs the suite of golang.org/x/net over TCP.
func TestAConnectionIsOneAsNetWantsIt(t *testing.T) {
	t.Parallel()
	for name, shape := range map[string]Shape{"passing": {}, "shaped": {Rate: 1 << 30}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nettest.TestConn(t, func() (client, server net.Conn, stop func(), err error) {
				inj := New()
				inj.Set(Plan{Dial: []Link{{To: []string{"*"}, Shape: shape}}, Accept: &shape})
				plain, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					return nil, nil, nil, err
				}
				lis := inj.Listen(plain)
				accepted := make(chan net.Conn, 1)
				go func() {
					c, err := lis.Accept()
					if err != nil {
						t.Error(err)
					}
					accepted <- c
				}()
				client, err = inj.Dial(nil)(t.Context(), "tcp", lis.Addr().String())
				if err != nil {
					return nil, nil, nil, err
				}
				server = <-accepted
				return client, server, func() {
					client.Close()
					server.Close()
					lis.Close()
					inj.Close()
				}, nil
			})
		})
	}
}
