// Package etcdlock keeps locks in etcd. A session is one lease; the tickets of a lock are keys under it, in the order in
// which etcd created them; who waits watches the key before its own only.
//
//	PREFIX/locks/NAME/queue/LEASE-TICKET   a place in a queue, under the lease
//	PREFIX/locks/NAME/holder               who holds, under the lease
//	PREFIX/tokens/NNN                      the largest token given out of the locks whose names hash to NNN
//	PREFIX/guards/LEASE                    moves on when a request of unknown outcome is given up
//	PREFIX/epoch, PREFIX/settled           since when etcd remembers, and that it is long enough
//
// The concurrency package of etcd's client is not used: its Mutex has no token, no context that ends in time, a lease
// whose keepalive counts from the answer, and a wait that outlasts its own session (etcd issue 19597).
package etcdlock

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/holdfast-go/holdfast/internal/etcdmember"
	"github.com/holdfast-go/holdfast/lock/driver"
)

// DefaultPrefix is where the keys are unless Config.Prefix says otherwise.
const DefaultPrefix = "holdfast/locks"

// Scheme is that of the URLs that Parse reads.
const Scheme = "etcd"

const (
	// buckets bounds what is remembered of locks that nobody wants any more: their tokens share these records.
	buckets = 1024
	// maxConflicts is how often a transaction is tried while others change what it is about.
	maxConflicts = 20
)

// Config says where etcd is. Endpoints or Client is required.
type Config struct {
	// Endpoints are host:port or http(s)://host:port of the members. A member that does not answer is left for the
	// next within about a second (calls) or two and a half (waits), so give all of them.
	Endpoints []string
	// Prefix is put before all keys; default DefaultPrefix.
	Prefix string
	// TLS for the connections to the members. Without it, plaintext is refused beyond loopback unless Insecure is set.
	TLS      *tls.Config
	Insecure bool
	// Username and Password, when etcd's authentication is on. The user needs read and write on the prefix.
	Username, Password string
	// Dial makes the connections, as net.Dialer.DialContext does, which it is if nil.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Client, when set, is used for its endpoints, TLS, credentials and dial options instead of the fields above
	// (Prefix aside). Own connections are made, one per member. Close leaves the client alone.
	Client *clientv3.Client
}

// Validate reports everything that is wrong with c.
func (c Config) Validate() error { return c.cluster("").Validate("etcd locks") }

func (c Config) cluster(prefix string) etcdmember.Config {
	return etcdmember.Config{
		Endpoints: c.Endpoints, TLS: c.TLS, Insecure: c.Insecure, Username: c.Username, Password: c.Password,
		Dial: c.Dial, Client: c.Client, Probe: prefix,
	}
}

// Parse reads etcd://HOST:PORT,HOST:PORT[/PREFIX] into the Endpoints and Prefix of a Config. The error goes on after the
// URL.
func Parse(s string) (Config, error) {
	rest, ok := strings.CutPrefix(s, Scheme+"://")
	switch {
	case !ok:
		return Config{}, errors.New("does not begin with etcd://")
	case strings.Contains(rest, "@"):
		return Config{}, errors.New("has credentials in it, which belong into code")
	case strings.Contains(rest, "?"): // whose values are not repeated
		return Config{}, errors.New("has options in it, and there are none")
	}
	rest, prefix, _ := strings.Cut(rest, "/")
	c := Config{Prefix: strings.Trim(prefix, "/")}
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
	return c, nil
}

// Driver implements driver.Engine on etcd.
type Driver struct {
	prefix  string
	cluster *etcdmember.Cluster

	mu     sync.Mutex
	tokens map[string]stored // by key; what was seen last
}

// stored is the record of a bucket.
type stored struct {
	text  string // "": there is none
	token uint64
}

// unchanged compares by value: the revisions of an etcd that was wiped begin anew, tokens never do.
func (s stored) unchanged(key string) clientv3.Cmp {
	if s.text == "" {
		return clientv3.Compare(clientv3.CreateRevision(key), "=", 0)
	}
	return clientv3.Compare(clientv3.Value(key), "=", s.text)
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
	cluster, err := etcdmember.Open(cfg.cluster(prefix))
	if err != nil {
		return nil, fmt.Errorf("etcd locks: %w", err)
	}
	return &Driver{prefix: prefix, cluster: cluster, tokens: make(map[string]stored)}, nil
}

// Close implements driver.Engine.
func (d *Driver) Close() error { return d.cluster.Close() }

func (d *Driver) lock(name string) string   { return d.prefix + "/locks/" + url.PathEscape(name) }
func (d *Driver) holder(name string) string { return d.lock(name) + "/holder" }
func (d *Driver) epoch() string             { return d.prefix + "/epoch" }
func (d *Driver) settled() string           { return d.prefix + "/settled" }

// token is the key of the record that a lock shares with others.
func (d *Driver) token(name string) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name))
	return fmt.Sprintf("%s/tokens/%03x", d.prefix, h.Sum32()%buckets)
}

// Open implements driver.Engine.
func (d *Driver) Open(ctx context.Context, ttl time.Duration, holder string) (driver.Session, error) {
	s := &session{d: d, holder: holder, tickets: make(map[string]*ticket)}
	err := d.cluster.Do(ctx, func(ctx context.Context, m *etcdmember.Session) error {
		grant, err := m.Lease.LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: max(1, int64(math.Ceil(ttl.Seconds())))})
		if err != nil {
			return err
		}
		s.lease, s.ttl = clientv3.LeaseID(grant.ID), time.Duration(grant.TTL)*time.Second
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("open session: %w", err)
	}
	return s, nil
}

// Holder implements driver.Engine: a linearizable read.
func (d *Driver) Holder(ctx context.Context, name string) (h driver.Holder, revision uint64, err error) {
	err = d.cluster.Do(ctx, func(ctx context.Context, m *etcdmember.Session) error {
		resp, err := m.KV.Get(ctx, d.holder(name))
		if err != nil {
			return err
		}
		h, revision = driver.Holder{}, uint64(max(resp.Header.Revision, 0))
		if len(resp.Kvs) > 0 {
			h = decodeHolder(resp.Kvs[0].Value)
		}
		return nil
	})
	if err != nil {
		return driver.Holder{}, 0, fmt.Errorf("holder of %s: %w", name, err)
	}
	return h, revision, nil
}

// Await implements driver.Engine, by a watch.
func (d *Driver) Await(ctx context.Context, name string, revision uint64) error {
	if err := d.change(ctx, d.holder(name), int64(revision)+1, false); err != nil { //nolint:gosec // a revision
		return fmt.Errorf("await %s: %w", name, err)
	}
	return nil
}

// change waits until something happened to a key at a revision from on: that it was deleted, or anything.
func (d *Driver) change(ctx context.Context, key string, from int64, gone bool) error {
	w, err := d.cluster.Watch(ctx, key, from)
	if err != nil {
		return err
	}
	defer w.Close() //nolint:errcheck // returns nil
	for {
		events, err := w.Next(ctx)
		if err != nil {
			return err
		}
		for _, e := range events {
			if string(e.Kv.Key) == key && (!gone || e.Type == clientv3.EventTypeDelete) {
				return nil
			}
		}
	}
}

// Epoch implements driver.Engine.
func (d *Driver) Epoch(ctx context.Context) (out driver.Epoch, err error) {
	id := rand.Text()
	err = d.cluster.Do(ctx, func(ctx context.Context, m *etcdmember.Session) error {
		resp, err := m.KV.Txn(ctx).
			If(clientv3.Compare(clientv3.CreateRevision(d.epoch()), "=", 0)).
			Then(clientv3.OpPut(d.epoch(), id), clientv3.OpDelete(d.settled())).
			Else(clientv3.OpGet(d.epoch()), clientv3.OpGet(d.settled())).
			Commit()
		if err != nil {
			return err
		}
		out = driver.Epoch{ID: id}
		if !resp.Succeeded {
			out.ID = string(resp.Responses[0].GetResponseRange().GetKvs()[0].Value)
			out.Settled = len(resp.Responses[1].GetResponseRange().GetKvs()) > 0
		}
		return nil
	})
	if err != nil {
		return driver.Epoch{}, fmt.Errorf("epoch: %w", err)
	}
	return out, nil
}

// Settle implements driver.Engine.
func (d *Driver) Settle(ctx context.Context, id string) error {
	err := d.cluster.Do(ctx, func(ctx context.Context, m *etcdmember.Session) error {
		_, err := m.KV.Txn(ctx).
			If(clientv3.Compare(clientv3.Value(d.epoch()), "=", id)).
			Then(clientv3.OpPut(d.settled(), id)).Commit()
		return err
	})
	if err != nil {
		return fmt.Errorf("settle: %w", err)
	}
	return nil
}

func leaseGone(err error) bool { return errors.Is(rpctypes.Error(err), rpctypes.ErrLeaseNotFound) }
