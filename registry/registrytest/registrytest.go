// Package registrytest is the conformance suite of registry drivers. Each case is one behaviour that package registry
// promises, shown on a real engine that is broken on purpose.
package registrytest

import (
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/registry/driver"
)

// Engine is one engine, empty at first, and the ways to break it. The faults take hold before they return.
type Engine interface {
	// Open returns a new client of the engine. The engine closes it when the test ends.
	Open(t testing.TB) driver.Registry

	// Down makes calls fail and breaks connections until Up; records may expire meanwhile.
	Down()
	Up()
	// Freeze makes calls hang without an error until Thaw; records that are not renewed expire by then.
	Freeze()
	Thaw()
	// Wipe restarts the engine with an empty disk.
	Wipe()

	// ExpireLease ends the lease of a record and so removes it. DeleteKey removes a record and leaves the lease.
	ExpireLease(service, id string)
	DeleteKey(service, id string)
	// Corrupt replaces or creates a record with one that cannot be decoded.
	Corrupt(service, id string)
}

// Config says how to run the suite.
type Config struct {
	// New returns an engine for one case.
	New func(t *testing.T) Engine
	// In runs one case, for instance in a synctest bubble, or in parallel.
	In func(t *testing.T, run func(t *testing.T))
	// TTL of the records and RelistEvery of the watches. Short, but long enough for the machine the tests run on.
	TTL, RelistEvery time.Duration
	// Within is how long anything may take, beyond what TTL and RelistEvery explain, before a case fails.
	Within time.Duration
}

// Run runs every case.
func Run(t *testing.T, cfg Config) {
	for _, group := range [][]testCase{driverCases, announceCases, watchCases} {
		for _, c := range group {
			t.Run(c.name, func(t *testing.T) {
				cfg.In(t, func(t *testing.T) { c.run(t, newEnv(t, cfg)) })
			})
		}
	}
}

// RunFixed runs the cases that hold for an engine whose content cannot be changed. open returns a new client of an
// engine that holds exactly service with the given IDs.
func RunFixed(t *testing.T, open func(t testing.TB) driver.Registry, service string, ids []string) {
	for _, c := range fixedCases {
		t.Run(c.name, func(t *testing.T) { c.run(t, open(t), service, ids) })
	}
}

type testCase struct {
	name string
	run  func(*testing.T, *env)
}
