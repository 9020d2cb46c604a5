//go:build mutant_lost_fsync

package wal

// mutantLostFsync leaves out the sync of Append: a defect put in on purpose, which the tests must find.
const mutantLostFsync = true
