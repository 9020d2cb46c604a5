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
// same URL. Its connections are made by dial.
func openDriver(url string, insecure bool, dial fault.DialFunc) (driver.Registry, error) {
	scheme, rest, _ := strings.Cut(url, ":")
	switch scheme {
	case "etcd":
		members, prefix, _ := strings.Cut(strings.TrimPrefix(rest, "//"), "/")
		return etcdregistry.Open(etcdregistry.Config{Endpoints: strings.Split(members, ","), Prefix: prefix, Insecure: insecure, Dial: dial})
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
			return o.OpenRegistry(url, driver.OpenOptions{Insecure: insecure, Dial: dial})
		}
		known = append(known, o.Scheme())
	}
	return nil, fmt.Errorf("registry: the scheme %q is unknown; known are %s", scheme, strings.Join(known, ", "))
}
