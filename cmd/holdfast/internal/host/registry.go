//go:build unix

package host

import (
	"fmt"
	"strings"

	"github.com/holdfast-go/holdfast/drivers"
	"github.com/holdfast-go/holdfast/internal/fault"
	"github.com/holdfast-go/holdfast/registry/driver"
	"github.com/holdfast-go/holdfast/registry/etcdregistry"
	"github.com/holdfast-go/holdfast/registry/staticregistry"
)

// openDriver opens the registry at url for the edges, without calling it. The services open it for themselves, by the
// same URL. wrap, if it is not nil, changes how its connections are made.
func openDriver(url string, insecure bool, wrap func(next fault.DialFunc) fault.DialFunc) (driver.Registry, error) {
	scheme, rest, _ := strings.Cut(url, ":")
	switch scheme {
	case "etcd":
		members, prefix, _ := strings.Cut(strings.TrimPrefix(rest, "//"), "/")
		c := etcdregistry.Config{Endpoints: strings.Split(members, ","), Prefix: prefix, Insecure: insecure}
		if wrap != nil {
			c.Dial = wrap(nil)
		}
		return etcdregistry.Open(c)
	case "static":
		return staticregistry.Parse(url)
	}
	known := []string{"etcd", "static"}
	for _, d := range drivers.All() {
		o, ok := d.(driver.Opener)
		if !ok {
			continue
		}
		if o.Scheme() == scheme {
			return o.OpenRegistry(url, driver.OpenOptions{Insecure: insecure, WrapDial: wrap})
		}
		known = append(known, o.Scheme())
	}
	return nil, fmt.Errorf("registry: the scheme %q is unknown; known are %s", scheme, strings.Join(known, ", "))
}
