//go:build real && linux

package netns

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/holdfast-go/holdfast/internal/fault"
)

// These tests take root and /dev/net/tun.

func open4Test(t testing.TB) *Network {
	t.Helper()
	n, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// within runs f in the namespace of an instance. Sockets that it makes stay there; f must start no goroutine that makes any.
func within(t testing.TB, n *Network, id string, f func(netip.Addr) error) {
	t.Helper()
	addr, ns, err := n.Place(id)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine
		err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
		if err == nil {
			err = f(addr)
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatalf("in the namespace of %s: %v", id, err)
	}
}

// echo serves in a namespace, sending back what comes.
func echo(t testing.TB, n *Network, id string) (addr string) {
	t.Helper()
	within(t, n, id, func(ip netip.Addr) error {
		l, err := net.Listen("tcp", netip.AddrPortFrom(ip, 7).String())
		if err != nil {
			return err
		}
		addr = l.Addr().String()
		t.Cleanup(serveEcho(l))
		return nil
	})
	return addr
}

// serveEcho serves until stop, which returns when nothing is left of it.
func serveEcho(l net.Listener) (stop func()) {
	var all sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer c.Close()
				defer context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })()
				_, _ = io.Copy(c, c)
			})
		}
	})
	return func() {
		l.Close()
		cancel()
		all.Wait()
	}
}

// dial connects from a namespace; Platform is that of this process.
func dial(t testing.TB, n *Network, from, addr string) (c net.Conn, err error) {
	t.Helper()
	d := func() {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		c, err = (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	}
	if from == Platform {
		d()
		return c, err
	}
	within(t, n, from, func(netip.Addr) error { d(); return nil })
	return c, err
}

func connect(t testing.TB, n *Network, from, addr string) net.Conn {
	t.Helper()
	c, err := dial(t, n, from, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// ask sends a few bytes and waits for them.
func ask(c net.Conn, wait time.Duration) error {
	_ = c.SetDeadline(time.Now().Add(wait))
	if _, err := c.Write([]byte("hello")); err != nil {
		return err
	}
	_, err := io.ReadFull(c, make([]byte, 5))
	return err
}

func TestRealNetwork(t *testing.T) {
	n := open4Test(t)
	addr := echo(t, n, "b-1")
	if want := netip.AddrPortFrom(must(n.Addr("b-1")), 7).String(); addr != want {
		t.Fatalf("it listens on %s, not %s", addr, want)
	}
	a, p := connect(t, n, "a-1", addr), connect(t, n, Platform, addr)
	for _, c := range []net.Conn{a, p} {
		if err := ask(c, 3*time.Second); err != nil {
			t.Error(err)
		}
	}
	if _, err := dial(t, n, "a-1", netip.AddrPortFrom(must(n.Addr("b-1")), 8).String()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a port that nobody listens on: %v", err)
	}

	// One way alone: what b answers is lost, the platform's way is another one.
	must0(t, n.Switch().Set("cut", Rules([]string{"a-1"}, []string{"b-1"}, fault.Shape{CutIn: true})...))
	if err := ask(a, 300*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("over a way that is cut: %v", err)
	}
	if err := ask(p, 3*time.Second); err != nil {
		t.Errorf("over another way: %v", err)
	}
	must0(t, n.Switch().Set("cut"))
	_ = a.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.ReadFull(a, make([]byte, 5)); err != nil { // TCP has it sent again
		t.Errorf("after it was mended: %v", err)
	}

	must0(t, n.Switch().Set("slow", Rules([]string{"a-1"}, []string{Everyone}, fault.Shape{Delay: 50 * time.Millisecond})...))
	begun := time.Now()
	if err := ask(a, 3*time.Second); err != nil || time.Since(begun) < 100*time.Millisecond {
		t.Errorf("there and back in %s, %v", time.Since(begun), err)
	}
	must0(t, n.Switch().Set("slow"))

	must0(t, n.Switch().Set("reset", Rules([]string{"a-1"}, []string{"b-1"}, fault.Shape{Reset: true})...))
	if err := ask(a, 3*time.Second); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a connection that is reset: %v", err)
	}
	if err := ask(connect(t, n, "a-1", addr), 3*time.Second); err != nil {
		t.Errorf("one that was made after that: %v", err)
	}
	must0(t, n.Switch().Set("reset", Rules([]string{"a-1"}, []string{"b-1"}, fault.Shape{Refuse: true})...))
	if _, err := dial(t, n, "a-1", addr); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("one that is refused: %v", err)
	}
}

// Two systems on one machine have different networks, and one that is closed can be opened again.
func TestRealNetworksSideBySide(t *testing.T) {
	first, second := open4Test(t), open4Test(t)
	if first.Subnet() == second.Subnet() {
		t.Fatalf("both are %s", first.Subnet())
	}
	if _, err := New(Config{Subnet: first.Subnet()}); !errors.Is(err, ErrTaken) {
		t.Errorf("the same network twice: %v", err)
	}
	must0(t, first.Close())
	again, err := New(Config{Subnet: first.Subnet()})
	if err != nil {
		t.Fatal(err)
	}
	must0(t, again.Close())
}

// BenchmarkRealRoundTrip is what a question of 128 bytes and its answer take over loopback and over the switch.
func BenchmarkRealRoundTrip(b *testing.B) {
	n := open4Test(b)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer serveEcho(l)()
	for name, c := range map[string]net.Conn{
		"loopback": connect(b, n, Platform, l.Addr().String()),
		"switch":   connect(b, n, "a-1", echo(b, n, "b-1")),
	} {
		b.Run(name, func(b *testing.B) {
			buf := make([]byte, 128)
			begun := cpu()
			for b.Loop() {
				if _, err := c.Write(buf); err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(c, buf); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64((cpu()-begun).Microseconds())/float64(b.N), "cpu-us/op")
		})
	}
}

// BenchmarkRealCall is what a call of gRPC takes over loopback and over the switch.
func BenchmarkRealCall(b *testing.B) {
	n := open4Test(b)
	serve := func(l net.Listener) (addr string) {
		s := grpc.NewServer()
		healthpb.RegisterHealthServer(s, health.NewServer())
		var done sync.WaitGroup
		done.Go(func() { _ = s.Serve(l) })
		b.Cleanup(func() { s.Stop(); done.Wait() })
		return l.Addr().String()
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	addrs := map[string]string{Platform: serve(l)}
	within(b, n, "b-1", func(ip netip.Addr) error {
		l, err := net.Listen("tcp", netip.AddrPortFrom(ip, 50051).String())
		if err == nil {
			addrs["a-1"] = serve(l)
		}
		return err
	})
	for from, name := range map[string]string{Platform: "loopback", "a-1": "switch"} {
		conn, err := grpc.NewClient("passthrough:///"+addrs[from], grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(_ context.Context, addr string) (net.Conn, error) { return dial(b, n, from, addr) }))
		if err != nil {
			b.Fatal(err)
		}
		defer conn.Close()
		client := healthpb.NewHealthClient(conn)
		b.Run(name, func(b *testing.B) {
			begun := cpu()
			for b.Loop() {
				if _, err := client.Check(b.Context(), &healthpb.HealthCheckRequest{}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64((cpu()-begun).Microseconds())/float64(b.N), "cpu-us/op")
		})
	}
}

// BenchmarkRealBulk is how fast many bytes go one way.
func BenchmarkRealBulk(b *testing.B) {
	n := open4Test(b)
	c := connect(b, n, "a-1", echo(b, n, "b-1"))
	var back sync.WaitGroup
	back.Go(func() { _, _ = io.Copy(io.Discard, c) })
	defer back.Wait()
	defer c.Close()
	buf := make([]byte, 1<<20)
	b.SetBytes(int64(len(buf)))
	for b.Loop() {
		if _, err := c.Write(buf); err != nil {
			b.Fatal(err)
		}
	}
}

func cpu() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		panic(fmt.Sprint(err))
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func must(a netip.Addr, err error) netip.Addr {
	if err != nil {
		panic(err)
	}
	return a
}

func must0(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
