// Package memregistry is a registry in memory, with the faults of a real one: for tests and for a process that is
// its own system. Its time is package time's, so that testing/synctest works on it.
package memregistry

import (
	"context"
	"time"

	"github.com/holdfast-go/holdfast/registry/driver"
)

// Driver implements driver.Registry. All methods are safe for concurrent use. The methods beyond the interface
// break it on purpose.
type Driver struct{}

// New returns an empty registry. It may be shared by any number of registry.Registry values.
func New() *Driver { return &Driver{} }

func (d *Driver) Register(ctx context.Context, rec driver.Record, ttl time.Duration, takeOver bool) (driver.Registration, error) {
	panic("not yet")
}
func (d *Driver) List(ctx context.Context, service string) (driver.Listing, error) { panic("not yet") }
func (d *Driver) Watch(ctx context.Context, service string, after uint64) (driver.Watcher, error) {
	panic("not yet")
}

// Close does nothing: a registry in memory lives as long as somebody holds it.
func (d *Driver) Close() error { return nil }

// Down makes every call fail at once, as a dead process does, and ends all watches. Leases do not run meanwhile.
func (d *Driver) Down() { panic("not yet") }

// Up ends Down. All leases start anew, as etcd's do.
func (d *Driver) Up() { panic("not yet") }

// Freeze makes every call hang, as a stopped process or a black hole does. Leases run on and expire on Thaw.
func (d *Driver) Freeze() { panic("not yet") }

// Thaw ends Freeze.
func (d *Driver) Thaw() { panic("not yet") }

// Wipe loses all records and leases, as a restart with an empty disk does; open watches end.
func (d *Driver) Wipe() { panic("not yet") }

// ExpireLease ends the lease of one record before its time, and so removes the record.
func (d *Driver) ExpireLease(service, id string) { panic("not yet") }

// DeleteKey removes one record and leaves its lease alive, as a person with etcdctl does.
func (d *Driver) DeleteKey(service, id string) { panic("not yet") }

// Corrupt makes one record unreadable until it is written again. A record that is not there is created.
func (d *Driver) Corrupt(service, id string) { panic("not yet") }

// HangWatches makes all open watches silent for ever, without an error. Watches opened later work.
func (d *Driver) HangWatches() { panic("not yet") }
