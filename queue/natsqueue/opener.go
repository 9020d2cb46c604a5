package natsqueue

import (
	"errors"
	"fmt"
	"strings"

	"github.com/holdfast-go/holdfast/queue/driver"
)

// Opener links this engine into a program, so that the URL of the queue may be
//
//	nats://HOST:PORT[,HOST:PORT][/PREFIX][?token-file=…&tls=true&ca-file=…&replicas=…]
type Opener struct {
	// Config is what URLs do not say; what they say counts.
	Config Config
}

// Scheme returns "nats".
func (o Opener) Scheme() string { return Scheme }

// CheckURL implements driver.Opener. Files are not read.
func (o Opener) CheckURL(url string) error {
	c, err := o.config(url)
	if err != nil {
		return err
	}
	c.Insecure = true // that is for OpenQueue to say
	if err := c.Validate(); err != nil {
		return fmt.Errorf("is wrong: %s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return nil
}

// OpenQueue implements driver.Opener.
func (o Opener) OpenQueue(url string, options driver.OpenOptions) (driver.Engine, error) {
	c, err := o.config(url)
	if err != nil {
		return nil, errors.New("the queue's URL " + err.Error())
	}
	c.Insecure = c.Insecure || options.Insecure
	if options.WrapDial != nil {
		c.Dial = options.WrapDial(c.Dial)
	}
	if options.Name != "" {
		c.Name = options.Name
	}
	if options.Logger != nil {
		c.Logger = options.Logger
	}
	e, err := Open(c)
	if err != nil { // not e: a nil *Engine would be an engine that is not nil
		return nil, err
	}
	return e, nil
}

func (o Opener) config(url string) (Config, error) {
	u, err := Parse(url)
	if err != nil {
		return Config{}, err
	}
	c := o.Config
	c.Servers, c.useTLS, c.caFile = u.Servers, c.useTLS || u.useTLS, u.caFile
	if u.Prefix != "" {
		c.Prefix = u.Prefix
	}
	if u.TokenFile != "" {
		c.TokenFile, c.Token = u.TokenFile, ""
	}
	if u.Replicas != 0 {
		c.Replicas = u.Replicas
	}
	return c, nil
}
