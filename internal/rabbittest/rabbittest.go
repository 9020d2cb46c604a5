//go:build unix

// Package rabbittest runs a real RabbitMQ as processes of its own, for tests and for programs that measure, and breaks it:
// killed, frozen, restarted on the same data, restarted empty. It needs Debian's rabbitmq-server, whose own broker and epmd
// it neither needs nor disturbs.
package rabbittest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/holdfast-go/holdfast/internal/ports"
	"github.com/holdfast-go/holdfast/internal/proxytest"
)

const (
	programs     = "/usr/lib/rabbitmq/bin" // those in sbin change the user, and want the system's directories
	startTimeout = 3 * time.Minute         // of which a machine with nothing else to do takes 5 s
	pollEvery    = 50 * time.Millisecond
	ctlTimeout   = 30 * time.Second
	// startTries is for a port that somebody else took between its choice and its use.
	startTries = 3
)

// Settle is how old a quorum queue must be before a kill -9 of its node leaves it alone: RabbitMQ writes down which queues
// have logs about half a second later (names.dets of ra), and after a crash before that the queue is empty and has no
// leader (rabbitmq-server issue 15725).
const Settle = 1200 * time.Millisecond

// Config says how a broker runs.
type Config struct {
	// Dir is where it keeps its data and its logs. Required.
	Dir string
	// Settings are more lines of its rabbitmq.conf.
	Settings string
}

// Broker is one node, which is a cluster of its own. Its address stays the same over restarts. Methods are for one
// goroutine, Addr, URL, PID, Freeze and Thaw aside.
type Broker struct {
	cfg   Config
	ports *ports.Reserved // of clients, of nodes among each other, of epmd

	mu   sync.Mutex
	epmd *process // the node's name service: Erlang does not start without
	node *process // nil while it does not run
}

// Start starts a broker and returns when it takes clients. The error says how to get the server if it is missing.
func Start(ctx context.Context, cfg Config) (*Broker, error) {
	if _, err := os.Stat(program("rabbitmq-server")); err != nil {
		return nil, fmt.Errorf("find RabbitMQ: %w: run `apt-get install --no-install-recommends rabbitmq-server` first", err)
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, err
	}
	cfg.Dir = dir
	var errs []error
	for range startTries {
		b := &Broker{cfg: cfg}
		if b.ports, err = ports.Reserve(3); err == nil {
			if err = b.Start(ctx); err == nil {
				return b, nil
			}
			b.Close()
		}
		errs = append(errs, err)
		if !errors.Is(err, errPortTaken) {
			break
		}
	}
	return nil, errors.Join(errs...)
}

func program(name string) string { return filepath.Join(programs, name) }

// Addr returns the host:port that clients connect to.
func (b *Broker) Addr() string { return b.ports.Addr(0) }

// URL returns what the driver takes.
func (b *Broker) URL() string { return "amqp://" + b.Addr() }

// PID returns the process id of the node, 0 while it does not run.
func (b *Broker) PID() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.node == nil {
		return 0
	}
	return b.node.cmd.Process.Pid
}

// Start starts it again after Kill, on the data that it has, and waits as the function Start does.
func (b *Broker) Start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := b.files(); err != nil {
		return fmt.Errorf("start RabbitMQ: %w", err)
	}
	if err := b.names(ctx); err != nil {
		return fmt.Errorf("start epmd: %w", err)
	}
	p, err := launch(b.command("rabbitmq-server"), b.path("node.log"))
	if err != nil {
		return fmt.Errorf("start RabbitMQ: %w", err)
	}
	b.mu.Lock()
	b.node = p
	b.mu.Unlock()
	if err := b.ready(ctx, p); err != nil {
		b.Kill()
		return fmt.Errorf("start RabbitMQ: %w", err)
	}
	return nil
}

func (b *Broker) path(name string) string { return filepath.Join(b.cfg.Dir, name) }

// files writes what the node reads when it starts.
func (b *Broker) files() error {
	if err := os.MkdirAll(b.path("data"), 0o700); err != nil {
		return err
	}
	conf := "listeners.tcp.1 = " + b.Addr() + "\n" +
		"disk_free_limit.absolute = 50MB\nvm_memory_high_watermark.absolute = 1GB\n" +
		"raft.wal_max_size_bytes = 64000000\nlog.file.level = info\n" + b.cfg.Settings
	return errors.Join(
		os.WriteFile(b.path("rabbitmq.conf"), []byte(conf), 0o600),
		os.WriteFile(b.path("plugins"), []byte("[].\n"), 0o600))
}

// names starts the name service, unless it runs. It is this node's own, and in the foreground, so that it ends with us.
func (b *Broker) names(ctx context.Context) error {
	b.mu.Lock()
	p := b.epmd
	b.mu.Unlock()
	if p != nil && !p.ended() {
		return nil
	}
	p, err := launch(exec.Command("epmd", "-port", strconv.Itoa(b.ports.Port(2)), "-address", "127.0.0.1"), b.path("epmd.log"))
	if err != nil {
		return err
	}
	b.mu.Lock()
	b.epmd = p
	b.mu.Unlock()
	return p.poll(ctx, func() error {
		c, err := net.DialTimeout("tcp", b.ports.Addr(2), time.Second)
		if err == nil {
			c.Close()
		}
		return err
	})
}

// command returns a program of RabbitMQ that is about this node.
func (b *Broker) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(program(name), args...)
	cmd.Dir = b.cfg.Dir
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "RABBITMQ_") && !strings.HasPrefix(kv, "ERL_") {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	cmd.Env = append(cmd.Env,
		"HOME="+b.cfg.Dir, // where the cookie is
		"RABBITMQ_NODENAME=hf"+strconv.Itoa(b.ports.Port(0))+"@localhost",
		"RABBITMQ_MNESIA_BASE="+b.path("data"),
		"RABBITMQ_LOG_BASE="+b.cfg.Dir,
		"RABBITMQ_CONFIG_FILE="+b.path("rabbitmq"),
		"RABBITMQ_ENABLED_PLUGINS_FILE="+b.path("plugins"),
		"RABBITMQ_PID_FILE="+b.path("pid"),
		"RABBITMQ_CONF_ENV_FILE=/dev/null",
		"RABBITMQ_DIST_PORT="+strconv.Itoa(b.ports.Port(1)),
		"ERL_EPMD_ADDRESS=127.0.0.1",
		"ERL_EPMD_PORT="+strconv.Itoa(b.ports.Port(2)))
	if name == "rabbitmq-server" {
		// detached makes the script become the node instead of its parent, so that what is killed here is the node.
		cmd.Env = append(cmd.Env, "detached=true",
			"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-kernel inet_dist_use_interface {127,0,0,1}")
	}
	return cmd
}

// ready polls until the node takes clients.
func (b *Broker) ready(ctx context.Context, p *process) error {
	return p.poll(ctx, func() error {
		c, err := net.DialTimeout("tcp", b.Addr(), time.Second)
		if err != nil {
			return err
		}
		defer c.Close()
		if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
			return err
		}
		conn, err := amqp.Open(c, amqp.Config{SASL: []amqp.Authentication{&amqp.PlainAuth{Username: "guest", Password: "guest"}}, Vhost: "/"})
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

var errDown = errors.New("RabbitMQ does not run")

// Ctl runs rabbitmqctl and returns what it prints. It takes a second or two.
func (b *Broker) Ctl(ctx context.Context, args ...string) (string, error) {
	if b.PID() == 0 { // without our epmd it would start one that nobody ends
		return "", errDown
	}
	ctx, cancel := context.WithTimeout(ctx, ctlTimeout)
	defer cancel()
	plain := b.command("rabbitmqctl", args...)
	cmd := exec.CommandContext(ctx, plain.Path, args...)
	cmd.Dir, cmd.Env = plain.Dir, plain.Env
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("rabbitmqctl %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), err
}

// Kill ends the node as a crash does, also when it is frozen. What it has on disk stays. It is idempotent.
func (b *Broker) Kill() {
	b.mu.Lock()
	p := b.node
	b.node = nil
	b.mu.Unlock()
	if p != nil {
		p.kill()
	}
}

// Restart kills the node, if it runs, and starts it again on the data that it has.
func (b *Broker) Restart(ctx context.Context) error {
	b.Kill()
	return b.Start(ctx)
}

// RestartEmpty kills the node, if it runs, and starts it again without any data.
func (b *Broker) RestartEmpty(ctx context.Context) error {
	b.Kill()
	if err := os.RemoveAll(b.path("data")); err != nil {
		return err
	}
	return b.Start(ctx)
}

// Close ends it and gives back its ports. It is idempotent.
func (b *Broker) Close() {
	b.Kill()
	b.mu.Lock()
	p := b.epmd
	b.epmd = nil
	b.mu.Unlock()
	if p != nil {
		p.kill()
	}
	b.ports.Release()
}

// Freeze stops the node without ending it, until Thaw.
func (b *Broker) Freeze() error { return b.signal(syscall.SIGSTOP) }

// Thaw ends Freeze.
func (b *Broker) Thaw() error { return b.signal(syscall.SIGCONT) }

func (b *Broker) signal(s syscall.Signal) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.node == nil {
		return errDown
	}
	return b.node.cmd.Process.Signal(s)
}

// New returns a broker that ends with the test.
func New(t testing.TB, cfg Config) *Broker {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	b, err := Start(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// Proxy returns a proxy in front of the broker that ends with the test.
func (b *Broker) Proxy(t testing.TB) *proxytest.Proxy { return proxytest.New(t, b.Addr) }
