//go:build race

package telemetry_test

// raceEnabled: the race detector has pools forget what they hold.
const raceEnabled = true
