//go:build unix

package supervise

import (
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestPortsNeverClash(t *testing.T) {
	p := newPorts(firstPort, lastPort)
	defer p.close()
	var mu sync.Mutex
	seen := make(map[int]bool)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 50 {
				port, err := p.take()
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				if seen[port] || port < firstPort || port >= lastPort {
					t.Errorf("port %d", port)
				}
				seen[port] = true
				mu.Unlock()
			}
		})
	}
	all.Wait()
}

func TestPortsAreFree(t *testing.T) {
	p := newPorts(firstPort, lastPort)
	defer p.close()
	port, err := p.take()
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", loopback(port))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if free(port) || freeSoon(port) {
		t.Error("free, but in use")
	}
	p.release(port)
	p = newPorts(port, port+1)
	if got, err := p.take(); err == nil {
		t.Errorf("got %d, which is in use", got)
	}
}

// What one supervisor has, no other one takes, also while nobody listens.
func TestPortsOfAnotherSupervisor(t *testing.T) {
	p := newPorts(firstPort, lastPort)
	defer p.close()
	port, err := p.take()
	if err != nil {
		t.Fatal(err)
	}
	other := newPorts(port, port+1)
	defer other.close()
	refused := func(what string) {
		t.Helper()
		if got, err := other.take(); err == nil {
			t.Fatalf("%s: got %d", what, got)
		}
	}
	given := func(what string) {
		t.Helper()
		if _, err := other.take(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		other.release(port)
	}
	refused("taken")
	p.release(port)
	given("released")
	p.reserve(port)
	refused("reserved")
	p.close()
	given("closed")
	// Without a place for locks there are ports all the same.
	t.Setenv("TMPDIR", os.Args[0])
	given("without locks")
}

func TestAddresses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "control", "addresses.json")
	first, err := Addresses(file, "a", "b")
	if err != nil || len(first) != 2 || first["a"] == first["b"] || portOf(first["a"]) < firstFixed || portOf(first["a"]) >= firstPort {
		t.Fatal(first, err)
	}
	again, err := Addresses(file, "b", "a")
	if err != nil || !maps.Equal(first, again) {
		t.Errorf("%v, %v, want %v", again, err, first)
	}
	more, err := Addresses(file, "a", "c")
	if err != nil || more["a"] != first["a"] || more["c"] == first["b"] || len(more) != 2 {
		t.Errorf("%v, %v after %v", more, err, first)
	}
	for content, want := range map[string]string{
		`{"a": "127.0.0.1:0"}`: "bad address", `{"a": "x"}`: "bad address", `{`: "unexpected end", `[]`: "cannot unmarshal",
	} {
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Addresses(file, "a"); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v", content, err)
		}
	}
}
