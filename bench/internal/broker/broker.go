// Package broker runs the engines of queues that programs under bench/ measure and break: each in processes of its own, on
// ports that stay, so that they can be killed and started again, and behind a proxy if wanted.
package broker

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// The engines.
const (
	// Memory is memqueue, within the process.
	Memory = "memory"
	// NATS is one member, NATS3 a cluster of three, each with JetStream, and with the settings of `holdfast up`.
	NATS  = "nats"
	NATS3 = "nats3"
	// Kafka is one broker in KRaft mode, from Maven.
	Kafka = "kafka"
	// Rabbit is the RabbitMQ of this machine.
	Rabbit = "rabbit"
)

// Kinds are those engines that have processes of their own.
var Kinds = []string{NATS, NATS3, Kafka, Rabbit}

// Server is one process of an engine. Its methods are for one goroutine, PID aside.
type Server interface {
	// Kill ends it as kill -9 does, also when it is frozen, and waits until it is gone.
	Kill()
	// Start starts it again on the data and the port that it had, and returns when it takes clients.
	Start(ctx context.Context) error
	Freeze()
	Thaw()
	PID() int
}

// Config is which engine to run, and how.
type Config struct {
	Kind string
	// Dir is where its data goes.
	Dir string
	// Proxies puts a proxy between clients and each server.
	Proxies bool
	// NoSync makes NATS confirm before a message is on disk, as its makers' default is.
	NoSync bool
}

// Broker is an engine that runs.
type Broker struct {
	// Kind is that of its Config.
	Kind    string
	Servers []Server
	// Proxies stand before the servers, if that was asked for.
	Proxies []*Proxy
	// Addrs are the host:port that clients connect to, URL is what Holdfast's driver reads.
	Addrs []string
	URL   string

	closers []func()
}

// Child is to be called first in main, and in TestMain, of a program that runs engines. It returns unless this process is
// one of their servers.
func Child() {
	if mine, err := natsChild(); mine {
		if err != nil {
			fmt.Fprintln(os.Stderr, "child:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
}

// Start starts an engine and returns when it takes clients. An error of an engine that is not on this machine says how it
// gets there.
func Start(ctx context.Context, cfg Config) (b *Broker, err error) {
	b = &Broker{Kind: cfg.Kind}
	defer func() {
		if err != nil {
			b.Close()
		}
	}()
	dir := filepath.Join(cfg.Dir, cfg.Kind)
	switch cfg.Kind {
	case Memory:
	case NATS:
		err = b.startNATS(ctx, dir, 1, cfg)
	case NATS3:
		err = b.startNATS(ctx, dir, 3, cfg)
	case Kafka:
		err = b.startKafka(ctx, dir, cfg)
	case Rabbit:
		err = b.startRabbit(ctx, dir, cfg)
	default:
		err = fmt.Errorf("no engine %q", cfg.Kind)
	}
	return b, err
}

// proxy puts a proxy before target and returns where it listens, or target if there is to be none.
func (b *Broker) proxy(target string, wanted bool) (string, error) {
	if !wanted {
		return target, nil
	}
	addr, err := freeAddr()
	if err != nil {
		return "", err
	}
	return addr, b.proxyAt(addr, target)
}

func (b *Broker) proxyAt(addr, target string) error {
	p, err := NewProxy(addr, target)
	if err != nil {
		return err
	}
	b.Proxies = append(b.Proxies, p)
	b.closers = append(b.closers, p.Close)
	return nil
}

// CPU returns the CPU time that its servers have used since they were started last.
func (b *Broker) CPU() (sum time.Duration) {
	for _, s := range b.Servers {
		sum += CPU(s.PID())
	}
	return sum
}

// Close ends it.
func (b *Broker) Close() {
	for _, c := range slices.Backward(b.closers) {
		c()
	}
	b.closers = nil
}

func (b *Broker) at(scheme string, addrs []string) {
	b.Addrs, b.URL = addrs, scheme+"://"+strings.Join(addrs, ",")
}
