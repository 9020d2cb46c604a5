//go:build unix

// Package consulagent runs real Consul agents as child processes, for tests and for programs that measure. The program
// is built by `make consul`, once, into the user's cache.
package consulagent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/holdfast-go/holdfast/internal/ports"
)

// Version is that of tools/consul/go.mod.
const Version = "1.22.7"

const (
	startTimeout = 3 * time.Minute
	pollEvery    = 20 * time.Millisecond
	// startTries is for a port that somebody else took between its choice and its use.
	startTries = 5
)

// Program returns the path of Consul. The error says how to get it.
func Program() (string, error) {
	cache := os.Getenv("XDG_CACHE_HOME")
	if cache == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("find consul: %w", err)
		}
		cache = filepath.Join(home, ".cache")
	}
	program := filepath.Join(cache, "holdfast", "consul-"+Version, "consul")
	if _, err := os.Stat(program); err != nil {
		return "", fmt.Errorf("find consul: %w: run `make consul` first", err)
	}
	return program, nil
}

// Config says how an agent runs.
type Config struct {
	// Dir is where it keeps its data and its log.
	Dir string
	// Name is its node's; default "node".
	Name string
	// Servers is how many servers make the cluster; 0 is a dev agent, which is a cluster of its own, starts in a fraction
	// of a second and forgets everything when it ends.
	Servers int
	// Client makes it an agent without a server of its own.
	Client bool
	// Join are the gossip addresses of others.
	Join []string
	// HCL is more configuration, and Token what it makes the agent ask for.
	HCL, Token string
}

// Agent is one agent. Its addresses stay the same over restarts. Methods are for one goroutine, Addr and Freeze aside.
type Agent struct {
	cfg   Config
	id    string          // by which it is told from another agent that took its port
	ports *ports.Reserved // of HTTP, of the server, of gossip

	mu   sync.Mutex
	proc *process // nil while it does not run
}

// Start starts an agent and waits until it answers; until it has a leader, too, if it is a cluster by itself.
func Start(ctx context.Context, cfg Config) (*Agent, error) {
	if cfg.Name == "" {
		cfg.Name = "node"
	}
	var errs []error
	for range startTries {
		a := &Agent{cfg: cfg, id: newID()}
		var err error
		if a.ports, err = ports.Reserve(3); err == nil {
			if err = a.Start(ctx); err == nil {
				return a, nil
			}
			a.Close()
		}
		errs = append(errs, err)
		if !errors.Is(err, errPortTaken) {
			break
		}
	}
	return nil, errors.Join(errs...)
}

// Addr returns the host:port of its HTTP API.
func (a *Agent) Addr() string { return a.ports.Addr(0) }

// Name returns the name of its node.
func (a *Agent) Name() string { return a.cfg.Name }

// Gossip returns the address to join.
func (a *Agent) Gossip() string { return a.ports.Addr(2) }

// Start starts it again after Kill, on the data that it has, and waits as the function Start does.
func (a *Agent) Start(ctx context.Context) error {
	program, err := Program()
	if err != nil {
		return err
	}
	p, err := launch(program, a.args(), filepath.Join(a.cfg.Dir, a.cfg.Name+".log"))
	if err != nil {
		return fmt.Errorf("start consul: %w", err)
	}
	a.mu.Lock()
	a.proc = p
	a.mu.Unlock()
	if err := a.ready(ctx, p); err != nil {
		a.Kill()
		return fmt.Errorf("start consul: %w", err)
	}
	return nil
}

func (a *Agent) args() []string {
	hcl := "disable_update_check = true\nleave_on_terminate = false\nperformance { raft_multiplier = 1 }\n" + a.cfg.HCL
	args := []string{
		"agent", "-node", a.cfg.Name, "-node-id", a.id, "-bind", "127.0.0.1", "-client", "127.0.0.1", "-log-level", "warn", "-hcl", hcl,
		"-http-port", strconv.Itoa(a.ports.Port(0)), "-server-port", strconv.Itoa(a.ports.Port(1)),
		"-serf-lan-port", strconv.Itoa(a.ports.Port(2)),
		"-serf-wan-port", "-1", "-dns-port", "-1", "-grpc-port", "-1", "-grpc-tls-port", "-1",
	}
	switch {
	case a.cfg.Servers == 0 && !a.cfg.Client:
		args = append(args, "-dev")
	case a.cfg.Client:
		args = append(args, "-data-dir", a.data())
	default:
		args = append(args, "-server", "-bootstrap-expect", strconv.Itoa(a.cfg.Servers), "-data-dir", a.data())
	}
	for _, j := range a.cfg.Join {
		args = append(args, "-retry-join", j, "-retry-interval", "200ms")
	}
	return args
}

func (a *Agent) data() string { return filepath.Join(a.cfg.Dir, a.cfg.Name) }

// ready polls until this agent, and no other, answers, and has a leader if it must have one by itself.
func (a *Agent) ready(ctx context.Context, p *process) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	known := func(body string) bool { return strings.Contains(body, a.id) }
	if err := a.poll(ctx, p, "/v1/agent/self", known); err != nil {
		return err
	}
	if a.cfg.Servers > 1 || a.cfg.Client {
		return nil
	}
	return a.poll(ctx, p, "/v1/catalog/nodes", known) // by the leader, once it has met this node
}

// Leader waits until the agent knows a leader and returns the host:port that the leader's server speaks at.
func (a *Agent) Leader(ctx context.Context) (string, error) {
	var leader string
	err := a.poll(ctx, nil, "/v1/status/leader", func(body string) bool {
		leader = strings.Trim(strings.TrimSpace(body), `"`)
		return leader != ""
	})
	return leader, err
}

// Leads reports whether leader, as Leader returned it, is this agent.
func (a *Agent) Leads(leader string) bool { return leader == a.ports.Addr(1) }

func (a *Agent) poll(ctx context.Context, p *process, path string, good func(body string) bool) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	ended := make(<-chan struct{})
	if p != nil {
		ended = p.done
	}
	var last error
	for {
		body, err := get(ctx, "http://"+a.Addr()+path, a.cfg.Token)
		if err == nil && good(body) {
			return nil
		}
		last = err
		select {
		case <-ended:
			return p.why()
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), last)
		case <-tick.C:
		}
	}
}

var client = &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

func get(ctx context.Context, url, token string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	if token != "" {
		req.Header.Set("X-Consul-Token", token)
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, b)
	}
	return string(b), err
}

// Kill ends it as a crash does. What it has on disk stays. It is idempotent.
func (a *Agent) Kill() {
	a.mu.Lock()
	p := a.proc
	a.proc = nil
	a.mu.Unlock()
	if p != nil {
		_ = p.cmd.Process.Kill() // stopped or not
		<-p.done
	}
}

// Close ends it and gives back its ports. It is idempotent.
func (a *Agent) Close() {
	a.Kill()
	a.ports.Release()
}

// Wipe removes what it has on disk. It must not run.
func (a *Agent) Wipe() error { return os.RemoveAll(a.data()) }

// Freeze stops the process without ending it, until Thaw. Its threads stop one after the other, and on a busy machine some
// moments later.
func (a *Agent) Freeze() error { return a.signal(syscall.SIGSTOP) }

// Thaw ends Freeze.
func (a *Agent) Thaw() error { return a.signal(syscall.SIGCONT) }

func (a *Agent) signal(s syscall.Signal) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.proc == nil {
		return errors.New("consul does not run")
	}
	return a.proc.cmd.Process.Signal(s)
}

// process is one life of an agent.
type process struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{}
	err  error // set before done is closed
}

// launch starts a process that ends with this one, where the kernel knows how. The thread that starts it has to live as
// long as it does.
func launch(program string, args []string, log string) (*process, error) {
	f, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	p := &process{cmd: exec.Command(program, args...), log: log, done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = f, f
	p.cmd.SysProcAttr = sysProcAttr()
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		defer close(p.done)
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.err = p.cmd.Wait()
		}
	}()
	return p, <-started
}

var errPortTaken = errors.New("a port is taken")

// why says how the process ended, in its own words.
func (p *process) why() error {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return errors.Join(p.err, err)
	}
	if strings.Contains(string(b), "address already in use") {
		return errPortTaken
	}
	return fmt.Errorf("it ended: %w:\n%s", p.err, b[max(0, len(b)-2000):])
}

// newID returns a UUID.
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // which does not fail
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
