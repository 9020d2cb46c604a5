package kafkaqueue

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"github.com/holdfast-go/holdfast/queue/driver"
)

// Opener links this engine into a program, so that the URL of the queue may be
//
//	kafka://[USER:PASSWORD@]HOST:PORT[,HOST:PORT][?tls=true&ca-file=…&sasl=plain|scram-sha-256|scram-sha-512
//	    &password-file=…&partitions=…&replicas=…&max-message=…]
type Opener struct {
	// Config is what URLs do not say; what they say counts.
	Config Config
}

// Scheme returns "kafka".
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
	c.Name = cmp.Or(options.Name, c.Name)
	if options.Logger != nil {
		c.Logger = options.Logger
	}
	d, err := Open(c)
	if err != nil { // not d: a nil *Driver would be an engine that is not nil
		return nil, err
	}
	return d, nil
}

func (o Opener) config(url string) (Config, error) {
	u, err := Parse(url)
	if err != nil {
		return Config{}, err
	}
	c := o.Config
	c.Brokers, c.useTLS, c.caFile = u.Brokers, c.useTLS || u.useTLS, u.caFile
	if u.Username != "" {
		c.Username, c.Password = u.Username, u.Password
	}
	if u.passwordFile != "" {
		c.Password, c.passwordFile = "", u.passwordFile
	}
	c.Mechanism = cmp.Or(u.Mechanism, c.Mechanism)
	c.Partitions, c.Replicas = cmp.Or(u.Partitions, c.Partitions), cmp.Or(u.Replicas, c.Replicas)
	c.MaxMessage = cmp.Or(u.MaxMessage, c.MaxMessage)
	return c, nil
}
