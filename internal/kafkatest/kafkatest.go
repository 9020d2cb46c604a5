//go:build unix

// Package kafkatest runs real Kafka brokers as child processes that end with this one, for tests and for programs that
// measure, and easy to break: killed, frozen, started again on the same port, with or without their data. The broker is
// fetched by `make kafka`, once, into the user's cache.
package kafkatest

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/holdfast-go/holdfast/internal/ports"
)

// Version is that of tools/kafka/pom.xml.
const Version = "4.1.1"

const (
	startTimeout = 3 * time.Minute // of which a machine with nothing else to do takes 4 s
	// startTries is for a port that somebody else took between its choice and its use.
	startTries = 5
)

// Libraries returns the directory with the broker's jars. The error says how to get them.
func Libraries() (string, error) {
	cache := os.Getenv("XDG_CACHE_HOME")
	if cache == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("find kafka: %w", err)
		}
		cache = filepath.Join(home, ".cache")
	}
	dir := filepath.Join(cache, "holdfast", "kafka-"+Version)
	if _, err := os.Stat(dir); err != nil {
		return "", fmt.Errorf("find kafka: %w: run `make kafka` first", err)
	}
	if _, err := exec.LookPath("java"); err != nil {
		return "", fmt.Errorf("find kafka: %w: it needs Java 17", err)
	}
	return dir, nil
}

// Config says how a broker runs.
type Config struct {
	// Dir is where it keeps its data and its log.
	Dir string
	// Advertise is the host:port that clients are told to go to, for a proxy in front. Default: Addr.
	Advertise string
	// Secure adds a second way in, with TLS and a password.
	Secure *Secure
	// Properties are added to the server's, such as "message.max.bytes".
	Properties map[string]string

	id      int
	ports   *ports.Reserved // of clients, of controllers, of clients with TLS
	voters  string
	brokers int
}

// Broker is one broker. Its addresses stay the same over restarts. Methods are for one goroutine, Addr, Freeze and Thaw
// aside.
type Broker struct {
	cfg   Config
	ports *ports.Reserved

	mu   sync.Mutex
	proc *process // nil while it does not run
}

// Start starts a broker that is a cluster by itself, and waits until it takes clients.
func Start(ctx context.Context, cfg Config) (*Broker, error) {
	var errs []error
	for range startTries {
		p, err := ports.Reserve(3)
		if err != nil {
			return nil, fmt.Errorf("start kafka: %w", err)
		}
		cfg.id, cfg.ports, cfg.brokers = 1, p, 1
		cfg.voters = "1@" + p.Addr(1)
		b := &Broker{cfg: cfg, ports: p}
		if err = b.Start(ctx); err == nil {
			return b, nil
		}
		b.Close()
		errs = append(errs, err)
		if !errors.Is(err, errPortTaken) {
			break
		}
		_ = os.RemoveAll(b.data())
	}
	return nil, errors.Join(errs...)
}

// Addr returns the host:port that it listens at.
func (b *Broker) Addr() string { return b.ports.Addr(0) }

// URL returns that of package kafkaqueue.
func (b *Broker) URL() string {
	if b.cfg.Advertise != "" {
		return "kafka://" + b.cfg.Advertise
	}
	return "kafka://" + b.Addr()
}

// PID returns that of the process, 0 while none runs.
func (b *Broker) PID() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.proc == nil {
		return 0
	}
	return b.proc.cmd.Process.Pid
}

// Start starts it again after Kill, on the data that it has, and waits until it takes clients.
func (b *Broker) Start(ctx context.Context) error {
	if err := b.launch(); err != nil {
		return err
	}
	return b.Ready(ctx)
}

func (b *Broker) launch() error {
	libs, err := Libraries()
	if err != nil {
		return err
	}
	if err := b.format(); err != nil {
		return fmt.Errorf("start kafka: %w", err)
	}
	// A broker that is started often: what it saves by better code is less than what the compiler takes.
	args := []string{
		"-Xms128m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
		"-Djava.awt.headless=true", "-cp", filepath.Join(libs, "*"), "kafka.Kafka", b.file("properties"),
	}
	p, err := launch("java", args, b.file("log"))
	if err != nil {
		return fmt.Errorf("start kafka: %w", err)
	}
	b.mu.Lock()
	b.proc = p
	b.mu.Unlock()
	return nil
}

// Ready waits until it takes clients.
func (b *Broker) Ready(ctx context.Context) error {
	b.mu.Lock()
	p := b.proc
	b.mu.Unlock()
	if p == nil {
		return errors.New("kafka does not run")
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	c, err := kgo.NewClient(kgo.SeedBrokers(b.Addr()), kgo.DialTimeout(time.Second), kgo.RequestRetries(0), kgo.MetadataMinAge(10*time.Millisecond),
		kgo.DisableClientMetrics())
	if err != nil {
		return fmt.Errorf("start kafka: %w", err)
	}
	defer c.Close()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		one, cancel := context.WithTimeout(ctx, 2*time.Second)
		err := c.Ping(one)
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			err := p.why()
			b.Kill()
			return fmt.Errorf("start kafka: %w", err)
		case <-ctx.Done():
			return fmt.Errorf("start kafka: %w: %w", ctx.Err(), err)
		case <-tick.C:
		}
	}
}

// format prepares an empty directory, as kafka-storage.sh does, which takes a second.
func (b *Broker) format() error {
	if err := os.MkdirAll(b.data(), 0o700); err != nil {
		return err
	}
	meta := filepath.Join(b.data(), "meta.properties")
	if _, err := os.Stat(meta); errors.Is(err, os.ErrNotExist) {
		text := fmt.Sprintf("version=1\ncluster.id=%s\nnode.id=%d\ndirectory.id=%s\n", clusterID, b.cfg.id, newID())
		if err := os.WriteFile(meta, []byte(text), 0o600); err != nil {
			return err
		}
	}
	text, err := b.properties()
	if err != nil {
		return err
	}
	return os.WriteFile(b.file("properties"), []byte(text), 0o600)
}

const clusterID = "aG9sZGZhc3Qta2Fma2E6KQ"

// newID returns 128 random bits as Kafka writes them.
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // which does not fail
	b[0] = 'h'             // an ID must not begin with '-'
	return base64.RawURLEncoding.EncodeToString(b[:])
}

func (b *Broker) file(kind string) string {
	return filepath.Join(b.cfg.Dir, "kafka-"+strconv.Itoa(b.cfg.id)+"."+kind)
}
func (b *Broker) data() string { return b.file("data") }

// Kill ends it as a crash does. What it has on disk stays. It is idempotent.
func (b *Broker) Kill() {
	b.mu.Lock()
	p := b.proc
	b.proc = nil
	b.mu.Unlock()
	if p != nil {
		_ = p.cmd.Process.Kill() // stopped or not
		<-p.done
	}
}

// Close ends it and gives back its ports. It is idempotent.
func (b *Broker) Close() {
	b.Kill()
	b.ports.Release()
}

// Wipe removes what it has on disk. It must not run.
func (b *Broker) Wipe() error { return os.RemoveAll(b.data()) }

// Freeze stops the process without ending it, until Thaw.
func (b *Broker) Freeze() error { return b.signal(syscall.SIGSTOP) }

// Thaw ends Freeze.
func (b *Broker) Thaw() error { return b.signal(syscall.SIGCONT) }

func (b *Broker) signal(s syscall.Signal) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.proc == nil {
		return errors.New("kafka does not run")
	}
	return b.proc.cmd.Process.Signal(s)
}

// Log returns the end of what the broker has to say.
func (b *Broker) Log() string {
	text, err := os.ReadFile(b.file("log"))
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(text[max(0, len(text)-4000):]))
}
