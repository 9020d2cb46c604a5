package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/holdfast-go/holdfast/bench/internal/work"
	"github.com/holdfast-go/holdfast/internal/consulagent"
)

// contenders is a process of them. Its methods are for one goroutine.
type contenders struct {
	spec    spec
	cmd     *exec.Cmd
	in      io.WriteCloser // they end when it does
	ended   chan struct{}
	crashed int // how often it ended by itself
}

func startContenders(s spec) (*contenders, error) {
	p := &contenders{spec: s}
	return p, p.start()
}

func (p *contenders) start() error {
	arg, err := json.Marshal(p.spec)
	if err != nil {
		return fmt.Errorf("start contenders: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("start contenders: %w", err)
	}
	p.cmd = exec.Command(self, childArg, string(arg)) //nolint:gosec // this program
	p.cmd.Stderr = os.Stderr
	if p.in, err = p.cmd.StdinPipe(); err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		return fmt.Errorf("start contenders: %w", err)
	}
	ended, cmd := make(chan struct{}), p.cmd
	p.ended = ended
	go func() {
		defer close(ended)
		_ = cmd.Wait() // when it ends is what matters
	}()
	return nil
}

// check counts it if it has ended by itself.
func (p *contenders) check() {
	select {
	case <-p.ended:
		p.crashed++
	default:
	}
}

func (p *contenders) kill() {
	_ = p.cmd.Process.Kill() // stopped or not
	<-p.ended
	_ = p.in.Close()
}

func (p *contenders) freeze() { _ = p.cmd.Process.Signal(syscall.SIGSTOP) }
func (p *contenders) thaw()   { _ = p.cmd.Process.Signal(syscall.SIGCONT) }

// engine keeps the locks: in a process of its own, or among the contenders.
type engine struct {
	url    string
	member func(process int) *memberSpec // nil: they are no part of it
	kill   func()
	wipe   func() error // what is killed
	start  func(context.Context) error
	close  func()
}

// startEngine starts one; all are the contenders, once there are any.
func startEngine(ctx context.Context, kind, dir string, all *[]*contenders) (*engine, error) {
	if kind == engineReplica {
		g, err := newGroup(dir)
		if err != nil {
			return nil, err
		}
		return g.engine(all), nil
	}
	if kind == work.EngineConsul {
		a, err := consulagent.Start(ctx, consulagent.Config{Dir: dir, Servers: 1, HCL: `session_ttl_min = "1s"`})
		if err != nil {
			return nil, err //nolint:wrapcheck // says it all
		}
		data := filepath.Join(dir, a.Name())
		return &engine{url: "consul://" + a.Addr(), wipe: func() error { return os.RemoveAll(data) }, kill: a.Kill, start: a.Start, close: a.Close}, nil
	}
	s := work.Spec{Kind: work.Etcd, ID: kind, Dir: filepath.Join(dir, kind)}
	var err error
	if s.Addr, err = work.FreeAddr(); err != nil {
		return nil, err
	}
	if s.Peer, err = work.FreeAddr(); err != nil {
		return nil, err
	}
	p, err := work.Start(ctx, s)
	if err != nil {
		return nil, err
	}
	return &engine{url: "etcd://" + p.Addr, wipe: func() error { return os.RemoveAll(s.Dir) }, kill: p.Kill, start: p.Restart, close: p.Close}, nil
}
