package core

import (
	"slices"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// storage is the part of the log that is on the disk, in memory.
type storage struct {
	*raft.MemoryStorage
	m *Member
	// outdated: a member needs a snapshot and is not in the table of the newest one. It would not take it.
	outdated bool
}

// Snapshot returns the newest snapshot, if it knows all members there are.
func (s *storage) Snapshot() (*raftpb.Snapshot, error) {
	snap, err := s.MemoryStorage.Snapshot()
	if err != nil {
		return nil, err
	}
	has, conf := snap.GetMetadata().GetConfState(), s.m.conf
	for _, ids := range [][]uint64{conf.GetVoters(), conf.GetLearners(), conf.GetVotersOutgoing(), conf.GetLearnersNext()} {
		if slices.ContainsFunc(ids, func(id uint64) bool { return !inConf(has, id) }) {
			s.outdated = true
			return nil, raft.ErrSnapshotTemporarilyUnavailable
		}
	}
	return snap, nil
}
