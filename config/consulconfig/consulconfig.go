// Package consulconfig keeps settings in Consul's key-value store: the value of KEY is that of PREFIX/KEY, as it was put, so
// that Consul's CLI and UI read and write them as well.
package consulconfig

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/holdfast-go/holdfast/config/driver"
	"github.com/holdfast-go/holdfast/internal/consul"
)

// DefaultPrefix is where the keys are unless Config.Prefix says otherwise.
const DefaultPrefix = "holdfast/config"

// Config says where Consul is. Agents is required.
type Config struct {
	// Agents are host:port of agents of one datacenter, as a rule only the one of this machine. With more than one,
	// an agent that does not answer is left for the next within about a second (calls) or two and a half (watches).
	Agents []string
	// Datacenter is whose settings they are; default: the agent's own.
	Datacenter string
	// Prefix is put before KEY to make Consul's; default DefaultPrefix.
	Prefix string
	// TLS for the connections to the agents. Without it, plaintext is refused beyond loopback unless Insecure is set.
	TLS      *tls.Config
	Insecure bool
	// Token is Consul's ACL token. It needs key:read for the prefix, and key:write to put and delete. TokenFile is a file
	// with the token instead, which is read again every few seconds.
	Token, TokenFile string
	// Dial makes the connections, as net.Dialer.DialContext does, which it is if nil.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Validate reports everything that is wrong with c.
func (c Config) Validate() error {
	var errs []error
	if err := c.client().Validate(); err != nil {
		errs = append(errs, err)
	}
	if strings.ContainsFunc(c.Prefix, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '?' || r == '#' || r == '%' }) || len(c.Prefix) > 128 {
		errs = append(errs, fmt.Errorf("prefix %.40q: longer than 128 bytes, or has a space, '?', '#' or '%%' in it", c.Prefix))
	}
	for e := range strings.SplitSeq(strings.Trim(c.Prefix, "/"), "/") {
		if e == "." || e == ".." || e == "" && strings.Trim(c.Prefix, "/") != "" {
			errs = append(errs, fmt.Errorf("prefix %q: has an element %q", c.Prefix, e))
		}
	}
	if strings.ContainsAny(c.Datacenter, "/?#& ") {
		errs = append(errs, fmt.Errorf("datacenter %q: not a name", c.Datacenter))
	}
	if len(errs) > 0 {
		return fmt.Errorf("consul settings: %w", errors.Join(errs...))
	}
	return nil
}

func (c Config) client() consul.Config {
	return consul.Config{Agents: c.Agents, TLS: c.TLS, Insecure: c.Insecure, Token: c.Token, TokenFile: c.TokenFile, Dial: c.Dial}
}

// Driver implements driver.Store on Consul.
type Driver struct {
	prefix string // with a '/' at its end
	dc     string
	agents []string // sorted
	client *consul.Client
}

// Open checks cfg and returns a Driver. It makes no connection, so that it works while Consul is dead.
func Open(cfg Config) (*Driver, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	client, err := consul.New(cfg.client())
	if err != nil {
		return nil, fmt.Errorf("consul settings: %w", err)
	}
	prefix := strings.Trim(cfg.Prefix, "/")
	if prefix == "" {
		prefix = DefaultPrefix
	}
	return &Driver{prefix: prefix + "/", dc: cfg.Datacenter, agents: slices.Sorted(slices.Values(cfg.Agents)), client: client}, nil
}

// Identity implements driver.Identified: by the agents as they were given, so that a list of others counts as another Consul.
func (d *Driver) Identity() string {
	return consul.Scheme + "://" + strings.Join(d.agents, ",") + "/" + d.dc + "?prefix=" + strings.TrimSuffix(d.prefix, "/")
}

// Close implements driver.Store.
func (d *Driver) Close() error { return d.client.Close() }

// pair is a key as Consul answers it.
type pair struct {
	Key         string
	Value       []byte
	ModifyIndex uint64
}

func (d *Driver) path(key string) string { return "/v1/kv/" + d.prefix + key }

func (d *Driver) query() url.Values {
	q := make(url.Values)
	if d.dc != "" {
		q.Set("dc", d.dc)
	}
	return q
}

// listQuery is the query for everything below a prefix.
func (d *Driver) listQuery() url.Values {
	q := d.query()
	q.Set("recurse", "true")
	return q
}

// List implements driver.Store. It is answered by the leader, in Consul's default mode: a leader that was deposed without
// knowing can be behind for as long as its lease lasts, which is less than a second.
func (d *Driver) List(ctx context.Context, prefix string) (driver.Listing, error) {
	var out driver.Listing
	err := d.client.Do(ctx, func(ctx context.Context, a *consul.Agent) error {
		var pairs []pair
		m, err := a.Get(ctx, d.path(prefix), d.listQuery(), &pairs)
		if consul.Is(err, http.StatusNotFound) && m.Index > 0 { // without an index it is not Consul that says so
			err = d.none(ctx, a, prefix, m)
		}
		if err == nil && m.Index == 0 {
			err = errNoIndex
		}
		if err != nil {
			return err
		}
		out = d.listing(pairs, m.Index)
		return nil
	})
	if err != nil {
		return driver.Listing{}, fmt.Errorf("list %q: %w", prefix, err)
	}
	return out, nil
}

var (
	errMayNotRead = errors.New("the token may not read these keys")
	errNoIndex    = errors.New("an answer without an index, which is not Consul's")
)

// none tells a prefix without keys from one that must not be seen: to that, Consul's answer is that there is nothing, too.
// To those without a token it does not even say that something is left out; they have to ask for a key, which is refused.
func (d *Driver) none(ctx context.Context, a *consul.Agent, prefix string, m consul.Meta) error {
	if m.Filtered {
		return errMayNotRead
	}
	if !m.Nameless {
		return nil
	}
	if _, err := a.Get(ctx, d.path(prefix+"x"), d.query(), nil); consul.Is(err, http.StatusForbidden) {
		return errMayNotRead
	}
	return nil
}

// listing takes what Consul has, aside from what cannot be one of our keys: "folders", which its UI makes.
func (d *Driver) listing(pairs []pair, index uint64) driver.Listing {
	out := driver.Listing{Revision: index}
	for _, p := range pairs {
		key, below := strings.CutPrefix(p.Key, d.prefix)
		if !below || !valid(key) {
			continue
		}
		out.Entries = append(out.Entries, driver.Entry{Key: key, Value: p.Value, Revision: max(1, p.ModifyIndex)})
	}
	return out
}

// valid reports whether key is one that package config may ask for.
func valid(key string) bool {
	if len(key) > driver.MaxKey {
		return false
	}
	for e := range strings.SplitSeq(key, "/") {
		if e == "" || e == "." || e == ".." || len(e) > driver.MaxElement {
			return false
		}
	}
	return true
}

// Watch implements driver.Store, on a blocking query that any server may answer.
func (d *Driver) Watch(ctx context.Context, prefix string, after uint64) (driver.Watcher, error) {
	q, err := d.client.Query(ctx, d.path(prefix), d.listQuery(), after)
	if err != nil {
		return nil, fmt.Errorf("watch %q: %w", prefix, err)
	}
	return &watcher{d: d, prefix: prefix, query: q}, nil
}

// watcher delivers whole lists.
type watcher struct {
	d      *Driver
	prefix string
	query  *consul.Query
}

// Next implements driver.Watcher.
func (w *watcher) Next(ctx context.Context) (driver.Update, error) {
	var pairs []pair
	m, err := w.query.Next(ctx, func() any {
		pairs = nil
		return &pairs
	})
	if err == nil && len(pairs) == 0 && (m.Filtered || m.Nameless) {
		w.query.Close()
		err = errMayNotRead // or there is nothing: List finds out
	}
	if err != nil {
		return driver.Update{}, fmt.Errorf("watch %q: %w", w.prefix, err)
	}
	l := w.d.listing(pairs, m.Index)
	return driver.Update{Full: &l}, nil
}

// Close implements driver.Watcher.
func (w *watcher) Close() error {
	w.query.Close()
	return nil
}

// operation is one step of a transaction.
type operation struct{ KV kv }

type kv struct {
	Verb  string
	Key   string
	Value []byte `json:",omitempty"`
	Index uint64 `json:",omitempty"` // of cas and delete-cas: the version that is replaced, 0 for none
}

// results is what a transaction answers.
type results struct {
	Results []struct{ KV pair }
}

func (d *Driver) transact(ctx context.Context, ops ...operation) (out results, err error) {
	err = d.client.Do(ctx, func(ctx context.Context, a *consul.Agent) error {
		out = results{}
		_, err := a.Put(ctx, "/v1/txn", d.query(), ops, &out)
		return err
	})
	return out, err
}

// Put implements driver.Store, by a transaction, which unlike a plain write says the new index. What it writes takes the
// place of what was there when it began, and of nothing newer: an attempt that was given up may still be on its way, in an
// agent that was frozen, and come to Consul after what was put since.
func (d *Driver) Put(ctx context.Context, key string, value []byte) (revision uint64, err error) {
	out, err := d.replace(ctx, key, func(at uint64) kv {
		return kv{Verb: "cas", Key: d.prefix + key, Value: value, Index: at}
	})
	if err != nil {
		return 0, fmt.Errorf("put %q: %w", key, err)
	}
	if len(out.Results) != 1 {
		return 0, fmt.Errorf("put %q: %d results of one operation", key, len(out.Results))
	}
	return max(1, out.Results[0].KV.ModifyIndex), nil
}

// Delete implements driver.Store, and deletes nothing newer than what was there when it began.
func (d *Driver) Delete(ctx context.Context, key string) (found bool, err error) {
	_, err = d.replace(ctx, key, func(at uint64) kv {
		found = at != 0 // else it is asked for all the same: Consul says there who has no right to
		return kv{Verb: "delete-cas", Key: d.prefix + key, Index: at}
	})
	if err != nil {
		return false, fmt.Errorf("delete %q: %w", key, err)
	}
	return found, nil
}

// replace does what by says in place of the key's version at, which is 0 if it is not there. What others do to the key
// meanwhile makes it begin again.
func (d *Driver) replace(ctx context.Context, key string, by func(at uint64) kv) (results, error) {
	for {
		now, err := d.transact(ctx, operation{kv{Verb: "get", Key: d.prefix + key}})
		if err != nil && !conflict(err, "doesn't exist") {
			return results{}, err
		}
		var at uint64
		switch {
		case err != nil: // it is not there
		case len(now.Results) != 1: // left out of an answer is what must not be read
			return results{}, errors.New("the token has no right to read it")
		default:
			at = now.Results[0].KV.ModifyIndex
		}
		out, err := d.transact(ctx, operation{by(at)})
		if !conflict(err, "index is stale") {
			return out, err
		}
	}
}

// conflict reports whether err is Consul's answer that a transaction was not done, for a reason: other ones are rights that
// are missing.
func conflict(err error, reason string) bool {
	var answer *consul.StatusError
	return errors.As(err, &answer) && answer.Code == http.StatusConflict && strings.Contains(answer.Reason, reason)
}
