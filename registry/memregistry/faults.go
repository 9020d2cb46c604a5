package memregistry

import (
	"time"

	"github.com/holdfast-go/holdfast/registry/driver"
)

// Down makes every call fail at once, as a dead process does, and ends all watches. Leases do not run meanwhile.
func (d *Driver) Down() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.down = true
	d.restarts++
	d.wake()
}

// Up ends Down. All leases start anew, as etcd's do.
func (d *Driver) Up() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.down = false
	for _, l := range d.leases {
		d.renew(l)
	}
	d.wake()
}

// Freeze makes every call hang, as a stopped process or a black hole does. Leases run on and expire on Thaw.
func (d *Driver) Freeze() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.frozen = true
	d.wake()
}

// Thaw ends Freeze. Leases that ran out meanwhile expire before any renewal that waits is heard.
func (d *Driver) Thaw() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.frozen = false
	for id, l := range d.leases {
		if !time.Now().Before(l.expires) {
			d.endLease(id)
		}
	}
	d.wake()
}

// Wipe loses all records and leases, as a restart with an empty disk does; open watches end.
func (d *Driver) Wipe() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for id, l := range d.leases {
		l.timer.Stop()
		delete(d.leases, id)
	}
	clear(d.records)
	d.log = nil
	d.revision = 0
	d.restarts++
	d.wake()
}

// ExpireLease ends the lease of one record before its time, and so removes the record.
func (d *Driver) ExpireLease(service, id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if r, ok := d.records[key{service, id}]; ok {
		d.endLease(r.lease)
	}
}

// DeleteKey removes one record and leaves its lease alive, as a person with etcdctl does.
func (d *Driver) DeleteKey(service, id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.remove(key{service, id})
}

// Corrupt makes one record unreadable until it is written again. A record that is not there is created.
func (d *Driver) Corrupt(service, id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	k := key{service, id}
	r := d.records[k]
	r.corrupt = true
	d.records[k] = r
	d.emit(k, driver.Change{Err: errGarbage})
}

// HangWatches makes all open watches silent for ever, without an error. Watches opened later work.
func (d *Driver) HangWatches() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.hung++
	d.wake()
}
