package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/lock"
	"github.com/holdfast-go/holdfast/lock/consullock"
	"github.com/holdfast-go/holdfast/lock/driver"
	"github.com/holdfast-go/holdfast/lock/etcdlock"
)

// childArg is the hidden first argument of a process of contenders; the second is its spec.
const childArg = "locks-child"

// election is the lock that leaders hold.
const election = "boss"

// spec is what a process is to do.
type spec struct {
	Engine  string      // URL
	Member  *memberSpec // instead of it
	Storage string      // host:port
	Process int
	Seed    uint64
}

// child runs the contenders if this process is theirs, until the parent is gone.
func child() {
	if len(os.Args) != 3 || os.Args[1] != childArg {
		return
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(3)
	}()
	if err := contendAll(os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "child:", err)
		os.Exit(1)
	}
}

func openEngine(s spec, failed chan<- error) (driver.Engine, error) {
	if s.Member != nil {
		return joinGroup(*s.Member, failed)
	}
	if rest, ok := strings.CutPrefix(s.Engine, "consul://"); ok {
		return consullock.Open(consullock.Config{Agents: []string{rest}, MinTTL: time.Second})
	}
	cfg, err := etcdlock.Parse(s.Engine)
	if err != nil {
		return nil, err
	}
	return etcdlock.Open(cfg)
}

func contendAll(arg string) error {
	var s spec
	if err := json.Unmarshal([]byte(arg), &s); err != nil {
		return fmt.Errorf("spec: %w", err)
	}
	failed := make(chan error)
	engine, err := openEngine(s, failed)
	if err != nil {
		return err
	}
	l := lock.New(engine, lock.Config{TTL: ttl, Name: fmt.Sprint("process ", s.Process), Logger: slog.New(slog.DiscardHandler)})
	for i := range each + 1 {
		c := &contender{l: l, spec: s, rand: rand.New(rand.NewPCG(s.Seed, uint64(s.Process*100+i+os.Getpid()*10000)))} //nolint:gosec // load
		if c.conn, err = net.Dial("tcp", s.Storage); err != nil {
			return err
		}
		c.in = bufio.NewReader(c.conn)
		go func() {
			if i == each {
				failed <- c.stand()
				return
			}
			failed <- c.contend()
		}()
	}
	return <-failed
}

// message is what a contender says to the storage, in a line of JSON. Times are this machine's, in nanoseconds.
type message struct {
	Op      string // asks, began, write or ended
	Process int
	Lock    string
	Token   uint64
	// When it was asked for; and of a hold that has ended, when it was granted, and given back or over.
	Asked, Granted, Ended int64
	Lost                  bool
}

// answer is what the storage says to each.
type answer struct{ Stale bool }

type contender struct {
	l    *lock.Locker
	spec spec
	rand *rand.Rand
	conn net.Conn
	in   *bufio.Reader
}

// say says it, and waits until it was heard.
func (c *contender) say(m message) error {
	m.Process = c.spec.Process
	b, err := json.Marshal(m)
	if err == nil {
		_, err = c.conn.Write(append(b, '\n'))
	}
	if err == nil {
		_, err = c.in.ReadBytes('\n')
	}
	return err
}

// contend wants one of the locks, again and again.
func (c *contender) contend() error {
	for {
		name := fmt.Sprint("lock-", c.rand.IntN(locks))
		asked := time.Now()
		if err := c.say(message{Op: "asks", Lock: name, Asked: asked.UnixNano()}); err != nil {
			return err
		}
		h, err := c.l.Mutex(name).Lock(context.Background())
		if err != nil {
			return err
		}
		if err := c.hold(name, asked, time.Now(), h.Token(), h.Context(), between(c.rand, 5*time.Millisecond, 50*time.Millisecond), h); err != nil {
			return err
		}
	}
}

// stand stands for election, again and again.
func (c *contender) stand() error {
	for {
		asked := time.Now()
		var failed error
		err := c.l.Election(election).Lead(context.Background(), "", func(ctx context.Context, token uint64) error {
			failed = c.hold(election, asked, time.Now(), token, ctx, between(c.rand, time.Second, 5*time.Second), nil)
			return nil
		})
		if failed != nil || err != nil && !errors.Is(err, lock.ErrLost) {
			return errors.Join(failed, err)
		}
	}
}

// hold writes while ctx lasts, at most for so long, gives back what is held, and tells.
func (c *contender) hold(name string, asked, granted time.Time, token uint64, ctx context.Context, long time.Duration, h *lock.Held) error {
	if err := c.say(message{Op: "began", Lock: name, Token: token}); err != nil {
		return err
	}
	last := granted // that the context was seen to last
	for ctx.Err() == nil && time.Since(granted) < long {
		if err := c.say(message{Op: "write", Lock: name, Token: token}); err != nil {
			return err
		}
		pause(ctx, between(c.rand, time.Millisecond, 10*time.Millisecond))
		if now := time.Now(); ctx.Err() == nil {
			last = now
		}
	}
	m := message{Op: "ended", Lock: name, Token: token, Asked: asked.UnixNano(), Granted: granted.UnixNano(), Lost: ctx.Err() != nil}
	m.Ended = last.UnixNano()
	switch {
	case !m.Lost:
		m.Ended = time.Now().UnixNano()
	case h != nil:
		m.Ended = h.Until().UnixNano() // at the latest
	}
	if h != nil {
		// The context ends first in Unlock, and others come after: what it was before is within the hold.
		if err := h.Unlock(context.Background()); err != nil && !errors.Is(err, lock.ErrLost) {
			return err
		}
	}
	if m.Lost {
		if err := c.say(message{Op: "write", Lock: name, Token: token}); err != nil { // as a packet that was sent in time
			return err
		}
	}
	return c.say(m)
}
