package holdfast

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/holdfast-go/holdfast/registry/driver"
	"github.com/holdfast-go/holdfast/registry/etcdregistry"
	"github.com/holdfast-go/holdfast/registry/memregistry"
	"github.com/holdfast-go/holdfast/registry/staticregistry"
)

const (
	etcdScheme   = "etcd"
	staticScheme = "static"
)

// checkRegistry reports what is wrong with a registry's URL, and the members if it is etcd's. Whether another engine is
// linked, and what it says of the URL, is known when the options are.
func checkRegistry(url string) (etcd []string, err error) {
	switch scheme, _, ok := strings.Cut(url, ":"); {
	case !ok || !isScheme(scheme):
		return nil, errors.New("is not a URL such as etcd://127.0.0.1:2379")
	case scheme == etcdScheme:
		endpoints, _, err := splitEtcd(url)
		return endpoints, err
	case scheme == staticScheme:
		d, err := staticregistry.Parse(url)
		if err != nil {
			return nil, fmt.Errorf("is wrong: %s", strings.ReplaceAll(err.Error(), "\n", "; "))
		}
		return nil, d.Close()
	}
	return nil, nil
}

// redacted is a URL without what stands before its host and in its options: credentials have no business there, and
// least of all in the log of the error that says so. Of one without "://", nobody knows where its host is; static: takes no
// credentials, and has PROTOCOL@HOST.
func redacted(url string) string {
	scheme, rest, ok := strings.Cut(url, "://")
	if !ok && strings.ContainsAny(url, "@?") && !strings.HasPrefix(url, staticScheme+":") {
		if scheme, _, ok = strings.Cut(url, ":"); ok && isScheme(scheme) {
			return scheme + ":…"
		}
		return "…"
	}
	at, options := strings.LastIndexByte(rest, '@'), strings.IndexByte(rest, '?')
	switch {
	case at < 0 && options < 0:
		return url
	case at < 0:
		return scheme + "://" + rest[:options] + "?…"
	case options < 0:
		return scheme + "://…" + rest[at:]
	}
	return scheme + "://…" // which of the two is part of a secret is anybody's guess
}

// isScheme reports whether s is a URL's scheme, in lower case: of RFC 3986's characters, beginning with a letter.
func isScheme(s string) bool {
	for i, c := range []byte(s) {
		letter := 'a' <= c && c <= 'z'
		if !letter && (i == 0 || !strings.ContainsRune("0123456789+-.", rune(c))) {
			return false
		}
	}
	return s != ""
}

// splitEtcd takes etcd://HOST:PORT,HOST:PORT[/PREFIX] apart.
func splitEtcd(url string) (endpoints []string, prefix string, err error) {
	rest, ok := strings.CutPrefix(url, etcdScheme+"://")
	if !ok {
		return nil, "", errors.New("does not begin with etcd://")
	}
	if strings.Contains(rest, "@") {
		return nil, "", errors.New("has credentials in it, which belong into Config.Etcd")
	}
	if strings.Contains(rest, "?") { // whose values are not repeated
		return nil, "", errors.New("has options in it, and there are none")
	}
	rest, prefix, _ = strings.Cut(rest, "/")
	for e := range strings.SplitSeq(rest, ",") {
		host, port, err := net.SplitHostPort(e)
		if err == nil {
			_, err = strconv.ParseUint(port, 10, 16)
		}
		if err != nil || host == "" {
			return nil, "", fmt.Errorf("has a member %q that is not HOST:PORT", e)
		}
		endpoints = append(endpoints, e)
	}
	return endpoints, strings.Trim(prefix, "/"), nil
}

// openRegistry opens what c.Settings.Registry names. It connects to nothing.
func openRegistry(c *Config) (driver.Registry, error) {
	url := c.Settings.Registry
	c.Settings.EtcdEndpoints = nil
	if url == "" {
		return inMemory(), nil
	}
	etcd, err := checkRegistry(url)
	if err != nil {
		return nil, wrongSetting("HOLDFAST_REGISTRY", url, err)
	}
	c.Settings.EtcdEndpoints = etcd
	switch scheme, _, _ := strings.Cut(url, ":"); scheme {
	case staticScheme:
		return staticregistry.Parse(url)
	case etcdScheme:
		return openEtcd(c)
	default:
		o, ok := opener[driver.Opener](c, scheme)
		if err = notLinked(scheme, "registry"); ok {
			err = o.CheckURL(url)
		}
		if err != nil {
			return nil, wrongSetting("HOLDFAST_REGISTRY", url, err)
		}
		return o.OpenRegistry(url, driver.OpenOptions{Insecure: c.Settings.Insecure, WrapDial: c.wrapDial})
	}
}

func openEtcd(c *Config) (driver.Registry, error) {
	endpoints, prefix, err := splitEtcd(c.Settings.Registry)
	if err != nil {
		return nil, err
	}
	cfg := c.Etcd
	cfg.Endpoints = endpoints
	if prefix != "" {
		cfg.Prefix = prefix
	}
	d, err := etcdregistry.Open(cfg)
	if err != nil { // not d: a nil *Driver would be a registry that is not nil
		return nil, err
	}
	return d, nil
}

// inMemory is for a service that runs alone, which still finds itself.
func inMemory() driver.Registry { return memregistry.New() }

// alone reports whether nobody else finds this process, nor it anybody: the registry is in its own memory.
func (c *Config) alone() bool {
	if c.Registry != nil {
		_, memory := c.Registry.(*memregistry.Driver)
		return memory
	}
	return c.Settings.Registry == ""
}

// registryIsElsewhere reports whether the registry's URL names members, none of them on this machine's loopback.
func (c *Config) registryIsElsewhere() bool {
	_, members, ok := strings.Cut(c.Settings.Registry, "://")
	if !ok || c.Registry != nil {
		return false
	}
	if end := strings.IndexAny(members, "/?"); end >= 0 {
		members = members[:end]
	}
	members = members[strings.LastIndexByte(members, '@')+1:]
	for m := range strings.SplitSeq(members, ",") {
		if onLoopback(m, nil) {
			return false
		}
	}
	return true
}

// registryKind is for the log.
func (c *Config) registryKind() string {
	scheme, _, _ := strings.Cut(c.Settings.Registry, ":")
	switch {
	case c.Registry != nil:
		return fmt.Sprintf("%T", c.Registry)
	case scheme == "":
		return "none: nobody else finds this instance"
	}
	return scheme
}

// advertised is the address by which others reach a listener.
func advertised(listener net.Addr, host string) (string, error) {
	own, port, err := net.SplitHostPort(listener.String())
	if err != nil {
		return "", err
	}
	if unspecified(host) {
		return "", fmt.Errorf("%s: HOLDFAST_ADVERTISE %w", listener, errUnspecified)
	}
	if host != "" {
		return net.JoinHostPort(host, port), nil
	}
	if ip := net.ParseIP(own); ip == nil || !ip.IsUnspecified() {
		return listener.String(), nil
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return "", fmt.Errorf("%s: set HOLDFAST_ADVERTISE: %w", listener, err)
	}
	ip := reachable(addrs)
	if ip == nil {
		return "", fmt.Errorf("%s: this machine has no address but loopback: set HOLDFAST_ADVERTISE", listener)
	}
	return net.JoinHostPort(ip.String(), port), nil
}

// errUnspecified is what is wrong with an unspecified host.
var errUnspecified = errors.New("is every address of a listener, and to those who dial it the dialler itself")

// unspecified reports whether host is 0.0.0.0, ::, or another spelling of them.
func unspecified(host string) bool {
	ip := net.ParseIP(host)
	return ip != nil && ip.IsUnspecified()
}

// reachable is the first address that other machines may know, IPv4 before IPv6; nil if there is none.
func reachable(addrs []net.Addr) net.IP {
	var six net.IP
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		if !ok || !n.IP.IsGlobalUnicast() {
			continue
		}
		if n.IP.To4() != nil {
			return n.IP
		}
		if six == nil {
			six = n.IP
		}
	}
	return six
}
