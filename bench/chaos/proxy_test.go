package main

import (
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo listens and answers with what it gets.
func echo(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
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

// ask sends a byte and reports whether it comes back within a time.
func ask(t *testing.T, c net.Conn, limit time.Duration) bool {
	t.Helper()
	if _, err := c.Write([]byte{1}); err != nil {
		return false
	}
	_ = c.SetReadDeadline(time.Now().Add(limit))
	_, err := c.Read(make([]byte, 1))
	return err == nil
}

func TestACutWayCarriesNothingAndHeals(t *testing.T) {
	for name, cut := range map[string]func(*mesh){
		"there":     func(m *mesh) { m.cut([]int{0}, []int{1}, true) },
		"back":      func(m *mesh) { m.cut([]int{1}, []int{0}, true) },
		"both ways": func(m *mesh) { m.cut([]int{0}, []int{1}, false) },
	} {
		t.Run(name, func(t *testing.T) {
			m, err := meshBetween([]string{"127.0.0.1:1", echo(t)}, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			c, err := net.Dial("tcp", m.addr(0, 1))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if !ask(t, c, 5*time.Second) {
				t.Fatal("an open way carries nothing")
			}
			cut(m)
			if ask(t, c, 50*time.Millisecond) {
				t.Error("a cut way carries")
			}
			m.heal()
			_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
			if _, err := c.Read(make([]byte, 1)); err != nil {
				t.Errorf("what waited does not arrive: %v", err)
			}
			m.sever(1, 0)
			if ask(t, c, 5*time.Second) {
				t.Error("a severed connection carries")
			}
		})
	}
}

func TestConnectionsToNobodyAreReset(t *testing.T) {
	nobody, err := freeAddr()
	if err != nil {
		t.Fatal(err)
	}
	m, err := meshBetween([]string{nobody, nobody}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	c, err := net.Dial("tcp", m.addr(0, 1))
	if err == nil { // it may be reset before it is known to be there
		defer c.Close()
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		_, err = c.Read(make([]byte, 1))
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v", err)
	}
}
