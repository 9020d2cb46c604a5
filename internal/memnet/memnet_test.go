package memnet

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

const addr = "127.0.0.1:7"

// connect returns both ends of a connection.
func connect(t *testing.T, n *Network) (client, server net.Conn) {
	t.Helper()
	lis, err := n.Listen(addr)
	if err != nil {
		t.Fatal(err)
	}
	client, err = n.Dial(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	server, err = lis.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close(); lis.Close() })
	return client, server
}

func write(t *testing.T, c net.Conn, s string) {
	t.Helper()
	if _, err := c.Write([]byte(s)); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, c net.Conn) string {
	t.Helper()
	b := make([]byte, 100)
	n, err := c.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:n])
}

func TestBytesArriveAndThenTheEnd(t *testing.T) {
	client, server := connect(t, New())
	write(t, client, "over there")
	client.Close()
	if got := read(t, server); got != "over there" {
		t.Errorf("read %q", got)
	}
	if _, err := server.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("read after close: %v", err)
	}
	if _, err := server.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("write after close: %v", err)
	}
}

func TestACutIsAResetForBothAndRefusesOthers(t *testing.T) {
	n := New()
	client, server := connect(t, n)
	n.Cut(addr)
	for _, c := range []net.Conn{client, server} {
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("read: %v", err)
		}
	}
	if _, err := n.Dial(t.Context(), addr); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial: %v", err)
	}
	n.Restore(addr)
	if _, err := n.Dial(t.Context(), addr); err != nil {
		t.Errorf("dial after restore: %v", err)
	}
	if got := n.Conns(addr); got != 1 {
		t.Errorf("%d connections", got)
	}
}

func TestAFrozenHostTakesBytesAndGivesNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New()
		client, server := connect(t, n)
		n.Freeze(addr)
		write(t, client, "hello?")
		if _, err := n.Dial(t.Context(), addr); err != nil {
			t.Errorf("dial: %v", err)
		}
		server.SetReadDeadline(time.Now().Add(time.Hour))
		if _, err := server.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read: %v", err)
		}
		server.SetReadDeadline(time.Time{})
		n.Restore(addr)
		if got := read(t, server); got != "hello?" {
			t.Errorf("read %q", got)
		}
	})
}

func TestASlowHostIsSlowBothWays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New()
		client, server := connect(t, n)
		n.Slow(addr, time.Second)
		start := time.Now()
		write(t, client, "ping")
		read(t, server)
		write(t, server, "pong")
		read(t, client)
		if took := time.Since(start); took != 2*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

func TestASenderStopsWhenItsWindowIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New()
		client, _ := connect(t, n)
		client.SetWriteDeadline(time.Now().Add(time.Second))
		sent, err := client.Write(make([]byte, 1<<20))
		if sent != windowBytes || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("sent %d, %v", sent, err)
		}
	})
}

func TestATakenAddressIsAnError(t *testing.T) {
	n := New()
	connect(t, n)
	if _, err := n.Listen(addr); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("listen: %v", err)
	}
}
