package rabbitqueue

import (
	"github.com/holdfast-go/holdfast/queue/driver"
)

// Opener links this engine into a program, so that the URL of the queue may be
//
//	amqp://[USER:PASSWORD@]HOST:PORT[,HOST:PORT][/VHOST][?prefix=…&ca-file=…&password-file=…]
//
// and, with TLS, the same with amqps. Opener{} is for amqp and Opener{TLS: true} for amqps.
type Opener struct {
	// TLS makes it the opener of amqps.
	TLS bool
	// Config is what URLs do not say; what they say counts.
	Config Config
}

// Scheme returns "amqp" or "amqps".
func (o Opener) Scheme() string {
	if o.TLS {
		return "amqps"
	}
	return "amqp"
}

// CheckURL implements driver.Opener. Files are not read.
func (o Opener) CheckURL(url string) error { return nil }

// OpenQueue implements driver.Opener.
func (o Opener) OpenQueue(url string, options driver.OpenOptions) (driver.Engine, error) {
	c := o.Config
	c.Name, c.Insecure, c.Logger = options.Name, c.Insecure || options.Insecure, options.Logger
	e, err := Open(c)
	if err != nil {
		return nil, err
	}
	return e, nil
}

// Parse reads a URL as Opener takes it.
func Parse(url string) (Config, error) { return Config{}, nil }
