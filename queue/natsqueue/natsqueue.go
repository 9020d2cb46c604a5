// Package natsqueue keeps messages in NATS JetStream.
package natsqueue

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-go/holdfast/queue/driver"
)

// maxLanes bounds how many lanes a topic can have.
const maxLanes = 64

// Config says where NATS is, and how messages are kept there. Servers is required.
type Config struct {
	// Servers are host:port of the servers of one cluster. One that does not answer is left for the next within a few
	// seconds, so give all of them.
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
	// topic that is full of what is not settled refuses more with driver.ErrFull. Default 1 GiB.
	MaxBytes int64
	// Dedup is for how long a message that is published again is kept once. Default 2 min.
	Dedup time.Duration
	// AckWait is how long an acknowledgement is waited for before a message is sent again, under the same ID, to whoever
	// leads by then. Default 2 s.
	AckWait time.Duration
	// Name tells people who is connected.
	Name string
	// Logger takes what happens to the connection; nil discards it.
	Logger *slog.Logger

	caFile string
	useTLS bool
}

// Engine implements driver.Engine on NATS JetStream.
type Engine struct {
	cfg  Config
	conn *nats.Conn
}

// Open checks cfg and returns an Engine. It waits for no connection, so that it works while NATS is dead.
func Open(cfg Config) (*Engine, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Engine{cfg: cfg}, nil
}

var errTODO = errors.New("natsqueue: not there yet")

// Capabilities implements driver.Engine.
func (e *Engine) Capabilities() driver.Capabilities {
	return driver.Capabilities{
		Ordered: true, Delay: true, Counts: true, Retains: true, Deduplicates: 2 * time.Minute, MaxMessage: 1 << 20,
	}
}

// Declare implements driver.Engine.
func (e *Engine) Declare(context.Context, driver.Topic) error { return errTODO }

// Publish implements driver.Engine.
func (e *Engine) Publish(context.Context, string, []*driver.Message) []error { return []error{errTODO} }

// PublishTo implements driver.Engine.
func (e *Engine) PublishTo(context.Context, string, string, []*driver.Message) []error {
	return []error{errTODO}
}

// Subscribe implements driver.Engine.
func (e *Engine) Subscribe(context.Context, driver.Subscription) (driver.Receiver, error) {
	return nil, errTODO
}

// Bury implements driver.Engine.
func (e *Engine) Bury(context.Context, string, string, *driver.Message) error { return errTODO }

// Dead implements driver.Engine.
func (e *Engine) Dead(context.Context, string, string, string, int) ([]driver.Dead, error) {
	return nil, errTODO
}

// Exhume implements driver.Engine.
func (e *Engine) Exhume(context.Context, string, string, []string) (int, error) { return 0, errTODO }

// Lag implements driver.Engine.
func (e *Engine) Lag(context.Context, string, string) (driver.Lag, error) {
	return driver.Lag{}, errTODO
}

// Groups implements driver.Engine.
func (e *Engine) Groups(context.Context) ([]driver.Group, error) { return nil, errTODO }

// Close implements driver.Engine.
func (e *Engine) Close() error { return nil }
