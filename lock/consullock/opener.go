package consullock

import (
	"errors"
	"fmt"
	"strings"

	"github.com/holdfast-go/holdfast/internal/consul"
	"github.com/holdfast-go/holdfast/lock/driver"
)

// Opener links this engine into a program, so that the URL of the locks may be
//
//	consul://HOST:PORT[,HOST:PORT][/DATACENTER][?prefix=…&tls=true&ca-file=…&token-file=…]
//
// as in holdfast.Drivers(consullock.Opener{}). It may be the registry's: services of the prefix "shop-" have their locks
// below shop-locks.
type Opener struct {
	// Config is what URLs do not say; what they say counts.
	Config Config
}

// Scheme returns "consul".
func (o Opener) Scheme() string { return consul.Scheme }

// CheckURL implements driver.Opener. Files are not read.
func (o Opener) CheckURL(url string) error {
	u, err := consul.ParseURL(url)
	if err != nil {
		return err
	}
	c := o.config(u)
	c.Insecure = true // that is for OpenLocks to say
	if err := c.Validate(); err != nil {
		return fmt.Errorf("is wrong: %s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return nil
}

// OpenLocks implements driver.Opener.
func (o Opener) OpenLocks(url string, options driver.OpenOptions) (driver.Engine, error) {
	u, err := consul.ParseURL(url)
	if err != nil {
		return nil, errors.New("the locks' URL " + err.Error())
	}
	c := o.config(u)
	c.Insecure = c.Insecure || options.Insecure
	if options.WrapDial != nil {
		c.Dial = options.WrapDial(c.Dial)
	}
	client, err := u.Apply(c.client())
	if err != nil {
		return nil, fmt.Errorf("consul locks: %w", err)
	}
	c.TLS, c.Token, c.TokenFile = client.TLS, client.Token, client.TokenFile
	d, err := Open(c)
	if err != nil { // not d: a nil *Driver would be an engine that is not nil
		return nil, err
	}
	return d, nil
}

func (o Opener) config(u consul.URL) Config {
	c := o.Config
	c.Agents = u.Agents
	if u.Datacenter != "" {
		c.Datacenter = u.Datacenter
	}
	if p := strings.TrimRight(u.Prefix, "-"); p != "" {
		c.Prefix = p + "-locks"
	}
	return c
}
