package broker

import (
	"fmt"
	"log/slog"
	"strings"

	"github.com/holdfast-go/holdfast/queue/driver"
	"github.com/holdfast-go/holdfast/queue/kafkaqueue"
	"github.com/holdfast-go/holdfast/queue/memqueue"
	"github.com/holdfast-go/holdfast/queue/natsqueue"
	"github.com/holdfast-go/holdfast/queue/rabbitqueue"
)

// openers are Holdfast's drivers by the scheme of their URLs.
var openers = map[string]driver.Opener{
	natsqueue.Scheme: natsqueue.Opener{},
	"amqp":           rabbitqueue.Opener{},
	"kafka":          kafkaqueue.Opener{},
}

// Open opens the engine with Holdfast's driver.
func (b *Broker) Open(name string) (driver.Engine, error) {
	if b.Kind == Memory {
		return memqueue.New(memqueue.Config{MaxBytes: 4 << 30}), nil
	}
	return Open(b.URL, name, nil)
}

// Open opens the engine at a URL, as a service would, with name to tell it apart. logger may be nil.
func Open(url, name string, logger *slog.Logger) (driver.Engine, error) {
	scheme, _, _ := strings.Cut(url, ":")
	o, ok := openers[scheme]
	if !ok {
		return nil, fmt.Errorf("no driver for %s", scheme)
	}
	if err := o.CheckURL(url); err != nil {
		return nil, fmt.Errorf("%s: %w", scheme, err)
	}
	return o.OpenQueue(url, driver.OpenOptions{Name: name, Logger: logger}) //nolint:wrapcheck // says it all
}
