// Package queuetest is the conformance suite of queue drivers. Each case is one behaviour that package queue promises,
// shown on a real engine that is broken on purpose.
package queuetest

import (
	"slices"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/queue/driver"
)

// Engine is one engine, and the ways to break it. The faults take hold before they return.
type Engine interface {
	// Open returns a new client of the engine, and the way it has to it. The test closes it, and may have to while the way
	// is cut.
	Open(t testing.TB) (driver.Engine, Link)

	// Restart kills the engine without a word and starts it again on what it has on disk. It need not wait until the
	// engine serves.
	Restart()
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
	// New returns an engine for one case. It may be the same for many: each case has a topic of its own. Cases whose name
	// Restarts reports restart it.
	New func(t *testing.T) Engine
	// In runs one case, for instance in a synctest bubble, or in parallel.
	In func(t *testing.T, run func(t *testing.T))
	// Hold is that of the subscriptions, and within about which the engine notices that a client is gone. Short, but long
	// enough for the machine the tests run on.
	Hold time.Duration
	// Within is how long anything may take, beyond what Hold explains, before a case fails.
	Within time.Duration
	// Messages is how many the large cases send. Default: 10,000.
	Messages int
}

// Run runs every case.
func Run(t *testing.T, cfg Config) {
	if cfg.Messages == 0 {
		cfg.Messages = 10_000
	}
	for _, group := range [][]testCase{messageCases, deliveryCases, groupCases, faultCases, portableCases} {
		for _, c := range group {
			t.Run(c.name, func(t *testing.T) {
				cfg.In(t, func(t *testing.T) { c.run(t, newEnv(t, cfg)) })
			})
		}
	}
}

// Restarts reports whether the case of that name restarts the engine, which others should not share then. The name may be
// the whole one of the test.
func Restarts(name string) bool {
	for _, c := range slices.Concat(faultCases, portableCases) {
		if c.restarts && len(name) >= len(c.name) && name[len(name)-len(c.name):] == c.name {
			return true
		}
	}
	return false
}

type testCase struct {
	name     string
	run      func(*testing.T, *env)
	restarts bool
}
