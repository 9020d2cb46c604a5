//go:build real && linux

package cli_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/platform/control"
)

// These tests take root and /dev/net/tun.

func inNamespaces(edge string) string {
	return "system: apart\ncontrol: {members: 3}\nservices:\n" +
		"  web: {run: " + yaml(service()+" announced") + ", replicas: 2, env: {HOLDFAST_DRAIN_DELAY: 50ms}, http: \"" + edge + "\"}\n"
}

// device is that of a system's network, "" if there is none.
func device(t *testing.T, network string) string {
	t.Helper()
	p := netip.MustParsePrefix(network)
	all, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range all {
		addrs, err := i.Addrs()
		if err != nil {
			continue // it has just gone
		}
		for _, a := range addrs {
			if ip, err := netip.ParsePrefix(a.String()); err == nil && p.Contains(ip.Addr()) {
				return i.Name
			}
		}
	}
	return ""
}

func TestRealNamespaces(t *testing.T) {
	edge := freeAddr(t)
	s := start(t, inNamespaces(edge), "--netns")
	s.await(t, "is ready in")
	ctx := context.Background()
	c := s.client(t)
	info, err := c.System(ctx)
	if err != nil || info.Network == "" {
		t.Fatalf("%+v, %v", info, err)
	}
	before := s.ps(t)
	home, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{home: "up"}
	for id, i := range before {
		ip := netip.MustParseAddrPort(i.Addr).Addr()
		if !netip.MustParsePrefix(info.Network).Contains(ip) {
			t.Errorf("%s is at %s, which is not in %s", id, ip, info.Network)
		}
		ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", i.PID))
		if err != nil || seen[ns] != "" {
			t.Errorf("%s is in the namespace %s of %q, %v", id, ns, seen[ns], err)
		}
		seen[ns] = id
	}
	well := func(when string) {
		t.Helper()
		if code, body := ask(t, edge); code != http.StatusOK || !strings.HasPrefix(body, "web-") {
			t.Errorf("%s: the edge answers %d %s", when, code, body)
		}
	}
	well("at first")
	if out := s.do(t, "queue", "list"); !strings.HasPrefix(out, "TOPIC") {
		t.Errorf("queue list printed:\n%s", out)
	}

	s.do(t, "kill", "web-1")
	s.await(t, "web-1 ready again")
	if after := s.ps(t)["web-1"]; after.Addr != before["web-1"].Addr || after.PID == before["web-1"].PID {
		t.Errorf("after a kill: %+v, before: %+v", after, before["web-1"])
	}
	s.do(t, "kill", "control-2")
	s.await(t, "control-2 ready again")
	s.do(t, "scale", "web", "3")
	s.do(t, "restart", "web")
	s.do(t, "scale", "web", "2")
	well("after all that")

	// Packets are lost, and come through again.
	cut := func(id string) control.Fault {
		t.Helper()
		f, err := c.Inject(ctx, control.FaultRequest{
			Kind: control.FaultNet, TTL: control.MaxTTL,
			Links: []control.Link{{From: []string{id}, To: []string{control.Everybody}, Shape: control.Shape{CutOut: true, CutIn: true}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	one := cut("web-1")
	for range 4 {
		if code, body := ask(t, edge); code != http.StatusOK || body != "web-2" {
			t.Errorf("with web-1 cut off, the edge answers %d %s", code, body)
		}
	}
	addr := s.ps(t)["web-1"].Addr
	if conn, err := net.DialTimeout("tcp", addr, 300*time.Millisecond); err == nil {
		t.Errorf("web-1 is cut off and takes a connection from here")
		conn.Close()
	}
	if err := c.Mend(ctx, one.ID); err != nil {
		t.Fatal(err)
	}
	if conn, err := net.DialTimeout("tcp", addr, 5*time.Second); err != nil {
		t.Errorf("after it was mended: %v", err)
	} else {
		conn.Close()
	}

	s.interrupts <- os.Interrupt
	if code := s.end(t); code != 0 {
		t.Errorf("up ended with %d: %s", code, s.err.String())
	}
	if name := device(t, info.Network); name != "" {
		t.Errorf("the device %s is left", name)
	}
}

// With kill -9 of up everything is gone, devices and namespaces too, and the next up finds the network, the control members
// at their addresses in it, and what they keep.
func TestRealNamespacesAreGoneWithUp(t *testing.T) {
	edge, addr, dir := freeAddr(t), freeAddr(t), t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "system.yaml"), []byte(inNamespaces(edge)), 0o644); err != nil {
		t.Fatal(err)
	}
	run := func() *exec.Cmd {
		cmd := exec.Command(os.Args[0], selfArgs[0], "up", "--netns", "--control", addr, "--data", filepath.Join(dir, "data"), dir)
		cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for lines := bufio.NewScanner(out); lines.Scan() && !strings.Contains(lines.Text(), "is ready in"); {
			t.Log(lines.Text())
		}
		go func() { _, _ = io.Copy(io.Discard, out) }()
		return cmd
	}
	s := &runningSystem{control: addr, line: &line{env: map[string]string{"HOLDFAST_CONTROL": addr}}}
	c := s.client(t)
	var networks, members [2]string
	for i := range networks {
		cmd := run()
		info, err := c.System(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		instances := s.ps(t)
		networks[i], members[i] = info.Network, instances["control-3"].Addr
		if code, body := ask(t, edge); code != http.StatusOK {
			t.Errorf("the edge answers %d %s", code, body)
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		eventuallyWithin(t, 10*time.Second, "nothing is left of an up that was killed", func() bool {
			left := device(t, info.Network)
			for id, i := range instances {
				if alive(i.PID) {
					left += " " + id
				}
			}
			return left == ""
		})
	}
	if networks[0] != networks[1] || members[0] != members[1] {
		t.Errorf("the networks were %v, the third control member's address %v", networks, members)
	}
	l := &line{env: map[string]string{"HOLDFAST_CONTROL": addr}}
	if code := l.run("up", "--data", filepath.Join(dir, "data"), dir); code != 1 || !strings.Contains(l.err.String(), "was made with --netns") {
		t.Errorf("up without --netns on the same data: %d %s", code, l.err.String())
	}
}
