// Package locktest is the conformance suite of lock drivers. Each case is one behaviour that package lock promises, shown
// on a real engine that is broken on purpose.
package locktest

import (
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/lock/driver"
)

// Engine is one engine, empty at first, and the ways to break it. The faults take hold before they return.
type Engine interface {
	// Open returns a new client of the engine, and the way it has to it. The engine closes it when the test ends.
	Open(t testing.TB) (driver.Engine, Link)

	// Restart ends the engine without a word and starts it again on what it has on disk.
	Restart()
	// Wipe restarts the engine with an empty disk.
	Wipe()
	// EndSession ends the session of that ID, as a person with the engine's own tools may.
	EndSession(id string)
	// DeleteTickets removes all who hold or wait for a lock and leaves their sessions alive.
	DeleteTickets(name string)
}

// Link is the way between one client and the engine.
type Link interface {
	// Cut breaks connections and refuses new ones until Restore.
	Cut()
	Restore()
	// Freeze makes calls hang without an error until Thaw.
	Freeze()
	Thaw()
}

// Config says how to run the suite.
type Config struct {
	// New returns an engine for one case.
	New func(t *testing.T) Engine
	// In runs one case, for instance in a synctest bubble, or in parallel.
	In func(t *testing.T, run func(t *testing.T))
	// TTL of the sessions. Short, but long enough for the machine the tests run on.
	TTL time.Duration
	// Grants is how long the engine takes at most, after the last renewal of a holder that fell silent, to let another
	// have its lock.
	Grants time.Duration
	// Within is how long anything may take, beyond what TTL and Grants explain, before a case fails.
	Within time.Duration
}

// Run runs every case.
func Run(t *testing.T, cfg Config) {
	for _, group := range [][]testCase{driverCases, mutexCases, faultCases, electionCases} {
		for _, c := range group {
			t.Run(c.name, func(t *testing.T) {
				cfg.In(t, func(t *testing.T) { c.run(t, newEnv(t, cfg)) })
			})
		}
	}
}

type testCase struct {
	name string
	run  func(*testing.T, *env)
}
