// Package etcdregistry keeps the registry in etcd, in the format of etcd's own naming/endpoints package, so that
// plain gRPC clients find Holdfast services and the other way round.
package etcdregistry

import (
	"context"
	"crypto/tls"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/holdfast-go/holdfast/registry/driver"
)

// Config says where etcd is. Endpoints or Client is required.
type Config struct {
	// Endpoints are host:port or http(s)://host:port of the members.
	Endpoints []string
	// Prefix is put before SERVICE/ID to make the key; default "holdfast/services".
	Prefix string
	// TLS for the connections to the members; nil is plaintext, which is refused beyond loopback unless Insecure is set.
	TLS      *tls.Config
	Insecure bool
	// Username and Password, when etcd's authentication is on.
	Username, Password string
	// Client, when set, is used instead of own connections, and is not closed by Close. Give it short keepalives: a
	// frozen member is only noticed as fast as the client lets go of it.
	Client *clientv3.Client
}

// Driver implements driver.Registry on etcd.
type Driver struct{}

// Open checks cfg and returns a Driver. It makes no connection, so that it works while etcd is dead.
func Open(cfg Config) (*Driver, error) { panic("not yet") }

func (d *Driver) Register(ctx context.Context, rec driver.Record, ttl time.Duration, takeOver bool) (driver.Registration, error) {
	panic("not yet")
}

func (d *Driver) List(ctx context.Context, service string) (driver.Listing, error) { panic("not yet") }

func (d *Driver) Watch(ctx context.Context, service string, after uint64) (driver.Watcher, error) {
	panic("not yet")
}
func (d *Driver) Close() error { panic("not yet") }
