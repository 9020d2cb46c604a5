package consulconfig

import (
	"errors"
	"fmt"
	"strings"

	"github.com/holdfast-go/holdfast/config/driver"
	"github.com/holdfast-go/holdfast/internal/consul"
)

// Opener links this engine into a program, so that the URL of the settings may be
//
//	consul://HOST:PORT[,HOST:PORT][/DATACENTER][?prefix=…&tls=true&ca-file=…&token-file=…]
//
// as in holdfast.Drivers(consulconfig.Opener{}). It may be the registry's: services of the prefix "shop-" have their
// settings below shop-config.
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
	c.Insecure = true // that is for OpenStore to say
	if err := c.Validate(); err != nil {
		return fmt.Errorf("is wrong: %s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return nil
}

// OpenStore implements driver.Opener.
func (o Opener) OpenStore(url string, options driver.OpenOptions) (driver.Store, error) {
	u, err := consul.ParseURL(url)
	if err != nil {
		return nil, errors.New("the settings' URL " + err.Error())
	}
	c := o.config(u)
	c.Insecure = c.Insecure || options.Insecure
	if options.WrapDial != nil {
		c.Dial = options.WrapDial(c.Dial)
	}
	client, err := u.Apply(c.client())
	if err != nil {
		return nil, fmt.Errorf("consul settings: %w", err)
	}
	c.TLS, c.Token, c.TokenFile = client.TLS, client.Token, client.TokenFile
	d, err := Open(c)
	if err != nil { // not d: a nil *Driver would be a store that is not nil
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
		c.Prefix = p + "-config"
	}
	return c
}
