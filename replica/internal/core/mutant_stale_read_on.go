//go:build mutant_stale_read

package core

// mutantStaleRead lets reads through at once: a bug that the simulator must find.
const mutantStaleRead = true
