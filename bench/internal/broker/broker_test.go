package broker

import (
	"io"
	"net"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// echoRole is a child of this test, which stays until it is told to go.
const echoRole = "broker-test"

func TestMain(m *testing.M) {
	Child()
	var word string
	if mine, err := Role(echoRole, &word); mine {
		if err != nil || word != "stay" {
			os.Exit(1)
		}
		Say()
		<-time.After(time.Hour) // select {} would be a deadlock, which ends the process
	}
	goleak.VerifyTestMain(m)
}

// TestProcess: a child is there when Start returns, is killed also when it is stopped, and comes back.
func TestProcess(t *testing.T) {
	p, err := StartProcess(t.Context(), echoRole, "stay")
	if err != nil {
		t.Fatal(err)
	}
	first := p.PID()
	p.Freeze()
	p.Kill()
	if p.Alive() {
		t.Error("alive after Kill")
	}
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !p.Alive() || p.PID() == first {
		t.Errorf("alive %v, process %d as before", p.Alive(), first)
	}
	p.Kill()
	if _, err := StartProcess(t.Context(), echoRole, "go"); err == nil {
		t.Error("a child that ended at once was there")
	}
}

// echo is a server that sends back what it gets.
func echo(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	return l.Addr().String()
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// say writes, and returns what came back within a time.
func say(t *testing.T, c net.Conn, text string, within time.Duration) (string, error) {
	t.Helper()
	if _, err := c.Write([]byte(text)); err != nil {
		return "", err
	}
	_ = c.SetReadDeadline(time.Now().Add(within))
	buf := make([]byte, len(text))
	n, err := io.ReadFull(c, buf)
	return string(buf[:n]), err
}

func TestProxy(t *testing.T) {
	addr, err := freeAddr()
	if err != nil {
		t.Fatal(err)
	}
	p, err := NewProxy(addr, echo(t))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	const long, short = 10 * time.Second, 50 * time.Millisecond
	c := dial(t, addr)
	if got, err := say(t, c, "one", long); got != "one" {
		t.Fatalf("got %q, %v", got, err)
	}
	for name, ways := range map[string][2]bool{"both": {true, true}, "there": {true, false}, "back": {false, true}} {
		p.Silence(ways[0], ways[1])
		fresh := dial(t, addr)
		if got, err := say(t, c, "two", short); err == nil {
			t.Errorf("silent %s: %q came through", name, got)
		}
		if got, err := say(t, fresh, "new", short); err == nil {
			t.Errorf("silent %s: %q came through a new connection", name, got)
		}
		p.Heal()
		buf := make([]byte, 3)
		for c, want := range map[net.Conn]string{c: "two", fresh: "new"} {
			_ = c.SetReadDeadline(time.Now().Add(long))
			if _, err := io.ReadFull(c, buf); err != nil || string(buf) != want {
				t.Errorf("healed: got %q, %v of %q", buf, err, want)
			}
		}
	}
	p.Refuse()
	if got, err := say(t, c, "three", long); err == nil {
		t.Errorf("refused: %q came through", got)
	}
	if c, err := net.Dial("tcp", addr); err == nil { // or it is broken before it is there
		defer c.Close()
		if got, err := say(t, c, "four", long); err == nil {
			t.Errorf("refused: %q came through a new connection", got)
		}
	}
	p.Heal()
	if got, err := say(t, dial(t, addr), "five", long); got != "five" {
		t.Errorf("healed: %q, %v", got, err)
	}
}
