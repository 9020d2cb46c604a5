package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/holdfast-go/holdfast/replica"
)

// process is one member in a process of its own. Its methods are for one goroutine.
type process struct {
	spec  spec
	run   func(*exec.Cmd) error
	cmd   *exec.Cmd
	ended chan struct{}
	err   error // how it ended, once it has
	said  *tail

	frozen bool
	down   bool // it was told to end
}

// fleet is the members.
type fleet struct {
	dir       string
	processes []*process
	between   network
	http      *http.Client
}

// network is what stands between the members, and can be cut.
type network interface {
	// listen is where a member listens for the others, and for clients; addr is where a member reaches another.
	listen(member int) (peers, clients string)
	addr(from, to int) string
	// start starts a member's process where the network reaches it.
	start(member int, cmd *exec.Cmd) error
	// cut closes the ways from each of a to each of b, and back unless oneWay; disturb makes all ways bad ones; heal ends both.
	cut(a, b []int, oneWay bool)
	disturb(loss float64, delay time.Duration)
	heal()
	// sever resets the connections between two members.
	sever(a, b int)
	Close()
}

func startFleet(dir string, c config) (*fleet, error) {
	f := &fleet{dir: dir, http: &http.Client{Timeout: time.Second}}
	members := c.members
	var err error
	if c.netns {
		f.between, err = newNamespaces(members)
	} else {
		f.between, err = newMesh(members)
	}
	if err != nil {
		return nil, err
	}
	for i := range members {
		peers, clients := f.between.listen(i)
		p := &process{said: new(tail), spec: spec{
			Name: name(i), Dir: filepath.Join(dir, name(i)), Addr: peers, Clients: clients, Members: members, Election: c.election,
			Insecure: c.netns,
		}}
		p.run = func(cmd *exec.Cmd) error { return f.between.start(i, cmd) }
		for j := range members {
			peer := replica.Peer{Name: name(j), Addr: peers}
			if j != i {
				peer.Addr = f.between.addr(i, j)
			}
			p.spec.Peers = append(p.spec.Peers, peer)
		}
		f.processes = append(f.processes, p)
		if err := p.start(); err != nil {
			f.Close()
			return nil, err
		}
	}
	return f, nil
}

func name(i int) string { return fmt.Sprintf("m%d", i+1) }

func (p *process) start() error {
	arg, err := json.Marshal(p.spec)
	if err != nil {
		return fmt.Errorf("start %s: %w", p.spec.Name, err)
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("start %s: %w", p.spec.Name, err)
	}
	p.cmd = exec.Command(self)
	p.cmd.Env = append(os.Environ(), childEnv+"="+string(arg))
	p.cmd.SysProcAttr = attributes()
	p.cmd.Stderr = p.said
	if err := p.run(p.cmd); err != nil {
		return fmt.Errorf("start %s: %w", p.spec.Name, err)
	}
	p.ended, p.frozen, p.down, p.err = make(chan struct{}), false, false, nil
	go func(cmd *exec.Cmd, ended chan struct{}) {
		defer close(ended)
		p.err = cmd.Wait()
	}(p.cmd, p.ended)
	return nil
}

func (p *process) up() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

func (p *process) kill() {
	if p.up() {
		_ = p.cmd.Process.Kill() // it may have ended by itself just now
	}
	<-p.ended
}

// end asks the process to hand over and end, and kills it if it has not within a time.
func (p *process) end(limit time.Duration) {
	if !p.up() {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-p.ended:
	case <-t.C:
		p.kill()
	}
}

func (p *process) freeze(stop bool) {
	if !p.up() {
		return
	}
	s := syscall.SIGCONT
	if stop {
		s = syscall.SIGSTOP
	}
	_ = p.cmd.Process.Signal(s)
	p.frozen = stop
}

// leader returns the place of the leader as most members see it, or -1.
func (f *fleet) leader(ctx context.Context) int {
	votes := map[string]int{}
	for _, p := range f.processes {
		if !p.up() || p.frozen {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
		if s, err := f.status(ctx, p); err == nil {
			votes[s.Leader]++
		}
		cancel()
	}
	for i := range f.processes {
		if 2*votes[name(i)] > len(f.processes) {
			return i
		}
	}
	return -1
}

// whole reports whether every process has a vote, as it says itself.
func (f *fleet) whole(ctx context.Context) bool {
	for _, p := range f.processes {
		if !p.up() || p.frozen {
			return false
		}
		ctx, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
		s, err := f.status(ctx, p)
		cancel()
		if err != nil || s.Role != replica.Following && s.Role != replica.Leading {
			return false
		}
	}
	return true
}

func (f *fleet) status(ctx context.Context, p *process) (s replica.Status, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.spec.Clients+"/status", nil)
	if err != nil {
		return s, fmt.Errorf("status: %w", err)
	}
	resp, err := f.http.Do(req)
	if err != nil {
		return s, fmt.Errorf("status: %w", err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&s); err != nil {
		return s, fmt.Errorf("status: %w", err)
	}
	return s, nil
}

// Close kills what is left.
func (f *fleet) Close() {
	for _, p := range f.processes {
		if p.cmd != nil && p.cmd.Process != nil {
			p.kill()
		}
	}
	f.between.Close()
}

// tail keeps the last that a process has said.
type tail struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (t *tail) Write(b []byte) (int, error) {
	const most = 64 << 10
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf.Write(b)
	if over := t.buf.Len() - most; over > 0 {
		t.buf.Next(over)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.buf.String()
}
