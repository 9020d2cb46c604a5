// Package etcdregistry keeps the registry in etcd, in the format of etcd's own naming/endpoints package, so that
// plain gRPC clients find Holdfast services and the other way round.
//
// The key of an instance is PREFIX/SERVICE/ID, so that etcd's resolver finds a service as etcd:///PREFIX/SERVICE.
// Each announcement has its own lease. The client library's own retry, keepalive and watch loops are not used: they
// hide what package registry has to know (a connection that was lost, a lease that is gone), and one of them spins
// while etcd is down.
package etcdregistry

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"net"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/holdfast-go/holdfast/internal/etcdmember"
	"github.com/holdfast-go/holdfast/registry/driver"
)

// DefaultPrefix is where the keys are unless Config.Prefix says otherwise.
const DefaultPrefix = "holdfast/services"

const (
	// maxRecords bounds one List; it is more than package registry uses.
	maxRecords = 5000
	// maxConflicts is how often a conditional write is tried when somebody else writes the key at the same time.
	maxConflicts = 5
)

// Config says where etcd is. Endpoints or Client is required.
type Config struct {
	// Endpoints are host:port or http(s)://host:port of the members. A member that does not answer is left for the
	// next within about a second (calls) or two and a half (watches), so give all of them.
	Endpoints []string
	// Prefix is put before SERVICE/ID to make the key; default DefaultPrefix.
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
func (c Config) Validate() error {
	return c.cluster("").Validate("etcd registry")
}

func (c Config) cluster(prefix string) etcdmember.Config {
	return etcdmember.Config{
		Endpoints: c.Endpoints, TLS: c.TLS, Insecure: c.Insecure, Username: c.Username, Password: c.Password,
		Dial: c.Dial, Client: c.Client, Probe: prefix,
	}
}

// Driver implements driver.Registry on etcd.
type Driver struct {
	prefix  string
	cluster *etcdmember.Cluster
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
		return nil, fmt.Errorf("etcd registry: %w", err)
	}
	return &Driver{prefix: prefix, cluster: cluster}, nil
}

// Close implements driver.Registry.
func (d *Driver) Close() error { return d.cluster.Close() }

func (d *Driver) key(service, id string) string { return d.prefix + "/" + service + "/" + id }

// List implements driver.Registry: a linearizable read, so that it is never older than the call.
func (d *Driver) List(ctx context.Context, service string) (driver.Listing, error) {
	prefix := d.key(service, "")
	var out driver.Listing
	err := d.cluster.Do(ctx, func(ctx context.Context, s *etcdmember.Session) error {
		resp, err := s.KV.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithLimit(maxRecords))
		if err != nil {
			return err
		}
		out = driver.Listing{Revision: uint64(max(resp.Header.Revision, 0))}
		for _, kv := range resp.Kvs {
			id := strings.TrimPrefix(string(kv.Key), prefix)
			rec, err := decode(service, id, kv.Value)
			if err != nil {
				out.Unreadable = append(out.Unreadable, driver.Unreadable{ID: id, Err: err})
				continue
			}
			out.Records = append(out.Records, rec)
		}
		return nil
	})
	if err != nil {
		return driver.Listing{}, fmt.Errorf("list %s: %w", service, err)
	}
	return out, nil
}

// Register implements driver.Registry.
func (d *Driver) Register(ctx context.Context, rec driver.Record, ttl time.Duration, takeOver bool) (driver.Registration, error) {
	value, err := encode(rec)
	if err != nil {
		return nil, fmt.Errorf("register %s/%s: %w", rec.Service, rec.ID, err)
	}
	r := &registration{d: d, service: rec.Service, id: rec.ID, owner: rec.Owner, key: d.key(rec.Service, rec.ID)}
	seconds := max(1, int64(math.Ceil(ttl.Seconds())))
	err = d.cluster.Do(ctx, func(ctx context.Context, s *etcdmember.Session) error {
		grant, err := s.Lease.LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: seconds})
		if err != nil {
			return err
		}
		r.lease = clientv3.LeaseID(grant.ID)
		put := clientv3.OpPut(r.key, string(value), clientv3.WithLease(r.lease))
		if takeOver {
			_, err = s.KV.Do(ctx, put)
		} else {
			err = r.putUnlessTaken(ctx, s, put)
		}
		if errors.Is(err, driver.ErrTaken) {
			_, _ = s.Lease.LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: grant.ID}) // it ends by itself otherwise
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("register %s/%s: %w", rec.Service, rec.ID, err)
	}
	return r, nil
}

// putUnlessTaken writes the record if the key is free, ours or nobody's, and has stayed so meanwhile.
func (r *registration) putUnlessTaken(ctx context.Context, s *etcdmember.Session, put clientv3.Op) error {
	for range maxConflicts {
		cur, err := s.KV.Get(ctx, r.key)
		if err != nil {
			return err
		}
		var seen int64
		if len(cur.Kvs) > 0 {
			seen = cur.Kvs[0].ModRevision
			if errors.Is(r.whose(cur.Kvs[0]), driver.ErrTaken) {
				return driver.ErrTaken
			}
		}
		resp, err := s.KV.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(r.key), "=", seen)).Then(put).Commit()
		if err != nil {
			return err
		}
		if resp.Succeeded {
			return nil
		}
	}
	return errors.New("key keeps changing")
}

func leaseGone(err error) bool { return errors.Is(rpctypes.Error(err), rpctypes.ErrLeaseNotFound) }
