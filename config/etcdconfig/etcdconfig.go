// Package etcdconfig keeps settings in etcd: the value of KEY is that of PREFIX/KEY, as it was put, so that etcdctl reads
// and writes them as well.
package etcdconfig

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/holdfast-go/holdfast/config/driver"
	"github.com/holdfast-go/holdfast/internal/etcdmember"
)

// DefaultPrefix is where the keys are unless Config.Prefix says otherwise.
const DefaultPrefix = "holdfast/config"

// Scheme is that of the URLs Parse reads.
const Scheme = "etcd"

// maxEntries bounds one List; it is more than package config uses.
const maxEntries = 5000

// Config says where etcd is. Endpoints or Client is required.
type Config struct {
	// Endpoints are host:port or http(s)://host:port of the members. A member that does not answer is left for the
	// next within about a second (calls) or two and a half (watches), so give all of them.
	Endpoints []string
	// Prefix is put before KEY to make etcd's; default DefaultPrefix.
	Prefix string
	// TLS for the connections to the members. Without it, plaintext is refused beyond loopback unless Insecure is set.
	TLS      *tls.Config
	Insecure bool
	// Username and Password, when etcd's authentication is on. The user needs read on the prefix, and write to put.
	Username, Password string
	// Dial makes the connections, as net.Dialer.DialContext does, which it is if nil.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Client, when set, is used for its endpoints, TLS, credentials and dial options instead of the fields above
	// (Prefix aside). Own connections are made, one per member. Close leaves the client alone.
	Client *clientv3.Client
}

// Validate reports everything that is wrong with c.
func (c Config) Validate() error { return c.cluster("").Validate("etcd settings") }

func (c Config) cluster(prefix string) etcdmember.Config {
	return etcdmember.Config{
		Endpoints: c.Endpoints, TLS: c.TLS, Insecure: c.Insecure, Username: c.Username, Password: c.Password,
		Dial: c.Dial, Client: c.Client, Probe: prefix,
	}
}

// Parse reads etcd://HOST:PORT,HOST:PORT[/PREFIX] into the Endpoints and Prefix of a Config.
func Parse(url string) (Config, error) {
	rest, ok := strings.CutPrefix(url, Scheme+"://")
	if !ok {
		return Config{}, errors.New("does not begin with etcd://")
	}
	if strings.Contains(rest, "@") {
		return Config{}, errors.New("has credentials in it, which do not belong into a URL")
	}
	if strings.Contains(rest, "?") { // whose values are not repeated
		return Config{}, errors.New("has options in it, and there are none")
	}
	rest, prefix, _ := strings.Cut(rest, "/")
	var c Config
	for e := range strings.SplitSeq(rest, ",") {
		host, port, err := net.SplitHostPort(e)
		if err == nil {
			_, err = strconv.ParseUint(port, 10, 16)
		}
		if err != nil || host == "" {
			return Config{}, fmt.Errorf("has a member %q that is not HOST:PORT", e)
		}
		c.Endpoints = append(c.Endpoints, e)
	}
	c.Prefix = strings.Trim(prefix, "/")
	return c, nil
}

// OfRegistry returns the URL of the settings that belong to a registry in etcd, given its URL: the same members, and if it
// has a prefix, PREFIX-config, which is beside its services.
func OfRegistry(url string) string {
	members, prefix, _ := strings.Cut(strings.TrimPrefix(url, Scheme+"://"), "/")
	url = Scheme + "://" + members
	if prefix = strings.Trim(prefix, "/"); prefix != "" {
		url += "/" + prefix + "-config"
	}
	return url
}

// Driver implements driver.Store on etcd.
type Driver struct {
	prefix   string // with its slash
	identity string
	cluster  *etcdmember.Cluster
}

// Open checks cfg and returns a Driver. It makes no connection, so that it works while etcd is dead.
func Open(cfg Config) (*Driver, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	prefix := strings.Trim(cfg.Prefix, "/")
	if prefix == "" {
		prefix = DefaultPrefix
	}
	prefix += "/"
	cluster, err := etcdmember.Open(cfg.cluster(prefix))
	if err != nil {
		return nil, fmt.Errorf("etcd settings: %w", err)
	}
	endpoints := cfg.Endpoints
	if cfg.Client != nil {
		endpoints = cfg.Client.Endpoints()
	}
	return &Driver{prefix: prefix, identity: identity(endpoints, prefix), cluster: cluster}, nil
}

// identity is the same for the same members in whatever order and spelling.
func identity(endpoints []string, prefix string) string {
	members := make([]string, 0, len(endpoints))
	for _, e := range endpoints {
		if _, rest, ok := strings.Cut(e, "://"); ok {
			e = rest
		}
		members = append(members, e[strings.LastIndexByte(e, '@')+1:])
	}
	slices.Sort(members)
	return Scheme + "://" + strings.Join(slices.Compact(members), ",") + "/" + strings.TrimSuffix(prefix, "/")
}

// Identity implements driver.Identified: by the members as they were given, so that a list of others counts as another etcd.
func (d *Driver) Identity() string { return d.identity }

// Close implements driver.Store.
func (d *Driver) Close() error { return d.cluster.Close() }

// List implements driver.Store: a linearizable read, so that it is never older than the call.
func (d *Driver) List(ctx context.Context, prefix string) (driver.Listing, error) {
	var out driver.Listing
	err := d.cluster.Do(ctx, func(ctx context.Context, s *etcdmember.Session) error {
		resp, err := s.KV.Get(ctx, d.prefix+prefix, clientv3.WithPrefix(), clientv3.WithLimit(maxEntries))
		if err != nil {
			return err
		}
		out = driver.Listing{Revision: uint64(max(resp.Header.Revision, 0))}
		for _, kv := range resp.Kvs {
			out.Entries = append(out.Entries, d.entry(kv))
		}
		return nil
	})
	if err != nil {
		return driver.Listing{}, fmt.Errorf("list %s: %w", prefix, err)
	}
	return out, nil
}

func (d *Driver) entry(kv *mvccpb.KeyValue) driver.Entry {
	return driver.Entry{
		Key: strings.TrimPrefix(string(kv.Key), d.prefix), Value: kv.Value, Revision: uint64(max(kv.ModRevision, 0)),
	}
}

// Put implements driver.Store. What it writes takes the place of what was there when it began, and of nothing newer: an
// attempt that was given up may still be on its way, in a member that was frozen, and come to etcd after what was put since.
func (d *Driver) Put(ctx context.Context, key string, value []byte) (revision uint64, err error) {
	err = d.replace(ctx, key, func(int64) (clientv3.Op, bool) {
		return clientv3.OpPut(d.prefix+key, string(value)), true
	}, func(resp *clientv3.TxnResponse) { revision = uint64(max(resp.Header.Revision, 0)) })
	if err != nil {
		return 0, fmt.Errorf("put %s: %w", key, err)
	}
	return revision, nil
}

// Delete implements driver.Store, and deletes nothing newer than what was there when it began. found may be false if an
// attempt whose answer was lost has deleted the key.
func (d *Driver) Delete(ctx context.Context, key string) (found bool, err error) {
	err = d.replace(ctx, key, func(at int64) (clientv3.Op, bool) {
		return clientv3.OpDelete(d.prefix + key), at != 0
	}, func(*clientv3.TxnResponse) { found = true })
	if err != nil {
		return false, fmt.Errorf("delete %s: %w", key, err)
	}
	return found, nil
}

// replace does what by says in place of the key's version at, which is 0 if it is not there, unless by says that there is
// nothing to do. What others do to the key meanwhile makes it begin again.
func (d *Driver) replace(ctx context.Context, key string, by func(at int64) (clientv3.Op, bool), done func(*clientv3.TxnResponse)) error {
	name := d.prefix + key
	return d.cluster.Do(ctx, func(ctx context.Context, s *etcdmember.Session) error {
		for {
			now, err := s.KV.Get(ctx, name, clientv3.WithKeysOnly())
			if err != nil {
				return err
			}
			var at int64
			for _, kv := range now.Kvs {
				at = kv.ModRevision
			}
			op, due := by(at)
			if !due {
				return nil
			}
			resp, err := s.KV.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(name), "=", at)).Then(op).Commit()
			if err != nil {
				return err
			}
			if resp.Succeeded {
				done(resp)
				return nil
			}
		}
	})
}

// Watch implements driver.Store.
func (d *Driver) Watch(ctx context.Context, prefix string, after uint64) (driver.Watcher, error) {
	w, err := d.cluster.Watch(ctx, d.prefix+prefix, int64(after)+1)
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", prefix, err)
	}
	return &watcher{d: d, prefix: prefix, watch: w}, nil
}

type watcher struct {
	d      *Driver
	prefix string
	watch  *etcdmember.Watch
}

// Next implements driver.Watcher.
func (w *watcher) Next(ctx context.Context) (driver.Update, error) {
	events, err := w.watch.Next(ctx)
	if err != nil {
		if ctx.Err() == nil {
			err = fmt.Errorf("watch %s: %w", w.prefix, err)
		}
		return driver.Update{}, err
	}
	u := driver.Update{Changes: make([]driver.Change, 0, len(events))}
	for _, e := range events {
		c := driver.Change{Key: strings.TrimPrefix(string(e.Kv.Key), w.d.prefix)}
		if e.Type == mvccpb.Event_PUT {
			entry := w.d.entry(e.Kv)
			c.Entry = &entry
		}
		u.Changes = append(u.Changes, c)
	}
	return u, nil
}

// Close implements driver.Watcher.
func (w *watcher) Close() error { return w.watch.Close() }
