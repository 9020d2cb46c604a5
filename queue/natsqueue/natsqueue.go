// Package natsqueue keeps messages in NATS JetStream, of a server or cluster from 2.10 on.
//
// A topic is a stream, kept by limits; DESIGN is in names.go. A group is a durable pull consumer, or, if it is ordered, a
// record per lane of how far it is, kept by whoever has the lane.
package natsqueue

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/queue/driver"
)

const (
	// maxLanes bounds how many lanes a topic can have.
	maxLanes = 64
	// maxMessage leaves room for the headers in the 1 MiB that a server takes unless it is told otherwise.
	maxMessage     = 1<<20 - 64<<10
	defaultAckWait = 2 * time.Second
)

// Config says where NATS is, and how messages are kept there. Servers is required.
type Config struct {
	// Servers are host:port of the servers of one cluster. One that does not answer is left for the next within a few
	// seconds, so give all of them. Others that these know of are not used.
	Servers []string
	// Prefix begins the names of all streams and subjects; default DefaultPrefix.
	Prefix string
	// TLS for the connections. Without it, plaintext is refused beyond loopback unless Insecure is set.
	TLS      *tls.Config
	Insecure bool
	// Token authenticates, or the one in TokenFile, which is read at every connection; or Username and Password.
	Token, TokenFile   string
	Username, Password string
	// Replicas is how many servers keep each message of topics that do not say it. Default 3, or 1 where NATS has no
	// cluster. It counts for topics that are made from then on.
	Replicas int
	// Lanes is how many parts of a topic keep their order, for topics that do not say it. Default 8, at most 64. It
	// counts for topics that are made from then on.
	Lanes int
	// MaxBytes bounds the messages of a topic on disk. Where it is reached, what all groups have settled makes room; a
	// topic that is full of what is not settled refuses more with driver.ErrFull. Default 256 MiB. The server sets that
	// much of its own bound aside for each topic, and once for the dead letters of all groups, of which each group may
	// have as much as is free.
	MaxBytes int64
	// Dedup is for how long a message that is published again is kept once. Default 2 min. The server keeps the IDs of
	// that time in memory.
	Dedup time.Duration
	// AckWait is how long a confirmation is waited for before a message is sent again, under the same ID, to whoever
	// leads by then. Default 2 s.
	AckWait time.Duration
	// Name tells people who is connected.
	Name string
	// Logger takes what happens to the connection; nil discards it.
	Logger *slog.Logger
	// Dial makes the connections, as net.Dialer.DialContext does, which it is if nil.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	caFile string
	useTLS bool
}

func (c Config) withDefaults() Config {
	if c.Prefix == "" {
		c.Prefix = DefaultPrefix
	}
	if c.Lanes == 0 {
		c.Lanes = defaultLanes
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = defaultBytes
	}
	if c.Dedup == 0 {
		c.Dedup = defaultDedup
	}
	if c.AckWait == 0 {
		c.AckWait = defaultAckWait
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Engine implements driver.Engine on NATS JetStream.
type Engine struct {
	cfg   Config
	names names
	link  *link

	mu        sync.Mutex
	topics    map[string]*topic
	told      map[string]driver.Topic // as Declare was told of them, for when they have to be made anew
	receivers map[driver.Receiver]struct{}
	closed    bool
	beside    sync.WaitGroup
}

// Open checks cfg and returns an Engine. It makes no connection, so that it works while NATS is dead.
func Open(cfg Config) (*Engine, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	return &Engine{
		cfg: cfg, names: names{cfg.Prefix}, link: newLink(cfg),
		topics: make(map[string]*topic), told: make(map[string]driver.Topic), receivers: make(map[driver.Receiver]struct{}),
	}, nil
}

// Capabilities implements driver.Engine.
func (e *Engine) Capabilities() driver.Capabilities {
	return driver.Capabilities{
		Ordered: true, Delay: true, Counts: true, Retains: true, Deduplicates: e.cfg.Dedup, MaxMessage: maxMessage,
	}
}

// Subscribe implements driver.Engine.
func (e *Engine) Subscribe(ctx context.Context, s driver.Subscription) (driver.Receiver, error) {
	if s.Window < 1 {
		s.Window = 1
	}
	if s.Hold <= 0 {
		s.Hold = defaultHold
	}
	r, err := admin(ctx, e, func(r driver.Receiver) { _ = r.Close() }, func(ctx context.Context) (driver.Receiver, error) {
		if s.Ordered {
			return e.subscribeOrdered(ctx, s)
		}
		return e.subscribe(ctx, s)
	})
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	closed := e.closed
	e.receivers[r] = struct{}{}
	e.mu.Unlock()
	if closed {
		return nil, errors.Join(errClosed, r.Close())
	}
	return r, nil
}

func (e *Engine) left(r driver.Receiver) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.receivers, r)
}

// Close implements driver.Engine.
func (e *Engine) Close() error {
	e.mu.Lock()
	e.closed = true
	var rs []driver.Receiver
	for r := range e.receivers {
		rs = append(rs, r)
	}
	e.mu.Unlock()
	var errs []error
	for _, r := range rs {
		errs = append(errs, r.Close())
	}
	e.link.close()
	e.beside.Wait()
	return errors.Join(errs...)
}
