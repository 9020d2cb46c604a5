// Package configtest is the conformance suite of the drivers of settings. Each case is one behaviour that package config
// promises, shown on a real engine that is broken on purpose.
package configtest

import (
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/config/driver"
)

// Engine is one engine, empty at first, and the ways to break it. The faults take hold before they return.
type Engine interface {
	// Open returns a new client of the engine. The engine closes it when the test ends.
	Open(t testing.TB) driver.Store

	// Down makes calls fail and ends watches until Up.
	Down()
	Up()
	// Wipe restarts the engine with an empty disk; it is up afterwards, whatever it was before.
	Wipe()
}

// Freezer is an Engine that can stop answering without an error. Every engine can, unless Config says otherwise.
type Freezer interface {
	// Freeze makes calls hang until Thaw.
	Freeze()
	Thaw()
}

// Config says how to run the suite.
type Config struct {
	// New returns an engine for one case.
	New func(t *testing.T) Engine
	// In runs one case, for instance in a synctest bubble, or in parallel.
	In func(t *testing.T, run func(t *testing.T))
	// CannotFreeze: this engine has no server that could hang. The cases named Frozen are left out.
	CannotFreeze bool
	// RelistEvery of the watches. Short, but long enough for the machine the tests run on.
	RelistEvery time.Duration
	// Within is how long anything may take, beyond what RelistEvery explains, before a case fails.
	Within time.Duration
}

// Run runs every case.
func Run(t *testing.T, cfg Config) {
	for _, group := range [][]testCase{driverCases, followCases} {
		for _, c := range group {
			if cfg.CannotFreeze && strings.Contains(c.name, "/Frozen") {
				continue
			}
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
