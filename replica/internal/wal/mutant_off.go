//go:build !mutant_lost_fsync

package wal

const mutantLostFsync = false
