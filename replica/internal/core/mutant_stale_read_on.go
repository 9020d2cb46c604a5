//go:build mutant_stale_read || bug_stale

package core

// mutantStaleRead lets reads through at once: a bug that the simulator must find, and a drill (bug_stale).
const mutantStaleRead = true
