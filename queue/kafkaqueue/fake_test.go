package kafkaqueue_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/holdfast-go/holdfast/internal/memnet"
	"github.com/holdfast-go/holdfast/queue/driver"
	"github.com/holdfast-go/holdfast/queue/kafkaqueue"
	"github.com/holdfast-go/holdfast/queue/queuetest"
)

const brokerAddr = "127.0.0.1:9092"

// fake is a broker in memory and its clients, in a network in memory.
type fake struct {
	t    testing.TB
	net  *memnet.Network
	dir  string
	opts []kfake.Opt

	mu      sync.Mutex
	cluster *kfake.Cluster
	clients int
}

func newFake(t *testing.T, opts ...kfake.Opt) *fake {
	t.Helper()
	dir, err := os.MkdirTemp("", "kfake") // t.TempDir has no place in a bubble's cleanup
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{t: t, net: memnet.New(), dir: dir, opts: opts}
	f.start()
	t.Cleanup(func() {
		f.cluster.Close()
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return f
}

func (f *fake) start() {
	f.t.Helper()
	opts := append([]kfake.Opt{
		kfake.NumBrokers(1), kfake.Ports(9092), kfake.GroupMinSessionTimeout(time.Second), kfake.DataDir(f.dir),
		kfake.ListenFn(func(_, addr string) (net.Listener, error) { return f.net.Listen(addr) }),
	}, f.opts...)
	c, err := kfake.NewCluster(opts...)
	if err != nil {
		f.t.Fatal(err)
	}
	f.mu.Lock()
	f.cluster = c
	f.mu.Unlock()
}

// Restart implements queuetest.Engine.
func (f *fake) Restart() {
	f.cluster.Close()
	f.start()
}

// wipe restarts it without anything.
func (f *fake) wipe() {
	f.cluster.Close()
	if err := os.RemoveAll(f.dir); err != nil {
		f.t.Fatal(err)
	}
	f.start()
}

// way is that of one client.
type way struct {
	net  *memnet.Network
	addr string
}

func (w way) Cut()     { w.net.Cut(w.addr) }
func (w way) Restore() { w.net.Restore(w.addr) }
func (w way) Freeze()  { w.net.Freeze(w.addr) }
func (w way) Thaw()    { w.net.Restore(w.addr) }

// way makes a new one: what comes in at its address goes to the broker.
func (f *fake) way(t testing.TB) way {
	t.Helper()
	f.mu.Lock()
	f.clients++
	w := way{f.net, fmt.Sprintf("10.0.0.%d:9092", f.clients)}
	f.mu.Unlock()
	l, err := f.net.Listen(w.addr)
	if err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	work.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			b, err := f.net.Dial(context.Background(), brokerAddr)
			if err != nil {
				c.Close()
				continue
			}
			join := func(to, from net.Conn) {
				_, _ = io.Copy(to, from)
				to.Close()
				from.Close()
			}
			work.Go(func() { join(b, c) })
			work.Go(func() { join(c, b) })
		}
	})
	t.Cleanup(func() {
		w.Cut() // whoever is left
		l.Close()
		work.Wait()
	})
	return w
}

func (f *fake) config(w way) kafkaqueue.Config {
	return kafkaqueue.Config{
		Brokers: []string{brokerAddr}, Session: 5 * time.Second, RevokeWait: 20 * time.Second,
		Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			c, err := f.net.Dial(ctx, w.addr)
			if err != nil { // as package net says it, and the client looks for it
				return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
			}
			return c, nil
		},
	}
}

// Open implements queuetest.Engine.
func (f *fake) Open(t testing.TB) (driver.Engine, queuetest.Link) {
	t.Helper()
	w := f.way(t)
	d, err := kafkaqueue.Open(f.config(w))
	if err != nil {
		t.Fatal(err)
	}
	return d, w
}
