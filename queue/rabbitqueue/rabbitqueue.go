// Package rabbitqueue keeps messages in RabbitMQ, in quorum queues.
package rabbitqueue

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"

	"github.com/holdfast-go/holdfast/queue/driver"
)

// DefaultPrefix begins the names of all exchanges and queues unless Config.Prefix says otherwise.
const DefaultPrefix = "holdfast"

// Config says where RabbitMQ is. Endpoints is required.
type Config struct {
	// Endpoints are host:port of the nodes of one cluster. One that does not answer is left for the next.
	Endpoints []string
	// VHost is the virtual host; default "/".
	VHost string
	// Username and Password; default guest and guest, which RabbitMQ accepts from loopback only.
	Username, Password string
	// TLS for the connections. Without it, plaintext is refused beyond loopback unless Insecure is set.
	TLS      *tls.Config
	Insecure bool
	// Prefix begins the names of all exchanges and queues; default DefaultPrefix.
	Prefix string
	// Name tells people who is connected.
	Name string
	// Logger takes what happens to the connections; nil discards it.
	Logger *slog.Logger
}

// Engine implements driver.Engine on RabbitMQ.
type Engine struct {
	cfg Config
}

// Open checks cfg and returns an Engine. It makes no connection, so that it works while RabbitMQ is dead.
func Open(cfg Config) (*Engine, error) { return &Engine{cfg: cfg}, nil }

var errTODO = errors.New("rabbitqueue: not there yet")

// Capabilities implements driver.Engine.
func (e *Engine) Capabilities() driver.Capabilities {
	return driver.Capabilities{Ordered: true, Delay: true, Counts: true, MaxMessage: 16 << 20}
}

// Declare implements driver.Engine.
func (e *Engine) Declare(ctx context.Context, t driver.Topic) error { return errTODO }

// Publish implements driver.Engine.
func (e *Engine) Publish(ctx context.Context, topic string, messages []*driver.Message) []error {
	return nil
}

// PublishTo implements driver.Engine.
func (e *Engine) PublishTo(ctx context.Context, topic, group string, messages []*driver.Message) []error {
	return nil
}

// Subscribe implements driver.Engine.
func (e *Engine) Subscribe(ctx context.Context, s driver.Subscription) (driver.Receiver, error) {
	return nil, errTODO
}

// Bury implements driver.Engine.
func (e *Engine) Bury(ctx context.Context, topic, group string, m *driver.Message) error {
	return errTODO
}

// Dead implements driver.Engine.
func (e *Engine) Dead(ctx context.Context, topic, group, after string, limit int) ([]driver.Dead, error) {
	return nil, errTODO
}

// Exhume implements driver.Engine.
func (e *Engine) Exhume(ctx context.Context, topic, group string, positions []string) (int, error) {
	return 0, errTODO
}

// Lag implements driver.Engine.
func (e *Engine) Lag(ctx context.Context, topic, group string) (driver.Lag, error) {
	return driver.Lag{}, errTODO
}

// Groups implements driver.Engine.
func (e *Engine) Groups(ctx context.Context) ([]driver.Group, error) { return nil, errTODO }

// Close implements driver.Engine.
func (e *Engine) Close() error { return nil }
