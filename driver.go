package holdfast

import "fmt"

// Driver links an engine into a program, so that a URL of its scheme can be a setting. It is a driver.Opener of package
// registry's drivers, or of package config's, of package lock's, of package queue's.
type Driver interface {
	// Scheme is what its URLs begin with, without the colon.
	Scheme() string
}

// Drivers links engines beyond those that every Service has (etcd and static addresses): one by one, such as
// consulregistry.Opener{}, or all there are: holdfast.Drivers(drivers.All()...). Later ones go before earlier ones of the
// same kind and scheme.
func Drivers(drivers ...Driver) Option {
	return func(c *Config) { c.Drivers = append(c.Drivers, drivers...) }
}

// opener returns the Driver of that kind and scheme.
func opener[T Driver](c *Config, scheme string) (found T, ok bool) {
	for _, d := range c.Drivers {
		if o, kind := d.(T); kind && d.Scheme() == scheme {
			found, ok = o, true
		}
	}
	return found, ok
}

// notLinked says what to do about an engine of that scheme and kind ("registry", "config", "lock").
func notLinked(scheme, kind string) error {
	return fmt.Errorf("has an engine that is not linked into this program: for %q, import its driver (by convention "+
		"github.com/holdfast-go/holdfast/%s/%s%s) and give New the option holdfast.Drivers(%s%s.Opener{}), or give it "+
		"holdfast.Drivers(drivers.All()...) of github.com/holdfast-go/holdfast/drivers; %s and %s need no import",
		scheme, kind, scheme, kind, scheme, kind, etcdScheme, staticScheme)
}
