// Package consulregistry keeps the registry in Consul, as ordinary services with an ordinary health check, so that
// whatever else reads Consul (its DNS, its UI, proxies, clients of other languages) finds Holdfast services, and Holdfast
// finds what anything else registered.
//
// An instance is one Consul service: its ID is SERVICE:ID, its address is the gRPC endpoint or else the HTTP one, every
// endpoint is a tagged address named by its protocol, and each protocol is a tag. Zone and version are Meta, weight is
// Consul's own. An instance that drains is in Consul's maintenance mode, which every other tool understands, and one
// that an operator puts into maintenance drains.
//
// Its check is a TTL check that the instance itself keeps alive. Checks that the agent makes would need a way from the
// agent to the instance (containers, firewalls, TLS), would say nothing about a process that lives and has lost its
// registration, and would be a second opinion on health besides the callers' own. An instance whose check is critical is
// no candidate; one with a warning has its weight for warnings. What stays critical for long is removed by the agent.
//
// Registrations are an agent's own and spread from there to the servers. This package waits until the servers have them,
// and writes them again when the servers or the agent lose them: a dev agent that restarts forgets everything, a client
// agent that restarts without its data deregisters everything. hashicorp/consul/api is not used, see internal/consul.
package consulregistry

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/internal/consul"
	"github.com/holdfast-go/holdfast/registry/driver"
)

// reapMin is the least that Consul has.
const reapMin = time.Minute

// Config says where Consul is. Agents is required.
type Config struct {
	// Agents are host:port of agents of one datacenter, as a rule only the one of this machine. With more than one,
	// an agent that does not answer is left for the next within about a second (calls) or two and a half (watches).
	Agents []string
	// Datacenter is where services are looked for; default: the agent's own. Instances register with their agent.
	Datacenter string
	// Prefix is put before the names of services, for several systems on one Consul: letters, digits and '-'.
	Prefix string
	// TLS for the connections to the agents. Without it, plaintext is refused beyond loopback unless Insecure is set.
	TLS      *tls.Config
	Insecure bool
	// Token is Consul's ACL token. It needs service:write for what is announced, service:read and node:read for what is
	// watched. TokenFile is a file with the token instead, which is read again every few seconds.
	Token, TokenFile string
	// Dial makes the connections, as net.Dialer.DialContext does, which it is if nil.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// ReapAfter is how long an instance that does not keep its check alive is still in Consul, as critical; default
	// and minimum one minute, which are Consul's. It is no candidate meanwhile.
	ReapAfter time.Duration
}

// Validate reports everything that is wrong with c.
func (c Config) Validate() error {
	var errs []error
	if err := c.client().Validate(); err != nil {
		errs = append(errs, err)
	}
	if c.Prefix != "" && !nameLike(c.Prefix) {
		errs = append(errs, fmt.Errorf("prefix %q: not letters, digits and '-', the first a letter or digit", c.Prefix))
	}
	if c.Datacenter != "" && !nameLike(strings.ReplaceAll(c.Datacenter, "_", "-")) {
		errs = append(errs, fmt.Errorf("datacenter %q: not letters, digits, '-' and '_'", c.Datacenter))
	}
	if c.ReapAfter != 0 && c.ReapAfter < reapMin {
		errs = append(errs, fmt.Errorf("reap after %v: Consul has at least %v", c.ReapAfter, reapMin))
	}
	if len(errs) > 0 {
		return fmt.Errorf("consul registry: %w", errors.Join(errs...))
	}
	return nil
}

func (c Config) client() consul.Config {
	return consul.Config{Agents: c.Agents, TLS: c.TLS, Insecure: c.Insecure, Token: c.Token, TokenFile: c.TokenFile, Dial: c.Dial}
}

// nameLike reports whether s can be part of a service's name.
func nameLike(s string) bool {
	return len(s) <= 64 && s[0] != '-' && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && r != '-'
	})
}

// Driver implements driver.Registry on Consul.
type Driver struct {
	cfg    Config
	client *consul.Client
}

// Open checks cfg and returns a Driver. It makes no connection, so that it works while Consul is dead.
func Open(cfg Config) (*Driver, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.ReapAfter == 0 {
		cfg.ReapAfter = reapMin
	}
	client, err := consul.New(cfg.client())
	if err != nil {
		return nil, fmt.Errorf("consul registry: %w", err)
	}
	return &Driver{cfg: cfg, client: client}, nil
}

// Close implements driver.Registry.
func (d *Driver) Close() error { return d.client.Close() }

// name is what Consul calls a service.
func (d *Driver) name(service string) string { return d.cfg.Prefix + service }

// source is where the instances of a service are listed.
func (d *Driver) source(service string) (path string, query url.Values) {
	query = make(url.Values)
	if d.cfg.Datacenter != "" {
		query.Set("dc", d.cfg.Datacenter)
	}
	return consul.Path("/v1/health/service", d.name(service)), query
}

// List implements driver.Registry. It is answered by the leader, in Consul's default mode: a leader that was deposed
// without knowing can be behind for as long as its lease lasts, which is less than a second.
func (d *Driver) List(ctx context.Context, service string) (driver.Listing, error) {
	var out driver.Listing
	path, query := d.source(service)
	err := d.client.Do(ctx, func(ctx context.Context, a *consul.Agent) error {
		var entries []entry
		m, err := a.Get(ctx, path, query, &entries)
		if err == nil {
			err = d.readable(ctx, a, service, m, len(entries))
		}
		if err != nil {
			return err
		}
		out = listing(service, d.name(service), entries, m.Index)
		return nil
	})
	if err != nil {
		return driver.Listing{}, fmt.Errorf("list %s: %w", service, err)
	}
	return out, nil
}

var errMayNotRead = errors.New("the token may not read this service, or not the nodes it is on")

// readable tells a service that has no instances from one that must not be seen: to that, Consul's answer is an empty
// list, too. To those without a token it does not even say that something is left out; they have to ask for something
// that is refused and not left out.
func (d *Driver) readable(ctx context.Context, a *consul.Agent, service string, m consul.Meta, n int) error {
	switch {
	case n > 0:
		return nil
	case m.Filtered:
		return errMayNotRead
	case !m.Nameless:
		return nil
	}
	_, err := a.Get(ctx, consul.Path("/v1/agent/health/service/name", d.name(service)), nil, nil)
	if consul.Is(err, http.StatusForbidden) {
		return errMayNotRead
	}
	return nil
}

// Watch implements driver.Registry, on a blocking query that any server may answer.
func (d *Driver) Watch(ctx context.Context, service string, after uint64) (driver.Watcher, error) {
	path, query := d.source(service)
	q, err := d.client.Query(ctx, path, query, after)
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", service, err)
	}
	return &watcher{service: service, name: d.name(service), query: q}, nil
}

// watcher delivers whole lists.
type watcher struct {
	service, name string
	query         *consul.Query
}

// Next implements driver.Watcher.
func (w *watcher) Next(ctx context.Context) (driver.Update, error) {
	var entries []entry
	m, err := w.query.Next(ctx, func() any {
		entries = nil
		return &entries
	})
	if err == nil && len(entries) == 0 && (m.Filtered || m.Nameless) {
		w.query.Close()
		err = errMayNotRead // or there is nothing: List finds out
	}
	if err != nil {
		return driver.Update{}, fmt.Errorf("watch %s: %w", w.service, err)
	}
	l := listing(w.service, w.name, entries, m.Index)
	return driver.Update{Full: &l}, nil
}

// Close implements driver.Watcher.
func (w *watcher) Close() error {
	w.query.Close()
	return nil
}

// only is the filter of health queries for one service ID; "" if there is none for it: the filter's language cannot say
// every ID.
func only(id string) string {
	if strings.ContainsFunc(id, func(r rune) bool { return r == '"' || r == '\\' || !strconv.IsPrint(r) }) {
		return ""
	}
	return `Service.ID == "` + id + `"`
}
